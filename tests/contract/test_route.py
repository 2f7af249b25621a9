"""The way to a bucket as we tell it without boto3, beside what boto3 tells: where both speak, they say the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import botocore.httpsession
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mastosync.config import S3Config, Secret
from mastosync.store.s3.boto_client import make_client, route_to
from mastosync.store.s3.route import plain_route
from tests.support.s3_clients import MADE_UP

HOSTS = (
    "s3.example.com",
    "localhost",
    "media.example",
    "127.0.0.1",
    "10.0.0.255",
    "[::1]",
    "[2001:db8::7]",
    "S3.Example.com",
    "s3_store.example.com",
    "s3.example.com.",
    "-s3.example.com",
    "user:word@s3.example.com",
    "bücher.example",
    "xn--bcher-kva.example",
    "s3.eu-west-1.amazonaws.com",
    "s3.amazonaws.com",
    "s3-accelerate.amazonaws.com",
    "s3-fips.us-east-1.amazonaws.com",
    "a" * 64 + ".example",
    ".".join(["abc"] * 80),
    "1.2.3",
    "256.256.256.256",
    "example.123",
    "0x7f.1",
)
PORTS = ("", ":80", ":443", ":9000", ":65535", ":0", ":99999", ":", ":08")
PATHS = (
    "",
    "/",
    "/a",
    "/a/b",
    "/a/",
    "//",
    "/a//b",
    "/a.b",
    "/../a",
    "/%41",
    "/a b",
    "/ä",
    "/~a",
    "/a_b-c",
    "?x=1",
    "#x",
)
BUCKETS = (
    "media",
    "media.example.com",
    "Media",
    "my_bucket",
    "ab",
    "abc",
    "a" * 63,
    "a" * 64,
    "a" * 255,
    "-media",
    "media-",
    "me--dia",
    "xn--media",
    "media--x-s3",
    "media--xa-s3",
    "media--op-s3",
    "media-s3alias",
    "192.168.0.1",
    "a..b",
    "..",
    ".",
    "a/b",
    "a b",
    "",
    "arn:aws:s3:us-west-2:123456789012:accesspoint/mine",
    "123",
)
REGIONS = (
    "us-east-1",
    "eu-west-1",
    "auto",
    "fsn1",
    "nl-ams",
    "aws-global",
    "fips-us-east-1",
    "us_east",
    "US",
    "a" * 64,
)
PROXIES = ("", "http://127.0.0.1:3128", "proxy.example:80", "https://u:p@proxy.example")
EXCEPTIONS = ("", "*", "example.com", ".example.com", "s3.example.com:9000", "127.0.0.1", "localhost, media.example")
CONFIG = replace(MADE_UP, endpoint_url="https://s3.example.com", bucket="media", addressing_style="path")


@pytest.fixture(scope="module", autouse=True)
def _nothing_said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The machine of somebody who has set nothing."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(("AWS_", "BOTO", "REQUESTS_")) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


def is_claimed(config: S3Config) -> bool:
    """Whether we tell the way ourselves; if so, boto3 tells the same."""
    ours = plain_route(config)
    if ours is None:
        return False
    with closing(make_client(config, 1)) as client:
        theirs = route_to(client, config.bucket or "")
        endpoint = client.meta.endpoint_url
    assert (ours, config.endpoint_url) == (theirs, endpoint)
    return True


labels = st.text("abcz019-AZ_", min_size=1, max_size=8)
hosts = st.one_of(st.sampled_from(HOSTS), st.lists(labels, min_size=1, max_size=4).map(".".join))
paths = st.one_of(st.sampled_from(PATHS), st.text("ab/.-_~%2", max_size=6).map("/{}".format))
buckets = st.one_of(st.sampled_from(BUCKETS), st.text("abz09.-_AZ/: ", min_size=1, max_size=12))


@settings(max_examples=250, deadline=None)
@given(
    endpoint=st.builds("{}://{}{}{}".format, st.sampled_from(["http", "https"]), hosts, st.sampled_from(PORTS), paths),
    bucket=buckets,
    style=st.sampled_from(["auto", "path", "virtual"]),
    region=st.one_of(st.sampled_from(REGIONS), st.text("abz09-", min_size=1, max_size=12)),
)
def test_whatever_the_address_is_we_never_tell_another_way(endpoint: str, bucket: str, style: str, region: str) -> None:
    is_claimed(replace(CONFIG, endpoint_url=endpoint, bucket=bucket, addressing_style=style, region=region))


@settings(max_examples=120, deadline=None)
@given(
    host=hosts.filter(lambda host: plain_route(replace(CONFIG, endpoint_url=f"https://{host}")) is not None),
    port=st.sampled_from(["", ":80", ":443", ":9000"]),
    path=st.sampled_from(["", "/a", "/a/b-c_d"]),
    bucket=buckets.filter(lambda name: plain_route(replace(CONFIG, bucket=name)) is not None),
    style=st.sampled_from(["auto", "path", "virtual"]),
    environment=st.fixed_dictionaries(
        {},
        optional={
            "http_proxy": st.sampled_from(PROXIES),
            "HTTP_PROXY": st.sampled_from(PROXIES),
            "https_proxy": st.sampled_from(PROXIES),
            "HTTPS_PROXY": st.sampled_from(PROXIES),
            "all_proxy": st.sampled_from(PROXIES),
            "no_proxy": st.sampled_from(EXCEPTIONS),
            "NO_PROXY": st.sampled_from(EXCEPTIONS),
            "AWS_CA_BUNDLE": st.sampled_from(["", " ", "/etc/bundle.pem"]),
            "REQUESTS_CA_BUNDLE": st.sampled_from(["", "/etc/requests.pem"]),
            "AWS_REGION": st.just("ap-south-1"),
            "AWS_DEFAULT_REGION": st.just("ap-south-1"),
            "AWS_SESSION_TOKEN": st.just("token"),
        },
    ),
)
def test_whatever_the_environment_is_we_never_tell_another_way(
    host: str, port: str, path: str, bucket: str, style: str, environment: Mapping[str, str]
) -> None:
    """Of addresses that we claim to know, so that most examples compare something."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        for scheme in ("http", "https"):
            config = replace(CONFIG, endpoint_url=f"{scheme}://{host}{port}{path}", bucket=bucket)
            claimed = is_claimed(replace(config, addressing_style=style))
            blank = not all(environment.get(name, "file").strip() for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"))
            assert claimed or blank or style == "virtual"


class TestClaims:
    @pytest.mark.parametrize(
        ("endpoint_url", "bucket", "style"),
        [
            ("https://s3.example.com", "media", "path"),
            ("https://s3.example.com", "media", "auto"),
            ("https://s3.example.com", "media", "virtual"),
            ("https://s3.example.com", "media.example.com", "path"),
            ("https://s3.example.com", "My_Bucket", "path"),
            ("https://s3.example.com:8443/a/b", "media", "path"),
            ("https://s3.example.com:8443/a/b", "media", "virtual"),
            ("http://127.0.0.1:9000", "media", "path"),
            ("http://localhost:8333", "media", "auto"),
            ("https://fsn1.your-objectstorage.com", "media", "virtual"),
            ("https://s3.eu-central-003.backblazeb2.com", "media", "path"),
            ("https://0123456789abcdef.r2.cloudflarestorage.com", "media", "path"),
        ],
    )
    def test_ordinary_addresses_need_no_boto3(self, endpoint_url: str, bucket: str, style: str) -> None:
        assert is_claimed(replace(CONFIG, endpoint_url=endpoint_url, bucket=bucket, addressing_style=style))

    @pytest.mark.parametrize(
        "change",
        [
            {"endpoint_url": None},
            {"endpoint_url": "https://[::1]:9000"},
            {"endpoint_url": "https://s3.example.com:65536"},
            {"endpoint_url": "https://s3.example.com/"},
            {"endpoint_url": "https://s3_store.example.com"},
            {"endpoint_url": "https://S3.example.com"},
            {"endpoint_url": f"https://{'a' * 64}.example.com"},
            {"endpoint_url": "https://user@s3.example.com"},
            {"endpoint_url": "https://s3-accelerate.amazonaws.com"},
            {"endpoint_url": "https://s3.example.com/a/../b"},
            {"bucket": "a/b"},
            {"bucket": "arn:aws:s3:us-west-2:123456789012:accesspoint/mine"},
            {"bucket": "media--x-s3"},
            {"bucket": "media.example.com", "addressing_style": "virtual"},
            {"endpoint_url": "http://127.0.0.1:9000", "addressing_style": "virtual"},
            {"region": "fips-us-east-1"},
            {"region": "aws-global"},
            {"access_key": None, "secret_key": None},
            {"secret_key": Secret("")},
        ],
        ids=str,
    )
    def test_what_is_out_of_the_ordinary_is_left_to_boto3(self, change: Mapping[str, object]) -> None:
        assert plain_route(replace(CONFIG, **change)) is None  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "name",
        [
            "AWS_CONFIG_FILE",
            "AWS_PROFILE",
            "AWS_DEFAULT_PROFILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_USE_DUALSTACK_ENDPOINT",
            "AWS_USE_FIPS_ENDPOINT",
            "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT",
            "AWS_ENDPOINT_URL",
            "AWS_DATA_PATH",
            "AWS_SOMETHING_NEW",
            "BOTO_CONFIG",
        ],
    )
    def test_so_is_everything_where_the_environment_speaks(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(name, "")
        assert plain_route(CONFIG) is None

    def test_so_is_everything_where_the_home_speaks(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert is_claimed(CONFIG)
        (tmp_path / ".aws").mkdir()
        assert plain_route(CONFIG) is None

    def test_its_certificates_are_those_of_botocore_where_there_are_no_others(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "certifi", None)  # as where it is not installed
        route = plain_route(CONFIG)
        assert route is not None
        assert route.ca_bundle == botocore.httpsession.DEFAULT_CA_BUNDLE
