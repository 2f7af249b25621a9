"""The check of a manifest: it compares its parts with each other, in one read transaction, while others may write.

Lines are counted in windows and compared with the counters, so memory stays bounded.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from mastosync.errors import Interrupted, ManifestError
from mastosync.language import say, tr, trn
from mastosync.manifest.connection import Manifest
from mastosync.manifest.history import details_of
from mastosync.manifest.identity import remembered
from mastosync.manifest.plan_checks import remembered_database
from mastosync.manifest.rows import (
    DONE,
    FAILED,
    GONE,
    HIGHEST_ID,
    LOWEST_ID,
    NO_REASON,
    ORIGIN_CODE,
    PENDING,
    REASON_CODE,
    REASON_OF,
    STATE_OF,
)
from mastosync.manifest.schema import newest_version
from mastosync.manifest.settings import ObjectSettings, applied_to, archived_settings
from mastosync.manifest.sqlite_errors import PUT_BACK, translated
from mastosync.model import ACCEPTABLE_REASONS, TABLES

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

_NO_KIND = LOWEST_ID
_BEFORE_ALL: tuple[int, str] = (LOWEST_ID, "")
_AFTER_ALL: tuple[int, bytes] = (HIGHEST_ID, b"")  # to SQLite any blob is more than any text

CounterPlace = tuple[int, int, int]
"""Kind, state and reason of a counter."""


@dataclass(slots=True)
class Recount:
    """What was counted. It takes memory for counters, not for lines."""

    objects: Counter[CounterPlace] = field(default_factory=Counter)
    size_bytes: Counter[CounterPlace] = field(default_factory=Counter)
    odd: Counter[int] = field(default_factory=Counter)  # lines that no code of ours writes, by kind

    def as_rows(self) -> list[tuple[int, int, int, int, int]]:
        """Lines of the table of counters."""
        return [(*place, objects, self.size_bytes[place]) for place, objects in sorted(self.objects.items())]


def recount(manifest: Manifest, note: Callable[[int], None] = lambda _: None) -> Recount:
    """Count every line, within a transaction of the caller; `note` gets the number of lines of each window.

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


_SELECT_COUNTERS = "SELECT kind, state, reason, objects, bytes FROM counts WHERE objects <> 0 OR bytes <> 0"
_COUNTED = "SELECT coalesce(sum(objects), 0) FROM counts WHERE objects > 0"
_STRAY_CLAIMS = f"""
SELECT count(*), min(c.id || ' ' || c.name) FROM claims c LEFT JOIN entries e USING (kind, id, name)
WHERE e.state IS NULL OR e.state NOT IN ({PENDING}, {FAILED})
"""
_SELECT_DETAILS = """
SELECT 'snapshots', details FROM snapshots UNION ALL SELECT 'verifications', details FROM verifications
"""
_STEPS_BETWEEN_LOOKS = 1_000_000  # of SQLite's machine, when one statement looks at the whole file
_FAULTS_OF_FILE = 10


