"""What both stores are asked: whether they can be reached, know us, and have the bucket.

How `doctor` asks: hardly patient, as it is to be done within seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit

from mastosync.doctor.findings import Chart, Finding, Findings
from mastosync.doctor.machine import is_this_machine
from mastosync.errors import Interrupted, ObjectDenied, ObjectError, ObjectMissing, StoreUnusable, Throttled
from mastosync.language import joined, tr
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import ObjectStore
from mastosync.store.probe import Culprit, Greeting
from mastosync.units import human_seconds

if TYPE_CHECKING:
    from mastosync.store.s3.probe import S3Probe

P = ParamSpec("P")
T = TypeVar("T")

_SLOW_SECONDS = 3.0
_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 5.0  # whatever a store asks for


class Patience:
    """Makes a request, and makes it once more if what went wrong may pass by itself.

    A copy has far more patience; what fails twice in a row here is worth knowing before it. What
    took its time to fail, a time-out above all, is not repeated.
    """

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop

    def __call__(self, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises: what the request raises; Interrupted if asked to stop before or in between."""
        if self._stop.requested:
            raise stopped()
        begin = time.monotonic()
        try:
            return request(*args, **kwargs)
        except ObjectError as error:
            if not error.transient or time.monotonic() - begin > _SLOW_SECONDS:
                raise
            self._stop.sleep(_wait_after(error))
        return request(*args, **kwargs)


def stopped() -> Interrupted:
    """The end, if somebody asked for it."""
    return Interrupted(tr("stopped on request"), hint=tr("nothing is left to clean up: run the same command again"))


def _wait_after(error: ObjectError) -> float:
    asked = error.retry_after_seconds if isinstance(error, Throttled) else None
    return min(_WAIT_SECONDS if asked is None else asked, _LONGEST_WAIT_SECONDS)


ACCESS_CHECKS = ("endpoint", "clock", "credentials", "bucket", "addressing", "anonymous-list")

STORE_ERRORS = (ObjectError, StoreUnusable)
"""What a store may answer with. The wish to stop is not among them."""

_CLOCK_WARNING_SECONDS = 60.0
_CLOCK_FAILURE_SECONDS = 300.0  # stores refuse signatures at fifteen minutes, and clocks that drift drift on


@dataclass(frozen=True, slots=True)
class CheckedStore:
    """One of the two stores, and how it is asked."""

    chart: Chart
    store: ObjectStore  # as a copy uses it
    probe: S3Probe
    ask: Patience
    prefix: str  # of all keys; may be empty
    of_keys: str = ""  # what may have happened to the access key, if it is refused; empty: nobody knows


@dataclass(frozen=True, slots=True)
class BucketAccess:
    """What is known of a store that can be used."""

    may_list: bool
    first_key: str  # of an object under the prefix; empty where none is known


def check_access(end: CheckedStore) -> Findings[BucketAccess | None]:
    """Go through the doors, one after the other. Returns: None if one of them is closed."""
    try:
        greeting = end.ask(end.probe.greet)
    except STORE_ERRORS as error:
        # a host name that holds the bucket's may be one that nobody has
        remedy = _other_style(end) if end.probe.address.style == "virtual" else ""
        yield end.chart.failure("endpoint", error, remedy)
        yield from end.chart.skipped(ACCESS_CHECKS[1:], tr("the store cannot be reached"))
        return None
    refusal = _refusal(end)
    culprit = end.probe.culprit(refusal) if refusal else None
    if refusal and culprit is Culprit.ENDPOINT:
        yield end.chart.failure("endpoint", refusal, _other_style(end))
    else:
        yield _reached(end, greeting)
    yield _clock(end, greeting)
    if refusal:
        yield from _closed(end, refusal, culprit)
        return None
    yield end.chart.ok("credentials", tr("the store accepts them"))
    return (yield from _check_bucket(end, greeting))


