"""The media host of `cutover --nginx`, driven: a real nginx before real stores."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import pytest

from lab.buckets import BucketPair
from lab.certificates import certificate
from lab.nginx import NginxServer, why_no_nginx
from lab.ports import HOST, PortBlock
from mastosync.cutover import Fallback, MediaHost, PublicBucket, PublicFolder, PublicStore
from mastosync.model import CACHE_CONTROL
from tests.support.raw_server import RawServer, answer

pytestmark = pytest.mark.skipif(bool(why_no_nginx()), reason=why_no_nginx())

BACKUP = "backups/dumps/000/000/007/original/0123456789abcdef.tar.gz"
KEY = "media_attachments/files/000/000/042/original/photo.png"
ODD = (
    "cache/custom_emojis/images/000/000/001/original/a+b c.png",
    "accounts/avatars/000/000/002/original/100%41 %2B%.png",
    "site_uploads/files/000/000/003/@1x/日本語 é…🎉.png",
    "cache/preview_cards/images/000/000/004/original/a;b&c=d?e#f'g\"h.png",
    "accounts/headers/000/000/005/original/..hidden...png",
)
OLD, NEW = b"from the old store", b"from the new store"


@dataclass(frozen=True)
class Told:
    status: int
    body: bytes
    headers: dict[str, str]


class Host:
    """A media host that runs."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self._port = folder, port

    def ask(self, path: str, method: str = "GET", **headers: str) -> Told:
        """The path goes out as it is."""
        connection = http.client.HTTPConnection(HOST, self._port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            told = connection.getresponse()
            return Told(told.status, told.read(), {name.lower(): text for name, text in told.getheaders()})

    def read(self, key: str) -> Told:
        return self.ask("/" + quote(key, safe="/~"))

    @property
    def fallbacks(self) -> int:
        """How often the old store was asked."""
        return len((self.folder / "fallback.log").read_text().splitlines())


HostFactory = Callable[..., Host]


@pytest.fixture
def new_host(tmp_path: Path) -> Iterator[HostFactory]:
    """Factory: `new_host(new, old, prefixes=…, upstreams=…)` is a media host that asks these stores.

    `nobody`: it has no rights, in a folder that everybody may open. `after`: it is what the last step makes of it.
    `name`: another one for each of several.
    """
    with ExitStack() as stack:
        pem = certificate(tmp_path, "files.example.com", days=10)

        def start(
            new: PublicStore,
            old: PublicStore,
            prefixes: tuple[str, ...] = (),
            *,
            upstreams: str = "",
            after: bool = False,
            fallback: Fallback = Fallback.ALL,
            nobody: Path | None = None,
            name: str = "nginx",
        ) -> Host:
            block = PortBlock()
            stack.callback(block.close)
            folder, port = (nobody or tmp_path) / name, block.take()
            folder.mkdir()
            host = MediaHost(
                "files.example.com",
                new,
                old,
                ("127.0.0.1",),
                prefixes,
                fallback,
                listen=(f"{HOST}:{port}",),
                certificate=pem,
                certificate_key=pem,
                cache=folder / "cache",
                log=folder / "fallback.log",
            )
            text = host.render()
            if after:
                text = text.replace("@old;\n", "@absent;\n")
            server = NginxServer(folder, upstreams + text, port, "nobody" if nobody else "")
            looked = subprocess.run([*server.command, "-t"], capture_output=True, text=True, check=False)
            assert looked.returncode == 0, looked.stderr
            assert "warn" not in looked.stderr
            stack.enter_context(server)
            return Host(folder, port)

        yield start


@dataclass(frozen=True)
class Stores:
    """Two stores of different kinds, in which everybody may read what is public."""

    new: BucketPair
    old: BucketPair

    @property
    def new_bucket(self) -> PublicBucket:
        return PublicBucket(f"{self.new.address.endpoint_url}/{self.new.destination}/")

    @property
    def old_bucket(self) -> PublicBucket:
        return PublicBucket(f"{self.old.address.endpoint_url}/{self.old.source}/")

    def put_new(self, key: str, body: bytes = NEW, acl: str = "public-read") -> None:
        self.new.client.put_object(
            Bucket=self.new.destination,
            Key=key,
            Body=body,
            ContentType="image/png",
            ACL=acl,  # type: ignore[arg-type]
        )

    def put_old(self, key: str, body: bytes = OLD) -> None:
        self.old.client.put_object(Bucket=self.old.source, Key=key, Body=body, ContentType="image/png")


@pytest.fixture
def stores(buckets: BucketPair, moto_buckets: BucketPair) -> Stores:
    """moto lists its buckets to everybody; SeaweedFS answers to the name of a folder as if it were an object."""
    everybody = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{buckets.source}/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
    buckets.client.put_bucket_policy(Bucket=buckets.source, Policy=policy)
    return Stores(moto_buckets, buckets)


def test_the_new_store_comes_first_and_the_old_one_has_the_rest(stores: Stores, new_host: HostFactory) -> None:
    stores.put_new(KEY)
    stores.put_old(KEY)
    for key in ODD:
        stores.put_old(key)
    host = new_host(stores.new_bucket, stores.old_bucket)
    told = host.read(KEY)
    assert (told.status, told.body, told.headers["x-media-store"]) == (200, NEW, "new")
    assert host.fallbacks == 0
    for key in ODD:
        told = host.read(key)
        assert (told.status, told.body, told.headers["x-media-store"]) == (200, OLD, "old"), key
        stores.put_new(key + "x")
        assert host.read(key + "x").body == NEW
    assert host.fallbacks == len(ODD)
    told = host.read(KEY + "x")
    assert (told.status, told.headers["x-media-store"]) == (404, "none")
    assert "cache-control" not in told.headers


def test_what_browsers_get_is_theirs_and_what_the_store_says_of_itself_is_not(
    stores: Stores, new_host: HostFactory
) -> None:
    stores.put_new(KEY)
    stores.put_old(KEY + "x")
    host = new_host(stores.new_bucket, stores.old_bucket)
    for key in (KEY, KEY + "x"):
        told = host.ask(f"/{key}", Origin="https://example.com")
        assert told.headers["content-type"] == "image/png"
        assert told.headers["cache-control"] == "public, max-age=315576000, immutable"
        assert told.headers["access-control-allow-origin"] == "*"
        assert told.headers["content-security-policy"] == "default-src 'none'; form-action 'none'"
        assert not [name for name in told.headers if "amz" in name or "seaweed" in name]
        assert host.ask(f"/{key}", "HEAD").headers["content-length"] == str(len(NEW))
        part = host.ask(f"/{key}", Range="bytes=5-7")
        assert (part.status, part.body) == (206, NEW[5:8])
        assert host.ask(f"/{key}", If_None_Match=told.headers["etag"]).status == 304


def test_browsers_get_the_cache_control_that_the_store_has(new_host: HostFactory, tmp_path: Path) -> None:
    """If it says how long. What it says of an object that it lacks is not said of the one that a folder has."""
    (tmp_path / "old" / KEY).parent.mkdir(parents=True)
    (tmp_path / "old" / f"{KEY}z").write_bytes(OLD)
    told = {
        b"x ": answer(200, NEW, "Cache-Control: public, max-age=9\r\n"),
        b"y ": answer(200, NEW, "Cache-Control: no-cache\r\n"),
        b"z ": answer(404, b"", "Cache-Control: max-age=0\r\n"),
    }
    with RawServer(lambda request: told.get(request.head.split(b"HTTP")[0][-2:], answer(200, NEW))) as store:
        host = new_host(PublicBucket(f"{store.endpoint_url}/new/"), PublicFolder(tmp_path / "old"))
        expected = {f"{KEY}{letter}": CACHE_CONTROL for letter in ("", "y", "z")} | {f"{KEY}x": "public, max-age=9"}
        for _ in ("from the store", "from the cache"):
            assert {key: host.read(key).headers["cache-control"] for key in expected} == expected


def test_an_object_comes_from_the_cache_the_second_time(stores: Stores, new_host: HostFactory) -> None:
    stores.put_new(KEY)
    host = new_host(stores.new_bucket, stores.old_bucket)
    assert [host.read(KEY).headers["x-cache-status"] for _ in range(2)] == ["MISS", "HIT"]


def test_who_checks_is_told_what_the_store_says_now(stores: Stores, new_host: HostFactory) -> None:
    stores.put_new(KEY)
    host = new_host(stores.new_bucket, stores.old_bucket)
    assert host.read(KEY).body == NEW
    stores.put_new(KEY, acl="private")
    assert host.read(KEY).body == NEW, "from the cache"
    assert host.ask(f"/{KEY}", X_Media_Fresh="1").status == 404
    stores.put_old(KEY)
    told = host.ask(f"/{KEY}", X_Media_Fresh="1")
    assert (told.body, told.headers["x-media-store"]) == (OLD, "old")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?list-type=2",
        "//",
        "/accounts",
        "/accounts/",
        "/cache/accounts/?prefix=x",
        "/secret/backup.sql",
        f"/accounts/../secret/{KEY}",
        "/accounts/..",
        "/accounts/.%2E/secret",
        "/accounts/%2e%2e%2fsecret",
        "/accounts/x/./y",
        "/accounts/x%2F",
        "/imports/data/000/000/001/original/follows.csv",
        "/%61ccounts/avatars/1",
    ],
)
def test_nothing_but_media_is_asked_for(new_host: HostFactory, path: str) -> None:
    with RawServer(lambda _: answer(200, b"secret")) as store:
        host = new_host(PublicBucket(f"{store.endpoint_url}/new/"), PublicBucket(f"{store.endpoint_url}/old/"))
        assert host.ask(path).status in (400, 404)
        assert store.requests == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PURGE", "OPTIONS"])
