"""What can go wrong between a client and an S3 store, and when it does.

A fault plan is any callable from a `Request` to a `Fault` (or None: nothing goes wrong). `first`,
`carrying`, `seeded` and `either` make the usual ones; a test's own function does as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import Enum
from fnmatch import fnmatchcase
from xml.sax.saxutils import escape


class Kind(Enum):
    """How a request goes wrong."""

    ANSWER = "the store is never asked; the fault's own answer is given"
    RESET = "the store is never asked; the connection is reset"
    RESET_IN_UPLOAD = "half of the request's body is taken, then the connection is reset; the store is never asked"
    LOST_ANSWER = "the store does as asked, and the connection is reset before its answer"
    OTHER_ANSWER = "the store does as asked, and the fault's own answer is given instead of its own"
    RESET_IN_BODY = "half of the answer's body arrives, then the connection is reset"
    RESET_AFTER_BODY = "the whole answer is sent, then the connection is reset"
    TRUNCATED_BODY = "half of the answer's body arrives, then the connection is closed in good order"
    DAMAGED_DOWNLOAD = "one byte of the answer's body is another"
    DAMAGED_UPLOAD = "one byte of the request's body is another when it reaches the store"
    OTHER_HEADERS = "the store gets some headers with other values than the client's, and answers what it likes"
    DELAY = "nothing happens for a while, then all is well"
    STALL_IN_BODY = "half of the answer's body arrives, nothing for a while, then the rest"
    DRIP = "the answer's body arrives in small pieces, with a pause before each"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. Faults of the answer's body let an answer without a body pass."""

    kind: Kind
    status: int = 0  # of an ANSWER or OTHER_ANSWER
    code: str = ""  # S3's word for it; without one the body is a page of HTML
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0  # of a DELAY, STALL_IN_BODY or (all pauses together) DRIP
    message: str = "injected by the lab"  # of an ANSWER with a code

    def __str__(self) -> str:
        """As it is called in reports."""
        if self.kind not in (Kind.ANSWER, Kind.OTHER_ANSWER):
            return self.kind.name.lower().replace("_", " ")
        wait = "".join(f" with {name}" for name, _ in self.headers)
        done = " though it was done" if self.kind is Kind.OTHER_ANSWER else ""
        return f"{self.status} {self.code or 'in HTML'}{wait}{done}"

    def body(self, key: str) -> tuple[str, bytes]:
        """Content type and body of an ANSWER."""
        if not self.code:
            return "text/html", f"<html><body><h1>{self.status}</h1></body></html>".encode()
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message>"
            f"<Key>{escape(key)}</Key><RequestId>lab</RequestId></Error>"
        )
        return "application/xml", xml.encode()


RESET = Fault(Kind.RESET)
RESET_IN_UPLOAD = Fault(Kind.RESET_IN_UPLOAD)
LOST_ANSWER = Fault(Kind.LOST_ANSWER)
RESET_IN_BODY = Fault(Kind.RESET_IN_BODY)
RESET_AFTER_BODY = Fault(Kind.RESET_AFTER_BODY)
TRUNCATED_BODY = Fault(Kind.TRUNCATED_BODY)
DAMAGED_DOWNLOAD = Fault(Kind.DAMAGED_DOWNLOAD)
DAMAGED_UPLOAD = Fault(Kind.DAMAGED_UPLOAD)


def answer(status: int, code: str, headers: Mapping[str, str] | None = None, message: str = "") -> Fault:
    """An error answer in S3's XML; with an empty `code`, a page of HTML as proxies send it."""
    fault = Fault(Kind.ANSWER, status=status, code=code, headers=tuple((headers or {}).items()))
    return replace(fault, message=message) if message else fault


def though_done(fault: Fault) -> Fault:
    """The same answer from a store that has done what it was asked for: a gateway that lost patience, say."""
    return replace(fault, kind=Kind.OTHER_ANSWER)


ACCESS_DENIED = answer(403, "AccessDenied")
NO_SUCH_KEY = answer(404, "NoSuchKey")
NO_SUCH_BUCKET = answer(404, "NoSuchBucket")
INTERNAL_ERROR = answer(500, "InternalError")
BAD_GATEWAY = answer(502, "")


