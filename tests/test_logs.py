"""Log files: cut into events with their times, whatever they are packed in."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore import Stream, StreamStore, logs, sight
from streamstore.errors import CallerError
from streamstore.feeding import arriving, connections, feed_all, feed_bytes
from streamstore.jsonlines import JsonLinesParser
from streamstore.limits import Limits
from streamstore.log import open_log
from streamstore.logs import STDIN, STEP_MS, Log, UnreadableLog
from streamstore.sight import Sight
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


@pytest.mark.parametrize(
    "data",
    [
        LINES,
        b"\xef\xbb\xbf" + LINES,
        FRAMES,
        b'{"a": 1}\r\n\n{"b',
        b"[]\n[]",
        b'{"a": 1}\r{"b": 2}',
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_log_may_be_named_like_a_state(
    tmp_path: Path, data: bytes, pack: Callable[[bytes], bytes]
) -> None:
    name = write(tmp_path / "events.json", pack(data))
    (connection,) = connections([name])
    assert connection.log is not None and not connection.before
    assert b"".join(connection.log.chunks()) == data
    assert says(name) == says(write(tmp_path / "events.jsonl", data))


def test_a_durable_log_may_be_named_like_a_state(tmp_path: Path) -> None:
    assert [seqs(found.log) for found in connections([durable(tmp_path / "log.json")])] == [
        seqs(found.log) for found in connections([durable(tmp_path / "log.jsonl")])
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_whether_a_pipe_is_a_state_takes_nothing_out_of_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state.json")
    assert Log(str(tmp_path / "state.json")).is_state


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}{}",
        b'{"a": NaN}',
        b'{\n"a": 1\n',
        b"{}\nx",
        b"x\n{}",
        b"1\n2\n",
        b"[\n{}\n{}\n]",
    ],
)
def test_a_state_that_is_no_json_says_so(tmp_path: Path, data: bytes) -> None:
    log = Log(write(tmp_path / "state.json", data))
    assert log.is_state
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


# --- durable logs ---------------------------------------------------------------------------------

TURNS = (1, 1, 2, 3, 3, 3)


def delta(seq: int) -> bytes:
    wire = {
        "type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": seq, "text": f"{seq} ",
    }  # fmt: skip
    return json.dumps(wire).encode()


def durable(path: Path, turns: Sequence[int] = TURNS, times: Sequence[int | None] = ()) -> str:
    """A log of these connections, an event each; the n-th event says n."""
    with open_log(path) as log:
        for n, connection in enumerate(turns, start=1):
            time = times[n - 1] if times else 1000 * n
            log.append(delta(n), time_ms=time, event_id=str(n), connection=connection)
    return str(path)


def seqs(log: Log | None) -> list[int]:
    assert log is not None
    whole = [json.loads(event.says or b"")["seq"] for event in log.events()]
    assert b"".join(log.chunks()).count(b"data: ") == len(whole)  # read anew, and the same
    return whole


def as_file(path: Path) -> str:
    return durable(path)


def as_packed(path: Path) -> str:
    return write(path, gzip.compress(Path(durable(path.with_suffix(".plain"))).read_bytes()))


@pytest.mark.parametrize("made", [as_file, as_packed])
@pytest.mark.parametrize("name", ["log.jsonl", "log.sqlite"])
def test_each_recorded_connection_is_a_connection(
    tmp_path: Path, name: str, made: Callable[..., str]
) -> None:
    if made is as_packed and name.endswith("sqlite"):
        pytest.skip("SQLite is not read packed")
    path = made(tmp_path / name)
    found = connections([path])
    assert [seqs(c.log) for c in found] == [[1, 2], [3], [4, 5, 6]]
    assert [c.name for c in found] == [f"{path} (connection {n})" for n in (1, 2, 3)]
    # Out of order, again, and given up in the middle.
    next(iter(found[2].log.events()))  # type: ignore[union-attr]
    assert [seqs(c.log) for c in reversed(found)] == [[4, 5, 6], [3], [1, 2]]
    assert len(list(Log(path).events())) == 6


def test_reading_connections_in_their_order_is_one_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: a server that drops each minute makes a thousand in a day."""
    path = durable(tmp_path / "log.jsonl", range(1, 301))
    opened: list[str] = []
    real = logs.read_log
    monkeypatch.setattr(logs, "read_log", lambda name: opened.append(name) or real(name))
    found = connections([path])
    assert len(opened) == 1
    assert [b"".join(c.log.chunks()) for c in found if c.log is not None]
    assert len(found) == 300 and len(opened) == 2