def test_nobody_writes_through_it(new_host: HostFactory, method: str) -> None:
    with RawServer(lambda _: answer(200)) as store:
        host = new_host(PublicBucket(f"{store.endpoint_url}/new/"), PublicBucket(f"{store.endpoint_url}/old/"))
        assert host.ask(f"/{KEY}", method).status == 405
        assert store.requests == []


def test_a_key_arrives_as_it_was_sent_and_nothing_else_does(new_host: HostFactory) -> None:
    """Each store under its own prefix, whichever the address has: other servers remember old ones."""
    sent = "accounts/avatars/000/000/001/original/a+b%2Bc%20d%25%2f%C3%A9%c3%a9'(x)!~*.png"
    with RawServer(lambda request: answer(404 if b"/new/" in request.head else 200, b"found")) as store:
        new = PublicBucket(f"{store.endpoint_url}/new/caf%C3%A9%20x/")
        host = new_host(new, PublicBucket(f"{store.endpoint_url}/old/media.v1//"), ("caf%C3%A9%20x/", "media.v1//"))
        for number, prefix in enumerate(("", "caf%C3%A9%20x/", "media.v1//")):
            path = f"/{prefix}{sent}{number}?acl&x=1"
            told = host.ask(path, Authorization="Bearer x", Cookie="a=b", Range="bytes=0-1", X_Amz_Date="x")
            assert told.body == b"fo"
        lines = [request.head.split(b"\r\n")[0].decode() for request in store.requests]
        assert lines == [
            f"GET {place}{sent}{number} HTTP/1.1"
            for number in range(3)
            for place in ("/new/caf%C3%A9%20x/", "/old/media.v1//")
        ]
        assert {name for request in store.requests for name in request.headers} == {"host", "connection", "user-agent"}
        assert host.ask(f"/mediaxv1//{sent}").status == 404


