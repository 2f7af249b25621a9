"""One entry from source to destination: what a worker does with a claim.

Bytes are checked when they come in (length, and MD5 where the ETag is one) and go out with their
Content-MD5, so that the destination itself refuses a damaged upload. Only then is an entry done.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from mastosync.engine.retry import Gate, PatientStore
from mastosync.engine.source_check import SourceCheck, SourceDamaged
from mastosync.errors import (
    AclUnsupported,
    MastosyncError,
    ObjectChanged,
    ObjectError,
    ObjectMissing,
    StoreUnusable,
)
from mastosync.mastodon.paperclip import canonical_key, iter_candidates
from mastosync.model import Claim, Entry, EntryState, ObjectInfo, Outcome, Reason
from mastosync.store.base import FetchedObject, PutOptions

_log = logging.getLogger(__name__)

MIB = 1024 * 1024
_RESTARTS_AT_MOST = 3  # of a transfer whose source object keeps changing


class AclMode(StrEnum):
    """What ACL objects get at the destination."""

    AUTO = "auto"  # per row, until the store shows that it takes none
    PUBLIC_READ = "public-read"  # per row; a store that takes none is an error
    PRIVATE = "private"  # every object
    NONE = "none"  # no ACL header


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How objects are written."""

    source_prefix: str = ""
    destination_prefix: str = ""
    multipart_threshold: int = 16 * MIB  # bytes; larger objects travel in parts
    part_size: int = 16 * MIB  # bytes; grows where `parts_at_most` would not suffice
    parts_at_most: int = 10_000  # of one object
    acl: AclMode = AclMode.AUTO
    copy_private_without_acl: bool = False
    cache_control: str | None = None  # for objects that have none
    storage_class: str | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    """One entry on its way, with the stores that count its retries."""

    entry: Entry
    key: str  # canonical, at the destination
    source: PatientStore
    destination: PatientStore

    @property
    def attempts(self) -> int:
        return 1 + self.source.retries + self.destination.retries


class _PrivateKeptBack(Exception):
    """The destination cannot keep this private object private."""


