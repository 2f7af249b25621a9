"""The wheel and the sdist: built, looked through, and tried as somebody would who has nothing else of this repository.

    python -m scripts.dist

builds both into dist/. What is wrong with them is named: a file that is missing, differs or should not be there, other
metadata than setup.cfg's, a description that PyPI would not show. Then the wheel is installed into an environment of
its own in build/dist/, and the demo is migrated by the command that is there. Exit code 1 if anything is wrong.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

from mastosync import __version__

ROOT = Path(__file__).resolve().parents[1]
DIST, TRIAL = ROOT / "dist", ROOT / "build/dist"
PACKAGE = "mastosync"
FULL_NAME = f"{PACKAGE}-{__version__}"
WHEEL, SDIST = f"{FULL_NAME}-py3-none-any.whl", f"{FULL_NAME}.tar.gz"

_ABOUT = f"{FULL_NAME}.dist-info"
_LICENSE = f"{_ABOUT}/licenses/LICENSE"
_METADATA, _ENTRY_POINTS = f"{_ABOUT}/METADATA", f"{_ABOUT}/entry_points.txt"
_OF_A_WHEEL = {
    _LICENSE,
    _METADATA,
    _ENTRY_POINTS,
    *(f"{_ABOUT}/{name}" for name in ("WHEEL", "RECORD", "top_level.txt")),
}
_TO_BUILD = ("LICENSE", "README.md", "pyproject.toml", "setup.cfg", "setup.py")
_MADE_BY_SETUPTOOLS = ("PKG-INFO", f"{PACKAGE}.egg-info/")


@dataclass(frozen=True, slots=True)
class Expected:
    """What has to be in both: the files of a work tree, by the names they have there."""

    package: Mapping[str, bytes]  # below mastosync/
    compiled: frozenset[str]  # catalogs, which are made on the way
    other: Mapping[str, bytes]  # what it takes to build, and the license

    @classmethod
    def of(cls, root: Path) -> Expected:
        """All that git knows, or would if it were added."""
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", PACKAGE]
        names = subprocess.run(listed, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
        package = {name: (root / name).read_bytes() for name in names if name and (root / name).exists()}
        compiled = frozenset(str(PurePosixPath(name).with_suffix(".mo")) for name in package if name.endswith(".po"))
        return cls(package, compiled, {name: (root / name).read_bytes() for name in _TO_BUILD})


def wheel_faults(wheel: Path, expected: Expected) -> Iterator[str]:
    """A line for each thing that is wrong with a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    ours = {name: data for name, data in files.items() if name not in _OF_A_WHEEL}
    yield from _differences(ours, expected.package, may_have=expected.compiled)
    yield from (f"{name} is missing: it is compiled from a .po" for name in sorted(expected.compiled - files.keys()))
    yield from (f"{name} is empty" for name in sorted(expected.compiled & files.keys()) if not files[name])
    yield from (f"{name} is missing" for name in sorted(_OF_A_WHEEL - files.keys()))
    if files.get(_LICENSE, b"") != expected.other["LICENSE"]:
        yield f"{_LICENSE} is not our license"
    yield from metadata_faults(message_from_bytes(files.get(_METADATA, b"")), expected)
    if f"{PACKAGE} = {PACKAGE}." not in files.get(_ENTRY_POINTS, b"").decode():
        yield f"{_ENTRY_POINTS} has no command {PACKAGE}"


def sdist_faults(sdist: Path, expected: Expected) -> Iterator[str]:
    """A line for each thing that is wrong with an sdist. That a wheel can be built of it, its build shows."""
    with tarfile.open(sdist) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if not member.isdir()}
        inside = {name.removeprefix(f"{FULL_NAME}/"): file.read() if file else b"" for name, file in files.items()}
    ours = {name: data for name, data in inside.items() if not name.startswith(_MADE_BY_SETUPTOOLS)}
    yield from _differences(
        ours, {**expected.package, **expected.other}, may_have=expected.compiled, changed={"setup.cfg"}
    )
    yield from metadata_faults(message_from_bytes(inside.get("PKG-INFO", b"")), expected)


