"""`mastosync prune`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import at_most_option, json_option, source_gone_option, workers_option
from mastosync.cli.output import show_json
from mastosync.errors import ExitCode
from mastosync.language import tr, trn
from mastosync.units import human_bytes

if TYPE_CHECKING:
    from mastosync.pruning import PruneResult


@click.command(name="prune")
@click.option("--apply", is_flag=True, help="Remove them. Without it, only tell what would be removed.")
@click.option(
    "--adopted", is_flag=True, help="Remove adopted objects, too: each may be the only copy, or somebody else's."
)
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

    Only objects that this manifest records as copied are removed, and nothing at the source. The last plan has to be
    whole, and not older than an hour. Adopted objects stay unless --adopted is given: what Mastodon has stored at the
    destination since the switch is nowhere else, and Mastodon itself removes it there.
    """
    from mastosync.app.follow import prune
    from mastosync.pruning import PruneOptions

    options = PruneOptions(apply, at_most, workers or invocation.config.copy.workers, adopted)
    with invocation.running() as context:
        result = prune(context, options, source_gone=source_gone)
    if as_json:
        show_json(result.as_json())
    else:
        invocation.say(render_pruning(result, adopted=adopted))
    return ExitCode.INCOMPLETE if result.failed else ExitCode.OK


def render_pruning(result: PruneResult, *, adopted: bool) -> str:
    """What was removed, or would be. `adopted`: what was adopted is taken in."""
    from mastosync.findings.deleted import lost_rows_message

    lines = [
        trn(
            "{count:,} object ({size}) left the database and is still at the destination",
            "{count:,} objects ({size}) left the database and are still at the destination",
            result.found,
            size=human_bytes(result.found_bytes),
        )
    ]
    if result.kept:
        lines.append(tr("{count} of them stay: another row uses the same key", count=f"{result.kept:,}"))
    if result.adopted:
        lines.append(
            trn(
                "{count:,} of them stays: it was adopted. It may be the only copy, or belong to others who use this"
                " bucket. If neither is so, `mastosync prune --adopted --apply` removes it, too",
                "{count:,} of them stay: they were adopted. They may be the only copies, or belong to others who use"
                " this bucket. If neither is so, `mastosync prune --adopted --apply` removes them, too",
                result.adopted,
            )
        )
    if result.lost:
        lines.append(lost_rows_message(result.lost))
    if result.failed:
        lines.append(tr("{count} could not be removed, such as:", count=f"{result.failed:,}"))
        lines += [f"  {example}" for example in result.examples]
    if result.applied:
        lines.append(trn("{count:,} was removed", "{count:,} were removed", result.removed))
    elif result.found > result.kept + result.adopted:
        command = "mastosync prune --adopted --apply" if adopted else "mastosync prune --apply"
        lines.append(tr("nothing was removed: `{command}` does that", command=command))
    if result.unknown:
        lines.append(tr("{unknown}: run `mastosync plan`, then prune again", unknown=result.unknown))
    return "\n".join(lines)
