"""A round of `follow`: what ends it, and what does not end the rounds after it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mastosync.app import App
from mastosync.app.following import Following, FollowOptions
from mastosync.config import Environment, load_config
from mastosync.copying.copier import CopyOptions
from mastosync.errors import PlanRefused, StoreUnusable, passing
from mastosync.mastodon.database import SnapshotInfo
from mastosync.planning.planner import PlanOptions, PlanResult
from mastosync.progress import CopyProgress, NoProgress
from mastosync.pruning import PruneOptions
from mastosync.runtime.stop import StopSignal
from tests.unit.engine_kit import entry, planned

CONFIG = """
[filesystem.source]
path = {folder}/old
[filesystem.destination]
path = {folder}/new
"""


class Failing(App):
    """Plans nothing, and finds a store out of reach in the midst of a copy."""

    lag_seconds = 0.0

    def plan_into(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - of no interest here
        snapshot = SnapshotInfo("db", "18", "1:1:", datetime.now(UTC), False, self.lag_seconds, {})
        return PlanResult(snapshot)

    def copy_from(self, *_: Any) -> Any:  # noqa: ANN401
        self.stop.request()  # as a copier does, so that nobody waits for what is lost
        raise StoreUnusable("out of reach")


class Refusing(App):
    """Plans of a database that cannot be the right one."""

    def plan_into(self, *_: Any, delta: bool) -> Any:  # noqa: ANN401
        raise PlanRefused("incremental" if delta else "whole")

    def add_into(self, *_: Any) -> Any:  # noqa: ANN401
        raise PlanRefused("of another instance")

    def copy_from(self, *_: Any) -> Any:  # noqa: ANN401
        return CopyProgress(total=0, done=3)


def following(folder: Path, kind: type[App], **options: Any) -> tuple[Following, StopSignal]:  # noqa: ANN401
    for name in ("old", "new"):
        (folder / name).mkdir()
    (folder / "config.ini").write_text(CONFIG.format(folder=folder), encoding="utf-8")
    config, stop = load_config(folder / "config.ini", Environment({})), StopSignal()
    app = kind(config, folder / "m.db", NoProgress(), stop)
    return Following(app, FollowOptions(PlanOptions(), CopyOptions(), every_seconds=600, **options)), stop


def test_a_plan_that_is_refused_keeps_no_round_from_copying_and_is_tried_again_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Following, "_require_same_scope", lambda *_: None)
    planned(tmp_path / "m.db", [entry()]).close()
    rounds, _ = following(tmp_path, Refusing, full=True, prune=PruneOptions(apply=True))
    for _ in range(2):
        result = rounds.go_round()
        assert (result.plan, result.copy.done, result.pruning) == (None, 3, None)
        assert str(result.refusal) == "whole", "what was to read everything still is to"


@pytest.mark.parametrize("added", [0, None])
def test_nothing_is_copied_when_nobody_knows_what_became_private_for_an_hour(
    added: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that was refused copies what it could read the access of, or what a plan of short ago has."""
    monkeypatch.setattr(Following, "_require_same_scope", lambda *_: None)
    monkeypatch.setattr(Refusing, "add_into", lambda *_: added)
    with planned(tmp_path / "m.db", [entry()]) as manifest, manifest.transaction() as connection:
        taken_at = datetime.now(UTC) - timedelta(minutes=61)
        connection.execute("UPDATE snapshots SET taken_at = ?", (taken_at.isoformat(),))
    rounds, _ = following(tmp_path, Refusing)
    assert rounds.go_round().copy.done == (0 if added is None else 3)


class Lagging(Failing):
    """Plans of a standby that has heard of nothing for long."""

    lag_seconds = float("inf")

    def copy_from(self, *_: Any) -> Any:  # noqa: ANN401
        return CopyProgress(total=0, done=3)


@pytest.mark.parametrize(("lag", "copied"), [(float("inf"), 0), (3_700.0, 0), (60.0, 3), (0.0, 3)])
def test_nothing_is_copied_by_what_a_standby_far_behind_says(
    lag: float, copied: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whom moderators have suspended since would have his files open to everybody."""
    monkeypatch.setattr(Following, "_require_same_scope", lambda *_: None)
    monkeypatch.setattr(Lagging, "lag_seconds", lag)
    with planned(tmp_path / "m.db", [entry()]) as manifest, manifest.transaction() as connection:
        began_at = max(time.time() - lag, 0.0)
        connection.execute("UPDATE snapshots SET details = json_set(details, '$.began_at', ?)", (began_at,))
    rounds, _ = following(tmp_path, Lagging)
    result = rounds.go_round()
    assert (result.copy.done, result.held_back) == (copied, not copied)


def test_a_store_that_fails_in_the_midst_of_a_round_does_not_end_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Following, "_since", lambda *_: 0)
    rounds, stop = following(tmp_path, Failing)
    for _ in range(2):
        with pytest.raises(StoreUnusable, match="out of reach"):
            rounds.go_round()
    assert not stop.requested


class OutOfReach(Failing):
    """Finds a store out of reach that may be there again soon."""

    def copy_from(self, *_: Any) -> Any:  # noqa: ANN401
        raise passing(StoreUnusable("out of reach"))


def test_a_round_that_cannot_reach_a_store_is_tried_again_soon(tmp_path: Path) -> None:
    follow, _ = following(tmp_path, OutOfReach)
    first = next(follow.app.follow(follow.options))
    assert first.error is not None
    assert first.wait_seconds is not None
    assert first.wait_seconds <= 2, "and not as long as a round takes"
