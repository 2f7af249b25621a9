"""The headers that travel with an object: from boto3's answers, into its arguments, and both as HTTP has them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from email.errors import MessageError
from email.header import decode_header, make_header
from typing import TYPE_CHECKING, Any, cast

from mastosync.model import ObjectHeaders, ObjectInfo, looks_like_md5

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, HeadObjectOutputTypeDef

    from mastosync.store.base import PutOptions

_FOREIGN_ENCRYPTION = frozenset({"aws:kms", "aws:kms:dsse"})  # under these an ETag is no MD5
_HTTP_NAMES = {
    "ContentLength": "content-length",
    "ETag": "etag",
    "ContentType": "content-type",
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentLanguage": "content-language",
    "ContentEncoding": "content-encoding",
    "ACL": "x-amz-acl",
    "StorageClass": "x-amz-storage-class",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSECustomerAlgorithm": "x-amz-server-side-encryption-customer-algorithm",
}
_METADATA = "x-amz-meta-"


def info_of(answer: GetObjectOutputTypeDef | HeadObjectOutputTypeDef) -> ObjectInfo:
    """What an answer says of an object. Raises: KeyError if it is not from an S3 store."""
    encodings = [encoding.strip() for encoding in answer.get("ContentEncoding", "").split(",")]
    headers = ObjectHeaders(
        content_type=_text(answer.get("ContentType")),
        cache_control=_text(answer.get("CacheControl")),
        content_disposition=_text(answer.get("ContentDisposition")),
        content_language=_text(answer.get("ContentLanguage")),
        # how an old client sent it, which some stores took for a property of the object
        content_encoding=",".join(encoding for encoding in encodings if encoding not in ("", "aws-chunked")) or None,
        metadata={name.lower(): decode_metadata(value) for name, value in answer.get("Metadata", {}).items()},
    )
    return ObjectInfo(answer["ContentLength"], etag_of(answer), headers, etag_is_md5=etag_is_md5(answer))


def etag_of(answer: Mapping[str, Any]) -> str:
    """The ETag, without quotes. Raises: KeyError if there is none."""
    return str(answer["ETag"]).removeprefix("W/").strip('"')


def etag_is_md5(answer: Mapping[str, Any]) -> bool:
    """Whether the ETag is the MD5 of the object."""
    foreign = answer.get("ServerSideEncryption") in _FOREIGN_ENCRYPTION or "SSECustomerAlgorithm" in answer
    return looks_like_md5(etag_of(answer)) and not foreign


def arguments_of(options: PutOptions) -> dict[str, Any]:
    """What boto3 takes for a new object."""
    headers = options.headers
    arguments = {
        "ContentType": headers.content_type,
        "CacheControl": headers.cache_control,
        "ContentDisposition": headers.content_disposition,
        "ContentLanguage": headers.content_language,
        "ContentEncoding": headers.content_encoding,
        "ACL": options.acl,
        "StorageClass": options.storage_class,
        "Metadata": {name: encode_metadata(value) for name, value in headers.metadata.items()},
    }
    return {name: value for name, value in arguments.items() if value}


def http_headers_of(options: PutOptions) -> dict[str, str]:
    """The same, as HTTP has it."""
    arguments = arguments_of(options)
    metadata: dict[str, str] = arguments.pop("Metadata", {})
    plain = {_HTTP_NAMES[name]: value for name, value in arguments.items()}
    return plain | {f"{_METADATA}{name}": value for name, value in metadata.items()}


def answer_of(headers: Mapping[str, str]) -> GetObjectOutputTypeDef:
    """What boto3 would make of these headers (names in lower case). Raises: ValueError if they are no S3 store's."""
    answer: dict[str, Any] = {name: headers[spelled] for name, spelled in _HTTP_NAMES.items() if spelled in headers}
    if "ContentLength" in answer:
        answer["ContentLength"] = int(answer["ContentLength"])
    answer["Metadata"] = {
        name.removeprefix(_METADATA): value for name, value in headers.items() if name.startswith(_METADATA)
    }
    return cast("GetObjectOutputTypeDef", answer)


def encode_metadata(value: str) -> str:
    """User metadata as a header can carry it: in the form of RFC 2047, as Amazon has it, where it must."""
    plain = value.isascii() and value.isprintable() and value == value.strip() and "=?" not in value
    return value if plain else f"=?UTF-8?B?{base64.b64encode(value.encode()).decode()}?="


def decode_metadata(value: str) -> str:
    """User metadata as it was meant. What cannot be read stays as it is."""
    if "=?" in value:
        try:
            return str(make_header(decode_header(value)))
        except (MessageError, LookupError, ValueError):
            return value
    return _text(value) or ""


def _text(value: str | None) -> str | None:
    """A header's value: servers send UTF-8, which Python's HTTP client reads as Latin-1."""
    try:
        return value and value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
