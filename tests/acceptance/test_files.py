"""Files that a run makes are its owner's alone, whatever the umask; links that others planted are not followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.buckets import BucketPair
from mastosync.manifest import Manifest
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.site import NOWHERE, Site, s3_section, shown


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def migration(buckets: BucketPair, new_migration: MigrationFactory) -> Migration:
    return new_migration(buckets, accounts=3, media=3)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with a plan, whose stores nobody answers for."""
    site = Site(tmp_path).configure(
        s3_source=s3_section(NOWHERE, "old-media"), s3_destination=s3_section(NOWHERE, "new-media")
    )
    with planned(site.manifest, [entry(1)]):
        pass
    return site


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_everything_that_is_made_is_its_owners_alone(migration: Migration, umask: int) -> None:
    site = migration.site
    site.run("init", "--output", "made.ini", umask=umask)
    for command in (["plan"], ["copy"], ["verify"], ["retry-failed", "--no-copy"]):
        done = site.run("--log-file", "run.log", *command, code=None, umask=umask)
        assert done.returncode in (0, 3), shown(done)
    modes = modes_in(site.folder)
    assert {"made.ini", "config.ini", "run.log", "mastosync.db", "mastosync.db.lock"} <= modes.keys()
    assert {name: oct(mode) for name, mode in modes.items() if mode != 0o600} == {}


def test_so_are_the_files_that_sqlite_lays_beside_the_manifest(tmp_path: Path) -> None:
    """While a manifest is open it has a log and an index of that; while it is planned first, a journal."""
    path, before = tmp_path / "m.db", os.umask(0)
    try:
        with planned(path, [entry(1)]), Manifest.open(path) as manifest, manifest.transaction():
            modes = modes_in(tmp_path)
        with Manifest.create(tmp_path / "first.db") as first, first.transaction() as connection:
            connection.execute("CREATE TABLE t AS SELECT 1")
            modes |= modes_in(tmp_path)
    finally:
        os.umask(before)
    assert {"m.db", "m.db-wal", "m.db-shm", "first.db", "first.db-journal"} <= modes.keys()
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(("mode", "word"), [(0o644, "read"), (0o602, "written"), (0o666, "written")])
def test_a_manifest_and_a_log_that_everybody_may_use_get_a_warning(site: Site, mode: int, word: str) -> None:
    log = site.folder / "run.log"
    log.touch()
    for file in (site.manifest, log):
        file.chmod(mode)
        done = site.run("--log-file", "run.log", "-q", "status")
        assert f"{file.name} can be {word} by everybody" in done.stderr
        assert f"chmod 600 {file}" in done.stderr or "chmod 600 run.log" in done.stderr
        assert file.stat().st_mode & 0o777 == mode, "whose decision that was, nobody knows"
        file.chmod(0o600)
    assert site.run("--log-file", "run.log", "status").stderr == ""


def test_a_group_that_was_let_in_is_somebodys_decision(site: Site) -> None:
    site.manifest.chmod(0o640)
    (site.folder / "run.log").touch(mode=0o640)
    assert site.run("--log-file", "run.log", "status").stderr == ""


def test_a_log_goes_on_where_it_ended_and_keeps_its_mode(site: Site) -> None:
    log = site.folder / "run.log"
    log.write_text("what was there\n")
    log.chmod(0o640)
    site.run("--log-file", "run.log", "copy", code=None)
    assert log.read_text().startswith("what was there\n")
    assert log.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("dangling", [False, True])
def test_init_does_not_write_through_a_link(tmp_path: Path, dangling: bool) -> None:
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_text("precious")
    (tmp_path / "config.ini").symlink_to(victim)
    done = Site(tmp_path).run("init", code=2)
    assert "exists" in done.stderr
    assert victim.exists() is not dangling
    if not dangling:
        assert victim.read_text() == "precious"


@pytest.mark.parametrize("command", ["copy", "plan", "verify", "retry-failed"])
def test_a_link_in_place_of_the_lock_is_not_followed(site: Site, command: str) -> None:
    """Whoever holds the lock writes into it who they are, and before that empties it."""
    victim = site.folder / "victim"
    victim.write_text("precious")
    lock = site.folder / "mastosync.db.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(victim)
    done = site.run(command, code=6)
    assert "mastosync.db.lock" in done.stderr
    assert "not followed" in done.stderr
    assert victim.read_text() == "precious"


def test_the_manifest_itself_may_be_a_link_to_another_disk(migration: Migration, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other disk"
    elsewhere.mkdir()
    migration.site.manifest.symlink_to(elsewhere / "m.db")
    migration.site.run("plan")
    assert (elsewhere / "m.db").stat().st_mode & 0o777 == 0o600
    assert (elsewhere / "m.db.lock").exists()
    assert migration.site.status()["totals"]["pending"] > 0
