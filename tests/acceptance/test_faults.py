"""Stores that fail in every way: everything ends done, or failed with the right reason, and never wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest

from lab.buckets import BucketPair
from lab.fault_plan import (
    ACCESS_DENIED,
    BAD_GATEWAY,
    DAMAGED_DOWNLOAD,
    DAMAGED_UPLOAD,
    INTERNAL_ERROR,
    LOST_ANSWER,
    NO_SUCH_BUCKET,
    RESET,
    RESET_IN_BODY,
    TRUNCATED_BODY,
    Fault,
    Request,
    always,
    answer,
    first,
    http_date,
    seeded,
    slow_down,
    too_many_requests,
)
from lab.faults import FaultProxy
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.bucket_checks import assert_holds
from tests.support.site import shown

PASSING = {
    "internal error": INTERNAL_ERROR,
    "bad gateway in HTML": BAD_GATEWAY,
    "reset": RESET,
    "lost answer": LOST_ANSWER,
    "throttled": slow_down(),
    "throttled in milliseconds": slow_down(amz_retry_after_ms=50),
    "too many requests": too_many_requests(),
    "service unavailable in HTML": answer(503, ""),
}
IN_DOWNLOADS = {
    "reset in body": RESET_IN_BODY,
    "truncated body": TRUNCATED_BODY,
    "damaged download": DAMAGED_DOWNLOAD,
}

Proxies = Callable[..., FaultProxy]


def through_proxies(migration: Migration, fault_proxy: Proxies, plan: Callable[[Request], Fault | None]) -> None:
    """Both stores behind one fault plan each."""
    upstream = migration.buckets.address.endpoint_url
    migration.through(fault_proxy(upstream, plan).endpoint_url, fault_proxy(upstream, plan).endpoint_url)
    migration.site.run("plan")


def assert_everything_arrived(migration: Migration) -> None:
    assert_holds(migration.buckets.client, migration.buckets.destination, migration.instance.at_destination())
    totals = migration.site.status()["totals"]
    assert (totals["pending"], totals["done"]) == (0, len(migration.instance.present))


@pytest.mark.parametrize("name", [*PASSING, *IN_DOWNLOADS, "damaged upload"])
def test_what_goes_wrong_once_for_every_object_costs_time_and_nothing_else(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies, name: str
) -> None:
    migration = new_migration(buckets, accounts=4, media=4, missing=0)
    if name in PASSING:
        # a throttled endpoint slows down for all: once for a few objects is enough to wait for
        throttling = PASSING[name].status in (429, 503)
        plan = first(1, PASSING[name], operation="*Object", key="*original*[0-7]*.png" if throttling else "*")
    elif name in IN_DOWNLOADS:
        plan = first(1, IN_DOWNLOADS[name], operation="GetObject")
    else:
        plan = first(1, DAMAGED_UPLOAD, operation="PutObject")
    through_proxies(migration, fault_proxy, plan)
    done = migration.site.run("copy", "--workers", "8", code=None)
    assert done.returncode == (3 if migration.instance.missing else 0), shown(done)
    assert_everything_arrived(migration)


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_day_ends_with_every_object_in_its_place(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies, seed: int
) -> None:
    """Everything at once, by chance: what is left after the first run is brought by retry-failed."""
    migration = new_migration(buckets, accounts=10, media=15, missing=3, large_video_bytes=18 * 1024 * 1024)
    migration.site.configure(copy={"multipart_threshold": "5MiB", "part_size": "5MiB"})
    chances = {
        INTERNAL_ERROR: 0.04,
        BAD_GATEWAY: 0.02,
        RESET: 0.04,
        RESET_IN_BODY: 0.04,
        TRUNCATED_BODY: 0.04,
        DAMAGED_DOWNLOAD: 0.04,
        DAMAGED_UPLOAD: 0.04,
        LOST_ANSWER: 0.02,
        slow_down(amz_retry_after_ms=20): 0.01,
    }
    faults = seeded(seed, chances)
    through_proxies(migration, fault_proxy, lambda request: faults(request) if request.key else None)
    migration.site.run("copy", "--workers", "8", code=None)
    for _ in range(5):
        failed = migration.site.listed("--state", "failed")
        wrong = [line for line in failed if line["reason"] not in ("network", "server", "corrupt", "missing")]
        assert not wrong
        if all(line["reason"] == "missing" for line in failed):
            break
        migration.site.run("retry-failed", "--workers", "8", code=None)
    missing = {line["key"] for line in migration.site.listed("--state", "failed")}
    assert missing == {each.key for each in migration.instance.missing}
    assert_everything_arrived(migration)


@pytest.mark.parametrize(
    ("fault", "operation", "reason"),
    [
        (ACCESS_DENIED, "GetObject", "denied"),
        (ACCESS_DENIED, "PutObject", "denied"),
        (INTERNAL_ERROR, "GetObject", "server"),
        (RESET, "PutObject", "network"),
        (DAMAGED_DOWNLOAD, "GetObject", "corrupt"),
        (DAMAGED_UPLOAD, "PutObject", "corrupt"),
        (TRUNCATED_BODY, "GetObject", "network"),
        (answer(400, "EntityTooLarge"), "PutObject", "too_large"),
    ],
)
def test_what_never_passes_fails_with_its_reason_and_leaves_nothing_wrong(
    buckets: BucketPair,
    new_migration: MigrationFactory,
    fault_proxy: Proxies,
    fault: Fault,
    operation: str,
    reason: str,
) -> None:
    migration = new_migration(buckets, accounts=8, media=8, missing=0)
    migration.site.configure(copy={"max_attempts": "2"})
    struck = "*custom_emojis*"
    through_proxies(migration, fault_proxy, always(fault, operation=operation, key=struck))
    migration.site.run("copy", code=3)
    emojis = [each for each in migration.instance.present if each.table == "custom_emojis"]
    failed = Counter(line["reason"] for line in migration.site.listed("--type", "custom_emojis", "--state", "failed"))
    assert failed[reason] >= len(emojis)
    assert set(failed) <= {reason, "missing"}
    others = {key: each for key, each in migration.instance.at_destination().items() if "custom_emojis" not in key}
    assert_holds(buckets.client, buckets.destination, others)


def test_a_throttling_store_is_waited_for_and_nothing_fails(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    """Retry-After as a date holds the whole endpoint: no upload comes in while it lasts."""
    migration = new_migration(buckets, accounts=6, media=6, missing=0)
    resume_at = 0.0

    def until_then(request: Request) -> Fault | None:
        nonlocal resume_at
        if request.operation != "PutObject":
            return None
        resume_at = resume_at or time.time() + 4  # from the first upload on, whenever that comes
        return slow_down(http_date(resume_at)) if time.time() < resume_at - 1 else None

    proxy = fault_proxy(buckets.address.endpoint_url, until_then)
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    done = migration.site.run("copy", "--workers", "8", code=None)
    assert_everything_arrived(migration)
    throttles = [exchange for exchange in proxy.requests if exchange.fault is not None]
    assert 1 <= len(throttles) <= 16, "those under way when the first one was told, and no more"
    assert f"throttled {len(throttles)}" in done.stdout


def test_the_throttle_budget_ends_the_patience(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    migration = new_migration(buckets, accounts=2, media=2, missing=0)
    migration.site.configure(copy={"throttle_budget_seconds": "0.5"})
    struck = migration.instance.present[0].key
    through_proxies(
        migration, fault_proxy, always(slow_down(amz_retry_after_ms=100), operation="PutObject", key=struck)
    )
    migration.site.run("copy", code=3)
    (line,) = (line for line in migration.site.listed("--state", "failed") if line["reason"] != "missing")
    assert (line["key"], line["reason"]) == (struck, "throttled")


def test_a_bucket_that_disappears_stops_the_run_and_fails_nothing(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    migration = new_migration(buckets, missing=0)
    upstream = buckets.address.endpoint_url
    gone_after = 30
    proxy: FaultProxy = fault_proxy(
        upstream,
        lambda request: NO_SUCH_BUCKET if request.key and proxy.count("PutObject") > gone_after else None,
    )
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    done = migration.site.run("copy", "--workers", "4", code=7)
    assert "bucket does not exist" in done.stderr
    assert not [line for line in migration.site.listed("--state", "failed") if line["reason"] != "missing"]
    assert migration.site.status()["totals"]["pending"] > 0
    migration.site.configure(s3_destination={"endpoint_url": proxy.endpoint_url})
    gone_after = 10**9
    migration.site.run("copy", code=None)
    assert_everything_arrived(migration)
