"""The AG-UI adapter: streams of `tests/data/ag-ui` against what the official client makes of them.

Strict streams equal the client to the letter, lenient ones wherever it does not stop. Where there
is a folder of corpora (`recordings.py`), its cases are read too. What else a stream can say stands
further down, by topic.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import Case, cases, corpora, frames, kept

from streamstore import ChangeSet, Limits, PartKey, StreamStore
from streamstore.adapters.ag_ui import AgUiAdapter
from streamstore.adapters.ag_ui import chunks as ag_ui_chunks
from streamstore.adapters.ag_ui import known as ag_ui_known
from streamstore.adapters.ag_ui import runs as ag_ui_runs
from streamstore.adapters.ag_ui import verify as ag_ui_verify
from streamstore.adapters.base import Context, PlainDelta
from streamstore.errors import (
    MalformedEvent,
    ProtocolStopped,
    StreamStoreError,
    UnknownEvent,
)
from streamstore.events import (
    BlockDelta,
    MessageRemoved,
    RequestEvent,
    SessionStatus,
    Snapshot,
    decode_event,
    encode_event,
)
from streamstore.protocols import detect

pytest.importorskip("jsonpatch")

Wire = dict[str, Any]


# --- cases ----------------------------------------------------------------------------------------


CASES = cases("ag-ui")
SMALL = [case for case in CASES if not case.name.startswith("long-")]
#: Cases that the official client does not stop at, one request each.
WHOLE = [
    case for case in SMALL if not case.name.startswith("malformed-") and case.has("stream.sse")
]

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_small_case = pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
each_whole_case = pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
each_policy = pytest.mark.parametrize("policy", ["strict", "lenient"])


def test_all_cases_are_there() -> None:
    assert len(kept("ag-ui")) == 71
    assert len(CASES) == (73 if corpora() is not None else 71)
    assert len(WHOLE) == 42


def initial(case: Case) -> Wire | None:
    """What the client started with, as a history that was fetched."""
    if not case.has("initial.json"):
        return None
    return {"threadId": "thread-1", "messages": [], **case.json("initial.json")}


def counted() -> Callable[[], str]:
    """Ids as the client of the recordings made them: its spans of reasoning have one, too."""
    number = 1

    def new_id() -> str:
        nonlocal number
        number += 1
        return f"00000000-0000-4000-8000-{number:012}"

    return new_id


def a_store(**arguments: Any) -> StreamStore:
    return StreamStore("ag-ui", new_id=counted(), **{"ticks": "manual", **arguments})


def encoded(store: StreamStore) -> Wire:
    store.flush()
    found: Wire = AgUiAdapter(Context()).encode(store)
    return found


def pending(store: StreamStore) -> list[Any]:
    sessions = filter(None, map(store.session, store.session_ids()))
    return [one for session in sessions for one in session.info.get("pendingInterrupts", [])]


def feed(stream: Any, body: bytes, size: int = 1 << 20) -> None:
    for start in range(0, len(body), size):
        stream.feed(body[start : start + size])


def play(case: Case, policy: Any = "lenient", size: int = 1 << 20, **arguments: Any) -> StreamStore:
    store = a_store(**arguments)
    for number, body in enumerate(case.bodies):
        stream = store.open("ag-ui", policy=policy)
        history = initial(case)
        if number == 0 and history is not None:
            assert stream.ingest(history).kind == "accepted"
        feed(stream, body, size)
        stream.end()
    store.flush()
    return store


# --- the official client --------------------------------------------------------------------------
# What a stream ends in is held against the client in `test_oracles.py`.

#: Where ours differs by law: the same run on a new stream is a replay, and replaces.
REPLAYED = ("replay-same-ids", "replay-after-snapshot")


def test_lenient_streams_count_what_they_cannot_use_and_go_on() -> None:
    verdicts = {
        case.name: {
            name: number
            for name, number in play(case).health.counts["verdicts"].items()
            if name != "accepted"
        }
        for case in SMALL
    }
    assert {name: found for name, found in verdicts.items() if found} == {
        "activity": {"refused:conflict": 3},
        "malformed-chunk-no-id": {"malformed:messageId": 1},
        "malformed-chunk-no-tool-name": {"malformed:toolCallName": 1},
        "malformed-chunk-role-conflict": {"malformed:role": 1},
        "malformed-missing-field": {"malformed:delta": 1},
        "malformed-no-type": {"malformed:type": 1},
        "malformed-not-json": {"malformed": 1},
        "malformed-not-object": {"malformed": 1},
        "malformed-wrong-type": {"malformed:delta": 1},
        "messages-snapshot-mid-stream-drops": {"refused:removed": 1},
        "state-snapshot-delta": {"refused:conflict": 4},
        "unknown-and-extra": {"unknown:SOMETHING_NEW": 1},
    }


def distinct(states: Sequence[Any]) -> list[Any]:
    return [state for place, state in enumerate(states) if place == 0 or state != states[place - 1]]


def without_halves(value: Any) -> Any:
    """Texts without the half of a surrogate pair at their end, which waits for the other."""
    if isinstance(value, dict):
        return {name: without_halves(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_halves(item) for item in value]
    if isinstance(value, str) and value and "\ud800" <= value[-1] <= "\udbff":
        return value[:-1]
    return value


@pytest.mark.parametrize(
    "case",
    [case for case in SMALL if case.has("snapshots.jsonl")],
    ids=lambda case: case.name,
)
def test_after_every_event_the_state_is_the_clients(case: Case) -> None:
    if case.name in REPLAYED:
        pytest.skip("differs by law")
    theirs = distinct(without_halves(case.lines("snapshots.jsonl")))
    store = a_store()
    history = initial(case)
    before = ours = []
    for number, body in enumerate(case.bodies):
        stream = store.open("ag-ui", policy="strict")
        if number == 0:
            if history is not None:
                stream.ingest(history)
            before, ours = [encoded(store)], [encoded(store)]
        for frame in frames(body):
            stream.feed(frame)
            ours.append(encoded(store))
        stream.end()
    ours = distinct(ours)[1:]
    if any(b"_CHUNK" in body for body in case.bodies):
        # A chunk is two events to the client: it shows the empty message in between.
        waiting = iter(theirs)
        assert all(state in waiting for state in ours)
        assert ours[-1:] == theirs[-1:]
    else:
        assert ours == theirs
    assert theirs or encoded(store) == before[0]


# --- every tick -----------------------------------------------------------------------------------


class Watcher:
    """Hears every tick: edits add up to the texts, which are prefixes of what they become."""

    def __init__(self, store: StreamStore, final: dict[Any, str]) -> None:
        self.store, self.final = store, final
        self.texts: dict[Any, str] = {}
        self.rewritten: set[Any] = set()
        store.subscribe(self.hear)

    def hear(self, changes: ChangeSet) -> None:
        for gone in changes.removed:
            for key, field in list(self.texts):
                if key[: len(gone)] == gone:
                    self.rewritten.add((key, field))
                    del self.texts[key, field]
        for (key, field), edit in changes.text.items():
            before = self.texts.get((key, field), "")
            assert edit.start <= len(before)
            assert edit.rewritten == (edit.start < len(before))
            if edit.rewritten:
                self.rewritten.add((key, field))
            text = self.texts[key, field] = before[: edit.start] + edit.text
            part = self.store.part(*key)
            assert part is not None and part.field_text(field) == text

    def end(self) -> None:
        assert {key: text for key, text in self.texts.items() if text} == self.final


def texts_of(store: StreamStore) -> dict[Any, str]:
    return {
        (part.key, field): part.field_text(field)
        for session_id in store.session_ids()
        for message in store.messages(session_id)
        for part in store.parts(session_id, message.id)
        for field in ("text", "input")
        if part.field_text(field)
    }


#: What is rewritten: a snapshot says otherwise, a message becomes an activity, a run is replayed.
REWRITTEN: dict[str, set[tuple[str, str]]] = {
    "activity": {("m", "text")},
    "messages-snapshot": {("a1", "text"), ("tmp", "text")},
    "messages-snapshot-keeps-local": {("m2", "text")},
    "messages-snapshot-mid-stream-drops": {("m", "text")},
    "messages-snapshot-owns-roles": {("r1", "text")},
    "replay-after-snapshot": {("m1", "text"), ("m2", "text"), ("r1", "text"), ("t1", "text")},
    "replay-same-ids": {("m1", "text"), ("m2", "text"), ("t1", "text")},
}


@each_small_case
@pytest.mark.parametrize("ticks", ["each", None, "manual"])
def test_shown_text_is_a_prefix_of_what_it_becomes_unless_a_rewrite_was_announced(
    case: Case, ticks: Any
) -> None:
    final = texts_of(play(case))
    store = a_store(ticks=ticks)
    watcher = Watcher(store, final)
    seen: dict[Any, list[str]] = {}
    for number, body in enumerate(case.bodies):
        stream = store.open("ag-ui")
        history = initial(case)
        if number == 0 and history is not None:
            stream.ingest(history)
        for place, frame in enumerate(frames(body)):
            stream.feed(frame)
            if ticks == "manual" and place % 3 == 0:
                store.flush()
            for key, text in watcher.texts.items():
                seen.setdefault(key, []).append(text)
        stream.end()
    store.flush()
    watcher.end()
    for key, texts in seen.items():
        if key not in watcher.rewritten:
            assert all(final.get(key, "").startswith(text) for text in texts)
    rewritten = {(key[1], field) for key, field in watcher.rewritten if field == "text"}
    assert rewritten <= REWRITTEN.get(case.name, set())
    if ticks == "each":
        assert rewritten == REWRITTEN.get(case.name, set())


@each_case
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_however_the_bytes_are_cut_the_state_is_the_same(case: Case, size: int) -> None:
    if case.name.startswith("long-") and size < 4096:
        pytest.skip("long")
    assert play(case, size=size).state()["sessions"] == play(case).state()["sessions"]


@each_small_case
def test_buffered_delivery_ends_in_the_same_state(case: Case) -> None:
    held, shown = play(case, delivery="buffered"), play(case)
    for session_id in held.session_ids():
        held.release(session_id)
    assert encoded(held) == encoded(shown)


# --- saved states ---------------------------------------------------------------------------------


@each_small_case
@each_policy
def test_a_state_saved_at_any_frame_and_the_tail_are_the_whole(case: Case, policy: Any) -> None:
    whole = play(case, policy)
    *before, body = case.bodies
    parts = frames(body)
    for cut in sorted({0, 1, 2, len(parts) // 3, len(parts) // 2, len(parts) - 1, len(parts)}):
        store = a_store()
        history = initial(case)
        for number, earlier in enumerate([*before, b"".join(parts[:cut])]):
            stream = store.open("ag-ui", policy=policy)
            if number == 0 and history is not None:
                stream.ingest(history)
            feed(stream, earlier)
            if number < len(before):
                stream.end()
        stopped = stream._ingress.stopped
        saved = json.loads(json.dumps(store.save()))
        loaded = StreamStore.load(saved, ticks="manual", new_id=store._new_id)
        stream = loaded.open("ag-ui", policy=policy)
        if not stopped:  # that the client stopped is no part of a state
            feed(stream, b"".join(parts[cut:]))
        stream.end()
        loaded.flush()
        assert loaded.state()["sessions"] == whole.state()["sessions"], cut
        assert encoded(loaded) == encoded(whole)


# --- the short way --------------------------------------------------------------------------------


class Long(AgUiAdapter):
    """Takes the long way always."""

    def plain(self, wire: Any) -> PlainDelta | None:
        return None


def take(adapter: type[AgUiAdapter], case: Case, policy: Any) -> StreamStore:
    store = a_store()
    for number, body in enumerate(case.bodies):
        stream = store.open("ag-ui", policy=policy)
        stream._adopt(adapter)
        history = initial(case)
        if number == 0 and history is not None:
            stream.ingest(history)
        feed(stream, body)
        stream.end()
    store.flush()
    return store


@each_case
@each_policy
def test_the_short_way_agrees_with_the_long_one(case: Case, policy: Any) -> None:
    short, long = take(AgUiAdapter, case, policy), take(Long, case, policy)
    assert short.state() == long.state()
    assert encoded(short) == encoded(long)


def started(*events: Wire, strict: bool = False) -> AgUiAdapter:
    """An adapter behind some events of a run."""
    adapter = AgUiAdapter(Context(strict=strict))
    for event in ({"type": "RUN_STARTED", "threadId": "t", "runId": "r"}, *events):
        adapter.decode(copy.deepcopy(event))
    return adapter


def asked(adapter: AgUiAdapter, wire: Any) -> PlainDelta | None:
    try:
        return adapter.plain(wire)
    except (KeyError, TypeError, AttributeError):
        return None


START: Wire = {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
CONTENT: Wire = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x"}
THINK: Wire = {"type": "REASONING_MESSAGE_START", "messageId": "r", "role": "reasoning"}
THOUGHT: Wire = {"type": "REASONING_MESSAGE_CONTENT", "messageId": "r", "delta": "x"}
CHUNK: Wire = {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "x"}

ACTIVITY: Wire = {
    "type": "ACTIVITY_SNAPSHOT",
    "messageId": "a",
    "activityType": "t",
    "content": {},
}
PATCH: Wire = {"type": "ACTIVITY_DELTA", "messageId": "a", "activityType": "t", "patch": []}
#: A null is no absent member of a text part, as it is of the media.
NULL_IN_A_TEXT: Wire = {
    "id": "u",
    "role": "user",
    "content": [{"type": "text", "text": "a", "metadata": None}],
}
NULL_AT = "messages.0.content.0.metadata"
MORE_OF_A_CHUNK: Wire = {"type": "TEXT_MESSAGE_CHUNK", "delta": "y"}
CALL: Wire = {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "f"}
ARGS: Wire = {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": "x"}
CALL_END: Wire = {"type": "TOOL_CALL_END", "toolCallId": "c"}
CALL_CHUNK: Wire = {**CALL, "type": "TOOL_CALL_CHUNK", "delta": "x"}
MORE_OF_A_CALL: Wire = {"type": "TOOL_CALL_CHUNK", "delta": "y"}
RESULT: Wire = {
    "type": "TOOL_CALL_RESULT",
    "messageId": "m",
    "toolCallId": "c",
    "content": "x",
}
OF_ANOTHER: Wire = {"type": "RUN_STARTED", "threadId": "u", "runId": "r"}
FETCHED: Wire = {
    "messages": [
        {
            "id": "m",
            "role": "assistant",
            "toolCalls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        }
    ]
}
DROPPED: Wire = {"type": "MESSAGES_SNAPSHOT", "messages": []}


def hot_key(event: BlockDelta) -> tuple[Any, ...]:
    """What the row of a delta is found by."""
    key = PartKey(event.session_id or "main", event.message_id, event.block_index)
    return key if event.field == "text" else (*key, event.field)


@pytest.mark.parametrize(
    ("before", "wire"),
    [
        ([START, CONTENT], CONTENT),
        ([START, CONTENT], {**CONTENT, "timestamp": 1_700_000_000_000}),
        ([THINK, THOUGHT], THOUGHT),
        ([CHUNK], CHUNK),
        ([CHUNK], MORE_OF_A_CHUNK),
        ([CHUNK], {**MORE_OF_A_CHUNK, "timestamp": 5}),
        ([CALL, ARGS], ARGS),
        ([CALL, ARGS], {**ARGS, "timestamp": 5}),
        ([START, {**CALL, "parentMessageId": "m"}, ARGS, CONTENT], ARGS),
        ([CALL, ARGS, {**CALL, "toolCallId": "d"}, {**ARGS, "toolCallId": "d"}], ARGS),
        ([CALL, {**ARGS, "metadata": {"a": 1}}], ARGS),
        ([CALL_CHUNK], MORE_OF_A_CALL),
        ([CALL_CHUNK], {**MORE_OF_A_CALL, "toolCallId": "c", "timestamp": 5}),
    ],
)
@each_policy
def test_a_delta_of_what_is_streaming_takes_the_short_way(
    before: list[Wire], wire: Wire, policy: str
) -> None:
    adapter = started(*before, strict=policy == "strict")
    memory = copy.deepcopy(adapter._own)
    found = asked(adapter, wire)
    assert found is not None and adapter._own == memory
    (event,) = adapter.decode(wire)
    assert isinstance(event, BlockDelta) and event.text == found[1] and found[2] is None
    assert found[0] == hot_key(event) and found[0][0] == "t"
    assert adapter._own == memory


@pytest.mark.parametrize(
    ("before", "wire"),
    [
        ([], CONTENT),
        ([START], CONTENT),  # its first delta warms it up
        ([START, CONTENT], {**CONTENT, "metadata": {}}),
        ([START, CONTENT], {**CONTENT, "timestamp": 1.5}),
        ([START, CONTENT], {**CONTENT, "timestamp": True}),
        ([START, CONTENT], {**CONTENT, "timestamp": 2**60}),
        ([START, CONTENT], {**CONTENT, "subagentRunId": "s"}),
        ([START, CONTENT], {**CONTENT, "delta": 5}),
        ([START, CONTENT], {**CONTENT, "messageId": ["m"]}),
        ([START, CONTENT], {**CONTENT, "messageId": "other"}),
        ([START, CONTENT], {**THOUGHT, "messageId": "m"}),
        ([START, CONTENT], {"type": "TEXT_MESSAGE_CONTENT", "delta": "x"}),
        ([START, CONTENT], [CONTENT]),
        ([START, CONTENT, {"type": "TEXT_MESSAGE_END", "messageId": "m"}], CONTENT),
        ([START, CONTENT, START], CONTENT),
        ([START, CONTENT, {"type": "RUN_ERROR", "message": "x"}], CONTENT),
        ([START, CONTENT, DROPPED], CONTENT),
        ([START, CONTENT, OF_ANOTHER], CONTENT),
        ([RESULT, START, CONTENT, {**RESULT, "content": []}], CONTENT),
        # An explicit delta ends what chunks assemble; a chunk of another lane does not.
        ([START, CONTENT, {**CHUNK, "messageId": "n"}], CONTENT),
        ([CHUNK, {**CHUNK, "messageId": "n", "subagentRunId": "s"}], MORE_OF_A_CHUNK),
        ([CHUNK], {**MORE_OF_A_CHUNK, "metadata": {}}),
        ([CHUNK], {**MORE_OF_A_CHUNK, "role": "user"}),
        ([CHUNK, {"type": "STEP_STARTED", "stepName": "s"}], MORE_OF_A_CHUNK),
        ([], ARGS),
        ([CALL], ARGS),
        ([ARGS], ARGS),  # of a call that was never started
        ([CALL, ARGS], {**ARGS, "metadata": {}}),
        ([CALL, ARGS], {**ARGS, "timestamp": 1.0}),
        ([CALL, ARGS], {**ARGS, "rawEvent": {}}),
        ([CALL, ARGS], {**ARGS, "subagentRunId": "s"}),
        ([CALL, ARGS], {**ARGS, "delta": {}}),
        ([CALL, ARGS], {**ARGS, "toolCallId": ["c"]}),
        ([CALL, ARGS], {**ARGS, "toolCallId": "d"}),
        ([CALL, ARGS], {"type": "TOOL_CALL_ARGS", "messageId": "c", "delta": "x"}),
        ([CALL, ARGS], {**ARGS, "messageId": None}),
        ([CALL, ARGS], {**CONTENT, "messageId": "c"}),
        ([CALL, ARGS], {**ARGS, "type": "TEXT_MESSAGE_CONTENT"}),
        ([CALL, ARGS], {"type": "TOOL_CALL_ARGS", "delta": "x"}),
        ([START, CONTENT], {**ARGS, "toolCallId": "m"}),
        ([CALL, ARGS, CALL_END], ARGS),
        ([CALL, ARGS, {"type": "RUN_ERROR", "message": "x"}], ARGS),
        ([CALL, ARGS, DROPPED], ARGS),
        ([CALL, ARGS, {**ACTIVITY, "messageId": "c"}], ARGS),
        ([START, {**CALL, "parentMessageId": "m"}, ARGS, DROPPED], ARGS),
        ([CALL, ARGS, {**CHUNK, "messageId": "n"}], ARGS),
        ([CALL, ARGS, OF_ANOTHER], ARGS),
        ([FETCHED, {**CALL, "type": "TOOL_CALL_CHUNK"}], MORE_OF_A_CALL),
        ([CALL_CHUNK], {**MORE_OF_A_CALL, "toolCallName": "f"}),
        ([CALL_CHUNK], {**MORE_OF_A_CALL, "messageId": "c"}),
        ([CALL_CHUNK], MORE_OF_A_CHUNK),
        ([CALL_CHUNK], ARGS),
        ([CALL_CHUNK, {"type": "STEP_STARTED", "stepName": "s"}], MORE_OF_A_CALL),
    ],
)
def test_what_is_not_that_takes_the_long_way(before: list[Wire], wire: Any) -> None:
    assert asked(started(*before), wire) is None


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (START, []),  # of a replay: the message is built anew
        ({**DROPPED, "messages": [{"id": "m", "role": "assistant", "content": "x"}]}, []),
        (DROPPED, []),
        ({**ACTIVITY, "messageId": "m"}, []),
        ({"type": "RUN_STARTED", "threadId": "t", "runId": "r2"}, []),
        ({"type": "TEXT_MESSAGE_END", "messageId": "m"}, ["x"]),
        (RESULT, ["x"]),
    ],
)
def test_a_call_that_another_stream_took_away_is_asked_for(last: Wire, says: list[str]) -> None:
    """Of an older run's message, while that run is delivered again."""
    shared: dict[str, Any] = {}
    one, other = (AgUiAdapter(Context(shared=shared)) for _ in range(2))
    first, second = ({"type": "RUN_STARTED", "threadId": "t", "runId": run} for run in ("r", "r2"))
    for event in (first, START, second, {**CALL, "parentMessageId": "m"}, ARGS):
        one.decode(copy.deepcopy(event))
    other.decode(first)
    assert asked(one, ARGS) is None
    one.decode(ARGS)
    assert asked(one, ARGS) is not None
    other.decode(last)
    assert says or asked(one, ARGS) is None
    assert [event.text for event in one.decode(ARGS) if isinstance(event, BlockDelta)] == says


