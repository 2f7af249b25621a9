"""`mastosync init`."""

from __future__ import annotations

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
        output.touch(mode=0o600, exist_ok=False)
        output.write_text(render_sample(), encoding="utf-8")
    except FileExistsError as error:
        raise ConfigError(f"{output} exists already", hint="--output names another file") from error
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}", hint="--output names another place") from error
    invocation.say(f"wrote {output}: fill in what says {CHANGE_ME}, then run `mastosync doctor`")
