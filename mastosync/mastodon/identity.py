"""Which database this is, how old its data are, and what `doctor` asks of it: see docs/design/planning.md.

A database is recognized by the moments at which its oldest accounts were made, to the microsecond, which no two
instances share. They are nothing personal, and stay the same in a dump that is restored elsewhere, and on a standby.
The first account is that of the instance itself, with the id -99.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from mastosync.errors import DatabaseError, PlanRefused
from mastosync.language import tr
from mastosync.mastodon.catalog import specs_of
from mastosync.mastodon.database import MastodonDatabase
from mastosync.mastodon.paperclip import entries_of
from mastosync.mastodon.privacy import ALSO_READ
from mastosync.mastodon.queries import Scope, select_newest_id, select_oldest_accounts, select_reference
from mastosync.mastodon.standby import require_up_to_date
from mastosync.model import DatabaseAge, DatabaseIdentity, Entry

_MAY_ASK = "SELECT coalesce(has_function_privilege(to_regprocedure('pg_control_system()')::oid, 'EXECUTE'), FALSE)"
_CLUSTER = """
SELECT (SELECT system_identifier FROM pg_control_system()), oid::bigint FROM pg_database
WHERE datname = current_database()
"""
_NAME = "SELECT current_database()::text"
_SNAPSHOT = """
SELECT oid::bigint, coalesce(to_regclass(%s)::oid::bigint, 0), txid_current_snapshot()::text FROM pg_database
WHERE datname = current_database()
"""
_DIGITS = 32  # of a hash


def identity_of(database: MastodonDatabase) -> DatabaseIdentity:
    """Of an open database, as far as its user may know it. Raises: DatabaseError."""
    with database.reading(tr("the snapshot's description")):
        ((name,),) = database.connection.execute(_NAME).fetchall()
    return DatabaseIdentity(name, database.address, _cluster(database), _oldest_accounts(database))


def age_of(database: MastodonDatabase, tables: Sequence[str]) -> DatabaseAge:
    """How far these tables of an open database have come, and those that make their rows private.

    By the indexes of the ids. Raises: DatabaseError.
    """
    accounts = database.found.get("accounts")
    name = f'"{accounts.schema}".accounts' if accounts else "accounts"
    with database.reading(tr("the snapshot's description")):
        ((oid, table, snapshot_id),) = database.connection.execute(_SNAPSHOT, (name,)).fetchall()
    newest, silent = dict[str, int](), set[str]()
    read = dict.fromkeys(name for each in tables for name in (each, *ALSO_READ.get(each, ())))
    for each in read:
        if query := select_newest_id(database.found, each):
            with database.reading(each):
                newest.update((each, row_id) for (row_id,) in database.connection.execute(query))
        elif each in database.found:
            silent.add(each)  # nobody may ask
    empty = read.keys() - newest.keys() - silent
    return DatabaseAge(_hash(oid, table), snapshot_id, newest, empty, tuple(_wanting(database, newest, empty)))


def _wanting(database: MastodonDatabase, filled: Iterable[str], empty: AbstractSet[str]) -> Iterator[tuple[str, str]]:
    """Tables with rows that refer to an empty one, or one that is not there: Mastodon's foreign keys forbid that."""
    for name in filled:
        for other in empty & set(ALSO_READ.get(name, ())):
            if query := select_reference(database.found, name, other):
                with database.reading(name):
                    if database.connection.execute(query).fetchone():
                        yield name, other


def _oldest_accounts(database: MastodonDatabase) -> tuple[str, ...]:
    query = select_oldest_accounts(database.found)
    if query is None:
        return ()
    with database.reading("accounts"):
        return tuple(_hash(row_id, made) for row_id, made in database.connection.execute(query))


def _cluster(database: MastodonDatabase) -> str | None:
    """A hash that a server and its standbys share, and a restored dump does not; None if it may not be asked for."""
    with suppress(DatabaseError), database.reading("settings"), database.connection.transaction():
        ((may_ask,),) = database.connection.execute(_MAY_ASK).fetchall()
        if may_ask:
            ((system, oid),) = database.connection.execute(_CLUSTER).fetchall()
            return _hash(system, oid)
    return None


def _hash(*values: int) -> str:
    return sha256(" ".join(map(str, values)).encode()).hexdigest()[:_DIGITS]


