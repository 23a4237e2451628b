"""Every kind of log is played alike: frames, ids, times, from any position."""

from __future__ import annotations

import gzip
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from streamstore import CallerError, Limits, StreamStore
from streamstore.log import open_log
from streamstore.log.writing import PAYLOAD_BYTES
from streamstore.logs import UnreadableLog
from streamstore.serve.tape import Tape, open_tape
from streamstore.testing import sample

DATA = Path(__file__).resolve().parent.parent / "data"


def written(folder: Path, kind: str) -> Path:
    """The same three events as each kind of log."""
    wires = [
        {"type": "stream.opened", "sequencing": "block"},
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": 1, "text": "a\u2028"},
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": 2, "text": "b"},
    ]
    lines = [json.dumps(wire, ensure_ascii=False).encode() for wire in wires]
    if kind in ("jsonl", "jsonl.gz"):
        data = b"".join(line + b"\n" for line in lines)
    elif kind == "sse":
        data = b"\xef\xbb\xbf: hi\n\n" + b"".join(b"data: " + line + b"\n\n" for line in lines)
    elif kind == "crlf":
        data = b"".join(b"data: " + line + b"\r\n\r\n" for line in lines)
    else:
        path = folder / f"log.{kind}"
        with open_log(path) as log:
            for place, line in enumerate(lines):
                log.append(line, time_ms=1_700_000_000_000 + 30 * place)
        return path
    path = folder / f"log.{kind}"
    path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    return path


KINDS = ["jsonl", "jsonl.gz", "sse", "crlf", "log", "sqlite"]


