"""Parts that are streamed, at destinations that prove nothing by their ETags, and sources whose ETags are odd."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import md5

import pytest

from mastosync.copying.kept_uploads import KeptUpload
from mastosync.copying.large_objects import LargeObject, LargeObjects, UploadDamaged
from mastosync.copying.streamed_parts import Cut, StreamedParts, source_part_size
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import ObjectDenied, ObjectRejected, ServerFailure
from mastosync.model import EntryState, ObjectHeaders, ObjectInfo, Outcome
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.steps import run_to_end
from mastosync.store.abilities import FirstPart
from mastosync.store.base import PutOptions, UploadedPart
from tests.support.entries import claim, entry
from tests.support.streaming_memory import StreamingMemory
from tests.support.transfers import store_session
from tests.unit.runtime.test_memory import is_whole

KEY = "accounts/avatars/000/000/001/original/a.png"
PART = 4
DATA = bytes(range(10))
IN_PARTS = md5(b"".join(md5(DATA[start : start + PART]).digest() for start in (0, 4, 8))).hexdigest() + "-3"


class Copying:
    def __init__(self) -> None:
        self.old, self.new = StreamingMemory("old"), StreamingMemory("new")
        self.memory = MemoryBudget(1 << 30)
        options = TransferOptions(multipart_threshold=PART, whole_bytes=PART, part_size=6, least_part_size=1)
        self.transfer = Transfer(store_session(self.old), store_session(self.new), options, self.memory)
        self.old.put(KEY, DATA, etag=IN_PARTS)

    def __call__(self) -> Outcome:
        return self.transfer(claim(entry()))

    def assert_arrived(self, outcome: Outcome, *, hashed: bool) -> None:
        assert (outcome.state, outcome.size, outcome.detail) == (EntryState.DONE, len(DATA), None)
        assert outcome.md5 == (md5(DATA).digest() if hashed else None)
        assert self.new.objects[KEY].data == DATA
        assert not self.new.unfinished()
        assert is_whole(self.memory)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mastosync.copying.large_objects.MIB", 1)
    monkeypatch.setattr("mastosync.checking.object_check._USUAL_SIZES", (3, 4, 5))


def test_parts_of_the_source_prove_an_object() -> None:
    copying = Copying()
    copying.assert_arrived(copying(), hashed=False)
    assert (copying.new.count("stream_part"), copying.new.count("write_part")) == (3, 0)


@pytest.mark.parametrize("in_parts", [True, False])
def test_where_parts_have_etags_that_are_no_md5s_they_are_held_in_memory_from_then_on(*, in_parts: bool) -> None:
    copying = Copying()
    if not in_parts:
        copying.old.put(KEY, DATA)
    copying.new.etag_is_md5 = False
    copying.assert_arrived(copying(), hashed=True)
    copying.assert_arrived(copying(), hashed=True)
    assert copying.new.count("stream_part") == 1


def test_where_parts_need_an_md5_they_are_held_in_memory_from_then_on() -> None:
    copying = Copying()
    copying.new.fail("stream_part", ObjectRejected("400 InvalidRequest: Content-MD5 is required"))
    copying.assert_arrived(copying(), hashed=True)
    copying.assert_arrived(copying(), hashed=True)
    assert copying.new.count("stream_part") == 1


def test_an_etag_that_is_not_of_these_parts_puts_nothing_together() -> None:
    """As of a source that encrypts with keys of its own, or if what it tells of its first part is not true."""
    copying = Copying()
    copying.old.put(KEY, DATA, etag="0" * 32 + "-3")
    copying.assert_arrived(copying(), hashed=True)
    assert copying.new.count("complete_multipart") == 1
    streamed = copying.new.count("stream_part")
    copying.assert_arrived(copying(), hashed=True)
    assert copying.old.count("first_part") == 1, "the others are not cut as the source was"
    assert copying.new.count("stream_part") == streamed + 2, "but streamed, and hashed"


def test_a_destination_that_echoes_parts_but_puts_something_else_together_is_found_out() -> None:
    copying = Copying()
    complete = copying.new.complete_multipart

    def otherwise(key: str, upload_id: str, parts: list[UploadedPart]) -> str:
        etag = complete(key, upload_id, parts)
        return etag if len(parts) == 2 else "0" * 32 + "-3"

    copying.new.complete_multipart = otherwise  # type: ignore[method-assign]
    copying.assert_arrived(copying(), hashed=True)
    assert copying.new.count("complete_multipart") == 2


def test_a_part_that_was_hashed_has_to_be_what_the_store_took_in() -> None:
    copying = Copying()
    copying.old.put(KEY, DATA)
    copying.new.part_etag = lambda data: md5(data + b"x").hexdigest()
    copying.assert_arrived(copying(), hashed=True)
    assert copying.new.count("complete_multipart") == 1


def size_told(first: FirstPart, etag: str = IN_PARTS, size: int = 10, *, least: int = 1, most: int = 10) -> int | None:
    store = StreamingMemory("old")
    store.first = first
    shared = LargeObjects(MemoryBudget(1), None, 1, most, least)  # type: ignore[arg-type]
    found: int | None = run_to_end(
        source_part_size(RetryingStore(store_session(store)), KEY, ObjectInfo(size, etag), shared)
    )
    return found


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (FirstPart(4, 3), 4),
        (FirstPart(4, None), 4),
        (FirstPart(4, 4), 4),  # it tells of something else: what uploaders use
        (FirstPart(3, 3), None),  # 4 parts
        (FirstPart(5, 3), None),  # 2 parts
        (FirstPart(10, None), 4),  # it does not know what it was asked: what uploaders use
    ],
)
def test_what_a_source_tells_has_to_make_as_many_parts(first: FirstPart, expected: int | None) -> None:
    assert size_told(first) == expected


def test_a_size_that_no_uploader_uses_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that reads the object back could not tell whether it is still the same."""
    monkeypatch.setattr("mastosync.checking.object_check._USUAL_SIZES", (3, 5))
    assert size_told(FirstPart(4, 3)) is None


