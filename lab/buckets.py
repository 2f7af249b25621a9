"""Two fresh buckets, and nothing left of them."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import filterfalse
from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.exceptions import ClientError

from lab.addresses import S3Address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class BucketPair:
    """Two empty buckets of one store, and a client for it. Others use the same store: look at these two only."""

    address: S3Address
    client: S3Client
    source: str
    destination: str

    def status_for_anybody(self, key: str) -> int:
        """The status that somebody without credentials gets for an object of the destination."""
        url = f"{self.address.endpoint_url}/{self.destination}/{quote(key)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - http
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with contextlib.closing(error):
                return error.code


@contextlib.contextmanager
def bucket_pair(address: S3Address, client: S3Client) -> Iterator[BucketPair]:
    """Two buckets with names of their own; emptied and deleted at the end."""
    name = f"t-{uuid.uuid4().hex[:16]}"
    pair = BucketPair(address, client, f"{name}-source", f"{name}-destination")
    try:
        for bucket in (pair.source, pair.destination):
            client.create_bucket(Bucket=bucket)
        yield pair
    finally:
        for bucket in (pair.source, pair.destination):
            delete_bucket(client, bucket)


def delete_bucket(client: S3Client, bucket: str) -> None:
    """Delete a bucket with all that is in it. One that is gone is no error."""
    try:
        # SeaweedFS does that at one go
        client.delete_bucket(Bucket=bucket)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "BucketNotEmpty":
            _empty(client, bucket)
            client.delete_bucket(Bucket=bucket)
        elif code != "NoSuchBucket":
            raise


def _empty(client: S3Client, bucket: str) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        keys = [item["Key"] for item in page.get("Contents", [])]
        for key in filterfalse(str.isprintable, keys):  # no XML can name some of these
            client.delete_object(Bucket=bucket, Key=key)
        if usual := [key for key in keys if key.isprintable()]:
            client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in usual], "Quiet": True})
    for unfinished in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        client.abort_multipart_upload(Bucket=bucket, Key=unfinished["Key"], UploadId=unfinished["UploadId"])
