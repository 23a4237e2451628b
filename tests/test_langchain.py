"""The LangChain adapter: chunks against their sum, a graph's event stream, the agent protocol.

What the package made of each stream is recorded beside it (`tests/data/langchain/README.md`).
"""

from __future__ import annotations

import copy
import itertools
import json
import random
from datetime import date
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
from streamstore.adapters.langchain.plain import ShortWay
from streamstore.errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from streamstore.events import BlockDelta, QuestionReplied
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
each_case = pytest.mark.parametrize("name", NAMES)
each_policy = pytest.mark.parametrize("policy", ["lenient", "strict"])


def final_of(name: str) -> Any:
    return json.loads((DATA / f"{name}.messages.json").read_bytes())


def chunk(content: Any = "", id: str | None = "m1", **members: Any) -> Wire:
    return {"type": "AIMessageChunk", "content": content, "id": id, **members}


def tool(args: str | None, index: Any = 0, name: str | None = None, id: Any = None) -> Wire:
    return {"name": name, "args": args, "id": id, "index": index, "type": "tool_call_chunk"}


def piece(member: str, text: Any, index: Any = 0, **members: Any) -> Wire:
    return {"type": member, member: text, "index": index, **members}


def thought(text: Any, content: Any = "", **members: Any) -> Wire:
    return chunk(content, additional_kwargs={"reasoning_content": text}, **members)


def reasoned(*items: Any, index: Any = 0, **members: Any) -> Wire:
    return {"type": "reasoning", "summary": list(items), "index": index, **members}


def summed(text: Any, index: Any = 0) -> Wire:
    return {"index": index, "type": "summary_text", "text": text}


def agent(event: str, **members: Any) -> Wire:
    return {"event": event, **members}


def delta(kind: str, text: Any, index: Any = 0) -> Wire:
    member = {"tool-call": "args"}.get(kind, kind)
    return agent("content-block-delta", index=index, delta={"type": f"{kind}-delta", member: text})


def traced(event: str, data: Wire, scope: str = "n:1", parents: Any = ("r0",)) -> Wire:
    metadata = {"langgraph_checkpoint_ns": scope}
    return {
        "event": event, "data": data, "run_id": "r1", "name": "n", "tags": [],
        "metadata": metadata, "parent_ids": list(parents),
    }  # fmt: skip


def streamed(chunk: Any, **members: Any) -> Wire:
    """A model's chunk as `astream_events` has it, without a graph around it."""
    return {**traced("on_chat_model_stream", {"chunk": chunk}), "metadata": {}, **members}


def envelope(data: Any, seq: int | None = None, *namespace: str, method: str = "messages") -> Wire:
    wire: Wire = {
        "type": "event",
        "method": method,
        "params": {"namespace": list(namespace), "data": data},
    }
    return wire if seq is None else {**wire, "seq": seq}


#: Reasoning as OpenAI's Responses stream it: the items of its summary with a part of the text each.
SUMMARIES = [
    chunk([], id="resp_1", response_metadata={"model_provider": "openai"}),
    *(
        chunk([block], id="lc_run--1")
        for block in (
            reasoned(id="rs_1"),
            reasoned(summed("")),
            *(reasoned(summed(text)) for text in ("**Think", "**", "\n", "\nfirst")),
            reasoned(summed("", 1)),
            *(reasoned(summed(text, 1)) for text in ("**Then** ", "\ud83d", "\ude00", "")),
            {"type": "reasoning", "encrypted_content": "gAAA", "index": 0},
            piece("text", "o", 1),
            piece("text", "ne", 1),
            # Items with nothing in them, with more in them, and two at once.
            reasoned(summed("mo"), index=2, id="rs_2"),
            reasoned(summed("re"), summed("", 1), index=2),
            reasoned({**summed("\n\nmu", 2), "n": 1}, index=2),
            reasoned({**summed("ch", 2), "n": 2}, index=2),
            reasoned(summed("more", 3), index=2),
            piece("text", "two", 3),
        )
    ),
    chunk("", id="lc_run--1", chunk_position="last"),
]
EVENTS = [wire for wires in (*CASES.values(), SUMMARIES) for wire in wires]


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


def texts(store: StreamStore, session_id: str = "s") -> list[list[str]]:
    store.flush()
    return [
        [part.text for part in store.parts(session_id, message.id)]
        for message in store.messages(session_id)
    ]


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
    monkeypatch.setattr(ShortWay, "plain", lambda self, wire: None)
    assert fed(*wires, policy=policy).state() == first


