"""Asking a source that has given nothing in a run for what it gave before: its key, or what it holds, may be others.

Looking whether a bucket is there, once for all who want to know at about the same time.
"""

from __future__ import annotations

import threading
import time
from itertools import islice

from mastosync.errors import ObjectDenied, ObjectError, ObjectMissing
from mastosync.manifest import Manifest, ManifestReport
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState, Origin
from mastosync.runtime.retry import RetryingStore, StoreAccess

_ASKED = 8  # objects: rows go, and their files with them


def still_gives(source: StoreAccess, manifest: Manifest, prefix: str) -> bool:
    """Whether the source lets us have anything that it had before; False too if it never had. Unknown counts as yes.

    Raises: StoreUnusable; Interrupted.
    """
    records = ManifestReport(manifest).iter_records((EntryState.DONE,))
    for record in list(islice((each for each in records if each.origin is not Origin.REFETCHED), _ASKED)):
        try:
            RetryingStore(source).head(record.source_key or canonical_key(record.entry, prefix))
        except (ObjectMissing, ObjectDenied):
            continue
        except ObjectError:
            pass
        return True
    return False


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

    def require(self, store: RetryingStore) -> None:
        """Return if the bucket is there. Raises: as `check` of `ObjectStore`; Interrupted."""
        with self._asking:
            if not self.holds:
                store.check()
                self._holds_until = time.monotonic() + _HOLDS_SECONDS
