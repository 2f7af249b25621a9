"""What `contrib/` offers is held against the command line and the configuration that there are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from mastosync.cli.main import COMMANDS, cli
from tests.unit.test_docs import ROOT, command

UNITS = sorted((ROOT / "contrib" / "systemd").iterdir())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
CONTAINERFILE = ROOT / "contrib" / "Containerfile"


def lines_of(unit: Path, key: str) -> list[str]:
    """Every value of a key, which a unit may have several times."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def checked(arguments: list[str]) -> str:
    """The command of a command line, all of whose options there are. Raises: click.UsageError."""
    context = cli.make_context("mastosync", list(arguments))
    taken = context._protected_args if hasattr(context, "_protected_args") else context.protected_args  # click 8.1
    name, *rest = (*taken, *context.args)
    if name not in COMMANDS:
        raise click.UsageError(f"no command {name}")
    command(name).make_context(name, rest, parent=context)
    return name


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_service_starts_a_command_that_there_is(unit: Path) -> None:
    (line,) = lines_of(unit, "ExecStart")
    program, *arguments = shlex.split(line)
    assert Path(program).name == "mastosync"
    if "follow" not in COMMANDS and "follow" in arguments:
        pytest.skip("there is no `mastosync follow` yet")
    assert checked(arguments) == "follow"


@pytest.mark.parametrize("line", ["plan --dry-runs", "--no-progres plan", "plam", "copy --workers many"])
def test_what_there_is_not_would_be_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        checked(shlex.split(line))


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_service_is_told_where_its_files_are_and_no_secret(unit: Path) -> None:
    set_to = dict(line.split("=", 1) for line in lines_of(unit, "Environment"))
    assert set_to.keys() == {"MASTOSYNC_CONFIG", "MASTOSYNC_MANIFEST"}
    assert not lines_of(unit, "LoadCredential")
    assert all(line.startswith("-") for line in lines_of(unit, "BindReadOnlyPaths")), "a bucket has no public/system"


def test_a_service_that_stays_is_started_again_only_for_what_may_mend_itself() -> None:
    (staying,) = (unit for unit in SERVICES if lines_of(unit, "Restart"))
    assert lines_of(staying, "Restart") == ["on-failure"]
    assert {"2", "3", "4"} == set(lines_of(staying, "RestartPreventExitStatus")[0].split())


def test_both_services_are_confined_alike() -> None:
    def confined(unit: Path) -> list[str]:
        return unit.read_text().split("[Service]")[1].split("\n\n", 1)[1].split("\n[Install]")[0].split()

    one, other = map(confined, SERVICES)
    assert one == other


def test_stopping_is_no_failure() -> None:
    for unit in SERVICES:
        assert lines_of(unit, "SuccessExitStatus") == ["130"]


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/bin/mastosync", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / unit.name for unit in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "mastosync" in line]) == (0, [])


def test_the_timer_starts_a_service_that_there_is() -> None:
    (timer,) = (path for path in UNITS if path.suffix == ".timer")
    assert timer.with_suffix(".service") in SERVICES


# --- the image ---


def instructions() -> list[tuple[str, str]]:
    """Of the Containerfile, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())]


def test_the_image_is_built_of_files_that_there_are() -> None:
    copied = [
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert not [source for source in copied if not (ROOT / source).exists()]
    about = ConfigParser()
    about.read(ROOT / "setup.cfg")
    needed = {"setup.cfg", "pyproject.toml", "mastosync", about["metadata"]["license_files"]}
    needed.add(about["metadata"]["long_description"].removeprefix("file: "))
    assert needed <= set(copied), "or it cannot be built of what is copied"
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]


def test_it_has_a_python_that_is_tested() -> None:
    versions = {
        match for name, rest in instructions() if name == "FROM" for match in re.findall(r"python:([\d.]+)", rest)
    }
    assert len(versions) == 1
    assert f"Programming Language :: Python :: {versions.pop()}" in (ROOT / "setup.cfg").read_text()


def test_it_runs_mastosync_as_nobody_special_and_gets_its_signals() -> None:
    last = dict(instructions())
    assert int(last["USER"].split(":")[0]) > 0
    assert last["ENTRYPOINT"] == '["mastosync"]', "not by a shell, which keeps signals to itself"
    assert last["VOLUME"] == last["WORKDIR"] == "/var/lib/mastosync"
    assert f"MASTOSYNC_MANIFEST={last['VOLUME']}/" in last["ENV"]


def test_every_command_of_the_guide_there_is() -> None:
    guide = (ROOT / "docs" / "install.md").read_text()
    lines = re.findall(r"^ +(?:sudo |\S*/bin/)?(mastosync [^#\n]*)", guide, re.MULTILINE)
    assert len(lines) > 4
    for line in lines:
        arguments = shlex.split(line)[1:]
        if arguments != ["--version"]:
            checked(arguments)
