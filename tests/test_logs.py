"""Log files: cut into events with their times, whatever they are packed in."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore import StreamStore, logs
from streamstore.errors import CallerError
from streamstore.feeding import connections
from streamstore.jsonlines import JsonLinesParser
from streamstore.logs import STDIN, STEP_MS, Log, UnreadableLog
from streamstore.sse import EventStreamParser

LINES = b'{"a": 1}\n\n{"b": "\xe2\x80\xa8"}\r\n{"c": 3}'
FRAMES = (
    b': hello\n\ndata: {"a": 1}\n\nevent: x\r\ndata: {"b":\r\ndata: 2}\r\n\r\nid: 3\n\ndata: {"c"'
)


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def says(name: str) -> list[bytes]:
    return [event.says for event in Log(name).events() if event.says is not None]


def times(name: str) -> list[float]:
    return [event.at for event in Log(name).events() if event.says is not None]


# --- bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [LINES, FRAMES, b"", b"\n", b"x"])
@pytest.mark.parametrize("name", ["log.sse", "log.gz", "log"])
def test_a_log_is_unpacked_by_what_it_is_not_by_its_name(
    tmp_path: Path, data: bytes, name: str
) -> None:
    plain = write(tmp_path / name, data)
    assert b"".join(Log(plain).chunks()) == data
    packed = write(tmp_path / f"packed-{name}", gzip.compress(data))
    assert b"".join(Log(packed).chunks()) == data


def test_several_packed_pieces_are_one_log(tmp_path: Path) -> None:
    """Loggers that append to a gzipped file write one member after the other."""
    name = write(tmp_path / "log", gzip.compress(LINES[:9]) + gzip.compress(LINES[9:]))
    assert b"".join(Log(name).chunks()) == LINES


def test_chunks_of_a_packed_log_are_bounded(tmp_path: Path) -> None:
    name = write(tmp_path / "bomb", gzip.compress(b"\n" * 10_000_000))
    chunks = list(Log(name).chunks())
    assert sum(map(len, chunks)) == 10_000_000
    assert max(map(len, chunks)) <= 1024 * 1024


class Trickle(io.RawIOBase):
    """A pipe that gives one byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        byte = self._data.read(1)
        buffer[: len(byte)] = byte
        return len(byte)


@pytest.mark.parametrize("data", [LINES, FRAMES, b"", b"{"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_standard_input_may_come_byte_by_byte(
    monkeypatch: pytest.MonkeyPatch, data: bytes, pack: type
) -> None:
    pipe = io.TextIOWrapper(io.BufferedReader(Trickle(pack(data))))
    monkeypatch.setattr(sys, "stdin", pipe)
    assert b"".join(Log(STDIN).chunks()) == data
    assert not pipe.closed


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (gzip.compress(LINES)[:-9], "breaks off"),
        (gzip.compress(LINES)[:12], "breaks off"),
        (gzip.compress(LINES)[:10] + b"\xff" * 20, "broken as gzip"),
        (gzip.compress(LINES)[:-8] + bytes(8), "broken as gzip"),
    ],
    ids=["without its end", "without its data", "other data", "a wrong sum"],
)
def test_a_broken_package_says_so(tmp_path: Path, data: bytes, problem: str) -> None:
    name = write(tmp_path / "log", data)
    with pytest.raises(UnreadableLog, match=problem) as caught:
        list(Log(name).chunks())
    assert str(caught.value).startswith(name)