def test_connections_that_take_turns_are_read_one_by_one(tmp_path: Path) -> None:
    found = connections([durable(tmp_path / "log.jsonl", (1, 2, 1, 2, 2, 1))])
    assert [seqs(c.log) for c in found] == [[1, 3, 6], [2, 4, 5]]


def test_what_was_recorded_once_has_no_number(tmp_path: Path) -> None:
    path = durable(tmp_path / "log.jsonl", (4, 4))
    (connection,) = connections([path])
    assert connection.name == path and seqs(connection.log) == [1, 2]
    empty = durable(tmp_path / "empty.jsonl", ())
    assert [c.name for c in connections([empty])] == [empty]


def test_states_around_a_recording_belong_to_its_ends(tmp_path: Path) -> None:
    state = write(tmp_path / "s.json", b"{}")
    found = connections([state, durable(tmp_path / "log.jsonl"), state])
    assert [(len(c.before), len(c.after)) for c in found] == [(1, 0), (0, 0), (0, 1)]


def test_each_connection_opens_a_stream_of_its_own(tmp_path: Path) -> None:
    """The one before has ended then: in a stream without seq, what was open has a gap."""
    path = tmp_path / "log.jsonl"
    text = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "x"}
    with open_log(path) as log:
        for number in (1, 2):
            log.append(json.dumps(text), connection=number)
    store = StreamStore()
    seen: list[tuple[Stream, bool]] = []

    def feed(stream: Stream, log: Log) -> None:
        part = store.part("main", "m", 0)
        seen.append((stream, part is not None and part.gap))
        feed_bytes(stream, log)

    feed_all(store, connections([str(path)]), sequencing="none", feed=feed)
    (first, before), (second, between) = seen
    assert first is not second and (before, between) == (False, True)
    part = store.part("main", "m", 0)
    assert part is not None and part.text == "xx"


def test_a_connection_that_brought_nothing_of_use_spoils_no_recording(tmp_path: Path) -> None:
    """Told by all that one file recorded: a short connection may have brought a greeting alone."""
    path = tmp_path / "log.jsonl"
    with open_log(path) as log:
        for number, data in ((1, b"[DONE]"), (2, delta(1)), (3, b"[DONE]")):
            log.append(data, connection=number)
    store = StreamStore()
    feed_all(store, connections([str(path)]))
    assert store.health.counts["verdicts"] == {"accepted": 1, "malformed": 2}
    with open_log(tmp_path / "other.jsonl") as log:
        for number in (1, 2):
            log.append(b"[DONE]", connection=number)
    with pytest.raises(
        UnreadableLog, match=r"other\.jsonl: no protocol recognised in its events \(2"
    ):
        feed_all(StreamStore(), connections([str(tmp_path / "other.jsonl")]))


def damaged(path: Path) -> str:
    data = Path(durable(path)).read_bytes().splitlines(keepends=True)
    data[3] = data[3].replace(b"3 ", b"4 ")
    return write(path, b"".join(data) + b'{"position": 7, "ti')


LOST = [
    "position 3 is lost (line 4: the checksum does not fit)",
    "19 bytes at its end are left out: no whole record (yet)",
]


