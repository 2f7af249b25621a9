"""Where shared kits of tests are: in tests/support, and no test is there."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_what_is_no_test_is_support() -> None:
    found = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py")}
    no_tests = {name for name in found if not name.rpartition("/")[2].startswith(("test_", "conftest", "__init__"))}
    assert {name for name in no_tests if not name.startswith("support/")} == set()
    assert {name for name in found if name.startswith("support/") and "/test_" in name} == set()
