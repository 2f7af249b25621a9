"""One entry from source to destination: what becomes of a claim, step by step.

An entry is done when the digests at both ends are known to agree (`delivery`, `digests`).

A claim goes from the manifest to a store and back by these hops: `WorkQueue` → `Copier` → `WorkerPool` →
`TransferLoop` → `Transfer` → `Delivery` → `AclRule.write` → `Job.send` → the store, by the loop's multiplexer or
`RetryingStore`. Where the store copies by itself, `Transfer` calls `ServerSide.copy`, which calls `AclRule.write`. For
an object in parts `AclRule.write` calls `Job.begin_upload`, which sends, and `Job.fill_upload`, which has the parts
moved.
The outcome goes back by the pool to the copier, which has `manifest/entry_writer.py` write it. docs/architecture.md
says what each of them decides.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice

from mastosync.checking.privacy_proof import PrivacyUnknown, strangers_read
from mastosync.copying.acl import AclMode, AclRule, NoteAccess, PrivateKeptBack
from mastosync.copying.delivery import Delivery
from mastosync.copying.digests import DigestMode, DigestTrust
from mastosync.copying.job import Job, approach_of, confirmed, find_arrived, found_there, is_confirmed, newer_there
from mastosync.copying.large_objects import MIB
from mastosync.copying.server_side import CopiedObject, CopyRefusal, ServerSide
from mastosync.errors import (
    ObjectError,
    ObjectMissing,
    StoreRecovered,
    StoreUnusable,
)
from mastosync.manifest import Approach, is_misplaced, rewritten_in_place
from mastosync.mastodon.paperclip import canonical_key, iter_candidates
from mastosync.model import NOTHING, Claim, End, Entry, EntryState, ObjectInfo, Outcome, Presence, Reason
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.steps import BlockingCall, Steps, StoreCall, run_to_end
from mastosync.store.base import DigestUse, FetchedObject

_log = logging.getLogger(__name__)

_BUCKET_EXISTS_SECONDS = 10.0  # for which an answer is believed


WHOLE_BYTES = 16 * MIB
"""Objects up to this size are held in memory, each as a whole."""


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How objects are written."""

    source_prefix: str = ""
    destination_prefix: str = ""
    one_bucket: bool = False  # both stores are one: objects under the destination's prefix are no source
    source_tells_access: bool = False  # whether it hides an object, as a disk does by modes
    whole_bytes: int = WHOLE_BYTES  # larger objects are streamed, where both stores can do that
    multipart_threshold: int = 200 * MIB  # bytes; larger objects travel in parts, as do those that are not streamed
    part_size: int = 16 * MIB  # bytes; grows where there would be too many parts
    least_part_size: int = 5 * MIB  # that the destination takes, but for the last
    parts_at_most: int = 10_000  # that the destination takes for one object
    parts_at_once: int = 8  # of all large objects together
    acl: AclMode = AclMode.AUTO
    acl_taken: bool | None = None  # whether the destination takes ACLs; None: to be found out
    serves_strangers: bool = True  # whether its endpoint gives everybody what is public, so that a refusal is a proof
    copy_private_without_acl: bool = False
    cache_control: str | None = None  # for objects that have none
    storage_class: str | None = None
    digest: DigestMode = DigestMode.PROOF
    source_bucket: str | None = None  # from which the destination's store can copy by itself; None: it cannot


