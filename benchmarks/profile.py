"""Where the time of a copy goes: small and large objects of the null store, as text.

    python -m benchmarks.profile                       both, by http
    python -m benchmarks.profile --only large --tls    one of them, by TLS

py-spy tells which lines of Python threads are at, those left out that are known to wait there; a line that asks a
network may still be waiting. perf, where there is one, tells in another run what took processor time: the libraries,
and the system. A profiled copy is slower than others.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import WORKERS, Bench
from benchmarks.measure import Contestant, RunFailed, compiled, run
from benchmarks.objects import BenchObject, make_large_objects
from benchmarks.rivals import Stage, mastosync, present
from benchmarks.scenarios.null import LARGE_BYTES, LARGE_OBJECTS, large_stage, small_stage
from benchmarks.stores.null_store import NullStore
from lab.client import ROOT
from lab.process import LabError

HERTZ = 200
_PERF_LINES = 15
_LINE = re.compile(r":\d+\)$")
_LAST_FRAMES = 5
# where a thread is that has nothing to do
_WAITING = ("Condition.wait (threading.py", "_worker (concurrent/futures/thread.py", "_noticing.<locals>.notice (")


def main() -> int:
    """Copy under the eyes of a profiler, and print what it saw."""
    options = _parse()
    compiled(ROOT)
    for name in options.only or PATHS:
        try:
            print(_profiled(name, options), flush=True)
        except (LabError, RunFailed) as error:
            print(f"benchmarks.profile: {error}", file=sys.stderr)
            return 1
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PATHS, help="one of them")
    parser.add_argument("--tls", action="store_true", help="by TLS")
    parser.add_argument("--objects", type=int, default=10_000, help="small objects [%(default)s]")
    parser.add_argument("--top", type=int, default=20, help="lines of each table [%(default)s]")
    parser.add_argument("--keep", type=Path, help="a folder for the stacks, one a line, as flamegraph.pl reads them")
    return parser.parse_args()


def _profiled(name: str, options: argparse.Namespace) -> str:
    way = "TLS" if options.tls else "http"
    with ExitStack() as stack:
        memory, disk = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mastosync-profile-", dir=parent)))
            for parent in ("/dev/shm" if Path("/dev/shm").is_dir() else None, None)  # noqa: S108
        )
        bench = Bench(memory, disk, options.objects)
        make, set_up = PATHS[name]
        objects = make(bench)
        store = stack.enter_context(NullStore(memory / "null", objects))
        store.warm_up()
        copy = mastosync(set_up(bench, store, objects, tls=options.tls))
        parts = [f"# {name} objects by {way}: {len(objects):,}, {len(objects[0].content):,} bytes the first\n"]
        parts.append(_by_perf(copy, bench))
        stacks = _by_py_spy(copy, bench)
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / f"{name}-{way}.txt").write_text(stacks, encoding="utf-8")
        return "\n".join([*parts, summary(stacks, options.top)])


def _by_py_spy(copy: Contestant, bench: Bench) -> str:
    """The stacks, one a line, each with the number of samples."""
    program, stacks = present(Path(sysconfig.get_path("scripts")) / "py-spy"), bench.disk / "stacks.txt"
    record = (program, "record", "--format=raw", f"--rate={HERTZ}", f"--output={stacks}", "--")
    run(replace(copy, command=[*record, *copy.command]), bench.log)
    return stacks.read_text(encoding="utf-8")


def _by_perf(copy: Contestant, bench: Bench) -> str:
    """The share of each library, or why it is not known."""
    perf, data = shutil.which("perf"), bench.disk / "perf.data"
    if perf is None:
        return "There is no perf here, so nothing is known of the time in the system.\n"
    try:
        cost = run(
            replace(copy, command=[perf, "record", "--quiet", f"--output={data}", "--", *copy.command]), bench.log
        )
    except RunFailed as error:
        return f"perf does not work here: {error}\n"
    report = (perf, "report", f"--input={data}", "--stdio", "--quiet")
    tables = [
        f"CPU time by {what}, of {cost.cpu_seconds:.2f} s in {cost.seconds:.2f} s (perf):\n{_said(*report, sort)}\n"
        for what, sort in (("library", "--sort=dso"), ("function", "--sort=dso,symbol"))
    ]
    return "\n".join(tables)


def _said(*command: str) -> str:
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return "\n".join([line.rstrip(" -") for line in told.splitlines() if line.strip()][:_PERF_LINES])


def summary(stacks: str, top: int) -> str:
    """Tables of collapsed stacks: `frame;frame;… samples` a line, the outermost frame first."""
    inside, lines, last = Counter[str](), Counter[str](), Counter[str]()
    for line in stacks.splitlines():
        text, _, number = line.rpartition(" ")
        frames = text.split(";")
        if not text or frames[-1].startswith(_WAITING):
            continue
        inside.update(dict.fromkeys((_LINE.sub(")", frame) for frame in frames), int(number)))
        lines[frames[-1]] += int(number)
        last[" < ".join(reversed(frames[-_LAST_FRAMES:]))] += int(number)
    tables = {
        "by line": lines,
        "by function, with what it calls": inside,
        f"by the innermost {_LAST_FRAMES} frames": last,
    }
    total = lines.total()
    return "\n".join(
        "\n".join([f"{total:,} samples (py-spy), {title}:", *_shares(table, total, top), ""])
        for title, table in tables.items()
    )


def _shares(table: Counter[str], total: int, top: int) -> list[str]:
    return [f"{100 * number / total:6.1f} %  {name}" for name, number in table.most_common(top)]


def _set_up_small(bench: Bench, store: NullStore, objects: Sequence[BenchObject], *, tls: bool) -> Stage:
    return small_stage(bench, store, store.secure if tls else store.plain, objects, WORKERS)


def _set_up_large(bench: Bench, store: NullStore, objects: Sequence[BenchObject], *, tls: bool) -> Stage:
    return large_stage(bench, store, store.secure_counted if tls else store.counted, objects)


PATHS: dict[str, tuple[Callable[[Bench], list[BenchObject]], Callable[..., Stage]]] = {
    "small": (lambda bench: bench.objects, _set_up_small),
    "large": (lambda _: make_large_objects(LARGE_OBJECTS, LARGE_BYTES), _set_up_large),
}
"""The objects of each, and where they are copied."""


if __name__ == "__main__":
    sys.exit(main())
