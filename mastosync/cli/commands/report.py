"""`mastosync report`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import file_option
from mastosync.cli.output import json_text, show, show_exactly, show_fault
from mastosync.errors import ExitCode, UsageError
from mastosync.language import english_everywhere, tr

if TYPE_CHECKING:
    from mastosync.report import Report

_PAGE = Path("mastosync-report.html")
_STANDARD_OUTPUT = Path("-")


@click.command(name="report")
@click.option("--format", "form", type=click.Choice(["text", "json", "html"]), help="How to tell it.  [default: text]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help=f"Write it to this file; - is standard output.  [default: -, or {_PAGE} as html]",
)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option(
    "--failures", type=click.IntRange(min=0), default=50, show_default=True, help="List so many of what failed."
)
@file_option(
    "--env",
    help="Mastodon's .env.production: whether it names the new store already.  [default: [env] mastodon_file]",
)
@click.option(
    "--check",
    "kept",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Tell whether this report (json or html) belongs to the manifest as it is now; make none.",
)
@click.pass_obj
def report_command(
    invocation: Invocation,
    form: str | None,
    output: Path | None,
    force: bool,
    failures: int,
    env: Path | None,
    kept: Path | None,
) -> ExitCode:
    """Tell all that the manifest remembers: what was moved, when, how fast, what failed and why, what is proven.

    As html it is one file to keep: the record that the old store may be deleted, or why not yet. Neither database nor
    stores are asked.
    """
    if kept is not None:
        if form or output:
            raise UsageError(
                tr("--check makes no report"), hint=tr("leave out --format and --output, or make one without --check")
            )
        return _check(invocation, kept)
    form = form or "text"
    target = output or (_PAGE if form == "html" else _STANDARD_OUTPUT)
    speaking = english_everywhere() if form == "json" else nullcontext()  # what programs read
    with speaking, invocation.running(stop_at_once=True, manifest_alone=True) as app:
        text = _rendered(app.report(failures, env), form)
    if target == _STANDARD_OUTPUT:
        (show if form == "text" else show_exactly)(text)
    else:
        app.keep_report(f"{text}\n", target, replace=force)
        invocation.say(tr("wrote the report to {file}", file=target))
    return ExitCode.OK


def _rendered(report: Report, form: str) -> str:
    if form == "html":
        from mastosync.report.page.document import render_page

        return render_page(report)
    if form == "json":
        return json_text(report.as_json())
    from mastosync.cli.render_report import render_report

    return render_report(report)


def _check(invocation: Invocation, kept: Path) -> ExitCode:
    with invocation.running(stop_at_once=True, manifest_alone=True) as app:
        found = app.check_report(kept)
    if found.same:
        invocation.say(
            tr("{file} belongs to {manifest}: {digest}", file=kept, manifest=app.manifest_path, digest=found.found)
        )
        return ExitCode.OK
    show_fault(
        tr(
            "{file} does not belong to {manifest} as it is now: one has the digest {kept}, the other {found}.\n"
            "Either it is of another manifest, or an entry has changed since: make a new report.",
            file=kept,
            manifest=app.manifest_path,
            kept=found.kept,
            found=found.found,
        )
    )
    return ExitCode.INCOMPLETE
