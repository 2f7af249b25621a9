"""Days in the life of an entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from mastosync.copying.transfer import TransferOptions
from tests.support.copy_days import Day


@pytest.fixture
def day_of(tmp_path: Path) -> Iterator[Callable[..., Day]]:
    """Factory: `day_of(old, options)` is a day, closed after the test."""
    with ExitStack() as days:

        def begin(old: bytes | None = b"the file", options: TransferOptions | None = None) -> Day:
            return days.enter_context(closing(Day(tmp_path, old, options)))

        yield begin


@pytest.fixture
def day(day_of: Callable[..., Day]) -> Day:
    return day_of()


@pytest.fixture
def day_without_acls(day_of: Callable[..., Day]) -> Day:
    return day_of(options=TransferOptions(acl_taken=False))
