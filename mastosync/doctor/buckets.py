"""A bucket: whether it can be reached, accepts our key and exists; and a source, whether a copy can read it.

Nothing is ever written at a source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

from mastosync.doctor.checks import IN_ONE_PIECE, STORE_ERRORS, Findings, OneRetry, Reporter, is_this_machine
from mastosync.errors import ObjectDenied, ObjectError, ObjectMissing, StoreUnusable
from mastosync.findings import Finding
from mastosync.language import joined, say, tr
from mastosync.mastodon.paperclip import iter_candidates
from mastosync.model import Entry, ObjectInfo
from mastosync.store.base import ObjectStore
from mastosync.store.probe import Greeting, RefusalCause
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.store.s3.probe import S3Probe

ACCESS_CHECKS = ("endpoint", "clock", "credentials", "bucket", "addressing", "anonymous-list")

_CLOCK_WARNING_SECONDS = 60.0
_CLOCK_FAILURE_SECONDS = 300.0  # stores refuse signatures at fifteen minutes, and clocks that drift drift on


@dataclass(frozen=True, slots=True)
class CheckedStore:
    """A bucket, and how it is asked."""

    reporter: Reporter
    store: ObjectStore  # as a copy uses it
    probe: S3Probe
    ask: OneRetry
    prefix: str  # of all keys; may be empty
    of_keys: str = ""  # what may have happened to the access key, if it is refused; empty: nobody knows


@dataclass(frozen=True, slots=True)
class BucketAccess:
    """What is known of a store that can be used."""

    may_list: bool
    first_key: str  # of an object under the prefix; empty where none is known


def check_access(end: CheckedStore) -> Findings[BucketAccess | None]:
    """Check one after the other what access needs. Returns: None if something of it is missing."""
    try:
        greeting = end.ask(end.probe.greet)
    except STORE_ERRORS as error:
        # a host name that holds the bucket's may be one that nobody has
        remedy = _other_style(end) if end.probe.address.style == "virtual" else ""
        yield end.reporter.failure("endpoint", error, remedy)
        yield from end.reporter.skipped(ACCESS_CHECKS[1:], tr("the store cannot be reached"))
        return None
    refusal = _refusal(end)
    cause = end.probe.cause_of(refusal) if refusal else None
    if refusal and cause is RefusalCause.ENDPOINT:
        yield end.reporter.failure("endpoint", refusal, _other_style(end))
    else:
        yield _reached(end, greeting)
    yield _clock(end, greeting)
    if refusal:
        yield from _refused(end, refusal, cause)
        return None
    yield end.reporter.ok("credentials", tr("the store accepts them"))
    return (yield from _check_bucket(end, greeting))


def check_missing_key(end: CheckedStore, access: BucketAccess, key: str, consequence: str) -> Findings[bool]:
    """How a key is answered that nobody has written. Returns: False if the store makes objects up."""
    reporter = end.reporter
    try:
        end.ask(end.store.read, key, 1)
    except ObjectMissing:
        yield reporter.ok("missing-key", tr("a missing object answers 404, as it should"))
    except ObjectDenied:
        remedy = tr("allow the key to list the bucket")
        if not access.may_list:
            remedy = tr(
                "allow the key to list the bucket (s3:ListBucket): without this right, a store does not say that "
                "an object is missing"
            )
        yield reporter.warning(
            "missing-key",
            tr("a missing object answers 403 instead of 404: {consequence}", consequence=consequence),
            remedy,
        )
    except STORE_ERRORS as error:
        yield reporter.failure("missing-key", error)
    else:
        yield reporter.failure(
            "missing-key",
            tr(
                "the store returns an object for {key!r}, which was never written: it seems to return something "
                "for every key",
                key=key,
            ),
            tr("check `endpoint_url`: it must be an S3 endpoint, not a web site or a CDN in front of one"),
        )
        return False
    return True


def _refusal(end: CheckedStore) -> ObjectError | StoreUnusable | None:
    """What `copy` would end with before its first object."""
    try:
        end.ask(end.store.check)
    except STORE_ERRORS as error:
        return error
    return None


def _refused(end: CheckedStore, refusal: ObjectError | StoreUnusable, cause: RefusalCause | None) -> Findings[None]:
    reporter = end.reporter
    if cause is RefusalCause.ENDPOINT:
        yield from reporter.skipped(ACCESS_CHECKS[2:], tr("correct the endpoint first"))
    elif cause is RefusalCause.CREDENTIALS:
        hint = _with_region(end, refusal)
        yield reporter.failure("credentials", refusal, joined([hint, end.of_keys]) if end.of_keys else hint)
        yield from reporter.skipped(ACCESS_CHECKS[3:], tr("correct the credentials first"))
    else:
        yield from reporter.skipped(("credentials",), tr("correct the bucket first"))
        yield reporter.failure("bucket", refusal, _other_style(end))
        yield from reporter.skipped(ACCESS_CHECKS[4:], tr("correct the bucket first"))


def _check_bucket(end: CheckedStore, greeting: Greeting) -> Findings[BucketAccess | None]:
    reporter = end.reporter
    access = None
    try:
        keys = end.ask(end.probe.keys, f"{end.prefix}/" if end.prefix else "", 1)
        access = BucketAccess(may_list=True, first_key=keys[0] if keys else "")
        yield reporter.ok("bucket", tr("it exists, and the key may list it"))
    except ObjectDenied as error:
        if remedy := _other_style(end):
            yield from reporter.skipped(("bucket",), tr("correct the addressing first"))
            yield reporter.failure("addressing", error, remedy)
            yield from reporter.skipped(("anonymous-list",), tr("correct the addressing first"))
            return None
        access = BucketAccess(may_list=False, first_key="")
        yield reporter.ok("bucket", tr("it seems to exist: this key may not list it, so nothing more can be said"))
    except STORE_ERRORS as error:
        yield reporter.failure("bucket", error)
    yield _addressing(end)
    yield _anonymous_list(end, greeting)
    return access


def _reached(end: CheckedStore, greeting: Greeting) -> Finding:
    address, url = end.probe.address, urlsplit(end.probe.address.url)
    proxy = tr(", through the proxy {proxy}", proxy=address.proxy) if address.proxy else ""
    said = tr(
        "{endpoint} answers in {seconds:,.0f} ms{proxy}",
        endpoint=end.store.endpoint,
        seconds=greeting.seconds * 1000,
        proxy=proxy,
    )
    if url.scheme == "https" and not address.verified:
        return end.reporter.warning(
            "endpoint",
            tr("{said}; its certificate is not checked, so it may be another server", said=said),
            tr(
                "remove `verify_tls`, and set `ca_bundle` to a file with the certificate of the authority that "
                "signed the store's"
            ),
        )
    if url.scheme == "https":
        return end.reporter.ok("endpoint", said)
    if is_this_machine(url.hostname or ""):
        return end.reporter.ok("endpoint", tr("{said}; requests are not encrypted", said=said))
    return end.reporter.warning(
        "endpoint",
        tr(
            "{said}; requests are not encrypted: anybody on the way can read objects, and change them before they "
            "are checked",
            said=said,
        ),
        tr("use https:// in `endpoint_url`, if the store offers it; the secret key is never sent, only signatures"),
    )


def _clock(end: CheckedStore, greeting: Greeting) -> Finding:
    ahead, reporter = greeting.clock_ahead_seconds, end.reporter
    if ahead is None:
        return reporter.skip("clock", tr("the store does not send its time"))
    off = abs(ahead)
    if off < _CLOCK_WARNING_SECONDS:
        return reporter.ok(
            "clock", tr("the clocks of this machine and of the store differ by at most {off} s", off=math.ceil(off))
        )
    said = (
        tr("the clock of this machine is {duration} behind the store's", duration=human_seconds(off))
        if ahead > 0
        else tr("the clock of this machine is {duration} ahead of the store's", duration=human_seconds(off))
    )
    remedy = tr("set the clock (with NTP): signatures are refused when it is off by fifteen minutes")
    if off > _CLOCK_FAILURE_SECONDS:
        return reporter.failure("clock", said, remedy)
    return reporter.warning("clock", said, remedy)


def _addressing(end: CheckedStore) -> Finding:
    address, reporter = end.probe.address, end.reporter
    where = tr(
        "{style}: objects are at {url}KEY, signed for the region {region}",
        style=address.style,
        url=address.url,
        region=address.region,
    )
    url = urlsplit(address.url)
    *above, bucket = url.path.rstrip("/").split("/")
    if address.style == "path" and ((url.hostname or "").startswith(f"{bucket.lower()}.") or bucket in above):
        return reporter.warning(
            "addressing",
            tr("{where}, so the bucket is named twice", where=where),
            tr("if objects are not found, leave {bucket!r} out of `endpoint_url`", bucket=bucket),
        )
    return reporter.ok("addressing", where)


def _anonymous_list(end: CheckedStore, greeting: Greeting) -> Finding:
    if not greeting.lists:
        return end.reporter.ok("anonymous-list", tr("nobody can list the bucket without credentials"))
    return end.reporter.warning(
        "anonymous-list",
        tr("anybody can list the bucket without credentials, and find objects that no page links to"),
        tr(
            "remove the right to list (s3:ListBucket, READ in the bucket's ACL) from everybody; the right to read "
            "objects is enough"
        ),
    )


def _other_style(end: CheckedStore) -> str:
    """A remedy, if the bucket is found with its name in the other place; else an empty string."""
    style = end.ask(end.probe.works_otherwise)
    return tr("set `addressing_style = {style}`: with that, the bucket is found", style=style) if style else ""


def _with_region(end: CheckedStore, refusal: ObjectError | StoreUnusable) -> str:
    """Where `secret_key` is suspected, `region` may be as well: it is part of what is signed."""
    if "secret_key" not in refusal.hint:
        return refusal.hint
    return tr(
        "{hint}; if it is right, `region` may be wrong: requests are signed for {region}",
        hint=refusal.hint,
        region=end.probe.address.region,
    )


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
        yield from end.reporter.skipped(("missing-key", *_READ_CHECKS), tr("the store cannot be used"))
        return
    key = f"{end.prefix}/mastosync-doctor/{uuid4().hex}".removeprefix("/")
    consequence = tr("missing objects will fail as `denied`, and are not looked for under the keys of older releases")
    if not (yield from check_missing_key(end, access, key, consequence)):
        yield from end.reporter.skipped(_READ_CHECKS, tr("correct the endpoint first"))
        return
    yield from _check_reading(end, access, entries())


def _check_reading(end: CheckedStore, access: BucketAccess, entries: Sequence[Entry]) -> Findings[None]:
    reporter = end.reporter
    try:
        known = first_found(end.ask, end.store, end.prefix, entries)
        if known is None and access.first_key and not entries:
            fetched = end.ask(end.store.read, access.first_key, _MOST_BYTES)
            known = FoundObject(access.first_key, fetched.info, private=False)
    except ObjectDenied as error:
        yield reporter.failure("read", error, tr("allow the key to read objects (s3:GetObject)"))
    except STORE_ERRORS as error:
        yield reporter.failure("read", error)
    else:
        if known is not None:
            told = (
                tr("its ETag is its MD5")
                if known.info.etag_is_md5
                else tr("its ETag is no MD5: {etag}", etag=known.info.etag)
            )
            yield reporter.ok(
                "read",
                tr("{key!r}, {size}, was read; {told}", key=known.key, size=human_bytes(known.info.size), told=told),
            )
            yield from _check_known(end, known)
            return
        yield _nothing_found(end, access, entries)
    yield from reporter.skipped(_READ_CHECKS[1:], tr("no object is known that could be read"))


def first_found(ask: OneRetry, store: ObjectStore, prefix: str, entries: Sequence[Entry]) -> FoundObject | None:
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
    reporter = end.reporter
    if not entries:
        return reporter.skip("read", tr("without a database, a manifest or a listing, no object is known to look for"))
    looked_for = next(iter_candidates(entries[0], end.prefix))
    has = tr(", while the bucket has {first_key!r}", first_key=access.first_key) if access.first_key else ""
    said = tr(
        "none of {entries} objects that Mastodon should have is there, for example {looked_for!r}{has}",
        entries=len(entries),
        looked_for=looked_for,
        has=has,
    )
    remedy = tr("check `bucket` and `key_prefix` of the source, and that the database is the one that belongs to it")
    return reporter.failure("read", said, remedy) if len(entries) >= _ENOUGH else reporter.warning("read", said, remedy)


def _check_known(end: CheckedStore, known: FoundObject) -> Findings[None]:
    reporter = end.reporter
    try:
        end.ask(end.store.head, known.key)
        yield reporter.ok("head", tr("HEAD requests work: an object can be described without being read"))
    except STORE_ERRORS as error:
        yield reporter.warning(
            "head", error.message, tr("allow HEAD (s3:GetObject): it is needed to go on after a crash")
        )
    try:
        if known.info.size:
            end.ask(end.store.read_range, known.key, known.info, 0, min(_RANGE_BYTES, known.info.size))
        yield reporter.ok("ranges", tr("large objects can be read in ranges, pinned to their ETag"))
    except STORE_ERRORS as error:
        yield reporter.warning(
            "ranges",
            error.message,
            say(IN_ONE_PIECE),
        )
    try:
        public = end.ask(end.probe.is_public, known.key, known.info.etag)
    except STORE_ERRORS as error:
        yield reporter.warning("anonymous-read", error.message, error.hint)
        return
    if public and known.private:
        yield reporter.warning(
            "anonymous-read",
            tr("anybody can read {key!r}, which should be private", key=known.key),
            tr("this is so already; check the policy of this bucket, and do not give the destination the same one"),
        )
    else:
        anybody, nobody = tr("anybody can read it without credentials"), tr("nobody can read it without credentials")
        yield reporter.ok("anonymous-read", anybody if public else nobody)
