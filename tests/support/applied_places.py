"""A destination in memory that copies by itself, and a run of `apply-settings` on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mastosync.applying.applier import Applier, ApplyOptions, ApplyResult
from mastosync.applying.one_object import ObjectApplier
from mastosync.applying.rewrite import InPlaceRewriter, opens
from mastosync.checking.row_check import RowCheck
from mastosync.copying.acl import AclMode
from mastosync.copying.transfer import TransferOptions
from mastosync.errors import (
    Interrupted,
    ObjectChanged,
)
from mastosync.manifest import (
    Manifest,
    ManifestReader,
    ObjectSettings,
    note_settings,
    other_settings,
    record_findings,
)
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import (
    CACHE_CONTROL,
    Entry,
    EntryState,
    ObjectHeaders,
    ObjectInfo,
    Outcome,
    Record,
    RemoteFile,
)
from mastosync.progress import NoProgress
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import PutOptions
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.memory_store import MemoryStore, StoredObject
from tests.support.transfers import store_session

NONE, USUAL, OTHER = ObjectSettings(), ObjectSettings(CACHE_CONTROL), ObjectSettings("max-age=60")

OWN = ObjectHeaders("image/png", "no-store", "inline", metadata=(("a", "b"),))

PLAIN = ObjectHeaders("image/png")


def data_of(of: Entry) -> bytes:
    return f"{of.kind.table} {of.id}".encode()


def md5_of(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


class Stopping(NoProgress):
    """Asks to stop when so many objects have gone by."""

    def __init__(self, stop: StopSignal, after: int) -> None:
        self.stop, self.after = stop, after

    def advanced(self, progress: Any) -> None:  # noqa: ANN401
        if progress.checked >= self.after:
            self.stop.request()


@dataclass
class Place:
    """A manifest in which everything is done, and the store that has it."""

    manifest: Manifest
    store: MemoryStore = field(default_factory=MemoryStore)
    rows: dict[int, RemoteFile | None] = field(default_factory=dict)  # that are others than the plan saw; None: gone
    asked: list[int] = field(default_factory=list)  # how many rows at once

    def look_up(self, records: Sequence[Record]) -> dict[tuple[str, str, int], RemoteFile]:
        """As the database answers."""
        self.asked.append(len(records))
        found = {each.entry.id: RemoteFile(each.entry.name, None, each.entry.private) for each in records} | self.rows
        kind = entry().kind
        return {(kind.table, kind.attachment, row_id): file for row_id, file in found.items() if file}

    def key(self, row_id: int) -> str:
        return canonical_key(entry(row_id), "")

    def object(self, row_id: int) -> StoredObject:
        return self.store.objects[self.key(row_id)]

    def record(self, row_id: int) -> Record:
        return next(each for each in ManifestReader(self.manifest).iter_records() if each.entry.id == row_id)

    def apply(
        self,
        current: ObjectSettings = USUAL,
        *,
        workers: int = 4,
        stop_after: int | None = None,
        largest: int = 1 << 40,
        dry_run: bool = False,
        stop: StopSignal | None = None,
        **options: Any,  # noqa: ANN401
    ) -> ApplyResult:
        applier = self.applier(current, workers, stop_after, largest, dry_run, stop, **options)
        return applier.run()

    def applier(
        self,
        current: ObjectSettings,
        workers: int = 4,
        stop_after: int | None = None,
        largest: int = 1 << 40,
        dry_run: bool = False,
        stop: StopSignal | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Applier:
        stop = stop or StopSignal()
        others = other_settings(self.manifest, current)
        given = TransferOptions(acl=AclMode(current.acl), storage_class=current.storage_class, **options)
        at = store_session(self.store, stop)
        row_check = RowCheck(self.look_up) if opens(current, others) and not dry_run else None
        object_applier = ObjectApplier(
            at, InPlaceRewriter(at, given, "memory", largest), current, others, dry_run, row_check
        )
        listener = NoProgress() if stop_after is None else Stopping(stop, stop_after)
        how = ApplyOptions(workers, dry_run)
        return Applier(self.manifest, at, object_applier, current, others, how, stop, listener)


@contextmanager
def stored(
    path: Path, entries: list[Entry], under: ObjectSettings = NONE, headers: dict[int, ObjectHeaders] | None = None
) -> Iterator[Place]:
    """As a copy leaves it."""
    with planned(path, entries) as manifest:
        place, outcomes = Place(manifest), []
        note_settings(manifest, under)
        for record in ManifestReader(manifest).iter_records():
            of = record.entry
            data, own = data_of(of), (headers or {}).get(of.id, PLAIN)
            acl = None if under.acl == "none" else "private" if of.private or under.acl == "private" else "public-read"
            given = own._replace(cache_control=own.cache_control or under.cache_control)
            place.store.write(canonical_key(of, ""), data, md5_of(data), PutOptions(given, acl, under.storage_class))
            outcomes.append((record, Outcome(of, EntryState.DONE, size=len(data), md5=md5_of(data))))
        record_findings(manifest, outcomes)
        place.store.calls.clear()
        place.store.asked.clear()
        yield place


def some(count: int = 6, **traits: Any) -> list[Entry]:  # noqa: ANN401
    return [entry(number, **traits) for number in range(1, count + 1)]


def file(name: str = "a.png", *, private: bool = False) -> RemoteFile:
    return RemoteFile(name, None, private)


def reopened(place: Place) -> list[Record]:
    return [each for each in ManifestReader(place.manifest).iter_records() if each.state is EntryState.PENDING]


class Dropping(MemoryStore):
    """Takes a copy for one of the bytes alone."""

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        return super().copy_from(source_bucket, source_key, info, key, PutOptions(ObjectHeaders(), options.acl))


class Keeping(MemoryStore):
    """Keeps the ACL of what it copies onto itself, unless that goes in parts."""

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        kept = options._replace(acl=options.acl or self.objects[key].acl)
        return super().copy_from(source_bucket, source_key, info, key, kept)


class Losing(MemoryStore):
    """Copies, and finds another ETag by the time it is asked again, as the answer was lost."""

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        super().copy_from(source_bucket, source_key, info, key, options)
        raise ObjectChanged("412")


class PassingOver(MemoryStore):
    """Takes an ACL with a copy, and passes over it."""

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        return super().copy_from(source_bucket, source_key, info, key, options._replace(acl=None))


class Failing(MemoryStore):
    """Answers no stranger any more once it has copied something."""

    def __init__(self, trouble: Exception, stop: StopSignal) -> None:
        super().__init__()
        self._trouble, self._stop = trouble, stop

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        self.fail("anybody_finds", *[self._trouble] * 100)
        if isinstance(self._trouble, Interrupted):
            self._stop.request()
        return super().copy_from(source_bucket, source_key, info, key, options)


class Watching(MemoryStore):
    """Takes note of what had become of the first copy when the second one was asked for."""

    first = ""
    looks = -1  # at the first object, by then

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        if not self.first:
            self.first = key
        elif self.looks < 0:
            self.looks = self.calls.count(("head", self.first))
        return super().copy_from(source_bucket, source_key, info, key, options)
