"""One writer per manifest: advisory locks that the operating system releases with their holder.

A file beside the manifest is locked, and says who the writer is. It may be removed as a left-over, and the lock with
it. So the database itself is locked, too, by `flock`, which on Linux does not touch the locks of SQLite (`fcntl`). On
other systems and on networks it does; there the file alone has to do: a writer that misses it makes it again, or stops
if another process was faster.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mastosync.errors import ManifestError, ManifestInUse
from mastosync.language import tr
from mastosync.mountinfo import is_network, kind_of_disk
from mastosync.new_files import of_others_told, opened_or_made

_LOOKS, _LOOK_SECONDS = 3, 0.01

_Place = tuple[int, int]  # device and inode

_databases: dict[_Place | None, int] = {}
"""Descriptors of databases, which stay open for good, one for each.

Closing one would release the locks of SQLite, of every connection of this process to the same file
(https://sqlite.org/howtocorrupt.html, section 2.2).
"""
_writers: dict[str, _Writer] = {}
"""Those of this process, by the real path of the manifest."""


def lock_path(manifest: Path) -> Path:
    """The lock file beside a manifest. It stays as long as that does; only the lock on it counts."""
    return manifest.with_name(manifest.name + ".lock")


@contextmanager
def writer_lock(manifest: Path, command: str) -> Iterator[None]:
    """Hold the manifest for one command.

    Raises: ManifestInUse that says who holds it; ManifestError if the folder cannot be written to.
    """
    writer, name = _Writer(manifest, command), os.path.realpath(manifest)
    writer.take()
    _writers[name] = writer
    try:
        yield
    finally:
        del _writers[name]
        writer.let_go()


def keep_lock(manifest: Path) -> None:
    """Make sure, before something is written, that no other writer has come. Without the lock nothing is done.

    Raises: ManifestInUse if one has; ManifestError if the folder cannot be written to.
    """
    if writer := _writers.get(os.path.realpath(manifest)):
        writer.take()


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that writes to a manifest."""

    taken_at: float | None = None  # seconds since the epoch; None: it does not say
    described: str = ""

    def __str__(self) -> str:
        """For people."""
        return self.described or tr("another mastosync that has just started, or whose lock file was removed")


def holder_of(manifest: Path) -> Holder | None:
    """The process that writes to a manifest right now; None: there is none. Leaves no file behind."""
    path = lock_path(manifest)
    if os.path.realpath(manifest) in _writers or _database_is_held(manifest):
        return _holder(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None  # there never was one
    try:
        return None if _locked(descriptor, fcntl.LOCK_SH) else _holder(path)
    finally:
        os.close(descriptor)


class _Writer:
    """The locks of one command."""

    def __init__(self, manifest: Path, command: str) -> None:
        self._manifest, self._command, self._path = manifest, command, lock_path(manifest)
        self._since = datetime.now(UTC)
        self._database: int | None = None
        self._file: int | None = None

    def take(self) -> None:
        """Take the locks that are not held yet: of a new database, of a lock file that was removed. All or none."""
        had_database = self._database is not None
        if _writers.get(os.path.realpath(self._manifest), self) is not self:
            raise self._in_use()
        if not had_database and _holds_databases(self._manifest):
            self._database = self._taken_database()
        try:
            self._take_file()
        except ManifestError:
            if not had_database:
                self._let_go_of_database()
            raise

    def _taken_database(self) -> int | None:
        descriptor = _descriptor_of(self._manifest)
        if descriptor is None:
            return None
        mine = any(writer._database == descriptor for writer in _writers.values())
        if mine or not _locked_for_good(descriptor):
            raise self._in_use()
        return descriptor

    def _take_file(self) -> None:
        while self._file is None or not _is_at(self._file, self._path):
            descriptor = self._opened()
            if not _locked_for_good(descriptor):
                os.close(descriptor)
                raise self._in_use()
            if self._file is not None:
                os.close(self._file)
            self._file = descriptor  # and once more, whether it is still the one that others find
            self._sign(descriptor)

    def _opened(self) -> int:
        try:
            # a link in the way of the lock would have what it leads to overwritten
            return opened_or_made(self._path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError as error:
            hint = tr("the manifest's folder must exist and be writable; --manifest names another place")
            if error.errno == errno.EACCES:
                hint = of_others_told(self._manifest) or of_others_told(self._path) or hint
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                hint = tr("free some space and run the same command again: what was recorded so far is safe")
            if error.errno == errno.ELOOP:
                hint = tr("there is a symbolic link, which is not followed: find out who put it there, and remove it")
            raise ManifestError(
                tr("cannot write beside the manifest: {path}: {strerror}", path=self._path, strerror=error.strerror),
                hint=hint,
            ) from error

    def _sign(self, descriptor: int) -> None:
        """Say who holds the lock."""
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": self._command}
        holder |= {"since": self._since.isoformat(timespec="seconds"), "taken_at": self._since.timestamp()}
        os.ftruncate(descriptor, 0)
        with suppress(OSError):  # on a full disk the lock holds without a name
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)

    def _in_use(self) -> ManifestInUse:
        return ManifestInUse(
            tr("the manifest {manifest} is in use by {holder}", manifest=self._manifest, holder=_holder(self._path)),
            hint=tr("wait until it ends, or stop it; a manifest has one writer at a time"),
        )

    def let_go(self) -> None:
        """Release both locks."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            if not self._manifest.exists():  # none has come of it: nothing is left behind
                self._path.unlink(missing_ok=True)
            os.close(self._file)
        self._let_go_of_database()

    def _let_go_of_database(self) -> None:
        if self._database is not None:
            fcntl.flock(self._database, fcntl.LOCK_UN)
            self._database = None


def _holds_databases(manifest: Path) -> bool:
    """Whether a database can be locked without SQLite noticing."""
    return sys.platform == "linux" and not is_network(kind_of_disk(manifest.parent))


def _database_is_held(manifest: Path) -> bool:
    """Whether another process has locked the database."""
    descriptor = _descriptor_of(manifest) if _holds_databases(manifest) else None
    if descriptor is None:
        return False
    if not _locked(descriptor, fcntl.LOCK_SH):
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _descriptor_of(database: Path) -> int | None:
    """A descriptor of the database; None if there is none yet, or it cannot be read: opening it later says why."""
    place = _place(database)
    if place in _databases:
        return _databases[place]
    try:
        descriptor = os.open(database, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    found = os.fstat(descriptor)
    _databases[found.st_dev, found.st_ino] = descriptor
    return descriptor


def _place(file: Path) -> _Place | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_at(descriptor: int, file: Path) -> bool:
    """Whether the open file is still the one at this path."""
    found = os.fstat(descriptor)
    return _place(file) == (found.st_dev, found.st_ino)


def _locked_for_good(descriptor: int) -> bool:
    """Whether a writer has the lock now. A process that asks who holds it has it for a moment, which is waited for."""
    for _ in range(_LOOKS):
        if _locked(descriptor, fcntl.LOCK_EX):
            return True
        time.sleep(_LOOK_SECONDS)
    return False


def _locked(descriptor: int, how: int) -> bool:
    """Whether it has the lock now."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(path: Path) -> Holder:
    try:
        holder = json.loads(path.read_text())
        described = tr(
            "`mastosync {command}`, process {pid} on {host} since {since}",
            command=holder["command"],
            pid=holder["pid"],
            host=holder["host"],
            since=f"{datetime.fromisoformat(holder['since']).astimezone(UTC):%F %T} UTC",
        )
        return Holder(holder.get("taken_at"), described)
    except (OSError, TypeError, ValueError, KeyError):
        return Holder()
