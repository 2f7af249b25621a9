"""Entries that change their state without a claim: counters stay right, and nothing out of date is believed."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from mastosync.manifest import Approach, Manifest, ManifestReader, WorkQueue, found_wrong, last_change, record_findings
from mastosync.manifest import reader as report
from mastosync.model import Entry, EntryState, Origin, Outcome, Reason, Record
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