def test_losses_are_told_once(tmp_path: Path) -> None:
    path = damaged(tmp_path / "log.jsonl")
    told: list[str] = []
    found = connections([path], told.append)
    assert [seqs(c.log) for c in found] == [[1, 2], [4, 5, 6]]
    assert told == [f"{path}: {line}" for line in LOST]


def test_without_anybody_to_tell_damage_is_an_error_and_an_unfinished_end_is_none(
    tmp_path: Path,
) -> None:
    with pytest.raises(UnreadableLog, match="position 3 is lost"):
        connections([damaged(tmp_path / "log.jsonl")])
    path = durable(tmp_path / "torn.jsonl")
    write(Path(path), Path(path).read_bytes() + b"{")
    assert len(connections([path])) == 3


def test_a_durable_log_that_is_packed_and_breaks_off_says_what_is_lost(tmp_path: Path) -> None:
    whole = Path(durable(tmp_path / "log.jsonl", [1] * 500)).read_bytes()
    path = write(tmp_path / "log.gz", gzip.compress(whole)[:-500])
    told: list[str] = []
    (connection,) = connections([path], told.append)
    kept = seqs(connection.log)
    assert kept == list(range(1, len(kept) + 1)) and 0 < len(kept) < 500
    assert f"from position {kept[-1] + 1} on everything is lost" in told[0]
    assert "breaks off" in told[0]


# --- what comes once ------------------------------------------------------------------------------


@pytest.fixture
def pipe(tmp_path: Path) -> Callable[[bytes], str]:
    """Makes a named pipe that gives these bytes once."""

    def make(data: bytes) -> str:
        path = tmp_path / f"pipe{len(list(tmp_path.iterdir()))}"
        os.mkfifo(path)

        def fill() -> None:
            with open(path, "wb") as file:
                file.write(data)

        threading.Thread(target=fill, daemon=True).start()
        return str(path)

    return make


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_recording_that_comes_through_a_pipe_is_its_connections(
    tmp_path: Path, pipe: Callable[[bytes], str], pack: Callable[[bytes], bytes]
) -> None:
    data = Path(damaged(tmp_path / "log.jsonl")).read_bytes()
    name = pipe(pack(data))
    told: list[str] = []
    found = []
    for connection in arriving(connections([name], told.append), told.append):
        assert connection.log is not None
        found.append([json.loads(e.says or b"")["seq"] for e in connection.log.events()])
    assert found == [[1, 2], [4, 5, 6]]
    assert told == [f"{name}: {line}" for line in LOST]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("data", [LINES, FRAMES, b""])
def test_any_log_may_come_through_a_pipe(pipe: Callable[[bytes], str], data: bytes) -> None:
    (connection,) = arriving(connections([pipe(data)]))
    assert connection.log is not None
    assert b"".join(connection.log.chunks()) == data


def test_standard_input_is_handed_on_while_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path(durable(tmp_path / "log.jsonl")).read_bytes().splitlines(keepends=True)
    given: list[int] = []

    def trickle(name: str) -> object:
        for number, line in enumerate(whole):
            given.append(number)
            yield line

    monkeypatch.setattr(logs, "_read", trickle)
    found = []
    for connection in arriving(connections(["-"])):
        assert connection.log is not None
        for _ in connection.log.events():
            found.append(given[-1])
    assert found == [1, 2, 3, 4, 5, 6]  # each event before the next line was asked for


def test_connections_that_take_turns_need_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(durable(tmp_path / "log.jsonl", (1, 2, 1))).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(UnreadableLog, match="take turns: give it as a file"):
        for connection in arriving(connections(["-"])):
            list(connection.log.chunks())  # type: ignore[union-attr]


# --- what a log turns out to be -------------------------------------------------------------------

_LINE, _FRAME_LINE = Limits().line_bytes, Limits().event_line_bytes


def sized(size: int, start: bytes = b'{"a": "', end: bytes = b'"}') -> bytes:
    return start + b"x" * (size - len(start) - len(end)) + end


