"""Lists for pipes: a key a line, keys with NUL behind each, JSON lines, or CSV. Never a colour, never a heading."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from mastosync.cli.output import finish_writing, require_output, warn, write_out
from mastosync.errors import UsageError
from mastosync.language import tr, trn
from mastosync.terminal_text import as_json, one_line

FORMS = ("text", "jsonl", "csv")


def print_rows(rows: Iterable[dict[str, Any]], fields: Sequence[str], form: str, *, nul: bool = False) -> None:
    """Print rows, each of which has a `key`, as text (keys only), jsonl or csv.

    Into a pipe or file, a key is exactly what it is; on a terminal it is spelled out where it would
    do more than to be read. A key that holds what ends it cannot be told from two: whoever deletes by
    such a list would delete what it names by chance, so it is left out, and that is told. With `nul`
    that is NUL instead of a line break. Raises: UsageError, OutputError.
    """
    if nul and form != "text":
        raise UsageError(
            tr("--print0 ends keys, and --format {form} has lines", form=form), hint=tr("leave one of them out")
        )
    require_output()
    if form == "text":
        _text(rows, "\0" if nul else "\n")
    else:
        {"jsonl": _jsonl, "csv": _csv}[form](rows, fields)
    finish_writing()


def _text(rows: Iterable[dict[str, Any]], end: str) -> None:
    on_terminal, left_out = sys.stdout.isatty(), 0
    for row in rows:
        key = row["key"]
        if on_terminal:
            key = one_line(key)
        elif end in key or (end == "\n" and "\r" in key):
            left_out += 1
            continue
        write_out(key + end)
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


def _jsonl(rows: Iterable[dict[str, Any]], _: Sequence[str]) -> None:
    for row in rows:
        write_out(as_json(row) + "\n")


class _Output:
    """Standard output as the CSV writer wants it."""

    write = staticmethod(write_out)


def _csv(rows: Iterable[dict[str, Any]], fields: Sequence[str]) -> None:
    plain = csv.DictWriter(_Output(), fields, lineterminator="\n")
    # before Python 3.13 a carriage return gets no quotes, and ends the line for whoever reads it
    quoted = csv.DictWriter(_Output(), fields, lineterminator="\n", quoting=csv.QUOTE_ALL)
    on_terminal = sys.stdout.isatty()
    plain.writeheader()
    for row in rows:
        texts = {name: value for name, value in row.items() if isinstance(value, str)}
        if on_terminal:
            plain.writerow(row | {name: one_line(text) for name, text in texts.items()})
        else:
            (quoted if any("\r" in text for text in texts.values()) else plain).writerow(row)
