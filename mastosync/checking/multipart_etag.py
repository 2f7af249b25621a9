"""Checking an object that was uploaded in parts against its ETag.

Such an ETag is no MD5 of the object: it is the MD5 of the parts' MD5s, a dash, and the number of
parts. Nobody says how large the parts were, but uploaders have habits: with the number of parts
and the size of the object, few of them remain, and each can be tried as the bytes pass by.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from mastosync.store.base import Buffer

_COMPOSITE = re.compile(r"([0-9a-f]{32})-(\d{1,5})\Z", re.IGNORECASE)
_MIB = 1024 * 1024
_MEGABYTE = 1_000_000

# 5 MiB is Mastodon's own uploader and rclone, 8 boto and the AWS CLI, 15 Paperclip, 16 mc, 50 s5cmd
_USUAL_SIZES = tuple(
    unit * number for unit in (_MIB, _MEGABYTE) for number in (5, 6, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256)
)


def is_composite(etag: str) -> bool:
    """Whether an ETag is one of an object that was uploaded in parts."""
    return _COMPOSITE.match(etag) is not None


def composite_etag(md5s: Iterable[bytes]) -> str:
    """The ETag of an object that is put together of parts with these MD5s."""
    parts = list(md5s)
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


class CompositeCheck:
    """Takes an object's bytes in order, in pieces of any size, and tells whether they fit its ETag."""

    def __init__(self, etag: str, size: int) -> None:
        found = _COMPOSITE.match(etag)
        self.applies = found is not None  # False: the ETag is of another kind, and tells nothing
        self._wanted = found[1].lower() if found else ""
        sizes = _possible_sizes(size, int(found[2])) if found else []
        self._guesses = [_Guess(part_size) for part_size in sizes]

    def update(self, data: Buffer) -> None:
        """Take in the next bytes."""
        for guess in self._guesses:
            guess.update(data)

    def fits(self) -> bool:
        """Whether the bytes are those that the ETag was made of.

        False may also mean that they came in parts of an unusual size.
        """
        return any(guess.digest() == self._wanted for guess in self._guesses)


class _Guess:
    """The composite MD5 for one size of parts."""

    def __init__(self, part_size: int) -> None:
        self._part_size = part_size
        self._room = part_size  # bytes until the part that is open is full
        self._part = hashlib.md5(usedforsecurity=False)
        self._parts = hashlib.md5(usedforsecurity=False)
        self._closed = 0

    def update(self, data: Buffer) -> None:
        view = memoryview(data)
        while view:
            piece, view = view[: self._room], view[self._room :]
            self._part.update(piece)
            self._room -= len(piece)
            if not self._room:
                self._close_part()

    def digest(self) -> str:
        if self._room < self._part_size or not self._closed:  # an empty object has one empty part
            self._close_part()
        return self._parts.hexdigest()

    def _close_part(self) -> None:
        self._parts.update(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._room = self._part_size
        self._closed += 1


def _possible_sizes(size: int, parts: int) -> list[int]:
    """Sizes of parts that make this number of them; a single part is as large as the object."""
    if parts == 1:
        return [max(size, 1)]
    return [usual for usual in _USUAL_SIZES if -(-size // usual) == parts]
