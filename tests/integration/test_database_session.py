"""The session with the database: its settings, what goes over the wire, and the way to the server."""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import replace

import pytest

from lab.addresses import DatabaseAddress, PostgresAddress
from mastosync.config import DatabaseConfig, Secret
from mastosync.errors import DatabaseError
from mastosync.mastodon.connection import server_address
from mastosync.mastodon.database import MastodonDatabase
from mastosync.mastodon.identity import identity_of
from mastosync.model import TABLES
from tests.support.mastodon_tables import ACCOUNTS, MANY_ACCOUNTS, config_of, execute, read, rows_of
from tests.support.postgres_wire import Wire, messages_in
from tests.support.waiting import wait_until


def test_limits_of_the_database_do_not_hold_and_nothing_can_be_written(
    database: DatabaseAddress, lab_postgres: PostgresAddress
) -> None:
    """The settings of the session are read through a view that poses as a table."""
    execute(
        database,
        "CREATE VIEW imports AS SELECT row_number() OVER () AS id, name || '=' || setting AS data_file_name"
        " FROM pg_settings WHERE name LIKE '%\\_timeout' OR name IN ('row_security', 'application_name',"
        " 'transaction_isolation', 'transaction_read_only', 'client_encoding')",
    )
    limits = {"statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"}
    with closing(lab_postgres.admin_connection(database.name)) as admin:
        limits &= {name for (name,) in admin.execute("SELECT name FROM pg_settings").fetchall()}
        for limit in limits:
            admin.execute(f"ALTER DATABASE {database.name} SET {limit} = '1min'")
    settings = {row.file_name for row in read(database, "imports", "data")}
    assert {f"{limit}=0" for limit in limits} < settings
    assert settings > {
        "row_security=off",
        "application_name=mastosync",
        "transaction_isolation=repeatable read",
        "transaction_read_only=on",
        "client_encoding=UTF8",
    }


def test_a_read_that_is_given_up_leaves_the_snapshot_usable(
    database: DatabaseAddress, lab_postgres: PostgresAddress
) -> None:
    execute(database, ACCOUNTS, MANY_ACCOUNTS)
    with MastodonDatabase(config_of(database)) as mastodon:
        assert len(list(itertools.islice(mastodon.iter_rows("accounts"), 1))) == 1
        assert len(rows_of(list(mastodon.iter_rows("accounts")), "avatar")) == 20_000
    wait_until_nobody_is_connected(lab_postgres, database)


def test_a_start_that_fails_leaves_no_connection(database: DatabaseAddress, lab_postgres: PostgresAddress) -> None:
    with pytest.raises(DatabaseError, match="no Mastodon tables"), MastodonDatabase(config_of(database)):
        pass
    wait_until_nobody_is_connected(lab_postgres, database)


def wait_until_nobody_is_connected(server: PostgresAddress, address: DatabaseAddress) -> None:
    connected = "SELECT 1 FROM pg_stat_activity WHERE datname = %s"
    with closing(server.admin_connection()) as admin:
        wait_until(lambda: not admin.execute(connected, (address.name,)).fetchall(), "nobody is connected")


# --- what goes over the wire ---


def test_nothing_is_sent_that_a_transaction_pooler_forbids(database: DatabaseAddress) -> None:
    execute(database, ACCOUNTS, MANY_ACCOUNTS)
    config = replace(config_of(database), sslmode="disable")
    with Wire(database.host, database.port) as wire, MastodonDatabase(config, via=wire.address) as mastodon:
        for _ in range(6):  # psycopg prepares what is repeated, unless told not to
            mastodon.snapshot()
            identity_of(mastodon)
            for table in TABLES:
                list(mastodon.iter_rows(table))
    (_, startup), *messages = messages_in(bytes(wire.sent))
    assert b"application_name" in startup
    assert b"options" not in startup
    assert {parts[0] for kind, parts in messages if kind == "P"} == {b""}, "only the unnamed statement is prepared"
    first, *queries = [parts[kind == "P"].decode().strip() for kind, parts in messages if kind in ("Q", "P")]
    assert first == "SELECT pg_is_in_recovery()", "before the snapshot, and in a transaction of its own"
    allowed = ("SET LOCAL ", "SELECT ", "DECLARE ", "FETCH ", "CLOSE ", "SAVEPOINT ", "RELEASE ")
    assert queries[0] == "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    assert [query for query in queries[1:-1] if not query.startswith(allowed)] == []
    assert queries[-1] == "ROLLBACK"
    assert not any("WITH HOLD" in query for query in queries)


