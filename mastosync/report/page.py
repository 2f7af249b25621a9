"""The final report as one file of HTML, to be kept: it has no script, loads nothing, and reads well on paper."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync import __version__
from mastosync.findings import Finding, Grade
from mastosync.language import spoken, tr
from mastosync.report import DIGEST_NAME, NOT_YET, moment
from mastosync.report.markup import Markup, joined, prose, stylesheet, tag, terms
from mastosync.report.sections import (
    contents_section,
    failures_section,
    history_section,
    pace_section,
    verifications_section,
)
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.report import Report

_EXPORT_DIGEST = """mastosync manifest export | jq -r 'select(.key) |
  [(.key | @base64), .state, .reason, .size, .md5, (.etag // "" | @base64)] | join(" ")' | sha256sum"""


def render_page(report: Report) -> str:
    """The document."""
    body = tag(
        "main",
        _title(report),
        _verdict(report),
        _figures(report),
        contents_section(report),
        pace_section(report),
        history_section(report),
        failures_section(report),
        verifications_section(report),
        _digest(report),
        _foot(),
    )
    document = tag("html", _head(report), tag("body", body), lang=spoken() or "en")
    return f"<!DOCTYPE html>\n{document}\n"


def _head(report: Report) -> Markup:
    """What allows nothing but this style, by its digest, and no request at all."""
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name=DIGEST_NAME, content=report.contents.sha256),
        tag("title", tr("Report of a media migration: {name}", name=_name(report))),
        tag("style", style),
    )


@cache
def _style() -> Markup:
    return stylesheet(Path(__file__).with_name("report.css"))


def _name(report: Report) -> str:
    return f"{report.source.bucket} → {report.destination.bucket}"


def _title(report: Report) -> Markup:
    begin, end = report.period
    facts = {
        tr("Source"): str(report.source),
        tr("Destination"): str(report.destination),
        tr("Period"): tr("{begin} to {end} UTC", begin=moment(begin), end=moment(end)),
        tr("Report made"): f"{moment(report.made_at)} UTC",
    }
    return joined(
        (
            tag("h1", tr("Media migration: {name}", name=_name(report))),
            terms(facts),
        )
    )


def _verdict(report: Report) -> Markup:
    may_go = report.verdict.may_go
    if report.shared:
        headline = (
            tr("The old objects may be deleted, but not the bucket")
            if may_go
            else tr("Keep the old objects: see “not yet”")
        )
    elif report.source.is_folder:
        headline = tr("The old folder may be deleted") if may_go else tr("Keep the old folder: see “not yet”")
    else:
        headline = tr("The old store may be deleted") if may_go else tr("Keep the old store: see “not yet”")
    return tag(
        "section",
        tag("h2", headline, id="verdict"),
        None if report.shared else tag("p", str(report.source)),
        tag(
            "p",
            prose(
                tr(
                    "As far as this manifest knows. It knows no objects at the old store that no database row refers"
                    " to: `mastosync orphans` finds them."
                )
            ),
            class_="soft",
        ),
        tag("ul", *map(_finding, report.verdict.findings), class_="findings"),
        class_=f"verdict {Grade.OK if may_go else NOT_YET}",
        aria_labelledby="verdict",
    )


def _finding(finding: Finding) -> Markup:
    words = {Grade.OK: tr("✓ ok"), Grade.WARNING: tr("! note"), Grade.FAILURE: tr("✕ not yet")}
    grade = NOT_YET if finding.grade is Grade.FAILURE else finding.grade.value
    remedy = tag("div", prose(finding.remedy), class_="soft") if finding.remedy else None
    return tag(
        "li",
        tag("span", words[finding.grade], class_=f"grade {grade}"),
        tag("div", prose(finding.message), remedy),
    )


def _figures(report: Report) -> Markup:
    totals, copied, seconds = report.totals, report.copied, report.worked_seconds
    pace = tr("no copy yet")
    if seconds:
        each_second = human_bytes(copied.size_bytes / seconds)
        pace = tr("{objects}/s, {bytes}/s", objects=f"{copied.objects / seconds:,.1f}", bytes=each_second)
    figures = {
        tr("objects arrived"): f"{totals.done:,}",
        tr("bytes arrived"): human_bytes(totals.bytes_done),
        tr("pace of all copies"): pace,
        tr("failed"): f"{totals.failed:,}",
        tr("still to copy"): f"{totals.pending:,}",
        tr("time at work"): human_seconds(seconds),
    }
    return terms(figures, "figures")


def _digest(report: Report) -> Markup:
    return tag(
        "section",
        tag("h2", tr("Digest of the manifest")),
        tag("p", tag("code", f"sha256 {report.contents.sha256}")),
        tag(
            "p",
            prose(
                tr(
                    "Of {entries} entries: key, state, reason, size, MD5 and ETag of each. `mastosync report"
                    " --check FILE` says whether this report belongs to a manifest; so do jq and an export:",
                    entries=f"{report.contents.entries:,}",
                )
            ),
        ),
        tag("pre", *(piece for line in _EXPORT_DIGEST.splitlines() for piece in (line, Markup("\n")))),
    )


def _foot() -> Markup:
    return tag("footer", tr("Made by mastosync {version}.", version=__version__))
