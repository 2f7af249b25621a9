"""The lab notices what it is there for: each invariant is broken on purpose, once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from faultlab import invariants
from faultlab.invariants import Ending, exposed, permitted_codes, sent_though_known
from faultlab.manifest_copy import NOTHING
from faultlab.runner import Runner
from faultlab.scenario import Act, Blow, Death, Scenario, scenario_of
from lab.addresses import S3Address
from lab.fault_plan import DAMAGED_DOWNLOAD, INTERNAL_ERROR, LOST_ANSWER, Fault, Request, delay, though_done
from lab.traffic import Exchange
from tests.support.saboteur import Saboteur

SEED = 990_000
QUIET = Scenario(
    seed=SEED,
    world="usual",
    moto=False,
    server_side=False,
    copying={"workers": "4"},
    read_timeout_seconds=60,
    storms={},
    acts=(Act(("plan",)), Act(("copy",))),
)


FORGET_WHAT_IS_DONE = (
    "UPDATE entries SET state = 0, md5 = NULL, etag = NULL WHERE state = 1",
    "INSERT INTO counts SELECT kind, 0, 0, objects, bytes FROM counts WHERE state = 1 AND objects > 0"
    " ON CONFLICT DO UPDATE SET objects = objects + excluded.objects, bytes = bytes + excluded.bytes",
    "UPDATE counts SET objects = 0, bytes = 0 WHERE state = 1",
)

DEEDS: dict[str, tuple[str, Callable[[Saboteur], object]]] = {
    "an object goes": (invariants.LOST, lambda s: s.client.delete_object(Bucket=s.bucket, Key=s.key)),
    "an object changes": (
        invariants.WRONG_BYTES,
        lambda s: s.client.put_object(Bucket=s.bucket, Key=s.key, Body=b"other"),
    ),
    "a stranger comes": (
        invariants.LOST,
        lambda s: s.client.put_object(Bucket=s.bucket, Key="stranger", Body=b"other"),
    ),
    "done is forgotten": (invariants.TWICE, lambda s: s.change(*FORGET_WHAT_IS_DONE)),
    "a counter is off": (invariants.DAMAGED, lambda s: s.change("UPDATE counts SET objects = objects + 1")),
    "an entry goes": (
        invariants.HALF_PLANS,
        lambda s: s.change("DELETE FROM entries WHERE id = (SELECT max(id) FROM entries)"),
    ),
    "an upload stays open": (
        invariants.LEFT_OPEN,
        lambda s: s.client.create_multipart_upload(Bucket=s.bucket, Key="left"),
    ),
}


def test_a_quiet_day_is_a_good_day(runner: Runner) -> None:
    tally = runner.run(QUIET)
    assert not tally.violations
    assert (tally.commands, tally.faults.total(), tally.deaths.total()) == (4, 0, 0)


@pytest.mark.parametrize("number", range(len(DEEDS)), ids=list(DEEDS))
def test_what_is_broken_on_purpose_is_noticed(runner: Runner, seaweed: S3Address, number: int) -> None:
    invariant, deed = list(DEEDS.values())[number]
    seed = SEED + 1 + number
    with contextlib.closing(seaweed.client()) as client:
        tally = runner.run(replace(QUIET, seed=seed), Saboteur(seed, client, deed))
    assert tally.wrong[invariant] > 0, tally.violations
    assert all(f"seed {seed}" in violation for violation in tally.violations)


def test_a_source_that_is_written_to_is_noticed(runner: Runner, seaweed: S3Address) -> None:
    seed = SEED + 100
    world = runner.world("usual")
    with contextlib.closing(seaweed.client()) as client:

        def deed(_: Saboteur) -> None:
            client.put_object(Bucket=world.instance.bucket, Key="stray", Body=b"")

        try:
            tally = runner.run(replace(QUIET, seed=seed), Saboteur(seed, client, deed))
        finally:
            client.delete_object(Bucket=world.instance.bucket, Key="stray")
    assert tally.wrong[invariants.SOURCE_TOUCHED] == 1, tally.violations


def exchange(
    operation: str,
    at: float,
    *,
    fault: Fault | None = None,
    status: int | None = 200,
    store_status: int | None = 200,
    acl: str | None = None,
) -> Exchange:
    headers = {"x-amz-acl": acl} if acl else {}
    request = Request("PUT", "bucket", "key", {}, operation, 1, headers)
    return Exchange(request, fault, store_status, status, at, at + 0.5)


@pytest.mark.parametrize(
    ("before", "again"),
    [
        ([exchange("PutObject", 1)], True),
        ([exchange("PutObject", 1, fault=delay(1))], True),
        ([exchange("CompleteMultipartUpload", 1)], True),
        ([exchange("PutObject", 1, fault=LOST_ANSWER, status=None)], False),
        ([exchange("PutObject", 1, fault=though_done(INTERNAL_ERROR), status=500)], False),
        ([exchange("PutObject", 1, status=400, store_status=400)], False),
        ([exchange("PutObject", 1), exchange("HeadObject", 2, status=404)], False),
        ([exchange("PutObject", 1), exchange("HeadObject", 2, status=403)], True),
        ([exchange("PutObject", 1), exchange("DeleteObject", 2, status=204)], False),
        ([exchange("PutObject", 1), exchange("GetObject", 2, fault=DAMAGED_DOWNLOAD)], False),
        ([exchange("PutObject", 1), exchange("GetObject", 2)], True),
    ],
)
def test_only_who_was_told_that_an_object_is_there_must_not_send_it_again(before: list[Exchange], again: bool) -> None:
    for operation in ("PutObject", "CopyObject", "UploadPart"):
        assert bool(sent_though_known([*before, exchange(operation, 9)])) is again
    assert not sent_though_known([*before, exchange("GetObject", 9)])


@pytest.mark.parametrize(
    ("exchanges", "is_exposed"),
    [
        ([exchange("PutObject", 1, acl="private")], False),
        ([exchange("PutObject", 1, acl="public-read")], True),
        ([exchange("PutObject", 1)], True),
        ([exchange("CopyObject", 1, acl="public-read")], True),
        ([exchange("CreateMultipartUpload", 1, acl="public-read")], False),
        ([exchange("CreateMultipartUpload", 1, acl="public-read"), exchange("UploadPart", 2)], True),
        ([exchange("CreateMultipartUpload", 1, acl="private"), exchange("UploadPart", 2)], False),
    ],
)
def test_private_objects_are_sent_as_private_ones_alone(exchanges: list[Exchange], is_exposed: bool) -> None:
    assert bool(exposed(exchanges, {"key"})) is is_exposed
    assert not exposed(exchanges, set())


@pytest.mark.parametrize(
    ("act", "codes"),
    [
        (Act(("plan",)), {0}),
        (Act(("copy",)), {0, 3}),
        (Act(("copy",), Blow(Death.KILL)), {0, 3, -9}),
        (Act(("plan",), Blow(Death.RESTART)), {0, 5}),
        (Act(("copy",), Blow(Death.DISK)), {0, 3, 6}),
    ],
)
def test_a_command_may_end_as_what_befell_it_demands_and_not_otherwise(act: Act, codes: set[int]) -> None:
    assert permitted_codes(Ending(act, 0, "", (), NOTHING)) == codes


def test_the_same_seed_is_the_same_day() -> None:
    assert [scenario_of(seed) for seed in range(50)] == [scenario_of(seed) for seed in range(50)]
    assert len({str(scenario_of(seed)) for seed in range(50)}) == 50
