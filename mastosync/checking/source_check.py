"""Holding what was read against what the source says of the object, whatever kind of ETag it has."""

from __future__ import annotations

import hashlib

from mastosync.checking.multipart_etag import CompositeCheck
from mastosync.errors import CorruptObject
from mastosync.model import ObjectInfo
from mastosync.store.base import Buffer, ObjectStore


class SourceDamaged(CorruptObject):
    """The bytes that were read are not those of the object: only reading all of them again can help."""


class SourceCheck:
    """Takes in an object's bytes in order, and decides in the end whether they are the object's."""

    def __init__(self, store: ObjectStore, key: str, info: ObjectInfo) -> None:
        self._store = store
        self._key = key
        self._info = info
        self._whole = hashlib.md5(usedforsecurity=False)
        self._composite = CompositeCheck("" if info.etag_is_md5 else info.etag, info.size)

    def update(self, data: Buffer) -> None:
        """Take in the next bytes."""
        self._whole.update(data)
        self._composite.update(data)

    def require_whole(self, data: Buffer) -> None:
        """Take in an object that came in one piece, and decide. Raises: as `require`."""
        self.update(data)
        self.require()

    def require(self) -> bytes:
        """The MD5 of everything that was taken in, once it has proved to be the object's.

        An ETag that is an MD5, or that fits the habits of uploaders, settles it. What came encrypted
        was guarded on its way. The rest is read a second time: damage does not strike twice in the
        same way. Raises: SourceDamaged, ObjectError.
        """
        digest = self._whole.digest()
        if self._info.md5 is not None:
            self._decide(digest == self._info.md5, f"their MD5 is {digest.hex()}")
        elif self._composite.applies and not self._composite.fits() and not self._store.endpoint.startswith("https:"):
            self._decide(digest == self._store.digest(self._key, self._info), "a second reading gave others")
        return digest

    def _decide(self, sound: bool, found: str) -> None:
        if not sound:
            raise SourceDamaged(
                f"cannot read {self._key!r} at {self._store.name}: the bytes that came are not those of the object, "
                f"whose ETag is {self._info.etag}: {found}",
                hint="if every attempt fails, the object is damaged at the source",
            )
