"""What is boto3's own: its client with all options, the route that it takes to a bucket, and what its errors mean.

The options keep it to what it is asked for: no retries, no redirects, no checksums of its own. libcurl takes the route
from here where `route` cannot tell it. Errors become those of the contract.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from copy import copy
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as boto_errors
import botocore.loaders
import botocore.session
import urllib3.exceptions
from botocore import UNSIGNED
from botocore.config import Config as BotoConfig
from botocore.hooks import HierarchicalEmitter
from botocore.httpsession import get_cert_path
from botocore.parsers import ResponseParserError
from botocore.utils import get_environ_proxies

from mastosync import __version__
from mastosync.errors import MastosyncError, ObjectRejected, StoreUnusable, without_frames
from mastosync.language import tr
from mastosync.store.errors import Target
from mastosync.store.s3.protocol import base64_of, error_response_of
from mastosync.store.s3.route import Route, closed_folder_of_aws, leave_warning_to_us, own_bundle
from mastosync.store.s3.translation import ErrorResponse, InvalidResponse, Request, Translator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials
    from mypy_boto3_s3 import S3Client

    from mastosync.config import S3Config

_CHECKSUMS = ("x-amz-checksum-", "x-amz-sdk-checksum-")

NO_CREDENTIALS = (
    boto_errors.NoCredentialsError,
    boto_errors.PartialCredentialsError,
    boto_errors.CredentialRetrievalError,
    boto_errors.TokenRetrievalError,
    boto_errors.ProfileNotFound,
    RuntimeError,  # botocore's, for new credentials that have expired already
)
"""There is nothing to sign a request with."""


def make_client(config: S3Config, connections: int, *, signed: bool = True) -> S3Client:
    """A client that leaves retries, checksums and redirects to us, with a pool of `connections`.

    One that is not `signed` asks without credentials, as anybody may.

    Raises: StoreUnusable if the configuration, or what the AWS SDK reads besides, makes no client.
    """
    options = BotoConfig(  # type: ignore[call-arg]  # the stubs miss ignore_configured_endpoint_urls
        connect_timeout=config.connect_timeout_seconds,
        read_timeout=config.read_timeout_seconds,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": 1},
        # many stores reject or break on the checksums that are otherwise sent along; Content-MD5 they all know
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version="s3v4" if signed else UNSIGNED,
        s3={"addressing_style": cast("Literal['auto', 'path', 'virtual']", config.addressing_style)},
        # without endpoint_url it is Amazon's own, as the manifest has it, whatever AWS_ENDPOINT_URL says
        ignore_configured_endpoint_urls=True,
        tcp_keepalive=True,
        user_agent_extra=f"mastosync/{__version__}",
    )
    try:
        session = new_session()
        client = boto3.session.Session(botocore_session=session).client(
            "s3",
            verify=_verification(session, config),
            endpoint_url=config.endpoint_url,
            region_name=config.region,
            aws_access_key_id=config.access_key,
            aws_secret_access_key=config.secret_key.reveal() if config.secret_key else None,
            aws_session_token=config.session_token.reveal() if config.session_token else None,
            config=options,
        )
    except (boto_errors.BotoCoreError, ValueError) as error:
        said = " ".join(str(error).split())
        raise StoreUnusable(
            tr(
                "cannot make a client for the bucket {bucket!r} at {endpoint}: {said}",
                bucket=config.bucket,
                endpoint=config.endpoint_url or "Amazon S3",
                said=said,
            ),
            hint=tr("check this store's section, and what the AWS SDK reads: AWS_… variables and ~/.aws"),
        ) from without_frames(error)
    client.meta.events.register_last("before-call.s3", _expect_nothing)
    client.meta.events.register_first("response-received.s3", _end_with_errors)
    client.meta.events.register_last("before-sign.s3.DeleteObjects", _send_md5)
    return client


def _verification(session: botocore.session.Session, config: S3Config) -> str | bool:
    """What certificates to trust: a file, or True for the public ones; False only if the configuration says so.

    An empty AWS_CA_BUNDLE, or `ca_bundle` in ~/.aws/config, counts as none: to the part of botocore that connects it
    would be the wish to look at no certificate, which only newer releases refuse.
    """
    if not config.verify_tls:
        leave_warning_to_us()
        return False
    bundle = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return own_bundle(config) or str(bundle or "") or True


def new_session() -> botocore.session.Session:
    """A session that takes from the others what is the same for all, and takes a while: to read what botocore has on
    disk, and to look at each of its handlers.
    """
    session = botocore.session.Session(event_hooks=copy(_builtin_handlers()), include_builtin_handlers=False)
    session.register_component("data_loader", _data_loader(session.get_config_variable("data_path")))
    return session


@cache
def _builtin_handlers() -> HierarchicalEmitter:
    handlers = HierarchicalEmitter()
    botocore.session.Session(event_hooks=handlers)
    return handlers


@cache
def _data_loader(data_path: str | None) -> botocore.loaders.Loader:
    return botocore.loaders.create_loader(data_path)


def credentials_of(client: S3Client) -> ReadOnlyCredentials:
    """The credentials to sign the next request with: those of the configuration, or what the AWS SDK finds.

    To be asked for each time: temporary ones are renewed here. Raises: botocore's errors if there are none.
    """
    credentials = cast("Any", client)._get_credentials()  # botocore has no public way to them
    if credentials is None:
        raise boto_errors.NoCredentialsError
    return cast("ReadOnlyCredentials", credentials.get_frozen_credentials())


def _expect_nothing(params: dict[str, Any], **_: object) -> None:
    """Send bodies at once.

    boto3 asks with `Expect: 100-continue` before each: one more round trip, a second lost at every store
    that keeps silent, and an endless loop in botocore when the connection ends after the 100.
    """
    params["headers"].pop("Expect", None)


def _send_md5(request: AWSRequest, **_: object) -> None:
    """Send Content-MD5 with a document that has to carry a checksum, in place of a newer one that botocore adds."""
    for name in [name for name in request.headers if name.lower().startswith(_CHECKSUMS)]:
        del request.headers[name]
    request.headers["Content-MD5"] = base64_of(hashlib.md5(cast("bytes", request.data), usedforsecurity=False).digest())


def _end_with_errors(
    response_dict: Mapping[str, Any] | None, parsed_response: Mapping[str, Any] | None, event_name: str, **_: object
) -> None:
    """Hand error answers to us before anything else in botocore sees them.

    Its redirector would send the request once more to another region, after a HEAD of its own.
    """
    if response_dict is None or parsed_response is None:
        return  # no answer
    if parsed_response["ResponseMetadata"]["HTTPStatusCode"] >= 300:
        if response_dict["status_code"] < 300 and parsed_response["Error"].get("Code") in ("", "500"):
            raise InvalidResponse("it is no XML")  # botocore calls that a 500
        raise boto_errors.ClientError(cast("Any", parsed_response), event_name.rpartition(".")[2])


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


class BotoTranslator(Translator):
    """For what boto3 does."""

    network = (
        boto_errors.HTTPClientError,  # connect and read time-outs, proxies, closed connections
        boto_errors.ConnectionError,
        boto_errors.IncompleteReadError,  # this and OSError are only to be sure: urllib3 is the first to notice
        urllib3.exceptions.HTTPError,  # those of a body that botocore lets out as they are
        *Translator.network,
    )
    tls = (boto_errors.SSLError, *Translator.tls)
    unsent = (
        boto_errors.EndpointConnectionError,
        boto_errors.ConnectTimeoutError,
        boto_errors.ProxyConnectionError,
        *Translator.unsent,
    )
    foreign = (
        boto_errors.ClientError,
        boto_errors.BotoCoreError,
        *NO_CREDENTIALS,
        *network,
        ResponseParserError,
        *Translator.foreign,
    )

    def translation(self, error: Exception, request: Request) -> MastosyncError:
        """The error of the contract that one of `foreign` stands for."""
        if isinstance(error, boto_errors.ClientError):
            return super().translation(response_of(error), request)
        where, said = self._where(request), self._scrubbed(str(error))
        if isinstance(error, NO_CREDENTIALS):
            hint = tr("set `access_key` and `secret_key` of this store, or the environment that the AWS SDK reads")
            if folder := closed_folder_of_aws():
                hint = tr(
                    "{hint}; this user may not read {folder}: set HOME to their own folder, if the keys are there",
                    hint=hint,
                    folder=folder,
                )
            # the library's words may hold some
            return StoreUnusable(f"cannot {where}: no usable credentials were found", hint=hint)
        if isinstance(error, boto_errors.ParamValidationError) and request.subject is not Target.STORE:
            return ObjectRejected(f"cannot {where}: {said}", hint=tr("no request can be made for this object"))
        if isinstance(error, boto_errors.BotoCoreError) and not isinstance(error, self.network):
            return StoreUnusable(f"cannot {where}: {said}", hint=tr("check this store's section"))
        return super().translation(error, request)


def response_of(error: boto_errors.ClientError) -> ErrorResponse:
    """What boto3 tells of an answer."""
    metadata: dict[str, Any] = dict(error.response["ResponseMetadata"])
    headers = metadata.get("HTTPHeaders", {})
    # without a length there may be one: applications send their pages in chunks
    has_body = error.operation_name != "HeadObject" and headers.get("content-length", "") != "0"
    fields = {name: str(value or "") for name, value in error.response.get("Error", {}).items()}
    return error_response_of(int(metadata.get("HTTPStatusCode", 0)), headers, fields, has_body=has_body)
