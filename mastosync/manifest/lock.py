"""One writer per manifest: an advisory lock that the operating system releases with its holder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mastosync.errors import ManifestError, ManifestInUse
from mastosync.language import tr


def lock_path(manifest: Path) -> Path:
    """The lock file beside a manifest. It stays; only the lock on it counts."""
    return manifest.with_name(manifest.name + ".lock")


@contextmanager
def writer_lock(manifest: Path, command: str) -> Iterator[None]:
    """Hold the manifest for one command.

    Raises: ManifestInUse that says who holds it; ManifestError if the folder cannot be written to.
    """
    path = lock_path(manifest)
    try:
        # whoever put a link in the way of the lock would have what it leads to overwritten
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        hint = tr("the manifest's folder must exist and be writable; --manifest names another place")
        if error.errno == errno.ELOOP:
            hint = tr("a symbolic link lies there, which is not followed: who put it there? Remove it")
        raise ManifestError(
            tr("cannot write beside the manifest: {path}: {strerror}", path=path, strerror=error.strerror), hint=hint
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ManifestInUse(
                tr("the manifest {manifest} is in use by {holder}", manifest=manifest, holder=_holder(path)),
                hint=tr("wait until it ends, or stop it; a manifest has one writer at a time"),
            ) from error
        _sign(descriptor, command)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _sign(descriptor: int, command: str) -> None:
    """Say who holds the lock."""
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": command}
    holder["since"] = datetime.now(UTC).isoformat(timespec="seconds")
    os.ftruncate(descriptor, 0)
    with suppress(OSError):  # on a full disk the lock holds without a name
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def holder_of(manifest: Path) -> str | None:
    """Who is at work on a manifest right now; None: nobody. Leaves no file behind."""
    path = lock_path(manifest)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None  # nobody ever was
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _holder(path)
    finally:
        os.close(descriptor)
    return None


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return tr(
            "`mastosync {command}`, process {pid} on {host} since {since}",
            command=holder["command"],
            pid=holder["pid"],
            host=holder["host"],
            since=holder["since"],
        )
    except (OSError, ValueError, KeyError):
        return tr("another mastosync that has just started")
