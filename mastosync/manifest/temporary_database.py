"""A place for findings that may be many: a database of its own, in no folder, gone with its connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from mastosync.errors import ManifestError
from mastosync.language import tr
from mastosync.manifest.connection import translated

_SCHEMA = """
CREATE TABLE orphans (key TEXT PRIMARY KEY, size INTEGER NOT NULL, modified TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE absent (kind INTEGER, id INTEGER, name TEXT, PRIMARY KEY (kind, id, name)) WITHOUT ROWID;
CREATE TABLE elsewhere (kind INTEGER, id INTEGER, name TEXT, PRIMARY KEY (kind, id, name)) WITHOUT ROWID;
"""
_ABSENT = "SELECT kind, id, name FROM absent EXCEPT SELECT kind, id, name FROM elsewhere ORDER BY kind, id, name"

Place = tuple[int, int, str]
"""Kind, id and name of an entry."""

Orphan = tuple[str, int, str]
"""Key, size in bytes, and when it was modified."""


@contextmanager
def _temporary() -> Iterator[None]:
    """Turn what SQLite says of a database that has no name into a ManifestError."""
    try:
        with translated(Path()):
            yield
    except ManifestError as error:
        raise ManifestError(
            tr("cannot use a temporary database: {error}", error=error.__cause__),
            hint=tr("make room where temporary files lie, or name another folder by TMPDIR; then run it again"),
        ) from error


class Scratch:
    """What a comparison of the manifest with the source finds. Use as a context manager, in one thread.

    Every method raises ManifestError, as when the disk is full.
    """

    def __init__(self) -> None:
        with _temporary():
            self._connection = sqlite3.connect("", isolation_level=None)
            self._connection.executescript(_SCHEMA)
            self._connection.execute("BEGIN")  # for good: nothing is to outlive it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def add_orphans(self, orphans: Iterable[Orphan]) -> None:
        """Take in objects that no entry refers to."""
        with _temporary():
            self._connection.executemany("INSERT OR IGNORE INTO orphans VALUES (?, ?, ?)", orphans)

    def add_absent(self, places: Iterable[Place]) -> None:
        """Take in entries whose object does not lie under its canonical key."""
        with _temporary():
            self._connection.executemany("INSERT OR IGNORE INTO absent VALUES (?, ?, ?)", places)

    def add_elsewhere(self, places: Iterable[Place]) -> None:
        """Take in entries that have an object under another key."""
        with _temporary():
            self._connection.executemany("INSERT OR IGNORE INTO elsewhere VALUES (?, ?, ?)", places)

    def iter_orphans(self) -> Iterator[Orphan]:
        """All of them by key."""
        with _temporary():
            for orphan in self._connection.execute("SELECT key, size, modified FROM orphans ORDER BY key"):  # noqa: UP028 - see `StrandReader.iter_rows`
                yield orphan

    def iter_missing(self) -> Iterator[Place]:
        """Entries that have no object at all, by kind and id."""
        with _temporary():
            for place in self._connection.execute(_ABSENT):  # noqa: UP028 - as above
                yield place
