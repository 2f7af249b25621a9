"""What `make dist` finds wrong with a wheel and an sdist, before anybody installs them."""

from __future__ import annotations

import configparser
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mastosync import __version__
from scripts.dist import FULL_NAME, ROOT, SDIST, WHEEL, Expected, sdist_faults, wheel_faults

MIGRATION = "mastosync/manifest/migrations/0001_initial.sql"
COMPILED = "mastosync/locale/ja/LC_MESSAGES/mastosync.mo"
ABOUT = f"{FULL_NAME}.dist-info"
Files = dict[str, bytes]


@pytest.fixture
def expected() -> Expected:
    other = {name: (ROOT / name).read_bytes() for name in ("LICENSE", "README.md", "pyproject.toml", "setup.cfg")}
    package = {
        "mastosync/__init__.py": b"",
        "mastosync/py.typed": b"",
        MIGRATION: b"CREATE TABLE entries (id);",
        "mastosync/report/report.css": b"body {}",
        "mastosync/locale/ja/LC_MESSAGES/mastosync.po": b"#",
    }
    return Expected(package, frozenset({COMPILED}), {**other, "setup.py": b"build()"})


def metadata() -> bytes:
    about = configparser.ConfigParser()
    about.read(ROOT / "setup.cfg", "utf-8")
    lines = [
        "Metadata-Version: 2.4",
        "Name: mastosync",
        f"Version: {__version__}",
        f"Summary: {about['metadata']['description']}",
        "License-Expression: MIT",
        "License-File: LICENSE",
        f"Requires-Python: {about['options']['python_requires']}",
        "Description-Content-Type: text/markdown",
        *(f"Requires-Dist: {line}" for line in about["options"]["install_requires"].split("\n") if line),
        'Requires-Dist: twine>=6; extra == "dist"',
    ]
    return "\n".join([*lines, "", (ROOT / "README.md").read_text("utf-8")]).encode()


def faults_of_wheel(folder: Path, expected: Expected, change: Callable[[Files], object]) -> list[str]:
    files = {
        **expected.package,
        COMPILED: b"compiled",
        f"{ABOUT}/licenses/LICENSE": expected.other["LICENSE"],
        f"{ABOUT}/METADATA": metadata(),
        f"{ABOUT}/entry_points.txt": b"[console_scripts]\nmastosync = mastosync.cli.main:main\n",
        **dict.fromkeys((f"{ABOUT}/WHEEL", f"{ABOUT}/RECORD", f"{ABOUT}/top_level.txt"), b""),
    }
    change(files)
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return list(wheel_faults(folder / WHEEL, expected))


def faults_of_sdist(folder: Path, expected: Expected, change: Callable[[Files], object]) -> list[str]:
    files = {
        **expected.package,
        **expected.other,
        "PKG-INFO": metadata(),
        "setup.cfg": expected.other["setup.cfg"] + b"\n[egg_info]\ntag_build =\n",
        "mastosync.egg-info/SOURCES.txt": b"",
    }
    change(files)
    with tarfile.open(folder / SDIST, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{FULL_NAME}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return list(sdist_faults(folder / SDIST, expected))


def without(name: str) -> Callable[[Files], object]:
    return lambda files: files.pop(name)


def having(name: str, data: bytes = b"x") -> Callable[[Files], object]:
    return lambda files: files.update({name: data})


def saying(name: str, old: bytes, new: bytes) -> Callable[[Files], object]:
    return lambda files: files.update({name: files[name].replace(old, new)})


def test_both_are_well_as_setuptools_makes_them(tmp_path: Path, expected: Expected) -> None:
    assert faults_of_wheel(tmp_path, expected, lambda _: None) == []
    assert faults_of_sdist(tmp_path, expected, lambda _: None) == []
    assert faults_of_sdist(tmp_path, expected, having(COMPILED)) == []


METADATA = f"{ABOUT}/METADATA"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (without(MIGRATION), f"{MIGRATION} is missing"),
        (without("mastosync/report/report.css"), "mastosync/report/report.css is missing"),
        (without("mastosync/py.typed"), "mastosync/py.typed is missing"),
        (having(MIGRATION), f"{MIGRATION} has another content"),
        (having("tests/unit/test_dist.py"), "tests/unit/test_dist.py should not be there"),
        (having("mastosync/test_more.py"), "mastosync/test_more.py should not be there"),
        (having("scripts/demo.py"), "scripts/demo.py should not be there"),
        (having("benchmarks/plan.py"), "benchmarks/plan.py should not be there"),
        (having("setup.py"), "setup.py should not be there"),
        (without(COMPILED), f"{COMPILED} is missing: it is compiled from a .po"),
        (having(COMPILED, b""), f"{COMPILED} is empty"),
        (having(f"{ABOUT}/licenses/LICENSE"), f"{ABOUT}/licenses/LICENSE is not our license"),
        (without(f"{ABOUT}/licenses/LICENSE"), f"{ABOUT}/licenses/LICENSE is missing"),
        (having(f"{ABOUT}/entry_points.txt"), f"{ABOUT}/entry_points.txt has no command mastosync"),
        (saying(METADATA, b"License-Expression: MIT", b"License: MIT"), "License-Expression is None, not MIT"),
        (saying(METADATA, __version__.encode(), b"9.9"), f"Version is 9.9, not {__version__}"),
        (
            saying(METADATA, b"Requires-Dist: tqdm", b"Requires-Dist: left-pad"),
            "it requires left-pad>=4.66, or does not",
        ),
        (saying(METADATA, b"# mastosync", b"# something"), "its description is not README.md"),
    ],
)
def test_a_wheel_with_a_fault_is_not_given_away(
    tmp_path: Path, expected: Expected, change: Callable[[Files], object], fault: str
) -> None:
    found = faults_of_wheel(tmp_path, expected, change)
    assert [line for line in found if line.startswith(fault)], found


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (without(MIGRATION), f"{MIGRATION} is missing"),
        (without("setup.py"), "setup.py is missing"),
        (having("LICENSE"), "LICENSE has another content"),
        (having("tests/unit/test_dist.py"), "tests/unit/test_dist.py should not be there"),
        (having("demo/config.ini"), "demo/config.ini should not be there"),
        (saying("PKG-INFO", b"Name: mastosync", b"Name: other"), "Name is other, not mastosync"),
    ],
)
def test_an_sdist_with_a_fault_is_not_given_away(
    tmp_path: Path, expected: Expected, change: Callable[[Files], object], fault: str
) -> None:
    found = faults_of_sdist(tmp_path, expected, change)
    assert [line for line in found if line.startswith(fault)], found


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a clone knows its files")
def test_what_is_expected_is_what_git_knows() -> None:
    expected = Expected.of(ROOT)
    assert {MIGRATION, "mastosync/py.typed", "mastosync/report/report.css"} <= expected.package.keys()
    assert expected.compiled == {COMPILED}
    assert not [name for name in expected.package if name.endswith((".mo", ".pyc"))]
