"""How many bytes of disk the manifest takes for an entry: while it is pending, and when it is done.

    python -m benchmarks.manifest_size --entries 200000

Makes entries up, as a plan makes them of Mastodon's rows, and records each as a copy does. It needs no server.
An ETag of the destination is kept only where it is no MD5, as that of an object in parts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import md5
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.objects import iter_rows
from mastosync.manifest import HIGHEST_ID, LOWEST_ID, Manifest, PlanWriter, StoreIdentity, WorkQueue
from mastosync.mastodon.database import BATCH_ROWS
from mastosync.mastodon.paperclip import entries_of, groups_of
from mastosync.model import MANIFEST_BYTES_PER_ENTRY, AttachmentSpec, Entry, EntryState, MediaColumns, MediaRow, Outcome

_CHUNK = 1_000  # entries of one commit, as a copy has them at most
_FIRST = 1_500_000_000  # when the first file came, in seconds since the epoch
ETAG_OF_PARTS = f"{'0123456789abcdef' * 2}-12"
_STORES = StoreIdentity("https://old.example", "old", ""), StoreIdentity("https://new.example", "new", "")


class Size(NamedTuple):
    """What a manifest takes for an entry, in bytes of disk."""

    pending: float
    done: float
    log: int  # bytes: the most that the write-ahead log took beside it, while entries became done


def measure(path: Path, entries: int, etag: str | None = None) -> Size:
    """Make a manifest of so many entries at `path`, and record all as done.

    `etag`: with which the destination answers, and which is kept beside the digest; None: with MD5s.
    """
    with Manifest.create(path) as manifest, PlanWriter.transaction(manifest, *_STORES) as writer:
        for spec, rows in _batches(entries):
            groups = groups_of(spec, MediaColumns(*zip(*rows, strict=True)))
            writer.merge(spec.table, LOWEST_ID, HIGHEST_ID, groups)
        writer.finish(datetime.now(UTC), {})
    pending, log = path.stat().st_size, 0
    with Manifest.open(path, writing=True) as manifest:
        manifest.connection.execute("PRAGMA synchronous = OFF")  # it need not survive a power cut
        queue = WorkQueue(manifest)
        queue.start_run(workers=8)
        claims = queue.iter_claimable()
        outcomes: list[Outcome] = []
        while chunk := list(islice(claims, _CHUNK)):
            queue.commit(outcomes=outcomes, claims=chunk)
            outcomes = [_done(claim.entry, etag) for claim in chunk]
            log = max(log, _bytes(path.with_name(f"{path.name}-wal")))
        queue.commit(outcomes=outcomes)
        queue.end_run()
    return Size(pending / entries, path.stat().st_size / entries, log)


def _batches(entries: int) -> Iterator[tuple[AttachmentSpec, list[MediaRow]]]:
    """Rows of so many entries, attachment by attachment, in the order of their ids."""
    rows: dict[AttachmentSpec, list[MediaRow]] = defaultdict(list)
    number = 0
    for spec, row in iter_rows():
        if number >= entries:
            break
        rows[spec].append(row._replace(file_size=30_000 + number * 7_919 % 900_000, updated=_FIRST + number))
        number += len(entries_of(spec, row))
    for spec, found in rows.items():
        found.sort()
        for start in range(0, len(found), BATCH_ROWS):
            yield spec, found[start : start + BATCH_ROWS]


def _done(entry: Entry, etag: str | None) -> Outcome:
    digest = md5(entry.name.encode(), usedforsecurity=False).digest()
    return Outcome(entry, EntryState.DONE, size=entry.size or 57_000, md5=digest, etag=etag)


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what a manifest takes, for both kinds of ETags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=200_000)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for name, etag in ("MD5s", None), ("others", ETAG_OF_PARTS):
            size = measure(Path(folder) / f"{name}.db", options.entries, etag)
            print(
                f"{options.entries:,} entries, ETags of the destination: {name}. {size.pending:.0f} bytes an entry"
                f" while pending, {size.done:.0f} when done; write-ahead log: {size.log / 1e6:.0f} MB at most",
                flush=True,
            )
    print(f"What people are told: {MANIFEST_BYTES_PER_ENTRY} bytes an entry")


if __name__ == "__main__":
    main()
