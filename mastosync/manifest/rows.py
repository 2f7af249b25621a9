"""Lines of the manifest, as everybody reads them who wants all of an entry.

In which order pending entries are worked on: by their age across all kinds, without sorting them.

Within a kind, ids follow time closely enough: entries come in the order of their ids, straight from an index.
Between kinds, ages are compared: that of an entry's file where its row tells it, else that of the row where its
id carries one; what has neither comes last. No more is in memory than two chunks of each kind.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

from mastosync.manifest.codes import DONE, FAILED, OPTIONAL_FLAG, ORIGIN_OF, PRIVATE_FLAG, REASON_OF, STATE_OF
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.lifecycle import presence_of
from mastosync.model import Entry, Kind, Order, Record

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


_SNOWFLAKE_TABLES = frozenset({"media_attachments", "accounts"})
_REFETCHED_BY_MASTODON = frozenset({"preview_cards", "preview_card_providers"})
_UNKNOWN = math.inf  # comes after every age
_ID, _UPDATED = 1, 6  # of a row

T = TypeVar("T", bound=tuple[Any, ...])
"""Kind, id, name, fallback, flags, size, updated, and what else is asked for."""


def stages(kinds: Mapping[int, Kind], order: Order) -> list[dict[int, Kind]]:
    """Kinds by number in groups, of which each is worked through before the next one."""
    if order is not Order.LOCAL_FIRST:
        return [dict(kinds)]
    local = {number: kind for number, kind in kinds.items() if _is_only_here(kind)}
    return [local, {number: kind for number, kind in kinds.items() if number not in local}]


def merged(chunks: Mapping[Kind, Iterable[Sequence[T]]], *, newest: bool) -> Iterator[T]:
    """Rows of all kinds from the newest (or oldest) on; each kind comes in chunks, in this order by id."""
    streams = [_dated(kind, some, -1 if newest else 1) for kind, some in chunks.items()]
    return map(itemgetter(1), heapq.merge(*streams, key=itemgetter(0)))


def _is_only_here(kind: Kind) -> bool:
    """Whether nobody could fetch such objects again once they are lost."""
    return not kind.remote and kind.table not in _REFETCHED_BY_MASTODON


def _dated(kind: Kind, chunks: Iterable[Sequence[T]], sign: int) -> Iterator[tuple[float, T]]:
    """Rows of a kind, each with its turn: ascending numbers, the sign being that of time.

    A row has the turn of the first one that comes after it, within its chunk and the next, if that is earlier:
    an old account that changed its avatar yesterday must not hold up those behind it.
    """
    is_snowflake = kind.table in _SNOWFLAKE_TABLES
    for rows, following in pairwise(chain(chunks, ([],))):
        behind = min((_turn(row, sign, is_snowflake) for row in following), default=_UNKNOWN)
        turns = accumulate((_turn(row, sign, is_snowflake) for row in reversed(rows)), min, initial=behind)
        yield from zip(reversed(list(turns)[1:]), rows, strict=True)


def _turn(row: tuple[Any, ...], sign: int, is_snowflake: bool) -> float:
    updated: int | None = row[_UPDATED]
    if updated is not None:
        return sign * updated
    return sign * (row[_ID] >> 16) / 1000 if is_snowflake else _UNKNOWN
