"""The keys of a store that is a folder of this machine."""

# ruff: noqa: RUF009 - `key` only wraps `field()`; its defaults are immutable

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mastosync.config.keys import key
from mastosync.config.values import PATH, Format, Wrong, choice, size
from mastosync.language import deferred, say, tr

_GIB = 1024**3
_HIGHEST_ID = 2**32 - 2  # the one above means nobody


class OwnerKey(NamedTuple):
    """Whose files are to be, by numbers."""

    user: int
    group: int | None  # None: as the folder's


def _owner(text: str) -> OwnerKey:
    import grp  # noqa: PLC0415 - only who names somebody needs them
    import pwd  # noqa: PLC0415

    user, colon, group = text.strip().partition(":")
    if not user or (colon and not group):
        raise ValueError
    return OwnerKey(
        _number_of(user, lambda name: pwd.getpwnam(name).pw_uid, deferred("this machine knows no user {name!r}")),
        _number_of(group, lambda name: grp.getgrnam(name).gr_gid, deferred("this machine knows no group {name!r}"))
        if colon
        else None,
    )


def _number_of(name: str, known: Callable[[str], int], unknown: str) -> int:
    try:
        number = int(name) if name.isascii() and name.isdigit() else known(name)
    except KeyError:
        raise Wrong(say(unknown).format(name=name), tr("Correct the name, or write its number.")) from None
    if number > _HIGHEST_ID:
        raise ValueError
    return number


OWNER = Format(deferred("a user, such as mastodon, or user:group, or their numbers"), _owner)


@dataclass(frozen=True, slots=True)
class FilesystemConfig:
    """A folder of this machine, where objects are files: what Mastodon has without S3."""

    path: Path | None = key(
        None,
        PATH,
        "The folder that holds `media_attachments`, `accounts` and the others: Mastodon's PAPERCLIP_ROOT_PATH, which is"
        " public/system below its own folder unless set.",
    )
    fsync: str = key(
        "always",
        choice("always", "never"),
        "Whether an object counts as done only when the disk itself has it. never is faster, most of all for small"
        " objects, and a power cut may then lose some that count as done: `mastosync verify` finds them.",
        only="filesystem.destination",
    )
    keep_free: int = key(
        _GIB,
        size(0, 1024 * 1024 * _GIB),
        "Copying stops before less than this is free on the disk.",
        only="filesystem.destination",
    )
    owner: OwnerKey | None = key(
        None,
        OWNER,
        "Whose the files and folders are that are written. Unless set, those of the folder itself: Mastodon has to read"
        " and delete them. Only root may give files to others.",
        only="filesystem.destination",
    )

    @property
    def folder(self) -> Path:
        """The path, of a folder that is configured (`Config.require_store`)."""
        assert self.path is not None  # noqa: S101
        return self.path
