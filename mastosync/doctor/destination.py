"""The destination: whether it takes objects as a copy will send them. Probe objects tell, and are removed again.

They get the headers and ACLs that a copy would give them, and are read back with our key and without one.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from mastosync.checking.privacy_proof import PRIVATE_IS_PUBLIC_REMEDY, WriteMethod, cannot_check
from mastosync.copying.acl import AclMode, AclRule, PrivateKeptBack
from mastosync.copying.transfer import TransferOptions
from mastosync.doctor.buckets import ACCESS_CHECKS, CheckedStore, check_access, check_missing_key
from mastosync.doctor.checks import IN_ONE_PIECE, STORE_ERRORS, Findings
from mastosync.doctor.probes import DATA, FOLDER, MD5, ComparedStore, ProbeObjects, check_apart, put_options
from mastosync.errors import ObjectDenied, ObjectError, StoreUnusable
from mastosync.findings import Finding, Grade
from mastosync.findings.messages import cache_control_message
from mastosync.language import enumerated, say, tr
from mastosync.model import Entry, Kind
from mastosync.runtime.steps import BlockingCall, Steps, run_to_end
from mastosync.store.base import PutOptions
from mastosync.store.probe import Removal
from mastosync.units import human_bytes

ACL_CHECKS = ("acl", "anonymous-read", "private")
_WRITTEN_CHECKS = ("apart", "read", "headers", "cache-control", "delete", "checksum", *ACL_CHECKS, "multipart")
DESTINATION_CHECKS = (*ACCESS_CHECKS, "missing-key", "write", *_WRITTEN_CHECKS)

_KIND = Kind(FOLDER, FOLDER, "original", FOLDER, remote=False, cached=False)
_PUBLIC, _PRIVATE = (
    Entry(_KIND, 1, name, None, optional=False, private=private, size=None)
    for name, private in (("public", False), ("private", True))
)


def check_destination(
    end: CheckedStore, options: TransferOptions, source: ComparedStore, *, from_disk: bool = False
) -> Findings[None]:
    """All checks of the destination. `source`: which must be another store; `from_disk`: it is a disk."""
    reporter = end.reporter
    access = yield from check_access(end)
    if access is None:
        yield from reporter.skipped(("missing-key", "write", *_WRITTEN_CHECKS), tr("the store cannot be used"))
        return
    probes = ProbeObjects(end)
    consequence = tr("after a crash, mastosync cannot check what has arrived: such objects fail as `denied`")
    if not (yield from check_missing_key(end, access, probes.first_key, consequence)):
        yield from reporter.skipped(("write", *_WRITTEN_CHECKS), tr("correct the endpoint first"))
        return
    with probes:
        yield from _check_writing(end, probes, options, source, from_disk=from_disk)
    if probes.left_behind:
        said = tr("a probe object, or its unfinished upload, may still be there")
        yield reporter.warning("left-behind", said, tr("remove {names}", names=enumerated(probes.left_behind)))


def _check_writing(
    end: CheckedStore, probes: ProbeObjects, options: TransferOptions, source: ComparedStore, *, from_disk: bool
) -> Findings[None]:
    reporter, headers = end.reporter, put_options(options)
    key = probes.key("object")
    try:
        etag = end.ask(end.store.write, key, DATA, MD5, headers)
    except STORE_ERRORS as error:
        remedy = tr("allow the key to write objects (s3:PutObject)") if isinstance(error, ObjectDenied) else ""
        yield reporter.failure("write", error, remedy)
        yield from reporter.skipped(_WRITTEN_CHECKS, tr("nothing can be written"))
        return
    storage_class = (
        tr(" with the storage class {storage_class}", storage_class=options.storage_class)
        if options.storage_class
        else ""
    )
    yield reporter.ok("write", tr("a probe object was written{storage_class}", storage_class=storage_class))
    apart = check_apart(reporter, end.ask, source, probes.name_of(key), end.prefix)
    yield apart
    if apart.grade is Grade.FAILURE:
        yield from reporter.skipped(_WRITTEN_CHECKS[1:], tr("nothing more is written, as this is the source"))
        return
    yield from _check_reading_back(end, key, headers)
    yield _cache_control(end, options.cache_control, from_disk=from_disk)
    yield from _check_delete(end, probes, key)
    yield from _check_checksum(end, probes, etag_is_md5=etag.lower() == MD5.hex())
    yield from check_acl(end, probes, options)
    yield from _check_multipart(end, probes, options)


def _check_reading_back(end: CheckedStore, key: str, sent: PutOptions) -> Findings[None]:
    reporter = end.reporter
    try:
        fetched = end.ask(end.store.read, key, len(DATA))
        kept = end.ask(end.store.head, key).headers
    except STORE_ERRORS as error:
        remedy = tr("allow the key to read objects (s3:GetObject): after a crash, mastosync checks what has arrived")
        yield reporter.warning("read", error.message, remedy if isinstance(error, ObjectDenied) else error.hint)
        yield from reporter.skipped(("headers",), tr("the object cannot be read"))
        return
    if fetched.data != DATA:
        yield reporter.failure(
            "read", tr("the probe object was read back with other bytes than were written"), tr("ask the provider")
        )
    else:
        yield reporter.ok("read", tr("it has the bytes that were written"))
    names = {"Content-Type": "content_type", "Cache-Control": "cache_control", "metadata": "metadata"}
    lost = [name for name, of in names.items() if getattr(kept, of) != getattr(sent.headers, of)]
    if lost:
        remedy = tr("set the headers that browsers need where the media are served (nginx, a CDN)")
        yield reporter.warning(
            "headers", tr("the store does not keep {names} of an object", names=enumerated(lost)), remedy
        )
    else:
        yield reporter.ok("headers", tr("Content-Type, Cache-Control and metadata are kept"))


def _cache_control(end: CheckedStore, given: str | None, *, from_disk: bool) -> Finding:
    """What browsers and caches will go by."""
    said = cache_control_message(given, from_disk=from_disk)
    if given or not from_disk:
        return end.reporter.ok("cache-control", said)
    return end.reporter.warning(
        "cache-control", said, tr("remove the empty `cache_control` of the destination, or let nginx or a CDN set one")
    )


def _check_delete(end: CheckedStore, probes: ProbeObjects, key: str) -> Findings[None]:
    reporter = end.reporter
    try:
        became = probes.remove(key)
    except STORE_ERRORS as error:
        said = tr("the key may not delete objects") if isinstance(error, ObjectDenied) else error.message
        remedy = tr("a copy does not need this right; remove the probe object by hand, or allow s3:DeleteObject")
        yield reporter.warning("delete", said, remedy)
        return
    if became is Removal.GONE:
        yield reporter.ok("delete", tr("it was deleted"))
    elif became is Removal.HIDDEN:
        said = tr(
            "the bucket keeps old versions, and not every version of the probe object could be deleted: it stays "
            "as a hidden old version"
        )
        yield reporter.warning(
            "delete", said, tr("let a lifecycle rule expire old versions, or allow s3:DeleteObjectVersion")
        )
    else:
        said = tr(
            "the bucket keeps old versions: when an object is replaced, made private or removed, its old version "
            "stays with its old ACL, for anybody who knows the version ID"
        )
        yield reporter.warning("delete", said, tr("let a lifecycle rule expire old versions, or suspend versioning"))


def _check_checksum(end: CheckedStore, probes: ProbeObjects, *, etag_is_md5: bool) -> Findings[None]:
    reporter, key = end.reporter, probes.key("damaged")
    try:
        taken = end.ask(end.probe.write_damaged, key, DATA)
    except STORE_ERRORS as error:
        yield reporter.warning("checksum", error.message, error.hint)
        return
    etag = tr("the ETag is the MD5") if etag_is_md5 else tr("the ETag is no MD5")
    if not taken:
        yield reporter.ok("checksum", tr("an upload with a wrong Content-MD5 is refused; {etag}", etag=etag))
        return
    said = tr("the store ignores Content-MD5: it accepted a damaged upload; {etag}", etag=etag)
    if etag_is_md5:
        yield reporter.ok("checksum", tr("{said}: mastosync compares it with the MD5 of every upload", said=said))
    elif end.probe.address.url.startswith("https:"):
        yield reporter.ok("checksum", tr("{said}, but TLS protects the bytes on the way", said=said))
    else:
        remedy = tr("use an https endpoint: nothing else proves that uploads arrive whole")
        yield reporter.warning("checksum", said, remedy)


def _check_multipart(end: CheckedStore, probes: ProbeObjects, options: TransferOptions) -> Findings[None]:
    reporter, key, store = end.reporter, probes.key("parts", in_parts=True), end.store
    threshold = human_bytes(options.multipart_threshold)
    try:
        upload = end.ask(store.start_multipart, key, put_options(options))
        part = end.ask(store.write_part, key, upload, 1, DATA, MD5)
        end.ask(store.complete_multipart, key, upload, [part])
        size = end.ask(store.head, key).size
    except STORE_ERRORS as error:
        said = tr(
            "objects larger than {threshold} are sent in parts, and that fails: {message}",
            threshold=threshold,
            message=error.message,
        )
        yield reporter.warning(
            "multipart",
            said,
            say(IN_ONE_PIECE),
        )
        return
    if size != len(DATA):
        said = tr(
            "an object of {length} bytes that was sent as one part has {size} bytes at the store",
            length=len(DATA),
            size=size,
        )
        yield reporter.failure(
            "multipart",
            said,
            say(IN_ONE_PIECE),
        )
        return
    try:
        unfinished = end.ask(store.start_multipart, key, put_options(options))
        end.ask(store.abort_multipart, key, unfinished)
    except STORE_ERRORS as error:
        remedy = tr("allow s3:AbortMultipartUpload, or set a lifecycle rule that removes incomplete uploads")
        yield reporter.warning(
            "multipart", tr("an upload in parts cannot be cancelled: {message}", message=error.message), remedy
        )
        return
    yield reporter.ok(
        "multipart",
        tr(
            "objects larger than {threshold} are sent in parts: completing and cancelling such an upload both work",
            threshold=threshold,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Written:
    """What became of a probe object, and would become of any object like it."""

    acl: str | None = None  # that it was written with
    public_at: str = ""  # where anybody can read it
    kept_back: bool = False
    refusal: ObjectError | StoreUnusable | None = None


def check_acl(end: CheckedStore, probes: ProbeObjects, options: TransferOptions) -> Findings[None]:
    """Write a public and a private object as a copy would, and look at them with a stranger's eyes."""
    reporter = end.reporter
    rule = AclRule(
        options.acl,
        copy_private_without_acl=options.copy_private_without_acl,
        trial=partial(_trial, end, probes, options),
        taken=options.acl_taken,
    )
    public, private = (_written_as_copy(end, probes, options, rule, entry) for entry in (_PUBLIC, _PRIVATE))
    if refusal := public.refusal or private.refusal:
        yield _acl_refused(end, refusal)
        yield from reporter.skipped(ACL_CHECKS[1:], tr("correct the ACLs first"))
        return
    yield _acl_accepted(end, options, rule.finding, public, private)
    yield _public_read(end, options, public)
    yield _private_read(end, options, private)


