"""The work queue of a run: it hands out pending entries in a useful order, and records what became of them.

Entries of a kind come in the order of their ids, straight from an index. Kinds are merged by age (`merged`). So nothing
is sorted, and at most two chunks of each kind are in memory.

A run also notes which stores it is waiting for (`Outage`), for `status` to show. The note is void when the run ends.
"""

from __future__ import annotations

import heapq
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from mastosync.errors import ExitCode
from mastosync.manifest.connection import Manifest
from mastosync.manifest.entry_writer import (
    claim,
    disbelieve,
    note_access,
    recover_claims,
    release,
    write_outcomes,
)
from mastosync.manifest.history import LAST_END, delete_meta, meta_of, set_meta
from mastosync.manifest.lifecycle import EntryChange
from mastosync.manifest.reader import NEXT_PAGE, iter_pages
from mastosync.manifest.rows import COLUMNS, DONE, HIGHEST_ID, LOWEST_ID, PENDING, SNOWFLAKE_TABLES, claim_of
from mastosync.manifest.sqlite_errors import sound, translated
from mastosync.model import Claim, Entry, EntryState, Kind, Order, Outcome, Presence

_WAITING = "waiting"
_UPLOADS = "uploads"


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


_PENDING_OF_KIND = f"""
SELECT {COLUMNS} FROM entries INDEXED BY entries_open WHERE state = {PENDING} AND state <> {DONE} AND kind = ?
"""  # the second `state` shows SQLite that the partial index serves
_FROM_THE_LAST = f"{_PENDING_OF_KIND} AND (id, name) < (?, ?) ORDER BY id DESC, name DESC LIMIT ?"
_FROM_THE_FIRST = f"{_PENDING_OF_KIND} {NEXT_PAGE}"
_PENDING_COUNTS = f"SELECT kind, objects FROM counts WHERE state = {PENDING} AND objects > 0"
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

_BEFORE_ALL, _AFTER_ALL = (LOWEST_ID, ""), (HIGHEST_ID, "\U0010ffff")
_CHUNK = 500  # rows: two chunks of every kind are in memory at once
_SAMPLE_SECONDS = 60.0

_REFETCHED_BY_MASTODON = frozenset({"preview_cards", "preview_card_providers"})
_UNKNOWN = math.inf  # comes after every age


