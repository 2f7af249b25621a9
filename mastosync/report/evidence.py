"""What the verdict of a report rests on, and the form of each thing that it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from mastosync.findings.old_objects import SharedBucket
from mastosync.manifest import CountLine, Exposed, Gap, LastChange, Relation, Removable, SnapshotRecord
from mastosync.model import EntryState, Origin, Reason
from mastosync.report.history import Proof, Run


class Grade(StrEnum):
    """What a finding means for the old store."""

    OK = "ok"
    WARNING = "warning"  # nothing would be lost with it, but somebody should know
    NOT_YET = "not-yet"  # something might be


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what to do about it. Its names are part of the interface."""

    check: str
    grade: Grade
    message: str
    remedy: str = ""  # empty where nothing need be done

    def as_json(self) -> dict[str, str]:
        """For scripts."""
        return {"check": self.check, "status": self.grade.value, "message": self.message, "remedy": self.remedy}


class Switch(NamedTuple):
    """What Mastodon's own settings say of where it writes, and those of mastosync of who reads there."""

    file: Path | None = None  # None: it is not known where they are
    problem: str = ""  # why they cannot be read
    changed_at: float = 0.0  # when the file was, seconds since the epoch
    unsure: str = ""  # why nobody can tell whether they name the destination; empty: it is told
    left: bool = False  # whatever they name, it is not the source
    acl: str = ""  # of the destination, as mastosync is configured
    alike: bool = False  # they name a bucket as the destination does, at another endpoint: it may be another


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the manifest remembers."""

    counts: Sequence[CountLine]
    plans: Sequence[SnapshotRecord]  # the oldest first, as are the following
    runs: Sequence[Run]
    proofs: Sequence[Proof]
    running: bool  # a copy is at work
    public: bool  # the destination is a bucket; else it is a folder
    now: float  # seconds since the epoch
    gone: Removable = field(default_factory=Removable)  # at the destination, although its rows were deleted
    shared: SharedBucket | None = None  # that both stores are; None: they are two
    exposed: Exposed = field(default_factory=Exposed)  # private, and everybody may read what lies at the new store
    relation: Relation | None = None  # what both stores were found to be; None: nobody has looked
    switch: Switch = field(default_factory=Switch)
    newest: Mapping[Origin, int] = field(default_factory=dict)  # when the newest of what is done was uploaded
    lost: int = 0  # entries, by plans that were accepted, and no plan has found them again
    change: LastChange = field(default_factory=LastChange)  # at the new store, by another command than `copy`
    gap: Gap | None = None  # what the manifest lacks
    lying_there: int = 0  # of what is missing: so many have something at the new store that nobody could prove

    def objects(self, state: EntryState, *reasons: Reason, but: Reason | None = None) -> int:
        """How many there are: for some reasons, or for any but one."""
        lines = [line for line in self.counts if line.state is state and (but is None or line.reason is not but)]
        return sum(line.objects for line in lines if not reasons or line.reason in reasons)

    @property
    def since_last_change(self) -> list[Proof]:
        """What was verified after everything had arrived, and nothing was stored anew."""
        return [proof for proof in self.proofs if proof.started_at >= self.last_change.at]

    @property
    def last_change(self) -> LastChange:
        """Of what is at the new store, by whatever command."""
        copied = max((run.updated_at for run in self.runs if run.done), default=0.0)
        return max(LastChange(copied, "copy"), self.change)
