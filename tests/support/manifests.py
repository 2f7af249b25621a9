"""Manifests with a plan in them, and archives of manifests."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from mastosync.archive.reading import ArchiveSource
from mastosync.archive.writing import iter_archive
from mastosync.manifest import HIGHEST_ID, LOWEST_ID, ArchiveReader, ArchiveWriter, Manifest, PlanWriter, StoreIdentity
from mastosync.model import Entry
from tests.support.entries import grouped

SOURCE = StoreIdentity("memory://old", "memory", "")
DESTINATION = StoreIdentity("memory://new", "memory", "")


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
