"""The keys of what stores charge, and what some of them have published.

Prices change, depend on regions and contracts, and have allowances that nobody's bill is like another's with. So each
preset has its date and where it was read, and no figure made of it is shown without them. Where a provider publishes
nothing plain, or nobody here is sure, there is no preset: a wrong price is worse than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Literal, NamedTuple

from mastosync.config.keys import key
from mastosync.config.providers import PROVIDERS
from mastosync.config.values import WORD, choice, price


class Preset(NamedTuple):
    """List prices without tax, of a GB of 10^9 bytes and of a thousand requests. What is not told is free."""

    as_of: str  # year and month
    source: str  # where they were read
    currency: str
    storage_per_gb_month: float
    egress_per_gb: float = 0.0
    egress_free_gb: float = 0.0  # a month
    get_per_1000: float = 0.0  # and HEAD
    put_per_1000: float = 0.0  # and what belongs to an upload in parts
    list_per_1000: float = 0.0
    note: str = ""  # what the figures do not say


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "aws": Preset(
            as_of="2025-06",
            source="aws.amazon.com/s3/pricing",
            currency="USD",
            storage_per_gb_month=0.023,
            egress_per_gb=0.09,
            egress_free_gb=100,
            get_per_1000=0.0004,
            put_per_1000=0.005,
            list_per_1000=0.005,
            note="S3 Standard in us-east-1; traffic to the internet up to 10 TB a month",
        ),
        "b2": Preset(
            as_of="2025-06",
            source="backblaze.com/cloud-storage/pricing",
            currency="USD",
            storage_per_gb_month=0.006,
            get_per_1000=0.0004,
            list_per_1000=0.004,
            note="traffic is free up to three times what is stored; then it is 0.01 a GB",
        ),
        "do": Preset(
            as_of="2025-06",
            source="digitalocean.com/pricing/spaces-object-storage",
            currency="USD",
            storage_per_gb_month=0.02,
            egress_per_gb=0.01,
            egress_free_gb=1_000,
            note="the first 250 GB are in the monthly 5.00",
        ),
        "hetzner": Preset(
            as_of="2025-06",
            source="hetzner.com/storage/object-storage",
            currency="EUR",
            storage_per_gb_month=0.00499,
            egress_per_gb=0.001,
            egress_free_gb=1_000,
            note="the least is 4.99 a month, which holds the first 1,000 GB of storage and of traffic",
        ),
        "r2": Preset(
            as_of="2026-08",
            source="developers.cloudflare.com/r2/pricing",
            currency="USD",
            storage_per_gb_month=0.015,
            get_per_1000=0.00036,
            put_per_1000=0.0045,
            list_per_1000=0.0045,
            note="Standard; 10 GB, a million of its class A and ten million of its class B requests a month are free",
        ),
        "wasabi": Preset(
            as_of="2026-07",
            source="wasabi.com/pricing",
            currency="USD",
            storage_per_gb_month=0.00799,
            note="at least 1 TB and 90 days are charged; traffic is free up to what is stored",
        ),
    }
)

_PRICE = price()
_END = choice("auto", "none", *PRESETS)


@dataclass(frozen=True, slots=True)
class PricesConfig:
    """Tariffs of both ends. Where a price of one end is given, no published one is used for it."""

    source: str = key(
        "auto",
        _END,
        "Whose published prices hold for the source; their date is told with every figure. auto: those of its"
        " provider, where they are known. Where one of the prices below is given for an end, only those below hold for"
        " it, and what they do not say is not counted.",
    )
    destination: str = key("auto", _END, "The same for the destination.")
    currency: str = key("USD", WORD, "The currency of the keys below.")
    source_egress_per_gb: float | None = key(None, _PRICE, "What a GB (10^9 bytes) costs that leaves the source.")
    source_egress_free_gb: float | None = key(None, _PRICE, "How many of them are free.")
    source_get_per_1000: float | None = key(None, _PRICE, "What a thousand GETs and HEADs cost.")
    source_list_per_1000: float | None = key(None, _PRICE, "What a thousand pages of a listing cost.")
    destination_ingress_per_gb: float | None = key(None, _PRICE, "What a GB costs that comes in.")
    destination_put_per_1000: float | None = key(None, _PRICE, "What a thousand PUTs cost.")
    destination_get_per_1000: float | None = key(None, _PRICE, "What a thousand GETs and HEADs cost there.")
    destination_list_per_1000: float | None = key(None, _PRICE, "What a thousand pages of a listing cost there.")
    destination_storage_per_gb_month: float | None = key(None, _PRICE, "What a GB costs a month.")

    def given(self, role: Literal["source", "destination"]) -> dict[str, float]:
        """The prices that were given for one end, by their names without the end."""
        names = [each.name for each in fields(self) if each.name.startswith(f"{role}_")]
        values = {name.removeprefix(f"{role}_"): getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


def preset_of(chosen: str, domains: tuple[str, ...]) -> Preset | None:
    """The preset that `source` or `destination` chooses of a store whose provider is known by these domains."""
    if chosen != "auto":
        return PRESETS.get(chosen)
    return next((preset for name, preset in PRESETS.items() if domains and PROVIDERS[name].domains == domains), None)
