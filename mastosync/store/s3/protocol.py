"""The S3 protocol over HTTP: the headers of objects, the documents of answers, and what an answer says of bytes.

boto3 and libcurl share it. Of boto3 nothing is loaded here.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from email.errors import MessageError
from email.header import decode_header, make_header
from functools import lru_cache
from http.client import responses
from typing import TYPE_CHECKING, Any, cast

from mastosync.errors import CorruptObject, ObjectRejected
from mastosync.language import say, tr
from mastosync.model import ObjectHeaders, ObjectInfo, looks_like_md5
from mastosync.store.base import DAMAGED_AT_SOURCE, DAMAGED_ON_THE_WAY, DigestUse, FetchedObject, require_claimed
from mastosync.store.s3.translation import ErrorResponse, InvalidResponse

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from mastosync.store.base import PutOptions

_FOREIGN_ENCRYPTION = frozenset({"aws:kms", "aws:kms:dsse"})  # under these an ETag is no MD5
_CUSTOMER_KEY = "x-amz-server-side-encryption-customer-algorithm"
_METADATA = "x-amz-meta-"
_DESCRIBING = {
    "content-type": "ContentType",
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-language": "ContentLanguage",
    "content-encoding": "ContentEncoding",
}  # in the order of `ObjectHeaders`; and what boto3 calls them
_ARGUMENTS = _DESCRIBING | {"x-amz-acl": "ACL", "x-amz-storage-class": "StorageClass"}


_PLAIN_SEGMENT = re.compile(r"[\w!()*,.:;=@~-]+", re.ASCII)


def is_plain(key: str) -> bool:
    """Whether every store that reads a key in XML will take it for just this one."""
    return all(_PLAIN_SEGMENT.fullmatch(segment) and segment.strip(".") for segment in key.split("/"))


def headers_of(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """The headers of an answer that boto3 gave, names in lower case. Raises: KeyError if it is no answer."""
    return cast("Mapping[str, str]", answer["ResponseMetadata"]["HTTPHeaders"])


def info_of(headers: Mapping[str, str]) -> ObjectInfo:
    """What an answer says of an object. Raises: KeyError, ValueError if it is not from an S3 store."""
    described = _described(*map(headers.get, _DESCRIBING))
    metadata = [
        (name.removeprefix(_METADATA), decode_metadata(value))
        for name, value in headers.items()
        if name.startswith(_METADATA)
    ]
    if metadata:
        described = described._replace(metadata=tuple(sorted(metadata)))
    etag, stored = etag_of(headers), headers.get("last-modified")
    is_md5, storage_class = etag_is_md5(etag, headers), headers.get("x-amz-storage-class")
    return ObjectInfo(
        int(headers["content-length"]), etag, described, is_md5, last_modified=stored, storage_class=storage_class
    )


@lru_cache(maxsize=1024)
def _described(*values: str | None) -> ObjectHeaders:
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
    values = (*headers[:-1], options.acl, options.storage_class)  # all but the metadata, in the order of `_ARGUMENTS`
    carried = {name: value for name, value in zip(_ARGUMENTS, values, strict=True) if value}
    for name, value in headers.metadata:
        carried[f"{_METADATA}{name}"] = encode_metadata(value)
    return carried


def arguments_of(options: PutOptions) -> dict[str, Any]:
    """The headers and metadata of a write, as boto3 takes them."""
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


def checked_object(
    key: str, store_name: str, info: ObjectInfo, data: bytes, digest: DigestUse = DigestUse.COMPUTED
) -> FetchedObject:
    """An object that was read whole. Raises: CorruptObject if its bytes do not fit its ETag."""
    if digest is DigestUse.CLAIMED and info.etag_is_md5:
        return FetchedObject(info, data, info.md5)
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    require_own_md5(key, store_name, info, md5)
    return FetchedObject(info, data, md5)


def require_own_md5(key: str, store_name: str, info: ObjectInfo, md5: bytes) -> None:
    """Require that the bytes fit the ETag, if that is an MD5. Raises: CorruptObject."""
    if info.md5 is not None and info.md5 != md5:
        raise CorruptObject(
            f"cannot read {key!r} at {store_name}: its bytes have the MD5 {md5.hex()}, its ETag says {info.etag}",
            hint=say(DAMAGED_AT_SOURCE),
        )


def confirmed_etag(
    key: str, store_name: str, headers: Mapping[str, str], md5: bytes, claimed: bytes | None = None
) -> str:
    """The ETag of a write, compared with what was sent where it is an MD5.

    `claimed`: what was sent, if its MD5 is only claimed: where the ETag does not prove it, it is computed.
    Raises: CorruptObject, ClaimedDigestWrong.
    """
    etag = etag_of(headers)
    if etag.lower() == md5.hex():
        return etag
    if claimed is not None:
        require_claimed(key, store_name, claimed, md5)
    if etag_is_md5(etag, headers):
        raise CorruptObject(
            f"cannot write {key!r} at {store_name}: sent bytes with the MD5 {md5.hex()}, the store took in {etag}",
            hint=say(DAMAGED_ON_THE_WAY),
        )
    return etag


def require_range(what: str, size_bytes: int, headers: Mapping[str, str], start: int, length: int) -> None:
    """Require that an answer has just this range of an object. Raises: ObjectRejected.

    `what`: the object, with its store, for people; it has `size_bytes`.
    """
    expected = f"bytes {start}-{start + length - 1}"
    # a store that passes over what it is asked for sends the whole
    sent = headers.get("content-range", f"bytes 0-{size_bytes - 1}").partition("/")[0]
    if sent != expected or int(headers["content-length"]) != length:
        raise ObjectRejected(
            f"cannot read {what}: asked for {expected}, it sends {sent[:80]!r}",
            hint=tr("this store serves no ranges: to a bucket, raise `multipart_threshold` above this size"),
        )


def base64_of(digest: bytes) -> str:
    """A digest as the header Content-MD5 has it."""
    return base64.b64encode(digest).decode()


def require_no_error(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Take a success that need not say anything for one, or find out what it is, as boto3 would.

    Raises: as `require_listing`.
    """
    if body.strip():
        document_of(status, headers, body)


