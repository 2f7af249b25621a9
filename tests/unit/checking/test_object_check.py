"""ETags of uploads in parts: the bytes they were made of fit, and damaged ones do not."""

from __future__ import annotations

from hashlib import md5
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastosync.checking.object_check import (
    CheckResult,
    CheckStatus,
    CompositeCheck,
    DeepCheck,
    are_as_recorded,
    described,
)
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState, Origin, Record
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.steps import run_to_end
from mastosync.store.abilities import FirstPart
from tests.support.entries import entry
from tests.support.memory_store import MemoryStore
from tests.support.streaming_memory import StreamingMemory
from tests.support.transfers import store_session

MIB = 1024 * 1024


def etag_of(data: bytes, part_size: int) -> str:
    """As S3 makes it."""
    parts = [data[start : start + part_size] for start in range(0, len(data), part_size)] or [b""]
    return f"{md5(b''.join(md5(part).digest() for part in parts)).hexdigest()}-{len(parts)}"


def check(etag: str, data: bytes, piece: int) -> CompositeCheck:
    checked = CompositeCheck(etag, len(data))
    for start in range(0, len(data), piece):
        checked.update(data[start : start + piece])
    return checked


@pytest.mark.parametrize("part_size", [5 * MIB, 8 * MIB, 15 * MIB, 16 * MIB, 5_000_000])
@pytest.mark.parametrize("size", [21 * MIB + 7, 30 * MIB])
@pytest.mark.parametrize("piece", [16 * MIB, 3 * MIB + 1])
def test_bytes_fit_the_etag_of_usual_parts_and_a_damaged_byte_does_not(part_size: int, size: int, piece: int) -> None:
    data = bytearray(md5(b"seed").digest() * (size // 16 + 1))[:size]
    etag = etag_of(bytes(data), part_size)
    assert check(etag, bytes(data), piece).fits()
    data[size // 2] ^= 1
    assert not check(etag, bytes(data), piece).fits()


@given(st.binary(max_size=200), st.integers(1, 64))
def test_a_single_part_may_have_any_size(data: bytes, piece: int) -> None:
    assert check(etag_of(data, max(len(data), 1)), data, piece).fits()


def test_unusual_parts_do_not_fit_and_other_etags_tell_nothing() -> None:
    data = bytes(12 * MIB)
    assert not check(etag_of(data, 11 * MIB + 3), data, MIB).fits()
    assert CompositeCheck(etag_of(data, 11 * MIB), len(data)).applies
    for etag in ("", "d41d8cd98f00b204e9800998ecf8427e", "0123-2", "x" * 32 + "-2", "opaque"):
        assert not CompositeCheck(etag, 0).applies


def test_an_etag_in_capitals_is_the_same() -> None:
    data = bytes(6 * MIB)
    assert check(etag_of(data, 5 * MIB).upper(), data, MIB).fits()


@pytest.mark.parametrize("with_one_more", [True, False])
def test_what_is_listed_as_recorded_is_told_for_all_at_once_and_for_each(with_one_more: bool) -> None:
    digest = md5(b"seed").digest()
    recorded = [
        ((4, digest, None), (4, digest.hex()), True),
        ((4, digest, "parts-2"), (4, "parts-2"), True),
        ((4, digest, None), (4, digest.hex().upper()), True),  # as some stores write it
        ((4, digest, None), (5, digest.hex()), False),
        ((None, digest, None), (-1, ""), False),  # it is not listed
        ((4, None, None), (4, ""), False),
    ]
    chosen = recorded if with_one_more else recorded[:2]
    rows, listed, fine = zip(*chosen, strict=True)
    assert are_as_recorded(rows, listed) == list(fine)


class TestWithoutAnMd5:
    """An object that was proved by the ETags of its parts, or copied by the store itself."""

    DATA = bytes(range(10))
    ETAG = etag_of(DATA, 4)

    @pytest.fixture(autouse=True)
    def usual_sizes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mastosync.checking.object_check._USUAL_SIZES", (4, 9))

    @staticmethod
    def checked(store: MemoryStore, etag: str, origin: Origin = Origin.COPIED, *, deep: bool = False) -> CheckResult:
        of = entry()._replace(size=10)
        record = Record(of, None, EntryState.DONE, None, 1, None, etag, None, origin)
        if deep:
            return run_to_end(DeepCheck(store_session(store), MemoryBudget(1 << 30), "", 1).steps(record))
        return described(RetryingStore(store_session(store)), canonical_key(of, ""), record)

    def stored(self, data: bytes, etag: str | None = None) -> StreamingMemory:
        store = StreamingMemory("new")
        store.first = FirstPart(10, None)  # it does not tell
        store.put(canonical_key(entry(), ""), data, etag=etag)
        return store

    def test_under_its_etag_it_is_fine_unread(self) -> None:
        store = self.stored(self.DATA, self.ETAG)
        assert self.checked(store, self.ETAG) == CheckResult(ANY, CheckStatus.FINE)
        assert not store.count("read_range")

    @pytest.mark.parametrize("etag", [None, "f" * 32 + "-2"], ids=["whole", "other parts"])
    def test_under_another_etag_its_bytes_decide(self, etag: str | None) -> None:
        store = self.stored(self.DATA, etag)
        now = store.objects[canonical_key(entry(), "")].etag
        assert self.checked(store, self.ETAG) == CheckResult(ANY, CheckStatus.FINE, etag=now, size_bytes=10)
        assert self.checked(self.stored(self.DATA[::-1], etag), self.ETAG).verdict is CheckStatus.DIFFERENT

    @pytest.mark.parametrize("origin", [Origin.COPIED, Origin.ADOPTED])
    def test_what_its_bytes_do_not_decide_is_unproven(self, origin: Origin) -> None:
        """Parts of no usual size, as another uploader may have made them; or something that others have stored."""
        etag = etag_of(self.DATA, 2) if origin is Origin.COPIED else self.ETAG
        assert self.checked(self.stored(self.DATA[::-1]), etag, origin).verdict is CheckStatus.UNPROVEN

    def test_damage_on_the_disk_of_the_store_is_found_where_it_tells_its_parts(self) -> None:
        store = self.stored(self.DATA, self.ETAG)
        assert self.checked(store, self.ETAG, deep=True) == CheckResult(ANY, CheckStatus.FINE, size_bytes=10)
        store = self.stored(self.DATA[::-1], self.ETAG)
        assert self.checked(store, self.ETAG, deep=True).verdict is CheckStatus.UNPROVEN
        store.first = FirstPart(4, 3)
        assert self.checked(store, self.ETAG, deep=True).verdict is CheckStatus.DIFFERENT

    def test_a_store_that_cannot_ask_so_for_this_key_is_not_asked(self) -> None:
        """As libcurl would sign for another access key, or ask for another object."""
        store = self.stored(self.DATA, self.ETAG)
        store.can_stream = False
        assert self.checked(store, self.ETAG, deep=True) == CheckResult(ANY, CheckStatus.FINE, size_bytes=10)
        assert not store.count("first_part")

    def test_a_size_that_the_store_tells_need_not_be_usual(self) -> None:
        store = self.stored(self.DATA, etag_of(self.DATA, 2))
        store.first = FirstPart(2, 5)
        assert self.checked(store, etag_of(self.DATA, 2), deep=True).verdict is CheckStatus.FINE
