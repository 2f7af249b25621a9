"""What the engine's tests share: entries, stores and a planned manifest."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from mastosync.archive.reading import ArchiveSource
from mastosync.archive.writing import iter_archive
from mastosync.copying.acl import NoteAccess
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Approach,
    ArchiveReader,
    ArchiveWriter,
    Manifest,
    PlanWriter,
    StoreIdentity,
    approach_to,
    begun,
)
from mastosync.model import NOTHING, NOTHING_ARRIVED, Arrival, Claim, Entry, EntryGroup, Kind, Presence
from mastosync.runtime.limiter import Bandwidth, EndpointLimiter
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.outages import Downtime
from mastosync.runtime.retry import RetryPolicy, StoreAccess
from mastosync.runtime.stop import StopSignal
from tests.contract.memory_store import MemoryStore

LOCAL = Kind("accounts", "avatar", "original", "accounts/avatars", remote=False, cached=False)
REMOTE = Kind("media_attachments", "file", "small", "media_attachments/files", remote=True, cached=True)
SOURCE = StoreIdentity("memory://old", "memory", "")
DESTINATION = StoreIdentity("memory://new", "memory", "")
IMPATIENT = RetryPolicy(
    max_attempts=3, throttle_budget_seconds=0.2, first_wait_seconds=0.001, longest_wait_seconds=0.01
)


MONDAY = datetime(2026, 11, 23)


class Clock:
    """Time that passes when somebody sleeps: for limits and waits, without waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(StopSignal, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(seconds, 0.0)

    def local_time(self) -> datetime:
        """It begins on a Monday at midnight."""
        return MONDAY + timedelta(seconds=self.now - 1000)


def entry(
    row_id: int = 1,
    name: str = "a.png",
    *,
    kind: Kind = LOCAL,
    fallback: str | None = None,
    optional: bool = False,
    private: bool = False,
    updated: int | None = None,
) -> Entry:
    return Entry(kind, row_id, name, fallback, optional, private, None, updated)


def claim(of: Entry, *, left_behind: bool = False) -> Claim:
    """`left_behind`: by a dead run, so that its object may have arrived."""
    return Claim(of, 0, Arrival(begun(NOTHING, private=of.private)) if left_behind else NOTHING_ARRIVED)


def written_before(of: Entry, presence: Presence, attempts: int = 1) -> Claim:
    """A claim of something that is known to lie at the destination, with this MD5 of nobody's."""
    return Claim(of, attempts, Arrival(presence, b"\0" * 16))


def approach_of(claim: Claim) -> Approach:
    """What a copy does first about what lies at the destination."""
    presence, md5, etag, *_ = claim.arrival
    return approach_to(presence, private=claim.entry.private, has_digest=md5 is not None or etag is not None)


def store_access(
    store: MemoryStore,
    stop: StopSignal | None = None,
    policy: RetryPolicy = IMPATIENT,
    bandwidth: Bandwidth | None = None,
    patience_seconds: float = 0,
) -> StoreAccess:
    stop = stop or StopSignal()
    limiter = EndpointLimiter(stop)
    return StoreAccess(store, limiter, policy, stop, bandwidth, Downtime(limiter, stop, patience_seconds))


def transfer(
    old: MemoryStore, new: MemoryStore, options: TransferOptions | None = None, note: NoteAccess | None = None
) -> Transfer:
    return Transfer(store_access(old), store_access(new), options or TransferOptions(), MemoryBudget(1 << 30), note)


def grouped(entries: Iterable[Entry]) -> list[EntryGroup]:
    """Entries as a plan moves them."""
    alike: dict[tuple[Kind, bool, bool], list[Entry]] = {}
    for each in entries:
        alike.setdefault((each.kind, each.optional, each.private), []).append(each)
    groups = []
    for traits, found in alike.items():
        _, ids, names, fallbacks, _, _, sizes, updated = zip(*found, strict=True)
        groups.append(EntryGroup(*traits, ids, names, fallbacks if any(fallbacks) else None, sizes, updated))
    return groups


def ungrouped(groups: Iterable[EntryGroup]) -> list[Entry]:
    """What groups hold, by kind, id and name."""
    found = []
    for kind, optional, private, ids, names, fallbacks, sizes, updated, _ in groups:
        nothing = [None] * len(ids)
        lines = zip(ids, names, fallbacks or nothing, sizes or nothing, updated or nothing, strict=True)
        found += [
            Entry(kind, row_id, name, other, optional, private, size, since)
            for row_id, name, other, size, since in lines
        ]
    return sorted(found, key=lambda each: each[:3])


def planned(
    path: Path,
    entries: Iterable[Entry],
    stores: tuple[StoreIdentity, StoreIdentity] = (SOURCE, DESTINATION),
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """A manifest with a plan of these entries; `details` are what is recorded of the plan."""
    manifest = Manifest.create(path)
    by_table: dict[str, list[Entry]] = {}
    for each in entries:
        by_table.setdefault(each.kind.table, []).append(each)
    with PlanWriter.transaction(manifest, *stores) as writer:
        for table, found in by_table.items():
            writer.merge(table, LOWEST_ID, HIGHEST_ID, grouped(found))
        writer.finish(datetime.now(UTC), dict(details or {}))
    return manifest


def with_short_statements(manifest: Manifest) -> Manifest:
    """Let SQLite take twelve values at once: a plan inserts two lines a statement, and does so in its thread."""
    manifest.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 12)
    return manifest


def exported(manifest: Manifest) -> bytes:
    """All of it as an archive."""
    with ArchiveReader.opened(manifest) as reader:
        return b"".join(iter_archive(reader, lambda _: None))


def imported(archive: bytes, path: Path) -> Manifest:
    """A new manifest of it."""
    source = ArchiveSource(BytesIO(archive), "archive")
    with ArchiveWriter.creating(path) as writer:
        writer.write_head(source.head())
        writer.write_entries(list(source.iter_entries()))
    return Manifest.open(path, writing=True)
