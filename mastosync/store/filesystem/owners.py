"""The owner of what is written: that of the folder that it lies in, not the user who runs mastosync.

Mastodon has to read private files and to delete all. So root, whose files may be closed to everybody else, gives away
each file before it gets its name, and each folder when it is made. A folder that is there already keeps its owner.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.errors import StoreUnusable
from mastosync.language import tr
from mastosync.model import Owner

if TYPE_CHECKING:
    from mastosync.config import OwnerKey

_log = logging.getLogger(__name__)

_CHOWN, _DAC_OVERRIDE = 1 << 0, 1 << 1  # see capabilities(7); who gives a folder away must still write in it
_REFUSED = frozenset({errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What file systems without owners say, servers that take root for nobody, and containers that lack the user."""
_CAPABILITIES = re.compile(rb"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)


class Owners:
    """Gives what is made below one folder to its owner. From any thread."""

    def __init__(self, path: Path, name: str, asked: OwnerKey | None) -> None:
        """`name`: for messages; `asked`: None for the owner and group of the folder itself."""
        self._path, self._name, self._asked = path, name, asked
        self.wanted = Owner(-1, -1)  # known once the folder is open
        self.gives = False
        self._warning = threading.Lock()

    def settle(self, folder: os.stat_result) -> None:
        """Look at the folder, once it is open."""
        self.wanted = wanted_owner(Owner(folder.st_uid, folder.st_gid), self._asked)
        self.gives = gives_away(self.wanted, current_owner(), asked=self._asked is not None, privileged=is_privileged())

    def give(self, fd: int) -> None:
        """Give away what was just made. Raises: StoreUnusable if `owner` asks for it, and it cannot be; OSError."""
        if not self.gives:
            return
        status = os.fstat(fd)
        if (status.st_uid, status.st_gid) == self.wanted:
            return
        try:
            os.fchown(fd, *self.wanted)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            self._refused(error)

    def give_of_work(self, fd: int) -> None:
        """`give` for a folder without objects; also for one that a dead run has left as root's."""
        if os.fstat(fd).st_uid in (0, os.geteuid()):
            self.give(fd)

    def _refused(self, error: OSError) -> None:
        """Raises: StoreUnusable if `owner` asks for it. Else it warns once, and tries no more."""
        said = tr(
            "what is written to the {name} cannot be given to {owner}: {strerror}",
            name=self._name,
            owner=self.wanted,
            strerror=error.strerror,
        )
        if self._asked:
            hint = tr("run mastosync as root, or as that user and without `owner`")
            raise StoreUnusable(said, hint=hint) from error
        with self._warning:
            if self.gives:
                self.gives = False
                _log.warning(
                    "%s",
                    tr(
                        "{said}. Mastodon will not be able to read what is private, or to delete: run mastosync as"
                        " that user; or afterwards, where the disk is: {command}",
                        said=said,
                        command=f"chown -R {self.wanted} {shlex.quote(str(self._path.absolute()))}",
                    ),
                )


def current_owner() -> Owner:
    """The owner of what this process makes, unless it gives it away."""
    return Owner(os.geteuid(), os.getegid())


def wanted_owner(folder: Owner, asked: OwnerKey | None) -> Owner:
    """Who should own what is written."""
    if asked is None:
        return folder
    return Owner(asked.user, folder.group if asked.group is None else asked.group)


def gives_away(wanted: Owner, runs_as: Owner, *, asked: bool, privileged: bool) -> bool:
    """Whether files are to be given to `wanted`: who may not do that for all of them tries it only where asked to."""
    return asked or (privileged and wanted != runs_as)


def is_privileged() -> bool:
    """Whether this process may give files away, and go on writing in folders that it gave away."""
    try:
        status = Path("/proc/self/status").read_bytes()
    except OSError:  # no system that tells
        status = b""
    return may_give(status, os.geteuid())


def may_give(status: bytes, user: int) -> bool:
    """`is_privileged`, by `/proc/self/status`. Root without these capabilities tries all the same; a refusal warns."""
    granted = int(found[1], 16) if (found := _CAPABILITIES.search(status)) else 0
    return bool(granted & _DAC_OVERRIDE) if granted & _CHOWN else user == 0
