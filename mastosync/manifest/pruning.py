"""What lies at the destination, or may, although its row left the database.

What a plan lost by `--accept-gone` stays, until a plan finds it again or somebody says that it was deleted: it may lie
nowhere else.

What is private, and lies at the destination as it was stored when it was public, or may.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mastosync.manifest.codes import DONE, GONE, KEPT_PRIVATE, ORIGIN_CODE, PRIVATE_FLAG, SKIPPED
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.entry_writer import ARRIVED, HAS_ARRIVED
from mastosync.manifest.rows import COLUMNS, iter_chosen
from mastosync.model import Entry, Origin, Presence, Record

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


_IS_EXPOSED = f"""
flags & {PRIVATE_FLAG} AND state <> {DONE} AND reason <> {GONE} AND {ARRIVED} & {Presence.AS_PUBLIC.value}
"""  # as the index has it, to the letter: SQLite proves no more
_COUNT_EXPOSED = f"""
SELECT count(*), count(*) FILTER (WHERE reason = {KEPT_PRIVATE})
FROM entries INDEXED BY entries_exposed WHERE {_IS_EXPOSED}
"""
_SELECT_EXPOSED = f"""
SELECT {COLUMNS} FROM entries INDEXED BY entries_exposed
WHERE kind = ? AND {_IS_EXPOSED} AND (id, name) > (?, ?) ORDER BY id, name LIMIT ?
"""


class Exposed(NamedTuple):
    """How many private objects everybody may be able to read at the destination."""

    objects: int = 0
    kept_back: int = 0  # so many of them were skipped as private, and no copy will hide them


def count_exposed(manifest: Manifest) -> Exposed:
    """Count them, whatever became of their entries; what is gone is for `prune`. Raises: ManifestError."""
    with translated(manifest.path):
        return Exposed(*manifest.connection.execute(_COUNT_EXPOSED).fetchone())


def iter_exposed(manifest: Manifest, types: tuple[str, ...] = ()) -> Iterator[Record]:
    """Their entries, by kind and id. Nothing is being read while one is handed out. Raises: ManifestError."""
    for number, kind in manifest.kinds(types).items():
        yield from iter_chosen(manifest, _SELECT_EXPOSED, number, kind)
