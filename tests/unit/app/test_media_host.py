"""Which media host nginx is told to be, and which stores it asks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mastosync.app.cutover import CutoverOptions, cutover_from
from mastosync.app.mastodon_settings import system_redirect
from mastosync.config import Config, FilesystemConfig, S3Config
from mastosync.cutover import (
    Fallback,
    PublicFolder,
)
from mastosync.errors import UsageError
from tests.support.cutover_evidence import BUCKET, NAMED, configured
from tests.support.entries import entry
from tests.support.manifests import planned


@pytest.mark.parametrize(
    ("public_url", "media_host", "listen", "server_name", "alias", "protocol"),
    [
        ("https://files.example", None, "443 ssl", "files.example", "files.example", "https"),
        ("https://files.example:8443", None, "8443 ssl", "files.example", "files.example:8443", "https"),
        ("http://files.example", None, "80", "files.example", "files.example", "http"),
        ("http://127.0.0.1:8080", None, "8080", "127.0.0.1", "127.0.0.1:8080", "http"),
        ("http://[::1]:8080", None, "8080", "[::1]", "[::1]:8080", "http"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "8080", "127.0.0.1", "127.0.0.1:8080", "http"),
        (None, "files.example:8443", "8443 ssl", "files.example", "files.example:8443", "https"),
        ("https://cdn.example:1", "files.example:8443", "8443 ssl", "files.example", "files.example:8443", "https"),
    ],
)
def test_the_media_host_answers_at_its_own_port(
    tmp_path: Path,
    public_url: str | None,
    media_host: str | None,
    listen: str,
    server_name: str,
    alias: str,
    protocol: str,
) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(
            configured(tmp_path, public_url=public_url), manifest, CutoverOptions(media_host=media_host)
        )
    text = report.require_fallback().render()
    assert re.findall(r"^ *listen (.*);$", text, re.MULTILINE) == [listen, f"[::]:{listen}"]
    assert f" server_name {server_name};" in text
    assert ("ssl_certificate" in text) is (protocol == "https")
    if protocol == "https":
        assert f'"/etc/letsencrypt/live/{server_name}/fullchain.pem"' in text
    told = {each.name: each.value for each in report.settings}
    assert (told["S3_ALIAS_HOST"], told["S3_PROTOCOL"]) == (alias, protocol)


@pytest.mark.parametrize(
    ("root", "told"),
    [(None, "^~ /system/ "), ("/media-files", "^~ /media-files/ "), ("https://files.example", None), ("/a b", None)],
)
def test_only_who_leaves_a_disk_is_told_to_send_browsers_on(tmp_path: Path, root: str | None, told: str | None) -> None:
    env = tmp_path / ".env"
    env.write_text("LOCAL_DOMAIN=a.example\n" + (f"PAPERCLIP_ROOT_URL='{root}'\n" if root else ""))
    options = CutoverOptions(media_host="files.example:8443", env=env)
    folder = Config(source_folder=FilesystemConfig(path=tmp_path), destination=replace(BUCKET, key_prefix="a b"))
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        over = cutover_from(folder, manifest, options).over
        assert not any("snippets" in step.what for step in cutover_from(configured(tmp_path), manifest, options).over)
    (*found,) = [step for step in over if "snippets" in step.what]
    assert len(found) == (told is not None)
    if told:
        (command,) = [command for command in found[0].lines if "printf" in command]
        assert told in command
        assert "301 https://files.example:8443/a%20b/$mastodon_medium;" in command


@pytest.mark.parametrize(
    ("text", "taken", "left_out"),
    [
        ("nameserver 192.0.2.1\nnameserver 2001:db8::1\n", ("192.0.2.1", "[2001:db8::1]"), 0),
        ("nameserver [2001:db8::1]:5353\nnameserver 192.0.2.1:53\n", ("[2001:db8::1]:5353", "192.0.2.1:53"), 0),
        ("nameserver [::1]\nnameserver 2001:DB8:0:0::1\n", ("[::1]", "[2001:db8::1]"), 0),
        ("nameserver fe80::1%eth0\nnameserver 192.0.2.1\n", ("192.0.2.1",), 1),
        ("nameserver 192.0.2.1;include /etc/shadow;\nnameserver 192.0.2.2\n", ("192.0.2.2",), 1),
        ("nameserver 192.0.2.1} # comment\n", ("127.0.0.53",), 1),
        ("nameserver $remote_addr\nnameserver 'x\nnameserver ns.example.com\n", ("127.0.0.53",), 3),
        ("nameserver 127.1\nnameserver 0x7f.1\n", ("127.0.0.53",), 2),
        ("search example.com\nnameserver\n# nameserver 192.0.2.9\n", ("127.0.0.53",), 0),
    ],
)
def test_of_resolv_conf_only_addresses_are_taken_and_the_rest_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
    taken: tuple[str, ...],
    left_out: int,
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(text)
    monkeypatch.setattr("mastosync.app.mastodon_settings._RESOLV_CONF", path)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(configured(tmp_path), manifest, NAMED)
    host = report.require_fallback()
    assert host.resolvers == taken
    assert f"resolver {' '.join(taken)} valid=60s;" in host.render()
    assert len([each for each in caplog.records if "no address" in each.getMessage()]) == left_out


@pytest.mark.parametrize(
    ("host", "told"), [("files.example.com", True), ("files.example.com:8443", True), ("a;} location / {#", False)]
)
def test_what_sends_browsers_on_from_a_disk_is_no_line_of_somebody_elses(host: str, told: bool, tmp_path: Path) -> None:
    config = replace(configured(tmp_path), source=S3Config(), source_folder=FilesystemConfig(path=tmp_path))
    redirect = system_redirect(config, {}, f"https://{host}")
    assert (redirect is not None) is told


def test_without_a_fallback_the_old_store_is_no_part_of_the_media_host(tmp_path: Path) -> None:
    config = replace(configured(tmp_path), source=replace(BUCKET, endpoint_url="https://abc.r2.cloudflarestorage.com"))
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, replace(NAMED, fallback=Fallback.NONE))
    text = report.require_fallback().render()
    assert "r2.cloudflarestorage.com" not in text
    assert "@old" not in text
    assert not any("@old" in command for step in report.over for command in step.lines)


@pytest.mark.parametrize(
    ("changes", "options", "asked"),
    [
        ({}, {}, "https://s3.example.com/media/"),
        ({"addressing_style": "virtual"}, {}, "https://media.s3.example.com/"),
        ({"endpoint_url": None, "region": "eu-west-1"}, {}, "https://media.s3.eu-west-1.amazonaws.com/"),
        ({"endpoint_url": None, "bucket": "a.b"}, {}, "https://s3.us-east-1.amazonaws.com/a.b/"),
        ({"key_prefix": "x/"}, {}, "https://s3.example.com/media/x//"),
        ({"public_url": "https://cdn.example.com"}, {}, "https://s3.example.com/media/"),
        ({"public_url": "https://cdn.example.com"}, {"media_host": "files.example.com"}, "https://cdn.example.com/"),
        ({}, {"destination_url": "https://pub.r2.dev"}, "https://pub.r2.dev/"),
        ({"public_url": "https://cdn.example.com/media"}, {}, "https://cdn.example.com/media/"),
    ],
)
def test_nginx_asks_where_everybody_reads(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, str], asked: str
) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        named = options or (
            {} if changes.get("public_url") == "https://cdn.example.com" else {"media_host": "m.example"}
        )
        named = {"media_host": "m.example", **named} if "destination_url" in named else named
        report = cutover_from(configured(tmp_path, **changes), manifest, CutoverOptions(**named))  # type: ignore[arg-type]
    text, own = report.require_fallback().render(), re.sub(r"\W", "_", report.media_host or "")
    assert f"proxy_pass {asked}$mastodon_media_{own};" in text
    assert f"proxy_pass https://s3.example.com/old/pre%20fix/$mastodon_media_{own};" in text


def test_where_nobody_can_tell_it_is_asked_for(tmp_path: Path) -> None:
    there = {"endpoint_url": "https://abc.r2.cloudflarestorage.com"}
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(configured(tmp_path, **there), manifest, NAMED)
    with pytest.raises(UsageError) as caught:
        report.require_fallback()
    assert "--destination-url" in caught.value.hint
    assert report.as_json()["nginx"] is None
    assert "S3_PERMISSION=" in [each.line for each in report.settings]


def test_a_folder_is_asked_as_one(tmp_path: Path) -> None:
    config = Config(source=BUCKET, destination_folder=FilesystemConfig(path=tmp_path), path=tmp_path / "config.ini")
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, CutoverOptions(media_host="files.example.com"))
    assert report.require_fallback().new == PublicFolder(tmp_path)
    assert report.cors is None
    assert "public" not in {each.check for each in report.cutover.findings}
    assert any(command.endswith("adopt --deep") for step in report.back for command in step.lines)


@pytest.mark.parametrize("host", ["https://files.example/", "files example", "files.example/media"])
def test_what_is_no_host_is_refused_whatever_is_asked_for(tmp_path: Path, host: str) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest, pytest.raises(UsageError):
        cutover_from(configured(tmp_path), manifest, CutoverOptions(media_host=host))


def test_nginx_asks_a_bucket_that_nobody_reads_where_somebody_says_that_it_may(tmp_path: Path) -> None:
    config = Config(source=BUCKET, destination=replace(BUCKET, bucket="new", acl="private"), path=tmp_path / "c.ini")
    options = CutoverOptions(media_host="files.example.com", destination_url="https://inside.example.com/new")
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        assert cutover_from(config, manifest, options).require_fallback()
