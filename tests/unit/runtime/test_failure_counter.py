"""A store that fails is told from objects that fail, and one store from the other."""

from __future__ import annotations

import pytest

from mastosync.errors import StoreUnusable
from mastosync.model import End, EntryState, Kind, Outcome, Reason
from mastosync.runtime.outages import GONE_AFTER, IN_A_ROW, WRONG_PLACE_AFTER, FailureCounter
from tests.support.entries import entry

DONE = Outcome(entry(), EntryState.DONE)
MISSING = Outcome(entry(), EntryState.FAILED, Reason.MISSING, detail="404", end=End.SOURCE)
OPTIONAL = Outcome(entry(), EntryState.SKIPPED, Reason.OPTIONAL_MISSING)
KEPT_BACK = Outcome(entry(), EntryState.SKIPPED, Reason.PRIVATE)

MAY_PASS = [Reason.NETWORK, Reason.SERVER, Reason.THROTTLED]
OF_AN_OBJECT = [Reason.CORRUPT, Reason.TOO_LARGE, Reason.MISSING]


def failed(end: End, reason: Reason = Reason.NETWORK) -> Outcome:
    return Outcome(entry(), EntryState.FAILED, reason, detail="cannot write 'k' at a store: refused", end=end)


def stops(counter: FailureCounter, *row: Outcome, times: int = 10 * IN_A_ROW) -> bool:
    """Whether so many of these outcomes, in turn, end the run."""
    try:
        for _ in range(times):
            for outcome in row:
                counter.note(outcome)
    except StoreUnusable:
        return True
    return False


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("reason", MAY_PASS)
def test_so_many_failures_in_a_row_are_the_stores(end: End, reason: Reason) -> None:
    counter = FailureCounter(any_success=True)
    assert not stops(counter, failed(end, reason), times=IN_A_ROW - 1)
    with pytest.raises(StoreUnusable) as unusable:
        counter.note(failed(end, reason))
    assert unusable.value.message == (
        f"the {end.value} failed for 64 objects in a row, so the store itself has a problem: "
        "cannot write 'k' at a store: refused"
    )
    assert "retry-failed" in unusable.value.hint


@pytest.mark.parametrize("reason", [*MAY_PASS, Reason.DENIED])
@pytest.mark.parametrize("other", [MISSING, OPTIONAL, KEPT_BACK, failed(End.SOURCE, Reason.CORRUPT)])
def test_what_the_source_answers_says_nothing_of_the_destination(reason: Reason, other: Outcome) -> None:
    assert stops(FailureCounter(any_success=True), failed(End.DESTINATION, reason), other)


@pytest.mark.parametrize("other", [KEPT_BACK, failed(End.DESTINATION, Reason.TOO_LARGE)])
def test_what_the_destination_answers_says_nothing_of_the_source(other: Outcome) -> None:
    assert stops(FailureCounter(any_success=True), failed(End.SOURCE), other)


@pytest.mark.parametrize("answer", [DONE, MISSING, OPTIONAL, *(failed(End.SOURCE, why) for why in OF_AN_OBJECT)])
def test_a_source_that_answers_in_between_is_not_down(answer: Outcome) -> None:
    assert not stops(FailureCounter(any_success=True), failed(End.SOURCE), answer)


@pytest.mark.parametrize("reason", [*MAY_PASS, Reason.DENIED])
def test_what_is_done_without_the_source_says_nothing_of_it(reason: Reason) -> None:
    """It lay at the destination, or was stored there again: nothing was ever read at the source for that."""
    done = DONE._replace(end=End.DESTINATION)
    assert stops(FailureCounter(), done, failed(End.SOURCE, reason))


def test_a_source_that_lacks_what_is_done_has_answered_and_given_nothing() -> None:
    done = DONE._replace(end=End.SOURCE)
    assert not stops(FailureCounter(any_success=True), failed(End.SOURCE), done)
    counter = FailureCounter()
    counter.note(done)
    assert stops(counter, failed(End.SOURCE, Reason.DENIED), times=IN_A_ROW)
    counter = FailureCounter()
    counter.note(done)
    assert stops(counter, MISSING, times=WRONG_PLACE_AFTER)


