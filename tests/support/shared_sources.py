"""Buckets that hold a made-up instance and are read by many tests, and databases that those of the tests are copies of.

They are filled once a session, when one is needed first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import pickle
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faultlab.world import listed
from lab.addresses import PostgresAddress, S3Address
from lab.buckets import BucketPair
from lab.instance import populate
from lab.instance_objects import Instance


@dataclass
class _Source:
    """A bucket, as it was when it was filled."""

    address: S3Address
    keys: set[str]
    as_filled: Path  # what a listing told, as JSON
    readers: list[str] = field(default_factory=list)  # tests


class SharedSources:
    """Those that the tests of one process have read."""

    def __init__(self, folder: Path) -> None:
        """`folder` is that of the session's lab, which all processes of a run share."""
        self._folder = folder
        self._sources: dict[str, _Source] = {}

    def instance(
        self, reader: str, server: PostgresAddress, buckets: BucketPair, arguments: dict[str, Any]
    ) -> tuple[Instance, str]:
        """An instance whose objects are everybody's, and the database to copy for tables of the test's own.

        `reader`: the test. `arguments` are those of `populate`.
        """
        digest = hashlib.sha256(repr((buckets.address, sorted(arguments.items()))).encode()).hexdigest()[:24]
        bucket, database = f"shared-{digest}", f"shared_{digest}"
        as_filled, pickled = self._folder / f"{bucket}.json", self._folder / f"{bucket}.pickle"
        with (self._folder / f"{bucket}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not as_filled.exists():
                buckets.client.create_bucket(Bucket=bucket)
                made = populate(server.create_database(database), buckets.client, bucket, **arguments)
                pickled.write_bytes(pickle.dumps(made))
                as_filled.write_text(json.dumps(listed(buckets.client, bucket)), encoding="utf-8")
        instance: Instance = pickle.loads(pickled.read_bytes())  # noqa: S301 - of this very session
        source = self._sources.setdefault(bucket, _Source(buckets.address, set(instance.at_source()), as_filled))
        source.readers.append(reader)
        return instance, database

    def require_untouched(self) -> None:
        """Fail if any is not as it was. Looked at once, in the end: to list one takes as long as many a test."""
        for name, source in self._sources.items():
            with closing(source.address.client()) as client:
                after = listed(client, name)
            before = json.loads(source.as_filled.read_text(encoding="utf-8"))
            blame = f"a source that others read is changed: give own_source=True to whoever did it of {source.readers}"
            assert after.keys() == source.keys, blame
            assert after == before, blame
