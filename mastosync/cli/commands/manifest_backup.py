"""`mastosync manifest backup`."""

from __future__ import annotations

from pathlib import Path

import click

from mastosync.cli.invocation import Invocation
from mastosync.language import tr
from mastosync.units import human_bytes


@click.command(name="backup")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.pass_obj
def manifest_backup_command(invocation: Invocation, file: Path | None, force: bool) -> None:
    """Copy the manifest to FILE, or beside it, as it stands at one moment.

    Whoever works on it goes on meanwhile. The copy is looked at before it gets its name. It is a manifest itself.
    """
    with invocation.running(stop_at_once=True, manifest_alone=True) as app:
        target, size = app.back_up(file, replace=force)
    invocation.say(
        tr(
            "copied {manifest_path} to {target} ({size})",
            manifest_path=app.manifest_path,
            target=target,
            size=human_bytes(size),
        )
    )
