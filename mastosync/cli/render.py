"""Results as text for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby, repeat, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.cli.terminal import PAINT_OF, Paint, padded, paint, width_of
from mastosync.errors import EXIT_CODE_MEANING, ExitCode
from mastosync.language import say, tr, trn
from mastosync.model import EntryState, Reason
from mastosync.terminal_text import one_line
from mastosync.units import clock, human_ago, human_bytes, human_seconds, iso

if TYPE_CHECKING:
    from collections import Counter

    from mastosync.doctor import Diagnosis, Finding
    from mastosync.planning.planner import PlanResult
    from mastosync.progress import CopyProgress, EndpointState
    from mastosync.status import Status, Tally

_LABEL_WIDTH = 13


def render_plan(result: PlanResult, manifest: Path, pending: int) -> str:
    """What a plan found, and what changed in the manifest."""
    left_out = result.total().excluded
    head = (
        tr("type"),
        tr("objects"),
        tr("known bytes"),
        tr("new"),
        tr("gone"),
        *([tr("left out")] if left_out else []),
    )
    rows = []
    for name, delta in [*result.by_table.items(), (tr("total"), result.total())]:
        again = delta.added + delta.revived + delta.reopened
        row = (name, f"{delta.seen:,}", human_bytes(delta.seen_bytes), f"{again:,}", f"{delta.gone:,}")
        rows.append(row + ((f"{delta.excluded:,}",) if left_out else ()))
    notes = absent_types(result)
    if result.base is not None:
        since = f"{result.base.since:%F %T}"
        notes.append(
            tr(
                "only rows that are new or have changed since {since} UTC were read; deleted rows are not noticed "
                "this way",
                since=since,
            )
        )
    if pending:
        notes.append(tr("next: mastosync copy  (manifest: {manifest})", manifest=manifest))
    else:
        notes.append(tr("nothing is to be copied  (manifest: {manifest})", manifest=manifest))
    return "\n".join([snapshot_line(result), "", table(head, rows), "", *notes])


def snapshot_line(result: PlanResult) -> str:
    """Of what a plan was made."""
    snapshot = result.snapshot
    return tr(
        "snapshot of {database} (PostgreSQL {server_version}) at {taken_at:%F %T} UTC",
        database=snapshot.database,
        server_version=snapshot.server_version,
        taken_at=snapshot.taken_at,
    )


def absent_types(result: PlanResult) -> list[str]:
    """A line about tables that this release of Mastodon does not have, if there are any."""
    absent = [table for table in result.by_table if table not in result.snapshot.tables]
    return [tr("not in this database, so empty: {names}", names=", ".join(absent))] if absent else []


def render_copy(progress: CopyProgress, status: Status) -> str:
    """What one run did, and what that leaves."""
    rate = progress.finished / max(progress.seconds, 0.001)
    lines = [
        tr(
            "copied {done:,} objects ({size}) in {duration} ({rate:,.0f}/s); failed {failed:,}, skipped "
            "{skipped:,}, throttled {throttles:,}",
            done=progress.done,
            size=human_bytes(progress.size_bytes),
            duration=human_seconds(progress.seconds),
            rate=rate,
            failed=progress.failed,
            skipped=progress.skipped,
            throttles=progress.throttles,
        )
    ]
    lines += [_throttling_line(limit) for limit in progress.limits if limit.throttles]
    totals = status.totals
    lines.append(
        tr(
            "now: {done:,} done, {pending:,} pending, {failed:,} failed, {skipped:,} skipped",
            done=totals.done,
            pending=totals.pending,
            failed=totals.failed,
            skipped=totals.skipped,
        )
    )
    if progress.finding:
        lines.append(say(progress.finding))
    lines += [*_kept_back_lines(status), *_settings_lines(status)]
    return "\n".join([*lines, *failed_lines(status)])


def failed_lines(status: Status) -> list[str]:
    """Why entries stand as failed, and what to do; nothing if none does."""
    news, lines = status.news_of(), []
    if news:
        lines += [
            tr("failed: {reasons}", reasons=listed(news)),
            tr("`mastosync ls --new --format jsonl` lists them, each with its error"),
        ]
    missing = Reason.MISSING.value
    if others := [f"--reason {name}" for name in news if name != missing]:
        command = " ".join(["mastosync retry-failed", *(others if missing in news else ())])
        lines.append(tr("when the cause is gone, `{command}` tries them again", command=command))
    if missing in news:
        lines.append(
            tr(
                "missing: the source does not have these objects. Run `mastosync plan` and `mastosync copy` once more,"
                " as rows may have changed since; `mastosync refetch` fetches files of other servers again; for the"
                " rest, look into old backups of the source. If `mastosync ls` says that something lies at the new"
                " store, it need not be lost. `mastosync accept --reason missing` accepts what is lost: then exit code"
                " 3 means new failures"
            )
        )
    if status.accepted:
        lines.append(tr("accepted as lost: {reasons}", reasons=listed(status.accepted)))
    return lines


def news_line(news: Mapping[str, int]) -> str:
    """The same in one line, for whoever wants quiet."""
    return trn(
        "{count:,} entry failed and is not accepted as lost ({reasons}): `mastosync ls --new` lists it",
        "{count:,} entries failed and are not accepted as lost ({reasons}): `mastosync ls --new` lists them",
        sum(news.values()),
        reasons=listed(news),
    )


def listed(counts: Mapping[str, int]) -> str:
    """Names with their counts."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def render_acceptance(found: Counter[tuple[str, Reason]], *, undo: bool, dry_run: bool) -> str:
    """How many losses were accepted or taken back, or would be."""
    count, note = found.total(), tr("nothing was changed")
    if not count:
        return tr("nothing was accepted before") if undo else tr("nothing has failed that can be accepted and is not")
    if undo and dry_run:
        said = trn("{count:,} entry would count as new again", "{count:,} entries would count as new again", count)
    elif undo:
        said, note = trn("{count:,} entry counts as new again", "{count:,} entries count as new again", count), ""
    elif dry_run:
        said = trn("{count:,} entry can be accepted as lost", "{count:,} entries can be accepted as lost", count)
    else:
        said = trn("{count:,} entry is accepted as lost", "{count:,} entries are accepted as lost", count)
        note = tr(
            "accepted entries stay `failed`, but no longer count as new failures; `mastosync accept --undo` takes that"
            " back"
        )
    rows = [(name, reason.value, f"{objects:,}") for (name, reason), objects in found.items()]
    return "\n".join([said, "", table((tr("type"), tr("reason"), tr("entries")), rows), *(["", note] if note else [])])


