"""Numbers and times as people read them."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from mastosync import units
from mastosync.units import human_ago, human_bytes, human_seconds


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 Bytes"),
        (1, "1 Byte"),
        (1023, "1023 Bytes"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (3 << 50, "3.0 PiB"),
    ],
)
def test_bytes_have_binary_units(count: int, told: str) -> None:
    assert human_bytes(count) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 seconds"),
        (0.04, "0 seconds"),
        (1, "1 second"),
        (1.54, "1.5 seconds"),
        (59.94, "59.9 seconds"),
        (59.96, "1 minute"),
        (125, "2.1 minutes"),
        (3_600, "1 hour"),
        (5_400, "1.5 hours"),
        (86_400, "1 day"),
        (40.25 * 86_400, "40.2 days"),
        (800 * 86_400, "800 days"),
    ],
)
def test_durations_have_one_unit(seconds: float, told: str) -> None:
    assert human_seconds(seconds) == told


def test_moments_are_so_long_ago() -> None:
    now = datetime.now(UTC)
    assert human_ago(now - timedelta(hours=3, minutes=5)) == "3 hours ago"
    assert human_ago(now - timedelta(days=1, hours=1)) == "a day ago"
    assert human_ago(now) == "now"


@pytest.mark.parametrize(("language", "ago"), [("ja", "3 時間前"), ("de", "vor 3 Stunden"), ("xx", "3 hours ago")])
def test_they_are_told_in_the_language_of_the_messages(
    monkeypatch: pytest.MonkeyPatch, language: str, ago: str
) -> None:
    moment = datetime.now(UTC) - timedelta(hours=3, minutes=5)
    with monkeypatch.context() as patched:
        patched.setattr(units, "spoken", lambda: language)
        assert human_ago(moment) == ago
    assert human_ago(moment) == "3 hours ago"


def test_the_library_is_loaded_when_it_is_needed() -> None:
    code = "import sys, mastosync.cli.main; sys.exit(bool({'humanize', 'tqdm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
