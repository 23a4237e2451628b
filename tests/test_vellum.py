"""vellum-assistant's blocks: what its stream says, and each mistake of its first client, not made.

The protocol was never released, so there is no recording: streams are made by `Daemon`, which
numbers as the server did.
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
from streamstore.adapters.vellum import VellumAdapter, time_of_id

Wire = dict[str, Any]

MESSAGES = [f"019e6f3c-{place:x}000-7abc-8def-0123456789ab" for place in range(8, 16)]
FIRST, SECOND, THIRD = MESSAGES[:3]


class Daemon:
    """Makes one conversation's events, numbered from 1 as the server numbers them."""

    def __init__(self, conversation: str | None = "c1") -> None:
        self.named = {} if conversation is None else {"conversationId": conversation}
        self.seq = 0
        self.sent: list[Wire] = []

    def emit(self, kind: str, **members: Any) -> Wire:
        """A stamped event."""
        self.seq += 1
        return self.plain(kind, **members, seq=self.seq)

    def plain(self, kind: str, **members: Any) -> Wire:
        """An event without a seq."""
        wire = {"type": kind, **self.named, **members}
        self.sent.append(wire)
        return wire

    def open(self, message: str) -> None:
        self.emit("message_open", messageId=message, role="assistant")

    def text(self, message: str, index: int, *pieces: str, close: bool = True) -> None:
        at = {"messageId": message, "blockIndex": index}
        self.emit("block_open", **at, blockType="text")
        for piece in pieces:
            self.emit("assistant_text_delta", **at, text=piece)
        if close:
            self.emit("block_close", **at)

    def tool(self, message: str, index: int, call: str, result: str | None = "done") -> None:
        at = {"messageId": message, "blockIndex": index}
        named = {"toolName": "bash", "toolUseId": call}
        self.emit("block_open", **at, blockType="tool_use", **named)
        self.emit("tool_use_start", **at, **named, input={"command": call})
        if result is not None:
            self.emit("tool_result", **at, **named, result=result)
            self.emit("block_close", **at)

    def close(self, message: str) -> None:
        self.emit("message_close", messageId=message)
        self.plain("message_complete", messageId=message, source="main")


def made(seed: int) -> list[Wire]:
    """A conversation of several turns, drawn from a seed."""
    draw = random.Random(seed)
    daemon = Daemon()
    for message in MESSAGES[: draw.randint(1, 4)]:
        daemon.open(message)
        for index in range(draw.randint(1, 4)):
            if draw.random() < 0.3:
                daemon.tool(message, index, f"{message[:13]}-{index}")
            else:
                words = draw.choices(["a ", "ä", "\U0001f600", "", "\n"], k=draw.randint(1, 9))
                daemon.text(message, index, *words, "\ud83d", "\ude00")  # a pair, cut
        daemon.close(message)
    return daemon.sent


LOGS = {f"seed {seed}": made(seed) for seed in range(4)} | {
    "recorded": logged("vellum", "two_calls.jsonl")
}
each_log = pytest.mark.parametrize("wires", LOGS.values(), ids=LOGS)


def part(store: StreamStore, index: int, message: str = FIRST, conversation: str = "c1") -> Any:
    found = store.part(conversation, message, index)
    assert found is not None
    return found


# --- what a stream comes to -----------------------------------------------------------------------


def test_a_turn_of_two_calls() -> None:
    store = fold("vellum", LOGS["recorded"])
    (conversation,) = encoded(store, "vellum")
    first, second = conversation["messages"]
    assert [block.get("text") for block in first["blocks"]] == ["I will look."]
    assert [block["type"] for block in second["blocks"]] == ["tool_use", "tool_use", "text"]
    assert second["blocks"][0] == {
        "blockIndex": 0,
        "type": "tool_use",
        "isComplete": True,
        "toolName": "bash",
        "toolUseId": "t1",
        "toolInputJson": '{"cmd":"ls"}',
        "toolInput": {"cmd": "ls"},
        "toolResult": "a b",
        "isError": False,
        "toolDetails": {"riskLevel": "low"},
    }
    assert second["blocks"][1]["isError"] is True
    assert [message["isComplete"] for message in (first, second)] == [True, True]
    tool = part(store, 0, SECOND).tool
    assert (tool.name, tool.input, tool.output) == ("bash", {"cmd": "ls"}, "a b")
    assert store.health.resume["sessions"] == {"c1": 19} and store.health.gaps == ()


