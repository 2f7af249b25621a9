"""Counting lines in windows of many: what the counters say can be held against what is there, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mastosync.manifest.codes import DONE, GONE, NO_REASON, ORIGIN_CODE, PENDING, REASON_CODE, REASON_OF, STATE_OF
from mastosync.manifest.connection import Manifest, translated
from mastosync.model import ACCEPTABLE_REASONS

_WINDOW = 50_000  # lines

_NEXT_KIND = "SELECT min(kind) FROM entries WHERE kind > ?"
_LAST_OF_WINDOW = """
SELECT id, name FROM entries WHERE kind = ? AND (id, name) > (?, ?) ORDER BY id, name LIMIT 1 OFFSET ?
"""
_ORIGINS = ", ".join(str(code) for code in ORIGIN_CODE.values() if code is not None)
_ACCEPTABLE = ", ".join(str(REASON_CODE[reason]) for reason in ACCEPTABLE_REASONS)
_IS_SANE = f"""
typeof(id) = 'integer' AND typeof(name) = 'text' AND name <> '' AND typeof(fallback) IN ('null', 'text')
AND typeof(flags) = 'integer' AND flags BETWEEN 0 AND 7 AND typeof(attempts) = 'integer' AND attempts >= 0
AND typeof(size) IN ('null', 'integer') AND (md5 IS NULL OR (typeof(md5) = 'blob' AND length(md5) = 16))
AND (arrived IS NULL OR (state <> {DONE} AND arrived BETWEEN 0 AND 15 AND (arrived = 0 OR arrived & 3)))
AND (accepted IS NULL OR (state <> {DONE} AND (accepted IN ({_ACCEPTABLE}) OR (accepted = {GONE} AND reason = {GONE}))))
AND (origin IS NULL OR origin IN ({_ORIGINS})) AND state IN ({", ".join(map(str, STATE_OF))})
AND reason IN ({", ".join(map(str, REASON_OF))}) AND (reason = {NO_REASON}) = (state IN ({PENDING}, {DONE}))
"""
_COUNT_WINDOW = f"""
SELECT state, reason, count(*), coalesce(sum(size), 0), sum(NOT ({_IS_SANE})) FROM entries
WHERE kind = ? AND (id, name) > (?, ?) AND (id, name) <= (?, ?) GROUP BY state, reason
"""
_ODD_LINES = f"SELECT id, name FROM entries WHERE kind = ? AND NOT ({_IS_SANE}) LIMIT 1"

_NO_KIND = -(2**63)
_BEFORE_ALL: tuple[int, str] = (-(2**63), "")
_AFTER_ALL: tuple[int, bytes] = (2**63 - 1, b"")  # to SQLite any blob is more than any text

CounterPlace = tuple[int, int, int]
"""Kind, state and reason of a counter."""


@dataclass(slots=True)
class Recount:
    """What is there. Without memory for lines, only for counters."""

    objects: Counter[CounterPlace] = field(default_factory=Counter)
    size_bytes: Counter[CounterPlace] = field(default_factory=Counter)
    odd: Counter[int] = field(default_factory=Counter)  # lines that no code of ours writes, by kind

    def as_rows(self) -> list[tuple[int, int, int, int, int]]:
        """Lines of the table of counters."""
        return [(*place, objects, self.size_bytes[place]) for place, objects in sorted(self.objects.items())]


def recount(manifest: Manifest, note: Callable[[int], None] = lambda _: None) -> Recount:
    """Count every line, within a transaction of the caller; `note` is told after each window how many it had.

    Raises: ManifestError.
    """
    found = Recount()
    connection = manifest.connection
    with translated(manifest.path):
        for kind in _kinds(manifest):
            place: tuple[int, str] | tuple[int, bytes] = _BEFORE_ALL
            while place != _AFTER_ALL:
                last = connection.execute(_LAST_OF_WINDOW, (kind, *place, _WINDOW - 1)).fetchone() or _AFTER_ALL
                counted = 0
                for state, reason, objects, size, odd in connection.execute(_COUNT_WINDOW, (kind, *place, *last)):
                    found.objects[kind, state, reason] += objects
                    found.size_bytes[kind, state, reason] += size
                    found.odd[kind] += odd
                    counted += objects
                note(counted)
                place = last
    return found


def odd_line(manifest: Manifest, kind: int) -> tuple[int, str]:
    """Id and name of one of the odd lines of a kind that has some."""
    row_id, name = manifest.connection.execute(_ODD_LINES, (kind,)).fetchone()
    return row_id, name


def _kinds(manifest: Manifest) -> Iterator[int]:
    """Numbers of kinds that lines have, known or not."""
    kind = _NO_KIND
    while (kind := manifest.connection.execute(_NEXT_KIND, (kind,)).fetchone()[0]) is not None:
        yield kind
