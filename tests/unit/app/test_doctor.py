"""What the doctor knows of a store before it opens it."""

from __future__ import annotations

from pathlib import Path

from mastosync.app.doctor import store_target
from mastosync.doctor import BucketTarget
from tests.support.cutover_evidence import with_env


def test_a_doctor_knows_what_a_switch_may_have_done_to_the_keys(tmp_path: Path) -> None:
    config = with_env(tmp_path, access_key="old")
    way = store_target(config, "source")
    assert isinstance(way, BucketTarget)
    assert "are the keys of the destination now. Write those of the old store under [s3.source]" in way.of_keys
    assert store_target(config, "destination").of_keys == ""  # type: ignore[union-attr]
