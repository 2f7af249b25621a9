"""A folder held open: names of keys, links, permissions, and what the system has in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mastosync.config import FilesystemConfig
from mastosync.errors import (
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    StoreUnusable,
)
from mastosync.model import ObjectHeaders, ObjectInfo
from mastosync.store.base import FetchedObject, PutOptions
from mastosync.store.filesystem import FilesystemProbe, FilesystemStore
from mastosync.store.filesystem import root as cache
from mastosync.store.filesystem.root import ESCAPED, key_of_escaped, namesake, path_of
from tests.support.folder_stores import (
    ACTS,
    KEYS,
    MIB,
    NOBODY,
    PRIVATE,
    PUBLIC,
    a_disk,
    as_nobody,
    destination,
    golden_keys,
    mounted,
    put,
    source,
)
from tests.support.object_stores import bytes_of, listed, md5_of


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
