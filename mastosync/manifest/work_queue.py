"""Work: claiming pending entries and recording what became of them.

Which stores a run waits for right now, for whoever looks on. It counts for nothing once that run has ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mastosync.errors import ExitCode
from mastosync.manifest.codes import DONE, OPTIONAL_FLAG, ORIGIN_OF, PENDING, PRIVATE_FLAG
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.entry_writer import Settled, claim, note_access, release, settle, take_back_claims
from mastosync.manifest.identity import StoreIdentity, require_same
from mastosync.manifest.lifecycle import presence_of
from mastosync.manifest.meta import LAST_END, delete_meta, meta_of, set_meta
from mastosync.manifest.rows import merged, stages
from mastosync.manifest.sqlite_errors import sound
from mastosync.model import Arrival, Claim, Entry, EntryState, Order, Outcome, Presence

_WAITING = "waiting"


class Outage(NamedTuple):
    """A store that is waited for."""

    store: str  # for people
    since: float  # seconds since the epoch, as the following
    until: float  # it is waited for
    answer: str  # what became of the request that was sent last


def note_waiting(manifest: Manifest, outages: Sequence[Outage]) -> None:
    """Note them all, within the caller's transaction. Raises: ManifestError."""
    with translated(manifest.path):
        if outages:
            set_meta(manifest.connection, _WAITING, json.dumps([each._asdict() for each in outages]))
        else:
            delete_meta(manifest.connection, _WAITING)


def waiting_for(manifest: Manifest) -> tuple[Outage, ...]:
    """What the last run has noted. Raises: ManifestError."""
    found = meta_of(manifest, _WAITING)
    with sound(manifest.path):
        return tuple(Outage(**each) for each in json.loads(found)) if found else ()


_NOT_DONE = f"state <> {DONE}"  # said again, or SQLite does not see that the partial index serves
_COLUMNS = (
    "e.kind, e.id, e.name, e.fallback, e.flags, e.size, e.updated, e.attempts, e.arrived, e.md5, e.etag, e.source_key, "
    "e.origin"
)
_PENDING_OF_KIND = f"""
SELECT {_COLUMNS} FROM entries e INDEXED BY entries_open WHERE e.state = {PENDING} AND {_NOT_DONE} AND e.kind = ?
"""
_FROM_THE_LAST = f"{_PENDING_OF_KIND} AND (e.id, e.name) < (?, ?) ORDER BY e.id DESC, e.name DESC LIMIT ?"
_FROM_THE_FIRST = f"{_PENDING_OF_KIND} AND (e.id, e.name) > (?, ?) ORDER BY e.id, e.name LIMIT ?"
_PENDING_COUNTS = f"SELECT kind, objects FROM counts WHERE state = {PENDING} AND objects > 0"
_ANY_DONE = f"SELECT EXISTS (SELECT 1 FROM counts WHERE state = {DONE} AND objects > 0)"
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

_Row = tuple[Any, ...]
"""What `_COLUMNS` give."""


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
        """Everything there is to do.

        How entries follow each other is told in `order`. Nothing is claimed until `commit` says so.
        Chunks are read whole, so that commits between them disturb nothing.
        """
        chosen = self.manifest.kinds(self.types)
        having = [number for number, _ in self._rows(_PENDING_COUNTS) if number in chosen]
        for stage in stages({number: chosen[number] for number in sorted(having)}, self.order):
            chunks = {kind: self._iter_chunks(number) for number, kind in stage.items()}
            yield from map(self._claim, merged(chunks, newest=self.order is not Order.OLDEST))

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

    def _claim(self, row: _Row) -> Claim:
        kind, row_id, name, fallback, flags, size, updated, attempts, arrived, md5, etag, source_key, origin = row
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
        if arrived is None and md5 is None and etag is None:  # as for most
            return Claim(entry, attempts)
        presence = presence_of(flags, PENDING, arrived, has_digest=md5 is not None or etag is not None)
        return Claim(entry, attempts, Arrival(presence, md5, etag, source_key, ORIGIN_OF[origin]))

    def start_run(self, workers: int) -> None:
        """Open the record of this run. What dead ones have left claimed may have arrived."""
        now = time.time()
        with self.manifest.transaction() as connection:
            take_back_claims(self.manifest)
            note_waiting(self.manifest, ())  # a run that has died may have left some
            self._run = connection.execute(_START_RUN, (now, now, workers)).lastrowid or 0
            self._sample(now)

    def end_run(self, exit_code: ExitCode = ExitCode.OK) -> None:
        """Close the record of this run, which ended so: `RunInfo.exit_code`."""
        now = time.time()
        with self.manifest.transaction() as connection:
            connection.execute(_END_RUN, (now, now, self._run))
            set_meta(connection, LAST_END, f"{self._run} {exit_code:d}")
            note_waiting(self.manifest, ())
            self._sample(now)

    def commit(
        self,
        *,
        outcomes: Sequence[Outcome] = (),
        claims: Sequence[Claim] = (),
        released: Sequence[Claim] = (),
        access: Sequence[tuple[Entry, Presence]] = (),
    ) -> None:
        """Record outcomes of claims, claim entries and release claims nobody began, in one transaction.

        `access`: claimed entries that are written with another one than their rows ask for, or were, or may have been.

        A claim is in the file before its entry is worked on: whoever finds it later knows that the
        object may have arrived. Raises: ManifestError, and then nothing has changed.
        """
        with self.manifest.transaction() as connection:
            self._record(outcomes)
            claim(connection, self.manifest, (each.entry for each in claims))
            release(connection, self.manifest, (each.entry for each in released))
            note_access(connection, self.manifest, access)

    def note_waiting(self, outages: Sequence[Outage]) -> None:
        """Let whoever looks on know which stores this run waits for. Raises: ManifestError."""
        with self.manifest.transaction():
            note_waiting(self.manifest, outages)

    def _record(self, outcomes: Sequence[Outcome]) -> None:
        settle(self.manifest, [Settled(outcome) for outcome in outcomes])
        tally = dict.fromkeys(EntryState, 0)
        sent_bytes = 0
        for outcome in outcomes:
            tally[outcome.state] += 1
            if outcome.state is EntryState.DONE:
                sent_bytes += (outcome.entry.size if outcome.size is None else outcome.size) or 0
        counts = (tally[EntryState.DONE], tally[EntryState.FAILED], tally[EntryState.SKIPPED])
        now = time.time()
        self.manifest.connection.execute(_ADD_TO_RUN, (now, *counts, sent_bytes, self._run))
        if now - self._sampled_at >= _SAMPLE_SECONDS:
            self._sample(now)

    def _sample(self, now: float) -> None:
        """Keep how far this run has come."""
        self.manifest.connection.execute(_SAMPLE, (self._run,))
        self._sampled_at = now
