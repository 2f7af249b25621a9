"""What has been done so far: plans, verifications, and how long ago."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mastosync.engine.cutover.arrival import DISPENSABLE
from mastosync.engine.cutover.findings import Evidence, Finding, Grade
from mastosync.language import tr, trn
from mastosync.manifest import SnapshotRecord
from mastosync.mastodon.catalog import CATALOG
from mastosync.model import TABLES, EntryState
from mastosync.units import human_seconds

_DAY_SECONDS = 86_400
_STALE_SECONDS = _DAY_SECONDS  # since a plan: then what has come since is worth a plan more
_OLD_SECONDS = 7 * _DAY_SECONDS  # then too much has

_CACHE_ALONE = frozenset({"preview_cards"})  # nothing in it is of this server
_SHARED = frozenset(spec.table for spec in CATALOG if spec.cacheable)  # rows of other servers are in these


def planned(evidence: Evidence) -> Iterator[Finding]:
    """Whether the plans took everything in, and how long ago."""
    covered = _covered(evidence.plans)
    own = sorted(set(TABLES) - _CACHE_ALONE - DISPENSABLE - {table for table, remote in covered if not remote})
    cache = sorted((_SHARED | _CACHE_ALONE) - {table for table, remote in covered if remote})
    if own:
        yield Finding(
            "scope",
            Grade.NO_GO,
            tr("no plan has taken in all that is of this server in {tables}", tables=", ".join(own)),
            tr("mastosync plan, without --type, --limit and --only remote"),
        )
    elif cache:
        yield Finding(
            "scope",
            Grade.WARNING,
            tr("no plan has taken in all that is cached from other servers in {tables}", tables=", ".join(cache)),
            tr("as long as the old store stands, the fallback brings it; or plan and copy it"),
            needs_fallback=True,
        )
    if not covered:
        return
    age = max(evidence.now - min(covered.values()), 0)
    message = tr("planned {age} ago", age=human_seconds(age)) + _delta(evidence)
    remedy = tr("mastosync plan && mastosync copy, shortly before and once more after")
    grade = Grade.OK if age < _STALE_SECONDS else Grade.WARNING if age < _OLD_SECONDS else Grade.NO_GO
    yield Finding("plan", grade, message, "" if grade is Grade.OK else remedy)


def _covered(plans: Sequence[SnapshotRecord]) -> dict[tuple[str, bool], float]:
    """For each table, and for what is of this server and of others, when a plan took all of it in for the last time."""
    covered: dict[tuple[str, bool], float] = {}
    for plan in plans:
        if plan.details.get("limit") is not None:
            continue
        only = plan.details.get("only", "all")
        for table in plan.details.get("types", TABLES):
            halves = [remote for remote in (False, True) if only in ("all", "remote" if remote else "local")]
            for remote in halves:
                covered.setdefault((table, remote), plan.taken_at.timestamp())
    return covered


def _delta(evidence: Evidence) -> str:
    """How much was new in the last plan, and so how much may have come since."""
    last, *others = evidence.plans
    added = last.details.get("added", 0)
    if not others:
        return ""
    taken_at, before = last.taken_at.timestamp(), others[0].taken_at.timestamp()
    told = trn(
        "; {objects} object was new in {time}",
        "; {objects} objects were new in {time}",
        added,
        objects=f"{added:,}",
        time=human_seconds(max(taken_at - before, 0)),
    )
    since = round(added * (evidence.now - taken_at) / (taken_at - before)) if taken_at > before else 0
    if since < 1:
        return told
    return told + tr(", so about {objects} since", objects=f"{since:,}")


def verified(evidence: Evidence) -> Iterator[Finding]:
    """Whether what arrived was looked for at the destination."""
    if not evidence.verifications:
        message = tr("nobody has verified what has arrived")
        yield Finding("verify", Grade.WARNING, message, tr("mastosync verify, before the old store goes"))
        return
    last = evidence.verifications[0]
    done = sum(line.objects for line in evidence.counts if line.state is EntryState.DONE)
    fine, checked = last.details["fine"], last.details["checked"]
    read = max(each.details["read"]["objects"] for each in evidence.verifications)
    message = tr(
        "verified {age} ago: {fine} of {checked} were fine",
        age=human_seconds(max(evidence.now - last.ended_at, 0)),
        fine=f"{fine:,}",
        checked=f"{checked:,}",
    )
    message += tr("; {objects} were read back", objects=f"{read:,}") if read else tr("; none was read back")
    if evidence.done_since:
        message += tr("; {objects} have arrived since", objects=f"{evidence.done_since:,}")
    elif fine < done:
        message += tr("; {objects} are done", objects=f"{done:,}")
    if evidence.done_since or fine < checked or fine < done:
        yield Finding("verify", Grade.WARNING, message, tr("mastosync verify once more, before the old store goes"))
    else:
        yield Finding("verify", Grade.OK, message)


def read_by_everybody(evidence: Evidence) -> Finding:
    """Whether anybody looked at the destination as browsers do."""
    asked = [each for each in evidence.verifications if "public" in each.details]
    if not asked:
        message = tr("nobody has tried to read as everybody will")
        return Finding("public", Grade.WARNING, message, tr("mastosync verify --public"))
    told = asked[0].details["public"]
    faults, shown = len(told["faults"]), told["asked"] - told["asked_private"]
    age = human_seconds(max(evidence.now - asked[0].ended_at, 0))
    again = tr("put it right, and run `mastosync verify --public` once more")
    if told["anybody_can_list"] or told["exposed"]:
        message = (
            tr("{age} ago anybody could list the bucket", age=age)
            if told["anybody_can_list"]
            else tr("{age} ago anybody could read {objects} private objects", age=age, objects=told["exposed"])
        )
        return Finding("public", Grade.NO_GO, message, again)
    values = {"age": age, "asked": told["asked"], "faults": faults}
    message = tr("asked as everybody does {age} ago: {faults} of {asked} were not right", **values)
    if not faults:
        return Finding("public", Grade.OK, message)
    return Finding("public", Grade.NO_GO if faults >= shown > 0 else Grade.WARNING, message, again)