def test_a_store_that_may_not_list_answers_403_to_what_it_lacks(stores: Stores, new_host: HostFactory) -> None:
    stores.put_new(KEY, acl="private")  # to everybody as good as missing
    stores.put_new(KEY + "x", acl="private")
    stores.put_old(KEY)
    host = new_host(stores.new_bucket, stores.old_bucket)
    assert host.read(KEY).body == OLD
    assert host.read(KEY + "x").status == 404


def test_a_new_store_that_is_down_is_stood_in_for(stores: Stores, new_host: HostFactory) -> None:
    """But that the old one lacks something does not mean that it is missing."""
    stores.put_old(KEY)
    host = new_host(PublicBucket(f"{nowhere()}/x/"), stores.old_bucket)
    assert host.read(KEY).body == OLD
    assert host.read(KEY + "x").status == 502


def test_an_old_store_that_is_down_does_no_harm(stores: Stores, new_host: HostFactory) -> None:
    stores.put_new(KEY)
    host = new_host(stores.new_bucket, PublicBucket(f"{nowhere()}/x/"))
    assert host.read(KEY).body == NEW
    assert host.read(KEY + "x").status == 502


def test_after_the_last_step_the_old_store_is_asked_no_more(stores: Stores, new_host: HostFactory) -> None:
    stores.put_new(KEY)
    stores.put_old(KEY + "x")
    host = new_host(stores.new_bucket, stores.old_bucket, after=True)
    assert host.read(KEY).body == NEW
    assert host.read(KEY + "x").status == 404


