"""The command, as it is called: results on one stream, one line on the other, an exit code."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import streamstore.cli
import streamstore.replay as replaying
from streamstore import StreamStore, UnknownProtocol
from streamstore.cli import main
from streamstore.commandline import speed as speed_of
from streamstore.feeding import connections
from streamstore.log import open_log
from streamstore.log.sealing import seal
from streamstore.logs import UnreadableLog
from streamstore.protocols import adapters
from streamstore.replay import AS_RECORDED, AT_ONCE, LiveView, PlainView, Speed, replay
from streamstore.text import TextView
from streamstore.transcript import Transcript, summary

RECORDED = Path(__file__).parent / "data" / "opencode" / "tools" / "stream.sse"

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x7f\u202egpj.exe\u2066\u061c\u2028\x00 \ud83d"
SHOWN = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\r\\x08\\x7f\\u202egpj.exe\\u2066\\u061c\\u2028\\x00"
ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# What rich itself sends: colours, the cursor, and erasing lines.
ESCAPES_OF_RICH = re.compile("\x1b\\[[0-9;?]*[mKAhlGJH]|\r")

Wire = dict[str, Any]
WriteLog = Callable[..., str]


def event(type: str, **members: Any) -> Wire:
    return {"type": type, "sessionId": "s", **members}


def answer(*texts: str, message: str = "m", start: int = 2, **members: Any) -> list[Wire]:
    """A message of one text, as events of the library's own protocol."""
    members = {"messageId": message, **members}
    block = {**members, "blockIndex": 0}
    return [
        event("message.opened", role="assistant", seq=start - 2, order=start, **members),
        event("block.opened", kind="text", seq=start - 1, **block),
        *(
            event("block.delta", text=text, seq=seq, **block)
            for seq, text in enumerate(texts, start)
        ),
        event("block.closed", seq=start + len(texts), **block),
        event("message.closed", status="completed", seq=start + len(texts) + 1, **members),
    ]


def as_lines(wires: list[Wire]) -> bytes:
    return b"".join(json.dumps(wire).encode() + b"\n" for wire in wires)


def as_frames(wires: list[Wire]) -> bytes:
    return b"".join(b"data: " + json.dumps(wire).encode() + b"\n\n" for wire in wires)


@pytest.fixture
def write(tmp_path: Path) -> WriteLog:
    def write(data: bytes | list[Wire], name: str = "log.jsonl") -> str:
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else as_lines(data))
        return str(path)

    return write


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*arguments: str) -> Ran:
        capfd.readouterr()
        code = main(arguments)
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return Ran(code, captured.out, captured.err)

    return run


def texts_of(state: Any) -> list[str]:
    return [
        part.get("text", "")
        for session in state["sessions"].values()
        for message in session.get("messages", ())
        for part in message.get("parts", ())
    ]


def _needed_by(command: str) -> None:
    for name in {"watch": ["rich"], "serve": ["starlette", "uvicorn"]}.get(command, ()):
        pytest.importorskip(name)


# --- fold -----------------------------------------------------------------------------------------


PATCHED = {
    "ag-ui": [
        {"type": "RUN_STARTED", "threadId": "s", "runId": "r"},
        {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}},
        {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/n", "value": 2}]},
        {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "Hello"},
        {"type": "RUN_FINISHED", "threadId": "s", "runId": "r"},
    ],
    "native": [
        event("session.state", seq=1, state={"n": 1}),
        event("session.state", seq=2, patch=[{"op": "replace", "path": "/n", "value": 2}]),
        *answer("Hello", start=5),
    ],
}


