"""How a section and a key are declared on a dataclass, and how the declarations are read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, field, fields
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from mastosync.config.values import Format

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
