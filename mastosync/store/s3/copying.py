"""The answer to CopyObject, as another client than boto3 gets it."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

from mastosync.store.s3.errors import Unintelligible, refusal
from mastosync.store.s3.headers import unquoted


def etag_of_copy(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """The ETag of the copy, without quotes.

    A store may begin to answer before it has copied, with blanks to keep the connection, and say
    only then that it failed. Raises: Refused if it says so; Unintelligible if it is nothing of S3.
    """
    body = body.strip()
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - as botocore does, and there are 256 KiB of it at most
    except ElementTree.ParseError as error:
        raise Unintelligible("it is no XML") from error
    if root.tag == "Error":
        raise refusal(500, headers, body)  # which is what botocore makes of it
    etag = next((child.text for child in root if child.tag.rpartition("}")[2] == "ETag"), None)
    if etag is None:
        raise Unintelligible("it names no ETag")
    return unquoted(etag)
