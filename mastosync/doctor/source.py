"""The source: whether it can be read as a copy will read it. Nothing is ever written here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from mastosync.doctor.access import (
    ACCESS_CHECKS,
    STORE_ERRORS,
    BucketAccess,
    CheckedStore,
    Patience,
    check_access,
    check_missing_key,
)
from mastosync.doctor.findings import Finding, Findings
from mastosync.errors import ObjectDenied, ObjectMissing
from mastosync.language import tr
from mastosync.mastodon.paperclip import iter_candidates
from mastosync.model import Entry, ObjectInfo
from mastosync.store.base import ObjectStore
from mastosync.units import human_bytes

_READ_CHECKS = ("read", "head", "ranges", "anonymous-read")
SOURCE_CHECKS = (*ACCESS_CHECKS, "missing-key", *_READ_CHECKS)

_MOST_BYTES = 64 * 1024  # what is larger is described, and not read
_RANGE_BYTES = 1024
_ENOUGH = 3  # missing objects that make a wrong place of it


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object that is there."""

    key: str
    info: ObjectInfo
    private: bool  # Mastodon would have it so


def check_source(end: CheckedStore, entries: Callable[[], Sequence[Entry]]) -> Findings[None]:
    """All checks of the source. `entries`: a few that should be there, asked for when they are needed."""
    access = yield from check_access(end)
    if access is None:
        yield from end.chart.skipped(("missing-key", *_READ_CHECKS), tr("the store cannot be used"))
        return
    key = f"{end.prefix}/mastosync-doctor/{uuid4().hex}".removeprefix("/")
    consequence = tr("missing objects will fail as `denied`, and are not looked for under the keys of older releases")
    if not (yield from check_missing_key(end, access, key, consequence)):
        yield from end.chart.skipped(_READ_CHECKS, tr("correct the endpoint first"))
        return
    yield from _check_reading(end, access, entries())


def _check_reading(end: CheckedStore, access: BucketAccess, entries: Sequence[Entry]) -> Findings[None]:
    chart = end.chart
    try:
        known = first_found(end.ask, end.store, end.prefix, entries)
        if known is None and access.first_key and not entries:
            fetched = end.ask(end.store.read, access.first_key, _MOST_BYTES)
            known = FoundObject(access.first_key, fetched.info, private=False)
    except ObjectDenied as error:
        yield chart.failure("read", error, tr("allow the key to read objects (s3:GetObject)"))
    except STORE_ERRORS as error:
        yield chart.failure("read", error)
    else:
        if known is not None:
            told = (
                tr("its ETag is its MD5")
                if known.info.etag_is_md5
                else tr("its ETag is no MD5: {etag}", etag=known.info.etag)
            )
            yield chart.ok(
                "read",
                tr("{key!r}, {size}, was read; {told}", key=known.key, size=human_bytes(known.info.size), told=told),
            )
            yield from _check_known(end, known)
            return
        yield _nothing_found(end, access, entries)
    yield from chart.skipped(_READ_CHECKS[1:], tr("no object is known that could be read"))


def first_found(ask: Patience, store: ObjectStore, prefix: str, entries: Sequence[Entry]) -> FoundObject | None:
    """The first of these entries that is under one of its keys. Raises: ObjectDenied if some is, but is not for us."""
    denied = None
    for entry in entries:
        for key in iter_candidates(entry, prefix):
            try:
                fetched = ask(store.read, key, _MOST_BYTES)
            except ObjectMissing:
                continue
            except ObjectDenied as error:
                denied = denied or error
                break
            return FoundObject(key, fetched.info, entry.private)
    if denied is not None:
        raise denied
    return None


def _nothing_found(end: CheckedStore, access: BucketAccess, entries: Sequence[Entry]) -> Finding:
    chart = end.chart
    if not entries:
        return next(
            iter(
                chart.skipped(
                    ("read",),
                    tr("without a database, a manifest or a listing, no object is known to look for"),
                )
            )
        )
    looked_for = next(iter_candidates(entries[0], end.prefix))
    has = tr(", while the bucket has {first_key!r}", first_key=access.first_key) if access.first_key else ""
    said = tr(
        "none of {entries} objects that Mastodon should have is there, for example {looked_for!r}{has}",
        entries=len(entries),
        looked_for=looked_for,
        has=has,
    )
    remedy = tr("check `bucket` and `key_prefix` of the source, and that the database is the one that belongs to it")
    return chart.failure("read", said, remedy) if len(entries) >= _ENOUGH else chart.warning("read", said, remedy)


def _check_known(end: CheckedStore, known: FoundObject) -> Findings[None]:
    chart = end.chart
    try:
        end.ask(end.store.head, known.key)
        yield chart.ok("head", tr("HEAD requests work: an object can be described without being read"))
    except STORE_ERRORS as error:
        yield chart.warning("head", error.message, tr("allow HEAD (s3:GetObject): it is needed to go on after a crash"))
    try:
        if known.info.size:
            end.ask(end.store.read_range, known.key, known.info, 0, min(_RANGE_BYTES, known.info.size))
        yield chart.ok("ranges", tr("large objects can be read in ranges, pinned to their ETag"))
    except STORE_ERRORS as error:
        yield chart.warning("ranges", error.message, tr("raise `multipart_threshold` above the largest object"))
    try:
        public = end.ask(end.probe.is_public, known.key, known.info.etag)
    except STORE_ERRORS as error:
        yield chart.warning("anonymous-read", error.message, error.hint)
        return
    if public and known.private:
        yield chart.warning(
            "anonymous-read",
            tr("anybody can read {key!r}, which should be private", key=known.key),
            tr("this is so already; check the policy of this bucket, and do not give the destination the same one"),
        )
    else:
        anybody, nobody = tr("anybody can read it without credentials"), tr("nobody can read it without credentials")
        yield chart.ok("anonymous-read", anybody if public else nobody)
