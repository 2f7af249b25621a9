"""`mastosync refetch`."""

from __future__ import annotations

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option, source_gone_option, types_option
from mastosync.cli.output import show_json, warn
from mastosync.errors import ExitCode
from mastosync.language import tr


@click.command(name="refetch")
@click.option("--apply", is_flag=True, help="Fetch, and write to the destination. Without it, nobody is asked.")
@click.option("--limit", type=click.IntRange(min=1), help="Fetch so many files at most.")
@click.option("--workers", type=click.IntRange(min=1), help="Servers asked at once.  [default: 8, or [copy] workers]")
@source_gone_option
@types_option
@json_option
@click.pass_obj
def refetch_command(
    invocation: Invocation,
    apply: bool,
    limit: int | None,
    workers: int | None,
    source_gone: bool,
    types: tuple[str, ...],
    as_json: bool,
) -> ExitCode:
    """Fetch what the source has lost again, from the servers that it came from.

    Of what failed as `missing`, originals whose row has a URL can come back, as far as Mastodon had stored them
    without change. Without --apply this only tells how many those are.
    """
    from mastosync.cli.render_refetching import render_refetching
    from mastosync.refetching.refetcher import RefetchOptions

    config = invocation.config
    options = RefetchOptions(
        apply, workers or config.copy.workers, types, limit, float(config.refetch.requests_per_second)
    )
    if apply and config.refetch.allow_networks:
        named = ", ".join(map(str, config.refetch.allow_networks))
        warn(tr("URLs in the database can reach {named}, as [refetch] allow_networks says", named=named))
    with invocation.running() as app:
        result = app.refetch(options, source_gone=source_gone)
    if as_json:
        show_json(result.as_json())
    else:
        invocation.say(render_refetching(result))
    return ExitCode.OK if result.complete else ExitCode.INCOMPLETE
