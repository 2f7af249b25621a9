"""Looking at stores without mastosync: do they hold what they should, to the byte and header?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lab.fault_plan import Fault, FaultPlan, Request, answer
from lab.faults import FaultProxy
from lab.instance_check import differences, iter_keys
from lab.instance_objects import StoredObject
from mastosync.copying.same_store import FOLDER

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def assert_holds(client: S3Client, bucket: str, expected: Mapping[str, StoredObject]) -> None:
    """Exactly these keys, each with these bytes and headers, and no upload left open."""
    assert differences(client, bucket, expected) == []
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


def assert_untouched(client: S3Client, bucket: str, expected: Iterable[str]) -> None:
    """The source still holds what it held."""
    assert set(iter_keys(client, bucket)) == set(expected)


def stored(proxy: FaultProxy, bucket: str | None = None) -> Counter[str]:
    """How often each key of an instance was stored, beside the probe that tells two stores from one."""
    of_all = proxy.successful_puts_by_key(bucket)
    return Counter({key: times for key, times in of_all.items() if FOLDER not in key})


def takes_only(key: str) -> FaultPlan:
    """A store that knows one access key. Strangers may not list; what they may read is for the store to say."""

    def plan(request: Request) -> Fault | None:
        told = request.headers.get("authorization", "")
        if told:
            return None if f"Credential={key}/" in told else answer(403, "InvalidAccessKeyId")
        return answer(403, "AccessDenied") if request.operation.startswith("List") else None

    return plan
