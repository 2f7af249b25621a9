"""One entry from source to destination: what becomes of a claim, step by step.

Bytes are checked when they come in (length, and MD5 where the ETag is one) and go out with their
Content-MD5, so that the destination itself refuses a damaged upload. Only then is an entry done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import chain, islice

from mastosync.engine.acl import AclMode, AclRule, PrivateKeptBack, begin_in_vain
from mastosync.engine.bucket_look import BucketLook
from mastosync.engine.composite import is_composite
from mastosync.engine.job import Job
from mastosync.engine.judge import expected_etag, same_etag
from mastosync.engine.memory import MemoryBudget
from mastosync.engine.parts import MIB, LargeObject, LargeObjects, UploadDamaged
from mastosync.engine.privacy_proof import PrivacyProof, Storing
from mastosync.engine.retry import Gate, PatientStore
from mastosync.engine.server_side import Copied, Refusal, ServerSide, Within
from mastosync.engine.source_check import SourceCheck, SourceDamaged
from mastosync.engine.steps import Aside, Ask, Step, Steps, carried_out
from mastosync.errors import ObjectChanged, ObjectDenied, ObjectError, ObjectMissing
from mastosync.manifest import Approach, approach_to, is_misplaced, stored_again
from mastosync.mastodon.paperclip import canonical_key, iter_candidates
from mastosync.model import Claim, End, Entry, EntryState, ObjectHeaders, ObjectInfo, Origin, Outcome, Presence, Reason
from mastosync.store.base import FetchedObject, PutOptions

_log = logging.getLogger(__name__)

_RESTARTS_AT_MOST = 3  # of a transfer whose source object keeps changing
_CLOCKS_DIFFER_SECONDS = 600
_MADE_WITHIN_SECONDS = 86_400  # Mastodon stores a file and its renditions with the row, long videos hours later


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How objects are written."""

    source_prefix: str = ""
    destination_prefix: str = ""
    multipart_threshold: int = 16 * MIB  # bytes; larger objects travel in parts
    part_size: int = 16 * MIB  # bytes; grows where there would be too many parts
    parts_at_most: int = 10_000  # that the destination takes for one object
    parts_at_once: int = 8  # of all large objects together
    acl: AclMode = AclMode.AUTO
    acl_taken: bool | None = None  # whether the destination takes ACLs; None: to be found out
    copy_private_without_acl: bool = False
    cache_control: str | None = None  # for objects that have none
    storage_class: str | None = None
    source_bucket: str | None = None  # from which the destination's store can copy by itself; None: it cannot


