"""Which file is read, and what the environment overrides."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from mastosync.config import (
    Secret,
    find_config,
    load_config,
)
from mastosync.config.schema import sections
from mastosync.config.values import Key, variable
from mastosync.errors import ConfigError
from tests.support.configurations import (
    ALL_KEYS,
    HUNTER,
    OLD_TOOL,
    Load,
    everything_said,
    valid_text,
)


class TestEnvironment:
    @pytest.mark.parametrize("key", ALL_KEYS, ids=lambda key: key.variable)
    def test_every_key_is_overridden_by_its_variable(self, key: Key, tmp_path: Path) -> None:
        pair = {"access_key": "secret_key", "secret_key": "access_key", "provider": "endpoint_url"}
        environ = {key.variable: valid_text(key)}
        if key.name in pair:
            environ[variable(key.section, pair[key.name])] = "https://other.test"
        file = tmp_path / "value"
        file.write_text(environ[key.variable] + "\n", encoding="utf-8")
        path = tmp_path / "config.ini"
        path.touch(0o600)

        direct = load_config(path, environ)
        environ[key.variable + "_FILE"] = str(file)
        del environ[key.variable]
        by_file = load_config(path, environ)

        attribute = sections()[key.section].attribute
        value = getattr(getattr(direct, attribute), key.name)
        assert value == key.info.form.parse(valid_text(key))
        assert value != key.default
        assert direct == by_file

    def test_the_environment_wins_over_the_file(self, load: Load) -> None:
        config = load(OLD_TOOL, MASTOSYNC_S3_SOURCE_SECRET_KEY="from-environment", MASTOSYNC_PG_DATABASE_PORT="5433")

        assert config.source.secret_key == Secret("from-environment")
        assert config.source.access_key == "AKIAOLD"
        assert config.database.port == 5433

    def test_an_empty_variable_is_no_variable(self, load: Load) -> None:
        config = load(OLD_TOOL, MASTOSYNC_S3_SOURCE_BUCKET="", MASTOSYNC_S3_SOURCE_SECRET_KEY_FILE="")

        assert config.source.bucket == "old-media"

    def test_an_empty_prefix_in_the_environment_is_a_prefix(self, load: Load) -> None:
        text = "[s3.source]\nkey_prefix = p\n[s3.destination]\nkey_prefix = q"

        assert load(text, MASTOSYNC_S3_DESTINATION_KEY_PREFIX="").destination.key_prefix == ""
        assert load(text, MASTOSYNC_S3_DESTINATION_KEY_PREFIX_FILE="").destination.key_prefix == "q"

    @pytest.mark.parametrize(
        ("content", "secret"), [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), (" s \n", " s "), ("\ufeffs", "s")]
    )
    def test_a_secret_in_a_file_loses_its_line_end_and_nothing_else(
        self, load: Load, tmp_path: Path, content: str, secret: str
    ) -> None:
        file = tmp_path / "secret"
        file.write_text(content, encoding="utf-8", newline="")

        config = load("", MASTOSYNC_PG_DATABASE_PASSWORD_FILE=str(file))

        assert config.database.password == Secret(secret)

    def test_a_missing_secret_file_is_refused_without_showing_what_may_be_the_secret_itself(self, load: Load) -> None:
        with pytest.raises(ConfigError, match="the file that MASTOSYNC_PG_DATABASE_PASSWORD_FILE names") as caught:
            load("", MASTOSYNC_PG_DATABASE_PASSWORD_FILE="hunter2")

        assert "hunter2" not in caught.value.message + caught.value.hint

    @pytest.mark.parametrize(
        "environ",
        [
            {"MASTOSYNC_PG_DATABASE_PASSWORD": "a", "MASTOSYNC_PG_DATABASE_PASSWORD_FILE": __file__},
            {"MASTOSYNC_MANIFEST": "a.db", "MASTOSYNC_MANIFEST_PATH": "b.db"},
        ],
    )
    def test_a_key_that_the_environment_gives_twice_is_refused(self, load: Load, environ: dict[str, str]) -> None:
        with pytest.raises(ConfigError, match="are both set") as caught:
            load("", **environ)

        assert all(name in caught.value.message for name in environ)

    @pytest.mark.parametrize(
        ("name", "near"),
        [
            ("MASTOSYNC_S3_SOURCE_BUKCET", "MASTOSYNC_S3_SOURCE_BUCKET"),
            ("MASTOSYNC_S3_SOURCE_ACL", "MASTOSYNC_S3_SOURCE_"),
            ("MASTOSYNC_COPY_WORKER", "MASTOSYNC_COPY_WORKERS"),
            ("MASTOSYNC_MANIFEST_FILE", "MASTOSYNC_MANIFEST_PATH"),
        ],
    )
    def test_a_variable_of_a_known_section_without_such_a_key_is_refused(
        self, load: Load, name: str, near: str
    ) -> None:
        with pytest.raises(ConfigError, match=f"^{name} is set") as caught:
            load("", **{name: HUNTER})

        assert near in caught.value.hint
        assert "hunter2" not in everything_said(caught.value)

    def test_other_variables_are_left_alone(self, load: Load) -> None:
        others = {"MASTOSYNC_CONFIG": "x.ini", "MASTOSYNC_LOG": "json", "MASTOSYNC_S3": "x", "S3_BUCKET": "y"}
        text = "[copy]\nworkers = 4"

        assert load(text, **others, PLAN_LIMIT="z") == load(text)

    def test_the_short_variable_of_the_manifest_names_its_path(self, load: Load) -> None:
        assert load("[manifest]\npath = a.db", MASTOSYNC_MANIFEST="b.db").manifest.path == Path("b.db")

    def test_a_wrong_value_is_refused_with_the_name_of_its_variable(self, load: Load) -> None:
        with pytest.raises(ConfigError, match=r"^MASTOSYNC_COPY_WORKERS: 'x' is not a whole number"):
            load("", MASTOSYNC_COPY_WORKERS="x")

    def test_a_line_break_in_a_value_is_refused(self, load: Load) -> None:
        with pytest.raises(ConfigError, match="CACHE_CONTROL spans several lines"):
            load("", MASTOSYNC_S3_DESTINATION_CACHE_CONTROL="public\nX-Evil: 1")


class TestWithoutAFile:
    def test_the_environment_alone_can_be_the_configuration(self) -> None:
        config = load_config(None, {"MASTOSYNC_S3_SOURCE_BUCKET": "a", "MASTOSYNC_S3_DESTINATION_BUCKET": "b"})

        assert (config.source.bucket, config.destination.bucket, config.path) == ("a", "b", None)
        assert len(config.require_stores()) == 2

    @pytest.mark.parametrize("environ", [{}, {"MASTOSYNC_COPY_WORKERS": "4"}, {"MASTOSYNC_S3_SOURCE_BUCKET": ""}])
    def test_no_configuration_at_all_names_the_places_and_init(self, environ: dict[str, str]) -> None:
        with pytest.raises(ConfigError, match="there is no configuration") as caught:
            load_config(None, environ)

        for place in ("-c", "MASTOSYNC_CONFIG", "CONFIG_FILE_NAME", "./config.ini", "./private/config.ini", "init"):
            assert place in caught.value.hint

    def test_half_a_configuration_names_what_is_missing_and_the_places(self) -> None:
        config = load_config(None, {"MASTOSYNC_S3_SOURCE_BUCKET": "a"})

        with pytest.raises(ConfigError, match=re.escape("[s3.destination] bucket is missing")) as caught:
            config.require_stores()
        assert "MASTOSYNC_S3_DESTINATION_BUCKET" in caught.value.hint
        assert "./private/config.ini" in caught.value.hint


class TestFinding:
    FILES = ("given.ini", "variable.ini", "private/named.ini", "config.ini", "private/config.ini")

    @pytest.mark.parametrize("first", range(len(FILES) + 1))
    def test_the_first_of_the_places_is_used(self, tmp_path: Path, first: int) -> None:
        (tmp_path / "private").mkdir()
        for name in self.FILES[first:]:
            (tmp_path / name).touch()
        named: dict[str, str] = {"MASTOSYNC_CONFIG": "variable.ini", "CONFIG_FILE_NAME": "named.ini"}
        environ = dict(list(named.items())[max(0, first - 1) :])

        found = find_config(Path("given.ini") if first == 0 else None, environ, tmp_path)

        assert found == (tmp_path / self.FILES[first] if first < len(self.FILES) else None)

    @pytest.mark.parametrize(
        ("explicit", "environ", "who"),
        [
            (Path("nowhere.ini"), {}, "-c"),
            (None, {"MASTOSYNC_CONFIG": "nowhere.ini"}, "MASTOSYNC_CONFIG"),
            (None, {"CONFIG_FILE_NAME": "nowhere.ini"}, "CONFIG_FILE_NAME"),
        ],
    )
    def test_a_named_file_that_does_not_exist_is_no_reason_to_take_another(
        self, tmp_path: Path, explicit: Path | None, environ: Mapping[str, str], who: str
    ) -> None:
        (tmp_path / "config.ini").touch()

        with pytest.raises(ConfigError, match=f"nowhere.ini does not exist, and {who} names it"):
            find_config(explicit, environ, tmp_path)

    def test_empty_variables_name_nothing(self, tmp_path: Path) -> None:
        assert find_config(None, {"MASTOSYNC_CONFIG": "", "CONFIG_FILE_NAME": ""}, tmp_path) is None

    def test_a_folder_in_the_place_of_the_file_is_not_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "config.ini").mkdir()

        with pytest.raises(ConfigError, match="is a folder"):
            load_config(find_config(None, {}, tmp_path), {})

    def test_an_absolute_path_is_used_as_it_is(self, tmp_path: Path) -> None:
        file = tmp_path / "x.ini"
        file.touch()

        assert find_config(None, {"MASTOSYNC_CONFIG": str(file)}, tmp_path / "elsewhere") == file

    def test_the_file_may_be_a_pipe(self, tmp_path: Path) -> None:
        """`mastosync -c <(decrypt config)`"""
        read_end, write_end = os.pipe()
        os.write(write_end, OLD_TOOL.encode())
        os.close(write_end)
        try:
            path = find_config(Path(f"/dev/fd/{read_end}"), {}, tmp_path)
            assert load_config(path, {}).warnings == ()
        finally:
            os.close(read_end)
