"""The pydantic-ai adapter: recorded runs against the package's own messages, and its parts manager.

What the package made of each stream is recorded beside it (`tests/data/pydantic-ai/README.md`).
"""

from __future__ import annotations

import copy
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
from streamstore.adapters.pydantic_ai import PydanticAIAdapter
from streamstore.errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from streamstore.events import BlockDelta
from streamstore.testing import LAWS

Wire = dict[str, Any]
PROTOCOL = "pydantic-ai"
DATA = Path(__file__).resolve().parent / "data" / PROTOCOL
NAMES = sorted(file.stem for file in DATA.glob("*.jsonl"))
CASES = {name: logged(PROTOCOL, f"{name}.jsonl") for name in NAMES}
EVENTS = [wire for wires in CASES.values() for wire in wires]

each_case = pytest.mark.parametrize("name", NAMES)
each_policy = pytest.mark.parametrize("policy", ["lenient", "strict"])


def final_of(name: str) -> Any:
    return json.loads((DATA / f"{name}.messages.json").read_bytes())


def start(index: int, part_kind: str = "text", previous: str | None = None, **part: Any) -> Wire:
    part = {"content": "", **part} if part_kind in ("text", "thinking") else part
    return {
        "index": index,
        "part": {**part, "part_kind": part_kind},
        "previous_part_kind": previous,
        "event_kind": "part_start",
    }


def delta(index: int, part_delta_kind: str = "text", **members: Any) -> Wire:
    return {
        "index": index,
        "delta": {**members, "part_delta_kind": part_delta_kind},
        "event_kind": "part_delta",
    }


def text(content: str, index: int = 0) -> Wire:
    return delta(index, content_delta=content)


def end(index: int, part_kind: str = "text", following: str | None = None, **part: Any) -> Wire:
    return {
        "index": index,
        "part": {**part, "part_kind": part_kind},
        "next_part_kind": following,
        "event_kind": "part_end",
    }


def call(index: int, args: Any = None, call_id: str | None = "c1", **members: Any) -> Wire:
    return start(index, "tool-call", tool_name="read", args=args, tool_call_id=call_id, **members)


def args(value: Any, index: int = 0) -> Wire:
    return delta(index, "tool_call", args_delta=value)


def result(content: Any, call_id: str = "c1", **part: Any) -> Wire:
    part = {"tool_name": "read", "content": content, "tool_call_id": call_id, **part}
    return {"part": {"part_kind": "tool-return", **part}, "event_kind": "function_tool_result"}


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
    return [
        [part.text for part in store.parts(session_id, message.id)]
        for message in store.messages(session_id)
    ]


def tool_of(store: StreamStore, index: int = 0, message_id: str = "local-1") -> Any:
    store.flush()
    part = store.part("s", message_id, index)
    assert part is not None and part.tool is not None
    return part.tool


# --- recorded streams -----------------------------------------------------------------------------


def test_no_case_is_lost() -> None:
    assert NAMES == ["all-parts", "approval", "realtime", "replaced-part", "run-with-tools"]


@each_case
@each_policy
@pytest.mark.parametrize("framing", ["frames", "lines"])
def test_the_bytes_end_in_the_messages_of_the_package(name: str, policy: Any, framing: str) -> None:
    lines = (DATA / f"{name}.jsonl").read_bytes().splitlines()
    store, stream = opened(policy)
    for line in lines:
        stream.feed(b"data: " + line + b"\n\n" if framing == "frames" else line + b"\n")
    stream.end()
    store.flush()
    assert made(store) == final_of(name)
    assert verdicts(store) == {"accepted": len(lines)}
    assert {message.status for message in store.messages("s")} == {"completed"}
    assert store.health.gaps == ()


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
    assert PydanticAIAdapter.detects(final_of("run-with-tools"))
    assert not PydanticAIAdapter.detects({"kind": "response", "parts": [{}]})
    assert not PydanticAIAdapter.detects({"kind": "response", "parts": []})


