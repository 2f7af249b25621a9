"""The headers that travel with an object: from answers, into boto3's arguments, and into HTTP."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from email.errors import MessageError
from email.header import decode_header, make_header
from typing import TYPE_CHECKING, Any, cast

from mastosync.model import ObjectHeaders, ObjectInfo, looks_like_md5

if TYPE_CHECKING:
    from mastosync.store.base import PutOptions

_FOREIGN_ENCRYPTION = frozenset({"aws:kms", "aws:kms:dsse"})  # under these an ETag is no MD5
_CUSTOMER_KEY = "x-amz-server-side-encryption-customer-algorithm"
_METADATA = "x-amz-meta-"
_ARGUMENTS = {
    "content-type": "ContentType",
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-language": "ContentLanguage",
    "content-encoding": "ContentEncoding",
    "x-amz-acl": "ACL",
    "x-amz-storage-class": "StorageClass",
}


def headers_of(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """The headers of an answer that boto3 gave, names in lower case. Raises: KeyError if it is no answer."""
    return cast("Mapping[str, str]", answer["ResponseMetadata"]["HTTPHeaders"])


def info_of(headers: Mapping[str, str]) -> ObjectInfo:
    """What an answer says of an object. Raises: KeyError, ValueError if it is not from an S3 store."""
    told = ObjectHeaders(
        content_type=_text(headers.get("content-type")),
        cache_control=_text(headers.get("cache-control")),
        content_disposition=_text(headers.get("content-disposition")),
        content_language=_text(headers.get("content-language")),
        content_encoding=_encoding(headers.get("content-encoding")),
        metadata={
            name.removeprefix(_METADATA): decode_metadata(value)
            for name, value in headers.items()
            if name.startswith(_METADATA)
        },
    )
    return ObjectInfo(int(headers["content-length"]), etag_of(headers), told, etag_is_md5=etag_is_md5(headers))


def etag_of(headers: Mapping[str, str]) -> str:
    """The ETag, without quotes. Raises: KeyError if there is none."""
    return unquoted(headers["etag"])


def unquoted(etag: str) -> str:
    """An ETag without its quotes."""
    return etag.removeprefix("W/").strip('"')


def etag_is_md5(headers: Mapping[str, str]) -> bool:
    """Whether the ETag is the MD5 of the object."""
    foreign = headers.get("x-amz-server-side-encryption") in _FOREIGN_ENCRYPTION or _CUSTOMER_KEY in headers
    return looks_like_md5(etag_of(headers)) and not foreign


def http_headers_of(options: PutOptions) -> dict[str, str]:
    """What a request for a new object carries."""
    headers = options.headers
    carried = {
        "content-type": headers.content_type,
        "cache-control": headers.cache_control,
        "content-disposition": headers.content_disposition,
        "content-language": headers.content_language,
        "content-encoding": headers.content_encoding,
        "x-amz-acl": options.acl,
        "x-amz-storage-class": options.storage_class,
    }
    metadata = {f"{_METADATA}{name}": encode_metadata(value) for name, value in headers.metadata.items()}
    return {name: value for name, value in carried.items() if value} | metadata


def arguments_of(options: PutOptions) -> dict[str, Any]:
    """The same, as boto3 takes it."""
    headers = http_headers_of(options)
    arguments: dict[str, Any] = {name: headers[header] for header, name in _ARGUMENTS.items() if header in headers}
    metadata = {name.removeprefix(_METADATA): text for name, text in headers.items() if name.startswith(_METADATA)}
    return {**arguments, "Metadata": metadata} if metadata else arguments


def _encoding(value: str | None) -> str | None:
    """Without how an old client sent it, which some stores took for a property of the object."""
    encodings = [encoding.strip() for encoding in (value or "").split(",")]
    return ",".join(encoding for encoding in encodings if encoding not in ("", "aws-chunked")) or None


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
    if value is None or value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
