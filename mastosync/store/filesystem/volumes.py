"""The disks below a root: what is mounted there, and where links lead that are followed.

Another file system is known by its device (`st_dev`), on every system and at any time. A folder of the same one that is
mounted (`mount --bind`) has the same device, and only Linux's table of mounts knows of it.

Admins move `cache` to another disk and leave a link. Such a link is followed where objects are read. Where they are
written, it is followed if only an admin can have made it: it must be root's, or of the user who runs mastosync, as
Linux has it for links in folders that many write to. Else Mastodon's process could have root write where it may not
itself. What a link leads to is held open and looked at once more for each object: a link that is moved stops the run.
"""

from __future__ import annotations

import errno
import os
import re
import select
import shlex
import stat
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mastosync.errors import StoreUnusable
from mastosync.language import deferred, say, tr
from mastosync.mountinfo import UNREADABLE_HINT, MountPoint, iter_mounts
from mastosync.store.errors import EXHAUSTED

_SELF = Path("/proc/self")
_ID = re.compile(rb"^mnt_id:\s*(\d+)$", re.MULTILINE)
_LINES_BYTES = 4096  # of what the system says of a descriptor, many times over
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_FOLDER = frozenset({errno.ELOOP, errno.ENOTDIR})
_REMEMBERED = 10_000  # ways to folders of ids; Mastodon has some dozens
_MOUNT_HINT = deferred(
    "it may be the source, so nothing is read, written or removed there: unmount it, or set `path` to a folder "
    "without mounts below it"
)
_OF_ANOTHER = deferred("in the {name}, the link {link!r} belongs to somebody else, and is not followed")
_NEW = deferred("in the {name}, the link {link!r} was made since this run began")
_MOVED = deferred("in the {name}, the link {link!r} leads to another folder than before")
_LEADS_BACK = deferred("in the {name}, the link {link!r} leads to a folder with other objects")
_AGAIN_HINT = deferred("run the same command again: it looks first where the link leads")


class Mount(NamedTuple):
    """What is mounted somewhere below a folder."""

    place: bytes  # path below the folder
    what: str  # for people, as findmnt has it: a device, and which of its folders if it is not the whole


