"""What `ObjectStore` promises of odd keys and of listings."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from mastosync.errors import ObjectMissing, ObjectRejected
from mastosync.store.base import Page
from mastosync.store.s3.curl_store import CurlStore
from tests.support.object_stores import (
    BREAK_A_PAGE_OF_MOTO,
    MANGLED_ON_SEAWEED,
    NOT_ON_SEAWEED,
    ODD_KEYS,
    PLAIN,
    Room,
    listed,
    room_name,
    skip_what_moto_has_not,
    ways_to,
)


class TestKeys:
    @pytest.mark.parametrize("odd", ODD_KEYS, ids=lambda odd: ascii(odd)[:40])
    def test_a_key_is_taken_as_it_is(self, room: Room, odd: str) -> None:
        skip_what_moto_has_not(room, odd)
        if room.server == "seaweed" and odd in MANGLED_ON_SEAWEED:
            pytest.skip(f"SeaweedFS: {MANGLED_ON_SEAWEED[odd]}")
        if room.server == "seaweed" and odd in NOT_ON_SEAWEED:
            with pytest.raises(ObjectRejected):
                room.put(odd, b"data")
            return
        data = odd.encode()
        room.put(odd, data)
        assert room.data(odd) == data
        info = room.store.head(odd)
        assert room.store.read_range(odd, info, 0, 1) == data[:1]
        room.delete(odd)
        with pytest.raises(ObjectMissing):
            room.store.read(odd, 1)

    @pytest.mark.parametrize("odd", ODD_KEYS, ids=lambda odd: ascii(odd)[:40])
    def test_a_key_is_copied_from_and_to_as_it_is(self, room: Room, odd: str, key: str) -> None:
        if room.server == "folder":
            pytest.skip("a disk copies nothing by itself")
        skip_what_moto_has_not(room, odd)
        if room.server == "seaweed" and odd in MANGLED_ON_SEAWEED | NOT_ON_SEAWEED:
            pytest.skip(f"SeaweedFS: {(MANGLED_ON_SEAWEED | NOT_ON_SEAWEED)[odd]}")
        room.put(odd, odd.encode())
        info = room.store.head(odd)
        room.store.copy_from(room.bucket, odd, info, key, PLAIN)
        room.delete(odd)
        room.store.copy_from(room.bucket, key, info, odd, PLAIN)
        assert room.data(key) == room.data(odd) == odd.encode()
        room.delete(odd)

    @pytest.mark.parametrize("odd", ["a b+c%d?e#f&g=h", "äöü 🐘/日本", "a<b>\"c'd"])
    def test_uploads_in_parts_take_odd_keys_too(self, room: Room, odd: str) -> None:
        room.store.start_multipart(odd, PLAIN)
        assert room.store.abort_unfinished(odd) == 1
        upload = room.store.start_multipart(odd, PLAIN)
        room.store.complete_multipart(odd, upload, room.put_parts(odd, upload, b"data"))
        assert room.data(odd) == b"data"

    def test_keys_that_look_alike_are_different_objects(self, room: Room, key: str) -> None:
        alike = ["a b", "a+b", "a%20b", "a%2520b", "a%2Bb", "é", "e\u0301", "A b", "a b ", " a b", "a?b", "a%3Fb"]
        for name in alike:
            room.put(f"{key}/{name}", name.encode())
        assert [room.data(f"{key}/{name}") for name in alike] == [name.encode() for name in alike]


class TestListings:
    def test_a_listing_tells_key_size_and_etag(self, room: Room, key: str) -> None:
        etag = room.put(key, b"data")
        (found,) = listed(room.store, key)
        assert (found.key, found.size, found.etag) == (key, 4, etag)
        if room.server != "memory":
            assert abs((datetime.now(UTC) - datetime.fromisoformat(found.modified)).total_seconds()) < 600

    def test_what_is_not_there_is_an_empty_page(self, room: Room, key: str) -> None:
        assert room.store.list_page(key, "") == Page([], is_last=True)

    @pytest.mark.parametrize(
        "room", ["memory", "folder", ("seaweed", CurlStore), ("moto", CurlStore)], indirect=True, ids=room_name
    )
    def test_pages_follow_each_other_without_gap_or_overlap(self, room: Room, key: str) -> None:
        """More than one page of them, in the order of their bytes, from anywhere on."""
        names = [f"{key}/{number:04}/original/{number}.png" for number in range(1003)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda name: room.put(name, b"x"), names))
        for store in ways_to(room):
            first = store.list_page(f"{key}/", "")
            assert (len(first.objects), first.is_last) == (1000, False)
            assert [found.key for found in listed(store, f"{key}/")] == names
            assert [found.key for found in listed(store, f"{key}/", names[500])] == names[501:]
            between = f"{key}/0500/original/~"  # where nothing lies
            assert [found.key for found in listed(store, f"{key}/", between)] == names[501:]
            assert store.list_page(f"{key}/", names[-1]) == Page([], is_last=True)

    @pytest.mark.parametrize("odd", ODD_KEYS, ids=lambda odd: ascii(odd)[:40])
    def test_a_listing_spells_a_key_as_it_is(self, room: Room, odd: str) -> None:
        skip_what_moto_has_not(room, odd)
        if room.server == "seaweed" and odd in MANGLED_ON_SEAWEED | NOT_ON_SEAWEED:
            pytest.skip(f"SeaweedFS: {(MANGLED_ON_SEAWEED | NOT_ON_SEAWEED)[odd]}")
        folder = uuid.uuid4().hex[:8]
        name = f"{folder}/{odd}"
        if room.server == "seaweed" and ("//" in name or "\\" in name):
            pytest.skip("SeaweedFS: in a listing two slashes are one, and one that leans back is another")
        room.put(name, b"data")
        assert [found.key for found in listed(room.store, f"{folder}/")] == [name]
        if room.server == "moto" and odd in BREAK_A_PAGE_OF_MOTO:
            return
        assert room.store.list_page(f"{folder}/", name).objects == []
