"""Asking for a sample of objects as anybody may: what is public can be read as it was written, nothing else can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from mastosync.engine.judge import expected_etag
from mastosync.engine.privacy_proof import PRIVATE_IS_PUBLIC_REMEDY
from mastosync.engine.retry import Gate, PatientStore
from mastosync.engine.side_by_side import side_by_side
from mastosync.engine.stop import StopSignal
from mastosync.errors import ObjectError
from mastosync.language import say, tr
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState, Origin, Record
from mastosync.store.probe import PublicAnswer, PublicSite
from mastosync.store.strangers import Known, Meaning, meaning_of, meaning_of_status

_MEDIA = {
    **dict.fromkeys(("jpg", "jpeg", "png", "gif", "webp", "avif", "heic", "heif", "ico", "svg"), ("image",)),
    **dict.fromkeys(("mp4", "webm", "mov", "m4v", "ogv", "ogg", "3gp", "m4a"), ("video", "audio")),
    **dict.fromkeys(("mp3", "wav", "flac", "opus", "oga", "aac", "wma"), ("audio",)),
}
"""Extension → what a browser has to be told for it to show the file."""


class PublicFault(NamedTuple):
    """An object that anybody gets otherwise than is right."""

    record: Record
    key: str
    detail: str
    exposed: bool = False  # it is private, and anybody can read it
    unread: bool = False  # nothing can be said: the site kept failing


@dataclass(slots=True)
class PublicResult:
    """What was found."""

    url: str
    listing: bool  # anybody can list the bucket
    asked: int = 0
    asked_private: int = 0
    faults: list[PublicFault] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything is as it has to be."""
        return not self.listing and not self.faults

    @property
    def nothing_is_right(self) -> bool:
        """Whether not one public object can be read as it has to be: then it is not the objects."""
        faults = sum(not fault.record.entry.private for fault in self.faults)
        return faults > 0 and faults == self.asked - self.asked_private

    @property
    def exposed(self) -> int:
        """How many private objects anybody can read."""
        return sum(fault.exposed for fault in self.faults)

    @property
    def remedy(self) -> str:
        """What to do about these, for people; empty if there are none."""
        if not self.exposed:
            return ""
        return tr(
            "{remedy}; then run `mastosync copy`: it stores them as private again, or names those that you have "
            "to remove",
            remedy=say(PRIVATE_IS_PUBLIC_REMEDY),
        )

    @property
    def to_be_rewritten(self) -> list[PublicFault]:
        """What a copy would put right: what others brought with other headers or another ACL than ours, or laid open.

        What is public and we wrote ourselves would be written the same again. What is private and can be read is
        not done, whoever wrote it, and a copy proves that it hides it.
        """
        exposed = [fault for fault in self.faults if fault.exposed and fault.record.state is EntryState.DONE]
        if self.nothing_is_right:
            return exposed
        adopted = [fault for fault in self.faults if fault.record.origin is Origin.ADOPTED and not fault.unread]
        return exposed + [fault for fault in adopted if not fault.exposed]

    def as_json(self) -> dict[str, Any]:
        """Its part of `verify --json`."""
        return {
            "url": self.url,
            "anybody_can_list": self.listing,
            "asked": self.asked,
            "asked_private": self.asked_private,
            "exposed": self.exposed,
            "faults": [{"key": fault.key, "detail": fault.detail} for fault in self.faults],
        }


@dataclass(frozen=True, slots=True)
class PublicCheck:
    """Asks without credentials. `gate` is that of the site: its requests share one limiter and patience.

    `bucket` is asked for private objects as well, as they must be nowhere to be had; None: that is the site.
    """

    site: PublicSite
    bucket: PublicSite | None
    gate: Gate
    prefix: str
    workers: int
    stop: StopSignal

    def run(self, records: Sequence[Record]) -> PublicResult:
        """Ask for each of these.

        Raises: NetworkFailure and the like if the site cannot be asked at all; Interrupted when asked to stop.
        """
        result = PublicResult(self.site.url, PatientStore(self.gate).ask(self.site.lists))
        private = sum(record.entry.private for record in records)
        result.asked, result.asked_private = len(records), private
        result.faults += side_by_side(self._asked, records, self.workers, self.stop)
        result.faults.sort(key=lambda fault: fault.key)
        return result

    def _asked(self, record: Record) -> Iterator[PublicFault]:
        self.stop.require_going_on()
        key = canonical_key(record.entry, self.prefix)
        unread = None
        for site in self._sites(record):
            try:
                fault = self._fault(record, key, PatientStore(self.gate).ask(site.read, key))
            except ObjectError as error:
                fault = PublicFault(record, key, error.message, unread=True)
            else:
                if fault is not None and site is self.bucket:
                    fault = fault._replace(detail=f"{fault.detail} at {site.url}")
            if fault is not None and not fault.unread:
                yield fault
                return
            unread = unread or fault
        if unread is not None:
            yield unread

    def _sites(self, record: Record) -> Iterator[PublicSite]:
        yield self.site
        if record.entry.private and self.bucket is not None:
            yield self.bucket

    def _fault(self, record: Record, key: str, answer: PublicAnswer) -> PublicFault | None:
        """What is wrong with an answer; None: nothing."""
        if not record.entry.private:
            detail = _wrong(record, key, answer)
            is_unread = meaning_of_status(answer.status) is Meaning.NOTHING
            return PublicFault(record, key, detail, unread=is_unread) if detail else None
        meaning = meaning_of(answer.glimpse, partial(self._known, record, key))
        if meaning is Meaning.GIVEN:
            return PublicFault(record, key, "it is private, and anybody can read it", exposed=True)
        if meaning is Meaning.REFUSED:
            return None
        told = f"{answer.status}, {answer.size} bytes of {answer.content_type!r}"
        detail = f"it is private, and it is not clear who can read it: the answer ({told}) is not the object"
        return PublicFault(record, key, detail, unread=True)

    def _known(self, record: Record, key: str) -> list[Known]:
        """By what the store describes, and by what was recorded, as a cache may still have what the store has not."""
        known = []
        with suppress(ObjectError):
            there = PatientStore(self.gate).head(key)
            known.append(Known(there.size, there.etag))
        if record.entry.size is not None:
            known.append(Known(record.entry.size, expected_etag(record.md5, record.etag) or ""))
        return known


def _wrong(record: Record, key: str, answer: PublicAnswer) -> str | None:
    """What is wrong with an answer for a public object; None: nothing."""
    if answer.status != 200:
        return f"a request without credentials is answered {answer.status}"
    if answer.size != record.entry.size or (record.md5 is not None and answer.md5 != record.md5):
        return f"a request without credentials gets other bytes: {answer.size}, but {record.entry.size} were recorded"
    wanted = _MEDIA.get(key.rpartition(".")[2].lower())
    if wanted and answer.content_type.partition("/")[0].lower() not in wanted:
        return f"its Content-Type is {answer.content_type!r}: browsers do not show it"
    if "max-age" not in answer.cache_control.lower():
        return f"its Cache-Control is {answer.cache_control!r}: browsers and proxies do not keep it"
    return None
