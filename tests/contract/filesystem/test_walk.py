"""The order of a listing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mastosync.errors import (
    ObjectMissing,
    ObjectRejected,
)
from mastosync.store.filesystem import FilesystemStore
from tests.support.folder_stores import (
    KEYS,
    as_nobody,
    destination,
    put,
    source,
)
from tests.support.object_stores import listed


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
from tests.support.folder_stores import Path, source
store = source(Path({str(tmp_path)!r}))
print(ascii([(found.key, store.read(found.key, 10).data) for found in store.list_page("", "").objects]))
"""
        environ = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environ, cwd=Path(__file__).parents[3], capture_output=True, check=True
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
