"""Whether Mastodon has left the old store: by its settings and the newest uploads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mastosync.manifest import (
    PlanRecord,
)
from mastosync.model import Origin
from mastosync.report import NOT_YET, Switch, assess_deletion
from tests.support.report_evidence import ALL_WELL, ENV, HOUR, NOON, WHOLE, grades


@pytest.mark.parametrize(
    ("copied", "found", "grade", "said"),
    [
        (-1, 1, "ok", "the newest upload (2026-11-01 13:00:00 UTC) was found at the new store"),
        (2, 1, "not-yet", "(2026-11-01 14:00:00 UTC, after that file was changed) came from the old store"),
        (1, -1, "not-yet", "still runs with the old settings"),
        (-1, -2, "warning", "the file alone does not tell"),  # nothing was uploaded since
        (-2, -1, "warning", "the file alone does not tell"),  # `adopt` has found it
        (1, 1, "warning", "the file alone does not tell"),  # in one second
    ],
)
def test_where_the_newest_upload_was_found_tells_whether_mastodon_was_restarted(
    copied: int, found: int, grade: str, said: str
) -> None:
    newest = {Origin.COPIED: int(NOON + copied * HOUR), Origin.ADOPTED: int(NOON + found * HOUR)}
    for switch in (ALL_WELL.switch, Switch(ENV, changed_at=NOON, unclear="a container's path", left=True)):
        looked_at = replace(ALL_WELL, newest=newest, switch=switch)
        (told,) = (each for each in assess_deletion(looked_at).findings if each.check == "switch")
        assert told.as_json(NOT_YET)["status"] == grade
        assert said in told.message
        assert bool(told.remedy) is (grade != "ok")


def test_where_a_bucket_may_be_another_only_an_upload_proves_that_it_is_the_new_store() -> None:
    switch = Switch(ENV, changed_at=NOON, unclear="a container's address", left=True, alike=True)
    assert grades(replace(ALL_WELL, switch=switch)) == {}
    unknown = replace(ALL_WELL, switch=switch, newest={})
    assert grades(unknown) == {"switch": "not-yet"}
    (told,) = (each for each in assess_deletion(unknown).findings if each.check == "switch")
    assert "upload a picture" in told.remedy
    assert "`mastosync report --env FILE`" in told.remedy


@pytest.mark.parametrize(
    ("plans", "grade"),
    [
        ([(HOUR, WHOLE)], "ok"),
        ([(-HOUR, WHOLE), (HOUR, WHOLE | {"incremental": True})], "ok"),
        ([(-HOUR, WHOLE)], "not-yet"),
        ([(-HOUR, WHOLE), (HOUR, WHOLE | {"types": ["accounts"]})], "not-yet"),
        ([(-HOUR, WHOLE), (HOUR, WHOLE | {"only": "remote"})], "not-yet"),
        ([(HOUR, WHOLE | {"began_at": NOON - HOUR})], "not-yet"),  # the clock of the database is ahead
        ([(-HOUR, WHOLE | {"began_at": NOON + HOUR})], "ok"),
    ],
)
def test_what_came_to_the_old_store_until_the_switch_has_to_be_planned(
    plans: list[tuple[float, dict[str, Any]]], grade: str
) -> None:
    taken = [(datetime.fromtimestamp(NOON + after, UTC), details) for after, details in plans]
    records = [PlanRecord(number, *each) for number, each in enumerate(taken, 1)]
    for switch in (ALL_WELL.switch, Switch(ENV, changed_at=NOON, unclear="a container's path", left=True)):
        looked_at = replace(ALL_WELL, plans=records, switch=switch)
        assert grades(looked_at) == ({} if grade == "ok" else {"switch": "not-yet"})
        (told,) = (each for each in assess_deletion(looked_at).findings if each.check == "switch")
        assert ("2026-11-01 12:00:00 UTC" in told.message) is (grade != "ok")
        assert ("`mastosync plan`" in told.remedy) is (grade != "ok")
