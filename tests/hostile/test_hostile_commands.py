"""No command prints what acts on a terminal, whatever it is given and whoever it talks to.

Every option of every command with a hostile value; file names, as a shell hands them over; servers
whose heads, ids, names, redirects and errors are hostile, recorded and watched; what they said, read
back by the commands that read logs; clients that ask a fixture server for hostile things.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import math
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "client"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "watch"))
from test_watch_following import Watched
from virtual import Answer, VirtualClock, VirtualTransport, events, run, served

from streamstore.cli import main, parser
from streamstore.client import ConnectionLost, Policy
from streamstore.logs import Log, UnreadableLog
from streamstore.recording import Recording
from streamstore.recording.command import StatusLine, record
from streamstore.serve import serving
from streamstore.testing import sample

ROOT = Path(__file__).resolve().parent.parent.parent

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x7f\u202egpj.exe\u2066\u061c\u200f"
#: All of C0 but newline and tab, DEL, C1, and what reorders text.
ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
SEEN = "\\x1b]0;owned"
URL = "http://server/events"

COMMANDS: dict[str, argparse.ArgumentParser] = next(
    action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
)
#: Arguments with which a command ends at once: `serve`, `watch` and `record` find nothing to open.
ENDS = {
    "fold": ["{log}"],
    "replay": ["{log}"],
    "check": ["--runs", "1", "{log}"],
    "serve": ["--port", "0", "{none}"],
    "watch": ["{none}"],
    "record": ["http://127.0.0.1:1/", "{none}/log"],
}
#: `serve` listens before it reads: its own port is opencode's, which may run on this machine.
PORT = {"serve": ("--port", "0")}
OPTIONS = [
    (name, action.option_strings[-1])
    for name, command in COMMANDS.items()
    for action in command._actions
    if action.option_strings and action.nargs != 0
]


def assert_harmless(text: str) -> None:
    found = ACTIVE.search(text)
    assert found is None, text[max(0, found.start() - 60) :][:120]
    assert "Traceback" not in text


def given(command: str, folder: Path) -> list[str]:
    log = folder / "log.jsonl"
    log.write_bytes(b'{"type": "session.updated", "sessionId": "s", "info": {}}\n')
    return [word.format(log=log, none=folder / "none") for word in ENDS[command]]


def test_every_command_is_tried() -> None:
    assert set(ENDS) == set(COMMANDS)


@pytest.mark.parametrize("value", [HOSTILE, "@" + HOSTILE, HOSTILE + "\udcff", "\x9b" * 3_000])
@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_a_hostile_value_of_an_option(
    command: str, option: str, value: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main([command, f"{option}={value}", *given(command, tmp_path)])
    assert_harmless("".join(capfd.readouterr()))


@pytest.mark.parametrize("value", [HOSTILE, HOSTILE + "\0", HOSTILE + "\udcff", HOSTILE + "\ud800"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_hostile_argument_is_named_and_refused(
    command: str, value: str, capfd: pytest.CaptureFixture[str]
) -> None:
    count = 2 if command == "record" else 1
    assert main([command, *PORT.get(command, ()), *[value] * count]) == 2
    said = capfd.readouterr()
    assert_harmless(said.out + said.err)
    assert SEEN in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_name_that_no_file_can_have_is_a_log_that_cannot_be_read(name: str) -> None:
    with pytest.raises(UnreadableLog, match="no file can have such a name"):
        list(Log(name).chunks())


@pytest.mark.parametrize(
    ("command", "encoding"), [*((name, "C") for name in COMMANDS), ("fold", "C.UTF-8")]
)
def test_a_hostile_file_name_of_a_shell(command: str, encoding: str, tmp_path: Path) -> None:
    """Bytes that are no text in any encoding, as arguments of a process."""
    name = os.fsencode(HOSTILE) + b"\xff\x9b31m.jsonl"
    words = [URL.encode(), b"/dev/null/" + name] if command == "record" else [name]
    done = subprocess.run(
        [sys.executable, "-m", "streamstore", command, *PORT.get(command, ()), *words],
        capture_output=True, check=False, cwd=tmp_path, timeout=60,
        env={**os.environ, "LC_ALL": encoding, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
             "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2 and not done.stdout
    assert_harmless(done.stderr.decode())
    assert SEEN.encode() in done.stderr and done.stderr.count(b"\n") == 1


# -- a hostile server ------------------------------------------------------------------------------


def hostile_frames() -> list[bytes]:
    """Events of which every member is hostile, and what is no event."""
    raw = HOSTILE.replace("\r", "").encode()
    key = {"sessionId": HOSTILE, "messageId": HOSTILE, "blockIndex": HOSTILE}
    tool = {"status": "completed", "title": HOSTILE, "input": {HOSTILE: HOSTILE}, "output": HOSTILE}
    error = {"name": HOSTILE, "message": HOSTILE, "data": {HOSTILE: HOSTILE}}
    retry = {"type": "retry", "attempt": 1, "message": HOSTILE, "next": 5}
    wires: list[dict[str, Any]] = [
        {"type": "session.updated", "sessionId": HOSTILE, "info": {"title": HOSTILE}},
        {"type": "message.opened", **key, "role": HOSTILE, "id": HOSTILE},
        {"type": "block.delta", **key, "text": HOSTILE, "seq": 1},
        {"type": "block.delta", **key, "text": HOSTILE, "seq": 9, "field": HOSTILE},
        {"type": "block.opened", **key, "blockIndex": 1, "kind": HOSTILE, HOSTILE: HOSTILE},
        {"type": "block.opened", **key, "blockIndex": 2, "kind": "tool", "tool": HOSTILE,
         "callId": HOSTILE, "state": tool},
        {"type": "permission.asked", "sessionId": HOSTILE, "id": HOSTILE, "callId": HOSTILE,
         "payload": {"permission": HOSTILE, "patterns": [HOSTILE]}},
        {"type": "question.asked", "sessionId": HOSTILE, "id": HOSTILE, "payload": {"x": HOSTILE}},
        {"type": "todo.updated", "sessionId": HOSTILE, "todo": [{"content": HOSTILE}]},
        {"type": "session.status", "sessionId": HOSTILE, "status": retry},
        {"type": "session.error", "sessionId": HOSTILE, "error": error},
        {"type": "message.closed", **key, "status": "error", "error": error},
        {"type": HOSTILE, HOSTILE: HOSTILE},
        {"type": "block.delta", **key, "seq": HOSTILE},
    ]  # fmt: skip
    head = b"id: " + raw + b"\nevent: " + raw + b"\n"
    bodies = [json.dumps(wire, ensure_ascii=False).encode() for wire in wires]
    return [
        b": " + raw + b"\nretry: " + raw + b"\n\n",
        *(head + b"data: " + body + b"\n\n" for body in bodies),
        head + b"data: " + raw + b"\n\n",
        head + b"data: {" + raw + b"\n\n",
    ]


SERVERS: dict[str, tuple[Any, ...]] = {
    "its events": (events(*hostile_frames(), drop=False),),
    "its kind of content": (Answer(headers={"content-type": HOSTILE}),),
    "its refusal": (Answer(404, {"content-type": HOSTILE, HOSTILE: HOSTILE}, [HOSTILE.encode()]),),
    "a refusal elsewhere": (Answer(302, {"location": f"http://else/{HOSTILE}"}), Answer(404, {})),
    "no address": (Answer(302, {"location": f"{HOSTILE}://{HOSTILE}"}),),
    "when to come again": (Answer(429, {"retry-after": HOSTILE}),),
    "an error of the network": (ConnectionLost(HOSTILE),),
    "a drop in its events": (Answer(body=[*hostile_frames(), ConnectionLost(HOSTILE)]),),
    "a status of its own": (Answer(999, {"content-type": HOSTILE}),),
}


def recorded(answers: tuple[Any, ...], path: Path, url: str = URL, terminal: bool = False) -> str:
    """Everything that is printed while a server is recorded for a minute."""

    class Out(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    out, err = Out(), Out()
    recording = Recording(
        url, str(path), transport=VirtualTransport(served(*answers)), clock=VirtualClock(),
        chance=lambda: 0.0, most_ms=60_000, tell=lambda line: print(line, file=err),
        policy=Policy(),
    )  # fmt: skip
    run(record(recording, StatusLine(err, 1.0, 300), out, err))
    said = err.getvalue()
    if terminal:  # the line is written over: that is the command's own
        assert "\r" in said or not recording.standing.events
        said = said.replace("\r", "\n")
    return out.getvalue() + said


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("answers", SERVERS.values(), ids=SERVERS)
def test_a_hostile_server_is_recorded_without_harm(
    answers: tuple[Any, ...], terminal: bool, tmp_path: Path
) -> None:
    said = recorded(answers, tmp_path / f"log {HOSTILE}.jsonl", terminal=terminal)
    assert said
    assert_harmless(said)


def test_what_a_hostile_server_says_is_named(tmp_path: Path) -> None:
    """Else the test above would pass where nothing of it is told."""
    for name in ("a refusal elsewhere", "an error of the network"):
        assert "owned" in recorded(SERVERS[name], tmp_path / "log", terminal=True), name


@pytest.mark.parametrize("ending", ["jsonl", "sqlite"])
def test_what_a_hostile_server_said_is_read_back_without_harm(
    ending: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / f"log {HOSTILE}.{ending}"
    recorded(SERVERS["its events"], log)
    damaged = tmp_path / f"damaged {HOSTILE}.{ending}"
    damaged.write_bytes(log.read_bytes().replace(b'"block.delta"', b'"block.DELTA"', 1) + b"{")
    shown = 0
    for path in (log, damaged):
        for words in (
            ["fold"], ["fold", "--as", "opencode"], ["replay"], ["check", "--runs", "1"],
            ["check", "--runs", "1", "--json"],
        ):  # fmt: skip
            code = main([*words, str(path)])
            said = "".join(capfd.readouterr())
            assert code in (0, 2) or words[0] == "check"
            assert_harmless(said)
            shown += SEEN in said or "\\u001b]0;owned" in said
    assert shown >= 5


@pytest.mark.parametrize("answers", SERVERS.values(), ids=SERVERS)
def test_a_hostile_server_is_watched_without_harm(answers: tuple[Any, ...]) -> None:
    """The status and the notes of `watch`; its screen is in `tests/watch`."""
    said: list[str] = []

    async def scenario() -> None:
        async with Watched(VirtualTransport(served(*answers))) as watched:
            for _ in range(100):
                await asyncio.sleep(0.5)
                said.append(watched.follower.status)
        for row in watched.inspector.timeline.rows:
            said.extend((row.facts.type, row.facts.excerpt))

    run(scenario())
    assert any(said)
    for line in said:
        assert_harmless(line)
        assert "\n" not in line


# -- a hostile client ------------------------------------------------------------------------------


@pytest.mark.parametrize("cors", [None, HOSTILE.replace("\r", "")])
def test_a_hostile_client_of_a_fixture_server_makes_it_print_nothing_that_acts(
    cors: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / f"log {HOSTILE}.jsonl"
    log.write_bytes(sample("block", 1).data())
    raw = HOSTILE.encode()
    said: list[str] = []
    requests = [
        b"GET /" + raw + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /@" + raw.replace(b"\r", b"") + b"/event HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%1b%5d0;x%07?" + raw[:4] + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nLast-Event-ID: \x9b31m\xff\r\nOrigin: \x9b\r\n\r\n",
        b"\x1b[2J / HTTP/1.1\r\n\r\n",
        raw * 20_000,
    ]
    with serving(str(log), speed=math.inf, at_end="close", cors=cors, tell=said.append) as url:
        for request in requests:
            with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as client:
                try:
                    client.sendall(request)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65_536):
                        pass
                except OSError:
                    pass  # refused before it was read
    assert_harmless("".join(capfd.readouterr()) + "".join(said))
