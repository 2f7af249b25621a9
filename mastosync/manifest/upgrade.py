"""Bringing an older manifest up to date: by one process, and with a copy of it as it was."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import nullcontext
from pathlib import Path

from mastosync.errors import ManifestError
from mastosync.language import tr
from mastosync.manifest.backup import back_up
from mastosync.manifest.file_system import real_path
from mastosync.manifest.lock import writer_lock
from mastosync.manifest.schema import migrate, newest_version, schema_version
from mastosync.manifest.sqlite_errors import translated

_log = logging.getLogger(__name__)

_MOST_COPIES = 3  # of one version: a step that fails again and again must not fill the disk


def bring_up_to_date(path: Path, connection: sqlite3.Connection, *, locked: bool) -> None:
    """Take the steps that a manifest lacks. One that is up to date is not written to.

    `locked`: the caller holds the writer's lock, which is taken here otherwise, as an older
    mastosync may be at work on it. Raises: ManifestError if it was written by a newer one, is in
    use, or has no room for a copy of itself; and sqlite3.Error. Then it is as it was.
    """
    version, newest = schema_version(connection), newest_version()
    if version > newest:
        raise ManifestError(
            tr(
                "cannot use the manifest {path}: it was written by a newer mastosync (manifest version "
                "{version}, this one knows {newest})",
                path=path,
                version=version,
                newest=newest,
            ),
            hint=tr("upgrade mastosync on this machine"),
        )
    if version == newest:
        return
    if not version:
        migrate(connection)  # an empty file
        return
    real = real_path(path)
    try:
        with nullcontext() if locked else writer_lock(real, "upgrade"):
            _upgrade(real, connection, version)
    except ManifestError as error:
        said = tr(
            "the manifest has version {version}, and cannot be upgraded to version {newest}: {message}",
            version=version,
            newest=newest,
            message=error.message,
        )
        raise ManifestError(said, hint=error.hint) from error


def _upgrade(path: Path, connection: sqlite3.Connection, version: int) -> None:
    copy = _name_of_copy(path, version)
    taken = False

    def before() -> None:
        nonlocal taken
        back_up(path, copy)
        taken = True

    try:
        with translated(path):
            migrate(connection, before)
    except ManifestError as error:
        if not taken:
            raise
        said = tr(
            "{message}; the manifest is unchanged, and there is a copy of it at {copy}",
            message=error.message,
            copy=copy,
        )
        raise ManifestError(said, hint=error.hint) from error
    if taken:
        _log.warning(
            "%s",
            tr(
                "the manifest {path} was upgraded from version {version} to {newest}; a copy of the old one is at "
                "{copy}",
                path=path,
                version=version,
                newest=newest_version(),
                copy=copy,
            ),
        )


def _name_of_copy(path: Path, version: int) -> Path:
    names = [f"{path.name}.v{version}.backup{more}" for more in ("", *(f".{n}" for n in range(2, _MOST_COPIES + 1)))]
    for name in names:
        if not (copy := path.with_name(name)).exists():
            return copy
    raise ManifestError(
        tr(
            "its folder has {number} copies of version {version} already, such as {copy}",
            number=_MOST_COPIES,
            version=version,
            copy=path.with_name(names[0]),
        ),
        hint=tr("keep one of them, and move the others to another folder"),
    )