@each_case
@each_policy
def test_the_short_way_agrees_with_the_long_one(
    name: str, policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires = [*CASES[name], *CASES[name]]
    first = fed(*wires, policy=policy).state()
    monkeypatch.setattr(PydanticAIAdapter, "plain", lambda self, wire: None)
    assert fed(*wires, policy=policy).state() == first


def test_plain_deltas_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    decode = PydanticAIAdapter.decode

    def noted(self: PydanticAIAdapter, wire: Any) -> Any:
        decoded.append(wire)
        return decode(self, wire)

    monkeypatch.setattr(PydanticAIAdapter, "decode", noted)
    fed(*CASES["run-with-tools"])
    deltas = [wire["delta"] for wire in decoded if wire["event_kind"] == "part_delta"]
    # What is left has a signature.
    assert deltas and all(found["signature_delta"] is not None for found in deltas)
    assert len(decoded) < len(CASES["run-with-tools"]) - 8
    decoded.clear()
    begun = [call(0, "{", "c1"), call(1, None, "c2", previous="tool-call")]
    pieces = [
        delta(0, "tool_call", args_delta='"a', tool_name_delta=None, tool_call_id="c1"),
        args("b"),
        delta(1, "tool_call", args_delta="{", tool_call_id="c2", provider_details=None),
        delta(1, "tool_call", args_delta="1", tool_call_id="c2"),
        args("c"),
    ]
    # Where a start has no arguments, the first delta makes the field.
    assert tool_of(fed(*begun, *pieces)).call_id == "c1"
    assert decoded == [*begun, pieces[2]]
    decoded.clear()
    store, stream = opened()
    stream.ingest_many([*begun, *pieces])
    loaded = StreamStore.load(json.loads(json.dumps(store.save())))
    stream = loaded.open(PROTOCOL, session_id="s")
    decoded.clear()
    stream.ingest_many([*pieces, *pieces])
    # No row is hot in a new stream: the first delta of each has to show what it is.
    assert decoded == [pieces[0], pieces[2]]
    loaded.flush()
    part = loaded.part("s", "local-1", 0)
    assert part is not None and part.field_text("input") == '{"abc"abc"abc'


@pytest.mark.parametrize(
    "wire",
    [
        text("x", 1),
        {**text("x"), "index": False},
        {**text("x"), "index": [0]},
        delta(0, content_delta=None),
        delta(0, "thinking", content_delta="x"),
        delta(0, content_delta="x", provider_name="p"),
        delta(0, content_delta="x", provider_details={}),
        delta(0, content_delta="x", citations_delta=[]),
        {"event_kind": "part_delta"},
        {"event_kind": "part_delta", "index": 0, "delta": []},
        {},
        [],
        None,
        "text",
    ],
)
def test_the_short_way_takes_nothing_else(wire: Any) -> None:
    adapter = PydanticAIAdapter(Context())
    adapter.decode(start(0))
    found = adapter.plain(text("x"))
    assert found is not None and found == (PartKey("main", "local-1", 0), "x", None)
    try:
        assert adapter.plain(wire) is None
    except (KeyError, TypeError, AttributeError):
        pass


@pytest.mark.parametrize(
    "wire",
    [
        args("x", 1),
        args("x", 2),
        {**args("x"), "index": False},
        args(""),
        args(None),
        args({"a": 1}),
        delta(0, "tool_call", args_delta="x", tool_name_delta="y"),
        delta(0, "tool_call", args_delta="x", tool_call_id="c2"),
        delta(0, "tool_call", args_delta="x", tool_call_id=["c1"]),
        delta(0, "tool_call", args_delta="x", provider_name="p"),
        delta(0, "tool_call", args_delta="x", provider_details={}),
        delta(0, "text", args_delta="x"),
        delta(0, "text", content_delta="x"),
    ],
)
def test_the_short_way_of_arguments_takes_nothing_else(wire: Any) -> None:
    adapter = PydanticAIAdapter(Context())
    for event in (call(0, "{"), call(1, {"a": 1}), call(2)):
        adapter.decode(event)
    for call_id in (None, "c1"):
        found = adapter.plain(delta(0, "tool_call", args_delta="x", tool_call_id=call_id))
        assert found is not None and found == (("main", "local-1", 0, "input"), "x", None)
    try:
        assert adapter.plain(wire) is None
    except (KeyError, TypeError, AttributeError):
        pass


def tangle(seed: int) -> list[tuple[int, Any]]:
    """Wire objects of two streams: deltas of texts and calls, and what must go the long way."""
    draw = random.Random(seed)
    rare = (0, 0, 0, 0, 0, 0, 0, 1)
    wires: list[tuple[int, Any]] = []

    def odd(*values: Any) -> Any:
        return draw.choice(values) if draw.choice(rare) else None

    def a_delta(index: Any) -> Wire:
        kind = "tool_call" if index in (1, 2, 3) else draw.choice(["text", "text", "thinking"])
        kind = odd("speech", "text", "tool_call", 5) or kind
        members: Wire = {"provider_details": odd({}, {"a": 1}), "provider_name": odd("p", "", 5)}
        if kind == "tool_call":
            members["args_delta"] = draw.choice(["{", '"a"', "}", "x"])
            if draw.choice(rare):
                members["args_delta"] = draw.choice(["", None, {"a": draw.random()}, {}, 5])
            members["tool_call_id"] = draw.choice([None, f"c{index}", f"c{index}"])
            members["tool_call_id"] = odd("c9", "", 5) or members["tool_call_id"]
            members["tool_name_delta"] = odd("x", "", 5)
        else:
            members["content_delta"] = draw.choice(["a", "b", ""])
            if draw.choice(rare):
                members["content_delta"] = draw.choice([None, 5])
            members["citations_delta"] = odd([])
            members["signature_delta"] = odd("s", 5)
        if draw.choice(rare):
            del members[draw.choice(sorted(members))]
        return delta(odd(True, 1.0, "1", 7, None) or index, kind, **members)

    def a_part(index: int) -> Wire:
        if index not in (1, 2, 3):
            return start(index, draw.choice(["text", "thinking"]), "x", content=odd("a") or "")
        given = draw.choice([None, "{", "{", "", {}, {"a": 1}])
        call_id = draw.choice([None, "", "c9"]) if draw.choice(rare) else f"c{index}"
        return call(index, given, call_id, previous=None if draw.choice(rare) else "x")

    for _ in range(draw.choice([1, 2])):
        wires += [(0, a_part(index)) for index in range(5)]
    for _ in range(60):
        number, index = draw.choice(rare), draw.choice([0, 1, 1, 2, 2, 3, 4])
        what = draw.random()
        if what < 0.8:
            wire = a_delta(index)
        elif what < 0.88:
            wire = a_part(index)
        elif what < 0.92:
            kind = "tool-call" if index in (1, 2, 3) else "text"
            part: Wire = {"tool_name": "read", "args": draw.choice([None, "{}", {}])}
            part = {**part, "tool_call_id": f"c{index}"} if kind == "tool-call" else {}
            wire = end(index, kind, draw.choice(["x", "x", None]), **part)
        elif what < 0.95:
            wire = result("r", f"c{index}")
        elif what < 0.96:
            wire = {"event_kind": "agent_run_result", "result": {"output": "o"}}
        else:
            wire = draw.choice(wires)[1]
        wires += [(number, wire)] * draw.choice([1, 1, 2, 4])
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
    monkeypatch.setattr(PydanticAIAdapter, "plain", lambda self, wire: None)
    long = by_either_way(wires, policy, cut)
    for place, (mine, theirs) in enumerate(zip(short, long, strict=True)):
        assert mine == theirs, place


def taken_short(seed: int, strict: bool) -> set[str]:
    """The fields of what `plain` takes of a tangle; each is one delta, and no memory changes."""
    shared: dict[str, Any] = {}
    owns: list[dict[str, Any]] = [{}, {}]
    made = iter(range(10_000))

    def adapters() -> list[PydanticAIAdapter]:
        given: Any = {"strict": strict, "shared": shared, "new_id": lambda: f"local-{next(made)}"}
        return [PydanticAIAdapter(Context(own=own, **given)) for own in owns]

    both = adapters()
    fields = set()
    for place, (number, wire) in enumerate(tangle(seed)):
        if place % 40 == 39:
            shared, owns = json.loads(json.dumps([shared, owns]))
            both = adapters()
        before = json.dumps([shared, owns])
        found: Any = None
        try:
            found = both[number].plain(wire)
        except (KeyError, TypeError, AttributeError):
            pass
        assert json.dumps([shared, owns]) == before
        try:
            events = both[number].decode(wire)
        except (MalformedEvent, UnknownEvent, RepeatedEvent, ProtocolStopped):
            assert found is None, (seed, place)
            continue
        if found is not None:
            (only,) = events
            assert isinstance(only, BlockDelta)
            part = PartKey(only.session_id or "", only.message_id, only.block_index)
            key = part if only.field == "text" else (*part, only.field)
            assert found == (key, only.text, None), (seed, place)
            assert json.dumps([shared, owns]) == before, (seed, place)
            fields.add(only.field)
    return fields


@pytest.mark.parametrize("strict", [False, True])
def test_what_takes_the_short_way_is_one_delta(strict: bool) -> None:
    fields = [taken_short(seed, strict) for seed in range(60)]
    assert set().union(*fields) == {"text", "input"}


# --- responses ------------------------------------------------------------------------------------


def test_a_response_begins_at_a_part_that_was_ended() -> None:
    answer = [start(0, content="a"), text("b"), end(0, content="ab")]
    store = fed(*answer, *answer)
    assert texts(store) == [["ab"], ["ab"]]
    assert [message.order for message in store.messages("s")] == [1, 2]
    # A part that was not ended, or follows another one, is the same part anew.
    assert texts(fed(start(0, content="a"), text("b"), start(0, content="c"))) == [["c"]]
    again = start(0, previous="text", content="c")
    assert texts(fed(*answer, again, text("d"))) == [["cd"]]


@pytest.mark.parametrize("told", [end(1, following="text"), {"event_kind": "final_result"}])
def test_a_response_that_broke_off_stays_when_the_next_run_begins(told: Any) -> None:
    store = fed(
        start(0, content="hal"), start(1), told, text("f"), start(0, content="c"), text("d")
    )
    assert [found[0] for found in texts(store)] == ["half", "cd"]
    assert [message.status for message in store.messages("s")] == ["aborted", "open"]


def test_a_response_begins_after_its_tools_were_called() -> None:
    store = fed(call(0, "{}"), result(1), start(0, content="done"))
    assert texts(store) == [[""], ["done"]]
    assert [message.status for message in store.messages("s")] == ["completed", "open"]


def test_a_full_replay_stands_as_further_messages() -> None:
    """Nothing on the wire says that it is a replay: the documented behaviour."""
    wires = CASES["run-with-tools"]
    store = StreamStore()
    for _ in range(2):
        stream = store.open(PROTOCOL, session_id="s")
        stream.ingest_many(wires)
        stream.end()
    store.flush()
    once = fed(*wires)
    assert texts(store) == [*texts(once), *texts(once)]


def test_a_cut_text_is_gapped() -> None:
    store, stream = opened()
    stream.ingest_many([start(0, content="a"), text("b")])
    stream.end()
    store.flush()
    (part,) = store.parts("s", "local-1")
    assert part.gap and part.text == "ab"


def test_what_comes_before_its_start_is_shown() -> None:
    store, stream = opened()
    stream.ingest_many([text("b"), delta(1, "thinking", content_delta="t"), args('{"a"', 2)])
    store.flush()
    first, second, third = store.parts("s", "local-1")
    assert [part.kind for part in (first, second, third)] == ["text", "reasoning", "tool"]
    assert (first.text, second.text, third.field_text("input")) == ("b", "t", '{"a"')
    assert first.gap and second.gap
    stream.ingest_many(
        [start(0, id="i"), text("c"), call(2, "", previous="thinking"), args(":1}", 2)]
    )
    stream.ingest_many([end(0, content="abc"), end(5, content="new")])
    store.flush()
    assert [part.text for part in store.parts("s", "local-1")] == ["abc", "t", "", "new"]
    assert made(store)[0]["parts"][2]["args"] == '{"a":1}'
    assert tool_of(store, 2).name == "read"


def test_a_strict_stream_stops_where_the_manager_raises() -> None:
    for before, wire in (
        ([], text("a")),
        ([start(0)], text("a", 1)),
        ([start(0)], delta(0, "thinking", content_delta="a")),
        ([start(0)], args("{}")),
        ([call(0, "{")], args({})),
        ([call(0, {"a": 1})], args("}")),
        ([start(0)], delta(0, content_delta=None)),
    ):
        store, stream = opened("strict")
        stream.ingest_many(before)
        expected = made(store)
        assert stream.ingest(wire).kind in ("refused", "malformed")
        assert stream.ingest(start(1)).reason == "stopped"
        assert made(store) == expected
        _, stream = opened()
        stream.ingest_many(before)
        assert stream.ingest(wire).kind == (
            "accepted" if wire["index"] or not before else "malformed"
        )
        assert stream.ingest(start(1)).kind == "accepted"


def test_text_after_the_end_of_a_part_is_refused_and_citations_are_not() -> None:
    store, stream = opened()
    stream.ingest_many([start(0, content="a"), end(0, content="a")])
    assert stream.ingest(text("b")).reason == "sealed"
    late = delta(0, content_delta="", citations_delta=[{"url": "u"}], provider_details={"n": 1})
    assert stream.ingest(late).kind == "accepted"
    (part,) = made(store)[0]["parts"]
    assert part == {
        "content": "a",
        "citations": [{"url": "u"}],
        "provider_details": {"n": 1},
        "part_kind": "text",
    }


@pytest.mark.parametrize("kind", ["text", "thinking"])
def test_text_that_follows_the_end_of_a_part_while_others_stream(kind: str) -> None:
    """As the package sends it: a part ends where the next one starts, and grows all the same."""

    def more(word: str) -> Wire:
        return delta(0, kind, content_delta=word)

    store, stream = opened()
    wires = [
        start(0, kind, content="a"),
        more("b"),
        end(0, kind, "tool-call", content="ab"),
        start(1, "tool-call", kind, tool_name="read", args="{", tool_call_id="c1"),
    ]
    stream.ingest_many(wires)
    store.flush()
    assert store.parts("s", "local-1")[0].status == "closed"
    for wire in (more(""), more("c"), args("}", 1), more("d")):
        stream.ingest(wire)
    store.flush()
    assert [(part.text, part.status) for part in store.parts("s", "local-1")] == [
        ("abcd", "closed"),
        ("", "open"),
    ]
    stream.ingest(end(1, "tool-call", tool_name="read", args="{}", tool_call_id="c1"))
    store.flush()
    (message,) = store.messages("s")
    assert message.status == "completed"
    assert [part.status for part in store.parts("s", "local-1")] == ["closed", "closed"]
    assert made(store)[0]["parts"][0]["content"] == "abcd"


def test_a_part_that_becomes_another_kind() -> None:
    store = fed(start(0, content="a"), start(0, "thinking", content="b"), start(1), call(1, "{}"))
    first, second = store.parts("s", "local-1")
    assert (first.kind, first.text, second.kind, second.tool and second.tool.name) == (
        "reasoning",
        "b",
        "tool",
        "read",
    )


def test_the_transcript_of_speech() -> None:
    store = fed(
        start(0, "speech", speaker="assistant", transcript=None),
        delta(0, "speech", transcript_delta="Hel"),
        delta(0, "speech", transcript_delta="lo", timestamps=[{"text": "Hello"}]),
    )
    assert texts(store) == [["Hello"]]
    store, stream = opened()
    stream.ingest_many([start(0, "speech", transcript="Hi"), delta(0, "speech", transcript="Ho")])
    stream.ingest(delta(0, "speech", transcript_delta="!", timestamps=[{"n": 1}]))
    stream.ingest(delta(0, "speech", timestamps=[{"n": 2}]))
    assert made(store)[0]["parts"] == [
        {"transcript": "Ho!", "timestamps": [{"n": 1}, {"n": 2}], "part_kind": "speech"}
    ]


# --- realtime sessions ----------------------------------------------------------------------------


def says(index: int, speaker: str, said: str | None = "", **part: Any) -> Wire:
    return start(index, "speech", speaker=speaker, transcript=said, **part)


def more(index: int, speaker: str, added: str) -> Wire:
    return delta(index, "speech", speaker=speaker, transcript_delta=added)


def said(index: int, speaker: str, whole: str, **part: Any) -> Wire:
    return end(index, "speech", speaker=speaker, transcript=whole, **part)


def utterance(index: int, speaker: str, whole: str, **part: Any) -> list[Wire]:
    begun, ended = says(index, speaker, **part), said(index, speaker, whole, **part)
    return [begun, more(index, speaker, whole), ended]


def called(index: int, call_id: str) -> list[Wire]:
    whole = {"tool_name": "read", "args": "{}", "tool_call_id": call_id}
    asked = {"part": {**whole, "part_kind": "tool-call"}, "event_kind": "function_tool_call"}
    return [call(index, "{}", call_id), end(index, "tool-call", **whole), asked]


TURN_COMPLETE: Wire = {"event_kind": "realtime_turn_complete"}
SPEECH_START: Wire = {"event_kind": "realtime_input_speech_start", "item_id": None}


def turns(*wires: Wire) -> list[tuple[str, str, list[str]]]:
    store = fed(*wires)
    assert set(store.health.counts["verdicts"]) == {"accepted"}
    return [
        (message.role, message.status, [part.text for part in store.parts("s", message.id)])
        for message in store.messages("s")
    ]


@pytest.mark.parametrize("told", [[], [TURN_COMPLETE]], ids=["nothing", "the turn's end"])
def test_each_side_of_a_session_has_messages_of_its_own(told: list[Wire]) -> None:
    assert turns(
        *utterance(0, "user", "hi"),
        *utterance(1, "assistant", "hello"),
        *told,
        *utterance(2, "user", "bye"),
        *utterance(3, "assistant", "ciao"),
        *told,
    ) == [
        ("user", "completed", ["hi"]),
        ("assistant", "completed", ["hello"]),
        ("user", "completed", ["bye"]),
        ("assistant", "completed", ["ciao"]),
    ]


@pytest.mark.parametrize("heard", [True, False], ids=["speech start", "no speech start"])
def test_what_was_asked_stands_before_its_answer_though_it_is_transcribed_later(
    heard: bool,
) -> None:
    wires = [SPEECH_START] if heard else []
    wires += [says(0, "assistant"), more(0, "assistant", "hel"), says(1, "user")]
    wires += [more(1, "user", "hi"), more(0, "assistant", "lo")]
    wires += [said(0, "assistant", "hello"), TURN_COMPLETE, said(1, "user", "hi")]
    assert turns(*wires) == [("user", "completed", ["hi"]), ("assistant", "completed", ["hello"])]


@pytest.mark.parametrize("heard", [True, False], ids=["speech start", "no speech start"])
def test_what_is_said_over_an_answer_stands_behind_it(heard: bool) -> None:
    before, start_ = utterance(0, "user", "hi"), [SPEECH_START] if heard else []
    wires = [*start_, *before, says(1, "assistant"), more(1, "assistant", "long "), *start_]
    wires += [says(2, "user"), more(2, "user", "stop"), more(1, "assistant", "story")]
    wires += [said(1, "assistant", "long story"), said(2, "user", "stop")]
    assert turns(*wires, *utterance(3, "assistant", "ok")) == [
        ("user", "completed", ["hi"]),
        ("assistant", "completed", ["long story"]),
        ("user", "completed", ["stop"]),
        ("assistant", "completed", ["ok"]),
    ]


def test_a_part_of_a_session_that_streams_again_is_the_same_part() -> None:
    wires = [*utterance(0, "assistant", "one", id="i1"), *utterance(1, "assistant", "two", id="i2")]
    wires += [says(0, "assistant", "one", id="i1"), more(0, "assistant", " more")]
    wires += [said(0, "assistant", "one more", id="i1"), TURN_COMPLETE]
    assert turns(*wires) == [("assistant", "completed", ["one more", "two"])]
    # The text of a session whose model writes.
    first = [start(1), text("one", 1), end(1, content="one"), start(2), end(2, content="two")]
    again = [start(1, content="one"), text(" more", 1), end(1, content="one more")]
    assert turns(*utterance(0, "user", "hi"), *first, *again) == [
        ("user", "completed", ["hi"]),
        ("assistant", "completed", ["one more", "two"]),
    ]


def test_another_session_on_the_stream_begins_anew() -> None:
    one = [*utterance(0, "user", "hi"), *utterance(1, "assistant", "hello", id="i1")]
    other = [*utterance(0, "user", "you"), *utterance(1, "assistant", "me", id="i2")]
    shown = [["hi"], ["hello"], ["you"], ["me"]]
    assert [texts for _, _, texts in turns(*one, *other)] == shown
    assert [texts for _, _, texts in turns(*one, TURN_COMPLETE, *other)] == shown
    # One that broke off, and has another speaker at the index.
    cut = [says(0, "assistant"), more(0, "assistant", "hel"), says(1, "user"), more(1, "user", "h")]
    assert turns(*cut, *other) == [
        ("user", "aborted", ["h"]),
        ("assistant", "aborted", ["hel"]),
        ("user", "completed", ["you"]),
        ("assistant", "completed", ["me"]),
    ]


def test_a_lost_connection_ends_the_response() -> None:
    lost = {"event_kind": "realtime_session_reconnect", "state_restored": False}
    wires = [*utterance(0, "assistant", "ha", id="i1"), lost]
    after = utterance(1, "assistant", "again", id="i2")
    assert [texts for _, _, texts in turns(*wires, *after)] == [["ha"], ["again"]]
    kept = {**lost, "state_restored": True}
    assert [texts for _, _, texts in turns(wires[0], wires[2], kept, *after)] == [["ha", "again"]]


def test_a_response_of_a_session_ends_when_its_calls_are_answered() -> None:
    first = [*utterance(0, "assistant", "wait"), *called(1, "c1"), *called(2, "c2")]
    rest = utterance(3, "assistant", "on it")
    assert [texts for _, _, texts in turns(*first, result("a", "c2"), *rest)] == [
        ["wait", "", "", "on it"]
    ]
    answered = [result("a", "c2"), result("b", "c1")]
    assert [texts for _, _, texts in turns(*first, *answered, *rest)] == [
        ["wait", "", ""],
        ["on it"],
    ]


def test_a_result_that_comes_during_a_later_response_does_not_end_it() -> None:
    wires = [*called(0, "c1"), SPEECH_START, *utterance(1, "user", "and?"), says(2, "assistant")]
    wires += [more(2, "assistant", "still"), result("a", "c1"), more(2, "assistant", " here")]
    wires += [said(2, "assistant", "still here"), *utterance(3, "assistant", "done")]
    assert turns(*wires)[-2:] == [
        ("assistant", "completed", ["still here"]),
        ("assistant", "completed", ["done"]),
    ]


def test_what_the_user_said_before_the_stream_was_read_is_the_users() -> None:
    wires = [
        more(4, "user", "there"),
        *utterance(5, "assistant", "yes"),
        said(4, "user", "hi there"),
    ]
    assert turns(*wires) == [
        ("user", "completed", ["hi there"]),
        ("assistant", "completed", ["yes"]),
    ]
    assert turns(said(4, "user", "hi")) == [("user", "completed", ["hi"])]


def test_memory_does_not_grow_with_a_session() -> None:
    context = Context()
    adapter = PydanticAIAdapter(context)

    def size(numbers: range) -> int:
        for number in numbers:
            for wire in utterance(1000 + number, "user", "hi"):
                adapter.decode(wire)
            for wire in utterance(2000 + number, "assistant", "ho"):
                adapter.decode(wire)
        return len(json.dumps([context.own, context.shared]))

    assert size(range(100, 200)) == size(range(200, 300))
    for number in range(300):
        adapter.decode(says(number, "user"))
    before = len(context.own["said"])
    adapter.decode(says(300, "user"))
    assert len(context.own["said"]) == before == 256


# --- tools ----------------------------------------------------------------------------------------


def test_a_tool_from_its_call_to_its_result() -> None:
    store, stream = opened(ticks="each")
    stream.ingest_many([call(0, '{"path"'), args(': "a"')])
    part = store.part("s", "local-1", 0)
    assert part is not None and part.field_text("input") == '{"path": "a"'
    whole = {"tool_name": "read", "args": '{"path": "a"}', "tool_call_id": "c1"}
    stream.ingest_many([args("}"), end(0, "tool-call", **whole)])
    assert (tool_of(store).status, tool_of(store).input) == ("pending", {"path": "a"})
    stream.ingest({"part": {**whole, "part_kind": "tool-call"}, "event_kind": "function_tool_call"})
    assert tool_of(store).status == "running"
    stream.ingest(result(["text"]))
    assert (tool_of(store).status, tool_of(store).output) == ("completed", ["text"])
    assert tool_of(store).input == {"path": "a"}
    _, request = made(store)
    assert request["parts"] == [result(["text"])["part"]]


OUTCOMES = {
    "failed": ("error", {"outcome": "failed"}),
    "retried": ("error", {"outcome": "retried"}),
    "denied": ("denied", {"outcome": "denied"}),
    "an earlier version's retry": ("error", {"part_kind": "retry-prompt"}),
}


@pytest.mark.parametrize(("status", "part"), OUTCOMES.values(), ids=OUTCOMES)
def test_a_tool_that_did_not_succeed(status: str, part: Wire) -> None:
    store = fed(call(0, "{}"), result("why", **part))
    assert (tool_of(store).status, tool_of(store).error) == (status, "why")
    # The result may come first, and under the name that it had.
    late = {"event_kind": "function_tool_result", "result": result("why", **part)["part"]}
    assert tool_of(fed(late, call(0, "{}"))).status == status


def test_the_id_of_a_call_is_what_was_said_last() -> None:
    def named(call_id: str) -> Wire:
        return delta(0, "tool_call", args_delta="x", tool_call_id=call_id)

    begun = [call(0, "{", "c1"), named("c1")]
    assert tool_of(fed(*begun)).call_id == "c1"
    assert tool_of(fed(*begun, named("c2"))).call_id == "c2"
    assert tool_of(fed(*begun, named("c2"), named("c2"), named("c1"))).call_id == "c1"
    # A start that names none takes the place of one that did.
    again = [*begun, call(0, "{", None, previous="tool-call")]
    assert tool_of(fed(*again)).call_id is None
    assert tool_of(fed(*again, named("c1"))).call_id == "c1"
    # As does the part that deltas came before.
    assert tool_of(fed(named("c1"), call(0, "{", "c2"), named("c1"))).call_id == "c1"


def test_arguments_that_are_an_object() -> None:
    store = fed(call(0, {"a": "é"}), args({"b": 2}))
    part = store.part("s", "local-1", 0)
    assert part is not None and part.field_text("input") == '{"a": "é", "b": 2}'
    assert made(store)[0]["parts"][0]["args"] == {"a": "é", "b": 2}


def test_what_json_does_not_have_in_arguments_is_malformed() -> None:
    store, stream = opened()
    verdict = stream.ingest(call(0, {"day": date(2020, 1, 1)}))
    detail = "part.args.day: must be JSON, not date: dump it before"
    assert (verdict.kind, verdict.detail) == ("malformed", detail)
    store.flush()
    assert store.messages("s") == ()


DAY = date(2020, 1, 1)


@pytest.mark.parametrize(
    ("wire", "at"),
    [
        (start(1, at=DAY), "part.at"),
        (end(0, at=[DAY]), "part.at.0"),
        (
            delta(0, "text", content_delta="b", provider_details={"at": DAY}),
            "delta.provider_details.at",
        ),
        (delta(0, "text", content_delta="b", citations_delta=[DAY]), "delta.citations_delta.0"),
        (result("b", timestamp=DAY), "part.timestamp"),
        ({**result("b"), "content": [DAY]}, "content.0"),
        (
            {
                "event_kind": "deferred_tool_requests",
                "requests": {"approvals": [{"tool_call_id": "c1", "args": {"at": DAY}}]},
            },
            "requests.approvals.0.args.at",
        ),
        (
            {"event_kind": "deferred_tool_results", "results": {"approvals": {"c1": DAY}}},
            "results.approvals.c1",
        ),
        ({"event_kind": "final_result", "tool_name": DAY, "tool_call_id": None}, "tool_name"),
        ({"event_kind": "agent_run_result", "result": {"output": DAY}}, "result.output"),
        ({"kind": "response", "parts": [], "timestamp": DAY}, "timestamp"),
        (
            {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": ["b", DAY]}]},
            "parts.0.content.1",
        ),
    ],
)
def test_what_could_not_be_saved_is_malformed_and_named(wire: Any, at: str) -> None:
    store, stream = opened()
    stream.ingest(start(0, content="a"))
    store.flush()
    before = store.state()
    verdict = stream.ingest(wire)
    detail = f"{at}: must be JSON, not date: dump it before"
    assert (verdict.kind, verdict.detail) == ("malformed", detail)
    store.flush()
    assert {**store.state(), "counts": {}} == {**before, "counts": {}}
    assert stream.ingest(text("c")).kind == "accepted"
    json.dumps(store.save())


def test_what_was_enqueued_is_shown_where_it_reached_the_agent_and_once() -> None:
    def enqueued(id: Any, *said: str) -> Wire:
        parts = [[{"content": text, "part_kind": "user-prompt"}] for text in said]
        messages = [{"kind": "request", "parts": each} for each in parts]
        return {"event_kind": "enqueued_messages", "enqueue_id": id, "messages": messages}

    store, stream = opened()
    called = {"event_kind": "function_tool_call", "part": call(0, {})["part"], "args_valid": True}
    stream.ingest_many([call(0, {}), called, result("r"), enqueued("e1", "by the way")])
    stream.ingest_many([start(0, content="Yes."), end(0, content="Yes.")])
    assert stream.ingest(enqueued("e2", "and", "more")).kind == "accepted"
    stream.ingest(start(0, content="Well."))
    store.flush()
    expected = [[""], ["by the way"], ["Yes."], ["and"], ["more"], ["Well."]]
    assert texts(store) == expected
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    for each in (stream, store.open(PROTOCOL, session_id="s")):
        assert each.ingest(enqueued("e2", "and", "more")).kind == "duplicate"
        assert each.ingest(enqueued(None, "no")).kind == "malformed"
    assert each.ingest({**enqueued("e3"), "messages": [{"kind": "new"}]}).detail == (
        "messages.0.kind: must be request or response, not a string"
    )
    store.flush()
    assert texts(store) == expected
    assert [message.role for message in store.messages("s")] == [
        "assistant", "user", "assistant", "user", "user", "assistant"
    ]  # fmt: skip
    assert made(store)[2]["parts"][0]["content"] == "by the way"


def test_an_approval_is_asked_for_and_answered() -> None:
    wires = CASES["approval"]
    store, stream = opened()
    stream.ingest_many(wires)
    store.flush()
    session = store.session("s")
    assert session is not None and list(session.permissions) == ["c1"]
    assert session.permissions["c1"].payload["tool_name"] == "rm"
    assert tool_of(store, 1).status == "waiting"
    stream.end()
    # The answer is given to a new run, whose first event is the result.
    stream = store.open(PROTOCOL, session_id="s")
    stream.ingest(result("gone", "c1"))
    store.flush()
    session = store.session("s")
    assert session is not None and not session.permissions
    assert tool_of(store, 1).status == "completed"
    store, stream = opened()
    answers = {"calls": {}, "approvals": {"c1": True}}
    stream.ingest_many([*wires, {"results": answers, "event_kind": "deferred_tool_results"}])
    store.flush()
    session = store.session("s")
    assert session is not None and not session.permissions


# --- whole messages -------------------------------------------------------------------------------


def test_a_history_is_taken_in_and_given_back() -> None:
    history = [
        {
            "kind": "request",
            "parts": [{"content": "hi", "part_kind": "user-prompt"}],
            "run_id": "r",
        },
        {
            "kind": "request",
            "parts": [
                {"content": ["see", {"url": "u", "kind": "image-url"}], "part_kind": "user-prompt"}
            ],
        },
        *final_of("run-with-tools"),
        *final_of("all-parts"),
    ]
    store = fed(history)
    assert made(store) == history
    assert [message.role for message in store.messages("s")[:4]] == [
        "user",
        "user",
        "assistant",
        "tool",
    ]
    assert texts(store)[1] == ["see"]
    assert tool_of(store, 2, "local-3").output == 3
    # A response that names itself stands once.
    named = {**history[2], "provider_response_id": "resp_1"}
    assert made(fed(named, named)) == [named]


def test_what_a_prompt_says_beside_its_files_is_shown() -> None:
    pieces = [
        "a ",
        {"content": "b ", "metadata": {"n": 1}, "kind": "text-content"},
        {"content": "no text", "value": 1, "kind": "structured-content"},
        {"url": "u", "kind": "image-url"},
        "c",
    ]
    history = [{"kind": "request", "parts": [{"content": pieces, "part_kind": "user-prompt"}]}]
    store = fed(history)
    assert texts(store) == [["a b c"]]
    assert made(store) == history


def test_what_no_person_wrote_is_no_message_of_the_user() -> None:
    feedback = {"content": "bad", "retry": {"cause": "model_retry"}, "part_kind": "retry-feedback"}
    returned = {"tool_name": "t", "content": 1, "tool_call_id": "c", "part_kind": "tool-return"}
    told = {"part_kind": "instruction-delta"}
    said = {"content": "hi", "part_kind": "user-prompt"}
    history = [
        {"kind": "request", "parts": parts}
        for parts in ([feedback], [returned, told], [told], [told, said])
    ]
    store = fed(history)
    assert made(store) == history
    assert [message.role for message in store.messages("s")] == ["tool", "tool", "tool", "user"]
    assert store.parts("s", "local-1")[0].kind == "data"


def test_what_a_tool_has_the_model_see_behind_its_return() -> None:
    seen = ["see this", {"url": "u", "kind": "image-url"}]
    response = [call(0, "{}"), call(1, "{}", "c2"), end(0, "tool-call", "tool-call", tool_name="t")]
    store = fed(*response, {**result(1), "content": seen}, {**result(2, "c2"), "content": "more"})
    parts = store.parts("s", "local-1")
    assert [part.fields["returnContent"] for part in parts] == [
        seen,
        "more",
    ]
    assert made(store)[1]["parts"] == [
        result(1)["part"],
        result(2, "c2")["part"],
        {"content": seen, "part_kind": "user-prompt"},
        {"content": "more", "part_kind": "user-prompt"},
    ]
    assert "returnContent" not in fed(*response, result(1)).parts("s", "local-1")[0].fields


# --- the package ----------------------------------------------------------------------------------

WHY = "pydantic-ai-slim is no part of the dev extra: pip install pydantic-ai-slim"


@pytest.mark.parametrize("seed", range(25))
def test_random_responses_end_in_the_parts_of_the_manager(seed: int) -> None:
    """Driven as a model class drives it, after each event the parts are the manager's."""
    messages = pytest.importorskip("pydantic_ai.messages", reason=WHY)
    models = pytest.importorskip("pydantic_ai.models", reason=WHY)
    manager_of = pytest.importorskip("pydantic_ai._parts_manager", reason=WHY)
    from pydantic import TypeAdapter

    events_of = TypeAdapter(messages.AgentStreamEvent)
    parts_of = TypeAdapter(list[messages.ModelResponsePart])
    draw = random.Random(seed)
    manager = manager_of.ModelResponsePartsManager(models.ModelRequestParameters())
    store, stream = opened("strict")
    kinds: dict[str, str] = {}
    count = 0
    for _ in range(40):
        vendor = draw.choice(["a", "b", "c", f"new {draw.random()}"])
        kind = kinds.setdefault(vendor, draw.choice(["text", "thinking", "call", "object"]))
        word = draw.choice(["one ", "é", "\U0001f600", '{"', "\u2028", ""])
        details = draw.choice([None, None, None, {}, {"n": draw.random()}])
        given: Any = {"vendor_part_id": vendor, "provider_details": details}
        given["provider_name"] = draw.choice([None, "p"])
        if kind == "text":
            found: Any = manager.handle_text_delta(content=word, **given)
        elif kind == "thinking":
            signature = draw.choice([None, None, "s"])
            found = manager.handle_thinking_delta(content=word, signature=signature, **given)
        else:
            arguments = word if kind == "call" else {word: draw.random()}
            name = draw.choice([None, "tool"])
            found = manager.handle_tool_call_delta(
                tool_name=name, args=arguments, tool_call_id=vendor, **given
            )
        for event in [found] if found is None or hasattr(found, "event_kind") else list(found):
            if event is None:
                continue
            wire = json.loads(events_of.dump_json(event))
            assert stream.ingest(wire).kind == "accepted"
            count += 1
        expected = json.loads(parts_of.dump_json(manager.get_parts()))
        assert (made(store) or [{"parts": []}])[0]["parts"] == expected
    assert count > 20


def test_a_run_of_an_agent_ends_in_its_messages() -> None:
    pytest.importorskip("pydantic_ai", reason=WHY)
    import asyncio

    from pydantic import TypeAdapter
    from pydantic_ai import Agent
    from pydantic_ai.messages import AgentStreamEvent
    from pydantic_ai.models.test import TestModel

    agent = Agent(TestModel())

    @agent.tool_plain
    def add(a: int, b: int) -> int:
        return a + b

    store, stream = opened()
    events_of: Any = TypeAdapter(AgentStreamEvent)

    async def run() -> Any:
        async with agent.run_stream_events("hi") as events:
            async for event in events:
                if event.event_kind == "agent_run_result":
                    return json.loads(event.result.all_messages_json())
                assert stream.ingest(json.loads(events_of.dump_json(event))).kind == "accepted"

    history = asyncio.run(run())
    expected = [message["parts"] for message in history[1:]]
    assert [message["parts"] for message in made(store)] == expected
    assert len(expected) == 3


# --- hostile input --------------------------------------------------------------------------------


@given(st.lists(mutated(EVENTS) | JSON, max_size=5), st.integers(0, 12), st.sampled_from(NAMES))
def test_anything_is_events_or_a_reason(wires: list[Any], at: int, name: str) -> None:
    assert_total(PROTOCOL, wires, CASES[name][:at])


@given(st.lists(mutated(EVENTS), max_size=6), st.integers(0, 12), st.sampled_from(NAMES))
def test_the_short_way_agrees_on_anything(wires: list[Any], at: int, name: str) -> None:
    wires = [*CASES[name][:at], *wires, *CASES[name][at:]]
    states = []
    for plain in (PydanticAIAdapter.plain, lambda self, wire: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PydanticAIAdapter, "plain", plain)
            states.append(shown(fold(PROTOCOL, wires)))
    assert states[0] == states[1]


def test_the_text_of_a_part_that_ended_is_remembered_while_others_stream() -> None:
    context = Context()
    adapter = PydanticAIAdapter(context)
    for wire in (start(0), text("x" * 99), end(0, "text", "text", content="x" * 99), start(1)):
        adapter.decode(wire)
    assert "x" * 99 in json.dumps(context.own)
    adapter.decode(end(1))
    assert "x" * 99 not in json.dumps(context.own)


def test_memory_does_not_grow_with_the_deltas() -> None:
    context = Context()
    adapter = PydanticAIAdapter(context)
    for wire in (start(0), call(1, "{"), text("x"), args('"', 1)):
        adapter.decode(wire)
    before = len(json.dumps([context.own, context.shared]))
    for _ in range(300):
        adapter.decode(text("some"))
        adapter.decode(args("some", 1))
    assert len(json.dumps([context.own, context.shared])) == before
