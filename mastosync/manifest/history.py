"""What a manifest remembers beside its entries: plans, runs, verifications, and single values by name.

Plans, runs and verifications each have a table. The types of their lines are here. Verifications are also written and
read here, and runs are read; `reader` reads plans, `plan_merge` writes plans, `work_queue` writes runs. The details of
a plan or verification are JSON, which only `details_of` reads, and only if it has the types that its readers expect.

The table `meta` holds single values. The module that a name belongs to says what its value means. Values are changed
within the caller's transaction.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

from mastosync.manifest.sqlite_errors import sound, translated
from mastosync.model import TABLES

if TYPE_CHECKING:
    from mastosync.manifest.connection import Manifest

_SELECT_META = "SELECT value FROM meta WHERE name = ?"
_REPLACE_META = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"
_DELETE_META = "DELETE FROM meta WHERE name = ?"
_DELETE_THIS_META = "DELETE FROM meta WHERE name = ? AND value = ?"

LAST_END = "last_end"
"""Number and exit code of the last run of `copy` that came to its end."""

CHANGED = "changed"
"""When the destination was last changed by another command than `copy`, and by which: see `last_change`."""

_SELECT_RUN = """
SELECT started_at, updated_at, ended_at, workers, done, failed, skipped, bytes, id FROM runs ORDER BY id DESC LIMIT 1
"""
_SELECT_DONE_SINCE = "SELECT COALESCE(SUM(done), 0) FROM runs WHERE updated_at > ?"
_INSERT_VERIFICATION = "INSERT INTO verifications (started_at, ended_at, details) VALUES (?, ?, ?)"
_SELECT_VERIFICATIONS = "SELECT started_at, ended_at, details FROM verifications ORDER BY id DESC LIMIT ?"
_ALL = -1

_NUMBER, _TEXT, _BITS = (int,), (str,), (bool,)
_IDS = {"*": _NUMBER}
_PLAN = {
    "types?": [_TEXT],
    "only?": _TEXT,
    "limit?": (int, NoneType),
    "added?": _NUMBER,
    "accepted_gone?": _NUMBER,
    "marks_gone?": _BITS,
    "began_at?": (int, float),
    "incremental?": _BITS,
    "newest?": _IDS,
    "wanting?": [[_TEXT]],
    "highest?": _IDS,
    "survey?": {
        "lines": [{"amount": (dict,)}],
        "directories": [{"table": _TEXT, "remote": _BITS, "directories": _NUMBER}],
    },
}
_VERIFICATION = {
    "checked": _NUMBER,
    "fine": _NUMBER,
    "lost?": _NUMBER,
    "different?": _NUMBER,
    "unread?": _NUMBER,
    "unproven?": _NUMBER,
    "listed?": _BITS,
    "read?": {"objects": _NUMBER},
    "public?": {
        "anybody_can_list": _BITS,
        "asked": _NUMBER,
        "asked_private": _NUMBER,
        "exposed?": _NUMBER,
        "sample?": _NUMBER,
        "types?": [_TEXT],
        "by_kind?": [{"type": _TEXT, "asked": _NUMBER, "of?": _NUMBER, "faults": _NUMBER}],
        "faults": [{"key": _TEXT, "type?": _TEXT, "exposed?": _BITS}],
    },
}
_WANTED: dict[str, dict[str, Any]] = {"snapshots": _PLAN, "verifications": _VERIFICATION}
"""By table. Names with a question mark may be missing; `*` stands for any name. Whatever else is there stays."""


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """A plan."""

    number: int
    taken_at: datetime
    details: dict[str, Any]

    @property
    def incremental(self) -> bool:
        """Whether it read only what had changed since the one before."""
        return bool(self.details.get("incremental"))

    @property
    def began_at(self) -> float:
        """The time up to which it has seen all rows, Unix time: its begin, less the lag if it read a standby.

        By this machine's clock, or by that of the database if none says.
        """
        return float(self.details.get("began_at", self.taken_at.timestamp()))

    @property
    def accepted_gone(self) -> int:
        """How many entries it has lost by `--accept-gone`."""
        return int(self.details.get("accepted_gone", 0))

    def takes_in(self, table: str, *, remote: bool) -> bool:
        """Whether its options include all rows of a table: those of other servers (`remote`), or those of this one."""
        in_scope = self.details.get("only", "all") in ("all", "remote" if remote else "local")
        return in_scope and self.details.get("limit") is None and table in self.details.get("types", TABLES)

    @property
    def leaves_nothing_out(self) -> bool:
        """Whether its options include all rows."""
        everything = set(self.details.get("types", ())) >= set(TABLES) and self.details.get("only") == "all"
        return everything and self.details.get("limit") is None

    @property
    def whole(self) -> bool:
        """Whether it read everything and left nothing out."""
        return self.leaves_nothing_out and not self.incremental


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The last run of `copy`. Times are seconds since the epoch."""

    started_at: float
    updated_at: float
    ended_at: float | None
    workers: int
    done: int
    failed: int
    skipped: int
    size_bytes: int
    exit_code: int | None = None  # with which it ended; None: it runs, it died, or an older version ran it


