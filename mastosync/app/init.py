"""New configurations: begun with what Mastodon's own settings say, or for the way back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.config import CHANGE_ME, Config, Secret, render_sample
from mastosync.config.schema import sections
from mastosync.config.sources import RawValue, ValueSource, read_file
from mastosync.errors import ConfigError
from mastosync.language import tr

if TYPE_CHECKING:
    from mastosync.mastodon.dotenv import MastodonSettings


def settings_of(path: Path, syntax: str, environ: Mapping[str, str], *, copy_secrets: bool) -> MastodonSettings:
    """What Mastodon's settings in a file say. Raises: ConfigError."""
    from mastosync.mastodon.dotenv import read_settings

    return read_settings(path, syntax, environ, copy_secrets=copy_secrets)


def first_config(
    settings: MastodonSettings, destination: Mapping[str, Mapping[str, str]] | None, manifest: Path | None = None
) -> Secret:
    """The text of a configuration of these settings, which may hold secrets; a destination is filled in or left open.

    `manifest`: where it is to be, if not at the default. Raises: ConfigError for a value that a line cannot hold.
    """
    bucket = destination.get("s3.destination") if destination else _to_fill_in("s3.destination")
    along = settings.values.get("s3.destination", {}) if bucket else {}
    values = {**settings.values, **(destination or {}), "s3.destination": {**(bucket or {}), **along}}
    values |= {"manifest": {"path": str(manifest)}} if manifest else {}
    remarks = {name: texts for name, texts in settings.remarks.items() if bucket or name != "s3.destination"}
    return Secret(render_sample(values, remarks))


def _to_fill_in(section: str) -> dict[str, str]:
    keys = sections()[section].keys.values()
    return {key.name: CHANGE_ME for key in keys if key.info.sample == CHANGE_ME}


def reversed_config(config: Config, manifest: Path, environ: Mapping[str, str]) -> Secret:
    """The text of a configuration with source and destination exchanged, and a manifest of its own.

    What only a destination has (headers, public address) is left at its default, and so is `acl`, unless it is known:
    see `acl_of_way_back`. It may hold secrets. Raises: ConfigError if no file says what the stores are.
    """
    said = read_file(_file_alone(config, environ))
    values = {name: _lines(said.get(name, {})) for name in sections()}
    values["prices"] = {}  # they are of source and destination
    for kind in ("s3", "filesystem"):
        source, destination = values[f"{kind}.source"], values[f"{kind}.destination"]
        of_both = sections()[f"{kind}.source"].keys
        values[f"{kind}.source"] = {
            name: text for name, text in destination.items() if name.removesuffix("_file") in of_both
        }
        values[f"{kind}.destination"] = source
    acl = acl_on_the_way_back(config)
    if values["s3.destination"] and acl not in (None, "auto"):
        values["s3.destination"]["acl"] = acl
    prefixes = {"s3.source": config.destination.key_prefix, "s3.destination": config.source.key_prefix}
    for name, prefix in prefixes.items():
        if any(prefixes.values()) and values[name]:
            values[name]["key_prefix"] = prefix
    values["manifest"]["path"] = str(manifest)
    return Secret(render_sample(values, {} if acl else {"s3.destination": [unknown_acl()]}))


def acl_on_the_way_back(config: Config) -> str | None:
    """As `acl_of_way_back`, by Mastodon's settings if they can be read. A disk has none, which counts as known."""
    from mastosync.app.mastodon import OwnSettings, acl_of_way_back, own_settings

    if config.source_folder.path:
        return "auto"
    try:
        return acl_of_way_back(config, own_settings(config))
    except ConfigError:
        return acl_of_way_back(config, OwnSettings(None, {}))


def unknown_acl() -> str:
    """What to look at, where `acl` is at its default because nobody knows it."""
    return tr(
        "nobody knows here which ACL objects have at this store: look up S3_PERMISSION as it was while Mastodon used it"
        " (in a backup of .env.production). If it was private, set `acl = private`; if it was given and empty, set"
        " `acl = none`"
    )


def _lines(said: Mapping[str, RawValue]) -> dict[str, str]:
    """Keys as they stand in a file, each on one line."""
    return {
        f"{name}_file" if each.source is ValueSource.FILE else name: " ".join(each.text.reveal().split("\n"))
        for name, each in said.items()
    }


def _file_alone(config: Config, environ: Mapping[str, str]) -> Path:
    """The file that says where both stores are. Raises: ConfigError if the environment has a part in it."""
    stores = [section for name, section in sections().items() if name.endswith((".source", ".destination"))]
    names = sorted(name for name in environ if name.startswith(tuple(f"{section.variable}_" for section in stores)))
    if config.path is not None and not names:
        return config.path
    raise ConfigError(
        tr("the way back needs a configuration file that says where both stores are"),
        hint=tr("Write it, and unset {names}, which would override it.", names=", ".join(names))
        if names
        else tr("Write it: `mastosync init` makes one to fill in."),
    )
