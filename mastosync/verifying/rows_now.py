"""What rows say by now of what `verify` is about to make pending, so that no copy opens or brings back it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mastosync.checking.row_check import Opening, Row
from mastosync.errors import ConfigError, DatabaseError, PlanRefused
from mastosync.model import Entry, Record

_log = logging.getLogger(__name__)

_ASKED_AT_MOST = 10_000  # rows of one run: of a store that has lost more, plan first


@dataclass(slots=True)
class RowsNow:
    """Asks for them, and counts what they said. The database is asked only if there is something to ask for."""

    opening: Opening | None = None  # None: there is no database to ask
    private: int = 0  # entries that are public by the last plan, and private by their rows
    unasked: int = 0  # that were not made pending, as nobody could be asked
    trouble: str = ""  # why
    gone: set[Entry] = field(init=False, default_factory=set)  # their rows are, or have another file
    _asked: int = field(init=False, default=0)

    @property
    def deleted(self) -> int:
        """Entries that stay as they are, as their rows are gone or have another file."""
        return len(self.gone)

    def of(self, records: Sequence[Record]) -> dict[Entry, Row]:
        """What their rows say; of what is private anyway, and where nobody can tell, there is no word."""
        wanted = [each for each in records if not each.entry.private][: _ASKED_AT_MOST - self._asked]
        if not wanted or self.opening is None or self.trouble:
            return {}
        self._asked += len(wanted)
        try:
            rows = self.opening.rows(wanted)
        except (ConfigError, DatabaseError, PlanRefused) as error:
            self.trouble = error.message
            _log.warning("cannot ask the database for rows of what is at fault: %s", error.message)
            return {}
        return {record.entry: row for record, row in zip(wanted, rows, strict=True)}

    def as_json(self) -> dict[str, Any]:
        """Its part of `verify --json`."""
        return {
            "private": self.private,
            "deleted": self.deleted,
            "unasked": self.unasked,
            "database": self.trouble or None,
        }
