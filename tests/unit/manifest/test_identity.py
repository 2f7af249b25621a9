"""Names of one store: which are known for one without asking anybody, and what a manifest makes of them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from mastosync import mountinfo
from mastosync.app.context import identities
from mastosync.config import Config, FilesystemConfig, S3Config, Secret
from mastosync.errors import ConfigError, ManifestError, StoreUnusable
from mastosync.manifest import (
    Relation,
    StoreIdentity,
    WorkQueue,
    in_one_bucket,
    record_relation,
    require_same,
    some_done,
)
from mastosync.model import EntryState, Outcome
from mastosync.store.filesystem import probe
from mastosync.store.filesystem.root import RootFolder
from tests.support.entries import LOCAL, REMOTE, entry
from tests.support.manifests import DESTINATION, planned

FRANKFURT = "https://s3.eu-central-1.amazonaws.com"


def store(endpoint: str | None, bucket: str = "media", prefix: str = "") -> S3Config:
    return S3Config(
        endpoint_url=endpoint,
        bucket=bucket,
        access_key="k",
        secret_key=Secret("s"),
        key_prefix=prefix,
        addressing_style="path" if endpoint else "auto",
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://s3.example.com", "https://s3.example.com/"),
        ("https://s3.example.com", "https://s3.example.com:443"),
        ("http://s3.example.com:9000", "https://s3.example.com:9000"),
        ("https://s3.example.com", "https://S3.Example.COM."),
        ("https://s3.example.com/minio", "https://s3.example.com:443/minio/"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://127.0.0.1:9000", "http://127.1:9000"),
        ("http://127.0.0.1:9000", "http://0x7f.1:9000"),
        ("http://127.0.0.1:9000", "http://[::ffff:127.0.0.1]:9000"),
        ("http://[::1]:9000", "http://[0:0:0:0:0:0:0:1]:9000"),
        (None, "https://s3.amazonaws.com"),
        (None, FRANKFURT),
        (None, "https://s3.us-east-1.amazonaws.com"),
        (None, "https://s3-external-1.amazonaws.com"),
        (FRANKFURT, "http://s3.eu-central-1.amazonaws.com:80"),
        (FRANKFURT, "https://s3-eu-central-1.amazonaws.com"),
        (FRANKFURT, "https://s3.dualstack.eu-central-1.amazonaws.com"),
        (FRANKFURT, "https://s3-accelerate.amazonaws.com"),
        (FRANKFURT, "https://s3-accelerate.dualstack.amazonaws.com"),
        (FRANKFURT, "https://bucket.vpce-1a2b3c4d-5e6f.s3.eu-central-1.vpce.amazonaws.com"),
        (FRANKFURT, "https://vpce-1a2b3c4d-5e6f-eu-central-1a.s3.eu-central-1.vpce.amazonaws.com"),
        ("https://s3.us-east-2.amazonaws.com", "https://s3-fips.us-east-2.amazonaws.com"),
        ("https://s3.us-east-2.amazonaws.com", "https://s3-fips.dualstack.us-east-2.amazonaws.com"),
        ("https://s3.us-gov-west-1.amazonaws.com", "https://s3-fips-us-gov-west-1.amazonaws.com"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "https://s3.dualstack.cn-northwest-1.amazonaws.com.cn"),
    ],
)
def test_names_of_one_store_are_no_two(one: str | None, other: str | None) -> None:
    for source, destination in ((one, other), (other, one)):
        with pytest.raises(ConfigError, match="are the same"):
            identities(Config(source=store(source), destination=store(destination)))
        named = [
            identities(Config(source=store(end, prefix=prefix), destination=store(end, "elsewhere")))[0]
            for end, prefix in ((source, "old"), (destination, "new"))
        ]
        assert named[0].same_bucket(named[1])
        assert not named[0].same_store(named[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://s3.example.com", "https://s3.example.org"),
        ("https://s3.example.com:9000", "https://s3.example.com"),
        ("https://s3.example.com/one", "https://s3.example.com/other"),
        ("https://s3.amazonaws.com", "https://s3.cn-north-1.amazonaws.com.cn"),
        ("https://s3.amazonaws.com", "https://s3.us-gov-west-1.amazonaws.com"),
        ("https://s3.amazonaws.com", "https://s3.amazonaws.com.example.com"),
        ("https://s3.amazonaws.com", "https://media-123456789012.s3-accesspoint.eu-central-1.amazonaws.com"),
        ("https://s3.eu-central-1.wasabisys.com", "https://s3.eu-west-1.wasabisys.com"),
    ],
)
def test_other_names_may_be_two_stores(one: str, other: str) -> None:
    source, destination = identities(Config(source=store(one), destination=store(other)))
    assert not source.same_bucket(destination)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://s3.example.com", "https://s3.example.com"),
        ("http://s3.example.com:80", "https://S3.example.com:443"),
        ("http://10.0.0.1:80", "https://10.0.0.1"),
    ],
)
def test_http_and_https_of_one_host_may_be_two_servers_which_a_probe_tells(
    tmp_path: Path, one: str, other: str
) -> None:
    """It is one bucket until somebody has looked, so nothing is pruned for want of a look."""
    stores = identities(Config(source=store(one), destination=store(other)))
    with planned(tmp_path / "m.db", [entry()], stores) as manifest:
        assert in_one_bucket(manifest)
        record_relation(manifest, Relation.TWO, probe_settled=True)
        assert not in_one_bucket(manifest)


def test_what_names_tell_for_certain_no_probe_overrules(tmp_path: Path) -> None:
    stores = StoreIdentity(FRANKFURT, "media", "old"), StoreIdentity("http://s3.amazonaws.com", "media", "new")
    with planned(tmp_path / "m.db", [entry()], stores) as manifest:
        record_relation(manifest, Relation.TWO, probe_settled=True)
        assert in_one_bucket(manifest)


@pytest.mark.parametrize("endpoint", ["https://h:99999", "https://h:abc", "https://[::1", "https://h:-1", "x", ""])
def test_a_name_that_is_none_is_compared_as_it_is(endpoint: str) -> None:
    """As an archive may have it."""
    assert StoreIdentity(endpoint, "media", "").same_store(StoreIdentity(endpoint, "media", ""))
    assert not StoreIdentity(endpoint, "media", "").same_bucket(StoreIdentity(FRANKFURT, "media", ""))


def test_other_buckets_of_one_endpoint_are_two_stores() -> None:
    source, destination = identities(Config(source=store(None, "old"), destination=store(FRANKFURT, "new")))
    assert not source.same_bucket(destination)


def test_a_bucket_in_the_name_of_an_amazon_host_is_the_bucket_and_the_other_a_folder_in_it() -> None:
    """As Mastodon addressed it where S3_ENDPOINT held the bucket: its objects lie at BUCKET/KEY in that bucket."""
    twice = StoreIdentity("https://media.s3.eu-central-1.amazonaws.com", "media", "")
    assert twice.same_store(StoreIdentity(FRANKFURT, "media", "media"))
    assert twice.same_bucket(StoreIdentity(FRANKFURT, "media", ""))
    assert not twice.same_store(StoreIdentity(FRANKFURT, "media", ""))


@pytest.mark.parametrize(("one", "other", "same"), [("/p", "p", True), ("p/", "p", False), ("", "p", False)])
def test_key_prefixes_are_one_if_they_make_the_same_keys(one: str, other: str, same: bool) -> None:
    """Paperclip takes one slash away in front, and none behind."""
    stores = [StoreIdentity(FRANKFURT, "media", prefix) for prefix in (one, other)]
    assert stores[0].same_store(stores[1]) is same
    assert stores[0].same_bucket(stores[1])


@pytest.mark.parametrize(
    ("bound", "configured"),
    [
        ("https://s3.example.com:443", "https://s3.example.com:443"),  # as older versions wrote it
        ("https://s3.example.com:443", "https://s3.example.com"),
        ("http://s3.example.com", "https://s3.example.com"),
        ("https://s3.amazonaws.com", FRANKFURT),
    ],
)
def test_a_manifest_knows_its_store_under_each_of_its_names(tmp_path: Path, bound: str, configured: str) -> None:
    with planned(tmp_path / "m.db", [entry()], (StoreIdentity(bound, "media", ""), DESTINATION)) as manifest:
        require_same(manifest, StoreIdentity(configured, "media", ""), DESTINATION)
        with pytest.raises(ManifestError, match=bound):  # it is shown as it was written
            require_same(manifest, StoreIdentity(configured, "other", ""), DESTINATION)


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:17 / /data rw - ext4 /dev/sdb1 rw
31 22 8:17 /media /srv/live rw - ext4 /dev/sdb1 rw
32 22 8:17 /media/backup /srv/backup rw - ext4 /dev/sdb1 rw
33 22 8:33 / /srv/new\\040disk rw - ext4 /dev/sdc1 rw
34 22 0:50 / /net/all rw - nfs4 nas:/export rw
35 22 0:51 / /net/media rw - nfs4 nas:/export/media rw
"""