def test_a_missing_file_and_a_directory_say_so(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(UnreadableLog, match=str(path.name)):
            list(Log(str(path)).chunks())


# --- events ---------------------------------------------------------------------------------------


def test_lines_are_events(tmp_path: Path) -> None:
    name = write(tmp_path / "log", LINES)
    assert [json.loads(text) for text in says(name)] == [{"a": 1}, {"b": "\u2028"}, {"c": 3}]


def test_frames_are_events_and_an_unfinished_one_is_none(tmp_path: Path) -> None:
    name = write(tmp_path / "log", FRAMES)
    assert [json.loads(text) for text in says(name)] == [{"a": 1}, {"b": 2}]


fields = st.sampled_from(
    [
        b"data: {}",
        b"data:1",
        b"data",
        b"id: 7",
        b": note",
        b"event: x",
        b"",
        b"",
        b"{",
        b"[1]",
        b"x",
    ]
)
ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
streams = st.lists(st.tuples(fields, ends)).map(lambda lines: b"".join(map(b"".join, lines)))


def chunked(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in pairwise(places)]


@given(st.sampled_from([b"", b"\xef\xbb\xbf", b" \n"]), streams, st.lists(st.integers(0, 200)))
def test_events_do_not_depend_on_where_the_bytes_were_cut(
    head: bytes, body: bytes, cuts: list[int]
) -> None:
    data = head + body
    pieces = list(logs._cut(chunked(data, cuts)))
    assert pieces == list(logs._cut([data] if data else []))
    assert b"".join(piece for piece, _ in pieces) == data


@given(streams, st.lists(st.integers(0, 200)))
def test_frames_are_cut_where_the_parser_cuts_them(body: bytes, cuts: list[int]) -> None:
    data = b"id: 1\n" + body
    parser = EventStreamParser()
    for piece, text in logs._cut(chunked(data, cuts)):
        frames = parser.feed(piece)
        # A CR at the end of a piece may be half of a CRLF, which the parser cannot know either.
        if text is None:
            assert not frames
        elif frames:
            assert [frame.data.encode() for frame in frames] == [text]


@given(streams, st.lists(st.integers(0, 200)))
def test_lines_are_cut_where_the_parser_cuts_them(body: bytes, cuts: list[int]) -> None:
    data = b"{\n" + body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    parser = JsonLinesParser()
    for piece, text in logs._cut(chunked(data, cuts)):
        lines = parser.feed(piece)
        if text is not None and text.endswith(b"\n"):
            assert lines == [text.strip()]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    "broken",
    [b'lo"}}\n', b"null\n", b"\xff\xfe\r\n", b"\n \nx\n\n: y\n", b"\xef\xbb\xbfx\n", b"date: 1\n"],
)
def test_lines_behind_a_broken_first_one_are_lines(
    monkeypatch: pytest.MonkeyPatch, broken: bytes, size: int
) -> None:
    """What `tail -c` leaves of a log starts in the middle of a line."""
    data = broken + lines({"a": 1}, {"b": "\u2028"})
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    monkeypatch.setattr(logs, "_read", lambda name: iter(pieces))
    found = says("log")
    assert [json.loads(text) for text in found[-2:]] == [{"a": 1}, {"b": "\u2028"}]
    store = StreamStore("native")
    for piece in pieces:
        store.feed(piece)
    store.close()
    counts = store.health.counts["verdicts"]
    assert sum(counts.values()) == len([line for line in data.split(b"\n") if line.strip()])


@pytest.mark.parametrize(
    "data",
    [
        b"prose\n\nand prose\n",
        b'x\n: {\ndata: {"a": 1}\n\n{\n',
        b"event\n{\n",
        b"id: 7\n{\n",
        b"x",
        b"x\n{",
        LINES,
        FRAMES,
    ],
)
def test_other_logs_stay_as_they_are(tmp_path: Path, data: bytes) -> None:
    assert b"".join(Log(write(tmp_path / "log", data)).chunks()) == data


def test_an_event_comes_before_the_next_is_there() -> None:
    """What is piped in is shown as it comes."""
    for first in (b'data: {"a": 1}\n\n', b'{"a": 1}\n'):

        def chunks(first: bytes = first) -> object:
            yield first
            raise AssertionError("asked for more before it gave what it had")

        events = logs._cut(chunks())  # type: ignore[arg-type]
        assert next(events)[0] == first


# --- times ----------------------------------------------------------------------------------------


def lines(*wires: object) -> bytes:
    return b"".join(json.dumps(wire).encode() + b"\n" for wire in wires)


