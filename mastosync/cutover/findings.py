"""What is looked at before a cut-over, and what it comes to.

Whether what lies in a folder will be Mastodon's to read and delete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mastosync.findings.deleted import Deleted, SharedBucket
from mastosync.findings.shared import giving, giving_to_mastodon, of_root_told, others_told, places_of
from mastosync.language import tr
from mastosync.manifest import (
    CountLine,
    Exposed,
    Gap,
    LastChange,
    Noted,
    ObjectSettings,
    Relation,
    SnapshotRecord,
    VerificationRecord,
)
from mastosync.model import EntryState, Kind, Ownership


class Grade(StrEnum):
    """What a finding means for the cut-over."""

    OK = "ok"
    WARNING = "warning"  # somebody should know before
    NO_GO = "no-go"  # users would miss something


class CutoverVerdict(StrEnum):
    """What it all comes to."""

    GO = "go"
    GO_WITH_FALLBACK = "go-with-fallback"  # if the old store is asked for what has not arrived yet
    NO_GO = "no-go"


class Fallback(StrEnum):
    """What the old store is asked for when the new one does not have it. Backups are private: it never is for those."""

    ALL = "all"  # while the switch goes on: uploads may still come to the old store
    CACHE = "cache"  # what is of other servers, once all that is of this one has arrived
    NONE = "none"


class Secrets(StrEnum):
    """What the change of `.env.production` does to the secrets that the configuration takes from it."""

    SAFE = "safe"  # nothing: they stand elsewhere, or do not change
    UNPINNED = "unpinned"  # they will be overwritten
    LOST = "lost"  # they are overwritten already, by those of the destination
    ALIKE = "alike"  # so they are, or both stores have one key


class LossOutcome(StrEnum):
    """What becomes of a file that the source has lost."""

    FOR_GOOD = "lost"
    FETCHABLE = "fetchable"  # other servers have it
    UNPROVEN = "unproven"  # the new store has something under its key, and nobody could prove that it is this
    DISPENSABLE = "dispensable"  # Mastodon does without, or makes it anew


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what to do about it. Its names are part of the interface."""

    check: str
    grade: Grade
    message: str
    remedy: str = ""  # empty where nothing need be done
    needs_fallback: bool = False  # it will do as long as the old store is asked for what the new one lacks

    def as_json(self) -> dict[str, str | bool]:
        """For scripts."""
        return {
            "check": self.check,
            "status": self.grade.value,
            "message": self.message,
            "remedy": self.remedy,
            "needs_fallback": self.needs_fallback,
        }


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the manifest remembers."""

    counts: Sequence[CountLine]
    plans: Sequence[SnapshotRecord]  # the newest first, and at least one
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
    doubt: str = ""  # why nobody can tell which of the two they are in; empty: it is told, or nothing is known
    ownership: Ownership | None = None  # of the folder that the destination is, if that can be looked at
    unseen: tuple[str, str] | None = None  # why that cannot be looked at, and what to do
    settings: ObjectSettings | None = None  # of the destination, as the configuration has them; None: it has none
    other_settings: Noted = ()  # under which something may lie there
    lost: int = 0  # entries, by plans that were accepted, and no plan has found them again
    change: LastChange = field(default_factory=LastChange)  # at the destination, by another command than `copy`
    gap: Gap | None = None  # what the manifest lacks
    lying_there: Mapping[Kind, int] = field(default_factory=dict)  # of what is missing: the destination has something

    @property
    def some_pending(self) -> bool:
        """Whether anything is still to be copied."""
        return any(line.state is EntryState.PENDING and line.objects for line in self.counts)


@dataclass(slots=True)
class Cutover:
    """Go or no-go."""

    findings: list[Finding] = field(default_factory=list)
    losses: dict[tuple[str, bool, LossOutcome], int] = field(
        default_factory=dict
    )  # by table, and whether of other servers

    @property
    def verdict(self) -> CutoverVerdict:
        """The worst of the findings."""
        if any(found.grade is Grade.NO_GO for found in self.findings):
            return CutoverVerdict.NO_GO
        needed = any(found.needs_fallback for found in self.findings)
        return CutoverVerdict.GO_WITH_FALLBACK if needed else CutoverVerdict.GO

    def as_json(self) -> dict[str, Any]:
        """For scripts. The names are part of the interface."""
        return {
            "verdict": self.verdict.value,
            "findings": [found.as_json() for found in self.findings],
            "missing": [
                {"type": table, "remote": remote, "loss": loss.value, "objects": objects}
                for (table, remote, loss), objects in self.losses.items()
            ],
        }


def owned(evidence: Evidence) -> Iterator[Finding]:
    """Nothing is said of a bucket, nor where all is well."""
    found = evidence.ownership
    if evidence.unseen:
        yield Finding("owner", Grade.WARNING, *evidence.unseen)
    if found is None:
        return
    if told := of_root_told(found):
        yield Finding("owner", Grade.NO_GO, told, giving_to_mastodon(found))
    elif told := others_told(found):
        yield Finding("owner", Grade.WARNING, told, giving(found))
    elif not found.runs_as.user:
        command = f"find {' '.join(places_of(found))} ! -type l ! -user {str(found.wanted).partition(':')[0]}"
        yield Finding(
            "owner",
            Grade.WARNING,
            tr(
                "mastosync runs as root. {path}, and the files that were checked there (a sample), belong to {owner}",
                path=found.path,
                owner=found.wanted,
            ),
            tr("if `{command}` lists something: {giving}", command=command, giving=giving(found)),
        )
