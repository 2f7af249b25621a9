"""The proof that what is written as private is private, on stores in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from mastosync.copying.acl import AclMode
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import (
    ExitCode,
    Interrupted,
    MayBePublic,
    NetworkFailure,
    ObjectDenied,
    ObjectError,
    PrivacyLost,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.model import Claim, Entry, EntryState, Outcome, Presence, Reason
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from tests.support.clock import Clock
from tests.support.entries import LOCAL, claim, entry, written_before
from tests.support.memory_store import MemoryStore
from tests.support.transfers import IMPATIENT, store_session
from tests.unit.runtime.test_worker_pool import MemoryMultiplexer, all_ended

MIB = 1024 * 1024
WAYS: dict[str, TransferOptions] = {
    "whole": TransferOptions(),
    "in parts": TransferOptions(multipart_threshold=1, part_size=4),
    "copied": TransferOptions(source_bucket="memory"),
}
ROOM = {"whole": 64, "in parts": MIB, "copied": 64}  # bytes of memory: for a few objects, or one part


def key_of(number: int) -> str:
    return f"accounts/avatars/000/000/{number:03}/original/a.png"


def a(number: int, *, private: bool = True) -> Entry:
    return entry(number, kind=LOCAL, private=private)


class Run:
    """A run of transfers to a new store that takes every ACL, and may pass over it."""

    def __init__(
        self,
        options: TransferOptions,
        *,
        open_to_all: bool = False,
        memory_bytes: int = MIB,
        new: MemoryStore | None = None,
        policy: RetryPolicy = IMPATIENT,
    ) -> None:
        self.stop = StopSignal()
        self.old, self.new = MemoryStore("old"), new or MemoryStore("new")
        self.new.open_to_all = open_to_all
        if options.source_bucket:
            self.new.buckets["memory"] = self.old
        for number in range(1, 100):
            self.old.put(key_of(number), b"%d" % number * 5)
        # that there are ACLs is known from a public object, so that only what is of privacy is asked
        self.transfer = Transfer(
            store_session(self.old, self.stop),
            store_session(self.new, self.stop, policy),
            options,
            MemoryBudget(memory_bytes),
        )
        assert self(1, private=False).state is EntryState.DONE

    def __call__(self, number: int, *, private: bool = True, rewrite: bool = False) -> Outcome:
        of = a(number, private=private)
        return self.transfer(written_before(of, Presence.AS_PUBLIC) if rewrite else Claim(of, attempts=0))

    def lies_there(self, number: int) -> bool:
        return key_of(number) in self.new.objects


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_first_private_object_of_a_run_is_asked_for_once_without_credentials(way: str) -> None:
    run = Run(WAYS[way])
    for number in (2, 3, 4):
        assert run(number).state is EntryState.DONE
        assert run(10 + number, private=False).state is EntryState.DONE
    assert [key for method, key in run.new.calls if method == "anybody_reads"] == [key_of(2)]
    assert {stored.acl for key, stored in run.new.objects.items() if key < key_of(10)} >= {"private"}


def test_where_only_public_objects_are_written_nothing_is_asked(way: str) -> None:
    run = Run(WAYS[way], open_to_all=True)
    assert run(2, private=False).state is EntryState.DONE
    assert not run.new.count("anybody_reads")


def test_a_store_that_passes_over_acls_stops_the_run_and_keeps_nothing_private(way: str) -> None:
    run = Run(WAYS[way], open_to_all=True)
    with pytest.raises(PrivacyLost) as lost:
        run(2)
    assert lost.value.exit_code is ExitCode.STORE
    assert f"anybody can read {key_of(2)!r}" in lost.value.message
    assert "mastosync tried to remove it" not in lost.value.message
    for named in ("acl = none", "private_objects", "verify --public"):
        assert named in lost.value.hint
    assert not run.lies_there(2)
    before = len(run.new.calls), len(run.old.calls)
    with pytest.raises(PrivacyLost, match="002"):
        run(3)
    assert (len(run.new.calls), len(run.old.calls)) == before, "nothing private is read, let alone written, afterwards"


def test_what_was_public_before_is_removed_as_well_if_it_cannot_become_private(way: str) -> None:
    run = Run(WAYS[way], open_to_all=True)
    assert run(2, private=False).state is EntryState.DONE
    with pytest.raises(PrivacyLost):
        run(2, rewrite=True)
    assert not run.lies_there(2)


def test_each_way_of_storing_is_proved_by_itself() -> None:
    """A store may keep the ACL of an object that comes whole, and pass over that of an upload in parts."""
    run = Run(TransferOptions(multipart_threshold=8, part_size=4))
    run.old.put(key_of(3), b"larger than eight bytes")
    assert run(2).state is EntryState.DONE
    run.new.open_to_all = True
    with pytest.raises(PrivacyLost):
        run(3)
    assert run.lies_there(2)
    assert not run.lies_there(3)


def test_the_only_copy_is_never_told_to_be_removed(caplog: pytest.LogCaptureFixture) -> None:
    """Not in the log either: it may be all that anybody reads."""
    run = Run(WAYS["whole"], open_to_all=True)
    assert run(2, private=False).state is EntryState.DONE
    del run.old.objects[key_of(2)]
    with pytest.raises(PrivacyLost, match="make it private at the store yourself"):
        run(2, rewrite=True)
    assert run.lies_there(2)
    assert any("make it private at the store yourself" in message for message in caplog.messages)
    assert not any("remove it" in message for message in caplog.messages)


def unasked_once_removed(new: MemoryStore, failure: ObjectError) -> None:
    withdraw = new.withdraw

    def removing(key: str) -> bool:
        new.fail("anybody_reads", *[failure] * 100)
        return withdraw(key)

    new.withdraw = removing  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (lambda new: setattr(new, "keeps_everything", True), "anybody can still read it: remove it there at once"),
        (lambda new: setattr(new, "keeps_versions", True), "the bucket keeps an old version of it"),
        (
            lambda new: new.fail("withdraw", ObjectDenied("cannot delete: 403")),
            "it could not be removed, so remove it there at once: cannot delete: 403",
        ),
        (
            lambda new: unasked_once_removed(new, ServerFailure("cannot ask: 500")),
            "it was removed, but mastosync cannot check whether anybody can still read it: cannot ask: 500",
        ),
    ],
)
def test_what_could_not_be_removed_is_told_with_its_key(prepare: Callable[[MemoryStore], None], told: str) -> None:
    run = Run(WAYS["whole"], open_to_all=True)
    prepare(run.new)
    with pytest.raises(PrivacyLost) as lost:
        run(2)
    assert told in lost.value.message
    assert repr(key_of(2)) in lost.value.message


@pytest.mark.parametrize(
    "failure",
    [Throttled("503: in a day", retry_after_seconds=86_400), ServerFailure("500: down")],
    ids=["asks to wait for a day", "fails"],
)
def test_a_removal_ends_in_time_and_what_lies_open_is_told_before(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: ObjectError
) -> None:
    """Whoever asks to stop does not mean it, and need not wait for long."""
    run, clock = Run(WAYS["whole"], open_to_all=True, policy=RetryPolicy(1000, 900)), Clock(monkeypatch)
    begin, told = clock.now, list[str]()

    def fails(key: str) -> bool:
        told.extend(caplog.messages)
        run.stop.request()
        raise failure

    run.new.withdraw = fails  # type: ignore[method-assign]
    with pytest.raises(PrivacyLost, match="could not be removed, so remove it there at once: 50") as lost:
        run(2)
    assert clock.now - begin <= 61
    assert told[0] == f"{key_of(2)!r} at {run.new.name} may be public: it is being removed"
    assert lost.value.lies_there
    assert any("anybody can read" in said and "remove it there at once" in said for said in caplog.messages), (
        "the run may end for something else"
    )


@pytest.mark.parametrize("asked_for", [30, 60, 300])
def test_a_removal_is_tried_again_when_the_store_has_had_its_pause(
    monkeypatch: pytest.MonkeyPatch, asked_for: int
) -> None:
    run, clock = Run(WAYS["whole"], open_to_all=True), Clock(monkeypatch)
    begin, withdraw = clock.now, run.new.withdraw

    def throttled(key: str) -> bool:
        if clock.now - begin < 55:
            raise Throttled("503", retry_after_seconds=asked_for)
        run.new.open_to_all = False
        return withdraw(key)

    run.new.withdraw = throttled  # type: ignore[method-assign]
    with pytest.raises(PrivacyLost, match="it was removed") as lost:
        run(2)
    assert not lost.value.lies_there
    assert key_of(2) not in run.new.objects


@pytest.mark.parametrize(
    "failure", [NetworkFailure("reset"), ServerFailure("500"), Throttled("503", retry_after_seconds=0)]
)
def test_an_answer_that_says_nothing_is_asked_for_again(failure: Exception, way: str) -> None:
    run = Run(WAYS[way])
    run.new.fail("anybody_reads", failure, failure)
    assert run(2).state is EntryState.DONE
    assert run.new.count("anybody_reads") == 3


def test_without_an_answer_nothing_private_is_written_in_this_run(way: str) -> None:
    run = Run(WAYS[way])
    run.new.fail("anybody_reads", *[NetworkFailure("reset")] * 3)
    outcome = run(2)
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.NETWORK)
    assert outcome.detail is not None
    assert f"cannot tell whether {key_of(2)!r}" in outcome.detail
    assert "it was removed" in outcome.detail
    before = len(run.new.calls)
    assert (run(3).state, run(3).reason) == (EntryState.FAILED, Reason.NETWORK)
    assert len(run.new.calls) == before
    assert run(4, private=False).state is EntryState.DONE
    assert not run.lies_there(2)
    assert not run.lies_there(3)


def test_a_store_that_cannot_be_asked_at_all_stops_the_run(way: str) -> None:
    run = Run(WAYS[way])
    run.new.fail("anybody_reads", StoreUnusable("no secure connection can be made"))
    with pytest.raises(StoreUnusable, match="no secure connection"):
        run(2)
    assert not run.lies_there(2)


def test_who_is_stopped_before_there_is_an_answer_leaves_nothing_that_may_be_public() -> None:
    run = Run(WAYS["whole"])
    run.new.fail("anybody_reads", Interrupted("stopped while waiting"))
    with pytest.raises(Interrupted):
        run(2)
    assert not run.lies_there(2)


def test_who_is_stopped_then_is_told_what_may_be_public_and_could_not_be_removed(way: str) -> None:
    run = Run(WAYS[way])
    run.new.fail("anybody_reads", Interrupted("stopped while waiting"))
    run.new.fail("withdraw", ObjectDenied("cannot delete: 403"))
    with pytest.raises(MayBePublic, match=r"002.*may be public: .*remove it there at once: cannot delete: 403"):
        run(2)
    assert run.lies_there(2)
    assert run.new.count("anybody_reads") == 1, "it is not written in another way"


def test_who_is_stopped_then_is_told_nothing_of_what_lay_there_before() -> None:
    run = Run(WAYS["whole"])
    assert run(2, private=False).state is EntryState.DONE
    del run.old.objects[key_of(2)]
    run.new.fail("anybody_reads", Interrupted("stopped while waiting"))
    with pytest.raises(Interrupted) as stopped:
        run(2, rewrite=True)
    assert not isinstance(stopped.value, MayBePublic)


def test_an_object_that_could_not_be_written_leaves_the_proof_to_the_next(way: str) -> None:
    run = Run(WAYS[way])
    if way == "in parts":
        run.new.fail("start_multipart", ObjectDenied("403"))
    else:
        run.new.fail("copy_from", ObjectDenied("403"))
        run.new.fail("write", ObjectDenied("403"))
    assert run(2).reason is Reason.DENIED
    assert run(3).state is EntryState.DONE
    assert run.new.count("anybody_reads") == 1


@pytest.mark.parametrize(
    "options",
    [
        TransferOptions(acl=AclMode.NONE),
        TransferOptions(acl=AclMode.NONE, copy_private_without_acl=True),
        TransferOptions(copy_private_without_acl=True),
        TransferOptions(acl=AclMode.PRIVATE, copy_private_without_acl=True),
        TransferOptions(acl_taken=False),
        TransferOptions(acl_taken=True),  # a folder, whose files have modes
    ],
)
def test_nothing_is_asked_where_privacy_is_nobodys_wish_or_known(options: TransferOptions) -> None:
    run = Run(options, open_to_all=True)
    run(2)
    assert not run.new.count("anybody_reads")


def test_where_everything_is_to_be_private_a_public_row_is_the_proof() -> None:
    with pytest.raises(PrivacyLost):
        Run(TransferOptions(acl=AclMode.PRIVATE), open_to_all=True)
    run = Run(TransferOptions(acl=AclMode.PRIVATE))
    assert run(2).state is EntryState.DONE
    assert [key for method, key in run.new.calls if method == "anybody_reads"] == [key_of(1)]


@pytest.mark.parametrize("mode", [AclMode.PRIVATE, AclMode.PUBLIC_READ])
def test_where_strangers_are_given_nothing_anyway_their_refusal_is_no_proof(mode: AclMode) -> None:
    """What is private is not even read, as nobody could tell who reads it at the address that everybody uses."""
    run = Run(TransferOptions())
    run.transfer = Transfer(
        store_session(run.old, run.stop),
        store_session(run.new, run.stop),
        TransferOptions(acl=mode, serves_strangers=False),
        MemoryBudget(MIB),
    )
    for _ in range(2):
        with pytest.raises(StoreUnusable, match="cannot check whether private objects stay private") as unusable:
            run(2)
    assert "acl = auto" in unusable.value.hint
    assert "private_objects" in unusable.value.hint
    assert run.old.count("read") == 1, "that of the public object before"
    assert not run.lies_there(2)


def test_where_no_acl_is_sent_it_does_not_matter_whether_a_refusal_would_tell() -> None:
    kept_back = Run(TransferOptions(acl_taken=False, serves_strangers=False))(2)
    assert (kept_back.state, kept_back.reason) == (EntryState.SKIPPED, Reason.PRIVATE)
    for mode in (AclMode.AUTO, AclMode.NONE, AclMode.PRIVATE):
        options = TransferOptions(acl=mode, acl_taken=False, serves_strangers=False, copy_private_without_acl=True)
        assert Run(options)(2).state is EntryState.DONE


class Watched(MemoryStore):
    """Counts private objects that lie there before anything is proved, and takes its time to answer."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.most_unproved = 0
        self.answered = threading.Event()
        self._pause = threading.Event()

    def anybody_reads(self, key: str) -> bool:
        self._pause.wait(0.05)  # for others to be written, if nobody keeps them
        private = sum(stored.acl == "private" for stored in self.objects.values())
        if not self.answered.is_set():
            self.most_unproved = max(self.most_unproved, private)
        self.answered.set()
        return super().anybody_reads(key)


