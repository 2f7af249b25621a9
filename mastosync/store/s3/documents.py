"""The bodies of successes that tell something, as another client than boto3 gets them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

from mastosync.store.base import ListedObject, Page
from mastosync.store.s3.errors import Unintelligible
from mastosync.store.s3.headers import refusal, unquoted

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LONGEST_LISTING = 32 * 1024 * 1024
"""Bytes: a thousand keys of a thousand bytes, each encoded in the longest way, and more."""

_OF_A_LISTING = frozenset({"Name", "MaxKeys", "IsTruncated"})  # what is no S3 store answers with none of these
_STAMP = re.compile(r"[0-9T:.Z+-]{10,40}")
_FIELDS = ("Key", "LastModified", "ETag", "Size")
_FIRST = re.compile(r"<Contents>.*?</Contents>", re.DOTALL)
_TAG_AND_TEXT = re.compile(r"<(/?\w+)>([^<]*)")
_BEGINNING = re.compile(
    rb"""(?:<\?xml\ version=["']1\.0["'](?:\ encoding=["'](?i:utf-8)["'])?(?:\ standalone=["']\w+["'])?\ ?\?>\s*)?
    <ListBucketResult[ >]""",
    re.VERBOSE,
)
_END = b"</ListBucketResult>"
_OF_A_PARSER = re.compile(rb"<!|\r|&(?!amp;|lt;|gt;|apos;)")  # what a parser makes something else of
_TOLD_OF_ALL = re.compile(r"<(IsTruncated|EncodingType)>([^<]*)</")
_USUAL = re.compile(rb"(?:<\?xml[^>]*>\s*)?<ListBucketResult[ >].*<(?:Name|MaxKeys|IsTruncated)>", re.DOTALL)


def listing_query(max_keys: int, prefix: str = "", after: str = "") -> str:
    """What boto3 asks for; in this order, as not every libcurl sorts it for the signature."""
    asked = (("max-keys", str(max_keys)), ("prefix", prefix), ("start-after", after))
    return "&".join(
        ("encoding-type=url&list-type=2", *(f"{name}={quote(value, safe='~')}" for name, value in asked if value))
    )


def page_of(status: int, headers: Mapping[str, str], body: bytes) -> Page:
    """A piece of a listing. Raises: as `require_listing`; ValueError if a size is no number."""
    columns = _usual_columns(body)
    if columns is None:
        columns = _columns(status, headers, body)
    told, keys, modified, etags, sizes = columns
    if told.get("EncodingType") == "url":
        keys = [unquote_plus(key) if "%" in key or "+" in key else key for key in keys]
    stamps = [text if _STAMP.fullmatch(text) else "" for text in modified]
    objects = list(map(ListedObject, keys, map(int, sizes), map(unquoted, etags), stamps))
    return Page(objects, told.get("IsTruncated") != "true")


_Columns = tuple[Mapping[str, str | None], Sequence[str], Sequence[str], Sequence[str], Sequence[str]]
"""What a listing tells of itself, and of its objects, as it stands there: keys, times, ETags, sizes."""


def _usual_columns(body: bytes) -> _Columns | None:
    """A listing as most stores write it, which is taken apart several times faster than any XML. None: it is another.

    All objects are told by the same tags in the same order, without attributes, and nothing in the document takes a
    parser to be understood.
    """
    text = _plain(body)
    told: dict[str, str | None] = dict(_TOLD_OF_ALL.findall(text))
    if "IsTruncated" not in told:
        return None
    if "<Contents" not in text:
        return told, (), (), (), ()
    first = _FIRST.search(text)
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
    return told, keys, modified, etags, sizes


def _plain(body: bytes) -> str:
    """The document, if it is one that needs no parser, its quotes written as such; else an empty text."""
    body = body.replace(b"&quot;", b'"').replace(b"&#34;", b'"')  # around every ETag, and nowhere a part of the form
    if not _BEGINNING.match(body) or not body.endswith(_END, 0, len(body.rstrip())) or _OF_A_PARSER.search(body):
        return ""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return ""


def _unescaped(text: str) -> str:
    """A text with the characters that XML has names for."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&apos;", "'").replace("&amp;", "&")


def _pattern_of(told: str) -> tuple[str, Sequence[str]]:
    """A pattern of all objects that are told by the same tags as this one, and what its groups are."""
    tags = _TAG_AND_TEXT.findall(told)
    if "".join(f"<{tag}>{text}" for tag, text in tags) != told:
        return "", ()  # there are attributes, or the like
    pattern = "".join(f"<{tag}>([^<]*)" if tag in _FIELDS else f"<{tag}>[^<]*" for tag, _ in tags)
    return pattern, [tag for tag, _ in tags if tag in _FIELDS]


def _columns(status: int, headers: Mapping[str, str], body: bytes) -> _Columns:
    """Any listing. Raises: as `require_listing`."""
    root = _parsed(status, headers, body)
    told = {_name_of(child): child.text for child in root if not len(child)}
    if _OF_A_LISTING.isdisjoint(told):
        raise Unintelligible("it is no listing")
    objects = [
        {_name_of(field): field.text or "" for field in found} for found in root if _name_of(found) == "Contents"
    ]
    keys, modified, etags, sizes = ([fields.get(name, "") for fields in objects] for name in _FIELDS)
    return told, keys, modified, etags, sizes


def require_listing(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Take the body of a success for a listing, or find out what it is, as boto3 would.

    Raises: Unintelligible if it is nothing of S3; Refused if it is an error after all.
    """
    if _USUAL.match(body):
        return
    if _OF_A_LISTING.isdisjoint(map(_name_of, _parsed(status, headers, body))):
        raise Unintelligible("it is no listing")


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
        raise Unintelligible("it names no ETag")
    return unquoted(etag)


def _parsed(status: int, headers: Mapping[str, str], body: bytes) -> Element:
    """The document. Raises: Unintelligible if it is none; Refused if it says that the success is an error."""
    from xml.etree import ElementTree  # noqa: PLC0415 - most runs need none

    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - as botocore does, and there are 32 MiB of it at most
    except ElementTree.ParseError as error:
        raise Unintelligible("it is no XML") from error
    if status == 200 and root.tag == "Error":
        raise refusal(500, headers, body)  # which is what botocore makes of it
    return root


def _name_of(element: Element) -> str:
    return element.tag.rpartition("}")[2]
