"""Standard output and standard error of one run: what it means if nothing can be written there, whoever writes.

Without the first, a result does not arrive: the run ends. Nothing but words depends on the second: work goes on.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from mastosync.errors import StdoutError
from mastosync.language import tr


class NobodyReads(Exception):
    """Whoever read standard output has seen enough: no failure."""


class Spoken:
    """What has become of the words of a run."""

    unheard = False  # standard error took some of them no more
    lost = False  # and somebody would have read them


class _Guarded:
    """A stream whose errors of writing are somebody's business."""

    def __init__(self, stream: TextIO, failed: Callable[[OSError], None]) -> None:
        self._stream, self._failed = stream, failed

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever streams have
        return getattr(self._stream, name)


@contextmanager
def guarded_streams() -> Iterator[Spoken]:
    """For as long as the block runs, standard output raises StdoutError or NobodyReads, and standard error nothing."""
    spoken, before = Spoken(), (sys.stdout, sys.stderr)

    on_terminal = sys.stderr is not None and sys.stderr.isatty()  # a dead one does not tell any more

    def words_lost(error: OSError) -> None:
        spoken.unheard = True
        nobody_is_there = isinstance(error, BrokenPipeError) or (on_terminal and error.errno == errno.EIO)
        spoken.lost |= not nobody_is_there

    if sys.stdout is not None:
        sys.stdout = cast("TextIO", _Guarded(sys.stdout, _not_written))
    if sys.stderr is not None:
        sys.stderr = cast("TextIO", _Guarded(sys.stderr, words_lost))
    try:
        yield spoken
    finally:
        sys.stdout, sys.stderr = before
        if spoken.unheard:
            give_up(sys.stderr)


def give_up(stream: TextIO | None) -> None:
    """Throw away what waits for a stream: Python would try once more at the end, and complain in its own way."""
    if stream is not None:
        with suppress(OSError):  # it has no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _not_written(error: OSError) -> None:
    """Raises: StdoutError, NobodyReads."""
    if isinstance(error, BrokenPipeError):
        raise NobodyReads from error
    raise StdoutError(
        tr("standard output cannot be written: {why}", why=error.strerror or error),
        hint=tr("what was written so far is not whole: make room, or write elsewhere, and run the same command again"),
    ) from error
