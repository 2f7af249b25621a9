"""The record of verifications: what a report, and the decision to delete the old bucket, rest on."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mastosync.manifest.connection import Manifest
from mastosync.manifest.details import details_of
from mastosync.manifest.meta import delete_meta, meta_of, set_meta
from mastosync.manifest.sqlite_errors import sound

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
