"""Prints a manifest of the newest version as SQL. Run this when migration N was added, and keep what it prints:

python -m tests.support.manifest_versions > tests/support/manifest_versions/vN.sql
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Manifest,
    ManifestReader,
    PlanWriter,
    StoreIdentity,
    WorkQueue,
    accept,
    found_wrong,
    newest_version,
    record_findings,
    record_verification,
)
from mastosync.model import FAILURE_REASONS, TABLES, Claim, Entry, EntryState, Kind, Origin, Outcome, Reason
from tests.support.entries import grouped
from tests.support.manifest_versions import digest_line

SOURCE = StoreIdentity("http://127.0.0.1:9", "old-media", "")
DESTINATION = StoreIdentity("http://127.0.0.1:9", "new-media", "")
AVATAR = Kind("accounts", "avatar", "original", "accounts/avatars", remote=False, cached=False)
SMALL = Kind("media_attachments", "file", "small", "media_attachments/files", remote=True, cached=True)
DUMP = Kind("backups", "dump", "original", "backups/dumps", remote=False, cached=False)
FIRST = 108_000_000_000_000_000
ENTRIES = [
    *(Entry(AVATAR, number, f"{number:016x}.png", None, False, False, 1000 + number) for number in range(1, 13)),
    *(Entry(SMALL, FIRST + number, f"{number:016x}.jpg", None, number == 5, False, None) for number in range(1, 7)),
    Entry(SMALL, FIRST + 7, "ü %.jpg", "a.gif", False, False, None),
    Entry(DUMP, 1, "backup.zip", None, False, True, 4096),
    Entry(DUMP, 2, "other.zip", None, False, True, None),
]
MD5 = bytes(range(16))


def plan(manifest: Manifest, entries: Iterable[Entry], day: int) -> None:
    found = list(entries)
    with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
        for table in TABLES:
            of_table = [each for each in found if each.kind.table == table]
            writer.merge(table, LOWEST_ID, HIGHEST_ID, grouped(of_table))
        details = {"database": "mastodon_production", "types": list(TABLES), "only": "all", "limit": None}
        writer.finish(datetime(2026, 11, day, 3, tzinfo=UTC), details)


def outcomes(claims: dict[tuple[Kind, int], Claim]) -> Iterable[Outcome]:
    """One of each; what they are of is taken out of the claims."""

    def entry(kind: Kind, row_id: int) -> Entry:
        return claims.pop((kind, row_id)).entry

    yield Outcome(entry(AVATAR, 1), EntryState.DONE, size=1001, md5=MD5)
    yield Outcome(entry(AVATAR, 2), EntryState.DONE, size=1002, md5=MD5, etag="d41d8cd98f00b204e9800998ecf8427e-2")
    yield Outcome(entry(AVATAR, 3), EntryState.DONE, size=3, md5=MD5, source_key="cache/x.png", attempts=3)
    for number, reason in enumerate(FAILURE_REASONS, 4):
        yield Outcome(entry(AVATAR, number), EntryState.FAILED, reason, attempts=number, detail=f"said: {reason}")
    yield Outcome(entry(SMALL, FIRST + 1), EntryState.DONE, size=0, md5=MD5)
    yield Outcome(entry(SMALL, FIRST + 5), EntryState.SKIPPED, Reason.OPTIONAL_MISSING)
    yield Outcome(entry(DUMP, 1), EntryState.SKIPPED, Reason.PRIVATE, detail="no ACL can keep it private")


def fill(path: Path) -> None:
    """Every state and reason, work in the hands of two dead runs, two plans, what was adopted, verified, accepted."""
    with Manifest.create(path) as manifest:
        plan(manifest, ENTRIES, 1)
        queue = WorkQueue(manifest)
        queue.start_run(4)
        claims = {(claim.entry.kind, claim.entry.id): claim for claim in queue.iter_claimable()}
        queue.commit(claims=list(claims.values()))
        queue.commit(outcomes=list(outcomes(claims)))
        left = {(AVATAR, 11), (SMALL, FIRST + 2)}
        queue.commit(released=[claim for place, claim in claims.items() if place not in left])
        queue.end_run()
        queue.start_run(8)
        plan(manifest, [each for each in ENTRIES if each.id != FIRST + 6], 2)
        for record in list(ManifestReader(manifest).iter_records((EntryState.PENDING,))):
            if (record.entry.kind, record.entry.id) in {(AVATAR, 12), (SMALL, FIRST + 3)}:
                adopted = Outcome(record.entry, EntryState.DONE, size=9, md5=MD5, attempts=0, origin=Origin.ADOPTED)
                record_findings(manifest, [(record, adopted)])
        for record in list(ManifestReader(manifest).iter_records((EntryState.DONE,))):
            if record.entry.id == FIRST + 3:
                presence = found_wrong(record.presence)
                lost = Outcome(record.entry, EntryState.PENDING, detail="verify: lost", attempts=0, presence=presence)
                record_findings(manifest, [(record, lost)])
        queue.start_run(8)
        left = {(AVATAR, 11), (SMALL, FIRST + 4)}
        queue.commit(claims=[each for each in queue.iter_claimable() if (each.entry.kind, each.entry.id) in left])
        accept(manifest, (), [Reason.MISSING, Reason.CORRUPT])
        record_verification(manifest, 1793502100.5, 1793502101.25, {"fine": 5, "checked": 6, "clean": False})


def as_sql(path: Path) -> Iterable[str]:
    with closing(sqlite3.connect(path)) as connection:
        yield digest_line(newest_version())
        for name in ("application_id", "user_version"):
            yield f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};"
        yield from connection.iterdump()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "m.db")
        sys.stdout.writelines(f"{line}\n" for line in as_sql(Path(folder) / "m.db"))
