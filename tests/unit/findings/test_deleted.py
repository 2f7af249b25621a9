"""What is said of objects whose rows are gone, and the command beside it: who runs it, hears no more of them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mastosync.app.cutover import CutoverOptions, cutover_from
from mastosync.cli.main import main
from mastosync.findings.deleted import Deleted, shared_bucket
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Manifest,
    PlanRecord,
    PlanWriter,
    Relation,
    Removable,
    StoreIdentity,
    WorkQueue,
    record_relation,
)
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import TABLES, EntryState, Origin, Outcome
from mastosync.planning.planner import PlanOptions
from tests.support.cutover_evidence import ARRIVED, HOUR, NOW, WHOLE, configured, in_one, plan, shared
from tests.support.entries import entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, planned

KEPT = [entry(row) for row in range(10, 40)]
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command between two folders, and return what it says."""
    monkeypatch.chdir(tmp_path)
    for name in ("old", "new"):
        Path(name).mkdir()
    Path("config.ini").write_text("[filesystem.source]\npath = old\n[filesystem.destination]\npath = new\n")

    def command(*arguments: str) -> str:
        code, said = main(list(arguments)), capsys.readouterr()
        assert code == 0 or "cutover" in arguments, said.err
        return said.out

    return command


def lay_down(gone: list[Origin], *, accept: bool = False) -> None:
    """Objects that came in these ways, of rows that the last plan does not see any more."""
    stores = [StoreIdentity.of_folder(Path(name).resolve()) for name in ("old", "new")]
    entries = [entry(row) for row in range(len(gone))]
    with Manifest.create(Path("mastosync.db")) as manifest:
        for wanted in ([*entries, *KEPT], KEPT):
            with PlanWriter.transaction(manifest, *stores, accepts_losses=accept) as writer:
                writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(wanted))
                writer.take_back_marks(accepted=accept)
                writer.finish(datetime.now(UTC), {**PlanOptions().as_details(), "marks_gone": True})
            if wanted != KEPT:
                queue = WorkQueue(manifest)
                origins = {each.id: origin for each, origin in zip(entries, gone, strict=True)}
                queue.commit(
                    outcomes=[
                        Outcome(each, EntryState.DONE, size=4, origin=origins.get(each.id, Origin.COPIED))
                        for each in (claim.entry for claim in list(queue.iter_claimable()))
                    ]
                )
    for each in (*entries, *KEPT):
        for folder in ("old", "new"):
            file = Path(folder) / canonical_key(each, "")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"data")


