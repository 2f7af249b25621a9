"""Secrets that the configuration takes from Mastodon's own file are copied, before that file is changed.

At the switch `.env.production` gets the keys of the new store. Whatever refers to it then means those, and the old
store, from which the last objects have to come, refuses them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mastosync.app.mastodon import OwnSettings, keys_at_stake
from mastosync.config import Config, Secret, load_config
from mastosync.config.env_file import edited, read_env_file
from mastosync.config.sources import read_text
from mastosync.errors import ConfigError, UsageError
from mastosync.language import tr
from mastosync.manifest import appearing, written
from mastosync.mastodon.settings import current_settings
from mastosync.mountinfo import same_file

_HEAD = "# Secrets that {config} refers to, as they stood in {file}. Only their owner may read them.\n"
_HEADER = re.compile(r"\[(.+)\]")  # of a section, as configparser has it: what comes after it counts for nothing
_OVERRIDE = "MASTOSYNC_ENV_FILE"


def pinned_file(config: Config) -> Path:
    """Where the secrets of a configuration file are kept: beside it. Raises: ConfigError if there is no such file."""
    if config.path is None:
        raise ConfigError(
            tr("there is no configuration file whose secrets could be pinned"),
            hint=tr(
                "The environment alone says where the stores are, and a change of .env.production does not touch it."
            ),
        )
    return Path(os.path.realpath(config.path)).with_suffix(".secrets")


def is_pinned(config: Config) -> bool:
    """Whether the secrets stand in another file than Mastodon's own."""
    file, mastodon = config.env.file, config.env.mastodon_file
    apart = file is not None and mastodon is not None and not same_file(file, mastodon)
    return apart and bool(config.referred)


def pin(config: Config, environ: Mapping[str, str]) -> Path:
    """Copy what is referred to into a file of its own (0600), and let the configuration name that file.

    Both files appear whole or not at all, the configuration last. Returns: the new file.
    Raises: ConfigError; UsageError if another file has its name; OutputError.
    """
    target, source = pinned_file(config), config.env.file
    assert config.path is not None and source is not None  # noqa: S101, PT018 - somebody refers to it
    if _OVERRIDE in environ:
        raise ConfigError(
            tr("{variable} is set, and overrides what the configuration says of [env] file", variable=_OVERRIDE),
            hint=tr("Unset it, pin the secrets, and let it name {file} then.", file=target),
        )
    _require_old_keys(config, source)
    secrets = _secrets(config, source, environ)
    if not (target.is_file() and read_text(target, str(target)) == secrets):  # as an earlier try may have left it
        if os.path.lexists(target):
            raise UsageError(
                tr("{file} exists already, and holds something else", file=target),
                hint=tr("move it away, and pin the secrets once more"),
            )
        with appearing(target, like=config.path.stat()) as partial:  # whoever reads that has to read this
            _fill(partial, target, secrets, mode=0o600)
    _rewrite(config, target, environ)
    return target


def _require_old_keys(config: Config, source: Path) -> None:
    """Raises: ConfigError if Mastodon's file may have the keys of the destination in the place of the source's."""
    if not keys_at_stake(config):
        return
    mastodon = OwnSettings(source, current_settings(read_text(source, str(source)), source, config.env.syntax))
    if mastodon.has_left(config.store("source"), config.store("destination")):
        raise ConfigError(
            tr("{file} names the new store already: its keys may not be those of the old store any more", file=source),
            hint=tr(
                "Write access_key and secret_key of the old store under [s3.source] in {config}. A copy of the old"
                " .env.production has them.",
                config=config.path,
            ),
        )


def _secrets(config: Config, source: Path, environ: Mapping[str, str]) -> Secret:
    file = read_env_file(source, config.env.syntax, environ)
    head = Secret(_HEAD.format(config=config.path, file=source))
    return edited(head, config.env.syntax, {each.variable: file.value(each.variable) for each in config.referred})


def _rewrite(config: Config, target: Path, environ: Mapping[str, str]) -> None:
    """Let the configuration file name the new one. Raises: ConfigError if it then says something else."""
    assert config.path is not None  # noqa: S101
    path, mastodon = Path(os.path.realpath(config.path)), config.env.settings
    text = _with_keys(read_text(path, str(path)), {"file": str(target), "mastodon_file": str(mastodon)})
    with appearing(path, replace=True) as partial:
        _fill(partial, path, text, mode=path.stat().st_mode & 0o777)
        found = load_config(partial, environ)
        changed = (found.env.file, found.env.settings) == (target, mastodon)
        if not changed or _without_places(found) != _without_places(config):
            raise ConfigError(
                tr("{path} could not be changed without changing what it means", path=path),
                hint=tr(
                    "Write into its [env] section: file = {file}, mastodon_file = {mastodon}",
                    file=target,
                    mastodon=mastodon,
                ),
            )


def _without_places(config: Config) -> Config:
    """What a configuration means, wherever it stands."""
    return replace(config, env=Config().env, path=None, warnings=(), referred=())


def _with_keys(text: Secret, keys: Mapping[str, str]) -> Secret:
    """The text of a configuration file with these keys in its [env] section."""
    lines, within = [], False
    for line in text.reveal().splitlines(keepends=True):
        if header := _HEADER.match(line):
            within = header[1] == "env"
            lines.append(line)
            lines += [f"{name} = {value}\n" for name, value in keys.items()] if within else []
        elif not (within and re.match(rf"({'|'.join(keys)})\s*[=:]", line, re.IGNORECASE)):
            lines.append(line)
    return Secret("".join(lines))


def _fill(partial: Path, target: Path, text: Secret, *, mode: int) -> None:
    """Raises: OutputError."""
    with written(target):
        partial.write_text(text.reveal(), encoding="utf-8")
        partial.chmod(mode)
