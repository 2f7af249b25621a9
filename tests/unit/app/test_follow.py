"""A round of `follow`: what ends it, and what does not end the rounds after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mastosync.app.context import Context, identities
from mastosync.app.follow import Following, FollowOptions, follow, prune
from mastosync.config import Environment, load_config
from mastosync.copying.copier import CopyOptions
from mastosync.errors import PlanRefused, StoreUnusable, passing
from mastosync.manifest import Manifest
from mastosync.mastodon.database import SnapshotInfo
from mastosync.planning.planner import PlanOptions, PlanResult
from mastosync.progress import CopyProgress, NoProgress
from mastosync.pruning import PruneOptions, PruneResult
from mastosync.runtime.stop import StopSignal
from tests.support.entries import entry
from tests.support.manifests import planned

CONFIG = """
[filesystem.source]
path = {folder}/old
[filesystem.destination]
path = {folder}/new
"""


Step = Callable[..., Any]


def nothing(*_: object, **__: object) -> None:
    """A plan or an addition of no interest here."""


def out_of_reach(context: Context, *_: object) -> None:
    """Finds a store out of reach in the midst of a copy."""
    context.stop.request()  # as a copier does, so that nobody waits for what is lost
    raise StoreUnusable("out of reach")


def refused(*_: object, delta: bool) -> None:
    """Plans of a database that cannot be the right one."""
    raise PlanRefused("incremental" if delta else "whole")


def of_another_instance(*_: object) -> None:
    raise PlanRefused("of another instance")


def plan_of_a_standby(lag_seconds: float) -> Step:
    """A plan that goes well, of a database that is this far behind its primary."""
    snapshot = SnapshotInfo("db", "18", "1:1:", datetime.now(UTC), False, lag_seconds, {})
    return lambda *_, **__: PlanResult(snapshot)


def copies_three(*_: object) -> CopyProgress:
    return CopyProgress(total=0, done=3)


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Callable[[Step, Step, Step], None]:
    """What a round does instead of planning, of adding what is new after a plan was refused, and of copying."""

    def instead(plan: Step, add: Step, copy: Step) -> None:
        for name, step in (("plan_into", plan), ("add_into", add), ("copy_pending", copy)):
            monkeypatch.setattr(f"mastosync.app.follow.{name}", step)

    return instead


def following(folder: Path, **options: Any) -> tuple[Following, StopSignal]:  # noqa: ANN401
    for name in ("old", "new"):
        (folder / name).mkdir()
    (folder / "config.ini").write_text(CONFIG.format(folder=folder), encoding="utf-8")
    config, stop = load_config(folder / "config.ini", Environment({})), StopSignal()
    context = Context(config, folder / "m.db", NoProgress(), stop)
    return Following(context, FollowOptions(PlanOptions(), CopyOptions(), every_seconds=600, **options)), stop


def test_a_plan_that_is_refused_keeps_no_round_from_copying_and_is_tried_again_by_the_next(
    tmp_path: Path, does: Callable[[Step, Step, Step], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Following, "_require_same_scope", lambda *_: None)
    does(refused, of_another_instance, copies_three)
    planned(tmp_path / "m.db", [entry()]).close()
    rounds, _ = following(tmp_path, full=True, prune=PruneOptions(apply=True))
    for _ in range(2):
        result = rounds.go_round()
        assert (result.plan, result.copy.done, result.pruning) == (None, 3, None)
        assert str(result.refusal) == "whole", "what was to read everything still is to"


@pytest.mark.parametrize("added", [0, None])
def test_nothing_is_copied_when_nobody_knows_what_became_private_for_an_hour(
    added: int | None, tmp_path: Path, does: Callable[[Step, Step, Step], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that was refused copies what it could read the access of, or what a plan of short ago has."""
    monkeypatch.setattr(Following, "_require_same_scope", lambda *_: None)
    does(refused, lambda *_: added, copies_three)
    with planned(tmp_path / "m.db", [entry()]) as manifest, manifest.transaction() as connection:
        taken_at = datetime.now(UTC) - timedelta(minutes=61)
        connection.execute("UPDATE snapshots SET taken_at = ?", (taken_at.isoformat(),))
    rounds, _ = following(tmp_path)
    assert rounds.go_round().copy.done == (0 if added is None else 3)


