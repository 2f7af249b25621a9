"""Where a migration stands, from the manifest's counters alone: as quick on ten million entries as on ten."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from math import floor
from typing import Any, NamedTuple

from mastosync.manifest import (
    CountLine,
    Exposed,
    ManifestReader,
    Noted,
    ObjectSettings,
    Outage,
    PlanRecord,
    RunInfo,
    VerificationRecord,
    count_exposed,
    holder_of,
    noted_as_json,
    other_settings,
    verifications,
    waiting_for,
)
from mastosync.mastodon.paperclip import folder_of
from mastosync.model import TABLES, EntryState
from mastosync.mountinfo import real_path
from mastosync.planning.forecast import Outlook
from mastosync.planning.survey import Survey
from mastosync.units import iso

_ALIVE_SECONDS = 15.0  # where the lock does not say since when: three times what it should take until the next sign
_TIMES = ("started_at", "updated_at", "ended_at")


def pending_by_folder(counts: Iterable[CountLine]) -> dict[str, int]:
    """Bytes that are pending, as far as the database knows, by the folders that their keys lie in."""
    pending = Counter[str]()
    for line in counts:
        if line.state is EntryState.PENDING:
            pending[folder_of(line.kind)] += line.size_bytes
    return pending


@dataclass(slots=True)
class Tally:
    """Entries by state. Bytes of done entries are exact, of others as far as the database knows."""

    pending: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    total: int = 0
    bytes_done: int = 0
    bytes_pending: int = 0
    accepted: int = 0  # of what failed: known losses

    def add(self, line: CountLine) -> None:
        """Count entries of one state."""
        setattr(self, line.state.value, getattr(self, line.state.value) + line.objects)
        self.total += line.objects
        self.accepted += line.accepted
        if line.state is EntryState.DONE:
            self.bytes_done += line.size_bytes
        elif line.state is EntryState.PENDING:
            self.bytes_pending += line.size_bytes

    @property
    def news(self) -> int:
        """Entries that failed, and that nobody has accepted as lost."""
        return self.failed - self.accepted

    @property
    def percent_done(self) -> float | None:
        """How much is done of what is to arrive: all but what is skipped, and what is accepted as lost.

        In entries, as not all sizes are known, and never rounded up: 100 only if nothing is left. None: nothing is.
        """
        wanted = self.done + self.pending + self.news
        return floor(10_000 * self.done / wanted) / 100 if wanted else None


class Surveyed(NamedTuple):
    """What the last plan that counted everything has seen."""

    number: int  # of that plan
    taken_at: datetime
    survey: Survey


@dataclass(slots=True)
class Status:
    """Everything `status` says."""

    totals: Tally
    by_type: dict[str, Tally]
    reasons: dict[str, int]  # failed and skipped entries
    snapshot: PlanRecord | None
    run: RunInfo | None
    verification: VerificationRecord | None = None
    stores: dict[str, str] = field(default_factory=dict)
    last_reading: PlanRecord | None = None  # the last plan that was not incremental
    surveyed: Surveyed | None = None
    exposed: Exposed = field(default_factory=Exposed)  # private, and everybody may read what lies at the destination
    running: bool = False  # the last copy is at work right now
    accepted: dict[str, int] = field(default_factory=dict)  # of `reasons`: what failed and was accepted as lost
    news: dict[tuple[str, str], int] = field(default_factory=dict)  # what failed and was not: by type and reason
    settings: ObjectSettings | None = None  # of the destination, as the configuration has them; None: it has none
    other_settings: Noted = ()  # under which something may lie there
    waiting: tuple[Outage, ...] = ()  # for which stores the last copy waits right now
    public_check: VerificationRecord | None = None  # the last that asked for objects without credentials
    outlook: Outlook | None = None  # made of the survey by a caller that knows the terms

    def news_of(self, types: tuple[str, ...] = ()) -> dict[str, int]:
        """Entries that failed and were not accepted, by reason: of some types, or of all if none are named."""
        found: Counter[str] = Counter()
        for (table, reason), objects in self.news.items():
            found[reason] += objects if not types or table in types else 0
        return dict(+found)

    @property
    def at_rest(self) -> bool:
        """Whether nothing changes until somebody plans or tries again."""
        return not self.running and not self.totals.pending

    @property
    def rate(self) -> float | None:
        """Entries a second in the last run; None without one."""
        if self.run is None:
            return None
        finished = self.run.done + self.run.failed + self.run.skipped
        seconds = self.run.updated_at - self.run.started_at
        return finished / seconds if seconds > 0 and finished else None

    @property
    def eta_seconds(self) -> float | None:
        """How long the pending entries will take at that rate, while a copy is running; None if none is left."""
        return self.totals.pending / self.rate if self.running and self.rate and self.totals.pending else None

    def as_json(self) -> dict[str, Any]:
        """The names are part of the interface."""
        snapshot = None
        if self.snapshot is not None:
            taken_at = self.snapshot.taken_at.isoformat()
            details = {name: value for name, value in self.snapshot.details.items() if name != "survey"}
            snapshot = {"number": self.snapshot.number, "taken_at": taken_at, **details}
        run = None
        if self.run is not None:
            times = {name: iso(at) for name, at in asdict(self.run).items() if name in _TIMES and at is not None}
            pace = {"running": self.running, "rate": self.rate, "eta_seconds": self.eta_seconds}
            run = {**asdict(self.run), **times, **pace}
        verified = self.verification
        moments = verified and {"started_at": iso(verified.started_at), "ended_at": iso(verified.ended_at)}
        return {
            "totals": asdict(self.totals),
            "percent_done": self.totals.percent_done,
            "by_type": {table: asdict(tally) for table, tally in self.by_type.items()},
            "reasons": self.reasons,
            "accepted": self.accepted,
            "news": self.news_of(),
            "exposed": self.exposed.objects,
            "settings": self.settings and self.settings._asdict(),
            "other_settings": noted_as_json(self.other_settings),
            "snapshot": snapshot,
            "last_reading": self.last_reading and self.last_reading.taken_at.isoformat(),
            "run": run,
            "waiting": [each._asdict() | {"since": iso(each.since), "until": iso(each.until)} for each in self.waiting],
            "verification": {**moments, **verified.details} if verified and moments else None,
            "stores": self.stores,
            "survey": self._survey_as_json(),
            "forecast": self.outlook and self.outlook.as_json(),
        }

    def _survey_as_json(self) -> dict[str, Any] | None:
        if self.surveyed is None:
            return None
        number, taken_at, survey = self.surveyed
        return {"plan": number, "taken_at": taken_at.isoformat(), **survey.as_json()}


def status_of(report: ManifestReader, settings: ObjectSettings | None = None) -> Status:
    """Sum up the counters. `settings`: as in `Status`. Raises: ManifestError."""
    totals = Tally()
    by_type = {table: Tally() for table in TABLES}
    reasons: dict[str, int] = {}
    accepted: Counter[str] = Counter()
    news: Counter[tuple[str, str]] = Counter()
    for line in report.counts():
        totals.add(line)
        by_type.setdefault(line.kind.table, Tally()).add(line)
        if line.reason is not None:
            reasons[line.reason.value] = reasons.get(line.reason.value, 0) + line.objects
            accepted[line.reason.value] += line.accepted
            if line.state is EntryState.FAILED:
                news[line.kind.table, line.reason.value] += line.objects - line.accepted
    run = report.last_run()
    running = _is_at_work(run, report)
    stores = {role: str(identity) for role in ("source", "destination") if (identity := report.store(role))}
    verified = verifications(report.manifest)
    return Status(
        totals,
        by_type,
        reasons,
        report.snapshot(),
        run,
        next(iter(verified), None),
        stores,
        report.last_reading(),
        _surveyed(report.surveyed()),
        count_exposed(report.manifest),
        running,
        dict(+accepted),
        dict(+news),
        settings,
        () if settings is None else other_settings(report.manifest, settings),
        waiting_for(report.manifest) if running else (),
        next((each for each in verified if each.details.get("public")), None),
    )


def _is_at_work(run: RunInfo | None, report: ManifestReader) -> bool:
    """Whether the process of a run is alive: then it has held the manifest since before the run began.

    Somebody else may hold it after a run has died, so where its holder does not say since when, a late sign decides.
    """
    if run is None or run.ended_at is not None:
        return False
    holder = holder_of(real_path(report.manifest.path))
    if holder is None or holder.taken_at is None:
        return holder is not None and time.time() - run.updated_at < _ALIVE_SECONDS
    return holder.taken_at <= run.started_at


def _surveyed(plan: PlanRecord | None) -> Surveyed | None:
    return Surveyed(plan.number, plan.taken_at, Survey.of_json(plan.details["survey"])) if plan else None
