"""Help in the user's language, and groups of commands that load each one when it is asked for.

Beside what commands and options say, it has what help and manual page say of mastosync as a whole.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mastosync.errors import EXIT_CODE_MEANING
from mastosync.language import say, tr
from mastosync.terminal_text import width_of, wrapped

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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
    """Translate the help of a command and of its options, and return the command."""
    command.context_class = _Context
    command.help = say(paragraphs(command.help or ""))
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.help:
            parameter.help = say(parameter.help)
    return command


def paragraphs(docstring: str) -> str:
    """A docstring as catalogs have it: one line a paragraph, and an empty line between them."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in cleandoc(docstring).split("\n\n"))


def _filled(text: str, width: int, indent: str) -> Iterable[str]:
    """Each paragraph, broken at a column."""
    for paragraph in text.split("\n\n"):
        lines = wrapped(paragraph.replace("\n", " "), width - len(indent))
        yield "\n".join(f"{indent}{line}" for line in lines)


class LazyGroup(click.Group):
    """Commands by name, and the line of each in the help. Start-up does not pay for those that are not asked for.

    `NAME` is `name_command` in `mastosync.cli.commands.name`, or, in a group of commands that share one module,
    `module_name_command` there.
    """

    def __init__(self, *arguments: Any, lines: Mapping[str, str], module: str = "", **options: Any) -> None:  # noqa: ANN401 - passed on as they are
        super().__init__(*arguments, **options)
        self.lines = lines
        self._module = module

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: D102 - see click.Group
        return list(self.lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: D102
        if cmd_name not in self.lines:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"mastosync.cli.commands.{self._module or name}")
        command = getattr(module, f"{self._module}_{name}_command" if self._module else f"{name}_command")
        assert isinstance(command, click.Command)  # noqa: S101 - a test walks all of them
        return in_users_language(command)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:  # noqa: D102
        from click.shell_completion import CompletionItem

        meant = {name: say(line) for name, line in self.lines.items() if name.startswith(incomplete)}
        named = (CompletionItem(name, help=line) for name, line in meant.items())
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]  # a group's own would load all of them

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: D102
        with formatter.section(tr("Commands")):
            formatter.write_dl([(name, say(line)) for name, line in self.lines.items()])


def environment() -> dict[str, str]:
    """Environment variables that mastosync reads, with their meaning."""
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
    """Exit codes, with their meaning."""
    return {str(int(code)): say(meaning) for code, meaning in EXIT_CODE_MEANING.items()}
