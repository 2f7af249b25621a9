"""Lists go on into the tools that people use: jq, xargs, rclone. And a standard output that is full is told of."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from mastosync.manifest import StoreIdentity
from mastosync.mastodon.paperclip import canonical_key
from mastosync.planning.planner import PlanOptions
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.site import COMMAND, Site

NAMES = (
    "a.png",
    "a b.png",
    'it\'s "odd".png',
    "# no comment.png",
    "; nor this.png",
    "back\\slash.png",
    "🐘.png",
)
BROKEN = "two\nlines.png"
ENTRIES = [entry(number, name) for number, name in enumerate((*NAMES, BROKEN), start=1)]
KEYS = [canonical_key(each, "") for each in ENTRIES]
WHOLE = KEYS[:-1]
"""Keys that are a line."""

RCLONE = Path(COMMAND).with_name("rclone")
"""Where the package of the benchmarks puts it; or wherever it is installed."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two folders, the first of which has what is planned, and as many files more that no row refers to."""
    source, destination = tmp_path / "source", tmp_path / "destination"
    destination.mkdir()
    for key in KEYS:
        for path in (source / key, source / "strays" / key):
            path.parent.mkdir(parents=True)
            path.write_text(key)
    stores = StoreIdentity.of_folder(source), StoreIdentity.of_folder(destination)
    planned(tmp_path / "mastosync.db", ENTRIES, stores, PlanOptions().as_details()).close()
    for path in source.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))  # long before the plan
    return Site(tmp_path).configure(
        filesystem_source={"path": str(source)}, filesystem_destination={"path": str(destination), "keep_free": "0"}
    )


def piped(site: Site, line: str) -> bytes:
    """What a line of the shell writes, in which `mastosync` is the command under test."""
    environ = {**site.environment(), "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=site.folder, env=environ, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def needs(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool} here")


def test_every_line_is_an_argument_of_xargs(site: Site) -> None:
    needs("xargs")
    told = piped(site, "mastosync ls --state pending | xargs -d '\\n' printf '%s\\0'")
    assert told.decode().split("\0")[:-1] == WHOLE


@pytest.mark.parametrize(
    ("command", "prefix"), [("ls --print0", ""), ("ls --state pending -0", ""), ("orphans --print0", "strays/")]
)
def test_with_nul_behind_each_no_key_is_left_out(site: Site, command: str, prefix: str) -> None:
    needs("xargs")
    told = piped(site, f"mastosync --no-progress {command} | xargs -0 printf '%s\\0'")
    assert set(told.decode().split("\0")[:-1]) == {prefix + key for key in KEYS}
    done = site.run("--no-progress", *shlex.split(command))
    assert done.stderr == ""
    assert done.stdout.endswith("\0")


def test_nul_goes_with_keys_alone(site: Site) -> None:
    assert "leave one of them out" in site.run("ls", "--print0", "--format", "csv", code=2).stderr
    assert "use one of them" in site.run("orphans", "--print0", "--json", code=2).stderr


@pytest.mark.parametrize("command", ["ls", "orphans"])
def test_jq_reads_json_lines(site: Site, command: str) -> None:
    needs("jq")
    told = piped(site, f"mastosync --no-progress {command} --format jsonl | jq -r '[.key, .size] | @json'")
    keys = [json.loads(line)[0] for line in told.decode().splitlines()]
    assert {key.removeprefix("strays/") for key in keys} == set(KEYS)
    assert json.loads(piped(site, "mastosync status --json | jq .totals.pending")) == len(KEYS)


def test_rclone_copies_what_is_listed(site: Site) -> None:
    rclone = str(RCLONE) if RCLONE.exists() else "rclone"
    needs(rclone)
    copy = f"{rclone} --config /dev/null copy --files-from-raw - source copied"
    piped(site, f"mastosync ls --state pending | {copy}")
    copied = {str(path.relative_to(site.folder / "copied")) for path in (site.folder / "copied").rglob("*.png")}
    assert copied == set(WHOLE)


@pytest.mark.timing
@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",),
        ("ls", "--print0"),
        ("ls", "--format", "csv"),
        ("status",),
        ("status", "--json"),
        ("orphans", "--format", "jsonl"),
        ("orphans",),
    ],
    ids=" ".join,
)
def test_a_standard_output_that_is_full(site: Site, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [COMMAND, "--no-progress", *arguments],
            cwd=site.folder,
            env=site.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 8, done.stderr
    first, hint = done.stderr.splitlines()
    assert first == "mastosync: standard output cannot be written: No space left on device"
    assert "incomplete" in hint


@pytest.mark.timing
def test_a_standard_output_that_is_closed(site: Site) -> None:
    line = f"{shlex.quote(str(COMMAND))} ls --format jsonl >&-"
    done = subprocess.run(
        ["bash", "-c", line], cwd=site.folder, env=site.environment(), capture_output=True, check=False
    )
    assert done.returncode == 8, done.stderr
    assert b"standard output is closed" in done.stderr


@pytest.mark.timing
def test_whoever_has_seen_enough_gets_no_complaint(site: Site) -> None:
    environ = {**site.environment(), "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    line = "mastosync ls | head -n 1; echo ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", line], cwd=site.folder, env=environ, capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == [WHOLE[0], "0"]
    assert done.stderr.count(b"\n") <= 1  # of the key that is no line
