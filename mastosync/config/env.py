"""The keys of where secrets are looked up that the configuration only refers to."""

# ruff: noqa: RUF009 - `key` only wraps `field()`; its defaults are immutable

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mastosync.config.keys import key
from mastosync.config.values import PATH, choice

SYNTAXES = ("dotenv", "docker")


@dataclass(frozen=True, slots=True)
class EnvConfig:
    """Where `env:NAME` is looked up."""

    file: Path | None = key(
        None,
        PATH,
        "A file of variables, such as Mastodon's own .env.production. What it does not have is looked up in the"
        " environment. Default: the environment alone.",
    )
    syntax: str = key(
        "dotenv",
        choice(*SYNTAXES),
        "Who else reads these files. dotenv: Mastodon itself, or Docker Compose; quotes around a value are no part of"
        " it. docker: `docker run --env-file`, or Compose before version 2; every character of a value is a part of"
        " it.",
    )
    mastodon_file: Path | None = key(
        None,
        PATH,
        "Mastodon's own .env.production, if file is another one since `mastosync pin-secrets`. `cutover` says what to"
        " change in it, and `report` looks whether it names the destination. Default: file.",
    )

    @property
    def settings(self) -> Path | None:
        """Where Mastodon's own settings may be, as far as is known."""
        return self.mastodon_file or self.file
