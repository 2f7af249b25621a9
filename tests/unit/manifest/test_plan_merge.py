"""What a second plan does to entries that changed their privacy, and to what left and came back."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mastosync.errors import ManifestError
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Approach,
    Manifest,
    ManifestReader,
    PlanDelta,
    PlanWriter,
    WorkQueue,
)
from mastosync.manifest.lock import writer_lock
from mastosync.model import Claim, Entry, EntryState, Outcome, Reason
from tests.support.entries import approach_of, entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, planned


def plan(manifest: Manifest, *entries: Entry) -> PlanDelta:
    with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
        delta = writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(entries))
        writer.finish(datetime.now(UTC), {})
    return delta


def settle(manifest: Manifest, state: EntryState, reason: Reason | None = None) -> None:
    queue = WorkQueue(manifest)
    (claim,) = queue.iter_claimable()
    queue.commit(claims=[claim])
    size, md5 = (7, b"\1" * 16) if state is EntryState.DONE else (None, None)
    queue.commit(outcomes=[Outcome(claim.entry, state, reason, size=size, md5=md5)])


def state_of(manifest: Manifest) -> tuple[EntryState, Reason | None, bool]:
    (record,) = ManifestReader(manifest).iter_records()
    return record.state, record.reason, record.entry.private


def only_claim(manifest: Manifest) -> Claim:
    (claim,) = WorkQueue(manifest).iter_claimable()
    return claim


@pytest.mark.parametrize("private", [True, False])
def test_what_is_done_is_written_again_when_its_privacy_changes(tmp_path: Path, private: bool) -> None:
    with planned(tmp_path / "m.db", [entry(private=not private)]) as manifest:
        settle(manifest, EntryState.DONE)
        assert plan(manifest, entry(private=private)).reopened == 1
        assert state_of(manifest) == (EntryState.PENDING, None, private)
        assert approach_of(only_claim(manifest)) is Approach.REWRITE
        assert plan(manifest, entry(private=private)).reopened == 0


def test_what_was_kept_back_as_private_is_pending_when_it_becomes_public(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry(private=True)]) as manifest:
        settle(manifest, EntryState.SKIPPED, Reason.PRIVATE)
        plan(manifest, entry(private=True))
        assert state_of(manifest) == (EntryState.SKIPPED, Reason.PRIVATE, True)
        plan(manifest, entry(private=False))
        assert state_of(manifest) == (EntryState.PENDING, None, False)


@pytest.mark.parametrize(
    ("state", "reason"), [(EntryState.FAILED, Reason.MISSING), (EntryState.SKIPPED, Reason.OPTIONAL_MISSING)]
)
def test_other_entries_only_take_note_of_their_privacy(tmp_path: Path, state: EntryState, reason: Reason) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        settle(manifest, state, reason)
        plan(manifest, entry(private=True))
        assert state_of(manifest) == (state, reason, True)


def test_another_file_of_the_same_name_is_copied_again(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry(updated=1_000)]) as manifest:
        settle(manifest, EntryState.DONE)
        assert plan(manifest, entry(updated=1_000)) == PlanDelta(seen=1)
        assert plan(manifest, entry(updated=2_000)) == PlanDelta(seen=1, reopened=1)
        assert approach_of(only_claim(manifest)) is Approach.REWRITE
        assert only_claim(manifest).entry.updated == 2_000
        assert plan(manifest, entry(updated=2_000)) == PlanDelta(seen=1)


@pytest.mark.parametrize(
    ("state", "reason"), [(EntryState.FAILED, Reason.MISSING), (EntryState.SKIPPED, Reason.OPTIONAL_MISSING)]
)
def test_what_was_not_found_is_looked_for_again_when_its_file_is_another(
    tmp_path: Path, state: EntryState, reason: Reason
) -> None:
    with planned(tmp_path / "m.db", [entry(updated=1_000)]) as manifest:
        settle(manifest, state, reason)
        assert plan(manifest, entry(updated=1_000)) == PlanDelta(seen=1)
        assert plan(manifest, entry(updated=2_000)) == PlanDelta(seen=1, reopened=1)
        assert state_of(manifest)[0] is EntryState.PENDING


@pytest.mark.parametrize(("before", "now"), [(None, 1_000), (1_000, None)])
def test_a_time_that_nobody_knew_says_nothing_of_the_file(tmp_path: Path, before: int | None, now: int | None) -> None:
    """A manifest of an earlier version has none."""
    with planned(tmp_path / "m.db", [entry(updated=before)]) as manifest:
        settle(manifest, EntryState.DONE)
        assert plan(manifest, entry(updated=now)) == PlanDelta(seen=1)
        (record,) = ManifestReader(manifest).iter_records()
        assert (record.state, record.entry.updated) == (EntryState.DONE, now)


def test_what_is_gone_keeps_its_digest_and_comes_back_to_be_looked_for(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        settle(manifest, EntryState.DONE)
        assert plan(manifest).gone == 1
        (record,) = ManifestReader(manifest).iter_records()
        assert (record.state, record.reason, record.md5) == (EntryState.SKIPPED, Reason.GONE, b"\1" * 16)
        assert plan(manifest).gone == 0
        assert plan(manifest, entry()).revived == 1
        assert approach_of(only_claim(manifest)) is Approach.CONFIRM


def test_a_window_that_lost_or_found_more_than_a_chunk_is_brought_in_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mastosync.manifest.plan_merge._CHUNK", 3)
    entries = [entry(row_id, name) for row_id in (LOWEST_ID + 1, 1, 2, HIGHEST_ID) for name in ("a", "b", "\U0010ffff")]
    with planned(tmp_path / "m.db", entries) as manifest:
        assert plan(manifest, *entries[::5]) == PlanDelta(seen=3, gone=9)
        assert plan(manifest, *entries) == PlanDelta(seen=12, revived=9)
        assert plan(manifest, *reversed(entries)) == PlanDelta(seen=12)


@pytest.mark.parametrize("before", [10, None])
@pytest.mark.parametrize("now", [99, None])
@pytest.mark.parametrize("failed", [False, True])
def test_a_size_follows_its_row_though_nothing_else_has_changed(
    tmp_path: Path, before: int | None, now: int | None, failed: bool
) -> None:
    with planned(tmp_path / "m.db", [entry(updated=5)._replace(size=before)]) as manifest:
        if failed:
            settle(manifest, EntryState.FAILED, Reason.MISSING)
        assert plan(manifest, entry(updated=5)._replace(size=now)) == PlanDelta(seen=1, seen_bytes=now or 0)
        (record,) = ManifestReader(manifest).iter_records()
        assert record.entry.size == now
        assert sum(_bytes(manifest).values()) == (now or 0)


@pytest.mark.parametrize("before", ["b.png", None])
@pytest.mark.parametrize("now", ["c.png", None])
@pytest.mark.parametrize("size", [10, None])
def test_a_fallback_follows_its_row_though_nothing_else_has_changed(
    tmp_path: Path, before: str | None, now: str | None, size: int | None
) -> None:
    with planned(tmp_path / "m.db", [entry(fallback=before)._replace(size=size)]) as manifest:
        plan(manifest, entry(fallback=now)._replace(size=size))
        (record,) = ManifestReader(manifest).iter_records()
        assert (record.entry.fallback, record.entry.size) == (now, size)
        settle(manifest, EntryState.DONE)
        plan(manifest, entry(fallback=before)._replace(size=size))
        (record,) = ManifestReader(manifest).iter_records()
        assert (record.entry.fallback, record.entry.size) == (before, 7)


def test_a_window_of_what_has_arrived_and_what_has_not_is_compared_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has arrived has the size that was measured, whatever its row says."""
    rows = [entry(number)._replace(size=number) for number in range(1, 5)]
    with planned(tmp_path / "m.db", rows) as manifest, monkeypatch.context() as patch:
        patch.setattr(PlanWriter, "_compare", lambda *_: pytest.fail("it was compared line by line"))
        for _ in rows:
            assert plan(manifest, *rows) == PlanDelta(seen=4, seen_bytes=10)
            claim = next(iter(WorkQueue(manifest).iter_claimable()))
            WorkQueue(manifest).commit(outcomes=[Outcome(claim.entry, EntryState.DONE, size=7, md5=b"\1" * 16)])
        assert plan(manifest, *rows) == PlanDelta(seen=4, seen_bytes=10)
        patch.undo()
        assert plan(manifest, *rows[1:]) == PlanDelta(seen=3, seen_bytes=9, gone=1)


