"""What the doctor finds out about the database and the way to it."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lab.addresses import DatabaseAddress, PostgresAddress
from lab.client import Lab
from lab.instance import SCHEMA
from lab.sshd import SshServer
from mastosync.doctor import CheckSubject, Grade
from mastosync.errors import ExitCode
from tests.support.doctor_sites import Examined, examined
from tests.support.mastodon_tables import ACCOUNTS, MEDIA, execute
from tests.support.site import Site, pg_section
from tests.support.waiting import PATIENCE_SECONDS, wait_until

OK, WARNING, FAILURE, SKIPPED = Grade.OK, Grade.WARNING, Grade.FAILURE, Grade.SKIPPED


def look_at(folder: Path, database: DatabaseAddress, **keys: str) -> Examined:
    """A configuration that knows nothing but a database; `keys`: of its section that are to be others."""
    return examined(Site(folder).configure(pg_database=pg_section(database) | keys))


@pytest.fixture
def mastodon(database: DatabaseAddress) -> DatabaseAddress:
    """Mastodon's tables, empty."""
    with database.connect() as connection:
        connection.execute(SCHEMA.read_bytes())
    return database


def fails(found: Examined, check: str) -> str:
    """The remedy of the one failure of the database; what follows it is skipped."""
    bad = found.bad(CheckSubject.DATABASE)
    assert bad.pop(check) is FAILURE
    assert set(bad.values()) <= {SKIPPED}
    assert found.database[check].exit_code == ExitCode.DATABASE
    return found.database[check].remedy


def test_a_healthy_database_is_all_ok(tmp_path: Path, mastodon: DatabaseAddress) -> None:
    found = look_at(tmp_path, mastodon)
    assert found.bad(CheckSubject.DATABASE) == {}
    assert "the primary" in found.database["server"].message
    assert found.database["pooler"].message.startswith("no pooler")
    assert "8 of 8" in found.database["tables"].message


class TestConnection:
    def test_a_wrong_password(self, tmp_path: Path, database: DatabaseAddress) -> None:
        assert "DB_PASS" in fails(look_at(tmp_path, database, password="marked-password"), "connection")

    def test_nobody_listens(self, tmp_path: Path, database: DatabaseAddress) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as reserved:
            port = reserved.getsockname()[1]
        assert "PostgreSQL running" in fails(look_at(tmp_path, database, port=str(port)), "connection")

    def test_nothing_is_said_of_a_database(self, tmp_path: Path) -> None:
        found = examined(Site(tmp_path).configure(copy={"workers": "2"}, s3_source={"bucket": "b"})).database
        assert found["connection"].grade is FAILURE
        assert found["connection"].exit_code == ExitCode.CONFIG
        assert "MASTOSYNC_PG_DATABASE_HOST" in found["connection"].remedy

    def test_a_database_of_something_else(self, tmp_path: Path, database: DatabaseAddress) -> None:
        found = look_at(tmp_path, database)
        assert "mastodon_production" in fails(found, "tables")
        assert found.database["connection"].grade is OK


class TestTunnel:
    @pytest.fixture
    def tunnelled(
        self, tmp_path: Path, mastodon: DatabaseAddress, ssh_server: Callable[..., SshServer]
    ) -> tuple[Site, SshServer]:
        server = ssh_server(password="marked-password")
        tunnel = {
            "enabled": "true",
            "ssh_host": "127.0.0.1",
            "ssh_port": str(server.port),
            "ssh_user": server.username,
            "ssh_password": "marked-password",
            "known_hosts": str(tmp_path / "known_hosts"),
        }
        return Site(tmp_path).configure(pg_database=pg_section(mastodon), pg_tunnel=tunnel), server

    def test_a_host_that_is_not_known(self, tunnelled: tuple[Site, SshServer]) -> None:
        site, server = tunnelled
        assert server.host_public_key in fails(examined(site), "tunnel")
        assert server.forwardings == 0

    def test_a_host_that_is_known(self, tmp_path: Path, tunnelled: tuple[Site, SshServer]) -> None:
        site, server = tunnelled
        (tmp_path / "known_hosts").write_text(server.known_hosts_line)
        found = examined(site)
        assert found.bad(CheckSubject.DATABASE) == {}
        assert f"127.0.0.1:{server.port}" in found.database["tunnel"].message
        wait_until(lambda: not server.open_forwardings, "the tunnel is closed")

    def test_a_database_that_the_host_does_not_reach(self, tmp_path: Path, tunnelled: tuple[Site, SshServer]) -> None:
        site, server = tunnelled
        (tmp_path / "known_hosts").write_text(server.known_hosts_line)
        found = examined(site.configure(pg_database={"port": "9"}))
        assert "as the SSH server sees them" in fails(found, "connection")
        assert found.database["tunnel"].grade is OK

    def test_a_key_that_misses_in_the_configuration(self, tunnelled: tuple[Site, SshServer]) -> None:
        site, _ = tunnelled
        del site.sections["pg.tunnel"]["ssh_user"]
        found = examined(site.configure()).database
        assert (found["tunnel"].grade, found["tunnel"].exit_code) == (FAILURE, ExitCode.CONFIG)


