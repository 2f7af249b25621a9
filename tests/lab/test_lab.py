"""The lab keeps its promises: servers that end, faults that are what they are called, counts that are right."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncssh
import paramiko
import psycopg
import pytest
import sshtunnel
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError

from lab import fault_plan
from lab.addresses import DatabaseAddress, LabAddresses, PostgresAddress, S3Address
from lab.buckets import BucketPair
from lab.client import ROOT, Lab
from lab.fault_plan import Fault, FaultPlan, Request
from lab.faults import FaultProxy
from lab.ports import PortBlock, accepts_connections
from lab.process import LabError, ServerProcess
from lab.sshd import SshServer, make_key
from tests.support.waiting import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedMultipartUploadTypeDef

AWKWARD_KEY = "media attachments/ü+%20?#&=:;,@$~'(ö)/a/b.png"  # not `//`: SeaweedFS makes one of two

StartProxy = Callable[[str, FaultPlan], FaultProxy]
StartSsh = Callable[..., SshServer]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def assert_nothing_is_left(lab: LabAddresses) -> None:
    wait_until(lambda: not Path(lab.folder).exists(), "the lab's folder is removed")
    assert [name for name, pid in lab.pids.items() if not is_gone(pid)] == []
    assert lab.postgres is not None
    assert lab.moto is not None
    ports = [urlsplit(address.endpoint_url).port or 0 for address in (*lab.s3, lab.moto)]
    assert [port for port in (*ports, lab.postgres.port) if accepts_connections(port)] == []
    assert not Path(lab.postgres.socket_dir).exists()


def run_python(code: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, text=True, **options)  # type: ignore[call-overload, no-any-return]  # options are passed on


# --- the guardian ---------------------------------------------------------------------------------------------------


@pytest.mark.timing
def test_all_servers_end_when_whoever_asked_for_them_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves no time for anything: only the pipe tells the guardian."""
    with run_python(
        """
        import time
        from lab.client import Lab
        with Lab(postgres=True, s3=1, moto=True) as lab:
            print(lab.addresses.to_json(), flush=True)
            time.sleep(600)
        """,
        stdout=subprocess.PIPE,
    ) as asker:
        assert asker.stdout is not None
        lab = LabAddresses.from_json(asker.stdout.readline())
        try:
            assert sorted(lab.pids) == ["moto", "postgres", "s3-0"]
            assert not any(is_gone(pid) for pid in lab.pids.values())
        finally:
            asker.kill()
    assert_nothing_is_left(lab)


@pytest.mark.timing
def test_servers_end_when_the_asker_is_killed_while_they_start(tmp_path: Path) -> None:
    with run_python(
        f"""
        from pathlib import Path
        from lab.client import Lab
        with Lab(Path({str(tmp_path)!r}), s3=1, moto=True): pass
        """,
    ) as asker:
        try:
            wait_until(lambda: any(tmp_path.glob("lab-*/s3-0/weed.log")), "weed is being started")
        finally:
            asker.kill()
    wait_until(lambda: not any(tmp_path.iterdir()), "the lab's folder is removed", seconds=90)


@pytest.mark.timing
def test_a_terminated_guardian_stops_its_servers(own_lab: Callable[..., Lab]) -> None:
    lab = own_lab(postgres=True).addresses
    os.kill(lab.guardian_pid, 15)
    wait_until(lambda: not Path(lab.folder).exists(), "the lab's folder is removed")
    assert is_gone(lab.pids["postgres"])


def test_a_lab_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="exists"), Lab(tmp_path / "file", moto=True):
        pass


def test_a_server_that_dies_at_its_start_is_reported_with_its_log(tmp_path: Path) -> None:
    server = ServerProcess("dying", [sys.executable, "-c", "raise SystemExit('no such luck')"], tmp_path)
    with pytest.raises(LabError, match=r"(?s)dying ended with code 1.*no such luck"):
        server.wait_until(lambda: False, seconds=30)


def test_a_server_that_died_on_its_own_is_complained_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = ServerProcess("dying", [sys.executable, "-c", "raise SystemExit('out of breath')"], tmp_path)
    wait_until(lambda: not server.running, "the server is dead")
    server.stop()
    assert "dying had ended with code 1; its log:\nout of breath" in capsys.readouterr().err


