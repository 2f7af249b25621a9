"""How an object that was found at the source is stored at the destination, and how its bytes are proved.

A small object was fetched whole, and is written whole. A large one travels in parts. Bytes are proved by a digest at
both ends (see `digests`). What turns out to be damaged, or was replaced meanwhile, is read again.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mastosync.checking.object_check import is_composite
from mastosync.checking.privacy_proof import WriteMethod
from mastosync.copying.acl import AclRule, NoteAccess
from mastosync.copying.digests import DigestMode, DigestTrust
from mastosync.copying.job import Job
from mastosync.copying.kept_uploads import KeptUploads
from mastosync.copying.large_objects import LargeObject, LargeObjects, SourceCheck, SourceDamaged, UploadDamaged
from mastosync.copying.streamed_parts import Cut, StreamedParts, source_part_size
from mastosync.errors import BodyInterrupted, ClaimedDigestWrong, CorruptObject, ObjectChanged, ObjectRejected
from mastosync.manifest import ACCESS, write_started
from mastosync.model import ObjectInfo, Outcome
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.steps import BlockingCall, Steps, StoreCall, WaitFor
from mastosync.store.abilities import STREAM_BYTES, StreamAnswer, StreamedDigest, StreamedObject, StreamingStore
from mastosync.store.base import DigestUse, FetchedObject, PutOptions

if TYPE_CHECKING:
    from mastosync.copying.transfer import TransferOptions

_log = logging.getLogger(__name__)

_RESTARTS_AT_MOST = 3  # of a delivery whose source object keeps changing


class Delivery:
    """Stores objects that were found. Shared by all transfers of a run."""

    def __init__(
        self, options: TransferOptions, acl: AclRule, trust: DigestTrust, memory: MemoryBudget, note: NoteAccess | None
    ) -> None:
        """`note`: as `Transfer` has it."""
        self._options = options
        self._acl = acl
        self._trust = trust
        self._note = note
        self._threads = ThreadPoolExecutor(options.parts_at_once, thread_name_prefix="part")
        self._large = LargeObjects(
            memory, self._threads, options.part_size, options.parts_at_most, options.least_part_size
        )

    @property
    def uploads(self) -> KeptUploads:
        """Uploads in parts that are under way."""
        return self._large.uploads

    def close(self) -> None:
        """End the threads, and begin no more parts. Calling it twice is no error."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def read(self, job: Job, source_key: str, use: DigestUse = DigestUse.COMPUTED) -> StoreCall:
        """The step that fetches an object, or describes it if it is large, and may leave its body open."""
        most = self._options.multipart_threshold
        whole = min(most, self._options.whole_bytes)
        if whole < most and streams(job, source_key):
            return StoreCall(job.source, "open", (source_key, whole, use, most))
        return StoreCall(job.source, "read", (source_key, whole, use))

    def deliver(self, job: Job, source_key: str, fetched: FetchedObject, use: DigestUse) -> Steps[Outcome]:
        """Store a fetched object. If it was replaced at the source or damaged on the way, read it again.

        Raises: ObjectError; PrivateKeptBack; PrivacyUnknown; StoreUnusable; Interrupted.
        """
        restarts = interruptions = 0
        while True:
            try:
                yield from self.hide_as_source_does(job, fetched.info)
                yield from self._record_access(job)
                if fetched.data is not None:
                    return (yield from self._deliver_whole(job, source_key, fetched, use))
                cut = None if restarts else (yield from self._cut(job, source_key, fetched.info))
                proves = cut is not None and cut.proves
                if not proves and self._is_to_be_streamed(job, source_key, fetched.info):
                    return (yield from self._deliver_streamed(job, source_key, fetched, again=restarts > 0))
                return (yield from self._deliver_in_parts(job, source_key, fetched, cut))
            except (ObjectChanged, SourceDamaged, UploadDamaged):
                restarts += 1
                if restarts == _RESTARTS_AT_MOST:
                    raise
                use = DigestUse.COMPUTED
            except BodyInterrupted as interrupted:
                interruptions += 1
                attempts = job.source.store_session.policy.max_attempts
                if not interrupted.failure.transient or interruptions == attempts:
                    raise interrupted.failure from interrupted
                job.source.note(interrupted.failure)
                yield BlockingCall(partial(job.source.pause, interruptions - 1))
            finally:
                if fetched.body is not None:
                    fetched.body.close()
            job.restart()
            fetched = yield self.read(job, source_key, use)

    def hide_as_source_does(self, job: Job, info: ObjectInfo) -> Steps[None]:
        """Treat an entry as private if the source itself hides the object.

        A moderator may have hidden it since the plan. Raises: as `AclRule.allow`.
        """
        if job.entry.private or not info.private or job.is_only_copy:
            return
        _log.warning("stored as private, because only its owner may read it at %s: %r", job.source.name, job.key)
        job.claim, job.access_unrecorded = job.claim._replace(entry=job.entry._replace(private=True)), True
        yield from job.try_acls(self._acl.allow(job.entry))

    def _record_access(self, job: Job) -> Steps[None]:
        """Wait until the manifest has recorded an access that differs from the claim's. Raises: Interrupted."""
        if not job.access_unrecorded or self._note is None:
            return
        # `presence` also tells what this job has tried before
        access = write_started(job.presence, private=job.entry.private) & ACCESS
        yield WaitFor(self._note(job.entry, access), job.source.store_session.stop)
        job.access_unrecorded = False

    def _deliver_whole(self, job: Job, source_key: str, fetched: FetchedObject, use: DigestUse) -> Steps[Outcome]:
        info, data, md5, _ = fetched
        assert data is not None and md5 is not None  # noqa: S101, PT018 - it is not large
        if is_composite(info.etag):  # an ETag of parts: try the part sizes
            check = SourceCheck(job.source, source_key, info)
            yield BlockingCall(partial(check.require_whole, data))
        if use is DigestUse.CLAIMED and not info.etag_is_md5:
            use = DigestUse.COMPUTED  # as nothing was claimed
        elif job.source.read_damaged:
            self._trust.hash_all()

        def send(options: PutOptions) -> Steps[str]:
            if use is DigestUse.WITHHELD:
                return self._send_withheld(job, data, md5, options)
            return job.send(StoreCall(job.destination, "write", (job.key, data, md5, options, use)))

        try:
            etag = yield from self._acl.write(job.entry, self.put_options(info), send, WriteMethod.WHOLE)
        except ClaimedDigestWrong as wrong:
            self._trust.hash_all()
            raise SourceDamaged(
                f"cannot read {source_key!r} at {job.source.name}: {wrong.message}", store=job.source.name
            ) from wrong
        if use is not DigestUse.WITHHELD:
            self._trust.note(use, len(data), proved=etag.lower() == md5.hex())
        return job.done(source_key, len(data), md5, etag, believed=use is DigestUse.CLAIMED)

    def _send_withheld(self, job: Job, data: bytes, md5: bytes, options: PutOptions) -> Steps[str]:
        """Write without the MD5; once more with it, if that proves nothing or the store insists on one."""
        with suppress(ObjectRejected):
            etag: str = yield from job.send(
                StoreCall(job.destination, "write", (job.key, data, md5, options, DigestUse.WITHHELD))
            )
            self._trust.note(DigestUse.WITHHELD, len(data), proved=etag.lower() == md5.hex())
            if etag.lower() == md5.hex():
                return etag
        etag = yield from job.send(StoreCall(job.destination, "write", (job.key, data, md5, options)))
        self._trust.hash_all()
        return etag

    def _is_to_be_streamed(self, job: Job, source_key: str, info: ObjectInfo) -> bool:
        """Whether a large object goes in one request. Its digest has to be known before, or be proved afterwards."""
        is_proved = info.etag_is_md5 or self._trust.may_prove
        return is_proved and info.size <= self._options.multipart_threshold and streams(job, source_key)

    def _deliver_streamed(self, job: Job, source_key: str, fetched: FetchedObject, *, again: bool) -> Steps[Outcome]:
        """`again`: an attempt at this object was in vain, so its bytes are hashed."""
        info = fetched.info
        check = _StreamCheck(self._trust, SourceCheck(job.source, source_key, info), info, hashes=again)
        if fetched.body is None:
            yield BlockingCall(partial(job.memory.wait, STREAM_BYTES, job.source.store_session.stop))
        source = StreamedObject(job.source.store_session.store, source_key, info, check.begin, fetched.body)

        def send(options: PutOptions) -> Steps[StreamAnswer]:
            return job.send(StoreCall(job.destination, "write_stream", (job.key, source, options)))

        try:
            answer: StreamAnswer = yield from self._acl.write(
                job.entry, self.put_options(info), send, WriteMethod.WHOLE
            )
            if not check.is_claimed:
                check.computed = yield BlockingCall(check.of_source.require)
            md5 = check.computed or info.md5
            assert md5 is not None  # noqa: S101 - it was claimed or computed
            is_proved = check.note(answer, md5)
        except (CorruptObject, ObjectRejected) as refused:  # which end was wrong? Or is there no way without an MD5?
            if isinstance(refused, SourceDamaged):
                raise
            self._trust.note(DigestUse.COMPUTED, info.size, proved=False)
            raise UploadDamaged(refused.message, hint=refused.hint, store=refused.store) from refused
        finally:
            source.close()
            check.close()
        if is_proved and check.is_claimed:
            yield WaitFor(lambda: self._trust.is_settled, job.source.store_session.stop)
            is_proved = self._trust.believes
        if not is_proved and (check.is_claimed or answer.etag_is_md5 or check.sent is None):
            raise UploadDamaged(
                f"cannot write {job.key!r} at {job.destination.name}: sent bytes with the MD5 {md5.hex()}, the store"
                f" answers with the ETag {answer.etag}",
                store=job.destination.name,
            )
        return job.done(source_key, info.size, md5, answer.etag, believed=check.is_claimed)

    def _cut(self, job: Job, source_key: str, info: ObjectInfo) -> Steps[Cut | None]:
        """How to cut an object into parts that are streamed; None: no part can be, so they are held in memory."""
        if not (self._large.streams and streams(job, source_key)):
            return None
        size: int | None = None
        if self._large.cuts_as_source and self._options.digest is not DigestMode.ALWAYS:
            size = yield from source_part_size(job.source, source_key, info, self._large)
        return Cut(size or self._large.least_part_size_for(info.size), proves=size is not None)

    def _deliver_in_parts(self, job: Job, source_key: str, fetched: FetchedObject, cut: Cut | None) -> Steps[Outcome]:
        info = fetched.info
        if fetched.body is not None:
            fetched.body.close()
        large = LargeObject(
            job.source, source_key, info, job.destination, job.key, self._large, tried_before=job.tried_before
        )
        if cut is not None:
            large.streamed = StreamedParts(large, job.memory, cut)
        begin, fill = partial(job.begin_upload, large), partial(job.fill_upload, large)
        md5, etag = yield from self._acl.write(
            job.entry, self.put_options(info), begin, WriteMethod.IN_PARTS, complete=fill
        )
        return job.done(source_key, info.size, md5, etag)

    def put_options(self, info: ObjectInfo) -> PutOptions:
        """What goes along with a new object, but for its ACL."""
        headers = info.headers
        if self._options.cache_control and not headers.cache_control:
            headers = headers._replace(cache_control=self._options.cache_control)
        return PutOptions(headers, storage_class=self._options.storage_class)


