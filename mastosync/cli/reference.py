"""What help and manual page say of mastosync as a whole, beside commands and options."""

from __future__ import annotations

from mastosync.errors import EXIT_CODE_MEANING
from mastosync.language import say, tr


def environment() -> dict[str, str]:
    """Variables that are heeded, and what each one does."""
    return {
        "MASTOSYNC_CONFIG": tr("the configuration file, unless -c names one"),
        "MASTOSYNC_MANIFEST": tr("the manifest, unless --manifest names one"),
        "MASTOSYNC_SECTION_KEY": tr("a key of the configuration, such as MASTOSYNC_S3_SOURCE_SECRET_KEY"),
        "MASTOSYNC_SECTION_KEY_FILE": tr("a file that holds its value"),
        "NO_COLOR, FORCE_COLOR": tr("no colours, or colours in a pipe too"),
        "LANGUAGE, LC_ALL, LC_MESSAGES, LANG": tr("the language of messages"),
    }


def files() -> dict[str, str]:
    """Files by their usual names."""
    return {
        "config.ini": tr("the configuration in the current folder, else in private/; `mastosync init` writes it"),
        "mastosync.db": tr("the manifest in the current folder, a SQLite database"),
    }


def exit_codes() -> dict[str, str]:
    """What a command returns to the shell."""
    return {str(int(code)): say(meaning) for code, meaning in EXIT_CODE_MEANING.items()}
