"""What `ObjectStore` promises of uploads in parts, and of ranges."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from mastosync.errors import CorruptObject, ObjectChanged, ObjectMissing
from mastosync.store.base import UploadedPart
from tests.support.object_stores import (
    MIB,
    PART_BYTES,
    PLAIN,
    Room,
    bytes_of,
    md5_of,
)


class TestParts:
    def test_parts_become_one_object_in_the_order_of_their_numbers(self, room: Room, key: str) -> None:
        data = [bytes_of(PART_BYTES), bytes_of(PART_BYTES + 1), b"the rest"]
        upload = room.store.start_multipart(key, PLAIN)

        def send(number: int) -> UploadedPart:
            return room.store.write_part(key, upload, number, data[number - 1], md5_of(data[number - 1]))

        with ThreadPoolExecutor(3) as pool:
            parts = list(pool.map(send, [3, 1, 2]))
        etag = room.store.complete_multipart(key, upload, sorted(parts, key=lambda part: part.number))
        fetched = room.store.read(key, 64 * MIB)
        assert fetched.data == b"".join(data)
        assert fetched.info.etag == etag
        assert fetched.info.md5 is None

    def test_nothing_is_visible_before_the_upload_is_complete(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        parts = room.put_parts(key, upload, b"data")
        with pytest.raises(ObjectMissing):
            room.store.head(key)
        room.store.complete_multipart(key, upload, parts)
        assert room.data(key) == b"data"

    def test_an_upload_leaves_the_old_object_alone_until_it_is_complete(self, room: Room, key: str) -> None:
        room.put(key, b"old")
        upload = room.store.start_multipart(key, PLAIN)
        parts = room.put_parts(key, upload, b"new")
        assert room.data(key) == b"old"
        room.store.complete_multipart(key, upload, parts)
        assert room.data(key) == b"new"

    def test_a_repeated_part_replaces_the_first(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        room.put_parts(key, upload, b"first try")
        parts = room.put_parts(key, upload, b"second try")
        room.store.complete_multipart(key, upload, parts)
        assert room.data(key) == b"second try"

    def test_a_part_that_does_not_fit_its_md5_is_refused(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        with pytest.raises(CorruptObject, match=key):
            room.store.write_part(key, upload, 1, b"data", md5_of(b"date"))
        room.store.abort_multipart(key, upload)

    @pytest.mark.parametrize("number", [1, 2])
    def test_completing_with_a_part_that_is_not_there_asks_for_a_new_start(
        self, room: Room, key: str, number: int
    ) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        room.put_parts(key, upload, b"data")
        lost = UploadedPart(number, md5_of(b"lost").hex(), md5_of(b"lost"))
        with pytest.raises(ObjectChanged, match=key):
            room.store.complete_multipart(key, upload, [lost])
        room.store.abort_multipart(key, upload)

    def test_an_aborted_upload_leaves_nothing(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        room.put_parts(key, upload, b"data")
        room.store.abort_multipart(key, upload)
        with pytest.raises(ObjectMissing):
            room.store.head(key)
        assert room.store.abort_unfinished(key) == 0

    def test_aborting_twice_is_no_error(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        room.store.abort_multipart(key, upload)
        room.store.abort_multipart(key, upload)

    def test_an_aborted_upload_cannot_go_on(self, room: Room, key: str) -> None:
        if room.server == "moto":
            pytest.skip("moto fails with 500 on uploads that it does not know")
        upload = room.store.start_multipart(key, PLAIN)
        parts = room.put_parts(key, upload, b"data")
        room.store.abort_multipart(key, upload)
        with pytest.raises(ObjectChanged):
            room.put_parts(key, upload, b"data")
        with pytest.raises(ObjectChanged):
            room.store.complete_multipart(key, upload, parts)

    def test_a_completed_upload_cannot_go_on_and_leaves_its_object_alone(self, room: Room, key: str) -> None:
        if room.server == "moto":
            pytest.skip("moto fails with 500 on uploads that it does not know")
        upload = room.store.start_multipart(key, PLAIN)
        parts = room.put_parts(key, upload, b"data")
        room.store.complete_multipart(key, upload, parts)
        with pytest.raises(ObjectChanged):
            room.put_parts(key, upload, b"more")
        room.store.abort_multipart(key, upload)
        assert room.data(key) == b"data"

    def test_unfinished_uploads_of_this_very_key_are_thrown_away(self, room: Room, key: str) -> None:
        below = [] if room.server == "folder" else [f"{key}/3"]  # there a name is a file or a folder
        neighbours = [f"{key}2", *below, key[:-1], f"{key} 4"]
        others = {other: room.store.start_multipart(other, PLAIN) for other in neighbours}
        for _ in range(3):
            room.put_parts(key, room.store.start_multipart(key, PLAIN), b"data")
        room.put(key, b"object")
        assert room.store.abort_unfinished(key) == 3
        assert room.store.abort_unfinished(key) == 0
        assert room.data(key) == b"object"
        for other, upload in others.items():
            room.store.complete_multipart(other, upload, room.put_parts(other, upload, b"other"))
            assert room.data(other) == b"other"


class TestRanges:
    def test_ranges_make_up_the_object(self, room: Room, key: str) -> None:
        data = bytes_of(100_000)
        room.put(key, data)
        info = room.store.head(key)
        starts = range(0, 100_000, 33_000)
        pieces = [room.store.read_range(key, info, start, min(33_000, 100_000 - start)) for start in starts]
        assert [len(piece) for piece in pieces] == [33_000, 33_000, 33_000, 1_000]
        assert b"".join(pieces) == data

    @pytest.mark.parametrize(("start", "length"), [(0, 1), (99, 1), (0, 100), (50, 10)])
    def test_any_range_is_exact(self, room: Room, key: str, start: int, length: int) -> None:
        data = bytes_of(100)
        room.put(key, data)
        assert room.store.read_range(key, room.store.head(key), start, length) == data[start : start + length]

    def test_ranges_of_an_object_that_was_stored_in_parts(self, room: Room, key: str) -> None:
        data = bytes_of(PART_BYTES)
        upload = room.store.start_multipart(key, PLAIN)
        room.store.complete_multipart(key, upload, room.put_parts(key, upload, data, b"the rest"))
        info = room.store.head(key)
        assert room.store.read_range(key, info, PART_BYTES - 2, 5) == data[-2:] + b"the"

    @pytest.mark.parametrize("other", [b"other data", b"x", b"much longer than it was"])
    def test_a_range_of_a_replaced_object_is_not_read(self, room: Room, key: str, other: bytes) -> None:
        room.put(key, b"first data")
        info = room.store.head(key)
        room.put(key, other)
        with pytest.raises(ObjectChanged, match=key):
            room.store.read_range(key, info, 5, 5)

    def test_a_range_of_a_removed_object_is_missing(self, room: Room, key: str) -> None:
        room.put(key, b"data")
        info = room.store.head(key)
        room.delete(key)
        with pytest.raises(ObjectMissing, match=key):
            room.store.read_range(key, info, 1, 2)
