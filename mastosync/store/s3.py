"""S3 by boto3: the whole contract of `ObjectStore`, one request a method."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.header import Header
from typing import TYPE_CHECKING, Any, Literal, cast

import boto3
import botocore.exceptions as boto_errors
from botocore.config import Config as BotoConfig

from mastosync import __version__
from mastosync.errors import CorruptObject, ObjectChanged, StoreUnusable
from mastosync.model import ObjectHeaders, ObjectInfo, looks_like_md5
from mastosync.store.answers import Answer, error_of, network_failure, unusable_of
from mastosync.store.base import FetchedObject, Part, PutOptions

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

    from mastosync.config import S3Config

_FOREIGN_ENCRYPTION = frozenset({"aws:kms", "aws:kms:dsse"})  # under these an ETag is no MD5

_CONNECTION_ERRORS = (
    boto_errors.HTTPClientError,  # connect and read time-outs, proxies, TLS, closed connections
    boto_errors.ConnectionError,
    boto_errors.IncompleteReadError,
    boto_errors.ResponseStreamingError,
    OSError,
)
_CREDENTIAL_ERRORS = (
    boto_errors.NoCredentialsError,
    boto_errors.PartialCredentialsError,
    boto_errors.CredentialRetrievalError,
    boto_errors.TokenRetrievalError,
    boto_errors.ProfileNotFound,
)


@dataclass(frozen=True, slots=True)
class _Request:
    """What a failure is told about: the operation and the key, and whether an ACL went along."""

    verb: str
    key: str
    with_acl: bool = False


class S3Store:
    """A bucket. See `ObjectStore` for what each method promises."""

    def __init__(self, config: S3Config, *, role: str, connections: int) -> None:
        self._config = config
        self._client = _client(config, connections)
        self._bucket = config.bucket or ""
        self.endpoint = str(self._client.meta.endpoint_url)
        self.name = f"{role} bucket {config.bucket!r} at {self.endpoint}"

    def check(self) -> None:  # noqa: D102 - see ObjectStore
        request = _Request("use", "")
        with self._translated(request):
            try:
                self._client.get_bucket_location(Bucket=self._bucket)
            except boto_errors.ClientError as error:
                unusable = unusable_of(self._answer(error, request), self._where(request))
                if unusable is not None:
                    raise unusable from error

    def head(self, key: str) -> ObjectInfo:  # noqa: D102
        with self._translated(_Request("describe", key)):
            return _info(self._client.head_object(Bucket=self._bucket, Key=key))

    def read(self, key: str, max_bytes: int) -> FetchedObject:  # noqa: D102
        with self._translated(_Request("read", key)):
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            body: StreamingBody = answer["Body"]
            info = _info(answer)
            if info.size > max_bytes:
                body.close()
                return FetchedObject(info, data=None, md5=None)
            data = body.read()
        self._require_length(key, data, info.size)
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        if info.md5 is not None and info.md5 != md5:
            raise CorruptObject(
                f"cannot read {key!r} at {self.name}: its bytes have the MD5 {md5.hex()}, its ETag says {info.etag}",
                hint="if every attempt fails, the object is damaged at the source",
            )
        return FetchedObject(info, data, md5)

    def read_range(self, key: str, info: ObjectInfo, start: int, length: int) -> bytes:  # noqa: D102
        wanted = f"bytes={start}-{start + length - 1}"
        with self._translated(_Request("read a range of", key)):
            answer = self._client.get_object(Bucket=self._bucket, Key=key, Range=wanted, IfMatch=f'"{info.etag}"')
            if answer["ETag"].strip('"') != info.etag:  # a store that does not know If-Match
                answer["Body"].close()
                raise ObjectChanged(f"cannot read {key!r} at {self.name}: it was replaced while it was read")
            if answer["ContentLength"] != length:  # or Range: never take in more than asked for
                answer["Body"].close()
                raise CorruptObject(f"cannot read {key!r} at {self.name}: {answer['ContentLength']} bytes for {wanted}")
            data = answer["Body"].read()
        self._require_length(key, data, length)
        return data

    def write(self, key: str, data: bytes, md5: bytes, options: PutOptions) -> str:  # noqa: D102
        with self._translated(_Request("write", key, with_acl=options.acl is not None)):
            answer = self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, ContentMD5=_base64(md5), **_arguments(options)
            )
        return self._confirmed(key, answer, md5)

    def start_multipart(self, key: str, options: PutOptions) -> str:  # noqa: D102
        with self._translated(_Request("begin to write", key, with_acl=options.acl is not None)):
            answer = self._client.create_multipart_upload(Bucket=self._bucket, Key=key, **_arguments(options))
        return answer["UploadId"]

    def write_part(self, key: str, upload_id: str, number: int, data: bytes, md5: bytes) -> Part:  # noqa: D102
        with self._translated(_Request(f"write part {number} of", key)):
            answer = self._client.upload_part(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=data,
                ContentMD5=_base64(md5),
            )
        self._confirmed(key, answer, md5)
        return Part(number, answer["ETag"], md5)

    def complete_multipart(self, key: str, upload_id: str, parts: list[Part]) -> str:  # noqa: D102
        with self._translated(_Request("complete", key)):
            answer = self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": [{"PartNumber": part.number, "ETag": part.etag} for part in parts]},
            )
        return answer["ETag"].strip('"')

    def abort_multipart(self, key: str, upload_id: str) -> None:  # noqa: D102
        try:
            with self._translated(_Request("abort", key)):
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
        except ObjectChanged:  # NoSuchUpload: nothing left to abort
            return

    def abort_unfinished(self, key: str) -> int:  # noqa: D102
        with self._translated(_Request("find unfinished uploads of", key)):
            answer = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=key)
        found = [upload["UploadId"] for upload in answer.get("Uploads", []) if upload["Key"] == key]
        for upload_id in found:
            self.abort_multipart(key, upload_id)
        return len(found)

    def close(self) -> None:  # noqa: D102
        self._client.close()

    def _confirmed(self, key: str, answer: Any, md5: bytes) -> str:  # noqa: ANN401 - a boto3 answer
        """The ETag of a write, compared with what was sent where it is an MD5."""
        etag = answer["ETag"].strip('"')
        if _etag_is_md5(etag, answer) and etag.lower() != md5.hex():
            raise CorruptObject(
                f"cannot write {key!r} at {self.name}: sent bytes with the MD5 {md5.hex()}, the store took in {etag}"
            )
        return str(etag)

    def _require_length(self, key: str, data: bytes, length: int) -> None:
        if len(data) != length:
            raise CorruptObject(f"cannot read {key!r} at {self.name}: {len(data)} of {length} bytes arrived")

    @contextmanager
    def _translated(self, request: _Request) -> Iterator[None]:
        """Turn everything boto3 raises into the errors of the contract: here and nowhere else."""
        what = self._where(request)
        try:
            yield
        except boto_errors.ClientError as error:
            raise error_of(self._answer(error, request), what) from error
        except _CREDENTIAL_ERRORS as error:
            raise StoreUnusable(
                f"cannot {what}: no usable credentials were found",
                hint="set access_key and secret_key of this store, or the environment that the AWS SDK reads",
            ) from error
        except _CONNECTION_ERRORS as error:
            raise network_failure(what, self._scrubbed(str(error))) from error
        except boto_errors.BotoCoreError as error:
            raise StoreUnusable(
                f"cannot {what}: {self._scrubbed(str(error))}", hint="check this store's section"
            ) from error

    def _where(self, request: _Request) -> str:
        return f"{request.verb} {request.key!r} at {self.name}" if request.key else f"{request.verb} the {self.name}"

    def _answer(self, error: boto_errors.ClientError, request: _Request) -> Answer:
        told = error.response.get("Error", {})
        metadata: dict[str, Any] = dict(error.response.get("ResponseMetadata", {}))
        return Answer(
            status=int(metadata.get("HTTPStatusCode", 0)),
            code=str(told.get("Code", "")),
            message=self._scrubbed(str(told.get("Message", ""))),
            headers={name.lower(): value for name, value in metadata.get("HTTPHeaders", {}).items()},
            with_acl=request.with_acl,
        )

    def _scrubbed(self, text: str) -> str:
        """What a server or library says, on one line and without our credentials."""
        for secret in _secrets(self._config):
            text = text.replace(secret, "***")
        return " ".join(text.split())


def _client(config: S3Config, connections: int) -> S3Client:
    """A client that leaves retries, checksums and redirects to us."""
    options = BotoConfig(
        connect_timeout=config.connect_timeout_seconds,
        read_timeout=config.read_timeout_seconds,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": 1},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version="s3v4",
        s3={"addressing_style": cast("Literal['auto', 'path', 'virtual']", config.addressing_style)},
        tcp_keepalive=True,
        user_agent_extra=f"mastosync/{__version__}",
    )
    try:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=config.endpoint_url,
            region_name=config.region,
            aws_access_key_id=config.access_key,
            aws_secret_access_key=config.secret_key.reveal() if config.secret_key else None,
            aws_session_token=config.session_token.reveal() if config.session_token else None,
            config=options,
        )
    except (boto_errors.BotoCoreError, ValueError) as error:
        raise StoreUnusable(
            f"cannot make a client for {config.endpoint_url}: {error}", hint="check endpoint_url"
        ) from error


def _secrets(config: S3Config) -> list[str]:
    hidden = [secret.reveal() for secret in (config.secret_key, config.session_token) if secret]
    return [secret for secret in (*hidden, config.access_key) if secret]


def _info(answer: Any) -> ObjectInfo:  # noqa: ANN401 - a boto3 answer
    etag = answer["ETag"].strip('"')
    encoding = ",".join(
        part for part in map(str.strip, answer.get("ContentEncoding", "").split(",")) if part not in ("", "aws-chunked")
    )
    headers = ObjectHeaders(
        content_type=answer.get("ContentType"),
        cache_control=answer.get("CacheControl"),
        content_disposition=answer.get("ContentDisposition"),
        content_language=answer.get("ContentLanguage"),
        content_encoding=encoding or None,
        metadata=answer.get("Metadata", {}),
    )
    return ObjectInfo(answer["ContentLength"], etag, headers, etag_is_md5=_etag_is_md5(etag, answer))


def _etag_is_md5(etag: str, answer: Any) -> bool:  # noqa: ANN401 - a boto3 answer
    foreign = answer.get("ServerSideEncryption") in _FOREIGN_ENCRYPTION or "SSECustomerAlgorithm" in answer
    return looks_like_md5(etag) and not foreign


def _arguments(options: PutOptions) -> dict[str, Any]:
    headers = options.headers
    arguments = {
        "ContentType": headers.content_type,
        "CacheControl": headers.cache_control,
        "ContentDisposition": headers.content_disposition,
        "ContentLanguage": headers.content_language,
        "ContentEncoding": headers.content_encoding,
        "ACL": options.acl,
        "StorageClass": options.storage_class,
        "Metadata": {name: _ascii(value) for name, value in headers.metadata.items()},
    }
    return {name: value for name, value in arguments.items() if value}


def _ascii(value: str) -> str:
    """User metadata as a header can carry it: RFC 2047 where it is not ASCII, as AWS itself does."""
    return value if value.isascii() else Header(value, "utf-8", maxlinelen=10_000).encode()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
