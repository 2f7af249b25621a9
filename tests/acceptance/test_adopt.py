"""`mastosync adopt`: what others brought is done without a byte moved, what differs is copied."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.buckets import BucketPair
from lab.fault_plan import ACCESS_DENIED, always
from lab.faults import FaultProxy
from lab.instance_objects import StoredObject
from mastosync.copying.same_store import FOLDER
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.bucket_checks import assert_holds

Proxies = Callable[..., FaultProxy]


def adopted_by(migration: Migration, *arguments: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(migration.site.run("adopt", "--json", *arguments).stdout)
    return result


PREFIX = "old/files"  # of the source alone


def expected_of(migration: Migration) -> dict[str, StoredObject]:
    """What the destination has to hold."""
    return {key.removeprefix(f"{PREFIX}/"): each for key, each in migration.instance.at_destination().items()}


def bring(migration: Migration, part: slice = slice(None)) -> list[str]:
    """What another tool would bring: some public objects, under the keys Mastodon asks for, whole."""
    expected = expected_of(migration)
    keys = sorted(key for key, each in expected.items() if not each.private)[part]
    for key in keys:
        each = expected[key]
        arguments = each.put_arguments()
        migration.buckets.client.put_object(
            Bucket=migration.buckets.destination, **{**arguments, "Key": key, "Body": each.body()}
        )
    return keys


@pytest.fixture
def planned(buckets: BucketPair, new_migration: MigrationFactory) -> Migration:
    migration = new_migration(buckets, missing=0, key_prefix=PREFIX, all_oddities=True)
    migration.site.configure(s3_destination={"key_prefix": ""})
    migration.site.run("plan")
    return migration


def test_what_lies_there_is_done_and_is_not_moved_again(planned: Migration) -> None:
    """Half of it, brought under other keys than the source's: there is a prefix at one end only."""
    site = planned.site
    keys = set(bring(planned, slice(None, None, 2)))
    result = adopted_by(planned)
    done = {line["key"]: line for line in site.listed("--state", "done")}
    assert set(done) == keys
    assert {line["origin"] for line in done.values()} == {"adopted"}
    assert (result["adopted"], result["different"], result["undecided"]) == (len(keys), 0, 0)
    assert result["checked"] == site.status()["totals"]["total"]
    assert result["bytes"] == site.status()["totals"]["bytes_done"]
    assert adopted_by(planned)["adopted"] == 0

    site.run("copy")
    assert_holds(planned.buckets.client, planned.buckets.destination, expected_of(planned))
    verified = json.loads(site.run("verify", "--json").stdout)
    assert verified["fine"] == site.status()["totals"]["done"]
    assert {line["origin"] for line in site.listed("--state", "done")} == {"adopted", "copied"}


def test_what_differs_stays_pending_and_is_replaced(planned: Migration) -> None:
    keys = bring(planned)
    expected = expected_of(planned)
    shorter, other = [key for key in keys if expected[key].size > 100][:2]
    client, bucket = planned.buckets.client, planned.buckets.destination
    client.put_object(Bucket=bucket, Key=shorter, Body=b"short")
    client.put_object(Bucket=bucket, Key=other, Body=b"x" * expected[other].size)
    result = adopted_by(planned)
    assert (result["adopted"], result["different"]) == (len(keys) - 2, 2)
    assert {shorter, other} <= {line["key"] for line in planned.site.listed("--state", "pending")}
    planned.site.run("copy")
    assert_holds(client, bucket, expected)


def test_private_objects_are_left_to_a_copy(planned: Migration) -> None:
    """Nobody knows who can read them where they lie."""
    expected = expected_of(planned)
    private = [key for key, each in expected.items() if each.private]
    for key in private:
        planned.buckets.client.put_object(Bucket=planned.buckets.destination, Key=key, Body=expected[key].body())
    result = adopted_by(planned)
    assert (result["adopted"], result["left"]) == (0, len(private))
    assert private


def test_parts_of_other_sizes_are_compared_by_reading(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets, missing=0, accounts=2, media=2, large_video_bytes=21 * 1024 * 1024)
    migration.site.run("plan")
    keys = bring(migration)
    large = max(migration.instance.present, key=lambda each: each.source.size)
    assert adopted_by(migration)["undecided"] == 1
    assert [line["key"] for line in migration.site.listed("--state", "pending") if line["key"] in keys] == [large.key]
    result = adopted_by(migration, "--deep")
    assert (result["adopted"], result["read_bytes"]) == (1, 2 * large.source.size)
    (line,) = [line for line in migration.site.listed() if line["key"] == large.key]
    assert (line["state"], line["md5"]) == ("done", large.source.md5)


def asked(proxy: FaultProxy) -> list[str]:
    """What a store was asked, but for the look whether it is the other one."""
    return [each.request.operation for each in proxy.requests if FOLDER not in each.request.key]


def test_the_source_is_asked_only_where_the_destination_has_something(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    migration = new_migration(buckets, missing=0, all_oddities=True)
    old, new = fault_proxy(buckets.address.endpoint_url), fault_proxy(buckets.address.endpoint_url)
    migration.through(source=old.endpoint_url, destination=new.endpoint_url)
    migration.site.run("plan")
    assert adopted_by(migration)["adopted"] == 0
    assert (len(asked(old)), len(asked(new))) == (1, 2), "the checks of both stores, and a page that is empty"
    bring(migration)
    before = len(asked(old)), len(asked(new))
    adopted = adopted_by(migration)["adopted"]
    assert adopted > 50
    listings = [*asked(old), *asked(new)]
    heads = listings.count("HeadObject")
    assert len(asked(old)) - before[0] <= 2 + heads
    assert len(asked(new)) - before[1] == 2
    assert set(listings) <= {"ListObjects", "HeadObject"}, "no object is read"


def test_who_may_not_list_is_told(buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies) -> None:
    migration = new_migration(buckets, accounts=2, media=2)
    proxy = fault_proxy(buckets.address.endpoint_url, always(ACCESS_DENIED, operation="ListObjects"))
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    assert "right to list" in migration.site.run("adopt", code=7).stderr


def test_what_was_brought_without_acl_and_type_is_found_and_put_right(
    moto_buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    """As rclone brings it when nobody tells it otherwise."""
    migration = new_migration(moto_buckets, accounts=4, media=4, missing=0)
    host = fault_proxy(moto_buckets.address.endpoint_url, always(ACCESS_DENIED, operation="ListObjects"))
    site, client, bucket = migration.site, moto_buckets.client, moto_buckets.destination
    site.configure(s3_destination={"public_url": f"{host.endpoint_url}/{bucket}"})
    site.run("plan")
    expected = migration.instance.at_destination()
    key = next(key for key, each in sorted(expected.items()) if not each.private and each.content_type == "image/png")
    client.put_object(Bucket=bucket, Key=key, Body=expected[key].body())
    assert adopted_by(migration)["adopted"] == 1
    site.run("copy")
    found = json.loads(site.run("verify", "--public", "--sample", "500", "--json", code=3).stdout)
    assert found["reopened"] == 1
    assert [line["key"] for line in site.listed("--state", "pending")] == [key]
    site.run("copy")
    assert_holds(client, bucket, expected)
    assert moto_buckets.status_for_anybody(key) == 200
