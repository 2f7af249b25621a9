"""`mastosync verify` against real stores: what is lost or different is found, put back, and copied again."""

from __future__ import annotations

import json
from collections.abc import Callable
from glob import escape
from typing import Any

import pytest

from lab.buckets import BucketPair
from lab.fault_plan import ACCESS_DENIED, DAMAGED_DOWNLOAD, Fault, Request, always, no_faults
from lab.faults import FaultProxy
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.bucket_checks import assert_holds
from tests.support.site import shown

Proxies = Callable[..., FaultProxy]


@pytest.fixture
def copied(buckets: BucketPair, new_migration: MigrationFactory) -> Migration:
    """A migration of which everything has arrived, one large object in parts."""
    migration = new_migration(
        buckets, missing=0, large_video_bytes=21 * 1024 * 1024, key_prefix="some/prefix", all_oddities=True
    )
    migration.site.configure(copy={"multipart_threshold": "8MiB", "part_size": "5MiB", "max_attempts": "2"})
    migration.site.run("plan")
    migration.site.run("copy")
    return migration


def found_by(migration: Migration, *arguments: str, code: int) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(migration.site.run("verify", "--json", *arguments, code=code).stdout)
    return result


def done(migration: Migration) -> int:
    return int(migration.site.status()["totals"]["done"])


def test_what_was_copied_is_fine(copied: Migration) -> None:
    site = copied.site
    before = done(copied)
    result = found_by(copied, code=0)
    assert (result["checked"], result["fine"], result["listed"]) == (before, before, True)
    assert result["bytes"] == site.status()["totals"]["bytes_done"]
    assert sum(verdicts["fine"] for verdicts in result["by_type"].values()) == before
    assert site.status()["verification"]["fine"] == before
    assert "all well" in site.run("verify").stdout
    assert f"{before:,} of {before:,} objects were fine" in site.run("status").stdout


