"""The catalogs of messages: finds what has to be translated, and makes `mastosync/locale/` follow.

    python -m scripts.messages [--check]

renews the template `mastosync.pot`, brings each `mastosync.po` up to date, compiles it, and names what is not
translated yet. Until somebody translates it, people read it in English. `--check` writes nothing. It exits with 1 if a
catalog lacks a message or a translation, or has one that no code says any more: so no release leaves with a gap.

Messages are literals given to `tr`, `trn` and `deferred`, what commands and keys of the configuration say of
themselves, and click's own words.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from babel.messages import Catalog
from babel.messages.pofile import read_po, write_po

from mastosync.cli.help import LazyGroup, paragraphs
from mastosync.cli.main import cli
from mastosync.config.schema import sections
from mastosync.language import DOMAIN, LOCALES
from setup import compile_catalogs

ROOT = LOCALES.parents[1]
TEMPLATE = f"{DOMAIN}.pot"
CHECK = "--check"

_FORMS = {"tr": 1, "trn": 2, "deferred": 1}  # how many literals each function takes
_FORMS_OF_CLICK = {"_": 1, "ngettext": 2}
_MODULES_OF_CLICK = ("core", "decorators", "exceptions", "formatting", "parser", "types")


@dataclass(frozen=True, slots=True)
class Found:
    """A message, in one form or two, and where it is said."""

    forms: tuple[str, ...]
    where: str

    @property
    def id(self) -> str | tuple[str, ...]:
        """As Babel has it."""
        return self.forms[0] if len(self.forms) == 1 else self.forms


def iter_messages() -> Iterator[Found]:
    """Everything that is to be translated, in the order of files."""
    for path in sorted((ROOT / "mastosync").rglob("*.py")):
        yield from literals(path.read_text("utf-8"), str(path.relative_to(ROOT)))
    yield from _of_configuration()
    yield from _of_commands(cli)
    for name in _MODULES_OF_CLICK:
        code = Path(click.__file__).with_name(f"{name}.py").read_text("utf-8")
        yield from literals(code, f"click/{name}.py", _FORMS_OF_CLICK, strict=False)


def literals(code: str, where: str, forms: dict[str, int] = _FORMS, *, strict: bool = True) -> Iterator[Found]:
    """The messages of one module. Raises: ValueError where something else than a literal is given, if `strict`."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in forms:
            given = node.args[: forms[node.func.id]]
            said = tuple(each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str))
            if len(said) == forms[node.func.id]:
                yield Found(said, where)
            elif strict:
                raise ValueError(f"{where}:{node.lineno}: not a literal: {ast.unparse(node)}")


def _of_configuration() -> Iterator[Found]:
    """What the sample says of sections and keys."""
    for section in sections().values():
        yield Found((section.intro,), "mastosync/config/schema.py")
        where = f"{section.kind.__module__.replace('.', '/')}.py"
        yield from (Found((key.info.meaning,), where) for key in section.keys.values())


def _of_commands(command: click.Command) -> Iterator[Found]:
    """Docstrings and the help of options, of a command and those below it. Needs an English environment."""
    where = f"{getattr(command.callback, '__module__', '').replace('.', '/')}.py"
    yield Found((paragraphs(command.help or ""),), where)
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.help:
            yield Found((parameter.help,), where)
    if isinstance(command, LazyGroup):
        yield from (Found((line,), where) for line in command.lines.values())
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None  # noqa: S101 - it was listed
            yield from _of_commands(below)


def template() -> Catalog:
    """All of it, as a catalog without translations."""
    catalog = Catalog()
    for found in iter_messages():
        catalog.add(found.id, locations=[(found.where, 0)])
    return catalog


def unfinished(catalog: Catalog) -> Iterator[str]:
    """What nobody has translated, or not from the text as it is now."""
    for message in catalog:
        said = [message.string] if isinstance(message.string, str) else list(message.string or ())
        if message.id and (message.fuzzy or not said or not all(said)):
            yield str(message.id)


def catalogs(folder: Path = LOCALES) -> Iterator[tuple[Path, Catalog]]:
    """What translators have written, by file."""
    for path in sorted(folder.glob(f"*/LC_MESSAGES/{DOMAIN}.po")):
        yield path, read_po(path.read_bytes().splitlines(keepends=True), locale=path.parts[-3])


def renew(wanted: Catalog, folder: Path = LOCALES) -> None:
    """Have the template and every catalog hold these messages and no other. A changed message has no translation."""
    with (folder / TEMPLATE).open("wb") as file:
        write_po(file, wanted, width=120, omit_header=True, include_lineno=False)
    for path, catalog in catalogs(folder):
        catalog.update(wanted, no_fuzzy_matching=True, update_creation_date=False)
        catalog.obsolete.clear()
        with path.open("wb") as file:
            write_po(file, catalog, width=120, include_lineno=False)


def compile_outdated(folder: Path = LOCALES) -> None:
    """Compile the catalogs if one is newer than its `.mo`, or has none."""
    for path in folder.glob(f"*/LC_MESSAGES/{DOMAIN}.po"):
        compiled = path.with_suffix(".mo")
        if not compiled.exists() or compiled.stat().st_mtime_ns < path.stat().st_mtime_ns:
            compile_catalogs(folder)


def gaps(wanted: Catalog, folder: Path = LOCALES) -> Iterator[str]:
    """A line for each message that a catalog has not translated, lacks, or has though nobody says it."""
    template = read_po((folder / TEMPLATE).read_bytes().splitlines(keepends=True))
    for path, catalog in [(folder / TEMPLATE, template), *catalogs(folder)]:
        name, there = path.relative_to(folder), _ids(catalog)
        yield from (f"{name}: is not in it: {each}" for each in sorted(_ids(wanted) - there))
        yield from (f"{name}: is said nowhere: {each}" for each in sorted(there - _ids(wanted)))
        if catalog is not template:
            yield from (f"{name}: is not translated: {each}" for each in unfinished(catalog))


def _ids(catalog: Catalog) -> set[str]:
    return {str(message.id) for message in catalog if message.id}


def main(arguments: list[str], folder: Path = LOCALES) -> int:
    """Renew the catalogs, or check them. Returns: the exit code."""
    wanted = template()
    if arguments != [CHECK]:
        renew(wanted, folder)
        compile_catalogs(folder)
    waiting = list(gaps(wanted, folder))
    for line in waiting:
        print(line, file=sys.stderr)
    print(f"{len(wanted)} messages, {len(waiting)} to translate")
    if waiting and arguments == [CHECK]:
        print("`make messages` renews the catalogs; the translations are to be written there", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C"  # commands are read as they are written
    sys.exit(main(sys.argv[1:]))
