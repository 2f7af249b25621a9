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
        "Who else reads that file. dotenv: Mastodon itself, or Docker Compose; quotes around a value are no part of it."
        " docker: `docker run --env-file`, or Compose before version 2; every character of a value is a part of it.",
    )
