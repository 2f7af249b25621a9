"""Which names mean one store. Pure functions: nothing is looked up, so different names may still be one store.

Scheme, default port, case and the dot at the end of a host make no other store of one. Amazon's endpoints are one as
well, whatever region, stack or style they name: a bucket's name is given once in all its regions of a partition
(docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, docs.aws.amazon.com/general/latest/gr/s3.html).
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

_DEFAULT_PORTS = (None, 80, 443)
_REGION = r"(?P<region>[a-z]{2}(?:-[a-z]+)+-[0-9]+)"
_AWS = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]*)\.)?"  # where the endpoint holds one already
    rf"s3(?:-fips|-accelerate|-external-1)?(?:\.dualstack)?(?:[.-]{_REGION})?"
    r"\.amazonaws\.com(?P<china>\.cn)?"
)
_AWS_PRIVATE_LINK = re.compile(rf"(?:bucket\.)?vpce-[a-z0-9-]+\.s3\.{_REGION}\.vpce\.amazonaws\.com")
_NUMBERS = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+)){0,3}")


class Place(NamedTuple):
    """Where keys lie, in the one spelling that all names of it share."""

    service: str  # host, port unless it is 80 or 443, and path; or a partition of Amazon's
    bucket: str
    root: str  # what all keys begin with
    port: int | None = None  # 80 or 443, at which one server answers as a rule; None: the service tells


def place_of(endpoint: str, bucket: str, key_prefix: str) -> Place:
    """The place that an endpoint's URL, a bucket and a key prefix name."""
    root = f"{key_prefix}/".removeprefix("/") if key_prefix else ""
    try:
        url = urlsplit(endpoint)
        given = url.port
    except ValueError:  # an old manifest, or an archive, may have anything
        return Place(endpoint, bucket, root)
    if url.scheme not in ("http", "https") or not url.hostname:
        return Place(endpoint, bucket, root)  # no URL of a store: a folder
    host, path = _host(url.hostname), url.path.rstrip("/")
    if given in _DEFAULT_PORTS and not path and (partition := _partition(host)) is not None:
        service, in_host = partition
        return Place(service, in_host, f"{bucket}/{root}") if in_host else Place(service, bucket, root)
    if given not in _DEFAULT_PORTS:
        return Place(f"{host}:{given}{path}", bucket, root)
    return Place(f"{host}{path}", bucket, root, given or (443 if url.scheme == "https" else 80))


def _host(name: str) -> str:
    """A host in lower case, as plain ASCII, or an address in its usual form."""
    name = name.lower().removesuffix(".")
    try:
        address = ip_address(name)
    except ValueError:
        if _NUMBERS.fullmatch(name):  # 127.1 and 0x7f000001, as the system reads them
            try:
                return socket.inet_ntoa(socket.inet_aton(name))
            except OSError:
                return name
        try:
            return name if name.isascii() else name.encode("idna").decode()
        except UnicodeError:
            return name
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped) if address.ipv4_mapped else f"[{address}]"
    return str(address)


def _partition(host: str) -> tuple[str, str] | None:
    """What of Amazon's S3 a host means: the partition, and the bucket in the name; None: it is not Amazon's."""
    found = _AWS.fullmatch(host)
    if found is None:
        found = _AWS_PRIVATE_LINK.fullmatch(host)
        return (_partition_of(found["region"]), "") if found else None
    partition = "aws-cn" if found["china"] else _partition_of(found["region"] or "")
    return partition, found["bucket"] or ""


def _partition_of(region: str) -> str:
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
