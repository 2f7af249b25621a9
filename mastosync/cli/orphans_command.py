"""`mastosync orphans`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option, workers_option
from mastosync.cli.output import show_json
from mastosync.cli.render_proofs import render_orphans
from mastosync.cli.tables import print_rows
from mastosync.engine.lister import FIELDS, described
from mastosync.engine.orphans import OrphanFinder, OrphansOptions
from mastosync.errors import UsageError
from mastosync.language import tr

_ORPHAN_FIELDS = ("key", "size", "modified")


@click.command(name="orphans")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl", "csv"]),
    help="List them; text: keys only.  [default: count]",
)
@click.option("--missing", is_flag=True, help="List what rows refer to and the source lacks instead.")
@workers_option
@json_option
@click.pass_obj
def orphans_command(
    invocation: Invocation, form: str | None, missing: bool, workers: int | None, as_json: bool
) -> None:
    """Tell what lies at the source and no row refers to, and what rows refer to in vain.

    Nothing is deleted. It is compared with the last whole plan: what came to the source since is counted apart.
    """
    if form and as_json:
        raise UsageError(tr("--format lists and --json counts"), hint=tr("use one of them"))
    if missing and not form:
        form = "text"
    with (
        invocation.running() as app,
        app.orphans(OrphansOptions(workers or invocation.config.copy.workers)) as (finder, result),
    ):
        if as_json:
            show_json(result.as_json())
        elif form and missing:
            print_rows(_missing(invocation, finder), FIELDS, form)
        elif form:
            print_rows(
                (dict(zip(_ORPHAN_FIELDS, found, strict=True)) for found in finder.iter_orphans()), _ORPHAN_FIELDS, form
            )
        else:
            invocation.say(render_orphans(result))


def _missing(invocation: Invocation, finder: OrphanFinder) -> Iterator[dict[str, Any]]:
    config = invocation.config
    for record in finder.iter_missing():
        yield described(record, config.source.key_prefix, config.destination.key_prefix)
