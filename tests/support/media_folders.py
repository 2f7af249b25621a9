"""A made-up instance on a disk, and looking at folders without mastosync."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lab.instance_objects import StoredObject

WORK = ".mastosync"
LONG_AGO = 1_600_000_000


def lay_down(root: Path, objects: Iterable[StoredObject]) -> None:
    """Files as Mastodon has them: those that must stay private with the mode that it gives them."""
    for stored in objects:
        path = root / stored.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.body())
        path.chmod(0o600 if stored.private else 0o644)
        os.utime(path, (LONG_AGO, LONG_AGO))


def iter_files(root: Path) -> Iterator[str]:
    """Keys of all files, but for what mastosync keeps for itself."""
    for folder, _, names in os.walk(root):  # which passes over what goes meanwhile
        for name in names:
            key = (Path(folder) / name).relative_to(root).as_posix()
            if not key.startswith(f"{WORK}/"):
                yield key


def assert_disk_holds(root: Path, expected: Mapping[str, StoredObject], *, some: bool = False) -> None:
    """Exactly these files (or `some` of them), each with its bytes and mode, and nothing half done."""
    found = set(iter_files(root))
    assert found <= expected.keys() if some else found == expected.keys()
    for key in found:
        path = root / key
        assert path.read_bytes() == expected[key].body(), key
        assert path.stat().st_mode & 0o777 == (0o600 if expected[key].private else 0o644), key


def left_behind(root: Path) -> list[str]:
    """What is not whole, in the folder for that."""
    return [path.relative_to(root).as_posix() for path in root.glob(f"{WORK}/work/*/**/*")]


def state_of(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """All that a run could change of a tree."""
    found = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
    return found