def test_two_labs_never_get_the_same_ports() -> None:
    with contextlib.closing(PortBlock()) as one, contextlib.closing(PortBlock()) as other:
        assert {one.take() for _ in range(8)}.isdisjoint({other.take() for _ in range(8)})


def test_a_store_can_go_down_and_come_back_with_its_objects(own_lab: Callable[..., Lab]) -> None:
    lab = own_lab(s3=1)
    with contextlib.closing(lab.s3[0].client()) as client:
        client.create_bucket(Bucket="keeps")
        client.put_object(Bucket="keeps", Key="k", Body=b"kept")
        lab.stop_server("s3-0")
        with pytest.raises(EndpointConnectionError):
            client.get_object(Bucket="keeps", Key="k")
        lab.start_server("s3-0")
        assert client.get_object(Bucket="keeps", Key="k")["Body"].read() == b"kept"


def test_starting_a_server_that_runs_restarts_it(own_lab: Callable[..., Lab]) -> None:
    lab = own_lab(moto=True)
    before = lab.addresses.pids["moto"]
    lab.start_server("moto")
    assert is_gone(before)
    assert not is_gone(lab.addresses.pids["moto"])
    assert accepts_connections(urlsplit(lab.moto.endpoint_url).port or 0)


def test_an_order_for_an_unknown_server_is_refused(own_lab: Callable[..., Lab]) -> None:
    lab = own_lab(moto=True)
    with pytest.raises(LabError, match="no such command"):
        lab.stop_server("postgres")


# --- one lab for a whole test session -------------------------------------------------------------------------------


