"""Copies of large objects by whole runs of workers, between two servers that misbehave.

Every test has a deadline: a run that waits for something that never comes is the fault that is looked for here.
"""

from __future__ import annotations

import base64
import gc
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import md5
from typing import cast

import pytest

from mastosync.copying.digests import DigestMode
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import Interrupted
from mastosync.model import Claim, EntryState, Outcome
from mastosync.runtime import transfer_loop
from mastosync.runtime.limiter import Bandwidth, EndpointLimiter
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.outages import Downtime
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.steps import Ended
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.store.s3.curl_multiplexer import CurlMultiplexer
from mastosync.store.s3.curl_store import CurlStore
from tests.support.entries import claim, entry
from tests.support.s3_clients import MADE_UP, at, opened
from tests.support.talking_server import Talk, TalkingServer
from tests.support.waiting import open_sockets, wait_until

pytestmark = [pytest.mark.timing, pytest.mark.timeout(120)]

SECONDS = 60.0  # after which a run hangs
KIB, MIB = 1024, 1024 * 1024
PATIENT = RetryPolicy(max_attempts=5, throttle_budget_seconds=30, first_wait_seconds=0.01, longest_wait_seconds=0.05)
OPTIONS = TransferOptions(whole_bytes=64 * KIB, multipart_threshold=4 * MIB, acl_taken=True)


def key_of(number: int) -> str:
    return f"accounts/avatars/000/000/{number:03}/original/a.png"


