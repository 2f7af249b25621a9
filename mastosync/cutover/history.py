"""What has been done so far: plans, verifications, and how long ago."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mastosync.checking.public_access import Reading, reading_of
from mastosync.cutover.arrival import DISPENSABLE
from mastosync.cutover.findings import Evidence, Finding, Grade
from mastosync.findings.deleted import gone_told, removal, unknown_told
from mastosync.findings.public_looks import Looks, looks_at
from mastosync.findings.shared import (
    apart_told,
    lost_told,
    settings_told,
    undigested_told,
    unproved_told,
    unread_told,
)
from mastosync.language import enumerated, tr, trn
from mastosync.manifest import Relation, SnapshotRecord
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


def whole(evidence: Evidence) -> Iterator[Finding]:
    """Whether the manifest has all that was written to it."""
    if evidence.gap is not None:
        yield Finding("gap", Grade.NO_GO, evidence.gap.said, evidence.gap.remedy)


def planned(evidence: Evidence) -> Iterator[Finding]:
    """Whether the plans took everything in, and how long ago."""
    if evidence.lost:
        yield Finding("lost-by-plan", Grade.NO_GO, *lost_told(evidence.lost))
    own, cache = (_covered(evidence.plans, remote=remote) for remote in (False, True))
    if missed := sorted(_OWN - own.keys()):
        yield Finding(
            "scope",
            Grade.NO_GO,
            tr("no plan has read all rows of this server in {tables}", tables=enumerated(missed)),
            tr("mastosync plan, without --type, --limit and --only remote"),
        )
        return
    age = _age_of(own, _OWN, evidence.now)
    grade = Grade.OK if age < _STALE_SECONDS else Grade.WARNING if age < _OLD_SECONDS else Grade.NO_GO
    message = tr("planned {age} ago", age=human_seconds(age)) + _delta(evidence)
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


def _covered(plans: Sequence[SnapshotRecord], *, remote: bool) -> dict[str, float]:
    """When a plan took in, for the last time, all of a table that is of other servers, or of this one."""
    covered: dict[str, float] = {}
    for plan in plans:
        for table in TABLES:
            if plan.takes_in(table, remote=remote):
                covered.setdefault(table, plan.taken_at.timestamp())
    return covered


def _age_of(covered: Mapping[str, float], tables: Iterable[str], now: float) -> float:
    """Seconds since the oldest of these plans."""
    return max(now - min(covered[table] for table in tables), 0.0)


def deleted(evidence: Evidence) -> Iterator[Finding]:
    """What is gone and lies at the destination; and whether anybody would know."""
    deleted, gone, by_hand = evidence.deleted, evidence.deleted.gone, evidence.shared is not None
    if gone.objects or gone.lost:
        remedy = removal(gone, by_hand=by_hand, lost=evidence.lost > 0)
        yield Finding("gone", Grade.WARNING, gone_told(gone), remedy)
    if deleted.is_known(evidence.now):
        if not gone.objects and not gone.lost:
            yield Finding("gone", Grade.OK, tr("nothing that was deleted is still at the destination"))
        return
    message = unknown_told(deleted, evidence.now)
    remedy = (
        "mastosync plan; " + removal(gone, by_hand=True, lost=evidence.lost > 0)
        if by_hand
        else tr("mastosync plan && mastosync prune, shortly before the switch and once more after it")
    )
    yield Finding("deletions", Grade.WARNING, message, remedy)


def _delta(evidence: Evidence) -> str:
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


def apart(evidence: Evidence) -> Finding:
    """Whether somebody has looked at both stores: if they are one, nothing has been moved."""
    unsure = {None: Grade.NO_GO, Relation.UNKNOWN: Grade.WARNING}
    return Finding("apart", unsure.get(evidence.relation, Grade.OK), *apart_told(evidence.relation))


def settings(evidence: Evidence) -> Iterator[Finding]:
    """Whether something may lie there under other settings than those of today."""
    if told := settings_told(evidence.settings, evidence.other_settings):
        yield Finding("settings", Grade.WARNING, told.message, told.remedy)


def verified(evidence: Evidence) -> Iterator[Finding]:
    """Whether what arrived was looked for at the destination."""
    if not evidence.verifications:
        message = tr("nothing was verified yet: no command has looked whether the objects are at the new store")
        yield Finding("verify", Grade.NO_GO, message, "mastosync verify")
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
    message += undigested_told(undigested)
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


def read_by_everybody(evidence: Evidence) -> Iterator[Finding]:
    """Whether anybody looked at the destination as browsers do, and found what has to be so: see `readers`."""
    looks = looks_at(reversed(evidence.verifications), evidence.counts, evidence.change, evidence.acl)
    reading = reading_of(looks.told, evidence.acl)
    if reading is Reading.UNTRIED:
        yield Finding("public", Grade.NO_GO, unread_told(), looks.remedy)
    if looks.told is None or reading in (Reading.UNTRIED, Reading.NEEDLESS):
        return
    told, age = looks.told, human_seconds(max(evidence.now - looks.ended_at, 0))
    faults, shown = len(told["faults"]), told["asked"] - told["asked_private"]
    correct = tr("correct it, and run `{verify}` again", verify=looks.remedy)
    again = _copy_first(looks) if evidence.some_pending else correct
    if reading is Reading.LISTED:
        yield Finding("public", Grade.NO_GO, tr("{age} ago anybody could list the bucket", age=age), correct)
    elif reading is Reading.EXPOSED:
        message = trn(
            "{age} ago anybody could read {objects} private object",
            "{age} ago anybody could read {objects} private objects",
            told["exposed"],
            age=age,
            objects=f"{told['exposed']:,}",
        )
        yield Finding("public", Grade.NO_GO, message, again)
    else:
        message = trn(
            "{asked} object was tried without credentials {age} ago",
            "{asked} objects were tried without credentials {age} ago",
            told["asked"],
            age=age,
            asked=f"{told['asked']:,}",
        ) + trn(", with {faults} fault", ", with {faults} faults", faults, faults=f"{faults:,}")
        worst = Grade.NO_GO if faults >= shown > 0 else Grade.WARNING
        if faults:
            yield Finding("public", worst, message, again)
        if looks.unproved:
            yield Finding("public", Grade.NO_GO, *unproved_told(looks))
        elif not faults:
            yield Finding("public", Grade.OK, message)


def _copy_first(looks: Looks) -> str:
    """What `verify --public` has found wrong and a copy puts right is pending."""
    return tr("`mastosync copy`, which stores again what is pending; then `{verify}`", verify=looks.remedy)
