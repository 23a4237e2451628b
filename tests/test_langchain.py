"""The LangChain adapter: chunks against their sum, a graph's event stream, the agent protocol.

What the package made of each stream is recorded beside it (`tests/data/langchain/README.md`).
"""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
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

from streamstore import PartKey, StreamStore
from streamstore.adapters.base import Context
from streamstore.adapters.langchain import LangChainAdapter
from streamstore.testing import LAWS

Wire = dict[str, Any]
PROTOCOL = "langchain"
DATA = Path(__file__).resolve().parent / "data" / PROTOCOL
NAMES = sorted(file.stem for file in DATA.glob("*.*") if file.suffix in (".jsonl", ".sse"))


def events_of(name: str) -> list[Any]:
    if not (DATA / f"{name}.sse").exists():
        return logged(PROTOCOL, f"{name}.jsonl")
    frames = (DATA / f"{name}.sse").read_bytes().decode().strip().split("\n\n")
    lines = [dict(line.split(": ", 1) for line in frame.split("\n")) for frame in frames]
    return [{"event": line["event"], "data": json.loads(line["data"])} for line in lines]


CASES = {name: events_of(name) for name in NAMES}
EVENTS = [wire for wires in CASES.values() for wire in wires]
each_case = pytest.mark.parametrize("name", NAMES)
each_policy = pytest.mark.parametrize("policy", ["lenient", "strict"])


def final_of(name: str) -> Any:
    return json.loads((DATA / f"{name}.messages.json").read_bytes())


def chunk(content: Any = "", id: str | None = "m1", **members: Any) -> Wire:
    return {"type": "AIMessageChunk", "content": content, "id": id, **members}


def tool(args: str | None, index: Any = 0, name: str | None = None, id: Any = None) -> Wire:
    return {"name": name, "args": args, "id": id, "index": index, "type": "tool_call_chunk"}


def agent(event: str, **members: Any) -> Wire:
    return {"event": event, **members}


def envelope(data: Wire, seq: int | None = None, *namespace: str, method: str = "messages") -> Wire:
    wire: Wire = {
        "type": "event",
        "method": method,
        "params": {"namespace": list(namespace), "data": data},
    }
    return wire if seq is None else {**wire, "seq": seq}


def opened(policy: Any = "lenient", **options: Any) -> tuple[StreamStore, Any]:
    store = StreamStore(**options)
    return store, store.open(PROTOCOL, session_id="s", policy=policy)


def fed(*wires: Any, policy: Any = "lenient") -> StreamStore:
    store, stream = opened(policy)
    stream.ingest_many(copy.deepcopy(list(wires)))
    store.flush()
    return store


def made(store: StreamStore) -> Any:
    store.flush()
    return encoded(store, PROTOCOL)


def texts(store: StreamStore) -> list[list[str]]:
    store.flush()
    return [[part.text for part in store.parts("s", message.id)] for message in store.messages("s")]


def agrees(found: Any, expected: Any) -> None:
    """Equal, where what the package leaves at its default may be left out."""
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        given = {name: value for name, value in mine.items() if value not in (None, [], {})}
        wanted = {name: value for name, value in theirs.items() if value not in (None, [], {})}
        for name in ("tool_calls", "invalid_tool_calls"):  # the order of their members is no matter
            given.setdefault(name, [])
            wanted.setdefault(name, [])
        assert given == wanted


# --- recorded streams -----------------------------------------------------------------------------


def test_no_case_is_lost() -> None:
    assert NAMES == [
        "agent-data",
        "agent-events",
        "chunks-anthropic",
        "chunks-constructor",
        "chunks-mixed-content",
        "chunks-openai",
        "chunks-reasoning-content",
        "graph",
        "graph-partial",
    ]


@each_case
@each_policy
def test_the_bytes_end_in_the_messages_of_the_package(name: str, policy: Any) -> None:
    file = next(DATA.glob(f"{name}.[js]s[eo]*"))
    store, stream = opened(policy)
    stream.feed(file.read_bytes())
    stream.end()
    agrees(made(store), final_of(name))
    assert verdicts(store) == {"accepted": len(CASES[name])}
    assert store.health.gaps == () or name == "chunks-mixed-content"  # it has no last chunk


