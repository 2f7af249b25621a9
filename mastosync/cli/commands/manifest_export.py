"""`mastosync manifest export`."""

from __future__ import annotations

from pathlib import Path

import click

from mastosync.cli.invocation import Invocation
from mastosync.language import tr


@click.command(name="export")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.pass_obj
def manifest_export_command(invocation: Invocation, file: Path | None, force: bool) -> None:
    """Write all of the manifest as JSON lines to FILE, or to standard output.

    The first line tells what all entries have in common, the last one how many there are and their digest; between
    them, each entry is a line with the fields of `ls --format jsonl` and a few more.
    """
    with invocation.running(stop_at_once=True, manifest_alone=True) as app:
        entries = app.export(None if file == Path("-") else file, replace=force)
    if file is not None and file != Path("-"):
        invocation.say(tr("wrote {entries:,} entries to {file}", entries=entries, file=file))
