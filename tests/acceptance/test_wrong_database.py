"""A plan of a database that cannot be the right one: it changes nothing, and what it would have lost is never lost."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from lab.addresses import DatabaseAddress, PostgresAddress
from lab.buckets import BucketPair
from lab.faults import FaultProxy
from lab.instance_check import iter_keys
from mastosync.model import TABLES
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.acceptance.test_guide import add_emoji, keys_of, store_picture
from tests.support.site import pg_section, shown

EMPTIED = f"TRUNCATE {', '.join(TABLES)} CASCADE"
HALF = "TRUNCATE media_attachments"
ALL_BUT_THE_NEWEST = "DELETE FROM {0} WHERE id <> (SELECT max(id) FROM {0})"
ANOTHER = "UPDATE accounts SET created_at = created_at + interval '1 second'"
NEWEST_DELETED = "DELETE FROM media_attachments WHERE id = (SELECT max(id) FROM media_attachments)"
MakeOther = Callable[..., DatabaseAddress]


@pytest.fixture
def proxies(buckets: BucketPair, fault_proxy: Callable[..., FaultProxy]) -> tuple[FaultProxy, FaultProxy]:
    """What source and destination are asked goes through these."""
    return fault_proxy(buckets.address.endpoint_url), fault_proxy(buckets.address.endpoint_url)


@pytest.fixture
def migration(
    buckets: BucketPair, new_migration: MigrationFactory, proxies: tuple[FaultProxy, FaultProxy]
) -> Migration:
    """Planned and copied."""
    migration = new_migration(buckets, missing=1, accounts=6, media=15)
    migration.through(*(proxy.endpoint_url for proxy in proxies))
    migration.site.configure(copy={"private_objects": "copy"})
    migration.site.run("plan")
    migration.site.run("copy", code=3)
    return migration


@pytest.fixture
def make_copy(lab_postgres: PostgresAddress) -> Iterator[MakeOther]:
    """Factory: a copy of a database, as a dump and a restore make it, in which statements were run."""
    with ExitStack() as databases:

        def make(original: DatabaseAddress, *statements: str) -> DatabaseAddress:
            name = f"t_{uuid.uuid4().hex[:16]}"
            databases.callback(lab_postgres.drop_database, name)
            address = lab_postgres.create_database(name, original.name)
            with address.connect() as connection:
                for statement in statements:
                    connection.execute(statement.encode())
            return address

        yield make


@pytest.fixture
def make_other(migration: Migration, make_copy: MakeOther) -> MakeOther:
    """Factory: such a copy of the database of the migration."""
    return partial(make_copy, migration.database)


def contents(migration: Migration) -> list[dict[str, object]]:
    """All of the manifest that a plan could change."""
    lines = migration.site.run("manifest", "export").stdout.splitlines()
    return [json.loads(line) for line in lines if not line.startswith('{"entries"')]


def use(migration: Migration, database: DatabaseAddress) -> None:
    migration.site.configure(pg_database=pg_section(database))


def test_a_plan_that_would_lose_much_of_what_is_done_is_refused_and_changes_nothing(
    migration: Migration, make_other: MakeOther
) -> None:
    site, before = migration.site, contents(migration)
    for statement, command, lacking in (
        (EMPTIED, ("plan",), "had rows, and have none now"),
        (HALF, ("plan",), "media_attachments had rows, and has none now"),
        (ALL_BUT_THE_NEWEST.format("media_attachments"), ("plan",), "entries that were planned are not in"),
        (
            ALL_BUT_THE_NEWEST.format("media_attachments"),
            ("plan", "--type", "media_attachments"),
            "entries that were planned are not in",
        ),
    ):
        other = make_other(statement)
        use(migration, other)
        refused = site.run(*command, code=6)
        assert lacking in refused.stderr, shown(refused)
        assert f'"{other.name}" at {other.host}:{other.port}' in refused.stderr
        assert "is this the right database" in refused.stderr
        assert "mastosync plan --accept-gone" in refused.stderr
        assert other.password not in refused.stderr
    dry = site.run("plan", "--dry-run")
    assert "a plan would be refused: " in dry.stderr, shown(dry)
    assert "--accept-gone" in dry.stderr
    assert "would be gone" in json.loads(site.run("plan", "--dry-run", "--json").stdout)["refusal"]
    assert contents(migration) == before


def test_a_database_that_is_restored_by_half_is_refused_also_if_little_was_copied(
    buckets: BucketPair, new_migration: MigrationFactory, make_copy: MakeOther
) -> None:
    """It was moved, and pg_restore has come to some tables only."""
    migration = new_migration(buckets, missing=0, media=12)
    site, half = migration.site, make_copy(migration.database, HALF)
    site.run("plan")
    site.run("copy", "--limit", "8", code=None)
    before = contents(migration)
    use(migration, half)
    for options in ((), ("--delta",), ("--type", "media_attachments")):
        said = site.run("plan", *options, code=6).stderr.splitlines()
        assert f'database "{half.name}" at ' in said[0]
        assert "media_attachments had rows, and has none now; nothing was changed" in said[0], said
        assert said[1].strip() == (
            "is this the right database, and is all of it restored? If so, and that much was deleted:"
            " `mastosync plan --accept-gone`"
        )
    assert "a plan would be refused: " in site.run("plan", "--dry-run").stderr
    assert contents(migration) == before
    media = site.listed("--type", "media_attachments")
    lost = sum(each["state"] in ("pending", "done") for each in media)
    site.run("plan", "--accept-gone")
    kept = verdict_on_the_plan(migration)
    assert (kept["status"], f"lost {lost} objects" in kept["message"]) == ("not-yet", True), kept
    use(migration, migration.database)
    site.run("plan")
    assert verdict_on_the_plan(migration)["status"] == "ok"


def test_no_plan_is_made_before_the_rows_are_there_that_say_what_is_private(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    """The first one has nothing to compare a database with that is being restored."""
    migration = new_migration(buckets)
    site = migration.site
    with migration.database.connect(autocommit=True) as connection:
        connection.execute(b"ALTER TABLE statuses RENAME TO later")
        connection.execute(b"CREATE TABLE statuses (LIKE later)")
    for options in ((), ("--type", "media_attachments")):
        refused = site.run("plan", *options, code=6)
        assert "rows of media_attachments refer to rows of statuses, and statuses has none" in refused.stderr
        assert "is a restore still at work?" in refused.stderr, shown(refused)
    assert "a plan would be refused: " in site.run("plan", "--dry-run").stderr
    with migration.database.connect(autocommit=True) as connection:
        connection.execute(b"INSERT INTO statuses SELECT * FROM later")
    site.run("plan")


def test_what_was_gone_by_mistake_is_looked_at_once_and_nothing_is_uploaded(
    migration: Migration, make_other: MakeOther, proxies: tuple[FaultProxy, FaultProxy]
) -> None:
    site, done = migration.site, migration.site.status()["totals"]["done"]
    (missing,) = site.listed("--state", "failed")
    use(migration, make_other(EMPTIED))
    site.run("plan", "--accept-gone")
    assert site.status()["totals"]["done"] == 0
    kept = verdict_on_the_plan(migration)
    assert kept["status"] == "not-yet"
    assert f"lost {done} objects" in kept["message"]
    site.run("plan")
    assert verdict_on_the_plan(migration) == kept, "the same database once more finds nothing again"
    findings = json.loads(site.run("cutover", "--json", code=None).stdout)["findings"]
    assert {"lost-by-plan": "no-go"}.items() <= {each["check"]: each["status"] for each in findings}.items()
    use(migration, migration.database)
    site.run("plan", "--delta")  # which does not go on from another database
    assert verdict_on_the_plan(migration)["status"] == "ok"
    pending = {line["key"]: line for line in site.listed("--state", "pending")}
    assert len(pending) >= done
    assert pending[missing["key"]]["attempts"] == missing["attempts"] > 0
    earlier = [len(proxy.requests) for proxy in proxies]
    assert "copied" in site.run("copy", code=3).stdout
    source, destination = (
        Counter((each.request.operation, each.request.key) for each in proxy.requests[number:])
        for proxy, number in zip(proxies, earlier, strict=True)
    )
    looks = {("HeadObject", line["key"]): 1 for line in pending.values() if line["md5"] and not line["private"]}
    assert {what: count for what, count in destination.items() if what in looks} == looks
    assert not [what for what in destination if what[0] not in ("HeadObject", "GetObject") and what[1] in pending]
    assert not [key for _, key in source if key in pending and pending[key]["md5"]]
    assert site.status()["totals"]["done"] == done
    assert [line["key"] for line in site.listed("--state", "failed")] == [missing["key"]]


def test_another_instance_is_refused_and_one_that_was_moved_is_not(migration: Migration, make_other: MakeOther) -> None:
    site = migration.site
    moved, another = make_other(ALL_BUT_THE_NEWEST.format("custom_emojis")), make_other(ANOTHER)
    use(migration, moved)
    site.run("plan")
    assert checks(migration)["database"]["status"] == "ok"
    before = contents(migration)
    use(migration, another)
    for command in (("plan",), ("plan", "--delta"), ("plan", "--type", "custom_emojis")):
        refused = site.run(*command, code=6)
        assert "belongs to another database" in refused.stderr
        assert all(each.name in refused.stderr for each in (moved, another)), shown(refused)
        assert "--accept-gone" in refused.stderr
    assert "belongs to another database" in site.run("plan", "--dry-run").stderr
    found = checks(migration)["database"]
    assert found["status"] == "failure"
    assert "belongs to another database" in found["message"]
    assert contents(migration) == before
    site.run("plan", "--accept-gone")
    site.run("plan")  # by now it is the manifest's


def test_follow_copies_what_is_new_also_when_much_was_deleted(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    """Whether that was meant, somebody has to say; it keeps no upload from being copied."""
    migration = new_migration(buckets, own_source=True)
    site, (key, still) = migration.site, keys_of(700_001)
    site.run("plan")
    site.run("copy", code=None)
    with migration.database.connect() as connection:
        connection.execute(b"TRUNCATE media_attachments")
    add_emoji(migration.database, 700_001)
    for each in (key, still):
        store_picture(buckets, buckets.source, each)
    before = site.status()["totals"]["done"]
    assert "not planned, 2 copied" in site.run("follow", "--once", "--full", code=6).stdout
    assert {key, still} <= set(iter_keys(buckets.client, buckets.destination))
    assert site.status()["totals"]["done"] == before + 2
    assert not site.listed("--reason", "gone")
    assert "not planned, 0 copied" in site.run("follow", "--once", "--full", code=6).stdout


def test_what_became_private_is_hidden_also_when_much_was_deleted(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, own_source=True)
    site = migration.site
    site.run("plan")
    site.run("copy", code=None)
    of_media = [each for each in site.listed("--state", "done") if each["table"] == "media_attachments"]
    row = next(each["id"] for each in of_media if not each["private"])
    with migration.database.connect() as connection:
        connection.execute(b"DELETE FROM media_attachments WHERE id <> %s", (row,))
        connection.execute(
            b"UPDATE accounts SET suspended_at = now(), updated_at = now()"
            b" WHERE id = (SELECT account_id FROM media_attachments)"
        )
    assert "not planned" in site.run("follow", "--once", "--full", code=6).stdout
    kept = [each for each in site.listed() if (each["table"], each["id"]) == ("media_attachments", row)]
    assert {each["private"] for each in kept} == {True}
    assert len(kept) == len([each for each in of_media if each["id"] == row])
    assert not site.listed("--reason", "gone")


def test_an_older_copy_is_refused_and_newest_rows_may_be_deleted(migration: Migration, make_other: MakeOther) -> None:
    site, before = migration.site, contents(migration)
    older = make_other(NEWEST_DELETED)
    use(migration, older)
    for command in (("plan",), ("plan", "--delta"), ("plan", "--type", "media_attachments")):
        refused = site.run(*command, code=6)
        assert f'"{older.name}"' in refused.stderr
        assert "is older than what the last plan read" in refused.stderr, shown(refused)
        assert "the newest id of media_attachments was" in refused.stderr
        assert "--accept-gone" in refused.stderr
    assert "is older than" in site.run("plan", "--dry-run").stderr
    assert "not planned" in site.run("follow", "--once", code=6).stdout
    assert contents(migration) == before
    site.run("plan", "--accept-gone")
    with older.connect() as connection:
        connection.execute(NEWEST_DELETED.encode())
    site.run("plan")  # by now it is the manifest's


def verdict_on_the_plan(migration: Migration) -> dict[str, str]:
    """What `report` says of it."""
    findings = json.loads(migration.site.run("report", "--format", "json").stdout)["verdict"]["findings"]
    return next(each for each in findings if each["check"] == "plan")


def checks(migration: Migration) -> dict[str, dict[str, str]]:
    """What `doctor` says of the manifest."""
    found = json.loads(migration.site.run("doctor", "--json", code=None).stdout)["checks"]
    return {each["check"]: each for each in found if each["subject"] == "manifest"}


def test_follow_goes_on_copying_and_tells_what_it_refuses(migration: Migration, make_other: MakeOther) -> None:
    site = migration.site
    site.run("retry-failed", "--no-copy")
    use(migration, make_other(EMPTIED))
    refused = site.run("follow", "--once", "--full", "--prune", code=6)
    assert "round 1: not planned, 0 copied" in refused.stdout, shown(refused)
    assert "1 failed" in refused.stdout
    assert "is this the right database" in refused.stderr
    assert not site.listed("--reason", "gone")
    use(migration, migration.database)
    site.run("follow", "--once", "--full", code=3)
