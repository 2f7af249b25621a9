"""One entry on its way to the destination: what is known of it, its requests, its outcomes.

As soon as a write is sent, the object may lie at the destination. A refusal of a write that was sent once rules that
out. `Job` keeps account of that, so that the outcome says what may lie there, however a copy ends.

The functions of this module look whether the wanted object lies there already, so that nothing is uploaded twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from mastosync.checking.object_check import expected_etag, is_composite, same_etag
from mastosync.copying.digests import DigestTrust
from mastosync.errors import (
    AclUnsupported,
    ObjectChanged,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ObjectTooLarge,
)
from mastosync.manifest import ACCESS, LIES_THERE, Approach, approach_to, is_misplaced, write_started
from mastosync.model import Claim, End, Entry, EntryState, ObjectInfo, Origin, Outcome, Presence, Reason
from mastosync.runtime.memory import Reservation
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.steps import BlockingCall, Step, Steps, StoreCall
from mastosync.store.base import FetchedObject, PutOptions

if TYPE_CHECKING:
    from mastosync.copying.large_objects import LargeObject

_log = logging.getLogger(__name__)

STORES_NOTHING = (ObjectDenied, ObjectRejected, ObjectTooLarge, ObjectChanged, ObjectMissing, AclUnsupported)
"""Answers to a write that was sent once, after which nothing of it is at the destination."""
_UNCONFIRMED = frozenset({Approach.WRITE, Approach.COMPARE, Approach.EXAMINE})
_CLOCKS_DIFFER_SECONDS = 600
_MADE_WITHIN_SECONDS = 86_400  # Mastodon stores a file and its renditions with the row, long videos hours later


def approach_of(claim: Claim) -> Approach:
    """What a copy has to do first about the destination."""
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
    presence: Presence  # of the object at the destination, as far as is known now
    access_unrecorded: bool = False  # the source keeps it from everybody, which the manifest does not know yet
    is_only_copy: bool = False  # what is read lies at the destination, and the source cannot give it any more

    @property
    def entry(self) -> Entry:
        """What is to arrive."""
        return self.claim.entry

    @property
    def attempts(self) -> int:
        """In this run, but for those at a store that was down."""
        return 1 + sum(store.retries - store.retries_in_outages for store in (self.source, self.destination))

    def restart(self) -> None:
        """Count another attempt at the whole object, and give the memory of this one back."""
        self.source.retries += 1
        self.memory.release()

    @property
    def tried_before(self) -> bool:
        """Whether an earlier run may have left an upload unfinished."""
        return self.claim.attempts > 0 or bool(self.claim.arrival.presence & Presence.IN_DOUBT)

    def send(self, step: Step) -> Steps[Any]:
        """Take a step that stores something, and return its answer. `presence` says so before the request is sent."""
        before, retries = self.presence, self.destination.retries
        self.presence = write_started(before, private=self.entry.private)
        try:
            answer = yield step
        except STORES_NOTHING:
            if self.destination.retries == retries:  # else an earlier attempt may have arrived
                self.presence = before
            raise
        if self.entry.private:
            self.presence |= ACCESS  # until it is known who can read it
        return answer

    def begin_upload(self, large: LargeObject, options: PutOptions) -> Steps[str]:
        """Begin an upload in parts, and return its id. Nothing of it can be seen."""
        before = self.presence
        try:
            upload: str = yield from self.send(BlockingCall(partial(large.begin, options), large=True))
        except STORES_NOTHING:
            raise
        except ObjectError:
            self.presence = self._with_parts_left(before)
            raise
        self.presence = before
        return upload

    def fill_upload(self, large: LargeObject, upload: str) -> Steps[tuple[bytes | None, str]]:
        """Fill and complete an upload. Returns: as `LargeObject.deliver`."""
        before = self.presence
        self.presence = write_started(before, private=self.entry.private)
        try:
            delivered = yield from large.deliver(upload)
        except ObjectError:
            if not large.may_lie_there:
                self.presence = self._with_parts_left(before) if large.left_open else before
            raise
        if self.entry.private:
            self.presence |= ACCESS
        return delivered

    def try_acls(self, steps: Steps[None]) -> Steps[None]:
        """Take steps that find out about ACLs. They may leave an upload that they began and could not give up."""
        try:
            yield from steps
        except STORES_NOTHING:
            raise
        except ObjectError:
            self.presence = self._with_parts_left(self.presence)
            raise

    def _with_parts_left(self, before: Presence) -> Presence:
        """The presence if an upload may be left that was never completed: the object of `before` is unchanged."""
        return before | Presence.IN_DOUBT if before else write_started(before, private=self.entry.private)

    def done(
        self, source_key: str, size_bytes: int, md5: bytes | None, etag: str, *, believed: bool = False
    ) -> Outcome:
        """Make the outcome of an object that the destination has confirmed."""
        is_md5 = md5 is not None and etag.lower() == md5.hex()
        return Outcome(
            self.entry,
            EntryState.DONE,
            size=size_bytes,
            md5=md5,
            etag=None if is_md5 else etag,
            source_key=None if source_key == self.source_key else source_key,
            attempts=self.attempts,
            believed=believed,
        )

    def as_recorded(self, size_bytes: int) -> Outcome:
        """Make the outcome of an object that is at the destination as it was confirmed before."""
        _, md5, etag, source_key, origin = self.claim.arrival
        seen = (size_bytes, md5, etag, source_key, self.attempts, None, origin)
        return Outcome(self.entry, EntryState.DONE, None, *seen, end=End.DESTINATION)  # the source was not asked

    def rewritten(self, stored: Outcome, info: ObjectInfo) -> Outcome | None:
        """The outcome for an object that was read at the destination and stored there again; None: it is another.

        It has to be the one that was confirmed. If none was, it has to fit its row. It must not be left by a write with
        an unknown end, as it may be damaged.
        """
        presence, md5, etag, source_key, origin = self.claim.arrival
        if presence & Presence.STALE:
            return None
        if md5 is None and etag is None:
            if presence & Presence.IN_DOUBT:
                return None
            return stored._replace(source_key=None, origin=Origin.ADOPTED) if fits_row(self.entry, info) else None
        is_it = stored.md5 == md5 if md5 is not None else same_etag(info.etag, etag)
        return stored._replace(source_key=source_key, origin=origin) if is_it else None

    def skipped(self, reason: Reason) -> Outcome:
        """Make the outcome of an entry that is skipped."""
        return Outcome(
            self.entry, EntryState.SKIPPED, reason, attempts=self.attempts, presence=self._presence_afterwards()
        )

    def kept_back(self) -> Outcome:
        """Make the outcome of a private entry that the destination cannot keep private."""
        outcome, misplaced = self.skipped(Reason.PRIVATE), self._misplaced()
        if not misplaced:
            return outcome
        _log.warning("%s", misplaced, extra={"about": {"key": self.key, "reason": Reason.PRIVATE.value}})
        return outcome._replace(detail=misplaced)

    def failed(self, error: ObjectError) -> Outcome:
        """Make the outcome of a failure for which no retry is left."""
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
        """A sentence if strangers may read a private object, or cannot read a public one; empty if neither is so."""
        name, private = self.destination.name, self.entry.private
        if not is_misplaced(self.presence, private=private):
            return ""
        if private:
            return f"{self.key!r} is private now, but may still be public at {name}: remove it there"
        if self.approach is not Approach.REWRITE:  # strangers have read it
            return ""
        return f"{self.key!r} may still be private at {name}, so others may be unable to read it"

    def _presence_afterwards(self) -> Presence | None:
        """What is at the destination after an attempt that failed; None: the same as before."""
        return None if self.presence == self.claim.arrival.presence else self.presence


def confirmed(job: Job) -> Steps[Outcome | None]:
    """The outcome if the object has the size and ETag under which the destination confirmed it; None: it has not."""
    arrival = job.claim.arrival
    try:
        there: ObjectInfo = yield StoreCall(job.destination, "head", (job.key,))
    except (ObjectMissing, ObjectDenied):  # a key may write that may not read
        return None
    if there.size != job.entry.size or not same_etag(there.etag, expected_etag(arrival.md5, arrival.etag)):
        return None
    return job.as_recorded(there.size)


def find_arrived(job: Job, candidates: Iterator[str], trust: DigestTrust) -> Outcome | None:
    """Find out whether a write with an unknown end has arrived, by the size and the digests at both ends.

    Where an ETag is no digest the bytes are read; at the destination also unless its ETags are known to prove them.
    """
    source_key, here = job.source_key, None
    for source_key in candidates:
        try:
            here = job.source.head(source_key)
            break
        except ObjectMissing:
            continue
    if here is None or (here.private and not job.entry.private):
        return None
    try:
        there = job.destination.head(job.key)
        if here.size != there.size:
            return None
        is_same = is_composite(here.etag) and here.etag == there.etag  # parts of the same sizes, with the same bytes
        if is_same and trust.may_prove:
            return job.done(source_key, there.size, None, there.etag)
        sent = _digest(job.source, source_key, here)
        proof = there if trust.are_etags_proofs else there._replace(etag_is_md5=False)
        arrived = _digest(job.destination, job.key, proof)
    except (ObjectMissing, ObjectChanged, ObjectDenied):  # meanwhile, or the key may not read
        return None
    return job.done(source_key, there.size, sent, there.etag) if sent == arrived else None


def found_there(job: Job, missing: ObjectMissing, *, hides: bool) -> Steps[Outcome]:
    """The outcome for an object that the source lacks: after a switch Mastodon may have stored it at the destination.

    It has to fit its row. A private object is stored there once more, as private, if that `hides` it: a refusal to
    strangers does not prove with which ACL it was stored. If a write of ours has an unknown end, the object may be
    damaged: it has to be the one that was confirmed once.
    """
    if job.approach not in _UNCONFIRMED or job.presence & Presence.STALE:
        return job.failed(missing)
    if job.presence & Presence.IN_DOUBT:
        found = yield from confirmed(job)
        return found._replace(end=End.SOURCE) if found else job.failed(missing)
    try:
        there: ObjectInfo = yield StoreCall(job.destination, "head", (job.key,))
    except ObjectError:  # whatever the destination answers, the object is missing at the source
        return job.failed(missing)
    if not fits_row(job.entry, there):
        return job.failed(_but_there(job, missing, there, _misfit(job.entry, there)))
    if job.entry.private and not job.presence and hides:  # what we have written was asked for already
        job.presence = ACCESS
        return job.failed(missing)
    found = job.done(job.source_key, there.size, there.md5, there.etag)
    return found._replace(origin=Origin.ADOPTED, end=End.SOURCE)


def _misfit(entry: Entry, there: ObjectInfo) -> str:
    if entry.size is None:
        return f"it has {there.size} bytes, and its row does not tell how many it should have"
    return f"it has {there.size} bytes, and its row says {entry.size}"


def _but_there(job: Job, missing: ObjectMissing, there: ObjectInfo, flaw: str) -> ObjectMissing:
    """`missing`, naming the object at the destination if it was stored with the file of its row or later."""
    if not is_as_new_as_row(job.entry, there):
        return missing
    extended = ObjectMissing(
        f"{missing.message}; {LIES_THERE}{job.destination.name}, stored at {there.last_modified}, probably by Mastodon"
        f" itself: {flaw}"
    )
    extended.store = missing.store
    return extended


def is_confirmed(job: Job, fetched: FetchedObject) -> Steps[bool]:
    """Whether what was fetched from the destination has the very bytes that were confirmed once."""
    arrival = job.claim.arrival
    if fetched.info.size != job.entry.size:
        return False
    if arrival.md5 is None:  # it was proved by an ETag of parts
        return same_etag(fetched.info.etag, arrival.etag)
    digest = fetched.md5 or (yield BlockingCall(partial(_digest, job.source, job.key, fetched.info)))
    return bool(digest == arrival.md5)


def _digest(store: RetryingStore, key: str, info: ObjectInfo) -> bytes:
    """The MD5 of an object; it is read where its ETag is none."""
    return info.md5 or store.digest(key, info)


def newer_there(job: Job, info: ObjectInfo) -> Steps[Outcome | None]:
    """The outcome if the destination has a newer file than the source under this key; None: it has not.

    After a switch Mastodon stores at the destination, and may reuse a name. Then the source has an object that is
    older than the file of the row, and the destination has one that is not older and that we have not stored.
    Raises: ObjectMissing if that one is private, as it is not known who can read it, or does not fit its row.
    """
    arrival, entry = job.claim.arrival, job.entry
    if not arrival.presence & Presence.STALE or not is_older_than_row(entry, info):
        return None
    try:
        there: ObjectInfo = yield StoreCall(job.destination, "head", (job.key,))
    except ObjectError:  # the write will find out
        return None
    is_ours = same_etag(there.etag, expected_etag(arrival.md5, arrival.etag))
    if is_ours or there.last_modified is None or is_older_than_row(entry, there):
        return None
    if entry.private or not fits_row(entry, there):
        name = job.source.name
        raise ObjectMissing(f"{name} has an older file under {job.key!r}, and Mastodon has stored a newer one since")
    found = job.done(job.source_key, there.size, there.md5, there.etag)
    return found._replace(origin=Origin.ADOPTED)


def fits_row(entry: Entry, there: ObjectInfo) -> bool:
    """Whether an object may be the file of a row: it has its size or, if that is unknown, came with the row."""
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
    """Whether an object was stored when the file of its row came: by Mastodon, and not by a later copy."""
    after = _seconds_after_row(entry, there)
    return after is not None and bool(there.size) and -_CLOCKS_DIFFER_SECONDS <= after <= _MADE_WITHIN_SECONDS


def _seconds_after_row(entry: Entry, info: ObjectInfo) -> float | None:
    """How long after the file of its row an object was stored; None: unknown."""
    if entry.updated is None or not info.last_modified:
        return None
    try:
        return parsedate_to_datetime(info.last_modified).timestamp() - entry.updated
    except (ValueError, OverflowError):
        return None
