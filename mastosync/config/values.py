"""How a key of the configuration is declared, and how its value is written: what is allowed, how it is read and shown.

A `Format` serves the loader (read, refuse), the sample file (show) and the error messages (say what is allowed), so
that the three cannot disagree. `key` and `section` declare fields of dataclasses; `Key` and `Section` are read back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlsplit

from mastosync.config.secrets import Secret
from mastosync.language import deferred, tr
from mastosync.model import TABLES, Order

T = TypeVar("T")

CHANGE_ME = "CHANGE-ME"
"""What the sample holds where only the admin knows the value. The loader refuses it."""


class InvalidValue(ValueError):
    """A value that cannot be, said without its place (the loader knows that) and without any secret."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Format(Generic[T]):
    """How a value is written in a file or in the environment."""

    allowed: str  # completes the sentence "this is not …", `deferred`; empty: any text is taken
    parse: Callable[[str], T]  # raises ValueError, or InvalidValue where it can say more
    show: Callable[[T], str] = str
    hidden: bool = False  # never shown: not in repr, not in errors
    evident: bool = False  # the sample need not say what is allowed
    multiline: bool = False  # indented lines may continue it
    empty_counts: bool = False  # an empty value says something; elsewhere it is the same as none
    bounds: Mapping[str, object] = field(default_factory=dict)  # what `{name}` in `allowed` stands for

    def described(self, say: Callable[[str], str] = str) -> str:
        """What is allowed, in the words that `say` finds for it."""
        return say(self.allowed).format(**self.bounds)


def nearest(name: str, known: tuple[str, ...]) -> str:
    """The known name that `name` was probably meant to be, or an empty string."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for errors: most starts never need it

    by_lower = {each.lower(): each for each in known}
    return next((by_lower[each] for each in get_close_matches(name.lower(), by_lower, n=1)), "")


def suggest(name: str, known: tuple[str, ...], form: str = "{}") -> str:
    """A hint for an unknown name: the nearest known one, or all of them. `form`: how a name is written."""
    if near := nearest(name, known):
        return tr("Did you mean {near}?", near=form.format(near))
    return tr("Known are: {names}.", names=", ".join(map(form.format, known)))


def _word(text: str) -> str:
    if re.search(r"\s", text):
        raise ValueError
    return text


def _bucket(text: str) -> str:
    if "/" in text:
        raise InvalidValue(tr("a bucket's name holds no slash"), tr("Folders inside the bucket go into key_prefix."))
    return _word(text)


def _host(text: str) -> str:
    if "://" in text:
        raise InvalidValue(
            tr("a URL where a host name belongs"),
            tr("Write the bare host name, the IP address or the socket's folder."),
        )
    return _word(text)


TEXT = Format("", str)
WORD = Format(deferred("one word without spaces"), _word, evident=True)
BUCKET = Format(deferred("the name of a bucket"), _bucket, evident=True)
HOST = Format(deferred("a host name"), _host, evident=True)
PREFIX = Format("", str, empty_counts=True)
TEXT_OR_NONE = Format("", str.strip, empty_counts=True)
HIDDEN_WORD = Format(deferred("one word without spaces"), _word, hidden=True, evident=True)
SECRET = Format("", Secret, hidden=True)


def choice(*names: str) -> Format[str]:
    """One of some names, in upper or lower case; an unknown one is answered with the nearest."""

    def parse(text: str) -> str:
        if (name := text.strip().lower()) in names:
            return name
        near = nearest(text, names)
        raise InvalidValue("", tr("Did you mean {near}?", near=near) if near else "")

    return Format(deferred("one of {names}"), parse, bounds={"names": ", ".join(names)})


ORDER = choice(*(order.value for order in Order))

_SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _switch(text: str) -> bool:
    try:
        return _SWITCH[text.strip().lower()]
    except KeyError:
        raise ValueError from None


SWITCH = Format(deferred("true or false"), _switch, show=lambda value: str(value).lower(), evident=True)

_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")


def whole(minimum: int, maximum: int | None = None) -> Format[int]:
    """A whole number, both bounds included."""

    def parse(text: str) -> int:
        text = text.strip()
        if not _NUMBER.fullmatch(text) or "." in text:
            raise ValueError
        number = int(text)
        if number < minimum or (maximum is not None and number > maximum):
            raise ValueError
        return number

    bounds = {"minimum": minimum, "maximum": maximum}
    if maximum is None:
        return Format(deferred("a whole number of at least {minimum}"), parse, evident=True, bounds=bounds)
    return Format(deferred("a whole number from {minimum} to {maximum}"), parse, evident=True, bounds=bounds)


def seconds(minimum: float) -> Format[float]:
    """Seconds, with a fraction if need be."""

    def parse(text: str) -> float:
        text = text.strip()
        if not _NUMBER.fullmatch(text) or float(text) < minimum:
            raise ValueError
        return float(text)

    allowed = deferred("a number of seconds, at least {minimum:g}")
    return Format(allowed, parse, show=lambda value: f"{value:g}", evident=True, bounds={"minimum": minimum})


_DURATION = re.compile(r"(?:([0-9]{1,5})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,8})m)?(?:([0-9]{1,9})s)?", re.IGNORECASE)
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}  # in seconds


def parse_duration(text: str) -> float:
    """Seconds of `10m`, `1h30m` or `45s`; at least one. Raises: ValueError."""
    match = _DURATION.fullmatch("".join(text.split()))
    seconds = (
        sum(int(number) * unit for number, unit in zip(match.groups("0"), _UNITS.values(), strict=True)) if match else 0
    )
    if not seconds:
        raise ValueError("not a duration such as 10m, 1h30m or 45s")
    return float(seconds)


def show_duration(seconds: float) -> str:
    """The shortest way to write a duration: 5400 is `1h30m`."""
    text, rest = "", round(seconds)
    for unit, seconds_each in _UNITS.items():
        number, rest = divmod(rest, seconds_each)
        text += f"{number}{unit}" if number else ""
    return text


def _patience(text: str) -> float:
    return 0.0 if text.strip().lower() in ("0", "off") else parse_duration(text)


PATIENCE = Format(
    deferred("a duration such as 10m or 1h, or off"),
    _patience,
    show=lambda seconds: show_duration(seconds) or "off",
)

DURATION = Format(deferred("a duration such as 10m, 1h30m or 45s"), parse_duration, show=show_duration)


def _price(text: str) -> float:
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError
    return float(text)


PRICE = Format(deferred("a number such as 0.09"), _price, show=lambda value: f"{value:g}", evident=True)
"""An amount of money, or a number that goes with one: with a fraction if need be, and no sign."""

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(?:([kmgt])(ib|b)?|b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """Bytes of `16777216`, `16MiB`, `16M` (both 1024-based) or `16MB` (1000-based). Raises: ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a size such as 16MiB, 16MB or 16777216")
    number, unit, suffix = match[1], (match[2] or "").lower(), (match[3] or "").lower()
    factor: int = (1000 if suffix == "b" else 1024) ** _POWERS[unit]
    return int(number) * factor if "." not in number else round(float(number) * factor)