def test_times_stand_beside_the_log(tmp_path: Path) -> None:
    write(tmp_path / "arrival_ms.json", b"[0.0, 5, 5.5]")
    name = write(tmp_path / "events.jsonl", b"\n" + lines({}, {}, {}) + b"\n")
    assert times(name) == [0, 5, 5.5]
    frames = write(tmp_path / "stream.sse", b": hi\n\n" + b"data: {}\n\n" * 3 + b": bye\n\n")
    assert times(frames) == [0, 5, 5.5]


def test_times_of_several_connections_go_by_the_number_in_the_name(tmp_path: Path) -> None:
    write(tmp_path / "arrival_ms.json", b"[[0, 1], [100, 200]]")
    data = lines({}, {})
    assert times(write(tmp_path / "stream.jsonl", data)) == [0, 1]
    assert times(write(tmp_path / "stream.1.jsonl", data)) == [0, 1]
    assert times(write(tmp_path / "stream.2.jsonl", data)) == [100, 200]
    assert times(write(tmp_path / "stream.2.jsonl.gz", data)) == [100, 200]
    assert times(write(tmp_path / "stream.3.jsonl", data)) == [STEP_MS, 2 * STEP_MS]


def test_times_never_fall_and_go_on_when_the_list_ends(tmp_path: Path) -> None:
    write(tmp_path / "arrival_ms.json", b"[50, 40]")
    name = write(tmp_path / "log.jsonl", lines({}, {}, {}))
    assert times(name) == [50, 50, 50 + STEP_MS]


@pytest.mark.parametrize("beside", [None, b"{", b"{}", b"[[]]", b'["1"]', b"[null]", b"[]", b"[[1"])
def test_without_times_those_of_the_events_count(tmp_path: Path, beside: bytes | None) -> None:
    if beside is not None:
        write(tmp_path / "arrival_ms.json", beside)
    name = write(
        tmp_path / "log.jsonl",
        lines({"time": 1000}, {"time": 1500}, {"time": 1400}, {}, {"time": 9}, 7, {"time": "x"}),
    )
    step = STEP_MS
    at = [step, step + 500, step + 500]
    assert times(name) == [*at, *(at[-1] + step * number for number in range(1, 5))]


# --- states and connections -----------------------------------------------------------------------


def test_a_json_file_is_one_state(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf{\n  "sessions": []\n}\n'
    for name in ("state.json", "STATE.JSON", "state.json.gz"):
        log = Log(write(tmp_path / name, gzip.compress(data)))
        assert log.is_state
        assert log.state() == {"sessions": []}
    assert not Log("state.jsonl").is_state
    assert not Log(STDIN).is_state


@pytest.mark.parametrize("data", [b"", b"{", b"{}{}", b'{"a": NaN}'])
def test_a_state_that_is_no_json_says_so(tmp_path: Path, data: bytes) -> None:
    log = Log(write(tmp_path / "state.json", data))
    with pytest.raises(UnreadableLog, match=r"state\.json: not JSON"):
        log.state()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a.sse", "<- a.sse ->"),
        ("a.sse b.sse", "<- a.sse -> <- b.sse ->"),
        ("s.json a.sse", "<- s.json a.sse ->"),
        ("a.sse s.json b.sse", "<- a.sse -> <- s.json b.sse ->"),
        ("a.sse s.json", "<- a.sse -> s.json"),
        ("r.json a.sse s.json t.json", "<- r.json a.sse -> s.json t.json"),
        ("s.json", "<- s.json None ->"),
        ("s.json -", "<- s.json - ->"),
    ],
)
def test_a_state_belongs_to_the_connection_of_the_log_behind_it(names: str, expected: str) -> None:
    found = []
    for connection in connections(names.split()):
        before = [log.name for log in connection.before]
        log = None if connection.log is None else connection.log.name
        found += ["<-", *before, str(log), "->", *(after.name for after in connection.after)]
    assert " ".join(found) == expected


@pytest.mark.parametrize("names", [[], ["-", "-"], ["a", "-", "b", "-"]])
def test_what_cannot_be_read_is_the_callers_error(names: list[str]) -> None:
    with pytest.raises(CallerError):
        connections(names)
