"""What is particular about a folder: names, links, modes, types, and a disk that fails."""

from __future__ import annotations

import errno
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mastosync.app.copy import warn_of_little_room
from mastosync.cli.logs import telling_what_matters
from mastosync.config import FilesystemConfig
from mastosync.errors import (
    CorruptObject,
    MastosyncError,
    ObjectChanged,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ServerFailure,
    StoreUnusable,
)
from mastosync.model import ObjectHeaders, ObjectInfo
from mastosync.mountinfo import iter_mounts
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.retry import RetryPolicy, StoreAccess
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import FetchedObject, ListedObject, ObjectStore, PutOptions
from mastosync.store.filesystem import FilesystemProbe, FilesystemStore, volumes
from mastosync.store.filesystem import root as cache
from mastosync.store.filesystem.root import ESCAPED, WORK, RootFolder, key_of_escaped, namesake, path_of
from mastosync.store.filesystem.walk import Walk
from mastosync.store.media_types import content_type_of
from tests.contract.test_object_store import ODD_KEYS, bytes_of, listed, md5_of
from tests.support.entries import entry
from tests.support.manifests import planned

GOLDEN = [Path(__file__).parents[1] / "golden" / name for name in ("keys.jsonl", "prefix.jsonl")]
PUBLIC, PRIVATE = (PutOptions(ObjectHeaders("image/png"), acl) for acl in ("public-read", "private"))
NOBODY = 65534
MIB = 1024 * 1024


def destination(path: Path, *, fsync: str = "always", keep_free: int = 0) -> FilesystemStore:
    return FilesystemStore(FilesystemConfig(path=path, fsync=fsync, keep_free=keep_free), role="destination")


def source(path: Path) -> FilesystemStore:
    return FilesystemStore(FilesystemConfig(path=path), role="source")


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    """On a disk."""
    return disk_path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FilesystemStore]:
    """A destination at `tmp_path / "root"`."""
    (tmp_path / "root").mkdir()
    with closing(destination(tmp_path / "root")) as opened:
        yield opened


@pytest.fixture
def root(tmp_path: Path, store: FilesystemStore) -> Path:
    return tmp_path / "root"


def put(store: ObjectStore, key: str, data: bytes = b"data", options: PutOptions = PUBLIC) -> str:
    return store.write(key, data, md5_of(data), options)


def keys_of(objects: list[ListedObject]) -> list[str]:
    return [each.key for each in objects]


def golden_keys() -> list[str]:
    lines = [line for name in GOLDEN for line in name.read_text(encoding="utf-8").splitlines()]
    return [each["key"] for line in lines for each in json.loads(line)["keys"]]


KEYS = st.one_of(
    st.text(min_size=1, max_size=300),
    st.lists(
        st.sampled_from(["..", ".", "", "a", "A", ".mastosync", "keys", "61", "612e+", "%2F", "\0", "\n", "é", "🐘"]),
        min_size=1,
        max_size=8,
    )
    .map("/".join)
    .filter(bool),
    st.sampled_from(ODD_KEYS),
)