def inner_session(folder: Path, tests: str, *options: str) -> subprocess.Popen[str]:
    """A pytest session of its own with this project's fixtures, but none of its settings."""
    (folder / "test_inner.py").write_text(textwrap.dedent(tests), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-q", *options, "test_inner.py"],
        cwd=folder,
        env={**environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_session_that_needs_no_server_starts_none(tmp_path: Path) -> None:
    with inner_session(
        tmp_path,
        """
        from conftest import SHARED_LAB
        def test_unit(pytestconfig):
            folder = pytestconfig.stash[SHARED_LAB].folder
            assert [path.name for path in folder.iterdir()] == ["lifeline"]
        """,
    ) as session:
        output, _ = session.communicate(timeout=200)
    assert session.returncode == 0, output


WRITE_ADDRESSES = """
    import pytest, time
    from pathlib import Path

    @pytest.mark.parametrize("number", [1, 2])
    def test_needs_servers(lab, number, worker_name):
        draft = Path(f"draft-{number}")
        draft.write_text(lab.to_json())
        draft.rename(f"{number}.json")
        deadline = time.monotonic() + 200
        while Path("hold").exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    @pytest.fixture
    def worker_name(pytestconfig):
        return getattr(pytestconfig, "workerinput", {}).get("workerid", "only")
"""


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_a_session_has_one_lab_and_leaves_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    with inner_session(tmp_path, WRITE_ADDRESSES, *options) as session:
        output, _ = session.communicate(timeout=200)
    assert session.returncode == 0, output
    one, two = (LabAddresses.from_json((tmp_path / f"{number}.json").read_text()) for number in (1, 2))
    assert one == two
    assert not Path(one.folder).parent.exists()
    assert_nothing_is_left(one)


@pytest.mark.timing
def test_a_killed_session_leaves_no_server(tmp_path: Path) -> None:
    """The controller is killed; the guardian was started by a worker."""
    (tmp_path / "hold").touch()
    with inner_session(tmp_path, WRITE_ADDRESSES, "-n", "2") as session:
        try:
            wait_until(lambda: (tmp_path / "1.json").exists() and (tmp_path / "2.json").exists(), "tests run", 150)
        finally:
            session.kill()
            (tmp_path / "hold").unlink()
    lab = LabAddresses.from_json((tmp_path / "1.json").read_text())
    assert_nothing_is_left(lab)
    shutil.rmtree(Path(lab.folder).parent)  # the dead session's FIFO, which only the session itself would remove


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


def test_a_database_is_fresh_and_belongs_to_its_user(database: DatabaseAddress) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE t (id bigint)")
        assert connection.execute("SELECT current_user, current_database()").fetchone() == (
            database.user,
            database.name,
        )
        assert connection.info.host == "127.0.0.1"


@pytest.mark.parametrize("password", ["wrong", ""])
def test_the_password_matters_over_tcp(database: DatabaseAddress, password: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        dataclasses.replace(database, password=password).connect()


def test_the_superuser_comes_in_by_socket_only(lab_postgres: PostgresAddress) -> None:
    with lab_postgres.admin_connection() as connection:
        assert connection.execute("SELECT version()").fetchone()[0].startswith("PostgreSQL 18")  # type: ignore[index]  # it has one row
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
        dataclasses.replace(lab_postgres, user="postgres").database("postgres").connect()


def test_a_database_server_can_go_down_and_come_back_with_its_data(own_lab: Callable[..., Lab]) -> None:
    lab = own_lab(postgres=True)
    database = lab.postgres.create_database("keeps")
    with database.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS id")
    lab.stop_server("postgres")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        database.connect()
    lab.start_server("postgres")
    with database.connect() as connection:
        assert connection.execute("SELECT id FROM kept").fetchone() == (42,)


# --- the stores -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def client_for(address: S3Address, **changes: str) -> Iterator[S3Client]:
    with contextlib.closing(dataclasses.replace(address, **changes).client()) as client:
        yield client


def error_code(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def test_seaweedfs_refuses_a_body_that_is_not_its_content_md5(buckets: BucketPair) -> None:
    wrong = base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode()

    def put() -> object:
        return buckets.client.put_object(Bucket=buckets.source, Key="k", Body=b"body", ContentMD5=wrong)

    assert error_code(put) == (400, "BadDigest")
    assert "Contents" not in buckets.client.list_objects_v2(Bucket=buckets.source)


def test_seaweedfs_checks_keys_and_rights(buckets: BucketPair, seaweed: S3Address) -> None:
    bucket = buckets.source
    with client_for(seaweed, secret_key="wrong") as client:
        assert error_code(lambda: client.list_objects_v2(Bucket=bucket)) == (403, "SignatureDoesNotMatch")
    with client_for(seaweed, access_key="nobody") as client:
        assert error_code(lambda: client.list_objects_v2(Bucket=bucket)) == (403, "InvalidAccessKeyId")
    with client_for(seaweed, access_key=seaweed.reader_access_key, secret_key=seaweed.reader_secret_key) as client:
        assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
        assert error_code(lambda: client.put_object(Bucket=bucket, Key="k", Body=b"x")) == (403, "AccessDenied")


def test_seaweedfs_knows_what_is_not_there(buckets: BucketPair) -> None:
    client = buckets.client
    assert error_code(lambda: client.get_object(Bucket=buckets.source, Key="k")) == (404, "NoSuchKey")
    assert error_code(lambda: client.get_object(Bucket="not-there", Key="k")) == (404, "NoSuchBucket")
    assert error_code(lambda: client.put_object(Bucket="not-there", Key="k", Body=b"x")) == (404, "NoSuchBucket")


def test_moto_knows_acls(moto_buckets: BucketPair) -> None:
    client, bucket = moto_buckets.client, moto_buckets.source
    client.put_object(Bucket=bucket, Key="open", Body=b"x", ACL="public-read")
    client.put_object(Bucket=bucket, Key="closed", Body=b"x", ACL="private")
    grants = {key: client.get_object_acl(Bucket=bucket, Key=key)["Grants"] for key in ("open", "closed")}
    assert [grant["Permission"] for grant in grants["open"]] == ["FULL_CONTROL", "READ"]
    assert [grant["Permission"] for grant in grants["closed"]] == ["FULL_CONTROL"]


# --- the fault proxy ------------------------------------------------------------------------------------------------

StartClient = Callable[[FaultPlan], tuple[FaultProxy, "S3Client"]]


@pytest.fixture
def through_proxy(buckets: BucketPair, fault_proxy: StartProxy) -> Iterator[StartClient]:
    """Factory: a proxy with this plan before the store of `buckets`, and a client that goes through it."""
    with contextlib.ExitStack() as clients:

        def start(plan: FaultPlan) -> tuple[FaultProxy, S3Client]:
            proxy = fault_proxy(buckets.address.endpoint_url, plan)
            return proxy, clients.enter_context(client_for(buckets.address, endpoint_url=proxy.endpoint_url))

        yield start


def test_signatures_stay_valid_through_the_proxy(buckets: BucketPair, through_proxy: StartClient) -> None:
    proxy, client = through_proxy(fault_plan.no_faults)
    bucket, body = buckets.source, os.urandom(300_000)
    client.put_object(Bucket=bucket, Key=AWKWARD_KEY, Body=body, ContentType="image/png")
    assert client.get_object(Bucket=bucket, Key=AWKWARD_KEY)["Body"].read() == body
    head = client.head_object(Bucket=bucket, Key=AWKWARD_KEY)
    assert (head["ContentLength"], head["ContentType"]) == (len(body), "image/png")
    assert client.get_object(Bucket=bucket, Key=AWKWARD_KEY, Range="bytes=10-19")["Body"].read() == body[10:20]
    assert [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]] == [AWKWARD_KEY]
    client.delete_object(Bucket=bucket, Key=AWKWARD_KEY)
    assert proxy.requests[-1].keys_to_delete == (AWKWARD_KEY,)
    assert {exchange.request.key for exchange in proxy.requests} == {AWKWARD_KEY, ""}
    assert [exchange.request.operation for exchange in proxy.requests] == [
        *("PutObject", "GetObject", "HeadObject", "GetObject", "ListObjects", "DeleteObject")
    ]


def test_what_is_deleted_at_once_is_told_by_its_keys(buckets: BucketPair, through_proxy: StartClient) -> None:
    proxy, client = through_proxy(fault_plan.no_faults)
    keys = ["a & b", "\u00e9.png"]
    client.delete_objects(Bucket=buckets.source, Delete={"Objects": [{"Key": key} for key in keys]})
    assert proxy.requests[-1].request.operation == "DeleteObjects"
    assert list(proxy.requests[-1].keys_to_delete) == keys


def test_a_multipart_upload_through_the_proxy_counts_as_one_put(
    buckets: BucketPair, through_proxy: StartClient
) -> None:
    proxy, client = through_proxy(fault_plan.no_faults)
    bucket, parts = buckets.source, [os.urandom(5 * 1024 * 1024), b"the rest"]
    upload_id = client.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    etags = [
        client.upload_part(Bucket=bucket, Key="big", UploadId=upload_id, PartNumber=number, Body=part)["ETag"]
        for number, part in enumerate(parts, start=1)
    ]
    assert proxy.successful_puts_by_key() == {}
    client.complete_multipart_upload(
        Bucket=bucket,
        Key="big",
        UploadId=upload_id,
        MultipartUpload={"Parts": [{"ETag": etag, "PartNumber": number} for number, etag in enumerate(etags, start=1)]},
    )
    assert client.get_object(Bucket=bucket, Key="big")["Body"].read() == b"".join(parts)
    assert proxy.successful_puts_by_key() == {"big": 1}
    assert proxy.count("UploadPart", "big") == 2
    assert [exchange.request.nth for exchange in proxy.requests if exchange.request.operation == "UploadPart"] == [1, 1]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (fault_plan.slow_down(), (503, "SlowDown", {})),
        (fault_plan.slow_down(7), (503, "SlowDown", {"retry-after": "7"})),
        (
            fault_plan.slow_down(fault_plan.http_date(0)),
            (503, "SlowDown", {"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        ),
        (fault_plan.slow_down(amz_retry_after_ms=1500), (503, "SlowDown", {"x-amz-retry-after": "1500"})),
        (fault_plan.too_many_requests(), (429, "TooManyRequests", {})),
        (fault_plan.INTERNAL_ERROR, (500, "InternalError", {})),
        (fault_plan.BAD_GATEWAY, (502, "502", {"content-type": "text/html"})),
        (fault_plan.ACCESS_DENIED, (403, "AccessDenied", {})),
        (fault_plan.NO_SUCH_BUCKET, (404, "NoSuchBucket", {})),
    ],
    ids=lambda value: f"{value.status} {value.code} {dict(value.headers)}" if isinstance(value, Fault) else "",
)
def test_an_answer_is_given_without_asking_the_store(
    buckets: BucketPair, through_proxy: StartClient, fault: Fault, expected: tuple[int, str, dict[str, str]]
) -> None:
    status, code, headers = expected
    proxy, client = through_proxy(fault_plan.first(1, fault))

    def put() -> object:
        return client.put_object(Bucket=buckets.source, Key="k", Body=b"x" * 100_000)

    with pytest.raises(ClientError) as caught:
        put()
    response = caught.value.response
    assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (status, code)
    assert headers.items() <= response["ResponseMetadata"]["HTTPHeaders"].items()
    put()
    refused, stored = proxy.requests
    assert (refused.store_status, refused.status, refused.fault, refused.request.nth) == (None, status, fault, 1)
    assert (stored.store_status, stored.status, stored.fault, stored.request.nth) == (200, 200, None, 2)
    assert proxy.successful_puts_by_key() == {"k": 1}


def test_a_reset_keeps_the_request_from_the_store(buckets: BucketPair, through_proxy: StartClient) -> None:
    proxy, client = through_proxy(fault_plan.always(fault_plan.RESET))
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=buckets.source, Key="k", Body=b"x")
    assert [(exchange.store_status, exchange.status) for exchange in proxy.requests] == [(None, None)]
    assert "Contents" not in buckets.client.list_objects_v2(Bucket=buckets.source)


def test_a_reset_is_no_orderly_end(buckets: BucketPair, through_proxy: StartClient) -> None:
    proxy, _ = through_proxy(fault_plan.always(fault_plan.RESET))
    with contextlib.closing(http.client.HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=10)) as connection:
        connection.request("GET", f"/{buckets.source}/k")
        with pytest.raises(ConnectionResetError):
            connection.getresponse()


def test_a_lost_answer_leaves_the_object_stored(buckets: BucketPair, through_proxy: StartClient) -> None:
    proxy, client = through_proxy(fault_plan.first(1, fault_plan.LOST_ANSWER))
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=buckets.source, Key="k", Body=b"x")
    assert buckets.client.get_object(Bucket=buckets.source, Key="k")["Body"].read() == b"x"
    client.put_object(Bucket=buckets.source, Key="k", Body=b"x")
    assert proxy.successful_puts_by_key(buckets.source) == {"k": 2}
    assert proxy.successful_puts_by_key(buckets.destination) == {}


@pytest.mark.parametrize("status", [502, 200])
def test_another_answer_hides_what_the_store_has_done(
    buckets: BucketPair, through_proxy: StartClient, status: int
) -> None:
    fault = fault_plan.though_done(fault_plan.answer(status, "InternalError"))
    proxy, client = through_proxy(fault_plan.first(1, fault))
    with contextlib.suppress(ClientError):  # boto3 takes the 200 for what it says
        client.put_object(Bucket=buckets.source, Key="k", Body=b"x")
    assert buckets.client.get_object(Bucket=buckets.source, Key="k")["Body"].read() == b"x"
    (exchange,) = proxy.requests
    assert (exchange.store_status, exchange.status, exchange.stored, exchange.told) == (200, status, True, False)


def test_a_completion_can_fail_inside_a_200(buckets: BucketPair, through_proxy: StartClient) -> None:
    proxy, client = through_proxy(
        fault_plan.first(1, fault_plan.answer(200, "InternalError"), operation="CompleteMultipartUpload")
    )
    bucket = buckets.source
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = client.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x")

    def complete() -> object:
        parts: CompletedMultipartUploadTypeDef = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
        return client.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload=parts)

    _, code = error_code(complete)
    assert code == "InternalError"
    assert "Contents" not in buckets.client.list_objects_v2(Bucket=buckets.source)
    complete()
    assert proxy.successful_puts_by_key() == {"k": 1}


