"""A disk that is full, at whatever moment: a clear word, no damage, and the same command goes on when there is room."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab.buckets import BucketPair
from mastosync.manifest import Manifest, StoreIdentity, file_version, newest_version
from mastosync.model import EntryState
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.acceptance.test_interruptions import assert_intact
from tests.support.entries import entry
from tests.support.manifest_versions import restored
from tests.support.manifests import planned
from tests.support.site import COMMAND, NOWHERE, Site, s3_section, shown
from tests.support.small_disk import SmallDisk, small_disk

KIB = 1024
STORES = StoreIdentity(NOWHERE.endpoint_url, "old", ""), StoreIdentity(NOWHERE.endpoint_url, "new", "")
LEFT = [0, 8 * KIB, 40 * KIB, 72 * KIB]
"""Room for nothing; for the lock alone; for the shared memory of the log (32 KiB); for a page or two of the log."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as made:
        yield made


@pytest.fixture
def path(disk: SmallDisk) -> Path:
    return disk.folder / "mastosync.db"


@pytest.fixture
def migration(buckets: BucketPair, new_migration: MigrationFactory, path: Path) -> Migration:
    """One whose manifest lies on the small disk."""
    migration = new_migration(buckets, missing=0)
    migration.site.configure(manifest={"path": str(path)})
    return migration


def assert_told(done: subprocess.CompletedProcess[str], code: int = 6) -> None:
    assert done.returncode == code, shown(done)
    assert "disk" in done.stderr or "room" in done.stderr or "No space" in done.stderr, shown(done)
    assert "run the same command again" in done.stderr, shown(done)
    assert "Traceback" not in done.stderr


def files_beside(path: Path) -> set[str]:
    kept = {path.name, f"{path.name}.lock", f"{path.name}-wal", f"{path.name}-shm", "ballast"}
    return {each.name for each in path.parent.iterdir()} - kept


def done_of(site: Site) -> int:
    return int(site.status()["totals"]["done"])


@pytest.mark.parametrize("left", LEFT)
def test_a_plan(migration: Migration, disk: SmallDisk, path: Path, left: int) -> None:
    site = migration.site
    with disk.filled(left):
        assert_told(site.run("plan", code=None))
    site.run("plan")
    assert_intact(path)
    assert len(site.listed()) == len(migration.instance.objects)
    with disk.filled(left):  # a second one may find room in the file; then it is whole
        again = site.run("plan", code=None)
        if again.returncode:
            assert_told(again)
    site.run("plan")
    assert_intact(path)


@pytest.mark.parametrize("left", LEFT)
def test_a_copy(migration: Migration, disk: SmallDisk, path: Path, left: int) -> None:
    site = migration.site
    site.run("plan")
    with disk.filled(left):
        assert_told(site.run("copy", code=None))
    assert_intact(path)
    assert site.status()["totals"]["failed"] == 0
    site.run("copy")
    assert done_of(site) == len(migration.instance.present)


@pytest.mark.parametrize("left", LEFT[1:])
def test_a_verify_that_finds_something(migration: Migration, disk: SmallDisk, path: Path, left: int) -> None:
    site = migration.site
    site.run("plan")
    site.run("copy")
    done = site.listed("--state", "done")
    for line in done[:20]:
        migration.buckets.client.delete_object(Bucket=migration.buckets.destination, Key=line["key"])
    with disk.filled(left):
        assert_told(site.run("verify", code=None))
    assert_intact(path)
    site.run("verify", code=3)
    assert_intact(path)
    assert done_of(site) == len(done) - 20
    site.run("copy")
    site.run("verify")


