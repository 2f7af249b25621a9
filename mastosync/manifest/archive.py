"""All of a manifest as plain values, out of one and into a new one. `mastosync/archive` has the form of an archive."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from mastosync.errors import ManifestError
from mastosync.manifest.backup import GAP, WRITER
from mastosync.manifest.connection import Manifest
from mastosync.manifest.entry_writer import import_rows
from mastosync.manifest.history import CHANGED, details_of, get_meta, set_meta
from mastosync.manifest.identity import StoreIdentity, probe_left_behind, remember, remembered
from mastosync.manifest.plan_checks import remember_database, remembered_database
from mastosync.manifest.rows import COLUMNS, ORIGIN_OF, REASON_OF, STATE_OF, EntryRow
from mastosync.manifest.settings import Noted, archived_settings, remember_settings
from mastosync.manifest.sqlite_errors import sound, translated
from mastosync.model import DatabaseIdentity, Kind, Presence
from mastosync.new_files import appearing

_T = TypeVar("_T")

RECORDS: dict[str, tuple[str, ...]] = {
    "snapshots": ("id", "taken_at", "details"),
    "runs": ("id", "started_at", "updated_at", "ended_at", "workers", "done", "failed", "skipped", "bytes"),
    "verifications": ("id", "started_at", "ended_at", "details"),
    "samples": ("id", "run", "at", "done", "failed", "skipped", "bytes"),
}
"""What a manifest remembers beside its entries: tables and their columns. `details` is JSON."""

NOTES = (CHANGED, GAP)
"""What it remembers by name, in the words of those that write it, beside what `Head` has fields for."""

_LINES = f"""
SELECT kind, (SELECT access FROM claims c WHERE (c.kind, c.id, c.name) = (e.kind, e.id, e.name)), {COLUMNS}
FROM entries e ORDER BY kind, id, name
"""
_STATES = """
SELECT kind, id, name, state, reason, size, md5, etag, origin, updated FROM entries ORDER BY kind, id, name
"""
_COUNTED = "SELECT coalesce(sum(objects), 0) FROM counts WHERE objects > 0"
_INSERT_KIND = """
INSERT INTO kinds (id, "table", attachment, style, directory, remote, cached) VALUES (?, ?, ?, ?, ?, ?, ?)
"""


class Head(NamedTuple):
    """What all entries have in common."""

    source: StoreIdentity
    destination: StoreIdentity
    kinds: dict[int, Kind]
    probe: str | None  # see `probe_left_behind`
    database: DatabaseIdentity | None  # see `remembered_database`
    settings: Noted | None  # see `archived_settings`
    notes: dict[str, str]  # by names of `NOTES`
    records: dict[str, list[dict[str, Any]]]  # by table, each with its columns; details are read


class ArchivedEntry(NamedTuple):
    """Everything that a manifest holds of one entry."""

    kind: int
    row: EntryRow
    access: Presence | None = None  # with which the object of a claim is being written; None: there is no claim


EntryFate: TypeAlias = tuple[Kind, int, str, str, str, int | None, bytes | None, str | None, str, int | None]
"""What an entry is and what became of it: kind, id, name, state, reason, size, MD5, ETag, origin, and when its file was
uploaded (seconds since the epoch); words by name."""


class ArchiveReader:
    """A manifest as it stands at one moment. Use `ArchiveReader.opened`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    @classmethod
    @contextmanager
    def opened(cls, manifest: Manifest) -> Iterator[ArchiveReader]:
        """Begin a read transaction, which does not block the writer. Raises: ManifestError, here and below."""
        manifest.require_plan()
        with translated(manifest.path):
            manifest.connection.execute("BEGIN")
        try:
            yield cls(manifest)
        finally:
            manifest.connection.execute("ROLLBACK")

    def expected(self) -> int:
        """How many entries there are, as the counters say."""
        with translated(self._manifest.path):
            return int(self._manifest.connection.execute(_COUNTED).fetchone()[0])

    def head(self) -> Head:
        """The head of an archive, which comes before the entries."""
        with sound(self._manifest.path):
            source, destination = (remembered(self._manifest, role) for role in ("source", "destination"))
            if source is None or destination is None:
                raise ValueError("it does not say what its stores are")
            records = {name: self._records(name) for name in RECORDS}
            probe, database = probe_left_behind(self._manifest), remembered_database(self._manifest)
            settings = archived_settings(self._manifest)
            told = {name: get_meta(self._manifest.connection, name) for name in NOTES}
            if self._manifest.gap is not None and told[GAP] is None:
                told[GAP] = get_meta(self._manifest.connection, WRITER)
            notes = {name: value for name, value in told.items() if value is not None}
            return Head(source, destination, self._manifest.kinds(), probe, database, settings, notes, records)

    def iter_entries(self, told: Callable[[ArchivedEntry, Kind], _T]) -> Iterator[_T]:
        """Yield what `told` returns for each entry, by kind, id and name. What it cannot read is a ManifestError."""
        with sound(self._manifest.path):
            for number, access, *values in self._manifest.connection.execute(_LINES):
                kind, row = self._manifest.kind(number), EntryRow._make(values)
                yield told(ArchivedEntry(number, row, None if access is None else Presence(access)), kind)

    def iter_fates(self) -> Iterator[EntryFate]:
        """Yield the fate of each entry, in the same order, but much faster. No reason is an empty string."""
        kinds = self._manifest.kinds()
        states, origins = ({code: word.value for code, word in each.items()} for each in (STATE_OF, ORIGIN_OF))
        reasons = {code: reason.value if reason else "" for code, reason in REASON_OF.items()}
        with sound(self._manifest.path):
            rows = self._manifest.connection.execute(_STATES)
            for kind, row_id, name, state, reason, size, md5, etag, origin, updated in rows:
                yield (
                    kinds[kind],
                    row_id,
                    name,
                    states[state],
                    reasons[reason],
                    size,
                    md5,
                    etag,
                    origins[origin],
                    updated,
                )

    def _records(self, table: str) -> list[dict[str, Any]]:
        columns = RECORDS[table]
        rows = self._manifest.connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY id").fetchall()
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        return [
            {name: details_of(table, v) if name == "details" else v for name, v in record.items()} for record in records
        ]


