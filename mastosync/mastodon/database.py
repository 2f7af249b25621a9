"""Mastodon's database: one consistent snapshot, read as a stream of `MediaColumns`. The only door to psycopg.

Everything happens in one read-only transaction, with nothing that pgbouncer in transaction pooling
forbids: no prepared statements, no start-up `options`, no session `SET`, no cursor that outlives
the transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Literal, NamedTuple, Self

import psycopg
from psycopg import pq, sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import make_conninfo

from mastosync.config import DatabaseConfig, Scrubber
from mastosync.errors import DatabaseError, NoMastodonTables, without_frames
from mastosync.language import tr
from mastosync.mastodon.address import connection_arguments, describe, detour
from mastosync.mastodon.ahead import ReadAhead, settle
from mastosync.mastodon.catalog import CATALOG, specs_of
from mastosync.mastodon.columns import columns_of, media_of
from mastosync.mastodon.paperclip import WHITE_SPACE
from mastosync.mastodon.remedies import database_hint
from mastosync.model import TABLES, AttachmentSpec, MediaColumns, RemoteFile

BATCH_ROWS = 5_000
"""Rows fetched, and held in memory, at once."""

Scope = Literal["all", "local", "remote"]
"""Which rows: of every server, of this one, or of all others."""


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What a plan read: which database, as of when."""

    database: str
    server_version: str
    snapshot_id: str  # the transactions it sees, in PostgreSQL's own notation
    taken_at: datetime  # UTC, by the server's clock
    in_recovery: bool  # a standby, not the primary
    tables: Mapping[str, tuple[str, ...]]  # those of `TABLES` that exist: table -> columns


@dataclass(frozen=True, slots=True)
class RowBatch:
    """All rows of a table with ids in (`after_id`, `last_id`] that are in scope and have a file name."""

    after_id: int | None  # None: from the smallest id on
    last_id: int
    media: list[tuple[AttachmentSpec, MediaColumns]]  # one pair an attachment, each by ascending id


class MastodonDatabase:
    """One read-only snapshot of Mastodon's database, for as long as the `with` block runs.

    `via` is the near end of a tunnel: the connection goes there, while TLS still checks the
    certificate of the configured host. `name` says to people which database this is, without the
    password; `connection` is in the snapshot's transaction. Every method raises DatabaseError.
    """

    def __init__(self, config: DatabaseConfig, via: tuple[str, int] | None = None) -> None:
        self._arguments = connection_arguments(config)
        self._scrubbed = Scrubber((self._arguments.get("password", ""),))
        self.name = describe(self._arguments) + (tr(", through the tunnel") if via else "")
        if via:
            self._arguments |= detour(self._arguments, via)
        self._found: dict[str, _Table] = {}

    def __enter__(self) -> Self:
        with _translated(tr("cannot connect to {name}", name=self.name), self._scrubbed):
            self.connection = psycopg.connect(make_conninfo(**self._arguments), prepare_threshold=None)
        try:
            with self.reading(tr("the list of tables")):
                self._begin()
                self._found = _find_tables(self.connection, self.name)
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
        for table in tables:
            self._check_readable(table)
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
            tables=MappingProxyType({name: table.columns for name, table in self._found.items()}),
        )

    def estimated_rows(self, table: str) -> int:
        """How many rows the server believes a table has; 0 where it has no idea. Costs nothing."""
        found = self._found.get(table)
        return found.estimated_rows if found else 0

    def iter_rows(self, table: str, *, limit: int | None = None, only: Scope = "all") -> Iterator[RowBatch]:
        """Stream a table by ascending id, `BATCH_ROWS` rows at a time; one table at a time.

        `limit` counts rows with at least one file name. Rows without any are in no batch, nor are
        rows out of scope: what lies between two batches has no key. A limited read says nothing
        of the ids after its last batch.
        """
        found = self._found.get(table)
        specs = [spec for spec in specs_of(table) if found and found.has("id", f"{spec.attachment}_file_name")]
        if not specs:
            return
        self._check_readable(table)
        query = _select(self._found, specs, only, limit, self._blanks)
        after_id = None
        # a cursor makes the planner walk the index of the ids, where a plain query may sort on the server's disk
        with self.reading(table), ReadAhead(self.connection, query, BATCH_ROWS) as batches:
            for rows in batches:
                columns = columns_of(rows, after_id)
                if columns:
                    last_id = columns[0][-1]
                    yield RowBatch(after_id, last_id, [(spec, media_of(columns, at)) for at, spec in enumerate(specs)])
                    after_id = last_id

    def remote_files(self, spec: AttachmentSpec, ids: Sequence[int]) -> dict[int, RemoteFile]:
        """Where the files of some rows came from; a row that is gone, or has no file any more, is not there."""
        found = self._found.get(spec.table)
        if not found or not found.has("id", f"{spec.attachment}_file_name"):
            return {}
        self._check_readable(spec.table)
        query = _select_remote_files(self._found, spec, ids, self._blanks)
        with self.reading(spec.table):
            rows = self.connection.execute(query).fetchall()
        return {row_id: RemoteFile(name, address, private) for row_id, name, address, private in rows}

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
    def _blanks(self) -> str:
        """What Ruby calls blank, as far as every encoding has it."""
        return WHITE_SPACE if self._server_encoding == "UTF8" else "".join(filter(str.isascii, WHITE_SPACE))

    def reading(self, what: str) -> AbstractContextManager[None]:
        """Whatever psycopg raises inside becomes a DatabaseError about `what`."""
        return _translated(tr("reading {what} failed: {name}", what=what, name=self.name), self._scrubbed)

    def _check_readable(self, table: str) -> None:
        """Refuse a table that exists but must not be read: asked politely, it would look empty."""
        for name in (table, *_ALSO_READ.get(table, ())):
            found = self._found.get(name)
            if found and not _columns_of_interest(name).intersection(found.columns) <= found.readable:
                raise DatabaseError(
                    tr(
                        "the table {name} exists, but this user may not read it: {where}",
                        name=name,
                        where=self.name,
                    ),
                    hint=tr(
                        'as its owner: GRANT SELECT ON "{schema}"."{name}" TO "{user}";',
                        schema=found.schema,
                        name=name,
                        user=self.connection.info.user,
                    ),
                )


