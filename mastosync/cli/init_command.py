"""`mastosync init`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.output import warn
from mastosync.config import CHANGE_ME, SYNTAXES, Secret, render_sample
from mastosync.errors import OutputError, UsageError
from mastosync.language import tr
from mastosync.model import CACHE_CONTROL


@click.command(name="init")
@click.option("--output", type=click.Path(path_type=Path), default=Path("config.ini"), help="Where.", show_default=True)
@click.option(
    "--from-env",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Begin with what Mastodon's own settings say: its .env.production.",
)
@click.option(
    "--env-syntax",
    type=click.Choice(SYNTAXES),
    help="Who reads that file to Mastodon: dotenv or Docker Compose, or `docker run --env-file`.  [default: dotenv]",
)
@click.option("--copy-secrets", is_flag=True, help="Copy the secrets of that file, instead of referring to them.")
@click.pass_obj
def init_command(
    invocation: Invocation, output: Path, from_env: Path | None, env_syntax: str | None, copy_secrets: bool
) -> None:
    """Write a configuration file to fill in. An existing file is never touched.

    With --from-env, source and database are filled in, and on a terminal the destination is asked for. Secrets stay in
    the file they are in: the configuration refers to it.
    """
    if from_env is None:
        if env_syntax or copy_secrets:
            raise UsageError(tr("--env-syntax and --copy-secrets are about the file of --from-env"))
        _write(output, Secret(render_sample()))
        invocation.say(_written(output, to_fill_in=True))
        return invocation.say(_given(from_disk=False))
    if os.path.lexists(output):
        raise _exists(output)  # before anybody answers questions in vain
    from mastosync.app.beginning import first_config, settings_of
    from mastosync.cli.destination import ask_destination

    settings = settings_of(from_env, env_syntax or SYNTAXES[0], invocation.environ, copy_secrets=copy_secrets)
    asking = sys.stdin.isatty() and sys.stdout.isatty() and not invocation.options.quiet
    destination = ask_destination() if asking else None
    text = first_config(settings, destination)
    _write(output, text)
    invocation.say(_written(output, to_fill_in=f"= {CHANGE_ME}\n" in text.reveal()))
    if destination is None or destination.get("s3.destination"):
        invocation.say(_given(from_disk=bool(settings.values.get("filesystem.source"))))
    for note in settings.notes:
        invocation.say(note)
    for warning in settings.warnings:
        warn(warning)
    return None


def _write(output: Path, text: Secret) -> None:
    try:
        # made and written in one go: nobody can put a link to another file in between
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text.reveal())
    except FileExistsError as error:
        raise _exists(output) from error
    except OSError as error:
        raise OutputError(
            tr("cannot write {output}: {strerror}", output=output, strerror=error.strerror),
            hint=tr("--output names another place"),
        ) from error


def _given(*, from_disk: bool) -> str:
    """What objects will be given, and where that can be changed."""
    from mastosync.engine.shared_findings import cache_control_told

    said = cache_control_told(CACHE_CONTROL, from_disk=from_disk)
    return tr("{said} (`cache_control` of [s3.destination])", said=said)


def _exists(output: Path) -> UsageError:
    return UsageError(tr("{output} exists already", output=output), hint=tr("--output names another file"))


def _written(output: Path, *, to_fill_in: bool) -> str:
    if to_fill_in:
        return tr("wrote {file}: fill in what says {word}, then run `mastosync doctor`", file=output, word=CHANGE_ME)
    return tr("wrote {file}: run `mastosync doctor`", file=output)
