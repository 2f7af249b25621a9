"""Keys that nobody should have, from a row of the database to the last byte at the destination."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.addresses import DatabaseAddress
from lab.buckets import BucketPair
from lab.instance_check import iter_keys
from tests.support.hostile_names import NAMES, Hostile, populate
from tests.support.site import Site, pg_section, s3_section, shown

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.timing

NOT_ON_SEAWEED = {
    "dots": "a segment of dots is refused",
    "a dot": "a segment of dots is refused",
    "up": "a segment of dots is refused",
    "up in between": "a segment of dots is refused",
    "a dot in between": "a segment of dots is refused",
    "at the root": "two slashes are one in its listings",
    "two slashes": "two slashes are one in its listings",
    "a backslash": "it leans the other way in its listings",
}
NOT_ON_MOTO = {"a line feed": "its router finds no such address"}
STORES = {
    # by libcurl, at a store that checks signatures
    "seaweed": ("buckets", None, NOT_ON_SEAWEED),
    # by libcurl, but for segments of dots
    "moto": ("moto_buckets", None, NOT_ON_MOTO),
    # by boto3 alone, which takes every access key
    "moto-boto3": ("moto_buckets", "with:colon", NOT_ON_MOTO),
}


@dataclass(frozen=True)
class Odd:
    """A migration of nothing but hostile keys."""

    site: Site
    buckets: BucketPair
    hostile: Hostile

    @property
    def client(self) -> S3Client:
        return self.buckets.client

    def at_destination(self) -> dict[str, bytes]:
        bucket = self.buckets.destination
        return {
            key: self.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in iter_keys(self.client, bucket)
        }


@pytest.fixture(params=STORES)
def odd(request: pytest.FixtureRequest, tmp_path: Path, database: DatabaseAddress) -> Odd:
    fixture, access_key, impossible = STORES[request.param]
    buckets: BucketPair = request.getfixturevalue(fixture)
    names = [name for title, name in NAMES.items() if title not in impossible]
    hostile = populate(database, buckets.client, buckets.source, names, strays=names[:: len(names) // 10])
    own = {} if access_key is None else {"access_key": access_key}
    site = Site(tmp_path).configure(
        s3_source=s3_section(buckets.address, buckets.source, **own),
        s3_destination=s3_section(buckets.address, buckets.destination, **own),
        pg_database=pg_section(database),
        copy={"server_side": "never"},
    )
    return Odd(site, buckets, hostile)


def parsed(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.split("\n") if line]


def test_every_key_travels_unharmed(odd: Odd) -> None:
    site, objects = odd.site, odd.hostile.objects
    site.run("plan")
    copied = site.run("--log-file", "run.log", "copy")
    assert odd.at_destination() == objects, shown(copied)

    listed = parsed(site.run("ls", "--format", "jsonl").stdout)
    assert {entry["key"] for entry in listed} == {entry["source_key"] for entry in listed} == set(objects)
    assert {entry["state"] for entry in listed} == {"done"}

    assert "all well" in site.run("verify").stdout
    assert "all well" in site.run("verify", "--deep").stdout
    site.long_after()
    orphans = parsed(site.run("orphans", "--format", "jsonl").stdout)
    assert {orphan["key"] for orphan in orphans} == set(odd.hostile.strays)
    missing = site.run("orphans", "--missing", "--format", "jsonl")
    assert missing.stdout == ""

    site.run("--manifest", "again.db", "plan")
    adopted = json.loads(site.run("--manifest", "again.db", "adopt", "--json").stdout)
    assert site.run("--manifest", "again.db", "ls", "--state", "pending").stdout == "", adopted


def test_a_store_copies_them_by_itself(odd: Odd) -> None:
    odd.site.configure(copy={"server_side": "auto"})
    odd.site.run("plan")
    odd.site.run("copy")
    assert odd.at_destination() == odd.hostile.objects


def test_what_is_lost_or_changed_is_found_and_brought_again(odd: Odd) -> None:
    site, objects = odd.site, odd.hostile.objects
    site.run("plan")
    site.run("copy")
    for number, key in enumerate(objects):
        if number % 2:
            odd.client.delete_object(Bucket=odd.buckets.destination, Key=key)
        else:
            odd.client.put_object(Bucket=odd.buckets.destination, Key=key, Body=b"something else")
    site.run("verify", code=3)
    assert site.status()["totals"]["pending"] == len(objects)
    site.run("copy")
    assert odd.at_destination() == objects
    site.run("verify")


@pytest.mark.parametrize("odd", ["seaweed"], indirect=True)
def test_a_list_for_pipes_is_exact_but_for_keys_that_are_no_line(odd: Odd) -> None:
    """Whoever deletes by a list must not be led to a key that somebody else has written into a file name."""
    odd.site.run("plan")
    done = odd.site.run("ls")
    lines = done.stdout.split("\n")[:-1]
    whole = {key for key in odd.hostile.objects if "\n" not in key and "\r" not in key}
    assert set(lines) == whole
    left_out = len(odd.hostile.objects) - len(whole)
    assert f"{left_out} keys hold line breaks and are left out" in done.stderr


@pytest.mark.parametrize("odd", ["seaweed"], indirect=True)
def test_nothing_is_run_and_nothing_is_written_beside(odd: Odd) -> None:
    odd.site.run("plan")
    odd.site.run("copy")
    allowed = {"config.ini", "mastosync.db", "mastosync.db.lock", "mastosync.db-wal", "mastosync.db-shm"}
    assert {path.name for path in odd.site.folder.iterdir()} <= allowed
