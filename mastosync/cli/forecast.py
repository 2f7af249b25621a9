"""What a move will take, as `plan --dry-run` and `status` show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mastosync.cli.terminal import table
from mastosync.language import enumerated, tr
from mastosync.planning.survey import AGES, Estimate, Line, total
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.planning.forecast import End, Forecast, Outlook, Requests
    from mastosync.planning.planner import PlanResult
    from mastosync.planning.survey import Survey
    from mastosync.status import Surveyed


def render_dry_run(result: PlanResult, outlook: Outlook, head: str, notes: Sequence[str]) -> str:
    """All of a dry run, between its `head` and its `notes`."""
    blocks = [head, _by_type(result), _by_age(result.survey), _requests(outlook), _time(outlook.planned)]
    blocks += [_money(outlook.planned), _choices(outlook), "\n".join([*notes, tr("a dry run: nothing was written")])]
    return "\n\n".join(filter(None, blocks))


def render_surveyed(surveyed: Surveyed, outlook: Outlook | None) -> str:
    """The short form, for `status`. `outlook`: None if nothing is left to move."""
    line = tr(
        "everything to migrate, as of plan {number} ({taken_at} UTC):",
        number=surveyed.number,
        taken_at=f"{surveyed.taken_at:%F %T}",
    )
    lines = ["", line, _by_age(surveyed.survey)]
    if outlook is not None:
        lines += ["", _time(outlook.planned), _money(outlook.planned)]
    return "\n".join(lines)


def _by_age(survey: Survey) -> str:
    """Objects and bytes by age, of this server and of others, without empty ages."""
    head = (tr("age"), tr("local"), tr("bytes"), tr("remote"), tr("bytes"), tr("of which cache"), tr("bytes"))
    names = {
        "under_7_days": tr("under 7 days"),
        "under_30_days": tr("7 to 30 days"),
        "under_90_days": tr("30 to 90 days"),
        "under_365_days": tr("90 days to a year"),
        "older": tr("more than a year"),
        "unknown": tr("unknown"),
    }
    rows = []
    for age in AGES:
        lines = [line for line in survey.lines if line.age == age]
        if lines:
            parts = (
                _where(lines, remote=False),
                _where(lines, remote=True),
                total(line for line in lines if line.is_cache),
            )
            rows.append((names[age], *(cell for part in parts for cell in _cells(part))))
    return table(head, rows)


def _by_type(result: PlanResult) -> str:
    head = (tr("type"), tr("origin"), tr("objects"), tr("known bytes"), tr("estimated bytes"))
    rows = []
    for name, delta in result.by_table.items():
        lines = [line for line in result.survey.lines if line.table == name]
        for remote in (False, True):
            amount = _where(lines, remote=remote)
            if amount.objects or not (remote or delta.seen):
                rows.append((name, tr("remote") if remote else tr("local"), *_sizes(amount)))
    rows.append((tr("total"), "", *_sizes(result.survey.total())))
    if (left_out := result.survey.total(excluded=True)).objects:
        rows.append((tr("left out by --max-age"), "", *_sizes(left_out)))
    return table(head, rows)


def _requests(outlook: Outlook) -> str:
    """Requests to both ends, of mastosync and of tools that list, with their price."""
    names = {
        "copy": tr("copy"),
        "verify": tr("verify"),
        "listing_tool": tr("a tool that lists"),
        "listing_tool_again": tr("its second pass"),
        "listing_tool_fast_list": tr("with --fast-list"),
        "listing_tool_fast_list_again": tr("its second pass"),
    }
    rows = []
    for way in outlook.ways:
        ends: tuple[tuple[End, str, Requests], ...] = (
            ("source", tr("source"), way.source),
            ("destination", tr("destination"), way.destination),
        )
        for end, label, requests in ends:
            if requests.all:
                price = outlook.price(end, requests)
                shown = f"{price[0]:,.2f} {price[1]}" if price else "?"
                rows.append((f"{names[way.name]}: {label}", *(f"{count:,}" for count in requests), shown))
    return table((tr("requests"), "LIST", "HEAD", "GET", "PUT", tr("price")), rows)


def _time(forecast: Forecast) -> str:
    """The time that each limit demands; the first is the longest."""
    (slowest, seconds), *others = forecast.seconds
    line = tr("time: at least {time} ({limit})", time=human_seconds(seconds), limit=slowest)
    return "\n".join([line, *(f"      {human_seconds(each)} ({name})" for name, each in others)])


def _money(forecast: Forecast) -> str:
    if not forecast.money:
        return tr("money: the prices of these stores are not known; set them under [prices]")
    lines = []
    for each in forecast.money:
        end = tr("at the source") if each.end == "source" else tr("at the destination")
        line = tr(
            "money {end}: about {once} {currency} for the copy (requests {requests}, traffic {traffic})",
            end=end,
            once=f"{each.once:,.2f}",
            currency=each.currency,
            requests=f"{each.requests:,.2f}",
            traffic=f"{each.traffic:,.2f}",
        )
        if each.end == "destination":
            line += tr(", then {month} {currency} a month", month=f"{each.month:,.2f}", currency=each.currency)
        lines += [line, f"      {tr('an estimate,')} {each.origin}"]
    return "\n".join(lines)


def _choices(outlook: Outlook) -> str:
    """What it would save to leave some of the cache behind."""
    if not outlook.choices:
        return ""
    head = (tr("with"), tr("objects"), tr("bytes"), tr("requests"), tr("time"), tr("money"), tr("a month"), tr("saves"))
    planned = outlook.planned
    rows = [(tr("the plan as it is"), *_figures(planned), "")]
    rows += [(option, *_figures(forecast), _saved(planned, forecast)) for option, forecast in outlook.choices]
    return "\n".join([tr("leaving some of the cache behind, which Mastodon fetches again:"), table(head, rows)])


def _figures(forecast: Forecast) -> tuple[str, ...]:
    requests = forecast.copy.source.all + forecast.copy.destination.all
    once: dict[str, float] = {}
    month: dict[str, float] = {}
    for each in forecast.money:
        once[each.currency] = once.get(each.currency, 0.0) + each.once
        month[each.currency] = month.get(each.currency, 0.0) + each.month
    time = human_seconds(forecast.seconds[0][1])
    return (*_cells(forecast.amount), f"{requests:,}", time, _sum(once), _sum(month))


def _sum(by_currency: dict[str, float]) -> str:
    return " + ".join(f"{amount:,.2f} {currency}" for currency, amount in by_currency.items()) or "?"


def _saved(planned: Forecast, left: Forecast) -> str:
    share = 1 - left.amount.objects / planned.amount.objects
    return enumerated([f"{share:.0%}", human_bytes(planned.amount.size_bytes - left.amount.size_bytes)])


def _where(lines: Iterable[Line], *, remote: bool) -> Estimate:
    return total(line for line in lines if line.remote == remote)


def _cells(amount: Estimate) -> tuple[str, str]:
    """Objects, and bytes as far as known or estimated."""
    return f"{amount.objects:,}", human_bytes(amount.size_bytes)


def _sizes(amount: Estimate) -> tuple[str, ...]:
    return f"{amount.objects:,}", human_bytes(amount.known_bytes), human_bytes(amount.estimated_bytes)
