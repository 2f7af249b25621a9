"""A store whose server says what a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from tests.support.raw_server import RawServer
from tests.support.s3_clients import STORES, StoreClass, Wire, at, opened


@pytest.fixture(scope="module", params=STORES, ids=lambda kind: kind.__name__)
def store_class(request: pytest.FixtureRequest) -> StoreClass:
    """Each client of S3 in turn."""
    return cast("StoreClass", request.param)


@pytest.fixture(scope="module")
def _module_wire(store_class: StoreClass) -> Iterator[Wire]:
    # a client takes a tenth of a second to make, most of what such a test costs
    with RawServer(lambda _: b"") as server, opened(at(server.endpoint_url), kind=store_class) as store:
        yield Wire(server, store)


@pytest.fixture
def wire(_module_wire: Wire) -> Wire:
    """A store at a server that hangs up, until a test gives it something to answer."""
    _module_wire.server.forget()
    return _module_wire
