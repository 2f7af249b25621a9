"""Copies of a manifest. Two things: backups by `back_up`, and copies of the file that lack its log (`-wal`).

A backup is made while others read and write. It has a mark and no log until it is written to, because SQLite takes
any log beside a file for the file's own (`require_own_log`). The mark is removed in the file itself, before anything
comes into a log.

A copy of the file without its log is an older state, and SQLite does not notice. So each writer notes itself in the
file when it starts, and removes the note at the end. A copy with the note and without a log lacks what was written
last: a gap. The note has the inode of its file, because after a kill the file looks the same without being a copy:
when it is opened next, SQLite brings the log into the file and removes the log.
"""

from __future__ import annotations

import json
import logging
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mastosync.errors import ManifestError, MastosyncError, UsageError
from mastosync.language import say, tr
from mastosync.manifest.history import delete_meta, get_meta, set_meta
from mastosync.manifest.lock import holder_of
from mastosync.manifest.sqlite_errors import copied, translated
from mastosync.mountinfo import real_path, same_file
from mastosync.new_files import OR_FORCE, appearing, written

_log = logging.getLogger(__name__)

WRITER, _BACKUP, GAP = "writer", "backup", "gap"
"""Names of notes, in `meta`."""

_PAGES_AT_ONCE = 512  # between two looks at the signal to stop
_BUSY_SECONDS = 5.0


def backup_name(manifest: Path) -> Path:
    """The default file of a backup: beside the manifest, with the time to the second in its name."""
    return manifest.with_name(f"{manifest.name}.{datetime.now(UTC):%Y%m%d-%H%M%S}.backup")


def back_up(
    manifest: Path,
    target: Path,
    *,
    replace: bool = False,
    note: Callable[[int, int], None] | None = None,
    error_type: type[MastosyncError] = ManifestError,
) -> int:
    """Copy a manifest as it stands at one moment, and return the size of the copy in bytes.

    The moment is a read transaction: the writer goes on meanwhile, and the copy need not begin anew. `note` gets
    the number of pages copied, and of all pages. The copy is checked before it gets its name. Raises: ManifestError,
    UsageError if the target is there already, and `error_type` if it cannot be written; then there is no copy.
    """
    if same_file(target, manifest):
        raise UsageError(
            tr("{target} is the manifest itself", target=target), hint=tr("name another file for the copy")
        )
    had_log = has_log(real_path(manifest))
    with translated(manifest), closing(sqlite3.connect(manifest, timeout=_BUSY_SECONDS, isolation_level=None)) as taken:
        taken.execute("BEGIN")
        (pages,) = taken.execute("PRAGMA page_count").fetchone()  # which begins the moment
        (page_bytes,) = taken.execute("PRAGMA page_size").fetchone()
        _require_space(target, pages * page_bytes, error_type)
        with (
            appearing(target, replace=replace, error_type=error_type, hint=say(OR_FORCE)) as partial,
            copied(manifest, target, error_type),
        ):
            with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
                copy.execute("PRAGMA synchronous = OFF")  # it is brought to the disk as a whole
                taken.backup(copy, pages=_PAGES_AT_ONCE, progress=_noting(note))
                _require_sound(copy, manifest)
                if gap(real_path(manifest), taken, had_log=had_log) is not None:
                    keep_gap(copy)
                note_backup(copy)
            return partial.stat().st_size


@dataclass(frozen=True, slots=True)
class Gap:
    """What a manifest lacks, and what to do."""

    said: str
    remedy: str


def warn_of_gap(found: Gap | None) -> None:
    """Warn of a gap, for commands that go on: what is missing costs time, but no object."""
    if found is not None:
        _log.warning("%s", tr("{said}; {remedy}", said=found.said, remedy=found.remedy))


def has_log(path: Path) -> bool:
    """Whether a log that is not empty is beside the file. Ask before SQLite opens the file, which may remove it."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except OSError:
        return False


def require_own_log(path: Path, *, writing: bool) -> None:
    """Refuse a backup with a log beside it: the log is not its own, and SQLite would write it into the file.

    `writing`: the caller holds the writer's lock. Raises: ManifestError if the file is a backup that was not written
    to yet.
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
    """What this file lacks, as it is the copy of one with a log. Writing to it does not bring that back."""
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
    """Strike out the mark of a backup, and note that it is written to. Returns: whether it was one.

    This uses a rollback journal: a file with the mark must not have a log of its own.
    Raises: ManifestError if another process keeps reading it; sqlite3.Error.
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
    """Note for good, within the caller's transaction, that something is missing."""
    noted = get_meta(connection, WRITER)
    if noted is not None and get_meta(connection, GAP) is None:
        set_meta(connection, GAP, noted)


def close_gap(connection: sqlite3.Connection) -> None:
    """Remove the note of a gap, within the caller's transaction: a whole plan has found all rows that were missing."""
    delete_meta(connection, GAP)


def strike_out_writer(connection: sqlite3.Connection) -> None:
    """Remove the note of this writer, as closing the file brings the log into it. If that fails, the note stays."""
    with suppress(sqlite3.Error):
        delete_meta(connection, WRITER)


def strike_out_dead_writer(path: Path, connection: sqlite3.Connection) -> None:
    """Remove the note of a writer that has died, as its log is taken over now. If that fails, the note stays."""
    with suppress(sqlite3.Error):
        noted = get_meta(connection, WRITER)
        if noted is not None and holder_of(path) is None:
            delete_meta(connection, WRITER, noted)  # and not that of a writer that has just begun


def note_backup(connection: sqlite3.Connection) -> None:
    """Note in a copy that it stands alone, and let it begin no log. Raises: sqlite3.Error."""
    connection.execute("PRAGMA journal_mode = DELETE")
    delete_meta(connection, WRITER)
    set_meta(connection, _BACKUP, json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds")}))


def _noting(note: Callable[[int, int], None] | None) -> Callable[[int, int, int], None]:
    def progress(_: int, remaining: int, total: int) -> None:
        if note is not None:
            note(total - remaining, total)

    return progress


def _require_space(target: Path, needed: int, error_type: type[MastosyncError]) -> None:
    with written(target, error_type):
        free = shutil.disk_usage(real_path(target).parent).free
    if free < needed:
        raise error_type(
            tr(
                "there is no room for a copy of the manifest at {target}: it needs {needed:,} bytes, {free:,} are free",
                target=target,
                needed=needed,
                free=free,
            ),
            hint=tr("free some space and run the same command again: nothing was changed"),
        )


def _require_sound(copy: sqlite3.Connection, manifest: Path) -> None:
    found = [row[0] for row in copy.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise ManifestError(
            tr(
                "the manifest {manifest} is damaged, so it was not copied: {found}",
                manifest=manifest,
                found=found[0],
            ),
            hint=tr("`mastosync manifest check` tells more; keep the backups that you have"),
        )


def _noted(connection: sqlite3.Connection, name: str) -> dict[str, object] | None:
    """The value of a note; None also if it cannot be read: a damaged file is reported elsewhere."""
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
