"""A folder of this machine behind the contract of `ObjectStore`.

See docs/design/disk.md.
"""

from mastosync.store.filesystem.probe import FilesystemProbe
from mastosync.store.filesystem.store import FilesystemStore

__all__ = ["FilesystemProbe", "FilesystemStore"]
