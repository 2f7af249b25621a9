"""`mastosync prune`."""

from __future__ import annotations

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import at_most_option, json_option, source_gone_option, workers_option
from mastosync.cli.output import show_json
from mastosync.errors import ExitCode


@click.command(name="prune")
@click.option("--apply", is_flag=True, help="Remove. Without it, only tell what that would be.")
@click.option("--adopted", is_flag=True, help="Also what was adopted: maybe the only copy, or somebody else's.")
@at_most_option
@source_gone_option
@workers_option
@json_option
@click.pass_obj
def prune_command(
    invocation: Invocation,
    apply: bool,
    adopted: bool,
    at_most: int | None,
    source_gone: bool,
    workers: int | None,
    as_json: bool,
) -> ExitCode:
    """Remove objects at the destination whose rows have left the database since they were copied.

    Never at the source, and only what this manifest knows to have brought. The last plan has to be whole, and not
    older than an hour. What was adopted stays without --adopted: what Mastodon has stored at the destination since the
    switch lies nowhere else, and Mastodon itself removes it there.
    """
    from mastosync.cli.render_following import render_pruning
    from mastosync.pruning import PruneOptions

    options = PruneOptions(apply, at_most, workers or invocation.config.copy.workers, adopted)
    with invocation.running() as app:
        result = app.prune(options, source_gone=source_gone)
    if as_json:
        show_json(result.as_json())
    else:
        invocation.say(render_pruning(result, adopted=adopted))
    return ExitCode.INCOMPLETE if result.failed else ExitCode.OK
