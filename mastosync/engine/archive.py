"""The form of an archive: a manifest as JSON lines, to keep, to look into, and to make a manifest of again.

The first line is the head (stores, what a probe of them may have left, settings of the destination, kinds, plans, runs
and their pace, verifications), the last one the foot (how many entries, and the SHA-256 of all lines before it), and
each one between is an entry. An entry has the fields of `ls` and those that `ls` does not show; but `source_key` only
says where the object lay, if not under its first candidate.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from mastosync.engine.lister import FIELDS
from mastosync.manifest import ArchivedEntry, ArchiveReader, Head, noted_as_json
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState, Kind, Origin, Presence

FORMAT = "mastosync-manifest"
VERSION = 5
LINE_FIELDS = (*FIELDS, "kind", "name", "fallback", "claimed", "updated", "excluded", "destination", "access")
"""What is told of each entry. The names are part of the interface."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # to make one costs as much as a line
_NOTED_AT_ONCE = 1_000  # entries: whoever shows progress needs no more


class Digest:
    """Lines go by, and are counted and hashed."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.entries = -1  # the head is none

    def take(self, line: bytes) -> bytes:
        """Take in a line with its end, and return it."""
        self._hash.update(line)
        self.entries += 1
        return line

    def foot(self) -> dict[str, Any]:
        """What the last line says."""
        return {"entries": self.entries, "sha256": self._hash.hexdigest()}


def iter_archive(reader: ArchiveReader, note: Callable[[int], None]) -> Iterator[bytes]:
    """The lines of an archive, each with its end, in UTF-8. `note` is told how many entries have gone by since.

    Raises: ManifestError.
    """
    digest = Digest()
    head = reader.head()
    yield digest.take(encoded(head_as_json(head)))
    prefix, noted = head.destination.key_prefix, 0
    for each in reader.iter_entries():
        yield digest.take(encoded(entry_as_json(each, prefix)))
        if digest.entries - noted == _NOTED_AT_ONCE:
            note(_NOTED_AT_ONCE)
            noted = digest.entries
    note(digest.entries - noted)
    yield encoded(digest.foot())


def encoded(line: dict[str, Any]) -> bytes:
    """One line."""
    return _encode(line).encode() + b"\n"


def head_as_json(head: Head) -> dict[str, Any]:
    """The first line."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "source": asdict(head.source),
        "destination": asdict(head.destination),
        "probe": head.probe,
        "settings": None if head.settings is None else noted_as_json(head.settings),
        "kinds": [{"kind": number, **kind._asdict()} for number, kind in sorted(head.kinds.items())],
        **head.records,
    }


def entry_as_json(each: ArchivedEntry, destination_prefix: str) -> dict[str, Any]:
    """A line between: `LINE_FIELDS` in their order."""
    entry, kind = each.entry, each.entry.kind
    return {
        "table": kind.table,
        "id": entry.id,
        "attachment": kind.attachment,
        "style": kind.style,
        "key": canonical_key(entry, destination_prefix),
        "source_key": each.source_key,
        "state": each.state.value,
        "reason": each.reason.value if each.reason else None,
        "size": entry.size,
        "attempts": each.attempts,
        "md5": each.md5.hex() if each.md5 else None,
        "etag": each.etag,
        "optional": entry.optional,
        "private": entry.private,
        "detail": each.detail,
        "origin": _origin(each),
        "kind": each.kind,
        "name": entry.name,
        "fallback": entry.fallback,
        "claimed": each.claimed,
        "updated": entry.updated,
        "excluded": each.excluded,
        "destination": _bits(each.presence),
        "access": _bits(each.access),
    }


def _bits(presence: Presence | None) -> list[str] | None:
    """The names of the bits; None: that follows from the rest."""
    return None if presence is None else [str(bit.name).lower() for bit in Presence if bit in presence]


def _origin(each: ArchivedEntry) -> str | None:
    """As `ls` has it; an entry that is pending again may remember who brought it."""
    known = each.state is EntryState.DONE or each.origin is not Origin.COPIED
    return each.origin.value if known else None


KIND_FIELDS = ("kind", *Kind._fields)
HEAD_FIELDS = (
    "format",
    "version",
    "source",
    "destination",
    "probe",
    "settings",
    "kinds",
    "snapshots",
    "runs",
    "verifications",
    "samples",
)
_SINCE_2: dict[str, Any] = {"samples": [], "updated": None, "excluded": False}
_SINCE_3: dict[str, Any] = {"destination": None, "access": None}
_SINCE_4: dict[str, Any] = {"probe": None}
_SINCE_5: dict[str, Any] = {"settings": None}
LATER_FIELDS: dict[int, dict[str, Any]] = {
    1: _SINCE_2 | _SINCE_3 | _SINCE_4 | _SINCE_5,
    2: _SINCE_3 | _SINCE_4 | _SINCE_5,
    3: _SINCE_4 | _SINCE_5,
    4: _SINCE_5,
}
"""What an older version lacks, and what takes its place."""
