"""Where text leaves: what is printed, for people and for programs, and files that shells and `man` read.

Two things:

* Nothing else prints. If standard output cannot be written, a result does not arrive: the run ends. If standard error
  cannot be written, only messages are lost: the run goes on.
* `install_file` writes a completion or manual page for one user, where the XDG base directory specification has it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

import click

from mastosync.cli.terminal import coloured
from mastosync.errors import OutputError, StdoutError, UsageError
from mastosync.language import tr, trn
from mastosync.mountinfo import real_path
from mastosync.progress import beside_bars
from mastosync.terminal_text import as_json, one_line, several_lines

_TOLD = frozenset({"message", "remedy", "what"})  # keys of JSON under which words for people stand, and no data

LIST_FORMATS = ("text", "jsonl", "csv")
"""Of lists for pipes: a key a line, or with NUL behind it; JSON lines; CSV. Never a colour, never a heading."""


class _CommandNames:
    """How commands in messages are written: with the global options of this run."""

    prefix = "mastosync"
    commands = re.compile(r"(?!)")


def set_command_prefix(prefix: str, commands: Iterable[str]) -> None:
    """From now on, write `prefix` in the place of `mastosync` where one of these commands follows."""
    _CommandNames.prefix = prefix
    _CommandNames.commands = re.compile(rf"(?<![\w/.-])mastosync (?=(?:{'|'.join(map(re.escape, commands))})\b)")


def _typed(text: str) -> str:
    return (
        _CommandNames.commands.sub(lambda _: f"{_CommandNames.prefix} ", text)
        if _CommandNames.prefix != "mastosync"
        else text
    )


def show(text: str) -> None:
    """A result, of one line or more. Raises: StdoutError, ReaderGone."""
    click.echo(coloured(several_lines(_typed(text))), color=True)  # what `coloured` leaves is meant


def show_exactly(text: str) -> None:
    """A result for programs, as it is. Raises: StdoutError, ReaderGone."""
    click.echo(text)


def show_fault(text: str) -> None:
    """A result that is bad news, on standard error."""
    click.echo(several_lines(_typed(text)), err=True)


def redraw(text: str) -> None:
    """A result in the place of the one before it, on a terminal: as much as fits. Raises: StdoutError, ReaderGone."""
    lines = coloured(several_lines(_typed(text))).splitlines()[: shutil.get_terminal_size().lines - 1]
    click.echo("".join(["\x1b[H", *(f"{line}\x1b[K\n" for line in lines), "\x1b[J"]), nl=False, color=True)


def show_json(value: object, *, on_one_line: bool = False) -> None:
    """A result for programs. Raises: StdoutError, ReaderGone."""
    click.echo(json_text(value, on_one_line=on_one_line))


def json_text(value: object, *, on_one_line: bool = False) -> str:
    """JSON as text; commands in its messages are written as `show` writes them."""
    return as_json(_typed_in(value), indent=None if on_one_line else 2)


def _typed_in(value: object, name: str = "") -> object:
    """`name`: the key under which the value stands."""
    if isinstance(value, Mapping):
        return {key: _typed_in(each, key) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_typed_in(each) for each in value]
    return _typed(value) if name in _TOLD and isinstance(value, str) else value


def ask(question: str, default: str = "", *, hidden: bool = False) -> str:
    """Ask for one line, which is not shown if `hidden`. Raises: click.Abort if there is no answer."""
    try:
        answer: str = click.prompt(one_line(question), default=default, show_default=bool(default), hide_input=hidden)
    except click.Abort:
        if not hidden:
            click.echo(err=True)  # the message that follows has a line of its own
        raise
    return answer


def warn(text: str) -> None:
    """A warning, on one line."""
    with beside_bars():
        click.echo(f"mastosync: {tr('warning')}: {one_line(_typed(text))}", err=True)


def show_error(message: str, hint: str) -> None:
    """An error: one line, and what to do below it, set off so that no line of it can pose as another message."""
    click.echo(f"mastosync: {one_line(_typed(message))}", err=True)
    for line in hint.split("\n") if hint else ():
        click.echo(f"  {one_line(_typed(line))}", err=True)


def show_origin(traceback: str) -> None:
    """A traceback, for --debug. Each line is marked: it may contain lines of others."""
    for line in traceback.splitlines():
        click.echo(f"| {one_line(line)}", err=True)


def print_rows(rows: Iterable[dict[str, Any]], fields: Sequence[str], form: str, *, nul: bool = False) -> None:
    """Print rows, each of which has a `key`, as text (keys only), jsonl or csv.

    Into a pipe or file, keys are written exactly; on a terminal, control characters are spelled out. Keys end with a
    line break, or with NUL if `nul`. A key that contains its own end would look like two, and a script that deletes by
    the list would delete other objects: it is left out, with a warning. Raises: UsageError, StdoutError, ReaderGone.
    """
    if nul and form != "text":
        raise UsageError(
            tr("--print0 is for keys alone, and --format {form} writes lines", form=form),
            hint=tr("leave one of them out"),
        )
    if sys.stdout is None:  # it was closed when this was started
        raise StdoutError(tr("standard output is closed"), hint=tr("a list is written there: leave it open"))
    if form == "text":
        _print_keys(rows, "\0" if nul else "\n")
    else:
        {"jsonl": _print_jsonl, "csv": _print_csv}[form](rows, fields)
    sys.stdout.flush()


def _print_keys(rows: Iterable[dict[str, Any]], end: str) -> None:
    on_terminal, left_out = sys.stdout.isatty(), 0
    for row in rows:
        key = row["key"]
        if on_terminal:
            key = one_line(key)
        elif end in key or (end == "\n" and "\r" in key):
            left_out += 1
            continue
        sys.stdout.write(key + end)
    if left_out and end == "\n":
        warn(
            trn(
                "{count:,} key holds a line break and is left out: --print0 and `--format jsonl` have it",
                "{count:,} keys hold line breaks and are left out: --print0 and `--format jsonl` have them",
                left_out,
            )
        )
    elif left_out:
        warn(
            trn(
                "{count:,} key holds a NUL and is left out: `--format jsonl` has it",
                "{count:,} keys hold NULs and are left out: `--format jsonl` has them",
                left_out,
            )
        )


def _print_jsonl(rows: Iterable[dict[str, Any]], _: Sequence[str]) -> None:
    for row in rows:
        sys.stdout.write(as_json(row) + "\n")


def _print_csv(rows: Iterable[dict[str, Any]], fields: Sequence[str]) -> None:
    import csv

    plain = csv.DictWriter(sys.stdout, fields, lineterminator="\n")
    # before Python 3.13 a carriage return gets no quotes, and ends the line for those who read it
    quoted = csv.DictWriter(sys.stdout, fields, lineterminator="\n", quoting=csv.QUOTE_ALL)
    on_terminal = sys.stdout.isatty()
    plain.writeheader()
    for row in rows:
        texts = {name: value for name, value in row.items() if isinstance(value, str)}
        if on_terminal:
            plain.writerow(row | {name: one_line(text) for name, text in texts.items()})
        else:
            (quoted if any("\r" in text for text in texts.values()) else plain).writerow(row)


class ReaderGone(Exception):
    """The reader of standard output has closed it. That is no failure."""


class StderrState:
    """Whether standard error could be written."""

    failed = False  # something was not written
    lost = False  # and somebody could have read it


class _Guarded:
    """A stream that hands its errors of writing to a function."""

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
def guarded_streams() -> Iterator[StderrState]:
    """While the block runs, writing to standard output raises StdoutError or ReaderGone; to standard error, nothing."""
    state, before = StderrState(), (sys.stdout, sys.stderr)

    on_terminal = sys.stderr is not None and sys.stderr.isatty()  # a dead one does not tell any more

    def words_lost(error: OSError) -> None:
        state.failed = True
        nobody_is_there = isinstance(error, BrokenPipeError) or (on_terminal and error.errno == errno.EIO)
        state.lost |= not nobody_is_there

    if sys.stdout is not None:
        sys.stdout = cast("TextIO", _Guarded(sys.stdout, _not_written))
    if sys.stderr is not None:
        sys.stderr = cast("TextIO", _Guarded(sys.stderr, words_lost))
    try:
        yield state
    finally:
        sys.stdout, sys.stderr = before
        if state.failed:
            discard_output(sys.stderr)


def discard_output(stream: TextIO | None) -> None:
    """Discard what is buffered for a stream: Python would try to write it at exit, and show its own error."""
    if stream is not None:
        with suppress(OSError):  # it has no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _not_written(error: OSError) -> None:
    """Raises: StdoutError, ReaderGone."""
    if isinstance(error, BrokenPipeError):
        raise ReaderGone from error
    raise StdoutError(
        tr("standard output cannot be written: {why}", why=error.strerror or error),
        hint=tr("the output so far is incomplete: make room, or write elsewhere, and run the same command again"),
    ) from error


def data_home() -> Path:
    """The folder of a user's data. Raises: OutputError if there is no home."""
    return _named("XDG_DATA_HOME") or _home() / ".local" / "share"


