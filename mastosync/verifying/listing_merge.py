"""The merge of the manifest with a store's listing: two sorted streams, in constant memory. Samples are drawn from it.

The space of keys is cut into ranges with about as many entries each, so that many ranges are listed at the same time:
within one listing, the next page can be asked for only when the last one has come.

An entry is in a sample if its rank is among the lowest. Threads that list look whether a rank may be, and one thread
takes the entry in. Memory is that of the sample. The design is in docs/design/verifying.md.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple, Protocol, TypeAlias

from mastosync.errors import ConfigError, ObjectError, StoreUnusable
from mastosync.language import joined, tr
from mastosync.manifest import RawRow, SegmentReader, record_of
from mastosync.mastodon.paperclip import KeyRange, SortedSegment, iter_segments, root_of
from mastosync.model import Record
from mastosync.runtime.retry import RetryingStore
from mastosync.store.base import ListedObject, Page

_SAMPLES_A_RANGE = 16  # of which every sixteenth is where the space is cut
_LEAST_ENTRIES = 2_000  # in a range: two pages of a listing
_NO_RANK = 1 << 64

_Drawn: TypeAlias = tuple[int, int, Record]  # the highest rank comes first: its negative, its order
SampleGroup: TypeAlias = tuple[bool, str, int]
"""Of which at least one is in the sample: private; `kind` with its number, or `name` with its oddity (`again`: all)."""


class KeyedEntry(NamedTuple):
    """An entry under one of its keys, which is here without the prefix of a store."""

    key: str
    kind: int  # its number in the manifest
    row: RawRow
    canonical: bool  # it is the key that Mastodon asks for


class KeySpace(NamedTuple):
    """Which entries, and under which of their keys. All keys here are without prefix: that is of a store."""

    types: tuple[str, ...] = ()  # tables; empty: all
    every_form: bool = False  # under every key that an object may have; else just the canonical one

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

    def iter_entries(self, reader: SegmentReader, keys: KeyRange) -> Iterator[KeyedEntry]:
        """Entries with keys in a range, in the order of the keys; an entry comes once for each of its keys."""
        streams = []
        for number, kind in reader.kinds(self.types).items():
            for segment in iter_segments(kind, every_form=self.every_form):
                if ids := segment.ids_within(keys):
                    streams.append(_iter_segment(reader, number, segment, ids, keys))
        return heapq.merge(*streams)


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

    def iter_range(self, keys: KeyRange) -> Iterator[ListedObject]:
        """Everything in a range. Raises: StoreUnusable, Interrupted."""
        after = keys.after
        while True:
            page = self.page(after)
            for found in page.objects:
                if keys.up_to is not None and found.key > keys.up_to:
                    return
                yield found
            if page.is_last or not page.objects:
                return
            after = page.objects[-1].key

    def page(self, after: str) -> Page:
        """The next page of the listing after a key. Raises: as `iter_range`."""
        self.store.store_session.stop.require_going_on()
        try:
            page = self.store.list_page(self.root, f"{self.root}{after}" if after else "")
        except (ObjectError, StoreUnusable) as error:
            hint = error.hint
            if isinstance(error, ObjectError) and not error.transient:
                hint = tr("the key needs the right to list the bucket (s3:ListBucket)")
            place = tr(", after {after!r}", after=f"{self.root}{after}") if after else ""
            raise StoreUnusable(
                f"{error.message}{place}", hint=joined(filter(None, (hint, self._way_round)))
            ) from error
        if self.root:
            objects = [found._replace(key=found.key.removeprefix(self.root)) for found in page.objects]
            return Page(objects, page.is_last)
        return page


class ListingLookup:
    """Looks up keys in a listing, in ascending order. Objects between them are skipped."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._found: dict[str, ListedObject] = {}
        self._up_to = ""  # everything up to here has been listed
        self._is_last = False

    def at(self, key: str) -> ListedObject | None:
        """The object under a key, which comes after all that were asked for before."""
        while key > self._up_to and not self._is_last:
            page = self._listing.page(max(self._up_to, key[:-1]))  # a part of a key comes before it
            self._found = {found.key: found for found in page.objects}
            self._is_last = page.is_last or not page.objects
            self._up_to = page.objects[-1].key if page.objects else key
        return self._found.get(key)


def iter_matched(
    keyed: Iterator[KeyedEntry], listed: Iterator[ListedObject]
) -> Iterator[tuple[KeyedEntry | None, ListedObject | None]]:
    """Merge both streams: entries and objects with the same key come together, the rest alone.

    Two entries may have one key; both then come with the object. If a store does not keep to the
    order, entry and object come apart. So an entry that comes alone is no proof that its object is missing.
    """
    found = next(listed, None)
    matched = False  # the object at hand belongs to an entry
    for entry in keyed:
        while found is not None and found.key < entry.key:
            if not matched:
                yield None, found
            found, matched = next(listed, None), False
        matched = found is not None and found.key == entry.key
        yield entry, found if matched else None
    while found is not None:
        if not matched:
            yield None, found
        found, matched = next(listed, None), False


def record_at(reader: SegmentReader, keyed: KeyedEntry) -> Record:
    """All that the manifest knows of an entry."""
    return record_of(reader.kinds()[keyed.kind], keyed.row)


def _iter_segment(
    reader: SegmentReader, number: int, segment: SortedSegment, ids: tuple[int, int], keys: KeyRange
) -> Iterator[KeyedEntry]:
    """Entries of one segment in the order of keys. Where digits are dropped, ids that share a folder come by name."""
    rows, canonical, by_fallback = reader.iter_rows(number, *ids), segment.is_canonical, segment.form.other_name
    if segment.lowest < 0:  # these do not lie in their order; there is one, if any
        rows = iter(sorted(rows, key=lambda row: segment.folder(row[0])))
    edges = {segment.folder(row_id) for row_id in ids}  # only what lies here may be outside of the range
    folder, found = "", list[KeyedEntry]()
    for row in rows:
        name = row[2] if by_fallback else row[1]
        if name is None:
            continue
        here = segment.folder(row[0])
        if here != folder:
            yield from _in_range(found, keys) if segment.lowest < 0 or folder in edges else found
            folder, found = here, []
        found.append(KeyedEntry(here + name, number, row, canonical))
        if len(found) > 1:
            found.sort()
    yield from _in_range(found, keys)


def _in_range(found: list[KeyedEntry], keys: KeyRange) -> Iterator[KeyedEntry]:
    return (keyed for keyed in found if keys.holds(keyed.key))


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
