"""Bytes a second: how it is written, and that it is kept."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mastosync.config.sections import BANDWIDTH
from mastosync.config.values import InvalidValue
from mastosync.errors import (
    CorruptObject,
    Interrupted,
    NetworkFailure,
    ObjectError,
    ServerFailure,
    Throttled,
)
from mastosync.model import ObjectHeaders
from mastosync.runtime.limiter import Bandwidth
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import PutOptions
from tests.support.clock import MONDAY, Clock
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session

pytestmark = pytest.mark.timing

KIB = 1024
MIB = 1024**2


def limit(text: str, moment: str) -> int | None:
    """What a timetable says at `Mon 08:00`."""
    day, _, clock = moment.partition(" ")
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun").index(day)
    hour, minute = map(int, clock.split(":"))
    return BANDWIDTH.parse(text).limit_at(MONDAY + timedelta(days=days, hours=hour, minutes=minute, seconds=59))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5M", 5 * MIB),
        ("5MiB", 5 * MIB),
        ("5 MiB", 5 * MIB),
        ("5MB", 5_000_000),
        ("1.5k", 1536),
        ("1k", 1024),
        ("off", None),
        ("OFF", None),
        ("0", None),
    ],
)
def test_one_rate_holds_always(text: str, expected: int | None) -> None:
    assert limit(text, "Mon 00:00") == expected
    assert limit(text, "Sun 23:59") == expected


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("08:00,5M 23:00,off", "Mon 07:59", None),
        ("08:00,5M 23:00,off", "Mon 08:00", 5 * MIB),
        ("08:00,5M 23:00,off", "Wed 22:59", 5 * MIB),
        ("08:00,5M 23:00,off", "Sun 23:00", None),
        ("23:00,off;08:00,5M", "Fri 12:00", 5 * MIB),  # in any order, also as rclone takes it from Docker
        ("12:00,1M", "Mon 00:00", MIB),  # what was said yesterday holds
        ("Mon-00:00,512K Fri-23:59,10M Sat-10:00,1M Sun-20:00,off", "Wed 12:00", 512 * KIB),
        ("Mon-00:00,512K Fri-23:59,10M Sat-10:00,1M Sun-20:00,off", "Sat 09:59", 10 * MIB),
        ("Mon-00:00,512K Fri-23:59,10M Sat-10:00,1M Sun-20:00,off", "Sun 19:59", MIB),
        ("Mon-00:00,512K Fri-23:59,10M Sat-10:00,1M Sun-20:00,off", "Sun 20:00", None),
        ("friday-18:00,off mon-08:00,1M", "Mon 07:00", None),  # the end of last week holds
        ("sat-08:00,off 08:00,1M 20:00,2M", "Sat 09:00", None),  # one day is said more exactly than all
        ("sat-08:00,off 08:00,1M 20:00,2M", "Sat 20:00", 2 * MIB),
    ],
)
def test_a_timetable_says_what_holds_when(text: str, moment: str, expected: int | None) -> None:
    assert limit(text, moment) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "fast", "5X", "-5M", "10M:1M", "100B", "5M 23:00,off", ","),
        *("08:00", "08:00,", "08:00,fast", "8:00,5M", "24:00,5M", "12:60,5M"),
        *("Moon-08:00,5M", "08:00,5M,6M", "08:00-5M,1M"),
    ],
)
def test_what_is_no_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the loader says which value
        BANDWIDTH.parse(text)


def test_a_number_without_a_unit_is_refused_because_rclone_means_something_else_by_it() -> None:
    with pytest.raises(InvalidValue) as refused:
        BANDWIDTH.parse("512")
    assert "512K" in refused.value.hint


def bandwidth(clock: Clock, text: str) -> Bandwidth:
    return Bandwidth(BANDWIDTH.parse(text).limit_at, StopSignal(), clock.local_time)


@settings(max_examples=50, deadline=None)
@given(
    rate=st.integers(1, 64),
    sizes=st.lists(st.integers(0, 4 * MIB), min_size=1, max_size=200),
    idle=st.lists(st.floats(0, 30), max_size=20),
)
def test_in_any_stretch_of_time_no_more_goes_than_the_rate_allows_and_no_less(
    rate: int, sizes: list[int], idle: list[float]
) -> None:
    """The last bytes of a stretch may go at once: they are paid for after it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = Clock(monkeypatch)
        per_second = rate * 64 * KIB
        bucket = bandwidth(clock, f"{rate * 64}K")
        went: list[tuple[float, int]] = []
        idled = 0.0
        for number, size in enumerate(sizes):
            if number < len(idle):
                clock.now += idle[number]
                idled += idle[number]
            bucket.take(size)
            went.append((clock.now, size))
        for first in range(0, len(went), 7):
            total = 0
            for moment, size in went[first:]:
                assert total <= per_second * (moment - went[first][0] + 0.1) + 2
                total += size
        busy = went[-1][0] - went[0][0] - idled
        assert per_second * busy <= sum(sizes[:-1]) + 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_timetable_changes_the_rate_while_it_runs(clock: Clock) -> None:
    bucket = bandwidth(clock, "00:01,1M 00:02,4M 00:03,off")

    def sent_until(minute: int) -> float:
        sent = 0
        while clock.now < 1000 + 60 * minute:
            bucket.take(64 * KIB)
            clock.now += 0.001
            sent += 64 * KIB
        return sent / MIB

    assert sent_until(1) > 1000  # off since last Sunday: one every millisecond
    assert sent_until(2) == pytest.approx(60, rel=0.2)  # a second passes before it is noticed
    assert sent_until(3) == pytest.approx(240, rel=0.05)
    assert sent_until(4) > 3000


