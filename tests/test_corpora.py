"""Every recorded stream of every protocol keeps the laws, whatever is done to it.

What each protocol's final object must be is tested beside its adapter; here the streams of all of
them are disturbed as `streamstore check` does: events and stretches again, other chunks of bytes,
ticks and delivery modes, cuts with a saved state, a second session beside.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamstore.feeding import connections
from streamstore.protocols import adapters
from streamstore.testing import Log, check_laws

DATA = Path(__file__).parent / "data"
#: A longer log is examined in stretches by the command; here it would only take long.
MOST_BYTES = 60_000
PATTERNS = {"opencode": ("*/events*.jsonl*",)}


def streams() -> list[tuple[str, Path]]:
    """Recorded streams by protocol: those of this repository, or all where they are at hand."""
    named = os.environ.get("STREAMSTORE_CORPORA")
    found = []
    for protocol in adapters():
        folders = [DATA / protocol, *([Path(named) / protocol] if named else [])]
        cases = {
            path.relative_to(folder): path
            for folder in folders
            for pattern in PATTERNS.get(protocol, ("*/*.sse", "*.sse", "*.jsonl"))
            for path in folder.glob(pattern)
            if path.stat().st_size <= MOST_BYTES and path.name != "made.jsonl"
        }
        found += [(protocol, path) for _, path in sorted(cases.items())]
    return found


STREAMS = streams()


@pytest.mark.parametrize(
    ("protocol", "path"), STREAMS, ids=[f"{p}-{f.parent.name}-{f.stem}" for p, f in STREAMS]
)
def test_a_recorded_stream_keeps_the_laws(protocol: str, path: Path) -> None:
    (connection,) = connections([str(path)])
    log = Log.of_connection(connection, protocol=protocol)
    for report in check_laws(log, runs=3):
        assert report.outcome != "broken", f"{report.law} {report.name}\n{report.counterexample}"


def test_there_are_streams_of_every_protocol_that_has_recordings() -> None:
    counts = {name: sum(protocol == name for protocol, _ in STREAMS) for name in adapters()}
    for name in ("opencode", "anthropic", "openai-chat", "openai-responses", "vercel-ui", "ag-ui"):
        assert counts[name] >= 3, counts
