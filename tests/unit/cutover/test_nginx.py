"""What nginx would read otherwise is refused, and a key prefix stays within its quotes."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest

from mastosync.cutover import (
    MediaHost,
    PublicBucket,
    PublicFolder,
)
from mastosync.errors import UsageError


@pytest.mark.parametrize(
    ("name", "new", "old"),
    [
        ("files.example.com; }", "https://new.example/b/", "/old"),
        ("files.example.com:0", "https://new.example/b/", "/old"),
        ("files.example.com:65536", "https://new.example/b/", "/old"),
        ("files.example.com:443;", "https://new.example/b/", "/old"),
        ("files.example.com.", "https://new.example/b/", "/old"),
        ("https://files.example.com", "https://new.example/b/", "/old"),
        ("2001:db8::1", "https://new.example/b/", "/old"),
        ("files.example.com", "https://new.example/b/;", "/old"),
        ("files.example.com", "https://new.example/$b/", "/old"),
        ("files.example.com", "https://new.example/b/", "/ol$d"),
        ("files.example.com", "https://new.example/b/", "/ol\nd"),
    ],
)
def test_nginx_is_told_nothing_that_it_would_read_otherwise(name: str, new: str, old: str) -> None:
    with pytest.raises(UsageError):
        MediaHost(name, PublicBucket(new), PublicFolder(Path(old)), ("127.0.0.1",)).render()


@pytest.mark.parametrize(
    "word",
    [
        "127.0.0.1;",
        "127.0.0.1 valid=1s; include /etc/passwd",
        "127.0.0.1\nevil",
        "ns.example.com",
        "$host",
        "[::1",
        "::1",  # nginx would read a port
        "[fe80::1%eth0]",
        "127.0.0.1:0",
        "127.0.0.1:66000",
        "",
    ],
)
def test_nor_of_name_servers_that_are_no_addresses(word: str) -> None:
    with pytest.raises(UsageError, match="name server"):
        MediaHost("files.example.com", PublicBucket("https://new/b/"), PublicFolder(Path("/old")), (word,)).render()


@pytest.mark.parametrize("prefix", ['a"b', "a\\b", "a$b", "a\nb", "a;b}", "a'b", "a{b"])
def test_a_key_prefix_stays_within_its_quotes(prefix: str, tmp_path: Path) -> None:
    host = MediaHost(
        "files.example.com", PublicBucket("https://new/b/"), PublicFolder(tmp_path), ("127.0.0.1",), (quote(prefix),)
    )
    (line,) = [each for each in host.render().split("\n    ") if "mastodon_path>" in each]
    quoted = re.fullmatch(r'"((?:[^"\\]|\\.)*)" /\$mastodon_path;\n}', line.partition("\n\n")[0], re.DOTALL)
    assert quoted, line
    pattern = re.sub(r"\\(.)", lambda each: each[1] if each[1] in '"\\' else each[0], quoted[1], flags=re.DOTALL)
    assert re.match(pattern.removeprefix("~").replace("(?<", "(?P<"), f"/{prefix}accounts")
