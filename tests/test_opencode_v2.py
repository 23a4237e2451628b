"""opencode's V2 streams: numbered durable events between deltas that have no number.

A conversation is told once (`CONVERSATION`, or drawn from a seed), and `V2`, `Next` and `V1` say it
in each dialect; one was recorded from a real server, with what it had at the end.
"""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wires import (
    DATA,
    JSON,
    assert_chunks_do_not_show,
    assert_detection_is_sure,
    assert_every_tick_is_a_prefix,
    assert_no_law_broken,
    assert_saves_resume,
    assert_total,
    encoded,
    fold,
    logged,
    mutated,
    shown,
    verdicts,
)

from streamstore import Message, StreamStore
from streamstore.adapters.opencode_v2 import OpencodeV2Adapter
from streamstore.transcript import Transcript

Wire = dict[str, Any]
PROTOCOL = "opencode-v2"

#: (role, [(kind, pieces) or ("tool", name, input text, input, output or None, error or None)])
Turn = tuple[str, list[tuple[Any, ...]]]

CONVERSATION: list[Turn] = [
    ("user", [("text", ["What is here?"])]),
    (
        "assistant",
        [
            ("reasoning", ["I should ", "look."]),
            ("text", ["Let me ", "see", "."]),
            ("tool", "list", '{"path": "."}', {"path": "."}, "a.txt", None),
            ("tool", "read", '{"path": "b"}', {"path": "b"}, None, "no such file"),
        ],
    ),
    ("assistant", [("text", ["One file, ", "a.txt."])]),
]


def drawn(seed: int) -> list[Turn]:
    draw = random.Random(seed)
    told: list[Turn] = []
    for _ in range(draw.randint(1, 3)):
        told.append(("user", [("text", ["why?"])]))
        for _ in range(draw.randint(1, 2)):
            parts: list[tuple[Any, ...]] = []
            for _ in range(draw.randint(1, 4)):
                words = draw.choices(["a ", "ä", "\U0001f600", "\n"], k=draw.randint(1, 6))
                if draw.random() < 0.3:
                    failed = draw.random() < 0.3
                    parts.append(("tool", "bash", '{"x": 1}', {"x": 1},
                                  None if failed else "ok", "bad" if failed else None))  # fmt: skip
                else:
                    parts.append((draw.choice(["text", "reasoning"]), words))
            told.append(("assistant", parts))
    return told


class V2:
    """Says a conversation in V2; ids and numbers as the server gives them."""

    prefix = "session.next."

    def __init__(self, session: str = "ses_1") -> None:
        self.session = session
        self.seq = -1
        self.made = 0
        self.sent: list[Wire] = []

    def emit(self, kind: str, *, durable: bool = True, **data: Any) -> Wire:
        self.made += 1
        wire: Wire = {
            "id": f"evt_{self.session}_{self.made:06}",
            "type": f"{self.prefix}{kind}",
            "data": {"timestamp": 1000 + self.made, "sessionID": self.session, **data},
        }
        if durable:
            self.seq += 1
            wire["durable"] = {"aggregateID": self.session, "seq": self.seq, "version": 1}
        self.sent.append(wire)
        return wire

    def named(self, kind: str, message: str, place: int) -> Wire:
        name = "textID" if kind == "text" else "reasoningID"
        return {"assistantMessageID": message, name: f"{kind}-{place}"}

    def user(self, message: str, text: str) -> None:
        self.emit("prompted", messageID=message, prompt={"text": text}, delivery="steer")

    def text(self, message: str, kind: str, place: int, pieces: list[str], *,
             whole: str | None = None, end: bool = True) -> None:  # fmt: skip
        at = self.named(kind, message, place)
        self.emit(f"{kind}.started", **at)
        for piece in pieces:
            self.emit(f"{kind}.delta", durable=False, **at, delta=piece)
        if end:
            self.emit(f"{kind}.ended", **at, text="".join(pieces) if whole is None else whole)

    def tool(self, message: str, call: str, name: str, raw: str, given: Wire,
             output: str | None, error: str | None) -> None:  # fmt: skip
        at = {"assistantMessageID": message, "callID": call}
        self.emit("tool.input.started", **at, name=name)
        for start in range(0, len(raw), 5):
            self.emit("tool.input.delta", durable=False, **at, delta=raw[start : start + 5])
        self.emit("tool.input.ended", **at, text=raw)
        self.emit("tool.called", **at, tool=name, input=given, provider={"executed": False})
        if error is not None:
            self.emit("tool.failed", **at, error={"type": "unknown", "message": error},
                      provider={"executed": False})  # fmt: skip
        elif output is not None:
            self.emit("tool.progress", **at, structured={}, content=[])
            self.emit("tool.success", **at, structured={"exit": 0},
                      content=[{"type": "text", "text": output}],
                      provider={"executed": False})  # fmt: skip

    def step(self, message: str, parts: list[tuple[Any, ...]]) -> None:
        self.emit("step.started", assistantMessageID=message, agent="build",
                  model={"id": "m", "providerID": "p"}, snapshot="s0")  # fmt: skip
        for place, part in enumerate(parts):
            if part[0] == "tool":
                self.tool(message, f"call-{message}-{place}", *part[1:])
            else:
                self.text(message, part[0], place, part[1])
        tokens = {"input": 1, "output": 2, "reasoning": 0, "cache": {"read": 0, "write": 0}}
        self.emit("step.ended", assistantMessageID=message, finish="stop", cost=0.5, tokens=tokens)

    def tell(self, turns: list[Turn]) -> list[Wire]:
        for place, (role, parts) in enumerate(turns):
            message = f"msg_{place:03}"
            if role == "user":
                self.user(message, "".join(parts[0][1]))
            else:
                self.step(message, parts)
        return self.sent


class Next(V2):
    """The next dialect: shorter types, the time in the envelope, ordinals for ids."""

    prefix = "session."

    def emit(self, kind: str, *, durable: bool = True, **data: Any) -> Wire:
        wire = super().emit(kind, durable=durable, **data)
        wire["created"] = wire["data"].pop("timestamp")
        return wire

    def tell(self, turns: list[Turn]) -> list[Wire]:
        self.counts: dict[tuple[str, str], int] = {}
        return super().tell(turns)

    def named(self, kind: str, message: str, place: int) -> Wire:
        ordinal = self.counts.get((message, kind), 0)
        self.counts[message, kind] = ordinal + 1
        return {"assistantMessageID": message, "ordinal": ordinal}


class Again(V2):
    """Every thought of a message has the same id, as of some providers, and every text."""

    def __init__(self, session: str = "ses_1", texts: bool = True) -> None:
        super().__init__(session)
        self.texts = texts

    def named(self, kind: str, message: str, place: int) -> Wire:
        return super().named(kind, message, 0 if self.texts or kind == "reasoning" else place)


REPEATED: list[Turn] = [
    ("user", [("text", ["Think twice."])]),
    (
        "assistant",
        [
            ("reasoning", ["First ", "this."]),
            ("text", ["One, "]),
            ("reasoning", ["Then ", "that."]),
            ("tool", "list", '{"path": "."}', {"path": "."}, "a.txt", None),
            ("text", ["two ", "and "]),
            ("reasoning", ["At last."]),
            ("text", ["three."]),
        ],
    ),
]


