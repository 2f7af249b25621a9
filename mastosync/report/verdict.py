"""Whether the old store may be deleted: what would be lost with it, and how well that is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mastosync.checking.public_access import FaultKind
from mastosync.findings import Finding, Grade
from mastosync.findings.deleted import gone_message, removal_remedy
from mastosync.findings.messages import (
    correction_of,
    exposed_finding,
    gap_finding,
    losses_unknown_finding,
    lost_by_plan_notice,
    never_read_message,
    nothing_tried,
    relation_notice,
    retry_remedy,
    uncovered_notice,
    unidentified_finding,
    with_accepted_losses,
)
from mastosync.findings.public_summary import PublicCheckStatus, PublicSummary, public_summary
from mastosync.language import enumerated, joined, tr, trn
from mastosync.manifest import Relation
from mastosync.model import EntryState, Reason
from mastosync.report.evidence import READ_BACK, DeletionEvidence, switched
from mastosync.units import human_seconds

NOT_YET = "not-yet"
"""What a report calls a failure: something might be lost with the old store."""

_OLD_SECONDS = 7 * 86_400  # of a plan


@dataclass(frozen=True, slots=True)
class DeletionVerdict:
    """All findings."""

    findings: tuple[Finding, ...]

    @property
    def may_go(self) -> bool:
        """Whether nothing speaks for keeping the old store."""
        return self.may_go_but_for("")

    def may_go_but_for(self, check: str) -> bool:
        """Whether no other check than this one speaks for keeping the old store."""
        return all(found.grade is not Grade.FAILURE or found.check == check for found in self.findings)

    def as_json(self) -> dict[str, Any]:
        """For scripts. The names are part of the interface."""
        return {"may_go": self.may_go, "findings": [found.as_json(NOT_YET) for found in self.findings]}


def assess_deletion(evidence: DeletionEvidence) -> DeletionVerdict:
    """Make all checks."""
    return DeletionVerdict(
        (
            *gap_finding(evidence.gap),
            *_arrived(evidence),
            *_left_behind(evidence),
            _apart(evidence),
            switched(evidence),
            _planned(evidence),
            _gone(evidence),
            _verified(evidence),
            *_tried(evidence),
            *_kept_safe(evidence),
            *([evidence.shared.finding] if evidence.shared else []),
        )
    )


def _arrived(evidence: DeletionEvidence) -> Iterator[Finding]:
    if evidence.running:
        yield Finding("running", Grade.FAILURE, tr("a copy is at work"), tr("wait for it, and ask again"))
    if pending := evidence.objects(EntryState.PENDING):
        said = trn(
            "{objects} object is still to copy", "{objects} objects are still to copy", pending, objects=_n(pending)
        )
        yield Finding("pending", Grade.FAILURE, said, "mastosync copy")
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
        grade = Grade.WARNING if given_up == failed else Grade.FAILURE
        yield Finding("failed", grade, with_accepted_losses(said, lines), retry_remedy(lines))
    else:
        yield Finding("failed", Grade.OK, tr("nothing failed that the old store has"))


def _left_behind(evidence: DeletionEvidence) -> Iterator[Finding]:
    if evidence.unidentified:
        yield unidentified_finding(evidence.unidentified)
    missing = evidence.objects(EntryState.FAILED, Reason.MISSING)
    if (lost := missing - evidence.unidentified) > 0:
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
    elif not missing and nothing_tried(evidence.counts):
        yield losses_unknown_finding()
    elif not missing:
        yield Finding("lost", Grade.OK, tr("the old store has lost nothing that Mastodon would miss"))
    if exposed := evidence.exposed.objects:
        yield exposed_finding(exposed)
    if (private := evidence.objects(EntryState.SKIPPED, Reason.PRIVATE) - evidence.exposed.kept_back) > 0:
        said = trn(
            "{objects} private object is at the old store alone",
            "{objects} private objects are at the old store alone",
            private,
            objects=_n(private),
        )
        remedy = tr("if nobody can read the new bucket without credentials: `[copy] private_objects = copy`, and copy")
        yield Finding("private", Grade.FAILURE, said, remedy)
    if excluded := evidence.objects(EntryState.SKIPPED, Reason.EXCLUDED):
        said = trn(
            "{objects} object was left out and is at the old store alone",
            "{objects} objects were left out and are at the old store alone",
            excluded,
            objects=_n(excluded),
        )
        yield Finding("excluded", Grade.WARNING, said, tr("they go with it, as you have asked"))


def _apart(evidence: DeletionEvidence) -> Finding:
    """Whether the old store may be the new one under another name: then everything would be deleted."""
    unsure = evidence.relation in (None, Relation.UNKNOWN)
    return Finding("apart", Grade.FAILURE if unsure else Grade.OK, *relation_notice(evidence.relation))


def _planned(evidence: DeletionEvidence) -> Finding:
    whole = [plan for plan in evidence.plans if plan.whole]
    if not whole:
        remedy = tr("mastosync plan, without --type, --only and --limit and with `[plan] types = all`; then copy")
        return Finding("plan", Grade.FAILURE, tr("every plan left something out"), remedy)
    if evidence.dropped_by_plan:
        return Finding("plan", Grade.FAILURE, *lost_by_plan_notice(evidence.dropped_by_plan))
    age = max(evidence.now - whole[-1].taken_at.timestamp(), 0.0)
    said = tr("the last whole plan is {age} old", age=human_seconds(age))
    if age < _OLD_SECONDS:
        return Finding("plan", Grade.OK, said)
    remedy = tr("if Mastodon has written to the old store since, plan and copy once more")
    return Finding("plan", Grade.WARNING, said, remedy)


def _gone(evidence: DeletionEvidence) -> Finding:
    """What should not lie at the new store any more."""
    gone = evidence.gone
    if not gone.objects and not gone.lost:
        said = tr("nothing that the plans found deleted is still at the new store")
        return Finding("gone", Grade.OK, said)
    remedy = removal_remedy(gone, by_hand=evidence.shared is not None, lost=evidence.dropped_by_plan > 0)
    return Finding("gone", Grade.WARNING, gone_message(gone), remedy)


def _verified(evidence: DeletionEvidence) -> Finding:
    """Whether everything was verified after the last change, without a fault."""
    done, remedy = evidence.objects(EntryState.DONE), "mastosync verify"
    recent = evidence.since_last_change
    if not recent:
        said = tr("nothing was ever verified")
        if evidence.verifications:
            said = tr("nothing was verified after the last `{command}`", command=evidence.last_change.command)
        return Finding("verify", Grade.FAILURE, said, remedy)
    if faults := recent[-1].faults:
        told = enumerated(f"{name} {_n(count)}" for name, count in faults.items())
        said = tr("the last verification found problems: {faults}", faults=told)
        return Finding(
            "verify",
            Grade.FAILURE,
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
        return Finding("verify", Grade.FAILURE, said, remedy)
    return Finding(
        "verify",
        Grade.OK,
        tr("everything was found at the new store after the last `{command}`", command=evidence.last_change.command),
    )


def _tried(evidence: DeletionEvidence) -> Iterator[Finding]:
    """Whether bytes were read back, and read without credentials."""
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
        yield Finding("read-back", Grade.FAILURE, said, READ_BACK)
    if evidence.public:
        yield from _read_by_everybody(evidence)


def _read_by_everybody(evidence: DeletionEvidence) -> Iterator[Finding]:
    checks = public_summary(evidence.verifications, evidence.counts, evidence.change, evidence.acl)
    status = checks.status
    if status is PublicCheckStatus.UNTRIED:
        yield Finding("public", Grade.FAILURE, never_read_message(), checks.remedy)
    elif status in (PublicCheckStatus.LISTED, PublicCheckStatus.EXPOSED, PublicCheckStatus.FAULTY):
        yield Finding("public", Grade.FAILURE, joined(_misread(checks)), correction_of(checks))
    elif status is PublicCheckStatus.FINE and checks.uncovered:
        yield Finding("public", Grade.FAILURE, *uncovered_notice(checks))
    elif status is PublicCheckStatus.FINE:
        yield Finding("public", Grade.OK, tr("everybody can read what is public, and nobody what is private"))
    elif status is PublicCheckStatus.HIDDEN:
        yield Finding("public", Grade.OK, tr("nobody can read anything without credentials (acl = private)"))


def _misread(checks: PublicSummary) -> Iterator[str]:
    """What was wrong without credentials, and with how many objects."""
    found = checks.by_kind
    if checks.told and checks.told.get("anybody_can_list"):
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


def _kept_safe(evidence: DeletionEvidence) -> Iterator[Finding]:
    """A provider guards a bucket against the death of a disk. Nobody guards a folder."""
    if not evidence.public:
        said = tr("when the old store is deleted, the media are on this machine's disk alone")
        yield Finding("backup", Grade.WARNING, said, tr("add the new folder to your backups first"))


def _n(count: int) -> str:
    return f"{count:,}"
