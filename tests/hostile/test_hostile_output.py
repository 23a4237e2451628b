"""Nothing that a command prints drives a terminal, whatever the stream says.

Recorded streams of every protocol, with escape sequences and bidi controls in their texts, ids,
names and member names, through fold, replay and check; and in what is wrong with a log. The examples of the documentation
are in `test_hostile_examples.py`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from streamstore import StreamStore
from streamstore.cli import main
from streamstore.protocols import adapters

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests" / "data"

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x7f\u202egpj.exe\u2066\u061c\u200f\x00"
#: All of C0 but newline and tab, DEL, C1, and what reorders text.
ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
SEEN = "\\x1b]0;owned"

#: Values that say what an object is: a stream in which all of them are spoilt says nothing.
STRUCTURE = re.compile(r"^[\w./:\- ]{0,40}$")


class Ran(NamedTuple):
    """What a command printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> Ran:
        capfd.readouterr()
        try:
            code = main(arguments)
        except SystemExit as error:  # how argparse ends
            code = int(error.code or 0)
        return Ran(code, *capfd.readouterr())

    return run


def assert_harmless(ran: Ran) -> None:
    for text in (ran.out, ran.err):
        found = ACTIVE.search(text)
        assert found is None, text[max(0, found.start() - 60) :][:120]
    assert "Traceback" not in ran.err


def poisoned(value: Any, random: Random, hard: bool) -> Any:
    """A JSON value whose strings hold what a terminal acts on; with `hard` ids and names, too."""
    if isinstance(value, dict):
        return {
            name + HOSTILE if hard and random.randrange(12) == 0 else name: poisoned(
                item, random, hard
            )
            if name not in ("type", "event", "jsonrpc", "method", "role", "kind", "status")
            or (hard and random.randrange(6) == 0)
            else item
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [poisoned(item, random, hard) for item in value]
    if isinstance(value, str) and (
        not STRUCTURE.match(value) or (hard and random.randrange(3) == 0)
    ):
        return value + HOSTILE
    return value


def poison(data: bytes, random: Random, hard: bool) -> bytes:
    """A stream with poisoned JSON; where it is an event stream the names of events stay."""
    lines = []
    for line in data.replace(b"\r\n", b"\n").split(b"\n")[:120]:
        head = b"data: " if line.startswith(b"data:") else b""
        text = line.removeprefix(b"data:")
        try:
            value = json.loads(text)
        except ValueError:
            lines.append(line)
            continue
        lines.append(head + json.dumps(poisoned(value, random, hard)).encode())
    return b"\n".join(lines)


def streams() -> list[Any]:
    found = []
    for protocol in adapters():
        files = [
            path
            for path in sorted((DATA / protocol).rglob("*"))
            if path.suffix in (".sse", ".jsonl")
            and "snapshot" not in path.name
            and "malformed" not in str(path)
        ]
        for path in files[:: max(1, len(files) // 3)][:3]:
            found.append(
                pytest.param(protocol, path, id=f"{protocol}-{path.parent.name}-{path.stem}")
            )
    return found


@pytest.mark.parametrize("hard", [False, True], ids=["texts", "ids and names"])
@pytest.mark.parametrize(("protocol", "path"), streams())
def test_a_hostile_stream_is_shown_and_does_nothing(
    protocol: str, path: Path, hard: bool, run: Run, tmp_path: Path
) -> None:
    random = Random(1)
    log = tmp_path / f"log{path.suffix}"
    log.write_bytes(poison(path.read_bytes(), random, hard))
    commands = [
        ("fold", str(log)),
        ("fold", "--protocol", protocol, "--as", protocol, str(log)),
        ("replay", "--speed", "max", "--protocol", protocol, str(log)),
        ("check", "--runs", "1", "--protocol", protocol, str(log)),
    ]
    for command in commands:
        assert_harmless(run(*command))


def test_what_was_hostile_is_shown_escaped_somewhere(run: Run, tmp_path: Path) -> None:
    """Else the test above would pass where nothing is printed at all."""
    shown = 0
    for parameters in streams():
        protocol, path = parameters.values
        log = tmp_path / f"log{path.suffix}"
        log.write_bytes(poison(path.read_bytes(), Random(1), False))
        shown += SEEN in run("replay", "--speed", "max", "--protocol", protocol, str(log)).out
    assert shown >= 10


@pytest.mark.parametrize("command", ["fold", "replay", "check"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"type": "%s"}\n' * 3,
        b'{"type": "%s"}\n' * 70,
        b'{"%s": 1}\n',
        b'{"a": %s}\n',
        b"data: %s\n\n",
        b"event: %s\ndata: {}\n\n",
        b"%s",
        b"\x1f\x8b%s",
    ],
)
def test_what_is_wrong_with_a_log_is_said_without_harm(
    command: str, data: bytes, run: Run, tmp_path: Path
) -> None:
    # As bytes of UTF-8, and in JSON as escapes, which a reader would turn into the characters.
    for text in (HOSTILE, json.dumps(HOSTILE)[1:-1]):
        log = tmp_path / f"log {HOSTILE.replace(chr(0), '')}.jsonl"
        log.write_bytes(data.replace(b"%s", text.encode()))
        assert_harmless(run(command, str(log)))
        assert_harmless(run(command, "--protocol", "native", str(log)))


@pytest.mark.parametrize("command", ["fold", "replay", "check"])
def test_hostile_arguments_are_said_without_harm(command: str, run: Run, tmp_path: Path) -> None:
    name = HOSTILE.replace("\0", "")
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"type": "session.updated", "sessionId": "s", "info": {}}\n')
    assert_harmless(run(command, f"no such {name}.jsonl"))
    for arguments in (("--protocol", name), ("--as", name), ("--speed", name), (f"--{name}",)):
        ran = run(command, *arguments, str(log))
        assert_harmless(ran)
        assert ran.code != 0 and ran.err
    ran = run(name)
    assert_harmless(ran)
    assert ran.code != 0 and SEEN in ran.err


def prints(path: Path) -> bool:
    """Whether a module calls `print`, or writes to standard output or error."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == "print" or re.fullmatch(r"(sys\.)?std(out|err)\.write", called):
                return True
    return False


def escapes(path: Path) -> bool:
    """Whether a module knows how a text is made harmless, or prints what another one made so."""
    text = path.read_text(encoding="utf-8")
    return bool(
        re.search(r"\bterminal\b|\btranscript\b|\bescape\b|\bone_line\b|\bjson_text\b", text)
    )


def test_who_prints_knows_how_to_escape() -> None:
    """A module that prints and never heard of `streamstore.terminal` prints what it was told."""
    found = [path for path in sorted((ROOT / "streamstore").rglob("*.py")) if prints(path)]
    assert found
    silent = [str(path.relative_to(ROOT)) for path in found if not escapes(path)]
    assert not silent


def test_what_a_subscriber_raises_is_reported_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    store = StreamStore("native", ticks="manual")

    def raising(changes: object) -> None:
        raise ValueError("\x1b[2J\u202e\x9b")

    store.subscribe(raising)
    store.ingest(
        {"type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0, "text": "x"}
    )
    store.flush()
    said = capsys.readouterr().err
    assert "ValueError" in said and not set(said) & set("\x1b\u202e\x9b")
