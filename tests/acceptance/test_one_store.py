"""One store under two names: the names do not tell, so somebody has to look before anything is written or removed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from lab.buckets import BucketPair, delete_bucket
from lab.fault_plan import ACCESS_DENIED, RESET, Fault, FaultPlan, always, answer, no_faults, stall
from lab.faults import FaultProxy
from lab.instance_check import iter_keys
from mastosync.copying.same_store import FOLDER
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.acceptance.test_follow import execute, holds, listing, of_a_picture
from tests.support.bucket_checks import assert_holds
from tests.support.waiting import wait_until

Start = Callable[..., tuple[Migration, FaultProxy]]


@pytest.fixture
def start(buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Callable[..., FaultProxy]) -> Start:
    """Factory: a planned migration whose destination is reached by another name, and the proxy of that name."""

    def make(bucket: str, *, prefix: str = "", plan: FaultPlan = no_faults) -> tuple[Migration, FaultProxy]:
        migration = new_migration(buckets, own_source=True, missing=0, accounts=3, media=4)
        proxy = fault_proxy(buckets.address.endpoint_url, plan)
        migration.through(destination=proxy.endpoint_url)
        migration.site.configure(s3_destination={"bucket": bucket, "key_prefix": prefix})
        migration.site.run("plan")
        return migration, proxy

    return make


def probes(proxy: FaultProxy) -> list[str]:
    """What was asked about probe objects at the destination."""
    return [each.request.operation for each in proxy.requests if FOLDER in each.request.key]


def remove_a_picture(migration: Migration) -> list[str]:
    """Delete its row and plan; its keys."""
    row, keys = of_a_picture(migration)
    execute(migration, b"DELETE FROM media_attachments WHERE id = %s", row)
    migration.site.run("plan")
    return keys


def adopted_by_an_older_version(migration: Migration) -> None:
    """Have everything marked as done without a look, as before there was one."""

    def remember(statement: str) -> None:
        with closing(sqlite3.connect(migration.site.manifest)) as connection, connection:
            connection.execute(statement)

    remember("INSERT INTO meta (name, value) VALUES ('relation', 'two stores')")
    migration.site.run("adopt")
    remember("DELETE FROM meta WHERE name = 'relation'")


def findings(migration: Migration) -> dict[str, dict[str, str]]:
    """What `cutover` and `report` say of the two stores, by command."""
    cutover = json.loads(migration.site.run("cutover", "--json", code=None).stdout)
    report = json.loads(migration.site.run("report", "--format", "json").stdout)["verdict"]
    told = {"cutover": cutover["findings"], "report": report["findings"]}
    return {command: next(each for each in found if each["check"] == "apart") for command, found in told.items()}


def test_where_nothing_is_ever_copied_nobody_gives_up_the_only_store(start: Start, buckets: BucketPair) -> None:
    migration, proxy = start(buckets.source)
    site, before = migration.site, listing(migration, buckets.source)
    adopted_by_an_older_version(migration)
    site.run("verify")
    site.run("cutover", code=3)
    told = findings(migration)
    assert {command: finding["status"] for command, finding in told.items()} == {
        "cutover": "no-go",
        "report": "not-yet",
    }
    assert all("mastosync copy" in finding["remedy"] for finding in told.values())
    assert "are the same store" in site.run("copy", code=4).stderr, "it looks, though it has nothing to copy"
    assert probes(proxy) == ["PutObject", "DeleteObject"]
    assert findings(migration) == told
    assert listing(migration, buckets.source) == before


def test_who_adopts_from_two_stores_has_them_looked_at(start: Start, buckets: BucketPair) -> None:
    migration, proxy = start(buckets.destination)
    migration.site.run("adopt")
    assert probes(proxy) == ["PutObject", "DeleteObject"]
    assert {each["status"] for each in findings(migration).values()} == {"ok"}


def test_nothing_is_written_or_removed_where_another_name_leads_to_the_source(
    start: Start, buckets: BucketPair
) -> None:
    migration, _ = start(buckets.source)
    site, before = migration.site, listing(migration, buckets.source)
    adopted_by_an_older_version(migration)
    remove_a_picture(migration)
    execute(migration, b"UPDATE accounts SET avatar_file_name = 'another.png'")
    for command in (
        ("adopt",),
        ("copy",),
        ("follow", "--once", "--prune"),
        ("refetch", "--apply"),
        ("prune", "--apply", "--adopted"),
    ):
        refused = site.run(*command, code=4)
        assert "are the same store" in refused.stderr, command
        site.run("plan")
    told = site.run("doctor", "--json", code=None)
    (finding,) = [each for each in json.loads(told.stdout)["checks"] if each["check"] == "apart"]
    assert finding["status"] == "failure"
    assert "are the same store" in finding["message"]
    assert listing(migration, buckets.source) == before


def test_one_bucket_with_two_key_prefixes_is_copied_within_and_pruned_by_hand(
    start: Start, buckets: BucketPair
) -> None:
    migration, proxy = start(buckets.source, prefix="new")
    site, strays = migration.site, migration.site.run("orphans", "--format", "text").stdout
    site.run("copy")
    assert probes(proxy) == ["PutObject", "DeleteObject"]
    copies = [key for key, _, _ in listing(migration, buckets.source) if key.startswith("new/")]
    assert len(copies) == len(migration.instance.present)
    assert site.run("orphans", "--format", "text").stdout == strays
    assert json.loads(site.run("orphans", "--json").stdout)["copies"]["objects"] == len(copies)
    remove_a_picture(migration)
    assert "same bucket" in site.run("prune", "--apply", code=2).stderr


def test_two_stores_are_looked_at_once_for_copies_and_anew_before_each_prune(start: Start, buckets: BucketPair) -> None:
    migration, proxy = start(buckets.destination)
    site = migration.site
    site.run("copy", "--type", "accounts")
    site.run("copy")
    assert probes(proxy) == ["PutObject", "DeleteObject"]
    keys = remove_a_picture(migration)
    site.run("prune", "--apply")
    assert not any(holds(migration, key) for key in keys)
    assert probes(proxy) == ["PutObject", "DeleteObject"] * 2
    with closing(sqlite3.connect(site.manifest)) as connection, connection:
        connection.execute("UPDATE entries SET origin = 1")  # adopted
    execute(migration, b"UPDATE accounts SET avatar_file_name = NULL")
    site.run("plan")
    assert "were adopted" in site.run("prune").stdout
    asked = len(proxy.requests)
    for command in (("prune", "--apply"), ("prune", "--adopted"), ("follow", "--once", "--full", "--prune")):
        site.run(*command)
    assert len(proxy.requests) == asked, "who removes nothing asks nothing: what was adopted stays"
    assert not [key for key in iter_keys(buckets.client, buckets.destination) if FOLDER in key]


def test_what_a_killed_run_left_of_a_probe_is_removed_by_the_next(start: Start, buckets: BucketPair) -> None:
    migration, proxy = start(buckets.destination, plan=always(stall(60), operation="DeleteObject"))
    copying = migration.site.start("--no-progress", "copy")
    try:
        wait_until(lambda: probes(proxy) != [], "a probe is written")
        wait_until(lambda: set(iter_keys(buckets.client, buckets.destination)) != set(), "and lies there")
    finally:
        copying.kill()
        copying.communicate(timeout=60)
    proxy.plan = no_faults
    migration.site.run("copy")
    assert_holds(buckets.client, buckets.destination, migration.instance.at_destination())


def test_a_source_that_does_not_tell_what_is_missing_can_be_copied_from_and_nothing_is_pruned(
    start: Start, buckets: BucketPair, fault_proxy: Callable[..., FaultProxy]
) -> None:
    migration, _ = start(buckets.destination)
    site = migration.site
    source = fault_proxy(buckets.address.endpoint_url, always(ACCESS_DENIED, operation="GetObject", key=f"{FOLDER}/*"))
    migration.through(source=source.endpoint_url)
    site.manifest.unlink()
    site.run("plan")
    warned = site.run("copy").stderr
    assert "s3:ListBucket" in warned
    told = findings(migration)
    assert {command: finding["status"] for command, finding in told.items()} == {
        "cutover": "warning",
        "report": "not-yet",
    }
    assert all("s3:ListBucket" in finding["remedy"] for finding in told.values())
    assert "s3:ListBucket" in site.run("copy").stderr, "who has nothing to copy looks once more"
    keys = remove_a_picture(migration)
    refused = site.run("prune", "--apply", code=7)
    assert "nothing is removed" in refused.stderr
    assert "s3:ListBucket" in refused.stderr
    assert all(holds(migration, key) for key in keys)
    source.plan = no_faults
    assert "s3:ListBucket" not in site.run("copy").stderr
    assert {each["status"] for each in findings(migration).values()} == {"ok"}


def test_what_is_gone_is_pruned_though_the_old_bucket_was_deleted(start: Start, buckets: BucketPair) -> None:
    migration, _ = start(buckets.destination)
    site = migration.site
    site.run("copy")
    keys = remove_a_picture(migration)
    delete_bucket(buckets.client, buckets.source)
    site.run("prune", "--apply")
    assert not any(holds(migration, key) for key in keys)
    assert not [key for key in iter_keys(buckets.client, buckets.destination) if FOLDER in key]


@pytest.mark.parametrize("said", [RESET, answer(403, "InvalidAccessKeyId"), ACCESS_DENIED])
def test_of_a_source_that_does_not_answer_the_user_has_to_say_that_it_is_another_store(
    start: Start, buckets: BucketPair, fault_proxy: Callable[..., FaultProxy], said: Fault
) -> None:
    """The server is off, its keys were revoked: it may be the same store behind another door."""
    migration, _ = start(buckets.destination)
    site = migration.site
    source = fault_proxy(buckets.address.endpoint_url)
    migration.through(source=source.endpoint_url)
    site.configure(copy={"max_attempts": "2"})
    site.manifest.unlink()
    site.run("plan")
    site.run("copy")
    keys = remove_a_picture(migration)
    source.plan = always(said)
    refused = site.run("prune", "--apply", code=7)
    assert "--source-gone" in refused.stderr
    assert "cannot find out whether" in refused.stderr
    assert all(holds(migration, key) for key in keys)
    assert "--source-gone" in site.run("prune", "--apply", "--source-gone").stderr
    assert not any(holds(migration, key) for key in keys)


def test_nobodys_word_removes_what_the_source_shows(start: Start, buckets: BucketPair) -> None:
    migration, _ = start(buckets.source)
    site, before = migration.site, listing(migration, buckets.source)
    adopted_by_an_older_version(migration)
    remove_a_picture(migration)
    for command in (("refetch", "--apply"), ("prune", "--apply", "--adopted")):
        assert "are the same store" in site.run(*command, "--source-gone", code=4).stderr
    assert listing(migration, buckets.source) == before
