"""The way that boto3 takes to a bucket, told to a client beside it."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from mastosync.store.s3.client import new_session
from mastosync.store.s3.route import Route

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def route_to(client: S3Client, bucket: str) -> Route:
    """The way of a client that is not yet in use. Raises: botocore's errors, if there is no way to this bucket."""
    prepared: dict[str, Any] = {}

    def keep(params: dict[str, Any], **_: object) -> tuple[object, dict[str, object]]:
        prepared.update(params)
        return SimpleNamespace(status_code=200), {}  # an answer: botocore sends nothing

    events: Any = client.meta.events  # whose stubs know of no answers
    events.register_first("before-call.s3.HeadObject", keep)
    try:
        client.head_object(Bucket=bucket, Key="key")
    finally:
        events.unregister("before-call.s3.HeadObject", keep)
    url = str(prepared["url"]).removesuffix("key")
    signing = prepared["context"].get("signing", {})
    return Route(
        url,
        region=str(signing.get("region") or client.meta.region_name),
        proxy=get_environ_proxies(url).get(urlsplit(url).scheme, ""),
        ca_bundle=_ca_bundle(),
    )


def _ca_bundle() -> str:
    """The certificates that boto3 trusts."""
    configured = new_session().get_config_variable("ca_bundle")
    return str(configured or os.environ.get("REQUESTS_CA_BUNDLE") or get_cert_path(True))
