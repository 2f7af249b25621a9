"""What `doctor` asks of a folder besides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Literal

from mastosync.model import Access, Owner, Ownership
from mastosync.store.base import Room
from mastosync.store.errors import Subject
from mastosync.store.filesystem.errors import translated
from mastosync.store.filesystem.owners import iter_others, me
from mastosync.store.filesystem.partial_files import PartialFiles
from mastosync.store.filesystem.root import Root, path_of
from mastosync.store.filesystem.walk import Walk, followed_links, rooms, unfollowed_links, ways_out

if TYPE_CHECKING:
    from mastosync.config import FilesystemConfig

_OTHERS_AT_MOST = 100


class FilesystemProbe:
    """A folder. See `FolderProbe` for what each method promises."""

    def __init__(self, config: FilesystemConfig, *, role: Literal["source", "destination"]) -> None:
        self._name = f"{role} folder '{config.folder}'"
        self._folder = config.folder
        self._root = Root(config.folder, self._name, writes=role == "destination", owner=config.owner)

    def first_key(self) -> str:  # noqa: D102 - see FolderProbe, here and below
        with translated(f"list the {self._name}", Subject.STORE):
            found = next(iter(Walk(self._root, "", "")), None)
            return found.key if found else ""

    def unfollowed_links(self) -> list[str]:  # noqa: D102
        with translated(f"look for links in the {self._name}", Subject.STORE):
            return unfollowed_links(self._root)

    def ways_out(self) -> list[str]:
        """Where a store leads out of its folder: links that are followed, and, at a source, mounts.

        Raises: StoreUnusable; ServerFailure if it may be told a moment later.
        """
        with translated(f"look for links and mounts in the {self._name}", Subject.STORE):
            return ways_out(self._root)

    def rooms(self, pending: Mapping[str, int]) -> list[Room]:  # noqa: D102
        with translated(f"use the {self._name}", Subject.STORE):
            return rooms(self._root, pending)

    def mode(self, key: str) -> int:  # noqa: D102
        with (
            translated(f"describe {key!r} at the {self._name}", Subject.OBJECT),
            self._root.opened(path_of(key)) as (_, status),
        ):
            return status.st_mode & 0o777

    def ownership(self) -> Ownership:  # noqa: D102
        with translated(f"use the {self._name}", Subject.STORE):
            status, owners = os.fstat(self._root.fd), self._root.owners
            others = tuple(islice(iter_others(self._root.fd, owners.wanted), _OTHERS_AT_MOST))
            folder = Owner(status.st_uid, status.st_gid)
            links = tuple(followed_links(self._root))
            place = str(self._folder.absolute())
            return Ownership(place, folder, owners.wanted, me(), gives=owners.gives, others=others, links=links)

    def access(self, key: str) -> Access:  # noqa: D102
        path = path_of(key)
        with (
            translated(f"describe {key!r} at the {self._name}", Subject.OBJECT),
            self._root.opened(path) as (_, status),
        ):
            above = self._root.folder_status(path)
            return Access(Owner(status.st_uid, status.st_gid), status.st_mode & 0o777, above.st_mode & 0o777)

    def folds_names(self) -> bool:  # noqa: D102
        with translated(f"use the {self._name}", Subject.STORE):
            work = PartialFiles(self._root)
            try:
                _ = work.fd
                return work.folds_names
            finally:
                work.close()

    def delete(self, key: str) -> None:  # noqa: D102
        with translated(f"delete {key!r} at the {self._name}", Subject.STORE):
            self._root.remove(path_of(key))

    def close(self) -> None:  # noqa: D102
        self._root.close()
