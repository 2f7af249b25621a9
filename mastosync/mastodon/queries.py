"""Queries for rows with attachments, and their rows as columns: a plan has millions of rows and moves whole columns.

A query names only the columns that the database has. A row holds id, remote, private, var; then name, type, size,
schema version and time of each attachment. `ReadAhead` asks for the next batch while the last one is worked on.
"""

from __future__ import annotations

import selectors
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from itertools import compress
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import psycopg
from psycopg import generators, pq, sql
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result

from mastosync.mastodon.privacy import ALSO_READ, STATUSES, as_private, is_private, knows_removed_posts
from mastosync.model import AttachmentSpec, MediaColumns

Columns = Sequence[tuple[Any, ...]]
"""Columns of rows: id, remote, private, var, and five of each attachment."""

Scope = Literal["all", "local", "remote"]
"""Which rows: of every server, of this one, or of all others."""

SETTLE_SECONDS = 1.0
"""How long a server may be silent that is to finish what nobody wants any more."""


class Table(NamedTuple):
    """One of Mastodon's tables, as this database has it."""

    schema: str
    estimated_rows: int
    columns: tuple[str, ...]
    readable: frozenset[str]

    def has(self, *columns: str) -> bool:
        """Whether it has all of these columns."""
        return all(column in self.columns for column in columns)


class Selection(NamedTuple):
    """Rows of one table, with these attachments."""

    found: Mapping[str, Table]
    specs: Sequence[AttachmentSpec]  # all of one table; at least one
    only: Scope
    blanks: str  # characters that are none to Mastodon

    @property
    def name(self) -> str:
        """The table's."""
        return self.specs[0].table

    @property
    def table(self) -> Table:
        """The table itself."""
        return self.found[self.name]

    @property
    def source(self) -> sql.Composable:
        """What rows are selected from; they are called `t`."""
        return sql.SQL("{} t").format(sql.Identifier(self.table.schema, self.name))

    @property
    def scope(self) -> sql.Composable:
        """Whether a row is in scope: TRUE or FALSE, never NULL."""
        remote = _remote(self.name, self.table, self.blanks)
        return {"all": sql.SQL("TRUE"), "local": sql.SQL("NOT ({})").format(remote), "remote": remote}[self.only]

    def column(self, name: str) -> sql.Composable:
        """A column, or NULL where there is none of this name."""
        return sql.SQL("t.{}").format(sql.Identifier(name)) if self.table.has(name) else sql.SQL("NULL")

    def seconds(self, name: str) -> sql.Composable:
        """A time since the epoch. Mastodon's times have no zone and are UTC; an infinite one is no time."""
        if not self.table.has(name):
            return sql.SQL("NULL")
        return sql.SQL("CASE WHEN isfinite({0}) THEN extract(epoch FROM {0})::bigint END").format(self.column(name))

    @property
    def knows_removed(self) -> bool:
        """Whether some rows may belong to posts that were removed and are kept."""
        return self.name == "media_attachments" and self.table.has("status_id") and knows_removed_posts(self.found)

    def fields(self, file_name: sql.SQL) -> sql.Composed:
        """Id, remote, private, var; then name, type, size, schema version and time of each attachment.

        Private as far as its account tells; what its post tells is not asked row by row: see `select_removed_statuses`.
        """
        remote = _remote(self.name, self.table, self.blanks)
        fields = [self.column("id"), remote, is_private(self.found, self.specs[0]), self.column("var")]
        for spec in self.specs:
            fields += [file_name.format(self.column(f"{spec.attachment}_file_name"))]
            fields += [self.column(f"{spec.attachment}_{part}") for part in ("content_type", "file_size")]
            fields += [self.column(f"{spec.attachment}_storage_schema_version")]
            fields += [self.seconds(f"{spec.attachment}_updated_at")]
        return sql.SQL(", ").join(fields)


def select_named(rows: Selection, *, limit: int | None = None, above: int | None = None) -> sql.Composed:
    """Rows in scope that have a file name, by ascending id; `above`: only those with a higher one."""
    named = [sql.SQL("{} <> ''").format(rows.column(f"{spec.attachment}_file_name")) for spec in rows.specs]
    return sql.SQL("SELECT {} FROM {} WHERE ({}) AND {} AND {} ORDER BY t.id LIMIT {}").format(
        rows.fields(sql.SQL("{}")),
        rows.source,
        sql.SQL(" OR ").join(named),
        rows.scope,
        sql.SQL("TRUE") if above is None else sql.SQL("t.id > {}").format(sql.Literal(above)),
        sql.Literal(limit),
    )


