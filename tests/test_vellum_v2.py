"""vellum-assistant's envelopes: blocks that only their order tells, one counter for everything.

There is no recording: streams are made by `Daemon`, which numbers as the server does.
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
from streamstore.adapters.vellum import VellumV2Adapter

Wire = dict[str, Any]
PROTOCOL = "vellum-v2"

MESSAGES = [f"019e6f3c-{place:x}000-7abc-8def-0123456789ab" for place in range(8, 16)]
FIRST, SECOND = MESSAGES[:2]


class Daemon:
    """Makes the envelopes of a daemon: one counter, whatever the conversation."""

    def __init__(self, seq: int = 0) -> None:
        self.seq = seq
        self.sent: list[Wire] = []

    def emit(self, kind: str, conversation: str = "c1", **members: Any) -> Wire:
        self.seq += 1
        wire = {
            "id": f"e{self.seq}",
            "conversationId": conversation,
            "seq": self.seq,
            "emittedAt": "2026-08-22T10:00:00.000Z",
            "message": {"type": kind, **members},
        }
        self.sent.append(wire)
        return wire

    def text(self, message: str, *pieces: str, **members: Any) -> None:
        for piece in pieces:
            self.emit("assistant_text_delta", text=piece, messageId=message, **members)

    def think(self, message: str, *pieces: str) -> None:
        for piece in pieces:
            self.emit("assistant_thinking_delta", thinking=piece, messageId=message)

    def tool(self, message: str, call: str, result: str | None = "done") -> None:
        named = {"toolName": "bash", "toolUseId": call, "messageId": message}
        self.emit("tool_use_preview_start", **named)
        self.emit("tool_input_delta", **named, content='{"command"')
        self.emit("tool_input_delta", **named, content='{"command": "ls"}')
        self.emit("tool_use_start", **named, input={"command": "ls"})
        self.emit("tool_output_chunk", chunk="do", toolUseId=call)
        if result is not None:
            self.emit("tool_result", **named, result=result)


def made(seed: int) -> list[Wire]:
    draw = random.Random(seed)
    daemon = Daemon(seed)
    for message in MESSAGES[: draw.randint(1, 3)]:
        daemon.emit("assistant_turn_start", messageId=message)
        for step in range(draw.randint(1, 5)):
            words = draw.choices(["a ", "ä", "\U0001f600", "", "\n"], k=draw.randint(1, 6))
            if draw.random() < 0.3:
                daemon.tool(message, f"{message[:13]}-{step}")
            elif draw.random() < 0.4:
                daemon.think(message, *words)
            else:
                daemon.text(message, *words, "\ud83d", "\ude00")
            daemon.seq += draw.randint(0, 1)  # of another conversation
        daemon.emit("message_complete", messageId=message, source="main")
    return daemon.sent


def turn() -> list[Wire]:
    daemon = Daemon(40)
    daemon.emit("user_message_echo", text="List it.", messageId=FIRST, clientMessageId="n1")
    daemon.emit("assistant_turn_start", messageId=SECOND)
    daemon.emit("assistant_activity_state", phase="thinking", activityVersion=1)
    daemon.think(SECOND, "I should ", "look.")
    daemon.seq += 1
    daemon.text(SECOND, "Look", "ing.")
    daemon.tool(SECOND, "t1", "done, all")
    daemon.text(SECOND, "There ", "you are.")
    daemon.emit("message_complete", messageId=SECOND, source="main")
    return daemon.sent


LOGS = {f"seed {seed}": made(seed) for seed in range(4)} | {
    "recorded": logged(PROTOCOL, "one_turn.jsonl")
}
each_log = pytest.mark.parametrize("wires", LOGS.values(), ids=LOGS)


def blocks(store: StreamStore, message: str = FIRST, session: str = "c1") -> list[Any]:
    return [
        part.text if part.kind in ("text", "reasoning") else part.tool
        for part in store.parts(session, message)
    ]


def test_the_log_is_the_turn_that_is_made_here() -> None:
    assert LOGS["recorded"] == turn()


def test_a_turn_folds_into_blocks_in_order() -> None:
    store = fold(PROTOCOL, LOGS["recorded"])
    (conversation,) = encoded(store, PROTOCOL)
    user, answer = conversation["messages"]
    assert (user["role"], user["blocks"][0]["text"]) == ("user", "List it.")
    found = [(block["type"], block.get("text")) for block in answer["blocks"]]
    assert found == [
        ("thinking", "I should look."),
        ("text", "Looking."),
        ("tool_use", None),
        ("text", "There you are."),
    ]
    tool = store.parts("c1", SECOND)[2]
    assert tool.tool.input == {"command": "ls"} and tool.tool.output == "done, all"  # type: ignore[union-attr]
    assert tool.field_text("output") == ""  # what streamed of it is in the result
    assert [message.status for message in store.messages("c1")] == ["completed", "completed"]
    assert store.session("c1").status.type == "idle"  # type: ignore[union-attr]
    assert store.health.gaps == () and store.health.resync == {}  # seqs left out mean nothing


def test_output_streams_until_the_result() -> None:
    daemon = Daemon()
    daemon.tool(FIRST, "t1", None)
    daemon.emit("tool_output_chunk", chunk="ne", toolUseId="t1")
    daemon.emit("tool_output_chunk", chunk="lost", toolUseId="unknown")
    store = fold(PROTOCOL, daemon.sent)
    assert store.parts("c1", FIRST)[0].field_text("output") == "done"
    assert store.parts("c1", FIRST)[0].fields["input"] == '{"command": "ls"}'


@each_log
def test_a_replay_changes_nothing_wherever_it_begins(wires: list[Wire]) -> None:
    for place in range(0, len(wires), 3):
        store = fold(PROTOCOL, wires)
        before, version = shown(store), store.version
        notable = store.open(PROTOCOL).ingest_many(wires[place:])
        assert {verdict.kind for _, verdict in notable} == {"duplicate"}
        store.flush()
        assert (shown(store), store.version) == (before, version)


@each_log
def test_a_reconnect_in_the_middle_overlaps_without_a_seam(wires: list[Wire]) -> None:
    expected = shown(fold(PROTOCOL, wires))
    for cut in range(1, len(wires)):
        store = StreamStore()
        stream = store.open(PROTOCOL)
        stream.ingest_many(wires[:cut])
        stream.end()
        store.open(PROTOCOL).ingest_many(wires[max(0, cut - 5) :])
        store.flush()
        assert shown(store) == expected


def test_a_delta_that_comes_late_goes_to_its_place() -> None:
    daemon = Daemon()
    daemon.text(FIRST, "a", "b", "c")
    daemon.tool(FIRST, "t1")
    daemon.text(FIRST, "d", "e", "f")
    sent = daemon.sent
    for first, second in ((0, 1), (1, 2), (len(sent) - 3, len(sent) - 2)):
        order = [*sent]
        order[first], order[second] = order[second], order[first]
        assert [b for b in blocks(fold(PROTOCOL, order)) if type(b) is str] == ["abc", "def"]


def test_a_call_that_comes_after_its_result_brings_its_input() -> None:
    wires = turn()
    place = next(n for n, w in enumerate(wires) if w["message"]["type"] == "tool_use_start")
    for end in (len(wires) - 1, len(wires)):
        store = StreamStore(PROTOCOL, ticks="manual")
        for piece in (wires[:place], wires[place + 1 : end], wires[place:]):
            store.open().ingest_many(piece)
        store.flush()
        assert shown(store) == shown(fold(PROTOCOL, wires))


def test_one_counter_runs_over_all_conversations() -> None:
    daemon = Daemon()
    for piece in "abc":
        for conversation in ("c1", "c2"):
            daemon.emit("assistant_text_delta", conversation, text=piece, messageId=FIRST)
    store = fold(PROTOCOL, daemon.sent)
    assert blocks(store) == blocks(store, session="c2") == ["abc"]
    alone = StreamStore()
    alone.open(PROTOCOL, session_id="c1").ingest_many(daemon.sent)
    assert alone.session_ids() == ("c1",) and verdicts(alone)["refused"] == 3
    assert list(alone.save()["memory"][PROTOCOL]) == ["c1"]


@pytest.mark.parametrize("begins", ["text", "think", "tool"])
def test_a_stream_that_begins_in_a_turn_has_its_messages_in_their_place(begins: str) -> None:
    daemon = Daemon(7)
    getattr(daemon, begins)(MESSAGES[1], "a")
    daemon.text(MESSAGES[1], "b")
    daemon.emit("message_complete", messageId=MESSAGES[1])
    for message in (MESSAGES[0], MESSAGES[2]):
        daemon.emit("user_message_echo", text="?", messageId=message)
    roles = ["user", "assistant", "user"]
    store = fold(PROTOCOL, daemon.sent)
    assert [message.id for message in store.messages("c1")] == MESSAGES[:3]
    assert [message.role for message in store.messages("c1")] == roles
    assert [message.status for message in store.messages("c1")] == ["completed"] * 3


def test_an_older_daemon_names_no_message() -> None:
    daemon = Daemon()
    daemon.emit("assistant_text_delta", text="a")
    daemon.emit("assistant_text_delta", text="b")
    daemon.emit("message_complete", source="main")
    daemon.emit("assistant_text_delta", text="c")
    store = fold(PROTOCOL, daemon.sent)
    assert [blocks(store, message.id) for message in store.messages("c1")] == [["ab"], ["c"]]
    assert {message.role for message in store.messages("c1")} == {"assistant"}


def test_without_a_message_the_one_that_streamed_last_is_meant() -> None:
    daemon = Daemon()
    for message in (FIRST, SECOND, FIRST, SECOND, FIRST):
        daemon.text(message, "a")
    daemon.emit("assistant_text_delta", text="!")
    store = fold(PROTOCOL, daemon.sent)
    assert (blocks(store, FIRST), blocks(store, SECOND)) == (["aaa!"], ["aa"])


def test_a_handoff_goes_on_without_idle_and_a_cancel_aborts() -> None:
    daemon = Daemon()
    daemon.emit("assistant_turn_start", messageId=FIRST)
    daemon.text(FIRST, "one")
    daemon.emit("generation_handoff", messageId=FIRST, queuedCount=1)
    store = fold(PROTOCOL, daemon.sent)
    assert store.session("c1").status.type == "busy"  # type: ignore[union-attr]
    daemon.emit("assistant_turn_start", messageId=SECOND)
    daemon.text(SECOND, "tw")
    daemon.emit("generation_cancelled")
    store = fold(PROTOCOL, daemon.sent)
    assert [message.status for message in store.messages("c1")] == ["completed", "aborted"]
    assert blocks(store, SECOND) == ["tw"]
    assert store.session("c1").status.type == "idle"  # type: ignore[union-attr]


def test_permissions_and_questions_wait_until_they_are_resolved() -> None:
    daemon = Daemon()
    asked: Wire = {"toolName": "bash", "input": {}, "riskLevel": "low", "toolUseId": "t1"}
    daemon.emit("confirmation_request", requestId="r1", **asked)
    daemon.emit("question_request", requestId="q1", questions=[], question="?", options=[])
    daemon.emit("question_request", requestId="q2", questions=[], question="?", options=[])
    waiting = fold(PROTOCOL, daemon.sent).session("c1")
    assert waiting is not None and list(waiting.questions) == ["q1", "q2"]
    assert waiting.permissions["r1"].call_id == "t1"
    assert waiting.permissions["r1"].payload["riskLevel"] == "low"
    answers = (("confirmation", "r1", "approved"), ("question", "q1", "answered"),
               ("question", "q2", "superseded"), ("secret", "s1", "answered"))  # fmt: skip
    for kind, request, state in answers:
        wire = daemon.emit("interaction_resolved", requestId=request, state=state)
        wire["message"]["kind"] = kind
    for seed in range(10):
        mixed = random.Random(seed).sample(daemon.sent, len(daemon.sent))
        store = fold(PROTOCOL, mixed + daemon.sent)
        session = store.session("c1")
        assert session is not None and not session.permissions and not session.questions
        assert verdicts(store).keys() <= {"accepted", "late", "duplicate"}


@pytest.mark.parametrize("late", [False, True])
def test_an_error_is_recorded_and_ends_the_turn_that_it_is_of(late: bool) -> None:
    daemon = Daemon()
    daemon.emit("assistant_turn_start", messageId=FIRST)
    daemon.text(FIRST, "a")
    told: Wire = {"code": "PROVIDER_NETWORK", "userMessage": "No net.", "retryable": True}
    error = daemon.emit("conversation_error", **told)
    daemon.emit("error", message="One was not sent.", scope="message")
    sent = list(daemon.sent)
    daemon.emit("assistant_turn_start", messageId=SECOND)
    daemon.text(SECOND, "b")
    if not late:
        store = fold(PROTOCOL, sent)
        session = store.session("c1")
        assert session is not None and session.status is not None
        assert session.status.type == "idle"
        assert [(one["name"], one["message"]) for one in session.errors] == [
            ("PROVIDER_NETWORK", "No net."), ("error", "One was not sent.")
        ]  # fmt: skip
        (message,) = store.messages("c1")
        assert (message.status, blocks(store)) == ("error", ["a"])
    wires = [wire for wire in daemon.sent if wire is not error] + [error] if late else daemon.sent
    store = fold(PROTOCOL, [*wires, error, *daemon.sent])
    session = store.session("c1")
    assert session is not None and session.status is not None and session.status.type == "busy"
    assert len(session.errors) == 2
    assert store.messages("c1")[1].status == "open" and blocks(store, SECOND) == ["b"]


def test_a_fetched_page_stands_where_its_seq_says() -> None:
    wires = LOGS["recorded"]
    for cut in range(1, len(wires)):
        (page,) = encoded(fold(PROTOCOL, wires[:cut]), PROTOCOL)
        page |= {"seq": wires[cut - 1]["seq"], "complete": True}
        store = fold(PROTOCOL, wires)
        before = encoded(store, PROTOCOL)
        store.open(PROTOCOL).ingest(page)
        store.flush()
        assert encoded(store, PROTOCOL) == before  # older than what is live


def test_a_daemon_that_counts_anew_is_heard_once_a_page_proves_it() -> None:
    old, new = Daemon(500), Daemon(3)
    old.emit("assistant_turn_start", messageId=FIRST)
    old.text(FIRST, "a")
    old.emit("message_complete", messageId=FIRST)
    store = fold(PROTOCOL, old.sent)
    (page,) = encoded(store, PROTOCOL)
    page |= {"seq": 3, "complete": True, "readFrom": store.begin_read("c1")}
    new.emit("assistant_turn_start", messageId=SECOND)
    new.text(SECOND, "b", "c")
    new.tool(SECOND, "t1")
    new.emit("message_complete", messageId=SECOND)
    stream = store.open(PROTOCOL)
    stream.ingest(page)
    stream.ingest_many(new.sent)
    store.flush()
    before = encoded(store, PROTOCOL)
    assert blocks(store, FIRST) == ["a"] and blocks(store, SECOND)[0] == "bc"
    assert store.messages("c1")[-1].status == "completed"
    store.open(PROTOCOL).ingest_many(new.sent)
    store.flush()
    assert encoded(store, PROTOCOL) == before


@pytest.mark.parametrize("named", [PROTOCOL, "auto"])
@pytest.mark.parametrize("session", ["c1", None])
def test_a_daemon_that_counts_anew_is_heard_once_its_stream_says_so(
    named: str, session: str | None
) -> None:
    store = StreamStore()
    for generation, message in (("first", FIRST), ("second", SECOND)):
        daemon = Daemon(500 if message == FIRST else 3)
        daemon.emit("assistant_turn_start", messageId=message)
        daemon.text(message, "a", "b")
        daemon.emit("message_complete", messageId=message)
        stream = store.open(named, session_id=session, generation=generation)
        stream.ingest_many(daemon.sent)
        stream.end()
    store.flush()
    assert [blocks(store, message) for message in (FIRST, SECOND)] == [["ab"], ["ab"]]
    assert {message.status for message in store.messages("c1")} == {"completed"}
    assert store.health.counts["verdicts"] == {"accepted": 8}
    assert list(store.save()["memory"][PROTOCOL]) == ["c1"]


def test_an_auxiliary_completion_ends_no_turn() -> None:
    daemon = Daemon()
    daemon.text(FIRST, "a")
    daemon.emit("message_complete", source="aux")
    daemon.text(FIRST, "b")
    assert blocks(fold(PROTOCOL, daemon.sent)) == ["ab"]


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
    assert_no_law_broken(wires)


@each_log
def test_the_short_way_of_a_delta_agrees_with_the_long_one(
    wires: list[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    short, memory = fold(PROTOCOL, wires).state(), fold(PROTOCOL, wires).save()["memory"]
    monkeypatch.setattr(VellumV2Adapter, "plain", lambda self, wire: None)
    assert fold(PROTOCOL, wires).state() == short
    assert fold(PROTOCOL, wires).save()["memory"] == memory


def test_plain_deltas_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    decode = VellumV2Adapter.decode
    monkeypatch.setattr(
        VellumV2Adapter, "decode", lambda self, wire: seen.append(wire) or decode(self, wire)
    )
    daemon = Daemon()
    daemon.text(FIRST, *"abcdef")
    daemon.think(FIRST, *"abcdef")
    fold(PROTOCOL, daemon.sent)
    assert seen == [daemon.sent[0], daemon.sent[6]]


def test_the_output_of_a_tool_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon()
    daemon.tool(FIRST, "t1", None)
    first = len(daemon.sent)
    for piece in "abcdef":
        daemon.emit("tool_output_chunk", chunk=piece, toolUseId="t1")
    daemon.emit("tool_output_chunk", chunk=7, toolUseId="t1")
    daemon.emit("tool_output_chunk", chunk="g", toolUseId="t2")
    daemon.emit("tool_output_chunk", chunk="h", toolUseId="t1")
    seen: list[Any] = []
    decode = VellumV2Adapter.decode
    monkeypatch.setattr(
        VellumV2Adapter, "decode", lambda self, wire: seen.append(wire) or decode(self, wire)
    )
    store = fold(PROTOCOL, daemon.sent)
    assert all("chunk" not in wire["message"] for wire in seen[: first - 1])
    assert seen[first:] == daemon.sent[first + 6 : first + 8]
    parts = [part for message in store.messages("c1") for part in store.parts("c1", message.id)]
    assert [part.field_text("output") for part in parts if "output" in part.others] == ["doabcdefh"]


def test_what_is_remembered_ends_with_the_turn_and_is_bounded() -> None:
    daemon = Daemon()
    for place in range(300):
        daemon.text(f"m{place}", "a")
        daemon.tool(f"m{place}", f"t{place}", None)
    memory = fold(PROTOCOL, daemon.sent).save()["memory"][PROTOCOL]["c1"]
    assert len(memory["blocks"]) == 16 and len(memory["calls"]) == len(memory["inputs"]) == 256
    daemon.emit("generation_cancelled")
    memory = fold(PROTOCOL, daemon.sent).save()["memory"][PROTOCOL]["c1"]
    assert memory["blocks"] == {} and memory["done"] == daemon.seq


def test_the_first_event_tells_the_protocol() -> None:
    assert_detection_is_sure(PROTOCOL)


def test_what_breaks_the_protocol_is_named_and_the_rest_goes_on() -> None:
    daemon = Daemon()
    daemon.text(FIRST, "a")
    broken = daemon.emit("assistant_text_delta", text=7, messageId=FIRST)
    daemon.text(FIRST, "b")
    daemon.emit("tool_result", toolName="x", result="")
    daemon.emit("from_the_future")
    store = StreamStore()
    stream = store.open(PROTOCOL)
    found = [stream.ingest(wire) for wire in daemon.sent]
    assert [verdict.kind for verdict in found] == [
        "accepted", "malformed", "accepted", "malformed", "unknown"
    ]  # fmt: skip
    assert (found[1].reason, found[3].reason) == ("message.text", "message.toolUseId")
    store.flush()
    assert blocks(store) == ["ab"] and broken in daemon.sent


@settings(max_examples=60)
@given(st.lists(mutated(LOGS["recorded"]) | JSON, min_size=1, max_size=4))
def test_anything_may_come(wires: list[Any]) -> None:
    assert_total(PROTOCOL, wires, LOGS["recorded"])
