"""known_hosts, as OpenSSH writes and reads it."""

from __future__ import annotations

import hmac
from base64 import b64encode

import pytest

from mastosync.mastodon.tunnel import HostKey, host_name, known_keys

KEY = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
OTHER = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ")
LINE = f"{KEY.kind} {KEY.data}"


def test_a_port_other_than_22_is_part_of_the_name() -> None:
    assert host_name("DB.example", 22) == "db.example"
    assert host_name("DB.example", 2222) == "[db.example]:2222"


def test_a_fingerprint_looks_like_that_of_ssh() -> None:
    """The key is GitHub's, whose fingerprint is published."""
    assert KEY.fingerprint == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU (ssh-ed25519)"


@pytest.mark.parametrize(
    ("names", "name", "meant"),
    [
        ("db.example", "db.example", True),
        ("db.example", "db.example.org", False),
        ("db.example", "xdb.example", False),
        ("dbXexample", "db.example", False),
        ("db.example", "[db.example]:2222", False),
        ("[db.example]:2222", "[db.example]:2222", True),
        ("[db.example]:2222", "db.example", False),
        ("a.example,db.example,192.0.2.1", "db.example", True),
        ("DB.Example", "db.example", True),
        ("*.example", "db.example", True),
        ("[*.example]:2222", "[db.example]:2222", True),
        ("d?.example", "db.example", True),
        ("d?.example", "dbs.example", False),
        ("*.example,!db.example", "db.example", False),
        ("*.example,!db.example", "web.example", True),
        ("!db.example", "web.example", False),
    ],
)
def test_names_and_patterns(names: str, name: str, meant: bool) -> None:
    assert (KEY in known_keys([f"{names} {LINE}"], name).accepted) == meant


@pytest.mark.parametrize("name", ["db.example", "[db.example]:2222"])
def test_hashed_names(name: str) -> None:
    salt = b"twenty bytes of salt"
    digest = hmac.digest(salt, name.encode(), "sha1")
    line = f"|1|{b64encode(salt).decode()}|{b64encode(digest).decode()} {LINE}"
    assert known_keys([line], name).accepted == (KEY,)
    assert known_keys([line], "other.example").accepted == ()


def test_all_keys_of_a_server_count() -> None:
    lines = [f"db.example {LINE}", f"*.example {OTHER.kind}\t{OTHER.data} a comment"]
    assert known_keys(lines, "db.example").accepted == (KEY, OTHER)


def test_markers() -> None:
    lines = [f"@revoked * {LINE}", f"@cert-authority *.example {OTHER.kind} {OTHER.data}"]
    assert known_keys(lines, "db.example") == ((), (KEY,))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# db.example ssh-ed25519 AAAA",
        "db.example",
        "db.example ssh-ed25519",
        "db.example ssh-ed25519 AAA",
        "db.example ssh-ed25519 !!!!",
        f"|1|broken {LINE}",
        f"|1|AAA|AAA {LINE}",
        "@revoked",
        "\N{REPLACEMENT CHARACTER}",
    ],
)
def test_lines_that_make_no_sense_say_nothing(line: str) -> None:
    assert known_keys([line, f"db.example {LINE}"], "db.example") == ((KEY,), ())