def slow_down(retry_after: int | str | None = None, *, amz_retry_after_ms: int | None = None) -> Fault:
    """503 SlowDown. `retry_after`: seconds, or an HTTP date as `http_date` writes it."""
    return answer(503, "SlowDown", _waits(retry_after, amz_retry_after_ms))


def too_many_requests(retry_after: int | str | None = None, *, amz_retry_after_ms: int | None = None) -> Fault:
    """429 TooManyRequests, as R2 and gateways send it."""
    return answer(429, "TooManyRequests", _waits(retry_after, amz_retry_after_ms))


def http_date(timestamp: float) -> str:
    """Seconds since 1970 in the form that Retry-After takes."""
    return formatdate(timestamp, usegmt=True)


def other_header(name: str, value: str) -> Fault:
    """Let the store see another value of a header than was sent: it takes the one, and goes by the other."""
    return Fault(Kind.OTHER_HEADERS, headers=((name.lower(), value),))


def delay(seconds: float) -> Fault:
    """Let the request wait before the store is asked."""
    return Fault(Kind.DELAY, seconds=seconds)


def stall(seconds: float) -> Fault:
    """Stop in the middle of the answer's body for a while."""
    return Fault(Kind.STALL_IN_BODY, seconds=seconds)


def drip(seconds: float) -> Fault:
    """Let the answer's body trickle for so long."""
    return Fault(Kind.DRIP, seconds=seconds)


def _waits(retry_after: int | str | None, amz_retry_after_ms: int | None) -> dict[str, str]:
    waits = {"Retry-After": retry_after, "x-amz-retry-after": amz_retry_after_ms}
    return {name: str(value) for name, value in waits.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Request:
    """What a fault plan decides on. Keys and query are decoded."""

    method: str
    bucket: str  # empty for requests to the service itself
    key: str  # empty for requests to a bucket
    query: Mapping[str, str]
    operation: str  # GetObject, PutObject, UploadPart, …
    nth: int  # from 1: among requests of this operation on this key (and part number)
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    named: tuple[str, ...] = ()  # keys in the body of a DeleteObjects, once it is there
    fits_md5: bool = True  # the body has the MD5 that its headers say, as far as they say one


FaultPlan = Callable[[Request], Fault | None]


def no_faults(_request: Request) -> None:
    """The plan in which nothing goes wrong."""


def first(times: int, fault: Fault, *, operation: str = "*", key: str = "*") -> FaultPlan:
    """The first `times` requests of each key go wrong, the next ones go well.

    `operation` and `key` are shell patterns (`Put*`, `media/*`) of what the plan is about.
    """

    def plan(request: Request) -> Fault | None:
        return fault if _concerns(request, operation, key) and request.nth <= times else None

    return plan


def always(fault: Fault, *, operation: str = "*", key: str = "*") -> FaultPlan:
    """Every request that `operation` and `key` describe goes wrong."""

    def plan(request: Request) -> Fault | None:
        return fault if _concerns(request, operation, key) else None

    return plan


def carrying(header: str, fault: Fault, *, value: str = "*") -> FaultPlan:
    """Every request with this header goes wrong; `value` is a shell pattern."""

    def plan(request: Request) -> Fault | None:
        sent = request.headers.get(header.lower())
        return fault if sent is not None and fnmatchcase(sent, value) else None

    return plan


def seeded(seed: int | str, chances: Mapping[Fault, float], *, operation: str = "*", key: str = "*") -> FaultPlan:
    """Each fault happens with its chance (their sum is at most 1).

    What befalls a request depends on the seed, its operation, key, part number and `nth` alone:
    the same seed gives the same faults, in whatever order threads come and whatever the bucket is called.
    """

    def plan(request: Request) -> Fault | None:
        if not _concerns(request, operation, key):
            return None
        part = request.query.get("partNumber", "")
        throw = random.Random(f"{seed} {request.operation} {request.key} {part} {request.nth}").random()
        for fault, chance in chances.items():
            throw -= chance
            if throw < 0:
                return fault
        return None

    return plan


def either(*plans: FaultPlan) -> FaultPlan:
    """The fault of the first plan that has one."""

    def plan(request: Request) -> Fault | None:
        return next((fault for plan in plans if (fault := plan(request)) is not None), None)

    return plan


def _concerns(request: Request, operation: str, key: str) -> bool:
    return fnmatchcase(request.operation, operation) and fnmatchcase(request.key, key)
