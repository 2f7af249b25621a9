"""What the rows of entries say now, where the last plan may be too old.

Two classes ask the database:

* `RowCheck`, for `apply-settings`, before an object is made public: a moderator may have hidden it since the plan, or a
  user deleted it. It asks for many rows at a time, and once more for a single one whose answer has grown old meanwhile.
* `RowsNow`, for `verify`, before an entry becomes pending: else a copy might open the object or bring it back.

See docs/design/verifying.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from mastosync.errors import ConfigError, DatabaseError, PlanRefused
from mastosync.manifest import AppliedUpTo
from mastosync.mastodon.catalog import spec_of
from mastosync.mastodon.paperclip import names_of
from mastosync.model import Entry, Record, RemoteFile
from mastosync.runtime.steps import BlockingCall, Steps

_log = logging.getLogger(__name__)

_AT_ONCE = 2_000  # rows
_GOOD_SECONDS = 60.0  # for which an answer is believed
_ASKED_AT_MOST = 10_000  # rows, by a whole `verify`: of a store that has lost more, plan first


class RowState(Enum):
    """What a row says now."""

    PUBLIC = auto()
    PRIVATE = auto()
    GONE = auto()  # it was deleted, or has another file


class RowAnswer(NamedTuple):
    """What the database has said of a row."""

    row: RowState
    at: float  # monotonic seconds: before it was asked


RowPlace = tuple[str, str, int]
"""Table, attachment, and id of a row."""

LookUp = Callable[[Sequence[Record]], Mapping[RowPlace, RemoteFile]]
"""The files of rows as they are now, by table, attachment and id; rows that are gone are not there. From any thread."""


@dataclass(frozen=True, slots=True)
class RowCheck:
    """Asks the database for rows."""

    look_up: LookUp

    def with_answers(
        self, claims: Iterator[tuple[AppliedUpTo, Record]]
    ) -> Iterator[tuple[AppliedUpTo, Record, RowAnswer]]:
        """The claims, each with what its row says. Raises: DatabaseError."""
        while some := list(islice(claims, _AT_ONCE)):
            answers = self._ask([record for _, record in some])
            for number, (place, record) in enumerate(some):
                if _is_old(answers[number]):
                    answers[number:] = self._ask([each for _, each in some[number:]])
                yield place, record, answers[number]

    def fresh(self, record: Record, answer: RowAnswer) -> Steps[RowAnswer]:
        """`answer`, or a new one if it has grown old. Raises: DatabaseError."""
        if _is_old(answer):
            (answer,) = yield BlockingCall(partial(self._ask, [record]))
        return answer

    def rows(self, records: Sequence[Record]) -> list[RowState]:
        """What each of these rows says now. Raises: DatabaseError."""
        parts = (records[first : first + _AT_ONCE] for first in range(0, len(records), _AT_ONCE))
        return [answer.row for part in parts for answer in self._ask(part)]

    def _ask(self, records: Sequence[Record]) -> list[RowAnswer]:
        at = time.monotonic()
        files = self.look_up([each for each in records if not each.entry.private])
        return [RowAnswer(_row_of(each, files), at) for each in records]


def made_private(record: Record) -> Record:
    """The record, with its entry made private. What is known of the object at the destination stays."""
    return record._replace(entry=record.entry._replace(private=True))


def _is_old(answer: RowAnswer) -> bool:
    return time.monotonic() - answer.at > _GOOD_SECONDS


def _row_of(record: Record, files: Mapping[RowPlace, RemoteFile]) -> RowState:
    kind, row_id, name, *_ = entry = record.entry
    if entry.private:
        return RowState.PRIVATE
    found = files.get((kind.table, kind.attachment, row_id))
    if found is None:
        return RowState.GONE
    if found.private:
        return RowState.PRIVATE
    names = names_of(spec_of(kind.table, kind.attachment), kind.style, found.file_name)
    return RowState.PUBLIC if name in names else RowState.GONE


@dataclass(slots=True)
class RowsNow:
    """Asks for the rows of entries at fault, and counts the answers. Without such entries the database is not asked."""

    row_check: RowCheck | None = None  # None: there is no database to ask
    private: int = 0  # entries that are public by the last plan, and private by their rows now
    unasked: int = 0  # entries that were not made pending, as there was no answer
    trouble: str = ""  # why
    gone: set[Entry] = field(init=False, default_factory=set)  # entries whose rows are gone or have another file
    _asked: int = field(init=False, default=0)

    @property
    def deleted(self) -> int:
        """Entries that stay as they are, as their rows are gone or have another file."""
        return len(self.gone)

    def of(self, records: Sequence[Record]) -> dict[Entry, RowState]:
        """What their rows say, except for entries that are private already. Empty if there is no answer."""
        wanted = [each for each in records if not each.entry.private][: _ASKED_AT_MOST - self._asked]
        if not wanted or self.row_check is None or self.trouble:
            return {}
        self._asked += len(wanted)
        try:
            rows = self.row_check.rows(wanted)
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
