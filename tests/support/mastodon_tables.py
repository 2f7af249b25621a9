"""Tables of Mastodon's shape in a real PostgreSQL, filled and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

from psycopg import sql
from psycopg.types.json import Json

from lab.addresses import DatabaseAddress
from mastosync.config import DatabaseConfig, Secret
from mastosync.mastodon.database import MastodonDatabase, RowBatch
from mastosync.mastodon.queries import Scope
from mastosync.model import MediaRow

ACCOUNTS = """
CREATE TABLE accounts (id bigint PRIMARY KEY, domain varchar, suspended_at timestamp,
  avatar_file_name varchar, avatar_content_type varchar, avatar_file_size integer,
  avatar_storage_schema_version integer, header_file_name varchar, header_content_type varchar)
"""
MEDIA = """
CREATE TABLE media_attachments (id bigint PRIMARY KEY, account_id bigint, remote_url varchar,
  file_file_name varchar, file_content_type varchar, file_file_size bigint, file_storage_schema_version integer,
  thumbnail_file_name varchar, thumbnail_content_type varchar, thumbnail_file_size integer)
"""
STATUSES = """
CREATE TABLE statuses (id bigint PRIMARY KEY, account_id bigint, text text, deleted_at timestamp);
CREATE INDEX index_statuses_on_deleted_at ON statuses (deleted_at) WHERE deleted_at IS NOT NULL;
ALTER TABLE media_attachments ADD status_id bigint;
CREATE INDEX index_media_attachments_on_status_id ON media_attachments (status_id)
"""
"""After `MEDIA`: posts, and which media are theirs."""
MANY_ACCOUNTS = "INSERT INTO accounts (id, avatar_file_name) SELECT i, 'a' FROM generate_series(1, 20000) i"


def config_of(address: DatabaseAddress) -> DatabaseConfig:
    return DatabaseConfig(
        host=address.host,
        port=address.port,
        user=address.user,
        password=Secret(address.password),
        database=address.name,
    )


def execute(address: DatabaseAddress, *statements: str) -> None:
    """Run statements as the database's owner."""
    with closing(address.connect(autocommit=True)) as connection:
        for statement in statements:
            connection.execute(statement)


def insert(address: DatabaseAddress, table: str, *rows: Mapping[str, object]) -> None:
    """Insert rows of any columns."""
    with closing(address.connect()) as connection:
        for row in rows:
            connection.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join([sql.Placeholder()] * len(row)),
                ),
                [Json(value) if isinstance(value, dict) else value for value in row.values()],
            )
        connection.commit()


def create_tables(address: DatabaseAddress, rows: Sequence[tuple[str, Mapping[str, object]]]) -> None:
    """Make one table for each name in `rows`, with the columns that its rows have, and insert them all."""
    kinds = {int: "bigint", bool: "boolean", dict: "jsonb", str: "varchar", type(None): "varchar"}
    columns: dict[str, dict[str, str]] = {}
    for table, row in rows:
        for name, value in row.items():
            if value is not None or name not in columns.setdefault(table, {}):
                columns.setdefault(table, {})[name] = kinds[type(value)]
    for table, types in columns.items():
        fields = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
        execute(address, f'CREATE TABLE "{table}" ({fields})')
    for table in columns:
        insert(address, table, *(row for name, row in rows if name == table))


def batches_of(
    address: DatabaseAddress, table: str, *, only: Scope = "all", limit: int | None = None
) -> list[RowBatch]:
    with MastodonDatabase(config_of(address)) as mastodon:
        return list(mastodon.iter_rows(table, only=only, limit=limit))


def rows_of(batches: Sequence[RowBatch], attachment: str) -> list[MediaRow]:
    media = [media for batch in batches for spec, media in batch.media if spec.attachment == attachment]
    return [row for each in media for row in each.iter_rows()]


def read(
    address: DatabaseAddress, table: str, attachment: str, *, only: Scope = "all", limit: int | None = None
) -> list[MediaRow]:
    """Every row of one attachment."""
    return rows_of(batches_of(address, table, only=only, limit=limit), attachment)
