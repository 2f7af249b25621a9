"""Mastodon's database: one consistent snapshot, read as a stream of `MediaColumns`. The only door to psycopg.

Everything happens in one read-only transaction, with nothing that pgbouncer in transaction pooling
forbids: no prepared statements, no start-up `options`, no session `SET`, no cursor that outlives
the transaction.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Self

import psycopg
from psycopg import pq, sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import make_conninfo

from mastosync.config import DatabaseConfig, Scrubber
from mastosync.errors import DatabaseError, NoMastodonTables, passing, without_frames
from mastosync.language import enumerated, tr, trn
from mastosync.mastodon.catalog import CATALOG, specs_of
from mastosync.mastodon.connection import address_of, connection_arguments, describe, hint_for, may_pass, through_tunnel
from mastosync.mastodon.paperclip import WHITE_SPACE
from mastosync.mastodon.privacy import (
    ALSO_READ,
    STATUS_COLUMNS,
    STATUSES,
    select_of_removed,
    select_of_statuses,
    select_removed_statuses,
)
from mastosync.mastodon.queries import (
    ReadAhead,
    Scope,
    Selection,
    Table,
    columns_of,
    media_of,
    select_named,
    select_remote_files,
    settle,
)
from mastosync.mastodon.standby import lag_of
from mastosync.model import TABLES, AttachmentSpec, MediaColumns, RemoteFile

_log = logging.getLogger(__name__)

BATCH_ROWS = 5_000
"""Rows fetched, and held in memory, at once."""

_STATUSES_AT_ONCE = 1_000  # whose media are looked up by one query


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What a plan read: which database, as of when."""

    database: str
    server_version: str
    snapshot_id: str  # the transactions it sees, in PostgreSQL's own notation
    taken_at: datetime  # UTC, by the server's clock
    in_recovery: bool  # a standby, not the primary
    lag_seconds: float  # by which it may be behind its primary
    tables: Mapping[str, tuple[str, ...]]  # those of `TABLES` that exist: table -> columns


@dataclass(frozen=True, slots=True)
class RowBatch:
    """All rows of a table with ids in (`after_id`, `last_id`] that are in scope and have a file name.

    With `rows_read`: nothing is said of other rows with ids in between.
    """

    after_id: int | None  # None: from the smallest id on
    last_id: int
    media: list[tuple[AttachmentSpec, MediaColumns]]  # one pair an attachment, each by ascending id
    rows_read: Sequence[int] | None = None  # ids, ascending, of rows with and without a file name


