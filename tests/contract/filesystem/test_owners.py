"""Whose the files of a destination folder are: the folder's owner's, whoever runs mastosync."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mastosync.config import FilesystemConfig, OwnerKey, load_config
from mastosync.errors import ConfigError, ObjectChanged, StoreUnusable
from mastosync.model import Owner
from mastosync.store.filesystem import FilesystemProbe, FilesystemStore, owners
from mastosync.store.filesystem.owners import current_owner, gives_away, may_give, wanted_owner
from tests.support.folder_stores import NOBODY, PRIVATE, PUBLIC, as_nobody, put
from tests.support.object_stores import listed, md5_of

MASTODON = Owner(12_345, 12_346)
KEY = "media_attachments/files/116/000/000/original/a.png"
ROOT = Owner(0, 0)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@pytest.fixture
def folder(disk_path: Path) -> Path:
    """Mastodon's, on a disk."""
    root = disk_path / "system"
    root.mkdir()
    if os.geteuid() == 0:
        os.chown(root, *MASTODON)
    return root


def store_of(folder: Path, owner: OwnerKey | None = None) -> FilesystemStore:
    return FilesystemStore(FilesystemConfig(path=folder, keep_free=0, owner=owner), role="destination")


def owners_below(folder: Path) -> set[Owner]:
    return {Owner(found.st_uid, found.st_gid) for found in map(Path.lstat, folder.rglob("*"))}


def put_in_parts(store: FilesystemStore, key: str, options: object = PUBLIC) -> None:
    upload = store.start_multipart(key, options)  # type: ignore[arg-type]
    store.complete_multipart(key, upload, [store.write_part(key, upload, 1, b"data", md5_of(b"data"))])


