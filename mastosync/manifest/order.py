"""In which order pending entries are worked on: by their age across all kinds, without sorting them.

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
from typing import Any, TypeVar

from mastosync.model import Kind, Order

_SNOWFLAKE_TABLES = frozenset({"media_attachments", "accounts"})
_REFETCHED_BY_MASTODON = frozenset({"preview_cards", "preview_card_providers"})
_UNKNOWN = math.inf  # comes after every age
_ID, _UPDATED = 1, 6  # of a row

Row = TypeVar("Row", bound=tuple[Any, ...])
"""Kind, id, name, fallback, flags, size, updated, and what else is asked for."""


def stages(kinds: Mapping[int, Kind], order: Order) -> list[dict[int, Kind]]:
    """Kinds by number in groups, of which each is worked through before the next one."""
    if order is not Order.LOCAL_FIRST:
        return [dict(kinds)]
    local = {number: kind for number, kind in kinds.items() if _is_only_here(kind)}
    return [local, {number: kind for number, kind in kinds.items() if number not in local}]


def merged(chunks: Mapping[Kind, Iterable[Sequence[Row]]], *, newest: bool) -> Iterator[Row]:
    """Rows of all kinds from the newest (or oldest) on; each kind comes in chunks, in this order by id."""
    streams = [_dated(kind, some, -1 if newest else 1) for kind, some in chunks.items()]
    return map(itemgetter(1), heapq.merge(*streams, key=itemgetter(0)))


def _is_only_here(kind: Kind) -> bool:
    """Whether nobody could fetch such objects again once they are lost."""
    return not kind.remote and kind.table not in _REFETCHED_BY_MASTODON


def _dated(kind: Kind, chunks: Iterable[Sequence[Row]], sign: int) -> Iterator[tuple[float, Row]]:
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
