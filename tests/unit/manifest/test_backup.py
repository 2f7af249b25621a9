"""A manifest that was copied without its write-ahead log is noticed; one that has only died or was restored is not."""

from __future__ import annotations

import inspect
import logging
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from mastosync.app.context import Context
from mastosync.app.manifest import back_up as backed_up
from mastosync.app.status import status
from mastosync.cli.main import main
from mastosync.config import Config
from mastosync.doctor import CheckSubject, Grade, ManifestTarget
from mastosync.doctor.checks import Reporter
from mastosync.doctor.database import DatabaseFacts
from mastosync.doctor.manifest import check_manifest
from mastosync.errors import ConfigError, ManifestError
from mastosync.manifest import Manifest, PlanWriter, WorkQueue, back_up, writer_lock
from mastosync.model import EntryState, Outcome
from mastosync.progress import NoProgress
from mastosync.runtime.stop import StopSignal
from tests.support.entries import entry
from tests.support.manifest_versions import restored
from tests.support.manifests import DESTINATION, SOURCE, planned


def do_one(manifest: Manifest) -> None:
    """Record one object as copied."""
    queue = WorkQueue(manifest)
    queue.start_run(1)
    claim = next(queue.iter_claimable())
    queue.commit(claims=[claim])
    queue.commit(outcomes=[Outcome(claim.entry, EntryState.DONE, size=7, md5=b"\1" * 16)])


_RUN_AND_DIE = f"""
from __future__ import annotations
import os, signal, sys
from pathlib import Path
from mastosync.manifest import Manifest, WorkQueue, writer_lock
from mastosync.model import EntryState, Outcome
{inspect.getsource(do_one)}
path = Path(sys.argv[1])
with writer_lock(path, "copy"), Manifest.open(path, writing=True) as manifest:
    do_one(manifest)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_at_work_on(path: Path) -> Path:
    assert subprocess.run([sys.executable, "-c", _RUN_AND_DIE, str(path)], check=False).returncode == -signal.SIGKILL
    assert log_of(path).stat().st_size > 0
    return path


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def shm_of(path: Path) -> Path:
    return path.with_name(path.name + "-shm")


def copied_alone(path: Path, name: str = "copy.db") -> Path:
    """A copy of the file without its log, as `cp` makes it."""
    folder = path.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(path, folder / name))


def done_in(path: Path) -> int:
    return status(Context(Config(), path, NoProgress(), StopSignal())).totals.done


def is_told_of(path: Path) -> bool:
    with Manifest.open(path) as manifest:
        return manifest.gap is not None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "m.db"
    planned(path, [entry(number) for number in range(1, 10)]).close()
    return path


@pytest.fixture
def dead(path: Path) -> Path:
    """A manifest whose last run was killed."""
    return killed_at_work_on(path)


def test_a_copy_without_the_log_of_a_dead_run_is_told_of(dead: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = copied_alone(dead)
    with caplog.at_level(logging.WARNING):
        assert done_in(copy) == 0, "it is the older state"
    (told,) = caplog.messages
    assert f"the newest entries are missing in the manifest {copy}" in told
    assert "mastosync manifest backup FILE" in told
    assert "mastosync adopt" in told


def test_whoever_watches_it_is_told_once(
    dead: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter(range(3))

    def wait(_: float) -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    assert main(["--manifest", str(copied_alone(dead)), "status", "--watch"]) == 130
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 4
    assert shown.err.count("the newest entries are missing") == 1


def test_so_is_a_copy_made_beside_a_run(path: Path) -> None:
    with writer_lock(path, "copy"), Manifest.open(path, writing=True) as manifest:
        do_one(manifest)
        copy = copied_alone(path)
        assert not is_told_of(path), "the log lies there"
    assert is_told_of(copy)
    assert is_told_of(copy), "as long as nobody writes to it"


def test_doctor_warns_of_it(dead: Path) -> None:
    def no_stores() -> None:
        raise ConfigError("not the point here")

    place = ManifestTarget(copied_alone(dead), no_stores)  # type: ignore[arg-type]
    (found,) = (
        each
        for each in check_manifest(Reporter(CheckSubject.MANIFEST), place, DatabaseFacts)
        if each.check == "manifest"
    )
    assert found.grade is Grade.WARNING
    assert "manifest backup" in found.remedy


def test_it_is_over_with_the_first_whole_plan_as_rows_may_be_missing(dead: Path) -> None:
    copy = copied_alone(dead)
    with writer_lock(copy, "copy"), Manifest.open(copy, writing=True) as manifest:
        assert manifest.gap is not None
        do_one(manifest)
    assert is_told_of(copy)
    for whole in (False, True):
        with (
            writer_lock(copy, "plan"),
            Manifest.open(copy, writing=True) as manifest,
            PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer,
        ):
            writer.finish(datetime.now(UTC), {}, whole=whole)
        assert is_told_of(copy) is not whole


def test_a_backup_of_what_lacks_entries_lacks_them(dead: Path) -> None:
    copy = copied_alone(dead)
    backup = copy.with_name("backup.db")
    backed_up(Context(Config(), copy, NoProgress(), StopSignal()), backup)
    assert is_told_of(backup)


def test_a_dead_run_is_gone_on_with_and_nothing_is_told(dead: Path) -> None:
    with writer_lock(dead, "copy"), Manifest.open(dead, writing=True) as manifest:
        assert manifest.gap is None
    assert done_in(dead) == 1
    assert not is_told_of(dead)


def test_whoever_only_reads_after_a_death_leaves_a_file_that_can_be_copied(dead: Path) -> None:
    assert not is_told_of(dead)
    assert not log_of(dead).exists(), "SQLite has taken it over"
    assert not is_told_of(dead)
    copy = copied_alone(dead)
    assert not is_told_of(copy)
    assert done_in(copy) == 1


def test_nothing_is_told_if_another_program_has_taken_the_log_over(dead: Path) -> None:
    with closing(sqlite3.connect(dead)) as shell:
        shell.execute("SELECT count(*) FROM entries").fetchall()
    assert not log_of(dead).exists()
    assert not is_told_of(dead)


def test_nor_of_a_copy_with_its_log(dead: Path) -> None:
    copy = copied_alone(dead)
    shutil.copy(log_of(dead), log_of(copy))
    assert not is_told_of(copy)
    assert done_in(copy) == 1


def test_nor_if_a_link_leads_to_it(dead: Path) -> None:
    """SQLite's log lies beside the file, not beside the link."""
    copy = copied_alone(dead)
    shutil.copy(log_of(dead), log_of(copy))
    link = dead.with_name("link.db")
    link.symlink_to(copy)
    assert not is_told_of(link)
    assert done_in(link) == 1