def bytes_of(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


class Bucket:
    """What a bucket does, over a server that a test may talk through first."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.puts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()  # as their MD5 was wrong
        self.gets: Counter[str] = Counter()
        self.with_md5: Counter[str] = Counter()
        self.under_way = self.most = 0  # large uploads
        self.faults: Callable[[Talk], bool] = lambda _: False  # whether the request was dealt with
        self.pieces: Callable[[Talk, bytes], None] = lambda talk, body: talk.send(body)

    def talk(self, talk: Talk) -> None:
        key = talk.head.split()[1].decode().split("/", 2)[2]
        if self.faults(talk):
            return
        if talk.method == "PUT":
            self._put(talk, key)
        else:
            self._get(talk, key)

    def _get(self, talk: Talk, key: str) -> None:
        with self.lock:
            self.gets[key] += talk.method == "GET"
        body = self.objects.get(key)
        if body is None:
            talk.answer(404, b"<Error><Code>NoSuchKey</Code></Error>" if talk.method == "GET" else b"")
            return
        etag = f'"{md5(body).hexdigest()}"'
        if talk.headers.get("if-match", etag) != etag:
            talk.answer(412)
            return
        talk.answer(200, headers=f"ETag: {etag}\r\n", length=len(body))
        if talk.method == "GET":
            self.pieces(talk, body)

    def _put(self, talk: Talk, key: str) -> None:
        is_large = talk.length > OPTIONS.whole_bytes
        with self.lock:
            self.puts[key] += 1
            self.with_md5[key] += "content-md5" in talk.headers
            self.under_way += is_large
            self.most = max(self.most, self.under_way)
        try:
            body = talk.receive()
        finally:
            with self.lock:
                self.under_way -= is_large
        if len(body) < talk.length:
            return
        digest = md5(body).digest()
        if talk.headers.get("content-md5", base64.b64encode(digest).decode()) != base64.b64encode(digest).decode():
            with self.lock:
                self.refused[key] += 1
            talk.answer(400, b"<Error><Code>BadDigest</Code></Error>")
            return
        self.objects[key] = body
        talk.answer(200, headers=f'ETag: "{digest.hex()}"\r\n')


class CountingLimiter(EndpointLimiter):
    """Counts what it lets through."""

    def __init__(self, stop: StopSignal, slots: Counter[str], name: str) -> None:
        super().__init__(stop)
        self._slots, self._name, self._counting = slots, name, threading.Lock()

    def reserve(self) -> float:
        wait = super().reserve()
        with self._counting:
            self._slots[self._name] += not wait
        return wait


@dataclass
class Site:
    """Two buckets, and runs that copy from one to the other."""

    old: Bucket
    new: Bucket
    servers: list[TalkingServer]
    source: CurlStore
    destination: CurlStore
    stop: StopSignal = field(default_factory=StopSignal)
    budget: MemoryBudget = field(default_factory=lambda: MemoryBudget(64 * MIB))
    bandwidth: Bandwidth | None = None
    policy: RetryPolicy = PATIENT
    private: bool = False
    slots: Counter[str] = field(default_factory=Counter)  # requests that were let through, by store

    def lay_down(self, sizes: dict[int, int]) -> None:
        for number, size in sizes.items():
            self.old.objects[key_of(number)] = bytes_of(number, size)

    def transfer(self, options: TransferOptions = OPTIONS) -> Transfer:
        return Transfer(self._session(self.source), self._session(self.destination), options, self.budget)

    def _session(self, store: CurlStore) -> StoreSession:
        limiter = CountingLimiter(self.stop, self.slots, store.name)
        limiter.has_answered = True
        bandwidth = self.bandwidth if store is self.destination else None
        return StoreSession(store, limiter, self.policy, self.stop, bandwidth, Downtime(limiter, self.stop, 0))

    def claim(self, number: int) -> Claim:
        return claim(entry(number, private=self.private))

    def copied(
        self,
        numbers: list[int],
        options: TransferOptions = OPTIONS,
        workers: int = 16,
        meanwhile: Callable[[list[Ended[Claim, Outcome]]], None] = lambda _: None,
    ) -> list[Ended[Claim, Outcome]]:
        """What becomes of these; fails if it takes too long. After a stop: of those that have begun."""
        deadline = time.monotonic() + SECONDS
        found: list[Ended[Claim, Outcome]] = []
        with (
            closing(self.transfer(options)) as transfer,
            WorkerPool(transfer.steps, workers, self.stop, CurlMultiplexer) as pool,
        ):
            pool.submit([self.claim(number) for number in numbers])
            left = len(numbers)
            while len(found) < left:
                if time.monotonic() > deadline:
                    self.stop.request()
                    raise AssertionError(f"{len(found)} of {left} came to an end")
                found += pool.ended(0.05)
                meanwhile(found)
                if self.stop.requested:
                    left -= len(pool.take_back())
        return found

    def assert_all_done(self, ended: list[Ended[Claim, Outcome]]) -> None:
        problems = [
            each.error or (each.outcome and each.outcome.detail)
            for each in ended
            if each.outcome is None or each.outcome.state is not EntryState.DONE
        ]
        assert not problems
        self.assert_nothing_wrong()
        assert self.new.objects == self.old.objects

    def assert_put_once(self) -> None:
        """But for the few that show whether the store looks at the bytes."""
        assert set((self.new.puts - self.new.refused).values()) == {1}
        assert len(self.new.refused) <= 1 + len(self.new.puts) // 16

    def assert_nothing_wrong(self) -> None:
        for key, body in self.new.objects.items():
            assert body == self.old.objects[key], f"{key} has other bytes"


@contextmanager
def served(*buckets: Bucket) -> Iterator[tuple[list[TalkingServer], list[CurlStore]]]:
    """Servers of these buckets, and a store of each. All connections are closed in the end."""
    before, config = open_sockets(), replace(MADE_UP, read_timeout_seconds=20)
    with ExitStack() as stack:
        servers = [stack.enter_context(TalkingServer(bucket.talk)) for bucket in buckets]
        stores = [
            cast("CurlStore", stack.enter_context(opened(at(server.endpoint_url, config), kind=CurlStore)))
            for server in servers
        ]
        yield servers, stores
    gc.collect()  # boto3's errors hold connections that were broken off, in circles
    wait_until(lambda: open_sockets() <= before, "all connections are closed")


@pytest.fixture(params=[1, 3], ids=["one loop", "three loops"])
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("os.cpu_count", lambda: 2 * request.param)
    old, new = Bucket(), Bucket()
    with served(old, new) as (servers, (source, destination)):
        yield Site(old, new, servers, source, destination)


LARGE = {number: 200 * KIB + number * 5_000 for number in range(1, 41)}
SMALL = {number: 100 + number for number in range(101, 301)}


def test_large_and_small_objects_travel_at_once_each_by_one_request(site: Site) -> None:
    site.lay_down(LARGE | SMALL)
    site.assert_all_done(site.copied([*LARGE, *SMALL]))
    site.assert_put_once()
    assert site.new.most <= 16


@pytest.mark.parametrize("digest", list(DigestMode))
@pytest.mark.parametrize("earned_bytes", [MIB, 256 * MIB])
def test_what_earns_trust_keeps_nobody_waiting_and_nothing_is_sent_twice(
    site: Site, digest: DigestMode, earned_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All begin together: some are hashed, and the others wait with their outcome until that has earned trust."""
    monkeypatch.setattr("mastosync.copying.digests._EARNED_BYTES", earned_bytes)
    everyone = threading.Barrier(16)

    def together(talk: Talk) -> bool:
        if talk.method == "PUT" and site.new.puts.total() < 16:
            everyone.wait(SECONDS)
        return False

    site.new.faults = together
    sizes = dict.fromkeys(range(1, 25), 200 * KIB)
    site.lay_down(sizes)
    ended = site.copied(list(sizes), replace(OPTIONS, digest=digest))
    site.assert_all_done(ended)
    site.assert_put_once()
    believed = sum(each.outcome.believed for each in ended if each.outcome)
    assert believed > 10 if (digest, earned_bytes) == (DigestMode.PROOF, MIB) else not believed


def test_trust_that_is_lost_while_others_wait_for_it_has_them_sent_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The destination repeats what it is told."""
    monkeypatch.setattr("mastosync.copying.digests._EARNED_BYTES", MIB)

    def echoes(talk: Talk) -> bool:
        if talk.method != "PUT":
            return False
        key = talk.head.split()[1].decode().split("/", 2)[2]
        body = talk.receive()
        if len(body) == talk.length:
            told = talk.headers.get("content-md5")
            etag = base64.b64decode(told).hex() if told else "of-its-own"
            site.new.objects[key] = body
            talk.answer(200, headers=f'ETag: "{etag}"\r\n')
        return True

    site.new.faults = echoes
    sizes = dict.fromkeys(range(1, 25), 200 * KIB)
    site.lay_down(sizes)
    ended = site.copied(list(sizes))
    site.assert_all_done(ended)
    assert not any(each.outcome.believed for each in ended if each.outcome)


def test_with_little_memory_everything_still_comes_to_its_end(site: Site) -> None:
    site.budget = MemoryBudget(2 * MIB)
    site.lay_down(LARGE | SMALL)
    site.assert_all_done(site.copied([*LARGE, *SMALL]))
    assert site.budget.peak_bytes <= 2 * MIB


def test_large_objects_that_wait_their_turn_hold_no_memory_and_no_connection(site: Site) -> None:
    """Else small ones could not move, and the large ones wait for those."""
    go_on, some = threading.Event(), 20
    site.budget = MemoryBudget(some * MIB)

    def slow(talk: Talk) -> bool:
        if talk.method == "PUT" and talk.length > OPTIONS.whole_bytes:
            go_on.wait(SECONDS)
        return False

    def meanwhile(ended: list[Ended[Claim, Outcome]]) -> None:
        if len(ended) == len(SMALL):
            go_on.set()

    site.new.faults = slow
    site.lay_down(LARGE | SMALL)
    try:
        ended = site.copied([*LARGE, *SMALL], meanwhile=meanwhile)
    finally:
        go_on.set()
    site.assert_all_done(ended)
    assert {each.claim.entry.id for each in ended[: len(SMALL)]} == set(SMALL)
    assert site.servers[0].opened <= 2 * 16 + len(LARGE)


def test_what_waits_for_its_turn_is_not_claimed_by_a_source_that_closes_what_is_idle(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As web servers do: a body that waits for bandwidth is asked for again when it is due."""
    monkeypatch.setattr(transfer_loop, "_OPEN_SECONDS", 0.2)
    site.bandwidth = Bandwidth(lambda _: 2 * MIB, site.stop)

    def pieces(talk: Talk, body: bytes) -> None:
        talk.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * KIB)
        talk.connection.settimeout(0.6)
        try:
            talk.send(body)
            talk.connection.settimeout(None)
        except TimeoutError:
            talk.reset()

    site.old.pieces = pieces
    sizes = dict.fromkeys(range(1, 7), 3 * MIB)
    site.lay_down(sizes)
    ended = site.copied(list(sizes))
    site.assert_all_done(ended)
    assert {each.outcome.attempts for each in ended if each.outcome} == {1}


