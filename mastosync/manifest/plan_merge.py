"""Writing a plan: one window of ids after the other, compared with what the manifest has.

A window is everything of one table with `after < id <= up_to`, or that of the rows alone that were read there. What
the snapshot has and the manifest lacks is added; what the manifest has and the snapshot lacks is gone; the rest is not
written to. Nothing but the window is ever in memory.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, TypeVar

from mastosync.manifest.backup import close_gap
from mastosync.manifest.connection import Manifest
from mastosync.manifest.entry_writer import forget_dropped, move_rows, recover_claims, write_changes
from mastosync.manifest.identity import StoreIdentity, remember, require_same
from mastosync.manifest.lifecycle import DesiredEntry, PlannedChange, TrackedEntry, gone, seen
from mastosync.manifest.plan_checks import Losses, dropped_entries, wanted_by_kind
from mastosync.manifest.reader import iter_pages
from mastosync.manifest.rows import (
    AFTER_EVERY_NAME,
    COLUMNS,
    DONE,
    EXCLUDED,
    EXCLUDED_FLAG,
    FLAGS,
    GONE,
    HAS_ARRIVED,
    NO_REASON,
    PENDING,
    PRIVATE_FLAG,
    SKIPPED,
    EntryRow,
    RawRow,
)
from mastosync.manifest.settings import recall_settings
from mastosync.manifest.temporary_database import EntryLoader, Line
from mastosync.model import EntryGroup, Kind

_MEASURED = (
    0x7FFF_FFFF_FFFF_FFFF  # stands for the size of what has arrived, which does not follow its row; no size is that
)
_ALL_ROWS = {"rows": "entries WHERE", "id": "id"}
_ROWS_READ = {"rows": "entries WHERE id IN (SELECT row_id FROM temp.rows_read) AND", "id": "+id"}
"""For questions about a window: each row that was read is looked up, as between them may be millions of lines."""
_MAKE_ROWS_READ = "CREATE TABLE IF NOT EXISTS temp.rows_read (row_id INTEGER PRIMARY KEY)"
_FORGET_ROWS_READ = "DELETE FROM temp.rows_read"
_NOTE_ROW_READ = "INSERT INTO temp.rows_read VALUES (?)"
_OF_WINDOW = f"""
FROM {{rows}} kind = ? AND {{id}} > ? AND {{id}} <= ? AND NOT (state = {SKIPPED} AND reason = {GONE})
ORDER BY id, name LIMIT ?
"""
_SELECT_FALLBACKS = f"SELECT id, name, flags, updated, fallback {_OF_WINDOW}"
_SELECT_SIZES = f"SELECT id, name, flags, updated, coalesce(fallback, size) {_OF_WINDOW}"
_SELECT_SIZES_UNLESS_MEASURED = f"""
SELECT id, name, flags, updated,
    iif(fallback IS NULL AND (state = {DONE} OR {HAS_ARRIVED}), {_MEASURED}, coalesce(fallback, size))
{_OF_WINDOW}
"""
_SELECT_PLACES = "SELECT id, name FROM {rows} kind = ? AND {id} > ? AND {id} <= ?"
_SELECT_WINDOW = f"""
SELECT {COLUMNS} FROM {{rows}} kind = ? AND {{id}} <= ? AND ({{id}}, name) > (?, ?) ORDER BY id, name LIMIT ?
"""
_INSERT_SNAPSHOT = "INSERT INTO snapshots (taken_at, details) VALUES (?, ?)"

_CHUNK = 10_000

_Placed = TypeVar("_Placed", bound=tuple[Any, ...])  # a line, or as much of it as begins with id and name
_Window = tuple[int, int]  # ids after the first, up to the second


@dataclass(slots=True)
class PlanDelta:
    """What a plan changed, in entries; bytes where the database knows them."""

    seen: int = 0
    seen_bytes: int = 0
    added: int = 0
    gone: int = 0
    revived: int = 0  # gone or left out before, and back
    reopened: int = 0  # done, failed or skipped, but now another file of this name, or of another privacy
    excluded: int = 0  # of those that were seen: left out on request, unless work on them had begun

    def add(self, other: PlanDelta) -> None:
        """Sum up."""
        for name in ("seen", "seen_bytes", "added", "gone", "revived", "reopened", "excluded"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Writes(Enum):
    """What a plan takes over from a snapshot."""

    ALL = auto()
    NEW_AND_HIDDEN = auto()  # new entries, and those that have become private; all else stays as it is
    HIDDEN = auto()  # what is private by now


class PlanWriter:
    """Writes a plan. Make one with `PlanWriter.transaction`.

    `writes` may be changed before the first window.
    `accepts_losses`: what is gone is marked, as a plan of the wrong database may lose it.
    """

    def __init__(self, manifest: Manifest, loader: EntryLoader, *, accepts_losses: bool = False) -> None:
        self.manifest = manifest
        self.writes = Writes.ALL
        self._accepts_losses = accepts_losses
        self._marked = 0  # entries, by this plan
        self._is_back = False  # something that was gone, and lies at the destination
        self._loader = loader
        self._first = not manifest.kinds()
        self._rows = _ALL_ROWS
        self._have_measured: set[int] = set()  # kinds in which something has another size than its row tells
        self._wanted_before = wanted_by_kind(manifest)
        self._lost: Counter[int] = Counter()  # of these, by kind; of every kind that was looked at
        self._came: set[int] = set()  # kinds that have entries which were not among these

    @classmethod
    @contextmanager
    def transaction(
        cls, manifest: Manifest, source: StoreIdentity, destination: StoreIdentity, *, accepts_losses: bool = False
    ) -> Iterator[PlanWriter]:
        """Write a plan, whole or not at all.

        The first one is written with a rollback journal, where new pages are written once, and the
        manifest goes over to write-ahead logging when it stands.
        Raises: ManifestError, also if the manifest belongs to other stores.
        """
        require_same(manifest, source, destination)
        with manifest.transaction() as connection:
            remember(manifest, source, destination)
            recover_claims(manifest)
            with EntryLoader(connection) as loader:
                yield cls(manifest, loader, accepts_losses=accepts_losses)
        manifest.log_ahead()

    def merge_rows(
        self, table: str, ids: Sequence[int], groups: Iterable[EntryGroup], *, remote: bool | None = None
    ) -> PlanDelta:
        """`merge` for some rows of one table, by ascending ids. The rows between them are left alone."""
        self._connection.execute(_MAKE_ROWS_READ)
        self._connection.executemany(_NOTE_ROW_READ, zip(ids, strict=True))
        self._rows = _ROWS_READ
        try:
            return self.merge(table, ids[0] - 1, ids[-1], groups, remote=remote)
        finally:
            self._rows = _ALL_ROWS
            self._connection.execute(_FORGET_ROWS_READ)

    def merge(
        self, table: str, after: int, up_to: int, groups: Iterable[EntryGroup], *, remote: bool | None = None
    ) -> PlanDelta:
        """Bring one window of one table in line with the snapshot.

        `groups` must hold everything that the snapshot has in the window; `remote` says that it
        holds remote rows only (True) or local rows only (False), and the others are left alone.
        The windows of one plan do not overlap.
        """
        wanted: dict[Kind, list[EntryGroup]] = defaultdict(list)
        for group in groups:
            wanted[group.kind].append(group)
        if self.writes is Writes.HIDDEN:
            return self._hide(table, (after, up_to), wanted)
        if not wanted.keys() <= set(self.manifest.kinds().values()):
            self._loader.settle()  # a new kind is written at once; else the load goes on while columns are made
        numbers = {kind: self.manifest.kind_id(kind) for kind in wanted}
        window = None if self._first else (after, up_to)
        if window:
            in_scope = self.manifest.kinds((table,)).items()
            numbers |= {kind: number for number, kind in in_scope if remote is None or kind.remote == remote}
        delta = PlanDelta()
        if window:
            for kind, found in wanted.items():
                self._take_over(kind, numbers[kind], window, found)
        for kind, number in numbers.items():
            self._lost[number] += 0
            self._merge_kind(number, window, wanted[kind], delta)
        return delta

    def finish(self, taken_at: datetime, details: Mapping[str, Any], *, whole: bool = False) -> None:
        """Record the snapshot; from here on the manifest has a plan. `whole`: it has read every row there is."""
        values = (taken_at.isoformat(timespec="microseconds"), json.dumps(dict(details)))
        self._loader.settle()
        if self._is_back:
            recall_settings(self.manifest)
        self._connection.execute(_INSERT_SNAPSHOT, values)
        if whole:
            close_gap(self._connection)

    def losses(self, *, incremental: bool) -> Losses:
        """What is gone by this plan, of the kinds it has looked at; an incremental one: of all kinds."""
        numbers = self._wanted_before.keys() | self._lost.keys() if incremental else self._lost.keys()
        counted = ((self.manifest.kind(n), self._lost[n], self._wanted_before.get(n, 0)) for n in numbers)
        came = {kind.table for kind in map(self.manifest.kind, self._came) if not kind.remote}
        return Losses.of(counted, came)

    def take_back_marks(self, *, accepted: bool) -> None:
        """Take back the marks of this plan if nothing had to be `accepted`; to be called when all is merged.

        Its losses were usual ones, then. Older marks stay: a database that shows some rows again may be a standby that
        catches up, or a restore at work, and show the rest later.
        """
        if not self._marked or accepted:
            return
        self._loader.settle()
        self.manifest.write_counts()
        if dropped_entries(self.manifest).all.gone == self._marked:  # else it is not known which of them are older
            forget_dropped(self.manifest)

    @property
    def _connection(self) -> sqlite3.Connection:
        """The connection, when the loader does not use it."""
        self._loader.settle()
        return self.manifest.connection

    def _select(self, query: str, *values: object) -> list[RawRow]:
        return self._connection.execute(query.format(**self._rows), values).fetchall()

    def _hide(self, table: str, window: _Window, wanted: Mapping[Kind, list[EntryGroup]]) -> PlanDelta:
        """Mark entries that have become private. A row that became local or remote keeps its keys, so no line moves."""
        delta = PlanDelta()
        for number, kind in self.manifest.kinds((table,)).items():
            if not self._is_present(number, window, wanted.get(kind, [])):
                groups = [
                    group for other, found in wanted.items() if other.namespace == kind.namespace for group in found
                ]
                self._compare(number, window, _in_order(map(_lines, groups)), delta)
        return delta

    def _take_over(self, kind: Kind, number: int, window: _Window, groups: list[EntryGroup]) -> None:
        """Keep the lines of rows that became local or remote: their keys are the same."""
        others = [
            each for each, other in self.manifest.kinds((kind.table,)).items() if other.namespace == kind.namespace
        ]
        others.remove(number)
        if not others:
            return
        wanted = {place for group in groups for place in zip(group.ids, group.names, strict=True)}
        for other in others:
            lines = self._select(_SELECT_PLACES, other, *window)
            if places := [place for place in lines if place in wanted]:
                self._came.add(number)
                move_rows(self.manifest, other, number, places)

    def _merge_kind(self, kind: int, window: _Window | None, groups: list[EntryGroup], delta: PlanDelta) -> None:
        """Merge the entries of one kind. A window without a change, usual in a second plan, costs one comparison."""
        delta.seen += sum(len(group.ids) for group in groups)
        delta.excluded += sum(len(group.ids) for group in groups if group.excluded)
        delta.seen_bytes += sum(sum(filter(None, group.sizes)) for group in groups if group.sizes)
        if window and self._is_present(kind, window, groups):
            return
        lines = _in_order(map(_lines, groups))
        if window:
            lines = self._compare(kind, window, lines, delta)
        if lines:
            self._came.add(kind)
        excluded = [line for line in lines if line[2] & EXCLUDED_FLAG] if any(each.excluded for each in groups) else []
        if excluded:
            lines = [line for line in lines if not line[2] & EXCLUDED_FLAG]
            self.manifest.count(kind, SKIPPED, EXCLUDED, len(excluded), _bytes_of(excluded))
            self._loader.add(kind, excluded, state=SKIPPED, reason=EXCLUDED)
        if lines:
            delta.added += len(lines)
            self.manifest.count(kind, PENDING, NO_REASON, len(lines), _bytes_of(lines))
            self._loader.add(kind, lines)

    def _is_present(self, kind: int, window: _Window, groups: list[EntryGroup]) -> bool:
        """Whether the manifest has these entries in the window, as their rows want them, and no others.

        One column is compared for sizes or fallbacks: only originals have a size in Mastodon, and they have no other
        name. An object that has arrived mostly has the size of its row; whether a size was measured is only asked for
        kinds in which one differs.
        """
        have_fallbacks = any(any(group.fallbacks or ()) for group in groups)
        if have_fallbacks and any(any(group.sizes or ()) for group in groups):
            return False  # line by line
        if have_fallbacks or all(group.sizes is None for group in groups):
            wanted = _columns(groups, (group.fallbacks for group in groups))
            return self._select(_SELECT_FALLBACKS, kind, *window, len(wanted) + 1) == wanted
        wanted = _columns(groups, (group.sizes for group in groups))
        place = (kind, *window, len(wanted) + 1)
        if kind not in self._have_measured:
            present = self._select(_SELECT_SIZES, *place)
            if present == wanted or len(present) != len(wanted):
                return present == wanted
            self._have_measured.add(kind)
        present = self._select(_SELECT_SIZES_UNLESS_MEASURED, *place)
        return len(present) == len(wanted) and all(
            there == (row if there[-1] != _MEASURED else (*row[:-1], _MEASURED))
            for there, row in zip(present, wanted, strict=True)
        )

    def _compare(self, kind: int, window: _Window, lines: list[Line], delta: PlanDelta) -> list[Line]:
        """Change what stands differently in the manifest, and return what it lacks.

        Chunk by chunk: where a table has lost most of its files, a window holds far more lines than the snapshot.
        """
        wanted = {line[:2]: line for line in lines}
        private = {line[0] for line in lines if line[2] & PRIVATE_FLAG} if self.writes is not Writes.ALL else set()
        after, up_to = window
        self._loader.settle()
        query = _SELECT_WINDOW.format(**self._rows)
        for rows in iter_pages(self.manifest, query, (kind, up_to), (after, AFTER_EVERY_NAME), _CHUNK):
            self._bring_in_line(kind, rows, wanted, private, delta)
        return list(wanted.values())

    def _bring_in_line(
        self, kind: int, rows: list[RawRow], wanted: dict[tuple[int, str], Line], private: set[int], delta: PlanDelta
    ) -> None:
        """Take these lines out of `wanted`, and change those that stand differently there.

        `private`: ids of rows whose earlier files are to be private as well, where none becomes gone.
        """
        changes = []
        for row in map(EntryRow._make, rows):
            line = wanted.pop((row.id, row.name), None)
            if line and row.reason != GONE and line[2:] == (row.flags, row.updated, row.fallback, row.size):
                continue  # as for most; `_is_present` has the same rule
            before = TrackedEntry.of(row)
            if line is None and row.id in private and not before.is_gone:
                line = row.id, row.name, row.flags | PRIVATE_FLAG, row.updated, row.fallback, row.size
            after = (
                gone(before, accepted=self._accepts_losses)
                if line is None
                else seen(before, DesiredEntry(*line[2:4], line[5], line[4]))
            )
            if after != before and (self.writes is Writes.ALL or _hides(before, after)):
                changes.append(PlannedChange((kind, row.id, row.name), before, after))
                self._lost[kind] += after.is_gone and before.may_be_at_source
                if before.is_gone and not after.is_gone:
                    self._came.add(kind)
                self._marked += after.accepted == GONE != before.accepted
                self._is_back |= before.is_gone and not after.is_gone and bool(after.presence)
                _note(before, after, delta)
        write_changes(self.manifest, changes)


def _hides(before: TrackedEntry, after: TrackedEntry) -> bool:
    """Whether an entry has become private. That is written even if all else of a plan is refused."""
    return bool(after.flags & ~before.flags & PRIVATE_FLAG)


def _note(before: TrackedEntry, after: TrackedEntry, delta: PlanDelta) -> None:
    """Count what has changed."""
    if after.is_gone:
        delta.gone += 1
    elif after.state != PENDING or before.state == PENDING:
        return
    elif before.is_gone or before.reason == EXCLUDED:
        delta.revived += 1
    else:
        delta.reopened += 1


def _lines(group: EntryGroup) -> Iterable[Line]:
    updated, fallbacks, sizes = (each or repeat(None) for each in (group.updated, group.fallbacks, group.sizes))
    # what repeats has no end
    return zip(group.ids, group.names, repeat(_flags(group)), updated, fallbacks, sizes, strict=False)


def _columns(groups: Sequence[EntryGroup], last: Iterable[Iterable[Any] | None]) -> list[tuple[Any, ...]]:
    """Lines as they are compared; `last`: for each group a last column, if it has one."""
    return _in_order(
        zip(group.ids, group.names, repeat(_flags(group)), group.updated or repeat(None), values or repeat(None))
        for group, values in zip(groups, last, strict=False)
    )


def _flags(group: EntryGroup) -> int:
    return FLAGS[group.optional, group.private, group.excluded]


def _in_order(groups: Iterable[Iterable[_Placed]]) -> list[_Placed]:
    """Lines of one kind by ascending id: in the order in which they lie in the manifest."""
    return sorted(chain.from_iterable(groups), key=itemgetter(0))


def _bytes_of(lines: Sequence[Line]) -> int:
    return sum(filter(None, map(itemgetter(5), lines)))
