"""What has been done so far: plans, verifications, and how long ago."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mastosync.cutover.arrival import DISPENSABLE
from mastosync.cutover.evidence import CutoverEvidence
from mastosync.findings import Finding, Grade
from mastosync.findings.deleted import gone_message, removal_remedy, unknown_deletions_message
from mastosync.findings.messages import (
    correction_of,
    lost_by_plan_notice,
    never_read_message,
    relation_notice,
    settings_notice,
    uncovered_notice,
    undigested_message,
)
from mastosync.findings.public_summary import PublicCheckStatus, PublicSummary, public_summary
from mastosync.language import enumerated, joined, tr, trn
from mastosync.manifest import PlanRecord, Relation
from mastosync.mastodon.catalog import CATALOG
from mastosync.model import TABLES, EntryState
from mastosync.units import human_seconds

_DAY_SECONDS = 86_400
_STALE_SECONDS = _DAY_SECONDS  # since a plan: then what has come since is worth a plan more
_OLD_SECONDS = 7 * _DAY_SECONDS  # then too much has

_CACHE = frozenset(spec.table for spec in CATALOG if spec.cacheable)
"""Tables in which other servers' files are."""
_OWN = frozenset(TABLES) - {"preview_cards"} - DISPENSABLE
"""Tables in which something is of this server, and would be missed."""


def planned(evidence: CutoverEvidence) -> Iterator[Finding]:
    """Whether the plans took everything in, and how long ago."""
    if evidence.dropped_by_plan:
        yield Finding("lost-by-plan", Grade.FAILURE, *lost_by_plan_notice(evidence.dropped_by_plan))
    own, cache = (_covered(evidence.plans, remote=remote) for remote in (False, True))
    if missed := sorted(_OWN - own.keys()):
        yield Finding(
            "scope",
            Grade.FAILURE,
            tr("no plan has read all rows of this server in {tables}", tables=enumerated(missed)),
            tr("mastosync plan, without --type, --limit and --only remote"),
        )
        return
    age = _age_of(own, _OWN, evidence.now)
    grade = Grade.OK if age < _STALE_SECONDS else Grade.WARNING if age < _OLD_SECONDS else Grade.FAILURE
    message = tr("planned {age} ago", age=human_seconds(age)) + _delta(evidence)
    if grade is Grade.OK and not evidence.plans[0].began_at:
        grade = Grade.WARNING
        message = joined([message, tr("it read a standby that cannot tell how far it is behind")])
    remedy = tr("mastosync plan && mastosync copy, shortly before the switch and once more after it")
    yield Finding("plan", grade, message, "" if grade is Grade.OK else remedy)
    told = ""
    if missed := sorted(_CACHE - cache.keys()):
        told = tr("no plan has read all rows of other servers in {tables}", tables=enumerated(missed))
    elif (age := _age_of(cache, _CACHE, evidence.now)) >= _STALE_SECONDS:
        told = tr("the files cached from other servers were planned {age} ago", age=human_seconds(age))
    if told:
        remedy = tr("plan and copy them; until then nginx gets them from the old store")
        yield Finding("cache-plan", Grade.WARNING, told, remedy, needs_fallback=True)


def _covered(plans: Sequence[PlanRecord], *, remote: bool) -> dict[str, float]:
    """When a plan took in, for the last time, all of a table that is of other servers, or of this one."""
    covered: dict[str, float] = {}
    for plan in plans:
        for table in TABLES:
            if plan.takes_in(table, remote=remote):
                covered.setdefault(table, plan.began_at or plan.taken_at.timestamp())  # 0: see `planned`
    return covered


def _age_of(covered: Mapping[str, float], tables: Iterable[str], now: float) -> float:
    """Seconds since the oldest of these plans."""
    return max(now - min(covered[table] for table in tables), 0.0)


def deleted(evidence: CutoverEvidence) -> Iterator[Finding]:
    """Which objects at the destination have no row any more, and whether that would be known."""
    deleted, gone, by_hand = evidence.deleted, evidence.deleted.gone, evidence.shared is not None
    if gone.objects or gone.lost:
        remedy = removal_remedy(gone, by_hand=by_hand, lost=evidence.dropped_by_plan > 0)
        yield Finding("gone", Grade.WARNING, gone_message(gone), remedy)
    if deleted.is_known(evidence.now):
        if not gone.objects and not gone.lost:
            yield Finding("gone", Grade.OK, tr("nothing that was deleted is still at the destination"))
        return
    message = unknown_deletions_message(deleted, evidence.now)
    remedy = (
        "mastosync plan; " + removal_remedy(gone, by_hand=True, lost=evidence.dropped_by_plan > 0)
        if by_hand
        else tr("mastosync plan && mastosync prune, shortly before the switch and once more after it")
    )
    yield Finding("deletions", Grade.WARNING, message, remedy)