@pytest.mark.parametrize(
    ("source", "destination", "apart"),
    [
        ("/data/media", "/srv/live", False),
        ("/data/media", "/srv/live/system", False),
        ("/data/media", "/srv/backup", False),
        ("/data/media/cache", "/srv/live", False),
        ("/srv/live/backup/old", "/srv/backup/old", False),
        ("/net/all/media/system", "/net/media", False),
        ("/data/media", "/data/media2", True),
        ("/srv/live/accounts", "/srv/backup", True),
        ("/data/media", "/srv/new disk/media", True),
        ("/net/all/backup", "/net/media", True),
    ],
)
def test_folders_are_told_apart_by_where_they_lie_on_their_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, destination: str, apart: bool
) -> None:
    """A folder that is mounted at a second place has two paths without a link in them."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS, encoding="utf-8")
    monkeypatch.setattr("mastosync.mountinfo._MOUNTS", mounts)
    for one, other in ((source, destination), (destination, source)):
        config = Config(
            source_folder=FilesystemConfig(path=Path(one)), destination_folder=FilesystemConfig(path=Path(other))
        )
        if apart:
            identities(config)
            continue
        with pytest.raises(ConfigError, match="one is inside the other") as refused:
            identities(config)
        assert refused.value.exit_code == 4


class Scanning:
    """The module `os`, but that a list of one folder ends with an error after so many names, so many times."""

    def __init__(self, folder: Path, *, damaged_after: int, times: int) -> None:
        self.folder, self.damaged_after, self.times = folder, damaged_after, times

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    @contextmanager
    def scandir(self, fd: int) -> Iterator[Iterator[os.DirEntry[str]]]:
        with os.scandir(fd) as entries:
            damaged = self.times > 0 and os.path.samestat(os.fstat(fd), self.folder.stat())
            self.times -= damaged
            yield self.broken_off(sorted(entries, key=lambda entry: entry.name)) if damaged else entries

    def broken_off(self, entries: list[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        yield from entries[: self.damaged_after]
        raise OSError(errno.EIO, "it cannot be read")


def led(tmp_path: Path, link: str) -> Config:
    """A source folder with such a link, which leads to the destination, and much else after it."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    place = tmp_path / "old" / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(tmp_path / "new")
    (place.parent / "others").mkdir()
    folders = (FilesystemConfig(path=tmp_path / name) for name in ("old", "new"))
    return Config(source_folder=next(folders), destination_folder=next(folders))


