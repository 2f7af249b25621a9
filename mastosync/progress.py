"""Progress of long work, and what shows it: a bar on a terminal, a line a second without one, or nothing.

Work counts in one of the `…Progress` classes; a `ProgressListener` only shows that. See docs/design/interface.md.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Never, Protocol, TextIO, TypeAlias

from mastosync.language import deferred, enumerated, say, tr
from mastosync.model import EntryState, Origin, Outcome
from mastosync.terminal_text import one_line
from mastosync.units import clock, human_bytes

if TYPE_CHECKING:
    from tqdm import tqdm

    from mastosync.manifest import Outage

_LINE_SECONDS = 1.0

ENDPOINTS = (deferred("source"), deferred("destination"), deferred("store"))
"""What endpoints are called; the last one where source and destination are at one."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """How fast an endpoint lets itself be asked at the moment."""

    name: str  # of ENDPOINTS
    rate: float | None = None  # requests a second that it settled on; None: full speed
    paused_seconds: float = 0.0  # until it is asked again
    throttles: int = 0  # answers that asked to slow down, so far
    outage: Outage | None = None  # while it is waited for

    @property
    def described(self) -> str:
        """For people; empty while nothing throttles, and nothing is down."""
        if self.outage is not None:
            return tr(
                "{name} down since {since}, waiting until {until}: {answer}",
                name=say(self.name),
                since=clock(self.outage.since),
                until=clock(self.outage.until),
                answer=self.outage.answer,
            )
        if self.paused_seconds >= 1:
            return tr("{name} throttles: waiting {seconds:,.0f} s", name=say(self.name), seconds=self.paused_seconds)
        if self.rate is None:
            return ""
        return tr("{name} throttles: settled at {rate:,.0f} requests/s", name=say(self.name), rate=self.rate)


@dataclass(slots=True)
class CopyProgress:
    """What one run has done so far, in entries; bytes are those that were copied."""

    total: int
    done: int = 0
    found: int = 0  # of these: their objects were at the destination already
    failed: int = 0
    skipped: int = 0
    size_bytes: int = 0
    limits: tuple[EndpointState, ...] = ()
    finding: str | None = None  # what people should know of the destination, and nobody knew before
    started: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> int:
        """Entries with an outcome."""
        return self.done + self.failed + self.skipped

    @property
    def throttles(self) -> int:
        """Answers that asked to slow down, of all endpoints."""
        return sum(limit.throttles for limit in self.limits)

    @property
    def throttling(self) -> tuple[str, ...]:
        """Who throttles right now, and what comes of it, for people."""
        return tuple(limit.described for limit in self.limits if limit.described)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.started

    @property
    def speed(self) -> str:
        """Bytes a second, for people."""
        return f"{human_bytes(self.size_bytes / max(self.seconds, 0.001))}/s"

    def count(self, outcome: Outcome) -> None:
        """Add one outcome."""
        if outcome.state is EntryState.DONE:
            self.done += 1
            found = outcome.origin is Origin.ADOPTED or outcome.end is not None
            self.found += found
            self.size_bytes += 0 if found else outcome.size or 0
        elif outcome.state is EntryState.FAILED:
            self.failed += 1
        else:
            self.skipped += 1


@dataclass(slots=True)
class PlanProgress:
    """What a plan has read so far."""

    total: int  # rows, as the database estimates; 0: unknown
    table: str = ""
    rows: int = 0
    entries: int = 0


@dataclass(slots=True)
class CheckProgress:
    """How far a look through the manifest, or a comparison of it with stores, has come, in entries."""

    what: str  # verify, adopt, orphans, check, export, import
    total: int  # entries, about; 0: unknown
    checked: int = 0
    found: int = 0  # worth telling: what differs, what was adopted
    finding: str = deferred("not as recorded")  # "": nothing to find
    started: float = field(default_factory=time.monotonic)


AnyProgress: TypeAlias = CopyProgress | PlanProgress | CheckProgress


class ProgressListener(Protocol):
    """Shows progress. Called from one thread, as often as the work likes."""

    def started(self, progress: AnyProgress) -> None:
        """Work begins."""
        ...

    def advanced(self, progress: AnyProgress) -> None:
        """The numbers have changed."""
        ...

    def finished(self, progress: AnyProgress) -> None:
        """Work has ended, well or not."""
        ...

    def message(self, text: str) -> None:
        """Something a person should read, without breaking the display."""
        ...


@contextmanager
def shown(progress: AnyProgress, listener: ProgressListener) -> Iterator[None]:
    """Show the progress of the block, from its beginning to its end, well or not."""
    listener.started(progress)
    try:
        yield
    finally:
        listener.finished(progress)


class NoProgress:
    """Shows nothing."""

    def started(self, progress: AnyProgress) -> None:  # noqa: D102 - see ProgressListener
        ...

    def advanced(self, progress: AnyProgress) -> None:  # noqa: D102
        ...

    def finished(self, progress: AnyProgress) -> None:  # noqa: D102
        ...

    def message(self, text: str) -> None:  # noqa: D102
        ...


class MessagesOnly(NoProgress):
    """Shows no progress, but says what a person should read."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr  # as it is now

    def message(self, text: str) -> None:  # noqa: D102
        with suppress(OSError):  # nobody reads it any more, and the work goes on
            print(one_line(text), file=self._stream, flush=True)