class ArchiveWriter:
    """A new manifest, whole or not at all. Use `ArchiveWriter.creating`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    @classmethod
    @contextmanager
    def creating(cls, path: Path) -> Iterator[ArchiveWriter]:
        """Make a manifest under the writer's lock of the caller; it takes its name when the block has ended well.

        Raises: UsageError if there is one already; ManifestError if it cannot be written, here and below.
        """
        with appearing(path, error_type=ManifestError) as partial, Manifest.create(partial) as manifest:
            with manifest.transaction():
                yield cls(manifest)
            manifest.log_ahead()

    def write_head(self, head: Head) -> None:
        """Write the head."""
        connection = self._manifest.connection
        with translated(self._manifest.path):
            remember(self._manifest, head.source, head.destination, head.probe)
            if head.database is not None:
                remember_database(self._manifest, head.database)
            remember_settings(self._manifest, head.settings)
            for name, value in head.notes.items():
                set_meta(connection, name, value)
            connection.executemany(_INSERT_KIND, [(number, *kind) for number, kind in head.kinds.items()])
            for table, records in head.records.items():
                columns = RECORDS[table]
                insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
                connection.executemany(insert, [_row(record, columns) for record in records])

    def write_entries(self, entries: Sequence[ArchivedEntry]) -> None:
        """Write some entries, by kind, id and name."""
        with translated(self._manifest.path):
            import_rows(self._manifest, entries)


def _row(record: dict[str, Any], columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(json.dumps(record[name]) if name == "details" else record[name] for name in columns)
