"""Files that mastosync makes and that are no objects: who owns them, and how one appears whole or not at all.

Only the user who runs a command may read them. Root is often in another user's folder, as in Mastodon's home. What root
makes there gets the owner of the folder: else that user, running the same command the next day, could not open the
manifest, settings or log.
"""

from __future__ import annotations

import errno
import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from mastosync.errors import MastosyncError, OutputError, UsageError
from mastosync.language import deferred, tr
from mastosync.model import Owner

_log = logging.getLogger(__name__)

_MODE = 0o600
_NEW = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_LOGS = ("-wal", "-journal")  # of a SQLite database
_COMPANIONS = (*_LOGS, "-shm")


def made(path: Path, flags: int = os.O_RDWR, *, like: os.stat_result | None = None) -> int:
    """A new file, open. `like`: whose owner it gets; None: the folder's. Raises: OSError; FileExistsError."""
    fd = os.open(path, flags | _NEW, _MODE)
    try:
        give(fd, path, like)
    except BaseException:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return fd


def opened_or_made(path: Path, flags: int = os.O_RDWR) -> int:
    """A file, open, and made if there is none. Raises: OSError."""
    try:
        return made(path, flags)
    except FileExistsError:  # maybe a link to one that is not there yet
        return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, _MODE)


def make_folders(path: Path) -> None:
    """Make a folder and those that it lies in, as far as they are missing. Raises: OSError."""
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            try:
                folder.mkdir()
            except FileExistsError:
                if folder.is_dir():  # somebody was faster
                    continue
                raise
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                give(fd, folder)
            finally:
                os.close(fd)


def give(fd: int, path: Path, like: os.stat_result | None = None) -> None:
    """Give what root has made to whom it should belong: see `made`. It is told if the disk refuses. Raises: OSError."""
    if os.geteuid() != 0:
        return
    found = like or path.absolute().parent.stat()
    owner = Owner(found.st_uid, found.st_gid)
    if owner == (0, os.getegid()) or (like is None and owner.user == 0):
        return
    try:
        os.fchown(fd, *owner)
    except OSError as error:
        _log.warning(
            "%s",
            tr(
                "{path} belongs to root, not to {owner}, who cannot use it: {strerror}. Run mastosync as that user",
                path=path,
                owner=owner,
                strerror=error.strerror,
            ),
        )


def owner_of_another(path: Path) -> Owner | None:
    """Whose a file is; None: it is this user's, or nobody can tell."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Owner(found.st_uid, found.st_gid) if found.st_uid != os.geteuid() else None


def of_others_told(path: Path) -> str:
    """What to do if a manifest is another user's; empty: it is not, or nobody can tell."""
    owner = owner_of_another(path)
    if owner is None:
        return ""
    return tr(
        "it belongs to {owner}, and you are {me}: run mastosync as that user; or, as root, give it to yours:"
        " `chown {me} {files}*`",
        owner=str(owner).partition(":")[0],
        me=str(Owner(os.geteuid(), os.getegid())),
        files=shlex.quote(str(path.absolute())),
    )


@contextmanager
def appearing(
    target: Path,
    *,
    replace: bool = False,
    error_type: type[MastosyncError] = OutputError,
    like: os.stat_result | None = None,
    hint: str = "",
) -> Iterator[Path]:
    """An empty file of its owner (0600) beside `target`, which takes that name when the block has ended well.

    `like`: whose owner it gets if root makes it; None: that of the file that it replaces, or else of the folder.
    `hint`: what to do if there is such a file already, and it is not to be replaced.
    Raises: UsageError if that is so, if it is no ordinary file, or if another database's log lies beside it;
    OutputError, or another, if nothing can be written.
    """
    require_room_for(target, replace=replace, hint=hint)
    partial = target.with_name(f"{target.name}.{uuid4().hex[:12]}.partial")
    try:
        with written(target, error_type):  # its name is known before it is made: a signal may come at that very moment
            like = like or (target.stat() if target.is_file() else None)
            os.close(made(partial, like=like))
        yield partial
        with written(target, error_type):
            _sync(partial)
            require_room_for(target, replace=replace, hint=hint)
            _give_name(partial, target, replace)
            _sync(target.parent)
    finally:
        for companion in ("", *_COMPANIONS):
            with suppress(OSError):  # none is there; or the disk is read-only by now, which has been told
                partial.with_name(partial.name + companion).unlink()


@contextmanager
def written(path: Path, error_type: type[MastosyncError] = OutputError) -> Iterator[None]:
    """Turn what the system says of a file that is being made into an OutputError, or another. Pipes may break."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise error_type(
            tr("cannot write {path}: {strerror}", path=path, strerror=error.strerror),
            hint=tr("free some space, or name another place, and run the same command again: nothing was changed")
            if full
            else tr("its folder must exist and be writable by you; name another place otherwise"),
        ) from error


def _give_name(partial: Path, target: Path, replace: bool) -> None:
    """Raises: UsageError if somebody has just taken the name that was free; OSError."""
    if replace:
        partial.replace(target)
        return
    try:
        _give_free_name(partial, target)
    except FileExistsError as error:
        raise _exists(target) from error


def _give_free_name(partial: Path, target: Path) -> None:
    """A rename would replace what is there, and a link does not. Raises: OSError."""
    try:
        os.link(partial, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: an empty file holds the name, for the moment until the rename
        os.close(made(target))
        try:
            partial.replace(target)
        except BaseException:
            target.unlink()
            raise


OR_FORCE = deferred("name another file, or replace this one with --force; nothing was changed")
"""The hint of commands that have this option."""


def _exists(target: Path, hint: str = "") -> UsageError:
    return UsageError(
        tr("{target} exists already", target=target), hint=hint or tr("name another file; nothing was changed")
    )


def require_room_for(target: Path, *, replace: bool = False, hint: str = "") -> None:
    """Raises: UsageError if no file can appear there, see `appearing`; `hint` says which other name it may have.

    OutputError if nobody may look there.
    """
    with written(target):
        is_there, is_file = target.exists(), target.is_file()
    if (is_there or target.is_symlink()) and not replace:
        raise _exists(target, hint)
    if is_there and not is_file:
        raise UsageError(tr("{target} is not a regular file", target=target), hint=tr("name another one"))
    for log in _LOGS:  # SQLite would take it for the log of what comes to lie beside it, and damage that
        if (beside := target.with_name(target.name + log)).exists():
            raise UsageError(
                tr("{beside} exists already: it is the log of another database", beside=beside),
                hint=tr("name another file; or move the log away together with the database that it belongs to"),
            )


def _sync(path: Path) -> None:
    """Have it on the disk; of a folder, its names."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
