"""`mastosync plan`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import Scope, bwlimit_option, json_option, rate_option, scope_options
from mastosync.cli.output import show_json, warn
from mastosync.cli.terminal import table
from mastosync.config import Timetable
from mastosync.errors import UsageError
from mastosync.language import enumerated, tr
from mastosync.units import human_bytes

if TYPE_CHECKING:
    from mastosync.planning.planner import PlanResult


@click.command(name="plan")
@scope_options
@click.option("--limit", type=click.IntRange(min=1), help="Plan at most this many rows of each type.")
@click.option("--dry-run", is_flag=True, help="Count, tell what a copy will take, and write nothing.")
@click.option(
    "--accept-gone",
    is_flag=True,
    help="Go on though much of what was planned is gone, or the database is another, an older one, or not whole.",
)
@click.option("--delta", is_flag=True, help="Read only what has changed since the last plan, if that is enough.")
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

    Planning again adds what is new, marks what is gone, and leaves what is done alone. A plan that is interrupted
    leaves nothing behind. With --delta, only rows that were added or changed since the last plan are read, which takes
    seconds; rows that were deleted are found by the next plan without it. A dry run estimates requests, time and money
    before anything is moved; give it the --rate and --bwlimit that you would give `copy`.

    A plan that finds another instance's database, an older copy of the right one, one that lacks all rows of a table,
    or that much of what was planned is gone, changes nothing and ends with 6; --accept-gone goes on.
    """
    from mastosync.app.plan import plan
    from mastosync.app.status import forecast, status

    if delta and dry_run:
        raise UsageError(tr("--delta and --dry-run do not go together: a dry run knows nothing of the last plan"))
    with invocation.running(stop_at_once=True) as context:
        options = replace(scope.options(invocation.config, limit), accept_gone=accept_gone)
        result = plan(context, options, dry_run=dry_run, delta=delta)
        outlook = forecast(context, result.survey, rate, bwlimit) if dry_run or as_json else None
        pending = 0 if dry_run or as_json else status(context).totals.pending
    if result.refusal is not None:
        warn(tr("a plan would be refused: {why}", why=f"{result.refusal.message}. {result.refusal.hint}"))
    cache_control = invocation.config.destination.cache_control
    to_bucket = invocation.config.destination_folder.path is None
    if as_json:
        given = cache_control or None if to_bucket else None
        expected = outlook and outlook.as_json()
        show_json({**result.as_json(), "dry_run": dry_run, "forecast": expected, "cache_control": given})
    elif outlook is not None:
        from mastosync.cli.forecast import render_dry_run
        from mastosync.findings.messages import cache_control_message

        notes = _absent_types(result)
        if to_bucket:
            from_disk = invocation.config.source_folder.path is not None
            notes.append(cache_control_message(cache_control, from_disk=from_disk))
        invocation.say(render_dry_run(result, outlook, _snapshot_line(result), notes))
    else:
        invocation.say(render_plan(result, invocation.manifest_path, pending))


def render_plan(result: PlanResult, manifest: Path, pending: int) -> str:
    """What a plan found, and what changed in the manifest."""
    left_out = result.total().excluded
    head = (
        tr("type"),
        tr("objects"),
        tr("known bytes"),
        tr("new"),
        tr("gone"),
        *([tr("left out")] if left_out else []),
    )
    rows = []
    for name, delta in [*result.by_table.items(), (tr("total"), result.total())]:
        again = delta.added + delta.revived + delta.reopened
        row = (name, f"{delta.seen:,}", human_bytes(delta.seen_bytes), f"{again:,}", f"{delta.gone:,}")
        rows.append(row + ((f"{delta.excluded:,}",) if left_out else ()))
    notes = _absent_types(result)
    if result.base is not None:
        since = f"{result.base.since:%F %T}"
        notes.append(
            tr(
                "only rows that are new or have changed since {since} UTC were read; deleted rows are not noticed "
                "this way",
                since=since,
            )
        )
    if pending:
        notes.append(tr("next: mastosync copy  (manifest: {manifest})", manifest=manifest))
    else:
        notes.append(tr("nothing is to be copied  (manifest: {manifest})", manifest=manifest))
    return "\n".join([_snapshot_line(result), "", table(head, rows), "", *notes])


def _snapshot_line(result: PlanResult) -> str:
    """Of what a plan was made."""
    snapshot = result.snapshot
    return tr(
        "snapshot of {database} (PostgreSQL {server_version}) at {taken_at:%F %T} UTC",
        database=snapshot.database,
        server_version=snapshot.server_version,
        taken_at=snapshot.taken_at,
    )


def _absent_types(result: PlanResult) -> list[str]:
    """A line about tables that this release of Mastodon does not have, if there are any."""
    absent = [table for table in result.by_table if table not in result.snapshot.tables]
    return [tr("not in this database, so empty: {names}", names=enumerated(absent))] if absent else []
