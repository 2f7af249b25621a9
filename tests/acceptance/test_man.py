"""The manual page: made of the help, and read by those who read such pages."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mastosync.errors import EXIT_CODE_MEANING
from tests.support.site import Site
from tests.unit.test_docs import command, names


@pytest.fixture
def site(tmp_path: Path) -> Site:
    environ = {"XDG_DATA_HOME": str(tmp_path / "data"), "MANPATH": str(tmp_path / "data" / "man"), "LC_ALL": "C.UTF-8"}
    return Site(tmp_path, environ=environ)


@pytest.fixture
def page(site: Site) -> str:
    return site.run("man").stdout


def words_of(text: str) -> str:
    """The same words, whatever stands between them."""
    return " ".join(text.replace("`", "").split())


def rendered(page: str, line: str = "400n") -> str:
    """As a reader has it; by default in lines long enough to be looked for."""
    if shutil.which("groff") is None:
        pytest.skip("there is no groff here")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-Kutf8", f"-rLL={line}", "-P-cbou"],
        input=page,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return words_of(done.stdout)


def test_every_command_is_there_with_its_help_and_options(page: str) -> None:
    told = rendered(page)
    for name in names():
        found = command(name)
        assert f"mastosync {name}" in told
        for paragraph in (found.help or "").split("\n\n"):
            assert words_of(paragraph) in told, name
        for param in found.params:
            help_text = getattr(param, "help", None)
            assert help_text is None or words_of(help_text) in told, f"{name} {param.opts}"
    for code, meaning in EXIT_CODE_MEANING.items():
        assert f"{int(code)} {meaning}" in told
    assert "MASTOSYNC_S3_SOURCE_SECRET_KEY" in told


def test_the_sections_are_those_of_every_page(page: str) -> None:
    sections = re.findall(r"^\.SH (.*)$", page, re.MULTILINE)
    expected = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES"]
    assert sections == expected


def test_what_is_copied_from_it_can_be_typed(page: str) -> None:
    """A hyphen stays one, and no quotation mark becomes a pretty one."""
    told = rendered(page, "80n")
    assert "--no-progress" in told
    assert not set("\u2010\u2212\u2013\u2018\u2019\u201c\u201d\u02c6\u02dc") & set(told)


def test_mandoc_has_no_complaint_but_of_style(page: str) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("there is no mandoc here")
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning"], input=page, capture_output=True, text=True, check=False)
    told = [line for line in done.stdout.splitlines() if "missing date" not in line]  # of which release is the page
    assert told == []


def test_it_is_put_where_man_looks(site: Site, page: str) -> None:
    path = site.folder / "data" / "man" / "man1" / "mastosync.1"
    assert f"wrote {path}" in site.run("man", "--install").stdout
    assert path.read_text() == page
    assert "is already up to date" in site.run("man", "--install").stdout
    if shutil.which("man"):
        found = subprocess.run(
            ["man", "-w", "mastosync"], env=site.environment(), capture_output=True, text=True, check=False
        )
        assert found.stdout.strip() == str(path), found.stderr
