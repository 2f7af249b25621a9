"""The lab notices on moving days what it is there for, and excuses what another tool has done."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from faultlab import invariants
from faultlab.manifest_copy import NOTHING
from faultlab.moves import Change, Move, Wrong
from faultlab.moving_invariants import Deliveries, came_back
from faultlab.moving_rows import FileRow, State
from faultlab.moving_world import Chronicle, Deed
from faultlab.runner import Runner
from faultlab.scenario import MOVING, Act, Moment, Scenario, Turn
from lab.addresses import S3Address
from lab.fault_plan import DAMAGED_DOWNLOAD, LOST_ANSWER, Fault, Request
from lab.traffic import Exchange
from tests.support.saboteur import Saboteur

SEED = 970_000
QUIET = Scenario(
    seed=SEED,
    world=MOVING,
    moto=True,
    server_side=False,
    copying={"workers": "4"},
    read_timeout_seconds=60,
    storms={},
    acts=(Act(("plan",)), Act(("copy",)), Act(("adopt",))),
)


def public_key(saboteur: Saboteur) -> str:
    return next(key for key in saboteur.keys if "backups" not in key)


def private_key(saboteur: Saboteur) -> str:
    return next(key for key in saboteur.keys if "backups" in key)


DEEDS: dict[str, tuple[str, Callable[[Saboteur], object]]] = {
    "an object goes": (invariants.LOST, lambda s: s.client.delete_object(Bucket=s.bucket, Key=public_key(s))),
    "an object changes": (
        invariants.WRONG_BYTES,
        lambda s: s.client.put_object(Bucket=s.bucket, Key=public_key(s), Body=b"other", ACL="public-read"),
    ),
    "a private object becomes public": (
        invariants.EXPOSED,
        lambda s: s.client.put_object_acl(Bucket=s.bucket, Key=private_key(s), ACL="public-read"),
    ),
    "a public object becomes private": (
        invariants.HIDDEN,
        lambda s: s.client.put_object_acl(Bucket=s.bucket, Key=public_key(s), ACL="private"),
    ),
    "done is forgotten": (invariants.TWICE, lambda s: s.change("UPDATE entries SET state = 0 WHERE state = 1")),
    "arrivals are forgotten": (
        invariants.FORGOTTEN,
        lambda s: s.change("UPDATE entries SET state = 2, reason = 5, md5 = NULL, etag = NULL WHERE state = 1"),
    ),
    "an entry goes": (
        invariants.HALF_PLANS,
        lambda s: s.change("DELETE FROM entries WHERE id = (SELECT max(id) FROM entries)"),
    ),
    "an entry takes on another privacy": (
        invariants.HALF_PLANS,
        lambda s: s.change("UPDATE entries SET flags = flags | 2"),
    ),
    "a counter is off": (invariants.DAMAGED, lambda s: s.change("UPDATE counts SET objects = objects + 1")),
    "an upload stays open": (
        invariants.LEFT_OPEN,
        lambda s: s.client.create_multipart_upload(Bucket=s.bucket, Key="left"),
    ),
}


@pytest.mark.parametrize("number", range(len(DEEDS)), ids=list(DEEDS))
def test_what_is_broken_on_purpose_is_noticed_on_a_moving_day(runner: Runner, moto: S3Address, number: int) -> None:
    invariant, deed = list(DEEDS.values())[number]
    seed = SEED + 1 + number
    with contextlib.closing(moto.client()) as client:
        tally = runner.run(replace(QUIET, seed=seed), Saboteur(seed, client, deed))
    assert tally.wrong[invariant] > 0, tally.violations
    assert all(f"seed {seed}" in violation for violation in tally.violations)


def test_a_day_on_which_nothing_moves_is_a_good_day(runner: Runner) -> None:
    tally = runner.run(QUIET)
    assert not tally.violations
    assert tally.moves.total() == 0


def test_what_other_tools_do_is_excused_and_put_right(runner: Runner) -> None:
    """Told apart from what mastosync does by nothing but the lab's own book."""
    moves = (Move.DELETES, Move.OTHER_BYTES, Move.BYTES_IN_PUBLIC)
    deeds = tuple(Change(move, pick) for move in moves for pick in (0, 1))
    tally = runner.run(replace(QUIET, seed=SEED + 50, acts=(*QUIET.acts, Act(("verify",), changes=deeds))))
    assert not tally.violations
    assert tally.moves == Counter({move.value: 2 for move in moves})