class Transfer:
    """Copies entries, from any number of threads. Nothing but outcomes and fatal errors gets out."""

    def __init__(self, source: Gate, destination: Gate, options: TransferOptions) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._takes_acl = options.acl is not AclMode.NONE

    def __call__(self, claim: Claim) -> Outcome:
        """Copy what a claim names.

        Raises: StoreUnusable, after which no other entry would fare better; Interrupted, when a
        wait was cut short: the object may have arrived, so the claim must stay.
        """
        entry = claim.entry
        key = canonical_key(entry, self._options.destination_prefix)
        job = _Job(entry, key, PatientStore(self._source), PatientStore(self._destination))
        try:
            return self._copy(job, look_first=claim.left_behind and not claim.rewrite)
        except _PrivateKeptBack:
            return Outcome(entry, EntryState.SKIPPED, Reason.PRIVATE, attempts=job.attempts)
        except ObjectError as error:
            return _failed(job, error)

    def _copy(self, job: _Job, *, look_first: bool) -> Outcome:
        if job.entry.private and not self._takes_acl:
            self._decide_without_acl(job.entry)
        if look_first:
            arrived = self._find_arrived(job)
            if arrived is not None:
                return arrived
        first, missing = "", None
        for source_key in iter_candidates(job.entry, self._options.source_prefix):
            first = first or source_key
            try:
                fetched = job.source.read(source_key, self._options.multipart_threshold)
            except ObjectMissing as error:
                missing = missing or error
                continue
            outcome = self._deliver(job, source_key, fetched)
            return outcome if source_key == first else replace(outcome, source_key=source_key)
        if job.entry.optional:
            return Outcome(job.entry, EntryState.SKIPPED, Reason.OPTIONAL_MISSING, attempts=job.attempts)
        return _failed(job, missing or ObjectMissing(f"no key to look for {job.key!r}"))

    def _deliver(self, job: _Job, source_key: str, fetched: FetchedObject) -> Outcome:
        """Store what was fetched; an object that was replaced or damaged on the way is read again."""
        for restart in range(_RESTARTS_AT_MOST):
            try:
                if fetched.data is None or fetched.md5 is None:
                    return self._deliver_in_parts(job, source_key, fetched.info)
                return self._deliver_whole(job, source_key, fetched.info, fetched.data, fetched.md5)
            except (ObjectChanged, SourceDamaged):
                if restart == _RESTARTS_AT_MOST - 1:
                    raise
            job.source.retries += 1
            fetched = job.source.read(source_key, self._options.multipart_threshold)
        raise AssertionError("unreachable")

    def _deliver_whole(self, job: _Job, source_key: str, info: ObjectInfo, data: bytes, md5: bytes) -> Outcome:
        if not info.etag_is_md5:  # an MD5 has been compared by the store
            check = SourceCheck(job.source, source_key, info)
            check.update(data)
            check.require(self._options.part_size)
        etag = self._with_acl(job.entry, info, lambda options: job.destination.write(job.key, data, md5, options))
        return _done(job, len(data), md5, etag)

    def _deliver_in_parts(self, job: _Job, source_key: str, info: ObjectInfo) -> Outcome:
        upload = self._with_acl(job.entry, info, lambda options: job.destination.start_multipart(job.key, options))
        size = part_size_for(info.size, self._options.part_size, self._options.parts_at_most)
        check = SourceCheck(job.source, source_key, info)
        parts = []
        try:
            for number, start in enumerate(range(0, info.size, size), 1):
                data = job.source.read_range(source_key, info, start, min(size, info.size - start))
                check.update(data)
                digest = hashlib.md5(data, usedforsecurity=False).digest()
                parts.append(job.destination.write_part(job.key, upload, number, data, digest))
            md5 = check.require(size)
            etag = job.destination.complete_multipart(job.key, upload, parts)
        except BaseException:
            self._discard(job, upload)
            raise
        if job.destination.retries:
            self._discard(job)
        return _done(job, info.size, md5, etag)

    def _discard(self, job: _Job, upload: str | None = None) -> None:
        """Throw parts away, which cost money until then. Whatever led here counts more than a failure to.

        A repeated request may have begun an upload whose answer was lost, so then all are looked for.
        """
        with suppress(MastosyncError):
            if upload is not None:
                job.destination.abort_multipart(job.key, upload)
        with suppress(MastosyncError):
            if job.destination.retries:
                job.destination.abort_unfinished(job.key)

    def _find_arrived(self, job: _Job) -> Outcome | None:
        """Look whether a dead run's upload arrived, by size and by MD5 where both ends have one."""
        first, here = "", None
        for source_key in iter_candidates(job.entry, self._options.source_prefix):
            first = first or source_key
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
        if here.size != there.size or (here.md5 and there.md5 and here.md5 != there.md5):
            return None
        outcome = _done(job, there.size, here.md5 or there.md5, there.etag)
        return outcome if source_key == first else replace(outcome, source_key=source_key)

    def _with_acl(self, entry: Entry, info: ObjectInfo, write: Callable[[PutOptions], str]) -> str:
        """Write with the ACL the row asks for, or find out that the destination takes none."""
        options = self._put_options(entry, info)
        if options.acl is None:
            return write(options)
        try:
            return write(options)
        except AclUnsupported as error:
            if self._options.acl is not AclMode.AUTO:
                raise StoreUnusable(
                    error.message, hint="set `acl = auto` or `acl = none` for the destination"
                ) from error
            self._takes_acl = False
            if entry.private:
                self._decide_without_acl(entry)
            return write(replace(options, acl=None))

    def _decide_without_acl(self, entry: Entry) -> None:
        if not self._options.copy_private_without_acl:
            raise _PrivateKeptBack(entry.name)

    def _put_options(self, entry: Entry, info: ObjectInfo) -> PutOptions:
        acl = None
        if self._takes_acl:
            always_private = self._options.acl is AclMode.PRIVATE
            acl = "private" if entry.private or always_private else "public-read"
        headers = info.headers
        if self._options.cache_control and not headers.cache_control:
            headers = replace(headers, cache_control=self._options.cache_control)
        return PutOptions(headers, acl, self._options.storage_class)


def part_size_for(size_bytes: int, wanted_bytes: int, parts_at_most: int = 10_000) -> int:
    """The size of each part but the last: as wanted, or what so many parts need, in whole MiB."""
    needed = -(-size_bytes // parts_at_most)
    return max(wanted_bytes, -(-needed // MIB) * MIB)


def _done(job: _Job, size_bytes: int, md5: bytes | None, etag: str) -> Outcome:
    told_by_md5 = md5 is not None and etag.lower() == md5.hex()
    return Outcome(
        job.entry,
        EntryState.DONE,
        size=size_bytes,
        md5=md5,
        etag=None if told_by_md5 else etag,
        attempts=job.attempts,
    )


def _failed(job: _Job, error: ObjectError) -> Outcome:
    about = {"key": job.key, "reason": error.reason.value, "attempts": job.attempts}
    _log.warning("failed (%s): %s", error.reason.value, error.message, extra={"about": about})
    return Outcome(job.entry, EntryState.FAILED, error.reason, attempts=job.attempts, detail=error.message)
