"""How wide text is on a terminal, and where its lines are broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastosync.terminal_text import width_of, wrapped


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("plan", 4), ("計画", 4), ("ﾊﾝｶｸ", 4), ("が", 2), ("か\u3099", 2), ("é", 1), ("e\u0301", 1)],
)
def test_characters_of_east_asia_take_two_columns(text: str, width: int) -> None:
    assert width_of(text) == width


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("a --dry-run of it", ["a", "--dry-run", "of it"]),
        ("計画を立てる", ["計画を立て", "る"]),
        ("あいうえお、か", ["あいうえ", "お、か"]),
        ("あいうえ「か」", ["あいうえ", "「か」"]),
        ("移行先ストア", ["移行先", "ストア"]),
        ("全 `copy` を", ["全 `copy`", "を"]),
        ("unbreakable-word x", ["unbreakable-word", "x"]),
    ],
)
def test_lines_are_broken_where_it_reads_well(text: str, lines: list[str]) -> None:
    assert wrapped(text, 10) == lines


@given(st.text(st.sampled_from("abc 、。「」計画コピーっ(),.-`"), max_size=60), st.integers(4, 40))
def test_nothing_is_lost_but_spaces_at_the_ends_of_lines(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(line == line.rstrip() for line in lines)
