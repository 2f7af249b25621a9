"""Results as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby, repeat, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.cli.colours import PAINT_OF, Paint, paint
from mastosync.cli.columns import width_of
from mastosync.language import tr
from mastosync.model import EntryState, Reason
from mastosync.plain import one_line
from mastosync.units import human_ago, human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.engine.doctor import Diagnosis, Finding
    from mastosync.engine.planner import PlanResult
    from mastosync.engine.status import Status, Tally
    from mastosync.progress import CopyProgress, EndpointState


def render_plan(result: PlanResult, manifest: Path) -> str:
    """What a plan found, and what changed in the manifest."""
    left_out = result.total().excluded
    head = ("type", "objects", "known bytes", "new", "gone") + (("left out",) if left_out else ())
    rows = []
    for name, delta in [*result.by_table.items(), ("total", result.total())]:
        again = delta.added + delta.revived + delta.reopened
        row = (name, f"{delta.seen:,}", human_bytes(delta.seen_bytes), f"{again:,}", f"{delta.gone:,}")
        rows.append(row + ((f"{delta.excluded:,}",) if left_out else ()))
    notes = absent_types(result)
    if result.base is not None:
        since = f"{result.base.since:%F %T}"
        notes.append(
            tr("only what is new, or has changed since {since} UTC, was read; no row that was deleted", since=since)
        )
    notes.append(f"next: mastosync copy  (manifest: {manifest})")
    return "\n".join([snapshot_line(result), "", table(head, rows), "", *notes])


def snapshot_line(result: PlanResult) -> str:
    """Of what a plan was made."""
    snapshot = result.snapshot
    return f"snapshot of {snapshot.database} (PostgreSQL {snapshot.server_version}) at {snapshot.taken_at:%F %T} UTC"


def absent_types(result: PlanResult) -> list[str]:
    """A line about tables that this release of Mastodon does not have, if there are any."""
    absent = [table for table in result.by_table if table not in result.snapshot.tables]
    return [f"not in this database, so empty: {', '.join(absent)}"] if absent else []


def render_copy(progress: CopyProgress, status: Status) -> str:
    """What one run did, and what that leaves."""
    rate = progress.finished / max(progress.seconds, 0.001)
    lines = [
        f"copied {progress.done:,} objects ({human_bytes(progress.size_bytes)}) in {human_seconds(progress.seconds)}"
        f" ({rate:,.0f}/s); failed {progress.failed:,}, skipped {progress.skipped:,}, throttled {progress.throttles:,}"
    ]
    lines += [_throttling_line(limit) for limit in progress.limits if limit.throttles]
    totals = status.totals
    lines.append(
        f"now: {totals.done:,} done, {totals.pending:,} pending, {totals.failed:,} failed, {totals.skipped:,} skipped"
    )
    if progress.finding:
        lines.append(progress.finding)
    lines += _kept_back_lines(status)
    if totals.failed:
        lines.append("see `mastosync ls --state failed --format jsonl`; `mastosync retry-failed` tries them again")
    return "\n".join(lines)


def _throttling_line(limit: EndpointState) -> str:
    asked = f"the {limit.name} asked to slow down {limit.throttles:,} times"
    return asked if limit.rate is None else f"{asked}, and settled at {limit.rate:,.0f} requests/s"


def render_status(status: Status, manifest: Path) -> str:
    """The whole status."""
    head = ("type", "pending", "done", "failed", "skipped", "total", "bytes done")
    rows = [_tally_row(table, tally) for table, tally in status.by_type.items() if tally.total]
    rows.append(_tally_row("total", status.totals))
    lines = [f"manifest     {manifest}"]
    lines += [f"{role:<12} {name}" for role, name in status.stores.items()]
    if status.snapshot is not None:
        lines.append(f"planned      {_moment(status.snapshot.taken_at)}, plan {status.snapshot.number}")
        if status.snapshot.incremental and status.last_reading is not None:
            read_at = status.last_reading.taken_at
            age = human_seconds((status.snapshot.taken_at - read_at).total_seconds())
            lines[-1] += tr(", incremental; all was read {age} before", age=age)
    lines.append(_run_line(status))
    if status.verification is not None:
        found, ended = status.verification.details, datetime.fromtimestamp(status.verification.ended_at, UTC)
        lines.append(f"verified     {_moment(ended)}: {found['fine']:,} of {found['checked']:,} objects were fine")
    lines += ["", table(head, rows, (None, *map(PAINT_OF.get, EntryState)))]
    if status.reasons:
        lines += ["", table(("reason", "entries"), [(name, f"{count:,}") for name, count in status.reasons.items()])]
    if kept_back := _kept_back_lines(status):
        lines += ["", *kept_back]
    return "\n".join(lines)


def _kept_back_lines(status: Status) -> list[str]:
    """How many private objects were left out, and how to decide what becomes of them."""
    kept_back = status.reasons.get(Reason.PRIVATE.value)
    if not kept_back:
        return []
    return [
        f"{kept_back:,} private objects stay behind, because no ACL can keep them private at the destination:",
        "if nobody can read its bucket without credentials, set `[copy] private_objects = copy` and copy again",
    ]


def render_findings(findings: Sequence[Finding]) -> str:
    """What was found about one subject, a line each, with the remedy below."""
    lines = [paint(findings[0].subject.value, Paint.HEADING)]
    for _, group in groupby(findings, key=lambda found: found.message if found.grade == "skipped" else found.check):
        finding, *others = group  # what was skipped for the same reason is one line
        if others or finding.grade == "skipped":
            lines.append(
                f"  skipped  {', '.join(each.check for each in (finding, *others))}: {one_line(finding.message)}"
            )
            continue
        grade = paint(f"{finding.grade.value:<8}", PAINT_OF.get(finding.grade.value))
        lines.append(f"  {grade} {finding.check:<14} {one_line(finding.message)}")
        lines += [f"{'':<26}-> {line}" for line in finding.remedy.splitlines()]
    return "\n".join([*lines, ""])


def render_summary(diagnosis: Diagnosis) -> str:
    """What it all comes to."""
    counts = ", ".join(
        paint(f"{grade.value} {count}", PAINT_OF.get(grade.value) if count else None)
        for grade, count in diagnosis.summary().items()
    )
    return f"{counts}: " + (
        "ready to plan and copy" if not diagnosis.exit_code else "put right what failed, from above"
    )


def _run_line(status: Status) -> str:
    if status.run is None:
        return "last copy    none yet"
    rate = f"{status.rate:,.0f} objects/s" if status.rate else "no rate yet"
    if status.running:
        eta = f", {human_seconds(status.eta_seconds)} to go" if status.eta_seconds is not None else ""
        return f"copying      {rate}{eta}"
    seen = datetime.fromtimestamp(status.run.updated_at, UTC)
    end = "ended" if status.run.ended_at else "cut off"
    return f"last copy    {rate}, {end} {_moment(seen)}"


def _moment(moment: datetime) -> str:
    return f"{moment:%F %T} UTC ({human_ago(moment)})"


def _tally_row(name: str, tally: Tally) -> tuple[str, ...]:
    counts = (tally.pending, tally.done, tally.failed, tally.skipped, tally.total)
    return (name, *(f"{count:,}" for count in counts), human_bytes(tally.bytes_done))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], paints: Sequence[Paint | None] = ()) -> str:
    """Columns as wide as they need to be, the first to the left and numbers to the right.

    `paints`: how the first columns are painted, where there is anything but a zero.
    """
    rows = [tuple(map(one_line, row)) for row in rows]
    widths = [max(width_of(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Sequence[str], hows: Iterable[Paint | None]) -> str:
        cells = enumerate(zip(row, widths, hows, strict=False))
        return "  ".join(_cell(text, width, how, right=bool(at)) for at, (text, width, how) in cells)

    hows = [how for how, _ in zip_longest(paints, head)]
    return "\n".join([line(head, repeat(Paint.HEADING)), *(line(row, hows) for row in rows)])


def _cell(text: str, width: int, how: Paint | None, *, right: bool) -> str:
    padding, painted = " " * (width - width_of(text)), paint(text, how if text != "0" else None)
    return padding + painted if right else painted + padding
