"""What to do about an error of the database: one pure table, from what PostgreSQL says to the next step."""

from __future__ import annotations

import re

from mastosync.language import deferred, say

# SQLSTATE, or words of libpq, which tells no SQLSTATE -> the next step, and whether it may pass without one
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


def database_hint(sqlstate: str | None, text: str) -> str:
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