@pytest.mark.timing
def test_a_reset_in_an_upload_keeps_it_from_the_store(buckets: BucketPair, through_proxy: StartClient) -> None:
    proxy, client = through_proxy(fault_plan.first(1, fault_plan.RESET_IN_UPLOAD))
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=buckets.source, Key="k", Body=b"x" * 1_000_000)
    assert [(exchange.store_status, exchange.status) for exchange in proxy.requests] == [(None, None)]
    client.put_object(Bucket=buckets.source, Key="k", Body=b"x" * 1_000_000)
    assert proxy.successful_puts_by_key() == {"k": 1}


@pytest.mark.parametrize("fault", [fault_plan.RESET_AFTER_BODY, fault_plan.drip(0.2)], ids=str)
def test_a_body_may_come_whole_and_yet_in_a_bad_way(
    buckets: BucketPair, through_proxy: StartClient, fault: Fault
) -> None:
    body = os.urandom(10_000)
    buckets.client.put_object(Bucket=buckets.source, Key="k", Body=body)
    proxy, client = through_proxy(fault_plan.first(1, fault))
    began = time.monotonic()
    with contextlib.suppress(HTTPClientError):  # systems differ in what a reset leaves to be read
        assert client.get_object(Bucket=buckets.source, Key="k")["Body"].read() == body
    assert time.monotonic() - began >= fault.seconds
    (exchange,) = proxy.requests
    assert (exchange.status, exchange.told) == (200, False)
    assert client.get_object(Bucket=buckets.source, Key="k")["Body"].read() == body