class Transfer:
    """Copies entries, any number of them at once. Nothing but outcomes and fatal errors gets out."""

    def __init__(
        self,
        source: StoreSession,
        destination: StoreSession,
        options: TransferOptions,
        memory: MemoryBudget,
        note: NoteAccess | None = None,
    ) -> None:
        """`note` is given the access of an entry that is written with another access than that of its claim."""
        self._source = source
        self._destination = destination
        self._options = options
        self._memory = memory
        self._acl = AclRule.of_run(destination, self._destination_key, options)
        self._delivery = Delivery((source.store, destination.store), options, self._acl, memory, note)
        self.uploads = self._delivery.uploads
        self._copies = options.destination_prefix if options.one_bucket else None
        self._source_bucket = BucketCheck()
        self._server_side = ServerSide(options.source_bucket, self._acl, self._delivery.put_options)

    @property
    def trust(self) -> DigestTrust:
        """In the ETags of the destination."""
        return self._delivery.trust

    @property
    def finding(self) -> str | None:
        """What this run has found out about the destination, for people; None: nothing of note."""
        return self._acl.finding

    def close(self) -> None:
        """End the threads, and begin no more parts. Calling it twice is no error."""
        self._delivery.close()

    def __call__(self, claim: Claim) -> Outcome:
        """Copy what a claim names, alone. Raises: as `steps`."""
        return run_to_end(self.steps(claim))

    def steps(self, claim: Claim) -> Steps[Outcome]:
        """Copy what a claim names.

        Raises: StoreUnusable, after which no other entry would fare better; Interrupted, when a
        wait was cut short: the object may have arrived, so the claim must stay.
        """
        before = claim
        while True:
            job = self._job(claim)
            try:
                outcome = yield from self._run(job)
            except StoreRecovered:  # as after a dead run: first look for the object that was being written
                claim = claim._replace(arrival=claim.arrival._replace(presence=job.presence))
                continue
            if claim is not before and outcome.state is not EntryState.DONE and outcome.presence is None:
                outcome = outcome._replace(presence=claim.arrival.presence)  # which the manifest does not have yet
            return outcome

    def _job(self, claim: Claim) -> Job:
        entry = claim.entry
        here, there = self._options.source_prefix, self._options.destination_prefix
        source_key = canonical_key(entry, here)
        key = source_key if here == there else canonical_key(entry, there)
        memory = self._memory.reserve()
        source, destination = RetryingStore(self._source, memory), RetryingStore(self._destination, looks_first=True)
        return Job(claim, key, source_key, source, destination, memory, approach_of(claim), claim.arrival.presence)

    def _run(self, job: Job) -> Steps[Outcome]:
        try:
            outcome = yield from self._attempted(job)
            if self.uploads.of(job.key) is not None:  # which nobody will go on with any more
                yield BlockingCall(partial(self._give_up_upload, job))
            return outcome
        finally:
            job.memory.release()

    def _attempted(self, job: Job) -> Steps[Outcome]:
        arrival = job.claim.arrival
        try:
            if arrival.presence:
                # parts of it may be left
                if arrival.presence & Presence.IN_DOUBT and self.uploads.of(job.key) is None:
                    yield BlockingCall(partial(job.destination.abort_unfinished, job.key))
                yield from self._check_access(job)
            if job.entry.private:
                yield from job.try_acls(self._acl.allow(job.entry))
            return (yield from self._find_arrived(job)) or (yield from self._copy_or_rewrite(job))
        except PrivateKeptBack:
            return job.kept_back()
        except PrivacyUnknown as unknown:
            if unknown.removed:
                job.presence = NOTHING
            outcome = job.failed(unknown.failure)._replace(detail=unknown.failure.message)  # says what is there now
            return outcome if unknown.failure.store else outcome._replace(end=None)
        except ObjectError as error:
            return job.failed(error)

    def _give_up_upload(self, job: Job) -> None:
        """Throw away the upload that is noted, by its id: a key may not list uploads. If that fails, it stays noted."""
        kept = self.uploads.of(job.key)
        assert kept is not None  # noqa: S101 - its caller has looked
        with suppress(ObjectError, StoreUnusable):
            with suppress(ObjectMissing):
                job.destination.abort_multipart(job.key, kept.upload_id)
            self.uploads.ended(job.key)
            job.destination.abort_unfinished(job.key)  # others may have begun whose answer was lost

    def _check_access(self, job: Job) -> Steps[None]:
        """Find out who can read the object at the destination, if that decides what is done.

        Another tool may have stored a private object again since, with the same bytes and for everybody to read. A
        public object counts as private as long as the source hides its file.
        """
        if self._options.source_tells_access and not job.entry.private:
            yield from self._follow_source_first(job)
        if not job.entry.private and job.approach is not Approach.EXAMINE:
            return
        if job.approach is Approach.REWRITE or (job.entry.private and not self._acl.hides):
            return
        readable: bool = yield BlockingCall(partial(strangers_read, job.destination, job.key))
        if job.entry.private and readable:
            job.presence, job.approach = job.presence | Presence.AS_PUBLIC, Approach.REWRITE
        elif not job.entry.private and not readable:
            job.approach = Approach.REWRITE

    def _follow_source_first(self, job: Job) -> Steps[None]:
        """Hide what the source hides, before anything is read."""
        try:
            info: ObjectInfo = yield StoreCall(job.source, "head", (job.claim.arrival.source_key or job.source_key,))
        except ObjectError:  # the copy meets it again and reports it
            return
        yield from self._delivery.hide_as_source_does(job, info)
        job.approach = approach_of(job.claim)

    def _find_arrived(self, job: Job) -> Steps[Outcome | None]:
        """The outcome if the wanted object is at the destination already; None: it has to be written."""
        if job.approach is Approach.CONFIRM:
            return (yield from confirmed(job))
        if job.approach in (Approach.COMPARE, Approach.EXAMINE):
            arrived = partial(find_arrived, job, self._iter_candidates(job), self.trust)
            found: Outcome | None = yield BlockingCall(arrived)
            return found
        return None

    def _copy_or_rewrite(self, job: Job) -> Steps[Outcome]:
        """Copy; if the source does not give the object, rewrite the one at the destination that has the wrong access.

        A private object is hidden whatever the source answers. A public one is opened only if the source lacks it: a
        source that merely fails may hide its file.
        """
        try:
            outcome = yield from self._copy(job)
        except ObjectError as error:
            outcome = job.failed(error)
        # in one bucket both ends have one name
        failed_at_destination = outcome.end is End.DESTINATION and outcome.reason is not Reason.MISSING
        source_fails = outcome.state is not EntryState.DONE and not failed_at_destination
        if not job.entry.private:
            source_fails = outcome.reason in (Reason.MISSING, Reason.OPTIONAL_MISSING)
        if source_fails and is_misplaced(job.presence, private=job.entry.private):
            job.memory.release()
            before, stored = job.presence, (yield from self._rewrite_in_place(job))
            if stored is not None:  # the source has not answered
                return stored._replace(attempts=job.attempts, end=End.DESTINATION)
            if job.presence != before:
                return outcome._replace(presence=job.presence)
        return outcome

    def _copy(self, job: Job) -> Steps[Outcome]:
        missing, in_doubt, use = None, False, self._delivery.trust.use_next()
        for source_key in self._iter_candidates(job):
            try:
                if self._server_side.on and job.claim.arrival.presence & Presence.STALE:
                    info: ObjectInfo = yield StoreCall(job.source, "head", (source_key,))
                    if newer := (yield from newer_there(job, info)):
                        return newer
                copied = (yield from self._server_side.copy(job, source_key)) if self._server_side.on else None
                if isinstance(copied, CopiedObject):
                    return job.done(source_key, copied.size, copied.md5, copied.etag)
                fetched: FetchedObject = yield self._delivery.read(job, source_key, use)
            except ObjectMissing as error:
                missing = missing or error
                in_doubt = in_doubt or not error.certain
                job.memory.release()  # a transfer that has some must not wait for more
                continue
            try:
                outcome = (yield from newer_there(job, fetched.info)) or (
                    yield from self._delivery.deliver(job, source_key, fetched, use)
                )
            finally:
                if fetched.body is not None:
                    fetched.body.close()
            if isinstance(copied, CopyRefusal):
                self._server_side.did_without(copied)
            return outcome
        self._delivery.trust.not_used(use)
        if in_doubt and not self._source_bucket.exists:
            yield BlockingCall(partial(self._source_bucket.require, job.source))
        if job.entry.optional:
            return job.skipped(Reason.OPTIONAL_MISSING)
        missing = missing or ObjectMissing(f"no key to look for {job.key!r}")
        return (yield from found_there(job, missing, hides=self._acl.hides))

    def _rewrite_in_place(self, job: Job) -> Steps[Outcome | None]:
        """Store the object at the destination there once more, with the access that its row asks for now.

        If it is to be private, it is hidden whatever its bytes are. If it is public again, it has to be the one that
        was confirmed once. Returns: the outcome if it is the wanted object (`Job.rewritten`), else None. Raises:
        PrivateKeptBack; ObjectError.
        """
        arrival, private = job.claim.arrival, job.entry.private
        has_digest = arrival.md5 is not None or arrival.etag is not None
        if not private and (not has_digest or arrival.presence & Presence.STALE):
            return None
        in_place = replace(job, source=job.destination, is_only_copy=True)
        try:
            fetched: FetchedObject = yield self._delivery.read(in_place, job.key)
        except ObjectMissing:
            return None
        if not private and not (yield from is_confirmed(in_place, fetched)):
            return None
        self._acl.never_remove(job.entry)
        try:
            stored = yield from self._delivery.deliver(in_place, job.key, fetched, DigestUse.COMPUTED)
        finally:
            job.presence = in_place.presence
        job.presence = rewritten_in_place(private=private)
        return job.rewritten(stored, fetched.info)

    def _iter_candidates(self, job: Job) -> Iterator[str]:
        """The keys to look under. Most objects have the first, so the others are computed only when needed."""
        candidates = iter_candidates(job.entry, self._options.source_prefix, self._copies)
        return chain((job.source_key,), islice(candidates, 1, None))

    def _destination_key(self, entry: Entry) -> str:
        return canonical_key(entry, self._options.destination_prefix)


class BucketCheck:
    """Asks for the bucket before a bare 404 is believed, which may also mean that it is gone. Shared by all workers."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._exists_until = float("-inf")  # by the monotonic clock

    @property
    def exists(self) -> bool:
        """Whether a question of the last seconds has found the bucket."""
        return time.monotonic() < self._exists_until

    def require(self, store: RetryingStore) -> None:
        """Return if the bucket is there. Raises: as `check` of `ObjectStore`; Interrupted."""
        with self._asking:
            if not self.exists:
                store.check()
                self._exists_until = time.monotonic() + _BUCKET_EXISTS_SECONDS
