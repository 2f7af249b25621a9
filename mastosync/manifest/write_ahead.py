"""Whether the file of a manifest stands alone, or its newest entries are in the `-wal` beside it.

SQLite does not tell: who copies the file without its log has an older state, and nothing complains. So whoever begins
to write notes that in the file itself, and strikes it out at the end. A copy in which the note stands, and beside which
no log lies, lacks what was written last. The note has the inode of its file: where a run was killed, SQLite brings the
log into the file when somebody opens it next, and removes the log. That is no copy, and nothing is told.

The other way round, SQLite takes any log that lies there for the file's own. A backup, to which nobody has written yet,
has none: see `require_own_log`. Its mark is struck out in the file itself, before anything comes into a log.
"""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mastosync.errors import ManifestError
from mastosync.language import tr
from mastosync.manifest.lock import holder_of
from mastosync.manifest.meta import delete_meta, get_meta, set_meta

_log = logging.getLogger(__name__)

WRITER, _BACKUP, GAP = "writer", "backup", "gap"


@dataclass(frozen=True, slots=True)
class Gap:
    """What a manifest lacks, and what to do."""

    said: str
    remedy: str


def warn_of_gap(found: Gap | None) -> None:
    """For commands that go on all the same: what is missing costs time, and no object."""
    if found is not None:
        _log.warning("%s", tr("{said}; {remedy}", said=found.said, remedy=found.remedy))


def has_log(path: Path) -> bool:
    """Whether a log with something in it lies beside. Asked before SQLite opens the file, and may remove the log."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except OSError:
        return False


def require_own_log(path: Path, *, writing: bool) -> None:
    """Whether a log that lies beside may be this file's: SQLite would write it into any.

    `writing`: the caller holds the writer's lock. Raises: ManifestError if the file is a backup to which nobody has
    written yet.
    """
    if not has_log(path) or not (writing or holder_of(path) is None):
        return
    alone = f"{path.absolute().as_uri()}?immutable=1"  # without its log
    with suppress(sqlite3.Error), closing(sqlite3.connect(alone, uri=True)) as connection:
        if _noted(connection, _BACKUP) is not None:
            raise ManifestError(
                tr("{path} is a backup, and {path}-wal is the log of another manifest", path=path),
                hint=tr(
                    "move {path}-wal and {path}-shm to another folder, then run the same command again; nothing was "
                    "changed",
                    path=path,
                ),
            )


def gap(path: Path, connection: sqlite3.Connection, *, had_log: bool) -> Gap | None:
    """What this file lacks, as it is the copy of one with a log. Whoever writes to it does not bring that back."""
    writer = _noted(connection, GAP)
    if writer is None:
        writer = _noted(connection, WRITER)
        if writer is None or had_log or writer.get("inode") == _inode(path):
            return None
    return Gap(
        tr(
            "the newest entries are missing in the manifest {path}: it was copied without its -wal file, while "
            "mastosync was writing to it or after mastosync had been killed (on {host}, started at {since})",
            path=path,
            host=writer.get("host"),
            since=writer.get("since"),
        ),
        tr(
            "if the manifest is still there: stop mastosync on {host}, run `mastosync manifest backup FILE` there, and "
            "use FILE in the place of this one. If not: run `mastosync manifest check`, `mastosync plan` (without "
            "--type, --only and --limit), `mastosync adopt` (with `--deep` if a disk is at one end) and `mastosync "
            "copy`: they find what there is and what has arrived, and copy the rest",
            host=writer.get("host"),
        ),
    )


def take_over_backup(path: Path, connection: sqlite3.Connection) -> bool:
    """Strike out the mark of a backup, and note that somebody writes; whether it was one.

    This goes by a rollback journal, not by a log: no log of its own may lie beside a file with the mark.
    Raises: ManifestError if somebody is reading it, and does not end in time; sqlite3.Error.
    """
    if _noted(connection, _BACKUP) is None:
        return False
    try:
        connection.execute("PRAGMA journal_mode = DELETE")  # backups of older versions may be in the other one
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        raise ManifestError(
            tr("{path} is a backup that was put back, and it is being read by another command", path=path),
            hint=tr("wait until that command has ended, then run the same command again; nothing was changed"),
        ) from error
    try:
        note_writer(path, connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return True


def note_writer(path: Path, connection: sqlite3.Connection) -> None:
    """Note within the caller's transaction that the newest entries are in the log from now on."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    noted = {"inode": _inode(path), "host": socket.gethostname(), "since": since}
    set_meta(connection, WRITER, json.dumps(noted))
    delete_meta(connection, _BACKUP)


def keep_gap(connection: sqlite3.Connection) -> None:
    """Let it be known within the caller's transaction that something is missing, whoever writes from now on."""
    noted = get_meta(connection, WRITER)
    if noted is not None and get_meta(connection, GAP) is None:
        set_meta(connection, GAP, noted)


def close_gap(connection: sqlite3.Connection) -> None:
    """A whole plan has found, within the caller's transaction, all rows that may be missing."""
    delete_meta(connection, GAP)


def strike_out_writer(connection: sqlite3.Connection) -> None:
    """The last one who closes the file brings into it what is in the log. If that fails, the note stays: it is true."""
    with suppress(sqlite3.Error):
        delete_meta(connection, WRITER)


def strike_out_dead_writer(path: Path, connection: sqlite3.Connection) -> None:
    """The same for a run that has died, whose log is taken over now; whoever may not write leaves the note."""
    with suppress(sqlite3.Error):
        noted = get_meta(connection, WRITER)
        if noted is not None and holder_of(path) is None:
            delete_meta(connection, WRITER, noted)  # and not that of one who comes just now


def note_backup(connection: sqlite3.Connection) -> None:
    """Note in a copy that it stands alone, and let it begin no log. Raises: sqlite3.Error."""
    connection.execute("PRAGMA journal_mode = DELETE")
    delete_meta(connection, WRITER)
    set_meta(connection, _BACKUP, json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds")}))


def _noted(connection: sqlite3.Connection, name: str) -> dict[str, object] | None:
    """None also if it cannot be read: a note keeps nobody from a damaged file, which others complain of."""
    try:
        told = get_meta(connection, name)
        return None if told is None else dict(json.loads(told))
    except (sqlite3.Error, ValueError, TypeError):
        return None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
