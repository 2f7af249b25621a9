"""Configurations of one test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mastosync.config import (
    Config,
    load_config,
)
from tests.support.configurations import (
    Load,
)


@pytest.fixture
def config_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "config.ini"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def load(config_file: Callable[[str], Path]) -> Load:
    def load(text: str, **environ: str) -> Config:
        return load_config(config_file(text), environ)

    return load
