"""How far a standby may be behind its primary, as far as it can know that itself."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from mastosync.errors import DatabaseError, PlanRefused
from mastosync.language import deferred, say, tr

if TYPE_CHECKING:
    from mastosync.mastodon.database import MastodonDatabase

LAG_AT_MOST = timedelta(hours=1)
"""Older rows do not tell who may read what by now."""

LAG_REMEDY = deferred(
    "name the primary in `[pg.database]`, or wait until the standby has caught up; if the primary is only idle, `GRANT"
    " pg_read_all_stats` to the user of `[pg.database]` lets the standby tell"
)
"""What to do about a standby that may be further behind."""

_IN_RECOVERY = "SELECT pg_is_in_recovery()"
_LAST_TRANSACTION = "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8"
_LAST_WORD = """
SELECT (SELECT extract(epoch FROM clock_timestamp() - last_msg_send_time)::float8 FROM pg_stat_wal_receiver
         WHERE status = 'streaming' AND latest_end_lsn <= pg_last_wal_replay_lsn())
"""
"""Where all has been replayed that the primary had at its last word, that word tells; else the last transaction does.

The positions alone tell nothing: those of a standby that is cut off are equal, too. Only members of `pg_read_all_stats`
see that word; for others a standby of an idle primary looks as if it lagged.
"""


def lag_of(database: MastodonDatabase) -> float:
    """Seconds; 0.0: it is a primary; infinite: a standby that cannot tell. Raises: DatabaseError.

    Ask before a snapshot is taken, and in no transaction: replay goes on. A standby of a standby knows of the other one
    alone.
    """
    with database.reading("pg_is_in_recovery()"):
        ((in_recovery,),) = database.connection.execute(_IN_RECOVERY).fetchall()
    if not in_recovery:
        return 0.0
    lags: list[tuple[float | None]] = []
    with suppress(DatabaseError), database.reading("pg_last_xact_replay_timestamp()"):  # some services refuse it
        lags += database.connection.execute(_LAST_TRANSACTION).fetchall()
    with suppress(DatabaseError), database.reading("pg_stat_wal_receiver"):  # older versions lack it, and some services
        lags += database.connection.execute(_LAST_WORD).fetchall()
    return max(min((lag for (lag,) in lags if lag is not None), default=float("inf")), 0.0)


def require_up_to_date(database: MastodonDatabase) -> None:
    """Raises: PlanRefused if it is a standby that may be more than an hour behind."""
    if said := behind(database):
        raise PlanRefused(said, hint=say(LAG_REMEDY))


def behind(database: MastodonDatabase) -> str:
    """That it is a standby that may be more than an hour behind, for people; empty: it is not."""
    if database.lag_seconds <= LAG_AT_MOST.total_seconds():
        return ""
    return tr(
        "{name} is a standby that may be more than an hour behind, as it has heard nothing from its primary for that"
        " long: who may read what by now, and what was uploaded since, it does not tell",
        name=database.name,
    )
