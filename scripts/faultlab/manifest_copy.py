"""A manifest as a dead process left it, read by SQLite alone.

What is read is a copy: to open a SQLite file repairs it, and that is for the next command to do.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from scripts.faultlab.world import Identity

_ENTRIES = 'SELECT "table", id, attachment, style, name, state, reason, size FROM readable'
_CLAIMS = "SELECT count(*) FROM claims JOIN entries USING (kind, id, name) WHERE state = 0"
_COUNTED = """
SELECT kind, state, reason, count(*), sum(coalesce(size, 0)) FROM entries GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_KEPT = "SELECT kind, state, reason, objects, bytes FROM counts WHERE objects > 0 ORDER BY 1, 2, 3"


@dataclass(frozen=True, slots=True)
class Line:
    """One entry."""

    name: str  # last segment of its key
    state: str
    reason: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class ManifestCopy:
    """Everything that the lab wants to know of a manifest."""

    entries: dict[Identity, Line]
    plans: int
    claims: int  # of pending entries
    complaints: tuple[str, ...]  # of what cannot be

    def in_state(self, state: str) -> Iterator[tuple[Identity, Line]]:
        """The entries of one state."""
        return ((each, line) for each, line in self.entries.items() if line.state == state)


NOTHING = ManifestCopy({}, 0, 0, ())


def read_copy(manifest: Path) -> ManifestCopy:
    """Copy a manifest that nobody writes to, with what lies beside it, and read it."""
    if not manifest.exists():
        return NOTHING
    with tempfile.TemporaryDirectory(prefix="manifest-") as folder:
        for suffix in ("", "-wal", "-journal"):
            beside = manifest.with_name(manifest.name + suffix)
            if beside.exists():
                shutil.copy(beside, folder)
        with closing(sqlite3.connect(Path(folder) / manifest.name)) as connection:
            return _read(connection)


def complaints_of(connection: sqlite3.Connection) -> tuple[str, ...]:
    """What is wrong with a manifest: damage, or counters that do not tell what there is."""
    (check,) = connection.execute("PRAGMA integrity_check").fetchone()
    found = [] if check == "ok" else [f"the manifest is damaged: {check}"]
    counted, kept = connection.execute(_COUNTED).fetchall(), connection.execute(_KEPT).fetchall()
    if counted != kept:
        found.append(f"counters tell {kept}, entries are {counted}")
    return tuple(found)


def _read(connection: sqlite3.Connection) -> ManifestCopy:
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'entries'").fetchone() is None:
        return NOTHING  # the process died before it had made its tables
    entries = {tuple(row[:4]): Line(*row[4:]) for row in connection.execute(_ENTRIES)}
    (plans,) = connection.execute("SELECT count(*) FROM snapshots").fetchone()
    (claims,) = connection.execute(_CLAIMS).fetchone()
    return ManifestCopy(entries, plans, claims, complaints_of(connection))
