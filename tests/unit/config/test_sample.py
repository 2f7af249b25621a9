"""The sample configuration."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mastosync.config import (
    DatabaseConfig,
    S3Config,
    Secret,
    render_sample,
)
from mastosync.config.values import CHANGE_ME, Key
from mastosync.errors import ConfigError
from tests.support.configurations import (
    ALL_KEYS,
    ROOT,
    Load,
)


def filled_in(sample: str) -> str:
    return sample.replace("endpoint_url = CHANGE-ME", "endpoint_url = https://s3.test").replace("CHANGE-ME", "x")


class TestSample:
    def test_the_file_of_the_repository_is_what_is_rendered(self) -> None:
        """To write it anew: python -c "from mastosync.config import render_sample as r; print(r(), end='')" """
        assert (ROOT / "config.sample.ini").read_text(encoding="utf-8") == render_sample()

    def test_it_loads_once_the_placeholders_are_filled_in(self, load: Load) -> None:
        config = load(filled_in(render_sample()))

        assert config.absent == frozenset()
        assert all(isinstance(store, S3Config) and store.bucket == "x" for store in config.require_stores())
        assert config.require_database().password == Secret("x")

    def test_it_does_not_load_before(self, load: Load) -> None:
        with pytest.raises(ConfigError, match="CHANGE-ME"):
            load(render_sample())

    def test_what_is_commented_out_is_the_default(self, load: Load) -> None:
        sample = filled_in(render_sample())
        uncommented = re.sub(r"^# ([a-z_]+ =)", r"\1", sample, flags=re.MULTILINE)

        assert uncommented.count("\n# ") < sample.count("\n# ")
        assert load(uncommented) == load(sample)

    @pytest.mark.parametrize("key", ALL_KEYS, ids=lambda key: key.variable)
    def test_every_key_is_there_with_an_explanation(self, key: Key) -> None:
        body = render_sample().partition(f"\n[{key.section}]\n")[2].partition("\n[")[0]
        paragraph = next(text for text in body.split("\n\n") if re.search(rf"^(# )?{key.name} =", text, re.MULTILINE))

        assert paragraph.startswith("# ")
        assert not re.match(r"# [a-z_]+ =", paragraph)
        assert key.info.meaning

    def test_no_line_is_too_wide_or_ends_in_white_space(self) -> None:
        for line in render_sample().splitlines():
            assert len(line) <= 100
            assert line == line.rstrip()

    def test_values_are_filled_in_and_the_rest_of_their_section_is_left_at_its_defaults(self, load: Load) -> None:
        values = {
            "s3.source": {"bucket": "a", "key_prefix": "p"},
            "s3.destination": {"bucket": "b", "key_prefix": ""},
            "pg.database": {"user": "me"},
        }

        config = load(render_sample(values))

        assert (config.source.bucket, config.source.access_key, config.source.key_prefix) == ("a", None, "p")
        assert (config.destination.bucket, config.destination.key_prefix) == ("b", "")
        assert config.database == DatabaseConfig(user="me")

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_a_filled_in_value_is_read_back_or_refused(self, load: Load, text: str) -> None:
        assume(text != CHANGE_ME)
        values = {"s3.source": {"bucket": "a"}, "s3.destination": {"bucket": "b"}, "pg.database": {"password": text}}
        if text != text.strip() or "\n" in text or "\r" in text:
            with pytest.raises(ConfigError, match=re.escape("[pg.database] password")):
                render_sample(values)
        else:
            password = load(render_sample(values)).database.password
            assert (password.reveal() if password else "") == text

    @pytest.mark.parametrize("values", [{"s3.sorce": {}}, {"copy": {"colour": "red"}}, {"s3.source": {"acl": "auto"}}])
    def test_values_for_what_does_not_exist_are_refused(self, values: dict[str, dict[str, str]]) -> None:
        with pytest.raises(ValueError, match="unknown"):
            render_sample(values)
