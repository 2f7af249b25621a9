"""`mastosync ls`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import print0_option, reasons_option, states_option, types_option
from mastosync.cli.output import LIST_FORMATS, print_rows
from mastosync.model import EntryState, Reason


@click.command(name="ls")
@states_option
@types_option
@reasons_option
@click.option("--accepted", "losses", flag_value="accepted", help="Only what failed and was accepted as lost.")
@click.option("--new", "losses", flag_value="new", help="Only what failed and was not accepted.")
@click.option("--format", "form", type=click.Choice(LIST_FORMATS), default="text", help="text: keys only.")
@print0_option
@click.option("--limit", type=click.IntRange(min=1), help="List at most this many.")
@click.pass_obj
def ls_command(
    invocation: Invocation,
    states: tuple[str, ...],
    types: tuple[str, ...],
    reasons: tuple[str, ...],
    losses: str | None,
    form: str,
    print0: bool,
    limit: int | None,
) -> None:
    """List entries of the manifest, by type and id."""
    from mastosync.listing import FIELDS, ListFilter, iter_listed

    accepted = None if losses is None else losses == "accepted"
    chosen = ListFilter(tuple(map(EntryState, states)), types, tuple(map(Reason, reasons)), accepted)
    context = invocation.context_to_read()

    def rows() -> Iterator[dict[str, Any]]:
        with context.reading() as manifest:
            manifest.require_plan()
            yield from iter_listed(manifest, chosen)

    print_rows(islice(rows(), limit), FIELDS, form, nul=print0)
