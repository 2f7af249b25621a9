"""What an answer to somebody without credentials means: they are given the object, are refused, or neither is known.

There is one judgement, whoever asked and wherever: docs/design/privacy.md has its table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import NamedTuple

NO_REFUSALS = frozenset({407, 408, 421, 425, 429})
"""Of 4xx: of somebody on the way, or there may be another answer."""


class Meaning(StrEnum):
    """What is known after an answer."""

    GIVEN = "given"
    REFUSED = "refused"
    NOTHING = "nothing"  # somebody else answers in place of the store, and may let others pass


class Glimpse(NamedTuple):
    """What an answer says of its body."""

    status: int  # HTTP
    size: int | None  # bytes; None: it does not tell
    etag: str  # without quotes; empty: it has none
    content_type: str
    is_elsewhere: bool = False  # by way of a redirect

    @property
    def is_page(self) -> bool:
        """Whether it is for people, as that which asks them to log in."""
        return self.content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


class KnownObject(NamedTuple):
    """By what an object is told from anything else."""

    size: int  # bytes
    etag: str  # without quotes; empty: it is not known


def meaning_of_status(status: int) -> Meaning:
    """As far as a status tells: GIVEN is something, whatever it may be."""
    if 200 <= status < 300:
        return Meaning.GIVEN
    return Meaning.REFUSED if 400 <= status < 500 and status not in NO_REFUSALS else Meaning.NOTHING


def meaning_of(found: Glimpse, known: Callable[[], Collection[KnownObject]]) -> Meaning:
    """What an answer means. `known`: what the object may be known by; if nobody can tell, whatever comes may be it."""
    meaning = meaning_of_status(found.status)
    if meaning is not Meaning.GIVEN:
        return meaning
    if found.is_elsewhere and found.is_page:
        return Meaning.REFUSED
    things = known()
    is_object = not things or any(found.size in (None, each.size) or found.etag == each.etag for each in things)
    return Meaning.GIVEN if is_object else Meaning.NOTHING
