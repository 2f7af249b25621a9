"""`python -m faultlab`: live through many scenarios, or once more through one that failed."""

from __future__ import annotations

import argparse
import sys
import time

from faultlab.many import KINDS, live_through
from faultlab.report import REPORT, commit, figures, write_report
from lab.shared import SharedLab

FIRST_SEED = 1


def main() -> int:
    """Returns: the exit code, 0 when every invariant held."""
    parser = argparse.ArgumentParser(prog="python -m faultlab", description=__doc__)
    parser.add_argument("--seed", type=int, help="this scenario alone, step by step")
    parser.add_argument("--kind", choices=list(KINDS), help="days on which the world moves, or stands still, alone")
    parser.add_argument("--runs", type=int, default=400, help="how many scenarios of each kind (default: 400)")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help=f"the first seed (default: {FIRST_SEED})")
    parser.add_argument("--jobs", type=int, default=4, help="scenarios at the same time (default: 4)")
    parser.add_argument("--write", action="store_true", help=f"write the figures of each kind to {REPORT.name}")
    options = parser.parse_args()
    if options.seed is not None:
        if options.write:
            parser.error("--write is for many days: --first and --runs")
        options.first, options.runs, options.jobs = options.seed, 1, 1
    made_of = commit()  # before anything is written into it
    lab = SharedLab.open()
    try:
        lab.addresses()
        kinds = [options.kind] if options.kind else list(KINDS)
        return max([_live(lab, kind, made_of, options) for kind in kinds])
    finally:
        lab.close()


def _live(lab: SharedLab, kind: str, made_of: str, options: argparse.Namespace) -> int:
    """Live through the days of one kind, and print and write their figures. Returns: as `main`."""
    began = time.monotonic()
    days = [(kind, seed) for seed in range(options.first, options.first + options.runs)]
    total = live_through(lab.folder, days, options.jobs, in_detail=options.seed is not None)
    command = f"python -m faultlab --kind {kind} --first {options.first} --runs {options.runs}"
    told = figures(total, (time.monotonic() - began) / 60, command, made_of)
    print(*total.violations, f"{kind} days: {told}", sep="\n")
    if options.write:
        write_report(kind, told)
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