class MastodonDatabase:
    """One read-only snapshot of Mastodon's database, for as long as the `with` block runs.

    `via` is the near end of a tunnel: the connection goes there, while TLS still checks the
    certificate of the configured host. `name` says to people which database this is, without the
    password; `address` is its host and port; `connection` is in the snapshot's transaction. Every
    method raises DatabaseError.
    """

    def __init__(self, config: DatabaseConfig, via: tuple[str, int] | None = None) -> None:
        self._arguments = connection_arguments(config)
        self._scrubbed = Scrubber((self._arguments.get("password", ""),))
        self.name = describe(self._arguments) + (tr(", through the tunnel") if via else "")
        self.address = address_of(self._arguments)
        if via:
            self._arguments |= through_tunnel(self._arguments, via)
        self.found: dict[str, Table] = {}
        self.began_at, self.lag_seconds = 0.0, 0.0  # Unix time by this machine's clock; see `standby.lag_of`
        self._of_removed: array[int] | None = None

    def __enter__(self) -> Self:
        with _translated(tr("cannot connect to {name}", name=self.name), self._scrubbed):
            self.connection = psycopg.connect(make_conninfo(**self._arguments), prepare_threshold=None)
        try:
            self.began_at, self.connection.autocommit = time.time(), True
            self.lag_seconds = lag_of(self)
            self.connection.autocommit = False
            with self.reading(tr("the list of tables")):
                self._begin()
                self.found = _find_tables(self.connection, self.name)
        except BaseException:
            self.connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(psycopg.Error):  # a pooler reuses its server connection only after a tidy end
            settle(self.connection)
            self.connection.rollback()
        self.connection.close()

    def snapshot(self, tables: Sequence[str] = TABLES) -> SnapshotInfo:
        """Describe the snapshot, and make sure that every one of `tables` can be read.

        A table or column that does not exist counts as empty; one that exists and cannot be read
        is an error.
        """
        self.require_readable(*tables)
        with self.reading(tr("the snapshot's description")):
            (row,) = self.connection.execute(
                "SELECT current_database()::text, current_setting('server_version'), txid_current_snapshot()::text,"
                " (extract(epoch FROM now()) * 1000000)::bigint, pg_is_in_recovery()"
            ).fetchall()
        database, version, snapshot_id, microseconds, in_recovery = row
        return SnapshotInfo(
            database=database,
            server_version=version,
            snapshot_id=snapshot_id,
            taken_at=datetime.fromtimestamp(microseconds / 1_000_000, UTC),
            in_recovery=in_recovery,
            lag_seconds=self.lag_seconds,
            tables=MappingProxyType({name: self.found[name].columns for name in TABLES if name in self.found}),
        )

    def estimated_rows(self, table: str) -> int:
        """How many rows the server believes a table has; 0 where it has no idea. Costs nothing."""
        found = self.found.get(table)
        return found.estimated_rows if found else 0

    def iter_rows(self, table: str, *, limit: int | None = None, only: Scope = "all") -> Iterator[RowBatch]:
        """Stream a table by ascending id, `BATCH_ROWS` rows at a time; one table at a time.

        `limit` counts rows with at least one file name. Rows without any are in no batch, nor are
        rows out of scope: what lies between two batches has no key. A limited read says nothing
        of the ids after its last batch.
        """
        rows = self.selection(table, only)
        if rows is not None:
            yield from self.stream(rows, select_named(rows, limit=limit))

    def selection(self, table: str, only: Scope) -> Selection | None:
        """What can be read of a table; None: it has no attachments here. Raises: DatabaseError if it must not be."""
        found = self.found.get(table)
        specs = [spec for spec in specs_of(table) if found and found.has("id", f"{spec.attachment}_file_name")]
        if not specs:
            return None
        self.require_readable(table)
        return Selection(self.found, specs, only, self.blanks)

    def stream(self, rows: Selection, query: sql.Composed, after_id: int | None = None) -> Iterator[RowBatch]:
        """What a query for the fields of a selection gives by ascending id, in batches that leave no gap."""
        in_removed_posts = self.in_removed_posts(rows)
        # a cursor makes the planner walk the index of the ids, where a plain query may sort on the server's disk
        with self.reading(rows.name), ReadAhead(self.connection, query, BATCH_ROWS) as batches:
            for some in batches:
                columns = columns_of(some, after_id, in_removed_posts)
                if columns:
                    last_id = columns[0][-1]
                    media = [(spec, media_of(columns, at)) for at, spec in enumerate(rows.specs)]
                    yield RowBatch(after_id, last_id, media)
                    after_id = last_id

    def in_removed_posts(self, rows: Selection) -> Sequence[int]:
        """Ids of rows, ascending, whose post was removed and is kept: Mastodon makes their objects private.

        Read once in a snapshot, eight bytes each.
        """
        if rows.name != "media_attachments":
            return ()
        if self._of_removed is None:
            self._of_removed = self._media_of_removed(rows)
        return self._of_removed

    def _media_of_removed(self, rows: Selection) -> array[int]:
        """From the few removed posts to their media: to ask it of each row would take a look at every post there is."""
        statuses, media = array("q"), array("q")
        if rows.knows_removed:
            with self.reading(STATUSES):
                with ReadAhead(self.connection, select_removed_statuses(self.found), BATCH_ROWS) as batches:
                    for some in batches:
                        statuses.extend(status_id for (status_id,) in some)
                for at in range(0, len(statuses), _STATUSES_AT_ONCE):
                    query = select_of_statuses(self.found, statuses[at : at + _STATUSES_AT_ONCE])
                    media.extend(media_id for (media_id,) in self.connection.execute(query))
        elif rows.table.has("status_id") and STATUSES not in self.found:
            _log.warning(
                "%s",
                tr(
                    "no table statuses in {name}: media of removed posts cannot be told from others, and are public",
                    name=self.name,
                ),
            )
        return array("q", sorted(media))

    def remote_files(self, spec: AttachmentSpec, ids: Sequence[int]) -> dict[int, RemoteFile]:
        """Where the files of some rows came from; a row that is gone, or has no file any more, is not there."""
        found = self.found.get(spec.table)
        if not found or not found.has("id", f"{spec.attachment}_file_name"):
            return {}
        self.require_readable(spec.table)
        in_removed_posts = self._in_removed_posts_of(Selection(self.found, (spec,), "all", self.blanks), ids)
        query = select_remote_files(self.found, spec, ids, self.blanks)
        with self.reading(spec.table):
            rows = self.connection.execute(query).fetchall()
        return {
            row_id: RemoteFile(name, address, private or row_id in in_removed_posts)
            for row_id, name, address, private in rows
        }

    def _in_removed_posts_of(self, rows: Selection, ids: Sequence[int]) -> AbstractSet[int]:
        """The `in_removed_posts` among a few rows: only their own posts are read."""
        if not rows.knows_removed:
            return frozenset(self.in_removed_posts(rows))
        query = select_of_removed(self.found, ids)
        with self.reading(STATUSES):
            return {row_id for (row_id,) in self.connection.execute(query)}

    def _begin(self) -> None:
        """Start the transaction, and lift the limits of roles and databases on long ones, for this one alone."""
        self.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self.connection.read_only = True
        for since, setting in _SETTINGS:
            if self.connection.info.server_version >= since:
                self.connection.execute(f"SET LOCAL {setting}")
        if self._server_encoding == "SQL_ASCII":  # bytes of any kind, which the server must not judge
            self.connection.execute("SET LOCAL client_encoding = 'SQL_ASCII'")
            for type_name in ("text", "varchar"):
                self.connection.adapters.register_loader(type_name, _LenientText)
                self.connection.adapters.register_loader(type_name, _LenientBinaryText)

    @property
    def _server_encoding(self) -> str:
        return self.connection.info.parameter_status("server_encoding") or "UTF8"

    @property
    def blanks(self) -> str:
        """What Ruby calls blank, as far as every encoding has it."""
        return WHITE_SPACE if self._server_encoding == "UTF8" else "".join(filter(str.isascii, WHITE_SPACE))

    def reading(self, what: str) -> AbstractContextManager[None]:
        """Whatever psycopg raises inside becomes a DatabaseError about `what`."""
        return _translated(tr("reading {what} failed: {name}", what=what, name=self.name), self._scrubbed)

    def require_readable(self, *tables: str) -> None:
        """Refuse tables that exist but must not be read: asked politely, they would look empty.

        Raises: DatabaseError that names all of them, and of those that tell their rows' privacy.
        """
        read = dict.fromkeys(name for table in tables for name in (table, *ALSO_READ.get(table, ())))
        unreadable = [name for name in read if not self.is_readable(name)]
        if unreadable:
            raise DatabaseError(
                trn(
                    "the table {names} exists, but this user may not read it: {where}",
                    "the tables {names} exist, but this user may not read them: {where}",
                    len(unreadable),
                    names=enumerated(unreadable),
                    where=self.name,
                ),
                hint="\n".join(map(self._grant, unreadable)),
            )

    def is_readable(self, table: str) -> bool:
        """Whether this user may read what is read of a table; there may be none."""
        found = self.found.get(table)
        return found is None or _columns_of_interest(table, found) <= found.readable

    def _grant(self, table: str) -> str:
        """What makes a table that exists readable."""
        return tr(
            'as its owner: GRANT SELECT{columns} ON "{schema}"."{name}" TO "{user}";',
            columns=f" ({', '.join(STATUS_COLUMNS)})" if table == STATUSES else "",  # not what people wrote
            schema=self.found[table].schema,
            name=table,
            user=self.connection.info.user,
        )


