"""The keys of what a plan takes in."""

from __future__ import annotations

from dataclasses import dataclass

from mastosync.config.keys import key
from mastosync.config.values import TYPES, choice, whole
from mastosync.model import TABLES


@dataclass(frozen=True, slots=True)
class PlanConfig:
    """What a plan takes in."""

    only: str = key("all", choice("all", "local", "remote"), "Objects of this server, of other servers, or all.")
    types: tuple[str, ...] = key(TABLES, TYPES, "Which tables, separated by commas or spaces.")
    limit: int | None = key(None, whole(1), "At most so many rows of each table: for a trial. Default: no limit.")
    max_age: int | None = key(
        None,
        whole(1, 36_500),
        "Leave out files of other servers that are older than so many days: media of posts and preview cards, which"
        " Mastodon itself calls a cache and fetches again. Never left out are files of this server, and avatars,"
        " headers and emojis of others. Default: nothing is left out.",
    )
