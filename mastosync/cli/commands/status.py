"""`mastosync status`."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mastosync.cli.copy_results import kept_back_lines, settings_lines
from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option
from mastosync.cli.output import redraw, show, show_json
from mastosync.cli.terminal import PAINT_OF, table
from mastosync.errors import EXIT_CODE_MEANING, ExitCode
from mastosync.language import enumerated, joined, say, tr, trn
from mastosync.model import EntryState
from mastosync.terminal_text import padded
from mastosync.units import clock, human_ago, human_bytes, human_seconds, iso

if TYPE_CHECKING:
    from mastosync.manifest import VerificationRecord
    from mastosync.status import Status, Tally

_WATCH_SECONDS = 3
_LABEL_WIDTH = 13


@click.command(name="status")
@json_option
@click.option(
    "--watch",
    is_flag=True,
    help="Show it every 3 seconds, until nothing is pending and no copy is at work, or Ctrl-C. Without a terminal: a"
    " line each time; with --json, a document a line.",
)
@click.pass_obj
def status_command(invocation: Invocation, as_json: bool, watch: bool) -> None:
    """Show counts and bytes by state, type and reason, and what is left."""
    from mastosync.app.status import status

    context = invocation.context_to_read()
    found, manifest = status(context), context.manifest_path
    while watch and not found.at_rest:
        _show_moving(found, manifest, as_json=as_json)
        time.sleep(_WATCH_SECONDS)
        found = status(context)
    if watch:
        _show_moving(found, manifest, as_json=as_json)
    elif as_json:
        show_json(_as_json(found, manifest))
    else:
        show(render_status(found, manifest))
        if found.surveyed is not None:
            from mastosync.cli.forecast import render_surveyed

            show(render_surveyed(found.surveyed, found.outlook if found.totals.pending else None))


def _show_moving(status: Status, manifest: Path, *, as_json: bool) -> None:
    """As often as somebody looks."""
    if as_json:
        show_json(_as_json(status, manifest), on_one_line=True)
    elif sys.stdout.isatty():
        redraw(render_status(status, manifest))
    else:
        show(render_watched(status))


def _as_json(status: Status, manifest: Path) -> dict[str, object]:
    return {**status.as_json(), "manifest": str(manifest)}


def render_status(status: Status, manifest: Path) -> str:
    """The whole status."""
    head = (tr("type"), *(state.value for state in EntryState), tr("total"), tr("bytes done"))
    rows = [_tally_row(table, tally) for table, tally in status.by_type.items() if tally.total]
    rows.append(_tally_row(tr("total"), status.totals))
    lines = [_line(tr("manifest"), str(manifest))]
    lines += [_line(say(role), name) for role, name in status.stores.items()]
    if status.snapshot is not None:
        snapshot = status.snapshot
        planned = tr("{moment}, plan {number}", moment=_moment(snapshot.taken_at), number=snapshot.number)
        if snapshot.incremental and status.last_reading is not None:
            age = human_seconds((snapshot.taken_at - status.last_reading.taken_at).total_seconds())
            planned += tr(", incremental; the last whole plan was made {age} before", age=age)
        lines.append(_line(tr("planned"), planned))
    lines.append(_run_line(status))
    lines += [_line(tr("waiting"), text) for text in _waits(status)]
    lines.append(_line(tr("progress"), _progress(status)))
    if status.verification is not None:
        from mastosync.findings.messages import undigested_message

        undigested = status.verification.details.get("unproven", 0)
        found, ended = status.verification.details, datetime.fromtimestamp(status.verification.ended_at, UTC)
        lines.append(
            _line(
                tr("verified"),
                tr(
                    "{moment}: {fine:,} of {checked:,} objects were fine",
                    moment=_moment(ended),
                    fine=found["fine"] + undigested,
                    checked=found["checked"],
                )
                + undigested_message(undigested),
            )
        )
    if status.public_check is not None:
        lines += _public_lines(status.public_check)
    lines += ["", table(head, rows, (None, *map(PAINT_OF.get, EntryState)))]
    if status.reasons:
        lines += ["", _reasons_table(status)]
    if kept_back := kept_back_lines(status):
        lines += ["", *kept_back]
    if others := settings_lines(status):
        lines += ["", *others]
    return "\n".join(lines)


def _public_lines(verified: VerificationRecord) -> list[str]:
    """What the last `verify --public` found that is not right; nothing if all was."""
    public, moment = verified.details["public"], _moment(datetime.fromtimestamp(verified.ended_at, UTC))
    faults = len(public.get("faults", ()))
    told = [tr("anybody can list the bucket")] if public.get("anybody_can_list") else []
    if faults:
        told.append(
            trn(
                "{faults:,} of {asked:,} objects was not as it should be without credentials",
                "{faults:,} of {asked:,} objects were not as they should be without credentials",
                faults,
                faults=faults,
                asked=public.get("asked", faults),
            )
        )
    if not told:
        return []
    remedy = tr("`mastosync verify --public` tells which, and what to do")
    return [_line(tr("public"), tr("{moment}: {said}", moment=moment, said=joined([*told, remedy])))]


def _progress(status: Status) -> str:
    """How much has arrived of what is to arrive, what is left, and what is lost."""
    totals = status.totals
    if totals.percent_done is None:
        parts = [tr("nothing is to be copied")]
    else:
        parts = [tr("{percent:.2f} % done", percent=totals.percent_done)]
    if totals.pending:
        size = tr(" ({size} known)", size=human_bytes(totals.bytes_pending)) if totals.bytes_pending else ""
        parts.append(tr("pending {count:,}{size}", count=totals.pending, size=size))
    if totals.news:
        parts.append(tr("failed {count:,}", count=totals.news))
    if totals.accepted:
        parts.append(tr("accepted as lost {count:,}", count=totals.accepted))
    return enumerated(parts)


def render_watched(status: Status) -> str:
    """All that moves, in one line with its time."""
    pace = _pace(status) if status.running else tr("no copy is at work")
    waits = [tr("waiting {text}", text=text) for text in _waits(status)]
    return "  ".join([iso(time.time()), _progress(status), pace, *waits])


def _waits(status: Status) -> list[str]:
    """For which stores a copy waits, and until when."""
    return [
        tr(
            "since {since} for the {store}: {answer}; asked again until {until}",
            since=clock(each.since),
            store=each.store,
            answer=each.answer,
            until=clock(each.until),
        )
        for each in status.waiting
    ]


def _reasons_table(status: Status) -> str:
    """Known losses stand apart."""
    head = tr("reason"), tr("entries"), *([tr("accepted")] if status.accepted else [])
    rows = [(name, f"{count:,}", f"{status.accepted.get(name, 0):,}") for name, count in status.reasons.items()]
    return table(head, [row[: len(head)] for row in rows])


def _run_line(status: Status) -> str:
    if status.run is None:
        return _line(tr("last copy"), tr("none yet"))
    if status.running:
        return _line(tr("copying"), _pace(status))
    seen = datetime.fromtimestamp(status.run.updated_at, UTC)
    end = (
        tr("ended {moment}", moment=_moment(seen))
        if status.run.ended_at
        else tr("killed or crashed, last seen {moment}", moment=_moment(seen))
    )
    if status.run.exit_code:
        end += f": {say(EXIT_CODE_MEANING[ExitCode(status.run.exit_code)])}"
    return _line(tr("last copy"), enumerated([_pace(status), end]))


def _pace(status: Status) -> str:
    """How fast the last copy is or was, and how long it will take."""
    rate = tr("{rate:,.0f} objects/s", rate=status.rate) if status.rate else tr("no rate yet")
    if status.eta_seconds is None:
        return rate
    return rate + tr(", {duration} to go", duration=human_seconds(status.eta_seconds))


def _line(label: str, text: str) -> str:
    return padded(label, _LABEL_WIDTH) + text


def _moment(moment: datetime) -> str:
    return f"{moment:%F %T} UTC ({human_ago(moment)})"


def _tally_row(name: str, tally: Tally) -> tuple[str, ...]:
    counts = (tally.pending, tally.done, tally.failed, tally.skipped, tally.total)
    return (name, *(f"{count:,}" for count in counts), human_bytes(tally.bytes_done))
