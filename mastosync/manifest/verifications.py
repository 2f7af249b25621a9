"""The record of verifications: what a report, and the decision to delete the old bucket, rest on.

Reading entries strand by strand, beside whoever writes: for what has to be in the order of ids.

A reader has a connection of its own, in the thread that made it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mastosync.manifest.codes import GONE, STATE_CODE
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.meta import delete_meta, details_of, meta_of, set_meta
from mastosync.manifest.rows import COLUMNS, Row
from mastosync.manifest.sqlite_errors import sound
from mastosync.model import EntryState, Kind

_INSERT = "INSERT INTO verifications (started_at, ended_at, details) VALUES (?, ?, ?)"
_SELECT = "SELECT started_at, ended_at, details FROM verifications ORDER BY id DESC LIMIT ?"
_ALL = -1
CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class VerificationRecord:
    """One run of `verify`. Times are seconds since the epoch."""

    started_at: float
    ended_at: float
    details: dict[str, Any]


class LastChange(NamedTuple):
    """Of what is at the destination."""

    at: float = 0.0  # seconds since the epoch; 0: there was none
    command: str = ""


def record_verification(manifest: Manifest, started_at: float, ended_at: float, details: Mapping[str, Any]) -> None:
    """Remember a verification that came to its end. Raises: ManifestError."""
    with manifest.transaction() as connection:
        connection.execute(_INSERT, (started_at, ended_at, json.dumps(dict(details))))


def last_verification(manifest: Manifest) -> VerificationRecord | None:
    """The last one; None before the first. Raises: ManifestError."""
    return next(iter(_newest(manifest, 1)), None)


def verifications(manifest: Manifest) -> list[VerificationRecord]:
    """All of them, the newest first. Raises: ManifestError."""
    return _newest(manifest, _ALL)


def note_change(connection: sqlite3.Connection, command: str) -> None:
    """Note within a transaction that this command lets something be done, or stores it anew. `copy` has its runs."""
    set_meta(connection, CHANGED, f"{time.time()} {command}")


def take_back_change(manifest: Manifest, former: LastChange) -> None:
    """Nothing was stored anew after all: the last change is the `former` one. Raises: ManifestError."""
    with manifest.transaction() as connection:
        if former.command:
            set_meta(connection, CHANGED, f"{former.at} {former.command}")
        else:
            delete_meta(connection, CHANGED)


def last_change(manifest: Manifest) -> LastChange:
    """The last one by another command than `copy`: what was verified before proves less. Raises: ManifestError."""
    found = meta_of(manifest, CHANGED)
    if found is None:
        return LastChange()
    with sound(manifest.path):
        at, command = found.split()
        return LastChange(float(at), command)


def _newest(manifest: Manifest, limit: int) -> list[VerificationRecord]:
    with sound(manifest.path):
        rows = manifest.connection.execute(_SELECT, (limit,)).fetchall()
        return [VerificationRecord(began, ended, details_of("verifications", found)) for began, ended, found in rows]


_SELECT_SEGMENT = f"""
SELECT {COLUMNS} FROM entries WHERE kind = ? AND id >= ? AND id <= ? AND reason <> {GONE} {{states}} ORDER BY id, name
"""
_SELECT_AFTER = f"""
SELECT id, name FROM entries WHERE kind = ? AND (id, name) > (?, ?) AND reason <> {GONE} {{states}}
ORDER BY id, name LIMIT 1 OFFSET ?
"""
_CACHE_KIB = 2_048  # lines are read once, one after the other
_BEFORE_ALL = (-(2**63), "")


class SegmentReader:
    """Entries of the manifest in some states, but for those that are gone. Use `SegmentReader.opened`."""

    def __init__(self, manifest: Manifest, states: Collection[EntryState]) -> None:
        self._manifest = manifest
        chosen = ", ".join(str(STATE_CODE[state]) for state in states)
        condition = f"AND state IN ({chosen})" if states else ""
        self._select, self._select_after = (text.format(states=condition) for text in (_SELECT_SEGMENT, _SELECT_AFTER))

    @classmethod
    @contextmanager
    def opened(cls, path: Path, states: Collection[EntryState] = ()) -> Iterator[SegmentReader]:
        """A reader for this thread. No states: all. Raises: ManifestError, here and below."""
        with closing(Manifest.open(path)) as manifest:
            manifest.connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            yield cls(manifest, states)

    def kinds(self, types: tuple[str, ...] = ()) -> dict[int, Kind]:
        """Kinds by number: all, or those of some tables."""
        return self._manifest.kinds(types)

    def iter_rows(self, kind: int, lowest: int, highest: int) -> Iterator[Row]:
        """Lines of a kind with ids from `lowest` to `highest`, by id and name."""
        with translated(self._manifest.path):
            # no `yield from`, which closes the cursor of who stops in the middle, maybe after its connection
            for row in self._manifest.connection.execute(self._select, (kind, lowest, highest)):  # noqa: UP028
                yield row

    def iter_every(self, kind: int, step: int) -> Iterator[tuple[int, str]]:
        """Id and name of each `step`-th line of a kind; SQLite passes over those between."""
        place = _BEFORE_ALL
        with translated(self._manifest.path):
            while row := self._manifest.connection.execute(self._select_after, (kind, *place, step - 1)).fetchone():
                yield (place := row)
