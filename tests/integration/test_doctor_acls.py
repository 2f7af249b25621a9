"""What the doctor says will become of public and private objects is what a copy makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import pytest

from lab.addresses import S3Address
from lab.buckets import BucketPair, bucket_pair
from lab.fault_plan import no_faults
from lab.faults import FaultProxy
from mastosync.copying.acl import AclMode
from mastosync.copying.transfer import TransferOptions
from mastosync.doctor.buckets import CheckedStore
from mastosync.doctor.checks import OneRetry, Reporter
from mastosync.doctor.destination import check_acl
from mastosync.doctor.probes import DATA, ProbeObjects
from mastosync.findings import CheckSubject, Finding, Grade
from mastosync.runtime.stop import StopSignal
from mastosync.store.s3.curl_store import CurlStore
from mastosync.store.s3.probe import S3Probe
from tests.support.acl_answers import (
    DENIED,
    FATES,
    KEPT_BACK,
    NO_ACL,
    PASSES_OVER_PRIVATE,
    PRIVATE,
    PUBLIC_READ,
    TASTES,
    UNUSABLE,
)
from tests.support.doctor_sites import objects_in
from tests.support.raw_server import RawServer, answer
from tests.support.s3_clients import config_of


@dataclass(frozen=True)
class Way:
    """A destination on moto, the way to which leads through a proxy."""

    buckets: BucketPair
    proxy: FaultProxy
    end: CheckedStore

    def look(self, options: TransferOptions) -> dict[str, Finding]:
        """The findings about ACLs, by check. Nothing of the probes is left."""
        with ProbeObjects(self.end) as probes:
            found = {each.check: each for each in check_acl(self.end, probes, options)}
        assert not probes.left_behind
        assert objects_in(self.buckets.client, self.buckets.destination) == []
        return found


@pytest.fixture(scope="module")
def way(moto: S3Address) -> Iterator[Way]:
    """Made once: a client takes longer to make than a test takes."""
    with ExitStack() as stack:
        client = stack.enter_context(closing(moto.client()))
        buckets = stack.enter_context(bucket_pair(moto, client))
        proxy = stack.enter_context(FaultProxy(moto.endpoint_url))
        config = config_of(S3Address(proxy.endpoint_url, "key", "secret", "", ""), buckets.destination)
        store = stack.enter_context(closing(CurlStore(config, role="destination", connections=1)))
        probe = stack.enter_context(closing(S3Probe(config, role="destination")))
        yield Way(
            buckets,
            proxy,
            CheckedStore(Reporter(CheckSubject.DESTINATION), store, probe, OneRetry(StopSignal()), prefix=""),
        )


@pytest.mark.parametrize("decided", ["skip", "copy"])
@pytest.mark.parametrize("taste", TASTES)
@pytest.mark.parametrize("mode", AclMode)
def test_what_a_copy_will_make_of_objects_is_told(way: Way, mode: AclMode, taste: str, decided: str) -> None:
    way.proxy.plan = TASTES[taste]
    found = way.look(TransferOptions(acl=mode, copy_private_without_acl=decided == "copy"))
    of_public, *of_private = FATES[mode][taste]
    fates = (of_public, of_private[decided == "copy"].partition(" or ")[0])
    if {UNUSABLE, DENIED}.intersection(fates):
        assert found["acl"].grade is Grade.FAILURE
        assert "acl = " in found["acl"].remedy
        assert {found[check].grade for check in ("anonymous-read", "private")} == {Grade.SKIPPED}
        return
    surprising = mode is AclMode.AUTO and fates != (PUBLIC_READ, PRIVATE)
    assert found["acl"].grade is (Grade.WARNING if surprising else Grade.OK)
    if surprising:
        public, private = found["acl"].message.partition("; public objects are written ")[2].split(", private ones ")
        assert public == {PUBLIC_READ: "as public-read", NO_ACL: "without an ACL"}[fates[0]]
        expected = {PRIVATE: "as private", NO_ACL: "without an ACL", KEPT_BACK: "are not copied"}[fates[1]]
        assert expected in private
        assert ("[copy] private_objects" in found["acl"].remedy) == (fates[1] == KEPT_BACK)
    assert found["private"].grade is Grade.OK
    assert ("not copied" in found["private"].message) == (fates[1] == KEPT_BACK)


@pytest.mark.parametrize("mode", [AclMode.AUTO, AclMode.PRIVATE])
def test_an_acl_that_a_policy_makes_worthless_is_a_failure(way: Way, mode: AclMode) -> None:
    way.proxy.plan = TASTES["takes every ACL"]
    client, bucket = way.buckets.client, way.buckets.destination
    statement = (
        f'{{"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::{bucket}/*"]}}'
    )
    client.put_bucket_policy(Bucket=bucket, Policy=f'{{"Version": "2012-10-17", "Statement": [{statement}]}}')
    try:
        private = way.look(TransferOptions(acl=mode))["private"]
    finally:
        client.delete_bucket_policy(Bucket=bucket)
    assert private.grade is Grade.FAILURE
    assert "private_objects = skip" in private.remedy


@pytest.mark.parametrize("mode", [AclMode.AUTO, AclMode.PUBLIC_READ, AclMode.PRIVATE])
def test_a_store_that_passes_over_acls_is_found_out_before_anything_private_is_written(way: Way, mode: AclMode) -> None:
    way.proxy.plan = PASSES_OVER_PRIVATE
    found = way.look(TransferOptions(acl=mode))["private"]
    assert found.grade is Grade.FAILURE
    assert "anybody can read" in found.message
    for named in ("acl = none", "private_objects"):
        assert named in found.remedy


@pytest.mark.parametrize("mode", [AclMode.PUBLIC_READ, AclMode.PRIVATE])
def test_where_strangers_are_given_nothing_anyway_a_refusal_tells_nothing(way: Way, mode: AclMode) -> None:
    """As a copy, which stops there; what is left out, or copied whatever comes, needs no proof."""
    way.proxy.plan = no_faults
    insists = TransferOptions(acl=mode, acl_taken=False, serves_strangers=False)
    found = way.look(insists)["private"]
    assert found.grade is Grade.FAILURE
    assert "cannot check whether" in found.message
    assert "acl = auto" in found.remedy
    for decided in (replace(insists, acl=AclMode.AUTO), replace(insists, copy_private_without_acl=True)):
        assert way.look(decided)["private"].grade is Grade.OK


@pytest.mark.parametrize(("served", "grade"), [(DATA, Grade.FAILURE), (b"<html>Welcome</html>", Grade.OK)])
def test_a_host_that_gives_private_objects_to_everybody_is_found_out(way: Way, served: bytes, grade: Grade) -> None:
    """As nginx or a CDN does that reads the bucket with credentials of its own; one that greets everybody does not."""
    way.proxy.plan = no_faults
    config = config_of(S3Address(way.proxy.endpoint_url, "key", "secret", "", ""), way.buckets.destination)
    with RawServer(lambda _: answer(200, served)) as host:
        public_url = f"{host.endpoint_url}/media/"
        with closing(S3Probe(replace(config, public_url=public_url), role="destination")) as probe:
            found = replace(way, end=replace(way.end, probe=probe)).look(TransferOptions())["private"]
    assert found.grade is grade
    if grade is Grade.FAILURE:
        assert public_url in found.message
        assert "public_url" in found.message


def test_a_host_that_does_not_answer_yet_says_nothing(way: Way) -> None:
    way.proxy.plan = no_faults
    config = config_of(S3Address(way.proxy.endpoint_url, "key", "secret", "", ""), way.buckets.destination)
    with closing(S3Probe(replace(config, public_url="http://127.0.0.1:9/"), role="destination")) as probe:
        found = replace(way, end=replace(way.end, probe=probe)).look(TransferOptions())["private"]
    assert found.grade is Grade.OK
