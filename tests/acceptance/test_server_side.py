"""Two buckets of one store: it copies by itself, and where it does not, everything arrives all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from scripts.lab.buckets import BucketPair
from scripts.lab.fault_plan import ACCESS_DENIED, Fault, FaultPlan, always, answer, no_faults
from scripts.lab.faults import FaultProxy
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.acceptance.site import shown
from tests.acceptance.stores import assert_holds, assert_untouched

DONE_WITHOUT = "the store does not copy by itself"
Start = Callable[..., tuple[Migration, FaultProxy]]


@pytest.fixture
def start(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Callable[..., FaultProxy]
) -> Callable[..., tuple[Migration, FaultProxy]]:
    """Factory: a planned migration whose ends are one endpoint, a proxy's."""

    def make(plan: FaultPlan = no_faults, **arguments: object) -> tuple[Migration, FaultProxy]:
        migration = new_migration(buckets, missing=2, **arguments)
        proxy = fault_proxy(buckets.address.endpoint_url, plan)
        migration.through(proxy.endpoint_url, proxy.endpoint_url)
        migration.site.configure(copy={"server_side": "auto"})
        migration.site.run("plan")
        return migration, proxy

    return make


def operations(proxy: FaultProxy) -> Counter[str]:
    """What was asked about objects."""
    return Counter(exchange.request.operation for exchange in proxy.requests if exchange.request.key)


def assert_everything_arrived(migration: Migration) -> None:
    buckets, instance = migration.buckets, migration.instance
    assert_holds(buckets.client, buckets.destination, instance.at_destination())
    assert_untouched(buckets.client, buckets.source, instance.at_source())
    assert migration.site.status()["totals"]["done"] == len(instance.present)


def test_no_byte_of_any_object_travels(start: Start) -> None:
    migration, proxy = start(large_video_bytes=21 * 1024 * 1024)
    done = migration.site.run("copy", "--workers", "8", code=3)
    assert f"failed {len(migration.instance.missing)}" in done.stdout, shown(done)
    assert_everything_arrived(migration)
    asked = operations(proxy)
    assert asked.keys() <= {"HeadObject", "CopyObject"}
    assert asked["CopyObject"] == len(migration.instance.present)
    assert set(proxy.successful_puts_by_key(migration.buckets.destination).values()) == {1}
    for line in migration.site.listed("--state", "done"):
        assert line["attempts"] == 1
    assert DONE_WITHOUT not in done.stderr


@pytest.mark.parametrize("refusal", [ACCESS_DENIED, answer(501, "NotImplemented"), answer(405, "MethodNotAllowed")])
def test_a_store_that_refuses_is_done_without(start: Start, refusal: Fault) -> None:
    migration, proxy = start(always(refusal, operation="CopyObject"))
    done = migration.site.run("copy", "--workers", "4", code=3)
    assert_everything_arrived(migration)
    assert done.stderr.count(DONE_WITHOUT) == 1, shown(done)
    asked = operations(proxy)
    assert asked["PutObject"] == len(migration.instance.present)
    assert asked["CopyObject"] <= 2 * 4 * 2  # with an ACL and without, of the few objects that were under way


def test_a_store_that_takes_it_for_an_upload_of_nothing_leaves_no_empty_objects(start: Start) -> None:
    """It answers 200 with no word of a copy."""
    migration, proxy = start(always(answer(200, ""), operation="CopyObject"), accounts=3, media=2)
    migration.site.configure(copy={"max_attempts": "1"})
    done = migration.site.run("copy", "--workers", "2", code=3)
    assert_everything_arrived(migration)
    assert done.stderr.count(DONE_WITHOUT) == 1, shown(done)


@pytest.mark.parametrize("why", ["another key", "another endpoint", "never"])
def test_without_one_endpoint_and_account_nothing_of_the_kind_is_tried(start: Start, why: str) -> None:
    migration, proxy = start(accounts=3, media=2)
    site = migration.site
    if why == "never":
        site.configure(copy={"server_side": "never"})
    elif why == "another endpoint":
        migration.through(destination=migration.buckets.address.endpoint_url)
        site.manifest.unlink()
        site.run("plan")
    else:
        site.configure(s3_source={"access_key": "reader", "secret_key": "wrong"})
        assert "InvalidAccessKeyId" in site.run("copy", code=None).stderr
        return
    site.run("copy", code=3)
    assert_everything_arrived(migration)
    assert "CopyObject" not in operations(proxy)