@as_root
class TestRoot:
    def test_what_it_writes_is_the_folders_owners_as_are_the_folders(self, folder: Path) -> None:
        with closing(store_of(folder)) as store:
            put(store, KEY)
            put(store, "accounts/avatars/000/000/001/original/a.png", options=PRIVATE)
            put_in_parts(store, "backups/dumps/000/000/001/original/a.zip", PRIVATE)
            put(store, "a//b")
            store.start_multipart("unfinished", PUBLIC)
            assert owners_below(folder) == {MASTODON}, "what is not whole yet, too"
        assert owners_below(folder) == {MASTODON}
        assert (folder / "backups/dumps/000/000/001/original/a.zip").stat().st_mode & 0o7777 == 0o600

    def test_a_file_never_has_its_name_and_another_owner(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rename, seen = os.rename, []

        def looked(name: bytes, last: bytes, *, src_dir_fd: int, dst_dir_fd: int) -> None:
            status = os.stat(name, dir_fd=src_dir_fd)
            seen.append((status.st_uid, status.st_gid))
            rename(name, last, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        monkeypatch.setattr(os, "rename", looked)
        with closing(store_of(folder)) as store:
            put(store, KEY)
            put_in_parts(store, "video.mp4")
        assert set(seen) == {MASTODON}

    def test_mastodon_can_then_read_what_is_private_and_delete_all_of_it(self, folder: Path) -> None:
        os.chown(folder, NOBODY, NOBODY)
        with closing(store_of(folder)) as store:
            put(store, KEY, b"private", options=PRIVATE)
        assert "b'private'" in as_nobody(folder, f"store.read({KEY!r}, 100).data")
        assert as_nobody(folder, f"store.delete({KEY!r})", role="destination").strip() == "None"
        assert list(folder.iterdir()) == []

    def test_folders_that_are_there_stay_whose_they_are(self, folder: Path) -> None:
        """Root's own, too: an admin has made them, with a mode and an owner that they chose."""
        (folder / "media_attachments" / "files").mkdir(parents=True)
        (folder / "cache").mkdir()
        os.chown(folder / "cache", 999, 999)
        with closing(store_of(folder)) as store:
            put(store, KEY)
            put(store, "cache/" + KEY)
        found = {str(path.relative_to(folder)): path.stat().st_uid for path in folder.rglob("*")}
        assert (found.pop("media_attachments"), found.pop("media_attachments/files"), found.pop("cache")) == (0, 0, 999)
        assert set(found.values()) == {MASTODON.user}

    def test_a_workshop_that_a_dead_run_left_as_roots_is_given(self, folder: Path) -> None:
        (folder / ".mastosync" / "work").mkdir(parents=True)
        with closing(store_of(folder)) as store:
            store.start_multipart("unfinished", PUBLIC)
            assert owners_below(folder) == {MASTODON}

    def test_what_it_leaves_when_it_dies_mastodon_can_remove(self, folder: Path) -> None:
        os.chown(folder, NOBODY, NOBODY)
        code = f"""
import os, signal
from pathlib import Path
from tests.support.folder_stores import PUBLIC, destination, md5_of
store = destination(Path({str(folder)!r}))
store.write_part("key", store.start_multipart("key", PUBLIC), 1, b"data", md5_of(b"data"))
os.kill(os.getpid(), signal.SIGKILL)
"""
        died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)
        assert died.returncode == -signal.SIGKILL
        assert owners_below(folder) == {Owner(NOBODY, NOBODY)}
        put_one = "(store.write('a', b'x', md5_of(b'x'), PutOptions(ObjectHeaders())), store.close())"
        assert "None" in as_nobody(folder, put_one, role="destination")
        assert [path.name for path in folder.iterdir()] == ["a"]

    def test_a_folder_of_its_own_stays_its_own(self, folder: Path) -> None:
        os.chown(folder, *current_owner())
        with closing(store_of(folder)) as store:
            put(store, KEY)
        assert owners_below(folder) == {current_owner()}

    @pytest.mark.parametrize(
        ("asked", "owner"), [(OwnerKey(7, 8), Owner(7, 8)), (OwnerKey(7, None), Owner(7, MASTODON.group))]
    )
    def test_owner_names_another(self, folder: Path, asked: OwnerKey, owner: Owner) -> None:
        with closing(store_of(folder, asked)) as store:
            put(store, KEY, options=PRIVATE)
        assert owners_below(folder) == {owner}

    def test_the_etag_and_the_mark_of_what_is_private_are_as_they_were(self, folder: Path) -> None:
        with closing(store_of(folder)) as store:
            etag = store.write("a/b", b"data", md5_of(b"data"), PRIVATE)
            assert etag.endswith("-p")
            assert store.head("a/b").etag == etag
            assert not store.anybody_reads("a/b")
            (found,) = listed(store, "")
            assert found.etag == etag

    def test_a_part_that_was_exchanged_is_none(self, folder: Path, disk_path: Path) -> None:
        """The folder of parts is Mastodon's, who may not have root read what it cannot read itself."""
        secret = disk_path / "secret"
        secret.write_bytes(b"root's")
        with closing(store_of(folder)) as store:
            upload = store.start_multipart("key", PUBLIC)
            part = store.write_part("key", upload, 1, b"data", md5_of(b"data"))
            (path,) = folder.glob(f".mastosync/work/*/{upload}/*")
            path.unlink()
            path.hardlink_to(secret)
            with pytest.raises(ObjectChanged):
                store.complete_multipart("key", upload, [part])
        assert not (folder / "key").exists()


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A disk that gives nothing away, as an export of NFS that takes root for nobody."""
    calls = list[int]()

    def refuse(fd: int, *_: int) -> None:
        calls.append(fd)
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(owners, "is_privileged", lambda: True)
    monkeypatch.setattr(owners, "current_owner", lambda: Owner(-2, -2))
    return calls


class TestRefusal:
    def test_it_is_told_once_and_the_copy_goes_on(
        self, folder: Path, refused: list[int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(owners, "wanted_owner", lambda *_: MASTODON)
        with closing(store_of(folder)) as store, caplog.at_level(logging.WARNING):
            for number in range(3):
                put(store, f"{number}/a")
        assert len(refused) == 1
        (told,) = caplog.messages
        assert f"chown -R {MASTODON} {folder}" in told
        assert "not be able to" in told

    def test_an_owner_that_is_asked_for_and_cannot_be_stops_the_run(self, folder: Path, refused: list[int]) -> None:
        with (
            closing(store_of(folder, OwnerKey(*MASTODON))) as store,
            pytest.raises(StoreUnusable, match=str(MASTODON)) as told,
        ):
            put(store, KEY)
        assert "without `owner`" in told.value.hint
        assert refused
        assert list(folder.rglob("*.png")) == []

    def test_a_quota_of_whom_it_is_given_to_is_a_full_disk(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: int) -> None:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

        monkeypatch.setattr(os, "fchown", full)
        with closing(store_of(folder, OwnerKey(7, 8))) as store, pytest.raises(StoreUnusable) as told:
            put(store, KEY)
        assert "the disk is full" in told.value.hint


@pytest.mark.parametrize(
    ("wanted", "asked", "privileged", "gives"),
    [
        (MASTODON, False, True, True),
        (MASTODON, False, False, False),  # who may not is not asked to
        (MASTODON, True, False, True),  # unless the configuration says so: then it is refused, and told
        (ROOT, False, True, False),
        (Owner(0, 33), False, True, True),
        (ROOT, True, True, True),
    ],
)
def test_who_gives_files_away(wanted: Owner, asked: bool, privileged: bool, gives: bool) -> None:
    assert gives_away(wanted, ROOT, asked=asked, privileged=privileged) is gives


@pytest.mark.parametrize(
    ("capabilities", "user", "may"),
    [
        (0b11, 0, True),
        (0b11, 1_000, True),
        (0b01, 1_000, False),  # it could not write in the folders that it gave away
        (0b01, 0, False),
        (0b10, 0, True),  # it tries, is refused, and tells of it
        (0b00, 1_000, False),
        (None, 0, True),  # the system does not tell
        (None, 1_000, False),
    ],
)
def test_who_may_give_files_away(capabilities: int | None, user: int, may: bool) -> None:
    told = b"" if capabilities is None else b"Name:\tpython\nCapEff:\t%016x\nCapBnd:\t%016x\n" % (capabilities, 0)
    assert may_give(told, user) is may


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv here (util-linux)")
def test_root_without_the_right_to_give_files_away_tells_of_it(folder: Path) -> None:
    code = f"""
import logging
from pathlib import Path
from tests.support.folder_stores import destination, put
logging.basicConfig()
put(destination(Path({str(folder)!r})), "a/b")
"""
    without = ["setpriv", "--bounding-set", "-chown", "--inh-caps", "-chown", sys.executable, "-c", code]
    done = subprocess.run(without, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    assert f"chown -R {MASTODON} {folder}" in done.stderr
    assert owners_below(folder) == {current_owner()}


def test_whose_files_are_to_be() -> None:
    assert wanted_owner(MASTODON, None) == MASTODON
    assert wanted_owner(MASTODON, OwnerKey(7, None)) == Owner(7, MASTODON.group)
    assert wanted_owner(MASTODON, OwnerKey(7, 8)) == Owner(7, 8)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("root", OwnerKey(0, None)),
        ("root:root", OwnerKey(0, 0)),
        ("991:991", OwnerKey(991, 991)),
        ("7", OwnerKey(7, None)),
    ],
)
def test_owner_is_a_name_or_a_number(text: str, key: OwnerKey) -> None:
    config = load_config(
        None, {"MASTOSYNC_FILESYSTEM_DESTINATION_PATH": "/new", "MASTOSYNC_FILESYSTEM_DESTINATION_OWNER": text}
    )
    assert config.destination_folder.owner == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mastodno-4711", "knows no user"),
        ("root:mastodno-4711", "knows no group"),
        (":8", "is not"),
        ("7:", "is not"),
        ("4294967295", "is not"),
    ],
)
def test_nobody_is_refused(text: str, said: str) -> None:
    environ = {"MASTOSYNC_FILESYSTEM_DESTINATION_PATH": "/new", "MASTOSYNC_FILESYSTEM_DESTINATION_OWNER": text}
    with pytest.raises(ConfigError, match=said):
        load_config(None, environ)


@as_root
def test_a_look_finds_what_is_somebody_elses(folder: Path) -> None:
    for key in ("media_attachments/files/115/a.png", "media_attachments/files/116/a.png", "cache/b.png"):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    for path in folder.rglob("*"):
        os.chown(path, *MASTODON)
    for key in ("media_attachments/files/115/a.png", "media_attachments/files/116/a.png", "cache"):
        os.chown(folder / key, 0, 0)
    with closing(FilesystemProbe(FilesystemConfig(path=folder), role="destination")) as probe:
        found = probe.ownership()
    assert (found.folder, found.wanted, found.runs_as) == (MASTODON, MASTODON, current_owner())
    assert found.gives
    assert set(found.others) == {"cache", "media_attachments/files/116/a.png"}


@as_root
def test_a_folder_of_an_admin_counts_by_what_mastodon_may_do_there_and_a_link_by_what_it_leads_to(
    folder: Path, disk_path: Path
) -> None:
    for name, group, mode in [("a", MASTODON.group, 0o2775), ("b", MASTODON.group, 0o755), ("c", 0, 0o777)]:
        (folder / name).mkdir()
        os.chown(folder / name, 0, group)
        (folder / name).chmod(mode)
    (folder / "nowhere").symlink_to("unmounted")
    for name, owner in {"mine": MASTODON, "others": ROOT}.items():
        (disk_path / name / "d").mkdir(parents=True)
        os.chown(disk_path / name, *owner)
        (folder / name).symlink_to(disk_path / name)
    with closing(FilesystemProbe(FilesystemConfig(path=folder), role="destination")) as probe:
        found = probe.ownership()
    assert set(found.others) == {"b", "mine/d", "nowhere", "others", "others/d"}
    assert found.links == ("mine", "others")
