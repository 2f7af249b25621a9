"""One table from what goes wrong at a store to the errors of the contract: answers of S3 stores, and errors of files.

It serves every client and knows none. Sources: the S3 error reference, and what other vendors document or were seen to
send.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

from mastosync.errors import (
    AclUnsupported,
    BucketMissing,
    ChecksumRefused,
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
from mastosync.language import deferred, enumerated, joined, say, tr
from mastosync.store.base import DAMAGED_ON_THE_WAY

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
        "ReducedRequestRate",
    }
)
_OTHER_DIGEST = frozenset({"BadDigest", "InvalidDigest"})
_BROKEN_ON_THE_WAY = frozenset({"IncompleteBody", "XAmzContentSHA256Mismatch"})
_TRY_AGAIN = frozenset(
    {"InternalError", "OperationAborted", "ServerBusy", "RequestTimeout", "ConditionalRequestConflict"}
)
_TOO_LARGE = frozenset({"EntityTooLarge", "MaxMessageLengthExceeded", "MaxSizeExceeded"})
_CHANGED = frozenset({"NoSuchUpload", "InvalidPart", "PreconditionFailed", "InvalidRange"})
_NO_ACL = frozenset({"AccessControlListNotSupported", "NotImplemented", "UnsupportedAcl"})
_NAMES_ACL = re.compile(r"\bacls?\b|ObjectAcl|PublicAcls|access control list", re.IGNORECASE)
# B2 takes the ACL that its bucket has, and no other. Who refuses ACLs in other words may take `private` and mean
# nothing by it: R2 does, and a bucket whose owner is enforced.
_NAMES_ONE_ACL = re.compile(r"value for canned acl", re.IGNORECASE)
_XML = frozenset({"application/xml", "text/xml"})

_UNUSABLE: dict[str, str] = {
    "NoSuchBucket": deferred(
        "the bucket does not exist: check `bucket`, and that `endpoint_url` does not hold its name as well"
    ),
    "InvalidBucketName": deferred("check `bucket`: this is not a valid name of a bucket"),
    "InvalidAccessKeyId": deferred("check `access_key`: the store does not know it"),
    "ExpiredToken": deferred("the session token has expired: get new credentials and run the same command again"),
    "InvalidToken": deferred("check `session_token`: the store does not accept it"),
    "TokenRefreshRequired": deferred(
        "the session token has expired: get new credentials and run the same command again"
    ),
    "AuthorizationHeaderMalformed": deferred("check `region`: the store expects another one"),
    "IllegalLocationConstraintException": deferred("check `region`: the bucket is in another region"),
    "PermanentRedirect": deferred("check `region` and `endpoint_url` (http or https?): the bucket is elsewhere"),
    "RequestTimeTooSkewed": deferred(
        "the clock of this machine is off: set it (with NTP), then run the same command again"
    ),
    "AccountProblem": deferred("the provider has a problem with the account: ask them"),
    "UserSuspended": deferred("the provider has suspended the account: ask them"),
    "AllAccessDisabled": deferred("the provider has closed the bucket: ask them"),
    "NotSignedUp": deferred("the account is not signed up for object storage"),
    "QuotaExceeded": deferred("the destination is full: raise its quota, then run the same command again"),
    "StorageFull": deferred("the destination is full: free or add space, then run the same command again"),
    "XMinioStorageFull": deferred("the destination is full: free or add space, then run the same command again"),
    "InsufficientStorage": deferred("the destination is full: free or add space, then run the same command again"),
}
"""Codes after which no other object would fare better, and what to do."""

_UNUSABLE_STATUSES: dict[int, str] = {
    # redirects are never followed: credentials are for one endpoint
    **dict.fromkeys((301, 302, 303, 307, 308), "PermanentRedirect"),
    507: "InsufficientStorage",
}
_DENIED_HINT = deferred(
    "check the rights of the access key: if it may not list the bucket, the store answers 403 for a missing "
    "object too; then `mastosync retry-failed --reason denied` tries again"
)
_PAGE_HINT = deferred(
    "this is not the answer of an S3 store: check `endpoint_url`, and {between}; then `mastosync retry-failed "
    "--reason {reason}` tries again"
)
_SERVER_HINT = deferred("the store has a problem: when it works again, run `mastosync retry-failed --reason server`")
_THROTTLED_HINT = deferred("use fewer `workers`; `mastosync retry-failed --reason throttled` tries again")
_HINTS: dict[str, str] = {
    "InvalidObjectState": deferred(
        "the object is archived: restore it first, then `mastosync retry-failed --reason denied`"
    ),
    "EntityTooSmall": deferred("the destination does not accept parts as small as this: raise `part_size`"),
    "InvalidStorageClass": deferred("check `storage_class`: the destination does not have it"),
}

# --- of files ---

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # what this machine may be short of for a moment

_DISK_UNUSABLE: dict[int, str] = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT),
        deferred("the disk is full: make room (or raise the quota), then run the same command again"),
    ),
    errno.EROFS: deferred(
        "the disk is mounted read-only: look into the system's log, a damaged disk may be the reason"
    ),
    errno.EXDEV: deferred("another disk is mounted below the folder: copy to a folder that is on one disk"),
    **dict.fromkeys(
        (errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ESHUTDOWN),
        deferred("the disk is not there any more: mount it again, then run the same command again"),
    ),
}
"""After these no other object would fare better."""

_FILE_DENIED_HINT = deferred(
    "run mastosync as a user who may do this (usually Mastodon's own), or correct the file's mode; then "
    "`mastosync retry-failed --reason denied` tries again"
)
_LINK_HINT = deferred(
    "links are followed only above the folders of single ids (as at `cache` or `media_attachments/files`). Find "
    "out why the link is there; make it further up, or mount the disk in its place. Then run `mastosync "
    "retry-failed --reason denied`"
)
_IN_THE_WAY_HINT = deferred(
    "on a disk, a name is either a file or a folder, and links are followed only above the folders of single ids: "
    "move away what is in the way"
)
_DISK_HINT = deferred(
    "look into the system's log: the disk may be damaged; `mastosync retry-failed --reason server` tries again"
)
_TOO_MANY_HINT = deferred("too many files are open: use fewer `workers`, or raise `ulimit -n`")

_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY})
_NO_NAME = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})


class Target(Enum):
    """What a request is about: a 404 means something else for each target."""

    OBJECT = "an object that should be there"
    NEW_OBJECT = "an object that is to be stored"
    COPY = "an object that the store is to copy by itself"
    UPLOAD = "an upload in parts that has begun"
    STORE = "the bucket as such"


_NOT_FOUND: dict[Target, type[ObjectError]] = {
    Target.OBJECT: ObjectMissing,
    Target.NEW_OBJECT: ObjectRejected,  # there was nothing to be found: this is no S3 store
    Target.COPY: ObjectMissing,
    Target.UPLOAD: ObjectChanged,
    Target.STORE: ObjectRejected,
}


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """A store's refusal, in a form that every HTTP client can give."""

    status: int  # HTTP; 0 if the client knows none
    # these as the store has them, secrets and all: they decide what it means
    code: str = field(repr=False)  # from the XML body, or what the client made of it
    message: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)  # names in lower case
    subject: Target = Target.OBJECT
    with_acl: bool = False  # the request carried an ACL
    has_body: bool = False  # the answer to a HEAD never has one
    shown: Callable[[str], str] = str  # what of a word of the store may be shown

    @property
    def has_code(self) -> bool:
        """Whether it speaks as an S3 store does. Answers to HEAD never do."""
        return self.code not in ("", str(self.status))

    @property
    def is_a_page(self) -> bool:
        """Whether somebody else speaks, as a proxy does that has lost the store: in words that are none of S3.

        XML may be a store's that nobody can read, as it repeats a key with characters that XML has not.
        """
        of_s3 = self.headers.get("content-type", "").partition(";")[0].strip().lower() in _XML
        of_s3 = of_s3 or any(name.startswith("x-amz-") for name in self.headers)
        return self.has_body and not self.has_code and not of_s3