def test_a_pooler_with_a_single_connection_is_enough_and_left_clean(
    database: DatabaseAddress, pgbouncer: DatabaseAddress
) -> None:
    execute(database, ACCOUNTS, MANY_ACCOUNTS)
    for _ in range(3):
        assert len(read(pgbouncer, "accounts", "avatar")) == 20_000
    with closing(pgbouncer.connect()) as next_client:
        rows = next_client.execute(
            "SELECT (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors),"
            " current_setting('transaction_isolation'), current_setting('row_security')"
        ).fetchall()
    assert rows == [(0, 0, "read committed", "on")]


# --- the way to the server ---


@pytest.mark.parametrize(
    "query", ["", "?sslmode=disable", "?pool=5&prepared_statements=false&connect_timeout=5&options=-c%20geqo%3Doff"]
)
def test_a_url_is_taken_as_rails_writes_it(database: DatabaseAddress, query: str) -> None:
    execute(database, ACCOUNTS)
    url = f"postgres://{database.user}:{database.password}@{database.host}:{database.port}/{database.name}{query}"
    with MastodonDatabase(DatabaseConfig(url=Secret(url))) as mastodon:
        assert mastodon.snapshot().database == database.name
        assert database.name in mastodon.name
        assert database.password not in mastodon.name


@pytest.mark.parametrize(
    "url",
    [
        "postgres://mastodon:pa@55@db.example/mastodon",
        "postgres://mastodon:pa/55@db.example/mastodon",
        "postgres://mastodon:pa%zz@db.example/mastodon",
        "postgres://mastodon:pa#55@db.example/mastodon",
        "postgres://mastodon:pa?55@db.example/mastodon",
        "postgres://mastodon:pa55@[::1/mastodon",
        "postgres://mastodon:pa55@db.example:54x/mastodon",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    config = DatabaseConfig(url=Secret(url))
    for use in (MastodonDatabase, server_address):
        with pytest.raises(DatabaseError) as caught:
            use(config)
        error = caught.value
        assert "percent-encoded" in error.hint
        assert not any(part in error.message + error.hint for part in ("pa55", "55@", "pa%z", "54x"))
        assert error.__suppress_context__ or error.__context__ is None, "libpq's own error repeats it"


@pytest.mark.parametrize(
    ("config", "address"),
    [
        (DatabaseConfig(), ("localhost", 5432)),
        (DatabaseConfig(host="db.example", port=6432), ("db.example", 6432)),
        (DatabaseConfig(url=Secret("postgresql://u:p@db.example:6432/m")), ("db.example", 6432)),
        (DatabaseConfig(url=Secret("postgresql://u:p%40%2F@db.example/m")), ("db.example", 5432)),
        (DatabaseConfig(url=Secret("postgresql://u:p@[2001:db8::1]:1/m")), ("2001:db8::1", 1)),
        (DatabaseConfig(url=Secret("postgresql:///m?host=/run/postgresql")), ("/run/postgresql", 5432)),
        (DatabaseConfig(url=Secret("postgresql://a.example:1,b.example:2/m")), ("a.example", 1)),
    ],
)
def test_a_tunnel_is_told_where_to_lead(config: DatabaseConfig, address: tuple[str, int]) -> None:
    assert server_address(config) == address


@pytest.mark.parametrize("host", ["db.internal.invalid", "/run/postgresql", "a.invalid,b.invalid"])
def test_through_a_tunnel_the_configured_host_is_only_a_name(database: DatabaseAddress, host: str) -> None:
    """It is what a certificate is checked against; nobody looks up its address."""
    execute(database, ACCOUNTS)
    config = replace(config_of(database), host=host, port=1)
    with MastodonDatabase(config, via=(database.host, database.port)) as mastodon:
        assert mastodon.snapshot().database == database.name
        assert mastodon.name.endswith("through the tunnel")


def test_a_socket_folder_is_a_host_too(database: DatabaseAddress, lab_postgres: PostgresAddress) -> None:
    execute(database, ACCOUNTS)
    config = replace(config_of(database), host=lab_postgres.socket_dir)
    with MastodonDatabase(config) as mastodon:
        assert mastodon.snapshot().database == database.name
