"""Files that appear under their name when they are whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from mastosync.errors import MastosyncError, OutputError, UsageError
from mastosync.language import tr
from mastosync.manifest.sqlite_errors import written
from mastosync.new_files import made

_LOGS = ("-wal", "-journal")
_COMPANIONS = (*_LOGS, "-shm")


@contextmanager
def appearing(
    target: Path,
    *,
    replace: bool = False,
    error_type: type[MastosyncError] = OutputError,
    like: os.stat_result | None = None,
) -> Iterator[Path]:
    """An empty file of its owner (0600) beside `target`, which takes that name when the block has ended well.

    `like`: whose owner it gets if root makes it; None: that of the file that it replaces, or else of the folder.
    Raises: UsageError if there is such a file already and it is not to be replaced, if it is no
    ordinary file, or if another database's log lies beside it; OutputError, or another, if nothing can be written.
    """
    require_room_for(target, replace=replace)
    partial = target.with_name(f"{target.name}.{uuid4().hex[:12]}.partial")
    try:
        with written(
            target, error_type
        ):  # whose name is known before it is made: a signal may come at that very moment
            like = like or (target.stat() if target.is_file() else None)
            os.close(made(partial, like=like))
        yield partial
        with written(target, error_type):
            _sync(partial)
            require_room_for(target, replace=replace)
            _give_name(partial, target, replace)
            _sync(target.parent)
    finally:
        for companion in ("", *_COMPANIONS):
            with suppress(OSError):  # none is there; or the disk is read-only by now, which has been told
                partial.with_name(partial.name + companion).unlink()


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
