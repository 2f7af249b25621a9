"""Many requests in one thread, at servers that misbehave: each gets what is its own, and nothing waits for another."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pytest

from lab.buckets import BucketPair
from mastosync.errors import NetworkFailure, ObjectMissing, ServerFailure
from mastosync.model import ObjectInfo
from mastosync.store.base import FetchedObject
from mastosync.store.s3.curl_multiplexer import CurlMultiplexer
from mastosync.store.s3.curl_store import CurlStore
from tests.support.memory_store import MemoryStore
from tests.support.raw_server import RawRequest, RawServer, answer
from tests.support.s3_clients import DATA, MADE_UP, PLAIN, at, config_of, md5_of, opened
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.timing

ETAG = f'ETag: "{md5_of(DATA).hex()}"\r\n'


def always(_: int) -> bool:
    return True


def path(request: RawRequest) -> bytes:
    return request.head.split()[1].rpartition(b"/")[2]


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer(lambda _: answer(200, DATA, ETAG), keep_alive=True) as server:
        yield server


@pytest.fixture
def store(server: RawServer) -> Iterator[CurlStore]:
    with opened(at(server.endpoint_url), kind=CurlStore) as store:
        yield cast("CurlStore", store)


@pytest.fixture
def multiplexer() -> Iterator[CurlMultiplexer]:
    with closing(CurlMultiplexer(8)) as multiplexer:
        yield multiplexer


def results(multiplexer: CurlMultiplexer, count: int) -> dict[object, object]:
    """Results, or errors, of so many requests."""
    found: dict[object, object] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {found.keys()} came to an end"
        found |= {tag: error or result for tag, result, error in multiplexer.finished(0.05)}
    return found


def test_many_objects_travel_side_by_side_and_none_is_mixed_up(
    buckets: BucketPair, multiplexer: CurlMultiplexer
) -> None:
    data = {f"some/{number}/key.png": b"%d" % number * (1 + number * 997) for number in range(60)}
    with opened(config_of(buckets.address, buckets.source), kind=CurlStore) as store:
        for key, each in data.items():
            multiplexer.begin(key, store, "write", (key, each, md5_of(each), PLAIN), always)
        assert results(multiplexer, 60) == {key: md5_of(each).hex() for key, each in data.items()}
        for key in data:
            multiplexer.begin(key, store, "read", (key, 1 << 20), always)
        read = results(multiplexer, 60)
    assert {key: cast("FetchedObject", fetched).data for key, fetched in read.items()} == data


def test_what_ends_together_is_told_in_small_batches(
    server: RawServer, store: CurlStore, multiplexer: CurlMultiplexer
) -> None:
    """Else each would wait for all the others before what follows it is sent."""
    all_are_here = threading.Barrier(24)
    all_are_answered = threading.Event()

    def together(_: RawRequest) -> bytes:
        if all_are_here.wait(PATIENCE_SECONDS) == 0:
            all_are_answered.set()
        return answer(200, DATA, ETAG)

    server.answers = together
    for number in range(24):
        multiplexer.begin(number, store, "read", (f"key{number}", 1 << 20), always)
    batches: list[int] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sum(batches) < 24:
        assert time.monotonic() < deadline
        batches.append(len(multiplexer.finished(0.0)))
        if not batches[-1]:
            all_are_answered.wait(0.01)
    assert max(batches) <= 8


def test_each_request_has_its_own_error(server: RawServer, store: CurlStore, multiplexer: CurlMultiplexer) -> None:
    broken = threading.Event()

    def answers(request: RawRequest) -> bytes:
        if path(request) == b"missing":
            return answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if path(request) == b"broken":
            broken.set()
            return b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n" + ETAG.encode() + b"\r\nfew bytes"
        return answer(500) if path(request) == b"trouble" else answer(200, DATA, ETAG)

    server.answers = answers
    for key in ("good", "missing", "trouble", "fine"):
        multiplexer.begin(key, store, "read", (key, 1 << 20), always)
    found = results(multiplexer, 4)
    assert isinstance(found["missing"], ObjectMissing)
    assert isinstance(found["trouble"], ServerFailure)
    assert {key for key, result in found.items() if isinstance(result, FetchedObject)} == {"good", "fine"}
    multiplexer.begin("broken", store, "read", ("broken", 1 << 20), always)
    while not broken.is_set():
        assert not multiplexer.finished(0.01)
    server.cut_connections()
    assert isinstance(results(multiplexer, 1)["broken"], NetworkFailure)


def test_what_waits_for_room_takes_no_bytes_and_keeps_nobody_waiting(
    server: RawServer, store: CurlStore, multiplexer: CurlMultiplexer
) -> None:
    large = b"x" * 3_000_000
    server.answers = lambda request: (
        answer(200, large, f'ETag: "{md5_of(large).hex()}"\r\n')
        if path(request) == b"large"
        else answer(200, DATA, ETAG)
    )
    asked: list[int] = []
    there_is_room = False

    def room(size_bytes: int) -> bool:
        asked.append(size_bytes)
        return there_is_room

    multiplexer.begin("large", store, "read", ("large", 1 << 24), room)
    for number in range(5):
        multiplexer.begin(number, store, "read", (f"small{number}", 1 << 20), always)
    assert set(results(multiplexer, 5)) == set(range(5))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(asked) < 3 and time.monotonic() < deadline:
        assert not multiplexer.finished(0.01)
    assert set(asked) == {len(large)}
    there_is_room = True
    assert cast("FetchedObject", results(multiplexer, 1)["large"]).data == large


def test_no_room_is_asked_for_what_is_too_large_to_be_read(
    server: RawServer, store: CurlStore, multiplexer: CurlMultiplexer
) -> None:
    server.answers = lambda _: answer(200, b"x" * 2_000_000, 'ETag: "x-2"\r\n')
    multiplexer.begin("large", store, "read", ("large", 1_000_000), lambda _: False)
    fetched = results(multiplexer, 1)["large"]
    assert isinstance(fetched, FetchedObject)
    assert (fetched.info.size, fetched.data) == (2_000_000, None)


def test_connections_are_used_again_and_requests_are_never_sent_twice(
    server: RawServer, store: CurlStore, multiplexer: CurlMultiplexer
) -> None:
    for _ in range(20):
        for number in range(4):
            multiplexer.begin(number, store, "read", (f"{number}", 1 << 20), always)
        results(multiplexer, 4)
    assert len(server.requests) == 80
    assert server.connections <= 8

    def hang_up(_: RawRequest) -> bytes:
        server.cut_connections()
        return b""

    server.requests.clear()
    server.answers = hang_up
    multiplexer.begin("cut", store, "write", ("cut", DATA, md5_of(DATA), PLAIN), always)
    assert isinstance(results(multiplexer, 1)["cut"], NetworkFailure)
    assert len(server.requests) == 1


def test_what_libcurl_would_change_and_other_stores_are_left_to_the_caller(
    store: CurlStore, multiplexer: CurlMultiplexer
) -> None:
    info = ObjectInfo(1, "etag")
    assert not multiplexer.takes(store, "read", ("a/../b", 1))
    assert not multiplexer.takes(store, "copy_from", ("bucket", "key", info, "a/../b", PLAIN))
    assert multiplexer.takes(store, "copy_from", ("bucket", "a/../b", info, "key", PLAIN))
    assert not multiplexer.takes(MemoryStore(), "read", ("key", 1))
    assert multiplexer.finished(0.0) == []


def test_closing_breaks_off_what_is_under_way(server: RawServer, store: CurlStore) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def late(_: RawRequest) -> bytes:
        arrived.set()
        go_on.wait(PATIENCE_SECONDS)
        return answer(200, DATA, ETAG)

    server.answers = late
    multiplexer = CurlMultiplexer(1)
    try:
        multiplexer.begin("late", store, "read", ("late", 1 << 20), always)
        while not arrived.is_set():
            multiplexer.finished(0.01)
        multiplexer.close()
    finally:
        go_on.set()


def test_nobody_at_the_port_is_a_network_failure(multiplexer: CurlMultiplexer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with opened(at(f"http://127.0.0.1:{port}", MADE_UP), kind=CurlStore) as store:
        multiplexer.begin("key", store, "read", ("key", 1), always)
        assert isinstance(results(multiplexer, 1)["key"], NetworkFailure)
