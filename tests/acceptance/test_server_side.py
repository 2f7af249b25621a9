"""Two buckets of one store: it copies by itself, and where it does not, everything arrives all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from lab.buckets import BucketPair
from lab.fault_plan import ACCESS_DENIED, Fault, FaultPlan, always, answer, no_faults
from lab.faults import FaultProxy
from mastosync.copying.same_store import FOLDER
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.bucket_checks import assert_holds, assert_untouched, stored

DONE_WITHOUT = "the store does not copy by itself"
Start = Callable[..., tuple[Migration, FaultProxy]]


@pytest.fixture
def start(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Callable[..., FaultProxy]
) -> Callable[..., tuple[Migration, FaultProxy]]:
    """Factory: a planned migration whose ends are one endpoint, a proxy's."""

    def make(plan: FaultPlan = no_faults, **arguments: object) -> tuple[Migration, FaultProxy]:
        migration = new_migration(buckets, missing=2, **arguments, all_oddities=True)
        proxy = fault_proxy(buckets.address.endpoint_url, plan)
        migration.through(proxy.endpoint_url, proxy.endpoint_url)
        migration.site.configure(copy={"server_side": "auto"})
        migration.site.run("plan")
        return migration, proxy

    return make


def operations(proxy: FaultProxy) -> Counter[str]:
    """What was asked about objects of the instance."""
    keys = ((exchange.request.operation, exchange.request.key) for exchange in proxy.requests)
    return Counter(operation for operation, key in keys if key and FOLDER not in key)


def copied(migration: Migration, workers: int) -> str:
    """Copy everything there is; what the log says."""
    log = migration.site.folder / "log"
    migration.site.run("--log-file", str(log), "copy", "--workers", str(workers), code=3)
    return log.read_text(encoding="utf-8")


def assert_everything_arrived(migration: Migration) -> None:
    buckets, instance = migration.buckets, migration.instance
    assert_holds(buckets.client, buckets.destination, instance.at_destination())
    assert_untouched(buckets.client, buckets.source, instance.at_source())
    assert migration.site.status()["totals"]["done"] == len(instance.present)


def test_no_byte_of_any_object_travels(start: Start) -> None:
    migration, proxy = start(large_video_bytes=21 * 1024 * 1024)
    migration.site.configure(copy={"private_objects": "copy"})  # else an upload is begun, to find out about ACLs
    log = copied(migration, 8)
    assert_everything_arrived(migration)
    asked = operations(proxy)
    assert asked.keys() <= {"HeadObject", "CopyObject"}
    assert asked["CopyObject"] == len(migration.instance.present)
    assert set(stored(proxy, migration.buckets.destination).values()) == {1}
    for line in migration.site.listed("--state", "done"):
        assert line["attempts"] == 1
    assert DONE_WITHOUT not in log


@pytest.mark.parametrize("refusal", [ACCESS_DENIED, answer(501, "NotImplemented"), answer(405, "MethodNotAllowed")])
def test_a_store_that_refuses_is_done_without(start: Start, refusal: Fault) -> None:
    migration, proxy = start(always(refusal, operation="CopyObject"))
    log = copied(migration, 4)
    assert_everything_arrived(migration)
    assert log.count(DONE_WITHOUT) == 1, log
    asked = operations(proxy)
    refused = sum(exchange.request.operation == "PutObject" and exchange.status == 400 for exchange in proxy.requests)
    assert asked["PutObject"] - refused == len(migration.instance.present)
    assert refused < asked["PutObject"] / 8  # trials with a wrong MD5
    assert asked["CopyObject"] <= 2 * 4 * 2  # with an ACL and without, of the few objects that were under way


def test_a_store_that_takes_it_for_an_upload_of_nothing_leaves_no_empty_objects(start: Start) -> None:
    """It answers 200 with no word of a copy."""
    migration, _ = start(always(answer(200, ""), operation="CopyObject"), accounts=3, media=2)
    migration.site.configure(copy={"max_attempts": "1"})
    log = copied(migration, 2)
    assert_everything_arrived(migration)
    assert log.count(DONE_WITHOUT) == 1, log


@pytest.mark.parametrize("why", ["another key", "another endpoint", "never"])
def test_without_one_endpoint_and_account_nothing_of_the_kind_is_tried(start: Start, why: str) -> None:
    migration, proxy = start(accounts=3, media=2)
    site, address = migration.site, migration.buckets.address
    if why == "never":
        site.configure(copy={"server_side": "never"})
    elif why == "another key":
        reader = {"access_key": address.reader_access_key, "secret_key": address.reader_secret_key}
        site.configure(s3_source=reader)
    else:
        migration.through(destination=address.endpoint_url)
        site.manifest.unlink()
        site.run("plan")
    site.run("copy", code=3)
    assert_everything_arrived(migration)
    assert "CopyObject" not in operations(proxy)
    assert operations(proxy)["GetObject"] >= len(migration.instance.present)
