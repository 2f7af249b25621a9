"""Files that are made here, and whose they are: those of whoever runs a command, and of nobody else to read.

Root is often in somebody else's folder, as in Mastodon's home. What root makes there belongs to whom the folder
belongs: else the same command, run by them the next day, could not open its own manifest, settings or log.
"""

from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path

from mastosync.language import tr
from mastosync.model import Owner

_log = logging.getLogger(__name__)

_MODE = 0o600
_NEW = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


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
