"""An SSH server that forwards ports and counts what is open, by asyncssh in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import cast

import asyncssh

from lab.ports import HOST
from lab.process import LabError

START_SECONDS = 30


class SshServer:
    """A server on 127.0.0.1 that allows direct-tcpip forwarding and nothing else, while it is entered.

    `username` may come in with `password` (None: no passwords), or with one of `authorized_keys`
    (OpenSSH lines). `host_key` is a private key in OpenSSH form; without it one is made.
    The counts may be read at any time from any thread.
    """

    def __init__(
        self,
        *,
        username: str = "tunnel",
        password: str | None = None,
        authorized_keys: Sequence[str] = (),
        host_key: str | None = None,
    ) -> None:
        self.username = username
        self.password = password
        self.allowed = {asyncssh.import_public_key(line).get_fingerprint() for line in authorized_keys}
        self.connections = 0  # so far
        self.open_connections = 0
        self.forwardings = 0  # so far
        self.open_forwardings = 0
        self.port = 0
        self.outgoing: list[asyncio.BaseTransport] = []  # to where is forwarded, so far
        self._host_key = (
            asyncssh.generate_private_key("ssh-ed25519") if host_key is None else asyncssh.import_private_key(host_key)
        )
        self._started: threading.Event = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="ssh server")

    def __enter__(self) -> SshServer:
        self._thread.start()
        if not self._started.wait(START_SECONDS) or self._failure is not None:
            raise LabError(f"the SSH server did not start: {self._failure}")
        return self

    def __exit__(self, *_: object) -> None:
        """Cut all connections and stop; returns when everything is closed."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def host(self) -> str:
        """Where it listens."""
        return HOST

    @property
    def host_public_key(self) -> str:
        """The host's public key as OpenSSH writes it: type and base64."""
        return " ".join(self._host_key.export_public_key().decode().split()[:2])

    @property
    def known_hosts_line(self) -> str:
        """The line of a known_hosts file that vouches for this server."""
        return f"[{HOST}]:{self.port} {self.host_public_key}\n"

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except (OSError, asyncssh.Error) as error:
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        sessions: set[_Session] = set()
        acceptor = await asyncssh.create_server(
            lambda: _Session(self, sessions), HOST, 0, server_host_keys=[self._host_key]
        )
        self.port = acceptor.get_port()
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        self._started.set()
        await self._stop.wait()
        acceptor.close()
        for session in list(sessions):
            await session.end()
        # a client that was gone before it was connected has left nobody who closes its end
        for transport in self.outgoing:
            transport.close()
        await asyncio.sleep(0)  # in which they do
        await acceptor.wait_closed()


class _Session(asyncssh.SSHServer):
    """One connection of a client."""

    def __init__(self, server: SshServer, sessions: set[_Session]) -> None:
        self._server = server
        self._sessions = sessions
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._sessions.add(self)
        self._server.connections += 1
        self._server.open_connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._sessions.discard(self)
        self._server.open_connections -= 1

    async def end(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            await self._connection.wait_closed()

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return self._server.password is not None

    def validate_password(self, username: str, password: str) -> bool:
        return username == self._server.username and password == self._server.password

    def public_key_auth_supported(self) -> bool:
        return bool(self._server.allowed)

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._server.username and key.get_fingerprint() in self._server.allowed

    def connection_requested(
        self,
        dest_host: str,
        dest_port: int,
        orig_host: str,
        orig_port: int,
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        # a forwarder has all the methods of a session, but not its type
        return cast("Awaitable[asyncssh.SSHTCPSession[bytes]]", self._forward(dest_host, dest_port))

    async def _forward(self, host: str, port: int) -> _CountedForwarder:
        loop = asyncio.get_running_loop()
        try:
            transport, peer = await loop.create_connection(asyncssh.SSHForwarder, host, port)
        except OSError as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error)) from None
        self._server.outgoing.append(transport)
        return _CountedForwarder(self._server, peer)


class _CountedForwarder(asyncssh.SSHForwarder):
    """The client's end of one forwarded connection."""

    def __init__(self, server: SshServer, peer: asyncssh.SSHForwarder) -> None:
        super().__init__(peer)
        self._server = server
        server.forwardings += 1
        server.open_forwardings += 1

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._server.open_forwardings -= 1


def make_key(path: Path, *, passphrase: str | None = None) -> str:
    """Write a new Ed25519 key pair's private half to `path` (mode 0600); returns the public half's line."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.touch(mode=0o600)
    key.write_private_key(path, "openssh", passphrase)
    return key.export_public_key().decode().strip()
