"""What all findings come to: go, go with the fallback, or no-go."""

from __future__ import annotations

from pathlib import Path

import pytest

from mastosync.cutover import (
    CommandLine,
    CutoverVerdict,
    Secrets,
    Switchover,
    assess_cutover,
    switchover_steps,
)
from mastosync.findings import Grade
from mastosync.manifest import (
    CountLine,
    Gap,
)
from mastosync.model import EntryState
from tests.support.cutover_evidence import evidence, found, proof, public
from tests.support.entries import REMOTE


def test_when_all_is_well_it_is_go() -> None:
    result = assess_cutover(evidence())
    assert result.verdict is CutoverVerdict.GO
    assert {each.grade for each in result.findings} == {Grade.OK}
    assert not result.losses


def test_a_manifest_that_lacks_its_newest_entries_is_a_no_go() -> None:
    told = assess_cutover(evidence(gap=Gap("entries are missing", "run `mastosync plan`")))
    assert told.verdict is CutoverVerdict.NO_GO
    assert told.as_json()["findings"][0] == {
        "check": "gap",
        "status": "no-go",
        "message": "entries are missing",
        "remedy": "run `mastosync plan`",
        "needs_fallback": False,
    }


def test_a_copy_at_work_is_told() -> None:
    assert found(evidence(running=True))["running"].grade is Grade.WARNING


@pytest.mark.parametrize("secrets", [Secrets.UNPINNED, Secrets.LOST])
def test_who_would_lose_the_keys_of_the_old_store_may_not_switch(secrets: Secrets) -> None:
    result = assess_cutover(evidence(secrets=secrets))
    assert result.verdict is CutoverVerdict.NO_GO
    assert {each.check for each in result.findings if each.grade is not Grade.OK} == {"secrets"}


def test_without_a_media_host_nobody_may_switch() -> None:
    assert assess_cutover(evidence(media_host=False)).verdict is CutoverVerdict.NO_GO


def test_where_nginx_cannot_be_told_it_is_no_go_if_the_fallback_is_needed(tmp_path: Path) -> None:
    told = ("nginx cannot be told", "write it by hand")
    waiting = CountLine(REMOTE, EntryState.PENDING, None, 1, 0)
    assert assess_cutover(evidence(waiting, by_hand=told)).verdict is CutoverVerdict.NO_GO
    assert assess_cutover(evidence(by_hand=told)).verdict is CutoverVerdict.GO
    steps = switchover_steps(Switchover(CommandLine(), ("cutover",), by_hand="nginx cannot be told"))
    assert not any("--nginx" in command for step in steps for command in step.lines)


def test_where_all_is_private_nobody_has_to_be_able_to_read_it() -> None:
    assert assess_cutover(evidence(verifications=[proof()], acl="private")).verdict is CutoverVerdict.GO
    for wrong in ({"listed": True}, {"exposed": 1, "faults": 1}):
        looked = evidence(verifications=[proof(public=public(**wrong))], acl="private")
        assert assess_cutover(looked).verdict is CutoverVerdict.NO_GO
    assert (
        assess_cutover(evidence(verifications=[proof(public=public(faults=9))], acl="private")).verdict
        is CutoverVerdict.GO
    )
