"""The media host that `cutover --nginx` writes, in front of real stores, and `verify --public` through it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lab.buckets import BucketPair
from lab.fault_plan import no_faults
from lab.faults import FaultProxy
from lab.nginx import NginxServer, why_no_nginx
from lab.ports import HOST, PortBlock
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.acceptance.test_cutover import in_shell
from tests.acceptance.test_verify import unlisted
from tests.support.media_folders import lay_down

pytestmark = pytest.mark.skipif(bool(why_no_nginx()), reason=why_no_nginx())

Proxies = Callable[..., FaultProxy]
NOT_SHOWN = "travelled0.png"  # which somebody gave a Content-Type that browsers do not show


class MediaHost:
    """nginx as it was written, but for what only root may touch."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        block = PortBlock()
        stack.callback(block.close)
        self.port = block.take()
        self.url = f"http://{HOST}:{self.port}"

    def start(self, text: str, system: str = "") -> None:
        folder = self._folder / "nginx"
        for there, here in (
            (f"/var/cache/mastodon-media-{HOST}-{self.port}", f"{folder}/cache"),
            (f"/var/log/nginx/mastodon-media-{HOST}-{self.port}-fallback.log", f"{folder}/fallback.log"),
            (f"listen {self.port};", f"listen {HOST}:{self.port};"),
            (f"    listen [::]:{self.port};\n", ""),
        ):
            assert there in text
            text = text.replace(there, here)
        self._stack.enter_context(NginxServer(folder, text + system, self.port))


@pytest.fixture
def media_host(tmp_path: Path) -> Iterator[MediaHost]:
    with ExitStack() as stack:
        yield MediaHost(stack, tmp_path)


def moved(
    migration: Migration,
    proxy: FaultProxy,
    host: MediaHost,
    fallback: str = "all",
    system: str = "",
    prepare: Callable[[Migration], None] = lambda _: None,
) -> None:
    """All has arrived, and nginx answers for it as it was told to."""
    site = migration.site
    migration.through(destination=proxy.endpoint_url)
    site.configure(s3_destination={"public_url": host.url})
    site.run("plan")
    site.run("copy")
    site.run("cutover", "--fallback", fallback, "--nginx", "media.conf", code=None)
    prepare(migration)
    host.start((site.folder / "media.conf").read_text(), system)


def asked(migration: Migration, *arguments: str, code: int = 3) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(migration.site.run("verify", "--public", "--json", *arguments, code=code).stdout)
    return found


def faults(found: dict[str, Any]) -> dict[str, str]:
    """By key, without what was odd at the source already."""
    told = {each["key"]: each["detail"] for each in found["public"]["faults"]}
    return {key: detail for key, detail in told.items() if not key.endswith(NOT_SHOWN)}


def test_all_is_well_through_it_and_what_is_not_is_found(
    moto_buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies, media_host: MediaHost
) -> None:
    migration = new_migration(moto_buckets, accounts=4, media=6, missing=0, all_oddities=True)
    client, bucket = moto_buckets.client, moto_buckets.destination
    proxy = fault_proxy(moto_buckets.address.endpoint_url, unlisted)
    moved(migration, proxy, media_host)
    present = migration.instance.present
    imports = sum(each.table == "imports" for each in present)
    found = asked(migration, "--sample", "500")["public"]
    assert faults({"public": found}) == {}
    assert imports
    assert found["asked"] == found["of"] == len(present) - imports
    assert not found["anybody_can_list"]

    private = next(each.key for each in present if each.source.private)
    public = next(each.key for each in present if each.key.startswith("cache/"))
    client.put_object_acl(Bucket=bucket, Key=private, ACL="public-read")
    client.put_object_acl(
        Bucket=bucket, Key=public, ACL="private"
    )  # nginx has it in its cache, and the old store has it
    proxy.plan = no_faults
    found = asked(migration, "--sample", "500")
    told = faults(found)
    assert told.keys() == {private, public}
    assert "anybody can read it" in told[private]
    assert "from the old store" in told[public]
    assert found["public"]["anybody_can_list"]
    assert (found["public"]["exposed"], found["reopened"]) == (1, 1)

    proxy.plan = unlisted
    migration.site.run("copy")
    client.put_object_acl(Bucket=bucket, Key=public, ACL="public-read")
    looks = [asked(migration, "--sample", size)["public"] for size in ("1", "1", "500", "1")]
    few = [each["asked"] for each in looks]
    assert few == [5, 5, few[2], 3], "what was wrong comes on top, until as many were asked as when it was found"
    assert all(faults({"public": each}) == {} for each in looks)


def test_what_browsers_remember_of_the_disk_is_found_at_the_bucket(
    moto_buckets: BucketPair,
    new_migration: MigrationFactory,
    fault_proxy: Proxies,
    media_host: MediaHost,
    disk_path: Path,
) -> None:
    """With the commands that were told, but for where nginx has its files."""
    migration = new_migration(moto_buckets, accounts=3, media=3, missing=0, all_oddities=True)
    site = migration.site
    lay_down(disk_path, migration.instance.at_source().values())
    del site.sections["s3.source"]
    site.configure(
        filesystem_source={"path": str(disk_path)},
        s3_destination={"key_prefix": "pre fix", "cache_control": "max-age=9"},
    )
    snippet = site.folder / f"mastodon-system-{HOST}-{media_host.port}.conf"
    own = "location ~ ^/system/ { return 410; }"  # as Mastodon's nginx.conf has it
    system = f"server {{ listen {HOST}:{media_host.port}; server_name social.example; {own} include {snippet}; }}"
    moved(
        migration,
        fault_proxy(moto_buckets.address.endpoint_url, unlisted),
        media_host,
        "cache",
        system,
        told_to(snippet),
    )
    assert asked(migration, "--sample", "500", code=0)["public"]["asked"]

    for each in migration.instance.present:
        if not (each.private or each.relocated or each.table == "imports"):
            status, _, place = ask(media_host, f"/system/{quote(each.key)}?1234", "social.example")
            assert (status, place) == (301, f"{media_host.url}/pre%20fix/{quote(each.key)}")
            assert ask(media_host, place.removeprefix(media_host.url))[:2] == (200, each.source.body())
    assert ask(media_host, "/system/../about", "social.example")[0] == 404
    assert ask(media_host, "//system/accounts/a", "social.example")[0] == 404


def told_to(snippet: Path) -> Callable[[Migration], None]:
    """What the step of the disk says, done; the snippet lies elsewhere."""

    def do(migration: Migration) -> None:
        steps = json.loads(migration.site.run("cutover", "--json", code=None).stdout)["steps"]
        (step,) = [step for step in steps if snippet.name in step["what"]]
        for command in step["commands"][:-1]:
            in_shell(migration.site, command.replace("/etc/nginx/snippets", str(snippet.parent)))

    return do


def ask(host: MediaHost, path: str, name: str = HOST) -> tuple[int, bytes, str]:
    """Status, body, and where it sends on to. The path goes out as it is."""
    with closing(http.client.HTTPConnection(HOST, host.port, timeout=30)) as connection:
        connection.request("GET", path, headers={"Host": name})
        told = connection.getresponse()
        return told.status, told.read(), told.getheader("location", "")