def decoded_by(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What takes the long way from here on."""
    decoded: list[Any] = []
    decode = LangChainAdapter.decode

    def noted(self: LangChainAdapter, wire: Any) -> Any:
        decoded.append(wire)
        return decode(self, wire)

    monkeypatch.setattr(LangChainAdapter, "decode", noted)
    return decoded


@pytest.mark.parametrize("form", ["bare", "pair", "named", "event"])
def test_plain_chunks_take_the_short_way(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = decoded_by(monkeypatch)
    said = {"model_provider": "openai"}
    wires: list[Any] = [chunk(word, response_metadata=said) for word in ("a", "b", "c")]
    wires = in_form(form, wires)
    assert texts(fed(*wires)) == [["abc"]]
    assert len(decoded) == 1


def in_form(form: str, wires: list[Any]) -> list[Any]:
    meta = {"langgraph_checkpoint_ns": "agent:1"}
    if form == "event":
        return [traced("on_chat_model_stream", {"chunk": wire}, "agent:1") for wire in wires]
    wires = wires if form == "bare" else [[wire, meta] for wire in wires]
    return wires if form != "named" else [{"event": "messages", "data": wire} for wire in wires]


@pytest.mark.parametrize("form", ["bare", "pair", "named", "event"])
def test_the_blocks_of_a_content_take_it_too(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = decoded_by(monkeypatch)
    said = {"model_provider": "anthropic"}
    blocks: list[list[Any]] = [
        [chunk([], id="msg_1", response_metadata=said)],
        # As most providers stream: all but the first chunk under the run's id.
        [chunk([piece("thinking", word)], id="lc_run--1") for word in "abcd"],
        [chunk([{"type": "thinking", "signature": "s", "index": 0}], id="lc_run--1")],
        [chunk([piece("text", word, 1)], id="lc_run--1", response_metadata=said) for word in "ab"],
        [chunk([piece("reasoning", word, "lc_rs_2", id="rs")], id="msg_1") for word in "abc"],
        [chunk([piece("text", word, 1)], id="msg_1") for word in "cd"],
        [chunk([piece("reasoning", "d", "lc_rs_2")], id="lc_run--1")],
    ]
    firsts = [in_form(form, block)[0] for block in blocks[:5]]
    store = fed(*in_form(form, [wire for block in blocks for wire in block]))
    assert texts(store) == [["abcd", "abcd", "abcd"]]
    assert [part.kind for part in store.parts("s", "msg_1")] == ["reasoning", "text", "reasoning"]
    assert decoded == firsts


@pytest.mark.parametrize("form", ["bare", "pair", "named", "event"])
def test_text_and_input_under_the_runs_id_take_it_too(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = decoded_by(monkeypatch)
    wires = [
        chunk("", id="msg_1"),
        *(chunk(word, id="lc_run--1") for word in "abc"),
        *(asked("", tool(word), id="lc_run--1") for word in "def"),
    ]
    wires = in_form(form, wires)
    store = fed(*wires)
    assert texts(store) == [["abc", ""]]
    assert store.parts("s", "msg_1")[1].field_text("input") == "def"
    assert decoded == [wires[0], wires[1], wires[4]]


@pytest.mark.parametrize("form", ["bare", "pair", "named", "event"])
def test_reasoning_beside_the_content_takes_it_too(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = decoded_by(monkeypatch)
    wires = in_form(
        form,
        [
            *(thought(word) for word in "abc"),
            *(chunk(word) for word in "def"),
            # Also behind the text, and with the calls that some providers repeat.
            chunk(additional_kwargs={"reasoning_content": "g", "tool_calls": [{}]}),
        ],
    )
    assert texts(fed(*wires)) == [["abcg", "def"]]
    assert decoded == [wires[0], wires[3]]


def test_plain_deltas_of_the_agent_protocol_take_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = decoded_by(monkeypatch)
    deltas = [
        agent("content-block-delta", index=0, delta={"type": "text-delta", "text": word})
        for word in ("a", "b", "c")
    ]
    started = agent("message-start", role="ai", id="m1")
    assert texts(fed(started, *deltas, started, *deltas)) == [["abc"]]
    assert decoded == [started, deltas[0], started, deltas[0]]


@pytest.mark.parametrize("form", ["bare", "pair", "named", "event"])
def test_plain_input_takes_the_short_way(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = decoded_by(monkeypatch)
    wires: list[Any] = [
        chunk("hello"),
        chunk(tool_call_chunks=[tool("", 0, "read", "c1")]),
        chunk(tool_call_chunks=[tool("{", 0)], tool_calls=[{"name": "", "args": {}}]),
        chunk(tool_call_chunks=[tool('"a"', 0)]),
        chunk(tool_call_chunks=[tool("{", 1, "write", "c2")]),
        # Some servers repeat the name and the id, and the call as the provider has it.
        chunk(tool_call_chunks=[tool('"b"', 1, "write", "c2")]),
        chunk(tool_call_chunks=[tool(":1", 0)], additional_kwargs={"tool_calls": [{"index": 0}]}),
        chunk(" there"),
        chunk(tool_call_chunks=[tool("}", 1)]),
    ]
    wires = in_form(form, wires)
    store = fed(*wires)
    assert texts(store) == [["hello there", "", ""]]
    inputs = [part.field_text("input") for part in store.parts("s", "m1")]
    assert inputs == ["", '{"a":1', '{"b"}']
    # A text that others came between goes on by the short way as well; a tool's first one is seen.
    assert decoded == [wires[0], wires[1], wires[2], wires[4]]


def test_other_deltas_of_the_agent_protocol_take_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = decoded_by(monkeypatch)
    before = [
        agent("message-start", role="ai", id="m1"),
        *(
            agent("content-block-start", index=index, content={"type": kind})
            for index, kind in enumerate(["tool_call_chunk", "tool_call_chunk", "image"])
        ),
    ]
    deltas = [
        agent("content-block-delta", index=index, delta={"type": f"{kind}-delta", member: "a"})
        for index, (kind, member) in enumerate(
            [("tool-call", "args"), ("tool-call", "args"), ("data", "data")]
        )
    ]
    store = fed(*before, *deltas, *deltas, *deltas)
    assert decoded == [*before, *deltas]
    parts = store.parts("s", "m1")
    assert [part.field_text(name) for part in parts for name in ("input", "data")] == [
        "aaa", "", "aaa", "", "", "aaa",
    ]  # fmt: skip
    # All of it so far, where the input has been streaming.
    whole = agent(
        "content-block-delta", index=0, delta={"type": "block-delta", "fields": {"args": "all"}}
    )
    store = fed(*before, *deltas, *deltas, whole, *deltas)
    assert [part.field_text("input") for part in store.parts("s", "m1")] == ["alla", "aaa", ""]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("namespace", [[], ["sub:1", "b"]])
@pytest.mark.parametrize("first", [1, None])
def test_deltas_in_their_envelope_take_it_too(
    named: bool, namespace: list[str], first: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = decoded_by(monkeypatch)
    kinds = ["reasoning", "text", "tool-call"]
    before = [
        agent("message-start", role="ai", id="m1"),
        *(
            agent("content-block-start", index=index, content={"type": kind})
            for index, kind in enumerate(["reasoning", "text", "tool_call_chunk"])
        ),
    ]
    deltas = [delta(kind, "a", index) for index, kind in enumerate(kinds)]
    wires: list[Any] = [
        envelope(data, None if first is None else first + number, *namespace)
        for number, data in enumerate([*before, *deltas, *deltas, *deltas])
    ]
    for number, wire in enumerate(wires):
        wire["params"]["timestamp"] = wire["event_id"] = number
    wires = [{"event": "messages", "data": wire} for wire in wires] if named else wires
    store, stream = opened()
    stream.ingest_many(wires)
    assert decoded == wires[: len(before) + len(deltas)]
    for again in ([], wires if first else []):  # all of it again, with its numbers
        assert {verdict.kind for _, verdict in stream.ingest_many(again)} <= {"duplicate"}
        store.flush()
        parts = store.parts("s", "m1")
        assert [(part.text, part.field_text("input")) for part in parts] == [
            ("aaa", ""), ("aaa", ""), ("", "aaa"),
        ]  # fmt: skip
    (known,) = store.save()["memory"][PROTOCOL]["s"]["messages"].values()
    assert known["seq"] == (len(wires) if first else -1)


def numbered(kind: str, text: Any, seq: Any, *namespace: str, index: Any = 0) -> Wire:
    return {**envelope(delta(kind, text, index), None, *namespace), "seq": seq}


def test_a_number_is_noted_once() -> None:
    context = Context()
    adapter = LangChainAdapter(context)
    adapter.decode(envelope(agent("message-start", role="ai", id="m1"), 1))
    adapter.decode(numbered("text", "a", 3))
    memory = context.of_session()["messages"]["m1"]
    found = (PartKey("main", "m1", 0), "b", None)
    for seq in (5, 6):
        wire = numbered("text", "b", seq)
        assert (adapter.plain(wire), memory["seq"]) == (found, seq)
        if seq == 6:  # it takes the long way after all
            (event,) = adapter.decode(wire)
            assert isinstance(event, BlockDelta) and event.text == "b"
            with pytest.raises(RepeatedEvent):
                adapter.decode(wire)
        # The same again, whatever the short way was shown before it.
        for other in (wire, None, {"event": "custom", "data": {}}):
            try:
                assert adapter.plain(other) is None
            except (KeyError, TypeError, AttributeError):
                pass
            with pytest.raises(RepeatedEvent):
                adapter.decode(wire)
            assert memory["seq"] == seq
    # What has no number changes none, and another stream may go on with it.
    assert (adapter.plain(envelope(delta("text", "b"))), memory["seq"]) == (found, 6)
    LangChainAdapter(Context(shared=context.shared)).decode(numbered("text", "c", 8))
    assert adapter.plain(numbered("text", "b", 8)) is None
    assert adapter.plain(numbered("text", "b", 9)) == found


def test_a_numbered_message_that_is_sent_again_lacks_nothing_wherever_it_was_cut() -> None:
    wires = CASES["agent-events"]

    def state(*connections: list[Wire]) -> Any:
        store = StreamStore()
        for sent in connections:
            stream = store.open(PROTOCOL)
            stream.ingest_many(sent)
            stream.end()
        found = store.state()
        return found["sessions"], found["gaps"]

    whole = state(wires)
    for cut in range(1, len(wires)):
        for start in range(cut + 1):
            assert state(wires[:cut], wires[start:]) == whole, (cut, start)


def test_the_end_of_a_call_brings_arguments_that_a_cut_has_cost() -> None:
    store = StreamStore()
    parts = [
        agent("message-start", role="ai", id="m1"),
        agent(
            "content-block-start",
            index=0,
            content={"type": "tool_call_chunk", "id": "c", "name": "read", "args": ""},
        ),
        *(
            agent("content-block-delta", index=0, delta={"type": "tool-call-delta", "args": args})
            for args in ('{"path"', ':"a"}')
        ),
        agent(
            "content-block-finish",
            index=0,
            content={"type": "tool_call", "id": "c", "name": "read", "args": {"path": "a"}},
        ),
    ]
    wires = [envelope(part, number) for number, part in enumerate(parts, start=1)]
    for sent in (wires[:3], wires[4:]):
        stream = store.open(PROTOCOL)
        stream.ingest_many(sent)
        stream.end()
    (part,) = store.parts("main", "m1")
    assert (part.field_text("input"), part.gap, part.status) == ('{"path": "a"}', False, "closed")


def test_a_numbered_delta_may_take_the_long_way_after_all() -> None:
    store, stream = opened()
    stream.ingest(envelope(agent("message-start", role="ai", id="m1"), 1))
    stream.ingest_many([numbered("text", word, seq) for seq, word in enumerate("ab", 2)])
    finish = agent("content-block-finish", index=0, content={"type": "text", "text": "ab"})
    stream.ingest(envelope(finish, 4))
    # The adapter takes it, but the text is whole. Its number is its message's all the same.
    assert stream.ingest(numbered("text", "c", 5)).reason == "sealed"
    assert stream.ingest(numbered("text", "c", 5)).kind == "duplicate"
    assert stream.ingest(numbered("text", "c", 6)).reason == "sealed"
    assert texts(store) == [["ab"]]


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
        chunk("x", tool_call_chunks=""),
        chunk("x", additional_kwargs={"a": 1}),
        chunk("x", additional_kwargs=[]),
        chunk("x", additional_kwargs=False),
        chunk("x", response_metadata={"a": 1}),
        chunk("x", response_metadata=[]),
        [chunk("x"), {"langgraph_checkpoint_ns": "agent:1"}],
        [chunk("x"), chunk("y")],
        [chunk("x")],
        {"event": "messages/partial", "data": [chunk("x"), {}]},
        streamed(chunk("x"), event="on_llm_stream"),
        streamed(chunk("x"), event="on_chat_model_end"),
        streamed(chunk("x"), event=["on_chat_model_stream"]),
        streamed(chunk("x"), type="event"),
        streamed(chunk("x"), type="messages", ns=[]),
        streamed(chunk("x"), metadata=None),
        streamed(chunk("x"), metadata=[]),
        streamed(chunk("x"), metadata={"langgraph_checkpoint_ns": "agent:1"}),
        streamed(chunk("x"), data=[chunk("x")]),
        streamed([chunk("x"), {}]),
        streamed((chunk("x"), {})),
        streamed({**chunk("x"), "type": "HumanMessageChunk"}),
        {name: value for name, value in streamed(chunk("x")).items() if name != "run_id"},
        {name: value for name, value in streamed(chunk("x")).items() if name != "metadata"},
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
    for short in (chunk("x"), streamed(chunk("x"))):
        found = adapter.plain(short)
        assert found is not None and found == (PartKey("main", "m1", "content/0"), "x", None)
    try:
        assert adapter.plain(wire) is None
    except (KeyError, TypeError, AttributeError):
        pass


def asked(content: Any = "", *tools: Any, **members: Any) -> Wire:
    return chunk(content, tool_call_chunks=list(tools), **members)


@pytest.mark.parametrize(
    "wire",
    [
        asked("", tool("x", 2)),
        asked("", tool("x", True)),
        asked("", tool("x", 0.0)),
        asked("", tool("x", None)),
        asked("", tool("")),
        asked("", tool(None)),
        asked("", {**tool("x"), "args": 5}),
        asked("", tool("x", id="other")),
        asked("", tool("x", id=["c1"])),
        asked("", tool("x", id=0)),
        asked("", tool("x", 1, id="c2")),  # whose id was not known
        asked("", tool("x", 1, name="b")),
        asked("", {**tool("x"), "name": 5}),
        asked("", tool("x"), tool("y")),
        asked("x", tool("x")),
        asked([], tool("x")),
        asked("", tool("x"), usage_metadata={}),
        asked("", tool("x"), additional_kwargs={"reasoning_content": "a"}),
        asked("", "x"),
        chunk("", tool_call_chunks={}),
        {**asked("", tool("x")), "lc": 1, "kwargs": {}},
        {**asked("", tool("x")), "event": "error", "message": "m"},
        {"event": "messages", "data": [asked("", tool("x")), {}], "more": 1},
    ],
)
def test_the_short_way_of_input_takes_nothing_else(wire: Any) -> None:
    adapter = LangChainAdapter(Context())
    adapter.decode(asked("", tool("{", 0, "a", "c1"), tool("{", 1)))
    for again in ({}, {"id": "c1"}, {"name": "a"}):
        found = adapter.plain(asked("", {**tool("x"), **again}))
        assert found is not None and found == (("main", "m1", "tool/0", "input"), "x", None)
    try:
        assert adapter.plain(wire) is None
    except (KeyError, TypeError, AttributeError):
        pass


@pytest.mark.parametrize(
    "wire",
    [
        chunk([piece("text", "x", 5)]),
        chunk([piece("text", "x", True)]),
        chunk([piece("text", "x", 1.0)]),
        chunk([piece("text", "x", None)]),
        chunk([piece("text", "x", [0])]),
        chunk([{"type": "text", "text": "x"}]),
        chunk([{"text": "x", "index": 1}]),
        chunk([{"text": "x", "index": 1, "annotations": []}]),
        chunk([{"type": "text", "index": 1}]),
        chunk([piece("text", 5, 1)]),
        chunk([piece("text", None, 1)]),
        chunk([piece("reasoning", "x", 1)]),  # under another name
        chunk([piece("text", "x", 1, id="b")]),  # which was not known
        chunk([piece("text", "x", 1, id=None)]),
        chunk([piece("text", "x", 1, annotations=[])]),
        chunk([piece("text", "x", 1, partial_json="{")]),
        chunk([piece("thinking", "x", 0, id="b")]),
        chunk([piece("thinking", "x", 0, id=["a"])]),
        chunk([piece("thinking", "x", 0, id="a", signature="s")]),
        chunk([piece("data", "x", 2)]),  # without a text so far
        chunk([piece("text", "x", 2)]),
        chunk([piece("text", "x", 1), piece("text", "y", 1)]),
        chunk(["x"]),
        chunk([5]),
        chunk([]),
        chunk({"0": piece("text", "x", 1)}),
        chunk(5),
        chunk(None),
        asked([piece("text", "x", 1)], tool("x")),
        chunk([piece("text", "x", 1)], tool_call_chunks={}),
        thought("x", [piece("text", "x", 1)]),
        chunk([piece("text", "x", 1)], additional_kwargs={"a": 1}),
        chunk([piece("text", "x", 1)], usage_metadata={}),
        chunk([piece("text", "x", 1)], chunk_position="last"),
        chunk([piece("text", "x", 1)], response_metadata={"a": 1}),
        chunk([piece("text", "x", 1)], id="lc_run--2"),
        chunk([piece("text", "x", 1)], id=None),
        {**chunk([piece("text", "x", 1)]), "lc": 1, "kwargs": {}},
        [chunk([piece("text", "x", 1)]), {"langgraph_checkpoint_ns": "agent:1"}],
    ],
)
def test_the_short_way_of_blocks_takes_nothing_else(wire: Any) -> None:
    adapter = LangChainAdapter(Context())
    adapter.decode(chunk([piece("thinking", "a", 0, id="a"), piece("text", "a", 1)]))
    adapter.decode(chunk([{"type": "data", "index": 2}]))
    adapter.decode(chunk([], id="lc_run--1"))
    for id_ in ("m1", "lc_run--1"):
        for block, place in (
            (piece("thinking", "x"), 0),
            (piece("thinking", "x", id="a"), 0),
            ({**piece("text", "x", 1), "type": "other"}, 1),
        ):
            found = adapter.plain(chunk([block], id=id_))
            assert found is not None and found == (
                PartKey("main", "m1", f"content/{place}"),
                "x",
                None,
            )
    try:
        assert adapter.plain(wire) is None
    except (KeyError, TypeError, AttributeError):
        pass


def test_a_block_that_began_with_another_sort_of_index_takes_the_long_way_once() -> None:
    adapter = LangChainAdapter(Context())
    for index in (True, 2.0):
        adapter.decode(chunk([piece("text", "a", index)]))
        wire = chunk([piece("text", "x", int(index))])
        assert adapter.plain(wire) is None
        adapter.decode(wire)
        assert adapter.plain(wire) is not None


def test_the_first_of_two_blocks_with_one_index_takes_the_short_way() -> None:
    adapter = LangChainAdapter(Context())
    adapter.decode(chunk([piece("text", "a", id="a"), piece("text", "b", id="b")]))
    assert adapter.plain(chunk([piece("text", "x", id="b")])) is None
    for id_ in ({}, {"id": "a"}):
        found = adapter.plain(chunk([piece("text", "x", **id_)]))
        assert found is not None and found == (PartKey("main", "m1", "content/0"), "x", None)
    assert adapter.plain(chunk([piece("text", "x", id="b")])) is None


@pytest.mark.parametrize(
    "wire",
    [
        thought(5),
        thought(None),
        thought(["x"]),
        thought("x", "y"),
        thought("x", []),
        thought("x", ["y"]),
        thought("x", None),
        thought("x", tool_call_chunks=[tool("y")]),
        thought("x", tool_call_chunks={}),
        thought("x", usage_metadata={}),
        thought("x", chunk_position="last"),
        thought("x", name="n"),
        thought("x", response_metadata={"a": 1}),
        thought("x", id="m2"),
        chunk(additional_kwargs={"reasoning_content": "x", "refusal": None}),
        chunk("x", additional_kwargs={"reasoning_content": None}),
        chunk("x", additional_kwargs=["reasoning_content"]),
        {**thought("x"), "lc": 1, "kwargs": {}},
        [thought("x"), {"langgraph_checkpoint_ns": "agent:1"}],
    ],
)
def test_the_short_way_of_reasoning_takes_nothing_else(wire: Any) -> None:
    adapter = LangChainAdapter(Context())
    adapter.decode(chunk("a", id="m2"))
    assert adapter.plain(thought("x", id="m2")) is None  # the first one
    adapter.decode(thought("a"))
    found = adapter.plain(thought("x"))
    key = PartKey("main", "m1", "reasoning_content")
    assert found is not None and found == (key, "x", None)
    try:
        assert adapter.plain(wire) is None
    except (KeyError, TypeError, AttributeError):
        pass


@pytest.mark.parametrize(
    "wire",
    [
        numbered("text", "x", 2),
        numbered("text", "x", 0),
        numbered("text", "x", -1),
        numbered("text", "x", True),
        numbered("text", "x", 9.0),
        numbered("text", "x", "9"),
        numbered("text", "x", 2**63),
        numbered("text", "x", 9, "sub"),
        numbered("text", 5, 9),
        numbered("text", "x", 9, index=True),
        numbered("text", "x", 9, index=1),
        numbered("reasoning", "x", 9),
        envelope(delta("text", "x"), 9, method="tools"),
        envelope({**delta("text", "x"), "event": "content-block-start"}, 9),
        {**numbered("text", "x", 9), "type": "events"},
        {**numbered("text", "x", 9), "params": {"data": delta("text", "x")}},
        {**numbered("text", "x", 9), "params": {"namespace": "", "data": delta("text", "x")}},
        {**numbered("text", "x", 9), "params": {"namespace": [5], "data": delta("text", "x")}},
        {**numbered("text", "x", 9), "params": [delta("text", "x")]},
        *(
            {**numbered("text", "x", 9), "params": {"namespace": [], "data": data}}
            for data in (
                [delta("text", "x"), {"langgraph_checkpoint_ns": "n:1"}],
                [delta("text", "x"), {"type": 1}],
                [delta("text", "x"), None],
                [delta("text", "x"), {}, {}],
                [delta("text", "x")],
                "ab",
            )
        ),
        [numbered("text", "x", 9), {}],
        {"event": "messages", "data": [numbered("text", "x", 9), {}]},
        {"event": "messages", "data": numbered("text", "x", 9), "more": 1},
        {"event": 5, "data": numbered("text", "x", 9)},
        {"event": "messages", "data": {**numbered("text", "x", 9), "type": None}},
        {**delta("text", "x"), "type": "event"},
        {**delta("text", "x"), "data": numbered("text", "x", 9)},
    ],
)
def test_the_short_way_of_envelopes_takes_nothing_else(wire: Any) -> None:
    context = Context()
    adapter = LangChainAdapter(context)
    adapter.decode(envelope(agent("message-start", role="ai", id="m1"), 1))
    adapter.decode(numbered("text", "a", 2))
    given = [numbered("text", "x", seq) for seq in (3, 5, None)]
    given.append({**numbered("text", "x", 6), "more": 1})
    given.append({"event": "any", "data": numbered("text", "x", 7), "id": "1"})
    given.append(envelope([delta("text", "x"), {"n": 1}], 8))
    for each in given:
        found = adapter.plain(each)
        assert found is not None and found == (PartKey("main", "m1", 0), "x", None)
    before = json.dumps(context.shared)
    try:
        assert adapter.plain(wire) is None
    except (KeyError, TypeError, AttributeError):
        pass
    assert json.dumps(context.shared) == before


def test_namespaces_take_the_short_way_apart() -> None:
    adapter = LangChainAdapter(Context())
    for number, scope in enumerate(["a", "b"]):
        adapter.decode(envelope(agent("message-start", role="ai", id=scope), number, scope))
        adapter.decode(numbered("text", "x", number + 5, scope))
    for scope in ("a", "b"):
        found = adapter.plain(numbered("text", "x", 9, scope))
        assert found is not None and found == (PartKey("main", scope, 0), "x", None)
    # Another message in one of them: what goes on is that one's.
    adapter.decode(envelope(agent("message-start", role="ai", id="c"), 10, "a"))
    assert adapter.plain(numbered("text", "x", 11, "a")) is None
    assert adapter.plain(numbered("text", "x", 11, "b")) is not None


@pytest.mark.parametrize(
    "what",
    [
        {"event": "end", "data": None},
        {"event": "error", "data": {"message": "m"}},
        chunk("", response_metadata={"model_provider": "q"}),
        asked("", tool("x", id="c1")),
        asked(["x"]),
        {"type": "ai", "content": "whole", "id": "m1"},
        {"type": "remove", "id": "m1"},
        agent("message-start", role="ai", id="m1"),
    ],
)
def test_after_another_stream_the_long_way_is_taken(what: Any) -> None:
    shared: dict[str, Any] = {}
    other, mine = (LangChainAdapter(Context(shared=shared)) for _ in range(2))
    said = {"model_provider": "p"}
    for adapter in (other, mine):
        adapter.decode(chunk([piece("text", "a")], additional_kwargs={"reasoning_content": "a"}))
        adapter.decode(asked("a", tool("{"), response_metadata=said))
    wires = [
        chunk("x", response_metadata=said),
        chunk([piece("text", "x")], response_metadata=said),
        thought("x", response_metadata=said),
        asked("", tool("x"), response_metadata=said),
    ]
    assert all(mine.plain(wire) is not None for wire in wires)
    other.decode(what)
    assert [mine.plain(wire) for wire in wires] == [None] * 4


def test_an_id_that_no_longer_stands_for_a_message_takes_the_long_way() -> None:
    context = Context()
    adapter = LangChainAdapter(context)
    begun = [[chunk("a"), {"n": 1}], [chunk("b", id="lc_run--1"), {"n": 1}]]
    with pytest.raises(KeyError):
        adapter.plain(begun[1])
    others = [
        [chunk("a", id=id_), {"checkpoint_ns": "b"}]
        for number in range(4096)
        for id_ in (f"x{number}", f"lc_{number}")
    ]
    # The id is the oldest that is remembered, but the message came again and is not.
    again = [{"event": "end", "data": None}, {"type": "remove", "id": "m1"}, begun[0]]
    for wire in [*begun, *others[:-212], *again, *others[-212:-1]]:
        adapter.decode(wire)
    assert all(adapter.plain(wire) is not None for wire in begun)
    adapter.decode(others[-1])
    assert "m1" in context.own["open"] and "lc_run--1" not in context.of_session()["aliases"]
    assert adapter.plain(begun[0]) is not None
    with pytest.raises(KeyError):
        adapter.plain(begun[1])


def test_metadata_of_another_type_takes_the_long_way() -> None:
    adapter = LangChainAdapter(Context())
    adapter.decode(chunk("a", response_metadata={"model_provider": 1}))
    assert adapter.plain(chunk("b", response_metadata={"model_provider": True})) is None
    assert adapter.plain(chunk("b")) is not None


@pytest.mark.parametrize("form", ["chunk", "agent"])
def test_a_message_that_fell_out_of_the_open_ones_takes_the_long_way(form: str) -> None:
    context = Context()
    adapter = LangChainAdapter(context)
    begun: list[Any] = [[chunk("a"), {"n": 1}]]
    if form == "agent":
        delta = agent("content-block-delta", index=0, delta={"type": "text-delta", "text": "a"})
        begun = [agent("message-start", role="ai", id="m1"), delta]
    others = [[chunk("a", id=f"x{number}"), {"checkpoint_ns": "b"}] for number in range(256)]
    # Opened first, but not the oldest message that is remembered: it was removed and came again.
    for wire in [*begun, *others[:100], {"type": "remove", "id": "m1"}, *begun, *others[100:-1]]:
        adapter.decode(wire)
    assert adapter.plain(begun[-1]) is not None
    adapter.decode(others[-1])
    assert "m1" in context.of_session()["messages"] and "m1" not in context.own["open"]
    for each in (adapter, LangChainAdapter(context)):
        with pytest.raises(KeyError):
            each.plain(begun[-1])
    adapter.decode(begun[-1])
    assert adapter.plain(begun[-1]) is not None


#: What the chunks of a tangle bring, by what most of them bring.
SORTS = {
    "calls": ["text", "call", "call"],
    "blocks": ["block", "block", "block", "text"],
    "reasoning": ["reasoning", "reasoning", "text"],
    "summaries": ["summary", "summary", "summary", "block", "text"],
    "agent": ["text", "call", "block", "reasoning"],
}


def tangle(seed: int) -> list[tuple[int, Any]]:
    """Wire objects of two streams: deltas of texts and calls, and what must go the long way."""
    draw = random.Random(seed)
    rare = (0, 0, 0, 0, 0, 0, 0, 1)
    most = draw.choice(sorted(SORTS))
    ids = draw.choice([["m1", "m1", "m1", "m2"], ["m1", "lc_run--1", "lc_run--1"]])
    wires: list[tuple[int, Any]] = []
    number = 0

    def odd(*values: Any) -> Any:
        return draw.choice(values) if draw.choice(rare) else None

    def a_tool() -> Any:
        index = draw.choice([0, 0, 1, 1, "lc_0"])
        index = odd(True, 1.0, "x", None, [0], 2) or index
        made = tool(
            draw.choice(["{", '"a"', "}"]), index, odd("read", "", 5), odd("c0", "c1", "", 5)
        )
        if draw.choice(rare):
            made["args"] = draw.choice(["", None, 5])
        if draw.choice(rare):
            del made[draw.choice(sorted(made))]
        return odd("x", {}) or made

    def a_block() -> Any:
        index: Any = draw.choice([0, 1, 1, "lc_2"])
        member = {0: "thinking", 1: "text"}.get(index, "reasoning")
        made = piece(
            member, draw.choice(["a", "b", ""]), odd(True, 1.0, "x", None, [0], 3) or index
        )
        if index == "lc_2" and draw.random() < 0.5:
            made["id"] = odd("b2", 5) or "b1"
        made.update(
            odd({"id": "b1"}, {"signature": "s"}, {"text": "c"}, {"input": "{"}, {"type": 5}) or {}
        )
        if draw.choice(rare):
            made[draw.choice(sorted(made))] = draw.choice([None, 5, "b1"])
        if draw.choice(rare):
            del made[draw.choice(sorted(made))]
        return odd("x", {}) or made

    def an_item() -> Any:
        made: Wire = summed(
            draw.choice(["a", "\U0001f600", "", ""]),
            odd(True, 1.0, "x", None, [0], 3) or draw.choice([0, 1, 1, 1, 1, 1, 1, "lc_2"]),
        )
        made.update(odd({"id": "i1"}, {"id": None}, {"n": 1}, {"type": 5}) or {})
        if draw.choice(rare):
            made[draw.choice(sorted(made))] = draw.choice([None, 5, "", "b"])
        if draw.choice(rare):
            del made[draw.choice(sorted(made))]
        return odd("x", {}) or made

    def a_summary() -> Any:
        made = reasoned(
            *odd([], [an_item(), an_item()]) or [an_item()],
            index=odd(0, 1, True, 5.0) or 5,
        )
        made.update(odd({"id": "b1"}, {"id": "b2"}, {"text": "c"}, {"summary": "x"}) or {})
        if draw.choice(rare):
            del made[draw.choice(sorted(made))]
        return made

    def a_chunk() -> Any:
        sort = draw.choice(SORTS[most])
        content: Any = {
            "text": draw.choice(["a", "b"]),
            "block": [a_block()],
            "summary": [a_summary()],
        }.get(sort, "")
        content = odd([], ["c"], [a_block()], [a_block(), a_block()], "d", 5) or content
        tools: Any = [a_tool()] if sort == "call" else []
        tools = odd([], [a_tool()], [a_tool(), a_tool()], {}, None) or tools
        extra = {"reasoning_content": draw.choice("rs")} if sort == "reasoning" else {}
        members: Wire = {
            "tool_call_chunks": tools,
            "additional_kwargs": odd(
                {"a": 1},
                {"tool_calls": [{}]},
                {"reasoning_content": draw.choice(["r", "", None, 5]), "tool_calls": 5},
                [],
            )
            or extra,
            "response_metadata": draw.choice(
                [{}, {}, {"model_provider": "p"}, odd({"n": 1}, {"model_provider": "q"}, 5)]
            ),
            "usage_metadata": odd({}, {"input_tokens": 1}, 5),
            "chunk_position": odd(None, None, "last"),
            "name": odd("n", 5),
        }
        if draw.choice(rare):
            del members[draw.choice(sorted(members))]
        wire: Any = chunk(content, odd("m1", "m2", "lc_run--1") or draw.choice(ids), **members)
        kinds = ("HumanMessageChunk", "ChatMessageChunk", "ToolMessageChunk")
        wire["type"] = odd(None, None, None, *kinds) or "AIMessageChunk"
        strange: list[Wire] = [
            {"lc": 1, "kwargs": {}},
            {"event": "error", "message": "m"},
            {"data": []},
        ]
        wire.update(odd(None, None, *strange) or {})
        form = draw.choice(["bare", "bare", "pair", "named", "event"])
        if form != "bare":
            wire = [wire, odd({"checkpoint_ns": "b"}, {"type": 1}, []) or {"n": 1}]
        if form == "event":
            wire = streamed(wire[0], metadata=wire[1])
            wire.update(odd({"type": "event"}, {"run_id": None}, {"data": []}) or {})
        if form == "named":
            wire = {"event": odd("messages|x", "values") or "messages", "data": wire}
            wire.update(odd({"id": "1"}, {"more": 1}) or {})
        return wire

    def an_agents(kind: str) -> Wire:
        index: Any = draw.choice([0, 1, 1, 2])
        if kind == "delta":
            type_, member = (("text", "text"), ("tool-call", "args"), ("data", "data"))[index]
            type_ = odd("reasoning", "block", "text", "tool-call") or type_
            member = {"reasoning": "reasoning", "text": "text", "tool-call": "args"}.get(
                type_, member
            )
            said: Wire = {
                "type": f"{type_}-delta",
                member: odd(None, 5) or draw.choice(["a", "b", ""]),
            }
            said.update({"fields": {"args": "x"}} if type_ == "block" else {})
            data = agent("content-block-delta", index=odd(True, 1.0, "1") or index, delta=said)
            data.update(odd({"data": {}}, {"type": "event"}, {"more": 1}) or {})
        elif kind == "message":
            data = agent("message-start", role="ai", id=draw.choice(["m1", "m3"]))
        else:
            block: Wire = {"type": ["text", "tool_call_chunk", "image"][index]}
            block.update(odd({"args": "x"}, {"name": "n", "id": "c1"}) or {})
            data = agent(f"content-block-{kind}", index=index, content=block)
        return in_envelope(data) if draw.random() < 0.7 else data

    def in_envelope(data: Wire) -> Wire:
        # Numbered as it is sent, where it has a number at all.
        wire = envelope(data, draw.choice([0, 0, 0, None]), *draw.choice([[], [], ["sub"]]))
        if draw.choice(rare):
            wire["params"]["data"] = [data, odd({"type": 1}, {"checkpoint_ns": "b"}) or {"n": 1}]
        if draw.choice(rare):
            wire["params"]["namespace"] = draw.choice([None, "sub", ["sub", 5], [""], ["x"]])
        wire.update(odd({"more": [1]}, {"event_id": "e"}, {"method": "tools"}, {"type": "x"}) or {})
        if draw.random() < 0.3:
            wire = {"event": odd("any", "values|x", 5) or "messages", "data": wire}
            wire.update(odd({"id": "1"}, {"more": 1}) or {})
        return wire

    def numbered_now(wire: Any) -> Any:
        nonlocal number
        inner = wire.get("data", wire) if isinstance(wire, dict) else None
        if not isinstance(inner, dict) or type(inner.get("seq")) is not int:
            return wire
        number += draw.choice([1, 1, 1, 1, 3])
        seq = odd(number - 1, number - 5, -1, 2**63, 1.0, True, "9") or number
        numbered = {**inner, "seq": seq}
        return numbered if inner is wire else {**wire, "data": numbered}

    def another() -> Any:
        return draw.choice(
            [
                agent("message-start", role="ai", id=draw.choice(["m1", "m3"])),
                agent("message-finish"),
                in_envelope(agent("message-finish")),
                {"type": "ai", "content": "whole", "id": "m1", "additional_kwargs": {}},
                {"type": "tool", "content": "r", "id": "t", "tool_call_id": "c0"},
                {"type": "remove", "id": "m1", "content": ""},
                [{"type": "ai", "content": "", "id": "m2"}, {"type": "ai", "content": 5}],
                {"event": "messages/partial", "data": [{"type": "ai", "content": "p", "id": "m1"}]},
                {"event": "messages/partial", "data": [chunk([a_block()]), chunk([a_block()])]},
                {"event": "end", "data": None},
                draw.choice(wires)[1],
            ]
        )

    def mutant(wire: Any) -> Any:
        """The same with something else somewhere in it."""
        wire = copy.deepcopy(wire)
        place = wire
        while True:
            names = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not names:
                return wire
            name = draw.choice(names)
            if not isinstance(place[name], dict | list) or draw.choice(rare):
                break
            place = place[name]
        values = [None, True, 0, 1, 1.0, "", "m1", "x", [], {}, ["a"], {"text": "a"}]
        place[name] = draw.choice(values)
        return wire

    for stream in range(draw.choice([1, 2])):
        wires.append((stream, asked("a", tool("{", 0, "read", "c0"), tool("{", 1, "n", odd("c1")))))
    if most == "agent" or draw.random() < 0.3:
        wires.append((0, agent("message-start", role="ai", id="m1")))
    shares = [0.2, 0.9] if most == "agent" else [0.7, 0.9]
    for _ in range(70):
        what, wire = draw.random(), None
        if what < shares[0]:
            wire = a_chunk()
        elif what < shares[1]:
            wire = an_agents(draw.choice(["delta"] * 9 + ["message", "start", "finish"]))
        else:
            wire = another()
        if draw.choice(rare):
            wire = mutant(wire)
        stream = draw.choice(rare)
        wires += [(stream, numbered_now(wire)) for _ in range(draw.choice([1, 1, 2, 4]))]
    return wires


def by_either_way(wires: list[tuple[int, Any]], policy: Any, cut: int) -> list[Any]:
    """What two streams of one session say of each wire object, and the states on the way; saved
    and loaded at `cut`."""
    store = StreamStore(ticks="manual")
    streams = [store.open(PROTOCOL, session_id="s", policy=policy) for _ in range(2)]
    told: list[Any] = []
    for place, (number, wire) in enumerate(copy.deepcopy(wires)):
        if place == cut:
            saved = json.loads(json.dumps(store.save()))
            told += [saved["memory"], saved["streams"]]
            store = StreamStore.load(saved, ticks="manual")
            streams = [store.open(PROTOCOL, session_id="s", policy=policy) for _ in range(2)]
        told.append(streams[number].ingest(wire))
        if place % 5 == 4:
            store.flush()
            told.append(store.state())
    store.flush()
    return [*told, store.save(), store.state(), encoded(store, PROTOCOL)]


@pytest.mark.parametrize("seed", range(30))
@each_policy
def test_a_tangle_is_the_same_by_either_way(
    seed: int, policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires = tangle(seed)
    cut = random.Random(seed).randrange(len(wires))
    short = by_either_way(wires, policy, cut)
    monkeypatch.setattr(ShortWay, "plain", lambda self, wire: None)
    long = by_either_way(wires, policy, cut)
    for place, (mine, theirs) in enumerate(zip(short, long, strict=True)):
        assert mine == theirs, place


#: How the wire objects look of which a tangle has to have some that take the short way.
LOOKS = {
    "block": '"content": [{',
    "reasoning": '"reasoning_content": ',
    "summary": '"summary": [{',
    "the run's id": '"id": "lc_run--1"',
    "number": '"seq": ',
    "namespace": '"namespace": ["sub"]',
    "named": '{"event": "messages", ',
    "event": '{"event": "on_chat_model_stream", ',
}


def taken_short(seed: int, strict: bool) -> set[str]:
    """What `plain` takes of a tangle: fields and looks.

    Each is one delta, and leaves the memory as `decode` alone leaves it, whether that is called for
    the same wire object after it or not.
    """
    draw = random.Random(seed)
    # Shared and own memories; of adapters that are asked for the short way, and of others.
    memories: list[Any] = [[{}, {}, {}], [{}, {}, {}]]
    new_ids = [map("local-{}".format, range(10_000)).__next__ for _ in memories]

    def adapters() -> list[list[LangChainAdapter]]:
        return [
            [
                LangChainAdapter(Context(strict=strict, shared=shared, own=own, new_id=new_id))
                for own in owns
            ]
            for (shared, *owns), new_id in zip(memories, new_ids, strict=True)
        ]

    def decoded(adapter: LangChainAdapter, wire: Any) -> Any:
        try:
            return list(adapter.decode(wire))
        except (MalformedEvent, UnknownEvent, RepeatedEvent, ProtocolStopped) as error:
            return type(error)

    both = adapters()
    taken = set()
    for place, (number, wire) in enumerate(tangle(seed)):
        if place % 40 == 39:
            memories = json.loads(json.dumps(memories))
            both = adapters()
        short, long = both[0][number], both[1][number]
        found: Any = None
        try:
            # A stream that has nothing open shows it nothing.
            found = short.plain(wire if draw.random() < 0.9 else None)
        except (KeyError, TypeError, AttributeError):
            pass
        expected = decoded(long, wire)
        if found is None or draw.random() < 0.3:
            assert decoded(short, wire) == expected, (seed, place)
        assert json.dumps(memories[0]) == json.dumps(memories[1]), (seed, place)
        if found is not None:
            (only,) = expected
            assert isinstance(only, BlockDelta)
            part = PartKey(only.session_id or "", only.message_id, only.block_index)
            key = part if only.field == "text" else (*part, only.field)
            assert found == (key, only.text, None), (seed, place)
            assert type(found[0][2]) is type(only.block_index), (seed, place)
            taken.add(only.field)
            taken.update(name for name, look in LOOKS.items() if look in json.dumps(wire))
    return taken


@pytest.mark.parametrize("strict", [False, True])
def test_what_takes_the_short_way_is_one_delta(strict: bool) -> None:
    taken = [taken_short(seed, strict) for seed in range(60)]
    assert set().union(*taken) == {"text", "input", "data", *LOOKS}


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


def test_messages_of_parallel_nodes_below_a_graph_are_told_apart() -> None:
    one, two = ({"langgraph_checkpoint_ns": f"sub:1|{name}:2"} for name in ("one", "two"))
    pairs = (
        [chunk("a", id="msg_1"), one],
        [chunk("b", id="msg_2"), two],
        [chunk("c", id="lc_run--1"), one],
        [chunk("d", id="lc_run--2"), two],
        [chunk("e", id="lc_run--1"), one],
    )
    store = fed(*({"event": "messages|sub:1", "data": pair} for pair in pairs))
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


@pytest.mark.parametrize(
    "data",
    [
        agent("error", message="a step failed"),
        agent("message-start", role="ai", id="m2"),
        envelope(agent("error", message="a step failed")),
    ],
)
def test_what_an_application_streams_of_its_own_changes_nothing(data: Wire) -> None:
    wires: list[Any] = [{"event": name, "data": data} for name in ("custom", "custom|sub:1")]
    store = fed(chunk("a"), *wires, ("custom", data), chunk("b"))
    session = store.session("s")
    assert session is not None and not session.errors
    assert texts(store) == [["ab"]]
    assert store.messages("s")[0].status == "open"


def test_a_delta_that_an_application_streams_of_its_own_changes_nothing_either() -> None:
    one, two = (envelope(delta("text", word)) for word in "ab")
    store = fed(envelope(agent("message-start", role="ai", id="m1")), one, one)
    stream = store.open(PROTOCOL, session_id="s")
    stream.ingest_many([two, two, {"event": "custom", "data": two}])
    assert texts(store) == [["aabb"]]


@pytest.mark.parametrize("mode", ["updates", "values"])
def test_an_interrupt_of_a_graph_is_a_question(mode: str) -> None:
    asked = [{"value": {"q": "sure?"}, "id": "i1"}, {"value": "older, without one"}, "odd"]
    store, stream = opened()
    for of, name in ((list, f"{mode}|sub:1"), (list, mode), (tuple, mode)):
        data = {"__interrupt__": of(asked)}
        assert stream.ingest({"event": name, "data": data}).kind != "malformed"
    store.flush()
    session = store.session("s")
    assert session is not None and list(session.questions) == ["i1"]
    assert session.questions["i1"].payload == {"payload": {"q": "sure?"}}
    store.apply(QuestionReplied(session_id="s", request_id="i1"))
    stream.ingest({"event": mode, "data": {"__interrupt__": asked}})  # a replay of it
    store.flush()
    session = store.session("s")
    assert session is not None and not session.questions
    odd = {"event": mode, "data": {"__interrupt__": 1, "node": {}}}
    assert stream.ingest(odd).kind == "accepted"
    asked = [{"value": 1, "id": "i2"}]
    stream.ingest({"type": "values", "ns": [], "data": {}, "interrupts": asked})
    store.flush()
    session = store.session("s")
    assert session is not None and list(session.questions) == ["i2"]


def test_an_update_may_be_a_list_and_its_message_one_alone() -> None:
    store, stream = opened()
    asks = {"type": "ai", "content": "", "id": "m1"}
    asks["tool_calls"] = [{"name": "f", "args": {}, "id": call_id} for call_id in ("c1", "c2")]
    results = [
        {"type": "tool", "content": f"r{n}", "id": f"t{n}", "tool_call_id": f"c{n}"} for n in (1, 2)
    ]
    stream.ingest({"event": "updates", "data": {"agent": {"messages": asks}}})
    # As tools give it that return commands, and a node that was sent to several times.
    several: list[Any] = [{"messages": [results[0]]}, None, {"n": 1}, {"messages": results[1]}]
    for of in (list, tuple):
        stream.ingest(("updates", {"tools": of(several)}))
    assert texts(store) == [["", ""], ["r1"], ["r2"]]
    states = [part.fields["state"] for part in store.parts("s", "m1")]
    assert states == [{"status": "completed", "output": f"r{n}"} for n in (1, 2)]
    verdict = stream.ingest(("updates", {"tools": [{}, {"messages": [{"type": 1}]}]}))
    assert verdict.detail == "data.tools.1.messages.0.type: must be a string, not 1"


@pytest.mark.parametrize("role", ["user", "assistant", "ai", "human", "system", "tool"])
def test_a_message_that_a_node_gave_with_a_role_stands_once(role: str) -> None:
    store, stream = opened()
    given = {"role": role, "content": "hi"}
    assert stream.ingest(("updates", {"node": {"messages": [given]}})).kind == "accepted"
    kind = {"user": "human", "assistant": "ai"}.get(role, role)
    ours = {"human": "user", "ai": "assistant"}.get(kind, kind)
    named = {"type": kind, "content": "hi", "id": "m1"}
    for state in ([given], [named]):
        for _ in range(2):
            stream.ingest(("values", {"messages": state}))
            assert texts(store) == [["hi"]]
            assert store.messages("s")[0].role == ours
    assert stream.ingest({"role": "critic", "content": ""}).kind == "unknown"


@pytest.mark.parametrize("json_only", [False, True])
@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("hi", [("human", "hi")]),
        (("user", "hi"), [("human", "hi")]),
        (["hi", "ho"], [("human", "hi"), ("human", "ho")]),
        (["user", "hi"], [("human", "hi")]),  # a pair, behind JSON
        ([("ai", "x"), ["developer", "y"], "z"], [("ai", "x"), ("system", "y"), ("human", "z")]),
        (("assistant", [piece("text", "x")]), [("ai", [piece("text", "x")])]),
        ({"role": "assistant", "content": None}, [("ai", "")]),
        ([], []),
        (1, []),
    ],
)
def test_what_a_node_gave_for_messages_is_read_as_the_package_does(
    messages: Any, said: Any, json_only: bool
) -> None:
    update: Any = ("updates", {"n": {"messages": messages}})
    store, stream = opened()
    assert stream.ingest(json.loads(json.dumps(update)) if json_only else update).kind == "accepted"
    state = [{"type": type_, "content": content} for type_, content in said]
    for wire in (None, state, [{**each, "id": f"m{n}"} for n, each in enumerate(state)]):
        if wire is not None:
            stream.ingest(("values", {"messages": wire}))
        found = [(each["type"], each["content"]) for each in made(store)]
        assert found == said and len(store.messages("s")) == len(said)


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        (("critic", "hi"), None),
        (("user", 1), "content: must be a string or an array, not 1"),
        (("user", "a", "b"), "must be a JSON object (dict), not tuple"),
        (("user",), "must be a JSON object (dict), not tuple"),
        ((1, "a"), "type: is missing"),
    ],
)
def test_what_no_message_can_be_made_of_changes_nothing(given: Any, detail: str | None) -> None:
    store, stream = opened()
    verdict = stream.ingest(("updates", {"n": {"messages": ["hi", given]}}))
    assert verdict.kind == ("unknown" if detail is None else "malformed")
    if detail is not None:
        at = "." if detail.startswith(("type", "content")) else ": "
        assert verdict.detail == f"data.n.messages.1{at}{detail}"
    assert not texts(store)


def test_calls_of_tools_as_openai_writes_them_are_those_of_the_package() -> None:
    named = {"name": "f", "arguments": '{"a": 1}'}
    odd: Wire = {"id": "c2", "function": {"name": "g", "arguments": "{"}}
    ours = {"name": "h", "args": {}, "id": "c3", "type": "tool_call"}
    calls = [{"id": "c1", "type": "function", "function": named}, odd, ours]
    given = {"role": "assistant", "content": None, "tool_calls": calls}
    result = {"role": "tool", "content": "r", "tool_call_id": "c1"}
    store = fed(("updates", {"n": {"messages": [given, result]}}))
    made_calls = made(store)[0]["tool_calls"]
    first = {"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    assert made_calls == [first, odd, ours]
    part = store.parts("s", store.messages("s")[0].id)[0]
    assert part.tool is not None
    assert (part.tool.status, part.tool.name, part.tool.output) == ("completed", "f", "r")
    assert given["tool_calls"] is calls and calls[0] == {
        "id": "c1",
        "type": "function",
        "function": named,
    }


def test_messages_of_a_state_that_have_no_id_stand_once() -> None:
    hi, more = ({"type": "human", "content": text} for text in ("hi", "more"))
    yo = {"type": "ai", "content": "yo", "id": "lc_run--1"}
    states = ([hi], [hi, yo], [hi, yo, hi], [more], [more, {"type": "human", "content": 1}])
    wires = [{"event": "values", "data": {"messages": state}} for state in states]
    store, stream = opened()
    assert [stream.ingest(wire).kind for wire in wires[:3]] == ["accepted"] * 3
    assert texts(store) == [["hi"], ["yo"], ["hi"]]
    assert [stream.ingest(wire).kind for wire in wires[3:]] == ["accepted", "malformed"]
    assert texts(store) == [["more"]]
    assert "id" not in hi  # what was given is left as it is
    stream.ingest({"event": "values|sub:1", "data": {"messages": [hi]}})
    assert texts(store)[1:] == [["hi"]]
    other = store.open(PROTOCOL, session_id="s")  # a run of its own, in which it is said again
    other.ingest(wires[0])
    assert texts(store)[2:] == [["hi"]]


@pytest.mark.parametrize("name", ["updates", "values", "messages/partial", "messages/complete"])
def test_chunks_that_a_node_added_up_are_the_whole_message(name: str) -> None:
    store, stream = opened()
    summed_up = chunk("Hello", tool_call_chunks=[tool('{"a": 1}', name="f", id="c1")])
    summed_up["tool_calls"] = [{"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}]
    data: Any = {"messages": [summed_up]}
    data = {"updates": {"node": data}, "values": data}.get(name, [summed_up])
    stream.ingest([chunk("Hel"), {}])
    stream.ingest([chunk("lo", tool_call_chunks=[tool('{"a": 1}', name="f", id="c1")]), {}])
    store.flush()
    changes: list[Any] = []
    store.subscribe(changes.append)
    changes.clear()
    for _ in range(2):
        stream.ingest({"event": name, "data": data})
        assert texts(store) == [["Hello", ""]]
        agrees(made(store), [summed_up])
    assert not any(each.text for each in changes)


@pytest.mark.parametrize("name", ["updates", "values", "messages/partial", "messages/complete"])
def test_the_reasoning_beside_the_content_of_a_whole_message_is_shown(name: str) -> None:
    extra = {"reasoning_content": "so it is", "n": 1}
    message: Wire = {"type": "ai", "content": "Yes", "id": "m1", "tool_calls": []}
    message["additional_kwargs"] = extra
    data: Any = {"messages": [message]}
    data = {"updates": {"node": data}, "values": data}.get(name, [message])
    for said in ([], [thought("so "), thought("it is"), chunk("Yes")]):
        store, stream = opened()
        stream.ingest_many([[each, {}] for each in said])
        store.flush()
        changes: list[Any] = []
        store.subscribe(changes.append)
        changes.clear()
        for _ in range(2):
            stream.ingest({"event": name, "data": copy.deepcopy(data)})
            assert texts(store) == [["so it is", "Yes"]]
            assert [part.kind for part in store.parts("s", "m1")] == ["reasoning", "text"]
            assert made(store) == [message]
        assert not said or not any(each.text for each in changes)
    verdict = stream.ingest([thought("."), {}])
    so_far = name == "messages/partial"
    assert verdict.kind == ("accepted" if so_far else "refused")
    assert texts(store) == [["so it is." if so_far else "so it is", "Yes"]]
    message["additional_kwargs"] = {"n": 1}  # the whole message says what is left of it
    stream.ingest({"event": "values", "data": {"messages": [message]}})
    assert texts(store) == [["Yes"]]


def test_a_reasoning_that_the_content_has_as_well_is_shown_once() -> None:
    def both(*words: str, **members: Any) -> Wire:
        blocks = [piece("reasoning", word) for word in words]
        extra = {"reasoning_content": "".join(words)}
        return chunk(blocks, additional_kwargs=extra, **members)

    store = fed(both("so "), both("it is"), chunk([piece("text", "Yes", 1)]))
    assert texts(store) == [["so it is", "Yes"]]
    whole = {**both("so it is"), "type": "ai", "tool_calls": []}
    whole["content"] += [piece("text", "Yes", 1)]
    for _ in range(2):
        store.open(PROTOCOL, session_id="s").ingest(
            {"event": "values", "data": {"messages": [whole]}}
        )
        store.flush()
        assert texts(store) == [["so it is", "Yes"]]
        assert made(store)[0]["additional_kwargs"] == {"reasoning_content": "so it is"}


@pytest.mark.parametrize("reasoning", ["", None, 5, ["x"]])
def test_what_is_no_reasoning_beside_a_whole_content_stays_as_it_came(reasoning: Any) -> None:
    message: Wire = {"type": "ai", "content": "Yes", "id": "m1", "tool_calls": []}
    message["additional_kwargs"] = {"reasoning_content": reasoning}
    store = fed({"event": "values", "data": {"messages": [message]}})
    assert texts(store) == [["Yes"]]
    assert made(store) == [message]


@pytest.mark.parametrize("name", ["updates", "values", "messages/partial", "messages/complete"])
def test_a_call_whose_arguments_are_no_json_stays_in_the_whole_message(name: str) -> None:
    def call_of(args: Any, id: str) -> Wire:
        return {"name": "f", "args": args, "id": id}

    message: Wire = {"type": "ai", "content": "", "id": "m1"}
    message["tool_calls"] = [{**call_of({}, "c1"), "type": "tool_call"}]
    invalid = {**call_of('{"a": oops}', "c2"), "error": "why", "type": "invalid_tool_call"}
    message["invalid_tool_calls"] = [invalid, {"args": 5}]
    data: Any = {"messages": [message]}
    data = {"updates": {"node": data}, "values": data}.get(name, [message])
    store, stream = opened()
    for chunks in ([tool("{}", 0, "f", "c1")], [tool('{"a": ', 1, "f", "c2")], [tool("oops}", 1)]):
        stream.ingest([chunk(tool_call_chunks=chunks), {}])
    final = name != "messages/partial"
    for _ in range(2):
        assert stream.ingest({"event": name, "data": copy.deepcopy(data)}).kind == "accepted"
        store.flush()
        parts = store.parts("s", "m1")
        assert [part.field_text("input") for part in parts] == ["{}", '{"a": oops}', ""]
        tools = [part.tool for part in parts]
        status = "error" if final else "pending"
        assert [each and each.status for each in tools] == ["pending", status, status]
        assert [each and each.call_id for each in tools] == ["c1", "c2", None]
        assert tools[1] is not None and tools[1].error == ("why" if final else None)
        assert made(store) == [message]
    # Some graphs answer it all the same, so that the model tries again.
    answer = {"type": "tool", "content": "no JSON", "tool_call_id": "c2", "id": "t1"}
    stream.ingest([{**answer, "status": "error"}, {}])
    store.flush()
    found = store.parts("s", "m1")[1].tool
    assert found is not None and found.status == "error" and found.error == "no JSON"


@pytest.mark.parametrize("first", ["events", "other"])
@pytest.mark.parametrize("beside", ["", "messages", "messages|sub:1", "messages/partial"])
def test_a_server_asked_for_events_shows_each_piece_once_whatever_it_was_asked_for_beside(
    beside: str, first: str
) -> None:
    store, stream = opened(ticks="each")
    words = ["Hel", "lo", ", ", "you"]
    for number in range(1, len(words) + 1):
        said = "".join(words[:number])
        pair: Any = [chunk(words[number - 1]), {"langgraph_checkpoint_ns": "n:1"}]
        if beside == "messages/partial":
            pair = [{"type": "ai", "content": said, "id": "m1"}]
        wires = [{"event": "events", "data": streamed(chunk(words[number - 1]))}]
        if beside:
            wires.append({"event": beside, "data": pair})
        for wire in wires if first == "events" else reversed(wires):
            assert stream.ingest(wire).kind == "accepted"
            assert texts(store) == [[said]]
    for odd in (None, [], {"event": "on_odd"}, {"event": 1}):
        assert stream.ingest({"event": "events", "data": odd}).kind == "accepted"
    whole = traced("on_chat_model_end", {"output": {"type": "ai", "content": "Hi", "id": "m1"}})
    stream.ingest({"event": "events", "data": whole})
    assert texts(store) == [["Hi"]]
    for number in range(600):
        stream.ingest({"event": "events", "data": streamed(chunk("x", f"x{number}"))})


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("scope", ["", "|sub:1"])
@pytest.mark.parametrize("kind", ["ai", "AIMessageChunk"])
def test_what_an_update_brings_without_an_id_stands_once_in_the_states_behind_it(
    named: bool, scope: str, kind: str
) -> None:
    store, stream = opened()
    state: list[Wire] = []

    def step(*said: str) -> None:
        new = [{"type": "ai", "content": text} for text in said]
        given = [{**each, "type": kind} for each in new]  # what chunks come to is whole in a state
        stream.ingest({"event": f"updates{scope}", "data": {"node": {"messages": given}}})
        now = texts(store)
        ids = [message.id for message in store.messages("s")]
        state.extend({**each, "id": f"m{len(state)}"} if named else each for each in new)
        stream.ingest({"event": f"values{scope}", "data": {"messages": list(state)}})
        assert texts(store) == now == [[message["content"]] for message in state]
        assert [message.id for message in store.messages("s")] == ids  # no bubble is drawn anew
        assert [message.get("id") for message in made(store)] == (
            [message["id"] for message in state] if named else ids
        )

    step("yes")
    step("yes", "and", "yes")
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    stream = store.open(PROTOCOL, session_id="s")
    step("yes")
    for _ in range(2):
        step(*["more"] * 150)
    if named:
        gone = {"type": "remove", "id": "m0", "content": ""}
        stream.ingest({"event": "updates", "data": {"node": {"messages": [gone]}}})
        assert texts(store) == [[message["content"]] for message in state[1:]]


#: What a message cannot have: members of a wrong type, what is no JSON, and what is not written.
REFUSED: dict[str, Wire] = {
    "additional_kwargs": {"additional_kwargs": 5},
    "response_metadata": {"response_metadata": 5},
    "tool_call_id": {"tool_call_id": 5},
    "chunk": {"type": "AIMessageChunk", "usage": object()},
    "call": {"type": "ai", "tool_calls": [{"name": "f", "args": {"n": 10**5_000}, "id": "c1"}]},
    "content": {"type": "ai", "content": [{"type": "text", "text": "sum", "n": 10**5_000}]},
}


@pytest.mark.parametrize(
    ("form", "name"),
    [*itertools.product(["updates", "values"], REFUSED)]
    + [("on_tool_end", name) for name, said in REFUSED.items() if "type" not in said],
)
def test_a_refused_message_without_an_id_is_not_remembered(form: str, name: str) -> None:
    answer: Wire = {"type": "tool", "content": "sum", "tool_call_id": "c1"}

    def step(message: Wire) -> Any:
        if form == "on_tool_end":
            return traced(form, {"output": message})
        data = {"messages": [message]}
        return {"event": form, "data": {"node": data} if form == "updates" else data}

    def remembered() -> tuple[Any, Any]:
        saved = store.save()
        return saved["memory"], saved["streams"][0]["memory"]

    store, stream = opened()
    before = remembered()
    refused = {**answer, **REFUSED[name]}
    assert stream.ingest(step(refused)).kind == "malformed"
    assert remembered() == before
    assert stream.ingest(step(answer)).kind == "accepted"
    store.flush()
    assert [message.id for message in store.messages("s")] == ["local-1"]


@pytest.mark.parametrize("above", ["named", "nameless", "streamed"])
def test_what_a_graph_below_brought_without_an_id_stands_once_in_the_updates_above(
    above: str,
) -> None:
    store, stream = opened()
    number = 0

    def update(
        node: str, *said: str, scope: str = "", id: bool = False, task: str = "sub:2"
    ) -> None:
        nonlocal number
        messages: list[Wire] = [{"type": "ai", "content": text} for text in said]
        for each in messages if id else ():
            number += 1
            each["id"] = f"m{number}"
            if above == "streamed":  # a node's whole message, as `messages` has it
                stream.ingest([each, {"langgraph_checkpoint_ns": task}])
        name = f"updates|{scope}" if scope else "updates"
        stream.ingest({"event": name, "data": {node: {"messages": messages}}})

    named = above != "nameless"
    update("n", "yes", "yes", scope="sub:2|deep:3")
    update("deep", "yes", "yes", scope="sub:2")
    update("n", "and", scope="sub:2")
    assert texts(store) == [["yes"], ["yes"], ["and"]]
    update("sub", "yes", "yes", "and", id=named)
    assert texts(store) == [["yes"], ["yes"], ["and"]]
    # The same again, below it and of another node.
    update("n", "yes", scope="sub:4")
    update("other", "yes", id=named, task="other:5")
    assert texts(store) == [["yes"], ["yes"], ["and"], ["yes"], ["yes"]]
    update("sub", "yes", id=named, task="sub:4")
    update("sub", "yes", id=named, task="sub:6")
    assert texts(store) == [["yes"], ["yes"], ["and"], ["yes"], ["yes"], ["yes"]]
    ids = [message.id for message in store.messages("s")]
    said = ("yes", "yes", "and", "yes", "yes", "yes")
    state: list[Wire] = [{"type": "ai", "content": text} for text in said]
    if named:
        for each, name in zip(state, (1, 2, 3, 5, 4, 6), strict=True):
            each["id"] = f"m{name}"
    stream.ingest({"event": "values", "data": {"messages": state}})
    assert texts(store) == [[text] for text in said]
    assert [message.id for message in store.messages("s")] == ids


@pytest.mark.parametrize("below", ["", "|c:1"])
def test_what_an_update_brought_without_an_id_stands_once_where_a_later_one_hands_it_up(
    below: str,
) -> None:
    """A node that is a graph gives the state that it was given, which the graph has named."""
    store, stream = opened()
    one, two = "0766749f-11b5-4f51-8891-ef1f9a0e6224", "58d8455b-08cc-4051-a475-22294ff07536"
    said: Wire = {"type": "tool", "content": "handed over", "tool_call_id": "c1"}
    own: Wire = {"type": "ai", "content": "here", "id": "lc_run--1"}

    def update(node: str, *messages: Wire, scope: str = "") -> None:
        stream.ingest({"event": f"updates{scope}", "data": {node: {"messages": list(messages)}}})

    update("alice", said)
    update("alice", said)
    update("bob", {**said, "id": one}, {**said, "id": two}, own, scope=below)
    assert texts(store) == [["handed over"], ["handed over"], ["here"]]
    update("carol", {**said, "id": one}, own)
    # One with an id that no graph gives is another one, as is the next that says the same.
    update("alice", said)
    update("carol", {**said, "id": "m1"})
    assert texts(store) == [["handed over"], ["handed over"], ["here"], *[["handed over"]] * 2]


def test_what_a_state_lacks_of_an_update_is_not_looked_for_later() -> None:
    store, stream = opened()
    said = {"type": "ai", "content": "yes"}
    stream.ingest({"event": "updates", "data": {"node": {"messages": [said]}}})
    stream.ingest({"event": "updates|sub:1", "data": {"node": {"messages": [said]}}})
    stream.ingest({"event": "values|sub:2", "data": {"messages": [{**said, "id": "m0"}]}})
    assert texts(store) == [["yes"]] * 3
    stream.ingest({"event": "values", "data": {"messages": []}})
    assert texts(store) == [["yes"]] * 2  # the state has nothing of the update
    stream.ingest({"event": "values", "data": {"messages": [{**said, "id": "m1"}]}})
    assert texts(store) == [["yes"]] * 3
    # What a graph below said goes up into the state above.
    stream.ingest({"event": "updates|sub:1", "data": {"node": {"messages": [said]}}})
    stream.ingest(
        {"event": "values", "data": {"messages": [{**said, "id": f"m{n}"} for n in "12"]}}
    )
    assert texts(store) == [["yes"]] * 4


@pytest.mark.parametrize("changed", [False, True])
def test_what_a_state_has_otherwise_than_its_update_stands_as_the_state_has_it(
    changed: bool,
) -> None:
    store, stream = opened()
    said = {"type": "tool", "content": "yes", "tool_call_id": "c1"}
    kept = {**said, "id": "m1", "content": "yes, but" if changed else "yes"}
    if not changed:  # it has an id already where it was streamed
        stream.ingest([kept, {"langgraph_node": "n"}])
    stream.ingest({"event": "updates", "data": {"node": {"messages": [said]}}})
    stream.ingest({"event": "values", "data": {"messages": [kept]}})
    assert texts(store) == [[kept["content"]]]


def test_what_a_state_holds_no_more_is_removed_and_what_streams_beside_it_stays() -> None:
    store, stream = opened()
    first, second = ({"type": "human", "content": name, "id": name} for name in ("h1", "h2"))

    def state(*messages: Any, scope: str = "") -> None:
        stream.ingest({"event": f"values{scope}", "data": {"messages": list(messages)}})

    state(first, second)
    stream.ingest([chunk("streams"), {}])
    state(second, scope="|sub:1")  # of a graph below: it holds what it likes
    stream.ingest({"event": "values", "data": {"n": 1}})  # says nothing of messages
    assert texts(store) == [["h1"], ["h2"], ["streams"]]
    state(second)
    assert texts(store) == [["h2"], ["streams"]]
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    stream = store.open(PROTOCOL, session_id="s")  # goes on where the saved one was
    state()
    assert texts(store) == [["streams"]]
    state(first)
    assert texts(store) == [["streams"], ["h1"]]
    other = store.open(PROTOCOL, session_id="s")  # it may be of another run, or an old state
    other.ingest({"event": "values", "data": {"messages": [second]}})
    assert sorted(texts(store)) == [["h1"], ["h2"], ["streams"]]


def test_messages_stand_as_the_state_has_them() -> None:
    store, stream = opened()

    def state(*names: str, scope: str = "") -> list[str]:
        messages = [{"type": "human", "content": name, "id": name} for name in names]
        stream.ingest({"event": f"values{scope}", "data": {"messages": messages}})
        return [text for part in texts(store) for text in part]

    stream.ingest([chunk("a", id="a"), {}])  # what was asked is first seen in the state
    assert state("h", "a") == ["h", "a"]
    changes: list[Any] = []
    store.subscribe(changes.append)
    changes.clear()
    assert state("h", "a") == ["h", "a"]
    assert not changes  # nothing is moved that stands right
    stream.ingest([chunk("z", id="z"), {}])  # of a model whose answer the state does not hold
    assert state("h", "b", "a") == ["h", "b", "z", "a"]
    assert state("sum", "a", "a") == ["z", "sum", "a"]
    assert state("a", "sum", scope="|sub:1") == ["z", "sum", "a"]
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    stream = store.open(PROTOCOL, session_id="s")
    assert state("a", "sum") == ["z", "a", "sum"]
    stream.ingest([chunk("!", id="a"), {}])
    assert [message.id for message in store.messages("s")] == ["z", "a", "sum"]
    everything = {"type": "remove", "id": "__remove_all__", "content": ""}
    stream.ingest({"event": "updates", "data": {"node": {"messages": [everything]}}})
    assert state("sum", "a") == ["sum", "a"]


@pytest.mark.parametrize("values", [True, False])
def test_a_run_that_takes_the_place_of_another_on_a_stream_of_its_own(values: bool) -> None:
    def said(type: str, text: str) -> Wire:
        return {"type": type, "content": text, "id": text}

    def state(*messages: Wire) -> list[Wire]:
        return [{"event": "values", "data": {"messages": list(messages)}}] if values else []

    before = [said("human", "q0"), said("ai", "a0")]
    store, stream = opened()
    stream.ingest_many([*before, *state(*before, said("human", "q1")), said("human", "q1")])
    stream.ingest([chunk("half", id="a1"), {"run_id": "r1", "langgraph_checkpoint_ns": "n:1"}])
    stream.end()
    stream = store.open(PROTOCOL, session_id="s")
    for gone in ["__remove_all__"] if values else ["q1", "a1"]:
        stream.ingest({"type": "remove", "id": gone, "content": ""})
    stream.ingest_many(state(*before, said("human", "q2")))
    stream.ingest([chunk("a2", id="a2"), {"run_id": "r2", "langgraph_checkpoint_ns": "n:2"}])
    assert texts(store) == [["q0"], ["a0"], *([["q2"]] if values else []), ["a2"]]


@pytest.mark.parametrize("named", [True, False])
def test_a_long_history_stands_once_and_may_be_trimmed(named: bool) -> None:
    history: list[Any] = [{"type": "human", "content": f"h{n}"} for n in range(300)]
    if named:
        history = [{**message, "id": message["content"]} for message in history]
    store, stream = opened()
    for _ in range(2):
        stream.ingest({"event": "values", "data": {"messages": history}})
    assert texts(store) == [[message["content"]] for message in history]
    trimmed = [*history[:1], *history[-2:]] if named else history[:1]
    stream.ingest({"event": "values", "data": {"messages": trimmed}})
    assert texts(store) == [[message["content"]] for message in trimmed]
    if named:
        stream.ingest({"event": "values", "data": {"messages": history}})
        remove = {"type": "remove", "id": "__remove_all__", "content": ""}
        stream.ingest({"event": "updates", "data": {"node": {"messages": [remove]}}})
        assert texts(store) == []


def test_a_state_with_more_than_json_says_what_it_holds() -> None:
    store, stream = opened()
    for data, detail in (
        ({"day": [date(2020, 1, 1)]}, "data.day.0: must be JSON, not date: dump it before"),
        ({"a": {1: 2}}, "data.a: has a name that is no string but 1"),
        (
            {"messages": [date(2020, 1, 1)]},
            "data.messages.0: must be JSON, not date: dump it before",
        ),
    ):
        verdict = stream.ingest({"event": "values", "data": data})
        assert (verdict.kind, verdict.detail) == ("malformed", detail)
    assert stream.ingest({"event": "values", "data": {"a": (1, None, True)}}).kind == "accepted"
    store.save()


def test_what_a_graph_asks_with_more_than_json_is_malformed_and_changes_nothing() -> None:
    store, stream = opened()
    asked = [{"value": {"day": date(2020, 1, 1)}, "id": "i1"}]
    node = {"messages": [{"type": "human", "content": "hi", "id": "h1"}]}
    for wire in (
        {"event": "updates", "data": {"node": node, "__interrupt__": asked}},
        {"type": "values", "ns": [], "data": node, "interrupts": asked},
    ):
        verdict = stream.ingest(wire)
        assert verdict.kind == "malformed"
        assert verdict.detail == "interrupts.0.value.day: must be JSON, not date: dump it before"
    assert texts(store) == []
    json.dumps(store.save())


def test_what_json_does_not_have_in_arguments_is_malformed() -> None:
    store, stream = opened()
    call = {"name": "f", "args": {"day": date(2020, 1, 1)}, "id": "c"}
    verdict = stream.ingest({"type": "ai", "content": "", "id": "m1", "tool_calls": [call]})
    detail = "tool_calls.0.args.day: must be JSON, not date: dump it before"
    assert (verdict.kind, verdict.detail) == ("malformed", detail)
    said = {"type": "human", "content": [{"day": date(2020, 1, 1)}]}
    assert stream.ingest({"event": "values", "data": {"messages": [said]}}).kind == "malformed"
    assert texts(store) == []


DAY = date(2020, 1, 1)


@pytest.mark.parametrize(
    ("wire", "at"),
    [
        (chunk("b", response_metadata={"at": [DAY]}), "response_metadata.at.0"),
        (chunk("b", usage_metadata={"at": DAY}), "usage_metadata.at"),
        (chunk("b", additional_kwargs={"at": DAY}), "additional_kwargs.at"),
        (chunk([{"type": "text", "text": "b", "at": DAY}]), "content.0.at"),
        (chunk("b", name=DAY), "name"),
        ([chunk("", tool_call_chunks=[tool("b", DAY)]), {}], "0.tool_call_chunks.0.index"),
        ({"type": "tool", "content": "b", "id": "t", "artifact": {1}}, "artifact"),
        ({"type": "ai", "data": {"content": "b", "id": "m1", "at": DAY}}, "at"),
        (("values", {"messages": [chunk("b", id="m2", at=DAY)]}), "at"),
        (("values", {"messages": [{**chunk("b"), "type": "ai", "at": DAY}]}), "data.messages.0.at"),
        ({"event": "error", "data": {"message": "b", "at": DAY}}, "at"),
        (agent("message-start", id="m2", metadata={"at": DAY}), "metadata.at"),
        (
            {
                "event": "messages",
                "data": agent("content-block-start", index=0, content={"b": {1}}),
            },
            "data.content.b",
        ),
        (envelope(agent("error", message="b", at=DAY)), "params.data.at"),
        (
            envelope(agent("tool-finished", tool_call_id="c", output=DAY), method="tools"),
            "params.data.output",
        ),
        (
            envelope({"interrupt_id": "i", "payload": DAY}, method="input.requested"),
            "params.data.payload",
        ),
        (envelope({"event": "failed", "error": DAY}, method="lifecycle"), "params.data.error"),
    ],
)
def test_what_could_not_be_saved_is_malformed_and_named(wire: Any, at: str) -> None:
    store, stream = opened()
    stream.ingest(chunk("a"))
    store.flush()
    before = store.state()
    verdict = stream.ingest(wire)
    name = "set" if "{1}" in str(wire) else "date"
    detail = f"{at}: must be JSON, not {name}: dump it before"
    assert (verdict.kind, verdict.detail) == ("malformed", detail)
    store.flush()
    assert {**store.state(), "counts": {}} == {**before, "counts": {}}
    assert stream.ingest(chunk("c")).kind == "accepted"
    json.dumps(store.save())


def test_what_is_not_kept_may_be_of_no_json() -> None:
    node = {"messages": [{"type": "ai", "content": "b", "id": "m2"}], "at": DAY}
    store, stream = opened()
    for wire in (
        *[(chunk("a", tool_calls=[DAY], at=DAY), {"langgraph_node": "n", "at": DAY})] * 2,
        ("updates", {"node": node}),
        ("custom", DAY),
    ):
        assert stream.ingest(wire).kind == "accepted"
    assert texts(store) == [["aa"], ["b"]]
    json.dumps(store.save())


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


@pytest.mark.parametrize("protocol", [PROTOCOL, None])
@pytest.mark.parametrize("many", [False, True])
def test_the_pairs_that_a_graph_yields_are_its_arrays(
    protocol: str | None, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = decoded_by(monkeypatch)
    metadata = {"langgraph_node": "agent", "langgraph_checkpoint_ns": "agent:1"}
    chunks = [chunk("Hel"), chunk("lo"), chunk(", "), *(chunk(str(n)) for n in range(9)), chunk()]
    said, state = "Hello, 012345678", {}
    for of in (list, tuple):
        store = StreamStore(protocol, ticks="manual")
        wires = [of((message, metadata)) for message in chunks]
        verdicts_of = store.ingest_many(wires) if many else [store.ingest(wire) for wire in wires]
        assert not many or verdicts_of == []
        assert store.counts["verdicts"] == {"accepted": len(chunks)}
        store.flush()
        assert [part.text for part in store.parts(store.session_ids()[0], "m1")] == [said]
        state = state or store.state()
        assert store.state() == state
    assert len(decoded) == 2 * 2  # the first and the last of each: the others go the short way


@pytest.mark.parametrize("protocol", [PROTOCOL, None])
@pytest.mark.parametrize("form", ["mode", "namespace", "both", "parts"])
@pytest.mark.parametrize("of", [list, tuple])
def test_what_a_graph_yields_with_its_mode_or_namespace(
    protocol: str | None, form: str, of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = decoded_by(monkeypatch)
    names = of(("sub:1",))

    def yielded(mode: str, data: Any) -> Any:
        if form == "parts":
            return {"type": mode, "ns": names, "data": data}
        return of({"mode": (mode, data), "namespace": (names, data)}.get(form, (names, mode, data)))

    def pair(text: str, id: str, node: str) -> Any:
        # Some chunks have the id of their response, others that of their run.
        return of((chunk(text, id=id), {"langgraph_checkpoint_ns": f"sub:1|{node}"}))

    wires = [
        yielded("messages", pair(text, id, node))
        for text, id, node in (
            ("a", "msg_1", "one"),
            ("b", "msg_2", "two"),
            ("c", "lc_run--1", "one"),
            ("d", "lc_run--2", "two"),
            ("e", "lc_run--1", "one"),
            ("f", "lc_run--2", "two"),
        )
    ]
    store = StreamStore(protocol, ticks="manual")
    assert [store.ingest(wire).kind for wire in wires] == ["accepted"] * 6
    assert texts(store, "main") == [["ace"], ["bdf"]]
    assert len(decoded) == 4  # the first of each id
    if form == "namespace":  # a state alone does not say what it is
        assert store.ingest(yielded("values", {"messages": []})).kind == "malformed"
        return
    whole = {"type": "ai", "content": "ace!", "id": "msg_1"}
    for mode, data in (
        ("updates", {"node": {"messages": [whole]}}),
        ("values", {"messages": [whole], "n": 1}),
        ("custom", {"n": 2}),
        ("tasks", {}),
    ):
        assert store.ingest(yielded(mode, data)).kind == "accepted"
    assert texts(store, "main") == [["ace!"], ["bdf"]]


@pytest.mark.parametrize("mode", ["values", "updates", "custom"])
def test_what_a_graph_yields_is_recognised_by_its_mode(mode: str) -> None:
    for wire in ([mode, {}], [[], mode, {}], {"type": mode, "ns": [], "data": {}}):
        assert LangChainAdapter.detects(wire)
    for wire in ([mode], [mode, {}, {}], ["mode", {}], {"type": mode, "data": {}}, [[1], {}]):
        assert not LangChainAdapter.detects(wire)
    assert StreamStore(PROTOCOL).ingest([[1], mode, {}]).detail == "ns: must be an array of strings"


def test_a_message_of_the_package_in_a_pair_is_told_what_to_give() -> None:
    class AIMessageChunk:
        def model_dump(self) -> Wire:
            return chunk("Hello")

    verdict = StreamStore(PROTOCOL).ingest((AIMessageChunk(), {"langgraph_node": "agent"}))
    assert verdict.kind == "malformed"
    assert verdict.detail == (
        "0: must be a JSON object (dict), not AIMessageChunk; give what its model_dump() returns"
    )
    # Within a wire object a tuple is no array: JSON has none.
    assert StreamStore(PROTOCOL).ingest(chunk(({"type": "text"},))).kind == "malformed"


@pytest.mark.parametrize("protocol", [PROTOCOL, None])
def test_the_events_of_models_and_tools_that_run(protocol: str | None) -> None:
    streams = [("Let ", "lc_run--1", "a:1"), ("Yes", "msg_2", "b:1"), ("me", "lc_run--1", "a:1")]
    streams.append((".", "lc_run--2", "b:1"))  # of the message that is open in its node
    call = {"name": "f", "args": {"x": 1}, "id": "c1", "type": "tool_call"}
    asked = {"type": "ai", "content": "Let me", "id": "lc_run--1", "tool_calls": [call]}
    shown_chunk = chunk("Yes.", id="msg_2")
    result = {"type": "tool", "content": "r", "tool_call_id": "c1", "id": None}
    wires = [
        traced("on_chain_start", {"input": {"messages": [DAY]}}, "", ()),
        traced("on_chat_model_start", {"input": DAY}),
        *(
            traced("on_chat_model_stream", {"chunk": chunk(text, id=id)}, of)
            for text, id, of in streams
        ),
        traced("on_chain_stream", {"chunk": {"messages": [asked]}}, "a:1"),
        traced("on_chat_model_end", {"output": asked}, "a:1"),
        traced("on_chat_model_end", {"output": shown_chunk}, "b:1"),
        traced("on_tool_start", {"input": {"x": 1}}),
        traced("on_tool_end", {"output": result}),
        traced("on_tool_end", {"output": "a text, and no message"}),
        traced("on_custom_event", {"type": "ai"}),
        traced("on_chain_end", {"output": {"messages": [DAY]}}),
    ]
    store = StreamStore(protocol, ticks="manual")
    rewritten: list[Any] = []
    store.subscribe(
        lambda changes: rewritten.extend(e for e in changes.text.values() if e.rewritten)
    )
    for wire in wires:
        assert store.ingest(wire).kind in ("accepted", "held")
        store.flush()
    assert texts(store, "main") == [["Let me", ""], ["Yes."], ["r"]] and not rewritten
    tool_part = store.parts("main", "lc_run--1")[1]
    assert tool_part.fields["state"] == {"status": "completed", "output": "r"}
    session = store.session("main")
    assert session is not None and session.status is not None and session.status.type == "busy"
    store.ingest(traced("on_chain_end", {"output": {"messages": [DAY]}}, "", ()))
    store.flush()
    session = store.session("main")
    assert session is not None and session.status is not None and session.status.type == "idle"
    json.dumps(store.save())
    strange = StreamStore(PROTOCOL).ingest(traced("on_chat_model_stream", {"chunk": DAY}))
    assert strange.detail == "data.chunk: must be a JSON object (dict), not date"


def test_the_events_of_a_graph_bring_what_no_model_of_it_said() -> None:
    """The chunks of the graph itself are its updates, unless it is asked for something else."""
    store, stream = opened(ticks="each")

    def gave(data: Any, *parents: str) -> None:
        wire = traced("on_chain_stream", {"chunk": data}, "", parents)
        assert stream.ingest(wire).kind == "accepted"

    said = {"type": "ai", "content": "Yes", "id": "lc_run--2"}
    result: Wire = {"type": "tool", "content": "r", "tool_call_id": "c1", "id": None}
    limit = {"type": "ai", "content": "No more.", "id": "m1"}
    for answer in (
        chunk("Par", id="lc_run--1"),  # failed
        chunk("Yes", id="lc_run--2", chunk_position="last"),
    ):
        stream.ingest(traced("on_chat_model_stream", {"chunk": answer}))
    stream.ingest(traced("on_chat_model_end", {"output": said}))
    stream.ingest(traced("on_tool_end", {"output": result}, "tools:1"))
    assert texts(store) == [["Par"], ["Yes"], ["r"]]
    gave({"n": [{"messages": [said]}, None]})
    assert texts(store) == [["Yes"], ["r"]]
    # What was made of a result is that result.
    gave({"tools": {"messages": [{**result, "content": "Note: r", "id": "m0"}]}})
    gave({"limit": {"messages": [limit]}})
    assert texts(store) == [["Yes"], ["Note: r"], ["No more."]]
    gave({"trim": {"messages": [{"type": "remove", "id": "lc_run--2", "content": ""}]}})
    gave({"__interrupt__": ({"value": "sure?", "id": "i1"},)})
    assert texts(store) == [["Note: r"], ["No more."]]
    session = store.session("s")
    assert session is not None and list(session.questions) == ["i1"]
    # Of a graph below, another mode's, no updates, and what a program left as it is.
    other = {**limit, "id": "m2"}
    gave({"n": {"messages": [other]}}, "r0")
    for data in (
        {"messages": [other]}, ["updates", {"n": {"messages": [other]}}], "Yes", None,
        {"n": {"messages": [other, DAY]}}, {"__interrupt__": (DAY,)}, {"n": DAY},
    ):  # fmt: skip
        gave(data)
    assert texts(store) == [["Note: r"], ["No more."]]


# --- a node that is run again ---------------------------------------------------------------------

LAST = {"chunk_position": "last"}


def said_in(task: str, text: str, id: str, **members: Any) -> Wire:
    """A chunk as a graph streams it with `messages`."""
    scope, _, _ = task.rpartition("|")
    metadata = {"langgraph_node": "n", "langgraph_checkpoint_ns": task}
    data = [chunk(text, id=id, **members), metadata]
    return {"event": f"messages|{scope}" if scope else "messages", "data": data}


def state_of(mode: str, *said: tuple[str, str], scope: str = "") -> Wire:
    messages = [{"type": "ai", "content": text, "id": id} for text, id in said]
    data: Wire = {"messages": messages}
    return {
        "event": f"{mode}|{scope}" if scope else mode,
        "data": {"n": data} if mode == "updates" else data,
    }


@pytest.mark.parametrize("mode", ["updates", "values"])
@pytest.mark.parametrize("provided", [False, True])
@pytest.mark.parametrize("scope", ["", "sub:1"])
def test_what_a_failed_attempt_left_is_taken_back_when_the_graph_has_the_answer(
    mode: str, provided: bool, scope: str
) -> None:
    store, stream = opened(ticks="each")
    task = f"{scope}|n:2" if scope else "n:2"
    for attempt, text in (("1", "Hel"), ("2", "He"), ("3", "Hello")):
        for place, letter in enumerate(text):
            id = f"msg_{attempt}" if provided and place == 0 else f"lc_run--{attempt}"
            stream.ingest(said_in(task, letter, id))
    stream.ingest(said_in(task, "", "lc_run--3", **LAST))
    assert texts(store) == [["Hel"], ["He"], ["Hello"]]  # two models at once look the same
    # Of another task that runs, and of the same answer.
    stream.ingest(said_in("n:3", "Oth", "lc_run--4"))
    for _ in range(2):
        stream.ingest(state_of(mode, ("Hello", "lc_run--3"), scope=scope))
        assert texts(store) == [["Hello"], ["Oth"]]
    stream.ingest(said_in("n:3", "er", "lc_run--4"))
    assert texts(store) == [["Hello"], ["Other"]]


def test_what_failed_below_a_node_that_is_run_again_is_taken_back_by_what_is_above() -> None:
    store, stream = opened()
    below = "sub:1|n:1"
    again = "sub:1|1|n:5"  # the graph below is run once more, with tasks of its own
    stream.ingest(said_in(below, "Hel", "lc_run--1"))
    stream.ingest(said_in("sub:2|n:1", "Oth", "lc_run--3"))
    stream.ingest_many(
        [said_in(again, "Hello", "lc_run--2"), said_in(again, "", "lc_run--2", **LAST)]
    )
    answer = ("Hello", "lc_run--2")
    stream.ingest(state_of("updates", answer, scope="sub:1|1"))
    assert texts(store) == [["Hel"], ["Oth"], ["Hello"]]
    stream.ingest(state_of("updates", answer))
    assert texts(store) == [["Oth"], ["Hello"]]


@pytest.mark.parametrize("scope", ["", "sub:1"])
def test_what_failed_of_a_node_that_keeps_no_answer_is_taken_back_by_the_next_state(
    scope: str,
) -> None:
    store, stream = opened()
    task = f"{scope}|router:1" if scope else "router:1"
    stream.ingest(said_in(task, "Hel", "lc_run--1"))
    stream.ingest_many(
        [said_in(task, "Hello", "lc_run--2"), said_in(task, "", "lc_run--2", **LAST)]
    )
    for text, id, members in (("Oth", "lc_run--3", {}), ("Other", "lc_run--4", LAST)):
        stream.ingest(said_in("n:3|m:1", text, id, **members))
    stream.ingest(state_of("updates", scope=scope))  # of whichever task of the node
    assert texts(store) == [["Hel"], ["Hello"], ["Oth"], ["Other"]]
    stream.ingest(state_of("values", ("Go.", "m"), scope=scope))
    beside = [["Oth"]] if scope else []  # of a graph whose state this is not
    assert texts(store) == [["Hello"], *beside, ["Other"], ["Go."]]


def test_what_may_be_no_failed_attempt_stays() -> None:
    answer = [said_in("n:1", "Hello", "lc_run--2"), said_in("n:1", "", "lc_run--2", **LAST)]
    has = state_of("updates", ("Hello", "lc_run--2"))
    # Broken off by the node, which keeps it.
    store = fed(
        said_in("n:1", "End", "lc_run--1"),
        *answer,
        state_of("updates", ("End", "lc_run--1"), ("Hello", "lc_run--2")),
    )
    assert texts(store) == [["End"], ["Hello"]]
    # Of a model whose answer the state does not hold; of one that goes on behind the other's end.
    ended = [said_in("n:1", "Fine", "lc_run--1"), said_in("n:1", "", "lc_run--1", **LAST)]
    assert texts(fed(*ended, *answer, has)) == [["Fine"], ["Hello"]]
    assert texts(fed(ended[0], *answer, ended[1], has)) == [["Fine"], ["Hello"]]
    # Behind the answer; in a graph whose package does not say where an answer ends.
    assert texts(fed(*answer, ended[0], has)) == [["Hello"], ["Fine"]]
    assert texts(fed(ended[0], answer[0], has)) == [["Fine"], ["Hello"]]
    # In a chunk that says nothing of its task; by a state that is refused.
    assert texts(fed(chunk("Fine", id="lc_run--1"), *answer, has)) == [["Fine"], ["Hello"]]
    has["data"]["m"] = {"messages": [{"type": 1}]}
    assert texts(fed(ended[0], *answer, has)) == [["Fine"], ["Hello"]]


def test_a_failed_attempt_is_known_on_the_next_stream() -> None:
    store, stream = opened()
    stream.ingest(said_in("n:1", "Hel", "lc_run--1"))
    store.flush()
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    stream = store.open(PROTOCOL, session_id="s")
    stream.ingest_many(
        [said_in("n:1", "Hello", "lc_run--2"), said_in("n:1", "", "lc_run--2", **LAST)]
    )
    stream.ingest(state_of("values", ("Hello", "lc_run--2")))
    assert texts(store) == [["Hello"]]


@pytest.mark.parametrize("mode", ["updates", "values"])
def test_a_failed_attempt_that_is_replayed_is_taken_back_once_more(mode: str) -> None:
    log = [
        said_in("n:1", "Hel", "lc_run--1"),
        said_in("n:1", "Hello", "lc_run--2"),
        said_in("n:1", "", "lc_run--2", **LAST),
        state_of(mode, ("Hello", "lc_run--2")),
    ]
    store = fed(*log)
    for _ in range(2):
        store.open(PROTOCOL, session_id="s").ingest_many(copy.deepcopy(log))
        assert texts(store) == [["Hello"]]


def test_a_node_that_starts_again_takes_back_what_it_said() -> None:
    node = {"tags": ["graph:step:1"]}
    ended = {"type": "ai", "content": "One", "id": "lc_run--1"}
    result = {"type": "tool", "content": "r", "tool_call_id": "c1"}
    attempt = [
        traced("on_chain_start", {"input": {}}, "n:1") | node,
        traced("on_chat_model_stream", {"chunk": chunk("On", id="lc_run--1")}, "n:1"),
        traced("on_chat_model_end", {"output": ended}, "n:1"),
        traced("on_tool_end", {"output": result}, "n:1"),
        # A chain in the node is not the node, and a task of a graph below it is run for itself.
        traced("on_chain_start", {"input": {}}, "n:1") | {"tags": ["seq:step:1"]},
        traced("on_chain_start", {"input": {}}, "n:1|b:1") | node,
        traced(
            "on_chat_model_end", {"output": {**ended, "content": "Below", "id": "b"}}, "n:1|b:1"
        ),
        traced("on_chain_start", {"input": {}}, "n:1|c:1") | node,
        traced("on_chat_model_stream", {"chunk": chunk("Brok", id="c")}, "n:1|c:1"),
    ]
    store, stream = opened(ticks="each")
    stream.ingest(traced("on_chat_model_stream", {"chunk": chunk("Other", id="o")}, "n:11"))
    for _ in range(2):
        stream.ingest_many(attempt[:4])
        assert [each for each in texts(store) if each != ["Below"]] == [["Other"], ["One"], ["r"]]
        stream.ingest_many(attempt[4:])
        assert sorted(texts(store)) == [["Below"], ["Brok"], ["One"], ["Other"], ["r"]]
    stream.ingest(attempt[0])
    assert texts(store) == [["Other"], ["Below"]]  # a graph below may go on where it was
    for tags in (None, "graph:step:1", [1], []):
        stream.ingest(traced("on_chain_start", {"input": {}}, "n:11") | {"tags": tags})
    assert texts(store) == [["Other"], ["Below"]]


def asks(mode: str, scope: str = "", state: Any = ()) -> Wire:
    """What a graph yields when a node of it asks."""
    interrupt = ({"value": "sure?", "id": "i1"},)
    if mode == "envelope":
        wire = envelope({"messages": []}, method="values")
        wire["params"]["interrupts"] = interrupt
        return wire
    if mode == "input.requested":
        return envelope({"interrupt_id": "i1", "payload": "sure?"}, method=mode)
    if mode == "v2":
        said = {"messages": list(state)}
        return {"type": "values", "ns": (), "data": said, "interrupts": interrupt}
    data: Wire = {"__interrupt__": interrupt}
    if mode == "values":
        data["messages"] = list(state)
    return {"event": f"{mode}|{scope}" if scope else mode, "data": data}


def answered(task: str, id: str, text: str = "Sure?") -> list[Wire]:
    return [*(said_in(task, letter, id) for letter in text), said_in(task, "", id, **LAST)]


@pytest.mark.parametrize("mode", ["updates", "values", "v2", "envelope", "input.requested"])
@pytest.mark.parametrize("again", ["same", "other", "saved"])
def test_what_a_node_said_before_it_asked_gives_way_to_what_it_says_when_it_is_run_again(
    mode: str, again: str
) -> None:
    store, stream = opened(ticks="each")
    stream.ingest_many(answered("n:0", "lc_run--0", "Before"))
    stream.ingest(state_of("updates", ("Before", "lc_run--0")))
    stream.ingest_many(answered("m:1", "lc_run--9", "Beside"))
    for attempt in "123":  # it may ask several times
        stream.ingest_many(answered("n:1", f"lc_run--{attempt}"))
        assert texts(store) == [["Before"], ["Beside"], ["Sure?"]]
        stream.ingest(asks(mode))
        stream.ingest(asks(mode))  # also as the graph above says it
        assert texts(store) == [["Before"], ["Beside"], ["Sure?"]]
        if again == "saved":
            store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="each")
        if again != "same":
            stream = store.open(PROTOCOL, session_id="s")
    first, *rest = answered("n:1", "lc_run--4")
    stream.ingest(first)
    assert texts(store) == [["Before"], ["Beside"], ["S"]]
    stream.ingest_many(rest)
    stream.ingest_many(answered("n:1", "lc_run--5", "Then"))  # a second one of this attempt
    stream.ingest(state_of("updates", ("Sure?", "lc_run--4"), ("Then", "lc_run--5")))
    assert texts(store) == [["Before"], ["Beside"], ["Sure?"], ["Then"]]


def test_what_is_said_beside_a_node_that_asks_stands_at_its_place_in_the_end() -> None:
    store, stream = opened(ticks="each")
    stream.ingest_many(answered("n:1", "lc_run--1", "One"))
    stream.ingest(said_in("m:1", "Oth", "lc_run--2"))
    stream.ingest(asks("updates"))
    stream.ingest(said_in("m:1", "er", "lc_run--2", response_metadata={"a": 1}))
    stream.ingest_many(answered("m:1", "lc_run--3", "More"))  # it went on by itself
    assert texts(store) == [["One"], ["Other"], ["More"]]
    # What nothing told from an attempt that is made again, as nothing was open.
    stream.ingest_many([asks("updates"), *answered("m:1", "lc_run--4", "Last")])
    assert texts(store) == [["One"], ["Last"]]
    said = [(text, f"lc_run--{n}") for n, text in enumerate(("Other", "More", "Last"), 2)]
    stream.ingest(state_of("updates", *said))
    assert texts(store) == [["One"], ["Other"], ["More"], ["Last"]]
    # What was being said is of a task that goes on, and so is one that ends by a tool's result.
    stream.ingest_many([said_in("k:0", "Mid", "lc_run--8"), asks("updates")])
    stream.ingest_many([*answered("k:0", "lc_run--8", "st"), *answered("k:0", "lc_run--9", "End")])
    stream.ingest(asks("updates"))
    result = {"type": "tool", "content": "r", "tool_call_id": "c1", "id": "t1"}
    stream.ingest({"event": "messages", "data": [result, {"langgraph_checkpoint_ns": "k:0"}]})
    assert texts(store)[-3:] == [["Midst"], ["End"], ["r"]]
    # Nor is what the graph has: what a model says that the node did not wait for is one more.
    stream.ingest_many([*answered("k:1", "lc_run--6", "Kept"), asks("updates")])
    stream.ingest(state_of("updates", ("Kept", "lc_run--6")))
    stream.ingest_many(answered("k:1", "lc_run--7", "Title"))
    assert texts(store)[-2:] == [["Kept"], ["Title"]]
    # Where nothing is asked, nothing is made again.
    store = fed(
        *answered("n:1", "lc_run--1", "One"),
        {"event": "updates", "data": {"__interrupt__": []}},
        *answered("n:1", "lc_run--2", "Two"),
    )
    assert texts(store) == [["One"], ["Two"]]


def test_a_refused_update_that_asks_changes_nothing() -> None:
    store, stream = opened(ticks="each")
    stream.ingest_many(answered("n:1", "lc_run--1"))
    wire = asks("updates")
    wire["data"]["n"] = {"messages": [{"type": 1}]}
    assert stream.ingest(wire).kind == "malformed"
    stream.ingest_many(answered("n:1", "lc_run--2"))
    assert texts(store) == [["Sure?"], ["Sure?"]]


def test_what_a_task_said_in_another_run_of_the_graph_gives_way() -> None:
    def ran(run: Any, attempt: Any, *wires: Wire) -> list[Wire]:
        for wire in wires:
            wire["data"][1].update({"run_id": run, "run_attempt": attempt})
        return list(wires)

    store, stream = opened(ticks="each")
    stream.ingest_many(ran("r1", 1, *answered("n:1", "lc_run--1"), *answered("n:1", "lc_run--2")))
    stream.ingest_many(ran("r1", 1, *answered("m:1", "lc_run--3", "Other")))
    assert texts(store) == [["Sure?"], ["Sure?"], ["Other"]]  # two of one attempt
    for number, (run, attempt) in enumerate([("r2", 1), ("r2", 2), ("r3", None)], 4):
        stream = store.open(PROTOCOL, session_id="s")
        first, *rest = ran(run, attempt, *answered("n:1", f"lc_run--{number}"))
        stream.ingest(first)
        assert texts(store) == [["Other"], ["S"]]
        stream.ingest_many(rest)
    # Whole, as the graph says it again; without a run it proves nothing.
    whole = {"type": "ai", "content": "Whole", "id": "w1"}
    pair = [whole, {"langgraph_checkpoint_ns": "n:1", "run_id": "r4"}]
    stream.ingest({"event": "messages", "data": pair})
    assert texts(store) == [["Other"], ["Whole"]]
    odds: list[Any] = [None, 1, [], {}]
    for odd in odds:
        stream.ingest_many(ran(odd, 1, *answered("n:1", f"odd-{odd}", "Odd")))
    assert texts(store) == [["Other"], ["Whole"], *[["Odd"]] * 4]


@pytest.mark.parametrize("told_by", ["run", "values"])
def test_messages_that_come_whole_again_and_again_are_of_the_task_that_was_named(
    told_by: str,
) -> None:
    def partial(id: str, task: str, text: str, run: str) -> list[Wire]:
        metadata: Wire = {"langgraph_checkpoint_ns": task}
        if told_by == "run":
            metadata.update(run_id=run, run_attempt=1)
        return [
            {"event": "messages/metadata", "data": {id: {"metadata": metadata}}},
            *(
                {"event": "messages/partial", "data": [{"type": "ai", "content": part, "id": id}]}
                for part in (text[:1], text)
            ),
        ]

    store, stream = opened(ticks="each")
    stream.ingest_many(partial("lc_run--1", "n:1", "Sure?", "r1"))
    stream.ingest_many(partial("lc_run--2", "m:1", "Other", "r1"))
    if told_by == "values":
        stream.ingest(asks("values"))
    else:
        stream = store.open(PROTOCOL, session_id="s")
    first, *rest = partial("lc_run--3", "n:1", "Sure!", "r2")
    stream.ingest_many([first, rest[0]])
    assert texts(store) == [["Other"], ["S"]]
    stream.ingest(rest[1])
    for odd in (None, [], {"lc_run--3": 1}, {"lc_run--3": {"metadata": 1}}):
        assert stream.ingest({"event": "messages/metadata", "data": odd}).kind == "accepted"
    for number in range(300):
        stream.ingest_many(partial(f"x{number}", "o:1", "x", "r2")[:1])
    assert len(json.dumps(store.save())) < 40_000
    assert texts(store) == [["Other"], ["Sure!"]]


def test_the_run_that_the_agent_protocol_names_is_the_models() -> None:
    def event(data: Wire, run: str) -> list[Any]:
        return [data, {"langgraph_checkpoint_ns": "n:1", "run_id": run}]

    store, stream = opened(ticks="each")

    def say(run: str) -> None:
        start = agent("message-start", role="ai", id=f"lc_run--{run}")
        for data in (start, delta("text", "Sure?"), agent("message-finish")):
            stream.ingest(event(data, run))

    say("1")
    say("2")
    assert texts(store) == [["Sure?"], ["Sure?"]]
    stream.ingest(asks("envelope"))
    say("3")
    assert texts(store) == [["Sure?"]]


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


@pytest.mark.parametrize("event", ["completed", "failed"])
def test_a_graph_below_that_ends_does_not_end_the_run(event: str) -> None:
    below = {"namespace": ["sub:1"]}
    store = fed(
        envelope({"event": "started"}, method="lifecycle"),
        envelope(agent("message-start", role="ai", id="m1")),
        envelope(delta("text", "a")),
        envelope({"event": "started", **below}, method="lifecycle"),
        envelope({"event": event, "error": "why", **below}, method="lifecycle"),
        envelope(delta("text", "b")),
    )
    session = store.session("s")
    assert session is not None and session.status is not None
    assert session.status.type == "busy" and not session.errors
    assert store.messages("s")[0].status == "open" and texts(store) == [["ab"]]
    store.open(PROTOCOL, session_id="s").ingest(
        envelope({"event": "completed", "namespace": []}, method="lifecycle")
    )
    store.flush()
    session = store.session("s")
    assert session is not None and session.status is not None and session.status.type == "idle"


@pytest.mark.parametrize("of", [list, tuple])
@pytest.mark.parametrize("form", ["envelope", "named", "bare", "mode"])
def test_events_with_the_metadata_of_their_node(
    form: str, of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = decoded_by(monkeypatch)
    number = 0

    def event(data: Wire, task: str) -> Any:
        nonlocal number
        number += 1
        pair = of((data, {"langgraph_checkpoint_ns": task, "run_id": "r"}))
        if form == "envelope":
            return envelope(pair, number)
        return {"named": {"event": "messages", "data": list(pair)}, "mode": ("messages", pair)}.get(
            form, list(pair)
        )

    def start(id: str, task: str) -> Any:
        return event(agent("message-start", role="ai", id=id), task)

    store, stream = opened(ticks="manual")
    wires = [start("lc_run--1", "n:1"), start("lc_run--9", "other:1")]
    for word in ("H", "e", "l"):  # nodes that run side by side
        wires += [event(delta("text", word), task) for task in ("n:1", "other:1")]
    wires.append(start("lc_run--2", "n:1"))  # an attempt that is made again
    wires += [event(delta("text", word), "n:1") for word in "Hello"]
    wires.append(event(agent("message-finish"), "n:1"))
    assert {stream.ingest(wire).kind for wire in wires} == {"accepted"}
    assert texts(store) == [["Hel"], ["Hel"], ["Hello"]]
    assert form != "envelope" or len(decoded) == 4 + 3  # of the deltas, the first of each message
    stream.ingest(state_of("values", ("Hello", "lc_run--2")))
    assert texts(store) == [["Hel"], ["Hello"]]
    stream.ingest(event(delta("text", "lo"), "other:1"))
    assert texts(store) == [["Hello"], ["Hello"]]
    for odd in (({}, {}), (agent("content-block-delta"), {}), (delta("text", "x"), {"type": 1})):
        verdict = stream.ingest(envelope(of(odd), number + 1))
        assert verdict.kind in ("malformed", "unknown")


def test_what_a_state_of_the_agent_protocol_asks_is_a_question() -> None:
    store, stream = opened()
    wire = envelope({"messages": []}, method="values")
    wire["params"]["interrupts"] = ({"value": {"q": 1}, "id": "i1"},)
    assert stream.ingest(wire).kind == "accepted"
    store.flush()
    session = store.session("s")
    assert session is not None and session.questions["i1"].payload == {"payload": {"q": 1}}
    wire["params"]["interrupts"] = (DAY,)
    assert stream.ingest(wire).kind == "malformed"


def beside(*names: str) -> list[Wire]:
    """Messages of nodes that a server runs side by side: it strips what tells them apart."""
    begun = [
        agent_event
        for name in names
        for agent_event in (
            agent("message-start", role="ai", id=name),
            agent("content-block-start", index=0, content={"type": "text", "text": ""}),
            delta("text", "by "),
        )
    ]
    ended = [
        agent_event
        for name in names
        for agent_event in (
            delta("text", name),
            agent("content-block-finish", index=0, content={"type": "text", "text": f"by {name}"}),
            agent("message-finish"),
        )
    ]
    return [envelope(data, seq) for seq, data in enumerate([*begun, *ended], 1)]


def test_messages_side_by_side_in_one_namespace_are_no_more_than_were_begun() -> None:
    wires = beside("m1", "m2", "m3")
    store = fed(*wires)
    assert [message.id for message in store.messages("s")] == ["m1", "m2", "m3"]
    assert sorted(texts(store)) == [["by m1"], ["by m2"], ["by m3"]]
    assert {message.status for message in store.messages("s")} == {"completed"}
    # Sent again from anywhere on another stream, all of it is known.
    before = shown(store)
    for start in range(len(wires)):
        store.open(PROTOCOL, session_id="s").ingest_many(copy.deepcopy(wires[start:]))
        store.flush()
        assert shown(store) == before


def test_what_a_state_has_taken_in_may_come_again_behind_it() -> None:
    wires = beside("m1", "m2")
    said = [
        {"type": "ai", "content": f"by {name}", "id": name, "tool_calls": []}
        for name in ("m1", "m2")
    ]
    wires.append(envelope({"messages": said}, 20, method="values"))
    store = fed(*wires)
    assert texts(store) == [["by m1"], ["by m2"]]
    store.open(PROTOCOL, session_id="s").ingest_many(copy.deepcopy(wires[-3:]))
    assert texts(store) == [["by m1"], ["by m2"]]


def test_a_delta_that_is_spelled_as_a_block() -> None:
    below = ("tools:c1",)
    store = fed(
        envelope(agent("message-start", role="tool", id="t1", tool_call_id="c1"), 1, *below),
        envelope(agent("content-block-start", index=0, content={"type": "text"}), 2, *below),
        envelope(
            agent("content-block-delta", index=0, content={"type": "text", "text": "3"}), 3, *below
        ),
        policy="strict",
    )
    assert texts(store) == [["3"]] and verdicts(store) == {"accepted": 3}


def test_a_run_of_a_thread_is_over_when_the_stream_of_the_thread_says_so() -> None:
    run = {"run_id": "r1", "attempt": 1}
    store, stream = opened()
    stream.ingest({"event": "metadata", "data": run})
    stream.ingest(
        {"event": "messages/partial", "data": [{"type": "ai", "content": "a", "id": "m1"}]}
    )
    store.flush()
    session = store.session("s")
    assert session is not None and session.status is not None and session.status.type == "busy"
    stream.ingest({"event": "metadata", "data": {"status": "run_done", "run_id": "r1"}})
    store.flush()
    session = store.session("s")
    assert session is not None and session.status is not None and session.status.type == "idle"
    assert [message.status for message in store.messages("s")] == ["completed"]


def of_run(text: str, id: str, run: str = "r1") -> Wire:
    about = {"run_id": run, "langgraph_node": "n", "langgraph_checkpoint_ns": f"n:{id}"}
    return {"event": "messages", "data": [chunk(text, id=id), about]}


@pytest.mark.parametrize("resumed", [[], [of_run("b", "m1")], [of_run("c", "m2")]])
def test_the_end_of_a_run_ends_what_it_said_on_streams_before(resumed: list[Wire]) -> None:
    end = {"event": "end", "data": None}
    store, stream = opened()
    stream.ingest(of_run("x", "m0", run="r0"))
    stream.end()
    stream = store.open(PROTOCOL, session_id="s")
    stream.ingest({"event": "metadata", "data": {"run_id": "r1", "attempt": 1}})
    stream.ingest(of_run("a", "m1"))
    stream.end()
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    stream = store.open(PROTOCOL, session_id="s")
    stream.ingest_many([*resumed, end])
    stream.end()
    store.flush()
    statuses = {message.id: message.status for message in store.messages("s")}
    assert statuses.pop("m0") == "open"  # another run's: nothing is known of its end
    assert set(statuses.values()) == {"completed"}


def test_an_error_ends_nothing_that_another_stream_says() -> None:
    store, stream = opened()
    stream.ingest(of_run("a", "m1"))
    error = {"event": "error", "data": {"error": "busy", "message": "a run is there"}}
    store.open(PROTOCOL, session_id="s").ingest(error)
    other = store.open(PROTOCOL, session_id="s")
    other.ingest_many([of_run("b", "m2", run="r2"), {"event": "end", "data": None}])
    store.flush()
    assert [message.status for message in store.messages("s")] == ["open", "completed"]


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


def test_blocks_that_are_not_standard_end_in_their_sum() -> None:
    def odd(index: int, **value: Any) -> Wire:
        return {"type": "non_standard", "value": {"type": "odd", **value}, "index": index}

    wires = [
        chunk([odd(0, text="a"), piece("text", "one", 1), {"type": "x", "value": "a", "index": 2}]),
        chunk([odd(0, text="b", n={"m": 1}), odd(1, cited=["c"])]),
        chunk([odd(1, cited=["d"]), {"type": "non_standard", "value": "b", "index": 2}]),
        chunk([piece("text", " two", 1)], response_metadata={"l": [odd(0, s="x")]}),
        chunk("", response_metadata={"l": [odd(0, s="y")]}),
    ]
    store = fed(*wires, policy="strict")
    (mine,) = made(store)
    assert mine["content"] == [
        odd(0, text="ab", n={"m": 1}),
        {**piece("text", "one two", 1), "extras": {"cited": ["c", "d"]}},
        {"type": "x", "value": "ab", "index": 2},
    ]
    assert mine["response_metadata"] == {"l": [odd(0, s="xy")]}


# --- summaries of a reasoning ---------------------------------------------------------------------


def shares(store: StreamStore) -> list[tuple[str, str]]:
    """Kind and text of each part of the only message."""
    store.flush()
    (message,) = store.messages("s")
    return [(part.kind, part.text) for part in store.parts("s", message.id)]


def test_the_texts_of_a_summary_are_the_text_of_its_reasoning() -> None:
    store = fed(*SUMMARIES)
    assert shares(store) == [
        ("reasoning", "**Think**\n\nfirst\n\n**Then** \U0001f600"),
        ("text", "one"),
        ("reasoning", "more\n\n\n\nmuch\n\nmore"),
        ("text", "two"),
    ]
    (message,) = made(store)
    assert message["content"] == [
        {
            **reasoned(
                summed("**Think**\n\nfirst"),
                summed("**Then** \U0001f600", 1),
                id="rs_1",
            ),
            "encrypted_content": "gAAA",
        },
        piece("text", "one", 1),
        reasoned(
            summed("more"), summed("", 1), {**summed("\n\nmuch", 2), "n": 3}, summed("more", 3),
            index=2, id="rs_2",
        ),
        piece("text", "two", 3),
    ]  # fmt: skip


def test_what_is_shown_of_a_summary_is_a_prefix_of_what_it_becomes() -> None:
    assert_every_tick_is_a_prefix(PROTOCOL, SUMMARIES)


def test_chunks_of_summaries_do_not_show() -> None:
    assert_chunks_do_not_show(PROTOCOL, SUMMARIES)


def test_summaries_saved_at_any_cut() -> None:
    assert_saves_resume(PROTOCOL, SUMMARIES)


def test_no_law_is_broken_by_summaries() -> None:
    assert_no_law_broken(SUMMARIES)


def test_more_of_a_summary_is_one_delta_and_no_more_memory() -> None:
    context = Context()
    adapter = LangChainAdapter(context)
    adapter.decode(chunk([reasoned(id="rs_1")]))
    item = {**summed("some"), "more": [{}]}
    adapter.decode(chunk([reasoned(item)]))
    before = len(json.dumps([context.own, context.shared]))
    for _ in range(100):
        (event,) = adapter.decode(chunk([reasoned(summed("some"))]))
        assert isinstance(event, BlockDelta) and event.text == "some"
    assert len(json.dumps([context.own, context.shared])) <= before + 2  # a number's digits
    _, event = adapter.decode(chunk([reasoned(summed("", 1))]))
    assert isinstance(event, BlockDelta) and event.text == ""
    # The empty line comes with the text behind it, so that none is left where nothing comes.
    (event,) = adapter.decode(chunk([reasoned(summed("some", 1))]))
    assert isinstance(event, BlockDelta) and event.text == "\n\nsome"
    (event,) = adapter.decode(chunk([reasoned(summed("some", 1))]))
    assert isinstance(event, BlockDelta) and event.text == "some"


@pytest.mark.parametrize("final", [True, False])
def test_a_whole_message_shows_its_summaries(final: bool) -> None:
    content: list[Wire] = [
        {"type": "reasoning", "id": "rs_1", "summary": [
            {"type": "summary_text", "text": "\n\na"}, {"type": "summary_text", "text": ""},
            "odd", {"type": "other"}, {"type": "summary_text", "text": "\U0001f600b"},
        ]},
        {"type": "reasoning", "id": "rs_2", "summary": []},
        {"type": "reasoning", "id": "rs_3", "summary": None, "content": []},
        {"type": "reasoning", "id": "rs_4", "summary": [summed("c"), summed("d")], "index": 4},
        {"type": "data", "summary": [summed("d")], "index": 5},
        {"type": "text", "text": "done"},
    ]  # fmt: skip
    whole = {"type": "ai", "content": content, "id": "m1"}
    name = "complete" if final else "partial"
    store, stream = opened(ticks="each")
    stream.ingest({"event": f"messages/{name}", "data": [copy.deepcopy(whole)]})
    expected = ["\n\na\n\n\U0001f600b", "", "", "c\n\nd", "", "done"]
    assert texts(store) == [expected]
    assert made(store)[0]["content"] == content
    if not final:  # and goes on
        # What is added goes to the first of two items with one index, which is not the last.
        for item in (summed("x"), summed("e", 1), summed("f", 1)):
            stream.ingest(chunk([reasoned(item, index=4)]))
        stream.ingest(chunk([{"type": "data", "summary": [summed("e", 1)], "index": 5}]))
        expected[3] = "c\n\nd\n\nef"
        assert texts(store) == [expected]
        content[3]["summary"] = [summed("cx"), summed("d"), summed("ef", 1)]
        content[4]["summary"] = [summed("d"), summed("e", 1)]
        assert made(store)[0]["content"] == content


def test_a_final_message_with_the_same_summaries_rewrites_nothing() -> None:
    store, stream = opened(ticks="each")
    stream.ingest_many(copy.deepcopy(SUMMARIES))
    before = shares(store)
    rewritten: list[Any] = []
    store.subscribe(lambda changes: rewritten.extend(changes.text.values()))
    whole = {**made(store)[0], "type": "ai"}
    content = copy.deepcopy(whole["content"])
    stream.ingest({"event": "messages/complete", "data": [whole]})
    assert (shares(store), rewritten) == (before, [])
    assert made(store)[0]["content"] == content


def test_a_state_that_was_saved_with_the_texts_in_the_items_goes_on() -> None:
    store = fed(chunk([reasoned(id="rs_1")]))
    was = json.dumps([summed("old")])
    saved = json.dumps(store.save())
    assert saved.count('"summary": []') == 3  # in the memory, and twice in the part
    store = StreamStore.load(json.loads(saved.replace('"summary": []', f'"summary": {was}')))
    stream = store.open(PROTOCOL, session_id="s")
    stream.ingest(chunk([reasoned(summed(" one"))]))
    assert texts(store) == [[""]]
    for text in ("", "ne", "w"):
        stream.ingest(chunk([reasoned(summed(text, 1))]))
    assert texts(store) == [["new"]]
    assert made(store)[0]["content"] == [reasoned(summed("old one"), summed("new", 1), id="rs_1")]


def an_odd_piece(draw: random.Random) -> Wire:
    """A piece of a reasoning whose summary may be anything."""

    def item() -> Any:
        made: Wire = {"type": draw.choice(["summary_text", "summary_text", "other"])}
        index = draw.choice([0, 0, 1, 1, 2, "lc_3", "x", None, 1.5, "no"])
        if index != "no":
            made["index"] = index
        text = draw.choice(
            ["a", "b\n\n", "\n", "\U0001f600", "\ud83d", "\ude00", "", None, 5, "no"]
        )
        if text != "no":
            made["text"] = text
        if draw.random() < 0.2:
            made.update(draw.choice([{"id": "i1"}, {"id": "i2"}, {"n": 1}, {"list": [{}]}]))
        return made

    made: Wire = {"type": "reasoning", "index": 0}
    items: Any = [item() for _ in range(draw.choice([0, 1, 1, 1, 1, 2, 3]))]
    if draw.random() < 0.2:
        items = draw.choice([None, "x", 5, {"text": "a"}, ["x"], [None], [summed("a"), [1]]])
    if draw.random() < 0.9:
        made["summary"] = items
    if draw.random() < 0.1:
        made.update(draw.choice([piece("reasoning", "r"), piece("text", "t")]))
        made["type"] = "reasoning"
    return made


def written(value: Any) -> Any:
    """As it is read again: halves of a pair that came apart are one character."""
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("seed", range(150))
@each_policy
def test_odd_summaries_end_in_their_sum(seed: int, policy: Any) -> None:
    messages = pytest.importorskip("langchain_core.messages", reason=WHY)
    draw = random.Random(seed)
    total: Any = messages.AIMessageChunk(content=[], id="m1")
    store, stream = opened(policy, ticks="each")
    stream.ingest(total.model_dump())
    stops = False
    for _ in range(draw.choice([3, 12])):
        odd = an_odd_piece(draw)
        if seed < 50 and draw.random() < 0.9:  # mostly as they are sent
            odd = reasoned(summed(draw.choice("ab"), draw.choice([0, 1])))
        try:
            total += messages.AIMessageChunk(content=[copy.deepcopy(odd)], id="m1")
        except TypeError:
            stops = True
        verdict = stream.ingest(chunk([odd]))
        assert verdict.kind == ("refused" if stops and policy == "strict" else "accepted")
        if stops and policy == "strict":
            break
        (mine,) = made(store)
        if not stops and "\\ud83d" not in str(total.content):  # it may wait for its half
            assert written(mine["content"]) == written(total.content)
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="each")
        stream = store.open(PROTOCOL, session_id="s", policy=policy)
    if not stops:
        stream.ingest(chunk("", chunk_position="last"))
        assert written(made(store)[0]["content"]) == written(total.content)


@pytest.mark.parametrize("seed", range(20))
@each_policy
def test_odd_summaries_are_the_same_by_either_way(
    seed: int, policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    wires: list[tuple[int, Any]] = []
    for index in range(8):
        at: Any = 0
        for _ in range(draw.choice([2, 5])):
            texts = [draw.choice(["a", "b\n\n", "\U0001f600", "\ud83d", "", ""]) for _ in range(5)]
            more = [reasoned(summed(text, at), index=index) for text in texts]
            if draw.random() < 0.2:
                more.insert(draw.randrange(5), {**an_odd_piece(draw), "index": index})
            stream = draw.choice([0, 0, 0, 0, 1])
            wires += [(stream, chunk([each])) for each in more]
            at = draw.choice([at, 1, 1, 2, 3, "lc_4", True])
    cut = draw.randrange(len(wires))
    decoded = decoded_by(monkeypatch)
    short = by_either_way(wires, policy, cut)
    assert policy == "strict" or len(decoded) < 0.8 * len(wires)
    monkeypatch.setattr(ShortWay, "plain", lambda self, wire: None)
    for mine, theirs in zip(short, by_either_way(wires, policy, cut), strict=True):
        assert mine == theirs


def test_the_texts_of_a_summary_outlive_what_cannot_be_added_up() -> None:
    store = fed(
        chunk([reasoned(summed("a"))]),
        chunk([reasoned({"index": 0, "text": 5})]),
        chunk([reasoned(summed("b"))]),
        chunk([{"type": "reasoning", "summary": "none", "index": 0}]),
        chunk([reasoned(summed("c"), summed("d", 1))]),
        chunk([reasoned({"index": 1, "text": ""}, summed("e", 2))]),
        chunk([reasoned(summed("f", 2))]),
    )
    # What came for the list that took the other's place stands there alone.
    assert shares(store) == [("reasoning", "a\n\nef")]
    (content,) = made(store)[0]["content"]
    assert content["summary"] == [summed("c"), summed("d", 1), summed("ef", 2)]


def test_an_end_says_more_of_why_than_its_metadata() -> None:
    # As langchain-core 1.8.4 sends a call whose provider said no more than that it stopped.
    given = {"finish_reason": "STOP", "normalized_finish_reason": "stop", "finish_state": "x"}
    said = {"finish_reason": "STOP", "normalized_finish_reason": "tool_call", "finish_state": None}
    store = fed(
        agent("message-start", role="ai", id="m1"), agent("message-finish", metadata=given, **said)
    )
    expected = {**given, "normalized_finish_reason": "tool_call", "output_version": "v1"}
    found = made(store)[0]["response_metadata"]
    assert {name: found.get(name) for name in expected} == expected


def test_nested_metadata_that_comes_again_adds_up() -> None:
    messages = pytest.importorskip("langchain_core.messages", reason=WHY)
    said = {"a": {"n": 1, "s": "x"}, "b": [1], "c": [summed("y")], "d": 1.5, "e": True}
    chunks = [messages.AIMessageChunk(content="a", id="m1", response_metadata=said)] * 2
    store = fed(*(each.model_dump() for each in chunks), policy="strict")
    assert made(store)[0]["response_metadata"] == (chunks[0] + chunks[1]).response_metadata


@pytest.mark.parametrize("form", ["bare", "pair", "named", "event"])
def test_the_texts_of_summaries_take_the_short_way(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = decoded_by(monkeypatch)
    wires = [
        chunk([], id="resp_1"),
        chunk([reasoned(id="rs_1")], id="lc_run--1"),
        *(chunk([reasoned(summed(text))], id="lc_run--1") for text in ("", "a", "", "b")),
        *(chunk([reasoned(summed(text, 1))], id="resp_1") for text in ("", "c", "\U0001f600")),
        chunk([reasoned(summed("d", 1), id="rs_1")], id="resp_1"),
        chunk([reasoned(summed("e", "lc_2"))], id="resp_1"),
        chunk([reasoned(summed("f", "lc_2"))], id="resp_1"),
    ]
    wires = in_form(form, wires)
    store = fed(*wires)
    assert texts(store) == [["ab\n\nc\U0001f600d\n\nef"]]
    (content,) = made(store)[0]["content"]
    assert content["summary"] == [summed("ab"), summed("c\U0001f600d", 1), summed("ef", "lc_2")]
    # All but the first one of each.
    assert decoded == [wires[number] for number in (0, 1, 2, 6, 10)]


@pytest.mark.parametrize(
    "wire",
    [
        chunk([reasoned(summed("x"))]),  # not the last one
        chunk([reasoned(summed("x", 2))]),
        chunk([reasoned(summed("x", True))]),
        chunk([reasoned(summed("x", 1.0))]),
        chunk([reasoned(summed("x", None))]),
        chunk([reasoned(summed("x", "lc_1"))]),
        chunk([reasoned(summed(None, 1))]),
        chunk([reasoned(summed(5, 1))]),
        chunk([reasoned({"type": "summary_text", "text": "x"})]),
        chunk([reasoned({"index": 1, "text": "x"})]),
        chunk([reasoned({"index": 1, "type": "summary_text"})]),
        chunk([reasoned({"index": 1, "text": "x", "n": 1})]),
        chunk([reasoned({**summed("x", 1), "id": None})]),
        chunk([reasoned(summed("x", 1), summed("y", 1))]),
        chunk([reasoned("x")]),
        chunk([reasoned(["x"])]),
        chunk([reasoned()]),
        chunk([reasoned(summed("x", 1), index=5)]),
        chunk([reasoned(summed("x", 1), index=True)]),
        chunk([reasoned(summed("x", 1), id="b")]),
        chunk([reasoned(summed("x", 1), encrypted_content="x")]),
        chunk([{**reasoned(summed("x", 1)), "reasoning": "x"}]),
        chunk([{**reasoned(), "summary": {"0": summed("x", 1)}}]),
        chunk([{**reasoned(), "summary": "x"}]),
        chunk([{"summary": [summed("x", 1)], "index": 0}]),
        chunk([piece("reasoning", "x")]),
        chunk([reasoned(summed("x", 1)), reasoned(summed("x", 1))]),
        chunk([reasoned(summed("x", 1))], usage_metadata={}),
        chunk([reasoned(summed("x", 1), index=1)]),  # whose items have another text
        chunk([reasoned(summed("x"), index=2)]),  # whose first item has the index, too
        chunk([reasoned(summed("x"), index=3)]),  # what came before is no list of items
        chunk([reasoned({**summed("x"), "index": "x"}, index=4)]),
        chunk([reasoned(summed("x", 1), index=6)]),  # which has no text of its own yet
    ],
)
def test_the_short_way_of_summaries_takes_nothing_else(wire: Any) -> None:
    context = Context()
    adapter = LangChainAdapter(context)
    adapter.decode(chunk([reasoned(summed("a"), summed("b", 1), id="rs_1")]))
    adapter.decode(chunk([reasoned(summed("a", 0), {"index": 1, "text": 5}, index=1)]))
    adapter.decode(chunk([reasoned(summed("a"), summed("b"), index=2)]))
    adapter.decode(chunk([reasoned(summed("a"), index=3)]))
    adapter.decode(chunk([{**reasoned(index=3), "summary": "none"}]))
    adapter.decode(chunk([reasoned({**summed("a"), "index": "x"}, index=4)]))
    adapter.decode(chunk([reasoned(summed("a"), summed(5, 1), index=6)]))
    adapter.decode(chunk([reasoned(summed("", 1), index=6)]))
    (known,) = context.of_session()["messages"].values()
    key = PartKey("main", "m1", "content/0")
    for number, block in enumerate(
        (
            reasoned(summed("x", 1)),
            reasoned(summed("x", 1), id="rs_1"),
            {**reasoned({**summed("x", 1), "type": 5}), "type": "other"},
        )
    ):
        assert adapter.plain(chunk([block])) == (key, "x", None)
        assert known["blocks"][0]["length"] == 5 + number
    before = json.dumps(context.shared)
    try:
        assert adapter.plain(wire) is None
    except (KeyError, TypeError, AttributeError):
        pass
    assert json.dumps(context.shared) == before


def test_a_length_is_noted_once() -> None:
    context = Context()
    adapter = LangChainAdapter(context)
    adapter.decode(chunk([reasoned(summed("a"), summed("", 1))]))
    (known,) = context.of_session()["messages"].values()
    wire = chunk([reasoned(summed("\U0001f600", 1))])
    found = (PartKey("main", "m1", "content/0"), "\n\n\U0001f600", None)
    assert (adapter.plain(wire), known["blocks"][0]["length"]) == (found, 5)
    (event,) = adapter.decode(wire)  # it takes the long way after all
    assert isinstance(event, BlockDelta) and event.text == found[1]
    assert known["blocks"][0]["length"] == 5
    # What another stream adds by the short way counts here as well.
    other = LangChainAdapter(Context(shared=context.shared, own=copy.deepcopy(context.own)))
    for each in (other, adapter, other):
        assert each.plain(wire) == (found[0], "\U0001f600", None)
    assert known["blocks"][0]["length"] == 11


# --- hostile input --------------------------------------------------------------------------------


@given(st.lists(mutated(EVENTS) | JSON, max_size=5), st.integers(0, 12), st.sampled_from(NAMES))
def test_anything_is_events_or_a_reason(wires: list[Any], at: int, name: str) -> None:
    assert_total(PROTOCOL, wires, CASES[name][:at])


@given(st.lists(mutated(EVENTS), max_size=6), st.integers(0, 12), st.sampled_from(NAMES))
def test_the_short_way_agrees_on_anything(wires: list[Any], at: int, name: str) -> None:
    wires = [*CASES[name][:at], *wires, *CASES[name][at:]]
    states = []
    for plain in (ShortWay.plain, lambda self, wire: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ShortWay, "plain", plain)
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


def test_what_a_list_of_metadata_holds_already_is_not_made_anew_by_each_chunk() -> None:
    store, stream = opened()
    ratings = [{"category": name, "probability": "LOW"} for name in "ab"]
    held: list[Any] = []
    for _ in range(3):
        stream.ingest(chunk("x", response_metadata={"safety_ratings": copy.deepcopy(ratings)}))
        store.flush()
        message = store.message("s", "m1")
        assert message is not None
        held.append(message.info["wire"]["response_metadata"]["safety_ratings"])
    assert [len(each) for each in held] == [2, 4, 6]
    assert all(held[1][place] is held[2][place] for place in (2, 3))


def test_a_chunk_makes_no_memory_anew_of_the_tools_and_blocks_that_it_leaves_alone() -> None:
    context = Context()
    adapter = LangChainAdapter(context)
    for index in range(3):
        adapter.decode(chunk([piece("text", "a", index)], tool_call_chunks=[tool("x", index)]))
    known = context.of_session()["messages"]["m1"]
    before = [*known["blocks"], *known["tools"]]
    adapter.decode(chunk([piece("text", "b", 2)], tool_call_chunks=[tool("y", 1)]))
    after = [*known["blocks"], *known["tools"]]
    same = [was is now for was, now in zip(before, after, strict=True)]
    assert same == [True, True, False, True, False, True]


@each_case
def test_what_is_encoded_becomes_messages_of_langchain_as_the_docs_say(name: str) -> None:
    why = "langchain-core is not installed: the extra peers has it"
    package = pytest.importorskip("langchain_core.messages", reason=why)
    store = StreamStore(PROTOCOL, ticks="manual")
    store.ingest_many(CASES[name])
    store.flush()
    for session_id in store.session_ids():
        found: Any = store.encode(PROTOCOL, session_id)
        history = package.messages_from_dict([{"type": e["type"], "data": e} for e in found])
        assert [message.id for message in history] == [each["id"] for each in found]
