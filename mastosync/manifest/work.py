"""Work: claiming pending entries, recording outcomes, and putting failed entries back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mastosync.manifest.codes import (
    DONE,
    FAILED,
    NO_REASON,
    OPTIONAL_FLAG,
    ORIGIN_CODE,
    PENDING,
    PRIVATE_FLAG,
    REASON_CODE,
    SKIPPED,
    STATE_CODE,
)
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.identity import StoreIdentity, require_same
from mastosync.manifest.order import merged, stages
from mastosync.model import FAILURE_REASONS, PASSING_REASONS, Claim, Entry, EntryState, Order, Outcome, Reason

_NOT_DONE = f"state <> {DONE}"  # said again, or SQLite does not see that the partial index serves
_COLUMNS = (
    "e.kind, e.id, e.name, e.fallback, e.flags, e.size, e.updated, e.attempts, coalesce(e.md5, e.etag) IS NOT NULL"
)
_SELECT_LEFT_BEHIND = f"""
SELECT {_COLUMNS} FROM claims c JOIN entries e USING (kind, id, name) WHERE e.state = {PENDING}
"""
_PENDING_OF_KIND = f"""
SELECT {_COLUMNS} FROM entries e INDEXED BY entries_open WHERE e.state = {PENDING} AND {_NOT_DONE} AND e.kind = ?
"""
_FROM_THE_LAST = f"{_PENDING_OF_KIND} AND (e.id, e.name) < (?, ?) ORDER BY e.id DESC, e.name DESC LIMIT ?"
_FROM_THE_FIRST = f"{_PENDING_OF_KIND} AND (e.id, e.name) > (?, ?) ORDER BY e.id, e.name LIMIT ?"
_INSERT_CLAIM = "INSERT INTO claims (kind, id, name) VALUES (?, ?, ?)"
_DROP_CLAIM = "DELETE FROM claims WHERE kind = ? AND id = ? AND name = ?"
_RECORD = """
UPDATE entries SET state = ?, reason = ?, size = coalesce(?, size), attempts = attempts + ?,
    md5 = ?, etag = ?, source_key = ?, detail = ?, origin = ?
WHERE kind = ? AND id = ? AND name = ?
"""
_PENDING_COUNTS = f"SELECT kind, objects FROM counts WHERE state = {PENDING} AND objects > 0"
_ANY_DONE = f"SELECT EXISTS (SELECT 1 FROM counts WHERE state = {DONE} AND objects > 0)"
_STOPPED_COUNTS = f"""
SELECT kind, state, reason, objects, bytes FROM counts WHERE state IN ({FAILED}, {SKIPPED}) AND objects > 0
"""
_REOPEN = f"""
UPDATE entries SET state = {PENDING}, reason = {NO_REASON}, detail = NULL
WHERE state = ? AND {_NOT_DONE} AND kind = ? AND reason = ?
"""
_TO_TRY_AGAIN = f"""
state = {FAILED} AND {_NOT_DONE} AND kind = ? AND attempts < ?
AND (reason IN ({", ".join(str(REASON_CODE[reason]) for reason in PASSING_REASONS)})
    OR (reason = {REASON_CODE[Reason.MISSING]} AND updated >= ?))