@each_log
@pytest.mark.parametrize("named", [True, False])
def test_a_call_that_comes_after_its_result_brings_its_input(
    wires: list[Wire], named: bool
) -> None:
    if not named:  # of calls that are known
        cut = {"messageId", "blockIndex"}
        wires = [
            {name: value for name, value in wire.items() if name not in cut}
            if wire["type"] == "tool_result"
            else wire
            for wire in wires
        ]
    whole = shown(fold("vellum", wires))
    for place, wire in enumerate(wires):
        if wire["type"] != "tool_use_start":
            continue
        store = StreamStore("vellum", ticks="manual")
        for piece in (wires[:place], wires[place + 1 :], wires[place:], wires):
            store.open().ingest_many(piece)
        store.flush()
        assert shown(store) == whole


@each_log
def test_a_fetched_conversation_is_what_was_streamed(wires: list[Wire]) -> None:
    store = fold("vellum", wires)
    (conversation,) = encoded(store, "vellum")
    top = max(wire.get("seq", 0) for wire in wires)
    page = {**conversation, "seq": top, "complete": True}
    fetched = fold("vellum", [page])
    assert encoded(fetched, "vellum") == encoded(store, "vellum")
    version = store.version
    store.open("vellum").ingest(page)
    store.flush()
    assert encoded(store, "vellum") == [conversation] and store.health.gaps == ()
    assert store.version - version <= 1


def test_canned_texts_have_a_message_of_their_own_until_the_turn_ends() -> None:
    daemon = Daemon()
    daemon.open(FIRST)
    daemon.text(FIRST, 0, "before")
    daemon.close(FIRST)
    daemon.plain("assistant_text_delta", text="hel")
    daemon.plain("assistant_text_delta", text="lo")
    daemon.plain("message_complete", source="main")
    daemon.plain("assistant_text_delta", text="bye")
    daemon.open(SECOND)
    store = fold("vellum", daemon.sent)
    (conversation,) = encoded(store, "vellum")
    found = [
        (message["messageId"], [block["text"] for block in message["blocks"]])
        for message in conversation["messages"]
    ]
    assert found == [
        (FIRST, ["before"]), ("local-1", ["hello"]), ("local-2", ["bye"]), (SECOND, [])
    ]  # fmt: skip
    statuses = [message.status for message in store.messages("c1")]
    assert statuses == ["completed", "completed", "open", "open"]


def test_an_auxiliary_completion_ends_no_canned_text() -> None:
    daemon = Daemon()
    daemon.plain("assistant_text_delta", text="one ")
    daemon.plain("message_complete", source="aux")
    daemon.plain("assistant_text_delta", text="two")
    store = fold("vellum", daemon.sent)
    assert part(store, 0, "local-1").text == "one two"


def test_attachments_come_with_the_completion() -> None:
    daemon = Daemon()
    daemon.open(FIRST)
    daemon.plain("generation_handoff", messageId=FIRST, queuedCount=1, attachments=[{"id": "a"}])
    (conversation,) = encoded(fold("vellum", daemon.sent), "vellum")
    assert conversation["messages"][0]["attachments"] == [{"id": "a"}]
    assert conversation["messages"][0]["isComplete"] is True


def test_a_cancelled_generation_aborts_what_is_open_and_shows_its_text() -> None:
    daemon = Daemon()
    daemon.open(FIRST)
    daemon.close(FIRST)
    daemon.open(SECOND)
    daemon.text(SECOND, 0, "half a sen", close=False)
    daemon.tool(SECOND, 1, "t1", result=None)
    first_open = daemon.sent[0]
    daemon.sent.append(first_open)  # sent again: it is closed all the same
    daemon.plain("generation_cancelled")
    store = StreamStore(delivery="buffered")
    store.open("vellum").ingest_many(daemon.sent)
    store.flush()
    assert [message.status for message in store.messages("c1")] == ["completed", "aborted"]
    assert part(store, 0, SECOND).text == "half a sen"
    assert part(store, 1, SECOND).tool.status == "error"
    at = {"messageId": SECOND, "blockIndex": 1, "toolName": "bash", "toolUseId": "t1"}
    store.open("vellum").ingest(daemon.emit("tool_result", **at, result="late but real"))
    store.flush()
    assert part(store, 1, SECOND).tool.output == "late but real"


