"""What is mounted below a folder, as Linux tells it.

Another file system is known by its device (`st_dev`), on every system and at any time. A folder of the same one that is
mounted (`mount --bind`) has the same device: the table of mounts alone knows of it.
"""

from __future__ import annotations

import os
import re
import select
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_SELF = Path("/proc/self")
_ID = re.compile(rb"^mnt_id:\s*(\d+)$", re.MULTILINE)
_ESCAPED = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """What is mounted somewhere below a folder."""

    place: bytes  # path below the folder
    what: str  # for people, as findmnt has it: a device, and which of its folders if it is not the whole


class Mounts:
    """The mounts below an open folder, as they are whenever they are asked for. From any thread."""

    def __init__(self, folder: int) -> None:
        """`folder`: its descriptor, which stays open for as long as this is used."""
        self._folder = folder
        self._asking = threading.Lock()
        self._changes = select.poll()
        self._table: int | None = None
        with suppress(OSError):
            self._table = os.open(_SELF / "mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            self._changes.register(self._table, select.POLLPRI)  # see proc_pid_mountinfo(5)
        self._below = mounts_below(folder)  # after that, so that nothing is missed

    def now(self) -> tuple[Mount, ...]:
        """Those that there are. Where nothing has been mounted since, that is one question to the system."""
        with self._asking:
            if self._changes.poll(0):
                self._below = mounts_below(self._folder)
            return self._below

    def close(self) -> None:
        """Let go of the table."""
        if self._table is not None:
            os.close(self._table)
            self._table = None


def mounts_below(folder: int) -> tuple[Mount, ...]:
    """The mounts below an open folder, also those within one another; none where no system tells.

    What a mount hides is no part of what is below: so it counts on which mount another one lies, not its path alone.
    """
    try:
        above = os.fsencode((_SELF / f"fd/{folder}").readlink()).rstrip(b"/") + b"/"
        own = _ID.search((_SELF / f"fdinfo/{folder}").read_bytes())
        lines = (_SELF / "mountinfo").read_bytes().split(b"\n")  # other ends of lines may be part of a name
    except OSError:
        return ()
    found, within = list[Mount](), {own[1]} if own else set[bytes]()
    for line in lines:
        before, _, after = line.partition(b" - ")
        if len(fields := before.split(b" ")) < 5 or len(device := after.split(b" ")) < 2:
            continue
        root, place = map(_unescaped, fields[3:5])
        if fields[1] in within and place.startswith(above):
            within.add(fields[0])
            part = b"" if root == b"/" else b"[%s]" % root
            found.append(Mount(place.removeprefix(above), os.fsdecode(_unescaped(device[1]) + part)))
    return tuple(found)


def _unescaped(field: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), field)
