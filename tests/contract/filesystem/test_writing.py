"""Small files that are written together: what that costs, what is durable when, and that none harms another."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from mastosync.doctor.doctor import open_files
from mastosync.errors import CorruptObject, MastosyncError, ObjectRejected, ServerFailure, StoreUnusable
from mastosync.store.abilities import NewObject
from mastosync.store.filesystem import FilesystemStore, writing
from mastosync.store.filesystem.partial_files import PartialFolder
from mastosync.store.filesystem.root import path_of, sync_folder
from tests.support.folder_stores import NOBODY, PUBLIC, destination, mounted, open_descriptors, raising
from tests.support.object_stores import md5_of
from tests.support.waiting import PATIENCE_SECONDS

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


class PowerCut:
    """What a disk would lose of the folders that are made from here on: names that no flush has reached."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if not Path("/proc/self/fd").exists():
            pytest.skip("nothing tells here what a descriptor is")
        self._mkdir, self._unflushed = os.mkdir, set[Path]()
        self._guard = threading.Lock()
        self.before_flush: Callable[[], object] = lambda: None
        monkeypatch.setattr(os, "mkdir", self._made)
        monkeypatch.setattr(writing, "sync_folder", self._flushed)

    def _made(self, name: bytes, mode: int = 0o777, *, dir_fd: int) -> None:
        self._mkdir(name, mode, dir_fd=dir_fd)
        with self._guard:
            self._unflushed.add(self._path(dir_fd) / os.fsdecode(name))

    def _flushed(self, fd: int) -> None:
        self.before_flush()
        sync_folder(fd)
        with self._guard:
            self._unflushed = {each for each in self._unflushed if each.parent != self._path(fd)}

    def _path(self, fd: int) -> Path:
        return Path(f"/proc/self/fd/{fd}").readlink()

    def takes(self, path: Path) -> bool:
        return any(each in path.parents for each in self._unflushed)


