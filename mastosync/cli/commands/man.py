"""`mastosync man`."""

from __future__ import annotations

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.manual import manual
from mastosync.cli.output import show
from mastosync.cli.user_files import data_home, put
from mastosync.language import spoken, tr


@click.command(name="man")
@click.option("--install", is_flag=True, help="Write it to where man looks, for this user alone.")
@click.pass_context
def man_command(context: click.Context, install: bool) -> None:
    """Print the manual page: `mastosync man | man -l -` shows it."""
    page = manual(context.find_root())
    if not install:
        show(page.removesuffix("\n"))
        return
    invocation = context.find_object(Invocation)
    assert invocation is not None  # noqa: S101 - main hands it in
    folder = data_home() / "man" / (spoken() or "")  # by which man knows how lines of the language are broken
    told = put(folder / "man1" / "mastosync.1", page)
    invocation.say(f"{told}\n" + tr("`man mastosync` shows it, where ~/.local/bin is in PATH"))
