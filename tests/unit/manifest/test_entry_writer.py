"""Entries that change their state without a claim: counters stay right, and nothing out of date is believed."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from mastosync.manifest import (
    ACCESS,
    HIGHEST_ID,
    Approach,
    FoundRow,
    Manifest,
    ManifestReader,
    SegmentReader,
    WorkQueue,
    accept,
    found_row,
    found_wrong,
    last_change,
    record_findings,
    record_found,
)
from mastosync.manifest import reader as report
from mastosync.model import NOTHING, Entry, EntryState, Origin, Outcome, Reason, Record
from tests.support.entries import REMOTE, approach_of, entry
from tests.support.manifests import planned

MD5 = b"\1" * 16


def only(manifest: Manifest) -> Record:
    (record,) = ManifestReader(manifest).iter_records()
    return record


def counted(manifest: Manifest) -> dict[tuple[EntryState, Reason | None], tuple[int, int]]:
    return {(line.state, line.reason): (line.objects, line.size_bytes) for line in ManifestReader(manifest).counts()}


def test_what_is_adopted_is_done_and_says_so(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        found = only(manifest)
        done = Outcome(found.entry, EntryState.DONE, size=7, md5=MD5, attempts=0, origin=Origin.ADOPTED)
        assert record_findings(manifest, [(found, done)]) == 1
        now = only(manifest)
        assert (now.state, now.origin, now.md5, now.attempts) == (EntryState.DONE, Origin.ADOPTED, MD5, 0)
        assert counted(manifest) == {(EntryState.DONE, None): (1, 7)}


FOUND = Outcome(entry(), EntryState.DONE, size=7, md5=MD5, attempts=0, origin=Origin.ADOPTED)


def lines(manifest: Manifest) -> list[tuple[Any, ...]]:
    return manifest.connection.execute("SELECT kind, * FROM entries ORDER BY kind, id, name").fetchall()


def found_in(manifest: Manifest) -> list[FoundRow | None]:
    with SegmentReader.opened(manifest.path) as reader:
        return [
            found_row(kind, line, 7, MD5) for kind in reader.kinds() for line in reader.iter_rows(kind, 0, HIGHEST_ID)
        ]


def with_fates(manifest: Manifest) -> list[Record]:
    """Entries that were never stored: pending, failed, tried often, accepted as lost."""
    first, second, *_ = records = list(ManifestReader(manifest).iter_records())
    failed = Outcome(first.entry, EntryState.FAILED, Reason.MISSING, detail="404", attempts=3, presence=NOTHING)
    record_findings(manifest, [(first, failed), (second, failed._replace(entry=second.entry, reason=Reason.DENIED))])
    accept(manifest, (), [Reason.MISSING])
    return list(ManifestReader(manifest).iter_records())[: len(records)]


def test_what_is_found_by_columns_becomes_what_it_becomes_by_its_record(tmp_path: Path) -> None:
    entries = [
        *(entry(row)._replace(size=size) for row, size in enumerate((None, 5, 7, None), 1)),
        entry(9, "b.png", kind=REMOTE)._replace(fallback="b.gif", optional=True, updated=12),
    ]
    with planned(tmp_path / "records", entries) as one, planned(tmp_path / "columns", entries) as other:
        records = with_fates(one)
        record_findings(one, [(each, FOUND._replace(entry=each.entry)) for each in records])
        with_fates(other)
        found = found_in(other)
        assert None not in found
        record_found(other, filter(None, found))
        assert lines(other) == lines(one)
        assert ManifestReader(other).counts() == (counts := ManifestReader(one).counts())
        assert [(each.state, each.objects, each.size_bytes) for each in counts] == [
            (EntryState.DONE, 4, 28),
            (EntryState.DONE, 1, 7),
        ]
        assert last_change(other).command == last_change(one).command == "adopt"


def test_columns_do_not_decide_on_what_is_private_or_may_lie_there(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry(row)._replace(private=row == 1) for row in (1, 2, 3, 4)]) as manifest:
        second, third = list(ManifestReader(manifest).iter_records())[1:3]
        record_findings(manifest, [(second, Outcome(second.entry, EntryState.PENDING, presence=ACCESS))])
        record_findings(manifest, [(third, FOUND._replace(entry=third.entry))])
        record_findings(manifest, [(only_done(manifest), Outcome(third.entry, EntryState.PENDING))])
        assert [each is not None for each in found_in(manifest)] == [False, False, False, True]


def only_done(manifest: Manifest) -> Record:
    (record,) = ManifestReader(manifest).iter_records((EntryState.DONE,))
    return record


def test_what_has_changed_since_its_columns_were_read_stays_as_it_is(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        found = list(filter(None, found_in(manifest)))
        record_findings(manifest, [(only(manifest), Outcome(entry(), EntryState.FAILED, Reason.MISSING))])
        before = lines(manifest), counted(manifest)
        assert found
        record_found(manifest, found)
        assert (lines(manifest), counted(manifest)) == before
        assert last_change(manifest).at == 0


@pytest.mark.parametrize(("origin", "command"), [(Origin.ADOPTED, "adopt"), (Origin.REFETCHED, "refetch")])
def test_what_is_done_now_is_a_change_and_what_was_done_is_none(tmp_path: Path, origin: Origin, command: str) -> None:
    """Whatever was verified before says nothing of it."""
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        before = time.time()
        found = only(manifest)
        record_findings(manifest, [(found, Outcome(found.entry, EntryState.FAILED, Reason.MISSING))])
        assert last_change(manifest).at == 0
        found = only(manifest)
        record_findings(manifest, [(found, Outcome(found.entry, EntryState.DONE, size=7, md5=MD5, origin=origin))])
        change = last_change(manifest)
        assert before <= change.at <= time.time()
        assert change.command == command
        done = only(manifest)
        record_findings(
            manifest, [(done, Outcome(done.entry, EntryState.DONE, size=7, md5=MD5, etag="b", origin=origin))]
        )
        record_findings(manifest, [(only(manifest), Outcome(done.entry, EntryState.PENDING))])  # as `verify` does
        assert last_change(manifest) == change


def test_what_is_lost_is_pending_and_written_anew(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        found = only(manifest)
        record_findings(manifest, [(found, Outcome(found.entry, EntryState.DONE, size=7, md5=MD5))])
        done = only(manifest)
        lost = Outcome(done.entry, EntryState.PENDING, detail="lost", attempts=0, presence=found_wrong(done.presence))
        record_findings(manifest, [(done, lost)])
        now = only(manifest)
        assert (now.state, now.origin, now.detail) == (EntryState.PENDING, None, "lost")
        assert counted(manifest) == {(EntryState.PENDING, None): (1, 7)}
        (claim,) = WorkQueue(manifest).iter_claimable()
        assert approach_of(claim) is Approach.REWRITE


def test_a_record_that_is_out_of_date_changes_nothing(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        found = only(manifest)
        failed = Outcome(found.entry, EntryState.FAILED, Reason.MISSING, detail="gone")
        assert record_findings(manifest, [(found, failed)]) == 1
        assert record_findings(manifest, [(found, Outcome(found.entry, EntryState.DONE, size=7, md5=MD5))]) == 0
        assert only(manifest).state is EntryState.FAILED
        assert counted(manifest) == {(EntryState.FAILED, Reason.MISSING): (1, 0)}


def test_a_claim_that_a_dead_run_left_is_settled_with_its_entry(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        queue = WorkQueue(manifest)
        queue.commit(claims=list(queue.iter_claimable()))
        found = only(manifest)
        record_findings(
            manifest, [(found, Outcome(found.entry, EntryState.DONE, size=7, md5=MD5, origin=Origin.ADOPTED))]
        )
        assert not list(WorkQueue(manifest).iter_claimable())


def with_failures(path: Path, entries: list[Entry]) -> Manifest:
    manifest = planned(path, entries)
    missing = [Outcome(each, EntryState.FAILED, Reason.MISSING) for each in entries]
    records = {record.entry: record for record in ManifestReader(manifest).iter_records()}
    record_findings(manifest, [(records[outcome.entry], outcome) for outcome in missing])
    return manifest


def test_failures_are_told_once_each_while_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_PAGE", 3)
    numbers = [-99, 0, 1, 2, 3, 5, 8, 2**62]
    entries = [entry(number, f"{number}.png") for number in numbers]
    entries += [entry(number, name, kind=REMOTE) for number in numbers[:6] for name in ("a.png", "b.png")]
    with with_failures(tmp_path / "m.db", entries) as manifest:
        told: list[Entry] = []
        for record in ManifestReader(manifest).iter_failures(Reason.MISSING):
            done = EntryState.DONE if len(told) % 2 else EntryState.FAILED
            reason = None if len(told) % 2 else Reason.MISSING
            assert (
                record_findings(manifest, [(record, Outcome(record.entry, done, reason, detail="seen", md5=MD5))]) == 1
            )
            told.append(record.entry)
        assert sorted(told) == sorted(entries)
        left = [record.entry for record in ManifestReader(manifest).iter_failures(Reason.MISSING)]
        assert left == told[::2]
        assert list(ManifestReader(manifest).iter_failures(Reason.DENIED)) == []
        of_type = ManifestReader(manifest).iter_failures(Reason.MISSING, (REMOTE.table,))
        assert {record.entry.kind for record in of_type} == {REMOTE}


def test_going_through_failures_does_not_keep_the_log_from_beginning_anew(tmp_path: Path) -> None:
    entries = [entry(number, f"{number}.png") for number in range(2_000)]
    with with_failures(tmp_path / "m.db", entries) as manifest:
        failures = ManifestReader(manifest).iter_failures(Reason.MISSING)
        assert len(list(islice(failures, 5))) == 5
        with closing(sqlite3.connect(tmp_path / "m.db", timeout=0)) as other:
            busy, _, _ = other.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        assert not busy
