"""Lists for pipes: a key a line, JSON lines, or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def print_rows(rows: Iterable[dict[str, Any]], fields: Sequence[str], form: str) -> None:
    """Print rows, each of which has a `key`, as text (keys only), jsonl or csv."""
    {"text": _text, "jsonl": _jsonl, "csv": _csv}[form](rows, fields)


def _text(rows: Iterable[dict[str, Any]], _: Sequence[str]) -> None:
    for row in rows:
        sys.stdout.write(row["key"] + "\n")


def _jsonl(rows: Iterable[dict[str, Any]], _: Sequence[str]) -> None:
    for row in rows:
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")


def _csv(rows: Iterable[dict[str, Any]], fields: Sequence[str]) -> None:
    writer = csv.DictWriter(sys.stdout, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