class TestNames:
    def test_what_mastodon_writes_lies_where_mastodon_looks(self) -> None:
        keys = golden_keys()
        assert len(keys) > 100
        plain = [
            key
            for key in keys
            if all(part not in ("", ".", "..") and len(part.encode()) <= 255 for part in key.split("/"))
        ]
        assert len(plain) > 0.9 * len(keys)
        assert [path_of(key) for key in plain] == [key.encode() for key in plain]

    @given(KEYS, KEYS)
    @example("a/../b", "b")
    @example(".mastosync/keys/61", "a")
    @example("l" * 256, "l" * 255)
    @settings(max_examples=500, deadline=None)
    def test_every_key_has_a_path_of_its_own_inside_the_root(self, key: str, other: str) -> None:
        path = path_of(key)
        assert b"\0" not in path
        assert not path.startswith(b"/")
        segments = path.split(b"/")
        assert all(0 < len(segment) <= 255 for segment in segments)
        assert not {b".", b".."} & set(segments)
        assert (path_of(other) == path) == (other == key)
        below = path.removeprefix(ESCAPED + b"/")
        assert key_of_escaped(below) == key if below != path else path == key.encode()

    @given(st.lists(KEYS, min_size=2, max_size=12, unique=True))
    @settings(max_examples=100, deadline=None)
    def test_nothing_is_ever_written_outside_of_the_root(self, keys: list[str]) -> None:
        """On a real disk. What a disk cannot hold beside the others is refused, and nothing else happens."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder, "above", "root")
            root.mkdir(parents=True)
            written: dict[str, bytes] = {}
            with closing(destination(root, fsync="never")) as store:
                for key in keys:
                    try:
                        put(store, key, key.encode())
                    except ObjectRejected:  # a name is a file or a folder
                        assert any(
                            f"{key}/".startswith(f"{other}/") or other.startswith(f"{key}/") for other in written
                        )
                    else:
                        written[key] = key.encode()
                assert {key: store.read(key, 10_000).data for key in written} == written
                assert [found.key for found in listed(store, "")] == sorted(written)
            assert [path.name for path in Path(folder).iterdir()] == ["above"]
            assert [path.name for path in Path(folder, "above").iterdir()] == ["root"]

    @pytest.mark.parametrize(
        ("name", "names", "taken_for"),
        [
            ("a.png", ["A.PNG", "b"], "A.PNG"),
            ("e\u0301", ["\u00e9"], "\u00e9"),
            ("a.png", ["a.png", "A.PNG"], None),
            ("a.png", ["b.png"], None),
        ],
    )
    def test_a_disk_that_folds_names_would_take_one_for_another(
        self, name: str, names: list[str], taken_for: str | None
    ) -> None:
        assert namesake(name, names) == taken_for

    @pytest.mark.parametrize("key", ["", "\ud800"])
    def test_what_is_no_key_is_refused(self, store: FilesystemStore, key: str) -> None:
        with pytest.raises(ObjectRejected, match="no key"):
            put(store, key)

    def test_a_file_where_a_folder_is_needed_and_the_other_way_round(self, store: FilesystemStore, root: Path) -> None:
        put(store, "a/b")
        for key in ("a", "a/b/c"):
            with pytest.raises(ObjectRejected, match=f"'{key}'"):
                put(store, key)
            with pytest.raises(ObjectMissing):
                store.head(key)
        assert [found.key for found in listed(store, "")] == ["a/b"]


class TestOrder:
    @given(st.lists(KEYS, min_size=1, max_size=30, unique=True), st.data())
    @settings(max_examples=100, deadline=None)
    def test_a_listing_is_in_the_order_of_whole_keys_from_anywhere_on(
        self, keys: list[str], data: st.DataObject
    ) -> None:
        with tempfile.TemporaryDirectory() as folder, closing(destination(Path(folder), fsync="never")) as store:
            held = []
            for key in keys:
                try:
                    put(store, key, b"")
                except ObjectRejected:
                    continue
                held.append(key)
            prefix = data.draw(
                st.one_of(st.just(""), st.sampled_from(held), st.sampled_from(held).map(lambda k: k[:1]))
            )
            after = data.draw(
                st.one_of(st.just(""), KEYS, st.sampled_from(held), st.sampled_from(held).map(lambda k: k[:-1]))
            )
            wanted = sorted(key for key in held if key.startswith(prefix) and key > after)
            assert [found.key for found in listed(store, prefix, after)] == wanted

    def test_a_point_comes_before_a_slash(self, store: FilesystemStore) -> None:
        keys = sorted(["a/b", "a.b/c", "a-b", "a.b0", "a0", "a/b.c", "a/b0/c", "b"])
        for key in keys:
            put(store, key)
        assert [found.key for found in listed(store, "")] == keys

    def test_a_flat_folder_is_read_once_for_all_of_its_pages(self, tmp_path: Path) -> None:
        for number in range(4_500):
            (tmp_path / f"{number:05}").touch()
        with closing(source(tmp_path)) as store:
            first = store.list_page("", "")
            (tmp_path / "02500").unlink()
            (tmp_path / "99999").touch()  # it came too late for those who go on, and is there for others
            following = [found.key for found in listed(store, "", first.objects[-1].key)]
            assert (following[0], len(following), following[-1]) == ("01000", 3_499, "04499")
            assert listed(store, "", "04000")[-1].key == "99999"

    def test_what_is_no_object_is_passed_over(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "object.png").write_bytes(b"data")
        os.mkfifo(tmp_path / "a" / "pipe")
        (tmp_path / "empty").mkdir()
        (tmp_path / ".mastosync" / "work").mkdir(parents=True)
        (tmp_path / ".mastosync" / "work" / "half").write_bytes(b"da")
        os.close(os.open(os.fsencode(tmp_path) + b"/a/\xff.png", os.O_CREAT))
        with closing(source(tmp_path)) as store:
            assert [found.key for found in listed(store, "")] == ["a/object.png"]
            assert "'a/\\udcff.png'" in caplog.text
            for key in ("a/pipe", "a", "empty"):
                with pytest.raises(ObjectMissing):
                    store.read(key, 100)

    def test_the_locale_has_no_say_in_what_a_name_means(self, tmp_path: Path) -> None:
        (tmp_path / "été 🐘.png").write_bytes(b"data")
        code = f"""
