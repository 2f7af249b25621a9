"""How values are written."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mastosync.config import (
    Secret,
    parse_size,
)
from mastosync.config.values import CHANGE_ME, show_size
from mastosync.model import TABLES
from tests.support.configurations import (
    Load,
)


class TestValues:
    @pytest.mark.parametrize(
        ("text", "size_bytes"),
        [
            ("16777216", 16777216),
            ("16777216B", 16777216),
            ("16MiB", 16777216),
            ("16 mib", 16777216),
            ("16M", 16777216),
            ("16MB", 16_000_000),
            ("1.5GiB", 1610612736),
            ("64k", 65536),
        ],
    )
    def test_a_size_is_read_as_written(self, text: str, size_bytes: int) -> None:
        assert parse_size(text) == size_bytes

    @pytest.mark.parametrize("text", ["", "MiB", "-1", "1e6", "16 MiBs", "1_000", "१६", "0x10", "16MiB 2"])
    def test_what_is_no_size_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="not a size"):
            parse_size(text)

    @given(st.integers(0, 2**49))
    def test_a_size_that_is_shown_is_read_back_exactly(self, size_bytes: int) -> None:
        assert parse_size(show_size(size_bytes)) == size_bytes

    @pytest.mark.parametrize(
        ("text", "types"),
        [
            ("accounts", ("accounts",)),
            ("custom_emojis,accounts", ("accounts", "custom_emojis")),
            ("accounts, custom_emojis backups", ("accounts", "custom_emojis", "backups")),
            ("accounts\n    custom_emojis", ("accounts", "custom_emojis")),
            ("all", TABLES),
            ("", TABLES),
        ],
    )
    def test_types_are_separated_by_commas_or_white_space(self, load: Load, text: str, types: tuple[str, ...]) -> None:
        assert load(f"[plan]\ntypes = {text}").plan.types == types

    @pytest.mark.parametrize(
        ("text", "enabled"), [("yes", True), ("ON", True), ("1", True), ("off", False), ("no", False)]
    )
    def test_a_switch_is_written_in_any_of_the_ways_of_ini_files(self, load: Load, text: str, enabled: bool) -> None:
        assert load(f"[pg.tunnel]\nenabled = {text}").tunnel.enabled is enabled

    def test_a_key_may_be_followed_by_a_colon_and_written_in_capitals(self, load: Load) -> None:
        assert load("[s3.source]\nBUCKET: media").source.bucket == "media"

    def test_an_indented_key_behind_an_empty_line_is_a_key(self, load: Load) -> None:
        copy = load("[copy]\nworkers = 4\n\n   max_attempts = 2").copy

        assert (copy.workers, copy.max_attempts) == (4, 2)

    def test_paths_may_start_at_home(self, load: Load) -> None:
        config = load("[manifest]\npath = ~/m.db\n[pg.tunnel]\nssh_key = ~no-such-user/key")

        assert config.manifest.path == Path.home() / "m.db"
        assert config.tunnel.ssh_key == Path("~no-such-user/key")

    # configparser strips outer white space; everything else of a line belongs to the value
    @given(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1)
        | st.text(string.punctuation + string.ascii_letters + " é😀", min_size=1)
    )
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_odd_characters_survive(self, load: Load, text: str) -> None:
        value = text.strip() or "%"
        assume(value != CHANGE_ME)

        config = load(f"[pg.database]\npassword = {value}\nuser: {value}")

        assert config.database.password == Secret(value)
        assert config.database.user == value

    @pytest.mark.parametrize(
        "value", ["#hash", "; semicolon", "= equals", "[brackets]", "%(host)s", "${HOME}", "'x'", "a  b"]
    )
    def test_characters_that_mean_something_elsewhere_are_taken_as_they_stand(self, load: Load, value: str) -> None:
        assert load(f"[pg.database]\npassword = {value}").database.password == Secret(value)
