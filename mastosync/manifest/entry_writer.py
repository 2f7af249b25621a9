"""Everything that changes an entry: one statement for each kind of event, its counters and claims with it.

`lifecycle` decides what an entry becomes. New entries of a plan are inserted by `temporary_database.EntryLoader`, and
an import inserts whole lines here; no other module writes to the table `entries`.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from mastosync.manifest.connection import Manifest
from mastosync.manifest.history import note_change
from mastosync.manifest.lifecycle import EntryChange, PlannedChange, left_by_dead_run
from mastosync.manifest.rows import (
    ADOPTED,
    COLUMNS,
    DONE,
    FAILED,
    GONE,
    NO_REASON,
    ORIGIN_CODE,
    PENDING,
    PLACEHOLDERS,
    PRIVATE_FLAG,
    REASON_CODE,
    SKIPPED,
    STATE_CODE,
    EntryPlace,
    EntryRow,
    FoundRow,
    access_of,
    stored_presence,
)
from mastosync.manifest.sqlite_errors import translated
from mastosync.model import (
    FAILURE_REASONS,
    PASSING_REASONS,
    Entry,
    EntryState,
    Kind,
    Origin,
    Outcome,
    Presence,
    Reason,
    Record,
)

_OF_ENTRY = "WHERE kind = ? AND id = ? AND name = ?"
_PLAN = f"""
UPDATE entries SET flags = ?, updated = ?, size = ?, fallback = ?, state = ?, reason = ?, arrived = ?, accepted = ?
{_OF_ENTRY}
"""
_DONE = f"""
UPDATE entries SET state = {DONE}, reason = {NO_REASON}, detail = ?, attempts = attempts + ?, size = coalesce(?, size),
    md5 = ?, etag = ?, source_key = ?, origin = ?, arrived = NULL, accepted = NULL, flags = flags | ?
{_OF_ENTRY}
"""
_NOT_DONE = f"""
UPDATE entries SET state = ?, reason = ?, detail = ?, attempts = attempts + ?, arrived = coalesce(?, arrived),
    flags = flags | ?
{_OF_ENTRY}
"""
_FOUND = f"""
UPDATE entries SET state = {DONE}, reason = {NO_REASON}, detail = NULL, size = ?, md5 = ?, etag = NULL,
    source_key = NULL, origin = {ADOPTED}, arrived = NULL, accepted = NULL
{_OF_ENTRY} AND state = ? AND reason = ? AND size IS ?
"""
_PRUNED = f"""
UPDATE entries SET arrived = NULL, md5 = NULL, etag = NULL, source_key = NULL, origin = NULL, detail = NULL
{_OF_ENTRY} AND state = {SKIPPED} AND reason = {GONE}
"""
_SELECT_ROW = f"SELECT {COLUMNS} FROM entries {_OF_ENTRY}"
_MOVE = f"UPDATE entries SET kind = ? {_OF_ENTRY}"
_INSERT = f"INSERT INTO entries (kind, {COLUMNS}) VALUES (?, {PLACEHOLDERS})"
_REMOVE = f"DELETE FROM entries {_OF_ENTRY}"
_ARRIVED = f"UPDATE entries SET arrived = ? {_OF_ENTRY}"
_CLAIM = "INSERT INTO claims (kind, id, name, access) VALUES (?, ?, ?, ?)"
_NOTE_ACCESS = f"UPDATE claims SET access = ? {_OF_ENTRY}"
_DROP_CLAIM = f"DELETE FROM claims {_OF_ENTRY}"
_DROP_CLAIMS = "DELETE FROM claims"
_ANY_CLAIM = "SELECT EXISTS (SELECT 1 FROM claims)"
_LEFT_CLAIMS = f"SELECT kind, access, {COLUMNS} FROM claims JOIN entries USING (kind, id, name)"
_STOPPED = f"SELECT kind, state, reason FROM counts WHERE state IN ({FAILED}, {SKIPPED}) AND objects > 0"
_OF_REASON = f"kind = ? AND state = ? AND state <> {DONE} AND reason = ? AND (accepted IS NOT reason OR ?)"
"""The last value: whether also what was accepted. The second `state` shows SQLite that the partial index serves."""
_COUNT = f"SELECT count(*), coalesce(sum(size), 0) FROM entries INDEXED BY entries_open WHERE {_OF_REASON}"
_REOPEN = f"""
UPDATE entries INDEXED BY entries_open SET state = {PENDING}, reason = {NO_REASON}, detail = NULL WHERE {_OF_REASON}
"""
_IS_COPIED_BETWEEN = f"kind = ? AND id BETWEEN ? AND ? AND state = {DONE} AND origin IS NULL"
_COUNT_COPIED_BETWEEN = f"SELECT count(*), coalesce(sum(size), 0) FROM entries WHERE {_IS_COPIED_BETWEEN}"
_DISBELIEVE = f"""
UPDATE entries SET state = {PENDING}, arrived = {Presence.STALE.value} | iif(flags & {PRIVATE_FLAG},
    {Presence.AS_PRIVATE.value}, {Presence.AS_PUBLIC.value}) WHERE {_IS_COPIED_BETWEEN}