def said_in_v1(turns: list[Turn]) -> list[Wire]:
    """The same in V1: parts come whole, only their texts stream."""
    sent: list[Wire] = []

    def emit(kind: str, **properties: Any) -> None:
        sent.append({"id": f"evt_{len(sent):06}", "type": kind,
                     "properties": {"sessionID": "ses_1", **properties}})  # fmt: skip

    def part_updated(**part: Any) -> None:
        emit("message.part.updated", part={"sessionID": "ses_1", **part}, time=1)

    for place, (role, parts) in enumerate(turns):
        message = {"id": f"msg_{place:03}", "sessionID": "ses_1", "role": role}
        emit("message.updated", info={**message, "time": {"created": place}})
        for number, part in enumerate(parts):
            at = {"id": f"prt_{place:03}_{number:03}", "messageID": message["id"]}
            if part[0] == "tool":
                _, name, _, given, output, error = part
                tool = {**at, "type": "tool", "tool": name, "callID": f"c{number}"}
                times = {"start": 1, "end": 2}
                part_updated(**tool, state={"status": "pending", "input": {}, "raw": ""})
                part_updated(**tool, state={"status": "running", "input": given, "time": times})
                done: Wire = {"status": "completed", "output": output, "title": "", "metadata": {}}
                if error is not None:
                    done = {"status": "error", "error": error}
                part_updated(**tool, state={**done, "input": given, "time": times})
                continue
            kind, pieces = part
            if role == "user":
                part_updated(**at, type=kind, text="".join(pieces))
                continue
            part_updated(**at, type=kind, text="", time={"start": 1})
            for piece in pieces:
                emit("message.part.delta", messageID=message["id"], partID=at["id"], field="text",
                     delta=piece)  # fmt: skip
            part_updated(**at, type=kind, text="".join(pieces), time={"start": 1, "end": 2})
        completed = {"created": place, "completed": place + 1}
        emit("message.updated", info={**message, "time": completed})
    return sent


LOGS = {f"seed {seed}": V2().tell(drawn(seed)) for seed in range(3)} | {
    "next": Next().tell(CONVERSATION),
    "again": Again().tell(REPEATED),
    "recorded": logged(PROTOCOL, "one_turn.jsonl"),
}
each_log = pytest.mark.parametrize("wires", LOGS.values(), ids=LOGS)


def transcript(protocol: str, wires: list[Wire]) -> list[tuple[str, str, str]]:
    """What a reader is shown, as a view that cannot go back shows it."""
    store = StreamStore(ticks="each")
    told = Transcript(store)
    store.subscribe(told.hear)
    store.open(protocol).ingest_many(wires)
    return [(entry.style, entry.head, str(entry.text)) for entry in (*told.done(), *told.finish())]


def parts(store: StreamStore, message: str = "msg_001", session: str = "ses_1") -> list[Any]:
    return list(store.parts(session, message))


# --- what a stream comes to -----------------------------------------------------------------------


def test_the_log_is_the_conversation_that_is_told_here() -> None:
    assert LOGS["recorded"] == V2().tell(CONVERSATION)


@pytest.mark.parametrize("turns", [CONVERSATION, *map(drawn, range(8))])
@pytest.mark.parametrize("dialect", [V2, Next])
def test_a_conversation_is_the_same_in_each_dialect(dialect: type[V2], turns: list[Turn]) -> None:
    told = dialect().tell(turns)
    expected = transcript("opencode", said_in_v1(turns))
    assert transcript(PROTOCOL, told) == expected and len(expected) > 2
    without = [wire for wire in told if "durable" in wire]  # as a replay has it
    assert transcript(PROTOCOL, without) == expected


def test_messages_as_the_servers_read_gives_them() -> None:
    (read,) = encoded(fold(PROTOCOL, LOGS["recorded"]), PROTOCOL)
    user, first, second = read["data"]
    assert read["sessionID"] == "ses_1"
    assert user == {
        "id": "msg_000", "type": "user", "text": "What is here?", "time": {"created": 1001},
    }  # fmt: skip
    assert first["finish"] == "stop" and first["snapshot"] == {"start": "s0"}
    assert first["time"]["created"] == 1002 < first["time"]["completed"]
    reasoning, text, listed, failed = first["content"]
    assert (reasoning["type"], reasoning["id"]) == ("reasoning", "reasoning-0")
    assert text == {"type": "text", "id": "text-1", "text": "Let me see."}
    assert listed["state"] == {
        "status": "completed", "input": {"path": "."}, "structured": {"exit": 0},
        "content": [{"type": "text", "text": "a.txt"}],
    }  # fmt: skip
    assert (listed["id"], listed["name"]) == ("call-msg_001-2", "list")
    assert listed["provider"] == {"executed": False}
    assert failed["state"]["error"] == {"type": "unknown", "message": "no such file"}
    assert second["content"][0]["text"] == "One file, a.txt."


@each_log
def test_a_read_of_what_was_streamed_is_the_same(wires: list[Wire]) -> None:
    store = fold(PROTOCOL, wires)
    (read,) = encoded(store, PROTOCOL)
    assert encoded(fold(PROTOCOL, [{**read, "complete": True}]), PROTOCOL) == [read]
    token = store.begin_read("ses_1")
    last = wires[-1]["durable"]["seq"]
    for page in ({**read, "complete": True}, {**read, "seq": last, "readFrom": token}):
        store.open(PROTOCOL).ingest(page)
        store.flush()
        assert encoded(store, PROTOCOL) == [read] and store.health.gaps == ()


def test_everything_else_of_a_session() -> None:
    v2 = V2()
    v2.emit("agent.switched", messageID="msg_1", agent="plan")
    v2.emit("model.switched", messageID="msg_2", model={"id": "m", "providerID": "p"})
    v2.emit("moved", location={"directory": "/d"})
    v2.emit("synthetic", messageID="msg_3", text="note")
    v2.emit("context.updated", messageID="msg_4", text="rules")
    v2.emit("shell.started", messageID="msg_5", callID="sh", command="ls")
    v2.emit("shell.ended", callID="sh", output="a b")
    v2.emit("compaction.started", messageID="msg_6", reason="auto")
    v2.emit("compaction.delta", durable=False, messageID="msg_6", text="so ")
    v2.emit("compaction.delta", durable=False, messageID="msg_6", text="far")
    v2.emit("compaction.ended", messageID="msg_6", reason="auto", text="so far.", recent="now")
    v2.emit("prompted", messageID="msg_7", delivery="queue",
            prompt={"text": "see", "files": [{"uri": "f", "mime": "text/plain"}]})  # fmt: skip
    v2.emit("invented", anything=1)
    store = fold(PROTOCOL, v2.sent)
    (read,) = encoded(store, PROTOCOL)
    assert [message["type"] for message in read["data"]] == [
        "agent-switched", "model-switched", "synthetic", "system", "shell", "compaction", "user"
    ]  # fmt: skip
    shell, compaction, user = read["data"][4:]
    assert (shell["command"], shell["output"], shell["callID"]) == ("ls", "a b", "sh")
    assert (compaction["summary"], compaction["recent"]) == ("so far.", "now")
    assert user["files"] == [{"uri": "f", "mime": "text/plain"}]
    assert store.session("ses_1").info["agent"] == "plan"  # type: ignore[union-attr]
    assert store.health.gaps == () and store.health.resume["sessions"] == {"ses_1": v2.seq}
    assert encoded(fold(PROTOCOL, [{**read, "complete": True}]), PROTOCOL) == [read]


