"""`mastosync ls`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import reasons_option, states_option, types_option
from mastosync.engine.lister import FIELDS, ListFilter
from mastosync.model import EntryState, Reason


@click.command(name="ls")
@states_option
@types_option
@reasons_option
@click.option("--format", "form", type=click.Choice(["text", "jsonl", "csv"]), default="text", help="text: keys only.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many.")
@click.pass_obj
def ls_command(
    invocation: Invocation,
    states: tuple[str, ...],
    types: tuple[str, ...],
    reasons: tuple[str, ...],
    form: str,
    limit: int | None,
) -> None:
    """List entries of the manifest, by type and id."""
    chosen = ListFilter(tuple(map(EntryState, states)), types, tuple(map(Reason, reasons)))
    listed = islice(invocation.reading().iter_listed(chosen), limit)
    {"text": _text, "jsonl": _jsonl, "csv": _csv}[form](listed)


def _text(listed: Iterable[dict[str, Any]]) -> None:
    for entry in listed:
        sys.stdout.write(entry["key"] + "\n")


def _jsonl(listed: Iterable[dict[str, Any]]) -> None:
    for entry in listed:
        sys.stdout.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _csv(listed: Iterable[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