@pytest.fixture
def linked(tmp_path: Path) -> Config:
    return led(tmp_path, "cache")


@pytest.mark.parametrize("target", ["old", "old/cache", "elsewhere"])
def test_no_link_of_the_destination_leads_to_the_source(tmp_path: Path, target: str) -> None:
    """Such links are followed by whoever writes."""
    for name in ("old", "new/accounts", "elsewhere", "free"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "old" / "cache").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "new" / "accounts" / "banners").symlink_to(tmp_path / "free")
    folders = (FilesystemConfig(path=tmp_path / name) for name in ("old", "new"))
    config = Config(source_folder=next(folders), destination_folder=next(folders))
    assert identities(config)
    (tmp_path / "new" / "accounts" / "avatars").symlink_to(tmp_path / target)
    with pytest.raises(ConfigError, match="new/accounts/avatars, in the folder of the destination, leads to"):
        identities(config)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("what", ["mounts_below", "_opened"])
def test_who_is_short_of_something_for_the_moment_does_not_know_where_a_folder_leads(
    linked: Config, monkeypatch: pytest.MonkeyPatch, what: str, code: int
) -> None:
    with pytest.raises(ConfigError, match="in the folder of the source, leads to the destination"):
        identities(linked)
    monkeypatch.setattr(probe, what, failing(code))
    with pytest.raises(StoreUnusable, match="cannot look for links and mounts in the source folder"):
        identities(linked)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ENOENT])
def test_links_count_though_nobody_can_tell_of_mounts(
    linked: Config, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(probe, "mounts_below", failing(code))
    with pytest.raises(ConfigError, match="in the folder of the source, leads to the destination"):
        identities(linked)


@pytest.mark.parametrize("damaged", ["", "damaged/"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ELOOP, errno.EACCES])
def test_a_damaged_folder_of_the_source_keeps_nobody_from_the_others(
    linked: Config, monkeypatch: pytest.MonkeyPatch, damaged: str, code: int
) -> None:
    """Nor from what needs no source at all; and where the others lead is known."""
    opened = probe._opened

    def dying(root: RootFolder, folder: str) -> AbstractContextManager[int]:
        return failing(code)() if folder == damaged else opened(root, folder)

    source = linked.source_folder.folder
    (source / "damaged").mkdir()
    monkeypatch.setattr(probe, "_opened", dying)
    if damaged:
        with pytest.raises(ConfigError, match="in the folder of the source, leads to the destination"):
            identities(linked)
    (source / "cache").unlink()
    assert identities(linked)


@pytest.mark.parametrize("broken_off", ["", "cache/"])
def test_links_that_were_seen_count_though_the_rest_of_a_folder_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken_off: str
) -> None:
    config = led(tmp_path, f"{broken_off}link")
    monkeypatch.setattr(probe, "os", Scanning(tmp_path / "old" / broken_off, damaged_after=1, times=99))
    with pytest.raises(ConfigError, match="in the folder of the source, leads to the destination"):
        identities(config)
    assert sum("cannot look for links and mounts in the source folder" in message for message in caplog.messages) == 1


