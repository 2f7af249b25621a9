"""What is too much for memory. Two things: findings in a temporary database, and the loading of new entries.

`Scratch` is a database without a name. `EntryLoader` inserts new entries into the manifest in a thread of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from types import TracebackType
from typing import Self

from mastosync.errors import ManifestError
from mastosync.language import tr
from mastosync.manifest.rows import EntryPlace
from mastosync.manifest.sqlite_errors import translated

_SCHEMA = """
CREATE TABLE orphans (key TEXT PRIMARY KEY, size INTEGER NOT NULL, modified TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE absent (kind INTEGER, id INTEGER, name TEXT, PRIMARY KEY (kind, id, name)) WITHOUT ROWID;
CREATE TABLE elsewhere (kind INTEGER, id INTEGER, name TEXT, PRIMARY KEY (kind, id, name)) WITHOUT ROWID;
"""
_ABSENT = "SELECT kind, id, name FROM absent EXCEPT SELECT kind, id, name FROM elsewhere ORDER BY kind, id, name"

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
    """What a comparison of the manifest with the source finds, in a database that is gone with its connection.

    Use as a context manager, in one thread.
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

    def add_absent(self, places: Iterable[EntryPlace]) -> None:
        """Take in entries whose object does not lie under its canonical key."""
        with _temporary():
            self._connection.executemany("INSERT OR IGNORE INTO absent VALUES (?, ?, ?)", places)

    def add_elsewhere(self, places: Iterable[EntryPlace]) -> None:
        """Take in entries that have an object under another key."""
        with _temporary():
            self._connection.executemany("INSERT OR IGNORE INTO elsewhere VALUES (?, ?, ?)", places)

    def iter_orphans(self) -> Iterator[Orphan]:
        """All of them by key."""
        with _temporary():
            for orphan in self._connection.execute("SELECT key, size, modified FROM orphans ORDER BY key"):  # noqa: UP028 - see `SegmentReader.iter_rows`
                yield orphan

    def iter_missing(self) -> Iterator[EntryPlace]:
        """Entries that have no object at all, by kind and id."""
        with _temporary():
            for place in self._connection.execute(_ABSENT):  # noqa: UP028 - as above
                yield place


_MOST_LINES = 5_000

Line = tuple[int, str, int, int | None, str | None, int | None]
"""An entry of one kind: id, name, flags, updated, fallback, size."""


class EntryLoader:
    """Inserts new entries in a thread of its own, while the next ones are computed.

    Use as a context manager within a transaction, which it neither begins nor ends.
    One statement inserts thousands of lines. That costs less than a statement a line, and SQLite
    is left to itself for long enough: a thread that needs Python's lock for every line would wait
    for it every time. At most one load is on its way, so that memory stays bounded.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._most_values = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        self._inserts: dict[tuple[str, ...], _Insert] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="manifest")
        self._load: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write what is left, unless there was an error. The thread ends here in any case. Raises: sqlite3.Error."""
        try:
            self._pause()
        finally:  # a signal may have broken off that wait, and the transaction must not end under a load
            self._pause()
            self._thread.shutdown()
        if error is None:
            self.settle()
            for insert in self._inserts.values():
                insert.finish(self._connection)

    def add(self, kind: int, lines: Sequence[Line], **constant: int) -> None:
        """Take in one or more lines that the manifest lacks; `constant` are columns in which they are all alike.

        Raises: sqlite3.Error, also of lines that came earlier.
        """
        ids, names, flags, updated, fallbacks, sizes = zip(*lines, strict=True)
        columns: dict[str, Iterable[object]] = {"kind": repeat(kind), "id": ids, "name": names, "flags": flags}
        # no value costs Python more to bind than any other, and most entries have no fallback or size
        for name, values in (("updated", updated), ("fallback", fallbacks), ("size", sizes)):
            if values.count(None) < len(lines):
                columns[name] = values
        columns |= {name: repeat(value) for name, value in constant.items()}
        insert = self._insert(tuple(columns))
        insert.waiting += chain.from_iterable(zip(*columns.values(), strict=False))  # what is alike has no end
        if insert.is_ready:
            self.settle()
            self._load = self._thread.submit(insert.run, self._connection, insert.take())

    def settle(self) -> None:
        """Wait until the connection is free. Raises: sqlite3.Error of what was written meanwhile."""
        if self._load is not None:
            self._load.result()

    def _pause(self) -> None:
        if self._load is not None:
            wait((self._load,))

    def _insert(self, columns: tuple[str, ...]) -> _Insert:
        if columns not in self._inserts:
            self._inserts[columns] = _Insert(columns, self._most_values)
        return self._inserts[columns]


class _Insert:
    """A statement that inserts thousands of lines with values in these columns, and what waits for it."""

    def __init__(self, columns: tuple[str, ...], most_values: int) -> None:
        self.waiting: list[object] = []  # values of lines, one after the other
        self._columns = columns
        # all of them by SQLite's default, 166 to 250 by that of releases before 3.32
        lines = min(_MOST_LINES, most_values // len(columns))
        self._statement = self._text(lines)
        self._values_at_once = lines * len(columns)

    @property
    def is_ready(self) -> bool:
        """Whether enough waits."""
        return len(self.waiting) >= self._values_at_once

    def take(self) -> list[object]:
        """Remove and return the values that are ready."""
        count = len(self.waiting) - len(self.waiting) % self._values_at_once
        ready, self.waiting = self.waiting[:count], self.waiting[count:]
        return ready

    def run(self, connection: sqlite3.Connection, values: list[object]) -> None:
        """Insert what was taken."""
        for start in range(0, len(values), self._values_at_once):
            connection.execute(self._statement, values[start : start + self._values_at_once])

    def finish(self, connection: sqlite3.Connection) -> None:
        """Insert what still waits: too little for a whole statement."""
        if self.waiting:
            connection.execute(self._text(len(self.waiting) // len(self._columns)), self.waiting)

    def _text(self, lines: int) -> str:
        line = f"({', '.join('?' * len(self._columns))})"
        return f"INSERT INTO entries ({', '.join(self._columns)}) VALUES {', '.join([line] * lines)}"
