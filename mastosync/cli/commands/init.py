"""`mastosync init`, which on a terminal asks where the media are to go."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import file_option, why_wrong
from mastosync.cli.output import ask, show, warn
from mastosync.config import CHANGE_ME, PROVIDERS, SYNTAXES, Provider, Secret, render_sample
from mastosync.config.schema import sections
from mastosync.errors import Interrupted, UsageError
from mastosync.language import say, tr
from mastosync.model import CACHE_CONTROL

_USUAL = "config.ini"


@click.command(name="init")
@click.option("--output", type=click.Path(path_type=Path), default=Path(_USUAL), help="Where.", show_default=True)
@file_option(
    "--from-env",
    help="Begin with what Mastodon's own settings say: its .env.production.",
)
@click.option(
    "--env-syntax",
    type=click.Choice(SYNTAXES),
    help="How Mastodon reads that file: by dotenv or Docker Compose, or by `docker run --env-file`.  [default: dotenv]",
)
@click.option("--copy-secrets", is_flag=True, help="Copy the secrets of that file, instead of referring to them.")
@click.option(
    "--reverse", is_flag=True, help="Exchange source and destination of the configuration (-c): the way back."
)
@click.pass_obj
def init_command(
    invocation: Invocation,
    output: Path,
    from_env: Path | None,
    env_syntax: str | None,
    copy_secrets: bool,
    reverse: bool,
) -> None:
    """Write a configuration file to fill in. An existing file is never touched.

    With --from-env, source and database are filled in, and on a terminal the destination is asked for. Secrets stay in
    the file they are in: the configuration refers to it.
    """
    others = invocation.options.config is not None
    if reverse:
        return _write_reversed(invocation, output, others=bool(from_env or env_syntax or copy_secrets))
    manifest = _own_manifest(invocation, output) if output.name != _USUAL else None  # another migration in this folder
    if from_env is None:
        if env_syntax or copy_secrets:
            raise UsageError(tr("--env-syntax and --copy-secrets are about the file of --from-env"))
        _write(invocation, output, Secret(render_sample({"manifest": {"path": str(manifest)}} if manifest else {})))
        invocation.say(_written(output, to_fill_in=True, others=others))
        return invocation.say(_given(from_disk=False))
    from mastosync.app.files import first_config, require_new
    from mastosync.mastodon.dotenv import read_settings

    require_new(output, _hint())  # before anybody answers questions in vain
    settings = read_settings(from_env, env_syntax or SYNTAXES[0], invocation.environ, copy_secrets=copy_secrets)
    asking = sys.stdin.isatty() and sys.stdout.isatty() and not invocation.options.quiet
    try:
        destination = ask_destination() if asking else None
    except (click.Abort, KeyboardInterrupt) as error:
        raise Interrupted(tr("stopped: nothing was written"), hint=tr("the same command begins anew")) from error
    text = first_config(settings, destination, manifest)
    _write(invocation, output, text)
    invocation.say(_written(output, to_fill_in=f"= {CHANGE_ME}\n" in text.reveal(), others=others))
    if destination is None or destination.get("s3.destination"):
        invocation.say(_given(from_disk=bool(settings.values.get("filesystem.source"))))
    for note in settings.notes:
        invocation.say(note)
    for warning in settings.warnings:
        warn(warning)
    return None


def _own_manifest(invocation: Invocation, output: Path) -> Path:
    """Beside the configuration; in another folder it is named in full, as commands run in any."""
    manifest = output.with_suffix(".db")
    if manifest.is_absolute() or manifest.name == str(manifest):
        return manifest
    return (invocation.folder / manifest.parent).resolve() / manifest.name


def _write_reversed(invocation: Invocation, output: Path, *, others: bool) -> None:
    if others:
        raise UsageError(tr("--reverse goes with --output alone: it takes everything from the configuration"))
    from mastosync.app.files import acl_on_the_way_back, reversed_config, unknown_acl

    manifest = _own_manifest(invocation, output)
    _write(invocation, output, reversed_config(invocation.config, manifest, invocation.environ))
    invocation.say(
        tr("wrote {file}: source and destination are exchanged, and its manifest is another one", file=output)
    )
    if acl_on_the_way_back(invocation.config) is None:
        warn(f"[s3.destination] acl: {unknown_acl()}")


def _write(invocation: Invocation, output: Path, text: Secret) -> None:
    from mastosync.app.files import new_file
    from mastosync.new_files import owner_of_another

    with new_file(output, hint=_hint()) as file:
        file.write(text.reveal())
    if owner := owner_of_another(output):
        invocation.say(tr("{file} belongs to {owner}, as its folder does", file=output, owner=owner))


def _given(*, from_disk: bool) -> str:
    """What objects will be given, and where that can be changed."""
    from mastosync.findings.messages import cache_control_message

    text = cache_control_message(CACHE_CONTROL, from_disk=from_disk)
    return tr("{said} (`cache_control` of [s3.destination])", said=text)


def _hint() -> str:
    return tr("--output names another file")


def _written(output: Path, *, to_fill_in: bool, others: bool) -> str:
    """`others`: commands are typed with the name of another configuration."""
    named = "" if str(output) == _USUAL and not others else f" -c {shlex.quote(str(output))}"
    command = f"mastosync{named} doctor"
    if to_fill_in:
        return tr(
            "wrote {file}. Fill in each value that is {word} there, then run `{command}`",
            file=output,
            word=CHANGE_ME,
            command=command,
        )
    return tr("wrote {file}. Nothing is left to fill in: run `{command}`", file=output, command=command)


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
            show(why_wrong(wrong, tr("That is not {allowed}", allowed=form.described(say))))
        else:
            return text
    return CHANGE_ME
