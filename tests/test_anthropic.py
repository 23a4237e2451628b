"""The Anthropic adapter: recorded responses against the SDK's own messages, replays, hostile input.

What the SDK made of each response is recorded beside it (`tests/data/anthropic/README.md`). With
`STREAMSTORE_CORPORA` set, or a folder of corpora beside the checkout, the long ones are read too.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import recordings
from hypothesis import given
from hypothesis import strategies as st
from jiter import from_json
from recordings import Case, containers, folders, plain_json

from streamstore import ChangeSet, PartKey, StreamStore
from streamstore.adapters.anthropic import AnthropicAdapter
from streamstore.adapters.anthropic import adapter as anthropic
from streamstore.adapters.anthropic.partial import finite
from streamstore.adapters.base import Context
from streamstore.errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from streamstore.events import BlockDelta, Event, MessageOpened, ToolResult, encode_event
from streamstore.model import thaw
from streamstore.protocols import detect

Wire = dict[str, Any]

LONG = ("long-text-20k", "long-tool-input-3k")
NAMES = list(folders("anthropic"))
SHORT = [name for name in NAMES if name not in LONG]


def case_of(name: str) -> Case:
    return recordings.case_of("anthropic", name)


def final_of(case: Case) -> list[Wire]:
    """What `encode` has to give: a list, as one stream may hold several responses."""
    snapshot = case.expected["snapshot"]
    return [] if snapshot is None else [snapshot]


each_case = pytest.mark.parametrize("name", NAMES)
each_short_case = pytest.mark.parametrize("name", SHORT)
each_policy = pytest.mark.parametrize("policy", ["lenient", "strict"])


def opened(policy: Any = "lenient", **options: Any) -> tuple[StreamStore, Any]:
    store = StreamStore("anthropic", **options)
    return store, store.open("anthropic", session_id="s", policy=policy)


def encoded(store: StreamStore) -> list[Wire]:
    store.flush()
    found: list[Wire] = plain_json(AnthropicAdapter(Context()).encode(store))
    return found


def without_counts(store: StreamStore) -> Wire:
    state = store.state()
    del state["counts"]
    return state


# --- wire objects ---------------------------------------------------------------------------------


def start(id: Any = "msg_1", **members: Any) -> Wire:
    message = {
        "id": id,
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "m",
        "stop_reason": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
        **members,
    }
    return {"type": "message_start", "message": message}


def block(index: int = 0, type: str = "text", **members: Any) -> Wire:
    members = {"text": "", **members} if type == "text" else members
    wire = {"type": type, **members}
    return {"type": "content_block_start", "index": index, "content_block": wire}


def delta(index: int, type: str, **members: Any) -> Wire:
    return {
        "type": "content_block_delta",
        "index": index,
        "delta": {"type": f"{type}_delta", **members},
    }


def text(value: str, index: int = 0) -> Wire:
    return delta(index, "text", text=value)


def json_of(value: str, index: int = 0) -> Wire:
    return delta(index, "input_json", partial_json=value)


def tool(index: int = 0, type: str = "tool_use", id: str = "toolu_1", **members: Any) -> Wire:
    return block(index, type, **{"id": id, "name": "read", "input": {}, **members})


def stop(index: int = 0) -> Wire:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str = "end_turn", **usage: Any) -> list[Wire]:
    news = {"stop_reason": reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": news, "usage": {"output_tokens": 9, **usage}},
        {"type": "message_stop"},
    ]


HELLO = [start(), block(), text("Hel"), text("lo"), text(" world"), stop(), *ended()]


def fed(*wires: Wire, policy: Any = "lenient") -> StreamStore:
    store, stream = opened(policy)
    stream.ingest_many(copy.deepcopy(list(wires)))
    return store


def texts(store: StreamStore, message_id: str = "msg_1") -> list[str]:
    return [part.text for part in store.parts("s", message_id)]


def tool_of(store: StreamStore, index: int = 0, message_id: str = "msg_1") -> Any:
    part = store.part("s", message_id, index)
    assert part is not None and part.tool is not None
    return part.tool


# --- recorded responses ---------------------------------------------------------------------------

#: Where a strict stream stops in the middle (`test_oracles.py` says in what they differ).
STOPPED = ("tool-use-invalid-json",)

SOUND = [name for name in SHORT if name not in STOPPED]


def test_no_case_is_lost() -> None:
    assert len(SHORT) == 34
    assert NAMES == SHORT or len(NAMES) == 36
    for name in NAMES:
        assert len(case_of(name).events) == case_of(name).expected["wire_events"]
        points = case_of(name).expected["checkpoints"]
        assert len(points) >= (0 if name.startswith("long") or name == "error-first" else 2)


@each_short_case
def test_a_stream_is_recognised_by_its_first_event(name: str) -> None:
    case = case_of(name)
    assert detect(case.events[0]) is AnthropicAdapter
    store = StreamStore()
    store.feed(case.raw)
    (stream,) = store._streams
    assert stream.protocol == "anthropic"


@each_case
def test_every_event_of_a_response_is_accepted(name: str) -> None:
    store, stream = opened()
    stream.feed(case_of(name).raw)
    verdicts = dict(store.health.counts["verdicts"])
    assert verdicts.pop("unknown:future_event", 0) == (name == "unknown-event-type")
    assert set(verdicts) == {"accepted"}


@each_short_case
def test_how_a_response_ended(name: str) -> None:
    case = case_of(name)
    store, stream = opened()
    stream.feed(case.raw)
    stream.end()
    last = case.events[-1]["type"]
    statuses = {"message_stop": "completed", "error": "error"}
    for message in store.messages("s"):
        assert message.status == statuses.get(last, "open")
    session = store.session("s")
    assert session is not None
    if last == "error":
        (error,) = session.errors
        body = case.expected["error"]["body"]
        assert (error["name"], error["message"]) == (
            body["error"]["type"],
            body["error"]["message"],
        )
        assert error["data"] == body
        assert all(message.error == error for message in store.messages("s"))
    else:
        assert session.errors == ()


def final_texts(case: Case) -> dict[tuple[int, str], str]:
    """What each text became, by block and field: the deltas added up."""
    found: dict[tuple[int, str], str] = {}
    members = {"text": "text", "thinking": "text", "partial_json": "input"}
    for wire in case.events:
        if wire["type"] == "content_block_delta":
            for member, field in members.items():
                if member in wire["delta"]:
                    key = wire["index"], field
                    found[key] = found.get(key, "") + wire["delta"][member]
    return found


class Watcher:
    """Hears every tick and holds it against the final texts."""

    def __init__(self, store: StreamStore, final: dict[tuple[int, str], str]) -> None:
        self.store, self.final = store, final
        self.texts: dict[tuple[PartKey, str], str] = {}
        self.rewritten = 0
        store.subscribe(self.hear)

    def hear(self, changes: ChangeSet) -> None:
        for (key, field), edit in changes.text.items():
            before = self.texts.get((key, field), "")
            assert edit.start <= len(before)
            assert edit.rewritten == (edit.start < len(before))
            self.rewritten += edit.rewritten
            now = self.texts[key, field] = before[: edit.start] + edit.text
            part = self.store.part(*key)
            assert part is not None
            assert part.field_text(field) == now
            assert self.final[int(key.block_index), field].startswith(now)


@each_short_case
@pytest.mark.parametrize("delivery", ["streaming", "buffered"])
def test_what_is_shown_is_always_the_start_of_the_final_text(name: str, delivery: Any) -> None:
    case = case_of(name)
    store, stream = opened(ticks="each", delivery=delivery)
    final = final_texts(case)
    if name == "sdk-fixture-compaction":  # its text is assigned
        final[0, "text"] = final_of(case)[0]["content"][0]["content"]
    watcher = Watcher(store, final)
    for wire in case.events:
        stream.ingest(wire)
    stream.end()
    store.flush()
    assert watcher.rewritten == 0
    shown = {(int(key.block_index), field): text for (key, field), text in watcher.texts.items()}
    assert shown == {key: value for key, value in final.items() if value}


@each_short_case
@each_policy
def test_a_saved_state_and_the_tail_are_the_full_replay(name: str, policy: Any) -> None:
    case = case_of(name)
    full, stream = opened(policy)
    stream.ingest_many(case.events)
    full.flush()
    number = len(case.events)
    if name in STOPPED and policy == "strict":
        # Behind the fault there is nothing to go on with: a saved state does not say "stopped".
        number = case.expected["error"]["at_wire_event"]
    cuts = {0, 1, 2, 3, number // 4, number // 2, number * 3 // 4, number - 1, number}
    for at in sorted(cut for cut in cuts if cut <= number):
        store, stream = opened(policy)
        stream.ingest_many(case.events[:at])
        loaded = StreamStore.load(json.loads(json.dumps(store.save())))
        stream = loaded.open("anthropic", session_id="s", policy=policy)
        assert stream.position.events == at
        stream.ingest_many(case.events[at:])
        loaded.flush()
        assert without_counts(loaded) == without_counts(full)
        assert encoded(loaded) == encoded(full)
        verdicts = loaded.health.counts["verdicts"]
        assert sum(verdicts.values()) == sum(full.health.counts["verdicts"].values())


@each_short_case
@each_policy
def test_the_short_way_of_a_delta_agrees_with_the_long_one(
    name: str, policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(name)
    states = []
    for short in (True, False):
        if not short:
            monkeypatch.setattr(AnthropicAdapter, "plain", lambda self, wire: None)
        store, stream = opened(policy)
        stream.feed(case.raw)
        stream.end()
        states.append(store.state())
    assert states[0] == states[1]


def test_plain_deltas_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = AnthropicAdapter.decode

    def counted(self: AnthropicAdapter, wire: Any) -> Any:
        decoded.append(wire["type"])
        return decode(self, wire)

    monkeypatch.setattr(AnthropicAdapter, "decode", counted)
    for name in ("text-basic", "thinking-signature", "blocks-open-interleaved"):
        decoded.clear()
        events = case_of(name).events
        _, stream = opened()
        stream.ingest_many(events)
        plain = [wire for wire in events if wire.get("delta", {}).keys() & {"text", "thinking"}]
        inputs = [wire for wire in events if "partial_json" in wire.get("delta", {})]
        # The first one of a tool's input takes the long way.
        first = {wire["index"] for wire in inputs}
        assert len(decoded) == len(events) - len(plain) - len(inputs) + len(first)


@pytest.mark.parametrize(
    "wire",
    [
        text("x", index=1),
        {**text("x"), "index": False},
        {**text("x"), "index": 0.0},
        {**text("x"), "index": [0]},
        delta(0, "text", text=None),
        delta(0, "thinking", thinking="x"),
        {"type": "content_block_delta", "index": 0},
        {"type": "content_block_delta", "index": 0, "delta": []},
        {"type": "ping"},
        {},
        [],
        None,
        "text",
    ],
)
def test_the_short_way_takes_nothing_else(wire: Any) -> None:
    adapter = AnthropicAdapter(Context())
    for event in (start(), block()):
        adapter.decode(event)
    found = adapter.plain(text("x"))
    assert found is not None and found == (PartKey("main", "msg_1", 0), "x", None)
    before = copy.deepcopy(adapter._own)
    try:
        assert adapter.plain(wire) is None
    except (KeyError, TypeError, AttributeError):
        pass
    assert adapter._own == before


# --- several responses, and the same one again ----------------------------------------------------


def test_a_response_on_a_new_stream_is_the_next_message() -> None:
    store = StreamStore("anthropic")
    for number, id in enumerate(("msg_b", "msg_a", "msg_c")):
        stream = store.open("anthropic", session_id="s")
        stream.ingest_many([start(id), block(), text(f"answer {number}"), stop(), *ended()])
        stream.end()
    assert [message.id for message in store.messages("s")] == ["msg_b", "msg_a", "msg_c"]
    assert [texts(store, id) for id in ("msg_b", "msg_a")] == [["answer 0"], ["answer 1"]]
    assert [message["id"] for message in encoded(store)] == ["msg_b", "msg_a", "msg_c"]


@each_policy
def test_responses_may_follow_each_other_on_one_stream(policy: Any) -> None:
    names = ["text-basic", "tool-use", "thinking-signature", "server-tool-web-search"]
    store, stream = opened(policy)
    for name in names:
        stream.feed(case_of(name).raw)
    assert encoded(store) == [final_of(case_of(name))[0] for name in names]


def test_sessions_do_not_share_a_message_id() -> None:
    store = StreamStore("anthropic")
    for session_id in ("one", "two"):
        stream = store.open("anthropic", session_id=session_id)
        stream.ingest_many(HELLO)
    assert [store.parts(name, "msg_1")[0].text for name in ("one", "two")] == ["Hello world"] * 2
    assert len(encoded(store)) == 2


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("same_stream", [False, True])
def test_a_full_replay_doubles_nothing(name: str, same_stream: bool) -> None:
    case = case_of(name)
    store, stream = opened()
    stream.ingest_many(case.events)
    before = without_counts(store)
    if not same_stream:
        stream.end()
        stream = store.open("anthropic", session_id="s")
    store.flush()
    changes = store.pull(store.version)
    version = store.version
    stream.ingest_many(copy.deepcopy(case.events))
    store.flush()
    changes = store.pull(version)
    assert encoded(store) == final_of(case)
    assert not changes.text, "the same text again is no change"
    assert not changes.added and not changes.removed
    state = without_counts(store)
    if name == "error-first":  # of no response: it was said twice
        assert len(state["sessions"]["s"].pop("errors")) == 2
        assert len(before["sessions"]["s"].pop("errors")) == 1
    if same_stream:
        assert state == before


@pytest.mark.parametrize("name", SOUND)
def test_a_replay_after_a_drop_rebuilds_the_texts(name: str) -> None:
    """The old parts stay shown until the replay's first block comes, then it grows again."""
    case = case_of(name)
    store, stream = opened()
    stream.ingest_many(case.events[: len(case.events) * 2 // 3])
    shown = [texts(store, message.id) for message in store.messages("s")]
    stream.end()
    stream = store.open("anthropic", session_id="s")
    stream.ingest_many(case.events[:1])
    assert [texts(store, message.id) for message in store.messages("s")] == shown
    for wire in case.events[1:]:
        stream.ingest(wire)
        store.flush()
    assert encoded(store) == final_of(case)
    cut = case.events[-1]["type"] not in ("message_stop", "error")
    assert cut or store.health.gaps == ()


def test_a_cut_text_is_gapped_until_it_is_replayed() -> None:
    store, stream = opened()
    stream.ingest_many(HELLO[:4])
    stream.end()
    assert [gap.reason for gap in store.health.gaps] == ["cut"]
    part = store.part("s", "msg_1", 0)
    assert part is not None and part.gap and part.text == "Hello"
    store.open("anthropic", session_id="s").ingest_many(HELLO)
    part = store.part("s", "msg_1", 0)
    assert part is not None and not part.gap and part.text == "Hello world"
    assert store.health.gaps == ()


def test_the_newest_delivery_of_a_response_wins() -> None:
    """Two live connections send the same response: what the older one sends is a duplicate."""
    store = StreamStore("anthropic")
    old, new = (store.open("anthropic", session_id="s") for _ in range(2))
    old.ingest_many(HELLO[:4])
    new.ingest_many(HELLO[:3])
    assert texts(store) == ["Hel"]
    for wire in HELLO[4:]:
        assert old.ingest(wire).kind == "duplicate"
    new.ingest_many(HELLO[3:])
    assert texts(store) == ["Hello world"]
    assert encoded(store) == encoded(fed(*HELLO))
    # The older stream is free for the next response.
    old.ingest_many([start("msg_2"), block(), text("next")])
    assert texts(store, "msg_2") == ["next"]


def test_a_shorter_response_of_the_same_id_leaves_nothing_behind() -> None:
    store = fed(start(), block(), text("one"), stop(), block(1), text("two"), stop(1), *ended())
    store.open("anthropic", session_id="s").ingest_many(HELLO)
    assert texts(store) == ["Hello world"]


def test_a_replay_keeps_the_place_of_its_message() -> None:
    store, stream = opened()
    for id in ("msg_1", "msg_2", "msg_1"):
        stream.ingest_many([start(id), *HELLO[1:]])
    assert [message.id for message in store.messages("s")] == ["msg_1", "msg_2"]


def whole(*content: Wire, id: Any = "msg_1") -> Wire:
    message: Wire = start(id)["message"]
    return {**message, "content": list(content), "stop_reason": "end_turn"}


@each_short_case
def test_a_whole_message_is_taken_in_and_given_back(name: str) -> None:
    """As a request without streaming gives it; also in the place of a streamed one."""
    for message in final_of(case_of(name)):
        store = fed(message)
        assert encoded(store) == [message]
        assert [found.status for found in store.messages("s")] == ["completed"]
        assert {part.status for part in store.parts("s", message["id"])} <= {"closed"}
        store, stream = opened()
        stream.ingest_many(case_of(name).events[:9])
        stream.ingest(message)
        stream.ingest_many(case_of(name).events[9:])
        assert encoded(store) == [message]


def test_a_tool_call_of_a_whole_message_has_its_input_and_result() -> None:
    call = {"type": "server_tool_use", "id": "srv_1", "name": "search", "input": {"q": 1}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"url": "u"}]}
    mine = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}}
    store = fed(whole(call, found, mine))
    server, client = tool_of(store, 0), tool_of(store, 2)
    assert (server.name, server.call_id, server.status) == ("search", "srv_1", "completed")
    assert (server.input, server.output) == ({"q": 1}, [{"url": "u"}])
    assert (client.status, client.input, client.output) == ("pending", {"path": "a"}, None)


