"""Secrets: values that are never shown, and words of others from which secrets are taken out in every spelling."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import NoReturn
from urllib.parse import quote, quote_plus, unquote, urlsplit

HIDDEN = "***"

_AMBIENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD")
"""Variables of the environment that libraries read by themselves, and that hold secrets."""

_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


class Secret:
    """A string that is never shown: `repr`, `str` and `format` hide it, and it refuses to be pickled.

    Only `reveal()` gives it away; secrets with equal content are equal.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself: for the client that needs it, for nothing else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: it would end up in a message or a file")


class Environment(dict[str, str]):
    """Variables of the environment; `repr` shows none of them, as any may hold a secret."""

    def __repr__(self) -> str:
        return "Environment(***)"


class Scrubber:
    """`scrubber(text)` is the text without the secrets. What they look like is worked out when it is first asked."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(secret for secret in secrets if secret)

    def __call__(self, text: str) -> str:
        """The text with `***` in place of each secret."""
        for spelling in self._spellings:
            text = text.replace(spelling, HIDDEN)
        return text

    @cached_property
    def _spellings(self) -> tuple[str, ...]:
        found = {spelling for secret in self._secrets for spelling in spellings(secret)}
        return tuple(sorted(found, key=len, reverse=True))  # a short one may be a part of a long one


def spellings(secret: str) -> Iterator[str]:
    """As it is, and as URLs, Python, JSON, XML and HTTP headers have it."""
    for spelled in _spelled_once(secret):
        yield spelled
        yield repr(spelled)[1:-1]  # as a part of what an error holds


def _spelled_once(secret: str) -> Iterator[str]:
    yield secret
    for safe in ("", "/", "/~"):
        yield quote(secret, safe=safe)
    yield quote_plus(secret)
    yield repr(secret.encode())[2:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield secret.translate(_MARKUP)
    yield base64.b64encode(secret.encode()).decode().rstrip("=")


def password_in(url: str) -> Iterator[str]:
    """The password that a URL holds, as it stands there and as it is meant."""
    try:
        password = urlsplit(url if "://" in url else f"//{url}").password
    except ValueError:
        return
    if password:
        yield from (password, unquote(password))


def ambient_secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """What the environment holds for libraries: keys, a password of PostgreSQL, and those of proxies."""
    for name, value in environ.items():
        if name in _AMBIENT:
            yield value
        elif name.lower().endswith("_proxy"):
            yield from password_in(value)
