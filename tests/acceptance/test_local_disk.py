"""Mastodon's own disk as the source, and a disk as the destination."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from lab.buckets import BucketPair
from lab.faults import FaultProxy
from lab.instance_check import differences, iter_keys
from lab.instance_objects import DEFAULT_HEADERS, StoredObject
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.acceptance.test_interruptions import slowly
from tests.acceptance.test_migration import expected_states, found_states
from tests.acceptance.test_one_store import remove_a_picture
from tests.acceptance.test_orphans import still_referred_to
from tests.support.folder_stores import a_disk, mounted
from tests.support.media_folders import assert_disk_holds, iter_files, lay_down, left_behind, state_of
from tests.support.site import shown
from tests.support.waiting import wait_until

CACHE_CONTROL = DEFAULT_HEADERS["CacheControl"]
MIB = 1024 * 1024
TOLD_BY_NAME = {
    "travelled0.png: ContentType is 'image/png' instead of 'binary/octet-stream'",
    "travelled4.png: ContentType is 'image/png' instead of 'image/svg+xml'",
    "loud.gif: ContentType is 'image/gif' instead of 'IMAGE/GIF'",
}
"""All that differs from what the same instance has in a bucket, where somebody gave these other types."""


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    """On a disk."""
    return disk_path


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def folder(migration: Migration, name: str) -> Path:
    path = migration.site.folder / name
    path.mkdir()
    return path


def from_disk(migration: Migration) -> Path:
    """The media lie on a disk, as Mastodon has them."""
    root = folder(migration, "system")
    lay_down(root, migration.instance.at_source().values())
    del migration.site.sections["s3.source"]
    migration.site.configure(filesystem_source={"path": str(root)})
    return root


def to_disk(migration: Migration, **keys: str) -> Path:
    root = folder(migration, "backup")
    del migration.site.sections["s3.destination"]
    migration.site.configure(filesystem_destination={"path": str(root), "keep_free": "0", **keys})
    return root


def as_on_disk(stored: StoredObject) -> StoredObject:
    """A disk keeps no headers but what name and bytes tell."""
    return replace(stored, headers={"CacheControl": CACHE_CONTROL})


def test_from_disk_to_s3_and_everything_proves_itself(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets, large_video_bytes=21 * MIB, all_oddities=True)
    orphaned = {each.key for each in migration.instance.strays} - still_referred_to(migration)
    site, instance, root = migration.site, migration.instance, from_disk(migration)
    before = state_of(root)
    site.run("plan")
    copied = site.run("copy", code=3)
    assert f"failed {len(instance.missing)}" in copied.stdout, shown(copied)
    assert found_states(migration) == expected_states(migration)
    expected = {key: as_on_disk(stored) for key, stored in instance.at_destination().items()}
    found = differences(buckets.client, buckets.destination, expected)
    assert {line.rpartition("/original/")[2] for line in found} == TOLD_BY_NAME
    for line in site.listed("--state", "done"):
        assert line["md5"] == expected[line["key"]].md5
    assert "all well" in site.run("verify", "--deep").stdout
    site.long_after()
    orphans = json.loads(site.run("orphans", "--json").stdout)
    assert orphans["listed"]["objects"] == len(instance.at_source())
    assert set(site.run("orphans", "--format", "text").stdout.splitlines()) == orphaned
    assert orphans["missing"]["objects"] == len(instance.missing)
    assert state_of(root) == before, "nothing is written where the media lie"
    assert str(root) in site.run("status").stdout


def test_from_s3_to_disk_with_modes_for_acls(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets, large_video_bytes=21 * MIB, key_prefix="mastodon", all_oddities=True)
    site, instance, root = migration.site, migration.instance, to_disk(migration)
    site.run("plan")
    site.run("copy", code=3)
    expected = {key.removeprefix("mastodon/"): stored for key, stored in instance.at_destination().items()}
    assert instance.private
    assert_disk_holds(root, expected)
    assert left_behind(root) == []
    for line in site.listed("--state", "done"):
        assert line["md5"] == expected[line["key"].removeprefix("mastodon/")].md5
    assert "all well" in site.run("verify").stdout
    assert "all well" in site.run("verify", "--deep").stdout
    refused = site.run("verify", "--public", code=2)
    assert "a folder of this machine" in refused.stderr
    assert "a disk keeps no headers" in site.run("apply-settings", code=2).stderr


def test_a_disk_knows_no_prefix_and_a_bucket_may_have_one(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets, accounts=3, media=3, missing=0)
    from_disk(migration)
    migration.site.configure(s3_destination={"key_prefix": "mastodon"})
    migration.site.run("plan")
    migration.site.run("copy", code=None)
    expected = {f"mastodon/{key}" for key in migration.instance.at_destination()}
    assert set(iter_keys(buckets.client, buckets.destination)) == expected
    assert "all well" in migration.site.run("verify").stdout


def test_what_is_damaged_or_lost_on_a_disk_is_found_and_brought_again(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, missing=0)
    site, root = migration.site, to_disk(migration)
    site.run("plan")
    site.run("copy", code=None)
    first, second, third = sorted(iter_files(root))[:3]
    (root / first).unlink()
    damaged = bytearray((root / second).read_bytes())
    damaged[-1] ^= 1
    (root / second).write_bytes(damaged)
    os.utime(root / third, (1, 1))  # another ETag, and the same bytes
    expected = migration.instance.at_destination()
    opened = next(key for key in iter_files(root) if expected[key].private and key not in (first, second, third))
    (root / opened).chmod(0o644)
    told = json.loads(site.run("verify", "--json", code=3).stdout)
    assert (told["lost"], told["different"], told["reopened"]) == (1, 2, 3)
    assert {line["key"] for line in site.listed("--state", "pending")} == {first, second, opened}
    site.run("copy", code=None)
    assert_disk_holds(root, migration.instance.at_destination())
    assert "all well" in site.run("verify").stdout


def test_what_another_tool_brought_is_adopted_when_both_ends_are_read(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, missing=0)
    source, destination = from_disk(migration), to_disk(migration)
    site, instance = migration.site, migration.instance
    site.run("plan")
    shutil.copytree(source, destination, dirs_exist_ok=True)  # with modification times, as rsync -a does
    in_place = [each for each in instance.present if not each.relocated and not each.private]
    other = destination / in_place[0].key
    other.write_bytes(other.read_bytes()[:-1] + b"?")
    undecided = json.loads(site.run("adopt", "--json").stdout)
    assert (undecided["adopted"], undecided["undecided"]) == (0, len(in_place))
    adopted = json.loads(site.run("adopt", "--deep", "--json").stdout)
    assert (adopted["adopted"], adopted["different"]) == (len(in_place) - 1, 1)
    assert all(line["md5"] for line in site.listed("--state", "done"))
    site.run("copy", code=None)
    assert {*instance.at_destination()} <= {*iter_files(destination)}
    assert "all well" in site.run("verify", "--deep").stdout


def killed_in_the_middle(migration: Migration, root: Path, at_least: int) -> None:
    process = migration.site.start("copy", "--workers", "4")
    try:
        wait_until(lambda: len(list(iter_files(root))) >= at_least, "some objects have arrived")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.mark.timing
@pytest.mark.parametrize("fsync", ["always", "never"])
def test_a_kill_leaves_no_half_file_under_a_key_and_the_next_run_goes_on(
    buckets: BucketPair,
    new_migration: MigrationFactory,
    fault_proxy: Callable[..., FaultProxy],
    fsync: str,
) -> None:
    migration = new_migration(buckets, missing=0, large_video_bytes=40 * MIB)
    site, root = migration.site, to_disk(migration, fsync=fsync)
    proxy = fault_proxy(buckets.address.endpoint_url, lambda request: slowly(replace(request, operation="PutObject")))
    migration.through(source=proxy.endpoint_url)
    site.configure(copy={"multipart_threshold": "100KB", "part_size": "5MiB"})
    site.run("plan")
    expected = migration.instance.at_destination()
    for at_least in (3, 20):
        killed_in_the_middle(migration, root, at_least)
        assert_disk_holds(root, expected, some=True)
    arrived = {key: (root / key).stat().st_ino for key in iter_files(root)}
    site.run("copy", "--workers", "4", code=None)
    assert_disk_holds(root, expected)
    assert left_behind(root) == []
    again = [key for key, inode in arrived.items() if (root / key).stat().st_ino != inode]
    assert again == [], "what had arrived was written again"
    assert all(line["md5"] for line in site.listed("--state", "done"))
    assert "all well" in site.run("verify", "--deep").stdout


def test_a_disk_that_is_not_mounted_stops_everything_and_loses_nothing(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, missing=0)
    source, destination = from_disk(migration), to_disk(migration)
    site = migration.site
    site.run("plan")
    for root, commands in ((source, ("copy", "orphans")), (destination, ("verify", "adopt", "copy"))):
        if root is destination:
            site.run("copy", "--limit", "10")
        done = site.status()["totals"]
        elsewhere = root.rename(site.folder / "elsewhere")
        for command in commands:
            assert "check that this disk is mounted" in site.run(command, code=7).stderr
        root.mkdir()
        for command in commands:
            assert "check that its disk is mounted" in site.run(command, code=7).stderr
        assert list(root.iterdir()) == []
        assert site.status()["totals"] == done
        root.rmdir()
        elsewhere.rename(root)
    site.run("copy", code=None)
    assert_disk_holds(destination, migration.instance.at_destination())


def test_what_lies_at_an_empty_mount_point_is_not_taken_for_the_disk(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    """A stray file there would have had all that is pending written to the wrong disk."""
    migration = new_migration(buckets, missing=0)
    source, destination = from_disk(migration), to_disk(migration)
    site = migration.site
    site.run("plan")
    elsewhere = source.rename(site.folder / "elsewhere")
    (source / "cache").mkdir(parents=True)
    assert "check that its disk is mounted" in site.run("copy", code=7).stderr
    shutil.rmtree(source / "cache")
    (source / ".gitkeep").touch()
    for command in ("copy", "adopt", "orphans"):
        assert "check that its disk is mounted" in site.run(command, code=7).stderr, command
    site.run("doctor", code=7)
    assert site.status()["totals"]["failed"] == 0
    shutil.rmtree(source)
    elsewhere.rename(source)
    site.run("copy", "--limit", "20")
    done = site.status()["totals"]
    elsewhere = destination.rename(site.folder / "elsewhere")
    (destination / "accounts").mkdir(parents=True)
    (destination / "accounts" / "stray.txt").touch()
    for command in ("copy", "adopt", "verify", "doctor"):
        refused = site.run(command, code=7)
        assert "objects that were copied there" in refused.stdout + refused.stderr, command
    assert list(iter_files(destination)) == ["accounts/stray.txt"]
    assert site.status()["totals"] == done
    shutil.rmtree(destination)
    elsewhere.rename(destination)
    site.run("copy", code=None)
    assert_disk_holds(destination, migration.instance.at_destination())


def test_a_source_disk_that_is_gone_is_missed_where_stray_files_lie_in_its_folders(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    """Mastodon has written on while it was not mounted. All that is pending would count as lost."""
    migration = new_migration(buckets, missing=0, accounts=3, media=60)
    source, destination = from_disk(migration), to_disk(migration)
    site = migration.site
    site.run("plan")
    site.run("copy", "--limit", "60")
    done, elsewhere = site.status()["totals"]["done"], source.rename(site.folder / "elsewhere")
    stray = source / "media_attachments" / "files" / "stray.png"
    stray.parent.mkdir(parents=True)
    stray.touch()
    assert "that it gave in earlier runs" in site.run("copy", "--workers", "2", code=7).stderr
    totals = site.status()["totals"]
    assert totals["done"] == done
    assert totals["pending"] > 0
    shutil.rmtree(source)
    elsewhere.rename(source)
    site.run("retry-failed", "--reason", "missing", "--reason", "optional_missing", code=None)
    site.run("copy", code=None)
    assert_disk_holds(destination, migration.instance.at_destination())


def test_one_of_two_disks_of_a_destination_is_missed(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    """An admin has given `cache` a disk of its own. All of it would have been copied again, to the wrong disk."""
    migration = new_migration(buckets, missing=0)
    from_disk(migration)
    destination, site = to_disk(migration), migration.site
    disk = folder(migration, "other-disk")
    (destination / "cache").symlink_to(disk)
    site.run("plan")
    site.run("copy", "--limit", "40")  # what is local first
    done = site.status()["totals"]
    elsewhere = disk.rename(site.folder / "elsewhere")
    disk.mkdir()
    for command in ("copy", "adopt", "verify", "doctor"):
        refused = site.run(command, code=7)
        said = refused.stdout + refused.stderr
        assert "objects that were copied there" in said, command
        assert f"'{destination}/cache'" in said
    assert list(disk.iterdir()) == []
    assert site.status()["totals"] == done
    disk.rmdir()
    elsewhere.rename(disk)
    site.run("copy")
    assert "all well" in site.run("verify").stdout


def test_a_moved_folder_of_remote_media_is_followed_at_the_source(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    """Admins move `cache` to another disk, and put a link in its place."""
    migration = new_migration(buckets, missing=0)
    source, destination = from_disk(migration), to_disk(migration)
    moved = (source / "cache").rename(migration.site.folder / "other-disk")
    (source / "cache").symlink_to(moved)
    migration.site.run("plan")
    moved.rename(migration.site.folder / "gone")
    lost = migration.site.run("copy", code=7)
    assert "the link 'cache' leads nowhere" in lost.stderr
    moved.mkdir()  # where its disk would be mounted
    assert "the link 'cache' leads to a folder without a file" in migration.site.run("copy", code=7).stderr
    assert migration.site.status()["totals"]["failed"] == 0
    migration.site.run("copy", "--type", "site_uploads")  # which lie on the other disk
    moved.rmdir()
    (migration.site.folder / "gone").rename(moved)
    migration.site.run("copy", code=None)
    assert_disk_holds(destination, migration.instance.at_destination())
    orphans = json.loads(migration.site.run("orphans", "--json").stdout)
    assert orphans["listed"]["objects"] == len(migration.instance.at_source())


def test_what_is_mounted_below_the_destination_may_be_the_source_and_is_never_pruned(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, missing=0)
    source, destination = from_disk(migration), to_disk(migration)
    site, name = migration.site, "media_attachments"
    site.run("plan")
    site.run("copy", code=None)
    remove_a_picture(migration)
    before = state_of(source)
    with mounted(destination / name, "--bind", str(source / name)):
        for command in (("prune", "--apply"), ("verify",)):
            assert f"is mounted at '{name}'" in site.run(*command, code=7).stderr
    site.run("prune", "--apply")
    assert state_of(source) == before


@pytest.mark.parametrize("by", ["link", "mount", "mount behind a link"])
def test_a_folder_of_the_source_that_leads_to_the_destination_is_refused(
    buckets: BucketPair, new_migration: MigrationFactory, by: str
) -> None:
    """A copy would find each object where it wrote it, and a prune remove the only one there is.

    That another one leads nowhere is no reason to look no further.
    """
    migration = new_migration(buckets, accounts=2, media=2)
    source, destination = from_disk(migration), to_disk(migration)
    migration.site.run("plan")
    there = (source / "cache").rename(destination / "cache")
    with ExitStack() as stack:
        way = source / "cache"
        if by == "link":
            way.symlink_to(there)
        else:
            place = source.with_name("elsewhere") if by == "mount behind a link" else way
            place.mkdir()
            if place != way:
                way.symlink_to(place)
                way, place = way / "accounts", place / "accounts"
                place.mkdir()
                there /= "accounts"
            stack.enter_context(mounted(place, "--bind", str(there)))
        (source / "around").symlink_to(source / "around")
        before = state_of(destination)
        for command in (("plan",), ("copy",), ("prune", "--apply"), ("doctor",)):
            refused = migration.site.run(*command, code=4)
            assert f"{way}, in the folder of the source, leads to the destination" in refused.stdout + refused.stderr
        assert state_of(destination) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Two mebibytes."""
    path = tmp_path / "backup"
    path.mkdir()
    with a_disk(path, "size=2m,mode=755"):
        yield path


