"""Files that a source disk keeps closed, as Mastodon leaves them of suspended accounts: no copy of them is public."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.buckets import BucketPair
from mastosync.manifest import HIGHEST_ID, LOWEST_ID, Manifest, PlanWriter, StoreIdentity
from mastosync.mastodon.catalog import specs_of
from mastosync.mastodon.paperclip import canonical_key, entries_of
from mastosync.model import TABLES, Entry, EntryGroup, MediaRow
from tests.support.site import Site, s3_section

DOG = entries_of(specs_of("media_attachments")[0], MediaRow(4, "dog.png", "image/png"))[0]
KEY = canonical_key(DOG, "")
CLOSED, OPEN = 0o600, 0o644


class Disk:
    """A site that moves one file from a disk to a bucket."""

    def __init__(self, folder: Path, buckets: BucketPair) -> None:
        root, here = folder / "media", folder / "site"
        self.buckets, self.file = buckets, root / KEY
        self.file.parent.mkdir(parents=True)
        self.file.write_bytes(b"the file")
        here.mkdir()
        self.site = Site(here).configure(
            filesystem_source={"path": str(root)},
            s3_destination=s3_section(buckets.address, buckets.destination),
            copy={"workers": "1"},
        )
        endpoint = buckets.address.endpoint_url
        self.stores = StoreIdentity.of_folder(root.resolve()), StoreIdentity(endpoint, buckets.destination, "")

    def plan(self, entries: Sequence[Entry] = (DOG,)) -> None:
        """Of all rows."""
        with (
            Manifest.create(self.site.manifest) as manifest,
            PlanWriter.transaction(manifest, *self.stores) as writer,
        ):
            writer.merge(DOG.kind.table, LOWEST_ID, HIGHEST_ID, [EntryGroup.of(each) for each in entries])
            writer.finish(datetime.now(UTC), {"types": list(TABLES), "only": "all", "limit": None})

    @property
    def is_public(self) -> bool:
        return self.buckets.status_for_anybody(KEY) == 200


@pytest.fixture
def disk(tmp_path: Path, moto_buckets: BucketPair) -> Disk:
    return Disk(tmp_path, moto_buckets)


@pytest.mark.parametrize("command", [["copy"], ["adopt"]])
def test_what_was_closed_while_its_row_was_gone_is_hidden(disk: Disk, command: list[str]) -> None:
    disk.file.chmod(OPEN)
    disk.plan()
    disk.site.run("copy")
    disk.plan([])
    disk.file.chmod(CLOSED)
    disk.plan()
    disk.site.run(*command)
    disk.site.run("copy")
    assert not disk.is_public
    (line,) = disk.site.listed()
    assert line["state"] == "done"


def test_adopt_leaves_what_another_tool_brought_to_a_copy(disk: Disk) -> None:
    """The copy hides it, as it would have if it had brought it."""
    disk.file.chmod(CLOSED)
    disk.buckets.client.put_object(
        Bucket=disk.buckets.destination, Key=KEY, Body=disk.file.read_bytes(), ACL="public-read"
    )
    disk.plan()
    disk.site.run("adopt", "--deep")
    (line,) = disk.site.listed()
    assert line["state"] == "pending"
    disk.site.run("copy")
    assert not disk.is_public
