"""A folder on a disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mastosync.store.filesystem import FilesystemStore
from tests.support.folder_stores import (
    destination,
)


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
