"""The log of a run: to a file, or to standard error with -v. One event is one line, whatever a key holds."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.cli.output import warn
from mastosync.errors import Interrupted, MastosyncError, OutputError
from mastosync.language import tr
from mastosync.new_files import opened_or_made
from mastosync.terminal_text import as_json, one_line

if TYPE_CHECKING:
    from mastosync.progress import ProgressListener

_log = logging.getLogger(__name__)

_ROOT = "mastosync"
_ALWAYS_SHOWN = (
    "mastosync.manifest",
    "mastosync.new_files",
    "mastosync.app.plan",
    "mastosync.app.stores",
    "mastosync.app.copy.room",
    "mastosync.app.mastodon_settings",
    "mastosync.copying.copier.trust",
    "mastosync.copying.same_store",
    "mastosync.runtime.outages",
    "mastosync.store.filesystem.owners",
)
"""Loggers whose warnings are shown also without a log.

They are about: a sound manifest, a standby that lags, two stores that are one, a store that is down, ETags that prove
nothing, a full disk, owners of files.
"""


@contextmanager
def logging_to(
    path: Path | None,
    form: str,
    verbose: int = 0,
    listener: ProgressListener | None = None,
    lost: Callable[[OutputError], None] = lambda _: None,
) -> Iterator[None]:
    """Log as asked for, for as long as the block runs. Raises: OutputError if the file cannot be opened.

    With `verbose`, `listener` shows it as well. `lost` is called once if the file cannot be written; the run goes on.
    """
    logger = logging.getLogger(_ROOT)
    level = logging.DEBUG if verbose > 1 else logging.INFO
    handlers: list[logging.Handler] = []
    if path is not None:
        try:
            handlers.append(_OwnFile(path, lost))
        except OSError as error:
            raise OutputError(
                tr("cannot write the log file {path}: {strerror}", path=path, strerror=error.strerror),
                hint=tr("name another file"),
            ) from error
    if verbose and listener is not None:
        handlers.append(_ToListener(listener))
        handlers[-1].addFilter(lambda record: not record.name.startswith(_ALWAYS_SHOWN))
    formatter = _JsonLines() if form == "json" else _TextLines("%(asctime)s %(levelname)s %(message)s")
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    level_before, propagate_before = logger.level, logger.propagate
    logger.setLevel(level if handlers else logging.CRITICAL)
    logger.propagate = False
    try:
        yield
    finally:
        logger.setLevel(level_before)
        logger.propagate = propagate_before
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def log_end(path: Path | None, form: str, error: MastosyncError) -> None:
    """Append the error that ended the run to the log, if there is one."""
    if path is None:
        return
    level = logging.WARNING if isinstance(error, Interrupted) else logging.ERROR
    what_to_do = ", ".join(error.hint.splitlines())
    about = {"hint": what_to_do, "exit_code": int(error.exit_code)}
    with suppress(MastosyncError), logging_to(path, form):  # that it cannot be written was shown
        text = error.message if form == "json" or not what_to_do else f"{error.message}: {what_to_do}"
        _log.log(level, "%s", text, extra={"about": about})


def _gap(missing: int) -> logging.LogRecord:
    """The record that stands for those that could not be written."""
    text = "what is missing before this line could not be written: %s records"
    return _log.makeRecord(_log.name, logging.WARNING, "", 0, text, (f"{missing:,}",), None)


class _OwnFile(logging.Handler):
    """Appends to a file. If the file is new, only its owner may read it, from the first moment. Raises: OSError.

    If it cannot be written, `lost` is called once, and each later record is tried again: there may be room by then.
    """

    def __init__(self, path: Path, lost: Callable[[OutputError], None]) -> None:
        super().__init__()
        self._path, self._lost = path, lost
        self._fd = opened_or_made(path, os.O_WRONLY | os.O_APPEND)
        self._missing = 0  # records since the last one that was written
        self._half = False  # one of them was begun
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._missing:
                self._write(b"\n" if self._half else b"")
                self._write(self._line_of(_gap(self._missing)))
            self._write(self._line_of(record))
            self._missing = 0
        except OSError as error:
            self._missing += 1
            if not self._told:
                self._told = True
                self._lost(self._error(error))
        except Exception:  # noqa: BLE001 - what every handler does about a record that has no words
            self.handleError(record)

    def _line_of(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode("utf-8", "backslashreplace")

    def _write(self, data: bytes) -> None:
        written = 0
        while written < len(data):
            written += os.write(self._fd, data[written:])
            self._half = written < len(data)

    def _error(self, error: OSError) -> OutputError:
        return OutputError(
            tr("the log file {path} is not whole: {strerror}", path=self._path, strerror=error.strerror),
            hint=tr("make room there, or name another file by --log-file; nothing need be done again for it"),
        )

    def close(self) -> None:
        super().close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@contextmanager
def showing_warnings() -> Iterator[None]:
    """Show warnings about manifest and stores on standard error, whether or not there is a log."""
    handler = _ToStandardError(logging.WARNING)
    before = [(logger, logger.level) for logger in map(logging.getLogger, _ALWAYS_SHOWN)]
    for logger, _ in before:
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in before:
            logger.setLevel(level)
            logger.removeHandler(handler)


class _ToStandardError(logging.Handler):
    """Looks as every warning. The same text is not shown twice in a row: `status --watch` reads every 3 s."""

    _said_last = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text != self._said_last:
            warn(text)
        self._said_last = text


class _ToListener(logging.Handler):
    """Shows records without breaking a progress bar."""

    def __init__(self, listener: ProgressListener) -> None:
        super().__init__()
        self._listener = listener

    def emit(self, record: logging.LogRecord) -> None:
        self._listener.message(self.format(record))


class _TextLines(logging.Formatter):
    """A record on one line: a line break in a key must not forge another record."""

    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


class _JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, and what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        about = getattr(record, "about", {})
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **about,
        }
        return as_json(event)
