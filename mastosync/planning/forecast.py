"""What a move will cost: requests at each end, hours, and money. Every figure is worked out from a survey alone.

**Ours.** An object is read by one GET and written by one PUT. One above `multipart_threshold` takes a GET to begin
with and one for each part, and as many PUTs and two POSTs (which stores charge like PUTs). Optional objects, of
which many were never made, may be asked for under one more key each, so each counts as one GET more. Where the
store copies by itself, a HEAD takes the place of each GET, and no bytes travel. `verify` lists the destination, a
thousand objects a page. Not counted are repeated requests, looking for what dead runs left, and what only the source
can tell: objects between 16 MiB and the threshold that were uploaded in parts go in these parts, after one HEAD each.

**A tool that lists**, as `rclone copy` without flags: a LIST for each directory of the source, as its listings stop at
every slash; for each object a HEAD (its time stands in metadata: `--use-server-modtime` saves it), a GET, a PUT and a
HEAD of what was written (`--s3-no-head` saves it). At an empty destination nothing is listed; but who copies from
an instance that is in use copies twice, and the second pass lists both ends (and needs `--checksum`, or a HEAD of each
object comes to it). With `--fast-list` a listing does not stop at slashes and takes a page for every thousand objects,
all of which it holds in memory first. Both list what no row refers to as well, which nobody can count before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from mastosync.planning.survey import AGE_DAYS, AGES, Estimate, Line, Survey, total

PAGE = 1_000  # objects of a listing, in one answer
GB = 10**9  # bytes, as prices are told
End = Literal["source", "destination"]


class Requests(NamedTuple):
    """Requests to one end."""

    list: int = 0  # pages of listings
    head: int = 0
    get: int = 0
    put: int = 0  # whole objects, parts, and the beginning and end of uploads in parts

    @property
    def all(self) -> int:
        """Whatever they are."""
        return sum(self)


class Way(NamedTuple):
    """One thing that may be done, and what it asks of both ends."""

    name: str
    source: Requests
    destination: Requests


@dataclass(frozen=True, slots=True)
class Tariff:
    """What one end charges; None: unknown, and not counted."""

    currency: str
    origin: str  # for people: whose prices, of when, and where they were read
    egress_per_gb: float | None = None
    egress_free_gb: float | None = None
    ingress_per_gb: float | None = None
    get_per_1000: float | None = None  # and HEAD
    put_per_1000: float | None = None
    list_per_1000: float | None = None
    storage_per_gb_month: float | None = None

    def requests(self, requests: Requests) -> float:
        """What requests cost."""
        prices = (self.list_per_1000, self.get_per_1000, self.get_per_1000, self.put_per_1000)
        return sum(count * (price or 0.0) for count, price in zip(requests, prices, strict=True)) / 1000

    def traffic(self, end: End, size_bytes: int) -> float:
        """What it costs that bytes leave the source, or come to the destination."""
        if end == "destination":
            return size_bytes / GB * (self.ingress_per_gb or 0.0)
        return max(0.0, size_bytes / GB - (self.egress_free_gb or 0.0)) * (self.egress_per_gb or 0.0)

    def month(self, size_bytes: int) -> float:
        """What it costs to have bytes there for a month."""
        return size_bytes / GB * (self.storage_per_gb_month or 0.0)


@dataclass(frozen=True, slots=True)
class Bound:
    """Something that may decide how long a move takes."""

    name: str  # for people
    of: Literal["source", "destination", "both", "bytes", "objects"]  # requests to the ends, or what is moved
    per_second: float


@dataclass(frozen=True, slots=True)
class Terms:
    """What a move is judged by."""

    bounds: Sequence[Bound]
    source: Tariff | None = None
    destination: Tariff | None = None
    within_store: bool = False  # which copies by itself

    def tariff(self, end: End) -> Tariff | None:
        """Of one end."""
        return self.source if end == "source" else self.destination


class Money(NamedTuple):
    """What one end will charge for a copy."""

    end: End
    currency: str
    requests: float
    traffic: float
    month: float  # of storage, from then on; at the destination
    origin: str

    @property
    def once(self) -> float:
        """For the copy itself."""
        return self.requests + self.traffic


@dataclass(frozen=True, slots=True)
class Forecast:
    """What it takes to move some of what a survey has seen."""

    amount: Estimate
    copy: Way
    seconds: tuple[tuple[str, float], ...]  # for each bound how long it would take, the longest first
    money: tuple[Money, ...]  # of the ends whose prices are known

    def as_json(self) -> dict[str, Any]:
        """The names are part of the interface."""
        return {
            **asdict(self.amount),
            "requests": _as_json(self.copy),
            "seconds": [{"by": name, "seconds": round(seconds)} for name, seconds in self.seconds],
            "money": [{**each._asdict(), "once": each.once} for each in self.money],
        }


class Choice(NamedTuple):
    """A part of the cache left behind, and what is left to move then."""

    option: str  # of `plan`
    forecast: Forecast


@dataclass(frozen=True, slots=True)
class Outlook:
    """A plan as it was asked for, what others would do, and what could be left behind."""

    planned: Forecast
    ways: tuple[Way, ...]
    choices: tuple[Choice, ...]  # of which each saves something
    terms: Terms

    def price(self, end: End, requests: Requests) -> tuple[float, str] | None:
        """What one end charges for requests, and the currency; None: unknown."""
        tariff = self.terms.tariff(end)
        return (tariff.requests(requests), tariff.currency) if tariff else None

    def as_json(self) -> dict[str, Any]:
        """The names are part of the interface."""
        return {
            "planned": self.planned.as_json(),
            "requests": {way.name: self._priced(way) for way in self.ways},
            "choices": {choice.option: choice.forecast.as_json() for choice in self.choices},
        }

    def _priced(self, way: Way) -> dict[str, Any]:
        prices = {"source": self.price("source", way.source), "destination": self.price("destination", way.destination)}
        return _as_json(way) | {"price": prices}


def outlook(survey: Survey, terms: Terms) -> Outlook:
    """All that can be said of a move before it begins."""
    planned = [line for line in survey.lines if not line.excluded]
    choices = {"--only local": [line for line in planned if not line.remote]}
    for days in (30, 90):
        choices[f"--max-age {days}"] = [
            line for line in planned if not (line.is_cache and line.age in _ages_over(days))
        ]
    forecast = _forecast(planned, terms)
    ways = (
        forecast.copy,
        Way("verify", Requests(), Requests(list=_pages(forecast.amount.objects))),
        *_ways_of_others(survey, forecast.amount),
    )
    judged = (Choice(option, _forecast(lines, terms)) for option, lines in choices.items())
    saving = tuple(choice for choice in judged if choice.forecast.amount.objects < forecast.amount.objects)
    return Outlook(forecast, ways, saving, terms)


def _forecast(lines: Iterable[Line], terms: Terms) -> Forecast:
    amount = total(lines)
    copy = _copy_within(amount) if terms.within_store else _copy(amount)
    moved_bytes = 0 if terms.within_store else amount.size_bytes
    ends: tuple[tuple[End, Requests], ...] = (("source", copy.source), ("destination", copy.destination))
    work = {"bytes": moved_bytes, "objects": amount.objects} | {end: requests.all for end, requests in ends}
    work["both"] = work["source"] + work["destination"]
    seconds = [(bound.name, work[bound.of] / bound.per_second) for bound in terms.bounds]
    money = tuple(
        Money(
            end,
            tariff.currency,
            tariff.requests(requests),
            tariff.traffic(end, moved_bytes),
            tariff.month(amount.size_bytes) if end == "destination" else 0.0,
            tariff.origin,
        )
        for end, requests in ends
        if (tariff := terms.tariff(end))
    )
    return Forecast(amount, copy, tuple(sorted(seconds, key=lambda each: -each[1])), money)


def _copy(amount: Estimate) -> Way:
    whole = amount.objects - amount.large
    return Way(
        "copy",
        Requests(get=amount.objects + amount.optional + amount.parts),
        Requests(put=whole + amount.parts + 2 * amount.large),
    )


def _copy_within(amount: Estimate) -> Way:
    return Way("copy", Requests(head=amount.objects + amount.optional), Requests(put=amount.objects))


def _ways_of_others(survey: Survey, amount: Estimate) -> tuple[Way, ...]:
    """A tool that lists has to list what is left out as well, and makes the same directories at the destination."""
    directories, pages = survey.directory_count(), _pages(survey.total().objects)
    copied = _copy(amount)
    moved = Requests(head=amount.objects, get=amount.objects + amount.parts)
    written = Requests(head=amount.objects, put=copied.destination.put)
    return (
        Way("listing_tool", moved._replace(list=directories), written),
        Way("listing_tool_again", Requests(list=directories), Requests(list=directories)),
        Way("listing_tool_fast_list", moved._replace(list=pages), written),
        Way("listing_tool_fast_list_again", Requests(list=pages), Requests(list=pages)),
    )


def _pages(objects: int) -> int:
    return -(-objects // PAGE)


def _ages_over(days: int) -> tuple[str, ...]:
    return AGES[AGE_DAYS.index(days) + 1 : -1]  # whose age is unknown stays in


def _as_json(way: Way) -> dict[str, dict[str, int]]:
    return {"source": way.source._asdict(), "destination": way.destination._asdict()}
