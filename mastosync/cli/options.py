"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import click

from mastosync.config import BANDWIDTH, DURATION, Config, Timetable
from mastosync.config.values import Format
from mastosync.language import english_everywhere, say, tr
from mastosync.model import FAILURE_REASONS, TABLES, EntryState, Order, Reason

if TYPE_CHECKING:
    from mastosync.copying.copier import CopyOptions
    from mastosync.planning.planner import PlanOptions

R = TypeVar("R")
T = TypeVar("T")

types_option = click.option(
    "--type", "types", multiple=True, type=click.Choice(TABLES), help="Only this type (a table's name); repeatable."
)
failure_reasons_option = click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice([reason.value for reason in (*FAILURE_REASONS, Reason.OPTIONAL_MISSING, Reason.PRIVATE)]),
    help="Only entries that failed for this reason; repeatable. `private`: objects that were not copied;"
    " `optional_missing`: objects that the source lacks and Mastodon can do without.",
)
reasons_option = click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice([reason.value for reason in Reason]),
    help="Only entries with this reason; repeatable.",
)
states_option = click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in EntryState]),
    help="Only entries in this state; repeatable.",
)


def file_option(name: str, *, help: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """An option that names a file."""
    return click.option(name, type=click.Path(path_type=Path), metavar="FILE", help=help)


print0_option = click.option(
    "-0", "--print0", is_flag=True, help="End each key with NUL instead of a line: for `xargs -0`. With text only."
)

workers_option = click.option(
    "--workers", type=click.IntRange(min=1), help="Requests at the same time.  [default: 8, or [copy] workers]"
)


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows of a plan, as far as options say."""

    types: tuple[str, ...]
    only: str | None
    max_age: int | None

    def options(self, config: Config, limit: int | None = None) -> PlanOptions:
        """The options, completed by the configuration."""
        from mastosync.planning.planner import PlanOptions

        plan = config.plan
        return PlanOptions(
            types=self.types or plan.types,
            only=cast("Literal['all', 'local', 'remote']", self.only or plan.only),
            limit=limit or plan.limit,
            max_age=self.max_age or plan.max_age,
        )


def scope_options(command: Callable[..., R]) -> Callable[..., R]:
    """Options of commands that plan; the command gets them as one argument `scope`."""

    @types_option
    @click.option(
        "--only", type=click.Choice(["local", "remote", "all"]), help="Rows of this server, of others, or all."
    )
    @click.option(
        "--max-age",
        type=click.IntRange(1, 36_500),
        metavar="DAYS",
        help="Leave out media of posts and preview cards of other servers that are older: Mastodon fetches them again."
        " Without it they come back.",
    )
    @wraps(command)
    def gathered(
        *arguments: object, types: tuple[str, ...], only: str | None, max_age: int | None, **options: object
    ) -> R:
        return command(*arguments, scope=Scope(types, only, max_age), **options)

    return gathered


def _for_programs(context: click.Context, _: click.Parameter, chosen: bool) -> bool:
    if chosen:
        context.with_resource(english_everywhere())
    return chosen


json_option = click.option("--json", "as_json", is_flag=True, callback=_for_programs, help="As JSON.")
"""With --json, warnings and errors are English, too: programs may read them."""
at_most_option = click.option(
    "--at-most",
    type=click.IntRange(min=0),
    help="Refuse to remove more than this many objects.  [default: as many as are done, up to 100, or a tenth of them]",
)
source_gone_option = click.option(
    "--source-gone",
    is_flag=True,
    help="Go on although the source cannot be asked any more: it was another store than the destination.",
)


@dataclass(frozen=True, slots=True)
class PaceOptions:
    """Speed and order of a copy, as far as options say."""

    workers: int | None
    rate: int | None
    bwlimit: Timetable | None
    order: str | None = None

    def options(self, config: Config, limit: int | None = None) -> CopyOptions:
        """The options, completed by the configuration."""
        from mastosync.copying.copier import CopyOptions

        copy = config.copy
        timetable = copy.bwlimit if self.bwlimit is None else self.bwlimit
        return CopyOptions(
            workers=self.workers or copy.workers,
            limit=limit,
            rate=self.rate or copy.rate,
            bwlimit=timetable.limit_at if timetable.changes else None,
            order=Order(self.order or copy.order),
        )


def parsed_by(form: Format[T]) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    """The callback of an option whose value is written as that of a configuration key."""

    def parse(_: click.Context, __: click.Parameter, text: str | None) -> T | None:
        if text is None:
            return None
        try:
            return form.parse(text)
        except ValueError as wrong:
            otherwise = tr("{text!r} is not {allowed}", text=text, allowed=form.described(say))
            raise click.BadParameter(why_wrong(wrong, otherwise)) from wrong

    return parse


def why_wrong(wrong: ValueError, otherwise: str) -> str:
    """What is wrong with a value, and what to write instead. `otherwise`: for an error that does not say it."""
    problem, hint = getattr(wrong, "message", "") or otherwise, getattr(wrong, "hint", "")
    return tr("{problem}. {hint}", problem=problem, hint=hint) if hint else f"{problem}."


duration = parsed_by(DURATION)


rate_option = click.option(
    "--rate",
    type=click.IntRange(min=1),
    help="Limit requests per second to each endpoint; the store may still settle at fewer.  [default: [copy] rate, or"
    " what the provider publishes]",
)
bwlimit_option = click.option(
    "--bwlimit",
    metavar="RATE",
    callback=parsed_by(BANDWIDTH),
    help="Limit bytes of objects per second, each object counted once (so read and written at this rate): 5M, 512KiB,"
    " off, or a timetable '08:00,5M 23:00,off' in local time.  [default: off, or [copy] bwlimit]",
)


def pace_options(command: Callable[..., R]) -> Callable[..., R]:
    """Options of commands that copy; the command gets them as one argument `pace`."""

    @click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Objects copied at the same time.  [default: 8, or [copy] workers]",
    )
    @rate_option
    @bwlimit_option
    @click.option(
        "--order",
        type=click.Choice([order.value for order in Order]),
        help="What to copy first: local-first is what no other server has, then everything else, each from the newest"
        " on.  [default: local-first, or [copy] order]",
    )
    @wraps(command)
    def gathered(
        *arguments: object,
        workers: int | None,
        rate: int | None,
        bwlimit: Timetable | None,
        order: str | None,
        **options: object,
    ) -> R:
        return command(*arguments, pace=PaceOptions(workers, rate, bwlimit, order), **options)

    return gathered
