"""Colours go to terminals that want them, and nowhere else; what programs read has none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mastosync.cli import terminal
from mastosync.cli.output import show
from mastosync.cli.terminal import Paint, coloured, paint, table
from mastosync.terminal_text import width_of
from tests.acceptance.test_forging import on_terminal
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.site import Site

GREEN, YELLOW, BOLD, END = "\x1b[32m", "\x1b[33m", "\x1b[1m", "\x1b[0m"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A manifest without stores, and somebody at an ordinary terminal."""
    planned(tmp_path / "mastosync.db", [entry()]).close()
    wishes = dict.fromkeys(("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"), "")
    return Site(tmp_path, environ={"MASTOSYNC_MANIFEST": "mastosync.db", "TERM": "xterm-256color", **wishes})


def test_a_terminal_has_colours_and_a_pipe_the_same_words_without(site: Site) -> None:
    told = on_terminal(site, "status")
    assert f"{BOLD}type{END}" in told
    assert re.search(f"accounts +{re.escape(YELLOW)}1{re.escape(END)} +0 +0 ", told), "a zero is nothing to look at"
    piped = site.run("status").stdout
    assert "\x1b" not in piped
    assert re.search(r"planned .* UTC \((\d+ seconds ago|a second ago|now)\), plan 1", piped)
    assert without_times(without_colours(told)) == without_times(piped)


@pytest.mark.parametrize(
    "wish", [{"NO_COLOR": "1"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, {"TERM": "dumb"}, {"CLICOLOR": "0"}], ids=str
)
def test_whoever_wants_none_gets_none(site: Site, wish: dict[str, str]) -> None:
    site.environ.update(wish)
    assert "\x1b" not in on_terminal(site, "status")


@pytest.mark.parametrize("wish", ["FORCE_COLOR", "CLICOLOR_FORCE"])
def test_a_pipe_has_them_on_request_but_never_what_programs_read(site: Site, wish: str) -> None:
    site.environ[wish] = "1"
    assert BOLD in site.run("status").stdout
    for arguments in (["status", "--json"], ["ls"], ["ls", "--format", "jsonl"], ["ls", "--format", "csv"]):
        assert "\x1b" not in site.run(*arguments).stdout
        assert "\x1b" not in on_terminal(site, *arguments)


def test_the_doctor_shows_how_bad_it_is(site: Site) -> None:
    site.configure(filesystem_source={"path": "nowhere"}, filesystem_destination={"path": "."})
    told = on_terminal(site, "doctor")
    assert f"{BOLD}source{END}" in told
    assert f"\x1b[31mfailure {END}" in told
    assert GREEN in told


# --- what is painted ---


@pytest.fixture
def in_colour(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal.shows_colours.cache_clear()
    yield
    terminal.shows_colours.cache_clear()


def without_times(text: str) -> str:
    return re.sub(r" \(.* ago\)| \(now\)", "", text)


def without_colours(text: str) -> str:
    return re.sub("\x1b\\[[0-9]+m", "", text)


@pytest.mark.usefixtures("in_colour")
def test_columns_of_wide_characters_are_straight() -> None:
    """As a terminal counts: Chinese, Japanese and emoji take two columns each, a mark on a letter takes none."""
    rows = [("アカウント", "1"), ("e\u0301te\u0301", "1,234"), ("🐘", "0"), ("plain", "12")]
    shown = coloured(table(("種類", "失敗"), rows, (None, Paint.BAD)))
    assert {width_of(without_colours(line)) for line in shown.split("\n")} == {width_of("アカウント") + 2 + 5}
    assert shown.split("\n")[0] == f"{BOLD}種類{END}{' ' * 6}  {' '}{BOLD}失敗{END}"


@pytest.mark.usefixtures("in_colour")
def test_nobody_else_can_colour_anything(capsys: pytest.CaptureFixture[str]) -> None:
    show(f"{paint('ours', Paint.GOOD)} \x1b[31mtheirs\x1b[0m")
    assert capsys.readouterr().out == f"{GREEN}ours{END} \\x1b[31mtheirs\\x1b[0m\n"