def test_a_size_follows_its_row_in_a_window_after_one_that_has_measured_sizes(tmp_path: Path) -> None:
    rows = [entry(number)._replace(size=number) for number in range(1, 4)]
    with planned(tmp_path / "m.db", rows) as manifest:
        queue = WorkQueue(manifest)
        first = next(each.entry for each in queue.iter_claimable() if each.entry.id == 1)
        queue.commit(outcomes=[Outcome(first, EntryState.DONE, size=7, md5=b"\1" * 16)])
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
            for after, row in enumerate([rows[0], rows[1], rows[2]._replace(size=99)]):
                writer.merge("accounts", after, after + 1, grouped([row]))
            writer.finish(datetime.now(UTC), {})
        sizes = {record.entry.id: record.entry.size for record in ManifestReader(manifest).iter_records()}
    assert sizes == {1: 7, 2: 2, 3: 99}


def test_bytes_follow_entries_from_state_to_state(tmp_path: Path) -> None:
    known = entry()._replace(size=100)
    with planned(tmp_path / "m.db", [known, entry(2)]) as manifest:
        assert _bytes(manifest) == {EntryState.PENDING: 100}
        queue = WorkQueue(manifest)
        claims = list(queue.iter_claimable())
        queue.commit(claims=claims)
        queue.commit(outcomes=[Outcome(known, EntryState.DONE, size=90, md5=b"\1" * 16)])
        assert _bytes(manifest) == {EntryState.PENDING: 0, EntryState.DONE: 90}


