"""What the system says of files → errors of the contract: one table."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mastosync.errors import (
    MastosyncError,
    ObjectChanged,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ObjectTooLarge,
    ServerFailure,
    StoreUnusable,
)
from mastosync.language import deferred, say, tr
from mastosync.store.errors import Subject
from mastosync.store.filesystem.root import LinkInTheWay
from mastosync.store.filesystem.volumes import EXHAUSTED

_UNUSABLE: dict[int, str] = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT),
        deferred("the disk is full: make room (or raise the quota), then run the same command again"),
    ),
    errno.EROFS: deferred(
        "the disk is mounted read-only: look into the system's log, a damaged disk may be the reason"
    ),
    errno.EXDEV: deferred("another disk is mounted below the folder: copy to a folder that is on one disk"),
    **dict.fromkeys(
        (errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ESHUTDOWN),
        deferred("the disk is not there any more: mount it again, then run the same command again"),
    ),
}
"""After these no other object would fare better."""

_DENIED_HINT = deferred(
    "run mastosync as a user who may do this (usually Mastodon's own), or correct the file's mode; then "
    "`mastosync retry-failed --reason denied` tries again"
)
_LINK_HINT = deferred(
    "links are followed only above the folders of single ids (as at `cache` or `media_attachments/files`). Find "
    "out why the link is there; make it further up, or mount the disk in its place. Then run `mastosync "
    "retry-failed --reason denied`"
)
_IN_THE_WAY_HINT = deferred(
    "on a disk, a name is either a file or a folder, and links are followed only above the folders of single ids: "
    "move away what is in the way"
)
_SERVER_HINT = deferred(
    "look into the system's log: the disk may be damaged; `mastosync retry-failed --reason server` tries again"
)
_TOO_MANY_HINT = deferred("too many files are open: use fewer `workers`, or raise `ulimit -n`")

_NOT_FOUND = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY})
_NO_NAME = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})


@contextmanager
def translated(where: str, subject: Subject) -> Iterator[None]:
    """Raise what an `OSError` of the block stands for. `where`: the operation, the key and the store."""
    try:
        yield
    except OSError as error:
        what = f" ({os.fsdecode(error.filename)!r})" if error.filename and subject is Subject.STORE else ""
        raise _error_of(error, f"cannot {where}: {error.strerror or error}{what}", subject) from error


def _error_of(error: OSError, text: str, subject: Subject) -> MastosyncError:
    code = error.errno or 0
    if code in _UNUSABLE:
        return StoreUnusable(text, hint=say(_UNUSABLE[code]))
    if code in EXHAUSTED:
        return ServerFailure(text, hint=say(_TOO_MANY_HINT))
    if subject is Subject.STORE:
        return StoreUnusable(text, hint=tr("check `path`, and that you may do this there"))
    if isinstance(error, LinkInTheWay):
        return ObjectDenied(text, hint=say(_LINK_HINT))
    return _object_error(code, text, subject)


def _object_error(code: int, text: str, subject: Subject) -> ObjectError:
    """The first line that fits."""
    not_found = {Subject.UPLOAD: ObjectChanged, Subject.OBJECT: ObjectMissing}.get(subject)
    table: tuple[tuple[bool, type[ObjectError], str], ...] = (
        (not_found is not None and code in _NOT_FOUND, not_found or ObjectMissing, ""),
        (code in _IN_THE_WAY, ObjectRejected, _IN_THE_WAY_HINT),
        (code in (errno.EACCES, errno.EPERM), ObjectDenied, _DENIED_HINT),
        (code in _NO_NAME, ObjectRejected, deferred("a file on this disk cannot have this name")),
        (code == errno.EFBIG, ObjectTooLarge, deferred("this file system does not allow files as large as this")),
        (True, ServerFailure, _SERVER_HINT),
    )
    kind, hint = next((kind, hint) for fits, kind, hint in table if fits)
    return kind(text, hint=say(hint))
