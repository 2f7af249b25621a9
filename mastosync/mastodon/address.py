"""Where the database is, as libpq is told it: from keys, or from a URL as Rails writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from mastosync.config import DatabaseConfig, Secret
from mastosync.errors import DatabaseError
from mastosync.language import tr


def server_address(config: DatabaseConfig) -> tuple[str, int]:
    """Host (or socket folder) and port of the database: where a tunnel has to lead.

    Raises: DatabaseError for a URL that cannot be understood.
    """
    arguments = connection_arguments(config)
    host, _, _ = arguments.get("host", "").partition(",")
    port, _, _ = arguments.get("port", "").partition(",")
    return host or "localhost", int(port or 5432)


def connection_arguments(config: DatabaseConfig) -> dict[str, str]:
    """What libpq is told. What is left out it takes from its own places (`PGPASSFILE` and its kin)."""
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
    where = place_of(arguments)
    return tr('database "{database}" at {where} as user "{user}"', database=database, where=where, user=user)


def place_of(arguments: Mapping[str, str]) -> str:
    """Its host and port."""
    return f"{arguments.get('host', 'localhost')}:{arguments.get('port', 5432)}"


def detour(arguments: Mapping[str, str], via: tuple[str, int]) -> dict[str, str]:
    """Lead the connection elsewhere; `host` stays the name that a certificate is checked against."""
    host, _, _ = arguments.get("host", "").partition(",")
    return {"host": "localhost" if host.startswith("/") else host, "hostaddr": via[0], "port": str(via[1])}