def test_a_failed_step_that_is_tried_again_ends_as_the_later_one() -> None:
    v2 = V2()
    error = {"type": "unknown", "message": "overloaded"}
    v2.emit("step.started", assistantMessageID="msg_1", agent="build", model={})
    v2.emit("step.failed", assistantMessageID="msg_1", error=error)
    store = fold(PROTOCOL, v2.sent)
    assert store.messages("ses_1")[0].status == "error"
    v2.emit("retried", attempt=1, error={"message": "overloaded", "isRetryable": True})
    retried = fold(PROTOCOL, v2.sent).session("ses_1").status  # type: ignore[union-attr]
    assert retried is not None and (retried.type, retried.attempt) == ("retry", 1)
    v2.step("msg_1", [("text", ["fine"])])
    store = fold(PROTOCOL, v2.sent)
    assert store.messages("ses_1")[0].status == "completed"
    assert store.session("ses_1").status.type == "busy"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "work",
    [
        ("step.started", {"agent": "build", "model": {}}),
        ("step.streamed", {}),
        ("text.started", {"ordinal": 1}),
        ("tool.input.started", {"callID": "c", "name": "bash"}),
    ],
)
def test_a_retry_of_the_next_dialect_is_waited_for_until_something_is_done(work: Any) -> None:
    kind, data = work
    server = Next()
    step = {"assistantMessageID": "msg_1"}
    server.emit("step.started", **step, agent="build", model={})
    before = server.emit("text.started", **step, ordinal=0)
    server.emit("text.delta", durable=False, **step, ordinal=0, delta="half")
    error = {"type": "provider.rate-limit", "message": "429"}
    server.emit("retry.scheduled", **step, attempt=2, at=9_999, error=error)
    store = StreamStore(PROTOCOL)
    stream = store.open(PROTOCOL)
    stream.ingest_many(server.sent)
    stream.ingest(before)  # sent again, it tells of nothing new
    store.flush()
    status = store.session("ses_1").status  # type: ignore[union-attr]
    assert status is not None and status.type == "retry"
    assert (status.attempt, status.message, status.next) == (2, "429", 9_999)
    stream.ingest(server.emit(kind, **step, **data))
    store.flush()
    assert store.session("ses_1").status.type == "busy"  # type: ignore[union-attr]
    stream.ingest(server.emit("execution.failed", error=error))
    store.flush()
    assert store.session("ses_1").status.type == "idle"  # type: ignore[union-attr]
    assert store.messages("ses_1")[0].status == "open" and not store.health.gaps


def test_an_execution_that_failed_before_any_step_says_why() -> None:
    server = Next()
    server.emit("execution.started")
    error = {"type": "provider.auth", "message": "no key"}
    server.emit("execution.failed", error=error)
    server.emit("execution.failed")
    store = fold(PROTOCOL, [*server.sent, *server.sent])
    session = store.session("ses_1")
    assert session is not None and session.status is not None and session.status.type == "idle"
    assert [(each["name"], each["message"]) for each in session.errors] == [
        ("provider.auth", "no key")
    ]


def test_a_committed_revert_removes_what_lies_behind_its_target() -> None:
    v2 = V2()
    v2.tell(CONVERSATION)
    v2.emit("revert.staged", revert={"messageID": "msg_001"})
    store = fold(PROTOCOL, v2.sent)
    assert store.session("ses_1").info["revert"] == {"messageID": "msg_001"}  # type: ignore[union-attr]
    v2.emit("revert.committed", messageID="msg_001")
    store = fold(PROTOCOL, v2.sent)
    # A 1.x server keeps the target itself (recorded from 1.18.33).
    assert [message.id for message in store.messages("ses_1")] == ["msg_000", "msg_001"]
    assert store.session("ses_1").info["revert"] is None  # type: ignore[union-attr]


class Timed(V2):
    """Events with ids as a server makes them, by its clock; a prompt has the time it came at."""

    def at(self, now: int, kind: str, *, admitted: int | None = None, **data: Any) -> Wire:
        wire = self.emit(kind, **data)
        made = (1_795_774_000_000 + now) * 4096 + self.made
        wire["id"] = f"evt_{made % 2**48:012x}xxxxxxxxxxxxxx"
        wire["data"]["timestamp"] = 1_795_774_000_000 + (now if admitted is None else admitted)
        return wire

    def prompt(self, now: int, name: str, admitted: int | None = None) -> None:
        self.at(now, "prompt.admitted" if admitted is None else "prompted", admitted=admitted,
                messageID=name, prompt={"text": name}, delivery="queue")  # fmt: skip

    def step(self, now: int, name: str) -> None:  # type: ignore[override]
        self.at(now, "step.started", assistantMessageID=name, agent="build", model={})
        self.at(now + 9, "step.ended", assistantMessageID=name, finish="stop", cost=0, tokens={})


def queued() -> list[Wire]:
    """As recorded of a real server: what waits is delivered one by one, behind all steps of the
    turn before; a prompt's id is of its admission, and so sorts before those of the steps."""
    v2 = Timed()
    v2.prompt(100, "msg_1")
    v2.prompt(101, "msg_1", admitted=100)
    v2.at(200, "step.started", assistantMessageID="msg_2", agent="build", model={})
    v2.prompt(210, "msg_3")
    v2.prompt(220, "msg_4")
    v2.at(300, "step.ended", assistantMessageID="msg_2", finish="stop", cost=0, tokens={})
    v2.step(400, "msg_5")
    v2.prompt(410, "msg_3", admitted=210)
    v2.step(500, "msg_6")
    v2.prompt(510, "msg_4", admitted=220)
    v2.step(600, "msg_7")
    return v2.sent


QUEUED = ["msg_1", "msg_2", "msg_5", "msg_3", "msg_6", "msg_4", "msg_7"]


def ids(store: StreamStore) -> list[str]:
    return [message.id for message in store.messages("ses_1")]


def test_a_prompt_stands_where_it_was_delivered() -> None:
    wires = queued()
    store = StreamStore(ticks="each")
    stream = store.open(PROTOCOL)
    stream.ingest_many(wires[:8])
    # What waits stands behind all others, and has no time.
    assert ids(store) == ["msg_1", "msg_2", "msg_5", "msg_3", "msg_4"]
    assert "time" not in store.message("ses_1", "msg_3").info  # type: ignore[union-attr]
    stream.ingest_many(wires[8:])
    assert ids(store) == QUEUED
    (read,) = encoded(store, PROTOCOL)
    assert read["data"][3]["time"] == {"created": 1_795_774_000_210}
    for seed in range(20):
        random.Random(seed).shuffle(wires)
        assert ids(fold(PROTOCOL, wires)) == QUEUED


def test_a_prompt_of_the_next_dialect_stands_where_it_was_promoted() -> None:
    told = Next()
    for name in ("msg_1", "msg_3"):
        told.emit("prompt.admitted", inputID=name, prompt={"text": name}, delivery="queue")
    told.emit("prompt.promoted", inputID="msg_1")
    told.emit("step.started", assistantMessageID="msg_4", agent="build", model={})
    assert ids(fold(PROTOCOL, told.sent)) == ["msg_1", "msg_4", "msg_3"]
    told.emit("prompt.promoted", inputID="msg_3")
    told.emit("step.started", assistantMessageID="msg_5", agent="build", model={})
    for wires in (told.sent, told.sent[::-1]):
        assert ids(fold(PROTOCOL, wires)) == ["msg_1", "msg_4", "msg_3", "msg_5"]
    assert [part.text for part in parts(fold(PROTOCOL, told.sent), "msg_3")] == ["msg_3"]


@pytest.mark.parametrize("latest_first", [False, True])
def test_a_prompt_that_was_read_stands_where_it_stood_in_the_read(latest_first: bool) -> None:
    wires = queued()
    (read,) = encoded(fold(PROTOCOL, wires), PROTOCOL)
    data = read["data"][::-1] if latest_first else read["data"]
    for cut in range(len(data)):
        pages = [{**read, "data": page} for page in (data[:cut], data[cut:])]
        for order in (pages, pages[::-1]):
            assert ids(fold(PROTOCOL, order)) == QUEUED
            # Read again, and streamed again, nothing moves.
            assert ids(fold(PROTOCOL, [*order, *pages, *wires])) == QUEUED
    store = fold(PROTOCOL, wires)
    before = store.messages("ses_1")
    for complete in (False, True):
        token = store.begin_read("ses_1")
        page = {**read, "data": data, "complete": complete, "readFrom": token}
        store.open(PROTOCOL).ingest(page)
        store.flush()
        assert ids(store) == QUEUED
        assert [one.order for one in store.messages("ses_1")] == [one.order for one in before]


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("target", QUEUED)
def test_a_revert_goes_by_the_place_of_its_target(target: str, read: bool) -> None:
    """Also of what was read and never streamed."""
    wires = queued()
    committed = Timed()
    committed.seq = wires[-1]["durable"]["seq"]
    revert = committed.at(700, "revert.committed", messageID=target)
    if read:
        wires = encoded(fold(PROTOCOL, wires), PROTOCOL)
    assert ids(fold(PROTOCOL, [*wires, revert])) == QUEUED[: QUEUED.index(target) + 1]


