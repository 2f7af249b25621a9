"""The bodies of successes that tell something, as another client than boto3 gets them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

from mastosync.store.base import ListedObject, Page
from mastosync.store.s3.errors import Unintelligible, refusal
from mastosync.store.s3.headers import unquoted

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LONGEST_LISTING = 32 * 1024 * 1024
"""Bytes: a thousand keys of a thousand bytes, each encoded in the longest way, and more."""

_OF_A_LISTING = frozenset({"Name", "MaxKeys", "IsTruncated"})  # what is no S3 store answers with none of these
_STAMP = re.compile(r"[0-9T:.Z+-]{10,40}")
_USUAL = re.compile(rb"(?:<\?xml[^>]*>\s*)?<ListBucketResult[ >].*<(?:Name|MaxKeys|IsTruncated)>", re.DOTALL)


def listing_query(max_keys: int, prefix: str = "", after: str = "") -> str:
    """What boto3 asks for; in this order, as not every libcurl sorts it for the signature."""
    asked = (("max-keys", str(max_keys)), ("prefix", prefix), ("start-after", after))
    return "&".join(
        ("encoding-type=url&list-type=2", *(f"{name}={quote(value, safe='~')}" for name, value in asked if value))
    )


def page_of(status: int, headers: Mapping[str, str], body: bytes) -> Page:
    """A piece of a listing. Raises: as `require_listing`; ValueError if a size is no number."""
    root = _parsed(status, headers, body)
    told = {_name_of(child): child.text for child in root if not len(child)}
    if _OF_A_LISTING.isdisjoint(told):
        raise Unintelligible("it is no listing")
    decoded = unquote_plus if told.get("EncodingType") == "url" else str
    objects = []
    for found in root:
        if _name_of(found) == "Contents":
            fields = {_name_of(field): field.text or "" for field in found}
            modified = fields.get("LastModified", "")
            objects.append(
                ListedObject(
                    decoded(fields.get("Key", "")),
                    int(fields.get("Size", "")),
                    unquoted(fields.get("ETag", "")),
                    modified if _STAMP.fullmatch(modified) else "",
                )
            )
    return Page(objects, told.get("IsTruncated") != "true")


def require_listing(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Take the body of a success for a listing, or find out what it is, as boto3 would.

    Raises: Unintelligible if it is nothing of S3; Refused if it is an error after all.
    """
    if _USUAL.match(body):
        return
    if _OF_A_LISTING.isdisjoint(map(_name_of, _parsed(status, headers, body))):
        raise Unintelligible("it is no listing")


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
        root = ElementTree.fromstring(body)  # noqa: S314 - as botocore does, and there are 256 KiB of it at most
    except ElementTree.ParseError as error:
        raise Unintelligible("it is no XML") from error
    if status == 200 and root.tag == "Error":
        raise refusal(500, headers, body)  # which is what botocore makes of it
    return root


def _name_of(element: Element) -> str:
    return element.tag.rpartition("}")[2]
