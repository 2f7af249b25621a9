"""Buckets that hold a made-up instance and are read by many tests: filled once a session, when one is needed first."""

from __future__ import annotations

import fcntl
import hashlib
import json
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.faultlab.world import listed
from scripts.lab.addresses import DatabaseAddress, S3Address
from scripts.lab.buckets import BucketPair
from scripts.lab.instance import populate
from scripts.lab.instance_objects import Instance


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
        self, reader: str, database: DatabaseAddress, buckets: BucketPair, arguments: dict[str, Any]
    ) -> Instance:
        """An instance whose tables are in a database of the test's own, and whose objects are everybody's.

        `reader`: the test. `arguments` are those of `populate`.
        """
        name = "shared-" + hashlib.sha256(repr((buckets.address, sorted(arguments.items()))).encode()).hexdigest()[:24]
        as_filled = self._folder / f"{name}.json"
        instance = None
        with (self._folder / f"{name}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not as_filled.exists():
                buckets.client.create_bucket(Bucket=name)
                instance = populate(database, buckets.client, name, **arguments)
                as_filled.write_text(json.dumps(listed(buckets.client, name)), encoding="utf-8")
        instance = instance or populate(database, buckets.client, name, stored=True, **arguments)
        source = self._sources.setdefault(name, _Source(buckets.address, set(instance.at_source()), as_filled))
        source.readers.append(reader)
        return instance

    def require_untouched(self) -> None:
        """Fail if any is not as it was. Looked at once, in the end: to list one takes as long as many a test."""
        for name, source in self._sources.items():
            with closing(source.address.client()) as client:
                after = listed(client, name)
            before = json.loads(source.as_filled.read_text(encoding="utf-8"))
            blame = f"a source that others read is changed: give own_source=True to whoever did it of {source.readers}"
            assert after.keys() == source.keys, blame
            assert after == before, blame
