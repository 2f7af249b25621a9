"""`mastosync follow` and `prune`: a destination that keeps pace with an instance that lives on."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from contextlib import closing

import pytest
from botocore.exceptions import ClientError

from lab.buckets import BucketPair
from lab.fault_plan import RESET
from lab.faults import FaultProxy
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.site import shown
from tests.support.waiting import wait_until


@pytest.fixture
def migration(buckets: BucketPair, new_migration: MigrationFactory) -> Migration:
    return new_migration(buckets, own_source=True, missing=0, accounts=4, media=6)


def execute(migration: Migration, statement: bytes, *values: object) -> None:
    with closing(migration.database.connect(autocommit=True)) as connection:
        connection.execute(statement, values)


def holds(migration: Migration, key: str) -> bool:
    try:
        migration.buckets.client.head_object(Bucket=migration.buckets.destination, Key=key)
    except ClientError:
        return False
    return True


def listing(migration: Migration, bucket: str) -> list[tuple[str, str, object]]:
    """Every object of a bucket: its key, its ETag, and when it was written."""
    pages = migration.buckets.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [(each["Key"], each["ETag"], each["LastModified"]) for page in pages for each in page["Contents"]]


def of_a_picture(migration: Migration) -> tuple[int, list[str]]:
    """A row with an ordinary picture of this server, and the keys of its original and its small version."""
    found: dict[int, list[str]] = {}
    for line in migration.site.listed("--type", "media_attachments", "--state", "done"):
        if not line["key"].startswith("cache/") and re.search(r"/[a-z0-9]+\.(jpe?g|png)$", line["key"]):
            found.setdefault(line["id"], []).append(line["key"])
    return next(
        (row, keys) for row, keys in found.items() if len({key.rpartition("/")[2] for key in keys}) == 1 < len(keys)
    )


@pytest.mark.timing
def test_what_changes_arrives_and_what_leaves_is_removed_until_somebody_asks_to_stop(migration: Migration) -> None:
    site, buckets = migration.site, migration.buckets
    assert "round 1: " in site.run("follow", "--once").stdout
    before = site.status()
    assert before["totals"]["pending"] == before["totals"]["failed"] == 0
    row, old = of_a_picture(migration)
    new = [key.rpartition("/")[0] + "/renamed." + key.rpartition(".")[2] for key in old]
    following = site.start("--no-progress", "follow", "--every", "1s", "--prune")
    try:
        for before_key, after_key in zip(old, new, strict=True):
            buckets.client.copy_object(
                Bucket=buckets.source, Key=after_key, CopySource={"Bucket": buckets.source, "Key": before_key}
            )
        source = listing(migration, buckets.source)
        statement = (
            b"UPDATE media_attachments SET updated_at = now() AT TIME ZONE 'UTC', file_updated_at = now(),"
            b" file_file_name = regexp_replace(file_file_name, '^.*[.]', 'renamed.') WHERE id = %s"
        )
        execute(migration, statement, row)
        wait_until(lambda: all(holds(migration, key) for key in new), "the new file has arrived")
        wait_until(lambda: not any(holds(migration, key) for key in old), "the old one is removed")
        assert site.status()["snapshot"]["incremental"]
        assert "incremental; the last whole plan was made" in site.run("status").stdout
        following.send_signal(signal.SIGTERM)
        out, err = following.communicate(timeout=60)
    finally:
        following.kill()
    assert following.returncode == 130, err
    assert any("removed" in line and "; next at " in line for line in out.splitlines()), out
    assert not [line for line in err.splitlines() if "unexpected" in line], err
    site.run("manifest", "check")
    assert listing(migration, buckets.source) == source  # nothing is ever written or deleted there


def test_a_store_that_is_out_of_reach_in_the_first_round_is_waited_for(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Callable[..., FaultProxy]
) -> None:
    migration = new_migration(buckets, missing=0, accounts=2, media=2)
    site = migration.site.configure(copy={"max_attempts": "1"})
    proxy = fault_proxy(buckets.address.endpoint_url, lambda _: RESET)
    migration.through(destination=proxy.endpoint_url)
    following = site.start("--no-progress", "follow", "--every", "1s")
    try:
        assert following.stderr is not None
        told = iter(following.stderr.readline, "")
        assert any("round 2 failed (2 in a row)" in line for line in told)
        proxy.plan = lambda _: None
        wait_until(lambda: site.status()["totals"]["done"] > 0, "a later round has copied")
        following.send_signal(signal.SIGTERM)
        following.communicate(timeout=60)
    finally:
        following.kill()
        following.communicate()
    assert following.returncode == 130


def test_what_is_refused_in_the_first_round_ends_it_at_once(migration: Migration) -> None:
    site = migration.site
    site.configure(pg_database={"password": "wrong"})
    assert "password authentication failed" in site.run("follow", code=5).stderr
    site.configure(pg_database={"password": migration.database.password}, s3_destination={"bucket": "no-such-bucket"})
    assert "NoSuchBucket" in site.run("follow", code=7).stderr
    site.configure(s3_destination={"bucket": migration.buckets.destination, "secret_key": "wrong"})
    site.manifest.unlink()
    site.run("follow", code=7)


def test_prune_tells_before_it_removes_and_refuses_an_empty_database(migration: Migration) -> None:
    site = migration.site
    site.run("follow", "--once")
    row, keys = of_a_picture(migration)
    execute(migration, b"DELETE FROM media_attachments WHERE id = %s", row)
    site.run("plan", "--delta")
    told = site.run("prune", "--apply").stdout
    assert "0 objects" in told  # nobody says that a row was deleted
    assert "are not known" in told
    assert "run `mastosync plan`" in told
    site.run("plan")
    dry = site.run("prune").stdout
    assert "are not known" not in dry, dry
    assert "nothing was removed" in dry, dry
    assert all(holds(migration, key) for key in keys)
    site.run("prune", "--apply")
    assert not any(holds(migration, key) for key in keys)
    execute(migration, b"TRUNCATE media_attachments, accounts, custom_emojis, preview_cards CASCADE")
    site.run("plan", "--accept-gone")
    for prune in (("prune", "--adopted", "--apply"), ("follow", "--once", "--prune")):
        kept = site.run(*prune).stdout
        assert "objects stay: a plan lost them by --accept-gone" in kept
        assert "0 removed" in kept or "0 were removed" in kept
    site.run("accept", "--gone")
    refused = site.run("prune", "--apply", "--at-most", "3", code=3)
    assert "--at-most" in refused.stderr, shown(refused)
    site.run("plan", "--type", "accounts")
    site.run("prune", code=6)


def test_what_a_plan_left_out_is_not_taken_in_by_oversight(migration: Migration) -> None:
    site = migration.site
    site.run("plan", "--only", "local")
    planned = site.status()["totals"]["total"]
    refused = site.run("follow", "--once", code=2)
    assert "--only" in refused.stderr
    assert "mastosync plan" in refused.stderr
    assert site.status()["totals"]["total"] == planned
    site.run("follow", "--once", "--only", "local")
    assert site.status()["snapshot"]["incremental"]
    site.configure(plan={"only": "local"})
    site.run("follow", "--once")
    assert site.status()["totals"]["total"] == planned