def test_a_throttled_destination_is_waited_for_though_bodies_grow_old(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_loop, "_OPEN_SECONDS", 0.2)
    refused = threading.Lock()

    def throttles(talk: Talk) -> bool:
        if talk.method == "PUT" and refused.acquire(blocking=False):
            talk.answer(503, b"<Error><Code>SlowDown</Code></Error>", "Retry-After: 2\r\nConnection: close\r\n")
            talk.receive()
            talk.hang_up()
            return True
        return False

    site.new.faults = throttles
    site.lay_down(LARGE)
    site.assert_all_done(site.copied([*LARGE]))


def test_the_source_is_asked_within_its_limits_though_writes_are_repeated(site: Site) -> None:
    """Each repeated write asks for its object anew."""

    def fails_once(talk: Talk) -> bool:
        with site.new.lock:
            is_first = talk.method == "PUT" and not site.new.puts[talk.head.split()[1].decode()]
            site.new.puts[talk.head.split()[1].decode()] += 1
        if is_first:
            talk.receive()
            talk.answer(500)
        return is_first

    site.new.faults = fails_once
    site.lay_down(LARGE)
    site.assert_all_done(site.copied([*LARGE]))
    assert site.old.gets.total() >= 2 * len(LARGE)
    assert site.slots[site.source.name] >= site.old.gets.total()


