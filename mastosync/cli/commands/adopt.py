"""`mastosync adopt`."""

from __future__ import annotations

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option, types_option, workers_option
from mastosync.cli.output import show_json


@click.command(name="adopt")
@click.option("--deep", is_flag=True, help="Read at both ends what sizes and ETags do not decide.")
@workers_option
@types_option
@json_option
@click.pass_obj
def adopt_command(
    invocation: Invocation, deep: bool, workers: int | None, types: tuple[str, ...], as_json: bool
) -> None:
    """Mark as done what lies at the destination already, whoever brought it.

    Both stores are listed, and no object is moved: what has the size and the digest of the source's is done, the rest
    stays for `mastosync copy`.
    """
    from mastosync.cli.render_proofs import render_adoption
    from mastosync.verifying.adopter import AdoptOptions

    options = AdoptOptions(workers or invocation.config.copy.workers, types, deep)
    with invocation.running() as app:
        result = app.adopt(options)
    if as_json:
        show_json(result.as_json())
    else:
        invocation.say(render_adoption(result))
