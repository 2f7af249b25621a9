"""Samples of what is done, drawn by lots while listings pass by: each entry has a lot, and the lowest win.

The threads that list look whether a lot may win, and one thread takes it in. Memory is that of the sample.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Mapping
from hashlib import blake2b
from itertools import chain, count, islice
from operator import itemgetter
from typing import NamedTuple, Protocol, TypeAlias

from mastosync.manifest import PRIVATE_FLAG
from mastosync.mastodon.catalog import UNSHOWN
from mastosync.model import Kind, Record
from mastosync.verifying.listing_merge import Placed

_NO_LOT = 1 << 64
_USUAL_NAME = re.compile(r"[A-Za-z0-9._-]*")
_ODDITIES = (
    re.compile(r"\s"),
    re.compile(r"[^\x00-\x7f]"),
    re.compile("%"),
    re.compile(r"[^\sA-Za-z0-9._%\x80-\U0010ffff-]"),
)

_Drawn: TypeAlias = tuple[int, int, Record]  # what loses first is the least: minus its lot, its order
_Group: TypeAlias = tuple[bool, str, int]
"""Of which one at least is drawn: private; `kind` with its number, or `name` with its oddity (`again`: all of it)."""


class Ticket(NamedTuple):
    """A lot that may win, and where."""

    lot: int
    groups: tuple[_Group, ...] = ()


class Sample(Protocol):
    """A draw."""

    def ticket(self, placed: Placed) -> Ticket | None:
        """That of an entry; None: it has lost already, or is not to be drawn."""
        ...

    def take(self, ticket: Ticket, record: Record) -> None:
        """Draw it."""
        ...

    def records(self) -> list[Record]:
        """Who won."""
        ...


class _Lowest:
    """So many of those with the lowest lots."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.highest = _NO_LOT if size else 0  # lots from here on have lost
        self._heap: list[_Drawn] = []  # the highest lot first
        self._order = count()

    def take(self, lot: int, record: Record) -> None:
        if lot >= self.highest:
            return
        add = heapq.heapreplace if len(self._heap) == self._size else heapq.heappush
        add(self._heap, (-lot, next(self._order), record))
        if len(self._heap) == self._size:
            self.highest = -self._heap[0][0]

    def ranked(self) -> list[tuple[int, Record]]:
        return [(-minus_lot, record) for minus_lot, _, record in sorted(self._heap, reverse=True)]


class RankedSample:
    """So many of all, others each time: who reads back today need not read what was read yesterday."""

    def __init__(self, size: int) -> None:
        self._lowest = _Lowest(size)

    def ticket(self, placed: Placed) -> Ticket | None:  # noqa: D102 - see Sample, here and below
        lot = abs(hash(placed.key))  # of a text, Python's is another one in each process
        return Ticket(lot) if lot < self._lowest.highest else None

    def take(self, ticket: Ticket, record: Record) -> None:  # noqa: D102
        self._lowest.take(ticket.lot, record)

    def records(self) -> list[Record]:  # noqa: D102
        return [record for _, record in self._lowest.ranked()]


class PublicSample:
    """What anybody is to be asked for: the same each time, so many that are public and so many that are private.

    One of each kind is among them, and one of each way in which names are odd, if there is room for so many. A larger
    sample holds a smaller one. What was wrong the last time comes on top.
    """

    def __init__(
        self, size: int, kinds: Mapping[int, Kind], again: Collection[str] = (), unshown: Collection[str] = UNSHOWN
    ) -> None:
        """`kinds`: by their numbers in the manifest. `again`: keys without prefix, drawn whatever their lots are.

        `unshown`: tables of whose public objects nobody need get any, and nobody need be refused.
        """
        self._size = size
        self._again = frozenset(again)
        self._unshown = {number for number, kind in kinds.items() if kind.table in unshown}
        self._all = {private: _Lowest(size) for private in (False, True)}
        self._firsts: dict[_Group, _Lowest] = {}
        self._repeated: dict[int, Record] = {}

    def ticket(self, placed: Placed) -> Ticket | None:  # noqa: D102
        private = placed.row[3] & PRIVATE_FLAG != 0
        if not private and placed.kind in self._unshown:
            return None
        lot = int.from_bytes(blake2b(placed.key.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        groups: list[_Group] = [(private, "kind", placed.kind)]
        if not _USUAL_NAME.fullmatch(placed.row[1]):
            groups.append((private, "name", _oddity(placed.row[1])))
        wins = [group for group in groups if group not in self._firsts or lot < self._firsts[group].highest]
        if placed.key in self._again:
            wins.append((private, "again", 0))
        return Ticket(lot, tuple(wins)) if wins or lot < self._all[private].highest else None

    def take(self, ticket: Ticket, record: Record) -> None:  # noqa: D102
        self._all[record.entry.private].take(ticket.lot, record)
        for group in ticket.groups:
            if group[1] == "again":
                self._repeated[ticket.lot] = record
            else:
                self._firsts.setdefault(group, _Lowest(1)).take(ticket.lot, record)

    def records(self) -> list[Record]:  # noqa: D102
        won: dict[int, Record] = {}
        for private, lowest in self._all.items():
            firsts = [each.ranked()[0] for group, each in self._firsts.items() if group[0] is private]
            of_these = dict(chain(sorted(firsts, key=itemgetter(0)), lowest.ranked()))
            won.update(islice(of_these.items(), self._size))
        return list((won | self._repeated).values())


def _oddity(name: str) -> int:
    """In which ways a name is odd, a bit for each."""
    return sum(1 << bit for bit, pattern in enumerate(_ODDITIES) if pattern.search(name))
