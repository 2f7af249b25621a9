"""The bodies of successes that tell something, as another client than boto3 gets them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mastosync.store.s3.errors import Unintelligible, refusal
from mastosync.store.s3.headers import unquoted

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LISTING = "encoding-type=url&list-type=2&max-keys=1"
"""The query of the listing that boto3 asks for; in this order, as not every libcurl sorts it for the signature."""

_OF_A_LISTING = frozenset({"Name", "MaxKeys", "IsTruncated"})  # what is no S3 store answers with none of these
_USUAL = re.compile(rb"(?:<\?xml[^>]*>\s*)?<ListBucketResult[ >].*<(?:Name|MaxKeys|IsTruncated)>", re.DOTALL)


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
