"""The destination: whether it takes objects as a copy will send them. Probe objects tell, and are removed again."""

from __future__ import annotations

from mastosync.copying.transfer import TransferOptions
from mastosync.doctor.access import ACCESS_CHECKS, STORE_ERRORS, CheckedStore, check_access, check_missing_key
from mastosync.doctor.acl import ACL_CHECKS, check_acl
from mastosync.doctor.findings import Finding, Findings, Grade
from mastosync.doctor.probes import DATA, MD5, OtherStore, ProbeObjects, check_apart, put_options
from mastosync.errors import ObjectDenied
from mastosync.findings.shared import cache_control_told
from mastosync.language import enumerated, tr
from mastosync.store.base import PutOptions
from mastosync.store.probe import Removal
from mastosync.units import human_bytes

_WRITTEN_CHECKS = ("apart", "read", "headers", "cache-control", "delete", "checksum", *ACL_CHECKS, "multipart")
DESTINATION_CHECKS = (*ACCESS_CHECKS, "missing-key", "write", *_WRITTEN_CHECKS)


def check_destination(
    end: CheckedStore, options: TransferOptions, source: OtherStore, *, from_disk: bool = False
) -> Findings[None]:
    """All checks of the destination. `source`: which must be another store; `from_disk`: it is a disk."""
    chart = end.chart
    access = yield from check_access(end)
    if access is None:
        yield from chart.skipped(("missing-key", "write", *_WRITTEN_CHECKS), tr("the store cannot be used"))
        return
    probes = ProbeObjects(end)
    consequence = tr("after a crash, mastosync cannot check what has arrived: such objects fail as `denied`")
    if not (yield from check_missing_key(end, access, probes.first_key, consequence)):
        yield from chart.skipped(("write", *_WRITTEN_CHECKS), tr("correct the endpoint first"))
        return
    with probes:
        yield from _check_writing(end, probes, options, source, from_disk=from_disk)
    if probes.left_behind:
        said = tr("a probe object, or its unfinished upload, may still be there")
        yield chart.warning("left-behind", said, tr("remove {names}", names=enumerated(probes.left_behind)))


def _check_writing(
    end: CheckedStore, probes: ProbeObjects, options: TransferOptions, source: OtherStore, *, from_disk: bool
) -> Findings[None]:
    chart, headers = end.chart, put_options(options)
    key = probes.key("object")
    try:
        etag = end.ask(end.store.write, key, DATA, MD5, headers)
    except STORE_ERRORS as error:
        remedy = tr("allow the key to write objects (s3:PutObject)") if isinstance(error, ObjectDenied) else ""
        yield chart.failure("write", error, remedy)
        yield from chart.skipped(_WRITTEN_CHECKS, tr("nothing can be written"))
        return
    storage_class = (
        tr(" with the storage class {storage_class}", storage_class=options.storage_class)
        if options.storage_class
        else ""
    )
    yield chart.ok("write", tr("a probe object was written{storage_class}", storage_class=storage_class))
    apart = check_apart(chart, end.ask, source, probes.name_of(key), end.prefix)
    yield apart
    if apart.grade is Grade.FAILURE:
        yield from chart.skipped(_WRITTEN_CHECKS[1:], tr("nothing more is written, as this is the source"))
        return
    yield from _check_reading_back(end, key, headers)
    yield _cache_control(end, options.cache_control, from_disk=from_disk)
    yield from _check_delete(end, probes, key)
    yield from _check_checksum(end, probes, etag_is_md5=etag.lower() == MD5.hex())
    yield from check_acl(end, probes, options)
    yield from _check_multipart(end, probes, options)


def _check_reading_back(end: CheckedStore, key: str, sent: PutOptions) -> Findings[None]:
    chart = end.chart
    try:
        fetched = end.ask(end.store.read, key, len(DATA))
        kept = end.ask(end.store.head, key).headers
    except STORE_ERRORS as error:
        remedy = tr("allow the key to read objects (s3:GetObject): after a crash, mastosync checks what has arrived")
        yield chart.warning("read", error.message, remedy if isinstance(error, ObjectDenied) else error.hint)
        yield from chart.skipped(("headers",), tr("the object cannot be read"))
        return
    if fetched.data != DATA:
        yield chart.failure(
            "read", tr("the probe object was read back with other bytes than were written"), tr("ask the provider")
        )
    else:
        yield chart.ok("read", tr("it has the bytes that were written"))
    wanted = sent.headers
    lost = [
        name
        for name, same in (
            ("Content-Type", kept.content_type == wanted.content_type),
            ("Cache-Control", kept.cache_control == wanted.cache_control),
            ("metadata", kept.metadata == wanted.metadata),
        )
        if not same
    ]
    if lost:
        remedy = tr("set the headers that browsers need where the media are served (nginx, a CDN)")
        yield chart.warning(
            "headers", tr("the store does not keep {names} of an object", names=enumerated(lost)), remedy
        )
    else:
        yield chart.ok("headers", tr("Content-Type, Cache-Control and metadata are kept"))


