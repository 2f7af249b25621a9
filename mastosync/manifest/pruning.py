"""What lies at the destination, or may, although its row left the database.

What a plan lost by `--accept-gone` stays, until a plan finds it again or somebody says that it was deleted: it may lie
nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mastosync.manifest.codes import DONE, GONE, ORIGIN_CODE, SKIPPED
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.entry_writer import HAS_ARRIVED
from mastosync.manifest.rows import COLUMNS, iter_chosen
from mastosync.model import Entry, Origin, Record

_LEFT = f"kind = ? AND state = {SKIPPED} AND reason = {GONE} AND state <> {DONE} AND {HAS_ARRIVED}"
_REMOVABLE = f"{_LEFT} AND accepted IS NOT {GONE}"
_ADOPTED = ORIGIN_CODE[Origin.ADOPTED]
_COUNT = f"""
SELECT coalesce(sum(NOT lost), 0), coalesce(sum(iif(lost, 0, size)), 0),
    coalesce(sum(NOT lost AND origin IS {_ADOPTED}), 0), coalesce(sum(lost), 0)
FROM (SELECT accepted IS {GONE} AS lost, size, origin FROM entries INDEXED BY entries_open WHERE {_LEFT})
"""
_SELECT = f"""
SELECT {COLUMNS} FROM entries INDEXED BY entries_open
WHERE {_REMOVABLE} AND (id, name) > (?, ?) ORDER BY id, name LIMIT ?
"""
_SELECT_COPIED = f"""
SELECT {COLUMNS} FROM entries INDEXED BY entries_open
WHERE {_REMOVABLE} AND origin IS NOT {_ADOPTED} AND (id, name) > (?, ?) ORDER BY id, name LIMIT ?
"""
_IS_ALIVE = f"""
SELECT EXISTS (SELECT 1 FROM entries
WHERE kind = ? AND id BETWEEN ? AND ? AND name = ?
AND NOT (state = {SKIPPED} AND reason = {GONE} AND accepted IS NOT {GONE}))
"""


class Removable(NamedTuple):
    """Entries that are gone, and whose objects have arrived, or may have."""

    objects: int = 0
    size_bytes: int = 0
    adopted: int = 0  # of these objects: mastosync found them there, and did not copy them
    lost: int = 0  # beside them: objects that stay, as a plan lost them by --accept-gone


def count_removable(manifest: Manifest) -> Removable:
    """Count them. Raises: ManifestError."""
    with translated(manifest.path):
        found = [manifest.connection.execute(_COUNT, (number,)).fetchone() for number in manifest.kinds()]
    return Removable(*map(sum, zip(*found, strict=True)))


def iter_removable(manifest: Manifest, *, adopted: bool) -> Iterator[Record]:
    """These entries, by kind and id, with or without what was `adopted`. Raises: ManifestError.

    Nothing is being read while one is handed out.
    """
    for number, kind in manifest.kinds().items():
        yield from iter_chosen(manifest, _SELECT if adopted else _SELECT_COPIED, number, kind)


def is_wanted(manifest: Manifest, entry: Entry, ids: tuple[int, int]) -> bool:
    """Whether an entry that is not gone, or stays, has the same key: of a row with an id in `ids` (both included).

    A plan that sees both rows leaves one line to a key. This is for what another version left.
    """
    with translated(manifest.path):
        return any(
            manifest.connection.execute(_IS_ALIVE, (number, *ids, entry.name)).fetchone()[0]
            for number, other in manifest.kinds((entry.kind.table,)).items()
            if other.room == entry.kind.room
        )
