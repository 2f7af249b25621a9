"""The SSH tunnel: real SSH servers, a real PostgreSQL behind them."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import subprocess
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
from paramiko import HostKeys, PKey

from lab.addresses import DatabaseAddress
from lab.ports import HOST, accepts_connections
from lab.sshd import SshServer
from mastosync.config import Secret, TunnelConfig
from mastosync.errors import DatabaseError, ExitCode, TunnelError
from mastosync.mastodon.connection import server_address
from mastosync.mastodon.database import MastodonDatabase
from mastosync.mastodon.tunnel import open_tunnel
from tests.support.mastodon_tables import ACCOUNTS, MANY_ACCOUNTS, config_of, execute, rows_of
from tests.support.waiting import PATIENCE_SECONDS, wait_until

PASSWORD = "s3cret pässword"
PASSPHRASE = "s3cret päss phrase"

StartServer = Callable[..., SshServer]


@pytest.fixture(autouse=True)
def _no_agent_and_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of whoever runs the tests may help: neither keys nor settings."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def server(ssh_server: StartServer) -> SshServer:
    return ssh_server(password=PASSWORD)


@pytest.fixture
def tunnel_to(tmp_path: Path) -> Callable[[SshServer], TunnelConfig]:
    """A configuration that is right: known host, right password."""

    def configure(server: SshServer) -> TunnelConfig:
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(server.known_hosts_line)
        return TunnelConfig(
            enabled=True,
            ssh_host=server.host,
            ssh_port=server.port,
            ssh_user=server.username,
            ssh_password=Secret(server.password) if server.password else None,
            known_hosts=known_hosts,
        )

    return configure


Configure = Callable[[SshServer], TunnelConfig]


def write_key(
    path: Path, *, algorithm: str = "ecdsa-sha2-nistp256", form: str = "pkcs1-pem", passphrase: str | None = None
) -> str:
    """Write a new private key, in a form that is quick to decrypt unless told otherwise; returns the public line."""
    key = asyncssh.generate_private_key(algorithm)
    path.touch(mode=0o600)  # ssh-add insists
    key.write_private_key(path, form, passphrase, rounds=50)
    return key.export_public_key().decode()


def try_tunnel(config: TunnelConfig) -> None:
    with open_tunnel(config, "127.0.0.1", 1):
        pass


def failure(config: TunnelConfig) -> TunnelError:
    """The error of opening a tunnel, which is fit to be shown."""
    with pytest.raises(TunnelError) as caught:
        try_tunnel(config)
    return presentable(caught.value)


def presentable(error: TunnelError) -> TunnelError:
    assert error.hint
    assert error.exit_code == ExitCode.DATABASE
    cause: BaseException | None = error
    while cause is not None:
        assert not any(secret in f"{cause!r} {cause} {error.hint}" for secret in (PASSWORD, PASSPHRASE))
        cause = cause.__cause__
    return error


# --- it works ---


def test_the_database_is_read_through_the_tunnel_which_then_is_gone(
    database: DatabaseAddress, server: SshServer, tunnel_to: Configure
) -> None:
    execute(database, ACCOUNTS, MANY_ACCOUNTS)
    config = config_of(database)
    with open_tunnel(tunnel_to(server), *server_address(config)) as (host, port):
        with MastodonDatabase(config, via=(host, port)) as mastodon:
            assert len(rows_of(list(mastodon.iter_rows("accounts")), "avatar")) == 20_000
            assert (server.forwardings, server.open_forwardings) == (1, 1)
        assert host == "127.0.0.1"
        assert accepts_connections(port)
    assert not accepts_connections(port)
    wait_until(lambda: server.open_connections == 0, "what was open is closed")
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("Srv-")]


@pytest.mark.timing
def test_the_tunnel_is_gone_after_an_error_too(
    database: DatabaseAddress, server: SshServer, tunnel_to: Configure
) -> None:
    """Even if a connection through it is still open."""
    with ExitStack() as left_open:
        ports: list[int] = []

        def interrupted() -> None:
            with open_tunnel(tunnel_to(server), database.host, database.port) as address:
                left_open.enter_context(socket.create_connection(address, 10))
                ports.append(address[1])
                wait_until(lambda: server.open_forwardings == 1, "what was open is closed")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert not accepts_connections(ports[0])
        wait_until(lambda: server.open_connections == 0, "what was open is closed")


def test_other_errors_of_the_block_pass_unchanged(server: SshServer, tunnel_to: Configure) -> None:
    error = DatabaseError("something else", hint="do that")
    with pytest.raises(DatabaseError) as caught, open_tunnel(tunnel_to(server), "127.0.0.1", 1):
        raise error
    assert caught.value is error
    assert error.__cause__ is None


def test_a_fixed_local_port_is_used(database: DatabaseAddress, server: SshServer, tunnel_to: Configure) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with open_tunnel(replace(tunnel_to(server), local_port=port), database.host, database.port) as address:
        assert address == ("127.0.0.1", port)


def test_nothing_reaches_screen_or_log(
    server: SshServer, tunnel_to: Configure, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    config = tunnel_to(server)
    with open_tunnel(config, "127.0.0.1", 1) as address, closing(socket.create_connection(address, 10)) as connection:
        assert connection.recv(1) == b"", "the forwarding fails"
    failure(replace(config, ssh_password=Secret(PASSWORD + "!")))
    assert [record.getMessage() for record in caplog.records if "asyncssh" not in record.name] == []
    assert capfd.readouterr() == ("", "")


# --- logging in ---


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_key_file_opens_the_tunnel(
    ssh_server: StartServer, tunnel_to: Configure, tmp_path: Path, passphrase: str | None
) -> None:
    key = tmp_path / "key"
    server = ssh_server(authorized_keys=[write_key(key, passphrase=passphrase)])
    config = replace(tunnel_to(server), ssh_key=key, ssh_key_passphrase=Secret(passphrase) if passphrase else None)
    try_tunnel(config)
    assert server.connections == 2, "the look at its key, and the tunnel"


@pytest.mark.parametrize(
    ("algorithm", "form"),
    [("ssh-ed25519", "openssh"), ("ecdsa-sha2-nistp256", "pkcs1-pem"), ("ssh-rsa", "pkcs1-pem")],
)
def test_kinds_and_forms_of_encrypted_keys(
    ssh_server: StartServer, tunnel_to: Configure, tmp_path: Path, algorithm: str, form: str
) -> None:
    line = write_key(tmp_path / "key", algorithm=algorithm, form=form, passphrase=PASSPHRASE)
    server = ssh_server(authorized_keys=[line])
    try_tunnel(replace(tunnel_to(server), ssh_key=tmp_path / "key", ssh_key_passphrase=Secret(PASSPHRASE)))


def test_a_passphrase_that_a_key_does_not_need_is_no_error(
    ssh_server: StartServer, tunnel_to: Configure, tmp_path: Path
) -> None:
    server = ssh_server(authorized_keys=[write_key(tmp_path / "key")])
    try_tunnel(replace(tunnel_to(server), ssh_key=tmp_path / "key", ssh_key_passphrase=Secret(PASSPHRASE)))


def test_keys_and_settings_of_the_home_folder_are_left_alone(
    ssh_server: StartServer, tunnel_to: Configure, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True)
    server = ssh_server(authorized_keys=[write_key(folder / "id_ed25519")], password=PASSWORD)
    (folder / "config").write_text(f"Host {server.host}\n  Port 1\n  User someone\n")
    try_tunnel(tunnel_to(server))
    write_key(tmp_path / "other")
    error = failure(replace(tunnel_to(server), ssh_password=None, ssh_key=tmp_path / "other"))
    assert "refused the login" in error.message


@pytest.mark.skipif(not shutil.which("ssh-agent") or not shutil.which("ssh-add"), reason="needs OpenSSH's agent")
def test_without_key_and_password_the_agent_is_asked(
    ssh_server: StartServer, tunnel_to: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ssh_server(authorized_keys=[write_key(tmp_path / "key")])
    agent_socket = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent_socket))
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", agent_socket], stdout=subprocess.DEVNULL)
    try:
        wait_until(agent_socket.exists, "the agent listens")
        assert "ssh-add" in failure(tunnel_to(server)).hint, "it has no keys yet"
        subprocess.run(["ssh-add", "-q", tmp_path / "key"], check=True)
        try_tunnel(tunnel_to(server))
    finally:
        agent.terminate()
        agent.wait(PATIENCE_SECONDS)


def test_nothing_to_log_in_with(ssh_server: StartServer, tunnel_to: Configure) -> None:
    error = failure(tunnel_to(ssh_server()))
    assert "nothing to log in with" in error.message
    assert "ssh_key" in error.hint


def test_a_wrong_password(server: SshServer, tunnel_to: Configure) -> None:
    error = failure(replace(tunnel_to(server), ssh_password=Secret(PASSWORD + "!")))
    assert f"{server.username}@{server.host}:{server.port} refused the login" in error.message
    assert "ssh_password" in error.hint
    wait_until(lambda: server.open_connections == 0, "what was open is closed")


def test_a_key_that_the_server_does_not_know(ssh_server: StartServer, tunnel_to: Configure, tmp_path: Path) -> None:
    server = ssh_server(authorized_keys=[write_key(tmp_path / "right")])
    write_key(tmp_path / "wrong")
    error = failure(replace(tunnel_to(server), ssh_key=tmp_path / "wrong"))
    assert "refused the login" in error.message
    assert "authorized_keys" in error.hint


@pytest.mark.parametrize(("passphrase", "said"), [(None, "is encrypted"), ("wrong", "does not open")])
def test_an_encrypted_key_without_its_passphrase(
    server: SshServer, tunnel_to: Configure, tmp_path: Path, passphrase: str | None, said: str
) -> None:
    write_key(tmp_path / "key", passphrase=PASSPHRASE)
    given = Secret(passphrase) if passphrase else None
    error = failure(replace(tunnel_to(server), ssh_key=tmp_path / "key", ssh_key_passphrase=given))
    assert said in error.message
    assert str(tmp_path / "key") in error.message
    assert "ssh_key_passphrase" in error.hint
    assert "MASTOSYNC_PG_TUNNEL_SSH_KEY_PASSPHRASE" in error.hint


@pytest.mark.parametrize("content", [None, b"", b"ssh-ed25519 AAAA", b"-----BEGIN PRIVATE KEY-----\nAAAA\n", b"\xff"])
def test_a_file_that_is_no_key(server: SshServer, tunnel_to: Configure, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    error = failure(replace(tunnel_to(server), ssh_key=tmp_path / "key", ssh_key_passphrase=Secret(PASSPHRASE)))
    assert str(tmp_path / "key") in error.message
    assert "ssh_key in [pg.tunnel]" in error.hint


# --- the server's identity ---


@pytest.mark.parametrize("file", ["empty", "absent"])
def test_an_unknown_server_is_refused_with_the_line_to_add(
    server: SshServer, tunnel_to: Configure, tmp_path: Path, file: str
) -> None:
    known_hosts = tmp_path / file
    if file == "empty":
        known_hosts.touch()
    config = replace(tunnel_to(server), known_hosts=known_hosts)
    error = failure(config)
    assert str(known_hosts) in error.message
    assert server.known_hosts_line.strip() in error.hint.splitlines()
    fingerprint = asyncssh.import_public_key(server.host_public_key).get_fingerprint()
    assert fingerprint in error.hint
    known_hosts.write_text(error.hint.splitlines()[-1])
    try_tunnel(config)


def test_a_changed_key_is_refused_before_anything_secret_is_sent(ssh_server: StartServer, tunnel_to: Configure) -> None:
    expected, impostor = ssh_server(), ssh_server(password=PASSWORD)
    config = tunnel_to(impostor)
    config.known_hosts.write_text(f"[{impostor.host}]:{impostor.port} {expected.host_public_key}\n")
    error = failure(config)
    assert "attack" in error.message
    for server in (expected, impostor):
        assert asyncssh.import_public_key(server.host_public_key).get_fingerprint() in error.message
    assert impostor.connections == 1, "the look at its key, no log-in"


def test_the_connection_that_logs_in_is_checked_as_well(
    ssh_server: StartServer, server: SshServer, tunnel_to: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the key and the login, someone may have taken the server's place."""
    other = PKey.from_type_string(*decoded(ssh_server().host_public_key))
    monkeypatch.setattr("mastosync.mastodon.tunnel._trusted_key", lambda *_: other)
    assert "Bad host key" in failure(tunnel_to(server)).message
    wait_until(lambda: server.open_connections == 0, "what was open is closed")


