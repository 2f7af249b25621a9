"""What is private stays private, or stays behind, and people are told: on moto, which keeps ACLs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.buckets import BucketPair
from lab.fault_plan import ACCESS_DENIED, Fault, FaultPlan, Request, always, answer, no_faults
from lab.faults import FaultProxy
from mastosync.cli.main import main
from mastosync.copying.acl import AclMode
from mastosync.manifest import HIGHEST_ID, LOWEST_ID, Manifest, PlanWriter, StoreIdentity
from mastosync.mastodon.catalog import specs_of
from mastosync.mastodon.paperclip import canonical_key, entries_of
from mastosync.model import TABLES, Entry, MediaRow
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.acl_answers import (
    DENIED,
    FATES,
    FINDINGS,
    KEPT_BACK,
    PASSES_OVER_PRIVATE,
    TAKES_NONE,
    TASTES,
    UNUSABLE,
)
from tests.support.bucket_checks import assert_holds, stored
from tests.support.entries import grouped
from tests.support.site import Site, s3_section

Proxies = Callable[..., FaultProxy]

ENTRIES = [
    *entries_of(specs_of("custom_emojis")[0], MediaRow(1, "blob.png", "image/png"))[:1],
    *entries_of(specs_of("backups")[0], MediaRow(2, "dump.zip", "application/zip")),
    *entries_of(specs_of("accounts")[0], MediaRow(3, "face.png", "image/png", private=True)),
    *entries_of(specs_of("media_attachments")[0], MediaRow(4, "dog.png", "image/png", private=True))[:1],
]
HOW_TO_DECIDE = "set `[copy] private_objects = copy` and copy again"


def read_by_anybody(buckets: BucketPair, keys: Iterable[str]) -> set[str]:
    """The keys at the destination that somebody without credentials can read."""
    return {key for key in keys if buckets.status_for_anybody(key) == 200}


def planned_site(
    folder: Path, buckets: BucketPair, endpoint: str, entries: Sequence[Entry] = ENTRIES, **copy: str
) -> Site:
    """A site with a plan, of four entries and one of them public; the destination is reached through `endpoint`."""
    for entry in entries:
        buckets.client.put_object(Bucket=buckets.source, Key=canonical_key(entry, ""), Body=b"x")
    site = Site(folder).configure(
        s3_source=s3_section(buckets.address, buckets.source),
        s3_destination=s3_section(buckets.address, buckets.destination, endpoint_url=endpoint),
        copy={"workers": "1", **copy},
    )
    replan(site, buckets, endpoint, entries)
    return site


def replan(site: Site, buckets: BucketPair, endpoint: str, entries: Sequence[Entry]) -> None:
    """A plan of everything, which is this."""
    stores = (
        StoreIdentity(buckets.address.endpoint_url, buckets.source, ""),
        StoreIdentity(endpoint, buckets.destination, ""),
    )
    opened = Manifest.open(site.manifest, writing=True) if site.manifest.exists() else Manifest.create(site.manifest)
    with opened as manifest, PlanWriter.transaction(manifest, *stores) as writer:
        by_table: dict[str, list[Entry]] = {}
        for entry in entries:
            by_table.setdefault(entry.kind.table, []).append(entry)
        for table, of_table in by_table.items():
            writer.merge(table, LOWEST_ID, HIGHEST_ID, grouped(of_table))
        writer.finish(datetime.now(UTC), {"types": list(TABLES), "only": "all", "limit": None})


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in this process, which is quicker: its exit code, and all that it says."""

    def here(site: Site, *command: str) -> tuple[int, str]:
        code = main(["-c", str(site.config), "--manifest", str(site.manifest), "--no-progress", *command])
        said = capsys.readouterr()
        return code, said.out + said.err

    return here