def test_of_several_sizes_the_source_tells_which_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mastosync.checking.object_check._USUAL_SIZES", (7, 8))
    two = "0" * 32 + "-2"
    assert (size_told(FirstPart(7, 2), two), size_told(FirstPart(10, None), two)) == (7, None)


def test_the_limits_of_the_destination_hold() -> None:
    assert size_told(FirstPart(4, 3), least=4) == 4
    assert size_told(FirstPart(4, 3), least=5) is None
    assert size_told(FirstPart(4, 3), most=2) is None
    assert size_told(FirstPart(10, None), "0" * 32 + "-1", least=100) == 10
    assert size_told(FirstPart(4, 3), "0" * 32) is None
    assert size_told(FirstPart(4, 3), "0" * 32 + "-0") is None
    assert size_told(FirstPart(0, None), "0" * 32 + "-1", 0) is None
    six_gib = 6 << 30
    assert size_told(FirstPart(six_gib, None), "0" * 32 + "-1", six_gib) is None, "no part may be so large"


class TestUploadsThatCannotBeThrownAway:
    """Their ids are all that is known of them where a key may not list uploads, and their parts cost money."""

    OPTIONS = PutOptions(ObjectHeaders(), "public-read")

    def large(self, new: StreamingMemory, pool: ThreadPoolExecutor, etag: str = IN_PARTS) -> LargeObject:
        memory = MemoryBudget(1 << 30)
        source, destination = (RetryingStore(store_session(store)) for store in (StreamingMemory("old"), new))
        shared, info = LargeObjects(memory, pool, 16 << 20, 10_000), ObjectInfo(len(DATA), etag)
        large = LargeObject(source, KEY, info, destination, KEY, shared)
        large.streamed = StreamedParts(large, memory.reserve(), Cut(PART, proves=True))
        return large

    def test_that_of_a_dead_run_stays_noted_when_another_one_begins(self) -> None:
        new = StreamingMemory("new")
        with ThreadPoolExecutor(1) as pool:
            large = self.large(new, pool)
            before = KeptUpload.of(
                new.start_multipart(KEY, self.OPTIONS), ObjectInfo(len(DATA), "0" * 32 + "-3"), PART, self.OPTIONS
            )
            large.shared.uploads.begun(KEY, before)
            new.fail("abort_multipart", *[ServerFailure("500")] * 3)
            assert large.begin(self.OPTIONS) != before.upload_id
            assert large.left_open
            assert large.shared.uploads.of(KEY) == before

    def test_a_list_without_it_does_not_vouch_for_its_end(self) -> None:
        class Lists(StreamingMemory):
            def abort_unfinished(self, key: str) -> int:
                return 0

        new = Lists("new")
        with ThreadPoolExecutor(1) as pool:
            large = self.large(new, pool)
            upload = large.begin(self.OPTIONS)
            new.fail("abort_multipart", *[ServerFailure("500")] * 3)
            new.fail("complete_multipart", ObjectDenied("403"))
            new.fail("stream_part", ObjectDenied("403"))
            with pytest.raises(UploadDamaged):
                run_to_end(large.deliver(upload))
            assert large.left_open
            kept = large.shared.uploads.of(KEY)
            assert kept is not None
            assert kept.upload_id == upload
