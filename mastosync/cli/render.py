"""Results as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.engine.status import Status, Tally
from mastosync.language import tr
from mastosync.model import Reason
from mastosync.plain import one_line
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.engine.doctor import Diagnosis, Finding
    from mastosync.engine.planner import PlanResult
    from mastosync.progress import CopyProgress, EndpointState


def render_plan(result: PlanResult, manifest: Path | None) -> str:
    """What a plan found; `manifest` is None after a dry run."""
    head = ("type", "objects", "known bytes") + (("new", "gone") if manifest else ())
    rows = []
    for name, delta in [*result.by_table.items(), ("total", result.total())]:
        row = (name, f"{delta.seen:,}", human_bytes(delta.seen_bytes))
        again = delta.added + delta.revived + delta.reopened
        rows.append(row + ((f"{again:,}", f"{delta.gone:,}") if manifest else ()))
    snapshot = result.snapshot
    taken = f"snapshot of {snapshot.database} (PostgreSQL {snapshot.server_version}) at {snapshot.taken_at:%F %T} UTC"
    absent = [table for table in result.by_table if table not in snapshot.tables]
    notes = [f"not in this database, so empty: {', '.join(absent)}"] if absent else []
    if result.base is not None:
        since = f"{result.base.since:%F %T}"
        notes.append(
            tr("only what is new, or has changed since {since} UTC, was read; no row that was deleted", since=since)
        )
    notes.append(f"next: mastosync copy  (manifest: {manifest})" if manifest else "a dry run: nothing was written")
    return "\n".join([taken, "", table(head, rows), "", *notes])


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
        lines.append(f"planned      {status.snapshot.taken_at:%F %T} UTC, plan {status.snapshot.number}")
        if status.snapshot.incremental and status.last_reading is not None:
            read_at = status.last_reading.taken_at
            age = human_seconds((status.snapshot.taken_at - read_at).total_seconds())
            lines[-1] += tr(", incremental; all was read {age} before", age=age)
    lines.append(_run_line(status))
    if status.verification is not None:
        found, ended = status.verification.details, datetime.fromtimestamp(status.verification.ended_at, UTC)
        lines.append(f"verified     {ended:%F %T} UTC: {found['fine']:,} of {found['checked']:,} objects were fine")
    lines += ["", table(head, rows)]
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
    lines = [findings[0].subject.value]
    for _, group in groupby(findings, key=lambda found: found.message if found.grade == "skipped" else found.check):
        finding, *others = group  # what was skipped for the same reason is one line
        if others or finding.grade == "skipped":
            lines.append(
                f"  skipped  {', '.join(each.check for each in (finding, *others))}: {one_line(finding.message)}"
            )
            continue
        lines.append(f"  {finding.grade.value:<8} {finding.check:<14} {one_line(finding.message)}")
        lines += [f"{'':<26}-> {line}" for line in finding.remedy.splitlines()]
    return "\n".join([*lines, ""])


def render_summary(diagnosis: Diagnosis) -> str:
    """What it all comes to."""
    counts = ", ".join(f"{grade.value} {count}" for grade, count in diagnosis.summary().items())
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
    return f"last copy    {rate}" + ("" if status.run.ended_at else "; it was cut off")


def _tally_row(name: str, tally: Tally) -> tuple[str, ...]:
    counts = (tally.pending, tally.done, tally.failed, tally.skipped, tally.total)
    return (name, *(f"{count:,}" for count in counts), human_bytes(tally.bytes_done))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be, the first to the left and numbers to the right."""
    rows = [tuple(map(one_line, row)) for row in rows]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    )
