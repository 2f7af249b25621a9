"""`mastosync init`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mastosync.cli.invocation import Invocation
from mastosync.config import CHANGE_ME, render_sample
from mastosync.errors import ConfigError


@click.command(name="init")
@click.option("--output", type=click.Path(path_type=Path), default=Path("config.ini"), help="Where.", show_default=True)
@click.pass_obj
def init_command(invocation: Invocation, output: Path) -> None:
    """Write a configuration file to fill in. An existing file is never touched."""
    try:
        # made and written in one go: nobody can put a link to another file in between
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(render_sample())
    except FileExistsError as error:
        raise ConfigError(f"{output} exists already", hint="--output names another file") from error
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}", hint="--output names another place") from error
    invocation.say(f"wrote {output}: fill in what says {CHANGE_ME}, then run `mastosync doctor`")
