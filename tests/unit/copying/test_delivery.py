"""Large objects that are streamed from one store to the other, on stores in memory."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import replace
from hashlib import md5

import pytest

from mastosync.checking.object_check import composite_etag
from mastosync.copying.digests import DigestMode
from mastosync.copying.transfer import TransferOptions
from mastosync.errors import (
    AclUnsupported,
    CorruptObject,
    NetworkFailure,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ObjectTooLarge,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.model import End, EntryState, ObjectInfo, Outcome, Reason
from mastosync.store.abilities import StreamAnswer
from mastosync.store.base import DigestUse, PutOptions
from tests.support.entries import claim, entry
from tests.support.memory_store import MemoryStore
from tests.support.transfers import IMPATIENT, transfer

DATA = b"an object that is streamed"
SHORT = b"small"
STREAMS = TransferOptions(whole_bytes=10, multipart_threshold=100, part_size=8)


def key_of(number: int) -> str:
    return f"accounts/avatars/000/000/{number:03}/original/a.png"


KEY = key_of(1)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few bytes: the rounding to whole MiB has a test of its own."""
    monkeypatch.setattr("mastosync.copying.large_objects.MIB", 1)


@pytest.fixture
def old() -> MemoryStore:
    return streaming(MemoryStore("old"))


@pytest.fixture
def new() -> MemoryStore:
    return streaming(MemoryStore("new"))


def streaming(store: MemoryStore) -> MemoryStore:
    store.streaming = True
    return store


def copied(old: MemoryStore, new: MemoryStore, options: TransferOptions = STREAMS, *, private: bool = False) -> Outcome:
    """What becomes of the object under KEY, which is laid down unless it lies there.

    Of an object before, the destination has refused a wrong MD5.
    """
    if KEY not in old.objects:
        old.put(KEY, DATA)
    patient = replace(IMPATIENT, throttle_budget_seconds=60)  # on a busy machine too, a throttle costs no attempt
    with closing(transfer(old, new, options, policy=patient)) as copy:
        copy.trust.note(DigestUse.CONTRADICTED, 1, proved=True)
        return copy(claim(entry(private=private)))


