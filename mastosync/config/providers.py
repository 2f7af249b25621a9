"""What is known of S3 providers: defaults, limits, list prices. A new one goes into `PROVIDERS`, and nowhere else.

Facts come from the providers' documentation, named at each line, as it read in 2026. What is not known is left to the
store: whether it takes ACLs shows at the first object, and how many requests it takes is found out by asking. Whether a
provider keeps ACLs is known of none: the owner of a bucket can let everybody read it, whatever its objects say.

`reads` and `writes` are ceilings: only figures that hold for every customer and every bucket, and that no single client
gets past. Soft limits are left out, and what grows on request: Amazon's 3,500 writes and 5,500 reads a second count for
each prefix, of which a bucket has as many as it needs; Backblaze's 500 are where new accounts begin; OVH's 300 and 900
grow with the load; Akamai's 750 to 20,000 depend on the contract. So are old figures: those of DigitalOcean have grown
threefold since 240 went the round. Of checksums nothing needs to be known: none that the SDK would add is sent.

Prices change, depend on regions and contracts, and have allowances that differ from bill to bill. So each preset has
its date and where it was read, and no figure made of it is shown without them. Where a provider publishes nothing
plain, there is no preset: a wrong price is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import itemgetter
from types import MappingProxyType
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from mastosync.config.values import PRICE, WORD, choice, key

_MIB = 1024**2


class Provider(NamedTuple):
    """What is known of a store: defaults, used where the file says nothing."""

    region: str = "us-east-1"
    addressing_style: str = "path"
    hosts: tuple[str, ...] = ()  # of its endpoints, as `s3.*.example.com`, where the `*` is the region
    domains: tuple[str, ...] = ()  # by which its endpoints are known; `*` is anything but a dot
    takes_acl: bool | None = None  # for each object; None: ask it. Whether it keeps them, a run finds out
    reads_for_anybody: bool = True  # at its endpoint, what is public; False: only at addresses of another kind
    reads: int | None = None  # requests a second that it takes at most; None: ask it
    writes: int | None = None
    parts_at_most: int = 10_000  # of one object
    least_part_size: int = 5 * _MIB  # bytes


_B2 = Provider(
    hosts=("s3.*.backblazeb2.com",),
    domains=("backblazeb2.com",),
    takes_acl=False,  # only the bucket's own: backblaze.com/apidocs/s3-put-object-acl
)
_DO = Provider(
    domains=("digitaloceanspaces.com",),
    reads=800,  # a bucket, reads and writes together, and less for those from before 2023:
    writes=800,  # docs.digitalocean.com/products/spaces/details/limits
)
_GCS = Provider(region="auto", domains=("storage.googleapis.com",))
_LINODE = Provider(hosts=("*.linodeobjects.com",), domains=("linodeobjects.com",))
_R2 = Provider(
    region="auto",
    domains=("r2.cloudflarestorage.com",),
    takes_acl=False,  # developers.cloudflare.com/r2/api/s3/api
    reads_for_anybody=False,  # developers.cloudflare.com/r2/buckets/public-buckets
)

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        "akamai": _LINODE,
        "aws": Provider(
            addressing_style="auto",
            hosts=("s3.*.amazonaws.com", "s3.dualstack.*.amazonaws.com", "s3.*.amazonaws.com.cn"),
            domains=("amazonaws.com", "amazonaws.com.cn"),
        ),
        "b2": _B2,
        "backblaze": _B2,
        "ceph": Provider(),
        "cloudflare": _R2,
        "contabo": Provider(domains=("contabostorage.com",)),
        "digitalocean": _DO,
        "do": _DO,
        "exoscale": Provider(hosts=("sos-*.exo.io",), domains=("exo.io",)),
        # garagehq.deuxfleurs.fr/reference_manual/s3_compatibility.html
        "garage": Provider(region="garage", takes_acl=False, reads_for_anybody=False),  # but its web server does
        "gcs": _GCS,
        "google": _GCS,
        "hetzner": Provider(
            hosts=("*.your-objectstorage.com",),
            domains=("your-objectstorage.com",),
            reads=750,  # a bucket, and as many an address: docs.hetzner.com/storage/object-storage/overview
            writes=750,
        ),
        "idrive": Provider(domains=("idrivee2.com", "idrivee2-*.com")),
        "ionos": Provider(hosts=("s3.*.ionoscloud.com",), domains=("ionoscloud.com",)),
        "linode": _LINODE,
        # only policies: min.io/docs/minio/linux/reference/s3-api-compatibility.html
        "minio": Provider(takes_acl=False),
        "outscale": Provider(region="eu-west-2", hosts=("oos.*.outscale.com",), domains=("outscale.com",)),
        "ovh": Provider(
            region="gra",
            hosts=("s3.*.io.cloud.ovh.net", "s3.*.io.cloud.ovh.us", "s3.*.perf.cloud.ovh.net", "s3.*.cloud.ovh.net"),
            domains=("cloud.ovh.net", "cloud.ovh.us"),
        ),
        "r2": _R2,
        "scaleway": Provider(
            region="fr-par",
            hosts=("s3.*.scw.cloud",),
            domains=("scw.cloud",),
            parts_at_most=1_000,  # scaleway.com/en/docs/object-storage/api-cli/multipart-uploads
        ),
        "seaweedfs": Provider(),
        "selectel": Provider(
            region="ru-1",
            hosts=("s3.*.storage.selcloud.ru",),
            domains=("selcloud.ru",),
            reads=1_000,  # a bucket, more than which it answers with 429: docs.selectel.ru/en/s3/about/limitations
            writes=300,
        ),
        "storj": Provider(
            domains=("storjshare.io",),
            takes_acl=False,  # storj.dev/dcs/api/s3/s3-compatibility
            reads_for_anybody=False,  # but its link sharing service does
            least_part_size=64 * _MIB,  # smaller ones cost more: storj.dev/dcs/api/s3/multipart-upload
        ),
        "vultr": Provider(hosts=("*.vultrobjects.com",), domains=("vultrobjects.com",)),
        "wasabi": Provider(hosts=("s3.*.wasabisys.com",), domains=("wasabisys.com",)),
    }
)


def _limits() -> Iterator[str]:
    by_length = sorted(PROVIDERS.items(), key=lambda item: -len(item[0]))
    shortest = {provider: name for name, provider in by_length}  # some have several names
    for provider, name in sorted(shortest.items(), key=itemgetter(1)):
        if provider.reads and provider.writes:
            writes = "" if provider.reads == provider.writes else f" reads and {provider.writes:,} writes"
            yield f"{name} {provider.reads:,}{writes}"


LIMITS = ", ".join(_limits())
"""The limits that providers publish, for people."""


@lru_cache
def implied(provider: str | None, endpoint_url: str | None) -> Provider:
    """What is known of a store, by its provider's name or else by its endpoint's host."""
    host = (urlsplit(endpoint_url).hostname or "") if endpoint_url else ""
    known = PROVIDERS[provider] if provider else _known_by(host)
    if known is None:
        return Provider(addressing_style="path" if endpoint_url else "auto")
    for pattern in known.hosts:
        if match := re.fullmatch(_as_expression(pattern), host):
            return known._replace(region=match[1])
    return known


def _known_by(host: str) -> Provider | None:
    for known in PROVIDERS.values():
        if any(re.fullmatch(rf"(?:.*\.)?{_as_expression(domain)}", host) for domain in known.domains):
            return known
    return None


def _as_expression(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*", r"([^.]+)")


class Preset(NamedTuple):
    """List prices without tax, of a GB of 10^9 bytes and of a thousand requests. What is not given is free."""

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
    source_egress_per_gb: float | None = key(None, PRICE, "What a GB (10^9 bytes) costs that leaves the source.")
    source_egress_free_gb: float | None = key(None, PRICE, "How many of them are free.")
    source_get_per_1000: float | None = key(None, PRICE, "What a thousand GETs and HEADs cost.")
    source_list_per_1000: float | None = key(None, PRICE, "What a thousand pages of a listing cost.")
    destination_ingress_per_gb: float | None = key(None, PRICE, "What a GB costs that comes in.")
    destination_put_per_1000: float | None = key(None, PRICE, "What a thousand PUTs cost.")
    destination_get_per_1000: float | None = key(None, PRICE, "What a thousand GETs and HEADs cost there.")
    destination_list_per_1000: float | None = key(None, PRICE, "What a thousand pages of a listing cost there.")
    destination_storage_per_gb_month: float | None = key(None, PRICE, "What a GB costs a month.")

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