def test_a_revert_takes_what_waits_and_was_admitted_behind_its_target() -> None:
    wires = queued()[:8]  # msg_3 and msg_4 wait, and were admitted behind msg_2
    committed = Timed()
    committed.seq = wires[-1]["durable"]["seq"]
    for target, left in (("msg_1", []), ("msg_2", ["msg_2"]), ("msg_5", QUEUED[1:3])):
        revert = committed.at(700, "revert.committed", messageID=target)
        waits = ["msg_3", "msg_4"] if target == "msg_5" else []
        assert ids(fold(PROTOCOL, [*wires, revert])) == ["msg_1", *left, *waits]
        committed.seq -= 1


def joined_with_two_calls() -> tuple[list[Wire], Wire]:
    """A step with a text and two calls that run, and the server's read of it then."""
    v2 = V2()
    v2.emit("step.started", assistantMessageID="m", agent="build", model={})
    v2.text("m", "text", 0, ["go"])
    for call in ("a", "b"):
        at = {"assistantMessageID": "m", "callID": call}
        v2.emit("tool.input.started", **at, name="bash")
        v2.emit("tool.input.ended", **at, text='{"x": 1}')
        v2.emit("tool.called", **at, tool="bash", input={"x": 1}, provider={"executed": False})
    (read,) = encoded(fold(PROTOCOL, v2.sent), PROTOCOL)
    for call in ("a", "b"):
        v2.emit("tool.success", assistantMessageID="m", callID=call, structured={}, content=[],
                provider={"executed": False})  # fmt: skip
    return v2.sent, read


@pytest.mark.parametrize("seen", range(11))
@pytest.mark.parametrize("missed", range(11))
def test_parts_stand_in_their_order_whatever_a_read_had_to_bring(seen: int, missed: int) -> None:
    """Some were streamed before a drop, some never; one is touched while the read is made."""
    wires, read = joined_with_two_calls()
    (whole,) = encoded(fold(PROTOCOL, wires), PROTOCOL)
    back = min(10, seen + missed)
    store = StreamStore()
    store.open(PROTOCOL).ingest_many(wires[:seen])
    token = store.begin_read("ses_1")
    stream = store.open(PROTOCOL)
    stream.ingest_many(wires[back:10])
    stream.ingest({**read, "readFrom": token})
    stream.ingest_many(wires[10:])
    v2 = V2()
    v2.seq = wires[-1]["durable"]["seq"]
    v2.text("m", "text", 1, ["done"])
    stream.ingest_many(v2.sent)
    store.flush()
    found = [part.block_index for part in parts(store, "m")]
    assert found == ["text-0", "tool/a", "tool/b", "text-1"]
    content = encoded(store, PROTOCOL)[0]["data"][0]["content"]
    assert [item.get("text") for item in content] == ["go", None, None, "done"]
    assert [item["state"] for item in content[1:3]] == [
        item["state"] for item in whole["data"][0]["content"][1:]
    ]


def test_a_call_that_was_read_while_it_ran_keeps_its_input() -> None:
    wires, read = joined_with_two_calls()
    store = fold(PROTOCOL, [read, *wires[-2:]])
    tools = [part.tool for part in parts(store, "m")[1:]]
    assert [(tool.status, tool.input) for tool in tools if tool] == [("completed", {"x": 1})] * 2
    shell = {"id": "m", "type": "shell", "callID": "sh", "command": "ls", "output": "",
             "time": {"created": 1}}  # fmt: skip
    v2 = V2()
    v2.emit("shell.ended", callID="sh", output="a b")
    store = fold(PROTOCOL, [{"sessionID": "ses_1", "data": [shell]}, *v2.sent])
    (ended,) = encoded(store, PROTOCOL)[0]["data"]
    assert (ended["command"], ended["output"], ended["time"]["completed"]) == ("ls", "a b", 1001)
    assert store.messages("ses_1")[0].status == "completed"


@each_log
def test_a_call_that_comes_after_its_end_brings_its_input(wires: list[Wire]) -> None:
    whole = shown(fold(PROTOCOL, wires))
    for place, wire in enumerate(wires):
        if not wire["type"].endswith("tool.called"):
            continue
        store = StreamStore(PROTOCOL, ticks="manual")
        for piece in (wires[:place], wires[place + 1 :], wires[place:], wires):
            store.open().ingest_many(piece)
        store.flush()
        assert shown(store) == whole


def test_a_call_that_comes_after_its_end_keeps_what_its_progress_said() -> None:
    v2 = V2()
    at = {"assistantMessageID": "m", "callID": "c"}
    v2.emit("step.started", assistantMessageID="m", agent="build", model={})
    v2.emit("tool.called", **at, tool="bash", input={"x": 1})
    v2.emit("tool.progress", **at, structured={"lines": 2}, content=[])
    v2.emit("tool.failed", **at, error={"type": "unknown", "message": "bad"})
    start, called, progress, failed = v2.sent
    whole = shown(fold(PROTOCOL, v2.sent))
    assert shown(fold(PROTOCOL, [start, progress, failed, called])) == whole
    assert shown(fold(PROTOCOL, [start, progress, called, failed])) == whole


@pytest.mark.parametrize("failed", [True, False])
def test_what_a_tool_had_come_to_may_be_told_in_any_order_also_behind_its_end(
    failed: bool,
) -> None:
    v2 = V2()
    at = {"assistantMessageID": "m", "callID": "c"}
    v2.emit("step.started", assistantMessageID="m", agent="build", model={})
    v2.emit("tool.called", **at, tool="bash", input={"x": 1})
    v2.emit("tool.progress", **at, structured={"lines": 2}, content=[])
    v2.emit("tool.progress", **at, structured={"lines": 3}, content=[])
    if failed:
        v2.emit("tool.failed", **at, error={"type": "unknown", "message": "bad"})
    else:
        v2.emit("tool.success", **at, structured={"exit": 0}, content=[])
    start, *others = v2.sent
    whole = shown(fold(PROTOCOL, v2.sent))
    for order in itertools.permutations(others):
        assert shown(fold(PROTOCOL, [start, *order])) == whole


def test_a_shell_that_starts_after_its_end_is_over_and_has_its_command() -> None:
    v2 = V2()
    started = v2.emit("shell.started", messageID="m", callID="sh", command="ls")
    ended = v2.emit("shell.ended", callID="sh", output="a b")
    store = fold(PROTOCOL, [ended, started])
    assert shown(store) == shown(fold(PROTOCOL, [started, ended]))
    (message,) = store.messages("ses_1")
    (tool,) = [part.tool for part in parts(store, "m")]
    assert message.status == "completed" and tool is not None
    assert (tool.status, tool.input, tool.output) == ("completed", {"command": "ls"}, "a b")


def test_requests_wait_for_their_answer() -> None:
    v2 = V2()
    at = {"type": "tool", "messageID": "msg_1", "callID": "c"}
    asked = {"id": "evt_1", "type": "permission.v2.asked",
             "data": {"id": "per_1", "sessionID": "ses_1", "action": "edit", "source": at}}  # fmt: skip
    replied = {"id": "evt_2", "type": "permission.v2.replied",
               "data": {"requestID": "per_1", "sessionID": "ses_1", "reply": "once"}}  # fmt: skip
    store = fold(PROTOCOL, [*v2.sent, asked])
    session = store.session("ses_1")
    assert session is not None and session.permissions["per_1"].call_id == "c"
    assert fold(PROTOCOL, [asked, replied]).session("ses_1").permissions == {}  # type: ignore[union-attr]


def wrapped(plain: Wire, wire: Wire) -> list[Wire]:
    """What V1's `/global/event` has of an event: the plain one, and a record of a durable one."""
    durable = wire.get("durable")
    if durable is None:
        return [{"directory": "/p", "project": "p", "payload": plain}]
    record = {
        "id": wire["id"],
        "type": f"{wire['type']}.{durable['version']}",
        "seq": durable["seq"],
        "aggregateID": durable["aggregateID"],
        "data": wire["data"],
    }
    sync = {"type": "sync", "id": wire["id"], "syncEvent": record}
    return [{"directory": "/p", "project": "p", "payload": payload} for payload in (plain, sync)]


