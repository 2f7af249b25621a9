"""Whether the old store may go: what would be lost with it, and how sure anybody can be that nothing is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from mastosync.engine.deleted import gone_told, removal
from mastosync.engine.old_objects import SharedBucket
from mastosync.engine.public_looks import looks_at
from mastosync.engine.report.history import Proof, Run
from mastosync.engine.shared_findings import (
    apart_told,
    exposed_told,
    hiding,
    losses_unknown_told,
    trying_again,
    unproved_told,
    unread_told,
    untried,
    with_accepted,
)
from mastosync.language import tr, trn
from mastosync.manifest import CountLine, Exposed, Gap, LastChange, Relation, SnapshotRecord
from mastosync.model import EntryState, Reason
from mastosync.units import human_seconds

_OLD_SECONDS = 7 * 86_400  # of a plan
_SAMPLE = 1_000  # objects, as an example


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
    """What Mastodon's own settings say of where it writes."""

    file: Path | None = None  # None: it is not known where they are
    done: bool = False  # they name the destination
    problem: str = ""  # why they cannot be read


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the manifest remembers."""

    counts: Sequence[CountLine]
    plans: Sequence[SnapshotRecord]  # the oldest first, as are the following
    runs: Sequence[Run]
    proofs: Sequence[Proof]
    running: bool  # a copy is at work
    public: bool  # the destination is a bucket, which everybody reads
    now: float  # seconds since the epoch
    gone: tuple[int, int] = (0, 0)  # objects and bytes at the destination whose rows were deleted
    shared: SharedBucket | None = None  # that both stores are; None: they are two
    exposed: Exposed = field(default_factory=Exposed)  # private, and everybody may read what lies at the new store
    relation: Relation | None = None  # what both stores were found to be; None: nobody has looked
    switch: Switch = field(default_factory=Switch)
    change: LastChange = field(
        default_factory=LastChange
    )  # of what is at the new store, by another command than `copy`
    gap: Gap | None = None  # what the manifest lacks

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


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings."""

    findings: tuple[Finding, ...]

    @property
    def may_go(self) -> bool:
        """Whether nothing speaks for keeping the old store."""
        return all(found.grade is not Grade.NOT_YET for found in self.findings)

    def as_json(self) -> dict[str, Any]:
        """For scripts. The names are part of the interface."""
        return {"may_go": self.may_go, "findings": [found.as_json() for found in self.findings]}


def judge(evidence: Evidence) -> Verdict:
    """Look at everything."""
    return Verdict(
        (
            *_whole(evidence),
            *_arrived(evidence),
            *_left_behind(evidence),
            _apart(evidence),
            _switched(evidence),
            _planned(evidence),
            _gone(evidence),
            _verified(evidence),
            *_tried(evidence),
            *_kept_safe(evidence),
            *_shared(evidence),
        )
    )


def _whole(evidence: Evidence) -> Iterator[Finding]:
    """Whether the manifest has all that was written to it."""
    if evidence.gap is not None:
        yield Finding("gap", Grade.NOT_YET, evidence.gap.said, evidence.gap.remedy)


def _arrived(evidence: Evidence) -> Iterator[Finding]:
    if evidence.running:
        yield Finding("running", Grade.NOT_YET, tr("a copy is at work"), tr("wait for it, and ask again"))
    if pending := evidence.objects(EntryState.PENDING):
        said = trn(
            "{objects} object is still to copy", "{objects} objects are still to copy", pending, objects=_n(pending)
        )
        yield Finding("pending", Grade.NOT_YET, said, "mastosync copy")
    else:
        done = evidence.objects(EntryState.DONE)
        said = trn(
            "nothing is pending: {objects} object has arrived",
            "nothing is pending: {objects} objects have arrived",
            done,
            objects=_n(done),
        )
        yield Finding("pending", Grade.OK, said)
    if failed := evidence.objects(EntryState.FAILED, but=Reason.MISSING):
        said = trn(
            "{objects} object failed, and the old store may have it",
            "{objects} objects failed, and the old store may have them",
            failed,
            objects=_n(failed),
        )
        lines = [line for line in evidence.counts if line.reason is not Reason.MISSING]
        given_up = sum(line.accepted for line in lines if line.state is EntryState.FAILED)
        grade = Grade.WARNING if given_up == failed else Grade.NOT_YET
        yield Finding("failed", grade, with_accepted(said, lines), trying_again(lines))
    else:
        yield Finding("failed", Grade.OK, tr("nothing failed that the old store has"))


