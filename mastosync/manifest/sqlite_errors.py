"""What SQLite says of a manifest, as a ManifestError with a remedy."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mastosync.errors import ManifestError, MastosyncError
from mastosync.language import deferred, say, tr
from mastosync.new_files import of_others_told

_NO_ROOM = (
    deferred("the disk is full"),
    deferred("free some space and run the same command again: what was recorded so far is safe"),
)
_NO_DATA = (
    deferred("the disk reports an error while it is read or written"),
    deferred(
        "check the disk (the system's log tells more), free space and quota, then run the same command again: "
        "what was recorded so far is safe"
    ),
)
_LOCKED = (
    deferred("it is locked by another process"),
    deferred("wait until the other command that writes to it has ended"),
)
_MINE = deferred("the file and its folder must be writable by you")
NOT_OURS = deferred("--manifest must name a manifest, which `plan` makes, or a file that does not exist yet")
PUT_BACK = deferred(
    "stop what runs, and remove the -wal and -shm files beside it. Put a backup in its place. Without a backup: move "
    "the damaged file away, then run `mastosync plan`, `mastosync adopt` and `mastosync copy`"
)
"""What to do about a damaged manifest."""
_EXPLAINED = {
    sqlite3.SQLITE_FULL: _NO_ROOM,
    sqlite3.SQLITE_IOERR: _NO_DATA,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: (deferred("it is read-only"), _MINE),
    sqlite3.SQLITE_PERM: (deferred("access is denied"), _MINE),
    sqlite3.SQLITE_CANTOPEN: (
        deferred("it cannot be opened"),
        deferred("the file and its folder must exist and be writable by you; --manifest names another place"),
    ),
    sqlite3.SQLITE_NOTADB: (deferred("it is not a SQLite database"), NOT_OURS),
    sqlite3.SQLITE_CORRUPT: (deferred("it is damaged"), PUT_BACK),
}
_REFUSED = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN})
_OF_WRITERS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN})
_WRITING = frozenset(
    {
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
    }
)


@contextmanager
def translated(path: Path, error_type: type[MastosyncError] = ManifestError) -> Iterator[None]:
    """Turn an error of SQLite about this file into a ManifestError, or into another type for another kind of file.

    Errors of the caller (a closed connection, values of a wrong type) pass through: they are bugs.
    """
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        unknown = (str(error), deferred("this is SQLite's own message; --debug shows where it happened"))
        explanation, hint = _EXPLAINED.get(code, unknown)
        refused = code in _REFUSED and of_others_told(path)
        raise error_type(
            tr("cannot use the manifest {path}: {explanation}", path=path, explanation=say(explanation)),
            hint=refused or say(hint),
        ) from error


def is_there(path: Path) -> bool:
    """Whether there is a manifest. Raises: ManifestError if its folder cannot be read."""
    try:
        path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise ManifestError(
            tr("cannot use the manifest {path}: {explanation}", path=path, explanation=error.strerror), hint=say(_MINE)
        ) from error
    return True


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """`translated`, also for values that SQLite does not check, such as JSON."""
    try:
        with translated(path):
            yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(
            tr("the manifest {path} has an invalid value: {error}", path=path, error=error),
            hint=tr("`mastosync manifest check` tells what is wrong and what to do"),
        ) from error


@contextmanager
def copied(manifest: Path, copy: Path, error_type: type[MastosyncError] = ManifestError) -> Iterator[None]:
    """`translated` for a copy: SQLite says what is wrong, but not with which of the two files.

    Errors that only a writer meets are about the copy. All others are about the manifest, as no other process uses the
    copy, and its pages are the manifest's.
    """
    try:
        yield
    except sqlite3.Error as error:
        extended = getattr(error, "sqlite_errorcode", 0)
        of_the_copy = extended & 0xFF in _OF_WRITERS or extended in _WRITING
        with translated(copy, error_type) if of_the_copy else translated(manifest):
            raise
