"""`ObjectStore`: the contract between the runtime and anything that holds objects.

What every method promises:

* **One attempt.** A method makes its request once (`abort_unfinished`: one, and one for each upload
  it finds; `withdraw` a few). Retrying, waiting and slowing down belong to `runtime`, in one layer around this
  contract; an implementation switches its client's own retries off, and follows no redirect.
* **One vocabulary of errors.** A failure of one object is an `ObjectError`: `ObjectMissing` only
  for a true 404 of a key that is read (`certain` if the store said so in its own words, and never
  for somebody else's page), `ObjectDenied` for 403, `Throttled` with the server's own wait,
  `NetworkFailure`, `ServerFailure` (also for an answer that no S3 store gives), `CorruptObject`,
  `ObjectChanged`, `ObjectRejected`, `ObjectTooLarge`, `AclUnsupported`. What no other object would
  survive either (bad credentials, no such bucket, a clock that is off) is `StoreUnusable`. Nothing
  else gets out.
* **Checked bytes.** Bytes handed out have the announced length and, where the ETag is an MD5,
  that digest, unless the caller will have it proved by a write (`DigestUse.CLAIMED`). Bytes handed
  in are sent with their Content-MD5, so that a store refuses a damaged upload (or with a wrong one,
  to try whether it does).
* **Headers as text.** What headers and user metadata say is handed out and taken in as people wrote
  it, not in the form in which HTTP carries it. Names of metadata are in lower case.
* **Idempotent.** Every method may be called again after any error.
* **Thread-safe.** Workers share one store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeAlias

from mastosync.errors import ClaimedDigestWrong, MastosyncError
from mastosync.language import deferred
from mastosync.model import ObjectHeaders, ObjectInfo

Buffer: TypeAlias = bytes | bytearray
"""Bytes of an object. A part of a large one is read into the very memory that it is sent from."""


DAMAGED_AT_SOURCE = deferred("if every attempt fails, the object is damaged at the source")
DAMAGED_ON_THE_WAY = deferred(
    "bytes were changed on the way: if it happens again, check the network and this machine's memory"
)
"""Hints for bytes that do not have the MD5 that they should have."""


class DigestUse(StrEnum):
    """Where the MD5 of an object comes from, and what it is used for."""

    COMPUTED = "computed"  # of the bytes, here; it goes along with a write
    CLAIMED = "claimed"  # the source says so, by an ETag that is an MD5; the write has to prove it
    CONTRADICTED = "contradicted"  # computed, and a wrong one goes along: shows whether the store looks at the bytes


class OpenBody(Protocol):
    """The body of an answer that waits for somebody to take it, in the thread of its `Multiplexer`."""

    def close(self) -> None:
        """Break it off, unless it was taken."""
        ...


class FetchedObject(NamedTuple):
    """Answer of `read`: the description, and the bytes unless they are more than asked for."""

    info: ObjectInfo
    data: bytes | None
    md5: bytes | None  # of `data`: computed, unless it was enough that the ETag claims one
    body: OpenBody | None = None  # of an object that was opened and is to be streamed


class PutOptions(NamedTuple):
    """What goes along with a new object. Most objects of a run have the same."""

    headers: ObjectHeaders
    acl: str | None = None  # public-read, private; None: send no ACL
    storage_class: str | None = None


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """A part that the store has confirmed."""

    number: int  # from 1
    etag: str  # as the store spells it
    md5: bytes  # empty: the store has copied it by itself


class Piece(NamedTuple):
    """Some bytes of exactly the object that `info` describes, in a bucket of the same endpoint and account."""

    bucket: str
    key: str
    info: ObjectInfo
    start: int
    length: int  # bytes, at least 1


class ListedObject(NamedTuple):
    """What a listing says of one object."""

    key: str
    size: int  # bytes
    etag: str  # without quotes
    modified: str  # ISO 8601, as the store tells it; empty: it does not


class Page(NamedTuple):
    """A piece of a listing."""

    objects: list[ListedObject]
    is_last: bool


class DiskSpace(NamedTuple):
    """What is free on one disk of a destination, and what is to be written there."""

    name: str  # of its folder, for people
    free_bytes: int
    pending_bytes: int


class ObjectStore(Protocol):
    """One bucket at one endpoint. Keys are full keys, prefix included."""

    @property
    def name(self) -> str:
        """For people: role, bucket and endpoint, without credentials."""
        ...

    @property
    def endpoint(self) -> str:
        """What shares one rate limit: stores with equal endpoints are throttled together."""
        ...

    @property
    def computes_digests(self) -> bool:
        """Whether `write` itself computes an MD5 that is claimed, so that no ETag has to be believed."""
        ...

    def check(self) -> None:
        """Find out whether the bucket can be used.

        A key that may not list the bucket passes: it may still read and write.
        Raises: StoreUnusable, saying which of endpoint, credentials or bucket is wrong; a transient
        ObjectError for what may pass by itself.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Describe an object without its bytes. Raises: ObjectError, StoreUnusable."""
        ...

    def list_page(self, prefix: str, after: str) -> Page:
        """The next objects, a thousand at most, whose keys begin with `prefix` and come after `after`.

        Keys come in the order of their UTF-8 bytes, which is Python's order of texts, as far as the
        store keeps to what S3 promises. Raises: ObjectDenied if the key may not list the bucket;
        ObjectRejected if the store begins anew for each page; a transient ObjectError; StoreUnusable.
        """
        ...

    def read(self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED) -> FetchedObject:
        """Fetch an object in one request, unless it is larger than `max_bytes`.

        A larger one is described (`data` is None) and its body left unread: memory stays bounded
        by the caller's word. CLAIMED: the bytes need not be compared with an ETag that is an MD5.
        Raises: ObjectError, StoreUnusable.
        """
        ...

    def read_range(self, key: str, info: ObjectInfo, start: int, length: int) -> Buffer:
        """Fetch `length` bytes (at least 1) from `start`, of exactly the object that `info` describes.

        Raises: ObjectChanged if another object lies under the key by now; ObjectError, StoreUnusable.
        """
        ...

    def digest(self, key: str, info: ObjectInfo) -> bytes:
        """The MD5 (16 bytes) of exactly the object that `info` describes, however large: little of it is in memory.

        Raises: ObjectChanged if another object lies under the key by now; ObjectError, StoreUnusable.
        """
        ...

    def write(
        self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = DigestUse.COMPUTED
    ) -> str:
        """Store an object whole and return its ETag; on return the store has confirmed it, and `data` has this `md5`.

        CLAIMED: the ETag of the answer proves the digest; where it does not, the digest is computed. CONTRADICTED: the
        ETag is returned as it is, or an empty one if the store has refused the wrong MD5, as it should.
        Raises: ClaimedDigestWrong if `data` has another one; CorruptObject if the store took in anything else;
        AclUnsupported; ObjectError, StoreUnusable.
        """
        ...

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        """Let the store copy, by itself, exactly the object that `info` describes, and return the ETag of the copy.

        The source is a bucket of the same endpoint and account. Nothing is said of bytes: the caller
        compares what the store tells of both. Raises: ObjectMissing if the source is not found;
        ObjectChanged if another object lies there by now; AclUnsupported; ObjectError, StoreUnusable.
        """
        ...

    def start_multipart(self, key: str, options: PutOptions) -> str:
        """Begin an upload in parts and return its id. Nothing is visible until it is completed.

        Raises: AclUnsupported; ObjectError, StoreUnusable.
        """
        ...

    def write_part(self, key: str, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:
        """Store part `number` (from 1); repeating it replaces it.

        Raises: CorruptObject as `write`; ObjectChanged if the upload is unknown by now; ObjectError,
        StoreUnusable.
        """
        ...

    def copy_part(self, key: str, upload_id: str, number: int, piece: Piece) -> UploadedPart:
        """Let the store take part `number` from another object by itself; its MD5 is not known (empty).

        Nothing is said of bytes, as by `copy_from`. Raises: ObjectMissing if that object or the upload is not found;
        ObjectChanged if another object lies there by now; ObjectError, StoreUnusable.
        """
        ...

    def complete_multipart(self, key: str, upload_id: str, parts: list[UploadedPart]) -> str:
        """Make the object visible and return its ETag; on return the store has confirmed it.

        Raises: ObjectChanged if a part is not there, or the upload is unknown by now (completed by an
        earlier attempt whose answer was lost, or aborted): the caller looks or starts again;
        ObjectError, StoreUnusable.
        """
        ...

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Throw the parts away. An upload that is unknown by now is no error."""
        ...

    def abort_unfinished(self, key: str) -> int:
        """Throw away every unfinished upload of this very key, and return how many there were.

        A store that cannot or will not list them counts as having none. Raises: ObjectError, StoreUnusable.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object of a destination; on return the store has confirmed it. One that is not there is no error.

        Nothing is ever deleted at a source: a store of that role refuses before any request.
        Raises: ObjectError, StoreUnusable.
        """
        ...

    def anybody_reads(self, key: str) -> bool:
        """Whether somebody without credentials is given this object at the store itself.

        False only if they are refused (4xx), or sent to a page somewhere else. Raises: ObjectError, StoreUnusable if
        there is no answer that says it; a store may raise ObjectMissing for what is not there.
        """
        ...

    def anybody_finds(self, key: str, info: ObjectInfo) -> bool:
        """`anybody_reads` for the object that `info` describes, by a request for none of its bytes. Raises: as that."""
        ...

    def withdraw(self, key: str) -> bool:
        """Remove an object of a destination that must not lie there, and with it the version that it is.

        Takes three requests. Returns: False if the bucket keeps that version, hidden, because the key may not delete
        it or does not learn which it is. Raises: as `delete`.
        """
        ...

    def close(self) -> None:
        """Give connections back. Calling it twice is no error."""
        ...


