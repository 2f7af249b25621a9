"""`mastosync cutover`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TypeVar

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import file_option, json_option, parsed_by
from mastosync.cli.output import show_exactly, show_json
from mastosync.config import CHANGE_ME, Secret
from mastosync.config.values import PUBLIC_URL
from mastosync.errors import ExitCode, UsageError
from mastosync.language import tr

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
        help="What browsers ask for media, with its port if it has one of its own."
        "  [default: public_url of the destination, or S3_ALIAS_HOST of --env]",
    )
    @click.option(
        "--source-url",
        metavar="URL",
        callback=_url,
        help="Where everybody reads the old store.  [default: the bucket at the endpoint]",
    )
    @click.option("--destination-url", metavar="URL", callback=_url, help="Where everybody reads the new one.")
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
    help="Mastodon's .env.production as it is: only what has to change is told then. It is read, never written."
    "  [default: [env] file]",
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
    from mastosync.app.cutover import CutoverOptions
    from mastosync.cli.render_cutover import render_cutover, render_written
    from mastosync.cutover import Fallback, Verdict

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
    report = invocation.reading().cutover(options)
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
    return ExitCode.INCOMPLETE if report.cutover.verdict is Verdict.NO_GO else ExitCode.OK


def _write(path: Path, text: Secret, option: str, *, replace: bool, mode: int = 0o600) -> None:
    """What stands there may have been changed by hand: only `replace` overwrites it. Raises: UsageError, OutputError.

    `text`: secret or not; where it cannot be written, it stands in no variable.
    """
    from mastosync.app.files import new_file

    hint = tr("{option} names another file, and --force replaces this one", option=option)
    with new_file(path, replace=replace, mode=mode, hint=hint) as file:
        file.write(text.reveal())
