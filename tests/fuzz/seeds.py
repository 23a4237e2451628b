"""Where fuzzing starts: valid inputs of every door, made of the recorded streams in `tests/data`.

Knows files and the library's writers; no door and no mutation.
"""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from functools import cache
from pathlib import Path

from streamstore import StreamStore
from streamstore.log import open_log, write_state
from streamstore.protocols import adapters

DATA = Path(__file__).resolve().parent.parent / "data"

#: Longer recordings start with as many bytes, cut at an event: an input should cost milliseconds.
MOST_BYTES = 6_000

# What no recording holds: made by hand so that every event of the library's own vocabulary, every
# sequencing and the codes of numbers and ids are near.
_NATIVE = (
    [
        {"type": "stream.opened", "sequencing": "sparse", "generation": "g1"},
        {"type": "session.updated", "info": {"title": "t"}, "seq": 1, "id": "e1"},
        {"type": "session.status", "status": "busy", "seq": 2},
        {"type": "turn.started", "deliveryMode": "buffered"},
        {"type": "message.opened", "messageId": "m", "role": "assistant", "order": 1, "seq": 3},
        {"type": "block.opened", "messageId": "m", "blockIndex": 0, "kind": "text", "seq": 4},
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "Hel", "seq": 5},
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "lo \ud83d", "seq": 7},
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "late", "seq": 6},
        {"type": "block.delta", "messageId": "m", "blockIndex": "t", "field": "input",
         "text": "{\"a\":", "seq": 8},
        {"type": "block.updated", "messageId": "m", "blockIndex": "t", "seq": 9, "callId": "c",
         "status": "running", "tool": "x"},
        {"type": "block.replaced", "messageId": "m", "blockIndex": 0, "text": "Hello", "seq": 10},
        {"type": "block.snapshot", "messageId": "m", "blockIndex": 1, "text": "snap", "seq": 12},
        {"type": "permission.asked", "id": "p", "messageId": "m", "callId": "c", "seq": 13},
        {"type": "permission.replied", "id": "p", "seq": 14},
        {"type": "session.state", "state": {"a": [1, 2]}, "seq": 15},
        {"type": "session.state", "patch": [{"op": "add", "path": "/b", "value": 1}], "seq": 16},
        {"type": "todo.updated", "todo": [{"content": "x"}], "seq": 17},
        {"type": "block.closed", "messageId": "m", "blockIndex": 0, "seq": 18},
        {"type": "message.reset", "messageId": "m", "seq": 19},
        {"type": "message.closed", "messageId": "m", "status": "completed", "seq": 20},
        {"type": "turn.completed"},
        {"type": "block.removed", "messageId": "m", "blockIndex": 1, "seq": 21},
        {"type": "snapshot", "seq": 22, "complete": True, "messages": [
            {"info": {"id": "m", "role": "assistant"},
             "parts": [{"blockIndex": 0, "kind": "text", "text": "Hello!", "seq": 22}]}]},
        {"type": "message.removed", "messageId": "m", "seq": 23},
        {"type": "session.removed", "seq": 24},
    ],
    [
        {"type": "stream.opened", "sequencing": "block"},
        *({"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": f"{seq},", "seq": seq}
          for seq in (1, 2, 4, 3, 3, 6, 8)),
        {"type": "block.snapshot", "messageId": "m", "blockIndex": 0, "text": "1,2,3,4,5,",
         "seq": 5},
        {"type": "block.closed", "messageId": "m", "blockIndex": 0, "seq": 9},
        {"type": "stream.opened", "generation": "g2"},
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "new", "seq": 1,
         "generation": "g2"},
        {"type": "message.rollback", "messageId": "m"},
    ],
    [
        {"type": "stream.opened", "sequencing": "session"},
        *({"type": "block.delta", "sessionId": "s", "messageId": f"m{seq % 2}", "blockIndex": 0,
           "text": f"{seq},", "seq": seq, "id": f"e{seq}"} for seq in (1, 2, 5, 4, 9, 3)),
        {"type": "session.error", "sessionId": "s", "error": {"name": "E", "message": "x"},
         "seq": 10},
        {"type": "question.asked", "sessionId": "s", "id": "q", "seq": 11},
        {"type": "question.rejected", "sessionId": "s", "id": "q", "seq": 12},
    ],
)  # fmt: skip


def _cut(data: bytes) -> bytes:
    if len(data) <= MOST_BYTES:
        return data
    end = b"\n\n" if b"\n\n" in data[:MOST_BYTES] else b"\n"
    return data[: data.rfind(end, 0, MOST_BYTES) + len(end)]


@cache
def streams(protocol: str) -> tuple[bytes, ...]:
    """Recorded streams of a protocol, as bytes; each opens one connection."""
    if protocol == "native":
        return tuple(
            b"".join(json.dumps(wire).encode() + b"\n" for wire in wires) for wires in _NATIVE
        )
    files = [
        path
        for path in sorted((DATA / protocol).rglob("*"))
        if path.suffix in (".sse", ".jsonl") and "snapshot" not in path.name
    ]
    return tuple(dict.fromkeys(_cut(path.read_bytes()) for path in files))


@cache
def every_stream() -> tuple[bytes, ...]:
    """Streams of all protocols, a few of each, for the framers and for splices."""
    return tuple(data for name in adapters() for data in streams(name)[:4])


@cache
def values() -> tuple[bytes, ...]:
    """JSON values: one event of each protocol, and what the standard says at its edges."""
    lines = [data.split(b"\n", 1)[0].removeprefix(b"data:") for data in every_stream()]
    return (*lines, b'[1.5e-3, -0, "\\ud83d\\ude00", {"a": {"a": null}}, true]', b" 1 ", b'"\\u00"')


@cache
def saves() -> tuple[bytes, ...]:
    """Saved stores, each in the middle of something."""
    found = []
    for protocol in adapters():
        for data in streams(protocol)[:3]:
            store = StreamStore(
                ticks="manual", delivery="buffered" if len(found) % 2 else "streaming"
            )
            lines = data.splitlines(keepends=True)
            stream = store.open(protocol)
            stream.feed(b"".join(lines[: len(lines) // 2]))
            store.flush()
            stream.feed(b"".join(lines[len(lines) // 2 : -1]))
            found.append(json.dumps(store.save()).encode())
    return tuple(found)


@cache
def state_files() -> tuple[bytes, ...]:
    """The same states as files."""
    found: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.json"
        for saved in saves():
            write_state(json.loads(saved), path)
            found.append(path.read_bytes())
    return tuple(found)


def _log(name: str, protocol: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        with open_log(path) as log:
            for place, line in enumerate(streams(protocol)[0].split(b"\n")[:20]):
                log.append(line, time_ms=place, event_id=str(place), connection=place // 8)
        return path.read_bytes()


@cache
def logs() -> tuple[bytes, ...]:
    """Logs of JSON lines, plain and packed."""
    plain = [_log("log.jsonl", protocol) for protocol in ("native", "anthropic", "acp")]
    return (*plain, gzip.compress(plain[0], mtime=0))


@cache
def databases() -> tuple[bytes, ...]:
    """Logs as SQLite databases."""
    return tuple(_log("log.sqlite", protocol) for protocol in ("native", "opencode"))


@cache
def recordings() -> tuple[bytes, ...]:
    """Whatever a command may be given: streams, packed streams, logs of ours."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
        file.write(every_stream()[0])
    return (*every_stream(), packed.getvalue(), *logs())