@dataclass(slots=True)
class WorkQueue:
    """The pending entries of one run of `copy`, in the order of work."""

    manifest: Manifest
    types: tuple[str, ...] = ()  # tables; empty: all
    order: Order = Order.LOCAL_FIRST
    _run: int = field(init=False, default=0)
    _sampled_at: float = field(init=False, default=0.0)

    def pending(self) -> int:
        """How many entries are pending, of the types of this run."""
        chosen = self.manifest.kinds(self.types)
        return sum(count for kind, count in self._rows(_PENDING_COUNTS) if kind in chosen)

    def iter_claimable(self) -> Iterator[Claim]:
        """Everything there is to do.

        `order` says in which order. Nothing is claimed before `commit`.
        Chunks are read whole, so that commits between them disturb nothing.
        """
        chosen = self.manifest.kinds(self.types)
        having = [number for number, _ in self._rows(_PENDING_COUNTS) if number in chosen]
        for stage in stages({number: chosen[number] for number in sorted(having)}, self.order):
            chunks = {kind: self._iter_chunks(number, kind) for number, kind in stage.items()}
            yield from merged(chunks, newest=self.order is not Order.OLDEST)

    def _iter_chunks(self, number: int, kind: Kind) -> Iterator[list[Claim]]:
        """What is pending of a kind, by ascending id for the oldest first, else by descending."""
        oldest_first = self.order is Order.OLDEST
        query, after = (_FROM_THE_FIRST, _BEFORE_ALL) if oldest_first else (_FROM_THE_LAST, _AFTER_ALL)
        for rows in iter_pages(self.manifest, query, (number,), after, _CHUNK):
            yield [claim_of(kind, row) for row in rows]

    def _rows(self, query: str) -> list[Any]:
        with translated(self.manifest.path):
            return self.manifest.connection.execute(query).fetchall()

    def start_run(self, workers: int) -> None:
        """Open the record of this run, and settle the claims of dead runs."""
        now = time.time()
        with self.manifest.transaction() as connection:
            recover_claims(self.manifest)
            note_waiting(self.manifest, ())  # a run that has died may have left some
            self._run = connection.execute(_START_RUN, (now, now, workers)).lastrowid or 0
            self._sample(now)

    def end_run(self, exit_code: ExitCode = ExitCode.OK) -> None:
        """Close the record of this run, with its exit code."""
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
        disbelieved: Mapping[Kind, tuple[int, int]] | None = None,
    ) -> int:
        """Record outcomes, claim entries and release claims that were not begun, in one transaction.

        `disbelieved`: see `disbelieve`. Returns: how many entries are pending again because of that.

        `access`: that of claimed entries which are, were or may have been written with another than their rows ask for.

        A claim is in the file before its entry is worked on. So if a claim is found later, the object may have arrived.
        Raises: ManifestError, and then nothing has changed.
        """
        with self.manifest.transaction():
            self._record(outcomes)
            claim(self.manifest, (each.entry for each in claims))
            release(self.manifest, (each.entry for each in released))
            note_access(self.manifest, access)
            return disbelieve(self.manifest, disbelieved or {})

    def note_waiting(self, outages: Sequence[Outage]) -> None:
        """Show other processes which stores this run waits for. Raises: ManifestError."""
        with self.manifest.transaction():
            note_waiting(self.manifest, outages)

    def note_uploads(self, noted: str | None) -> None:
        """Keep for the next run which uploads in parts are under way; None: none is. Raises: ManifestError."""
        with self.manifest.transaction() as connection:
            if noted is None:
                delete_meta(connection, _UPLOADS)
            else:
                set_meta(connection, _UPLOADS, noted)

    def noted_uploads(self) -> str | None:
        """What an earlier run has noted last. Raises: ManifestError."""
        return meta_of(self.manifest, _UPLOADS)

    def _record(self, outcomes: Sequence[Outcome]) -> None:
        write_outcomes(self.manifest, [EntryChange(outcome) for outcome in outcomes])
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
        """Record a sample of the progress of this run."""
        self.manifest.connection.execute(_SAMPLE, (self._run,))
        self._sampled_at = now


def stages(kinds: Mapping[int, Kind], order: Order) -> list[dict[int, Kind]]:
    """Kinds by number, in groups that are worked through one after the other."""
    if order is not Order.LOCAL_FIRST:
        return [dict(kinds)]
    local = {number: kind for number, kind in kinds.items() if _is_only_here(kind)}
    return [local, {number: kind for number, kind in kinds.items() if number not in local}]


def merged(chunks: Mapping[Kind, Iterable[Sequence[Claim]]], *, newest: bool) -> Iterator[Claim]:
    """Claims of all kinds from the newest (or oldest) on; each kind comes in chunks, in this order by id.

    Within a kind, ids follow time closely enough. Between kinds, ages are compared: of the file if the row has it, else
    of the row if its id carries a time. Entries with neither come last.
    """
    streams = [_dated(kind, some, -1 if newest else 1) for kind, some in chunks.items()]
    return map(itemgetter(1), heapq.merge(*streams, key=itemgetter(0)))


def _is_only_here(kind: Kind) -> bool:
    """Whether such objects could not be fetched again if they were lost."""
    return not kind.remote and kind.table not in _REFETCHED_BY_MASTODON


def _dated(kind: Kind, chunks: Iterable[Sequence[Claim]], sign: int) -> Iterator[tuple[float, Claim]]:
    """Claims of a kind, each with its turn: ascending numbers, the sign being that of time.

    A claim has the turn of the first one that comes after it, within its chunk and the next, if that is earlier:
    an old account that changed its avatar yesterday must not hold up those behind it.
    """
    is_snowflake = kind.table in SNOWFLAKE_TABLES
    timed = ((claims, [_rank(claim.entry, sign, is_snowflake) for claim in claims]) for claims in chunks)
    for (claims, own), (_, following) in pairwise(chain(timed, [((), [])])):
        turns = accumulate(reversed(own), min, initial=min(following, default=_UNKNOWN))
        yield from zip(reversed(list(turns)[1:]), claims, strict=True)


def _rank(entry: Entry, sign: int, is_snowflake: bool) -> float:
    if entry.updated is not None:
        return sign * entry.updated
    return sign * (entry.id >> 16) / 1000 if is_snowflake else _UNKNOWN
