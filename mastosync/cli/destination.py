"""Asking where the media are to go: the questions of `init` on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from mastosync.cli.output import ask, show
from mastosync.config import CHANGE_ME, PROVIDERS, Provider
from mastosync.config.schema import sections
from mastosync.language import say, tr

Sections = dict[str, dict[str, str]]


def ask_destination() -> Sections:
    """The sections of the destination, as answered. What is left open is to be filled in later."""
    presets = [*_presets(), (("other",), Provider()), (("folder",), Provider())]
    show(tr("Where do the media go?"))
    for number, (names, known) in enumerate(presets, 1):
        show(f"{number:>4}  {' / '.join(names):<24}  {_looks(names, known)}".rstrip())
    choices = {name: preset for preset in presets for name in preset[0]}
    choices |= {str(number): preset for number, preset in enumerate(presets, 1)}
    while (answer := ask(tr("Its number or name")).strip().lower()) not in choices:
        show(tr("That is none of them. Type a number or a name of this list; an address is asked for next."))
    show(tr("An empty answer leaves {word} in the file, to be filled in later.", word=CHANGE_ME))
    names, known = choices[answer]
    if names == ("folder",):
        path = _answer("filesystem.destination", "path", tr("Folder"))
        return {"s3.destination": {}, "filesystem.destination": {"path": path}}
    return {"s3.destination": _bucket(names, known), "filesystem.destination": {}}


def _presets() -> Iterator[tuple[tuple[str, ...], Provider]]:
    """Each provider once, with all its names."""
    for name, known in PROVIDERS.items():
        names = tuple(each for each, same in PROVIDERS.items() if same is known)
        if names[0] == name:
            yield names, known


def _looks(names: tuple[str, ...], known: Provider) -> str:
    """What to know a choice by."""
    words = {"other": tr("another store that speaks S3"), "folder": tr("a folder of this machine")}
    return words.get(names[0]) or _address(known)


def _address(known: Provider) -> str:
    """What its endpoints look like, for people."""
    if known.hosts:
        return f"https://{known.hosts[0].replace('*', tr('REGION'))}"
    return f"https://…{known.domains[0]}" if known.domains else ""


def _bucket(names: tuple[str, ...], known: Provider) -> dict[str, str]:
    keys = {"provider": names[0]} if names[0] in PROVIDERS else {}
    if known.hosts:
        keys |= _regional(known, without_endpoint="aws" in names)
    else:
        example = _address(known) or "https://s3.example.com"
        keys["endpoint_url"] = _answer("s3.destination", "endpoint_url", tr("Endpoint, such as {url}", url=example))
    keys["bucket"] = _answer("s3.destination", "bucket", tr("Bucket"))
    keys["access_key"] = _answer("s3.destination", "access_key", tr("Access key id"))
    question = tr("Secret key (is not shown; env:NAME refers to a variable)")
    asked = keys["access_key"] != CHANGE_ME
    keys["secret_key"] = _answer("s3.destination", "secret_key", question, hidden=True) if asked else CHANGE_ME
    return keys


def _regional(known: Provider, *, without_endpoint: bool) -> dict[str, str]:
    """The region, and the endpoint that follows from it."""
    usual = known.region if known.region != Provider().region else ""
    region = _answer("s3.destination", "region", tr("Region, as in {url}", url=_address(known)), default=usual)
    if without_endpoint:
        return {"region": region}
    missing = region == CHANGE_ME
    return {"endpoint_url": CHANGE_ME if missing else f"https://{known.hosts[0].replace('*', region)}"}


def _answer(section: str, name: str, question: str, *, default: str = "", hidden: bool = False) -> str:
    """An answer that the key takes, as it is to be written; the question is repeated until there is one."""
    form = sections()[section].keys[name].info.form
    while text := ask(question, default, hidden=hidden).strip():
        try:
            form.parse(text)
        except ValueError as wrong:
            problem = getattr(wrong, "message", "") or tr("That is not {allowed}", allowed=form.described(say))
            hint = getattr(wrong, "hint", "")
            show(tr("{problem}. {hint}", problem=problem, hint=hint) if hint else f"{problem}.")
        else:
            return text
    return CHANGE_ME
