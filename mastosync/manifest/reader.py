"""Reading entries: counters, lists, what may be removed, what is exposed. None of it needs the writer's lock.

A long list is read page by page (`iter_pages`), so that the log of changes can begin anew while one is handed out.
`ManifestReader` also answers questions about plans and runs (`history`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from mastosync.errors import ManifestError
from mastosync.language import tr
from mastosync.manifest.connection import Manifest
from mastosync.manifest.history import PlanRecord, RunInfo, done_since, last_run, snapshot_of
from mastosync.manifest.identity import StoreIdentity, remembered
from mastosync.manifest.rows import (
    ADOPTED,
    AFTER_EVERY_NAME,
    ARRIVED,
    BEFORE_ALL,
    COLUMNS,
    DONE,
    FAILED,
    GONE,
    HAS_ARRIVED,
    KEPT_PRIVATE,
    MISSING,
    PRIVATE_FLAG,
    REASON_CODE,
    REASON_OF,
    SKIPPED,
    STATE_CODE,
    STATE_OF,
    RawRow,
    record_of,
)
from mastosync.manifest.sqlite_errors import sound, translated
from mastosync.model import Entry, EntryState, Kind, Presence, Reason, Record

NEXT_PAGE = "AND (id, name) > (?, ?) ORDER BY id, name LIMIT ?"
"""What a query for `iter_pages` ends with."""

_SELECT_COUNTS = "SELECT kind, state, reason, objects, bytes FROM counts WHERE objects > 0"
_ANY_DONE = f"SELECT EXISTS (SELECT 1 FROM counts WHERE state = {DONE} AND objects > 0)"
_SELECT_ACCEPTED = f"""
SELECT kind, reason, count(*) FROM entries INDEXED BY entries_accepted
WHERE accepted IS NOT NULL AND state = {FAILED} AND reason = accepted GROUP BY kind, accepted
"""
LIES_THERE = "but something lies at "
"""Part of the error of a missing entry, if the destination has an object under its key that may be another one."""
_COUNT_LYING_THERE = f"""
SELECT kind, count(*) FROM entries INDEXED BY entries_open
WHERE state = {FAILED} AND state <> {DONE} AND reason = {MISSING} AND instr(detail, ?) > 0 GROUP BY kind
"""
_SELECT_SURVEYED = """
SELECT id, taken_at, details FROM snapshots WHERE instr(details, '"survey":') > 0 ORDER BY id DESC LIMIT 1
"""
_SELECT_SNAPSHOTS = "SELECT id, taken_at, details FROM snapshots ORDER BY id DESC"
_SELECT_FAILURES = f"""
SELECT {COLUMNS} FROM entries INDEXED BY entries_open
WHERE kind = ? AND state = {FAILED} AND state <> {DONE} AND reason = ? {NEXT_PAGE}
"""
_LEFT = f"kind = ? AND state = {SKIPPED} AND reason = {GONE} AND state <> {DONE} AND {HAS_ARRIVED}"
_REMOVABLE = f"{_LEFT} AND accepted IS NOT {GONE}"
_COUNT_REMOVABLE = f"""
SELECT coalesce(sum(NOT lost), 0), coalesce(sum(iif(lost, 0, size)), 0),
    coalesce(sum(NOT lost AND origin IS {ADOPTED}), 0), coalesce(sum(lost), 0)