def played(tape: Tape, after: int = 0) -> list[Any]:
    return [event.wire() for event in tape.events(after)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_log_gives_the_same_events(kind: str, tmp_path: Path) -> None:
    tape = open_tape([written(tmp_path, kind)])
    try:
        assert tape.declaration.name == "native" and tape.sequencing == "block" and tape.by_id
        assert [wire.get("text") for wire in played(tape)] == [None, "a\u2028", "b"]
        assert [event.event_id for event in tape.events()] == ["1", "2", "3"]
        store = StreamStore()
        for event in tape.events():
            store.feed(event.body)
        assert store.part("main", "m", 0).text == "a\u2028b"  # type: ignore[union-attr]
        for after in range(4):
            assert played(tape, after) == played(tape)[after:]
            assert tape.after(str(after)) == (after or None)
        for unknown in ("4", "-1", "x", "", "1.0", "٣", "9" * 30):
            assert tape.after(unknown) is None
        gaps = [b.at_ms - a.at_ms for a, b in zip(tape.events(), tape.events(1), strict=False)]
        assert gaps == ([30, 30] if kind in ("log", "sqlite") else [20, 20])
    finally:
        tape.close()


def test_a_log_of_another_protocol_than_was_named_is_served_and_told(tmp_path: Path) -> None:
    log = written(tmp_path, "jsonl")
    odd = tmp_path / "odd.jsonl"
    odd.write_bytes(b'{"type": "odd"}\n' * 3)
    untold = tmp_path / "untold.jsonl"  # one that no event of shows, and the protocol takes
    untold.write_bytes(b'{"type": "ping"}\n')

    def told(path: Path, protocol: str) -> list[str]:
        said: list[str] = []
        tape = open_tape([path], protocol, said.append)
        assert tape.declaration.name == protocol and played(tape)
        tape.close()
        return said

    assert told(log, "anthropic") == [
        f"{log}: its events look like those of native; it is served as a log of anthropic all the "
        "same"
    ]
    assert told(odd, "native") == [
        f"{odd}: none of its first events (3) is one that native knows; it is served as a log of "
        "native all the same"
    ]
    assert told(log, "native") == told(untold, "anthropic") == []


def test_what_a_stream_declares_of_itself_holds_behind_it(tmp_path: Path) -> None:
    tape = open_tape([written(tmp_path, "sqlite")])
    assert tape.opening(0) == b"" and b"stream.opened" in tape.opening(1) == tape.opening(3)
    tape.close()


def test_only_what_a_stream_declares_is_told_again(tmp_path: Path) -> None:
    """Not an event in which the words stand by themselves."""
    path = tmp_path / "a.jsonl"
    key = {"messageId": "m", "blockIndex": 0}
    wires: list[dict[str, Any]] = [
        {"type": "stream.opened", "sequencing": "block"},
        {"type": "block.delta", **key, "seq": 1, "text": "stream.opened"},
        {"type": "block.updated", **key, "input": {"type": "stream.opened"}},
    ]
    path.write_text("".join(json.dumps(wire) + "\n" for wire in wires))
    tape = open_tape([path])
    assert {tape.opening(position) for position in (1, 2, 3)} == {tape.opening(1)} != {b""}
    tape.close()
    path.write_text("".join(json.dumps(wire) + "\n" for wire in wires[1:]))
    tape = open_tape([path])
    assert tape.opening(2) == b""
    tape.close()


def test_what_a_stream_declares_while_its_log_is_served_holds_behind_it(tmp_path: Path) -> None:
    """A server that was started anew counts anew: who goes on there must not be told of before."""
    path = tmp_path / "a.sqlite"
    with open_log(path) as log:

        def more(generation: str) -> None:
            opened = {"type": "stream.opened", "sequencing": "block", "generation": generation}
            log.append(json.dumps(opened), time_ms=1)
            for seq in (1, 2):
                wire = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": seq}
                log.append(json.dumps({**wire, "text": "x"}), time_ms=1)
            log.sync()

        more("a")
        tape = open_tape([path])
        try:
            more("b")
            more("c")
            for position, said in ((5, "b"), (9, "c"), (4, "b"), (3, "a"), (7, "c"), (8, "c")):
                opening = json.loads(tape.opening(position).removeprefix(b"data: "))
                assert opening["generation"] == said
            more("d")
            assert b'"d"' in tape.opening(10) and b'"c"' in tape.opening(9)
        finally:
            tape.close()


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_an_id_that_the_framing_cannot_say_is_left_out(end: str, tmp_path: Path) -> None:
    """It would end its line, and bring events into the stream that nobody recorded."""
    path = tmp_path / "a.sqlite"
    with open_log(path) as log:
        for seq, event_id in ((1, "one"), (2, f"two{end}data: 3{end}{end}"), (3, "three")):
            wire = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": seq}
            log.append(json.dumps({**wire, "text": "x"}), time_ms=seq, event_id=event_id)
    tape = open_tape([path])
    assert [event.event_id for event in tape.events()] == ["one", "", "three"]
    tape.close()


def test_ids_of_the_log_are_kept_and_found_by_the_index(tmp_path: Path) -> None:
    sse, own = tmp_path / "a.sse", tmp_path / "a.sqlite"
    events = sample("session", 1).data("frames").split(b"\n\n")[:-1]
    ids = [f"é-{place:03}" for place in range(len(events))]
    pieces = [f"id: {i}\n".encode() + e + b"\n\n" for i, e in zip(ids, events, strict=True)]
    sse.write_bytes(b"".join(pieces))
    with open_log(own) as log:
        for event_id, event in zip(ids, events, strict=True):
            log.append(event.removeprefix(b"data: "), event_id=event_id)
    for path in (sse, own):
        tape = open_tape([path])
        found = list(tape.events())
        assert [event.event_id for event in found] == ids
        assert not any(b"id:" in event.body for event in found)
        assert [tape.after(event_id) for event_id in ids] == list(range(1, len(ids) + 1))
        assert tape.after("é-") is None and tape.after("1") is None
        tape.close()


def test_finding_a_place_in_a_log_reads_nothing_before_it(tmp_path: Path) -> None:
    """Work counted in rows of the database, which are fetched in pages of 64."""
    path = tmp_path / "a.sqlite"
    with open_log(path) as log:
        for number in range(2_000):
            log.append(b'{"type": "ping"}', event_id=f"e{number}")
    tape = open_tape([path], "vellum")
    rows = 0
    query = tape._reader._query  # type: ignore[attr-defined]

    def counted(*arguments: Any) -> Any:
        nonlocal rows
        found = query(*arguments)
        rows += len(found)
        return found

    tape._reader._query = counted  # type: ignore[attr-defined]
    after = tape.after("e1900")
    assert after == 1901
    assert next(tape.events(after)).event_id == "e1901"
    assert rows < 100
    tape.close()


def test_names_of_events_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.sse"
    path.write_bytes(b"event: ping\nid: 3\ndata: {}\nretry: 5\n\nevent: x\ndata: [DONE]\n\n")
    tape = open_tape([path])
    bodies = [event.body for event in tape.events()]
    assert bodies == [b"event: ping\ndata: {}\nretry: 5\n\n", b"event: x\ndata: [DONE]\n\n"]
    tape.close()


def test_lines_of_a_protocol_that_reads_names_become_frames_with_names(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"event": "values", "data": {"messages": []}}\n')
    tape = open_tape([path], "langchain")
    assert [e.body for e in tape.events()] == [b'event: values\ndata: {"messages": []}\n\n']
    tape.close()


def test_half_an_event_at_the_end_is_no_event(tmp_path: Path) -> None:
    path = tmp_path / "a.sse"
    path.write_bytes(b'data: {"type": "ping"}\n\ndata: {"ty')
    tape = open_tape([path], "anthropic")
    assert played(tape) == [{"type": "ping"}] and not tape.by_id
    assert tape.tail == b'data: {"ty'
    tape.close()


def test_connections_and_their_times_follow_one_another(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with open_log(path) as log:
        for connection, time in ((0, 1000), (0, 1100), (1, 5000), (1, 5001)):
            log.append(b'{"type": "session.status"}', time_ms=time, connection=connection)
    tape = open_tape([path, path], "native")
    found = [(event.at_ms, event.connection) for event in tape.events()]
    assert found == [
        (0, 0), (100, 0), (4000, 1), (4001, 1), (4021, 2), (4121, 2), (8021, 3), (8022, 3),
    ]  # fmt: skip
    tape.close()


@pytest.mark.parametrize("ending", ["log", "sqlite"])
@pytest.mark.parametrize(
    ("times", "gaps"),
    [
        # While the clock was put back by an hour everything came at once.
        ([3_600_000, 3_600_100, 50, 150, 250], [100, 0, 100, 100]),
        ([None] * 5, [20] * 4),
    ],
)
def test_from_any_position_a_log_goes_on_at_its_times_whatever_its_clock_said(
    times: list[int | None], gaps: list[int], ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    with open_log(path) as log:
        for seq, time in enumerate(times, start=1):
            wire = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": seq}
            log.append(json.dumps({**wire, "text": "x"}), time_ms=time)
    tape = open_tape([path])
    found = [event.at_ms for event in tape.events()]
    assert [b - a for a, b in itertools.pairwise(found)] == gaps
    for after in range(5):
        assert [event.at_ms for event in tape.events(after)] == found[after:]
    tape.close()


def test_what_is_damaged_is_told_once_and_the_rest_is_played(tmp_path: Path) -> None:
    path = written(tmp_path, "log")
    data = bytearray(path.read_bytes())
    data[data.index(b"blockIndex")] ^= 1
    path.write_bytes(data)
    told: list[str] = []
    tape = open_tape([path], tell=told.append)
    assert [wire.get("text") for wire in played(tape)] == [None, "b"]
    assert len(told) == 1 and "position 2 is lost" in told[0]
    tape.close()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.sse", None, "No such file"),
        ("a.sqlite", None, "No such file"),
        ("a.sqlite", b"x" * 2000, "no log of streamstore"),
        ("a.sse", b"", "holds no events"),
        ("a.sse", b"nothing\n", r"holds no events \(it is neither"),
        ("a.jsonl", b'{\n  "type": "x"\n}\n', "no line of it is JSON by itself"),
        ("a.sse.gz", b"\x1f\x8b\x08", "gzip"),
        ("a.jsonl", b'[{"type": "block.delta", "messageId": "m"}]', "an array of events: a log"),
        ("a.json", b'[{"type": "block.delta", "messageId": "m"}]', "an array of events: a log"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line_and_leaves_no_file(
    name: str, data: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(Exception, match=message) as caught:
        open_tape([tmp_path / name])
    assert "\n" not in str(caught.value) and name in str(caught.value)
    assert not list((tmp_path / "temp").iterdir())


def test_events_that_are_too_long_are_told_and_the_rest_is_played(tmp_path: Path) -> None:
    log = tmp_path / "talk.jsonl"
    wires = [
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": seq, "text": "x" * size}
        for seq, size in ((1, 1), (2, Limits().event_line_bytes), (3, PAYLOAD_BYTES), (4, 1))
    ]
    log.write_text("".join(json.dumps(wire) + "\n" for wire in wires))
    told: list[str] = []
    tape = open_tape([log], tell=told.append)
    assert [event.body.count(b'"seq": 3') for event in tape.events()] == [0, 0, 0]
    left_out, long = told
    assert left_out.startswith(f"{log}: an event is left out: a payload of 11,173,9")
    assert "over the limit of 1,048,576 (event_line_bytes) and sent as it is" in long
    tape.close()


def test_the_copy_goes_when_the_tape_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    tape = open_tape([written(tmp_path, "jsonl")])
    assert len(list((tmp_path / "temp").iterdir())) == 1
    tape.close()
    tape.close()
    assert not list((tmp_path / "temp").iterdir())


def test_a_state_needs_a_log_of_opencode(tmp_path: Path) -> None:
    state = DATA / "opencode" / "join_late" / "initial.json"
    with pytest.raises(CallerError, match="opencode"):
        open_tape([state, written(tmp_path, "jsonl")])
    with pytest.raises(CallerError, match="opencode"):
        open_tape([state, written(tmp_path, "sqlite")])
    with pytest.raises(UnreadableLog, match="holds no events"):
        open_tape([state])