def select_changed(rows: Selection, since: datetime, up_to: int) -> sql.Composed | None:
    """Rows with ids up to this one that have changed since then, or whose account has, or whose post was removed.

    By ascending id. Those that have no file name, or are out of scope by now, are there without a name. `since` is
    UTC without a zone, as Mastodon's times are. None: the rows do not tell when they changed.
    """
    found, name = rows.found, rows.name
    telling = [each for each in (name, *ALSO_READ.get(name, ())) if each in found and each != STATUSES]
    if not all(found[each].has("id") and "updated_at" in found[each].readable for each in telling):
        return None
    changed = [sql.SQL("t.updated_at >= {}").format(sql.Literal(since))]
    if name in ALSO_READ and rows.table.has("account_id") and "accounts" in found:
        # a hash of the few accounts that changed, which each row is held against
        changed.append(
            sql.SQL("t.account_id IN (SELECT a.id FROM {} a WHERE a.updated_at >= {})").format(
                sql.Identifier(found["accounts"].schema, "accounts"), sql.Literal(since)
            )
        )
    if rows.knows_removed:
        # the media's own row does not change; Mastodon has an index of the few posts that were removed
        changed.append(
            sql.SQL("t.status_id IN (SELECT s.id FROM {} s WHERE s.deleted_at >= {})").format(
                sql.Identifier(found[STATUSES].schema, STATUSES), sql.Literal(since)
            )
        )
    named = sql.SQL("{}") if rows.only == "all" else sql.SQL("CASE WHEN in_scope THEN {} END")
    return sql.SQL(
        "SELECT {} FROM {}, LATERAL (SELECT {} AS in_scope) s WHERE t.id <= {} AND ({}) ORDER BY t.id"
    ).format(rows.fields(named), rows.source, rows.scope, sql.Literal(up_to), sql.SQL(" OR ").join(changed))


def select_remote_files(
    found: Mapping[str, Table], spec: AttachmentSpec, ids: Sequence[int], blanks: str
) -> sql.Composed:
    """Id, name, address and private of an attachment."""
    table = found[spec.table]
    address: sql.Composable = sql.SQL("NULL")
    if spec.address and table.has(spec.address):
        address = sql.SQL("CASE WHEN {} THEN t.{} END").format(
            _remote(spec.table, table, blanks), sql.Identifier(spec.address)
        )
    name = sql.Identifier(f"{spec.attachment}_file_name")
    return sql.SQL("SELECT t.id, t.{}, {}, {} FROM {} t WHERE t.id = ANY ({}) AND t.{} <> ''").format(
        name, address, is_private(found, spec), sql.Identifier(table.schema, spec.table), sql.Literal(list(ids)), name
    )


def select_oldest_accounts(found: Mapping[str, Table]) -> sql.Composed | None:
    """Ids of the first accounts, and when each was made, in microseconds since the epoch; None: nobody may read that.

    A few, as one may be deleted. By the index of the ids, and at no cost.
    """
    accounts = found.get("accounts")
    if accounts is None or not {"id", "created_at"} <= accounts.readable:
        return None
    return sql.SQL(
        "SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint FROM {}"
        " WHERE isfinite(created_at) ORDER BY id LIMIT 20"
    ).format(sql.Identifier(accounts.schema, "accounts"))


def select_newest_id(found: Mapping[str, Table], name: str) -> sql.Composed | None:
    """The highest id of a table, if it has rows; None: nobody may read that. By the index of the ids."""
    table = found.get(name)
    if table is None or "id" not in table.readable:
        return None
    return sql.SQL("SELECT id FROM {} ORDER BY id DESC LIMIT 1").format(sql.Identifier(table.schema, name))


def select_reference(found: Mapping[str, Table], name: str, other: str) -> sql.Composed | None:
    """A row of a table that refers to one of another, if there is any; None: nobody can tell.

    Posts may be asked for where their table is not there at all.
    """
    column = {"accounts": "account_id", STATUSES: "status_id"}[other]
    if (other not in found and other != STATUSES) or name not in found or column not in found[name].readable:
        return None
    return sql.SQL("SELECT TRUE FROM {} WHERE {} IS NOT NULL LIMIT 1").format(
        sql.Identifier(found[name].schema, name), sql.Identifier(column)
    )


