"""The loop that owns the manifest, on stores in memory and a manifest on disk."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, NoReturn

import pytest

from mastosync.copying.copier import Copier, CopyOptions, still_gives
from mastosync.copying.transfer import TransferOptions
from mastosync.errors import (
    Interrupted,
    ManifestError,
    MastosyncError,
    MayBePublic,
    NetworkFailure,
    ObjectDenied,
    ObjectMissing,
    PrivacyLost,
    StoreUnusable,
)
from mastosync.manifest import Approach, Manifest, ManifestReader, WorkQueue, recover_claims_now, reopen, write_started
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import NOTHING, Claim, End, EntryState, Origin, Outcome, Reason
from mastosync.progress import AnyProgress, CopyProgress, EndpointState, NoProgress
from mastosync.runtime.steps import BlockingCall, Steps
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.store.base import DigestUse, UploadedPart
from tests.support.entries import LOCAL, REMOTE, approach_of, claim, entry
from tests.support.manifests import planned
from tests.support.memory_store import MemoryStore
from tests.support.transfers import IMPATIENT, store_session, transfer
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.timing


def run(
    manifest: Manifest,
    work: Callable[[Claim], Outcome],
    *,
    stop: StopSignal | None = None,
    workers: int = 4,
    limit: int | None = None,
    still_gives: bool | None = None,
) -> CopyProgress:
    stop, options = stop or StopSignal(), CopyOptions(workers=workers, limit=limit)
    made = Copier(WorkQueue(manifest), pool(work, workers, stop), options, stop, NoProgress())
    made.still_gives = lambda _: still_gives
    return made.run()


def pool(work: Callable[[Claim], Outcome], workers: int, stop: StopSignal) -> WorkerPool[Claim, Outcome]:
    def steps(claim: Claim) -> Steps[Outcome]:
        outcome: Outcome = yield BlockingCall(partial(work, claim))
        return outcome

    return WorkerPool(steps, workers, stop)


@pytest.mark.parametrize(
    "first", [StoreUnusable("the source is closed"), RuntimeError("a secret, as libraries tell it")]
)
def test_what_everybody_reads_is_told_whatever_else_ends_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first: Exception
) -> None:
    """Another entry finds out sooner that the source is closed; that is told too."""
    stop = StopSignal()

    def work(each: Claim) -> Outcome:
        if each.entry.id == 1:
            raise first
        wait_until(lambda: copier._fatal is first, "the first error was taken in")
        raise PrivacyLost("everybody can read it")

    with planned(tmp_path / "m.db", [entry(1), entry(2)]) as manifest:
        copier = Copier(WorkQueue(manifest), pool(work, 4, stop), CopyOptions(workers=4), stop, NoProgress())
        with pytest.raises(PrivacyLost) as lost:
            copier.run()
    assert lost.value.__context__ is first
    assert ("the source is closed" if isinstance(first, StoreUnusable) else "RuntimeError") in caplog.messages
    assert not any("secret" in message for message in caplog.messages)


@pytest.mark.parametrize("ending", ["the screen", "the manifest"])
def test_nor_does_what_fails_at_the_end_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ending: str
) -> None:
    def work(_: Claim) -> Outcome:
        raise PrivacyLost("everybody can read it")

    def fails(*_: object) -> NoReturn:
        raise KeyboardInterrupt("a secret, as libraries tell it")

    monkeypatch.setattr(
        *{"the screen": (NoProgress, "finished"), "the manifest": (WorkQueue, "end_run")}[ending], fails
    )
    with planned(tmp_path / "m.db", [entry(1)]) as manifest, pytest.raises(PrivacyLost):
        run(manifest, work)
    assert "KeyboardInterrupt" in caplog.messages
    assert not any("secret" in message for message in caplog.messages)


def test_nor_does_a_manifest_that_cannot_be_written_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What everybody reads is found out, and not taken in yet, when an outcome cannot be written down."""
    commit, found_out = WorkQueue.commit, Event()

    def work(each: Claim) -> Outcome:
        if each.entry.id == 1:
            return Outcome(each.entry, EntryState.DONE)
        wait_until(full.is_set, "the manifest could not be written")
        found_out.set()
        raise PrivacyLost("everybody can read it")

    full = Event()

    def fails(queue: WorkQueue, *, outcomes: Sequence[Outcome], **others: Any) -> None:  # noqa: ANN401
        if outcomes:
            full.set()
            assert found_out.wait(PATIENCE_SECONDS)
            wait_until(lambda: not copier.pool._shared.ended.empty(), "it was told")
            raise ManifestError("the disk is full")
        commit(queue, outcomes=outcomes, **others)

    monkeypatch.setattr(WorkQueue, "commit", fails)
    stop = StopSignal()
    with planned(tmp_path / "m.db", [entry(1), entry(2)]) as manifest:
        copier = Copier(WorkQueue(manifest), pool(work, 4, stop), CopyOptions(workers=4), stop, NoProgress())
        with pytest.raises(PrivacyLost) as lost:
            copier.run()
    assert isinstance(lost.value.__cause__, ManifestError)


