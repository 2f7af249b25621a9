"""Settings of the destination that change after a copy: told, and put right without an upload. Moto keeps ACLs."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.buckets import BucketPair
from lab.fault_plan import Fault, Request, always, answer, no_faults
from lab.faults import FaultProxy
from lab.instance_objects import StoredObject
from mastosync.copying.same_store import FOLDER
from mastosync.model import CACHE_CONTROL
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.bucket_checks import assert_holds
from tests.support.media_folders import lay_down
from tests.support.site import shown
from tests.support.waiting import PATIENCE_SECONDS, wait_until

MIB = 1024 * 1024
BYTES = {"PutObject", "UploadPart", "CompleteMultipartUpload", "GetObject"}
"""Of objects: these would travel through this machine."""
TOLD = "may have another cache_control than is configured now: `mastosync apply-settings`"


@pytest.fixture
def moved(
    tmp_path: Path,
    moto_buckets: BucketPair,
    new_migration: MigrationFactory,
    fault_proxy: Callable[..., FaultProxy],
) -> tuple[Migration, FaultProxy]:
    """An instance that was copied from a disk, by an admin who has set no Cache-Control; one object went in parts."""
    migration = new_migration(moto_buckets, missing=0, large_video_bytes=6 * MIB)
    proxy = fault_proxy(moto_buckets.address.endpoint_url)
    migration.through(destination=proxy.endpoint_url)
    root = tmp_path / "system"
    root.mkdir(mode=0o755)
    lay_down(root, migration.instance.at_source().values())
    del migration.site.sections["s3.source"]
    migration.site.configure(
        filesystem_source={"path": str(root)}, copy={"multipart_threshold": "5MiB", "part_size": "5MiB"}
    )
    migration.site.run("plan")
    migration.site.run("copy", code=None)
    return migration, proxy


def expected(migration: Migration, cache_control: str) -> dict[str, StoredObject]:
    found = migration.instance.at_destination()
    return {key: replace(stored, headers={"CacheControl": cache_control}) for key, stored in found.items()}


def assert_all_have(migration: Migration, cache_control: str) -> None:
    assert_holds(migration.buckets.client, migration.buckets.destination, expected(migration, cache_control))


def operations(proxy: FaultProxy, since: int) -> Counter[str]:
    """What was asked about objects of the instance."""
    asked = (exchange.request for exchange in proxy.requests[since:])
    return Counter(each.operation for each in asked if each.key and FOLDER not in each.key)


class Middle:
    """Lets so many objects be copied, and holds the next ones until it is released."""

    def __init__(self, goal: int) -> None:
        self.copied, self._goal, self._released = 0, goal, threading.Event()

    def __call__(self, request: Request) -> Fault | None:
        if request.operation == "CopyObject":
            if self.copied >= self._goal:
                self._released.wait(PATIENCE_SECONDS)
            self.copied += 1
        return None

    def release(self) -> None:
        self._released.set()


def test_a_change_is_told_and_put_right_without_an_upload_also_after_a_death(
    moved: tuple[Migration, FaultProxy],
) -> None:
    migration, proxy = moved
    site = migration.site
    assert_all_have(migration, CACHE_CONTROL)  # what came from a disk has what Mastodon would have written
    assert "apply-settings" not in site.run("status").stdout
    assert "nothing to do" in site.run("apply-settings").stdout

    site.configure(s3_destination={"cache_control": "public, max-age=60"})
    for command in ("status", "copy"):
        assert TOLD in site.run(command, code=None).stdout
    assert site.status()["other_settings"] == [{"cache_control": CACHE_CONTROL, "acl": "auto", "storage_class": None}]
    doctor = json.loads(site.run("doctor", "--json", code=None).stdout)["checks"]
    told = {each["check"]: (each["status"], each["message"]) for each in doctor}
    assert told["settings"][0] == "warning"
    assert told["cache-control"] == ("ok", "all objects get the Cache-Control public, max-age=60, as a disk keeps none")
    findings = {each["check"]: each for each in json.loads(site.run("cutover", "--json", code=None).stdout)["findings"]}
    assert (findings["settings"]["status"], TOLD.partition(":")[0] in findings["settings"]["message"]) == (
        "warning",
        True,
    )
    everything = len(migration.instance.at_destination())
    dry = json.loads(site.run("apply-settings", "--dry-run", "--json").stdout)
    assert (dry["applied"], dry["in_line"], dry["all_in_line"]) == (everything, 0, False)

    since = len(proxy.requests)
    middle = proxy.plan = Middle(everything // 2)
    dying = site.start("--no-progress", "apply-settings", "--workers", "2")
    try:
        wait_until(lambda: middle.copied >= everything // 2, "half of the objects were stored again")
        dying.send_signal(signal.SIGKILL)
        dying.communicate(timeout=PATIENCE_SECONDS)
    finally:
        dying.kill()
        middle.release()
    proxy.plan = no_faults
    assert TOLD in site.run("status").stdout
    ended = site.run("apply-settings")
    assert "all well" in ended.stdout, shown(ended)
    asked = operations(proxy, since)
    assert asked["GetObject"] <= 2  # without credentials: the first private object of each run
    assert not (BYTES - {"GetObject"}) & asked.keys()
    assert asked["CopyObject"] <= everything + 2 + len(migration.instance.private) + 1  # private ones once a run
    assert_all_have(migration, "public, max-age=60")
    assert "apply-settings" not in site.run("status").stdout
    for way in ((), ("--deep",)):
        assert "all well" in site.run("verify", *way).stdout


def test_without_an_acl_one_object_is_hidden_at_most_and_a_copy_opens_it_again(
    moto_buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    """Moto makes private what is copied onto itself without an ACL, as most stores do."""
    migration = new_migration(moto_buckets, missing=0, own_source=True)
    site = migration.site
    site.run("plan")
    site.run("copy", code=None)

    def read() -> set[str]:
        return {key for key in migration.instance.at_destination() if moto_buckets.status_for_anybody(key) == 200}

    before = read()
    site.configure(s3_destination={"acl": "none", "cache_control": "public, max-age=60"})
    stopped = site.run("apply-settings", code=7)
    (lost,) = before - read()
    assert lost in stopped.stderr
    assert "set `acl = auto`" in stopped.stderr
    site.configure(s3_destination={"acl": "auto", "cache_control": "public, max-age=60"})
    site.run("copy", code=None)
    assert read() == before
    site.run("plan")
    assert "all well" in site.run("apply-settings").stdout
    assert read() == before


def test_everything_becomes_private_once_the_store_copies_in_place(moved: tuple[Migration, FaultProxy]) -> None:
    migration, proxy = moved
    site, buckets = migration.site, migration.buckets
    keys = migration.instance.at_destination()
    assert any(buckets.status_for_anybody(key) == 200 for key in keys)
    site.configure(s3_destination={"acl": "private"})
    since, proxy.plan = len(proxy.requests), always(answer(501, "NotImplemented"), operation="CopyObject")
    refused = site.run("apply-settings", code=7)
    assert "does not copy objects onto themselves" in refused.stderr
    assert operations(proxy, since)["CopyObject"] == 3
    proxy.plan, since = no_faults, len(proxy.requests)
    ended = site.run("apply-settings")
    assert "all well" in ended.stdout, shown(ended)
    assert {buckets.status_for_anybody(key) for key in keys} == {403}
    sent = [each.request.headers for each in proxy.requests[since:] if each.request.operation == "CopyObject"]
    assert {headers.get("x-amz-acl") for headers in sent} == {"private"}
    assert_all_have(migration, CACHE_CONTROL)
    told = json.loads(site.run("cutover", "--json", code=None).stdout)
    verdict = json.loads(site.run("report", "--format", "json").stdout)["verdict"]
    assert "public" not in {each["check"] for each in (*told["findings"], *verdict["findings"])}
    assert not any(command.endswith("--public") for step in told["steps"] for command in step["commands"])
    public = json.loads(site.run("verify", "--public", "--json", code=None).stdout)["public"]
    assert (public["asked"], public["exposed"], public["faults"]) == (len(site.listed("--state", "done")), 0, [])
    assert public["asked_private"] == public["asked"]
    assert opened_again(migration) == {403}


def opened_again(migration: Migration) -> set[int]:
    """Let everything be opened that still is public, and return what strangers get of what is not: no plan tells."""
    site, buckets = migration.site, migration.buckets
    done = site.listed("--state", "done")
    listed = [each for each in done if not each["private"] and each["table"] != "imports"]  # private with their account
    of_media = [each for each in listed if each["table"] == "media_attachments"]
    suspended, *others = dict.fromkeys(each["id"] for each in of_media)
    with migration.database.connect() as connection:
        connection.execute(
            b"UPDATE accounts SET suspended_at = now()"
            b" WHERE id = (SELECT account_id FROM media_attachments WHERE id = %s)",
            (suspended,),
        )
        connection.execute(b"DELETE FROM media_attachments WHERE id = %s", (others[-1],))
        hidden = {
            row_id
            for (row_id,) in connection.execute(
                b"SELECT m.id FROM media_attachments m JOIN accounts a ON a.id = m.account_id"
                b" WHERE a.suspended_at IS NOT NULL"
            )
        }
    site.configure(s3_destination={"acl": "auto"})
    ended = site.run("apply-settings")
    assert "all well" in ended.stdout, shown(ended)
    closed = {each["key"] for each in of_media if each["id"] in hidden | {others[-1]}}
    assert len(closed) >= 2
    answers = {each["key"]: buckets.status_for_anybody(each["key"]) for each in listed}
    assert {answers[key] for key in answers.keys() - closed} == {200}
    return {answers[key] for key in closed}
