"""`mastosync apply-settings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option, rate_option, workers_option
from mastosync.cli.output import show_json
from mastosync.errors import ExitCode
from mastosync.language import deferred, say, tr, trn
from mastosync.terminal_text import one_line
from mastosync.units import human_seconds

if TYPE_CHECKING:
    from collections import Counter

    from mastosync.applying.applier import ApplyResult
    from mastosync.applying.one_object import ApplyStatus


@click.command(name="apply-settings")
@click.option("--dry-run", is_flag=True, help="Look at every object, tell how many would be stored again, and stop.")
@workers_option
@rate_option
@json_option
@click.pass_obj
def apply_settings_command(
    invocation: Invocation, dry_run: bool, workers: int | None, rate: int | None, as_json: bool
) -> ExitCode:
    """Give copied objects the current `cache_control`, `acl` and `storage_class` of the destination.

    For settings that were changed after a copy. The store copies each object onto itself: nothing is uploaded, and the
    source is not asked. Cache-Control is replaced if there is none, or if it has a value that was configured before;
    any other value is the object's own, and stays. An object may have had such a value at the source already, for
    example the default, which Mastodon writes. A new copy would keep it; here it is replaced, because the two cannot be
    told apart.

    Where a bucket keeps versions, it keeps the old ones, too. What was private by its old settings is opened only if
    the database says now that its row is public.

    Ctrl-C once finishes what is in flight; the same command goes on from there, also after a crash.
    """
    from mastosync.app.copy import apply_settings
    from mastosync.applying.applier import ApplyOptions

    options = ApplyOptions(workers or invocation.config.copy.workers, dry_run)
    with invocation.running() as context:
        result = apply_settings(context, options, rate)
    if as_json:
        show_json(result.as_json())
    else:
        invocation.say(render_applying(result))
    return ExitCode.INCOMPLETE if result.left and not dry_run else ExitCode.OK


_REMEDIES: dict[str, str] = {
    "hidden": deferred(
        "stored as public, but nobody can read it without credentials. Mastodon may have hidden it since: the next"
        " `mastosync plan` tells. If it should be public, `mastosync verify --public` finds it after that plan, and"
        " `mastosync copy` stores it again"
    ),
    "different": deferred("the object there is missing, or is not the recorded one: run `mastosync verify` first"),
    "failed": deferred("the store refused it or kept failing: run the same command again"),
}


def render_applying(result: ApplyResult) -> str:
    """All of it."""
    from mastosync.applying.one_object import ApplyStatus

    if not result.others:
        return tr("nothing to do: everything done was stored with the current settings")
    counts = result.counts
    checked = counts.total()
    line = trn(
        "looked at {checked} object in {duration}",
        "looked at {checked} objects in {duration}",
        checked,
        checked=f"{checked:,}",
        duration=human_seconds(result.seconds),
    )
    values = {
        "told": line,
        "objects": f"{counts[ApplyStatus.APPLIED]:,}",
        "in_line": f"{counts[ApplyStatus.IN_LINE]:,}",
    }
    line = (
        tr("{told}; to be stored again: at most {objects}, already as configured: {in_line}", **values)
        if result.dry_run
        else tr("{told}; stored again: {objects}, already as configured: {in_line}", **values)
    )
    lines = [line]
    if result.goes_on:
        lines.append(tr("an earlier run has done a part; only the rest was checked"))
    lines += _left_as_they_are(counts)
    lines += [
        f"{status.value}: {counts[status]:,}: {say(_REMEDIES[status])}"
        for status in ApplyStatus
        if counts[status] and status in _REMEDIES
    ]
    lines += [f"  {one_line(example)}" for example in result.examples]
    if result.finding:
        lines.append(say(result.finding))
    return "\n".join([*lines, _end(result)])


def _left_as_they_are(counts: Counter[ApplyStatus]) -> list[str]:
    from mastosync.applying.one_object import ApplyStatus

    lines = []
    if kept := counts[ApplyStatus.KEPT_BACK]:
        lines.append(
            trn(
                "{objects} private object is left as it is: no ACL is sent that would keep it private",
                "{objects} private objects are left as they are: no ACL is sent that would keep them private",
                kept,
                objects=f"{kept:,}",
            )
        )
    if closed := counts[ApplyStatus.CLOSED]:
        lines.append(
            trn(
                "{objects} object is not opened: its row has become private or was deleted, which the next"
                " `mastosync plan` records",
                "{objects} objects are not opened: their rows have become private or were deleted, which the next"
                " `mastosync plan` records",
                closed,
                objects=f"{closed:,}",
            )
        )
    return lines


def _end(result: ApplyResult) -> str:
    if result.dry_run:
        return tr("a dry run: nothing was written")
    if result.in_line:
        return tr("all well: everything done has the current settings")
    if result.left:
        return tr("some objects do not have the current settings: see above, then run the same command again")
    if pending := result.pending:
        return trn(
            "everything done has the current settings; {objects} object is pending: run `mastosync copy`, then this"
            " again",
            "everything done has the current settings; {objects} objects are pending: run `mastosync copy`, then this"
            " again",
            pending,
            objects=f"{pending:,}",
        )
    return tr(
        "everything done has the current settings, but the destination also has objects that are not done: run"
        " `mastosync copy`, then this again"
    )
