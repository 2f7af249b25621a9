"""The source and destination that a manifest belongs to: it refuses any other, and remembers if they are two stores.

Stores are compared by `StoreLocation`, in which all names of one store that can be known as such are spelled alike;
they are remembered and shown as they were written. Nothing is looked up, so different names may still be one store.

Scheme, default port, case and the dot at the end of a host make no difference. Nor do Amazon's endpoints, whatever
region, stack or style they name: a bucket's name is given once in all regions of a partition
(docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, docs.aws.amazon.com/general/latest/gr/s3.html).
"""

from __future__ import annotations

import json
import re
import socket
from dataclasses import asdict, dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from mastosync.errors import ManifestError
from mastosync.language import deferred, say, tr
from mastosync.manifest.connection import Manifest
from mastosync.manifest.history import delete_meta, get_meta, meta_of, set_meta
from mastosync.manifest.rows import COLUMNS, DONE, record_of
from mastosync.manifest.sqlite_errors import sound, translated
from mastosync.model import Record

_DEFAULT_PORTS = (None, 80, 443)
_REGION = r"(?P<region>[a-z]{2}(?:-[a-z]+)+-[0-9]+)"
_AWS = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]*)\.)?"  # where the endpoint holds one already
    rf"s3(?:-fips|-accelerate|-external-1)?(?:\.dualstack)?(?:[.-]{_REGION})?"
    r"\.amazonaws\.com(?P<china>\.cn)?"
)
_AWS_PRIVATE_LINK = re.compile(rf"(?:bucket\.)?vpce-[a-z0-9-]+\.s3\.{_REGION}\.vpce\.amazonaws\.com")
_NUMBERS = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+)){0,3}")


class StoreLocation(NamedTuple):
    """Where the keys of a store are, spelled alike for all its names."""

    service: str  # host, port unless it is 80 or 443, and path; or a partition of Amazon's
    bucket: str
    root: str  # what all keys begin with
    port: int | None = None  # 80 or 443, at which one server answers as a rule; None: the service tells


def place_of(endpoint: str, bucket: str, key_prefix: str) -> StoreLocation:
    """The place that an endpoint's URL, a bucket and a key prefix name."""
    root = f"{key_prefix}/".removeprefix("/") if key_prefix else ""
    try:
        url = urlsplit(endpoint)
        given = url.port
    except ValueError:  # an old manifest, or an archive, may have anything
        return StoreLocation(endpoint, bucket, root)
    if url.scheme not in ("http", "https") or not url.hostname:
        return StoreLocation(endpoint, bucket, root)  # no URL of a store: a folder
    host, path = _host(url.hostname), url.path.rstrip("/")
    if given in _DEFAULT_PORTS and not path and (partition := _partition(host)) is not None:
        service, in_host = partition
        return StoreLocation(service, in_host, f"{bucket}/{root}") if in_host else StoreLocation(service, bucket, root)
    if given not in _DEFAULT_PORTS:
        return StoreLocation(f"{host}:{given}{path}", bucket, root)
    return StoreLocation(f"{host}{path}", bucket, root, given or (443 if url.scheme == "https" else 80))


def _host(name: str) -> str:
    """A host in lower case, as plain ASCII, or an address in its usual form."""
    name = name.lower().removesuffix(".")
    try:
        address = ip_address(name)
    except ValueError:
        if _NUMBERS.fullmatch(name):  # 127.1 and 0x7f000001, as the system reads them
            try:
                return socket.inet_ntoa(socket.inet_aton(name))
            except OSError:
                return name
        try:
            return name if name.isascii() else name.encode("idna").decode()
        except UnicodeError:
            return name
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped) if address.ipv4_mapped else f"[{address}]"
    return str(address)


def _partition(host: str) -> tuple[str, str] | None:
    """The partition of Amazon's S3 that a host belongs to, and the bucket in its name; None: it is not Amazon's."""
    found = _AWS.fullmatch(host)
    if found is None:
        found = _AWS_PRIVATE_LINK.fullmatch(host)
        return (_partition_of(found["region"]), "") if found else None
    partition = "aws-cn" if found["china"] else _partition_of(found["region"] or "")
    return partition, found["bucket"] or ""


def _partition_of(region: str) -> str:
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


_THIS_MACHINE = "file:"
_RELATION, _PROBE = "relation", "probe"


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

    @property
    def place(self) -> StoreLocation:
        """Where its keys are, spelled alike for all its names."""
        return place_of(self.endpoint, self.bucket, self.key_prefix)

    def same_bucket(self, other: StoreIdentity) -> bool:
        """Whether both name one bucket, or one folder, whatever their key prefixes are."""
        return self.place[:2] == other.place[:2]

    def same_store(self, other: StoreIdentity) -> bool:
        """Whether both name one bucket with one key prefix: their keys are the same objects."""
        return self.place[:3] == other.place[:3]

    def same_port(self, other: StoreIdentity) -> bool:
        """Whether the ports are the same: at 80 and 443 of a host, which count as one place, two servers may listen."""
        return self.place.port == other.place.port

    def __str__(self) -> str:
        if self.is_folder:
            return tr("folder {bucket!r} on this machine", bucket=self.bucket)
        prefix = tr(", key prefix {key_prefix!r}", key_prefix=self.key_prefix) if self.key_prefix else ""
        return tr("bucket {bucket!r} at {endpoint}{prefix}", bucket=self.bucket, endpoint=self.endpoint, prefix=prefix)


