"""`mastosync copy`."""

from __future__ import annotations

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import types_option, workers_option
from mastosync.cli.render import render_copy
from mastosync.engine.copier import CopyOptions
from mastosync.errors import ExitCode


@click.command(name="copy")
@workers_option
@types_option
@click.option("--limit", type=click.IntRange(min=1), help="At most this many entries in this run.")
@click.pass_obj
def copy_command(invocation: Invocation, workers: int | None, types: tuple[str, ...], limit: int | None) -> ExitCode:
    """Work through what is pending, until nothing is.

    Ctrl-C once finishes what is in flight; the same command goes on from there, also after a crash.
    """
    options = CopyOptions(workers=workers or invocation.config.copy.workers, limit=limit)
    with invocation.running() as app:
        progress = app.copy(options, types)
        status = app.status()
    invocation.say(render_copy(progress, status))
    return ExitCode.INCOMPLETE if status.failed_of(types) else ExitCode.OK