def _delta(evidence: CutoverEvidence) -> str:
    """How much was new in the last plan, and so how much may have come since."""
    last, *others = evidence.plans
    added = last.details.get("added", 0)
    if not others:
        return ""
    taken_at, before = last.taken_at.timestamp(), others[0].taken_at.timestamp()
    told = trn(
        "; {objects} object was new since the plan before, made {time} earlier",
        "; {objects} objects were new since the plan before, made {time} earlier",
        added,
        objects=f"{added:,}",
        time=human_seconds(max(taken_at - before, 0)),
    )
    since = round(added * (evidence.now - taken_at) / (taken_at - before)) if taken_at > before else 0
    if since < 1:
        return told
    return told + tr(", so about {objects} may have come since", objects=f"{since:,}")


def apart(evidence: CutoverEvidence) -> Finding:
    """Whether the stores were found to be two: if they are one, nothing has been moved."""
    grades = {None: Grade.FAILURE, Relation.UNKNOWN: Grade.WARNING}
    return Finding("apart", grades.get(evidence.relation, Grade.OK), *relation_notice(evidence.relation))


def settings(evidence: CutoverEvidence) -> Iterator[Finding]:
    """Whether objects may have been stored with other settings than those of today."""
    if told := settings_notice(evidence.settings, evidence.other_settings):
        yield Finding("settings", Grade.WARNING, told.message, told.remedy)


def verified(evidence: CutoverEvidence) -> Iterator[Finding]:
    """Whether somebody has looked for the objects at the destination."""
    if not evidence.verifications:
        message = tr("nothing was verified yet: no command has looked whether the objects are at the new store")
        yield Finding("verify", Grade.FAILURE, message, "mastosync verify")
        return
    last = evidence.verifications[0]
    done = sum(line.objects for line in evidence.counts if line.state is EntryState.DONE)
    undigested, checked = last.details.get("unproven", 0), last.details["checked"]
    fine = last.details["fine"] + undigested  # by all that there is to compare
    read = max(each.details.get("read", {}).get("objects", 0) for each in evidence.verifications)
    message = trn(
        "verified {age} ago: {fine} of {checked} was fine",
        "verified {age} ago: {fine} of {checked} were fine",
        fine,
        age=human_seconds(max(evidence.now - last.ended_at, 0)),
        fine=f"{fine:,}",
        checked=f"{checked:,}",
    )
    message += undigested_message(undigested)
    message += (
        trn("; {objects} was read back", "; {objects} were read back", read, objects=f"{read:,}")
        if read and read == last.details.get("read", {}).get("objects")
        else tr("; an earlier run has read {objects} back", objects=f"{read:,}")
        if read
        else tr("; none was read back")
    )
    changed = evidence.change.at > last.started_at
    if changed:
        message += tr("; `{command}` has changed objects since", command=evidence.change.command)
    if since := evidence.done_since:
        message += trn("; {objects} was copied since", "; {objects} were copied since", since, objects=f"{since:,}")
    elif fine < done and not changed:
        message += trn("; {objects} is done", "; {objects} are done", done, objects=f"{done:,}")
    if changed or evidence.done_since or fine < checked or fine < done:
        yield Finding(
            "verify", Grade.WARNING, message, tr("mastosync verify, once more before the old store is deleted")
        )
    else:
        yield Finding("verify", Grade.OK, message)


def read_by_everybody(evidence: CutoverEvidence) -> Iterator[Finding]:
    """Whether the destination was read as browsers do, and everybody reads what they should: see `audience_of`."""
    checks = public_summary(reversed(evidence.verifications), evidence.counts, evidence.change, evidence.acl)
    status = checks.status
    if status is PublicCheckStatus.UNTRIED:
        yield Finding("public", Grade.FAILURE, never_read_message(), checks.remedy)
    if checks.told is None or status in (PublicCheckStatus.UNTRIED, PublicCheckStatus.NEEDLESS):
        return
    told, age = checks.told, human_seconds(max(evidence.now - checks.ended_at, 0))
    faults, shown = len(told["faults"]), told["asked"] - told["asked_private"]
    correct = correction_of(checks)
    again = _copy_first(checks) if evidence.some_pending else correct
    if status is PublicCheckStatus.LISTED:
        yield Finding("public", Grade.FAILURE, tr("{age} ago anybody could list the bucket", age=age), correct)
    elif status is PublicCheckStatus.EXPOSED:
        message = trn(
            "{age} ago anybody could read {objects} private object",
            "{age} ago anybody could read {objects} private objects",
            told["exposed"],
            age=age,
            objects=f"{told['exposed']:,}",
        )
        yield Finding("public", Grade.FAILURE, message, again)
    else:
        message = trn(
            "{asked} object was tried without credentials {age} ago",
            "{asked} objects were tried without credentials {age} ago",
            told["asked"],
            age=age,
            asked=f"{told['asked']:,}",
        ) + trn(", with {faults} fault", ", with {faults} faults", faults, faults=f"{faults:,}")
        worst = Grade.FAILURE if faults >= shown > 0 else Grade.WARNING
        if faults:
            yield Finding("public", worst, message, again)
        if checks.uncovered:
            yield Finding("public", Grade.FAILURE, *uncovered_notice(checks))
        elif not faults:
            yield Finding("public", Grade.OK, message)


def _copy_first(checks: PublicSummary) -> str:
    """What to do where a copy puts right what `verify --public` has found, as that is pending."""
    return tr("`mastosync copy`, which stores again what is pending; then `{verify}`", verify=checks.remedy)
