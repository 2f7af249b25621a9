"""How the database is reached: the parameters of libpq, and remedies for the errors of libpq and PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from mastosync.config import DatabaseConfig, Secret
from mastosync.errors import DatabaseError
from mastosync.language import deferred, say, tr

_REMEDIES: tuple[tuple[str, str, bool], ...] = (
    (
        r"^40001|conflict with recovery",
        deferred(
            "a standby cancels reads that take longer than its max_standby_streaming_delay. Read from the primary, or "
            "raise that setting or set hot_standby_feedback = on there. Nothing was written: run plan again"
        ),
        True,
    ),
    (
        r"permission denied for database",
        deferred("as its owner: GRANT CONNECT ON DATABASE … TO the user in [pg.database];"),
        False,
    ),
    (
        r"^42501|permission denied",
        deferred(
            "this user needs SELECT on Mastodon's tables, not narrowed by a row security policy; "
            "simplest is the user that Mastodon itself has (DB_USER)"
        ),
        False,
    ),
    (
        r"^57014|^25P0[34]",
        deferred(
            "an administrator or a time limit of the server or pooler ended the query. "
            "Nothing was written: run plan again"
        ),
        True,
    ),
    (
        r"^55P03",
        deferred("a migration may be at work on the table. Nothing was written: run plan again when it has finished"),
        True,
    ),
    (r"^53[12]00|^XX00", deferred("the server itself is in trouble; its log says more"), True),
    (
        r"^22021|^22P05|invalid byte sequence|no equivalent in encoding",
        deferred("the database holds text that its own encoding does not have; see its log"),
        False,
    ),
    (
        r"password authentication failed|no password supplied|SASL|SCRAM",
        deferred("check user and password in [pg.database]; Mastodon's own are DB_USER and DB_PASS in .env.production"),
        False,
    ),
    (
        r"peer authentication failed|ident authentication failed",
        deferred(
            "through its socket the server takes only the system user of the same name: run as that user, or set "
            "host = 127.0.0.1 and a password in [pg.database]"
        ),
        False,
    ),
    (
        r"pg_hba\.conf",
        deferred(
            "the server does not let this user in from this machine: add a line to its pg_hba.conf, set "
            "sslmode = require if it wants encryption, or go through [pg.tunnel]"
        ),
        False,
    ),
    (
        r"role .* (does not exist|is not permitted)",
        deferred("check user in [pg.database]; Mastodon's own is DB_USER in .env.production"),
        False,
    ),
    (
        r"database .* does not exist|no such database",
        deferred("check database in [pg.database]; Mastodon's own is DB_NAME in .env.production (mastodon_production)"),
        False,
    ),
    (
        r"connection refused|no such file or directory|no route to host|network is unreachable",
        deferred(
            "is PostgreSQL running there? Check host and port in [pg.database]; a server that listens only to its own "
            "machine is reached through [pg.tunnel]"
        ),
        True,
    ),
    (
        r"translate host name|name or service not known|failed to resolve|nodename nor servname",
        deferred(
            "check host in [pg.database] for a typing error; a name that only another network knows needs [pg.tunnel]"
        ),
        True,
    ),
    (
        r"timeout expired",
        deferred("a firewall may be in between: check host and port in [pg.database], or go through [pg.tunnel]"),
        True,
    ),
    (
        r"does not support SSL|SSL was required",
        deferred(
            "the server has no encryption: set sslmode = prefer in [pg.database] if the network in between "
            "can be trusted"
        ),
        False,
    ),
    (
        r"certificate|root\.crt",
        deferred(
            "sslmode = verify-ca and verify-full need the authority's certificate in ~/.postgresql/root.crt (or "
            "PGSSLROOTCERT); verify-full also needs the host name that is in the server's certificate"
        ),
        False,
    ),
    (
        r"too many clients|too many connections|connection slots|no more connections|^53300",
        deferred("all connections of the server are in use: try again later, or connect to its pooler"),
        True,
    ),
    (r"starting up|shutting down|in recovery mode|not yet accepting|^57P03", deferred("try again in a minute"), True),
    (
        r"unsupported startup parameter",
        deferred("add it to ignore_startup_parameters of the pooler, or connect to the server"),
        False,
    ),
    (
        r"^57P0|^08|closed the connection|connection.{0,10}(lost|closed|reset)|consuming input|SSL SYSCALL",
        deferred(
            "the connection broke off: look at the server's log and at the network in between. "
            "Nothing was written: run plan again"
        ),
        True,
    ),
)
"""SQLSTATE, or words of libpq, which reports no SQLSTATE → the next step, and whether the error may pass without it."""


def server_address(config: DatabaseConfig) -> tuple[str, int]:
    """Host (or socket folder) and port of the database: where a tunnel has to lead.

    Raises: DatabaseError for a URL that cannot be understood.
    """
    arguments = connection_arguments(config)
    host, _, _ = arguments.get("host", "").partition(",")
    port, _, _ = arguments.get("port", "").partition(",")
    return host or "localhost", int(port or 5432)


def connection_arguments(config: DatabaseConfig) -> dict[str, str]:
    """The parameters for libpq, which takes what is missing from its own places (`PGPASSFILE` and its kin)."""
    given: dict[str, Any] = (
        _parse_url(config.url)
        if config.url
        else {
            "host": config.host,
            "port": config.port,
            "user": config.user,
            "password": config.password.reveal() if config.password else None,
            "dbname": config.database,
            "sslmode": config.sslmode,
        }
    )
    given.setdefault("connect_timeout", config.connect_timeout_seconds)
    # A dead peer is noticed after 70 seconds; the system's own default is two hours.
    given |= {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 4}
    given |= {"application_name": "mastosync", "client_encoding": "UTF8"}
    return {key: str(value) for key, value in given.items() if value not in (None, "")}


def _parse_url(url: Secret) -> dict[str, Any]:
    """Read a `DATABASE_URL` as Rails writes it. libpq's complaints quote passwords, so they are kept back."""
    if (given := _understood(url.reveal())) is None:
        raise DatabaseError(
            tr("the database URL cannot be understood"),
            hint=tr(
                "its form is postgresql://user:password@host:port/database, and special characters in the "
                "password are percent-encoded (@ as %40, / as %2F, # as %23, ? as %3F, % as %25); or set "
                "host, user, password … instead"
            ),
        )
    return given


