"""The demo: a made-up Mastodon moves from one store to another, all on this machine.

    python -m scripts.demo [--folder demo] [--command mastosync]

PostgreSQL and two SeaweedFS stores are started for it, and stopped whatever happens. What remains is a folder
with the configuration, the manifest, the log, and every object of both stores as a file. `--command` is another
mastosync than that of this environment: `make dist` names the one that it installed from the wheel. The exit code is 0
when everything came out as it should, 1 when it did not, and 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from lab.client import ROOT, Lab
from lab.instance import populate, upload
from lab.instance_check import differences
from lab.instance_objects import MIB, Instance, InstanceObject
from lab.process import LabError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

COMMAND = Path(sysconfig.get_path("scripts")) / "mastosync"
MARKER = ".made-by-the-demo"
SOURCE_BUCKET, DESTINATION_BUCKET = "old-home", "new-home"
MISSING, FOUND_AGAIN = 6, 4  # objects that the source lacks at first, and how many of them come back
GRACE_SECONDS = 20  # for mastosync to stop in order
SHOWN_DIFFERENCES = 20
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

FOREIGN_SETTINGS = ("MASTOSYNC_", "CONFIG_FILE_NAME", "AWS_", "PG")  # they would lead us elsewhere, as would proxies

CONFIG = """\
# Written by the demo. Its servers are stopped by now: `status` and `ls` answer, `plan` and `copy` find nobody.

[s3.source]
endpoint_url = {source.endpoint_url}
access_key = {source.access_key}
secret_key = {source.secret_key}
bucket = {source_bucket}

[s3.destination]
endpoint_url = {destination.endpoint_url}
access_key = {destination.access_key}
secret_key = {destination.secret_key}
bucket = {destination_bucket}

[pg.database]
host = {database.host}
port = {database.port}
user = {database.user}
password = {database.password}
database = {database.name}
sslmode = disable