class TestNamesOfFolders:
    """An object is stored when the names of all folders above it are on the disk, whoever has made them."""

    def test_what_a_flush_has_missed_is_flushed_by_the_next_write(
        self, store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        power_cut, (key,) = PowerCut(monkeypatch), avatars(1)
        power_cut.before_flush = raising(OSError(errno.EIO, "a bad block"))
        assert isinstance(store.write_batch([new(key)])[0], ServerFailure)
        assert power_cut.takes(root / key)
        power_cut.before_flush = lambda: None
        assert isinstance(store.write_batch([new(key)])[0], str)
        assert not power_cut.takes(root / key)

    def test_a_folder_that_another_batch_has_just_made_is_flushed_by_both(
        self, store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write("first", b"data", md5_of(b"data"), PUBLIC)
        power_cut, stored = PowerCut(monkeypatch), list[object]()
        once, done = threading.Lock(), threading.Event()

        def meanwhile() -> None:
            if not once.acquire(blocking=False):  # other folders of the same batch
                done.wait(PATIENCE_SECONDS)
                return
            power_cut.before_flush = lambda: None
            stored.extend(store.write_batch([new("accounts/avatars/b")]))
            stored.append(power_cut.takes(root / "accounts/avatars/b"))
            done.set()

        power_cut.before_flush = meanwhile
        assert isinstance(store.write_batch([new("accounts/a")])[0], str)
        etag, taken = stored
        assert isinstance(etag, str)
        assert not taken

    def test_the_folder_of_keys_that_no_path_can_be_is_flushed_too(
        self, store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        power_cut = PowerCut(monkeypatch)
        assert isinstance(store.write_batch([new("odd//key")])[0], str)
        assert not power_cut.takes(root / os.fsdecode(path_of("odd//key")))

    def test_what_is_known_to_be_there_is_flushed_no_more(
        self, store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = avatars(2)
        store.write_batch([new(keys[0])])
        made = noting(monkeypatch, "fsync")
        store.write_batch([new(f"{keys[0]}.again")])
        assert Counter(made) == {"fsync file": 1, f"fsync {(root / keys[0]).parent}": 1}


class TestWhatOthersDo:
    """Mastodon and its admin move and remove folders while objects are written."""

    def test_what_would_go_to_a_folder_that_was_moved_away_is_not_stored(
        self, store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rename = os.rename
        keys = ["accounts/a/1", "accounts/a/2", "accounts/b/3", "cache/4"]

        def renamed(name: bytes, to: bytes, *, src_dir_fd: int, dst_dir_fd: int) -> None:
            rename(name, to, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            if to == b"1":
                rename(root / "accounts", root / "old")
                (root / "accounts").mkdir()

        monkeypatch.setattr(os, "rename", renamed)
        answers = store.write_batch([new(key) for key in keys])
        assert [type(each) for each in answers] == [ServerFailure] * 3 + [str]
        monkeypatch.setattr(os, "rename", rename)
        answers = store.write_batch([new(key) for key in keys])
        assert [(root / key).read_bytes() for key in keys] == [b"data"] * 4

    def test_the_folder_of_what_is_not_whole_is_made_again(self, store: FilesystemStore, root: Path) -> None:
        keys, before = avatars(3), open_descriptors()
        store.write_batch([new("x")])
        for number in range(2):
            shutil.rmtree(root / ".mastosync")
            assert [type(each) for each in store.write_batch([new(f"{key}{number}") for key in keys])] == [str] * 3
            shutil.rmtree(root / ".mastosync")
            assert store.start_multipart("large", PUBLIC)
        store.close()
        assert open_descriptors() <= before
        assert not (root / ".mastosync").exists()

    def test_who_removes_it_under_a_file_costs_another_attempt(
        self, store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_all, left = writing.write_all, [1]

        def written(fd: int, data: bytes) -> None:
            write_all(fd, data)
            if left:
                shutil.rmtree(root / ".mastosync")
                left.clear()

        monkeypatch.setattr(writing, "write_all", written)
        first, second = store.write_batch([new("a"), new("b")])
        assert isinstance(first, ServerFailure)
        assert first.transient
        assert isinstance(second, str)
        assert isinstance(store.write_batch([new("a")])[0], str)


def test_two_batches_at_once_keep_apart_what_a_disk_takes_for_one_name(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the disk only says that it does: each of them would look before the other has its name."""
    store.write_batch([new("d/x")])
    monkeypatch.setattr(PartialFolder, "folds_names", property(lambda _: True, lambda _, folds: None), raising=False)
    both, answers, names_in = threading.Barrier(2), list[object](), writing.names_in  # type: ignore[attr-defined]

    def looked(folder: int) -> list[str]:
        names: list[str] = names_in(folder)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3)
        return names

    monkeypatch.setattr(writing, "names_in", looked)
    batches = [
        threading.Thread(target=lambda key=key: answers.extend(store.write_batch([new(key)]))) for key in ("d/A", "d/a")
    ]
    for batch in batches:
        batch.start()
    for batch in batches:
        batch.join(PATIENCE_SECONDS)
    assert sorted(type(each).__name__ for each in answers) == ["ObjectRejected", "str"]


class TestOpenFiles:
    KEYS = tuple(f"cache/media_attachments/files/11{number:x}/1/2/3/4/5/original/a.png" for number in range(16))

    def test_the_doctor_counts_those_of_a_batch(self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker waits for one object, so no more of them are in all batches together."""
        store.write_batch([new("x")])
        before, most = open_descriptors(), list[int]()
        monkeypatch.setattr(writing, "sync_folder", lambda _: most.append(open_descriptors() - before))
        store.write_batch([new(key) for key in self.KEYS])
        of_reading = 2 * len(self.KEYS)
        assert 8 * len(self.KEYS) <= max(most)
        assert max(most) + of_reading <= open_files(len(self.KEYS), to_folder=True)[0]
        assert open_files(8, to_folder=True)[1] > open_files(8, to_folder=False)[1]

    def test_who_has_too_few_is_told_and_loses_none(
        self, store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write_batch([new("x")])
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = open_descriptors()
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 60, hard))
        try:
            answers = store.write_batch([new(key) for key in self.KEYS])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        failed = [each for each in answers if isinstance(each, MastosyncError)]
        assert 0 < len(failed) < len(self.KEYS)
        assert {type(each) for each in failed} == {ServerFailure}
        assert all("ulimit -n" in each.hint for each in failed)
        assert open_descriptors() == before
        assert [(root / key).exists() for key in self.KEYS] == [isinstance(each, str) for each in answers]
        assert all(isinstance(each, str) for each in store.write_batch([new(key) for key in self.KEYS]))


@pytest.mark.parametrize("call", ["write", "fsync", "mkdir", "rename"])
def test_a_store_that_is_closed_in_the_midst_of_a_batch_lets_go_of_all_when_that_has_ended(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Nobody waits for threads that wait for a disk. What they use must not become somebody else's meanwhile."""
    before, real, keys = open_descriptors(), getattr(os, call), avatars(4)
    store, others = destination(root), list[int]()
    store.write_batch([new("x")])

    def closing_first(*args: object, **kwargs: object) -> object:
        if not others:
            store.close()
            others.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(8))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, call, closing_first)
    assert [type(each) for each in store.write_batch([new(key) for key in keys])] == [str] * 4
    assert others
    for fd in others:
        os.close(fd)
    assert [(root / key).read_bytes() for key in keys] == [b"data"] * 4
    for number in range(2):
        assert open_descriptors() == before
        assert not (root / ".mastosync").exists()
        assert all(isinstance(each, str) for each in store.write_batch([new(f"y{number}"), new("z")]))


@pytest.mark.parametrize("segments", [300, 500, 511])
def test_a_key_of_many_folders_harms_no_other(store: FilesystemStore, root: Path, segments: int) -> None:
    keys = ["b", "a/" * segments + "f", "c"]
    assert [type(each) for each in store.write_batch([new(key) for key in keys])] == [str] * 3
    assert [store.read(key, 10).data for key in keys] == [b"data"] * 3
    for key in keys:
        store.delete(key)
    assert [path for path in root.iterdir() if path.name != ".mastosync"] == []


def test_a_folder_that_could_not_be_given_away_is_not_left_behind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would give it away later: it looks like one that an admin has made."""
    if os.geteuid() != 0:
        pytest.skip("only root gives folders away")
    os.chown(root, NOBODY, NOBODY)
    real, failures = os.open, [OSError(errno.EMFILE, "too many")]

    def opened(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == b"000" and failures and (root / "a/000").is_dir():
            raise failures.pop()
        return real(path, flags, mode, dir_fd=dir_fd)

    with closing(destination(root)) as store:
        monkeypatch.setattr(os, "open", opened)
        assert isinstance(store.write_batch([new("a/000/f")])[0], ServerFailure)
        assert not (root / "a/000").exists()
        assert isinstance(store.write_batch([new("a/000/f")])[0], str)
    assert {path.stat().st_uid for path in (root / "a").rglob("*")} == {NOBODY}


@pytest.mark.parametrize("call", ["rename", "mkdir"])
def test_a_disk_that_is_slow_with_names_is_slow(root: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A network lies between, and each name takes a journey. Content that nobody waits for says nothing of that."""
    with closing(destination(root, fsync="never")) as store:
        store.write_batch([new("x")])
        assert store.batch_limits().objects > 1
        clock = Ticks(monkeypatch)
        real = getattr(os, call)

        def slow(*args: object, **kwargs: object) -> object:
            clock.now += 0.02
            return real(*args, **kwargs)

        monkeypatch.setattr(os, call, slow)
        for number in range(12):
            keys = [f"accounts/{number}/{name}/original/a.png" for name in range(16)]
            assert all(isinstance(each, str) for each in store.write_batch([new(key) for key in keys]))
        assert store.batch_limits().objects == 1


class Ticks:
    """A clock that goes on only where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(writing, "time", self)

    def monotonic(self) -> float:
        return self.now


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
