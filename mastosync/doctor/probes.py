"""Probe objects at the destination, which are removed whatever happens; and whether the source has them, too."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import uuid4

from mastosync.copying.same_store import ProbeKeys, relation_seen
from mastosync.copying.transfer import TransferOptions
from mastosync.doctor.buckets import CheckedStore
from mastosync.doctor.checks import STORE_ERRORS, OneRetry, Reporter
from mastosync.errors import ConfigError, Interrupted, NetworkFailure
from mastosync.findings import Finding
from mastosync.language import enumerated, say, tr
from mastosync.manifest import SAME_STORE_REMEDY, Relation
from mastosync.model import CACHE_CONTROL, ObjectHeaders
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import ObjectStore, PutOptions
from mastosync.store.probe import Removal

FOLDER = "mastosync-doctor"
"""The folder of probe objects, under the key prefix. No attachment of Mastodon has a directory of this name."""

DATA = b"mastosync doctor wrote this, and removes it again.\n" * 20
MD5 = hashlib.md5(DATA, usedforsecurity=False).digest()


def put_options(options: TransferOptions, acl: str | None = None) -> PutOptions:
    """The headers and options of a probe object: those of an image."""
    cache_control = options.cache_control or CACHE_CONTROL
    headers = ObjectHeaders("text/plain", cache_control=cache_control, metadata=(("probe", "mastosync-doctor"),))
    return PutOptions(headers, acl, options.storage_class)


class ProbeObjects:
    """Probe objects, as a context manager: at its end they are removed, or named in `left_behind`."""

    def __init__(self, end: CheckedStore) -> None:
        self._end = end
        self._folder = f"{end.prefix}/{FOLDER}/{uuid4().hex}".removeprefix("/")
        self._noted: dict[str, bool] = {}  # key -> whether uploads in parts were begun
        self._may_delete = True
        self._lost = False  # the store does not answer any more
        self._clean_up = OneRetry(StopSignal())  # it goes on although somebody has asked to stop
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
            error.hint = tr("remove what could not be removed: {names}", names=enumerated(self.left_behind))

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


@dataclass(frozen=True, slots=True)
class ComparedStore:
    """The source, in which probe objects are looked for. Opening it may raise ConfigError and StoreUnusable."""

    opened: Callable[[], AbstractContextManager[tuple[ObjectStore, object]]]
    prefix: str
    stop: StopSignal


def check_apart(
    reporter: Reporter, ask: OneRetry, source: ComparedStore, name: str, destination_prefix: str
) -> Finding:
    """Look in the source for the probe object of this name, which was written under the destination's prefix."""
    keys = ProbeKeys(*(f"{prefix}/{name}".removeprefix("/") for prefix in (destination_prefix, source.prefix)))
    try:
        with source.opened() as (store, _):
            found = relation_seen(keys, DATA, lambda key, size: ask(store.read, key, size), source.stop.sleep)
    except (ConfigError, *STORE_ERRORS):
        return reporter.skip("apart", tr("the source cannot be asked"))
    if found is Relation.ONE:
        said = tr("source and destination are the same store: an object that was written here was found at the source")
        remedy = say(SAME_STORE_REMEDY)
        return reporter.failure("apart", ConfigError(said, hint=remedy))
    if found is Relation.ONE_BUCKET:
        return reporter.ok(
            "apart", tr("source and destination are one bucket with two key prefixes: `prune` removes nothing there")
        )
    if found is Relation.UNKNOWN:
        return reporter.warning(
            "apart",
            tr("the source does not say whether an object is missing, so this may be the same store"),
            tr("allow the key of the source to list the bucket (s3:ListBucket)"),
        )
    return reporter.ok("apart", tr("an object that was written here is not at the source: they are two stores"))
