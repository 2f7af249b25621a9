"""The sections of the final report: each chart has a table beside it, which says the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mastosync.language import enumerated, say, tr, trn
from mastosync.model import EntryState, Origin
from mastosync.report import moment
from mastosync.report.markup import (
    Caption,
    ChartBar,
    ChartStep,
    Markup,
    Share,
    bars,
    figure,
    paragraph,
    section,
    shares,
    steps_over_time,
    table,
    tag,
)
from mastosync.units import human_bytes, human_seconds, iso

if TYPE_CHECKING:
    from mastosync.report import CopyRun, Report, TypeCount, VerificationRun

_SHOWN = 50  # plans, runs and verifications
_RATES = (("GiB/s", 1 << 30), ("MiB/s", 1 << 20), ("KiB/s", 1 << 10), ("B/s", 1))
_NOTHING = "-"
_HALVES = ("local", "remote")


def contents_section(report: Report) -> Markup:
    """Entries by state, by type and by whose they are, and how they came."""
    totals = report.totals
    states = {state.value: getattr(totals, state.value) for state in EntryState}
    all_entries = totals.total or 1
    parts = [
        Share(state, f"{state}: {count:,} ({count / all_entries:.1%})", count)
        for state, count in states.items()
        if count
    ]
    told = enumerated(part.label for part in parts)
    done = _split(report.of_state(EntryState.DONE), lambda each: each.table, lambda each: each.size_bytes)
    by_type = [ChartBar(name, each, human_bytes(sum(part.figure for part in each))) for name, each in done.items()]
    origins = [(origin.value, report.origin(origin)) for origin in Origin]
    return section(
        tr("What there is"),
        figure(
            tr("Entries by state"),
            shares(Caption("states", tr("Entries by state"), told), parts),
            [(part.colour, part.label) for part in parts],
        ),
        figure(
            tr("Bytes that arrived, by type"),
            bars(Caption("types", tr("Bytes that arrived, by type"), _told(by_type)), by_type),
            _legend(),
        )
        if by_type
        else None,
        table(
            (tr("type"), tr("rows"), *states, tr("total"), tr("bytes done")),
            _by_type(report.counts),
            words=2,
            foot=(tr("total"), "", *states.values(), totals.total, human_bytes(totals.bytes_done)),
        ),
        tag("h3", tr("How objects came")),
        table(
            (tr("way"), tr("objects"), tr("bytes")),
            [(name, amount.objects, human_bytes(amount.size_bytes)) for name, amount in origins],
        ),
    )


def pace_section(report: Report) -> Markup:
    """Objects and bytes a second over time."""
    paces = report.paces
    if not paces:
        return section(tr("Pace"), paragraph(tr("No copy has recorded its pace.")))
    fastest = max(pace.bytes_per_second for pace in paces)
    unit, size = next((each for each in _RATES if fastest >= each[1]), _RATES[-1])
    objects = [ChartStep(pace.begin, pace.end, pace.objects_per_second) for pace in paces]
    size_bytes = [ChartStep(pace.begin, pace.end, pace.bytes_per_second / size) for pace in paces]
    told = tr("From {begin} to {end}.", begin=iso(paces[0].begin), end=iso(paces[-1].end))
    rows = [(moment(each.begin), f"{each.objects_per_second:,.1f}", _rate(each.bytes_per_second)) for each in paces]
    return section(
        tr("Pace"),
        paragraph(tr("Drawn only for the time when a copy was at work. Times are UTC."), soft=True),
        figure(
            tr("Objects a second"),
            steps_over_time(Caption("objects", tr("Objects a second"), told), objects, tr("objects/s"), "blue"),
        ),
        figure(
            tr("Bytes a second"),
            steps_over_time(Caption("bytes", tr("Bytes a second"), told), size_bytes, unit, "violet"),
        ),
        tag(
            "details",
            tag("summary", tr("The same as a table")),
            table((tr("from"), tr("objects/s"), tr("bytes a second")), rows),
        ),
    )


def history_section(report: Report) -> Markup:
    """Plans and runs."""
    plans = [
        (
            plan.number,
            moment(plan.taken_at.timestamp()),
            tr("whole") if plan.whole else tr("in part"),
            *(_known(plan.details.get(name)) for name in ("seen", "added", "gone")),
        )
        for plan in report.plans[-_SHOWN:]
    ]
    copied = report.copied
    foot = (tr("total"), "", human_seconds(report.worked_seconds), "", copied.objects, "", "")
    return section(
        tr("What was done"),
        tag("h3", tr("Plans")),
        table((tr("plan"), tr("read at"), tr("scope"), tr("seen"), tr("new"), "gone"), plans, words=3),
        _cut(report.plans),
        tag("h3", tr("Copies")),
        table(
            (
                *(tr("run"), tr("begin"), tr("time"), tr("workers"), "done", "failed", "skipped"),
                *(tr("bytes"), tr("objects/s"), tr("bytes/s")),
            ),
            [_run(run) for run in report.runs[-_SHOWN:]],
            words=2,
            foot=(*foot, human_bytes(copied.size_bytes), "", ""),
        )
        if report.runs
        else paragraph(tr("None yet.")),
        _cut(report.runs),
    )


def failures_section(report: Report) -> Markup:
    """What failed, what was skipped, and why."""
    failed, skipped = report.of_state(EntryState.FAILED), report.of_state(EntryState.SKIPPED)
    why = _split(failed, lambda each: each.reason or "", lambda each: each.objects)
    by_reason = [ChartBar(name, each, f"{sum(part.figure for part in each):,.0f}") for name, each in why.items()]
    rest = report.totals.failed - len(report.failures)
    return section(
        tr("What failed, and why"),
        figure(
            tr("Failed entries by reason"),
            bars(Caption("reasons", tr("Failed entries by reason"), _told(by_reason)), by_reason),
            _legend(),
        )
        if failed
        else paragraph(tr("Nothing failed.")),
        _reasons(failed) if failed else None,
        table(
            (tr("reason"), tr("key, and the last error"), tr("attempts")),
            [(each["reason"] or "", _failure(each), each["attempts"]) for each in report.failures],
            words=2,
        )
        if report.failures
        else None,
        paragraph(
            trn("{more} more is listed by", "{more} more are listed by", rest, more=f"{rest:,}"),
            " ",
            tag("code", "mastosync ls --state failed"),
            soft=True,
        )
        if rest
        else None,
        tag("h3", tr("What was skipped")),
        _reasons(skipped) if skipped else paragraph(tr("Nothing was skipped.")),
    )


def verifications_section(report: Report) -> Markup:
    """Verifications."""
    return section(
        tr("What was verified"),
        table(
            (tr("begin"), tr("how"), tr("found"), tr("looked at"), tr("read back")),
            [_verification(run) for run in report.verifications[-_SHOWN:]],
            words=3,
        )
        if report.verifications
        else paragraph(tr("Nothing yet.")),
        _cut(report.verifications),
    )


def _split(
    counts: Sequence[TypeCount], name: Callable[[TypeCount], str], size: Callable[[TypeCount], int]
) -> dict[str, list[Share]]:
    """What each name has of this server and of others, the most first."""
    halves: dict[str, list[int]] = {}
    for each in counts:
        halves.setdefault(name(each), [0, 0])[each.remote] += size(each)
    most_first = sorted(halves, key=lambda each: -sum(halves[each]))
    return {each: [Share(*half) for half in zip(_HALVES, _whose(), halves[each], strict=True)] for each in most_first}


def _by_type(counts: Sequence[TypeCount]) -> list[tuple[str | int, ...]]:
    objects: dict[tuple[str, bool], Counter[EntryState]] = {}
    done_bytes: Counter[tuple[str, bool]] = Counter()
    for each in counts:
        objects.setdefault((each.table, each.remote), Counter())[each.state] += each.objects
        done_bytes[each.table, each.remote] += each.size_bytes if each.state is EntryState.DONE else 0
    return [
        (
            place[0],
            _whose()[place[1]],
            *(found[state] for state in EntryState),
            found.total(),
            human_bytes(done_bytes[place]),
        )
        for place, found in objects.items()
    ]


def _reasons(counts: Sequence[TypeCount]) -> Markup:
    rows = [(each.table, _whose()[each.remote], each.reason or "", each.objects) for each in counts]
    return table((tr("type"), tr("rows"), tr("reason"), tr("entries")), rows, words=3)


def _run(run: CopyRun) -> tuple[str | int, ...]:
    objects, size_bytes = run.objects_per_second, run.bytes_per_second
    time = human_seconds(run.seconds) if run.ended_at else tr("{time}, not ended", time=human_seconds(run.seconds))
    return (
        *(run.number, moment(run.started_at), time, run.workers),
        *(run.done, run.failed, run.skipped, human_bytes(run.size_bytes)),
        *(_NOTHING if objects is None else f"{objects:,.1f}", _NOTHING if size_bytes is None else _rate(size_bytes)),
    )


def _verification(run: VerificationRun) -> tuple[str | int, ...]:
    faults = enumerated(f"{name} {count:,}" for name, count in run.faults.items())
    found = faults or tr("all well")
    return moment(run.started_at), enumerated(map(say, run.ways)) or _NOTHING, found, run.checked, run.read_back


def _failure(each: dict[str, Any]) -> Markup:
    return tag(
        "div",
        tag("div", each["key"], class_="key"),
        tag("div", each["detail"], class_="soft") if each["detail"] else None,
    )


def _cut(told: Sequence[object]) -> Markup | None:
    if len(told) <= _SHOWN:
        return None
    earlier = trn("{count} earlier one is left out", "{count} earlier ones are left out", len(told) - _SHOWN)
    return paragraph(tr("{earlier}; the report as JSON has all of them.", earlier=earlier), soft=True)


def _legend() -> list[tuple[str, str]]:
    return list(zip(_HALVES, _whose(), strict=True))


def _whose() -> tuple[str, str]:
    return tr("of this server"), tr("of other servers")


def _told(rows: Sequence[ChartBar]) -> str:
    return enumerated(f"{row.label}: {row.told}" for row in rows)


def _known(figure: object) -> str | int:
    return figure if isinstance(figure, int) else _NOTHING


def _rate(size_bytes: float) -> str:
    return f"{human_bytes(size_bytes)}/s"
