"""`python -m tests.simulation`: any number of histories; exit code 1 when one is not as it should be.

What fails is printed with its seed, made small, and kept in `regressions.json`, which pytest and
the next run of this command carry out first.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from streamstore.terminal import one_line

from . import histories, regressions
from .core import new_digest
from .shrinking import shrunk

_BLOCK = 250


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=20_000, help="how many; one seed each")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--tier", choices=["all", *histories.MAKERS], default="all")
    parser.add_argument("--most", type=int, default=10, help="end after so many mismatches")
    parser.add_argument(
        "--digest", action="store_true", help="print a digest of every change set instead"
    )
    parser.add_argument("--forget", action="store_true", help="keep nothing in regressions.json")
    options = parser.parse_args(arguments)
    if options.digest:
        print(digest(options.seed, options.histories))
        return 0
    failed = 0
    for name, history in regressions.load().items():
        problem = histories.problem(history)
        if problem is not None:
            failed += 1
            _say(f"regression {name}: {problem}")
    began, done = time.monotonic(), 0
    for count, found in _run(options):
        done += count
        for seed, problem in found[: max(0, options.most - failed)]:
            failed += 1
            _report(seed, problem, options.tier, keep=not options.forget)
        spent = time.monotonic() - began
        left = (options.histories - done) * spent / max(1, done)
        _progress(
            f"{done} of {options.histories} histories, {failed} mismatches, {left:.0f} s left"
        )
        if failed >= options.most:
            break
    spent = time.monotonic() - began
    _say(f"{done} histories from seed {options.seed} on, {failed} mismatches, {spent:.0f} s")
    return 1 if failed else 0


def digest(seed: int, number: int) -> str:
    """SHA-256 over every change set and end state of some histories."""
    total = new_digest()
    for at in range(seed, seed + number):
        problem = histories.problem(histories.make(at), total)
        total.update(repr(problem).encode("utf-8", "surrogatepass"))
    return str(total.hexdigest())


def _run(options: argparse.Namespace) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    end = options.seed + options.histories
    blocks = [(at, min(at + _BLOCK, end), options.tier) for at in range(options.seed, end, _BLOCK)]
    if options.jobs == 1:
        yield from map(histories.run_block, blocks)
        return
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        waiting = [pool.submit(histories.run_block, block) for block in blocks]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _report(seed: int, problem: str, tier: str, keep: bool) -> None:
    _say(f"seed {seed}: {problem}")
    history = shrunk(histories.make(seed, tier), histories.problem)
    again = histories.problem(history) or "it does not fail again: it is not deterministic"
    _say(f"  made small, {len(history['actions'])} actions are left: {again}")
    if keep:
        name = regressions.keep(history, again)
        _say(f"  kept as {name!r} in {regressions.FILE}")


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    print(one_line(text, 600), flush=True)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    else:
        _Slowly.say(text)


class _Slowly:
    """One line a minute, where lines stay."""

    said = time.monotonic()

    @classmethod
    def say(cls, text: str) -> None:
        if time.monotonic() - cls.said >= 60:
            cls.said = time.monotonic()
            print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