# --- reading ---


_SETTINGS = (  # server version from which on it exists
    (0, "statement_timeout = 0"),
    (90_500, "row_security = off"),  # rows hidden by a policy are an error, not an absence
    (90_600, "idle_in_transaction_session_timeout = 0"),
    (170_000, "transaction_timeout = 0"),
)

_FIND_TABLES = """
SELECT c.relname::text, n.nspname::text, pg_table_is_visible(c.oid), greatest(c.reltuples, 0)::bigint,
       array_agg(a.attname::text ORDER BY a.attnum),
       array_agg(a.attname::text) FILTER (WHERE has_column_privilege(c.oid, a.attnum, 'SELECT'))
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relname = ANY (%s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
 GROUP BY c.oid, n.nspname
"""  # not information_schema: that hides what must not be read


def _find_tables(connection: psycopg.Connection, name: str) -> dict[str, Table]:
    """Mastodon's tables that exist. Raises: NoMastodonTables if there are none."""
    rows = connection.execute(_FIND_TABLES, ([*TABLES, STATUSES],)).fetchall()
    found = {
        table: Table(schema, estimate, tuple(columns), frozenset(readable or ()))
        for table, schema, visible, estimate, columns, readable in rows
        if visible
    }
    if any(spec.table in found and found[spec.table].has(f"{spec.attachment}_file_name") for spec in CATALOG):
        return found
    user = connection.info.user
    for table, schema, visible, _, columns, _ in rows:
        if not visible and any(f"{spec.attachment}_file_name" in columns for spec in specs_of(table)):
            raise NoMastodonTables(
                tr(
                    'Mastodon\'s tables are in the schema "{schema}", which this user does not see: {name}',
                    schema=schema,
                    name=name,
                ),
                hint=tr(
                    'as its owner: GRANT USAGE ON SCHEMA "{schema}" TO "{user}"; and, if its name is not public: '
                    'ALTER ROLE "{user}" SET search_path = "{schema}";',
                    schema=schema,
                    user=user,
                ),
            )
    raise NoMastodonTables(
        tr("no Mastodon tables here: {name}", name=name),
        hint=tr("is this the right database? Unless DB_NAME says otherwise, Mastodon's is called mastodon_production"),
    )


