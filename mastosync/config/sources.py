"""Reads the text of each value from a file or the environment, and knows nothing of what it means.

Errors name file, line and key, and never quote a line, which may hold a secret.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from mastosync.config.schema import sections
from mastosync.config.secrets import Secret
from mastosync.config.values import Key, nearest, suggest, to_path
from mastosync.errors import ConfigError
from mastosync.language import tr

_SECTION = re.compile(r"^\[([^\]\n]+)\]", re.MULTILINE)
_VARIABLE = re.compile(r"^\s*(?:export\s+)?[A-Z][A-Z0-9_]+=", re.MULTILINE)
_PREFIX = "MASTOSYNC_"
_ALIASES = {"MASTOSYNC_MANIFEST": ("manifest", "path")}  # shorter names that are part of the command line


class ValueSource(Enum):
    """What a text is, and where it stood."""

    LINE = "the value of a line of the configuration file, or of a secret a reference"
    FILE = "the name of a file that holds it, in the configuration file"
    ELSEWHERE = "the value itself, in the environment or a file"


class RawValue(NamedTuple):
    """The text given for a key, and where it stood.

    Any text is kept as a secret until its key is known to be none: it may have slipped out of its line.
    """

    text: Secret
    origin: str
    source: ValueSource


def find_config(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The configuration file to use, or None if there is none.

    `explicit` (-c) wins over `MASTOSYNC_CONFIG`, that over `CONFIG_FILE_NAME` (a file in ./private/), and these
    over what merely lies there: ./config.ini, then ./private/config.ini. A file that was named must exist; to go
    on with another one could mean to go on with another server.
    Raises: ConfigError.
    """
    named = (
        ("-c", str(explicit or "")),
        ("MASTOSYNC_CONFIG", environ.get("MASTOSYNC_CONFIG")),
        ("CONFIG_FILE_NAME", f"private/{name}" if (name := environ.get("CONFIG_FILE_NAME")) else None),
    )
    for who, name in named:
        if name:
            path = cwd / to_path(name)
            if not _lies_there(path):
                raise ConfigError(
                    tr("{path} does not exist, and {who} names it", path=path, who=who), hint=tr("Correct the name.")
                )
            return path
    return next(filter(_lies_there, (cwd / "config.ini", cwd / "private" / "config.ini")), None)


def _lies_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # reading it will tell what is wrong
    return True


