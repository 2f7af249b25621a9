"""The docs are tested: every command, key and exit code stands where users look for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mastosync.cli.invocation import Invocation
from mastosync.cli.main import COMMANDS, cli
from mastosync.config import render_sample
from mastosync.config.schema import sections
from mastosync.doctor import CheckSubject
from mastosync.doctor.checks import Reporter
from mastosync.doctor.manifest import check_disk
from mastosync.errors import EXIT_CODE_MEANING, MastosyncError
from mastosync.model import MANIFEST_BYTES_PER_ENTRY, TABLES, Reason
from mastosync.terminal_text import width_of
from mastosync.units import human_bytes
from tests.unit.test_japanese_docs import parts_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command(name: str) -> click.Command:
    """A command by its words: `copy`, or `manifest check`."""
    found: click.Command = cli
    for word in name.split():
        assert isinstance(found, click.Group)
        within = found.get_command(click.Context(found), word)
        assert isinstance(within, click.Command)
        assert within.name == word
        found = within
    return found


def names(prefix: str = "") -> list[str]:
    """Every command that does something; of a group, what is in it."""
    group = command(prefix)
    if not isinstance(group, click.Group):
        return [prefix]
    return [name for word in group.list_commands(click.Context(group)) for name in names(f"{prefix} {word}".strip())]


def test_every_command_is_looked_at() -> None:
    assert {name.split()[0] for name in names()} == COMMANDS.keys()


@pytest.mark.parametrize("name", names())
def test_every_command_is_documented_and_has_help(name: str) -> None:
    assert f"`mastosync {name}`" in README
    found = command(name)
    assert found.help
    for option in found.params:
        if isinstance(option, click.Argument):
            assert (option.metavar or option.human_readable_name) in found.help, f"{name} {option.opts}"
        else:
            assert isinstance(option, click.Option)
            assert option.help, f"{name} {option.opts}"
    result = CliRunner().invoke(cli, [*name.split(), "--help"], obj=Invocation({}))
    assert result.exit_code == 0
    assert name in result.output


def test_the_defaults_that_help_tells_are_those_of_the_configuration() -> None:
    helps = {
        option.help or "" for name in names() for option in command(name).params if isinstance(option, click.Option)
    }
    told = {match for text in helps for match in re.findall(r"\[default: ([^\[,]+), or \[(\w+)\] (\w+)\]", text)}
    keys = {(section, key): sections()[section].keys[key] for _, section, key in told}
    assert {("copy", "workers"), ("copy", "order"), ("copy", "bwlimit"), ("follow", "every")} == keys.keys()
    assert told == {(key.info.form.show(key.default), *place) for place, key in keys.items()}


def test_the_help_lists_every_command_and_exit_code() -> None:
    output = CliRunner().invoke(cli, ["--help"], obj=Invocation({})).output
    assert all(name in output for name in COMMANDS)
    assert all(re.search(rf"^  {int(code)} ", output, re.MULTILINE) for code in EXIT_CODE_MEANING)


def test_the_readme_has_the_table_of_exit_codes() -> None:
    for code, meaning in EXIT_CODE_MEANING.items():
        assert f"| {int(code)} | {meaning} |" in README


def test_every_error_has_an_exit_code_of_the_table() -> None:
    def subclasses(cls: type[MastosyncError]) -> set[type[MastosyncError]]:
        return {cls}.union(*(subclasses(each) for each in cls.__subclasses__()))

    assert {error.exit_code for error in subclasses(MastosyncError)} <= EXIT_CODE_MEANING.keys()


def test_the_readme_names_every_type_and_reason() -> None:
    assert all(f"`{table}`" in README for table in TABLES)
    assert all(f"`{reason.value}`" in README for reason in Reason)


def test_every_key_is_in_the_sample_with_an_explanation() -> None:
    sample = (ROOT / "config.sample.ini").read_text(encoding="utf-8")
    assert sample == render_sample(), "renew it with `make sample`"
    for name, section in sections().items():
        assert f"[{name}]" in sample
        for key, declared in section.keys.items():
            assert re.search(rf"^(# )?{key} =", sample, re.MULTILINE), f"[{name}] {key}"
            assert declared.info.meaning, f"[{name}] {key}"


def sections_and_keys(sample: str) -> list[str]:
    """The lines that are no comments, and those that a # turns off."""
    return re.findall(r"^(?:\[.*|(?:# )?[a-z_]+ =.*)$", sample, re.MULTILINE)