@pytest.mark.parametrize(("lag", "copied"), [(float("inf"), 0), (3_700.0, 0), (60.0, 3), (0.0, 3)])
def test_nothing_is_copied_by_what_a_standby_far_behind_says(
    lag: float, copied: int, tmp_path: Path, does: Callable[[Step, Step, Step], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of users suspended since would be stored for everybody."""
    monkeypatch.setattr(Following, "_require_same_scope", lambda *_: None)
    does(plan_of_a_standby(lag), nothing, copies_three)
    with planned(tmp_path / "m.db", [entry()]) as manifest, manifest.transaction() as connection:
        began_at = max(time.time() - lag, 0.0)
        connection.execute("UPDATE snapshots SET details = json_set(details, '$.began_at', ?)", (began_at,))
    monkeypatch.setattr(
        "mastosync.app.follow._prune", lambda *_, **__: PruneResult(applied=True, found=0, found_bytes=0)
    )
    rounds, _ = following(tmp_path, prune=PruneOptions(apply=True))
    result = rounds.go_round()
    assert (result.copy.done, result.held_back) == (copied, not copied)
    assert (result.pruning is None) == result.held_back, "nor is anything removed"


def test_a_store_that_fails_in_the_midst_of_a_round_does_not_end_the_next_one(
    tmp_path: Path, does: Callable[[Step, Step, Step], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Following, "_since", lambda *_: 0)
    does(plan_of_a_standby(0.0), nothing, out_of_reach)
    rounds, stop = following(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreUnusable, match="out of reach"):
            rounds.go_round()
    assert not stop.requested


def out_of_reach_for_now(*_: object) -> None:
    raise passing(StoreUnusable("out of reach"))


def test_a_round_that_cannot_reach_a_store_is_tried_again_soon(
    tmp_path: Path, does: Callable[[Step, Step, Step], None]
) -> None:
    does(plan_of_a_standby(0.0), nothing, out_of_reach_for_now)
    rounds, _ = following(tmp_path)
    first = next(follow(rounds.context, rounds.options))
    assert first.error is not None
    assert first.wait_seconds is not None
    assert first.wait_seconds <= 2, "and not as long as a round takes"


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch) -> list[CopyOptions]:
    """The paces at which stores are opened to remove objects."""
    paces: list[CopyOptions] = []

    @contextmanager
    def opened(context: Context, manifest: Manifest, pace: CopyOptions, *_: object, **__: object) -> Iterator[Any]:
        paces.append(pace)
        yield (None,)

    class Removing:
        def __init__(self, manifest: Manifest, opening: Callable[[], Any], *_: object) -> None:
            self.opening = opening

        def run(self) -> PruneResult:
            with self.opening():
                return PruneResult(applied=True, found=0, found_bytes=0)

    monkeypatch.setattr("mastosync.app.follow.stores_to_write", opened)
    monkeypatch.setattr("mastosync.app.follow.Pruner", Removing)
    return paces


def test_removals_go_at_the_pace_of_the_configuration(tmp_path: Path, paces: list[CopyOptions]) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    text = f"{CONFIG.format(folder=tmp_path)}[copy]\nrate = 7\n"
    (tmp_path / "config.ini").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "config.ini", Environment({}))
    planned(tmp_path / "m.db", [entry()], identities(config)).close()
    prune(Context(config, tmp_path / "m.db", NoProgress(), StopSignal()), PruneOptions(apply=True))
    assert [pace.rate for pace in paces] == [7]


def test_those_of_a_round_go_at_the_pace_of_its_options(
    tmp_path: Path,
    does: Callable[[Step, Step, Step], None],
    paces: list[CopyOptions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Following, "_require_same_scope", lambda *_: None)
    monkeypatch.setattr(Following, "_since", lambda *_: 0)
    does(plan_of_a_standby(0.0), nothing, copies_three)
    planned(tmp_path / "m.db", [entry()]).close()
    rounds, _ = following(tmp_path, prune=PruneOptions(apply=True))
    rounds.options = replace(rounds.options, copy=CopyOptions(rate=3))
    rounds.go_round()
    assert [pace.rate for pace in paces] == [3]


@pytest.mark.parametrize(("lag", "age"), [(3_590.0, 3_610.0), (0.0, 3_700.0)], ids=["a standby lags", "a long copy"])
def test_a_plan_that_has_grown_too_old_to_prune_by_does_not_end_the_rounds(
    lag: float, age: float, tmp_path: Path, does: Callable[[Step, Step, Step], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Following, "_require_same_scope", lambda *_: None)
    monkeypatch.setattr(Following, "_since", lambda *_: 0)
    does(plan_of_a_standby(lag), nothing, copies_three)
    details = {**PlanOptions().as_details(), "began_at": time.time() - age, "marks_gone": True}
    planned(tmp_path / "m.db", [entry()], details=details).close()
    rounds, _ = following(tmp_path, prune=PruneOptions(apply=True))
    result = rounds.go_round()
    assert (result.copy.done, result.pruning) == (3, None)
    assert "the last plan is more than an hour old" in str(result.refusal)
