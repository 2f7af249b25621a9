"""Inserting entries by the thousand, in a thread of its own: SQLite writes while the next ones are computed."""

from __future__ import annotations

import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import NamedTuple, Self

_INSERT = "INSERT INTO entries (kind, id, name, fallback, flags, size) VALUES "
_WIDTH = 6
_LINE = f"({', '.join('?' * _WIDTH)})"
_MOST_LINES = 5_000


class Columns(NamedTuple):
    """Lines of one kind, column by column."""

    ids: tuple[int, ...]
    names: tuple[str, ...]
    fallbacks: tuple[str | None, ...]
    flags: tuple[int, ...]
    sizes: tuple[int | None, ...]


class EntryLoader:
    """Takes new entries in columns. Use as a context manager within a transaction, which it neither begins nor ends.

    One statement inserts thousands of lines. That costs less than a statement a line, and SQLite
    is left to itself for long enough: a thread that needs Python's lock for every line would wait
    for it every time. At most one load is on its way, so that memory stays bounded.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # 5,461 lines by SQLite's default, 166 by that of releases before 3.32
        lines = min(_MOST_LINES, connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // _WIDTH)
        self._statement = _INSERT + ", ".join([_LINE] * lines)
        self._values_at_once = lines * _WIDTH
        self._waiting: list[object] = []  # values of lines, one after the other
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
            lines = zip(*[iter(self._waiting)] * _WIDTH, strict=True)
            self._connection.executemany(_INSERT + _LINE, lines)

    def add(self, kind: int, columns: Columns) -> None:
        """Take in lines that the manifest does not have. Raises: sqlite3.Error, also of lines that came earlier."""
        values: list[object] = [kind] * (len(columns.ids) * _WIDTH)
        for at in range(1, _WIDTH):
            values[at::_WIDTH] = columns[at - 1]
        self._waiting += values
        ready = len(self._waiting) - len(self._waiting) % self._values_at_once
        if ready:
            self.settle()
            self._load = self._thread.submit(self._insert, self._waiting[:ready])
            self._waiting = self._waiting[ready:]

    def settle(self) -> None:
        """Wait until the connection is free. Raises: sqlite3.Error of what was written meanwhile."""
        if self._load is not None:
            self._load.result()

    def _pause(self) -> None:
        if self._load is not None:
            wait((self._load,))

    def _insert(self, values: list[object]) -> None:
        for start in range(0, len(values), self._values_at_once):
            self._connection.execute(self._statement, values[start : start + self._values_at_once])
