"""One entry on its way to the destination, and the outcomes that it may come to."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from mastosync.errors import (
    AclUnsupported,
    ObjectChanged,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ObjectTooLarge,
)
from mastosync.manifest import Approach, approach_to, is_misplaced
from mastosync.model import Claim, End, Entry, EntryState, ObjectInfo, Origin, Outcome, Presence, Reason
from mastosync.runtime.memory import Reservation
from mastosync.runtime.retry import RetryingStore

_log = logging.getLogger(__name__)

STORES_NOTHING = (ObjectDenied, ObjectRejected, ObjectTooLarge, ObjectChanged, ObjectMissing, AclUnsupported)
"""Answers to a write that was sent once, after which nothing of it lies there."""
_CLOCKS_DIFFER_SECONDS = 600
_MADE_WITHIN_SECONDS = 86_400  # Mastodon stores a file and its renditions with the row, long videos hours later


def approach_of(claim: Claim) -> Approach:
    """What a copy has to do about what lies at the destination."""
    presence, md5, etag, *_ = claim.arrival
    return approach_to(presence, private=claim.entry.private, has_digest=md5 is not None or etag is not None)


@dataclass(slots=True)
class Job:
    """An entry, with the stores that count its retries, and the memory that it takes."""

    claim: Claim
    key: str  # canonical, at the destination
    source_key: str  # canonical, at the source
    source: RetryingStore
    destination: RetryingStore
    memory: Reservation
    approach: Approach
    presence: Presence  # of what lies at the destination, as far as is known by now
    is_heeded: bool = False  # the source keeps it from everybody, and the manifest has not been told
    is_only_copy: bool = False  # what is read lies at the destination, and the source cannot give it any more

    @property
    def entry(self) -> Entry:
        """What is to arrive."""
        return self.claim.entry

    @property
    def attempts(self) -> int:
        """In this run, but for those at a store that was down."""
        return 1 + sum(store.retries - store.in_vain for store in (self.source, self.destination))

    @property
    def tried_before(self) -> bool:
        """Whether an earlier run may have left an upload unfinished."""
        return self.claim.attempts > 0 or bool(self.claim.arrival.presence & Presence.IN_DOUBT)

    def done(self, source_key: str, size_bytes: int, md5: bytes | None, etag: str) -> Outcome:
        """The destination has confirmed it."""
        told_by_md5 = md5 is not None and etag.lower() == md5.hex()
        return Outcome(
            self.entry,
            EntryState.DONE,
            size=size_bytes,
            md5=md5,
            etag=None if told_by_md5 else etag,
            source_key=None if source_key == self.source_key else source_key,
            attempts=self.attempts,
        )

    def as_recorded(self, size_bytes: int) -> Outcome:
        """It lies there as it was confirmed before."""
        _, md5, etag, source_key, origin = self.claim.arrival
        seen = (size_bytes, md5, etag, source_key, self.attempts, None, origin)
        return Outcome(self.entry, EntryState.DONE, None, *seen, end=End.DESTINATION)  # the source was not asked

    def rewritten(self, stored: Outcome, info: ObjectInfo) -> Outcome | None:
        """What was read at the destination and stored there again, if it is the object that is wanted; None: it is not.

        That is the very one that was confirmed. Where none was, one that fits its row, unless a write has left it of
        which nobody knows how it ended: its bytes may be others.
        """
        presence, md5, etag, source_key, origin = self.claim.arrival
        if presence & Presence.STALE:
            return None
        if md5 is None and etag is None:
            if presence & Presence.IN_DOUBT:
                return None
            return stored._replace(source_key=None, origin=Origin.ADOPTED) if fits_row(self.entry, info) else None
        return stored._replace(source_key=source_key, origin=origin) if stored.md5 == md5 else None

    def skipped(self, reason: Reason) -> Outcome:
        """Nothing is copied."""
        return Outcome(
            self.entry, EntryState.SKIPPED, reason, attempts=self.attempts, presence=self._presence_afterwards()
        )

    def kept_back(self) -> Outcome:
        """It is private, and the destination cannot keep it private."""
        outcome, misplaced = self.skipped(Reason.PRIVATE), self._misplaced()
        if not misplaced:
            return outcome
        _log.warning("%s", misplaced, extra={"about": {"key": self.key, "reason": Reason.PRIVATE.value}})
        return outcome._replace(detail=misplaced)

    def failed(self, error: ObjectError) -> Outcome:
        """No retry is left."""
        misplaced = self._misplaced()
        about = {"key": self.key, "reason": error.reason.value, "attempts": self.attempts}
        _log.warning("failed (%s): %s", error.reason.value, error.message, extra={"about": about})
        return Outcome(
            self.entry,
            EntryState.FAILED,
            error.reason,
            attempts=self.attempts,
            detail=f"{error.message}; {misplaced}" if misplaced else error.message,
            presence=self._presence_afterwards(),
            end=End.DESTINATION if error.store == self.destination.name else End.SOURCE,
        )

    def _misplaced(self) -> str:
        """That others may read what is private, or cannot read what is public, for people; empty if neither is so."""
        name, private = self.destination.name, self.entry.private
        if not is_misplaced(self.presence, private=private):
            return ""
        if private:
            return f"{self.key!r} is private now, but may still be public at {name}: remove it there"
        if self.approach is not Approach.REWRITE:  # strangers have read it
            return ""
        return f"{self.key!r} may still be private at {name}, so others may be unable to read it"

    def _presence_afterwards(self) -> Presence | None:
        """What lies at the destination after an attempt that did not end well; None: as before."""
        return None if self.presence == self.claim.arrival.presence else self.presence


def fits_row(entry: Entry, there: ObjectInfo) -> bool:
    """Whether what lies there may be what a row asks for: by its size; where that is unknown, it came with the row."""
    return entry.size == there.size if entry.size is not None else _came_with_its_row(entry, there)


def is_older_than_row(entry: Entry, info: ObjectInfo) -> bool:
    """Whether an object was stored before the file of its row came, as far as is known."""
    after = _seconds_after_row(entry, info)
    return after is not None and after < -_CLOCKS_DIFFER_SECONDS


def is_as_new_as_row(entry: Entry, info: ObjectInfo) -> bool:
    """Whether an object was certainly stored with the file of its row, or later."""
    after = _seconds_after_row(entry, info)
    return after is not None and after >= -_CLOCKS_DIFFER_SECONDS


def _came_with_its_row(entry: Entry, there: ObjectInfo) -> bool:
    """Whether an object was stored when the file of its row came: by Mastodon, and not by whoever copied it later."""
    after = _seconds_after_row(entry, there)
    return after is not None and bool(there.size) and -_CLOCKS_DIFFER_SECONDS <= after <= _MADE_WITHIN_SECONDS


def _seconds_after_row(entry: Entry, info: ObjectInfo) -> float | None:
    """How long after the file of its row an object was stored; None: nobody knows."""
    if entry.updated is None or not info.last_modified:
        return None
    try:
        return parsedate_to_datetime(info.last_modified).timestamp() - entry.updated
    except (ValueError, OverflowError):
        return None
