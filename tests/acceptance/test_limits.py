"""What a person allows holds at the stores themselves, and what a store allows is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import pytest

from lab.buckets import BucketPair
from lab.fault_plan import Fault, Request, slow_down
from lab.faults import FaultProxy
from lab.traffic import Exchange
from mastosync.copying.same_store import FOLDER
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.bucket_checks import assert_holds
from tests.support.site import shown
from tests.support.waiting import PATIENCE_SECONDS, noticing_stalls

pytestmark = pytest.mark.timing

Proxies = Callable[..., FaultProxy]

KIB = 1024
RATE = 25
LATE_SECONDS = 0.25  # what a busy machine may hold a request up before the proxy sees it


@pytest.fixture
def migration(buckets: BucketPair, new_migration: MigrationFactory) -> Migration:
    """Some hundred objects and nothing missing; planned by whoever has put proxies in front."""
    return new_migration(buckets, accounts=6, media=8, missing=0)


def behind_proxies(migration: Migration, fault_proxy: Proxies) -> tuple[FaultProxy, FaultProxy]:
    """A proxy for each store, which then are two endpoints."""
    upstream = migration.buckets.address.endpoint_url
    source, destination = fault_proxy(upstream), fault_proxy(upstream)
    migration.through(source.endpoint_url, destination.endpoint_url)
    migration.site.run("plan")
    return source, destination


def assert_everything_arrived(migration: Migration) -> None:
    assert_holds(migration.buckets.client, migration.buckets.destination, migration.instance.at_destination())


def most_within(exchanges: list[Exchange], seconds: float) -> int:
    """The most requests that came in within any stretch of so many seconds."""
    starts = sorted(exchange.started for exchange in exchanges)
    return max(sum(start <= each < start + seconds for each in starts) for start in starts)


@pytest.mark.parametrize("by", ["option", "configuration"])
def test_no_endpoint_gets_more_requests_a_second_than_the_rate(
    migration: Migration, fault_proxy: Proxies, by: str
) -> None:
    proxies = behind_proxies(migration, fault_proxy)
    if by == "configuration":
        migration.site.configure(copy={"rate": str(RATE)})
    options = ("--rate", str(RATE)) if by == "option" else ()
    with noticing_stalls() as stalls:
        migration.site.run("copy", "--workers", "16", *options, code=None)
    assert_everything_arrived(migration)
    late = LATE_SECONDS + 2 * stalls.longest_seconds  # of who sends and of who notes it
    for proxy in proxies:
        requests = proxy.requests
        assert len(requests) >= len(migration.instance.present)
        assert most_within(requests, 1.0) <= RATE * (1 + 0.05 + late) + 1
        starts = [exchange.started for exchange in requests]
        assert len(requests) - 1 <= RATE * (max(starts) - min(starts) + 0.05 + late)
    both = [exchange for proxy in proxies for exchange in proxy.requests]
    one = RATE * (1 + 0.05 + LATE_SECONDS) + 1  # a stall would add to it what it takes from both
    assert most_within(both, 1.0) > one, "each endpoint has its own: reads do not use up what writes may"


@pytest.mark.parametrize("by", ["option", "configuration"])
def test_bytes_travel_at_the_bandwidth_and_not_faster(migration: Migration, fault_proxy: Proxies, by: str) -> None:
    _, destination = behind_proxies(migration, fault_proxy)
    sizes = {key: stored.size for key, stored in migration.instance.at_destination().items()}
    limit = sum(sizes.values()) // 4 // KIB  # so that it takes four seconds
    options: tuple[str, ...] = ("--bwlimit", f"{limit}K")
    if by == "configuration":
        options = ()
        migration.site.configure(copy={"bwlimit": f"00:00,{limit}K 12:00,{limit}K"})
    with noticing_stalls() as stalls:
        migration.site.run("copy", "--workers", "8", *options, code=None)
    assert_everything_arrived(migration)
    puts = sorted(
        (each.started, sizes[each.request.key])
        for each in destination.requests
        if each.request.operation == "PutObject" and FOLDER not in each.request.key
    )
    seconds = puts[-1][0] - puts[0][0]
    before_the_last = sum(size for _, size in puts[:-1])
    assert before_the_last <= limit * KIB * (seconds + 0.1 + LATE_SECONDS + 2 * stalls.longest_seconds)
    assert before_the_last >= limit * KIB * seconds * 0.6


def test_the_option_overrides_the_configuration(migration: Migration) -> None:
    migration.site.configure(copy={"bwlimit": "1K", "rate": "1"})  # for which a night would not suffice
    migration.site.run("plan")
    begin = time.monotonic()
    migration.site.run("copy", "--bwlimit", "off", "--rate", "100000", code=None)
    assert time.monotonic() - begin < PATIENCE_SECONDS
    assert_everything_arrived(migration)


def test_the_rate_that_a_throttling_store_settles_at_is_told(migration: Migration, fault_proxy: Proxies) -> None:
    """The destination takes so many a second and no more; that it has been found out is seen while it goes on."""
    lock = Lock()
    second = taken = 0

    def hard_limit(request: Request) -> Fault | None:
        nonlocal second, taken
        if not request.key:
            return None
        with lock:
            if int(time.monotonic()) != second:
                second, taken = int(time.monotonic()), 0
            taken += 1
            return slow_down() if taken > RATE else None

    proxy = fault_proxy(migration.buckets.address.endpoint_url, hard_limit)
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    done = migration.site.run("copy", "--workers", "16", code=None)
    assert_everything_arrived(migration)
    throttles = sum(exchange.fault is not None for exchange in proxy.requests)
    assert "destination throttles: settled at " in done.stderr, shown(done)
    assert "source throttles" not in done.stderr
    assert f"the destination asked to slow down {throttles} times" in done.stdout, shown(done)


def test_nothing_is_said_of_throttling_where_nothing_throttles(migration: Migration, tmp_path: Path) -> None:
    migration.site.run("plan")
    done = migration.site.run("--log-file", str(tmp_path / "log"), "copy", code=None)
    assert "throttled 0" in done.stdout
    assert "throttles" not in done.stdout + done.stderr + (tmp_path / "log").read_text(encoding="utf-8")


def test_parts_are_as_large_as_the_provider_wants_them(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    migration = new_migration(buckets, accounts=1, media=1, missing=0, large_video_bytes=18 * 1024 * KIB)
    migration.site.configure(copy={"multipart_threshold": "16MiB", "part_size": "5MiB", "private_objects": "copy"})
    for provider, parts in (("seaweedfs", 4), ("storj", 1)):
        proxy = fault_proxy(buckets.address.endpoint_url)
        migration.site.configure(s3_destination={"endpoint_url": proxy.endpoint_url, "provider": provider})
        migration.site.manifest.unlink(missing_ok=True)
        migration.site.run("plan")
        migration.site.run("copy", code=None)
        assert_everything_arrived(migration)
        assert proxy.count("UploadPart") == parts
