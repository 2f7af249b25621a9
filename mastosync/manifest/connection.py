"""`Manifest`: an open manifest, its transactions, and what all modules of this package need of it.

They need the kinds, which entries name by number, and the counters, which every change of a state changes in the same
transaction.

It also checks that a manifest is on a disk of this machine. Readers and writers of a write-ahead log share memory. A
network file system does not share it between machines, and there locks may be granted twice
(https://sqlite.org/wal.html; https://sqlite.org/lockingv3.html about NFS).
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mastosync.errors import ManifestError
from mastosync.language import say, tr
from mastosync.manifest import backup
from mastosync.manifest.lock import keep_lock
from mastosync.manifest.rows import EntryPlace
from mastosync.manifest.schema import APPLICATION_ID, bring_up_to_date, file_version, newest_version
from mastosync.manifest.sqlite_errors import NOT_OURS, is_there, translated
from mastosync.model import Kind
from mastosync.mountinfo import is_network, kind_of_disk, real_path
from mastosync.new_files import opened_or_made

_log = logging.getLogger(__name__)

_BUSY_SECONDS = 5.0
_CACHE_KIB = 65_536
_PAGE_BYTES = 16_384  # entries are written side by side: fewer and larger pages than SQLite's own make less work

_HAS_PLAN = "SELECT EXISTS (SELECT 1 FROM snapshots)"
_SELECT_KINDS = 'SELECT id, "table", attachment, style, directory, remote, cached FROM kinds'
_INSERT_KIND = 'INSERT INTO kinds ("table", attachment, style, directory, remote, cached) VALUES (?, ?, ?, ?, ?, ?)'
_ASKED_AT_ONCE = 300  # of three values each: SQLite before 3.32 takes 999
_SELECT_AT = """
WITH asked (k, i, n) AS (VALUES {values}) SELECT kind, id, name, {columns} FROM asked CROSS JOIN entries
WHERE kind = k AND id = i AND name = n
"""
_ADD_TO_COUNT = """
INSERT INTO counts (kind, state, reason, objects, bytes) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET objects = objects + excluded.objects, bytes = bytes + excluded.bytes
"""


class Manifest:
    """An open manifest. Use as a context manager; one thread owns it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self.gap: backup.Gap | None = None  # what it lacks, as it was copied without its log
        self._file = _file_at(path)
        self._is_noted = False  # that this one writes
        self._kinds: dict[int, Kind] = {}
        self._kind_ids: dict[Kind, int] = {}
        self._deltas: dict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0, 0])

    @classmethod
    def open(cls, path: Path, *, writing: bool = False) -> Self:
        """Open a manifest that a plan has made, and bring it up to date.

        `writing`: the caller holds the writer's lock. Raises: ManifestError if there is none, if the
        file is something else, is of a newer version, or cannot be brought up to date.
        """
        cls.require_file(path)
        return cls._connect(path, writing=writing)

    @classmethod
    @contextmanager
    def glance(cls, path: Path) -> Iterator[Self | None]:
        """Open a manifest without changing it; None if there is none, or it has to be brought up to date.

        Raises: ManifestError if it cannot be read.
        """
        if not is_there(path) or file_version(path) != newest_version():
            yield None
            return
        with cls.open(path) as manifest:
            yield manifest

    @staticmethod
    def require_file(path: Path) -> None:
        """Raises: ManifestError if there is no file. Asked before a lock is put beside it."""
        if not is_there(path):
            raise ManifestError(tr("there is no manifest at {path}", path=path), hint=tr("run `mastosync plan` first"))

    @classmethod
    def create(cls, path: Path) -> Self:
        """Open a manifest, or make an empty one, under the writer's lock. Raises: ManifestError as `open` does."""
        if not os.path.isdir(path.parent):  # noqa: PTH112 - of a folder that may not be looked into, too
            raise ManifestError(
                tr("the folder of the manifest does not exist: {parent}", parent=path.parent),
                hint=tr("make it, or name another place with --manifest"),
            )
        if not is_there(path):
            try:
                os.close(opened_or_made(real_path(path)))
            except OSError as error:
                raise ManifestError(
                    tr("cannot make the manifest {path}: {strerror}", path=path, strerror=error.strerror),
                    hint=tr("its folder must be writable by you; --manifest names another place"),
                ) from error
        return cls._connect(path, writing=True)

    @classmethod
    def _connect(cls, path: Path, *, writing: bool) -> Self:
        real = real_path(path)  # beside which SQLite lays the log
        with translated(path):
            backup.require_own_log(real, writing=writing)
            had_log = backup.has_log(real)
            # a plan lends the connection to a thread that writes, and does not use it meanwhile
            connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                _prepare(path, connection, writing=writing)
                manifest = cls(path, connection)
                manifest._load_kinds()
                manifest.gap = backup.gap(real, connection, had_log=had_log)
                if had_log and not writing:
                    backup.strike_out_dead_writer(real, connection)
                if writing and manifest.has_plan:
                    manifest.log_ahead()  # it may have been restored by another tool
            except BaseException:
                connection.close()
                raise
            return manifest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; what was not committed is gone."""
        if self._is_noted and self._is_in_place:
            backup.strike_out_writer(self.connection)
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing: states, claims and counters change together.

        Raises: ManifestError when the file cannot be written (disk full, locked, read-only), or is
        another one by now, or is in use by a process that no lock file kept away.
        """
        self._require_in_place()
        keep_lock(self.path)
        with translated(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.write_counts()
                self.connection.execute("COMMIT")
            except BaseException:
                self._deltas.clear()
                if self.connection.in_transaction:  # a full disk has already rolled back
                    self.connection.execute("ROLLBACK")
                self._load_kinds()
                raise

    def log_ahead(self) -> None:
        """Go over to write-ahead logging: readers and the writer do not wait for each other.

        The file itself says so from here on, until it is closed. Raises: ManifestError.
        """
        with translated(self.path):
            self._is_noted = backup.take_over_backup(self.path, self.connection) or self._is_noted
            self.connection.execute("PRAGMA journal_mode = WAL")
        if not self._is_noted:
            with self.transaction() as connection:
                if self.gap is not None:
                    backup.keep_gap(connection)
                backup.note_writer(self.path, connection)
            with translated(self.path):
                self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # it has to be in the file, not in the log
            self._is_noted = True

    @property
    def has_plan(self) -> bool:
        """Whether a plan was ever finished. Raises: ManifestError."""
        with translated(self.path):
            return bool(self.connection.execute(_HAS_PLAN).fetchone()[0])

    def require_plan(self) -> None:
        """Raises: ManifestError if no plan was ever finished."""
        if not self.has_plan:
            raise ManifestError(
                tr("the manifest {path} has no plan, or the plan was interrupted", path=self.path),
                hint=tr("run `mastosync plan` first"),
            )

    def kind_id(self, kind: Kind) -> int:
        """The number of a kind, given to it when it is first seen (within a transaction)."""
        number = self._kind_ids.get(kind)
        if number is None:
            number = self.connection.execute(_INSERT_KIND, kind).lastrowid
            assert number is not None  # noqa: S101 - an INSERT has a row id
            self._kind_ids[kind] = number
            self._kinds[number] = kind
        return number

    def kind(self, number: int) -> Kind:
        """The kind of this number."""
        return self._kinds[number]

    def kinds(self, types: tuple[str, ...] = ()) -> dict[int, Kind]:
        """Kinds by number: all, or those of some tables."""
        return {number: kind for number, kind in self._kinds.items() if not types or kind.table in types}

    def count(self, kind_id: int, state: int, reason: int, objects: int, size_bytes: int) -> None:
        """Note a change of the counters, written when the transaction ends."""
        delta = self._deltas[kind_id, state, reason]
        delta[0] += objects
        delta[1] += size_bytes

    def columns_at(self, places: Sequence[EntryPlace], columns: str) -> dict[EntryPlace, tuple[Any, ...]]:
        """Columns of these entries, as far as there are any. They are asked for many at a time.

        A thread that asks for each by itself waits each time for Python's lock, if others are at work.
        """
        found: dict[EntryPlace, tuple[Any, ...]] = {}
        for start in range(0, len(places), _ASKED_AT_ONCE):
            asked = places[start : start + _ASKED_AT_ONCE]
            select = _SELECT_AT.format(values=", ".join(["(?, ?, ?)"] * len(asked)), columns=columns)
            lines = self.connection.execute(select, list(chain.from_iterable(asked)))
            found.update((line[:3], line[3:]) for line in lines)
        return found

    def limit_cache(self, kib: int) -> None:
        """Keep no more than this of the file in memory, for whoever goes through it once, from end to end."""
        self.connection.execute(f"PRAGMA cache_size = -{kib}")

    @property
    def _is_in_place(self) -> bool:
        """Whether the file is still at its path: what is written to a file that was moved or removed is lost."""
        return _file_at(self.path) == self._file

    def _require_in_place(self) -> None:
        if not self._is_in_place:
            raise ManifestError(
                tr("the manifest {path} was removed or replaced while it was in use", path=self.path),
                hint=tr(
                    "put the file that was there back, or a backup, and run the same command again. Without "
                    "either, run `mastosync plan`, `mastosync adopt` and `mastosync copy`: `adopt` finds what has "
                    "arrived"
                ),
            )

    def write_counts(self) -> None:
        """Write the changes of the counters, so that they can be read before the transaction ends."""
        changed = [(*place, *delta) for place, delta in self._deltas.items() if delta != [0, 0]]
        self.connection.executemany(_ADD_TO_COUNT, changed)
        self._deltas.clear()

    def _load_kinds(self) -> None:
        self._kinds = {
            number: Kind(table, attachment, style, directory, bool(remote), bool(cached))
            for number, table, attachment, style, directory, remote, cached in self.connection.execute(_SELECT_KINDS)
        }
        self._kind_ids = {kind: number for number, kind in self._kinds.items()}


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare(path: Path, connection: sqlite3.Connection, *, writing: bool) -> None:
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # only a new file heeds it
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA synchronous = FULL")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != APPLICATION_ID:
        raise ManifestError(
            tr("cannot use the manifest {path}: it is the SQLite database of another program", path=path),
            hint=say(NOT_OURS),
        )
    bring_up_to_date(path, connection, locked=writing)


def require_local_disk(manifest: Path, *, allow_network: bool) -> None:
    """Before writing. Raises: ManifestError if the manifest is on a network; warns of it if that is allowed."""
    said = _on_network(manifest)
    if said and not allow_network:
        raise ManifestError(
            tr("{said}, so nothing is written there", said=said),
            hint=tr(
                "use a local disk: stop what runs, take the manifest there with `mastosync manifest backup`, and "
                "name its new place with --manifest or `[manifest] path`; `[manifest] network_filesystem = allow` "
                "takes the risk"
            ),
        )
    if said:
        allowed = tr(
            "{said}; it is written nevertheless, because of `[manifest] network_filesystem = allow`", said=said
        )
        _log.warning("%s", allowed)


def warn_of_network(manifest: Path) -> None:
    """Before reading alone: what is read may be wrong while another machine writes."""
    if said := _on_network(manifest):
        _log.warning("%s", tr("{said}: read it on the machine that writes it", said=said))


def _on_network(manifest: Path) -> str:
    kind = kind_of_disk(real_path(manifest).parent)
    if not is_network(kind):
        return ""
    return tr(
        "the manifest {manifest} is on a network file system ({kind}), where locks and the "
        "write-ahead log of SQLite cannot be relied on",
        manifest=manifest,
        kind=kind,
    )