from tests.contract.test_filesystem_store import Path, source
store = source(Path({str(tmp_path)!r}))
print(ascii([(found.key, store.read(found.key, 10).data) for found in store.list_page("", "").objects]))
"""
        environ = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environ, cwd=Path(__file__).parents[2], capture_output=True, check=True
        )
        assert done.stdout.decode().strip() == ascii([("été 🐘.png", b"data")])

    def test_a_folder_that_cannot_be_read_is_not_left_out_in_silence(self, tmp_path: Path) -> None:
        (tmp_path / "a" / "closed").mkdir(parents=True)
        (tmp_path / "a" / "closed").chmod(0)
        (tmp_path / "a" / "file").write_bytes(b"")
        (tmp_path / "lost+found").mkdir(mode=0)  # at the head of every disk
        said = as_nobody(tmp_path, "list(store.list_page('', '').objects)")
        assert "StoreUnusable" in said
        assert "'a/closed/'" in said


def as_nobody(root: Path, expression: str, role: str = "source") -> str:
    """What an expression gives, or the error that it raises, for somebody who may not do everything."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else, and no other may be refused everything")
    code = f"""
import os, sys
from pathlib import Path
from mastosync.config import FilesystemConfig
from mastosync.model import ObjectHeaders, ObjectInfo
from mastosync.store.base import PutOptions
from mastosync.store.filesystem import FilesystemStore
from tests.contract.test_object_store import md5_of
os.setgid({NOBODY}); os.setuid({NOBODY})
store = FilesystemStore(FilesystemConfig(path=Path({str(root)!r}), keep_free=0), role={role!r})
try:
    print({expression})
except Exception as error:
    print(type(error).__name__, error, getattr(error, "hint", ""))
"""
    for folder in (root, *root.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    ).stdout


class TestPermissions:
    def test_a_file_of_somebody_else_is_denied_and_not_missing(self, tmp_path: Path) -> None:
        (tmp_path / "private.png").write_bytes(b"data")
        (tmp_path / "private.png").chmod(0o600)
        assert as_nobody(tmp_path, "store.read('private.png', 100)").startswith(ObjectDenied.__name__)

    def test_a_destination_that_cannot_be_written_stops_everything(self, tmp_path: Path) -> None:
        said = as_nobody(
            tmp_path, "store.write('a', b'x', md5_of(b'x'), PutOptions(ObjectHeaders()))", role="destination"
        )
        assert said.startswith("StoreUnusable nothing can be written")

    @pytest.mark.parametrize("in_parts", [False, True])
    def test_who_may_read_follows_from_the_acl(self, store: FilesystemStore, root: Path, in_parts: bool) -> None:
        for key, options in (("public", PUBLIC), ("private", PRIVATE), ("no-acl", PutOptions(ObjectHeaders()))):
            if in_parts:
                upload = store.start_multipart(key, options)
                store.complete_multipart(key, upload, [store.write_part(key, upload, 1, b"data", md5_of(b"data"))])
            else:
                put(store, key, options=options)
        umask = os.umask(0o022)
        os.umask(umask)
        modes = {key: (root / key).stat().st_mode & 0o777 for key in ("public", "private", "no-acl")}
        assert modes == {"public": 0o666 & ~umask, "private": 0o600 & ~umask, "no-acl": 0o666 & ~umask}

    def test_what_becomes_private_gets_another_mode(self, store: FilesystemStore, root: Path) -> None:
        put(store, "key", options=PUBLIC)
        put(store, "key", options=PRIVATE)
        assert (root / "key").stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize(
        ("folder", "file", "private"),
        [
            (0o755, 0o644, False),
            (0o755, 0o600, True),  # as Mastodon leaves it when it suspends an account or removes a post
            (0o711, 0o400, True),
            (0o750, 0o640, False),  # a server that reads by its group
            (0o750, 0o600, True),
            (0o700, 0o600, False),  # a umask that closes everything says nothing
        ],
    )
    def test_a_file_is_private_that_is_closed_to_those_who_may_enter_its_folder(
        self, tmp_path: Path, folder: int, file: int, private: bool
    ) -> None:
        path = tmp_path / "media_attachments" / "a.png"
        path.parent.mkdir()
        path.write_bytes(b"data")
        path.chmod(file)
        path.parent.chmod(folder)
        with closing(source(tmp_path)) as store:
            key = "media_attachments/a.png"
            cached = store.read_cached(key, 100, lambda _: True)
            told = [store.head(key), store.read(key, 100).info, store.read(key, 1).info]
            assert [info.private for info in told] == [private] * 3
            assert cached is None or cached.info.private == private

    def test_nobody_looks_into_what_is_not_whole(self, store: FilesystemStore, root: Path) -> None:
        store.start_multipart("key", PUBLIC)
        assert (root / ".mastosync" / "work").stat().st_mode & 0o077 == 0


