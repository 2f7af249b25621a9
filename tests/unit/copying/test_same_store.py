"""One store or two: a probe object tells, nothing is left of it, and nobody writes before it has told."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from mastosync.config import FilesystemConfig
from mastosync.copying.same_store import (
    FOLDER,
    SameStoreCheck,
    SourceSilent,
    probe_keys,
    relation_seen,
    require_arrived,
)
from mastosync.errors import (
    BucketMissing,
    Interrupted,
    MastosyncError,
    NetworkFailure,
    ObjectDenied,
    ObjectMissing,
    ServerFailure,
    StoreUnusable,
)
from mastosync.manifest import (
    Manifest,
    Relation,
    in_one_bucket,
    note_probe,
    probe_left_behind,
    record_relation,
    relation,
)
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import DigestUse, FetchedObject
from mastosync.store.filesystem import FilesystemStore
from tests.support.entries import entry
from tests.support.manifests import DESTINATION, SOURCE, planned
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session

E = TypeVar("E", bound=MastosyncError)
ROOT = Path(__file__).parents[3] / "mastosync"
DOWN = NetworkFailure("down")


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        yield manifest


def look(
    manifest: Manifest,
    old: MemoryStore,
    new: MemoryStore,
    prefixes: tuple[str, str] = ("", ""),
    stop: StopSignal | None = None,
) -> Relation:
    return SameStoreCheck(manifest, store_session(old, stop), store_session(new, stop), *prefixes, None).run()


def refused(kind: type[E], manifest: Manifest, old: MemoryStore, new: MemoryStore) -> E:
    with pytest.raises(kind) as raised:
        look(manifest, old, new)
    return raised.value


def test_two_stores_are_two_and_that_is_remembered(manifest: Manifest) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    assert relation(manifest) is None
    assert look(manifest, old, new) is Relation.TWO
    assert relation(manifest) is Relation.TWO
    assert probe_left_behind(manifest) is None
    assert not old.objects
    assert not new.objects
    assert {method for method, *_ in old.calls} == {"check", "read"}


@pytest.mark.parametrize("prefix", ["", "system", "/system"])
def test_one_store_is_found_under_any_of_its_names_and_is_not_remembered(manifest: Manifest, prefix: str) -> None:
    store = MemoryStore()
    look(manifest, MemoryStore("old"), MemoryStore("new"))  # which they were, before somebody moved an alias
    assert look(manifest, store, store, (prefix, prefix)) is Relation.ONE
    assert relation(manifest) is None
    assert not store.objects
    ((_, key),) = [call for call in store.calls if call[0] == "write"]
    assert key.startswith(f"{prefix}/{FOLDER}/".removeprefix("/").removeprefix("/"))


@pytest.mark.parametrize("prefixes", [("", "new"), ("old", ""), ("old", "new")])
def test_one_bucket_with_two_prefixes_is_told_from_one_store(manifest: Manifest, prefixes: tuple[str, str]) -> None:
    store = MemoryStore()
    assert look(manifest, store, store, prefixes) is Relation.ONE_BUCKET
    assert relation(manifest) is Relation.ONE_BUCKET
    assert in_one_bucket(manifest)
    assert not store.objects


def test_prefixes_that_lead_to_one_place_by_two_ways_are_one_store() -> None:
    """The endpoint of one holds a folder that is the key prefix of the other."""
    keys = probe_keys("name", "media", "")
    assert keys == ("mastosync-probe/name", "media/mastosync-probe/name")

    def read(key: str, _: int) -> FetchedObject:
        if key != keys.at_source:
            raise ObjectMissing(key)
        return FetchedObject(MemoryStore().head, b"data", b"")  # type: ignore[arg-type]

    assert relation_seen(keys, b"data", read, lambda _: None) is Relation.ONE


def test_names_alone_tell_of_one_bucket(tmp_path: Path) -> None:
    stores = SOURCE, replace(SOURCE, key_prefix="new")
    with planned(tmp_path / "m.db", [entry()], stores) as manifest:
        assert in_one_bucket(manifest)
    with planned(tmp_path / "other.db", [entry()], (SOURCE, DESTINATION)) as manifest:
        assert not in_one_bucket(manifest)


def test_what_is_shown_a_moment_later_is_waited_for(manifest: Manifest) -> None:
    store = MemoryStore()
    store.fail("read", ObjectMissing("not yet"))
    assert look(manifest, store, store) is Relation.ONE
    assert store.count("read") == 2


def test_a_store_that_has_something_under_every_key_has_not_the_probe(manifest: Manifest) -> None:
    class Made(MemoryStore):
        def read(self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED) -> FetchedObject:
            self.put(key, b"a page of somebody's")
            return super().read(key, max_bytes)

    assert look(manifest, Made("old"), MemoryStore("new")) is Relation.TWO


def test_who_is_denied_what_is_missing_does_not_know(manifest: Manifest) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    old.fail("read", *[ObjectDenied("no")] * 9)
    assert look(manifest, old, new) is Relation.UNKNOWN
    assert relation(manifest) is Relation.UNKNOWN
    assert not new.objects


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("read", StoreUnusable("no such bucket")),
        ("read", ServerFailure("down")),
        ("write", StoreUnusable("no such bucket")),
        ("write", ObjectDenied("no")),
    ],
)
def test_where_nobody_can_tell_nothing_goes_on_and_nothing_is_left(
    manifest: Manifest, method: str, error: MastosyncError
) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    (old if method == "read" else new).fail(method, *[error] * 9)
    said = refused(StoreUnusable, manifest, old, new)
    assert error.message in said.message
    assert not new.objects
    assert relation(manifest) is None


def test_a_store_with_a_problem_of_its_own_is_no_failure_of_an_entry(manifest: Manifest) -> None:
    """The hint of the error is for objects of the manifest: nothing of it was tried yet."""
    new = MemoryStore("new")
    new.fail("write", *[ServerFailure("502", hint="run `mastosync retry-failed --reason server`")] * 9)
    hint = refused(StoreUnusable, manifest, MemoryStore("old"), new).hint
    assert "run the same command again" in hint
    assert "retry-failed" not in hint


@pytest.mark.parametrize("asked", ["check", "read"])
def test_a_bucket_that_does_not_exist_is_not_the_one_that_has_the_probe(manifest: Manifest, asked: str) -> None:
    """It was deleted after the move: prune and refetch go on."""
    old, new = MemoryStore("old"), MemoryStore("new")
    old.fail(asked, BucketMissing("404 NoSuchBucket"))
    assert look(manifest, old, new) is Relation.TWO
    assert relation(manifest) is Relation.TWO
    assert not new.objects


def test_a_bucket_that_does_not_exist_proves_nothing_unless_the_destination_has_the_probe(manifest: Manifest) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    old.fail("check", BucketMissing("404 NoSuchBucket"))
    new.fail("read", ObjectDenied("no"))
    assert "NoSuchBucket" in refused(SourceSilent, manifest, old, new).message
    assert relation(manifest) is None
    assert not new.objects


def test_what_was_found_to_be_one_bucket_stays_one_though_a_name_of_it_is_gone(manifest: Manifest) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    record_relation(manifest, Relation.ONE_BUCKET, probe_settled=True)
    old.fail("check", BucketMissing("404 NoSuchBucket"))
    assert look(manifest, old, new) is Relation.ONE_BUCKET
    assert relation(manifest) is Relation.ONE_BUCKET


@pytest.mark.parametrize("asked", ["check", "read"])
@pytest.mark.parametrize(
    "error", [StoreUnusable("the key is unknown"), NetworkFailure("no such host"), ServerFailure("down")]
)
def test_a_source_that_cannot_be_asked_is_told_from_a_destination_that_cannot(
    manifest: Manifest, asked: str, error: MastosyncError
) -> None:
    """What is out of reach, or refuses everybody, may be another door to the same store."""
    old, new = MemoryStore("old"), MemoryStore("new")
    old.fail(asked, *[error] * 9)
    assert error.message in refused(SourceSilent, manifest, old, new).message
    assert relation(manifest) is None
    assert not new.objects
    new.fail("write", *[error] * 9)
    assert not isinstance(refused(StoreUnusable, manifest, MemoryStore("old"), new), SourceSilent)


def test_an_empty_mount_point_is_no_other_store(manifest: Manifest, tmp_path: Path) -> None:
    """A disk that is not mounted lacks the probe, too."""
    new = MemoryStore("new")
    source = FilesystemStore(FilesystemConfig(path=tmp_path / "system"), role="source")
    for made in ("system", "system/cache", "system/accounts"):  # not there, empty, empty but for a folder
        with pytest.raises(SourceSilent):
            SameStoreCheck(
                manifest, replace(store_session(MemoryStore()), store=source), store_session(new), "", "", None
            ).run()
        assert relation(manifest) is None
        (tmp_path / made).mkdir()
    (tmp_path / "system" / "accounts" / "a.png").touch()
    assert (
        SameStoreCheck(
            manifest, replace(store_session(MemoryStore()), store=source), store_session(new), "", "", None
        ).run()
        is Relation.TWO
    )


def test_who_asks_to_stop_leaves_nothing_behind(manifest: Manifest) -> None:
    stop, new = StopSignal(), MemoryStore("new")

    class Stopped(MemoryStore):
        def read(self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED) -> FetchedObject:
            assert new.objects
            stop.request()
            return super().read(key, max_bytes)

    new.fail("delete", DOWN)  # which is tried again all the same
    with pytest.raises(Interrupted):
        look(manifest, Stopped("old"), new, stop=stop)
    assert not new.objects
    assert probe_left_behind(manifest) is None
    assert relation(manifest) is None


def test_what_a_dead_run_left_is_removed_by_the_next_look(manifest: Manifest) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    note_probe(manifest, "name")
    new.put("mastosync-probe/name", b"half of it")
    new.put("mastosync-probe/another", b"of another manifest")
    assert look(manifest, old, new) is Relation.TWO
    assert list(new.objects) == ["mastosync-probe/another"]


def test_its_name_is_in_the_manifest_before_it_is_written(manifest: Manifest) -> None:
    new = MemoryStore("new")

    class Looked(MemoryStore):
        def read(self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED) -> FetchedObject:
            assert list(new.objects) == [f"mastosync-probe/{probe_left_behind(manifest)}"]
            return super().read(key, max_bytes)

    assert look(manifest, Looked("old"), new) is Relation.TWO


def test_a_probe_that_may_not_be_removed_is_told_and_does_not_hinder(
    manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    new.fail("delete", ObjectDenied("cannot delete 'mastosync-probe/name'"))
    assert look(manifest, old, new) is Relation.TWO
    assert relation(manifest) is Relation.TWO
    assert probe_left_behind(manifest) is None
    assert "may be left, remove it: cannot delete 'mastosync-probe/name'" in caplog.text


def test_a_probe_that_could_not_be_removed_is_tried_again_by_the_next_run(manifest: Manifest) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    new.fail("delete", *[DOWN] * 3)
    assert look(manifest, old, new) is Relation.TWO
    assert relation(manifest) is None
    assert f"mastosync-probe/{probe_left_behind(manifest)}" in new.objects
    assert look(manifest, old, new) is Relation.TWO
    assert not new.objects


def test_whoever_writes_to_a_destination_has_looked() -> None:
    """What makes a transfer or a prune asks for the stores where it is found out whether they are two."""
    for path in (ROOT / "app").rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            called = {
                node.func.id
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert not called & {"Transfer", "Pruner"} or "stores_to_write" in called, f"{path}: {function.name}"


class TestArrived:
    """A folder whose disk is not mounted may hold anything but what was copied there."""

    KEYS = ("a", "b", "c")

    def test_a_folder_without_any_of_them_is_refused(self) -> None:
        new = MemoryStore("new")
        new.put("somebody's", b"stray")
        with pytest.raises(StoreUnusable, match="none of 3 objects that were copied there, for example 'a'") as caught:
            require_arrived(new.name, self.KEYS, new.head)
        assert "its disk is mounted" in caught.value.hint

    def test_one_of_them_is_enough_and_no_other_is_asked_for(self) -> None:
        new = MemoryStore("new")
        new.put("b", b"copied")
        require_arrived(new.name, self.KEYS, new.head)
        assert [key for _, key in new.calls] == ["a", "b"]

    def test_what_may_not_be_read_is_there(self) -> None:
        new = MemoryStore("new")
        new.fail("head", ObjectDenied("closed"))
        require_arrived(new.name, self.KEYS, new.head)

    def test_a_few_may_have_been_removed(self) -> None:
        new = MemoryStore("new")
        require_arrived(new.name, self.KEYS[:2], new.head)
