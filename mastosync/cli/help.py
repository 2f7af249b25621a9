"""Help in the user's language: what commands say of themselves, and lines that are broken where it allows.

What help and manual page say of mastosync as a whole, beside commands and options.
"""

from __future__ import annotations

from collections.abc import Iterable
from inspect import cleandoc
from typing import TypeVar

import click

from mastosync.errors import EXIT_CODE_MEANING
from mastosync.language import say, tr
from mastosync.terminal_text import width_of, wrapped

C = TypeVar("C", bound=click.Command)

_SPACING = 2  # between two columns
_WIDEST_TERM = 30
_NARROWEST_TEXT = 10


class _Formatter(click.HelpFormatter):
    """Counts columns where click counts characters."""

    def write_text(self, text: str) -> None:
        indent = " " * self.current_indent
        self.write("\n\n".join(_filled(text, self.width, indent)) + "\n")

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = _WIDEST_TERM, col_spacing: int = _SPACING
    ) -> None:
        rows = list(rows)
        column = min(max(width_of(term) for term, _ in rows), col_max) + col_spacing
        indent = " " * (self.current_indent + column)
        for term, text in rows:
            room = column - width_of(term)
            begin = " " * self.current_indent + term + (" " * room if room >= col_spacing else f"\n{indent}")
            lines = "\n\n".join(_filled(text, max(self.width, len(indent) + _NARROWEST_TEXT), indent))
            self.write(f"{begin}{lines.lstrip()}".rstrip() + "\n")


class _Context(click.Context):
    formatter_class = _Formatter


def in_users_language(command: C) -> C:
    """The command, which from now on helps its user in their language."""
    command.context_class = _Context
    command.help = say(paragraphs(command.help or ""))
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.help:
            parameter.help = say(parameter.help)
    return command


def paragraphs(docstring: str) -> str:
    """As catalogs have it: each paragraph on one line, with an empty one between them."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in cleandoc(docstring).split("\n\n"))


def _filled(text: str, width: int, indent: str) -> Iterable[str]:
    """Each paragraph, in lines that end at a column."""
    for paragraph in text.split("\n\n"):
        lines = wrapped(paragraph.replace("\n", " "), width - len(indent))
        yield "\n".join(f"{indent}{line}" for line in lines)


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
