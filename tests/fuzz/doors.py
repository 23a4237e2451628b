"""The doors: functions of bytes that return, whatever the bytes are, or find a broken promise.

A door raises `AssertionError` where a promise is broken, and lets through what the library raised
and does not document. Its first bytes say how the rest is fed (`CONTROL`), so that one input is one
case, byte for byte. Knows the library's public doors; no mutation.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from streamstore import StreamStore, StreamStoreError, UnknownProtocol, UnsupportedState
from streamstore.adapters.base import Context
from streamstore.decoding import decode_json
from streamstore.errors import MalformedEvent
from streamstore.feeding import connections, feed_all
from streamstore.jsonlines import JsonLinesParser
from streamstore.log import LogError, Record, read_log, read_state
from streamstore.log.lines import NoLog, Scan
from streamstore.log.sealing import seal
from streamstore.logs import Log as RecordedLog
from streamstore.logs import UnreadableLog
from streamstore.protocols import adapter_named, adapters
from streamstore.replay import AT_ONCE, PlainView, replay
from streamstore.sse import EventStreamParser
from streamstore.terminal import json_text, one_line
from streamstore.testing import Recorder, transcript
from streamstore.testing.books import Books
from streamstore.text import common_prefix
from streamstore.watch.drawing import document_line, event_lines, timeline_line
from streamstore.watch.inspector import Inspector

from . import seeds

#: Bytes at the start of an input that say how the rest is fed.
CONTROL = 3

#: What a terminal acts on, or what reorders a text.
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
#: How a sealed line of a log or a saved state ends.
_SEAL = re.compile(rb', "sum": "[^"]*"\}$')

_TICKS = ("manual", None, "each", "manual")
_SIZES = (1 << 30, 4096, 64, 7)
_MODES = (None, None, None, None, "block", "session", "sparse", "none")


class Door(NamedTuple):
    """One place where bytes of others come in.

    Attributes:
        name: as the command line spells it.
        seeds: gives valid inputs, without their control bytes.
        enter: takes control bytes and an input.
        whole: the input is one JSON value, not lines.
    """

    name: str
    seeds: Callable[[], tuple[bytes, ...]]
    enter: Callable[[bytes], None]
    whole: bool = False


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _split(data: bytes) -> tuple[bytes, bytes]:
    return data[:CONTROL].ljust(CONTROL, b"\0"), data[CONTROL:]


def _sse(data: bytes) -> None:
    """No bytes raise; however they are cut, the frames are the same."""
    control, body = _split(data)
    whole, cut = EventStreamParser(), EventStreamParser()
    frames = whole.feed(body)
    size = max(1, control[0])
    found = [frame for piece in _pieces(body, size) for frame in cut.feed(piece)]
    assert found == frames
    assert (cut.last_event_id, cut.retry, cut.skipped) == (
        whole.last_event_id,
        whole.retry,
        whole.skipped,
    )
    assert cut.held <= cut.limits.line + cut.limits.event


def _json_lines(data: bytes) -> None:
    """No bytes raise; however they are cut, the lines are the same, also at a small bound."""
    control, body = _split(data)
    for bound in (8 * 1024 * 1024, 1 + control[1]):
        whole, cut = JsonLinesParser(bound), JsonLinesParser(bound)
        lines = whole.feed(body) + whole.end()
        found = [line for piece in _pieces(body, max(1, control[0])) for line in cut.feed(piece)]
        assert found + cut.end() == lines
        assert cut.skipped == whole.skipped


def _json(data: bytes) -> None:
    """A value that can be written again, or a reason; both decoders say the same of what is read."""
    _, body = _split(data)
    try:
        value = decode_json(body)
    except MalformedEvent as error:
        assert str(error).startswith("not JSON: ")
        return
    json.dumps(value, allow_nan=False)
    again = decode_json(json.dumps(value).encode())
    assert again == value


def _shown(store: StreamStore) -> Any:
    state = store.state()
    del state["counts"]
    return state


def _stream(protocol: str, data: bytes) -> None:
    """Nothing raises but what is documented; what was shown is told, kept, counted and saved."""
    control, body = _split(data)
    flags, size, mode = control[0], _SIZES[control[1] % 4], _MODES[control[2] % 8]
    asked = "auto" if flags & 0x60 == 0x60 else protocol
    store = StreamStore(
        ticks=_TICKS[flags & 3],  # type: ignore[arg-type]
        delivery="buffered" if flags & 4 else "streaming",
    )
    beside = store.open("native", session_id="beside", sequencing="none")
    beside.ingest({"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "kept"})
    store.release("beside")
    store.flush()
    kept = store.part("beside", "m", 0)
    with Recorder(store) as recorder:
        stream = store.open(
            asked,
            sequencing=mode,  # type: ignore[arg-type]
            policy="strict" if flags & 8 else "lenient",
        )
        received = 0
        for place, piece in enumerate(_pieces(body, size)):
            try:
                stream.feed(piece)
            except UnknownProtocol:
                assert asked == "auto"
            assert stream.received >= received  # nothing that came is forgotten
            received = stream.received
            if place % 16 == 15:
                store.flush()
        if flags & 16:
            stream.end()
        store.flush()
        recorder.check()
        assert store.part("beside", "m", 0) is kept and kept is not None and kept.text == "kept"
        assert sum(store.health.counts["verdicts"].values()) >= min(1, stream.received)
        json.dumps(store.state(), allow_nan=False)
        names = list(adapters())
        for shape in (protocol, names[(control[1] >> 2) % len(names)]):  # as `fold --as` would
            json.dumps(adapter_named(shape)(Context()).encode(store), allow_nan=False)
        loaded = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        assert _shown(loaded) == _shown(store)
        # A shorter text that waits is counted already, the longer one is shown still: the books are
        # whole when nothing waits.
        for one in (store, loaded):
            for session_id in one.session_ids():
                one.release(session_id)
            one.flush()
        recorder.check()
    assert _shown(loaded) == _shown(store)
    problem = Books.of(store).problem
    assert problem is None, problem


def _load(data: bytes) -> None:
    """A saved store is refused, or is one that can be read, fed, saved and loaded again."""
    _, body = _split(data)
    try:
        saved = decode_json(body)
    except MalformedEvent:
        return
    if isinstance(saved, str):
        return  # the name of a file, which is another door
    try:
        store = StreamStore.load(saved, ticks="manual")
    except (UnsupportedState, UnknownProtocol):
        return
    for session_id in store.session_ids():
        store.session(session_id)
        for message in store.messages(session_id):
            for part in store.parts(session_id, message.id):
                assert isinstance(part.text, str)
    json.dumps(store.state())


#: Where files of doors lie, one name for each kind; goes with the process.
_FOLDER = tempfile.TemporaryDirectory(prefix="streamstore-fuzz-files.")


def _file(name: str, data: bytes) -> str:
    """A file with these bytes; the next call writes over it."""
    path = os.path.join(_FOLDER.name, name)
    for beside in ("", "-wal", "-shm", "-journal"):
        try:
            os.remove(path + beside)
        except OSError:
            pass
    Path(path).write_bytes(data)
    return path


def tidy() -> None:
    """Remove those files, where the process ends without its usual end."""
    _FOLDER.cleanup()


def _untouched(data: bytes, found: tuple[bytes, ...]) -> int:
    """How many bytes at the start are those of the seed that has most of them."""
    return max(common_prefix(data.decode("latin-1"), seed.decode("latin-1")) for seed in found)


def _records_of(data: bytes) -> list[Record]:
    try:
        return [item for item in Scan([data]) if isinstance(item, Record)]
    except NoLog:
        return []


def _sealed(data: bytes) -> bytes:
    """Every line that ends as a sealed one with the checksum that fits: damage that got past it."""
    lines = data.split(b"\n")
    return b"\n".join(seal(_SEAL.sub(b"", line)) if _SEAL.search(line) else line for line in lines)


def _log(data: bytes) -> None:
    """Records before the damage come out as they went in; the rest is told, never raised."""
    control, body = _split(data)
    if control[1] & 1 and body[:2] != b"\x1f\x8b":
        body = _sealed(body)
    path = _file("log.jsonl", body)
    losses: list[Any] = []
    records: list[Record] = []
    try:
        with read_log(path) as log:
            for record in log.read(after=control[0] % 3, on_loss=losses.append):
                records.append(record)
            log.position_of("3")
            log.start_of(1)
    except LogError:
        pass
    positions = [record.position for record in records]
    assert positions == sorted(set(positions))
    kept = body[: _untouched(body, seeds.logs())]
    whole = _records_of(kept[: kept.rfind(b"\n") + 1]) if kept[:2] != b"\x1f\x8b" else []
    after = control[0] % 3
    wanted = [record for record in whole if record.position > after]
    assert records[: len(wanted)] == wanted


def _database(data: bytes) -> None:
    """A database of any bytes is read as far as it goes, or refused by a documented error."""
    control, body = _split(data)
    path = _file("log.sqlite", body)
    positions: list[int] = []
    try:
        with read_log(path) as log:
            for record in log.read(after=control[0] % 3, on_loss=lambda _: None):
                positions.append(record.position)
            log.position_of("3")
            log.start_of(1)
    except LogError:
        pass
    assert positions == sorted(set(positions))


def _recording(data: bytes) -> None:
    """What a command is given is read in bounded chunks or refused as unreadable."""
    _, body = _split(data)
    path = _file("recording", body)
    losses: list[Any] = []
    try:
        chunks = b"".join(RecordedLog(path, on_loss=losses.append).chunks())
        events = list(RecordedLog(path, on_loss=losses.append).events())
    except UnreadableLog as error:
        assert str(error).startswith(path)
        return
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert b"".join(event.data for event in events) == chunks


def _saved_file(data: bytes) -> None:
    """A file of a saved state gives a state that was written, or is refused.

    A checksum that nobody wrote and that fits is no damage: the fuzzer reads it off the comparison.
    """
    control, body = _split(data)
    if control[0] & 1:
        body = _sealed(body)
    path = _file("state.json", body)
    try:
        state = read_state(path)
    except (UnsupportedState, LogError):
        return
    seal = _SEAL.search(body)
    written = any(seal is None or data.endswith(seal[0] + b"\n") for data in seeds.state_files())
    assert not written or state in map(json.loads, seeds.saves())
    try:
        StreamStore.load(path)
    except (UnsupportedState, UnknownProtocol):
        return


def _harmless(text: str) -> None:
    found = _ACTIVE.search(text)
    assert found is None, f"printed {text[max(0, found.start() - 40) :][:80]!r}"


def _shown_by_commands(data: bytes) -> None:
    """What `fold`, `replay` and `fold --as` print of any bytes acts on no terminal."""
    _, body = _split(data)
    path = _file("shown", body)
    printed = io.StringIO()
    told: list[str] = []
    try:
        view = PlainView(printed)
        replay(connections([path], told.append), view, speed=AT_ONCE, tell=told.append)
    except StreamStoreError as error:
        told.append(one_line(str(error), 500))
    store = StreamStore(ticks="manual")
    try:
        feed_all(store, connections([path], told.append), tell=told.append)
    except StreamStoreError:
        pass
    store.flush()
    _harmless(printed.getvalue())
    _harmless(json_text(store.state()))
    _harmless(transcript(store))
    for line in told:
        _harmless(one_line(line, 500))


def _watched(data: bytes) -> None:
    """Any bytes are events of a timeline, each with a state after it; no line acts on a terminal."""
    control, body = _split(data)
    inspector = Inspector("auto", clock=lambda: 0.0)
    try:
        log = RecordedLog(_file("watched", body), on_loss=lambda _: None)
        for event in islice(log.events(), 200):
            inspector.take(event.data, event.at)
    except (UnknownProtocol, UnreadableLog):
        pass
    if control[0] & 1:
        inspector.note("connection ended")
    inspector.settle()
    width = 20 + control[1] % 100
    inspector.document.resize(width)
    lines = [timeline_line(line, width) for line in inspector.timeline.lines]
    lines += map(document_line, map(inspector.document.line, range(inspector.document.height)))
    for row in list(inspector.timeline.rows)[-4:]:
        lines += event_lines(row, inspector.after(row), control[2] % 3)
    for line in lines:
        for piece in line:
            _harmless(piece.text)
            assert "\n" not in piece.text and "\t" not in piece.text


def doors() -> dict[str, Door]:
    """Every door by name."""
    found = [
        Door("sse", seeds.every_stream, _sse),
        Door("jsonlines", seeds.every_stream, _json_lines),
        Door("json", seeds.values, _json, whole=True),
        *(Door(name, partial(seeds.streams, name), partial(_stream, name)) for name in adapters()),
        Door("log", seeds.logs, _log),
        Door("database", seeds.databases, _database),
        Door("recording", seeds.recordings, _recording),
        Door("load", seeds.saves, _load, whole=True),
        Door("state-file", seeds.state_files, _saved_file),
        Door("commands", seeds.recordings, _shown_by_commands),
        Door("watch", seeds.recordings, _watched),
    ]
    return {door.name: door for door in found}


#: What a door may let through: nothing. Named for those who read a finding.
DOCUMENTED = StreamStoreError
