"""Parts of a large object that go from bucket to bucket as they come: a ranged GET feeds an upload of a part.

Where the source's ETag is made of parts, the object is cut as its own upload was. The destination is sent no digest,
so it has nothing but the bytes to make the ETags of the parts of. If these make the source's ETag, every byte has
arrived, and nothing is hashed here. That is known before anything is put together. Otherwise the bytes are hashed as
they pass, in their order: the whole for the source, each part for the destination. Any attempt that proves nothing is
followed by one with the parts in memory: see `large_objects`.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mastosync.checking.object_check import composite_etag, parts_of, possible_sizes
from mastosync.copying.kept_uploads import KeptUpload
from mastosync.copying.large_objects import MIB, SourceCheck, UploadDamaged
from mastosync.errors import (
    BodyInterrupted,
    CorruptObject,
    ObjectDenied,
    ObjectError,
    ObjectRejected,
    StoreUnusable,
    Throttled,
)
from mastosync.model import looks_like_md5
from mastosync.runtime.memory import Reservation
from mastosync.runtime.steps import BlockingCall, Steps, StoreCall, WaitFor
from mastosync.store.abilities import STREAM_BYTES, FirstPart, StreamAnswer, StreamedDigest, StreamedObject
from mastosync.store.base import Buffer, PutOptions, UploadedPart

if TYPE_CHECKING:
    from mastosync.copying.large_objects import LargeObject, LargeObjects
    from mastosync.model import ObjectInfo
    from mastosync.runtime.retry import RetryingStore

_LARGEST_PART = 5 * 1024 * MIB
_MEMORY_BYTES = 3 * STREAM_BYTES  # with what comes at once, and libcurl's own buffers on both sides
_TELLS_NOTHING = (ObjectError, StoreUnusable)  # whatever is wrong is met again where it matters


class NoRanges(UploadDamaged):
    """The source seems to serve no ranges: the object may still go whole."""


class Cut(NamedTuple):
    """How an object is cut into parts."""

    part_size: int  # bytes, of each but the last
    proves: bool  # as the source's own upload was, whose ETag proves the whole


def source_part_size(source: RetryingStore, key: str, info: ObjectInfo, shared: LargeObjects) -> Steps[int | None]:
    """The size of each part but the last that the source's own upload had; None: not known, or not to be had here.

    It has to be a usual one: so that a check that reads the object back can tell whether it is still the same.
    Should the object be replaced meanwhile, its parts are not given. Raises: ObjectError, StoreUnusable, Interrupted.
    """
    number = parts_of(info.etag)
    if number is None or not 1 <= number <= shared.parts_at_most or not info.size:
        return None
    sizes = possible_sizes(info.size, number)
    if number > 1 and shared.source_tells_parts:
        try:
            first: FirstPart = yield StoreCall(source, "first_part", (key,))
            if first.size < info.size and first.parts in (None, number):
                sizes = [size for size in sizes if size == first.size]
        except _TELLS_NOTHING:
            shared.source_tells_parts = False
    fitting = [
        size
        for size in sizes
        if -(-info.size // size) == number and (number == 1 or size >= shared.least_part_size) and size <= _LARGEST_PART
    ]
    return fitting[0] if len(sizes) == len(fitting) == 1 else None


@dataclass(slots=True)
class StreamedParts:
    """The parts of one object on their way."""

    large: LargeObject
    memory: Reservation
    cut: Cut
    _there: dict[int, UploadedPart] = field(default_factory=dict)  # that a dead run has sent, by number

    def take_up(self, options: PutOptions) -> str | None:
        """The id of an upload that a dead run has begun for just this; None: there is none. Raises: Interrupted.

        What has arrived of it is not sent again. Whether it is right, the ETag of the whole decides.
        """
        large = self.large
        kept = large.shared.uploads.of(large.key)
        if kept is None:
            return None
        if kept != self._kept(kept.upload_id, options) or not self.cut.proves:
            large.discard(kept.upload_id)
            return None
        try:
            arrived = large.destination.arrived_parts(large.key, kept.upload_id)
        except (ObjectError, StoreUnusable):  # it is gone, or the store tells no parts
            large.discard(kept.upload_id)
            return None
        for number, size, etag in arrived:
            start = (number - 1) * self.cut.part_size
            if size == self._length(start) and looks_like_md5(etag):
                self._there[number] = UploadedPart(number, f'"{etag}"', bytes.fromhex(etag))
        return kept.upload_id

    def note(self, upload: str, options: PutOptions) -> None:
        """Have an upload noted that has begun, so that the next run can go on with it.

        One that could not be thrown away stays noted in its place: nothing else knows its id.
        """
        if self.cut.proves and not self.large.left_open:
            self.large.shared.uploads.begun(self.large.key, self._kept(upload, options))

    def _kept(self, upload: str, options: PutOptions) -> KeptUpload:
        return KeptUpload.of(upload, self.large.info, self.cut.part_size, options)

    def _length(self, start: int) -> int:
        """Bytes of the part that begins there."""
        return min(self.cut.part_size, self.large.info.size - start)

    def move(self, upload: str) -> Steps[tuple[bytes | None, list[UploadedPart]]]:
        """Copy all parts, and prove them. Returns: MD5 of the whole, if it was hashed, and the parts.

        Raises: UploadDamaged, SourceDamaged, ObjectError, StoreUnusable, Interrupted.
        """
        large, stop = self.large, self.large.destination.store_session.stop
        yield WaitFor(lambda: self.memory.request(_MEMORY_BYTES), stop)
        whole = None if self.cut.proves else SourceCheck(large.source, large.source_key, large.info)
        parts: list[UploadedPart] = []
        for number, start in enumerate(range(0, large.info.size, self.cut.part_size), 1):
            if number in self._there:
                parts.append(self._there[number])
                continue
            hashes = _PartHashes(whole)
            source = StreamedObject(
                large.source.store_session.store,
                large.source_key,
                large.info,
                hashes.begin,
                lambda: stop.requested,
                large.source.store_session.limiter.reserve,
                start=start,
                length=self._length(start),
            )
            answer = yield from self._move_part(upload, number, source)
            parts.append(self._proved(number, answer, hashes))
            whole = hashes.whole
        if whole is not None:
            return (yield BlockingCall(whole.require)), parts
        made_of_parts = composite_etag([part.md5 for part in parts])
        if made_of_parts != large.info.etag.lower():
            if not self._there:  # what a dead run left may be of another object
                large.shared.cuts_as_source = False
            raise self._damaged(f"the parts that came make the ETag {made_of_parts}, the source's is {large.info.etag}")
        return None, parts

    def _move_part(self, upload: str, number: int, source: StreamedObject) -> Steps[StreamAnswer]:
        large, interruptions, throttled_since = self.large, 0, None
        policy = large.source.store_session.policy
        while True:
            try:
                answer: StreamAnswer = yield StoreCall(
                    large.destination, "stream_part", (large.key, source, upload, number)
                )
            except BodyInterrupted as interrupted:
                failure = interrupted.failure
                if isinstance(failure, Throttled):  # which costs time, and no attempts
                    throttled_since = throttled_since or time.monotonic()
                else:
                    interruptions += 1
                if isinstance(failure, ObjectRejected) and self.cut.proves:  # it may serve no ranges, but the whole
                    large.shared.cuts_as_source = False
                    raise NoRanges(failure.message, hint=failure.hint, store=failure.store) from interrupted
                large.source.note(failure, throttled_since)
                is_over = interruptions == policy.max_attempts or time.monotonic() > policy.patience_ends(
                    throttled_since
                )
                if not failure.transient or is_over:
                    raise failure from interrupted
                large.source.retries += 1
                yield BlockingCall(partial(large.source.pause, max(interruptions - 1, 0)))
                yield StoreCall(large.source, "head", (large.source_key,))  # waits for a source that is down
            except (CorruptObject, ObjectDenied, ObjectRejected) as refused:  # it may want the MD5 of each part
                large.shared.streams = False
                raise UploadDamaged(refused.message, hint=refused.hint, store=refused.store) from refused
            else:
                large.source.note(None)
                return answer

    def _proved(self, number: int, answer: StreamAnswer, hashes: _PartHashes) -> UploadedPart:
        """A part with its MD5. Raises: UploadDamaged if its ETag is none, or not that of the bytes that were sent."""
        if not answer.etag_is_md5:
            self.large.shared.streams = False
            raise self._damaged(f"the ETag of part {number} is no MD5: {answer.etag}")
        md5 = bytes.fromhex(answer.etag)
        sent = hashes.part
        if sent is not None and md5 != sent.digest():
            raise self._damaged(
                f"part {number} was sent with the MD5 {sent.hexdigest()}, the store took in {answer.etag}"
            )
        return UploadedPart(number, f'"{answer.etag}"', md5)

    def _damaged(self, why: str) -> UploadDamaged:
        name = self.large.destination.name
        return UploadDamaged(f"cannot write {self.large.key!r} at {name}: {why}", store=name)


class _PartHashes:
    """The MD5 of a part, and of the whole up to its end, as the bytes pass. Each attempt begins anew."""

    def __init__(self, before: SourceCheck | None) -> None:
        """`before`: the whole up to here; None: nothing is hashed."""
        self._before = before
        self.whole = before
        self.part: hashlib._Hash | None = None

    def begin(self) -> StreamedDigest:
        """See `StreamedObject.begin`."""
        if self._before is None:
            return StreamedDigest(None, None)
        self.whole, self.part = self._before.copied(), hashlib.md5(usedforsecurity=False)
        return StreamedDigest(None, self)

    def update(self, data: Buffer) -> None:
        """Take in the next bytes."""
        assert self.whole is not None  # noqa: S101 - it has begun
        assert self.part is not None  # noqa: S101
        self.whole.update(data)
        self.part.update(data)

    def require_plausible(self) -> None:
        """A part tells nothing by itself: the whole is looked at before its parts are put together."""
