"""What can go wrong with the database: every error says what to do next, and none shows a password."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from lab.addresses import DatabaseAddress, PostgresAddress
from mastosync.config import DatabaseConfig, Secret
from mastosync.errors import DatabaseError, ExitCode
from mastosync.mastodon.database import MastodonDatabase
from tests.support.mastodon_tables import (
    ACCOUNTS,
    MANY_ACCOUNTS,
    MEDIA,
    batches_of,
    config_of,
    create_tables,
    execute,
    insert,
)


def open_and_read(config: DatabaseConfig, table: str) -> None:
    with MastodonDatabase(config) as mastodon:
        mastodon.snapshot()
        list(mastodon.iter_rows(table))


def failure(config: DatabaseConfig, table: str = "accounts") -> DatabaseError:
    """The error of opening and reading, which is fit to be shown."""
    with pytest.raises(DatabaseError) as caught:
        open_and_read(config, table)
    error: BaseException | None = caught.value
    assert caught.value.hint
    assert caught.value.exit_code == ExitCode.DATABASE
    while error is not None:
        if config.password:
            assert config.password.reveal() not in f"{error!r} {error}"
        error = error.__cause__
    return caught.value


# --- no connection ---


def test_nobody_listening(database: DatabaseAddress) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as reserved:
        port = reserved.getsockname()[1]
    error = failure(replace(config_of(database), port=port))
    assert f"127.0.0.1:{port}" in error.message
    assert "refused" in error.message
    assert "is PostgreSQL running" in error.hint
    assert error.may_pass


def test_a_socket_folder_without_a_server(database: DatabaseAddress) -> None:
    assert "is PostgreSQL running" in failure(replace(config_of(database), host="/nonexistent")).hint


def test_an_unknown_host(database: DatabaseAddress) -> None:
    error = failure(replace(config_of(database), host="db.invalid"))
    assert "db.invalid" in error.message
    assert "typing error" in error.hint


def test_a_host_that_never_answers(database: DatabaseAddress) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        config = replace(config_of(database), port=silent.getsockname()[1], connect_timeout_seconds=2)
        assert "firewall" in failure(config).hint


def test_a_wrong_password(database: DatabaseAddress) -> None:
    error = failure(replace(config_of(database), password=Secret("s3cret-and-wrong")))
    assert "password authentication failed" in error.message
    assert "DB_PASS" in error.hint
    assert not error.may_pass


def test_no_password(database: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", "/dev/null")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    assert "DB_PASS" in failure(replace(config_of(database), password=None)).hint


def test_a_user_who_is_not_let_in_from_here(database: DatabaseAddress) -> None:
    assert "pg_hba.conf" in failure(replace(config_of(database), user="postgres")).hint


def test_a_database_that_does_not_exist(database: DatabaseAddress) -> None:
    error = failure(replace(config_of(database), database="mastodon_prod"))
    assert '"mastodon_prod" does not exist' in error.message
    assert not error.may_pass
    assert "mastodon_production" in error.hint


def test_encryption_that_the_server_does_not_have(database: DatabaseAddress) -> None:
    assert "sslmode = prefer" in failure(replace(config_of(database), sslmode="require")).hint


# --- nothing to read, or not allowed to ---


def test_a_database_of_something_else(database: DatabaseAddress) -> None:
    execute(database, "CREATE TABLE accounts (id bigint, balance numeric)")
    error = failure(config_of(database))
    assert "no Mastodon tables" in error.message
    assert f'"{database.name}" at 127.0.0.1:{database.port}' in error.message
    assert "mastodon_production" in error.hint


@pytest.fixture
def reader(database: DatabaseAddress, lab_postgres: PostgresAddress) -> Iterator[DatabaseAddress]:
    """Another user of the database, who owns nothing."""
    address = replace(database, user=f"reader_of_{database.name}", password="another-password")
    with closing(lab_postgres.admin_connection(database.name)) as admin:
        admin.execute(f"CREATE ROLE {address.user} LOGIN PASSWORD '{address.password}'")
        yield address
        admin.execute(f"DROP OWNED BY {address.user}")
        admin.execute(f"DROP ROLE {address.user}")


@pytest.mark.parametrize("table", ["media_attachments", "accounts"])
def test_a_table_that_must_not_be_read_is_an_error_and_its_hint_helps(
    database: DatabaseAddress, reader: DatabaseAddress, table: str
) -> None:
    """Media need accounts as well, which say what is private."""
    execute(database, ACCOUNTS, MEDIA)
    for other in {"media_attachments", "accounts"} - {table}:
        execute(database, f"GRANT SELECT ON {other} TO {reader.user}")
    error = failure(config_of(reader), "media_attachments")
    assert f"the table {table} exists" in error.message
    execute(database, *re.findall(r"GRANT [^;]*;", error.hint))
    assert batches_of(reader, "media_attachments") == []


def test_a_column_that_must_not_be_read_counts_only_if_it_is_needed(
    database: DatabaseAddress, reader: DatabaseAddress
) -> None:
    create_tables(database, [("imports", {"id": 1, "data_file_name": None, "data_file_size": 5, "note": "secret"})])
    execute(database, f"GRANT SELECT (id, data_file_name) ON imports TO {reader.user}")
    assert "the table imports exists" in failure(config_of(reader), "imports").message
    execute(database, f"GRANT SELECT (data_file_size) ON imports TO {reader.user}")
    assert batches_of(reader, "imports") == []


def test_only_tables_that_are_asked_for_must_be_readable(database: DatabaseAddress, reader: DatabaseAddress) -> None:
    execute(database, ACCOUNTS, "CREATE TABLE backups (id bigint, dump_file_name varchar)")
    execute(database, f"GRANT SELECT ON accounts TO {reader.user}")
    with MastodonDatabase(config_of(reader)) as mastodon:
        assert set(mastodon.snapshot(["accounts"]).tables) == {"accounts", "backups"}
        with pytest.raises(DatabaseError, match="backups"):
            mastodon.snapshot()
        with pytest.raises(DatabaseError, match="backups"):
            list(mastodon.iter_rows("backups"))


def test_a_schema_that_is_not_seen_is_named_and_the_hint_helps(
    database: DatabaseAddress, reader: DatabaseAddress, lab_postgres: PostgresAddress
) -> None:
    execute(database, "CREATE SCHEMA social", "CREATE TABLE social.accounts (id bigint, avatar_file_name varchar)")
    error = failure(config_of(reader))
    assert '"social"' in error.message
    execute(database, *re.findall(r"GRANT [^;]*;", error.hint), f"GRANT SELECT ON social.accounts TO {reader.user}")
    with closing(lab_postgres.admin_connection()) as admin:
        for statement in re.findall(r"ALTER [^;]*;", error.hint):
            admin.execute(statement)
    assert batches_of(reader, "accounts") == []


def test_rows_hidden_by_a_policy_are_an_error(database: DatabaseAddress, reader: DatabaseAddress) -> None:
    execute(
        database,
        ACCOUNTS,
        f"GRANT SELECT ON accounts TO {reader.user}",
        "ALTER TABLE accounts ENABLE ROW LEVEL SECURITY",
    )
    insert(database, "accounts", {"id": 1, "avatar_file_name": "a"})
    error = failure(config_of(reader))
    assert "reading accounts failed" in error.message
    assert "policy" in error.hint


# --- in the middle ---


def test_a_connection_that_breaks_off_says_that_nothing_was_written(
    database: DatabaseAddress, lab_postgres: PostgresAddress
) -> None:
    execute(database, ACCOUNTS, MANY_ACCOUNTS)
    with MastodonDatabase(config_of(database)) as mastodon:
        batches = mastodon.iter_rows("accounts")
        next(batches)
        with closing(lab_postgres.admin_connection()) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", (database.name,)
            )
        with pytest.raises(DatabaseError, match="reading accounts failed") as caught:
            list(batches)
    assert "Nothing was written: run plan again" in caught.value.hint


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("40001", "hot_standby_feedback"),
        ("57014", "time limit"),
        ("55P03", "migration"),
        ("53100", "its log"),
        ("XX001", "its log"),
        ("42501", "SELECT"),
    ],
)
def test_an_error_in_the_middle_comes_with_its_remedy(database: DatabaseAddress, state: str, remedy: str) -> None:
    """A view that poses as a table fails as the server would: 40001 is a standby that cancels a long read."""
    execute(
        database,
        "CREATE FUNCTION fail_late(i bigint) RETURNS varchar LANGUAGE plpgsql AS $$ BEGIN"
        f" IF i > 7000 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END IF; RETURN 'a'; END $$",
        "CREATE VIEW imports AS SELECT i AS id, fail_late(i) AS data_file_name FROM generate_series(1, 9000) i",
    )
    error = failure(config_of(database), "imports")
    assert "reading imports failed" in error.message
    assert remedy in error.hint
