"""The form of an archive: a manifest as JSON lines, to keep, to look into, and to make a manifest of again.

The first line is the head (stores, what a probe of them may have left, the database, settings of the destination,
kinds, plans, runs and their pace, verifications), the last one the foot (how many entries, and the SHA-256 of all lines
before it), and each one between is an entry. An entry has the fields of `ls` and those that `ls` does not show; but
`source_key` only says where the object lay, if not under its first candidate, and `accepted` which reason was accepted.
Moments are in UTC and ISO 8601, with as many digits as an import needs to make the very same manifest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mastosync.listing import FIELDS
from mastosync.manifest import (
    EXCLUDED_FLAG,
    ORIGIN_OF,
    REASON_OF,
    STATE_OF,
    ArchivedEntry,
    ArchiveReader,
    EntryRow,
    Head,
    entry_of,
    noted_as_json,
)
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState, Kind, Origin, Presence

FORMAT = "mastosync-manifest"
PLAIN_COLUMNS: tuple[str, ...] = ()
"""Columns of later versions that an archive has as they are, under their own names: numbers, text or null."""

LINE_FIELDS = (
    *(*FIELDS, "kind", "name", "fallback", "claimed", "updated", "excluded", "destination", "access"),
    *PLAIN_COLUMNS,
)
"""What is told of each entry. The names are part of the interface."""

KIND_FIELDS = ("kind", *Kind._fields)
HEAD_FIELDS = (
    "format",
    "version",
    "source",
    "destination",
    "probe",
    "database",
    "settings",
    "notes",
    "kinds",
    "snapshots",
    "runs",
    "verifications",
    "samples",
)
_SINCE: dict[int, dict[str, Any]] = {
    2: {"samples": [], "updated": None, "excluded": False},
    3: {"destination": None, "access": None},
    4: {"probe": None},
    5: {"database": None, "settings": None, "notes": {}, "accepted": None},
}
VERSION = max(_SINCE)
LATER_FIELDS: dict[int, dict[str, Any]] = {
    version: {name: value for since in _SINCE if since > version for name, value in _SINCE[since].items()}
    for version in range(1, VERSION)
}
"""What an older version lacks, and what takes its place."""

MOMENTS = ("started_at", "updated_at", "ended_at", "at")
"""What records have as seconds since the epoch."""

_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?\+00:00")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # to make one costs as much as a line
_LAST_SECOND = int(datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp())
_NOTED_AT_ONCE = 1_000  # entries: progress needs no more


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
    """The lines of an archive, each with its end, in UTF-8. `note` gets the number of entries since its last call.

    Raises: ManifestError.
    """
    digest = Digest()
    head = reader.head()
    yield digest.take(encoded(head_as_json(head)))
    prefix, noted = head.destination.key_prefix, 0
    for line in reader.iter_entries(lambda each, kind: encoded(entry_as_json(each, kind, prefix))):
        yield digest.take(line)
        if digest.entries - noted == _NOTED_AT_ONCE:
            note(_NOTED_AT_ONCE)
            noted = digest.entries
    note(digest.entries - noted)
    yield encoded(digest.foot())


def encoded(line: dict[str, Any]) -> bytes:
    """One line."""
    return _encode(line).encode() + b"\n"


def as_iso(seconds: float | None) -> str | float | None:
    """A moment to the last digit. What no calendar of Python's has stays a number of seconds since the epoch."""
    whole, _, fraction = f"{seconds}".partition(".")
    if seconds is None or not whole.isdecimal() or int(whole) > _LAST_SECOND:
        return seconds
    told = datetime.fromtimestamp(int(whole), UTC).isoformat()
    return told if not fraction else told.replace("+", f".{fraction}+")


def seconds_of(moment: object) -> object:
    """What `as_iso` was given; what is not text stays as it is. Raises: ValueError if it is another text."""
    if not isinstance(moment, str):
        return moment
    found = _ISO.fullmatch(moment)
    if found is None:
        raise ValueError(f"{moment!r} is no moment in UTC")
    whole = int(datetime.fromisoformat(f"{found[1]}+00:00").timestamp())
    return float(f"{whole}{found[2]}") if found[2] else whole


def head_as_json(head: Head) -> dict[str, Any]:
    """The first line."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "source": asdict(head.source),
        "destination": asdict(head.destination),
        "probe": head.probe,
        "database": head.database and asdict(head.database),
        "settings": None if head.settings is None else noted_as_json(head.settings),
        "notes": head.notes,
        "kinds": [{"kind": number, **kind._asdict()} for number, kind in sorted(head.kinds.items())],
        **{
            table: [{name: as_iso(of) if name in MOMENTS else of for name, of in each.items()} for each in records]
            for table, records in head.records.items()
        },
    }


def entry_as_json(each: ArchivedEntry, kind: Kind, destination_prefix: str) -> dict[str, Any]:
    """A line between: `LINE_FIELDS` in their order."""
    row, entry = each.row, entry_of(kind, each.row)
    return {
        "table": kind.table,
        "id": row.id,
        "attachment": kind.attachment,
        "style": kind.style,
        "key": canonical_key(entry, destination_prefix),
        "source_key": row.source_key,
        "state": STATE_OF[row.state].value,
        "reason": _word(row.reason),
        "size": row.size,
        "attempts": row.attempts,
        "md5": row.md5.hex() if row.md5 else None,
        "etag": row.etag,
        "optional": entry.optional,
        "private": entry.private,
        "detail": row.detail,
        "origin": _origin(row),
        "accepted": _word(row.accepted),
        "kind": each.kind,
        "name": row.name,
        "fallback": row.fallback,
        "claimed": each.access is not None,
        "updated": as_iso(row.updated),
        "excluded": bool(row.flags & EXCLUDED_FLAG),
        "destination": None if row.arrived is None else _bits(Presence(row.arrived)),
        "access": each.access and _bits(each.access),
        **{name: getattr(row, name) for name in PLAIN_COLUMNS},
    }


def _bits(presence: Presence) -> list[str]:
    return [str(bit.name).lower() for bit in Presence if bit in presence]


def _word(reason: int | None) -> str | None:
    """A reason by its code; None: there is none."""
    found = None if reason is None else REASON_OF[reason]
    return found and found.value


def _origin(row: EntryRow) -> str | None:
    """As `ls` has it; an entry that is pending again may remember who brought it."""
    state, origin = STATE_OF[row.state], ORIGIN_OF[row.origin]
    return origin.value if state is EntryState.DONE or origin is not Origin.COPIED else None