def without_counts(store: StreamStore) -> Wire:
    store.flush()
    return {name: value for name, value in store.state().items() if name != "counts"}


def test_the_same_events_on_a_v1_stream() -> None:
    def moved(wire: Wire) -> Wire:
        rest = {name: value for name, value in wire.items() if name not in ("data", "durable")}
        return {**rest, "properties": wire["data"]}

    told = V2().tell(CONVERSATION)
    store = StreamStore()
    store.open(PROTOCOL, sequencing="none").ingest_many(map(moved, told))
    assert [part.text for part in parts(store)[:2]] == ["I should look.", "Let me see."]
    # V1's `/global/event` wraps each, and sends a durable one twice, in whatever order.
    plain = without_counts(store)
    for order in (1, -1):
        store = StreamStore()
        stream = store.open(PROTOCOL, sequencing="none")
        stream.ingest({"payload": {"type": "server.connected", "properties": {}}})
        for wire in told:
            stream.ingest_many(wrapped(moved(wire), wire)[::order])
        stream.end()
        assert without_counts(store) == plain
        durable = sum("durable" in wire for wire in told)
        assert verdicts(store) == {"accepted": len(told) + 1, "duplicate": durable}
    refused = {
        "payload": {"payload": None},
        "payload.type": {"payload": {}},
        "payload.properties.sessionID": {"payload": {"type": "session.idle", "properties": {}}},
        "payload.syncEvent": {"payload": {"type": "sync"}},
        "payload.syncEvent.type": {"payload": {"type": "sync", "syncEvent": {}}},
        "payload.syncEvent.data": {
            "payload": {"type": "sync", "syncEvent": {"type": "session.idle.1"}}
        },
        "payload.id": {"payload": {"type": "session.idle", "id": 5, "data": {"sessionID": "s"}}},
        "payload.durable.seq": {
            "payload": {"type": "session.idle", "durable": {"seq": ""}, "data": {"sessionID": "s"}}
        },
    }
    for path, wire in refused.items():
        verdict = StreamStore().open(PROTOCOL).ingest(wire)
        assert (verdict.kind, str(verdict.detail).partition(":")[0]) == ("malformed", path)
    store = StreamStore()
    record = {"type": "session.idle", "data": {"sessionID": "s"}}  # without a version
    sync = {"payload": {"type": "sync", "syncEvent": record}}
    assert store.open(PROTOCOL).ingest(sync).kind == "accepted"


# --- numbers between deltas without any -----------------------------------------------------------


def test_the_end_of_a_text_carries_all_of_it_and_seals_it() -> None:
    v2 = V2()
    v2.text("msg_001", "text", 0, ["a", "b"], whole="A B")
    v2.emit("text.delta", durable=False, assistantMessageID="msg_001", textID="text-0", delta="c")
    store = fold(PROTOCOL, v2.sent)
    (part,) = parts(store)
    assert (part.text, part.status, part.gap) == ("A B", "closed", False)
    assert store.health.counts["verdicts"]["refused:sealed"] == 1


def test_a_text_whose_deltas_were_missed_is_gapped_until_its_end() -> None:
    v2 = V2()
    v2.text("msg_001", "text", 0, ["a", "b", "c"])
    started, first, *rest, ended = v2.sent
    store = StreamStore()
    stream = store.open(PROTOCOL)
    stream.ingest_many([started, first])
    stream.end()  # the connection drops: deltas are never sent again
    assert parts(store)[0].gap and store.health.resume["sessions"] == {"ses_1": 0}
    stream = store.open(PROTOCOL)
    stream.ingest_many(rest[-1:])
    assert parts(store)[0].text == "ac" and parts(store)[0].gap
    stream.ingest_many([ended])
    assert parts(store)[0].text == "abc" and not parts(store)[0].gap


def test_a_delta_is_known_again_by_its_id() -> None:
    v2 = V2()
    v2.text("msg_001", "text", 0, ["a", "b"], end=False)
    store = fold(PROTOCOL, [*v2.sent, *v2.sent])
    assert parts(store)[0].text == "ab" and verdicts(store)["duplicate"] == 3


@each_log
def test_after_the_last_number_goes_on_without_a_seam(wires: list[Wire]) -> None:
    """The server sends durable events behind `after`, then what is live."""
    expected = encoded(fold(PROTOCOL, wires), PROTOCOL)
    for cut in range(1, len(wires)):
        store = StreamStore()
        stream = store.open(PROTOCOL)
        stream.ingest_many(wires[:cut])
        stream.end()
        after = store.health.resume["sessions"]["ses_1"]
        assert after == max(w["durable"]["seq"] for w in wires[:cut] if "durable" in w)
        tail = [wire for wire in wires if wire.get("durable", {"seq": -1})["seq"] > after]
        overlap = [wire for wire in wires[max(0, cut - 4) : cut] if "durable" in wire]
        store.open(PROTOCOL).ingest_many([*overlap, *tail])
        store.flush()
        assert encoded(store, PROTOCOL) == expected
        assert store.health.gaps == ()


@each_log
def test_a_full_replay_changes_nothing(wires: list[Wire]) -> None:
    store = fold(PROTOCOL, wires)
    before, version = shown(store), store.version
    found = store.open(PROTOCOL).ingest_many(wires)
    assert len(found) == len(wires)
    assert {verdict.kind for _, verdict in found} == {"duplicate"}
    store.flush()
    assert (shown(store), store.version) == (before, version)


def test_a_missing_durable_event_is_a_gap_and_its_late_arrival_closes_it() -> None:
    v2 = V2()
    v2.tell(CONVERSATION)
    place = next(n for n, wire in enumerate(v2.sent) if wire["type"].endswith("tool.called"))
    lost = v2.sent[place]
    store = fold(PROTOCOL, [wire for wire in v2.sent if wire is not lost])
    assert store.health.resume["sessions"] == {"ses_1": lost["durable"]["seq"] - 1}
    assert len(store.health.gaps) == 1 and "ses_1" in store.health.resync
    store.open(PROTOCOL).ingest(lost)
    store.flush()
    assert store.health.gaps == () and store.health.resume["sessions"] == {"ses_1": v2.seq}
    assert parts(store)[2].tool.status == "completed"  # a lower rank changes nothing


def test_a_calls_id_that_comes_again_in_another_message_is_another_call() -> None:
    """As recorded of a real server, whose models count `call_1` anew in each answer."""
    v2 = V2()
    first = v2.emit("tool.called", assistantMessageID="m1", callID="call_1", tool="bash",
                    input={"command": "ls"})  # fmt: skip
    v2.emit("tool.called", assistantMessageID="m2", callID="call_1", tool="read", input={"a": 1})
    end = {"assistantMessageID": "m2", "callID": "call_1", "content": []}
    late = v2.emit("tool.success", **end)
    store = fold(PROTOCOL, [*v2.sent[:2], first, late])
    (mine,), (other,) = store.parts("ses_1", "m2"), store.parts("ses_1", "m1")
    assert mine.tool is not None and other.tool is not None
    assert (mine.tool.status, mine.tool.input) == ("completed", {"a": 1})
    assert (other.tool.status, other.tool.input) == ("running", {"command": "ls"})


def test_a_start_that_is_sent_again_makes_no_second_block() -> None:
    v2 = V2()
    v2.text("msg_001", "text", 0, ["a"])
    started, *_ = v2.sent
    assert len(parts(fold(PROTOCOL, [*v2.sent, started, {**started, "id": "evt_x"}]))) == 1


