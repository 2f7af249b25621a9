"""`mastosync status`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option
from mastosync.cli.output import redraw, show, show_json
from mastosync.cli.render import render_status, render_watched

if TYPE_CHECKING:
    from pathlib import Path

    from mastosync.status import Status

_WATCH_SECONDS = 3


@click.command(name="status")
@json_option
@click.option(
    "--watch",
    is_flag=True,
    help="Show it every 3 seconds, until nothing is pending and no copy is at work, or Ctrl-C. Without a terminal: a"
    " line each time; with --json, a document a line.",
)
@click.pass_obj
def status_command(invocation: Invocation, as_json: bool, watch: bool) -> None:
    """Show counts and bytes by state, type and reason, and what is left."""
    app = invocation.reading()
    status = app.status()
    while watch and not status.at_rest:
        _show_moving(status, app.manifest_path, as_json=as_json)
        time.sleep(_WATCH_SECONDS)
        status = app.status()
    if watch:
        _show_moving(status, app.manifest_path, as_json=as_json)
    elif as_json:
        show_json(_as_json(status, app.manifest_path))
    else:
        show(render_status(status, app.manifest_path))
        if status.surveyed is not None:
            from mastosync.cli.render_forecast import render_surveyed

            show(render_surveyed(status.surveyed, status.outlook if status.totals.pending else None))


def _show_moving(status: Status, manifest: Path, *, as_json: bool) -> None:
    """As often as somebody looks."""
    if as_json:
        show_json(_as_json(status, manifest), on_one_line=True)
    elif sys.stdout.isatty():
        redraw(render_status(status, manifest))
    else:
        show(render_watched(status))


def _as_json(status: Status, manifest: Path) -> dict[str, object]:
    return {**status.as_json(), "manifest": str(manifest)}
