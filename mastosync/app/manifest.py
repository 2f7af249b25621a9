"""Looking after the manifest itself: whether it is sound, a copy of it, all of it as text and back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.archive.reading import ArchiveSource
from mastosync.archive.writing import iter_archive
from mastosync.errors import StdoutError
from mastosync.language import tr
from mastosync.manifest import (
    ArchiveReader,
    ArchiveWriter,
    Checker,
    Manifest,
    Soundness,
    appearing,
    back_up,
    backup_name,
    read_from,
    repair_counters,
    written,
)
from mastosync.mountinfo import real_path
from mastosync.progress import CheckProgress

if TYPE_CHECKING:
    from mastosync.progress import ProgressListener
    from mastosync.runtime.stop import StopSignal

_AT_ONCE = 2_000  # entries


def check(manifest: Manifest, stop: StopSignal, listener: ProgressListener, *, quick: bool, repair: bool) -> Soundness:
    """Look at everything, and put right what only the counters have wrong. See `App.check`."""
    with told("check", listener) as (progress, went_on):
        checker = Checker(manifest, quick, went_on, lambda: stop.requested)
        progress.total = checker.expected()
        result = checker.run()
    if repair and result.only_counters:
        copy = backup_name(real_path(manifest.path))
        back_up(manifest.path, copy)
        repair_counters(manifest)
        result.faults.clear()
        result.repaired = tr(
            "the counters were counted again; the manifest as it was before is kept at {copy}", copy=copy
        )
    return result


def export(manifest: Manifest, target: Path | None, listener: ProgressListener, *, replace: bool) -> int:
    """Write an archive to a file, or to standard output, and return how many entries it has. See `App.export`."""
    with (
        ArchiveReader.opened(manifest) as reader,
        ExitStack() as stack,
        told("export", listener) as (progress, went_on),
    ):
        progress.total = reader.expected()
        if target is None:
            stack.enter_context(written(Path(tr("the standard output")), StdoutError))
            stream = sys.stdout.buffer
        else:
            partial = stack.enter_context(appearing(target, replace=replace))
            stack.enter_context(written(target))
            stream = stack.enter_context(partial.open("wb"))
        for line in iter_archive(reader, went_on):
            stream.write(line)
        stream.flush()
        return progress.checked


def import_archive(manifest: Path, archive: Path | None, listener: ProgressListener) -> int:
    """Make a manifest of an archive, and return how many entries it has. See `App.import_archive`."""
    with ExitStack() as stack, told("import", listener) as (progress, went_on):
        if archive is None:
            source = ArchiveSource(sys.stdin.buffer, tr("the standard input"))
        else:
            with read_from(str(archive)):
                stream = stack.enter_context(archive.open("rb"))
            source = ArchiveSource(stream, str(archive))
        writer = stack.enter_context(ArchiveWriter.creating(manifest))
        writer.write_head(source.head())
        entries = source.iter_entries()
        while some := list(islice(entries, _AT_ONCE)):
            writer.write_entries(some)
            went_on(len(some))
        return progress.checked


@contextmanager
def told(what: str, listener: ProgressListener) -> Iterator[tuple[CheckProgress, Callable[[int], None]]]:
    """Progress of entries that go by, and how to say that some did."""
    progress = CheckProgress(what, total=0, finding="")
    listener.started(progress)

    def went_on(entries: int) -> None:
        progress.checked += entries
        listener.advanced(progress)

    try:
        yield progress, went_on
    finally:
        listener.finished(progress)
