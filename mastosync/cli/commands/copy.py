"""`mastosync copy`."""

from __future__ import annotations

import click

from mastosync.cli.copy_results import render_copy
from mastosync.cli.invocation import Invocation
from mastosync.cli.options import PaceOptions, pace_options, types_option
from mastosync.errors import ExitCode


@click.command(name="copy")
@pace_options
@types_option
@click.option("--limit", type=click.IntRange(min=1), help="Copy at most this many entries in this run.")
@click.pass_obj
def copy_command(invocation: Invocation, pace: PaceOptions, types: tuple[str, ...], limit: int | None) -> ExitCode:
    """Copy everything that is pending.

    Ctrl-C once finishes what is in flight; the same command goes on from there, also after a crash.
    """
    from mastosync.app.copy import copy
    from mastosync.app.status import status

    options = pace.options(invocation.config, limit)
    with invocation.running() as context:
        progress = copy(context, options, types)
        left = status(context)
    invocation.say(render_copy(progress, left))
    news = left.news_of(types)
    invocation.tell_news(news)
    return ExitCode.INCOMPLETE if news else ExitCode.OK
