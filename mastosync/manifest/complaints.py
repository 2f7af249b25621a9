"""What SQLite and the system say of a manifest's files, as a ManifestError with a remedy."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mastosync.errors import ManifestError

_NO_ROOM = (
    "the disk is full",
    "free some space and run the same command again: what was committed is safe",
)
_NO_DATA = (
    "the disk does not take or give its data",
    "check free space, quota and the disk, then run the same command again: what was committed is safe",
)
_LOCKED = ("it is locked by another process", "wait until a plan or copy on it has ended")
_MINE = "the file and its folder must be writable by you"
_NOT_OURS = "--manifest must name a file made by `mastosync plan`, or one that does not exist yet"
_EXPLAINED = {
    sqlite3.SQLITE_FULL: _NO_ROOM,
    sqlite3.SQLITE_IOERR: _NO_DATA,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: ("it is read-only", _MINE),
    sqlite3.SQLITE_PERM: ("access is denied", _MINE),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened",
        "the file and its folder must exist and be writable by you; --manifest names another place",
    ),
    sqlite3.SQLITE_NOTADB: ("it is no SQLite database", _NOT_OURS),
    sqlite3.SQLITE_CORRUPT: (
        "it is damaged",
        "put a backup in its place (without the -wal and -shm that lie beside it), "
        "or plan into a new file and let `adopt` and `copy` go through it",
    ),
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says of this file into a ManifestError."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        unknown = (str(error), "see the message of SQLite; --debug shows where it happened")
        explanation, hint = _EXPLAINED.get(code, unknown)
        raise ManifestError(f"cannot use the manifest {path}: {explanation}", hint=hint) from error


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that is being made into a ManifestError. Pipes may break."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise ManifestError(
            f"cannot write {path}: {error.strerror}",
            hint="free some space, or name another place, and run the same command again: nothing was changed"
            if full
            else "its folder must exist and be writable by you; name another place otherwise",
        ) from error
