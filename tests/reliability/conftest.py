"""Worlds for scenarios: one set for each process of a run, populated when the first scenario needs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.faultlab.runner import Runner
from scripts.lab.addresses import LabAddresses


@pytest.fixture(scope="session")
def runner(lab: LabAddresses) -> Iterator[Runner]:
    with Runner(lab) as runner:
        yield runner
