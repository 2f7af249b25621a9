"""With which access claims are written after all, where a worker finds out more than the rows say.

The manifest has to know before the object may lie there: a run that dies would leave it as one of another privacy.
Workers tell it here, and wait until the thread that owns the manifest has taken it in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from mastosync.model import Entry, Presence

Note: TypeAlias = Callable[[Entry, Presence], Callable[[], bool]]
"""Takes an entry and its access to the manifest, and gives a function that tells whether they are there."""


class AccessNotes:
    """Notes on their way from workers to the manifest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[tuple[Entry, Presence]] = []
        self._told = self._recorded = 0  # notes, since the beginning

    def tell(self, entry: Entry, access: Presence) -> Callable[[], bool]:
        """As `Note`, from any thread."""
        with self._lock:
            self._open.append((entry, access))
            self._told += 1
            number = self._told
        return lambda: self._recorded >= number

    @property
    def any_open(self) -> bool:
        """Whether somebody waits."""
        return bool(self._open)

    @contextmanager
    def taken(self) -> Iterator[list[tuple[Entry, Presence]]]:
        """What is to be recorded in this block. It stays open, and who waits for it waits, unless that ends well."""
        with self._lock:
            taken, number = list(self._open), self._told
        yield taken
        with self._lock:
            del self._open[: len(taken)]
            self._recorded = number
