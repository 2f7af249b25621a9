"""The survey of a plan: what it has seen, by type, origin and age, so that a move can be judged before it begins.

Nothing is kept of single entries: a survey of ten million is as small as one of ten.

`DirectoryCount` counts the directories in the keys, each of which a tool that lists one after the other has to ask for.
There are more of them than objects, as Paperclip has one for every three digits of an id and one for every style.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, repeat
from typing import Any, NamedTuple, cast

from mastosync.model import CACHE_TABLES, EntryGroup, Kind

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


DAY_SECONDS = 24 * 60 * 60
AGE_DAYS = (7, 30, 90, 365)
AGES = (*(f"under_{days}_days" for days in AGE_DAYS), "older", "unknown")
"""How old files are when the plan is made, youngest first."""

_SHARE_OF_ORIGINAL = {"original": 1.0, "small": 1 / 8, "static": 1 / 2}
_SHARE_OF_OTHERS = 1 / 4  # icons and the like
_MOST_BYTES_OF_SMALL = 150 * 1024  # which has 230,400 pixels at most, of films too


@dataclass(slots=True)
class Estimate:
    """So many objects. Sizes are the database's, which knows those of originals only; others are estimated."""

    objects: int = 0
    known_bytes: int = 0
    unsized: int = 0  # objects of which no size is known
    estimated_bytes: int = 0  # of those
    optional: int = 0  # objects that Mastodon can do without, many of which were never made
    large: int = 0  # objects that travel in parts
    parts: int = 0  # of these

    def add(self, other: Estimate) -> None:
        """Sum up."""
        for name in Estimate.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def size_bytes(self) -> int:
        """Known and estimated."""
        return self.known_bytes + self.estimated_bytes


class Line(NamedTuple):
    """Objects of one type, of one origin and of one age."""

    table: str
    remote: bool
    age: str  # one of AGES
    excluded: bool  # this plan leaves them out
    amount: Estimate

    @property
    def is_cache(self) -> bool:
        """Whether Mastodon would fetch them again by itself."""
        return self.remote and self.table in CACHE_TABLES


@dataclass(frozen=True, slots=True)
class Survey:
    """All that a plan has seen."""

    lines: tuple[Line, ...]
    directories: tuple[tuple[str, bool, int], ...]  # type, remote, and how many there are in the keys

    def total(self, *, excluded: bool | None = None) -> Estimate:
        """All lines, or those that the plan leaves out, or takes in."""
        return total(line for line in self.lines if excluded is None or line.excluded == excluded)

    def directory_count(self) -> int:
        """How many directories a tool that lists one after the other has to look into."""
        return sum(count for _, _, count in self.directories)

    def as_json(self) -> dict[str, Any]:
        """The names are part of the interface."""
        return {
            "lines": [{**line._asdict(), "amount": asdict(line.amount)} for line in self.lines],
            "directories": [
                {"table": table, "remote": remote, "directories": count} for table, remote, count in self.directories
            ],
        }

    @classmethod
    def of_json(cls, said: dict[str, Any]) -> Survey:
        """What `as_json` has written. Raises: KeyError, TypeError if it was something else."""
        lines = tuple(Line(**{**line, "amount": Estimate(**line["amount"])}) for line in said["lines"])
        return cls(lines, tuple((each["table"], each["remote"], each["directories"]) for each in said["directories"]))


def total(lines: Iterable[Line]) -> Estimate:
    """The sum of some lines."""
    amount = Estimate()
    for line in lines:
        amount.add(line.amount)
    return amount


class _Cell(NamedTuple):
    """What entries have in common that are counted together."""

    table: str
    attachment: str
    style: str
    remote: bool
    age: str
    excluded: bool


class _Ages(NamedTuple):
    """How old the entries of a column are."""

    counts: dict[str, int]  # by age
    each: list[str] | None  # one after the other; None: all are of the only one


