"""The keys of fetching files again from where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from mastosync.config.keys import key
from mastosync.config.values import NETWORKS, SWITCH, whole


@dataclass(frozen=True, slots=True)
class RefetchConfig:
    """How files are fetched from where they came from."""

    requests_per_second: int = key(2, whole(1, 100), "At most so many requests a second to each of these servers.")
    use_proxies: bool = key(
        False,
        SWITCH,
        "Whether to go by the proxies that the environment names (https_proxy and its kin). A proxy looks names up by"
        " itself: what it can reach, a URL in the database can then reach as well.",
    )
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = key(
        (),
        NETWORKS,
        "Networks that may be connected to though they are one's own, separated by spaces: 10.1.0.0/16 fd12::/32. A URL"
        " in the database can then reach everything in there.",
    )
