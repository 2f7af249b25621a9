"""Buckets that hold a made-up instance and are read by many tests: filled once a session, when one is needed first."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.faultlab.world import listed
from scripts.lab.addresses import DatabaseAddress
from scripts.lab.buckets import BucketPair
from scripts.lab.instance import populate
from scripts.lab.instance_objects import Instance

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@contextmanager
def shared_source(
    folder: Path, database: DatabaseAddress, buckets: BucketPair, arguments: dict[str, Any]
) -> Iterator[Instance]:
    """An instance whose tables are in a database of the test's own, and whose objects are everybody's.

    `folder` is that of the session's lab, which all processes of a run share, and `arguments` are those of `populate`.
    Fails at the end if the bucket is not as it was.
    """
    name = "shared-" + hashlib.sha256(repr((buckets.address, sorted(arguments.items()))).encode()).hexdigest()[:24]
    as_filled = folder / f"{name}.json"
    instance = None
    with (folder / f"{name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not as_filled.exists():
            buckets.client.create_bucket(Bucket=name)
            instance = populate(database, buckets.client, name, **arguments)
            as_filled.write_text(json.dumps(listed(buckets.client, name)), encoding="utf-8")
    instance = instance or populate(database, buckets.client, name, stored=True, **arguments)
    yield instance
    _require_untouched(buckets.client, name, instance, json.loads(as_filled.read_text(encoding="utf-8")))


def _require_untouched(client: S3Client, bucket: str, instance: Instance, before: dict[str, str]) -> None:
    after = listed(client, bucket)
    assert after.keys() == instance.at_source().keys(), "a source that others read is changed: take own_source=True"
    assert after == before, "a source that others read is changed: take own_source=True"