def _understood(url: str) -> dict[str, Any] | None:
    """Its parts, if it is one. Nothing is raised here, where the password stands in variables."""
    base, _, query = url.partition("?")
    userinfo, _, _ = url.partition("://")[2].rpartition("@")
    if re.search(r"[/?#@]", userinfo):
        return None
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    kept = [part for part in query.split("&") if part.partition("=")[0] in known]  # `pool=5` is for Rails
    try:
        given = conninfo_to_dict(f"{base}?{'&'.join(kept)}")
    except psycopg.Error:
        return None
    return given if re.fullmatch(r"[\d,]*", str(given.get("port") or "")) else None


def describe(arguments: Mapping[str, str]) -> str:
    """Which database it is, for people."""
    database, user = arguments.get("dbname", "(default)"), arguments.get("user", "(default)")
    where = address_of(arguments)
    return tr('database "{database}" at {where} as user "{user}"', database=database, where=where, user=user)


def address_of(arguments: Mapping[str, str]) -> str:
    """Its host and port."""
    return f"{arguments.get('host', 'localhost')}:{arguments.get('port', 5432)}"


def through_tunnel(arguments: Mapping[str, str], via: tuple[str, int]) -> dict[str, str]:
    """Lead the connection elsewhere; `host` stays the name that a certificate is checked against."""
    host, _, _ = arguments.get("host", "").partition(",")
    return {"host": "localhost" if host.startswith("/") else host, "hostaddr": via[0], "port": str(via[1])}


def hint_for(sqlstate: str | None, text: str) -> str:
    """The next step after an error with this SQLSTATE (None: of the connection) and text; "" if there is none."""
    step, _ = _remedy(sqlstate, text)
    return say(step)


def may_pass(sqlstate: str | None, text: str) -> bool:
    """Whether such an error may pass by itself: nothing was refused, but something was out of reach or busy."""
    _, passes = _remedy(sqlstate, text)
    return passes


def _remedy(sqlstate: str | None, text: str) -> tuple[str, bool]:
    said = f"{sqlstate or ''} {text}"
    found = ((step, passes) for pattern, step, passes in _REMEDIES if re.search(pattern, said, re.IGNORECASE))
    return next(found, ("", False))
