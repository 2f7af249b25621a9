"""How many directories there are in the keys of a plan: whoever lists one after the other looks into each of them.

Paperclip has one for every three digits of an id and one for every style, so there are more directories than objects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from mastosync.model import EntryGroup, Kind

_ONE_IN = 32  # batches of a kind is counted, and stands for those before it; the first one for itself


@dataclass(slots=True)
class _Branch:
    """Directories made of the ids of one kind."""

    batches: int = 0
    counted: int = 0  # ids
    uncounted: int = 0  # that came since the last batch that was counted
    directories: float = 0.0
    last: dict[int, int] = field(default_factory=dict)  # by level: the last directory, which may go on in a later batch


@dataclass(slots=True)
class DirectoryCount:
    """Counts by ids, batch by batch; a long table is counted by samples. The ids of a table ascend."""

    _branches: dict[Kind, _Branch] = field(default_factory=lambda: defaultdict(_Branch), init=False)
    _styles: dict[tuple[str, bool], int] = field(default_factory=lambda: defaultdict(int), init=False)

    def take(self, groups: Sequence[EntryGroup]) -> None:
        """Take in what one batch has. Every row has an original, so the ids of those are all there are."""
        originals: dict[Kind, list[Sequence[int]]] = defaultdict(list)
        for group in groups:
            self._styles[group.kind.table, group.kind.remote] += len(group.ids)  # each object has one to itself
            if group.kind.style == "original":
                originals[group.kind].append(group.ids)
        for kind, columns in originals.items():
            branch = self._branches[kind]
            branch.batches += 1
            branch.uncounted += sum(map(len, columns))
            if branch.batches % _ONE_IN == 1:
                _count(branch, set(chain.from_iterable(columns)))

    def by_type(self) -> Iterator[tuple[str, bool, int]]:
        """Type, remote, and how many directories its objects are in. The few above all ids are left out."""
        counted: dict[tuple[str, bool], float] = defaultdict(float, self._styles)
        for kind, branch in self._branches.items():
            alike = branch.directories / branch.counted  # every kind has a first batch
            counted[kind.table, kind.remote] += branch.directories + branch.uncounted * alike
        yield from ((table, remote, round(count)) for (table, remote), count in counted.items())


def _count(branch: _Branch, ids: set[int]) -> None:
    found = 0
    level, depth = _lowest(ids)
    for above in range(depth, 0, -1):
        found += len(level) - (branch.last.get(above) in level)
        branch.last[above] = max(level)
        level = {each // 1000 for each in level}
    branch.directories += found * branch.uncounted / len(ids)  # it stands for those before it too
    branch.counted += branch.uncounted
    branch.uncounted = 0


def _lowest(ids: set[int]) -> tuple[set[int], int]:
    """The deepest directory of each id, as a number, and how many levels there are, as `id_partition` cuts them.

    Ids of one batch are about as long as its highest one.
    """
    digits = len(str(max(ids)))
    if digits <= 12:
        return ids, 3 if digits <= 9 else 4
    rest = 10 ** (digits % 3)
    return ({each // rest for each in ids} if rest > 1 else ids), digits // 3