def test_an_unknown_type_and_an_unknown_block_are_kept_apart() -> None:
    daemon = Daemon()
    daemon.plain("assistant_activity_state", phase="thinking")
    daemon.emit("block_open", messageId=FIRST, blockIndex=0, blockType="surface")
    store = fold("vellum", daemon.sent)
    assert verdicts(store) == {"unknown": 1, "accepted": 1}
    assert part(store, 0).kind == "unknown"
    assert encoded(store, "vellum")[0]["messages"][0]["blocks"][0]["type"] == "surface"


# --- the mistakes of its first client, by their number on the list --------------------------------


def test_defect_1_tool_input_is_all_of_it_each_time_and_replaces() -> None:
    daemon = Daemon()
    at = {"messageId": FIRST, "blockIndex": 0, "toolName": "bash", "toolUseId": "t1"}
    daemon.emit("block_open", **at, blockType="tool_use")
    whole = '{"command": "ls -la"}'
    for end in (3, 9, len(whole)):
        daemon.emit("tool_input_delta", **at, content=whole[:end])
    store = fold("vellum", daemon.sent)
    assert part(store, 0).fields["input"] == whole
    late = fold("vellum", [daemon.sent[0], daemon.sent[3], daemon.sent[1], daemon.sent[2]])
    assert part(late, 0).fields["input"] == whole


def test_defect_2_tools_behind_the_close_of_their_call_are_kept() -> None:
    daemon = Daemon()
    daemon.open(FIRST)
    daemon.text(FIRST, 0, "I will look.")
    unplaced = {"toolName": "bash", "toolUseId": "t1"}
    daemon.plain("tool_input_delta", **unplaced, content='{"command": "t1"}')  # no coordinates
    daemon.close(FIRST)
    daemon.open(SECOND)
    daemon.tool(SECOND, 0, "t1")
    daemon.emit("tool_use_start", messageId=FIRST, blockIndex=1, toolName="web", input={})
    store = fold("vellum", daemon.sent)
    assert part(store, 0, SECOND).fields["input"] == '{"command": "t1"}'
    assert part(store, 1, FIRST).tool.name == "web"  # a tool of a closed message
    assert store.message("c1", FIRST).status == "completed"  # type: ignore[union-attr]


def test_defect_3_a_result_behind_its_blocks_close_counts() -> None:
    daemon = Daemon()
    daemon.tool(FIRST, 0, "t1", result=None)
    daemon.emit("block_close", messageId=FIRST, blockIndex=0)
    daemon.tool(FIRST, 1, "t2")
    at = {"messageId": FIRST, "blockIndex": 0, "toolName": "bash", "toolUseId": "t1"}
    daemon.emit("tool_result", **at, result="first")
    store = fold("vellum", daemon.sent)
    assert [part(store, index).tool.output for index in (0, 1)] == ["first", "done"]
    assert part(store, 0).tool.input == {"command": "t1"}


@pytest.mark.parametrize("bound", [None, "c1"])
def test_defect_4_conversations_do_not_mix(bound: str | None) -> None:
    ours, theirs = Daemon("c1"), Daemon("c2")
    for daemon in (ours, theirs):
        daemon.open(FIRST)
        daemon.text(FIRST, 0, f"of {daemon.named['conversationId']}")
    store = StreamStore()
    stream = store.open("vellum", session_id=bound)
    for pair in zip(ours.sent, theirs.sent, strict=True):
        stream.ingest_many(pair)
    store.flush()
    assert part(store, 0).text == "of c1"
    if bound is None:
        assert part(store, 0, conversation="c2").text == "of c2"
    else:
        assert store.session_ids() == ("c1",)
        assert verdicts(store)["refused"] == len(theirs.sent)
        assert list(store.save()["memory"]["vellum"]) == ["c1"]


