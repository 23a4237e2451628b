"""Plant every defect of the list: `python -m tests.defects [--jobs 2] [--only TEXT]`.

Prints what caught each, and caught/total; the exit code is 1 when one survives, or when the tests
fail on the package as it is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .planting import copy_package, defects, plant, run_tests, where_from


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.defects", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time")
    parser.add_argument("--only", default="", help="those whose name or file holds this text")
    parser.add_argument("--unchecked", action="store_true", help="do not run the tests unchanged")
    asked = parser.parse_args()
    chosen = [d for d in defects() if asked.only in d.name or asked.only in d.file]
    rotten = [f"{defect.name}: {defect.problem}" for defect in chosen if defect.problem]
    if rotten:
        print("\n".join(rotten))
        return 1
    if not asked.unchecked:
        with tempfile.TemporaryDirectory(prefix="streamstore-sound.") as name:
            folder = Path(name)
            package = copy_package(folder)
            assert where_from(folder).startswith(str(package))
            files = tuple(dict.fromkeys(test for defect in chosen for test in defect.tests))
            done = run_tests(folder, files)
            if done.returncode:
                print("the tests fail without any defect:", done.stdout[-2000:], sep="\n")
                return 1
        print(f"{len(files)} test files pass without a defect", flush=True)
    survivors = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        for defect, outcome in zip(chosen, pool.map(plant, chosen), strict=True):
            verdict = "caught" if outcome.caught else "SURVIVES"
            print(f"{verdict:8} {defect.file:22} {defect.name}: {outcome.by}", flush=True)
            if not outcome.caught:
                survivors.append(defect)
    print(f"{len(chosen) - len(survivors)}/{len(chosen)} caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
