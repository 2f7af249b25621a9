"""By what Mastodon's database is known: more than its name, and nothing that tells of anybody.

The moments at which the oldest accounts were made, to the microsecond, are of one instance alone. They stay the same
in a dump that is restored elsewhere, and on a standby. The first one is of the instance itself, the account -99.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from hashlib import sha256

from mastosync.errors import DatabaseError
from mastosync.language import tr
from mastosync.mastodon.database import MastodonDatabase
from mastosync.mastodon.queries import ALSO_READ, select_newest_id, select_oldest_accounts, select_reference
from mastosync.model import DatabaseAge, DatabaseIdentity

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
    """The same on every standby of a server; another one where a dump was restored. Some providers tell nobody."""
    with suppress(DatabaseError), database.reading("settings"), database.connection.transaction():
        ((may_ask,),) = database.connection.execute(_MAY_ASK).fetchall()
        if may_ask:
            ((system, oid),) = database.connection.execute(_CLUSTER).fetchall()
            return _hash(system, oid)
    return None


def _hash(*values: int) -> str:
    return sha256(" ".join(map(str, values)).encode()).hexdigest()[:_DIGITS]
