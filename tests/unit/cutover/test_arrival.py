"""What has arrived, what has not, and what the source has lost: what that means for a switch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mastosync.cutover import (
    CutoverVerdict,
    Fallback,
    LossOutcome,
    assess_cutover,
)
from mastosync.findings import Grade
from mastosync.manifest import (
    CountLine,
    Exposed,
)
from mastosync.model import EntryState, Kind, Reason
from tests.support.cutover_evidence import BACKUP, CARD, FAVICON, ICON, evidence, failed, found
from tests.support.entries import LOCAL, REMOTE


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (CountLine(LOCAL, EntryState.PENDING, None, 1, 0), CutoverVerdict.NO_GO),
        (CountLine(BACKUP, EntryState.PENDING, None, 1, 0), CutoverVerdict.NO_GO),
        (CountLine(REMOTE, EntryState.PENDING, None, 1, 0), CutoverVerdict.GO_WITH_FALLBACK),
        (CountLine(CARD, EntryState.PENDING, None, 1, 0), CutoverVerdict.GO_WITH_FALLBACK),
        *(
            (failed(LOCAL, reason), CutoverVerdict.NO_GO)
            for reason in (Reason.DENIED, Reason.CORRUPT, Reason.TOO_LARGE)
        ),
        (failed(REMOTE, Reason.NETWORK), CutoverVerdict.GO_WITH_FALLBACK),
        # what is lost is lost: to wait does not bring it back
        (failed(LOCAL, Reason.MISSING), CutoverVerdict.GO),
        (failed(REMOTE, Reason.MISSING), CutoverVerdict.GO),
        (CountLine(BACKUP, EntryState.SKIPPED, Reason.PRIVATE, 1, 0), CutoverVerdict.GO),
        (CountLine(LOCAL, EntryState.SKIPPED, Reason.GONE, 1, 0), CutoverVerdict.GO),
        (CountLine(LOCAL, EntryState.SKIPPED, Reason.EXCLUDED, 1, 0), CutoverVerdict.GO_WITH_FALLBACK),
    ],
    ids=str,
)
def test_what_has_not_arrived_decides_by_whether_somebody_would_miss_it(
    line: CountLine, verdict: CutoverVerdict
) -> None:
    assert assess_cutover(evidence(line)).verdict is verdict


@pytest.mark.parametrize("reason", [Reason.MISSING, Reason.OPTIONAL_MISSING])  # the second as an older plan had it
@pytest.mark.parametrize("place", [("accounts", "avatar"), ("accounts", "header"), ("custom_emojis", "image")])
@pytest.mark.parametrize("remote", [False, True])
def test_a_lost_picture_that_stands_still_is_a_loss(reason: Reason, place: tuple[str, str], remote: bool) -> None:
    """It is what everybody sees who has not turned on that pictures move."""
    kind = Kind(*place, "static", f"{place[0]}/{place[1]}s", remote, cached=remote)
    state = EntryState.FAILED if reason is Reason.MISSING else EntryState.SKIPPED
    result = assess_cutover(evidence(CountLine(kind, state, reason, 1, 0)))
    assert result.losses == {(place[0], remote, LossOutcome.FETCHABLE if remote else LossOutcome.FOR_GOOD): 1}


def test_what_may_lie_at_the_new_store_is_not_called_lost() -> None:
    result = assess_cutover(evidence(failed(BACKUP, Reason.MISSING, 2), unidentified={BACKUP: 2}))
    assert result.losses == {("backups", False, LossOutcome.UNIDENTIFIED): 2}
    told = {each.check: each for each in result.findings}
    assert "lost" not in told
    assert "the new store has something" in told["unproven"].message
    assert result.verdict is CutoverVerdict.GO
    part = assess_cutover(evidence(failed(BACKUP, Reason.MISSING, 2), unidentified={BACKUP: 1}))
    assert part.losses == {("backups", False, LossOutcome.UNIDENTIFIED): 1, ("backups", False, LossOutcome.FOR_GOOD): 1}


def test_what_the_source_has_lost_is_told_by_what_becomes_of_it() -> None:
    lines = [failed(kind, Reason.MISSING, 2) for kind in (LOCAL, REMOTE, CARD, BACKUP, ICON)]
    optional = CountLine(FAVICON, EntryState.SKIPPED, Reason.OPTIONAL_MISSING, 3, 0)
    result = assess_cutover(evidence(*lines, optional))
    assert result.losses == {
        ("media_attachments", True, LossOutcome.FETCHABLE): 2,
        ("accounts", False, LossOutcome.FOR_GOOD): 2,
        ("preview_cards", True, LossOutcome.DISPENSABLE): 2,
        ("preview_card_providers", False, LossOutcome.DISPENSABLE): 2,
        ("site_uploads", False, LossOutcome.DISPENSABLE): 3,
        ("backups", False, LossOutcome.FOR_GOOD): 2,
    }
    told = {each.check: each for each in result.findings}
    assert told["lost"].grade is told["fetchable"].grade is Grade.WARNING
    assert "4 objects of this server" in told["lost"].message
    assert "2 objects that other servers" in told["fetchable"].message


def test_what_was_kept_back_and_lies_there_for_everybody_is_told_apart() -> None:
    kept_back = CountLine(LOCAL, EntryState.SKIPPED, Reason.PRIVATE, 5, 0)
    told = found(evidence(kept_back, exposed=Exposed(2, 2)))
    assert told["exposed"].grade is Grade.FAILURE
    assert "2 private objects are at the destination" in told["exposed"].message
    assert "`mastosync verify --public`" in told["exposed"].remedy
    assert "3 private objects were not copied" in told["private"].message
    assert "private" not in found(evidence(kept_back, exposed=Exposed(5, 5)))


def test_what_is_private_and_lies_there_for_everybody_is_a_no_go_whatever_became_of_it() -> None:
    denied = CountLine(LOCAL._replace(remote=True, cached=True), EntryState.FAILED, Reason.DENIED, 1, 0)
    told = found(evidence(denied, exposed=Exposed(1)))
    assert told["exposed"].grade is Grade.FAILURE
    assert "`mastosync retry-failed`" in told["exposed"].remedy


def test_before_anything_was_copied_nobody_knows_what_the_source_has_lost() -> None:
    pending = CountLine(LOCAL, EntryState.PENDING, None, 3, 0)
    lost = found(replace(evidence(), counts=[pending]))["lost"]
    assert (lost.grade, lost.remedy) == (Grade.WARNING, "mastosync copy")
    assert "is not known yet" in lost.message
    assert found(evidence(pending))["lost"].grade is Grade.OK


REMOTE_OUTSIDE = REMOTE._replace(cached=False)  # of a schema before `cache/`, as are all thumbnails before Mastodon 4.6


@pytest.mark.parametrize(
    ("line", "fallback", "told"),
    [
        (CountLine(REMOTE, EntryState.PENDING, None, 2, 0), Fallback.ALL, False),
        (CountLine(REMOTE, EntryState.PENDING, None, 2, 0), Fallback.CACHE, False),
        (CountLine(REMOTE, EntryState.PENDING, None, 2, 0), Fallback.NONE, True),
        (CountLine(REMOTE_OUTSIDE, EntryState.PENDING, None, 2, 0), Fallback.ALL, False),
        (CountLine(REMOTE_OUTSIDE, EntryState.PENDING, None, 2, 0), Fallback.CACHE, True),
        (CountLine(REMOTE_OUTSIDE, EntryState.SKIPPED, Reason.EXCLUDED, 2, 0), Fallback.CACHE, True),
        (failed(REMOTE_OUTSIDE, Reason.NETWORK, 2), Fallback.CACHE, True),
        (failed(REMOTE_OUTSIDE, Reason.MISSING, 2), Fallback.NONE, False),
        (CountLine(LOCAL, EntryState.PENDING, None, 2, 0), Fallback.CACHE, False),  # which is no-go already
    ],
)
def test_what_the_chosen_fallback_would_not_bring_is_told(line: CountLine, fallback: Fallback, told: bool) -> None:
    findings = found(evidence(line, fallback=fallback))
    assert ("fallback" in findings) is told
    if told:
        assert findings["fallback"].grade is Grade.WARNING
        assert "2 objects" in findings["fallback"].message


def test_where_nothing_was_copied_it_is_no_go() -> None:
    nothing = replace(evidence(), counts=[])
    assert {each.check for each in assess_cutover(nothing).findings if each.grade is Grade.FAILURE} == {"pending"}


def test_what_somebody_has_given_up_keeps_nobody_from_switching() -> None:
    line = replace(failed(LOCAL, Reason.CORRUPT, 2), accepted=2)
    assert assess_cutover(evidence(line)).verdict is CutoverVerdict.GO
    assert assess_cutover(evidence(replace(line, accepted=1))).verdict is CutoverVerdict.NO_GO
