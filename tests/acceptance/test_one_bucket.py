"""Source and destination are one bucket under two key prefixes: what was copied is no source."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.buckets import BucketPair
from mastosync.manifest import HIGHEST_ID, LOWEST_ID, Manifest, PlanWriter, StoreIdentity
from mastosync.mastodon.catalog import specs_of
from mastosync.mastodon.paperclip import canonical_key, entries_of
from mastosync.model import Entry, EntryGroup, MediaRow
from tests.support.site import Site, s3_section

DOG = entries_of(specs_of("media_attachments")[0], MediaRow(4, "dog.png", "image/png"))[0]
FIRST, SECOND = DOG._replace(size=3, updated=1000), DOG._replace(size=5, updated=2000)
KEY = canonical_key(DOG, "")


@pytest.fixture
def site(tmp_path: Path, moto_buckets: BucketPair) -> Site:
    """From `old/` to no prefix at all, where keys without a prefix were candidates of the source."""
    section = s3_section(moto_buckets.address, moto_buckets.destination)
    return Site(tmp_path).configure(
        s3_source={**section, "key_prefix": "old"},
        s3_destination={**section, "key_prefix": ""},
        copy={"workers": "1"},
    )


def plan(site: Site, buckets: BucketPair, entries: Sequence[Entry]) -> None:
    stores = [StoreIdentity(buckets.address.endpoint_url, buckets.destination, prefix) for prefix in ("old", "")]
    with Manifest.create(site.manifest) as manifest, PlanWriter.transaction(manifest, *stores) as writer:
        writer.merge(DOG.kind.table, LOWEST_ID, HIGHEST_ID, [EntryGroup.of(each) for each in entries])
        writer.finish(datetime.now(UTC), {})


@pytest.mark.parametrize("server_side", ["auto", "never"])
def test_an_older_copy_is_never_taken_for_the_new_file(site: Site, moto_buckets: BucketPair, server_side: str) -> None:
    """The file was replaced under its name, and the source has lost the new one: it is missing, and not done."""
    site.configure(copy={"server_side": server_side})
    client, bucket, old_key = moto_buckets.client, moto_buckets.destination, f"old/{KEY}"
    client.put_object(Bucket=bucket, Key=old_key, Body=b"one")
    plan(site, moto_buckets, [FIRST])
    site.run("copy")
    client.delete_object(Bucket=bucket, Key=old_key)
    plan(site, moto_buckets, [SECOND])
    site.run("adopt")
    site.run("copy", code=3)
    (line,) = site.listed()
    assert (line["state"], line["reason"]) == ("failed", "missing")
    client.put_object(Bucket=bucket, Key=old_key, Body=b"newer")
    site.run("retry-failed")
    (line,) = site.listed()
    assert (line["state"], line["size"]) == ("done", 5)