def render_accepted_gone(lost: int, *, dry_run: bool) -> str:
    """How many entries were lost by `plan --accept-gone`, and count as deleted now, or would."""
    if not lost:
        return tr("no entry is missing that a plan has lost by --accept-gone")
    if dry_run:
        said = trn("{count:,} entry would count as deleted", "{count:,} entries would count as deleted", lost)
        return said + "\n\n" + tr("nothing was changed")
    return trn("{count:,} entry counts as deleted", "{count:,} entries count as deleted", lost)


def _throttling_line(limit: EndpointState) -> str:
    asked = tr("the {name} asked to slow down {throttles:,} times", name=say(limit.name), throttles=limit.throttles)
    return (
        asked
        if limit.rate is None
        else tr("{asked}; it now takes {rate:,.0f} requests/s", asked=asked, rate=limit.rate)
    )


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
    lines.append(_line(tr("progress"), progress_of(status)))
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
    lines += ["", table(head, rows, (None, *map(PAINT_OF.get, EntryState)))]
    if status.reasons:
        lines += ["", _reasons_table(status)]
    if kept_back := _kept_back_lines(status):
        lines += ["", *kept_back]
    if others := _settings_lines(status):
        lines += ["", *others]
    return "\n".join(lines)


def progress_of(status: Status) -> str:
    """How much has arrived of what is to arrive, what is left, and what is lost."""
    totals = status.totals
    if totals.percent_done is None:
        said = [tr("nothing is to be copied")]
    else:
        said = [tr("{percent:.2f} % done", percent=totals.percent_done)]
    if totals.pending:
        size = tr(" ({size} known)", size=human_bytes(totals.bytes_pending)) if totals.bytes_pending else ""
        said.append(tr("pending {count:,}{size}", count=totals.pending, size=size))
    if totals.news:
        said.append(tr("failed {count:,}", count=totals.news))
    if totals.accepted:
        said.append(tr("accepted as lost {count:,}", count=totals.accepted))
    return ", ".join(said)


def render_watched(status: Status) -> str:
    """All that moves, in one line with its time."""
    pace = _pace(status) if status.running else tr("no copy is at work")
    waits = [tr("waiting {text}", text=text) for text in _waits(status)]
    return "  ".join([iso(time.time()), progress_of(status), pace, *waits])


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


def _kept_back_lines(status: Status) -> list[str]:
    """How many private objects were left out, and how to decide what becomes of them."""
    from mastosync.findings.messages import exposed_message, exposed_remedy

    exposed = status.exposed.objects
    lines = [f"{exposed_message(exposed)}:", exposed_remedy()] if exposed else []
    kept_back = status.reasons.get(Reason.PRIVATE.value, 0) - status.exposed.kept_back
    if kept_back <= 0:
        return lines
    return [
        *lines,
        tr(
            "{kept_back:,} private objects were not copied, because the destination has no ACL that keeps them "
            "private:",
            kept_back=kept_back,
        ),
        tr("if nobody can read its bucket without credentials, set `[copy] private_objects = copy` and copy again"),
    ]


def _settings_lines(status: Status) -> list[str]:
    """That something may lie there under other settings, and what brings it in line; nothing if nothing does."""
    from mastosync.findings.messages import settings_notice

    told = settings_notice(status.settings, status.other_settings)
    return [f"{told.message}: {told.remedy}"] if told else []


def render_findings(findings: Sequence[Finding]) -> str:
    """What was found about one subject, a line each, with the remedy below."""
    lines = [paint(str(findings[0].subject), Paint.HEADING)]
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
        tr("ready to plan and copy")
        if not diagnosis.exit_code
        else tr("correct the failures, beginning with the first")
    )


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
    return _line(tr("last copy"), f"{_pace(status)}, {end}")


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


def table(head: Sequence[str], rows: Sequence[Sequence[str]], paints: Sequence[Paint | None] = ()) -> str:
    """Columns as wide as they need to be, words to the left and numbers to the right.

    `paints`: how the first columns are painted, where there is anything but a zero.
    """
    rows = [tuple(map(one_line, row)) for row in rows]
    numbers = [all(row[column][:1].isdigit() or not row[column] for row in rows) for column in range(len(head))]
    numbers[0] = False
    widths = [max(width_of(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Sequence[str], hows: Iterable[Paint | None]) -> str:
        cells = zip(row, widths, hows, numbers, strict=False)
        return "  ".join(_cell(text, width, how, right=right) for text, width, how, right in cells).rstrip()

    hows = [how for how, _ in zip_longest(paints, head)]
    return "\n".join([line(head, repeat(Paint.HEADING)), *(line(row, hows) for row in rows)])


def _cell(text: str, width: int, how: Paint | None, *, right: bool) -> str:
    padding, painted = " " * (width - width_of(text)), paint(text, how if text != "0" else None)
    return padding + painted if right else painted + padding
