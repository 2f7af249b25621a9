"""The SSH tunnel to a database that listens only to its own network. The only door to sshtunnel and paramiko.

sshtunnel checks a server's key only if it gets the expected one. So every tunnel starts with a handshake of our
own: the key that the server shows is looked up in known_hosts, and an unknown one ends the matter before any password
or signature is sent. known_hosts is read here (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), because paramiko's reader
stumbles over markers and knows neither patterns nor two keys of one kind.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import logging
import re
import socket
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import paramiko
from sshtunnel import BaseSSHTunnelForwarderError, SSHTunnelForwarder

from mastosync.config import Secret, TunnelConfig
from mastosync.errors import DatabaseError, TunnelError, passing
from mastosync.language import tr

HANDSHAKE_SECONDS = 15
"""How long the SSH server may take to answer, and again to agree on ciphers."""

KEEPALIVE_SECONDS = 15.0
"""A silent connection is kept alive for routers in between: the database may think for minutes."""


@contextmanager
def open_tunnel(config: TunnelConfig, remote_host: str, remote_port: int) -> Iterator[tuple[str, int]]:
    """Forward a local port to the database for as long as the `with` block runs; yields its host and port.

    Whether the database can be reached from the SSH server shows only when something connects: a
    DatabaseError of the block is then replaced by one that knows the reason.
    Raises: TunnelError.
    """
    if not config.ssh_host:
        raise TunnelError(tr("the tunnel is enabled, but leads nowhere"), hint=tr("set ssh_host in [pg.tunnel]"))
    if remote_host.startswith("/"):
        raise TunnelError(
            tr("the tunnel cannot lead to the socket folder {remote_host}", remote_host=remote_host),
            hint=tr("set host in [pg.database] to the database's address as the SSH server sees it, such as 127.0.0.1"),
        )
    _quiet_paramiko()
    gateway = tr(
        "the SSH server {user}@{ssh_host}:{ssh_port}",
        user=config.ssh_user or "",
        ssh_host=config.ssh_host,
        ssh_port=config.ssh_port,
    )
    host_key = _trusted_key(config, config.ssh_host)
    journal = _Journal()
    with _login_keys(config, gateway) as keys:
        forwarder = _forwarder(config, (remote_host, remote_port), host_key, keys, journal)
        _start(forwarder, config, gateway, journal)
    try:
        yield forwarder.local_bind_address
    except DatabaseError as error:
        reason = _reason(error, f"{remote_host}:{remote_port}", gateway, journal.said, forwarder.is_active)
        if reason is None:
            raise
        raise reason from error
    finally:
        forwarder.stop(force=True)


class _Journal(logging.Handler):
    """Keeps what sshtunnel has to say: it logs the reasons that its exceptions leave out."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.said += record.getMessage() + "\n"


def _quiet_paramiko() -> None:
    """Every error it logs is raised as well; unless someone wants its log, it would only end up on the screen."""
    logger = logging.getLogger("paramiko")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


@contextmanager
def _login_keys(config: TunnelConfig, gateway: str) -> Iterator[list[paramiko.PKey]]:
    """The keys to log in with: the configured one, or those of the agent where nothing is configured."""
    if config.ssh_key:
        yield [_load_key(config.ssh_key, config.ssh_key_passphrase)]
    elif config.ssh_password:
        yield []
    else:
        with closing(paramiko.Agent()) as agent:
            if not agent.get_keys():
                raise TunnelError(
                    tr("nothing to log in with at {gateway}", gateway=gateway),
                    hint=tr("set ssh_key or ssh_password in [pg.tunnel], or add a key to the SSH agent (ssh-add)"),
                )
            yield list(agent.get_keys())


def _forwarder(
    config: TunnelConfig,
    remote: tuple[str, int],
    host_key: paramiko.PKey,
    keys: list[paramiko.PKey],
    journal: _Journal,
) -> SSHTunnelForwarder:
    """Configure sshtunnel so that it uses exactly what it is given: no files, keys or agents that it finds itself."""
    logger = logging.Logger("sshtunnel", logging.ERROR)  # no parent: nothing reaches the screen or a log file
    logger.addHandler(journal)
    forwarder = SSHTunnelForwarder(
        (config.ssh_host, config.ssh_port),
        ssh_config_file=None,
        ssh_host_key=host_key,
        ssh_username=config.ssh_user,
        ssh_password=config.ssh_password.reveal() if config.ssh_password else None,
        ssh_pkey=keys[0] if keys else None,
        allow_agent=False,
        host_pkey_directories=[],
        local_bind_address=(config.local_host, config.local_port),
        remote_bind_address=remote,
        set_keepalive=KEEPALIVE_SECONDS,
        logger=logger,
    )
    forwarder.ssh_pkeys = keys
    return forwarder