def _written_as_copy(
    end: CheckedStore, probes: ProbeObjects, options: TransferOptions, rule: AclRule, entry: Entry
) -> _Written:
    key = probes.key(entry.name, in_parts=True)
    sent: list[str | None] = []

    def write(with_acl: PutOptions) -> Steps[str]:
        sent.append(with_acl.acl)
        etag: str = yield BlockingCall(partial(end.ask, end.store.write, key, DATA, MD5, with_acl))
        return etag

    def steps() -> Steps[str]:
        yield from rule.allow(entry)
        etag: str = yield from rule.write(entry, put_options(options), write, WriteMethod.WHOLE)
        return etag

    try:
        etag = run_to_end(steps())
        return _Written(sent[-1], _public_at(end, entry, key, etag))
    except PrivateKeptBack:
        return _Written(kept_back=True)
    except STORE_ERRORS as error:
        return _Written(refusal=error)


def _public_at(end: CheckedStore, entry: Entry, key: str, etag: str) -> str:
    """Where anybody can read an object: a public one as it was written, a private one in any form."""
    public = end.ask(end.store.anybody_reads, key) if entry.private else end.ask(end.probe.is_public, key, etag)
    if public:
        return end.store.endpoint
    return end.probe.public_address(key, MD5) if entry.private else ""


