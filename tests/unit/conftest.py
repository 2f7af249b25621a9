"""Fixtures that several unit tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.support.copy_world import World
from tests.support.memory_store import MemoryStore


@pytest.fixture
def world_of(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Factory: `world_of(old, new, objects=200)` is a world, closed after the test."""
    with ExitStack() as worlds:

        def build(old: MemoryStore, new: MemoryStore, objects: int = 200) -> World:
            return worlds.enter_context(closing(World(tmp_path, old, new, objects=objects)))

        yield build
