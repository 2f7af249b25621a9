"""`mastosync follow`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from mastosync.cli.copy_results import failed_lines
from mastosync.cli.invocation import Invocation
from mastosync.cli.options import PaceOptions, Scope, at_most_option, duration, pace_options, scope_options
from mastosync.cli.output import warn
from mastosync.errors import ExitCode
from mastosync.language import enumerated, joined, tr
from mastosync.units import clock, human_bytes

if TYPE_CHECKING:
    from mastosync.app.follow import FollowResult
    from mastosync.following import Round


@click.command(name="follow")
@click.option(
    "--every",
    metavar="DURATION",
    callback=duration,
    help="Time from the start of a round to the start of the next one: 10m, 1h30m, 45s.  [default: 10m, or [follow]"
    " every]",
)
@click.option("--once", is_flag=True, help="Run one round, and no more.")
@click.option("--full", is_flag=True, help="Read all of the database in the first round.")
@click.option("--prune", is_flag=True, help="Remove at the destination what has left the database, as `prune` does.")
@at_most_option
@scope_options
@pace_options
@click.pass_obj
def follow_command(
    invocation: Invocation,
    every: float | None,
    once: bool,
    full: bool,
    prune: bool,
    at_most: int | None,
    scope: Scope,
    pace: PaceOptions,
) -> ExitCode:
    """Plan and copy again and again, until told to stop.

    Each round reads what was added or changed since the last one, and once a day everything. Between rounds, other
    commands can use the manifest. A round that cannot reach the database or a store says so, and is tried again. What
    the last plan took in is what is followed: give the same --type, --only and --max-age.

    A round that finds another instance's database, an older copy of the right one, one that lacks all rows of a
    table, or that much of what was planned is gone, says so, and copies what is pending and what is new (exit code 6
    with --once); `mastosync plan --accept-gone` goes on. If it does not tell what became private, nothing is copied
    once the last plan is an hour old.
    """
    from mastosync.app.follow import FollowOptions, follow
    from mastosync.app.status import status
    from mastosync.pruning import PruneOptions

    config, refused, unpruned = invocation.config, False, False
    news: dict[str, int] = {}
    copy = pace.options(config)
    pruning = PruneOptions(apply=True, at_most=at_most, workers=copy.workers) if prune else None
    options = FollowOptions(scope.options(config), copy, every or config.follow.every, once, full, pruning)
    with invocation.running() as context:
        for each in follow(context, options):
            if each.result is None:
                warn(render_failure(each))
                continue
            invocation.say(_render_round(each, each.result))
            if each.result.refusal is not None:
                warn(f"{each.result.refusal.message}: {each.result.refusal.hint}")
            if each.result.news != news:
                invocation.tell_news(each.result.news)
            news, refused = each.result.news, each.result.plan is None or each.result.held_back
            unpruned = each.result.refusal is not None
        if news:
            invocation.say("\n".join(failed_lines(status(context))))
    if refused:
        return ExitCode.MANIFEST
    return ExitCode.INCOMPLETE if news or unpruned else ExitCode.OK


def _render_round(done: Round[FollowResult], result: FollowResult) -> str:
    """What a round has done, and when the next one is."""
    from mastosync.findings.deleted import lost_rows_message

    copied, parts = result.copy, []
    if result.plan is None:
        parts.append(tr("not planned"))
    else:
        change = result.plan.total()
        parts += [
            tr("{count} new", count=f"{change.added + change.revived:,}"),
            tr("{count} replaced", count=f"{change.reopened:,}"),
            tr("{count} gone", count=f"{change.gone:,}"),
        ]
    if result.held_back:
        parts.append(tr("nothing copied, as it is not known what became private meanwhile"))
    else:
        transferred = copied.done - copied.found
        parts.append(tr("{count} copied ({size})", count=f"{transferred:,}", size=human_bytes(copied.size_bytes)))
    if copied.found:
        parts.append(tr("{count} were there already", count=f"{copied.found:,}"))
    if copied.failed:
        parts.append(tr("{count} failed", count=f"{copied.failed:,}"))
    if result.pruning is not None:
        parts.append(tr("{count} removed", count=f"{result.pruning.removed:,}"))
        if result.pruning.lost:
            parts.append(lost_rows_message(result.pruning.lost))
    line = tr(
        "round {number}: {what} in {seconds} s",
        number=done.number,
        what=enumerated(parts),
        seconds=f"{done.seconds:,.1f}",
    )
    return joined([line, *_next(done)])


def render_failure(failed: Round[FollowResult]) -> str:
    """Why a round has come to nothing."""
    assert failed.error is not None  # noqa: S101 - there is a result otherwise
    line = tr(
        "round {number} failed ({failures} in a row): {why}",
        number=failed.number,
        failures=failed.failures,
        why=joined(each for each in (failed.error.message, failed.error.hint) if each),
    )
    return joined([line, *_next(failed)])


def _next(done: Round[Any]) -> list[str]:
    """When the next round begins; empty: there is none."""
    if done.wait_seconds is None:
        return []
    return [tr("next at {time}", time=clock(time.time() + done.wait_seconds))]
