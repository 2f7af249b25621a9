"""Every store there is: in memory, SeaweedFS, moto and a folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mastosync.store.base import ObjectStore
from tests.support.memory_store import MemoryStore
from tests.support.object_stores import Room, folder_room, room_name, room_of
from tests.support.s3_clients import STORES


@pytest.fixture(
    scope="module",
    params=["memory", "folder", *((server, kind) for server in ("seaweed", "moto") for kind in STORES)],
    ids=room_name,
)
def room(request: pytest.FixtureRequest) -> Iterator[Room]:
    """One bucket for the whole module: every test has keys of its own."""
    if request.param == "memory":
        memory = MemoryStore()
        yield Room("memory", memory, memory.objects.pop)
        return
    if request.param == "folder":
        factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        with folder_room(factory.mktemp("folder")) as room:
            yield room
        return
    with ExitStack() as stack:
        server, kind = request.param
        yield room_of(server, kind, request.getfixturevalue(server), stack)


@pytest.fixture
def store(room: Room) -> ObjectStore:
    return room.store


@pytest.fixture
def key() -> str:
    return f"{uuid.uuid4().hex}/original/file.png"
