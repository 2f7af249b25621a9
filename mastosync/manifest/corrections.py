"""Corrections: entries that change their state without having been claimed.

`verify` finds that something done is lost, `adopt` that something pending has arrived, `refetch` brings
what had failed. Each knows in which state it found the entry, as the counters have to.
"""

from __future__ import annotations

from collections.abc import Sequence

from mastosync.manifest.codes import ORIGIN_CODE, REASON_CODE, STATE_CODE
from mastosync.manifest.connection import Manifest
from mastosync.model import EntryState, Outcome, Record

_REOPEN = """
UPDATE entries SET state = ?, reason = ?, detail = ?
WHERE kind = ? AND id = ? AND name = ? AND state = ? AND reason = ?
"""
_SETTLE = """
UPDATE entries SET state = ?, reason = ?, detail = ?, size = coalesce(?, size), attempts = attempts + ?,
    md5 = ?, etag = ?, source_key = ?, origin = ?
WHERE kind = ? AND id = ? AND name = ? AND state = ? AND reason = ?
"""
_DROP_CLAIM = "DELETE FROM claims WHERE kind = ? AND id = ? AND name = ?"


def correct(manifest: Manifest, corrections: Sequence[tuple[Record, Outcome]]) -> int:
    """Record what became of entries that stand as their records say, in one transaction; return how many did.

    One that goes back to pending keeps its digest and ETag: a copy then writes it anew, whatever lies
    there. Nothing changes where the record is out of date. Raises: ManifestError, and then nothing
    has changed.
    """
    changed = 0
    with manifest.transaction() as connection:
        for record, outcome in corrections:
            entry = record.entry
            place = (manifest.kind_id(entry.kind), entry.id, entry.name)
            found = (STATE_CODE[record.state], REASON_CODE[record.reason])
            becomes = (STATE_CODE[outcome.state], REASON_CODE[outcome.reason])
            if outcome.state is EntryState.PENDING:
                cursor = connection.execute(_REOPEN, (*becomes, outcome.detail, *place, *found))
            else:
                seen = (outcome.md5, outcome.etag, outcome.source_key, ORIGIN_CODE[outcome.origin])
                values = (*becomes, outcome.detail, outcome.size, outcome.attempts, *seen)
                cursor = connection.execute(_SETTLE, (*values, *place, *found))
            if not cursor.rowcount:
                continue
            known_bytes = entry.size or 0
            manifest.count(place[0], *found, -1, -known_bytes)
            manifest.count(place[0], *becomes, 1, known_bytes if outcome.size is None else outcome.size)
            connection.execute(_DROP_CLAIM, place)
            changed += 1
    return changed
