"""Large objects: ranges of the source, pinned to one ETag, feed the parts of an upload."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass

from mastosync.engine.retry import PatientStore
from mastosync.engine.source_check import SourceCheck
from mastosync.errors import MastosyncError
from mastosync.model import ObjectInfo

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LargeObject:
    """A large object on its way."""

    source: PatientStore
    source_key: str
    info: ObjectInfo
    destination: PatientStore
    key: str
    part_size: int  # bytes, wanted; grows where there would be too many parts
    parts_at_most: int

    def deliver(self, upload: str) -> tuple[bytes, str]:
        """Fill an upload that has begun and complete it; after any error nothing of it is left.

        Returns: MD5 of the whole, and the ETag at the destination. Raises: ObjectError, StoreUnusable, Interrupted.
        """
        size = part_size_for(self.info.size, self.part_size, self.parts_at_most)
        check = SourceCheck(self.source, self.source_key, self.info)
        parts = []
        try:
            for number, start in enumerate(range(0, self.info.size, size), 1):
                data = self.source.read_range(self.source_key, self.info, start, min(size, self.info.size - start))
                check.update(data)
                digest = hashlib.md5(data, usedforsecurity=False).digest()
                parts.append(self.destination.write_part(self.key, upload, number, data, digest))
            md5 = check.require(size)
            etag = self.destination.complete_multipart(self.key, upload, parts)
        except BaseException:
            self._discard(upload)
            raise
        if self.destination.retries:
            self._discard()
        return md5, etag

    def _discard(self, upload: str | None = None) -> None:
        """Throw parts away, which cost money until then. Whatever led here counts more than a failure to.

        A repeated request may have begun an upload whose answer was lost, so then all are looked for.
        """
        with suppress(MastosyncError):
            if upload is not None:
                self.destination.abort_multipart(self.key, upload)
        with suppress(MastosyncError):
            if self.destination.retries:
                self.destination.abort_unfinished(self.key)


def part_size_for(size_bytes: int, wanted_bytes: int, parts_at_most: int = 10_000) -> int:
    """The size of each part but the last: as wanted, or what so many parts need, in whole MiB."""
    needed = -(-size_bytes // parts_at_most)
    return max(wanted_bytes, -(-needed // MIB) * MIB)
