"""Who can read what is written: probe objects get the ACLs that a copy would give them, by the rule of a copy."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from mastosync.checking.privacy_proof import PRIVATE_IS_PUBLIC_REMEDY, Storing, untold
from mastosync.copying.acl import AclMode, AclRule, PrivateKeptBack
from mastosync.copying.transfer import TransferOptions
from mastosync.doctor.access import STORE_ERRORS, CheckedStore
from mastosync.doctor.findings import Finding, Findings
from mastosync.doctor.probes import DATA, FOLDER, MD5, ProbeObjects, put_options
from mastosync.errors import ObjectDenied, ObjectError, StoreUnusable
from mastosync.language import enumerated, say, tr
from mastosync.model import Entry, Kind
from mastosync.runtime.steps import BlockingCall, Steps, run_to_end
from mastosync.store.base import PutOptions

ACL_CHECKS = ("acl", "anonymous-read", "private")

_KIND = Kind(FOLDER, FOLDER, "original", FOLDER, remote=False, cached=False)
_PUBLIC, _PRIVATE = (
    Entry(_KIND, 1, name, None, optional=False, private=private, size=None)
    for name, private in (("public", False), ("private", True))
)


@dataclass(frozen=True, slots=True)
class _Fate:
    """What became of a probe object, and would become of any object like it."""

    acl: str | None = None  # that it was written with
    public_at: str = ""  # where anybody can read it
    kept_back: bool = False
    refusal: ObjectError | StoreUnusable | None = None


def check_acl(end: CheckedStore, probes: ProbeObjects, options: TransferOptions) -> Findings[None]:
    """Write a public and a private object as a copy would, and look at them with a stranger's eyes."""
    chart = end.chart
    rule = AclRule(
        options.acl,
        copy_private_without_acl=options.copy_private_without_acl,
        trial=partial(_trial, end, probes, options),
        taken=options.acl_taken,
    )
    public, private = (_fate(end, probes, options, rule, entry) for entry in (_PUBLIC, _PRIVATE))
    if refusal := public.refusal or private.refusal:
        yield _refused(end, refusal)
        yield from chart.skipped(ACL_CHECKS[1:], tr("correct the ACLs first"))
        return
    yield _verdict(end, options, rule.finding, public, private)
    yield _anonymous_read(end, options, public)
    yield _private(end, options, private)


def _fate(end: CheckedStore, probes: ProbeObjects, options: TransferOptions, rule: AclRule, entry: Entry) -> _Fate:
    key = probes.key(entry.name, in_parts=True)
    sent: list[str | None] = []

    def write(with_acl: PutOptions) -> BlockingCall:
        sent.append(with_acl.acl)
        return BlockingCall(partial(end.ask, end.store.write, key, DATA, MD5, with_acl))

    def written(with_acl: PutOptions) -> Steps[str]:
        etag: str = yield write(with_acl)
        return etag

    def steps() -> Steps[str]:
        yield from rule.allow(entry)
        etag: str = yield from rule.written(entry, put_options(options), written, Storing.WHOLE)
        return etag

    try:
        etag = run_to_end(steps())
        return _Fate(sent[-1], _public_at(end, entry, key, etag))
    except PrivateKeptBack:
        return _Fate(kept_back=True)
    except STORE_ERRORS as error:
        return _Fate(refusal=error)


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


def _refused(end: CheckedStore, refusal: ObjectError | StoreUnusable) -> Finding:
    """The end of a copy, or of every object: as an object could be written without an ACL, it is the ACL."""
    if not isinstance(refusal, ObjectDenied):
        return end.chart.failure("acl", refusal)
    return end.chart.failure(
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


def _verdict(end: CheckedStore, options: TransferOptions, found: str | None, public: _Fate, private: _Fate) -> Finding:
    chart = end.chart
    if found is None:
        if public.acl is None:
            known = "acl = none" if options.acl is AclMode.NONE else tr("this provider has no ACLs")
            return chart.ok("acl", tr("no ACL is sent ({known})", known=known))
        taken = sorted({str(public.acl), str(private.acl)})
        return chart.ok("acl", tr("the store accepts the ACLs {acls}", acls=enumerated(taken)))
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
    return chart.warning(
        "acl",
        tr(
            "{found}; public objects {of_public}, private ones {of_private}",
            found=say(found),
            of_public=of_public,
            of_private=of_private,
        ),
        remedy,
    )


def _anonymous_read(end: CheckedStore, options: TransferOptions, public: _Fate) -> Finding:
    """What becomes of public objects."""
    chart = end.chart
    if options.acl is AclMode.PRIVATE:
        return chart.ok("anonymous-read", tr("every object will be private (acl = private)"))
    if public.public_at:
        return chart.ok("anonymous-read", tr("anybody can read a public object"))
    return chart.warning(
        "anonymous-read",
        tr("a public object cannot be read here without credentials, but browsers and other servers will try to"),
        tr(
            "fine if Mastodon serves media from elsewhere (S3_ALIAS_HOST: a CDN, nginx) that may read "
            "the bucket; else allow everybody to read objects (s3:GetObject) by a policy of the bucket"
        ),
    )


def _private(end: CheckedStore, options: TransferOptions, private: _Fate) -> Finding:
    """What becomes of private objects: backups, and media of suspended accounts and removed posts."""
    chart = end.chart
    if private.kept_back:
        return chart.ok(
            "private", tr("private objects are not copied (private_objects = skip), so none becomes public")
        )
    if not (private.public_at or options.serves_strangers or options.copy_private_without_acl):
        return chart.failure("private", untold(end.store.name))
    if not private.public_at:
        return chart.ok("private", tr("nobody can read a private object without credentials"))
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
    return chart.failure(
        "private", tr("{said}: backups and media that moderators made private would become public", said=said), remedy
    )
