"""Commands that list a store which stops answering, or whose user stops them: each ends with its own words.

The installed command runs against a server that says what a test wants, with a manifest that is already there.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from lab.addresses import S3Address
from lab.configuration import s3_section
from mastosync.manifest import Manifest, ManifestReader, Relation, StoreIdentity, record_findings, record_relation
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import TABLES, Entry, EntryState, Outcome
from tests.support.entries import LOCAL, REMOTE, entry
from tests.support.manifests import planned
from tests.support.raw_server import RawRequest, RawServer, answer
from tests.support.site import COMMAND, Site

pytestmark = pytest.mark.timing

DEADLINE_SECONDS = 60
ENTRIES = [entry(number, f"{number}.png", kind=kind) for kind in (LOCAL, REMOTE) for number in range(1, 21)]
PAGE = 5
DATA = b"an object"

COMMANDS = {
    "verify": "destination",
    "adopt": "destination",
    "orphans": "source",
}
"""Each command that lists, and the store that it lists first."""


def listing(keys: list[str], *, last: bool) -> bytes:
    found = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{'0' * 32}&quot;</ETag><Size>{len(DATA)}</Size></Contents>"
        for key in keys
    )
    body = (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
        f"<MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(not last).lower()}</IsTruncated>{found}</ListBucketResult>"
    )
    return answer(200, body.encode(), content_type="application/xml")


def refusal(status: int, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>"
    return answer(status, body.encode(), content_type="application/xml")


class Store:
    """Lists the objects of all entries page by page, until something else is wanted."""

    def __init__(self, entries: list[Entry]) -> None:
        self.keys = sorted(canonical_key(each, "") for each in entries)
        self.later: bytes | None = None  # in place of every page but the first
        self.refused_bucket = ""  # that answers so
        self.seconds_a_page = 0.0
        self.pages = 0  # that somebody asked to go on with

    def __call__(self, request: RawRequest) -> bytes:
        url = urlsplit(request.head.split(b" ")[1].decode())
        query = parse_qs(url.query)
        if "list-type" not in query:
            return refusal(404, "NoSuchKey")
        if query.get("max-keys") == ["1"]:  # is there a bucket?
            return listing(self.keys[:1], last=False)
        after = query.get("start-after", [""])[0]
        if after:
            self.pages += 1
            if self.later is not None and self.refused_bucket in url.path:
                return self.later
            time.sleep(self.seconds_a_page)
        keys = [key for key in self.keys if key > after]
        return listing(keys[:PAGE], last=len(keys) <= PAGE)


@pytest.fixture
def store() -> Store:
    return Store(ENTRIES)


@pytest.fixture
def site(tmp_path: Path, store: Store) -> Iterator[Site]:
    """A configuration whose both stores are this one, in two buckets, with a whole plan of what lies there."""
    with RawServer(store) as server:
        address = S3Address(server.endpoint_url, "key", "marked-secret", "", "")
        buckets = {role: f"{role}-bucket" for role in ("source", "destination")}
        sections = {f"s3.{role}": s3_section(address, bucket) for role, bucket in buckets.items()}
        site = Site(tmp_path, sections).configure(copy={"max_attempts": "2", "workers": "2"})
        source, destination = (StoreIdentity(server.endpoint_url, bucket, "") for bucket in buckets.values())
        details = {"types": list(TABLES), "only": "all", "limit": None}
        with closing(planned(site.manifest, ENTRIES, (source, destination), details)) as manifest:
            record_relation(manifest, Relation.TWO, probe_settled=True)  # somebody has looked
        yield site


def all_done(site: Site) -> None:
    with Manifest.open(site.manifest, writing=True) as manifest:
        records = list(ManifestReader(manifest).iter_records())
        outcomes = [Outcome(each.entry, EntryState.DONE, size=len(DATA), etag="0" * 32) for each in records]
        record_findings(manifest, list(zip(records, outcomes, strict=True)))


def assert_plain(said: str, site: Site) -> None:
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert site.manifest.name not in said  # which has done nothing
    assert "marked-secret" not in said


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (500, "InternalError")])
def test_a_refusal_in_the_middle_names_store_and_place(
    site: Site, store: Store, command: str, status: int, code: str
) -> None:
    if command == "verify":
        all_done(site)
    store.later, store.refused_bucket = refusal(status, code), f"{COMMANDS[command]}-bucket"
    done = site.run("--no-progress", command, code=7)
    assert_plain(done.stderr, site)
    message, hint = done.stderr.strip().splitlines()
    assert message.startswith(f"mastosync: cannot list the {COMMANDS[command]} bucket '{COMMANDS[command]}-bucket' at ")
    assert f"the store answers {status} {code}" in message
    assert message.endswith(f", after {store.keys[PAGE - 1]!r}")
    assert ("verify --deep" in hint) == (command == "verify")  # which is no way round for the others
    assert ("s3:ListBucket" in hint) == (status == 403)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_ends_a_listing_with_one_sentence(site: Site, store: Store, command: str) -> None:
    if command == "verify":
        all_done(site)
    store.seconds_a_page = 0.2
    running = subprocess.Popen(
        [str(COMMAND), "--no-progress", command],
        cwd=site.folder,
        env=site.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not store.pages:
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        output, said = running.communicate(timeout=DEADLINE_SECONDS)
    assert running.returncode == 130, said
    assert output == ""
    assert_plain(said, site)
    *at_once, message, hint = said.strip().splitlines()
    assert [each.partition(":")[0] for each in at_once] in ([], ["stopping"]), "where it takes a while"
    assert message == "mastosync: stopped on request"
    assert hint
