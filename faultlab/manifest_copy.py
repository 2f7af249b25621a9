"""A manifest as a dead process left it, read by SQLite alone.

What is read is a copy: to open a SQLite file repairs it, and that is for the next command to do.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultlab.world import Identity
from lab.instance_objects import Place

_ENTRIES = """
SELECT k."table", e.id, k.attachment, k.style, e.name, s.name, r.name, e.size, k.directory, k.cached, k.remote,
    e.flags & 2, EXISTS (SELECT 1 FROM claims c WHERE (c.kind, c.id, c.name) = (e.kind, e.id, e.name)),
    e.state = 1 OR coalesce(e.arrived, coalesce(e.md5, e.etag) IS NOT NULL) <> 0
FROM entries e JOIN kinds k ON k.id = e.kind JOIN states s ON s.code = e.state LEFT JOIN reasons r ON r.code = e.reason
"""
_CLAIMS = "SELECT count(*) FROM claims JOIN entries USING (kind, id, name) WHERE state = 0"
_COUNTED = """
SELECT kind, state, reason, count(*), sum(coalesce(size, 0)) FROM entries GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_LAST_PLAN = "SELECT details FROM snapshots ORDER BY id DESC LIMIT 1"
_KEPT = "SELECT kind, state, reason, objects, bytes FROM counts WHERE objects > 0 ORDER BY 1, 2, 3"


@dataclass(frozen=True, slots=True)
class Line:
    """One entry."""

    name: str  # last segment of its key
    state: str
    reason: str | None
    size: int | None
    key: str = ""  # canonical, without Mastodon's S3_KEY_PREFIX
    remote: bool = False
    private: bool = False
    claimed: bool = False  # in somebody's hands: its object may have arrived
    arrived: bool = False  # it is known that an object of its lies at the destination

    @property
    def gone(self) -> bool:
        """Whether its row has left, as far as the manifest knows."""
        return self.reason == "gone"


@dataclass(frozen=True, slots=True)
class ManifestCopy:
    """Everything that the lab wants to know of a manifest."""

    lines: tuple[tuple[Identity, Line], ...]
    plans: int
    claims: int  # of pending entries
    complaints: tuple[str, ...]  # of what cannot be
    incremental: bool = False  # the last plan

    @property
    def entries(self) -> dict[Identity, Line]:
        """The lines of a world that stands still: there, an object has one."""
        return dict(self.lines)

    def in_state(self, state: str) -> Iterator[tuple[Identity, Line]]:
        """The entries of one state."""
        return ((each, line) for each, line in self.lines if line.state == state)


NOTHING = ManifestCopy((), 0, 0, ())


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
    lines = tuple(map(_line, connection.execute(_ENTRIES)))
    (plans,) = connection.execute("SELECT count(*) FROM snapshots").fetchone()
    (claims,) = connection.execute(_CLAIMS).fetchone()
    last = connection.execute(_LAST_PLAN).fetchone()
    incremental = last is not None and bool(json.loads(last[0]).get("incremental"))
    return ManifestCopy(lines, plans, claims, complaints_of(connection), incremental)


def _line(row: tuple[Any, ...]) -> tuple[Identity, Line]:
    table, row_id, attachment, style, name, state, reason, size, directory, cached, remote, *known = row
    key = Place("", directory, row_id, bool(cached)).key(style, name)
    private, claimed, arrived = map(bool, known)
    return (table, row_id, attachment, style), Line(
        name, state, reason, size, key, bool(remote), private, claimed, arrived
    )
