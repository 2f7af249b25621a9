"""Uploads in parts: a folder each, whose files are the parts, until they are put together.

A part's name holds its number, size and MD5, so what is put together is what was confirmed, and repeating
anything does no harm. The system puts the files together by itself where it can, and on some disks without
moving a byte. What a dead process leaves is removed with its workshop.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

from mastosync.store.base import Buffer, UploadedPart
from mastosync.store.filesystem.partial_files import PartialFiles, write_all

_PIECE = 1024 * 1024  # bytes, where they have to come through here
_CANNOT = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM})
_UPLOAD = re.compile(r"[0-9a-f]{32}-([0-7]+)-[0-9a-f]{32}")


class Uploads:
    """All that have begun in one workshop."""

    def __init__(self, work: PartialFiles) -> None:
        self._work = work

    def start(self, key: str, mode: int) -> str:
        """Begin one, of a file with this mode. Raises: OSError."""
        upload_id = f"{_beginning(key)}{mode:o}-{uuid4().hex}"
        self._work.new_folder(upload_id)
        return upload_id

    def write_part(self, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:
        """Store a part. Raises: OSError, with ENOENT if the upload is unknown."""
        mode = _mode_of(upload_id)
        with self._work.folder(upload_id) as folder, self._work.new_file(mode, folder) as (name, fd):
            write_all(fd, data)
            os.rename(name, _name_of(number, md5), src_dir_fd=folder, dst_dir_fd=folder)
        return UploadedPart(number, md5.hex(), md5)

    @contextmanager
    def assembled(self, upload_id: str, parts: list[UploadedPart]) -> Iterator[tuple[int, bytes, int]]:
        """All parts in one file: its folder, name and descriptor. When the block ends well, the upload is over.

        Raises: OSError, with ENOENT if the upload or a part is unknown.
        """
        mode = _mode_of(upload_id)
        with self._work.folder(upload_id) as folder, self._work.new_file(mode, folder) as (name, whole):
            for part in parts:
                _append(whole, _name_of(part.number, part.md5), folder)
            yield folder, name, whole
        self._work.remove(upload_id)

    def discard(self, upload_id: str) -> None:
        """Give one up; it may be unknown. Raises: OSError."""
        with suppress(FileNotFoundError):
            _mode_of(upload_id)
            self._work.remove(upload_id)

    def discard_all(self, key: str) -> int:
        """Give up those of this key, and return how many there were. Raises: OSError."""
        found = self._work.folders(_beginning(key))
        for upload_id in found:
            self._work.remove(upload_id)
        return len(found)


def _beginning(key: str) -> str:
    """Of the ids of a key's uploads, and of no other's."""
    return f"{hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()}-"


def _mode_of(upload_id: str) -> int:
    """Raises: FileNotFoundError if there is no such upload."""
    match = _UPLOAD.fullmatch(upload_id)
    if match is None:
        raise FileNotFoundError(errno.ENOENT, "there is no such upload")
    return int(match[1], 8)


def _name_of(number: int, md5: bytes) -> bytes:
    return f"{number:05}-{md5.hex()}".encode()


def _append(whole: int, name: bytes, folder: int) -> None:
    """Put a part's bytes after those that are there. Raises: OSError."""
    part = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(part)
        # the folder may be somebody's who is not root, and may not read what root may
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise FileNotFoundError(errno.ENOENT, "this is not the part that was written")
        left = status.st_size
        while left:
            came = _moved(part, whole, left)
            left -= came
            if not came:
                raise FileNotFoundError(errno.ENOENT, "a part has lost bytes")
    finally:
        os.close(part)


def _moved(part: int, whole: int, at_most: int) -> int:
    """Bytes that went from one file to the other. Raises: OSError."""
    if hasattr(os, "copy_file_range"):  # Linux
        try:
            return os.copy_file_range(part, whole, at_most)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
    data = os.read(part, min(at_most, _PIECE))
    write_all(whole, data)
    return len(data)