def _remote(name: str, table: Table, blanks: str) -> sql.Composable:
    """Whether a row is of another server: TRUE or FALSE, never NULL."""
    if name == "preview_cards":
        return sql.SQL("TRUE")
    if name in ("accounts", "custom_emojis") and table.has("domain"):
        return sql.SQL("t.domain IS NOT NULL")
    if name == "media_attachments" and table.has("remote_url"):
        # btrim is slow, so the usual case comes first: a quarter off the time of the whole query
        test = sql.SQL("coalesce(t.remote_url LIKE 'http%' OR btrim(t.remote_url, {}) <> '', FALSE)")
        return test.format(sql.Literal(blanks))
    return sql.SQL("FALSE")


def columns_of(rows: Sequence[tuple[Any, ...]], after_id: int | None, in_removed_posts: Sequence[int] = ()) -> Columns:
    """Columns of rows whose ids ascend from `after_id` on, each id once: a view in place of a table may repeat it.

    `in_removed_posts`: ids, ascending, that are private whatever their row says. Empty if no id is new.
    """
    columns = list(zip(*rows, strict=True))
    ids = columns[0]
    if ids[0] == after_id or len(set(ids)) < len(ids):
        unique = {row[0]: row for row in rows if row[0] != after_id}
        columns = list(zip(*unique.values(), strict=True))
    return as_private(columns, in_removed_posts) if columns else columns


def media_of(columns: Columns, attachment: int) -> MediaColumns:
    """One attachment of these columns, counted from 0: of the rows that have a file name for it."""
    ids, remote, private, variables = columns[:4]
    names, types, sizes, versions, updated = columns[4 + 5 * attachment : 9 + 5 * attachment]
    media = (ids, names, types, sizes, versions, remote, private, variables, updated)
    return MediaColumns._make(media if all(names) else (tuple(compress(column, names)) for column in media))


class ReadAhead:
    """The rows of a query, batch by batch, by a cursor on the server. Use as a context manager in a transaction.

    The next batch is asked for before the last one is handed out, so that server, network and
    reader work at the same time. There is no thread: what has been asked for waits in the socket.
    Raises: psycopg.Error.
    """

    def __init__(self, connection: psycopg.Connection, query: sql.Composable, batch_rows: int) -> None:
        self._connection = connection
        self._query = query
        self._batch_rows = batch_rows

    def __enter__(self) -> Self:
        self._connection.execute(sql.SQL("DECLARE mastosync NO SCROLL CURSOR FOR {}").format(self._query))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        settle(self._connection)
        if self._connection.info.transaction_status == pq.TransactionStatus.INTRANS:
            self._connection.execute("CLOSE mastosync")

    def __iter__(self) -> Iterator[list[tuple[Any, ...]]]:
        transformer = Transformer(self._connection)
        self._ask()
        while True:
            (result,) = self._connection.wait(generators.execute(self._connection.pgconn))
            if result.status != pq.ExecStatus.TUPLES_OK:
                raise error_from_result(result, encoding=self._connection.info.encoding)
            is_last = result.ntuples < self._batch_rows
            if not is_last:
                self._ask()
            transformer.set_pgresult(result)
            if result.ntuples:
                yield transformer.load_rows(0, result.ntuples, tuple)
            if is_last:
                return

    def _ask(self) -> None:
        query = f"FETCH FORWARD {self._batch_rows} FROM mastosync".encode()
        self._connection.pgconn.send_query_params(query, None, result_format=pq.Format.BINARY)
        self._connection.pgconn.flush()


def settle(connection: psycopg.Connection) -> None:
    """Take in what was asked for ahead, so that the connection is free. One that says nothing is left as it is."""
    pgconn = connection.pgconn
    if pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
        return
    with closing(selectors.DefaultSelector()) as selector:
        selector.register(pgconn.socket, selectors.EVENT_READ)
        while pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            while pgconn.is_busy():
                if not selector.select(SETTLE_SECONDS):
                    return
                pgconn.consume_input()
            pgconn.get_result()
