"""`verify --public`: a sample of objects is read without credentials.

Public objects have to be given as they were written. Private ones have to be refused.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import chain, islice
from operator import itemgetter

from mastosync.checking.object_check import expected_etag
from mastosync.checking.privacy_proof import strangers_read
from mastosync.checking.public_access import Audience, FaultKind, audience_of
from mastosync.errors import ObjectError, ObjectMissing
from mastosync.language import tr
from mastosync.manifest import PRIVATE_FLAG, EntryRow
from mastosync.mastodon.catalog import UNSHOWN
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Kind, Record
from mastosync.runtime.outages import Downtime
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import side_by_side
from mastosync.store.probe import AnonymousAccess, ObjectTraits, PublicAnswer, PublicSite, access_by, access_by_status
from mastosync.verifying.listing_merge import KeyedEntry, LowestRanks, SampleGroup, SampleRank
from mastosync.verifying.public_result import FROM, Asked, PublicFault, PublicResult, ServedBy

_log = logging.getLogger(__name__)

_MEDIA = {
    **dict.fromkeys(("jpg", "jpeg", "png", "gif", "webp", "avif", "heic", "heif", "ico", "svg"), ("image",)),
    **dict.fromkeys(("mp4", "webm", "mov", "m4v", "ogv", "ogg", "3gp", "m4a"), ("video", "audio")),
    **dict.fromkeys(("mp3", "wav", "flac", "opus", "oga", "aac", "wma"), ("audio",)),
}
"""Extension → what a browser has to be told for it to show the file."""

_NAME, _FLAGS = map(EntryRow._fields.index, ("name", "flags"))
_USUAL_NAME = re.compile(r"[A-Za-z0-9._-]*")
_ODDITIES = (
    re.compile(r"\s"),
    re.compile(r"[^\x00-\x7f]"),
    re.compile("%"),
    re.compile(r"[^\sA-Za-z0-9._%\x80-\U0010ffff-]"),
)


class PublicSample:
    """What is read without credentials: `size` public and `size` private objects, the same ones each time.

    One of each kind is among them, and one of each way in which names are odd, as far as there is room. A larger sample
    holds a smaller one. What was at fault the last time comes on top.
    """

    def __init__(
        self, size: int, kinds: Mapping[int, Kind], again: Collection[str] = (), unshown: Collection[str] = UNSHOWN
    ) -> None:
        """`kinds`: by their numbers in the manifest. `again`: keys without prefix, always in the sample.

        `unshown`: tables whose public objects are not read, as the media host need not serve them.
        """
        self._size = size
        self._again = frozenset(again)
        self._unshown = {number for number, kind in kinds.items() if kind.table in unshown}
        self._all = {private: LowestRanks(size) for private in (False, True)}
        self._firsts: dict[SampleGroup, LowestRanks] = {}
        self._repeated: dict[int, Record] = {}

    def rank(self, keyed: KeyedEntry) -> SampleRank | None:  # noqa: D102
        private = keyed.row[_FLAGS] & PRIVATE_FLAG != 0
        if not private and keyed.kind in self._unshown:
            return None
        rank = int.from_bytes(blake2b(keyed.key.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        groups: list[SampleGroup] = [(private, "kind", keyed.kind)]
        if not _USUAL_NAME.fullmatch(keyed.row[_NAME]):
            groups.append((private, "name", _oddity(keyed.row[_NAME])))
        first_of = [group for group in groups if group not in self._firsts or rank < self._firsts[group].highest]
        if keyed.key in self._again:
            first_of.append((private, "again", 0))
        return SampleRank(rank, tuple(first_of)) if first_of or rank < self._all[private].highest else None

    def take(self, place: SampleRank, record: Record) -> None:  # noqa: D102
        self._all[record.entry.private].take(place.rank, record)
        for group in place.groups:
            if group[1] == "again":
                self._repeated[place.rank] = record
            else:
                self._firsts.setdefault(group, LowestRanks(1)).take(place.rank, record)

    def records(self) -> list[Record]:  # noqa: D102
        found: dict[int, Record] = {}
        for private, lowest in self._all.items():
            firsts = [each.ranked()[0] for group, each in self._firsts.items() if group[0] is private]
            of_these = dict(chain(sorted(firsts, key=itemgetter(0)), lowest.ranked()))
            found.update(islice(of_these.items(), self._size))
        return list((found | self._repeated).values())


@dataclass(frozen=True, slots=True)
class _SiteProbe:
    """Asks the site whether it is down."""

    site: PublicSite

    @property
    def name(self) -> str:
        return tr("site {url}", url=self.site.url)

    def read(self, key: str, _: int) -> object:
        return self.site.read(key)


def site_session(site: PublicSite, store_session: StoreSession, patience_seconds: float) -> StoreSession:
    """`store_session` as a `PublicCheck` needs it: a site that is down is waited for, as a store is.

    The bucket is not waited for: many give no answer without credentials.
    """
    return replace(
        store_session, downtime=Downtime(store_session.limiter, store_session.stop, patience_seconds, _SiteProbe(site))
    )


@dataclass(frozen=True, slots=True)
class PublicCheck:
    """Asks without credentials. `store_session` is that of the site: its requests share one limiter and patience.

    `bucket` is also asked for private objects, as no address may give them; None: the site is the bucket. `acl`: of the
    destination, as configured.
    """

    site: PublicSite
    bucket: PublicSite | None
    store_session: StoreSession
    prefix: str
    workers: int
    stop: StopSignal
    acl: str = ""

    def run(self, records: Sequence[Record], of: Mapping[Kind, int] | None = None) -> PublicResult:
        """Ask for each of these. `of`: how many there are of each kind.

        Raises: NetworkFailure and the like if the site cannot be asked at all; Interrupted when asked to stop.
        """
        lists = RetryingStore(self.store_session).ask(self.site.lists) or self._bucket_lists()
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
        """Whether anybody can list the bucket behind the site. If that is not known, the site counts."""
        if self.bucket is None:
            return False
        try:
            return RetryingStore(self.store_session).ask(self.bucket.lists)
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
                fault = PublicFault(record, key, error.message, FaultKind.UNCLEAR)
            if fault is not None and fault.kind is not FaultKind.UNCLEAR:
                yield fault if unread is None else fault._replace(served_by=None)  # who knows what the bucket gives
                return
            unread = unread or fault
        if unread is not None:
            yield unread

    def _sites(self, record: Record) -> Iterator[tuple[PublicSite, Audience]]:
        """Where to ask, and who reads there. The bucket comes first: what it refuses and the site gives is another's.

        The site is not asked for an object that it may either give or refuse.
        """
        private, served = record.entry.private, self.bucket is not None
        at_site = audience_of(self.acl, private=private, served=served)
        if self.bucket is not None and audience_of(self.acl, private=private) is Audience.NOBODY:
            yield self.bucket, Audience.NOBODY
        if at_site is not Audience.UNKNOWN:
            yield self.site, at_site

    def _fault(self, site: PublicSite, record: Record, key: str, readers: Audience) -> PublicFault | None:
        """What is wrong with an answer; None: nothing. Raises: ObjectError.

        A public object has to be at the store. A private one must not be given anywhere, not even by a cache.
        """
        read = RetryingStore(self.store_session).ask
        if readers is Audience.NOBODY:
            return self._private_fault(read(site.read, key), site, record, key)
        answer = read(partial(site.read, fresh=True), key)
        access = access_by_status(answer.status)
        served_by = ServedBy.OLD_STORE if answer.from_old else None
        if detail := _wrong(record, answer):
            kind = FaultKind.UNCLEAR if access is AnonymousAccess.UNKNOWN else FaultKind.UNREADABLE
            refused = answer.from_old or access is AnonymousAccess.REFUSED
            return PublicFault(record, key, detail, kind, served_by, refused)
        detail = _wrong_headers(key, answer)
        return PublicFault(record, key, detail, FaultKind.HEADERS, served_by) if detail else None

    def _private_fault(self, answer: PublicAnswer, site: PublicSite, record: Record, key: str) -> PublicFault | None:
        at = f" at {site.url}" if site is self.bucket else ""
        it_is = "it is private" if record.entry.private else "everything is private here (acl = private)"
        access = access_by(answer.as_anonymous, partial(self._known, record, key))
        if access is AnonymousAccess.REFUSED:
            return None
        if access is AnonymousAccess.UNKNOWN:
            told = f"{answer.status}, {answer.size} bytes of {answer.content_type!r}"
            detail = f"{it_is}, and it is not clear who can read it: the answer ({told}) is not the object{at}"
            return PublicFault(record, key, detail, FaultKind.UNCLEAR)
        served_by = self._served_by(answer, site, key)
        detail = f"{it_is}, and anybody can read it{FROM[served_by]}{at}"
        return PublicFault(record, key, detail, FaultKind.EXPOSED, served_by)

    def _served_by(self, answer: PublicAnswer, site: PublicSite, key: str) -> ServedBy | None:
        """What has served a private object. Raises: ObjectError."""
        if answer.from_old or site is self.bucket:
            return ServedBy.OLD_STORE if answer.from_old else None
        again = RetryingStore(self.store_session).ask(partial(site.read, fresh=True), key)
        if again.from_old:
            return ServedBy.OLD_STORE
        return ServedBy.CACHE if access_by_status(again.status) is AnonymousAccess.REFUSED else None

    def _known(self, record: Record, key: str) -> list[ObjectTraits]:
        """By what the store describes, and by what was recorded, as a cache may still have what the store has not."""
        known = []
        with suppress(ObjectError):
            there = RetryingStore(self.store_session).head(key)
            known.append(ObjectTraits(there.size, there.etag))
        if record.entry.size is not None:
            known.append(ObjectTraits(record.entry.size, expected_etag(record.md5, record.etag) or ""))
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


def _oddity(name: str) -> int:
    """In which ways a name is odd, a bit for each."""
    return sum(1 << bit for bit, pattern in enumerate(_ODDITIES) if pattern.search(name))


def was_removed(store_session: StoreSession, key: str) -> bool:
    """Whether an object is not at the store any more."""
    try:
        RetryingStore(store_session).head(key)
    except ObjectMissing:
        return True
    except ObjectError as error:
        _log.warning("public: it is not known whether it still lies there: %s", error.message)
    return False


def store_gives(store_session: StoreSession, key: str) -> bool | None:
    """Whether the new store gives an object to strangers, whatever another site does; None: that is not known."""
    store = RetryingStore(store_session)
    try:
        return strangers_read(store, key, store.head(key))
    except ObjectError as error:
        _log.warning("public: %s: its row is private by now, and who reads it cannot be told: %s", key, error.message)
        return None