def test_listings_are_all_that_is_asked_for(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    migration = new_migration(buckets, missing=0)
    proxy = fault_proxy(buckets.address.endpoint_url)
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    migration.site.run("copy")
    before = len(proxy.requests)
    found_by(migration, code=0)
    asked = [exchange.request.operation for exchange in proxy.requests[before:]]
    assert asked == ["ListObjects"] * 2, "the check of the store, and one page"


def test_what_is_lost_or_different_goes_back_and_is_copied_again(copied: Migration) -> None:
    site, client, bucket = copied.site, copied.buckets.client, copied.buckets.destination
    large = max(copied.instance.present, key=lambda each: each.source.size)
    small = sorted((each for each in copied.instance.present if each.source.size > 100), key=lambda each: each.key)
    lost, other, shorter = (each.key for each in small[:3])
    client.delete_object(Bucket=bucket, Key=lost)
    size = small[1].source.size
    client.put_object(Bucket=bucket, Key=other, Body=b"x" * size)
    client.put_object(Bucket=bucket, Key=shorter, Body=b"short")
    client.put_object(Bucket=bucket, Key=large.key, Body=b"y" * large.source.size)
    before = done(copied)

    result = found_by(copied, code=3)
    assert (result["checked"], result["lost"], result["different"], result["reopened"]) == (before, 1, 3, 4)
    pending = {line["key"]: line["detail"] for line in site.listed("--state", "pending")}
    assert set(pending) == {lost, other, shorter, large.key}
    assert "lost" in pending[lost]
    assert all("different" in pending[key] for key in (other, shorter, large.key)), pending

    site.run("copy")
    assert found_by(copied, code=0)["fine"] == before
    assert_holds(client, bucket, copied.instance.at_destination())


def test_an_object_under_another_etag_is_read_and_is_fine(copied: Migration) -> None:
    """Somebody has moved it within the store: the same bytes, in other parts."""
    client, bucket = copied.buckets.client, copied.buckets.destination
    large = max(copied.instance.present, key=lambda each: each.source.size)
    client.put_object(Bucket=bucket, Key=large.key, Body=large.source.body())
    assert found_by(copied, code=0)["fine"] == done(copied)
    etags = {line["etag"] for line in copied.site.listed() if line["key"] == large.key}
    assert etags == {large.source.md5}, "it is remembered: the next verification need not read"


def test_deep_finds_what_no_listing_tells(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    """The store's disk gives other bytes than it took in, under the same ETag."""
    migration = new_migration(buckets, missing=0, large_video_bytes=21 * 1024 * 1024)
    proxy = fault_proxy(buckets.address.endpoint_url)
    migration.through(destination=proxy.endpoint_url)
    migration.site.configure(copy={"multipart_threshold": "8MiB", "part_size": "5MiB", "max_attempts": "2"})
    site = migration.site
    site.run("plan")
    site.run("copy")
    large = max(migration.instance.present, key=lambda each: each.source.size)
    small = next(each for each in migration.instance.present if 100 < each.source.size < 1_000_000)
    rotten = {small.key, large.key}

    def rot(request: Request) -> Fault | None:
        return DAMAGED_DOWNLOAD if request.operation == "GetObject" and request.key in rotten else None

    proxy.plan = rot
    assert found_by(migration, code=0)["fine"] == done(migration)
    result = found_by(migration, "--deep", code=3)
    assert (result["different"], result["read"]["objects"]) == (2, result["checked"])
    assert {line["key"] for line in site.listed("--state", "pending")} == rotten

    rotten.clear()
    site.run("copy")
    again = found_by(migration, "--deep", code=0)
    assert again["read"] == {"objects": done(migration), "bytes": site.status()["totals"]["bytes_done"]}


def test_a_sample_is_read_back(copied: Migration) -> None:
    result = found_by(copied, "--deep", "--sample", "7", code=0)
    assert (result["read"]["objects"], result["checked"], result["fine"]) == (7, done(copied), done(copied))
    refused = copied.site.run("verify", "--sample", "7", code=2)
    assert "--deep or --public" in refused.stderr


def test_types_can_be_verified_alone(copied: Migration) -> None:
    result = found_by(copied, "--type", "accounts", code=0)
    assert set(result["by_type"]) == {"accounts"}
    assert result["checked"] == copied.site.status()["by_type"]["accounts"]["done"]


def test_who_may_not_list_reads_instead(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    migration = new_migration(buckets, missing=0)
    proxy = fault_proxy(buckets.address.endpoint_url)
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    migration.site.run("copy")
    proxy.plan = always(ACCESS_DENIED, operation="ListObjects")
    refused = migration.site.run("verify", code=7)
    assert "verify --deep" in refused.stderr, shown(refused)
    assert found_by(migration, "--deep", code=0)["fine"] == done(migration)


def test_a_manifest_without_copies_has_nothing_to_verify(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets, accounts=2, media=2)
    assert "mastosync plan" in migration.site.run("verify", code=6).stderr
    migration.site.run("plan")
    assert found_by(migration, code=0)["checked"] == 0


def test_what_a_store_keeps_failing_at_stays_done_and_is_told(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    migration = new_migration(buckets, missing=0)
    proxy = fault_proxy(buckets.address.endpoint_url)
    migration.through(destination=proxy.endpoint_url)
    migration.site.configure(copy={"max_attempts": "1"})
    migration.site.run("plan")
    migration.site.run("copy")
    key = next(each.key for each in migration.instance.present if each.source.size > 100)
    proxy.plan = always(ACCESS_DENIED, operation="GetObject", key=escape(key))
    before = done(migration)
    result = found_by(migration, "--deep", code=3)
    assert (result["unread"], result["reopened"], done(migration)) == (1, 0, before)


def unlisted(request: Request) -> Fault | None:
    """Nobody may list without a key."""
    return ACCESS_DENIED if request.operation == "ListObjects" and "authorization" not in request.headers else None


def odd_ones(migration: Migration) -> set[str]:
    """Public objects that were odd at the source already, and so are at the destination."""
    return {
        each.key
        for each in migration.instance.present
        if not each.source.private
        and (each.source.content_type == "" or "max-age" not in each.source.headers.get("CacheControl", ""))
    }


class TestPublic:
    """On moto, which keeps ACLs, but lets everybody list: the proxy in front of it does not."""

    @pytest.fixture
    def store(self, moto_buckets: BucketPair, fault_proxy: Proxies) -> FaultProxy:
        return fault_proxy(moto_buckets.address.endpoint_url, unlisted)

    @pytest.fixture
    def copied(self, moto_buckets: BucketPair, new_migration: MigrationFactory, store: FaultProxy) -> Migration:
        migration = new_migration(moto_buckets, accounts=4, media=6, missing=0, all_oddities=True)
        migration.through(destination=store.endpoint_url)
        public_url = f"{store.endpoint_url}/{moto_buckets.destination}"
        migration.site.configure(s3_destination={"public_url": public_url})
        migration.site.run("plan")
        migration.site.run("copy")
        return migration

    def test_what_is_public_can_be_read_and_nothing_else(self, copied: Migration) -> None:
        found = found_by(copied, "--public", "--sample", "500", code=3)["public"]
        private = sum(each.source.private for each in copied.instance.present)
        imports = sum(each.table == "imports" for each in copied.instance.present)
        assert (found["asked"], found["of"], found["asked_private"]) == (
            done(copied) - imports,
            found["asked"],
            private,
        )
        assert private
        assert (found["anybody_can_list"], found["exposed"]) == (False, 0)
        assert {fault["key"] for fault in found["faults"]} == odd_ones(copied)

    def test_an_exposed_and_a_hidden_object_are_told(self, copied: Migration) -> None:
        client, bucket = copied.buckets.client, copied.buckets.destination
        private = next(each.key for each in copied.instance.present if each.source.private)
        public = next(each.key for each in copied.instance.present if not each.source.private)
        client.put_object_acl(Bucket=bucket, Key=private, ACL="public-read")
        client.put_object_acl(Bucket=bucket, Key=public, ACL="private")
        found = found_by(copied, "--public", "--sample", "500", code=3)
        assert found["public"]["exposed"] == 1
        assert {fault["key"] for fault in found["public"]["faults"]} == {private, public} | odd_ones(copied)
        assert found["reopened"] == 1, "what is public and we wrote ourselves would be written the same again"
        copied.site.run("copy")
        assert [copied.buckets.status_for_anybody(key) for key in (public, private)] == [403, 403]

    def test_a_bucket_that_anybody_can_list_is_told(
        self, copied: Migration, store: FaultProxy, fault_proxy: Proxies
    ) -> None:
        """Also behind a host that lists nothing."""
        host = fault_proxy(store.endpoint_url, unlisted)
        copied.site.configure(s3_destination={"public_url": f"{host.endpoint_url}/{copied.buckets.destination}"})
        store.plan = no_faults
        found = found_by(copied, "--public", "--sample", "5", code=3)
        assert found["public"]["anybody_can_list"]
        del copied.site.sections["s3.destination"]["public_url"]  # so the bucket itself is asked
        copied.site.configure()
        assert "anybody can list the bucket" in copied.site.run("verify", "--public", "--sample", "5", code=3).stdout

    def test_a_wrong_public_url_is_a_matter_of_configuration(self, copied: Migration) -> None:
        copied.site.configure(s3_destination={"public_url": f"{copied.buckets.address.endpoint_url}/nowhere"})
        told = copied.site.run("verify", "--public", code=3).stdout
        assert "not one public object was as it should be: check `public_url`" in told
        copied.site.configure(s3_destination={"public_url": "http://127.0.0.1:9"}, copy={"max_attempts": "2"})
        assert "check `public_url`" in copied.site.run("verify", "--public", code=7).stderr