def show_size(size_bytes: int) -> str:
    """The shortest exact way to write a size: 16777216 is `16MiB`."""
    for unit, power in (("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if size_bytes and size_bytes % 1024**power == 0:
            return f"{size_bytes // 1024**power}{unit}"
    return str(size_bytes)


def size(minimum: int, maximum: int) -> Format[int]:
    """A number of bytes, both bounds included."""

    def parse(text: str) -> int:
        number = parse_size(text)
        if not minimum <= number <= maximum:
            raise ValueError
        return number

    bounds = {"minimum": show_size(minimum), "maximum": show_size(maximum)}
    return Format(deferred("a size such as 16MiB, from {minimum} to {maximum}"), parse, show=show_size, bounds=bounds)


def to_path(text: str) -> Path:
    """A path, with `~` expanded."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user, or a container whose user has no home: whoever opens it will say so
        return Path(text)


PATH = Format("", to_path)


def _tables(text: str) -> tuple[str, ...]:
    names = text.replace(",", " ").split()
    for name in names:
        if name not in TABLES and name != "all":
            raise InvalidValue(tr("{name!r} is no type", name=name), suggest(name, TABLES))
    return TABLES if "all" in names or not names else tuple(table for table in TABLES if table in names)


TYPES = Format(
    deferred("all, or some of {names}"),
    _tables,
    show=lambda tables: "all" if tables == TABLES else ", ".join(tables),
    multiline=True,
    bounds={"names": ", ".join(TABLES)},
)


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.port == 0:  # which raises ValueError itself for what is no port
        raise ValueError
    return parts


def _endpoint(text: str) -> str:
    if "@" in text:
        raise InvalidValue(tr("a user name or password in the URL"), tr("Put them into access_key and secret_key."))
    if "?" in text:  # it may hold a signature, or a token
        raise InvalidValue(tr("a query in the URL"), tr("Leave out the ? and what follows it."))
    if "://" not in text:
        raise InvalidValue(
            tr("{text!r} does not start with http:// or https://", text=text), tr("Write https://{text}", text=text)
        )
    parts = _split(_word(text))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError
    return text.rstrip("/")


ENDPOINT = Format(deferred("the http or https URL of a store, such as https://s3.example.com"), _endpoint, evident=True)


def _public_url(text: str) -> str:
    return _endpoint(text if "://" in text else f"https://{text}")


PUBLIC_URL = Format(deferred("a host such as files.example.social, or an http or https URL"), _public_url, evident=True)


def _database_url(text: str) -> Secret:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError
    return Secret(text)


DATABASE_URL = Format(deferred("a URL that starts with postgresql://"), _database_url, hidden=True, evident=True)


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part) for part in text.replace(",", " ").split())


NETWORKS = Format(
    deferred("some networks such as 10.1.0.0/16 fd12::/32"),
    _networks,
    show=lambda networks: " ".join(map(str, networks)),
)


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
