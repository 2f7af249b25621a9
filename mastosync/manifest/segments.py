"""Reading entries strand by strand, beside whoever writes: for what has to be in the order of ids.

A reader has a connection of its own, in the thread that made it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mastosync.manifest.codes import GONE, STATE_CODE
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.rows import COLUMNS, Row
from mastosync.model import EntryState, Kind

_SELECT = f"""
SELECT {COLUMNS} FROM entries WHERE kind = ? AND id >= ? AND id <= ? AND reason <> {GONE} {{states}} ORDER BY id, name
"""
_SELECT_AFTER = f"""
SELECT id, name FROM entries WHERE kind = ? AND (id, name) > (?, ?) AND reason <> {GONE} {{states}}
ORDER BY id, name LIMIT 1 OFFSET ?
"""
_CACHE_KIB = 2_048  # lines are read once, one after the other
_BEFORE_ALL = (-(2**63), "")


class StrandReader:
    """Entries of the manifest in some states, but for those that are gone. Use `StrandReader.opened`."""

    def __init__(self, manifest: Manifest, states: Collection[EntryState]) -> None:
        self._manifest = manifest
        chosen = ", ".join(str(STATE_CODE[state]) for state in states)
        condition = f"AND state IN ({chosen})" if states else ""
        self._select, self._select_after = (text.format(states=condition) for text in (_SELECT, _SELECT_AFTER))

    @classmethod
    @contextmanager
    def opened(cls, path: Path, states: Collection[EntryState] = ()) -> Iterator[StrandReader]:
        """A reader for this thread. No states: all. Raises: ManifestError, here and below."""
        with closing(Manifest.open(path)) as manifest:
            manifest.connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            yield cls(manifest, states)

    def kinds(self, types: tuple[str, ...] = ()) -> dict[int, Kind]:
        """Kinds by number: all, or those of some tables."""
        return self._manifest.kinds(types)

    def iter_rows(self, kind: int, lowest: int, highest: int) -> Iterator[Row]:
        """Lines of a kind with ids from `lowest` to `highest`, by id and name."""
        with translated(self._manifest.path):
            # no `yield from`, which closes the cursor of who stops in the middle, maybe after its connection
            for row in self._manifest.connection.execute(self._select, (kind, lowest, highest)):  # noqa: UP028
                yield row

    def iter_every(self, kind: int, step: int) -> Iterator[tuple[int, str]]:
        """Id and name of each `step`-th line of a kind; SQLite passes over those between."""
        place = _BEFORE_ALL
        with translated(self._manifest.path):
            while row := self._manifest.connection.execute(self._select_after, (kind, *place, step - 1)).fetchone():
                yield (place := row)
