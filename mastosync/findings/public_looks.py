"""What all `verify --public` tell together, each of which looked at a sample: `cutover` and `report` go by this.

A look proves what it covered, and no more. What it found wrong stands until another one has covered that as well: of
the same type, by a sample as large, or by asking for all that there is. Only what a sample of the usual size has
covered since objects were stored anew, of each type that has arrived, is proved; and not if most of what there is has
arrived since, nor if most of a type has, and more than a sample of it.

A module of its own, as the help of the command tells it, and loads nothing else for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from mastosync.checking.public_access import Audience, audience_of, has_asked
from mastosync.manifest import CountLine, LastChange
from mastosync.mastodon.catalog import UNSHOWN
from mastosync.model import TABLES, EntryState

USUAL_SAMPLE = 100
"""So many objects `verify --public` asks for, unless somebody says how many."""


class Verified(Protocol):
    """A run of `verify`, as the manifest remembers it."""

    @property
    def started_at(self) -> float: ...  # noqa: D102 - seconds since the epoch
    @property
    def ended_at(self) -> float: ...  # noqa: D102
    @property
    def details(self) -> dict[str, Any]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Looks:
    """What they tell."""

    told: Mapping[str, Any] | None = None  # as `verify --json` tells of one; None: nobody has looked
    ended_at: float = 0.0  # seconds since the epoch: the look of which most of this is
    unproved: tuple[str, ...] = ()  # tables that no look has covered
    before: str = ""  # the command after which none has; empty: there was none
    untried: bool = False  # no look was later than that command
    keys: frozenset[str] = frozenset()  # of what is wrong
    sample: int = USUAL_SAMPLE  # that another look needs to settle all of this

    @property
    def remedy(self) -> str:
        """The command."""
        return "mastosync verify --public" + (f" --sample {self.sample}" if self.sample > USUAL_SAMPLE else "")


class _Wrong(NamedTuple):
    """What a look has found."""

    tables: frozenset[str]  # one; more where an older version has not noted which it is
    sample: int
    exposed: bool
    told: Mapping[str, Any]


class _Look:
    """One of them."""

    def __init__(self, verified: Verified) -> None:
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
            return table in self._tables and objects[table] <= USUAL_SAMPLE
        grown = 0 < self._there[table] < min(objects[table] / 2, objects[table] - USUAL_SAMPLE)
        return self.covers(table, USUAL_SAMPLE) and not grown

    def settles(self, wrong: _Wrong, arrived: frozenset[str]) -> bool:
        """Whether it would have found again what an earlier one has found wrong."""
        return all(self.covers(table, wrong.sample) for table in wrong.tables & arrived)

    def iter_wrong(self) -> Iterator[_Wrong]:
        """What it has found."""
        faulty = frozenset(each["type"] for each in self.told.get("by_kind", ()) if each["faults"])
        for number, fault in enumerate(self.told.get("faults", ())):
            tables = frozenset([fault["type"]]) if "type" in fault else faulty or frozenset(TABLES)
            exposed = fault.get("exposed", number < self.told.get("exposed", 0))
            yield _Wrong(tables, self._sample, exposed, fault)


def looks_at(verified: Iterable[Verified], counts: Sequence[CountLine], change: LastChange, acl: str) -> Looks:
    """What these have found, the oldest first.

    `change`: the last one by another command than `copy`: no look from before proves anything. `acl`: of the
    destination; where everybody has to read, a look at what was all private tells nothing.
    """
    objects = Counter[str]()
    for line in counts:
        if line.state is EntryState.DONE:
            objects[line.kind.table] += line.objects
    arrived = frozenset(+objects)
    shown = arrived - UNSHOWN
    must_read = audience_of(acl) is Audience.EVERYBODY
    objects = Counter({table: objects[table] for table in shown})  # of what may be asked for
    looks = [_Look(each) for each in verified if _counts(each.details.get("public"), acl)]
    if not looks:
        return Looks(unproved=tuple(sorted(shown)) if must_read else ())
    wrong: list[_Wrong] = []
    for look in looks:
        found = list(look.iter_wrong())
        again = {each.told.get("key") for each in found} - {None}
        wrong = [each for each in wrong if not look.settles(each, arrived) and each.told.get("key") not in again]
        wrong += found
    wrong = [each for each in wrong if each.tables & arrived]
    later = [look for look in looks if look.started_at >= change.at]
    unproved = [table for table in shown if not any(look.proves(table, objects) for look in later)]
    whole = (look for look in reversed(looks) if all(look.proves(table, objects) for table in shown))
    most = next(whole, looks[-1])
    told = {
        **most.told,
        "anybody_can_list": looks[-1].told.get("anybody_can_list", False),
        "exposed": sum(each.exposed for each in wrong),
        "faults": [each.told for each in wrong],
    }
    keys = frozenset(each.told["key"] for each in wrong if "key" in each.told)
    sample = max((each.sample for each in wrong), default=USUAL_SAMPLE)
    before = change.command if later != looks else ""
    return Looks(
        told,
        most.ended_at,
        tuple(sorted(unproved)) if must_read else (),
        untried=not later,
        before=before,
        keys=keys,
        sample=max(sample, USUAL_SAMPLE),
    )


def _counts(public: Mapping[str, Any] | None, acl: str) -> bool:
    """Whether a look says anything of what is asked for now."""
    if public is None or not has_asked(public):
        return False
    return not (audience_of(acl) is Audience.EVERYBODY and public.get("all_private"))
