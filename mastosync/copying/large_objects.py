"""Large objects: ranges of the source, pinned to one ETag, feed the parts of an upload.

Several parts of one object move at once, each in a thread that reads it, then writes it. The object's own thread
reserves memory for them in their order, and adds them to the MD5 of the whole in that order. So the earliest part
always has its memory, can go on, and gives its memory back: no object waits for ever.

`SourceCheck` compares what was read with what the source says of the object, whatever kind of ETag it has.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Self, TypeAlias

from mastosync.checking.object_check import CompositeCheck, composite_etag, is_composite
from mastosync.copying.job import STORES_NOTHING
from mastosync.copying.kept_uploads import KeptUploads
from mastosync.errors import (
    AclUnsupported,
    CorruptObject,
    Interrupted,
    MastosyncError,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ObjectTooLarge,
    StoreUnusable,
)
from mastosync.language import say, tr
from mastosync.model import ObjectInfo
from mastosync.runtime.memory import MemoryBudget, Reservation
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.steps import BlockingCall, Steps
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import DAMAGED_AT_SOURCE, Buffer, ObjectStore, PutOptions, UploadedPart

if TYPE_CHECKING:
    from mastosync.copying.streamed_parts import StreamedParts

_log = logging.getLogger(__name__)

MIB = 1024 * 1024
PARTS_AT_ONCE = 4  # of one object: enough to fill a line on which every answer takes a while
_LOOK_SECONDS = 0.1  # memory may be had before the earliest part has arrived


class SourceDamaged(CorruptObject):
    """The bytes that were read are not those of the object: only reading all of them again can help."""


class UploadDamaged(CorruptObject):
    """The object that the store made of the parts is not what was sent: only another upload can help."""


@dataclass(slots=True)
class LargeObjects:
    """What all large objects of a run share."""

    memory: MemoryBudget
    threads: Executor  # where parts move; as many as it has are on their way at once
    part_size: int  # bytes, wanted
    parts_at_most: int  # that the destination takes for one object
    least_part_size: int = 5 * MIB  # that it takes, but for the last
    uploads: KeptUploads = field(default_factory=KeptUploads)
    streams: bool = True  # whether the destination proves parts that it was sent without their MD5s
    source_tells_parts: bool = True  # of which size they were
    cuts_as_source: bool = True  # whether the ETags of the source, where they are made of parts, prove something
    etags_fit: bool | None = None  # whether the destination makes its ETags of the parts' MD5s; None: not seen yet

    def part_size_for(self, size_bytes: int, key: str, store: str) -> int:
        """The size of each part but the last, as it is held in memory.

        `key` and `store` name the object that is to be. Raises: ObjectTooLarge if not even one part fits into memory.
        """
        size = self.least_part_size_for(size_bytes)
        if size > self.memory.total_bytes:
            raise ObjectTooLarge(
                f"cannot write {key!r} at {store}: {size_bytes} bytes in {self.parts_at_most} parts, the most that can "
                f"be, take {size // MIB} MiB of memory a part, and there are {self.memory.total_bytes // MIB}",
                hint=f"set `memory` of [copy] to {size // MIB}MiB or more, "
                "then run `mastosync retry-failed --reason too_large`",
                store=store,
            )
        return size

    def least_part_size_for(self, size_bytes: int) -> int:
        """The size of each part but the last: as wanted, or more, in whole MiB, where there would be too many."""
        needed = -(-size_bytes // self.parts_at_most)
        return max(self.part_size, -(-needed // MIB) * MIB)


@dataclass(slots=True)
class LargeObject:
    """A large object on its way."""

    source: RetryingStore
    source_key: str
    info: ObjectInfo
    destination: RetryingStore
    key: str
    shared: LargeObjects
    tried_before: bool = False  # in an earlier run, which may have left an upload behind
    may_lie_there: bool = False  # the store was asked to make an object of the parts, and has not refused
    left_open: bool = False  # parts may lie there that could not be thrown away
    streamed: StreamedParts | None = None  # how its parts go without being held in memory; None: they are held

    def begin(self, options: PutOptions) -> str:
        """Begin an upload and return its id. Raises: AclUnsupported; ObjectError, StoreUnusable, Interrupted."""
        if self.streamed is None:
            self._part_size()
        elif (kept := self.streamed.take_up(options)) is not None:
            return kept
        try:
            upload = self.destination.start_multipart(self.key, options)
        except AclUnsupported:
            raise
        except MastosyncError:
            self._discard_all()  # one may have begun whose answer was lost
            raise
        if self.streamed is not None:
            self.streamed.note(upload, options)
        return upload

    def deliver(self, upload: str) -> Steps[tuple[bytes | None, str]]:
        """Fill an upload that has begun and complete it; after any error nothing of it is left.

        Returns: MD5 of the whole, if it was hashed, and the ETag at the destination.
        Raises: ObjectError, StoreUnusable, Interrupted.
        """
        move: Callable[[], _Parts] = partial(self._move_parts, upload)
        if self.streamed is not None:
            moved = _Moved()
            try:
                moved.parts = yield from self.streamed.move(upload)
            except MastosyncError as error:
                moved.error = error
            move = moved.result
        delivered: tuple[bytes | None, str] = yield BlockingCall(partial(self._finish, upload, move), large=True)
        return delivered

    def _finish(self, upload: str, move: Callable[[], _Parts]) -> tuple[bytes | None, str]:
        """`move` gives the parts, or raises what has kept them from moving."""
        try:
            md5, parts = move()
            etag = self._complete(upload, parts)
            self._require_whole(etag, parts, md5)
        except BaseException:
            self.discard(upload)
            raise
        finally:
            if self.tried_before or self.destination.retries:
                self._discard_all()  # a repeated request may have begun an upload whose answer was lost
            if not self.left_open:
                self.shared.uploads.ended(self.key)
        return md5, etag

    def _complete(self, upload: str, parts: list[UploadedPart]) -> str:
        retries, self.may_lie_there = self.destination.retries, True
        try:
            return self.destination.complete_multipart(self.key, upload, parts)
        except STORES_NOTHING as refused:
            self.may_lie_there = self.destination.retries > retries  # an earlier attempt may have arrived
            if self.streamed is None or not isinstance(refused, ObjectRejected):
                raise
            self.shared.streams = False  # it may want other sizes, or the MD5 of each part
            raise UploadDamaged(refused.message, hint=refused.hint, store=refused.store) from refused

    def _move_parts(self, upload: str) -> _Parts:
        """Copy all parts. Returns: MD5 of the whole, once it has proved to be the source's, and the parts."""
        size = self._part_size()
        check = SourceCheck(self.source, self.source_key, self.info)
        parts: list[UploadedPart] = []

        def take_in(part: UploadedPart, data: Buffer) -> None:
            check.update(data)
            parts.append(part)

        with _MovingParts(self.shared, self.destination.store_session.stop, take_in) as moving:
            for number, start in enumerate(range(0, self.info.size, size), 1):
                length = min(size, self.info.size - start)
                moving.begin(length, partial(self._move_part, upload, number, start, length))
            moving.take_in_all()
        return check.require(), parts

    def _move_part(self, upload: str, number: int, start: int, length: int) -> tuple[UploadedPart, Buffer]:
        data = self.source.read_range(self.source_key, self.info, start, length)
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        return self.destination.write_part(self.key, upload, number, data, digest), data

    def _part_size(self) -> int:
        return self.shared.part_size_for(self.info.size, self.key, self.destination.name)

    def _require_whole(self, etag: str, parts: list[UploadedPart], md5: bytes | None) -> None:
        """Compare the ETag of what was put together with the parts, where it has that form.

        Some stores make such ETags of something else. So when the first one does not fit, the object is read back; if
        its bytes are right, ETags of this store prove nothing. Where nothing was hashed, the ETag has to fit.
        Raises: UploadDamaged, ObjectError.
        """
        if md5 is not None and (not is_composite(etag) or self.shared.etags_fit is False):
            return
        made_of_parts = composite_etag([part.md5 for part in parts])
        if etag.lower() == made_of_parts:
            self.shared.etags_fit = True
            return
        if md5 is None:
            self.shared.cuts_as_source = False
        if (
            md5 is None
            or self.shared.etags_fit
            or self.destination.digest(self.key, ObjectInfo(self.info.size, etag)) != md5
        ):
            raise UploadDamaged(
                f"cannot write {self.key!r} at {self.destination.name}: its parts make the ETag {made_of_parts}, "
                f"the store has put together {etag}",
                hint="the store may be damaged: ask its provider if it stays",
                store=self.destination.name,
            )
        self.shared.etags_fit = False
        _log.info("%s makes its ETags in its own way: they cannot be compared", self.destination.name)

    def discard(self, upload: str) -> None:
        """Throw parts away, which cost money until then. A failure to do so is only logged."""
        try:
            try:
                self.destination.abort_multipart(self.key, upload)
            except Interrupted:  # while it waited for its turn, which this one request does not
                self.destination.store_session.store.abort_multipart(self.key, upload)
        except ObjectMissing:  # of an upload that is none any more
            pass
        except MastosyncError:
            self.left_open = True

    def _discard_all(self) -> None:
        """Throw away uploads that may have begun without an answer. Raises: Interrupted; then the next run does it."""
        try:
            found = self.destination.abort_unfinished(self.key)
        except (ObjectError, StoreUnusable):
            self.left_open = True
        else:
            self.left_open = self.left_open and not found  # a store that lists nothing may not be allowed to


