"""The listing that a store is checked by, as another client than boto3 gets it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mastosync.store.s3.errors import Unintelligible, refusal

QUERY = "encoding-type=url&list-type=2&max-keys=1"
"""What boto3 asks for; in this order, as not every libcurl sorts it for the signature."""

_OF_A_LISTING = frozenset({"Name", "MaxKeys", "IsTruncated"})  # what is no S3 store answers with none of these
_USUAL = re.compile(rb"(?:<\?xml[^>]*>\s*)?<ListBucketResult[ >].*<(?:Name|MaxKeys|IsTruncated)>", re.DOTALL)


def require_listing(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Take the body of a success for a listing, or find out what it is, as boto3 would.

    Raises: Unintelligible if it is nothing of S3; Refused if it is an error after all.
    """
    if _USUAL.match(body):
        return
    from xml.etree import ElementTree  # noqa: PLC0415 - hardly any store answers otherwise

    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - as botocore does, and there are 256 KiB of it at most
    except ElementTree.ParseError as error:
        raise Unintelligible("it is no XML") from error
    if status == 200 and root.tag == "Error":
        raise refusal(500, headers, body)  # which is what botocore makes of it
    if _OF_A_LISTING.isdisjoint(child.tag.rpartition("}")[2] for child in root):
        raise Unintelligible("it is no listing")
