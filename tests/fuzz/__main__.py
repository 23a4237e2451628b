"""The long run: `python -m tests.fuzz --minutes 10`, from the root of the checkout.

Each door gets its share of the time in a process of its own. Where atheris is installed
(`pip install atheris`) what an input reaches decides what is tried next; without it mutations come
from a seed alone. An input that breaks a promise, or takes longer than `HANG_S`, is written to a
file, shortened, and named with the command that runs it again; the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

try:
    if "--alone" not in sys.argv or "--plain" in sys.argv:
        raise ImportError
    import atheris
except ImportError:
    atheris = None  # type: ignore[assignment]
    from . import seeds
    from .doors import CONTROL, Door, doors, tidy
    from .mutations import mutate, mutate_value
else:  # what an input reaches can be seen only in modules that are imported here
    with atheris.instrument_imports(include=["streamstore"]):
        # Of these the library imports some late, where what they need is not installed everywhere.
        import streamstore.log.sqlite
        import streamstore.log.wal  # noqa: F401

        from . import seeds
        from .doors import CONTROL, Door, doors, tidy
        from .mutations import mutate, mutate_value

#: An input that takes longer is a hang, in seconds; the slowest valid one takes a hundredth.
HANG_S = 20
#: Inputs grow no longer than this, in bytes.
MOST_BYTES = 32_768


class Hung(AssertionError):
    """An input took too long."""


def _too_long(*_: Any) -> None:
    raise Hung(f"took more than {HANG_S} s")


def enter(door: Door, data: bytes) -> None:
    """One input through one door, within a time."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(HANG_S)
    try:
        door.enter(data)
    finally:
        signal.alarm(0)


def vary(random: Random, door: Door, data: bytes) -> bytes:
    """Another input, made of one."""
    control, body = data[:CONTROL].ljust(CONTROL, b"\0"), data[CONTROL:]
    if random.randrange(3) == 0:
        control = bytes(random.randrange(256) for _ in range(CONTROL))
    if door.whole and random.randrange(3):
        body = mutate_value(random, body)
    else:
        body = mutate(random, body, seeds.every_stream())
    return control + body[:MOST_BYTES] if not door.whole else control + body


def begins(door: Door) -> Iterator[bytes]:
    """The valid inputs, each with a few ways to feed it."""
    for place, seed in enumerate(door.seeds()):
        yield bytes((place % 256, place % 4, place % 8)) + seed
        yield bytes(CONTROL) + seed


def shorten(door: Door, data: bytes, kind: type[BaseException], seconds: float = 20) -> bytes:
    """A shorter input that fails in the same way: pieces go while it does."""
    until = time.monotonic() + seconds

    def fails(candidate: bytes) -> bool:
        try:
            enter(door, candidate)
        except BaseException as error:
            return type(error) is kind
        return False

    size = len(data) // 2
    while size and time.monotonic() < until:
        at = CONTROL
        while at < len(data) and time.monotonic() < until:
            candidate = data[:at] + data[at + size :]
            if fails(candidate):
                data = candidate
            else:
                at += size
        size //= 2
    return data


def report(door: Door, data: bytes, error: BaseException, folder: Path) -> None:
    """Write what broke a promise, and say how to see it again."""
    if not isinstance(error, Hung):
        data = shorten(door, data, type(error))
    path = folder / f"{door.name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    traceback.print_exception(error, limit=-4)
    print(f"BROKEN {door.name}: python -m tests.fuzz --door {door.name} --input {path}", flush=True)


def plainly(door: Door, seconds: float, seed: int, folder: Path) -> int:
    """Seeded mutation without coverage; the number of findings of different places."""
    random, pool = Random(seed), list(begins(door))
    until, count, found, slowest = time.monotonic() + seconds, 0, set(), 0.0
    while time.monotonic() < until:
        data = random.choice(pool)
        for _ in range(random.choice((1, 1, 2))):
            data = vary(random, door, data)
        count += 1
        began = time.process_time()
        try:
            enter(door, data)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            where = (type(error), frames[-1].filename, frames[-1].lineno)
            if where not in found:
                found.add(where)
                report(door, data, error, folder)
        took = time.process_time() - began
        if took > max(slowest, 1.0):
            (folder / f"{door.name}-slow").write_bytes(data)
        slowest = max(slowest, took)
    told = f"{count} inputs, {len(found)} broken, the slowest took {slowest:.2f} s (seed {seed})"
    print(f"{door.name}: {told}", flush=True)
    return len(found)


def guided(door: Door, seconds: float, seed: int, folder: Path) -> int:
    """Coverage-guided by atheris, which does not return; the exit code says what was found."""
    corpus = folder / f"corpus-{door.name}"
    corpus.mkdir(exist_ok=True)
    for data in begins(door):
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    seeded = len(list(corpus.iterdir()))
    found: set[Any] = set()
    tried = 0

    def one(data: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            enter(door, data)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            where = (type(error), frames[-1].filename, frames[-1].lineno)
            if where not in found:
                found.add(where)
                report(door, data, error, folder)

    def other(data: bytes, most: int, its_seed: int) -> bytes:
        random = Random(its_seed)
        if random.randrange(4) == 0:
            return bytes(atheris.Mutate(data, len(data)))
        return vary(random, door, data)[:most]

    until = time.monotonic() + seconds

    def watched(data: bytes) -> None:
        one(data)
        if time.monotonic() > until:
            kept = len(list(corpus.iterdir())) - seeded  # each reached what none before it did
            told = f"{tried} inputs, {kept} kept beside {seeded} seeds, {len(found)} broken"
            print(f"{door.name}: {told} (seed {seed})", flush=True)
            tidy()
            os._exit(1 if found else 0)

    longest = max(len(data) for data in begins(door))
    options = [
        f"-seed={seed}",
        f"-max_len={max(MOST_BYTES, longest + 4096)}",
        "-print_final_stats=0",
    ]
    options += ["-rss_limit_mb=3000", "-verbosity=0", "-close_fd_mask=0"]
    atheris.Setup(["fuzz", *options, str(corpus)], watched, custom_mutator=other)
    atheris.Fuzz()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for all doors together")
    parser.add_argument("--door", action="append", help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="without coverage")
    parser.add_argument("--input", help="run one input again, and raise what it raises")
    parser.add_argument("--keep", help="folder for inputs that break a promise")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    there = doors()
    names = asked.door or list(there)
    for name in names:
        if name not in there:
            parser.error(f"no door is named {name!r}; there are: {', '.join(there)}")
    if asked.input:
        enter(there[names[0]], Path(asked.input).read_bytes())
        print("nothing is broken by it")
        return 0
    folder = Path(asked.keep or tempfile.mkdtemp(prefix="streamstore-fuzz."))
    folder.mkdir(parents=True, exist_ok=True)
    seconds = asked.minutes * 60 / len(names)
    if asked.alone:
        return (plainly if atheris is None else guided)(
            there[names[0]], seconds, asked.seed, folder
        )
    plain = asked.plain or find_spec("atheris") is None
    guide = "plain mutation" if plain else "guided by coverage"
    print(f"{len(names)} doors, {seconds:.0f} s each, {guide}; findings in {folder}", flush=True)
    broken = []
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz", "--alone", "--door", name]
        command += [
            "--minutes",
            str(seconds / 60),
            "--seed",
            str(asked.seed),
            "--keep",
            str(folder),
        ]
        done = subprocess.run([*command, *(["--plain"] if asked.plain else [])], check=False)
        if done.returncode:
            broken.append(name)
    print(f"broken: {', '.join(broken) or 'nothing'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
