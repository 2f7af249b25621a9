"""Asking for a sample of objects as anybody may: what is public can be read as it was written, nothing else can."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from mastosync.checking.object_check import expected_etag
from mastosync.checking.public_access import Audience, audience_of
from mastosync.errors import ObjectError
from mastosync.language import tr
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Kind, Record
from mastosync.runtime.outages import Downtime
from mastosync.runtime.retry import RetryingStore, StoreAccess
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import side_by_side
from mastosync.store.http.anonymous import KnownObject, Meaning, meaning_of, meaning_of_status
from mastosync.store.probe import PublicAnswer, PublicSite
from mastosync.verifying.public_result import FROM, Asked, Keeper, PublicFault, PublicResult

_log = logging.getLogger(__name__)

_MEDIA = {
    **dict.fromkeys(("jpg", "jpeg", "png", "gif", "webp", "avif", "heic", "heif", "ico", "svg"), ("image",)),
    **dict.fromkeys(("mp4", "webm", "mov", "m4v", "ogv", "ogg", "3gp", "m4a"), ("video", "audio")),
    **dict.fromkeys(("mp3", "wav", "flac", "opus", "oga", "aac", "wma"), ("audio",)),
}
"""Extension → what a browser has to be told for it to show the file."""


@dataclass(frozen=True, slots=True)
class _Questioned:
    """The site, asked whether it is down."""

    site: PublicSite

    @property
    def name(self) -> str:
        return tr("site {url}", url=self.site.url)

    def read(self, key: str, _: int) -> object:
        return self.site.read(key)


def waiting_for(site: PublicSite, store_access: StoreAccess, patience_seconds: float) -> StoreAccess:
    """The same access for a `PublicCheck`, where a site that is down is waited for, as a store is.

    The bucket is not: many answer nobody who has no credentials.
    """
    return replace(
        store_access, downtime=Downtime(store_access.limiter, store_access.stop, patience_seconds, _Questioned(site))
    )


@dataclass(frozen=True, slots=True)
class PublicCheck:
    """Asks without credentials. `store_access` is that of the site: its requests share one limiter and patience.

    `bucket` is asked for private objects as well, as they must be nowhere to be had; None: that is the site. `acl`: of
    the destination, as configured.
    """

    site: PublicSite
    bucket: PublicSite | None
    store_access: StoreAccess
    prefix: str
    workers: int
    stop: StopSignal
    acl: str = ""

    def run(self, records: Sequence[Record], of: Mapping[Kind, int] | None = None) -> PublicResult:
        """Ask for each of these. `of`: how many there are of each kind.

        Raises: NetworkFailure and the like if the site cannot be asked at all; Interrupted when asked to stop.
        """
        lists = RetryingStore(self.store_access).ask(self.site.lists) or self._bucket_lists()
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
            return RetryingStore(self.store_access).ask(self.bucket.lists)
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

    def _sites(self, record: Record) -> Iterator[tuple[PublicSite, Audience]]:
        """Where to ask, and who reads there. The bucket comes first: what it refuses and the site gives is another's.

        What the site may give or refuse, as it decides, is not asked for there.
        """
        private, served = record.entry.private, self.bucket is not None
        at_site = audience_of(self.acl, private=private, served=served)
        if self.bucket is not None and audience_of(self.acl, private=private) is Audience.NOBODY:
            yield self.bucket, Audience.NOBODY
        if at_site is not Audience.UNKNOWN:
            yield self.site, at_site

    def _fault(self, site: PublicSite, record: Record, key: str, readers: Audience) -> PublicFault | None:
        """What is wrong with an answer; None: nothing. Raises: ObjectError.

        What is public has to lie at the store, and what is private has to be nowhere, not even in a cache.
        """
        read = RetryingStore(self.store_access).ask
        if readers is Audience.NOBODY:
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
        detail = f"{it_is}, and anybody can read it{FROM[keeper]}{at}"
        return PublicFault(record, key, detail, exposed=True, keeper=keeper)

    def _keeper(self, answer: PublicAnswer, site: PublicSite, key: str) -> Keeper | None:
        """Who has given what is private. Raises: ObjectError."""
        if answer.from_old or site is self.bucket:
            return Keeper.OLD_STORE if answer.from_old else None
        again = RetryingStore(self.store_access).ask(partial(site.read, fresh=True), key)
        if again.from_old:
            return Keeper.OLD_STORE
        return Keeper.CACHE if meaning_of_status(again.status) is Meaning.REFUSED else None

    def _known(self, record: Record, key: str) -> list[KnownObject]:
        """By what the store describes, and by what was recorded, as a cache may still have what the store has not."""
        known = []
        with suppress(ObjectError):
            there = RetryingStore(self.store_access).head(key)
            known.append(KnownObject(there.size, there.etag))
        if record.entry.size is not None:
            known.append(KnownObject(record.entry.size, expected_etag(record.md5, record.etag) or ""))
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