def streams(job: Job, source_key: str) -> bool:
    """Whether both stores can move this object, or its parts, without holding it in memory."""
    source, destination = job.source.store_session.store, job.destination.store_session.store
    if job.is_only_copy or not (isinstance(source, StreamingStore) and isinstance(destination, StreamingStore)):
        return False
    return source.streams(source_key) and destination.streams(job.key)


@dataclass(slots=True)
class _StreamCheck:
    """How the MD5 of one object that is streamed is proved. Decided when its request begins: it may wait before."""

    trust: DigestTrust
    of_source: SourceCheck
    info: ObjectInfo
    hashes: bool  # whatever the trust
    is_claimed: bool = False
    sent: bytes | None = None
    computed: bytes | None = None
    _counts: bool = False  # as one that is hashed to earn trust

    def begin(self) -> StreamedDigest:
        """See `StreamedObject.begin`."""
        self.close()
        use = DigestUse.COMPUTED
        if not self.hashes:
            use = self.trust.use_next_large()
            self._counts = use is not DigestUse.CLAIMED
        self.is_claimed = use is DigestUse.CLAIMED and self.info.etag_is_md5
        self.sent = None if use is DigestUse.WITHHELD else self.info.md5
        self.of_source = self.of_source.anew()
        return StreamedDigest(self.sent, None if self.is_claimed else self.of_source)

    def note(self, answer: StreamAnswer, md5: bytes) -> bool:
        """Whether the ETag of the answer is this MD5, which the trust learns too."""
        is_proved = answer.etag.lower() == md5.hex()
        use = DigestUse.CLAIMED if self.is_claimed else DigestUse.COMPUTED if self.sent else DigestUse.WITHHELD
        self.trust.note(use, self.info.size, proved=is_proved)
        return is_proved

    def close(self) -> None:
        """The attempt has ended."""
        if self._counts:
            self.trust.large_ended()
            self._counts = False
