"""How many bytes may travel: a token bucket for all workers, whose rate the time of day may change.

The bytes of an object (or of a part) go as a whole: they may go as soon as what went before them is
paid for, and the next ones wait until they are paid for in turn. So the average is kept, whatever
the sizes, and nothing needs to be cut into pieces.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime

from mastosync.runtime.stop import StopSignal

_SAVED_SECONDS = 0.1  # whoever comes late may make up for so much; the rest is lost
_LOOK_AGAIN_SECONDS = 1.0  # how long the timetable is not looked at


class Bandwidth:
    """Lets bytes go at the rate that holds at the moment."""

    def __init__(
        self,
        limit_at: Callable[[datetime], int | None],
        stop: StopSignal,
        local_time: Callable[[], datetime] = datetime.now,
    ) -> None:
        """`limit_at` tells bytes a second (None: any number) at a moment of local time."""
        self._limit_at = limit_at
        self._stop = stop
        self._local_time = local_time
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # of whoever waits for bytes to be paid for
        self._limit: int | None = None
        self._balance = 0.0  # bytes saved; below 0: still to pay for
        self._counted_at = self._look_at = time.monotonic()

    def reserve(self, size_bytes: int) -> float:
        """Take bytes without waiting, or learn when to ask again.

        Returns: 0.0 when they may go now; else seconds, at most one, after which the caller asks
        again. Nothing is kept for it meanwhile. From any thread.
        """
        with self._lock:
            self._count(time.monotonic())
            if self._limit is None:
                return 0.0
            if self._balance <= -1:
                return min(-self._balance / self._limit, _LOOK_AGAIN_SECONDS)
            self._balance -= size_bytes
            return 0.0

    def take(self, size_bytes: int) -> None:
        """Return when so many bytes may go. Raises: Interrupted if asked to stop while waiting."""
        if not self.reserve(size_bytes):
            return
        with self._turn:  # one waits for the bucket and the others for their turn
            while seconds := self.reserve(size_bytes):
                self._stop.sleep(seconds)

    def _count(self, now: float) -> None:
        """Pay for the time since the last count, then see what holds from now on."""
        if self._limit is not None:
            paid = (now - self._counted_at) * self._limit
            self._balance = min(self._balance + paid, self._limit * _SAVED_SECONDS)
        self._counted_at = now
        if now >= self._look_at:
            self._look_at = now + _LOOK_AGAIN_SECONDS
            self._limit = self._limit_at(self._local_time())
            if self._limit is None:
                self._balance = 0.0  # a debt ends with the limit
