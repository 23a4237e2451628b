"""ekacode's bus: what its events say, and what its client dropped, doubled or stalled on.

There is no recording: streams are made by `Server`, which numbers as ekacode's bus does.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wires import (
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

from streamstore import StreamStore
from streamstore.adapters.ekacode import EkacodeAdapter
from streamstore.protocols import detect

Wire = dict[str, Any]
PROTOCOL = "ekacode"


class Server:
    """Makes the events of one bus: a sequence per session, in memory."""

    def __init__(self, clock: int = 1_770_000_000_000) -> None:
        self.clock = clock
        self.sequences: dict[str, int] = {}
        self.sent: list[Wire] = []

    def emit(self, kind: str, session: str = "s1", **properties: Any) -> Wire:
        self.clock += 7
        self.sequences[session] = self.sequences.get(session, 0) + 1
        wire = {
            "type": kind,
            "properties": properties,
            "eventId": f"{self.clock:012x}",
            "sequence": self.sequences[session],
            "timestamp": self.clock,
            "sessionID": session,
        }
        self.sent.append(wire)
        return wire

    def restart(self) -> None:
        self.clock += 1000
        self.sequences.clear()

    def message(self, message: str, role: str = "assistant", session: str = "s1",
                **info: Any) -> Wire:  # fmt: skip
        time = {"created": int(message.rpartition("-")[2])} | info.pop("time", {})
        return self.emit("message.updated", session,
                         info={"id": message, "role": role, "time": time, **info})  # fmt: skip

    def part(self, message: str, part: str, session: str = "s1", *, delta: str | None = None,
             **members: Any) -> Wire:  # fmt: skip
        whole = {"id": part, "messageID": message, "sessionID": session, **members}
        beside = {} if delta is None else {"delta": delta}
        return self.emit("message.part.updated", session, part=whole, **beside)

    def text(self, message: str, part: str, *pieces: str, kind: str = "text") -> None:
        text = ""
        for piece in pieces:
            text += piece
            self.part(message, part, type=kind, text=text, delta=piece, time={"start": 1})
        self.part(message, part, type=kind, text=text, time={"start": 1, "end": 2})

    def tool(self, message: str, part: str, *statuses: str) -> None:
        for status in statuses:
            state: Wire = {"status": status, "input": {"path": "x"}}
            if status == "completed":
                state |= {"output": "ok", "title": "Read"}
            self.part(message, part, type="tool", callID=f"call-{part}", tool="read", state=state)


def made(seed: int) -> list[Wire]:
    draw = random.Random(seed)
    server = Server()
    for turn in range(draw.randint(1, 3)):
        server.message(f"m-{2 * turn}", "user")
        server.part(f"m-{2 * turn}", f"p{turn}-q", type="text", text="why?")
        answer = f"m-{2 * turn + 1}"
        server.message(answer)
        for place in range(draw.randint(1, 4)):
            words = draw.choices(["a ", "ä", "\U0001f600", "", "\n"], k=draw.randint(1, 6))
            if draw.random() < 0.3:
                server.tool(answer, f"p{turn}-{place}", "pending", "running", "completed")
            else:
                server.text(answer, f"p{turn}-{place}", *words)
        server.message(answer, time={"completed": 9}, finish="stop")
        server.emit("session.status", sessionID="s1", status={"type": "idle"})
    return server.sent


def restarted() -> list[Wire]:
    server = Server()
    server.emit("session.created", sessionID="s1", directory="/project")
    server.message("m-1", "user")
    server.part("m-1", "p1", type="text", text="Read it.")
    server.emit("session.updated", sessionID="s1", status="running")
    server.message("m-2")
    server.text("m-2", "p2", "Let ", "me ", "see.")
    server.tool("m-2", "p3", "pending")
    server.emit("permission.asked", id="per-1", sessionID="s1", permission="read", patterns=["*"],
                always=[], tool={"messageID": "m-2", "callID": "call-p3"})  # fmt: skip
    server.emit("permission.replied", sessionID="s1", requestID="per-1", reply="once")
    server.tool("m-2", "p3", "running", "completed")
    server.emit("task.updated", sessionId="s1", tasks=[{"id": "1", "title": "Read"}])
    server.message("m-2", time={"completed": 9}, finish="tool-calls")
    server.restart()
    server.message("m-3")
    server.text("m-3", "p4", "It says ", "hello.")
    server.message("m-3", time={"completed": 10}, finish="stop")
    server.emit("session.updated", sessionID="s1", status="idle")
    return server.sent


LOGS = {f"seed {seed}": made(seed) for seed in range(4)} | {
    "recorded": logged(PROTOCOL, "restart.jsonl")
}
each_log = pytest.mark.parametrize("wires", LOGS.values(), ids=LOGS)


def text(store: StreamStore, part: str, message: str = "m-1", session: str = "s1") -> str:
    found = store.part(session, message, part)
    assert found is not None
    return found.text


def final(wires: list[Wire]) -> dict[str, Wire]:
    """The last state of each part, read without the library."""
    return {
        wire["properties"]["part"]["id"]: wire["properties"]["part"]
        for wire in wires
        if wire["type"] == "message.part.updated"
    }


# --- what a stream comes to -----------------------------------------------------------------------


def test_the_log_is_the_stream_that_is_made_here() -> None:
    assert LOGS["recorded"] == restarted()


@each_log
def test_every_part_ends_as_it_last_came(wires: list[Wire]) -> None:
    store = fold(PROTOCOL, wires)
    messages = encoded(store, PROTOCOL)["s1"]
    parts = {part["id"]: part for message in messages for part in message["parts"]}
    assert parts == final(wires)
    assert {message.status for message in store.messages("s1")} == {"completed"}
    assert store.health.gaps == ()


def test_what_a_session_says_of_itself() -> None:
    store = fold(PROTOCOL, LOGS["recorded"])
    session = store.session("s1")
    assert session is not None and session.status is not None
    assert (session.info, session.status.type) == ({"directory": "/project"}, "idle")
    assert session.permissions == {} and session.todo == [{"id": "1", "title": "Read"}]
    asked = fold(PROTOCOL, LOGS["recorded"][:11]).session("s1")
    assert asked is not None and list(asked.permissions) == ["per-1"]
    assert asked.permissions["per-1"].call_id == "call-p3"


def test_a_type_from_the_future_takes_its_number() -> None:
    server = Server()
    server.message("m-1")
    server.emit("session.dreamt", about="sheep")
    server.text("m-1", "p1", "a")
    store = fold(PROTOCOL, server.sent)
    assert store.health.gaps == () and store.health.resync == {}
    assert store.health.resume["sessions"] == {"s1": 4}
    bare = {"type": "session.dreamt", "properties": {}, "eventId": "x", "sequence": 0}
    assert store.open(PROTOCOL).ingest(bare).kind == "unknown"


def test_a_part_without_an_id_is_known_by_what_else_it_has() -> None:
    server = Server()
    for word in ("pending", "completed"):
        wire = server.part("m-1", "", type="tool", callID="c", tool="x", state={"status": word})
        del wire["properties"]["part"]["id"]
    for word in ("a", "ab"):
        wire = server.part("m-1", "", type="text", text=word)
        del wire["properties"]["part"]["id"]
    (message,) = encoded(fold(PROTOCOL, server.sent), PROTOCOL)["s1"]
    assert [part["type"] for part in message["parts"]] == ["tool", "text"]
    assert message["parts"][1] == {
        "messageID": "m-1", "sessionID": "s1", "type": "text", "text": "ab"
    }  # fmt: skip


def test_sessions_count_apart() -> None:
    server = Server()
    for session in ("s1", "s2", "s1", "s2"):
        server.part("m-1", "p", session, type="text", text=f"of {session}")
    store = fold(PROTOCOL, server.sent)
    assert (text(store, "p"), text(store, "p", session="s2")) == ("of s1", "of s2")
    alone = StreamStore()
    alone.open(PROTOCOL, session_id="s1").ingest_many(server.sent)
    assert alone.session_ids() == ("s1",) and verdicts(alone)["refused"] == 2
    assert list(alone.save()["memory"][PROTOCOL]) == ["s1"]


# --- what the client got wrong --------------------------------------------------------------------


def test_a_delta_beside_its_text_is_not_added_again() -> None:
    server = Server()
    server.part("m-1", "p", type="text", text="a")
    server.part("m-1", "p", type="text", text="ab", delta="b")
    assert text(fold(PROTOCOL, server.sent), "p") == "ab"


def test_a_delta_of_an_unknown_part_is_kept() -> None:
    server = Server()
    for piece in ("a", "b"):
        server.part("m-1", "p", type="text", delta=piece)
    assert text(fold(PROTOCOL, server.sent), "p") == "ab"


def test_removed_then_updated_in_one_tick_is_there() -> None:
    server = Server()
    server.part("m-1", "p", type="text", text="old")
    server.emit("message.part.removed", sessionID="s1", messageID="m-1", partID="p")
    server.part("m-1", "p", type="text", text="new")
    assert text(fold(PROTOCOL, server.sent), "p") == "new"
    removed_last = [server.sent[0], server.sent[2], server.emit(
        "message.part.removed", sessionID="s1", messageID="m-1", partID="p")]  # fmt: skip
    assert fold(PROTOCOL, removed_last).part("s1", "m-1", "p") is None


def test_parts_of_a_removed_message_are_no_orphans() -> None:
    server = Server()
    server.message("m-1")
    server.part("m-1", "p", type="text", text="a")
    server.emit("message.removed", sessionID="s1", messageID="m-1")
    server.part("m-1", "p", type="text", text="ab")
    store = fold(PROTOCOL, server.sent)
    assert store.messages("s1") == () and store.parts("s1", "m-1") == ()


def test_an_event_that_comes_while_a_batch_is_heard_is_shown_by_the_next() -> None:
    server = Server()
    first, second = (server.part("m-1", "p", type="text", text=word) for word in ("a", "ab"))
    store = StreamStore(ticks="manual")
    stream = store.open(PROTOCOL)
    waiting = [second]
    store.subscribe(lambda changes: [stream.ingest(waiting.pop()) for _ in waiting[:1]])
    stream.ingest(first)
    store.flush()
    store.flush()
    assert text(store, "p") == "ab"


def test_a_listener_that_raises_loses_nothing() -> None:
    server = Server()
    server.text("m-1", "p", "a", "b")
    reported: list[BaseException] = []
    store = StreamStore(on_error=lambda error, subscription: reported.append(error))
    store.subscribe(lambda changes: 1 / 0)
    heard: list[Any] = []
    store.subscribe(heard.append)
    store.open(PROTOCOL).ingest_many(server.sent)
    assert text(store, "p") == "ab" and len(reported) == len(heard) == 1


def test_what_waits_is_in_a_saved_state() -> None:
    server = Server()
    server.part("m-1", "p", type="text", text="a")
    store = StreamStore(ticks="manual")
    store.open(PROTOCOL).ingest_many(server.sent)
    loaded = StreamStore.load(store.save())
    loaded.flush()
    assert text(loaded, "p") == "a"


def test_a_lost_event_stalls_nothing() -> None:
    server = Server()
    server.message("m-1")
    server.text("m-1", "p1", "a", "b", "c")
    lost = server.sent.pop(1)
    server.text("m-1", "p2", "d")
    store = fold(PROTOCOL, server.sent)
    assert (text(store, "p1"), text(store, "p2")) == ("abc", "d")
    assert len(store.health.gaps) == 1 and "s1" in store.health.resync
    assert store.health.resume["sessions"] == {"s1": 1}
    store.open(PROTOCOL).ingest(lost)
    store.flush()
    assert store.health.gaps == () and text(store, "p1") == "abc"
    assert store.health.resume["sessions"] == {"s1": 7}


def test_a_server_that_started_again_is_heard() -> None:
    server = Server()
    server.message("m-1")
    server.text("m-1", "p1", "before ", "the crash")
    server.restart()
    server.text("m-2", "p2", "after ", "it")
    store = fold(PROTOCOL, server.sent)
    assert (text(store, "p1"), text(store, "p2", "m-2")) == ("before the crash", "after it")
    assert store.health.resume["sessions"] == {"s1": 3}
    before, version = shown(store), store.version
    store.open(PROTOCOL).ingest_many(server.sent[4:])  # sent again: older than what came
    store.flush()
    assert (shown(store), store.version) == (before, version)


def test_what_is_left_of_an_earlier_run_changes_nothing() -> None:
    server = Server()
    server.text("m-1", "p1", "a", "b", "c")
    left = server.sent.pop()
    server.restart()
    server.text("m-2", "p2", "d")
    server.sent.insert(4, left)
    server.text("m-2", "p3", "e", "f", "g")
    store = fold(PROTOCOL, server.sent)
    assert [text(store, part, "m-2") for part in ("p2", "p3")] == ["d", "efg"]
    assert verdicts(store)["duplicate"] == 1 and store.health.gaps == ()
    assert store.health.resume["sessions"] == {"s1": 6}


def test_a_start_that_a_clock_hides_changes_nothing() -> None:
    server = Server()
    server.text("m-1", "p1", "a", "b")
    server.sequences.clear()
    server.clock -= 10_000
    server.text("m-1", "p2", "c")
    store = fold(PROTOCOL, server.sent)
    assert store.part("s1", "m-1", "p2") is None and verdicts(store)["duplicate"] == 2


def test_what_comes_before_the_first_that_was_seen_is_late_not_old() -> None:
    server = Server()
    server.message("m-1")
    server.text("m-1", "p1", "a")
    server.text("m-1", "p2", "b")
    store = fold(PROTOCOL, [*server.sent[2:], *server.sent[:2]])
    assert shown(store) == shown(fold(PROTOCOL, server.sent))


def test_parts_may_come_before_their_message() -> None:
    server = Server()
    server.text("m-1", "p1", "a")
    server.message("m-1")
    store = fold(PROTOCOL, server.sent)
    (message,) = store.messages("s1")
    assert (message.role, text(store, "p1")) == ("assistant", "a")


def test_a_burst_drops_nothing_and_keeps_its_order() -> None:
    server = Server()
    for number in range(500):
        server.part("m-1", f"p{number:03}", type="text", text=f"{number}")
    store = fold(PROTOCOL, server.sent)
    assert [part.text for part in store.parts("s1", "m-1")] == [str(n) for n in range(500)]


def test_a_second_state_of_a_message_in_a_catch_up_is_no_duplicate() -> None:
    store = StreamStore()
    stream = store.open(PROTOCOL)
    for finish in ("length", "stop"):
        info = {"id": "m-1", "role": "assistant", "finish": finish}
        stream.ingest({"type": "message.updated", "properties": {"info": info}, "timestamp": 1,
                       "eventId": "m-1", "sequence": 0, "sessionID": "s1"})  # fmt: skip
    store.flush()
    assert store.messages("s1")[0].info["finish"] == "stop"


def test_without_a_number_an_event_is_known_by_its_id() -> None:
    server = Server()
    wire = server.part("m-1", "p", type="text", delta="a") | {"sequence": 0}
    store = fold(PROTOCOL, [wire, wire])
    assert text(store, "p") == "a" and verdicts(store)["duplicate"] == 1


def test_a_catch_up_that_is_cut_off_is_a_hole() -> None:
    server = Server()
    for number in range(1500):
        server.part("m-1", "p", type="text", text=f"{number}")
    missed = server.sent[100:1400]
    store = fold(PROTOCOL, [*server.sent[:100], *missed[:1000], *server.sent[1400:]])
    assert text(store, "p") == "1499"
    assert store.health.resume["sessions"] == {"s1": 1100} and "s1" in store.health.resync


# --- for every log --------------------------------------------------------------------------------


@each_log
def test_a_replay_on_a_new_stream_changes_nothing(wires: list[Wire]) -> None:
    store = fold(PROTOCOL, wires)
    before, version = shown(store), store.version
    found = store.open(PROTOCOL).ingest_many(wires)
    assert {verdict.kind for _, verdict in found} == {"duplicate"}
    assert (shown(store), store.version) == (before, version)


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
    outcomes = assert_no_law_broken(wires)
    if wires is not LOGS["recorded"]:  # where a run ends, order matters
        assert outcomes == dict.fromkeys(("L1", "L2", "L3", "L4", "L5", "L6"), "kept")


def test_the_first_event_tells_the_protocol() -> None:
    assert_detection_is_sure(PROTOCOL)
    for wires in LOGS.values():
        assert all(detect(wire) is EkacodeAdapter for wire in wires)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"sequence": -1}, "sequence"),
        ({"type": 7}, "type"),
        ({"properties": []}, "properties"),
        ({"timestamp": "now"}, "timestamp"),
        ({"properties": {"part": {"type": "text"}}}, "properties.part.messageID"),
        ({"properties": {"part": {"type": "text", "messageID": "m"}}}, "properties.part.text"),
    ],
)
def test_what_breaks_the_protocol_is_named_and_the_rest_goes_on(changed: Wire, field: str) -> None:
    server = Server()
    server.text("m-1", "p", "a", "b")
    store = StreamStore()
    stream = store.open(PROTOCOL)
    stream.ingest(server.sent[0])
    verdict = stream.ingest({**server.sent[1], **changed})
    assert (verdict.kind, verdict.reason) == ("malformed", field)
    stream.ingest_many(server.sent[1:])
    store.flush()
    assert text(store, "p") == "ab" and store.health.gaps == ()


@settings(max_examples=60)
@given(st.lists(mutated(LOGS["recorded"]) | JSON, min_size=1, max_size=4))
def test_anything_may_come(wires: list[Any]) -> None:
    assert_total(PROTOCOL, wires, LOGS["recorded"])