"""
_ACCEPT = f"UPDATE entries INDEXED BY entries_open SET accepted = reason WHERE {_OF_REASON}"
_IS_ACCEPTED = "accepted IS NOT NULL AND kind = ? AND accepted = ?"
_COUNT_ACCEPTED = f"SELECT count(*) FROM entries INDEXED BY entries_accepted WHERE {_IS_ACCEPTED}"
_FORGET_ACCEPTED = f"UPDATE entries INDEXED BY entries_accepted SET accepted = NULL WHERE {_IS_ACCEPTED}"
_FORGET_LOST = f"""
UPDATE entries INDEXED BY entries_accepted SET accepted = NULL WHERE accepted IS NOT NULL AND accepted = {GONE}
"""
_TO_TRY_AGAIN = f"""
state = {FAILED} AND state <> {DONE} AND kind = ? AND attempts < ?
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

_MARK_LOST = f"""
UPDATE entries INDEXED BY entries_open SET accepted = {GONE}
WHERE state = {SKIPPED} AND state <> {DONE} AND reason = {GONE} AND accepted IS NULL
"""


def write_changes(manifest: Manifest, changes: Sequence[PlannedChange]) -> None:
    """Record what a plan makes of entries, within its transaction."""
    for (kind, *_), before, after in changes:
        manifest.count(kind, before.state, before.reason, -1, -(before.size or 0))
        manifest.count(kind, after.state, after.reason, 1, after.size or 0)
    rows = [
        (
            *(after.flags, after.updated, after.size, after.fallback),
            *(after.state, after.reason, stored_presence(after.state, after.presence), after.accepted),
            *place,
        )
        for place, _, after in changes
    ]
    manifest.connection.executemany(_PLAN, rows)


def import_rows(manifest: Manifest, entries: Sequence[tuple[int, EntryRow, Presence | None]]) -> None:
    """Insert lines of an archive, each with its kind and the access of its claim, within a transaction of an import."""
    for kind, row, _ in entries:
        manifest.count(kind, row.state, row.reason, 1, row.size or 0)
    manifest.connection.executemany(_INSERT, [(kind, *row) for kind, row, _ in entries])
    claims = [(kind, row.id, row.name, access) for kind, row, access in entries if access is not None]
    manifest.connection.executemany(_CLAIM, claims)


def move_rows(manifest: Manifest, kind: int, to: int, places: Sequence[tuple[int, str]]) -> None:
    """Give lines of a kind, by id and name, to another one whose keys are the same, within the transaction of a plan.

    If both kinds have a line, one is left, with what both know of the destination.
    """
    connection = manifest.connection
    for row_id, name in places:
        here, there = (kind, row_id, name), (to, row_id, name)
        row, other = _row_at(connection, here), _row_at(connection, there)
        if row is None:
            continue
        manifest.count(kind, row.state, row.reason, -1, -(row.size or 0))
        if other is not None and (other.presence or not row.presence):
            connection.execute(_REMOVE, here)
            connection.execute(_ARRIVED, (stored_presence(other.state, other.presence | row.presence), *there))
            continue
        if other is not None:
            connection.execute(_REMOVE, there)
            manifest.count(to, other.state, other.reason, -1, -(other.size or 0))
        connection.execute(_MOVE, (to, *here))
        manifest.count(to, row.state, row.reason, 1, row.size or 0)


def _row_at(connection: sqlite3.Connection, place: EntryPlace) -> EntryRow | None:
    found = connection.execute(_SELECT_ROW, place).fetchone()
    return None if found is None else EntryRow._make(found)