@pytest.mark.parametrize("seed", range(6))
def test_a_storm_is_survived(site: Site, seed: int) -> None:
    """Whatever servers do now and then, at any byte: everything arrives, whole, or fails with a word to it."""
    chance = random.Random(seed)

    def storm(bucket: Bucket) -> Callable[[Talk], bool]:
        def faults(talk: Talk) -> bool:
            with bucket.lock:
                what = chance.choice(["fine"] * 12 + ["reset", "cut", "500", "503", "hang up", "early", "slow"])
                after = chance.randrange(300_000)
            if what in ("500", "503", "early"):
                if what != "early":
                    talk.receive()
                talk.answer(503 if what == "503" else 500, b"", "Connection: close\r\n")
                talk.hang_up()
                return True
            if what in ("reset", "cut"):
                body = bucket.objects.get(talk.head.split()[1].decode().split("/", 2)[2], b"")
                if talk.method == "PUT":
                    talk.receive(after)
                elif body and talk.method == "GET":
                    etag = md5(body).hexdigest()
                    talk.answer(200, body[: after % len(body)], f'ETag: "{etag}"\r\n', len(body))
                talk.reset() if what == "reset" else talk.hang_up()
                return True
            if what == "hang up":
                talk.hang_up()
            if what == "slow":
                time.sleep(0.05)
            return False

        return faults

    site.policy = replace(PATIENT, max_attempts=30)
    site.old.faults, site.new.faults = storm(site.old), storm(site.new)
    site.budget = MemoryBudget((3 if seed % 2 else 40) * MIB)
    site.lay_down(LARGE | SMALL)
    site.assert_all_done(site.copied([*LARGE, *SMALL]))


@pytest.mark.parametrize("workers", [1, 2, 16])
@pytest.mark.parametrize("after", [1, 10, 60])
def test_a_wish_to_stop_ends_a_run_in_the_middle_and_the_next_one_completes_it(
    site: Site, after: int, workers: int
) -> None:
    """Though neither end would ever go on. What was under way has no outcome, so that its claim stays."""
    over = threading.Event()
    requests: list[str] = []

    def stuck(talk: Talk) -> bool:
        if talk.method == "PUT" and talk.length > OPTIONS.whole_bytes and not over.is_set():
            requests.append(talk.key)
            talk.receive(100 * KIB)
            over.wait(SECONDS)
            talk.hang_up()
            return True
        return False

    site.new.faults = stuck
    site.lay_down(LARGE | SMALL)
    stopped: list[float] = []

    def meanwhile(ended: list[Ended[Claim, Outcome]]) -> None:
        if not stopped and (len(ended) >= after or (workers < 3 and requests)):
            stopped.append(time.monotonic())
            site.stop.request()

    numbers = [*SMALL, *LARGE] if after > 1 else [*LARGE, *SMALL]
    try:
        ended = site.copied(numbers, workers=workers, meanwhile=meanwhile)
        assert time.monotonic() - stopped[0] < 1.5  # before any of the servers was found to be silent
    finally:
        over.set()
    assert all(isinstance(each.error, Interrupted) for each in ended if each.outcome is None)
    assert all(each.outcome.state is EntryState.DONE for each in ended if each.outcome)
    site.assert_nothing_wrong()
    site.stop = StopSignal()
    site.assert_all_done(site.copied(numbers))


