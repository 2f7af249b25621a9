"""The media host that `cutover --nginx` writes, in front of real stores, and `verify --public` through it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scripts.lab.buckets import BucketPair
from scripts.lab.fault_plan import ACCESS_DENIED, Fault, Request
from scripts.lab.faults import FaultProxy
from scripts.lab.nginx import NginxServer, why_no_nginx
from scripts.lab.ports import HOST, PortBlock
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.acceptance.disks import lay_down

pytestmark = pytest.mark.skipif(bool(why_no_nginx()), reason=why_no_nginx())

Proxies = Callable[..., FaultProxy]
NOT_SHOWN = "travelled0.png"  # which somebody gave a Content-Type that browsers do not show


def unlisted(request: Request) -> Fault | None:
    """Nobody may list without a key, unlike at moto itself."""
    return ACCESS_DENIED if request.operation == "ListObjects" and "authorization" not in request.headers else None


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
            ("/var/cache/mastodon-media", f"{folder}/cache"),
            ("/var/log/nginx/mastodon-media-fallback.log", f"{folder}/fallback.log"),
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


def moved(migration: Migration, proxy: FaultProxy, host: MediaHost) -> None:
    """All has arrived, and nginx answers for it as it was told to."""
    site = migration.site
    migration.through(destination=proxy.endpoint_url)
    site.configure(s3_destination={"public_url": host.url})
    site.run("plan")
    site.run("copy")
    site.run("cutover", "--nginx", "media.conf", code=None)
    host.start((site.folder / "media.conf").read_text())


def asked(migration: Migration, *arguments: str, code: int = 3) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(migration.site.run("verify", "--public", "--json", *arguments, code=code).stdout)
    return found


def test_all_is_well_through_it_and_what_is_not_is_found(
    moto_buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies, media_host: MediaHost
) -> None:
    migration = new_migration(moto_buckets, accounts=4, media=6, missing=0, all_oddities=True)
    proxy = fault_proxy(moto_buckets.address.endpoint_url, unlisted)
    moved(migration, proxy, media_host)
    found = asked(migration, "--sample", "500")
    print(json.dumps(found["public"], indent=1))
    assert 0
