"""`mastosync orphans`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.lists import FORMS, print_rows
from mastosync.cli.options import json_option, print0_option, workers_option
from mastosync.cli.output import show_json
from mastosync.errors import UsageError
from mastosync.language import tr

if TYPE_CHECKING:
    from mastosync.verifying.orphans import OrphanFinder

_ORPHAN_FIELDS = ("key", "size", "modified")


@click.command(name="orphans")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="List them; text: keys only.  [default: count]",
)
@click.option("--missing", is_flag=True, help="List what rows refer to and the source lacks instead.")
@print0_option
@workers_option
@json_option
@click.pass_obj
def orphans_command(
    invocation: Invocation, form: str | None, missing: bool, print0: bool, workers: int | None, as_json: bool
) -> None:
    """Tell what lies at the source and no row refers to, and what rows refer to in vain.

    Nothing is deleted. It is compared with the last whole plan: what came to the source since, or shortly before, is
    counted apart: its row may not have been there to be seen.
    """
    from mastosync.cli.render_proofs import render_newer, render_orphans
    from mastosync.listing import FIELDS

    if as_json and (form or print0):
        raise UsageError(tr("--format lists and --json counts"), hint=tr("use one of them"))
    form = form or ("text" if missing or print0 else None)
    with (
        invocation.running() as app,
        app.orphans(workers or invocation.config.copy.workers) as (finder, result),
    ):
        if as_json:
            show_json(result.as_json())
        elif form:
            with closing(_listed(invocation, finder, missing=missing)) as rows:  # before what it reads from
                print_rows(rows, FIELDS if missing else _ORPHAN_FIELDS, form, nul=print0)
            if not missing and (newer := render_newer(result)):
                invocation.remark(newer)
        else:
            invocation.say(render_orphans(result))


def _listed(invocation: Invocation, finder: OrphanFinder, *, missing: bool) -> Generator[dict[str, Any], None, None]:
    if not missing:
        for found in finder.iter_orphans():
            yield dict(zip(_ORPHAN_FIELDS, found, strict=True))
        return
    from mastosync.listing import described

    config = invocation.config
    for record in finder.iter_missing():
        yield described(record, config.source.key_prefix, config.destination.key_prefix)
