"""Uploads in parts that are under way, as the manifest knows them: after a death the next run goes on with them.

An upload carries its ACL and headers from its beginning, and no store tells them. So only what this manifest has noted
is gone on with, and only for the very object, cut and properties that it was begun for.
"""

from __future__ import annotations

import hashlib
import json
import threading
from typing import NamedTuple

from mastosync.model import ObjectInfo
from mastosync.store.base import PutOptions


class KeptUpload(NamedTuple):
    """An upload in parts, with all that must be the same for it to be gone on with."""

    upload_id: str
    etag: str  # of the source
    part_size: int  # bytes
    made_with: str  # stands for ACL, headers and storage class

    @classmethod
    def of(cls, upload_id: str, info: ObjectInfo, part_size: int, options: PutOptions) -> KeptUpload:
        """What is noted of an upload that has begun."""
        return cls(upload_id, info.etag, part_size, hashlib.sha256(repr(options).encode()).hexdigest())


class KeptUploads:
    """Those of a run, and those that dead runs have left. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_key: dict[str, KeptUpload] = {}
        self.changed = False  # since it was noted

    def take_over(self, text: str | None) -> None:
        """Take over what was noted (`noted`). What cannot be read counts as nothing: those are begun anew."""
        try:
            found = {str(key): KeptUpload(*each) for key, each in json.loads(text or "{}").items()}
        except (ValueError, TypeError, AttributeError):
            found = {}
        with self._lock:
            self._by_key = found | self._by_key

    def noted(self) -> str | None:
        """What is to be noted now; None: nothing."""
        with self._lock:
            self.changed = False
            return json.dumps(self._by_key) if self._by_key else None

    def of(self, key: str) -> KeptUpload | None:
        """The upload of an object that was begun last and has not ended; None: there is none."""
        return self._by_key.get(key)

    def begun(self, key: str, upload: KeptUpload) -> None:
        """An upload has begun."""
        with self._lock:
            self._by_key[key] = upload
            self.changed = True

    def ended(self, key: str) -> None:
        """The uploads of an object have ended, well or not."""
        with self._lock:
            self.changed = self._by_key.pop(key, None) is not None or self.changed
