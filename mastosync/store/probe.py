"""Answers of a store that is probed: to the checks of `doctor`, and to somebody without credentials.

docs/design/privacy.md has the table of what an answer without credentials means; it is the same for all that ask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

NOT_REFUSALS = frozenset({407, 408, 421, 425, 429})
"""Of 4xx: of somebody on the way, or there may be another answer."""


class AnonymousAccess(StrEnum):
    """Whether an object is given to somebody without credentials, as far as an answer tells."""

    GIVEN = "given"
    REFUSED = "refused"
    UNKNOWN = "unknown"  # somebody else answers in place of the store, and may let others pass


class AnonymousAnswer(NamedTuple):
    """What an answer to somebody without credentials says of its body."""

    status: int  # HTTP
    size: int | None  # bytes; None: it does not tell
    etag: str  # without quotes; empty: it has none
    content_type: str
    is_elsewhere: bool = False  # by way of a redirect

    @property
    def is_page(self) -> bool:
        """Whether it is for people, as that which asks them to log in."""
        return self.content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


class ObjectTraits(NamedTuple):
    """What tells an object from anything else."""

    size: int  # bytes
    etag: str  # without quotes; empty: it is not known


def access_by_status(status: int) -> AnonymousAccess:
    """As far as a status tells: GIVEN is something, whatever it may be."""
    if 200 <= status < 300:
        return AnonymousAccess.GIVEN
    return AnonymousAccess.REFUSED if 400 <= status < 500 and status not in NOT_REFUSALS else AnonymousAccess.UNKNOWN


def access_by(found: AnonymousAnswer, known: Callable[[], Collection[ObjectTraits]]) -> AnonymousAccess:
    """What an answer means. `known`: what the object may be known by; if nobody can tell, whatever comes may be it."""
    access = access_by_status(found.status)
    if access is not AnonymousAccess.GIVEN:
        return access
    if found.is_elsewhere and found.is_page:
        return AnonymousAccess.REFUSED
    things = known()
    is_object = not things or any(found.size in (None, each.size) or found.etag == each.etag for each in things)
    return AnonymousAccess.GIVEN if is_object else AnonymousAccess.UNKNOWN


class RefusalCause(StrEnum):
    """What has to be put right before a store can be used."""

    ENDPOINT = "endpoint"
    CREDENTIALS = "credentials"
    BUCKET = "bucket"


class Removal(StrEnum):
    """What has become of an object that was deleted."""

    GONE = "gone"
    VERSIONS_GONE = "versions gone"  # the bucket keeps versions, and each was deleted by its ID
    HIDDEN = "hidden"  # the bucket keeps versions, and not all could be deleted


@dataclass(frozen=True, slots=True)
class Greeting:
    """How a store answers somebody without credentials who asks what is in the bucket."""

    lists: bool  # it tells them
    seconds: float  # until it answered
    clock_ahead_seconds: float | None  # its clock against ours; None: it does not tell the time


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go."""

    url: str  # of the bucket: keys follow it
    style: str  # path or virtual: where the bucket's name stands
    region: str  # signed into every request
    proxy: str  # host and port of the proxy in between; empty: none
    verified: bool = True  # the certificate of https is looked at


@dataclass(frozen=True, slots=True)
class PublicAnswer:
    """What anybody gets who asks for an object."""

    status: int  # HTTP
    size: int  # bytes of the body
    md5: bytes  # of the body
    content_type: str
    cache_control: str
    etag: str = ""  # without quotes
    is_elsewhere: bool = False  # by way of a redirect
    is_encoded: bool = False  # in another form than it is kept in, so that its size tells nothing
    from_old: bool = False  # the media host of `cutover --nginx` says that the new store did not give it

    @property
    def as_anonymous(self) -> AnonymousAnswer:
        """What it means to a stranger goes by that."""
        size = None if self.is_encoded else self.size
        return AnonymousAnswer(self.status, size, self.etag, self.content_type, self.is_elsewhere)


class PublicSite(Protocol):
    """Where everybody reads the objects of a bucket, asked without credentials. One attempt a request."""

    @property
    def url(self) -> str:
        """What keys follow."""
        ...

    def read(self, key: str, *, fresh: bool = False) -> PublicAnswer:
        """Fetch an object as anybody may. `fresh`: not what a cache has, where the media host knows that wish.

        Raises: NetworkFailure, ServerFailure, Throttled; ObjectRejected for what somebody on the way answers.
        """
        ...

    def lists(self) -> bool:
        """Whether it tells anybody what is in the bucket. Raises: as `read`."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...
