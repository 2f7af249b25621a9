"""Files on their way from another server to the destination."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Self

from mastosync.config import FilesystemConfig
from mastosync.errors import StoreUnusable
from mastosync.language import tr
from mastosync.store.filesystem.root import path_of
from mastosync.store.filesystem.store import FilesystemStore


class StagingFolder:
    """Files on their way: stored under their keys, read as any source is, and gone afterwards.

    A context manager, for any thread. The folder lies where temporary files do.
    """

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="mastosync-")
        self.store = FilesystemStore(FilesystemConfig(path=Path(self._folder.name)), role="source")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.store.close()
        self._folder.cleanup()

    @contextmanager
    def holding(self, key: str, content: IO[bytes]) -> Iterator[None]:
        """Store an object under this key for as long as the block runs.

        Raises: StoreUnusable if the disk does not take it; ValueError if it is no key.
        """
        path = Path(self._folder.name, os.fsdecode(path_of(key)))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)
        except OSError as error:
            raise StoreUnusable(
                tr(
                    "cannot store {key!r} temporarily in {name}: {strerror}",
                    key=key,
                    name=self._folder.name,
                    strerror=error.strerror,
                ),
                hint=tr("free some space there, or set TMPDIR to another folder"),
            ) from error
        try:
            yield
        finally:
            path.unlink()
