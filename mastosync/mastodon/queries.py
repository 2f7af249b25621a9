"""Queries for rows with attachments, put together of the columns that a database has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from psycopg import sql

from mastosync.model import AttachmentSpec

Scope = Literal["all", "local", "remote"]
"""Which rows: of every server, of this one, or of all others."""

ALSO_READ = dict.fromkeys(("media_attachments", "imports"), ("accounts",))  # whose suspension makes them private


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

    def fields(self, file_name: sql.SQL) -> sql.Composed:
        """Id, remote, private, var; then name, type, size, schema version and time of each attachment."""
        remote = _remote(self.name, self.table, self.blanks)
        fields = [self.column("id"), remote, _private(self.found, self.specs[0]), self.column("var")]
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
    """Rows with ids up to this one that have changed since then, or whose account has, by ascending id.

    Those that have no file name, or are out of scope by now, are there without a name. `since` is UTC without a
    zone, as Mastodon's times are. None: the rows do not tell when they changed.
    """
    found, name = rows.found, rows.name
    read = [found[each] for each in (name, *ALSO_READ.get(name, ())) if each in found]
    if not all(table.has("id") and "updated_at" in table.readable for table in read):
        return None
    changed = [sql.SQL("t.updated_at >= {}").format(sql.Literal(since))]
    if name in ALSO_READ and rows.table.has("account_id") and "accounts" in found:
        # a hash of the few accounts that changed, which each row is held against
        changed.append(
            sql.SQL("t.account_id IN (SELECT a.id FROM {} a WHERE a.updated_at >= {})").format(
                sql.Identifier(found["accounts"].schema, "accounts"), sql.Literal(since)
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
        name, address, _private(found, spec), sql.Identifier(table.schema, spec.table), sql.Literal(list(ids)), name
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


def _private(found: Mapping[str, Table], spec: AttachmentSpec) -> sql.Composable:
    """Whether Mastodon keeps a row's objects private: TRUE or FALSE, never NULL."""
    if spec.private:
        return sql.SQL("TRUE")
    if spec.table == "accounts" and found["accounts"].has("suspended_at"):
        return sql.SQL("t.suspended_at IS NOT NULL")
    accounts = found.get("accounts")
    joined = spec.table in ALSO_READ and found[spec.table].has("account_id")
    if joined and accounts and accounts.has("id", "suspended_at"):
        # a join would lose the order of the ids; of this the planner makes a hash, or a look-up in the index
        return sql.SQL("EXISTS (SELECT 1 FROM {} a WHERE a.id = t.account_id AND a.suspended_at IS NOT NULL)").format(
            sql.Identifier(accounts.schema, "accounts")
        )
    return sql.SQL("FALSE")
