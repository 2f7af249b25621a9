"""The cut-over as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.app.cutover import EXAMPLE_HOST
from mastosync.cli.columns import padded
from mastosync.cli.render import table
from mastosync.engine.cutover import Fallback, Finding, Grade, Loss, Step, Verdict
from mastosync.language import tr
from mastosync.plain import as_json, one_line

if TYPE_CHECKING:
    from mastosync.app.cutover import CutoverReport
    from mastosync.mastodon.settings import Setting


def render_cutover(report: CutoverReport, nginx: Path | None) -> str:
    """Go or no-go, and how; `nginx` is the file that was written."""
    blocks = [
        [_finding(found) for found in report.cutover.findings],
        [_losses(report)] if report.cutover.losses else [],
        [_verdict(report.cutover.verdict)],
        list(_settings(report.settings, report.env)),
        list(_media_host(report, nginx)),
        [tr("Then, in this order:"), *_steps(report.over)],
        [tr("And back, if need be:"), *_steps(report.back)],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _finding(found: Finding) -> str:
    words = {Grade.OK: tr("ok"), Grade.WARNING: tr("warning"), Grade.NO_GO: tr("NO-GO")}
    line = f"{padded(words[found.grade], 8)} {found.check:<10} {one_line(found.message)}"
    return line + (f"\n{'':<20}-> {one_line(found.remedy)}" if found.remedy else "")


def _losses(report: CutoverReport) -> str:
    meanings = {
        Loss.FOR_GOOD: tr("lost for good"),
        Loss.FETCHABLE: tr("other servers may have it"),
        Loss.DISPENSABLE: tr("Mastodon does without, or makes it anew"),
    }
    rows = [
        (tr("{table}, of other servers", table=name) if remote else name, f"{objects:,}", meanings[loss])
        for (name, remote, loss), objects in report.cutover.losses.items()
    ]
    return table((tr("missing at the source"), tr("objects"), ""), rows)


def _verdict(verdict: Verdict) -> str:
    return {
        Verdict.GO: tr("GO: Mastodon can be switched over"),
        Verdict.GO_WITH_FALLBACK: tr(
            "GO, with the fallback: Mastodon can be switched over as long as nginx asks the old store for the rest"
        ),
        Verdict.NO_GO: tr("NO-GO: users would miss something; put right what says so, from above"),
    }[verdict]


def _settings(settings: Sequence[Setting], env: Path | None) -> Iterator[str]:
    if env is None:
        yield tr(".env.production, once it is time:")
    elif settings:
        yield tr("What has to change in {file}, once it is time:", file=env)
    else:
        yield tr("{file} is as it has to be.", file=env)
    for setting in settings:
        if setting.value is not None:
            yield f"  {one_line(setting.line)}" + (f"   # {setting.remark}" if setting.remark else "")
    if gone := [setting.name for setting in settings if setting.value is None]:
        yield tr("  and without these lines: {names}", names=", ".join(gone))


def _media_host(report: CutoverReport, nginx: Path | None) -> Iterator[str]:
    if report.media_host == EXAMPLE_HOST:
        yield tr("The media host is made up ({host}): --media-host names yours.", host=EXAMPLE_HOST)
    if report.refusal is not None:
        yield tr("No fallback: {problem}", problem=one_line(report.refusal.message))
        yield f"  -> {one_line(report.refusal.hint)}"
    elif nginx is not None:
        yield _written(report, nginx)
    yield tr(
        "Pages may show what comes from {host}: Mastodon puts it into its Content-Security-Policy when it starts."
        " Where that sends browsers on to another host, EXTRA_MEDIA_HOSTS names that one (from Mastodon 4.4).",
        host=one_line(report.media_host),
    )
    if report.cors is not None:
        yield tr("Where browsers ask the bucket itself, it needs this CORS rule:")
        yield f"  {as_json(report.cors)}"


def _written(report: CutoverReport, nginx: Path) -> str:
    return {
        Fallback.ALL: tr("The media host of nginx, with the fallback, is in {file}.", file=nginx),
        Fallback.CACHE: tr("The media host of nginx, with the fallback for `cache/` alone, is in {file}.", file=nginx),
        Fallback.NONE: tr("The media host of nginx, without a fallback, is in {file}.", file=nginx),
    }[report.require_fallback().fallback]


def _steps(steps: Sequence[Step]) -> Iterator[str]:
    for number, step in enumerate(steps, 1):
        yield f"  {number}. {one_line(step.what)}"
        yield from (f"       {one_line(command)}" for command in step.commands)
