"""The manifest's schema and how an older one is brought up to date.

Each file in `migrations/` is one step. A step and its number commit together, so a manifest is
never between two versions.
"""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

APPLICATION_ID = 0x4D53594E  # "MSYN": tells `file` and us that a SQLite file is a manifest

_HEADER = struct.Struct(">16s44xI4xI")  # of a SQLite file: its magic, user_version and application_id


def newest_version() -> int:
    """The number of the newest step there is."""
    return max(_steps())


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


def migrate(connection: sqlite3.Connection) -> int:
    """Take the steps that are missing, and return the number of the newest step there is.

    An up-to-date manifest is not written to. Raises: sqlite3.Error.
    """
    steps = _steps()
    for number, script in steps.items():
        if number > schema_version(connection):
            _take(connection, number, script)
    return max(steps)


def _steps() -> dict[int, str]:
    files = sorted(Path(__file__).with_name("migrations").glob("*.sql"))
    return {int(file.name[:4]): file.read_text(encoding="utf-8") for file in files}


def _take(connection: sqlite3.Connection, number: int, script: str) -> None:
    head = f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID};"
    try:
        connection.executescript(f"{head}\n{script}\nPRAGMA user_version = {number}; COMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