def test_a_debt_ends_with_the_limit(clock: Clock) -> None:
    bucket = bandwidth(clock, "23:00,off 00:00,1K 00:01,off")
    bucket.take(1024 * MIB)
    begin = clock.now
    bucket.take(1)
    assert clock.now - begin == pytest.approx(60, abs=2)


def test_nothing_waits_while_there_is_no_limit(clock: Clock) -> None:
    bucket = bandwidth(clock, "off")
    assert not any(bucket.reserve(1024 * MIB) for _ in range(10))


def test_whoever_may_not_send_yet_learns_when_to_ask_again(clock: Clock) -> None:
    bucket = bandwidth(clock, "1M")
    assert bucket.reserve(MIB // 2) == 0.0
    assert bucket.reserve(1) == pytest.approx(0.5)
    clock.now += 0.5
    assert bucket.reserve(100 * MIB) == 0.0
    assert bucket.reserve(1) == 1.0, "the timetable may change before all is paid for"


def test_a_wait_ends_at_once_when_somebody_asks_to_stop() -> None:
    stop = StopSignal()
    bucket = Bandwidth(lambda _: 1024, stop)
    bucket.take(1024 * MIB)
    threading.Timer(0.05, stop.request).start()
    begin = time.monotonic()
    with pytest.raises(Interrupted):
        bucket.take(1)
    assert time.monotonic() - begin < 5


def test_many_threads_share_one_bandwidth_and_use_it() -> None:
    bucket = Bandwidth(lambda _: MIB, StopSignal())
    begin = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: bucket.take(16 * KIB), range(64)))
    assert 0.8 <= time.monotonic() - begin < 4


class Meter(Bandwidth):
    """Lets everything go, and counts it."""

    def __init__(self) -> None:
        super().__init__(lambda _: None, StopSignal())
        self.paid_bytes = 0

    def reserve(self, size_bytes: int) -> float:
        self.paid_bytes += size_bytes
        return 0.0


def not_connected() -> NetworkFailure:
    failure = NetworkFailure("refused")
    failure.nothing_sent = True
    return failure


class TestWhatIsWrittenAgain:
    """It travels again, and so counts again."""

    DATA = bytes(KIB)
    MD5 = hashlib.md5(DATA).digest()
    OPTIONS = PutOptions(ObjectHeaders())

    @pytest.mark.parametrize(
        "failures",
        [
            (ServerFailure("500"), NetworkFailure("reset")),
            (Throttled("503", retry_after_seconds=0.01), CorruptObject("400")),
        ],
    )
    def test_counts_again_whatever_the_store_said(self, failures: tuple[ObjectError, ...]) -> None:
        store, meter = MemoryStore(), Meter()
        store.fail("write", *failures)
        RetryingStore(store_session(store, bandwidth=meter)).write("k", self.DATA, self.MD5, self.OPTIONS)
        assert (store.count("write"), meter.paid_bytes) == (3, 3 * KIB)

    def test_so_does_a_part(self) -> None:
        store, meter = MemoryStore(), Meter()
        upload = store.start_multipart("k", self.OPTIONS)
        store.fail("write_part", ServerFailure("500"))
        RetryingStore(store_session(store, bandwidth=meter)).write_part("k", upload, 1, self.DATA, self.MD5)
        assert (store.count("write_part"), meter.paid_bytes) == (2, 2 * KIB)

    def test_so_does_what_a_multiplexer_sent_first(self) -> None:
        store, meter = MemoryStore(), Meter()
        patient = RetryingStore(store_session(store, bandwidth=meter))
        patient.repeat(ServerFailure("500"), "write", ("k", self.DATA, self.MD5, self.OPTIONS))
        assert meter.paid_bytes == KIB, "the first was paid for by who sent it"

    def test_what_never_left_counts_once(self) -> None:
        """A store that is down takes nothing: the search for that is not kept waiting for bytes."""
        store, meter = MemoryStore(), Meter()
        store.fail("write", not_connected(), not_connected())
        RetryingStore(store_session(store, bandwidth=meter)).write("k", self.DATA, self.MD5, self.OPTIONS)
        assert (store.count("write"), meter.paid_bytes) == (3, KIB)

    def test_what_waited_for_a_store_that_was_down_counts_once_more(self, clock: Clock) -> None:
        store, meter = MemoryStore(), Meter()
        session = store_session(store, bandwidth=meter, patience_seconds=60)
        session.limiter.note(None)
        store.fail("write", *[NetworkFailure("reset")] * 3, not_connected())
        store.fail("read", NetworkFailure("down"), NetworkFailure("down"))
        RetryingStore(session).write("k", self.DATA, self.MD5, self.OPTIONS)
        assert store.count("write") == 5
        assert meter.paid_bytes == 4 * KIB, "three were broken off, the fourth was paid for when it could leave"


def test_what_is_written_counts_and_what_is_read_does_not(clock: Clock) -> None:
    store = MemoryStore()
    limited = store_session(store, bandwidth=bandwidth(clock, "1M"))
    data, md5 = bytes(MIB), hashlib.md5(bytes(MIB)).digest()
    begin = clock.now
    for number in range(3):
        patient = RetryingStore(limited)
        patient.write(str(number), data, md5, PutOptions(ObjectHeaders()))
        patient.read(str(number), MIB)
    assert clock.now - begin == pytest.approx(2)  # the third goes when two are paid for
