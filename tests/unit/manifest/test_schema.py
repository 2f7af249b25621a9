"""Older manifests: brought up to date by one process, whole or not at all, with a copy of what they were."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mastosync.errors import ManifestError
from mastosync.listing import ListFilter, iter_listed
from mastosync.manifest import (
    Approach,
    Checker,
    Manifest,
    ManifestReader,
    SegmentReader,
    WorkQueue,
    file_version,
    newest_version,
    recover_claims_now,
    schema,
    writer_lock,
)
from mastosync.manifest.schema import MIGRATIONS, migrate
from mastosync.model import EntryState, Presence
from mastosync.status import status_of
from tests.support.entries import approach_of
from tests.support.manifest_versions import FOLDER, digest_line, pinned, restored
from tests.support.site import COMMAND

EARLIER = range(1, newest_version())
VERSIONS = range(1, newest_version() + 1)


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def beside(path: Path) -> set[str]:
    return {each.name for each in path.parent.iterdir()} - {path.name, f"{path.name}.lock"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.db"


@pytest.fixture
def with_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of migrations with one more, to be written to: `with_step.write_text(sql)`."""
    folder = shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    monkeypatch.setattr(schema, "MIGRATIONS", folder)
    return folder / f"{newest_version() + 1:04}_more.sql"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_migration_that_manifests_have_gone_through_is_never_changed(version: int) -> None:
    """A new one is added; then `python -m tests.support.manifest_versions` makes a manifest that holds its digest."""
    assert [file.name for file in sorted(MIGRATIONS.glob("*.sql"))][version - 1] in pinned(version)
    assert pinned(version) == digest_line(version)


def test_there_is_a_manifest_of_every_version_and_of_no_other() -> None:
    assert {f"v{version}.sql" for version in VERSIONS} == {file.name for file in FOLDER.glob("*.sql")}


@pytest.mark.parametrize("version", VERSIONS)
def test_those_manifests_are_what_their_migrations_make(version: int, path: Path) -> None:
    """Their tables, indexes and views are those of the steps up to their number, to the letter."""
    query = "SELECT name, sql FROM sqlite_schema ORDER BY name"
    made = path.with_name("made.db")
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        for file in sorted(MIGRATIONS.glob("*.sql"))[:version]:
            connection.executescript(file.read_text(encoding="utf-8"))
    assert rows(restored(version, path), query) == rows(made, query)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_earlier_version_knew_is_read_the_same(version: int, path: Path) -> None:
    restored(version, path)
    lines = rows(path, "SELECT kind, id, name, fallback, flags, state, reason, size, attempts, md5, etag, source_key,"
                       " detail FROM entries ORDER BY kind, id, name")  # fmt: skip
    counted = dict(rows(path, "SELECT state, count(*) FROM entries GROUP BY state"))
    claimed = rows(path, "SELECT kind, id, name FROM claims ORDER BY kind, id, name")
    taken_at = rows(path, "SELECT taken_at FROM snapshots ORDER BY id DESC LIMIT 1")[0][0]
    (last_run,) = rows(path, "SELECT workers, done, ended_at FROM runs ORDER BY id DESC LIMIT 1")
    with Manifest.open(path) as manifest:
        report = ManifestReader(manifest)
        status = status_of(report)
        totals = status.totals
        assert (totals.pending, totals.done, totals.failed, totals.skipped) == tuple(counted[code] for code in range(4))
        assert status.snapshot is not None
        assert status.snapshot.taken_at == datetime.fromisoformat(taken_at)
        assert status.run is not None
        assert (status.run.workers, status.run.done, status.run.ended_at) == last_run
        assert len(status.stores) == 2
        listed = list(iter_listed(manifest, ListFilter()))
        assert [(each["id"], each["detail"], each["etag"], each["md5"]) for each in listed] == [
            (line[1], line[12], line[10], line[9] and line[9].hex()) for line in lines
        ]
        recover_claims_now(manifest)
        left = [each for each in WorkQueue(manifest).iter_claimable() if Presence.IN_DOUBT in each.arrival.presence]
        places = sorted((manifest.kind_id(claim.entry.kind), claim.entry.id, claim.entry.name) for claim in left)
        assert set(claimed) <= set(places)
        assert claimed, "a dead run has left something behind"
        if version < 4:
            assert places == claimed
            assert {approach_of(each) for each in left} == {Approach.EXAMINE}, "nobody knows for whom it was stored"
        assert not Checker(manifest).run().faults
    with SegmentReader.opened(path, (EntryState.DONE,)) as reader:  # what `verify` reads
        found = sum(len(list(reader.iter_rows(kind, -(2**63), 2**63 - 1))) for kind in reader.kinds())
        assert found == counted[1]