def write_outcomes(manifest: Manifest, entries: Sequence[EntryChange]) -> None:
    """Record what became of entries, and drop their claims, within a transaction.

    An entry that is not done keeps its digest, and its presence unless the outcome has another one.
    """
    done: list[tuple[object, ...]] = []
    not_done: list[tuple[object, ...]] = []
    places = []
    for outcome, state, reason, presence in entries:
        entry = outcome.entry
        place = place_of(manifest, entry)
        becomes = STATE_CODE[outcome.state], REASON_CODE[outcome.reason]
        is_done = outcome.state is EntryState.DONE
        size = outcome.size if is_done and outcome.size is not None else entry.size  # what has not arrived has none yet
        manifest.count(place[0], STATE_CODE[state], REASON_CODE[reason], -1, -(entry.size or 0))
        manifest.count(place[0], *becomes, 1, size or 0)
        found_private = entry.private * PRIVATE_FLAG  # a disk may know it before the row does
        if is_done:
            seen = (outcome.md5, outcome.etag, outcome.source_key, ORIGIN_CODE[outcome.origin])
            done.append((outcome.detail, outcome.attempts, outcome.size, *seen, found_private, *place))
        else:
            now = presence if outcome.presence is None else outcome.presence
            arrived = None if now is None else stored_presence(becomes[0], now)
            not_done.append((*becomes, outcome.detail, outcome.attempts, arrived, found_private, *place))
        places.append(place)
    connection = manifest.connection
    connection.executemany(_DONE, done)
    connection.executemany(_NOT_DONE, not_done)
    if connection.execute(_ANY_CLAIM).fetchone()[0]:  # `verify` and `adopt` claim nothing
        connection.executemany(_DROP_CLAIM, places)


def record_findings(manifest: Manifest, corrections: Sequence[tuple[Record, Outcome]]) -> int:
    """Record in one transaction what became of entries without a copy; return how many were as their records say.

    `verify` finds that something done is lost, `adopt` that something pending has arrived, `refetch` brings what had
    failed. An entry whose record is out of date stays as it is. Raises: ManifestError, and then nothing has changed.
    """
    with manifest.transaction() as connection:
        places = [place_of(manifest, record.entry) for record, _ in corrections]
        now = manifest.columns_at(places, "state, reason")
        current = [
            EntryChange(outcome, record.state, record.reason, record.presence)
            for place, (record, outcome) in zip(places, corrections, strict=True)
            if now.get(place) == (STATE_CODE[record.state], REASON_CODE[record.reason])
        ]
        write_outcomes(manifest, current)
        arrived = [
            each.outcome
            for each in current
            if each.outcome.state is EntryState.DONE and each.state is not EntryState.DONE
        ]
        if arrived:
            fetched = any(outcome.origin is Origin.REFETCHED for outcome in arrived)
            note_change(connection, "refetch" if fetched else "adopt")
    return len(current)


def record_found(manifest: Manifest, found: Iterable[FoundRow]) -> None:
    """`record_findings` for what `adopt` finds most, without records: there are millions. Raises: the same."""
    with manifest.transaction() as connection:
        cursor = connection.cursor()
        adopted = [row for row in found if cursor.execute(_FOUND, row).rowcount]
        for row in adopted:
            manifest.count(row.kind, row.state, row.reason, -1, -(row.size_before or 0))
            manifest.count(row.kind, DONE, NO_REASON, 1, row.size)
        if adopted:
            note_change(connection, "adopt")


def claim(manifest: Manifest, entries: Iterable[Entry]) -> None:
    """Note within a transaction that these entries are being worked on: from then on their objects may arrive."""
    rows = [(*place_of(manifest, each), access_of(private=each.private).value) for each in entries]
    manifest.connection.executemany(_CLAIM, rows)


def note_access(manifest: Manifest, notes: Iterable[tuple[Entry, Presence]]) -> None:
    """Note within a transaction with which access objects of claims are written, whatever their rows ask for.

    ACCESS: it is not known who can read what was stored.
    """
    manifest.connection.executemany(_NOTE_ACCESS, [(access.value, *place_of(manifest, each)) for each, access in notes])


def release(manifest: Manifest, entries: Iterable[Entry]) -> None:
    """Drop claims that no worker has begun, within a transaction."""
    manifest.connection.executemany(_DROP_CLAIM, [place_of(manifest, each) for each in entries])


def recover_claims(manifest: Manifest) -> None:
    """Settle the claims of dead runs: their entries get a presence that says that the object may have arrived.

    Within a transaction of a caller that holds the writer's lock and has claimed nothing.
    """
    connection = manifest.connection
    rows = []
    for kind, access, *columns in connection.execute(_LEFT_CLAIMS).fetchall():
        row = EntryRow._make(columns)
        presence = left_by_dead_run(row.presence, Presence(access))
        rows.append((stored_presence(row.state, presence), kind, row.id, row.name))
    connection.executemany(_ARRIVED, rows)
    connection.execute(_DROP_CLAIMS)


def recover_claims_now(manifest: Manifest) -> None:
    """`recover_claims` in a transaction of its own, when a command begins to write. Raises: ManifestError."""
    with translated(manifest.path):
        any_left = manifest.connection.execute(_ANY_CLAIM).fetchone()[0]
    if any_left:
        with manifest.transaction():
            recover_claims(manifest)