def _start(forwarder: SSHTunnelForwarder, config: TunnelConfig, gateway: str, journal: _Journal) -> None:
    try:
        forwarder.start()
    except BaseException as error:
        # it listens even if the login fails, and `stop` would wait for ever for a listener that never served
        listeners, forwarder._server_list = forwarder._server_list, []
        for listener in listeners:
            listener.server_close()
        forwarder.stop(force=True)
        if isinstance(error, BaseSSHTunnelForwarderError):
            raise _not_started(config, gateway, journal.said) from None
        raise


def _load_key(path: Path, passphrase: Secret | None) -> paramiko.PKey:
    """Read a private key file. Raises: TunnelError that says what is wrong with file or passphrase."""
    variable = tr("ssh_key_passphrase in [pg.tunnel], or MASTOSYNC_PG_TUNNEL_SSH_KEY_PASSPHRASE")
    path = path.expanduser()
    try:
        return paramiko.PKey.from_path(path)
    except OSError as error:
        raise TunnelError(
            tr("the SSH key {path} cannot be read: {strerror}", path=path, strerror=error.strerror),
            hint=tr("check ssh_key in [pg.tunnel]"),
        ) from error
    except TypeError:  # paramiko's word for: it is encrypted
        if not passphrase:
            raise TunnelError(
                tr("the SSH key {path} is encrypted", path=path), hint=tr("set {variable}", variable=variable)
            ) from None
    except Exception:  # noqa: BLE001 - two libraries have a dozen ways to dislike a file, some quoting it
        raise _useless_key(path) from None
    try:
        return paramiko.PKey.from_path(path, passphrase.reveal().encode())  # type: ignore[arg-type]  # declared str, takes bytes
    except ValueError:
        raise TunnelError(
            tr("the passphrase does not open the SSH key {path}", path=path),
            hint=tr("check {variable}", variable=variable),
        ) from None
    except Exception:  # noqa: BLE001 - as above
        raise _useless_key(path) from None


def _useless_key(path: Path) -> TunnelError:
    return TunnelError(
        tr("{path} is no private key that can be used", path=path),
        hint=tr(
            "ssh_key in [pg.tunnel] takes Ed25519, ECDSA and RSA keys in OpenSSH's own form; `ssh-keygen "
            "-p -f FILE` rewrites other forms"
        ),
    )


def _not_started(config: TunnelConfig, gateway: str, said: str) -> TunnelError:
    if "Couldn't open tunnel" in said:
        return TunnelError(
            tr(
                "the tunnel cannot listen at {local_host}:{local_port}",
                local_host=config.local_host,
                local_port=config.local_port,
            ),
            hint=tr("local_port = 0 in [pg.tunnel] takes any free port; local_host is an IPv4 address of this machine"),
        )
    if "Could not connect" in said:
        return passing(
            TunnelError(
                tr("cannot open the tunnel: {said}", said=said.splitlines()[0]),
                hint=tr("try again; its log may say more"),
            )
        )
    way = "ssh_key" if config.ssh_key else "ssh_password" if config.ssh_password else tr("the keys of the SSH agent")
    return TunnelError(
        tr("{gateway} refused the login", gateway=gateway),
        hint=tr(
            "check ssh_user and {way} in [pg.tunnel]; a key's public half must be in authorized_keys of that user",
            way=way,
        ),
    )


def _reason(error: DatabaseError, remote: str, gateway: str, said: str, alive: bool) -> TunnelError | None:
    """What the tunnel knows of the cause of an error of the database, if it has to do with it."""
    if "ChannelException(1" in said:
        return TunnelError(
            tr("{gateway} does not forward to the database at {remote}", gateway=gateway, remote=remote),
            hint=tr(
                "its sshd_config needs AllowTcpForwarding yes (or local), and a PermitOpen that includes the database"
            ),
        )
    if "Could not establish connection" in said:
        return passing(
            TunnelError(
                tr("{gateway} cannot reach the database at {remote}", gateway=gateway, remote=remote),
                hint=tr(
                    "host and port in [pg.database] are meant as the SSH server sees them: for a database on the "
                    "same machine 127.0.0.1 and 5432"
                ),
            )
        )
    if not alive:
        return passing(
            TunnelError(
                tr("the connection to {gateway} broke off: {message}", gateway=gateway, message=error.message),
                hint=error.hint,
            )
        )
    return None


# --- the server's identity ---


class HostKey(NamedTuple):
    """A server's public key, as known_hosts writes it."""

    kind: str  # ssh-ed25519
    data: str  # base64

    @property
    def fingerprint(self) -> str:
        """In the form that `ssh` and `ssh-keygen -l` show."""
        digest = hashlib.sha256(b64decode(self.data)).digest()
        return f"SHA256:{b64encode(digest).decode().rstrip('=')} ({self.kind})"


class KnownKeys(NamedTuple):
    """What a file says of one server."""

    accepted: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...]


