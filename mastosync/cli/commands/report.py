"""`mastosync report`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import file_option
from mastosync.cli.output import json_text, show, show_exactly, show_fault
from mastosync.cli.terminal import table
from mastosync.errors import ExitCode, UsageError
from mastosync.language import english_everywhere, enumerated, say, tr
from mastosync.model import EntryState, Origin
from mastosync.new_files import OR_FORCE
from mastosync.terminal_text import one_line, padded
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.report import CopyRun, Report, TypeCount

_PAGE = Path("mastosync-report.html")
_STANDARD_OUTPUT = Path("-")


@click.command(name="report")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "html"]), help="Format of the report.  [default: text]"
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help=f"Write it to this file; - is standard output.  [default: -, or {_PAGE} as html]",
)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option(
    "--failures",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="List at most this many failed entries.",
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
    """Report everything the manifest records: what was moved, when, how fast, what failed and why, what is proven.

    As html it is one file to keep: the record that the old store may be deleted, or why not yet. Neither database nor
    stores are asked.
    """
    from mastosync.app.files import new_file
    from mastosync.app.report import report

    if kept is not None:
        if form or output:
            raise UsageError(
                tr("--check makes no report"), hint=tr("leave out --format and --output, or make one without --check")
            )
        return _check(invocation, kept)
    form = form or "text"
    target = output or (_PAGE if form == "html" else _STANDARD_OUTPUT)
    speaking = english_everywhere() if form == "json" else nullcontext()  # what programs read
    with speaking, invocation.running(stop_at_once=True, manifest_alone=True) as context:
        text = _rendered(report(context, failures, env), form)
    if target == _STANDARD_OUTPUT:
        (show if form == "text" else show_exactly)(text)
    else:
        with new_file(target, replace=force, hint=say(OR_FORCE)) as file:
            file.write(f"{text}\n")
        invocation.say(tr("wrote the report to {file}", file=target))
    return ExitCode.OK


def _rendered(report: Report, form: str) -> str:
    if form == "html":
        from mastosync.report.page import render_page

        return render_page(report)
    if form == "json":
        return json_text(report.as_json())

    return render_report(report)


def _check(invocation: Invocation, kept: Path) -> ExitCode:
    from mastosync.app.report import check_report

    with invocation.running(stop_at_once=True, manifest_alone=True) as context:
        found = check_report(context, kept)
    if found.same:
        invocation.say(
            tr("{file} belongs to {manifest}: {digest}", file=kept, manifest=context.manifest_path, digest=found.found)
        )
        return ExitCode.OK
    show_fault(
        tr(
            "{file} does not belong to {manifest} as it is now: one has the digest {kept}, the other {found}.\n"
            "Either it is of another manifest, or an entry has changed since: make a new report.",
            file=kept,
            manifest=context.manifest_path,
            kept=found.kept,
            found=found.found,
        )
    )
    return ExitCode.INCOMPLETE


_RUNS = 10  # that are shown, as are verifications


def render_report(report: Report) -> str:
    """One screen, and the lists below it."""
    parts = (_head, _verdict, _contents, _runs, _proofs, _failures, _skipped)
    return "\n".join(line for part in parts for line in (*part(report), ""))[:-1]


def _head(report: Report) -> Iterator[str]:

    from mastosync.report import moment

    begin, end = report.period
    yield _line(tr("source"), str(report.source))
    yield _line(tr("destination"), str(report.destination))
    yield _line(tr("period"), tr("{begin} to {end} UTC", begin=moment(begin), end=moment(end)))
    whole = report.last_whole_plan
    last = tr(", the last whole one at {time} UTC", time=moment(whole.taken_at.timestamp())) if whole else ""
    yield _line(tr("plans"), tr("{plans}{last}", plans=f"{len(report.plans):,}", last=last))
    copied, seconds = report.copied, report.worked_seconds
    pace = ""
    if seconds:
        each_second = human_bytes(copied.size_bytes / seconds)
        told = tr("{objects}/s, {bytes}/s", objects=f"{copied.objects / seconds:,.1f}", bytes=each_second)
        pace = f" ({told})"
    yield _line(
        tr("copies"),
        tr(
            "{runs}: {objects} objects, {bytes} in {time}{pace}",
            runs=f"{len(report.runs):,}",
            objects=f"{copied.objects:,}",
            bytes=human_bytes(copied.size_bytes),
            time=human_seconds(seconds),
            pace=pace,
        ),
    )
    ways = {origin.value: f"{report.origin(origin).objects:,}" for origin in Origin}
    yield _line(tr("came by"), tr("copied {copied}, adopted {adopted}, refetched {refetched}", **ways))
    yield _line(tr("digest"), f"sha256 {report.contents.sha256}")


def _verdict(report: Report) -> Iterator[str]:
    from mastosync.findings import Grade

    if report.shared:
        may_go = tr("THE OLD OBJECTS MAY BE DELETED, BUT NOT THE BUCKET")
        yield may_go if report.verdict.may_go else tr("KEEP THE OLD OBJECTS: SEE not-yet")
    elif report.source.is_folder:
        may_go = tr("THE OLD FOLDER MAY BE DELETED: {store}", store=report.source)
        keep = tr("KEEP THE OLD FOLDER: SEE not-yet ({store})", store=report.source)
        yield one_line(may_go if report.verdict.may_go else keep)
    else:
        may_go = tr("THE OLD STORE MAY BE DELETED: {store}", store=report.source)
        keep = tr("KEEP THE OLD STORE: SEE not-yet ({store})", store=report.source)
        yield one_line(may_go if report.verdict.may_go else keep)
    words = {Grade.OK: tr("ok"), Grade.WARNING: tr("warning"), Grade.FAILURE: tr("not-yet")}
    for found in report.verdict.findings:
        yield f"  {padded(words[found.grade], 8)} {found.check:<10} {one_line(found.message)}"
        if found.remedy:
            yield f"{'':<22}-> {one_line(found.remedy)}"


def _contents(report: Report) -> Iterator[str]:
    states = [state.value for state in EntryState]
    by_type: dict[tuple[str, bool], list[TypeCount]] = {}
    for count in report.counts:
        by_type.setdefault((count.table, count.remote), []).append(count)
    rows = [
        (
            f"{name} ({tr('remote') if remote else tr('local')})",
            *(f"{sum(each.objects for each in counts if each.state == state):,}" for state in states),
            human_bytes(sum(each.size_bytes for each in counts if each.state is EntryState.DONE)),
        )
        for (name, remote), counts in by_type.items()
    ]
    totals = report.totals
    total = (tr("total"), *(f"{getattr(totals, state):,}" for state in states), human_bytes(totals.bytes_done))
    yield table((tr("type"), *states, tr("bytes done")), [*rows, total])


def _runs(report: Report) -> Iterator[str]:
    if not report.runs:
        yield tr("no copy yet")
        return
    head = (tr("copy of"), tr("time"), tr("workers"), "done", "failed", "skipped", tr("bytes"), tr("objects/s"))
    yield table(head, [_run(run) for run in report.runs[-_RUNS:]])
    yield from _cut(len(report.runs))


def _run(run: CopyRun) -> tuple[str, ...]:

    from mastosync.report import moment

    rate = run.objects_per_second
    time = human_seconds(run.seconds) if run.ended_at else tr("{time}, not ended", time=human_seconds(run.seconds))
    figures = (f"{count:,}" for count in (run.workers, run.done, run.failed, run.skipped))
    return (
        moment(run.started_at),
        time,
        *figures,
        human_bytes(run.size_bytes),
        "-" if rate is None else f"{rate:,.1f}",
    )


def _proofs(report: Report) -> Iterator[str]:

    from mastosync.report import moment

    if not report.verifications:
        yield tr("nothing was verified yet")
        return
    rows = [
        (
            moment(proof.started_at),
            enumerated(map(say, proof.ways)) or "-",
            f"{proof.checked:,}",
            f"{proof.read_back:,}",
            enumerated(f"{name} {count:,}" for name, count in proof.faults.items()) or tr("all well"),
        )
        for proof in report.verifications[-_RUNS:]
    ]
    yield table((tr("verified"), tr("how"), tr("looked at"), tr("read back"), tr("found")), rows)
    yield from _cut(len(report.verifications))


def _failures(report: Report) -> Iterator[str]:
    failed = report.of_state(EntryState.FAILED)
    if not failed:
        yield tr("nothing failed")
        return
    yield _reasons(tr("failed"), failed)
    for each in report.failures:
        yield one_line(f"  {each['reason']}: {each['key']}")
        if each["detail"]:
            yield one_line(f"    {each['detail']}")
    if rest := report.totals.failed - len(report.failures):
        yield tr("  and {more} more: mastosync ls --state failed", more=f"{rest:,}")


def _skipped(report: Report) -> Iterator[str]:
    skipped = report.of_state(EntryState.SKIPPED)
    yield _reasons(tr("skipped"), skipped) if skipped else tr("nothing was skipped")


def _reasons(name: str, counts: Sequence[TypeCount]) -> str:
    rows = [
        (f"{each.table} ({tr('remote') if each.remote else tr('local')})", each.reason or "", f"{each.objects:,}")
        for each in counts
    ]
    return table((name, tr("reason"), tr("entries")), rows)


def _cut(count: int) -> Iterator[str]:
    if count > _RUNS:
        yield tr("{count} earlier ones are in the report as JSON", count=f"{count - _RUNS:,}")


def _line(name: str, text: str) -> str:
    return f"{padded(name, 12)} {one_line(text)}"
