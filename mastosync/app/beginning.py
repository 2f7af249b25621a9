"""A first configuration, begun with what Mastodon's own settings say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.config import CHANGE_ME, Secret, render_sample
from mastosync.config.schema import sections

if TYPE_CHECKING:
    from mastosync.mastodon.dotenv import Settings


def settings_of(path: Path, syntax: str, environ: Mapping[str, str], *, copy_secrets: bool) -> Settings:
    """What Mastodon's settings in a file say. Raises: ConfigError."""
    from mastosync.mastodon.dotenv import read_settings

    return read_settings(path, syntax, environ, copy_secrets=copy_secrets)


def first_config(settings: Settings, destination: Mapping[str, Mapping[str, str]] | None) -> Secret:
    """The text of a configuration of these settings, which may hold secrets; a destination is filled in or left open.

    Raises: ConfigError for a value that a line cannot hold.
    """
    bucket = destination.get("s3.destination") if destination else _to_fill_in("s3.destination")
    along = settings.values.get("s3.destination", {}) if bucket else {}
    values = {**settings.values, **(destination or {}), "s3.destination": {**(bucket or {}), **along}}
    remarks = {name: texts for name, texts in settings.remarks.items() if bucket or name != "s3.destination"}
    return Secret(render_sample(values, remarks))


def _to_fill_in(section: str) -> dict[str, str]:
    keys = sections()[section].keys.values()
    return {key.name: CHANGE_ME for key in keys if key.info.sample == CHANGE_ME}
