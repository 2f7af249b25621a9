"""Looking after a manifest beside a copy that is at work, and what becomes of one that people mishandle."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lab.buckets import BucketPair
from lab.faults import FaultProxy
from mastosync import mountinfo
from mastosync.cli.main import main
from mastosync.manifest import Manifest, WorkQueue
from mastosync.model import EntryState, Outcome
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.acceptance.test_interruptions import (
    assert_intact,
    ever_more_slowly,
    slowly,
)
from tests.support.bucket_checks import assert_holds, stored
from tests.support.entries import entry
from tests.support.manifest_versions import restored
from tests.support.manifests import planned
from tests.support.site import NOWHERE, Site, s3_section
from tests.support.waiting import PATIENCE_SECONDS, wait_until


@pytest.fixture
def copying(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Callable[..., FaultProxy]
) -> tuple[Migration, FaultProxy, subprocess.Popen[str]]:
    """A copy that has begun and is not done for a while."""
    migration = new_migration(buckets, missing=0, accounts=25, media=40)
    proxy = fault_proxy(buckets.address.endpoint_url)
    proxy.plan = ever_more_slowly(proxy)
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    process = migration.site.start("copy", "--workers", "2")
    wait_until(lambda: uploads(proxy) >= 4, "the copy is at work")
    return migration, proxy, process


def uploads(proxy: FaultProxy) -> int:
    return sum(stored(proxy).values())


def journal_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


@pytest.mark.timing
def test_a_manifest_can_be_checked_copied_and_exported_while_a_copy_is_at_work(
    copying: tuple[Migration, FaultProxy, subprocess.Popen[str]],
) -> None:
    migration, proxy, process = copying
    site, copies = migration.site, [migration.site.folder / f"{number}.backup" for number in range(3)]
    assert journal_of(site.manifest) == "wal"
    for copy in copies:
        site.run("manifest", "backup", str(copy))
        assert json.loads(site.run("manifest", "check", "--json").stdout)["sound"]
        site.run("manifest", "export", "all.jsonl", "--force")
    assert process.poll() is None, "the copy was still at work"
    proxy.plan = slowly
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, told
    assert_holds(migration.buckets.client, migration.buckets.destination, migration.instance.at_destination())
    assert_intact(site.manifest)
    total = len(migration.instance.objects)
    for copy in copies:
        assert_intact(copy)
        assert copy.stat().st_mode & 0o777 == 0o600
        done = json.loads(site.run("--manifest", str(copy), "status", "--json").stdout)["totals"]
        assert 0 < done["done"] < total == done["total"]
    assert max(stored(proxy).values()) == 1
    site.run("--manifest", "again.db", "manifest", "import", "all.jsonl")
    site.run("--manifest", "again.db", "manifest", "check")


@pytest.mark.timing
@pytest.mark.parametrize("way", ["backup", "export"])
def test_what_was_taken_of_a_copy_at_work_goes_on_and_looks_before_it_uploads(
    copying: tuple[Migration, FaultProxy, subprocess.Popen[str]], way: str
) -> None:
    """The manifest is lost with its disk. Whatever was in the hands of a worker then is looked for first."""
    migration, proxy, process = copying
    site = migration.site
    site.run("manifest", way, "kept")
    process.kill()
    process.communicate()
    proxy.plan = slowly
    wait_until(lambda: proxy.is_idle, "what was under way has arrived")
    for file in site.folder.glob("mastosync.db*"):
        file.unlink()
    if way == "backup":
        shutil.copyfile(site.folder / "kept", site.manifest)
    else:
        site.run("manifest", "import", "kept")
    before = site.status()["totals"]
    assert 0 < before["done"] < before["total"]
    site.run("copy", "--workers", "8")
    assert journal_of(site.manifest) == "wal"
    assert_holds(migration.buckets.client, migration.buckets.destination, migration.instance.at_destination())
    assert_intact(site.manifest)
    site.run("verify")


@pytest.mark.timing
@pytest.mark.parametrize("replaced", [False, True])
def test_a_copy_whose_manifest_is_taken_away_stops_and_says_so(
    copying: tuple[Migration, FaultProxy, subprocess.Popen[str]], replaced: bool
) -> None:
    migration, proxy, process = copying
    site = migration.site
    kept = site.folder / "kept.db"
    site.run("manifest", "backup", str(kept))
    if replaced:
        other = site.folder / "other.db"
        shutil.copyfile(kept, other)
        other.replace(site.manifest)
    else:
        site.manifest.unlink()
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 6, told
    assert "removed or replaced" in told
    assert "Traceback" not in told
    proxy.plan = slowly
    for file in site.folder.glob("mastosync.db*"):
        file.unlink()
    shutil.copyfile(kept, site.manifest)
    site.run("copy", "--workers", "8")
    assert_holds(migration.buckets.client, migration.buckets.destination, migration.instance.at_destination())


@pytest.mark.timing
def test_a_backup_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    planned(tmp_path / "mastosync.db", [entry(number, f"{number:064x}.png") for number in range(60_000)]).close()
    site = Site(tmp_path)
    site.environ["MASTOSYNC_MANIFEST"] = "mastosync.db"
    for command in ("backup", "export"):
        process = site.start("manifest", command, "copy")
        wait_until(lambda: bool(list(tmp_path.glob("copy.*.partial"))) or process.poll() is not None, "it has begun")  # noqa: B023
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode in (0, 130), told
        assert not list(tmp_path.glob("copy.*"))
        assert (tmp_path / "copy").exists() == (process.returncode == 0)
        (tmp_path / "copy").unlink(missing_ok=True)


# --- mishandled ---


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """What a killed copy leaves: a manifest, and its log with the last commits."""
    path = tmp_path / "whole" / "m.db"
    path.parent.mkdir()
    with planned(path, [entry(number) for number in range(50)]) as manifest:
        queue = WorkQueue(manifest)
        claims = list(queue.iter_claimable())
        queue.commit(claims=claims)
        queue.commit(outcomes=[Outcome(each.entry, EntryState.DONE, size=1, md5=b"\1" * 16) for each in claims[:30]])
        left = tmp_path / "m.db"
        for name in ("m.db", "m.db-wal"):
            shutil.copyfile(path.parent / name, tmp_path / name)
    return left


def totals(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = site.status()["totals"]
    return found


def test_a_manifest_without_its_log_is_an_older_one_and_sound(crashed: Path) -> None:
    site = Site(crashed.parent)
    site.environ["MASTOSYNC_MANIFEST"] = str(crashed)
    alone = crashed.with_name("alone.db")
    shutil.copyfile(crashed, alone)
    assert totals(site)["done"] == 30
    site.run("--manifest", str(alone), "manifest", "check")
    assert json.loads(site.run("--manifest", str(alone), "status", "--json").stdout)["totals"]["done"] == 0


def test_a_folder_that_became_read_only_is_told_of(crashed: Path) -> None:
    """Root may write everywhere, so the folder is one that nobody may write to."""
    site = Site(crashed.parent)
    folder = crashed.parent / "read-only"
    folder.mkdir()
    shutil.copyfile(crashed, folder / "m.db")
    bound = subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True, check=False)
    if bound.returncode:
        pytest.skip("only root can mount a folder read-only")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        for command in (["status"], ["manifest", "check"], ["manifest", "export"], ["manifest", "check", "--repair"]):
            done = site.run("--manifest", str(folder / "m.db"), *command, code=6)
            assert "writable" in done.stderr, done.stderr
            assert "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    site.run("--manifest", str(folder / "m.db"), "manifest", "check")


# --- a network file system ---


@pytest.fixture
def networked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose folder is, as far as the table of mounts says, on a file server."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n41 27 0:51 / {tmp_path.resolve()} rw - nfs4 nas:/x rw\n")
    monkeypatch.setattr(mountinfo, "_MOUNTS", mounts)
    monkeypatch.chdir(tmp_path)
    stores = {"s3_source": s3_section(NOWHERE, "old"), "s3_destination": s3_section(NOWHERE, "new")}
    site = Site(tmp_path).configure(**stores, pg_database={"host": "127.0.0.1", "port": "9"})
    restored(2, site.manifest)
    return site


WRITING = [
    ["plan"],
    ["copy"],
    ["retry-failed"],
    ["verify"],
    ["adopt"],
    ["manifest", "check", "--repair"],
    ["--manifest", "new.db", "manifest", "import", "all.jsonl"],
]


@pytest.mark.parametrize("command", WRITING, ids=" ".join)
def test_nothing_is_written_to_a_manifest_on_a_network(
    networked: Site, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    (networked.folder / "all.jsonl").touch()
    before = networked.manifest.read_bytes()
    assert main(command) == 6
    told = capfd.readouterr().err
    assert "nfs4" in told
    assert "network_filesystem = allow" in told
    assert "local disk" in told
    assert networked.manifest.read_bytes() == before
    assert not list(networked.folder.glob("*.lock"))


@pytest.mark.parametrize(
    "command", [["status"], ["ls"], ["manifest", "check"], ["manifest", "export"], ["manifest", "backup"]], ids=" ".join
)
def test_a_manifest_on_a_network_is_read_with_a_warning(
    networked: Site, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    assert capfd.readouterr().err.count("nfs4") == 1
    assert networked.manifest.exists()


def test_whoever_takes_the_risk_is_warned_each_time(networked: Site, capfd: pytest.CaptureFixture[str]) -> None:
    networked.configure(manifest={"network_filesystem": "allow"})
    with Manifest.open(networked.manifest) as manifest, manifest.transaction() as connection:
        connection.execute("UPDATE counts SET objects = objects + 1")
    for _ in range(2):
        main(["manifest", "check", "--repair"])
        assert capfd.readouterr().err.count("mastosync: warning: the manifest") == 1
    assert main(["manifest", "check"]) == 0


def test_the_doctor_says_that_nothing_would_be_written(networked: Site, capfd: pytest.CaptureFixture[str]) -> None:
    def found() -> dict[str, str]:
        main(["doctor", "--json"])
        findings = json.loads(capfd.readouterr().out)["checks"]
        (finding,) = [each for each in findings if each["check"] == "file-system"]
        return dict(finding)

    assert found()["status"] == "failure"
    networked.configure(manifest={"network_filesystem": "allow"})
    assert found()["status"] == "warning"
