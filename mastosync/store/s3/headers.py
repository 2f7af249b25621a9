"""Headers of objects: from answers, into boto3's arguments, into HTTP; and what answers tell of bytes, or refuse."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from email.errors import MessageError
from email.header import decode_header, make_header
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from mastosync.errors import CorruptObject, ObjectRejected
from mastosync.language import tr
from mastosync.model import ObjectHeaders, ObjectInfo, looks_like_md5
from mastosync.store.base import FetchedObject, Page
from mastosync.store.s3.errors import Refused, Unintelligible

if TYPE_CHECKING:
    from mastosync.store.base import PutOptions

_FOREIGN_ENCRYPTION = frozenset({"aws:kms", "aws:kms:dsse"})  # under these an ETag is no MD5
_CUSTOMER_KEY = "x-amz-server-side-encryption-customer-algorithm"
_METADATA = "x-amz-meta-"
_TOLD = ("content-type", "cache-control", "content-disposition", "content-language", "content-encoding")
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
    told = _told(*map(headers.get, _TOLD))
    metadata = [
        (name.removeprefix(_METADATA), decode_metadata(value))
        for name, value in headers.items()
        if name.startswith(_METADATA)
    ]
    if metadata:
        told = told._replace(metadata=tuple(sorted(metadata)))
    etag, stored = etag_of(headers), headers.get("last-modified")
    is_md5, storage_class = etag_is_md5(etag, headers), headers.get("x-amz-storage-class")
    return ObjectInfo(
        int(headers["content-length"]), etag, told, is_md5, last_modified=stored, storage_class=storage_class
    )


@lru_cache(maxsize=1024)
def _told(*values: str | None) -> ObjectHeaders:
    """What headers say, worked out once: most objects of a bucket have the same."""
    *texts, encoding = values
    content_type, cache_control, disposition, language = map(_text, texts)
    return ObjectHeaders(content_type, cache_control, disposition, language, _encoding(encoding))


def etag_of(headers: Mapping[str, str]) -> str:
    """The ETag, without quotes. Raises: KeyError if there is none."""
    return unquoted(headers["etag"])


def unquoted(etag: str) -> str:
    """An ETag without its quotes."""
    return etag.removeprefix("W/").strip('"')


def etag_is_md5(etag: str, headers: Mapping[str, str]) -> bool:
    """Whether an ETag, without quotes, is the MD5 of the object: by its form, and by the headers beside it."""
    foreign = headers.get("x-amz-server-side-encryption") in _FOREIGN_ENCRYPTION or _CUSTOMER_KEY in headers
    return looks_like_md5(etag) and not foreign


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
    metadata = {f"{_METADATA}{name}": encode_metadata(value) for name, value in headers.metadata}
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


def checked_object(key: str, store_name: str, info: ObjectInfo, data: bytes) -> FetchedObject:
    """An object that was read whole. Raises: CorruptObject if its bytes do not fit its ETag."""
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    require_own_md5(key, store_name, info, md5)
    return FetchedObject(info, data, md5)


def require_own_md5(key: str, store_name: str, info: ObjectInfo, md5: bytes) -> None:
    """Whether the bytes that were read are those of the object. Raises: CorruptObject if they do not fit its ETag."""
    if info.md5 is not None and info.md5 != md5:
        raise CorruptObject(
            f"cannot read {key!r} at {store_name}: its bytes have the MD5 {md5.hex()}, its ETag says {info.etag}",
            hint=tr("if every attempt fails, the object is damaged at the source"),
        )


def confirmed_etag(key: str, store_name: str, headers: Mapping[str, str], md5: bytes) -> str:
    """The ETag of a write, compared with what was sent where it is an MD5. Raises: CorruptObject."""
    etag = etag_of(headers)
    if etag.lower() != md5.hex() and etag_is_md5(etag, headers):
        raise CorruptObject(
            f"cannot write {key!r} at {store_name}: sent bytes with the MD5 {md5.hex()}, the store took in {etag}",
            hint=tr("bytes were changed on the way: if it happens again, check the network and this machine's memory"),
        )
    return etag


def checked_page(store_name: str, after: str, page: Page) -> Page:
    """A piece of a listing that begins where it was asked to. Raises: ObjectRejected, for it would never end."""
    if after and page.objects and page.objects[0].key <= after:
        raise ObjectRejected(
            f"cannot list the {store_name}: asked for what comes after {after!r}, it begins with "
            f"{page.objects[0].key!r}",
            hint=tr("this store ignores `start-after`: objects can only be asked for one by one"),
        )
    return page


def base64_of(digest: bytes) -> str:
    """A digest as the header Content-MD5 has it."""
    return base64.b64encode(digest).decode()


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refused | Unintelligible:
    """What an answer says that is no success."""
    if status <= 300:  # what botocore takes for a success
        return Unintelligible(f"its status is {status}")
    from mastosync.store.s3.boto_errors import parsed_refusal  # noqa: PLC0415 - most runs meet none

    return parsed_refusal(status, headers, body)
