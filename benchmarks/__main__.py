"""How fast mastosync is, beside other clients in the same run.

    python -m benchmarks                           everything, into benchmarks/results.md
    python -m benchmarks --only null --rounds 3    one scenario, printed only

Needs nginx and the extra `bench`. Each scenario starts its own servers, on loopback and free ports.
Objects lie in memory (/dev/shm, where there is one), below 2 GB of them; manifests lie on the disk.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import Bench, Scenario
from benchmarks.measure import RunFailed, compiled
from benchmarks.report import preface
from benchmarks.scenarios.disk import disk
from benchmarks.scenarios.null import delay, large, large_tls, null, null_tls
from benchmarks.scenarios.planning import planning
from benchmarks.scenarios.real import resume, seaweed, server_side
from lab.client import ROOT
from lab.process import LabError

SCENARIOS: dict[str, Scenario] = {
    "null": null,
    "null-tls": null_tls,
    "delay": delay,
    "large": large,
    "large-tls": large_tls,
    "disk": disk,
    "seaweed": seaweed,
    "server-side": server_side,
    "resume": resume,
    "plan": planning,
}
RESULTS = ROOT / "benchmarks" / "results.md"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - what lies there costs no disk


def main() -> int:
    """Run the scenarios, print each when it is through, and write all of them."""
    options = _parse()
    signal.signal(signal.SIGTERM, _exit)  # as Ctrl-C: servers are stopped, files removed
    chosen = options.only or list(SCENARIOS)
    for checkout in (ROOT, *options.against):
        compiled(checkout)
    parts = [preface()]
    print(parts[0])
    try:
        for name in chosen:
            print(f"{name} ...", flush=True)
            parts.append(_section(SCENARIOS[name], options))
            print(f"\n{parts[-1]}", flush=True)
    except (LabError, RunFailed) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    output = options.output or (None if options.only else RESULTS)
    if output is not None:
        output.write_text("\n".join(parts), encoding="utf-8")
        print(f"written to {output}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=SCENARIOS, metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--objects", type=int, default=10_000, help="small objects [%(default)s]")
    parser.add_argument("--rounds", type=int, help="how often each client runs [2 to 5, as the scenario has it]")
    parser.add_argument("--keys", type=int, default=2_000_000, help="of a plan [%(default)s]")
    parser.add_argument("--against", type=Path, action="append", default=[], help="another checkout of mastosync")
    parser.add_argument("--folder", type=Path, help="for manifests and databases [the temporary folder]")
    parser.add_argument("--output", type=Path, help="a file for the results [benchmarks/results.md, without --only]")
    return parser.parse_args()


def _section(scenario: Scenario, options: argparse.Namespace) -> str:
    with ExitStack() as stack:
        memory, disk = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mastosync-bench-", dir=parent)))
            for parent in (SHARED_MEMORY if SHARED_MEMORY.is_dir() else options.folder, options.folder)
        )
        checkouts = tuple(path.resolve() for path in options.against)
        bench = Bench(memory, disk, options.objects, options.rounds, options.keys, checkouts)
        return scenario(bench).markdown()


def _exit(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
