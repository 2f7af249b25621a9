"""How tests wait: they poll, and give up only when no machine at work would still need the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECONDS = 60.0
"""What passes until a test gives up. It lengthens no test that passes."""

_POLL_SECONDS = 0.005


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Poll until a condition holds, or fail the test with what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:g} s still waiting until {what}"
        time.sleep(_POLL_SECONDS)


def open_sockets() -> int:
    """Of this process; both ends of a connection, where it has both."""
    return sum(map(_is_socket, Path("/proc/self/fd").iterdir()))


def _is_socket(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith("socket:")
    except OSError:  # it was that of the listing
        return False


@dataclass(slots=True)
class Stalls:
    """How long a thread that was due has waited for its turn."""

    longest_seconds: float = 0.0


@contextmanager
def noticing_stalls() -> Iterator[Stalls]:
    """Measure, for as long as the block runs, how late this machine comes round: no clock of a test is finer."""
    stalls, over = Stalls(), threading.Event()

    def look() -> None:
        due = time.monotonic() + _POLL_SECONDS
        while not over.wait(_POLL_SECONDS):
            now = time.monotonic()
            stalls.longest_seconds = max(stalls.longest_seconds, now - due)
            due = now + _POLL_SECONDS

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield stalls
    finally:
        over.set()
        thread.join()
