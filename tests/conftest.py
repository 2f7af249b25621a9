"""What tests share: real servers, one set for the whole session, and fresh rooms in them for every test.

No server is started before a test asks for one. See `lab.shared` for how the processes
of a parallel run find the same servers, and why those end with the session, however it ends.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from faultlab.runner import Runner
from lab.addresses import DatabaseAddress, LabAddresses, PostgresAddress, S3Address
from lab.buckets import BucketPair, bucket_pair
from lab.client import Lab
from lab.fault_plan import FaultPlan, no_faults
from lab.faults import FaultProxy
from lab.shared import SharedLab
from lab.sshd import SshServer
from mastosync import language
from scripts.messages import compile_outdated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES"):
    os.environ.pop(name, None)
os.environ["LANG"] = "C.UTF-8"  # tests compare what is said with English, whatever their developer speaks

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script starts what it puts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and programs that tests start inherit it

# how long an example takes is the machine's affair, and tells nothing when it is busy
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

SHARED_LAB = pytest.StashKey[SharedLab]()


def pytest_configure(config: pytest.Config) -> None:
    """The controller (or the only process) prepares the shared lab; workers of xdist join it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # programs inherit it: under nohup they would ignore a hangup
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is None:
        compile_outdated()
    config.stash[SHARED_LAB] = SharedLab(Path(worker_input["lab_folder"])) if worker_input else SharedLab.open()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - xdist ships no types
    """Tell a worker of xdist where the lab is."""
    node.workerinput["lab_folder"] = str(node.config.stash[SHARED_LAB].folder)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let nobody search ten thousand tests for garbage: what is collected stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the lab; in workers this does nothing."""
    if SHARED_LAB in config.stash:
        config.stash[SHARED_LAB].close()


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`speak("ja")`: for the rest of the test, messages are in that language."""

    def choose(code: str) -> None:
        language._users_catalog.cache_clear()
        monkeypatch.setenv("LC_ALL", "C" if code == "en" else code)

    yield choose
    monkeypatch.undo()
    language._users_catalog.cache_clear()


@pytest.fixture
def disk_path() -> Iterator[Path]:
    """A folder on a disk, where `make test` keeps those of `tmp_path` in memory: a disk has a cache, and stays."""
    with TemporaryDirectory(prefix="mastosync-", dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> LabAddresses:
    """PostgreSQL, one SeaweedFS and moto, shared by the whole session. Do not stop them: see `own_lab`."""
    return pytestconfig.stash[SHARED_LAB].addresses()


@pytest.fixture(scope="session")
def lab_folder(pytestconfig: pytest.Config) -> Path:
    """Where the processes of one session leave word for each other; gone at its end."""
    return pytestconfig.stash[SHARED_LAB].folder


@pytest.fixture(scope="session")
def lab_postgres(lab: LabAddresses) -> PostgresAddress:
    """The shared PostgreSQL server."""
    assert lab.postgres is not None
    return lab.postgres


@pytest.fixture(scope="session")
def runner(lab: LabAddresses) -> Iterator[Runner]:
    """Lives through days of the fault lab. Its worlds are populated when the first day needs them."""
    with Runner(lab) as runner:
        yield runner


@pytest.fixture
def database(lab_postgres: PostgresAddress) -> Iterator[DatabaseAddress]:
    """A fresh, empty database, reached over TCP with a password."""
    name = f"t_{uuid.uuid4().hex[:16]}"
    try:
        yield lab_postgres.create_database(name)
    finally:
        lab_postgres.drop_database(name)


@pytest.fixture(scope="session")
def seaweed(lab: LabAddresses) -> S3Address:
    """The shared SeaweedFS: checks signatures, keys and Content-MD5. For ACLs take moto."""
    return lab.s3[0]


@pytest.fixture(scope="session")
def moto(lab: LabAddresses) -> S3Address:
    """The shared moto: knows ACLs; checks neither signatures nor keys."""
    assert lab.moto is not None
    return lab.moto


@pytest.fixture(scope="session")
def _seaweed_client(seaweed: S3Address) -> Iterator[S3Client]:
    with contextlib.closing(seaweed.client()) as client:
        yield client


@pytest.fixture(scope="session")
def _moto_client(moto: S3Address) -> Iterator[S3Client]:
    with contextlib.closing(moto.client()) as client:
        yield client


@pytest.fixture
def buckets(seaweed: S3Address, _seaweed_client: S3Client) -> Iterator[BucketPair]:
    """Two fresh buckets on the shared SeaweedFS."""
    with bucket_pair(seaweed, _seaweed_client) as pair:
        yield pair


@pytest.fixture
def moto_buckets(moto: S3Address, _moto_client: S3Client) -> Iterator[BucketPair]:
    """Two fresh buckets on the shared moto."""
    with bucket_pair(moto, _moto_client) as pair:
        yield pair


@pytest.fixture
def fault_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """Factory: `fault_proxy(upstream_url, plan)` is a running proxy, closed after the test."""
    with contextlib.ExitStack() as proxies:

        def start(upstream_url: str, plan: FaultPlan = no_faults) -> FaultProxy:
            return proxies.enter_context(FaultProxy(upstream_url, plan))

        yield start


@pytest.fixture
def ssh_server() -> Iterator[Callable[..., SshServer]]:
    """Factory: `ssh_server(**arguments of SshServer)` is a running server, closed after the test."""
    with contextlib.ExitStack() as servers:

        def start(**arguments: Any) -> SshServer:  # noqa: ANN401 - passed on as they are
            return servers.enter_context(SshServer(**arguments))

        yield start


@pytest.fixture
def own_lab() -> Iterator[Callable[..., Lab]]:
    """Factory: `own_lab(postgres=True, s3=1)` is a lab of the test's own, whose servers it may stop."""
    with contextlib.ExitStack() as labs:

        def start(*, postgres: bool = False, s3: int = 0, moto: bool = False) -> Lab:
            return labs.enter_context(Lab(postgres=postgres, s3=s3, moto=moto))

        yield start
