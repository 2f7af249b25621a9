"""`mastosync accept`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mastosync.cli.copy_results import counts_text
from mastosync.cli.invocation import Invocation
from mastosync.cli.options import types_option
from mastosync.cli.terminal import table
from mastosync.errors import UsageError
from mastosync.language import tr, trn
from mastosync.model import ACCEPTABLE_REASONS, FAILURE_REASONS, Reason

if TYPE_CHECKING:
    from collections import Counter


@click.command(name="accept")
@click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice([reason.value for reason in FAILURE_REASONS]),
    help="Accept what failed for this reason; repeatable. Not network, server or throttled, which may go away by"
    " themselves.",
)
@types_option
@click.option("--gone", is_flag=True, help="Accept what plans with --accept-gone have lost: it was really deleted.")
@click.option("--undo", is_flag=True, help="Take back what was accepted: all of it, or of these reasons and types.")
@click.option("--dry-run", is_flag=True, help="Only count; change nothing.")
@click.pass_obj
def accept_command(
    invocation: Invocation, reasons: tuple[str, ...], types: tuple[str, ...], gone: bool, undo: bool, dry_run: bool
) -> None:
    """Accept losses that are known, so that exit code 3 means something new.

    They stay failed, with their reasons, and count as lost, but do not let `copy`, `follow` and `retry-failed` end with
    exit code 3. That lasts until an entry is done, or its row has another file.

    After `plan --accept-gone`, `report` keeps the old store until a plan has found again what was lost. If it was
    really deleted, --gone says so.
    """
    from mastosync.app.manifest import accept
    from mastosync.app.status import status

    if gone:
        _accept_gone(invocation, dry_run=dry_run, others=bool(reasons or types or undo))
        return
    chosen = _chosen(reasons, all_if_none=undo or dry_run)
    with invocation.running() as context:
        found = accept(context, types, chosen, undo=undo, dry_run=dry_run)
        news = status(context).news_of()
    invocation.say(_render_losses(found, undo=undo, dry_run=dry_run))
    if news and not undo and not dry_run:
        invocation.say(tr("not accepted: {reasons}", reasons=counts_text(news)))


def _accept_gone(invocation: Invocation, *, dry_run: bool, others: bool) -> None:
    """Raises: UsageError."""
    from mastosync.app.manifest import accept_gone

    if others:
        raise UsageError(
            tr("--gone does not go together with --reason, --type and --undo"),
            hint=tr("`mastosync accept --gone` applies to everything that plans have lost, and cannot be undone"),
        )
    with invocation.running() as context:
        lost = accept_gone(context, dry_run=dry_run)
    invocation.say(_render_gone(lost, dry_run=dry_run))


def _chosen(reasons: tuple[str, ...], *, all_if_none: bool) -> tuple[Reason, ...]:
    """Raises: UsageError if nothing is named that can be accepted."""
    if not reasons and not all_if_none:
        raise UsageError(
            tr("no losses were named"),
            hint=tr(
                "give --reason: `mastosync accept --reason missing` accepts what the source has lost; `mastosync accept"
                " --dry-run` counts what could be accepted"
            ),
        )
    for reason in map(Reason, reasons):
        if reason not in ACCEPTABLE_REASONS:
            raise UsageError(
                tr(
                    "failures with the reason {reason} may go away by themselves, and cannot be accepted",
                    reason=reason.value,
                ),
                hint=tr("`mastosync retry-failed --reason {reason}` tries it again", reason=reason.value),
            )
    return tuple(map(Reason, reasons)) or ACCEPTABLE_REASONS


def _render_losses(found: Counter[tuple[str, Reason]], *, undo: bool, dry_run: bool) -> str:
    """How many losses were accepted or taken back, or would be."""
    count, note = found.total(), tr("nothing was changed")
    if not count:
        return tr("nothing was accepted before") if undo else tr("there are no other failures that can be accepted")
    if undo and dry_run:
        text = trn("{count:,} entry would count as new again", "{count:,} entries would count as new again", count)
    elif undo:
        text, note = trn("{count:,} entry counts as new again", "{count:,} entries count as new again", count), ""
    elif dry_run:
        text = trn("{count:,} entry can be accepted as lost", "{count:,} entries can be accepted as lost", count)
    else:
        text = trn("{count:,} entry is accepted as lost", "{count:,} entries are accepted as lost", count)
        note = tr(
            "accepted entries stay `failed`, but no longer count as new failures; `mastosync accept --undo` takes that"
            " back"
        )
    rows = [(name, reason.value, f"{objects:,}") for (name, reason), objects in found.items()]
    return "\n".join([text, "", table((tr("type"), tr("reason"), tr("entries")), rows), *(["", note] if note else [])])


def _render_gone(lost: int, *, dry_run: bool) -> str:
    """How many entries were lost by `plan --accept-gone`, and count as deleted now, or would."""
    if not lost:
        return tr("no entry that a plan with --accept-gone has lost is still missing")
    if dry_run:
        text = trn("{count:,} entry would count as deleted", "{count:,} entries would count as deleted", lost)
        return text + "\n\n" + tr("nothing was changed")
    return trn("{count:,} entry counts as deleted", "{count:,} entries count as deleted", lost)