class Mounts:
    """The mounts below an open folder, as they are whenever they are asked for. From any thread."""

    def __init__(self, folder: int) -> None:
        """`folder`: its descriptor, which stays open for as long as this is used. Raises: OSError."""
        self._folder = folder
        self._asking = threading.Lock()
        self._changes = select.poll()
        self._table: int | None = None
        self._below: tuple[Mount, ...] | None = None  # None: they have to be read
        with suppress(FileNotFoundError):  # no system that tells
            self._table = os.open(_SELF / "mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        if self._table is not None:
            try:
                self._changes.register(self._table, select.POLLPRI)  # see proc_pid_mountinfo(5)
            except BaseException:
                self.close()
                raise

    def now(self) -> tuple[Mount, ...]:
        """The mounts; none if the system has no table. If nothing was mounted since the last call, it costs one call.

        Raises: OSError if they cannot be read; then they are read the next time.
        """
        if self._table is None:
            return ()
        with self._asking:
            if self._changes.poll(0):
                self._below = None
            if self._below is None:
                self._below = mounts_below(self._folder)
            return self._below

    def close(self) -> None:
        """Let go of the table."""
        if self._table is not None:
            os.close(self._table)
            self._table = None


def mount_number(folder: int) -> str | None:
    """On which mount an open folder lies, whatever its path is by now; None where no system tells.

    Raises: OSError if it cannot be read.
    """
    try:
        # by its bare name, as it is asked for every object
        fdinfo = os.open(f"/proc/self/fdinfo/{folder}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        number = _ID.search(os.read(fdinfo, _LINES_BYTES))
        return number and number[1].decode()
    finally:
        os.close(fdinfo)


def mounts_below(folder: int) -> tuple[Mount, ...]:
    """The mounts below an open folder, also those within one another.

    What a mount hides is no part of what is below: so it counts on which mount another one lies, not its path alone.
    Raises: OSError if they cannot be read, FileNotFoundError where no system tells.
    """
    above = (_SELF / f"fd/{folder}").readlink().as_posix().rstrip("/") + "/"
    own = mount_number(folder)
    table = os.fsdecode((_SELF / "mountinfo").read_bytes())
    lying_on = defaultdict[str, list[MountPoint]](list)  # in whatever order the system tells them
    for mount in iter_mounts(table):
        if mount.place.startswith(above):
            lying_on[mount.parent].append(mount)
    # some systems (gVisor) do not tell on which mount a folder lies: rather a hidden one too many than one too few
    found, within = list[Mount](), [own] if own else [*lying_on]
    while within:
        for mount in lying_on.pop(within.pop(), ()):
            within.append(mount.number)
            part = "" if mount.root == "/" else f"[{mount.root}]"
            found.append(Mount(os.fsencode(mount.place.removeprefix(above)), mount.source + part))
    return tuple(found)


class Volume:
    """A folder and what lies below it on its disk."""

    def __init__(self, fd: int, name: str, link: bytes = b"") -> None:
        """`fd`: its descriptor, which this closes; `name`: of the root, for messages; `link`: the one that leads there.

        Raises: OSError.
        """
        self.fd, self.link, self._name = fd, link, name
        self._status, self._mount = os.fstat(fd), mount_number(fd)
        self._mounts = Mounts(fd)

    def is_at(self, status: os.stat_result) -> bool:
        """Whether this is the folder that the system says this of."""
        return os.path.samestat(self._status, status)

    def stray(self, path: bytes, folder: int | None, status: os.stat_result | None = None) -> str:
        """What lies in between where a path is on another disk, or may be, for people; empty: nothing. Raises: OSError.

        `folder`: the descriptor of what lies at the path, if it is a folder that is open; `status`: of the same.
        """
        above = self.link and self.link + b"/"
        mounts = self._mounts.now()
        # paths alone do not do: of a folder above a mount that is renamed nobody hears
        strays = folder is not None and mount_number(folder) != self._mount
        for place, what in mounts:
            if path == above + place or path.startswith(above + place + b"/"):
                return tr(
                    "{what} is mounted at {place!r} in the {name}",
                    what=what,
                    place=os.fsdecode(above + place),
                    name=self._name,
                )
        if folder is not None and not strays:
            strays = (status or os.fstat(folder)).st_dev != self._status.st_dev
        if strays:
            return tr(
                "{path!r} in the {name} is on another file system, or on what is mounted there",
                path=os.fsdecode(path),
                name=self._name,
            )
        return ""

    def holds(self, other: Volume) -> bool:
        """Whether it is another one, or lies above it. Raises: OSError."""
        fd = os.dup(other.fd)
        try:
            while not self.is_at(here := os.fstat(fd)):
                above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)  # it need not be readable
                os.close(fd)
                fd = above
                if os.path.samestat(here, os.fstat(fd)):  # the root of all
                    return False
            return True
        finally:
            os.close(fd)

    def free_bytes(self) -> int:
        """How much may still be written to its disk. Raises: OSError."""
        status = os.fstatvfs(self.fd)
        return status.f_bavail * status.f_frsize

    def close(self) -> None:
        """Let go of it."""
        self._mounts.close()
        os.close(self.fd)


class Volumes:
    """The disks of a root: its own, and those that links lead to. From any thread."""

    def __init__(self, fd: int, path: Path, name: str) -> None:
        """`fd`: of the root, which stays open; `name`: for messages. Raises: OSError."""
        self._path, self._name = path, name
        copy = os.dup(fd)
        try:
            self._root = Volume(copy, name)
        except BaseException:
            os.close(copy)
            raise
        self._since_ns = time.time_ns()
        self._linked: dict[bytes, Volume] = {}  # by their links
        self._known: dict[bytes, Volume] = {}  # by ways of folders that may be links
        self._resolving = threading.Lock()

    def of(self, way: bytes) -> Volume:
        """Of what lies below folders of which each may be a link.

        Raises: StoreUnusable for a link that cannot be followed; OSError.
        """
        volume = self._known.get(way)
        if volume is None:
            with self._resolving:
                volume = self._resolved(way)
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[way] = volume
        if volume.link:
            self._require_unmoved(volume)
        return volume

    def require_one_disk(
        self, way: bytes, path: bytes, folder: int | None, status: os.stat_result | None = None
    ) -> None:
        """Check a path before it is touched. Each folder on the way may be a link.

        Raises: StoreUnusable if it is below a mount, or may be; OSError.
        """
        self._require_one_disk(self.of(way), path, folder, status)

    def require_no_new_link(self, way: bytes) -> None:
        """Check what was found in the way. Raises: StoreUnusable if it is a link that was made since; OSError."""
        with self._resolving:
            self._resolved(way)

    def _require_one_disk(
        self, volume: Volume, path: bytes, folder: int | None, status: os.stat_result | None = None
    ) -> None:
        try:
            stray = volume.stray(path, folder, status)
        except OSError as error:  # which says nothing of what lies at the path
            if error.errno in EXHAUSTED:  # for the moment
                raise OSError(error.errno, error.strerror) from error
            raise mounts_untold(self._name, error) from error
        if stray:
            raise StoreUnusable(stray, hint=say(_MOUNT_HINT))

    def _resolved(self, path: bytes) -> Volume:
        """The volume of the last link on the way; what is not there is no link."""
        folders = path.split(b"/") if path else []
        volume, fd = self._root, os.dup(self._root.fd)
        try:
            for depth, segment in enumerate(folders, 1):
                way = b"/".join(folders[:depth])
                try:
                    below = os.open(segment, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
                except (FileNotFoundError, PermissionError):
                    break
                except OSError as error:
                    if error.errno not in _NO_FOLDER:
                        raise
                    self._require_one_disk(volume, b"/".join(folders[: depth - 1]), fd)
                    linked = self._linked.get(way) or self._opened_link(way, segment, fd)
                    if linked is None:
                        break
                    volume, below = linked, os.dup(linked.fd)
                os.close(fd)
                fd = below
        finally:
            os.close(fd)
        return volume

    def _target(self, way: bytes, segment: bytes, folder: int) -> bytes | None:
        """Where a link of ours leads; None: it is no link. Raises: StoreUnusable if it is not ours; OSError."""
        if not hasattr(os, "O_PATH"):  # nobody could tell that the link which is read is the one that was looked at
            return None
        link = os.open(segment, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            status = os.fstat(link)
            if not stat.S_ISLNK(status.st_mode):
                return None
            if status.st_uid not in (0, os.geteuid()):
                command = f"chown -h root: {shlex.quote(str(self._path / os.fsdecode(way)))}"
                hint = tr(
                    "where objects are written, a link must belong to root or to the user who runs mastosync. If an"
                    " admin has made it, run as root: `{command}`",
                    command=command,
                )
                raise self._unusable(way, _OF_ANOTHER, hint)
            if status.st_ctime_ns > self._since_ns:
                raise self._unusable(way, _NEW, say(_AGAIN_HINT))
            return os.readlink(b"", dir_fd=link)
        finally:
            os.close(link)

    def _opened_link(self, way: bytes, segment: bytes, folder: int) -> Volume | None:
        """A volume that was not known yet; None: this is no link to a folder. Raises: StoreUnusable; OSError."""
        target = self._target(way, segment, folder)
        try:
            fd = None if target is None else os.open(target, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            raise self._leads_nowhere(way) from None
        except OSError as error:
            if error.errno not in _NO_FOLDER:
                raise
            fd = None
        if fd is None:
            return None
        try:
            found = Volume(fd, self._name, way)
        except BaseException:
            os.close(fd)
            raise
        try:
            for other in (self._root, *self._linked.values()):
                if other.holds(found) or found.holds(other):
                    hint = tr("remove it, or have it lead to a folder of its own: no file may have two names")
                    raise self._unusable(way, _LEADS_BACK, hint)
        except BaseException:
            found.close()
            raise
        self._linked[way] = found
        return found

    def _require_unmoved(self, volume: Volume) -> None:
        """Nobody would find what is written to a folder that the link leads to no more. Raises: StoreUnusable."""
        try:
            status = os.stat(volume.link, dir_fd=self._root.fd)
        except FileNotFoundError:
            raise self._leads_nowhere(volume.link) from None
        if not volume.is_at(status):
            raise self._unusable(volume.link, _MOVED, say(_AGAIN_HINT))

    def _leads_nowhere(self, way: bytes) -> StoreUnusable:
        return leads_nowhere(self._name, way)

    def _unusable(self, way: bytes, what: str, hint: str) -> StoreUnusable:
        return StoreUnusable(say(what).format(name=self._name, link=os.fsdecode(way)), hint=hint)

    def close(self) -> None:
        """Let go of all of them."""
        for volume in (self._root, *self._linked.values()):
            volume.close()


def leads_nowhere(name: str, link: bytes) -> StoreUnusable:
    """Of a link to a folder that is not there."""
    return StoreUnusable(
        tr("in the {name}, the link {link!r} leads nowhere", name=name, link=os.fsdecode(link)),
        hint=tr("mount the disk that it leads to, or remove the link"),
    )


def mounts_untold(name: str, error: OSError) -> StoreUnusable:
    """Nobody can tell what is mounted below a folder."""
    return StoreUnusable(
        tr("cannot find out what is mounted below the {name}: {strerror}", name=name, strerror=error.strerror),
        hint=say(UNREADABLE_HINT),
    )
