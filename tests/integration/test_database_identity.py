"""By what a real PostgreSQL is known again: by whoever may read no more than a plan needs, and after a move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from lab.addresses import DatabaseAddress, PostgresAddress
from mastosync.mastodon.database import MastodonDatabase
from mastosync.mastodon.identity import age_of, identity_of
from mastosync.model import DatabaseAge, DatabaseIdentity
from tests.support.mastodon_tables import ACCOUNTS, MEDIA, STATUSES, config_of, execute

CREATED = (
    "ALTER TABLE accounts ADD created_at timestamp NOT NULL DEFAULT '2017-04-01 12:00:00.000001'",
    "INSERT INTO accounts (id) SELECT i FROM generate_series(1, 30) i",
    "INSERT INTO accounts (id, created_at) VALUES (-99, '2019-07-15 16:45:35.123456'), (-98, 'infinity')",
)


def identity(address: DatabaseAddress) -> DatabaseIdentity:
    with MastodonDatabase(config_of(address)) as mastodon:
        found = identity_of(mastodon)
        mastodon.snapshot(())  # whatever was refused, the transaction goes on
        return found


def age(address: DatabaseAddress, *tables: str) -> DatabaseAge:
    with MastodonDatabase(config_of(address)) as mastodon:
        found = age_of(mastodon, tables)
        mastodon.snapshot(())
        return found


@pytest.fixture
def mastodon(database: DatabaseAddress) -> DatabaseAddress:
    execute(database, ACCOUNTS, *CREATED)
    return database


@pytest.fixture
def copied(mastodon: DatabaseAddress, lab_postgres: PostgresAddress) -> Iterator[DatabaseAddress]:
    """The same data in another database, as after a restore."""
    name = f"{mastodon.name}_copied"
    try:
        yield lab_postgres.create_database(name, mastodon.name)
    finally:
        lab_postgres.drop_database(name)


@pytest.fixture
def reader(mastodon: DatabaseAddress, lab_postgres: PostgresAddress) -> Iterator[DatabaseAddress]:
    """A role with no right but those that docs/install.md names."""
    address = replace(mastodon, user=f"reader_of_{mastodon.name}", password="another-password")
    with closing(lab_postgres.admin_connection(mastodon.name)) as admin:
        admin.execute(f"CREATE ROLE {address.user} LOGIN PASSWORD '{address.password}'")
        admin.execute(f"GRANT SELECT ON accounts TO {address.user}")
        yield address
        admin.execute(f"DROP OWNED BY {address.user}")
        admin.execute(f"DROP ROLE {address.user}")


def test_a_restored_dump_is_the_same_instance_on_another_server(
    mastodon: DatabaseAddress, copied: DatabaseAddress
) -> None:
    here, there = identity(mastodon), identity(copied)
    assert len(here.accounts) == 20
    assert "2019" not in str(here.accounts)
    assert not there.is_other(here)
    assert there.has_moved(here)
    assert (here.name, here.address) == (mastodon.name, f"{mastodon.host}:{mastodon.port}")
    execute(copied, "UPDATE accounts SET created_at = created_at + interval '1 microsecond'")
    assert identity(copied).is_other(here)


def test_a_reader_knows_what_the_owner_knows_as_far_as_it_is_let(
    mastodon: DatabaseAddress, reader: DatabaseAddress, lab_postgres: PostgresAddress
) -> None:
    owner = identity(mastodon)
    assert identity(reader) == owner
    with closing(lab_postgres.admin_connection(mastodon.name)) as admin:  # as some providers have it
        admin.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        admin.execute(f"REVOKE ALL ON accounts FROM {reader.user}")
        admin.execute(f"GRANT SELECT (id, domain, avatar_file_name) ON accounts TO {reader.user}")
    least = identity(reader)
    assert (least.cluster, least.accounts) == (None, ())
    assert not least.is_other(owner)
    assert not least.has_moved(owner)


def test_it_is_known_through_a_pooler_and_before_it_has_accounts(
    mastodon: DatabaseAddress, pgbouncer: DatabaseAddress
) -> None:
    through = identity(pgbouncer)
    assert (through.cluster, through.accounts) == (identity(mastodon).cluster, identity(mastodon).accounts)
    execute(mastodon, "TRUNCATE accounts")
    assert identity(pgbouncer).accounts == ()
    execute(mastodon, "ALTER TABLE accounts DROP COLUMN created_at")
    assert identity(pgbouncer).accounts == ()


def test_of_media_the_newest_account_and_post_are_known_too(mastodon: DatabaseAddress, copied: DatabaseAddress) -> None:
    """They say what is private; and a table may be empty, or may not be there yet, where a restore is at work."""
    execute(copied, MEDIA, STATUSES, "INSERT INTO statuses (id) VALUES (7), (12)")
    found = age(copied, "media_attachments", "imports")
    assert found.newest == {"accounts": 30, "statuses": 12}
    assert set(found.empty) == {"media_attachments", "imports"}
    assert set(age(mastodon, "accounts", "media_attachments").empty) == {"media_attachments", "statuses"}
    assert set(age(mastodon, "accounts").empty) == set()


def test_media_that_refer_to_nobody_tell_that_a_restore_is_at_work(mastodon: DatabaseAddress) -> None:
    """`pg_restore` makes foreign keys when all rows are there."""
    execute(mastodon, MEDIA, STATUSES, "INSERT INTO media_attachments (id, account_id) VALUES (1, 7), (2, NULL)")
    assert age(mastodon, "media_attachments").wanting == ()
    execute(mastodon, "UPDATE media_attachments SET status_id = 5 WHERE id = 2")
    assert age(mastodon, "media_attachments").wanting == (("media_attachments", "statuses"),)
    execute(mastodon, "ALTER TABLE statuses RENAME TO statuses_later")
    assert age(mastodon, "media_attachments").wanting == (("media_attachments", "statuses"),)
    execute(mastodon, "ALTER TABLE statuses_later RENAME TO statuses")
    execute(mastodon, "INSERT INTO statuses (id) VALUES (5)", "TRUNCATE accounts")
    assert age(mastodon, "media_attachments").wanting == (("media_attachments", "accounts"),)
    assert age(mastodon, "accounts").wanting == ()


def test_a_table_that_nobody_may_ask_is_not_taken_for_an_empty_one(
    mastodon: DatabaseAddress, reader: DatabaseAddress
) -> None:
    execute(mastodon, MEDIA, STATUSES, f"GRANT SELECT ON media_attachments TO {reader.user}")
    found = age(reader, "media_attachments")
    assert (found.newest, set(found.empty)) == ({"accounts": 30}, {"media_attachments"})
