"""`mastosync apply-settings`."""

from __future__ import annotations

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option, rate_option, workers_option
from mastosync.cli.output import show_json
from mastosync.errors import ExitCode


@click.command(name="apply-settings")
@click.option("--dry-run", is_flag=True, help="Look at every object, tell how many would be stored again, and stop.")
@workers_option
@rate_option
@json_option
@click.pass_obj
def apply_settings_command(
    invocation: Invocation, dry_run: bool, workers: int | None, rate: int | None, as_json: bool
) -> ExitCode:
    """Bring what is done in line with `cache_control`, `acl` and `storage_class` of the destination.

    For settings that were changed after a copy. The store copies each object onto itself: nothing is uploaded, and the
    source is not asked. A Cache-Control is replaced if there is none, or if it is one that was configured before; any
    other is the object's own, and stays. If the source has the value of before, too, such as the default, which
    Mastodon writes, a new copy would keep it; here it is replaced, as nothing tells whose it is.

    Where a bucket keeps versions, it keeps the old ones, too. What was private by its old settings is opened only if
    the database says now that its row is public.

    Ctrl-C once finishes what is in flight; the same command goes on from there, also after a crash.
    """
    from mastosync.applying.applier import ApplyOptions
    from mastosync.cli.render_applying import render_applying

    options = ApplyOptions(workers or invocation.config.copy.workers, dry_run)
    with invocation.running() as app:
        result = app.apply_settings(options, rate)
    if as_json:
        show_json(result.as_json())
    else:
        invocation.say(render_applying(result))
    return ExitCode.INCOMPLETE if result.left and not dry_run else ExitCode.OK