@pytest.mark.timing
@pytest.mark.parametrize("keep_free", ["0", "512KiB"])
def test_a_full_disk_stops_the_run_at_once_and_the_next_one_goes_on(
    buckets: BucketPair, new_migration: MigrationFactory, small_disk: Path, keep_free: str
) -> None:
    migration = new_migration(buckets, missing=0, large_video_bytes=3 * MIB)
    site, instance = migration.site, migration.instance
    del site.sections["s3.destination"]
    site.configure(filesystem_destination={"path": str(small_disk), "keep_free": keep_free})
    site.run("plan")
    stopped = site.run("copy", code=7)
    assert "is full" in stopped.stderr, shown(stopped)
    assert "Traceback" not in stopped.stderr
    assert site.status()["totals"]["failed"] == 0, "nothing is the objects' fault"
    assert_disk_holds(small_disk, instance.at_destination(), some=True)
    assert left_behind(small_disk) == []
    free = shutil.disk_usage(small_disk).free
    assert free >= (0 if keep_free == "0" else 512 * 1024)
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    site.run("copy", code=None)
    assert_disk_holds(small_disk, instance.at_destination())


def test_doctor_looks_at_folders(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets)
    source, destination = from_disk(migration), to_disk(migration)
    before = state_of(source)
    site = migration.site
    site.run("plan")
    told = json.loads(site.run("doctor", "--json").stdout)
    found = {(each["subject"], each["check"]): each["status"] for each in told["checks"]}
    for check in ("folder", "links", "read"):
        assert found["source", check] == "ok", told
    for check in ("folder", "links", "write", "read", "private", "names", "multipart", "disk"):
        assert found["destination", check] == "ok", told
    assert found["destination", "owner"] == ("ok" if os.geteuid() else "warning"), "root's folder is not Mastodon's"
    assert state_of(source) == before
    assert list(iter_files(destination)) == []
    assert list(destination.iterdir()) == []
    (source / "accounts" / "avatars" / "999").symlink_to(site.folder)
    told = json.loads(site.run("doctor", "--json").stdout)
    links, at_destination = [each for each in told["checks"] if each["check"] == "links"]
    assert (links["status"], at_destination["status"]) == ("warning", "ok"), told
    assert "'accounts/avatars/999'" in links["message"]
    assert "mount" in links["remedy"]
    site.configure(filesystem_destination={"keep_free": "1000TiB"})
    full = json.loads(site.run("doctor", "--json", code=7).stdout)
    assert {"disk"} == {each["check"] for each in full["checks"] if each["status"] == "failure"} - {"write"}
    site.configure(filesystem_destination={"path": str(site.folder / "nowhere"), "keep_free": "0"})
    missing = site.run("doctor", code=7).stdout
    assert "check that this disk is mounted" in missing


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_what_root_copies_to_mastodons_folder_is_mastodons(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets)
    site, destination, mastodon = migration.site, to_disk(migration), (12_345, 12_346)
    os.chown(destination, *mastodon)
    other = site.folder / "other disk"
    other.mkdir()
    os.chown(other, *mastodon)
    (destination / "cache").symlink_to(other)  # as admins move it
    site.run("plan")
    site.run("copy", code=3)
    assert any(other.iterdir())
    site.run("verify")
    assert (destination / "cache").is_symlink()
    (destination / "cache").unlink()
    shutil.move(other, destination / "cache")
    assert_disk_holds(destination, migration.instance.at_destination())
    assert {(each.lstat().st_uid, each.lstat().st_gid) for each in destination.rglob("*")} == {mastodon}
    site.run("verify")
    (told,) = (each for each in json.loads(site.run("doctor", "--json").stdout)["checks"] if each["check"] == "owner")
    assert (told["status"], "runs as root" in told["message"]) == ("ok", True), told
    os.chown(destination / "accounts", 0, 0)
    (told,) = (each for each in json.loads(site.run("doctor", "--json").stdout)["checks"] if each["check"] == "owner")
    assert (told["status"], told["remedy"]) == ("warning", f"as root: `chown -R 12345:12346 {destination}`"), told
    told = json.loads(site.run("cutover", "--json", code=None).stdout)
    assert [each["status"] for each in told["findings"] if each["check"] == "owner"] == ["warning"], told


@pytest.mark.parametrize("place", [".", "system/backup", ".."])
def test_one_folder_in_the_other_is_refused(buckets: BucketPair, new_migration: MigrationFactory, place: str) -> None:
    migration = new_migration(buckets, accounts=2, media=2)
    source = from_disk(migration)
    to_disk(migration)
    path = {".": source, "system/backup": source / "backup", "..": source.parent}[place]
    path.mkdir(exist_ok=True)
    before = state_of(source)
    migration.site.configure(filesystem_destination={"path": str(path)})
    for command in ("plan", "doctor"):
        refused = migration.site.run(command, code=4)
        assert "source and destination" in refused.stdout + refused.stderr
    assert state_of(source) == before


def test_doctor_knows_a_folder_that_is_not_this_instances(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets, missing=0)
    source = from_disk(migration)
    migration.site.run("plan")
    source.rename(source.parent / "public")  # one level too high is the usual mistake
    source.mkdir()
    (source.parent / "public").rename(source / "system")
    told = json.loads(migration.site.run("doctor", "--json", code=7).stdout)
    (failure,) = [each for each in told["checks"] if each["status"] == "failure"]
    assert (failure["subject"], failure["check"]) == ("source", "read")
    assert "`path`" in failure["remedy"]
