"""Copying within one store, on stores in memory: what it costs, and when the ordinary way is taken."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from typing import Any

import pytest

from mastosync.copying.acl import AclMode
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import (
    AclUnsupported,
    NetworkFailure,
    ObjectChanged,
    ObjectDenied,
    ObjectMissing,
    ObjectRejected,
    ObjectTooLarge,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.model import EntryState, ObjectHeaders, ObjectInfo, Outcome, Reason
from mastosync.store.base import PutOptions
from tests.support.entries import REMOTE, claim, entry
from tests.support.memory_store import MemoryStore
from tests.support.transfers import transfer

CACHED = "cache/media_attachments/files/000/000/001/small/a.png"
PLAIN = "media_attachments/files/000/000/001/small/a.png"
GONE_WITHOUT = "the store does not copy by itself"


def key_of(number: int) -> str:
    return f"accounts/avatars/000/000/{number:03}/original/a.png"


class Run:
    """A run of transfers between two buckets of one store."""

    def __init__(self, new: MemoryStore | None = None, **options: Any) -> None:  # noqa: ANN401
        self.old, self.new = MemoryStore("old"), new or MemoryStore("new")
        self.new.buckets["old"] = self.old
        for number in range(1, 20):
            self.old.put(key_of(number), b"%d" % number)
        given = TransferOptions(source_bucket="old", **options)
        self.transfer: Transfer = transfer(self.old, self.new, given)

    def __call__(self, number: int = 1, *, private: bool = False) -> Outcome:
        return self.transfer(claim(entry(number, private=private)))

    def requests(self, number: int, *, private: bool = False) -> list[str]:
        """What both buckets are asked for one more entry, the old one first."""
        before = len(self.old.calls), len(self.new.calls)
        self(number, private=private)
        calls = [*self.old.calls[before[0] :], *self.new.calls[before[1] :]]
        return [method for method, _ in calls]


WITHIN, ORDINARY = ["head", "copy_from"], ["read", "write"]


def test_a_fresh_entry_costs_one_head_and_one_copy_and_is_never_read() -> None:
    run = Run()
    outcome = run()
    assert (outcome.state, outcome.size, outcome.attempts, outcome.etag) == (EntryState.DONE, 1, 1, None)
    assert outcome.md5 == md5(b"1").digest()
    assert (run.old.calls, run.new.calls) == ([("head", key_of(1))], [("copy_from", key_of(1))])
    assert run.new.objects[key_of(1)].data == b"1"


def test_the_copy_has_the_headers_that_an_ordinary_one_has() -> None:
    headers = ObjectHeaders("image/png", None, "inline", "ja", "gzip", (("a", "b"),))
    options: dict[str, Any] = {"cache_control": "immutable", "storage_class": "COLD", "destination_prefix": "will/be"}
    within, ordinary = Run(**options), Run(**options, multipart_threshold=10)
    ordinary.new.fail("copy_from", ObjectRejected("501"), ObjectRejected("501"))
    for run in (within, ordinary):
        run.old.put(key_of(1), b"1", headers)
        assert run().state is EntryState.DONE
    assert within.new.objects == ordinary.new.objects
    assert (within.new.count("write"), ordinary.new.count("write")) == (0, 1)


def test_a_missing_candidate_leads_to_the_next_one() -> None:
    run = Run()
    run.old.put(PLAIN, b"old schema")
    outcome = run.transfer(claim(entry(kind=REMOTE)))
    assert (outcome.state, outcome.source_key) == (EntryState.DONE, PLAIN)
    assert (run.old.calls, run.new.calls) == ([("head", CACHED), ("head", PLAIN)], [("copy_from", CACHED)])


def test_what_is_under_no_candidate_is_missing_and_refuses_nothing() -> None:
    run = Run()
    outcome = run(999)
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.MISSING)
    assert run.requests(1) == WITHIN


def test_the_bucket_is_asked_for_once_however_many_are_missing() -> None:
    run = Run()
    for number in range(900, 990):
        assert run(number).reason is Reason.MISSING
    assert run.old.count("check") == 1


@pytest.mark.parametrize("optional", [False, True])
def test_nothing_is_called_missing_before_the_bucket_is_known_to_be_there(optional: bool) -> None:
    """An answer to HEAD has no body, so it looks the same if the whole bucket is gone."""
    run = Run()
    run.old.fail("check", StoreUnusable("404 NoSuchBucket"))
    with pytest.raises(StoreUnusable):
        run.transfer(claim(entry(999, optional=optional)))


@pytest.mark.parametrize(
    ("errors", "reason"),
    [([ObjectDenied("403")], Reason.DENIED), ([NetworkFailure("reset")] * 3, Reason.NETWORK)],
)
def test_what_cannot_be_described_fails_and_the_store_may_still_copy(errors: list[Exception], reason: Reason) -> None:
    run = Run()
    run.old.fail("head", *errors)
    assert run(1).reason is reason
    assert not run.new.calls
    assert run.requests(2) == WITHIN


def test_what_may_pass_is_tried_again() -> None:
    run = Run()
    run.new.fail("copy_from", NetworkFailure("reset"), ServerFailure("500"))
    outcome = run(1)
    assert (outcome.state, outcome.attempts) == (EntryState.DONE, 3)
    assert not run.old.count("read")


def test_a_throttling_store_is_not_asked_for_more_bytes_instead() -> None:
    run = Run()
    run.new.fail("copy_from", *[Throttled("503")] * 100_000)
    outcome = run(1)
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.THROTTLED)
    assert not run.old.count("read")


def test_an_object_that_is_replaced_meanwhile_is_described_again() -> None:
    run = Run()
    run.new.fail("copy_from", ObjectChanged("412"), ObjectChanged("412"))
    outcome = run(1)
    assert (outcome.state, outcome.attempts) == (EntryState.DONE, 3)
    assert (run.old.count("head"), run.old.count("read")) == (3, 0)


def test_a_store_that_always_takes_it_for_changed_is_done_without() -> None:
    run = Run()
    run.new.fail("copy_from", *[ObjectChanged("412")] * 3)
    assert run(1).state is EntryState.DONE
    assert run.requests(2) == ORDINARY


REFUSALS = [
    ObjectDenied("403"),
    ObjectRejected("501"),
    ObjectMissing("404"),
    StoreUnusable("the bucket lies in another region"),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_is_refused_goes_the_ordinary_way_and_the_others_at_once(
    refusal: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(acl=AclMode.NONE)
    run.new.fail("copy_from", *[refusal] * 5)
    with caplog.at_level(logging.INFO):
        assert run.requests(1) == ["head", "read", "copy_from", "write"]
        assert run.requests(2) == run.requests(3) == ORDINARY
    (line,) = caplog.messages
    assert GONE_WITHOUT in line
    assert str(refusal) in line
    assert {stored.data for stored in run.new.objects.values()} == {b"1", b"2", b"3"}


def test_a_refusal_is_not_laid_to_the_acl() -> None:
    run = Run()
    run.new.fail("copy_from", ObjectRejected("501"), ObjectRejected("501"))  # the second one without ACL
    assert run.requests(1) == ["head", "read", "copy_from", "copy_from", "write"]
    run(2, private=True)
    assert [stored.acl for stored in run.new.objects.values()] == ["public-read", "private"]
    assert run.transfer.finding is None


def test_where_the_ordinary_way_fails_too_the_store_is_asked_again_but_not_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run(acl=AclMode.NONE)
    run.new.fail("copy_from", *[ObjectDenied("403")] * 9)
    run.old.fail("read", *[ObjectDenied("403")] * 4)
    assert [run(number).reason for number in (1, 2, 3, 4)] == [Reason.DENIED] * 4
    assert run.new.count("copy_from") == 3
    assert run.requests(5) == ORDINARY
    assert [GONE_WITHOUT in line for line in caplog.messages].count(True) == 1


def test_a_store_that_keeps_failing_to_copy_is_done_without_after_a_while() -> None:
    run = Run()
    run.new.fail("copy_from", *[ServerFailure("500")] * 9)  # as often as three objects are tried
    assert [run(number).state for number in (1, 2, 3)] == [EntryState.DONE] * 3
    assert run.new.count("copy_from") == 9
    assert run.requests(4) == ORDINARY


@pytest.mark.parametrize("told", [True, False])
def test_what_is_too_large_to_be_copied_goes_the_ordinary_way_and_nothing_else(
    told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run()
    if told:
        run.new.fail("copy_from", *[ObjectTooLarge("400 EntityTooLarge")])
    else:
        monkeypatch.setattr("mastosync.copying.server_side.LARGEST_COPY", 3)
        run.old.put(key_of(1), b"four")
    assert run(1).state is EntryState.DONE
    assert run.new.count("write") == 1
    assert run.requests(2) == WITHIN


class TestWhatIsHeldAgainstTheSource:
    def test_sizes_where_the_source_has_no_md5(self) -> None:
        run = Run()
        run.old.put(key_of(1), b"in parts", etag="0123-2")
        outcome = run(1)
        assert (outcome.state, outcome.size, outcome.md5) == (EntryState.DONE, 8, md5(b"in parts").digest())
        assert run.requests(2) == WITHIN
        assert run.new.calls[:2] == [("copy_from", key_of(1)), ("head", key_of(1))]

    def test_another_etag_where_the_copy_has_no_md5(self) -> None:
        class InParts(MemoryStore):
            def copy_from(self, *arguments: object) -> str:
                super().copy_from(*arguments)  # type: ignore[arg-type]
                copy = self.objects[key_of(1)]
                copy.etag, copy.etag_is_md5 = "0123-2", False
                return copy.etag

        outcome = Run(InParts("new"))(1)
        assert (outcome.state, outcome.md5, outcome.etag) == (EntryState.DONE, md5(b"1").digest(), "0123-2")

    @pytest.mark.parametrize(
        ("etag", "spoilt"), [(None, b"x"), (None, b"longer than it was"), ("0123-2", b"longer than it was")]
    )
    def test_a_copy_that_differs_is_never_done(self, etag: str | None, spoilt: bytes) -> None:
        class Spoiling(MemoryStore):
            def copy_from(
                self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
            ) -> str:
                super().copy_from(source_bucket, source_key, info, key, options)
                self.put(key, spoilt, options.headers)
                return self.objects[key].etag

        run = Run(Spoiling("new"))
        run.old.put(key_of(1), b"1", etag=etag)
        outcome = run(1)
        assert (outcome.state, outcome.md5) == (EntryState.DONE, md5(b"1").digest())
        assert run.new.objects[key_of(1)].data == b"1"
        assert (run.new.count("copy_from"), run.new.count("write")) == (3, 1)


class TestPrivacy:
    def test_rows_keep_their_acl(self) -> None:
        run = Run()
        run(1)
        run(2, private=True)
        assert [stored.acl for stored in run.new.objects.values()] == ["public-read", "private"]
        assert not run.old.count("read")

    def test_without_acls_private_objects_stay_behind_unasked(self) -> None:
        run = Run(acl=AclMode.NONE)
        outcome = run(1, private=True)
        assert (outcome.state, outcome.reason) == (EntryState.SKIPPED, Reason.PRIVATE)
        assert not run.old.calls + run.new.calls

    def test_that_there_are_no_acls_is_found_out_by_a_copy_as_well(self) -> None:
        run = Run()
        run.new.refused = dict.fromkeys(("public-read", "private"), AclUnsupported("AccessControlListNotSupported"))
        assert run.requests(1) == ["head", "copy_from", "copy_from"]
        assert run.requests(2) == WITHIN
        assert run(3, private=True).reason is Reason.PRIVATE
        assert {stored.acl for stored in run.new.objects.values()} == {None}

    def test_a_private_object_whose_acl_is_refused_is_not_copied_without(self) -> None:
        run = Run()
        run.new.refused = dict.fromkeys(("public-read", "private"), ObjectDenied("403"))
        assert run(1, private=True).reason is Reason.PRIVATE
        assert not run.new.objects

    def test_a_demanded_acl_that_the_store_refuses_stops_the_run(self) -> None:
        run = Run(acl=AclMode.PUBLIC_READ)
        run.new.refused = {"public-read": AclUnsupported("AccessControlListNotSupported")}
        with pytest.raises(StoreUnusable, match="AccessControlListNotSupported"):
            run(1)


def test_what_a_dead_run_left_is_looked_for_before() -> None:
    run = Run()
    run.new.put(key_of(1), b"1")
    assert run.transfer(claim(entry(), left_behind=True)).state is EntryState.DONE
    assert run.new.calls == [("abort_unfinished", key_of(1)), ("head", key_of(1)), ("digest", key_of(1))]


def test_workers_learn_together(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(acl=AclMode.NONE)
    run.new.fail("copy_from", *[ObjectRejected("501")] * 100)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(run, range(1, 20)))
    assert {outcome.state for outcome in outcomes} == {EntryState.DONE}
    assert [GONE_WITHOUT in line for line in caplog.messages].count(True) == 1
