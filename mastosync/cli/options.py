"""Options that several commands share."""

from __future__ import annotations

import click

from mastosync.model import FAILURE_REASONS, TABLES, EntryState, Reason

types_option = click.option(
    "--type", "types", multiple=True, type=click.Choice(TABLES), help="Only this type (a table's name); repeatable."
)
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), help="Objects in flight at once.  [default: 8, or [copy] workers]"
)
failure_reasons_option = click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice([reason.value for reason in (*FAILURE_REASONS, Reason.PRIVATE)]),
    help="Only entries that failed for this reason; repeatable. `private`: what was kept back.",
)
reasons_option = click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice([reason.value for reason in Reason]),
    help="Only entries with this reason; repeatable.",
)
states_option = click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in EntryState]),
    help="Only entries in this state; repeatable.",
)
