"""`mastosync manifest`: a group of its own."""

from __future__ import annotations

import click

from mastosync.cli.lazy_group import LazyGroup

_COMMANDS = {
    "check": "Tell whether it is sound.",
    "backup": "Copy it while others work on it.",
    "export": "Write all of it as JSON lines.",
    "import": "Make a new one of an export.",
}


@click.group(name="manifest", cls=LazyGroup, lines=_COMMANDS, prefix="manifest_")
def manifest_command() -> None:
    """Look after the manifest itself. None of this asks a store or the database."""
