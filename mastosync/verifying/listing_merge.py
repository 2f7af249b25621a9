"""The merge of the manifest with a store's listing: two sorted streams, in constant memory. Samples are drawn from it.

The space of keys is cut into ranges with about as many entries each, so that many ranges are listed at the same time:
within one listing, the next page can be asked for only when the last one has come.

Both streams are read and merged many lines at a time (`Window`): what is done line by line costs more than all else.

An entry is in a sample if its rank is among the lowest. Threads that list look whether a rank may be, and one thread
takes the entry in. Memory is that of the sample. The design is in docs/design/verifying.md.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, product, takewhile
from operator import itemgetter
from typing import NamedTuple, Protocol, TypeAlias

from mastosync.errors import ConfigError, ObjectDenied, ObjectError, StoreUnusable
from mastosync.language import joined, tr
from mastosync.manifest import AFTER_EVERY_NAME, COLUMNS, HIGHEST_ID, LOWEST_ID, RawRow, SegmentReader
from mastosync.mastodon.paperclip import KeyRange, SortedSegment, iter_segments, root_of
from mastosync.model import Record
from mastosync.runtime.retry import RetryingStore
from mastosync.store.base import ListedObject, Page

_SAMPLES_A_RANGE = 16  # of which every sixteenth is where the space is cut
_LEAST_ENTRIES = 2_000  # in a range: two pages of a listing
_FEW = 512  # lines of a segment that are left: then more are read
_NO_RANK = 1 << 64
_ID, _NAME, _FALLBACK = map(itemgetter, range(3))  # of a line
_KEY = itemgetter(ListedObject._fields.index("key"))

_Drawn: TypeAlias = tuple[int, int, Record]  # the highest rank comes first: its negative, its order
SampleGroup: TypeAlias = tuple[bool, str, int]
"""Of which at least one is in the sample: private; `kind` with its number, or `name` with its oddity (`again`: all)."""


class KeyedEntry(NamedTuple):
    """An entry under one of its keys, which is here without the prefix of a store."""

    key: str
    kind: int  # its number in the manifest
    row: RawRow  # the columns that were asked for


class EntryRun(NamedTuple):
    """Entries of a kind by ascending keys, all of one form."""

    kind: int  # its number in the manifest
    canonical: bool  # these are the keys that Mastodon asks for
    keys: list[str]
    rows: list[RawRow]

    def entries(self) -> Iterator[KeyedEntry]:
        """One after the other."""
        return (KeyedEntry(key, self.kind, row) for key, row in zip(self.keys, self.rows, strict=True))


class Window(NamedTuple):
    """All entries, and all that a store lists, with keys in some range: as much as a page, or a few."""

    runs: list[EntryRun]
    objects: list[ListedObject]

    def listed(self) -> dict[str, ListedObject]:
        """What is listed, by key."""
        return dict(zip(map(_KEY, self.objects), self.objects, strict=True))


class KeySpace(NamedTuple):
    """Which entries, and under which of their keys. All keys here are without prefix: that is of a store."""

    types: tuple[str, ...] = ()  # tables; empty: all
    every_form: bool = False  # under every key that an object may have; else just the canonical one
    columns: str = COLUMNS  # that are read of them: id, name, fallback, and others
    renamed: frozenset[int] | None = None  # kinds of which some have another name; None: it is not known

    def cut(self, reader: SegmentReader, entries: int, ranges: int) -> list[KeyRange]:
        """Cut all keys into ranges with about as many entries each. `entries`: how many there are, about."""
        ranges = max(1, min(ranges, entries // _LEAST_ENTRIES))
        step = max(1, entries // (ranges * _SAMPLES_A_RANGE))
        samples = []
        if ranges > 1:
            for number, kind in reader.kinds(self.types).items():
                (segment, *_) = iter_segments(kind)
                samples += [f"{segment.folder(row_id)}{name}" for row_id, name in reader.iter_every(number, step)]
        samples.sort()
        cuts = sorted({samples[len(samples) * number // ranges] for number in range(1, ranges)}) if samples else []
        return [KeyRange(after, up_to) for after, up_to in zip(["", *cuts], [*cuts, None], strict=True)]

    def with_renamed(self, reader: SegmentReader) -> KeySpace:
        """The same, and which kinds have other names: else each range looks for them in all of its entries."""
        everything = (LOWEST_ID, ""), (HIGHEST_ID, AFTER_EVERY_NAME)
        kinds = reader.kinds(self.types)
        return self._replace(
            renamed=frozenset(kind for kind in kinds if any(reader.iter_runs(kind, *everything, "id", renamed=True)))
        )

    def iter_windows(
        self, reader: SegmentReader, keys: KeyRange, pages: Iterator[list[ListedObject]]
    ) -> Iterator[Window]:
        """Merge the entries of a range with the pages of its listing. Windows come by ascending keys.

        An entry comes once for each of its keys. If a store does not keep to the order, entry and object may come in
        two windows. So an entry that comes without its object is no proof that this is missing.
        """
        segments = self._open_segments(reader, keys)
        for objects in pages:
            yield from _windows_up_to(objects[-1].key, segments, objects)
        yield from _windows_up_to(None, segments, [])

    def _open_segments(self, reader: SegmentReader, keys: KeyRange) -> list[_OpenSegment]:
        """All that have entries in a range."""
        found = []
        for number, kind in reader.kinds(self.types).items():
            if span := reader.span(number):
                segments = iter_segments(kind, every_form=self.every_form)
                if self.renamed is not None and number not in self.renamed:
                    segments = (each for each in segments if not each.form.other_name)
                parts = (each.within(keys, span) for each in segments)
                found += [_OpenSegment(reader, number, part, keys, self.columns) for part in parts if part]
        return [segment for segment in found if segment.keys]


class Listing:
    """What a store holds under its prefix, in the order of keys. Keys are given without the prefix."""

    def __init__(self, store: RetryingStore, prefix: str, way_round: str = "") -> None:
        """`way_round`: what a user can do without a listing, for messages.

        Raises: ConfigError if the prefix makes the order of keys unpredictable.
        """
        root = root_of(prefix)
        if root is None:
            raise ConfigError(
                tr(
                    "the keys under key_prefix {prefix!r} cannot be compared with a listing: Paperclip puts "
                    "parts of each entry in where it has a colon",
                    prefix=prefix,
                ),
                hint=way_round or tr("use a key_prefix without a colon for this store"),
            )
        self.store, self.root, self._way_round = store, root, way_round

    def iter_pages(self, keys: KeyRange) -> Iterator[list[ListedObject]]:
        """Everything in a range; no page is empty. Raises: StoreUnusable, Interrupted."""
        after, up_to = keys.after or None, keys.up_to
        while True:
            objects, is_last = self.page(after)
            if up_to is not None and objects and objects[-1].key > up_to:
                objects, is_last = list(takewhile(lambda found: found.key <= up_to, objects)), True
            if objects:
                yield objects
            if is_last:
                return
            after = objects[-1].key

    def page(self, after: str | None) -> Page:
        """The next page of the listing after a key, which is empty for an object named as the prefix is; None: the
        first one. Only the last page may be empty. Raises: as `iter_pages`.
        """
        self.store.store_session.stop.require_going_on()
        try:
            page = self.store.list_page(self.root, f"{self.root}{after}" if after is not None else "")
        except (ObjectError, StoreUnusable) as error:
            hint = error.hint
            if isinstance(error, ObjectDenied):
                hint = tr("the key needs the right to list the bucket (s3:ListBucket)")
            raise self._unusable(error.message, after, hint) from error
        if not page.objects and not page.is_last:
            said = tr("cannot list the {name}: it gives no object, and says that more follow", name=self.store.name)
            raise self._unusable(said, after, tr("run the same command again; if that does not help, ask the provider"))
        if self.root:
            root = self.root
            bare = [ListedObject(key.removeprefix(root), size, etag, at) for key, size, etag, at in page.objects]
            return Page(bare, page.is_last)
        return page

    def _unusable(self, said: str, after: str | None, hint: str) -> StoreUnusable:
        place = tr(", after {after!r}", after=f"{self.root}{after}") if after else ""
        return StoreUnusable(f"{said}{place}", hint=joined(filter(None, (hint, self._way_round))))


class ListingLookup:
    """Looks up keys in a listing, in ascending order. Objects between them are skipped."""

    def __init__(self, listing: Listing) -> None:
        self._listing, self.root = listing, listing.root
        self._found: dict[str, ListedObject] = {}
        self._up_to: str | None = None  # everything up to here has been listed; None: nothing
        self._is_last = False

    def at(self, key: str) -> ListedObject | None:
        """The object under a key, which comes after all that were asked for before."""
        while not self._is_last and (self._up_to is None or key > self._up_to):
            before = key[:-1] or None  # a part of a key comes before it
            page = self._listing.page(before if self._up_to is None else max(self._up_to, before or ""))
            self._found = {found.key: found for found in page.objects}
            self._is_last = page.is_last
            self._up_to = page.objects[-1].key if page.objects else key
        return self._found.get(key)


class _OpenSegment:
    """The entries of a segment in a range, in the order of their keys, read as far as they are needed."""

    def __init__(
        self, reader: SegmentReader, number: int, segment: SortedSegment, keys: KeyRange, columns: str
    ) -> None:
        self.keys: list[str] = []  # of what is read and not taken yet: empty if there is nothing more
        self._rows: list[RawRow] = []
        self._kind, self._segment, self._range = number, segment, keys
        self._canonical, renamed = segment.is_canonical, segment.form.other_name
        self._name = _FALLBACK if renamed else _NAME
        # else several ids share a folder, or names come in another order: then a folder is sorted when it is complete
        self._in_order = segment.lowest >= 0 and segment.unit == 1 and not renamed
        self._incomplete: list[RawRow] = []
        first, last = self._names_within() if self._in_order else ("", AFTER_EVERY_NAME)
        ends = (segment.lowest, first), (segment.highest, last)
        self._unread = reader.iter_runs(number, *ends, columns, renamed=renamed)
        self._is_read = False
        self._read_more(1)

    def read_up_to(self) -> str | None:
        """Up to which key it can be taken: more is read if little is left. None: up to the end."""
        self._read_more(_FEW)
        return None if self._is_read else self.keys[-1]

    def take(self, up_to: str | None) -> EntryRun:
        """Take the entries up to this key; None: all that are left."""
        end = len(self.keys) if up_to is None else bisect_right(self.keys, up_to)
        run = EntryRun(self._kind, self._canonical, self.keys[:end], self._rows[:end])
        self.keys, self._rows = self.keys[end:], self._rows[end:]
        self._read_more(1)
        return run

    def _read_more(self, least: int) -> None:
        """Read on until this many are there, or all."""
        after, up_to = self._range
        while len(self.keys) < least and not self._is_read:
            rows = next(self._unread, None)
            self._is_read = rows is None
            keys, rows = self._keyed(rows or [])
            first = bisect_right(keys, after)
            last = len(keys) if up_to is None else bisect_right(keys, up_to)
            self.keys += keys[first:last]
            self._rows += rows[first:last]

    def _keyed(self, rows: list[RawRow]) -> tuple[list[str], list[RawRow]]:
        """The lines that were read, in the order of their keys, as far as their folders are complete."""
        if self._in_order:
            return self._keys_of(rows), rows
        rows = self._incomplete + rows
        end = len(rows)
        if not self._is_read:  # negative ids do not lie in their order; there is one, if any
            folder = rows[-1][0] // self._segment.unit * self._segment.unit
            end = bisect_left(rows, folder, key=_ID) if self._segment.lowest >= 0 else 0
        rows, self._incomplete = rows[:end], rows[end:]
        keyed = sorted(zip(self._keys_of(rows), rows, strict=True))
        return [key for key, _ in keyed], [row for _, row in keyed]

    def _keys_of(self, rows: list[RawRow]) -> list[str]:
        return self._segment.keys_of(list(map(_ID, rows)), map(self._name, rows))

    def _names_within(self) -> tuple[str, str | bytes]:
        """From which name on the first id has keys in the range, and up to which the last one: a row may have many."""
        (first, last), (after, up_to) = map(self._segment.folder, self._segment[-2:]), self._range
        return (
            after.removeprefix(first) if after.startswith(first) else "",
            up_to.removeprefix(last) if up_to is not None and up_to.startswith(last) else AFTER_EVERY_NAME,
        )


def _windows_up_to(key: str | None, segments: list[_OpenSegment], objects: list[ListedObject]) -> Iterator[Window]:
    """Windows with all entries up to a key (None: to the end), and these objects. What has ended leaves `segments`."""
    first = 0
    while True:
        begun = [segment for segment in segments if key is None or segment.keys[0] <= key]
        read = [most for segment in begun if (most := segment.read_up_to()) is not None]
        up_to = min(read if key is None else [*read, key], default=None)
        end = len(objects) if up_to is None or up_to == key else bisect_right(objects, up_to, first, key=_KEY)
        runs = [run for segment in begun if (run := segment.take(up_to)).keys]
        if runs or first < end:
            yield Window(runs, objects[first:end])
        segments[:] = [segment for segment in segments if segment.keys]
        if up_to == key:
            return
        first = end


class SampleRank(NamedTuple):
    """The rank of an entry that may be in the sample, and the groups of which it may be the first."""

    rank: int
    groups: tuple[SampleGroup, ...] = ()


class Sample(Protocol):
    """A sample of entries, drawn by rank: the lowest are in it."""

    def rank(self, keyed: KeyedEntry) -> SampleRank | None:
        """The rank of an entry; None: it is not in the sample."""
        ...

    def take(self, place: SampleRank, record: Record) -> None:
        """Put it into the sample, unless others with lower ranks have come since."""
        ...

    def records(self) -> list[Record]:
        """What is in the sample."""
        ...


DrawnEntry: TypeAlias = tuple[Sample, SampleRank, Record]
"""What may be in a sample."""


def drawn(samples: Sequence[Sample], entries: Iterable[KeyedEntry], reader: SegmentReader) -> Iterator[DrawnEntry]:
    """What of these entries may be in the samples."""
    for keyed, sample in product(entries, samples):
        if (rank := sample.rank(keyed)) is not None and (record := reader.record_of(keyed.kind, keyed.row)):
            yield sample, rank, record


class LowestRanks:
    """Keeps the records with the lowest ranks."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.highest = _NO_RANK if size else 0  # ranks from here on are out
        self._heap: list[_Drawn] = []  # the highest rank first
        self._order = count()

    def take(self, rank: int, record: Record) -> None:
        """Keep a record, unless enough have lower ranks."""
        if rank >= self.highest:
            return
        add = heapq.heapreplace if len(self._heap) == self._size else heapq.heappush
        add(self._heap, (-rank, next(self._order), record))
        if len(self._heap) == self._size:
            self.highest = -self._heap[0][0]

    def ranked(self) -> list[tuple[int, Record]]:
        """Ranks and records, the lowest first."""
        return [(-negative, record) for negative, _, record in sorted(self._heap, reverse=True)]


class RandomSample:
    """A sample of all entries, another one each time, so that reading back covers more and more of them."""

    def __init__(self, size: int) -> None:
        self._lowest = LowestRanks(size)

    def rank(self, keyed: KeyedEntry) -> SampleRank | None:  # noqa: D102 - see Sample, here and below
        rank = abs(hash(keyed.key))  # of a text, Python's is another one in each process
        return SampleRank(rank) if rank < self._lowest.highest else None

    def take(self, place: SampleRank, record: Record) -> None:  # noqa: D102
        self._lowest.take(place.rank, record)

    def records(self) -> list[Record]:  # noqa: D102
        return [record for _, record in self._lowest.ranked()]
