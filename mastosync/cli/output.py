"""Where text leaves for people: the one place that prints it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from mastosync.cli.colours import coloured
from mastosync.errors import StdoutError
from mastosync.language import tr
from mastosync.plain import as_json, one_line, several_lines
from mastosync.progress import beside_bars


class NobodyReads(Exception):
    """Whoever read standard output has seen enough: no failure."""


def show(text: str) -> None:
    """A result, of one line or more. Raises: StdoutError, NobodyReads."""
    with _reaching_someone():
        click.echo(coloured(several_lines(text)), color=True)  # what `coloured` leaves is meant


def show_fault(text: str) -> None:
    """A result that is bad news, of one line or more."""
    with suppress(OSError):
        click.echo(several_lines(text), err=True)


def show_json(value: object) -> None:
    """A result for programs. Raises: StdoutError, NobodyReads."""
    with _reaching_someone():
        click.echo(as_json(value, indent=2))


def require_output() -> None:
    """Raises: StdoutError if whoever started this has closed standard output, which Python then does not have."""
    if sys.stdout is None:
        raise StdoutError(tr("standard output is closed"), hint=tr("a list is written there: leave it open"))


def write_out(text: str) -> None:
    """A piece of a list for programs, exactly as it is; `finish_writing` follows the last one.

    Raises: StdoutError, NobodyReads.
    """
    try:
        sys.stdout.write(text)
    except OSError as error:
        raise _understood(error) from error


def finish_writing() -> None:
    """Hand over what is still waiting to be written. Raises: StdoutError, NobodyReads."""
    with _reaching_someone():
        sys.stdout.flush()


def give_up_output() -> None:
    """Throw away what waits for standard output: Python would try once more at the end, and complain in its own way."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _reaching_someone() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _understood(error) from error


def _understood(error: OSError) -> StdoutError | NobodyReads:
    if isinstance(error, BrokenPipeError):
        return NobodyReads()
    return StdoutError(
        tr("standard output cannot be written: {why}", why=error.strerror or error),
        hint=tr("what was written so far is not whole: make room, or write elsewhere, and run the same command again"),
    )


def ask(question: str, default: str = "", *, hidden: bool = False) -> str:
    """What somebody types: one line, which is not shown if it is `hidden`. Raises: click.Abort if nobody answers."""
    answer: str = click.prompt(one_line(question), default=default, show_default=bool(default), hide_input=hidden)
    return answer


def warn(text: str) -> None:
    """What whoever runs this should know, whatever it comes to."""
    with suppress(OSError), beside_bars():  # nobody may be there any more, and the work goes on
        click.echo(f"mastosync: {tr('warning')}: {one_line(text)}", err=True)


def complain(message: str, hint: str) -> None:
    """An error: one line, and what to do below it, set off so that no line of it can pose as another message."""
    with suppress(OSError):  # the exit code says it too
        click.echo(f"mastosync: {one_line(message)}", err=True)
        for line in hint.split("\n") if hint else ():
            click.echo(f"  {one_line(line)}", err=True)


def show_origin(traceback: str) -> None:
    """Where an error comes from, for --debug; set off, as messages of others are in there with their lines."""
    with suppress(OSError):
        for line in traceback.splitlines():
            click.echo(f"| {one_line(line)}", err=True)