@each_case
def test_what_is_shown_is_a_prefix_of_what_it_becomes(name: str) -> None:
    assert_every_tick_is_a_prefix(PROTOCOL, CASES[name])


@each_case
def test_chunks_do_not_show(name: str) -> None:
    assert_chunks_do_not_show(PROTOCOL, CASES[name])


@each_case
def test_saved_at_any_cut(name: str) -> None:
    assert_saves_resume(PROTOCOL, CASES[name])


@each_case
def test_no_law_is_broken(name: str) -> None:
    outcomes = assert_no_law_broken(CASES[name])
    assert set(outcomes) == set(LAWS)
    assert outcomes["L3"] == outcomes["L4"] == outcomes["L6"] == "kept"


def test_ours_are_recognised() -> None:
    assert_detection_is_sure(PROTOCOL)
    assert LangChainAdapter.detects([chunk(), {"langgraph_node": "agent"}])
    assert not LangChainAdapter.detects({"type": "ai", "content": "x"})
    assert not LangChainAdapter.detects({"event": "message-start"})


@each_case
@each_policy
def test_the_short_way_agrees_with_the_long_one(
    name: str, policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires = [*CASES[name], *CASES[name]]
    first = fed(*wires, policy=policy).state()
    monkeypatch.setattr(LangChainAdapter, "plain", lambda self, wire: None)
    assert fed(*wires, policy=policy).state() == first


@pytest.mark.parametrize("form", ["bare", "pair", "named"])
def test_plain_chunks_take_the_short_way(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    decode = LangChainAdapter.decode
    monkeypatch.setattr(
        LangChainAdapter, "decode", lambda self, wire: (decoded.append(wire), decode(self, wire))[1]
    )
    meta = {"langgraph_checkpoint_ns": "agent:1"}
    said = {"model_provider": "openai"}
    wires: list[Any] = [chunk(word, response_metadata=said) for word in ("a", "b", "c")]
    wires = wires if form == "bare" else [[wire, meta] for wire in wires]
    wires = wires if form != "named" else [{"event": "messages", "data": wire} for wire in wires]
    assert texts(fed(*wires)) == [["abc"]]
    assert len(decoded) == 1


def test_plain_deltas_of_the_agent_protocol_take_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    decode = LangChainAdapter.decode
    monkeypatch.setattr(
        LangChainAdapter, "decode", lambda self, wire: (decoded.append(wire), decode(self, wire))[1]
    )
    deltas = [
        agent("content-block-delta", index=0, delta={"type": "text-delta", "text": word})
        for word in ("a", "b", "c")
    ]
    started = agent("message-start", role="ai", id="m1")
    assert texts(fed(started, *deltas, started, *deltas)) == [["abc"]]
    assert decoded == [started, deltas[0], started, deltas[0]]


@pytest.mark.parametrize(
    "wire",
    [
        chunk("x", id="other"),
        chunk("x", id=None),
        chunk(""),
        chunk(["x"]),
        chunk("x", chunk_position="last"),
        chunk("x", usage_metadata={}),
        chunk("x", tool_call_chunks=[tool("")]),
        chunk("x", additional_kwargs={"a": 1}),
        chunk("x", response_metadata={"a": 1}),
        [chunk("x"), {"langgraph_checkpoint_ns": "agent:1"}],
        [chunk("x"), chunk("y")],
        [chunk("x")],
        {"event": "messages/partial", "data": [chunk("x"), {}]},
        {"event": "message-start"},
        {},
        [],
        None,
        "text",
    ],
)
def test_the_short_way_takes_nothing_else(wire: Any) -> None:
    adapter = LangChainAdapter(Context())
    adapter.decode(chunk("a"))
    found = adapter.plain(chunk("x"))
    assert found is not None and found == (PartKey("main", "m1", "content/0"), "x", None)
    try:
        assert adapter.plain(wire) is None
    except (KeyError, TypeError, AttributeError):
        pass


# --- messages -------------------------------------------------------------------------------------


def test_chunks_under_the_runs_id_belong_to_the_message_that_is_open() -> None:
    store = fed(chunk("a", id="msg_1"), chunk("b", id="lc_run--1"), chunk("c", id=None))
    assert texts(store) == [["abc"]]
    assert made(store)[0]["id"] == "msg_1"
    # The other way round the provider's id is the better one, though the message keeps its key.
    store = fed(chunk("a", id="lc_run--1"), chunk("b", id="msg_1"), chunk("c", id="lc_run--1"))
    assert texts(store) == [["abc"]]
    assert (made(store)[0]["id"], store.messages("s")[0].id) == ("msg_1", "lc_run--1")
    # Two ids of one sort are two messages, and so is what follows the last chunk.
    store = fed(chunk("a", id="msg_1"), chunk("b", id="msg_2"))
    assert texts(store) == [["a"], ["b"]]
    store = fed(chunk("a", id="msg_1", chunk_position="last"), chunk("b", id="lc_run--1"))
    assert texts(store) == [["a"], ["b"]]
    assert texts(fed(chunk("a", id=None), chunk("b", id=None))) == [["ab"]]


def test_messages_of_parallel_nodes_are_told_apart() -> None:
    one, two = ({"langgraph_checkpoint_ns": name} for name in ("one", "two"))
    store = fed(
        [chunk("a", id="msg_1"), one],
        [chunk("b", id="msg_2"), two],
        [chunk("c", id="lc_run--1"), one],
        [chunk("d", id="lc_run--2"), two],
        [chunk("e", id="lc_run--1"), one],
    )
    assert texts(store) == [["ace"], ["bd"]]


def test_a_final_message_takes_the_place_of_its_chunks() -> None:
    whole = {"type": "ai", "content": "abc!", "id": "lc_run--1", "tool_calls": []}
    store, stream = opened(ticks="each")
    stream.ingest_many([chunk("a", id="msg_1"), chunk("b", id="lc_run--1")])
    stream.ingest({"event": "messages/complete", "data": [whole]})
    assert texts(store) == [["abc!"]]
    assert store.messages("s")[0].status == "completed"


def test_a_tools_name_that_comes_with_each_chunk() -> None:
    chunks = [
        chunk(tool_call_chunks=[tool('{"a"', name="read", id="c1")]),
        chunk(tool_call_chunks=[tool(":1}", name="read", id="c1")]),
    ]
    (message,) = made(fed(*chunks))
    assert message["tool_calls"] == [
        {"name": "read", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    ]
    # As the package adds them up:
    (message,) = made(fed(*chunks, policy="strict"))
    assert message["tool_calls"][0]["name"] == "readread"


def test_a_tool_from_its_chunks_to_its_result() -> None:
    store, stream = opened(ticks="each")
    stream.ingest(chunk(tool_call_chunks=[tool('{"path": "a', name="read", id="c1")]))
    stream.ingest(chunk(tool_call_chunks=[tool(None, index=None, name="other", id="c2")]))
    first, second = store.parts("s", "m1")
    assert (first.tool and first.tool.status, first.field_text("input")) == (
        "pending",
        '{"path": "a',
    )
    assert second.fields["callId"] == "c2"
    stream.ingest(chunk(tool_call_chunks=[tool('"}')], chunk_position="last"))
    result = {"type": "tool", "content": "text", "tool_call_id": "c1", "id": "t1"}
    stream.ingest(result)
    stream.ingest({**result, "tool_call_id": "c2", "status": "error", "id": "t2"})
    first, second = store.parts("s", "m1")
    assert first.tool is not None and second.tool is not None
    assert (first.tool.status, first.tool.input, first.tool.output) == (
        "completed",
        {"path": "a"},
        "text",
    )
    assert (second.tool.status, second.tool.error) == ("error", "text")
    assert [message.role for message in store.messages("s")] == ["assistant", "tool", "tool"]


def test_what_cannot_be_added_up_stops_a_strict_stream() -> None:
    chunks = [chunk("a", response_metadata={"n": 1}), chunk("b", response_metadata={"n": "x"})]
    store, stream = opened("strict")
    assert [stream.ingest(wire).kind for wire in chunks] == ["accepted", "refused"]
    assert texts(store) == [["a"]]
    store = fed(*chunks)
    assert texts(store) == [["ab"]]
    assert made(store)[0]["response_metadata"] == {"n": "x"}


def test_events_of_a_graph_that_are_no_messages() -> None:
    store, stream = opened()
    for name, data in (("metadata", {"run_id": "r"}), ("custom", 1), ("debug", {}), ("tasks", [])):
        assert stream.ingest({"event": name, "data": data}).kind == "accepted"
    assert stream.ingest({"event": "new", "data": {}}).kind == "unknown"
    stream.ingest({"event": "values", "data": {"n": 1}})
    stream.ingest({"event": "values|sub:1", "data": {"n": 2}})
    stream.ingest(chunk("a"))
    stream.ingest({"event": "error", "data": {"error": "E", "message": "no"}})
    store.flush()
    session = store.session("s")
    assert session is not None and session.status is not None
    assert (session.status.type, session.state) == ("busy", {"n": 1})
    assert [(error["name"], error["message"]) for error in session.errors] == [("E", "no")]
    assert store.messages("s")[0].status == "error"
    gone = {"type": "remove", "content": "", "id": "m1"}
    stream.ingest({"event": "updates", "data": {"node": {"messages": [gone]}, "other": None}})
    stream.ingest({"event": "end", "data": None})
    assert texts(store) == []


def test_ids_of_the_event_stream_prove_nothing() -> None:
    frames = [f"id: 7\nevent: messages\ndata: {json.dumps([chunk('a'), {}])}\n\n"] * 2
    store, stream = opened()
    stream.feed("".join(frames).encode())
    assert texts(store) == [["aa"]]
    assert stream.position.event_id == "7"


def test_a_replay_of_chunks_is_a_resume_until_the_state_comes() -> None:
    wires = CASES["graph"]
    store, stream = opened()
    stream.ingest_many(wires[:8])
    stream.end()
    stream = store.open(PROTOCOL, session_id="s")
    stream.ingest_many(wires[2:8])
    assert texts(store)[1][0].count("Hel") == 2  # documented: it cannot be told from a resume
    stream.ingest_many(wires[8:])
    agrees(made(store), final_of("graph"))


# --- the agent protocol ---------------------------------------------------------------------------


def test_the_protocols_own_numbers_prove_a_replay() -> None:
    wires = CASES["agent-events"]
    once = shown(fed(*wires))
    store = StreamStore()
    for at, upto in ((0, 7), (0, 9), (5, len(wires))):
        stream = store.open(PROTOCOL, session_id="s")
        stream.ingest_many(wires[at:upto])
        stream.end()
    store.flush()
    assert store.health.counts["verdicts"]["duplicate"] == 6 + 4
    agrees(made(store), final_of("agent-events"))
    assert {part.text for part in store.parts("s", "run-9")} == {"let me", "one two", ""}
    assert len(once["sessions"]["s"]["messages"]) == len(store.messages("s"))


def test_a_message_without_numbers_that_starts_again_is_rebuilt() -> None:
    wires = CASES["agent-data"]
    store = fed(*wires[:4], *wires)
    agrees(made(store), final_of("agent-data"))


def test_namespaces_stream_side_by_side() -> None:
    def delta(text: str, *namespace: str) -> Wire:
        change = {"type": "text-delta", "text": text}
        return envelope(agent("content-block-delta", index=0, delta=change), None, *namespace)

    store = fed(
        envelope(agent("message-start", role="ai", id="a")),
        envelope(agent("message-start", role="ai", id="b"), None, "sub:1"),
        delta("one "),
        delta("two ", "sub:1"),
        delta("three"),
    )
    assert texts(store) == [["one three"], ["two "]]


def test_deltas_that_lost_their_start_and_older_ones() -> None:
    store = fed(
        agent("content-block-delta", index=0, delta={"type": "text-delta", "text": "a"}),
        agent("content-block-delta", index=1, delta={"type": "tool-call-delta", "args": "{"}),
        agent("content-block-delta", index=2, delta={"type": "reasoning-delta", "reasoning": "r"}),
        agent(
            "content-block-delta",
            index=3,
            delta={
                "type": "block-delta",
                "fields": {"type": "tool_call_chunk", "id": "c", "name": "f", "args": '{"a'},
            },
        ),
        agent(
            "content-block-delta",
            index=3,
            delta={
                "type": "block-delta",
                "fields": {"type": "tool_call_chunk", "args": '{"a": 1}'},
            },
        ),
    )
    parts = store.parts("s", "local-1")
    assert [part.kind for part in parts] == ["text", "tool", "reasoning", "tool"]
    assert [part.text for part in parts] == ["a", "", "r", ""]
    assert [part.field_text("input") for part in parts] == ["", "{", "", '{"a": 1}']
    assert parts[3].tool is not None and parts[3].tool.name == "f"


def test_a_run_around_the_messages() -> None:
    store, stream = opened()
    stream.ingest(envelope({"event": "started"}, 1, method="lifecycle"))
    stream.ingest(envelope({"event": "completed"}, 2, "sub:1", method="lifecycle"))
    asked = {"interrupt_id": "i1", "payload": {"q": 1}}
    stream.ingest(envelope(asked, 3, method="input.requested"))
    store.flush()
    session = store.session("s")
    assert session is not None and session.status is not None and session.status.type == "busy"
    assert session.questions["i1"].payload == {"payload": {"q": 1}}
    stream.ingest(envelope({"event": "failed", "error": "why"}, 4, method="lifecycle"))
    store.flush()
    session = store.session("s")
    assert session is not None and session.status is not None and session.status.type == "idle"
    assert session.errors[0]["message"] == "why"


# --- the package ----------------------------------------------------------------------------------

WHY = "langchain-core is no part of the dev extra: pip install langchain-core"


@pytest.mark.parametrize("seed", range(20))
def test_random_chunks_end_in_their_sum(seed: int) -> None:
    messages = pytest.importorskip("langchain_core.messages", reason=WHY)
    draw = random.Random(seed)
    total: Any = None
    store, stream = opened("strict")
    as_list = draw.random() < 0.5
    for number in range(25):
        word = draw.choice(["one ", "é", "\U0001f600", "\u2028", ""])
        index = draw.choice([0, 1, 2])
        content: Any = word
        if as_list and draw.random() < 0.7:
            kind = ("text", "reasoning", "text")[index]
            content = [{"type": kind, kind: word, "index": index}]
        chunk_ = messages.AIMessageChunk(
            content=content,
            id="msg_1" if number == 0 else draw.choice([None, "lc_run--1", "msg_1"]),
            # Not two of one index: those of a first chunk the package leaves alone.
            tool_call_chunks=[
                tool(draw.choice(["{", "}", None, '"a"']), index)
                for index in draw.choice([[], [], [0], [1], [0, 1]])
            ],
            response_metadata=draw.choice([{}, {"model_provider": "p"}, {"n": 2}, {"s": "x"}]),
            usage_metadata=draw.choice(
                [None, {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}]
            ),
        )
        total = chunk_ if total is None else total + chunk_
        assert stream.ingest(chunk_.model_dump()).kind == "accepted"
        (mine,) = made(store)
        theirs = total.model_dump()
        for name in ("content", "tool_call_chunks", "response_metadata", "usage_metadata", "id"):
            assert (mine.get(name) or None) == (theirs[name] or None), name


# --- hostile input --------------------------------------------------------------------------------


@given(st.lists(mutated(EVENTS) | JSON, max_size=5), st.integers(0, 12), st.sampled_from(NAMES))
def test_anything_is_events_or_a_reason(wires: list[Any], at: int, name: str) -> None:
    assert_total(PROTOCOL, wires, CASES[name][:at])


@given(st.lists(mutated(EVENTS), max_size=6), st.integers(0, 12), st.sampled_from(NAMES))
def test_the_short_way_agrees_on_anything(wires: list[Any], at: int, name: str) -> None:
    wires = [*CASES[name][:at], *wires, *CASES[name][at:]]
    states = []
    for plain in (LangChainAdapter.plain, lambda self, wire: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LangChainAdapter, "plain", plain)
            states.append(shown(fold(PROTOCOL, wires)))
    assert states[0] == states[1]


def test_memory_does_not_grow_with_the_deltas() -> None:
    context = Context()
    adapter = LangChainAdapter(context)
    wires = [
        chunk("some"),
        chunk(tool_call_chunks=[tool("some")]),
        chunk([{"type": "text", "text": "some", "index": 3}], additional_kwargs={}),
        chunk(additional_kwargs={"reasoning_content": "some"}),
    ]
    for wire in wires:
        adapter.decode(wire)
    before = len(json.dumps([context.own, context.shared]))
    for _ in range(100):
        for wire in wires[1:]:
            adapter.decode(wire)
    assert len(json.dumps([context.own, context.shared])) == before
    for number in range(600):
        adapter.decode(chunk("a", id=f"x{number}"))
    assert len(context.of_session()["messages"]) == 256