def config_home() -> Path:
    """The folder of a user's configuration. Raises: OutputError if there is no home."""
    return _named("XDG_CONFIG_HOME") or _home() / ".config"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # in a container, a user may be nothing but a number
        raise OutputError(tr("this user has no home folder, and $HOME is not set"), hint=_elsewhere()) from error


def _named(variable: str) -> Path | None:
    """A folder that the environment names; a relative path is ignored, as the specification says."""
    path = Path(os.environ.get(variable, ""))
    return path if path.is_absolute() else None


def install_file(path: Path, text: str) -> str:
    """Write a file unless it has this text already. Returns: a message. Raises: OutputError."""
    from mastosync.app.files import new_file
    from mastosync.new_files import make_folders

    try:
        if path.is_file() and path.read_bytes() == text.encode():
            return tr("{path} is already up to date", path=path)
        make_folders(path.parent)
        with new_file(real_path(path), replace=True, mode=0o644) as file:  # what a link leads to
            file.write(text)
    except OutputError as error:
        raise OutputError(error.message, hint=_elsewhere()) from error
    except OSError as error:
        raise OutputError(tr("cannot write {path}: {why}", path=path, why=error.strerror), hint=_elsewhere()) from error
    return tr("wrote {path}", path=path)


def _elsewhere() -> str:
    return tr("without --install it is printed, and can be put elsewhere")
