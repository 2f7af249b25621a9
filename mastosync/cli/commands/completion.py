"""`mastosync completion`."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from mastosync.cli.invocation import Invocation
from mastosync.cli.output import config_home, data_home, install_file, show
from mastosync.errors import UsageError
from mastosync.language import enumerated, tr

_SHELLS = ("bash", "zsh", "fish")
_ZSH_FUNCTION = """#compdef mastosync
(( $+commands[mastosync] )) || return 1
eval "$(mastosync completion zsh)"
_mastosync_completion "$@"
"""
"""What zsh loads by itself. Click's own script, loaded like that, would complete nothing the second time."""


@click.command(name="completion")
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.option("--install", is_flag=True, help="Write it to where the shell looks, for this user alone.")
@click.pass_context
def completion_command(context: click.Context, shell: str | None, install: bool) -> None:
    """Print the script by which SHELL (bash, zsh or fish; else that of $SHELL) completes command lines.

    Commands, options, their values and names of files are completed.
    """
    shell = shell or _users_shell()
    script = _script(context.find_root().command, shell)
    if not install:
        show(script.removesuffix("\n"))
        return
    script = _ZSH_FUNCTION if shell == "zsh" else script
    path, next_step = _place(shell)
    invocation = context.find_object(Invocation)
    assert invocation is not None  # noqa: S101 - main hands it in
    invocation.say(f"{install_file(path, script)}\n{next_step}")


def _users_shell() -> str:
    """Raises: UsageError."""
    shell = Path(os.environ.get("SHELL", "")).name
    if shell not in _SHELLS:
        raise UsageError(
            tr("$SHELL is none of {shells}", shells=enumerated(_SHELLS)),
            hint=tr("name one: `mastosync completion bash`"),
        )
    return shell


def _script(root: click.Command, shell: str) -> str:
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has all three
    return made(root, {}, "mastosync", "_MASTOSYNC_COMPLETE").source().lstrip()


def _place(shell: str) -> tuple[Path, str]:
    """Where the shell looks, and what is left to the user."""
    if shell == "fish":
        return config_home() / "fish" / "completions" / "mastosync.fish", tr("new shells complete command lines")
    if shell == "bash":
        named = os.environ.get("BASH_COMPLETION_USER_DIR")
        folder = Path(named) if named else data_home() / "bash-completion"
        needs = tr("new shells complete command lines, if the package bash-completion is installed")
        return folder / "completions" / "mastosync", needs
    folder = data_home() / "zsh" / "site-functions"
    lines = f"    fpath=({folder} $fpath)\n    autoload -Uz compinit && compinit"
    return folder / "_mastosync", tr("new shells complete command lines, if ~/.zshrc has these lines:") + f"\n{lines}"
