"""Whether what lies at the destination already is what is wanted there: so that nothing is uploaded twice."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mastosync.checking.multipart_etag import is_composite
from mastosync.checking.object_check import expected_etag, same_etag
from mastosync.copying.job import Job, fits_row, is_as_new_as_row, is_older_than_row
from mastosync.errors import ObjectChanged, ObjectDenied, ObjectError, ObjectMissing
from mastosync.manifest import ACCESS, LIES_THERE, Approach
from mastosync.model import End, Entry, ObjectInfo, Origin, Outcome, Presence
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.steps import BlockingCall, Steps, StoreCall
from mastosync.store.base import FetchedObject

_UNCONFIRMED = frozenset({Approach.WRITE, Approach.COMPARE, Approach.EXAMINE})


def confirmed(job: Job) -> Steps[Outcome | None]:
    """By the very size and ETag under which the destination confirmed it."""
    arrival = job.claim.arrival
    try:
        there: ObjectInfo = yield StoreCall(job.destination, "head", (job.key,))
    except (ObjectMissing, ObjectDenied):  # a key may write that may not read
        return None
    if there.size != job.entry.size or not same_etag(there.etag, expected_etag(arrival.md5, arrival.etag)):
        return None
    return job.as_recorded(there.size)


def find_arrived(job: Job, candidates: Iterator[str]) -> Outcome | None:
    """Look whether a write arrived of which nobody knows how it ended: by size, and by the digests of both ends.

    What an ETag does not tell is read.
    """
    source_key, here = job.source_key, None
    for source_key in candidates:
        try:
            here = job.source.head(source_key)
            break
        except ObjectMissing:
            continue
    if here is None or (here.private and not job.entry.private):
        return None
    try:
        there = job.destination.head(job.key)
        if here.size != there.size:
            return None
        if is_composite(here.etag) and here.etag == there.etag:  # parts of the same sizes, with the same bytes
            return job.done(source_key, there.size, None, there.etag)
        sent, arrived = _digest(job.source, source_key, here), _digest(job.destination, job.key, there)
    except (ObjectMissing, ObjectChanged, ObjectDenied):  # meanwhile, or the key may not read
        return None
    return job.done(source_key, there.size, sent, there.etag) if sent == arrived else None


def found_there(job: Job, missing: ObjectMissing, *, hides: bool) -> Steps[Outcome]:
    """What the source lacks may lie at the destination: after a switch Mastodon itself has stored it there.

    It has to fit its row. What is private is left to be stored there once more, as private, where that `hides` it: that
    strangers are refused now does not tell how it was stored. What a write of ours has left of which nobody knows how
    it ended may be damaged: it has to be what was confirmed once.
    """
    if job.approach not in _UNCONFIRMED or job.presence & Presence.STALE:
        return job.failed(missing)
    if job.presence & Presence.IN_DOUBT:
        found = yield from confirmed(job)
        return found._replace(end=End.SOURCE) if found else job.failed(missing)
    try:
        there: ObjectInfo = yield StoreCall(job.destination, "head", (job.key,))
    except ObjectError:  # it is missing at the source, whatever the destination has to say
        return job.failed(missing)
    if not fits_row(job.entry, there):
        return job.failed(_but_there(job, missing, there, _misfit(job.entry, there)))
    if job.entry.private and not job.presence and hides:  # what we have written was asked for already
        job.presence = ACCESS
        return job.failed(missing)
    found = job.done(job.source_key, there.size, there.md5, there.etag)
    return found._replace(origin=Origin.ADOPTED, end=End.SOURCE)


def _misfit(entry: Entry, there: ObjectInfo) -> str:
    if entry.size is None:
        return f"it has {there.size} bytes, and its row does not tell how many it should have"
    return f"it has {there.size} bytes, and its row says {entry.size}"


def _but_there(job: Job, missing: ObjectMissing, there: ObjectInfo, flaw: str) -> ObjectMissing:
    """The same failure, which tells what lies at the destination, if that came with the file of its row or later."""
    if not is_as_new_as_row(job.entry, there):
        return missing
    told = ObjectMissing(
        f"{missing.message}; {LIES_THERE}{job.destination.name}, stored at {there.last_modified}, probably by Mastodon"
        f" itself: {flaw}"
    )
    told.store = missing.store
    return told


def is_confirmed(job: Job, fetched: FetchedObject) -> Steps[bool]:
    """Whether what was fetched from the destination has the very bytes that were confirmed once."""
    if fetched.info.size != job.entry.size:
        return False
    digest = fetched.md5 or (yield BlockingCall(partial(_digest, job.source, job.key, fetched.info)))
    return bool(digest == job.claim.arrival.md5)


def _digest(store: RetryingStore, key: str, info: ObjectInfo) -> bytes:
    """The MD5 of an object; it is read where its ETag is none."""
    return info.md5 or store.digest(key, info)


def newer_there(job: Job, info: ObjectInfo) -> Steps[Outcome | None]:
    """What is wanted may lie at the destination, and what the source gives be the file that was there before.

    After a switch Mastodon stores at the destination, and may use a name once more. Then the source has an object
    that is older than the file of the row, and the destination one that is not, and is not what we have stored.
    What is private is left alone, too: it is not known who can read it. Raises: ObjectMissing, then.
    """
    arrival, entry = job.claim.arrival, job.entry
    if not arrival.presence & Presence.STALE or not is_older_than_row(entry, info):
        return None
    try:
        there: ObjectInfo = yield StoreCall(job.destination, "head", (job.key,))
    except ObjectError:  # what is to be written there will tell
        return None
    is_ours = same_etag(there.etag, expected_etag(arrival.md5, arrival.etag))
    if is_ours or there.last_modified is None or is_older_than_row(entry, there):
        return None
    if entry.private or not fits_row(entry, there):
        name = job.source.name
        raise ObjectMissing(f"{name} has an older file under {job.key!r}, and Mastodon has stored a newer one since")
    found = job.done(job.source_key, there.size, there.md5, there.etag)
    return found._replace(origin=Origin.ADOPTED)