def test_only_so_many_responses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anthropic, "_RESPONSES", 3)
    context = Context()
    adapter = AnthropicAdapter(context)
    for number in range(10):
        adapter.decode(start(f"msg_{number}"))
    assert list(context.of_session()["responses"]) == ["msg_7", "msg_8", "msg_9"]
    # One that is forgotten is rebuilt all the same; only its place is lost.
    store, stream = opened()
    for number in (1, 2, 3, 4, 1):
        stream.ingest_many([start(f"msg_{number}"), *HELLO[1:]])
    assert texts(store, "msg_1") == ["Hello world"]


def test_memory_does_not_grow_with_the_deltas() -> None:
    for strict in (False, True):
        context = Context(strict=strict)
        adapter = AnthropicAdapter(context)
        for wire in (start(), block(), tool(1), json_of('{"a": "', 1), text("x")):
            adapter.decode(wire)
        before = len(json.dumps([context.own, context.shared]))
        for _ in range(500):
            adapter.decode(text("some text"))
            adapter.decode(json_of("some text", 1))
        assert len(json.dumps([context.own, context.shared])) == before


# --- what a frontend reads ------------------------------------------------------------------------


def test_kinds_of_parts() -> None:
    store = fed(
        start(),
        block(0, "thinking", thinking="", signature=""),
        block(1, "redacted_thinking", data="x"),
        block(2),
        tool(3),
        tool(4, "mcp_tool_use", id="mcp_1", server_name="w"),
        block(5, "mcp_tool_result", tool_use_id="mcp_1", is_error=False, content=[]),
        block(6, "compaction", content=None),
        block(7, "fallback", to={"model": "other"}),
        block(8, "container_upload", file_id="f"),
    )
    parts = store.parts("s", "msg_1")
    assert [part.kind for part in parts] == [
        "reasoning", "reasoning", "text", "tool", "tool", "data", "compaction", "unknown",
        "unknown",
    ]  # fmt: skip
    assert [part.fields.get("originalKind") for part in parts[-2:]] == [
        "fallback",
        "container_upload",
    ]
    message = store.message("s", "msg_1")
    assert message is not None and message.info["model"] == "other"


