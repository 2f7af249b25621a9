"""`mastosync plan`."""

from __future__ import annotations

from dataclasses import replace

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import Scope, bwlimit_option, json_option, rate_option, scope_options
from mastosync.cli.output import show_json, warn
from mastosync.cli.render import absent_types, render_plan, snapshot_line
from mastosync.config import Timetable
from mastosync.errors import UsageError
from mastosync.language import tr


@click.command(name="plan")
@scope_options
@click.option("--limit", type=click.IntRange(min=1), help="At most this many rows of each type.")
@click.option("--dry-run", is_flag=True, help="Count, tell what a copy will take, and write nothing.")
@click.option(
    "--accept-gone",
    is_flag=True,
    help="Go on though much of what was planned is gone, or the database is another, an older one, or not whole.",
)
@click.option("--delta", is_flag=True, help="Read only what has changed since the last plan, where that will do.")
@rate_option
@bwlimit_option
@json_option
@click.pass_obj
def plan_command(
    invocation: Invocation,
    scope: Scope,
    limit: int | None,
    dry_run: bool,
    accept_gone: bool,
    delta: bool,
    rate: int | None,
    bwlimit: Timetable | None,
    as_json: bool,
) -> None:
    """Snapshot every key that the database refers to into the manifest.

    Planning again adds what is new, marks what is gone, and leaves what is done alone. A plan that is cut off leaves
    nothing behind. With --delta only rows are read that came or changed since the last plan, which takes seconds;
    rows that were deleted are found by the next plan without it. A dry run tells requests, time and money before
    anything is moved; --rate and --bwlimit are those that `copy` would be given.

    A plan that finds another instance's database, an older copy of the right one, one that lacks all rows of a table,
    or that much of what was planned is gone, changes nothing and ends with 6; --accept-gone goes on.
    """
    if delta and dry_run:
        raise UsageError(tr("--delta and --dry-run do not go together: a dry run knows nothing of the last plan"))
    with invocation.running(stop_at_once=True) as app:
        options = replace(scope.options(invocation.config, limit), accept_gone=accept_gone)
        result = app.plan(options, dry_run=dry_run, delta=delta)
        outlook = app.outlook(result.survey, rate, bwlimit) if dry_run or as_json else None
        pending = 0 if dry_run or as_json else app.status().totals.pending
    if result.refusal is not None:
        warn(tr("a plan would be refused: {why}", why=f"{result.refusal.message}. {result.refusal.hint}"))
    to_bucket = invocation.config.destination_folder.path is None
    if as_json:
        forecast = outlook and outlook.as_json()
        given = invocation.config.destination.cache_control or None if to_bucket else None
        show_json({**result.as_json(), "dry_run": dry_run, "forecast": forecast, "cache_control": given})
    elif outlook is not None:
        from mastosync.cli.render_forecast import cache_control_lines, render_dry_run

        notes = [*absent_types(result), *(cache_control_lines(invocation.config) if to_bucket else ())]
        invocation.say(render_dry_run(result, outlook, snapshot_line(result), notes))
    else:
        invocation.say(render_plan(result, invocation.manifest_path, pending))
