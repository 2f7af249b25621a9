"""Lines of the manifest, as everybody reads them who wants all of an entry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from mastosync.manifest.codes import DONE, FAILED, OPTIONAL_FLAG, ORIGIN_OF, PRIVATE_FLAG, REASON_OF, STATE_OF
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.lifecycle import presence_of
from mastosync.model import Entry, Kind, Record

COLUMNS = (
    "id, name, fallback, flags, size, state, reason, attempts, md5, etag, source_key, detail, origin, updated, "
    "arrived, accepted"
)

_BEFORE_ALL = -(2**63)
_PAGE = 500  # lines

Row: TypeAlias = tuple[
    int,
    str,
    str | None,
    int,
    int | None,
    int,
    int,
    int,
    bytes | None,
    str | None,
    str | None,
    str | None,
    int | None,
    int | None,
    int | None,
    int | None,
]
"""What `COLUMNS` give."""


def record_of(kind: Kind, row: Row) -> Record:
    """What a line says."""
    row_id, name, fallback, flags, size, state, reason, attempts, md5, etag, source_key, detail, origin, *rest = row
    updated, arrived, accepted = rest
    optional, private = bool(flags & OPTIONAL_FLAG), bool(flags & PRIVATE_FLAG)
    return Record(
        entry=Entry(kind, row_id, name, fallback, optional, private, size, updated),
        source_key=source_key,
        state=STATE_OF[state],
        reason=REASON_OF[reason],
        attempts=attempts,
        md5=md5,
        etag=etag,
        detail=detail,
        origin=ORIGIN_OF[origin] if state == DONE else None,
        presence=presence_of(flags, state, arrived, has_digest=md5 is not None or etag is not None),
        accepted=state == FAILED and accepted == reason,
    )


def iter_chosen(
    manifest: Manifest, select: str, number: int, kind: Kind, after: tuple[int, str] = (_BEFORE_ALL, "")
) -> Iterator[Record]:
    """What a query chooses of the lines of one kind, by id and name. Nothing is being read while one is handed out.

    `select`: gives `COLUMNS`; its parameters are the kind's `number`, the id and name to go on after, and how many.
    `after`: the first of these. Raises: ManifestError.
    """
    place = after
    while True:
        with translated(manifest.path):
            rows: list[Row] = manifest.connection.execute(select, (number, *place, _PAGE)).fetchall()
        yield from (record_of(kind, row) for row in rows)
        if len(rows) < _PAGE:
            break
        place = rows[-1][:2]