#: What is in a log; what is raised behind it, or told.
JUDGED: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "", ""),
    "blank": (b"\n \r\n", "", ""),
    "comments": (b": hello\n\n: again", "", ""),
    "an id alone": (b"id: 7\n\n", "", ""),
    "prose before an id": (b"HTTP/1.1 200 OK\r\n\r\nid: 7\n\n", "", ""),
    "lines": (LINES, "", ""),
    "frames": (FRAMES, "", ""),
    "an unfinished line": (b'\xef\xbb\xbf{"a": 1}', "", ""),
    "prose before an event": (b"x\n[\n{}", "", ""),
    "prose": (b"x\ny", "holds no events", ""),
    "one character": (b"x", "holds no events", ""),
    "numbers": (b"1\n2\n", "holds no events", ""),
    "what starts like JSON": (b"<p>\n{\n  x: y\n}\n", "holds no events", ""),
    "half a line": (b'{"a": 1', "holds no events", ""),
    "UTF-16": ('{"a": 1}\n'.encode("utf-16") * 9, r"holds no events \(it is text in UTF-16", ""),
    "UTF-16 without a mark": ('{"a": 1}\n'.encode("utf-16-be"), r".* \(it is text in UTF-16", ""),
    "zeros": (b"\0" * 9000, r"holds no events \(it is neither", ""),
    "lines that end with CR": (
        b'{"a": 1}\r{"a": 2}\r',
        r"holds no events \(its lines end with CR alone",
        "",
    ),
    "one that does": (b'{"a": 1}\r \r', "", ""),
    "JSON over several lines": (
        b'\xef\xbb\xbf\n[\n{\n  "a": 1\n}\n]',
        r".* \(no line of it is JSON by",
        "",
    ),
    "a line at the limit": (sized(_LINE) + b"\n", "", ""),
    "a line over it": (sized(_LINE + 1) + b"\n", "a line of 8,388,609 bytes is over", ""),
    "a broken one": (sized(_LINE + 1, b"{", b""), "a line of 8,388,609 bytes is over", ""),
    "no line": (b"x" * (_LINE + 1), "holds no events", ""),
    "behind an event": (
        LINES + b"\n" + sized(_LINE + 1) + b"\n" + sized(_LINE + 2),
        "",
        "2 lines of up to 8,388,610 bytes are over",
    ),
    "before one": (sized(_LINE + 1) + b"\n{}", "", "a line of 8,388,609 bytes is over"),
    "a frame at the limit": (sized(_FRAME_LINE, b'data: {"a": "') + b"\n\n", "", ""),
    "a frame over it": (
        sized(_FRAME_LINE + 1, b'data: {"a": "') + b"\n\n",
        "a line of 1,048,577 bytes is over",
        "",
    ),
    "a frame behind another": (
        b"data: {}\r\r" + sized(_FRAME_LINE + 1, b'data: {"a": "') + b"\r\r",
        "",
        "a line of 1,048,577 bytes is over",
    ),
    "a long comment": (b"data: {}\n\n:" + b"x" * _LINE + b"\n\n", "", ""),
}


@pytest.mark.parametrize(("data", "problem", "told"), JUDGED.values(), ids=JUDGED)
@pytest.mark.parametrize("read", [Log.chunks, Log.events])
def test_a_judged_log_says_what_no_store_takes(
    tmp_path: Path,
    data: bytes,
    problem: str,
    told: str,
    read: Callable[[Log], Iterable[object]],
) -> None:
    name = write(tmp_path / "log", data)
    lines: list[str] = []
    log = Log(name).judged(lines.append)
    if problem:
        with pytest.raises(UnreadableLog, match=f"log: {problem}"):
            list(read(log))
    else:
        list(read(log))
    assert len(lines) == bool(told)
    assert all(line.startswith(f"{name}: {told}") for line in lines)


