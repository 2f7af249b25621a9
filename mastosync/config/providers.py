"""What is known of stores by the name of their provider.

Facts come from the providers' documentation, named at each line, as it read in 2026. What is not
known is left to the store to say: whether it takes ACLs shows at the first object, and how many
requests it takes is found out by asking. That a provider keeps ACLs is not known here of any: whoever
owns a bucket can let everybody read it, whatever its objects say.

`reads` and `writes` are ceilings, so only figures are here that hold for every customer and every
bucket, and that no single client gets past. Not here are soft limits and what grows on request:
Amazon's 3,500 writes and 5,500 reads a second count for each prefix, of which a bucket has as many
as it needs; Backblaze's 500 are where new accounts begin; OVH's 300 and 900 grow with the load;
Akamai's 750 to 20,000 depend on the contract. Figures of old age are not here either: those of
DigitalOcean have grown threefold since 240 went the round.

Of checksums nothing needs to be known: of those that the SDK would add, none is sent to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

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
