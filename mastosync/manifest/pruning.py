"""What lies at the destination, or may, although its row left the database."""

from __future__ import annotations

from collections.abc import Iterator

from mastosync.manifest.codes import DONE, GONE, ORIGIN_CODE, SKIPPED
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.entry_writer import HAS_ARRIVED
from mastosync.manifest.records import COLUMNS, iter_chosen
from mastosync.model import Entry, Origin, Record

_REMOVABLE = f"""
kind = ? AND state = {SKIPPED} AND reason = {GONE} AND state <> {DONE} AND {HAS_ARRIVED}
"""
_ADOPTED = ORIGIN_CODE[Origin.ADOPTED]
_COUNT = f"""
SELECT count(*), coalesce(sum(size), 0) FROM entries INDEXED BY entries_open
WHERE {_REMOVABLE} AND (origin IS {_ADOPTED} OR NOT ?)
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
WHERE kind = ? AND id BETWEEN ? AND ? AND name = ? AND NOT (state = {SKIPPED} AND reason = {GONE}))
"""


def count_removable(manifest: Manifest, *, only_adopted: bool = False) -> tuple[int, int]:
    """How many entries are gone whose objects have arrived, or may have, and their bytes. Raises: ManifestError."""
    with translated(manifest.path):
        found = [manifest.connection.execute(_COUNT, (number, only_adopted)).fetchone() for number in manifest.kinds()]
    return sum(count for count, _ in found), sum(size_bytes for _, size_bytes in found)


def iter_removable(manifest: Manifest, *, adopted: bool) -> Iterator[Record]:
    """These entries, by kind and id, with or without what was `adopted`. Raises: ManifestError.

    Nothing is being read while one is handed out.
    """
    for number, kind in manifest.kinds().items():
        yield from iter_chosen(manifest, _SELECT if adopted else _SELECT_COPIED, number, kind)


def is_wanted(manifest: Manifest, entry: Entry, ids: tuple[int, int]) -> bool:
    """Whether an entry that is not gone has the same key: one of a row with an id in `ids` (both included).

    A plan that sees both rows leaves one line to a key. This is for what another version left.
    """
    with translated(manifest.path):
        return any(
            manifest.connection.execute(_IS_ALIVE, (number, *ids, entry.name)).fetchone()[0]
            for number, other in manifest.kinds((entry.kind.table,)).items()
            if other.room == entry.kind.room
        )
