"""A Mastodon as old instances are: its tables in PostgreSQL and its objects in a bucket, made up from a seed."""

from __future__ import annotations

import io
from collections.abc import Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from boto3.s3.transfer import TransferConfig
from psycopg import sql

from lab.addresses import DatabaseAddress
from lab.instance_objects import MIB, Instance, InstanceObject, StoredObject
from lab.instance_oddities import add_few_oddities, add_oddities
from lab.instance_rows import InstanceBuilder, Row
from lab.instance_usual import add_accounts, add_emojis, add_media, add_preview_cards

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SCHEMA = Path(__file__).with_name("schema.sql")
LARGE_VIDEO_BYTES = 40 * MIB
UPLOAD_THREADS = 8

# as Mastodon's uploads above 15 MiB: in parts, so that the ETag is no MD5
IN_PARTS = TransferConfig(multipart_threshold=15 * MIB, multipart_chunksize=5 * MIB, use_threads=False)


def create_schema(connection: psycopg.Connection) -> None:
    """Make Mastodon's tables, empty, in the connection's transaction."""
    connection.execute(SCHEMA.read_bytes())


def populate(  # noqa: PLR0913 - every one has a default, and a caller names the one that matters
    database: DatabaseAddress,
    client: S3Client,
    bucket: str,
    *,
    seed: int = 1,
    accounts: int = 30,
    media: int = 40,
    missing: int = 4,
    key_prefix: str = "",
    large_video_bytes: int = LARGE_VIDEO_BYTES,
    all_oddities: bool = True,
) -> Instance:
    """Make the tables in an empty database, and store the objects in an empty bucket.

    `accounts` and `media` count ordinary rows; emojis, preview cards and one of every oddity come on top, or few.
    `missing` is how many required objects are kept back. `large_video_bytes` = 0 leaves the one large object out.
    Returns: what there is, and what a migration must come to.
    """
    builder = InstanceBuilder(seed, key_prefix)
    add_accounts(builder, accounts)
    add_emojis(builder, accounts // 4)
    add_preview_cards(builder, media // 5)
    add_media(builder, media)
    usual = len(builder.objects)
    (add_oddities if all_oddities else add_few_oddities)(builder, large_video_bytes)
    kept_back = _sample_required(builder, builder.objects[:usual], missing)
    return settle(builder, kept_back, database, client, bucket)


def settle(
    builder: InstanceBuilder,
    kept_back: Container[str],
    database: DatabaseAddress,
    client: S3Client,
    bucket: str,
) -> Instance:
    """Make what was built true: tables in an empty database, and objects in an empty bucket, but for some keys."""
    objects = [replace(each, present=False) if each.key in kept_back else each for each in builder.objects]
    instance = Instance(bucket, tuple(objects), tuple(builder.strays))
    with database.connect() as connection:
        create_schema(connection)
        copy_rows(connection, builder.rows)
    upload(client, bucket, instance.at_source().values())
    return instance


def copy_rows(connection: psycopg.Connection, rows: dict[str, list[Row]]) -> None:
    """Write rows as fast as PostgreSQL takes them, in the connection's transaction; unnamed columns get their default.

    Rows go by the sets of columns they name: few in a table, and each is one COPY.
    """
    for table in sorted(rows, key=lambda table: table != "accounts"):  # the others refer to accounts
        for columns, group in groupby(sorted(rows[table], key=_columns), key=_columns):
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                for row in group:
                    copy.write_row([row[column] for column in columns])
    for table in rows:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))


def upload(client: S3Client, bucket: str, objects: Iterable[StoredObject], in_parts: TransferConfig = IN_PARTS) -> None:
    """Store objects under their keys, several at a time."""

    def put(stored: StoredObject) -> None:
        if stored.size > in_parts.multipart_threshold:
            body = io.BytesIO(stored.body())
            client.upload_fileobj(body, bucket, stored.key, ExtraArgs=stored.put_arguments(), Config=in_parts)
        else:
            client.put_object(Bucket=bucket, Key=stored.key, Body=stored.body(), **stored.put_arguments())

    # the largest first, or everyone waits for it in the end
    largest_first = sorted(objects, key=lambda stored: -stored.size)
    with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
        for _ in pool.map(put, largest_first):
            pass


def _columns(row: Row) -> tuple[str, ...]:
    return tuple(sorted(row))


def _sample_required(builder: InstanceBuilder, objects: list[InstanceObject], count: int) -> set[str]:
    required = [each.key for each in objects if not each.optional and not each.relocated]
    return set(builder.random.sample(required, count))
