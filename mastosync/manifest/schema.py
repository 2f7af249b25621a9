"""The manifest's schema and how an older one is brought up to date.

Each file in `migrations/` is one step. The steps that a manifest lacks and its new number commit
together, so it is never between two versions.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

APPLICATION_ID = 0x4D53594E  # "MSYN": tells `file` and us that a SQLite file is a manifest
MIGRATIONS = Path(__file__).with_name("migrations")

_HEADER = struct.Struct(">16s44xI4xI")  # of a SQLite file: its magic, user_version and application_id


def newest_version() -> int:
    """The number of the newest step there is."""
    return max(_files())


def file_version(path: Path) -> int | None:
    """The version of a manifest, without opening it, which would take the missing steps.

    Returns: 0 for an empty file; None for a file of something else, or one that cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
    except OSError:
        return None
    if len(header) < _HEADER.size:
        return None if header else 0
    magic, version, application = _HEADER.unpack(header)
    return int(version) if (magic, application) == (b"SQLite format 3\0", APPLICATION_ID) else None


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last step taken; 0 for an empty file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(connection: sqlite3.Connection, before: Callable[[], object] = lambda: None) -> None:
    """Take the steps that are missing, all or none.

    Nobody else writes from the look at the version to the end. `before` is called in between, if
    there is anything to do; where it raises, nothing is done. Raises: sqlite3.Error.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = schema_version(connection)  # somebody may have been quicker
        missing = {number: file for number, file in _files().items() if number > version}
        if missing:
            before()
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for number, file in missing.items():
            for statement in _statements(file.read_text(encoding="utf-8")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _files() -> dict[int, Path]:
    return {int(file.name[:4]): file for file in sorted(MIGRATIONS.glob("*.sql"))}


def _statements(script: str) -> Iterator[str]:
    """One by one: a script as a whole would commit what is under way before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement  # without a semicolon