LOCAL, REMOTE = KEY, ODD[0]


@pytest.mark.parametrize(
    ("fallback", "statuses"), [(Fallback.ALL, [200, 200]), (Fallback.CACHE, [404, 200]), (Fallback.NONE, [404, 404])]
)
def test_the_fallback_answers_for_as_much_as_was_asked_for(
    stores: Stores, new_host: HostFactory, fallback: Fallback, statuses: list[int]
) -> None:
    """With `cache`, what a user of this server has deleted is gone although the old store has it still."""
    for key in (LOCAL, REMOTE):
        stores.put_old(key)
        stores.put_new(f"{key}x")
    host = new_host(stores.new_bucket, stores.old_bucket, fallback=fallback)
    assert [host.read(key).status for key in (LOCAL, REMOTE)] == statuses
    assert host.read(f"{LOCAL}x").body == host.read(f"{REMOTE}x").body == NEW


@pytest.mark.parametrize("fallback", list(Fallback))
@pytest.mark.parametrize("prefix", ["", "pre/"])
def test_a_backup_is_never_asked_for_at_the_old_store(new_host: HostFactory, fallback: Fallback, prefix: str) -> None:
    """It is private; whoever has its address from an old mail must not get it once the new store has said no."""
    with RawServer(lambda request: answer(403 if b"/new/" in request.head else 200, b"secret")) as store:
        new, old = (PublicBucket(f"{store.endpoint_url}/{name}/") for name in ("new", "old"))
        host = new_host(new, old, ("pre/",), fallback=fallback)
        for key in (BACKUP, f"cache/{BACKUP}", f"backups//{BACKUP}", f"cache/backups/../{BACKUP}", f"%62{BACKUP[1:]}"):
            told = host.ask(f"/{prefix}{key}")
            assert (told.status, b"secret" in told.body) == (404, False), key
        assert not [request for request in store.requests if b"/old/" in request.head]


@pytest.mark.parametrize("fallback", list(Fallback))
def test_nor_is_it_looked_for_in_a_folder(
    stores: Stores, new_host: HostFactory, tmp_path: Path, fallback: Fallback
) -> None:
    for key in (BACKUP, LOCAL, REMOTE):
        folder = file_in(tmp_path / "media", key, OLD)
    for new in (stores.new_bucket, file_in(tmp_path / "new", f"{LOCAL}x", NEW)):
        host = new_host(new, folder, fallback=fallback, name=type(new).__name__)
        assert host.read(BACKUP).status == 404
        assert (host.read(LOCAL).status == 200) is (fallback is Fallback.ALL)
        assert (host.read(REMOTE).status == 200) is (fallback is not Fallback.NONE)


def test_a_new_store_that_is_down_says_nothing_of_what_the_fallback_does_not_answer_for(
    stores: Stores, new_host: HostFactory
) -> None:
    stores.put_old(LOCAL)
    host = new_host(PublicBucket(f"{nowhere()}/x/"), stores.old_bucket, fallback=Fallback.CACHE)
    assert host.read(LOCAL).status == host.read(BACKUP).status == 502


def test_after_the_last_step_a_narrow_fallback_is_none(stores: Stores, new_host: HostFactory) -> None:
    stores.put_old(REMOTE)
    host = new_host(stores.new_bucket, stores.old_bucket, fallback=Fallback.CACHE, after=True)
    assert host.read(REMOTE).status == 404


