"""Sites for the doctor to examine, stores that answer oddly, and what the doctor found."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lab.buckets import BucketPair
from mastosync.app.context import Context
from mastosync.app.doctor import doctor
from mastosync.config import load_config
from mastosync.doctor import CheckSubject, Diagnosis, Finding, Grade
from mastosync.errors import ExitCode
from mastosync.progress import NoProgress
from mastosync.runtime.stop import StopSignal
from tests.support.raw_server import RawRequest, RawServer, answer
from tests.support.site import NOWHERE, Site, s3_section

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NO_DATABASE = {"host": "127.0.0.1", "port": "9", "password": "marked-password"}
SECRETS = ("marked-secret", "marked-password")


def site_of(folder: Path, buckets: BucketPair, **destination: str) -> Site:
    """Two buckets, and no database. `destination`: keys of its section that are to be others."""
    return Site(folder).configure(
        s3_source=s3_section(buckets.address, buckets.source),
        s3_destination=s3_section(buckets.address, buckets.destination) | destination,
        pg_database=NO_DATABASE,
    )


def site_without_stores(folder: Path, **sections: Mapping[str, str]) -> Site:
    """Stores that nobody answers for."""
    return Site(folder).configure(
        s3_source=s3_section(NOWHERE, "old-media"), s3_destination=s3_section(NOWHERE, "new-media"), **sections
    )


@dataclass(frozen=True)
class Examined:
    """What the doctor found."""

    diagnosis: Diagnosis

    def of(self, subject: CheckSubject) -> dict[str, Finding]:
        """The findings of one subject by check; each check is told once."""
        found = [each for each in self.diagnosis.findings if each.subject is subject]
        by_check = {each.check: each for each in found}
        assert len(by_check) == len(found), f"told twice: {found}"
        return by_check

    @property
    def source(self) -> dict[str, Finding]:
        return self.of(CheckSubject.SOURCE)

    @property
    def destination(self) -> dict[str, Finding]:
        return self.of(CheckSubject.DESTINATION)

    @property
    def database(self) -> dict[str, Finding]:
        return self.of(CheckSubject.DATABASE)

    @property
    def manifest(self) -> dict[str, Finding]:
        return self.of(CheckSubject.MANIFEST)

    def bad(self, subject: CheckSubject) -> dict[str, Grade]:
        """The checks of a subject that did not end well, or were not made."""
        return {check: found.grade for check, found in self.of(subject).items() if found.grade is not Grade.OK}


def examined(site: Site, manifest: Path | None = None) -> Examined:
    """Let the doctor look at a site. Whatever it finds is fit to be shown."""
    config = load_config(site.config, {})
    context = Context(config, manifest or site.manifest, NoProgress(), StopSignal())
    diagnosis = Diagnosis(list(doctor(context)))
    told = json.dumps(diagnosis.as_json())
    hidden = {*SECRETS, config.source.access_key, config.destination.access_key} - {NOWHERE.access_key}
    hidden |= {store.secret_key.reveal() for store in (config.source, config.destination) if store.secret_key}
    assert not [secret for secret in hidden if secret and secret in told]
    for found in diagnosis.findings:
        assert found.message
        assert "\n" not in found.message
        assert bool(found.remedy) == (found.grade in (Grade.WARNING, Grade.FAILURE)), found
        assert (found.exit_code != ExitCode.OK) == (found.grade is Grade.FAILURE), found
    return Examined(diagnosis)


def objects_in(client: S3Client, bucket: str) -> list[str]:
    """Everything in a bucket: objects, old versions, and uploads that were begun."""
    versions = client.list_object_versions(Bucket=bucket)
    uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    found = [*versions.get("Versions", []), *versions.get("DeleteMarkers", []), *uploads]
    return [each["Key"] for each in found]


# --- odd stores ---

Edit = Callable[[RawRequest, bytes], bytes]


@contextmanager
def odd_store(upstream_url: str, edit: Edit) -> Iterator[RawServer]:
    """A store that answers as another one does, but for what `edit` makes of it."""
    upstream = urlsplit(upstream_url)

    def answers(request: RawRequest) -> bytes:
        head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", request.head).rstrip(b"\r\n")
        with socket.create_connection((str(upstream.hostname), upstream.port or 80), 10) as connection:
            connection.sendall(head + b"\r\nConnection: close\r\n\r\n" + request.body)
            told = b"".join(iter(lambda: connection.recv(65_536), b""))
        return edit(request, told)

    with RawServer(answers) as server:
        yield server


def error(status: int, code: str, message: str = "some words") -> bytes:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return answer(status, body.encode(), content_type="application/xml")