def test_the_last_object_that_earns_trust_shows_whether_the_store_looks_at_the_bytes(
    old: MemoryStore, new: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have to be sent twice, and no other; what the store refuses is no attempt that has failed."""
    monkeypatch.setattr("mastosync.copying.digests._EARNED_OBJECTS", 2)
    with closing(transfer(old, new, STREAMS)) as copy:
        for number in range(1, 6):
            old.put(key_of(number), DATA)
            outcome = copy(claim(entry(number)))
            assert (outcome.state, outcome.attempts) == (EntryState.DONE, 1)
    trial = [DigestUse.CONTRADICTED, DigestUse.COMPUTED]
    assert new.digests == [DigestUse.COMPUTED, DigestUse.COMPUTED, *trial, DigestUse.CLAIMED, DigestUse.CLAIMED]


def test_what_lies_there_open_is_not_taken_for_the_object_whose_wrong_md5_was_refused(
    old: MemoryStore, new: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The private object is written before anybody asks who can read it."""
    monkeypatch.setattr("mastosync.copying.digests._EARNED_OBJECTS", 0)
    old.put(KEY, DATA)
    new.put(KEY, DATA)
    new.objects[KEY].acl = "public-read"
    with closing(transfer(old, new, STREAMS)) as copy:
        assert copy(claim(entry(private=True))).state is EntryState.DONE
    assert new.digests == [DigestUse.CONTRADICTED, DigestUse.COMPUTED]
    assert new.objects[KEY].acl == "private"


@pytest.mark.parametrize(
    "error", [ObjectRejected("400"), ObjectDenied("403"), NetworkFailure("reset"), ServerFailure("500")]
)
def test_a_store_that_takes_a_wrong_md5_amiss_is_never_believed(
    old: MemoryStore, error: ObjectError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two objects show it."""
    monkeypatch.setattr("mastosync.copying.digests._EARNED_OBJECTS", 1)

    class Touchy(MemoryStore):
        def _keep_stream(self, key: str, data: bytes, md5: bytes | None, options: PutOptions) -> StreamAnswer:
            if self.digests[-1] is DigestUse.CONTRADICTED:
                raise error
            return super()._keep_stream(key, data, md5, options)

    new = streaming(Touchy("new"))
    with closing(transfer(old, new, STREAMS)) as copy:
        for number in range(1, 6):
            old.put(key_of(number), DATA)
            assert copy(claim(entry(number))).state is EntryState.DONE
    assert Counter(new.digests) == {DigestUse.COMPUTED: 5, DigestUse.CONTRADICTED: 2}


def assert_done(outcome: Outcome, old: MemoryStore, new: MemoryStore) -> None:
    assert (outcome.state, outcome.detail) == (EntryState.DONE, None)
    assert new.objects[KEY].data == old.objects[KEY].data
    assert outcome.md5 == md5(old.objects[KEY].data).digest()


def test_a_large_object_takes_one_request_each_way(old: MemoryStore, new: MemoryStore) -> None:
    assert_done(copied(old, new), old, new)
    assert [method for method, _ in old.calls] == ["read", "streamed"]  # which are one, where a body can stay open
    assert [method for method, _ in new.calls] == ["write_stream"]


@pytest.mark.parametrize(
    ("size", "method"), [(10, "write"), (11, "write_stream"), (100, "write_stream"), (101, "complete_multipart")]
)
def test_sizes_decide_and_a_limit_is_part_of_what_it_limits(
    old: MemoryStore, new: MemoryStore, size: int, method: str
) -> None:
    old.put(KEY, b"x" * size)
    assert_done(copied(old, new), old, new)
    assert new.count(method) == 1
    assert new.count("write") + new.count("write_stream") + new.count("complete_multipart") == 1


def test_an_object_that_was_replaced_since_it_was_described_is_read_again(old: MemoryStore, new: MemoryStore) -> None:
    class Replaced(MemoryStore):
        def streamed(self, key: str, info: ObjectInfo) -> bytes:
            if not self.count("streamed"):
                self.put(KEY, DATA[::-1])
            return super().streamed(key, info)

    old = streaming(Replaced("old"))
    outcome = copied(old, new)
    assert_done(outcome, old, new)
    assert new.objects[KEY].data == DATA[::-1]
    assert outcome.attempts == 2


def test_an_object_that_is_replaced_again_and_again_fails(old: MemoryStore, new: MemoryStore) -> None:
    class Restless(MemoryStore):
        def streamed(self, key: str, info: ObjectInfo) -> bytes:
            self.put(KEY, DATA + b"%d" % self.count("streamed"))
            return super().streamed(key, info)

    outcome = copied(streaming(Restless("old")), new)
    assert (outcome.state, outcome.reason, outcome.end) == (EntryState.FAILED, Reason.CORRUPT, End.SOURCE)
    assert KEY not in new.objects


@pytest.mark.parametrize("error", [NetworkFailure("reset"), ServerFailure("502"), Throttled("503")])
def test_a_source_that_breaks_off_is_asked_again(old: MemoryStore, new: MemoryStore, error: ObjectError) -> None:
    old.fail("streamed", error, error)
    outcome = copied(old, new)
    assert_done(outcome, old, new)
    assert outcome.attempts == 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NetworkFailure("reset"), Reason.NETWORK),
        (ServerFailure("502"), Reason.SERVER),
        (ObjectDenied("403"), Reason.DENIED),
        (ObjectMissing("404"), Reason.MISSING),
    ],
)
def test_what_the_source_does_not_give_fails_and_names_the_source(
    old: MemoryStore, new: MemoryStore, error: ObjectError, reason: Reason
) -> None:
    old.fail("streamed", *[error] * 100)
    outcome = copied(old, new)
    assert (outcome.state, outcome.reason, outcome.end) == (EntryState.FAILED, reason, End.SOURCE)
    assert KEY not in new.objects
    assert old.count("streamed") == (3 if error.transient else 1)


@pytest.mark.parametrize(
    "error", [NetworkFailure("reset"), ServerFailure("500"), Throttled("503"), CorruptObject("400 IncompleteBody")]
)
def test_a_destination_that_fails_is_asked_again(old: MemoryStore, new: MemoryStore, error: ObjectError) -> None:
    new.fail("write_stream", error, error)
    assert_done(copied(old, new), old, new)
    assert new.count("write_stream") == 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ObjectRejected("400 InvalidArgument"), Reason.SERVER),
        (ObjectTooLarge("413"), Reason.TOO_LARGE),
        (ObjectDenied("403"), Reason.DENIED),
    ],
)
def test_what_the_destination_refuses_fails_as_it_would_whole(
    old: MemoryStore, new: MemoryStore, error: ObjectError, reason: Reason
) -> None:
    new.fail("write_stream", *[error] * 100)
    new.fail("start_multipart", *[error] * 100)
    outcome = copied(old, new)
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, reason)
    assert not new.objects


def test_a_refusal_of_one_object_changes_nothing_for_the_next(old: MemoryStore, new: MemoryStore) -> None:
    """Of which the ETag is no MD5: it is streamed for as long as the destination may prove it."""
    old.put(KEY, DATA)
    old.put(key_of(2), DATA, etag=composite_etag([md5(DATA).digest()]))
    new.refused["public-read"] = ObjectRejected("400 InvalidArgument")
    with closing(transfer(old, new, STREAMS)) as copy:
        assert copy(claim(entry(1))).state is EntryState.DONE  # without the ACL
        new.fail("write_stream", ObjectRejected("400"), ObjectRejected("400"), ObjectRejected("400"))
        assert copy(claim(entry(1))).reason is Reason.SERVER
        new.calls.clear()
        new._failures.clear()
        assert copy(claim(entry(2))).state is EntryState.DONE
    assert [method for method, _ in new.calls] == ["write_stream"]


def test_a_store_that_insists_on_an_md5_gets_one(old: MemoryStore, new: MemoryStore) -> None:
    class Insisting(MemoryStore):
        def _keep_stream(self, key: str, data: bytes, md5: bytes | None, options: PutOptions) -> StreamAnswer:
            if md5 is None:
                raise ObjectRejected("400 InvalidRequest: Content-MD5 is required")
            return super()._keep_stream(key, data, md5, options)

    new = streaming(Insisting("new"))
    assert_done(copied(old, new), old, new)
    old.put(KEY, DATA, etag=composite_etag([md5(DATA).digest()]))
    assert_done(copied(old, new), old, new)
    assert new.count("complete_multipart") == 1


@pytest.mark.parametrize("checks_md5", [True, False], ids=["refused", "stored"])
@pytest.mark.parametrize("digest", list(DigestMode))
def test_what_is_damaged_on_the_way_to_the_destination_is_sent_again(
    old: MemoryStore, new: MemoryStore, checks_md5: bool, digest: DigestMode
) -> None:
    new.checks_md5, new.damaged_streams = checks_md5, 1
    options = TransferOptions(whole_bytes=10, multipart_threshold=100, digest=digest)
    assert_done(copied(old, new, options), old, new)
    assert new.count("write_stream") == 2


@pytest.mark.parametrize("checks_md5", [True, False], ids=["refused", "stored"])
@pytest.mark.parametrize("uses", ["first", "believed", "always", "composite"])
def test_what_is_damaged_on_the_way_from_the_source_is_never_seen_under_a_name(
    new: MemoryStore, checks_md5: bool, uses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if uses == "believed":
        monkeypatch.setattr("mastosync.copying.digests._EARNED_OBJECTS", 1)
        monkeypatch.setattr("mastosync.copying.digests._SAMPLED", 1_000)
    seen: list[bytes] = []

    class Watched(MemoryStore):
        def _keep_stream(self, key: str, data: bytes, md5: bytes | None, options: PutOptions) -> StreamAnswer:
            answer = super()._keep_stream(key, data, md5, options)
            seen.append(self.objects[key].data)
            return answer

    class Line(MemoryStore):
        def streamed(self, key: str, info: ObjectInfo) -> bytes:
            self.damaged_reads = int(key == KEY and not self.count("streamed_once"))
            self.calls.append(("streamed_once", key)) if key == KEY else None
            return super().streamed(key, info)

    old, new = streaming(Line("old")), streaming(Watched("new"))
    new.checks_md5 = checks_md5
    old.put(KEY, DATA, etag=composite_etag([md5(DATA).digest()]) if uses == "composite" else None)
    old.put(key_of(2), DATA)
    digest = DigestMode.ALWAYS if uses == "always" else DigestMode.PROOF
    options = TransferOptions(whole_bytes=10, multipart_threshold=100, part_size=8, digest=digest)
    with closing(transfer(old, new, options)) as copy:
        if uses == "believed":
            assert copy(claim(entry(2))).state is EntryState.DONE
        assert_done(copy(claim(entry(1))), old, new)
    if not (uses == "believed" and not checks_md5):  # nobody looks at it then but the store, which says so afterwards
        assert set(seen) <= {DATA}


def test_what_is_damaged_at_the_source_for_good_fails_and_names_the_source(old: MemoryStore, new: MemoryStore) -> None:
    old.put(KEY, DATA)
    old.objects[KEY].data = DATA[::-1]
    outcome = copied(old, new)
    assert (outcome.state, outcome.reason, outcome.end) == (EntryState.FAILED, Reason.CORRUPT, End.SOURCE)
    assert "cannot read" in (outcome.detail or "")
    assert KEY not in new.objects
    assert new.count("write_stream") <= 3


def test_one_damaged_upload_is_no_reason_to_copy_again_what_was_believed(
    old: MemoryStore, new: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes were hashed here, and a wrong MD5 went along."""
    monkeypatch.setattr("mastosync.copying.digests._EARNED_OBJECTS", 1)
    monkeypatch.setattr("mastosync.copying.digests._SAMPLED", 4)
    new.checks_md5 = False
    with closing(transfer(old, new, STREAMS)) as copy:
        for number in range(1, 10):
            old.put(key_of(number), DATA)
            new.damaged_streams = int(number == 4)  # which is sampled
            outcome = copy(claim(entry(number)))
            assert outcome.state is EntryState.DONE
            assert new.objects[key_of(number)].data == DATA
        assert not copy.trust.disproved
        assert copy.trust.may_prove


def test_a_store_that_answers_with_no_md5_is_never_believed(old: MemoryStore, new: MemoryStore) -> None:
    new.etags = "other"
    new.checks_md5 = False
    with closing(transfer(old, new, STREAMS)) as copy:
        for number in range(1, 6):
            old.put(key_of(number), DATA)
            outcome = copy(claim(entry(number)))
            assert (outcome.state, outcome.believed) == (EntryState.DONE, False)
            assert new.objects[key_of(number)].data == DATA
    assert DigestUse.CLAIMED not in new.digests


@pytest.mark.parametrize("composite", [False, True])
def test_a_store_that_repeats_what_it_is_told_is_never_believed(
    old: MemoryStore, new: MemoryStore, composite: bool
) -> None:
    new.etags, new.checks_md5 = "echo", False
    new.damaged_streams = 0
    etag = composite_etag([md5(DATA).digest()]) if composite else None
    with closing(transfer(old, new, STREAMS)) as copy:
        for number in range(1, 6):
            old.put(key_of(number), DATA, etag=etag)
            outcome = copy(claim(entry(number)))
            assert (outcome.state, outcome.believed) == (EntryState.DONE, False)
            assert new.objects[key_of(number)].data == DATA
    assert DigestUse.CLAIMED not in new.digests


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("taken", [{"public-read", "private"}, {"private"}, set[str]()])
def test_acls_are_found_out_with_streams_as_with_others(
    old: MemoryStore, new: MemoryStore, private: bool, taken: set[str]
) -> None:
    for acl in {"public-read", "private"} - taken:
        new.refused[acl] = AclUnsupported(f"no ACL {acl}", only_this=bool(taken))
    outcome = copied(old, new, private=private)
    if private and not taken:
        assert (outcome.state, outcome.reason) == (EntryState.SKIPPED, Reason.PRIVATE)
        assert not new.objects
        return
    assert_done(outcome, old, new)
    assert new.objects[KEY].acl == ("private" if private else "public-read" if "public-read" in taken else None)


def test_what_cannot_be_streamed_travels_in_parts(old: MemoryStore, new: MemoryStore) -> None:
    new.streaming = False
    assert_done(copied(old, new), old, new)
    assert (new.count("write_stream"), new.count("complete_multipart")) == (0, 1)


def test_an_unusable_source_ends_the_run(old: MemoryStore, new: MemoryStore) -> None:
    old.fail("streamed", StoreUnusable("no such bucket"))
    with pytest.raises(StoreUnusable):
        copied(old, new)