def check_missing_key(end: CheckedStore, access: BucketAccess, key: str, consequence: str) -> Findings[bool]:
    """How a key is answered that nobody has written. Returns: False if the store makes objects up."""
    chart = end.chart
    try:
        end.ask(end.store.read, key, 1)
    except ObjectMissing:
        yield chart.ok("missing-key", tr("a missing object answers 404, as it should"))
    except ObjectDenied:
        remedy = tr("allow the key to list the bucket")
        if not access.may_list:
            remedy = tr(
                "allow the key to list the bucket (s3:ListBucket): without this right, a store does not say that "
                "an object is missing"
            )
        yield chart.warning(
            "missing-key",
            tr("a missing object answers 403 instead of 404: {consequence}", consequence=consequence),
            remedy,
        )
    except STORE_ERRORS as error:
        yield chart.failure("missing-key", error)
    else:
        yield chart.failure(
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


def _closed(end: CheckedStore, refusal: ObjectError | StoreUnusable, culprit: Culprit | None) -> Findings[None]:
    chart = end.chart
    if culprit is Culprit.ENDPOINT:
        yield from chart.skipped(ACCESS_CHECKS[2:], tr("correct the endpoint first"))
    elif culprit is Culprit.CREDENTIALS:
        hint = _with_region(end, refusal)
        yield chart.failure("credentials", refusal, joined([hint, end.of_keys]) if end.of_keys else hint)
        yield from chart.skipped(ACCESS_CHECKS[3:], tr("correct the credentials first"))
    else:
        yield from chart.skipped(("credentials",), tr("correct the bucket first"))
        yield chart.failure("bucket", refusal, _other_style(end))
        yield from chart.skipped(ACCESS_CHECKS[4:], tr("correct the bucket first"))


def _check_bucket(end: CheckedStore, greeting: Greeting) -> Findings[BucketAccess | None]:
    chart = end.chart
    access = None
    try:
        keys = end.ask(end.probe.keys, f"{end.prefix}/" if end.prefix else "", 1)
        access = BucketAccess(may_list=True, first_key=keys[0] if keys else "")
        yield chart.ok("bucket", tr("it exists, and the key may list it"))
    except ObjectDenied as error:
        if remedy := _other_style(end):
            yield from chart.skipped(("bucket",), tr("correct the addressing first"))
            yield chart.failure("addressing", error, remedy)
            yield from chart.skipped(("anonymous-list",), tr("correct the addressing first"))
            return None
        access = BucketAccess(may_list=False, first_key="")
        yield chart.ok("bucket", tr("it seems to exist: this key may not list it, so nothing more can be said"))
    except STORE_ERRORS as error:
        yield chart.failure("bucket", error)
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
        return end.chart.warning(
            "endpoint",
            tr("{said}; its certificate is not checked, so it may be another server", said=said),
            tr(
                "remove `verify_tls`, and set `ca_bundle` to a file with the certificate of the authority that "
                "signed the store's"
            ),
        )
    if url.scheme == "https":
        return end.chart.ok("endpoint", said)
    if is_this_machine(url.hostname or ""):
        return end.chart.ok("endpoint", tr("{said}; requests are not encrypted", said=said))
    return end.chart.warning(
        "endpoint",
        tr(
            "{said}; requests are not encrypted: anybody on the way can read objects, and change them before they "
            "are checked",
            said=said,
        ),
        tr("use https:// in `endpoint_url`, if the store offers it; the secret key is never sent, only signatures"),
    )


def _clock(end: CheckedStore, greeting: Greeting) -> Finding:
    ahead, chart = greeting.clock_ahead_seconds, end.chart
    if ahead is None:
        return next(iter(chart.skipped(("clock",), tr("the store does not send its time"))))
    off = abs(ahead)
    if off < _CLOCK_WARNING_SECONDS:
        return chart.ok(
            "clock", tr("the clocks of this machine and of the store differ by at most {off} s", off=math.ceil(off))
        )
    said = (
        tr("the clock of this machine is {duration} behind the store's", duration=human_seconds(off))
        if ahead > 0
        else tr("the clock of this machine is {duration} ahead of the store's", duration=human_seconds(off))
    )
    remedy = tr("set the clock (with NTP): signatures are refused when it is off by fifteen minutes")
    if off > _CLOCK_FAILURE_SECONDS:
        return chart.failure("clock", said, remedy)
    return chart.warning("clock", said, remedy)


def _addressing(end: CheckedStore) -> Finding:
    address, chart = end.probe.address, end.chart
    where = tr(
        "{style}: objects are at {url}KEY, signed for the region {region}",
        style=address.style,
        url=address.url,
        region=address.region,
    )
    url = urlsplit(address.url)
    *above, bucket = url.path.rstrip("/").split("/")
    if address.style == "path" and ((url.hostname or "").startswith(f"{bucket.lower()}.") or bucket in above):
        return chart.warning(
            "addressing",
            tr("{where}, so the bucket is named twice", where=where),
            tr("if objects are not found, leave {bucket!r} out of `endpoint_url`", bucket=bucket),
        )
    return chart.ok("addressing", where)


def _anonymous_list(end: CheckedStore, greeting: Greeting) -> Finding:
    if not greeting.lists:
        return end.chart.ok("anonymous-list", tr("nobody can list the bucket without credentials"))
    return end.chart.warning(
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