def _bytes(manifest: Manifest) -> dict[EntryState, int]:
    return {line.state: line.size_bytes for line in ManifestReader(manifest).counts()}


def test_the_second_writer_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with writer_lock(path, "copy"):
        with pytest.raises(ManifestError, match="mastosync copy") as refused, writer_lock(path, "plan"):
            pass
        assert refused.value.exit_code == 6
    with writer_lock(path, "plan"):
        pass


# --- entries that are left out ---


def plan_without(manifest: Manifest, *entries: Entry) -> PlanDelta:
    """A plan that leaves all of these out."""
    with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
        groups = [group._replace(excluded=True) for group in grouped(entries)]
        delta = writer.merge("accounts", LOWEST_ID, HIGHEST_ID, groups)
        writer.finish(datetime.now(UTC), {})
    return delta


LEFT_OUT = (EntryState.SKIPPED, Reason.EXCLUDED, False)
TO_COPY = (EntryState.PENDING, None, False)


def test_what_is_pending_can_be_left_out_and_taken_in_again(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        assert plan_without(manifest, entry()).excluded == 1
        assert state_of(manifest) == LEFT_OUT
        assert not list(WorkQueue(manifest).iter_claimable())
        assert plan_without(manifest, entry()).excluded == 1
        assert state_of(manifest) == LEFT_OUT
        delta = plan(manifest, entry())
        assert (delta.revived, delta.excluded) == (1, 0)
        assert state_of(manifest) == TO_COPY


def test_what_is_new_and_left_out_is_in_the_manifest_and_no_work(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry(1)]) as manifest:
        settle(manifest, EntryState.DONE)
        delta = plan_without(manifest, entry(1), entry(2))
        assert (delta.seen, delta.added, delta.excluded) == (2, 0, 2)
        states = [(record.entry.id, record.state) for record in ManifestReader(manifest).iter_records()]
        assert states == [(1, EntryState.DONE), (2, EntryState.SKIPPED)]