_PATIENCE = "SET LOCAL statement_timeout = '3s'"
_SERVER = """
SELECT current_database()::text, current_setting('server_version'), pg_is_in_recovery(),
       current_setting('max_standby_streaming_delay'), current_setting('hot_standby_feedback')::bool,
       pg_backend_pid()
"""
_NULL_FRACTIONS = """
SELECT s.tablename::text, s.attname::text, s.null_frac::float8
  FROM pg_stats s
  JOIN pg_namespace n ON n.nspname = s.schemaname
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
 WHERE c.relname = ANY (%s) AND pg_table_is_visible(c.oid) AND s.attname LIKE '%%\\_file\\_name'
"""
_SAMPLED = ("site_uploads", "custom_emojis", "accounts", "media_attachments")  # small ones first
_SAMPLED_ROWS = 1  # of each
_USUAL_TYPE = "image/jpeg"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server, and what stands before it."""

    database: str
    version: str
    in_recovery: bool  # a standby, not the primary
    standby_delay: str  # max_standby_streaming_delay, as the server writes it
    standby_feedback: bool  # hot_standby_feedback
    refusal: PlanRefused | None  # it is a standby that may be far behind
    pooled: bool  # a pooler answers in the server's place


class DatabaseProbe:
    """Questions to an open database. Every method raises DatabaseError, also for what takes seconds."""

    def __init__(self, database: MastodonDatabase) -> None:
        self._database = database
        self.name = database.name
        connection = database.connection
        self.unencrypted_to = "" if connection.pgconn.ssl_in_use else connection.info.hostaddr or connection.info.host
        with database.reading("settings"):
            database.connection.execute(_PATIENCE)

    def server(self) -> ServerFacts:
        """Version and role, and whether a pooler stands in between.

        A server announces the number of its process at the start of a connection; a pooler, which
        shares few server connections among many, announces one of its own.
        """
        connection = self._database.connection
        with self._database.reading("settings"):
            ((database, version, in_recovery, delay, feedback, process),) = connection.execute(_SERVER).fetchall()
        refusal = None
        try:
            require_up_to_date(self._database)
        except PlanRefused as behind:
            refusal = behind
        pooled = process != connection.info.backend_pid
        return ServerFacts(database, version, in_recovery, delay, feedback, refusal, pooled)

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Mastodon's tables that exist, with their columns; also `statuses`, which has no attachments."""
        return {name: table.columns for name, table in self._database.found.items()}

    def refusals(self, tables: Sequence[str]) -> list[DatabaseError]:
        """Why tables that exist, or those that decide on their privacy, cannot be read; empty if all can.

        Rows may be hidden by a policy.
        """
        database, refusals = self._database, []
        try:
            database.snapshot(tables)
        except DatabaseError as error:
            refusals.append(error)
        for name in dict.fromkeys(each for table in tables for each in (table, *ALSO_READ.get(table, ()))):
            if name not in database.found or not database.found[name].has("id") or not database.is_readable(name):
                continue
            try:
                with database.reading(name), database.connection.transaction(), database.connection.cursor() as cursor:
                    cursor.execute(f'SELECT id FROM "{name}" LIMIT 1')  # noqa: S608 - a name of our own list
            except DatabaseError as error:
                refusals.append(error)
        return refusals

    def identity(self) -> DatabaseIdentity:
        """By what a manifest knows it again."""
        return identity_of(self._database)

    def estimated_entries(self, tables: Sequence[str]) -> int:
        """About how many objects a plan of these tables holds, by the planner's statistics; 0 without any."""
        with self._database.reading("statistics"):
            rows = self._database.connection.execute(_NULL_FRACTIONS, (list(tables),)).fetchall()
        absent = {(table, column): fraction for table, column, fraction in rows}
        total = 0.0
        for table in tables:
            for spec in specs_of(table):
                named = 1 - absent.get((table, f"{spec.attachment}_file_name"), 0.0)
                styles = sum(style.applies(_USUAL_TYPE, None) for style in spec.styles)
                total += self._database.estimated_rows(table) * named * styles
        return round(total)

    def sample(self) -> list[Entry]:
        """One entry of a row of some tables: the oldest of this server's own, or of any server's if it has none.

        Ends with what there is as soon as a table takes seconds. To be asked last: that ends the transaction.
        """
        found: list[Entry] = []
        scopes: tuple[Scope, ...] = ("local", "all")
        with suppress(DatabaseError):
            for scope in scopes:
                for table in _SAMPLED:
                    for batch in self._database.iter_rows(table, limit=_SAMPLED_ROWS, only=scope):
                        rows = [(spec, row) for spec, media in batch.media for row in media.iter_rows()]
                        found += [entry for spec, row in rows for entry in entries_of(spec, row)[:1]]
                if found:
                    break
        return found
