"""The manifest and a store's listing side by side: two sorted streams, in constant memory.

The space of keys is cut into ranges with evenly many entries, so that many ranges can be listed at
the same time: a listing by itself tells the next page only when the last one has come.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from mastosync.engine.retry import PatientStore
from mastosync.errors import ConfigError, ObjectError, StoreUnusable
from mastosync.manifest import Row, StrandReader, record_of
from mastosync.mastodon.key_order import LAST, KeyRange, Strand, has_order, iter_strands
from mastosync.model import Kind, Record
from mastosync.store.base import ListedObject, Page

_SAMPLES_A_RANGE = 16  # of which every sixteenth is where the space is cut
_LEAST_ENTRIES = 2_000  # in a range: two pages of a listing


class Placed(NamedTuple):
    """An entry under one of its keys."""

    key: str
    kind: int  # its number in the manifest
    row: Row


class KeySpace(NamedTuple):
    """Which entries, and under which of their keys."""

    prefix: str  # of the store's keys
    types: tuple[str, ...] = ()  # tables; empty: all
    every_form: bool = False  # under every key that an object may have; else just the canonical one

    def require_order(self) -> None:
        """Raises: ConfigError if keys do not lie in an order that can be told beforehand."""
        if not has_order(self.prefix):
            raise ConfigError(
                f"the keys under key_prefix {self.prefix!r} cannot be compared with a listing: Paperclip puts parts of "
                "each entry in where it has a colon",
                hint="`mastosync verify --deep` needs no listing",
            )

    def iter_strands(self, kinds: dict[int, Kind]) -> Iterator[tuple[int, Strand]]:
        """The strands of these kinds, with the number of the kind."""
        for number, kind in kinds.items():
            for strand in iter_strands(kind, self.prefix, every_form=self.every_form):
                yield number, strand

    def cut(self, reader: StrandReader, entries: int, ranges: int) -> list[KeyRange]:
        """Ranges that hold evenly many of `entries` (about how many there are), and together every key there is."""
        ranges = max(1, min(ranges, entries // _LEAST_ENTRIES))
        step = max(1, entries // (ranges * _SAMPLES_A_RANGE))
        samples = []
        if ranges > 1:
            for number, kind in reader.kinds(self.types).items():
                (strand, *_) = iter_strands(kind, self.prefix)
                samples += [f"{strand.folder(row_id)}{name}" for row_id, name in reader.iter_every(number, step)]
        samples.sort()
        cuts = sorted({samples[len(samples) * number // ranges] for number in range(1, ranges)}) if samples else []
        return [KeyRange(after, up_to) for after, up_to in zip(["", *cuts], [*cuts, None], strict=True)]

    def iter_placed(self, reader: StrandReader, keys: KeyRange) -> Iterator[Placed]:
        """Entries with keys in a range, in the order of the keys; an entry comes once for each of its keys."""
        streams = []
        for number, strand in self.iter_strands(reader.kinds(self.types)):
            if ids := strand.ids_within(keys):
                streams.append(_iter_strand(reader, number, strand, ids, keys))
        return heapq.merge(*streams)

    def iter_listed(self, store: PatientStore, keys: KeyRange) -> Iterator[ListedObject]:
        """What a store lists in a range. Raises: ObjectError, StoreUnusable, Interrupted."""
        prefix = f"{self.prefix}/".removeprefix("/") if self.prefix else ""
        after = keys.after
        while True:
            page = self._page(store, prefix, after)
            for found in page.objects:
                if keys.up_to is not None and found.key > keys.up_to:
                    return
                yield found
            if page.is_last or not page.objects:
                return
            after = page.objects[-1].key

    @staticmethod
    def _page(store: PatientStore, prefix: str, after: str) -> Page:
        """Without its listing nothing can be said of a store."""
        try:
            return store.list_page(prefix, after)
        except ObjectError as error:
            hint = error.hint if error.transient else "the key needs the right to list the bucket (s3:ListBucket)"
            raise StoreUnusable(error.message, hint=f"{hint}; `mastosync verify --deep` needs no listing") from error


def iter_matched(
    placed: Iterator[Placed], listed: Iterator[ListedObject]
) -> Iterator[tuple[Placed | None, ListedObject | None]]:
    """Both streams merged: what has the same key comes together, the rest alone.

    Two entries may have one key; both then come with the object. Where a store does not keep to the
    order, entry and object come apart: neither is proof that the other is not there.
    """
    found = next(listed, None)
    matched = False  # the object at hand belongs to an entry
    for entry in placed:
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


def record_at(reader: StrandReader, placed: Placed) -> Record:
    """All that the manifest knows of an entry."""
    return record_of(reader.kinds()[placed.kind], placed.row)


def _iter_strand(
    reader: StrandReader, number: int, strand: Strand, ids: tuple[int, int], keys: KeyRange
) -> Iterator[Placed]:
    """Entries of one strand by key. Where digits are dropped, ids that share a folder come by name."""
    rows = reader.iter_rows(number, *ids)
    if strand.lowest < 0:
        folders = iter([("", list(rows))])
    else:
        folders = ((folder, list(inside)) for folder, inside in groupby(rows, lambda row: strand.folder(row[0])))
    for folder, inside in folders:
        found = []
        for row in inside:
            name = row[2] if strand.form.other_name else row[1]
            if name is not None:
                found.append(Placed((folder or strand.folder(row[0])) + name, number, row))
        if len(found) > 1:
            found.sort()
        for placed in found:
            if keys.holds(placed.key):
                yield placed


__all__ = ["LAST", "KeyRange", "KeySpace", "Placed", "iter_matched", "record_at"]
