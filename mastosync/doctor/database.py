"""The database: whether a plan can read it, and will read everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mastosync.doctor.checks import Findings, Reporter, is_this_machine
from mastosync.errors import ConfigError, DatabaseError, NoMastodonTables
from mastosync.findings import Finding
from mastosync.language import deferred, enumerated, joined, say, tr
from mastosync.model import Entry

if TYPE_CHECKING:
    from mastosync.mastodon.identity import DatabaseProbe, ServerFacts
    from mastosync.model import DatabaseIdentity

DATABASE_CHECKS = ("tunnel", "connection", "server", "pooler", "tables", "columns", "permission")

_MAY_BE_ABSENT = {
    "imports": deferred("Mastodon 4.4 removed it"),
    "preview_card_providers": deferred("older releases do not have it"),
}
_PRIVACY = deferred("media of suspended accounts cannot be recognised, and would become public")
_REMOVED = deferred("media of posts that moderators removed cannot be recognised, and would become public")
_ORIGIN = deferred("files of other servers count as this server's own, and are not looked for under `cache/`")
_NEEDED = {
    ("accounts", "suspended_at"): _PRIVACY,
    ("accounts", "domain"): _ORIGIN,
    ("media_attachments", "account_id"): _PRIVACY,
    ("media_attachments", "status_id"): _REMOVED,
    ("statuses", "id"): _REMOVED,  # an old release has no `deleted_at`, and keeps nothing of what it removes
    ("media_attachments", "remote_url"): _ORIGIN,
    ("custom_emojis", "domain"): _ORIGIN,
    ("site_uploads", "var"): deferred("icons and thumbnails that Mastodon makes from an upload are not planned"),
}

Via = tuple[str, int] | None
"""The near end of a tunnel; None: there is no tunnel."""


@dataclass(frozen=True, slots=True)
class DatabaseTarget:
    """The database, and how to open it. Both calls raise DatabaseError, the first one ConfigError as well."""

    gateway: str  # the SSH server, for people; empty: there is no tunnel
    open_tunnel: Callable[[], AbstractContextManager[Via]]
    connect: Callable[[Via], AbstractContextManager[DatabaseProbe]]


@dataclass(slots=True)
class DatabaseFacts:
    """What other checks want to know."""

    identity: DatabaseIdentity | None = None  # None: unknown
    estimated_entries: int = 0  # 0: unknown
    sample: list[Entry] = field(default_factory=list)


def check_database(reporter: Reporter, target: DatabaseTarget, types: Sequence[str]) -> Findings[DatabaseFacts]:
    """All checks of the database, for a plan of some tables."""
    facts = DatabaseFacts()
    made: list[str] = [] if target.gateway else ["tunnel"]
    try:
        with target.open_tunnel() as via:
            if via is not None:
                made.append("tunnel")
                yield reporter.ok(
                    "tunnel",
                    tr("{gateway} has a key that is in known_hosts, and accepts the login", gateway=target.gateway),
                )
            with target.connect(via) as examination:
                made.append("connection")
                yield _connection(reporter, examination)
                for found in _examined(reporter, examination, types, facts):
                    made.append(found.check)
                    yield found
    except (DatabaseError, ConfigError) as error:
        if isinstance(error, NoMastodonTables):  # which only a connection finds out
            made += ["connection", "server", "pooler"]
            yield reporter.ok("connection", tr("the database accepts the login"))
        failed = next((check for check in DATABASE_CHECKS if check not in made), DATABASE_CHECKS[-1])
        yield reporter.failure(failed, error)
        left = [check for check in DATABASE_CHECKS if check not in (*made, failed)]
        yield from reporter.skipped(left, tr("correct what is above first"))
    return facts


def _examined(
    reporter: Reporter, examination: DatabaseProbe, types: Sequence[str], facts: DatabaseFacts
) -> Findings[None]:
    server = examination.server()
    yield _server(reporter, server)
    yield _pooler(reporter, server)
    tables = examination.tables()
    yield _tables(reporter, tables, types)
    yield _columns(reporter, tables, types)
    yield _permission(reporter, examination.refusals([table for table in types if table in tables]))
    facts.identity = examination.identity()
    facts.estimated_entries = examination.estimated_entries(types)
    facts.sample = examination.sample()


def _connection(reporter: Reporter, examination: DatabaseProbe) -> Finding:
    if is_this_machine(examination.unencrypted_to):
        return reporter.ok("connection", examination.name)
    return reporter.warning(
        "connection",
        tr(
            "{name}: not encrypted on its way to {unencrypted_to}",
            name=examination.name,
            unencrypted_to=examination.unencrypted_to,
        ),
        tr("enable TLS on the server and set `sslmode = require` (better: verify-full), or use `[pg.tunnel]`"),
    )


def _server(reporter: Reporter, server: ServerFacts) -> Finding:
    if not server.in_recovery:
        return reporter.ok("server", tr("PostgreSQL {version}, the primary", version=server.version))
    waits = server.standby_delay in ("-1", "-1ms") or server.standby_feedback
    said = tr("PostgreSQL {version}, a standby: what it has not replayed yet is not planned", version=server.version)
    if waits:
        said, remedies = tr("{said}; it does not cancel long reads", said=said), []
    else:
        said = tr(
            "{said}, and it cancels queries that delay replay for more than {standby_delay}",
            said=said,
            standby_delay=server.standby_delay,
        )
        remedies = [
            tr(
                "read from the primary, or set hot_standby_feedback = on (or max_standby_streaming_delay = "
                "-1) on the standby; a plan that is cancelled leaves nothing behind and can be repeated"
            )
        ]
    if server.refusal:
        said, remedies = joined([said, server.refusal.message]), [server.refusal.hint, *remedies]
    return reporter.warning("server", said, joined(remedies)) if remedies else reporter.ok("server", said)


def _pooler(reporter: Reporter, server: ServerFacts) -> Finding:
    if not server.pooled:
        return reporter.ok("pooler", tr("no pooler: the server itself answers"))
    return reporter.ok(
        "pooler",
        tr(
            "connections go through a pooler (pgbouncer or the like), which is fine: a plan is one transaction, "
            "and keeps its server connection to the end; query_timeout and idle_transaction_timeout of the pooler "
            "must be long enough"
        ),
    )


def _permission(reporter: Reporter, refusals: Sequence[DatabaseError]) -> Finding:
    if not refusals:
        return reporter.ok("permission", tr("every table that is planned can be read"))
    remedies = dict.fromkeys(refusal.hint for refusal in refusals)
    return reporter.failure("permission", joined(refusal.message for refusal in refusals), "\n".join(remedies))


def _tables(reporter: Reporter, tables: Mapping[str, tuple[str, ...]], types: Sequence[str]) -> Finding:
    absent = [table for table in types if table not in tables]
    present = tr("{there} of {all} tables are there", there=sum(table in tables for table in types), all=len(types))
    surprising = [table for table in absent if table not in _MAY_BE_ABSENT]
    if surprising:
        return reporter.warning(
            "tables",
            tr(
                "{present}; {names} should be there too, and count as empty",
                present=present,
                names=enumerated(surprising),
            ),
            tr(
                "check that this is Mastodon's whole database. An old release may lack some of these tables; in "
                "any other case their objects are not copied"
            ),
        )
    known = [tr("{table} is not there: {why}", table=table, why=say(_MAY_BE_ABSENT[table])) for table in absent]
    return reporter.ok("tables", joined([present, *known]))


def _columns(reporter: Reporter, tables: Mapping[str, tuple[str, ...]], types: Sequence[str]) -> Finding:
    also_read = {"accounts", "statuses"} if "media_attachments" in types and "media_attachments" in tables else set()
    relevant = also_read.union(table for table in types if table in tables)  # of the others `_tables` tells
    lost = {
        f"{table}.{column}" if table in tables else table: meaning
        for (table, column), meaning in _NEEDED.items()
        if table in relevant and column not in tables.get(table, ())
    }
    if not lost:
        return reporter.ok("columns", tr("every column that decides on keys and privacy is there"))
    said = joined(tr("{name} is missing: {meaning}", name=name, meaning=say(meaning)) for name, meaning in lost.items())
    return reporter.warning(
        "columns",
        said,
        tr(
            "check that this is Mastodon's whole database. Upgrade an old release of Mastodon first, or copy "
            "those objects by hand"
        ),
    )
