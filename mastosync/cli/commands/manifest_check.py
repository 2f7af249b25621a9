"""`mastosync manifest check`."""

from __future__ import annotations

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option
from mastosync.cli.output import show_fault, show_json
from mastosync.cli.render_manifest import render_soundness, soundness_as_json
from mastosync.errors import ExitCode


@click.command(name="check")
@click.option("--quick", is_flag=True, help="Do not hold the file's indexes against its lines.")
@click.option("--repair", is_flag=True, help="Count anew if only the counters are wrong, after a backup.")
@json_option
@click.pass_obj
def manifest_check_command(invocation: Invocation, quick: bool, repair: bool, as_json: bool) -> ExitCode:
    """Tell whether the manifest is sound: the file, its entries, counters, claims and plans.

    It can be asked while a copy is at work.
    """
    with invocation.running(manifest_alone=True) as app:
        found = app.check(quick=quick, repair=repair)
    if as_json:
        show_json({"manifest": str(app.manifest_path), **soundness_as_json(found)})
    elif found.faults:
        show_fault(render_soundness(found, app.manifest_path))
    else:
        invocation.say(render_soundness(found, app.manifest_path))
    return ExitCode.MANIFEST if found.faults else ExitCode.OK
