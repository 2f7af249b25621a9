"""Small files that are written together: what that costs, what is durable when, and that none harms another."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from mastosync.errors import CorruptObject, MastosyncError, ObjectRejected, ServerFailure, StoreUnusable
from mastosync.store.abilities import NewObject
from mastosync.store.filesystem import FilesystemStore, writing
from tests.support.folder_stores import PUBLIC, destination, mounted
from tests.support.object_stores import md5_of

P = ParamSpec("P")
T = TypeVar("T")

CALLS = ("open", "close", "read", "write", "dup", "stat", "fstat", "fstatvfs", "mkdir", "rename", "unlink", "urandom")


def new(key: str, data: bytes = b"data") -> NewObject:
    return NewObject(key, data, md5_of(data), PUBLIC)


def avatars(count: int) -> list[str]:
    """Keys with a folder of its own for each."""
    return [f"accounts/avatars/110/000/{number:03}/original/a.png" for number in range(count)]


def noting(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """The calls of the system of these names, as they are made from here on: name and what it is about."""
    made: list[str] = []

    def noted(name: str, call: Callable[P, T]) -> Callable[P, T]:
        def instead(*args: P.args, **kwargs: P.kwargs) -> T:
            about = args[0] if args else ""
            if name == "fsync":
                path = Path(f"/proc/self/fd/{about}").readlink()
                about = str(path) if path.is_dir() else "file"
            made.append(f"{name} {about}")
            return call(*args, **kwargs)

        return instead

    for name in names:
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    return made


class TestABatch:
    def test_gives_what_single_writes_give(self, store: FilesystemStore, root: Path) -> None:
        keys = [*avatars(3), "accounts/avatars/110/000/001/small/a.png", "a", "odd//key"]
        etags = store.write_batch([new(key, key.encode()) for key in keys])
        assert etags == [store.head(key).etag for key in keys]
        assert [store.read(key, 100).data for key in keys] == [key.encode() for key in keys]
        assert list((root / ".mastosync" / "work").glob("*/*")) == []

    def test_costs_few_calls_of_the_system_for_each_file(
        self, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One by one it would be thirty, and forty with folders to be made."""
        with closing(destination(root, fsync="never")) as store:
            store.write_batch([new("accounts/avatars/110/000/999/original/a.png")])
            made = noting(monkeypatch, *CALLS)
            store.write_batch([new(key) for key in avatars(16)])
            assert len(made) <= 18 * 16, Counter(call.split()[0] for call in made)
            made.clear()
            store.write_batch([new(f"accounts/avatars/110/000/001/original/{number}") for number in range(16)])
            assert len(made) <= 7 * 16, Counter(call.split()[0] for call in made)

    def test_flushes_all_files_before_they_get_names_and_each_folder_once(
        self, store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not Path("/proc/self/fd").exists():
            pytest.skip("nothing tells here what a descriptor is")
        made = noting(monkeypatch, "fsync", "rename")
        keys = avatars(8)
        assert all(isinstance(each, str) for each in store.write_batch([new(key) for key in keys]))
        kinds = [call.split()[0] if call != "fsync file" else call for call in made]
        assert kinds[:16] == ["fsync file"] * 8 + ["rename"] * 8
        flushed = Counter(call.removeprefix("fsync ") for call in made[16:])
        leaves = {(root / key).parent for key in keys}
        above = {folder.parent for folder in leaves} | {root / "accounts/avatars/110/000", root / "accounts", root}
        assert set(flushed) == {
            str(each) for each in leaves | above | {root / "accounts/avatars"} | {root / "accounts/avatars/110"}
        }
        assert set(flushed.values()) == {1}

    def test_leaves_those_alone_that_are_well(self, store: FilesystemStore, root: Path) -> None:
        store.write("a", b"data", md5_of(b"data"), PUBLIC)
        damaged = new("c")._replace(md5=md5_of(b"date"))
        answers = store.write_batch([new("b/1"), new("a/1"), damaged, new("no\udc80key"), new("b/2")])
        assert [type(each) for each in answers] == [str, ObjectRejected, CorruptObject, ObjectRejected, str]
        assert sorted(path.name for path in root.rglob("*") if path.is_file()) == ["1", "2", "a"]

    def test_has_not_stored_a_file_that_could_not_be_flushed(
        self, store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures = iter([OSError(errno.EIO, "a bad block")])

        def flushed(fd: int) -> None:
            if failure := next(failures, None):
                raise failure
            os.fsync(fd)

        monkeypatch.setattr(writing, "sync_file", flushed)
        keys = avatars(4)
        answers = store.write_batch([new(key) for key in keys])
        assert Counter(type(each) for each in answers) == {str: 3, ServerFailure: 1}
        assert [(root / key).exists() for key in keys] == [isinstance(each, str) for each in answers]
        assert list((root / ".mastosync" / "work").glob("*/*")) == []

    def test_has_stored_nothing_if_a_name_could_not_be_flushed(
        self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures = iter([OSError(errno.EIO, "a bad block")])

        def flushed(_: int) -> None:
            if failure := next(failures, None):
                raise failure

        monkeypatch.setattr(writing, "sync_folder", flushed)
        assert {type(each) for each in store.write_batch([new(key) for key in avatars(4)])} == {ServerFailure}

    def test_tells_of_bytes_that_a_disk_refuses_when_the_file_is_closed(
        self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As disks behind a network do."""
        store.write_batch([new("b")])
        close, files = os.close, set[int]()
        real = os.open

        def opened(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            fd = real(path, flags, mode, dir_fd=dir_fd)
            if flags & os.O_WRONLY:
                files.add(fd)
            return fd

        def closed(fd: int) -> None:
            close(fd)
            if fd in files:
                files.discard(fd)
                raise OSError(errno.EDQUOT, "over quota")

        monkeypatch.setattr(os, "open", opened)
        monkeypatch.setattr(os, "close", closed)
        (answer,) = store.write_batch([new("a")])
        assert isinstance(answer, StoreUnusable)

    def test_asks_for_room_once_and_counts_what_it_writes_itself(self, root: Path) -> None:
        free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
        with closing(destination(root, keep_free=free - 20 * 1024 * 1024)) as store:
            answers = store.write_batch([new(f"{number}", bytes(12 * 1024 * 1024)) for number in range(2)])
        assert [isinstance(each, StoreUnusable) for each in answers] == [False, True]

    def test_is_over_for_what_is_mounted_meanwhile(
        self, root: Path, tmp_path: Path, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The folder is open since the first file, and a mount hides it before the second."""
        (tmp_path / "other").mkdir()
        (root / "accounts").mkdir()
        rename, stack = os.rename, ExitStack()

        def renamed(name: bytes, to: bytes, *, src_dir_fd: int, dst_dir_fd: int) -> None:
            rename(name, to, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            if not (tmp_path / "done").exists():
                (tmp_path / "done").touch()
                stack.enter_context(mounted(root / "accounts", "--bind", str(tmp_path / "other")))

        monkeypatch.setattr(os, "rename", renamed)
        with stack:
            first, *others = store.write_batch([new(f"accounts/{name}/x") for name in "aab"])
        assert isinstance(first, str)
        assert [type(each) for each in others] == [StoreUnusable] * 2
        assert "is mounted" in str(others[0])
        assert sorted(path.name for path in (root / "accounts").iterdir()) == ["a"]
        assert list((tmp_path / "other").iterdir()) == []


def noted(pace: writing._Pace, seconds: float, files: int, *, until_slow: bool) -> int:
    """How many batches of so many files it takes until a disk counts as slow, or is given another chance."""
    for number in range(1, 10_000):
        pace.note(seconds, files)
        if pace.is_slow is until_slow:
            return number
    raise AssertionError("it never did")


def test_a_slow_disk_gets_a_thread_for_each_file_and_a_batch_now_and_then() -> None:
    pace = writing._Pace()
    assert noted(pace, 0.5, 16, until_slow=True) > 1, "one hitch says nothing"
    for files in (500, 1500, 3500):
        assert noted(pace, 0.5, 1, until_slow=False) == files
        assert noted(pace, 0.5, 16, until_slow=True) == 1, "it is as slow as before"
    noted(pace, 0.5, 1, until_slow=False)
    pace.note(0.001, 16)
    assert noted(pace, 0.5, 16, until_slow=True) == 1, "it was not far from that"
    assert noted(pace, 0.5, 1, until_slow=False) == 500


def test_a_single_write_raises_what_a_batch_gives(store: FilesystemStore) -> None:
    (told,) = store.write_batch([new("a")._replace(md5=b"0" * 16)])
    assert isinstance(told, MastosyncError)
    with pytest.raises(type(told)):
        store.write("a", b"data", b"0" * 16, PUBLIC)
