"""What a cut-over is judged by: the manifest, the configuration and Mastodon's own settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mastosync.findings.deleted import Deleted, SharedBucket
from mastosync.manifest import (
    CountLine,
    Exposed,
    Gap,
    LastChange,
    Noted,
    ObjectSettings,
    PlanRecord,
    Relation,
    VerificationRecord,
)
from mastosync.model import EntryState, Kind, Ownership


class Fallback(StrEnum):
    """What nginx asks the old store for if the new one does not have it. Backups are private, and never asked for."""

    ALL = "all"  # while the switch goes on: uploads may still come to the old store
    CACHE = "cache"  # what is of other servers, once all that is of this one has arrived
    NONE = "none"


class Secrets(StrEnum):
    """What changing `.env.production` does to the secrets that the configuration takes from it."""

    SAFE = "safe"  # nothing: they stand elsewhere, or do not change
    UNPINNED = "unpinned"  # they will be overwritten
    LOST = "lost"  # they are overwritten already, by those of the destination
    ALIKE = "alike"  # so they are, or both stores have one key


class LossOutcome(StrEnum):
    """What becomes of a file that the source has lost."""

    FOR_GOOD = "lost"
    FETCHABLE = "fetchable"  # other servers have it
    UNIDENTIFIED = "unproven"  # the new store has something under its key, and nothing proves that it is this file
    DISPENSABLE = "dispensable"  # Mastodon does without, or makes it anew


@dataclass(frozen=True, slots=True)
class CutoverEvidence:
    """What the verdict rests on."""

    counts: Sequence[CountLine]
    plans: Sequence[PlanRecord]  # the newest first, and at least one
    verifications: Sequence[VerificationRecord]  # the newest first
    running: bool  # a copy is at work
    done_since: int  # entries that arrived after the last verification
    public: bool  # the destination is a bucket; else it is a folder
    deleted: Deleted
    now: float  # seconds since the epoch
    exposed: Exposed = field(default_factory=Exposed)  # private, and everybody may read what lies at the destination
    relation: Relation | None = None  # what both stores were found to be; None: nobody has looked
    shared: SharedBucket | None = None  # that both stores are; None: they are two
    fallback: Fallback = Fallback.ALL
    secrets: Secrets = Secrets.SAFE
    media_host: bool = True  # somebody has said which host browsers will ask for media
    permission: str = ""  # what Mastodon's settings say of S3_PERMISSION; empty: nothing, or nobody knows them
    acl: str = ""  # of the destination, as configured
    takes_acls: bool = True  # the destination, as far as anybody knows
    by_hand: tuple[str, str] | None = None  # why nginx cannot be told what to ask, and what to do; None: it can
    elsewhere: str = ""  # where Mastodon's media are by its settings, if that is neither source nor destination
    unclear: str = ""  # why nobody can tell which of the two they are in; empty: it is told, or nothing is known
    ownership: Ownership | None = None  # of the folder that the destination is, if that can be looked at
    unseen: tuple[str, str] | None = None  # why that cannot be looked at, and what to do
    settings: ObjectSettings | None = None  # of the destination, as the configuration has them; None: it has none
    other_settings: Noted = ()  # under which something may lie there
    dropped_by_plan: int = 0  # entries that accepted plans (--accept-gone) have lost, and no plan has found again
    change: LastChange = field(default_factory=LastChange)  # at the destination, by another command than `copy`
    gap: Gap | None = None  # what the manifest lacks
    unidentified: Mapping[Kind, int] = field(default_factory=dict)  # missing, but the destination has something

    @property
    def some_pending(self) -> bool:
        """Whether anything is still to be copied."""
        return any(line.state is EntryState.PENDING and line.objects for line in self.counts)
