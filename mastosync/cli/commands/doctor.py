"""`mastosync doctor`."""

from __future__ import annotations

from itertools import groupby

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option
from mastosync.cli.output import show, show_json
from mastosync.cli.render import render_findings, render_summary
from mastosync.errors import ExitCode


@click.command(name="doctor")
@json_option
@click.pass_obj
def doctor_command(invocation: Invocation, as_json: bool) -> ExitCode:
    """Check everything that can fail before it does, each check with a remedy.

    Nothing is written at the source. Probe objects at the destination are removed again.
    """
    from mastosync.doctor import Diagnosis, Grade

    diagnosis = Diagnosis()
    with invocation.running() as app:
        for _, group in groupby(app.doctor(), key=lambda finding: finding.subject):
            findings = list(group)
            diagnosis.findings += findings
            shown = [found for found in findings if found.grade is Grade.FAILURE or not invocation.options.quiet]
            if shown and not as_json:
                show(render_findings(shown))
    if as_json:
        show_json(diagnosis.as_json())
    else:
        invocation.say(render_summary(diagnosis))
    return diagnosis.exit_code