def _left_behind(evidence: Evidence) -> Iterator[Finding]:
    if lost := evidence.objects(EntryState.FAILED, Reason.MISSING):
        said = trn(
            "{objects} object is missing at the old store too: nothing is lost with it",
            "{objects} objects are missing at the old store too: nothing is lost with it",
            lost,
            objects=_n(lost),
        )
        remedy = tr("`mastosync refetch` tells what other servers could give back; look into old backups for the rest")
        missing = (line for line in evidence.counts if line.reason is Reason.MISSING)
        yield Finding("lost", Grade.WARNING, with_accepted(said, missing), remedy)
    elif untried(evidence.counts):
        yield Finding("lost", Grade.WARNING, losses_unknown_told(), "mastosync copy")
    else:
        yield Finding("lost", Grade.OK, tr("the old store has lost nothing that Mastodon would miss"))
    if exposed := evidence.exposed.objects:
        yield Finding("exposed", Grade.NOT_YET, exposed_told(exposed), hiding())
    if (private := evidence.objects(EntryState.SKIPPED, Reason.PRIVATE) - evidence.exposed.kept_back) > 0:
        said = trn(
            "{objects} private object lies at the old store alone",
            "{objects} private objects lie at the old store alone",
            private,
            objects=_n(private),
        )
        remedy = tr("if nobody can read the new bucket without credentials: `[copy] private_objects = copy`, and copy")
        yield Finding("private", Grade.NOT_YET, said, remedy)
    if excluded := evidence.objects(EntryState.SKIPPED, Reason.EXCLUDED):
        said = trn(
            "{objects} object was left out and lies at the old store alone",
            "{objects} objects were left out and lie at the old store alone",
            excluded,
            objects=_n(excluded),
        )
        yield Finding("excluded", Grade.WARNING, said, tr("they go with it, as you have asked"))


def _apart(evidence: Evidence) -> Finding:
    """Whether the old store is not the new one, by another name: it would go with all that there is."""
    unsure = evidence.relation in (None, Relation.UNKNOWN)
    return Finding("apart", Grade.NOT_YET if unsure else Grade.OK, *apart_told(evidence.relation))


def _switched(evidence: Evidence) -> Finding:
    """Whether Mastodon still writes to what may be deleted."""
    file, done, problem = evidence.switch
    if problem:
        said = tr("{problem}: it is not known whether Mastodon uses the new store already", problem=problem)
        return Finding("switch", Grade.NOT_YET, said, tr("correct mastodon_file under [env], or its permissions"))
    if file is None:
        said = tr("it is not known here whether Mastodon uses the new store already")
        remedy = tr("name its settings, or a copy of them: `mastosync report --env FILE`, or mastodon_file under [env]")
        return Finding("switch", Grade.NOT_YET, said, remedy)
    if done:
        return Finding("switch", Grade.OK, tr("{file} names the new store", file=file))
    said = tr("{file} does not name the new store: Mastodon still uses the old one", file=file)
    return Finding("switch", Grade.NOT_YET, said, tr("mastosync cutover tells the steps"))


def _planned(evidence: Evidence) -> Finding:
    whole = [plan for plan in evidence.plans if plan.whole]
    if not whole:
        remedy = tr("mastosync plan, without --type, --only and --limit and with `[plan] types = all`; then copy")
        return Finding("plan", Grade.NOT_YET, tr("every plan left something out"), remedy)
    since = [plan for plan in evidence.plans if plan.number >= whole[-1].number]
    if lost := sum(plan.accepted_gone for plan in since):
        said = trn(
            "a plan was accepted (--accept-gone) that lost {objects} object which was done",
            "a plan was accepted (--accept-gone) that lost {objects} objects which were done",
            lost,
            objects=_n(lost),
        )
        return Finding("plan", Grade.NOT_YET, said, tr("mastosync plan, of the right database; then copy"))
    age = max(evidence.now - whole[-1].taken_at.timestamp(), 0.0)
    said = tr("the last whole plan is {age} old", age=human_seconds(age))
    if age < _OLD_SECONDS:
        return Finding("plan", Grade.OK, said)
    remedy = tr("if Mastodon has written to the old store since, plan and copy once more")
    return Finding("plan", Grade.WARNING, said, remedy)


