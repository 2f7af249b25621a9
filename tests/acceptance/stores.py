"""Looking at a destination without mastosync: does it hold what it should, to the byte and header?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from scripts.lab.instance_objects import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_HEADERS = ("ContentType", "CacheControl", "ContentDisposition", "ContentLanguage", "ContentEncoding", "Metadata")


def keys_in(client: S3Client, bucket: str) -> set[str]:
    """Every key of a bucket."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {found["Key"] for page in pages for found in page.get("Contents", [])}


def assert_holds(client: S3Client, bucket: str, expected: Mapping[str, StoredObject]) -> None:
    """Exactly these keys, each with these bytes and headers, and no upload left open."""
    assert keys_in(client, bucket) == expected.keys()
    with ThreadPoolExecutor(8) as pool:
        differences = list(pool.map(lambda key: _difference(client, bucket, key, expected[key]), expected))
    assert [text for text in differences if text] == []
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


def assert_untouched(client: S3Client, bucket: str, expected: Iterable[str]) -> None:
    """The source still holds what it held."""
    assert keys_in(client, bucket) == set(expected)


def _difference(client: S3Client, bucket: str, key: str, wanted: StoredObject) -> str:
    answer: Any = client.get_object(Bucket=bucket, Key=key)
    digest = hashlib.md5(answer["Body"].read()).hexdigest()
    if digest != wanted.md5:
        return f"{key}: MD5 {digest}, not {wanted.md5}"
    arguments = wanted.put_arguments()
    found = {name: answer.get(name) or None for name in _HEADERS}
    return "".join(
        f"{key}: {name} {found[name]!r}, not {arguments.get(name)!r}; "
        for name in _HEADERS
        if found[name] != (arguments.get(name) or None)
    )
