"""Whether the old store may go: what would be lost with it, and how sure anybody can be that nothing is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mastosync.checking.public_access import FaultKind, Reading, reading_of
from mastosync.findings.deleted import gone_told, removal
from mastosync.findings.public_looks import looks_at
from mastosync.findings.shared import (
    apart_told,
    exposed_told,
    hiding,
    losses_unknown_told,
    lost_told,
    trying_again,
    unproved_told,
    unproven_told,
    unread_told,
    untried,
    with_accepted,
)
from mastosync.language import enumerated, joined, tr, trn
from mastosync.manifest import Relation
from mastosync.model import EntryState, Reason
from mastosync.report.evidence import READ_BACK, Evidence, Finding, Grade, switched
from mastosync.units import human_seconds

_OLD_SECONDS = 7 * 86_400  # of a plan


@dataclass(frozen=True, slots=True)
class DeletionVerdict:
    """All findings."""

    findings: tuple[Finding, ...]

    @property
    def may_go(self) -> bool:
        """Whether nothing speaks for keeping the old store."""
        return all(found.grade is not Grade.NOT_YET for found in self.findings)

    def as_json(self) -> dict[str, Any]:
        """For scripts. The names are part of the interface."""
        return {"may_go": self.may_go, "findings": [found.as_json() for found in self.findings]}


def judge(evidence: Evidence) -> DeletionVerdict:
    """Look at everything."""
    return DeletionVerdict(
        (
            *_whole(evidence),
            *_arrived(evidence),
            *_left_behind(evidence),
            _apart(evidence),
            switched(evidence),
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
    if evidence.lying_there:
        yield Finding("unproven", Grade.WARNING, *unproven_told(evidence.lying_there))
    missing = evidence.objects(EntryState.FAILED, Reason.MISSING)
    if (lost := missing - evidence.lying_there) > 0:
        said = trn(
            "{objects} object is missing at the old store too, so deleting it loses nothing more",
            "{objects} objects are missing at the old store too, so deleting it loses nothing more",
            lost,
            objects=_n(lost),
        )
        given_up = sum(line.accepted for line in evidence.counts if line.reason is Reason.MISSING)
        if accepted := min(given_up, lost):
            said = trn(
                "{said}; you accepted {accepted} as lost",
                "{said}; you accepted {accepted} of them as lost",
                lost,
                said=said,
                accepted=_n(accepted),
            )
        remedy = tr("`mastosync refetch` tells what other servers could give back; look into old backups for the rest")
        yield Finding("lost", Grade.WARNING, said, remedy)
    elif not missing and untried(evidence.counts):
        yield Finding("lost", Grade.WARNING, losses_unknown_told(), "mastosync copy")
    elif not missing:
        yield Finding("lost", Grade.OK, tr("the old store has lost nothing that Mastodon would miss"))
    if exposed := evidence.exposed.objects:
        yield Finding("exposed", Grade.NOT_YET, exposed_told(exposed), hiding())
    if (private := evidence.objects(EntryState.SKIPPED, Reason.PRIVATE) - evidence.exposed.kept_back) > 0:
        said = trn(
            "{objects} private object is at the old store alone",
            "{objects} private objects are at the old store alone",
            private,
            objects=_n(private),
        )
        remedy = tr("if nobody can read the new bucket without credentials: `[copy] private_objects = copy`, and copy")
        yield Finding("private", Grade.NOT_YET, said, remedy)
    if excluded := evidence.objects(EntryState.SKIPPED, Reason.EXCLUDED):
        said = trn(
            "{objects} object was left out and is at the old store alone",
            "{objects} objects were left out and are at the old store alone",
            excluded,
            objects=_n(excluded),
        )
        yield Finding("excluded", Grade.WARNING, said, tr("they go with it, as you have asked"))


def _apart(evidence: Evidence) -> Finding:
    """Whether the old store is not the new one, by another name: it would go with all that there is."""
    unsure = evidence.relation in (None, Relation.UNKNOWN)
    return Finding("apart", Grade.NOT_YET if unsure else Grade.OK, *apart_told(evidence.relation))


def _planned(evidence: Evidence) -> Finding:
    whole = [plan for plan in evidence.plans if plan.whole]
    if not whole:
        remedy = tr("mastosync plan, without --type, --only and --limit and with `[plan] types = all`; then copy")
        return Finding("plan", Grade.NOT_YET, tr("every plan left something out"), remedy)
    if evidence.lost:
        return Finding("plan", Grade.NOT_YET, *lost_told(evidence.lost))
    age = max(evidence.now - whole[-1].taken_at.timestamp(), 0.0)
    said = tr("the last whole plan is {age} old", age=human_seconds(age))
    if age < _OLD_SECONDS:
        return Finding("plan", Grade.OK, said)
    remedy = tr("if Mastodon has written to the old store since, plan and copy once more")
    return Finding("plan", Grade.WARNING, said, remedy)


def _gone(evidence: Evidence) -> Finding:
    """What should not lie at the new store. The old one does not keep it from anybody."""
    gone = evidence.gone
    if not gone.objects and not gone.lost:
        said = tr("nothing that the plans found deleted is still at the new store")
        return Finding("gone", Grade.OK, said)
    remedy = removal(gone, by_hand=evidence.shared is not None, lost=evidence.lost > 0)
    return Finding("gone", Grade.WARNING, gone_told(gone), remedy)


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
        told = enumerated(f"{name} {_n(count)}" for name, count in faults.items())
        said = tr("the last verification found problems: {faults}", faults=told)
        return Finding(
            "verify",
            Grade.NOT_YET,
            said,
            tr("see what it told; run `mastosync plan`, then `mastosync copy`, and verify again"),
        )
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
        undigested = sum(proof.undigested for proof in evidence.since_last_change if not proof.faults)
        if undigested:
            said = trn(
                "{objects} object was read back after the last `{command}`: {right} with the right digest,"
                " {undigested} without one to compare",
                "{objects} objects were read back after the last `{command}`: {right} with the right digest,"
                " {undigested} without one to compare",
                read,
                command=evidence.last_change.command,
                objects=_n(read),
                right=_n(read - undigested),
                undigested=_n(undigested),
            )
        yield Finding("read-back", Grade.OK, said)
    else:
        said = tr("nothing was read back after the last `{command}`", command=evidence.last_change.command)
        yield Finding("read-back", Grade.NOT_YET, said, READ_BACK)
    if evidence.public:
        yield from _read_by_everybody(evidence)


def _read_by_everybody(evidence: Evidence) -> Iterator[Finding]:
    acl = evidence.switch.acl
    looks = looks_at(evidence.proofs, evidence.counts, evidence.change, acl)
    reading = reading_of(looks.told, acl)
    if reading is Reading.UNTRIED:
        yield Finding("public", Grade.NOT_YET, unread_told(), looks.remedy)
    elif reading in (Reading.LISTED, Reading.EXPOSED, Reading.FAULTY):
        said = joined(_misread(looks.told or {}))
        yield Finding("public", Grade.NOT_YET, said, tr("{verify} lists them", verify=looks.remedy))
    elif reading is Reading.FINE and looks.unproved:
        yield Finding("public", Grade.NOT_YET, *unproved_told(looks))
    elif reading is Reading.FINE:
        yield Finding("public", Grade.OK, tr("everybody can read what is public, and nobody what is private"))
    elif reading is Reading.HIDDEN:
        yield Finding("public", Grade.OK, tr("nobody can read anything without credentials (acl = private)"))


def _misread(told: Mapping[str, Any]) -> Iterator[str]:
    """What was wrong without credentials, of how many objects. An older version has not noted which fault it was."""
    found = Counter[str]()
    for fault in told.get("faults", ()):
        kind = FaultKind.EXPOSED if fault.get("exposed") else fault.get("fault")
        found[kind if kind in list(FaultKind) else ""] += 1
    unmarked = min(max(told.get("exposed", 0) - found[FaultKind.EXPOSED], 0), found[""])
    found.update({FaultKind.EXPOSED: unmarked, "": -unmarked})
    if told.get("anybody_can_list"):
        yield tr("anybody can list the bucket")
    for kind in (*FaultKind, ""):
        if count := found[kind]:
            yield _misread_told(count)[kind]


def _misread_told(count: int) -> dict[str, str]:
    """So many objects, for each thing that may be wrong with them."""
    objects = _n(count)
    return {
        FaultKind.UNREADABLE: trn(
            "{objects} public object could not be read without credentials",
            "{objects} public objects could not be read without credentials",
            count,
            objects=objects,
        ),
        FaultKind.EXPOSED: trn(
            "{objects} private object could be read without credentials",
            "{objects} private objects could be read without credentials",
            count,
            objects=objects,
        ),
        FaultKind.HEADERS: trn(
            "{objects} object can be read, with other headers than it should have",
            "{objects} objects can be read, with other headers than they should have",
            count,
            objects=objects,
        ),
        FaultKind.UNCLEAR: trn(
            "it is unclear who can read {objects} object",
            "it is unclear who can read {objects} objects",
            count,
            objects=objects,
        ),
        "": trn(
            "{objects} object was not as it should be without credentials",
            "{objects} objects were not as they should be without credentials",
            count,
            objects=objects,
        ),
    }


def _kept_safe(evidence: Evidence) -> Iterator[Finding]:
    """A provider guards a bucket against the death of a disk. A folder is what the machine has."""
    if not evidence.public:
        said = tr("when the old store is deleted, the media are on this machine's disk alone")
        yield Finding("backup", Grade.WARNING, said, tr("add the new folder to your backups first"))


def _n(count: int) -> str:
    return f"{count:,}"
