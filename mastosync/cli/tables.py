"""Lists for pipes: a key a line, JSON lines, or CSV."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from mastosync.cli.output import warn
from mastosync.plain import as_json, one_line

_LINE_BREAK = re.compile("[\r\n]")


def print_rows(rows: Iterable[dict[str, Any]], fields: Sequence[str], form: str) -> None:
    """Print rows, each of which has a `key`, as text (keys only), jsonl or csv.

    Into a pipe or file, a key is exactly what it is; on a terminal it is spelled out where it would
    do more than to be read. A key that holds a line break cannot be a line: whoever deletes by
    such a list would delete what it names by chance, so it is left out, and that is told.
    """
    {"text": _text, "jsonl": _jsonl, "csv": _csv}[form](rows, fields)


def _text(rows: Iterable[dict[str, Any]], _: Sequence[str]) -> None:
    on_terminal, left_out = sys.stdout.isatty(), 0
    for row in rows:
        key = row["key"]
        if on_terminal:
            key = one_line(key)
        elif _LINE_BREAK.search(key):
            left_out += 1
            continue
        sys.stdout.write(key + "\n")
    if left_out:
        warn(f"{left_out:,} keys hold line breaks and are left out: `--format jsonl` has them")


def _jsonl(rows: Iterable[dict[str, Any]], _: Sequence[str]) -> None:
    for row in rows:
        sys.stdout.write(as_json(row) + "\n")


def _csv(rows: Iterable[dict[str, Any]], fields: Sequence[str]) -> None:
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
