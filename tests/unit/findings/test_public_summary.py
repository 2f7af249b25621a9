"""What all `verify --public` prove together: each what it has covered, and none what a larger one found wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mastosync.checking.public_access import USUAL_SAMPLE
from mastosync.findings.public_summary import PublicCheckStatus, PublicSummary, public_summary
from mastosync.manifest import CountLine, LastChange, VerificationRecord
from mastosync.model import TABLES, EntryState, Kind
from tests.support.entries import LOCAL

EMOJI = Kind("custom_emojis", "image", "original", "custom_emojis/images", remote=False, cached=False)
IMPORT = Kind("imports", "data", "original", "imports/data", remote=False, cached=False)
ARRIVED = [CountLine(kind, EntryState.DONE, None, 500, 0) for kind in (LOCAL, EMOJI, IMPORT)]


def look(
    at: float,
    *faults: tuple[str, str],
    sample: int = USUAL_SAMPLE,
    types: tuple[str, ...] = TABLES,
    of: int = 500,
    exposed: bool = False,
    listed: bool = False,
) -> VerificationRecord:
    """By time; `faults`: types and keys."""
    asked = min(sample, of)
    by_kind = [
        {"type": each, "asked": asked, "of": of, "faults": sum(table == each for table, _ in faults)} for each in types
    ]
    told: dict[str, Any] = {"asked": asked * len(types), "asked_private": 0, "by_kind": by_kind, "sample": sample}
    told |= {"types": list(types), "exposed": len(faults) if exposed else 0, "anybody_can_list": listed}
    told["faults"] = [{"key": key, "detail": "?", "type": table, "exposed": exposed} for table, key in faults]
    return VerificationRecord(at, at + 1, {"checked": 500, "fine": 500, "public": told})


def old(record: VerificationRecord) -> VerificationRecord:
    """As versions told it that did not say how much was asked for."""
    told = {name: value for name, value in record.details["public"].items() if name not in ("sample", "types")}
    told["faults"] = [{"key": each["key"], "detail": each["detail"]} for each in told["faults"]]
    return VerificationRecord(record.started_at, record.ended_at, record.details | {"public": told})


def at(*records: VerificationRecord, change: LastChange | None = None) -> PublicSummary:
    return public_summary(records, ARRIVED, change or LastChange(), "auto")


WRONG = ("accounts", "accounts/avatars/1.png")


def test_before_anybody_has_looked_nothing_is_proved() -> None:
    found = at(VerificationRecord(1, 2, {"checked": 1, "fine": 1}))
    assert found.told is None
    assert found.uncovered == ("accounts", "custom_emojis")  # nobody reads the rest


@pytest.mark.parametrize(
    ("looked", "uncovered"),
    [
        ([look(1)], ()),
        ([look(1, sample=5_000)], ()),
        ([look(1, sample=1)], ("accounts", "custom_emojis")),
        ([look(1, sample=1, of=1)], ("accounts", "custom_emojis")),  # all that there was
        ([look(1, types=("custom_emojis",))], ("accounts",)),
        ([look(1, types=("custom_emojis",)), look(2, types=("accounts",))], ()),  # by parts
        ([look(1), look(2, sample=1, types=("custom_emojis",))], ()),
    ],
)
@pytest.mark.parametrize("older", [False, True])
def test_it_proves_what_it_has_covered(
    looked: list[VerificationRecord], uncovered: tuple[str, ...], older: bool
) -> None:
    assert at(*(old(each) if older else each for each in looked)).uncovered == uncovered


@pytest.mark.parametrize(
    ("later", "stands"),
    [
        (look(2), False),
        (look(2, types=("accounts",)), False),
        (look(2, types=("custom_emojis",)), True),
        (look(2, sample=1), True),
        (look(2, sample=1, of=1), False),  # all that there is
        (look(2, ("custom_emojis", "b.png")), False),
    ],
)
@pytest.mark.parametrize("older", [False, True])
def test_what_is_wrong_stands_until_as_much_was_asked_for(later: VerificationRecord, stands: bool, older: bool) -> None:
    first = look(1, WRONG, exposed=True)
    found = at(old(first) if older else first, later)
    assert found.told is not None
    assert (WRONG[1] in found.keys) is stands
    assert found.told["exposed"] == stands
    assert (WRONG[1] in {each["key"] for each in found.told["faults"]}) is stands


def test_what_a_larger_sample_has_found_is_settled_by_one_as_large() -> None:
    wide = look(1, WRONG, sample=300)
    assert at(wide, look(2)).remedy == "mastosync verify --public --sample 300"
    assert at(wide, look(2)).keys == {WRONG[1]}
    assert not at(wide, look(2), look(3, sample=300)).keys
    assert at(look(1)).remedy == "mastosync verify --public"


def test_what_is_wrong_and_of_a_type_of_which_nothing_is_left_holds_nobody_up() -> None:
    assert not public_summary([look(1, WRONG)], ARRIVED[1:], LastChange(), "auto").keys


def test_each_look_asks_whether_anybody_can_list() -> None:
    few = look(2, sample=1, types=("custom_emojis",))
    told = at(look(1, listed=True), few).told
    assert told is not None
    assert not told["anybody_can_list"]


def test_no_look_proves_anything_of_what_was_stored_anew_since() -> None:
    found = at(look(1), change=LastChange(5, "apply-settings"))
    assert (found.uncovered, found.before) == (("accounts", "custom_emojis"), "apply-settings")
    assert at(look(1), look(6), change=LastChange(5, "apply-settings")).uncovered == ()


def test_all_that_there_is_is_enough() -> None:
    few = [replace(line, objects=2) for line in ARRIVED]
    assert not public_summary([look(1, sample=2, of=2)], few, LastChange(), "auto").uncovered


def test_what_arrives_after_a_look_is_not_proved_by_it() -> None:
    early = look(1, types=("accounts",))
    early.details["public"]["types"] = list(TABLES)  # all were looked for, and none of the others had arrived
    assert at(early).uncovered == ("custom_emojis",)
    few = [ARRIVED[0], replace(ARRIVED[1], objects=USUAL_SAMPLE)]
    assert not public_summary([early], few, LastChange(), "auto").uncovered, "the first emojis need no other look"
    media = [replace(ARRIVED[1], kind=ARRIVED[1].kind._replace(table="media_attachments"), objects=1)]
    assert public_summary([early], few + media, LastChange(), "auto").uncovered == (
        "custom_emojis",
        "media_attachments",
    )
    grown = [replace(line, objects=1_001) for line in ARRIVED]
    assert public_summary([look(1)], grown, LastChange(), "auto").uncovered == ("accounts", "custom_emojis")
    assert not public_summary(
        [look(1)], [replace(line, objects=1_000) for line in ARRIVED], LastChange(), "auto"
    ).uncovered
    media = [*ARRIVED, CountLine(LOCAL._replace(table="media_attachments"), EntryState.DONE, None, 90_000, 0)]
    assert public_summary([look(1)], media, LastChange(), "auto").uncovered, "most has come since"


@pytest.mark.parametrize(
    ("asked", "sample", "came", "unproved"),
    [
        (8, USUAL_SAMPLE, 3, ()),  # a small instance, and its first emojis
        (8, USUAL_SAMPLE, 8, ()),
        (8, USUAL_SAMPLE, 9, ("accounts", "custom_emojis")),  # most has come since
        (500, USUAL_SAMPLE, 101, ("custom_emojis",)),
        (80, 2, 60, ("accounts", "custom_emojis")),
        (80, 80, 60, ("custom_emojis",)),  # all that there was; a small sample is no proof of what came since
    ],
)
def test_what_no_look_has_tried_is_taken_on_trust_for_a_part_of_what_one_has(
    asked: int, sample: int, came: int, unproved: tuple[str, ...]
) -> None:
    early = look(1, types=("accounts",), sample=sample, of=asked)
    early.details["public"]["types"] = list(TABLES)
    counts = [replace(ARRIVED[0], objects=asked), replace(ARRIVED[1], objects=came)]
    assert public_summary([early], counts, LastChange(), "auto").uncovered == unproved


def test_what_was_found_wrong_twice_counts_once() -> None:
    found = at(look(1, WRONG, sample=5_000), look(2, WRONG))
    assert found.told is not None
    assert len(found.told["faults"]) == 1


def test_a_look_at_what_was_all_private_tells_nothing_where_everybody_has_to_read() -> None:
    hidden = look(2)
    hidden.details["public"]["all_private"] = True
    assert public_summary([hidden], ARRIVED, LastChange(), "auto").told is None
    assert public_summary([hidden], ARRIVED, LastChange(), "private").told is not None


def told(*, private: bool = False, listed: bool = False, exposed: int = 0, faults: int = 0) -> dict[str, Any]:
    return {"all_private": private, "anybody_can_list": listed, "exposed": exposed, "faults": [{}] * faults}


@pytest.mark.parametrize(
    ("public", "of_auto", "of_private"),
    [
        (None, PublicCheckStatus.UNTRIED, PublicCheckStatus.NEEDLESS),
        (told(), PublicCheckStatus.FINE, PublicCheckStatus.NEEDLESS),
        (
            told(faults=3),
            PublicCheckStatus.FAULTY,
            PublicCheckStatus.NEEDLESS,
        ),  # nobody could read them, and nobody need
        (told(exposed=1, faults=1), PublicCheckStatus.EXPOSED, PublicCheckStatus.EXPOSED),
        (told(listed=True), PublicCheckStatus.LISTED, PublicCheckStatus.LISTED),
        (
            told(private=True),
            PublicCheckStatus.UNTRIED,
            PublicCheckStatus.HIDDEN,
        ),  # it has not tried whether everybody can read
        (told(private=True, exposed=1, faults=1), PublicCheckStatus.UNTRIED, PublicCheckStatus.EXPOSED),
        (told(private=True, faults=1), PublicCheckStatus.UNTRIED, PublicCheckStatus.FAULTY),  # nobody can tell
        ({"faults": []}, PublicCheckStatus.FINE, PublicCheckStatus.NEEDLESS),  # of an older version
    ],
)
def test_a_run_counts_under_the_acl_that_it_was_made_for(
    public: dict[str, Any] | None, of_auto: PublicCheckStatus, of_private: PublicCheckStatus
) -> None:
    found = [PublicSummary(acl, public).status for acl in ("auto", "private")]
    assert found == [of_auto, of_private]