def test_defect_5_the_position_stays_before_a_hole() -> None:
    daemon = Daemon()
    daemon.open(FIRST)
    daemon.text(FIRST, 0, "a", "b", "c", "d", close=False)
    lost = daemon.sent.pop(3)
    store = fold("vellum", daemon.sent)
    assert part(store, 0).text == "acd"  # shown at once, with a gap
    assert store.health.resume["sessions"] == {"c1": lost["seq"] - 1}
    assert len(store.health.gaps) == 1 and "c1" in store.health.resync
    store.open("vellum").ingest(lost)
    store.flush()
    assert part(store, 0).text == "abcd"
    assert store.health.resume["sessions"] == {"c1": daemon.seq} and store.health.gaps == ()


def test_defect_5_no_delta_of_a_long_turn_is_dropped() -> None:
    daemon = Daemon()
    daemon.text(FIRST, 0, *(f"{number} " for number in range(1000)))
    store = StreamStore()
    heard: list[Any] = []
    store.subscribe(heard.append)
    store.open("vellum").ingest_many(daemon.sent)
    assert part(store, 0).text == "".join(f"{number} " for number in range(1000))
    assert len(heard) == 1


def test_defect_6_the_position_is_part_of_the_state_it_describes() -> None:
    daemon = Daemon()
    daemon.open(FIRST)
    daemon.text(FIRST, 0, "half", " done", close=False)
    store = fold("vellum", daemon.sent)
    saved = StreamStore.load(store.save())
    assert saved.health.resume == store.health.resume
    assert part(saved, 0).text == "half done"
    assert "sessions" not in StreamStore().health.resume  # nothing shown: nothing claimed


def test_defect_7_a_replay_on_a_new_stream_changes_nothing() -> None:
    for wires in LOGS.values():
        stamped = [wire for wire in wires if "seq" in wire]
        store = fold("vellum", wires)
        before, version = shown(store), store.version
        again = store.open("vellum", session_id="c1")
        assert {verdict.kind for _, verdict in again.ingest_many(stamped)} == {"duplicate"}
        store.flush()
        assert (shown(store), store.version) == (before, version)


def test_a_replay_from_the_position_goes_on_without_a_seam() -> None:
    wires = LOGS["recorded"]
    for cut in range(1, len(wires)):
        store = StreamStore()
        stream = store.open("vellum")
        stream.ingest_many(wires[:cut])
        stream.end()
        after = store.health.resume["sessions"]["c1"]
        stream = store.open("vellum", session_id="c1")
        # The log holds stamped events alone; what is live behind it has the others, too.
        stream.ingest_many([w for w in wires[:cut] if w.get("seq", 0) > after])
        stream.ingest_many(wires[cut:])
        store.flush()
        assert shown(store) == shown(fold("vellum", wires))


def test_defect_8_the_close_of_an_unknown_message_orders_what_is_sent_after_it() -> None:
    daemon = Daemon()
    daemon.open(FIRST)
    daemon.text(FIRST, 0, "whole")
    daemon.close(FIRST)
    *before, close, _ = daemon.sent
    store = fold("vellum", [close])
    assert store.message("c1", FIRST).status == "completed"  # type: ignore[union-attr]
    store.open("vellum").ingest_many([*before, close])
    store.flush()
    assert part(store, 0).text == "whole"
    assert store.message("c1", FIRST).status == "completed"  # type: ignore[union-attr]
    assert verdicts(store)["duplicate"] == 1


def test_defect_9_an_open_behind_the_first_delta_says_the_role() -> None:
    delta = {"conversationId": "c1", "messageId": FIRST, "blockIndex": 0, "text": "hi", "seq": 2}
    opened = {"type": "message_open", "conversationId": "c1", "messageId": FIRST, "seq": 1}
    store = fold("vellum", [{"type": "assistant_text_delta", **delta}])
    assert store.message("c1", FIRST).role == ""  # type: ignore[union-attr]
    store.open("vellum").ingest({**opened, "role": "assistant"})
    store.flush()
    assert store.message("c1", FIRST).role == "assistant"  # type: ignore[union-attr]
    assert part(store, 0).text == "hi"