def decoded(public_key: str) -> tuple[str, bytes]:
    kind, data = public_key.split()
    return kind, b64decode(data)


def test_a_revoked_key_is_refused(server: SshServer, tunnel_to: Configure) -> None:
    config = tunnel_to(server)
    config.known_hosts.write_text(f"{server.known_hosts_line}@revoked * {server.host_public_key}\n")
    assert "@revoked" in failure(config).message


def test_hashed_names_and_foreign_lines_are_understood(server: SshServer, tunnel_to: Configure) -> None:
    config = tunnel_to(server)
    name, _, key = server.known_hosts_line.strip().partition(" ")
    config.known_hosts.write_text(f"# old\n\nnonsense\n@cert-authority * {key}\n{HostKeys.hash_host(name)} {key}\n")
    try_tunnel(config)


@pytest.mark.parametrize(
    "line",
    [
        "{host} {key}",
        "[{host}]:22 {key}",
        "[{host}]:{other_port} {key}",
        "[{host}]:{port},!{name} {key}",
        "@cert-authority {name} {key}",
        "@cert-authority * {key}",
        "@unknown-marker {name} {key}",
        "#{name} {key}",
        "{name} ssh-dss AAAAB3NzaC1kc3MAAACBAJ0=",
        "{hashed_host} {key}",
        "|1|c2FsdA==|ZGlnZXN0 {key}",
        "{name} {kind} {data_of_another}",
        "{hashed_name} {kind} {data_of_another}",
        "{name} {kind} {data}x=",
    ],
)
def test_a_line_that_says_anything_else_vouches_for_nobody(server: SshServer, tunnel_to: Configure, line: str) -> None:
    """Another port or name, an authority, a marker or kind that nobody knows, the digest or key of somebody else."""
    config = tunnel_to(server)
    name, _, key = server.known_hosts_line.strip().partition(" ")
    kind, _, data = key.partition(" ")
    another = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()[1]
    config.known_hosts.write_text(
        line.format(
            host=server.host,
            port=server.port,
            other_port=server.port + 1,
            name=name,
            key=key,
            kind=kind,
            data=data,
            data_of_another=another,
            hashed_host=HostKeys.hash_host(server.host),
            hashed_name=HostKeys.hash_host(name),
        )
        + "\n"
    )
    assert "known_hosts" in failure(config).message
    assert server.connections == 1, "the look at its key, no log-in"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_vouches_for_nobody(server: SshServer, tunnel_to: Configure) -> None:
    config = tunnel_to(server)
    config.known_hosts.chmod(0)
    failure(config)
    assert server.connections == 0