def test_an_adopt_and_a_retry(migration: Migration, disk: SmallDisk, path: Path) -> None:
    site = migration.site
    site.run("plan")
    with Manifest.open(path) as manifest, manifest.transaction() as connection:
        connection.execute("UPDATE entries SET state = 2, reason = 1 WHERE kind = 1")
        rows = connection.execute(
            "SELECT kind, state, reason, count(*), sum(coalesce(size, 0)) FROM entries GROUP BY 1, 2, 3"
        ).fetchall()
        connection.execute("DELETE FROM counts")
        connection.executemany("INSERT INTO counts VALUES (?, ?, ?, ?, ?)", rows)
    failed = site.status()["totals"]["failed"]
    assert failed
    for key, each in migration.instance.at_destination().items():
        if not each.private:
            arguments = {**each.put_arguments(), "Key": key, "Body": each.body()}
            migration.buckets.client.put_object(Bucket=migration.buckets.destination, **arguments)
    for command in (["retry-failed", "--no-copy"], ["adopt"]):
        before = site.status()["totals"]
        with disk.filled(40 * KIB):
            assert_told(site.run(*command, code=None))
        assert_intact(path)
        assert site.status()["totals"] == before
        site.run(*command)
        assert_intact(path)
        assert site.status()["totals"] != before


@pytest.fixture
def alone(tmp_path: Path, path: Path) -> Site:
    """A manifest of a few hundred KiB on the small disk, with neither stores nor database."""
    planned(path, [entry(number, f"{number:032x}.png") for number in range(3_000)]).close()
    site = Site(tmp_path)
    site.environ["MASTOSYNC_MANIFEST"] = str(path)
    return site


@pytest.mark.parametrize("left", [40 * KIB, 200 * KIB, None])
def test_a_backup_and_an_export(alone: Site, disk: SmallDisk, path: Path, left: int | None) -> None:
    """Where there is room for nearly all of it, too."""
    size = path.stat().st_size
    for command, target in ((["manifest", "backup"], "copy.db"), (["manifest", "export"], "all.jsonl")):
        with disk.filled(size - 4 * KIB if left is None else left):
            assert_told(alone.run(*command, str(disk.folder / target), code=None), 8)
            assert files_beside(path) == set()
        alone.run(*command, str(disk.folder / target))
        (disk.folder / target).unlink()
    assert_intact(path)


def test_an_export_to_standard_output(alone: Site) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [str(COMMAND), "manifest", "export"],
            cwd=alone.folder,
            env=alone.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 8, done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("left", [0, 40 * KIB, 200 * KIB])
def test_an_import(alone: Site, disk: SmallDisk, path: Path, left: int) -> None:
    alone.run("manifest", "export", "all.jsonl")
    new = str(disk.folder / "new.db")
    with disk.filled(left):
        assert_told(alone.run("--manifest", new, "manifest", "import", "all.jsonl", code=None))
        assert files_beside(path) == set()
    alone.run("--manifest", new, "manifest", "import", "all.jsonl")
    assert_intact(Path(new))


@pytest.mark.parametrize("left", [0, 8 * KIB, 56 * KIB])
def test_a_migration(tmp_path: Path, disk: SmallDisk, path: Path, left: int) -> None:
    restored(1, path)
    site = Site(tmp_path)
    site.environ["MASTOSYNC_MANIFEST"] = str(path)
    with disk.filled(left):
        assert_told(site.run("status", code=None))
        assert file_version(path) == 1
    assert_intact(path)
    assert json.loads(site.run("status", "--json").stdout)["totals"]["total"] == 20
    assert file_version(path) == newest_version()
    assert file_version(path.with_name(f"{path.name}.v1.backup")) == 1


