"""`mastosync retry-failed`."""

from __future__ import annotations

import click

from mastosync.cli.copy_results import render_copy
from mastosync.cli.invocation import Invocation
from mastosync.cli.options import PaceOptions, failure_reasons_option, pace_options, types_option
from mastosync.errors import ExitCode
from mastosync.language import tr, trn
from mastosync.model import FAILURE_REASONS, Reason


@click.command(name="retry-failed")
@types_option
@failure_reasons_option
@click.option("--accepted", is_flag=True, help="Also those that were accepted as lost.")
@click.option("--no-copy", is_flag=True, help="Put them back to pending, and copy nothing.")
@pace_options
@click.pass_obj
def retry_failed_command(
    invocation: Invocation,
    types: tuple[str, ...],
    reasons: tuple[str, ...],
    accepted: bool,
    no_copy: bool,
    pace: PaceOptions,
) -> ExitCode:
    """Put failed entries back to pending, and copy what is pending.

    What was accepted as lost is left alone: to look for it again costs requests, and nobody expects to find it.
    """
    from mastosync.app.copy import retry_failed
    from mastosync.app.status import status

    options = None if no_copy else pace.options(invocation.config)
    with invocation.running() as context:
        reopened, progress = retry_failed(context, types, tuple(map(Reason, reasons)), options, accepted=accepted)
        left = status(context)
    if not set(map(Reason, reasons)) <= set(FAILURE_REASONS):  # what was skipped has not failed
        invocation.say(trn("{count:,} entry is pending again", "{count:,} entries are pending again", reopened))
    else:
        invocation.say(
            trn("{count:,} failed entry is pending again", "{count:,} failed entries are pending again", reopened)
        )
    if not accepted and any(name in (reasons or left.accepted) for name in left.accepted):
        invocation.say(tr("what was accepted as lost was left alone: --accepted tries it too"))
    if progress is not None:
        invocation.say(render_copy(progress, left))
    news = {} if no_copy else left.news_of(types)
    invocation.tell_news(news)
    return ExitCode.INCOMPLETE if news else ExitCode.OK
