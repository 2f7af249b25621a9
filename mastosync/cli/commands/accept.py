"""`mastosync accept`."""

from __future__ import annotations

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import types_option
from mastosync.cli.render import listed, render_acceptance, render_accepted_gone
from mastosync.errors import UsageError
from mastosync.language import tr
from mastosync.model import ACCEPTABLE_REASONS, FAILURE_REASONS, Reason


@click.command(name="accept")
@click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice([reason.value for reason in FAILURE_REASONS]),
    help="What failed for this reason; repeatable. Not what may pass: network, server, throttled.",
)
@types_option
@click.option("--gone", is_flag=True, help="What plans have lost by --accept-gone: it was deleted.")
@click.option("--undo", is_flag=True, help="Take back what was accepted: all of it, or of these reasons and types.")
@click.option("--dry-run", is_flag=True, help="Only count; change nothing.")
@click.pass_obj
def accept_command(
    invocation: Invocation, reasons: tuple[str, ...], types: tuple[str, ...], gone: bool, undo: bool, dry_run: bool
) -> None:
    """Take note of losses that are known, so that exit code 3 means something new.

    They stay failed, with their reasons, and count as lost, but do not let `copy`, `follow` and `retry-failed` end with
    exit code 3. That lasts until an entry is done, or its row has another file.

    After `plan --accept-gone`, `report` keeps the old store until a plan has found again what was lost. If it was
    really deleted, --gone says so.
    """
    if gone:
        _accept_gone(invocation, dry_run=dry_run, others=bool(reasons or types or undo))
        return
    chosen = _chosen(reasons, all_if_none=undo or dry_run)
    with invocation.running() as app:
        found = app.accept(types, chosen, undo=undo, dry_run=dry_run)
        news = app.status().news_of()
    invocation.say(render_acceptance(found, undo=undo, dry_run=dry_run))
    if news and not undo and not dry_run:
        invocation.say(tr("still new: {reasons}", reasons=listed(news)))


def _accept_gone(invocation: Invocation, *, dry_run: bool, others: bool) -> None:
    """Raises: UsageError."""
    if others:
        raise UsageError(
            tr("--gone does not go together with --reason, --type and --undo"),
            hint=tr("`mastosync accept --gone` takes in all that plans have lost, and is for good"),
        )
    with invocation.running() as app:
        lost = app.accept_gone(dry_run=dry_run)
    invocation.say(render_accepted_gone(lost, dry_run=dry_run))


def _chosen(reasons: tuple[str, ...], *, all_if_none: bool) -> tuple[Reason, ...]:
    """Raises: UsageError if nothing is named that can be accepted."""
    if not reasons and not all_if_none:
        raise UsageError(
            tr("nothing says which losses are known"),
            hint=tr(
                "give --reason: `mastosync accept --reason missing` accepts what the source has lost; `mastosync accept"
                " --dry-run` counts what could be accepted"
            ),
        )
    for reason in map(Reason, reasons):
        if reason not in ACCEPTABLE_REASONS:
            raise UsageError(
                tr("what failed with the reason {reason} may pass, and is not accepted", reason=reason.value),
                hint=tr("`mastosync retry-failed --reason {reason}` tries it again", reason=reason.value),
            )
    return tuple(map(Reason, reasons)) or ACCEPTABLE_REASONS
