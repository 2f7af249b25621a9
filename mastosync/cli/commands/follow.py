"""`mastosync follow`."""

from __future__ import annotations

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import PaceOptions, Scope, at_most_option, duration, pace_options, scope_options
from mastosync.cli.output import warn
from mastosync.errors import ExitCode


@click.command(name="follow")
@click.option(
    "--every",
    metavar="DURATION",
    callback=duration,
    help="From the beginning of a round to that of the next one: 10m, 1h30m, 45s.  [default: 10m, or [follow] every]",
)
@click.option("--once", is_flag=True, help="One round, and no more.")
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

    Each round reads what has come or changed since the last one, and once a day everything. Between rounds the
    manifest is free for other commands. A round that finds database or stores out of reach is told, and tried again.
    What the last plan took in is what is followed: --type, --only and --max-age have to be those that it was given.

    A round that finds another instance's database, an older copy of the right one, one that lacks all rows of a
    table, or that much of what was planned is gone, says so, and copies what is pending and what is new (exit code 6
    with --once); `mastosync plan --accept-gone` goes on. If it does not tell what became private, nothing is copied
    once the last plan is an hour old.
    """
    from mastosync.app.following import FollowOptions
    from mastosync.cli.render import failed_lines
    from mastosync.cli.render_following import render_failure, render_round
    from mastosync.pruning import PruneOptions

    config, refused = invocation.config, False
    news: dict[str, int] = {}
    copy = pace.options(config)
    pruning = PruneOptions(apply=True, at_most=at_most, workers=copy.workers) if prune else None
    options = FollowOptions(scope.options(config), copy, every or config.follow.every, once, full, pruning)
    with invocation.running() as app:
        for each in app.follow(options):
            if each.result is None:
                warn(render_failure(each))
                continue
            invocation.say(render_round(each, each.result))
            if each.result.refusal is not None:
                warn(f"{each.result.refusal.message}: {each.result.refusal.hint}")
            if each.result.news != news:
                invocation.tell_news(each.result.news)
            news, refused = each.result.news, each.result.plan is None
        if news:
            invocation.say("\n".join(failed_lines(app.status())))
    if refused:
        return ExitCode.MANIFEST
    return ExitCode.INCOMPLETE if news else ExitCode.OK
