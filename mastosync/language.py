"""Words for people, in the language of the environment (`LANGUAGE`, `LC_ALL`, `LC_MESSAGES`, `LANG`).

A message is its own key: where no catalog in `locale/` has it, it is said as it stands, in English. What scripts and
bug reports read is never translated: JSON, the log, what the manifest holds, names of states, reasons, types and keys.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, reduce
from gettext import GNUTranslations, NullTranslations, bindtextdomain, textdomain, translation
from itertools import takewhile
from pathlib import Path
from threading import Event, local

DOMAIN = "mastosync"
LOCALES = Path(__file__).with_name("locale")

_NO_LANGUAGE = {"C", "POSIX"}
_BEFORE_STOP = re.compile(r"\{(\w+)\}。")
_ENGLISH = NullTranslations()
_for_programs = Event()  # in all threads
_here = local()  # in this one


def tr(message: str, /, **values: object) -> str:
    """A message in the user's language; `{name}` in it stands for the value of that name.

    The message has to be a literal, so that it is found for the catalogs, and never an f-string.
    """
    said = _catalog().gettext(message)
    return _filled(said, values) if values else said


def trn(one: str, many: str, count: int, /, **values: object) -> str:
    """A message about `count` things, in the user's language; both forms may name the number as `{count}`."""
    return _filled(_catalog().ngettext(one, many, count), {"count": count, **values})


def deferred(message: str) -> str:
    """A literal as it stands, for the catalogs to find: `say` says it when it is needed."""
    return message


def joined(sentences: Iterable[str]) -> str:
    """Several messages as one, as the language joins sentences."""
    first, *others = [*sentences] or [""]
    return reduce(lambda said, remedy: tr("{said}; {remedy}", said=said, remedy=remedy), others, first)


def enumerated(names: Iterable[str]) -> str:
    """Names or parts of a message, as the language puts them one after the other."""
    first, *others = [*names] or [""]
    return reduce(lambda said, more: tr("{said}, {more}", said=said, more=more), others, first)


_OWN_NAME = deferred("English")  # in a catalog what its language calls itself, in its letters


def say(message: str) -> str:
    """In the user's language what `deferred` has marked, or what a command has as its help."""
    return _catalog().gettext(message) if message else ""  # which has the head of a catalog


@contextmanager
def english() -> Iterator[None]:
    """For as long as the block runs, what this thread says is in English, as the log is."""
    before = getattr(_here, "in_english", False)
    _here.in_english = True
    try:
        yield
    finally:
        _here.in_english = before


@contextmanager
def english_everywhere() -> Iterator[None]:
    """For as long as the block runs, all threads speak English: a program will read what they say."""
    already = _for_programs.is_set()
    _for_programs.set()
    try:
        yield
    finally:
        if not already:
            _for_programs.clear()


def spoken() -> str | None:
    """The language of the messages, as their catalog names it: `ja`. None is English."""
    return _catalog().info().get("language")


def lend_to_libraries() -> None:
    """Have libraries that ask Python's gettext, as click does, find their words in our catalogs."""
    if isinstance(_users_catalog(), GNUTranslations):
        bindtextdomain(DOMAIN, str(LOCALES))
        textdomain(DOMAIN)


def _filled(said: str, values: Mapping[str, object]) -> str:
    """A message with its values. A Japanese sentence that ends already gets no second full stop."""
    ended = {name: str(values[name]).removesuffix("。") for name in _BEFORE_STOP.findall(said)}
    return said.format(**{**values, **ended})


def _catalog() -> NullTranslations:
    in_english = _for_programs.is_set() or getattr(_here, "in_english", False)
    return _ENGLISH if in_english else _users_catalog()


@cache
def _users_catalog() -> NullTranslations:
    """The catalog of the first wanted language that has one; English if the terminal cannot show it."""
    wanted = wanted_languages(os.environ)
    if not wanted:
        return _ENGLISH
    try:
        catalog = translation(DOMAIN, LOCALES, wanted)
    except Exception:  # noqa: BLE001 - there is none, or a broken one: English is better than no word at all
        return _ENGLISH
    return catalog if _can_be_shown(catalog.gettext(_OWN_NAME)) else _ENGLISH


def wanted_languages(environ: Mapping[str, str]) -> list[str]:
    """The wanted languages before English, as GNU gettext orders them: English needs no catalog, and ends the list."""
    locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or "C"
    if _code(locale) in _NO_LANGUAGE:
        return []
    names = (environ.get("LANGUAGE") or locale).split(":")
    return list(takewhile(lambda name: _code(name) not in {"en", *_NO_LANGUAGE}, names))


def _code(locale: str) -> str:
    return re.split(r"[_.@]", locale)[0]


def _can_be_shown(text: str) -> bool:
    for stream in (sys.stdout, sys.stderr):
        try:
            text.encode(getattr(stream, "encoding", None) or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return False
    return True