@pytest.mark.parametrize("taste", TASTES)
def test_auto_says_what_it_has_found_out_and_how_to_decide(
    tmp_path: Path, moto_buckets: BucketPair, fault_proxy: Proxies, run: Run, taste: str
) -> None:
    proxy = fault_proxy(moto_buckets.address.endpoint_url, TASTES[taste])
    site = planned_site(tmp_path, moto_buckets, proxy.endpoint_url)
    kept_back = FATES[AclMode.AUTO][taste][1] == KEPT_BACK
    code, copied = run(site, "copy")
    assert code == 0, copied
    told = [line for line in copied.splitlines() if line.startswith("the destination")]
    assert told == ([FINDINGS[taste]] if FINDINGS[taste] else [])
    for shown in (copied, run(site, "status")[1]):
        assert ("3 private objects were not copied" in shown) == kept_back
        assert (HOW_TO_DECIDE in shown) == kept_back
    assert f"copied {'1 object' if kept_back else '4 objects'} (" in copied
    private = {canonical_key(entry, "") for entry in ENTRIES if entry.private}
    assert not read_by_anybody(moto_buckets, private)

    site.configure(copy={"private_objects": "copy"})
    code, again = run(site, "copy")
    assert code == 0, again
    assert f"copied {3 if kept_back else 0} objects" in again
    assert "were not copied" not in again + run(site, "status")[1]
    assert stored(proxy) == {canonical_key(entry, ""): 1 for entry in ENTRIES}


@pytest.mark.parametrize("taste", TASTES)
@pytest.mark.parametrize("mode", [AclMode.PUBLIC_READ, AclMode.PRIVATE, AclMode.NONE])
def test_other_modes_insist(
    tmp_path: Path, moto_buckets: BucketPair, fault_proxy: Proxies, run: Run, taste: str, mode: AclMode
) -> None:
    proxy = fault_proxy(moto_buckets.address.endpoint_url, TASTES[taste])
    site = planned_site(tmp_path, moto_buckets, proxy.endpoint_url)
    site.configure(s3_destination={"acl": mode.value})
    of_public, of_private, _ = FATES[mode][taste]
    fates = [of_private if entry.private else of_public for entry in ENTRIES]
    code, copied = run(site, "copy")
    assert code == (7 if UNUSABLE in fates else 3 if DENIED in fates else 0), copied
    assert ("set `acl = auto`" in copied) == (UNUSABLE in fates)
    assert ("3 private objects were not copied" in copied) == (mode is AclMode.NONE)
    assert TAKES_NONE not in copied
    if UNUSABLE not in fates:
        assert f"failed {fates.count(DENIED)}" in copied
    private = {canonical_key(entry, "") for entry in ENTRIES if entry.private}
    assert not read_by_anybody(moto_buckets, private)


@pytest.mark.parametrize("mode", [AclMode.AUTO, AclMode.PUBLIC_READ, AclMode.PRIVATE])
def test_a_store_that_passes_over_acls_is_found_out_before_a_second_private_object(
    tmp_path: Path, moto_buckets: BucketPair, fault_proxy: Proxies, run: Run, mode: AclMode
) -> None:
    proxy = fault_proxy(moto_buckets.address.endpoint_url, PASSES_OVER_PRIVATE)
    site = planned_site(tmp_path, moto_buckets, proxy.endpoint_url)
    site.configure(s3_destination={"acl": mode.value})
    private = {canonical_key(entry, "") for entry in ENTRIES if entry.private}
    of_all = {canonical_key(entry, "") for entry in ENTRIES}
    for _ in range(2):  # the claim that the first run leaves is no other entry's
        before = len(proxy.requests)
        code, told = run(site, "copy")
        assert code == 7, told
        for named in ("anybody can read", "acl = none", "private_objects", "it was removed"):
            assert named in told
        assert not read_by_anybody(moto_buckets, private)
        stored = [each for each in proxy.requests[before:] if each.stored and each.request.key in private]
        assert len(stored) <= 1
    states = {line["key"]: line["state"] for line in site.listed()}
    assert {states[key] for key in private} == {"pending"}

    site.configure(s3_destination={"acl": "none"})
    code, again = run(site, "copy")
    assert code == 0, again
    assert "3 private objects were not copied" in again
    assert {line["key"] for line in site.listed("--state", "done")} == of_all - private
    assert not read_by_anybody(moto_buckets, private)