_Parts: TypeAlias = tuple[bytes | None, list[UploadedPart]]
"""MD5 of the whole, if it was hashed, and the parts."""


@dataclass(slots=True)
class _Moved:
    """What has become of parts that have moved already."""

    parts: _Parts = (None, [])
    error: MastosyncError | None = None

    def result(self) -> _Parts:
        """The parts. Raises: the error."""
        if self.error is not None:
            raise self.error
        return self.parts


class _MovingParts:
    """Parts that are moving, the earliest first. All have ended when the block ends, however it does."""

    def __init__(self, shared: LargeObjects, stop: StopSignal, take_in: Callable[[UploadedPart, Buffer], None]) -> None:
        """`take_in`: called in this thread for each part in turn; when it returns, its memory is given back."""
        self._shared = shared
        self._stop = stop
        self._take_in = take_in
        self._line: deque[tuple[Future[tuple[UploadedPart, Buffer]], Reservation]] = deque()

    def begin(self, size_bytes: int, move: Callable[[], tuple[UploadedPart, Buffer]]) -> None:
        """Let a part begin as soon as there is memory for it. Raises: Interrupted; what an earlier part raises."""
        if len(self._line) == PARTS_AT_ONCE:
            self._take_in_earliest()
        reservation = self._shared.memory.reserve()
        try:
            while not reservation.request(size_bytes) and self._line:
                earliest, _ = self._line[0]
                wait((earliest,), _LOOK_SECONDS)
                if earliest.done():
                    self._take_in_earliest()
            reservation.wait(size_bytes, self._stop)
            self._line.append((self._shared.threads.submit(move), reservation))
        except BaseException:
            reservation.release()
            raise

    def take_in_all(self) -> None:
        """Wait for all that have begun. Raises: what a part raises."""
        while self._line:
            self._take_in_earliest()

    def _take_in_earliest(self) -> None:
        future, reservation = self._line.popleft()
        try:
            self._take_in(*future.result())
        except CancelledError:  # the threads have been let go: the run is over
            raise Interrupted(tr("stopped while waiting")) from None
        finally:
            del future  # and with it the bytes
            reservation.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # only for those that have begun: `wait` takes others for ended when a thread comes to them, and none may come
        wait([future for future, _reservation in self._line if not future.cancel()])
        for _future, reservation in self._line:
            reservation.release()
        self._line.clear()