@pytest.mark.parametrize(
    ("state", "reason"),
    [(EntryState.DONE, None), (EntryState.FAILED, Reason.NETWORK), (EntryState.SKIPPED, Reason.OPTIONAL_MISSING)],
)
def test_what_was_tried_before_stays_as_it_is(tmp_path: Path, state: EntryState, reason: Reason | None) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        settle(manifest, state, reason)
        plan_without(manifest, entry())
        assert state_of(manifest) == (state, reason, False)


def test_what_was_done_and_became_private_is_written_again_though_it_is_left_out(tmp_path: Path) -> None:
    """Else it would stay readable at the destination for ever."""
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        settle(manifest, EntryState.DONE)
        plan_without(manifest, entry(private=True))
        assert approach_of(only_claim(manifest)) is Approach.REWRITE
        plan_without(manifest, entry(private=True))
        assert approach_of(only_claim(manifest)) is Approach.REWRITE


def test_what_a_worker_has_or_a_dead_run_left_is_finished(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        queue = WorkQueue(manifest)
        queue.commit(claims=list(queue.iter_claimable()))
        plan_without(manifest, entry())
        assert approach_of(only_claim(manifest)) is Approach.COMPARE


def test_what_is_left_out_and_gone_comes_back_left_out(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        plan_without(manifest, entry())
        assert plan_without(manifest).gone == 1
        plan_without(manifest, entry())
        assert state_of(manifest) == LEFT_OUT


@pytest.mark.parametrize(("state", "reason"), [(None, None), (EntryState.FAILED, Reason.MISSING)])
def test_the_size_that_a_row_tells_is_followed_until_an_object_has_arrived(
    tmp_path: Path, state: EntryState | None, reason: Reason | None
) -> None:
    """Though nothing else of the row has changed: what Mastodon itself stores after a switch is known by its size."""
    row = entry(updated=5)._replace(size=10)
    with planned(tmp_path / "m.db", [row]) as manifest:
        if state:
            settle(manifest, state, reason)
        plan(manifest, row._replace(size=99))
        (record,) = ManifestReader(manifest).iter_records()
        assert record.entry.size == 99
        if not state:
            settle(manifest, EntryState.DONE)
            plan(manifest, row._replace(size=11))
            (record,) = ManifestReader(manifest).iter_records()
            assert record.entry.size == 7, "as it was measured"


@pytest.mark.parametrize("apart", [1, 10**9])
def test_rows_that_were_read_are_one_window_and_others_between_them_are_left_alone(tmp_path: Path, apart: int) -> None:
    """However far they are from each other: each asked for by itself costs as much as a window of thousands."""
    before = [entry(number * apart, f"{number}.png") for number in range(1, 500)]
    asked: Counter[int] = Counter()
    with planned(tmp_path / "m.db", before) as manifest:
        for rows in (30, 300):
            ids = [number * apart for number in range(1, rows + 1)]
            with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
                manifest.connection.set_trace_callback(lambda _, rows=rows: asked.update([rows]))  # type: ignore[misc]
                delta = writer.merge_rows("accounts", ids, grouped(before[:rows]))
                manifest.connection.set_trace_callback(None)
                assert delta == PlanDelta(seen=rows)
                asked[rows] -= rows  # each is noted
        assert asked[30] == asked[300] < 12
        ids = [number * apart for number in (10, 20, 30, 600)]
        others = [entry(20 * apart, "other.png"), entry(30 * apart, "30.png", private=True), entry(600 * apart)]
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
            assert writer.merge_rows("accounts", ids, grouped(others)) == PlanDelta(seen=3, added=2, gone=2)
            assert writer.merge("accounts", 600 * apart, HIGHEST_ID, []) == PlanDelta(), "and a window is whole again"
            assert writer.merge("accounts", LOWEST_ID, 2 * apart, []).gone == 2
            writer.finish(datetime.now(UTC), {})
        gone = {each.entry.id // apart for each in ManifestReader(manifest).iter_records(reasons=(Reason.GONE,))}
        assert gone == {1, 2, 10, 20}
        private = [each.entry.id // apart for each in ManifestReader(manifest).iter_records() if each.entry.private]
        assert private == [30]
