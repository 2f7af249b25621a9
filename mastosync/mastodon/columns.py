"""Rows of a query turned into columns: a plan has millions of rows, and moves whole columns of them.

A row holds id, remote, private, var; then name, type, size, schema version and time of each attachment.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import compress
from typing import Any

from mastosync.model import MediaColumns

Columns = Sequence[tuple[Any, ...]]


def columns_of(rows: Sequence[tuple[Any, ...]], after_id: int | None, withheld: Sequence[int] = ()) -> Columns:
    """Columns of rows whose ids ascend from `after_id` on, each id once: a view in place of a table may repeat it.

    `withheld`: ids, ascending, that are private whatever their row says. Empty if no id is new.
    """
    columns = list(zip(*rows, strict=True))
    ids = columns[0]
    if ids[0] == after_id or len(set(ids)) < len(ids):
        unique = {row[0]: row for row in rows if row[0] != after_id}
        columns = list(zip(*unique.values(), strict=True))
    return _withholding(columns, withheld) if columns else columns


def _withholding(columns: list[tuple[Any, ...]], withheld: Sequence[int]) -> Columns:
    """The same with these ids made private. Most batches have none of them."""
    ids = columns[0]
    among = frozenset(withheld[bisect_left(withheld, ids[0]) : bisect_right(withheld, ids[-1])])
    if among:
        columns[2] = tuple(private or row_id in among for row_id, private in zip(ids, columns[2], strict=True))
    return columns


def media_of(columns: Columns, attachment: int) -> MediaColumns:
    """One attachment of these columns, counted from 0: of the rows that have a file name for it."""
    ids, remote, private, variables = columns[:4]
    names, types, sizes, versions, updated = columns[4 + 5 * attachment : 9 + 5 * attachment]
    media = (ids, names, types, sizes, versions, remote, private, variables, updated)
    return MediaColumns._make(media if all(names) else (tuple(compress(column, names)) for column in media))
