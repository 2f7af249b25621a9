"""Shells complete command lines of ours: asked for real, where the shell is installed."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from mastosync.cli.main import COMMANDS
from mastosync.model import EntryState
from tests.support.site import COMMAND, Site

SHELLS = {
    "bash": ["bash", "--noprofile", "--rcfile", "rc", "-i"],
    "zsh": ["zsh", "-d", "-i"],
}
"""Those that are asked by typing."""
RC = {
    "bash": "PS1='ready> '; bind 'set bell-style none' 'set show-all-if-ambiguous on'; {source}\n",
    "zsh": "PS1='ready> '; unsetopt zle_bracketed_paste beep; unset zle_bracketed_paste\n{source}\n",
}
BEGINNING_OF_LINE, TAB, ENTER = "\x01", "\t", "\r"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    environ = {
        "HOME": str(tmp_path),
        "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
        "ZDOTDIR": str(tmp_path),
        "TERM": "dumb",
        "SHELL": "/bin/bash",
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "BASH_COMPLETION_USER_DIR": "",
    }
    return Site(tmp_path, environ=environ)


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")


class Typist:
    """Somebody at an interactive shell."""

    def __init__(self, site: Site, shell: str) -> None:
        self._terminal, end = pty.openpty()
        environ = site.environment() | {"TERM": "xterm", "COLUMNS": "500"}
        self.process = subprocess.Popen(
            SHELLS[shell], cwd=site.folder, env=environ, stdin=end, stdout=end, stderr=end, start_new_session=True
        )
        os.close(end)
        self._shown = ""
        self._wait_for("ready> ")

    def _wait_for(self, text: str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while text not in self._shown:
            assert time.monotonic() < deadline, f"no {text!r} in {self._shown!r}"
            if select.select([self._terminal], [], [], 1)[0]:
                with contextlib.suppress(OSError):
                    self._shown += os.read(self._terminal, 65_536).decode("utf-8", "replace")
        before, _, self._shown = self._shown.partition(text)
        return before

    def completes(self, line: str) -> str:
        """The line as it stands after TAB: it is not run but printed."""
        os.write(self._terminal, f"{line}{TAB}".encode())
        os.write(self._terminal, f"{BEGINNING_OF_LINE}echo 'be''gin' {ENTER}".encode())
        self._wait_for("begin ")
        return self._wait_for("\r\n").strip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_what_is_typed(site: Site, shell: str) -> None:
    needs(shell)
    source = {"bash": 'source <("mastosync" completion)', "zsh": "autoload -Uz compinit && compinit -u -D"}[shell]
    if shell == "zsh":
        told = site.run("completion", "zsh", "--install").stdout
        source = f"{re.findall(r'^ *(fpath=.*)$', told, re.MULTILINE)[0]}\n{source}"
    (site.folder / {"bash": "rc", "zsh": ".zshrc"}[shell]).write_text(RC[shell].format(source=source))
    (site.folder / "exported here.jsonl").touch()
    typist = Typist(site, shell)
    try:
        assert typist.completes("mastosync stat") == "mastosync status"
        assert typist.completes("mastosync ls --sta") == "mastosync ls --state"
        assert typist.completes("mastosync ls --state pen") == "mastosync ls --state pending"
        assert typist.completes("mastosync ls --state fai") == "mastosync ls --state failed"
        assert typist.completes("mastosync manifest exp") == "mastosync manifest export"
        assert typist.completes("mastosync manifest import exp") == "mastosync manifest import exported here.jsonl"
    finally:
        typist.close()


def test_fish_completes_what_is_typed(site: Site) -> None:
    needs("fish")
    site.run("completion", "fish", "--install")

    def completions(line: str) -> list[str]:
        asked = ["fish", "-c", "complete -C $argv[1]", line]
        done = subprocess.run(
            asked, cwd=site.folder, env=site.environment(), capture_output=True, text=True, check=True
        )
        return [each.split("\t")[0] for each in done.stdout.splitlines()]

    assert completions("mastosync ") == sorted(COMMANDS)
    assert completions("mastosync ls --state ") == sorted(EntryState)
    assert "--state" in completions("mastosync ls --")


def asked_for(site: Site, words: str) -> tuple[list[str], set[str]]:
    """What is offered for the last word, and the modules of ours that were loaded for that."""
    asked = {"_MASTOSYNC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        ["python", "-X", "importtime", COMMAND],
        env=site.environment() | asked,
        cwd=site.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    offered = [line.removeprefix("plain,") for line in done.stdout.split()]
    loaded = set(re.findall(r"\| +(mastosync\.\S+)", done.stderr))
    assert "mastosync.cli.main" in loaded, "or there is nothing to be seen"
    return offered, loaded


def test_the_names_of_commands_load_none_of_them(site: Site) -> None:
    offered, loaded = asked_for(site, "mastosync ")
    assert offered == list(COMMANDS)
    assert not [name for name in loaded if name.startswith("mastosync.cli.commands.")]


def test_the_options_of_a_command_load_nothing_that_works(site: Site) -> None:
    """One process for all commands: what each of them loads is what it needs to know its options."""
    code = """
import sys
from mastosync.cli.main import COMMANDS, cli
for name in COMMANDS:
    cli.get_command(None, name)
print(*(name for name in sys.modules if name.startswith(("mastosync.app", "mastosync.manifest", "mastosync.store"))))
"""
    done = subprocess.run(["python", "-c", code], env=site.environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    assert "--state" in asked_for(site, "mastosync ls --")[0]


@pytest.mark.parametrize(
    ("shell", "path"),
    [
        ("bash", "data/bash-completion/completions/mastosync"),
        ("zsh", "data/zsh/site-functions/_mastosync"),
        ("fish", "config/fish/completions/mastosync.fish"),
    ],
)
def test_it_is_put_where_the_shell_looks_once(site: Site, shell: str, path: str) -> None:
    assert f"wrote {site.folder / path}" in site.run("completion", shell, "--install").stdout
    assert (site.folder / path).read_text() == site.run("completion", shell).stdout or shell == "zsh"
    assert "is already up to date" in site.run("completion", shell, "--install").stdout


def test_the_shell_is_that_of_the_user(site: Site) -> None:
    assert site.run("completion").stdout == site.run("completion", "bash").stdout
    site.environ["SHELL"] = "/bin/tcsh"
    assert "`mastosync completion bash`" in site.run("completion", code=2).stderr


def test_where_nothing_can_be_written_it_says_so(site: Site) -> None:
    (site.folder / "data").write_text("a file")
    told = site.run("completion", "--install", code=8).stderr
    assert f"cannot write {site.folder / 'data'}" in told
    assert "without --install" in told
