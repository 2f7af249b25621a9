"""Which Pythons of a machine the unit tests run on, and what becomes of their result."""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

import pytest

from scripts import pythons
from scripts.pythons import ROOT, VERSIONS, Python, candidates, main, usable


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


def python(path: Path, version: str) -> Path:
    return program(path, f"echo {version}")


def test_the_one_that_runs_this_is_usable() -> None:
    found, objections = usable([(sys.version_info[:2], Path(sys.executable))])
    assert found == {sys.version_info[:2]: Python(Path(sys.executable), sys.version_info[:3])}
    assert objections == {}


def test_every_version_that_is_promised_is_looked_for() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg", "utf-8")
    classifiers = metadata["metadata"]["classifiers"].split("\n")
    promised = {line.rpartition(" ")[2] for line in classifiers if "Python :: 3." in line}
    assert promised <= {f"{major}.{minor}" for major, minor in VERSIONS}


def test_they_are_found_on_the_path_and_with_pyenv(tmp_path: Path) -> None:
    on_path = python(tmp_path / "a folder" / "python3.12", "3 12 9")
    python(tmp_path / "a folder" / "python3.8", "3 8 1")
    kept = python(tmp_path / "home/.pyenv/versions/3.13.0/bin/python3", "3 13 0")
    assert list(candidates({"PATH": str(on_path.parent), "HOME": str(tmp_path / "home")})) == [
        ((3, 12), on_path),
        ((3, 13), kept),
    ]
    elsewhere = {"PATH": "", "HOME": "/nowhere", "PYENV_ROOT": str(tmp_path / "home/.pyenv")}
    assert list(candidates(elsewhere)) == [((3, 13), kept)]


def test_the_newest_of_each_version_is_taken_and_none_that_is_too_old(tmp_path: Path) -> None:
    old, new = python(tmp_path / "old", "3 12 9"), python(tmp_path / "new", "3 12 10")
    programs = (old, new, old, python(tmp_path / "ancient", "3 10 13"))
    found, objections = usable([((3, 12), each) for each in programs])
    assert found == {(3, 12): Python(new, (3, 12, 10))}
    assert objections == {}


def test_one_that_makes_no_environments_is_named_with_its_reason(tmp_path: Path) -> None:
    bare = program(tmp_path / "python3.12", "echo 'ModuleNotFoundError: ensurepip' >&2; exit 1")
    found, objections = usable([((3, 12), bare), ((3, 13), tmp_path / "gone")])
    assert found == {}
    assert objections[3, 12] == f"{bare} makes no environments: ModuleNotFoundError: ensurepip"
    assert objections[3, 13].startswith(f"{tmp_path / 'gone'} does not run: ")


@pytest.mark.parametrize(("failing", "code"), [((), 0), (((3, 13),), 1), (((3, 11),), 1)])
def test_one_failure_is_enough_and_keeps_no_other_from_its_turn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: tuple[tuple[int, int], ...], code: int
) -> None:
    there = {version: Python(Path("/python"), (*version, 1)) for version in ((3, 11), (3, 13))}
    asked = []

    def passes(python: Python, arguments: list[str]) -> bool:
        asked.append((python.version, arguments))
        return python.version[:2] not in failing

    monkeypatch.setattr(
        pythons, "usable", lambda _: (there, {(3, 12): "/other makes no environments", (3, 13): "/shim: not found"})
    )
    monkeypatch.setattr(pythons, "passes", passes)
    assert main(["-q"]) == code
    assert asked == [((3, 11, 1), ["-q"]), ((3, 13, 1), ["-q"])]
    told = capsys.readouterr().out
    assert "Python 3.12: skipped: /other makes no environments\n" in told
    assert "Python 3.14: skipped: there is none here\n" in told
    assert "/shim" not in told, "there is another that does"
    assert told.count("FAILED") == len(failing)


def test_no_python_at_all_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "usable", lambda _: ({}, {}))
    assert main([]) == 1


def test_others_than_the_one_that_runs_it_have_their_turn_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All tests have run on that one before, where everything is run."""
    ours = sys.version_info[:2]
    there = {version: Python(Path("/python"), (*version, 1)) for version in VERSIONS}
    asked = []

    def passes(python: Python, arguments: list[str]) -> bool:
        asked.append((python.version[:2], arguments))
        return True

    monkeypatch.setattr(pythons, "usable", lambda _: (there, {}))
    monkeypatch.setattr(pythons, "passes", passes)
    assert main(["--others", "-q"]) == 0
    assert asked == [(version, ["-q"]) for version in VERSIONS if version != ours]
    told = capsys.readouterr().out
    assert f"Python {ours[0]}.{ours[1]}.1: left out: it is the one of .venv\n" in told


def test_a_machine_that_has_no_other_has_none_to_fail_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "usable", lambda _: ({sys.version_info[:2]: Python(Path("/python"), (3, 11, 1))}, {}))
    assert main(["--others"]) == 0
