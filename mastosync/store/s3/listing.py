"""Listings of S3: what is asked for, and the documents that come back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import quote, unquote_plus

from mastosync.errors import ObjectRejected
from mastosync.language import tr
from mastosync.store.base import ListedObject, Page
from mastosync.store.s3.protocol import document_of, tag_of, unquoted
from mastosync.store.s3.translation import InvalidResponse

LONGEST_LISTING = 32 * 1024 * 1024
"""Bytes: a thousand keys of a thousand bytes, each encoded in the longest way, and more."""

LISTING_FIELDS = frozenset({"Name", "MaxKeys", "IsTruncated"})
"""A listing has at least one of these; what is no S3 store answers with none."""

_FIELDS = ("Key", "LastModified", "ETag", "Size")
_Columns = tuple[Mapping[str, str | None], Sequence[str], Sequence[str], Sequence[str], Sequence[str]]
"""What a listing says of itself; then `_FIELDS` of its objects, as they stand there."""

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


def checked_page(store_name: str, after: str, page: Page) -> Page:
    """A piece of a listing that lies where it was asked for. Raises: ObjectRejected, for it would never end."""
    for verb, found in zip(("begins", "ends"), (page.objects[:1], page.objects[-1:]), strict=True):
        if after and found and found[0].key <= after:
            raise ObjectRejected(
                f"cannot list the {store_name}: asked for what comes after {after!r}, it {verb} with {found[0].key!r}",
                hint=tr("this store ignores `start-after`: objects can only be asked for one by one"),
            )
    return page


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
    root = document_of(status, headers, body)
    about = {tag_of(child): child.text for child in root if not len(child)}
    if LISTING_FIELDS.isdisjoint(about):
        raise InvalidResponse("it is no listing")
    objects = [{tag_of(each): each.text or "" for each in found} for found in root if tag_of(found) == "Contents"]
    keys, modified, etags, sizes = ([fields.get(name, "") for fields in objects] for name in _FIELDS)
    return about, keys, modified, etags, sizes


def require_listing(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Take the body of a success for a listing, or find out what it is, as boto3 would.

    Raises: InvalidResponse if it is nothing of S3; ErrorResponse if it is an error after all.
    """
    if _USUAL_LISTING.match(body):
        return
    if LISTING_FIELDS.isdisjoint(map(tag_of, document_of(status, headers, body))):
        raise InvalidResponse("it is no listing")
