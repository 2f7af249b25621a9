"""Manifests of every version, as SQL: `vN.sql` was made by code that knew no version after N."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

FOLDER = Path(__file__).parent


def restored(version: int, path: Path) -> Path:
    """A manifest of this version at a path."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((FOLDER / f"v{version}.sql").read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode = WAL")
    return path
