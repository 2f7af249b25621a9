"""A disk that fails, mounts, partial files, and objects that change."""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NoReturn

import pytest

from mastosync.app.copy import warn_of_little_room
from mastosync.cli.logs import showing_warnings
from mastosync.config import FilesystemConfig
from mastosync.errors import (
    CorruptObject,
    MastosyncError,
    ObjectChanged,
    ObjectMissing,
    ObjectRejected,
    ServerFailure,
    StoreUnusable,
)
from mastosync.mountinfo import iter_mounts
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import ObjectStore
from mastosync.store.filesystem import FilesystemProbe, FilesystemStore, volumes
from mastosync.store.filesystem.open_folders import OpenFolders
from mastosync.store.filesystem.root import WORK, RootFolder, path_of
from mastosync.store.filesystem.walk import Walk
from tests.support.entries import entry
from tests.support.folder_stores import (
    ACTS,
    MIB,
    PRIVATE,
    PUBLIC,
    Act,
    a_disk,
    destination,
    keys_of,
    mounted,
    open_descriptors,
    put,
    raising,
    source,
)
from tests.support.manifests import planned
from tests.support.object_stores import bytes_of, listed, md5_of


def below(folder: Path) -> tuple[volumes.Mount, ...]:
    fd = os.open(folder, os.O_RDONLY)
    try:
        return volumes.mounts_below(fd)
    finally:
        os.close(fd)