@pytest.mark.parametrize("version", EARLIER)
def test_a_copy_of_what_it_was_is_kept_and_told_of(version: int, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = dump(restored(version, path))
    with caplog.at_level("WARNING", "mastosync.manifest"):
        Manifest.open(path).close()
        Manifest.open(path).close()
    copy = path.with_name(f"m.db.v{version}.backup")
    assert beside(path) == {copy.name}
    assert (file_version(path), file_version(copy)) == (newest_version(), version)
    assert [line for line in dump(copy) if "'backup'" not in line] == before, "and that it is a copy"
    assert copy.stat().st_mode & 0o777 == 0o600
    (told,) = caplog.messages
    assert str(copy) in told


def test_a_manifest_of_the_newest_version_and_a_new_one_are_not_copied(path: Path) -> None:
    Manifest.create(path).close()
    Manifest.open(path).close()
    assert beside(path) == set()


def test_a_copy_never_replaces_another_and_there_are_not_more_than_three(path: Path) -> None:
    old = path.with_name("old.db")
    restored(1, old)
    for _ in range(3):
        shutil.copyfile(old, path)
        Manifest.open(path).close()
    names = {"m.db.v1.backup", "m.db.v1.backup.2", "m.db.v1.backup.3"}
    assert beside(path) == names | {"old.db"}
    shutil.copyfile(old, path)
    with pytest.raises(ManifestError, match="copies of version 1") as refused:
        Manifest.open(path)
    assert "move the others" in refused.value.hint
    assert file_version(path) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE more (a);\nINSERT INTO more VALUES (1);\nALTER TABLE entries ADD COLUMN flags INTEGER;\n",
        "UPDATE entries SET name = 'x';\nSELECT no_such_function() -- and no semicolon\n",
    ],
)
def test_a_step_that_fails_leaves_it_as_it_was_and_says_where_the_copy_is(
    path: Path, with_step: Path, sql: str
) -> None:
    with_step.write_text(sql)
    before = dump(restored(1, path))
    with pytest.raises(ManifestError, match=r"the manifest is unchanged") as failed:
        Manifest.open(path)
    assert str(path.with_name("m.db.v1.backup")) in failed.value.message
    assert "version 1" in failed.value.message
    assert file_version(path) == 1
    assert dump(path) == before
    with_step.unlink()
    Manifest.open(path).close()
    assert file_version(path) == newest_version()


def test_all_steps_are_taken_or_none(path: Path, with_step: Path) -> None:
    """The second of two fails: the first is not there either."""
    with_step.write_text("SELECT no_such_function();\n")
    restored(1, path)
    with pytest.raises(ManifestError):
        Manifest.open(path)
    assert "origin" not in [row[1] for row in rows(path, "PRAGMA table_info(entries)")]


def test_a_damaged_manifest_is_not_brought_up_to_date(path: Path) -> None:
    restored(1, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'entries_open'")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(ManifestError, match="damaged"):
        Manifest.open(path)
    assert path.read_bytes() == before
    assert beside(path) == set()


def test_nothing_happens_to_one_that_is_in_use(path: Path) -> None:
    restored(1, path)
    with writer_lock(path, "copy"), pytest.raises(ManifestError, match="mastosync copy") as refused:
        Manifest.open(path)
    assert "version 1" in refused.value.message
    assert file_version(path) == 1
    assert beside(path) == set()


def test_whoever_holds_the_lock_brings_it_up_to_date(path: Path) -> None:
    restored(1, path)
    with writer_lock(path, "copy"), Manifest.open(path, writing=True):
        assert file_version(path) == newest_version()


def test_of_many_that_come_at_once_one_takes_the_steps(path: Path) -> None:
    restored(1, path)
    ready = threading.Barrier(8)
    copies: list[int] = []

    def come(number: int) -> None:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            ready.wait()
            migrate(connection, lambda: copies.append(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come, range(8)))
    assert len(copies) == 1
    assert file_version(path) == newest_version()


def test_processes_that_come_at_once_do_not_hurt_each_other(path: Path) -> None:
    restored(1, path)
    command = [str(COMMAND), "--manifest", str(path), "status"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    ended = [(process.communicate(timeout=60), process.returncode) for process in processes]
    assert 0 in [code for _, code in ended]
    for (_, told), code in ended:
        assert code == 0 or (code == 6 and "in use by" in told and "Traceback" not in told), told
    subprocess.run(command, check=True, capture_output=True)  # of two that close at once, neither removes the log
    assert beside(path) == {"m.db.v1.backup"}
    assert file_version(path) == newest_version()


@pytest.mark.parametrize("version", VERSIONS)
def test_it_logs_ahead_and_commits_to_the_disk_whatever_it_was(version: int, path: Path) -> None:
    """Somebody has put it back from a dump: its journal is another one."""
    restored(version, path)
    assert rows(path, "PRAGMA journal_mode = DELETE") == [("delete",)]
    with Manifest.open(path, writing=True) as manifest:
        assert manifest.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert manifest.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