def complaint(told: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = next(each for each in told["findings"] if each["check"] == "gone")
    return found


def reported(run: Run) -> dict[str, str]:
    return complaint(json.loads(run("report", "--format", "json"))["verdict"])


def prunes(commands: list[str]) -> list[str]:
    return [each for each in commands if "prune" in each]


WAYS = [
    ([Origin.COPIED] * 3, "prune --apply", ""),
    ([Origin.ADOPTED] * 3, "prune --adopted --apply", "copied none of them: all were adopted"),
    (
        [Origin.COPIED, Origin.ADOPTED, Origin.REFETCHED],
        "prune --adopted --apply",
        "copied 2 of them, and has adopted 1",
    ),
]


@pytest.mark.parametrize(("gone", "command", "said"), WAYS)
def test_the_command_of_a_report_ends_its_complaint(run: Run, gone: list[Origin], command: str, said: str) -> None:
    lay_down(gone)
    found = reported(run)
    assert found["status"] == "warning"
    assert said in found["message"]
    assert ("adopted" in found["message"]) is bool(said)
    told = prunes(re.findall("`mastosync (.*?)`", found["remedy"]))
    assert told[-1] == command, "the last one takes in all of them"
    for each in told:
        assert "0 were removed" not in run(*shlex.split(each)), "no command does nothing"
    assert reported(run)["status"] == "ok"


@pytest.mark.parametrize(("gone", "command", "said"), WAYS)
def test_the_steps_of_a_cutover_end_its_complaint(run: Run, gone: list[Origin], command: str, said: str) -> None:
    lay_down(gone)
    told = json.loads(run("cutover", "--json"))
    assert complaint(told)["status"] == "warning"
    (step,) = [each for each in told["steps"] if prunes(each["commands"])]
    assert [shlex.split(each)[-2:] for each in prunes(step["commands"])][-1] == command.split()[-2:]
    assert ("With --adopted it also removes" in step["what"]) is bool(said)
    for each in prunes(step["commands"]):
        run(*shlex.split(each)[1:])
    assert complaint(json.loads(run("cutover", "--json")))["status"] == "ok"
    assert json.loads(run("cutover", "--json"))["gone"] == {"objects": 0, "bytes": 0, "adopted": 0, "lost": 0}


@pytest.mark.parametrize(("gone", "command", "said"), WAYS)
def test_what_a_prune_tells_is_what_the_next_one_does(run: Run, gone: list[Origin], command: str, said: str) -> None:
    lay_down(gone)
    out = run("prune")
    for told in reversed(re.findall("`mastosync (prune.*?--apply)`", out)):
        assert "0 were removed" not in run(*told.split()), out
    assert run("prune") == "0 objects (0 Bytes) left the database and are still at the destination\n"
    assert reported(run)["status"] == "ok"


def test_nobody_is_told_to_remove_what_a_plan_of_a_wrong_database_may_have_lost(run: Run) -> None:
    lay_down([Origin.COPIED] * 3, accept=True)
    cutover = json.loads(run("cutover", "--json"))
    for told in (reported(run), complaint(cutover)):
        assert "prune" not in told["remedy"]
        assert "the right database" in told["remedy"]
        assert told["message"].startswith("3 objects stay: a plan lost them by --accept-gone")
    assert not [each for step in cutover["steps"] for each in prunes(step["commands"])]
    assert cutover["gone"] == {"objects": 0, "bytes": 0, "adopted": 0, "lost": 3}
    run("prune", "--adopted", "--apply", "--at-most", "100")
    run("accept", "--gone")
    assert "prune --apply" in reported(run)["remedy"]


def moment(ago: float) -> float:
    return NOW - ago


@pytest.mark.parametrize(
    ("plans", "copied", "known_at", "later"),
    [
        ([plan(HOUR)], None, moment(HOUR), False),
        ([plan(HOUR)], moment(2 * HOUR), moment(HOUR), False),
        ([plan(HOUR)], moment(60), moment(HOUR), True),
        ([plan(60, incremental=True), plan(HOUR)], None, moment(HOUR), True),  # a delta sees no deletion
        ([plan(60, incremental=True)], None, None, True),
        ([plan(60, limit=5), plan(HOUR)], None, moment(HOUR), False),
        ([plan(60, only="remote"), plan(HOUR, only="local")], None, moment(HOUR), False),  # accounts here are local
        ([plan(60, types=["media_attachments"]), plan(HOUR)], None, moment(HOUR), False),
        ([plan(60, types=["accounts"]), plan(HOUR)], None, moment(60), False),  # nothing else has arrived
    ],
)
def test_deletions_are_known_up_to_the_last_plan_that_read_all_of_what_has_arrived(
    plans: list[PlanRecord], copied: float | None, known_at: float | None, later: bool
) -> None:
    assert Deleted.of(Removable(), [ARRIVED], plans, copied) == Deleted(Removable(0, 0), known_at, later=later)


def done(manifest: Manifest) -> None:
    """A copy of everything that is pending."""
    queue = WorkQueue(manifest)
    queue.start_run(1)
    claims = list(queue.iter_claimable())
    queue.commit(claims=claims)
    queue.commit(outcomes=[Outcome(each.entry, EntryState.DONE, size=7, md5=bytes(16)) for each in claims])
    queue.end_run()


def test_a_row_that_was_deleted_after_its_copy_is_found_in_the_manifest(tmp_path: Path) -> None:
    whole = {**WHOLE, "added": 2}
    with planned(tmp_path / "manifest.db", [entry(1), entry(2)], details=whole) as manifest:
        done(manifest)
        report = cutover_from(configured(tmp_path), manifest, CutoverOptions())
        assert "deletions" in {each.check for each in report.cutover.findings}, "a copy has been at work since"
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
            writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped([entry(2)]))
            writer.finish(datetime.now(UTC), WHOLE)
        report = cutover_from(configured(tmp_path), manifest, CutoverOptions())
    told = {each.check: each for each in report.cutover.findings}
    assert "1 object (7 Bytes)" in told["gone"].message
    assert report.as_json()["gone"] == {"objects": 1, "bytes": 7, "adopted": 0, "lost": 0}


TREES = ("cache/", *(f"{table}/" for table in TABLES))


@pytest.mark.parametrize(
    ("old", "new", "prefixes"),
    [
        ("old", "new", ("old/",)),
        ("old", "older", ("old/",)),
        ("old/", "new", ("old//",)),
        ("/old", "new", ("old/",)),
        ("", "new", TREES),
        ("a", "a/b", tuple(f"a/{tree}" for tree in TREES)),
        ("a/b", "a", ("a/b/",)),
        ("", "cache", TREES[1:]),  # what lies under cache/ is both old and new
        ("old", "", ("old/",)),
        ("accounts", "", tuple(f"accounts/{tree}" for tree in TREES)),  # the new avatars are in accounts/avatars/
        (":class", "new", ()),
        ("old", ":class", ()),
    ],
)
def test_in_one_bucket_only_what_is_under_the_old_prefix_may_go(old: str, new: str, prefixes: tuple[str, ...]) -> None:
    assert shared(old, new).prefixes == prefixes


@pytest.mark.parametrize(
    ("stores", "are_one"),
    [
        ((SOURCE, DESTINATION), False),
        ((StoreIdentity("https://s3", "a", ""), StoreIdentity("https://s3", "b", "")), False),
        ((StoreIdentity.of_folder(Path("/a")), StoreIdentity.of_folder(Path("/b"))), False),
        (in_one("", "new"), True),
    ],
)
def test_a_manifest_knows_whether_its_stores_are_one_bucket(
    tmp_path: Path, stores: tuple[StoreIdentity, StoreIdentity], are_one: bool
) -> None:
    with planned(tmp_path / "manifest.db", [entry()], stores) as manifest:
        assert (shared_bucket(manifest) is not None) is are_one


def test_one_bucket_that_a_look_has_found_is_one_whatever_its_names_are(tmp_path: Path) -> None:
    stores = (
        StoreIdentity("https://s3.example", "media", "old"),
        StoreIdentity("https://alias.example", "media", "new"),
    )
    with planned(tmp_path / "manifest.db", [entry()], stores) as manifest:
        record_relation(manifest, Relation.TWO, probe_settled=True)
        assert shared_bucket(manifest) is None
        record_relation(manifest, Relation.ONE_BUCKET, probe_settled=True)
        assert shared_bucket(manifest) is not None
