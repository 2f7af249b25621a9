"""Mastodon's own settings, where the configuration or an option says where they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mastosync.mastodon.settings import is_of_mastodon, names_store, read_current

if TYPE_CHECKING:
    from mastosync.config import Config, Role, Secret, StoreConfig


class OwnSettings(NamedTuple):
    """What Mastodon's file says."""

    file: Path | None  # None: nobody knows where it is
    current: dict[str, Secret]  # by name; anything may be a secret

    @property
    def permission(self) -> str:
        """What it says of who may read what it stores; empty: nothing."""
        told = self.current.get("S3_PERMISSION")
        return told.reveal() if told else ""

    def uses(self, store: StoreConfig) -> bool:
        """Whether its media are in this store, as far as is known."""
        return self.file is not None and names_store(self.current, store, self.file)


def own_settings(config: Config, named: Path | None = None) -> OwnSettings:
    """Read the file that was `named` (--env), or the one of the configuration, if that is Mastodon's.

    Raises: ConfigError if it cannot be read, or was named and is not Mastodon's.
    """
    file = named or config.env.settings
    if file is None:
        return OwnSettings(None, {})
    current = read_current(file, config.env.syntax, "--env" if named else "")
    is_told = named or config.env.mastodon_file  # else it may be any file of variables
    return OwnSettings(file, current) if is_told or is_of_mastodon(current) else OwnSettings(None, {})


def acl_of_way_back(config: Config, mastodon: OwnSettings) -> str | None:
    """The `acl` of a bucket that was the source, for when it is the destination; None: nobody knows.

    Whoever keeps media private does so wherever they are. Mastodon's settings tell it until the switch.
    """
    acl = config.destination.acl if config.destination.bucket else None
    if acl == "private":
        return acl
    if mastodon.uses(config.store("source")):
        known = {"private": "private", "": "none"} if "S3_PERMISSION" in mastodon.current else {}
        return known.get(mastodon.permission, "auto")
    return "auto" if acl in ("auto", "public-read") else None


def variables_of(config: Config, role: Role) -> set[str]:
    """The variables of a file from which the configuration takes secrets of a bucket."""
    return {each.variable for each in config.referred if each.section == f"s3.{role}"}


def shares_keys(config: Config) -> bool:
    """Whether a switch leaves the source its keys: it takes none from a file, or those of the destination."""
    return variables_of(config, "source") <= variables_of(config, "destination")
