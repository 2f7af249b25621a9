"""A manifest knows its source and its destination, and refuses any other."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mastosync.errors import ManifestError
from mastosync.language import say, tr
from mastosync.manifest.connection import Manifest

_SELECT = "SELECT value FROM meta WHERE name = ?"
_INSERT = "INSERT INTO meta (name, value) VALUES (?, ?)"
_THIS_MACHINE = "file:"


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """What makes a store this one and no other. Credentials may change, these may not."""

    endpoint: str
    bucket: str
    key_prefix: str

    @classmethod
    def of_folder(cls, path: Path) -> StoreIdentity:
        """A folder of this machine, by its path, in which no link is left."""
        return cls(_THIS_MACHINE, str(path), "")

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of this machine, and no bucket."""
        return self.endpoint == _THIS_MACHINE

    def __str__(self) -> str:
        if self.is_folder:
            return tr("folder {bucket!r} on this machine", bucket=self.bucket)
        prefix = tr(", key prefix {key_prefix!r}", key_prefix=self.key_prefix) if self.key_prefix else ""
        return tr("bucket {bucket!r} at {endpoint}{prefix}", bucket=self.bucket, endpoint=self.endpoint, prefix=prefix)


def remembered(manifest: Manifest, role: str) -> StoreIdentity | None:
    """The source or destination (`role`) this manifest was planned for; None before a plan."""
    row = manifest.connection.execute(_SELECT, (role,)).fetchone()
    return StoreIdentity(**json.loads(row[0])) if row else None


def remember(manifest: Manifest, source: StoreIdentity, destination: StoreIdentity) -> None:
    """Bind a new manifest to its stores, within the plan's transaction."""
    for role, identity in (("source", source), ("destination", destination)):
        if remembered(manifest, role) is None:
            manifest.connection.execute(_INSERT, (role, json.dumps(asdict(identity))))


def require_same(manifest: Manifest, source: StoreIdentity, destination: StoreIdentity) -> None:
    """Refuse a manifest of other stores.

    Raises: ManifestError that names both. A manifest that is not bound yet is anybody's.
    """
    for role, configured in (("source", source), ("destination", destination)):
        known = remembered(manifest, role)
        if known is not None and known != configured:
            raise ManifestError(
                tr(
                    "the manifest {path} belongs to another {role}: it was planned for {known}, the "
                    "configuration names {configured}",
                    path=manifest.path,
                    role=say(role),
                    known=known,
                    configured=configured,
                ),
                hint=tr("use the configuration it was planned with, or --manifest with a new file for this migration"),
            )
