"""The unit tests on every Python that this machine has, from the oldest that will do.

    python -m scripts.pythons [--others] [arguments for pytest]

Each gets an environment of its own in build/pythonX.Y, with the packages of requirements-dev.lock. Pythons are looked
for by name on the PATH, and where pyenv keeps them. One that is not there, or from which no environment can be made, is
skipped and named. `--others` leaves out the version that runs this, on which `make test` has run them. Exit code 1 if
tests fail on any, or there was none to run them on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ((3, 11), (3, 12), (3, 13), (3, 14))
"""Those that are looked for; mastosync is said to run on all but the newest, which may not be there yet."""

Version = tuple[int, int]

OTHERS = "--others"

_TELL = "import ensurepip, sys, venv; print(*sys.version_info[:3])"
_REQUIREMENTS = ("setup.py", "setup.cfg", "pyproject.toml", "requirements-dev.lock")
_TELL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter that can make environments."""

    program: Path
    version: tuple[int, int, int]

    @property
    def name(self) -> str:
        """As it is told of."""
        return f"Python {'.'.join(map(str, self.version))}"


def candidates(environ: Mapping[str, str]) -> Iterator[tuple[Version, Path]]:
    """Whatever may be a Python here, with the version that its name promises."""
    for major, minor in VERSIONS:
        found = shutil.which(f"python{major}.{minor}", path=environ.get("PATH"))
        if found is not None:
            yield (major, minor), Path(found)
        kept = Path(environ.get("PYENV_ROOT") or f"{environ.get('HOME', '')}/.pyenv") / "versions"
        for program in sorted(kept.glob(f"{major}.{minor}.*/bin/python3")):
            yield (major, minor), program


def usable(programs: Iterable[tuple[Version, Path]]) -> tuple[dict[Version, Python], dict[Version, str]]:
    """The newest of each version that can make environments; and why another cannot, by the version it promises."""
    found: dict[Version, Python] = {}
    objections: dict[Version, str] = {}
    for promised, program in programs:
        try:
            told = subprocess.run(
                [program, "-I", "-c", _TELL], capture_output=True, text=True, timeout=_TELL_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            objections[promised] = f"{program} does not run: {error}"
            continue
        if told.returncode:
            why = (told.stderr.splitlines() or ["no word why"])[-1]
            objections[promised] = f"{program} makes no environments: {why}"
            continue
        major, minor, micro = map(int, told.stdout.split())
        best = found.get((major, minor))
        if (major, minor) in VERSIONS and (best is None or best.version < (major, minor, micro)):
            found[major, minor] = Python(program, (major, minor, micro))
    return found, objections


def environment_of(python: Python, root: Path = ROOT) -> Path:
    """The interpreter of an environment with what the tests need, made anew when anything it was made of has changed.

    Raises: CalledProcessError if it cannot be made; pip has said why.
    """
    folder = root / "build" / f"python{python.version[0]}.{python.version[1]}"
    inner, stamp = folder / "bin/python", folder / "made-of"
    made_of = hashlib.sha256(f"{folder}\n{python.program}\n{python.name}\n".encode())
    for name in _REQUIREMENTS:
        made_of.update((root / name).read_bytes())
    if stamp.exists() and stamp.read_text() == made_of.hexdigest():
        return inner
    print(f"Making {folder.relative_to(root)} with {python.name} ...", flush=True)
    subprocess.run([python.program, "-m", "venv", "--clear", folder], check=True)
    install = "-m pip --disable-pip-version-check install --quiet -c requirements-dev.lock -e .[test]"
    subprocess.run([inner, *install.split()], cwd=root, check=True)
    stamp.write_text(made_of.hexdigest())
    return inner


def passes(python: Python, arguments: list[str]) -> bool:
    """Whether the unit tests pass on it."""
    print(f"\n--- {python.name} ({python.program})", flush=True)
    try:
        inner = environment_of(python)
    except subprocess.CalledProcessError as error:
        print(f"no environment could be made: {error}", flush=True)
        return False
    return subprocess.run([inner, "-m", "pytest", "tests/unit", *arguments], cwd=ROOT, check=False).returncode == 0


def main(arguments: list[str]) -> int:
    """Returns: the exit code."""
    found, objections = usable(candidates(os.environ))
    left_out: set[Version] = set()
    if arguments[:1] == [OTHERS]:
        left_out, arguments = {sys.version_info[:2]}, arguments[1:]
    results = {
        version: passes(python, arguments) for version, python in sorted(found.items()) if version not in left_out
    }
    print()
    for version in VERSIONS:
        if version in found and version in left_out:
            print(f"{found[version].name}: left out: it is the one of .venv")
        elif version in results:
            print(f"{found[version].name}: {'passed' if results[version] else 'FAILED'}")
        else:
            why = objections.get(version, "there is none here")
            print(f"Python {'.'.join(map(str, version))}: skipped: {why}")
    return 0 if found and all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
