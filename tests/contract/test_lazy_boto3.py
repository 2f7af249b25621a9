"""The store of boto3 that is made when it is needed, which may be in the middle of everything."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from mastosync.store.s3.curl_store import CurlStore
from tests.support.raw_server import RawServer, answer
from tests.support.s3_clients import MADE_UP, at
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.timing

SHORT_OF_DESCRIPTORS = """
import os, resource, sys
from contextlib import closing, suppress
from mastosync.config import S3Config, Secret
from mastosync.errors import NetworkFailure, ObjectMissing
from mastosync.model import ObjectInfo
from mastosync.store.s3.curl_store import CurlStore

config = S3Config("key", Secret("secret"), endpoint_url=sys.argv[1], bucket="my-bucket")
with closing(CurlStore(config, role="source", connections=1)) as store:
    assert "botocore" not in sys.modules
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = []
    with suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    for attempt in range(2):
        try:
            store.digest("key", ObjectInfo(1, "etag"))
        except NetworkFailure as failure:
            assert failure.transient and "my-bucket" in failure.message and "ulimit" in failure.hint
        else:
            raise AssertionError("nothing can be loaded now")
    for descriptor in taken:
        os.close(descriptor)
    try:
        store.digest("key", ObjectInfo(1, "etag"))
    except ObjectMissing:
        print("asked in the end")
"""

REFUSED = """
import sys
from contextlib import closing
from mastosync.config import S3Config, Secret
from mastosync.errors import ObjectMissing
from mastosync.store.s3.curl_store import CurlStore

config = S3Config("key", Secret("secret"), endpoint_url=sys.argv[1], bucket="my-bucket")
with closing(CurlStore(config, role="source", connections=1)) as store:
    try:
        store.read("key", 1)
    except ObjectMissing as missing:
        print(missing.certain, {"boto3", "botocore"} & sys.modules.keys() or "")
"""

DUMPED = """
import os, resource, sys, traceback
from contextlib import suppress
from mastosync.config import S3Config, Secret
from mastosync.errors import NetworkFailure
from mastosync.store.s3 import boto_store
from mastosync.store.s3.curl_store import CurlStore

config = S3Config("key", Secret("hidden words"), endpoint_url="http://127.0.0.1:9", bucket="my-bucket")
curl = CurlStore(config, role="source", connections=1)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
with suppress(OSError):
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
try:
    curl.boto
except NetworkFailure as failure:
    for descriptor in taken:
        os.close(descriptor)
    print(*traceback.TracebackException.from_exception(failure.__cause__, capture_locals=True).format())
"""


def test_it_is_made_once_for_all_threads() -> None:
    with closing(CurlStore(at("http://127.0.0.1:9", MADE_UP), role="source", connections=8)) as store:
        everybody = threading.Barrier(8)

        def ask(_: int) -> object:
            everybody.wait(PATIENCE_SECONDS)
            return store.boto

        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(ask, range(8)))
    assert len(set(map(id, made))) == 1


def test_an_object_that_is_missing_is_told_without_it(tmp_path: Path) -> None:
    body = b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
    with RawServer(lambda _: answer(404, body)) as server:
        done = run(REFUSED, tmp_path, server.endpoint_url)
    assert (done.stdout, done.returncode) == ("True \n", 0), done.stderr


def test_what_keeps_it_from_being_made_for_now_may_pass(tmp_path: Path) -> None:
    with RawServer(lambda _: answer(404)) as server:
        done = run(SHORT_OF_DESCRIPTORS, tmp_path, server.endpoint_url)
    assert (done.stdout, done.returncode) == ("asked in the end\n", 0), done.stderr


def test_what_keeps_it_from_being_made_holds_no_secret(tmp_path: Path) -> None:
    done = run(DUMPED, tmp_path)
    assert "Too many open files" in done.stdout, done.stderr
    assert "hidden words" not in done.stdout


def run(program: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    silent = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BOTO"))}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**silent, "HOME": str(home)},  # which tell the AWS SDK nothing
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