def states(manifest: Manifest) -> Counter[EntryState]:
    return Counter(record.state for record in ManifestReader(manifest).iter_records())


def claims(manifest: Manifest) -> int:
    (count,) = manifest.connection.execute("SELECT count(*) FROM claims").fetchone()
    return int(count)


def done(claim: Claim) -> Outcome:
    return Outcome(claim.entry, EntryState.DONE, size=1, md5=b"\0" * 16)


def test_everything_pending_is_copied_and_nothing_twice(tmp_path: Path) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    entries = [entry(number, kind=LOCAL) for number in range(3_000)]
    for number in range(3_000):
        old.put(f"accounts/avatars/000/{number // 1000:03}/{number % 1000:03}/original/a.png", b"%d" % number)
    with planned(tmp_path / "m.db", entries) as manifest:
        progress = run(manifest, transfer(old, new))
        assert (progress.total, progress.done, progress.failed) == (3_000, 3_000, 0)
        assert states(manifest) == {EntryState.DONE: 3_000}
        assert claims(manifest) == 0
    assert {key: stored.data for key, stored in new.objects.items()} == {
        key: stored.data for key, stored in old.objects.items()
    }
    samples = new.digests.count(DigestUse.CONTRADICTED)  # written once more, as the store refuses a wrong MD5
    assert (new.count("write"), samples) == (3_000 + samples, 1 + 3_000 // 256)


def test_a_claim_is_in_the_file_before_its_entry_is_worked_on(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry(number) for number in range(50)]) as manifest:
        seen = []

        def look(claim: Claim) -> Outcome:
            with Manifest.open(tmp_path / "m.db") as other:
                place = (claim.entry.id, claim.entry.name)
                query = "SELECT 1 FROM claims WHERE (id, name) = (?, ?)"
                seen.append(other.connection.execute(query, place).fetchone())
            return done(claim)

        run(manifest, look)
    assert seen == [(1,)] * 50


def test_outcomes_are_in_the_file_while_the_run_goes_on(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry(number) for number in range(40)]) as manifest:
        recorded = threading.Event()

        def wait_for_the_others(claim: Claim) -> Outcome:
            if claim.entry.id == 39:  # the first to be worked on; it ends only when others are recorded
                with Manifest.open(tmp_path / "m.db") as other:
                    for _ in range(200):
                        if states(other)[EntryState.DONE]:
                            recorded.set()
                            break
                        threading.Event().wait(0.05)
            return done(claim)

        run(manifest, wait_for_the_others)
        assert recorded.is_set()


def test_a_manifest_that_cannot_be_written_leaves_no_thread_that_waits_for_work(tmp_path: Path) -> None:
    """Python waits for such threads before it ends: the command would hang after its last word."""
    before = set(threading.enumerate())
    with planned(tmp_path / "m.db", [entry(1)]) as manifest:
        manifest.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(ManifestError):
            run(manifest, done)
    left = set(threading.enumerate()) - before
    wait_until(lambda: not any(thread.is_alive() for thread in left), "no thread is left")