@pytest.mark.parametrize("protocol", PATCHED)
@pytest.mark.parametrize("command", ["fold", "replay", "check"])
def test_a_log_that_needs_a_missing_package_is_never_shown_without_a_word(
    protocol: str,
    command: str,
    write: WriteLog,
    run: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = write(PATCHED[protocol])
    monkeypatch.setitem(sys.modules, "jsonpatch", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the one line says it, without a warning before
        ran = run(command, log)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "jsonpatch: pip install 'chat-streamstore[patch]'" in ran.err
    assert ("Hello" in ran.out) == (command == "replay")  # a transcript shows no shared state


def test_a_log_is_folded_with_its_patches(write: WriteLog, run: Callable[..., Ran]) -> None:
    pytest.importorskip("jsonpatch")
    for wires in PATCHED.values():
        ran = run("fold", write(wires))
        assert (ran.code, ran.err) == (0, "")
        assert ran.json["sessions"]["s"]["state"] == {"n": 2}


def test_fold_prints_the_state(run: Callable[..., Ran], write: WriteLog) -> None:
    ran = run("fold", write(answer("Hel", "lo")))
    assert (ran.code, ran.err) == (0, "")
    assert texts_of(ran.json) == ["Hello"]
    assert ran.json["counts"]["verdicts"] == {"accepted": 6}
    assert ran.out == json.dumps(ran.json, indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("form", [as_lines, as_frames])
@pytest.mark.parametrize("name", ["log", "-"])
def test_a_log_is_read_whatever_its_form(
    run: Callable[..., Ran],
    write: WriteLog,
    monkeypatch: pytest.MonkeyPatch,
    pack: Callable[[bytes], bytes],
    form: Callable[[list[Wire]], bytes],
    name: str,
) -> None:
    wires = answer("Hel", "lo")
    data = pack(form(wires))
    if name == "-":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    else:
        name = write(data, name)
    ran = run("fold", name)
    assert ran.code == 0
    assert ran.out == run("fold", write(wires)).out


def test_the_protocol_and_the_sequencing_may_be_said(
    run: Callable[..., Ran], write: WriteLog
) -> None:
    block = {"messageId": "m", "blockIndex": 0}
    log = write(
        [event("block.delta", text=text, seq=seq, **block) for seq, text in ((1, "a"), (3, "c"))]
    )
    assert texts_of(run("fold", "--protocol", "native", log).json) == ["ac"]
    held = run("fold", log, "--sequencing", "block").json
    assert texts_of(held) == ["a"]
    assert held["gaps"] == [
        {"sessionId": "s", "messageId": "m", "blockIndex": 0, "reason": "hole", "missing": [[2, 2]]}
    ]


def test_fold_in_a_protocols_own_shape(run: Callable[..., Ran], write: WriteLog) -> None:
    log = write(answer("Hello"))
    assert run("fold", log, "--as", "native").json == {
        "sessions": run("fold", log).json["sessions"]
    }
    assert set(run("fold", log, "--as", "opencode").json) >= {"sessions", "messages", "status"}
    store = StreamStore()
    store.feed(Path(log).read_bytes())
    for name in ("native", "opencode", "anthropic"):
        assert store.encode(name) == run("fold", log, "--as", name).json
    with pytest.raises(UnknownProtocol, match="no protocol is named 'nope'; there are: native"):
        store.encode("nope")


def test_one_session_is_encoded_as_if_it_were_alone() -> None:
    def chunks(text: str) -> Iterator[dict[str, Any]]:
        for content, reason in ((text, None), ("", "stop")):
            choice = {"index": 0, "delta": {"content": content}, "finish_reason": reason}
            head = {"id": text, "object": "chat.completion.chunk", "created": 1, "model": "m"}
            yield {**head, "choices": [choice]}

    def talk(store: StreamStore, session_id: str) -> StreamStore:
        stream = store.open("openai-chat", session_id=session_id)
        stream.ingest_many(chunks(f"of {session_id}"))
        stream.end()
        return store

    both = talk(talk(StreamStore(), "a"), "b")
    for name in adapters():
        for session_id in ("a", "b"):
            alone = talk(StreamStore(), session_id).encode(name)
            assert both.encode(name, session_id) == alone
            assert both.encode(name) != alone
        assert both.encode(name, "c") == StreamStore().encode(name)


def test_later_logs_are_later_connections(run: Callable[..., Ran], write: WriteLog) -> None:
    """What the second one repeats is known already."""
    wires = answer("one ", "two ", "three")
    first, second = write(wires[:4], "1.jsonl"), write(as_frames(wires[2:]), "2.sse")
    ran = run("fold", first, second)
    assert texts_of(ran.json) == ["one two three"]
    assert ran.json["counts"]["verdicts"] == {"accepted": 7, "duplicate": 2}


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ("state first second", "live and on"),
        ("first state second", "live and on"),
        ("first second state", "live and on"),
    ],
)
def test_a_fetched_state_goes_into_its_connection(
    run: Callable[..., Ran], write: WriteLog, order: str, text: str
) -> None:
    """An older state erases nothing that is live, wherever it comes."""
    wires = answer("live ", "and ", "on", messageId="live")
    fetched = {"messageId": "old", "role": "user", "status": "completed", "order": 1, "parts": []}
    state = event("snapshot", complete=False, messages=[{"id": "old", "info": {}, **fetched}])
    names = {
        "state": write(json.dumps(state, indent=1).encode(), "state.json"),
        "first": write(wires[:3], "1.jsonl"),
        "second": write(wires[3:], "2.jsonl"),
    }
    ran = run("fold", *(names[name] for name in order.split()))
    assert ran.code == 0, ran.err
    messages = ran.json["sessions"]["s"]["messages"]
    assert [message["id"] for message in messages] == ["old", "live"]
    assert texts_of(ran.json) == [text]


def test_states_alone_are_a_log(run: Callable[..., Ran], write: WriteLog) -> None:
    state = {"type": "snapshot", "sessionId": "s", "complete": True, "messages": []}
    ran = run("fold", write(json.dumps(state).encode(), "state.json"))
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["counts"]["verdicts"] == {"accepted": 1}


def test_a_broken_line_in_a_good_log_is_counted(run: Callable[..., Ran], write: WriteLog) -> None:
    lines = as_lines(answer("Hel", "lo")).splitlines(keepends=True)
    broken = [b'{"type": "block.del\n', b"[" * 5000 + b"\n", b"\xff\xfe\x00\n", b'{"type": 7}\n']
    log = write(b"".join([*lines[:2], *broken, b'{"type": "what.ever"}\n', *lines[2:]]))
    ran = run("fold", log)
    assert (ran.code, ran.err) == (0, "")
    assert texts_of(ran.json) == ["Hello"]
    counts = ran.json["counts"]["verdicts"]
    assert counts["accepted"] == 6
    assert sum(number for name, number in counts.items() if name.startswith("malformed")) == 4
    assert sum(number for name, number in counts.items() if name.startswith("unknown")) == 1


@pytest.mark.parametrize("command", ["fold", "replay"])
def test_a_broken_first_line_is_counted_too(
    run: Callable[..., Ran], write: WriteLog, command: str
) -> None:
    ran = run(command, write(b"not json\n" + as_lines(answer("Hello"))))
    assert (ran.code, ran.err) == (0, "")
    assert "Hello" in ran.out
    assert re.search(r"malformed\W+1\b", ran.out)


@pytest.mark.parametrize("command", ["fold", "replay"])
@pytest.mark.parametrize("framing", [as_lines, as_frames])
def test_a_log_that_breaks_off_is_taken_to_its_end_and_that_is_told(
    run: Callable[..., Ran], write: WriteLog, command: str, framing: Callable[[list[Wire]], bytes]
) -> None:
    data = framing(answer("Hel", "lo"))
    name = write(data[: data.index(b'"lo"')], "log.sse")
    ran = run(command, name)
    assert ran.code == 0 and "Hel" in ran.out and "Hello" not in ran.out
    assert ran.err == f"streamstore: {name}: its last event breaks off and is left out\n"


@pytest.mark.parametrize("command", ["fold", "replay"])
def test_a_last_event_counts_behind_its_blank_line_a_last_line_without_its_end(
    run: Callable[..., Ran], write: WriteLog, command: str
) -> None:
    lines, frames = (framing(answer("Hel", "lo")[:-2]) for framing in (as_lines, as_frames))
    ran = run(command, write(lines[:-1]))
    assert (ran.code, ran.err) == (0, "") and "Hello" in ran.out
    for cut in (1, 2):
        ran = run(command, write(frames[:-cut]))
        assert ran.code == 0 and "Hello" not in ran.out
        assert "its last event breaks off and is left out" in ran.err


@pytest.mark.parametrize("words", ["fold", "replay", "check", "watch", "serve --port 0"])
def test_an_address_where_a_log_belongs_is_told_where_it_belongs(
    run: Callable[..., Ran], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, *options = words.split()
    _needed_by(command)
    ran = run(command, "ftp://example.invalid/event", *options)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("http(s) addresses are for streamstore watch and record\n")
    for bare in (
        "localhost",
        "localhost:4096/event",
        "127.0.0.1:1",
        "a-b.example:80/?x",
        "[::1]:1",
        "example.com/x",
        "192.168.0.1/event?x=1",
    ):
        ran = run(command, bare, *options)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == (
            f"streamstore: {bare}: no such file; an address begins with http:// or https://, "
            "and is for streamstore watch and record\n"
        )
    (tmp_path / "talks.v1").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in ("C:/talk.sse", "talks.v1/talk.sse", "talks/talk.sse", "../a.b/talk.sse"):
        assert run(command, path, *options).err.endswith(": No such file or directory\n")


def test_fold_of_hostile_text_is_harmless_and_true(
    run: Callable[..., Ran], write: WriteLog
) -> None:
    ran = run("fold", write(answer(HOSTILE, "日本語 é")))
    assert not ACTIVE.search(ran.out)
    assert texts_of(ran.json) == [HOSTILE.replace("\ud83d", "\ufffd") + "日本語 é"]
    assert "日本語 é" in ran.out


def test_fold_writes_ascii_where_nothing_else_can_be_written(
    write: WriteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an 8-bit terminal the bytes of UTF-8 would be control characters."""
    log = write(answer(HOSTILE, "日本語 é"))
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    assert main(["fold", log]) == 0
    out = raw.getvalue().decode("ascii")
    assert not ACTIVE.search(out)
    assert texts_of(json.loads(out)) == [HOSTILE.replace("\ud83d", "\ufffd") + "日本語 é"]


# --- what is wrong --------------------------------------------------------------------------------

OTHER = as_lines([{"kind": "a"}, {"kind": "b"}])
LONG = as_lines(answer("x" * 9_000_000)[2:3])
LONG_SAID = (
    rf"a line of {len(LONG) - 1:,} bytes is over the limit of 8,388,608 \(line_bytes\) and no other "
    r"event is in it; longer ones are taken by StreamStore\(limits=Limits\(line_bytes=\.\.\.\)\)"
)


WRONG_LOGS: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "", "holds no events"),
    "blank": (b"\n\n", "", "holds no events"),
    "prose": (b"Dear reader,\n\nthis is no log.\n", "", "holds no events"),
    "prose, protocol said": (b"<html>\n{\n", "--protocol native", "holds no events"),
    "binary": (bytes(range(256)) * 20, "", "holds no events"),
    "UTF-16": ('{"type": "x"}\n'.encode("utf-16"), "", "holds no events"),
    "numbers": (b"1\n2\n" * 100, "", "holds no events"),
    "unknown protocol": (OTHER, "", "no protocol recognised.*native, .*opencode"),
    "unknown for long": (OTHER * 100, "", "no protocol recognised.*native, .*opencode"),
    "what it looks like": (
        as_lines([{"kind": "a"}] * 64),
        "",
        "no type but the members 'kind'",
    ),
    "broken JSON": (b"{\n{\n", "", "holds no events"),
    "frames of prose": (b"data: what\n\n", "", "no protocol recognised.*native, .*opencode"),
    "a long line": (LONG, "", LONG_SAID),
    "a long line, protocol said": (LONG, "--protocol native", LONG_SAID),
    "a long line of no log": (b"x" * len(LONG), "", "holds no events"),
    "a long frame": (
        b"data: " + LONG[:2_000_000] + b"\n\n",
        "",
        r"a line of 2,000,006 bytes is over the limit of 1,048,576 \(event_line_bytes\)",
    ),
    "wrong protocol": (as_lines(answer("x")), "--protocol opencode", "none of its events"),
    "empty, protocol said": (b"", "--protocol native", "holds no events"),
    "no such protocol": (b"{}", "--protocol nope", "'nope'; there are: native, .*opencode"),
    "broken gzip": (b"\x1f\x8b\x08broken", "", "gzip"),
}


@pytest.mark.parametrize("command", ["fold", "replay"])
@pytest.mark.parametrize(("data", "options", "problem"), WRONG_LOGS.values(), ids=WRONG_LOGS)
def test_a_wrong_log_or_protocol_is_one_clear_line(
    run: Callable[..., Ran],
    write: WriteLog,
    command: str,
    data: bytes,
    options: str,
    problem: str,
) -> None:
    ran = run(command, write(data), *options.split())
    assert ran.code == 2
    assert ran.out == ""
    assert re.fullmatch(f"streamstore: .*{problem}.*\n", ran.err), ran.err


@pytest.mark.parametrize("options", ["", "--protocol native"])
@pytest.mark.parametrize("command", ["fold", "replay", "check", "watch"])
@pytest.mark.parametrize("named", ["log.jsonl", "log.json"])
def test_an_array_of_events_is_told(
    run: Callable[..., Ran], write: WriteLog, named: str, command: str, options: str
) -> None:
    _needed_by(command)
    name = write(json.dumps(answer("x")).encode(), named)
    ran = run(command, name, *options.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"streamstore: {name}: an array of events: a log has each on a line")


def test_of_an_array_over_several_lines_it_is_told_how_each_event_comes_on_one(
    run: Callable[..., Ran], write: WriteLog
) -> None:
    ran = run("fold", write(json.dumps(answer("x"), indent=2).encode()))
    assert ran.err.endswith("takes several lines, jq -c '.[]' writes each of an array on one)\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fold"],
        ["replay"],
        ["bogus"],
        ["fold", "/no/such/file"],
        ["fold", "."],
        ["fold", "-", "-"],
        ["fold", "--as", "nope", "x"],
        ["fold", "--sequencing", "nope", "x"],
        ["fold", "--nope", "x"],
        ["replay", "--speed", "0", "x"],
        ["replay", "--speed", "-1", "x"],
        ["replay", "--speed", "nan", "x"],
        ["replay", "--speed", "fast", "x"],
        ["fold", "\x1b[31m\udc80\n"],
    ],
)
def test_a_wrong_argument_is_one_clear_line(run: Callable[..., Ran], arguments: list[str]) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("streamstore: ") and ran.err.count("\n") == 1
    assert not ACTIVE.search(ran.err)


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (b"{", "not JSON"),
        (b"[1, 2]", "no protocol knows such a state.*native, .*opencode"),
        (b'{"type": "snapshot", "sessionId": "s", "complete": 7}', "no state that native takes"),
    ],
)
def test_a_wrong_state_is_one_clear_line(
    run: Callable[..., Ran], write: WriteLog, state: bytes, problem: str
) -> None:
    log = write(answer("x"))
    ran = run("fold", write(state, "state.json"), log)
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(f"streamstore: .*state.json: .*{problem}.*\n", ran.err), ran.err


@pytest.mark.parametrize("command", ["fold", "replay"])
def test_what_is_no_log_is_told_from_standard_input(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    page = b"<html>\n" + b"<p>502 Bad Gateway</p>\n" * 100
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(page)))
    ran = run(command, "-")
    assert (ran.code, ran.out.strip()) == (2, "")
    assert ran.err.startswith("streamstore: -: holds no events (it is neither")


@pytest.mark.parametrize("command", ["fold", "replay"])
def test_lines_over_the_limit_are_told_and_the_rest_is_shown(
    run: Callable[..., Ran], write: WriteLog, command: str
) -> None:
    name = write(LONG + as_lines(answer("Hello")) + LONG[:-9])
    ran = run(command, name)
    assert ran.code == 0 and "Hello" in ran.out
    assert ran.err == (
        f"streamstore: {name}: 2 lines of up to {len(LONG) - 1:,} bytes are over the limit of "
        "8,388,608 (line_bytes) and left out; longer ones are taken by "
        "StreamStore(limits=Limits(line_bytes=...)) in Python\n"
    )


@pytest.mark.parametrize("command", ["fold", "replay"])
def test_a_long_line_of_a_recording_is_told(
    run: Callable[..., Ran], tmp_path: Path, command: str
) -> None:
    with open_log(tmp_path / "log.jsonl") as log:
        for wire in answer("Hello", "x" * 1_100_000):
            log.append(json.dumps(wire))
    ran = run(command, str(tmp_path / "log.jsonl"))
    assert ran.code == 0 and "Hello" in ran.out
    assert re.search(r"log\.jsonl: a line of 1,100,\d+ bytes .* \(event_line_bytes\)", ran.err)


@pytest.mark.parametrize("command", ["fold", "replay", "check"])
@pytest.mark.parametrize("options", ["", "--protocol native"])
@pytest.mark.parametrize("framing", [as_lines, as_frames])
def test_a_log_may_be_named_like_a_state(
    run: Callable[..., Ran],
    write: WriteLog,
    command: str,
    options: str,
    framing: Callable[[list[Wire]], bytes],
) -> None:
    name = write(framing(answer("Hel", "lo")), "events.json")
    more = ["--runs", "1"] if command == "check" else []
    ran = run(command, name, *options.split(), *more)
    assert (ran.code, ran.err) == (0, "")
    assert "6 events" in ran.out if command == "check" else "Hello" in ran.out


class Chunk:
    """An event as an SDK hands it out."""


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ({"type": "zzz", "foo": 1}, "has the type 'zzz';"),
        ({"type": "a\x1b[2J\u202e"}, r"has the type 'a\x1b[2J\u202e';"),
        ({"type": "t" * 10_000}, f"has the type '{'t' * 76}...;"),
        ({"foo": 1}, "has no type but the members 'foo';"),
        ({"type": None, "\x9b": 1, 7: 1}, r"has no type but the members 'type', '\x9b', int;"),
        (dict.fromkeys("abcde"), "has no type but the members 'a', 'b', 'c', 'd', ...;"),
        (dict.fromkeys(["m" * 99, "n"]), f"has no type but the members '{'m' * 76}...;"),
        ({}, "is empty;"),
        ([1], "is no object but of the type list;"),
        (None, "is no object but of the type NoneType;"),
        (
            Chunk(),
            "is an object of the class Chunk: give decoded JSON (of a model its model_dump());",
        ),
    ],
)
def test_an_unrecognised_stream_says_what_its_first_event_looks_like(first: Any, said: str) -> None:
    store = StreamStore(ticks="manual")
    with pytest.raises(UnknownProtocol) as raised:
        for _ in range(64):
            store.ingest(first)
    message = str(raised.value)
    found = message.removeprefix("no protocol recognised: the first event ")
    if len(said) > 80:
        assert len(found.partition(";")[0]) <= len("has no type but the members ") + 80
    assert found.startswith(said[:80])
    assert "name one of: native, " in found
    kind = first.get("type") if isinstance(first, dict) else None
    reason = kind[:80] if isinstance(kind, str) else "(no type)"
    assert store.health.counts["verdicts"] == {f"unknown:{reason}": 64}


def test_the_second_of_two_logs_is_the_wrong_one(run: Callable[..., Ran], write: WriteLog) -> None:
    ran = run("fold", write(answer("x")), write(OTHER, "other.jsonl"))
    assert ran.code == 2
    assert "other.jsonl: none of its events (2) is one that native knows" in ran.err


def test_an_empty_connection_among_others_is_none_of_our_business(
    run: Callable[..., Ran], write: WriteLog
) -> None:
    """A reconnect that broke before the first event."""
    assert run("fold", write(answer("x")), write(b": hello\n\n", "2.sse")).code == 0


@pytest.mark.parametrize("command", ["fold", "replay"])
def test_interrupting_says_nothing(
    run: Callable[..., Ran], write: WriteLog, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for module in (streamstore.cli, replaying):
        monkeypatch.setattr(module, "feed_all", interrupt)
    ran = run(command, write(answer("x")))
    assert (ran.code, ran.err) == (130, "")


@pytest.mark.skipif(os.name == "nt", reason="a terminal of a program")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize(
    ("command", "taken", "given_back"),
    [
        ("replay --speed 0.001", b" events", b"\x1b[?25h"),  # drawn with a hidden cursor
        ("watch --speed 0.001", b"\x1b[?1049h", b"\x1b[?1049l"),
    ],
)
def test_a_signal_that_ends_a_command_leaves_the_terminal_as_it_was(
    write: WriteLog, command: str, taken: bytes, given_back: bytes, number: str
) -> None:
    import pty

    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "streamstore", *command.split(), write(answer("Hel", "lo"))]
    sent = getattr(signal, number)

    def heeds() -> None:
        signal.signal(sent, signal.SIG_DFL)  # tests in the background, or under nohup, ignore it

    process = subprocess.Popen(
        words,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
        preexec_fn=heeds,  # noqa: PLW1509 (it takes no lock that a thread may hold)
    )
    os.close(theirs)
    shown = b""
    try:
        while taken not in shown:
            shown += os.read(ours, 65_536)
        process.send_signal(sent)
        while piece := os.read(ours, 65_536):
            shown += piece
    except OSError:
        pass  # its end, on Linux
    finally:
        os.close(ours)
    assert process.wait() == (130 if command.startswith("replay") else 0)
    assert given_back in shown[shown.index(taken) :] and b"Traceback" not in shown


@pytest.mark.skipif(os.name == "nt", reason="a terminal of a program")
@pytest.mark.parametrize("hangup", ["SIG_DFL", "SIG_IGN"])  # ignored, as `nohup` has it
def test_a_closed_terminal_ends_the_screen(write: WriteLog, hangup: str) -> None:
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()

    def owns() -> None:
        signal.signal(signal.SIGHUP, getattr(signal, hangup))
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # as a program in a window

    process = subprocess.Popen(
        [sys.executable, "-m", "streamstore", "watch", "--paused", write(answer("Hel", "lo"))],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=owns,  # noqa: PLW1509 (it takes no lock that a thread may hold)
    )
    os.close(theirs)
    shown = b""
    try:
        while b"Quit" not in shown:
            shown += os.read(ours, 65_536)
    finally:
        os.close(ours)
    try:
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("command", ["fold", "replay"])
def test_a_reader_that_goes_away_is_no_error(write: WriteLog, command: str) -> None:
    log = write(answer("x" * 1_000_000))
    process = subprocess.Popen(
        [sys.executable, "-m", "streamstore", command, log],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file of a full disk")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("fold", 0, b"Hel"),
        ("replay", 0, b"Hel"),
        ("check --runs 1", 0, b"kept"),
        ("fold --nope", 2, b""),
        ("fold /no/such/file", 2, b""),
        ("check /no/such/file", 2, b""),
    ],
)
def test_what_is_told_but_cannot_be_written_keeps_back_no_result(
    write: WriteLog, words: str, code: int, said: bytes
) -> None:
    with open_log(write(b"")) as log:
        for wire in answer("Hel", "lo"):
            log.append(json.dumps(wire))
    with open(log.path, "ab") as torn:
        torn.write(b'{"position": 7')
    command = [sys.executable, "-m", "streamstore", *words.split(), log.path]
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=full)
    assert ran.returncode == code and said in ran.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file of a full disk")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", ["--help", "--version", "fold --help", "watch -h", "fold LOG", "replay LOG"]
)
def test_what_is_asked_for_and_cannot_be_written_is_an_error(
    write: WriteLog, words: str, unbuffered: str
) -> None:
    """Also what is held back until the end, of which the interpreter would complain then."""
    words = words.replace("LOG", write(answer("Hel", "lo")))
    command = [sys.executable, "-m", "streamstore", *words.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            command, check=False, stdout=full, stderr=subprocess.PIPE, env=environment
        )
    assert (ran.returncode, ran.stderr) == (2, b"streamstore: No space left on device\n")


def test_help_and_version(run: Callable[..., Ran]) -> None:
    assert run("--help").out.startswith("usage: streamstore ")
    assert re.search(r"native,\s.*opencode", run("fold", "--help").out, re.DOTALL)
    assert "--speed N|max" in run("replay", "--help").out
    assert run("--version").out == f"streamstore {metadata.version('chat-streamstore')}\n"


def test_the_version_is_read_when_it_is_asked_for() -> None:
    code = (
        "from importlib import metadata\n"
        "asked = []\n"
        "def version(name):\n"
        "    asked.append(name)\n"
        "    raise metadata.PackageNotFoundError\n"
        "metadata.version = version\n"
        "import streamstore\n"
        "assert not asked\n"
        "assert streamstore.__version__ == '0+unknown'\n"
        "assert asked == ['chat-streamstore']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = streamstore.no_such_name  # type: ignore[attr-defined]


def test_the_command_needs_no_extra() -> None:
    code = (
        "import sys\n"
        "for name in ('rich', 'textual', 'httpx', 'orjson'):\n"
        "    sys.modules[name] = None\n"
        "from streamstore.cli import main\n"
        f"sys.exit(main(['replay', {str(RECORDED)!r}]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert b"Make a small report from notes.txt" in ran.stdout
    assert ran.stderr == b""


@pytest.mark.skipif(os.name == "nt", reason="a shell that closes files")
@pytest.mark.parametrize(
    ("closed", "said"),
    [
        ("fold LOG >&-", ""),
        ("replay LOG >&-", ""),
        ("fold LOG >&- 2>&-", ""),
        ("fold missing 2>&-", ""),
        ("fold - <&-", "streamstore: -: standard input is closed\n"),
    ],
)
def test_a_standard_stream_may_be_closed(write: WriteLog, closed: str, said: str) -> None:
    words = closed.replace("LOG", shlex.quote(write(answer("x"))))
    line = f"{shlex.quote(sys.executable)} -m streamstore {words}"
    ran = subprocess.run(["sh", "-c", line], check=False, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("", said)
    assert ran.returncode == (2 if said or "missing" in closed else 0)


# --- replay ---------------------------------------------------------------------------------------


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Watched(PlainView):
    """A plain view that is drawn like a live one, and notes when."""

    draw_s = replaying.DRAW_S

    def __init__(self, clock: Clock) -> None:
        super().__init__(io.StringIO())
        self.clock = clock
        self.drawn: list[float] = []

    def draw(self, events: int) -> None:
        self.drawn.append(self.clock())
        super().draw(events)


def plain(*names: str, **options: Any) -> str:
    out = io.StringIO()
    options.setdefault("speed", AT_ONCE)
    replay(connections(names), PlainView(out), **options)
    return out.getvalue()


def figures(out: str) -> dict[str, str]:
    """The table at the end."""
    rows = out.rsplit("\n\n", 1)[1].splitlines()
    return {row[:14].strip(): row[15:] for row in rows}


def test_replay_shows_the_recorded_session(run: Callable[..., Ran]) -> None:
    ran = run("replay", str(RECORDED))
    assert (ran.code, ran.err) == (0, "")
    places = [
        ran.out.index(line)
        for line in (
            "-- user\nMake a small report from notes.txt\n",
            "-- assistant\n> Plan first.\n",
            "[todowrite] completed: 3 todos\n",
            "Reading the notes and counting.\n[read] completed: notes.txt\n",
            "[bash] completed: ",
            "[write] completed: report.md\n",
            "Done: the report is in `report.md`.\n",
        )
    ]
    assert places == sorted(places)
    assert figures(ran.out) == {
        "events": "277",
        "deltas": "130",
        "verdicts": "accepted 277",
        "ticks": figures(ran.out)["notifications"],
        "writes": figures(ran.out)["writes"],
        "notifications": figures(ran.out)["ticks"],
    }
    assert int(figures(ran.out)["writes"]) < 130


def test_the_same_log_gives_the_same_replay_at_any_speed() -> None:
    at_once = plain(str(RECORDED))
    for speed in (AS_RECORDED, Speed(0.5), Speed(3)):
        clock = Clock()
        assert plain(str(RECORDED), speed=speed, clock=clock, sleep=clock.sleep) == at_once


def test_ticks_are_those_of_a_frontend_at_60_hz(write: WriteLog) -> None:
    """Ten deltas in one moment are one write; a second later the next is another."""
    wires = answer(*"0123456789", "x")
    write(json.dumps([0, 500, *[1000] * 10, 2000, 3000, 3000]).encode(), "arrival_ms.json")
    shown = figures(plain(write(wires)))
    assert shown["deltas"] == "11"
    assert shown["writes"] == "2"
    assert shown["ticks"] == shown["notifications"] == "5"


def test_verdicts_are_shown_with_their_reasons(write: WriteLog) -> None:
    wires = answer("a", "b")
    unknown = [{"type": f"x.{HOSTILE}{number}"} for number in range(9)]
    out = plain(write([*wires, *wires[2:4], *unknown]))
    shown = figures(out)
    assert shown["verdicts"] == "accepted 6"
    assert "duplicate 2" in out
    assert re.search(r"unknown 9 \(x.* 1, x.* 1, x.* 1, x.* 1, \.\.\.\)", out)
    assert shown["events"] == "17"
    assert not ACTIVE.search(out)


def test_hostile_text_is_harmless_wherever_it_stands(write: WriteLog) -> None:
    block = {"messageId": "m", "blockIndex": 9}
    tool = {"status": "error", "title": HOSTILE, "input": {HOSTILE: [HOSTILE]}, "error": HOSTILE}
    done = {"status": "completed", "output": HOSTILE + "\n" + HOSTILE}
    error = {"name": HOSTILE, "message": HOSTILE}
    tools = [
        event("block.opened", kind="tool", seq=10, tool=HOSTILE, state=tool, **block),
        event(
            "block.opened",
            kind="tool",
            seq=11,
            tool=HOSTILE,
            state=done,
            **{**block, "blockIndex": 10},
        ),
        event("block.opened", kind="file", seq=12, name=HOSTILE, **{**block, "blockIndex": 11}),
    ]
    first = answer(HOSTILE)
    wires = [
        event("session.updated", info={"title": HOSTILE}),
        *first[:2],
        *tools,
        event("session.status", status="retry", attempt=1, message=HOSTILE),
        event("permission.asked", id=HOSTILE, messageId="m", **{HOSTILE: HOSTILE}),
        event("session.error", error=error),
        *first[2:-1],
        event("message.closed", messageId="m", status="error", error=error, seq=20),
        event("message.opened", messageId=HOSTILE, role=HOSTILE, seq=21),
        event("block.delta", messageId=HOSTILE, blockIndex=0, text=HOSTILE, seq=22),
        {"type": "session.updated", "sessionId": HOSTILE, "info": {"title": 7}},
        {"type": "session.removed", "sessionId": HOSTILE},
    ]
    log = write(wires)
    out = plain(log)
    assert not ACTIVE.search(out)
    assert SHOWN in out
    for wanted in ("[", "permission asked", "retry 1", "session error", "error: name="):
        assert wanted in out
    shown = live(log)[1]
    assert not ACTIVE.search(ESCAPES_OF_RICH.sub("", shown))
    assert "owned" in shown


def test_markup_of_rich_is_text(write: WriteLog) -> None:
    pytest.importorskip("rich")
    assert (
        "[bold red]not[/bold red] :smile:"
        in live(write(answer("[bold red]not[/bold red] :smile:")))[1]
    )


def test_one_session_alone(write: WriteLog) -> None:
    other = [{**wire, "sessionId": "t"} for wire in answer("theirs", message="n")]
    log = write([*answer("ours"), *other])
    assert "theirs" in plain(log)
    shown = plain(log, session_id="s")
    assert "ours" in shown and "theirs" not in shown


def test_a_session_that_never_came_is_one_clear_line(
    run: Callable[..., Ran], write: WriteLog
) -> None:
    ran = run("replay", write(answer("x")), "--session", "nope")
    assert ran.code == 2
    assert ran.err == "streamstore: no session 'nope' in this log; there are: s\n"


def test_interleaved_texts_are_shown_one_after_the_other(write: WriteLog) -> None:
    one = answer("a1 ", "a2 ", "a3")
    two = [{**wire, "sessionId": "t"} for wire in answer("b1 ", "b2 ", "b3")]
    out = plain(write([wire for pair in zip(one, two, strict=True) for wire in pair]))
    assert "a1 a2 a3\n" in out
    assert "b1 b2 b3\n" in out
    assert out.index("== s") < out.index("a1") < out.index("== t") < out.index("b1")


def test_rewrites_removals_and_gaps_are_said(write: WriteLog) -> None:
    block = {"messageId": "m", "blockIndex": 0}
    wires = answer("wrong words")
    wires.insert(3, event("block.replaced", text="right words", seq=3, **block))
    wires[4:] = [
        event("block.closed", seq=4, **block),
        event("message.removed", messageId="m", seq=5),
    ]
    write(json.dumps([0, 0, 0, 100, 200, 300]).encode(), "arrival_ms.json")
    out = plain(write(wires))
    assert "wrong words\n* rewritten:\nright words\n* message removed\n" in out

    cut = write([event("block.delta", text="…half", **block)], "cut.jsonl")
    assert "(text may be missing)\n…half" in plain(cut, sequencing="none")


def test_what_comes_again_after_its_removal_is_shown_again(write: WriteLog) -> None:
    block = {"messageId": "m", "blockIndex": 0}
    wires = [
        *answer("first life")[:3],
        event("message.removed", messageId="m", seq=4),
        *answer("second life", start=7),
    ]
    times = [0, 0, 0, 100, *[200] * 5]
    write(json.dumps(times).encode(), "arrival_ms.json")
    out = plain(write(wires))
    assert "first life\n* message removed\n\n-- assistant\nsecond life\n" in out

    wires[3] = event("block.removed", seq=4, **block)
    out = plain(write(wires))
    assert "first life\n* part removed\n" in out
    assert "\nsecond life\n" in out

    wires[3:4] = [
        event("session.removed", seq=4),
        event("session.updated", info={}, whole=True, seq=5),
    ]
    write(json.dumps([0, 0, 0, 100, *[200] * 5]).encode(), "arrival_ms.json")
    out = plain(write(wires))
    assert "first life\n* session removed: s\n\n== s\n\n-- assistant\nsecond life\n" in out


def test_a_transcript_holds_what_there_is() -> None:
    store = StreamStore("native", ticks="each")
    told = Transcript(store)
    store.subscribe(told.hear)
    for number in range(20):
        store.ingest_many({**wire, "sessionId": f"s{number}"} for wire in answer("text"))
        if number % 2:
            assert [entry.style for entry in told.done()][-1] == "text"
        store.ingest({"type": "session.removed", "sessionId": f"s{number}"})
    assert [entry.style for entry in told.finish()] == ["note"]
    assert not any(held for held in vars(told).values() if isinstance(held, dict))


def test_a_text_of_the_user_that_streams_is_one_text() -> None:
    store = StreamStore("native", ticks="each")
    told = Transcript(store)
    store.subscribe(told.hear)
    ids = {"messageId": "u", "blockIndex": 0}
    taken = []
    for number, wire in enumerate(
        [
            event("message.opened", role="user", **ids),
            event("block.opened", kind="text", **ids),
            event("block.delta", text="What is ", **ids),
            event("block.delta", text="this?", **ids),
            event("message.opened", messageId="v", role="assistant"),
            event("block.delta", messageId="v", blockIndex=0, text="It"),
        ]
    ):
        store.ingest({**wire, "seq": number + 1})
        taken += [entry for entry in told.done() if entry.style in ("text", "note")]
        assert (number > 3) == bool(taken)
    assert [str(entry.text) for entry in taken] == ["What is this?"]


def test_a_text_that_comes_after_its_part_was_done_is_shown_whole() -> None:
    store = StreamStore("native", ticks="each")
    told = Transcript(store)
    store.subscribe(told.hear)
    for wire in answer("late"):
        if wire["type"] != "block.delta":
            store.ingest({name: wire[name] for name in wire if name != "seq"})
    assert [*told.done()] == []
    store.ingest(event("block.delta", messageId="m", blockIndex=0, text="late"))
    assert [str(entry.text) for entry in told.done() if entry.key is not None] == ["late"]


@pytest.mark.parametrize("key", ["session", "message", "block"])
def test_what_is_removed_while_a_transcript_is_taken_is_taken_no_more(key: str) -> None:
    store = StreamStore("native", ticks="each")
    told = Transcript(store)
    store.subscribe(told.hear)
    for number in range(2):
        wires = answer("text") + answer("more", message="n", start=9)
        store.ingest_many({**wire, "sessionId": f"s{number}"} for wire in wires)
    ids = {"messageId": "m", "blockIndex": 0}
    taken = []
    for entry in told.finish():
        taken.append(entry.style)
        if len(taken) == 3:  # behind the heads and the first text: one that awaits may hear of it
            for number in range(2):
                store.ingest(event(f"{key}.removed", seq=20, **ids) | {"sessionId": f"s{number}"})
    texts = {"session": 1, "message": 3, "block": 3}
    assert taken.count("text") == texts[key]
    assert {entry.style for entry in told.finish()} == {"note"}


def test_what_is_looked_at_does_not_grow_with_what_is_not_done() -> None:
    """A log that closes nothing, in one session and in many, as a pipe has it drawn at each tick."""
    asked: list[str] = []

    class Reads:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(store, name)

    for sessions in (1, 50):
        store = StreamStore("native", ticks="each")
        told = Transcript(Reads())
        store.subscribe(told.hear)
        costs = []
        for number in range(200):
            wires = answer("text", message=f"m{number:03}", start=3 * number + 2)
            store.ingest_many({**wire, "sessionId": f"s{number % sessions}"} for wire in wires[:3])
            asked.clear()
            drawn = [*told.done(), *told.growing(1)]
            costs.append(len(asked))
            assert len(drawn) == 1
        assert max(costs) == max(costs[:3])


def test_what_is_never_closed_is_shown_at_the_end(write: WriteLog) -> None:
    out = plain(write(answer("no end")[:3]))
    assert "-- assistant\nno end\n" in out


def test_replay_of_several_connections(write: WriteLog) -> None:
    wires = answer("one ", "two ", "three")
    out = plain(write(wires[:4], "1.jsonl"), write(as_frames(wires[2:]), "2.sse"))
    assert "one two three\n" in out
    assert figures(out)["deltas"] == "5"


def test_deltas_of_events_that_are_told_by_their_names_are_counted() -> None:
    """As the stream takes them in: without its name an event may be another one."""
    graph = RECORDED.parents[2] / "langchain" / "graph.sse"
    assert figures(plain(str(graph)))["deltas"] == "19"


def test_standard_input_is_replayed_as_it_comes(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(as_frames(answer("x y z")))))
    assert "x y z\n" in run("replay", "-").out


# --- pace -----------------------------------------------------------------------------------------


def recorded(write: WriteLog, times: list[float]) -> str:
    write(json.dumps(times).encode(), "arrival_ms.json")
    return write(answer(*("x" * (len(times) - 4))))


def duration(log: str, speed: Speed) -> float:
    clock = Clock()
    plain(log, speed=speed, clock=clock, sleep=clock.sleep)
    return clock.now


def test_a_replay_takes_the_recorded_time(write: WriteLog) -> None:
    log = recorded(write, [100, 200, 700, 800, 5100])
    assert duration(log, Speed(1)) == pytest.approx(5)
    assert duration(log, Speed(2)) == pytest.approx(2.5)
    assert duration(log, Speed(0.5)) == pytest.approx(10)
    assert duration(log, AT_ONCE) == 0


def test_by_default_pauses_are_short_and_the_whole_is_at_most_ten_seconds(write: WriteLog) -> None:
    assert duration(recorded(write, [0, 100, 200, 60_200, 60_300]), AS_RECORDED) == pytest.approx(
        1.3
    )
    assert duration(recorded(write, [500.0 * n for n in range(200)]), AS_RECORDED) == pytest.approx(
        10
    )


def test_a_pause_of_years_is_no_work(write: WriteLog) -> None:
    assert duration(recorded(write, [0, 0, 0, 1e12, 1e12 + 1]), AT_ONCE) == 0


def test_drawings_are_at_most_twenty_per_second(write: WriteLog) -> None:
    log = recorded(write, [10.0 * number for number in range(400)])
    clock = Clock()
    view = Watched(clock)
    replay(connections([log]), view, speed=Speed(1), clock=clock, sleep=clock.sleep)
    assert len(view.drawn) > 20
    assert all(
        later - earlier > 0.049 for earlier, later in zip(view.drawn, view.drawn[1:], strict=False)
    )
    assert max(clock.slept) <= replaying.DRAW_S


def test_at_full_speed_drawings_go_by_the_clock_too(write: WriteLog) -> None:
    clock = Clock()
    view = Watched(clock)
    log = recorded(write, [10.0 * number for number in range(400)])
    replay(connections([log]), view, speed=AT_ONCE, clock=clock, sleep=clock.sleep)
    assert view.drawn == []  # no time passed; the end shows everything
    assert "x" * 396 in view._out.getvalue()  # type: ignore[attr-defined]


def test_speeds() -> None:
    assert speed_of("max") == AT_ONCE.factor
    assert speed_of("2.5") == 2.5
    assert math.isinf(speed_of("inf"))


# --- durable logs ---------------------------------------------------------------------------------


@pytest.fixture
def durable(tmp_path: Path) -> Callable[..., str]:
    """Writes a durable log: its events, with the number of the connection and the time of each."""

    def make(*events: tuple[int, int, Wire], name: str = "log.jsonl") -> str:
        with open_log(tmp_path / name) as log:
            for connection, time_ms, wire in events:
                log.append(json.dumps(wire), connection=connection, time_ms=time_ms)
        return str(tmp_path / name)

    return make


def turns(*numbers: int) -> list[tuple[int, int, Wire]]:
    """An answer of four words, an event each 100 ms, on these connections."""
    wires = answer("a ", "b ", "c ", "d ")
    assert len(numbers) == len(wires)
    return [
        (n, 5000 + 100 * at, wire) for at, (n, wire) in enumerate(zip(numbers, wires, strict=True))
    ]


@pytest.mark.parametrize("name", ["log.jsonl", "log.sqlite"])
@pytest.mark.parametrize("command", ["fold", "replay", "check"])
def test_a_recording_of_several_connections_is_read_by_every_command(
    run: Callable[..., Ran], durable: Callable[..., str], command: str, name: str
) -> None:
    path = durable(*turns(1, 1, 1, 2, 2, 3, 3, 3), name=name)
    ran = run(command, path, *(["--runs", "2"] if command == "check" else []))
    assert (ran.code, ran.err) == (0, "")
    if command == "fold":
        assert texts_of(ran.json) == ["a b c d "]
    elif command == "replay":
        assert "a b c d \n" in ran.out and figures(ran.out)["events"] == "8"
    else:
        assert [line for line in ran.out.splitlines() if "events" in line and path in line] == [
            f"{path} (connection {n}): {k} events, native (sparse), seed 0"
            for n, k in ((1, 3), (2, 2), (3, 3))
        ]


@pytest.mark.parametrize("way", ["file", "standard input"])
@pytest.mark.parametrize("command", ["fold", "replay", "check"])
def test_losses_of_a_log_are_told_on_standard_error_a_line_each(
    run: Callable[..., Ran],
    durable: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    way: str,
) -> None:
    name = durable(*turns(1, 1, 1, 2, 2, 2, 2, 2))
    lines = Path(name).read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b"b ", b"B ")
    data = b"".join(lines) + b'{"pos'
    Path(name).write_bytes(data)
    if way == "standard input":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        name = "-"
    ran = run(command, name, *(["--runs", "2"] if command == "check" else []))
    assert ran.code == 0
    assert ran.err.splitlines() == [
        f"streamstore: {name}: position 4 is lost (line 5: the checksum does not fit)",
        f"streamstore: {name}: 5 bytes at its end are left out: no whole record (yet)",
    ]
    if command == "fold":
        assert texts_of(ran.json) == ["a c d "]


@pytest.mark.parametrize("command", ["fold", "replay", "check"])
def test_of_a_log_that_is_lost_as_a_whole_nothing_is_advised_that_a_command_cannot_do(
    run: Callable[..., Ran], tmp_path: Path, command: str
) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        for _ in range(500):
            log.append(b"x" * 500)
    os.truncate(path, path.stat().st_size // 2)
    ran = run(command, str(path))
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(r"streamstore: .*everything is lost \(.* is malformed\)\n", ran.err)


def test_a_log_of_another_version_is_one_line(run: Callable[..., Ran], tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(seal(b'{"log": "streamstore", "version": 9') + b"\n")
    for command in ("fold", "replay", "check"):
        ran = run(command, str(path))
        assert ran.code == 2 and ran.err.count(str(path)) == 1 == ran.err.count("\n")
        assert "its version is 9" in ran.err


def test_a_connection_that_brought_nothing_of_use_is_not_checked(
    run: Callable[..., Ran], durable: Callable[..., str]
) -> None:
    greeting = {"hello": 1}
    others = [(n + 1, time, wire) for n, time, wire in turns(*[1] * 8)]
    path = durable((1, 4900, greeting), *others, (3, 9000, greeting))
    ran = run("check", path, "--runs", "2")
    assert (ran.code, ran.err) == (0, "") and ran.out.count(path) == 1
    assert texts_of(run("fold", path).json) == ["a b c d "]
    nothing = durable((1, 1, greeting), (2, 2, greeting), name="other.jsonl")
    ran = run("check", nothing)
    assert ran.code == 2 and "no protocol recognised" in ran.err and ran.err.count("\n") == 1


def test_a_recording_is_replayed_at_the_pace_at_which_it_arrived(
    durable: Callable[..., str],
) -> None:
    """Also between two connections: there the server was away."""
    events = turns(1, 1, 1, 1, 2, 2, 2, 2)
    later = [(n, time + (4000 if n == 2 else 0), wire) for n, time, wire in events]
    log = durable(*later)
    assert duration(log, Speed(1)) == pytest.approx(4.7)
    assert duration(log, AS_RECORDED) == pytest.approx(0.6 + 1)
    assert duration(log, AT_ONCE) == 0


# --- live -----------------------------------------------------------------------------------------


def live(*names: str, height: int = 24, width: int = 80, **options: Any) -> tuple[list[str], str]:
    """What a terminal was sent, by drawing and as a whole."""
    rich = pytest.importorskip("rich.console")
    out = io.StringIO()
    console = rich.Console(
        file=out,
        force_terminal=True,
        width=width,
        height=height,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        color_system=None,
        _environ={},
    )
    view = LiveView(console)
    frames: list[str] = []
    draw = view.draw

    def noted(events: int) -> None:
        before = out.tell()
        draw(events)
        frames.append(ESCAPES_OF_RICH.sub("", out.getvalue()[before:]))

    view.draw = noted  # type: ignore[method-assign]
    clock = Clock()
    options.setdefault("speed", Speed(1))
    replay(connections(names), view, clock=clock, sleep=clock.sleep, **options)
    return frames, out.getvalue()


@pytest.mark.parametrize("where", ["set_live", "show_cursor", "push_render_hook"])
def test_an_interrupt_while_the_live_view_begins_is_one_and_gives_the_cursor_back(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    rich = pytest.importorskip("rich.console")
    out = io.StringIO()
    console = rich.Console(file=out, force_terminal=True, legacy_windows=False, _environ={})
    does = getattr(console, where)

    def interrupt(*of: Any) -> None:
        monkeypatch.setattr(console, where, does)
        raise KeyboardInterrupt

    monkeypatch.setattr(console, where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        replay(connections([str(RECORDED)]), LiveView(console))
    assert out.getvalue().endswith("\x1b[?25h")


def test_the_live_view_shows_the_transcript_a_bar_and_a_table() -> None:
    frames, whole = live(str(RECORDED))
    shown = ESCAPES_OF_RICH.sub("", whole)
    for line in (
        "Plan first.",
        "[todowrite] completed: 3 todos",
        "report.md",
        "100%",
        "277 events",
    ):
        assert line in shown
    assert re.search(r"notifications +│ \d+", shown)
    assert any("[bash] running" in frame for frame in frames)
    assert re.search(r"\b\d\d%", frames[len(frames) // 2])
    # Done is done: a finished text is printed once.
    assert shown.count("Make a small report from notes.txt") == 1


def test_a_drawing_costs_what_is_visible(write: WriteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text far longer than the screen is never read as a whole while it grows."""
    asked: list[int] = []
    read = TextView.range

    def noted(self: TextView, start: int, stop: int | None = None) -> str:
        text = read(self, start, stop)
        asked.append(len(text))
        return text

    monkeypatch.setattr(TextView, "range", noted)
    write(json.dumps([100.0 * n for n in range(304)]).encode(), "arrival_ms.json")
    frames, _ = live(write(answer(*["word " * 200] * 300)), height=12, width=60)
    assert len(frames) > 200
    assert max(asked) <= 12 * 60
    growing = frames[10:-5]
    assert all(frame.count("\n") <= 12 for frame in growing)


def test_the_cursor_comes_back_when_a_replay_fails(write: WriteLog) -> None:
    pytest.importorskip("rich")
    log = write(answer("x") + [{"kind": "?"}])
    with pytest.raises(UnreadableLog):
        live(log, protocol="opencode")


def test_without_rich_a_terminal_gets_plain_text_and_a_hint(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    ran = run("replay", str(RECORDED), "--speed", "max")
    assert ran.code == 0
    assert "-- user\nMake a small report" in ran.out
    assert ran.err == "streamstore: for the live view: pip install 'chat-streamstore[cli]'\n"


# --- summaries ------------------------------------------------------------------------------------


def deep(depth: int) -> Iterator[Any]:
    value: Any = "end"
    for _ in range(depth):
        value = {"in": [value]}
        yield value


@pytest.mark.parametrize(
    "value", [*deep(5), "x" * 10**6, ["y" * 10**6] * 10**5, None, 1.5, True, HOSTILE]
)
def test_a_summary_is_one_short_harmless_line(value: Any) -> None:
    line = summary(value)
    assert len(line) <= 160
    assert not ACTIVE.search(line) and "\n" not in line
