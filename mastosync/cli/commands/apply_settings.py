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
    """Bring what is done in line with `cache_control`, `acl` and `storage_class` of the destination.

    For settings that were changed after a copy. The store copies each object onto itself: nothing is uploaded, and the
    source is not asked. A Cache-Control is replaced if there is none, or if it is one that was configured before; any
    other is the object's own, and stays. If the source has the value of before, too, such as the default, which
    Mastodon writes, a new copy would keep it; here it is replaced, as nothing tells whose it is.

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
        "was stored as public, and nobody reads it without credentials: Mastodon may have hidden it since, which the"
        " next `mastosync plan` tells; if it should be read, `mastosync verify --public` finds it after that plan, and"
        " `mastosync copy` stores it again"
    ),
    "different": deferred("another object lies there than was recorded, or none: run `mastosync verify` first"),
    "failed": deferred("the store refused it or kept failing: run the same command again"),
}


def render_applying(result: ApplyResult) -> str:
    """All of it."""
    from mastosync.applying.one_object import ApplyStatus

    if not result.others:
        return tr("nothing to do: whatever is done was stored under the settings of today")
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
        tr("{told}; to be stored again: at most {objects}, in line already: {in_line}", **values)
        if result.dry_run
        else tr("{told}; stored again: {objects}, in line before: {in_line}", **values)
    )
    lines = [line]
    if result.goes_on:
        lines.append(tr("an earlier run had come some of the way; only the rest was looked at"))
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
                "{objects} private object is left as it is: no ACL is sent that would keep it so",
                "{objects} private objects are left as they are: no ACL is sent that would keep them so",
                kept,
                objects=f"{kept:,}",
            )
        )
    if closed := counts[ApplyStatus.CLOSED]:
        lines.append(
            trn(
                "{objects} object is not opened: its row is private or gone by now, which the next `mastosync plan`"
                " takes in",
                "{objects} objects are not opened: their rows are private or gone by now, which the next"
                " `mastosync plan` takes in",
                closed,
                objects=f"{closed:,}",
            )
        )
    return lines


def _end(result: ApplyResult) -> str:
    if result.dry_run:
        return tr("a dry run: nothing was written")
    if result.in_line:
        return tr("all well: everything that is done has the settings of today")
    if result.left:
        return tr("not all is in line: see above, then run the same command again")
    if pending := result.pending:
        return trn(
            "what is done is in line; {objects} object is pending: run `mastosync copy`, then this again",
            "what is done is in line; {objects} objects are pending: run `mastosync copy`, then this again",
            pending,
            objects=f"{pending:,}",
        )
    return tr(
        "what is done is in line; something lies there that is not done: run `mastosync copy`, then this once more"
    )
