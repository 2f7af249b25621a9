"""What is mounted below a folder, as Linux tells it.

Another file system is known by its device (`st_dev`), on every system and at any time. A folder of the same one that is
mounted (`mount --bind`) has the same device: the table of mounts alone knows of it.
"""

from __future__ import annotations

import os
import re
import select
import threading
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mastosync.mountinfo import MountPoint, iter_mounts

_SELF = Path("/proc/self")
_ID = re.compile(rb"^mnt_id:\s*(\d+)$", re.MULTILINE)
_LINES_BYTES = 4096  # of what the system says of a descriptor, many times over


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
        """Those that there are; none where no system tells. If nothing was mounted since, it is asked one question.

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
        told = os.open(f"/proc/self/fdinfo/{folder}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        number = _ID.search(os.read(told, _LINES_BYTES))
        return number and number[1].decode()
    finally:
        os.close(told)


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
