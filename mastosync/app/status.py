"""Where a migration stands, and what it will take.

The limits and prices of a forecast are those that configuration and providers tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mastosync.app.stores import copies_by_itself, settings_of
from mastosync.config import FilesystemConfig, preset_of
from mastosync.errors import ManifestError
from mastosync.language import tr
from mastosync.manifest import Manifest, ManifestReader
from mastosync.planning.forecast import Bound, Outlook, Tariff, Terms, outlook
from mastosync.status import status_of

if TYPE_CHECKING:
    from pathlib import Path

    from mastosync.app.context import Context
    from mastosync.config import Config, Role, Timetable
    from mastosync.planning.survey import Survey
    from mastosync.status import Status

_ASSUMED_RATE = 100  # objects a second, where nothing is known at all
_WEEK_MINUTES = 7 * 24 * 60
_AWS = ("amazonaws.com", "amazonaws.com.cn")


def status(context: Context) -> Status:
    """Where the migration stands, with a forecast for all that the last whole plan has seen. Raises: ManifestError."""
    with context.reading() as manifest:
        manifest.require_plan()
        found = status_of(ManifestReader(manifest), settings_of(context.config))
    if found.surveyed is not None:
        found.outlook = outlook_of(context.config, found.surveyed.survey, measured=found.rate)
    return found


def forecast(context: Context, survey: Survey, rate: int | None = None, bwlimit: Timetable | None = None) -> Outlook:
    """What it will take to copy all that a plan has seen; `rate` and `bwlimit` as for `copy`."""
    measured = measured_rate(context.manifest_path)
    return outlook_of(context.config, survey, rate=rate, bwlimit=bwlimit, measured=measured)


def outlook_of(
    config: Config,
    survey: Survey,
    *,
    rate: int | None = None,
    bwlimit: Timetable | None = None,
    measured: float | None = None,
) -> Outlook:
    """`forecast` by the pace of the last copy (`measured`, objects a second); `rate` and `bwlimit` as for `copy`."""
    bounds = [*_rates(config, rate), *_bandwidth(bwlimit or config.copy.bwlimit)]
    if measured:
        bounds.append(
            Bound(tr("the pace of the last copy, {rate} objects/s", rate=f"{measured:,.0f}"), "objects", measured)
        )
    if not bounds:
        name = tr("assumed: {rate} objects/s, as no limit is known", rate=_ASSUMED_RATE)
        bounds.append(Bound(name, "objects", _ASSUMED_RATE))
    within = copies_by_itself(config)
    return outlook(survey, Terms(bounds, _tariff(config, "source"), _tariff(config, "destination"), within))


def measured_rate(manifest: Path) -> float | None:
    """Objects a second in the last copy by this manifest; None if there is none, or it has to be brought up to date."""
    try:
        with Manifest.glance(manifest) as opened:
            return None if opened is None else status_of(ManifestReader(opened)).rate
    except ManifestError:
        return None  # the commands that need the manifest say what is wrong with it


def _rates(config: Config, rate: int | None) -> Iterator[Bound]:
    """The most requests a second to each end, or to both where they are one endpoint."""
    asked, published = rate or config.copy.rate, config.published_rates()
    roles: tuple[Role, Role] = ("source", "destination")
    buckets = [role for role in roles if not isinstance(config.store(role), FilesystemConfig)]
    shared = len(buckets) == 2 and config.source.endpoint_url == config.destination.endpoint_url
    for role, limit in zip(roles, published, strict=True):
        if role not in buckets or not (most := asked or limit):
            continue
        end = tr("both ends") if shared else {"source": tr("the source"), "destination": tr("the destination")}[role]
        shown = f"{most:,}"
        if asked:
            name = tr("--rate {rate}, at {end}", rate=shown, end=end)
        else:
            name = tr("{rate} requests/s at {end}, as its provider publishes", rate=shown, end=end)
        yield Bound(name, "both" if shared else role, most)
        if shared:
            return


def _bandwidth(timetable: Timetable) -> Iterator[Bound]:
    """What a timetable lets through in a week; nothing if it limits some hours only."""
    starts, limits = [start for start, _ in timetable.changes], [limit for _, limit in timetable.changes]
    if not limits or None in limits:
        return
    ends = [*starts[1:], _WEEK_MINUTES + starts[0]]
    passed = sum((end - start) * (limit or 0) for start, end, limit in zip(starts, ends, limits, strict=True))
    yield Bound(f"--bwlimit {timetable}", "bytes", passed / _WEEK_MINUTES)


def _tariff(config: Config, role: Role) -> Tariff | None:
    """What one end charges, if that is given or published."""
    store, prices = config.store(role), config.prices
    if isinstance(store, FilesystemConfig):
        return None
    if given := prices.given(role):
        return Tariff(prices.currency, tr("by the prices in [prices]"), **given)
    preset = preset_of(getattr(prices, role), store.known.domains if store.endpoint_url else _AWS)
    if preset is None:
        return None
    origin = tr("by list prices of {date} from {source}; check them", date=preset.as_of, source=preset.source)
    return Tariff(
        preset.currency,
        f"{origin} ({preset.note})" if preset.note else origin,
        egress_per_gb=preset.egress_per_gb,
        egress_free_gb=preset.egress_free_gb,
        ingress_per_gb=0.0,
        get_per_1000=preset.get_per_1000,
        put_per_1000=preset.put_per_1000,
        list_per_1000=preset.list_per_1000,
        storage_per_gb_month=preset.storage_per_gb_month,
    )