def read_text(path: Path, what: str) -> Secret:
    """The text of a UTF-8 file, without a byte order mark. Raises: ConfigError, calling the file `what`."""
    hint = tr("Correct the path, or the permissions of the file.")
    try:
        return Secret(path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        problem, hint = tr("is not UTF-8 (byte {start})", start=error.start), tr("Save it as UTF-8.")
        if b"\0" in error.object:
            problem, hint = tr("is no text"), tr("Name another file.")
    except IsADirectoryError:
        problem, hint = tr("is a folder"), tr("Name a file. (Docker makes a folder where a mounted file is missing.)")
    except OSError as error:
        problem = tr("cannot be read: {strerror}", strerror=error.strerror)
    # outside of `except`: a decoding error carries the whole file, and would hang on as the context
    raise ConfigError(f"{what} {problem}", hint=hint)


def read_secret_file(name: Secret, origin: str) -> Secret:
    """What a file holds, without the line break at its end. Raises: ConfigError.

    Its name is not shown: somebody may have put the secret itself there.
    """
    return Secret(
        read_text(to_path(name.reveal()), tr("the file that {name} names", name=origin)).reveal().rstrip("\r\n")
    )


def read_file(path: Path) -> dict[str, dict[str, RawValue]]:
    """What a configuration file says: sections that exist, keys that are known. Raises: ConfigError."""
    text = read_text(path, str(path))
    found: dict[str, dict[str, RawValue]] = {}
    for section, values in _parse(text, path).items():
        if section not in sections():
            hint = suggest(section, tuple(sections()), "[{}]")
            raise ConfigError(tr("{path}: there is no section [{name}]", path=path, name=_name(section)), hint=hint)
        given = found[section] = {}
        for name, value in values.items():
            key, source = name, ValueSource.LINE
            if key not in sections()[section].keys:
                key, source = name.removesuffix("_file"), ValueSource.FILE
                if key == name or not _is_secret(section, key):
                    raise _unknown_key(path, text, section, name)
            if not value and not sections()[section].keys[key].info.form.empty_counts:
                continue
            if key in given:
                raise ConfigError(
                    tr("{path}: [{section}] has {key} and {key}_file", path=path, section=section, key=key),
                    hint=tr("Remove one of the two."),
                )
            given[key] = RawValue(value, f"{path}: [{section}] {name}", source)
    return found


def _has_known_key(text: Secret) -> bool:
    """Whether a line begins with the name of a key of ours."""
    starts = {re.split("[=:]", line, maxsplit=1)[0].strip().lower() for line in text.reveal().splitlines()}
    return any(not starts.isdisjoint(section.keys) for section in sections().values())


def no_section(path: Path, text: Secret | None = None) -> ConfigError:
    """A file without a section says nothing, or was not meant. `text`: None if there is nothing to look at."""
    problem = tr("{path} is no configuration: it has no section, such as [s3.source]", path=path)
    hint = tr("`mastosync init --output FILE` writes a configuration, and -c names it.")
    if text and _VARIABLE.search(text.reveal()):
        shown = shlex.quote(str(path))
        hint = tr(
            "It looks like Mastodon's own settings: `mastosync init --from-env {path}` makes a configuration of them.",
            path=shown,
        )
    return ConfigError(problem, hint=hint)


def _is_secret(section: str, name: str) -> bool:
    key = sections()[section].keys.get(name)
    return key is not None and key.info.form.hidden


def _parse(text: Secret, path: Path) -> dict[str, dict[str, Secret]]:
    import configparser  # noqa: PLC0415 - a start without a file does not need it

    parser = configparser.ConfigParser(interpolation=None, default_section="", empty_lines_in_values=False)
    try:
        parser.read_string(text.reveal())
    except configparser.DuplicateSectionError as error:
        line, problem = error.lineno, tr("the section [{name}] is there already", name=_name(error.section))
        hint = tr("Make one of the two.")
    except configparser.DuplicateOptionError as error:
        line, problem = (
            error.lineno,
            tr("[{name}] has the key {key} already", name=_name(error.section), key=_name(error.option)),
        )
        hint = tr("Remove one of the two.")
    except configparser.MissingSectionHeaderError as error:
        line, problem, hint = error.lineno, tr("a key before the first section"), tr("Put its [section] above it.")
    except configparser.ParsingError as error:
        line, problem = next((number for number, _ in error.errors), None), tr("neither a [section] nor key = value")
        hint = tr("A comment starts with #. A value stands on one line.")
    else:
        return {section: {key: Secret(value) for key, value in parser.items(section)} for section in parser.sections()}
    if sections().keys().isdisjoint(_SECTION.findall(text.reveal())) and not _has_known_key(text):
        raise no_section(path, text)
    # outside of `except`, and not with the parser's own words: they quote the line, which may be a secret
    raise ConfigError(tr("{path}, line {line}: {problem}", path=path, line=line, problem=problem), hint=hint)


def _name(text: str) -> str:
    """A name as it may be shown: what does not look like one may be a secret that slipped out of its line."""
    known = (*sections(), *(key for section in sections().values() for key in section.keys))
    return text if re.fullmatch("[A-Za-z][A-Za-z_ -]{0,19}", text) or nearest(text, known) else "…"


def _unknown_key(path: Path, text: Secret, section: str, key: str) -> ConfigError:
    where = f"{path}: [{section}]"
    if _name(key) != key:
        starts = (re.split("[=:]", line, maxsplit=1)[0].strip().lower() for line in text.reveal().splitlines())
        line = next((number for number, start in enumerate(starts, 1) if start == key), 0)
        return ConfigError(
            tr("{where} line {line} holds no known key", where=where, line=line), hint=tr("A value stands on one line.")
        )
    owners = [name for name, other in sections().items() if key in other.keys]
    hint = (
        tr("It belongs to [{names}].", names="], [".join(owners))
        if owners
        else suggest(key, tuple(sections()[section].keys))
    )
    return ConfigError(tr("{where} has no key {key}", where=where, key=key), hint=hint)


def read_environment(environ: Mapping[str, str]) -> Iterator[tuple[Key, RawValue]]:
    """What MASTOSYNC_<SECTION>_<KEY> say, or the files that MASTOSYNC_<SECTION>_<KEY>_FILE name.

    Raises: ConfigError for a variable of a known section without such a key, a file that cannot be read, and a
    key that is given twice.
    """
    known = {key.variable: key for section in sections().values() for key in section.keys.values()}
    aliases = {name: sections()[section].keys[key] for name, (section, key) in _ALIASES.items()}
    seen: dict[str, str] = {}
    for name in sorted(name for name in environ if name.startswith(_PREFIX)):
        text = Secret(environ[name])
        key = known.get(name) or aliases.get(name)
        if key is None:
            key = known.get(name.removesuffix("_FILE"))
            if key is None:
                _refuse_unknown_variable(name, tuple(known))
            if key is None or not text:
                continue
            text = read_secret_file(text, name)
        if not text.reveal().strip() and not key.info.form.empty_counts:
            continue
        if key.variable in seen:
            raise ConfigError(
                tr("{one} and {other} are both set", one=seen[key.variable], other=name), hint=tr("Unset one of them.")
            )
        seen[key.variable] = name
        yield key, RawValue(text, name, ValueSource.ELSEWHERE)


def _refuse_unknown_variable(name: str, known: tuple[str, ...]) -> None:
    for section in sections().values():
        start = section.variable + "_"
        if name.startswith(start):
            own = tuple(other for other in known if other.startswith(start))
            raise ConfigError(
                tr("{name} is set, but [{section_name}] has no such key", name=name, section_name=section.name),
                hint=suggest(name, own),
            )