def etag_of_copy(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """The ETag of a copy, without quotes.

    A store may begin to answer before it has copied, with blanks to keep the connection, and say
    only then that it failed. Raises: as `require_listing`.
    """
    root = document_of(status, headers, body.strip())
    etag = next((child.text for child in root if tag_of(child) == "ETag"), None)
    if etag is None:
        raise InvalidResponse("it names no ETag")
    return unquoted(etag)


def error_response(status: int, headers: Mapping[str, str], body: bytes) -> ErrorResponse | InvalidResponse:
    """What an answer says that is no success, as botocore reads it; a body that is no XML tells nothing."""
    if status <= 300:  # what botocore takes for a success
        return InvalidResponse(f"its status is {status}")
    error = {"Code": str(status), "Message": responses.get(status, "")}
    if body.strip() and not (status >= 500 and body.lstrip().startswith(b"<html>")):
        from xml.etree import ElementTree  # noqa: PLC0415 - most runs need none

        parser = ElementTree.XMLParser(encoding="utf-8")  # noqa: S314 - as botocore does; libcurl takes in no more
        try:
            root = ElementTree.fromstring(body, parser)  # noqa: S314 - the same
            inner = root if root.tag == "Error" else next((each for each in root if tag_of(each) == "Error"), ())
            error = {tag_of(each): each.text or "" for each in inner}
        except ElementTree.ParseError:
            pass
    return error_response_of(status, headers, error, has_body=bool(body))


def error_response_of(
    status: int, headers: Mapping[str, str], error: Mapping[str, str], *, has_body: bool
) -> ErrorResponse:
    """The refusal that the fields of an error document stand for. `headers`: names in any case."""
    return ErrorResponse(
        status=status,
        code=error.get("Code", ""),
        # Google says `Invalid argument.`, and which one in the details
        message=" ".join(error[part] for part in ("Message", "Details") if error.get(part)),
        headers={name.lower(): value for name, value in headers.items()},
        has_body=has_body,
    )


def document_of(status: int, headers: Mapping[str, str], body: bytes) -> Element:
    """The document. Raises: InvalidResponse if it is none; ErrorResponse if it says that the success is an error."""
    from xml.etree import ElementTree  # noqa: PLC0415 - most runs need none

    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - as botocore does, and there are 32 MiB of it at most
    except ElementTree.ParseError as error:
        raise InvalidResponse("it is no XML") from error
    if status == 200 and root.tag == "Error":
        raise error_response(500, headers, body)  # which is what botocore makes of it
    return root


def tag_of(element: Element) -> str:
    """The name of an element, without its namespace."""
    return element.tag.rpartition("}")[2]