def _trial(
    end: CheckedStore, probes: ProbeObjects, options: TransferOptions, entry: Entry, acl: str | None
) -> BlockingCall:
    key = probes.key(entry.name, in_parts=True)

    def begin_in_vain() -> None:
        upload = end.ask(end.store.start_multipart, key, put_options(options, acl))
        with suppress(*STORE_ERRORS):  # what is left is removed in the end
            end.ask(end.store.abort_multipart, key, upload)

    return BlockingCall(begin_in_vain)


def _acl_refused(end: CheckedStore, refusal: ObjectError | StoreUnusable) -> Finding:
    """The end of a copy, or of every object: as an object could be written without an ACL, it is the ACL."""
    if not isinstance(refusal, ObjectDenied):
        return end.reporter.failure("acl", refusal)
    return end.reporter.failure(
        "acl",
        tr(
            "the key may write objects, but not with an ACL: each would fail as `denied` ({message})",
            message=refusal.message,
        ),
        tr(
            "allow the key to set ACLs (s3:PutObjectAcl; on Amazon S3, Block Public Access must allow them), or "
            "set `acl = auto` or `acl = none` for the destination"
        ),
    )


def _acl_accepted(
    end: CheckedStore, options: TransferOptions, found: str | None, public: _Written, private: _Written
) -> Finding:
    reporter = end.reporter
    if found is None:
        if public.acl is None:
            known = "acl = none" if options.acl is AclMode.NONE else tr("this provider has no ACLs")
            return reporter.ok("acl", tr("no ACL is sent ({known})", known=known))
        taken = sorted({str(public.acl), str(private.acl)})
        return reporter.ok("acl", tr("the store accepts the ACLs {acls}", acls=enumerated(taken)))
    if_it_should = tr("if the store supports ACLs, allow the key to set them (s3:PutObjectAcl)")
    remedy = tr("{if_it_should}; else leave it as it is", if_it_should=if_it_should)
    if private.kept_back:
        of_private = tr("are not copied (`skipped`, with the reason `private`)")
        remedy = tr(
            "decide what to do with them: see `[copy] private_objects` in the configuration; {if_it_should}",
            if_it_should=if_it_should,
        )
    else:
        of_private = (
            tr("are written without an ACL (private_objects = copy)")
            if private.acl is None
            else tr("are written as private")
        )
    of_public = tr("are written without an ACL") if public.acl is None else tr("are written as {acl}", acl=public.acl)
    return reporter.warning(
        "acl",
        tr(
            "{found}; public objects {of_public}, private ones {of_private}",
            found=say(found),
            of_public=of_public,
            of_private=of_private,
        ),
        remedy,
    )