@dataclass(frozen=True, slots=True)
class VerificationRecord:
    """One run of `verify`. Times are seconds since the epoch."""

    started_at: float
    ended_at: float
    details: dict[str, Any]


class LastChange(NamedTuple):
    """The last change at the destination."""

    at: float = 0.0  # seconds since the epoch; 0: there was none
    command: str = ""


def record_verification(manifest: Manifest, started_at: float, ended_at: float, details: Mapping[str, Any]) -> None:
    """Remember a verification that came to its end. Raises: ManifestError."""
    with manifest.transaction() as connection:
        connection.execute(_INSERT_VERIFICATION, (started_at, ended_at, json.dumps(dict(details))))


def last_verification(manifest: Manifest) -> VerificationRecord | None:
    """The last one; None before the first. Raises: ManifestError."""
    return next(iter(_newest(manifest, 1)), None)


def verifications(manifest: Manifest) -> list[VerificationRecord]:
    """All of them, the newest first. Raises: ManifestError."""
    return _newest(manifest, _ALL)


def last_run(manifest: Manifest) -> RunInfo | None:
    """The last run of `copy`; None before the first. Raises: ManifestError."""
    with translated(manifest.path):
        row = manifest.connection.execute(_SELECT_RUN).fetchone()
        end = get_meta(manifest.connection, LAST_END)
    if row is None:
        return None
    *run, number = row
    ended_run, exit_code = map(int, end.split()) if end else (None, None)
    return replace(RunInfo(*run), exit_code=exit_code if ended_run == number else None)


def done_since(manifest: Manifest, moment: float) -> int:
    """Entries that became done in runs that were at work after this moment, by Unix time. Raises: ManifestError."""
    with translated(manifest.path):
        (done,) = manifest.connection.execute(_SELECT_DONE_SINCE, (moment,)).fetchone()
    return int(done)


def note_change(connection: sqlite3.Connection, command: str) -> None:
    """Note within a transaction that this command marks entries done, or stores objects anew. `copy` has its runs."""
    set_meta(connection, CHANGED, f"{time.time()} {command}")


def take_back_change(manifest: Manifest, former: LastChange) -> None:
    """Restore the `former` last change, as nothing was stored anew. Raises: ManifestError."""
    with manifest.transaction() as connection:
        if former.command:
            set_meta(connection, CHANGED, f"{former.at} {former.command}")
        else:
            delete_meta(connection, CHANGED)


def last_change(manifest: Manifest) -> LastChange:
    """The last change by another command than `copy`: older verifications prove less. Raises: ManifestError."""
    found = meta_of(manifest, CHANGED)
    if found is None:
        return LastChange()
    with sound(manifest.path):
        at, command = found.split()
        return LastChange(float(at), command)


def _newest(manifest: Manifest, limit: int) -> list[VerificationRecord]:
    with sound(manifest.path):
        rows = manifest.connection.execute(_SELECT_VERIFICATIONS, (limit,)).fetchall()
        return [VerificationRecord(began, ended, details_of("verifications", found)) for began, ended, found in rows]


def snapshot_of(row: tuple[int, str, str]) -> PlanRecord:
    """A line of `snapshots`. Raises: ValueError or TypeError, which say what is wrong."""
    number, taken_at, details = row
    return PlanRecord(number, datetime.fromisoformat(taken_at), details_of("snapshots", details))


def get_meta(connection: sqlite3.Connection, name: str) -> str | None:
    """The value of a name; None: it has none. Raises: sqlite3.Error, here and below."""
    row = connection.execute(_SELECT_META, (name,)).fetchone()
    return str(row[0]) if row else None


def set_meta(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Remember a value, in the place of the one before."""
    connection.execute(_REPLACE_META, (name, value))


def delete_meta(connection: sqlite3.Connection, name: str, value: str | None = None) -> None:
    """Forget the value of a name; with a `value`, only if it is that."""
    if value is None:
        connection.execute(_DELETE_META, (name,))
    else:
        connection.execute(_DELETE_THIS_META, (name, value))


def meta_of(manifest: Manifest, name: str) -> str | None:
    """The value of a name, outside of a transaction, too. Raises: ManifestError."""
    with translated(manifest.path):
        return get_meta(manifest.connection, name)


def details_of(table: str, text: str) -> dict[str, Any]:
    """The details column of a line of `table`. Raises: ValueError or TypeError, which say what is wrong."""
    found = json.loads(text)
    _require(found, _WANTED[table], "details")
    return dict(found)


def _require(found: Any, wanted: Any, name: str) -> None:  # noqa: ANN401 - what JSON may hold
    kinds = wanted if isinstance(wanted, tuple) else (type(wanted),)
    if not isinstance(found, kinds):
        raise TypeError(f"{name} is {found!r:.60}")
    if isinstance(found, list):
        for each in found:
            _require(each, wanted[0], name)
    elif isinstance(wanted, dict):
        of_any = wanted.get("*")
        for field in found if of_any else wanted:
            known = field.removesuffix("?")
            if known in found:
                _require(found[known], of_any or wanted[field], f"{name}.{known}")
            elif known == field:
                raise ValueError(f"{name} has no {known}")
