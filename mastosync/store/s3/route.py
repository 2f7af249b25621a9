"""The route to a bucket (address, region, proxy, certificates), where it is plain, without loading boto3.

Where it is not plain, boto3 is asked (`boto_client.route_to`); a test compares the two.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mastosync.errors import StoreUnusable
from mastosync.language import tr

if TYPE_CHECKING:
    from mastosync.config import S3Config

# a host as people write it, maybe a port, maybe folders without dots of their own
_ENDPOINT = re.compile(
    r"(?P<scheme>https?)://(?P<authority>(?P<host>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?)(?P<path>(?:/[A-Za-z0-9_-]+)*)"
)
_BUCKET_IN_PATH = re.compile(r"[A-Za-z0-9._-]{3,63}")
_BUCKET_IN_HOST = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z](?:[a-z0-9-]{0,40}[a-z0-9])?")
_SPECIAL = re.compile(r"--|^xn-|fips|global|accelerate|\.\.")
"""Of names that boto3 treats in a way of their own, or may in another release."""
_CA_BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
_BUNDLE_BYTES = 1024 * 1024
_KNOWN_VARIABLES = frozenset(
    {
        "AWS_ACCESS_KEY_ID",  # a configuration that names its own key and region overrides these
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_CA_BUNDLE",  # minded below
        "AWS_PAGER",
    }
)


@dataclass(frozen=True, slots=True)
class Route:
    """How requests get to a bucket."""

    url: str  # of the bucket: what a quoted key is put after
    region: str  # signed into every request
    proxy: str  # empty: none
    ca_bundle: str  # a file
    verified: bool = True  # whether the certificate is looked at


def plain_route(config: S3Config) -> Route | None:
    """The route that boto3 would take; None if only boto3 can tell."""
    if not (config.access_key and config.secret_key and _nothing_is_said_elsewhere()):
        return None
    url = _url(config.endpoint_url or "", config.bucket or "", config.addressing_style)
    if url is None or not _REGION.fullmatch(config.region) or _SPECIAL.search(config.region):
        return None
    return guarded(Route(url, config.region, _proxy(url), _ca_bundle()), config)


def public_route(url: str) -> Route:
    """The way that anybody takes to objects under this URL."""
    return Route(f"{url.rstrip('/')}/", "", _proxy(url), _ca_bundle())


def guarded(route: Route, config: S3Config) -> Route:
    """`route`, with what the configuration says of certificates. Raises: StoreUnusable."""
    return replace(route, ca_bundle=own_bundle(config) or route.ca_bundle, verified=config.verify_tls)


def own_bundle(config: S3Config) -> str | None:
    """The file of certificates that the configuration names. Raises: StoreUnusable if it cannot be read."""
    if config.ca_bundle is None or not config.verify_tls:
        return None
    try:
        with config.ca_bundle.open("rb") as file:
            if b"-----BEGIN " in file.read(_BUNDLE_BYTES):
                return str(config.ca_bundle)
        problem = "holds no certificate in PEM form"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise StoreUnusable(
        tr(
            "the ca_bundle of the bucket {bucket!r}, {ca_bundle}, {problem}",
            bucket=config.bucket,
            ca_bundle=config.ca_bundle,
            problem=problem,
        ),
        hint=tr(
            "it must be a PEM file with the certificate of the authority that signed the store's certificate, or "
            "with that certificate itself"
        ),
    )


def leave_warning_to_us() -> None:
    """Keep urllib3 from warning of each request to a store that is not verified: every run says so by itself."""
    warnings.filterwarnings("ignore", message="Unverified HTTPS request")


def _nothing_is_said_elsewhere() -> bool:
    """Whether neither environment nor home could tell the AWS SDK anything."""
    variables = {name for name in os.environ if name.upper().startswith(("AWS_", "BOTO"))}
    bundles = (os.environ.get(name, "a file") for name in _CA_BUNDLES)  # which may not be blank
    if not (variables <= _KNOWN_VARIABLES and all(map(str.strip, bundles))):
        return False
    try:
        _folder_of_aws().stat()
    except (OSError, RuntimeError):  # none, no home, or one that may not be looked into: the SDK cannot, either
        return True
    return False


def closed_folder_of_aws() -> Path | None:
    """Where the AWS SDK looks for keys, if this user may not look there."""
    with suppress(RuntimeError):
        folder = _folder_of_aws()
        try:
            folder.stat()
            return None if os.access(folder, os.R_OK | os.X_OK) else folder
        except PermissionError:
            return folder
        except OSError:
            return None
    return None


def _folder_of_aws() -> Path:
    """Raises: RuntimeError if this user has no home."""
    return Path("~/.aws").expanduser()


def _url(endpoint_url: str, bucket: str, style: str) -> str | None:
    endpoint = _ENDPOINT.fullmatch(endpoint_url)
    if endpoint is None or _SPECIAL.search(endpoint["host"]) or _SPECIAL.search(bucket):
        return None
    labels = endpoint["host"].split(".")
    if max(map(len, labels)) > 63 or len(endpoint["host"]) > 200 or int(endpoint["port"] or 0) > 65535:
        return None
    if style in ("path", "auto"):  # with an endpoint of one's own, auto is path
        return f"{endpoint_url}/{bucket}/" if _BUCKET_IN_PATH.fullmatch(bucket) else None
    if not _BUCKET_IN_HOST.fullmatch(bucket) or labels[-1].isdigit():
        return None  # names with dots, or with other letters, go into the path; so do all where the host is an address
    return f"{endpoint['scheme']}://{bucket}.{endpoint['authority']}{endpoint['path']}/"


def _proxy(url: str) -> str:
    """The very functions that botocore asks; not loaded where no variable names a proxy."""
    if sys.platform == "linux" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - most machines have no proxy

    parts = urlsplit(url)
    try:
        if proxy_bypass(parts.netloc):
            return ""
    except (TypeError, socket.gaierror):  # passed over by botocore as well
        pass
    return getproxies().get(parts.scheme, "")


def _ca_bundle() -> str:
    """The certificates that boto3 trusts."""
    return next((os.environ[name] for name in _CA_BUNDLES if name in os.environ), None) or _certificates()


def _certificates() -> str:
    """The file that botocore takes by default: that of certifi where it is installed, else its own."""
    try:
        from certifi import where  # noqa: PLC0415 - need not be there
    except ImportError:
        botocore = find_spec("botocore")  # which does not load it
        folders = botocore.submodule_search_locations if botocore else None
        return str(Path(folders[0], "cacert.pem")) if folders else ""
    return where()
