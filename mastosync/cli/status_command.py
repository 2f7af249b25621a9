"""`mastosync status`."""

from __future__ import annotations

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option
from mastosync.cli.output import show, show_json
from mastosync.cli.render import render_status


@click.command(name="status")
@json_option
@click.pass_obj
def status_command(invocation: Invocation, as_json: bool) -> None:
    """Show counts and bytes by state, type and reason."""
    app = invocation.reading()
    status = app.status()
    if as_json:
        show_json({**status.as_json(), "manifest": str(app.manifest_path)})
    else:
        show(render_status(status, app.manifest_path))
        if status.surveyed is not None:
            from mastosync.cli.render_forecast import render_surveyed

            show(render_surveyed(status.surveyed, status.outlook if status.totals.pending else None))