def metadata_faults(told: Message, expected: Expected) -> Iterator[str]:
    """A line for each thing that a distribution says of itself, and setup.cfg does not."""
    about = configparser.ConfigParser()
    about.read_string(expected.other["setup.cfg"].decode())
    metadata, options = about["metadata"], about["options"]
    wanted = {
        "Name": PACKAGE,
        "Version": __version__,
        "Summary": metadata["description"],
        "License-Expression": metadata["license_expression"],
        "License-File": metadata["license_files"],
        "Requires-Python": options["python_requires"],
        "Description-Content-Type": metadata["long_description_content_type"],
    }
    yield from (f"{name} is {told[name]}, not {value}" for name, value in wanted.items() if told[name] != value)
    required = {str(Requirement(line)) for line in told.get_all("Requires-Dist", ()) if "extra ==" not in line}
    declared = {str(Requirement(line)) for line in options["install_requires"].split("\n") if line}
    yield from (f"it requires {name}, or does not, against setup.cfg" for name in sorted(required ^ declared))
    description = told.get_payload(decode=True)
    if not isinstance(description, bytes) or description.strip() != expected.other["README.md"].strip():
        yield "its description is not README.md"


def _differences(
    found: Mapping[str, bytes],
    wanted: Mapping[str, bytes],
    *,
    may_have: frozenset[str],
    changed: frozenset[str] | set[str] = frozenset(),
) -> Iterator[str]:
    yield from (f"{name} is missing" for name in sorted(wanted.keys() - found.keys()))
    yield from (f"{name} should not be there" for name in sorted(found.keys() - wanted.keys() - may_have))
    both = wanted.keys() & found.keys() - changed
    yield from (f"{name} has another content" for name in sorted(both) if found[name] != wanted[name])


def run(*command: str | Path, cwd: Path = ROOT, **environ: str) -> str:
    """What a command prints, to us as well. Nothing leads Python to this repository. Raises: CalledProcessError."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    print("$", *command, flush=True)
    with subprocess.Popen(command, cwd=cwd, env=kept | environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return "".join(lines)


def try_out(wheel: Path, folder: Path) -> Iterator[str]:
    """Install a wheel where nothing else is, and migrate with it.

    Returns: a line for each thing that is wrong. Raises: CalledProcessError if a command fails.
    """
    bare = folder / "bare/bin"
    run(sys.executable, "-m", "venv", folder / "bare")
    pip = (bare / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--constraint", ROOT / "requirements-dev.lock", wheel)
    run(*pip, "check")
    where = run(bare / "python", "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)", cwd=folder)
    if not Path(where.strip()).is_relative_to(folder):
        yield f"{PACKAGE} is imported from {where.strip()}"
    if __version__ not in run(bare / PACKAGE, "--version", cwd=folder):
        yield "the command is of another version"
    if "使い方" not in run(bare / PACKAGE, "--help", cwd=folder, LANG="ja_JP.UTF-8", LC_ALL="", PYTHONUTF8="1"):
        yield "the command speaks no Japanese"
    run(sys.executable, "-m", "scripts.demo", "--folder", folder / "demo", "--command", bare / PACKAGE)


def main() -> int:
    """Returns: the exit code."""
    for folder in (DIST, TRIAL):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        run(sys.executable, "-m", "build", "--outdir", DIST)
        run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", DIST / WHEEL, DIST / SDIST)
        expected = Expected.of(ROOT)
        faults = [f"{WHEEL}: {fault}" for fault in wheel_faults(DIST / WHEEL, expected)]
        faults += [f"{SDIST}: {fault}" for fault in sdist_faults(DIST / SDIST, expected)]
        faults += [
            f"dist/{path.name}: nobody asked for it" for path in DIST.iterdir() if path.name not in (WHEEL, SDIST)
        ]
        if not faults:
            faults += try_out(DIST / WHEEL, TRIAL)
    except (subprocess.CalledProcessError, OSError) as error:
        faults = [str(error)]
    for fault in faults:
        print(fault, file=sys.stderr)
    print(
        f"dist/: {len(faults)} things are wrong" if faults else f"dist/: {WHEEL} and {SDIST} are fit to be given away"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
