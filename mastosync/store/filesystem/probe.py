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
    """Questions to a folder of this machine. Only `folds_names` and `delete` change anything, and leave nothing."""

    def __init__(self, config: FilesystemConfig, *, role: Literal["source", "destination"]) -> None:
        self._name = f"{role} folder '{config.folder}'"
        self._folder = config.folder
        self._root = Root(config.folder, self._name, writes=role == "destination", owner=config.owner)

    def first_key(self) -> str:
        """The first object's; empty: there is none. Raises: StoreUnusable."""
        with translated(f"list the {self._name}", Subject.STORE):
            found = next(iter(Walk(self._root, "", "")), None)
            return found.key if found else ""

    def unfollowed_links(self) -> list[str]:
        """Links to folders where none is followed, as far as an admin may have made them.

        That is in the folders that hold those of ids: all others would take a look at every object.
        Raises: StoreUnusable, at a destination also for a link that would have to be followed, and cannot be.
        """
        with translated(f"look for links in the {self._name}", Subject.STORE):
            return unfollowed_links(self._root)

    def ways_out(self) -> list[str]:
        """Where a store leads out of its folder: links that are followed, and, at a source, mounts.

        Raises: StoreUnusable; ServerFailure if it may be told a moment later.
        """
        with translated(f"look for links and mounts in the {self._name}", Subject.STORE):
            return ways_out(self._root)

    def rooms(self, pending: Mapping[str, int]) -> list[Room]:
        """The disks of a destination, as links may lead to several. `pending`: bytes, by folders of keys.

        Raises: StoreUnusable.
        """
        with translated(f"use the {self._name}", Subject.STORE):
            return rooms(self._root, pending)

    def mode(self, key: str) -> int:
        """Who may do what with an object's file: the nine bits. Raises: ObjectMissing."""
        with (
            translated(f"describe {key!r} at the {self._name}", Subject.OBJECT),
            self._root.opened(path_of(key)) as (_, status),
        ):
            return status.st_mode & 0o777

    def ownership(self) -> Ownership:
        """Whose what is written should be, and whether what lies there is. Raises: StoreUnusable."""
        with translated(f"use the {self._name}", Subject.STORE):
            status, owners = os.fstat(self._root.fd), self._root.owners
            others = tuple(islice(iter_others(self._root.fd, owners.wanted), _OTHERS_AT_MOST))
            folder = Owner(status.st_uid, status.st_gid)
            links = tuple(followed_links(self._root))
            place = str(self._folder.absolute())
            return Ownership(place, folder, owners.wanted, me(), gives=owners.gives, others=others, links=links)

    def access(self, key: str) -> Access:
        """Whose an object's file is, and who may do what with it. Raises: ObjectMissing."""
        path = path_of(key)
        with (
            translated(f"describe {key!r} at the {self._name}", Subject.OBJECT),
            self._root.opened(path) as (_, status),
        ):
            above = self._root.folder_status(path)
            return Access(Owner(status.st_uid, status.st_gid), status.st_mode & 0o777, above.st_mode & 0o777)

    def folds_names(self) -> bool:
        """Whether the disk takes names for one that differ only in case. Raises: StoreUnusable."""
        with translated(f"use the {self._name}", Subject.STORE):
            work = PartialFiles(self._root)
            try:
                _ = work.fd
                return work.folds_names
            finally:
                work.close()

    def delete(self, key: str) -> None:
        """Delete an object, and the folders that are empty then; one that is not there is no error."""
        with translated(f"delete {key!r} at the {self._name}", Subject.STORE):
            self._root.remove(path_of(key))

    def close(self) -> None:
        """Let go of it."""
        self._root.close()