class CheckedPart(StrEnum):
    """What can be wrong."""

    FILE = "file"
    PLAN = "plan"
    KINDS = "kinds"
    ENTRIES = "entries"
    COUNTERS = "counters"
    CLAIMS = "claims"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and what to do."""

    part: CheckedPart
    message: str
    remedy: str


@dataclass(slots=True)
class Soundness:
    """What a check found."""

    version: int
    entries: int = 0
    size_bytes: int = 0  # of the file
    faults: list[Fault] = field(default_factory=list)
    repaired: str = ""  # what was put right, and where the copy of before lies

    @property
    def only_counters(self) -> bool:
        """Whether only counters are wrong, so that a repair puts everything right."""
        return bool(self.faults) and all(fault.part is CheckedPart.COUNTERS for fault in self.faults)


@dataclass(frozen=True, slots=True)
class Checker:
    """One check of a manifest. `note` gets the numbers of lines checked; `stopped` says whether to end at once."""

    manifest: Manifest
    quick: bool = False
    note: Callable[[int], None] = lambda _: None
    stopped: Callable[[], bool] = lambda: False

    def expected(self) -> int:
        """How many lines there are, as the counters say."""
        with translated(self.manifest.path):
            return int(self.manifest.connection.execute(_COUNTED).fetchone()[0])

    def run(self) -> Soundness:
        """Look at everything. Raises: ManifestError if it cannot be read; Interrupted if asked to stop."""
        connection, into = self.manifest.connection, Soundness(newest_version())
        with self._reading():
            into.size_bytes = _pragma(connection, "page_count") * _pragma(connection, "page_size")
            into.faults += self._file()
            if into.faults:
                return into  # what a broken file says of the rest is not worth telling
            into.faults += [*self._plan(), *self._kinds(), *self._claims()]
            found = recount(self.manifest, self._went_on)
            into.entries = sum(found.objects.values())
            into.faults += [*self._lines(found), *self._counters(found)]
        return into

    def _went_on(self, lines: int) -> None:
        if self.stopped():
            raise Interrupted(tr("stopped before everything was checked"), hint=tr("run the same command again"))
        self.note(lines)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        connection = self.manifest.connection
        connection.set_progress_handler(self.stopped, _STEPS_BETWEEN_LOOKS)
        try:
            with translated(self.manifest.path):
                connection.execute("BEGIN")
                yield
        except ManifestError:
            if self.stopped():  # SQLite was interrupted
                self._went_on(0)
            raise
        finally:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _file(self) -> Iterator[Fault]:
        pragma = "quick_check" if self.quick else "integrity_check"
        try:
            found = [row[0] for row in self.manifest.connection.execute(f"PRAGMA {pragma}({_FAULTS_OF_FILE})")]
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
                raise
            found = [str(error)]
        if found != ["ok"]:
            yield from (Fault(CheckedPart.FILE, tr("SQLite says: {each}", each=each), say(PUT_BACK)) for each in found)

    def _plan(self) -> Iterator[Fault]:
        if not self.manifest.has_plan:
            yield Fault(CheckedPart.PLAN, tr("it has no plan, or the plan was interrupted"), tr("run `mastosync plan`"))
            return
        for role in ("source", "destination"):
            if self._damage(partial(remembered, role=role)) or remembered(self.manifest, role) is None:
                yield Fault(CheckedPart.PLAN, tr("it does not say what its {role} is", role=say(role)), say(PUT_BACK))
        for table, details in self.manifest.connection.execute(_SELECT_DETAILS):
            try:
                details_of(table, details)
            except (TypeError, ValueError):
                yield Fault(
                    CheckedPart.PLAN,
                    tr("the record of a plan or verification cannot be read: {details:.60}", details=str(details)),
                    say(PUT_BACK),
                )
        for reader in (remembered_database, archived_settings, partial(applied_to, current=ObjectSettings())):
            if damage := self._damage(reader):
                yield Fault(CheckedPart.PLAN, damage, say(PUT_BACK))

    def _damage(self, reader: Callable[[Manifest], object]) -> str:
        """What is wrong with a remembered value; empty: nothing. Raises: ManifestError, as SQLite says."""
        try:
            reader(self.manifest)
        except ManifestError as error:
            if isinstance(error.__cause__, sqlite3.Error):
                raise
            return error.message
        return ""

    def _kinds(self) -> Iterator[Fault]:
        for number, kind in self.manifest.kinds().items():
            if kind.table not in TABLES:
                yield Fault(
                    CheckedPart.KINDS,
                    tr("kind {number} is of the unknown table {table!r}", number=number, table=kind.table),
                    say(PUT_BACK),
                )

    def _claims(self) -> Iterator[Fault]:
        count, example = self.manifest.connection.execute(_STRAY_CLAIMS).fetchone()
        if count:
            said = trn(
                "{number:,} claim belongs to an entry that is neither pending nor failed: {example}",
                "{number:,} claims belong to entries that are neither pending nor failed, such as {example}",
                count,
                number=count,
                example=example,
            )
            yield Fault(CheckedPart.CLAIMS, said, say(PUT_BACK))

    def _lines(self, found: Recount) -> Iterator[Fault]:
        unknown = {kind for kind, _, _ in found.objects} - self.manifest.kinds().keys()
        for kind in sorted(unknown):
            yield Fault(
                CheckedPart.KINDS,
                tr("there are entries of kind {kind}, which is not defined", kind=kind),
                say(PUT_BACK),
            )
        for kind, count in found.odd.items():
            if count:
                row_id, name = odd_line(self.manifest, kind)
                where = self.manifest.kinds().get(kind)
                said = tr(
                    "{number:,} entries of kind {kind} ({table}) have invalid values",
                    number=count,
                    kind=kind,
                    table=where.table if where else "?",
                )
                yield Fault(
                    CheckedPart.ENTRIES,
                    tr("{said}, such as {row_id} {name!r}", said=said, row_id=row_id, name=name),
                    say(PUT_BACK),
                )

    def _counters(self, found: Recount) -> Iterator[Fault]:
        kept = {tuple(row[:3]): tuple(row[3:]) for row in self.manifest.connection.execute(_SELECT_COUNTERS)}
        there = {tuple(row[:3]): tuple(row[3:]) for row in found.as_rows()}
        for place in sorted(kept.keys() | there.keys()):
            if kept.get(place, (0, 0)) == there.get(place, (0, 0)):
                continue
            (said, said_bytes), (objects, size) = kept.get(place, (0, 0)), there.get(place, (0, 0))
            yield Fault(
                CheckedPart.COUNTERS,
                tr(
                    "the counter of {named} says {said:,} objects and {said_bytes:,} bytes, but there are "
                    "{objects:,} and {size:,}",
                    named=self._named(place),
                    said=said,
                    said_bytes=said_bytes,
                    objects=objects,
                    size=size,
                ),
                tr("run `mastosync manifest check --repair`, which counts again"),
            )

    def _named(self, place: tuple[int, ...]) -> str:
        kind, state, reason = place
        known = self.manifest.kinds().get(kind)
        named = f"{known.table} {known.attachment} {known.style}" if known else tr("kind {kind}", kind=kind)
        why = REASON_OF.get(reason, reason)
        return f"{named} {STATE_OF.get(state, state)}" + (f" ({why})" if why else "")


def repair_counters(manifest: Manifest) -> None:
    """Count anew, in one transaction, under the writer's lock of the caller. Raises: ManifestError."""
    with manifest.transaction() as connection:
        rows = recount(manifest).as_rows()
        connection.execute("DELETE FROM counts")
        connection.executemany("INSERT INTO counts (kind, state, reason, objects, bytes) VALUES (?, ?, ?, ?, ?)", rows)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