def reopen(
    manifest: Manifest, types: tuple[str, ...] = (), reasons: tuple[Reason, ...] = (), *, accepted: bool = True
) -> int:
    """Put entries that failed or were skipped for these reasons back to pending, and return how many.

    No types: of every type. No reasons: all failures. Accepted losses stay as they are, unless `accepted`.
    """
    chosen = manifest.kinds(types)
    codes = {REASON_CODE[reason] for reason in reasons or FAILURE_REASONS}
    reopened = 0
    with manifest.transaction() as connection:
        for kind, state, reason in connection.execute(_STOPPED).fetchall():
            if kind in chosen and reason in codes:
                values = kind, state, reason, accepted
                objects, size_bytes = connection.execute(_COUNT, values).fetchone()
                connection.execute(_REOPEN, values)
                manifest.count(kind, state, reason, -objects, -size_bytes)
                manifest.count(kind, PENDING, NO_REASON, objects, size_bytes)
                reopened += objects
    return reopened


def disbelieve(manifest: Manifest, believed: Mapping[Kind, tuple[int, int]]) -> int:
    """Put copied entries, from `believed` id to id, back to pending within a transaction. Returns: how many."""
    reopened = 0
    for kind, ids in believed.items():
        number = manifest.kind_id(kind)
        objects, size_bytes = manifest.connection.execute(_COUNT_COPIED_BETWEEN, (number, *ids)).fetchone()
        manifest.connection.execute(_DISBELIEVE, (number, *ids))
        manifest.count(number, DONE, NO_REASON, -objects, -size_bytes)
        manifest.count(number, PENDING, NO_REASON, objects, size_bytes)
        reopened += objects
    return reopened


def try_again(manifest: Manifest, attempts: int, since: int) -> int:
    """Put back to pending what may succeed now, and return how many.

    That is what failed in a way that may pass, and what was missing and has a file of `since` (seconds since the epoch)
    or later, which may have come late. Entries that have had the given number of attempts stay.
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


def count_losses(
    manifest: Manifest, types: tuple[str, ...], reasons: Sequence[Reason], *, accepted: bool
) -> Counter[tuple[str, Reason]]:
    """How many entries `accept` would accept, or `take_back_acceptance` take back (`accepted`), by type and reason."""
    found: Counter[tuple[str, Reason]] = Counter()
    with translated(manifest.path):
        for (number, kind), reason in product(manifest.kinds(types).items(), reasons):
            code = REASON_CODE[reason]
            counted = (
                manifest.connection.execute(_COUNT_ACCEPTED, (number, code))
                if accepted
                else manifest.connection.execute(_COUNT, (number, FAILED, code, False))
            )
            found[kind.table, reason] += counted.fetchone()[0]
    return +found


def accept(manifest: Manifest, types: tuple[str, ...], reasons: Sequence[Reason]) -> None:
    """Accept entries that failed for these reasons as losses. No types: of every type.

    The acceptance stays while the entry is tried again, until it is done or has another file.
    """
    with manifest.transaction() as connection:
        for kind, reason in product(manifest.kinds(types), reasons):
            connection.execute(_ACCEPT, (kind, FAILED, REASON_CODE[reason], False))


def take_back_acceptance(manifest: Manifest, types: tuple[str, ...], reasons: Sequence[Reason]) -> None:
    """Forget that these losses were accepted, also for entries that are being tried again."""
    with manifest.transaction() as connection:
        for kind, reason in product(manifest.kinds(types), reasons):
            connection.execute(_FORGET_ACCEPTED, (kind, REASON_CODE[reason]))


def mark_dropped(manifest: Manifest) -> None:
    """Mark all that is gone as lost by `plan --accept-gone`, within a transaction: see `gone`.

    For plans of an older version, which recorded how many those were, but not which. A `prune` may have run since.
    """
    manifest.connection.execute(_MARK_LOST)


def forget_dropped(manifest: Manifest) -> None:
    """Take these marks back, within a transaction: what is gone was deleted."""
    manifest.connection.execute(_FORGET_LOST)


def forget_arrival(manifest: Manifest, entries: Sequence[Entry]) -> None:
    """Record that the objects of these gone entries have been removed. Raises: ManifestError."""
    with manifest.transaction() as connection:
        connection.executemany(_PRUNED, [place_of(manifest, each) for each in entries])


def place_of(manifest: Manifest, entry: Entry) -> EntryPlace:
    """Kind, id and name of an entry's line."""
    return manifest.kind_id(entry.kind), entry.id, entry.name
