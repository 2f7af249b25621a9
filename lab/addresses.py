"""Where the lab's servers are, and the few things everyone does with them.

Plain values that travel as JSON: a test that runs in another process than the one that started
the servers has all it needs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

import botocore.session
import psycopg
from boto3.session import Session
from botocore.config import Config
from psycopg import sql
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CLIENT_CONFIG = Config(
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    s3={"addressing_style": "path"},
    retries={"total_max_attempts": 1},
    max_pool_connections=32,
    connect_timeout=10,
    read_timeout=60,
    user_agent="lab",  # else it is put together for each request, in a tenth of the time that a small one takes
)


_MAKING = Lock()  # a session may be asked for one client at a time


@cache
def _session() -> Session:
    """The session of all clients: it takes longer than all else that makes one.

    Times in answers are left as they were sent: nobody reads them, and to parse them takes much of a listing.
    """
    session = botocore.session.get_session()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
    return Session(botocore_session=session)


@dataclass(frozen=True, slots=True)
class S3Address:
    """An S3 endpoint with two pairs of keys. moto does not look at keys and lets everyone in."""

    endpoint_url: str
    access_key: str  # may do everything
    secret_key: str
    reader_access_key: str  # may read and list; any write is AccessDenied
    reader_secret_key: str
    region: str = "us-east-1"

    def client(self) -> S3Client:
        """A boto3 client with the keys that may do everything, one attempt a request. Close it.

        Times in its answers are text.
        """
        with _MAKING:
            return _session().client(
                "s3",
                endpoint_url=self.endpoint_url,
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
                region_name=self.region,
                config=CLIENT_CONFIG,
            )


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """One database over TCP, as its owner, who needs the password."""

    host: str
    port: int
    user: str
    password: str
    name: str

    @property
    def conninfo(self) -> str:
        """A libpq connection string, password included."""
        return make_conninfo(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=self.name, sslmode="disable"
        )

    def connect(self, *, autocommit: bool = False) -> psycopg.Connection:
        """A new connection. Close it, or use it in a `with`."""
        return psycopg.connect(self.conninfo, autocommit=autocommit, connect_timeout=10)


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A PostgreSQL server: over TCP `user` needs the password, in the socket folder `admin` needs none."""

    host: str
    port: int
    user: str
    password: str
    socket_dir: str
    admin: str = "postgres"

    def admin_connection(self, database: str = "postgres") -> psycopg.Connection:
        """A new superuser connection in autocommit mode. Close it, or use it in a `with`."""
        return psycopg.connect(
            host=self.socket_dir,
            port=self.port,
            user=self.admin,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )

    def database(self, name: str) -> DatabaseAddress:
        """How `user` reaches the database of this name."""
        return DatabaseAddress(self.host, self.port, self.user, self.password, name)

    def create_database(self, name: str, template: str = "template1") -> DatabaseAddress:
        """Make a database that belongs to `user`: an empty one, or one like a `template` that nobody is connected to.

        Its files are copied as they are: page by page through the log, as is usual, costs twice the work.
        """
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY OWNER {}")
        with self.admin_connection() as connection:
            connection.execute(statement.format(*map(sql.Identifier, (name, template, self.user))))
        return self.database(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and throw out whoever is connected. One that is gone is no error."""
        with self.admin_connection() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass(frozen=True, slots=True)
class LabAddresses:
    """Everything a guardian has started, and where it keeps it."""

    folder: str  # data and logs; gone when the guardian has cleaned up
    guardian_pid: int
    postgres: PostgresAddress | None = None
    s3: tuple[S3Address, ...] = ()
    moto: S3Address | None = None
    pids: dict[str, int] = field(default_factory=dict)  # postgres, s3-0, s3-1, …, moto

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> LabAddresses:
        """What `to_json` wrote."""
        value = json.loads(text)
        return cls(
            folder=value["folder"],
            guardian_pid=value["guardian_pid"],
            postgres=PostgresAddress(**value["postgres"]) if value["postgres"] else None,
            s3=tuple(S3Address(**address) for address in value["s3"]),
            moto=S3Address(**value["moto"]) if value["moto"] else None,
            pids=value["pids"],
        )
