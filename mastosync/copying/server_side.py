"""Copies that a store makes by itself, where source and destination share endpoint and account.

No bytes come through this machine. Whether the store can do that is found out by asking: an object that it refuses is
read and written here, and if that succeeds, the store is asked no more. So a run loses a few requests at most. A copy
is pinned to the ETag that was seen, and compared with its source by MD5, or by size if an ETag is no MD5.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from mastosync.checking.privacy_proof import WriteMethod
from mastosync.copying.acl import AclRule
from mastosync.copying.job import Job
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
from mastosync.manifest import write_started
from mastosync.model import ObjectInfo
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.steps import Steps, StoreCall
from mastosync.store.base import PutOptions

_log = logging.getLogger(__name__)

LARGEST_COPY = 5 * 1024**3  # bytes that S3 copies in one request
_ATTEMPTS = 3  # at an object that keeps changing
_REFUSALS_AT_MOST = 3


@dataclass(frozen=True, slots=True)
class CopiedObject:
    """What a store has made of an object that it copied by itself."""

    size: int  # bytes
    md5: bytes | None  # as far as the store told it
    etag: str


@dataclass(frozen=True, slots=True)
class CopyRefusal:
    """The store did not copy: the object has to be read and written here."""

    error: MastosyncError

    @property
    def lasting(self) -> bool:
        """Whether the store has said no, and not merely failed."""
        return not (isinstance(self.error, ObjectError) and self.error.transient)


class ServerSide:
    """Copies within the store for as long as that works. Shared by all workers: a refusal counts for all."""

    def __init__(
        self, source_bucket: str | None, acl: AclRule, put_options: Callable[[ObjectInfo], PutOptions]
    ) -> None:
        """`source_bucket`: as the destination's store knows it; None: every byte travels through here."""
        self._source_bucket = source_bucket
        self._acl = acl
        self._put_options = put_options  # for an object with this description
        self._refusals = 0
        self._learning = threading.Lock()

    @property
    def on(self) -> bool:
        """Whether to try."""
        return self._source_bucket is not None

    def copy(self, job: Job, source_key: str) -> Steps[CopiedObject | CopyRefusal | None]:
        """Copy an object within the store. Returns: None if that was not tried.

        Raises: ObjectMissing if the source has nothing under its key; what else `head` raises; Throttled;
        PrivateKeptBack; PrivacyLost.
        """
        bucket = self._source_bucket  # another worker may set it to None meanwhile
        if bucket is None:
            return None
        for _ in range(_ATTEMPTS):
            info: ObjectInfo = yield StoreCall(job.source, "head", (source_key,))
            if info.size > LARGEST_COPY:
                return None

            def send(options: PutOptions, info: ObjectInfo = info) -> Steps[str]:
                return job.send(StoreCall(job.destination, "copy_from", (bucket, source_key, info, job.key, options)))

            before = job.presence
            try:
                etag = yield from self._acl.write(job.entry, self._put_options(info), send, WriteMethod.COPIED)
                job.presence = write_started(before, private=job.entry.private)
                return (yield from check_copy(job.destination, job.key, source_key, info, etag))
            except (Throttled, PrivacyLost):
                raise
            except (ObjectChanged, CorruptObject) as error:
                refusal = CopyRefusal(error)
                job.restart()
            except ObjectTooLarge:
                return None
            except (ObjectError, StoreUnusable) as error:
                refusal = CopyRefusal(error)
                break
        if refusal.lasting:
            self._count(refusal, 1)
        return refusal

    def did_without(self, refusal: CopyRefusal) -> None:
        """Count that an object which the store did not copy was read and written here."""
        self._count(refusal, _REFUSALS_AT_MOST if refusal.lasting else 1)

    def _count(self, refusal: CopyRefusal, weight: int) -> None:
        with self._learning:
            self._refusals += weight
            if self._source_bucket is None or self._refusals < _REFUSALS_AT_MOST:
                return
            self._source_bucket = None
        _log.warning(
            "the store does not copy by itself: from now on objects are read and written here (%s)",
            refusal.error.message,
        )


def check_copy(store: RetryingStore, key: str, source_key: str, info: ObjectInfo, etag: str) -> Steps[CopiedObject]:
    """Compare the copy under `key` with the source's `info`, and describe it. Raises: CorruptObject if they differ."""
    if info.md5 is not None and etag.lower() == info.md5.hex():
        return CopiedObject(info.size, info.md5, etag)
    there: ObjectInfo = yield StoreCall(store, "head", (key,))
    if there.size != info.size or (info.md5 and there.md5 and info.md5 != there.md5):
        raise CorruptObject(
            f"the store copied {source_key!r} to {key!r} at {store.name}, and the two differ: "
            f"{info.size} bytes with the ETag {info.etag} became {there.size} with {there.etag}",
            hint="set `server_side = never` in [copy]",
        )
    return CopiedObject(there.size, info.md5 or there.md5, there.etag)
