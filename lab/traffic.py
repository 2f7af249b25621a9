"""What went through the proxy, in S3's terms."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree

from lab.fault_plan import Fault, Kind, Request

OBJECT_OPERATIONS = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
BUCKET_OPERATIONS = {"GET": "ListObjects", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
MULTIPART_OPERATIONS = {
    "GET": "ListParts",
    "PUT": "UploadPart",
    "POST": "CompleteMultipartUpload",
    "DELETE": "AbortMultipartUpload",
}
STORING = frozenset({"PutObject", "CopyObject", "CompleteMultipartUpload"})


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what became of it. Times are of `time.monotonic()`."""

    request: Request
    fault: Fault | None
    store_status: int | None  # what the store answered; None: it was not asked, or did not answer
    status: int | None  # what the client was told; None: the connection was cut before a status
    started: float  # the request was there, body included
    answered: float  # just before the client heard anything

    @property
    def stored(self) -> bool:
        """Whether this request put an object into the store."""
        return self.store_status == 200 and self.request.operation in STORING

    @property
    def keys_to_delete(self) -> tuple[str, ...]:
        """What this request was to remove."""
        return (self.request.key,) if self.request.operation == "DeleteObject" else self.request.named

    @property
    def told(self) -> bool:
        """Whether the store's own answer went out whole, so that a client that lives knows what the store did."""
        return self.status is not None and (self.fault is None or self.fault.kind in (Kind.DELAY, Kind.OTHER_HEADERS))


class Traffic:
    """Every exchange so far. Threads may write and read at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Counter[tuple[str, str, str, str]] = Counter()
        self._exchanges: list[Exchange] = []

    def number(self, method: str, target: str, headers: Mapping[str, str]) -> Request:
        """Take a request apart and count it. `target` is as on the request line, path style."""
        path, _, query_text = target.partition("?")
        bucket, _, key = path.removeprefix("/").partition("/")
        bucket, key = unquote(bucket), unquote(key)
        query = dict(parse_qsl(query_text, keep_blank_values=True))
        operation = operation_of(method, bucket, key, query)
        if operation == "PutObject" and "x-amz-copy-source" in headers:
            operation = "CopyObject"
        same = (operation, bucket, key, query.get("partNumber", ""))
        with self._lock:
            self._seen[same] += 1
            nth = self._seen[same]
        return Request(method, bucket, key, query, operation, nth, headers)

    def record(self, exchange: Exchange) -> None:
        """Remember what became of a request."""
        with self._lock:
            self._exchanges.append(exchange)

    def exchanges(self) -> list[Exchange]:
        """All of them, in the order in which they were answered."""
        with self._lock:
            return list(self._exchanges)

    def forget(self) -> list[Exchange]:
        """All of them, once: those of a long run would fill the memory. Requests are numbered from 1 again."""
        with self._lock:
            exchanges, self._exchanges = self._exchanges, []
            self._seen.clear()
            return exchanges

    def count(self, operation: str, key: str | None = None) -> int:
        """How many requests of this operation there were (for this key)."""
        return sum(
            exchange.request.operation == operation and key in (None, exchange.request.key)
            for exchange in self.exchanges()
        )

    def successful_puts_by_key(self, bucket: str | None = None) -> Counter[str]:
        """How often each key (of this bucket) was stored, whole or by completing a multipart upload."""
        return Counter(
            exchange.request.key
            for exchange in self.exchanges()
            if exchange.stored and bucket in (None, exchange.request.bucket)
        )


def keys_named(document: bytes) -> tuple[str, ...]:
    """The keys in the body of a DeleteObjects. Raises: ParseError if it is no XML."""
    root = ElementTree.fromstring(document)  # noqa: S314 - of our own clients
    return tuple(each.text or "" for each in root.iterfind("{*}Object/{*}Key"))


def operation_of(method: str, bucket: str, key: str, query: Mapping[str, str]) -> str:
    """S3's name for a request, as far as mastosync's clients make it; else the method."""
    if not bucket:
        return "ListBuckets"
    if "uploadId" in query:
        return MULTIPART_OPERATIONS.get(method, method)
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if "delete" in query:
        return "DeleteObjects"
    if "acl" in query:
        return f"{method.title()}{'Object' if key else 'Bucket'}Acl"
    return (OBJECT_OPERATIONS if key else BUCKET_OPERATIONS).get(method, method)
