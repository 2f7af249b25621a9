"""The cut-over as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.cli.columns import padded
from mastosync.cli.render import table
from mastosync.cutover import Fallback, Finding, Grade, Loss, Step, Verdict
from mastosync.language import tr
from mastosync.terminal_text import as_json, one_line

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
    if report.switched:
        return "\n".join(lines)
    return "\n".join([*lines, _verdict_alone(report.cutover.verdict)])


def render_cutover(report: CutoverReport) -> str:
    """Go or no-go, and how."""
    steps = tr("The steps, in this order:")
    if report.switched:
        steps = tr("The steps that are left:")
    elif _is_no_go(report):
        steps = tr("The steps, once this says GO:")
    blocks = [
        [_finding(found) for found in report.cutover.findings],
        [_losses(report)] if report.cutover.losses else [],
        [_verdict(report)],
        list(_settings(report.settings, report.env)),
        list(_media_host(report)),
        [steps, *_steps(report.over)] if report.over else [],
        [tr("The way back, if you need it:"), *_steps(report.back)] if report.back else [],
        [_verdict(report)] if _is_no_go(report) else [],  # once more, as that above has left the screen
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
        Loss.UNPROVEN: tr("something lies at the new store"),
        Loss.DISPENSABLE: tr("Mastodon does without, or makes it anew"),
    }
    rows = [
        (tr("{table}, of other servers", table=name) if remote else name, f"{objects:,}", meanings[loss])
        for (name, remote, loss), objects in report.cutover.losses.items()
    ]
    return table((tr("missing at the source"), tr("objects"), ""), rows)


def _is_no_go(report: CutoverReport) -> bool:
    return report.cutover.verdict is Verdict.NO_GO


def _verdict(report: CutoverReport) -> str:
    if report.switched and _is_no_go(report):
        return tr(
            "By its settings, Mastodon uses the new store already. Do what is told at each line with NO-GO above, then"
            " the steps that are left."
        )
    if report.done:
        return tr(
            "By its settings, Mastodon uses the new store already, and by what the manifest knows all is done but what"
            " is left below."
        )
    if report.switched:
        return tr("By its settings, Mastodon uses the new store already: go on with the steps that are left.")
    return {
        Verdict.GO: tr("GO: you can switch Mastodon over now, by the steps below."),
        Verdict.GO_WITH_FALLBACK: tr(
            "GO, with the fallback: you can switch Mastodon over now, by the steps below. Until the rest has arrived,"
            " nginx has to ask the old store for it."
        ),
        Verdict.NO_GO: tr(
            "NO-GO: do not switch yet. Do what is told at each line with NO-GO above, and run this again."
        ),
    }[report.cutover.verdict]


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
    if report.fallback is not None and not report.switched:
        yield tr(
            "Before nginx can serve {host}, its DNS name has to point to that machine, and it needs a certificate; the"
            " file for nginx says where. All commands below are for root, or for a user who may do the same.",
            host=one_line(report.media_host or ""),
        )
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
        yield from (f"       {one_line(command)}" for command in step.lines)
