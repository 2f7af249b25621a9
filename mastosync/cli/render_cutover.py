"""The cut-over as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.cli.columns import padded
from mastosync.cli.render import table
from mastosync.engine.cutover import Fallback, Finding, Grade, Loss, Step, Verdict
from mastosync.language import tr
from mastosync.plain import as_json, one_line

if TYPE_CHECKING:
    from mastosync.app.cutover import CutoverReport
    from mastosync.mastodon.settings import Setting


def render_written(report: CutoverReport, nginx: Path | None, new_env: Path | None) -> str:
    """Which files were written, and whether it is time to use them. `cutover` alone tells findings and steps."""
    lines = []
    if nginx is not None:
        lines.append(_written(report, nginx))
    if new_env is not None:
        lines.append(tr("Mastodon's settings as they have to be are in {file}. Nothing uses it yet.", file=new_env))
    return "\n".join([*lines, _verdict_alone(report.cutover.verdict)])


def render_cutover(report: CutoverReport) -> str:
    """Go or no-go, and how."""
    is_go = report.cutover.verdict is not Verdict.NO_GO
    steps = tr("The steps, in this order:") if is_go else tr("The steps, once this says GO:")
    blocks = [
        [_finding(found) for found in report.cutover.findings],
        [_losses(report)] if report.cutover.losses else [],
        [_verdict(report.cutover.verdict)],
        list(_settings(report.settings, report.env)),
        list(_media_host(report)),
        [steps, *_steps(report.over)] if report.over else [],
        [tr("The way back, if you need it:"), *_steps(report.back)] if report.back else [],
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
        Verdict.GO: tr("GO: you can switch Mastodon over now, by the steps below."),
        Verdict.GO_WITH_FALLBACK: tr(
            "GO, with the fallback: you can switch Mastodon over now, by the steps below. Until the rest has arrived,"
            " nginx has to ask the old store for it."
        ),
        Verdict.NO_GO: tr(
            "NO-GO: do not switch yet. Do what is told at each line with NO-GO above, and run this again."
        ),
    }[verdict]


def _verdict_alone(verdict: Verdict) -> str:
    """The same, where neither findings nor steps are shown."""
    return {
        Verdict.GO: tr("GO: you can switch Mastodon over."),
        Verdict.GO_WITH_FALLBACK: tr(
            "GO, with the fallback: you can switch Mastodon over. Until the rest has arrived, nginx has to ask the old"
            " store for it."
        ),
        Verdict.NO_GO: tr("NO-GO: do not switch yet. `mastosync cutover` tells what is to be done before."),
    }[verdict]


def _settings(settings: Sequence[Setting], env: Path | None) -> Iterator[str]:
    if env is None:
        yield tr("The lines that .env.production needs after the switch:")
    elif settings:
        yield tr("What the switch changes in {file}:", file=env)
    else:
        yield tr("{file} names the new store already: nothing has to change in it.", file=env)
    for setting in settings:
        if setting.value is not None:
            yield f"  {one_line(setting.line)}" + (f"   # {setting.remark}" if setting.remark else "")
    if gone := [setting.name for setting in settings if setting.value is None]:
        yield tr("  and without these lines: {names}", names=", ".join(gone))


def _media_host(report: CutoverReport) -> Iterator[str]:
    if report.refusal is not None:
        yield tr("No fallback: {problem}", problem=one_line(report.refusal.message))
        yield f"  -> {one_line(report.refusal.hint)}"
    if report.media_host is not None:
        yield tr(
            "When it starts, Mastodon allows its pages to show what comes from {host} (Content-Security-Policy). If"
            " that host redirects browsers to another one, name the other in EXTRA_MEDIA_HOSTS (from Mastodon 4.4).",
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
