"""What the doctor knows of a store before it opens it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mastosync.app.doctor import store_target
from mastosync.config import Config
from mastosync.doctor import BucketTarget
from tests.support.cutover_evidence import with_env


def of_keys(config: Config) -> str:
    way = store_target(config, "source")
    assert isinstance(way, BucketTarget)
    return way.of_keys


def test_a_doctor_knows_what_a_switch_may_have_done_to_the_keys(tmp_path: Path) -> None:
    config = with_env(tmp_path, access_key="old", secret_key="old")
    told = of_keys(config)
    assert "are the keys of the destination now. Write those of the old store under [s3.source]" in told
    assert store_target(config, "destination").of_keys == ""  # type: ignore[union-attr]


def test_keys_are_those_of_the_destination_only_if_both_halves_are(tmp_path: Path) -> None:
    told = of_keys(with_env(tmp_path, access_key="old"))
    assert "of the destination now" not in told
    assert "If that file was changed for the switch, write the old ones under [s3.source]" in told


def test_one_key_is_told_of_as_one(tmp_path: Path) -> None:
    config = with_env(tmp_path, access_key="old", secret_key="old")
    one = replace(config, referred=config.referred[:1])
    assert of_keys(one).startswith("AWS_ACCESS_KEY_ID in ")
    assert "is the key of the destination now" in of_keys(one)


def test_keys_that_were_pinned_were_not_changed_by_a_switch(tmp_path: Path) -> None:
    config = with_env(tmp_path, access_key="old", secret_key="old")
    pinned = replace(config.env, mastodon_file=tmp_path / "another.env")
    assert of_keys(replace(config, env=pinned)) == ""
