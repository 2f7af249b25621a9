"""The table of mounts that Linux keeps for a process, /proc/self/mountinfo: see proc_pid_mountinfo(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mastosync.language import deferred

UNREADABLE_HINT = deferred(
    "let this user read mountinfo and fdinfo in /proc/self; if too much is open at once, raise `ulimit -n`"
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


class MountPoint(NamedTuple):
    """A line of it."""

    number: str
    parent: str  # number of the one that it lies on
    device: str  # of the file system, as `8:1`
    root: str  # which folder of the file system is mounted; `/`: the whole
    place: str  # where
    kind: str  # of the file system, as ext4
    source: str  # what is mounted, as /dev/sda1


def iter_mounts(table: str) -> Iterator[MountPoint]:
    """The lines of its text, decoded as file names are (`os.fsdecode`). What is no such line is passed over."""
    for line in table.split("\n"):  # a name may hold all other ends of lines, and all other blanks
        before, _, after = line.partition(" - ")
        fields, (kind, *source) = before.split(" "), after.split(" ")
        if len(fields) >= 5 and kind:
            number, parent, device, root, place = fields[:5]
            yield MountPoint(
                number, parent, device, _unescaped(root), _unescaped(place), kind, _unescaped("".join(source[:1]))
            )


def _unescaped(field: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)