class SourceCheck:
    """Takes in an object's bytes in order, and decides at the end whether they are the object's."""

    def __init__(self, store: ObjectStore, key: str, info: ObjectInfo) -> None:
        self._store = store
        self._key = key
        self._info = info
        self._whole = hashlib.md5(usedforsecurity=False)
        # what comes encrypted is guarded on its way
        is_guarded = info.etag_is_md5 or store.endpoint.startswith("https:")
        self._composite = CompositeCheck("" if is_guarded else info.etag, info.size)

    def anew(self) -> SourceCheck:
        """One that has taken in nothing yet."""
        return SourceCheck(self._store, self._key, self._info)

    def copied(self) -> SourceCheck:
        """One that has taken in the same, and goes on by itself."""
        copied = copy.copy(self)
        copied._whole, copied._composite = self._whole.copy(), self._composite.copied()
        return copied

    def update(self, data: Buffer) -> None:
        """Take in the next bytes."""
        self._whole.update(data)
        self._composite.update(data)

    def require_whole(self, data: Buffer) -> None:
        """Take in an object that came in one piece, and decide. Raises: as `require`."""
        self.update(data)
        self.require()

    def require_plausible(self) -> None:
        """Require that the ETag, where it tells something, fits what was taken in. Raises: SourceDamaged.

        One that was made of parts of an unusual size fits nothing: `require` can tell more.
        """
        if self._info.md5 is not None:
            self.require()
        elif self._composite.applies:
            self._decide(self._composite.fits(), "no usual size of parts makes it of them")

    def require(self) -> bytes:
        """The MD5 of everything that was taken in, once it has proved to be the object's.

        An ETag that is an MD5, or that fits the habits of uploaders, settles it. What came encrypted
        was guarded on its way. The rest is read a second time: damage does not strike twice in the
        same way. Raises: SourceDamaged, ObjectError.
        """
        digest = self._whole.digest()
        if self._info.md5 is not None:
            self._decide(digest == self._info.md5, f"their MD5 is {digest.hex()}")
        elif self._composite.applies and not self._composite.fits():
            self._decide(digest == self._store.digest(self._key, self._info), "a second reading gave others")
        return digest

    def _decide(self, sound: bool, found: str) -> None:
        if not sound:
            raise SourceDamaged(
                f"cannot read {self._key!r} at {self._store.name}: the bytes that came are not those of the object, "
                f"whose ETag is {self._info.etag}: {found}",
                hint=say(DAMAGED_AT_SOURCE),
            )