def test_sessions_stay_apart() -> None:
    first, second = V2("ses_1"), V2("ses_2")
    for told in (first, second):
        told.text("msg_001", "text", 0, [f"of {told.session}"])
    mixed = [wire for pair in zip(first.sent, second.sent, strict=True) for wire in pair]
    store = fold(PROTOCOL, mixed)
    assert [parts(store, session=one)[0].text for one in ("ses_1", "ses_2")] == [
        "of ses_1", "of ses_2"
    ]  # fmt: skip
    alone = StreamStore()
    alone.open(PROTOCOL, session_id="ses_1").ingest_many(mixed)
    assert alone.session_ids() == ("ses_1",)


# --- an id that comes again in its message --------------------------------------------------------


def at_the_server(wires: list[Wire]) -> Wire:
    """The read of a message, as opencode's own projector makes it: what follows a beginning goes
    to the last item of its id. Deltas are not stored."""
    message: Wire = {"id": "msg_001", "type": "assistant", "content": []}
    content: list[Wire] = message["content"]
    for wire in wires:
        kind, data = wire["type"].removeprefix("session.next."), wire["data"]
        at = wire["data"]["timestamp"]
        if kind == "step.started":
            message |= {"agent": data["agent"], "model": data["model"], "time": {"created": at},
                        "snapshot": {"start": data["snapshot"]}}  # fmt: skip
        elif kind == "step.ended":
            message |= {name: data[name] for name in ("finish", "cost", "tokens")}
            message["time"]["completed"] = at
        elif kind in ("text.started", "reasoning.started"):
            kind = kind.split(".")[0]
            item = {"type": kind, "id": data.get("textID", data.get("reasoningID")), "text": ""}
            content.append(item | ({"time": {"created": at}} if kind == "reasoning" else {}))
        elif kind in ("text.ended", "reasoning.ended"):
            named = data.get("textID", data.get("reasoningID"))
            item = next(item for item in reversed(content) if item["id"] == named)
            item["text"] = data["text"]
            if "time" in item:
                item["time"]["completed"] = at
        elif kind == "tool.input.started":
            content.append({"type": "tool", "id": data["callID"], "name": data["name"],
                            "time": {"created": at},
                            "state": {"status": "pending", "input": ""}})  # fmt: skip
        elif kind == "tool.input.ended":
            content[-1]["state"]["input"] = data["text"]
        elif kind == "tool.called":
            content[-1]["time"]["ran"] = at
            content[-1] |= {"provider": data["provider"]}
            content[-1]["state"] = {"status": "running", "input": data["input"], "structured": {},
                                    "content": []}  # fmt: skip
        elif kind == "tool.success":
            content[-1]["time"]["completed"] = at
            content[-1]["state"] |= {name: data[name] for name in ("structured", "content")}
            content[-1]["state"]["status"] = "completed"
    return json.loads(json.dumps({"sessionID": "ses_1", "data": [message]}))  # type: ignore[no-any-return]


def said_again(texts: bool = True) -> list[Wire]:
    """One answer, without the prompt before it."""
    return Again(texts=texts).tell(REPEATED)[1:]


def content(store: StreamStore) -> Any:
    (read,) = encoded(store, PROTOCOL)
    return read["data"]


def indexes(store: StreamStore) -> dict[Any, str]:
    return {part.block_index: part.text for part in parts(store)}


def test_an_id_that_comes_again_is_another_block_as_it_is_another_item() -> None:
    wires = said_again()
    store = fold(PROTOCOL, wires)
    first, second, third = (
        wire["data"]["timestamp"] for wire in wires if wire["type"].endswith("reasoning.started")
    )
    assert indexes(store) == {
        "reasoning/reasoning-0": "First this.",
        "text-0": "One, ",
        f"reasoning/reasoning-0@{second}": "Then that.",
        "tool/call-msg_001-3": "",
        "text-0@2": "two and ",
        f"reasoning/reasoning-0@{third}": "At last.",
        "text-0@3": "three.",
    }
    assert [part.fields["began"] for part in parts(store) if part.kind == "reasoning"] == [
        first, second, third,
    ]  # fmt: skip
    assert content(store) == at_the_server(wires)["data"]
    assert set(verdicts(store)) == {"accepted"}


@pytest.mark.parametrize("ways", ["ingest", "many"])
def test_what_an_id_says_again_is_shown_while_it_streams(ways: str) -> None:
    wires = said_again()
    store = StreamStore(ticks="each")
    stream = store.open(PROTOCOL)
    whole = ""
    for wire in wires:
        stream.ingest(wire) if ways == "ingest" else stream.ingest_many([wire])
        whole += wire["data"].get("delta", "") if "tool" not in wire["type"] else ""
        assert "".join(part.text for part in parts(store)) == whole


@pytest.mark.parametrize("saved", [False, True])
def test_a_read_at_any_time_gives_the_blocks_of_what_is_live(saved: bool) -> None:
    """By one who was there from the start, by one who comes then, and whatever is sent again."""
    wires = said_again()
    whole = fold(PROTOCOL, wires)
    for cut in range(1, len(wires) + 1):
        for lead in (0, cut):
            store = StreamStore()
            stream = store.open(PROTOCOL)
            stream.ingest_many(wires[lead:cut] if lead == 0 else [])
            stream.ingest(at_the_server(wires[:cut]))
            if saved:
                stream.end()
                store = StreamStore.load(json.loads(json.dumps(store.save())))
                stream = store.open(PROTOCOL)
            store.flush()
            live = indexes(fold(PROTOCOL, wires[:cut]))
            assert list(indexes(store)) == list(live)
            stream.ingest_many(wires[cut:])
            store.flush()
            assert indexes(store) == indexes(whole) and content(store) == content(whole)
            stream.ingest_many([wire for wire in wires if "durable" in wire])
            stream.ingest(at_the_server(wires))
            store.flush()
            assert indexes(store) == indexes(whole) and content(store) == content(whole)


@pytest.mark.parametrize("helped", ["read", "read, log", "log", "old read, log"])
def test_who_comes_amid_an_answer_has_it_whole_in_the_end(helped: str) -> None:
    """The first block that was seen has the id for its index, whichever of them that was."""
    # A text has no time in a read: in an old one, which of them stands last is not known.
    wires = said_again(texts="old" not in helped)

    def texts(message: Wire) -> list[Wire]:
        return [item for item in message["content"] if item["type"] != "tool"]

    for joined in range(1, len(wires)):
        for later in range(joined + 1, len(wires) + 1):
            store = StreamStore()
            stream = store.open(PROTOCOL)
            token = store.begin_read("ses_1")
            stream.ingest_many(wires[joined:later])
            seen = joined if "old" in helped else later
            if "read" in helped:
                stream.ingest({**at_the_server(wires[:seen]), "readFrom": token})
            if "log" in helped:
                stream.ingest_many([wire for wire in wires[:later] if "durable" in wire])
            stream.ingest_many(wires[later:])
            store.flush()
            (message,) = content(store)
            assert texts(message) == texts(at_the_server(wires)["data"][0])


@pytest.mark.parametrize("read", [False, True])
def test_what_a_dropped_connection_missed_of_such_an_id_is_made_up_for(read: bool) -> None:
    wires = said_again(texts=False)
    expected = at_the_server(wires)["data"][0]["content"]
    for lost in range(1, len(wires) - 1):
        for back in range(lost + 1, len(wires)):
            store = fold(PROTOCOL, wires[:lost])
            known = store.health.resume["sessions"]["ses_1"]
            stream = store.open(PROTOCOL)
            token = store.begin_read("ses_1")
            stream.ingest(wires[back])
            if read:
                stream.ingest({**at_the_server(wires[: back + 1]), "readFrom": token})
            missed = [wire for wire in wires[lost:back] if "durable" in wire]
            stream.ingest_many([wire for wire in missed if wire["durable"]["seq"] > known])
            stream.ingest_many(wires[back + 1 :])
            store.flush()
            (message,) = content(store)
            assert message["content"] == expected, (lost, back)