class TestLinks:
    def test_a_link_to_a_folder_is_followed_above_the_ids_where_objects_are_written_too(
        self, tmp_path: Path, root: Path
    ) -> None:
        """As an admin leaves it who moves `cache` to another disk."""
        disk = tmp_path / "disk"
        (disk / "elsewhere").mkdir(parents=True)
        key, large = "cache/accounts/avatars/000/000/001/original/a.png", "cache/backups/000/000/001/original/b.zip"
        with a_disk(disk, "size=4m"):
            (disk / "elsewhere").mkdir()
            (root / "cache").symlink_to("../disk/elsewhere")
            with closing(destination(root)) as store:
                put(store, key, b"data")
                upload = store.start_multipart(large, PUBLIC)
                parts = [store.write_part(large, upload, 1, b"part", md5_of(b"part"))]
                assert list(disk.glob("elsewhere/.mastosync/work/*/*/*")), "on the same disk"
                assert [found.key for found in listed(store, "")] == [key]
                store.complete_multipart(large, upload, parts)
                put(store, "accounts/a", b"here")
                assert (disk / "elsewhere" / key.removeprefix("cache/")).read_bytes() == b"data"
                assert store.read(key, 10).data == b"data"
                assert [found.key for found in listed(store, "")] == ["accounts/a", key, large]
                own, other = store.disks({"cache/accounts/avatars": 7, "accounts/avatars": 5, "cache/media": 2})
                assert (own.name, own.pending_bytes) == (f"destination folder '{root}'", 5)
                assert (other.name, other.pending_bytes) == (f"destination folder '{root / 'cache'}'", 9)
                assert other.free_bytes <= 4 << 20
                with pytest.raises(StoreUnusable, match="is full"):
                    put(store, key, bytes(5 << 20))
                store.delete(key)
                store.delete(large)
            assert list((disk / "elsewhere").iterdir()) == []
            assert (root / "cache").is_symlink(), "that is not ours to remove"
        assert [path.name for path in root.iterdir() if path.name != "cache"] == ["accounts"]

    def test_links_may_lie_behind_links(self, tmp_path: Path, root: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        (root / "cache").symlink_to(tmp_path / "one")
        (tmp_path / "one" / "accounts").symlink_to(tmp_path / "two")
        with closing(destination(root)) as store:
            put(store, "cache/accounts/a")
            put(store, "cache/b")
            assert [found.key for found in listed(store, "")] == ["cache/accounts/a", "cache/b"]
        assert [path.name for path in (tmp_path / "two").iterdir()] == ["a"]

    @pytest.mark.parametrize("link", ["109", "109/000", "109/000/001/original", "109/000/001/original/x.png"])
    def test_no_other_link_is_followed_where_objects_are_written(
        self, store: FilesystemStore, root: Path, tmp_path: Path, link: str
    ) -> None:
        key, outside = "media_attachments/files/109/000/001/original/x.png", tmp_path / "outside"
        below = outside / Path(key).relative_to(f"media_attachments/files/{link}")
        below.parent.mkdir(parents=True, exist_ok=True)
        below.write_bytes(b"secret")
        place = root / "media_attachments/files" / link
        place.parent.mkdir(parents=True)
        place.symlink_to(below if link.endswith("png") else outside)
        with pytest.raises(ObjectMissing):
            store.read(key, 100)
        assert listed(store, "") == []
        if link.endswith("png"):
            put(store, key, b"mine")
            assert not place.is_symlink()
        else:
            with pytest.raises(ObjectRejected, match=r"x\.png"):
                put(store, key)
            with suppress(ObjectError, StoreUnusable):
                store.delete(key)
        assert below.read_bytes() == b"secret"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can make links of others")
    def test_a_link_that_mastodon_could_have_made_leads_root_nowhere(self, tmp_path: Path, root: Path) -> None:
        """Root would give it folders wherever it wants, and overwrite files of others."""
        outside = tmp_path / "outside"
        (outside / "files").mkdir(parents=True)
        (outside / "files" / "a").write_bytes(b"of another")
        (root / "cache").symlink_to(outside)
        os.lchown(root / "cache", NOBODY, NOBODY)
        for act in (act for name, act in ACTS.items() if name != "list from there"):
            with closing(destination(root)) as store, pytest.raises(StoreUnusable, match="somebody else") as told:
                act(store, "cache/files/a")
            assert f"chown -h root: {root}/cache" in told.value.hint
        with (
            closing(FilesystemProbe(FilesystemConfig(path=root), role="destination")) as probe,
            pytest.raises(StoreUnusable, match="somebody else"),
        ):
            probe.unfollowed_links()
        assert (outside / "files" / "a").read_bytes() == b"of another"
        assert [path.name for path in outside.rglob("*")] == ["files", "a"]
        os.chown(root, NOBODY, NOBODY)
        os.chown(outside, NOBODY, NOBODY)
        put_one = "(store.write('cache/b', b'x', md5_of(b'x'), PutOptions(ObjectHeaders())), store.close())"
        assert "None" in as_nobody(root, put_one, role="destination"), "it may do so itself"
        assert (outside / "b").exists()

    def test_what_lies_above_a_linked_folder_need_not_be_readable(self, tmp_path: Path, root: Path) -> None:
        other = tmp_path / "closed" / "other"
        other.mkdir(parents=True)
        other.parent.chmod(0o711)
        (root / "cache").symlink_to(other)
        for folder in (root, other):
            folder.chmod(0o777)
        put_one = "(store.write('cache/b', b'x', md5_of(b'x'), PutOptions(ObjectHeaders())), store.close())"
        assert "None" in as_nobody(root, put_one, role="destination")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda root, other: (root / "cache").symlink_to(other), "made since this run began"),
            (lambda root, other: (root / "linked").unlink(), "leads nowhere"),
            (lambda root, other: other.rename(other.with_name("moved")), "leads nowhere"),
            (lambda root, other: (other.rename(other.with_name("moved")), other.mkdir()), "another folder than before"),
            (lambda root, other: (root / "nested").symlink_to("linked"), "made since this run began"),
        ],
        ids=["made", "removed", "moved", "replaced", "nested"],
    )
    def test_a_link_that_changes_in_the_midst_of_a_run_stops_it(
        self, tmp_path: Path, root: Path, change: Callable[[Path, Path], object], said: str
    ) -> None:
        """Nobody would find what is written, or nobody has looked whether it leads to the source."""
        other = tmp_path / "other"
        other.mkdir()
        (root / "linked").symlink_to(other)
        keys = [f"{folder}/001/a" for folder in ("linked", "cache", "nested")]
        with closing(destination(root)) as store:
            for key in keys:
                assert store.abort_unfinished(key) == 0
            put(store, keys[0])
            change(root, other)
            said_of = list[str]()
            for key in keys:
                try:
                    put(store, key)
                except StoreUnusable as error:
                    said_of.append(error.message)
        assert [said in message for message in said_of] == [True]

    @pytest.mark.parametrize("target", [".", "accounts", "accounts/avatars", "..", "other"])
    def test_no_two_keys_have_one_file_because_of_a_link(self, root: Path, target: str) -> None:
        (root / "accounts" / "avatars").mkdir(parents=True)
        (root / "other").symlink_to("accounts")
        (root / "cache").symlink_to(target)
        with closing(destination(root)) as store, pytest.raises(StoreUnusable, match="a folder with other objects"):
            put(store, "cache/a")

    def test_two_links_to_one_folder_are_one_too_many(self, tmp_path: Path, root: Path) -> None:
        (tmp_path / "other" / "within").mkdir(parents=True)
        (root / "a").symlink_to(tmp_path / "other")
        (root / "b").symlink_to(tmp_path / "other" / "within")
        with closing(destination(root)) as store:
            put(store, "a/1")
            with pytest.raises(StoreUnusable, match="'b' leads to a folder with other objects"):
                put(store, "b/1")

    def test_nothing_below_a_mount_behind_a_link_is_touched(self, tmp_path: Path, root: Path) -> None:
        (tmp_path / "media").mkdir()
        (tmp_path / "media" / "a").write_bytes(b"media")
        (tmp_path / "other" / "accounts").mkdir(parents=True)
        (root / "cache").symlink_to(tmp_path / "other")
        with mounted(tmp_path / "other" / "accounts", "--bind", str(tmp_path / "media")):
            for act in ACTS.values():
                with closing(destination(root)) as store, pytest.raises(StoreUnusable, match="'cache/accounts"):
                    act(store, "cache/accounts/a")
            assert (tmp_path / "media" / "a").read_bytes() == b"media"
            assert list((tmp_path / "media").iterdir()) == [tmp_path / "media" / "a"]

    def test_no_link_is_followed_to_the_workshop(self, store: FilesystemStore, root: Path, tmp_path: Path) -> None:
        (tmp_path / "outside").mkdir()
        (root / ".mastosync").symlink_to(tmp_path / "outside")
        with pytest.raises(ObjectError):
            put(store, "key")
        assert list((tmp_path / "outside").iterdir()) == []

    def test_links_above_the_ids_are_followed_where_objects_are_only_read(self, tmp_path: Path) -> None:
        root, other = tmp_path / "root", tmp_path / "other"
        (other / "accounts").mkdir(parents=True)
        (other / "accounts" / "a.png").write_bytes(b"data")
        root.mkdir()
        (root / "cache").symlink_to(other)
        (root / "b").symlink_to(other / "accounts")
        (other / "circle").symlink_to(root)
        (other / "itself").symlink_to("itself")
        (other / "nowhere").symlink_to(tmp_path / "unmounted")
        with closing(source(root)) as store:
            assert [found.key for found in listed(store, "")] == ["b/a.png", "cache/accounts/a.png"]
            assert store.read("cache/accounts/a.png", 100).data == store.read("b/a.png", 100).data == b"data"
            with pytest.raises(ObjectMissing):
                store.read("cache/accounts/b.png", 100)
            with pytest.raises(StoreUnusable, match="'cache/nowhere' leads nowhere"):
                store.read("cache/nowhere/a.png", 100)

    @pytest.mark.parametrize("where", ["media_attachments/files", "cache/media_attachments/files"])
    @pytest.mark.parametrize(
        "link",
        ["109", "109/000", "109/000/001/original", "109/000/001/original/x.png"],
    )
    @pytest.mark.parametrize("leads", ["out", "within", "nowhere"])
    def test_no_other_link_is_followed_anywhere(
        self, tmp_path: Path, where: str, link: str, leads: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whoever can write as Mastodon could have any file of this machine copied as a public object."""
        key = f"{where}/109/000/001/original/x.png"
        root, outside = tmp_path / "root", tmp_path / "outside"
        target = {"out": outside, "within": root / where / "110", "nowhere": tmp_path / "unmounted"}[leads]
        for folder in (outside, root / where / "110"):
            below = folder / Path(key).relative_to(f"{where}/{link}")
            below.parent.mkdir(parents=True, exist_ok=True)
            below.write_bytes(b"a secret")
        place = root / where / link
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
        with closing(source(root)) as store:
            info = ObjectInfo(8, "etag")
            for ask in (
                lambda: store.read(key, 100),
                lambda: store.head(key),
                lambda: store.read_range(key, info, 0, 4),
                lambda: store.digest(key, info),
            ):
                with pytest.raises(ObjectDenied, match="symbolic link") as caught:
                    ask()
                assert f"{where}/{link}" in caught.value.message
                assert "above" in caught.value.hint
            assert store.read_cached(key, 100, lambda _: True) is None
            assert not [found.key for found in listed(store, "") if found.key.startswith(f"{where}/109/")]
            assert f"{where}/{link}" in caplog.text
        with closing(FilesystemProbe(FilesystemConfig(path=root), role="source")) as probe:
            found = probe.unfollowed_links()
        assert found == ([f"{where}/{link}"] if link == "109" else []), "those that an admin may have made"

    def test_what_lies_in_a_linked_folder_is_held_to_the_same(self, tmp_path: Path) -> None:
        root, other = tmp_path / "root", tmp_path / "other"
        ids = other / "files/000/000/001/original"
        ids.mkdir(parents=True)
        root.mkdir()
        (root / "media_attachments").symlink_to(other)
        (ids / "a.png").write_bytes(b"data")
        (ids / "b.png").symlink_to("/etc/passwd")
        (other / "files/000/000/002").symlink_to("/etc")
        folder = "media_attachments/files/000/000"
        with closing(source(root)) as store:
            assert [found.key for found in listed(store, "")] == [f"{folder}/001/original/a.png"]
            assert store.read(f"{folder}/001/original/a.png", 100).data == b"data"
            for key in (f"{folder}/001/original/b.png", f"{folder}/002/passwd"):
                with pytest.raises(ObjectDenied, match="symbolic link"):
                    store.read(key, 10_000)
            with pytest.raises(ObjectMissing):
                store.read(f"{folder}/001/original/c.png", 100)


def a_disk(path: Path, options: str) -> AbstractContextManager[None]:
    """A small one, mounted there for as long as the block."""
    return mounted(path, "-t", "tmpfs", "-o", options, "tmpfs")


def raising(error: OSError) -> Callable[..., NoReturn]:
    def fails(*_: object, **__: object) -> NoReturn:
        raise error

    return fails


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def below(folder: Path) -> tuple[volumes.Mount, ...]:
    fd = os.open(folder, os.O_RDONLY)
    try:
        return volumes.mounts_below(fd)
    finally:
        os.close(fd)


@contextmanager
def mounted(path: Path, *what: str) -> Iterator[None]:
    """What these arguments of `mount` name, mounted there for as long as the block."""
    done = subprocess.run(["mount", *what, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


Act = Callable[[FilesystemStore, str], object]
ACTS: dict[str, Act] = {
    "head": lambda store, key: store.head(key),
    "read": lambda store, key: store.read(key, 10),
    "list": lambda store, key: listed(store, ""),
    "list from there": listed,
    "write": lambda store, key: put(store, f"{key}.another"),
    "delete": lambda store, key: store.delete(key),
    "withdraw": lambda store, key: store.withdraw(key),
    "anybody reads": lambda store, key: store.anybody_reads(key),
}


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
            with pytest.raises(StoreUnusable, match="is empty"):
                store.check()
            (tmp_path / "accounts").mkdir()
            store.check()

    def test_an_empty_destination_will_do_unless_objects_have_arrived_there(self, tmp_path: Path) -> None:
        config = FilesystemConfig(path=tmp_path, keep_free=0)
        with closing(FilesystemStore(config, role="destination")) as store:
            store.check()
        with (
            closing(FilesystemStore(config, role="destination", holds_objects=True)) as store,
            pytest.raises(StoreUnusable, match="is empty"),
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
            warn_of_little_room(StoreAccess(store, EndpointLimiter(stop), RetryPolicy(), stop), manifest)
        assert any("no memory" in message for message in caplog.messages)

    def test_who_copies_more_than_fits_is_told_before_it_begins(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stop = StopSignal()
        (tmp_path / "disk").mkdir()
        with (
            closing(destination(tmp_path / "disk", keep_free=1 << 60)) as store,
            planned(tmp_path / "m.db", [entry(1)._replace(size=2048)]) as manifest,
            telling_what_matters(),
        ):
            warn_of_little_room(StoreAccess(store, EndpointLimiter(stop), RetryPolicy(), stop), manifest)
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
from tests.contract.test_filesystem_store import PUBLIC, destination, md5_of
store = destination(Path({str(root)!r}))
store.write_part("key", store.start_multipart("key", PUBLIC), 1, b"data", md5_of(b"data"))
os.kill(os.getpid(), signal.SIGKILL)
"""
        died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
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
        others, folder = iter(range(20)), RootFolder.folder

        @contextmanager
        def tidied_up(self: RootFolder, segments: list[bytes], *, make: bool = False) -> Iterator[int]:
            with folder(self, segments, make=make) as fd:
                if make and next(others, None) is not None:
                    os.rmdir(segments[-1], dir_fd=self.fd)
                yield fd

        with monkeypatch.context() as patched:
            patched.setattr(RootFolder, "folder", tidied_up)
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


class TestCache:
    """What the system has at hand is read where it is asked for, and nothing else."""

    @pytest.mark.parametrize("size", [0, 1, 57_000, MIB])
    def test_it_gives_what_a_read_gives(self, store: FilesystemStore, root: Path, size: int) -> None:
        require_cache(root)
        put(store, "a/b.png", bytes_of(size))
        asked: list[int] = []
        assert from_cache(store, "a/b.png", asked) == store.read("a/b.png", MIB)
        assert set(asked) == {size}

    def test_what_lies_on_the_disk_alone_is_left_there(self, store: FilesystemStore, root: Path) -> None:
        require_cache(root)
        put(store, "key", bytes_of(57_000))  # which is on the disk when that returns
        assert any(is_left_there(store, root / "key") for _ in range(100)), "it waited for the disk each time"
        assert store.read("key", MIB) == from_cache(store, "key", []), "a read brings it in"

    @pytest.mark.parametrize("key", ["none", "folder", "link", "large", "", "key/below"])
    def test_what_fails_or_is_large_is_left_to_a_read(self, store: FilesystemStore, root: Path, key: str) -> None:
        put(store, "key")
        put(store, "folder/large")
        put(store, "large", bytes_of(1001))
        (root / "link").symlink_to(root / "key")
        assert store.read_cached(key, 1000, lambda _: True) is None

    def test_without_room_nothing_is_read(self, store: FilesystemStore) -> None:
        put(store, "key")
        assert store.read_cached("key", MIB, lambda _: False) is None

    def test_a_disk_that_has_nothing_at_hand_is_hardly_asked(
        self, store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "key").write_bytes(b"data")
        monkeypatch.setattr(cache, "_NOWAIT", -1)
        asked: list[int] = []
        for _ in range(2_000):
            assert store.read_cached("key", MIB, lambda size: not asked.append(size)) is None  # type: ignore[func-returns-value]
        assert len(asked) < 20
        monkeypatch.undo()
        require_cache(root)
        assert from_cache(store, "key", asked), "it is found out when that changes"


def require_cache(folder: Path) -> None:
    """Skip a test where the system does not tell what it has at hand."""
    probe = folder / "probe"
    probe.write_bytes(b"data")
    with probe.open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(4)], 0, os.RWF_NOWAIT)
        except (OSError, AttributeError) as error:
            pytest.skip(f"the system does not tell here what it has at hand: {error}")
    probe.unlink()


