"""`mastosync verify`."""

from __future__ import annotations

import click

from mastosync.checking.public_access import USUAL_SAMPLE
from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option, types_option, workers_option
from mastosync.cli.output import show_json
from mastosync.errors import ExitCode, UsageError
from mastosync.language import tr


@click.command(name="verify")
@click.option("--deep", is_flag=True, help="Read objects back and compare their digests.")
@click.option("--sample", type=click.IntRange(min=1), help="Read so many of them only, or ask for so many in public.")
@click.option(
    "--public",
    is_flag=True,
    help=f"Ask for a sample ({USUAL_SAMPLE}, or --sample; of each kind) as anybody may, where `public_url` says: are"
    " they public, with their headers, and can nobody read private ones or list the bucket?",
)
@workers_option
@types_option
@json_option
@click.pass_obj
def verify_command(
    invocation: Invocation,
    deep: bool,
    sample: int | None,
    public: bool,
    workers: int | None,
    types: tuple[str, ...],
    as_json: bool,
) -> ExitCode:
    """Hold the destination against the manifest: it must have everything that is done.

    Listings tell size and digest of every object. What is lost or different goes back to pending, unless its row was
    deleted: run `mastosync plan`, then `mastosync copy`, and a second `verify` is clean.
    """
    from mastosync.cli.render_proofs import render_verification
    from mastosync.verifying.verifier import VerifyOptions

    if sample is not None and not (deep or public):
        raise UsageError(tr("--sample goes with --deep or --public"), hint=tr("without them everything is looked at"))
    options = VerifyOptions(workers or invocation.config.copy.workers, types, deep, sample)
    with invocation.running() as app:
        result = app.verify(options, (sample or USUAL_SAMPLE) if public else None)
    if as_json:
        show_json(result.as_json())
    else:
        invocation.say(render_verification(result))
    return ExitCode.OK if result.clean else ExitCode.INCOMPLETE