def test_nor_of_a_copy_made_between_runs(path: Path) -> None:
    with writer_lock(path, "copy"), Manifest.open(path, writing=True) as manifest:
        do_one(manifest)
    copy = copied_alone(path)
    assert not is_told_of(copy)
    assert done_in(copy) == 1


def test_a_copy_made_while_a_reader_keeps_the_log_is_told_of(path: Path) -> None:
    with Manifest.open(path) as reader:
        with writer_lock(path, "copy"), Manifest.open(path, writing=True) as manifest:
            do_one(manifest)
        assert log_of(path).exists()
        copy = copied_alone(path)
        assert reader.has_plan
    assert is_told_of(copy)
    assert not is_told_of(copied_alone(path, "later.db"))


def test_a_backup_stands_alone_also_if_a_run_is_under_way(path: Path) -> None:
    backup = path.with_name("backup")
    with writer_lock(path, "copy"), Manifest.open(path, writing=True) as manifest:
        do_one(manifest)
        back_up(path, backup)
    assert not is_told_of(backup)
    assert done_in(backup) == 1
    assert {each.name for each in path.parent.iterdir()} == {"m.db", "m.db.lock", "backup"}


class TestABackupPutBack:
    """In the place of a manifest that has died."""

    @pytest.fixture
    def backup(self, path: Path) -> Path:
        backup = path.with_name("backup")
        back_up(path, backup)
        return backup

    def test_nothing_is_told_if_the_log_was_removed(self, backup: Path, dead: Path) -> None:
        for file in (log_of(dead), shm_of(dead)):
            file.unlink()
        shutil.copy(backup, dead)
        assert not is_told_of(dead)
        with writer_lock(dead, "copy"), Manifest.open(dead, writing=True) as manifest:
            assert manifest.gap is None
            do_one(manifest)
        assert done_in(dead) == 1

    @pytest.mark.parametrize("writing", [False, True])
    def test_the_log_of_the_one_that_was_there_is_not_written_into_it(
        self, backup: Path, dead: Path, writing: bool
    ) -> None:
        shutil.copy(backup, dead)
        before = {each: each.read_bytes() for each in (dead, log_of(dead))}
        locked = writer_lock(dead, "copy") if writing else nullcontext()
        with locked, pytest.raises(ManifestError, match="log of another manifest") as refused:
            Manifest.open(dead, writing=writing)
        assert f"move {log_of(dead)}" in refused.value.hint
        assert {each: each.read_bytes() for each in before} == before
        log_of(dead).unlink()
        shm_of(dead).unlink()
        assert not is_told_of(dead)

    def test_readers_beside_its_first_run_are_not_refused(self, backup: Path) -> None:
        with writer_lock(backup, "copy"), Manifest.open(backup, writing=True) as manifest:
            do_one(manifest)
            assert done_in(backup) == 1
            assert not is_told_of(backup)

    def test_nor_is_who_goes_on_after_its_first_run_has_died(self, backup: Path) -> None:
        assert done_in(killed_at_work_on(backup)) == 1

    @pytest.mark.parametrize("logged_ahead", [False, True], ids=["as it is made", "as older ones were made"])
    def test_its_first_run_writes_nothing_while_somebody_reads_it(
        self, backup: Path, logged_ahead: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the run wrote would be in a log, and the file would still say that it has none."""
        monkeypatch.setattr("mastosync.manifest.connection._BUSY_SECONDS", 0.1)
        with closing(sqlite3.connect(backup, isolation_level=None)) as reader:
            if logged_ahead:
                reader.execute("PRAGMA journal_mode = WAL")
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM entries").fetchall()
            before = backup.read_bytes()
            with writer_lock(backup, "copy"), pytest.raises(ManifestError, match="being read") as refused:
                Manifest.open(backup, writing=True)
            assert "run the same command again" in refused.value.hint
            assert backup.read_bytes() == before
            assert not log_of(backup).exists() or not log_of(backup).stat().st_size
        assert done_in(killed_at_work_on(backup)) == 1

    def test_who_has_it_open_and_reads_nothing_keeps_no_run_away(self, backup: Path) -> None:
        with closing(sqlite3.connect(backup, isolation_level=None)) as idle:
            assert idle.execute("SELECT count(*) FROM entries").fetchone() == (9,)
            killed_at_work_on(backup)
            assert done_in(backup) == 1


def test_a_manifest_that_an_older_version_left_is_gone_on_with(tmp_path: Path) -> None:
    """It noted nothing, whether it had ended or died."""
    path = restored(1, tmp_path / "m.db")
    with closing(sqlite3.connect(path)) as older:
        older.execute("PRAGMA journal_mode = WAL")
        older.execute("UPDATE snapshots SET details = details || ' '")
        older.commit()
        dead = tmp_path / "dead.db"
        shutil.copy(path, dead)
        shutil.copy(log_of(path), log_of(dead))
    assert log_of(dead).stat().st_size > 0
    assert not is_told_of(dead)
    assert not is_told_of(dead)


@pytest.mark.parametrize("note", ["", "null", "[1]", '"a"', "{"])
def test_a_note_that_nobody_can_read_stops_nobody(path: Path, note: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO meta VALUES ('writer', ?)", (note,))
        connection.commit()
    assert not is_told_of(path)


def test_the_note_is_in_the_file_at_once_and_stays_there_while_much_is_written(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    planned(path, [entry(number, f"{number:032x}.png") for number in range(4_000)]).close()
    with writer_lock(path, "copy"), Manifest.open(path, writing=True) as manifest:
        assert is_told_of(copied_alone(path, "first.db"))
        manifest.connection.execute("PRAGMA wal_autocheckpoint = 10")
        queue = WorkQueue(manifest)
        queue.start_run(1)
        claims = queue.iter_claimable()
        while chunk := list(islice(claims, 500)):
            queue.commit(outcomes=[Outcome(each.entry, EntryState.DONE, size=7, md5=b"\1" * 16) for each in chunk])
        copy = copied_alone(path, "later.db")
        assert is_told_of(copy)
        assert 0 < done_in(copy) <= 4_000, "some of it was brought into the file"
