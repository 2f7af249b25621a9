"""A budget of memory, shared by all transfers that have bytes of objects in memory; how rarely garbage is collected.

Bytes are reserved before they are read. A transfer that cannot have them waits in line. The first in line gets
what becomes free, so that small objects do not overtake a large one for ever.
"""

from __future__ import annotations

import ctypes
import gc
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mastosync.runtime.stop import StopSignal

_LOOK_SECONDS = 0.1  # how long a wish to stop may wait
_GROWTH = 500_000  # of tuples and the like: far more than a command has at once

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGE_BLOCK_BYTES = 4 * 1024 * 1024


def return_large_blocks() -> None:
    """Let the C library give large blocks back to the system as soon as they are free.

    glibc learns to keep blocks of a size that was freed once, in a pool for each thread: of parts of
    16 MiB in 16 threads it would keep as much as is in use. Elsewhere there is nothing to be done.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE_BLOCK_BYTES)  # the ratio that glibc itself goes by


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """With a garbage collector that runs only if something grows: of millions of values none is in a cycle.

    As it is set by default, it looks at all of them over and over: that takes a third longer for a plan, and longer
    than the merge for `verify`.
    """
    usual = gc.get_threshold()
    gc.set_threshold(_GROWTH, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


class MemoryBudget:
    """Limits how many bytes are reserved at any time."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.peak_bytes = 0  # the most that was reserved at once
        self._free = total_bytes
        self._line: deque[Reservation] = deque()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def reserve(self) -> Reservation:
        """A new reservation, of nothing yet."""
        return Reservation(self)

    def _resize(self, reservation: Reservation, size_bytes: int) -> bool:
        with self._lock:
            if size_bytes <= reservation.reserved_bytes:
                self._leave_line(reservation)
                self._free += reservation.reserved_bytes - size_bytes
                reservation.reserved_bytes = size_bytes
                self._hand_out()
                return True
            if not self._line and size_bytes - reservation.reserved_bytes <= self._free:
                self._free -= size_bytes - reservation.reserved_bytes
                reservation.reserved_bytes = size_bytes
                self.peak_bytes = max(self.peak_bytes, self.total_bytes - self._free)
                return True
            if not reservation.wanted_bytes:
                self._line.append(reservation)
            reservation.wanted_bytes = size_bytes
            self._hand_out()
            return reservation.reserved_bytes == size_bytes

    def _hand_out(self) -> None:
        while self._line and self._line[0].wanted_bytes - self._line[0].reserved_bytes <= self._free:
            first = self._line.popleft()
            self._changed.notify_all()
            self._free -= first.wanted_bytes - first.reserved_bytes
            first.reserved_bytes = first.wanted_bytes
            first.wanted_bytes = 0  # set last: a thread that reads 0 without the lock may rely on `reserved_bytes`
        self.peak_bytes = max(self.peak_bytes, self.total_bytes - self._free)

    def _leave_line(self, reservation: Reservation) -> None:
        if reservation.wanted_bytes:
            self._line.remove(reservation)
            reservation.wanted_bytes = 0


class Reservation:
    """The memory of one transfer, or of one part of it."""

    __slots__ = ("_budget", "reserved_bytes", "wanted_bytes")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.reserved_bytes = 0
        self.wanted_bytes = 0  # while it stands in line

    def request(self, size_bytes: int) -> bool:
        """Reserve this much from now on. False: not yet, but in line for it; ask again.

        More than the whole budget counts as the whole: the caller must not read more than that at once.
        """
        size_bytes = min(size_bytes, self._budget.total_bytes)
        # most requests are for what is reserved already, and out of line no other thread changes it: no lock is needed
        if not self.wanted_bytes and self.reserved_bytes == size_bytes:
            return True
        return self._budget._resize(self, size_bytes)

    def wait(self, size_bytes: int, stop: StopSignal) -> None:
        """Reserve this much, as soon as it can be had. Raises: Interrupted.

        Release first what is reserved: two that hold memory and wait for more would wait for each other.
        """
        while not self.request(size_bytes):
            with self._budget._changed:
                if self.wanted_bytes:
                    self._budget._changed.wait(_LOOK_SECONDS)
            stop.require_going_on()

    def release(self) -> None:
        """Give everything back. Calling it twice is no error."""
        self.request(0)
