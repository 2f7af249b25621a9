"""The rule that says whether strangers must, must not or may read an object of the destination.

`verify --public` checks each object by it. `cutover`, `report` and the printed steps require that proof only if
something has to be readable. See docs/design/privacy.md.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto

USUAL_SAMPLE = 100
"""How many objects `verify --public` asks for by default."""
_ALL_PRIVATE = "private"  # as `acl`: every object, whatever its row says


class Audience(Enum):
    """Who reads an object without credentials."""

    EVERYBODY = auto()  # browsers and other servers have to
    NOBODY = auto()  # not even one stranger may
    UNKNOWN = auto()  # some or none: the server in front decides


def audience_of(acl: str, *, private: bool = False, served: bool = False) -> Audience:
    """Who has to read an object, by the `acl` of the destination, and by whether the row is private.

    With `acl = private` nobody reads at the bucket. Where a CDN or proxy has a key of its own and serves from there
    (`served`), it decides for what is public by its row.
    """
    if private:
        return Audience.NOBODY
    if acl != _ALL_PRIVATE:
        return Audience.EVERYBODY
    return Audience.UNKNOWN if served else Audience.NOBODY


class FaultKind(StrEnum):
    """What is wrong with an object that anybody asks for, in the words of `verify --json`."""

    UNREADABLE = "unreadable"  # it is public, and the new store does not give it, or gives other bytes
    EXPOSED = "exposed"  # nobody may read it, and anybody can
    HEADERS = "headers"  # everybody reads it, with other headers than it should have
    UNCLEAR = "unclear"  # nothing can be said: the site kept failing
