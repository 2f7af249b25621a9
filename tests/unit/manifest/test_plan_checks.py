"""How much of what was planned a plan may lose, and by what a database is known again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mastosync.errors import PlanRefused
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Manifest,
    ManifestReader,
    PlanWriter,
    WorkQueue,
    Writes,
    least_losses,
    remember_database,
    remembered_database,
    require_likely,
    require_same_database,
)
from mastosync.manifest.plan_checks import Losses
from mastosync.model import DatabaseIdentity, Entry, EntryState, Kind, Outcome, Presence, Reason
from tests.support.entries import LOCAL, entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, planned

CACHE = Kind("media_attachments", "file", "small", "media_attachments/files", remote=True, cached=True)
PROFILE = Kind("accounts", "avatar", "original", "accounts/avatars", remote=True, cached=True)
MEDIA, EMOJI, SITE, BACKUP = (
    LOCAL._replace(table=table) for table in ("media_attachments", "custom_emojis", "site_uploads", "backups")
)
HERE = DatabaseIdentity("mastodon_production", "db:5432", "c1", ("a1", "a2", "a3"))


@pytest.mark.parametrize(
    ("lost", "likely"),
    [
        ([(LOCAL, 0, 0)], True),
        ([(LOCAL, 10, 10)], True),  # so few say nothing
        ([(LOCAL, 11, 11)], False),
        ([(LOCAL, 25, 100)], True),
        ([(LOCAL, 26, 100)], False),
        ([(LOCAL, 100, 400)], True),
        ([(LOCAL, 101, 400)], False),
        ([(LOCAL, 500, 10_000)], True),
        ([(LOCAL, 501, 10_000)], False),
        ([(LOCAL, 0, 100), (PROFILE, 0, 1_000), (CACHE, 9_000, 9_000)], True),  # as `tootctl media remove` does
        ([(LOCAL, 0, 100), (PROFILE, 500, 1_000), (CACHE, 9_000, 9_000)], True),
        ([(LOCAL, 0, 19), (PROFILE, 501, 1_000), (CACHE, 9_000, 9_000)], False),
        ([(LOCAL, 0, 20), (PROFILE, 1_000, 1_000), (CACHE, 9_000, 9_000)], True),  # as `--prune-profiles` does
        ([(LOCAL, 5, 100), (PROFILE, 970, 1_000)], True),
        ([(LOCAL, 6, 100), (PROFILE, 970, 1_000)], False),
        ([(LOCAL, 0, 300), (PROFILE, 100, 4_000), (CACHE, 196_000, 200_000)], True),  # a relay's, after `--days 1`
        ([(CACHE, 95, 100)], True),
        ([(CACHE, 96, 100)], False),
        ([(LOCAL, 95, 100), (CACHE, 0, 1_000_000)], False),
        ([(MEDIA, 0, 10_000), (EMOJI, 10, 10)], True),  # five emojis, each with its static picture
        ([(MEDIA, 0, 10_000), (EMOJI, 11, 11)], False),  # a table of which nothing is left
        ([(MEDIA, 0, 10_000), (EMOJI, 400, 401)], True),  # another pack, say
        ([(MEDIA, 0, 10_000), (EMOJI._replace(style="static"), 6, 6), (EMOJI, 5, 6)], True),
        ([(MEDIA, 0, 10_000), (EMOJI._replace(style="static"), 6, 6), (EMOJI, 6, 6)], False),
        ([(LOCAL, 0, 1_000), (SITE, 20, 20), (BACKUP, 30, 30)], True),  # backups expire, and the site's files are few
        ([(LOCAL, 0, 1_000), (CACHE, 11, 11)], True),
        ([(LOCAL, 0, 300_000), (MEDIA, 9_999, 10_000)], False),  # one is left, and many avatars
        ([(LOCAL, 0, 300_000), (MEDIA, 501, 10_000)], False),
        ([(LOCAL, 0, 300_000), (MEDIA, 500, 10_000)], True),
        ([(LOCAL, 0, 300_000), (MEDIA, 10, 12)], True),
        ([(LOCAL, 0, 300_000), (MEDIA, 25, 100)], True),
        ([(LOCAL, 0, 300_000), (MEDIA, 26, 100)], False),
        ([(MEDIA, 0, 300_000), (LOCAL, 200, 1_000)], False),
        ([(MEDIA, 0, 300_000), (LOCAL, 100, 1_000)], True),  # fifty who sent spam
        ([(LOCAL, 0, 300_000), (MEDIA._replace(remote=True), 9_999, 10_000)], True),
    ],
)
def test_what_an_instance_loses(lost: Sequence[tuple[Kind, int, int]], likely: bool) -> None:
    losses = Losses.of(lost)
    assert losses.are_likely is likely
    if not likely:
        with pytest.raises(PlanRefused) as refused:
            require_likely(losses, HERE)
        gone, planned = (sum(numbers) for numbers in list(zip(*lost, strict=True))[1:])
        assert f"{gone:,} of {planned:,} entries" in refused.value.message
        assert "is this the right database" in refused.value.hint
        assert 'database "mastodon_production" at db:5432' in refused.value.message
        assert "--accept-gone" in refused.value.hint


def test_a_table_that_lost_all_it_had_is_named_unless_others_came() -> None:
    lost = [(LOCAL, 0, 1_000), (EMOJI, 40, 40)]
    assert Losses.of(lost, came=["custom_emojis"]).are_likely
    with pytest.raises(
        PlanRefused, match=r"40 of 1,040 entries .* of this server, among them all 40 of custom_emojis: "
    ):
        require_likely(Losses.of(lost, came=["accounts"]), HERE)


def test_a_table_that_lost_what_others_outnumber_is_named_whatever_came() -> None:
    lost = [(LOCAL, 0, 30_000), (MEDIA, 1_500, 1_500)]
    told = "1,500 of 31,500 of this server, among them 1,500 of 1,500 of media_attachments: "
    with pytest.raises(PlanRefused, match=told):
        require_likely(Losses.of(lost, came=["media_attachments"]), HERE)


def done_manifest(path: Path, entries: Sequence[Entry]) -> Manifest:
    manifest = planned(path, entries)
    queue = WorkQueue(manifest)
    queue.commit(outcomes=[Outcome(claim.entry, EntryState.DONE, size=1) for claim in queue.iter_claimable()])
    return manifest


def test_a_plan_counts_what_is_gone_of_what_it_looks_at(tmp_path: Path) -> None:
    entries = [entry(row, kind=kind) for kind in (LOCAL, PROFILE, CACHE) for row in range(4)]
    with done_manifest(tmp_path / "m.db", entries) as manifest:
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
            writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped([entries[0], entry(9)]), remote=False)
            whole, delta = writer.losses(incremental=False), writer.losses(incremental=True)
            writer.finish(datetime.now(UTC), {})
        assert (whole.all.gone, whole.all.planned) == (3, 4)
        assert (delta.own.gone, delta.own.planned, delta.all.gone, delta.all.planned) == (3, 4, 3, 12)
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:  # what was gone does not leave again
            writer.merge("accounts", LOWEST_ID, HIGHEST_ID, [], remote=False)
            again = writer.losses(incremental=False)
        assert (again.all.gone, again.all.planned) == (2, 2)


def test_what_never_was_copied_is_lost_like_what_is_done(tmp_path: Path) -> None:
    """Pending, failed, claimed by a run that has died. What the source has lost cannot be lost again."""
    entries = [entry(row) for row in range(13)]
    with planned(tmp_path / "m.db", entries) as manifest:
        queue = WorkQueue(manifest)
        claimed, first, second, *_ = queue.iter_claimable()
        queue.commit(
            claims=[claimed],
            outcomes=[
                Outcome(first.entry, EntryState.FAILED, Reason.NETWORK),
                Outcome(second.entry, EntryState.FAILED, Reason.MISSING),
            ],
        )
        with pytest.raises(PlanRefused, match=r"12 of 12 entries .* 12 of 12 of this server, among them all 12 of acc"):
            refused_plan(manifest)


@pytest.mark.parametrize("back", [False, True])
def test_a_table_whose_files_were_all_exchanged_is_not_empty(tmp_path: Path, back: bool) -> None:
    """By others, or by such as had been gone."""
    emojis, others = [entry(row, kind=EMOJI) for row in range(11)], entry(99, kind=EMOJI)
    pictures = [entry(row) for row in range(400)]
    with planned(tmp_path / "m.db", [*emojis, *pictures, *([others] if back else [])]) as manifest:
        for kept in ([*emojis], [others]):
            with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
                writer.merge("custom_emojis", LOWEST_ID, HIGHEST_ID, grouped(kept))
                assert writer.losses(incremental=True).are_likely
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
            writer.merge("custom_emojis", LOWEST_ID, HIGHEST_ID, grouped(emojis))
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
            writer.merge("custom_emojis", LOWEST_ID, HIGHEST_ID, [])
            assert writer.losses(incremental=True).emptied == {"custom_emojis": 11}


def test_a_delta_counts_what_lost_its_files(tmp_path: Path) -> None:
    """Its windows are of single rows, and of the others it says nothing."""
    with planned(tmp_path / "m.db", [entry(row) for row in range(12)]) as manifest:
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
            for row in range(11):
                writer.merge("accounts", row - 1, row, [])
            losses = writer.losses(incremental=True)
        assert (losses.own.gone, losses.own.planned, losses.emptied) == (11, 12, {})
        assert not losses.are_likely


@pytest.mark.parametrize("writes", [Writes.NEW_AND_HIDDEN, Writes.HIDDEN])
def test_after_a_refusal_what_is_there_stays_as_it_is_but_for_what_is_private_by_now(
    tmp_path: Path, writes: Writes
) -> None:
    with done_manifest(tmp_path / "m.db", [*(entry(row) for row in range(4)), entry(5, private=True)]) as manifest:
        before = {each.entry.id: each for each in ManifestReader(manifest).iter_records()}
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
            writer.writes = writes
            replaced = entry(3, "b.png", private=True)  # its row has another file by now
            rows = [entry(1, private=True), entry(2, updated=7), replaced, entry(5), entry(9)]  # and 0 is gone
            delta = writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(rows), remote=False)
        adds = writes is Writes.NEW_AND_HIDDEN
        assert (delta.added, delta.gone, delta.reopened) == (2 * adds, 0, 2)
        now = {each.entry[1:3]: each for each in ManifestReader(manifest).iter_records()}
        hidden, added = [now.pop((row, "a.png")) for row in (1, 3)], [now.pop((9, "a.png"), None)]
        added.append(now.pop((3, "b.png"), None))
        assert now == {(row, "a.png"): each for row, each in before.items() if row not in (1, 3)}
        for each in hidden:
            assert (each.entry.private, each.state, each.presence) == (True, EntryState.PENDING, Presence.AS_PUBLIC)
        assert [each is not None for each in added] == [adds, adds]


def test_after_a_refusal_no_line_moves_and_what_turned_remote_is_hidden_where_it_stands(tmp_path: Path) -> None:
    remote = LOCAL._replace(remote=True)
    with done_manifest(tmp_path / "m.db", [entry(row) for row in range(3)]) as manifest:
        before = list(ManifestReader(manifest).iter_records())
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
            writer.writes = Writes.HIDDEN
            rows = [entry(0, kind=remote), entry(1, kind=remote, private=True), entry(2), entry(9, kind=BACKUP)]
            writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(rows))
        assert list(manifest.kinds().values()) == [LOCAL]
        now = list(ManifestReader(manifest).iter_records())
        assert [now[0], now[2]] == [before[0], before[2]]
        assert (now[1].entry.private, now[1].state) == (True, EntryState.PENDING)


def test_a_dry_run_tells_what_a_plan_would_lose_at_least(tmp_path: Path) -> None:
    entries = [entry(row, kind=kind) for kind in (LOCAL, CACHE) for row in range(4)]
    with done_manifest(tmp_path / "m.db", entries) as manifest:
        losses = least_losses(manifest, {LOCAL: 1, CACHE: 7}, manifest.kinds())
        assert (losses.own.gone, losses.own.planned, losses.cache.gone) == (3, 4, 0)
        assert least_losses(manifest, {}, manifest.kinds(("accounts",))).all.planned == 4


@pytest.mark.parametrize(("emojis", "seen", "likely"), [(10, 0, True), (11, 0, False), (11, 1, True)])
def test_a_dry_run_tells_of_a_table_that_lost_all_it_had(tmp_path: Path, emojis: int, seen: int, likely: bool) -> None:
    entries = [*(entry(row) for row in range(400)), *(entry(row, kind=EMOJI) for row in range(emojis))]
    with planned(tmp_path / "m.db", entries) as manifest:
        assert least_losses(manifest, {LOCAL: 400, EMOJI: seen}, manifest.kinds()).are_likely is likely


@pytest.mark.parametrize(
    ("found", "other", "moved"),
    [
        (HERE, False, False),
        (DatabaseIdentity("renamed", "elsewhere:5432", "c1", ("a1", "a2", "a3")), False, False),  # a standby
        (DatabaseIdentity("mastodon_production", "elsewhere:5432", "c2", ("a3", "a4")), False, True),  # a restored dump
        (DatabaseIdentity("mastodon_production", "db:5432", "c1", ("b1", "b2")), True, False),
        (DatabaseIdentity("mastodon_production", "db:5432", None, ()), False, False),  # nobody can tell
    ],
)
def test_a_database_is_known_by_its_oldest_accounts(
    tmp_path: Path, found: DatabaseIdentity, other: bool, moved: bool
) -> None:
    assert found.has_moved(HERE) is moved
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        require_same_database(manifest, found)  # of an older version's, nobody knows
        with manifest.transaction():
            remember_database(manifest, HERE)
        if other:
            with pytest.raises(PlanRefused, match="none of its 3 oldest accounts"):
                require_same_database(manifest, found)
        else:
            require_same_database(manifest, found)
        with manifest.transaction():
            remember_database(manifest, found)
        known = remembered_database(manifest)
        assert known is not None
        assert known.name == found.name
        assert known.accounts == (found.accounts or HERE.accounts), "an empty database makes nobody forget"


def refused_plan(manifest: Manifest) -> None:
    with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
        writer.merge("accounts", LOWEST_ID, HIGHEST_ID, [])
        require_likely(writer.losses(incremental=False), HERE)


def test_a_plan_that_is_refused_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with done_manifest(tmp_path / "m.db", [entry(row) for row in range(20)]) as manifest:
        before = list(ManifestReader(manifest).iter_records()), ManifestReader(manifest).counts()
        with pytest.raises(PlanRefused, match=r"20 of 20 entries .* 20 of 20 of this server"):
            refused_plan(manifest)
        assert (list(ManifestReader(manifest).iter_records()), ManifestReader(manifest).counts()) == before