@pytest.mark.parametrize("fault", [fault_plan.RESET_IN_BODY, fault_plan.TRUNCATED_BODY], ids=["reset", "truncated"])
def test_a_body_that_breaks_off_is_shorter_than_announced(
    buckets: BucketPair, through_proxy: StartClient, fault: Fault
) -> None:
    body = os.urandom(1_000_000)
    buckets.client.put_object(Bucket=buckets.source, Key="k", Body=body)
    proxy, client = through_proxy(fault_plan.first(1, fault, operation="GetObject"))
    answer = client.get_object(Bucket=buckets.source, Key="k")
    assert answer["ContentLength"] == len(body)
    with pytest.raises(HTTPClientError):
        answer["Body"].read()
    assert client.get_object(Bucket=buckets.source, Key="k")["Body"].read() == body
    assert [exchange.status for exchange in proxy.requests] == [200, 200]


def test_a_truncated_body_ends_in_good_order(buckets: BucketPair, through_proxy: StartClient) -> None:
    proxy, _ = through_proxy(fault_plan.always(fault_plan.TRUNCATED_BODY))
    with contextlib.closing(http.client.HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=10)) as connection:
        connection.request("GET", f"/{buckets.source}/k")  # unsigned: the body is the store's refusal
        answer = connection.getresponse()
        announced = int(answer.headers["Content-Length"])
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
    assert len(caught.value.partial) == announced // 2


