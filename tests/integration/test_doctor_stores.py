"""What the doctor finds out about stores: real ones, ones that break, and ones that are odd."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from lab.addresses import S3Address
from lab.buckets import BucketPair
from lab.fault_plan import (
    ACCESS_DENIED,
    INTERNAL_ERROR,
    LOST_ANSWER,
    Fault,
    FaultPlan,
    Request,
    always,
    answer,
    either,
    first,
    slow_down,
)
from lab.faults import FaultProxy
from mastosync.doctor import CheckSubject, Grade
from mastosync.errors import ExitCode
from tests.support.doctor_sites import Examined, error, examined, objects_in, odd_store, site_of
from tests.support.raw_server import RawRequest, RawServer
from tests.support.raw_server import answer as raw_answer
from tests.support.site import Site, s3_section

OK, WARNING, FAILURE, SKIPPED = Grade.OK, Grade.WARNING, Grade.FAILURE, Grade.SKIPPED

ProxyFactory = Callable[..., FaultProxy]


def allow_everybody(buckets: BucketPair, action: str, resource: str) -> None:
    """A policy of the destination."""
    statement = {"Effect": "Allow", "Principal": "*", "Action": [action], "Resource": [resource]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    buckets.client.put_bucket_policy(Bucket=buckets.destination, Policy=policy)


def nothing_is_left(buckets: BucketPair) -> None:
    for bucket in (buckets.source, buckets.destination):
        assert objects_in(buckets.client, bucket) == []


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses connections for as long as the test runs."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


class TestHealthy:
    def test_a_store_where_everything_is_right_is_all_ok(self, tmp_path: Path, buckets: BucketPair) -> None:
        """SeaweedFS keeps no ACLs of objects: here a policy says what public-read would."""
        allow_everybody(buckets, "s3:GetObject", f"arn:aws:s3:::{buckets.destination}/mastosync-doctor/*/public")
        buckets.client.put_object(Bucket=buckets.source, Key="accounts/avatars/a.png", Body=b"x" * 5000)
        found = examined(site_of(tmp_path, buckets))
        assert found.bad(CheckSubject.SOURCE) == {}
        assert found.bad(CheckSubject.DESTINATION) == {}
        assert "accounts/avatars/a.png" in found.source["read"].message
        assert objects_in(buckets.client, buckets.destination) == []

    def test_probes_lie_under_the_prefix_and_are_deleted_one_by_one(
        self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory
    ) -> None:
        proxy = fault_proxy(buckets.address.endpoint_url)
        site = site_of(tmp_path, buckets, endpoint_url=proxy.endpoint_url, key_prefix="my/prefix")
        assert FAILURE not in examined(site).bad(CheckSubject.DESTINATION).values()
        written = [each.request.key for each in proxy.requests if each.request.method in ("PUT", "POST", "DELETE")]
        assert len(set(written)) >= 5
        assert all(key.startswith("my/prefix/mastosync-doctor/") for key in written)
        assert proxy.count("DeleteObjects") == 0
        nothing_is_left(buckets)

    def test_no_two_visits_use_the_same_keys(
        self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory
    ) -> None:
        proxy = fault_proxy(buckets.address.endpoint_url)
        site = site_of(tmp_path, buckets, endpoint_url=proxy.endpoint_url)
        examined(site)
        before = {each.request.key for each in proxy.requests} - {""}
        examined(site)
        after = [each.request.key for each in proxy.requests][len(before) :]
        assert len({*after} - before - {""}) == len(before)

    def test_nothing_is_ever_written_at_the_source(
        self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory
    ) -> None:
        proxy = fault_proxy(buckets.address.endpoint_url)
        buckets.client.put_object(Bucket=buckets.source, Key="a/b", Body=b"x")
        site = site_of(tmp_path, buckets)
        site.configure(s3_source={"endpoint_url": proxy.endpoint_url})
        assert FAILURE not in examined(site).bad(CheckSubject.SOURCE).values()
        assert proxy.requests
        assert {each.request.method for each in proxy.requests} <= {"GET", "HEAD"}
        assert objects_in(buckets.client, buckets.source) == ["a/b"]

    def test_a_bucket_that_keeps_versions_keeps_none_of_the_probes(
        self, tmp_path: Path, moto_buckets: BucketPair
    ) -> None:
        moto_buckets.client.put_bucket_versioning(
            Bucket=moto_buckets.destination, VersioningConfiguration={"Status": "Enabled"}
        )
        found = examined(site_of(tmp_path, moto_buckets)).destination["delete"]
        assert found.grade is WARNING
        assert "its old version stays with its old ACL" in found.message
        nothing_is_left(moto_buckets)

    def test_an_empty_source_leaves_nothing_to_read(self, tmp_path: Path, buckets: BucketPair) -> None:
        found = examined(site_of(tmp_path, buckets)).source
        assert {found[check].grade for check in ("read", "head", "ranges", "anonymous-read")} == {SKIPPED}


class TestAccess:
    """What keeps both ends from being used, told of the destination."""

    def of(self, site: Site, check: str, code: ExitCode = ExitCode.STORE) -> str:
        """The remedy of the one failure of the destination; what follows it is skipped."""
        found = examined(site)
        bad = found.bad(CheckSubject.DESTINATION)
        assert bad.pop(check) is FAILURE
        assert set(bad.values()) <= {SKIPPED}
        assert {"write", "delete", "acl"} <= bad.keys()
        assert found.destination[check].exit_code == code
        return found.destination[check].remedy

    def test_a_wrong_secret(self, tmp_path: Path, buckets: BucketPair) -> None:
        remedy = self.of(site_of(tmp_path, buckets, secret_key="marked-secret"), "credentials")
        assert "secret_key" in remedy
        assert "region" in remedy

    def test_an_unknown_access_key(self, tmp_path: Path, buckets: BucketPair) -> None:
        assert "access_key" in self.of(site_of(tmp_path, buckets, access_key="NOBODY"), "credentials")

    def test_a_bucket_that_does_not_exist(self, tmp_path: Path, buckets: BucketPair) -> None:
        assert "bucket" in self.of(site_of(tmp_path, buckets, bucket="no-such-bucket"), "bucket")

    def test_a_port_that_is_closed(self, tmp_path: Path, buckets: BucketPair, closed_port: int) -> None:
        site = site_of(tmp_path, buckets, endpoint_url=f"http://127.0.0.1:{closed_port}")
        assert "endpoint_url" in self.of(site, "endpoint")

    def test_a_server_that_says_nothing_is_not_waited_for_twice(self, tmp_path: Path, buckets: BucketPair) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            self.of(site_of(tmp_path, buckets, endpoint_url=url, read_timeout_seconds="4"), "endpoint")
            silent.setblocking(False)
            silent.accept()[0].close()
            with pytest.raises(BlockingIOError):
                silent.accept()

    @pytest.mark.parametrize("status", [200, 403, 404])
    def test_a_web_site(self, tmp_path: Path, buckets: BucketPair, status: int) -> None:
        with RawServer(lambda _: raw_answer(status, b"<html><h1>Welcome</h1></html>")) as server:
            assert "endpoint_url" in self.of(site_of(tmp_path, buckets, endpoint_url=server.endpoint_url), "endpoint")

    def test_a_region_that_another_bucket_has_is_told(self, tmp_path: Path, buckets: BucketPair) -> None:
        told = error(400, "AuthorizationHeaderMalformed", "expecting 'eu-west-1'")
        with RawServer(lambda _: told) as server:
            remedy = self.of(site_of(tmp_path, buckets, endpoint_url=server.endpoint_url), "credentials")
        assert "region" in remedy

    def test_a_bucket_that_is_missing_in_the_configuration(self, tmp_path: Path, buckets: BucketPair) -> None:
        site = site_of(tmp_path, buckets)
        del site.sections["s3.destination"]["bucket"]
        assert "MASTOSYNC_S3_DESTINATION_BUCKET" in self.of(site.configure(), "configuration", ExitCode.CONFIG)

    def test_the_source_is_no_destination(self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory) -> None:
        proxy = fault_proxy(buckets.address.endpoint_url)
        site = site_of(tmp_path, buckets, bucket=buckets.source, endpoint_url=proxy.endpoint_url)
        site.configure(s3_source={"endpoint_url": proxy.endpoint_url})
        assert "bucket" in self.of(site, "configuration", ExitCode.CONFIG)
        assert {each.request.method for each in proxy.requests} <= {"GET", "HEAD"}

    def test_a_bucket_name_in_the_wrong_place(self, tmp_path: Path, buckets: BucketPair) -> None:
        port = buckets.address.endpoint_url.rpartition(":")[2]
        site = site_of(tmp_path, buckets, endpoint_url=f"http://localhost:{port}", addressing_style="virtual")
        assert "addressing_style = path" in self.of(site, "endpoint")

    def test_a_bucket_that_is_named_twice_on_purpose(self, tmp_path: Path, buckets: BucketPair) -> None:
        """SeaweedFS finds an object of the name of the bucket, or none: that is a matter of the bucket."""
        url = f"{buckets.address.endpoint_url}/{buckets.destination}"
        remedy = self.of(site_of(tmp_path, buckets, endpoint_url=url, addressing_style="path"), "bucket")
        assert "endpoint_url" in remedy

    def test_the_other_end_is_looked_at_all_the_same(self, tmp_path: Path, buckets: BucketPair) -> None:
        buckets.client.put_object(Bucket=buckets.source, Key="a", Body=b"x")
        found = examined(site_of(tmp_path, buckets, secret_key="marked-secret"))
        assert found.bad(CheckSubject.SOURCE) == {}

    def test_one_failure_that_passes_is_none(
        self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory
    ) -> None:
        plan = either(first(1, INTERNAL_ERROR, operation="ListObjects"), first(1, slow_down(0), operation="PutObject"))
        proxy = fault_proxy(buckets.address.endpoint_url, plan)
        found = examined(site_of(tmp_path, buckets, endpoint_url=proxy.endpoint_url))
        assert FAILURE not in found.bad(CheckSubject.DESTINATION).values()
        nothing_is_left(buckets)

    def test_a_store_in_trouble(self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory) -> None:
        proxy = fault_proxy(buckets.address.endpoint_url, always(slow_down(0)))
        self.of(site_of(tmp_path, buckets, endpoint_url=proxy.endpoint_url), "endpoint")
        assert len(proxy.requests) < 12


class TestClock:
    @pytest.mark.parametrize(
        ("minutes", "grade", "word"),
        [(0, OK, ""), (3, WARNING, "behind"), (-3, WARNING, "ahead of"), (60, FAILURE, "behind")],
    )
    def test_it_is_held_against_the_stores(
        self, tmp_path: Path, buckets: BucketPair, minutes: int, grade: Grade, word: str
    ) -> None:
        def another_time(_: RawRequest, told: bytes) -> bytes:
            date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
            return re.sub(rb"(?i)\r\ndate:[^\r]*", f"\r\nDate: {date}".encode(), told, count=1)

        with odd_store(buckets.address.endpoint_url, another_time) as server:
            found = examined(site_of(tmp_path, buckets, endpoint_url=server.endpoint_url)).destination["clock"]
        assert found.grade is grade
        assert word in found.message
        assert "NTP" in found.remedy or grade is OK

    def test_a_store_that_does_not_tell_the_time(self, tmp_path: Path, buckets: BucketPair) -> None:
        def timeless(_: RawRequest, told: bytes) -> bytes:
            return re.sub(rb"(?i)\r\ndate:[^\r]*", b"", told, count=1)

        with odd_store(buckets.address.endpoint_url, timeless) as server:
            found = examined(site_of(tmp_path, buckets, endpoint_url=server.endpoint_url))
        assert found.destination["clock"].grade is SKIPPED


class TestSource:
    def through(self, tmp_path: Path, buckets: BucketPair, proxy: FaultProxy) -> Examined:
        site = site_of(tmp_path, buckets)
        site.configure(s3_source={"endpoint_url": proxy.endpoint_url})
        buckets.client.put_object(Bucket=buckets.source, Key="accounts/a.png", Body=b"x" * 3000)
        return examined(site)

    def test_403_for_a_missing_key(self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory) -> None:
        plan = always(ACCESS_DENIED, operation="GetObject", key="mastosync-doctor/*")
        found = self.through(tmp_path, buckets, fault_proxy(buckets.address.endpoint_url, plan)).source
        assert found["missing-key"].grade is WARNING
        assert "`denied`" in found["missing-key"].message
        assert "list" in found["missing-key"].remedy
        assert found["read"].grade is OK

    def test_a_key_that_may_not_list(self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory) -> None:
        plan = always(ACCESS_DENIED, operation="ListObjects")
        found = self.through(tmp_path, buckets, fault_proxy(buckets.address.endpoint_url, plan)).source
        assert "may not list" in found["bucket"].message
        assert found["missing-key"].grade is OK
        assert found["read"].grade is SKIPPED

    def test_a_key_that_may_list_but_not_read(
        self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory
    ) -> None:
        plan = always(ACCESS_DENIED, operation="GetObject")
        found = self.through(tmp_path, buckets, fault_proxy(buckets.address.endpoint_url, plan)).source
        assert found["read"].grade is FAILURE
        assert "s3:GetObject" in found["read"].remedy

    def test_a_store_that_serves_no_ranges(self, tmp_path: Path, buckets: BucketPair) -> None:
        def whole(request: RawRequest, told: bytes) -> bytes:
            return raw_answer(200, b"x" * 3000, 'ETag: "0"\r\n') if "range" in request.headers else told

        with odd_store(buckets.address.endpoint_url, whole) as server:
            site = site_of(tmp_path, buckets)
            site.configure(s3_source={"endpoint_url": server.endpoint_url})
            buckets.client.put_object(Bucket=buckets.source, Key="a", Body=b"x" * 3000)
            found = examined(site).source
        assert found["ranges"].grade is WARNING
        assert "multipart_threshold" in found["ranges"].remedy

    def test_a_store_that_has_whatever_it_is_asked_for(self, tmp_path: Path, buckets: BucketPair) -> None:
        """A web site that sends its start page for every address. At the destination, nothing is written then."""

        def start_page(request: RawRequest, told: bytes) -> bytes:
            is_listing = b"list-type" in request.head.partition(b"\r\n")[0]
            return told if is_listing else raw_answer(200, b"Welcome", f'ETag: "{"0" * 31}"\r\n')

        with odd_store(buckets.address.endpoint_url, start_page) as server:
            site = site_of(tmp_path, buckets, endpoint_url=server.endpoint_url)
            site.configure(s3_source={"endpoint_url": server.endpoint_url})
            found = examined(site)
            methods = {request.head.partition(b" ")[0] for request in server.requests}
        for subject in (CheckSubject.SOURCE, CheckSubject.DESTINATION):
            assert found.of(subject)["missing-key"].grade is FAILURE
        assert found.destination["write"].grade is SKIPPED
        assert methods <= {b"GET", b"HEAD"}

    def test_an_open_list_and_open_objects(self, tmp_path: Path, moto_buckets: BucketPair) -> None:
        """moto lets everybody list."""
        client, source = moto_buckets.client, moto_buckets.source
        client.put_object(Bucket=source, Key="a", Body=b"x", ACL="public-read")
        found = examined(site_of(tmp_path, moto_buckets)).source
        assert found["anonymous-list"].grade is WARNING
        assert "s3:ListBucket" in found["anonymous-list"].remedy
        assert found["anonymous-read"].message.startswith("anybody")


class TestDestination:
    def through(self, tmp_path: Path, buckets: BucketPair, proxy: FaultProxy) -> Examined:
        return examined(site_of(tmp_path, buckets, endpoint_url=proxy.endpoint_url))

    def test_a_key_that_may_only_read(self, tmp_path: Path, buckets: BucketPair) -> None:
        address = buckets.address
        keys = {"access_key": address.reader_access_key, "secret_key": address.reader_secret_key}
        found = examined(site_of(tmp_path, buckets, **keys))
        write = found.destination["write"]
        assert (write.grade, write.exit_code) == (FAILURE, ExitCode.STORE)
        assert "s3:PutObject" in write.remedy
        assert found.destination["acl"].grade is SKIPPED
        assert found.diagnosis.exit_code == ExitCode.STORE
        nothing_is_left(buckets)

    def test_a_key_that_may_not_read(self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory) -> None:
        plan = always(ACCESS_DENIED, operation="GetObject")
        found = self.through(tmp_path, buckets, fault_proxy(buckets.address.endpoint_url, plan)).destination
        assert found["missing-key"].grade is WARNING
        assert found["read"].grade is WARNING
        assert "s3:GetObject" in found["read"].remedy
        assert found["multipart"].grade is OK
        nothing_is_left(buckets)

    def test_a_key_that_may_not_delete_leaves_one_object_and_names_it(
        self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory
    ) -> None:
        proxy = fault_proxy(buckets.address.endpoint_url, always(ACCESS_DENIED, operation="DeleteObject"))
        found = self.through(tmp_path, buckets, proxy)
        assert found.bad(CheckSubject.DESTINATION) == {
            "anonymous-read": WARNING,
            "delete": WARNING,
            "left-behind": WARNING,
        }
        left = objects_in(buckets.client, buckets.destination)
        assert len(left) == 1
        assert left[0] in found.destination["left-behind"].remedy
        assert found.diagnosis.exit_code != ExitCode.STORE

    def test_a_key_that_may_not_delete_versions(
        self, tmp_path: Path, moto_buckets: BucketPair, fault_proxy: ProxyFactory
    ) -> None:
        def no_versions(request: Request) -> Fault | None:
            return ACCESS_DENIED if request.method == "DELETE" and "versionId" in request.query else None

        moto_buckets.client.put_bucket_versioning(
            Bucket=moto_buckets.destination, VersioningConfiguration={"Status": "Enabled"}
        )
        proxy = fault_proxy(moto_buckets.address.endpoint_url, no_versions)
        found = self.through(tmp_path, moto_buckets, proxy).destination
        assert "hidden" in found["delete"].message
        assert "s3:DeleteObjectVersion" in found["delete"].remedy
        client, bucket = moto_buckets.client, moto_buckets.destination
        assert "Contents" not in client.list_objects_v2(Bucket=bucket)
        kept = client.list_object_versions(Bucket=bucket)
        for each in (*kept.get("Versions", []), *kept.get("DeleteMarkers", [])):
            client.delete_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])

    @pytest.mark.parametrize(
        "plan",
        [
            always(LOST_ANSWER, operation="PutObject"),
            always(LOST_ANSWER, operation="CompleteMultipartUpload"),
            always(LOST_ANSWER, operation="CreateMultipartUpload"),
            always(INTERNAL_ERROR, operation="UploadPart"),
            always(INTERNAL_ERROR, operation="HeadObject"),
            first(1, INTERNAL_ERROR, operation="DeleteObject"),
        ],
        ids=["put", "complete", "create", "part", "head", "delete"],
    )
    def test_probes_are_removed_whatever_fails(
        self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory, plan: FaultPlan
    ) -> None:
        found = self.through(tmp_path, buckets, fault_proxy(buckets.address.endpoint_url, plan))
        assert "left-behind" not in found.destination
        nothing_is_left(buckets)

    def test_uploads_in_parts_that_fail(self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory) -> None:
        plan = always(answer(501, "NotImplemented"), operation="CreateMultipartUpload")
        found = self.through(tmp_path, buckets, fault_proxy(buckets.address.endpoint_url, plan)).destination
        assert found["multipart"].grade is WARNING
        assert "200.0 MiB" in found["multipart"].message
        assert "multipart_threshold" in found["multipart"].remedy

    def test_uploads_in_parts_that_cannot_be_given_up(
        self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory
    ) -> None:
        plan = always(ACCESS_DENIED, operation="AbortMultipartUpload")
        found = self.through(tmp_path, buckets, fault_proxy(buckets.address.endpoint_url, plan)).destination
        assert "s3:AbortMultipartUpload" in found["multipart"].remedy
        assert found["left-behind"].grade is WARNING
        assert "Contents" not in buckets.client.list_objects_v2(Bucket=buckets.destination)

    def test_a_storage_class_that_it_does_not_have(
        self, tmp_path: Path, buckets: BucketPair, fault_proxy: ProxyFactory
    ) -> None:
        plan = always(answer(400, "InvalidStorageClass"), operation="PutObject")
        found = self.through(tmp_path, buckets, fault_proxy(buckets.address.endpoint_url, plan)).destination
        assert found["write"].grade is FAILURE
        assert "storage_class" in found["write"].remedy

    def test_headers_that_are_not_kept(self, tmp_path: Path, buckets: BucketPair) -> None:
        def forgetful(_: RawRequest, told: bytes) -> bytes:
            return re.sub(rb"(?i)\r\n(cache-control|x-amz-meta-probe):[^\r]*", b"", told)

        with odd_store(buckets.address.endpoint_url, forgetful) as server:
            found = examined(site_of(tmp_path, buckets, endpoint_url=server.endpoint_url)).destination
        assert found["headers"].grade is WARNING
        assert "Cache-Control, metadata" in found["headers"].message

    def test_content_md5_that_nobody_looks_at(self, tmp_path: Path, moto_buckets: BucketPair) -> None:
        found = examined(site_of(tmp_path, moto_buckets)).destination["checksum"]
        assert found.grade is OK, "nothing has to be done"
        assert "mastosync compares it with the MD5 of every upload" in found.message
        nothing_is_left(moto_buckets)

    def test_neither_content_md5_nor_an_etag_that_tells(self, tmp_path: Path, moto_buckets: BucketPair) -> None:
        def other_etags(_: RawRequest, told: bytes) -> bytes:
            return re.sub(rb'(?i)\r\netag: "', b"\\g<0>x", told)

        with odd_store(moto_buckets.address.endpoint_url, other_etags) as server:
            found = examined(site_of(tmp_path, moto_buckets, endpoint_url=server.endpoint_url)).destination
        assert "no MD5" in found["checksum"].message
        assert "https" in found["checksum"].remedy
        assert found["private"].grade is OK


class TestAcl:
    """moto keeps ACLs of objects, and looks at them when somebody without credentials asks."""

    def of(self, tmp_path: Path, buckets: BucketPair, acl: str, private_objects: str, **destination: str) -> Examined:
        site = site_of(tmp_path, buckets, acl=acl, **destination)
        found = examined(site.configure(copy={"private_objects": private_objects}))
        nothing_is_left(buckets)
        return found

    @pytest.mark.parametrize("private_objects", ["skip", "copy"])
    @pytest.mark.parametrize(
        ("acl", "anonymous"), [("auto", OK), ("public-read", OK), ("private", OK), ("none", WARNING)]
    )
    def test_a_store_with_acls(
        self, tmp_path: Path, moto_buckets: BucketPair, acl: str, anonymous: Grade, private_objects: str
    ) -> None:
        found = self.of(tmp_path, moto_buckets, acl, private_objects).destination
        assert (found["acl"].grade, found["anonymous-read"].grade, found["private"].grade) == (OK, anonymous, OK)
        if anonymous is WARNING:
            assert "S3_ALIAS_HOST" in found["anonymous-read"].remedy

    @pytest.mark.parametrize(
        ("acl", "private_objects", "grade"),
        [
            ("auto", "skip", FAILURE),
            ("auto", "copy", FAILURE),
            ("private", "skip", FAILURE),
            ("none", "copy", FAILURE),
            ("none", "skip", OK),
        ],
    )
    def test_a_policy_that_makes_everything_public(
        self, tmp_path: Path, moto_buckets: BucketPair, acl: str, private_objects: str, grade: Grade
    ) -> None:
        allow_everybody(moto_buckets, "s3:GetObject", f"arn:aws:s3:::{moto_buckets.destination}/*")
        found = self.of(tmp_path, moto_buckets, acl, private_objects)
        private = found.destination["private"]
        assert private.grade is grade
        assert found.destination["anonymous-read"].grade is OK
        if grade is FAILURE:
            assert "backups" in private.message
            assert "private_objects = skip" in private.remedy

    @pytest.mark.parametrize(("private_objects", "grade"), [("skip", OK), ("copy", FAILURE)])
    def test_a_provider_that_is_known_to_take_none_is_not_asked(
        self, tmp_path: Path, moto_buckets: BucketPair, fault_proxy: ProxyFactory, private_objects: str, grade: Grade
    ) -> None:
        allow_everybody(moto_buckets, "s3:GetObject", f"arn:aws:s3:::{moto_buckets.destination}/*")
        proxy = fault_proxy(moto_buckets.address.endpoint_url)
        known = {"endpoint_url": proxy.endpoint_url, "provider": "minio"}
        found = self.of(tmp_path, moto_buckets, "auto", private_objects, **known).destination
        assert not [each for each in proxy.requests if "x-amz-acl" in each.request.headers]
        assert (found["acl"].grade, found["anonymous-read"].grade, found["private"].grade) == (OK, OK, grade)

    def test_an_acl_that_a_store_takes_and_forgets(
        self, tmp_path: Path, buckets: BucketPair, seaweed: S3Address
    ) -> None:
        """SeaweedFS does. With a policy that opens the bucket, what was written as private is public."""
        allow_everybody(buckets, "s3:GetObject", f"arn:aws:s3:::{buckets.destination}/*")
        site = Site(tmp_path).configure(
            s3_source=s3_section(seaweed, buckets.source), s3_destination=s3_section(seaweed, buckets.destination)
        )
        found = examined(site).destination
        assert (found["acl"].grade, found["private"].grade) == (OK, FAILURE)
