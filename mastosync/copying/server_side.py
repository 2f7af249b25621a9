"""Copying within one store: where source and destination share endpoint and account, no bytes come through here.

Whether a store does that is found out: what it refuses goes the ordinary way, and if that succeeds
it is asked no more. So a run loses a few requests at most. What has been copied is held against its
source as far as the store tells: by MD5, or, where an ETag is none, by size; the copy is pinned to
the ETag that was seen.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from mastosync.errors import (
    CorruptObject,
    MastosyncError,
    ObjectChanged,
    ObjectError,
    ObjectTooLarge,
    PrivacyLost,
    StoreUnusable,
    Throttled,
)
from mastosync.model import ObjectInfo
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.steps import Step, Steps, StoreCall
from mastosync.store.base import PutOptions

_log = logging.getLogger(__name__)

LARGEST_COPY = 5 * 1024**3  # bytes that S3 copies in one request
_ATTEMPTS = 3  # at an object that keeps changing
_REFUSALS_AT_MOST = 3

Written: TypeAlias = Callable[[ObjectInfo, Callable[[PutOptions], Step]], Steps[str]]
"""The ETag that a step gives which stores what `ObjectInfo` describes, with the headers and ACL due to it."""


@dataclass(frozen=True, slots=True)
class Within:
    """One object to be copied."""

    source: RetryingStore
    source_key: str
    destination: RetryingStore
    key: str
    written: Written


@dataclass(frozen=True, slots=True)
class Copied:
    """An object that has arrived."""

    size: int  # bytes
    md5: bytes | None  # as far as the store told it
    etag: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The store did not copy: the ordinary way is left."""

    error: MastosyncError

    @property
    def lasting(self) -> bool:
        """Whether the store has said no, and not merely failed."""
        return not (isinstance(self.error, ObjectError) and self.error.transient)


class ServerSide:
    """Copies within the store for as long as that works. Shared by all workers: what one finds out holds for all."""

    def __init__(self, source_bucket: str | None) -> None:
        """`source_bucket`: as the destination's store knows it; None: every byte travels through here."""
        self._source_bucket = source_bucket
        self._refusals = 0
        self._learning = threading.Lock()

    @property
    def on(self) -> bool:
        """Whether to try."""
        return self._source_bucket is not None

    def copied(self, one: Within) -> Steps[Copied | Refusal | None]:
        """Copy an object within the store. None: that was not tried.

        Raises: ObjectMissing if nothing lies under the source's key, and what else describing it
        raises; Throttled; PrivateKeptBack; PrivacyLost.
        """
        source_bucket = self._source_bucket  # others may find out meanwhile that it is in vain
        if source_bucket is None:
            return None
        for _ in range(_ATTEMPTS):
            info: ObjectInfo = yield StoreCall(one.source, "head", (one.source_key,))
            if info.size > LARGEST_COPY:
                return None
            try:
                return (yield from copied_once(one, info, source_bucket))
            except (Throttled, PrivacyLost):
                raise
            except (ObjectChanged, CorruptObject) as error:
                refusal = Refusal(error)
                one.source.retries += 1
            except ObjectTooLarge:
                return None
            except (ObjectError, StoreUnusable) as error:
                refusal = Refusal(error)
                break
        if refusal.lasting:
            self._count(refusal, 1)
        return refusal

    def did_without(self, refusal: Refusal) -> None:
        """The same object has arrived the ordinary way."""
        self._count(refusal, _REFUSALS_AT_MOST if refusal.lasting else 1)

    def _count(self, refusal: Refusal, weight: int) -> None:
        with self._learning:
            self._refusals += weight
            if self._source_bucket is None or self._refusals < _REFUSALS_AT_MOST:
                return
            self._source_bucket = None
        _log.warning(
            "the store does not copy by itself: from now on objects are read and written here (%s)",
            refusal.error.message,
        )


def copied_once(one: Within, info: ObjectInfo, source_bucket: str) -> Steps[Copied]:
    """The copy, as good as its source. Raises: CorruptObject if it is not; what `written` raises."""
    etag: str = yield from one.written(
        info,
        lambda options: StoreCall(
            one.destination, "copy_from", (source_bucket, one.source_key, info, one.key, options)
        ),
    )
    if info.md5 is not None and etag.lower() == info.md5.hex():
        return Copied(info.size, info.md5, etag)
    there: ObjectInfo = yield StoreCall(one.destination, "head", (one.key,))
    if there.size != info.size or (info.md5 and there.md5 and info.md5 != there.md5):
        raise CorruptObject(
            f"the store copied {one.source_key!r} to {one.key!r} at {one.destination.name}, and the two differ: "
            f"{info.size} bytes with the ETag {info.etag} became {there.size} with {there.etag}",
            hint="set `server_side = never` in [copy]",
        )
    return Copied(there.size, info.md5 or there.md5, there.etag)
