"""Finding out which ACLs a destination takes, on stores in memory."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from mastosync.copying.acl import AccessNotes, AclMode, AclRule, begin_in_vain
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import AclUnsupported, Interrupted, NetworkFailure, ObjectDenied, ObjectRejected, StoreUnusable
from mastosync.model import Entry, EntryState, ObjectHeaders, Outcome, Presence, Reason
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.steps import StoreCall
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import PutOptions
from tests.support.entries import LOCAL, claim, entry, written_before
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session, transfer

NO_ACLS = AclUnsupported("AccessControlListNotSupported")
NOT_THIS = AclUnsupported("Unsupported value for canned acl", only_this=True)
DENIED = ObjectDenied("403 AccessDenied, the first time")
IN_VAIN = ["start_multipart", "abort_multipart"]
PROOF = ["anybody_reads"]  # once a run: see test_privacy_proof
BOTH = ("public-read", "private")
TAKES_NONE = "the destination has no ACLs: the bucket alone decides who can read an object"
TAKES_NO_PUBLIC = "the destination refuses the ACL public-read: the bucket alone decides who can read a public object"


def key_of(number: int) -> str:
    return f"accounts/avatars/000/{number // 1000:03}/{number % 1000:03}/original/a.png"


def a(number: int, *, private: bool = False) -> Entry:
    return entry(number, kind=LOCAL, private=private)


class Run:
    """A run of transfers between two stores, the new one with ACLs of its own taste."""

    def __init__(self, refused: dict[str | None, Exception] | None = None, **options: object) -> None:
        self.old, self.new = MemoryStore("old"), MemoryStore("new")
        for number in range(1, 50):
            self.old.put(key_of(number), b"%d" % number)
        self.new.refused = refused or {}
        self.transfer: Transfer = transfer(self.old, self.new, TransferOptions(**options))  # type: ignore[arg-type]

    def __call__(self, number: int, *, private: bool = False) -> Outcome:
        return self.transfer(claim(a(number, private=private)))

    def requests(self, number: int, *, private: bool = False) -> list[str]:
        """What the new store is asked for one more entry."""
        before = len(self.new.calls)
        self(number, private=private)
        return [method for method, _ in self.new.calls[before:]]

    def acls(self) -> dict[int, str | None]:
        """What lies at the new store."""
        assert not self.new.unfinished()
        return {int(stored.data): stored.acl for stored in self.new.objects.values()}


def is_kept_back(outcome: Outcome) -> bool:
    return (outcome.state, outcome.reason) == (EntryState.SKIPPED, Reason.PRIVATE)


@pytest.mark.parametrize("refusal", [DENIED, ObjectRejected("400 Invalid argument.")])
def test_a_public_object_refused_without_a_word_is_written_once_more_without_acl(refusal: Exception) -> None:
    run = Run(dict.fromkeys(BOTH, refusal))
    assert run.requests(1) == ["write", "write"]
    assert run.requests(2) == ["write"]
    assert run.acls() == {1: None, 2: None}
    assert run.transfer.finding == TAKES_NO_PUBLIC


def test_a_denial_that_is_not_the_acls_is_told_as_it_came_and_doubted_for_a_while() -> None:
    run = Run({**dict.fromkeys(BOTH, DENIED), None: ObjectDenied("403 again")})
    for number in range(1, 9):
        outcome = run(number)
        assert (outcome.state, outcome.reason, outcome.detail) == (EntryState.FAILED, Reason.DENIED, DENIED.message)
    assert run.new.count("write") == 16
    assert run.requests(9) == ["write"]
    assert run.transfer.finding is None
    run.new.refused = {}
    assert run.requests(10) == ["write"]
    assert run.acls() == {10: "public-read"}


def test_once_an_acl_was_taken_a_denial_is_a_denial() -> None:
    run = Run()
    assert run.requests(1) == ["write"]
    run.new.refused = dict.fromkeys(BOTH, DENIED)
    assert run.requests(2) == ["write"]
    assert run(3).reason is Reason.DENIED
    assert run.transfer.finding is None


def test_a_second_attempt_that_fails_otherwise_teaches_nothing() -> None:
    run = Run({"public-read": DENIED, None: NetworkFailure("reset")})
    assert run(1).detail == DENIED.message
    assert run.transfer.finding is None


def test_usually_no_request_is_made_to_find_anything_out() -> None:
    run = Run()
    assert run.requests(1) == ["write"]
    assert run.requests(2, private=True) == ["write", *PROOF]
    assert run.requests(3, private=True) == ["write"]
    assert run.acls() == {1: "public-read", 2: "private", 3: "private"}


def test_a_private_object_that_comes_first_asks_whether_there_are_acls_once() -> None:
    run = Run()
    assert run.requests(1, private=True) == [*IN_VAIN, "write", *PROOF]
    assert run.new.asked == [("start_multipart", "public-read"), ("write", "private")]
    assert run.requests(2, private=True) == ["write"]
    assert run.requests(3) == ["write"]
    assert run.acls() == {1: "private", 2: "private", 3: "public-read"}


def test_an_upload_begun_in_vain_is_given_up_even_if_its_first_answer_was_lost() -> None:
    run = Run()
    run.new.fail("start_multipart", NetworkFailure("reset"))
    run.new.fail("abort_multipart", *[NetworkFailure("reset")] * 3)
    assert run(1, private=True).state is EntryState.DONE
    assert run.acls() == {1: "private"}


@pytest.mark.parametrize("refused", [{}, dict.fromkeys(BOTH, NO_ACLS)])
def test_an_upload_begun_in_vain_by_a_dead_run_is_given_up(refused: dict[str | None, Exception]) -> None:
    run = Run(refused)
    run.new.start_multipart(key_of(1), PutOptions(ObjectHeaders()))
    outcome = run.transfer(claim(a(1, private=True), left_behind=True))
    assert outcome.state is (EntryState.SKIPPED if refused else EntryState.DONE)
    assert not run.new.unfinished()


def test_who_takes_private_but_has_no_acls_gets_nothing_private() -> None:
    """R2 takes it and means nothing by it, and refuses public-read. Nothing private is even read."""
    run = Run({"public-read": NO_ACLS})
    assert is_kept_back(run(1, private=True))
    assert not run.old.calls
    assert run.requests(2) == ["write"]
    assert run.requests(3, private=True) == []
    assert run.acls() == {2: None}
    assert run.transfer.finding == TAKES_NONE


@pytest.mark.parametrize("refusal", [DENIED, NOT_THIS])
@pytest.mark.parametrize("private_first", [True, False])
def test_who_refuses_public_read_alone_keeps_private_objects_private(
    refusal: Exception, *, private_first: bool
) -> None:
    run = Run({"public-read": refusal})
    for number in (1, 2, 3, 4):
        assert run(number, private=(number % 2 == 1) == private_first).state is EntryState.DONE
    acls = run.acls()
    private, public = ((1, 3), (2, 4)) if private_first else ((2, 4), (1, 3))
    assert {acls[number] for number in private} == {"private"}
    assert {acls[number] for number in public} == {None}
    assert run.transfer.finding == TAKES_NO_PUBLIC


@pytest.mark.parametrize("refusal", [DENIED, NO_ACLS, NOT_THIS])
@pytest.mark.parametrize("private_first", [True, False])
def test_where_every_acl_is_refused_nothing_private_is_written(refusal: Exception, *, private_first: bool) -> None:
    run = Run(dict.fromkeys(BOTH, refusal))
    outcomes = [run(number, private=(number % 2 == 1) == private_first) for number in (1, 2, 3, 4)]
    private = outcomes[0::2] if private_first else outcomes[1::2]
    assert all(map(is_kept_back, private))
    assert run.acls() == {outcome.entry.id: None for outcome in outcomes if not outcome.entry.private}
    assert run.transfer.finding == TAKES_NONE
    assert run.requests(5, private=True) == []
    assert run.requests(6) == ["write"]


@pytest.mark.parametrize("refusal", [DENIED, NOT_THIS])
def test_who_refuses_private_alone_gets_nothing_private(refusal: Exception) -> None:
    """As B2 does in a public bucket."""
    run = Run({"private": refusal})
    assert run(1).state is EntryState.DONE
    assert is_kept_back(run(2, private=True))
    assert run.requests(3, private=True) == []
    assert run.acls() == {1: "public-read"}
    assert run.transfer.finding == "the destination refuses the ACL private: it cannot keep an object private"


def test_a_denied_private_object_fails_as_denied_where_nothing_can_be_written() -> None:
    run = Run({**dict.fromkeys(BOTH, DENIED), None: ObjectDenied("403 again")})
    for number in range(1, 21):
        outcome = run(number, private=True)
        assert (outcome.state, outcome.reason, outcome.detail) == (EntryState.FAILED, Reason.DENIED, DENIED.message)
    assert run.new.count("start_multipart") == 2 * 8 + 2 * 8, "for each ACL, until it is doubted no more"
    assert run.requests(21, private=True) == ["write"]
    assert ("write", None) not in run.new.asked


def test_a_private_object_waits_for_a_store_that_cannot_say_now() -> None:
    run = Run()
    run.new.fail("start_multipart", *[NetworkFailure("reset")] * 3)
    outcome = run(1, private=True)
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.NETWORK)
    assert run(2, private=True).state is EntryState.DONE


@pytest.mark.parametrize("refused", [dict.fromkeys(BOTH, DENIED), dict.fromkeys(BOTH, NO_ACLS), {"private": NOT_THIS}])
def test_private_objects_go_without_acl_where_that_was_decided(refused: dict[str | None, Exception]) -> None:
    run = Run(refused, copy_private_without_acl=True)
    assert run.requests(1, private=True) == ["write", "write"]
    assert run.requests(2, private=True) == ["write"]
    assert run.acls() == {1: None, 2: None}


def test_private_objects_keep_their_acl_where_it_is_taken_whatever_was_decided() -> None:
    run = Run({"public-read": DENIED}, copy_private_without_acl=True)
    assert run.requests(1, private=True) == ["write"]
    assert run.acls() == {1: "private"}


@pytest.mark.parametrize("mode", [AclMode.PUBLIC_READ, AclMode.PRIVATE])
def test_who_insists_on_acls_gets_a_denial_as_it_is(mode: AclMode) -> None:
    run = Run(dict.fromkeys(BOTH, DENIED), acl=mode)
    assert run.requests(1) == ["write"]
    assert run(2).reason is Reason.DENIED
    assert run(3, private=True).reason is Reason.DENIED
    assert run.acls() == {}
    assert ("write", None) not in run.new.asked


def test_who_insists_on_acls_per_row_is_told_before_anything_private_is_written() -> None:
    run = Run({"public-read": NO_ACLS}, acl=AclMode.PUBLIC_READ)
    with pytest.raises(StoreUnusable, match="AccessControlListNotSupported"):
        run(1, private=True)
    assert run.acls() == {}


def test_a_store_known_to_take_no_acls_is_sent_none() -> None:
    run = Run(acl_taken=False)
    assert run.requests(1) == ["write"]
    assert run.requests(2, private=True) == []
    assert run.acls() == {1: None}
    assert run.transfer.finding is None, "it was known before"


def test_a_store_known_to_take_acls_is_not_asked_and_its_denials_are_believed() -> None:
    run = Run(acl_taken=True)
    assert run.requests(1, private=True) == ["write"]
    run.new.refused = dict.fromkeys(BOTH, DENIED)
    assert run.requests(2) == ["write"]
    run.new.refused = dict.fromkeys(BOTH, NO_ACLS)
    assert is_kept_back(run(3, private=True)), "its own word counts more"


def test_what_the_configuration_insists_on_counts_more_than_what_is_known_of_a_provider() -> None:
    run = Run(acl=AclMode.PUBLIC_READ, acl_taken=False)
    assert run(1).state is EntryState.DONE
    assert run.acls() == {1: "public-read"}


def test_large_objects_find_out_the_same() -> None:
    run = Run(dict.fromkeys(BOTH, DENIED), multipart_threshold=1, part_size=4)
    begun = [("start_multipart", acl) for acl in ("public-read", None)]
    assert run(10).state is EntryState.DONE
    assert run.new.asked == begun
    assert run(11).state is EntryState.DONE
    assert run.new.asked == [*begun, ("start_multipart", None)]
    assert is_kept_back(run(12, private=True))
    assert run.acls() == {10: None, 11: None}


@pytest.mark.parametrize("private", [False, True])
def test_a_refusal_that_comes_when_others_have_found_it_out_is_understood(*, private: bool) -> None:
    """The others come in parts: of private objects that come whole, the first one goes alone."""
    run = Run(dict.fromkeys(BOTH, DENIED), multipart_threshold=1, part_size=4)
    late = run.transfer.steps(claim(a(1, private=private)))
    step = next(late)
    while not isinstance(step, StoreCall) or step.operation != "write":
        try:
            step = late.send(step.run())
        except ObjectDenied as error:
            step = late.throw(error)
    run(10, private=private)
    with pytest.raises(StopIteration) as ended:
        late.send(late.throw(DENIED).run())
    assert is_kept_back(ended.value.value) if private else ended.value.value.state is EntryState.DONE
    assert run.acls() == ({} if private else {1: None, 10: None})


def test_what_others_find_out_between_two_looks_lets_nothing_private_out(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(acl_taken=True)
    looked, look = [], AclRule.require_allowed

    def look_and_be_overtaken(rule: AclRule, entry: Entry) -> None:
        look(rule, entry)
        looked.append(entry)
        if len(looked) == 2:
            rule._learn(set(BOTH))

    monkeypatch.setattr(AclRule, "require_allowed", look_and_be_overtaken)
    for number in (1, 2, 3):
        run(number, private=True)
    assert ("write", None) not in run.new.asked


def test_many_workers_find_out_at_the_same_time_and_say_it_once(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(dict.fromkeys(BOTH, NO_ACLS))
    with caplog.at_level(logging.INFO, logger="mastosync.copying.acl"), ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda number: run(number, private=number % 3 == 0), range(1, 49)))
    assert {outcome.entry.id: outcome.state for outcome in outcomes} == {
        number: EntryState.DONE if number % 3 else EntryState.SKIPPED for number in range(1, 49)
    }
    assert set(run.acls().values()) == {None}
    assert [record.getMessage() for record in caplog.records] == [TAKES_NONE]


def test_what_was_public_and_cannot_become_private_is_pointed_out() -> None:
    run = Run(acl=AclMode.NONE)
    again = written_before(a(1, private=True), Presence.AS_PUBLIC)
    outcome = run.transfer(again)
    assert is_kept_back(outcome)
    assert outcome.detail is not None
    assert key_of(1) in outcome.detail
    assert "remove it there" in outcome.detail
    assert run(2, private=True).detail is None


class StoppedAfterTheBeginning(MemoryStore):
    """Somebody asks to stop, and the endpoint to wait, just when an upload in parts has begun."""

    def __init__(self, stop: StopSignal) -> None:
        super().__init__()
        self.stop = stop
        self.limiters: list[EndpointLimiter] = []

    def start_multipart(self, key: str, options: PutOptions) -> str:
        upload = super().start_multipart(key, options)
        self.stop.request()
        for limiter in self.limiters:
            limiter.throttled(600)
        return upload


def test_a_trial_that_could_not_be_given_up_for_a_wish_to_stop_leaves_it_to_the_next_run() -> None:
    """Else the object would be done, and the upload would lie there, and cost, for ever."""
    stop = StopSignal()
    store = StoppedAfterTheBeginning(stop)
    behind = store_session(store, stop)
    store.limiters.append(behind.limiter)
    with pytest.raises(Interrupted):
        begin_in_vain(RetryingStore(behind), "a", PutOptions(ObjectHeaders()))
    assert store.unfinished() == ["a"]


class TestAccessNotes:
    CLOSED, OPEN = (entry(), Presence.AS_PRIVATE), (entry(2), Presence.AS_PUBLIC)

    def test_what_could_not_be_recorded_is_taken_again_and_nobody_goes_on(self) -> None:
        notes = AccessNotes()
        is_recorded = notes.add(*self.CLOSED)
        with pytest.raises(OSError, match="full"), notes.recording():
            raise OSError("the disk is full")
        assert notes.any_waiting
        assert not is_recorded()
        with notes.recording() as taken:
            assert taken == [self.CLOSED]
        assert is_recorded()
        assert not notes.any_waiting

    def test_what_is_told_meanwhile_waits_for_the_next_time(self) -> None:
        notes = AccessNotes()
        first = notes.add(*self.CLOSED)
        with notes.recording():
            later = notes.add(*self.OPEN)
        assert first()
        assert not later()
        with notes.recording() as taken:
            assert taken == [self.OPEN]
        assert later()
