"""CONTRIBUTING.md names files and targets that there are."""

from __future__ import annotations

import re

import pytest

from tests.unit.test_docs import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
ROWS = {what: where for what, where in re.findall(r"^\| (.+?) \| (.+) \|$", TEXT, re.MULTILINE) if what != "to add"}
A_PATH = re.compile(r"(?:[\w.*]+/)+[\w.*]*|[\w*]+\.(?:py|md|cfg|sql)")
STANDS_FOR = re.compile(r"\b(?:NAME|XX)\b|(?<=/v)N(?=\.)")
"""What is to be put in: any name, a language, the number of a version."""


def paths_in(row: str) -> list[str]:
    return [found for quoted in re.findall(r"`([^`]+)`", row) for found in A_PATH.findall(quoted)]


def is_there(path: str) -> bool:
    pattern = STANDS_FOR.sub("*", path).rstrip("/")
    return any(next(top.glob(pattern), None) is not None for top in (ROOT, ROOT / "mastosync"))


@pytest.mark.parametrize("what", ROWS)
def test_the_files_to_go_to_exist(what: str) -> None:
    paths = paths_in(ROWS[what])
    assert paths, "where to go is a file or a folder"
    assert [path for path in paths if not is_there(path)] == []


def test_whatever_is_added_often_has_its_row() -> None:
    subjects = ("a provider", "an option", "a field of an outcome", "a line that a command prints", "a column")
    others = (
        "something to say",
        "a language",
        "a check of `doctor`",
        "a page of docs",
        "a command",
        "a configuration key",
    )
    assert [one for one in (*subjects, *others) if not any(what.startswith(one) for what in ROWS)] == []


def test_a_path_that_is_not_there_would_be_found() -> None:
    assert paths_in("a line in `cli/main.py`, then `make x > tests/support/vN.sql`") == [
        "cli/main.py",
        "tests/support/vN.sql",
    ]
    assert is_there("locale/XX/LC_MESSAGES/mastosync.po")
    assert is_there("cli/commands/NAME.py")
    assert not is_there("cli/commands/nothing.py")


def test_every_target_is_listed_with_words_of_its_own_and_none_that_is_not_there() -> None:
    targets = dict(re.findall(r"^([a-z-]+):.*?## (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(phony.split()) == targets.keys()
    assert set(re.findall(r"\bmake ([a-z-]+)", re.sub(r"and make are enough", "", TEXT))) <= targets.keys()
