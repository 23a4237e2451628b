"""The short way without the adapter: nothing but the time tells it from asking `plain` each time.

Every stream here goes four ways: the short way one by one and in lists, `plain` asked for each
delta, and `decode` alone. Verdicts, states, change sets, positions and saved states are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore import StreamStore
from streamstore.adapters.base import Counter, ShortShape
from streamstore.keys import PartKey
from streamstore.plainpath import _compiled, plain_door
from streamstore.protocols import adapters
from streamstore.rows import HotTable
from streamstore.verdicts import ACCEPTED

Wire = Any

RESPONSE = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


class Case(NamedTuple):
    """How one protocol opens parts, and what a delta of one of them looks like; 2 is a tool's."""

    opening: list[Wire]
    delta: Callable[[int, str, int], Wire]
    between: list[Wire]
    extras: dict[str, list[Any]]
    parts: int = 2


def chat(index: int, delta: Any, **members: Any) -> Wire:
    choice = {"index": index, "delta": delta, "finish_reason": None}
    return {**CHUNK, "choices": [choice], **members}


def call(function: Any, **members: Any) -> Any:
    return {"tool_calls": [{"index": 0, **members, "function": function}]}


def item(place: int) -> list[Wire]:
    held = {"id": f"msg_{place}", "type": "message", "role": "assistant", "content": []}
    part = {"type": "output_text", "annotations": [], "text": ""}
    spot = {"item_id": f"msg_{place}", "output_index": place, "content_index": 0}
    return [
        {"type": "response.output_item.added", "output_index": place, "item": held},
        {"type": "response.content_part.added", **spot, "part": part},
    ]


def response_delta(part: int, text: str, number: int) -> Wire:
    if part == 2:
        spot: Wire = {"item_id": "fc", "output_index": 2}
        name = "response.function_call_arguments.delta"
        return {"type": name, "sequence_number": number + 6, **spot, "delta": text}
    spot = {"item_id": f"msg_{part}", "output_index": part, "content_index": 0}
    name = "response.output_text.delta"
    return {"type": name, "sequence_number": number + 6, **spot, "delta": text, "logprobs": []}


CALL = {"id": "fc", "type": "function_call", "call_id": "t", "name": "n", "arguments": ""}
RESPONSE_OPENING = [
    {"type": "response.created", "response": RESPONSE},
    *item(0),
    *item(1),
    {"type": "response.output_item.added", "output_index": 2, "item": CALL},
]

