"""Who can read what is written: ACLs as the destination takes them, and what they are worth."""

from __future__ import annotations

from dataclasses import dataclass

from mastosync.engine.acl import AclMode
from mastosync.engine.doctor.access import STORE_ERRORS, End
from mastosync.engine.doctor.findings import Finding, Findings
from mastosync.engine.doctor.probes import DATA, MD5, ProbeObjects, put_options
from mastosync.engine.transfer import TransferOptions
from mastosync.errors import AclUnsupported, ObjectDenied

ACL_CHECKS = ("acl", "anonymous-read", "private")

_WANTED = {
    AclMode.AUTO: ("public-read", "private"),
    AclMode.PUBLIC_READ: ("public-read", "private"),
    AclMode.PRIVATE: ("private",),
    AclMode.NONE: (),
}


@dataclass(frozen=True, slots=True)
class _Trial:
    """What came of an object with an ACL."""

    refusal: AclUnsupported | ObjectDenied | None
    public: bool  # anybody could read it


def check_acl(end: End, probes: ProbeObjects, options: TransferOptions, *, public_without_acl: bool) -> Findings[None]:
    """Write with each ACL that a copy would send, and look at the objects with a stranger's eyes.

    An object has been written without any before: what is refused now is refused for its ACL.
    """
    chart = end.chart
    try:
        trials = {acl: _try(end, probes, options, acl) for acl in _wanted(options)}
    except STORE_ERRORS as error:
        yield chart.failure("acl", error)
        yield from chart.skipped(ACL_CHECKS[1:], "the ACLs come first")
        return
    refused = {acl: trial.refusal for acl, trial in trials.items() if trial.refusal}
    denied = next((acl for acl, refusal in refused.items() if isinstance(refusal, ObjectDenied)), None)
    if denied and options.acl is not AclMode.AUTO:  # a copy with `auto` finds out what such an answer means
        yield _denied(end, denied, refused[denied])
        yield from chart.skipped(ACL_CHECKS[1:], "the ACLs come first")
        return
    yield _verdict(end, options, refused)
    if refused or not trials:
        yield _anonymous_read(end, options, public_without_acl)
        yield _private(end, options, public_without_acl, with_acl=False)
    else:
        yield _anonymous_read(end, options, "public-read" in trials and trials["public-read"].public)
        yield _private(end, options, trials["private"].public, with_acl=True)


def _wanted(options: TransferOptions) -> tuple[str, ...]:
    """The ACLs that a copy would send."""
    known_for_none = options.acl is AclMode.AUTO and options.acl_taken is False
    return () if known_for_none else _WANTED[options.acl]


def _try(end: End, probes: ProbeObjects, options: TransferOptions, acl: str) -> _Trial:
    key = probes.key(acl)
    try:
        etag = end.ask(end.store.write, key, DATA, MD5, put_options(options, acl))
    except (AclUnsupported, ObjectDenied) as error:
        return _Trial(error, public=False)
    return _Trial(None, end.ask(end.probe.is_public, key, etag))


def _denied(end: End, acl: str, refusal: AclUnsupported | ObjectDenied | None) -> Finding:
    said = refusal.message if refusal else ""
    return end.chart.failure(
        "acl",
        f"the key may write objects, but not with the ACL {acl}: every such object would fail as `denied` ({said})",
        "allow the key to set ACLs (s3:PutObjectAcl; on Amazon S3, Block Public Access must let them pass), or set "
        "`acl = none` for the destination",
    )


def _verdict(end: End, options: TransferOptions, refused: dict[str, AclUnsupported | ObjectDenied]) -> Finding:
    chart = end.chart
    wanted = " and ".join(_wanted(options))
    if not wanted:
        why = "acl = none" if options.acl is AclMode.NONE else "the provider is known to have none"
        return chart.ok("acl", f"none is sent ({why})")
    if not refused:
        return chart.ok("acl", f"objects are taken as {wanted}")
    (acl, refusal), *_ = refused.items()
    said = f"the store does not take the ACL {acl} ({refusal.message})"
    if options.acl is not AclMode.AUTO:
        return chart.failure("acl", said, "set `acl = auto` or `acl = none` for the destination")
    if options.copy_private_without_acl:
        private = "private ones as well (private_objects = copy)"
        remedy = "set `acl = none` to say so at once"
    else:
        private = "private ones stay behind, `skipped` with the reason `private`"
        remedy = "decide what is to become of private objects: see `[copy] private_objects`"
    return chart.warning("acl", f"{said}: public objects are copied without one, {private}", remedy)


def _anonymous_read(end: End, options: TransferOptions, public: bool) -> Finding:
    """What becomes of public objects."""
    chart = end.chart
    if options.acl is AclMode.PRIVATE:
        return chart.ok("anonymous-read", "every object will be private (acl = private)")
    if public:
        return chart.ok("anonymous-read", "anybody can read a public object")
    return chart.warning(
        "anonymous-read",
        "a public object cannot be read here without credentials, as browsers and other servers will try to",
        "fine if Mastodon serves media from elsewhere (S3_ALIAS_HOST: a CDN, nginx) that may read the bucket; else "
        "allow everybody to read objects (s3:GetObject) by a policy of the bucket",
    )


def _private(end: End, options: TransferOptions, public: bool, *, with_acl: bool) -> Finding:
    """What becomes of private objects: backups, and media of suspended accounts."""
    chart = end.chart
    if not with_acl and not options.copy_private_without_acl:
        return chart.ok("private", "private objects are not copied (private_objects = skip), so none becomes public")
    if not public:
        return chart.ok("private", "nobody can read a private object without credentials")
    if with_acl:
        said = "anybody can read an object that was written as private"
        remedy = (
            "a policy of the bucket makes everything public, whatever its ACL: take it away, as objects become public "
            "by their own ACL; or set `acl = none` and `[copy] private_objects = skip`"
        )
    else:
        said = "anybody can read what is written without an ACL, and private objects would be (private_objects = copy)"
        remedy = "set `[copy] private_objects = skip`, or take the right to read away from everybody"
    return chart.failure("private", f"{said}: backups and media of suspended accounts would become public", remedy)
