"""What lies at the destination, or may, although its row left the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

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
SELECT count(*), coalesce(sum(size), 0), coalesce(sum(origin IS {_ADOPTED}), 0) FROM entries INDEXED BY entries_open
WHERE {_REMOVABLE}
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


class Removable(NamedTuple):
    """Entries that are gone, and whose objects have arrived, or may have."""

    objects: int = 0
    size_bytes: int = 0
    adopted: int = 0  # of these objects: mastosync found them there, and did not copy them


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
    """Whether an entry that is not gone has the same key: one of a row with an id in `ids` (both included).

    A plan that sees both rows leaves one line to a key. This is for what another version left.
    """
    with translated(manifest.path):
        return any(
            manifest.connection.execute(_IS_ALIVE, (number, *ids, entry.name)).fetchone()[0]
            for number, other in manifest.kinds((entry.kind.table,)).items()
            if other.room == entry.kind.room
        )
