"""In which order keys lie, so that the manifest can be read in the order in which stores list.

Stores list keys by their bytes, the manifest keeps entries by kind and id. Within a *strand* the two
agree: the entries of one kind whose ids have equally many digits, under one form of their keys. An id
fills the digits of its key from the left, so ascending ids make ascending keys; where the last digits
are dropped, ids next to each other share all but the name. The order of everything is that of all
strands merged.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from mastosync.mastodon.paperclip import KeyForm, id_partition, key_forms, key_head
from mastosync.model import Kind

LAST = "\U0010ffff"
"""Comes after whatever may follow a part of a key."""

_HIGHEST = 2**63 - 1
_DIGITS = ((0, 10**9 - 1), *((10**digits, 10 ** (digits + 1) - 1) for digits in range(9, 18)), (10**18, _HIGHEST))
_AMBIGUOUS = {10: (10**9, 10**10 - 1), 11: (10**10, 10**11 - 1)}  # padded to nine by old releases, so not at all


class KeyRange(NamedTuple):
    """Keys after the first, up to the second; None: to the end."""

    after: str
    up_to: str | None

    def holds(self, key: str) -> bool:
        """Whether a key lies in it."""
        return key > self.after and (self.up_to is None or key <= self.up_to)


class Strand(NamedTuple):
    """Entries of one kind with ids from `lowest` to `highest`, under one form of their keys."""

    kind: Kind
    head: str  # of the keys, up to the id
    form: KeyForm
    lowest: int
    highest: int

    @property
    def is_canonical(self) -> bool:
        """Whether these are the keys that Mastodon asks for."""
        return self.form == key_forms(self.kind, "", every_form=False)[0]

    def folder(self, row_id: int) -> str:
        """The key of an entry, up to its name."""
        return f"{self.head}{id_partition(row_id, self.form.width)}/{self.kind.style}/"

    def ids_within(self, keys: KeyRange) -> tuple[int, int] | None:
        """The lowest and highest id that may have keys in this range; None: there are none."""
        if self.lowest < 0:  # these do not lie in their order, and there is hardly ever more than one
            return self.lowest, self.highest
        ids, head = range(self.lowest, self.highest + 1), self.head
        after, up_to = keys
        if after.startswith(head):
            first = bisect_left(ids, after, key=lambda row_id: self.folder(row_id) + LAST)
        else:
            first = 0 if after < head else len(ids)  # as most bounds lie before or after all of these
        if up_to is not None and up_to.startswith(head):
            last = bisect_right(ids, up_to, key=self.folder)
        else:
            last = len(ids) if up_to is None or up_to > head else 0
        return (ids[first], ids[last - 1]) if first < last else None


def root_of(prefix: str) -> str | None:
    """What all keys under a `key_prefix` begin with; the rest is what they would be without it.

    None: there is no such thing, as Paperclip puts parts of each entry in where the prefix has a colon.
    """
    if ":" in prefix:
        return None
    return f"{prefix}/".removeprefix("/") if prefix else ""


def iter_strands(kind: Kind, *, every_form: bool = False) -> Iterator[Strand]:
    """The strands of a kind, without prefix: of its canonical keys, or of every key its objects may have."""
    for form in key_forms(kind, "", every_form=every_form):
        head = key_head(kind, form)
        if form.width == 9:
            for lowest, highest in _AMBIGUOUS.values():
                yield Strand(kind, head, form, lowest, highest)
            continue
        yield Strand(kind, head, form, -_HIGHEST - 1, -1)
        for lowest, highest in _DIGITS:
            yield Strand(kind, head, form, lowest, highest)
