"""Commands that are loaded when they are asked for: start-up does not pay for the others."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from mastosync.cli.help import in_users_language
from mastosync.language import say, tr

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """Commands by name, and the line of each in the help. `NAME` is `name_command` in `mastosync.cli.commands.name`."""

    def __init__(self, *arguments: Any, lines: Mapping[str, str], prefix: str = "", **options: Any) -> None:  # noqa: ANN401 - passed on as they are
        super().__init__(*arguments, **options)
        self.lines = lines
        self._prefix = prefix  # of modules

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: D102 - see click.Group
        return list(self.lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: D102
        if cmd_name not in self.lines:
            return None
        name = f"{self._prefix}{cmd_name.replace('-', '_')}"
        command = getattr(importlib.import_module(f"mastosync.cli.commands.{name}"), f"{name}_command")
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
