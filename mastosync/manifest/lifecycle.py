"""What may become of an entry: what is known of one, and what plans, copies and checks make of that, as pure functions.

An event that only needs the state (such as `reopen`) is one statement in `entry_writer`. Events that depend on what is
known of the destination are functions here. docs/lifecycle.md has the table of all events, and what each keeps and
forgets. `tests/unit/manifest/test_lifecycle.py` lets each happen to every kind of entry, and compares it with the
table.

Two things are kept apart: what is wanted (the flags of the row, its size, when its file came), and what is at the
destination (`Presence`). An object there is not forgotten before `prune` has removed it. A failed attempt never changes
what is wanted, and changes the presence only if it may have written.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import NamedTuple

from mastosync.manifest.rows import (
    ACCESS,
    DONE,
    EXCLUDED,
    EXCLUDED_FLAG,
    FAILED,
    GONE,
    KEPT_PRIVATE,
    MISSING,
    NO_REASON,
    OPTIONAL_FLAG,
    OPTIONAL_MISSING,
    PENDING,
    PRIVATE_FLAG,
    SKIPPED,
    EntryPlace,
    EntryRow,
    access_of,
)
from mastosync.model import EntryState, Outcome, Presence, Reason


class DesiredEntry(NamedTuple):
    """What the row of an entry asks for."""

    flags: int
    updated: int | None  # when its file came, in seconds since the epoch
    size: int | None  # bytes, as the database has it
    fallback: str | None


class TrackedEntry(NamedTuple):
    """What the manifest knows of an entry, as far as events change it. States and reasons are codes."""

    flags: int
    updated: int | None
    size: int | None  # bytes: of the object that arrived, else the database's word
    fallback: str | None
    state: int
    reason: int
    attempts: int
    presence: Presence
    accepted: int | None = None  # the reason that was accepted as a loss of this file, or GONE; None: none

    @classmethod
    def of(cls, row: EntryRow) -> TrackedEntry:
        """What a line says."""
        known = (row.flags, row.updated, row.size, row.fallback, row.state, row.reason, row.attempts)
        return cls(*known, row.presence, row.accepted)

    @property
    def is_gone(self) -> bool:
        """Whether its row has left the database."""
        return (self.state, self.reason) == (SKIPPED, GONE)

    @property
    def may_be_at_source(self) -> bool:
        """Whether it is wanted, and the source was not found to lack it."""
        return self.state in (PENDING, DONE) or self.reason not in (MISSING, OPTIONAL_MISSING, EXCLUDED, GONE)


class Approach(StrEnum):
    """What a copy has to do first about the destination."""

    WRITE = "write"  # as far as is known, nothing is there
    CONFIRM = "confirm"  # the wanted object is there, unless it was removed: look, by ETag
    COMPARE = "compare"  # it may be there: look, and compare it with the source
    EXAMINE = "examine"  # it may be there, with an unknown access: ask as a stranger, too
    REWRITE = "rewrite"  # write it, whatever is there


class EntryChange(NamedTuple):
    """What became of an entry, and how it was found: claimed, unless the fields say otherwise."""

    outcome: Outcome
    state: EntryState = EntryState.PENDING
    reason: Reason | None = None
    presence: Presence | None = None  # None: as the line says; required for what was done


class PlannedChange(NamedTuple):
    """An entry that a plan has seen differently."""

    place: EntryPlace
    before: TrackedEntry
    after: TrackedEntry


def approach_to(presence: Presence, *, private: bool, has_digest: bool) -> Approach:
    """What a copy does first.

    An object that may have the access of the other privacy is written anew. A private one is also asked for as a
    stranger: another tool may have stored the same bytes for everybody to read. A public one that a dead run may have
    stored with either access is as it should be if strangers can read it.
    """
    if not presence:
        return Approach.WRITE
    if presence & ACCESS != access_of(private=private):
        is_left = presence == ACCESS | Presence.IN_DOUBT and not has_digest
        return Approach.EXAMINE if is_left and not private else Approach.REWRITE
    if presence & Presence.IN_DOUBT or not has_digest:
        return Approach.COMPARE
    return Approach.REWRITE if presence & Presence.STALE else Approach.CONFIRM


def is_misplaced(presence: Presence, *, private: bool) -> bool:
    """Whether the object has, or may have, another access than its row asks for."""
    return bool(presence & ACCESS & ~access_of(private=private))


def seen(known: TrackedEntry, wanted: DesiredEntry) -> TrackedEntry:
    """A plan sees an entry again, maybe with another file, another privacy, or after it had been gone.

    What its row asks for is taken over, except for the size if an object of this file has arrived: that was measured.
    """
    changed = known.flags ^ wanted.flags
    replaced = None not in (known.updated, wanted.updated) and known.updated != wanted.updated
    flags, updated, size, fallback = wanted
    presence = known.presence
    if presence and not replaced:
        size = known.size
    elif presence:
        presence |= Presence.STALE
    state, reason = _state_when_seen(known, wanted, changed, replaced=replaced)
    is_answered = replaced or known.accepted == GONE  # by a new file, or by a row that is back
    accepted = None if is_answered else known.accepted
    return TrackedEntry(flags, updated, size, fallback, state, reason, known.attempts, presence, accepted)


def _state_when_seen(known: TrackedEntry, wanted: DesiredEntry, changed: int, *, replaced: bool) -> tuple[int, int]:
    state, reason = found = known.state, known.reason
    pending = PENDING, NO_REASON
    if wanted.flags & EXCLUDED_FLAG and not known.attempts and not known.presence:  # no work on it has begun
        newly_excluded = state == PENDING and changed & EXCLUDED_FLAG
        if known.is_gone or newly_excluded:
            return SKIPPED, EXCLUDED
    if known.is_gone or (found == (SKIPPED, EXCLUDED) and changed & EXCLUDED_FLAG):
        return pending
    if replaced and (state in (DONE, FAILED) or reason == OPTIONAL_MISSING):
        return pending  # what became of the old file says nothing of the new one
    if changed & PRIVATE_FLAG and (known.presence or reason == KEPT_PRIVATE):
        return pending  # the access at the destination has to follow, even if an attempt has failed meanwhile
    if changed & OPTIONAL_FLAG and reason in (MISSING, OPTIONAL_MISSING):
        return pending
    return found


def gone(known: TrackedEntry, *, accepted: bool = False) -> TrackedEntry:
    """Its row has left the database. Its presence stays known, for `prune`, and for its return.

    `accepted`: by a plan with `--accept-gone`, so an entry that a store may have is marked. The mark stays until a plan
    sees the row again, or `accept --gone` says that it was deleted.
    """
    may_lie_somewhere = known.may_be_at_source or (bool(known.presence) and not known.is_gone)
    is_lost = accepted and known.accepted is None and may_lie_somewhere
    return known._replace(state=SKIPPED, reason=GONE, accepted=GONE if is_lost else known.accepted)


@cache  # of a few dozen values, and asked twice an object
def write_started(presence: Presence, *, private: bool) -> Presence:
    """A write was begun, and its end is not known, as its answer was lost."""
    return left_by_dead_run(presence, access_of(private=private))


def left_by_dead_run(presence: Presence, access: Presence) -> Presence:
    """A run has died that had claimed an entry, to write it with this access."""
    return presence | Presence.IN_DOUBT | access


def found_wrong(presence: Presence) -> Presence:
    """`verify` has found that the confirmed object is lost or has other bytes."""
    return presence | Presence.STALE


def found_wrong_access(presence: Presence) -> Presence:
    """`verify --public` has found another access than its row asks for: it is not known how it was stored."""
    return presence | ACCESS


def found_hidden(presence: Presence) -> Presence:
    """`verify` has found that an object which became private cannot be read by strangers: it was hidden already."""
    return presence & ~Presence.AS_PUBLIC | Presence.AS_PRIVATE


def rewritten_in_place(*, private: bool) -> Presence:
    """The object at the destination was stored there again with this access; it may not be the wanted one."""
    return access_of(private=private) | Presence.STALE


def contradiction(state: EntryState, presence: Presence) -> str | None:
    """Why an entry in this state cannot have this presence; None: it can."""
    if state is EntryState.DONE:
        return "what is done lies at the destination as its row asks for"
    if presence and not presence & ACCESS:
        return "something lies at the destination, and nobody has stored it"
    return None
