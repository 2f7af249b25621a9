"""The S3 protocol over HTTP: the headers of objects, the documents of answers, and what an answer says of bytes.

boto3 and libcurl share it. Of boto3 nothing is loaded here.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from email.errors import MessageError
from email.header import decode_header, make_header
from functools import lru_cache, partial
from http.client import responses
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote_plus

from mastosync.errors import CorruptObject, ObjectRejected
from mastosync.language import tr
from mastosync.model import ObjectHeaders, ObjectInfo, looks_like_md5
from mastosync.store.base import DigestUse, FetchedObject, ListedObject, Page, require_claimed
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

LONGEST_LISTING = 32 * 1024 * 1024
"""Bytes: a thousand keys of a thousand bytes, each encoded in the longest way, and more."""

LISTING_FIELDS = frozenset({"Name", "MaxKeys", "IsTruncated"})
"""A listing has at least one of these; what is no S3 store answers with none."""

_FIELDS = ("Key", "LastModified", "ETag", "Size")
_Columns = tuple[Mapping[str, str | None], Sequence[str], Sequence[str], Sequence[str], Sequence[str]]
"""What a listing says of itself; then `_FIELDS` of its objects, as they stand there."""

_PLAIN_SEGMENT = re.compile(r"[\w!()*,.:;=@~-]+", re.ASCII)
_LISTED = partial(tuple.__new__, ListedObject)  # of its fields: twice as fast as to name the class
_OF_TIMES = re.compile(r"[0-9T:.Z+-]*")
_LENGTHS = frozenset(range(10, 41))
_TIMESTAMP = re.compile(r"[0-9T:.Z+-]{10,40}")
_USUAL_LISTING = re.compile(rb"(?:<\?xml[^>]*>\s*)?<ListBucketResult[ >].*<(?:Name|MaxKeys|IsTruncated)>", re.DOTALL)
_BEGINNING = re.compile(
    rb"""(?:<\?xml\ version=["']1\.0["'](?:\ encoding=["'](?i:utf-8)["'])?(?:\ standalone=["']\w+["'])?\ ?\?>\s*)?
    <ListBucketResult[ >]""",
    re.VERBOSE,
)
_END = b"</ListBucketResult>"
_OTHER_ENTITY = re.compile(rb"&(?!amp;|lt;|gt;|apos;)")
_ABOUT_PAGE = re.compile(r"<(IsTruncated|EncodingType)>([^<]*)</")
_FIRST_OBJECT = re.compile(r"<Contents>.*?</Contents>", re.DOTALL)
_TAG_AND_TEXT = re.compile(r"<(/?\w+)>([^<]*)")


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
            hint=tr("if every attempt fails, the object is damaged at the source"),
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


def listing_query(max_keys: int, prefix: str = "", after: str = "") -> str:
    """What boto3 asks for; in this order, as not every libcurl sorts it for the signature."""
    asked = (("max-keys", str(max_keys)), ("prefix", prefix), ("start-after", after))
    return "&".join(
        ("encoding-type=url&list-type=2", *(f"{name}={quote(value, safe='~')}" for name, value in asked if value))
    )


def page_of(status: int, headers: Mapping[str, str], body: bytes) -> Page:
    """A page of a listing. Raises: as `require_listing`; ValueError if a size is no number."""
    columns = _columns_by_pattern(body)
    if columns is None:
        columns = _columns_by_parser(status, headers, body)
    about, keys, modified, etags, sizes = columns
    if about.get("EncodingType") == "url":
        keys = [unquote_plus(key) if "%" in key or "+" in key else key for key in keys]
    objects = map(_LISTED, zip(keys, map(int, sizes), map(unquoted, etags), _times(modified), strict=True))
    return Page(list(objects), about.get("IsTruncated") != "true")


def _times(modified: Sequence[str]) -> Sequence[str]:
    """Those that are times; others become empty. Mostly all are: one look at them together tells."""
    if _LENGTHS.issuperset(map(len, modified)) and _OF_TIMES.fullmatch("".join(modified)):
        return modified
    return [text if _TIMESTAMP.fullmatch(text) else "" for text in modified]


def _columns_by_pattern(body: bytes) -> _Columns | None:
    """A listing as most stores write it, read by one regular expression: a quarter off the processor time of `verify`.

    None: it is written otherwise. Here all objects have the same tags in the same order, without attributes, and
    nothing in the document takes a parser to be understood.
    """
    text = _plain(body)
    about: dict[str, str | None] = dict(_ABOUT_PAGE.findall(text))
    if "IsTruncated" not in about:
        return None
    if "<Contents" not in text:
        return about, (), (), (), ()
    first = _FIRST_OBJECT.search(text)
    pattern, order = _pattern_of(first[0]) if first else ("", ())
    if sorted(order) != sorted(_FIELDS):
        return None
    found = re.findall(pattern, text)
    if len(found) != text.count("<Contents"):
        return None
    columns: list[Sequence[str]] = list(zip(*found, strict=True))
    if "&" in text:
        columns = [list(map(_unescaped, column)) for column in columns]
    keys, modified, etags, sizes = (columns[order.index(field)] for field in _FIELDS)
    return about, keys, modified, etags, sizes


def _plain(body: bytes) -> str:
    """The document, if it is one that needs no parser, its quotes written as such; else an empty text."""
    body = body.replace(b"&quot;", b'"').replace(b"&#34;", b'"')  # around every ETag, and nowhere a part of the form
    if not _BEGINNING.match(body) or not body.endswith(_END, 0, len(body.rstrip())) or _needs_parser(body):
        return ""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return ""


def _needs_parser(body: bytes) -> bool:
    """Whether a parser makes something else of it. Each is looked for by itself: that is quicker than all at once."""
    return b"<!" in body or b"\r" in body or (b"&" in body and _OTHER_ENTITY.search(body) is not None)


def _unescaped(text: str) -> str:
    """A text with the characters that XML has names for."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&apos;", "'").replace("&amp;", "&")