@pytest.mark.parametrize("what", ["store", "manifest"])
def test_what_waits_for_another_attempt_keeps_no_run_from_ending(tmp_path: Path, what: str) -> None:
    """A store may have asked it to wait for an hour."""
    stop, waiting = StopSignal(), threading.Event()
    began = time.monotonic()
    with planned(tmp_path / "m.db", [entry(1), entry(2)]) as manifest:

        def work(claim: Claim) -> Outcome:
            if claim.entry.id == 2:  # the first one
                waiting.set()
                stop.sleep(600)
            waiting.wait(PATIENCE_SECONDS)
            if what == "store":
                raise StoreUnusable("gone")
            manifest.connection.execute("PRAGMA query_only = ON")
            return done(claim)

        with pytest.raises(StoreUnusable if what == "store" else ManifestError):
            run(manifest, work, stop=stop, workers=2)
        assert claims(manifest) == 2
    assert time.monotonic() - began < PATIENCE_SECONDS  # of the 600


def test_a_manifest_that_cannot_be_written_ends_large_objects_in_the_midst_of_their_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk is full. Some parts are on their way then, and others wait for a thread."""
    monkeypatch.setattr("mastosync.copying.copier.HEARTBEAT_SECONDS", 0.1)
    go_on, before = threading.Event(), set(threading.enumerate())
    old, new = MemoryStore("old"), MemoryStore("new")
    entries = [entry(number) for number in range(4)]
    for each in entries:
        old.put(canonical_key(each, ""), bytes(100))
    write_part = new.write_part

    def held_up(*arguments: Any) -> UploadedPart:  # noqa: ANN401 - those of the store
        manifest.connection.execute("PRAGMA query_only = ON")
        go_on.wait(60)
        return write_part(*arguments)

    monkeypatch.setattr("mastosync.copying.large_objects.MIB", 1)
    monkeypatch.setattr(new, "write_part", held_up)
    options = TransferOptions(multipart_threshold=10, part_size=10, parts_at_once=2)
    with planned(tmp_path / "m.db", entries) as manifest:
        stop = StopSignal()
        with closing(transfer(old, new, options)) as moving:
            made = WorkerPool(moving.steps, 2, stop)
            with pytest.raises(ManifestError):
                Copier(WorkQueue(manifest), made, CopyOptions(workers=2), stop, NoProgress()).run()
        go_on.set()
        wait_until(lambda: set(threading.enumerate()) <= before, "all threads have ended")
    assert not new.unfinished()


def test_local_objects_come_before_remote_ones_and_new_before_old(tmp_path: Path) -> None:
    entries = [entry(1, kind=REMOTE), entry(2, kind=LOCAL), entry(9, kind=REMOTE), entry(5, kind=LOCAL)]
    order: list[int] = []

    def note(claim: Claim) -> Outcome:
        order.append(claim.entry.id)
        return done(claim)

    with planned(tmp_path / "m.db", entries) as manifest:
        run(manifest, note, workers=1)
    assert order == [5, 2, 9, 1]


def test_a_limit_ends_the_run_and_leaves_the_rest_pending(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry(number) for number in range(30)]) as manifest:
        assert run(manifest, done, limit=7).done == 7
        assert states(manifest) == {EntryState.DONE: 7, EntryState.PENDING: 23}
        assert claims(manifest) == 0


def test_stopping_finishes_what_is_in_flight_and_gives_the_rest_back(tmp_path: Path) -> None:
    stop = StopSignal()
    begun = threading.Barrier(4, action=stop.request)  # before any of the four goes on

    def stop_when_all_are_busy(claim: Claim) -> Outcome:
        begun.wait(PATIENCE_SECONDS)
        return done(claim)

    with planned(tmp_path / "m.db", [entry(number) for number in range(100)]) as manifest:
        with pytest.raises(Interrupted) as stopped:
            run(manifest, stop_when_all_are_busy, stop=stop)
        assert stopped.value.exit_code == 130
        found = states(manifest)
        assert found == {EntryState.DONE: 4, EntryState.PENDING: 96}
        assert claims(manifest) == 0


def test_what_may_be_public_is_told_with_a_bug(tmp_path: Path) -> None:
    begun = threading.Barrier(2)

    def interrupted(each: Claim) -> Outcome:
        begun.wait(PATIENCE_SECONDS)
        raise RuntimeError("a bug") if each.entry.id == 1 else MayBePublic("2 may be public")

    with planned(tmp_path / "m.db", [entry(1), entry(2)]) as manifest:
        with pytest.raises(RuntimeError) as bug:
            run(manifest, interrupted, workers=4)
        assert bug.value.__notes__ == ["2 may be public"]


@pytest.mark.parametrize("ends", [Interrupted, StoreUnusable, PrivacyLost])
def test_what_may_be_public_is_told_whatever_ends_the_run(tmp_path: Path, ends: type[MastosyncError]) -> None:
    """All of it: each way of storing has an object of its own that is asked for."""
    stop, begun = StopSignal(), threading.Barrier(3)

    def interrupted(each: Claim) -> Outcome:
        begun.wait(PATIENCE_SECONDS)
        if each.entry.id == 3:
            stop.request()
            raise ends("stopped on request")
        raise MayBePublic(f"{each.entry.id} may be public", hint="verify --public tells")

    with planned(tmp_path / "m.db", [entry(1), entry(2), entry(3)]) as manifest:
        with pytest.raises(ends, match="1 may be public") as stopped:
            run(manifest, interrupted, stop=stop, workers=4)
        assert stopped.value.message.startswith("stopped on request; ")
        assert "2 may be public" in stopped.value.message
        assert stopped.value.hint.endswith("verify --public tells")
        assert claims(manifest) == 3


def test_nor_is_it_forgotten_when_the_manifest_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = StopSignal()

    def interrupted(_: Claim) -> Outcome:
        stop.request()
        raise MayBePublic("1 may be public", hint="verify --public tells")

    def fails(*_: object) -> NoReturn:
        raise ManifestError("the disk is full")

    monkeypatch.setattr(WorkQueue, "end_run", fails)
    with (
        planned(tmp_path / "m.db", [entry(1)]) as manifest,
        pytest.raises(ManifestError, match="full; 1 may be"),
    ):
        run(manifest, interrupted, stop=stop)


def test_an_entry_interrupted_in_a_wait_keeps_its_claim(tmp_path: Path) -> None:
    stop = StopSignal()

    def interrupted(claim: Claim) -> Outcome:
        stop.request()
        raise Interrupted("waiting")

    with planned(tmp_path / "m.db", [entry(1)]) as manifest:
        with pytest.raises(Interrupted):
            run(manifest, interrupted, stop=stop)
        assert states(manifest) == {EntryState.PENDING: 1}
        recover_claims_now(manifest)
        (left,) = WorkQueue(manifest).iter_claimable()
        assert approach_of(left) is Approach.COMPARE


def test_what_failed_in_doubt_is_looked_for_when_it_is_tried_again(tmp_path: Path) -> None:
    seen: list[Approach] = []

    def in_doubt(claim: Claim) -> Outcome:
        seen.append(approach_of(claim))
        presence = {1: write_started(NOTHING, private=False), 3: NOTHING}.get(len(seen))
        return Outcome(claim.entry, EntryState.FAILED, Reason.NETWORK, presence=presence)

    with planned(tmp_path / "m.db", [entry(1)]) as manifest:
        for _ in range(4):
            run(manifest, in_doubt)
            assert states(manifest) == {EntryState.FAILED: 1}
            assert not list(WorkQueue(manifest).iter_claimable())
            reopen(manifest)
        assert seen == [Approach.WRITE, Approach.COMPARE, Approach.COMPARE, Approach.WRITE]
        assert claims(manifest) == 0


def test_an_unusable_store_stops_the_run_and_fails_nothing(tmp_path: Path) -> None:
    def unusable(claim: Claim) -> Outcome:
        raise StoreUnusable("the bucket is gone")

    with planned(tmp_path / "m.db", [entry(number) for number in range(500)]) as manifest:
        with pytest.raises(StoreUnusable, match="bucket is gone"):
            run(manifest, unusable)
        assert states(manifest) == {EntryState.PENDING: 500}


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("reason", [Reason.NETWORK, Reason.SERVER, Reason.THROTTLED, Reason.DENIED])
def test_failures_in_a_row_are_a_failing_store_and_stop_the_run(tmp_path: Path, reason: Reason, end: End) -> None:
    def failing(claim: Claim) -> Outcome:
        return Outcome(claim.entry, EntryState.FAILED, reason, detail="connection refused", end=end)

    with planned(tmp_path / "m.db", [entry(number) for number in range(1_000)]) as manifest:
        with pytest.raises(StoreUnusable, match="connection refused"):
            run(manifest, failing)
        assert states(manifest)[EntryState.PENDING] > 500


@pytest.mark.parametrize("reason", [Reason.MISSING, Reason.CORRUPT, Reason.TOO_LARGE])
def test_failures_of_objects_do_not_stop_the_run(tmp_path: Path, reason: Reason) -> None:
    def failing(claim: Claim) -> Outcome:
        return Outcome(claim.entry, EntryState.FAILED, reason, detail="not there", end=End.SOURCE)

    with planned(tmp_path / "m.db", [entry(number) for number in range(300)]) as manifest:
        assert run(manifest, failing).failed == 300


def test_a_source_that_has_nothing_at_all_is_the_wrong_place(tmp_path: Path) -> None:
    def missing(claim: Claim) -> Outcome:
        return Outcome(claim.entry, EntryState.FAILED, Reason.MISSING, detail="no such key")

    with planned(tmp_path / "m.db", [entry(number) for number in range(3_000)]) as manifest:
        with pytest.raises(StoreUnusable, match="wrong bucket or folder"):
            run(manifest, missing)
        assert states(manifest)[EntryState.PENDING] > 500


def test_once_anything_was_found_any_number_may_be_missing(tmp_path: Path) -> None:
    def missing(claim: Claim) -> Outcome:
        return Outcome(claim.entry, EntryState.FAILED, Reason.MISSING, detail="no such key")

    with planned(tmp_path / "m.db", [entry(number) for number in range(3_000)]) as manifest:
        run(manifest, done, limit=1)
        assert run(manifest, missing, still_gives=True).failed == 2_999


@pytest.mark.parametrize("reason", [Reason.MISSING, Reason.DENIED])
def test_what_came_in_an_earlier_run_does_not_vouch_for_the_key_of_this_one(tmp_path: Path, reason: Reason) -> None:
    """It may be of another account, which sees nothing of the bucket, or the bucket has been emptied."""
    old, new = MemoryStore("old"), MemoryStore("new")
    entries = [entry(number) for number in range(3_000)]
    for each in entries[-500:]:
        old.put(canonical_key(each, ""), b"data")
    error = ObjectDenied("cannot read: 403") if reason is Reason.DENIED else ObjectMissing("cannot read: 404")
    with planned(tmp_path / "m.db", entries) as manifest:
        run(manifest, transfer(old, new), limit=500)
        for still_there in (False, True):
            for method in ("read", "head"):
                old.fail(method, *[error] * 10_000 if method == "read" or not still_there else ())
            gives = still_gives(store_session(old), manifest, "", None)
            assert gives is still_there
            if not gives:
                with pytest.raises(
                    StoreUnusable, match="in earlier runs" if reason is Reason.MISSING else "lack the right to read"
                ):
                    run(manifest, transfer(old, new), workers=16, still_gives=gives)
                assert states(manifest)[EntryState.PENDING] > 1_000
                old._failures.clear()
                reopen(manifest)
            else:
                assert run(manifest, transfer(old, new), workers=16, still_gives=gives).failed == 2_500


class TestWhatASourceStillGives:
    def test_is_asked_of_the_kind_that_is_missing(self, tmp_path: Path) -> None:
        """Media may have a disk of its own, and the other way round."""
        old = MemoryStore("old")
        entries = [entry(number, kind=kind) for kind in (LOCAL, REMOTE) for number in range(1, 6)]
        for each in entries[:5]:
            old.put(canonical_key(each, ""), b"data")
        with planned(tmp_path / "m.db", entries) as manifest:
            run(manifest, done)
            asked = [still_gives(store_session(old), manifest, "", kind) for kind in (LOCAL, REMOTE, None)]
        assert asked == [True, False, True]

    def test_is_asked_of_the_oldest_and_of_the_newest(self, tmp_path: Path) -> None:
        """Mastodon removes the oldest cached files first."""
        old, entries = MemoryStore("old"), [entry(number) for number in range(1, 100)]
        old.put(canonical_key(entries[-1], ""), b"data")
        with planned(tmp_path / "m.db", entries) as manifest:
            run(manifest, done)
            assert still_gives(store_session(old), manifest, "", entries[0].kind) is True

    def test_is_not_told_by_what_was_adopted(self, tmp_path: Path) -> None:
        """It may lie at the destination alone: Mastodon has stored it there after the switch."""

        def adopted(claim: Claim) -> Outcome:
            return done(claim)._replace(origin=Origin.ADOPTED, end=End.SOURCE)

        entries = [entry(number) for number in range(1, 100)]
        with planned(tmp_path / "m.db", entries) as manifest:
            run(manifest, adopted)
            assert still_gives(store_session(MemoryStore("old")), manifest, "", entries[0].kind) is None

    def test_is_unknown_when_nobody_may_wait_for_it(self, tmp_path: Path) -> None:
        """Ctrl-C is no reason to call a source empty."""
        old = MemoryStore("old")
        old.fail("head", Interrupted("stopped while waiting"))
        with planned(tmp_path / "m.db", [entry(number) for number in range(1, 9)]) as manifest:
            run(manifest, done)
            assert still_gives(store_session(old), manifest, "", None) is True


@pytest.mark.parametrize("private", [0, 3, 1], ids=["none is private", "some are", "all are"])
@pytest.mark.parametrize("earlier", [0, 200])
def test_a_key_that_may_not_write_stops_sixteen_workers(tmp_path: Path, private: int, earlier: int) -> None:
    """Whatever access is asked for, and whatever came before."""
    old, new = MemoryStore("old"), MemoryStore("new")
    entries = [entry(number, private=bool(private) and number % private == 0) for number in range(2_000)]
    for each in entries:
        old.put(canonical_key(each, ""), b"data")
    with planned(tmp_path / "m.db", entries) as manifest:
        if earlier:
            run(manifest, transfer(old, new), limit=earlier)
        for acl in ("private", "public-read", None):
            new.refused[acl] = ObjectDenied("cannot write at the new one: 403")
        new.asked.clear()
        with pytest.raises(StoreUnusable, match=r"lack the right to write: .*403"):
            run(manifest, transfer(old, new), workers=16)
        assert states(manifest)[EntryState.PENDING] > 1_500 - earlier
        assert len(new.asked) < 500


def test_a_destination_that_is_down_is_noticed_whatever_the_source_lacks(tmp_path: Path) -> None:
    """A missing object at the source says nothing of the destination."""
    old, new = MemoryStore("old"), MemoryStore("new")
    entries = [entry(number) for number in range(3_000)]
    for each in entries:
        if each.id % 20:
            old.put(canonical_key(each, ""), b"data")
    for method in ("write", "head"):
        new.fail(method, *[NetworkFailure("cannot write at the new one: refused")] * 10_000)
    with planned(tmp_path / "m.db", entries) as manifest:
        with pytest.raises(StoreUnusable, match=r"the destination failed .* refused") as unusable:
            run(manifest, transfer(old, new))
        assert "retry-failed" in unusable.value.hint
        assert states(manifest)[EntryState.PENDING] > 2_500


def test_a_key_that_may_not_write_any_more_stops_the_run(tmp_path: Path) -> None:
    """On the second day: before, everything went well."""
    old, new = MemoryStore("old"), MemoryStore("new")
    entries = [entry(number) for number in range(3_000)]
    for each in entries:
        old.put(canonical_key(each, ""), b"data")
    with planned(tmp_path / "m.db", entries) as manifest:
        run(manifest, transfer(old, new), limit=500)
        new.fail("write", *[ObjectDenied("cannot write at the new one: 403")] * 10_000)
        with pytest.raises(StoreUnusable, match=r"seems to lack the right to write.* 403") as unusable:
            run(manifest, transfer(old, new))
        assert unusable.value.exit_code == 7
        assert states(manifest)[EntryState.PENDING] > 2_000


def test_an_outcome_says_which_end_failed(tmp_path: Path) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    old.put(canonical_key(entry(1), ""), b"data")
    move = transfer(old, new)
    assert move(claim(entry(2))).end is End.SOURCE  # it is missing there
    old.fail("read", *[NetworkFailure("reset")] * 10)
    assert move(claim(entry(1))).end is End.SOURCE
    old = MemoryStore("old")
    old.put(canonical_key(entry(1), ""), b"data")
    new.fail("write", *[NetworkFailure("reset")] * IMPATIENT.max_attempts)
    move = transfer(old, new)
    assert move(claim(entry(1))).end is End.DESTINATION
    assert move(claim(entry(1))).end is None  # it is done


def test_a_bug_in_a_worker_is_not_swallowed_and_loses_no_entry(tmp_path: Path) -> None:
    def buggy(claim: Claim) -> Outcome:
        if claim.entry.id == 42:
            raise ZeroDivisionError
        return done(claim)

    with planned(tmp_path / "m.db", [entry(number) for number in range(100)]) as manifest:
        with pytest.raises(ZeroDivisionError):
            run(manifest, buggy)
        found = states(manifest)
        assert found[EntryState.DONE] + found[EntryState.PENDING] == 100
        assert found[EntryState.PENDING] >= 1


class Telling(NoProgress):
    """Lets a test know what a listener is told."""

    def __init__(self, until: Callable[[CopyProgress], bool]) -> None:
        self.until = until
        self.seen = threading.Event()

    def advanced(self, progress: AnyProgress) -> None:
        if isinstance(progress, CopyProgress) and self.until(progress):
            self.seen.set()


def test_people_are_told_of_throttling_while_nothing_comes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paused endpoint brings no outcome, so nothing is committed, for as long as the store likes."""
    monkeypatch.setattr("mastosync.copying.copier.HEARTBEAT_SECONDS", 600)  # nor does it wait for the next of these
    paused = EndpointState("source", paused_seconds=30, throttles=1)
    listener = Telling(lambda progress: progress.finished == 0 and progress.throttling != ())

    asked = threading.Event()

    def once_told(claim: Claim) -> Outcome:
        asked.set()
        assert listener.seen.wait(PATIENCE_SECONDS)
        return done(claim)

    with planned(tmp_path / "m.db", [entry()]) as manifest:
        stop = StopSignal()
        copier = Copier(WorkQueue(manifest), pool(once_told, 1, stop), CopyOptions(workers=1), stop, listener)
        copier.limits = lambda: (paused,) if asked.is_set() else ()
        assert copier.run().throttles == 1


def test_a_run_that_cannot_begin_leaves_no_thread_behind(tmp_path: Path) -> None:
    """As on a full disk. A loop that still waits for claims would keep the process from ending."""
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        manifest.connection.execute("PRAGMA query_only = ON")
        before = set(threading.enumerate())
        with pytest.raises(ManifestError):
            run(manifest, done)
        assert set(threading.enumerate()) <= before