def test_a_damaged_download_differs_in_one_byte(buckets: BucketPair, through_proxy: StartClient) -> None:
    body = os.urandom(1000)
    buckets.client.put_object(Bucket=buckets.source, Key="k", Body=body)
    _, client = through_proxy(fault_plan.always(fault_plan.DAMAGED_DOWNLOAD))
    damaged = client.get_object(Bucket=buckets.source, Key="k")["Body"].read()
    assert len(damaged) == len(body)
    assert sum(one != other for one, other in zip(damaged, body, strict=True)) == 1


def test_a_damaged_upload_is_refused_by_its_content_md5(buckets: BucketPair, through_proxy: StartClient) -> None:
    body = os.urandom(1000)
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    proxy, client = through_proxy(fault_plan.first(1, fault_plan.DAMAGED_UPLOAD))

    def put() -> object:
        return client.put_object(Bucket=buckets.source, Key="k", Body=body, ContentMD5=md5)

    status, code = error_code(put)
    assert (status, code in {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"}) == (400, True)
    put()
    assert proxy.successful_puts_by_key() == {"k": 1}


def test_a_delay_lets_the_request_through_later(buckets: BucketPair, through_proxy: StartClient) -> None:
    proxy, client = through_proxy(fault_plan.always(fault_plan.delay(0.2)))
    client.put_object(Bucket=buckets.source, Key="k", Body=b"x")
    (exchange,) = proxy.requests
    assert exchange.status == 200
    assert exchange.answered - exchange.started >= 0.2


@pytest.mark.timing
def test_a_stall_sends_half_and_closing_the_proxy_ends_it(buckets: BucketPair) -> None:
    body = os.urandom(100_000)
    buckets.client.put_object(Bucket=buckets.source, Key="k", Body=body)
    plan = fault_plan.always(fault_plan.stall(600))
    with contextlib.ExitStack() as stack:
        proxy = FaultProxy(buckets.address.endpoint_url, plan)
        with proxy:
            client = stack.enter_context(client_for(buckets.address, endpoint_url=proxy.endpoint_url))
            stream = client.get_object(Bucket=buckets.source, Key="k")["Body"]
            assert stream.read(len(body) // 2) == body[: len(body) // 2]
            began = time.monotonic()
        assert time.monotonic() - began < PATIENCE_SECONDS  # of the 600
        stream.close()


@pytest.mark.timing
def test_an_upload_whose_client_has_gone_is_not_waited_for(buckets: BucketPair, fault_proxy: StartProxy) -> None:
    proxy = fault_proxy(buckets.address.endpoint_url, fault_plan.no_faults)
    with contextlib.closing(http.client.HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=10)) as connection:
        connection.putrequest("PUT", f"/{buckets.source}/k")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"x" * 600)
        wait_until(lambda: not proxy.is_idle, "the proxy has seen the client")
    wait_until(lambda: proxy.is_idle, "the proxy has given up")
    assert proxy.requests == []


def test_a_client_counts_before_anybody_has_heeded_it() -> None:
    """It may have sent something and died: that reaches the store all the same."""
    proxy = FaultProxy("http://127.0.0.1:9")  # nobody takes connections before it is entered
    try:
        assert proxy.is_idle
        with contextlib.closing(http.client.HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=10)) as client:
            client.connect()
            assert not proxy.is_idle
    finally:
        proxy._server.server_close()