class LineProgress(MessagesOnly):
    """A line a second, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._last = 0.0

    def started(self, progress: AnyProgress) -> None:  # noqa: D102
        self._last = time.monotonic()

    def advanced(self, progress: AnyProgress) -> None:  # noqa: D102
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            self.message(described(progress))

    def finished(self, progress: AnyProgress) -> None:  # noqa: D102
        self.message(described(progress))


class BarProgress:
    """A tqdm bar on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        from tqdm import tqdm  # noqa: PLC0415 - most runs have no terminal, and it takes a while

        self._tqdm: type[tqdm[Never]] = tqdm
        self._stream = stream or sys.stderr  # as it is now
        self._bar: tqdm[Never] | None = None

    def started(self, progress: AnyProgress) -> None:  # noqa: D102
        with suppress(OSError):  # as above: the terminal is gone
            self._started(progress)

    def _started(self, progress: AnyProgress) -> None:
        unit = "row" if isinstance(progress, PlanProgress) else "obj"
        # terminals of containers may not say how wide they are
        known = os.get_terminal_size(self._stream.fileno()).columns > 0
        width = None if known else 80
        self._bar = self._tqdm(
            total=progress.total or None,
            unit=unit,
            file=self._stream,
            dynamic_ncols=known,
            ncols=width,
            smoothing=0.1,
        )

    def advanced(self, progress: AnyProgress) -> None:  # noqa: D102
        with suppress(OSError):
            self._advanced(progress)

    def _advanced(self, progress: AnyProgress) -> None:
        if self._bar is None:
            return
        if isinstance(progress, CopyProgress):
            news = progress.finished - self._bar.n
            counts = (
                progress.speed,
                tr("failed {count}", count=progress.failed),
                tr("throttled {count}", count=progress.throttles),
            )
            # first what a narrow terminal must not cut off; and drawn without news, since it says why there are none
            stuck = bool(progress.throttling) and not news
            self._bar.set_postfix_str(enumerated((*progress.throttling, *counts)), refresh=stuck)
            self._bar.update(news)
        elif isinstance(progress, CheckProgress):
            self._bar.set_description_str(progress.what, refresh=False)
            if progress.finding:
                self._bar.set_postfix_str(f"{progress.found} {say(progress.finding)}", refresh=False)
            self._bar.update(progress.checked - self._bar.n)
        else:
            self._bar.set_description_str(progress.table, refresh=False)
            self._bar.set_postfix_str(tr("{count} entries", count=progress.entries), refresh=False)
            self._bar.update(progress.rows - self._bar.n)

    def finished(self, progress: AnyProgress) -> None:  # noqa: D102
        self.advanced(progress)
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()
            self._bar = None

    def message(self, text: str) -> None:  # noqa: D102
        with suppress(OSError):
            self._tqdm.write(one_line(text), file=self._stream)


@contextmanager
def beside_bars() -> Iterator[None]:
    """For a line on standard error: bars that are drawn there give way to it."""
    tqdm = sys.modules.get("tqdm")
    if tqdm is None:  # nobody draws any
        yield
        return
    with tqdm.tqdm.external_write_mode(file=sys.stderr):
        yield


def described(progress: AnyProgress) -> str:
    """Progress in one line of plain text."""
    if isinstance(progress, PlanProgress):
        return tr(
            "plan: {rows} rows read, {entries} entries, at {table}",
            rows=progress.rows,
            entries=progress.entries,
            table=progress.table or tr("the end"),
        )
    if isinstance(progress, CheckProgress):
        rate = progress.checked / max(time.monotonic() - progress.started, 0.001)
        checked = (
            tr("{checked} of {total} objects", checked=progress.checked, total=progress.total)
            if progress.total
            else tr("{checked} objects", checked=progress.checked)
        )
        found = [f"{progress.found} {say(progress.finding)}"] if progress.finding else []
        return enumerated([f"{say(progress.what)}: {checked}", tr("{rate:.1f}/s", rate=rate), *found])
    rate = progress.finished / max(progress.seconds, 0.001)
    return enumerated(
        (
            tr(
                "copy: {finished} of {total} objects, {rate:.1f}/s, {speed}",
                finished=progress.finished,
                total=progress.total,
                rate=rate,
                speed=progress.speed,
            ),
            tr("failed {count}", count=progress.failed),
            tr("skipped {count}", count=progress.skipped),
            tr("throttled {count}", count=progress.throttles),
            *progress.throttling,
        )
    )
