"""Folders as stores, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import strategies as st

from mastosync.config import FilesystemConfig
from mastosync.model import ObjectHeaders
from mastosync.store.base import ListedObject, ObjectStore, PutOptions
from mastosync.store.filesystem import FilesystemStore
from tests.support.object_stores import ODD_KEYS, listed, md5_of

GOLDEN = [Path(__file__).parents[1] / "golden" / name for name in ("keys.jsonl", "prefix.jsonl")]


PUBLIC, PRIVATE = (PutOptions(ObjectHeaders("image/png"), acl) for acl in ("public-read", "private"))


NOBODY = 65534


MIB = 1024 * 1024


def destination(path: Path, *, fsync: str = "always", keep_free: int = 0) -> FilesystemStore:
    return FilesystemStore(FilesystemConfig(path=path, fsync=fsync, keep_free=keep_free), role="destination")


def source(path: Path) -> FilesystemStore:
    return FilesystemStore(FilesystemConfig(path=path), role="source")


def put(store: ObjectStore, key: str, data: bytes = b"data", options: PutOptions = PUBLIC) -> str:
    return store.write(key, data, md5_of(data), options)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


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
from tests.support.object_stores import md5_of
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


def a_disk(path: Path, options: str) -> AbstractContextManager[None]:
    """A small one, mounted there for as long as the block."""
    return mounted(path, "-t", "tmpfs", "-o", options, "tmpfs")


def raising(error: OSError) -> Callable[..., NoReturn]:
    def fails(*_: object, **__: object) -> NoReturn:
        raise error

    return fails


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
