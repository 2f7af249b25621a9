"""The record of verifications: what a report, and the decision to delete the old bucket, rest on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mastosync.manifest.connection import Manifest, translated

_INSERT = "INSERT INTO verifications (started_at, ended_at, details) VALUES (?, ?, ?)"
_SELECT_LAST = "SELECT started_at, ended_at, details FROM verifications ORDER BY id DESC LIMIT 1"


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
    with translated(manifest.path):
        row = manifest.connection.execute(_SELECT_LAST).fetchone()
    return VerificationRecord(row[0], row[1], json.loads(row[2])) if row else None
