"""A round of `follow`: what ends it, and what does not end the rounds after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mastosync.app import App
from mastosync.app.following import Following, FollowOptions
from mastosync.config import Environment, load_config
from mastosync.engine.copier import CopyOptions
from mastosync.engine.planner import PlanOptions
from mastosync.engine.stop import StopSignal
from mastosync.errors import StoreUnusable
from mastosync.progress import Silence

CONFIG = """
[filesystem.source]
path = {folder}/old
[filesystem.destination]
path = {folder}/new
"""


class Failing(App):
    """Plans nothing, and finds a store out of reach in the midst of a copy."""

    def plan_into(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - of no interest here
        return None

    def copy_from(self, *_: Any) -> Any:  # noqa: ANN401
        self.stop.request()  # as a copier does, so that nobody waits for what is lost
        raise StoreUnusable("out of reach")


def test_a_store_that_fails_in_the_midst_of_a_round_does_not_end_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Following, "_since", lambda *_: 0)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "config.ini").write_text(CONFIG.format(folder=tmp_path), encoding="utf-8")
    config, stop = load_config(tmp_path / "config.ini", Environment({})), StopSignal()
    app = Failing(config, tmp_path / "m.db", Silence(), stop)
    following = Following(app, FollowOptions(PlanOptions(), CopyOptions(), every_seconds=600))
    for _ in range(2):
        with pytest.raises(StoreUnusable, match="out of reach"):
            following.go_round()
    assert not stop.requested