def _pattern_of(first: str) -> tuple[str, Sequence[str]]:
    """A pattern of all objects that have the same tags as the first one, and what its groups are."""
    tags = _TAG_AND_TEXT.findall(first)
    if "".join(f"<{tag}>{text}" for tag, text in tags) != first:
        return "", ()  # there are attributes, or the like
    pattern = "".join(f"<{tag}>([^<]*)" if tag in _FIELDS else f"<{tag}>[^<]*" for tag, _ in tags)
    return pattern, [tag for tag, _ in tags if tag in _FIELDS]


def _columns_by_parser(status: int, headers: Mapping[str, str], body: bytes) -> _Columns:
    """Any listing. Raises: as `require_listing`."""
    root = _parsed(status, headers, body)
    about = {_name_of(child): child.text for child in root if not len(child)}
    if LISTING_FIELDS.isdisjoint(about):
        raise InvalidResponse("it is no listing")
    objects = [{_name_of(each): each.text or "" for each in found} for found in root if _name_of(found) == "Contents"]
    keys, modified, etags, sizes = ([fields.get(name, "") for fields in objects] for name in _FIELDS)
    return about, keys, modified, etags, sizes


def require_listing(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Take the body of a success for a listing, or find out what it is, as boto3 would.

    Raises: InvalidResponse if it is nothing of S3; ErrorResponse if it is an error after all.
    """
    if _USUAL_LISTING.match(body):
        return
    if LISTING_FIELDS.isdisjoint(map(_name_of, _parsed(status, headers, body))):
        raise InvalidResponse("it is no listing")


def require_no_error(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Take a success that need not say anything for one, or find out what it is, as boto3 would.

    Raises: as `require_listing`.
    """
    if body.strip():
        _parsed(status, headers, body)


def etag_of_copy(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """The ETag of a copy, without quotes.

    A store may begin to answer before it has copied, with blanks to keep the connection, and say
    only then that it failed. Raises: as `require_listing`.
    """
    root = _parsed(status, headers, body.strip())
    etag = next((child.text for child in root if _name_of(child) == "ETag"), None)
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
            inner = root if root.tag == "Error" else next((each for each in root if _name_of(each) == "Error"), ())
            error = {_name_of(each): each.text or "" for each in inner}
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


def _parsed(status: int, headers: Mapping[str, str], body: bytes) -> Element:
    """The document. Raises: InvalidResponse if it is none; ErrorResponse if it says that the success is an error."""
    from xml.etree import ElementTree  # noqa: PLC0415 - most runs need none

    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - as botocore does, and there are 32 MiB of it at most
    except ElementTree.ParseError as error:
        raise InvalidResponse("it is no XML") from error
    if status == 200 and root.tag == "Error":
        raise error_response(500, headers, body)  # which is what botocore makes of it
    return root


def _name_of(element: Element) -> str:
    """The name of an element, without its namespace."""
    return element.tag.rpartition("}")[2]
