"""Small made-up instances, each populated once and then only read, by any number of scenarios."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from boto3.s3.transfer import TransferConfig

from lab.addresses import DatabaseAddress, LabAddresses, S3Address
from lab.buckets import delete_bucket
from lab.client import Lab
from lab.instance import settle, upload
from lab.instance_objects import MIB, Instance, InstanceObject, StoredObject
from lab.instance_oddities import REMOVED_AT, SUSPENDED_AT
from lab.instance_rows import InstanceBuilder, Rendition
from lab.instance_usual import add_accounts, add_emojis, add_media, add_preview_cards
from lab.process import LabError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KINDS = ("usual", "prefixed", "large")
PREFIX = "system/v2"
LARGE_BYTES = (6 * MIB, 11 * MIB)  # the second one is uploaded in parts, so that its ETag is no MD5
_IN_PARTS = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=5 * MIB, use_threads=False)

Identity = tuple[str, int, str, str]
"""Table, row, attachment and style of an object."""


@dataclass(frozen=True)
class World:
    """One instance, where its database and its objects are, and what must become of it."""

    kind: str
    instance: Instance
    database: DatabaseAddress
    source: S3Address
    client: S3Client  # of the source
    restart: Callable[[], None]  # its database

    @property
    def bucket(self) -> str:
        """The source."""
        return self.instance.bucket

    @cached_property
    def expected(self) -> dict[Identity, InstanceObject]:
        """Every object that the database stands for."""
        return {identity(each): each for each in self.instance.objects}

    @cached_property
    def at_destination(self) -> dict[str, StoredObject]:
        """What a finished copy leaves there, by key."""
        return self.instance.at_destination()

    @cached_property
    def md5s(self) -> dict[str, str]:
        """The digest of every object that can arrive, by its key at the destination."""
        return {key: stored.md5 for key, stored in self.at_destination.items()}

    @cached_property
    def listing(self) -> dict[str, str]:
        """What lies at the source, as it was told when it lay there first."""
        return listed(self.client, self.instance.bucket)

    @property
    def key_prefix(self) -> str:
        """Mastodon's S3_KEY_PREFIX."""
        return PREFIX if self.kind == "prefixed" else ""


def identity(each: InstanceObject) -> Identity:
    """What an object is called in the manifest too."""
    return each.table, each.row_id, each.attachment, each.style


def listed(client: S3Client, bucket: str) -> dict[str, str]:
    """ETag and time of every object of a bucket, by key."""
    return {
        item["Key"]: f"{item['ETag']} {item['LastModified']}"
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for item in page.get("Contents", [])
    }


@contextlib.contextmanager
def opened_world(kind: str, addresses: LabAddresses, own: Lab | None = None) -> Iterator[World]:
    """Populate a world; nothing is left of it at the end. `own`: where its database lies, if that can be restarted."""
    if own is not None:
        addresses = replace(addresses, postgres=own.postgres)
    assert addresses.postgres is not None  # noqa: S101 - a lab for scenarios has one
    name = f"world_{kind}_{uuid.uuid4().hex[:12]}"
    source, bucket = addresses.s3[0], name.replace("_", "-")
    with contextlib.closing(source.client()) as client:
        try:
            client.create_bucket(Bucket=bucket)
            database = addresses.postgres.create_database(name)
            instance = _populated(kind, database, client, bucket)
            world = World(kind, instance, database, source, client, partial(_restart, own))
            world.listing  # noqa: B018 - before anybody can have changed it
            yield world
        finally:
            addresses.postgres.drop_database(name)
            delete_bucket(client, bucket)


def worlds(addresses: LabAddresses, stack: contextlib.ExitStack) -> Callable[[str, bool], World]:
    """Worlds by kind, and whether their database can be restarted. Each is populated when it is first asked for."""
    opened: dict[tuple[str, bool], World] = {}

    def world(kind: str, restarts: bool) -> World:
        if (kind, restarts) not in opened:
            own = stack.enter_context(Lab(postgres=True)) if restarts else None
            opened[kind, restarts] = stack.enter_context(opened_world(kind, addresses, own))
        return opened[kind, restarts]

    return world


def _restart(lab: Lab | None) -> None:
    if lab is None:
        raise LabError("the database of this world is not its own")
    lab.stop_server("postgres")
    lab.start_server("postgres")


def _populated(kind: str, database: DatabaseAddress, client: S3Client, bucket: str) -> Instance:
    builder = InstanceBuilder(7, PREFIX if kind == "prefixed" else "")
    add_accounts(builder, 3)
    add_emojis(builder, 1)
    add_preview_cards(builder, 1)
    add_media(builder, 3)
    usual = len(builder.objects)
    _add_private(builder)
    _add_relocated(builder)
    if kind == "large":
        _add_large(builder)
    kept_back = next(each.key for each in builder.objects[:usual] if not each.optional and not each.relocated)
    small = settle(builder, {kept_back, *_large_keys(builder)}, database, client, bucket)
    large = [each for each in builder.objects if each.key in _large_keys(builder)]
    upload(client, bucket, [each.source for each in large], _IN_PARTS)
    objects = tuple(each for each in small.objects if each.key not in _large_keys(builder))
    return Instance(bucket, (*objects, *large), small.strays)


def _add_private(builder: InstanceBuilder) -> None:
    account = builder.account(username="suspended", suspended_at=SUSPENDED_AT, suspension_origin=0)
    post = builder.row("statuses", account_id=account["id"], deleted_at=REMOVED_AT)
    other = builder.account(username="warned")
    for columns in ({"account_id": account["id"]}, {"account_id": other["id"], "status_id": post["id"]}):
        row = builder.row("media_attachments", **columns)
        builder.attach("media_attachments", row, "file", [Rendition("original", "a.mp3", "audio/mpeg")])
    backup = builder.row("backups", 1, user_id=1, processed=True)
    builder.attach("backups", backup, "dump", [Rendition("original", "archive.zip", "application/zip")])


def _add_relocated(builder: InstanceBuilder) -> None:
    row = builder.row("media_attachments", 1_234_567_890, remote_url="https://old.example/1", type=0)
    pair = [Rendition(style, "old été.jpeg", "image/jpeg", nine_digits=True) for style in ("original", "small")]
    builder.attach("media_attachments", row, "file", pair)


def _add_large(builder: InstanceBuilder) -> None:
    for number, size in enumerate(LARGE_BYTES):
        row = builder.row("media_attachments", type=2)
        video = Rendition("original", f"large{number}.mp4", "video/mp4", size=size)
        small = Rendition("small", f"large{number}.png", "image/png", size=5_000)
        builder.attach("media_attachments", row, "file", [video, small])


def _large_keys(builder: InstanceBuilder) -> set[str]:
    return {each.key for each in builder.objects if each.source.size in LARGE_BYTES}
