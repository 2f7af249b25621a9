"""Looking whether a bucket is there, once for all who want to know at about the same time."""

from __future__ import annotations

import threading
import time

from mastosync.runtime.retry import PatientStore

_HOLDS_SECONDS = 10.0


class BucketLook:
    """Before a bare 404 is believed: it looks the same if the whole bucket is gone. Shared by all workers."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._holds_until = float("-inf")  # by the monotonic clock

    @property
    def holds(self) -> bool:
        """Whether somebody has just looked, and the bucket was there."""
        return time.monotonic() < self._holds_until

    def require(self, store: PatientStore) -> None:
        """Return if the bucket is there. Raises: as `check` of `ObjectStore`; Interrupted."""
        with self._asking:
            if not self.holds:
                store.check()
                self._holds_until = time.monotonic() + _HOLDS_SECONDS