def test_rows_that_change_between_and_during_commands_are_followed(runner: Runner) -> None:
    comes, renamed = Change(Move.COMES, 7), Change(Move.RENAMED, 1)
    acts = (
        Act(("plan",), turn=Turn((comes,), table="media_attachments")),
        Act(("copy",), changes=(renamed,), turn=Turn((comes,), Moment("PutObject", 2, hold=True))),
        Act(("plan", "--delta"), changes=(renamed,)),
        Act(("copy",)),
    )
    tally = runner.run(replace(QUIET, seed=SEED + 51, acts=acts))
    assert not tally.violations
    assert tally.moves == Counter({Move.COMES.value: 2, Move.RENAMED.value: 2})


@pytest.mark.parametrize("wrong", list(Wrong))
def test_a_plan_of_the_wrong_database_is_held_against_that_one(runner: Runner, wrong: Wrong) -> None:
    seed = SEED + 60 + list(Wrong).index(wrong)
    tally = runner.run(replace(QUIET, seed=seed, acts=(Act(("plan",), wrong=wrong), Act(("plan",)))))
    assert not tally.violations


ROW = FileRow("accounts", 7, "word", "image/png", 500, updated=1)
PRIVATE_ROW = replace(ROW, private=True)
(KEY,) = (asked.key for asked in ROW.objects(SEED, ""))


def state_of(*rows: FileRow) -> State:
    return State({row.id: row for row in rows}, SEED, "")


def deliveries(*history: State) -> Deliveries:
    return Deliveries(Chronicle("", list(history)))


def exchange(
    operation: str, at: float, *, acl: str | None = "public-read", fault: Fault | None = None, status: int = 200
) -> Exchange:
    headers = {"x-amz-acl": acl} if acl else {}
    request = Request("PUT", "bucket", KEY, {}, operation, 1, headers)
    return Exchange(request, fault, status, None if fault else status, at, at + 0.5)


PUT = exchange("PutObject", 1)
PLAN = state_of(ROW)


@pytest.mark.parametrize("operation", ["PutObject", "CopyObject", "UploadPart"])
def test_what_was_confirmed_is_not_to_be_sent_again(operation: str) -> None:
    book = deliveries(PLAN)
    assert not list(book.follow([PUT], PLAN, 0))
    assert list(book.follow([exchange(operation, 9)], PLAN, 0)) == [(invariants.TWICE, KEY)]


def test_it_is_not_to_be_sent_again_either_after_the_row_was_gone_and_is_back() -> None:
    book = deliveries(PLAN, state_of(), PLAN)
    assert not list(book.follow([PUT], PLAN, 0))
    assert not list(book.follow([], state_of(), 1))
    assert list(book.follow([exchange("PutObject", 9)], PLAN, 2)) == [(invariants.TWICE, KEY)]


@pytest.mark.parametrize(
    ("before", "again"),
    [
        (exchange("PutObject", 2, fault=LOST_ANSWER), PLAN),
        (exchange("HeadObject", 2, status=404), PLAN),
        (exchange("DeleteObject", 2, status=204), PLAN),
        (exchange("GetObject", 2, fault=DAMAGED_DOWNLOAD), PLAN),
        (None, state_of(replace(ROW, updated=2))),
        (None, state_of(replace(ROW, remote=True))),
    ],
    ids=[
        "the answer was lost",
        "it was not found",
        "it was removed",
        "it was read with another byte",
        "the file is another",
        "the row is another's",
    ],
)
def test_it_may_be_sent_again_when_there_is_a_need(before: Exchange | None, again: State) -> None:
    book = deliveries(PLAN)
    list(book.follow([each for each in (PUT, before) if each is not None], PLAN, 0))
    assert (invariants.TWICE, KEY) not in list(book.follow([exchange("PutObject", 9)], again, 0))


