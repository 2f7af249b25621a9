"""What an object of the destination should have, by the settings of today and those it may have been stored under.

Pure functions. Only what such settings have given is taken away again: any other value is the object's own, and stays.
"""

from __future__ import annotations

from typing import NamedTuple

from mastosync.copying.acl import PRIVATE, PUBLIC_READ, AclMode
from mastosync.manifest import Noted, Settings
from mastosync.model import ObjectInfo, Origin, Record

_USUAL_CLASS = "STANDARD"  # which no store names


class Goal(NamedTuple):
    """What one object should have."""

    cache_control: str | None
    storage_class: str | None  # None: the bucket's own
    differs: bool  # from what it has, as far as the store tells
    acl: str | None
    acl_in_question: bool  # it may have been stored with another one, which no store tells


def acl_of(settings: Settings, *, private: bool) -> str | None:
    """The ACL that these settings give a row."""
    if settings.acl == AclMode.NONE:
        return None
    return PRIVATE if private or settings.acl == AclMode.PRIVATE else PUBLIC_READ


def goal_of(record: Record, info: ObjectInfo, current: Settings, noted: Noted) -> Goal:
    """What an object should have that the store describes so. `noted`: all that it may have been stored under."""
    known = [each for each in noted if each is not None]
    cache_control = _own_or(info.headers.cache_control, {each.cache_control for each in known}, current.cache_control)
    told = info.storage_class or _USUAL_CLASS  # or the store names none
    given = {_USUAL_CLASS, *(each.storage_class for each in known)}
    storage_class = current.storage_class if told in given else told
    moves = (storage_class or _USUAL_CLASS) != told and any(each.storage_class != storage_class for each in known)
    private = record.entry.private
    acl = acl_of(current, private=private)
    by_others = None in noted and record.origin is Origin.ADOPTED
    return Goal(
        cache_control,
        storage_class,
        moves or cache_control != (info.headers.cache_control or None),
        acl,
        by_others or any(acl_of(each, private=private) != acl for each in known),
    )


def opens(current: Settings, noted: Noted) -> bool:
    """Whether objects become readable to everybody that were stored otherwise, as far as is known."""
    acl = acl_of(current, private=False)
    return acl == PUBLIC_READ and any(each is None or acl_of(each, private=False) != acl for each in noted)


def _own_or(told: str | None, given: set[str | None], current: str | None) -> str | None:
    return current if not told or told in given else told
