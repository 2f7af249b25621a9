"""Addresses that a URL of somebody else may lead to: the whole list of those that it must not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastosync.store.http.addresses import REFUSED, addresses_in, refusal

IN_THEIR_PLACES = {
    "0.0.0.0": "this machine",  # noqa: S104 - to be refused
    "0.1.2.3": "this machine",
    "10.0.0.1": "private",
    "10.255.255.255": "private",
    "100.64.0.1": "carrier",
    "100.100.100.200": "carrier",  # where Alibaba's machines find their credentials
    "100.127.255.255": "carrier",
    "127.0.0.1": "this machine",
    "127.255.255.254": "this machine",
    "168.63.129.16": "Azure",
    "169.254.169.254": "credentials",
    "169.254.170.2": "credentials",  # of containers at Amazon
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "protocols",
    "192.0.0.192": "protocols",  # where Oracle's machines find theirs
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4",
    "192.168.0.1": "private",
    "198.18.0.1": "benchmarks",
    "198.19.255.255": "benchmarks",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "many",
    "239.255.255.255": "many",
    "240.0.0.1": "reserved",
    "255.255.255.255": "everybody",
    "::": "this machine",
    "::1": "this machine",
    "::127.0.0.1": "IPv4",
    "::ffff:127.0.0.1": "IPv4",
    "::ffff:8.8.8.8": "IPv4",
    "::ffff:0:127.0.0.1": "not in use",  # the translated form of RFC 2765
    "64:ff9b::7f00:1": "NAT64",
    "64:ff9b::808:808": "NAT64",
    "64:ff9b:1::a00:1": "NAT64",
    "100::1": "nowhere",
    "2001::1": "Teredo",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo",
    "2001:2::1": "protocols",
    "2001:10::1": "protocols",
    "2001:20::1": "protocols",
    "2001:db8::1": "documentation",
    "2002:7f00:1::1": "6to4",
    "2002:808:808::1": "6to4",
    "2a01:4f8::5efe:10.0.0.1": "ISATAP",
    "2a01:4f8::200:5efe:10.0.0.1": "ISATAP",
    "3fff::1": "documentation",
    "5f00::1": "segment routing",
    "4000::1": "not in use",
    "fc00::1": "private",
    "fd00:ec2::254": "private",  # where Amazon's machines find their credentials
    "fe80::1": "local link",
    "fe80::1%eth0": "local link",
    "fec0::1": "private",
    "ff02::1": "many",
    "": "no address",
    "localhost": "no address",
    "0x7f.1": "no address",
    "2130706433": "no address",
}
PUBLIC = ("1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "2a01:4f8::1")


@pytest.mark.parametrize(("address", "what"), IN_THEIR_PLACES.items())
def test_what_leads_into_ones_own_network_is_refused(address: str, what: str) -> None:
    told = refusal(address)
    assert told is not None
    assert what in told


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_not(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize(("network", "what"), REFUSED, ids=[str(network) for network, _ in REFUSED])
def test_both_ends_of_every_range_are_refused(network: object, what: str) -> None:
    found = ip_network(str(network))
    assert refusal(str(found[0])) is not None
    assert refusal(str(found[-1])) is not None
    assert what


@given(st.one_of(st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)))
def test_nothing_that_python_calls_private_is_taken(address: IPv4Address | IPv6Address) -> None:
    if refusal(str(address)) is None:
        assert address.is_global
        assert not any((address.is_multicast, address.is_reserved, address.is_loopback, address.is_link_local))


@given(st.integers(0, 2**32 - 1).map(IPv4Address), st.sampled_from(["::ffff:", "::", "64:ff9b::", "::ffff:0:"]))
def test_ipv4_in_other_forms_is_refused_whatever_it_is(address: IPv4Address, form: str) -> None:
    assert refusal(f"{form}{address}") is not None


def test_networks_named_on_purpose_are_taken_and_no_others() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("fd12::/32"))
    assert refusal("10.1.2.3", allowed) is None
    assert refusal("fd12::1", allowed) is None
    assert refusal("10.2.0.1", allowed) is not None
    assert refusal("::ffff:10.1.2.3", allowed) is not None
    assert ip_address("10.1.2.3") in allowed[0]


MEANT = {
    "127.0.0.1": {"127.0.0.1"},
    "127.0.0.1.": {"127.0.0.1"},
    "127.1": {"127.0.0.1"},
    "127.0.1": {"127.0.0.1"},
    "0x7f.1": {"127.0.0.1"},
    "0X7F.0x0.0.1": {"127.0.0.1"},
    "0x7f000001": {"127.0.0.1"},
    "2130706433": {"127.0.0.1"},
    "1.1": {"1.0.0.1"},
    "1": {"0.0.0.1"},
    "0x.1": {"0.0.0.1"},
    "0177.0.0.1": {"127.0.0.1", "177.0.0.1"},  # octal to most, and decimal to some
    "010.1.1.1": {"8.1.1.1", "10.1.1.1"},
    "1.2.3.09": {"1.2.3.9"},
    "0300.0250.1": {"192.168.0.1"},  # no decimal reading: 300 is too much
    "169.254.43518": {"169.254.169.254"},
    "[::1]": {"::1"},
    "::1": {"::1"},
    "fe80::1%25eth0": {"fe80::1"},
    "localhost": {"127.0.0.1"},
    "a.LOCALHOST.": {"127.0.0.1"},
}
NAMES = ("example.com", "example.com.", "1.example", "0x7f.example", "127.0.0.1.nip.io", "beef", "xn--p1ai", "a-1")
NEITHER = ("256.1.1.1", "1.2.3.4.5", "4294967296", "1.256.1", "0x7g.1", "a.1", "1..1", "::g", "0x1ffffffff", "..")


@pytest.mark.parametrize(("host", "addresses"), MEANT.items())
def test_a_host_that_is_an_address_in_any_form_is_known_as_one(host: str, addresses: set[str]) -> None:
    assert {str(address) for address in addresses_in(host)} == addresses


@pytest.mark.parametrize("host", NAMES)
def test_a_name_is_no_address(host: str) -> None:
    assert addresses_in(host) == frozenset()


@pytest.mark.parametrize("host", NEITHER)
def test_what_ends_as_a_number_and_is_no_address_is_no_name_either(host: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        addresses_in(host)


@given(st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(1, 4), st.sampled_from(["{:d}", "{:#x}", "0{:o}"]))
def test_every_address_is_found_in_every_form(address: IPv4Address, parts: int, form: str) -> None:
    *firsts, rest = [int(address) >> 8 * (4 - number) & 255 for number in range(1, parts)], 0
    rest = int(address) & (256 ** (5 - parts)) - 1
    host = ".".join(form.format(number) for number in (*firsts[0], rest))
    assert address in addresses_in(host)
