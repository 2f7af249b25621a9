"""Asking for a sample of objects as anybody may: what is public can be read as it was written, nothing else can."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from typing import Any, NamedTuple

from mastosync.engine.downtime import Downtime
from mastosync.engine.judge import expected_etag
from mastosync.engine.opening import Row, made_private
from mastosync.engine.privacy_proof import PRIVATE_IS_PUBLIC_REMEDY
from mastosync.engine.readers import FaultKind, Readers, readers_of
from mastosync.engine.retry import Gate, PatientStore
from mastosync.engine.side_by_side import side_by_side
from mastosync.engine.stop import StopSignal
from mastosync.errors import ObjectError
from mastosync.language import say, tr
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import TABLES, EntryState, Kind, Origin, Record
from mastosync.store.probe import PublicAnswer, PublicSite
from mastosync.store.strangers import Known, Meaning, meaning_of, meaning_of_status

_log = logging.getLogger(__name__)

_MEDIA = {
    **dict.fromkeys(("jpg", "jpeg", "png", "gif", "webp", "avif", "heic", "heif", "ico", "svg"), ("image",)),
    **dict.fromkeys(("mp4", "webm", "mov", "m4v", "ogv", "ogg", "3gp", "m4a"), ("video", "audio")),
    **dict.fromkeys(("mp3", "wav", "flac", "opus", "oga", "aac", "wma"), ("audio",)),
}
"""Extension → what a browser has to be told for it to show the file."""


class Keeper(Enum):
    """Who gives what the new store itself refuses."""

    OLD_STORE = auto()  # by the fallback of the media host
    CACHE = auto()  # of the media host


class PublicFault(NamedTuple):
    """An object that anybody gets otherwise than is right."""

    record: Record
    key: str
    detail: str
    exposed: bool = False  # nobody may read it, and anybody can
    unread: bool = False  # nothing can be said: the site kept failing
    keeper: Keeper | None = None  # None: the new store itself is at fault, or nobody knows who
    headers: bool = False  # anybody gets it, and only its headers are not right
    refused: bool = False  # strangers are to read it, and the new store does not give it

    @property
    def kind(self) -> FaultKind:
        """What is wrong, in a word."""
        if self.exposed:
            return FaultKind.EXPOSED
        if self.unread:
            return FaultKind.UNCLEAR
        return FaultKind.HEADERS if self.headers else FaultKind.UNREADABLE


_FROM = {
    None: "",
    Keeper.OLD_STORE: " from the old store, which the media host asks",
    Keeper.CACHE: " from the cache of the media host",
}


@dataclass(slots=True)
class Asked:
    """What was asked for of one kind."""

    objects: int = 0
    private: int = 0  # of these: nobody may read them
    faults: int = 0


@dataclass(slots=True)
class PublicResult:
    """What was found."""

    url: str
    listing: bool  # anybody can list the bucket
    acl: str = ""  # of the destination, as configured
    served: bool = False  # at `url` by somebody who need not be the store
    by_kind: dict[Kind, Asked] = field(default_factory=dict)
    of: Mapping[Kind, int] = field(default_factory=dict)  # so many there are that could have been asked for
    sample: int = 0  # so many of them were to be asked for
    types: Sequence[str] = TABLES  # of which
    faults: list[PublicFault] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """Objects that were asked for."""
        return sum(asked.objects for asked in self.by_kind.values())

    @property
    def asked_private(self) -> int:
        """Those among them that nobody may read."""
        return sum(asked.private for asked in self.by_kind.values())

    @property
    def clean(self) -> bool:
        """Whether everything is as it has to be."""
        return not self.listing and not self.faults

    @property
    def nothing_is_right(self) -> bool:
        """Whether not one public object can be read as it has to be: then it is not the objects."""
        faults = sum(self.must_be_read(fault.record) for fault in self.faults)
        return faults > 0 and faults == self.asked - self.asked_private

    @property
    def all_private(self) -> bool:
        """Whether nobody may read anything at the bucket."""
        return readers_of(self.acl) is not Readers.EVERYBODY

    def must_be_read(self, record: Record) -> bool:
        """Whether everybody has to be able to read an object; if not, nobody may."""
        return readers_of(self.acl, private=record.entry.private) is Readers.EVERYBODY

    @property
    def exposed(self) -> int:
        """How many objects anybody can read that nobody may."""
        return sum(fault.exposed for fault in self.faults)

    @property
    def remedies(self) -> list[str]:
        """What to do about these, for people."""
        told = []
        exposing = {fault.keeper for fault in self.faults if fault.exposed}
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
        if Keeper.OLD_STORE in exposing:
            told.append(
                tr(
                    "the new store keeps them private, and the fallback brings them from the old one: make them private"
                    " there, or let it answer for less (`mastosync cutover --fallback cache --nginx FILE`, or none)"
                )
            )
        if Keeper.CACHE in exposing:
            told.append(
                tr(
                    "the new store keeps them private, and nginx gives them from its cache for a day at most: empty the"
                    " folder that `proxy_cache_path` names, or wait"
                )
            )
        if any(fault.keeper is Keeper.OLD_STORE and not fault.exposed for fault in self.faults):
            told.append(
                tr(
                    "what only the old store gives is gone when the fallback is: make these objects public at the new"
                    " store, by their ACL or the policy of the bucket"
                )
            )
        return told

    @property
    def to_be_rewritten(self) -> list[PublicFault]:
        """What a copy would put right: what others brought with other headers or another ACL than ours, or laid open.

        What is public and we wrote ourselves would be written the same again. What is private and can be read at the
        store is not done, whoever wrote it, and a copy proves that it hides it.
        """
        given = [fault for fault in self.faults if fault.exposed and fault.keeper is None]
        exposed = [fault for fault in given if fault.record.state is EntryState.DONE]
        if self.nothing_is_right:
            return exposed
        adopted = [fault for fault in self.faults if fault.record.origin is Origin.ADOPTED and not fault.unread]
        return exposed + [fault for fault in adopted if not fault.exposed]

    def drop(self, fault: PublicFault, row: Row) -> None:
        """It is none, as its row says: nobody may read it by now, or nobody asks for it any more."""
        self.faults.remove(fault)
        asked = self.by_kind[fault.record.entry.kind]
        asked.faults -= 1
        if row is Row.PRIVATE:
            asked.private += 1
        else:
            asked.objects -= 1

    def expose(self, fault: PublicFault) -> None:
        """Its row is private by now, and anybody reads it."""
        record = made_private(fault.record)
        detail = f"its row is private by now, and anybody can read it{_FROM[fault.keeper]}"
        told = fault._replace(record=record, detail=detail, exposed=True, refused=False)
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


@dataclass(frozen=True, slots=True)
class _Questioned:
    """The site, asked whether it is down."""

    site: PublicSite

    @property
    def name(self) -> str:
        return tr("site {url}", url=self.site.url)

    def read(self, key: str, _: int) -> object:
        return self.site.read(key)


def waiting_for(site: PublicSite, gate: Gate, patience_seconds: float) -> Gate:
    """The same gate for a `PublicCheck`, where a site that is down is waited for, as a store is.

    The bucket is not: many answer nobody who has no credentials.
    """
    return replace(gate, downtime=Downtime(gate.limiter, gate.stop, patience_seconds, _Questioned(site)))


@dataclass(frozen=True, slots=True)
class PublicCheck:
    """Asks without credentials. `gate` is that of the site: its requests share one limiter and patience.

    `bucket` is asked for private objects as well, as they must be nowhere to be had; None: that is the site. `acl`: of
    the destination, as configured.
    """

    site: PublicSite
    bucket: PublicSite | None
    gate: Gate
    prefix: str
    workers: int
    stop: StopSignal
    acl: str = ""

    def run(self, records: Sequence[Record], of: Mapping[Kind, int] | None = None) -> PublicResult:
        """Ask for each of these. `of`: how many there are of each kind.

        Raises: NetworkFailure and the like if the site cannot be asked at all; Interrupted when asked to stop.
        """
        lists = PatientStore(self.gate).ask(self.site.lists) or self._bucket_lists()
        result = PublicResult(self.site.url, lists, self.acl, served=self.bucket is not None)
        result.of = Counter(record.entry.kind for record in records) | Counter(of or {})
        for record in records:
            asked = result.by_kind.setdefault(record.entry.kind, Asked())
            asked.objects += 1
            asked.private += not result.must_be_read(record)
        result.faults += side_by_side(self._asked, records, self.workers, self.stop)
        result.faults.sort(key=lambda fault: fault.key)
        for fault in result.faults:
            result.by_kind[fault.record.entry.kind].faults += 1
        return result

    def _bucket_lists(self) -> bool:
        """Whether anybody can list the bucket behind the site. If nobody can tell, the site is what counts."""
        if self.bucket is None:
            return False
        try:
            return PatientStore(self.gate).ask(self.bucket.lists)
        except ObjectError as error:
            _log.warning("public: nobody can tell whether anybody may list the bucket: %s", error.message)
            return False

    def _asked(self, record: Record) -> Iterator[PublicFault]:
        self.stop.require_going_on()
        key = canonical_key(record.entry, self.prefix)
        unread = None
        for site, readers in self._sites(record):
            try:
                fault = self._fault(site, record, key, readers)
            except ObjectError as error:
                fault = PublicFault(record, key, error.message, unread=True)
            if fault is not None and not fault.unread:
                yield fault if unread is None else fault._replace(keeper=None)  # who knows what the bucket gives
                return
            unread = unread or fault
        if unread is not None:
            yield unread

    def _sites(self, record: Record) -> Iterator[tuple[PublicSite, Readers]]:
        """Where to ask, and who reads there. The bucket comes first: what it refuses and the site gives is another's.

        What the site may give or refuse, as it decides, is not asked for there.
        """
        private, served = record.entry.private, self.bucket is not None
        at_site = readers_of(self.acl, private=private, served=served)
        if self.bucket is not None and readers_of(self.acl, private=private) is Readers.NOBODY:
            yield self.bucket, Readers.NOBODY
        if at_site is not Readers.UNTOLD:
            yield self.site, at_site

    def _fault(self, site: PublicSite, record: Record, key: str, readers: Readers) -> PublicFault | None:
        """What is wrong with an answer; None: nothing. Raises: ObjectError.

        What is public has to lie at the store, and what is private has to be nowhere, not even in a cache.
        """
        read = PatientStore(self.gate).ask
        if readers is Readers.NOBODY:
            return self._told_of_private(read(site.read, key), site, record, key)
        answer = read(partial(site.read, fresh=True), key)
        is_unread = meaning_of_status(answer.status) is Meaning.NOTHING
        keeper = Keeper.OLD_STORE if answer.from_old else None
        if detail := _wrong(record, answer):
            refused = answer.from_old or meaning_of_status(answer.status) is Meaning.REFUSED
            return PublicFault(record, key, detail, unread=is_unread, keeper=keeper, refused=refused)
        detail = _wrong_headers(key, answer)
        return PublicFault(record, key, detail, keeper=keeper, headers=True) if detail else None

    def _told_of_private(self, answer: PublicAnswer, site: PublicSite, record: Record, key: str) -> PublicFault | None:
        at = f" at {site.url}" if site is self.bucket else ""
        it_is = "it is private" if record.entry.private else "everything is private here (acl = private)"
        meaning = meaning_of(answer.glimpse, partial(self._known, record, key))
        if meaning is Meaning.REFUSED:
            return None
        if meaning is Meaning.NOTHING:
            told = f"{answer.status}, {answer.size} bytes of {answer.content_type!r}"
            detail = f"{it_is}, and it is not clear who can read it: the answer ({told}) is not the object{at}"
            return PublicFault(record, key, detail, unread=True)
        keeper = self._keeper(answer, site, key)
        detail = f"{it_is}, and anybody can read it{_FROM[keeper]}{at}"
        return PublicFault(record, key, detail, exposed=True, keeper=keeper)

    def _keeper(self, answer: PublicAnswer, site: PublicSite, key: str) -> Keeper | None:
        """Who has given what is private. Raises: ObjectError."""
        if answer.from_old or site is self.bucket:
            return Keeper.OLD_STORE if answer.from_old else None
        again = PatientStore(self.gate).ask(partial(site.read, fresh=True), key)
        if again.from_old:
            return Keeper.OLD_STORE
        return Keeper.CACHE if meaning_of_status(again.status) is Meaning.REFUSED else None

    def _known(self, record: Record, key: str) -> list[Known]:
        """By what the store describes, and by what was recorded, as a cache may still have what the store has not."""
        known = []
        with suppress(ObjectError):
            there = PatientStore(self.gate).head(key)
            known.append(Known(there.size, there.etag))
        if record.entry.size is not None:
            known.append(Known(record.entry.size, expected_etag(record.md5, record.etag) or ""))
        return known


def _wrong(record: Record, answer: PublicAnswer) -> str | None:
    """Why an answer is not the public object that was asked for; None: it is."""
    if answer.status != 200:
        return f"a request without credentials is answered {answer.status}"
    if answer.from_old:
        return "a request without credentials gets it from the old store, as the new one refuses it or fails"
    if answer.size != record.entry.size or (record.md5 is not None and answer.md5 != record.md5):
        return f"a request without credentials gets other bytes: {answer.size}, but {record.entry.size} were recorded"
    return None


def _wrong_headers(key: str, answer: PublicAnswer) -> str | None:
    """What is wrong with the headers of a public object; None: nothing."""
    wanted = _MEDIA.get(key.rpartition(".")[2].lower())
    if wanted and answer.content_type.partition("/")[0].lower() not in wanted:
        return f"its Content-Type is {answer.content_type!r}: browsers do not show it"
    if "max-age" not in answer.cache_control.lower():
        return f"its Cache-Control is {answer.cache_control!r}: browsers and proxies do not keep it"
    return None