@pytest.fixture(params=[1, 3, 16])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def moved(run: Run, numbers: range, workers: int) -> list[Outcome | BaseException | None]:
    """What became of private and public objects, of which many are under way at once."""
    claims = [claim(a(number, private=number % 3 != 0)) for number in numbers]
    with WorkerPool(run.transfer.steps, workers, run.stop, MemoryMultiplexer) as pool:
        pool.submit(claims)
        return [ended.outcome or ended.error for ended in all_ended(pool, len(claims))]


def test_until_there_is_proof_one_private_object_is_written_and_the_others_wait(way: str, workers: int) -> None:
    run = Run(WAYS[way], new=Watched("new"), memory_bytes=ROOM[way])
    found = moved(run, range(2, 60), workers)
    assert {each.state for each in found if isinstance(each, Outcome)} == {EntryState.DONE}
    assert len(found) == len(run.new.objects) - 1 == 58
    assert isinstance(run.new, Watched)
    assert (run.new.most_unproved, run.new.count("anybody_reads")) == (1, 1)


def test_where_there_is_none_no_other_private_object_is_written_while_it_is_looked_for(way: str, workers: int) -> None:
    run = Run(WAYS[way], open_to_all=True, new=Watched("new"), memory_bytes=ROOM[way])
    found = moved(run, range(2, 60), workers)
    assert {type(each) for each in found} <= {Outcome, PrivacyLost}
    assert sum(isinstance(each, PrivacyLost) for each in found) == 39
    assert {stored.acl for stored in run.new.objects.values()} == {"public-read"}
    assert isinstance(run.new, Watched)
    assert run.new.most_unproved == 1


def test_who_waits_for_the_proof_of_others_is_interrupted_and_keeps_its_claim() -> None:
    run = Run(WAYS["whole"])
    entered, leave = threading.Event(), threading.Event()

    def held(key: str) -> bool:
        entered.set()
        assert leave.wait(20)
        return MemoryStore.anybody_reads(run.new, key)

    run.new.anybody_reads = held  # type: ignore[method-assign]
    with WorkerPool(run.transfer.steps, 4, run.stop, MemoryMultiplexer) as pool:
        pool.submit([claim(a(2)), claim(a(3))])
        assert entered.wait(20)
        run.stop.request()
        (waited,) = all_ended(pool, 1)
        assert isinstance(waited.error, Interrupted)
        leave.set()
        (proved,) = all_ended(pool, 1)
    assert proved.outcome is not None
    assert proved.outcome.state is EntryState.DONE
    assert len(run.new.objects) == 2
