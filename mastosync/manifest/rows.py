"""How an entry is written in the manifest: its columns, the codes of states and reasons, and what they mean together.

`EntryRow` names the columns once. Every statement and function that handles whole lines takes them from there, so a new
column is a migration, a field of `EntryRow`, and whatever it is for.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from mastosync.model import NOTHING, Arrival, Claim, Entry, EntryState, Kind, Origin, Presence, Reason, Record

STATE_CODE: dict[EntryState, int] = {
    EntryState.PENDING: 0,
    EntryState.DONE: 1,
    EntryState.FAILED: 2,
    EntryState.SKIPPED: 3,
}
REASON_CODE: dict[Reason | None, int] = {
    None: 0,
    Reason.MISSING: 1,
    Reason.DENIED: 2,
    Reason.THROTTLED: 3,
    Reason.CORRUPT: 4,
    Reason.NETWORK: 5,
    Reason.SERVER: 6,
    Reason.TOO_LARGE: 7,
    Reason.OPTIONAL_MISSING: 8,
    Reason.PRIVATE: 9,
    Reason.EXCLUDED: 10,
    Reason.GONE: 11,
}
ORIGIN_CODE: dict[Origin, int | None] = {Origin.COPIED: None, Origin.ADOPTED: 1, Origin.REFETCHED: 2}
ADOPTED = ORIGIN_CODE[Origin.ADOPTED]
STATE_OF: dict[int, EntryState] = {code: state for state, code in STATE_CODE.items()}
REASON_OF: dict[int, Reason | None] = {code: reason for reason, code in REASON_CODE.items()}
ORIGIN_OF: dict[int | None, Origin] = {code: origin for origin, code in ORIGIN_CODE.items()}

PENDING = STATE_CODE[EntryState.PENDING]
DONE = STATE_CODE[EntryState.DONE]
FAILED = STATE_CODE[EntryState.FAILED]
SKIPPED = STATE_CODE[EntryState.SKIPPED]
NO_REASON = REASON_CODE[None]
GONE = REASON_CODE[Reason.GONE]
MISSING = REASON_CODE[Reason.MISSING]
KEPT_PRIVATE = REASON_CODE[Reason.PRIVATE]
OPTIONAL_MISSING = REASON_CODE[Reason.OPTIONAL_MISSING]
EXCLUDED = REASON_CODE[Reason.EXCLUDED]

OPTIONAL_FLAG = 1
PRIVATE_FLAG = 2
EXCLUDED_FLAG = 4
"""The last plan leaves it out. So does its state, unless work on it had started: it may have arrived."""

FLAGS: dict[tuple[bool, bool, bool], int] = {
    (optional, private, excluded): optional * OPTIONAL_FLAG + private * PRIVATE_FLAG + excluded * EXCLUDED_FLAG
    for optional in (False, True)
    for private in (False, True)
    for excluded in (False, True)
}
"""(optional, private, excluded) → the flags column."""

LOWEST_ID = -(2**63)
HIGHEST_ID = 2**63 - 1
BEFORE_ALL = (LOWEST_ID, "")
"""An id and a name that come before those of every line."""
AFTER_EVERY_NAME = b""
"""To SQLite any blob is more than any text."""

SNOWFLAKE_TABLES = frozenset({"accounts", "media_attachments"})
"""Whose ids carry the time at which a row was made."""

ACCESS = Presence.AS_PUBLIC | Presence.AS_PRIVATE


class EntryRow(NamedTuple):
    """A line of the table `entries`, apart from its kind. States, reasons and origins are codes."""

    id: int
    name: str
    fallback: str | None
    flags: int
    size: int | None
    state: int
    reason: int
    attempts: int
    md5: bytes | None
    etag: str | None
    source_key: str | None
    detail: str | None
    origin: int | None
    updated: int | None
    arrived: int | None  # see `presence_of`
    accepted: int | None  # the reason that was accepted as a loss of this file, or GONE

    @property
    def presence(self) -> Presence:
        """What is at the destination. See `presence_of`."""
        has_digest = self.md5 is not None or self.etag is not None
        return presence_of(self.flags, self.state, self.arrived, has_digest=has_digest)


RawRow: TypeAlias = tuple[Any, ...]
"""The values of an `EntryRow` in its order, as SQLite gives them: not all of millions need their names."""

EntryPlace: TypeAlias = tuple[int, int, str]
"""Kind, id and name of an entry."""

COLUMNS = ", ".join(EntryRow._fields)
PLACEHOLDERS = ", ".join("?" * len(EntryRow._fields))
ARRIVED = f"coalesce(arrived, iif(coalesce(md5, etag) IS NULL, 0, {(ACCESS | Presence.STALE).value}))"
"""In SQL: the presence of an entry that is not done, as `presence_of` computes it."""

HAS_ARRIVED = f"{ARRIVED} <> 0"
"""As a condition: an entry that is not done has, or may have, an object at the destination."""


class FoundRow(NamedTuple):
    """A line of which nothing was known to lie at the destination, and the object that was found there."""

    size: int
    md5: bytes  # which is its ETag
    kind: int
    id: int
    name: str
    state: int  # as the line was, here and below
    reason: int
    size_before: int | None


def found_row(kind: int, line: RawRow, size: int, md5: bytes) -> FoundRow | None:
    """What becomes of a line with all `COLUMNS` that is not done.

    None: it is private, or something of it lies there already, and what was found does not decide alone.
    """
    row_id, name, _, flags, size_before, state, reason, _, known_md5, etag, *_, arrived, _ = line
    has_digest = known_md5 is not None or etag is not None
    if flags & PRIVATE_FLAG or arrived or (arrived is None and has_digest):  # as `presence_of` has it
        return None
    return FoundRow(size, md5, kind, row_id, name, state, reason, size_before)


def access_of(*, private: bool) -> Presence:
    """With which access the object of such a row is stored."""
    return Presence.AS_PRIVATE if private else Presence.AS_PUBLIC


def presence_of(flags: int, state: int, stored: int | None, *, has_digest: bool) -> Presence:
    """What is at the destination, by the columns of a line. `stored`: the column `arrived`, NULL if the others say it.

    Done means that the object is there with the access of its row. A digest without done is of an older version, which
    meant that the object has to be written anew.
    """
    if state == DONE:
        return access_of(private=bool(flags & PRIVATE_FLAG))
    if stored is not None:
        return Presence(stored)
    return ACCESS | Presence.STALE if has_digest else NOTHING


def stored_presence(state: int, presence: Presence) -> int | None:
    """The column `arrived`; see `presence_of`."""
    return None if state == DONE else presence.value


def entry_of(kind: Kind, row: EntryRow) -> Entry:
    """The entry of a line."""
    optional, private = bool(row.flags & OPTIONAL_FLAG), bool(row.flags & PRIVATE_FLAG)
    return Entry(kind, row.id, row.name, row.fallback, optional, private, row.size, row.updated)


def record_of(kind: Kind, values: RawRow) -> Record:
    """All that the manifest knows of an entry."""
    row = EntryRow._make(values)
    return Record(
        entry=entry_of(kind, row),
        source_key=row.source_key,
        state=STATE_OF[row.state],
        reason=REASON_OF[row.reason],
        attempts=row.attempts,
        md5=row.md5,
        etag=row.etag,
        detail=row.detail,
        origin=ORIGIN_OF[row.origin] if row.state == DONE else None,
        presence=row.presence,
        accepted=row.state == FAILED and row.accepted == row.reason,
    )


def claim_of(kind: Kind, values: RawRow) -> Claim:
    """An entry that is pending, for a worker."""
    row = EntryRow._make(values)
    entry = entry_of(kind, row)
    if row.arrived is None and row.md5 is None and row.etag is None:  # as for most
        return Claim(entry, row.attempts)
    arrival = Arrival(row.presence, row.md5, row.etag, row.source_key, ORIGIN_OF[row.origin])
    return Claim(entry, row.attempts, arrival)