def test_defect_9_text_of_a_tool_block_is_shown() -> None:
    daemon = Daemon()
    daemon.tool(FIRST, 0, "t1")
    daemon.emit("assistant_text_delta", messageId=FIRST, blockIndex=0, text="aside")
    store = fold("vellum", daemon.sent)
    assert (part(store, 0).kind, part(store, 0).text) == ("tool", "aside")
    assert encoded(store, "vellum")[0]["messages"][0]["blocks"][0]["text"] == "aside"


def test_defect_10_a_seq_that_is_given_twice_is_taken_once() -> None:
    daemon = Daemon()
    daemon.text(FIRST, 0, "published", close=False)
    daemon.seq -= 1  # the crash: published, not logged, and counted again from the log
    daemon.emit("assistant_text_delta", messageId=FIRST, blockIndex=0, text="reissued")
    store = fold("vellum", daemon.sent)
    assert part(store, 0).text == "published"
    assert verdicts(store)["duplicate"] == 1


def test_defect_10_a_counter_that_starts_again_is_proved_by_a_fetch() -> None:
    before, after = Daemon(), Daemon()
    before.open(FIRST)
    before.text(FIRST, 0, "old", " text")
    before.close(FIRST)
    after.open(SECOND)
    after.text(SECOND, 0, "new")
    store = fold("vellum", before.sent)
    stream = store.open("vellum")
    assert stream.ingest(after.sent[0]).kind == "duplicate"  # a lower seq alone proves nothing
    (page,) = encoded(fold("vellum", [*before.sent, *after.sent[:0]]), "vellum")
    token = store.begin_read("c1")
    stream.ingest({**page, "seq": 0, "complete": True, "readFrom": token})
    stream.ingest_many(after.sent)
    store.flush()
    assert [part(store, 0, message).text for message in (FIRST, SECOND)] == ["old text", "new"]


def test_defect_11_messages_stand_by_the_time_in_their_id() -> None:
    daemon = Daemon()
    daemon.open(FIRST)
    daemon.open(SECOND)
    daemon.open(THIRD)
    store = fold("vellum", daemon.sent[::-1])
    assert [message.id for message in store.messages("c1")] == [FIRST, SECOND, THIRD]


def test_the_time_of_an_id_is_read_from_a_version_7_alone() -> None:
    assert time_of_id(FIRST) == 0x019E6F3C8000
    for other in ("", "m1", FIRST.replace("-7abc", "-4abc"), "zzzzzzzz" + FIRST[8:], FIRST + "0"):
        assert time_of_id(other) is None
    assert time_of_id("0x1e6f3c-80_0-7abc-8def-0123456789ab") is None


# --- for every log --------------------------------------------------------------------------------


@each_log
def test_shown_text_is_a_prefix_of_the_final_one_after_every_event(wires: list[Wire]) -> None:
    assert_every_tick_is_a_prefix("vellum", wires)


@each_log
def test_how_the_bytes_are_cut_changes_nothing(wires: list[Wire]) -> None:
    assert_chunks_do_not_show("vellum", wires)


@each_log
def test_a_saved_state_and_the_tail_are_the_full_replay(wires: list[Wire]) -> None:
    assert_saves_resume("vellum", wires)


@each_log
def test_no_law_is_broken(wires: list[Wire]) -> None:
    assert_no_law_broken(wires)


def test_texts_may_come_in_any_order() -> None:
    """A result takes its tool's input from memory; of logs without tools every law is promised."""
    daemon = Daemon()
    for message in MESSAGES[:3]:
        daemon.open(message)
        daemon.text(message, 0, "a ", "\U0001f600", "", "\n")
        daemon.text(message, 1, "b", "\ud83d", "\ude00")
        daemon.close(message)
    outcomes = assert_no_law_broken(daemon.sent)
    assert outcomes == dict.fromkeys(("L1", "L2", "L3", "L4", "L5", "L6"), "kept")