@pytest.mark.parametrize("settings", [{"acl": "none"}, {"acl": "private"}])
def test_who_wants_private_objects_copied_whatever_comes_is_not_stopped(
    tmp_path: Path, moto_buckets: BucketPair, fault_proxy: Proxies, run: Run, settings: dict[str, str]
) -> None:
    proxy = fault_proxy(moto_buckets.address.endpoint_url, PASSES_OVER_PRIVATE)
    site = planned_site(tmp_path, moto_buckets, proxy.endpoint_url, private_objects="copy")
    site.configure(s3_destination=settings)
    code, told = run(site, "copy")
    assert code == 0, told
    assert all("authorization" in each.request.headers for each in proxy.requests)


def test_what_became_readable_later_is_told_by_verify(tmp_path: Path, moto_buckets: BucketPair, run: Run) -> None:
    """By a policy of the bucket, say. Where Mastodon's pages point to, it need not be seen."""
    site = planned_site(tmp_path, moto_buckets, moto_buckets.address.endpoint_url)
    assert run(site, "copy")[0] == 0
    exposed = next(canonical_key(entry, "") for entry in ENTRIES if entry.private)
    client, bucket = moto_buckets.client, moto_buckets.destination
    client.put_object_acl(Bucket=bucket, Key=exposed, ACL="public-read")
    code, told = run(site, "verify", "--public")
    assert code == 3
    assert f"{exposed}: it is private, and anybody can read it" in told
    for named in ("acl = none", "private_objects"):
        assert named in told
    code, told = run(site, "copy")
    assert code == 0, told
    assert not read_by_anybody(moto_buckets, {exposed})


def test_what_was_kept_back_is_tried_again_on_request(tmp_path: Path, moto_buckets: BucketPair, run: Run) -> None:
    """The bucket has got ACLs meanwhile."""
    site = planned_site(tmp_path, moto_buckets, moto_buckets.address.endpoint_url)
    site.configure(s3_destination={"acl": "none"})
    assert run(site, "copy")[0] == 0
    site.configure(s3_destination={"acl": "auto"})
    assert "copied 0 objects" in run(site, "copy")[1]
    code, retried = run(site, "retry-failed", "--reason", "private")
    assert code == 0
    assert "3 entries are pending again" in retried
    assert "copied 3 objects" in retried
    assert not read_by_anybody(moto_buckets, {canonical_key(entry, "") for entry in ENTRIES if entry.private})


def through_a_store_without_acls(migration: Migration, fault_proxy: Proxies) -> None:
    upstream = migration.buckets.address.endpoint_url
    migration.through(destination=fault_proxy(upstream, TASTES["says nothing but 403"]).endpoint_url)


