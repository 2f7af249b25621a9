"""`mastosync status`."""

from __future__ import annotations

import json

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.render import render_status


@click.command(name="status")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def status_command(invocation: Invocation, as_json: bool) -> None:
    """Show counts and bytes by state, type and reason."""
    app = invocation.reading()
    status = app.status()
    if as_json:
        click.echo(json.dumps({**status.as_json(), "manifest": str(app.manifest_path)}, indent=2))
    else:
        click.echo(render_status(status, app.manifest_path))