[manifest]
path = {folder}/mastosync.db
"""


class DemoError(Exception):
    """The demo cannot begin, or did not come out as it should. Says why."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The story, told by the commands that a user types in `folder`."""

    command: Path
    folder: Path
    source: S3Client
    destination: S3Client
    instance: Instance

    def tell(self) -> None:
        """Run it all. Raises: DemoError when something is not as it should be."""
        lost = self.instance.missing
        self.run("Is everything in order? Better to know before than after.", "doctor")
        self.run("What is there to do? This only counts.", "plan --dry-run")
        self.run("Now every object that the database knows of goes into the manifest.", "plan")
        self.run(
            f"They are copied. The source lost {len(lost)} objects long ago, and exit code 3 will say so.",
            "--log-file mastosync.log copy --workers 8",
            expected_code=3,
        )
        self.run("The manifest knows what became of every object ...", "status")
        self.run("... and which ones failed.", "ls --state failed --format jsonl")
        found = lost[:FOUND_AGAIN]
        upload(self.source, SOURCE_BUCKET, [each.source for each in found])
        say(f"\n# Somebody finds {len(found)} of the lost objects in a backup, and puts them back at the source.")
        self.run(
            "Only what failed is tried again. The rest stays lost, so the exit code stays 3.",
            "--log-file mastosync.log retry-failed",
            expected_code=3,
        )
        self.prove()
        self.run("This is how it ends.", "status")
        self.check(found)

    def prove(self) -> None:
        """Show how a loss at the destination is found and made good, and what stays behind. Raises: DemoError."""
        lost = next(each.key for each in self.instance.present if each.table == "media_attachments")
        self.destination.delete_object(Bucket=DESTINATION_BUCKET, Key=lost)
        say("\n# Somebody deletes an object at the new store by mistake.")
        self.run("What is done is held against the new store, and something is not.", "verify", expected_code=3)
        self.run("What was lost there is copied again.", "copy", expected_code=3)
        self.run("Now all is there. A few objects are read back as well.", "verify --deep --sample 20")
        self.run("And what would be left behind at the old store?", "orphans")

    def check(self, found: list[InstanceObject]) -> None:
        """Hold both stores, and what the manifest says, against what is known of the instance. Raises: DemoError."""
        say("\n# And now the proof, without mastosync: every object of both stores is fetched and compared.")
        at_source = self.instance.at_source() | {each.source.key: each.source for each in found}
        expected = self.instance.at_destination(found)
        wrong = [
            f"{store}: {what}"
            for store, client, bucket, objects in (
                ("source", self.source, SOURCE_BUCKET, at_source),
                ("destination", self.destination, DESTINATION_BUCKET, expected),
            )
            for what in differences(client, bucket, objects, save_to=self.folder / store)
        ]
        wrong += self._wrong_counts(done=len(expected))
        if wrong:
            say(*wrong[:SHOWN_DIFFERENCES])
            raise DemoError(f"verdict: NOT WELL, {len(wrong)} things are not as they should be")
        keys = {each.key for each in self.instance.objects}
        strays = self.instance.strays
        older = sum(f"cache/{each.key}" in keys for each in strays)  # to `orphans` they belong to a row
        mebibytes = sum(stored.size for stored in expected.values()) / MIB
        say(
            f"source       {len(at_source)} objects, none changed by the migration",
            f"             {len(strays)} of them were left behind: {len(strays) - older} belong to no row, and {older}"
            " lie under an old key of a file that is under its new key, too",
            f"destination  {len(expected)} objects, {mebibytes:.1f} MiB, each with the bytes and headers of its source",
            f"             {len(self.instance.relocated)} of them lay where old releases put them, and lie where"
            " Mastodon looks today",
            f"manifest     {len(expected)} done, {len(self.instance.missing) - len(found)} missing at the source,"
            f" {len(self.instance.optional_absent)} that Mastodon can do without: as it is",
            "",
            f"verdict: all well, {len(expected)} of {len(expected)} objects arrived unchanged",
        )

    def _wrong_counts(self, done: int) -> Iterator[str]:
        answer = subprocess.run([self.command, "status", "--json"], cwd=self.folder, check=True, stdout=subprocess.PIPE)
        totals = json.loads(answer.stdout)["totals"]
        skipped = len(self.instance.optional_absent)
        failed = len(self.instance.objects) - done - skipped
        for state, count in {"pending": 0, "done": done, "failed": failed, "skipped": skipped}.items():
            if totals[state] != count:
                yield f"manifest: {totals[state]} {state} instead of {count}"

    def run(self, sentence: str, arguments: str, expected_code: int = 0) -> None:
        """Say what a command is for, and run it as a user would. Raises: DemoError if it ends in another way."""
        say(f"\n# {sentence}\n$ mastosync {arguments}")
        process = None
        try:
            with signals_held_back():
                # a process group of its own: Ctrl-C comes to us alone, and we pass it on, also while Python is starting
                process = subprocess.Popen([self.command, *arguments.split()], cwd=self.folder, process_group=0)
            code = process.wait()
        except BaseException:
            if process is not None:
                stop_in_order(process)
            raise
        if code != expected_code:
            raise DemoError(f"`mastosync {arguments}` ended with exit code {code} instead of {expected_code}")


def main() -> int:
    """Run the demo. Returns the exit code."""
    options = parse()
    for name in list(os.environ):
        if name.startswith(FOREIGN_SETTINGS) or name.lower().endswith("_proxy"):
            del os.environ[name]
    for number in SIGNALS[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, leave)
    started = time.monotonic()
    try:
        if not options.command.exists():
            raise DemoError(
                f"{options.command} is not there: install mastosync into its environment, or use `make demo`"
            )
        with fresh_folder(options.folder) as folder:
            perform(folder, options)
            tell_what_remains(folder, options.command, time.monotonic() - started)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (DemoError, LabError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped, and so is everything that it had started", file=sys.stderr)
        return 130
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="demo", description="Migrates a made-up Mastodon on this machine.")
    parser.add_argument("--folder", type=Path, default=ROOT / "demo", help="made anew; what remains is there")
    parser.add_argument("--command", type=Path, default=COMMAND, help="the mastosync that migrates")
    parser.add_argument("--accounts", type=int, default=85, help="how many, beside the odd ones")
    parser.add_argument("--media", type=int, default=130, help="how many attachments, beside the odd ones")
    parser.add_argument("--seed", type=int, default=1, help="another one makes another instance")
    return parser.parse_args()