def test_a_wish_to_stop_ends_attempts_that_are_repeated(site: Site) -> None:
    over = threading.Event()
    tries: Counter[str] = Counter()

    def stuck(talk: Talk) -> bool:
        if talk.method != "PUT":
            return False
        with site.new.lock:
            tries[talk.head.split()[1].decode()] += 1
        if min(tries.values()) < 2:
            talk.receive()
            talk.answer(500)
            return True
        talk.receive(100 * KIB)
        over.wait(SECONDS)
        talk.hang_up()
        return True

    site.new.faults = stuck
    sizes = {number: 4 * MIB - number for number in range(1, 4)}
    site.lay_down(sizes)
    stopped: list[float] = []

    def meanwhile(_: list[Ended[Claim, Outcome]]) -> None:
        if not stopped and len(tries) == 3 and min(tries.values()) > 1:
            stopped.append(time.monotonic())
            site.stop.request()

    try:
        ended = site.copied(list(sizes), meanwhile=meanwhile)
        assert time.monotonic() - stopped[0] < 1.5
    finally:
        over.set()
    assert {type(each.error) for each in ended} == {Interrupted}


@pytest.mark.parametrize("private", [False, True])
def test_acls_that_are_refused_are_found_out_though_many_bodies_are_under_way(site: Site, private: bool) -> None:
    def takes_none(talk: Talk) -> bool:
        if "x-amz-acl" not in talk.headers or talk.method not in ("PUT", "POST"):
            return False
        talk.answer(400, b"<Error><Code>AccessControlListNotSupported</Code></Error>", "Connection: close\r\n")
        talk.receive()
        talk.hang_up()
        return True

    site.new.faults, site.private = takes_none, private
    site.lay_down(LARGE)
    ended = site.copied([*LARGE], replace(OPTIONS, acl_taken=None))
    if private:
        assert {each.outcome.state for each in ended if each.outcome} == {EntryState.SKIPPED}
        assert not site.new.objects
    else:
        site.assert_all_done(ended)


def test_objects_that_are_replaced_all_the_time_arrive_whole_or_fail(site: Site) -> None:
    """What is stored is what the source had at one moment."""
    versions: dict[str, set[bytes]] = {}
    chance = random.Random(1)

    def restless(talk: Talk) -> bool:
        key = talk.head.split()[1].decode().split("/", 2)[2]
        with site.old.lock:
            if chance.random() < 0.4:
                body = site.old.objects[key]
                site.old.objects[key] = chance.randbytes(len(body))
            versions.setdefault(key, set()).add(site.old.objects[key])
        return False

    def fails(talk: Talk) -> bool:
        with site.new.lock:
            is_failing = chance.random() < 0.4
        if is_failing:
            talk.receive()
            talk.answer(500)
        return is_failing

    site.old.faults, site.new.faults = restless, fails
    site.policy = replace(PATIENT, max_attempts=30)
    site.lay_down(LARGE)
    ended = site.copied([*LARGE])
    assert {each.outcome.state for each in ended if each.outcome} >= {EntryState.DONE}
    for each in ended:
        assert each.outcome is not None
        key = key_of(each.claim.entry.id)
        if each.outcome.state is EntryState.DONE:
            assert md5(site.new.objects[key]).digest() == each.outcome.md5
        if key in site.new.objects:
            assert site.new.objects[key] in versions[key]