class TestDisk:
    @pytest.mark.parametrize("role", ["source", "destination"])
    def test_a_folder_that_is_not_there_cannot_be_used(self, tmp_path: Path, role: str) -> None:
        make = source if role == "source" else destination
        with closing(make(tmp_path / "nowhere")) as store, pytest.raises(StoreUnusable, match="nowhere") as caught:
            store.check()
        assert "mounted" in caught.value.hint

    def test_an_empty_source_is_a_disk_that_is_not_mounted(self, tmp_path: Path) -> None:
        (tmp_path / "lost+found").mkdir()
        with closing(source(tmp_path)) as store:
            with pytest.raises(StoreUnusable, match="has no objects"):
                store.check()
            (tmp_path / "cache").mkdir()  # in which another disk is mounted, as a rule
            (tmp_path / "accounts" / "avatars").mkdir(parents=True)
            with pytest.raises(StoreUnusable, match="has no objects"):
                store.check()
            (tmp_path / "accounts" / "avatars" / "a.png").touch()
            store.check()

    def test_a_source_with_nothing_but_a_stray_file_is_a_disk_that_is_not_mounted(self, tmp_path: Path) -> None:
        (tmp_path / ".gitkeep").touch()
        (tmp_path / "backup-of-last-year").mkdir()
        (tmp_path / "backup-of-last-year" / "media.tar").touch()
        with closing(FilesystemStore(FilesystemConfig(path=tmp_path), role="source", top_folders=["cache"])) as store:
            with pytest.raises(StoreUnusable, match="has no objects"):
                store.check()
            (tmp_path / "cache").mkdir()
            (tmp_path / "cache" / "a.png").touch()
            store.check()

    def test_a_source_of_links_to_disks_that_are_not_mounted_has_no_objects(self, tmp_path: Path) -> None:
        root, disk = tmp_path / "root", tmp_path / "disk"
        root.mkdir()
        (disk / "accounts").mkdir(parents=True)
        (root / "cache").symlink_to(disk)
        (root / "cache" / "back").symlink_to(root)
        with closing(source(root)) as store:
            with pytest.raises(StoreUnusable, match="has no objects"):
                store.check()
            (disk / "accounts" / "a.png").touch()
            store.check()

    def test_however_many_folders_are_empty_there_are_no_objects(self, tmp_path: Path) -> None:
        for number in range(1_100):
            (tmp_path / "accounts" / f"{number}").mkdir(parents=True)
        with closing(source(tmp_path)) as store, pytest.raises(StoreUnusable, match="has no objects"):
            store.check()

    def test_objects_under_keys_that_no_path_can_be_are_objects(self, tmp_path: Path) -> None:
        with closing(destination(tmp_path)) as store:
            put(store, f"cache/{256 * 'a'}.png")
        with closing(FilesystemStore(FilesystemConfig(path=tmp_path), role="source", top_folders=["cache"])) as store:
            store.check()

    def test_a_folder_that_cannot_be_looked_into_is_not_empty(self, tmp_path: Path) -> None:
        (tmp_path / "cache").symlink_to(tmp_path / "nowhere")
        with closing(source(tmp_path)) as store:
            store.check()  # reading tells that this link leads nowhere

    def test_an_empty_destination_will_do_unless_objects_have_arrived_there(self, tmp_path: Path) -> None:
        config = FilesystemConfig(path=tmp_path, keep_free=0)
        with closing(FilesystemStore(config, role="destination")) as store:
            store.check()
        with (
            closing(FilesystemStore(config, role="destination", holds_objects=True)) as store,
            pytest.raises(StoreUnusable, match="has no objects"),
        ):
            store.check()

    def test_a_folder_that_is_removed_meanwhile_has_not_lost_its_objects_one_by_one(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        root.mkdir()
        with closing(source(root)) as reading, closing(destination(root)) as writing:
            (root / "a").touch()
            reading.check()
            writing.check()
            (root / "a").unlink()
            root.rmdir()
            with pytest.raises(StoreUnusable, match="removed"):
                reading.head("a")
            with pytest.raises(StoreUnusable, match="removed"):
                put(writing, "a")

    def test_nothing_is_written_to_a_source(self, tmp_path: Path) -> None:
        (tmp_path / "a").touch()
        with closing(source(tmp_path)) as store:
            with pytest.raises(StoreUnusable, match="source"):
                put(store, "b")
            with pytest.raises(StoreUnusable, match="source"):
                store.start_multipart("b", PUBLIC)
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_some_of_the_disk_stays_free(self, tmp_path: Path) -> None:
        with closing(destination(tmp_path, keep_free=1 << 60)) as store:
            with pytest.raises(StoreUnusable, match="keep_free"):
                put(store, "a")
            assert [room.free_bytes for room in store.disks({})] == [0]

    def test_who_cannot_tell_for_a_moment_how_much_is_free_warns_of_nothing(
        self, store: FilesystemStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A copy is not ended by that, nor are the rounds of `follow`."""
        monkeypatch.setattr(os, "fstatvfs", raising(OSError(errno.ENOMEM, "no memory")))
        stop = StopSignal()
        with planned(tmp_path / "m.db", [entry(1)]) as manifest:
            warn_of_little_room(StoreSession(store, EndpointLimiter(stop), RetryPolicy(), stop), manifest)
        assert any("no memory" in message for message in caplog.messages)

    def test_a_folder_that_leads_nowhere_ends_no_copy_that_may_not_need_it(
        self, store: FilesystemStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Another type's disk is not mounted: what is to be written there tells."""
        (tmp_path / "root" / "accounts").symlink_to(tmp_path / "nowhere")
        stop = StopSignal()
        with planned(tmp_path / "m.db", [entry(1)._replace(size=2048)]) as manifest:
            warn_of_little_room(StoreSession(store, EndpointLimiter(stop), RetryPolicy(), stop), manifest)
        assert any("accounts" in message for message in caplog.messages)

    def test_who_copies_more_than_fits_is_told_before_it_begins(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stop = StopSignal()
        (tmp_path / "disk").mkdir()
        with (
            closing(destination(tmp_path / "disk", keep_free=1 << 60)) as store,
            planned(tmp_path / "m.db", [entry(1)._replace(size=2048)]) as manifest,
            showing_warnings(),
        ):
            warn_of_little_room(StoreSession(store, EndpointLimiter(stop), RetryPolicy(), stop), manifest)
        assert "has room for 0 Bytes, but 2.0 KiB are pending" in capsys.readouterr().err

    def test_a_disk_without_room_for_another_name_is_full(self, tmp_path: Path) -> None:
        """Here it is the system that says so: bytes there would be."""
        with a_disk(tmp_path, "size=4m,nr_inodes=12"):
            written: list[str] = []

            def fill(store: ObjectStore) -> None:
                for number in range(20):
                    put(store, f"{number}/file")
                    written.append(f"{number}/file")

            with closing(destination(tmp_path)) as store:
                with pytest.raises(StoreUnusable) as caught:
                    fill(store)
                assert os.strerror(errno.ENOSPC) in caught.value.message
                assert "make room" in caught.value.hint
                assert [found.key for found in listed(store, "")] == sorted(written)

    def test_a_read_only_disk_stops_everything(self, tmp_path: Path) -> None:
        with (
            a_disk(tmp_path, "ro"),
            closing(destination(tmp_path)) as store,
            pytest.raises(StoreUnusable, match=os.strerror(errno.EROFS)),
        ):
            put(store, "a")

    def test_what_a_dead_process_left_is_removed_and_a_living_one_is_left_alone(
        self, store: FilesystemStore, root: Path
    ) -> None:
        code = f"""
import os, signal
from pathlib import Path
from tests.support.folder_stores import PUBLIC, destination, md5_of
store = destination(Path({str(root)!r}))
store.write_part("key", store.start_multipart("key", PUBLIC), 1, b"data", md5_of(b"data"))
os.kill(os.getpid(), signal.SIGKILL)
"""
        died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)
        assert died.returncode == -signal.SIGKILL
        with closing(destination(root)) as living:
            upload = living.start_multipart("other", PUBLIC)
            assert len(list((root / ".mastosync" / "work").iterdir())) == 1, "only that of the living one"
            put(store, "key")
            assert len(list((root / ".mastosync" / "work").iterdir())) == 2
            living.complete_multipart("other", upload, [living.write_part("other", upload, 1, b"x", md5_of(b"x"))])
        assert [found.key for found in listed(store, "")] == ["key", "other"]

    def test_closing_leaves_nothing_but_objects(self, root: Path, store: FilesystemStore) -> None:
        put(store, "object")
        store.write_part("key", store.start_multipart("key", PUBLIC), 1, b"data", md5_of(b"data"))
        store.close()
        assert [path.name for path in root.iterdir()] == ["object"]

    def test_stores_that_begin_and_end_at_the_same_time_do_not_disturb_each_other(self, root: Path) -> None:
        def work(number: int) -> None:
            for again in range(100):
                with closing(destination(root, fsync="never")) as other:
                    put(other, f"{number}/{again}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert sorted(path.name for path in root.iterdir()) == list("01234567")

    def test_a_store_begins_however_many_others_end_at_that_moment(
        self, root: Path, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others, at = iter(range(20)), OpenFolders.at

        def tidied_up(self: OpenFolders, path: bytes) -> int:
            fd = at(self, path)
            if next(others, None) is not None:
                (root / os.fsdecode(path)).parent.rmdir()
            return fd

        with monkeypatch.context() as patched:
            patched.setattr(OpenFolders, "at", tidied_up)
            upload = store.start_multipart("key", PUBLIC)
        assert next(others, None) is None, "all of them ended"
        store.complete_multipart("key", upload, [store.write_part("key", upload, 1, b"x", md5_of(b"x"))])

    @pytest.mark.parametrize(("kind", "begun"), [("disk", False), ("disk", True), ("folder", False), ("folder", True)])
    @pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
    def test_nothing_below_a_mount_is_touched_at_a_destination(
        self, tmp_path: Path, root: Path, store: FilesystemStore, kind: str, begun: bool, act: Act
    ) -> None:
        """The folder that is mounted there may be the source's. `begun`: it is mounted in the midst of a run."""
        elsewhere, place = tmp_path / "media", root / "cache" / "accounts"
        (elsewhere / "1").mkdir(parents=True)
        place.mkdir(parents=True)
        if begun:
            put(store, "first")
        with a_disk(place, "size=1m") if kind == "disk" else mounted(place, "--bind", str(elsewhere)):
            (place / "1").mkdir(exist_ok=True)
            (place / "1" / "a").write_bytes(b"media")
            with pytest.raises(StoreUnusable) as caught:
                act(store, "cache/accounts/1/a")
            assert (place / "1" / "a").read_bytes() == b"media"
            assert sorted(path.name for path in place.rglob("*")) == ["1", "a"], "nothing was made there"
        assert "'cache/accounts" in caught.value.message
        assert "unmount" in caught.value.hint

    @pytest.mark.parametrize(
        "name", ["ca\rche", "ca\x0bche", "ca\x0cche", "ca\x1cche", "ca\u2028che", "ca - che", "ca\nche"]
    )
    def test_a_mount_may_have_any_name(self, tmp_path: Path, root: Path, store: FilesystemStore, name: str) -> None:
        """Those of mounts are told in lines and fields, whose ends are a line feed and a blank, and no others."""
        (tmp_path / "media").mkdir()
        (tmp_path / "media" / "a").write_bytes(b"media")
        (root / name).mkdir()
        with mounted(root / name, "--bind", str(tmp_path / "media")):
            with pytest.raises(StoreUnusable, match="is mounted"):
                store.delete(f"{name}/a")
            assert (tmp_path / "media" / "a").read_bytes() == b"media"

    @pytest.mark.parametrize("depth", [(), ("folder",)])
    def test_a_mount_is_no_folder_that_a_dead_process_has_left(
        self, tmp_path: Path, root: Path, store: FilesystemStore, depth: tuple[str, ...]
    ) -> None:
        (tmp_path / "media").mkdir()
        (tmp_path / "media" / "a").write_bytes(b"media")
        left = root.joinpath(os.fsdecode(WORK), "left", *depth)
        left.mkdir(parents=True)
        with mounted(left, "--bind", str(tmp_path / "media")):
            with pytest.raises(StoreUnusable, match="mounted"):
                put(store, "key")
            assert (tmp_path / "media" / "a").read_bytes() == b"media"
        with closing(FilesystemStore(FilesystemConfig(path=root, keep_free=0), role="destination")) as another:
            put(another, "key")
        assert not left.exists()

    def test_a_mount_is_noticed_though_it_could_not_be_looked_for_at_once(
        self, tmp_path: Path, root: Path, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As where other connections have taken all the descriptors: the system tells of a change but once."""
        (tmp_path / "media").mkdir()
        (tmp_path / "media" / "a").write_bytes(b"media")
        put(store, "cache/first")

        def fails(_: int) -> NoReturn:
            raise OSError(errno.EMFILE, "Too many open files")

        with mounted(root / "cache", "--bind", str(tmp_path / "media")):
            with monkeypatch.context() as patched:
                patched.setattr(volumes, "mounts_below", fails)
                with pytest.raises(MastosyncError):
                    store.delete("other")
            with pytest.raises(StoreUnusable, match="is mounted"):
                store.delete("cache/a")
            assert (tmp_path / "media" / "a").read_bytes() == b"media"

    def test_a_mount_stays_one_when_a_folder_above_it_is_renamed(
        self, tmp_path: Path, root: Path, store: FilesystemStore
    ) -> None:
        """Of that the system tells nobody who waits for changes."""
        (tmp_path / "media").mkdir()
        (tmp_path / "media" / "a").write_bytes(b"media")
        put(store, "cache/accounts/first")
        with mounted(root / "cache" / "accounts", "--bind", str(tmp_path / "media")):
            with pytest.raises(StoreUnusable, match="is mounted"):
                store.delete("cache/accounts/a")
            (root / "cache").rename(root / "renamed")
            refused = dict[str, str]()
            for name, act in ACTS.items():
                try:
                    act(store, "renamed/accounts/a")
                except StoreUnusable as error:
                    refused[name] = error.message
            (root / "renamed").rename(root / "cache")
            assert refused.keys() == ACTS.keys()
            assert all("mounted" in message for message in refused.values())
            assert (tmp_path / "media" / "a").read_bytes() == b"media"
            assert len(list((tmp_path / "media").iterdir())) == 1

    @pytest.mark.parametrize("kind", ["disk", "folder"])
    @pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
    @pytest.mark.parametrize("key", ["cache/accounts/1/a", "a//b"])
    def test_what_a_mount_hides_is_neither_missing_nor_removed(
        self, tmp_path: Path, root: Path, store: FilesystemStore, key: str, kind: str, act: Act
    ) -> None:
        put(store, key)
        store.close()
        place, empty = root / path_of(key).decode().partition("/")[0], tmp_path / "empty"
        empty.mkdir()
        with a_disk(place, "size=1m") if kind == "disk" else mounted(place, "--bind", str(empty)):
            with pytest.raises(StoreUnusable, match="mounted"):
                act(store, key)
            store.close()
            assert not list(place.iterdir()), "nothing was made there"
        assert keys_of(listed(store, "")) == [key]

    def test_a_listing_does_not_end_where_a_mount_hides_the_rest_of_it(
        self, root: Path, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is mounted when the names of a folder are known, and those below are not opened yet."""
        put(store, "cache/a/1.png")
        put(store, "cache/b/2.png")
        names_in = Walk._names_in

        with ExitStack() as disks:

            def names(walk: Walk, folder: str) -> list[str]:
                found = names_in(walk, folder)
                if folder == "cache/":
                    disks.enter_context(a_disk(root / "cache", "size=1m"))
                return found

            monkeypatch.setattr(Walk, "_names_in", names)
            with pytest.raises(StoreUnusable, match="is mounted"):
                listed(store, "")

    @pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
    def test_what_this_machine_is_short_of_for_a_moment_is_tried_again(
        self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        """Also where an object has to be removed, as everybody can read it."""
        put(store, "cache/a")
        with monkeypatch.context() as patched:
            patched.setattr(RootFolder, "folder", raising(OSError(code, os.strerror(code))))
            for act in (store.delete, store.withdraw, store.head):
                with pytest.raises(ServerFailure, match=os.strerror(code)) as caught:
                    act("cache/a")
                assert caught.value.transient

    @pytest.mark.parametrize(
        ("code", "expected"), [(errno.EMFILE, ServerFailure), (errno.EACCES, StoreUnusable), (errno.EIO, StoreUnusable)]
    )
    def test_a_folder_of_which_nobody_can_tell_on_which_mount_it_lies_is_not_touched(
        self, root: Path, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[Exception]
    ) -> None:
        """Whether it is tried again: not if that cannot pass."""
        put(store, "cache/a")
        monkeypatch.setattr(volumes, "mount_number", raising(OSError(code, "not now")))
        with pytest.raises(expected):
            store.head("cache/a")
        with pytest.raises(expected):
            store.delete("cache/a")
        assert (root / "cache" / "a").exists()

    def test_mounts_are_found_in_whatever_order_the_system_tells_them(
        self, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that was moved may come before the one that it lies on."""
        (tmp_path / "media").mkdir()
        (root / "cache").mkdir()
        with a_disk(root / "cache", "size=1m"):
            (root / "cache" / "accounts").mkdir()
            with mounted(root / "cache" / "accounts", "--bind", str(tmp_path / "media")):
                in_order = {each.place for each in below(root)}
                monkeypatch.setattr(volumes, "iter_mounts", lambda table: reversed([*iter_mounts(table)]))
                assert {each.place for each in below(root)} == in_order == {b"cache", b"cache/accounts"}

    def test_they_are_found_where_the_system_does_not_tell_on_which_one_a_folder_lies(
        self, tmp_path: Path, root: Path, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As in gVisor, whose fdinfo has no mnt_id."""
        (tmp_path / "media").mkdir()
        (tmp_path / "media" / "a").write_bytes(b"media")
        (root / "cache").mkdir()
        monkeypatch.setattr(volumes, "_ID", re.compile(b"never^"))
        with mounted(root / "cache", "--bind", str(tmp_path / "media")):
            with pytest.raises(StoreUnusable, match="is mounted"):
                store.delete("cache/a")
            assert (tmp_path / "media" / "a").read_bytes() == b"media"
        put(store, "cache/a")

    @pytest.mark.parametrize("error", [FileNotFoundError, PermissionError, OSError])
    def test_where_they_cannot_be_read_any_more_nothing_is_touched(
        self, root: Path, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
    ) -> None:
        """It is not taken for an answer about a file: not for one that is missing, nor for one that is closed."""
        put(store, "cache/a")
        monkeypatch.setattr(volumes, "mounts_below", raising(error(errno.EIO, "it is gone")))
        with closing(FilesystemStore(FilesystemConfig(path=root, keep_free=0), role="destination")) as another:
            for act in (another.head, another.delete, lambda key: another.read(key, 10), lambda key: put(another, key)):
                with pytest.raises(StoreUnusable, match="cannot find out what is mounted below the destination folder"):
                    act("cache/a")
        assert (root / "cache" / "a").exists()

    def test_a_table_that_cannot_be_watched_is_let_go(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Poll:
            register = staticmethod(raising(OSError(errno.ENOMEM, "no memory")))

        monkeypatch.setattr(select, "poll", Poll)
        with closing(FilesystemStore(FilesystemConfig(path=root, keep_free=0), role="destination")) as store:
            before = open_descriptors()
            for _ in range(3):
                with pytest.raises(StoreUnusable, match=r"cannot find out what is mounted.*no memory"):
                    store.head("key")
            assert open_descriptors() == before

    def test_it_is_told_what_is_mounted_where(self, tmp_path: Path, root: Path, store: FilesystemStore) -> None:
        (tmp_path / "the media").mkdir()
        (root / "my cache").mkdir()
        with mounted(root / "my cache", "--bind", str(tmp_path / "the media")), pytest.raises(StoreUnusable) as caught:
            listed(store, "")
        assert "at 'my cache' in the destination folder" in caught.value.message
        assert "/the media]" in caught.value.message

    def test_a_mount_beside_is_nobodys_business(self, root: Path, store: FilesystemStore) -> None:
        (root / "cache").mkdir()
        with a_disk(root / "cache", "size=1m"):
            put(store, "cached/a")
            assert store.read("cached/a", 10).data == b"data"
            assert keys_of(listed(store, "cached/")) == ["cached/a"]

    def test_a_destination_may_be_a_mount_and_lie_on_others(self, tmp_path: Path) -> None:
        """Also where another mount, which nobody sees any more, was hidden by its own."""
        root = tmp_path / "root"
        (root / "sub").mkdir(parents=True)
        with a_disk(root / "sub", "size=1m"), a_disk(root, "size=1m"), closing(destination(root)) as store:
            put(store, "sub/a")
            assert keys_of(listed(store, "")) == ["sub/a"]

    def test_a_source_may_have_mounts_below_it(self, tmp_path: Path) -> None:
        (tmp_path / "cache").mkdir()
        with a_disk(tmp_path / "cache", "size=1m"), closing(source(tmp_path)) as store:
            (tmp_path / "cache" / "a").write_bytes(b"data")
            assert store.read("cache/a", 10).data == b"data"
            assert keys_of(listed(store, "")) == ["cache/a"]

    def test_a_refused_write_leaves_nothing(self, root: Path, store: FilesystemStore) -> None:
        with pytest.raises(CorruptObject):
            store.write("key", b"data", md5_of(b"date"), PUBLIC)
        put(store, "a/b")
        with pytest.raises(ObjectRejected):
            put(store, "a")
        assert list((root / ".mastosync" / "work").glob("*/*")) == []

    def test_no_descriptor_is_left_open(self, tmp_path: Path) -> None:
        open_files = Path("/proc/self/fd")
        if not open_files.exists():
            pytest.skip("no list of open files here")
        before = len(list(open_files.iterdir()))
        with closing(destination(tmp_path)) as store:
            for number in range(30):
                put(store, f"{number}/a/b")
                with pytest.raises(ObjectRejected):
                    put(store, f"{number}/a")
                with pytest.raises(ObjectMissing):
                    store.head(f"{number}/a/b/c")
            listed(store, "")
        assert len(list(open_files.iterdir())) == before


class TestChanges:
    def test_a_file_that_is_changed_in_place_is_another_object(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.write_bytes(bytes_of(1000))
        os.utime(path, ns=(1, 1))
        with closing(source(tmp_path)) as store:
            info = store.head("key")
            with path.open("r+b") as file:
                file.write(b"other")
            with pytest.raises(ObjectChanged):
                store.read_range("key", info, 0, 5)
            with pytest.raises(ObjectChanged):
                store.digest("key", info)
            assert store.read_range("key", store.head("key"), 0, 5) == b"other"

    def test_a_digest_reads_everything_in_little_memory(self, store: FilesystemStore) -> None:
        data = bytes_of(3 * MIB + 1)
        put(store, "key", data)
        assert store.digest("key", store.head("key")) == md5_of(data)

    def test_the_etag_tells_who_may_read_a_file(self, store: FilesystemStore, root: Path) -> None:
        """So a private file that somebody has opened is looked at, as one that somebody has changed."""
        told = put(store, "key", options=PRIVATE)
        assert told == store.head("key").etag == listed(store, "")[0].etag
        for mode, same in ((0o640, True), (0o644, False), (0o600, True)):
            (root / "key").chmod(mode)
            assert (store.head("key").etag == told) is same
            assert (listed(store, "")[0].etag == told) is same

    def test_completing_again_after_an_error_gives_the_same_object(self, store: FilesystemStore, root: Path) -> None:
        upload = store.start_multipart("a/b", PUBLIC)
        pieces = [bytes_of(100_000), bytes_of(70_001)]
        parts = [store.write_part("a/b", upload, number, data, md5_of(data)) for number, data in enumerate(pieces, 1)]
        (root / "a").touch()
        with pytest.raises(ObjectRejected):
            store.complete_multipart("a/b", upload, parts)
        (root / "a").unlink()
        store.complete_multipart("a/b", upload, parts)
        assert store.read("a/b", MIB).data == b"".join(pieces)


def test_the_probe_deletes_an_object_and_the_folders_that_are_empty_then(store: FilesystemStore, root: Path) -> None:
    with closing(FilesystemProbe(FilesystemConfig(path=root), role="destination")) as probe:
        put(store, "a/b/c/d")
        put(store, "a/other")
        assert probe.first_key() == "a/b/c/d"
        probe.delete("a/b/c/d")
        probe.delete("a/b/c/d")
        assert [path.name for path in (root / "a").iterdir()] == ["other"]
        assert not probe.folds_names()
        ((_, free, pending),) = probe.disks({"a": 3})
        assert (free > 0, pending) == (True, 3)
        assert probe.mode("a/other") & 0o600 == 0o600
