"""`mastosync verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mastosync.checking.public_access import USUAL_SAMPLE
from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option, types_option, workers_option
from mastosync.cli.output import show_json
from mastosync.cli.terminal import status_table, table
from mastosync.errors import ExitCode, UsageError
from mastosync.language import tr, trn
from mastosync.terminal_text import one_line
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.checking.row_check import RowsNow
    from mastosync.verifying.public_result import PublicResult
    from mastosync.verifying.verifier import Verification

_EXAMPLES = 10


@click.command(name="verify")
@click.option("--deep", is_flag=True, help="Read objects back and compare their digests.")
@click.option("--sample", type=click.IntRange(min=1), help="Read (with --public: check) only this many objects.")
@click.option(
    "--public",
    is_flag=True,
    help=f"Read a sample ({USUAL_SAMPLE}, or --sample; of each kind) without credentials at `public_url`: can public"
    " objects be read, with their headers, and can nobody read private ones or list the bucket?",
)
@workers_option
@types_option
@json_option
@click.pass_obj
def verify_command(
    invocation: Invocation,
    deep: bool,
    sample: int | None,
    public: bool,
    workers: int | None,
    types: tuple[str, ...],
    as_json: bool,
) -> ExitCode:
    """Check that the destination has every object the manifest marks done.

    Listings tell size and digest of every object. What is lost or different goes back to pending, unless its row was
    deleted: run `mastosync plan`, then `mastosync copy`, and a second `verify` is clean.
    """
    from mastosync.app.verify import verify
    from mastosync.verifying.verifier import VerifyOptions

    if sample is not None and not (deep or public):
        raise UsageError(tr("--sample goes with --deep or --public"), hint=tr("without them, everything is checked"))
    options = VerifyOptions(workers or invocation.config.copy.workers, types, deep, sample)
    with invocation.running() as context:
        result = verify(context, options, (sample or USUAL_SAMPLE) if public else None)
    if as_json:
        show_json(result.as_json())
    else:
        invocation.say(render_verification(result))
    return ExitCode.OK if result.clean else ExitCode.INCOMPLETE


def render_verification(result: Verification) -> str:
    """What `verify` found."""
    from mastosync.checking.object_check import CheckStatus

    verdicts = [verdict for verdict in CheckStatus if verdict is CheckStatus.FINE or result.total()[verdict]]
    lines = [status_table(tr("type"), verdicts, result.by_type), ""]
    lines += [one_line(f"{each.verdict.value}: {each.detail}") for each in result.examples[:_EXAMPLES]]
    line = tr("checked {checked:,} objects ({size})", checked=result.checked, size=human_bytes(result.checked_bytes))
    if result.read_objects:
        line += tr(
            ", read {read_objects:,} back ({size})",
            read_objects=result.read_objects,
            size=human_bytes(result.read_bytes),
        )
    lines.append(tr("{told} in {duration}", told=line, duration=human_seconds(result.seconds)))
    if result.public is not None:
        lines += _public_lines(result.public)
    lines += _row_lines(result.rows)
    if result.reopened:
        lines.append(
            trn(
                "{count:,} entry is pending again: run `mastosync plan`, then `mastosync copy`, then"
                " `mastosync verify` again",
                "{count:,} entries are pending again: run `mastosync plan`, then `mastosync copy`, then"
                " `mastosync verify` again",
                result.reopened,
            )
        )
    if result.total()[CheckStatus.UNREAD]:
        lines.append(
            tr(
                "objects that could not be read still count as done: when the store works again, run `mastosync "
                "verify` again"
            )
        )
    lines.append(
        tr("all well: every object that is done is at the destination, as recorded")
        if result.clean
        else tr("not all is well: see above")
    )
    return "\n".join(lines)


def _row_lines(rows: RowsNow) -> list[str]:
    """What the database said of what is at fault."""
    lines = []
    if rows.deleted:
        lines.append(
            trn(
                "{count:,} entry stays as it is, as its row was deleted or has another file: run `mastosync plan`",
                "{count:,} entries stay as they are, as their rows were deleted or have other files: run"
                " `mastosync plan`",
                rows.deleted,
            )
        )
    if rows.private:
        lines.append(
            trn(
                "{count:,} entry is private now, by its row: no copy makes it public",
                "{count:,} entries are private now, by their rows: no copy makes them public",
                rows.private,
            )
        )
    if rows.unasked:
        lines.append(
            trn(
                "{count:,} entry stays as it is: it may have been hidden on purpose, and the database could not be"
                " asked{why}; run `mastosync plan`, then this again",
                "{count:,} entries stay as they are: they may have been hidden on purpose, and the database could not"
                " be asked{why}; run `mastosync plan`, then this again",
                rows.unasked,
                why=f" ({rows.trouble})" if rows.trouble else "",
            )
        )
    return lines


def _public_lines(public: PublicResult) -> list[str]:
    lines = [
        trn(
            "tried to read {asked:,} public and {asked_private:,} private objects, of {of:,}, without credentials at"
            " {url}: {faults:,} fault",
            "tried to read {asked:,} public and {asked_private:,} private objects, of {of:,}, without credentials at"
            " {url}: {faults:,} faults",
            len(public.faults),
            asked=public.asked - public.asked_private,
            asked_private=public.asked_private,
            of=sum(public.of.values()),
            url=public.url,
            faults=len(public.faults),
        )
    ]
    lines += [one_line(f"  {fault.key}: {fault.detail}") for fault in public.faults[:_EXAMPLES]]
    if (rest := len(public.faults) - _EXAMPLES) > 0:
        lines.append(tr("  and {more:,} more: --json names all", more=rest))
    if public.all_private and public.served:
        line = tr(
            "public objects were checked at the bucket alone: the server in front of it decides who can read them"
        )
        lines.append(f"  {line}")
    if public.faults:
        lines.append(_by_kind(public))
    lines += [f"  {remedy}" for remedy in public.remedies]
    if public.listing:
        lines.append(
            "  "
            + tr(
                "anybody can list the bucket without credentials, so every key is public: remove this right from "
                "everybody"
            )
        )
    if public.nothing_is_right:
        line = tr(
            "not one public object was as it should be: check `public_url` of the destination and the policy of its "
            "bucket"
        )
        lines.append(f"  {line}")
    return lines


def _by_kind(public: PublicResult) -> str:
    """Of which kinds something is not right. Those that differ only in `cache/` are told as one."""
    found: dict[tuple[str, bool], list[int]] = {}
    for kind, asked in sorted(public.by_kind.items()):
        counts = found.setdefault((f"{kind.table} {kind.attachment} {kind.style}", kind.remote), [0, 0, 0])
        for column, count in enumerate((asked.faults, asked.objects, public.of[kind])):
            counts[column] += count
    rows = [
        (tr("{table}, of other servers", table=name) if remote else name, *(f"{count:,}" for count in counts))
        for (name, remote), counts in found.items()
        if counts[0]
    ]
    return table((tr("kind"), tr("not right"), tr("asked for"), tr("objects")), rows)
