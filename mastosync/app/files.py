"""Files that are written for people: the configuration of `init`, the keys of `pin-secrets`, and others to be saved.

`pin-secrets` is for the switch. Then `.env.production` gets the keys of the new store, and a configuration that refers
to it loses those of the old one, from which the last objects have to come. So the keys are copied before that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mastosync.app.mastodon_settings import OwnSettings, acl_of_way_back, keys_at_stake, own_settings
from mastosync.config import CHANGE_ME, Config, Secret, load_config, render_sample
from mastosync.config.env_file import edited, read_env_file
from mastosync.config.schema import sections
from mastosync.config.sources import RawValue, ValueSource, read_file, read_text
from mastosync.cutover import NewFiles
from mastosync.errors import ConfigError, UsageError
from mastosync.language import enumerated, tr
from mastosync.mastodon.settings import current_settings
from mastosync.mountinfo import same_file
from mastosync.new_files import appearing, require_room_for, written

if TYPE_CHECKING:
    from mastosync.mastodon.dotenv import MastodonSettings

_HEAD = "# Secrets that {config} refers to, as they stood in {file}. Only their owner may read them.\n"
_HEADER = re.compile(r"\[(.+)\]")  # of a section, as configparser has it: what comes after it counts for nothing
_OVERRIDE = "MASTOSYNC_ENV_FILE"


def require_new(target: Path, hint: str) -> None:
    """Raises: UsageError if the file exists; `hint` says what to do then."""
    require_room_for(target, hint=hint)


@contextmanager
def new_file(target: Path, *, replace: bool = False, mode: int = 0o600, hint: str = "") -> Iterator[TextIO]:
    """Write a text file that appears whole, when the block ends well, or not at all.

    `hint`: what to do if the file exists. Raises: UsageError if it exists and `replace` is off; OutputError.
    """
    if not replace:
        require_new(target, hint)
    with appearing(target, replace=replace) as partial, written(target), partial.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        yield file


def new_files() -> NewFiles:
    """Names that are free in this folder, so that nothing is refused, and nothing overwritten.

    The configuration of the way back and its manifest have one number: a second way back has both of its own.
    """
    names = {each.name: free_name(Path(str(each.default)))[0] for each in fields(NewFiles)}
    manifest = Path(NewFiles().back_manifest).suffix
    names["back"] = free_name(Path(NewFiles().back), manifest)[0]
    names["back_manifest"] = names["back"].with_suffix(manifest)
    return NewFiles(**{name: str(path) for name, path in names.items()})


def free_name(path: Path, *beside: str) -> tuple[Path, list[Path]]:
    """This name, or the first one with a number that nobody has taken; and those before it.

    `beside`: other suffixes with which nobody may have taken it.
    """
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    taken: list[Path] = []
    for each in chain((path,), numbered):
        if not any(os.path.lexists(name) for name in (each, *map(each.with_suffix, beside))):
            return each, taken
        taken.append(each)
    raise AssertionError  # numbers do not end


def first_config(
    settings: MastodonSettings, destination: Mapping[str, Mapping[str, str]] | None, manifest: Path | None = None
) -> Secret:
    """The text of a configuration made of Mastodon's settings. It may contain secrets.

    `destination`: its sections; None: they are left to be filled in. `manifest`: its path, if not the default.
    Raises: ConfigError for a value that does not fit on a line.
    """
    keys = sections()["s3.destination"].keys.values()
    to_fill_in = {key.name: CHANGE_ME for key in keys if key.info.sample == CHANGE_ME}
    bucket = destination.get("s3.destination") if destination else to_fill_in
    along = settings.values.get("s3.destination", {}) if bucket else {}
    values = {**settings.values, **(destination or {}), "s3.destination": {**(bucket or {}), **along}}
    values |= {"manifest": {"path": str(manifest)}} if manifest else {}
    remarks = {name: texts for name, texts in settings.remarks.items() if bucket or name != "s3.destination"}
    return Secret(render_sample(values, remarks))


def reversed_config(config: Config, manifest: Path, environ: Mapping[str, str]) -> Secret:
    """The text of a configuration with source and destination exchanged, and a manifest of its own.

    Settings that only a destination has (headers, public address) are left at their defaults, and so is `acl` unless
    `acl_of_way_back` knows it. The text may contain secrets. Raises: ConfigError if no file names the stores.
    """
    given = read_file(_file_alone(config, environ))
    values = {name: _lines(given.get(name, {})) for name in sections()}
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
    """As `acl_of_way_back`, with Mastodon's settings if they can be read. A disk has no ACL: that is known."""
    if config.source_folder.path:
        return "auto"
    try:
        return acl_of_way_back(config, own_settings(config))
    except ConfigError:
        return acl_of_way_back(config, OwnSettings(None, {}))


def unknown_acl() -> str:
    """What to look up where `acl` is left at its default because it is not known."""
    return tr(
        "mastosync cannot know which ACL objects have at this store. Look up S3_PERMISSION as it was while Mastodon"
        " used the store (in a backup of .env.production). If it was private, set `acl = private`; if it was set and"
        " empty, set `acl = none`"
    )


def _lines(given: Mapping[str, RawValue]) -> dict[str, str]:
    """Keys as a file has them, each on one line."""
    return {
        f"{name}_file" if each.source is ValueSource.FILE else name: " ".join(each.text.reveal().split("\n"))
        for name, each in given.items()
    }


def _file_alone(config: Config, environ: Mapping[str, str]) -> Path:
    """The file that names both stores. Raises: ConfigError if variables of the environment name part of them."""
    stores = [section for name, section in sections().items() if name.endswith((".source", ".destination"))]
    names = sorted(name for name in environ if name.startswith(tuple(f"{section.variable}_" for section in stores)))
    if config.path is not None and not names:
        return config.path
    raise ConfigError(
        tr("the way back needs a configuration file that says where both stores are"),
        hint=tr("Write one, and unset {names}, which would override it.", names=enumerated(names))
        if names
        else tr("Write it: `mastosync init` makes one to fill in."),
    )


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
    """Copy the secrets that the configuration refers to into a new file (0600), and make the configuration name it.

    Both files appear whole or not at all, the configuration last. Returns: the new file.
    Raises: ConfigError; UsageError if another file has its name; OutputError.
    """
    target, source = pinned_file(config), config.env.file
    assert config.path is not None and source is not None  # noqa: S101, PT018 - somebody refers to it
    if _OVERRIDE in environ:
        raise ConfigError(
            tr("{variable} is set, and overrides [env] file in the configuration", variable=_OVERRIDE),
            hint=tr("Unset it, pin the secrets, then set it to {file}.", file=target),
        )
    _require_old_keys(config, source)
    secrets = _secrets(config, source, environ)
    if not (target.is_file() and read_text(target, str(target)) == secrets):  # as an earlier try may have left it
        if os.path.lexists(target):
            raise UsageError(
                tr("{file} exists already, and holds something else", file=target),
                hint=tr("move it away, and pin the secrets once more"),
            )
        with appearing(target, like=config.path.stat()) as partial:  # the same users read both
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
            tr("{file} already names the new store: its keys may no longer be those of the old store", file=source),
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
    """The configuration without the paths of its files."""
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
