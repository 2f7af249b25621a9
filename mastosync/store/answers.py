"""From what an S3-compatible store answers to the errors of the contract: one table for every client.

Sources: the S3 error reference, and what other vendors document or were seen to send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mastosync.errors import (
    AclUnsupported,
    CorruptObject,
    MastosyncError,
    NetworkFailure,
    ObjectChanged,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ObjectTooLarge,
    ServerFailure,
    StoreUnusable,
    Throttled,
)

_THROTTLING = frozenset(
    {
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "BandwidthLimitExceeded",
        "TooManyBuckets",
        "ReducedRequestRate",
    }
)
_BROKEN_ON_THE_WAY = frozenset({"BadDigest", "InvalidDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"})
_TRY_AGAIN = frozenset(
    {"InternalError", "OperationAborted", "ServerBusy", "RequestTimeout", "ConditionalRequestConflict"}
)
_TOO_LARGE = frozenset({"EntityTooLarge", "MaxMessageLengthExceeded", "MaxSizeExceeded"})
_NO_ACL = frozenset({"AccessControlListNotSupported", "NotImplemented", "UnsupportedAcl"})

_UNUSABLE: dict[str, str] = {
    "NoSuchBucket": "the bucket does not exist: check `bucket`, and that `endpoint_url` does not hold its name as well",
    "InvalidBucketName": "check `bucket`: this is no name a bucket can have",
    "InvalidAccessKeyId": "check `access_key`: the store does not know it",
    "ExpiredToken": "the session token has expired: get new credentials and run the same command again",
    "InvalidToken": "check `session_token`: the store does not accept it",
    "TokenRefreshRequired": "the session token has expired: get new credentials and run the same command again",
    "AuthorizationHeaderMalformed": "check `region`: the store expects another one",
    "IllegalLocationConstraintException": "check `region`: the bucket lies in another one",
    "PermanentRedirect": "check `region` and `endpoint_url`: the bucket lies elsewhere",
    "RequestTimeTooSkewed": "the clock of this machine is off: set it (with NTP), then run the same command again",
    "AccountProblem": "the provider has a problem with the account: ask them",
    "AllAccessDisabled": "the provider has closed the bucket: ask them",
    "NotSignedUp": "the account is not signed up for object storage",
    "QuotaExceeded": "the destination is full: raise its quota, then run the same command again",
    "StorageFull": "the destination is full: free or add space, then run the same command again",
    "InsufficientStorage": "the destination is full: free or add space, then run the same command again",
}
"""Codes after which no other object would fare better, and what to do."""

_REDIRECTS = (301, 302, 307, 308)  # never followed: credentials are for one endpoint
_DENIED_HINT = (
    "check that the key may do this; a key that may not list the bucket gets 403 for a missing object too; "
    "`mastosync retry-failed --reason denied` tries again"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A store's refusal, in a form that every HTTP client can give."""

    status: int  # HTTP; 0 if the client knows none
    code: str  # from the XML body, or what the client made of it
    message: str  # scrubbed of secrets
    headers: Mapping[str, str]  # names in lower case
    with_acl: bool = False  # the request carried an ACL


def error_of(answer: Answer, where: str) -> MastosyncError:
    """The error that an answer stands for. `where` names the operation, the key and the store."""
    said = " ".join(
        filter(None, (str(answer.status or ""), answer.code, f"({answer.message})" if answer.message else ""))
    )
    text = f"cannot {where}: the store answers {said}"
    if answer.code in _UNUSABLE or answer.status in _REDIRECTS:
        return StoreUnusable(text, hint=_UNUSABLE.get(answer.code, _UNUSABLE["PermanentRedirect"]))
    if answer.with_acl and _refuses_acl(answer):
        return AclUnsupported(text, hint="set `acl = none` for the destination if it takes no ACLs")
    if answer.status == 429 or answer.code in _THROTTLING or (answer.status == 503 and answer.code not in _TRY_AGAIN):
        return Throttled(text, retry_after_seconds=retry_after_seconds(answer.headers))
    return _object_error(answer, text)


def _object_error(answer: Answer, text: str) -> MastosyncError:
    """The first line that fits."""
    status, code = answer.status, answer.code
    table: tuple[tuple[bool, type[ObjectError], str], ...] = (
        (code in _BROKEN_ON_THE_WAY, CorruptObject, ""),
        (code == "NoSuchUpload" or status == 412, ObjectChanged, ""),
        (code == "NoSuchKey" or status == 404, ObjectMissing, ""),
        (code in _TOO_LARGE or status == 413, ObjectTooLarge, "the destination takes no object of this size"),
        (code in _TRY_AGAIN or status == 408 or (status >= 500 and status != 501), ServerFailure, ""),
        (status in (401, 403), ObjectDenied, _DENIED_HINT),
    )
    for fits, kind, hint in table:
        if fits:
            return kind(text, hint=hint)
    return ObjectRejected(text, hint="the store will not take this request; see its message")


def _refuses_acl(answer: Answer) -> bool:
    names_it = "acl" in answer.message.lower() and answer.status in (400, 403, 501)
    return answer.code in _NO_ACL or names_it


def unusable_of(answer: Answer, where: str) -> MastosyncError | None:
    """What an answer says of a whole store when it is asked for nothing but itself.

    None: the key may not ask, which tells nothing of reading and writing objects. What may pass
    by itself stays an ObjectError.
    """
    error = error_of(answer, where)
    if isinstance(error, ObjectDenied):
        if answer.code != "SignatureDoesNotMatch":
            return None
        return StoreUnusable(error.message, hint="check `secret_key`: the signature made with it is not accepted")
    if isinstance(error, ObjectError) and not error.transient:
        return StoreUnusable(error.message, hint="check `endpoint_url` and `bucket`: is this an S3 endpoint?")
    return error


def network_failure(where: str, what: str) -> NetworkFailure:
    """The error for a connection that did not hold."""
    return NetworkFailure(f"cannot {where}: {what}", hint="check the network, a proxy or firewall, and `endpoint_url`")


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The wait that a server asks for: `x-amz-retry-after` (milliseconds), or Retry-After.

    Retry-After is a number of seconds or an HTTP date. What cannot be read counts as absent.
    """
    milliseconds = _number(headers.get("x-amz-retry-after"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or not value:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None
