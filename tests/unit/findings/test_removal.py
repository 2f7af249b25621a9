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

from mastosync.cli.main import main
from mastosync.manifest import HIGHEST_ID, LOWEST_ID, Manifest, PlanWriter, StoreIdentity, WorkQueue
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState, Origin, Outcome
from mastosync.planning.planner import PlanOptions
from tests.support.entries import entry, grouped

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
                writer.settle_losses(accepted=accept)
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