def host_name(host: str, port: int) -> str:
    """The name of a server in the file."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def known_keys(lines: Iterable[str], name: str) -> KnownKeys:
    """The keys that a file accepts and revokes for a server. Lines that make no sense say nothing."""
    accepted: list[HostKey] = []
    revoked: list[HostKey] = []
    for line in lines:
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or not _is_base64(fields[2]) or not _means(fields[0], name):
            continue
        if marker in ("", "@revoked"):  # the other is @cert-authority: certificates are not supported
            (revoked if marker else accepted).append(HostKey(fields[1], fields[2]))
    return KnownKeys(tuple(accepted), tuple(revoked))


def _is_base64(text: str) -> bool:
    try:
        return bool(b64decode(text, validate=True))
    except binascii.Error:
        return False


def _means(names: str, name: str) -> bool:
    """Whether the names of a line, hashed or patterns, include this one."""
    if names.startswith("|1|"):
        salt, _, digest = names.removeprefix("|1|").partition("|")
        if not (_is_base64(salt) and _is_base64(digest)):
            return False
        return hmac.compare_digest(hmac.digest(b64decode(salt), name.encode(), "sha1"), b64decode(digest))
    patterns = names.lower().split(",")
    refused = (pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!"))
    return any(_fits(pattern, name) for pattern in patterns) and not any(_fits(pattern, name) for pattern in refused)


def _fits(pattern: str, name: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), name) is not None


def _trusted_key(config: TunnelConfig, host: str) -> paramiko.PKey:
    """The key that the server shows, if known_hosts vouches for it. Raises: TunnelError."""
    path, name = config.known_hosts.expanduser(), host_name(host, config.ssh_port)
    try:
        lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
    except OSError as error:
        raise TunnelError(
            tr("{path} cannot be read: {strerror}", path=path, strerror=error.strerror),
            hint=tr("check known_hosts in [pg.tunnel]"),
        ) from error
    known = known_keys(lines, name)
    shown = _shown_key(host, config.ssh_port, [key.kind for key in known.accepted])
    key = HostKey(shown.get_name(), shown.get_base64())
    if key in known.revoked:
        raise TunnelError(
            tr(
                "the SSH server {name} shows the key {fingerprint}, which {path} declares stolen (@revoked)",
                name=name,
                fingerprint=key.fingerprint,
                path=path,
            ),
            hint=tr("do not go on; ask its administrator"),
        )
    if key in known.accepted:
        return shown
    if known.accepted:
        expected = " or ".join(each.fingerprint for each in known.accepted)
        raise TunnelError(
            tr(
                "the SSH server {name} shows the key {fingerprint}, but {path} expects {expected}: this may "
                "be an attack",
                name=name,
                fingerprint=key.fingerprint,
                path=path,
                expected=expected,
            ),
            hint=tr("do not go on before its administrator has confirmed the new key; then remove the old line"),
        )
    raise TunnelError(
        tr("the SSH server {name} is not in {path}: nobody knows whether it is the right one", name=name, path=path),
        hint=tr(
            "if its administrator confirms the fingerprint {fingerprint}, add this line to that file:\n"
            "{name} {kind} {data}",
            fingerprint=key.fingerprint,
            name=name,
            kind=key.kind,
            data=key.data,
        ),
    )


def _shown_key(host: str, port: int, kinds: list[str]) -> paramiko.PKey:
    """The key a server shows, of one of `kinds` if it has one. Nothing but the handshake takes place."""
    where = tr("the SSH server {host}:{port}", host=host, port=port)
    try:
        with closing(socket.create_connection((host, port), HANDSHAKE_SECONDS)) as connection:
            transport = paramiko.Transport(connection)
            options = transport.get_security_options()
            # an RSA key has one name in files and several, by digest, in the handshake
            options.key_types = sorted(options.key_types, key=lambda kind: _name_in_files(kind) not in kinds)
            try:
                transport.start_client(timeout=HANDSHAKE_SECONDS)
                return transport.get_remote_server_key()
            finally:
                transport.close()
    except socket.gaierror as error:
        raise passing(
            TunnelError(
                tr("{where} is unknown: {strerror}", where=where, strerror=error.strerror),
                hint=tr("check ssh_host in [pg.tunnel] for a typing error"),
            )
        ) from error
    except OSError as error:
        raise passing(
            TunnelError(
                tr("{where} cannot be reached: {why}", where=where, why=error.strerror or error),
                hint=tr("check ssh_host and ssh_port in [pg.tunnel]"),
            )
        ) from error
    except (paramiko.SSHException, EOFError) as error:
        raise TunnelError(
            tr("{where} does not answer as one: {error}", where=where, error=error),
            hint=tr("check ssh_port in [pg.tunnel]: is it the SSH server's?"),
        ) from error


def _name_in_files(kind: str) -> str:
    return "ssh-rsa" if kind.startswith("rsa-sha2-") else kind
