"""Command lines for people to type: values until they are shown, so that global options are written in one place."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Command:
    """A command of mastosync, and what the shell does once it has done its work."""

    arguments: tuple[str, ...]
    options: tuple[str, ...] = ()  # those before the command
    then: str = ""  # as the shell reads it; empty: nothing

    def __str__(self) -> str:
        """As it is typed."""
        typed = shlex.join(["mastosync", *self.options, *self.arguments])
        return f"{typed} && {self.then}" if self.then else typed


@dataclass(frozen=True, slots=True)
class Mastosync:
    """mastosync with the options that name a configuration and a manifest: called with a command, it is a line."""

    options: tuple[str, ...] = ()

    def __call__(self, *arguments: str, then: str = "") -> Command:
        """A line."""
        return Command(arguments, self.options, then)


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do, and the commands that do it: of mastosync, or as the shell reads them."""

    what: str
    commands: tuple[Command | str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The commands as they are typed."""
        return tuple(map(str, self.commands))

    def as_json(self) -> dict[str, str | list[str]]:
        """For scripts."""
        return {"what": self.what, "commands": list(self.lines)}


def file_name(host: str) -> str:
    """A host with its port, in names of files: one nginx may serve several instances."""
    return host.replace(":", "-")


def fallback_log(host: str) -> Path:
    """Where nginx writes what it has asked the old store for."""
    return Path(f"/var/log/nginx/mastodon-media-{file_name(host)}-fallback.log")
