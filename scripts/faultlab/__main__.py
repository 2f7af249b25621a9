"""`python -m scripts.faultlab`: live through many scenarios, or once more through one that failed."""

from __future__ import annotations

import argparse
import sys
import time

from scripts.faultlab.many import KINDS, live_through
from scripts.faultlab.report import REPORT, figures, write_report
from scripts.lab.shared import SharedLab

FIRST_SEED = 1


def main() -> int:
    """Returns: the exit code, 0 when every invariant held."""
    parser = argparse.ArgumentParser(prog="python -m scripts.faultlab", description=__doc__)
    parser.add_argument("--seed", type=int, help="this scenario alone, step by step")
    parser.add_argument("--kind", choices=list(KINDS), help="days on which the world moves, or stands still, alone")
    parser.add_argument("--runs", type=int, default=400, help="how many scenarios of each kind (default: 400)")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help=f"the first seed (default: {FIRST_SEED})")
    parser.add_argument("--jobs", type=int, default=4, help="scenarios at the same time (default: 4)")
    parser.add_argument("--write", action="store_true", help=f"write the figures to {REPORT.name}")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.runs)
    days = [(kind, seed) for seed in seeds for kind in ([options.kind] if options.kind else KINDS)]
    in_detail = options.seed is not None
    began = time.monotonic()
    lab = SharedLab.open()
    try:
        lab.addresses()
        total = live_through(lab.folder, days, 1 if in_detail else options.jobs, in_detail=in_detail)
    finally:
        lab.close()
    minutes = (time.monotonic() - began) / 60
    print(*total.violations, sep="\n")
    print(figures(total, minutes))
    if options.write:
        write_report(total, minutes)
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
