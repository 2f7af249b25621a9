"""`StoreProbe`: what `doctor` wants to know of a store and a copy need not ask.

It stands beside an `ObjectStore` of the same bucket and promises the same: one attempt a request, and
no errors but those of that contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mastosync.errors import MastosyncError
from mastosync.model import Access, Ownership
from mastosync.store.base import Room
from mastosync.store.http.anonymous import Glimpse


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
    def glimpse(self) -> Glimpse:
        """What it means to a stranger goes by that."""
        size = None if self.is_encoded else self.size
        return Glimpse(self.status, size, self.etag, self.content_type, self.is_elsewhere)


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


class StoreProbe(Protocol):
    """Questions to one bucket. Only `write_damaged` and `delete` change anything."""

    @property
    def address(self) -> Address:
        """Where requests go."""
        ...

    def greet(self) -> Greeting:
        """Ask without credentials. Any answer will do.

        Raises: NetworkFailure or StoreUnusable if there is none, or no secure connection.
        """
        ...

    def cause_of(self, error: MastosyncError) -> RefusalCause:
        """What the refusal of a whole store is due to."""
        ...

    def keys(self, prefix: str, at_most: int) -> list[str]:
        """The first keys that begin with `prefix`. Raises: ObjectDenied if the key may not list."""
        ...

    def works_otherwise(self) -> str:
        """The other addressing style, if the bucket can be listed with it; else an empty string."""
        ...

    def is_public(self, key: str, etag: str) -> bool:
        """Whether anybody can read this object. `etag` tells it from what else may be sent instead."""
        ...

    def public_address(self, key: str, md5: bytes) -> str:
        """Under which URL anybody gets an object of this MD5 where `public_url` says that everybody reads them.

        Empty: nowhere, as far as can be told. The key must be new: what came before may be kept by a cache, or be
        served from another store.
        """
        ...

    def write_damaged(self, key: str, data: bytes) -> bool:
        """Send an object with the Content-MD5 of another, and return whether the store took it.

        Raises: ObjectDenied and the like if the refusal has other reasons.
        """
        ...

    def delete(self, key: str) -> Removal:
        """Delete an object with all its versions, and tell what has become of it. One that is not there is no error."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


class FolderProbe(Protocol):
    """Questions to a folder of this machine. Only `folds_names` and `delete` change anything, and leave nothing."""

    def first_key(self) -> str:
        """The first object's; empty: there is none. Raises: StoreUnusable."""
        ...

    def unfollowed_links(self) -> list[str]:
        """Links to folders where none is followed, as far as an admin may have made them.

        That is in the folders that hold those of ids: all others would take a look at every object.
        Raises: StoreUnusable, at a destination also for a link that would have to be followed, and cannot be.
        """
        ...

    def rooms(self, pending: Mapping[str, int]) -> list[Room]:
        """The disks of a destination, as links may lead to several. `pending`: bytes, by folders of keys.

        Raises: StoreUnusable.
        """
        ...

    def mode(self, key: str) -> int:
        """Who may do what with an object's file: the nine bits. Raises: ObjectMissing."""
        ...

    def ownership(self) -> Ownership:
        """Whose what is written should be, and whether what lies there is. Raises: StoreUnusable."""
        ...

    def access(self, key: str) -> Access:
        """Whose an object's file is, and who may do what with it. Raises: ObjectMissing."""
        ...

    def folds_names(self) -> bool:
        """Whether the disk takes names for one that differ only in case. Raises: StoreUnusable."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object, and the folders that are empty then; one that is not there is no error."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
