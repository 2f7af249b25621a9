"""`OriginFetcher`: fetching a file from the server that it came from, for when the source has lost it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Protocol


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched, in memory or on the disk without a name. Whoever has it closes it."""

    file: IO[bytes]  # at its start
    size: int  # bytes
    md5: bytes  # 16 bytes
    head: bytes  # the first bytes, which tell what it is

    def close(self) -> None:
        """Let go of it."""
        self.file.close()


class OriginFetcher(Protocol):
    """Fetches files, one after the other, from servers that are not trusted. One for each thread."""

    def fetch(self, url: str, most_bytes: int) -> Fetched:
        """Fetch a file, with one attempt.

        Raises: ObjectMissing if its server does not give it; ObjectDenied if the URL must not be asked;
        ObjectTooLarge; Throttled, ServerFailure, NetworkFailure for what may pass; StoreUnusable if the disk here
        does not take it; Interrupted when asked to stop.
        """
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...
