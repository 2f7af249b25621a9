"""A small request and its answer, apart from whoever makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Answered(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # a part of it, if it is longer than what was asked for

    def __repr__(self) -> str:
        return f"Answered({self.status}, ***)"  # somebody's file, or words of a store that repeats what it was sent


class Lines(tuple[bytes, ...]):
    """Headers of a request; `repr` shows none, as one of them may be a session token."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Lines(***)"


class Credentials(NamedTuple):
    """What requests are signed with, as libcurl takes it."""

    access_key: bytes
    secret_key: bytes
    lines: Lines  # headers of every request that is signed with them

    def __repr__(self) -> str:
        return "Credentials(***)"


class Exchange(NamedTuple, Generic[T_co]):
    """One request, and what becomes of its answer."""

    method: str  # GET, PUT, HEAD or DELETE
    url: str
    credentials: Credentials
    conclude: Callable[[Answered | OSError], T_co]  # raises errors of the contract
    lines: Lines  # all its headers
    body: bytes | None = None
    max_bytes: int = 0  # of the answer, unless it is an error: what is longer is not read to its end
