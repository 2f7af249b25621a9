"""Where objects come from and go to, as each client is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from lab.addresses import S3Address
from mastosync.manifest import StoreIdentity

_BUCKET = """\
[s3.{role}]
endpoint_url = {address.endpoint_url}
bucket = {bucket}
access_key = {address.access_key}
secret_key = {address.secret_key}
"""
_RCLONE_BUCKET = """\
[{role}]
type = s3
provider = Other
env_auth = false
endpoint = {address.endpoint_url}
access_key_id = {address.access_key}
secret_access_key = {address.secret_key}
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One of a store."""

    address: S3Address
    name: str  # as rclone has it after the name of the remote
    ca_bundle: Path | None = None  # who vouches for the store, if it is reached by TLS

    @property
    def identity(self) -> StoreIdentity:
        """As the manifest has it."""
        return StoreIdentity(self.address.endpoint_url, self.name, "")

    def section(self, role: str) -> str:
        """Of mastosync's configuration."""
        trust = f"ca_bundle = {self.ca_bundle}\n" if self.ca_bundle else ""
        return _BUCKET.format(role=role, address=self.address, bucket=self.name) + trust

    def remote(self, role: str) -> str:
        """Of rclone's configuration."""
        return _RCLONE_BUCKET.format(role=role, address=self.address)


@dataclass(frozen=True, slots=True)
class Folder:
    """One of this machine."""

    path: Path
    fsync: Literal["always", "never"] = "never"  # of what is written there

    @property
    def name(self) -> str:
        """As rclone has it after the name of the remote."""
        return str(self.path)

    @property
    def identity(self) -> StoreIdentity:
        """As the manifest has it."""
        return StoreIdentity.of_folder(self.path.resolve())

    def section(self, role: str) -> str:
        """Of mastosync's configuration."""
        policy = f"fsync = {self.fsync}\n" if role == "destination" else ""
        return f"[filesystem.{role}]\npath = {self.path}\n{policy}"

    def remote(self, role: str) -> str:
        """Of rclone's configuration."""
        return f"[{role}]\ntype = local\n"


End: TypeAlias = Bucket | Folder
