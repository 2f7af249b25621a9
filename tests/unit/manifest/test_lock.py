"""One writer at a time, whatever becomes of the file that says who it is."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from mastosync.errors import ManifestInUse
from mastosync.manifest import Manifest, holder_of, writer_lock
from mastosync.manifest.lock import lock_path
from tests.support.manifests import planned

pytestmark = pytest.mark.timing


def run_beside(path: Path, code: str) -> str:
    """What another process says that tries to do something with this manifest."""
    script = (
        "import sys; from pathlib import Path\n"
        "from mastosync.errors import MastosyncError\n"
        "from mastosync.manifest import Manifest, holder_of, writer_lock\n"
        "path = Path(sys.argv[1])\n"
        "try:\n"
        f"    {code}\n"
        "except MastosyncError as error: print(type(error).__name__, error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


LOCK = "with writer_lock(path, 'plan'): print('the lock is ours')"


def writes(manifest: Manifest) -> None:
    with manifest.transaction():
        pass


class TestWithoutItsLockFile:
    """Somebody takes the lock file for a stale one and removes it."""

    def test_no_second_writer_gets_in(self, tmp_path: Path) -> None:
        path = tmp_path / "m.db"
        planned(path, []).close()
        with writer_lock(path, "copy"):
            lock_path(path).unlink()
            with pytest.raises(ManifestInUse, match="lock file was removed"), writer_lock(path, "plan"):
                pass
            assert run_beside(path, LOCK).startswith("ManifestInUse the manifest")
            assert not lock_path(path).exists(), "who is refused leaves nothing"
        assert run_beside(path, LOCK) == "the lock is ours"
        with writer_lock(path, "plan"):
            pass

    def test_the_writer_lays_it_anew_and_is_named_again(self, tmp_path: Path) -> None:
        path = tmp_path / "m.db"
        planned(path, []).close()
        with writer_lock(path, "copy"), Manifest.open(path, writing=True) as manifest:
            lock_path(path).unlink()
            writes(manifest)
            assert "mastosync copy" in run_beside(path, LOCK)
            assert "mastosync copy" in run_beside(path, "print(holder_of(path))")
        assert run_beside(path, "print(holder_of(path))") == "None"

    def test_nor_with_a_new_one_in_its_place(self, tmp_path: Path) -> None:
        path = tmp_path / "m.db"
        planned(path, []).close()
        with writer_lock(path, "copy"):
            lock_path(path).unlink()
            lock_path(path).touch()
            assert run_beside(path, LOCK).startswith("ManifestInUse")

    def test_the_first_plan_holds_what_it_has_made(self, tmp_path: Path) -> None:
        path = tmp_path / "m.db"
        with writer_lock(path, "plan"), Manifest.create(path) as manifest:
            writes(manifest)
            lock_path(path).unlink()
            assert run_beside(path, LOCK).startswith("ManifestInUse")

    def test_nor_within_a_process_before_there_is_a_database(self, tmp_path: Path) -> None:
        path = tmp_path / "m.db"
        with writer_lock(path, "plan"):
            lock_path(path).unlink()
            with pytest.raises(ManifestInUse), writer_lock(path, "plan"):
                pass

    def test_a_question_who_holds_it_takes_nothing_away(self, tmp_path: Path) -> None:
        path = tmp_path / "m.db"
        planned(path, []).close()
        with writer_lock(path, "copy"):
            lock_path(path).unlink()
            for _ in range(2):
                assert holder_of(path) is not None
                assert run_beside(path, "print(holder_of(path))") != "None"
            assert run_beside(path, LOCK).startswith("ManifestInUse")
        assert holder_of(path) is None

    def test_where_only_the_file_tells_the_writer_stops_when_another_has_come(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on network file systems and other systems than Linux."""
        monkeypatch.setattr("mastosync.manifest.lock._holds_databases", lambda _: False)
        path = tmp_path / "m.db"
        planned(path, []).close()
        with writer_lock(path, "copy"), Manifest.open(path, writing=True) as manifest:
            lock_path(path).unlink()
            other = lock_path(path).open("w")
            fcntl.flock(other, fcntl.LOCK_EX)
            with other, pytest.raises(ManifestInUse):
                writes(manifest)

    def test_sqlite_keeps_its_own_locks(self, tmp_path: Path) -> None:
        """A descriptor of the database that is closed would take them away, of all connections of this process."""
        path = tmp_path / "m.db"
        planned(path, []).close()
        with Manifest.open(path) as manifest:
            manifest.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            manifest.connection.execute("PRAGMA user_version = 9")
            with writer_lock(path, "upgrade"), pytest.raises(ManifestInUse), writer_lock(path, "plan"):
                pass
            assert holder_of(path) is None
            assert "locked" in run_beside(path, "Manifest.open(path)")