def _columns_of_interest(name: str, table: Table) -> set[str]:
    """What is read of a table as it is here."""
    if name == STATUSES:
        return set(STATUS_COLUMNS) if table.has(*STATUS_COLUMNS) else set()
    parts = ("file_name", "content_type", "file_size", "storage_schema_version", "updated_at")
    own = {f"{spec.attachment}_{part}" for spec in specs_of(name) for part in parts}
    return own.union(("id", "domain", "remote_url", "account_id", "status_id", "suspended_at", "var")) & {
        *table.columns
    }


class _LenientText(Loader):
    """Text of a database that does not know its encoding: UTF-8 as far as it goes."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "replace")


class _LenientBinaryText(_LenientText):
    format = pq.Format.BINARY


# --- errors ---


@contextmanager
def _translated(doing: str, scrubbed: Scrubber) -> Iterator[None]:
    """The one place where psycopg's errors become ours."""
    try:
        yield
    except psycopg.Error as error:
        said = scrubbed(str(error)).strip().partition("\n")[0].removeprefix("connection failed: ")
        hint = hint_for(error.sqlstate, str(error))
        passes = may_pass(error.sqlstate, str(error))
        raise passing(DatabaseError(f"{doing}: {said}", hint=hint), may_pass=passes) from without_frames(
            error, scrubbed
        )
