"""Where the figures of the fault lab go, and what they say of themselves."""

from __future__ import annotations

import re

import pytest

from faultlab.many import KINDS
from faultlab.report import REPORT, figures, with_figures
from faultlab.tally import Tally


def test_a_run_of_one_kind_leaves_the_figures_of_the_other_alone() -> None:
    text = REPORT.read_text(encoding="utf-8")
    both = with_figures(with_figures(text, "still", "of still days"), "moving", "of moving days")
    assert "of still days" in both
    assert "of moving days" in both
    assert with_figures(with_figures(both, "moving", "new"), "moving", "of moving days") == both
    assert len(both.splitlines()) < len(text.splitlines())


def test_figures_without_a_place_are_told() -> None:
    with pytest.raises(ValueError, match="still"):
        with_figures("a page without marks", "still", "figures")


def test_figures_name_the_command_and_the_commit_that_made_them() -> None:
    told = figures(Tally(scenarios=7), 1.5, "python -m faultlab --kind still --first 3 --runs 7", "1a2b3c4")
    assert "`python -m faultlab --kind still --first 3 --runs 7`" in told
    assert "commit 1a2b3c4" in told
    assert "| scenarios | 7 |" in told


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_says_how_its_figures_were_made(kind: str) -> None:
    page = REPORT.read_text(encoding="utf-8")
    block = re.search(f"<!-- begin of figures of {kind} days.*?<!-- end of figures of {kind} days -->", page, re.DOTALL)
    assert block
    assert re.search(rf"^\d{{4}}-\d\d-\d\d, .*`python -m faultlab --kind {kind} ", block[0], re.MULTILINE)