def test_a_repair_of_counters(alone: Site, disk: SmallDisk, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE counts SET objects = 7")
        connection.commit()
    with disk.filled(100 * KIB):
        assert_told(alone.run("manifest", "check", "--repair", code=None))
    alone.run("manifest", "check", code=6)
    alone.run("manifest", "check", "--repair")
    alone.run("manifest", "check")
    assert_intact(path)


NGINX = [
    "--media-host",
    "files.example",
    "--source-url",
    "https://old.example/media",
    "--destination-url",
    "https://new.example/media",
]
WRITERS: dict[str, tuple[list[str], int]] = {
    "init": (["init", "--output", "DISK/config.ini"], 8),
    "cutover": (["cutover", *NGINX, "--nginx", "DISK/media.conf"], 8),
    "report": (["report", "--output", "DISK/report.txt"], 8),
    "report as JSON": (["report", "--format", "json", "--output", "DISK/report.json"], 8),
    "report as a page": (["report", "--format", "html", "--output", "DISK/report.html"], 8),
    "backup": (["manifest", "backup", "DISK/copy.db"], 8),
    "export": (["manifest", "export", "DISK/all.jsonl"], 8),
    "completion": (["completion", "--install", "bash"], 8),
    "manual page": (["man", "--install"], 8),
    "import": (["--manifest", "DISK/new.db", "manifest", "import", "all.jsonl"], 6),
    "plan": (["--manifest", "DISK/new.db", "plan"], 6),
}
"""Command, and its exit code if there is no room in the folder DISK."""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, SmallDisk]]:
    """A site whose own files lie on a disk with room, and a full one."""
    folder = tmp_path_factory.mktemp("crowded")
    planned(folder / "mastosync.db", [entry(1)], STORES).close()
    with small_disk(folder / "disk") as disk:
        site = Site(folder).configure(
            s3_source=s3_section(NOWHERE, "old"),
            s3_destination=s3_section(NOWHERE, "new"),
            pg_database={"host": "127.0.0.1", "port": "9", "user": "mastodon", "database": "mastodon"},
        )
        site.run("manifest", "export", "all.jsonl")
        site.environ.update(dict.fromkeys(("XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(disk.folder)))
        yield site, disk


@pytest.mark.parametrize("state", ["filled", "read_only"])
@pytest.mark.parametrize("name", WRITERS)
def test_one_cause_has_one_code_and_leaves_nothing_half_written(
    crowded: tuple[Site, SmallDisk], name: str, state: str
) -> None:
    site, disk = crowded
    command, code = WRITERS[name]
    with getattr(disk, state)():
        done = site.run(*(word.replace("DISK", str(disk.folder)) for word in command), code=code)
    left = {path for path in disk.folder.rglob("*") if path.is_file()}
    for path in left:
        path.unlink()
    assert {path.name for path in left} <= ({"new.db", "new.db.lock"} if "plan" in command else set())
    assert "cannot" in done.stderr or "no room" in done.stderr, shown(done)
    assert "this is a bug" not in done.stderr, shown(done)
    if state == "filled" and "--install" not in command:
        assert "run the same command again" in done.stderr, shown(done)


def test_what_is_installed_stays_as_it_was(crowded: tuple[Site, SmallDisk]) -> None:
    site, disk = crowded
    site.run("man", "--install")
    (page,) = (path for path in disk.folder.rglob("*") if path.is_file())
    page.write_text("an older one")
    with disk.filled():
        site.run("man", "--install", code=8)
    assert page.read_text() == "an older one"
    site.run("man", "--install")
    assert page.read_text().startswith(".TH")
    page.unlink()


def test_a_log_that_cannot_be_begun_ends_a_run_at_once(crowded: tuple[Site, SmallDisk]) -> None:
    site, disk = crowded
    with disk.read_only():
        done = site.run("--log-file", str(disk.folder / "run.log"), "copy", code=8)
    assert "cannot write the log file" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_full_log_does_not_end_a_copy(migration: Migration, tmp_path: Path) -> None:
    """It is told when it happens, and is the reason of the exit code if nothing worse is."""
    site = migration.site
    site.configure(manifest={"path": str(tmp_path / "elsewhere.db")})
    site.run("plan")
    with small_disk(tmp_path / "other") as disk, disk.filled():
        log = str(disk.folder / "run.log")
        told = site.run("--log-file", log, "-c", "nowhere.ini", "copy", code=4).stderr
        assert "Traceback" not in told
        done = site.run("--log-file", log, "copy", code=8)
    assert done.stderr.count(f"warning: the log file {log} is not whole: No space left on device; the run goes on") == 1
    assert done.stderr.splitlines()[-2].startswith(f"mastosync: the log file {log} is not whole")
    assert "Traceback" not in done.stderr
    assert done_of(site) == len(migration.instance.present)


def test_what_only_reads_goes_on(alone: Site, disk: SmallDisk) -> None:
    """As long as there is room for the shared memory of the log."""
    with disk.filled(40 * KIB):
        assert alone.status()["totals"][EntryState.PENDING] == 3_000
        alone.run("manifest", "check")
        assert len(alone.run("ls").stdout.splitlines()) == 3_000