"""
_COUNT_TO_TRY_AGAIN = f"""
SELECT reason, count(*), coalesce(sum(size), 0) FROM entries INDEXED BY entries_open
WHERE {_TO_TRY_AGAIN} GROUP BY reason
"""
_TRY_AGAIN = f"""
UPDATE entries INDEXED BY entries_open SET state = {PENDING}, reason = {NO_REASON}, detail = NULL
WHERE {_TO_TRY_AGAIN}
"""
_START_RUN = "INSERT INTO runs (started_at, updated_at, workers) VALUES (?, ?, ?)"
_ADD_TO_RUN = """
UPDATE runs SET updated_at = ?, done = done + ?, failed = failed + ?, skipped = skipped + ?, bytes = bytes + ?
WHERE id = ?
"""
_SAMPLE = """
INSERT INTO samples (run, at, done, failed, skipped, bytes)
SELECT id, updated_at, done, failed, skipped, bytes FROM runs WHERE id = ?
"""
_END_RUN = "UPDATE runs SET updated_at = ?, ended_at = ? WHERE id = ?"

_BEFORE_ALL, _AFTER_ALL = (-(2**63), ""), (2**63 - 1, "\U0010ffff")
_CHUNK = 500  # rows: two chunks of every kind are in memory at once
_SAMPLE_SECONDS = 60.0

_Row = tuple[int, int, str, str | None, int, int | None, int | None, int, int]


@dataclass(slots=True)
class WorkQueue:
    """The pending entries of one run of `copy`, in the order of work."""

    manifest: Manifest
    types: tuple[str, ...] = ()  # tables; empty: all
    order: Order = Order.LOCAL_FIRST
    _run: int = field(init=False, default=0)
    _sampled_at: float = field(init=False, default=0.0)

    def require_plan(self, source: StoreIdentity, destination: StoreIdentity) -> None:
        """Raises: ManifestError if the manifest has no plan, or one for other stores."""
        self.manifest.require_plan()
        require_same(self.manifest, source, destination)

    def pending(self) -> int:
        """How many entries are pending, of the types of this run."""
        chosen = self.manifest.kinds(self.types)
        return sum(count for kind, count in self._rows(_PENDING_COUNTS) if kind in chosen)

    def any_done(self) -> bool:
        """Whether anything was ever copied by this manifest."""
        return bool(self._rows(_ANY_DONE)[0][0])

    def iter_claimable(self) -> Iterator[Claim]:
        """Everything there is to do: what a dead run left behind first, then what is pending.

        How entries follow each other is told in `order`. Nothing is claimed until `commit` says so.
        Chunks are read whole, so that commits between them disturb nothing.
        """
        chosen = self.manifest.kinds(self.types)
        left_behind = self._rows(_SELECT_LEFT_BEHIND)
        taken = {row[:3] for row in left_behind}
        yield from (self._claim(row, left_behind=True) for row in left_behind if row[0] in chosen)
        having = [number for number, _ in self._rows(_PENDING_COUNTS) if number in chosen]
        for stage in stages({number: chosen[number] for number in sorted(having)}, self.order):
            chunks = {kind: self._iter_chunks(number) for number, kind in stage.items()}
            rows = merged(chunks, newest=self.order is not Order.OLDEST)
            yield from (self._claim(row, left_behind=False) for row in rows if row[:3] not in taken)

    def _iter_chunks(self, kind: int) -> Iterator[list[_Row]]:
        """What is pending of a kind, by ascending id for the oldest first, else by descending."""
        oldest_first = self.order is Order.OLDEST
        query, place = (_FROM_THE_FIRST, _BEFORE_ALL) if oldest_first else (_FROM_THE_LAST, _AFTER_ALL)
        while rows := self._rows(query, (kind, *place, _CHUNK)):
            yield rows
            place = rows[-1][1:3]

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        with translated(self.manifest.path):
            return self.manifest.connection.execute(query, values).fetchall()

    def _claim(self, row: _Row, *, left_behind: bool) -> Claim:
        kind, row_id, name, fallback, flags, size, updated, attempts, done_before = row
        entry = Entry(
            kind=self.manifest.kind(kind),
            id=row_id,
            name=name,
            fallback=fallback,
            optional=bool(flags & OPTIONAL_FLAG),
            private=bool(flags & PRIVATE_FLAG),
            size=size,
            updated=updated,
        )
        return Claim(entry, attempts, left_behind, rewrite=bool(done_before))

    def start_run(self, workers: int) -> None:
        """Open the record of this run."""
        now = time.time()
        with self.manifest.transaction() as connection:
            self._run = connection.execute(_START_RUN, (now, now, workers)).lastrowid or 0
            self._sample(now)

    def end_run(self) -> None:
        """Close the record of this run."""
        now = time.time()
        with self.manifest.transaction() as connection:
            connection.execute(_END_RUN, (now, now, self._run))
            self._sample(now)

    def commit(
        self, *, outcomes: Sequence[Outcome] = (), claims: Sequence[Claim] = (), released: Sequence[Claim] = ()
    ) -> None:
        """Record outcomes, claim entries and release claims nobody began, in one transaction.

        A claim is in the file before its entry is worked on: whoever finds it later knows that the
        object may have arrived. Raises: ManifestError, and then nothing has changed.
        """
        with self.manifest.transaction() as connection:
            self._record(outcomes)
            new = [claim for claim in claims if not claim.left_behind]
            connection.executemany(_INSERT_CLAIM, [self._place(claim.entry) for claim in new])
            begun_by_nobody = [claim for claim in released if not claim.left_behind]
            connection.executemany(_DROP_CLAIM, [self._place(claim.entry) for claim in begun_by_nobody])

    def _record(self, outcomes: Sequence[Outcome]) -> None:
        tally = dict.fromkeys(EntryState, 0)
        sent_bytes = 0
        rows = []
        settled = []
        for outcome in outcomes:
            kind, *_ = place = self._place(outcome.entry)
            state, reason = STATE_CODE[outcome.state], REASON_CODE[outcome.reason]
            known_bytes = outcome.entry.size or 0
            size_bytes = known_bytes if outcome.size is None else outcome.size
            self.manifest.count(kind, PENDING, NO_REASON, -1, -known_bytes)
            self.manifest.count(kind, state, reason, 1, size_bytes)
            tally[outcome.state] += 1
            sent_bytes += size_bytes if outcome.state is EntryState.DONE else 0
            seen = (outcome.md5, outcome.etag, outcome.source_key, outcome.detail, ORIGIN_CODE[outcome.origin])
            rows.append((state, reason, outcome.size, outcome.attempts, *seen, *place))
            if not outcome.in_doubt:
                settled.append(place)
        connection = self.manifest.connection
        connection.executemany(_RECORD, rows)
        connection.executemany(_DROP_CLAIM, settled)
        counts = (tally[EntryState.DONE], tally[EntryState.FAILED], tally[EntryState.SKIPPED])
        now = time.time()
        connection.execute(_ADD_TO_RUN, (now, *counts, sent_bytes, self._run))
        if now - self._sampled_at >= _SAMPLE_SECONDS:
            self._sample(now)

    def _sample(self, now: float) -> None:
        """Keep how far this run has come."""
        self.manifest.connection.execute(_SAMPLE, (self._run,))
        self._sampled_at = now

    def _place(self, entry: Entry) -> tuple[int, int, str]:
        return self.manifest.kind_id(entry.kind), entry.id, entry.name


def reopen(manifest: Manifest, types: tuple[str, ...] = (), reasons: tuple[Reason, ...] = ()) -> int:
    """Put entries that failed or were skipped for these reasons back to pending, and return how many.

    No types: of every type. No reasons: whatever failed.
    """
    chosen = manifest.kinds(types)
    codes = {REASON_CODE[reason] for reason in reasons or FAILURE_REASONS}
    reopened = 0
    with manifest.transaction() as connection:
        for kind, state, reason, objects, size_bytes in connection.execute(_STOPPED_COUNTS).fetchall():
            if kind in chosen and reason in codes:
                connection.execute(_REOPEN, (state, kind, reason))
                manifest.count(kind, state, reason, -objects, -size_bytes)
                manifest.count(kind, PENDING, NO_REASON, objects, size_bytes)
                reopened += objects
    return reopened


def try_again(manifest: Manifest, attempts: int, since: int) -> int:
    """Put back to pending what may fare better by now, and return how many.

    That is what failed in a way that may pass, and what was missing and has a file of `since` (seconds since the
    epoch) or later, which may have been on its way; each unless that many attempts were made already.
    """
    reopened = 0
    with manifest.transaction() as connection:
        for kind in manifest.kinds():
            values = (kind, attempts, since)
            for reason, objects, size_bytes in connection.execute(_COUNT_TO_TRY_AGAIN, values).fetchall():
                manifest.count(kind, FAILED, reason, -objects, -size_bytes)
                manifest.count(kind, PENDING, NO_REASON, objects, size_bytes)
                reopened += objects
            connection.execute(_TRY_AGAIN, values)
    return reopened
