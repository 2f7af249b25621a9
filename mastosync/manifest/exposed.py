"""What is private by now, was kept back, and lies at the destination as it was stored when it was public."""

from __future__ import annotations

from collections.abc import Iterator

from mastosync.manifest.codes import DONE, KEPT_PRIVATE, SKIPPED
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.entry_writer import ARRIVED
from mastosync.manifest.records import COLUMNS, iter_chosen
from mastosync.model import Presence, Record

_KINDS = f"SELECT DISTINCT kind FROM counts WHERE state = {SKIPPED} AND reason = {KEPT_PRIVATE} AND objects > 0"
_IS_EXPOSED = f"""
kind = ? AND state = {SKIPPED} AND reason = {KEPT_PRIVATE} AND state <> {DONE}
AND {ARRIVED} & {Presence.AS_PUBLIC.value}
"""
_COUNT = f"SELECT count(*) FROM entries INDEXED BY entries_open WHERE {_IS_EXPOSED}"
_SELECT = f"""
SELECT {COLUMNS} FROM entries INDEXED BY entries_open
WHERE {_IS_EXPOSED} AND (id, name) > (?, ?) ORDER BY id, name LIMIT ?
"""


def count_exposed(manifest: Manifest) -> int:
    """How many private objects everybody may be able to read at the destination, and no copy will hide.

    Where nothing was kept back, only counters are read. Raises: ManifestError.
    """
    with translated(manifest.path):
        return sum(manifest.connection.execute(_COUNT, (kind,)).fetchone()[0] for kind in _kinds(manifest))


def iter_exposed(manifest: Manifest, types: tuple[str, ...] = ()) -> Iterator[Record]:
    """Their entries, by kind and id. Nothing is being read while one is handed out. Raises: ManifestError."""
    with translated(manifest.path):
        some = _kinds(manifest)
    for number, kind in manifest.kinds(types).items():
        if number in some:
            yield from iter_chosen(manifest, _SELECT, number, kind)


def _kinds(manifest: Manifest) -> set[int]:
    """Of which anything was kept back."""
    return {kind for (kind,) in manifest.connection.execute(_KINDS)}
