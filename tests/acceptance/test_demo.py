"""`make demo`, a little smaller, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARKER = ".made-by-the-demo"


@pytest.fixture
def place() -> Iterator[Path]:
    """Where everything that a demo makes is found: its folder and, in `tmp`, the data of its servers."""
    place = Path(tempfile.mkdtemp(prefix="demo-"))
    place.chmod(0o755)  # started by root, PostgreSQL runs as another user, who has to get in
    (place / "tmp").mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place)


def start_demo(place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.demo", "--folder", str(place / "de mo"), "--accounts=8", "--media=12"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(place / "tmp"), "MASTOSYNC_COPY_WORKERS": "no number", "AWS_PROFILE": "none"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a process group to send Ctrl-C to
    )


def processes_of(place: Path) -> list[str]:
    """Command lines of all processes that work there, or were told of it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while we look
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(place) in command or str((process / "cwd").readlink()).startswith(str(place)):
                found.append(command)
    return found


def test_the_demo_proves_its_migration_and_leaves_only_its_folder(place: Path) -> None:
    folder = place / "de mo"
    folder.mkdir()
    (folder / MARKER).touch()
    (folder / "of-the-last-time").touch()

    demo = start_demo(place)
    said, _ = demo.communicate()

    assert demo.returncode == 0, said
    assert "\nverdict: all well, " in said
    for command in ("plan --dry-run", "plan", "status", "ls --state failed --format jsonl", "verify", "orphans"):
        assert f"\n$ mastosync {command}\n" in said
    assert processes_of(place) == []
    assert list((place / "tmp").iterdir()) == []
    assert not (folder / "of-the-last-time").exists()
    assert (folder / "config.ini").stat().st_mode & 0o777 == 0o600
    assert (folder / "mastosync.db").is_file()
    assert any((folder / "destination/cache/accounts").rglob("*.png"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_in_the_middle_stops_everything_the_demo_started(place: Path) -> None:
    demo = start_demo(place)
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("$ mastosync") and "copy" in line:
            break
    running = " ".join(processes_of(place))
    assert "postgres" in running
    assert "weed" in running

    os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
    said, _ = demo.communicate()

    assert demo.returncode == 130, said
    assert "Traceback" not in said
    assert said.endswith("demo: stopped, and so is everything that it had started\n")
    assert processes_of(place) == []
    assert list((place / "tmp").iterdir()) == []


def test_a_folder_that_the_demo_did_not_make_is_refused_and_left_alone(place: Path) -> None:
    folder = place / "de mo"
    folder.mkdir()
    (folder / "thesis.txt").write_text("dear to somebody")

    demo = start_demo(place)
    said, _ = demo.communicate()

    assert demo.returncode == 1
    assert "was not made by the demo" in said
    assert (folder / "thesis.txt").read_text() == "dear to somebody"