def noted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is decoded from now on: it takes the long way."""
    decode, decoded = AgUiAdapter.decode, list[Any]()

    def decode_noted(adapter: AgUiAdapter, wire: Any) -> Any:
        decoded.append(wire)
        return decode(adapter, wire)

    monkeypatch.setattr(AgUiAdapter, "decode", decode_noted)
    return decoded


@pytest.mark.parametrize("first", [[CALL], [CALL_CHUNK]], ids=["start", "chunk"])
@pytest.mark.parametrize("many", [False, True])
@each_policy
def test_the_arguments_of_a_call_are_decoded_once(
    first: list[Wire], many: bool, policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = a_store()
    stream = store.open("ag-ui", policy=policy)
    for event in run(*first):
        stream.ingest(event)
    decoded = noted(monkeypatch)
    more = ARGS if first == [CALL] else MORE_OF_A_CALL
    deltas = [{**more, "delta": str(number % 10)} for number in range(2000)]
    for start in range(0, 2000, 100):
        if many:
            assert stream.ingest_many(deltas[start : start + 100]) == []
        else:
            verdicts = {stream.ingest(delta).kind for delta in deltas[start : start + 100]}
            assert verdicts == {"accepted"}
        store.flush()
    assert len(decoded) <= 1
    given = "x" if first == [CALL_CHUNK] else ""
    assert tool_of(store, "c").field_text("input") == given + "0123456789" * 200


def test_calls_that_take_turns_are_decoded_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a text between them, and where the result of one comes before the other's end."""
    events = run(*text("m", "a", "b", ends=False), *call("c", "1", ends=False))
    events += [*call("d", "1", ends=False, parentMessageId="m"), ARGS, result("r", "d")]
    store = a_store()
    stream = store.open("ag-ui")
    for event in events:
        stream.ingest(event)
    decoded = noted(monkeypatch)
    for _ in range(50):
        for delta in (ARGS, CONTENT, {**ARGS, "toolCallId": "d"}, {**ARGS, "timestamp": 7}):
            stream.ingest(delta)
    store.flush()
    assert decoded == []
    assert tool_of(store, "c").field_text("input") == "1" + "x" * 101
    assert tool_of(store, "d").field_text("input") == "1" + "x" * 50
    assert contents(store)["m"] == "ab" + "x" * 50


#: What a delta may carry beside what it needs, or in the place of that; the first are allowed.
BESIDE: list[Wire] = [
    *[{}] * 12,
    {"timestamp": 5},
    {"timestamp": 2**53 - 1},
    {"timestamp": 1.0},
    {"rawEvent": {"a": 1}},
    {"rawEvent": None},
    {"metadata": {"a": 1}},
    {"extra": 1},
    {"delta": ""},
    {"delta": "\ud83d"},
    *({"timestamp": at} for at in (2**53, True, None, "5")),
    {"metadata": None},
    {"subagentRunId": "s"},
    {"delta": 5},
    {"delta": None},
    {"toolCallId": None},
    {"toolCallId": ["c"]},
    {"toolCallId": ""},
    {"messageId": "c"},
    {"messageId": None},
    {"parentMessageId": "m"},
    {"toolCallName": "f"},
]
ALLOWED = BESIDE.index({"delta": "\ud83d"}) + 1
#: In the place of an event: the store is saved and loaded.
SAVED: Wire = {"type": "saved"}


def events_between(draw: st.DrawFn, place: int) -> list[Wire]:
    """What may end a short way, or seem to."""
    call_id, message_id = draw(st.sampled_from("ccd")), draw(st.sampled_from("mmnc"))
    started = run(run_id=draw(st.sampled_from(["run-1", "run-1", "run-2"])))
    parent = draw(st.sampled_from([{}, {"parentMessageId": "m"}, {"parentMessageId": "n"}]))
    approval = {"id": "i", "reason": "approval", "toolCallId": call_id}
    spoken = [{"id": name, "role": "assistant", "content": "m"} for name in ("m", "m", "n")]
    callers = [assistant("m", "c"), assistant("n", "c", "d"), assistant("c", "c"), assistant("d")]
    messages = st.lists(
        st.sampled_from([*spoken, *callers]), max_size=3, unique_by=lambda message: message["id"]
    )
    secret = {"type": "REASONING_ENCRYPTED_VALUE", "subtype": "tool-call", "encryptedValue": "x"}
    choices: list[Callable[[], list[Wire]]] = [
        lambda: [{**CALL, "toolCallId": call_id, **parent}],
        lambda: [{**CALL_END, "toolCallId": call_id}],
        lambda: [{**CALL_END, "toolCallId": call_id}],
        lambda: [result(draw(st.sampled_from("rmc")), call_id, draw(st.sampled_from(["ok", []])))],
        lambda: text(message_id, "a", "b", ends=False),
        lambda: [{"type": "TEXT_MESSAGE_END", "messageId": message_id}],
        lambda: [{**CALL_CHUNK, "toolCallId": call_id}],
        lambda: [{**CALL_CHUNK, "subagentRunId": "s"}],
        lambda: [{**CALL, "type": "TOOL_CALL_CHUNK", "toolCallId": call_id}],
        lambda: [CHUNK],
        lambda: [{"type": "STEP_STARTED", "stepName": f"{place}"}],
        lambda: [{**secret, "entityId": call_id}],
        lambda: [snapshot(*draw(messages))],
        lambda: [snapshot(*draw(messages))],
        lambda: [{"threadId": "thread-1", "messages": draw(messages)}],
        lambda: [{"threadId": "thread-1", "messages": draw(messages)}],
        lambda: [{**ACTIVITY, "messageId": message_id}],
        lambda: started,
        lambda: run(run_id="run-3", thread="another"),
        lambda: [*started, *call(call_id, "again ", ends=False, **parent)],
        lambda: [finished(), *started],
        lambda: [finished(outcome={"type": "interrupt", "interrupts": [approval]}), *started],
        lambda: [{"type": "RUN_ERROR", "message": "x"}],
        lambda: [SAVED],
    ]
    return draw(st.sampled_from(choices))()


@st.composite
def exchanges(draw: st.DrawFn, strict: bool) -> list[tuple[int, Wire]]:
    """Deltas of calls and texts on two streams of a thread, and between them anything else."""
    beside = st.sampled_from(BESIDE[:ALLOWED] if strict else BESIDE)
    found: list[tuple[int, Wire]] = []
    for stream in draw(st.sampled_from([[0], [0], [0, 1]])):
        parent = draw(st.sampled_from([{}, {"parentMessageId": "m"}]))
        calls = [*call("c", "c ", ends=False, **parent), *call("d", "d ", ends=False, **parent)]
        begun = run(*text("m", "m", ends=False), *calls, run_id=f"run-{stream + 1}")
        found += [(stream, wire) for wire in begun]
    for _ in range(draw(st.integers(1, 6))):
        for _ in range(draw(st.integers(1, 4))):
            stream = draw(st.sampled_from([0, 0, 0, 1]))
            delta = draw(
                st.sampled_from([ARGS, ARGS, ARGS, {**ARGS, "toolCallId": "d"}, CONTENT])
                | st.sampled_from([ARGS, CONTENT, MORE_OF_A_CALL, MORE_OF_A_CHUNK])
            )
            for _ in range(draw(st.integers(1, 4))):
                # Numbered: one that is lost or counted twice shows.
                wire = {**delta, "delta": f"{len(found)} ", **draw(beside)}
                found.append((stream, wire))
        stream = draw(st.sampled_from([0, 0, 1]))
        found += [(stream, wire) for wire in events_between(draw, len(found))]
        if draw(st.booleans()):
            found.append((draw(st.sampled_from([0, 0, 1])), draw(st.sampled_from([ARGS, CONTENT]))))
    return found


def outcome(adapter: type[AgUiAdapter], found: list[tuple[int, Wire]], **options: Any) -> Any:
    """Verdicts, states on the way, and what is remembered at the end."""
    store = a_store(ticks=options.pop("ticks"))
    seen: list[Any] = []

    def opened() -> list[Any]:
        streams = [store.open("ag-ui", **options) for _ in range(2)]
        for stream in streams:
            stream._adopt(adapter)
        return streams

    streams = opened()
    for place, (at, wire) in enumerate(found):
        if wire is SAVED:
            saved = json.loads(json.dumps(store.save()))
            store = StreamStore.load(saved, ticks="manual", new_id=store._new_id)
            streams = opened()
            continue
        seen.append(streams[at].ingest(copy.deepcopy(wire)))
        if place % 4 == 0:
            store.flush()
            seen.append((store.state(), [stream.received for stream in streams]))
    store.flush()
    saved = store.save()
    return seen, store.state(), saved["memory"], [one["memory"] for one in saved["streams"]]


@pytest.mark.parametrize(
    ("at", "between"),
    [
        (0, [CALL_END]),
        (0, [CALL_END, CALL]),
        (0, [DROPPED]),
        (1, [DROPPED]),
        (0, [{"type": "RUN_ERROR", "message": "x"}]),
        (0, [{"type": "RUN_FINISHED", "threadId": "thread-1", "runId": "run-1"}]),
        (0, [OF_ANOTHER]),
        (1, [{"type": "RUN_STARTED", "threadId": "thread-1", "runId": "run-1"}]),
        (1, [{"type": "RUN_STARTED", "threadId": "thread-1", "runId": "run-2"}]),
        (0, [CALL_CHUNK]),
        (0, [SAVED]),
    ],
)
@each_policy
def test_behind_what_ends_the_short_way_of_a_call_all_is_as_without_it(
    at: int, between: list[Wire], policy: Any
) -> None:
    begun = run(*text("m", ends=False), {**CALL, "parentMessageId": "m"}, ARGS, ARGS, ARGS)
    found = [(0, wire) for wire in begun]
    found += [*((at, wire) for wire in between), (0, ARGS), (0, ARGS), (0, CONTENT), (0, ARGS)]
    short, long = (
        outcome(adapter, found, policy=policy, ticks="manual") for adapter in (AgUiAdapter, Long)
    )
    assert short == long


