"""What a store takes of memory while it reads: the object once, as the budget counts it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from tests.support.raw_server import RawServer, answer
from tests.support.s3_clients import STORES, StoreClass, at, md5_of, opened

pytestmark = pytest.mark.timing

MIB = 1 << 20
BODY = bytes(range(256)) * (12 * MIB // 256)  # libcurl hands over half a MiB at most at once


@pytest.fixture
def peak() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.usefixtures("peak")
def test_an_object_that_is_read_is_held_once(kind: StoreClass) -> None:
    told = answer(200, BODY, f'ETag: "{md5_of(BODY).hex()}"\r\n')
    with RawServer(lambda _: told, keep_alive=True) as server, opened(at(server.endpoint_url), kind=kind) as store:
        store.read("key", len(BODY))  # what is loaded and made for the first one
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        fetched = store.read("key", len(BODY))
        _, most = tracemalloc.get_traced_memory()
    assert fetched.data == BODY
    assert most - before < len(BODY) + 2 * MIB


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, 3 * MIB + 7])
def test_bytes_come_whole_in_however_many_pieces(kind: StoreClass, size: int) -> None:
    data = BODY[:size]
    told = answer(200, data, f'ETag: "{md5_of(data).hex()}"\r\n')
    with RawServer(lambda _: told) as server, opened(at(server.endpoint_url), kind=kind) as store:
        for _ in range(2):  # nothing of the first one is left
            assert store.read("key", 4 * MIB).data == data
