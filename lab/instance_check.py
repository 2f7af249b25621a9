"""Holding a bucket against what it should hold: with boto3 alone, object by object, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.instance_objects import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HEADERS = ("ContentType", "CacheControl", "ContentDisposition", "ContentLanguage", "ContentEncoding")
DOWNLOAD_THREADS = 8


def differences(
    client: S3Client, bucket: str, expected: Mapping[str, StoredObject], save_to: Path | None = None
) -> list[str]:
    """Compare keys, sizes, bytes, headers and user metadata; one line for everything that differs, by key.

    With `save_to`, every object that is expected and there is also written below that folder, its key as the path.
    """
    keys = set(iter_keys(client, bucket))
    found = [f"{key}: should not be there" for key in keys - expected.keys()]
    found += [f"{key}: is not there" for key in expected.keys() - keys]

    def compare(key: str) -> list[str]:
        answer = client.get_object(Bucket=bucket, Key=key)
        body = answer["Body"].read()
        if save_to is not None:
            path = save_to / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        return [f"{key}: {what}" for what in _differences_of(answer, body, expected[key])]

    with ThreadPoolExecutor(DOWNLOAD_THREADS) as pool:
        for lines in pool.map(compare, keys & expected.keys()):
            found += lines
    return sorted(found)


def iter_keys(client: S3Client, bucket: str) -> Iterator[str]:
    """Every key of a bucket."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            yield item["Key"]


def _differences_of(answer: Any, body: bytes, expected: StoredObject) -> Iterator[str]:  # noqa: ANN401 - boto3's
    if len(body) != expected.size:
        yield f"{len(body)} bytes instead of {expected.size}"
    elif body != expected.body():
        yield "other bytes"
    wanted = {"ContentType": expected.content_type, **expected.headers}
    for name in HEADERS:
        if answer.get(name) != wanted.get(name):
            yield f"{name} is {answer.get(name)!r} instead of {wanted.get(name)!r}"
    if answer["Metadata"] != wanted.get("Metadata", {}):
        yield f"metadata is {answer['Metadata']} instead of {wanted.get('Metadata', {})}"
