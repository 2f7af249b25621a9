"""What tests of `report` share."""

from __future__ import annotations

from pathlib import Path

import pytest

from mastosync.manifest import newest_version
from tests.support.manifest_versions import restored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A manifest with something of everything."""
    return restored(newest_version(), tmp_path / "m.db")
