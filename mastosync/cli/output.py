"""Where text leaves: the one place that prints it, for people and for programs.

It also says what it means if nothing can be written to standard output or standard error, whoever writes. Without the
first, a result does not arrive: the run ends. Nothing but words depends on the second: work goes on.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import click

from mastosync.cli.terminal import coloured
from mastosync.errors import StdoutError, UsageError
from mastosync.language import tr, trn
from mastosync.progress import beside_bars
from mastosync.terminal_text import as_json, one_line, several_lines

_TOLD = frozenset({"message", "remedy", "what"})  # keys of JSON under which words for people stand, and no data

LIST_FORMATS = ("text", "jsonl", "csv")
"""Of lists for pipes: a key a line, or with NUL behind it; JSON lines; CSV. Never a colour, never a heading."""


class _Typed:
    """How commands are written that people are to type: with the configuration and manifest that this run has."""

    prefix = "mastosync"
    commands = re.compile(r"(?!)")


def write_commands_with(prefix: str, commands: Iterable[str]) -> None:
    """From now on, write `prefix` in the place of `mastosync` where one of these commands follows."""
    _Typed.prefix = prefix
    _Typed.commands = re.compile(rf"(?<![\w/.-])mastosync (?=(?:{'|'.join(map(re.escape, commands))})\b)")


def _typed(text: str) -> str:
    return _Typed.commands.sub(lambda _: f"{_Typed.prefix} ", text) if _Typed.prefix != "mastosync" else text


def show(text: str) -> None:
    """A result, of one line or more. Raises: StdoutError, NobodyReads."""
    click.echo(coloured(several_lines(_typed(text))), color=True)  # what `coloured` leaves is meant


def show_exactly(text: str) -> None:
    """A result for programs, as it is. Raises: StdoutError, NobodyReads."""
    click.echo(text)


def show_fault(text: str) -> None:
    """A result that is bad news, of one line or more."""
    click.echo(several_lines(_typed(text)), err=True)


def redraw(text: str) -> None:
    """A result in the place of the one before it, on a terminal: as much as fits. Raises: StdoutError, NobodyReads."""
    lines = coloured(several_lines(_typed(text))).splitlines()[: shutil.get_terminal_size().lines - 1]
    click.echo("".join(["\x1b[H", *(f"{line}\x1b[K\n" for line in lines), "\x1b[J"]), nl=False, color=True)


def show_json(value: object, *, on_one_line: bool = False) -> None:
    """A result for programs. Raises: StdoutError, NobodyReads."""
    click.echo(json_text(value, on_one_line=on_one_line))


def json_text(value: object, *, on_one_line: bool = False) -> str:
    """A result for programs as text: commands in what people are told are written as `show` writes them."""
    return as_json(_typed_in(value), indent=None if on_one_line else 2)


def _typed_in(value: object, name: str = "") -> object:
    """`name`: the key under which the value stands."""
    if isinstance(value, Mapping):
        return {key: _typed_in(each, key) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_typed_in(each) for each in value]
    return _typed(value) if name in _TOLD and isinstance(value, str) else value


def ask(question: str, default: str = "", *, hidden: bool = False) -> str:
    """What somebody types: one line, which is not shown if it is `hidden`. Raises: click.Abort if nobody answers."""
    try:
        answer: str = click.prompt(one_line(question), default=default, show_default=bool(default), hide_input=hidden)
    except click.Abort:
        if not hidden:
            click.echo(err=True)  # what is said of it has a line of its own
        raise
    return answer


def warn(text: str) -> None:
    """What whoever runs this should know, whatever it comes to."""
    with beside_bars():
        click.echo(f"mastosync: {tr('warning')}: {one_line(_typed(text))}", err=True)


def complain(message: str, hint: str) -> None:
    """An error: one line, and what to do below it, set off so that no line of it can pose as another message."""
    click.echo(f"mastosync: {one_line(_typed(message))}", err=True)
    for line in hint.split("\n") if hint else ():
        click.echo(f"  {one_line(_typed(line))}", err=True)


def show_origin(traceback: str) -> None:
    """Where an error comes from, for --debug; set off, as messages of others are in there with their lines."""
    for line in traceback.splitlines():
        click.echo(f"| {one_line(line)}", err=True)


def print_rows(rows: Iterable[dict[str, Any]], fields: Sequence[str], form: str, *, nul: bool = False) -> None:
    """Print rows, each of which has a `key`, as text (keys only), jsonl or csv.

    Into a pipe or file, a key is exactly what it is; on a terminal it is spelled out where it would
    do more than to be read. A key that holds what ends it cannot be told from two: whoever deletes by
    such a list would delete what it names by chance, so it is left out, and that is told. With `nul`
    that is NUL instead of a line break. Raises: UsageError, OutputError.
    """
    if nul and form != "text":
        raise UsageError(
            tr("--print0 is for keys alone, and --format {form} writes lines", form=form),
            hint=tr("leave one of them out"),
        )
    if sys.stdout is None:  # whoever started this has closed it
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
    # before Python 3.13 a carriage return gets no quotes, and ends the line for whoever reads it
    quoted = csv.DictWriter(sys.stdout, fields, lineterminator="\n", quoting=csv.QUOTE_ALL)
    on_terminal = sys.stdout.isatty()
    plain.writeheader()
    for row in rows:
        texts = {name: value for name, value in row.items() if isinstance(value, str)}
        if on_terminal:
            plain.writerow(row | {name: one_line(text) for name, text in texts.items()})
        else:
            (quoted if any("\r" in text for text in texts.values()) else plain).writerow(row)


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
        hint=tr("the output so far is incomplete: make room, or write elsewhere, and run the same command again"),
    ) from error
