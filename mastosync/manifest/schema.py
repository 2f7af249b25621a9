"""The manifest's schema, and how an older manifest is brought up to date.

Each file in `migrations/` is one step. The steps that a manifest lacks and its new number commit
together, so it is never between two versions (`migrate`). One process does it, which holds the lock and
has made a copy of the manifest as it was (`bring_up_to_date`).
"""

from __future__ import annotations

import logging
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

from mastosync.errors import ManifestError
from mastosync.language import tr
from mastosync.manifest.backup import back_up
from mastosync.manifest.lock import writer_lock
from mastosync.manifest.sqlite_errors import translated
from mastosync.mountinfo import real_path

APPLICATION_ID = 0x4D53594E  # "MSYN": tells `file` and us that a SQLite file is a manifest
MIGRATIONS = Path(__file__).with_name("migrations")

_HEADER = struct.Struct(">16s44xI4xI")  # of a SQLite file: its magic, user_version and application_id


def newest_version() -> int:
    """The number of the newest step there is."""
    return max(_files())


def file_version(path: Path) -> int | None:
    """The version of a manifest, without opening it, which would take the missing steps.

    Returns: 0 for an empty file; None for a file of something else, or one that cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
    except OSError:
        return None
    if len(header) < _HEADER.size:
        return None if header else 0
    magic, version, application = _HEADER.unpack(header)
    return int(version) if (magic, application) == (b"SQLite format 3\0", APPLICATION_ID) else None


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last step taken; 0 for an empty file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(connection: sqlite3.Connection, before: Callable[[], object] = lambda: None) -> None:
    """Take the steps that are missing, all or none.

    No other process writes from the look at the version to the end. `before` is called in between, if
    there is anything to do; if it raises, nothing is done. Raises: sqlite3.Error.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = schema_version(connection)  # another process may have been quicker
        missing = {number: file for number, file in _files().items() if number > version}
        if missing:
            before()
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for number, file in missing.items():
            for statement in _statements(file.read_text(encoding="utf-8")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _files() -> dict[int, Path]:
    return {int(file.name[:4]): file for file in sorted(MIGRATIONS.glob("*.sql"))}


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script: run as a whole it would first commit the open transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement  # without a semicolon


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