def test_a_store_that_is_down_is_a_reset(fault_proxy: StartProxy) -> None:
    with contextlib.closing(PortBlock()) as ports:
        proxy = fault_proxy(f"http://127.0.0.1:{ports.take()}", fault_plan.no_faults)
        with contextlib.closing(http.client.HTTPConnection(urlsplit(proxy.endpoint_url).netloc)) as connection:
            connection.request("GET", "/bucket/key")
            with pytest.raises(ConnectionResetError):
                connection.getresponse()
    assert [(exchange.store_status, exchange.status) for exchange in proxy.requests] == [(None, None)]


def a_request(nth: int, key: str = "k", operation: str = "GetObject") -> Request:
    return Request("GET", "bucket", key, {}, operation, nth)


def test_a_plan_may_concern_a_header(buckets: BucketPair, through_proxy: StartClient) -> None:
    refusal = fault_plan.answer(400, "InvalidArgument", message="no <such> thing")
    _, client = through_proxy(fault_plan.carrying("X-Amz-Acl", refusal, value="public-*"))
    client.put_object(Bucket=buckets.source, Key="k", Body=b"x")
    client.put_object(Bucket=buckets.source, Key="k", Body=b"x", ACL="private")
    with pytest.raises(ClientError, match="no <such> thing"):
        client.put_object(Bucket=buckets.source, Key="k", Body=b"x", ACL="public-read")


def test_a_seeded_plan_depends_on_the_request_alone() -> None:
    chances = {fault_plan.RESET: 0.2, fault_plan.INTERNAL_ERROR: 0.3}
    requests = [a_request(nth, f"k{number}") for nth in (1, 2) for number in range(1000)]
    one, same, other = fault_plan.seeded(1, chances), fault_plan.seeded(1, chances), fault_plan.seeded(2, chances)
    faults = [one(it) for it in requests]
    assert [same(it) for it in reversed(requests)] == faults[::-1]
    assert [same(dataclasses.replace(it, bucket="another")) for it in requests] == faults
    assert [other(it) for it in requests] != faults
    assert 300 < faults.count(fault_plan.RESET) < 500
    assert 480 < faults.count(fault_plan.INTERNAL_ERROR) < 720


def test_a_plan_concerns_the_operations_and_keys_that_it_names() -> None:
    plan = fault_plan.either(
        fault_plan.first(2, fault_plan.RESET, operation="Put*"),
        fault_plan.always(fault_plan.ACCESS_DENIED, key="private/*"),
    )
    assert [plan(a_request(nth, operation="PutObject")) for nth in (1, 2, 3)] == [*[fault_plan.RESET] * 2, None]
    assert plan(a_request(9, "private/k")) == fault_plan.ACCESS_DENIED
    assert plan(a_request(9, "public/k")) is None