def wrong_md5(md5: bytes) -> bytes:
    """An MD5 that the bytes of this one do not have."""
    return bytes(255 - each for each in md5)


def require_claimed(key: str, store_name: str, data: bytes, md5: bytes) -> None:
    """Require that bytes have the MD5 that their source says. Raises: ClaimedDigestWrong."""
    computed = hashlib.md5(data, usedforsecurity=False).digest()
    if computed != md5:
        raise ClaimedDigestWrong(
            f"cannot write {key!r} at {store_name}: its bytes have the MD5 {computed.hex()}, the ETag of their source "
            f"is {md5.hex()}",
            md5=computed,
        )


class CompletedRequest(NamedTuple):
    """A request that has come to its end."""

    tag: object
    result: object
    error: MastosyncError | None  # of the contract; then there is no result


class Multiplexer(Protocol):
    """Makes requests of several stores side by side, in the one thread that owns it."""

    def takes(self, store: ObjectStore, operation: str, arguments: tuple[Any, ...]) -> bool:
        """Whether it can make this request; if not, the store has to be called."""
        ...

    def begin(
        self, tag: object, store: ObjectStore, operation: str, arguments: tuple[Any, ...], room: Callable[[int], bool]
    ) -> None:
        """Send the request that `operation` makes, which is a `StoreCall`'s.

        `finished` gives its result.

        Before a body is taken in, `room` is asked with its size in bytes; the request waits, and asks
        again, until it says yes. Raises: ObjectError, StoreUnusable if none can be made.
        """
        ...

    def finished(self, wait_seconds: float) -> list[CompletedRequest]:
        """Go on with all requests, and return those that have come to their end.

        Waits so long at most, and less if there is nothing to wait for.
        """
        ...

    def broken_off(self) -> list[CompletedRequest]:
        """Break off all objects that are streamed, which may take long. Their error is Interrupted."""
        ...

    def close(self) -> None:
        """Break off what is under way, and give connections back."""
        ...
