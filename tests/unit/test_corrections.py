"""Entries that change their state without a claim: counters stay right, and nothing out of date is believed."""

from __future__ import annotations

from pathlib import Path

from mastosync.manifest import Manifest, ManifestReport, WorkQueue, correct
from mastosync.model import EntryState, Origin, Outcome, Reason, Record
from tests.unit.engine_kit import entry, planned

MD5 = b"\1" * 16


def only(manifest: Manifest) -> Record:
    (record,) = ManifestReport(manifest).iter_records()
    return record


def counted(manifest: Manifest) -> dict[tuple[EntryState, Reason | None], tuple[int, int]]:
    return {(line.state, line.reason): (line.objects, line.size_bytes) for line in ManifestReport(manifest).counts()}


def test_what_is_adopted_is_done_and_says_so(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        found = only(manifest)
        done = Outcome(found.entry, EntryState.DONE, size=7, md5=MD5, attempts=0, origin=Origin.ADOPTED)
        assert correct(manifest, [(found, done)]) == 1
        now = only(manifest)
        assert (now.state, now.origin, now.md5, now.attempts) == (EntryState.DONE, Origin.ADOPTED, MD5, 0)
        assert counted(manifest) == {(EntryState.DONE, None): (1, 7)}


def test_what_is_lost_is_pending_and_written_anew(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        found = only(manifest)
        correct(manifest, [(found, Outcome(found.entry, EntryState.DONE, size=7, md5=MD5))])
        done = only(manifest)
        correct(manifest, [(done, Outcome(done.entry, EntryState.PENDING, detail="lost", attempts=0))])
        now = only(manifest)
        assert (now.state, now.origin, now.detail) == (EntryState.PENDING, None, "lost")
        assert counted(manifest) == {(EntryState.PENDING, None): (1, 7)}
        (claim,) = WorkQueue(manifest).iter_claimable()
        assert claim.rewrite


def test_a_record_that_is_out_of_date_changes_nothing(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        found = only(manifest)
        failed = Outcome(found.entry, EntryState.FAILED, Reason.MISSING, detail="gone")
        assert correct(manifest, [(found, failed)]) == 1
        assert correct(manifest, [(found, Outcome(found.entry, EntryState.DONE, size=7, md5=MD5))]) == 0
        assert only(manifest).state is EntryState.FAILED
        assert counted(manifest) == {(EntryState.FAILED, Reason.MISSING): (1, 0)}


def test_a_claim_that_a_dead_run_left_is_settled_with_its_entry(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        queue = WorkQueue(manifest)
        queue.commit(claims=list(queue.iter_claimable()))
        found = only(manifest)
        correct(manifest, [(found, Outcome(found.entry, EntryState.DONE, size=7, md5=MD5, origin=Origin.ADOPTED))])
        assert not list(WorkQueue(manifest).iter_claimable())
