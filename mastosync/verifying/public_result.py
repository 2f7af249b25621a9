"""What `verify --public` has found, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, NamedTuple

from mastosync.checking.privacy_proof import PRIVATE_IS_PUBLIC_REMEDY
from mastosync.checking.public_access import Audience, FaultKind, audience_of
from mastosync.checking.row_check import RowState, made_private
from mastosync.language import say, tr
from mastosync.manifest import found_hidden
from mastosync.model import TABLES, EntryState, Kind, Origin, Outcome, Presence, Reason, Record


class ServedBy(Enum):
    """What serves an object that the new store itself refuses."""

    OLD_STORE = auto()  # by the fallback of the media host
    CACHE = auto()  # of the media host


FROM = {
    None: "",
    ServedBy.OLD_STORE: " from the old store, which the media host asks",
    ServedBy.CACHE: " from the cache of the media host",
}
"""What serves it, in the detail of a fault."""


class PublicFault(NamedTuple):
    """An object that strangers can read and must not, or that they cannot read as they should."""

    record: Record
    key: str
    detail: str
    kind: FaultKind = FaultKind.UNREADABLE
    served_by: ServedBy | None = None  # None: the new store itself is at fault, or it is not known what is
    refused: bool = False  # strangers are to read it, and the new store does not give it

    @property
    def exposed(self) -> bool:
        """Whether anybody can read it and nobody may."""
        return self.kind is FaultKind.EXPOSED


@dataclass(slots=True)
class Asked:
    """What was asked for of one kind."""

    objects: int = 0
    private: int = 0  # of these, private ones
    faults: int = 0


@dataclass(slots=True)
class PublicResult:
    """What was found."""

    url: str
    listing: bool  # anybody can list the bucket
    acl: str = ""  # of the destination, as configured
    served: bool = False  # at `url`, by a server that need not be the store
    by_kind: dict[Kind, Asked] = field(default_factory=dict)
    of: Mapping[Kind, int] = field(default_factory=dict)  # how many of each kind could have been asked for
    sample: int = 0  # how many of them were to be asked for
    types: Sequence[str] = TABLES  # of which
    faults: list[PublicFault] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """Objects that were asked for."""
        return sum(asked.objects for asked in self.by_kind.values())

    @property
    def asked_private(self) -> int:
        """The private objects among them."""
        return sum(asked.private for asked in self.by_kind.values())

    @property
    def clean(self) -> bool:
        """Whether everything is as it has to be."""
        return not self.listing and not self.faults

    @property
    def nothing_is_right(self) -> bool:
        """Whether not one public object can be read as it has to be: then the cause is not the objects."""
        faults = sum(self.must_be_read(fault.record) for fault in self.faults)
        return faults > 0 and faults == self.asked - self.asked_private

    @property
    def something_is_given(self) -> bool:
        """Whether strangers get any object; if not, a refusal says nothing about an object."""
        ungiven = sum(
            (fault.refused or fault.kind is FaultKind.UNCLEAR) and self.must_be_read(fault.record)
            for fault in self.faults
        )
        return ungiven < self.asked - self.asked_private

    @property
    def all_private(self) -> bool:
        """Whether all objects at the bucket have to be private."""
        return audience_of(self.acl) is not Audience.EVERYBODY

    def must_be_read(self, record: Record) -> bool:
        """Whether everybody has to be able to read an object; if not, nobody may."""
        return audience_of(self.acl, private=record.entry.private) is Audience.EVERYBODY

    @property
    def exposed(self) -> int:
        """How many private objects anybody can read."""
        return sum(fault.exposed for fault in self.faults)

    @property
    def remedies(self) -> list[str]:
        """What to do about these, for people."""
        told = []
        exposing = {fault.served_by for fault in self.faults if fault.exposed}
        if any(fault.exposed and not fault.record.entry.private for fault in self.faults):
            told.append(
                tr(
                    "with `acl = private` nobody may read anything at the bucket: `mastosync apply-settings` hides what"
                    " was stored before that was set"
                )
            )
        if None in exposing:
            told.append(
                tr(
                    "{remedy}; then `mastosync copy` stores them as private again, or says which you have to remove",
                    remedy=say(PRIVATE_IS_PUBLIC_REMEDY),
                )
            )
        if ServedBy.OLD_STORE in exposing:
            told.append(
                tr(
                    "the new store keeps them private, and the fallback brings them from the old one: make them private"
                    " there, or let it answer for less (`mastosync cutover --fallback cache --nginx FILE`, or none)"
                )
            )
        if ServedBy.CACHE in exposing:
            told.append(
                tr(
                    "the new store keeps them private, and nginx gives them from its cache for a day at most: empty the"
                    " folder that `proxy_cache_path` names, or wait"
                )
            )
        if any(fault.served_by is ServedBy.OLD_STORE and not fault.exposed for fault in self.faults):
            told.append(
                tr(
                    "objects that only the old store serves disappear with the fallback: make them public at the new"
                    " store, by their ACL or the policy of the bucket"
                )
            )
        return told

    @property
    def to_be_rewritten(self) -> list[PublicFault]:
        """Faults that a copy would put right: adopted objects with other headers or another ACL, and exposed ones.

        A public object that mastosync wrote would be written the same again. A private one that can be read at the
        store is not done, and a copy proves that it hides it.
        """
        given = [fault for fault in self.faults if fault.exposed and fault.served_by is None]
        exposed = [fault for fault in given if fault.record.state is EntryState.DONE]
        if self.nothing_is_right:
            return exposed
        adopted = [
            fault
            for fault in self.faults
            if fault.record.origin is Origin.ADOPTED and fault.kind is not FaultKind.UNCLEAR
        ]
        return exposed + [fault for fault in adopted if not fault.exposed]

    def drop(self, fault: PublicFault, row: RowState) -> None:
        """Drop a fault that is none by its row, which is private now, or gone."""
        self.faults.remove(fault)
        asked = self.by_kind[fault.record.entry.kind]
        asked.faults -= 1
        if row is RowState.PRIVATE:
            asked.private += 1
        else:
            asked.objects -= 1

    def expose(self, fault: PublicFault, served_by: ServedBy | None) -> None:
        """Note that its row is private now, and that anybody reads it. `served_by`: from whom; None: the new store."""
        record = made_private(fault.record)
        detail = f"its row is private by now, and anybody can read it{FROM[served_by]}"
        told = fault._replace(record=record, detail=detail, kind=FaultKind.EXPOSED, refused=False, served_by=served_by)
        self.faults[self.faults.index(fault)] = told
        self.by_kind[record.entry.kind].private += 1

    def as_json(self) -> dict[str, Any]:
        """Its part of `verify --json`."""
        return {
            "url": self.url,
            "anybody_can_list": self.listing,
            "all_private": self.all_private,
            "asked": self.asked,
            "asked_private": self.asked_private,
            "of": sum(self.of.values()),
            "sample": self.sample,
            "types": list(self.types),
            "exposed": self.exposed,
            "by_kind": [
                {
                    "type": kind.table,
                    "attachment": kind.attachment,
                    "style": kind.style,
                    "remote": kind.remote,
                    "cached": kind.cached,
                    "asked": asked.objects,
                    "of": self.of.get(kind, 0),
                    "faults": asked.faults,
                }
                for kind, asked in sorted(self.by_kind.items())
            ],
            "faults": [
                {
                    "key": fault.key,
                    "detail": fault.detail,
                    "type": fault.record.entry.kind.table,
                    "exposed": fault.exposed,
                    "fault": fault.kind.value,
                }
                for fault in self.faults
            ],
        }


def reopened(record: Record, presence: Presence, detail: str) -> Outcome:
    """The outcome of an object that has to be written anew."""
    return Outcome(record.entry, EntryState.PENDING, detail=detail, attempts=0, presence=presence)


def hidden(record: Record) -> Outcome:
    """The outcome of a private object that was stored as public, and that strangers are refused now."""
    return Outcome(
        record.entry,
        record.state,
        record.reason,
        attempts=0,
        detail=None if record.reason is Reason.PRIVATE else record.detail,  # "remove it" no longer applies
        presence=found_hidden(record.presence),
    )


def private_by_now(record: Record) -> Outcome:
    """The outcome of an entry that is public by the last plan and private by its row: a copy stores it as private.

    That the new store refuses it now is not enough: the whole store may be closed for a while.
    """
    return reopened(made_private(record), record.presence, "verify: its row is private by now")