@pytest.mark.parametrize("prefix", ['a"b c', "a\\b", "a$b", "a;b}", "a'b{", "caf\u00e9.+"])
def test_a_key_prefix_means_what_it_says_whatever_it_holds(new_host: HostFactory, tmp_path: Path, prefix: str) -> None:
    encoded = quote(f"{prefix}/", safe="/~")
    host = new_host(file_in(tmp_path / "media", KEY, NEW), PublicBucket(f"{nowhere()}/x/{encoded}"), (encoded,))
    assert host.read(f"{prefix}/{KEY}").body == host.read(KEY).body == NEW
    assert host.read(f"{prefix}x/{KEY}").status == 404


def file_in(folder: Path, key: str, body: bytes) -> PublicFolder:
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return PublicFolder(folder)


def test_the_old_store_may_be_a_folder(stores: Stores, new_host: HostFactory, tmp_path: Path) -> None:
    stores.put_new(f"pre/{KEY}")
    for key in (KEY, *ODD):
        folder = file_in(tmp_path / 'a "folder" of files', key, OLD)
    new = PublicBucket(f"{stores.new_bucket.url}pre/")
    host = new_host(new, folder, ("pre/",))
    assert host.read(KEY).body == host.read(f"pre/{KEY}").body == NEW
    for key in ODD:
        told = host.read(key)
        assert (told.status, told.body) == (200, OLD), key
        assert told.headers["content-type"] == "image/png"
        assert told.headers["cache-control"] == "public, max-age=315576000, immutable"
        assert host.read(f"pre/{key}").body == OLD
    assert host.read(KEY + "x").status == host.read("accounts/avatars").status == 404


def test_the_new_store_may_be_a_folder(stores: Stores, new_host: HostFactory, tmp_path: Path) -> None:
    stores.put_old(KEY)
    stores.put_old(ODD[1])
    host = new_host(file_in(tmp_path / "media", KEY, NEW), stores.old_bucket)
    assert host.read(KEY).body == NEW
    assert host.read(ODD[1]).body == OLD
    assert host.read(ODD[0]).status == 404
    file_in(tmp_path / "media", ODD[1], NEW)
    assert host.read(ODD[1]).body == NEW, "as soon as it is there"


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that is not pytest's, whose own only their owner may open."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_is_private_in_a_folder_is_not_looked_for_elsewhere(open_to_all: Path, new_host: HostFactory) -> None:
    new, old = file_in(open_to_all / "new", KEY, NEW), file_in(open_to_all / "old", KEY, OLD)
    (new.path / KEY).chmod(0o600 if os.geteuid() == 0 else 0)
    file_in(open_to_all / "old", KEY + "x", OLD)
    host = new_host(new, old, nobody=open_to_all)
    told = host.read(KEY)
    assert (told.status, OLD in told.body) == (403, False)
    assert host.read(KEY + "x").body == OLD


@pytest.mark.parametrize(("verified", "status"), [(True, 200), (False, 502)])
def test_tls_names_the_store_and_holds_it_to_its_name(
    new_host: HostFactory, tmp_path: Path, verified: bool, status: int
) -> None:
    """The address of `new.example.com` is that of the test; the certificate is for this name or for another one."""
    pem = certificate(tmp_path, "new.example.com" if verified else "other.example.com", days=10)
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.sni_callback = lambda _, name, __: names.append(name)
    with RawServer(lambda _: answer(200, b"found"), tls=context) as store:
        upstreams = f"upstream new.example.com {{ server {HOST}:{store.port}; }}\n"
        new = PublicBucket("https://new.example.com/bucket/", certificates=pem)
        host = new_host(new, file_in(tmp_path / "media", KEY + "x", OLD), upstreams=upstreams)
        assert host.read(KEY).status == status
        assert set(names) == {"new.example.com"}
        assert host.read(KEY + "x").body == (b"found" if verified else OLD)


def nowhere() -> str:
    """An address at which nobody answers."""
    with contextlib.closing(PortBlock()) as block:
        return f"http://{HOST}:{block.take()}"
