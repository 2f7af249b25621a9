"""Copies of a manifest, made while others read and write it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from mastosync.errors import ManifestError, MastosyncError, UsageError
from mastosync.language import tr
from mastosync.manifest.atomic_file import appearing
from mastosync.manifest.sqlite_errors import copied, translated, written
from mastosync.manifest.write_ahead import gap, has_log, keep_gap, note_backup
from mastosync.mountinfo import real_path, same_file

_PAGES_AT_ONCE = 512  # between two looks at who wants to stop
_BUSY_SECONDS = 5.0

Note = Callable[[int, int], None]
"""Told how many pages are copied, and of how many."""


def backup_name(manifest: Path) -> Path:
    """Where a backup goes if nobody says: beside the manifest, by the second."""
    return manifest.with_name(f"{manifest.name}.{datetime.now(UTC):%Y%m%d-%H%M%S}.backup")


def back_up(
    manifest: Path,
    target: Path,
    *,
    replace: bool = False,
    note: Note | None = None,
    error_type: type[MastosyncError] = ManifestError,
) -> int:
    """Copy a manifest as it stands at one moment, and return the size of the copy in bytes.

    The moment is a read transaction: whoever writes goes on meanwhile, and the copy need not begin
    anew. It is looked at before it gets its name. Raises: ManifestError, UsageError if the target is there already, and
    `error_type` if it cannot be written; then there is no copy.
    """
    if same_file(target, manifest):
        raise UsageError(
            tr("{target} is the manifest itself", target=target), hint=tr("name another file for the copy")
        )
    had_log = has_log(real_path(manifest))
    with translated(manifest), closing(sqlite3.connect(manifest, timeout=_BUSY_SECONDS, isolation_level=None)) as taken:
        taken.execute("BEGIN")
        (pages,) = taken.execute("PRAGMA page_count").fetchone()  # which begins the moment
        (page_bytes,) = taken.execute("PRAGMA page_size").fetchone()
        _require_space(target, pages * page_bytes, error_type)
        with (
            appearing(target, replace=replace, error_type=error_type) as partial,
            copied(manifest, target, error_type),
        ):
            with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
                copy.execute("PRAGMA synchronous = OFF")  # it is brought to the disk as a whole
                taken.backup(copy, pages=_PAGES_AT_ONCE, progress=_noting(note))
                _require_sound(copy, manifest)
                if gap(real_path(manifest), taken, had_log=had_log) is not None:
                    keep_gap(copy)
                note_backup(copy)
            return partial.stat().st_size


def _noting(note: Note | None) -> Callable[[int, int, int], None]:
    def progress(_: int, remaining: int, total: int) -> None:
        if note is not None:
            note(total - remaining, total)

    return progress


def _require_space(target: Path, needed: int, error_type: type[MastosyncError]) -> None:
    with written(target, error_type):
        free = shutil.disk_usage(real_path(target).parent).free
    if free < needed:
        raise error_type(
            tr(
                "there is no room for a copy of the manifest at {target}: it needs {needed:,} bytes, {free:,} are free",
                target=target,
                needed=needed,
                free=free,
            ),
            hint=tr("free some space and run the same command again: nothing was changed"),
        )


def _require_sound(copy: sqlite3.Connection, manifest: Path) -> None:
    found = [row[0] for row in copy.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise ManifestError(
            tr(
                "the manifest {manifest} is damaged, so it was not copied: {found}",
                manifest=manifest,
                found=found[0],
            ),
            hint=tr("`mastosync manifest check` tells more; keep the backups that you have"),
        )
