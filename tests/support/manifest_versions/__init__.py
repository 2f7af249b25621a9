"""Manifests of every version, as SQL: `vN.sql` was made by code that knew no version after N.

Its first line has the SHA-256 of the migration that made version N, which is never changed.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

from mastosync.manifest.schema import MIGRATIONS

FOLDER = Path(__file__).parent


def digest_line(version: int) -> str:
    """What a manifest of this version begins with, by its migration as it is now."""
    (file,) = MIGRATIONS.glob(f"{version:04}_*.sql")
    return f"-- {file.name}: {hashlib.sha256(file.read_bytes()).hexdigest()}"


def pinned(version: int) -> str:
    """The same, as it was when the manifest was made."""
    return (FOLDER / f"v{version}.sql").read_text(encoding="utf-8").partition("\n")[0]


def restored(version: int, path: Path) -> Path:
    """A manifest of this version at a path."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((FOLDER / f"v{version}.sql").read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode = WAL")
    return path