SAME_STORE_REMEDY = deferred("name another bucket, key_prefix or path for one of them")
"""What to do if source and destination are one store."""


class Relation(StrEnum):
    """What source and destination were found to be, whatever their names say."""

    TWO = "two stores"
    ONE_BUCKET = "one bucket"  # under two key prefixes
    ONE = "one store"  # a key is the same object at both
    UNKNOWN = "unknown"  # the source does not tell what it does not have


def remembered(manifest: Manifest, role: str) -> StoreIdentity | None:
    """The source or destination (`role`) this manifest was planned for; None before a plan. Raises: ManifestError."""
    with sound(manifest.path):
        told = get_meta(manifest.connection, role)
        return None if told is None else StoreIdentity(**json.loads(told))


def remember(manifest: Manifest, source: StoreIdentity, destination: StoreIdentity, probe: str | None = None) -> None:
    """Bind a new manifest to its stores, within the caller's transaction. `probe`: see `probe_left_behind`."""
    for role, identity in (("source", source), ("destination", destination)):
        if remembered(manifest, role) is None:
            set_meta(manifest.connection, role, json.dumps(asdict(identity)))
    if probe is not None:
        set_meta(manifest.connection, _PROBE, probe)


def require_same(manifest: Manifest, source: StoreIdentity | None, destination: StoreIdentity | None) -> None:
    """Refuse a manifest of other stores. None: any will do.

    Raises: ManifestError that names both. A manifest that is not bound yet is anybody's.
    """
    for role, configured in (("source", source), ("destination", destination)):
        known = remembered(manifest, role)
        if known is not None and configured is not None and not known.same_store(configured):
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


def relation(manifest: Manifest) -> Relation | None:
    """What the stores of this manifest were found to be; None: that was not checked. Raises: ManifestError."""
    value = meta_of(manifest, _RELATION)
    return Relation(value) if value in list(Relation) else None


def in_one_bucket(manifest: Manifest) -> bool:
    """Whether source and destination are one bucket under two key prefixes, by their names or as it was found."""
    source, destination = (remembered(manifest, role) for role in ("source", "destination"))
    found = relation(manifest)
    if found is Relation.ONE_BUCKET or source is None or destination is None:
        return found is Relation.ONE_BUCKET
    return source.same_bucket(destination) and (found is not Relation.TWO or source.same_port(destination))


def probe_left_behind(manifest: Manifest) -> str | None:
    """The name of a probe object that was noted, and may lie at the destination. Raises: ManifestError."""
    return meta_of(manifest, _PROBE)


def note_probe(manifest: Manifest, name: str) -> None:
    """Note the name of a probe object before it is written. Raises: ManifestError."""
    with manifest.transaction() as connection:
        set_meta(connection, _PROBE, name)


def record_relation(manifest: Manifest, found: Relation | None, *, probe_settled: bool) -> None:
    """Remember what the stores were found to be (None: nothing new); `probe_settled`: forget the probe object.

    ONE is not remembered, so that it is checked again. ONE_BUCKET stays when a later check ends with UNKNOWN, as
    nothing may be removed there. Raises: ManifestError.
    """
    with manifest.transaction() as connection:
        says_nothing = found is Relation.UNKNOWN and relation(manifest) is Relation.ONE_BUCKET
        if found is Relation.ONE:
            delete_meta(connection, _RELATION)
        elif found is not None and not says_nothing:
            set_meta(connection, _RELATION, found.value)
        if probe_settled:
            delete_meta(connection, _PROBE)


_OF_EACH_END = 2  # entries of a kind: a kind may have a disk of its own, and one that is missing says nothing
_LOOKED_AT = 1_000  # lines at either end of a kind: so few that nobody waits for them
_KINDS_WITH_DONE = f"SELECT kind FROM counts WHERE state = {DONE} AND objects > 0"
_SELECT_FIRST_DONE = f"""
SELECT {COLUMNS} FROM (SELECT {COLUMNS} FROM entries WHERE kind = ? ORDER BY id, name LIMIT {_LOOKED_AT})
WHERE state = {DONE} LIMIT ?
"""
_SELECT_LAST_DONE = f"""
SELECT {COLUMNS} FROM (SELECT {COLUMNS} FROM entries WHERE kind = ? ORDER BY id DESC, name DESC LIMIT {_LOOKED_AT})
WHERE state = {DONE} LIMIT ?
"""


def some_done(manifest: Manifest, of_each_end: int = _OF_EACH_END) -> list[Record]:
    """A few entries that are done: the first and the last two (or `of_each_end`) of each kind.

    A destination that has none of them is another one; so is a source that has none of those that it gave.

    Raises: ManifestError.
    """
    found: dict[tuple[int, int, str], Record] = {}
    connection = manifest.connection
    with translated(manifest.path):
        for (number,) in connection.execute(_KINDS_WITH_DONE).fetchall():
            rows = connection.execute(_SELECT_FIRST_DONE, (number, of_each_end)).fetchall()
            rows += connection.execute(_SELECT_LAST_DONE, (number, of_each_end)).fetchall()
            found |= {(number, *row[:2]): record_of(manifest.kind(number), row) for row in rows}
    return list(found.values())
