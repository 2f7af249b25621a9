"""`mastosync doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option
from mastosync.cli.output import show, show_json
from mastosync.cli.terminal import PAINT_OF, Paint, paint
from mastosync.errors import ExitCode
from mastosync.language import deferred, enumerated, say, tr
from mastosync.terminal_text import one_line, padded

if TYPE_CHECKING:
    from mastosync.doctor import Diagnosis, Finding

_WORDS = {
    **{"ok": deferred("ok"), "warning": deferred("warning"), "failure": deferred("failure")},
    "skipped": deferred("skipped"),
    **{"source": deferred("source"), "destination": deferred("destination"), "database": deferred("database")},
    **{"manifest": deferred("manifest"), "machine": deferred("machine")},
}
"""Grades and subjects, for people."""


@click.command(name="doctor")
@json_option
@click.pass_obj
def doctor_command(invocation: Invocation, as_json: bool) -> ExitCode:
    """Check everything that can fail before it does, each check with a remedy.

    Nothing is written at the source. Probe objects at the destination are removed again.
    """
    from mastosync.app.doctor import doctor
    from mastosync.doctor import Diagnosis, Grade

    diagnosis = Diagnosis()
    with invocation.running() as context:
        for _, group in groupby(doctor(context), key=lambda finding: finding.subject):
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


def render_findings(findings: Sequence[Finding]) -> str:
    """What was found about one subject, a line each, with the remedy below."""
    lines = [paint(say(_WORDS[str(findings[0].subject)]), Paint.HEADING)]
    for _, group in groupby(findings, key=lambda found: found.message if found.grade == "skipped" else found.check):
        finding, *others = group  # what was skipped for the same reason is one line
        if others or finding.grade == "skipped":
            checks = enumerated(each.check for each in (finding, *others))
            lines.append(f"  {padded(say(_WORDS[finding.grade]), 8)} {checks}: {one_line(finding.message)}")
            continue
        grade = paint(padded(say(_WORDS[finding.grade]), 8), PAINT_OF.get(finding.grade.value))
        lines.append(f"  {grade} {finding.check:<14} {one_line(finding.message)}")
        lines += [f"{'':<26}-> {line}" for line in finding.remedy.splitlines()]
    return "\n".join([*lines, ""])


def render_summary(diagnosis: Diagnosis) -> str:
    """What it all comes to."""
    counts = enumerated(
        paint(f"{say(_WORDS[grade])} {count}", PAINT_OF.get(grade.value) if count else None)
        for grade, count in diagnosis.summary().items()
    )
    return f"{counts}: " + (
        tr("ready to plan and copy")
        if not diagnosis.exit_code
        else tr("correct the failures, beginning with the first")
    )
