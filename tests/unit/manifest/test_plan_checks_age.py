"""An older copy of the right database, or half of one, is refused; one whose newest rows were deleted is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mastosync.errors import PlanRefused
from mastosync.manifest import (
    Manifest,
    PlanWriter,
    age_details,
    remember_database,
    require_not_older,
    require_right,
    require_whole,
)
from mastosync.model import DatabaseAge, DatabaseIdentity
from tests.support.entries import entry
from tests.support.manifests import DESTINATION, SOURCE, planned

HERE = DatabaseIdentity("mastodon_production", "db:5432", "c1", ("a1",))
ELSEWHERE = DatabaseIdentity("mastodon_production", "db:5432", "c2", ("a1",))
UNTOLD = DatabaseIdentity("mastodon_production", "db:5432", None, ("a1",))
NEWEST = {"accounts": 100, "media_attachments": 900, "statuses": 500, "backups": 3, "imports": 4}
THEN = DatabaseAge("t1", "50:50:", NEWEST)


def age(tables: str = "t1", transaction: int = 60, **newest: int) -> DatabaseAge:
    return DatabaseAge(tables, f"{transaction}:{transaction}:", NEWEST | newest)


def plan(manifest: Manifest, details: dict[str, Any]) -> None:
    with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
        remember_database(manifest, HERE)
        writer.finish(datetime.now(UTC), details)


def last_plan(manifest: Manifest) -> dict[str, Any]:
    return {"snapshot_id": THEN.snapshot_id, **age_details(manifest, THEN)}


@pytest.mark.parametrize(
    ("found", "now", "older"),
    [
        (HERE, age(media_attachments=1_000), False),
        (HERE, age(accounts=90, media_attachments=800), False),  # the newest were deleted
        (ELSEWHERE, age("t2", media_attachments=1_000), False),  # moved
        (ELSEWHERE, age("t2"), False),
        (ELSEWHERE, age("t2", media_attachments=899), True),  # last night's dump, restored elsewhere
        (UNTOLD, age("t2", accounts=99), True),  # or here, over the other one
        (HERE, age(transaction=49, accounts=99), True),  # a standby that lags, or a restored disk
        (HERE, age(transaction=49), False),
        (ELSEWHERE, age("t2", statuses=499), True),  # whoever posts nothing with a file posts all the same
        (HERE, age(transaction=49, statuses=499), True),
        (HERE, age(statuses=499), False),
    ],
)
def test_lower_ids_tell_an_older_copy_and_no_deletion(
    tmp_path: Path, found: DatabaseIdentity, now: DatabaseAge, older: bool
) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        plan(manifest, last_plan(manifest))
        if not older:
            require_not_older(manifest, found, now)
            return
        with pytest.raises(PlanRefused, match="is older than what the last plan read") as refused:
            require_not_older(manifest, found, now)
        (name,) = (name for name, newest in now.newest.items() if newest < NEWEST[name])
        assert f"the newest id of {name} was {NEWEST[name]}, and is {now.newest[name]}" in refused.value.message
        assert "--accept-gone" in refused.value.hint


def lacking(*names: str, tables: str = "t2", transaction: int = 60) -> DatabaseAge:
    there = {name: newest for name, newest in NEWEST.items() if name not in names}
    return DatabaseAge(tables, f"{transaction}:{transaction}:", there, frozenset(names))


@pytest.mark.parametrize(
    ("found", "now", "lacks"),
    [
        (ELSEWHERE, lacking("media_attachments"), "media_attachments had rows, and has none now"),  # half restored
        (ELSEWHERE, lacking("accounts", "statuses"), "accounts, statuses had rows, and have none now"),
        (UNTOLD, lacking("statuses"), "statuses had rows"),  # media of removed posts would be public
        (HERE, lacking("media_attachments", tables="t1", transaction=49), "media_attachments had rows"),
        (ELSEWHERE, lacking("site_uploads"), None),  # had none then
        (ELSEWHERE, lacking("backups", "imports"), None),  # the last ones have expired, as they do
        (HERE, lacking("media_attachments", tables="t1"), None),  # deleted: what would be gone tells
        (ELSEWHERE, DatabaseAge("t2", "60:60:", {}), None),  # nobody may ask
    ],
)
def test_a_table_without_rows_tells_a_copy_that_is_not_whole(
    tmp_path: Path, found: DatabaseIdentity, now: DatabaseAge, lacks: str | None
) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        plan(manifest, last_plan(manifest))
        if lacks is None:
            require_not_older(manifest, found, now)
            return
        with pytest.raises(PlanRefused, match=lacks) as refused:
            require_not_older(manifest, found, now)
        assert "is this the right database, and is all of it restored?" in refused.value.hint
        assert "`mastosync plan --accept-gone`" in refused.value.hint
        plan(manifest, {"snapshot_id": now.snapshot_id, **age_details(manifest, now)})  # with --accept-gone
        require_not_older(manifest, found, now)


def test_rows_that_refer_to_nothing_tell_that_a_restore_is_at_work() -> None:
    require_whole(HERE, THEN)
    told = "rows of media_attachments refer to rows of statuses, and statuses has none"
    with pytest.raises(PlanRefused, match=told) as refused:
        require_whole(HERE, replace(THEN, wanting=[("media_attachments", "statuses")]))
    assert "is a restore still at work?" in refused.value.hint
    assert "what statuses had made private is public then" in refused.value.hint


def test_what_is_lacking_and_was_accepted_is_refused_no_more(tmp_path: Path) -> None:
    """Neither by a plan nor by a command that asks for rows, until a plan has found it."""
    lacking = replace(THEN, wanting=[("media_attachments", "statuses")])
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        plan(manifest, last_plan(manifest))
        with pytest.raises(PlanRefused):
            require_right(manifest, HERE, lacking)
        plan(manifest, {"snapshot_id": lacking.snapshot_id, **age_details(manifest, lacking)})  # with --accept-gone
        require_right(manifest, HERE, lacking)
        with pytest.raises(PlanRefused, match="refer to rows of accounts"):
            require_right(manifest, HERE, replace(THEN, wanting=[("media_attachments", "accounts")]))
        emojis = replace(THEN, newest={}, empty={"custom_emojis"})  # a plan of another type says nothing of it
        plan(manifest, {"snapshot_id": THEN.snapshot_id, **age_details(manifest, emojis)})
        require_right(manifest, HERE, lacking)
        plan(manifest, {"snapshot_id": THEN.snapshot_id, **age_details(manifest, THEN)})
        with pytest.raises(PlanRefused):
            require_right(manifest, HERE, lacking)


def test_a_plan_of_some_tables_leaves_what_is_known_of_others(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        plan(manifest, last_plan(manifest))
        assert age_details(manifest, DatabaseAge("t1", "", {"accounts": 101}))["newest"] == NEWEST | {"accounts": 101}


def test_of_a_plan_by_an_older_version_the_ids_of_its_files_are_known(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        require_not_older(manifest, ELSEWHERE, age())  # which told of none
        plan(manifest, {"highest": NEWEST})
        require_not_older(manifest, ELSEWHERE, age(accounts=100))
        with pytest.raises(PlanRefused):
            require_not_older(manifest, ELSEWHERE, age(accounts=99))
