"""What is private, and lies at the destination as it was stored when it was public, or may."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mastosync.manifest.codes import DONE, GONE, KEPT_PRIVATE, PRIVATE_FLAG
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.entry_writer import ARRIVED
from mastosync.manifest.rows import COLUMNS, iter_chosen
from mastosync.model import Presence, Record

_IS_EXPOSED = f"""
flags & {PRIVATE_FLAG} AND state <> {DONE} AND reason <> {GONE} AND {ARRIVED} & {Presence.AS_PUBLIC.value}
"""  # as the index has it, to the letter: SQLite proves no more
_COUNT = f"""
SELECT count(*), count(*) FILTER (WHERE reason = {KEPT_PRIVATE})
FROM entries INDEXED BY entries_exposed WHERE {_IS_EXPOSED}
"""
_SELECT = f"""
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
        return Exposed(*manifest.connection.execute(_COUNT).fetchone())


def iter_exposed(manifest: Manifest, types: tuple[str, ...] = ()) -> Iterator[Record]:
    """Their entries, by kind and id. Nothing is being read while one is handed out. Raises: ManifestError."""
    for number, kind in manifest.kinds(types).items():
        yield from iter_chosen(manifest, _SELECT, number, kind)
