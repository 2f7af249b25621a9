r"""Files of variables such as Mastodon's `.env.production`: what they mean to the dotenv gem, and to Docker.

Mastodon reads its file by the gem: quotes are taken off, `\` and `$` mean something, `#` begins a comment.
`docker run --env-file`, and Docker Compose before its second version, take everything behind the `=` as it
stands. Nothing here raises or shows what a line holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mastosync.config.secrets import Secret
from mastosync.config.sources import read_text
from mastosync.errors import ConfigError
from mastosync.language import enumerated, tr


class Variable(NamedTuple):
    """What a file says of one variable. `value` is None where a shell command would have to tell it: none is run."""

    value: Secret | None
    line: int


class EnvFile(NamedTuple):
    """What a file says."""

    variables: Mapping[str, Variable]
    broken: tuple[int, ...]  # lines that nobody understands, counted from 1

    def value(self, name: str) -> Secret | None:
        """The value of a variable, if the file has it and no shell command stands for it."""
        found = self.variables.get(name)
        return found.value if found else None


def read_env_file(path: Path, syntax: str, environ: Mapping[str, str], what: str = "") -> EnvFile:
    """Read a file by a syntax of `SYNTAXES`; `environ` has what `$NAME` may refer to beside the file itself.

    Raises: ConfigError for a file that cannot be read, calling it `what` or else by its path.
    """
    return parsed(read_text(path, what or str(path)), syntax, environ)


def parsed(text: Secret, syntax: str, environ: Mapping[str, str]) -> EnvFile:
    """What the text of a file means."""
    return parse_docker(text) if syntax == "docker" else parse_dotenv(text, environ)


def edited(text: Secret, syntax: str, wanted: Mapping[str, Secret | None]) -> Secret:
    """The text of a file with these variables as wanted (None: without them). All other lines stay as they are.

    A variable that is new comes last. Raises: ConfigError if the syntax has no way to write it so.
    """
    lines = Secret(re.sub(r"\r\n?", "\n", text.reveal()) if syntax == "dotenv" else text.reveal())
    found = _rewritten(lines, syntax, wanted)
    _require_meant(lines, found, syntax, wanted)
    return found


def _rewritten(lines: Secret, syntax: str, wanted: Mapping[str, Secret | None]) -> Secret:
    """Of a variable that stands there several times, the last counts: it stays, and the others go."""
    spans = list(_spans(lines, syntax, wanted))
    last = {name: start for name, start, _ in spans}
    parts, at = [], 0
    for name, start, end in spans:
        value = wanted[name] if last[name] == start else None
        parts += [lines.reveal()[at:start], "" if value is None else assignment(name, value, syntax)]
        at = end + (value is None and lines.reveal().startswith("\n", end))
    parts.append(lines.reveal()[at:])
    new = [assignment(name, value, syntax) for name, value in wanted.items() if value is not None and name not in last]
    text = "".join(parts)
    return Secret(text + ("\n" if new and text and not text.endswith("\n") else "") + "".join(f"{x}\n" for x in new))


def assignment(name: str, value: Secret, syntax: str) -> str:
    """The line that gives a variable this value. It may hold a secret."""
    text = value.reveal()
    if syntax == "docker" or re.fullmatch(r"[A-Za-z0-9_./:@%+,=~-]*", text):
        return f"{name}={text}"
    if "'" not in text:
        return f"{name}='{text}'"
    return f'{name}="' + "".join(f"\\{each}" if each in '\\"$' else each for each in text) + '"'


def _spans(text: Secret, syntax: str, names: Mapping[str, object]) -> Iterator[tuple[str, int, int]]:
    """Where the assignments of some variables stand: from the beginning of a line to the end of one."""
    if syntax == "dotenv":
        for match in _LINE.finditer(text.reveal()):
            if match["name"] in names and match["sign"]:
                start = match.start("export" if match["export"] else "name")
                last = text.reveal().find("\n", match.end("value" if match["value"] else "sign"))
                end = len(text.reveal()) if last < 0 else last
                yield match["name"], text.reveal().rfind("\n", 0, start) + 1, end
        return
    start = 0
    for line in text.reveal().split("\n"):
        name, equals, _ = line.removesuffix("\r").lstrip().partition("=")
        if equals and name in names:
            yield name, start, start + len(line)
        start += len(line) + 1


def _require_meant(before: Secret, after: Secret, syntax: str, wanted: Mapping[str, Secret | None]) -> None:
    """Read what was written, as Mastodon will. Raises: ConfigError if it means something else."""
    old, new = (parsed(text, syntax, {}) for text in (before, after))
    names = {name for name, value in wanted.items() if value is not None} | (old.variables.keys() - wanted.keys())
    wrong = names ^ new.variables.keys() or {name for name in wanted if new.value(name) != wanted[name]}
    others = names - wanted.keys()
    if changed := sorted(name for name in others if old.value(name) != new.value(name)):
        raise ConfigError(
            tr("{names} would change, too: it refers to a value that is changed", names=enumerated(changed)),
            hint=tr("Change the file by hand."),
        )
    if wrong:
        raise ConfigError(
            tr("this kind of file cannot hold the value of {name}", name=enumerated(sorted(wrong))),
            hint=tr("Change the file by hand."),
        )


# --- as the gem does, in its version 3 ---

_LINE = re.compile(
    r"""^\s* (?P<export> export\s+ )?
    (?P<name> [\w.]+ )
    (?: (?P<sign> \s*=\s*? | :\s+? )
        (?P<value> \s*' (?: \\' | [^'] )* ' | \s*" (?: \\" | [^"] )* " | [^\#\n]+ )?
    )?
    \s* (?: \#.* )? $""",
    re.VERBOSE | re.MULTILINE | re.ASCII,
)
"""An assignment; what is in quotes may go on over several lines. As everywhere below, the gem's own rules."""

_SPACE = "\0\t\n\v\f\r "  # to Ruby, other than to Python
_COMMAND = re.compile(r"(?<!\\)\$\(.+\)", re.DOTALL)
_VARIABLE = re.compile(r"(\\)?\$(?!\()\{?([A-Za-z0-9_]+)?\}?")


def parse_dotenv(text: Secret, environ: Mapping[str, str]) -> EnvFile:
    """What the dotenv gem reads. A variable that is there twice has its last value."""
    lines = Secret(re.sub(r"\r\n?", "\n", text.reveal()))
    found: dict[str, Variable] = {}
    broken: list[int] = []
    end = 0
    for match in _LINE.finditer(lines.reveal()):
        broken += _odd_lines(lines, end, match.start())
        end = match.end()
        name, line = match["name"], 1 + lines.reveal().count("\n", 0, match.start("name"))
        if match["sign"]:
            found[name] = Variable(_meaning(Secret(match["value"] or ""), found, environ), line)
        elif not (match["export"] and name in found):
            broken.append(line)
    broken += _odd_lines(lines, end, len(lines.reveal()))
    return EnvFile(found, tuple(broken))


def _odd_lines(text: Secret, start: int, end: int) -> Iterator[int]:
    """Lines of a part without assignments that are neither empty nor comments."""
    first = 1 + text.reveal().count("\n", 0, start)
    for number, line in enumerate(text.reveal()[start:end].split("\n"), first):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number


def _meaning(raw: Secret, known: Mapping[str, Variable], environ: Mapping[str, str]) -> Secret | None:
    text = raw.reveal().strip(_SPACE)
    quote = text[0] if len(text) > 1 and text[0] in "'\"" and text[0] == text[-1] else ""
    if quote:
        text = text[1:-1]
    if quote == "'":
        return Secret(text)
    if quote == '"':
        text = _line_breaks(text, known)
    text = re.sub(r"\\([^$])", r"\1", text)
    if _COMMAND.search(text):
        return None
    text = text.replace("\\$(", "$(")
    if any(name in known and known[name].value is None for _, name in _VARIABLE.findall(text)):
        return None
    return Secret(_VARIABLE.sub(lambda match: _expanded(match, known, environ), text))


def _line_breaks(text: str, known: Mapping[str, Variable]) -> str:
    r"""`\n` and `\r` stay what they are, unless the file asks for what older releases of the gem did."""
    mode = known.get("DOTENV_LINEBREAK_MODE")
    if mode and mode.value == Secret("legacy"):
        return text.replace("\\n", "\n").replace("\\r", "\r")
    return text.replace("\\n", "\\\\n").replace("\\r", "\\\\r")


def _expanded(match: re.Match[str], known: Mapping[str, Variable], environ: Mapping[str, str]) -> str:
    escaped, name = match.groups()
    if escaped:
        return match[0][1:]
    if name is None:
        return match[0]
    variable = known.get(name)
    return variable.value.reveal() if variable and variable.value else environ.get(name, "")


# --- as Docker does ---


def parse_docker(text: Secret) -> EnvFile:
    """What `docker run --env-file` reads: whatever stands behind the `=`, quotes and spaces included."""
    found: dict[str, Variable] = {}
    broken: list[int] = []
    for number, line in enumerate(text.reveal().split("\n"), 1):
        name, equals, value = line.removesuffix("\r").lstrip().partition("=")
        if (not name and not equals) or name.startswith("#"):
            continue
        if equals and re.fullmatch(r"\S+", name):
            found[name] = Variable(Secret(value), number)
        else:
            broken.append(number)
    return EnvFile(found, tuple(broken))
