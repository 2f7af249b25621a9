"""Reading a manifest: counters, runs and lists. None of it writes or needs the writer's lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mastosync.errors import ManifestError
from mastosync.language import tr
from mastosync.manifest.codes import DONE, FAILED, LOWEST_ID, MISSING, REASON_CODE, REASON_OF, STATE_CODE, STATE_OF
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.identity import StoreIdentity, remembered
from mastosync.manifest.meta import LAST_END, details_of, get_meta
from mastosync.manifest.rows import COLUMNS, Row, record_of
from mastosync.manifest.sqlite_errors import sound
from mastosync.model import TABLES, EntryState, Kind, Reason, Record

_SELECT_COUNTS = "SELECT kind, state, reason, objects, bytes FROM counts WHERE objects > 0"
_SELECT_ACCEPTED = f"""
SELECT kind, reason, count(*) FROM entries INDEXED BY entries_accepted
WHERE accepted IS NOT NULL AND state = {FAILED} AND reason = accepted GROUP BY kind, accepted
"""
LIES_THERE = "but something lies at "
"""What the error of a missing entry says if the destination has something under its key that is not proven to be it."""
_COUNT_LYING_THERE = f"""
SELECT kind, count(*) FROM entries INDEXED BY entries_open
WHERE state = {FAILED} AND state <> {DONE} AND reason = {MISSING} AND instr(detail, ?) > 0 GROUP BY kind
"""
_SELECT_SNAPSHOT = "SELECT id, taken_at, details FROM snapshots ORDER BY id DESC LIMIT 1"
_SELECT_SURVEYED = """
SELECT id, taken_at, details FROM snapshots WHERE instr(details, '"survey":') > 0 ORDER BY id DESC LIMIT 1
"""
_SELECT_SNAPSHOTS = "SELECT id, taken_at, details FROM snapshots ORDER BY id DESC"
_SELECT_RUN = """
SELECT started_at, updated_at, ended_at, workers, done, failed, skipped, bytes, id FROM runs ORDER BY id DESC LIMIT 1
"""
_SELECT_DONE_SINCE = "SELECT COALESCE(SUM(done), 0) FROM runs WHERE updated_at > ?"
_SELECT_ENTRIES = """
SELECT {columns} FROM entries {index} WHERE kind = ? {conditions} ORDER BY id, name
"""
_SELECT_FAILURES = f"""
SELECT {COLUMNS} FROM entries INDEXED BY entries_open
WHERE kind = ? AND state = {STATE_CODE[EntryState.FAILED]} AND state <> {STATE_CODE[EntryState.DONE]} AND reason = ?
AND (id, name) > (?, ?) ORDER BY id, name LIMIT ?
"""
_PAGE = 1_000  # entries


@dataclass(frozen=True, slots=True)
class CountLine:
    """Entries of one kind in one state."""

    kind: Kind
    state: EntryState
    reason: Reason | None
    objects: int
    size_bytes: int
    accepted: int = 0  # so many of them failed, and somebody has accepted that


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A plan."""

    number: int
    taken_at: datetime
    details: dict[str, Any]

    @property
    def incremental(self) -> bool:
        """Whether it read only what had changed since the one before."""
        return bool(self.details.get("incremental"))

    @property
    def began_at(self) -> float:
        """Up to when it has seen everything, Unix time: of a primary, when it began; of a standby, less its lag.

        By this machine's clock, or by that of the database if none says.
        """
        return float(self.details.get("began_at", self.taken_at.timestamp()))

    @property
    def accepted_gone(self) -> int:
        """How many entries it has lost by `--accept-gone`."""
        return int(self.details.get("accepted_gone", 0))

    def takes_in(self, table: str, *, remote: bool) -> bool:
        """Whether its options take in every row of a table that is of other servers (`remote`), or of this one."""
        in_scope = self.details.get("only", "all") in ("all", "remote" if remote else "local")
        return in_scope and self.details.get("limit") is None and table in self.details.get("types", TABLES)

    @property
    def leaves_nothing_out(self) -> bool:
        """Whether its options take in every row."""
        everything = set(self.details.get("types", ())) >= set(TABLES) and self.details.get("only") == "all"
        return everything and self.details.get("limit") is None

    @property
    def whole(self) -> bool:
        """Whether it read everything and left nothing out."""
        return self.leaves_nothing_out and not self.incremental


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The last run of `copy`. Times are seconds since the epoch."""

    started_at: float
    updated_at: float
    ended_at: float | None
    workers: int
    done: int
    failed: int
    skipped: int
    size_bytes: int
    exit_code: int | None = None  # with which it ended; None: it runs, it died, or an older version ran it


@dataclass(frozen=True, slots=True)
class ManifestReport:
    """Questions to a manifest. Each raises ManifestError if the file cannot be read."""

    manifest: Manifest

    def counts(self) -> list[CountLine]:
        """Every counter that is not zero: as many lines as kinds and states, never as entries.

        Only what was accepted is counted, in its own index.
        """
        with translated(self.manifest.path):
            rows = self.manifest.connection.execute(_SELECT_COUNTS).fetchall()
            found = self.manifest.connection.execute(_SELECT_ACCEPTED).fetchall()
        accepted = {(kind, FAILED, reason): objects for kind, reason, objects in found}
        return [
            CountLine(
                *(self.manifest.kind(kind), STATE_OF[state], REASON_OF[reason], objects, size_bytes),
                accepted=min(accepted.get((kind, state, reason), 0), objects),  # somebody may write between two looks
            )
            for kind, state, reason, objects, size_bytes in rows
        ]

    def lying_there(self) -> Counter[Kind]:
        """Of what is missing at the source: of how many the destination has something that nobody could prove."""
        with translated(self.manifest.path):
            rows = self.manifest.connection.execute(_COUNT_LYING_THERE, (LIES_THERE,)).fetchall()
        return Counter({self.manifest.kind(kind): objects for kind, objects in rows})

    def entries(
        self, *, states: Collection[EntryState] = (), reasons: Collection[Reason] = (), types: Collection[str] = ()
    ) -> int:
        """How many entries there are, of the counters alone; an empty filter lets everything through."""
        return sum(
            line.objects
            for line in self.counts()
            if (not states or line.state in states)
            and (not reasons or line.reason in reasons)
            and (not types or line.kind.table in types)
        )

    def snapshot(self) -> SnapshotRecord | None:
        """The last plan; None if there is none."""
        with sound(self.manifest.path):
            row = self.manifest.connection.execute(_SELECT_SNAPSHOT).fetchone()
            return _snapshot(row) if row else None

    def surveyed(self) -> SnapshotRecord | None:
        """The last plan that has added up what it saw, under `survey` in its details; None if there is none."""
        with sound(self.manifest.path):
            row = self.manifest.connection.execute(_SELECT_SURVEYED).fetchone()
            return _snapshot(row) if row else None

    def last_reading(self) -> SnapshotRecord | None:
        """The last plan that was not incremental: none before it has found rows that left since."""
        return next((plan for plan in self.iter_snapshots() if not plan.incremental), None)

    def whole_snapshot(self) -> SnapshotRecord:
        """The last plan that read everything and left nothing out. Raises: ManifestError if there was none."""
        for plan in self.iter_snapshots():
            if plan.whole:
                return plan
        raise ManifestError(
            tr("every plan in the manifest {path} left something out", path=self.manifest.path),
            hint=tr("run `mastosync plan` once without --type, --only and --limit, and with `[plan] types = all`"),
        )

    def iter_snapshots(self) -> Iterator[SnapshotRecord]:
        """All plans, the last one first."""
        with sound(self.manifest.path):
            for number, taken_at, details in self.manifest.connection.execute(_SELECT_SNAPSHOTS):
                yield _snapshot((number, taken_at, details))

    def last_run(self) -> RunInfo | None:
        """The last run of `copy`; None before the first."""
        with translated(self.manifest.path):
            row = self.manifest.connection.execute(_SELECT_RUN).fetchone()
            end = get_meta(self.manifest.connection, LAST_END)
        if row is None:
            return None
        *run, number = row
        ended_run, exit_code = map(int, end.split()) if end else (None, None)
        return replace(RunInfo(*run), exit_code=exit_code if ended_run == number else None)

    def done_since(self, moment: float) -> int:
        """Entries that became done in runs of `copy` that were at work after this moment (seconds since the epoch)."""
        with translated(self.manifest.path):
            (done,) = self.manifest.connection.execute(_SELECT_DONE_SINCE, (moment,)).fetchone()
        return int(done)

    def store(self, role: str) -> StoreIdentity | None:
        """The `source` or `destination` of this manifest."""
        return remembered(self.manifest, role)

    def iter_records(
        self,
        states: tuple[EntryState, ...] = (),
        types: tuple[str, ...] = (),
        reasons: tuple[Reason, ...] = (),
        *,
        accepted: bool | None = None,
    ) -> Iterator[Record]:
        """Entries by type and id; an empty filter lets everything through.

        `accepted`: only failures that somebody has accepted, or only those that nobody has.
        """
        conditions, values = "", []
        if states:
            conditions += f" AND state IN ({', '.join('?' * len(states))})"
            values += [STATE_CODE[state] for state in states]
        if reasons:
            conditions += f" AND reason IN ({', '.join('?' * len(reasons))})"
            values += [REASON_CODE[reason] for reason in reasons]
        if accepted is not None:
            conditions += f" AND state = {FAILED} AND accepted IS {'' if accepted else 'NOT'} reason"
        few = accepted is not None or (bool(states) and EntryState.DONE not in states)
        index = "INDEXED BY entries_open" if few else ""
        if few:
            conditions += f" AND state <> {STATE_CODE[EntryState.DONE]}"
        query = _SELECT_ENTRIES.format(columns=COLUMNS, index=index, conditions=conditions)
        with translated(self.manifest.path):
            for number, kind in self.manifest.kinds(types).items():
                for row in self.manifest.connection.execute(query, (number, *values)):
                    yield record_of(kind, row)

    def iter_failures(self, reason: Reason, types: tuple[str, ...] = ()) -> Iterator[Record]:
        """Entries that failed for this reason, by type and id, for whoever changes them one by one and takes hours.

        Each is as it was shortly before it is handed out, and none is told twice. Nothing is being read meanwhile:
        as long as somebody reads, the log of changes cannot begin anew, and grows with every one.
        """
        for number, kind in self.manifest.kinds(types).items():
            place: tuple[int, str] = (LOWEST_ID, "")
            while True:
                values = (number, REASON_CODE[reason], *place, _PAGE)
                with translated(self.manifest.path):
                    rows: list[Row] = self.manifest.connection.execute(_SELECT_FAILURES, values).fetchall()
                yield from (record_of(kind, row) for row in rows)
                if len(rows) < _PAGE:
                    break
                place = rows[-1][:2]


def _snapshot(row: tuple[int, str, str]) -> SnapshotRecord:
    number, taken_at, details = row
    return SnapshotRecord(number, datetime.fromisoformat(taken_at), details_of("snapshots", details))
