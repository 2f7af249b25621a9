"""What some stores can do beside the contract that all have: see `base`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol, TypeGuard, runtime_checkable

from mastosync.errors import Interrupted, MastosyncError
from mastosync.language import tr
from mastosync.model import ObjectInfo
from mastosync.store.base import Buffer, DigestUse, FetchedObject, ObjectStore, OpenBody, PutOptions

STREAM_BYTES = 1024 * 1024
"""Of one body that is streamed, in memory at once."""


_LOOK_SECONDS = 0.1  # how long a wish to stop may wait

STREAMING = frozenset({"write_stream", "stream_part"})
"""Methods whose second argument is a `StreamedObject`."""


class Digesting(Protocol):
    """Takes in the bytes of an object in their order."""

    def update(self, data: Buffer) -> None:
        """Take in the next bytes."""
        ...

    def require_plausible(self) -> None:
        """All bytes have come, and the last ones are not sent on yet. Raises: ObjectError if they are wrong."""
        ...


class StreamedDigest(NamedTuple):
    """What is done about the MD5 of an object that is streamed."""

    sent: bytes | None  # what its source claims, to go along; None: none does
    digest: Digesting | None  # looks at the bytes as they pass; None: nothing does
    is_contradicted: bool = False  # what is sent is wrong: see `DigestUse`


@dataclass(slots=True)
class StreamedObject:
    """The bytes of exactly the object that `info` describes, for one request that sends them on as they come."""

    store: ObjectStore
    key: str
    info: ObjectInfo
    begin: Callable[[], StreamedDigest]  # asked when an attempt begins
    is_stopped: Callable[[], bool]  # asked again and again: whether to break off
    reserve: Callable[[], float]  # before the bytes are asked for: 0.0, or seconds after which to reserve again
    body: OpenBody | None = None  # which has begun to give the bytes; None: it has to be asked for
    start: int = 0
    length: int | None = None  # bytes from there; None: all

    def __len__(self) -> int:
        """Bytes."""
        return self.info.size if self.length is None else self.length

    def wait_to_ask(self) -> None:
        """Wait in this thread until the bytes may be asked for. Raises: Interrupted."""
        while seconds := self.reserve():
            if self.is_stopped():
                raise Interrupted(tr("stopped while waiting"))
            time.sleep(min(seconds, _LOOK_SECONDS))

    def close(self) -> None:
        """Break off a body that has begun. The next attempt asks for another one."""
        if self.body is not None:
            self.body.close()
            self.body = None


class StreamAnswer(NamedTuple):
    """What the store has made of an object that was streamed."""

    etag: str  # without quotes; empty: it has refused the wrong MD5
    etag_is_md5: bool  # by its form, and by the headers beside it


@runtime_checkable
class StreamingStore(Protocol):
    """A store that can send on an object of another such store without holding it in memory."""

    def streams(self, key: str) -> bool:
        """Whether it can do so for this key."""
        ...

    def write_stream(self, key: str, source: StreamedObject, options: PutOptions) -> StreamAnswer:
        """Store an object whole.

        The caller compares the ETag. Raises: BodyInterrupted if the source has not given all of it; CorruptObject if
        the store has refused the digest; AclUnsupported; ObjectError, StoreUnusable.
        """
        ...


class FirstPart(NamedTuple):
    """What a store tells of the first part of an object that was uploaded in parts."""

    size: int  # bytes; of the whole object, where the store does not know what was asked
    parts: int | None  # how many there are; None: it does not tell


class ArrivedPart(NamedTuple):
    """A part of an upload that is not complete."""

    number: int  # from 1
    size: int  # bytes
    etag: str  # without quotes


@runtime_checkable
class PartStreamingStore(StreamingStore, Protocol):
    """A store that can do the same with the parts of an upload."""

    def stream_part(self, key: str, source: StreamedObject, upload_id: str, number: int) -> StreamAnswer:
        """Store part `number` (from 1) of an upload; repeating it replaces it.

        The caller compares the ETag. Raises: BodyInterrupted if the source has not given all of it; CorruptObject if
        the store has refused the digest; ObjectChanged if the upload is unknown by now; ObjectError, StoreUnusable.
        """
        ...

    def first_part(self, key: str) -> FirstPart:
        """Ask how an object was uploaded. Raises: ObjectError, StoreUnusable."""
        ...

    def arrived_parts(self, key: str, upload_id: str) -> list[ArrivedPart]:
        """The parts that have arrived. Raises: ObjectChanged if the upload is unknown; ObjectError, StoreUnusable."""
        ...


@runtime_checkable
class CachingStore(Protocol):
    """A store whose objects the system may have at hand, as it has the files of a disk that were read before."""

    def read_cached(
        self, key: str, max_bytes: int, room: Callable[[int], bool], digest: DigestUse = DigestUse.COMPUTED
    ) -> FetchedObject | None:
        """What `read` gives, if that keeps nobody waiting; None: it might, or it fails, as `read` will tell.

        Before bytes are taken in, `room` is asked with their number.
        """
        ...


@runtime_checkable
class BulkDeletingStore(Protocol):
    """A store that may delete many objects in one request."""

    def delete_objects(self, keys: Sequence[str]) -> frozenset[str]:
        """Remove objects of a destination, a thousand at most, and return the keys that the store has confirmed.

        The others may be there or not: `delete` says what is wrong with each.
        Raises: as `delete`, for all of them, and where the store has no such request.
        """
        ...


class NewObject(NamedTuple):
    """The arguments of `write`."""

    key: str
    data: bytes
    md5: bytes
    options: PutOptions
    digest: DigestUse = DigestUse.COMPUTED


class BatchLimits(NamedTuple):
    """How a store takes small objects best."""

    objects: int  # in one batch, at most; 1: each by itself
    at_once: int | None  # batches; None: as many as there are threads


@runtime_checkable
class BatchingStore(Protocol):
    """A store that takes several small objects for less than one by one, as a disk flushes many files at once."""

    def batch_limits(self) -> BatchLimits:
        """As they are now: a store may turn out to be slow."""
        ...

    def write_batch(self, objects: Sequence[NewObject]) -> list[str | MastosyncError]:
        """`write` for each of them.

        Returns: in their order what `write` returns, or the error that it raises.
        """
        ...


def is_streaming(store: ObjectStore) -> TypeGuard[StreamingStore]:
    """Whether a store streams. To ask its protocol each time would take longer than the rest of a step."""
    return _is_able(type(store), StreamingStore)


def is_streaming_parts(store: ObjectStore) -> TypeGuard[PartStreamingStore]:
    """Whether it streams parts of uploads as well."""
    return _is_able(type(store), PartStreamingStore)


def is_caching(store: ObjectStore) -> TypeGuard[CachingStore]:
    """Whether a store may have objects at hand."""
    return _is_able(type(store), CachingStore)


def is_batching(store: ObjectStore) -> TypeGuard[BatchingStore]:
    """Whether a store takes several objects at once."""
    return _is_able(type(store), BatchingStore)


@cache
def _is_able(kind: type, ability: type) -> bool:
    return issubclass(kind, ability)