def test_it_may_be_sent_again_when_the_source_lacked_it_and_has_it_back() -> None:
    """What is in doubt is compared with the source: for a moment there was nothing to compare it with."""
    lacks, gives = exchange("HeadObject", 7, status=404), exchange("GetObject", 8)
    assert came_back([gives, lacks]) == {KEY}
    assert not came_back([exchange("GetObject", 6), lacks])
    assert not came_back([exchange("HeadObject", 7), gives])
    book = deliveries(PLAN)
    list(book.follow([PUT], PLAN, 0))
    assert not list(book.follow([exchange("PutObject", 9)], PLAN, 0, came_back=came_back([lacks, gives])))
    assert list(book.follow([exchange("PutObject", 12)], PLAN, 0)) == [(invariants.TWICE, KEY)]


def test_it_may_be_sent_again_when_another_tool_was_there_or_the_source_has_other_bytes() -> None:
    book = deliveries(PLAN)
    list(book.follow([PUT], PLAN, 0))
    book.chronicle.deeds.append(Deed(5.0, Move.OTHER_BYTES, KEY))
    assert not list(book.follow([exchange("PutObject", 9)], PLAN, 0))
    book = deliveries(PLAN, state_of(replace(ROW, version=2)))
    list(book.follow([PUT], PLAN, 0))
    assert not list(book.follow([exchange("PutObject", 9)], PLAN, 1))


def test_what_is_private_as_planned_must_be_sent_as_private() -> None:
    private = state_of(PRIVATE_ROW)
    assert list(deliveries(private).follow([PUT], private, 0)) == [(invariants.EXPOSED, KEY)]
    assert not list(deliveries(private).follow([exchange("PutObject", 1, acl="private")], private, 0))


def test_an_upload_in_parts_that_was_begun_in_public_is_not_to_go_on_when_its_row_is_private() -> None:
    book, private = deliveries(PLAN), state_of(PRIVATE_ROW)
    assert not list(book.follow([exchange("CreateMultipartUpload", 1)], PLAN, 0))
    assert list(book.follow([exchange("UploadPart", 2, acl=None)], private, 0)) == [(invariants.EXPOSED, KEY)]


def test_what_the_plan_wants_is_not_to_be_removed() -> None:
    deleted = exchange("DeleteObject", 1, status=204)
    assert list(deliveries(PLAN).follow([deleted], PLAN, 0)) == [(invariants.REMOVED, KEY)]
    assert not list(deliveries(state_of()).follow([deleted], state_of(), 0))


def test_not_as_one_of_many_either() -> None:
    many = replace(
        exchange("DeleteObjects", 1), request=Request("POST", "bucket", "", {}, "DeleteObjects", 1, named=("a", KEY))
    )
    assert list(deliveries(PLAN).follow([many], PLAN, 0)) == [(invariants.REMOVED, KEY)]


def test_what_lies_there_is_ours_until_it_is_removed_or_somebody_else_writes_it() -> None:
    book = deliveries(PLAN)
    list(book.follow([PUT], PLAN, 0))
    assert book.ours == {KEY}
    book.chronicle.deeds.append(Deed(2.0, Move.OTHER_BYTES, KEY))
    list(book.follow([], PLAN, 0))
    assert book.ours == set()
    list(book.follow([exchange("PutObject", 3), exchange("DeleteObject", 4, status=204)], state_of(), 0))
    assert book.ours == set()


def test_of_a_private_object_that_was_not_recorded_nobody_has_to_know_how_it_arrived() -> None:
    private = state_of(PRIVATE_ROW)
    book, put = deliveries(private), exchange("PutObject", 1, acl="private")
    list(book.follow([put], private, 0))
    book.settle(NOTHING, invariants.Ending(Act(("copy",)), -9, "", (), NOTHING), private, 0)
    assert not list(book.follow([replace(put, started=9.0, answered=9.5)], private, 0))
