"""The clients that are compared, each as one command line."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Contestant, RunFailed
from benchmarks.objects import BenchObject, plan_manifest, write_key_list
from mastosync.manifest import StoreIdentity
from scripts.lab.addresses import S3Address
from scripts.lab.client import ROOT

RCLONE_FASTEST = ("--no-traverse", "--no-check-dest", "--s3-no-check-bucket", "--s3-no-head", "--s3-no-head-object")

_INI = """\
[s3.{role}]
endpoint_url = {address.endpoint_url}
bucket = {bucket}
access_key = {address.access_key}
secret_key = {address.secret_key}
"""
_RCLONE = """\
[{name}]
type = s3
provider = Other
env_auth = false
endpoint = {address.endpoint_url}
access_key_id = {address.access_key}
secret_access_key = {address.secret_key}
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One end of the way."""

    address: S3Address
    name: str

    @property
    def identity(self) -> StoreIdentity:
        """As the manifest has it."""
        return StoreIdentity(self.address.endpoint_url, self.name, "")


@dataclass(frozen=True, slots=True)
class Stage:
    """Two buckets, the objects that go from one to the other, and a folder with what clients are told."""

    folder: Path
    objects: Sequence[BenchObject]
    source: Bucket
    destination: Bucket
    workers: int
    clear: Callable[[], None]  # empties the destination

    def set_up(self) -> None:
        """Write configurations, list of keys and planned manifest."""
        self.folder.mkdir()
        write_key_list(self.keys, self.objects)
        ends = (("source", self.source), ("destination", self.destination))
        text = "".join(_INI.format(role=role, address=end.address, bucket=end.name) for role, end in ends)
        self.config.touch(mode=0o600)
        self.config.write_text(text)
        text = "".join(_RCLONE.format(name=name, address=end.address) for name, end in ends)
        self.rclone_config.touch(mode=0o600)
        self.rclone_config.write_text(text)
        plan_manifest(self.planned, self.objects, self.source.identity, self.destination.identity)

    @property
    def config(self) -> Path:
        """Of mastosync."""
        return self.folder / "config.ini"

    @property
    def rclone_config(self) -> Path:
        """Of rclone, with the remotes `source` and `destination`."""
        return self.folder / "rclone.conf"

    @property
    def keys(self) -> Path:
        """One key a line."""
        return self.folder / "keys.txt"

    @property
    def planned(self) -> Path:
        """The manifest that each copy starts from."""
        return self.folder / "planned.db"

    @property
    def manifest(self) -> Path:
        """The manifest that the last copy has worked on."""
        return self.folder / "mastosync.db"


def mastosync(stage: Stage, checkout: Path = ROOT) -> Contestant:
    """`mastosync copy` of a fresh plan; of another checkout of the project if one is given."""

    def prepare() -> None:
        stage.clear()
        for leftover in stage.folder.glob("mastosync.db*"):
            leftover.unlink()
        shutil.copyfile(stage.planned, stage.manifest)

    name = "mastosync" if checkout == ROOT else f"mastosync of {checkout}"
    return Contestant(name, mastosync_command(stage, "copy", f"--workers={stage.workers}"), prepare, folder=checkout)


def mastosync_command(stage: Stage, *arguments: str) -> list[str | Path]:
    """To be run in a checkout, which is then what is imported."""
    files = (f"--config={stage.config}", f"--manifest={stage.manifest}")
    return [sys.executable, "-m", "mastosync", "--no-progress", *files, *arguments]


def rclone_fastest(stage: Stage) -> Contestant:
    """With a list of keys and every flag that spares a request."""
    flags = (f"--transfers={stage.workers}", f"--checkers={stage.workers}", f"--files-from-raw={stage.keys}")
    return Contestant("rclone, fastest flags", _rclone(stage, *flags, *RCLONE_FASTEST), stage.clear)


def rclone_usual(stage: Stage) -> Contestant:
    """As people run it."""
    return Contestant("rclone --fast-list", _rclone(stage, "--fast-list"), stage.clear)


def _rclone(stage: Stage, *flags: str) -> list[str | Path]:
    ways = (f"source:{stage.source.name}", f"destination:{stage.destination.name}")
    return [program("rclone"), "copy", *ways, f"--config={stage.rclone_config}", *flags]


def boto3_threads(stage: Stage, rounds: int) -> Contestant:
    """get_object and put_object in a pool of threads; far slower than the others, so for few rounds."""
    command: list[str | Path] = [sys.executable, "-m", "benchmarks.boto3_copy"]
    command += [f"--workers={stage.workers}", f"--config={stage.config}", f"--keys={stage.keys}"]
    return Contestant("boto3 threads", command, stage.clear, rounds, ROOT)


def program(name: str) -> Path:
    """A program from a wheel of the extra `bench`. Raises: RunFailed if it is not installed."""
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise RunFailed(f"{path} is not there: install this project with its extra, pip install -e '.[bench]'")
    return path