class Transfer:
    """Copies entries, any number of them at once. Nothing but outcomes and fatal errors gets out."""

    def __init__(self, source: Gate, destination: Gate, options: TransferOptions, memory: MemoryBudget) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._memory = memory
        self._acl = AclRule(
            options.acl,
            copy_private_without_acl=options.copy_private_without_acl,
            trial=self._trial,
            taken=options.acl_taken,
            proof=None if options.acl_taken else PrivacyProof(destination, self._destination_key),
        )
        self._source_bucket = BucketLook()
        self._server_side = ServerSide(options.source_bucket)
        self._threads = ThreadPoolExecutor(options.parts_at_once, thread_name_prefix="part")
        self._large = LargeObjects(memory, self._threads, options.part_size, options.parts_at_most)

    @property
    def finding(self) -> str | None:
        """What people should know of the destination that nobody knew before the run."""
        return self._acl.finding

    def close(self) -> None:
        """Let go of the threads, and begin no more parts. Calling it twice is no error."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __call__(self, claim: Claim) -> Outcome:
        """Copy what a claim names, alone. Raises: as `steps`."""
        return carried_out(self.steps(claim))

    def steps(self, claim: Claim) -> Steps[Outcome]:
        """Copy what a claim names.

        Raises: StoreUnusable, after which no other entry would fare better; Interrupted, when a
        wait was cut short: the object may have arrived, so the claim must stay.
        """
        entry, arrival = claim.entry, claim.arrival
        here, there = self._options.source_prefix, self._options.destination_prefix
        source_key = canonical_key(entry, here)
        key = source_key if here == there else canonical_key(entry, there)
        memory = self._memory.hold()
        source, destination = PatientStore(self._source, memory), PatientStore(self._destination)
        has_digest = arrival.md5 is not None or arrival.etag is not None
        approach = approach_to(arrival.presence, private=entry.private, has_digest=has_digest)
        job = Job(claim, key, source_key, source, destination, memory, approach, arrival.presence)
        try:
            if arrival.presence & Presence.IN_DOUBT:  # it may have been on its way in parts, whatever it is now
                yield Aside(partial(job.destination.abort_unfinished, job.key))
            if entry.private:
                yield from self._acl.allow(entry)
            lies_there = yield from self._look_first(job)
            return lies_there or (yield from self._copy(job))
        except PrivateKeptBack:
            return job.kept_back()
        except ObjectError as error:
            return job.failed(error)
        finally:
            memory.release()

    def _look_first(self, job: Job) -> Steps[Outcome | None]:
        """The outcome, if what is wanted lies at the destination already; what lies there is written anew otherwise."""
        found: Outcome | None = None
        if job.approach is Approach.CONFIRM:
            found = yield from self._confirmed(job)
        elif job.approach is Approach.COMPARE:
            found = yield Aside(partial(self._find_arrived, job))
        if found is not None and job.entry.private:  # the same bytes may be somebody else's, for everybody to read
            readable: bool = yield Aside(partial(job.destination.anybody_reads, job.key))
            return None if readable else found
        return found

    def _confirmed(self, job: Job) -> Steps[Outcome | None]:
        """By the very size and ETag under which the destination confirmed it."""
        arrival = job.claim.arrival
        try:
            there: ObjectInfo = yield Ask(job.destination, "head", (job.key,))
        except (ObjectMissing, ObjectDenied):  # a key may write that may not read
            return None
        if there.size != job.entry.size or not same_etag(there.etag, expected_etag(arrival.md5, arrival.etag)):
            return None
        return job.as_recorded(there.size)

    def _copy(self, job: Job) -> Steps[Outcome]:
        """Copy, or do what can be done without the source: what is wanted with another access is stored anew anyway."""
        try:
            outcome = yield from self._copied(job)
        except ObjectError as error:
            outcome = job.failed(error)
        failed_at_destination = outcome.end is End.DESTINATION and outcome.reason is not Reason.MISSING  # of one bucket
        source_fails = outcome.state is not EntryState.DONE and not failed_at_destination
        if source_fails and is_misplaced(job.presence, private=job.entry.private):
            job.memory.release()
            before, stored = job.presence, (yield from self._stored_again(job))
            if stored is not None:
                return stored
            if job.presence != before:
                return outcome._replace(presence=job.presence)
        return outcome

    def _copied(self, job: Job) -> Steps[Outcome]:
        missing, in_doubt = None, False
        for source_key in self._iter_candidates(job):
            try:
                within = (yield from self._copy_within(job, source_key)) if self._server_side.on else None
                if isinstance(within, Copied):
                    return job.done(source_key, within.size, within.md5, within.etag)
                fetched: FetchedObject = yield self._read(job, source_key)
            except ObjectMissing as error:
                missing = missing or error
                in_doubt = in_doubt or not error.certain
                job.memory.release()  # the refusal took some, and who holds some must not wait for more
                continue
            outcome = yield from self._deliver(job, source_key, fetched)
            if isinstance(within, Refusal):
                self._server_side.did_without(within)
            return outcome
        if in_doubt and not self._source_bucket.holds:
            yield Aside(partial(self._source_bucket.require, job.source))
        if job.entry.optional:
            return job.skipped(Reason.OPTIONAL_MISSING)
        lies_there = yield from self._found_there(job)
        return lies_there or job.failed(missing or ObjectMissing(f"no key to look for {job.key!r}"))

    def _found_there(self, job: Job) -> Steps[Outcome | None]:
        """What the source lacks may lie at the destination: after a switch Mastodon itself has stored it there.

        Only as far as `adopt` would go: nobody knows who can read what is there. It has to have the size that the row
        tells; where that is unknown, it has to have come when the file of the row did.
        """
        unwritten = job.approach in (Approach.WRITE, Approach.COMPARE) and not job.presence & Presence.STALE
        if job.entry.private or not unwritten:
            return None
        try:
            there: ObjectInfo = yield Ask(job.destination, "head", (job.key,))
        except ObjectError:  # it is missing at the source, whatever the destination has to say
            return None
        fits = job.entry.size == there.size if job.entry.size is not None else _came_with_its_row(job.entry, there)
        if not fits:
            return None
        return job.done(job.source_key, there.size, there.md5, there.etag)._replace(origin=Origin.ADOPTED)

    def _stored_again(self, job: Job) -> Steps[Outcome | None]:
        """Let what lies at the destination be stored there once more, with the access that its row asks for by now.

        What is private is hidden whatever it is. What is public again has to be what was confirmed once.
        Returns: the outcome, if that is the very object that is wanted. Raises: PrivateKeptBack; ObjectError.
        """
        arrival, private = job.claim.arrival, job.entry.private
        is_right = arrival.md5 is not None and not arrival.presence & Presence.STALE
        if not (private or is_right):
            return None
        within = replace(job, source=job.destination, is_only_copy=True)
        try:
            fetched: FetchedObject = yield self._read(within, job.key)
        except ObjectMissing:
            return None
        if not private and fetched.info.size != job.entry.size:
            return None
        self._acl.spare(job.entry)
        job.writes += 1
        stored = yield from self._deliver(within, job.key, fetched)
        job.writes = 0
        job.presence = stored_again(private=private)
        if not is_right or stored.md5 != arrival.md5:
            return None
        return stored._replace(source_key=arrival.source_key, origin=arrival.origin, end=End.DESTINATION)

    def _copy_within(self, job: Job, source_key: str) -> Steps[Copied | Refusal | None]:
        written = partial(self._written, job, way=Storing.COPIED)
        return self._server_side.copied(Within(job.source, source_key, job.destination, job.key, written))

    def _written(
        self, job: Job, info: ObjectInfo, write: Callable[[PutOptions], Step], way: Storing = Storing.WHOLE
    ) -> Steps[str]:
        """The answer of a step that stores something with the headers of `info` and the ACL of the row."""
        return self._acl.written(job.entry, self._put_options(info), _counting(job, write), way)

    def _read(self, job: Job, source_key: str) -> Ask:
        return Ask(job.source, "read", (source_key, self._options.multipart_threshold))

    def _deliver(self, job: Job, source_key: str, fetched: FetchedObject) -> Steps[Outcome]:
        """Store what was fetched; an object that was replaced or damaged on the way is read again."""
        for restart in range(_RESTARTS_AT_MOST):
            try:
                yield from self._heed_source(job, fetched.info)
                if fetched.data is None or fetched.md5 is None:
                    return (yield from self._deliver_in_parts(job, source_key, fetched.info))
                return (yield from self._deliver_whole(job, source_key, fetched.info, fetched.data, fetched.md5))
            except (ObjectChanged, SourceDamaged, UploadDamaged):
                if restart == _RESTARTS_AT_MOST - 1:
                    raise
            job.source.retries += 1
            job.memory.release()
            fetched = yield self._read(job, source_key)
        raise AssertionError("unreachable")

    def _heed_source(self, job: Job, info: ObjectInfo) -> Steps[None]:
        """Take an entry for a private one if the source itself keeps the object from everybody.

        Its row may be behind: a moderator is faster than the next plan. Raises: as `AclRule.allow`.
        """
        if job.entry.private or not info.private or job.is_only_copy:
            return
        _log.warning("private, as nobody but its owner may read it at %s: %r", job.source.name, job.key)
        job.claim = job.claim._replace(entry=job.entry._replace(private=True))
        yield from self._acl.allow(job.entry)

    def _deliver_whole(self, job: Job, source_key: str, info: ObjectInfo, data: bytes, md5: bytes) -> Steps[Outcome]:
        if is_composite(info.etag):  # the store has compared an MD5; this one takes some trying
            check = SourceCheck(job.source, source_key, info)
            yield Aside(partial(check.require_whole, data))
        etag = yield from self._written(
            job, info, lambda options: Ask(job.destination, "write", (job.key, data, md5, options))
        )
        return job.done(source_key, len(data), md5, etag)

    def _deliver_in_parts(self, job: Job, source_key: str, info: ObjectInfo) -> Steps[Outcome]:
        large = LargeObject(
            job.source, source_key, info, job.destination, job.key, self._large, tried_before=job.tried_before
        )
        md5, etag = yield from self._acl.written(
            job.entry,
            self._put_options(info),
            _counting(job, lambda options: Aside(partial(large.begin, options), large=True)),
            Storing.IN_PARTS,
            lambda upload: Aside(partial(large.deliver, upload), large=True),
        )
        return job.done(source_key, info.size, md5, etag)

    def _find_arrived(self, job: Job) -> Outcome | None:
        """Look whether a write arrived of which nobody knows how it ended: by size, and by the digests of both ends.

        What an ETag does not tell is read.
        """
        source_key, here = job.source_key, None
        for source_key in self._iter_candidates(job):
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
            if is_composite(here.etag) and here.etag == there.etag:  # parts of the same sizes, with the same bytes
                return job.done(source_key, there.size, None, there.etag)
            sent, arrived = _digest(job.source, source_key, here), _digest(job.destination, job.key, there)
        except (ObjectMissing, ObjectChanged, ObjectDenied):  # meanwhile, or the key may not read
            return None
        return job.done(source_key, there.size, sent, there.etag) if sent == arrived else None

    def _iter_candidates(self, job: Job) -> Iterator[str]:
        """The keys to look under. Most objects lie under the first, so the others are not worked out before."""
        return chain((job.source_key,), islice(iter_candidates(job.entry, self._options.source_prefix), 1, None))

    def _trial(self, entry: Entry, acl: str | None) -> Aside:
        options = PutOptions(ObjectHeaders(), acl=acl, storage_class=self._options.storage_class)
        begun = partial(begin_in_vain, PatientStore(self._destination), self._destination_key(entry), options)
        return Aside(begun)

    def _destination_key(self, entry: Entry) -> str:
        return canonical_key(entry, self._options.destination_prefix)

    def _put_options(self, info: ObjectInfo) -> PutOptions:
        headers = info.headers
        if self._options.cache_control and not headers.cache_control:
            headers = headers._replace(cache_control=self._options.cache_control)
        return PutOptions(headers, storage_class=self._options.storage_class)


def _counting(job: Job, write: Callable[[PutOptions], Step]) -> Callable[[PutOptions], Step]:
    """The same step, of which the job knows that it was begun."""

    def begun(options: PutOptions) -> Step:
        job.writes += 1
        return write(options)

    return begun


def _digest(store: PatientStore, key: str, info: ObjectInfo) -> bytes:
    """The MD5 of an object; it is read where its ETag is none."""
    return info.md5 or store.digest(key, info)


def _came_with_its_row(entry: Entry, there: ObjectInfo) -> bool:
    """Whether an object was stored when the file of its row came: by Mastodon, and not by whoever copied it later."""
    if entry.updated is None or not there.last_modified or not there.size:
        return False
    try:
        stored = parsedate_to_datetime(there.last_modified).timestamp()
    except (ValueError, OverflowError):
        return False
    return -_CLOCKS_DIFFER_SECONDS <= stored - entry.updated <= _MADE_WITHIN_SECONDS
