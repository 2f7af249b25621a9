"""Objects of our own at the destination: known before they are written, and removed whatever happens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import TracebackType
from typing import Self
from uuid import uuid4

from mastosync.copying.transfer import TransferOptions
from mastosync.doctor.access import STORE_ERRORS, End
from mastosync.doctor.patience import Patience
from mastosync.errors import Interrupted, NetworkFailure
from mastosync.language import tr
from mastosync.model import CACHE_CONTROL, ObjectHeaders
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import PutOptions
from mastosync.store.probe import Removal

FOLDER = "mastosync-doctor"
"""Of their keys, under the key prefix. No attachment of Mastodon's has a directory of this name."""

DATA = b"mastosync doctor wrote this, and removes it again.\n" * 20
MD5 = hashlib.md5(DATA, usedforsecurity=False).digest()


def put_options(options: TransferOptions, acl: str | None = None) -> PutOptions:
    """What goes along with a probe object: what would go along with an image."""
    cache_control = options.cache_control or CACHE_CONTROL
    headers = ObjectHeaders("text/plain", cache_control=cache_control, metadata=(("probe", "mastosync-doctor"),))
    return PutOptions(headers, acl, options.storage_class)


class ProbeObjects:
    """Use as a context manager: when it ends, what was written is gone, or named in `left_behind`."""

    def __init__(self, end: End) -> None:
        self._end = end
        self._folder = f"{end.prefix}/{FOLDER}/{uuid4().hex}".removeprefix("/")
        self._noted: dict[str, bool] = {}  # key -> whether uploads in parts were begun
        self._may_delete = True
        self._lost = False  # the store does not answer any more
        self._clean_up = Patience(StopSignal())  # whoever asked to stop does not mean this
        self.left_behind: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for key, in_parts in self._noted.items():
            removals: list[Callable[[str], object]] = [self._end.probe.delete]
            if in_parts:
                removals.append(self._end.store.abort_unfinished)
            gone = [self._succeeds(removal, key) for removal in removals]
            if not all(gone):
                self.left_behind.append(key)
        if isinstance(error, Interrupted) and self.left_behind:
            error.hint = tr("remove what could not be removed: {names}", names=", ".join(self.left_behind))

    @property
    def first_key(self) -> str:
        """The key of the first probe object. Nobody has ever used it."""
        return f"{self._folder}/object"

    def key(self, name: str, *, in_parts: bool = False) -> str:
        """A key to write to. Where nothing may be deleted it is always the same: one object stays, and no more."""
        key = f"{self._folder}/{name}" if self._may_delete or not self._noted else next(iter(self._noted))
        self._noted[key] = in_parts or self._noted.get(key, False)
        return key

    def name_of(self, key: str) -> str:
        """A key of these without the key prefix."""
        return key[key.rindex(f"{FOLDER}/") :]

    def remove(self, key: str) -> Removal:
        """Remove an object now. Returns and raises as the probe's `delete`."""
        try:
            became = self._end.ask(self._end.probe.delete, key)
        except STORE_ERRORS:
            self._may_delete = False
            raise
        del self._noted[key]
        return became

    def _succeeds(self, removal: Callable[[str], object], key: str) -> bool:
        if self._lost:
            return False
        try:
            self._clean_up(removal, key)
        except STORE_ERRORS as error:
            self._lost = isinstance(error, NetworkFailure)  # to wait for each of the others would take minutes
            return False
        return True