def _gone(evidence: Evidence) -> Finding:
    """What should not lie at the new store. The old one does not keep it from anybody."""
    if not evidence.gone[0]:
        said = tr("of what the plans found deleted, nothing lies at the new store")
        return Finding("gone", Grade.OK, said)
    return Finding("gone", Grade.WARNING, gone_told(*evidence.gone), removal(by_hand=evidence.shared is not None))


def _shared(evidence: Evidence) -> Iterator[Finding]:
    if evidence.shared:
        yield Finding("one-bucket", Grade.WARNING, evidence.shared.message, evidence.shared.remedy)


def _verified(evidence: Evidence) -> Finding:
    """Of everything, with nothing wrong since."""
    done, remedy = evidence.objects(EntryState.DONE), "mastosync verify"
    recent = evidence.since_last_change
    if not recent:
        said = tr("nothing was ever verified")
        if evidence.proofs:
            said = tr("nothing was verified after the last `{command}`", command=evidence.last_change.command)
        return Finding("verify", Grade.NOT_YET, said, remedy)
    if faults := recent[-1].faults:
        told = ", ".join(f"{name} {_n(count)}" for name, count in faults.items())
        said = tr("the last verification found what is not as it should be: {faults}", faults=told)
        return Finding("verify", Grade.NOT_YET, said, tr("see what it told; copy what is pending, and verify again"))
    most = max((proof.checked for proof in recent if not proof.faults.keys() - {"public"}), default=0)
    if most < done:
        said = tr(
            "{checked} of {objects} objects were looked at after the last `{command}`, and found",
            checked=_n(most),
            objects=_n(done),
            command=evidence.last_change.command,
        )
        return Finding("verify", Grade.NOT_YET, said, remedy)
    return Finding(
        "verify",
        Grade.OK,
        tr("everything was found at the new store after the last `{command}`", command=evidence.last_change.command),
    )


def _tried(evidence: Evidence) -> Iterator[Finding]:
    """Whether bytes were read, and by everybody."""
    read = sum(proof.read_back for proof in evidence.since_last_change if not proof.faults)
    if read:
        said = trn(
            "{objects} object was read back after the last `{command}`, with the right digest",
            "{objects} objects were read back after the last `{command}`, with the right digests",
            read,
            command=evidence.last_change.command,
            objects=_n(read),
        )
        yield Finding("read-back", Grade.OK, said)
    else:
        said = tr("nothing was read back after the last `{command}`", command=evidence.last_change.command)
        remedy = f"mastosync verify --deep --sample {_SAMPLE}"
        yield Finding("read-back", Grade.NOT_YET, said, remedy)
    if evidence.public:
        looks = looks_at(evidence.proofs, evidence.counts, evidence.change)
        if looks.told is None:
            yield Finding("public", Grade.NOT_YET, unread_told(), looks.remedy)
        elif looks.told["faults"] or looks.told["anybody_can_list"]:
            said = tr("without credentials, some public objects could not be read, or some private ones could")
            yield Finding("public", Grade.NOT_YET, said, tr("{verify} lists them", verify=looks.remedy))
        elif looks.unproved:
            yield Finding("public", Grade.NOT_YET, *unproved_told(looks))
        else:
            yield Finding("public", Grade.OK, tr("everybody can read what is public, and nobody what is private"))


def _kept_safe(evidence: Evidence) -> Iterator[Finding]:
    """A provider guards a bucket against the death of a disk. A folder is what the machine has."""
    if not evidence.public:
        said = tr("when the old store is deleted, the media are on this machine's disk alone")
        yield Finding("backup", Grade.WARNING, said, tr("add the new folder to your backups first"))


def _n(count: int) -> str:
    return f"{count:,}"
