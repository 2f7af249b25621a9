"""The command line: global options, the list of commands, and errors as text and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import click

from mastosync import __version__
from mastosync.cli.help import LazyGroup, environment, exit_codes, files, in_users_language
from mastosync.cli.invocation import GlobalOptions, Invocation
from mastosync.cli.logs import log_end, showing_warnings
from mastosync.cli.output import (
    ReaderGone,
    discard_output,
    guarded_streams,
    set_command_prefix,
    show_error,
    show_origin,
)
from mastosync.cli.signals import sigterm_as_ctrl_c
from mastosync.errors import ExitCode, Interrupted, MastosyncError, StdoutError
from mastosync.language import lend_to_libraries, tr

COMMANDS: dict[str, str] = {
    "init": "Write a configuration file to fill in.",
    "doctor": "Check everything that can fail before it does.",
    "plan": "Snapshot every key that the database refers to.",
    "adopt": "Mark as done what is already at the destination.",
    "copy": "Copy everything that is pending.",
    "follow": "Plan and copy again and again.",
    "prune": "Remove at the destination what has left the database.",
    "status": "Show counts and bytes by state, type and reason, and what is left.",
    "accept": "Accept losses that are known.",
    "retry-failed": "Put failed entries back to pending, and copy them.",
    "refetch": "Fetch lost files again from the servers they came from.",
    "ls": "List entries of the manifest.",
    "verify": "Check the destination against the manifest.",
    "apply-settings": "Apply changed settings to objects at the destination, without an upload.",
    "pin-secrets": "Keep the secrets of today, before .env.production is changed.",
    "cutover": "Tell whether Mastodon can be switched over, and how.",
    "orphans": "Find source objects that no database row refers to.",
    "report": "Report everything that was done, to keep when the old store goes.",
    "manifest": "Look after the manifest: check, back up, export, import.",
    "completion": "Let a shell complete command lines.",
    "man": "Print the manual page.",
}
"""Every command, in the order of a migration, and its line in the help. Its module is loaded when it is run."""


class _Commands(LazyGroup):
    """The first group: its help ends with environment, files and exit codes."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections = {tr("Environment"): environment(), tr("Files"): files(), tr("Exit codes"): exit_codes()}
        for title, meanings in sections.items():
            with formatter.section(title):
                formatter.write_dl(list(meanings.items()))


@click.group(
    cls=_Commands, lines=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Configuration file.  [default: ./config.ini]")
@click.option("--manifest", type=click.Path(path_type=Path), help="Manifest file.  [default: ./mastosync.db]")
@click.option("-v", "--verbose", count=True, help="Say more; twice: everything.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors, warnings and new failures.")
@click.option(
    "--log-file", type=click.Path(path_type=Path, dir_okay=False, readable=False), help="Append a log to this file."
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Form of the log.")
@click.option("--no-progress", is_flag=True, help="Show no progress.")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
@click.version_option(__version__, package_name="mastosync", message="mastosync %(version)s")
@click.pass_obj
def cli(invocation: Invocation, /, **options: object) -> None:
    """Move a Mastodon instance's media from one object store to another.

    `plan` asks the database which objects must exist and writes every key into a manifest; `copy` works through it
    and can be interrupted at any time. The same command goes on where it stopped.
    """
    invocation.options = GlobalOptions(**options)  # type: ignore[arg-type] # click has checked them
    set_command_prefix(invocation.options.typed, COMMANDS.keys() - {"init", "completion", "man"})


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return the exit code. Every error of ours ends here, as text."""
    with guarded_streams() as stderr, sigterm_as_ctrl_c():
        try:
            code = _run(arguments)
        except KeyboardInterrupt:  # before the command has begun, or while its error was shown
            show_error(tr("stopped"), tr("run the same command again"))
            code = ExitCode.INTERRUPTED
    return ExitCode.OUTPUT if stderr.lost and code == ExitCode.OK else code


def _run(arguments: list[str] | None) -> int:
    invocation = Invocation(os.environ)
    set_command_prefix(invocation.options.typed, ())
    lend_to_libraries()
    try:
        with showing_warnings():
            result = in_users_language(cli).main(
                arguments, prog_name="mastosync", standalone_mode=False, obj=invocation
            )
        code = int(result) if isinstance(result, int) else ExitCode.OK
        return code or _log_exit_code(invocation)
    except MastosyncError as error:
        if isinstance(error, StdoutError):
            discard_output(sys.stdout)
        return _report_error(invocation, error)
    except click.ClickException as error:
        error.show()
        if isinstance(error, click.NoSuchOption) and _is_of_all_commands(error):
            show_error(*_misplaced(error))
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt) as error:  # before work that heeds signals has begun, or after it has ended
        text = _with_notes(tr("stopped"), error)
        return _report_error(invocation, Interrupted(text, hint=tr("run the same command again")))
    except ReaderGone:
        discard_output(sys.stdout)
        return _log_exit_code(invocation)
    except Exception as error:  # noqa: BLE001 - the last door
        text = tr("unexpected {kind}: {error}", kind=type(error).__name__, error=error)
        unknown = MastosyncError(
            invocation.scrubbed(_with_notes(text, error)),
            hint=tr(
                "this is a bug: please report it with the output of the same command and --debug; "
                "what was committed to the manifest is safe"
            ),
        )
        return _report_error(invocation, unknown)


def _log_exit_code(invocation: Invocation) -> ExitCode:
    """The exit code of a run without an error: another than 0 if its log is not whole."""
    if (error := invocation.log_error) is None:
        return ExitCode.OK
    show_error(error.message, error.hint)
    return error.exit_code


def _with_notes(text: str, error: BaseException) -> str:
    """The message of an error, with the notes that were added to it on its way: see `leaving`."""
    return "; ".join([text, *getattr(error, "__notes__", ())])


def _report_error(invocation: Invocation, error: MastosyncError) -> ExitCode:
    """Show the error that ended the run, and log it; with --debug also its traceback, without secrets."""
    options = invocation.options
    if options.debug:
        show_origin(invocation.scrubbed(traceback.format_exc()))
    show_error(error.message, error.hint)
    if invocation.log_error is None:
        log_end(options.log_file, options.log_format, error)
    return error.exit_code


def _is_of_all_commands(error: click.NoSuchOption) -> bool:
    """Whether a command was given an option of the whole tool."""
    of_all = {name for option in cli.params for name in option.opts}
    return error.ctx is not None and error.ctx.command is not cli and error.option_name in of_all


def _misplaced(error: click.NoSuchOption) -> tuple[str, str]:
    name = error.ctx.info_name if error.ctx else ""
    found = next(each for each in cli.params if error.option_name in each.opts)
    value = {click.Path: " FILE", click.Choice: " text|json"}.get(type(found.type), "")
    return (
        tr("{option} is an option of mastosync itself, for all commands", option=error.option_name),
        tr(
            "it comes before the command: mastosync {option} {command} …",
            option=f"{error.option_name}{value}",
            command=name,
        ),
    )
