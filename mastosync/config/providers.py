"""What is known of stores by the name of their provider."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit


class Provider(NamedTuple):
    """What is known of a store by its provider's name: defaults, used where the file says nothing."""

    region: str = "us-east-1"
    addressing_style: str = "path"
    host: str = ""  # its endpoints, as `s3.*.example.com`, where the `*` is the region


PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        "aws": Provider(addressing_style="auto", host="s3.*.amazonaws.com"),
        "b2": Provider(host="s3.*.backblazeb2.com"),
        "ceph": Provider(),
        "do": Provider(),
        "garage": Provider(region="garage"),
        "gcs": Provider(region="auto"),
        "hetzner": Provider(host="*.your-objectstorage.com"),
        "minio": Provider(),
        "ovh": Provider(region="gra", host="s3.*.io.cloud.ovh.net"),
        "r2": Provider(region="auto"),
        "scaleway": Provider(region="fr-par", host="s3.*.scw.cloud"),
        "seaweedfs": Provider(),
        "wasabi": Provider(host="s3.*.wasabisys.com"),
    }
)


def implied(provider: str | None, endpoint_url: str | None) -> Provider:
    """Region and addressing of a store for which the file gives neither."""
    known = PROVIDERS[provider] if provider else Provider(addressing_style="path" if endpoint_url else "auto")
    before, star, after = known.host.partition("*")
    host = (urlsplit(endpoint_url).hostname or "") if endpoint_url else ""
    if star and host.startswith(before) and host.endswith(after):
        region = host[len(before) : len(host) - len(after)]
        if region and "." not in region:
            return known._replace(region=region)
    return known