class TestTables:
    def test_what_newer_releases_did_away_with_is_no_loss(self, tmp_path: Path, mastodon: DatabaseAddress) -> None:
        execute(mastodon, "DROP TABLE imports")
        found = look_at(tmp_path, mastodon).database["tables"]
        assert found.grade is OK
        assert "imports" in found.message

    def test_a_table_that_should_be_there(self, tmp_path: Path, mastodon: DatabaseAddress) -> None:
        execute(mastodon, "DROP TABLE media_attachments")
        found = look_at(tmp_path, mastodon)
        assert found.bad(CheckSubject.DATABASE) == {"tables": WARNING}
        assert "media_attachments" in found.database["tables"].message

    def test_a_column_without_which_nobody_knows_what_is_private(
        self, tmp_path: Path, database: DatabaseAddress
    ) -> None:
        execute(database, ACCOUNTS, MEDIA, "ALTER TABLE accounts DROP COLUMN suspended_at")
        found = look_at(tmp_path, database).database["columns"]
        assert found.grade is WARNING
        assert "accounts.suspended_at" in found.message
        assert "public" in found.message

    def test_the_table_of_posts_without_which_nobody_knows_what_was_removed(
        self, tmp_path: Path, mastodon: DatabaseAddress
    ) -> None:
        execute(mastodon, "DROP TABLE statuses")
        found = look_at(tmp_path, mastodon)
        assert found.bad(CheckSubject.DATABASE) == {"columns": WARNING}
        assert "statuses is missing" in found.database["columns"].message
        assert "public" in found.database["columns"].message

    def test_an_old_release_that_keeps_no_removed_posts(self, tmp_path: Path, mastodon: DatabaseAddress) -> None:
        execute(mastodon, "ALTER TABLE statuses DROP COLUMN deleted_at")
        assert look_at(tmp_path, mastodon).bad(CheckSubject.DATABASE) == {}

    def test_types_that_are_not_planned_do_not_matter(self, tmp_path: Path, database: DatabaseAddress) -> None:
        execute(database, "CREATE TABLE custom_emojis (id bigint, domain varchar, image_file_name varchar)")
        site = Site(tmp_path).configure(pg_database=pg_section(database), plan={"types": "custom_emojis"})
        assert examined(site).bad(CheckSubject.DATABASE) == {}