def _cache_control(end: CheckedStore, given: str | None, *, from_disk: bool) -> Finding:
    """What browsers and caches will go by."""
    said = cache_control_told(given, from_disk=from_disk)
    if given or not from_disk:
        return end.chart.ok("cache-control", said)
    return end.chart.warning(
        "cache-control", said, tr("remove the empty `cache_control` of the destination, or let nginx or a CDN set one")
    )


def _check_delete(end: CheckedStore, probes: ProbeObjects, key: str) -> Findings[None]:
    chart = end.chart
    try:
        became = probes.remove(key)
    except STORE_ERRORS as error:
        said = tr("the key may not delete objects") if isinstance(error, ObjectDenied) else error.message
        remedy = tr("a copy does not need this right; remove the probe object by hand, or allow s3:DeleteObject")
        yield chart.warning("delete", said, remedy)
        return
    if became is Removal.GONE:
        yield chart.ok("delete", tr("it was deleted"))
    elif became is Removal.HIDDEN:
        said = tr(
            "the bucket keeps old versions, and not every version of the probe object could be deleted: it stays "
            "as a hidden old version"
        )
        yield chart.warning(
            "delete", said, tr("let a lifecycle rule expire old versions, or allow s3:DeleteObjectVersion")
        )
    else:
        said = tr(
            "the bucket keeps old versions: when an object is replaced, made private or removed, its old version "
            "stays with its old ACL, for anybody who knows the version ID"
        )
        yield chart.warning("delete", said, tr("let a lifecycle rule expire old versions, or suspend versioning"))


def _check_checksum(end: CheckedStore, probes: ProbeObjects, *, etag_is_md5: bool) -> Findings[None]:
    chart, key = end.chart, probes.key("damaged")
    try:
        taken = end.ask(end.probe.write_damaged, key, DATA)
    except STORE_ERRORS as error:
        yield chart.warning("checksum", error.message, error.hint)
        return
    etag = tr("the ETag is the MD5") if etag_is_md5 else tr("the ETag is no MD5")
    if not taken:
        yield chart.ok("checksum", tr("an upload with a wrong Content-MD5 is refused; {etag}", etag=etag))
        return
    said = tr("the store ignores Content-MD5: it accepted a damaged upload; {etag}", etag=etag)
    if etag_is_md5:
        yield chart.ok("checksum", tr("{said}: mastosync compares it with the MD5 of every upload", said=said))
    elif end.probe.address.url.startswith("https:"):
        yield chart.ok("checksum", tr("{said}, but TLS protects the bytes on the way", said=said))
    else:
        remedy = tr("use an https endpoint: nothing else proves that uploads arrive whole")
        yield chart.warning("checksum", said, remedy)


def _check_multipart(end: CheckedStore, probes: ProbeObjects, options: TransferOptions) -> Findings[None]:
    chart, key, store = end.chart, probes.key("parts", in_parts=True), end.store
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
        yield chart.warning(
            "multipart", said, tr("raise `multipart_threshold` above the largest object (5 GiB at most)")
        )
        return
    if size != len(DATA):
        said = tr(
            "an object of {length} bytes that was sent as one part has {size} bytes at the store",
            length=len(DATA),
            size=size,
        )
        yield chart.failure(
            "multipart", said, tr("raise `multipart_threshold` above the largest object, and ask the provider")
        )
        return
    try:
        unfinished = end.ask(store.start_multipart, key, put_options(options))
        end.ask(store.abort_multipart, key, unfinished)
    except STORE_ERRORS as error:
        remedy = tr("allow s3:AbortMultipartUpload, or set a lifecycle rule that removes incomplete uploads")
        yield chart.warning(
            "multipart", tr("an upload in parts cannot be cancelled: {message}", message=error.message), remedy
        )
        return
    yield chart.ok(
        "multipart",
        tr(
            "objects larger than {threshold} are sent in parts: completing and cancelling such an upload both work",
            threshold=threshold,
        ),
    )
