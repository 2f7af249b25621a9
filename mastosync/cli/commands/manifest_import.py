"""`mastosync manifest import`."""

from __future__ import annotations

from pathlib import Path

import click

from mastosync.cli.invocation import Invocation
from mastosync.language import tr


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True, exists=True, dir_okay=False))
@click.pass_obj
def manifest_import_command(invocation: Invocation, file: Path) -> None:
    """Make a new manifest of FILE (-: standard input), which `manifest export` wrote.

    Whole or not at all, and never over a manifest that is there: `mastosync --manifest new.db manifest import FILE`.
    """
    with invocation.running(stop_at_once=True, manifest_alone=True) as app:
        entries = app.import_archive(None if file == Path("-") else file)
    invocation.say(
        tr("imported {entries:,} entries into {manifest_path}", entries=entries, manifest_path=app.manifest_path)
    )
