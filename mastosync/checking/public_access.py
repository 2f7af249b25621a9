"""Who must be able to read objects of the destination without credentials, and who must not: one rule for all.

`verify --public` checks each object by it. `cutover`, `report` and the printed steps ask for that proof only where
something has to be readable. See docs/design/privacy.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum, auto
from typing import Any

_ALL_PRIVATE = "private"  # as `acl`: every object, whatever its row says


class Audience(Enum):
    """Who reads an object without credentials."""

    EVERYBODY = auto()  # browsers and other servers have to
    NOBODY = auto()  # whoever can is one too many
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


class PublicCheckStatus(Enum):
    """What the last `verify --public` has shown of who reads at the destination."""

    UNTRIED = auto()  # everybody has to, and nobody has tried
    LISTED = auto()  # anybody can list the bucket
    EXPOSED = auto()  # somebody reads what nobody may
    FAULTY = auto()  # not everything can be read as it has to be
    FINE = auto()
    HIDDEN = auto()  # nobody read anything, as nobody may
    NEEDLESS = auto()  # nobody has to read anything, and nobody has tried


def has_asked(public: Mapping[str, Any]) -> bool:
    """Whether this `verify --public` looked at anything. Where nothing is done, it proves nothing."""
    return public.get("asked") != 0 or bool(public.get("anybody_can_list"))


def public_check_status(public: Mapping[str, Any] | None, acl: str) -> PublicCheckStatus:
    """What the last `verify --public` shows under this `acl`: its part of `verify --json`; None: there was none.

    One made under `acl = private` does not show whether everybody can read, nor the other way round.
    """
    must_read = audience_of(acl) is Audience.EVERYBODY
    if public is None or (must_read and public.get("all_private")):
        return PublicCheckStatus.UNTRIED if must_read else PublicCheckStatus.NEEDLESS
    if public.get("anybody_can_list"):
        return PublicCheckStatus.LISTED
    if public.get("exposed"):
        return PublicCheckStatus.EXPOSED
    if must_read:
        return PublicCheckStatus.FAULTY if public.get("faults") else PublicCheckStatus.FINE
    if not public.get("all_private"):
        return PublicCheckStatus.NEEDLESS  # what could not be read then, need not be
    return PublicCheckStatus.FAULTY if public.get("faults") else PublicCheckStatus.HIDDEN