def test_a_text_that_ended_is_over_in_a_read_too_and_takes_no_delta_of_another() -> None:
    wires = said_again()
    second = [n for n, wire in enumerate(wires) if wire["type"].endswith("text.started")][1]
    store = fold(PROTOCOL, wires[:second])
    stream = store.open(PROTOCOL)
    stream.ingest({**at_the_server(wires[:second]), "readFrom": store.begin_read("ses_1")})
    stream.ingest_many(wires[second + 1 :])  # its beginning is lost
    store.flush()
    assert indexes(store)["text-0"] == "One, "
    stream.ingest(wires[second])
    store.flush()
    assert content(store) == at_the_server(wires)["data"]


@pytest.mark.parametrize("kind", ["reasoning", "text"])
def test_beginnings_and_ends_may_come_in_any_order(kind: str) -> None:
    v2 = Again()
    v2.step("msg_001", [(kind, [word]) for word in ("a", "b", "c")])
    first, *moved, last = (wire for wire in v2.sent if "durable" in wire)
    expected = at_the_server(v2.sent)["data"]
    for order in itertools.permutations(moved):
        store = fold(PROTOCOL, [first, *order, last])
        assert content(store) == expected
        assert not any(part.gap for part in parts(store))


def test_a_counter_that_starts_again_leaves_what_is_known_by_its_time() -> None:
    wires = said_again()
    store = fold(PROTOCOL, wires)
    adapter = OpencodeV2Adapter()
    for wire in wires:
        adapter.decode(wire)
    adapter.restarted("ses_1")
    for wire in wires:
        if "durable" in wire:
            wire["durable"]["seq"] += 100
    decoded = [event for wire in wires for event in adapter.decode(wire)]
    assert {getattr(event, "block_index", None) for event in decoded} - {None} == set(
        indexes(store)
    )


def test_what_is_remembered_of_ids_that_come_again_is_bounded() -> None:
    v2 = Again()
    for number in range(600):
        v2.text("msg_001", "reasoning", 0, [f"{number}"])
    for number in range(1500):
        v2.text(f"msg_{number:05}", "text", 0, ["a"])
    store = fold(PROTOCOL, v2.sent)
    texts = store.save()["memory"][PROTOCOL]["ses_1"]["texts"]
    assert len(texts) == 1024 and max(map(len, texts.values())) <= 256
    assert "".join(part.text for part in parts(store)) == "".join(map(str, range(600)))


# --- for every log --------------------------------------------------------------------------------


@each_log
def test_shown_text_is_a_prefix_of_the_final_one_after_every_event(wires: list[Wire]) -> None:
    assert_every_tick_is_a_prefix(PROTOCOL, wires)


@each_log
def test_how_the_bytes_are_cut_changes_nothing(wires: list[Wire]) -> None:
    assert_chunks_do_not_show(PROTOCOL, wires)


@each_log
def test_a_saved_state_and_the_tail_are_the_full_replay(wires: list[Wire]) -> None:
    assert_saves_resume(PROTOCOL, wires)


@each_log
def test_no_law_is_broken(wires: list[Wire]) -> None:
    # A connection that drops inside a text leaves it gapped: saved states alone keep L4, which
    # `test_a_saved_state_and_the_tail_are_the_full_replay` holds them to.
    assert_no_law_broken(wires, laws=("L1", "L2", "L3", "L5", "L6"))


@each_log
@pytest.mark.parametrize("sequencing", [None, "none"])
def test_the_short_way_of_a_delta_agrees_with_the_long_one(
    wires: list[Wire], sequencing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> Any:
        store = StreamStore()
        stream = store.open(PROTOCOL, sequencing=sequencing)
        seen = [stream.ingest(wire) for wire in wires]
        return seen, store.state(), store.health, stream.position

    short = told()
    monkeypatch.setattr(OpencodeV2Adapter, "delta", None)
    assert told() == short


#: How each dialect says the deltas of a text, a reasoning and a tool's input, and their wrong kin.
_AT = {"sessionID": "ses_1", "assistantMessageID": "m"}
_DELTAS: list[tuple[str, Wire]] = [
    ("next.text", {"textID": "t"}),
    ("next.reasoning", {"reasoningID": "t"}),
    ("next.tool.input", {"callID": "t"}),
    ("text", {"ordinal": 0}),
    ("reasoning", {"ordinal": 0}),
    ("tool.input", {"callID": "t"}),
]
_ODD = [0, True, 0.0, None, "", "t", "0", "True", ["t"], 2**63]


def _deltas(kind: str, named: Wire, pieces: str) -> list[Wire]:
    data = {**_AT, **named}
    return [
        {
            "id": f"e-{kind}-{named}-{n}",
            "type": f"session.{kind}.delta",
            "data": {**data, "delta": t},
        }
        for n, t in enumerate(pieces)
    ]


@pytest.mark.parametrize("sequencing", [None, "none"])
@pytest.mark.parametrize(("kind", "named"), _DELTAS)
def test_deltas_of_every_kind_take_the_short_way(
    kind: str, named: Wire, sequencing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    decode = OpencodeV2Adapter.decode
    monkeypatch.setattr(
        OpencodeV2Adapter, "decode", lambda self, wire: decoded.append(wire) or decode(self, wire)
    )
    wires = _deltas(kind, named, "abcdefghij")
    store = StreamStore()
    stream = store.open(PROTOCOL, sequencing=sequencing)
    assert {verdict.kind for verdict in map(stream.ingest, wires[:4])} == {"accepted"}
    assert stream.ingest_many(wires[4:]) == []
    assert decoded == wires[:1]
    assert stream.received == 10
    store.flush()
    (part,) = store.parts("ses_1", "m")
    assert part.field_text("input" if "tool" in kind else "text") == "abcdefghij"
    assert {stream.ingest(wire).kind for wire in wires} == {"duplicate"}


@pytest.mark.parametrize("sequencing", [None, "none"])
@given(st.randoms(use_true_random=False))
def test_deltas_of_every_kind_are_what_they_are_on_the_long_way(
    sequencing: Any, chance: random.Random
) -> None:
    """In any turn, and with a member that is none, as another kind may have it."""
    wires: list[Wire] = []
    for _ in range(chance.randint(2, 12)):
        kind, named = chance.choice(_DELTAS)
        (name, _), *_ = named.items()
        for at in range(chance.randint(1, 4)):
            (wire,) = _deltas(kind, named, "x")
            wire["id"] = f"e{len(wires):03}"
            if chance.random() < 0.1:
                wire["durable"] = {"aggregateID": "ses_1", "seq": chance.randint(0, 9)}
            if at == 3:
                wire["data"][chance.choice([name, "delta", *_AT])] = chance.choice(_ODD)
            wires.append(wire)
    if chance.random() < 0.5:
        wires += chance.sample(wires, min(3, len(wires)))
    found = []
    for way in ("ingest", "_ingest_slowly", "many"):
        store = StreamStore(ticks="manual")
        stream = store.open(PROTOCOL, sequencing=sequencing)
        if way == "many":
            told = dict(stream.ingest_many(wires))
            seen = [told[at].kind if at in told else "accepted" for at in range(len(wires))]
        else:
            seen = [getattr(stream, way)(wire).kind for wire in wires]
        changes = store.flush()
        found.append((seen, changes, store.state(), store.health, stream.received))
    assert found[0] == found[1] == found[2]


def test_the_first_event_tells_the_protocol() -> None:
    assert_detection_is_sure(PROTOCOL)
    for wires in LOGS.values():
        assert all(OpencodeV2Adapter.detects(wire) for wire in wires)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"type": 7}, "type"),
        ({"data": []}, "data"),
        ({"durable": {"seq": -1}}, "durable.seq"),
        ({"data": {"sessionID": 5}}, "data.sessionID"),
        ({"data": {"sessionID": "ses_1", "timestamp": "x"}}, "data.timestamp"),
        ({"data": {"sessionID": "ses_1"}}, "data.assistantMessageID"),
    ],
)
def test_what_breaks_the_protocol_is_named_and_the_rest_goes_on(changed: Wire, field: str) -> None:
    v2 = V2()
    v2.text("msg_001", "text", 0, ["a", "b"])
    store = StreamStore()
    stream = store.open(PROTOCOL)
    stream.ingest_many(v2.sent[:2])
    verdict = stream.ingest({**v2.sent[1], **changed})
    assert (verdict.kind, verdict.reason) == ("malformed", field)
    assert stream.ingest({"id": "e", "type": "session.x", "data": {}}).kind == "unknown"
    stream.ingest_many(v2.sent[2:])
    store.flush()
    assert parts(store)[0].text == "ab"