def test_a_migration_to_a_store_without_acls_leaves_private_objects_until_that_is_decided(
    moto_buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    migration = new_migration(moto_buckets, accounts=6, media=6)
    site, instance = migration.site, migration.instance
    through_a_store_without_acls(migration, fault_proxy)
    site.configure(copy={"multipart_threshold": "3KiB"})
    site.run("plan")
    told = site.run("copy", "--workers", "8", code=3).stdout
    kept_back = {line["key"] for line in site.listed("--reason", "private")}
    assert {each.key for each in instance.private} <= kept_back
    assert TAKES_NONE in told
    assert f"{len(kept_back)} private objects were not copied" in told
    assert HOW_TO_DECIDE in told
    assert f"{len(kept_back)} private objects were not copied" in site.run("status").stdout
    assert site.status()["reasons"]["private"] == len(kept_back)
    public = {key: each for key, each in instance.at_destination().items() if not each.private}
    assert_holds(moto_buckets.client, moto_buckets.destination, public)

    site.configure(copy={"private_objects": "copy"})
    site.run("copy", code=3)
    assert "private" not in site.status()["reasons"]
    assert_holds(moto_buckets.client, moto_buckets.destination, instance.at_destination())


def test_what_anybody_can_read_follows_the_rows(moto_buckets: BucketPair, new_migration: MigrationFactory) -> None:
    """Accounts are suspended and posts removed, and all come back: what is done is written again each time.

    Mastodon leaves avatars and headers as they are.
    """
    migration = new_migration(moto_buckets, accounts=6, media=6, missing=0)
    site, keys = migration.site, {each.key for each in migration.instance.present}
    site.configure(copy={"multipart_threshold": "3KiB"})
    site.run("plan")
    site.run("copy", code=None)
    public = {each.key for each in migration.instance.present if not each.private}
    assert read_by_anybody(moto_buckets, keys) == public
    pictures = {each.key for each in migration.instance.present if each.table == "accounts"}
    assert pictures <= public
    for since in (datetime(2026, 1, 2), None):
        with migration.database.connect() as connection:
            connection.execute("UPDATE accounts SET suspended_at = %s", (since,))
            connection.execute("UPDATE statuses SET deleted_at = %s", (since,))
        site.run("plan")
        assert site.status()["totals"]["pending"] > 0
        site.run("copy", code=None)
        public = {line["key"] for line in site.listed("--state", "done") if not line["private"]}
        assert pictures <= public
        assert read_by_anybody(moto_buckets, keys) == public
    assert public == {key for key in keys if "backups/" not in key}


def test_what_mastodon_has_hidden_since_stays_hidden_after_verify_and_copy(
    moto_buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    """Another tool has brought all; after the switch moderators remove posts, and Mastodon hides their media."""
    migration = new_migration(moto_buckets, accounts=4, media=6, missing=0)
    site, client, bucket = migration.site, moto_buckets.client, moto_buckets.destination
    for key, each in migration.instance.at_destination().items():
        client.put_object(Bucket=bucket, Key=key, Body=each.body(), **each.put_arguments())
    site.run("plan")
    site.run("adopt")
    site.run("copy", code=None)
    with migration.database.connect() as connection:
        connection.execute(
            """
            INSERT INTO statuses (id, account_id, created_at, updated_at, deleted_at)
            SELECT DISTINCT status_id, (SELECT min(id) FROM accounts WHERE domain IS NULL), now(), now(), now()
            FROM media_attachments WHERE status_id IS NOT NULL AND coalesce(remote_url, '') = ''
            ON CONFLICT (id) DO UPDATE SET deleted_at = now()
            """
        )
        rows = connection.execute(
            "SELECT m.id FROM media_attachments m JOIN statuses s ON s.id = m.status_id WHERE s.deleted_at IS NOT NULL"
        ).fetchall()
    ids = {row_id for (row_id,) in rows}
    lines = site.listed("--type", "media_attachments", "--state", "done")
    hidden = {line["key"] for line in lines if line["id"] in ids and not line["private"]}
    assert hidden
    for key in hidden:
        client.put_object_acl(Bucket=bucket, Key=key, ACL="private")
    own = dict(site.sections["pg.database"])
    site.configure(pg_database={**own, "port": "1"})
    unasked = json.loads(site.run("verify", "--public", "--json", code=3).stdout)
    assert (unasked["reopened"], unasked["rows"]["unasked"]) == (0, len(hidden))
    assert "run `mastosync plan`, then this again" in site.run("verify", "--public", code=3).stdout
    site.configure(pg_database=own)
    asked = json.loads(site.run("verify", "--public", "--json", code=None).stdout)
    assert (asked["reopened"], asked["rows"]["private"]) == (len(hidden), len(hidden)), "a copy makes sure"
    assert asked["public"]["faults"] == []
    site.run("copy", code=None)
    assert not read_by_anybody(moto_buckets, hidden)


def test_what_becomes_private_and_cannot_be_made_so_is_pointed_out(
    moto_buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Proxies
) -> None:
    migration = new_migration(moto_buckets, accounts=6, media=6, missing=0)
    site = migration.site
    through_a_store_without_acls(migration, fault_proxy)
    site.run("plan")
    site.run("copy", code=None)
    done = {line["key"] for line in site.listed("--state", "done")}
    with migration.database.connect() as connection:
        connection.execute("UPDATE accounts SET suspended_at = now()")
    site.run("plan")
    site.run("--log-file", "run.log", "copy", code=None)
    still_there = {line["key"]: line["detail"] for line in site.listed("--reason", "private") if line["key"] in done}
    assert still_there
    assert all("remove it there" in detail for detail in still_there.values())
    log = (site.folder / "run.log").read_text(encoding="utf-8")
    assert log.count("remove it there") == len(still_there)
    _require_exposed_until_hidden(migration, still_there)


def _require_exposed_until_hidden(migration: Migration, exposed: Collection[str]) -> None:
    """They are counted apart from what never came over, and nobody is switched over, until nobody can read them."""
    site, count = migration.site, len(exposed)
    kept_back = site.status()["reasons"]["private"] - count
    told = site.run("status").stdout
    assert f"{count} private objects are at the destination" in told
    assert f"{kept_back} private objects were not copied" in told
    assert site.status()["exposed"] == count

    def graded() -> list[str]:
        cutover = json.loads(site.run("cutover", "--json", code=3).stdout)["findings"]
        report = json.loads(site.run("report", "--format", "json").stdout)["verdict"]["findings"]
        found = [f"cutover: {each['status']}" for each in cutover if each["check"] == "exposed"]
        return found + [f"report: {each['status']}" for each in report if each["check"] == "exposed"]

    assert graded() == ["cutover: no-go", "report: not-yet"]
    client, bucket = migration.buckets.client, migration.buckets.destination
    for key in exposed:  # as in a bucket whose policy lets everybody read
        client.put_object_acl(Bucket=bucket, Key=key, ACL="public-read")
    public = json.loads(site.run("verify", "--public", "--sample", "1", "--json", code=3).stdout)["public"]
    assert public["exposed"] == count
    assert graded() == ["cutover: no-go", "report: not-yet"]
    for key in exposed:
        client.delete_object(Bucket=bucket, Key=key)
    public = json.loads(site.run("verify", "--public", "--sample", "1", "--json", code=None).stdout)["public"]
    assert (public["asked_private"], public["exposed"]) == (count, 0)
    assert graded() == []
    assert site.status()["exposed"] == 0


def picture(row_id: int = 4, name: str = "dog.png", *, remote: bool = False) -> Entry:
    return entries_of(specs_of("media_attachments")[0], MediaRow(row_id, name, "image/png", remote=remote))[0]


@pytest.mark.parametrize("remote", [False, True])
def test_what_became_private_and_could_not_be_written_anew_is_told_until_it_is_hidden(
    tmp_path: Path, moto_buckets: BucketPair, fault_proxy: Proxies, run: Run, remote: bool
) -> None:
    """Whatever the reason: users of the old store are not moved to where everybody reads what is private."""
    proxy = fault_proxy(moto_buckets.address.endpoint_url)
    entries = [picture(remote=remote), picture(5, "cat.png")]
    key = canonical_key(entries[0], "")
    site = planned_site(tmp_path, moto_buckets, proxy.endpoint_url, entries, max_attempts="1")
    assert run(site, "copy")[0] == 0
    assert run(site, "status")[1].count("everybody may be able to read") == 0
    replan(site, moto_buckets, proxy.endpoint_url, [entries[0]._replace(private=True), entries[1]])
    told = "1 private object is at the destination, where everybody may be able to read it"
    assert told in run(site, "status")[1]
    proxy.plan = always(ACCESS_DENIED, operation="PutObject", key=key)
    code, said = run(site, "copy")
    assert (code, said.count(told), said.count("denied 1")) == (3, 1, 1)
    assert read_by_anybody(moto_buckets, [key])
    code, said = run(site, "verify", "--public", "--sample", "1")
    assert (code, said.count("it is private, and anybody can read it")) == (3, 1)
    code, said = run(site, "cutover")
    assert (code, said.count(f"NO-GO    exposed    {told}")) == (3, 1)
    assert told in run(site, "report")[1]
    moto_buckets.client.put_object_acl(Bucket=moto_buckets.destination, Key=key, ACL="private")
    assert "it is private" not in run(site, "verify", "--public", "--sample", "1")[1]
    assert told not in run(site, "status")[1]
    (failed,) = site.listed("--state", "failed")
    assert failed["detail"], "why it failed is still to be told"
    proxy.plan = no_faults
    assert run(site, "retry-failed")[0] == 0
    assert not read_by_anybody(moto_buckets, [key])


@pytest.mark.parametrize("status", [206, 303, 407, 425])
def test_what_no_answer_tells_to_be_hidden_stays_known_as_exposed(
    tmp_path: Path, moto_buckets: BucketPair, fault_proxy: Proxies, run: Run, status: int
) -> None:
    proxy = fault_proxy(moto_buckets.address.endpoint_url)
    entries = [picture(), picture(5, "cat.png")]
    key = canonical_key(entries[0], "")
    site = planned_site(tmp_path, moto_buckets, proxy.endpoint_url, entries)
    assert run(site, "copy")[0] == 0
    site.configure(s3_destination={"acl": "none"})
    replan(site, moto_buckets, proxy.endpoint_url, [entries[0]._replace(private=True), entries[1]])
    run(site, "copy")
    assert site.status()["exposed"] == 1

    def strangers_are_told(number: int) -> FaultPlan:
        odd = answer(number, "Odd")
        return lambda asked: odd if asked.key == key and "authorization" not in asked.headers else None

    proxy.plan = strangers_are_told(status)
    code, said = run(site, "verify", "--public")
    assert (code, f"{key}: " in said) == (3, True)
    assert site.status()["exposed"] == 1
    proxy.plan = strangers_are_told(403)
    run(site, "verify", "--public")
    assert site.status()["exposed"] == 0


def test_a_site_that_has_a_page_for_everything_does_not_make_private_objects_public(
    tmp_path: Path, moto_buckets: BucketPair, fault_proxy: Proxies, run: Run
) -> None:
    """Nor has anything to be written again for it: nobody can tell who reads it, and that is told."""
    site_of_all = fault_proxy(moto_buckets.address.endpoint_url, always(answer(200, "<html>nothing here</html>")))
    endpoint = moto_buckets.address.endpoint_url
    entries = [picture()._replace(private=True), picture(5, "cat.png")]
    site = planned_site(tmp_path, moto_buckets, endpoint, entries)
    site.configure(s3_destination={"public_url": f"{site_of_all.endpoint_url}/{moto_buckets.destination}"})
    assert run(site, "copy")[0] == 0
    code, said = run(site, "verify", "--public")
    assert (code, "anybody can read it" in said, "it is not clear who can read it" in said) == (3, False, True)
    assert site.status()["totals"]["done"] == 2


@pytest.mark.parametrize("acl", ["private", "public-read"])
def test_a_provider_whose_endpoint_gives_strangers_nothing_proves_nothing_by_refusing_them(
    tmp_path: Path, moto_buckets: BucketPair, fault_proxy: Proxies, run: Run, acl: str
) -> None:
    """Its bucket is public elsewhere, at the address that everybody uses, and there an ACL means nothing."""

    def refuses(asked: Request) -> Fault | None:
        return ACCESS_DENIED if "authorization" not in asked.headers else PASSES_OVER_PRIVATE(asked)

    proxy = fault_proxy(moto_buckets.address.endpoint_url, refuses)
    elsewhere = f"{moto_buckets.address.endpoint_url}/{moto_buckets.destination}"
    private = picture()._replace(private=True)
    site = planned_site(tmp_path, moto_buckets, proxy.endpoint_url, [private])
    site.configure(s3_destination={"acl": acl, "provider": "cloudflare", "public_url": elsewhere})
    code, said = run(site, "copy")
    assert (code, "cannot check whether" in said, "private_objects" in said) == (7, True, True)
    assert not read_by_anybody(moto_buckets, [canonical_key(private, "")])
    assert not proxy.successful_puts_by_key().keys() & {canonical_key(private, "")}
    site.configure(s3_destination={"acl": "auto"})
    assert run(site, "copy")[0] == 0
    assert site.status()["reasons"] == {"private": 1}
