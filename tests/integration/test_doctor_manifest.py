"""What the doctor finds out about the manifest, its disk and this machine. It leaves everything as it was."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from lab.addresses import DatabaseAddress, PostgresAddress
from lab.instance import SCHEMA
from mastosync.doctor import CheckSubject, Grade
from mastosync.errors import ExitCode, ServerFailure, StoreUnusable
from mastosync.manifest import Manifest, file_version, newest_version, writer_lock
from mastosync.mountinfo import file_system
from mastosync.store.filesystem import FilesystemProbe, probe
from tests.support.doctor_sites import Examined, examined
from tests.support.entries import entry
from tests.support.manifests import DESTINATION, SOURCE, planned
from tests.support.site import NOWHERE, Site, pg_section, s3_section

OK, WARNING, FAILURE, SKIPPED = Grade.OK, Grade.WARNING, Grade.FAILURE, Grade.SKIPPED


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A configuration that says nothing of stores and database, which are not what is looked at here."""
    return Site(tmp_path).configure(s3_source={"region": "us-east-1"})


def fails(found: Examined) -> str:
    """The message of the one failure of the manifest."""
    failed = [each for each in found.manifest.values() if each.grade is FAILURE]
    assert len(failed) == 1
    assert failed[0].exit_code == ExitCode.MANIFEST
    assert "--manifest" in failed[0].remedy or "mastosync" in failed[0].remedy
    return failed[0].message


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class TestFolder:
    def test_a_folder_where_it_can_be_made(self, site: Site) -> None:
        before = files_in(site.folder)
        found = examined(site)
        assert found.manifest["folder"].grade is OK
        assert "mastosync plan" in found.manifest["manifest"].message
        assert files_in(site.folder) == before

    def test_a_folder_that_does_not_exist(self, site: Site) -> None:
        found = examined(site, site.folder / "no" / "such" / "m.db")
        assert "does not exist" in fails(found)
        assert found.manifest["disk"].grade is SKIPPED

    def test_a_link_that_leads_to_itself(self, site: Site) -> None:
        site.manifest.symlink_to(site.manifest)
        assert "cannot be written to" in fails(examined(site))

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="only Linux has a folder that nobody may write to")
    def test_a_folder_that_nobody_may_write_to(self, site: Site) -> None:
        assert "nothing can be written" in fails(examined(site, Path("/proc/m.db")))

    @pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="only Linux has a folder in memory at a known place")
    def test_a_folder_in_memory(self, site: Site) -> None:
        found = examined(site, Path("/dev/shm/mastosync-that-is-never-made.db")).manifest["file-system"]
        assert found.grade is WARNING
        assert "restarts" in found.message

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("/srv/mastosync", "ext4"),
            ("/mnt/nas/mastosync", "nfs4"),
            ("/mnt/nas2/mastosync", "ext4"),
            ("/mnt/with space/x", "cifs"),
            ("/mnt/twice/x", "xfs"),
            ("/mnt/sftp", "fuse.sshfs"),
        ],
    )
    def test_the_kind_of_a_file_system_is_that_of_the_innermost_mount(self, path: str, kind: str) -> None:
        mounts = (
            "25 30 0:23 / /proc rw - proc proc rw\n"
            "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
            "41 27 0:51 / /mnt/nas rw,relatime shared:2 master:3 - nfs4 nas:/export rw\n"
            "42 27 0:52 / /mnt/with\\040space rw - cifs //nas/share rw\n"
            "43 27 0:53 / /mnt/twice rw - nfs nas:/old rw\n"
            "44 27 0:54 / /mnt/twice rw - xfs /dev/vdb rw\n"
            "45 27 0:55 / /mnt/sftp rw - fuse.sshfs nas: rw\n"
            "\n"
        )
        assert file_system(Path(path), mounts) == kind


