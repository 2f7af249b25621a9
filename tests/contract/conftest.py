"""A store whose server says what a test wants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.raw_server import RawServer
from tests.contract.s3_kit import Wire, at, opened


@pytest.fixture(scope="module")
def _module_wire() -> Iterator[Wire]:
    # a client takes a tenth of a second to make, most of what such a test costs
    with RawServer(lambda _: b"") as server, opened(at(server.endpoint_url)) as store:
        yield Wire(server, store)


@pytest.fixture
def wire(_module_wire: Wire) -> Wire:
    """A store at a server that hangs up, until a test gives it something to answer."""
    _module_wire.server.forget()
    return _module_wire