@pytest.mark.parametrize("answer", [DONE, *(failed(End.DESTINATION, why) for why in OF_AN_OBJECT)])
def test_a_destination_that_answers_in_between_is_not_down(answer: Outcome) -> None:
    assert not stops(FailureCounter(any_success=True), failed(End.DESTINATION), answer)


def test_two_stores_that_fail_by_turns_are_both_found_out() -> None:
    assert stops(FailureCounter(any_success=True), failed(End.SOURCE), failed(End.DESTINATION), times=IN_A_ROW)


class TestAKeyThatIsRefused:
    def test_to_write_has_lost_its_right_whatever_went_well_before(self) -> None:
        counter = FailureCounter(any_success=True)
        assert not stops(counter, DONE)
        refused = failed(End.DESTINATION, Reason.DENIED)
        assert not stops(counter, refused, times=IN_A_ROW - 1)
        with pytest.raises(StoreUnusable, match="its access key seems to lack the right to write"):
            counter.note(refused)

    def test_to_write_now_and_then_goes_on(self) -> None:
        refused = [failed(End.DESTINATION, Reason.DENIED)] * (IN_A_ROW - 1)
        assert not stops(FailureCounter(any_success=True), *refused, DONE)

    def test_to_read_anything_may_not_read(self) -> None:
        counter, refused = FailureCounter(), failed(End.SOURCE, Reason.DENIED)
        assert not stops(counter, refused, times=IN_A_ROW - 1)
        with pytest.raises(StoreUnusable, match="its access key seems to lack the right to read"):
            counter.note(refused)

    def test_to_read_objects_among_readable_ones_goes_on(self) -> None:
        """Archives are closed object by object; and who may not list gets 403 for whatever is missing."""
        assert not stops(FailureCounter(any_success=True), failed(End.SOURCE, Reason.DENIED))
        counter = FailureCounter()
        counter.note(DONE)
        assert not stops(counter, failed(End.SOURCE, Reason.DENIED))


class TestAnEmptySource:
    def test_is_the_wrong_place(self) -> None:
        counter = FailureCounter()
        assert not stops(counter, MISSING, OPTIONAL, times=WRONG_PLACE_AFTER - 1)
        with pytest.raises(StoreUnusable, match="wrong bucket or folder: 404"):
            counter.note(MISSING)

    def test_that_has_given_objects_before_is_found_out_soon(self) -> None:
        """Its disk is not mounted: a few stray files in its place do not hide that."""
        asked: list[Kind | None] = []

        def gives_nothing_more(kind: Kind | None) -> bool:
            asked.append(kind)
            return False

        counter = FailureCounter(still_gives=gives_nothing_more)
        assert not stops(counter, MISSING, OPTIONAL, times=GONE_AFTER - 1)
        with pytest.raises(StoreUnusable, match="in earlier runs: 404"):
            counter.note(MISSING)
        assert asked == [MISSING.entry.kind]

    @pytest.mark.parametrize("still_gives", [True, None])
    def test_is_none_if_it_still_gives_what_it_gave_or_nobody_can_tell(self, *, still_gives: bool | None) -> None:
        counter = FailureCounter(still_gives=lambda _: still_gives)
        assert not stops(counter, MISSING, times=WRONG_PLACE_AFTER - 1)

    def test_is_none_once_anything_was_found(self) -> None:
        assert not stops(FailureCounter(any_success=True), MISSING, times=2 * WRONG_PLACE_AFTER)


def test_whoever_counts_says_what_to_do_next() -> None:
    counter = FailureCounter(hint="run it again")
    for _ in range(IN_A_ROW - 1):
        counter.failed(End.DESTINATION, Reason.DENIED, "403")
    with pytest.raises(StoreUnusable) as unusable:
        counter.failed(End.DESTINATION, Reason.DENIED, "403")
    assert unusable.value.hint == "run it again"
