"""`mastosync manifest check`, `backup`, `export` and `import`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mastosync.cli.help import LazyGroup
from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option
from mastosync.cli.output import show_fault, show_json
from mastosync.errors import ExitCode
from mastosync.language import tr
from mastosync.units import human_bytes

if TYPE_CHECKING:
    from mastosync.manifest import Soundness

_COMMANDS = {
    "check": "Check that it is sound.",
    "backup": "Copy it while others work on it.",
    "export": "Write all of it as JSON lines.",
    "import": "Make a new one from an export.",
}
_SHOWN = 20  # faults of one part


@click.group(name="manifest", cls=LazyGroup, lines=_COMMANDS, module="manifest")
def manifest_command() -> None:
    """Look after the manifest itself. None of this asks a store or the database."""


@click.command(name="check")
@click.option("--quick", is_flag=True, help="Skip the check of the file's indexes against its rows.")
@click.option("--repair", is_flag=True, help="Rebuild the counters, after a backup, if only they are wrong.")
@json_option
@click.pass_obj
def manifest_check_command(invocation: Invocation, quick: bool, repair: bool, as_json: bool) -> ExitCode:
    """Check that the manifest is sound: the file, its entries, counters, claims and plans.

    It can run while a copy is at work.
    """
    from mastosync.app.manifest import check

    with invocation.running(manifest_alone=True) as context:
        found = check(context, quick=quick, repair=repair)
    if as_json:
        show_json({"manifest": str(context.manifest_path), **_as_json(found)})
    elif found.faults:
        show_fault(_render(found, context.manifest_path))
    else:
        invocation.say(_render(found, context.manifest_path))
    return ExitCode.MANIFEST if found.faults else ExitCode.OK


@click.command(name="backup")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.pass_obj
def manifest_backup_command(invocation: Invocation, file: Path | None, force: bool) -> None:
    """Copy the manifest to FILE, or beside it, as it stands at one moment.

    Other commands go on meanwhile. The copy is checked before it gets its name. It is a manifest itself.
    """
    from mastosync.app.manifest import back_up

    with invocation.running(stop_at_once=True, manifest_alone=True) as context:
        target, size = back_up(context, file, replace=force)
    invocation.say(
        tr(
            "copied {manifest_path} to {target} ({size})",
            manifest_path=context.manifest_path,
            target=target,
            size=human_bytes(size),
        )
    )


@click.command(name="export")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.pass_obj
def manifest_export_command(invocation: Invocation, file: Path | None, force: bool) -> None:
    """Write all of the manifest as JSON lines to FILE, or to standard output.

    The first line tells what all entries have in common, the last one how many there are and their digest; between
    them, each entry is a line with the fields of `ls --format jsonl` and a few more.
    """
    from mastosync.app.manifest import export

    with invocation.running(stop_at_once=True, manifest_alone=True) as context:
        entries = export(context, None if file == Path("-") else file, replace=force)
    if file is not None and file != Path("-"):
        invocation.say(tr("wrote {entries:,} entries to {file}", entries=entries, file=file))


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True, exists=True, dir_okay=False))
@click.pass_obj
def manifest_import_command(invocation: Invocation, file: Path) -> None:
    """Make a new manifest from FILE (-: standard input), which `manifest export` wrote.

    It is made whole or not at all, and never replaces a manifest: `mastosync --manifest new.db manifest import FILE`.
    """
    from mastosync.app.manifest import import_archive

    with invocation.running(stop_at_once=True, manifest_alone=True) as context:
        entries = import_archive(context, None if file == Path("-") else file)
    invocation.say(
        tr("imported {entries:,} entries into {manifest_path}", entries=entries, manifest_path=context.manifest_path)
    )


def _render(found: Soundness, manifest: Path) -> str:
    """All of it for people."""
    what = tr(
        "{manifest}: version {version}, {size}, {entries:,} entries",
        manifest=manifest,
        version=found.version,
        size=human_bytes(found.size_bytes),
        entries=found.entries,
    )
    if not found.faults:
        return "\n".join(filter(None, (what, found.repaired, tr("sound: nothing is wrong with it"))))
    lines = [what]
    for part, faults in groupby(found.faults, key=lambda fault: fault.part):
        of_part = list(faults)
        lines += [f"{part}: {fault.message}" for fault in of_part[:_SHOWN]]
        if len(of_part) > _SHOWN:
            lines.append(tr("{part}: and {number:,} more", part=part, number=len(of_part) - _SHOWN))
        lines += [f"  -> {remedy}" for remedy in dict.fromkeys(fault.remedy for fault in of_part)]
    lines.append(tr("not sound: see above"))
    return "\n".join(lines)


def _as_json(found: Soundness) -> dict[str, Any]:
    """The names are part of the interface."""
    return {
        "sound": not found.faults,
        "version": found.version,
        "entries": found.entries,
        "size_bytes": found.size_bytes,
        "faults": [
            {"part": fault.part.value, "message": fault.message, "remedy": fault.remedy} for fault in found.faults
        ],
        "repaired": found.repaired or None,
    }
