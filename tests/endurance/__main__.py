"""The long runs, from the root of the checkout.

    python -m tests.endurance --hours 24          a day in virtual time, about a quarter of an hour
    python -m tests.endurance --message-mb 100    one message of 100 MB in deltas of about 8 characters

Prints figures, and `FAILED` with exit code 1 where one is not what is promised: memory within 1 %
after the warm-up, no more tasks, threads or files, the oracle's state; less than three times the
text, and the same number of calls per delta from the first tenth to the last.
"""

from __future__ import annotations

import argparse
import sys
import time

from streamstore import StreamStore

from .message import measure
from .soak import Plan, Sample, soak


def _tell(sample: Sample, store: StreamStore) -> None:
    print(
        f"{sample.at_s / 3600:6.2f} h  {sample.blocks:9,} blocks  {sample.objects:9,} objects  "
        f"{sample.rss / 1e6:7.1f} MB  {len(store.session_ids())} sessions",
        flush=True,
    )


def endure(hours: float, seed: int) -> bool:
    """A soak; whether every figure is what is promised."""
    # The warm-up: 64 sessions that stay and 128 that leave tombstones take half an hour to come.
    plan = Plan(hours=hours, warm_s=min(4.0, max(0.75, hours / 4)) * 3600, seed=seed)
    began = time.perf_counter()
    figures = soak(plan, _tell)
    print(
        f"{figures.deltas:,} deltas, {figures.reconnects:,} reconnects, {figures.repeated:,} "
        f"repeated events, {figures.evicted:,} sessions evicted, {figures.compared:,} sessions "
        f"compared with the oracle, in {time.perf_counter() - began:.0f} s"
    )
    fine = True
    for name in ("blocks", "objects", "rss"):
        drift = figures.drift(name)
        bad = abs(drift) >= 0.01 if name != "rss" else drift >= 0.01
        fine = fine and not bad
        print(f"{name}: drift {drift:+.3%}{' FAILED' if bad else ''}")
    for name in ("tasks", "threads", "files"):
        before, after = figures.most(name)
        fine = fine and after <= before
        print(f"{name}: at most {before}, later {after}{' FAILED' if after > before else ''}")
    return fine


def long_message(megabytes: float) -> bool:
    """One message; whether it is linear, in less than three times its text."""
    found = measure(int(megabytes * 1e6), traced=False)
    ratio = found.peak / found.characters
    print(
        f"{found.characters:,} characters; {ratio:.2f} times that at most, with the text read once "
        f"({found.held / found.characters:.2f} before)"
    )
    print(f"calls per 1,000 deltas and a tick, by tenth: {', '.join(map(str, found.calls))}")
    print(f"seconds, by tenth: {', '.join(f'{second:.2f}' for second in found.seconds)}")
    return ratio < 3 and max(found.calls) <= 1.2 * min(found.calls) + 50


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.endurance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hours", type=float, help="virtual hours of a soak, from 1")
    parser.add_argument("--message-mb", type=float, help="megabytes of one message")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if asked.hours is None and asked.message_mb is None:
        parser.error("give --hours or --message-mb")
    if asked.hours is not None and not asked.hours >= 1:
        parser.error("in less than an hour there is nothing but warm-up")
    fine = True
    if asked.message_mb is not None:
        fine = long_message(asked.message_mb)
    if asked.hours is not None:
        fine = endure(asked.hours, asked.seed) and fine
    print("all as promised" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