def error_of(answer: StoreAnswer, where: str) -> MastosyncError:
    """The error that an answer stands for. `where` names the operation, the key and the store."""
    error = _error_of(answer, f"cannot {where}: the store answers {_said(answer)}")
    if answer.subject is not Target.STORE or not isinstance(error, ObjectError):
        return error
    if error.transient:  # and no object has failed
        error.hint = tr("the store has a problem: when it works again, run the same command again")
        return error
    return _of_store(answer, error)


def _error_of(answer: StoreAnswer, text: str) -> MastosyncError:
    code = answer.code if answer.code in _UNUSABLE else _UNUSABLE_STATUSES.get(answer.status, "")
    if code:
        region = answer.headers.get("x-amz-bucket-region")
        in_region = tr(" (in the region {region})", region=answer.shown(region)) if region else ""
        kind = BucketMissing if code == "NoSuchBucket" else StoreUnusable
        return kind(text, hint=say(_UNUSABLE[code]) + in_region, refuses_keys=code == "InvalidAccessKeyId")
    if answer.with_acl and _refuses_acl(answer):
        only_this = answer.code not in _NO_ACL and _NAMES_ONE_ACL.search(answer.message) is not None
        hint = tr("set `acl = none` for the destination if it has no ACLs")
        return AclUnsupported(text, hint=hint, only_this=only_this)
    if answer.status == 429 or answer.code in _THROTTLING or (answer.status == 503 and answer.code not in _TRY_AGAIN):
        return Throttled(text, hint=say(_THROTTLED_HINT), retry_after_seconds=retry_after_seconds(answer.headers))
    return _object_error(answer, text)


