"""How a section and a key are declared on a dataclass, and how the declarations are read back.

What is said where the configuration, or a part of it, is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from mastosync.config.values import Format
from mastosync.errors import ConfigError
from mastosync.language import tr

T = TypeVar("T")

CHANGE_ME = "CHANGE-ME"
"""What the sample holds where only the admin knows the value. The loader refuses it."""


class KeyInfo(NamedTuple):
    """What a field says of its key, beside its type and default."""

    form: Format[Any]
    meaning: str
    sample: str | None  # the value shown in the sample file, where that is not the default
    only: str | None  # the one section that has this key, where several share the class


def key(default: T, form: Format[Any], meaning: str, *, sample: str | None = None, only: str | None = None) -> T:
    """Declare a key; the parameters are those of `KeyInfo`."""
    info = KeyInfo(form, meaning, sample, only)
    return field(default=default, repr=not form.hidden, metadata={"key": info})


def section(name: str, default: T, intro: str) -> T:
    """Declare a section: its name in the file, its defaults, and what the sample says at its head."""
    return field(default=default, metadata={"section": name, "intro": intro})


class Key(NamedTuple):
    """A key of one section, as read from its field."""

    section: str
    name: str
    default: object
    info: KeyInfo

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return variable(self.section, self.name)


class Section(NamedTuple):
    """A section, as read from the field of `Config`."""

    name: str
    attribute: str  # of Config
    kind: type[Any]
    intro: str
    keys: Mapping[str, Key]

    @property
    def variable(self) -> str:
        """What the environment variables of its keys start with."""
        return variable(self.name)


def variable(*names: str) -> str:
    """The environment variable that overrides a key: MASTOSYNC_S3_SOURCE_BUCKET for `s3.source`, `bucket`."""
    return "_".join(("MASTOSYNC", *names)).replace(".", "_").upper()


def read_section(item: Field[Any]) -> Section:
    """The section that a field of `Config` declares with `section()`."""
    name: str = item.metadata["section"]
    kind: type[Any] = type(item.default)
    keys = [Key(name, each.name, each.default, each.metadata["key"]) for each in fields(kind)]
    own = {key.name: key for key in keys if key.info.only in (None, name)}
    return Section(name, item.name, kind, item.metadata["intro"], MappingProxyType(own))


def no_configuration() -> ConfigError:
    """There is none at all."""
    return ConfigError(tr("there is no configuration"), hint=f"{tr('`mastosync init` writes one.')} {_places()}")


def missing_key(path: Path | None, section: str, name: str) -> ConfigError:
    """A key that a command cannot do without. `path`: of the file; None: there is only the environment."""
    given = variable(section, name)
    hint = tr("Add it there, or set {variable}.", variable=given)
    if path is None:
        hint = f"{tr('Set {variable}, or write a file with `mastosync init`.', variable=given)} {_places()}"
    where = path or tr("the environment")
    return ConfigError(tr("{where}: [{section}] {name} is missing", where=where, section=section, name=name), hint=hint)


def missing_bucket(path: Path | None, role: str) -> ConfigError:
    """Neither a bucket nor a folder for the source or the destination."""
    missing = missing_key(path, f"s3.{role}", "bucket")
    missing.hint += " " + tr("Or name a folder: path in [filesystem.{role}].", role=role)
    return missing


def _places() -> str:
    return tr(
        "A configuration file is looked for in this order: -c/--config, MASTOSYNC_CONFIG, ./private/$CONFIG_FILE_NAME,"
        " ./config.ini, ./private/config.ini."
    )
