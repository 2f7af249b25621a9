"""Commands that need the manifest alone: `accept`, `manifest check`, `backup`, `export` and `import`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.archive.reading import ArchiveSource, read_from
from mastosync.archive.writing import iter_archive
from mastosync.errors import OutputError, StdoutError
from mastosync.language import say, tr
from mastosync.manifest import (
    ArchiveReader,
    ArchiveWriter,
    Checker,
    Manifest,
    Soundness,
    accept_dropped,
    backup_name,
    count_dropped,
    count_losses,
    repair_counters,
    take_back_acceptance,
)
from mastosync.manifest import accept as accept_losses
from mastosync.manifest import back_up as back_up_file
from mastosync.mountinfo import real_path
from mastosync.new_files import OR_FORCE, appearing, require_room_for, written
from mastosync.progress import CheckProgress, shown

if TYPE_CHECKING:
    from mastosync.app.context import Context
    from mastosync.model import Reason
    from mastosync.progress import ProgressListener

_AT_ONCE = 2_000  # entries


def accept(
    context: Context, types: tuple[str, ...], reasons: tuple[Reason, ...], *, undo: bool, dry_run: bool
) -> Counter[tuple[str, Reason]]:
    """Accept losses as known, or take that back. Returns: how many entries, by type and reason."""
    with _reading_or_writing(context, dry_run=dry_run) as manifest:
        found = count_losses(manifest, types, reasons, accepted=undo)
        if not dry_run:
            (take_back_acceptance if undo else accept_losses)(manifest, types, reasons)
    return found


def accept_gone(context: Context, *, dry_run: bool) -> int:
    """Accept that what plans have lost by `--accept-gone` was deleted. Returns: how many entries."""
    with _reading_or_writing(context, dry_run=dry_run) as manifest:
        lost = count_dropped(manifest)
        if lost and not dry_run:
            accept_dropped(manifest)
    return lost


@contextmanager
def _reading_or_writing(context: Context, *, dry_run: bool) -> Iterator[Manifest]:
    with context.reading() if dry_run else context.writing_planned("accept") as manifest:
        manifest.require_plan()
        yield manifest


def check(context: Context, *, quick: bool = False, repair: bool = False) -> Soundness:
    """Compare the parts of the manifest with each other; `repair` rebuilds the counters if nothing else is wrong.

    Raises: Interrupted when asked to stop.
    """
    with context.writing("manifest check") if repair else context.reading() as manifest:
        with entry_progress("check", context.listener) as (progress, went_on):
            checker = Checker(manifest, quick, went_on, lambda: context.stop.requested)
            progress.total = checker.expected()
            result = checker.run()
        if repair and result.only_counters:
            copy = backup_name(real_path(manifest.path))
            back_up_file(manifest.path, copy)
            repair_counters(manifest)
            result.faults.clear()
            result.repaired = tr(
                "the counters were counted again; the manifest as it was before is kept at {copy}", copy=copy
            )
    return result


def back_up(context: Context, target: Path | None, *, replace: bool = False) -> tuple[Path, int]:
    """Copy the manifest, also while a command works on it. Returns: the path of the copy, and its size."""
    target = target or backup_name(context.manifest_path)
    context.reading().close()  # raises what is wrong with it, and upgrades it
    return target, back_up_file(context.manifest_path, target, replace=replace, error_type=OutputError)


def export(context: Context, target: Path | None, *, replace: bool = False) -> int:
    """Write the whole manifest as JSON lines to a file, or to standard output. Returns: how many entries."""
    with (
        context.reading() as manifest,
        ArchiveReader.opened(manifest) as reader,
        ExitStack() as stack,
        entry_progress("export", context.listener) as (progress, went_on),
    ):
        progress.total = reader.expected()
        if target is None:
            stack.enter_context(written(Path(tr("the standard output")), StdoutError))
            stream = sys.stdout.buffer
        else:
            partial = stack.enter_context(appearing(target, replace=replace, hint=say(OR_FORCE)))
            stack.enter_context(written(target))
            stream = stack.enter_context(partial.open("wb"))
        for line in iter_archive(reader, went_on):
            stream.write(line)
        stream.flush()
        return progress.checked


def import_archive(context: Context, archive: Path | None) -> int:
    """Make a new manifest of an export, whole or not at all. Returns: how many entries."""
    require_room_for(
        context.manifest_path,
        hint=tr("`mastosync --manifest NEW manifest import FILE` makes another one; nothing was changed"),
    )
    with (
        context.writer_lock("manifest import"),
        ExitStack() as stack,
        entry_progress("import", context.listener) as (progress, went_on),
    ):
        if archive is None:
            source = ArchiveSource(sys.stdin.buffer, tr("the standard input"))
        else:
            with read_from(str(archive)):
                stream = stack.enter_context(archive.open("rb"))
            source = ArchiveSource(stream, str(archive))
        writer = stack.enter_context(ArchiveWriter.creating(context.manifest_path))
        writer.write_head(source.head())
        entries = source.iter_entries()
        while some := list(islice(entries, _AT_ONCE)):
            writer.write_entries(some)
            went_on(len(some))
        return progress.checked


@contextmanager
def entry_progress(command: str, listener: ProgressListener) -> Iterator[tuple[CheckProgress, Callable[[int], None]]]:
    """Progress in entries, and the function that counts some more."""
    progress = CheckProgress(command, total=0, finding="")

    def went_on(entries: int) -> None:
        progress.checked += entries
        listener.advanced(progress)

    with shown(progress, listener):
        yield progress, went_on