def test_what_lies_below_a_damaged_folder_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = led(tmp_path, "cache/link")
    monkeypatch.setattr(probe, "os", Scanning(tmp_path / "old", damaged_after=1, times=99))
    with pytest.raises(ConfigError, match="in the folder of the source, leads to the destination"):
        identities(config)


def test_where_no_system_tells_of_mounts_nothing_is_said_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = led(tmp_path, "link")
    (tmp_path / "old" / "link").unlink()
    monkeypatch.setattr(probe, "mounts_below", failing(errno.ENOENT))
    assert identities(config)
    assert not caplog.messages


def test_a_folder_that_cannot_be_read_for_a_moment_is_read_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that lies on the network: a moment later, a copy would read through it."""
    config = led(tmp_path, "cache/link")
    monkeypatch.setattr(probe, "os", Scanning(tmp_path / "old" / "cache", damaged_after=0, times=1))
    with pytest.raises(ConfigError, match="in the folder of the source, leads to the destination"):
        identities(config)


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOTCONN, errno.EIO])
def test_a_source_that_cannot_be_looked_at_is_for_whoever_reads_it(
    linked: Config, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As below a home that is closed to others, or on a disk of the network that has died."""
    (linked.source_folder.folder / "cache").unlink()
    monkeypatch.setattr(Path, "samefile", failing(code))
    monkeypatch.setattr(RootFolder, "fd", property(failing(code)))
    assert identities(linked)


def test_a_table_of_mounts_that_cannot_be_read_tells_nothing(
    linked: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (linked.source_folder.folder / "cache").unlink()
    monkeypatch.setattr(mountinfo, "_MOUNTS", tmp_path)
    with pytest.raises(StoreUnusable, match="cannot find out on which disk"):
        identities(linked)


def test_a_file_in_the_place_of_the_source_is_for_whoever_reads_it(linked: Config) -> None:
    source = linked.source_folder.folder
    source.rename(source.with_name("elsewhere"))
    source.write_bytes(b"")
    assert identities(linked)


def test_a_source_that_is_a_link_to_itself_is_for_whoever_reads_it(linked: Config) -> None:
    source = linked.source_folder.folder
    source.rename(source.with_name("elsewhere"))
    source.symlink_to(source)
    assert identities(linked)


def test_a_source_that_is_gone_leads_nowhere(linked: Config) -> None:
    """As after a migration, when what has no row is still pruned."""
    linked.source_folder.folder.rename(linked.source_folder.folder.with_name("elsewhere"))
    assert identities(linked)


def failing(code: int) -> Callable[..., NoReturn]:
    def fails(*_: object) -> NoReturn:
        raise OSError(code, "it cannot be read")  # of the kind that fits

    return fails


def test_of_what_is_done_the_first_two_and_the_last_two_of_each_kind_are_known(tmp_path: Path) -> None:
    entries = [entry(row, kind=kind) for kind in (LOCAL, REMOTE) for row in range(1, 8)]
    done = [*entries[1:6], entries[9]]
    with planned(tmp_path / "m.db", entries) as manifest:
        assert some_done(manifest) == []
        queue = WorkQueue(manifest)
        queue.commit(outcomes=[Outcome(each, EntryState.DONE, size=1) for each in done])
        assert {(each.entry.kind, each.entry.id) for each in some_done(manifest)} == {
            *((LOCAL, row) for row in (2, 3, 5, 6)),
            (REMOTE, 3),
        }


def test_what_is_done_is_looked_for_in_a_bounded_part_of_a_kind(tmp_path: Path) -> None:
    entries = [entry(row) for row in range(1, 2_502)]
    with planned(tmp_path / "m.db", entries) as manifest:
        WorkQueue(manifest).commit(outcomes=[Outcome(entries[1_250], EntryState.DONE, size=1)])
        assert some_done(manifest) == []
