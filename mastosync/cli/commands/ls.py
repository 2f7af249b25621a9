"""`mastosync ls`."""

from __future__ import annotations

from itertools import islice

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.lists import FORMS, print_rows
from mastosync.cli.options import print0_option, reasons_option, states_option, types_option
from mastosync.model import EntryState, Reason


@click.command(name="ls")
@states_option
@types_option
@reasons_option
@click.option("--accepted", "losses", flag_value="accepted", help="Only what failed and was accepted as lost.")
@click.option("--new", "losses", flag_value="new", help="Only what failed and was not accepted.")
@click.option("--format", "form", type=click.Choice(FORMS), default="text", help="text: keys only.")
@print0_option
@click.option("--limit", type=click.IntRange(min=1), help="At most this many.")
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
    from mastosync.listing import FIELDS, ListFilter

    accepted = None if losses is None else losses == "accepted"
    chosen = ListFilter(tuple(map(EntryState, states)), types, tuple(map(Reason, reasons)), accepted)
    listed = islice(invocation.reading().iter_listed(chosen), limit)
    print_rows(listed, FIELDS, form, nul=print0)
