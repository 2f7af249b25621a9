"""What all runs of `verify --public` prove together: `cutover` and `report` go by this. Each run checks a sample.

A run proves what it covered, and no more. A fault stands until another run has covered it as well: by a sample of the
same type and at least the same size, or by asking for all objects. A type is proved if a sample of the usual size has
covered it since objects were stored anew, unless most of all objects have arrived since, or most of that type and more
than a sample of it. Types that came since are taken on trust only after a run of the usual size, and only if all of
them together have no more objects than that run asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

from mastosync.checking.public_access import USUAL_SAMPLE, Audience, FaultKind, audience_of
from mastosync.manifest import CountLine, LastChange, VerificationRecord
from mastosync.mastodon.catalog import UNSHOWN
from mastosync.model import TABLES, EntryState


class PublicCheckStatus(Enum):
    """Who can read at the destination, as far as it is known."""

    UNTRIED = auto()  # everybody has to, and nobody has tried
    LISTED = auto()  # anybody can list the bucket
    EXPOSED = auto()  # somebody reads what nobody may
    FAULTY = auto()  # not everything can be read as it has to be
    FINE = auto()
    HIDDEN = auto()  # nobody read anything, as nobody may
    NEEDLESS = auto()  # nobody has to read anything, and nobody has tried


@dataclass(frozen=True, slots=True)
class PublicSummary:
    """What all runs prove together."""

    acl: str  # of the destination, as configured
    told: Mapping[str, Any] | None = None  # in the form of one `verify --json`; None: there was no run
    ended_at: float = 0.0  # seconds since the epoch: the run of which most of this is
    uncovered: tuple[str, ...] = ()  # tables that no run has covered
    before: str = ""  # the command after which none has; empty: there was none
    untried: bool = False  # no run was later than that command
    keys: frozenset[str] = frozenset()  # of objects at fault
    sample: int = USUAL_SAMPLE  # that another run needs to settle all of this

    @property
    def status(self) -> PublicCheckStatus:
        """What this proves under the ACL of the destination.

        A run under `acl = private` does not prove that everybody can read, nor the other way round.
        """
        must_read, told = audience_of(self.acl) is Audience.EVERYBODY, self.told
        if told is None or (must_read and told.get("all_private")):
            return PublicCheckStatus.UNTRIED if must_read else PublicCheckStatus.NEEDLESS
        if told.get("anybody_can_list"):
            return PublicCheckStatus.LISTED
        if told.get("exposed"):
            return PublicCheckStatus.EXPOSED
        if must_read:
            return PublicCheckStatus.FAULTY if told.get("faults") else PublicCheckStatus.FINE
        if not told.get("all_private"):
            return PublicCheckStatus.NEEDLESS  # what could not be read then, need not be
        return PublicCheckStatus.FAULTY if told.get("faults") else PublicCheckStatus.HIDDEN

    @property
    def by_kind(self) -> Counter[str]:
        """How many objects had which fault (`FaultKind`). An empty kind: older versions did not record which."""
        told = self.told or {}
        found = Counter[str]()
        for fault in told.get("faults", ()):
            kind = FaultKind.EXPOSED if fault.get("exposed") else fault.get("fault")
            found[kind if kind in list(FaultKind) else ""] += 1
        unmarked = min(max(told.get("exposed", 0) - found[FaultKind.EXPOSED], 0), found[""])
        found.update({FaultKind.EXPOSED: unmarked, "": -unmarked})
        return +found

    @property
    def remedy(self) -> str:
        """The command that settles all of this."""
        return "mastosync verify --public" + (f" --sample {self.sample}" if self.sample > USUAL_SAMPLE else "")


class _FoundFault(NamedTuple):
    """A fault that a run has found."""

    tables: frozenset[str]  # one; more where an older version has not noted which it is
    sample: int
    exposed: bool
    told: Mapping[str, Any]


class _PublicRun:
    """One run."""

    def __init__(self, verified: VerificationRecord) -> None:
        self.started_at, self.ended_at = verified.started_at, verified.ended_at
        self.told: Mapping[str, Any] = verified.details["public"]
        self._sample: int = self.told.get("sample", min(self.told.get("asked", 0), USUAL_SAMPLE))
        asked, there = Counter[str](), Counter[str]()
        for each in self.told.get("by_kind", ()):
            asked[each["type"]] += each["asked"]
            there[each["type"]] += each.get("of", 0)
        self._tables = frozenset(self.told.get("types", asked))
        self._whole = frozenset(table for table in asked if 0 < there[table] <= asked[table]) - UNSHOWN
        self._there, self._asked = there, asked if "by_kind" in self.told else None

    def covers(self, table: str, sample: int) -> bool:
        """Whether it has asked for as much of a type as a sample of this size does."""
        return table in self._tables and (self._sample >= sample or table in self._whole)

    def proves(self, table: str, objects: Counter[str]) -> bool:
        """Whether enough was asked for of a type, for what there is by now. A few new ones do not need another look."""
        if 0 < self._there.total() < sum(objects[each] for each in self._tables) / 2:
            return False
        if self._asked is not None and not self._asked[table]:
            untried = sum(objects[each] for each in self._tables if not self._asked[each])
            is_usual = table in self._tables and self._sample >= USUAL_SAMPLE
            return is_usual and untried <= min(USUAL_SAMPLE, self._asked.total())
        grown = 0 < self._there[table] < min(objects[table] / 2, objects[table] - USUAL_SAMPLE)
        return self.covers(table, USUAL_SAMPLE) and not grown

    def settles(self, fault: _FoundFault, arrived: frozenset[str]) -> bool:
        """Whether it would have found again what an earlier run has found."""
        return all(self.covers(table, fault.sample) for table in fault.tables & arrived)

    def iter_faults(self) -> Iterator[_FoundFault]:
        """The faults that it has found."""
        faulty = frozenset(each["type"] for each in self.told.get("by_kind", ()) if each["faults"])
        for number, fault in enumerate(self.told.get("faults", ())):
            tables = frozenset([fault["type"]]) if "type" in fault else faulty or frozenset(TABLES)
            exposed = fault.get("exposed", number < self.told.get("exposed", 0))
            yield _FoundFault(tables, self._sample, exposed, fault)


def public_summary(
    verified: Iterable[VerificationRecord], counts: Sequence[CountLine], change: LastChange, acl: str
) -> PublicSummary:
    """What these runs prove together, the oldest first.

    `change`: the last one by another command than `copy`; no run from before proves anything. `acl`: of the
    destination; where everybody has to read, a run while all was private proves nothing.
    """
    objects = Counter[str]()
    for line in counts:
        if line.state is EntryState.DONE:
            objects[line.kind.table] += line.objects
    arrived = frozenset(+objects)
    shown = arrived - UNSHOWN
    must_read = audience_of(acl) is Audience.EVERYBODY
    objects = Counter({table: objects[table] for table in shown})  # of what may be asked for
    runs = [_PublicRun(each) for each in verified if _counts(each.details.get("public"), acl)]
    if not runs:
        return PublicSummary(acl, uncovered=tuple(sorted(shown)) if must_read else ())
    faults: list[_FoundFault] = []
    for run in runs:
        found = list(run.iter_faults())
        again = {each.told.get("key") for each in found} - {None}
        faults = [each for each in faults if not run.settles(each, arrived) and each.told.get("key") not in again]
        faults += found
    faults = [each for each in faults if each.tables & arrived]
    later = [run for run in runs if run.started_at >= change.at]
    uncovered = [table for table in shown if not any(run.proves(table, objects) for run in later)]
    whole = (run for run in reversed(runs) if all(run.proves(table, objects) for table in shown))
    most = next(whole, runs[-1])
    told = {
        **most.told,
        "anybody_can_list": runs[-1].told.get("anybody_can_list", False),
        "exposed": sum(each.exposed for each in faults),
        "faults": [each.told for each in faults],
    }
    keys = frozenset(each.told["key"] for each in faults if "key" in each.told)
    sample = max((each.sample for each in faults), default=USUAL_SAMPLE)
    before = change.command if later != runs else ""
    return PublicSummary(
        acl,
        told,
        most.ended_at,
        tuple(sorted(uncovered)) if must_read else (),
        untried=not later,
        before=before,
        keys=keys,
        sample=max(sample, USUAL_SAMPLE),
    )


def has_asked(public: Mapping[str, Any]) -> bool:
    """Whether this run asked for anything: where nothing is done, it proves nothing."""
    return public.get("asked") != 0 or bool(public.get("anybody_can_list"))


def _counts(public: Mapping[str, Any] | None, acl: str) -> bool:
    """Whether a run says anything of what is asked for now."""
    if public is None or not has_asked(public):
        return False
    return not (audience_of(acl) is Audience.EVERYBODY and public.get("all_private"))