def test_a_folder_in_its_place_vouches_for_nobody(server: SshServer, tunnel_to: Configure, tmp_path: Path) -> None:
    failure(replace(tunnel_to(server), known_hosts=tmp_path))
    assert server.connections == 0


@pytest.mark.parametrize("algorithm", ["ssh-rsa", "ecdsa-sha2-nistp384"])
def test_other_kinds_of_host_keys(ssh_server: StartServer, tunnel_to: Configure, algorithm: str) -> None:
    key = asyncssh.generate_private_key(algorithm).export_private_key().decode()
    try_tunnel(tunnel_to(ssh_server(password=PASSWORD, host_key=key)))


def test_a_server_with_other_keys_beside_the_known_one(ssh_server: StartServer, tunnel_to: Configure) -> None:
    """known_hosts may know more kinds than the server has, in any order."""
    server, other = ssh_server(password=PASSWORD), asyncssh.generate_private_key("ssh-rsa")
    config = tunnel_to(server)
    line = f"[{server.host}]:{server.port} {other.export_public_key().decode()}"
    config.known_hosts.write_text(line + server.known_hosts_line)
    try_tunnel(config)


class OpenToAll(asyncssh.SSHServer):
    """Lets everybody in and forwards nothing."""

    def __init__(self, connections: list[asyncssh.SSHServerConnection]) -> None:
        self._connections = connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "as sshd says it")