def _public_read(end: CheckedStore, options: TransferOptions, public: _Written) -> Finding:
    """What becomes of public objects."""
    reporter = end.reporter
    if options.acl is AclMode.PRIVATE:
        return reporter.ok("anonymous-read", tr("every object will be private (acl = private)"))
    if public.public_at:
        return reporter.ok("anonymous-read", tr("anybody can read a public object"))
    return reporter.warning(
        "anonymous-read",
        tr("a public object cannot be read here without credentials, but browsers and other servers will try to"),
        tr(
            "fine if Mastodon serves media from elsewhere (S3_ALIAS_HOST: a CDN, nginx) that may read "
            "the bucket; else allow everybody to read objects (s3:GetObject) by a policy of the bucket"
        ),
    )


def _private_read(end: CheckedStore, options: TransferOptions, private: _Written) -> Finding:
    """What becomes of private objects: backups, and media of suspended accounts and removed posts."""
    reporter = end.reporter
    if private.kept_back:
        return reporter.ok(
            "private", tr("private objects are not copied (private_objects = skip), so none becomes public")
        )
    if not (private.public_at or options.serves_strangers or options.copy_private_without_acl):
        return reporter.failure("private", cannot_check(end.store.name))
    if not private.public_at:
        return reporter.ok("private", tr("nobody can read a private object without credentials"))
    if private.public_at != end.store.endpoint:
        said = tr("anybody can read a private object at {url} (`public_url`)", url=private.public_at)
        remedy = tr(
            "the server of the media (nginx, a CDN) must read the bucket without credentials of its own, or "
            "refuse private objects; or set `acl = none` and `[copy] private_objects = skip`"
        )
    elif private.acl is not None:
        said = tr("anybody can read an object that was written as private")
        remedy = say(PRIVATE_IS_PUBLIC_REMEDY)
    else:
        said = tr(
            "anybody can read an object that is written without an ACL, and private objects would be written so "
            "(private_objects = copy)"
        )
        remedy = tr("set `[copy] private_objects = skip`, or remove the right to read from everybody")
    return reporter.failure(
        "private", tr("{said}: backups and media that moderators made private would become public", said=said), remedy
    )
