"""The store that costs almost nothing: a real nginx, and the real command copying through it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from benchmarks.measure import RunFailed, nothing, run
from benchmarks.objects import BenchObject, make_large_objects, make_objects
from benchmarks.rivals import Stage, boto3_threads, mastosync
from benchmarks.stores.null_store import DELAY_SECONDS, DESTINATION, LOST, SOURCE, Door, NullStore
from lab.nginx import why_no_nginx

pytestmark = pytest.mark.skipif(bool(why_no_nginx()), reason=why_no_nginx())

OBJECTS = make_objects(60)
SIZE, PART = 20_000_000, 8_000_000  # more than travels whole


@pytest.fixture
def store(tmp_path: Path) -> Iterator[NullStore]:
    with NullStore(tmp_path / "store", OBJECTS) as store:
        yield store
    assert (tmp_path / "store" / "nginx.log").read_text() == "", "nginx had nothing to complain of"


def stage(folder: Path, store: NullStore, door: Door) -> Stage:
    source, destination = door.bucket(SOURCE), door.bucket(DESTINATION)
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
    assert not store.requests(), "only some of its doors count"


def test_all_clients_reach_it_by_tls(store: NullStore, tmp_path: Path) -> None:
    here = stage(tmp_path / "stage", store, store.secure_counted)
    for client in (mastosync, boto3_threads):
        before = store.requests()
        run(client(here), tmp_path / "log")  # which looks at what has arrived
        asked = store.requests() - before
        assert (asked["GetObject"], asked["PutObject"]) == (len(OBJECTS), len(OBJECTS))


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


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[NullStore, BenchObject, BenchObject]]:
    """A store with an object that was uploaded whole, and one that was uploaded in parts."""
    whole, in_parts = make_large_objects(1, SIZE), make_large_objects(1, SIZE, part_bytes=PART, first=1)
    with NullStore(tmp_path / "store", whole + in_parts) as store:
        store.warm_up()
        yield store, whole[0], in_parts[0]
    assert (tmp_path / "store" / "nginx.log").read_text() == ""


def test_large_objects_are_read_pinned_to_their_etag(large: tuple[NullStore, BenchObject, BenchObject]) -> None:
    store, *objects = large
    assert [each.etag for each in objects] == [objects[0].md5, objects[1].etag]
    assert objects[1].etag.endswith("-3")
    with closing(store.plain.source.client()) as client:
        for one in objects:
            for span in ("bytes=0-", "bytes=7-1000006"):
                found = client.get_object(Bucket=SOURCE, Key=one.key, IfMatch=f'"{one.etag}"', Range=span)
                start, _, end = span.removeprefix("bytes=").partition("-")
                with found["Body"] as body:
                    assert body.read() == one.content[int(start) : int(end or SIZE) + 1]
                assert found["ETag"] == f'"{one.etag}"'
            with pytest.raises(ClientError, match="412"):
                client.get_object(Bucket=SOURCE, Key=one.key, IfMatch='"another"')


def test_a_part_is_described_and_read_by_its_number(large: tuple[NullStore, BenchObject, BenchObject]) -> None:
    store, whole, in_parts = large
    with closing(store.plain.source.client()) as client:
        for number, size in ((1, PART), (3, SIZE - 2 * PART)):
            found = client.head_object(Bucket=SOURCE, Key=in_parts.key, PartNumber=number)
            assert (found["ContentLength"], found["PartsCount"]) == (size, 3)
            assert found["ETag"] == f'"{in_parts.etag}"'
        with client.get_object(Bucket=SOURCE, Key=in_parts.key, PartNumber=2)["Body"] as body:
            assert body.read() == in_parts.content[PART : 2 * PART]
        found = client.head_object(Bucket=SOURCE, Key=whole.key, PartNumber=1)
        assert found["ContentLength"] == SIZE
        assert "PartsCount" not in found, "it has none"


def test_what_comes_to_the_bucket_that_keeps_nothing_is_counted(
    large: tuple[NullStore, BenchObject, BenchObject], tmp_path: Path
) -> None:
    store, whole, in_parts = large
    for door in (store.counted, store.secure_counted):
        before, folder = store.uploaded_bytes(), tmp_path / f"{door.ports[0]}"
        ends = door.bucket(SOURCE), door.bucket(LOST)
        run(mastosync(Stage(folder, [whole, in_parts], *ends, 2, nothing, list).set_up()), tmp_path / "log")
        assert 2 * SIZE < store.uploaded_bytes() - before < 2 * SIZE + 100_000
    with closing(store.plain.destination.client()) as client:
        told = client.put_object(Bucket=LOST, Key=in_parts.key, Body=bytes(in_parts.content))
        assert told["ETag"] == f'"{in_parts.md5}"', "it came whole"
        upload = client.create_multipart_upload(Bucket=LOST, Key=whole.key)["UploadId"]
        part = client.upload_part(Bucket=LOST, Key=whole.key, UploadId=upload, PartNumber=1, Body=b"part")
        assert part["ETag"] == '"null"', "nobody knows how a client cuts its parts"
    assert not list((tmp_path / "store" / "files").glob(f"{LOST}*"))
    assert not list((tmp_path / "store" / "files" / "incoming").rglob("*.*"))