@pytest.mark.parametrize("ticks", ["manual", "each"])
@each_policy
@given(data=st.data())
def test_whatever_comes_between_deltas_the_short_way_is_the_long_one(
    ticks: Any, policy: Any, data: st.DataObject
) -> None:
    found = data.draw(exchanges(policy == "strict"))
    most = data.draw(st.sampled_from([4096, 0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ag_ui_known, "_MESSAGES", most)
        patch.setattr(ag_ui_known, "_MOST", data.draw(st.sampled_from([8192, 2, 0])))
        short, long = (
            outcome(adapter, found, policy=policy, ticks=ticks) for adapter in (AgUiAdapter, Long)
        )
    assert short == long


@each_policy
@settings(max_examples=150)
@given(data=st.data())
def test_what_takes_the_short_way_is_what_decode_says_and_is_not_remembered(
    policy: Any, data: st.DataObject
) -> None:
    """Whether or not the store would ask: here nothing cools with a row."""
    strict = policy == "strict"
    found = data.draw(exchanges(strict))
    shared: dict[str, Any] = {}
    adapters = [AgUiAdapter(Context(strict=strict, shared=shared)) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ag_ui_known, "_MESSAGES", data.draw(st.sampled_from([4096, 0])))
        patch.setattr(ag_ui_known, "_MOST", data.draw(st.sampled_from([8192, 2, 0])))
        for at, wire in found:
            if wire is SAVED:
                owns, shared = json.loads(json.dumps([[one._own for one in adapters], shared]))
                adapters = [
                    AgUiAdapter(Context(strict=strict, shared=shared, own=own)) for own in owns
                ]
            elif not check_total(adapters[at], wire):
                break


@pytest.mark.parametrize("at", [0, 1])
def test_a_text_that_goes_on_behind_a_history_ends_as_it_would_have(at: int) -> None:
    """Also where the history came on another stream."""
    store = a_store()
    streams = [store.open("ag-ui") for _ in range(2)]
    for event in run(*text("m", "a", "b", ends=False)):
        streams[0].ingest(event)
    streams[at].ingest(
        {"threadId": "thread-1", "messages": [{"id": "m", "role": "assistant", "content": "a"}]}
    )
    for event in (CONTENT, CONTENT, END):
        assert streams[0].ingest(event).kind == "accepted"
    store.flush()
    (part,) = store.parts("thread-1", "m")
    assert (part.text, part.status) == ("abxx", "closed")


def test_memory_does_not_grow_with_the_deltas() -> None:
    adapter = started(START, {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "f"})
    sizes = set()
    for _ in range(50):
        adapter.decode(CONTENT)
        adapter.decode({"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": "{"})
        adapter.decode({"type": "STATE_DELTA", "delta": []})
        own, shared = adapter._own, {**adapter._context.shared["t"], "runs": None}
        sizes.add(len(json.dumps([own, shared])))
    assert len(sizes) == 1


# --- a reconnect ----------------------------------------------------------------------------------


def again(case: Case, cut: int, policy: Any, ended: bool) -> StreamStore:
    """A stream that brings so many frames, and a second one that brings everything.

    The first one ends before, or goes on delivering beside the second.
    """
    store = a_store()
    history = initial(case)
    parts = frames(case.bodies[0])
    old = store.open("ag-ui", policy=policy)
    if history is not None:
        old.ingest(history)
    feed(old, b"".join(parts[:cut]))
    if ended:
        old.end()
    new = store.open("ag-ui", policy=policy)
    late = [] if ended else parts[cut:]
    for place, frame in enumerate(parts):
        new.feed(frame)
        for other in late[place : place + 1]:
            old.feed(other)
    old.end()
    new.end()
    store.flush()
    return store


@each_whole_case
@each_policy
@pytest.mark.parametrize("ended", [True, False], ids=["dropped", "still-delivering"])
def test_a_run_that_is_delivered_again_from_the_start_is_there_once(
    case: Case, policy: Any, ended: bool
) -> None:
    if case.name == "run-error-first":
        pytest.skip("names no run: see below")
    if case.name == "runs-in-one-stream" and not ended:
        pytest.skip("two streams race through three runs that share a message")
    whole = play(case, policy)
    number = len(frames(case.bodies[0]))
    for cut in sorted({1, 2, number // 3, number // 2, number - 1, number} - {0}):
        store = again(case, cut, policy, ended)
        assert encoded(store) == encoded(whole), cut
        assert store.state()["sessions"] == whole.state()["sessions"], cut


def run(*events: Wire, run_id: str = "run-1", thread: str = "thread-1") -> list[Wire]:
    return [{"type": "RUN_STARTED", "threadId": thread, "runId": run_id}, *events]


def finished(run_id: str = "run-1", thread: str = "thread-1", **members: Any) -> Wire:
    return {"type": "RUN_FINISHED", "threadId": thread, "runId": run_id, **members}


def text(message_id: str, *deltas: str, ends: bool = True, **members: Any) -> list[Wire]:
    events: list[Wire] = [{"type": "TEXT_MESSAGE_START", "messageId": message_id, **members}]
    events += [
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": delta}
        for delta in deltas
    ]
    return events + ([{"type": "TEXT_MESSAGE_END", "messageId": message_id}] if ends else [])


def call(call_id: str, arguments: str = "{}", ends: bool = True, **members: Any) -> list[Wire]:
    events: list[Wire] = [
        {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": "f", **members},
        {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": arguments},
    ]
    return events + ([{"type": "TOOL_CALL_END", "toolCallId": call_id}] if ends else [])


def result(message_id: str, call_id: str, content: Any = "ok") -> Wire:
    return {
        "type": "TOOL_CALL_RESULT",
        "messageId": message_id,
        "toolCallId": call_id,
        "content": content,
    }


def took(*streams: Sequence[Wire], policy: Any = "lenient", **arguments: Any) -> StreamStore:
    """A store that took events in, each list on a stream of its own that has ended."""
    store = a_store()
    for events in streams:
        stream = store.open("ag-ui", policy=policy, **arguments)
        for event in events:
            stream.ingest(copy.deepcopy(event))
        stream.end()
    store.flush()
    return store


def contents(store: StreamStore) -> dict[str, Any]:
    return {message["id"]: message.get("content") for message in encoded(store)["messages"]}


def test_a_text_that_was_cut_is_whole_after_the_replay_and_its_gap_is_closed() -> None:
    store = took(run(*text("m", "Hel", ends=False)))
    assert [gap.message_id for gap in store.health.gaps] == ["m"]
    stream = store.open("ag-ui")
    for event in run(*text("m", "Hel", "lo"), finished()):
        stream.ingest(event)
    assert contents(store) == {"m": "Hello"}
    assert store.health.gaps == ()


def test_the_old_text_of_a_message_goes_when_it_starts_again() -> None:
    store = took(run(*text("m", "Hello"), *text("n", "there")))
    heard: list[ChangeSet] = []
    store.subscribe(heard.append)
    stream = store.open("ag-ui")
    for event in run(*text("m", "Hel", ends=False)):
        stream.ingest(event)
    store.flush()
    (changes,) = heard
    (edit,) = changes.text.values()
    assert edit.rewritten and edit.start == 3 and edit.text == ""
    assert contents(store) == {"m": "Hel", "n": "there"}


def test_what_an_older_stream_still_delivers_of_a_replayed_run_changes_nothing() -> None:
    store = a_store()
    old, new = store.open("ag-ui"), store.open("ag-ui")
    for event in run(*text("m", "a", "b", ends=False)):
        old.ingest(event)
    for event in run(*text("m", "a", "b", ends=False)):
        new.ingest(event)
    late = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "c"}
    old.ingest(late)
    old.ingest({"type": "STATE_SNAPSHOT", "snapshot": 1})
    new.ingest(late)
    assert encoded(store) == {
        "messages": [{"id": "m", "role": "assistant", "content": "abc"}],
        "state": {},
    }
    # With a run of its own it speaks again.
    for event in run(*text("n", "x"), run_id="run-2"):
        old.ingest(event)
    assert contents(store) == {"m": "abc", "n": "x"}


def test_what_a_replay_brings_stands_before_what_an_older_stream_brings_of_later_runs() -> None:
    """The reconnect has taken the first run over, and is behind the stream that still delivers."""
    first = run(*text("m", "a"), *text("r", "b"), result("o", "c"), finished())
    second = run(*text("n", "c"), *text("l", "d"), finished("run-2"), run_id="run-2")
    events = [*first, *second]
    whole = encoded(took(events))
    assert [message["id"] for message in whole["messages"]] == ["m", "r", "o", "n", "l"]
    for taken in range(1, len(first)):  # over where the old stream stands
        for at in range(1, len(first)):  # the new one stands while the old one goes on
            store = a_store()
            old, new = store.open("ag-ui"), store.open("ag-ui")
            for stream, part in (
                (old, events[:taken]),
                (new, events[:at]),
                (old, events[taken:]),
                (new, events[at:]),
            ):
                for event in part:
                    stream.ingest(event)
            assert encoded(store) == whole, (taken, at)


def test_what_comes_new_stands_behind_what_a_replay_took_away_and_brings_again() -> None:
    thought = [
        {"type": f"REASONING_MESSAGE_{step}", "messageId": "r", "role": "reasoning", "delta": "hm"}
        for step in ("START", "CONTENT", "END")
    ]
    first = run(snapshot(), *text("m", "a"), finished())
    said = {"id": "m", "role": "assistant", "content": "a"}
    head = run(snapshot(said), *text("z", "b"), run_id="run-2")
    events = [*first, *head, *thought, finished("run-2")]
    store = a_store()
    old, new = store.open("ag-ui"), store.open("ag-ui")
    going = len(first) + len(head)
    for stream, part in ((old, events[:going]), (new, events[:4]), (old, events[going:])):
        for event in part:
            stream.ingest(event)
    for event in events[4:]:
        new.ingest(event)
    assert list(contents(store)) == ["m", "z", "r"]
    assert encoded(store) == encoded(took(events))


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_what_a_replay_took_away_and_brings_again_is_not_lost_to_a_read_meanwhile(
    complete: bool, there: bool
) -> None:
    events = run(snapshot(), *text("m", "a"), *text("n", "b"), finished())
    store = a_store()
    old, new = store.open("ag-ui"), store.open("ag-ui")
    for event in events:
        old.ingest(event)
    for event in events[:2]:
        new.ingest(event)
    read = [{"id": id_, "role": "assistant", "content": said} for id_, said in ("ma", "nb")]
    reads = new if there else store.open("ag-ui")
    wire = {"threadId": "thread-1", "messages": read, "complete": complete}
    assert reads.ingest(wire).kind == "accepted"
    assert {new.ingest(event).kind for event in events[2:]} == {"accepted"}
    assert contents(store) == {"m": "a", "n": "b"}
    assert encoded(store) == encoded(took(events))


def test_a_new_run_that_starts_a_known_message_goes_on_behind_its_text() -> None:
    assert contents(took(run(*text("m", "a")), run(*text("m", "b"), run_id="run-2"))) == {"m": "ab"}


def test_the_same_run_twice_on_one_stream_is_no_replay() -> None:
    events = run(*text("m", "a"), finished())
    assert contents(took([*events, *events])) == {"m": "aa"}
    assert contents(took(events, events)) == {"m": "a"}


def test_a_run_that_starts_again_before_its_end_is_a_replay_on_its_own_stream_too() -> None:
    """The first stream behind a load is the saved one: it does not know that its server left."""
    patch = {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/n/-", "value": 1}]}
    events = run({"type": "STATE_SNAPSHOT", "snapshot": {"n": []}}, *text("m", "Hel", "lo"), patch)
    events += [*call("c", parentMessageId="m"), result("r", "c"), patch, finished()]
    whole = encoded(took(events))
    for cut in range(1, len(events)):
        store = a_store()
        for before in (events[:cut], events[:2], events[:cut]):
            store.open("ag-ui").ingest_many(copy.deepcopy(before))
            store.flush()
            store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        store.open("ag-ui").ingest_many(copy.deepcopy(events))
        assert encoded(store) == whole, cut
    # Behind its end it is none, see above; nor is another run.
    two = run(*text("m", "lo"), run_id="run-2")
    assert contents(took([*run(*text("m", "Hel")), *two])) == {"m": "Hello"}


@pytest.mark.parametrize("starts", ["never", "late"])
def test_what_was_never_started_is_there_once_after_a_replay(starts: str) -> None:
    """Its first delta in the replay is where it begins."""
    thought = {"type": "REASONING_MESSAGE_CONTENT", "messageId": "r", "delta": "hm"}
    (opened, *said), (begun, *given) = text("m", "a", "a"), call("c", "[1")
    into = call("d", "[2", parentMessageId="n")
    late = starts == "late"
    events = run(said[0], *([opened] if late else []), *said[1:], *given[:1], thought)
    events += [*([begun] if late else []), *given[:1], *given, *text("n", "x"), *into, thought]
    whole = took([*events, finished()])
    assert contents(whole)["m"] == "aa" and contents(whole)["r"] == "hmhm"
    for cut in range(1, len(events) + 2):
        for again in ([[*events, finished()]], [events[:cut], [*events, finished()]]):
            store = took([*events, finished()][:cut], *again)
            assert store.state()["sessions"] == whole.state()["sessions"], cut


def test_what_was_never_started_comes_back_behind_a_snapshot_in_a_replay() -> None:
    (_, *said), (_, *given) = text("m", "a", "a"), call("c", "[1")
    thought = {"type": "REASONING_MESSAGE_CONTENT", "messageId": "r", "delta": "hm"}
    known = {"id": "s", "role": "reasoning", "content": ""}
    events = run(snapshot(known), *said, thought, *given, *text("m", "b"), thought, finished())
    whole = took(events)
    assert contents(whole)["m"] == "aab" and contents(whole)["r"] == "hmhm"
    for cut in range(1, len(events) + 1):
        store = took(events[:cut], events)
        assert store.state()["sessions"] == whole.state()["sessions"], cut


def test_behind_a_start_that_was_seen_a_delta_without_one_goes_on_in_a_replay() -> None:
    """A server that says which run it is in, and goes on behind the last event."""
    (_, *said) = run(*text("m", "lo"))
    assert contents(took(run(*text("m", "Hel", ends=False)), run(said[1]))) == {"m": "Hello"}


def test_a_run_that_goes_on_on_another_stream_without_its_start_is_still_that_run() -> None:
    """A server that resumes behind the last event does not start the run again."""
    patch = {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/n/-", "value": 1}]}
    events = run({"type": "STATE_SNAPSHOT", "snapshot": {"n": []}}, *text("m", "a", "a"), patch)
    events += [*text("n", "b"), *call("c", parentMessageId="m"), result("r", "c"), patch]
    events.append(finished())
    whole = took(events, session_id="thread-1")
    session = whole.session("thread-1")
    for cut in range(1, len(events)):
        resumed = took(events[:cut], events[cut:], session_id="thread-1")
        assert encoded(resumed) == encoded(whole), cut
        assert resumed.session("thread-1") == session, cut
        messages = resumed.messages("thread-1")
        assert {message.status for message in messages} == {"completed"}, cut
        # Whether it comes whole later, or goes on where a replay was cut: it is there once.
        for streams in (
            (events[:cut], events[cut:], events),
            (events, events[:cut], events[cut:]),
            (events[:5], events[:cut], events[cut:], events),
        ):
            store = took(*streams, session_id="thread-1")
            assert encoded(store) == encoded(whole), cut
            if streams[-1] is events:  # else a text that was cut says so
                assert store.state()["sessions"] == whole.state()["sessions"], cut
    # A chunk that names nothing continues what was assembled where the run was cut.
    chunks: list[Wire] = [{"type": "TEXT_MESSAGE_CHUNK", "delta": delta} for delta in "abc"]
    chunks[0]["messageId"] = "k"
    chunked = run(*chunks, finished())
    for cut in range(1, len(chunked)):
        store = took(chunked[:cut], chunked[cut:], session_id="thread-1")
        assert contents(store) == {"k": "abc"}, cut
    # Also where everything was saved in between.
    store = a_store()
    for some in (events[:4], events[:6], events[6:]):
        stream = store.open("ag-ui", session_id="thread-1")
        stream.ingest_many(copy.deepcopy(some))
        stream.end()
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    assert encoded(store) == encoded(whole)


def left_open(*streams: Sequence[Wire], rest: Sequence[Wire]) -> StreamStore:
    """A loaded store whose streams nobody had ended, and what came then, each on its own stream."""
    store = a_store()
    for events in streams:
        store.open("ag-ui", session_id="thread-1").ingest_many(copy.deepcopy(events))
    store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    for event in rest:
        stream = store.open("ag-ui", session_id="thread-1")
        stream.ingest(copy.deepcopy(event))
        stream.end()
    store.flush()
    return store


def test_a_loaded_stream_never_goes_on_where_another_one_has_gone_on() -> None:
    events = run(*text("m", *"abcdef"), finished())
    first = [*run(*text("k", "k", ends=False)), finished()]
    chunks: list[Wire] = [{"type": "TEXT_MESSAGE_CHUNK", "delta": delta} for delta in "abcd"]
    chunks[0]["messageId"] = "c"
    second = run(*text("l", "l"), *chunks, finished("run-2"), run_id="run-2")
    for at in range(2, 8):
        for cut in range(1, at + 1):
            # A replay, and one that went on; and the next run, where the one before had ended.
            assert contents(left_open(events[:cut], events[:at], rest=events[at:])) == {
                "m": "abcdef"
            }
            assert contents(left_open(events[:cut], events[cut:at], rest=events[at:])) == {
                "m": "abcdef"
            }
            begun = (second[:cut], second[cut:at]) if cut < at else (second[:at],)
            store = left_open(first[:2], first[2:], *begun, rest=second[at:])
            assert contents(store) == {"k": "k", "l": "l", "c": "abcd"}, (at, cut)
            assert {m.status for m in store.messages("thread-1")} == {"completed"}
    late = text("m", *"abc")
    store = left_open(late[:2], events[:3], rest=events[3:])
    assert contents(store) == {"m": "abcdef"}


def test_what_comes_without_a_run_belongs_to_none_that_has_ended_or_is_another_one() -> None:
    late = text("n", "x")
    for before, first in (
        (run(*text("m", "a"), finished()), late),
        (run(*text("m", "a")), [finished("run-2"), *late]),
        (run(*text("m", "a")), [{"type": "RUN_ERROR", "message": "no"}, *late]),
    ):
        store = took(before, first, session_id="thread-1")
        session, alone = store.session("thread-1"), took(before).session("thread-1")
        assert session is not None and alone is not None
        assert session.info == alone.info
        assert contents(store) == {"m": "a", "n": "x"}


def late(events: list[Wire], cut: int, end: int, lag: int) -> StreamStore:
    """A stream that joins a run at a cut, and goes on beside another one that brings it whole."""
    store = a_store()
    old, new = (store.open("ag-ui", session_id="thread-1") for _ in range(2))
    old.ingest_many(copy.deepcopy(events[cut:end]))
    rest = copy.deepcopy(events[end:])
    for place, event in enumerate(events):
        new.ingest(copy.deepcopy(event))
        if place >= lag and rest:
            old.ingest(rest.pop(0))
    old.ingest_many(rest)
    old.end()
    new.end()
    store.flush()
    return store


def rounds() -> list[Wire]:
    """Texts, calls in messages of their own and of others, results, a thought."""
    thought = text("t", "h", "m", role="reasoning")
    for event in thought:
        event["type"] = event["type"].replace("TEXT", "REASONING")
    two = call("d", "[2", ends=False)
    two += [{**two[-1], "delta": "]"}, {"type": "TOOL_CALL_END", "toolCallId": "d"}]
    events = [*text("k", "0"), *thought, *text("m", "1", "2"), *call("c", parentMessageId="m")]
    events += [result("r", "c"), *two, result("q", "d"), *call("e", parentMessageId="p")]
    return run(*events, *call("f", parentMessageId="p"), *text("n", "3"), finished())


def test_a_run_that_a_late_stream_joined_is_there_once_where_another_one_brings_it_whole() -> None:
    """Nobody told the late one which run it is: what it brought is what the whole one starts."""
    short = run(*text("m", "1", "2"), *text("n", "3"), finished())
    assert contents(took(short[3:], short, session_id="thread-1")) == {"m": "12", "n": "3"}
    for events in (short, rounds()):
        whole = took(events, session_id="thread-1")
        for cut in range(1, len(events)):
            for end in (cut + 1, (cut + len(events)) // 2, len(events) - 1, len(events)):
                store = took(events[cut:end], events, session_id="thread-1")
                assert encoded(store) == encoded(whole), (cut, end)
                assert store.state()["sessions"] == whole.state()["sessions"], (cut, end)
                store = took(events[cut:end], events, events, session_id="thread-1")
                assert encoded(store) == encoded(whole), (cut, end)
                store = took(events[cut:end], events[end:], events, session_id="thread-1")
                assert encoded(store) == encoded(whole), (cut, end)


@given(st.data())
def test_what_a_late_stream_still_delivers_of_a_run_that_another_one_brings_changes_nothing(
    data: st.DataObject,
) -> None:
    events = rounds()
    cut = data.draw(st.integers(1, len(events) - 1))
    end = data.draw(st.integers(cut + 1, len(events)))
    store = late(events, cut, end, data.draw(st.integers(0, len(events))))
    assert encoded(store) == encoded(took(events))


def test_a_late_stream_that_was_saved_is_known_behind_the_load() -> None:
    events = rounds()
    whole = encoded(took(events))
    for cut in range(1, len(events) - 1):
        store = a_store()
        store.open("ag-ui", session_id="thread-1").ingest_many(copy.deepcopy(events[cut:-1]))
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        store.open("ag-ui", session_id="thread-1").ingest_many(copy.deepcopy(events))
        assert encoded(store) == whole, cut


def test_a_run_that_is_another_one_than_a_late_stream_joined_takes_nothing_from_it() -> None:
    joined = run(*text("m", "1", "2"), *text("n", "3"))[3:]
    more = run(*text("m", "!"), finished("run-2"), run_id="run-2")
    # Its end said that it is another one: the text goes on, as behind any run.
    store = took([*joined, finished()], more, session_id="thread-1")
    assert contents(store) == {"m": "2!", "n": "3"}
    # A message that came whole may be gone on with.
    said = snapshot({"id": "m", "role": "assistant", "content": "one "})
    assert contents(took([said], more, session_id="thread-1")) == {"m": "one !"}
    # What brings nothing again, and what is on the stream itself, is of no late one's run.
    assert contents(took([*joined, finished(), *more], session_id="thread-1")) == {
        "m": "2!", "n": "3",
    }  # fmt: skip
    store = a_store()
    old, new = (store.open("ag-ui", session_id="thread-1") for _ in range(2))
    old.ingest_many(joined[:-1])
    new.ingest_many(run(*text("x", "y"), run_id="run-2"))
    old.ingest({"type": "TEXT_MESSAGE_CONTENT", "messageId": "n", "delta": "4"})
    new.ingest(finished("run-2"))
    old.ingest_many(text("o", "5"))
    assert contents(store) == {"m": "2", "n": "34", "x": "y", "o": "5"}


def test_a_replay_of_two_threads_on_one_stream_builds_the_messages_of_both_anew() -> None:
    both = [*run(*text("m", "a"), finished()), *run(*text("m", "b"), thread="thread-2")]
    assert encoded(took(both, both)) == encoded(took(both))


def replayed(first: list[Wire], second: list[Wire], *replays: list[Wire]) -> list[list[str]]:
    """What is shown behind every event of a run that comes again at every cut, each time."""
    found = []
    for cut in range(1, len(second) + 1):
        store, shown = took(first, second[:cut]), []
        for replay in replays:
            stream = store.open("ag-ui")
            for event in replay:
                stream.ingest(copy.deepcopy(event))
                message = encoded(store)["messages"][0]
                calls = [one["function"]["arguments"] for one in message.get("toolCalls", ())]
                shown.append("".join([message.get("content", ""), *calls]))
            stream.end()
        found.append(shown)
    return found


def test_a_replay_of_a_run_that_went_on_behind_another_ones_text_goes_on_where_it_was() -> None:
    """Nobody sends the other run's text again: what is there stays, and the rest follows."""
    first = run(*text("m", "one "), finished())
    second = run(*text("m", "t", "w"), *text("m", "o"), finished("run-2"), run_id="run-2")
    joined = run(*text("m", "two"), finished("run-2"), run_id="run-2")
    for replays in ([second], [second[:4], second], [joined], [second[:4], joined, second]):
        for shown in replayed(first, second, *replays):
            assert shown[-1] == "one two"
            assert all(after.startswith(before) for before, after in itertools.pairwise(shown))
    assert contents(took(first, second, [*first, *second])) == {"m": "one two"}
    # What follows it in another run goes behind it, and is counted for itself.
    third = run(*text("m", "!", "!"), run_id="run-3")
    assert contents(took(first, second, third[:3], second, third)) == {"m": "one two!!"}


def test_a_snapshot_in_a_replay_of_a_run_that_went_on_behind_another_ones_text_counts() -> None:
    first = run(*text("m", "one "), finished())
    so_far = snapshot({"id": "m", "role": "assistant", "content": "one tw"})
    second = run(*text("m", "tw", ends=False), so_far, *text("m", "o")[1:], run_id="run-2")
    assert {shown[-1] for shown in replayed(first, second, second)} == {"one two"}
    joined = run(so_far, *text("m", "o"), finished("run-2"), run_id="run-2")
    assert {shown[-1] for shown in replayed(first, second, joined)} == {"one two"}


def test_a_text_that_was_fetched_and_goes_on_is_whole_after_a_replay() -> None:
    said = {"id": "m", "role": "assistant", "content": "one "}
    history = {"threadId": "thread-1", "messages": [said]}
    second = run(*text("m", "t", "wo"), finished())
    for cut in range(1, len(second) + 1):
        assert contents(took([history], second[:cut], second)) == {"m": "one two"}


def test_a_call_that_is_replayed_into_a_message_of_another_run_is_rebuilt() -> None:
    first = run(*text("m", "x"), finished())
    second = run(*call("c", '{"a":1}', parentMessageId="m"), run_id="run-2")
    store = took(first, second, second)
    (message,) = encoded(store)["messages"]
    assert message["content"] == "x"
    assert [one["function"]["arguments"] for one in message["toolCalls"]] == ['{"a":1}']
    # What a third run went on with comes again behind it.
    third = run(*call("c", "!"), run_id="run-3")
    whole = encoded(took(first, second, third))
    assert encoded(took(first, second, third, [*second, *third])) == whole


def test_arguments_that_another_run_goes_on_with_are_there_once_after_a_replay() -> None:
    first = run(*call("c", "[1", parentMessageId="m"), finished())
    more = {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": ",2", "metadata": {"k": 1}}
    again = call("c", "]", parentMessageId="m")
    second = run(again[0], more, *again[1:], finished("run-2"), run_id="run-2")
    for shown in replayed(first, second, second[:3], second):
        assert shown[-1] == "[1,2]"
        assert all(after.startswith(before) for before, after in itertools.pairwise(shown))
    assert encoded(took(first, second[:3], second)) == encoded(took(first, second))
    assert encoded(took(first, second[:3], [*first, *second])) == encoded(took(first, second))


def test_a_snapshot_in_a_replay_is_gone_on_from() -> None:
    """A server that joins a client: the messages so far, then a start for what is streaming."""
    cut = run(*text("m", "Hel", ends=False))
    so_far = {"id": "m", "role": "assistant", "content": "Hello wo"}
    joined = run({"type": "MESSAGES_SNAPSHOT", "messages": [so_far]}, *text("m", "rld"), finished())
    assert contents(took(cut, joined)) == {"m": "Hello world"}


def test_arguments_that_a_snapshot_in_a_replay_brings_are_gone_on_from() -> None:
    cut = run(*call("c", "[1", ends=False, parentMessageId="m"))
    so_far = assistant("m", "c")
    so_far["toolCalls"][0]["function"] = {"name": "f", "arguments": "[1,2"}
    joined = run(snapshot(so_far), *call("c", "]"), finished())
    (message,) = encoded(took(cut, joined))["messages"]
    assert [one["function"]["arguments"] for one in message["toolCalls"]] == ["[1,2]"]


def test_what_a_run_adds_to_a_message_that_it_echoed_is_there_once_after_a_replay() -> None:
    """And nothing of the message is lost, be it text, a call, or the content of an activity."""
    said = {"id": "m", "role": "assistant", "content": "one "}
    called = assistant("n", "c")
    counted_up = {"id": "a", "role": "activity", "activityType": "t", "content": {"k": []}}
    echo: dict[str, Any] = {"threadId": "thread-1", "runId": "run-1", "state": None, "tools": []}
    echo.update(context=[], forwardedProps={}, messages=[said, called, counted_up])
    (begun,) = run()
    more = {**PATCH, "messageId": "a", "patch": [{"op": "add", "path": "/k/-", "value": 1}]}
    events = [{**begun, "input": echo}, *text("m", "two"), *call("c", "!"), more]
    events += [*call("d", parentMessageId="n"), finished()]
    whole = encoded(took(events))
    assert contents(took(events)) == {"m": "one two", "n": None, "a": {"k": [1]}}
    for cut in range(1, len(events) + 1):
        assert encoded(took(events[:cut], events)) == whole
        assert encoded(took(events[:cut], events[:cut], events)) == whole


def test_what_a_snapshot_in_a_replay_takes_away_comes_back_to_its_place() -> None:
    """Reasoning stays where it is: a snapshot without any says nothing of it."""

    def thought(message_id: str) -> list[Wire]:
        steps = ("START", "CONTENT", "END")
        members = {"messageId": message_id, "role": "reasoning", "delta": "hm"}
        return [{**members, "type": f"REASONING_MESSAGE_{step}"} for step in steps]

    said = {"id": "m", "role": "assistant", "content": "one"}
    begun = [*text("m", "one"), snapshot(said)]
    one = run(*begun, *text("n", "x"), *thought("r"), *text("o", "y"), finished())
    asked = {"id": "u", "role": "user", "content": "q"}
    two = run(snapshot(said, asked), *thought("s"), *text("p", "z"), run_id="run-2")
    for first, second in ((one, []), (run(*begun, *thought("r"), finished()), two)):
        whole = took(first, second)
        again = [*first, *second]
        assert encoded(took(first, second, again)) == encoded(whole)
        # A replay may be cut behind the snapshot: the next one brings the rest.
        for cut in range(1, len(again)):
            assert encoded(took(first, second, again[:cut], again)) == encoded(whole), cut
    assert [message["id"] for message in encoded(whole)["messages"]] == ["m", "r", "u", "s", "p"]
    # What an older run made, which does not come again, is new where it comes.
    older = run(*text("n", "x"), *thought("r"), finished())
    newer = run(snapshot(), *text("n", "y"), finished("run-2"), run_id="run-2")
    assert list(contents(took(older, newer[:1], newer))) == ["r", "n"]


def test_a_result_that_a_snapshot_in_a_replay_takes_away_comes_back_to_its_place() -> None:
    """The message with its call, which the run drops later, may be elsewhere by then."""
    said = [{"id": name, "role": "assistant", "content": "x"} for name in ("m", "n")]
    told = {"id": "r", "role": "tool", "toolCallId": "c", "content": "ok"}
    events = run(*text("m", "x"), *text("n", "x"), snapshot(*said), *call("c", parentMessageId="m"))
    events += [result("r", "c"), snapshot(said[1], told), finished()]
    whole = encoded(took(events))
    assert [message["id"] for message in whole["messages"]] == ["r", "n"]
    for cut in range(1, len(events) + 1):
        assert encoded(took(events[:cut], events)) == whole, cut


def test_patches_of_a_replay_are_applied_once() -> None:
    grown = [{"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/n", "value": []}]}]
    grown += [
        {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/n/-", "value": number}]}
        for number in range(4)
    ]
    whole = encoded(took(run(*grown)))["state"]
    assert whole == {"n": [0, 1, 2, 3]}
    for cut in range(len(grown) + 1):
        assert encoded(took(run(*grown[:cut]), run(*grown)))["state"] == whole


def test_patches_of_a_replay_for_an_activity_of_another_run_are_applied_once() -> None:
    more = {**PATCH, "patch": [{"op": "add", "path": "/k/-", "value": 1}]}
    begun = {**ACTIVITY, "content": {"k": []}}
    first, second = run(begun, more, finished()), run(more, run_id="run-2")
    assert contents(took(first, second, second)) == {"a": {"k": [1, 1]}}
    assert contents(took(first, second, [*second, more], [*second, more])) == {"a": {"k": [1] * 3}}
    assert contents(took(first, second, first)) == {"a": {"k": [1]}}
    # What comes whole holds none of them.
    told = {"id": "a", "role": "activity", "activityType": "t", "content": {"k": []}}
    for whole in (begun, snapshot(told)):
        again = run(more, whole, more, more, run_id="run-2")
        assert contents(took(first, again, again)) == {"a": {"k": [1, 1]}}
    kept = run(more, {**begun, "replace": False}, more, run_id="run-2")
    assert contents(took(first, kept, kept)) == {"a": {"k": [1] * 3}}
    assert contents(took(first, second, [*first, *second])) == {"a": {"k": [1, 1]}}
    # No replay: the same run on one stream, another run.
    assert contents(took(first, [*second, finished("run-2"), *second])) == {"a": {"k": [1] * 3}}
    assert contents(took(first, second, run(more, run_id="run-3"))) == {"a": {"k": [1] * 3}}


def test_a_snapshot_of_the_state_in_a_replay_ends_the_skipping() -> None:
    deltas = [{"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/n", "value": 1}]}] * 3
    joined = run({"type": "STATE_SNAPSHOT", "snapshot": {}}, *deltas)
    assert encoded(took(run(*deltas), joined))["state"] == {"n": 1}


def test_a_snapshot_of_the_state_in_a_replay_of_an_older_run_takes_nothing_back() -> None:
    """Whether the server sends the last run again, the whole thread, or what is left of both."""
    more = {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/k/-", "value": 1}]}
    begun = {"type": "STATE_SNAPSHOT", "snapshot": {"k": []}}
    first = run(begun, more, finished())
    second = run(more, finished("run-2"), run_id="run-2")
    third = run(more, run_id="run-3")
    folded = [{**begun, "snapshot": {"k": [1] * number}} for number in (1, 2, 3)]
    for again in (
        first,
        [*first, *second],
        [*first, *second, *third],
        [*run(folded[0], finished()), *run(folded[1], finished("run-2"), run_id="run-2")],
        [*run(folded[0], finished()), *run(folded[2], run_id="run-3")],
    ):
        assert encoded(took(first, second, third, again))["state"] == {"k": [1] * 3}


def test_a_thought_without_an_id_has_the_same_one_in_a_replay() -> None:
    thought = [
        {"type": "THINKING_START"},
        {"type": "THINKING_TEXT_MESSAGE_START"},
        {"type": "THINKING_TEXT_MESSAGE_CONTENT", "delta": "hm"},
        {"type": "THINKING_TEXT_MESSAGE_END"},
        {"type": "THINKING_END"},
    ]
    once = took(run(*thought, *thought))
    assert list(contents(once).values()) == ["hm", "hm"]
    assert encoded(took(run(*thought), run(*thought, *thought))) == encoded(once)


def test_an_error_that_a_replay_brings_again_is_recorded_once() -> None:
    events = run({"type": "RUN_ERROR", "message": "x"})
    session = took(events, events).session("thread-1")
    assert session is not None and len(session.errors) == 1
    # Without a run there is nothing to tell the two apart.
    session = took(events[1:], events[1:]).session("main")
    assert session is not None and len(session.errors) == 2


def test_an_older_run_that_is_replayed_says_nothing_of_the_session() -> None:
    interrupt = {"id": "i", "reason": "r"}
    first = run(finished(outcome={"type": "interrupt", "interrupts": [interrupt]}))
    second = run(finished("run-2"), run_id="run-2")
    store = took(first, second, first)
    session = store.session("thread-1")
    assert session is not None
    assert session.info["pendingInterrupts"] == [] and not session.questions
    assert session.info["run"]["runId"] == "run-2"


# --- threads --------------------------------------------------------------------------------------


def test_the_session_is_the_thread_unless_the_stream_was_opened_for_one() -> None:
    events = run(*text("m", "x"))
    assert took(events).session_ids() == ("thread-1",)
    store = took(events, session_id="mine")
    assert store.session_ids() == ("mine",)
    assert set(store.health.counts["verdicts"]) == {"accepted"}


def test_what_comes_before_a_run_is_of_the_streams_own_session() -> None:
    store = took([*text("m", "x"), *run(*text("n", "y"))])
    assert store.session_ids() == ("main", "thread-1")
    assert [message.id for message in store.messages("main")] == ["m"]


def test_threads_share_nothing() -> None:
    one, two = run(*text("m", "a")), run(*text("m", "b", role="user"), thread="thread-2")
    store = took(one, two)
    assert [store.parts(name, "m")[0].text for name in ("thread-1", "thread-2")] == ["a", "b"]
    assert store.messages("thread-2")[0].role == "user"
    store = took([*one, finished(), *two])
    assert [store.parts(name, "m")[0].text for name in ("thread-1", "thread-2")] == ["a", "b"]


@each_policy
def test_a_run_of_no_thread_is_malformed_unless_the_stream_names_a_session(policy: Any) -> None:
    events = run(*text("m", "x"), thread="")
    store = took(events, policy=policy)
    assert store.health.counts["verdicts"]["malformed:threadId"] == 1
    assert contents(took(events, policy=policy, session_id="s")) == {"m": "x"}


# --- messages and parts ---------------------------------------------------------------------------


def test_a_message_ends_with_its_run() -> None:
    store = a_store(ticks="each")
    stream = store.open("ag-ui")
    for event in run(*text("m", "x")):
        stream.ingest(event)
    (message,), (part,) = store.messages("thread-1"), store.parts("thread-1", "m")
    assert (message.status, part.status) == ("open", "closed")
    stream.ingest(finished())
    assert store.messages("thread-1")[0].status == "completed"


@pytest.mark.parametrize(
    ("last", "streaming", "done"),
    [
        (finished(), "completed", "completed"),
        (finished(outcome={"type": "success"}), "completed", "completed"),
        (finished(outcome={"type": "cancelled"}), "aborted", "aborted"),
        ({"type": "RUN_ERROR", "message": "x", "code": "c"}, "error", "completed"),
        ({"type": "RUN_ERROR", "message": "x", "code": "abort"}, "aborted", "completed"),
    ],
)
def test_how_a_run_ends_says_how_its_messages_did(last: Wire, streaming: str, done: str) -> None:
    store = took(run(*text("m", "x"), *text("n", "y", ends=False), *call("c"), last))
    assert {message.id: message.status for message in store.messages("thread-1")} == {
        "m": done,
        "n": streaming,
        "c": streaming,
    }


def test_a_run_says_what_the_session_does_and_how_it_ended() -> None:
    store = a_store(ticks="each")
    stream = store.open("ag-ui")
    stream.ingest({**run()[0], "parentRunId": "p", "metadata": {"a": 1}})
    session = store.session("thread-1")
    assert session is not None and session.status is not None
    assert session.status.type == "busy"
    assert session.info["run"] == {
        "runId": "run-1",
        "parentRunId": "p",
        "metadata": {"a": 1},
        "status": "running",
    }
    stream.ingest({**finished(), "result": {"ok": 1}, "usage": [{"inputTokens": 1}]})
    session = store.session("thread-1")
    assert session is not None and session.status is not None
    assert session.status.type == "idle"
    assert session.info["run"] == {
        "runId": "run-1",
        "status": "finished",
        "result": {"ok": 1},
        "usage": [{"inputTokens": 1}],
    }


def test_an_error_of_a_run_is_one_of_the_session() -> None:
    session = took(run({"type": "RUN_ERROR", "message": "busy", "code": "overloaded"})).session(
        "thread-1"
    )
    assert session is not None
    assert session.errors == ({"name": "overloaded", "message": "busy"},)
    assert session.info["run"]["status"] == "error"


def tool_of(store: StreamStore, call_id: str) -> Any:
    (part,) = (
        part
        for message in store.messages("thread-1")
        for part in store.parts("thread-1", message.id)
        if part.block_index == call_id
    )
    return part


def test_a_tool_call_goes_from_pending_over_running_to_its_result() -> None:
    store = a_store(ticks="each")
    stream = store.open("ag-ui")
    states = []
    for event in run(*call("c", '{"a":1}'), result("r", "c", "out"), finished()):
        stream.ingest(event)
        if "toolCallId" in event:
            part = tool_of(store, "c")
            states.append((part.status, part.tool.status, part.field_text("input")))
    assert states == [
        ("open", "pending", ""),
        ("open", "pending", '{"a":1}'),
        ("closed", "running", '{"a":1}'),
        ("closed", "completed", '{"a":1}'),
    ]
    tool = tool_of(store, "c").tool
    assert (tool.name, tool.call_id, tool.input, tool.output) == ("f", "c", {"a": 1}, "out")


def test_a_result_before_its_call_waits_for_it() -> None:
    store = took(run(result("r", "c", "out"), *call("c")))
    tool = tool_of(store, "c").tool
    assert (tool.status, tool.output, tool.name) == ("completed", "out", "f")
    assert [message.id for message in store.messages("thread-1")] == ["r", "c"]
    assert store.health.counts["held"] == {"filled": 1}


def test_results_stand_behind_their_call_in_order_of_arrival_however_many_there_are() -> None:
    calls = [event for number in range(40) for event in call(f"c{number}", parentMessageId="m")]
    results = [result(f"r{number:02}", f"c{number}") for number in range(40)]
    store = took(run(*calls, *text("n", "later"), *results))
    ids = [message.id for message in store.messages("thread-1")]
    assert ids == ["m", *(f"r{number:02}" for number in range(40)), "n"]


def test_a_result_that_comes_twice_is_one_message_with_the_last_content() -> None:
    store = took(run(*call("c"), result("r", "c", "first"), result("r", "c", "second")))
    assert contents(store) == {"c": None, "r": "second"}
    assert tool_of(store, "c").tool.output == "second"


def test_a_result_under_the_id_of_another_message_is_only_the_calls_output() -> None:
    store = took(run(*text("m", "x"), *call("c"), result("m", "c", "out")))
    assert contents(store) == {"m": "x", "c": None}
    assert tool_of(store, "c").tool.output == "out"


def test_a_call_under_the_id_of_a_message_that_cannot_carry_it_gets_one_of_its_own() -> None:
    store = took(run(*text("c", "x", role="user"), *call("c")))
    user, made = encoded(store)["messages"]
    assert user == {"id": "c", "role": "user", "content": "x"}
    assert made["id"].startswith("00000000-") and made["toolCalls"][0]["id"] == "c"


def test_parts_stand_in_order_of_arrival() -> None:
    store = took(
        run(*call("c", parentMessageId="m"), *text("m", "x"), *call("a", parentMessageId="m"))
    )
    assert [part.block_index for part in store.parts("thread-1", "m")] == ["c", "text", "a"]


def test_mixed_content_is_parts_a_frontend_can_show() -> None:
    content = [
        {"type": "text", "text": "see", "id": "p1"},
        {"type": "image", "source": {"type": "url", "value": "u", "mimeType": "image/png"}},
        {"type": "document", "source": {"type": "data", "value": "aGk=", "mimeType": "a/b"}},
        {"type": "audio", "source": {"type": "file", "value": "f-1", "provider": "p"}},
    ]
    store = took(run(*call("c"), result("r", "c", content)))
    parts = store.parts("thread-1", "r")
    assert [(part.block_index, part.kind, part.text) for part in parts] == [
        (0, "text", "see"),
        (1, "file", ""),
        (2, "file", ""),
        (3, "file", ""),
    ]
    assert [
        {name: part.fields.get(name) for name in ("url", "data", "file", "mime")} for part in parts
    ][1:] == [
        {"url": "u", "data": None, "file": None, "mime": "image/png"},
        {"url": None, "data": "aGk=", "file": None, "mime": "a/b"},
        {"url": None, "data": None, "file": "f-1", "mime": None},
    ]
    assert contents(store)["r"] == content


def test_a_result_of_no_parts_is_given_back_with_its_empty_content() -> None:
    events = run(*call("c"), result("r", "c", []))
    assert contents(took(events))["r"] == []
    assert contents(took([*events, result("r", "c", "text")]))["r"] == "text"
    assert contents(took([*events, result("r", "c", []), *text("r", "x")]))["r"] == "x"


def test_text_takes_the_place_of_mixed_content_and_the_other_way_round() -> None:
    mixed = {"id": "u", "role": "user", "content": [{"type": "text", "text": "a"}]}
    plain = {"id": "u", "role": "user", "content": "b"}
    snapshots = {name: {"type": "MESSAGES_SNAPSHOT", "messages": [message]} for name, message in (("mixed", mixed), ("plain", plain))}  # fmt: skip
    image = {"type": "image", "source": {"type": "url", "value": "v"}}
    other = {"type": "MESSAGES_SNAPSHOT", "messages": [{**mixed, "content": [image]}]}
    nothing = {"type": "MESSAGES_SNAPSHOT", "messages": [{**mixed, "content": []}]}
    for order in (
        ["mixed", "plain"],
        ["plain", "mixed"],
        ["mixed", "plain", "mixed"],
    ):
        store = took(run(*(snapshots[name] for name in order)))
        assert contents(store) == {"u": {"mixed": mixed, "plain": plain}[order[-1]]["content"]}
    assert contents(took(run(snapshots["mixed"], other))) == {"u": [image]}
    assert contents(took(run(snapshots["mixed"], nothing))) == {"u": []}
    assert contents(took(run(nothing, *text("u", "x")))) == {"u": "x"}
    assert contents(took(run(snapshots["mixed"], *text("u", "x")))) == {"u": "x"}


def test_an_implicit_message_is_filled_in_by_its_start() -> None:
    late = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "he"}
    store = took(run(late, *text("m", "llo", role="user", name="ann")))
    assert encoded(store)["messages"] == [
        {"id": "m", "role": "user", "name": "ann", "content": "hello"}
    ]
    assert store.parts("thread-1", "m")[0].gap, "what came before was not seen"


def test_arguments_before_their_call_make_one_that_its_start_names() -> None:
    store = took(run({"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": "{"}, *call("c", "}")))
    (message,) = encoded(store)["messages"]
    assert message["toolCalls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]


def test_lone_halves_of_a_pair_come_back_as_they_were() -> None:
    store = took(run(*text("m", "a\ud83d"), *call("c", "\ude00"), finished()))
    message, owner = encoded(store)["messages"]
    assert message["content"] == "a\ud83d"
    assert owner["toolCalls"][0]["function"]["arguments"] == "\ude00"
    assert store.parts("thread-1", "m")[0].text == "a\ufffd"


def test_a_sessions_steps_and_subagents_are_in_its_info_while_they_are_open() -> None:
    store = a_store(ticks="each")
    stream = store.open("ag-ui")
    for event in run(
        {"type": "STEP_STARTED", "stepName": "plan"},
        {"type": "STEP_STARTED", "stepName": "plan", "subagentRunId": "s"},
        {"type": "SUBAGENT_STARTED", "subagentRunId": "s", "name": "n"},
        {"type": "STEP_FINISHED", "stepName": "plan"},
    ):
        stream.ingest(event)
    session = store.session("thread-1")
    assert session is not None
    assert session.info["steps"] == [{"stepName": "plan", "subagentRunId": "s"}]
    assert session.info["subagents"] == {"s": {"name": "n", "status": "running"}}
    stream.ingest({"type": "SUBAGENT_ERROR", "subagentRunId": "s", "message": "gave up"})
    stream.ingest(finished())
    stream.ingest(run(run_id="run-2")[0])
    session = store.session("thread-1")
    assert session is not None
    assert session.info["steps"] == [] and session.info["subagents"] == {}


# --- snapshots of messages ------------------------------------------------------------------------


def snapshot(*messages: Wire, **metadata: Any) -> Wire:
    found: Wire = {"type": "MESSAGES_SNAPSHOT", "messages": list(messages)}
    return {**found, "metadata": metadata} if metadata else found


def assistant(message_id: str, *call_ids: str) -> Wire:
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": name, "type": "function", "function": function} for name in call_ids]
    return {"id": message_id, "role": "assistant", "toolCalls": calls}


def test_a_snapshot_takes_calls_away_and_what_follows_for_them_is_lost() -> None:
    begun = run(*call("c", "{", ends=False, parentMessageId="m"), *call("d", parentMessageId="m"))
    late = {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": "}"}
    for policy in ("strict", "lenient"):
        store = took([*begun, snapshot(assistant("m", "d")), late], policy=policy)
        assert encoded(store)["messages"] == [assistant("m", "d")]


@pytest.mark.parametrize("left", [[], [assistant("m", "d")]])
def test_a_call_that_a_snapshot_took_away_stays_away_on_a_stream_that_goes_on(
    left: list[Wire],
) -> None:
    begun = run(*call("c", "{", ends=False, parentMessageId="m"), *call("d", parentMessageId="m"))
    _, *late = call("c", "}")
    events = [*begun, snapshot(*left), *late]
    for cut in range(1, len(events)):
        store = took(events[:cut], events[cut:], session_id="thread-1")
        assert encoded(store)["messages"] == left, cut
    again = [*events, *call("c")]  # it is started anew
    for cut in range(1, len(events)):
        store = took(events[:cut], again[cut:], session_id="thread-1")
        assert tool_of(store, "c").tool.name == "f", cut


@pytest.mark.parametrize("done", [[], [result("r", "c")], [call("c")[-1]]])
def test_arguments_of_a_call_that_a_snapshot_took_away_come_to_nothing_whatever_it_had_come_to(
    done: list[Wire],
) -> None:
    begun = run(*call("c", "{", ends=False, parentMessageId="m"), *done, snapshot())
    late = call("c", "}")[1:]
    # On the same stream, on one that goes on, and on one that says which run it goes on with.
    for streams in ([[*begun, *late]], [begun, late], [begun, run(*late)]):
        assert encoded(took(*streams, session_id="thread-1"))["messages"] == [], streams
    store = took(begun, run(*late, *call("c")), session_id="thread-1")
    assert tool_of(store, "c").tool.name == "f"


def test_a_call_that_is_streaming_goes_on_behind_a_snapshot() -> None:
    begun = run(*call("c", "{", ends=False))
    rest = [
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": "+"},
        {"type": "TOOL_CALL_END", "toolCallId": "c"},
    ]
    store = took([*begun, snapshot(assistant("c", "c"))])
    assert tool_of(store, "c").tool.status == "pending"
    store = took([*begun, snapshot(assistant("c", "c")), *rest])
    assert tool_of(store, "c").tool.status == "running"
    assert tool_of(store, "c").field_text("input") == "{}+"


def test_a_call_that_a_snapshot_moves_to_an_earlier_message_goes_on_there() -> None:
    begun = run(*text("m", "Hi"), *call("c", "{", ends=False, parentMessageId="n"))
    rest = [
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": "+"},
        {"type": "TOOL_CALL_END", "toolCallId": "c"},
        result("r", "c"),
    ]
    for policy in ("strict", "lenient"):
        moved = snapshot(assistant("m", "c"), {"id": "n", "role": "assistant"})
        store = took([*begun, moved, *rest], policy=policy)
        assert [message["id"] for message in encoded(store)["messages"]] == ["m", "r", "n"]
        tool = tool_of(store, "c")
        assert tool.field_text("input") == "{}+"
        assert tool.tool.status == "completed"


def test_of_two_messages_with_one_call_the_first_owns_it() -> None:
    both = run(snapshot(assistant("m", "c"), assistant("n", "c")), result("r", "c"))
    store = took(both)
    assert [message["id"] for message in encoded(store)["messages"]] == ["m", "r", "n"]
    assert encoded(took([*both, snapshot(assistant("n"))]))["messages"] == [assistant("n")]


def test_a_message_of_another_shape_takes_the_place_of_the_one_with_its_id() -> None:
    shapes = [
        {"id": "m", "role": "assistant", "content": "x"},
        {"id": "m", "role": "reasoning", "content": "y"},
        {"id": "m", "role": "activity", "activityType": "t", "content": {"z": 1}},
        {"id": "m", "role": "user", "content": [{"type": "text", "text": "w"}]},
    ]
    last = {"id": "n", "role": "user", "content": ""}
    for first in shapes:
        for second in shapes:
            store = took(run(snapshot(first, last), snapshot(last, second)))
            assert encoded(store)["messages"] == [second, last]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({}, ["a", "b"]),
        ({"@ag-ui/client": {}}, ["a", "b"]),
        ({"@ag-ui/client": 5}, ["a", "b"]),
        ({"@ag-ui/client": {"authoritativeActivityTypes": 5}}, ["a", "b"]),
        ({"@ag-ui/client": {"authoritativeActivityTypes": [5]}}, ["a", "b"]),
        ({"@ag-ui/client": {"authoritativeActivityTypes": ["one"]}}, ["b"]),
        ({"@ag-ui/client": {"authoritativeActivityTypes": None}}, []),
    ],
)
def test_a_snapshot_may_say_for_which_activities_it_speaks(said: Wire, kept: list[str]) -> None:
    shown = [
        {**ACTIVITY, "messageId": "a", "activityType": "one"},
        {**ACTIVITY, "messageId": "b", "activityType": "two"},
    ]
    assert list(contents(took(run(*shown, snapshot(**said))))) == kept


def test_an_activity_is_patched_renamed_and_only_replaced_where_it_may_be() -> None:
    patch = [{"op": "add", "path": "/n", "value": 1}]
    renamed = {**PATCH, "activityType": "u", "patch": patch, "metadata": {"k": 1}}
    kept = {**ACTIVITY, "content": {"other": 1}, "replace": False, "metadata": {"l": 2}}
    (message,) = encoded(took(run(ACTIVITY, renamed, kept)))["messages"]
    assert message == {
        "id": "a",
        "role": "activity",
        "activityType": "u",
        "content": {"n": 1},
        "metadata": {"k": 1, "l": 2},
    }
    assert contents(took(run(*text("a", "x"), kept))) == {"a": "x"}
    assert contents(took(run(*text("a", "x"), PATCH))) == {"a": "x"}


def test_a_patch_that_does_not_fit_an_activity_is_counted_and_its_metadata_counts() -> None:
    unfit = {**PATCH, "patch": [{"op": "remove", "path": "/no"}]}
    store = took(run(ACTIVITY, unfit, {**unfit, "metadata": {"k": 1}}))
    assert store.health.counts["verdicts"] == {"accepted": 3, "refused:conflict": 1}
    assert encoded(store)["messages"][0]["metadata"] == {"k": 1}


# --- bounds ---------------------------------------------------------------------------------------


def test_what_a_thread_remembers_of_its_runs_is_bounded() -> None:
    store = a_store()
    stream = store.open("ag-ui")
    for number in range(300):
        for event in run(*text("m", "x"), finished(f"run-{number}"), run_id=f"run-{number}"):
            stream.ingest(event)
    memory = store.save()
    (shared,) = memory["memory"]["ag-ui"].values()
    assert len(shared["runs"]) == 256
    assert len(shared["messages"]["m"]["added"]) == 16
    assert not any("now" in record for record in shared["runs"].values())
    (own,) = (entry["memory"] for entry in memory["streams"])
    assert len(own["runs"]) == 256 and not own["opened"]
    for number in range(20):
        took_in = store.open("ag-ui")
        took_in.ingest_many(run(*text("n", "x"), run_id=f"cut-{number}"))
        took_in.end()
    (shared,) = store.save()["memory"]["ag-ui"].values()
    assert sum("now" in record for record in shared["runs"].values()) == 16
    assert contents(store)["m"] == "x" * 300


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new run leaves nothing of the messages before it but their places."""
    monkeypatch.setattr(ag_ui_known, "_MESSAGES", 0)


def test_what_a_thread_remembers_of_its_messages_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody tells the adapter of messages that are removed by hand."""
    monkeypatch.setattr(ag_ui_known, "_MESSAGES", 64)
    monkeypatch.setattr(ag_ui_known, "_PLACES", 100)
    store = a_store(limits=Limits(tombstones=20))
    stream = store.open("ag-ui")
    for number in range(500):
        name = f"{number}"
        said = [*text(f"m{name}", "x"), *call(f"c{name}"), result(f"r{name}", f"c{name}")]
        for event in run(*said, finished(name), run_id=name):
            stream.ingest(event)
        for message_id in (f"m{name}", f"c{name}", f"r{name}"):
            store.apply(MessageRemoved(session_id="thread-1", message_id=message_id))
        store.flush()
    assert store.messages("thread-1") == ()
    (shared,) = store.save()["memory"]["ag-ui"].values()
    assert len(shared["messages"]) <= 64 + 8 + 3
    assert len(shared["calls"]) <= len(shared["messages"])
    assert sum(map(len, shared["old"].values())) == 100
    assert len(shared["order"]) == len(shared["messages"]) + 100


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few messages are remembered while a run goes on."""
    monkeypatch.setattr(ag_ui_known, "_MESSAGES", 64)
    monkeypatch.setattr(ag_ui_known, "_MOST", 128)
    monkeypatch.setattr(ag_ui_known, "_PLACES", 100)
    monkeypatch.setattr(ag_ui_runs, "_CAME", 128)
    monkeypatch.setattr(ag_ui_runs, "_THOUGHTS", 100)
    monkeypatch.setattr(ag_ui_verify, "_OPEN", 16)


def a_round(number: int, kind: str) -> list[Wire]:
    """What a run without an end brings again and again, by fresh ids."""
    name = f"{number}"
    said = [*text(f"m{name}", "x"), *call(f"c{name}"), result(f"r{name}", f"c{name}")]
    if kind == "ends nothing":
        return [event for event in said if not event["type"].endswith(("_END", "_RESULT"))]
    if kind == "starts nothing":
        return [event for event in said if not event["type"].endswith("_START")]
    if kind == "activities":
        return [{**ACTIVITY, "messageId": f"a{name}"}]
    if kind == "thoughts":
        steps = ("START", "CONTENT", "END")
        return [{"type": f"THINKING_TEXT_MESSAGE_{step}", "delta": "x"} for step in steps]
    if kind == "snapshots":
        return [*said, snapshot(assistant("last"))]
    if kind == "subagents":
        owned = {"subagentRunId": name}
        step = {"type": "STEP_STARTED", "stepName": "s"}
        return [
            {"type": "SUBAGENT_STARTED", "name": "n", **owned},
            *({**event, **owned} for event in (step, {**step, "type": "STEP_FINISHED"}, step)),
            {"type": "SUBAGENT_FINISHED", **owned},
        ]
    return said


KINDS = ["", "ends nothing", "starts nothing", "activities", "thoughts", "snapshots", "subagents"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["a run", "no run", "a replay"])
def test_what_is_remembered_of_a_run_without_an_end_is_bounded(way: str, kind: str) -> None:
    """Nobody tells the adapter of messages that are removed by hand."""
    store = a_store(limits=Limits(tombstones=20))
    session_id = "main" if way == "no run" else "thread-1"
    for _ in range(2 if way == "a replay" else 1):
        stream = store.open("ag-ui")
        for event in run()[: way != "no run"]:
            stream.ingest(event)
        for number in range(400):
            for event in a_round(number, kind):
                stream.ingest(event)
            store.flush()
            for message in store.messages(session_id):
                store.apply(MessageRemoved(session_id=session_id, message_id=message.id))
            store.flush()
    assert store.messages(session_id) == ()
    memory = store.save()
    (shared,) = memory["memory"]["ag-ui"].values()
    sizes = {name: len(shared.get(name, ())) for name in ("messages", "calls", "interrupts")}
    assert max(sizes.values()) <= 128
    assert sum(map(len, shared.get("old", {}).values())) <= 100 + 128
    assert len(shared.get("order", ())) <= 100 + 2 * 128
    assert all(len(entry["thoughts"]) <= 100 for entry in shared.get("runs", {}).values())
    owns = [entry["memory"] for entry in memory["streams"]]
    runs = [record["now"] for record in shared.get("runs", {}).values()]
    assert len(runs) == (way != "no run")
    for now in (*owns, *runs):
        assert max(len(now["opened"]), len(now["came"])) <= 128
        assert len(now["rebuilt"]) <= 100 + 4 * 128
    for own in owns:
        assert all(len(table) <= 16 for table in own["flow"].values() if isinstance(table, dict))


def test_owners_that_a_strict_stream_remembers_in_a_run_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was forgotten is refused for nothing: not by its owner, not as a parent."""
    monkeypatch.setattr(ag_ui_verify, "_OWNED", 16)
    stream = (store := a_store()).open("ag-ui", policy="strict")
    events = run()
    for number in range(100):
        events += a_round(number, "") + a_round(number, "subagents")[:3]
        events += [a_round(number, "subagents")[-1], *a_round(number, "activities")]
    told = [assistant(f"s{number}", f"sc{number}") for number in range(100)]
    child = {"type": "SUBAGENT_STARTED", "name": "n", "subagentRunId": "x"}
    events += [snapshot(*told), {**child, "parentSubagentRunId": "0"}]
    owned = [{**event, "subagentRunId": "x"} for event in text("m0", "y")]
    for event in (*events, *owned):
        assert stream.ingest(event).kind == "accepted"
    (own,) = (entry["memory"] for entry in store.save()["streams"])
    assert all(len(table) <= 16 for table in own["flow"]["owners"].values())
    assert len(own["flow"]["ended"]) == 16
    # What is remembered is refused, and a refusal brings back what it would have forgotten.
    before = copy.deepcopy(own["flow"]["owners"])
    with pytest.raises(ProtocolStopped):
        ag_ui_verify.Flow(own["flow"], strict=True).take([*text("new"), *text("m", "x")[1:]])
    assert own["flow"]["owners"] == before


@pytest.mark.parametrize("policy", ["strict", "lenient"])
def test_chunks_are_assembled_for_a_bounded_number_of_producers(
    policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ag_ui_chunks, "_LANES", 8)
    stream = (store := a_store()).open("ag-ui", policy=policy)
    chunk = {"type": "TEXT_MESSAGE_CHUNK", "delta": "x"}
    events = run({**chunk, "messageId": "own"})
    for number in range(50):
        owned = {**chunk, "subagentRunId": f"{number}"}
        events += [{**owned, "messageId": f"m{number}"}, owned]
    # The parent's goes on, and so does what is named.
    events += [chunk, {**chunk, "subagentRunId": "49"}, {**chunk, "messageId": "own"}]
    for event in events:
        assert stream.ingest(event).kind == "accepted"
    (own,) = (entry["memory"] for entry in store.save()["streams"])
    assert len(own["lanes"]) == 8
    again = {**chunk, "messageId": "m0", "subagentRunId": "0"}
    for event in (again, finished()):
        assert stream.ingest(event).kind == "accepted"
    expected = {f"m{number}": "xxx" if number in (0, 49) else "xx" for number in range(50)}
    assert contents(store) == {"own": "xxx", **expected}
    assert {message.status for message in store.messages("thread-1")} == {"completed"}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("ending", ["RUN_ERROR", "RUN_FINISHED"])
@pytest.mark.parametrize("at", [0, 300, None])
def test_what_is_in_progress_in_a_long_run_goes_on_and_ends_as_in_a_short_one(
    ending: str, at: int | None
) -> None:
    """Also where the state was saved in between. What was forgotten ended well."""
    store = a_store()
    stream = store.open("ag-ui")
    asked = {**CALL, "toolCallId": "w", "parentMessageId": "first"}
    argued = {**CALL, "toolCallId": "o", "parentMessageId": "own"}
    begun = [*text("m", "a", ends=False), *text("first", "f"), asked]
    begun += [{"type": "TOOL_CALL_END", "toolCallId": "w"}, argued]
    for event in run(*begun):
        stream.ingest(event)
    for number in range(400):
        for event in a_round(number, ""):
            stream.ingest(event)
        if number == at:
            store = StreamStore.load(json.loads(json.dumps(store.save())))
            stream = store.open("ag-ui")
    last = {"type": "RUN_ERROR", "message": "x"} if ending == "RUN_ERROR" else finished()
    args = {**ARGS, "toolCallId": "o"}
    for event in (CONTENT, args, args, result("answer", "w"), a_round(0, "")[1], last):
        assert stream.ingest(event).kind == "accepted"
    store.flush()
    messages = store.messages("thread-1")
    ids = [message.id for message in messages]
    assert ids[:4] == ["m", "first", "answer", "own"] and len(ids) == len(set(ids)) == 4 + 1200
    cut = {"m", "own"} if ending == "RUN_ERROR" else set()
    assert {message.id for message in messages if message.status != "completed"} == cut
    assert (contents(store)["m"], contents(store)["m0"]) == ("ax", "xx")
    assert tool_of(store, "w").tool.status == "completed"
    assert tool_of(store, "o").field_text("input") == 2 * args["delta"]


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize(
    "case",
    [case for case in SMALL if case.has("snapshots.jsonl") and case.name != "tool-start-replayed"],
    ids=lambda case: case.name,
)
def test_the_state_is_the_clients_where_old_messages_are_places_alone(case: Case) -> None:
    """But for a call that goes on in another run."""
    test_after_every_event_the_state_is_the_clients(case)


@st.composite
def talks(draw: st.DrawFn) -> list[list[Wire]]:
    """Runs with messages and calls of their own; snapshots and echoes of what was there before."""
    there: list[Wire] = []
    found = []
    for number in range(draw(st.integers(2, 5))):
        name, events = f"{number}", []
        what = draw(st.lists(st.sampled_from(["text", "thought", "call", "snapshot"]), max_size=4))
        for place, kind in enumerate(what):
            entity = f"{kind}-{name}-{place}"
            if kind == "text":
                events += text(entity, "a", "b")
                there.append({"id": entity, "role": "assistant", "content": "ab"})
            elif kind == "thought":
                events += text(entity, "hm", role="reasoning")
                for event in events[-3:]:
                    event["type"] = event["type"].replace("TEXT", "REASONING")
                there.append({"id": entity, "role": "reasoning", "content": "hm"})
            elif kind == "call":
                events += [*call(entity), result(f"r-{entity}", entity)]
                there.append(assistant(entity, entity))
                answer = {"id": f"r-{entity}", "role": "tool", "toolCallId": entity}
                there.append({**answer, "content": "ok"})
            else:
                kept = draw(st.lists(st.sampled_from(there), unique_by=lambda m: m["id"])) if (
                    there
                ) else []  # fmt: skip
                new = {"id": entity, "role": "user", "content": "new"}
                events.append(snapshot(*draw(st.permutations([*kept, new]))))
        started, *rest = run(*events, finished(name), run_id=name)
        if there and draw(st.booleans()):
            echo = {"id": f"echo-{name}", "role": "user", "content": "q"}
            given = [*draw(st.lists(st.sampled_from(there), unique_by=lambda m: m["id"])), echo]
            tools: Wire = {"tools": [], "context": [], "forwardedProps": {}, "state": None}
            started["input"] = {**started, **tools, "messages": given}
            del started["input"]["type"]
        found.append([started, *rest])
    return found


@given(talks())
def test_what_old_messages_are_remembered_by_is_enough(streams: list[list[Wire]]) -> None:
    """Of runs that are new, and also when the last of them is delivered again."""
    found = []
    for most in (4096, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ag_ui_known, "_MESSAGES", most)
            for more in ([], streams[-1:]):
                store = took(*streams, *more)
                found.append(encoded(store))
                assert {message.id for message in store.messages("thread-1")} == {
                    message["id"] for message in found[-1]["messages"]
                }
    assert found[:2] == found[2:]


@given(talks(), st.sampled_from([(0, 0), (1, 2), (2, 3)]))
def test_what_is_done_in_a_run_is_remembered_by_enough(
    streams: list[list[Wire]], bounds: tuple[int, int]
) -> None:
    """All in one run, which is delivered again by another stream. (One that failed would tell calls
    that wait from others, of which so few are remembered here.)"""
    events = [event for stream in streams for event in stream if "RUN" not in event["type"]]
    whole = run(*events, finished())
    found = []
    for few, most in ((4096, 8192), bounds):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ag_ui_known, "_MESSAGES", few)
            patch.setattr(ag_ui_known, "_MOST", most)
            for stores in (took(whole), took(whole, whole)):
                found.append([encoded(stores), stores.state()["sessions"]])
    assert found[:2] == found[2:]


@pytest.mark.usefixtures("forgetful")
def test_a_run_of_old_messages_that_is_delivered_again_is_there_once() -> None:
    first = run(*text("m", "Hello"), *call("c", parentMessageId="m"), result("r", "c"), finished())
    second = run(*text("n", "there"), finished("run-2"), run_id="run-2")
    once, again = took(first, second), took(first, second, first)
    assert encoded(again) == encoded(once)
    assert [message["id"] for message in encoded(again)["messages"]] == ["m", "r", "n"]


@pytest.mark.usefixtures("forgetful")
def test_a_user_is_not_made_an_assistant_by_a_call_that_names_an_old_message() -> None:
    first = run(snapshot({"id": "u", "role": "user", "content": "q"}), finished())
    second = run(*call("c", parentMessageId="u"), run_id="run-2")
    messages = encoded(took(first, second))["messages"]
    assert [(message["id"], message["role"]) for message in messages] == [
        ("u", "user"), ("c", "assistant"),
    ]  # fmt: skip


def test_a_stream_whose_run_was_forgotten_still_speaks_for_it() -> None:
    store = a_store()
    stream, other = store.open("ag-ui"), store.open("ag-ui")
    for event in run(*text("m", "a", ends=False)):
        stream.ingest(event)
    for number in range(300):
        other.ingest(run(run_id=f"other-{number}")[0])
    stream.ingest({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "b"})
    assert contents(store) == {"m": "ab"}


# --- interrupts -----------------------------------------------------------------------------------


def interrupted(*interrupts: Wire) -> list[Wire]:
    return run(*call("c"), finished(outcome={"type": "interrupt", "interrupts": list(interrupts)}))


def test_an_interrupt_of_a_call_is_a_permission_and_another_one_a_question() -> None:
    approval = {"id": "i", "reason": "approval", "toolCallId": "c"}
    value = {"id": "j", "reason": "value", "responseSchema": {"type": "string"}}
    store = took(interrupted(approval, value))
    session = store.session("thread-1")
    assert session is not None
    (permission,), (question,) = session.permissions.values(), session.questions.values()
    assert (permission.id, permission.call_id, permission.message_id) == ("i", "c", "c")
    assert (question.id, question.payload) == ("j", value)
    assert tool_of(store, "c").tool.status == "waiting"
    assert session.info["pendingInterrupts"] == [approval, value]


@pytest.mark.parametrize(("answer", "status"), [("resolved", "running"), ("cancelled", "denied")])
def test_the_next_run_answers_an_interrupt(answer: str, status: str) -> None:
    resume = [{"interruptId": "i", "status": answer}]
    given = {"threadId": "thread-1", "runId": "run-2", "messages": [], "resume": resume}
    asked = interrupted({"id": "i", "reason": "approval", "toolCallId": "c"})
    store = took(asked, [{**run(run_id="run-2")[0], "input": given}])
    session = store.session("thread-1")
    assert session is not None and not session.permissions
    assert tool_of(store, "c").tool.status == status


def test_a_run_that_ends_without_an_interrupt_waits_for_nothing() -> None:
    asked = interrupted({"id": "i", "reason": "value"})
    store = took(asked, run(finished("run-2"), run_id="run-2"))
    session = store.session("thread-1")
    assert session is not None
    assert not session.questions and session.info["pendingInterrupts"] == []


def feedback(number: int, message: str = "Approve?", *, echo: bool = False) -> list[Wire]:
    """A run of CrewAI's bridge that pauses: the id of every interrupt is that of its thread."""
    name = f"run-{number}"
    interrupt = {"id": "thread-1", "reason": "crewai:human_feedback", "message": message}
    events = run(
        finished(name, outcome={"type": "interrupt", "interrupts": [interrupt]}), run_id=name
    )
    if echo:
        resume = [{"interruptId": "thread-1", "status": "resolved"}]
        given = {"threadId": "thread-1", "runId": name, "messages": [], "resume": resume}
        events[0] = {**events[0], "input": given}
    return events


def questions(store: StreamStore) -> dict[str, Any]:
    session = store.session("thread-1")
    assert session is not None
    return {name: request.payload["message"] for name, request in session.questions.items()}


def test_an_interrupt_whose_id_was_answered_before_is_asked_again() -> None:
    quiet = run(finished("run-2"), run_id="run-2")
    store = took(feedback(1), quiet, feedback(3))
    assert questions(store) == {"thread-1 ": "Approve?"}
    assert questions(took(feedback(1), quiet, feedback(3), feedback(3)[:1], feedback(3))) == {
        "thread-1 ": "Approve?"
    }
    assert not questions(took(feedback(1), quiet, feedback(3), run(finished("4"), run_id="4")))


def test_an_interrupt_that_asks_something_else_under_its_id_is_another_question() -> None:
    assert questions(took(feedback(1), feedback(2))) == {"thread-1": "Approve?"}
    store = took(feedback(1), feedback(2, "And this?"))
    assert questions(store) == {"thread-1 ": "And this?"}
    # One run that is sent again, with another time in it, asks nothing new.
    assert list(questions(took(feedback(1), feedback(1, "And this?")))) == ["thread-1"]


def test_a_replay_of_a_run_answers_no_question_of_its_own() -> None:
    second = feedback(2, echo=True)
    once, replayed = took(feedback(1), second), took(feedback(1), second[:1], second, second)
    assert questions(once) == questions(replayed) == {"thread-1 ": "Approve?"}
    session = replayed.session("thread-1")
    assert session is not None and session.info["pendingInterrupts"]
    assert questions(took(feedback(1), second, second[:1])) == {"thread-1 ": "Approve?"}


# --- state ----------------------------------------------------------------------------------------


def test_a_state_is_null_only_when_the_stream_says_so() -> None:
    assert encoded(took(run()))["state"] == {}
    assert encoded(took(run({"type": "STATE_SNAPSHOT", "snapshot": None})))["state"] is None
    root = {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "", "value": None}]}
    assert encoded(took(run(root)))["state"] is None


def test_a_state_that_the_server_echoes_counts_while_none_is_known() -> None:
    given = {"threadId": "thread-1", "runId": "run-1", "messages": [], "state": {"a": 1}}
    begun = {**run()[0], "input": given}
    delta = {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/b", "value": 2}]}
    assert encoded(took([begun, delta]))["state"] == {"a": 1, "b": 2}
    known = {"type": "STATE_SNAPSHOT", "snapshot": {"c": 3}}
    assert encoded(took([run()[0], known, finished(), begun]))["state"] == {"c": 3}


STATE = {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}}
STATE_PATCH = {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/n", "value": 2}]}
REMEDY = r"jsonpatch: pip install 'chat-streamstore\[patch\]'"


@pytest.mark.parametrize("before", [(STATE,), ()], ids=["a state", "none"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_without_the_package_that_patches_everything_says_so(
    before: tuple[Wire, ...], as_bytes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jsonpatch", None)
    store = a_store()
    stream = store.open("ag-ui")
    wires = run(*before, STATE_PATCH, finished())
    with pytest.warns(RuntimeWarning, match=REMEDY):
        if as_bytes:
            stream.feed(b"".join(json.dumps(wire).encode() + b"\n" for wire in wires))
        else:
            ((place, verdict),) = stream.ingest_many(wires)
            assert wires[place] is STATE_PATCH
            assert (verdict.kind, verdict.reason) == ("refused", "missing_extra")
            assert re.search(REMEDY, verdict.detail)
    store.flush()
    assert store.health.counts["verdicts"]["refused:missing_extra"] == 1
    assert re.search(REMEDY, store.health.resync["thread-1"])
    session = store.session("thread-1")
    assert session is not None and session.status is not None
    assert session.status.type == "idle"  # the rest came in
    assert session.state == (STATE["snapshot"] if before else None)


UNFIT = {"type": "STATE_DELTA", "delta": [{"op": "remove", "path": "/none"}]}


@pytest.mark.parametrize("before", [(STATE,), ()], ids=["a state", "none"])
@pytest.mark.parametrize("chunk", [True, False], ids=["a chunk", "no chunk"])
@pytest.mark.parametrize("reason", ["conflict", "missing_extra"])
def test_a_patch_that_is_refused_says_so_and_ends_the_chunked_message(
    before: tuple[Wire, ...], chunk: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "missing_extra":
        monkeypatch.setitem(sys.modules, "jsonpatch", None)
    wires = [{"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "Hi"}] if chunk else []
    store = a_store()
    stream = store.open("ag-ui")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        verdicts = [stream.ingest(wire) for wire in (*run(*before, *wires), UNFIT)]
    assert [verdict.reason for verdict in verdicts if not verdict.taken] == [reason]
    assert not verdicts[-1].taken
    store.flush()
    assert encoded(store)["state"] == (STATE["snapshot"] if before else {})
    assert [part.status for part in store.parts("thread-1", "m")] == ["closed"] * chunk


def test_a_patch_may_remove_the_whole_of_a_state_or_of_an_activity() -> None:
    """Null is left; the next patch of the activity is one of an empty content."""
    gone = [{"op": "remove", "path": ""}]
    events = run(STATE, {"type": "STATE_DELTA", "delta": gone}, ACTIVITY, {**PATCH, "patch": gone})
    found = encoded(took(events))
    assert found["state"] is None and found["messages"][0]["content"] is None
    assert encoded(took(run({"type": "STATE_DELTA", "delta": gone})))["state"] is None
    more = [{"op": "add", "path": "/n", "value": 1}]
    assert contents(took([*events, {**PATCH, "patch": more}])) == {"a": {"n": 1}}


def test_a_text_for_an_activity_is_refused_also_where_it_ends_a_chunked_message() -> None:
    store = a_store()
    stream = store.open("ag-ui")
    wires = run(
        {"type": "ACTIVITY_SNAPSHOT", "messageId": "a", "activityType": "plan", "content": {}},
        {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "Hi"},
        *text("a", "lost"),
    )
    verdicts = [stream.ingest(wire) for wire in wires]
    assert [verdict.reason for verdict in verdicts] == ["", "", "", "conflict", "conflict", ""]
    store.flush()
    assert store.health.counts["characters"]["conflict"] == len("lost")
    assert [part.status for part in store.parts("thread-1", "m")] == ["closed"]


def test_an_activity_that_cannot_be_patched_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonpatch", None)
    store = a_store()
    activity = {"messageId": "a", "activityType": "plan"}
    patch = [{"op": "add", "path": "/n", "value": 1}]
    wires = run(
        {"type": "ACTIVITY_SNAPSHOT", "content": {}, **activity},
        {"type": "ACTIVITY_DELTA", "patch": patch, **activity},
    )
    with pytest.warns(RuntimeWarning, match=REMEDY):
        store.open("ag-ui").ingest_many(wires)
    assert re.search(REMEDY, store.health.resync["thread-1"])


# --- a fetched history ----------------------------------------------------------------------------

HISTORY: list[Wire] = [
    {"id": "u", "role": "user", "content": [{"type": "text", "text": "hi"}], "name": "ann"},
    {
        "id": "a",
        "role": "assistant",
        "content": "let me",
        "metadata": {"k": None},
        "toolCalls": [
            {
                "id": "c",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "encryptedValue": "E",
                "metadata": {"s": 1},
            },
            {"id": "d", "type": "function", "function": {"name": "g", "arguments": ""}},
        ],
    },
    {"id": "r", "role": "tool", "toolCallId": "c", "content": "out"},
    {"id": "e", "role": "tool", "toolCallId": "d", "content": "", "error": "boom"},
    {"id": "t", "role": "reasoning", "content": "hm", "encryptedValue": "F"},
    {"id": "p", "role": "activity", "activityType": "PLAN", "content": {"steps": []}},
    {"id": "s", "role": "system", "content": "", "subagentRunId": "x"},
    {"id": "n", "role": "assistant", "toolCalls": []},
    {"id": "v", "role": "user", "content": []},
]


def test_a_history_comes_back_as_it_was() -> None:
    wire = {"threadId": "t", "messages": HISTORY, "state": {"a": [1]}}
    store = took([wire])
    assert store.session_ids() == ("t",)
    assert encoded(store) == {"messages": HISTORY, "state": {"a": [1]}}
    tools = [part.tool for part in store.parts("t", "a") if part.tool]
    assert [(tool.status, tool.input, tool.output, tool.error) for tool in tools] == [
        ("completed", {}, "out", None),
        ("error", None, "", "boom"),
    ]
    assert {message.status for message in store.messages("t")} == {"completed"}


def test_a_snapshot_event_and_an_echo_bring_the_same_messages() -> None:
    snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": HISTORY}
    given = {"threadId": "thread-1", "runId": "run-1", "messages": HISTORY}
    for events in (run(snapshot), run(snapshot, snapshot), [{**run()[0], "input": given}]):
        store = took(events)
        assert encoded(store)["messages"] == HISTORY
        assert tool_of(store, "c").tool.output == "out"
        assert tool_of(store, "d").tool.status == "error"


def test_a_stream_goes_on_behind_a_history() -> None:
    patch = [{"op": "add", "path": "/steps/-", "value": 1}]
    more = run(
        *text("a", " look"),
        {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "h"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": "+"},
        result("q", "d", "again"),
        {"type": "ACTIVITY_DELTA", "messageId": "p", "activityType": "PLAN", "patch": patch},
        *text("z", "new"),
    )
    store = took([{"threadId": "thread-1", "messages": HISTORY}, *more])
    messages = {message["id"]: message for message in encoded(store)["messages"]}
    assert list(messages) == ["u", "a", "r", "e", "q", "t", "p", "s", "n", "v", "z"]
    assert messages["a"]["content"] == "let me look"
    assert messages["a"]["toolCalls"][0]["function"] == {"name": "h", "arguments": "{}+"}
    assert messages["p"]["content"] == {"steps": [1]}


def test_the_input_of_a_fetched_call_stays_with_it_until_it_is_another() -> None:
    asks = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    given = [{"id": "a", "role": "assistant", "toolCalls": [asks]}]
    fetched = {"threadId": "thread-1", "messages": given}
    tool = tool_of(took([fetched, *run(result("r", "c", "out"))]), "c").tool
    assert (tool.status, tool.input, tool.output) == ("completed", {"a": 1}, "out")
    part = tool_of(took([fetched, *run(*call("c", "+"))]), "c")
    assert (part.tool.status, part.tool.input) == ("running", None)
    assert part.field_text("input") == '{"a":1}+'


@pytest.mark.parametrize("whole", [False, True], ids=["streamed", "snapshot"])
def test_a_text_that_a_history_lacked_is_there_when_it_comes_again(whole: bool) -> None:
    """A server that keeps a message for its calls alone may still tell its text."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    lacking: Wire = {"id": "a", "role": "assistant", "toolCalls": [call]}
    snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": [{**lacking, "content": "One."}]}
    store = StreamStore("ag-ui")
    store.ingest_many([{"type": "RUN_STARTED", "threadId": "t", "runId": "r"}, snapshot])
    store.ingest({"type": "RUN_FINISHED", "threadId": "t", "runId": "r"})
    token = store.begin_read("t")
    store.ingest({"threadId": "t", "messages": [lacking], "readFrom": token})
    store.flush()
    assert [part.kind for part in store.parts("t", "a")] == ["tool"]
    again = [
        {"type": "TEXT_MESSAGE_START", "messageId": "a", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "a", "delta": "One."},
        {"type": "TEXT_MESSAGE_END", "messageId": "a"},
    ]
    store.ingest({"type": "RUN_STARTED", "threadId": "t", "runId": "s"})
    store.ingest_many([snapshot] if whole else again)
    assert [(part.kind, part.text) for part in store.parts("t", "a")] == [
        ("text", "One."),
        ("tool", ""),
    ]


def test_the_rest_of_a_text_that_a_history_lacked_is_not_shown_as_all_of_it() -> None:
    """A server that keeps the calls of a message before its text, which still streams."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    content = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "a"}
    live: list[Wire] = [
        {"type": "RUN_STARTED", "threadId": "t", "runId": "r"},
        {"type": "TEXT_MESSAGE_START", "messageId": "a", "role": "assistant"},
        {**content, "delta": "One "},
    ]
    store = StreamStore("ag-ui")
    store.ingest_many(live)
    lacking: Wire = {"id": "a", "role": "assistant", "toolCalls": [call]}
    token = store.begin_read("t")
    store.ingest({"threadId": "t", "messages": [lacking], "readFrom": token})
    store.ingest({**content, "delta": "two"})
    store.flush()
    assert [part.kind for part in store.parts("t", "a")] == ["tool"]
    assert store.health.counts["verdicts"]["refused:removed"] == 1
    # The whole of it, from a replay of the run, is there.
    store.open("ag-ui").ingest_many([*live, {**content, "delta": "two"}])
    store.flush()
    assert "One two" in [part.text for part in store.parts("t", "a")]


def test_a_history_that_comes_late_stands_before_what_is_live_and_takes_nothing_from_it() -> None:
    store = a_store()
    stream = store.open("ag-ui")
    token = store.begin_read("thread-1")
    for event in run({"type": "STATE_SNAPSHOT", "snapshot": 2}, *text("m", "Hello")):
        stream.ingest(event)
    old = [
        {"id": "u", "role": "user", "content": "q"},
        {"id": "m", "role": "assistant", "content": "Hel"},
    ]
    late = {"threadId": "thread-1", "messages": old, "state": 1, "readFrom": token}
    assert stream.ingest(late).kind == "accepted"
    assert contents(store) == {"u": "q", "m": "Hello"}
    assert encoded(store)["state"] == 2


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("cut", [False, True])
def test_a_history_that_lacks_what_a_run_brings_stands_before_that(at: int, cut: bool) -> None:
    """Most servers keep a message when its run has ended: the talk of before stood behind it."""
    store = a_store()
    stream = store.open("ag-ui")
    token = store.begin_read("thread-1")
    old = [{"id": name, "role": "user", "content": name} for name in "uv"]
    late = {"threadId": "thread-1", "messages": old, "readFrom": token}
    events = run(*text("m", "One."), *text("n", "Two."))
    stream.ingest_many(events[:at])
    if cut:
        stream.end()
        stream = store.open("ag-ui")
    stream.ingest(late)
    stream.ingest_many(events[0 if cut else at :])
    assert list(contents(store)) == ["u", "v", "m", "n"]
    # What a run that goes on has brought and the list holds is where it was.
    more = [*old, {"id": "m", "role": "assistant", "content": "One."}]
    more += [{"id": "n", "role": "assistant", "content": "Two."}]
    more += [{"id": "w", "role": "user", "content": "w"}]
    stream.ingest({**late, "messages": more})
    assert list(contents(store)) == ["u", "v", "m", "n", "w"]


@pytest.mark.parametrize("known", [False, True])
def test_a_history_costs_what_it_holds(monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """For each message that was new all behind it were asked for one that is known."""
    asked = [0]
    role = ag_ui_known.Known.role

    def counted(self: ag_ui_known.Known, message_id: str) -> str | None:
        asked[0] += 1
        return role(self, message_id)

    monkeypatch.setattr(ag_ui_known.Known, "role", counted)
    last = {"id": "m", "role": "assistant", "content": "x"}
    store = took(run(*text("m", "x"))) if known else a_store()
    many = [{"id": f"u{n}", "role": "user", "content": "q"} for n in range(300)]
    wire = {"threadId": "thread-1", "messages": [*many, *([last] if known else [])]}
    store.open("ag-ui").ingest(wire)
    assert len(contents(store)) == 300 + known and asked[0] < 1_500


def test_a_complete_history_takes_away_what_it_lacks() -> None:
    store = took(run(*text("m", "x"), *text("n", "y")))
    stream = store.open("ag-ui")
    given = [{"id": "n", "role": "assistant", "content": "y"}]
    stream.ingest({"threadId": "thread-1", "messages": given, "complete": True})
    assert contents(store) == {"n": "y"}


def test_a_history_of_another_thread_is_that_threads() -> None:
    store = a_store()
    stream = store.open("ag-ui")
    for event in run(*text("m", "x", ends=False)):
        stream.ingest(event)
    given = [{"id": "m", "role": "user", "content": "other"}]
    stream.ingest({"threadId": "thread-2", "messages": given})
    stream.ingest({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "y"})
    store.flush()
    assert store.parts("thread-1", "m")[0].text == "xy"
    assert store.parts("thread-2", "m")[0].text == "other"


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        ({"messages": {}}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [5]}, "messages.0"),
        ({"messages": [{"id": "", "role": "user", "content": ""}]}, "messages.0.id"),
        ({"messages": [], "complete": 1}, "complete"),
        ({"messages": [], "threadId": ""}, "threadId"),
        ({"messages": [], "readFrom": 5}, "readFrom"),
    ],
)
def test_a_history_that_cannot_be_read_is_malformed_and_named(wire: Wire, field: str) -> None:
    adapter = AgUiAdapter(Context())
    with pytest.raises(MalformedEvent) as error:
        adapter.decode(wire)
    assert error.value.field == field
    assert adapter._context.shared == {}


# --- what the boundary lets through ---------------------------------------------------------------


def test_retired_spellings_mean_what_those_of_today_do() -> None:
    binary = {"type": "binary", "mimeType": "image/png"}
    parts = [
        {**binary, "data": "AA", "filename": "f.png"},
        {**binary, "mimeType": "audio/wav", "url": "u"},
        {**binary, "mimeType": "text/plain", "url": "w"},
        {**binary, "id": "only an id"},
        {**binary, "data": "BB"},
        {
            "type": "image",
            "source": {"type": "data", "value": "BB", "mimeType": "image/png"},
            "metadata": None,
        },
    ]
    message = {"id": "u", "role": "user", "content": parts}
    for strict in (True, False):
        policy = "strict" if strict else "lenient"
        store = took(run({"type": "MESSAGES_SNAPSHOT", "messages": [message]}), policy=policy)
        assert contents(store)["u"] == [
            {
                "type": "image",
                "source": {"type": "data", "value": "AA", "mimeType": "image/png"},
                "metadata": {"filename": "f.png"},
            },
            {"type": "audio", "source": {"type": "url", "value": "u", "mimeType": "audio/wav"}},
            {"type": "document", "source": {"type": "url", "value": "w", "mimeType": "text/plain"}},
            {"type": "image", "source": {"type": "data", "value": "BB", "mimeType": "image/png"}},
        ]


@pytest.mark.parametrize(
    "wire",
    [
        {**START, "rawEvent": None},
        {
            "type": "TOOL_CALL_START",
            "toolCallId": "c",
            "toolCallName": "f",
            "parentMessageId": None,
        },
        {
            "type": "TOOL_CALL_CHUNK",
            "toolCallId": "c",
            "toolCallName": "f",
            "parentMessageId": None,
        },
        finished(outcome=None, result=None),
        finished(outcome={"type": "of tomorrow"}),
        {**START, "of tomorrow": 1},
        {"type": "MESSAGES_SNAPSHOT", "messages": [{"role": "of tomorrow", "id": 5}]},
        result("r", "c", [{"type": "image", "source": {"type": "of tomorrow"}}, {"type": "x"}]),
        {**CONTENT, "type": "CUSTOM", "name": "n", "value": None},
        {**START, "timestamp": 1.0},
    ],
)
def test_what_a_strict_stream_takes(wire: Wire) -> None:
    started(strict=True).decode(wire)


@pytest.mark.parametrize(
    ("wire", "field", "lenient"),
    [
        ({**START, "role": "wizard"}, "role", False),
        ({**START, "role": None}, "role", True),
        ({**START, "name": None}, "name", True),
        ({**START, "metadata": []}, "metadata", False),
        ({**START, "metadata": None}, "metadata", True),
        ({**START, "timestamp": "1"}, "timestamp", False),
        ({**START, "timestamp": 2**53}, "timestamp", False),
        ({**START, "subagentRunId": None}, "subagentRunId", True),
        ({**START, "messageId": ""}, "messageId", False),
        ({"type": "TEXT_MESSAGE_START"}, "messageId", False),
        ({"type": 5}, "type", False),
        ({"type": ""}, "type", False),
        ({}, "type", False),
        ([], "", False),
        ({"type": "STATE_SNAPSHOT"}, "snapshot", False),
        ({**ACTIVITY, "replace": "yes"}, "replace", False),
        ({"type": "MESSAGES_SNAPSHOT", "messages": [NULL_IN_A_TEXT]}, NULL_AT, True),
        ({"type": "STATE_DELTA", "delta": {}}, "delta", False),
        ({"type": "STATE_DELTA", "delta": [{"op": "add", "path": "a"}]}, "delta.0.path", False),
        ({"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/a"}]}, "delta.0.value", False),
        ({"type": "STATE_DELTA", "delta": [5]}, "delta.0", False),
        (finished(outcome={"type": "interrupt", "interrupts": []}), "outcome.interrupts", False),
        (finished(usage=[{"inputTokens": -1}]), "usage.0.inputTokens", False),
        (result("r", "c", 5), "content", False),
        (result("r", "c", [5]), "content.0", False),
        ({**THINK, "role": "assistant"}, "role", False),
        ({"type": "MESSAGES_SNAPSHOT", "messages": [None]}, "messages.0", False),
        (
            {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "m", "role": "user"}]},
            "messages.0.content",
            False,
        ),
        (
            {
                "type": "ACTIVITY_SNAPSHOT",
                "messageId": "m",
                "activityType": "t",
                "content": [],
            },
            "content",
            False,
        ),
    ],
)
def test_what_is_malformed_is_named_and_changes_nothing(
    wire: Any, field: str, lenient: bool
) -> None:
    """Strict, a null is no absent member; lenient it is."""
    for strict in (True, False):
        adapter = started(strict=strict)
        memory = copy.deepcopy([adapter._own, adapter._context.shared])
        if lenient and not strict:
            adapter.decode(wire)
            continue
        with pytest.raises(MalformedEvent) as error:
            adapter.decode(wire)
        assert error.value.field == field
        assert [adapter._own, adapter._context.shared] == memory


def test_an_unknown_type_is_unknown_in_both_policies() -> None:
    for strict in (True, False):
        with pytest.raises(UnknownEvent):
            started(strict=strict).decode({"type": "TEXT_MESSAGE"})


# --- what a strict stream refuses -----------------------------------------------------------------


def sub(event: Wire, owner: str = "s1") -> Wire:
    return {**event, "subagentRunId": owner}


END: Wire = {"type": "TEXT_MESSAGE_END", "messageId": "m"}
STEP: Wire = {"type": "STEP_STARTED", "stepName": "p"}
AGENT: Wire = {"type": "SUBAGENT_STARTED", "subagentRunId": "s1", "name": "n"}
AGENT_ENDS: Wire = {"type": "SUBAGENT_FINISHED", "subagentRunId": "s1"}
SECRET: Wire = {
    "type": "REASONING_ENCRYPTED_VALUE",
    "subtype": "message",
    "entityId": "m",
    "encryptedValue": "E",
}
OWNED: Wire = {
    "type": "MESSAGES_SNAPSHOT",
    "messages": [{"id": "m", "role": "assistant", "content": "", "subagentRunId": "s2"}],
}
SPAN: Wire = {"type": "REASONING_START", "messageId": "r"}
THINKING_OF_NOTHING: Wire = {"type": "THINKING_TEXT_MESSAGE_CONTENT", "delta": "x"}


@pytest.mark.parametrize(
    "events",
    [
        [sub(START), CONTENT],  # no tag agrees with any owner
        [sub(START), sub(CONTENT), sub(END)],
        [START, END, START],
        [SPAN, THINK, THOUGHT],  # a span and a message may share their id
        [STEP, sub(STEP)],
        [AGENT, {**AGENT, "subagentRunId": "s2", "parentSubagentRunId": "s1"}],
        [AGENT, AGENT_ENDS, sub(START)],
        [sub(ACTIVITY, "s1"), sub(ACTIVITY, "s2"), sub(PATCH, "s2")],
        [OWNED, sub(START, "s2")],
        [finished(), run(run_id="run-2")[0]],
        [finished(), {"type": "RUN_ERROR", "message": "x"}, run(run_id="run-2")[0]],
        [sub(START), {**CALL, "parentMessageId": "m"}, sub(ARGS)],
        [result("m", "c"), sub(result("m", "c")), sub(START)],
        [{**CHUNK, "subagentRunId": "s1"}, MORE_OF_A_CHUNK],  # the only one it can continue
        [SECRET, sub(SECRET)],
    ],
)
def test_what_the_client_takes_a_strict_stream_takes(events: list[Wire]) -> None:
    started(*events, strict=True)


@pytest.mark.parametrize(
    "events",
    [
        [START, sub(CONTENT)],
        [sub(START), sub(CONTENT, "s2")],
        [START, END, sub(START)],
        [CALL, sub(ARGS)],
        [sub(START), {**CALL, "parentMessageId": "m", "subagentRunId": "s2"}],
        [
            CALL,
            sub(START),
            {"type": "TOOL_CALL_END", "toolCallId": "c"},
            {**CALL, "parentMessageId": "m"},
        ],
        [SPAN, sub(THINK)],
        [THINK, THINK],
        [SPAN, SPAN],
        [SPAN, {"type": "REASONING_END", "messageId": "q"}],
        [ACTIVITY, sub(PATCH)],
        [sub(ACTIVITY), {**ACTIVITY, "replace": False}, sub(PATCH, "s2")],
        [START, sub(SECRET)],
        [THINK, {**sub(SECRET), "entityId": "r"}],
        [CALL, {**sub(SECRET), "entityId": "c", "subtype": "tool-call"}],
        [OWNED, sub(START)],
        [result("m", "c"), sub(START)],
        [STEP, STEP],
        [STEP, sub({**STEP, "type": "STEP_FINISHED"})],
        [AGENT, AGENT],
        [AGENT, AGENT_ENDS, AGENT],
        [AGENT_ENDS],
        [{**AGENT, "parentSubagentRunId": "s2"}],
        [AGENT, finished()],
        [SPAN, finished()],
        [THINK, finished()],
        [THINKING_OF_NOTHING],
        [{"type": "THINKING_END"}],
        # Chunks: which one is meant?
        [
            {**CHUNK, "subagentRunId": "s1"},
            {**CHUNK, "messageId": "n", "subagentRunId": "s2"},
            MORE_OF_A_CHUNK,
        ],
        [{**CHUNK, "subagentRunId": "s1"}, {**CHUNK, "subagentRunId": "s2"}],
        [CHUNK, END],
    ],
)
def test_what_the_client_refuses_a_strict_stream_refuses_and_forgets(events: list[Wire]) -> None:
    *before, last = events
    adapter = started(*before, strict=True)
    memory = copy.deepcopy([adapter._own, adapter._context.shared])
    with pytest.raises((ProtocolStopped, MalformedEvent)):
        adapter.decode(last)
    assert [adapter._own, adapter._context.shared] == memory


# --- recognised -----------------------------------------------------------------------------------


@each_case
def test_the_first_event_of_a_stream_is_told(case: Case) -> None:
    for body in case.bodies:
        data = b"".join(
            line.removeprefix(b"data:").removeprefix(b" ")
            for line in next(part for part in frames(body) if b"data:" in part).split(b"\n")
            if line.startswith(b"data:")
        )
        assert detect(json.loads(data)) is AgUiAdapter


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        "RUN_STARTED",
        {},
        {"type": "RUN_STARTED"},
        {"type": "RUN_STARTED", "threadId": "t"},
        {"type": ["RUN_STARTED"]},
        {"type": "text-delta", "id": "0", "delta": "x"},
        {"type": "message_start", "message": {}},
        {"type": "response.created", "sequence_number": 0, "response": {}},
        {"type": "message.part.updated", "properties": {}},
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "x"},
        {"messages": [], "state": {}},
        {"threadId": "t", "messages": [{"id": "m", "role": "wizard"}]},
        {"threadId": "t", "messages": [5]},
        {"threadId": "t", "messages": {}},
    ],
)
def test_other_objects_are_not(wire: Any) -> None:
    assert not AgUiAdapter.detects(wire)


def test_the_history_of_a_thread_is_told() -> None:
    assert AgUiAdapter.detects({"threadId": "t", "messages": HISTORY})


# --- totality: no JSON makes it raise anything else -----------------------------------------------


def recorded() -> list[Wire]:
    """One recorded event of each type and shape."""
    found: dict[str, Wire] = {}
    for name, folder in kept("ag-ui").items():
        for wire in Case("ag-ui", name, folder).wires:
            if isinstance(wire, dict):
                found.setdefault(f"{wire.get('type')} {sorted(wire)}", wire)
    return list(found.values())


RECORDED = recorded()
TYPES = sorted({wire["type"] for wire in RECORDED if "type" in wire})
NAMES = st.sampled_from(
    sorted(
        "type messageId role delta toolCallId toolCallName parentMessageId content messages id "
        "metadata snapshot patch activityType replace threadId runId input outcome interrupts "
        "state stepName subagentRunId name value rawEvent timestamp source function arguments "
        "toolCalls op path entityId subtype encryptedValue complete readFrom resume".split()
    )
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | st.sampled_from(["", "m", "c", "c1", "assistant", "user", "tool", "activity", "reasoning"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)


def containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A recorded event, maybe changed in a few places."""
    wire = copy.deepcopy(draw(st.sampled_from(RECORDED)))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.sampled_from(list(containers(wire))))
        if isinstance(place, dict):
            name = draw((st.sampled_from(sorted(place)) if place else NAMES) | NAMES)
            if draw(st.booleans()):
                place[name] = draw(JSON)
            else:
                place.pop(name, None)
        elif place:
            place[draw(st.integers(0, len(place) - 1))] = draw(JSON)
    if draw(st.integers(0, 4)) == 0 and isinstance(wire, dict) and "messageId" in wire:
        wire["type"] = draw(st.sampled_from(TYPES))
    return wire


def check_total(adapter: AgUiAdapter, wire: Any) -> bool:
    """Whether it was taken; an error leaves the memory as it was."""
    before, memory = copy.deepcopy(wire), copy.deepcopy([adapter._own, adapter._context.shared])
    assert type(AgUiAdapter.detects(wire)) is bool
    plain = asked(adapter, wire)
    try:
        events = adapter.decode(wire)
    except (MalformedEvent, UnknownEvent, ProtocolStopped) as error:
        assert plain is None
        assert [adapter._own, adapter._context.shared] == memory
        return not isinstance(error, ProtocolStopped)
    assert wire == before
    assert json.loads(json.dumps([adapter._own, adapter._context.shared])) is not None
    if plain is not None:
        (event,) = events
        assert isinstance(event, BlockDelta) and event.text == plain[1]
        assert hot_key(event) == plain[0]
        assert [adapter._own, adapter._context.shared] == memory
    for event in events:
        canonical = encode_event(event)
        if not isinstance(event, RequestEvent | Snapshot | SessionStatus):
            assert encode_event(decode_event(canonical)) == canonical
    return True


@settings(deadline=None)
@given(JSON | st.fixed_dictionaries({"type": st.sampled_from(TYPES)}), st.booleans())
def test_any_json_is_decoded_malformed_or_unknown(wire: Any, strict: bool) -> None:
    check_total(AgUiAdapter(Context(strict=strict)), wire)


@settings(max_examples=150, deadline=None)
@given(st.lists(mutated(), max_size=12), st.booleans())
def test_recorded_events_with_anything_in_them_in_any_order(wires: list[Any], strict: bool) -> None:
    adapter = AgUiAdapter(Context(strict=strict))
    for wire in (run()[0], *wires):
        if not check_total(adapter, wire):
            break


@settings(max_examples=100, deadline=None)
@given(st.lists(mutated(), max_size=15), st.integers(0, 15), st.booleans())
def test_a_store_takes_any_sequence_and_replays_of_it(
    wires: list[Any], cut: int, strict: bool
) -> None:
    store = a_store(ticks="each")
    policy: Any = "strict" if strict else "lenient"
    events = [run()[0], *wires]
    for some in (events[:cut], events):
        stream = store.open("ag-ui", policy=policy)
        for wire in some:
            stream.ingest(copy.deepcopy(wire))
        stream.end()
    ids = [message["id"] for message in encoded(store)["messages"]]
    assert len(ids) == len({(s, m.id) for s in store.session_ids() for m in store.messages(s)})
    saved = json.loads(json.dumps(store.save()))
    loaded = StreamStore.load(saved, ticks="manual")
    assert loaded.state() == store.state()


def test_errors_are_of_the_library() -> None:
    for error in (MalformedEvent, UnknownEvent, ProtocolStopped):
        assert issubclass(error, StreamStoreError)