@dataclass(slots=True)
class Surveyor:
    """Adds up what a plan sees, batch by batch, in columns. The ids of a table ascend from batch to batch."""

    taken_at: float  # seconds since the epoch, from which ages are counted
    multipart_threshold: int  # bytes above which an object travels in parts
    part_size: int  # bytes
    _cells: dict[_Cell, Estimate] = field(default_factory=lambda: defaultdict(Estimate), init=False)
    _directories: DirectoryCount = field(default_factory=DirectoryCount, init=False)
    _bounds: list[float] = field(init=False)  # between ages, the oldest first
    _ages: tuple[str, ...] = field(default=tuple(reversed(AGES[:-1])), init=False)  # between them
    _last: tuple[object, _Ages] = field(default=((), _Ages({}, None)), init=False)

    def __post_init__(self) -> None:
        """Work out when each age ends."""
        self._bounds = [self.taken_at - days * DAY_SECONDS for days in reversed(AGE_DAYS)]

    def take(self, groups: Sequence[EntryGroup]) -> None:
        """Take in what one batch of a table has."""
        for group in groups:
            table, attachment, style, _, remote, _ = group.kind
            ages = self._ages_of(group)
            sizes = _sizes_by_age(group, ages)
            for age, objects in ages.counts.items():
                amount = self._cells[_Cell(table, attachment, style, remote, age, group.excluded)]
                amount.objects += objects
                amount.optional += objects * group.optional
                self._size(amount, objects, sizes.get(age, ()))
        self._directories.take(groups)

    def survey(self) -> Survey:
        """What it has come to."""
        lines: dict[tuple[str, bool, str, bool], Estimate] = defaultdict(Estimate)
        for cell, amount in self._cells.items():
            amount.estimated_bytes = round(amount.unsized * self._usual_bytes(cell))
            lines[cell.table, cell.remote, cell.age, cell.excluded].add(amount)
        return Survey(
            tuple(Line(*place, amount) for place, amount in lines.items()), tuple(self._directories.by_type())
        )

    def _ages_of(self, group: EntryGroup) -> _Ages:
        updated = group.updated
        if updated is None:
            return _Ages({"unknown": len(group.ids)}, None)
        if updated is not self._last[0]:  # the styles of the same rows share this column
            self._last = (updated, self._ages_in(updated))
        return self._last[1]

    def _ages_in(self, updated: Sequence[int | None]) -> _Ages:
        unknown = updated.count(None)
        if unknown == len(updated):
            return _Ages({"unknown": unknown}, None)
        ages, bounds = self._ages, self._bounds
        if unknown:
            each = ["unknown" if since is None else ages[bisect_right(bounds, since)] for since in updated]
            return _Ages(Counter(each), each)
        times = cast("Sequence[int]", updated)
        oldest, youngest = (bisect_right(bounds, edge(times)) for edge in (min, max))
        if oldest == youngest:  # as in most batches: ids ascend with time
            return _Ages({ages[oldest]: len(times)}, None)
        each = [ages[place] for place in map(bisect_right, repeat(bounds), times)]
        return _Ages(Counter(each), each)

    def _size(self, amount: Estimate, objects: int, sizes: Sequence[int]) -> None:
        """Take in the known sizes of some objects."""
        amount.known_bytes += sum(sizes)
        amount.unsized += objects - len(sizes)
        if sizes and max(sizes) > self.multipart_threshold:
            large = [size for size in sizes if size > self.multipart_threshold]
            amount.large += len(large)
            amount.parts += sum(-(-size // self.part_size) for size in large)

    def _usual_bytes(self, cell: _Cell) -> float:
        """What an object of unknown size has, by the originals of the same attachment whose sizes are known."""
        known = Estimate()
        for other, amount in self._cells.items():
            if (other.table, other.attachment, other.style) == (cell.table, cell.attachment, "original"):
                known.add(amount)
        usual = known.known_bytes / max(1, known.objects - known.unsized)
        usual *= _SHARE_OF_ORIGINAL.get(cell.style, _SHARE_OF_OTHERS)
        return min(usual, _MOST_BYTES_OF_SMALL) if cell.style == "small" else usual


def _sizes_by_age(group: EntryGroup, ages: _Ages) -> dict[str, list[int]]:
    """What the database knows of sizes; it knows of no derived style."""
    if group.sizes is None:
        return {}
    if ages.each is None:
        (age,) = ages.counts
        return {age: list(filter(None, group.sizes))}
    sizes: dict[str, list[int]] = {age: [] for age in ages.counts}
    for age, size in zip(ages.each, group.sizes, strict=True):
        if size:
            sizes[age].append(size)
    return sizes