# --- SSH ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def tunnel(server: SshServer, database: DatabaseAddress, **login: object) -> Iterator[DatabaseAddress]:
    """The database as it is reached through the SSH server."""
    forwarder = sshtunnel.SSHTunnelForwarder(
        (server.host, server.port),
        ssh_username=server.username,
        remote_bind_address=(database.host, database.port),
        local_bind_address=("127.0.0.1",),
        allow_agent=False,
        host_pkey_directories=[],
        **login,
    )
    with forwarder:
        yield dataclasses.replace(database, port=forwarder.local_bind_port)


def assert_tunnel_works_and_is_counted(server: SshServer, database: DatabaseAddress, **login: object) -> None:
    with tunnel(server, database, **login) as tunnelled:
        assert (server.open_connections, server.open_forwardings) == (1, 0)
        with tunnelled.connect() as one, tunnelled.connect():
            assert one.execute("SELECT current_database()").fetchone() == (database.name,)
            assert server.open_forwardings == 2
        wait_until(lambda: server.open_forwardings == 0, "the forwardings are closed")
    wait_until(lambda: server.open_connections == 0, "the connection is closed")
    assert (server.connections, server.forwardings) == (1, 2)


def test_a_tunnel_by_key_is_counted(tmp_path: Path, database: DatabaseAddress, ssh_server: StartSsh) -> None:
    public = make_key(tmp_path / "id_ed25519")
    assert_tunnel_works_and_is_counted(
        ssh_server(authorized_keys=[public]), database, ssh_pkey=str(tmp_path / "id_ed25519")
    )


def test_a_tunnel_by_password_is_counted(database: DatabaseAddress, ssh_server: StartSsh) -> None:
    assert_tunnel_works_and_is_counted(ssh_server(password="open sesame"), database, ssh_password="open sesame")


def test_an_ssh_server_lets_no_one_in_with_a_wrong_password(ssh_server: StartSsh) -> None:
    server = ssh_server(password="open sesame")
    with contextlib.closing(paramiko.Transport((server.host, server.port))) as transport:
        transport.start_client()
        with pytest.raises(paramiko.AuthenticationException):
            transport.auth_password(server.username, "wrong")
        assert server.open_connections == 1
    wait_until(lambda: server.open_connections == 0, "the connection is closed")


@pytest.mark.parametrize(("username", "key"), [("tunnel", "unknown"), ("someone", "known")])
def test_an_ssh_server_lets_no_one_in_with_a_wrong_key_or_name(
    tmp_path: Path, ssh_server: StartSsh, username: str, key: str
) -> None:
    make_key(tmp_path / "unknown")
    server = ssh_server(authorized_keys=[make_key(tmp_path / "known")])
    with contextlib.closing(paramiko.Transport((server.host, server.port))) as transport:
        transport.start_client()
        with pytest.raises(paramiko.AuthenticationException):
            transport.auth_publickey(username, paramiko.PKey.from_path(tmp_path / key))


def test_closing_an_ssh_server_cuts_what_is_open(database: DatabaseAddress) -> None:
    with SshServer(password="open sesame") as server:
        transport = paramiko.Transport((server.host, server.port))
        transport.connect(username=server.username, password="open sesame")
        channel = transport.open_channel("direct-tcpip", (database.host, database.port), ("127.0.0.1", 0))
        assert server.open_forwardings == 1
    assert (server.open_connections, server.open_forwardings) == (0, 0)
    wait_until(lambda: channel.closed, "the client has noticed")
    transport.close()


def test_a_forwarding_to_where_nobody_listens_is_refused(ssh_server: StartSsh) -> None:
    server = ssh_server(password="open sesame")
    with (
        contextlib.closing(PortBlock()) as ports,
        contextlib.closing(paramiko.Transport((server.host, server.port))) as transport,
    ):
        transport.connect(username=server.username, password="open sesame")
        with pytest.raises(paramiko.ChannelException, match="Connect failed"):
            transport.open_channel("direct-tcpip", ("127.0.0.1", ports.take()), ("127.0.0.1", 0))
    assert server.forwardings == 0


def test_the_host_key_is_the_given_one(ssh_server: StartSsh) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = ssh_server(password="x", host_key=key.export_private_key().decode())
    assert server.host_public_key == key.export_public_key().decode().strip()
    assert server.known_hosts_line == f"[127.0.0.1]:{server.port} {server.host_public_key}\n"
