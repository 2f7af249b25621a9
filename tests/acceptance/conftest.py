"""A made-up instance on the lab's servers, and a site configured for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lab.addresses import DatabaseAddress, LabAddresses, PostgresAddress, S3Address
from lab.buckets import BucketPair
from lab.instance import populate
from lab.instance_objects import Instance
from tests.support.shared_sources import SharedSources
from tests.support.site import Site, pg_section, s3_section

SMALL: dict[str, Any] = {"accounts": 5, "media": 5, "large_video_bytes": 0, "all_oddities": False}
"""What a test moves unless it says otherwise: enough of everything, as each object costs each test a while."""


@dataclass(frozen=True)
class Migration:
    """An instance, where it is and where it goes, and the folder it is migrated from."""

    site: Site
    instance: Instance
    buckets: BucketPair
    database: DatabaseAddress

    def through(self, source: str | None = None, destination: str | None = None) -> None:
        """Reach the stores by other endpoints, such as a proxy's, before anything is planned."""
        for role, endpoint in (("source", source), ("destination", destination)):
            if endpoint is not None:
                self.site.configure(**{f"s3_{role}": {"endpoint_url": endpoint}})


MigrationFactory = Callable[..., Migration]


@pytest.fixture(scope="session")
def shared_sources(lab: LabAddresses, lab_folder: Path) -> Iterator[SharedSources]:
    """Sources that many tests read, and none changes."""
    sources = SharedSources(lab_folder)
    yield sources
    sources.require_untouched()


@pytest.fixture
def new_migration(
    tmp_path: Path, lab_postgres: PostgresAddress, shared_sources: SharedSources, request: pytest.FixtureRequest
) -> Iterator[MigrationFactory]:
    """Factory: `new_migration(buckets, **arguments of populate)`.

    The source is read by other tests too, unless a test that writes there asks for `own_source`.
    """
    with ExitStack() as databases:

        def database_like(template: str) -> DatabaseAddress:
            name = f"t_{uuid.uuid4().hex[:16]}"
            databases.callback(lab_postgres.drop_database, name)
            return lab_postgres.create_database(name, template)

        def make(buckets: BucketPair, *, own_source: bool = False, **arguments: Any) -> Migration:  # noqa: ANN401
            arguments = {**SMALL, **arguments}
            if own_source:
                database = database_like("template1")
                instance = populate(database, buckets.client, buckets.source, **arguments)
            else:
                instance, filled = shared_sources.instance(request.node.nodeid, lab_postgres, buckets, arguments)
                database = database_like(filled)
                buckets = replace(buckets, source=instance.bucket)
            address: S3Address = buckets.address
            prefix = {"key_prefix": arguments["key_prefix"]} if arguments.get("key_prefix") else {}
            site = Site(tmp_path).configure(
                s3_source=s3_section(address, buckets.source, **prefix),
                s3_destination=s3_section(address, buckets.destination),
                pg_database=pg_section(database),
                copy={"server_side": "never"},  # both buckets lie in one store, which would move everything by itself
            )
            return Migration(site, instance, buckets, database)

        yield make
