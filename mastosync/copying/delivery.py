"""How an object that was found at the source is stored at the destination, and how its bytes are proved.

A small object was fetched whole, and is written whole. A large one is streamed, or travels in parts. A digest at both
ends proves the bytes (see `digests`). What turns out to be damaged, or was replaced meanwhile, is read again.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from mastosync.checking.object_check import is_composite
from mastosync.checking.privacy_proof import WriteMethod
from mastosync.copying.acl import AclRule, NoteAccess
from mastosync.copying.digests import DigestMode, DigestTrust
from mastosync.copying.job import Job
from mastosync.copying.kept_uploads import KeptUploads
from mastosync.copying.large_objects import LargeObject, LargeObjects, SourceCheck, SourceDamaged, UploadDamaged
from mastosync.copying.stream_check import DigestDoubtful, StreamCheck
from mastosync.copying.streamed_parts import Cut, NoRanges, StreamedParts, source_part_size
from mastosync.errors import (
    BodyInterrupted,
    ClaimedDigestWrong,
    CorruptObject,
    ObjectChanged,
    ObjectError,
    ObjectRejected,
)
from mastosync.language import say
from mastosync.manifest import ACCESS, write_started
from mastosync.model import ObjectInfo, Outcome
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.steps import BlockingCall, LargeTurn, Steps, StoreCall, WaitFor
from mastosync.store.abilities import (
    STREAM_BYTES,
    StreamAnswer,
    StreamedObject,
    StreamingStore,
    is_streaming,
    is_streaming_parts,
)
from mastosync.store.base import (
    DAMAGED_AT_SOURCE,
    DigestUse,
    FetchedObject,
    ObjectStore,
    PutOptions,
)

if TYPE_CHECKING:
    from mastosync.copying.transfer import TransferOptions

_log = logging.getLogger(__name__)

_RESTARTS_AT_MOST = 3  # of a delivery whose source object keeps changing


class Delivery:
    """Stores objects that were found. Shared by all transfers of a run."""

    def __init__(
        self,
        stores: tuple[ObjectStore, ObjectStore],
        options: TransferOptions,
        acl: AclRule,
        memory: MemoryBudget,
        note: NoteAccess | None,
    ) -> None:
        """`stores`: source and destination. `note`: as `Transfer` has it."""
        self.trust = DigestTrust(options.digest, stores[1])
        self._whole_bytes = min(options.multipart_threshold, options.whole_bytes)
        self._can_stream = all(is_streaming(each) for each in stores)
        self._can_stream_parts = all(is_streaming_parts(each) for each in stores)
        self._options = options
        self._acl = acl
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
        if self._streams(job, source_key):
            return StoreCall(
                job.source, "open", (source_key, self._whole_bytes, use, self._options.multipart_threshold)
            )
        return StoreCall(job.source, "read", (source_key, self._whole_bytes, use))

    def _streams(self, job: Job, source_key: str) -> bool:
        """Whether this object can go from store to store without being held in memory."""
        if not self._can_stream or job.is_only_copy:
            return False
        source, destination = job.source.store_session.store, job.destination.store_session.store
        return cast("StreamingStore", source).streams(source_key) and cast("StreamingStore", destination).streams(
            job.key
        )

    def deliver(self, job: Job, source_key: str, fetched: FetchedObject, use: DigestUse) -> Steps[Outcome]:
        """Store a fetched object. If it was replaced at the source or damaged on the way, read it again.

        Raises: ObjectError; PrivateKeptBack; PrivacyUnknown; StoreUnusable; Interrupted.
        """
        if fetched.data is None:
            self.trust.not_used(use)
            use = DigestUse.COMPUTED  # a stream decides when it begins
        tries = _Tries()
        while True:
            try:
                yield from self.hide_as_source_does(job, fetched.info)
                yield from self._record_access(job)
                outcome = yield from self._delivered(job, source_key, fetched, use, tries.failed)
                if outcome is not None:
                    return outcome
            except (ObjectChanged, SourceDamaged, UploadDamaged, BodyInterrupted) as error:
                yield from tries.go_on(job, error)
                if isinstance(tries.failed, SourceDamaged) and fetched.info.etag_is_md5:
                    self.trust.hash_all()
                use = DigestUse.COMPUTED
            finally:
                if fetched.body is not None:
                    fetched.body.close()
            fetched = yield self.read(job, source_key, use)

    def _delivered(
        self, job: Job, source_key: str, fetched: FetchedObject, use: DigestUse, failed: ObjectError | None
    ) -> Steps[Outcome | None]:
        """`failed`: the attempt before. Gives: None, if the object had to wait and has to be read again."""
        if fetched.data is not None:
            return (yield from self._deliver_whole(job, source_key, fetched, use))
        cut: Cut | None = None
        if self._streams(job, source_key):
            if (yield LargeTurn(partial(_set_aside, job, fetched))):
                return None
            cut = None if failed is not None else (yield from self._cut(job, source_key, fetched.info))
            proves = cut is not None and cut.proves
            doubt = None if isinstance(failed, NoRanges) else failed
            if not proves and self._is_to_be_streamed(fetched.info, doubt):
                return (yield from self._deliver_streamed(job, source_key, fetched, doubt))
        outcome = yield from self._deliver_in_parts(job, source_key, fetched, cut)
        if isinstance(failed, DigestDoubtful):
            self.trust.note(DigestUse.COMPUTED, fetched.info.size, proved=False)
        return outcome

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
        if job.source.read_damaged:
            self.trust.hash_all()

        def send(options: PutOptions) -> Steps[str]:
            if use is DigestUse.CONTRADICTED:
                return self._send_contradicted(job, data, md5, options)
            return job.send(StoreCall(job.destination, "write", (job.key, data, md5, options, use)))

        try:
            etag = yield from self._acl.write(job.entry, self.put_options(info), send, WriteMethod.WHOLE)
        except ClaimedDigestWrong as wrong:
            self.trust.hash_all()
            raise SourceDamaged(
                f"cannot read {source_key!r} at {job.source.name}: its bytes have the MD5 {wrong.md5.hex()}, its ETag"
                f" says {info.etag}",
                hint=say(DAMAGED_AT_SOURCE),
                store=job.source.name,
            ) from wrong
        if use is not DigestUse.CONTRADICTED:
            self.trust.note(use, len(data), proved=etag.lower() == md5.hex())
        return job.done(source_key, len(data), md5, etag, believed=use is DigestUse.CLAIMED)

    def _send_contradicted(self, job: Job, data: bytes, md5: bytes, options: PutOptions) -> Steps[str]:
        """Write with a wrong MD5, to see whether the store looks at the bytes; and as it should be, unless it has.

        Whatever the store makes of it, the bytes that it keeps are right.
        """
        try:
            shown: str = yield from job.send(
                StoreCall(job.destination, "write", (job.key, data, md5, options, DigestUse.CONTRADICTED))
            )
        except ObjectError:  # some stores refuse it in a way of their own: the next answer counts
            self.trust.note_failure()
        else:
            self.trust.note_contradicted(shown, md5, len(data))
            if shown.lower() == md5.hex():
                return shown
        etag: str = yield from job.send(StoreCall(job.destination, "write", (job.key, data, md5, options)))
        self.trust.note(DigestUse.COMPUTED, len(data), proved=etag.lower() == md5.hex())
        return etag

    def _is_to_be_streamed(self, info: ObjectInfo, failed: ObjectError | None) -> bool:
        """Whether a large object goes in one request. Its digest has to be known before, or be proved afterwards."""
        is_proved = info.etag_is_md5 or (self.trust.may_prove and failed is None)
        return is_proved and self._whole_bytes < info.size <= self._options.multipart_threshold

    def _deliver_streamed(
        self, job: Job, source_key: str, fetched: FetchedObject, failed: ObjectError | None
    ) -> Steps[Outcome]:
        info, stop = fetched.info, job.source.store_session.stop
        check = StreamCheck(self.trust, SourceCheck(job.source, source_key, info), info, failed)
        if fetched.body is None:
            yield BlockingCall(partial(job.memory.wait, STREAM_BYTES, stop))
        store, reserve = job.source.store_session.store, job.source.store_session.limiter.reserve
        source = StreamedObject(store, source_key, info, check.begin, lambda: stop.requested, reserve, fetched.body)

        def send(options: PutOptions) -> Steps[StreamAnswer]:
            step = StoreCall(job.destination, "write_stream", (job.key, source, options))
            try:
                answer: StreamAnswer = yield from job.send(step)
                if not check.is_contradicted or check.is_proved_by(answer):
                    return answer
            except (BodyInterrupted, SourceDamaged, ObjectChanged):
                raise
            except ObjectError:  # as with small objects
                if not check.is_contradicted:
                    raise
                check.note_failure()
            answer = yield from job.send(step)  # with the MD5 that it has
            return answer

        try:
            answer: StreamAnswer = yield from self._acl.write(
                job.entry, self.put_options(info), send, WriteMethod.WHOLE
            )
            md5: bytes = info.md5 if check.is_claimed and info.md5 else (yield BlockingCall(check.of_source.require))
            if not (check.is_contradicted or check.learns(answer, md5)):
                raise check.damaged(job, answer, md5)
        except UploadDamaged:
            raise
        except (CorruptObject, ObjectRejected) as refused:
            doubtful = check.doubtful(refused)
            if doubtful is None:
                raise
            raise doubtful from refused
        finally:
            source.close()
            check.close()  # after what it has learned: others may wait for that
        if check.is_claimed:
            yield WaitFor(lambda: self.trust.is_settled, stop)
            if not self.trust.believes:
                raise check.damaged(job, answer, md5)
        return job.done(source_key, info.size, md5, answer.etag, believed=check.is_claimed)

    def _cut(self, job: Job, source_key: str, info: ObjectInfo) -> Steps[Cut | None]:
        """How to cut an object into parts that are streamed; None: no part can be, so they are held in memory."""
        if not (self._can_stream_parts and self._large.streams):
            return None
        size: int | None = None
        if self._large.cuts_as_source and self._options.digest is not DigestMode.ALWAYS:
            size = yield from source_part_size(job.source, source_key, info, self._large)
        return Cut(size or self._large.least_part_size_for(info.size), proves=size is not None)

    def _deliver_in_parts(self, job: Job, source_key: str, fetched: FetchedObject, cut: Cut | None) -> Steps[Outcome]:
        info = fetched.info
        _set_aside(job, fetched)  # the parts ask for memory of their own
        tried_before = job.tried_before or self.uploads.of(job.key) is not None
        large = LargeObject(
            job.source, source_key, info, job.destination, job.key, self._large, tried_before=tried_before
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


def _set_aside(job: Job, fetched: FetchedObject) -> None:
    """Hold nothing of an object that waits for its turn or its parts: what others need may be just that."""
    if fetched.body is not None:
        fetched.body.close()
    job.memory.release()


@dataclass(slots=True)
class _Tries:
    """The attempts at one delivery that were in vain."""

    failed: ObjectError | None = None  # the last one that cast doubt on the bytes
    restarts: int = 0
    interruptions: int = 0

    def go_on(self, job: Job, error: ObjectError) -> Steps[None]:
        """Get ready for another attempt. Raises: the failure, if there have been enough."""
        failure = error.failure if isinstance(error, BodyInterrupted) else error
        if isinstance(failure, (ObjectChanged, SourceDamaged, UploadDamaged)):
            self.failed = failure
            self.restarts += 1
            if self.restarts == _RESTARTS_AT_MOST:
                raise failure
        else:
            self.interruptions += 1
            if not failure.transient or self.interruptions == job.source.store_session.policy.max_attempts:
                raise failure
            job.source.note(failure)
            yield BlockingCall(partial(job.source.pause, self.interruptions - 1))
        job.restart()
