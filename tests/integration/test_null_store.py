"""The store that costs almost nothing: a real nginx, and the real command copying through it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from benchmarks.measure import RunFailed, run
from benchmarks.objects import make_big_objects, make_objects
from benchmarks.rivals import Stage, boto3_threads, mastosync
from benchmarks.stores.ends import Bucket
from benchmarks.stores.null_store import DELAY_SECONDS, DESTINATION, LOST, SOURCE, Door, NullStore
from lab.nginx import why_no_nginx

pytestmark = pytest.mark.skipif(bool(why_no_nginx()), reason=why_no_nginx())

OBJECTS = make_objects(60)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[NullStore]:
    with NullStore(tmp_path / "store", OBJECTS) as store:
        yield store
    assert (tmp_path / "store" / "nginx.log").read_text() == "", "nginx had nothing to complain of"


def stage(folder: Path, store: NullStore, door: Door) -> Stage:
    source, destination = Bucket(door.source, SOURCE), Bucket(door.destination, DESTINATION)
    return Stage(folder, OBJECTS, source, destination, 8, store.empty, lambda: store.damaged(OBJECTS)).set_up()


def test_a_copy_takes_one_get_and_one_put_an_object(store: NullStore, tmp_path: Path) -> None:
    here = stage(tmp_path / "stage", store, store.counted)
    assert len(store.damaged(OBJECTS)) == len(OBJECTS)
    run(mastosync(here), tmp_path / "log")
    assert store.requests() == {"GetObject": len(OBJECTS), "PutObject": len(OBJECTS), "ListObjects": 2}
    run(mastosync(here), tmp_path / "log")  # from the plan again, to an empty destination
    assert store.requests() == {"GetObject": 2 * len(OBJECTS), "PutObject": 2 * len(OBJECTS), "ListObjects": 4}


def test_the_same_objects_are_copied_by_boto3(store: NullStore, tmp_path: Path) -> None:
    run(boto3_threads(stage(tmp_path / "stage", store, store.plain)), tmp_path / "log")
    assert not store.requests(), "only one of its doors counts"


def test_what_does_not_arrive_as_it_was_is_noticed(store: NullStore, tmp_path: Path) -> None:
    here = stage(tmp_path / "stage", store, store.plain)
    run(mastosync(here), tmp_path / "log")
    with closing(store.plain.destination.client()) as client:
        client.put_object(Bucket=DESTINATION, Key=OBJECTS[5].key, Body=b"something else")
    assert store.damaged(OBJECTS) == [OBJECTS[5].key]
    with pytest.raises(RunFailed, match=f"1 of 60 objects have not arrived, {OBJECTS[5].key} among them"):
        here.check()


def test_it_answers_as_s3_does(store: NullStore) -> None:
    one = OBJECTS[0]
    with closing(store.plain.destination.client()) as client:
        found = client.get_object(Bucket=SOURCE, Key=one.key)
        with found["Body"] as body:
            assert body.read() == one.content
        assert (found["ETag"], found["ContentType"]) == (f'"{one.md5}"', one.content_type)
        stored = client.put_object(Bucket=DESTINATION, Key=one.key, Body=bytes(one.content))
        assert stored["ETag"] == f'"{one.md5}"'
        with pytest.raises(ClientError, match="404"):
            client.get_object(Bucket=SOURCE, Key="nowhere")


def test_a_delayed_request_for_an_object_takes_longer(store: NullStore) -> None:
    one = OBJECTS[0]
    with closing(store.delayed.source.client()) as client:
        client.list_objects_v2(Bucket=SOURCE)  # a connection
        started = time.monotonic()
        with client.get_object(Bucket=SOURCE, Key=one.key)["Body"] as body:
            assert body.read() == one.content
        client.put_object(Bucket=DESTINATION, Key=one.key, Body=bytes(one.content))
        # nginx takes the time once for all that happens in the same millisecond
        assert time.monotonic() - started > 2 * (DELAY_SECONDS - 0.002)
    assert one.key not in store.damaged(OBJECTS)


def test_big_objects_are_read_by_ranges_and_lost(tmp_path: Path) -> None:
    objects = make_big_objects(2, 20_000_000)  # more than travels whole
    with NullStore(tmp_path / "store", objects) as store:
        source, destination = Bucket(store.counted.source, SOURCE), Bucket(store.counted.destination, LOST)
        here = Stage(tmp_path / "stage", objects, source, destination, 2, lambda: None, list).set_up()
        run(mastosync(here), tmp_path / "log")
        requests, uploaded_bytes = store.requests(), store.uploaded_bytes()
    parts = [requests[name] for name in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")]
    assert parts == [2, 4, 2]
    assert 40_000_000 < uploaded_bytes < 40_100_000
    files = list((tmp_path / "store" / "files").glob(f"{LOST}*"))
    assert [file.name for file in files] == [f"{LOST}-object"], "all of it in one place"