def perform(folder: Path, options: argparse.Namespace) -> None:
    """Start the servers, fill the first store, and tell the story."""
    say("# A PostgreSQL and two S3 stores start on this machine, and are filled with a small Mastodon.")
    with Lab(postgres=True, s3=2) as lab, contextlib.ExitStack() as stack:
        database = lab.postgres.create_database("mastodon_production")
        source, destination = (stack.enter_context(contextlib.closing(store.client())) for store in lab.s3)
        source.create_bucket(Bucket=SOURCE_BUCKET)
        destination.create_bucket(Bucket=DESTINATION_BUCKET)
        config = folder / "config.ini"
        config.touch(mode=0o600)
        config.write_text(
            CONFIG.format(
                source=lab.s3[0],
                source_bucket=SOURCE_BUCKET,
                destination=lab.s3[1],
                destination_bucket=DESTINATION_BUCKET,
                database=database,
                folder=folder,
            ),
            encoding="utf-8",
        )
        instance = populate(
            database,
            source,
            SOURCE_BUCKET,
            seed=options.seed,
            accounts=options.accounts,
            media=options.media,
            missing=MISSING,
        )
        say(f"$ cd {shlex.quote(str(folder))}    # config.ini names both stores and the database")
        Demo(options.command.absolute(), folder, source, destination, instance).tell()


@contextlib.contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """An empty folder of our own, for us alone until the end. Raises: DemoError if it is not ours to empty."""
    folder = path.absolute()
    marker = folder / MARKER
    if folder.is_symlink() or (folder.exists() and not marker.is_file()):
        raise DemoError(f"{folder} exists and was not made by the demo: move it away, or name another with --folder")
    folder.mkdir(parents=True, exist_ok=True)
    with marker.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another demo is running in {folder}") from None
        for child in folder.iterdir():
            if child == marker:
                continue
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()
        yield folder


def stop_in_order(process: subprocess.Popen[bytes]) -> None:
    """Let a command finish what is in flight, but not for ever."""
    try:
        process.terminate()
        process.wait(GRACE_SECONDS)
    finally:
        process.kill()  # does nothing to one that has ended
        process.wait()


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Let no signal come between the start of a process and our knowing of it."""
    came: list[int] = []
    # one that is ignored, as under nohup, is left so: the process inherits that
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in heeded}
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])
        for number_that_came in came:
            signal.raise_signal(number_that_came)


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End as after an exception, so that everything is stopped."""
    sys.exit(128 + number)


def tell_what_remains(folder: Path, command: Path, seconds: float) -> None:
    """Say what is in the folder, and how to look at it."""
    here, there = (
        shlex.quote(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else shlex.quote(str(path))
        for path in (folder, command)
    )
    say(
        f"\nThat took {seconds:.0f} s; the servers are stopped. What is left in {here}/:",
        "  config.ini             the configuration, as a user would write it",
        "  mastosync.db           the manifest",
        "  mastosync.log          what copy and retry-failed had to say",
        "  source/, destination/  what the stores held, one file an object, its key as the path",
        "Look around:",
        f"  {there} --manifest {here}/mastosync.db status",
        f"  {there} --manifest {here}/mastosync.db ls --state failed --format jsonl",
        f"  diff -rq {here}/source {here}/destination",
    )


def say(*lines: str) -> None:
    """Tell the user, before whatever runs next does."""
    print(*lines, sep="\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
