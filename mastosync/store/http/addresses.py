"""Which addresses may be connected to when a URL comes from somebody else.

A URL of a stranger can make a server ask what only that server can reach (server-side request forgery). So an address
is checked when it is connected to, as a name may have another address by then than when it was looked up: ranges that
lead into one's own network, to one's own machine or nowhere are refused.

Sources: the special-purpose registries of IANA for IPv4 and IPv6 (RFC 6890), and what providers document of the
services that give machines their credentials. Ranges that carry IPv4 addresses inside are refused as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this machine (RFC 791)"),
        ("10.0.0.0/8", "a private network (RFC 1918)"),
        ("100.64.0.0/10", "a carrier's network (RFC 6598)"),
        ("127.0.0.0/8", "this machine (RFC 1122)"),
        ("169.254.0.0/16", "the local link, and the services that tell a machine its credentials (RFC 3927)"),
        ("172.16.0.0/12", "a private network (RFC 1918)"),
        ("192.0.0.0/24", "for protocols (RFC 6890)"),
        ("192.0.2.0/24", "for documentation (RFC 5737)"),
        ("192.88.99.0/24", "a relay of 6to4 (RFC 7526)"),
        ("192.168.0.0/16", "a private network (RFC 1918)"),
        ("198.18.0.0/15", "for benchmarks (RFC 2544)"),
        ("198.51.100.0/24", "for documentation (RFC 5737)"),
        ("203.0.113.0/24", "for documentation (RFC 5737)"),
        ("168.63.129.16/32", "a service of Azure for its machines"),
        ("224.0.0.0/4", "for many at once (RFC 5771)"),
        ("240.0.0.0/4", "reserved, or for everybody at once (RFC 1112, RFC 919)"),
        ("2001::/23", "for protocols, Teredo among them (RFC 2928, RFC 4380)"),
        ("2001:db8::/32", "for documentation (RFC 3849)"),
        ("2002::/16", "6to4 (RFC 3056)"),
        ("3fff::/20", "for documentation (RFC 9637)"),
        ("64:ff9b::/96", "NAT64 (RFC 6052)"),
        ("64:ff9b:1::/48", "NAT64 (RFC 8215)"),
        ("::ffff:0:0/96", "an IPv4 address in another form (RFC 4291)"),
        ("::/96", "this machine, or an IPv4 address in another form (RFC 4291)"),
        ("100::/64", "nowhere (RFC 6666)"),
        ("5f00::/16", "for segment routing (RFC 9602)"),
        ("fc00::/7", "a private network (RFC 4193)"),
        ("fe80::/10", "the local link (RFC 4291)"),
        ("fec0::/10", "a private network (RFC 3879)"),
        ("ff00::/8", "for many at once (RFC 4291)"),
    )
)
"""What is refused, and what it is."""

_GLOBAL_IPV6 = IPv6Network("2000::/3")  # all that has been given away of the rest
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})  # before an IPv4 address, in the lower half (RFC 5214)


def refusal(address: str, allowed: Sequence[Network] = ()) -> str | None:
    """Why an address (as numbers) must not be connected to; None: it may be.

    `allowed`: networks that somebody has named on purpose.
    """
    try:
        found = ip_address(address.partition("%")[0])  # without the link of a local one
    except ValueError:
        return "no address at all"
    if any(_lies_in(found, network) for network in allowed):
        return None
    for network, what in REFUSED:
        if _lies_in(found, network):
            return what
    if isinstance(found, IPv6Address):
        if found not in _GLOBAL_IPV6:
            return "not in use (RFC 4291)"
        if int(found) >> 32 & 0xFFFFFFFF in _ISATAP:
            return "ISATAP (RFC 5214)"
    return None


def addresses_in(host: str) -> frozenset[IPv4Address | IPv6Address]:
    """What the host of a URL means by itself, without a look-up; nothing if it is a name.

    Numbers are read as resolvers and browsers read them: in four parts or fewer, decimal, hexadecimal or octal. With a
    zero at its head, a number is octal to most and decimal to some: both are returned. Raises: ValueError if it ends as
    an address does, and is none: nobody can say what somebody makes of it.
    """
    name = host.strip("[]").rstrip(".").lower()
    if ":" in name:
        return frozenset((IPv6Address(name.partition("%")[0]),))
    if name == "localhost" or name.endswith(".localhost"):  # whatever a name server says (RFC 6761)
        return frozenset((IPv4Address("127.0.0.1"),))
    parts = name.split(".")
    if name and not _NUMBER.fullmatch(parts[-1]):
        return frozenset()
    found = frozenset(address for base in (8, 10) if (address := _ipv4(parts, base)) is not None)
    if not found:
        raise ValueError(f"{host!r} is neither an address nor a name")
    return found


def _ipv4(parts: Sequence[str], base_after_zero: int) -> IPv4Address | None:
    """As `inet_aton` reads it: the last part has all bytes that are left."""
    try:
        *firsts, last = (_number(part, base_after_zero) for part in parts)
    except ValueError:
        return None
    if len(firsts) > 3 or any(number > 255 for number in firsts) or last >= 256 ** (4 - len(firsts)):
        return None
    return IPv4Address(sum(number << 8 * (3 - place) for place, number in enumerate(firsts)) + last)


def _number(text: str, base_after_zero: int) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("it is no number")
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, base_after_zero if text.startswith("0") else 10)


def _lies_in(address: IPv4Address | IPv6Address, network: Network) -> bool:
    return address.version == network.version and address in network
