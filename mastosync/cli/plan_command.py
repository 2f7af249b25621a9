"""`mastosync plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import types_option
from mastosync.cli.render import render_plan
from mastosync.errors import UsageError
from mastosync.language import tr

if TYPE_CHECKING:
    from mastosync.engine.planner import Scope


@click.command(name="plan")
@types_option
@click.option("--only", type=click.Choice(["local", "remote", "all"]), help="Rows of this server, of others, or all.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many rows of each type.")
@click.option("--dry-run", is_flag=True, help="Count, and write nothing.")
@click.option("--delta", is_flag=True, help="Read only what has changed since the last plan, where that will do.")
@click.pass_obj
def plan_command(
    invocation: Invocation, types: tuple[str, ...], only: str | None, limit: int | None, dry_run: bool, delta: bool
) -> None:
    """Snapshot every key that the database refers to into the manifest.

    Planning again adds what is new, marks what is gone, and leaves what is done alone. A plan that is cut off leaves
    nothing behind. With --delta only rows are read that came or changed since the last plan, which takes seconds;
    rows that were deleted are found by the next plan without it.
    """
    from mastosync.engine.planner import PlanOptions

    defaults = invocation.config.plan
    options = PlanOptions(
        types=types or defaults.types,
        only=cast("Scope", only or defaults.only),
        limit=limit or defaults.limit,
    )
    if delta and dry_run:
        raise UsageError(tr("--delta and --dry-run do not go together: a dry run knows nothing of the last plan"))
    with invocation.running(stop_at_once=True) as app:
        result = app.plan(options, dry_run=dry_run, delta=delta)
    invocation.say(render_plan(result, None if dry_run else invocation.manifest_path))