class TestFile:
    def test_a_plan_of_these_stores(self, site: Site) -> None:
        stores = {"s3_source": SOURCE, "s3_destination": DESTINATION}
        for section, identity in stores.items():
            address = NOWHERE.__class__(identity.endpoint.replace("memory", "http"), "key", "marked-secret", "", "")
            site.configure(**{section: s3_section(address, identity.bucket)})
        with planned(site.manifest, [entry(1), entry(2)]) as manifest, manifest.transaction() as connection:
            connection.execute("UPDATE meta SET value = replace(value, 'memory://', 'http://')")
        before = files_in(site.folder)
        found = examined(site).manifest["manifest"]
        assert found.grade is OK
        assert "for these stores: 2 pending, 0 done" in found.message
        assert files_in(site.folder) == before

    def test_a_plan_of_stores_of_which_nobody_can_tell_whether_they_are_apart(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """That is told of the stores; all other findings are there."""

        def short(*_: object) -> NoReturn:
            raise OSError(errno.EMFILE, "Too many open files")

        old, new = (tmp_path / name for name in ("old", "new"))
        old.mkdir()
        new.mkdir()
        site = Site(tmp_path).configure(
            filesystem_source={"path": str(old)}, filesystem_destination={"path": str(new), "keep_free": "0"}
        )
        planned(site.manifest, [entry(1), entry(2)]).close()
        monkeypatch.setattr(probe, "mounts_below", short)
        found = examined(site)
        assert "2 pending, 0 done" in found.manifest["manifest"].message
        assert "for these stores" not in found.manifest["manifest"].message, "nobody has compared them"
        assert FAILURE in found.bad(CheckSubject.SOURCE).values()

    def test_a_probe_object_that_cannot_be_removed_keeps_nobody_from_removing_the_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("old", "new"):
            (tmp_path / name).mkdir()
        delete = FilesystemProbe.delete

        def failing(probe: FilesystemProbe, key: str) -> None:
            if "parts" not in key:
                raise ServerFailure(f"cannot delete {key}: Too many open files")
            delete(probe, key)

        monkeypatch.setattr(FilesystemProbe, "delete", failing)
        site = Site(tmp_path).configure(
            filesystem_source={"path": str(tmp_path / "old")},
            filesystem_destination={"path": str(tmp_path / "new"), "keep_free": "0"},
        )
        with pytest.raises(StoreUnusable, match=r"cannot delete .*public.*cannot delete .*private") as left_behind:
            examined(site)
        left = [path.name for path in (tmp_path / "new").rglob("*") if path.is_file()]
        assert len(left) == 2
        assert all(name in left_behind.value.message for name in left)

    def test_a_plan_of_other_stores(self, site: Site) -> None:
        site.configure(s3_source=s3_section(NOWHERE, "old"), s3_destination=s3_section(NOWHERE, "new"))
        planned(site.manifest, [entry()]).close()
        assert "another source" in fails(examined(site))

    def test_no_plan_yet(self, site: Site) -> None:
        Manifest.create(site.manifest).close()
        assert "no plan yet" in examined(site).manifest["manifest"].message

    def test_a_file_of_something_else(self, site: Site) -> None:
        site.manifest.write_bytes(b"certainly not a database, but long enough to look like a file " * 20)
        before = files_in(site.folder)
        assert "not a SQLite database" in fails(examined(site))
        assert files_in(site.folder) == before

    def test_a_database_of_something_else(self, site: Site) -> None:
        with closing(sqlite3.connect(site.manifest)) as connection:
            connection.execute("CREATE TABLE notes (text)")
        assert "another program" in fails(examined(site))

    def test_a_manifest_of_a_newer_version(self, site: Site) -> None:
        set_version(site.manifest, 99)
        assert "newer" in fails(examined(site))

    @pytest.mark.parametrize("make", [Path.touch, lambda path: set_version(path, 0)], ids=["empty", "older"])
    def test_an_older_one_is_left_as_it_is(self, site: Site, make: Callable[[Path], None]) -> None:
        make(site.manifest)
        before = files_in(site.folder)
        assert examined(site).manifest["manifest"].grade is OK
        assert files_in(site.folder) == before

    def test_one_that_is_in_use(self, site: Site) -> None:
        planned(site.manifest, [entry()]).close()
        with writer_lock(site.manifest, "copy"):
            found = examined(site).manifest
        assert found["in-use"].grade is WARNING
        assert "mastosync copy" in found["in-use"].message
        assert found["manifest"].grade is SKIPPED
        assert examined(site).manifest["in-use"].grade is OK


def set_version(path: Path, version: int) -> None:
    Manifest.create(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


class TestVersion:
    def test_that_of_a_manifest_is_read_without_opening_it(self, tmp_path: Path) -> None:
        path = tmp_path / "m.db"
        planned(path, [entry()]).close()
        assert file_version(path) == newest_version()
        set_version(path, 7)
        assert file_version(path) == 7

    def test_what_is_no_manifest_has_none(self, tmp_path: Path) -> None:
        path = tmp_path / "m.db"
        assert file_version(path) is None
        path.touch()
        assert file_version(path) == 0
        path.write_bytes(b"x" * 50)
        assert file_version(path) is None
        path.write_bytes(b"x" * 5000)
        assert file_version(path) is None


class TestDisk:
    @pytest.mark.parametrize(("rows", "grade"), [(1_000, OK), (2**43, FAILURE)])
    def test_the_planners_statistics_say_how_much_is_needed(
        self,
        site: Site,
        database: DatabaseAddress,
        lab_postgres: PostgresAddress,
        rows: int,
        grade: Grade,
    ) -> None:
        with database.connect() as connection:
            connection.execute(SCHEMA.read_bytes())
        with closing(lab_postgres.admin_connection(database.name)) as admin:
            admin.execute("UPDATE pg_class SET reltuples = %s WHERE relname = 'custom_emojis'", (rows,))
        found = examined(site.configure(pg_database=pg_section(database)))
        disk = found.manifest["disk"]
        assert disk.grade is grade
        assert f"about {2 * rows:,} entries" in disk.message, "an emoji has an original and a static"
        if grade is FAILURE:
            assert "--manifest" in disk.remedy
            assert disk.exit_code == ExitCode.MANIFEST

    def test_rows_without_a_file_need_nothing(self, site: Site, database: DatabaseAddress) -> None:
        with database.connect() as connection:
            connection.execute(SCHEMA.read_bytes())
            connection.execute(
                "INSERT INTO custom_emojis (image_file_name, shortcode, created_at, updated_at)"
                " SELECT CASE WHEN i % 4 = 0 THEN 'a.png' END, i, now(), now() FROM generate_series(1, 4000) i"
            )
            connection.execute("ANALYZE")
        found = examined(site.configure(pg_database=pg_section(database)))
        assert "about 2,000 entries" in found.manifest["disk"].message

    def test_without_a_database_nobody_knows(self, site: Site) -> None:
        found = examined(site).manifest["disk"]
        assert found.grade is OK
        assert "is not known" in found.message


def test_this_machine_has_files_enough_for_a_few_workers(site: Site) -> None:
    assert examined(site.configure(copy={"workers": "1"})).bad(CheckSubject.MACHINE) == {}


def test_no_machine_has_files_enough_for_a_million_workers(site: Site) -> None:
    found = examined(site.configure(copy={"workers": "1000000000"})).of(CheckSubject.MACHINE)["files"]
    assert (found.grade, found.exit_code) == (FAILURE, ExitCode.CONFIG)
    assert "ulimit -n" in found.remedy