def _object_error(answer: StoreAnswer, text: str) -> ObjectError:
    """The first line that fits."""
    status, code = answer.status, answer.code
    table: tuple[tuple[bool, type[ObjectError], str], ...] = (
        (code in _OTHER_DIGEST, ChecksumRefused, DAMAGED_ON_THE_WAY),
        (code in _BROKEN_ON_THE_WAY, CorruptObject, DAMAGED_ON_THE_WAY),
        (code in _CHANGED or status in (412, 416), ObjectChanged, deferred("another program writes to this key")),
        (
            code in _TOO_LARGE or status == 413,
            ObjectTooLarge,
            deferred("the destination does not accept objects of this size"),
        ),
        (status == 404 and answer.is_a_page and _NOT_FOUND[answer.subject] is ObjectMissing, ServerFailure, _PAGE_HINT),
        (
            code == "NoSuchKey" or status == 404,
            _NOT_FOUND[answer.subject],
            deferred("check `endpoint_url` and `key_prefix`"),
        ),
        (code in _TRY_AGAIN or status == 408, ServerFailure, _SERVER_HINT),
        (code in _HINTS and status != 403, ObjectRejected, ""),
        (status >= 500 and status != 501, ServerFailure, _SERVER_HINT),
        (status in (401, 403), ObjectDenied, _PAGE_HINT if answer.is_a_page else _DENIED_HINT),
        (True, ObjectRejected, deferred("the store refuses this request; see its message")),
    )
    kind, hint = next((kind, hint) for fits, kind, hint in table if fits)
    hint = _HINTS.get(code, hint)
    error = kind(text, hint=say(hint))
    if hint == _PAGE_HINT:
        error.hint = error.hint.format(reason=kind.reason.value, between=_between(text))
    if isinstance(error, ObjectMissing):
        error.certain = answer.has_code
    return error


def _said(answer: StoreAnswer) -> str:
    code, message = answer.shown(answer.code) if answer.has_code else "", answer.shown(answer.message)
    return " ".join(filter(None, (str(answer.status), code, f"({message})" if message else "")))


def _refuses_acl(answer: StoreAnswer) -> bool:
    names_it = answer.status in (400, 403, 501) and _NAMES_ACL.search(answer.message) is not None
    if answer.subject is Target.COPY and answer.code == "NotImplemented":
        return names_it  # else it is the copying
    return answer.code in _NO_ACL or names_it


