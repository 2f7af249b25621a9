"""Listing entries: what the manifest knows of each, with the keys that follow from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mastosync.manifest import Manifest, ManifestReader
from mastosync.mastodon.paperclip import canonical_key, iter_candidates
from mastosync.model import EntryState, Reason, Record

FIELDS = (
    "table",
    "id",
    "attachment",
    "style",
    "key",
    "source_key",
    "state",
    "reason",
    "size",
    "attempts",
    "md5",
    "etag",
    "optional",
    "private",
    "detail",
    "origin",
    "accepted",
)
"""What is told of each entry. The names are part of the interface."""


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which entries to list; an empty filter lets everything through."""

    states: tuple[EntryState, ...] = ()
    types: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    accepted: bool | None = None  # failures: only those that somebody has accepted, or only those that nobody has


def iter_listed(manifest: Manifest, chosen: ListFilter) -> Iterator[dict[str, Any]]:
    """Entries as flat dictionaries of `FIELDS`, by type and id.

    `key` is the canonical key at the destination; `source_key` is where the object was found, or
    will be looked for first. Raises: ManifestError.
    """
    report = ManifestReader(manifest)
    source, destination = report.store("source"), report.store("destination")
    source_prefix = source.key_prefix if source else ""
    destination_prefix = destination.key_prefix if destination else ""
    for record in report.iter_records(chosen.states, chosen.types, chosen.reasons, accepted=chosen.accepted):
        yield described(record, source_prefix, destination_prefix)


def described(record: Record, source_prefix: str, destination_prefix: str) -> dict[str, Any]:
    """An entry as a flat dictionary of `FIELDS`."""
    entry = record.entry
    return {
        "table": entry.kind.table,
        "id": entry.id,
        "attachment": entry.kind.attachment,
        "style": entry.kind.style,
        "key": canonical_key(entry, destination_prefix),
        "source_key": record.source_key or next(iter_candidates(entry, source_prefix)),
        "state": record.state.value,
        "reason": record.reason.value if record.reason else None,
        "size": entry.size,
        "attempts": record.attempts,
        "md5": record.md5.hex() if record.md5 else None,
        "etag": record.etag,
        "optional": entry.optional,
        "private": entry.private,
        "detail": record.detail,
        "origin": record.origin.value if record.origin else None,
        "accepted": record.accepted,
    }