CASES = {
    "anthropic": Case(
        [
            {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": []}},
            *(
                {"type": "content_block_start", "index": index, "content_block": block}
                for index, block in enumerate(
                    [
                        {"type": "text", "text": ""},
                        {"type": "thinking", "thinking": ""},
                        {"type": "tool_use", "id": "t", "name": "n", "input": {}},
                    ]
                )
            ),
        ],
        lambda part, text, number: {
            "type": "content_block_delta",
            "index": part,
            "delta": [
                {"type": "text_delta", "text": text},
                {"type": "thinking_delta", "thinking": text},
                {"type": "input_json_delta", "partial_json": text},
            ][part],
        },
        [
            {"type": "content_block_stop", "index": 0},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
            {"type": "content_block_start", "index": 1, "content_block": {"type": "text"}},
            {"type": "content_block_start", "index": 2, "content_block": {"type": "text"}},
            {"type": "content_block_stop", "index": 2},
            {"type": "message_stop"},
            {"type": "ping"},
            {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
        ],
        {"text": ["x"], "partial_json": ["x"], "index": [1, 2], "extra": [1]},
        3,
    ),
    "openai-chat": Case(
        [
            *(chat(index, {"role": "assistant", "content": ""}) for index in (0, 1)),
            chat(0, call({"name": "n", "arguments": ""}, id="t", type="function")),
        ],
        lambda part, text, number: (
            chat(0, call({"arguments": text})) if part == 2 else chat(part, {"content": text})
        ),
        [
            chat(0, {"reasoning_content": "r"}),
            chat(0, {"role": "assistant", "content": "a"}),
            chat(0, {"content": "a", "reasoning_content": None}),
            chat(0, {"content": None, "reasoning_content": "a"}),
            chat(0, {"content": "", "reasoning_content": "a"}),
            chat(1, {"refusal": "no"}),
            {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {**CHUNK, "choices": [], "usage": {"total_tokens": 1}},
            chat(0, {"content": "x"}, id="d"),
            {"error": {"message": "x"}},
        ],
        {
            "usage": [None, {"total_tokens": 2}],
            "error": [None, "x"],
            "moderation": [None, {"input": {}}],
            "system_fingerprint": [None, "fp"],
            "logprobs": [None, {"content": []}],
            "role": ["assistant", "", None],
            "reasoning_content": ["", None, "x"],
            "service_tier": ["x"],
            "name": ["n", "other", "", None],
            "id": ["t", "other", None],
        },
        3,
    ),
    "openai-responses": Case(
        [{**wire, "sequence_number": at} for at, wire in enumerate(RESPONSE_OPENING)],
        response_delta,
        [
            {"type": "response.output_text.done", "text": "all", **item(0)[1], "type_": 1},
            {
                "type": "response.output_text.done",
                "item_id": "msg_0",
                "output_index": 0,
                "content_index": 0,
                "text": "all",
                "sequence_number": 10,
            },
            {"type": "response.completed", "response": {**RESPONSE, "status": "completed"}},
            {"type": "response.created", "response": {**RESPONSE, "id": "resp_2"}},
            {"type": "response.output_text.delta", "delta": "x", "item_id": "msg_0"},
        ],
        {"obfuscation": ["x", None], "logprobs": [[], None, [1]], "stream_id": ["x"], "extra": [1]},
        3,
    ),
    "vercel-ui": Case(
        [
            {"type": "start", "messageId": "m"},
            {"type": "text-start", "id": "0"},
            {"type": "reasoning-start", "id": "1"},
            {"type": "tool-input-start", "toolCallId": "c", "toolName": "n"},
        ],
        lambda part, text, number: (
            {"type": "tool-input-delta", "toolCallId": "c"} | {"inputTextDelta": text}
            if part == 2
            else {
                "type": "reasoning-delta" if part else "text-delta",
                "id": str(part),
                "delta": text,
            }
        ),
        [
            {"type": "text-end", "id": "0"},
            {"type": "text-start", "id": "0"},
            {"type": "start-step"},
            {"type": "finish-step"},
            {"type": "finish"},
            {"type": "abort"},
            {"type": "start", "messageId": "n"},
            {"type": "tool-input-start", "toolCallId": "c", "toolName": "n"},
            {"type": "tool-input-available", "toolCallId": "c", "toolName": "n", "input": {}},
            {"type": "tool-output-available", "toolCallId": "c", "output": 1},
        ],
        {"providerMetadata": [{}, {"a": {"b": 1}}], "extra": [1]},
        3,
    ),
    "ag-ui": Case(
        [
            {"type": "RUN_STARTED", "threadId": "t", "runId": "r"},
            {"type": "TEXT_MESSAGE_START", "messageId": "m0", "role": "assistant"},
            {"type": "TEXT_MESSAGE_START", "messageId": "m1", "role": "assistant"},
            {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "n"},
        ],
        lambda part, text, number: (
            {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": text}
            if part == 2
            else {"type": "TEXT_MESSAGE_CONTENT", "messageId": f"m{part}", "delta": text}
        ),
        [
            {"type": "TEXT_MESSAGE_END", "messageId": "m0"},
            {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m0", "delta": "c"},
            {"type": "TEXT_MESSAGE_CHUNK", "delta": "c"},
            {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"},
            {"type": "RUN_STARTED", "threadId": "t", "runId": "r2"},
            {"type": "MESSAGES_SNAPSHOT", "messages": []},
            {"type": "TOOL_CALL_END", "toolCallId": "c"},
            {"type": "TOOL_CALL_CHUNK", "toolCallId": "c", "toolCallName": "n", "delta": "c"},
            {"type": "TOOL_CALL_CHUNK", "delta": "c"},
            {"type": "TOOL_CALL_RESULT", "messageId": "r", "toolCallId": "c", "content": "x"},
        ],
        {"timestamp": [5, 1.5, True, None, 2**53 - 1, -(2**53)], "rawEvent": [{}], "extra": [1]},
        3,
    ),
}
NAMES = sorted(CASES)
#: A text and a tool of each protocol.
PARTS = [(name, part) for name in NAMES for part in range(0, CASES[name].parts, 2)]
#: Deltas until the short way is there, and one that takes it.
RUN = 6
ODD = [None, True, False, 0, 1, 1.0, 300, -1, "", "x", [], {}, ["m"], 2**63]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all members and items of a wire object."""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for step, inner in members:
        yield (*at, step)
        if isinstance(inner, dict | list):
            yield from places(inner, (*at, step))


def holder_at(wire: Any, path: tuple[Any, ...]) -> Any:
    for step in path[:-1]:
        wire = wire[step]
    return wire


@st.composite
def mangled(draw: Any, case: Case, wire: Wire) -> Wire:
    """A delta with one member changed, taken away, or added."""
    wire = copy.deepcopy(wire)
    path = draw(st.sampled_from(list(places(wire))))
    holder = holder_at(wire, path)
    what = draw(st.sampled_from(["changed", "removed", "added", "added"]))
    if what == "changed":
        holder[path[-1]] = draw(st.sampled_from(ODD))
    elif what == "removed":
        del holder[path[-1]]
    else:
        name = draw(st.sampled_from(sorted(case.extras)))
        value = draw(st.sampled_from(case.extras[name]))
        if isinstance(holder, dict):
            holder[name] = value
        else:
            holder.append(copy.deepcopy(holder[0]))
    return wire


@st.composite
def traffic(draw: Any, name: str) -> list[tuple[int, Wire]]:
    """Runs of deltas on two streams of one session, with what may end a run between them."""
    case = CASES[name]
    found = [(0, wire) for wire in case.opening]
    numbers = [0, 0]
    for _ in range(draw(st.integers(1, 6))):
        stream = draw(st.sampled_from([0, 0, 0, 1]))
        part = draw(st.sampled_from([0, 0, *range(1, case.parts), case.parts - 1]))
        if draw(st.integers(0, 5)) == 0:
            found += [(stream, wire) for wire in case.opening]
            numbers[stream] = 0
        extra = draw(st.sampled_from([None, None, *sorted(case.extras)]))
        value = None if extra is None else draw(st.sampled_from(case.extras[extra]))
        for _ in range(draw(st.integers(1, 12))):
            delta = case.delta(part, f"{len(found)} ", numbers[stream])
            numbers[stream] += draw(st.sampled_from([1] * 12 + [2, 0]))
            if extra is not None:
                delta[extra] = value
            found.append((stream, delta))
        kind = draw(st.sampled_from(["nothing", "mangled", "mangled", "event", "broken"]))
        last = found[-1][1]
        if kind == "mangled":
            found.append((stream, draw(mangled(case, last))))
        elif kind == "event":
            found.append((stream, draw(st.sampled_from(case.between))))
        elif kind == "broken":
            odd = [None, [], 7, "x", {}, {"type": last.get("type")}, [last], list(last.items())]
            found.append((stream, draw(st.sampled_from(odd))))
    return found


def outcome(name: str, found: list[tuple[int, Wire]], way: str, ticks: Any, policy: Any) -> Any:
    """All that is to be seen of a store that took wires in, one way."""
    cls = adapters()[name]
    with pytest.MonkeyPatch.context() as patch:
        if way.startswith("asked"):
            patch.setattr(cls, "short", None)
        elif way == "decoded":
            patch.setattr(cls, "plain", lambda self, wire: None)
        store = StreamStore(ticks=ticks)
        streams = [store.open(name, session_id="s", policy=policy) for _ in range(2)]
        seen: list[Any] = []
        verdicts: list[Any] = []
        batches: list[tuple[int, list[Wire]]] = []
        for stream, wire in copy.deepcopy(found):
            if batches and batches[-1][0] == stream:
                batches[-1][1].append(wire)
            else:
                batches.append((stream, [wire]))
        for at, batch in batches:
            stream = streams[at]
            if way.endswith("list"):
                own = dict(stream.ingest_many(batch))
                verdicts += [own.get(place, ACCEPTED) for place in range(len(batch))]
            else:
                verdicts += [stream.ingest(wire) for wire in batch]
            changes = store.flush()
            seen.append((dict(changes.text), changes.added, changes.changed, changes.removed))
            seen.append((store.state(), [(one.received, one.position) for one in streams]))
        return verdicts, seen, store.save()


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_the_short_way_is_the_long_one(name: str, data: st.DataObject) -> None:
    found = data.draw(traffic(name))
    ticks = data.draw(st.sampled_from(["manual", "manual", "each"]))
    policy = data.draw(st.sampled_from(["lenient", "lenient", "strict"]))
    expected = outcome(name, found, "asked", ticks, policy)
    assert outcome(name, found, "decoded", ticks, policy)[:2] == expected[:2]
    for way in ("asked list", "one by one", "list"):
        assert outcome(name, found, way, ticks, policy) == expected, way


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_every_way_to_mangle_a_delta_within_a_run(name: str, part: int) -> None:
    """Each member gone and set to each odd value, each known one added, all between good ones."""
    case = CASES[name]
    mangled: list[Wire] = []
    good = case.delta(part, "x", 0)
    for path in places(good):
        for value in ODD:
            wire = copy.deepcopy(good)
            holder_at(wire, path)[path[-1]] = value
            mangled.append(wire)
        wire = copy.deepcopy(good)
        del holder_at(wire, path)[path[-1]]
        mangled.append(wire)
        for extra, values in case.extras.items():
            for value in values:
                wire = copy.deepcopy(good)
                holder = holder_at(wire, path)
                if isinstance(holder, dict):
                    holder[extra] = value
                    mangled.append(wire)
    for wire in mangled:
        found = [(0, wire) for wire in case.opening]
        found += [(0, case.delta(part, f"{number} ", number)) for number in range(RUN)]
        if isinstance(wire, dict) and wire.get("sequence_number") == good.get("sequence_number"):
            wire = {**wire, "sequence_number": 6 + RUN}
        found.append((0, wire))
        found += [(0, case.delta(part, f"{number} ", number)) for number in range(RUN + 1, RUN + 7)]
        expected = outcome(name, found, "asked", "manual", "lenient")
        for way in ("one by one", "list"):
            assert outcome(name, found, way, "manual", "lenient") == expected, wire


class Asked:
    """Counts how often `plain` is asked."""

    def __init__(self, name: str, patch: pytest.MonkeyPatch) -> None:
        self.times = 0
        plain = adapters()[name].plain

        def counted(adapter: Any, wire: Any) -> Any:
            self.times += 1
            return plain(adapter, wire)

        patch.setattr(adapters()[name], "plain", counted)


def opened(name: str, *, streams: int = 1) -> tuple[StreamStore, list[Any]]:
    store = StreamStore(ticks="manual")
    made = [store.open(name, session_id="s") for _ in range(streams)]
    for wire in CASES[name].opening:
        assert made[0].ingest(wire).kind == "accepted"
    return store, made


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("many", [False, True])
def test_a_run_asks_the_adapter_at_its_start_alone(
    name: str, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, (stream,) = opened(name)
    asked = Asked(name, monkeypatch)
    stream._ingress.switch(stream.sequencing)
    deltas = [CASES[name].delta(0, "x", number) for number in range(3000)]
    if many:
        assert stream.ingest_many(deltas) == []
    else:
        assert {stream.ingest(delta) for delta in deltas} == {ACCEPTED}
    assert asked.times <= 5
    store.flush()
    (message, *_) = store.messages("s")
    assert max(len(part.text) for part in store.parts("s", message.id)) == 3000
    # The next part, and back: each costs a little of the long way.
    assert stream.ingest(CASES[name].delta(1, "y", 3000)) is ACCEPTED
    assert stream.ingest(CASES[name].delta(0, "z", 3001)) is ACCEPTED
    assert asked.times <= 8


@pytest.mark.parametrize("name", [name for name, part in PARTS if part])
@pytest.mark.parametrize("many", [False, True])
def test_the_input_of_a_tool_takes_the_short_way(
    name: str, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, (stream,) = opened(name)
    decode, decoded = adapters()[name].decode, []
    wires = [CASES[name].delta(2, "x", number) for number in range(3000)]

    def counted(adapter: Any, wire: Any) -> Any:
        decoded.append(wire)
        return decode(adapter, wire)

    monkeypatch.setattr(adapters()[name], "decode", counted)
    stream._ingress.switch(stream.sequencing)
    for start in range(0, 3000, 100):
        if many:
            assert stream.ingest_many(wires[start : start + 100]) == []
        else:
            assert {stream.ingest(wire) for wire in wires[start : start + 100]} == {ACCEPTED}
        (edit,) = store.flush().text.values()
        assert edit == (start, "x" * 100, False)
    assert len(decoded) <= 2
    parts = [part for message in store.messages("s") for part in store.parts("s", message.id)]
    assert [str(part.others["input"]) for part in parts if part.kind == "tool"] == ["x" * 3000]


def test_what_has_no_shape_of_its_own_is_seldom_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """To note what the next one has to fit costs more than to ask for it, and is for nothing."""
    _, (stream,) = opened("openai-chat")
    cls, tried = adapters()["openai-chat"], 0
    short: Any = vars(cls)["short"]

    def named(wire: Any) -> str:
        nonlocal tried
        tried += 1
        found: str = short.named(wire)
        return found

    monkeypatch.setattr(cls, "short", attrs.evolve(short, named=named))
    stream._ingress.switch(stream.sequencing)
    for number in range(3000):
        assert stream.ingest(CASES["openai-chat"].delta(2, "x", number)) is ACCEPTED
    assert 0 < tried <= 3000 // 64 + 1


@pytest.mark.parametrize(("name", "part"), PARTS)
@pytest.mark.parametrize("anew", [False, True])
def test_a_stream_that_was_overtaken_asks_again(name: str, part: int, anew: bool) -> None:
    """Another stream goes on with the same, or delivers it anew: nothing of it counts twice."""
    case = CASES[name]
    found = [(0, wire) for wire in case.opening]
    found += [(0, case.delta(part, f"a{number} ", number)) for number in range(7)]
    found += [(1, wire) for wire in case.opening if anew]
    found += [(1, case.delta(part, f"b{number} ", number)) for number in range(9)]
    found += [(0, case.delta(part, f"c{number} ", number)) for number in range(7, 15)]
    found += [(1, case.delta(part, f"d{number} ", number)) for number in range(9, 17)]
    expected = outcome(name, found, "asked", "manual", "lenient")
    assert outcome(name, found, "decoded", "manual", "lenient")[:2] == expected[:2]
    for way in ("one by one", "list"):
        assert outcome(name, found, way, "manual", "lenient") == expected


@pytest.mark.parametrize(("name", "part"), PARTS)
@pytest.mark.parametrize("many", [False, True])
def test_a_subscriber_that_feeds_another_stream_is_seen(name: str, part: int, many: bool) -> None:
    """In a store that commits each event the other stream comes between two deltas of a run."""
    case = CASES[name]

    def played(short: bool) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            if not short:
                patch.setattr(adapters()[name], "short", None)
            store = StreamStore(ticks="each")
            first, second = (store.open(name, session_id="s") for _ in range(2))
            rest = [*case.opening, *(case.delta(part, f"b{at} ", at) for at in range(3))]
            seen = 0

            def feed(_: Any) -> None:
                nonlocal seen
                seen += 1
                if seen > 12 and rest:
                    second.ingest(copy.deepcopy(rest.pop(0)))

            store.subscribe(feed)
            wires = [*case.opening, *(case.delta(part, f"a{at} ", at) for at in range(30))]
            wires = copy.deepcopy(wires)
            verdicts = first.ingest_many(wires) if many else [first.ingest(w) for w in wires]
            store.flush()
            return verdicts, store.state(), store.save()

    assert played(True) == played(False)


def test_a_strict_stream_that_stopped_within_a_batch_notes_no_number() -> None:
    """What is refused behind the stop must not count as received in the memory of the session."""
    case = CASES["openai-responses"]
    found = [(0, wire) for wire in case.opening]
    found += [(0, case.delta(0, "a", 0)), (0, {**case.delta(0, "b", 1), "stream_id": "x"})]
    found += [(0, case.delta(0, f"{at}", at)) for at in range(1, 4)]
    expected = outcome("openai-responses", found, "asked", "manual", "strict")
    assert expected[0][-1].reason == "stopped"
    for way in ("asked list", "list"):
        assert outcome("openai-responses", found, way, "manual", "strict") == expected


@pytest.mark.parametrize("way", ["asked", "one by one", "list"])
def test_the_first_text_behind_an_error_ends_the_content_as_the_client_does(way: str) -> None:
    case = CASES["openai-chat"]
    found = [(0, wire) for wire in (*case.opening, *case.opening, case.delta(0, "a", 0))]
    found += [(0, {**case.delta(0, "b", 1), "error": "x"}), (0, case.delta(0, "c", 2))]
    expected = outcome("openai-chat", found, "decoded", "manual", "lenient")[:2]
    assert outcome("openai-chat", found, way, "manual", "lenient")[:2] == expected


# --- what shapes say ------------------------------------------------------------------------------


class Held:
    """An adapter's part in a shape alone."""

    def __init__(self) -> None:
        self.ends = [0]


SHAPE = ShortShape(
    text=("delta",),
    same=(("type",),),
    count=("n",),
    counter=lambda held: Counter(ends=held.ends, base=0, step=1, top=9),
)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("counted", [False, True])
def test_a_number_that_is_too_large_is_for_plain(counted: bool, many: bool) -> None:
    held, hot, slow = Held(), HotTable(), []
    key = PartKey("s", "m", 0)
    row = hot[key] = _row()
    row.room = 100

    def plain(wire: Any) -> Any:
        if wire["n"] >= 9 or wire["n"] != held.ends[-1] + 1:
            return None
        held.ends[-1] = wire["n"]
        return (key, wire["delta"], wire["n"])

    def slowly(wire: Any) -> Any:
        slow.append(wire["n"])
        return ACCEPTED

    made = _compiled(SHAPE, counted)
    ingest, ingest_many, taken = made(SHAPE, held, hot, None, None, slowly, plain)
    wires = [{"type": "t", "n": number, "delta": "x"} for number in range(1, 12)]
    if many:
        ingest_many(wires)
    else:
        for wire in wires:
            ingest(wire)
    assert slow == [9, 10, 11] and held.ends == [8] and taken() == 8
    assert row.seqs == (list(range(1, 9)) if counted else [])


@pytest.mark.parametrize("other", [True, 8.0, "8", None])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("counted", [False, True])
def test_what_is_one_more_and_no_integer_is_for_plain(
    counted: bool, many: bool, other: Any
) -> None:
    held, hot, asked = Held(), HotTable(), []
    key = PartKey("s", "m", 0)
    row = hot[key] = _row()
    row.room = 100

    def plain(wire: Any) -> Any:
        asked.append(wire["n"])
        if type(wire["n"]) is not int:
            return None
        held.ends[-1] = wire["n"]
        return (key, wire["delta"], wire["n"])

    made = _compiled(SHAPE, counted)
    ingest, ingest_many, taken = made(SHAPE, held, hot, None, None, lambda wire: ACCEPTED, plain)
    numbers = [1, 2, 3, 4, 5, 6, 7, other, 8, 9]
    wires = [{"type": "t", "n": number, "delta": "x"} for number in numbers]
    if many:
        ingest_many(wires)
    else:
        for wire in wires:
            ingest(wire)
    assert asked == [1, 2, 3, 4, other, 8, 9]  # from 5 on it was not asked
    assert held.ends == [9] and taken() == 9
    assert row.seqs == (list(range(1, 10)) if counted else [])


def test_a_row_that_two_streams_feed_counts_for_each_of_them() -> None:
    """A stream of either short way that shares a row with one whose deltas count themselves."""
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="none")
    wire = {"type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0, "text": "x"}
    assert [stream.ingest(wire).kind for _ in range(4)] == ["accepted"] * 4
    row = store._sessions["s"].messages["m"].blocks[0]
    hot = HotTable()
    hot[row.key] = row
    row.hots.append(hot)
    door = plain_door(
        SimpleNamespace(plain=lambda wire: (row.key, wire, None)),
        "none",
        hot=hot,
        wake=store._wake,
        merge=store._coalescer.merge,
        slow=list,
    )
    for _ in range(3):
        assert door.ingest("y") is ACCEPTED and door.ingest_many(["z", "z"]) == []
        stream.ingest(wire)
    assert (stream.received, door.taken()) == (7, 9)
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and part.text == "xxxx" + "yzzx" * 3


@pytest.mark.parametrize("many", [False, True])
def test_a_delta_below_the_mark_of_its_row_takes_the_long_way(many: bool) -> None:
    """A snapshot may have set the mark since the last delta."""
    held, hot, slow = Held(), HotTable(), []
    key = PartKey("s", "m", 0)
    row = hot[key] = _row()
    row.room = 100

    def plain(wire: Any) -> Any:
        held.ends[-1] = wire["n"]
        return (key, wire["delta"], wire["n"])

    def slowly(wire: Any) -> Any:
        slow.append(wire["n"])
        return ACCEPTED

    made = _compiled(SHAPE, True)
    ingest, ingest_many, taken = made(SHAPE, held, hot, None, None, slowly, plain)
    wires = [{"type": "t", "n": number, "delta": "x"} for number in range(1, 9)]
    ingest_many(wires[:6])
    row.mark = 7
    if many:
        ingest_many(wires[6:])
    else:
        ingest(wires[6])
        ingest(wires[7])
    assert slow == [7] and row.seqs == [1, 2, 3, 4, 5, 6, 8]
    assert row.fresh == ["x"] * 7 and taken() == 7


@pytest.mark.parametrize("many", [False, True])
def test_what_waits_is_told_and_merged(many: bool) -> None:
    """The first delta wakes its row; as many as may wait in single pieces are merged."""
    hot, told = HotTable(), []
    key = PartKey("s", "m", 0)
    row = hot[key] = _row()
    row.room = 0

    def wake(row: Any) -> None:
        row.room = 10
        told.append("woken")

    def merge(row: Any) -> None:
        told.append(len(row.fresh))
        row.leave_fresh()

    def plain(wire: Any) -> Any:
        return (key, wire["delta"], None)

    shape = ShortShape(text=("delta",), same=(("type",),))
    made = _compiled(shape, False)
    ingest, ingest_many, taken = made(shape, None, hot, wake, merge, None, plain)
    for _ in range(6):
        wires = [{"type": "t", "delta": "x"} for _ in range(9)]
        if many:
            ingest_many(wires)
        else:
            for wire in wires:
                ingest(wire)
    assert taken() == 54
    # A list is one run, which is looked at where it ends.
    assert told == ["woken", *([10, 17, 10, 17] if many else [10] * 5)]


@pytest.mark.parametrize("many", [False, True])
def test_where_parts_take_turns_little_is_noted_for_nothing(many: bool) -> None:
    """What it costs to begin the short way is spent less and less where runs end at once."""
    noted = asked = 0

    def counter(held: Held) -> Counter:
        nonlocal noted
        noted += 1
        return Counter(ends=held.ends, base=0, step=1, top=10_000)

    def plain(wire: Any) -> Any:
        nonlocal asked
        asked += 1
        held.ends[-1] = wire["n"]
        return (keys[wire["type"]], wire["delta"], wire["n"])

    held, hot = Held(), HotTable()
    keys = {name: PartKey("s", "m", name) for name in "ab"}
    for key in keys.values():
        hot[key] = row = _row()
        row.hot_key, row.room = key, 10_000
    shape = attrs.evolve(SHAPE, counter=counter)
    made = _compiled(shape, False)
    ingest, ingest_many, taken = made(shape, held, hot, None, None, None, plain)
    number = 0

    def run(name: str, size: int) -> None:
        nonlocal number
        wires = [{"type": name, "n": number + at, "delta": "x"} for at in range(1, size + 1)]
        number += size
        if many:
            ingest_many(wires)
        else:
            for wire in wires:
                ingest(wire)

    for _ in range(100):
        run("a", 10)
        run("b", 10)
    assert noted == 2  # behind 4 deltas and behind 8, both for few
    run("a", 500)
    assert noted == 3
    before = asked
    run("b", 500)
    assert asked - before <= 5 and noted == 4
    assert taken() == number == 3000


def _row() -> Any:
    store = StreamStore("native", ticks="manual")
    wire = {"type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0, "text": ""}
    store.open("native", sequencing="none").ingest(wire)
    return store._sessions["s"].messages["m"].blocks[0]


def test_shapes_of_equal_content_share_their_code() -> None:
    assert _compiled(SHAPE, True) is _compiled(attrs.evolve(SHAPE), True)