def test_the_sample_is_explained_in_japanese_as_well(speak: Callable[[str], None]) -> None:
    """In the same order, with the same values: only the comments differ, and none is left in English."""
    speak("ja")
    sample = (ROOT / "docs/ja/config.sample.ini").read_text(encoding="utf-8")
    assert sample == render_sample(), "renew it with `make sample`"
    assert sections_and_keys(sample) == sections_and_keys((ROOT / "config.sample.ini").read_text(encoding="utf-8"))
    for paragraph in re.split(r"\n(?:#?\n)+", sample):
        comments = [line for line in paragraph.splitlines() if line not in sections_and_keys(paragraph)]
        assert not comments or not "".join(comments).isascii(), paragraph
    assert [line for line in sample.splitlines() if width_of(line) > 100 or line != line.rstrip()] == []


def test_the_readme_shows_the_two_commands() -> None:
    assert "    make demo\n    make test\n" in README


def test_the_disk_that_a_manifest_takes_is_one_figure_everywhere(tmp_path: Path) -> None:
    """The guide, the configuration, the design and `doctor`."""
    figure = f"{MANIFEST_BYTES_PER_ENTRY} bytes"
    places = {
        "docs/guide.md": f"about {figure} of disk for each object when all are done",
        "docs/design/interface.md": f"at {figure} and a quarter more",
        "config.sample.ini": f"about {figure} an object when all are done",
    }
    for name, said in places.items():
        assert said in (ROOT / name).read_text(encoding="utf-8"), name
    found = check_disk(Reporter(CheckSubject.MANIFEST), tmp_path / "m.db", 10**9)
    assert human_bytes(10**9 * MANIFEST_BYTES_PER_ENTRY * 1.25) in found.message


def test_every_file_and_heading_that_the_docs_link_to_exists() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target, part in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                place = (document.parent / target).resolve() if target else document
                assert place.exists(), f"{document.name}: {target}"
                known = parts_of(str(place.relative_to(ROOT))) if part else [part]
                assert part in known, f"{document.name}: {target} has no heading {part}"


def test_every_path_of_the_code_that_the_docs_name_exists() -> None:
    """Below the top, `mastosync/` or `tests/`, as the docs write them."""
    path = re.compile(r"(?<![\w/.-])((?:[a-z_0-9]+/)+[a-z_0-9]+\.(?:py|sql))\b")
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        if document.name == "CHANGELOG.md":
            continue
        for named in path.findall(document.read_text(encoding="utf-8")):
            assert any((ROOT / below / named).exists() for below in (".", "mastosync", "tests")), f"{document}: {named}"


PACKAGES = [
    path for path in sorted(ROOT.glob("mastosync/**/__init__.py")) if path.parent.name not in ("mastosync", "commands")
]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.parent.name)
def test_the_docstring_of_a_package_names_its_page(package: Path) -> None:
    pages = re.findall(r"docs/[\w/-]+\.md", package.read_text(encoding="utf-8"))
    assert pages
    assert all((ROOT / page).exists() for page in pages)


def test_pages_are_short_enough_to_be_read() -> None:
    lines = {page: page.read_text(encoding="utf-8").count("\n") for page in ROOT.glob("docs/design/*.md")}
    assert not {page.name: count for page, count in lines.items() if count > 150}
    assert (ROOT / "docs/architecture.md").read_text(encoding="utf-8").count("\n") <= 200
