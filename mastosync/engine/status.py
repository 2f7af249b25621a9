"""Where a migration stands, from the manifest's counters alone: as quick on ten million entries as on ten."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from mastosync.engine.forecast import Outlook
from mastosync.engine.survey import Survey
from mastosync.manifest import (
    Exposed,
    ManifestReport,
    Noted,
    RunInfo,
    Settings,
    SnapshotRecord,
    VerificationRecord,
    count_exposed,
    holder_of,
    last_verification,
    noted_as_json,
    other_settings,
    real_path,
)
from mastosync.model import TABLES, EntryState

_ALIVE_SECONDS = 15.0  # a run that has not given a sign for so long, three times what it should take, is dead


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

    def add(self, state: EntryState, objects: int, size_bytes: int) -> None:
        """Count entries of one state."""
        setattr(self, state.value, getattr(self, state.value) + objects)
        self.total += objects
        if state is EntryState.DONE:
            self.bytes_done += size_bytes
        elif state is EntryState.PENDING:
            self.bytes_pending += size_bytes


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
    snapshot: SnapshotRecord | None
    run: RunInfo | None
    verification: VerificationRecord | None = None
    stores: dict[str, str] = field(default_factory=dict)
    last_reading: SnapshotRecord | None = None  # the last plan that was not incremental
    surveyed: Surveyed | None = None
    exposed: Exposed = field(default_factory=Exposed)  # private, and everybody may read what lies at the destination
    held: bool = True  # somebody is at work on the manifest
    settings: Settings | None = None  # of the destination, as the configuration has them; None: it has none
    other_settings: Noted = ()  # under which something may lie there
    outlook: Outlook | None = None  # made of the survey by whoever knows on which terms

    def failed_of(self, types: tuple[str, ...]) -> int:
        """Failed entries of some types; of all if none are named."""
        return sum(self.by_type[table].failed for table in types) if types else self.totals.failed

    @property
    def running(self) -> bool:
        """Whether a copy seems to be at work right now."""
        return self.held and _gives_signs(self.run)

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
        """How long the pending entries will take at that rate, while a copy is running."""
        return self.totals.pending / self.rate if self.running and self.rate else None

    def as_json(self) -> dict[str, Any]:
        """The names are part of the interface."""
        snapshot = None
        if self.snapshot is not None:
            taken_at = self.snapshot.taken_at.isoformat()
            details = {name: value for name, value in self.snapshot.details.items() if name != "survey"}
            snapshot = {"number": self.snapshot.number, "taken_at": taken_at, **details}
        run = None
        if self.run is not None:
            run = {**asdict(self.run), "running": self.running, "rate": self.rate, "eta_seconds": self.eta_seconds}
        verified = self.verification
        times = verified and {"started_at": verified.started_at, "ended_at": verified.ended_at}
        return {
            "totals": asdict(self.totals),
            "by_type": {table: asdict(tally) for table, tally in self.by_type.items()},
            "reasons": self.reasons,
            "exposed": self.exposed.objects,
            "settings": self.settings and self.settings._asdict(),
            "other_settings": noted_as_json(self.other_settings),
            "snapshot": snapshot,
            "last_reading": self.last_reading and self.last_reading.taken_at.isoformat(),
            "run": run,
            "verification": {**times, **verified.details} if verified and times else None,
            "stores": self.stores,
            "survey": self._survey_as_json(),
            "forecast": self.outlook and self.outlook.as_json(),
        }

    def _survey_as_json(self) -> dict[str, Any] | None:
        if self.surveyed is None:
            return None
        number, taken_at, survey = self.surveyed
        return {"plan": number, "taken_at": taken_at.isoformat(), **survey.as_json()}


def status_of(report: ManifestReport, settings: Settings | None = None) -> Status:
    """Sum up the counters. `settings`: as in `Status`. Raises: ManifestError."""
    totals = Tally()
    by_type = {table: Tally() for table in TABLES}
    reasons: dict[str, int] = {}
    for line in report.counts():
        totals.add(line.state, line.objects, line.size_bytes)
        by_type.setdefault(line.kind.table, Tally()).add(line.state, line.objects, line.size_bytes)
        if line.reason is not None:
            reasons[line.reason.value] = reasons.get(line.reason.value, 0) + line.objects
    run = report.last_run()
    stores = {role: str(identity) for role in ("source", "destination") if (identity := report.store(role))}
    return Status(
        totals,
        by_type,
        reasons,
        report.snapshot(),
        run,
        last_verification(report.manifest),
        stores,
        report.last_reading(),
        _surveyed(report.surveyed()),
        count_exposed(report.manifest),
        _gives_signs(run) and holder_of(real_path(report.manifest.path)) is not None,  # which takes it for a moment
        settings,
        () if settings is None else other_settings(report.manifest, settings),
    )


def _gives_signs(run: RunInfo | None) -> bool:
    """Whether a run has not ended, as far as it says, and has given a sign lately."""
    return run is not None and run.ended_at is None and time.time() - run.updated_at < _ALIVE_SECONDS


def _surveyed(plan: SnapshotRecord | None) -> Surveyed | None:
    return Surveyed(plan.number, plan.taken_at, Survey.of_json(plan.details["survey"])) if plan else None
