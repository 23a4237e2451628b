"""The same log and ticks give the same change sets byte for byte, whatever Python's hash seed is."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent

#: A longer recording starts with as many bytes.
MOST_BYTES = 20_000


def digest(protocol: str, data: bytes) -> str:
    """Of every change set, the state, the official object and the saved state of one stream."""
    from streamstore import StreamStore
    from streamstore.adapters.base import Context
    from streamstore.protocols import adapter_named

    found = hashlib.sha256()
    store = StreamStore(ticks="manual")
    store.subscribe(lambda changes: found.update(repr(changes).encode("utf-8", "surrogatepass")))
    stream = store.open(protocol)
    for number, line in enumerate(data.splitlines(keepends=True)):
        stream.feed(line)
        if number % 3 == 2:
            store.flush()
    saved = json.dumps(store.save())
    stream.end()
    store.flush()
    official = adapter_named(protocol)(Context()).encode(store)
    for value in (store.state(), official):
        found.update(json.dumps(value).encode())
    found.update(saved.encode())
    return found.hexdigest()


def digests() -> None:
    """Print a line for each recorded stream in `tests/data`."""
    from streamstore.protocols import adapters

    for protocol in adapters():
        for path in sorted((TESTS / "data" / protocol).rglob("*")):
            if path.suffix in (".sse", ".jsonl") and "snapshot" not in path.name:
                name = path.relative_to(TESTS)
                print(name, digest(protocol, path.read_bytes()[:MOST_BYTES]))


def printed(seed: str) -> list[str]:
    code = "from test_endurance_hashes import digests; digests()"
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_recorded_streams_of_every_protocol_do_not_depend_on_the_hash_seed() -> None:
    first = printed("0")
    assert len(first) > 150
    for seed in ("1", "4242"):
        assert printed(seed) == first


def test_a_difference_would_show() -> None:
    """The digest sees order: what a set gives is not the same twice."""
    code = "print(repr({'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "01234"
    }
    assert len(seen) > 1
    assert digest("native", b'{"type": "x"}\n') != digest("native", b'{"type": "y"}\n')
