"""Reading what the system has in memory, in a thread that must not wait for a disk.

A file in the cache is read in less time than it takes to wake another thread. One that is not there may take long, or
for ever where a network lies between. The system tells them apart (`RWF_NOWAIT`) on most local disks; where it cannot
(network file systems, other systems than Linux) nothing counts as cached. To open a file may need the disk as well, and
nothing that Python has asks for that without waiting: so the more there were in a row that are not in the cache, the
fewer are tried, and whoever reads a cold disk waits for one file in a few hundred.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from mastosync.errors import StoreUnusable
from mastosync.store.filesystem.root import Root

_PASSED_OVER_AT_MOST = 255  # files between two that are tried
_LARGEST = 1024 * 1024  # bytes: to hash more takes so long that a thread is worth it
_NOWAIT = getattr(os, "RWF_NOWAIT", -1)  # flags that no system knows: it refuses


class Cache:
    """What the system has in memory of the files below a root. From any thread."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._gap = 0  # files to pass over after the next that is not there
        self._to_pass = 0

    def read(
        self, path: bytes, max_bytes: int, room: Callable[[int], bool]
    ) -> tuple[os.stat_result, os.stat_result, bytes] | None:
        """A file as it was before and after it was read, and all its bytes; None: `room` has none, or see above."""
        if self._to_pass > 0:
            self._to_pass -= 1
            return None
        with suppress(OSError, StoreUnusable), self._root.opened(path) as (fd, before):
            size = before.st_size
            if size > min(max_bytes, _LARGEST) or not room(size):
                return None
            data = bytearray(size)
            if not size or os.preadv(fd, [data], 0, _NOWAIT) == size:
                self._gap = 0
                return before, os.fstat(fd), bytes(data)
        self._to_pass = self._gap = min(2 * self._gap + 1, _PASSED_OVER_AT_MOST)
        return None
