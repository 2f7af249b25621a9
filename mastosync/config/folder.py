"""The keys of a store that is a folder of this machine."""

# ruff: noqa: RUF009 - `key` only wraps `field()`; its defaults are immutable

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mastosync.config.keys import key
from mastosync.config.values import PATH, choice, size

_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class FilesystemConfig:
    """A folder of this machine, where objects are files: what Mastodon has without S3."""

    path: Path | None = key(
        None,
        PATH,
        "The folder that holds `media_attachments`, `accounts` and the others: Mastodon's PAPERCLIP_ROOT_PATH, which is"
        " public/system below its own folder unless set.",
    )
    fsync: str = key(
        "always",
        choice("always", "never"),
        "Whether an object counts as done only when the disk itself has it. never is faster, most of all for small"
        " objects, and a power cut may then lose some that count as done: `mastosync verify` finds them.",
        only="filesystem.destination",
    )
    keep_free: int = key(
        _GIB,
        size(0, 1024 * 1024 * _GIB),
        "Copying stops before less than this is free on the disk.",
        only="filesystem.destination",
    )

    @property
    def folder(self) -> Path:
        """The path, of a folder that is configured (`Config.require_store`)."""
        assert self.path is not None  # noqa: S101
        return self.path
