"""`mastosync orphans`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option, print0_option, workers_option
from mastosync.cli.output import LIST_FORMATS, print_rows, show_json
from mastosync.cli.terminal import table
from mastosync.errors import UsageError
from mastosync.language import say, tr, trn
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.verifying.orphans import OrphanFinder, OrphansResult

_ORPHAN_FIELDS = ("key", "size", "modified")
_PREFIXES = 40  # that are shown


@click.command(name="orphans")
@click.option(
    "--format",
    "form",
    type=click.Choice(LIST_FORMATS),
    help="List them; text: keys only.  [default: count]",
)
@click.option("--missing", is_flag=True, help="Instead, list objects that rows refer to and the source lacks.")
@print0_option
@workers_option
@json_option
@click.pass_obj
def orphans_command(
    invocation: Invocation, form: str | None, missing: bool, print0: bool, workers: int | None, as_json: bool
) -> None:
    """Find source objects that no database row refers to, and objects that rows refer to and the source lacks.

    Nothing is deleted. The source is compared with the last whole plan. Objects that came since, or shortly before, are
    counted apart, because the plan may not have seen their rows.
    """
    from mastosync.app.verify import orphans
    from mastosync.listing import FIELDS

    if as_json and (form or print0):
        raise UsageError(tr("--format lists and --json counts"), hint=tr("use one of them"))
    form = form or ("text" if missing or print0 else None)
    with (
        invocation.running() as context,
        orphans(context, workers or invocation.config.copy.workers) as (finder, result),
    ):
        if as_json:
            show_json(result.as_json())
        elif form:
            with closing(_listed(invocation, finder, missing=missing)) as rows:  # before what it reads from
                print_rows(rows, FIELDS if missing else _ORPHAN_FIELDS, form, nul=print0)
            if not missing and (newer := _render_newer(result)):
                invocation.remark(newer)
        else:
            invocation.say(render_orphans(result))


def _listed(invocation: Invocation, finder: OrphanFinder, *, missing: bool) -> Generator[dict[str, Any], None, None]:
    if not missing:
        for found in finder.iter_orphans():
            yield dict(zip(_ORPHAN_FIELDS, found, strict=True))
        return
    from mastosync.listing import described

    config = invocation.config
    for record in finder.iter_missing():
        yield described(record, config.source.key_prefix, config.destination.key_prefix)


def _render_newer(result: OrphansResult) -> str:
    """What is no orphan yet, as it is too new; empty: nothing."""
    newer = result.newer
    if not newer.objects:
        return ""
    return trn(
        "{count:,} more ({size}) is newer than {newer_than:%F %T} UTC, and the plan may not know its row yet: to find "
        "out, run `mastosync plan` and `mastosync orphans` again later",
        "{count:,} more ({size}) are newer than {newer_than:%F %T} UTC, and the plan may not know their rows yet: to "
        "find out, run `mastosync plan` and `mastosync orphans` again later",
        newer.objects,
        size=human_bytes(newer.size_bytes),
        newer_than=result.newer_than,
    )


def render_orphans(result: OrphansResult) -> str:
    """What `orphans` found."""
    listed, orphans = result.listed, result.orphans
    lines = [
        tr(
            "the source has {objects:,} objects ({size}); compared with the plan of {planned_at:%F %T} "
            "UTC in {duration}",
            objects=listed.objects,
            size=human_bytes(listed.size_bytes),
            planned_at=result.planned_at,
            duration=human_seconds(result.seconds),
        ),
        "",
    ]
    if result.by_prefix:
        rows = [
            (say(prefix), f"{tallied.objects:,}", human_bytes(tallied.size_bytes))
            for prefix, tallied in sorted(result.by_prefix.items(), key=lambda item: -item[1].size_bytes)[:_PREFIXES]
        ]
        lines += [table((tr("no row refers to"), tr("objects"), tr("bytes")), rows), ""]
    lines.append(
        trn(
            "no row refers to {count:,} object ({size}); nothing was deleted",
            "no row refers to {count:,} objects ({size}); nothing was deleted",
            orphans.objects,
            size=human_bytes(orphans.size_bytes),
        )
    )
    if newer := _render_newer(result):
        lines.append(newer)
    if result.copies.objects:
        lines.append(
            trn(
                "{objects:,} more ({size}) has the key prefix of the destination in the same bucket: it is no orphan",
                "{objects:,} more ({size}) have the key prefix of the destination in the same bucket: they are no "
                "orphans",
                result.copies.objects,
                objects=result.copies.objects,
                size=human_bytes(result.copies.size_bytes),
            )
        )
    return "\n".join([*lines, *_missing_lines(result)])


def _missing_lines(result: OrphansResult) -> list[str]:
    """What rows refer to and the source lacks."""
    from mastosync.verifying.orphans import AGE_NAMES

    lines = []
    if result.missing:
        ages = [age for age in AGE_NAMES if any(counts[age] for counts in result.missing.values())]
        missing = [
            (name, *(f"{counts[age]:,}" for age in ages), f"{counts.total():,}")
            for name, counts in sorted(result.missing.items())
        ]
        lines += ["", table((tr("missing at the source, by age"), *map(say, ages), tr("total")), missing), ""]
    lines.append(
        trn(
            "rows refer to {count:,} object that is missing at the source",
            "rows refer to {count:,} objects that are missing at the source",
            result.missing_total,
        )
    )
    if result.optional_missing:
        lines.append(
            tr("and to {optional_missing:,} that Mastodon can do without", optional_missing=result.optional_missing)
        )
    lines.append(tr("to list them: `mastosync orphans --format text`; with --missing, it lists the missing ones"))
    return lines
