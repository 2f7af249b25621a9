"""The report as HTML: whatever keys and errors hold, it is one harmless file, and says what the JSON says."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mastosync.app import report as reports
from mastosync.cli.commands.report import render_report
from mastosync.manifest import newest_version
from mastosync.model import EntryState
from mastosync.report import Report, RunPace
from mastosync.report.markup import Markup, round_marks, tag, time_marks
from mastosync.report.page import render_page
from mastosync.units import human_bytes
from tests.support.manifest_versions import restored
from tests.support.report_evidence import DAY, HOUR, NOON, context, steadily

HOSTILE = "</script><img src=//evil.example onerror=\"alert('1')\"><!-- &amp; ]]> \x00\x1b[31m\u202e\ud800 {0} %s"
VOID = {"meta"}


class Document(HTMLParser):
    """What a browser would see: elements with their attributes, all text, tables and SVG."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.styles: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == [], "every element has its end"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles.append(data)
            return
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def table(self, *head: str) -> list[list[str]]:
        """The rows of the table that begins with these columns."""
        return next(rows[1:] for rows in self.tables if tuple(rows[0][: len(head)]) == head)


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Of a manifest with something of everything, in which strangers have said what they can."""
    path = restored(newest_version(), tmp_path / "m.db")
    with closing(sqlite3.connect(path)) as connection:
        said = HOSTILE.replace("\ud800", "")
        connection.execute("UPDATE entries SET name = ? || id, detail = ? WHERE state = 2", (said, said))
        connection.execute("UPDATE meta SET value = replace(value, 'old-media', '<b>old&')")
        connection.commit()
    report = reports.report(context(path), failures=50)
    hostile = {**report.failures[0], "key": HOSTILE, "detail": HOSTILE}
    report.totals.failed += 1
    return replace(report, failures=[*report.failures, hostile])


@pytest.fixture
def page(report: Report) -> str:
    return render_page(report)


@pytest.fixture
def document(page: str) -> Document:
    return Document(page)


def test_it_has_no_script_and_asks_nobody_for_anything(page: str, document: Document) -> None:
    names = {name for name, _ in document.elements}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "a", "form", "base", "image", "use", "b"}
    for _, attributes in document.elements:
        assert not [
            name for name in attributes if name.startswith("on") or name in ("href", "src", "style", "xlink:href")
        ]
    (style,) = document.styles
    assert not re.search(r"url\(|@import|expression|<", style)
    policy = next(
        each["content"] for _, each in document.elements if each.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')


def test_what_strangers_say_is_told_as_text(page: str, document: Document) -> None:
    text = "".join(document.text)
    assert "</script><img src=//evil.example onerror=\"alert('1')\"><!-- &amp; ]]> " in text
    assert "<img" not in page
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", page)
    assert "\\x1b[31m\\u202e\\ud800" in text
    page.encode()


def test_ids_are_unique_and_what_is_named_is_there(document: Document) -> None:
    ids = [each["id"] for _, each in document.elements if "id" in each]
    assert len(ids) == len(set(ids))
    named = [name for _, each in document.elements for name in (each.get("aria-labelledby") or "").split()]
    assert named
    assert set(named) <= set(ids)


def drawings(page: str) -> list[ET.Element]:
    """Every SVG, as XML."""
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]  # noqa: S314


def test_every_chart_is_well_formed_and_says_what_it_shows(page: str) -> None:
    charts = [svg for svg in drawings(page) if svg.get("role") == "img"]
    assert len(charts) == 5
    for svg in charts:
        assert (svg[0].tag, svg[1].tag) == ("title", "desc")
        assert svg[0].text
        assert svg[1].text
        assert svg.get("aria-labelledby") == f"{svg[0].get('id')} {svg[1].get('id')}"
    assert all(svg.get("aria-hidden") for svg in drawings(page) if svg.get("role") != "img")


def test_nothing_is_drawn_outside_of_a_chart(page: str) -> None:
    for svg in drawings(page):
        _, _, width, height = map(float, (svg.get("viewBox") or "").split())
        for each in svg.iter():
            at, size = float(each.get("x", 0)), float(each.get("width", 0))
            assert 0 <= at <= at + size <= width + 0.02
            for name in ("y", "y1", "y2"):
                assert 0 <= float(each.get(name, 0)) <= height
            points = [point.split(",") for point in each.get("points", "").split()]
            assert all(0 <= float(x) <= width and 0 <= float(y) <= height for x, y in points)


def test_its_figures_are_those_of_the_json(report: Report, document: Document) -> None:
    told = report.as_json()
    rows = document.table("type", "rows", "pending")
    total = [f"{told['totals'][name]:,}" for name in (*EntryState, "total")]
    assert rows[-1] == ["total", "", *total, human_bytes(told["totals"]["bytes_done"])]
    for state, column in zip(EntryState, range(2, 6), strict=True):
        for table in {row[0] for row in rows[:-1]}:
            counted = sum(each["objects"] for each in told["counts"] if (each["type"], each["state"]) == (table, state))
            assert counted == sum(int(row[column].replace(",", "")) for row in rows if row[0] == table)
    runs = document.table("run")
    assert [row[4:7] for row in runs[:-1]] == [
        [str(run["done"]), str(run["failed"]), str(run["skipped"])] for run in told["runs"]
    ]
    origins = document.table("way")
    assert origins == [
        [name, f"{each['objects']:,}", human_bytes(each["bytes"])] for name, each in told["origins"].items()
    ]
    assert len(document.table("reason", "key, and the last error")) == len(told["failures"]["listed"])
    (digest,) = (each["content"] for _, each in document.elements if each.get("name") == "mastosync-manifest-sha256")
    assert digest == told["digest"]["sha256"]
    verdict = "".join(document.text)
    assert all(each["message"].replace("`", "") in verdict for each in told["verdict"]["findings"])


def test_the_text_tells_the_same_and_moves_no_terminal(report: Report) -> None:
    text = render_report(report)
    assert report.contents.sha256 in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", text)
    assert "KEEP THE OLD STORE" in text


def test_what_is_left_out_is_told(report: Report) -> None:
    some = replace(report, failures=report.failures[:2], runs=[steadily(NOON, 60, 5)] * 70)
    text = "".join(Document(render_page(some)).text)
    assert f"{report.totals.failed - 2} more are listed by" in text
    assert "20 earlier ones are left out" in text
    assert f"and {report.totals.failed - 2} more" in render_report(some)
    assert "60 earlier ones" in render_report(some)


@pytest.mark.parametrize(
    "paces",
    [
        [],
        [RunPace(NOON, NOON + 1, 30.0, 1e6)],
        [RunPace(NOON, NOON + 0.01, 0.0, 0.0)],
        [
            RunPace(NOON + at * HOUR, NOON + (at + 1) * HOUR, at % 7, 10.0 ** (at / 40))
            for at in (0, 1, 2, 170, 171, 330)
        ],
        [RunPace(NOON, NOON + 3 * 365 * DAY, 1e9, 1e15)],
    ],
)
def test_any_pace_can_be_drawn(report: Report, paces: list[RunPace]) -> None:
    page = render_page(replace(report, paces=paces))
    test_nothing_is_drawn_outside_of_a_chart(page)
    Document(page)
    assert not re.search(r"\b(nan|inf)\b", "".join(re.findall(r"<svg.*?</svg>", page)))


def test_a_gap_is_no_line(report: Report) -> None:
    at_work = [RunPace(NOON + at * HOUR, NOON + (at + 1) * HOUR, 5.0, 5.0) for at in (0, 1, 100, 101, 102)]
    page = render_page(replace(report, paces=at_work))
    lines = [svg.findall("polyline") for svg in drawings(page) if svg.findall("polyline")]
    assert [len(each) for each in lines] == [2, 2]


def test_an_element_escapes_whatever_it_did_not_make() -> None:
    assert tag("p", "<\"&'", title='">', class_=None) == '<p title="&quot;&gt;">&lt;&quot;&amp;&#x27;</p>'
    assert tag("p", title=Markup('">')) == '<p title="&quot;&gt;"></p>'
    assert tag("p", tag("b", "<"), None, 7) == "<p><b>&lt;</b>7</p>"
    assert isinstance(tag("p"), Markup)
    assert tag("rect", x=1.0, y=2.345) == '<rect x="1" y="2.35"></rect>'
    assert tag("rect", x=100.0) == '<rect x="100"></rect>'


@pytest.mark.parametrize("highest", [0, 0.0003, 0.9, 1, 4, 99, 100, 101, 12_345, 9e15])
def test_marks_of_figures_are_round_and_few(highest: float) -> None:
    marks = round_marks(highest)
    assert marks[0] == 0
    assert marks[-1] >= highest
    assert 2 <= len(marks) <= 6
    step = marks[1]
    assert round(step / 10 ** math.floor(math.log10(step)), 6) in (1, 2, 2.5, 5)


@pytest.mark.parametrize("span", [0.01, 1, 7, 59, 61, 3_599, 5 * HOUR, DAY, 3 * DAY, 14 * DAY, 90 * DAY, 3_000 * DAY])
def test_marks_of_time_are_few_and_within(span: float) -> None:
    marks = time_marks(NOON + 1234.5, NOON + 1234.5 + span)
    assert 1 <= len(marks) <= 9
    assert all(NOON + 1234.5 <= at <= NOON + 1234.5 + span for at, _, _ in marks)
    assert all(before < after for (before, _, _), (after, _, _) in pairwise(marks))
    assert marks[0][2], "the first one tells the date"
    assert all(clock or date for _, clock, date in marks)
