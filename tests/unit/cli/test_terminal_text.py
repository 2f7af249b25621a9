"""Words of others, as they may be shown."""

from __future__ import annotations

import io
import json
import logging
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastosync.cli.commands.doctor import render_findings
from mastosync.cli.logs import logging_to
from mastosync.cli.terminal import table
from mastosync.doctor.checks import Reporter
from mastosync.findings import CheckSubject
from mastosync.progress import LineProgress, NoProgress
from mastosync.terminal_text import as_json, one_line, several_lines

HOSTILE = {
    "a line feed": "a\nb",
    "a carriage return": "a\rb",
    "the next line of C1": "a\x85b",
    "a line separator": "a\u2028b",
    "a paragraph separator": "a\u2029b",
    "a vertical tab": "a\x0bb",
    "a form feed": "a\x0cb",
    "a colour": "\x1b[31mred\x1b[0m",
    "a title of the window": "\x1b]0;owned\x07",
    "a command of C1": "\x9b2J",
    "a backspace": "safe\x08\x08\x08\x08evil",
    "NUL": "a\0b",
    "DEL": "a\x7fb",
    "a turn to the left": "gnp.\u202egpj.exe",
    "an isolate": "a\u2066b\u2069",
    "a mark": "a\u200fb",
    "an Arabic mark": "a\u061cb",
    "half of a character": "a\ud83db",
}
LOGGED = {name: text for name, text in HOSTILE.items() if name != "half of a character"}
"""What pytest captures of a log it sends to another process, which this would end."""

HARMLESS = (
    "a b",
    "été à Paris (1).JPG",
    "写真.最終版.jpg",
    "👩‍👩‍👧 🏳️‍🌈",
    "e\u0301",
    "עברית",
    "\u3000",
    "a\\nb",
    "~`|'\"",
)


def moves_a_terminal(text: str) -> bool:
    """Whether anything but printing happens, judged by Unicode and not by the code under test."""
    kinds = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")
    return bool(kinds.search(text))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_does_more_than_to_be_read_is_spelled_out(text: str) -> None:
    shown = one_line(text)
    assert not moves_a_terminal(shown)
    assert len(shown.splitlines()) == 1
    shown.encode()  # it can be written


@pytest.mark.parametrize("text", HARMLESS)
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert one_line(text) == several_lines(text) == text


def test_lines_stay_lines_where_they_are_meant() -> None:
    assert several_lines("one\ntwo\x1b[1m\r\n") == "one\ntwo\\x1b[1m\\r\n"


@given(st.text(st.characters(exclude_categories=[])))
def test_whatever_is_shown_is_one_line_that_can_be_written(text: str) -> None:
    shown = one_line(text)
    assert not moves_a_terminal(shown)
    assert one_line(shown) == shown
    shown.encode()


@given(st.dictionaries(st.text(), st.text(st.characters(exclude_categories=[])), max_size=3))
def test_json_says_exactly_what_was_and_is_as_harmless(value: dict[str, str]) -> None:
    told = as_json(value)
    assert json.loads(told) == value
    assert not moves_a_terminal(told)
    assert len(told.splitlines()) == 1
    assert json.loads(as_json(value, indent=2)) == value


# --- the places where it leaves ---


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("text", LOGGED.values(), ids=LOGGED)
def test_a_key_forges_no_record_of_the_log(tmp_path: Path, form: str, text: str) -> None:
    path = tmp_path / "log"
    with logging_to(path, form, 0, NoProgress()):
        logging.getLogger("mastosync.test").warning("failed: %s", text, extra={"about": {"key": text}})
    written = path.read_bytes().decode()
    assert written.endswith("\n")
    (line,) = written[:-1].splitlines()
    assert not moves_a_terminal(line)
    if form == "json":
        assert json.loads(line)["key"] == text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nor_a_message_to_people(text: str) -> None:
    shown = io.StringIO()
    LineProgress(shown).message(f"failed: {text}")
    assert not moves_a_terminal(shown.getvalue().removesuffix("\n"))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nor_a_line_of_a_table_or_of_the_doctor(text: str) -> None:
    rows = table(("name", "objects"), [(text, "1"), ("plain", "2")]).split("\n")
    assert len(rows) == 3
    assert not any(map(moves_a_terminal, rows))
    found = render_findings([Reporter(CheckSubject.SOURCE).warning("bucket", text, "do this")]).split("\n")
    assert len(found) == 4
    assert not any(map(moves_a_terminal, found))