@each_log
def test_the_short_way_of_a_delta_agrees_with_the_long_one(
    wires: list[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = fold("vellum", wires).state()
    monkeypatch.setattr(VellumAdapter, "delta", None)
    assert fold("vellum", wires).state() == short


def test_plain_deltas_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = VellumAdapter.decode
    monkeypatch.setattr(
        VellumAdapter,
        "decode",
        lambda self, wire: decoded.append(wire["type"]) or decode(self, wire),
    )
    daemon = Daemon()
    daemon.text(FIRST, 0, *"abcdef")
    fold("vellum", daemon.sent)
    assert decoded == ["block_open", "block_close"]


def test_a_stream_of_one_conversation_need_not_name_it() -> None:
    daemon = Daemon(conversation=None)
    daemon.open(FIRST)
    daemon.text(FIRST, 0, "hi ", "there")
    store = StreamStore()
    store.open("vellum", session_id="c1").ingest_many(daemon.sent)
    assert part(store, 0).text == "hi there"


def test_the_first_event_tells_the_protocol() -> None:
    assert_detection_is_sure("vellum")
    for wires in LOGS.values():
        assert fold("auto", wires).state() == fold("vellum", wires).state()


MALFORMED = {
    "no object": ([], ""),
    "no type": ({"messageId": "m"}, "messages"),
    "a type that is no string": ({"type": 7}, "type"),
    "a seq that is no number": ({"type": "message_close", "messageId": "m", "seq": "1"}, "seq"),
    "no message": ({"type": "message_open", "role": "assistant"}, "messageId"),
    "no role": ({"type": "message_open", "messageId": "m"}, "role"),
    "a block alone": ({"type": "assistant_text_delta", "text": "", "blockIndex": 0}, "messageId"),
    "a message alone": (
        {"type": "assistant_text_delta", "text": "", "messageId": "m"}, "blockIndex"
    ),
    "no text": ({"type": "assistant_text_delta", "messageId": "m", "blockIndex": 0}, "text"),
    "an index that is no number": (
        {"type": "block_close", "messageId": "m", "blockIndex": True}, "blockIndex"
    ),
    "no call": ({"type": "tool_result", "toolName": "x", "result": ""}, "toolUseId"),
    "no input": ({"type": "tool_use_start", "toolName": "x", "toolUseId": "t"}, "input"),
    "an odd source": ({"type": "message_complete", "source": "other"}, "source"),
}  # fmt: skip


@pytest.mark.parametrize(("wire", "field"), MALFORMED.values(), ids=MALFORMED)
def test_what_breaks_the_protocol_is_named_and_the_rest_goes_on(wire: Any, field: str) -> None:
    daemon = Daemon()
    daemon.text(FIRST, 0, "a", "b")
    store = StreamStore()
    stream = store.open("vellum")
    stream.ingest_many(daemon.sent[:2])
    verdict = stream.ingest(wire)
    assert (verdict.kind, verdict.reason) == ("malformed", field)
    stream.ingest_many(daemon.sent[2:])
    store.flush()
    assert part(store, 0).text == "ab"


def test_a_strict_stream_stops_at_what_its_client_cannot_decode() -> None:
    daemon = Daemon()
    daemon.text(FIRST, 0, "a", close=False)
    store = StreamStore()
    stream = store.open("vellum", policy="strict")
    stream.ingest_many(daemon.sent)
    stream.ingest({"type": "message_open", "messageId": FIRST})
    stream.ingest(daemon.emit("assistant_text_delta", messageId=FIRST, blockIndex=0, text="b"))
    store.flush()
    assert part(store, 0).text == "a" and verdicts(store)["refused"] == 1


SHAPES = [*LOGS["recorded"], encoded(fold("vellum", LOGS["recorded"]), "vellum")[0]]


@settings(max_examples=60)
@given(st.lists(mutated(SHAPES) | JSON, min_size=1, max_size=4))
def test_anything_may_come(wires: list[Any]) -> None:
    assert_total("vellum", wires, LOGS["recorded"])


def test_what_is_remembered_is_bounded() -> None:
    store = StreamStore()
    stream = store.open("vellum")
    for number in range(2000):
        at = {"messageId": f"m{number}", "blockIndex": 0, "toolUseId": f"t{number}"}
        stream.ingest({"type": "message_open", "conversationId": "c1", **at, "role": "assistant"})
        stream.ingest({"type": "tool_use_start", "conversationId": "c1", **at, "toolName": "x",
                       "input": {}})  # fmt: skip
    memory = store.save()["memory"]["vellum"]["c1"]
    assert {name: len(memory[name]) for name in ("open", "inputs")} == {"open": 256, "inputs": 256}
