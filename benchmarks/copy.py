"""How fast `mastosync copy` is, beside other clients in the same run.

python -m benchmarks.copy --only null
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import RunFailed, ratios, run, run_in_turn
from benchmarks.null_store import DESTINATION, SOURCE, NullStore
from benchmarks.objects import make_objects
from benchmarks.rivals import Bucket, Stage, boto3_threads, mastosync, rclone_fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--only")
    parser.add_argument("--against", type=Path, action="append", default=[])
    options = parser.parse_args()
    objects = make_objects(options.objects)
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-") as name:
        with NullStore(Path(name), objects) as store:
            stage = Stage(
                Path(name) / "stage",
                objects,
                Bucket(store.address, SOURCE),
                Bucket(store.address, DESTINATION),
                options.workers,
                store.empty,
            )
            stage.set_up()

            def check() -> None:
                damaged = store.damaged(objects)
                if damaged:
                    raise RunFailed(f"{len(damaged)} objects have not arrived, {damaged[0]} among them")

            log = Path(name) / "output.log"
            contestants = [
                mastosync(stage),
                *(mastosync(stage, tree) for tree in options.against),
                rclone_fastest(stage),
            ]
            contestants.append(boto3_threads(stage, 1))
            figures = run_in_turn(contestants, len(objects), options.rounds, check, log)
            for other in figures[1:]:
                print(f"mastosync / {other.name}: {ratios(figures[0].rates, other.rates).text('.2f')}")
            counted = Stage(
                Path(name) / "counted",
                objects[:300],
                Bucket(store.counted, SOURCE),
                Bucket(store.counted, DESTINATION),
                options.workers,
                store.empty,
            )
            counted.set_up()
            for c in [mastosync(counted), rclone_fastest(counted), boto3_threads(counted, 1)]:
                c.prepare()
                run(c, log)
                print(c.name, store.requests())


if __name__ == "__main__":
    sys.exit(main())
