"""Words for people, in the language of the environment (`LANGUAGE`, `LC_ALL`, `LC_MESSAGES`, `LANG`).

A message is its own key: where no catalog in `locale/` has it, it is said as it stands, in English. What scripts
read (JSON, names of states, reasons, types and keys) is never translated.
"""

from __future__ import annotations

from functools import cache
from gettext import NullTranslations, translation
from pathlib import Path

DOMAIN = "mastosync"
LOCALES = Path(__file__).with_name("locale")


def tr(message: str, /, **values: object) -> str:
    """A message in the user's language; `{name}` in it stands for the value of that name.

    The message has to be a literal, so that it is found for the catalogs, and never an f-string.
    """
    said = _catalog().gettext(message)
    return said.format(**values) if values else said


def trn(one: str, many: str, count: int, /, **values: object) -> str:
    """The same for a number of things, which both forms may name as `{count}`."""
    return _catalog().ngettext(one, many, count).format(count=count, **values)


def spoken() -> str | None:
    """The language of the messages, as their catalog names it: `ja`. None is English."""
    return _catalog().info().get("language")


@cache
def _catalog() -> NullTranslations:
    return translation(DOMAIN, LOCALES, fallback=True)