def is_left_there(store: FilesystemStore, path: Path) -> bool:
    """
    Ask for a file of which the system is to have forgotten the bytes, and tell whether none came.

    Once is not enough: another core may hold a page back, and asking makes the system fetch what it has not got, which
    a fast disk has done before the answer.
    """
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return store.read_cached(path.name, MIB, lambda _: True) is None


def from_cache(store: FilesystemStore, key: str, asked: list[int]) -> FetchedObject:
    """What is at hand, as soon as it is tried: some are passed over, and the system may need room."""
    for _ in range(1_000):
        if fetched := store.read_cached(key, MIB, lambda size: asked.append(size) is None):  # type: ignore[func-returns-value]
            return fetched
        store.read(key, MIB)
    raise AssertionError("it is never at hand")


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("a.png", b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),  # it lies
        ("a.png", b"noise", "image/png"),
        ("a.JPG", b"", "image/jpeg"),
        ("a", b"GIF89a", "image/gif"),
        ("a", b"noise", "application/octet-stream"),
        ("a.unknown", b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        ("a.mov", b"\x00\x00\x00\x18ftypisom", "video/quicktime"),  # a container that others use, too
        ("a.mp4", b"\x00\x00\x00\x18ftypqt  ", "video/mp4"),
        ("a.m4a", b"\x00\x00\x00\x18ftypM4A ", "audio/mp4"),
        ("a.mp4", b"\x00\x00\x00\x18ftypavif", "image/avif"),
        ("a.heif", b"\x00\x00\x00\x18ftypheic", "image/heif"),
        ("a.ogv", b"OggS\x00\x02", "video/ogg"),
        ("a.ogg", b"OggS\x00\x02", "audio/ogg"),
        ("a.csv", b"Account address,", "text/csv"),
        ("a.svg", b"<svg", "image/svg+xml"),
        ("a", b"<svg", "application/octet-stream"),  # text that looks like something must not become it
        ("a", b"<html><script>", "application/octet-stream"),
        ("archive-20200101.tar.gz", b"\x1f\x8b\x08", "application/gzip"),
        ("archive.zip", b"PK\x03\x04", "application/zip"),
        ("site.d/noext", b"ID3\x04", "audio/mpeg"),
    ],
)
def test_the_type_is_told_by_extension_and_bytes(name: str, head: bytes, expected: str) -> None:
    assert content_type_of(name, head) == expected


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