class TestPermission:
    @pytest.fixture
    def reader(self, mastodon: DatabaseAddress, lab_postgres: PostgresAddress) -> Iterator[DatabaseAddress]:
        """Another user, who may read everything but accounts."""
        address = replace(mastodon, user=f"reader_of_{mastodon.name}", password="another-password")
        with closing(lab_postgres.admin_connection(mastodon.name)) as admin:
            admin.execute(f"CREATE ROLE {address.user} LOGIN PASSWORD '{address.password}'")
            admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {address.user}")
            admin.execute(f"REVOKE ALL ON accounts FROM {address.user}")
            yield address
            admin.execute(f"DROP OWNED BY {address.user}")
            admin.execute(f"DROP ROLE {address.user}")

    def test_a_table_that_must_not_be_read_and_its_remedy_helps(
        self, tmp_path: Path, mastodon: DatabaseAddress, reader: DatabaseAddress
    ) -> None:
        found = look_at(tmp_path, reader)
        assert found.bad(CheckSubject.DATABASE) == {"permission": FAILURE}
        assert found.database["permission"].exit_code == ExitCode.DATABASE
        execute(mastodon, *re.findall(r"GRANT [^;]*;", found.database["permission"].remedy))
        assert look_at(tmp_path, reader).bad(CheckSubject.DATABASE) == {}

    def test_of_posts_it_takes_no_more_than_which_of_them_were_removed(
        self, tmp_path: Path, mastodon: DatabaseAddress, reader: DatabaseAddress
    ) -> None:
        execute(mastodon, f"GRANT SELECT ON accounts TO {reader.user}", f"REVOKE ALL ON statuses FROM {reader.user}")
        found = look_at(tmp_path, reader)
        assert found.bad(CheckSubject.DATABASE) == {"permission": FAILURE}
        assert "statuses" in found.database["permission"].message
        assert '(id, deleted_at) ON "public"."statuses"' in found.database["permission"].remedy
        execute(mastodon, *re.findall(r"GRANT [^;]*;", found.database["permission"].remedy))
        assert look_at(tmp_path, reader).bad(CheckSubject.DATABASE) == {}

    def test_a_role_without_any_right_is_told_all_that_it_lacks_at_once(
        self, tmp_path: Path, mastodon: DatabaseAddress, reader: DatabaseAddress
    ) -> None:
        execute(mastodon, f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {reader.user}")
        found = look_at(tmp_path, reader).database["permission"]
        assert '(id, deleted_at) ON "public"."statuses"' in found.remedy
        execute(mastodon, *re.findall(r"GRANT [^;]*;", found.remedy))
        assert look_at(tmp_path, reader).bad(CheckSubject.DATABASE) == {}

    @pytest.mark.parametrize("table", ["custom_emojis", "statuses"])
    def test_rows_that_a_policy_hides(
        self, tmp_path: Path, mastodon: DatabaseAddress, reader: DatabaseAddress, table: str
    ) -> None:
        execute(
            mastodon,
            f"GRANT SELECT ON accounts TO {reader.user}",
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        )
        assert "policy" in fails(look_at(tmp_path, reader), "permission")

    def test_several_tables_are_one_finding(
        self, tmp_path: Path, mastodon: DatabaseAddress, reader: DatabaseAddress
    ) -> None:
        execute(mastodon, f"REVOKE ALL ON backups FROM {reader.user}")
        found = look_at(tmp_path, reader).database["permission"]
        assert all(table in found.remedy for table in ('"accounts"', '"backups"'))


class TestPooler:
    """A server that is asked directly announces the process that answers."""

    def test_pgbouncer_is_noticed(self, tmp_path: Path, mastodon: DatabaseAddress, pgbouncer: DatabaseAddress) -> None:
        assert mastodon.name == pgbouncer.name
        found = look_at(tmp_path, pgbouncer)
        assert found.bad(CheckSubject.DATABASE) == {}
        assert "pgbouncer" in found.database["pooler"].message

    def test_another_process_than_was_announced_is_noticed(self, tmp_path: Path, mastodon: DatabaseAddress) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            thread = threading.Thread(target=_announce_another_process, args=(listener, mastodon))
            thread.start()
            found = look_at(tmp_path, mastodon, port=str(listener.getsockname()[1]), sslmode="disable")
            thread.join(PATIENCE_SECONDS)
        assert found.bad(CheckSubject.DATABASE) == {}
        assert "pgbouncer" in found.database["pooler"].message


def _announce_another_process(listener: socket.socket, database: DatabaseAddress) -> None:
    """Relay one connection, as poolers do: BackendKeyData names a process of their own."""
    client, _ = listener.accept()
    with client, socket.create_connection((database.host, database.port)) as server:

        def forth() -> None:
            while data := client.recv(65_536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=forth)
        sender.start()
        with server.makefile("rb") as messages:
            while head := messages.read(5):
                body = messages.read(struct.unpack("!I", head[1:])[0] - 4)
                client.sendall(head + (struct.pack("!I", 1) + body[4:] if head[:1] == b"K" else body))
        client.shutdown(socket.SHUT_WR)
        sender.join(PATIENCE_SECONDS)


@pytest.fixture
def standby(own_lab: Callable[..., Lab]) -> DatabaseAddress:
    """A server that was told to follow another one: it reads, and waits for more."""
    lab = own_lab(postgres=True)
    database = lab.postgres.create_database("mastodon")
    with database.connect() as connection:
        connection.execute(SCHEMA.read_bytes())
    lab.stop_server("postgres")
    (Path(lab.addresses.folder) / "postgres" / "data" / "standby.signal").touch()
    lab.start_server("postgres")
    return database


def test_a_standby(tmp_path: Path, standby: DatabaseAddress) -> None:
    found = look_at(tmp_path, standby)
    assert found.bad(CheckSubject.DATABASE) == {"server": WARNING}
    assert "30s" in found.database["server"].message
    assert "hot_standby_feedback" in found.database["server"].remedy
    assert "heard nothing from its primary" in found.database["server"].message, "it has none"
    assert "name the primary" in found.database["server"].remedy