SHAPES = [*LOGS["recorded"], encoded(fold(PROTOCOL, LOGS["recorded"]), PROTOCOL)[0]]


@settings(max_examples=80)
@given(st.lists(mutated(SHAPES) | JSON, min_size=1, max_size=4))
def test_anything_may_come(wires: list[Any]) -> None:
    assert_total(PROTOCOL, wires, LOGS["recorded"])


def test_what_is_remembered_is_bounded() -> None:
    v2 = V2()
    for number in range(600):
        at = {"assistantMessageID": f"msg_{number:05}", "callID": f"c{number}"}
        v2.emit("step.started", assistantMessageID=f"msg_{number:05}", agent="a", model={})
        v2.emit("tool.called", **at, tool="x", input={}, provider={"executed": False})
    memory = fold(PROTOCOL, v2.sent).save()["memory"][PROTOCOL]["ses_1"]
    assert (len(memory["calls"]), len(memory["messages"])) == (256, 600)


# --- a real server --------------------------------------------------------------------------------

RECORDED = DATA / "opencode-v2" / "recorded"


def of_the_server() -> dict[str, Any]:
    expected = json.loads((RECORDED / "expected.json").read_text())
    return {session: by_id(messages) for session, messages in expected["messages"].items()}


def by_id(messages: Any) -> dict[str, Any]:
    rows = messages["data"] if isinstance(messages, dict) else messages
    return {row["id"]: row for row in rows}


def held(store: StreamStore) -> dict[str, Any]:
    return {read["sessionID"]: by_id(read["data"]) for read in encoded(store, PROTOCOL)}


def test_the_live_stream_of_a_real_server_ends_in_what_the_server_has() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open(PROTOCOL)
    stream.feed((RECORDED / "api_event.sse").read_bytes())
    store.flush()
    assert held(store) == of_the_server()
    assert not any(name.startswith(("malformed", "unknown")) for name in verdicts(store))


def test_the_logs_of_its_sessions_alone_end_in_the_same() -> None:
    store = StreamStore(ticks="manual")
    for name in ("session_a.sse", "session_b.sse"):
        stream = store.open(PROTOCOL)
        stream.feed((RECORDED / name).read_bytes())
        stream.feed((RECORDED / name).read_bytes())  # a replay from the start changes nothing
        stream.end()
    store.flush()
    assert held(store) == of_the_server()


@pytest.mark.parametrize(("kind", "named"), _DELTAS)
@pytest.mark.parametrize(
    ("known", "other"), [("True", True), ("0", 0), (0, "0"), (0, False), (1, True)]
)
def test_what_only_reads_like_a_known_name_is_none(
    kind: str, named: Wire, known: Any, other: Any
) -> None:
    (name,) = named
    stream = StreamStore().open(PROTOCOL)
    first, second, third = _deltas(kind, {name: known}, "abc")
    verdicts = [stream.ingest(first).kind, stream.ingest(second).kind]
    third["data"][name] = other
    fits = {"ordinal": int}.get(name, str)
    assert verdicts == 2 * ["accepted" if type(known) is fits else "malformed"]
    assert stream.ingest(third).kind == ("accepted" if type(other) is fits else "malformed")


def cut_short() -> V2:
    """As recorded of 1.18.33: a step that was interrupted has no end of its own."""
    v2 = V2()
    v2.user("msg_1", "Go on.")
    v2.emit("step.started", assistantMessageID="msg_2", agent="build", model={})
    v2.text("msg_2", "text", 0, ["Once "], end=False)
    v2.user("msg_3", "Stop. Again.")
    return v2


def the_message(store: StreamStore) -> Message:
    message = store.message("ses_1", "msg_2")
    assert message is not None
    return message


def test_a_step_that_was_interrupted_is_over_when_the_next_one_begins() -> None:
    v2 = cut_short()
    begun = len(v2.sent)
    v2.step("msg_4", [("text", ["Twice."])])
    store = StreamStore(ticks="each")
    stream = store.open(PROTOCOL)
    stream.ingest_many(v2.sent[:begun])
    assert the_message(store).status == "open"
    stream.ingest_many(v2.sent[begun:])
    message = the_message(store)
    assert message.status == "completed"
    assert message.info["completed"] == v2.sent[begun]["data"]["timestamp"]
    assert [part.status for part in parts(store, "msg_2")] == ["closed"]
    # An own end that is only late holds, and what is sent again ends nothing.
    state = store.state()["sessions"]
    stream.ingest_many(v2.sent)
    assert store.state()["sessions"] == state
    late = V2()
    late.sent = [*v2.sent]
    late.seq = v2.seq
    stream.ingest(late.emit("step.failed", assistantMessageID="msg_2", error={"message": "no"}))
    assert the_message(store).status == "error"


def test_a_step_that_was_read_at_work_is_over_by_a_later_one_alone() -> None:
    v2 = cut_short()
    (read,) = encoded(fold(PROTOCOL, v2.sent), PROTOCOL)
    earlier = V2()
    earlier.step("msg_0", [("text", ["Before."])])
    store = StreamStore(ticks="each")
    stream = store.open(PROTOCOL)
    stream.ingest(read)
    stream.ingest_many(earlier.sent)
    assert the_message(store).status == "open"
    v2.emit("step.started", assistantMessageID="msg_4", agent="build", model={})
    stream.ingest(v2.sent[-1])
    assert the_message(store).status == "completed"
    # A read that was made before knows less.
    stream.ingest(read)
    assert the_message(store).status == "completed"


@pytest.mark.parametrize("seq", [{}, {"seq": 3}])
def test_a_read_says_what_waits_for_an_answer(seq: Wire) -> None:
    """No log has permissions and questions: what was asked or answered during a drop is read."""
    v2 = V2()
    v2.user("msg_1", "May you?")
    source = {"type": "tool", "messageID": "msg_2", "callID": "call_1"}

    def permission(name: str) -> Wire:
        return {"id": name, "sessionID": "ses_1", "action": "bash", "resources": ["ls"],
                "source": source}  # fmt: skip

    question = {"id": "que_1", "sessionID": "ses_1", "questions": []}
    store = StreamStore(ticks="each")
    stream = store.open(PROTOCOL)
    asked = {**v2.emit("x", durable=False), "type": "permission.v2.asked"}
    stream.ingest_many([*v2.sent[:-1], {**asked, "data": permission("per_1")}])
    token = store.begin_read("ses_1")
    stream.ingest({**asked, "id": "evt_later", "data": permission("per_3")})
    read = {"sessionID": "ses_1", "data": [], "readFrom": token, **seq}
    stream.ingest({**read, "permission": [permission("per_2")], "question": [question]})
    session = store.session("ses_1")
    assert session is not None
    assert list(session.permissions) == ["per_3", "per_2"]  # and the first one was answered
    assert session.permissions["per_2"].message_id == "msg_2"
    assert session.permissions["per_2"].call_id == "call_1"
    assert list(session.questions) == ["que_1"]
    stream.ingest({**read, "readFrom": store.begin_read("ses_1")})  # says nothing of requests
    assert store.session("ses_1") is session
    nothing: Wire = {"permission": [], "question": []}
    stream.ingest({**read, "readFrom": store.begin_read("ses_1"), **nothing})
    session = store.session("ses_1")
    assert session is not None
    assert (list(session.permissions), list(session.questions)) == ([], [])


def test_a_request_of_a_read_that_is_none_changes_nothing() -> None:
    store = StreamStore(ticks="each")
    read = {"sessionID": "ses_1", "data": [], "permission": [{"sessionID": "ses_1"}]}
    assert store.open(PROTOCOL).ingest(read).kind == "malformed"