def _of_store(answer: StoreAnswer, error: ObjectError) -> MastosyncError:
    """What a refusal says of a whole store that was asked for nothing but itself.

    It stays ObjectDenied where the key may not ask, which tells nothing of reading and writing objects.
    """
    if "signature" in f"{answer.code} {answer.message}".lower():
        hint = tr("check `secret_key`: the signature made with it is not accepted")
        return StoreUnusable(error.message, hint=hint, refuses_keys=True)
    if answer.status == 403 and answer.has_code:
        return error
    if answer.status in (401, 403) and not answer.is_a_page:
        hint = tr("check `access_key`, `secret_key` and `endpoint_url`")
        return StoreUnusable(error.message, hint=hint, refuses_keys=True)
    if answer.code == "NoSuchKey":
        return StoreUnusable(
            error.message, hint=tr("`endpoint_url` seems to hold the bucket's name: leave it out there")
        )
    hint = tr("check `endpoint_url` and `bucket`: it must be an S3 endpoint")
    if answer.is_a_page:
        hint = joined([hint, tr("check {between}, too", between=_between(error.message))])
    return StoreUnusable(error.message, hint=hint)


def network_failure(where: str, what: str) -> NetworkFailure:
    """The error for a connection that did not hold."""
    return NetworkFailure(
        f"cannot {where}: {what}", hint=tr("check the network, {between}, and `endpoint_url`", between=_between(where))
    )


def _between(where: str) -> str:
    """What may stand before the address in `where`. A variable is named even if NO_PROXY excepts that address."""
    variables = {f"{scheme}_proxy" for scheme in ("http", "https") if f"{scheme}://" in where} | {"all_proxy"}
    names = sorted(name for name, value in os.environ.items() if value and name.lower() in variables)
    if not names:
        return tr("any proxy or firewall in between")
    return tr("the proxy ({names}) or firewall in between", names=enumerated(names))


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
    except (ValueError, OverflowError):
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


# --- of files ---


class LinkInTheWay(OSError):
    """A link that is not followed where it lies."""

    def __init__(self, link: bytes) -> None:
        super().__init__(errno.ELOOP, tr("{link!r} is a symbolic link", link=os.fsdecode(link)))


@contextmanager
def file_errors(where: str, subject: Target) -> Iterator[None]:
    """Raise what an `OSError` of the block stands for. `where`: the operation, the key and the store."""
    try:
        yield
    except OSError as error:
        what = f" ({os.fsdecode(error.filename)!r})" if error.filename and subject is Target.STORE else ""
        raise _error_of_file(error, f"cannot {where}: {error.strerror or error}{what}", subject) from error


def _error_of_file(error: OSError, text: str, subject: Target) -> MastosyncError:
    code = error.errno or 0
    if code in _DISK_UNUSABLE:
        return StoreUnusable(text, hint=say(_DISK_UNUSABLE[code]))
    if code in EXHAUSTED:
        return ServerFailure(text, hint=say(_TOO_MANY_HINT))
    if subject is Target.STORE:
        return StoreUnusable(text, hint=tr("check `path`, and that you may do this there"))
    if isinstance(error, LinkInTheWay):
        return ObjectDenied(text, hint=say(_LINK_HINT))
    return _object_error_of_file(code, text, subject)


def _object_error_of_file(code: int, text: str, subject: Target) -> ObjectError:
    """The first line that fits."""
    not_found = {Target.UPLOAD: ObjectChanged, Target.OBJECT: ObjectMissing}.get(subject)
    table: tuple[tuple[bool, type[ObjectError], str], ...] = (
        (not_found is not None and code in _NO_FILE, not_found or ObjectMissing, ""),
        (code in _IN_THE_WAY, ObjectRejected, _IN_THE_WAY_HINT),
        (code in (errno.EACCES, errno.EPERM), ObjectDenied, _FILE_DENIED_HINT),
        (code in _NO_NAME, ObjectRejected, deferred("a file on this disk cannot have this name")),
        (code == errno.EFBIG, ObjectTooLarge, deferred("this file system does not allow files as large as this")),
        (True, ServerFailure, _DISK_HINT),
    )
    kind, hint = next((kind, hint) for fits, kind, hint in table if fits)
    return kind(text, hint=say(hint))