def test_without_who_is_told_a_judged_log_may_have_lines_of_any_length(tmp_path: Path) -> None:
    """Those who have no limits know a log of one long line, and a file that is none."""
    long = Log(write(tmp_path / "log", sized(_LINE + 1) + b"\n")).judged()
    assert sum(map(len, long.chunks())) == _LINE + 2
    with pytest.raises(UnreadableLog, match=r"holds no events \(it is neither"):
        list(Log(write(tmp_path / "prose", b"x\ny")).judged().chunks())


@pytest.mark.parametrize("protocol", ["auto", "native"])
@pytest.mark.parametrize("name", ["talk.json", "talk.jsonl"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\n"])
def test_an_array_of_events_is_told_apart_from_a_state(
    tmp_path: Path, protocol: str, name: str, end: bytes
) -> None:
    data = b'[{"type": "message.opened", "messageId": "m"}]' + end
    path = write(tmp_path / name, data)
    with pytest.raises(UnreadableLog, match=f"{name}: an array of events: a log has each on a"):
        feed_all(StreamStore(), connections([path]), protocol)


@pytest.mark.parametrize("data", [b"[1, 2]\n", b'data: [{"type": "message.opened"}]\n\n'])
def test_other_arrays_are_none_of_events(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnreadableLog, match="none of its events"):
        feed_all(StreamStore(), connections([write(tmp_path / "talk", data)]), "native")


def test_a_state_in_another_encoding_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnreadableLog, match=r"s.json: text in UTF-16: save it as UTF-8"):
        Log(write(tmp_path / "s.json", '{"a": 1}'.encode("utf-16"))).state()


def test_a_log_is_judged_as_a_store_takes_it(tmp_path: Path) -> None:
    """What is told to be left out is what the store counts."""
    for data in (
        LINES + b"\n" + sized(_LINE) + b"\n" + sized(_LINE + 1) + b"\n",
        b"data: {}\n\n"
        + b"".join(sized(_FRAME_LINE + more, b"data: ") + b"\n\n" for more in (0, 1)),
    ):
        told: list[str] = []
        store = StreamStore("native", ticks="manual")
        stream = store.open("native")
        feed_bytes(stream, Log(write(tmp_path / "log", data)).judged(told.append))
        stream.end()
        assert store.health.counts["verdicts"]["malformed:over_limit"] == len(told) == 1


@given(st.integers(1, 40), st.lists(st.integers(0, 12), max_size=12), st.booleans())
def test_where_the_bytes_are_cut_says_nothing_of_a_log(
    size: int, lengths: list[int], framed: bool
) -> None:
    data = b"{}\n" if not framed else b"data: {}\n\n"
    for length in lengths:
        data += (b"data: " if framed else b"") + b"x" * length + b"\r\n" * (length % 3)
    whole, pieces = Sight(), Sight()
    bounds = Limits(line_bytes=10, event_line_bytes=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sight, "_LIMITS", bounds)
        whole.look(data)
        for at in range(0, len(data), size):
            pieces.look(data[at : at + size])
        whole.end()
        pieces.end()
        assert whole.too_long("so") == pieces.too_long("so")
    assert whole.skipped == sum(
        len(line) > 10 for line in data.splitlines() if not framed or line.startswith(b"data")
    )


# --- when recorded events came --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((5000, 5010, 6000), [5000, 5010, 6000]),
        ((5000, 4000, 4100), [5000, 5000, 5100]),  # the clock was put back
        ((None, None, None), [STEP_MS, 2 * STEP_MS, 3 * STEP_MS]),
        ((5000, None, 5100), [5000, 5000 + STEP_MS, 5100 + STEP_MS]),
    ],
)
def test_events_of_a_durable_log_come_when_they_arrived(
    tmp_path: Path, times: Sequence[int | None], expected: list[float]
) -> None:
    name = durable(tmp_path / "log.jsonl", [1] * len(times), times)
    write(tmp_path / "arrival_ms.json", b"[7, 8, 9]")  # of another log
    assert [event.at for event in Log(name).events()] == expected