FROM (SELECT accepted IS {GONE} AS lost, size, origin FROM entries INDEXED BY entries_open WHERE {_LEFT})
"""
_SELECT_REMOVABLE = f"""
SELECT {COLUMNS} FROM entries INDEXED BY entries_open
WHERE {_REMOVABLE} {NEXT_PAGE}
"""
_SELECT_REMOVABLE_COPIES = f"""
SELECT {COLUMNS} FROM entries INDEXED BY entries_open
WHERE {_REMOVABLE} AND origin IS NOT {ADOPTED} {NEXT_PAGE}
"""
_IS_ALIVE = f"""
SELECT EXISTS (SELECT 1 FROM entries
WHERE kind = ? AND id BETWEEN ? AND ? AND name = ?
AND NOT (state = {SKIPPED} AND reason = {GONE} AND accepted IS NOT {GONE}))
"""
_IS_EXPOSED = f"""
flags & {PRIVATE_FLAG} AND state <> {DONE} AND reason <> {GONE} AND {ARRIVED} & {Presence.AS_PUBLIC.value}
"""  # as the index has it, to the letter: SQLite proves no more
_COUNT_EXPOSED = f"""
SELECT count(*), count(*) FILTER (WHERE reason = {KEPT_PRIVATE})
FROM entries INDEXED BY entries_exposed WHERE {_IS_EXPOSED}
"""
_SELECT_EXPOSED = f"""
SELECT {COLUMNS} FROM entries INDEXED BY entries_exposed
WHERE kind = ? AND {_IS_EXPOSED} {NEXT_PAGE}
"""
_SELECT_RUN_OF_KIND = f"""
SELECT {{columns}} FROM entries
WHERE kind = ? AND (id, name) >= (?, ?) AND (id, name) <= (?, ?) AND reason <> {GONE} {{conditions}} ORDER BY id, name
"""
_SELECT_SPAN = "SELECT min(id) FROM entries WHERE kind = ? UNION ALL SELECT max(id) FROM entries WHERE kind = ?"
_SELECT_AFTER = f"""
SELECT id, name FROM entries WHERE kind = ? AND (id, name) > (?, ?) AND reason <> {GONE} {{states}}
ORDER BY id, name LIMIT 1 OFFSET ?
"""
_CACHE_KIB = 2_048  # of a `SegmentReader`: lines are read once, one after the other
_ROWS_AT_ONCE = 1_024  # by the same
_PAGE = 500  # entries
_Place = tuple[int, str | bytes]  # id and name


@dataclass(frozen=True, slots=True)
class CountLine:
    """Entries of one kind in one state."""

    kind: Kind
    state: EntryState
    reason: Reason | None
    objects: int
    size_bytes: int
    accepted: int = 0  # of these objects: failures that were accepted as losses


def iter_pages(
    manifest: Manifest, select: str, values: tuple[object, ...], after: tuple[int, str | bytes], size: int
) -> Iterator[list[RawRow]]:
    """Yield what a query selects of one kind, in pages. No read is open while a page is handed out.

    `select`: gives `COLUMNS` and ends with `NEXT_PAGE`, or its like for another order; its parameters are `values`, the
    id and name to go on `after`, and how many rows. Raises: ManifestError.
    """
    place = after
    while True:
        with translated(manifest.path):
            rows: list[RawRow] = manifest.connection.execute(select, (*values, *place, size)).fetchall()
        if rows:
            yield rows
        if len(rows) < size:
            break
        place = rows[-1][:2]


def iter_chosen(
    manifest: Manifest,
    select: str,
    kind: Kind,
    *,
    values: tuple[object, ...] = (),
    after: tuple[int, str] = BEFORE_ALL,
) -> Iterator[Record]:
    """The records that a query selects of one kind, whose number is its first parameter. See `iter_pages`."""
    for rows in iter_pages(manifest, select, (manifest.kind_id(kind), *values), after, _PAGE):
        yield from (record_of(kind, row) for row in rows)


class Removable(NamedTuple):
    """Entries that are gone, and whose objects have arrived, or may have."""

    objects: int = 0
    size_bytes: int = 0
    adopted: int = 0  # of these objects: mastosync found them there, and did not copy them
    lost: int = 0  # beside them: objects that stay, as a plan lost them by --accept-gone


def count_removable(manifest: Manifest) -> Removable:
    """Count gone entries whose objects may be removed. Raises: ManifestError."""
    with translated(manifest.path):
        found = [manifest.connection.execute(_COUNT_REMOVABLE, (number,)).fetchone() for number in manifest.kinds()]
    return Removable(*map(sum, zip(*found, strict=True)))


def iter_removable(manifest: Manifest, *, adopted: bool) -> Iterator[Record]:
    """The entries of `Removable`, by kind and id, with or without `adopted` ones. Raises: ManifestError.

    Nothing is being read while one is handed out.
    """
    for kind in manifest.kinds().values():
        yield from iter_chosen(manifest, _SELECT_REMOVABLE if adopted else _SELECT_REMOVABLE_COPIES, kind)


def is_wanted(manifest: Manifest, entry: Entry, ids: tuple[int, int]) -> bool:
    """Whether an entry that is not gone, or stays, needs the same key: of a row with an id in `ids` (inclusive).

    A plan that sees both rows keeps one line for a key. This is for lines of another version.
    """
    with translated(manifest.path):
        return any(
            manifest.connection.execute(_IS_ALIVE, (number, *ids, entry.name)).fetchone()[0]
            for number, other in manifest.kinds((entry.kind.table,)).items()
            if other.namespace == entry.kind.namespace
        )


class Exposed(NamedTuple):
    """How many private objects everybody may be able to read at the destination."""

    objects: int = 0
    kept_back: int = 0  # of these objects: skipped as private, and no copy will hide them


def count_exposed(manifest: Manifest) -> Exposed:
    """Count them, whatever became of their entries; what is gone is for `prune`. Raises: ManifestError."""
    with translated(manifest.path):
        return Exposed(*manifest.connection.execute(_COUNT_EXPOSED).fetchone())


def iter_exposed(manifest: Manifest, types: tuple[str, ...] = ()) -> Iterator[Record]:
    """Their entries, by kind and id. Nothing is being read while one is handed out. Raises: ManifestError."""
    for kind in manifest.kinds(types).values():
        yield from iter_chosen(manifest, _SELECT_EXPOSED, kind)


class SegmentReader:
    """Entries of the manifest in some states, but for those that are gone. Use `SegmentReader.opened`."""

    def __init__(self, manifest: Manifest, states: Collection[EntryState]) -> None:
        self._manifest = manifest
        self._condition = f"AND state IN ({', '.join(str(STATE_CODE[each]) for each in states)})" if states else ""

    @classmethod
    @contextmanager
    def opened(cls, path: Path, states: Collection[EntryState] = ()) -> Iterator[SegmentReader]:
        """A reader for this thread. No states: all. Raises: ManifestError, here and below."""
        with closing(Manifest.open(path)) as manifest:
            manifest.limit_cache(_CACHE_KIB)
            yield cls(manifest, states)

    def kinds(self, types: tuple[str, ...] = ()) -> dict[int, Kind]:
        """Kinds by number: all, or those of some tables."""
        return self._manifest.kinds(types)

    def span(self, kind: int) -> tuple[int, int] | None:
        """The lowest and the highest id of a kind, in whatever state; None: it has no lines."""
        with translated(self._manifest.path):
            (lowest,), (highest,) = self._manifest.connection.execute(_SELECT_SPAN, (kind, kind)).fetchall()
        return None if lowest is None else (lowest, highest)

    def iter_runs(
        self, kind: int, first: _Place, last: _Place, columns: str = COLUMNS, *, renamed: bool = False
    ) -> Iterator[list[RawRow]]:
        """`columns` of lines of a kind from one id and name to another, by id and name: first one, then many at a time.

        `renamed`: only those that have a fallback.
        """
        conditions = f"{self._condition} {'AND fallback IS NOT NULL' if renamed else ''}"
        select, most = _SELECT_RUN_OF_KIND.format(columns=columns, conditions=conditions), 1
        with translated(self._manifest.path):
            cursor = self._manifest.connection.execute(select, (kind, *first, *last))
            while rows := cursor.fetchmany(most):
                yield rows
                most = min(8 * most, _ROWS_AT_ONCE)

    def iter_rows(self, kind: int, lowest: int, highest: int) -> Iterator[RawRow]:
        """Lines of a kind with ids from `lowest` to `highest`, by id and name."""
        return chain.from_iterable(self.iter_runs(kind, (lowest, ""), (highest, AFTER_EVERY_NAME)))

    def record_of(self, kind: int, row: RawRow) -> Record | None:
        """All that is known of an entry of which some columns were read, id and name first; None: it has left since."""
        found = next(self.iter_runs(kind, row[:2], row[:2]), None)
        return record_of(self._manifest.kind(kind), found[0]) if found else None

    def iter_every(self, kind: int, step: int) -> Iterator[tuple[int, str]]:
        """Id and name of each `step`-th line of a kind; SQLite passes over those between."""
        place, select = BEFORE_ALL, _SELECT_AFTER.format(states=self._condition)
        with translated(self._manifest.path):
            while row := self._manifest.connection.execute(select, (kind, *place, step - 1)).fetchone():
                yield (place := row)


@dataclass(frozen=True, slots=True)
class ManifestReader:
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
                accepted=min(accepted.get((kind, state, reason), 0), objects),  # a writer may come in between
            )
            for kind, state, reason, objects, size_bytes in rows
        ]

    def lying_there(self) -> Counter[Kind]:
        """How many entries, missing at the source, have an unproven object at the destination, by kind."""
        with translated(self.manifest.path):
            rows = self.manifest.connection.execute(_COUNT_LYING_THERE, (LIES_THERE,)).fetchall()
        return Counter({self.manifest.kind(kind): objects for kind, objects in rows})

    def entries(
        self, *, states: Collection[EntryState] = (), reasons: Collection[Reason] = (), types: Collection[str] = ()
    ) -> int:
        """How many entries there are, from the counters alone; an empty filter lets everything through."""
        return sum(
            line.objects
            for line in self.counts()
            if (not states or line.state in states)
            and (not reasons or line.reason in reasons)
            and (not types or line.kind.table in types)
        )

    def any_done(self) -> bool:
        """Whether anything was ever copied by this manifest."""
        with translated(self.manifest.path):
            return bool(self.manifest.connection.execute(_ANY_DONE).fetchone()[0])

    def snapshot(self) -> PlanRecord | None:
        """The last plan; None if there is none."""
        return next(self.iter_snapshots(), None)

    def surveyed(self) -> PlanRecord | None:
        """The last plan that has added up what it saw, under `survey` in its details; None if there is none."""
        with sound(self.manifest.path):
            row = self.manifest.connection.execute(_SELECT_SURVEYED).fetchone()
            return snapshot_of(row) if row else None

    def last_reading(self) -> PlanRecord | None:
        """The last plan that was not incremental: none before it has found rows that left since."""
        return next((plan for plan in self.iter_snapshots() if not plan.incremental), None)

    def whole_snapshot(self) -> PlanRecord:
        """The last plan that read everything and left nothing out. Raises: ManifestError if there was none."""
        for plan in self.iter_snapshots():
            if plan.whole:
                return plan
        raise ManifestError(
            tr("every plan in the manifest {path} left something out", path=self.manifest.path),
            hint=tr("run `mastosync plan` once without --type, --only and --limit, and with `[plan] types = all`"),
        )

    def iter_snapshots(self) -> Iterator[PlanRecord]:
        """All plans, the last one first."""
        with sound(self.manifest.path):
            for number, taken_at, details in self.manifest.connection.execute(_SELECT_SNAPSHOTS):
                yield snapshot_of((number, taken_at, details))

    def last_run(self) -> RunInfo | None:
        """The last run of `copy`; None before the first."""
        return last_run(self.manifest)

    def done_since(self, moment: float) -> int:
        """Entries that became done in runs of `copy` that were at work after this moment (seconds since the epoch)."""
        return done_since(self.manifest, moment)

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

        `accepted`: True for accepted failures alone, False for the others alone.
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
            conditions += f" AND state <> {DONE}"
        query = f"SELECT {COLUMNS} FROM entries {index} WHERE kind = ? {conditions} ORDER BY id, name"
        with translated(self.manifest.path):
            for number, kind in self.manifest.kinds(types).items():
                for row in self.manifest.connection.execute(query, (number, *values)):
                    yield record_of(kind, row)

    def iter_failures(self, reason: Reason, types: tuple[str, ...] = ()) -> Iterator[Record]:
        """Entries that failed for this reason, by type and id, for a caller that takes hours to change them.

        Each is read shortly before it is handed out, and none comes twice. No read is open meanwhile, as that would
        keep SQLite's log of changes from beginning anew, and it would grow with every change.
        """
        for kind in self.manifest.kinds(types).values():
            yield from iter_chosen(self.manifest, _SELECT_FAILURES, kind, values=(REASON_CODE[reason],))
