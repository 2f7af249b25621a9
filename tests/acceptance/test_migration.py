"""A whole migration as a user runs it: the installed command, a real database, real stores."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
from collections import Counter

import pytest

from lab.buckets import BucketPair
from lab.instance import upload
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.bucket_checks import assert_holds, assert_untouched
from tests.support.site import COMMAND, shown


def expected_states(migration: Migration) -> dict[tuple[str, str | None], int]:
    instance = migration.instance
    counts = {
        ("done", None): len(instance.present),
        ("failed", "missing"): len(instance.missing),
        ("skipped", "optional_missing"): len(instance.optional_absent),
    }
    return {place: count for place, count in counts.items() if count}


def found_states(migration: Migration) -> dict[tuple[str, str | None], int]:
    return dict(Counter((line["state"], line["reason"]) for line in migration.site.listed()))


def test_plan_copy_status_and_retry_bring_over_everything_there_is(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, own_source=True, large_video_bytes=21 * 1024 * 1024, all_oddities=True)
    site, instance = migration.site, migration.instance

    dry = site.run_installed("plan", "--dry-run")
    assert f"{len(instance.objects):,}" in dry.stdout
    assert sorted(path.name for path in site.folder.iterdir()) == ["config.ini"]

    site.run_installed("plan")
    assert {line["key"] for line in site.listed("--state", "pending")} == {each.key for each in instance.objects}

    copied = site.run_installed("copy", "--workers", "8", code=3)
    assert f"failed {len(instance.missing)}" in copied.stdout, shown(copied)
    assert found_states(migration) == expected_states(migration)
    assert_holds(buckets.client, buckets.destination, instance.at_destination())

    totals = site.status()["totals"]
    assert totals["total"] == len(instance.objects)
    assert totals["done"] == len(instance.present)
    assert totals["bytes_done"] == sum(each.source.size for each in instance.present)

    upload(buckets.client, buckets.source, [each.source for each in instance.missing])
    retried = site.run_installed("retry-failed", "--reason", "missing")
    assert f"{len(instance.missing)} failed entries are pending again" in retried.stdout
    assert site.status()["totals"]["failed"] == 0
    assert_holds(buckets.client, buckets.destination, instance.at_destination(instance.missing))
    source_keys = {*instance.at_source(), *(each.source.key for each in instance.missing)}
    assert_untouched(buckets.client, buckets.source, source_keys)


def test_every_entry_is_listed_with_what_the_contract_promises(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets)
    site, expected = migration.site, {each.key: each for each in migration.instance.objects}
    site.run("plan")
    site.run("copy", code=3)
    for line in site.listed():
        each = expected.pop(line["key"])
        place = (each.table, each.row_id, each.attachment, each.style)
        assert (line["table"], line["id"], line["attachment"], line["style"]) == place
        assert (line["optional"], line["private"]) == (each.optional, each.private)
        if each.present:
            assert (line["state"], line["reason"], line["attempts"]) == ("done", None, 1)
            assert (line["source_key"], line["size"]) == (each.source.key, each.source.size)
            assert line["md5"] == each.source.md5
    assert not expected
    missing = {each.key for each in migration.instance.missing}
    assert set(site.run("ls", "--state", "failed").stdout.splitlines()) == missing
    rows = site.run("ls", "--format", "csv", "--reason", "missing").stdout.splitlines()
    assert rows[0].startswith("table,id,attachment,style,key,source_key,state,reason,size,attempts")
    assert len(rows) == 1 + len(missing)
    assert len(site.run("ls", "--limit", "5").stdout.splitlines()) == 5


def test_status_tells_the_same_as_the_list(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets)
    site = migration.site
    site.run("plan")
    site.run("copy", code=3)
    status, lines = site.status(), site.listed()
    by_type = Counter((line["table"], line["state"]) for line in lines)
    for table, tally in status["by_type"].items():
        for state in ("pending", "done", "failed", "skipped"):
            assert tally[state] == by_type[table, state], (table, state)
    assert status["reasons"] == Counter(line["reason"] for line in lines if line["reason"])
    assert status["snapshot"]["seen"] == len(lines)
    text = site.run("status").stdout
    assert "media_attachments" in text
    assert f"{status['totals']['done']:,}" in text
    assert migration.buckets.destination in text


def test_a_second_copy_has_nothing_to_do_and_asks_no_store(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, missing=0)
    migration.site.run("plan")
    first = migration.site.run("copy", code=None)
    failed = len(migration.instance.missing)
    assert first.returncode == (3 if failed else 0), shown(first)
    migration.through(source="http://127.0.0.1:9", destination="http://127.0.0.1:9")
    again = migration.site.run("copy", code=6)  # another endpoint is another store
    assert "belongs to another" in again.stderr
    migration.through(buckets.address.endpoint_url, buckets.address.endpoint_url)
    assert "copied 0 objects" in migration.site.run("copy", code=first.returncode).stdout


def test_planning_again_adds_what_is_new_marks_what_is_gone_and_leaves_what_is_done(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, missing=0)
    site = migration.site
    site.run("plan")
    site.run("copy", code=None)
    before = {line["key"]: line for line in site.listed()}
    with migration.database.connect() as connection:
        gone = connection.execute("DELETE FROM custom_emojis RETURNING id").fetchall()
        connection.execute(
            "UPDATE accounts SET avatar_file_name = 'replaced.png', avatar_content_type = 'image/png'"
            " WHERE id = (SELECT max(id) FROM accounts WHERE avatar_file_name <> '' AND domain IS NULL)"
        )
    assert gone
    site.run("plan")
    after = {line["key"]: line for line in site.listed()}
    new = after.keys() - before.keys()
    assert {(after[key]["state"], key.rsplit("/", 1)[-1]) for key in new} == {("pending", "replaced.png")}
    for key, line in before.items():
        left = line["table"] == "custom_emojis" or (
            line["attachment"] == "avatar" and line["id"] == after[min(new)]["id"]
        )
        assert after[key]["state"] == ("skipped" if left else line["state"]), key
        assert after[key]["reason"] == ("gone" if left else line["reason"])
        assert (after[key]["md5"], after[key]["size"]) == (line["md5"], line["size"])


@pytest.mark.parametrize("prefix", ["mastodon", "a/b"])
def test_a_key_prefix_is_kept_and_bare_objects_move_under_it(
    buckets: BucketPair, new_migration: MigrationFactory, prefix: str
) -> None:
    migration = new_migration(buckets, key_prefix=prefix, accounts=5, media=5, all_oddities=True)
    migration.site.run("plan")
    migration.site.run("copy", code=3)
    assert found_states(migration) == expected_states(migration)
    assert_holds(buckets.client, buckets.destination, migration.instance.at_destination())


def test_types_scope_and_limit_choose_what_is_planned_and_copied(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, missing=0)
    site, instance = migration.site, migration.instance
    site.run("plan", "--type", "accounts", "--type", "backups")
    assert {line["table"] for line in site.listed()} == {"accounts", "backups"}
    site.run("plan", "--only", "local", "--type", "custom_emojis")
    local = {each.key for each in instance.objects if each.table == "custom_emojis" and "cache/" not in each.source.key}
    assert {line["key"] for line in site.listed("--type", "custom_emojis")} <= local
    site.run("plan", "--type", "media_attachments", "--limit", "3")
    assert len({line["id"] for line in site.listed("--type", "media_attachments")}) == 3
    site.run("copy", "--type", "backups", code=None)
    assert {line["table"] for line in site.listed("--state", "done")} == {"backups"}
    site.run("copy", "--limit", "4", code=None)
    backups = len(site.listed("--type", "backups", "--state", "done"))
    finished = [line for line in site.listed() if line["state"] != "pending"]
    assert len(finished) == backups + 4
    site.run("plan")
    assert {line["key"] for line in site.listed()} == {each.key for each in instance.objects}
    assert not site.listed("--reason", "gone")


def test_private_objects_stay_private_on_a_store_with_acls(
    moto_buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(moto_buckets, accounts=6, media=6, all_oddities=True)
    migration.site.run("plan")
    migration.site.run("copy", code=3)
    assert migration.instance.private
    client, bucket = moto_buckets.client, moto_buckets.destination
    for each in migration.instance.present:
        grants = client.get_object_acl(Bucket=bucket, Key=each.key)["Grants"]
        public = any("AllUsers" in grant["Grantee"].get("URI", "") for grant in grants)
        assert public != each.private, each.key


@pytest.mark.parametrize("known_by", [{"acl": "none"}, {"provider": "minio"}])
def test_private_objects_stay_behind_where_no_acl_is_sent(
    buckets: BucketPair, new_migration: MigrationFactory, known_by: dict[str, str]
) -> None:
    migration = new_migration(buckets, accounts=6, media=6)
    migration.site.configure(s3_destination=known_by)
    migration.site.run("plan")
    migration.site.run("copy", code=3)
    kept_back = {line["key"] for line in migration.site.listed("--reason", "private")}
    assert {each.key for each in migration.instance.private} <= kept_back
    told = migration.site.run("copy", code=3).stdout
    assert f"{len(kept_back)} private objects were not copied" in told
    public = {key: each for key, each in migration.instance.at_destination().items() if not each.private}
    assert_holds(buckets.client, buckets.destination, public)


def test_a_row_that_becomes_private_is_written_again_as_private(
    moto_buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(moto_buckets, accounts=6, media=6, missing=0, all_oddities=True)
    migration.site.run("plan")
    migration.site.run("copy", code=None)
    with migration.database.connect() as connection:
        connection.execute("UPDATE accounts SET suspended_at = now()")
    migration.site.run("plan")
    pending = {line["key"] for line in migration.site.listed("--state", "pending")}
    assert pending
    migration.site.run("copy", code=None)
    for key in pending:
        grants = moto_buckets.client.get_object_acl(Bucket=moto_buckets.destination, Key=key)["Grants"]
        assert not any("AllUsers" in grant["Grantee"].get("URI", "") for grant in grants), key


def test_the_log_tells_in_json_what_failed_and_quiet_tells_only_news(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets)
    site = migration.site
    done = site.run("-q", "plan")
    assert (done.stdout, done.stderr) == ("", "")
    done = site.run("-q", "--log-file", "run.log", "--log-format", "json", "copy", code=3)
    assert done.stdout == ""
    assert f"(missing {len(migration.instance.missing)})" in done.stderr
    assert done.stderr.count("\n") == 1
    events = [json.loads(line) for line in (site.folder / "run.log").read_text().splitlines()]
    failed = [event for event in events if event.get("reason") == "missing"]
    assert {event["key"] for event in failed} == {each.key for each in migration.instance.missing}
    assert (site.folder / "run.log").stat().st_mode & 0o777 == 0o600
    for command in (["accept", "--reason", "missing"], ["follow", "--once"], ["copy"]):
        done = site.run("-q", *command)
        assert (done.stdout, done.stderr) == ("", ""), command


@pytest.mark.parametrize("columns", [0, 120])
def test_progress_is_a_bar_on_a_terminal(buckets: BucketPair, new_migration: MigrationFactory, columns: int) -> None:
    """Also on one that does not know its width."""
    migration = new_migration(buckets, accounts=4, media=4)
    migration.site.run("plan")
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [COMMAND, "copy"], cwd=migration.site.folder, env=migration.site.environment(), stdout=end, stderr=end
        )
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
            while part := screen.read(4096):
                shown += part
        assert process.wait(60) == 3
    total = len(migration.instance.objects)
    assert f"| {total}/{total} [".encode() in shown
    assert b"throttled 0" in shown


def test_progress_is_a_line_a_second_without_a_terminal(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets)
    migration.site.run("plan")
    done = migration.site.run("copy", code=3)
    assert f"of {len(migration.instance.objects)} objects" in done.stderr
    assert "throttled 0" in done.stderr
    assert "\r" not in done.stderr
