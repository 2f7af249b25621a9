"""The record of verifications: what a report, and the decision to delete the old bucket, rest on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mastosync.manifest.complaints import sound
from mastosync.manifest.connection import Manifest

_INSERT = "INSERT INTO verifications (started_at, ended_at, details) VALUES (?, ?, ?)"
_SELECT = "SELECT started_at, ended_at, details FROM verifications ORDER BY id DESC LIMIT ?"
_ALL = -1


@dataclass(frozen=True, slots=True)
class VerificationRecord:
    """One run of `verify`. Times are seconds since the epoch."""

    started_at: float
    ended_at: float
    details: dict[str, Any]


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


def _newest(manifest: Manifest, limit: int) -> list[VerificationRecord]:
    with sound(manifest.path):
        rows = manifest.connection.execute(_SELECT, (limit,)).fetchall()
        return [VerificationRecord(started_at, ended_at, json.loads(details)) for started_at, ended_at, details in rows]
