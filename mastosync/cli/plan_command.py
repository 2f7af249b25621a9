"""`mastosync plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import bwlimit_option, json_option, rate_option, types_option
from mastosync.cli.output import show_json
from mastosync.cli.render import absent_types, render_plan, snapshot_line
from mastosync.config import Timetable
from mastosync.errors import UsageError
from mastosync.language import tr

if TYPE_CHECKING:
    from mastosync.engine.planner import Scope


@click.command(name="plan")
@types_option
@click.option("--only", type=click.Choice(["local", "remote", "all"]), help="Rows of this server, of others, or all.")
@click.option(
    "--max-age",
    type=click.IntRange(1, 36_500),
    metavar="DAYS",
    help="Leave out media of posts and preview cards of other servers that are older: Mastodon fetches them again."
    " Without it they come back.",
)
@click.option("--limit", type=click.IntRange(min=1), help="At most this many rows of each type.")
@click.option("--dry-run", is_flag=True, help="Count, tell what a copy will take, and write nothing.")
@click.option("--delta", is_flag=True, help="Read only what has changed since the last plan, where that will do.")
@rate_option
@bwlimit_option
@json_option
@click.pass_obj
def plan_command(
    invocation: Invocation,
    types: tuple[str, ...],
    only: str | None,
    max_age: int | None,
    limit: int | None,
    dry_run: bool,
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
    """
    from mastosync.engine.planner import PlanOptions

    defaults = invocation.config.plan
    options = PlanOptions(
        types=types or defaults.types,
        only=cast("Scope", only or defaults.only),
        limit=limit or defaults.limit,
        max_age=max_age or defaults.max_age,
    )
    if delta and dry_run:
        raise UsageError(tr("--delta and --dry-run do not go together: a dry run knows nothing of the last plan"))
    with invocation.running(stop_at_once=True) as app:
        result = app.plan(options, dry_run=dry_run, delta=delta)
        outlook = app.outlook(result.survey, rate, bwlimit) if dry_run or as_json else None
    if as_json:
        forecast = outlook and outlook.as_json()
        show_json({**result.as_json(), "dry_run": dry_run, "forecast": forecast})
    elif outlook is not None:
        from mastosync.cli.render_forecast import render_dry_run

        invocation.say(render_dry_run(result, outlook, snapshot_line(result), absent_types(result)))
    else:
        invocation.say(render_plan(result, invocation.manifest_path))
