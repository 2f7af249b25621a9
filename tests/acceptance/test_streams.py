"""Large objects, copied by the command and broken off in mid-stream: nothing but whole objects is ever stored."""

from __future__ import annotations

import random
import signal
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from lab.buckets import BucketPair
from lab.fault_plan import Fault, FaultPlan, Request, drip
from lab.faults import FaultProxy
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.site import shown
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.timing, pytest.mark.timeout(240)]

MIB = 1024 * 1024
LARGE_OBJECTS = 6
LONG_SECONDS = 40.0  # for which an object trickles


class Relay(socketserver.ThreadingTCPServer):
    """Passes bytes on to a server as they come, and counts them."""

    daemon_threads = True

    def __init__(self, upstream_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Relayed)
        parts = urlsplit(upstream_url)
        self.upstream = (str(parts.hostname), int(parts.port or 80))
        self.sent = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that die are what the tests are about."""


class _Relayed(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        with socket.create_connection(self.server.upstream) as upstream:
            back = threading.Thread(target=self._pass_on, args=(upstream, self.request), daemon=True)
            back.start()
            self._pass_on(self.request, upstream)
            back.join()

    def _pass_on(self, here: socket.socket, there: socket.socket) -> None:
        try:
            while data := here.recv(65_536):
                there.sendall(data)
                self.server.sent += len(data) if here is self.request else 0
        except OSError:
            pass
        finally:
            for each in (here, there):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay_to(upstream_url: str) -> Iterator[tuple[Relay, str]]:
    """A relay and its address."""
    with Relay(upstream_url) as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield relay, f"http://127.0.0.1:{relay.server_address[1]}"
        finally:
            relay.shutdown()
            thread.join()


@pytest.fixture
def migration(buckets: BucketPair, new_migration: MigrationFactory) -> Migration:
    """A planned migration with some objects that are streamed, one of which was uploaded in parts."""
    migration = new_migration(buckets, own_source=True, missing=0, large_video_bytes=18 * MIB)
    pair = migration.buckets
    keys = [key for key in etags(pair, pair.source) if key.startswith("media_attachments")]
    for number, key in enumerate(keys[: LARGE_OBJECTS - 1]):
        body = random.Random(number).randbytes(17 * MIB + number)
        pair.client.put_object(Bucket=pair.source, Key=key, Body=body)
    return migration


def etags(pair: BucketPair, bucket: str) -> dict[str, tuple[str, int]]:
    pages = pair.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {each["Key"]: (each["ETag"], each["Size"]) for page in pages for each in page.get("Contents", [])}


def assert_nothing_wrong(pair: BucketPair) -> dict[str, tuple[str, int]]:
    """Every object at the destination has the bytes of the source's."""
    here, there = etags(pair, pair.source), etags(pair, pair.destination)
    for key, (etag, size) in there.items():
        assert size == here[key][1], f"{key} is not whole"
        if etag != here[key][0]:  # it was uploaded in parts
            one, other = (
                pair.client.get_object(Bucket=bucket, Key=key)["Body"].read()
                for bucket in (pair.source, pair.destination)
            )
            assert one == other, f"{key} has other bytes"
    return there


def trickling(large: Container[str], begun: Counter[str]) -> FaultPlan:
    """Reads of large objects take very long."""

    def plan(request: Request) -> Fault | None:
        if request.operation != "GetObject" or request.key not in large:
            return None
        begun[request.key] += 1
        return drip(LONG_SECONDS)

    return plan


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_copy_that_is_broken_off_in_mid_stream_stores_nothing_wrong_and_the_next_one_completes_it(
    migration: Migration, fault_proxy: Callable[..., FaultProxy], number: signal.Signals
) -> None:
    pair = migration.buckets
    source = fault_proxy(pair.address.endpoint_url)
    with relay_to(pair.address.endpoint_url) as (relay, endpoint_url):
        migration.through(source.endpoint_url, endpoint_url)
        migration.site.run("plan")
        for _ in range(2):
            break_off(migration, source, relay, number)
        source.plan = lambda _: None
        done = migration.site.run("copy", code=None)
        assert done.returncode == 0, shown(done)
        there = assert_nothing_wrong(pair)
        totals = migration.site.status()["totals"]
        assert (totals["pending"], totals["failed"], totals["done"]) == (0, 0, len(there))
        assert sum(size > 16 * MIB for _, size in there.values()) >= LARGE_OBJECTS - 1
        assert migration.site.run("verify", "--deep", code=None).returncode == 0


def break_off(migration: Migration, source: FaultProxy, relay: Relay, number: signal.Signals) -> None:
    """Begin a copy, and end it while large objects are on their way."""
    pair, begun = migration.buckets, Counter[str]()
    large = {key for key, (_, size) in etags(pair, pair.source).items() if size > 16 * MIB}
    source.plan = trickling(large, begun)
    before = relay.sent
    process = migration.site.start("copy", "--workers", "12")
    wait_until(lambda: len(begun) >= LARGE_OBJECTS - 1 and relay.sent > before + 8 * MIB, "objects are on their way")
    began = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert time.monotonic() - began < LONG_SECONDS / 4, "it has waited for what was under way"
    assert process.returncode == (-signal.SIGKILL if number is signal.SIGKILL else 130), told
    assert "Traceback" not in told
    assert_nothing_wrong(pair)
