"""How much of what is done a plan may lose: a wrong database, and one that was restored by half, lack most of it.

What is of this server hardly ever leaves by the hundred, so where enough of it was done, it alone tells. Files of other
servers are a cache, which admins clear. docs/design.md has these numbers in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mastosync.errors import PlanRefused
from mastosync.language import tr
from mastosync.manifest.codes import DONE, GONE, SKIPPED
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.databases import described
from mastosync.model import CACHE_TABLES, DatabaseIdentity, Kind

ALWAYS = 10  # entries: so few say nothing
OWN_PERCENT = 5  # of what is of this server
OWN_ENOUGH = 20  # entries of it: if they are still there, it is the right database, whatever of other servers is gone
OWN_FEW, OWN_FEW_PERCENT = 100, 25  # or so few entries, if they are no more than this
PROFILE_PERCENT = 50  # of avatars, headers and emojis of other servers
ALL_PERCENT = 95  # of everything

_DONE = f"SELECT kind, objects FROM counts WHERE state = {DONE} AND objects > 0"
_WANTED = f"""
SELECT kind, sum(objects) FROM counts WHERE objects > 0 AND NOT (state = {SKIPPED} AND reason = {GONE}) GROUP BY kind
"""
_MARKED = f"""
SELECT kind, count(*) FROM entries INDEXED BY entries_accepted
WHERE accepted IS NOT NULL AND accepted = {GONE} GROUP BY kind
"""


@dataclass(slots=True)
class Loss:
    """So many entries that were done are gone."""

    gone: int = 0
    done: int = 0  # before

    def is_likely(self, percent: int, few: int = 0, few_percent: int = 0) -> bool:
        """Whether it is no more than a few, or than this share."""
        share = 100 * self.gone / max(self.done, 1)
        return self.gone <= ALWAYS or share <= percent or (self.gone <= few and share <= few_percent)


@dataclass(slots=True)
class Losses:
    """What a plan has lost, of what it has looked at."""

    own: Loss = field(default_factory=Loss)
    profiles: Loss = field(default_factory=Loss)
    cache: Loss = field(default_factory=Loss)

    @classmethod
    def of(cls, counted: Iterable[tuple[Kind, int, int]]) -> Losses:
        """Of entries that are gone, and that were done, by kind."""
        losses = cls()
        for kind, gone, done in counted:
            loss = losses.cache if kind.table in CACHE_TABLES else losses.profiles
            loss = loss if kind.remote else losses.own
            loss.gone += gone
            loss.done += done
        return losses

    @property
    def all(self) -> Loss:
        """Together."""
        each = (self.own, self.profiles, self.cache)
        return Loss(sum(loss.gone for loss in each), sum(loss.done for loss in each))

    @property
    def are_likely(self) -> bool:
        """Whether an instance loses as much as that."""
        if self.own.done >= OWN_ENOUGH and 100 * self.own.gone <= OWN_PERCENT * self.own.done:
            return True
        return (
            self.own.is_likely(OWN_PERCENT, OWN_FEW, OWN_FEW_PERCENT)
            and self.profiles.is_likely(PROFILE_PERCENT)
            and self.all.is_likely(ALL_PERCENT)
        )


def done_by_kind(manifest: Manifest) -> dict[int, int]:
    """How many entries of each kind are done, of the counters alone."""
    with translated(manifest.path):
        return dict(manifest.connection.execute(_DONE).fetchall())


def least_losses(manifest: Manifest, seen: Mapping[Kind, int], kinds: Iterable[int]) -> Losses:
    """What a plan that has seen so many entries of each kind would lose at least, of these kinds."""
    done = done_by_kind(manifest)
    counted = ((manifest.kind(number), done.get(number, 0)) for number in kinds)
    return Losses.of((kind, max(0, objects - seen.get(kind, 0)), objects) for kind, objects in counted)


def marked_losses(manifest: Manifest) -> Losses:
    """What plans have lost by `--accept-gone`, and none has seen since, beside what is wanted now.

    Within a transaction the counters have to be written first. Raises: ManifestError.
    """
    with translated(manifest.path):
        marked = dict(manifest.connection.execute(_MARKED).fetchall())
        wanted = dict(manifest.connection.execute(_WANTED).fetchall()) if marked else {}
    return Losses.of(
        (manifest.kind(number), marked.get(number, 0), marked.get(number, 0) + wanted.get(number, 0))
        for number in marked.keys() | wanted.keys()
    )


def require_likely(losses: Losses, database: DatabaseIdentity) -> None:
    """Raises: PlanRefused that says how much would be gone."""
    if losses.are_likely:
        return
    raise PlanRefused(
        tr(
            "{gone:,} of {done:,} entries that are done are not in {database}, {own_gone:,} of {own_done:,} of this"
            " server: they would be gone. Nothing was changed",
            gone=losses.all.gone,
            done=losses.all.done,
            own_gone=losses.own.gone,
            own_done=losses.own.done,
            database=described(database),
        ),
        hint=tr(
            "is this the right database, and is all of it restored? If so, and that much was deleted:"
            " `mastosync plan --accept-gone`"
        ),
    )
