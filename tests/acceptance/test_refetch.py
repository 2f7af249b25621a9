"""`mastosync refetch`: what the source has lost comes back from where it came from, if that can be done safely."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from lab.buckets import BucketPair
from lab.instance_check import iter_keys
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.raw_server import RawRequest, RawServer, answer
from tests.support.small_disk import small_disk

PNG = b"\x89PNG\r\n\x1a\n"
LARGE_BYTES = 6 * 1024 * 1024
_COLUMNS = {
    ("media_attachments", "file"): "remote_url",
    ("media_attachments", "thumbnail"): "thumbnail_remote_url",
    ("accounts", "avatar"): "avatar_remote_url",
    ("accounts", "header"): "header_remote_url",
    ("custom_emojis", "image"): "image_remote_url",
}
BEGINNINGS = {
    "png": PNG,
    "jpg": b"\xff\xd8\xff\xe0",
    "jpeg": b"\xff\xd8\xff\xe0",
    "gif": b"GIF89a",
    "webp": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    "mp4": b"\x00\x00\x00\x18ftypisom",
    "mp3": b"ID3\x04",
    "webm": b"\x1a\x45\xdf\xa3",
}


@dataclass
class Origins:
    """A server that has every file of other servers, by its path."""

    server: RawServer
    files: dict[str, bytes] = field(default_factory=dict)

    def answers(self, request: RawRequest) -> bytes:
        path = request.head.split(b" ")[1].decode()
        return answer(200, self.files[path]) if path in self.files else answer(404, b"gone")

    def asked(self) -> list[str]:
        return [request.head.split(b" ")[1].decode() for request in self.server.requests]


@pytest.fixture
def origins() -> Iterator[Origins]:
    with RawServer(lambda _: answer(404)) as server:
        made = Origins(server)
        server.answers = made.answers
        yield made


@pytest.fixture
def lossy(buckets: BucketPair, new_migration: MigrationFactory, origins: Origins) -> Migration:
    """A migration that is through, but for what the source has lost; every remote row tells where its file was."""
    migration = new_migration(buckets, own_source=True, accounts=12, media=16, missing=4, all_oddities=True)
    for key in _some_remote_originals(migration):
        buckets.client.delete_object(Bucket=buckets.source, Key=key)
    with migration.database.connect() as connection:
        for (table, attachment), column in _COLUMNS.items():
            remote = sql.SQL("remote_url <> ''" if table == "media_attachments" else "TRUE")
            where = sql.Literal(f"{origins.server.endpoint_url}/{table}/{attachment}/")
            connection.execute(
                sql.SQL("UPDATE {} SET {} = {} || id WHERE {} AND {} <> ''").format(
                    sql.Identifier(table),
                    sql.Identifier(column),
                    where,
                    remote,
                    sql.Identifier(f"{attachment}_file_name"),
                )
            )
    site = migration.site.configure(refetch={"requests_per_second": "100"}, copy={"workers": "4"})
    site.run("plan")
    site.run("copy", code=3)
    return migration


def _some_remote_originals(migration: Migration) -> list[str]:
    """Two of each attachment that has an address."""
    keys: list[str] = []
    present = [each.source.key for each in migration.instance.present if "/original/" in each.key]
    for table, attachment in _COLUMNS:
        of_it = [key for key in present if key.startswith(f"cache/{table}/{attachment}") and not key.endswith(".bin")]
        keys += of_it[:2]
    return keys


def found_by(migration: Migration, *arguments: str, code: int | None = 0) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(migration.site.run("refetch", "--json", *arguments, code=code).stdout)
    return result


def path_of(line: dict[str, Any]) -> str:
    return f"/{line['table']}/{line['attachment']}/{line['id']}"


def lost_originals(migration: Migration) -> list[dict[str, Any]]:
    """What failed as missing and has an address."""
    lines = migration.site.listed("--state", "failed", "--reason", "missing")
    originals = [line for line in lines if line["style"] == "original" and line["key"].startswith("cache/")]
    return [line for line in originals if (line["table"], line["attachment"]) in _COLUMNS]


def stored_like(line: dict[str, Any], size: int = 500) -> bytes:
    """Some file of the type that the name promises."""
    return BEGINNINGS[line["key"].rpartition(".")[2]].ljust(size, bytes([line["id"] % 256]))


def allow_loopback(migration: Migration) -> None:
    migration.site.configure(refetch={"allow_networks": "127.0.0.0/8"})


def test_a_dry_run_asks_nobody_and_writes_nothing(lossy: Migration, origins: Origins) -> None:
    before = lossy.site.listed()
    result = found_by(lossy)
    failed = lossy.site.status()["reasons"]["missing"]
    assert (result["applied"], result["missing"]) == (False, failed)
    assert result["fetchable"] == sum(result["by_host"].values()) >= len(lost_originals(lossy)) > 0
    assert result["refetched"] == 0
    assert origins.server.connections == 0
    assert lossy.site.listed() == before
    assert "no server was asked" in lossy.site.run("refetch").stdout


def test_what_its_server_still_has_comes_back(lossy: Migration, origins: Origins) -> None:
    allow_loopback(lossy)
    lost = lost_originals(lossy)
    origins.files = {path_of(line): stored_like(line) for line in lost}
    large = next(line for line in lost if line["table"] == "media_attachments")
    lossy.site.configure(copy={"multipart_threshold": "5MiB", "part_size": "5MiB"})
    origins.files[path_of(large)] = stored_like(large, LARGE_BYTES)  # travels in parts

    result = found_by(lossy, "--apply", code=None)
    assert {line["table"] for line in lost} == {"media_attachments", "accounts", "custom_emojis"}
    assert result["refetched"] == len(lost)
    assert result["bytes"] == sum(map(len, origins.files.values()))
    client, bucket = lossy.buckets.client, lossy.buckets.destination
    done = {line["key"]: line for line in lossy.site.listed("--state", "done")}
    for line in lost:
        content = origins.files[path_of(line)]
        stored = client.get_object(Bucket=bucket, Key=line["key"])
        assert stored["Body"].read() == content
        assert stored["CacheControl"] == "public, max-age=315576000, immutable"
        assert stored["ContentType"] == _type_of(line["key"])
        told = done[line["key"]]
        assert (told["origin"], told["size"], told["md5"]) == (
            "refetched",
            len(content),
            hashlib.md5(content).hexdigest(),
        )
    assert json.loads(lossy.site.run("verify", "--json").stdout)["fine"] == len(done)
    at_source = set(iter_keys(client, lossy.buckets.source))
    assert at_source.isdisjoint(line["key"] for line in lost), "nothing is written where the media lie"
    again = found_by(lossy, "--apply", code=None)
    assert again["refetched"] == 0


def test_addresses_of_ones_own_are_refused_unless_they_are_named(lossy: Migration, origins: Origins) -> None:
    origins.files = {path_of(line): stored_like(line) for line in lost_originals(lossy)}
    result = found_by(lossy, "--apply", code=3)
    assert (result["refetched"], result["refused"]) == (0, sum(result["by_host"].values()))
    assert origins.server.connections == 0
    details = [line["detail"] for line in lossy.site.listed("--state", "failed") if "refetch" in line["detail"]]
    assert details
    assert all("this machine" in detail for detail in details)
    allow_loopback(lossy)
    done = lossy.site.run("refetch", "--apply", code=None)
    assert "warning: URLs in the database can reach 127.0.0.0/8" in done.stderr


def test_what_is_not_what_was_stored_is_told_and_not_taken(lossy: Migration, origins: Origins) -> None:
    allow_loopback(lossy)
    lost = lost_originals(lossy)
    origins.files = {path_of(line): b"<html>Please log in</html>" for line in lost}
    result = found_by(lossy, "--apply", code=3)
    assert (result["refetched"], result["unlike"]) == (0, len(lost))
    assert not [line for line in lossy.site.listed("--state", "done") if line["origin"] == "refetched"]
    assert {line["state"] for line in lost_originals(lossy)} == {"failed"}


def test_what_is_gone_there_or_was_made_here_stays_missing(lossy: Migration, origins: Origins) -> None:
    allow_loopback(lossy)
    result = found_by(lossy, "--apply", code=3)
    failed = lossy.site.status()["reasons"]["missing"]
    assert result["gone"] == sum(result["by_host"].values()) == len(origins.asked())
    assert result["missing"] == failed
    assert result["gone"] + result["derived"] + result["no_address"] == failed


def test_rows_that_are_others_by_now_are_left(lossy: Migration, origins: Origins) -> None:
    """Nothing private becomes public, and nothing gets the name of another file."""
    allow_loopback(lossy)
    lost = lost_originals(lossy)
    origins.files = {path_of(line): stored_like(line) for line in lost}
    with lossy.database.connect() as connection:
        connection.execute("UPDATE accounts SET avatar_file_name = 'another.png', header_file_name = 'another.png'")
        connection.execute("UPDATE custom_emojis SET image_file_name = 'another.png'")
    result = found_by(lossy, "--apply", code=None)
    others = {line["key"] for line in lost if line["table"] != "media_attachments" and not line["private"]}
    taken = {line["key"] for line in lossy.site.listed("--state", "done") if line["origin"] == "refetched"}
    assert len(others) > 3
    assert result["changed"] >= len(others)
    assert taken.isdisjoint(others)


def test_half_a_database_is_not_believed_who_may_read(lossy: Migration, origins: Origins) -> None:
    """Without accounts nobody is suspended, and what is private would be stored for everybody."""
    allow_loopback(lossy)
    with lossy.database.connect() as connection:
        connection.execute("DELETE FROM accounts")
    refused = lossy.site.run("refetch", "--apply", code=6)
    assert "is not whole" in refused.stderr
    assert origins.asked() == []


def test_so_many_files_at_most(lossy: Migration, origins: Origins) -> None:
    allow_loopback(lossy)
    origins.files = {path_of(line): stored_like(line) for line in lost_originals(lossy)}
    assert len(origins.files) > 2
    result = found_by(lossy, "--apply", "--limit", "2", code=None)
    assert sum(result["by_host"].values()) == len(origins.asked()) == 2


def test_a_full_disk_here_ends_the_run_and_says_where(lossy: Migration, origins: Origins, tmp_path: Path) -> None:
    allow_loopback(lossy)
    lost = lost_originals(lossy)
    origins.files = {path_of(line): stored_like(line, LARGE_BYTES) for line in lost if line["attachment"] == "file"}
    with small_disk(tmp_path / "temporary", "2m") as disk:
        lossy.site.environ["TMPDIR"] = str(disk.folder)
        ended = lossy.site.run("refetch", "--apply", code=7)
        assert list(disk.folder.iterdir()) == []
    assert f"temporarily in {disk.folder}: No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    del lossy.site.environ["TMPDIR"]
    assert found_by(lossy, "--apply", code=3)["refetched"] == len(origins.files)


def test_types_can_be_fetched_alone(lossy: Migration) -> None:
    assert set(found_by(lossy, "--type", "accounts")["by_type"]) <= {"accounts"}


def _type_of(key: str) -> str:
    kinds = {"jpg": "image/jpeg", "mp4": "video/mp4", "mp3": "audio/mpeg", "webm": "video/webm"}
    extension = key.rpartition(".")[2]
    return kinds.get(extension, f"image/{extension}")
