"""One entry from source to destination: what becomes of a claim, step by step.

Bytes are checked when they come in (length, and MD5 where the ETag is one) and go out with their
Content-MD5, so that the destination itself refuses a damaged upload. Only then is an entry done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

from mastosync.engine.acl import AclMode, AclRule, PrivateKeptBack, begin_in_vain
from mastosync.engine.composite import is_composite
from mastosync.engine.memory import Hold, MemoryBudget
from mastosync.engine.parts import MIB, LargeObject, LargeObjects, UploadDamaged
from mastosync.engine.retry import Gate, PatientStore
from mastosync.engine.server_side import Copied, Refusal, ServerSide, Within
from mastosync.engine.source_check import SourceCheck, SourceDamaged
from mastosync.engine.steps import Aside, Ask, Step, Steps, carried_out
from mastosync.errors import ObjectChanged, ObjectError, ObjectMissing
from mastosync.mastodon.paperclip import canonical_key, iter_candidates
from mastosync.model import Claim, Entry, EntryState, ObjectHeaders, ObjectInfo, Origin, Outcome, Reason
from mastosync.store.base import FetchedObject, PutOptions

_log = logging.getLogger(__name__)

_RESTARTS_AT_MOST = 3  # of a transfer whose source object keeps changing


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


class _Job(NamedTuple):
    """One entry on its way, with the stores that count its retries, and the memory that it takes."""

    entry: Entry
    key: str  # canonical, at the destination
    source_key: str  # canonical, at the source
    source: PatientStore
    destination: PatientStore
    memory: Hold
    tried_before: bool  # in an earlier run
    rewrite: bool  # what lies at the destination is not what is wanted now

    @property
    def attempts(self) -> int:
        return 1 + self.source.retries + self.destination.retries


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
        )
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
        entry = claim.entry
        here, there = self._options.source_prefix, self._options.destination_prefix
        source_key = canonical_key(entry, here)
        key = source_key if here == there else canonical_key(entry, there)
        memory = self._memory.hold()
        source, destination = PatientStore(self._source, memory), PatientStore(self._destination)
        job = _Job(entry, key, source_key, source, destination, memory, claim.attempts > 0, claim.rewrite)
        in_doubt = claim.left_behind and not claim.rewrite
        try:
            if claim.left_behind and entry.private:  # the dead run may have been about to find out about ACLs
                yield Aside(partial(job.destination.abort_unfinished, job.key))
            if entry.private:
                yield from self._acl.allow(entry)
            if in_doubt:
                arrived: Outcome | None = yield Aside(partial(self._find_arrived, job))
                if arrived is not None:
                    return arrived
                in_doubt = False
            return (yield from self._copy(job))
        except PrivateKeptBack:
            return _kept_back(job, was_public=claim.rewrite)
        except ObjectError as error:
            return _failed(job, error)._replace(in_doubt=in_doubt)
        finally:
            memory.release()

    def _copy(self, job: _Job) -> Steps[Outcome]:
        missing, described = None, False
        for source_key in self._iter_candidates(job):
            described = described or self._server_side.on
            try:
                within = (yield from self._copy_within(job, source_key)) if self._server_side.on else None
                if isinstance(within, Copied):
                    return _done(job, source_key, within.size, within.md5, within.etag)
                fetched: FetchedObject = yield self._read(job, source_key)
            except ObjectMissing as error:
                missing = missing or error
                job.memory.release()  # the refusal took some, and who holds some must not wait for more
                continue
            outcome = yield from self._deliver(job, source_key, fetched)
            if isinstance(within, Refusal):
                self._server_side.did_without(within)
            return outcome
        if described:  # a 404 without a body, as HEAD gets it, may be about the bucket: that stops the run
            yield Aside(job.source.check)
        if job.entry.optional:
            return Outcome(job.entry, EntryState.SKIPPED, Reason.OPTIONAL_MISSING, attempts=job.attempts)
        lies_there = yield from self._found_there(job)
        return lies_there or _failed(job, missing or ObjectMissing(f"no key to look for {job.key!r}"))

    def _found_there(self, job: _Job) -> Steps[Outcome | None]:
        """What the source lacks may lie at the destination: after a switch Mastodon itself has stored it there.

        Only as far as `adopt` would go: nobody knows who can read what is there.
        """
        if job.entry.private or job.rewrite:
            return None
        try:
            there: ObjectInfo = yield Ask(job.destination, "head", (job.key,))
        except ObjectError:  # it is missing at the source, whatever the destination has to say
            return None
        if job.entry.size is not None and job.entry.size != there.size:
            return None
        return _done(job, job.source_key, there.size, there.md5, there.etag)._replace(origin=Origin.ADOPTED)

    def _copy_within(self, job: _Job, source_key: str) -> Steps[Copied | Refusal | None]:
        one = Within(job.source, source_key, job.destination, job.key, partial(self._written, job))
        return self._server_side.copied(one)

    def _written(self, job: _Job, info: ObjectInfo, write: Callable[[PutOptions], Step]) -> Steps[str]:
        """The answer of a step that stores something with the headers of `info` and the ACL of the row."""
        return self._acl.written(job.entry, self._put_options(info), write)

    def _read(self, job: _Job, source_key: str) -> Ask:
        return Ask(job.source, "read", (source_key, self._options.multipart_threshold))

    def _deliver(self, job: _Job, source_key: str, fetched: FetchedObject) -> Steps[Outcome]:
        """Store what was fetched; an object that was replaced or damaged on the way is read again."""
        for restart in range(_RESTARTS_AT_MOST):
            try:
                job = yield from self._as_the_source_has_it(job, fetched.info)
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

    def _as_the_source_has_it(self, job: _Job, info: ObjectInfo) -> Steps[_Job]:
        """The same job, for a private entry if the source itself keeps the object from everybody.

        Its row may be behind: a moderator is faster than the next plan. Raises: as `AclRule.allow`.
        """
        if job.entry.private or not info.private:
            return job
        entry = job.entry._replace(private=True)
        _log.warning("private, as nobody but its owner may read it at %s: %r", job.source.name, job.key)
        yield from self._acl.allow(entry)
        return job._replace(entry=entry)

    def _deliver_whole(self, job: _Job, source_key: str, info: ObjectInfo, data: bytes, md5: bytes) -> Steps[Outcome]:
        if is_composite(info.etag):  # the store has compared an MD5; this one takes some trying
            check = SourceCheck(job.source, source_key, info)
            yield Aside(partial(check.require_whole, data))
        etag = yield from self._written(
            job, info, lambda options: Ask(job.destination, "write", (job.key, data, md5, options))
        )
        return _done(job, source_key, len(data), md5, etag)

    def _deliver_in_parts(self, job: _Job, source_key: str, info: ObjectInfo) -> Steps[Outcome]:
        large = LargeObject(
            job.source, source_key, info, job.destination, job.key, self._large, tried_before=job.tried_before
        )
        upload = yield from self._written(job, info, lambda options: Aside(partial(large.begin, options), large=True))
        md5, etag = yield Aside(partial(large.deliver, upload), large=True)
        return _done(job, source_key, info.size, md5, etag)

    def _find_arrived(self, job: _Job) -> Outcome | None:
        """Look whether a dead run's upload arrived, by size and by MD5 where both ends have one.

        A disk tells none, and is read.
        """
        source_key, here = job.source_key, None
        for source_key in self._iter_candidates(job):
            try:
                here = job.source.head(source_key)
                break
            except ObjectMissing:
                continue
        if here is None:
            return None
        if here.size > self._options.multipart_threshold:
            job.destination.abort_unfinished(job.key)
        try:
            there = job.destination.head(job.key)
        except ObjectMissing:
            return None
        if here.size != there.size:
            return None
        try:
            sent, arrived = _digest(job.source, source_key, here), _digest(job.destination, job.key, there)
        except (ObjectMissing, ObjectChanged):  # meanwhile
            return None
        if sent and arrived and sent != arrived:
            return None
        return _done(job, source_key, there.size, sent or arrived, there.etag)

    def _iter_candidates(self, job: _Job) -> Iterator[str]:
        """The keys to look under. Most objects lie under the first, so the others are not worked out before."""
        return chain((job.source_key,), islice(iter_candidates(job.entry, self._options.source_prefix), 1, None))

    def _trial(self, entry: Entry, acl: str | None) -> Aside:
        options = PutOptions(ObjectHeaders(), acl=acl, storage_class=self._options.storage_class)
        key = canonical_key(entry, self._options.destination_prefix)
        return Aside(partial(begin_in_vain, PatientStore(self._destination), key, options))

    def _put_options(self, info: ObjectInfo) -> PutOptions:
        headers = info.headers
        if self._options.cache_control and not headers.cache_control:
            headers = headers._replace(cache_control=self._options.cache_control)
        return PutOptions(headers, storage_class=self._options.storage_class)


def _digest(store: PatientStore, key: str, info: ObjectInfo) -> bytes | None:
    """The MD5 of an object, unless it was uploaded in parts: then the ETag was made of others."""
    return info.md5 if info.md5 or is_composite(info.etag) else store.digest(key, info)


def _done(job: _Job, source_key: str, size_bytes: int, md5: bytes | None, etag: str) -> Outcome:
    told_by_md5 = md5 is not None and etag.lower() == md5.hex()
    return Outcome(
        job.entry,
        EntryState.DONE,
        size=size_bytes,
        md5=md5,
        etag=None if told_by_md5 else etag,
        source_key=None if source_key == job.source_key else source_key,
        attempts=job.attempts,
    )


def _kept_back(job: _Job, *, was_public: bool) -> Outcome:
    detail = None
    if was_public:
        detail = (
            f"{job.key!r} is private now, but still lies at {job.destination.name} as it was before: remove it there"
        )
        _log.warning("%s", detail, extra={"about": {"key": job.key, "reason": Reason.PRIVATE.value}})
    return Outcome(job.entry, EntryState.SKIPPED, Reason.PRIVATE, attempts=job.attempts, detail=detail)


def _failed(job: _Job, error: ObjectError) -> Outcome:
    about = {"key": job.key, "reason": error.reason.value, "attempts": job.attempts}
    _log.warning("failed (%s): %s", error.reason.value, error.message, extra={"about": about})
    return Outcome(job.entry, EntryState.FAILED, error.reason, attempts=job.attempts, detail=error.message)
