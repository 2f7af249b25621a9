"""`mastosync orphans`: what no row refers to, and what rows refer to in vain. The source is only listed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.buckets import BucketPair
from lab.faults import FaultProxy
from lab.instance_check import iter_keys
from tests.acceptance.conftest import Migration, MigrationFactory

Proxies = Callable[..., FaultProxy]


def found_by(migration: Migration, *arguments: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(migration.site.run("orphans", "--json", *arguments).stdout)
    return result


@pytest.fixture(params=["", "some/prefix"], ids=["bare", "prefixed"])
def planned(request: pytest.FixtureRequest, buckets: BucketPair, new_migration: MigrationFactory) -> Migration:
    migration = new_migration(buckets, own_source=True, missing=5, key_prefix=request.param, all_oddities=True)
    migration.site.run("plan")
    migration.site.long_after()
    return migration


def strays_under(migration: Migration) -> set[str]:
    """Those that lie under the prefix: what is beside it may be anybody's."""
    prefix = migration.site.sections["s3.source"].get("key_prefix", "")
    root = f"{prefix}/" if prefix else ""
    wanted = {each.source.key for each in migration.instance.present}
    keys = set(iter_keys(migration.buckets.client, migration.buckets.source))
    return {key for key in keys - wanted if key.startswith(root)}


def test_orphans_and_missing_are_counted_and_listed(planned: Migration) -> None:
    site, strays = planned.site, strays_under(planned)
    result = found_by(planned)
    listed = site.run("orphans", "--format", "text").stdout.splitlines()
    missing = {each.key for each in planned.instance.missing}
    sizes = {each.key: each.size for each in planned.instance.strays}

    assert strays, "the instance has some"
    assert set(listed) == strays - still_referred_to(planned)
    assert listed == sorted(listed)
    assert result["orphans"]["objects"] == len(listed)
    assert result["orphans"]["bytes"] == sum(sizes[key] for key in listed)
    assert sum(each["objects"] for each in result["by_prefix"].values()) == len(listed)
    assert result["missing"]["objects"] == len(missing)
    assert set(site.run("orphans", "--missing").stdout.splitlines()) == missing
    absent = [each for each in planned.instance.objects if not each.present and each.optional]
    assert result["optional_missing"] == len(absent)
    told = site.run("orphans").stdout
    assert f"no row refers to {len(listed):,} objects" in told
    assert "nothing was deleted" in told


def still_referred_to(migration: Migration) -> set[str]:
    """Strays that a row may mean all the same: with or without `cache/` they are an object's."""
    prefix = migration.site.sections["s3.source"].get("key_prefix", "")
    root = f"{prefix}/" if prefix else ""

    def bare(key: str) -> str:
        return key.removeprefix(root).removeprefix("cache/")

    wanted = {bare(each.key) for each in migration.instance.objects}
    return {key for key in strays_under(migration) if bare(key) in wanted}


def test_lists_come_as_csv_and_json_lines(planned: Migration) -> None:
    lines = [json.loads(line) for line in planned.site.run("orphans", "--format", "jsonl").stdout.splitlines()]
    rows = list(csv.DictReader(io.StringIO(planned.site.run("orphans", "--format", "csv").stdout)))
    assert [{**line, "size": str(line["size"])} for line in lines] == rows
    assert all(set(line) == {"key", "size", "modified"} for line in lines)
    missing = planned.site.run("orphans", "--missing", "--format", "jsonl").stdout.splitlines()
    assert {json.loads(line)["key"] for line in missing} == {each.key for each in planned.instance.missing}
    assert "use one of them" in planned.site.run("orphans", "--json", "--format", "csv", code=2).stderr


def test_what_came_after_the_plan_is_no_orphan(planned: Migration) -> None:
    planned.site.run("plan")
    before = found_by(planned)
    client, bucket = planned.buckets.client, planned.buckets.source
    prefix = planned.site.sections["s3.source"].get("key_prefix", "")
    key = "/".join(filter(None, (prefix, "media_attachments/files/115/000/000/000/000/000/original/new.png")))
    client.put_object(Bucket=bucket, Key=key, Body=b"new")
    after = found_by(planned)
    assert after["newer"] == {"objects": before["newer"]["objects"] + 1, "bytes": before["newer"]["bytes"] + 3}
    assert after["orphans"] == before["orphans"]


def test_what_came_shortly_before_the_plan_may_have_a_row_by_now(planned: Migration) -> None:
    planned.site.long_after()
    strays = found_by(planned)["orphans"]
    planned.site.run("plan")
    at_once = found_by(planned)
    assert strays["objects"] > 0
    assert (at_once["orphans"], at_once["newer"]) == ({"objects": 0, "bytes": 0}, strays)
    listed = planned.site.run("orphans", "--format", "text")
    assert listed.stdout == ""
    assert f"{strays['objects']} more" in listed.stderr, "who gets an empty list is told of what is left out"
    assert planned.site.run("-q", "orphans", "--format", "text").stderr == ""
    assert "run `mastosync plan` and `mastosync orphans` again" in planned.site.run("orphans").stdout


def test_the_source_is_only_listed_and_asked(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    migration = new_migration(buckets)
    proxy = fault_proxy(buckets.address.endpoint_url)
    migration.through(source=proxy.endpoint_url)
    migration.site.run("plan")
    found_by(migration)
    asked = {exchange.request.operation for exchange in proxy.requests}
    assert asked == {"ListObjects", "HeadObject"}
    assert proxy.count("ListObjects") == 2
    assert proxy.count("HeadObject") < 200, "only what no listing has is asked for by itself"


def test_a_plan_that_left_something_out_knows_no_orphans(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets, accounts=2, media=2)
    migration.site.run("plan", "--type", "accounts")
    assert "left something out" in migration.site.run("orphans", code=6).stderr
    migration.site.run("plan")
    migration.site.run("plan", "--type", "accounts")
    migration.site.long_after()
    assert found_by(migration)["orphans"]["objects"] > 0
