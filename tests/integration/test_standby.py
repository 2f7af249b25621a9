"""A standby says how far it is behind: what it has not heard of yet was not planned."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab.addresses import DatabaseAddress
from lab.postgres import PostgresServer
from mastosync.errors import PlanRefused
from mastosync.mastodon.database import MastodonDatabase
from mastosync.mastodon.standby import require_up_to_date
from tests.support.mastodon_tables import ACCOUNTS, config_of, execute
from tests.support.waiting import wait_until


@pytest.fixture
def folder() -> Iterator[Path]:
    """One into which the system user of PostgreSQL may go."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        for name in ("primary", "standby"):
            (Path(made) / name).mkdir()
        yield Path(made)


@pytest.fixture
def servers(folder: Path) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary and its standby, with the role `mastodon` of the primary."""
    with PostgresServer(folder / "primary") as primary, PostgresServer(folder / "standby") as standby:
        execute(primary.create_database("mastodon"), ACCOUNTS)
        primary.stop()
        standby.stop()
        here, there = folder / "primary/data", folder / "standby/data"
        with (here / "pg_hba.conf").open("a", encoding="utf-8") as rules:
            rules.write("local replication postgres trust\n")
        owner = there.stat()
        shutil.rmtree(there)
        shutil.copytree(here, there)
        (there / "standby.signal").touch()
        with (there / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
            settings.write(f"primary_conninfo = 'host={primary.socket_dir} port={primary.port} user=postgres'\n")
        for each in (there, *there.rglob("*")):
            shutil.chown(each, owner.st_uid, owner.st_gid)
        primary.start()
        standby.start()
        yield primary, standby


def lag_of(server: PostgresServer, primary: PostgresServer) -> float:
    with MastodonDatabase(config_of(address_at(server, primary))) as database:
        assert database.snapshot().in_recovery == (server is not primary)
        return database.snapshot().lag_seconds


def address_at(server: PostgresServer, primary: PostgresServer) -> DatabaseAddress:
    address = primary.address
    return DatabaseAddress(server.host, server.port, address.user, address.password, "mastodon")


def test_a_standby_says_how_far_it_is_behind(servers: tuple[PostgresServer, PostgresServer]) -> None:
    primary, standby = servers
    there = address_at(primary, primary)
    assert lag_of(primary, primary) == 0.0
    with closing(primary.admin_connection()) as admin:
        admin.execute("ALTER SYSTEM SET wal_sender_timeout = '1s'")  # it gives word after half of that
        admin.execute("SELECT pg_reload_conf()")
        admin.execute("CREATE ROLE somebody")
        wait_until(lambda: lag_of(standby, primary) < 5, "the standby has caught up")
        time.sleep(3)
        assert lag_of(standby, primary) >= 3, "it must not see that word, and counts from the last transaction"
        admin.execute("GRANT pg_read_all_stats TO mastodon")
    time.sleep(3)
    assert lag_of(standby, primary) < 2, "the primary is idle, and has said so"
    function = "FUNCTION pg_last_xact_replay_timestamp()"
    with closing(primary.admin_connection("mastodon")) as admin:
        admin.execute(f"REVOKE EXECUTE ON {function} FROM PUBLIC")
        wait_until(lambda: lag_of(standby, primary) < 2, "one answer is enough")
        admin.execute(f"GRANT EXECUTE ON {function} TO PUBLIC")
    with closing(standby.admin_connection()) as admin:
        admin.execute("SELECT pg_wal_replay_pause()")
    execute(there, "CREATE TABLE later (id bigint)")
    time.sleep(1.2)
    assert lag_of(standby, primary) >= 1, "what has come is not replayed"
    with closing(standby.admin_connection()) as admin:
        admin.execute("SELECT pg_wal_replay_resume()")
    primary.stop()
    time.sleep(1.5)
    assert lag_of(standby, primary) >= 1, "it has all that it was sent, and is cut off"


def test_a_standby_that_has_heard_of_nothing_does_not_tell(servers: tuple[PostgresServer, PostgresServer]) -> None:
    primary, standby = servers
    primary.stop()
    standby.stop()
    standby.start()
    with MastodonDatabase(config_of(address_at(standby, primary))) as database:
        assert database.lag_seconds == float("inf")
        with pytest.raises(PlanRefused, match="heard nothing from its primary"):
            require_up_to_date(database)
