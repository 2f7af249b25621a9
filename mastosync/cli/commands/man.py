"""`mastosync man`.

The manual page, made of the help of every command: roff with the macros of man(7).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping

import click

from mastosync import __version__
from mastosync.cli.help import environment, exit_codes, files
from mastosync.cli.invocation import Invocation
from mastosync.cli.output import data_home, install_file, show
from mastosync.language import spoken, tr

_SPELLED = str.maketrans(
    {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
)
"""What roff means something else by, or shows as another character, which could not be pasted into a shell."""
_LITERAL = re.compile("`([^`]+)`")


def manual(context: click.Context) -> str:
    """The page of mastosync: `context` is that of the first group."""
    name = context.info_name or ""
    summary, _, rest = (context.command.help or "").partition("\n\n")
    lines = [
        f'.TH {name.upper()} 1 "" "{name} {__version__}" "User Commands"',
        ".nh",  # what is copied has no hyphens of the page's own
        ".SH NAME",
        f"{name} \\- {_text(summary.strip().rstrip('.'))}",
        ".SH SYNOPSIS",
        *_synopsis(context),
        ".SH DESCRIPTION",
        *_paragraphs(rest),
        ".SH OPTIONS",
        *_options(context),
        ".SH COMMANDS",
        *_commands(context),
        ".SH EXIT STATUS",
        *_terms(exit_codes()),
        ".SH ENVIRONMENT",
        *_terms(environment()),
        ".SH FILES",
        *_terms(files()),
    ]
    return "\n".join(lines) + "\n"


def _commands(context: click.Context) -> Iterator[str]:
    """Every command below a group, in its order, with its own help."""
    group = context.command
    assert isinstance(group, click.Group)  # noqa: S101 - nothing else has commands
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None  # noqa: S101 - it is on the list
        within = click.Context(command, info_name=name, parent=context)
        yield f".SS {_text(within.command_path)}"
        yield from _synopsis(within)
        yield ".PP"
        yield from _paragraphs(command.help or "")
        yield from _options(within)
        if isinstance(command, click.Group):
            yield from _commands(within)


def _synopsis(context: click.Context) -> Iterator[str]:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    yield f"\\fB{_text(context.command_path)}\\fR {_text(pieces)}"


def _paragraphs(text: str) -> Iterator[str]:
    for at, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if at:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _options(context: click.Context) -> Iterator[str]:
    command = context.command
    # that every command has --help is said once
    params = command.params if context.parent else command.get_params(context)
    records = (param.get_help_record(context) for param in params)
    yield from _terms(dict(record for record in records if record is not None))


def _terms(meanings: Mapping[str, str]) -> Iterator[str]:
    for term, meaning in meanings.items():
        yield ".TP"
        yield f"\\fB{_text(term)}\\fR".replace("|", "|\\:")  # where a long list of values may be broken
        yield _text(" ".join(meaning.split()))


def _text(text: str) -> str:
    """A line of text, with what stands between backquotes in bold; no line of it is a request."""
    parts = _LITERAL.split(text)  # every second one stood between backquotes
    spelled = "".join(
        f"\\fB{part.translate(_SPELLED)}\\fR" if at % 2 else part.translate(_SPELLED) for at, part in enumerate(parts)
    )
    return f"\\&{spelled}" if spelled.startswith(".") else spelled


@click.command(name="man")
@click.option("--install", is_flag=True, help="Write it to where man looks, for this user alone.")
@click.pass_context
def man_command(context: click.Context, install: bool) -> None:
    """Print the manual page: `mastosync man | man -l -` shows it."""
    page = manual(context.find_root())
    if not install:
        show(page.removesuffix("\n"))
        return
    invocation = context.find_object(Invocation)
    assert invocation is not None  # noqa: S101 - main hands it in
    folder = data_home() / "man" / (spoken() or "")  # by which man knows how lines of the language are broken
    done = install_file(folder / "man1" / "mastosync.1", page)
    invocation.say(f"{done}\n" + tr("`man mastosync` shows it, where ~/.local/bin is in PATH"))