# --- reading ---


class _Table(NamedTuple):
    schema: str
    estimated_rows: int
    columns: tuple[str, ...]
    readable: frozenset[str]

    def has(self, *columns: str) -> bool:
        return all(column in self.columns for column in columns)


_SETTINGS = (  # server version from which on it exists
    (0, "statement_timeout = 0"),
    (90_500, "row_security = off"),  # rows hidden by a policy are an error, not an absence
    (90_600, "idle_in_transaction_session_timeout = 0"),
    (170_000, "transaction_timeout = 0"),
)

_ALSO_READ = dict.fromkeys(("media_attachments", "imports"), ("accounts",))  # whose suspension makes them private

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


def _find_tables(connection: psycopg.Connection, name: str) -> dict[str, _Table]:
    """Those of Mastodon's tables that exist. Raises: NoMastodonTables if there are none."""
    rows = connection.execute(_FIND_TABLES, (list(TABLES),)).fetchall()
    found = {
        table: _Table(schema, estimate, tuple(columns), frozenset(readable or ()))
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


def _columns_of_interest(table: str) -> set[str]:
    parts = ("file_name", "content_type", "file_size", "storage_schema_version", "updated_at")
    own = {f"{spec.attachment}_{part}" for spec in specs_of(table) for part in parts}
    return own | {"id", "domain", "remote_url", "account_id", "suspended_at", "var"}


def _select(
    found: Mapping[str, _Table], specs: Sequence[AttachmentSpec], only: Scope, limit: int | None, blanks: str
) -> sql.Composed:
    """Id, remote, private, var; then name, type, size, schema version and time of each attachment."""
    name = specs[0].table
    table = found[name]

    def column(name: str) -> sql.Composable:
        return sql.SQL("t.{}").format(sql.Identifier(name)) if table.has(name) else sql.SQL("NULL")

    def seconds(name: str) -> sql.Composable:
        """Since the epoch. Mastodon's times have no zone and are UTC; an infinite one is no time."""
        if not table.has(name):
            return sql.SQL("NULL")
        return sql.SQL("CASE WHEN isfinite({0}) THEN extract(epoch FROM {0})::bigint END").format(column(name))

    remote = _remote(name, table, blanks)
    fields = [column("id"), remote, _private(found, specs[0]), column("var")]
    for spec in specs:
        fields += [column(f"{spec.attachment}_{part}") for part in ("file_name", "content_type", "file_size")]
        fields += [column(f"{spec.attachment}_storage_schema_version"), seconds(f"{spec.attachment}_updated_at")]
    named = [sql.SQL("{} <> ''").format(column(f"{spec.attachment}_file_name")) for spec in specs]
    scope = {"all": sql.SQL("TRUE"), "local": sql.SQL("NOT ({})").format(remote), "remote": remote}[only]
    return sql.SQL("SELECT {} FROM {} t WHERE ({}) AND {} ORDER BY t.id LIMIT {}").format(
        sql.SQL(", ").join(fields),
        sql.Identifier(table.schema, name),
        sql.SQL(" OR ").join(named),
        scope,
        sql.Literal(limit),
    )


def _select_remote_files(
    found: Mapping[str, _Table], spec: AttachmentSpec, ids: Sequence[int], blanks: str
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
        name, address, _private(found, spec), sql.Identifier(table.schema, spec.table), sql.Literal(list(ids)), name
    )


def _remote(name: str, table: _Table, blanks: str) -> sql.Composable:
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


def _private(found: Mapping[str, _Table], spec: AttachmentSpec) -> sql.Composable:
    """Whether Mastodon keeps a row's objects private: TRUE or FALSE, never NULL."""
    if spec.private:
        return sql.SQL("TRUE")
    if spec.table == "accounts" and found["accounts"].has("suspended_at"):
        return sql.SQL("t.suspended_at IS NOT NULL")
    accounts = found.get("accounts")
    joined = spec.table in _ALSO_READ and found[spec.table].has("account_id")
    if joined and accounts and accounts.has("id", "suspended_at"):
        # a join would lose the order of the ids; of this the planner makes a hash, or a look-up in the index
        return sql.SQL("EXISTS (SELECT 1 FROM {} a WHERE a.id = t.account_id AND a.suspended_at IS NOT NULL)").format(
            sql.Identifier(accounts.schema, "accounts")
        )
    return sql.SQL("FALSE")


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
        hint = database_hint(error.sqlstate, str(error))
        raise DatabaseError(f"{doing}: {said}", hint=hint) from without_frames(error, scrubbed)
