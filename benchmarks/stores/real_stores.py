"""SeaweedFS in place of the null store: signatures are checked, objects are listed and kept, and all that costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.bench import Bench
from benchmarks.objects import BenchObject, upload
from benchmarks.rivals import Stage
from benchmarks.stores.ends import Bucket
from lab.addresses import S3Address
from lab.buckets import delete_bucket
from lab.client import Lab
from lab.faults import FaultProxy

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class RealStores:
    """One or two SeaweedFS, each also behind a proxy that counts, for as long as they are entered."""

    def __init__(self, bench: Bench, number: int) -> None:
        """With one, source and destination are buckets of the same store."""
        self._folder = bench.disk
        self._lab = Lab(bench.memory, s3=number)
        self._stack = ExitStack()
        self._proxies: list[FaultProxy] = []
        self._clients: dict[str, S3Client] = {}

    def __enter__(self) -> RealStores:
        try:
            self._stack.enter_context(self._lab)
            self._proxies = [self._stack.enter_context(FaultProxy(each.endpoint_url)) for each in self._lab.s3]
            for each in self._lab.s3:
                self._clients[each.endpoint_url] = client = each.client()
                self._stack.callback(client.close)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def requests(self) -> Counter[str]:
        """How many requests of each S3 operation went through the proxies so far."""
        return Counter(exchange.request.operation for proxy in self._proxies for exchange in proxy.requests)

    def stage(self, name: str, objects: Sequence[BenchObject], workers: int, *, counted: bool = False) -> Stage:
        """Two buckets of this name, with the objects in the first; `counted`: clients are sent to the proxies."""
        old, new = self._lab.s3[0], self._lab.s3[-1]
        here, there = f"{name}-source", f"{name}-destination"
        source, destination = self._clients[old.endpoint_url], self._clients[new.endpoint_url]
        source.create_bucket(Bucket=here)
        destination.create_bucket(Bucket=there)
        upload(objects, source, here)

        def clear() -> None:
            delete_bucket(destination, there)
            destination.create_bucket(Bucket=there)

        return Stage(
            folder=self._folder / name,
            objects=objects,
            source=Bucket(self._seen(old) if counted else old, here),
            destination=Bucket(self._seen(new) if counted else new, there),
            workers=workers,
            clear=clear,
            damaged=lambda: _damaged(objects, destination, there),
        ).set_up()

    def _seen(self, address: S3Address) -> S3Address:
        number = self._lab.s3.index(address)
        return replace(address, endpoint_url=self._proxies[number].endpoint_url)


def _damaged(objects: Sequence[BenchObject], client: S3Client, bucket: str) -> list[str]:
    found = {
        item["Key"]: (item["Size"], item["ETag"].strip('"'))
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for item in page.get("Contents", [])
    }
    return [each.key for each in objects if found.get(each.key) != (len(each.content), each.md5)]
