"""`mastosync cutover`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import file_option, json_option, parsed_by
from mastosync.cli.output import show_exactly, show_json
from mastosync.cli.terminal import table
from mastosync.config import CHANGE_ME, Secret
from mastosync.config.values import PUBLIC_URL
from mastosync.errors import ExitCode, UsageError
from mastosync.findings import Finding
from mastosync.language import enumerated, tr
from mastosync.terminal_text import as_json, one_line, padded

if TYPE_CHECKING:
    from mastosync.app.cutover import CutoverReport
    from mastosync.cutover import CutoverVerdict, Step
    from mastosync.mastodon.settings import Setting

R = TypeVar("R")

_STDOUT = Path("-")
_NGINX_MODE = 0o644  # it holds no secret, and nginx need not run as who has made it

_url = parsed_by(PUBLIC_URL)


@dataclass(frozen=True, slots=True)
class _Media:
    """Where everybody reads media, as far as the options say."""

    host: str | None
    source_url: str | None
    destination_url: str | None
    fallback: str


def _media_options(command: Callable[..., R]) -> Callable[..., R]:
    """The options of the media host; the command gets them as one argument `media`."""

    @click.option(
        "--media-host",
        metavar="HOST[:PORT]",
        help="The host that browsers ask for media, with its port if it has one of its own.  [default: public_url of"
        " the destination, or S3_ALIAS_HOST of --env]",
    )
    @click.option(
        "--source-url",
        metavar="URL",
        callback=_url,
        help="Public URL of the old store.  [default: the bucket at the endpoint]",
    )
    @click.option("--destination-url", metavar="URL", callback=_url, help="Public URL of the new store.")
    @click.option(
        "--fallback",
        type=click.Choice(["all", "cache", "none"]),
        default="all",
        show_default=True,
        help="What nginx asks the old store for if the new one does not have it: all while the switch goes on, cache"
        " (keys under cache/ alone) after it, or none. Backups never.",
    )
    @wraps(command)
    def gathered(
        *arguments: object,
        media_host: str | None,
        source_url: str | None,
        destination_url: str | None,
        fallback: str,
        **options: object,
    ) -> R:
        if media_host == CHANGE_ME:
            raise UsageError(tr("--media-host is still {word}", word=CHANGE_ME), hint=tr("name what browsers will ask"))
        return command(*arguments, media=_Media(media_host, source_url, destination_url, fallback), **options)

    return gathered


@click.command(name="cutover")
@json_option
@file_option(
    "--env",
    help="Mastodon's current .env.production: then only what has to change is shown. It is read, never written. "
    " [default: [env] file]",
)
@file_option(
    "--nginx",
    help="Write a configuration of nginx for the media host, with the fallback to the old store; `-` prints it alone.",
)
@click.option("--force", is_flag=True, help="Replace the files of --nginx and --new-env if they are there.")
@file_option(
    "--new-env",
    help="Write Mastodon's settings as they have to be after the switch, all lines, to this file. It holds secrets:"
    " only its owner may read it.",
)
@_media_options
@click.pass_obj
def cutover_command(
    invocation: Invocation,
    as_json: bool,
    env: Path | None,
    nginx: Path | None,
    new_env: Path | None,
    force: bool,
    media: _Media,
) -> ExitCode:
    """Tell whether Mastodon can be switched over to the destination: go or no-go, and how.

    It reads the manifest and Mastodon's settings, and changes nothing. Files of other servers that were not copied yet
    are no obstacle: until then nginx can get them from the old store.
    """
    from mastosync.app.cutover import CutoverOptions, cutover
    from mastosync.cutover import Fallback

    if as_json and nginx == _STDOUT:
        raise UsageError(tr("--nginx - prints the configuration alone"), hint=tr("--json holds it, too"))
    file = None if nginx == _STDOUT else nginx
    options = CutoverOptions(
        invocation.options.again,
        env,
        media.host,
        media.source_url,
        media.destination_url,
        file,
        Fallback(media.fallback),
    )
    report = cutover(invocation.context_to_read(), options)
    report.require_apart(file, new_env)
    if file is not None:
        _write(file, Secret(report.require_fallback().render()), "--nginx", replace=force, mode=_NGINX_MODE)
    if new_env is not None:
        _write(new_env, report.new_env(), "--new-env", replace=force)
    if nginx == _STDOUT:
        show_exactly(report.require_fallback().render())
    elif as_json:
        show_json(report.as_json())
    elif file or new_env:
        invocation.say(render_written(report, file, new_env))
    else:
        invocation.say(render_cutover(report))
    return ExitCode.INCOMPLETE if _is_no_go(report) else ExitCode.OK


def _write(path: Path, text: Secret, option: str, *, replace: bool, mode: int = 0o600) -> None:
    """What stands there may have been changed by hand: only `replace` overwrites it. Raises: UsageError, OutputError.

    `text`: secret or not; where it cannot be written, it stands in no variable.
    """
    from mastosync.app.files import new_file

    hint = tr("{option} names another file, and --force replaces this one", option=option)
    with new_file(path, replace=replace, mode=mode, hint=hint) as file:
        file.write(text.reveal())


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

    from mastosync.findings import Grade

    words = {Grade.OK: tr("ok"), Grade.WARNING: tr("warning"), Grade.FAILURE: tr("NO-GO")}
    line = f"{padded(words[found.grade], 8)} {found.check:<10} {one_line(found.message)}"
    return line + (f"\n{'':<20}-> {one_line(found.remedy)}" if found.remedy else "")


def _losses(report: CutoverReport) -> str:

    from mastosync.cutover import LossOutcome

    meanings = {
        LossOutcome.FOR_GOOD: tr("lost for good"),
        LossOutcome.FETCHABLE: tr("other servers may have it"),
        LossOutcome.UNIDENTIFIED: tr("something lies at the new store"),
        LossOutcome.DISPENSABLE: tr("not needed, or Mastodon makes it again"),
    }
    rows = [
        (tr("{table}, of other servers", table=name) if remote else name, f"{objects:,}", meanings[loss])
        for (name, remote, loss), objects in report.cutover.losses.items()
    ]
    return table((tr("missing at the source"), tr("objects"), ""), rows)


def _is_no_go(report: CutoverReport) -> bool:
    from mastosync.cutover import CutoverVerdict

    return report.cutover.verdict is CutoverVerdict.NO_GO


def _verdict(report: CutoverReport) -> str:
    from mastosync.cutover import CutoverVerdict

    if report.switched and _is_no_go(report):
        return tr(
            "By its settings, Mastodon already uses the new store. Do what each line with NO-GO above says, then the"
            " steps that are left."
        )
    if report.done:
        return tr(
            "By its settings, Mastodon already uses the new store. As far as the manifest knows, only the steps below"
            " are left."
        )
    if report.switched:
        return tr("By its settings, Mastodon already uses the new store: go on with the steps that are left.")
    return {
        CutoverVerdict.GO: tr("GO: you can switch Mastodon over now, by the steps below."),
        CutoverVerdict.GO_WITH_FALLBACK: tr(
            "GO, with the fallback: you can switch Mastodon over now, by the steps below. Until the rest has arrived,"
            " nginx has to ask the old store for it."
        ),
        CutoverVerdict.NO_GO: tr(
            "NO-GO: do not switch yet. Do what each line with NO-GO above says, and run this again."
        ),
    }[report.cutover.verdict]


def _verdict_alone(verdict: CutoverVerdict) -> str:
    """The verdict, where neither findings nor steps are shown."""
    from mastosync.cutover import CutoverVerdict

    return {
        CutoverVerdict.GO: tr("GO: you can switch Mastodon over."),
        CutoverVerdict.GO_WITH_FALLBACK: tr(
            "GO, with the fallback: you can switch Mastodon over. Until the rest has arrived, nginx has to ask the old"
            " store for it."
        ),
        CutoverVerdict.NO_GO: tr("NO-GO: do not switch yet. `mastosync cutover` tells what to do first."),
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
        yield tr("  and without these lines: {names}", names=enumerated(gone))


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

    from mastosync.cutover import Fallback

    return {
        Fallback.ALL: tr("The media host of nginx, with the fallback, is in {file}.", file=nginx),
        Fallback.CACHE: tr("The media host of nginx, with the fallback for `cache/` alone, is in {file}.", file=nginx),
        Fallback.NONE: tr("The media host of nginx, without a fallback, is in {file}.", file=nginx),
    }[report.require_fallback().fallback]


def _steps(steps: Sequence[Step]) -> Iterator[str]:
    for number, step in enumerate(steps, 1):
        yield f"  {number}. {one_line(step.what)}"
        yield from (f"       {one_line(command)}" for command in step.lines)