def test_a_tool_call_from_its_start_to_its_result() -> None:
    store, stream = opened()
    stream.ingest_many([start(), tool(type="server_tool_use", id="srv_1")])
    assert (tool_of(store).name, tool_of(store).call_id) == ("read", "srv_1")
    assert (tool_of(store).status, tool_of(store).input) == ("pending", None)
    stream.ingest_many([json_of(""), json_of('{"q": '), json_of("1}")])
    part = store.part("s", "msg_1", 0)
    assert part is not None and part.field_text("input") == '{"q": 1}'
    stream.ingest_many([stop()])
    assert tool_of(store).status == "running"
    stream.ingest_many([block(1, "web_search_tool_result", tool_use_id="srv_1", content=["r"])])
    assert (tool_of(store).status, tool_of(store).output) == ("completed", ["r"])
    assert encoded(store)[0]["content"] == [
        {"type": "server_tool_use", "id": "srv_1", "name": "read", "input": {"q": 1}},
        {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": ["r"]},
    ]


@pytest.mark.parametrize(
    "result",
    [
        {"content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}},
        {"content": [{"type": "text", "text": "no"}], "is_error": True},
    ],
)
def test_a_result_that_is_an_error(result: Wire) -> None:
    call = tool(type="server_tool_use", id="srv_1")
    store = fed(start(), call, stop(), block(1, "any_tool_result", tool_use_id="srv_1", **result))
    assert (tool_of(store).status, tool_of(store).error) == ("error", result["content"])


def test_a_result_may_come_in_another_response() -> None:
    """`pause_turn`: the server's tool is called in one message and answers in the next."""
    call = tool(type="server_tool_use", id="srv_1")
    store, stream = opened()
    stream.ingest_many([start(), call, stop(), *ended("pause_turn")])
    stream.ingest_many([start("msg_2"), block(0, "x_tool_result", tool_use_id="srv_1", content=1)])
    assert (tool_of(store).status, tool_of(store).output) == ("completed", 1)
    # And before its call is known it waits.
    store = fed(whole({"type": "x_tool_result", "tool_use_id": "srv_1", "content": 1}, id="msg_2"))
    store.open("anthropic", session_id="s").ingest_many([start(), call])
    assert (tool_of(store).status, tool_of(store).output) == ("completed", 1)


@pytest.mark.parametrize("kind", ["tool_use", "server_tool_use"])
def test_an_input_that_comes_whole_with_its_block_is_the_tools(kind: str) -> None:
    """Some servers that speak this protocol do not stream it."""
    store, stream = opened()
    result = block(1, "web_search_tool_result", tool_use_id="toolu_1", content=["r"])
    for wire in (start(), tool(type=kind, input={"q": 1}), stop(), result, *ended()):
        stream.ingest(wire)
        store.flush()
        found = store.part("s", "msg_1", 0)
        assert found is None or (found.tool is not None and found.tool.input == {"q": 1})
    assert found is not None and found.tool is not None
    assert (found.tool.status, found.tool.output) == ("completed", ["r"])


def test_a_clients_tool_waits_for_the_application() -> None:
    store = fed(start(), tool(), json_of("{}"), stop(), *ended("tool_use"))
    assert tool_of(store).status == "pending"
    result = {"state": {"status": "completed", "output": "done"}}
    store.apply(ToolResult(session_id="s", call_id="toolu_1", fields=result))
    store.flush()
    assert (tool_of(store).status, tool_of(store).output) == ("completed", "done")
    assert encoded(store)[0]["content"][0]["input"] == {}


def test_a_tool_of_a_failed_response_reads_as_error() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    store = fed(start(), tool(), json_of('{"a'), error)
    assert tool_of(store).status == "error"
    message = store.message("s", "msg_1")
    assert message is not None and message.error["name"] == "overloaded_error"


def test_an_error_without_a_type_is_one_unless_the_stream_is_strict() -> None:
    """LiteLLM ends `/v1/messages` so, whatever failed: the answer was open, and nobody heard why."""
    error = {"message": "upstream broke", "type": "None", "param": "None", "code": "500"}
    store = fed(start(), tool(), json_of('{"a'), {"error": error})
    message, session = store.message("s", "msg_1"), store.session("s")
    assert message is not None and session is not None
    assert (message.status, tool_of(store).status) == ("error", "error")
    assert [told["message"] for told in session.errors] == ["upstream broke"]
    for wire in ({"error": error}, {"error": None}, {"error": {}}, {}):
        with pytest.raises(MalformedEvent, match="type: is missing"):
            AnthropicAdapter(Context(strict=bool(wire.get("error")))).decode(wire)


def test_an_error_after_a_response_is_not_the_responses() -> None:
    store = fed(*HELLO, {"type": "error", "error": "gone"})
    message, session = store.message("s", "msg_1"), store.session("s")
    assert message is not None and session is not None
    assert message.status == "completed"
    assert [(error["name"], error["message"]) for error in session.errors] == [("error", "gone")]


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("log", [HELLO[:3], HELLO])
def test_an_error_is_told_once_however_often_its_response_is_sent(
    log: list[Wire], saved: bool
) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    store = fed(*log, error)
    before = store.state()["sessions"]
    assert len(before["s"]["errors"]) == 1
    for cut in (len(log), 1, 2, len(log)):
        if saved:
            store = StreamStore.load(json.loads(json.dumps(store.save())))
        stream = store.open("anthropic", session_id="s")
        stream.ingest_many(copy.deepcopy([*log[:cut], error]))
        stream.end()
    assert store.state()["sessions"] == before
    # In other words, twice in one delivery, of another response or of none it is another one.
    other = {"type": "error", "error": {"type": "api_error", "message": "Overloaded"}}
    for wires in ([*log, other, other], [start(id="msg_2"), error], [error]):
        store.open("anthropic", session_id="s").ingest_many(copy.deepcopy(wires))
    session = store.session("s")
    assert session is not None and len(session.errors) == 5


def test_usage_is_a_total_and_keeps_what_is_not_said_again() -> None:
    last, _ = ended(output_tokens=7, cache_read_input_tokens=None, input_tokens=10)
    store = fed(start(usage={"input_tokens": 3, "cache_read_input_tokens": 5}), last, last)
    (message,) = encoded(store)
    assert message["usage"] == {
        "input_tokens": 10,
        "cache_read_input_tokens": 5,
        "output_tokens": 7,
    }
    assert (message["stop_reason"], message["stop_details"]) == ("end_turn", None)


def test_citations_are_one_list_and_a_signature_is_assigned() -> None:
    store = fed(
        start(),
        block(0, citations=None),
        delta(0, "citations", citation={"n": 1}),
        text("a"),
        delta(0, "citations", citation={"n": 2}),
        block(1, "thinking", thinking="", signature=""),
        delta(1, "signature", signature="one"),
        delta(1, "signature", signature="two"),
    )
    first, second = store.parts("s", "msg_1")
    assert first.fields["citations"] == [{"n": 1}, {"n": 2}]
    assert (first.text, second.fields["signature"]) == ("a", "two")
    assert encoded(store)[0]["content"] == [
        {"type": "text", "text": "a", "citations": [{"n": 1}, {"n": 2}]},
        {"type": "thinking", "thinking": "", "signature": "two"},
    ]


def test_unknown_members_come_back() -> None:
    extra = {"x": [1], "status": "s", "kind": "k", "wire": {"type": 1}, "originalKind": 2}
    message = whole(
        {"type": "text", "text": "t", **extra},
        {"type": "thinking", "thinking": "t", "signature": "s", **extra},
        {"type": "tool_use", "id": "i", "name": "n", "input": [1], **extra},
        {"type": "compaction", "content": "c", "encrypted_content": None, **extra},
        {"type": "new_thing", "text": 7, **extra},
    )
    message.update(extra, time={"created": 5}, text="t")
    assert encoded(fed(message)) == [message]
    events = [start(**{**message, "content": []})]
    for index, wire in enumerate(message["content"]):
        events.append({"type": "content_block_start", "index": index, "content_block": wire})
    assert encoded(fed(*events)) == [{**message, "stop_reason": "end_turn"}]


def test_text_that_a_block_starts_with_is_shown() -> None:
    store = fed(start(), block(0, text="Hel"), text("lo"), block(1, text="a"))
    assert texts(store) == ["Hello", "a"]
    store = fed(start(content=[{"type": "text", "text": "Hel"}]), text("lo"), stop())
    assert texts(store) == ["Hello"]


def test_what_others_said_is_no_response() -> None:
    store = fed(*HELLO)
    store.apply(MessageOpened(session_id="s", message_id="mine", role="user", local=True))
    assert [message["id"] for message in encoded(store)] == ["msg_1"]


def test_half_a_character_waits_for_its_other_half() -> None:
    store, stream = opened(ticks="each")
    for wire in (start(), block(), text("a\ud83d")):
        stream.ingest(wire)
    assert texts(store) == ["a"]
    stream.ingest(text("\ude00b"))
    assert texts(store) == ["a\U0001f600b"]
    store = fed(start(), block(), text("a\ud83d"), *ended())
    assert texts(store) == ["a\ufffd"]
    assert AnthropicAdapter(Context()).encode(store)[0]["content"][0]["text"] == "a\ud83d"


# --- what is missing or does not fit --------------------------------------------------------------


def test_a_response_without_its_start_gets_an_id() -> None:
    store = fed(text("lo", 1), stop(1), block(2), text("x", 2), *ended())
    (message,) = store.messages("s")
    assert (message.id, message.role, message.status) == ("local-1", "assistant", "completed")
    first, second = store.parts("s", "local-1")
    assert (first.text, first.gap, second.text, second.gap) == ("lo", True, "x", False)
    (final,) = encoded(store)
    assert final["content"] == [{"type": "text", "text": "lo"}, {"type": "text", "text": "x"}]
    assert final["stop_reason"] == "end_turn"


def test_what_can_change_nothing_makes_no_message() -> None:
    store = fed(stop(), *ended(), {"type": "ping"})
    assert store.messages("s") == () and encoded(store) == []
    assert store.health.counts["verdicts"] == {"accepted": 4}


def test_a_block_after_the_end_is_of_a_response_that_lost_its_start() -> None:
    store = fed(*HELLO, block(), text("second"), *ended())
    assert [texts(store, message.id) for message in store.messages("s")] == [
        ["Hello world"],
        ["second"],
    ]


def test_an_id_that_is_missing_is_made_and_one_that_is_wrong_is_malformed() -> None:
    for id in (None, ""):
        store = fed(start(id), *HELLO[1:])
        assert texts(store, "local-1") == ["Hello world"]
        assert encoded(store)[0]["id"] == id
    store = fed(start(7))
    assert store.health.counts["verdicts"] == {"malformed:message.id": 1}


LATE = {
    "text": (text("a"), "text", block(), {"type": "text", "text": "a"}),
    "thinking": (
        delta(0, "thinking", thinking="a"),
        "reasoning",
        block(0, "thinking", thinking="", signature=""),
        {"type": "thinking", "thinking": "a"},
    ),
    "signature": (
        delta(0, "signature", signature="a"),
        "reasoning",
        block(0, "thinking", thinking="", signature=""),
        {"type": "thinking", "thinking": "", "signature": "a"},
    ),
    "citations": (
        delta(0, "citations", citation={"n": 1}),
        "text",
        block(citations=[{"n": 2}]),
        {"type": "text", "text": "", "citations": [{"n": 1}]},
    ),
    "input": (
        json_of('{"a": 1'),
        "tool",
        tool(),
        {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"a": 1}},
    ),
    "compaction": (
        delta(0, "compaction", content="a", encrypted_content="e"),
        "compaction",
        block(0, "compaction", content=None),
        {"type": "compaction", "content": "a", "encrypted_content": "e"},
    ),
}


@pytest.mark.parametrize(("wire", "kind", "opening", "final"), LATE.values(), ids=LATE.keys())
def test_a_delta_before_its_block_is_shown(
    wire: Wire, kind: str, opening: Wire, final: Wire
) -> None:
    store, stream = opened()
    stream.ingest_many([start(), wire])
    (part,) = store.parts("s", "msg_1")
    assert part.kind == kind
    assert part.gap == (
        "text" in wire["delta"] or wire["delta"]["type"] in ("thinking_delta", "input_json_delta")
    )
    (content,) = encoded(store)[0]["content"]
    assert content.items() <= final.items()
    stream.ingest_many([opening])  # fills in what was not known
    assert [part.kind for part in store.parts("s", "msg_1")] == [kind]
    assert encoded(store)[0]["content"] == [final]
    assert store.health.counts["verdicts"] == {"accepted": 3}


def test_a_block_that_starts_twice_keeps_its_text() -> None:
    again = [block(0, "thinking", thinking="", signature="")]
    store = fed(
        start(),
        *again,
        delta(0, "thinking", thinking="a"),
        delta(0, "signature", signature="s"),
        *again,
    )
    (content,) = encoded(store)[0]["content"]
    assert content == {"type": "thinking", "thinking": "a", "signature": "s"}
    # As another kind it is another block, also where the first one's stop did not come.
    store = fed(start(), block(), text("a"), tool(), json_of("{}"), text("b"), *ended())
    assert [(part.kind, part.text) for part in store.parts("s", "msg_1")] == [
        *(("text", "a"), ("tool", ""), ("text", "b"))
    ]
    assert tool_of(store, 1).call_id == "toolu_1"
    assert set(store.health.counts["verdicts"]) == {"accepted"}


THINKS = block(0, "thinking", thinking="", signature="")
ALL_ZERO = [  # what a proxy sends that gives every block the index 0
    *(start(), THINKS, delta(0, "thinking", thinking="a"), stop()),
    *(block(), text("b"), text("c"), stop()),
    *(tool(), json_of('{"n": 1}'), stop()),
    *(tool(id="toolu_2"), json_of('{"n": '), json_of("2}"), stop()),
    *(THINKS, delta(0, "thinking", thinking="d"), stop()),
    *ended(),
]


@pytest.mark.parametrize("cut", [None, *range(1, len(ALL_ZERO))])
def test_blocks_that_all_have_one_index_are_parts_of_their_own(cut: int | None) -> None:
    store, stream = opened()
    stream.ingest_many(ALL_ZERO[:cut])
    if cut is not None:  # a saved state goes on
        store = StreamStore.load(json.loads(json.dumps(store.save())))
        store.open("anthropic", session_id="s").ingest_many(ALL_ZERO[cut:])
    for _ in range(2):
        parts = [(part.kind, part.text) for part in store.parts("s", "msg_1")]
        assert parts == [
            *(("reasoning", "a"), ("text", "bc"), ("tool", ""), ("tool", ""), ("reasoning", "d"))
        ]
        assert [tool_of(store, n).call_id for n in (2, 3)] == ["toolu_1", "toolu_2"]
        content = encoded(store)[0]["content"]
        assert [content[n]["input"] for n in (2, 3)] == [{"n": 1}, {"n": 2}]
        assert all(part.status == "closed" for part in store.parts("s", "msg_1"))
        assert set(store.health.counts["verdicts"]) == {"accepted"}
        store.open("anthropic", session_id="s").ingest_many(ALL_ZERO)  # a replay, then the same


def test_an_index_of_its_own_behind_blocks_that_shared_one_is_another_block() -> None:
    wires = [*ALL_ZERO[:8], tool(1), json_of("{}", 1), stop(1), block(2), text("e", 2), text("f")]
    store = fed(*wires)
    parts = [(part.kind, part.text) for part in store.parts("s", "msg_1")]
    assert parts == [("reasoning", "a"), ("text", "bcf"), ("tool", ""), ("text", "e")]
    store = fed(*ALL_ZERO[:8], text("e", 1))  # its start is missing
    assert texts(store) == ["a", "bc", "e"]


def test_a_block_that_starts_again_behind_its_stop_is_the_same() -> None:
    store = fed(start(), block(), text("a"), stop(), block(), tool(1), stop(1), tool(1), text("b"))
    assert [part.kind for part in store.parts("s", "msg_1")] == ["text", "tool"]
    assert texts(store)[0] == "ab"


def test_there_is_no_place_behind_the_last_number() -> None:
    last = 2**63 - 1
    store = fed(start(), block(last), text("a", last), stop(last), tool(last))
    assert texts(store) == ["a"]
    assert store.health.counts["verdicts"]["refused:conflict"] == 1
    assert StreamStore.load(json.loads(json.dumps(store.save()))).parts("s", "msg_1")


def test_a_delta_that_does_not_fit_its_block_is_malformed_and_dropped_when_strict() -> None:
    events = [start(), block(), json_of("{"), delta(0, "signature", signature="x"), text("a")]
    store = fed(*events)
    assert store.health.counts["verdicts"] == {"accepted": 3, "malformed:delta.type": 2}
    assert texts(store) == ["a"]
    strict = fed(*events, policy="strict")
    assert strict.health.counts["verdicts"] == {"accepted": 5}
    assert encoded(strict) == encoded(store)


def test_an_empty_text_that_does_not_fit_its_block_is_no_block() -> None:
    """Gateways that fill each chunk up, also those behind a call."""
    events = [start(), tool(), text(""), json_of("{}"), delta(0, "thinking", thinking=""), stop()]
    store = fed(*events, block(1), text("a", 1), stop(1), *ended())
    parts = [(part.block_index, part.kind) for part in store.parts("s", "msg_1")]
    assert parts == [(0, "tool"), (1, "text")]
    assert set(store.health.counts["verdicts"]) == {"accepted"}


STRAYED = [  # what a proxy sends that opens a text before the thought has ended
    *(start(), block(), delta(0, "thinking", thinking="so"), text("Hi"), text(" you")),
    *(delta(0, "thinking", thinking="me"), delta(0, "signature", signature="s"), stop()),
    *(tool(1), delta(1, "thinking", thinking="x"), json_of("{}", 1), stop(1)),
    *(block(2), text("e", 2), stop(2), *ended()),
]


@pytest.mark.parametrize("cut", [None, *range(1, len(STRAYED))])
def test_text_that_does_not_fit_its_block_is_a_block_of_its_own(cut: int | None) -> None:
    """LiteLLM before vLLM, SGLang: a thought under the index of a text, which goes on behind it."""
    store, stream = opened()
    stream.ingest_many(STRAYED[:cut])
    if cut is not None:  # a saved state goes on
        store = StreamStore.load(json.loads(json.dumps(store.save())))
        store.open("anthropic", session_id="s").ingest_many(STRAYED[cut:])
    store.flush()
    assert [(part.kind, part.text, part.status) for part in store.parts("s", "msg_1")] == [
        ("text", "Hi you", "closed"),
        ("reasoning", "some", "closed"),
        ("tool", "", "closed"),
        ("reasoning", "x", "closed"),
        ("text", "e", "closed"),
    ]
    assert not any(part.gap for part in store.parts("s", "msg_1"))
    assert encoded(store)[0]["content"][1] == {
        **{"type": "thinking", "thinking": "some", "signature": "s"}
    }
    assert encoded(store)[0]["content"][2]["input"] == {}
    assert set(store.health.counts["verdicts"]) == {"accepted"}
    wires = [start(), THINKS, text("a"), stop(), block(1), text("b", 1), stop(1)]
    assert texts(fed(*wires)) == ["", "a", "b"]
    client = fed(*STRAYED[:8], policy="strict")  # the official client drops it
    assert [part.text for part in client.parts("s", "msg_1")] == ["Hi you"]


def test_unknown_types_are_counted_and_stop_nothing() -> None:
    events = [start(), block(), {"type": "new"}, delta(0, "new", text="x"), text("a")]
    for policy in ("lenient", "strict"):
        store = fed(*events, policy=policy)
        assert store.health.counts["verdicts"] == {
            "accepted": 3,
            "unknown:new": 1,
            "unknown:new_delta": 1,
        }
        assert texts(store) == ["a"]


STOPPING = {
    "a block before the message": ([], block()),
    "a delta before the message": ([], text("a")),
    "the end of a message that did not start": ([], ended()[1]),
    "a delta of a block that did not start": ([start(), block()], text("a", 1)),
    "the end of a block that did not start": ([start(), block()], stop(1)),
    "an event after an error": (
        [start(), block(), {"type": "error", "error": {"type": "api_error", "message": "m"}}],
        text("a"),
    ),
    "a tool input that is no JSON": ([start(), tool(), json_of("{")], json_of("]")),
    "a tool input with half a character": ([start(), tool(), json_of('{"')], json_of("\ud83d")),
    "a text that is none": ([start(), block(), text("a")], delta(0, "text", text=7)),
    "an end without usage": ([start()], {"type": "message_delta", "delta": {}}),
}


@pytest.mark.parametrize(("before", "wire"), STOPPING.values(), ids=STOPPING.keys())
def test_a_strict_stream_stops_where_the_sdk_raises(before: list[Wire], wire: Wire) -> None:
    store, stream = opened("strict")
    stream.ingest_many(before)
    expected = encoded(store)
    assert set(store.health.counts["verdicts"]) <= {"accepted"}
    assert stream.ingest(wire).kind in ("refused", "malformed")
    assert encoded(store) == expected
    for later in HELLO:
        assert stream.ingest(later)[:2] == ("refused", "stopped")
    assert encoded(store) == expected


def test_a_strict_stream_counts_blocks_as_the_sdk_does() -> None:
    """The client appends a block wherever its index says it belongs."""
    store = fed(start(), block(0), text("a"), block(0), block(7), text("c", 2), policy="strict")
    assert texts(store) == ["a", "", "c"]


# --- tool inputs ----------------------------------------------------------------------------------

INPUTS = {
    '{"a": 1}': {"a": 1},
    '{"a": 1, "b": "unfin': {"a": 1},
    '{"a": [1, {"b": 2': {"a": [1, {"b": 2}]},
    '{"a": 1, "b": tru': {"a": 1},
    '{"a": 1} and more': {"a": 1},
    '{"a": 1,, "b": 2}': {"a": 1},
    '{"a": NaN, "b": [1e999, 1]}': {"a": None, "b": [None, 1]},
    "12": 12,
    "": {},
    "  ": {},
    "]": {},
    '"unfin': {},
    "[" * 1000: json.loads("[" * 201 + "]" * 201),
    "[" * 300 + "]" * 300: json.loads("[" * 201 + "]" * 201),
    '{"a": "\\ud83d"}': {"a": "\ud83d"},
}


@pytest.mark.parametrize(("value", "expected"), INPUTS.items(), ids=[key[:30] for key in INPUTS])
def test_what_a_tool_input_says(value: str, expected: Any) -> None:
    store = fed(start(), tool(), json_of(value), stop(), *ended())
    (content,) = AnthropicAdapter(Context()).encode(store)[0]["content"]
    assert content["input"] == expected


JSONISH = st.lists(
    st.sampled_from(
        '{ } [ ] : , " \\ - . 0 1 23 e E + t true fals null N NaN Infinity -I x "a" "k": \\u \\ud83d '
        "\\ude00 \\u0041 \\n é \u2028 \x01 1.5e3 [1, {'".split(" ")
        + [" ", "\n", "\t"]
    ),
    max_size=14,
).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def pieces(draw: st.DrawFn) -> list[str]:
    """A JSON text, sound or not, cut somewhere."""
    value = draw(VALUES)
    whole = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1)))
    whole = whole.encode("utf-8", "replace").decode()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(whole)))
        whole = whole[:at] + draw(JSONISH) + whole[at + draw(st.integers(0, 1)) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@given(pieces())
def test_a_strict_stream_refuses_a_tool_input_at_the_delta_that_the_sdk_refuses(
    deltas: list[str],
) -> None:
    store, stream = opened("strict")
    stream.ingest_many([start(), tool()])
    buffer = b""
    for piece in deltas:
        buffer += piece.encode()
        if buffer:
            try:
                from_json(buffer, partial_mode=True)
            except ValueError:
                assert stream.ingest(json_of(piece)).kind == "refused"
                return
        assert stream.ingest(json_of(piece)).kind == "accepted"
    (content,) = encoded(store)[0]["content"]
    parsed = from_json(buffer, partial_mode=True) if buffer else {}
    assert json.dumps(content["input"]) == json.dumps(finite(parsed))


# --- hostile input --------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=4)
    | st.sampled_from(
        ["", "msg_1", "text", "tool_use", "text_delta", "\ud83d", "\ude00", "fallback"]
    )
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "index", "delta", "text", "id", "content", "usage", "message"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
EVENTS = [
    wire
    for name in SHORT
    for place, wire in enumerate(case_of(name).events)
    if place < 4
    or "delta" not in wire
    or wire["delta"].get("type") not in ("text_delta", "thinking_delta")
]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A recorded event with a member that is gone or is anything, or anything at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(ANYTHING)
    wire: Any = copy.deepcopy(draw(st.sampled_from(EVENTS)))
    at = wire
    for _ in range(draw(st.integers(0, 4))):
        inner = [value for value in containers(at) if value is not at and value]
        if inner:
            at = draw(st.sampled_from(inner))
    if not at or draw(st.integers(0, 3)) == 0:
        return wire
    names = sorted(at) if isinstance(at, dict) else list(range(len(at)))
    name = draw(st.sampled_from(names))
    if isinstance(at, dict) and draw(st.booleans()):
        del at[name]
    else:
        at[name] = draw(ANYTHING)
    return wire


@st.composite
def broken(draw: st.DrawFn) -> list[Any]:
    """The start of a recorded response, and then anything between its further events."""
    events = case_of(draw(st.sampled_from(SHORT))).events
    at = draw(st.integers(0, min(12, len(events))))
    wires: list[Any] = [*events[:at]]
    for wire in events[at : at + 6]:
        wires += draw(st.lists(mutated(), max_size=2))
        wires += [wire] * draw(st.integers(0, 2))
    return wires


@given(broken(), st.booleans())
def test_any_wire_object_gives_events_or_a_reason(wires: list[Any], strict: bool) -> None:
    context = Context(strict=strict)
    adapter = AnthropicAdapter(context)
    for wire in wires:
        AnthropicAdapter.detects(wire)
        given = copy.deepcopy(wire)
        before = copy.deepcopy((context.own, context.shared))
        found = None
        try:
            found = adapter.plain(wire)
        except (KeyError, TypeError, AttributeError):
            pass
        assert (context.own, context.shared) == before
        try:
            events = adapter.decode(wire)
        except (MalformedEvent, UnknownEvent, RepeatedEvent, ProtocolStopped) as error:
            assert found is None
            assert (context.own, context.shared) == before, error
            assert strict or not isinstance(error, ProtocolStopped)
            continue
        assert all(isinstance(event, Event) for event in events)
        for event in events:
            json.dumps(encode_event(event))
        if found is not None:
            (only,) = events
            assert isinstance(only, BlockDelta)
            field = () if only.field == "text" else (only.field,)
            key = (only.session_id, only.message_id, only.block_index, *field)
            assert found == (key, only.text, None)
        assert wire == given, "the wire object is not the adapter's"
        json.dumps(thaw(context.own))


@given(broken(), st.sampled_from(["lenient", "strict"]))
def test_a_store_survives_anything(wires: list[Any], policy: Any) -> None:
    stores = []
    for plain in (AnthropicAdapter.plain, lambda self, wire: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AnthropicAdapter, "plain", plain)
            store, stream = opened(policy)
            for wire in wires:
                stream.ingest(copy.deepcopy(wire))
        AnthropicAdapter(Context()).encode(store)
        stores.append(store)
    first, second = (store.state() for store in stores)
    assert first == second
    loaded = StreamStore.load(json.loads(json.dumps(stores[0].save())))
    loaded.flush()
    stores[0].flush()
    assert without_counts(loaded) == without_counts(stores[0])
    loaded.open("anthropic", session_id="s", policy=policy).ingest_many(copy.deepcopy(wires))


# --- telling protocols apart ----------------------------------------------------------------------

FOREIGN = [
    {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "x"},
    {"id": "evt_1", "type": "server.connected", "properties": {}},
    {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}},
    {"type": "error", "code": "e", "message": "m", "param": None, "sequence_number": 3},
    {"type": "error", "errorText": "x"},
    {"type": "error", "error": {"type": "server_error", "message": "m"}, "sequence_number": 3},
    {"type": "error", "error": "x"},
    {"id": "c", "object": "chat.completion.chunk", "choices": []},
    {"type": "start"},
    {"type": "text-delta", "id": "t", "delta": "x"},
    {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": []},
    {"type": "RUN_STARTED", "threadId": "t", "runId": "r"},
    {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x"},
    {"type": "ping"},
    {"type": "message_start"},
    {"type": []},
    {},
    None,
    [],
    "message_stop",
]


@pytest.mark.parametrize("wire", FOREIGN, ids=lambda wire: json.dumps(wire)[:40])
def test_what_may_be_of_another_protocol_is_not_claimed(wire: Any) -> None:
    assert not AnthropicAdapter.detects(wire)


def test_every_event_but_a_ping_is_recognised() -> None:
    for name in SHORT:
        for wire in case_of(name).events:
            known = wire["type"] not in ("ping", "future_event")
            assert AnthropicAdapter.detects(wire) == known
        assert all(map(AnthropicAdapter.detects, final_of(case_of(name))))