@contextmanager
def open_server(*algorithms: str) -> Iterator[tuple[int, list[str]]]:
    """A server like that, which has several keys; yields its port and public keys."""
    keys = [asyncssh.generate_private_key(algorithm) for algorithm in algorithms]
    started: Future[tuple[int, Callable[[], object]]] = Future()

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        connections: list[asyncssh.SSHServerConnection] = []
        acceptor = await asyncssh.create_server(lambda: OpenToAll(connections), HOST, 0, server_host_keys=keys)
        started.set_result((acceptor.get_port(), lambda: loop.call_soon_threadsafe(stop.set)))
        await stop.wait()
        acceptor.close()
        for connection in connections:
            connection.abort()
            await connection.wait_closed()
        await acceptor.wait_closed()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    port, stop_serving = started.result(30)
    try:
        yield port, [key.export_public_key().decode().strip() for key in keys]
    finally:
        stop_serving()
        thread.join(PATIENCE_SECONDS)


KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")


@pytest.mark.parametrize("known", range(len(KINDS)))
def test_of_a_servers_keys_the_known_one_is_asked_for(known: int, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    with open_server(*KINDS) as (port, keys):
        config = TunnelConfig(
            ssh_host=HOST, ssh_port=port, ssh_user="me", ssh_password=Secret("any"), known_hosts=known_hosts
        )
        known_hosts.write_text(f"[{HOST}]:{port} {keys[known]}\n")
        try_tunnel(config)
        stranger = asyncssh.generate_private_key(KINDS[known]).export_public_key().decode()
        known_hosts.write_text(f"[{HOST}]:{port} {stranger}\n")
        assert "attack" in failure(config).message
        unknown_kind = asyncssh.generate_private_key("ecdsa-sha2-nistp521").export_public_key().decode()
        known_hosts.write_text(f"[{HOST}]:{port} {unknown_kind}\n")
        assert "attack" in failure(config).message


# --- no way through ---


def read_through(config: TunnelConfig, database: DatabaseAddress) -> None:
    with (
        open_tunnel(config, database.host, database.port) as address,
        MastodonDatabase(config_of(database), via=address) as mastodon,
    ):
        mastodon.snapshot()


def test_a_database_that_the_ssh_server_cannot_reach(
    database: DatabaseAddress, server: SshServer, tunnel_to: Configure
) -> None:
    with closing(socket.create_server((HOST, 0))) as reserved:
        port = reserved.getsockname()[1]
    with pytest.raises(TunnelError) as caught:
        read_through(tunnel_to(server), replace(database, port=port))
    error = presentable(caught.value)
    assert f"cannot reach the database at {HOST}:{port}" in error.message
    assert "as the SSH server sees them" in error.hint
    wait_until(lambda: server.open_connections == 0, "what was open is closed")


def test_an_ssh_server_that_does_not_forward(database: DatabaseAddress, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    with open_server("ssh-ed25519") as (port, keys):
        known_hosts.write_text(f"[{HOST}]:{port} {keys[0]}\n")
        config = TunnelConfig(
            ssh_host=HOST, ssh_port=port, ssh_user="me", ssh_password=Secret("any"), known_hosts=known_hosts
        )
        with pytest.raises(TunnelError) as caught:
            read_through(config, database)
    assert "does not forward" in presentable(caught.value).message
    assert "AllowTcpForwarding" in caught.value.hint


@pytest.mark.timing
def test_an_ssh_connection_that_breaks_off(database: DatabaseAddress, tunnel_to: Configure) -> None:
    execute(database, ACCOUNTS, MANY_ACCOUNTS)
    with ExitStack() as running, pytest.raises(TunnelError) as caught:
        read_while_the_server_stops(database, tunnel_to(running.enter_context(SshServer(password=PASSWORD))), running)
    error = presentable(caught.value)
    assert "broke off" in error.message
    assert "run plan again" in error.hint


def read_while_the_server_stops(database: DatabaseAddress, config: TunnelConfig, running: ExitStack) -> None:
    with (
        open_tunnel(config, database.host, database.port) as address,
        MastodonDatabase(config_of(database), via=address) as mastodon,
    ):
        batches = mastodon.iter_rows("accounts")
        next(batches)
        running.close()
        list(batches)


def test_nobody_listening(server: SshServer, tunnel_to: Configure) -> None:
    with closing(socket.create_server((HOST, 0))) as reserved:
        port = reserved.getsockname()[1]
    error = failure(replace(tunnel_to(server), ssh_port=port))
    assert f"{HOST}:{port} cannot be reached: Connection refused" in error.message
    assert "ssh_port" in error.hint


def test_an_unknown_host(server: SshServer, tunnel_to: Configure) -> None:
    error = failure(replace(tunnel_to(server), ssh_host="ssh.invalid"))
    assert "ssh.invalid" in error.message
    assert "ssh_host" in error.hint


def test_a_server_of_something_else(database: DatabaseAddress, server: SshServer, tunnel_to: Configure) -> None:
    error = failure(replace(tunnel_to(server), ssh_port=database.port))
    assert "does not answer as one" in error.message
    assert "ssh_port" in error.hint


def test_a_server_that_says_nothing(server: SshServer, tunnel_to: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mastosync.mastodon.tunnel.HANDSHAKE_SECONDS", 0.5)
    with closing(socket.create_server((HOST, 0))) as silent:
        error = failure(replace(tunnel_to(server), ssh_port=silent.getsockname()[1]))
    assert "does not answer" in error.message


def test_a_local_port_that_is_taken(server: SshServer, tunnel_to: Configure) -> None:
    with closing(socket.create_server((HOST, 0))) as taken:
        port = taken.getsockname()[1]
        error = failure(replace(tunnel_to(server), local_port=port))
    assert f"cannot listen at {HOST}:{port}" in error.message
    assert "local_port = 0" in error.hint
    wait_until(lambda: server.open_connections == 0, "what was open is closed")


def test_a_tunnel_that_leads_nowhere() -> None:
    assert "ssh_host" in failure(TunnelConfig(enabled=True)).hint


def test_a_socket_folder_is_nothing_that_a_tunnel_leads_to(server: SshServer, tunnel_to: Configure) -> None:
    with pytest.raises(TunnelError, match="/run/postgresql"), open_tunnel(tunnel_to(server), "/run/postgresql", 5432):
        pass
