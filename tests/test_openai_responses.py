"""The OpenAI Responses adapter: recorded responses against the SDK, resuming, odd servers.

What the SDK made of each response is recorded beside it (`tests/data/openai-responses/README.md`).
With `STREAMSTORE_CORPORA` set, or a folder of corpora beside the checkout, the others are read too.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any, ClassVar

import pytest
import recordings
from hypothesis import given, settings
from hypothesis import strategies as st
from one_stream import merged
from recordings import Case, containers, folders, kept, plain_json

from streamstore import ChangeSet, PartKey, StreamStore
from streamstore.adapters.base import Context
from streamstore.adapters.openai_responses import OpenAIResponsesAdapter, Resume
from streamstore.errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from streamstore.events import BlockDelta, Event, MessageOpened, ToolResult
from streamstore.model import Part
from streamstore.protocols import adapters, detect

Wire = dict[str, Any]

PROTOCOL = "openai-responses"
LONG = ("long-text-20k", "long-function-args-3k")
NAMES = list(folders(PROTOCOL))
SHORT = [name for name in NAMES if name not in LONG]


def case_of(name: str) -> Case:
    return recordings.case_of(PROTOCOL, name)


def final_of(case: Case) -> Wire:
    """What `encode` has to give: the end's own response, else what the SDK had folded."""
    found: Wire = case.expected["terminal_response"] or case.expected["running_snapshot"]
    return found


each_case = pytest.mark.parametrize("name", NAMES)
each_short_case = pytest.mark.parametrize("name", SHORT)
each_policy = pytest.mark.parametrize("policy", ["lenient", "strict"])


def opened(policy: Any = "lenient", **options: Any) -> tuple[StreamStore, Any]:
    store = StreamStore(PROTOCOL, **options)
    return store, store.open(PROTOCOL, session_id="s", policy=policy)


def fed(wires: Iterable[Any], policy: Any = "lenient") -> StreamStore:
    store, stream = opened(policy)
    stream.ingest_many(wires)
    stream.end()
    return store


def again(store: StreamStore, wires: Iterable[Any], policy: Any = "lenient") -> None:
    """Another stream of the same session."""
    stream = store.open(PROTOCOL, session_id="s", policy=policy)
    stream.ingest_many(wires)
    stream.end()


def encoded(store: StreamStore) -> list[Wire]:
    store.flush()
    responses: list[Wire] = plain_json(OpenAIResponsesAdapter(Context()).encode(store))
    return responses


def without_counts(store: StreamStore) -> Wire:
    store.flush()
    state = store.state()
    del state["counts"]
    return state


def verdicts(store: StreamStore) -> Wire:
    found: Wire = store.health.counts["verdicts"]
    return found


def part(store: StreamStore, index: str, message: str = "r") -> Part:
    store.flush()
    found = store.part("s", message, index)
    assert found is not None
    return found


def text(store: StreamStore, index: str = "0/content/0", message: str = "r") -> str:
    return part(store, index, message).text


# --- wire objects ---------------------------------------------------------------------------------


def response(id: str = "r", **members: Any) -> Wire:
    return {"id": id, "object": "response", "status": "in_progress", "output": [], **members}


def wires(*events: tuple[str, Wire], start: int = 0) -> list[Wire]:
    """Events with their numbers; `response.` is left out of the types."""
    return [
        {"type": f"response.{kind}", "sequence_number": number, **copy.deepcopy(members)}
        for number, (kind, members) in enumerate(events, start=start)
    ]


CREATED = ("created", {"response": response()})


def added(item: Wire, index: int = 0) -> tuple[str, Wire]:
    return "output_item.added", {"output_index": index, "item": item}


def done(item: Wire, index: int = 0) -> tuple[str, Wire]:
    return "output_item.done", {"output_index": index, "item": item}


def message(*parts: Wire, id: str = "m", status: str = "in_progress") -> Wire:
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": list(parts),
    }


def output_text(text: str = "", **members: Any) -> Wire:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text, **members}


def at(index: int = 0, content: int = 0, item: str = "m", **members: Any) -> Wire:
    return {"item_id": item, "output_index": index, "content_index": content, **members}


def delta(text: str, **place: Any) -> tuple[str, Wire]:
    return "output_text.delta", at(delta=text, logprobs=[], **place)


def part_added(part: Wire, **place: Any) -> tuple[str, Wire]:
    return "content_part.added", at(part=part, **place)


def completed(*output: Wire, **members: Any) -> tuple[str, Wire]:
    done = response(status="completed", output=list(output), **members)
    return "completed", {"response": done}


def call(index: int = 0, **members: Any) -> Wire:
    return {
        "id": f"fc{index}",
        "type": "function_call",
        "call_id": f"c{index}",
        "name": "f",
        "arguments": "",
        **members,
    }


def argument(text: Any = "1", index: Any = 1, **members: Any) -> tuple[str, Wire]:
    place = {"item_id": f"fc{index}", "output_index": index}
    return "function_call_arguments.delta", {**place, "delta": text, **members}


HEAD = (CREATED, added(message()), part_added(output_text()))


def told(*texts: str) -> list[Wire]:
    """A response of one text, not ended."""
    return wires(*HEAD, *map(delta, texts))


def unnumbered(events: list[Wire]) -> list[Wire]:
    return [
        {name: value for name, value in wire.items() if name != "sequence_number"}
        for wire in copy.deepcopy(events)
    ]


# --- recorded responses ---------------------------------------------------------------------------


def test_all_cases_are_there() -> None:
    assert len(kept(PROTOCOL)) == 14
    assert len(NAMES) in (14, 24)
    for name in NAMES:
        case = case_of(name)
        assert len(case.wires) == case.expected["wire_events"]
        assert len(case.expected["checkpoints"]) == 3 or name in LONG


@each_case
@each_policy
def test_every_event_is_accepted_but_for_an_error_in_a_strict_stream(
    name: str, policy: Any
) -> None:
    """What the streams come to is held against the SDK in `test_oracles.py`."""
    case = case_of(name)
    store, stream = opened(policy)
    stream.feed(case.raw)
    stream.end()
    stopped = int(case.expected["error"] is not None and policy == "strict")
    expected = {"accepted": len(case.events) - stopped, "refused:stopped": stopped}
    assert verdicts(store) == {name: number for name, number in expected.items() if number}


def parts_of(store: StreamStore) -> list[Part]:
    return [part for message in store.messages("s") for part in store.parts("s", message.id)]


class Watcher:
    """Hears every tick: adds the edits up, and holds the texts against the final ones."""

    def __init__(self, store: StreamStore) -> None:
        self.store = store
        self.texts: dict[tuple[PartKey, str], str] = {}
        self.history: dict[tuple[PartKey, str], list[str]] = {}
        self.rewritten: set[str] = set()
        store.subscribe(self.hear)

    def hear(self, changes: ChangeSet) -> None:
        for gone in changes.removed:
            for field in [field for field in self.texts if field[0][: len(gone)] == gone]:
                del self.texts[field]
        for (key, field), edit in changes.text.items():
            before = self.texts.get((key, field), "")
            assert edit.start <= len(before)
            assert edit.rewritten == (edit.start < len(before))
            if edit.rewritten:
                self.rewritten.add(str(key.block_index))
            shown = before[: edit.start] + edit.text
            self.texts[key, field] = shown
            found = self.store.part(*key)
            assert found is not None and found.field_text(field) == shown
            self.history.setdefault((key, field), []).append(shown)

    def check(self, rewritten: frozenset[str] = frozenset()) -> None:
        """All is fed: every text that was shown is the start of what it ended as."""
        assert self.rewritten == rewritten
        for (key, field), shown in self.history.items():
            if str(key.block_index) not in rewritten:
                assert all(self.texts[key, field].startswith(text) for text in shown)
        shown = {
            (part.key, field): part.field_text(field)
            for part in parts_of(self.store)
            for field in ("text", *part.others)
            if part.field_text(field)
        }
        assert shown == {key: text for key, text in self.texts.items() if text}


@each_case
@pytest.mark.parametrize("delivery", ["streaming", "buffered"])
def test_shown_text_is_a_prefix_of_the_final_one_after_every_event(
    name: str, delivery: Any
) -> None:
    case = case_of(name)
    store, stream = opened(ticks="manual", delivery=delivery)
    watcher = Watcher(store)
    for number, wire in enumerate(case.events):
        stream.ingest(wire)
        if name not in LONG or number % 100 == 0:
            store.flush()
    stream.end()
    store.flush()
    watcher.check()
    assert watcher.texts or name in ("empty-text",)
    assert encoded(store) == [final_of(case)]


@each_short_case
@each_policy
def test_a_saved_state_goes_on_with_the_tail(name: str, policy: Any) -> None:
    case = case_of(name)
    expected = without_counts(fed(case.events, policy))
    for cut in sorted({*range(0, len(case.events), 9), 1, 2, len(case.events) - 1}):
        store, stream = opened(policy)
        stream.ingest_many(case.events[:cut])
        saved = json.loads(json.dumps(store.save()))
        store = StreamStore.load(saved)
        stream = store.open(PROTOCOL, session_id="s", policy=policy)
        assert stream.position.events == cut
        stream.ingest_many(case.events[cut:])
        stream.end()
        assert without_counts(store) == expected


class Counting(OpenAIResponsesAdapter):
    """Notes what takes the long way."""

    decoded: ClassVar[list[Any]] = []

    def decode(self, wire: Any) -> Any:
        self.decoded.append(wire)
        return super().decode(wire)


class Slow(OpenAIResponsesAdapter):
    """The adapter without its short way."""

    def plain(self, wire: Any) -> None:
        return None


@contextmanager
def taking(adapter: type[OpenAIResponsesAdapter]) -> Iterator[None]:
    """Streams have this adapter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(adapters(), PROTOCOL, adapter)
        yield


@each_short_case
@each_policy
@pytest.mark.parametrize("sequencing", ["sparse", "none"])
def test_the_short_way_of_a_delta_agrees_with_the_long_one(
    name: str, policy: Any, sequencing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [wire for wire in case_of(name).events for _ in range(2)]  # and with itself
    Counting.decoded.clear()
    states = []
    for cls in (Counting, Slow):
        monkeypatch.setitem(adapters(), PROTOCOL, cls)
        store = StreamStore(PROTOCOL, ticks="manual")
        stream = store.open(PROTOCOL, session_id="s", policy=policy, sequencing=sequencing)
        stream.ingest_many(copy.deepcopy(events))
        stream.end()
        store.flush()
        states.append(store.state())
    assert states[0] == states[1]
    plain = (
        "output_text.delta", "refusal.delta", "reasoning_text.delta", "summary_text.delta",
        "arguments.delta", "call_input.delta", "call_code.delta",
    )  # fmt: skip
    deltas = sum(wire.get("type", "").endswith(plain) for wire in events)
    # The first delta of each part, and each repetition, goes the long way.
    assert len(Counting.decoded) <= len(events) - deltas // 2 + 8


INPUTS = [
    *(f"response.{family}.delta" for family in (
        "function_call_arguments", "custom_tool_call_input", "mcp_call_arguments",
        "code_interpreter_call_code", "mcp_call.arguments", "code_interpreter_call.code",
    )),
    "response.mcp_call.arguments_delta",
]  # fmt: skip


def typed(kind: str, number: int, **members: Any) -> Wire:
    return {"type": kind, "sequence_number": number, **members}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("many", [False, True])
def test_inputs_of_tools_take_the_short_way(
    kind: str, loaded: bool, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(adapters(), PROTOCOL, Counting)
    store, stream = opened(ticks="manual")
    head = [*wires(CREATED), *({**typed(kind, n, **argument("{", n)[1])} for n in (1, 2))]
    stream.ingest_many([*head, *wires(delta("a"), start=3)])
    if loaded:
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        stream = store.open(PROTOCOL, session_id="s")
    Counting.decoded.clear()
    run = [typed(kind, 4 + n, **argument(f"{n},")[1]) for n in range(1000)]
    run += [
        typed(kind, 1004 + n, **argument(f"{n},", 2, obfuscation="x" * (n % 9))[1])
        for n in range(1000)
    ]
    if many:
        assert stream.ingest_many(run) == []
    else:
        assert {stream.ingest(wire).kind for wire in run} == {"accepted"}
    assert len(Counting.decoded) <= 2 * loaded  # nothing is learned of a delta that was not decoded
    # Calls and a text in turns, with ticks between them.
    for n in range(2004, 2304, 3):
        store.flush()
        calls = [typed(kind, n, **argument("x")[1]), typed(kind, n + 1, **argument("y", 2)[1])]
        stream.ingest_many([*calls, *wires(delta("a"), start=n + 2)])
    assert len(Counting.decoded) <= 3 * loaded
    whole = "".join(f"{n}," for n in range(1000))
    assert part(store, "1").field_text("input") == "{" + whole + "x" * 100
    assert part(store, "2").field_text("input") == "{" + whole + "y" * 100
    assert text(store) == "a" * 101
    assert stream._adapter.resume() == Resume("r", 2303)
    assert verdicts(store) == {"accepted": 2304}


@pytest.mark.parametrize(
    "wire",
    [
        argument(1),
        argument(None),
        argument(index=0),
        argument(index=2),
        argument(index=True),
        argument(index=1.0),
        argument(index=None),
        argument(index="1"),
        argument(index=[]),
        argument(item_id=None),
        argument(content_index=1),
        argument(unseen=None),
        argument(stream_id="lane"),
        argument(logprobs=[{}]),
        argument(obfuscation=None),
        argument(sequence_number=8),
        argument(sequence_number=6),
        argument(sequence_number=True),
        argument(sequence_number=7.0),
        argument(sequence_number=None),
        ("mcp_call_arguments.delta", argument()[1]),
        ("function_call_arguments.done", argument()[1]),
        ("function_call_arguments", argument()[1]),
    ],
    ids=str,
)
def test_an_input_with_anything_unusual_takes_the_long_way(wire: tuple[str, Wire]) -> None:
    bare = Bare()
    for earlier in wires(CREATED, added(message()), added(call(1), 1), *[argument()] * 4):
        assert bare.plain(earlier) is None or earlier["sequence_number"] > 3
        bare.take(earlier)
    usual, unusual = wires(argument(), start=7)[0], wires(wire, start=7)[0]
    before = bare.memory
    assert bare.plain(unusual) is None
    assert bare.memory == before
    assert bare.plain({**usual, "logprobs": [], "obfuscation": ""}) == (
        ("s", "r", "1", "input"), "1", 2**32 + 4 * 7,
    )  # fmt: skip


@pytest.mark.parametrize("own", [delta("o"), argument("o")])
@pytest.mark.parametrize(
    "end",
    [
        done(message(output_text("aa"))),
        done(call(1), 1),
        ("output_text.done", at(text="aa")),
        completed(),
        ("failed", {"response": response(status="failed")}),
    ],
    ids=str,
)
def test_what_comes_behind_an_end_is_the_same_the_long_way(own: Any, end: Any) -> None:
    bare, slow = Bare(), Bare()
    events = wires(*HEAD, added(call(1), 1), own, own, end, own, own, end, own)
    found = []
    for wire in events:
        found.append(bare.plain(wire))
        decoded = took(slow, wire)
        if found[-1] is None:
            assert took(bare, wire) == decoded
        assert bare.memory == slow.memory
    ends = end[0] in ("completed", "failed")
    ends |= end[1].get("output_index") == own[1]["output_index"]
    assert found[5] is not None
    assert (found[7] is None) == ends


def test_no_delta_is_like_one_of_an_input() -> None:
    """The shape has no place for them: nothing may be learned of one."""
    named = OpenAIResponsesAdapter.short.named
    assert named is not None
    for kind in INPUTS:
        wire = typed(kind, 7, **argument()[1])
        with pytest.raises(KeyError):
            wire[named(wire)]


@pytest.mark.parametrize("own", [delta("o"), argument("o")])
def test_parts_that_are_built_anew_are_so_for_every_stream(own: tuple[str, Wire]) -> None:
    """The other stream's next delta begins them, and does not go to what was fetched before."""
    states = []
    for adapter in (Counting, Slow):
        with taking(adapter):
            store, one = opened(ticks="manual")
            one.ingest(response(output=[message(output_text("he"))]))
            one.ingest_many(wires(own, own, start=5))
            other = store.open(PROTOCOL, session_id="s")
            other.ingest_many(wires(CREATED))
            Counting.decoded.clear()
            one.ingest_many(wires(*[own] * 9, start=7))
            assert len(Counting.decoded) <= 2
            index = "0/content/0" if own[1]["output_index"] == 0 else "1"
            found = part(store, index)
            assert found.text + (found.field_text("input") or "") == "o" * 9
            states.append(store.state())
    assert states[0] == states[1]


@pytest.mark.parametrize(
    ("own", "change"),
    [
        (argument("o"), added({**call(1), "type": "mcp_call"}, 1)),
        (delta("o"), added(call(0, id="m"))),
        (delta("o", content=1), part_added({"type": "refusal", "refusal": ""}, content=1)),
    ],
)
def test_a_strict_stream_stops_also_where_another_one_changed_the_item(
    own: tuple[str, Wire], change: tuple[str, Wire]
) -> None:
    for adapter in (OpenAIResponsesAdapter, Slow):
        with taking(adapter):
            store, lenient = opened(ticks="manual")
            lenient.ingest_many(wires(*HEAD, added(call(1), 1), own))
            strict = store.open(PROTOCOL, session_id="s", policy="strict")
            strict.ingest_many(wires(CREATED))
            assert strict.ingest_many(wires(*[own] * 3, start=5)) == []
            assert lenient.ingest_many(wires(change, start=8)) == []
            (stopped,) = strict.ingest_many(wires(own, start=9))
            assert stopped[1].reason == "stopped"


def test_items_that_were_forgotten_are_implied_anew_for_every_stream() -> None:
    """More responses began than are remembered with their items, while a stream stood still."""
    states = []
    for adapter in (OpenAIResponsesAdapter, Slow):
        with taking(adapter):
            store, one = opened(ticks="manual")
            one.ingest_many(wires(CREATED, argument(), argument()))
            other = store.open(PROTOCOL, session_id="s")
            other.ingest_many(wires(("failed", {"response": response(status="failed")}), start=3))
            for number in range(40):
                beginning = ("created", {"response": response(f"r{number}")})
                other.ingest_many(wires(beginning, completed(message(), id=f"r{number}")))
            one.ingest_many(wires(*[argument()] * 9, start=4))
            assert part(store, "1").field_text("input") == "1" * 11
            states.append((store.state(), store.save()))
    assert states[0] == states[1]


# --- resuming -------------------------------------------------------------------------------------


def cut_at(case: Case) -> int:
    cursor = json.loads((case.folder / "resume.json").read_bytes())["starting_after"]
    return int(cursor)


def variants() -> dict[str, bytes]:
    """The three ways a server answers a client that resumes, by the corpus's name for them."""
    case = case_of("background-resume")
    cursor = cut_at(case)
    blocks = [block + b"\n\n" for block in case.raw.split(b"\n\n")[:-1]]
    cut = {
        "first": b"".join(blocks[: cursor + 1]),
        "resume-after": b"".join(blocks[cursor + 1 :]),
        "resume-overlap": b"".join(blocks[cursor - 12 :]),
        "resume-from-zero": case.raw,
    }
    for name, data in cut.items():  # as recorded, where the recordings are there
        file = case.folder / f"{name}.sse"
        assert not file.exists() or file.read_bytes() == data
    return cut


@pytest.mark.parametrize("variant", ["resume-after", "resume-overlap", "resume-from-zero"])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_resumed_stream_ends_as_the_uninterrupted_one(variant: str, loaded: bool) -> None:
    case = case_of("background-resume")
    whole, stream = opened()
    stream.feed(case.raw)
    stream.end()
    store, stream = opened(ticks="each")
    watcher = Watcher(store)
    stream.feed(variants()["first"])
    assert stream._adapter.resume() == Resume(final_of(case)["id"], cut_at(case))
    stream.end()
    if loaded:
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="each")
    stream = store.open(PROTOCOL, session_id="s")
    assert stream._adapter.resume() == Resume(final_of(case)["id"], cut_at(case))
    stream.feed(variants()[variant])
    stream.end()
    assert encoded(store) == [final_of(case)]
    assert without_counts(store) == without_counts(whole)
    assert stream._adapter.resume() is None
    if not loaded:
        watcher.check()
    repeated = {"resume-after": 0, "resume-overlap": 13, "resume-from-zero": 60}[variant]
    assert verdicts(store).get("duplicate", 0) == repeated


def test_a_strict_stream_may_replay_but_not_begin_in_the_middle() -> None:
    """The SDK folds every stream from its start."""
    for variant, stopped in (("resume-from-zero", 0), ("resume-after", 49)):
        store, stream = opened("strict")
        stream.feed(variants()["first"])
        stream.end()
        stream = store.open(PROTOCOL, session_id="s", policy="strict")
        stream.feed(variants()[variant])
        assert verdicts(store).get("refused:stopped", 0) == stopped


@each_short_case
def test_a_replay_changes_nothing(name: str) -> None:
    case = case_of(name)
    store = fed(case.events)
    before = without_counts(store), store.version, parts_of(store)
    again(store, copy.deepcopy(case.events))
    again(store, copy.deepcopy(case.events[len(case.events) // 2 :]))
    now = without_counts(store), store.version, parts_of(store)
    assert now[:2] == before[:2]
    assert all(mine is theirs for mine, theirs in zip(now[2], before[2], strict=True))


@each_short_case
def test_each_event_may_come_twice(name: str) -> None:
    case = case_of(name)
    once, twice = fed(case.events), StreamStore(PROTOCOL, ticks="each")
    stream = twice.open(PROTOCOL, session_id="s")
    for wire in case.events:
        stream.ingest(copy.deepcopy(wire))
        version = twice.version
        if wire.get("sequence_number") is not None:
            assert stream.ingest(copy.deepcopy(wire)).kind == "duplicate"
            assert twice.version == version
    stream.end()
    assert without_counts(twice) == without_counts(once)


@each_short_case
@pytest.mark.parametrize("reach", [3, 40])
def test_events_may_come_in_any_order_once_the_response_is_known(name: str, reach: int) -> None:
    case = case_of(name)
    expected = without_counts(fed(case.events))
    chance = random.Random(reach)
    for _ in range(4):
        numbered = [wire for wire in case.events if "sequence_number" in wire]
        ends = numbered.pop()  # without its end a part has only what came so far
        order = sorted(range(1, len(numbered)), key=lambda place: place + chance.uniform(0, reach))
        shuffled = [numbered[0], *(numbered[place] for place in order), ends]
        shuffled += [wire for wire in case.events if "sequence_number" not in wire]
        assert without_counts(fed(copy.deepcopy(shuffled))) == expected


def test_the_end_may_overtake_the_last_deltas() -> None:
    case = case_of("multi-output")
    *events, end = case.events
    store = fed([*events[:-30], end, *events[-30:]])
    assert without_counts(store) == without_counts(fed(case.events))


@pytest.mark.parametrize("kind", ["failed", "incomplete", "completed"])
@pytest.mark.parametrize("output", [[], None])
def test_an_end_without_output_may_overtake_all_of_it(kind: str, output: Any) -> None:
    """It cannot prove that there was nothing."""
    *begun, last = told("Hello")
    end = wires((kind, {"response": response(status=kind, output=output)}), start=4)
    expected = without_counts(fed([*begun, last, *end]))
    for at in range(1, len(begun) + 1):
        events = [*begun, last]
        store = fed([*events[:at], *end, *events[at:]])
        assert text(store) == "Hello"
        assert without_counts(store) == expected
        assert "duplicate" not in verdicts(store)


def test_a_failure_may_overtake_what_its_output_lacks() -> None:
    first = message(output_text("one"), status="completed")
    more = (done(first), added(message(id="m2"), 1), delta("two", index=1, item="m2"))
    events = [*told("one"), *wires(*more, start=4)]
    (end,) = wires(("failed", {"response": response(status="failed", output=[first])}), start=7)
    expected = without_counts(fed([*events, end]))
    for place in range(1, len(events)):
        store = fed([*events[:place], end, *events[place:]])
        assert (text(store), text(store, "1/content/0")) == ("one", "two")
        assert without_counts(store) == expected


def test_a_live_event_that_overtakes_a_replay_is_late_and_not_double() -> None:
    events = told("one ", "two ", "three ", "four")
    store, live = opened(ticks="each")
    live.ingest_many(events[:4])
    replay = store.open(PROTOCOL, session_id="s")
    live.ingest(events[6])
    assert text(store) == "one four"
    replay.ingest_many(events)
    assert text(store) == "one two three four"
    assert verdicts(store) == {"accepted": 5, "duplicate": 5, "late": 2}


def test_the_cursor_stays_before_a_hole() -> None:
    events = told("a", "b", "c", "d")
    store, stream = opened()
    stream.ingest_many([*events[:4], *events[5:]])
    assert stream._adapter.resume() == Resume("r", 3)
    stream.ingest(events[4])
    assert stream._adapter.resume("r") == Resume("r", 6)
    assert stream._adapter.resume("another") is None
    assert text(store) == "abcd"


def test_the_cursor_passes_what_cannot_be_used() -> None:
    events = told("a", "b", "c", "d")
    events[4]["type"] = "response.of_tomorrow"
    events[5]["delta"] = 7
    store, stream = opened()
    stream.ingest_many(events[:6])
    assert stream._adapter.resume() == Resume("r", 3)
    stream.ingest(events[6])
    assert stream._adapter.resume() == Resume("r", 6)
    assert text(store) == "ad"
    assert verdicts(store) == {
        "accepted": 5,
        "malformed:delta": 1,
        "unknown:response.of_tomorrow": 1,
    }


def test_without_its_beginning_a_response_is_resumed_from_zero() -> None:
    store, stream = opened()
    stream.ingest_many(told("a", "b", "c")[3:])
    assert stream._adapter.resume() is None  # nothing said what to ask for
    stream.ingest(wires(("in_progress", {"response": response()}), start=6)[0])
    assert stream._adapter.resume() == Resume("r", None)
    (response_,) = encoded(store)
    assert response_["id"] == "r"
    assert text(store, message="local-1") == "abc"
    stream.ingest_many(told("a", "b", "c"))
    assert text(store, message="local-1") == "abc"
    assert stream._adapter.resume("r") == Resume("r", 6)


@pytest.mark.parametrize("how", ["ended", "open", "saved"])
def test_a_response_that_a_late_stream_brought_a_piece_of_is_there_once_when_it_comes_whole(
    how: str,
) -> None:
    events = told(*"abcdefgh")
    store, late = opened()
    late.ingest_many(events[5:8])
    assert text(store, message="local-1") == "cde"
    if how != "open":
        late.end()
    if how == "saved":
        store = StreamStore.load(json.loads(json.dumps(store.save())))
    whole = store.open(PROTOCOL, session_id="s")
    for event in events:  # what pads an event is another one each time
        whole.ingest({**event, "obfuscation": "x"} if "delta" in event else event)
    if how == "open":
        late.ingest_many(events[8:])
    store.flush()
    assert [message.id for message in store.messages("s")] == ["r"]
    assert text(store) == "abcdefgh"
    more = wires(delta("i"), start=len(events))[0]
    assert late.ended or late.ingest(more).kind == "accepted"
    whole.ingest(more)
    assert text(store) == "abcdefghi"


def test_a_piece_of_a_response_stays_where_only_its_item_and_its_numbers_come_again() -> None:
    store, late = opened()
    late.ingest_many(told(*"abcdefgh")[5:8])
    late.end()
    store.open(PROTOCOL, session_id="s").ingest_many(told(*"stuvwxyz"))
    assert text(store, message="local-1") == "cde"
    assert text(store) == "stuvwxyz"


# --- servers without numbers ----------------------------------------------------------------------


@each_short_case
def test_numbers_are_not_needed(name: str) -> None:
    case = case_of(name)
    assert encoded(fed(unnumbered(case.events))) == [final_of(case)]


@each_short_case
@pytest.mark.parametrize("cut", [3, 10, 10**9])
def test_an_unnumbered_replay_builds_the_parts_anew(name: str, cut: int) -> None:
    case = case_of(name)
    events = unnumbered(case.events)
    store, stream = opened(ticks="each")
    watcher = Watcher(store)
    stream.ingest_many(events[:cut])
    stream.end()
    shown = [part.text for part in parts_of(store)]
    stream = store.open(PROTOCOL, session_id="s")
    stream.ingest(events[0])
    assert [part.text for part in parts_of(store)] == shown  # until the first new part comes
    stream.ingest_many(events[1:])
    stream.end()
    assert encoded(store) == [final_of(case)]
    final = {part.key: part.text for part in parts_of(fed(events))}
    for (key, field), texts in watcher.history.items():
        if field == "text":
            assert all(final[key].startswith(text) for text in texts)


@pytest.mark.parametrize(
    "number",
    [
        lambda number: 0,
        lambda number: 1,
        lambda number: number % 4,
        lambda number: max(0, number - 4),
        lambda number: None,
        lambda number: number * 2**40,
    ],
    ids=["zeros", "ones", "restarting", "shared", "null", "beyond"],
)
def test_numbers_that_are_none_number_nothing(number: Any) -> None:
    for name in ("refusal", "text-then-refusal", "multi-output"):
        case = case_of(name)
        events = copy.deepcopy(case.events)
        for place, wire in enumerate(events):
            wire["sequence_number"] = number(place)
        store, stream = opened()
        stream.ingest_many(events[:-1])
        texts = {part.key: part.text for part in parts_of(fed(case.events[:-1]))}
        store.flush()
        assert {part.key: part.text for part in parts_of(store)} == texts
        if number(1) != 2**40:
            assert stream._adapter.resume() == Resume(final_of(case)["id"], None)
        stream.ingest(events[-1])
        assert encoded(store) == [final_of(case)]


def test_a_number_that_one_event_repeats_costs_that_event_alone() -> None:
    """As known of a server that numbers the end of every item 1."""
    case = case_of("multi-output")
    events = copy.deepcopy(case.events)
    for wire in events:
        if wire["type"] == "response.output_item.done":
            wire["sequence_number"] = 1
    assert encoded(fed(events)) == [final_of(case)]


# --- servers that leave events or members out -----------------------------------------------------


def test_a_stream_may_begin_with_a_delta() -> None:
    end = response("resp", status="completed", output=[message(output_text("Hello"))])
    events = [
        {"type": "response.output_text.delta", **at(delta="Hel")},
        {"type": "response.output_text.delta", **at(delta="lo")},
        {"type": "response.completed", "response": end},
    ]
    store, stream = opened()
    stream.ingest_many(events[:2])
    (found,) = encoded(store)
    assert found == {
        "id": "local-1",
        "object": "response",
        "output": [
            {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "status": "in_progress",
                "content": [{"type": "output_text", "text": "Hello"}],
            }
        ],
    }
    stream.ingest(events[2])
    assert encoded(store) == [end]
    (only,) = store.messages("s")
    assert (only.id, only.status, only.role) == ("local-1", "completed", "assistant")
    assert [part.block_index for part in parts_of(store)] == ["0/content/0"]
    # The name is known from now on: told again, it is the same message.
    again(store, [{"type": "response.created", "response": response("resp")}, *events])
    assert encoded(store) == [end]
    assert verdicts(store) == {"accepted": 7}


def test_openings_are_not_needed() -> None:
    case = case_of("multi-output")
    events = [wire for wire in case.events if not wire["type"].endswith(".added")]
    assert encoded(fed(events)) == [final_of(case)]
    store = fed(wire for wire in events[:-1] if not wire["type"].endswith(".done"))
    final = {part.key: (part.kind, part.text, part.order) for part in parts_of(fed(case.events))}
    mine = {part.key: (part.kind, part.text, part.order) for part in parts_of(store)}
    assert mine == final
    assert part(store, "7", final_of(case)["id"]).field_text("input").startswith('{"path"')


def test_indexes_are_not_needed() -> None:
    for name in ("multi-output", "text-then-refusal", "reasoning-empty"):
        case = case_of(name)
        events = copy.deepcopy(case.events)
        for wire in events:
            for member in ("output_index", "content_index", "summary_index"):
                wire.pop(member, None)
        assert encoded(fed(events)) == [final_of(case)]
        assert without_counts(fed(events)) == without_counts(fed(case.events))


def test_a_response_may_be_renamed_on_its_way() -> None:
    case = case_of("refusal")
    events = copy.deepcopy(case.events)
    events[-1]["response"]["id"] = "renamed"
    store = fed(events)
    assert encoded(store) == [{**final_of(case), "id": "renamed"}]
    again(store, copy.deepcopy(events))
    assert encoded(store) == [{**final_of(case), "id": "renamed"}]
    assert len(store.messages("s")) == 1


def test_an_end_without_output_keeps_what_was_streamed() -> None:
    for output in ([], None):
        case = case_of("multi-output")
        events = copy.deepcopy(case.events)
        events[-1]["response"]["output"] = output
        assert encoded(fed(events)) == [final_of(case)]


def test_raw_reasoning_may_be_announced() -> None:
    item = {"id": "rs", "type": "reasoning", "summary": [], "content": None}
    events = wires(
        CREATED,
        added(item),
        ("reasoning_part.added", at(item="rs", part={"type": "reasoning_text", "text": ""})),
        ("reasoning_text.delta", at(item="rs", delta="hm ")),
        ("reasoning_text.delta", at(item="rs", delta="yes")),
        ("reasoning_part.done", at(item="rs", part={"type": "reasoning_text", "text": "hm yes"})),
    )
    store = fed(events)
    found = part(store, "0/content/0")
    assert (found.kind, found.text, found.status) == ("reasoning", "hm yes", "closed")
    # vLLM announces it as a text; it is reasoning all the same, and nothing is said beside it.
    events[2] = wires(part_added(output_text(), item="rs"), start=2)[0]
    for each in (events, unnumbered(events)):
        (found,) = parts_of(fed(each))
        assert (found.block_index, found.kind, found.text) == ("0/content/0", "reasoning", "hm yes")


def test_a_summary_that_the_end_tells_as_a_content_is_there_once() -> None:
    """LiteLLM's bridge to Chat Completions: the thought streams as a summary, or the other way."""
    place = {"item_id": "rs", "output_index": 0}
    item = {"id": "rs", "type": "reasoning", "summary": []}
    whole = {"type": "reasoning", "id": "rs", "role": "assistant", "status": "completed"}
    end = completed({**whole, "content": [output_text("hm so")]})
    summary = "reasoning_summary_text.delta", {**place, "summary_index": 0, "delta": "hm so"}
    raw = "reasoning_text.delta", {**place, "content_index": 0, "delta": "hm so"}
    told = completed({**whole, "summary": [{"type": "summary_text", "text": "hm so"}]})
    for streamed, ended, index in ((summary, end, "summary"), (raw, told, "content")):
        for events in (wires(CREATED, added(item), streamed, ended), wires(CREATED, ended)):
            (found,) = parts_of(fed(events))
            assert (found.kind, found.text, found.status) == ("reasoning", "hm so", "closed")
        store = fed(wires(CREATED, added(item), streamed, ended))
        assert text(store, f"0/{index}/0") == "hm so"
        assert [kept["text"] for kept in encoded(store)[0]["output"][0][index]] == ["hm so"]
    # One that has both is as it says.
    both = completed({**whole, "summary": [], "content": [output_text("all of it")]})
    both[1]["response"]["output"][0]["summary"] = [{"type": "summary_text", "text": "hm so"}]
    assert len(parts_of(fed(wires(CREATED, added(item), summary, both)))) == 2


@pytest.mark.parametrize("ended", [done, completed])
def test_a_part_whose_index_counts_over_items_is_the_one_of_the_whole_item(ended: Any) -> None:
    """vLLM with Harmony: the text behind a thought has the content index 1, and is alone there."""
    whole = message(output_text("Hi you"), status="completed")
    events = wires(
        CREATED,
        added(message()),
        part_added(output_text(), content=1),
        delta("Hi ", content=1),
        delta("you", content=1),
        ended(whole),
    )
    for each in (events, unnumbered(events)):
        (found,) = parts_of(fed(each))
        assert (found.text, found.status) == ("Hi you", "closed")
        assert encoded(fed(each))[0]["output"] == [whole]


RAW = [{"type": "reasoning_text", "text": "think"}]
COUNTED = [  # what vLLM sent before it had calls: an index counts deltas, and what ends the text
    *(CREATED, added({"id": "rs", "type": "reasoning", "summary": []})),
    part_added(output_text(), item="rs"),
    ("reasoning_text.delta", at(0, 1, "rs", delta="th")),
    ("reasoning_text.delta", at(0, 2, "rs", delta="ink")),
    ("reasoning_text.done", at(0, 3, "rs", text="think")),
    done({"id": "rs", "type": "reasoning", "summary": [], "content": RAW}),
    *(added(message(), 1), part_added(output_text(), index=1)),
    *(delta(text, index=1, content=n) for n, text in enumerate(["Hi ", "", "y", "ou"], start=1)),
    ("output_text.done", at(1, 5, text="Hi you", logprobs=[])),
    ("content_part.done", at(1, 6, part=output_text("Hi you"))),
    done(message(output_text("Hi you"), status="completed"), 1),
]


@pytest.mark.parametrize("numbers", [True, False])
@pytest.mark.parametrize("cut", range(1, len(COUNTED) + 1))
def test_a_content_index_that_counts_deltas_makes_no_parts(cut: int, numbers: bool) -> None:
    events = wires(*COUNTED)
    events = events if numbers else unnumbered(events)
    store, stream = opened(ticks="each")
    seen: list[Any] = []
    for number, wire in enumerate(events):
        if number == cut:
            store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="each")
            stream = store.open(PROTOCOL, session_id="s")
        assert stream.ingest(wire).kind == "accepted"
        seen.append([(part.block_index, part.kind, part.text) for part in parts_of(store)])
    thought = ("0/content/0", "reasoning", "think")
    for step in seen[5:]:
        assert step[:1] == [thought] and len(step) <= 2
    assert [step[1][2] for step in seen[8:]] == ["", "Hi ", "Hi ", "Hi y", *["Hi you"] * 4]
    assert seen[-1] == [thought, ("1/content/0", "text", "Hi you")]
    if numbers:
        again(store, events)
        assert len(parts_of(store)) == 2


@pytest.mark.parametrize("read", range(4, 9))
def test_a_content_index_still_counts_deltas_when_the_response_was_read_meanwhile(
    read: int,
) -> None:
    pieces = [delta(text, content=n) for n, text in enumerate(["Hi ", "y", "ou"], start=1)]
    end = ("output_text.done", at(0, 4, text="Hi you", logprobs=[]))
    whole = message(output_text("Hi you"), status="completed")
    events = unnumbered(
        wires(CREATED, added(message()), part_added(output_text()), *pieces, end, done(whole))
    )
    store, stream = opened()
    stream.ingest_many(events[:read])
    so_far = "".join(piece["delta"] for _, piece in pieces[: read - 3])
    again(store, [response(status="in_progress", output=[message(output_text(so_far))])])
    stream.ingest_many(events[read:])
    store.flush()
    assert [(each.block_index, each.text) for each in parts_of(store)] == [
        ("0/content/0", "Hi you")
    ]


@pytest.mark.parametrize("numbers", [True, False])
def test_a_content_index_counts_deltas_where_the_item_tells_its_first_part(numbers: bool) -> None:
    """Tiles: no event of a part, and the first delta has the index of the part that is there."""
    pieces = [delta(text, content=n) for n, text in enumerate(["Hi ", "y", "ou"])]
    whole = message(output_text("Hi you"), status="completed")
    events = wires(CREATED, added(message(output_text())), *pieces, done(whole), start=1)
    events = events if numbers else unnumbered(events)
    for cut in range(3, 6):
        (found,) = parts_of(fed(events[:cut]))
        assert found.text == "Hi you"[: (3, 4, 6)[cut - 3]]
    (found,) = parts_of(fed(events))
    assert (found.text, found.status) == ("Hi you", "closed")


@pytest.mark.parametrize(
    "events",
    [
        [part_added(output_text(), content=1), delta("b", content=1)],  # it is announced
        [("output_text.done", at(text="a")), delta("b", content=1)],  # the one before has ended
        [("in_progress", {"response": response()}), delta("b", content=1)],  # it is not the next
        [delta("a2"), delta("b", content=1)],  # a part with two deltas
        [delta("b", content=2)],
        [("refusal.delta", at(content=1, delta="b"))],
        [("reasoning_text.delta", at(1, 1, "rs", delta="b"))],
    ],
)
def test_a_part_of_its_own_is_one(events: list[tuple[str, Wire]]) -> None:
    for each in (wires(*HEAD, delta("a"), *events), unnumbered(wires(*HEAD, delta("a"), *events))):
        if "sequence_number" not in each[0] and events[0][0] == "in_progress":
            continue  # nothing says that something was between them
        assert [part.text[:1] for part in parts_of(fed(each))] == ["a", "b"]
    # Nothing else had to come before: what announces it may be late.
    begun = wires(*HEAD, part_added(output_text(), content=1), delta("a"), delta("b", content=1))
    store = fed([*begun[:3], *begun[4:], begun[3]])
    assert [part.text for part in parts_of(store)] == ["a", "b"]
    assert without_counts(store) == without_counts(fed(begun))


THOUGHT = {"id": "rs", "type": "reasoning", "summary": []}
SUMMARY = [{"type": "summary_text", "text": "hm"}]
ONE_INDEX = [  # what a gateway sends that gives every item the output index 0
    *(CREATED, added(THOUGHT)),
    (
        "reasoning_summary_text.delta",
        {"item_id": "rs", "output_index": 0, "summary_index": 0, "delta": "hm"},
    ),
    *(added(message()), part_added(output_text()), delta("Hi "), delta("you")),
    *(done({**THOUGHT, "summary": SUMMARY}), done(message(output_text("Hi you")))),
    *(added(call(1)), ("function_call_arguments.delta", {**argument("{}")[1], "output_index": 0})),
    *(done(call(1, arguments="{}")), added(call(2)), done(call(2, arguments="[]"))),
]


@pytest.mark.parametrize("numbers", [True, False])
@pytest.mark.parametrize("cut", [None, *range(1, len(ONE_INDEX) + 1)])
def test_items_that_all_have_one_output_index_are_items_of_their_own(
    cut: int | None, numbers: bool
) -> None:
    """Bridges to Chat Completions (LiteLLM's, other gateways'), which count no items."""
    output = [{**THOUGHT, "summary": SUMMARY}, message(output_text("Hi you"))]
    output += [call(1, arguments="{}"), call(2, arguments="[]")]
    events = wires(*ONE_INDEX, completed(*output))
    events = events if numbers else unnumbered(events)
    store = fed(events[:cut])
    if cut is not None:  # a saved state goes on
        store = StreamStore.load(json.loads(json.dumps(store.save())))
        store.open(PROTOCOL, session_id="s").ingest_many(events[cut:])
    store.flush()
    assert [(part.kind, part.text) for part in parts_of(store)] == [
        *(("reasoning", "hm"), ("text", "Hi you"), ("tool", ""), ("tool", ""))
    ]
    assert encoded(store)[0]["output"] == output
    assert set(verdicts(store)) == {"accepted"}
    if numbers:
        again(store, events)
        assert len(parts_of(store)) == 4


@pytest.mark.parametrize("kept", [(0, 1, 2), (1, 0, 2), (2, 1), (1,)])
def test_an_end_with_other_ids_and_another_order_or_fewer_items_doubles_none(
    kept: tuple[int, ...],
) -> None:
    """Gateways that make the end anew: its items have other ids, and some leave thoughts out."""
    thought = {"type": "reasoning", "summary": SUMMARY}
    items = [{"id": "x0", **thought}, message(output_text("Hi"), id="x1"), {"id": "x2", **thought}]
    part = {"summary_index": 0, "delta": "hm"}
    streamed = [
        *(CREATED, added(THOUGHT), added(message(), 1), added({**THOUGHT, "id": "rt"}, 2)),
        ("reasoning_summary_text.delta", {"item_id": "rs", "output_index": 0, **part}),
        delta("Hi", index=1),
        ("reasoning_summary_text.delta", {"item_id": "rt", "output_index": 2, **part}),
    ]
    events = wires(*streamed, completed(*(items[index] for index in kept)))
    for each in (events, unnumbered(events)):
        assert [part.text for part in parts_of(fed(each))] == ["hm", "Hi", "hm"]


# --- kinds of items -------------------------------------------------------------------------------


def test_parts_and_their_kinds() -> None:
    case = case_of("multi-output")
    store = fed(case.events)
    assert [(part.block_index, part.kind, part.status) for part in parts_of(store)] == [
        ("0/summary/0", "reasoning", "closed"),
        ("1", "tool", "closed"),
        ("2/summary/0", "reasoning", "closed"),
        ("3/content/0", "text", "closed"),
        ("4", "tool", "closed"),
        ("5", "tool", "closed"),
        ("6", "tool", "closed"),
        ("7", "tool", "closed"),
        ("8/content/0", "text", "closed"),
    ]
    tools = [part.tool for part in parts_of(store) if part.tool is not None]
    assert [(tool.name, tool.status) for tool in tools] == [
        ("web_search", "completed"),
        ("code_interpreter", "completed"),
        ("lookup", "completed"),
        ("patch", "running"),
        ("f", "running"),
    ]
    assert tools[0].input == {"type": "search", "query": "reducers", "queries": ["reducers"]}
    assert tools[1].output == [{"type": "logs", "logs": "42\n"}]
    assert tools[2].output == "ok"
    assert tools[4].input["path"] == "src/été.py"
    (found,) = store.messages("s")
    assert found.info["model"] == "gpt-5-2025-08-07"
    session = store.session("s")
    assert session is not None and session.status is not None
    assert session.status.type == "idle"


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(
    "ends",
    [
        [("function_call_arguments.done", {**argument()[1], "arguments": "[1]"})],
        [done(call(1, arguments="[1]"), 1)],
        [completed(call(1, arguments="[1]"))],
    ],
)
def test_an_input_that_came_before_its_call_and_was_told_whole_lacks_nothing(
    ends: list[tuple[str, Wire]], announced: bool
) -> None:
    """Where nothing is numbered the first piece might not be the first: its whole says."""
    items = [added(call(1), 1)] if announced else []
    store, stream = opened(ticks="each")
    stream.ingest_many(unnumbered(wires(CREATED, argument("[1"), *items, argument("]"))))
    (found,) = parts_of(store)
    assert (found.field_text("input"), found.gap) == ("[1]", True)
    stream.ingest_many(unnumbered(wires(*ends)))
    (found,) = parts_of(store)
    assert (found.field_text("input"), found.gap) == ("[1]", False)
    stream.ingest_many(unnumbered(wires(completed())))
    stream.end()
    (found,) = parts_of(store)
    assert (found.field_text("input"), found.gap, found.status) == ("[1]", False, "closed")


def test_what_comes_behind_a_whole_call_is_no_more_of_it() -> None:
    begun = (CREATED, added(call(1), 1), argument("[1]"))
    store, stream = opened()
    stream.ingest_many(unnumbered(wires(*begun, done(call(1, arguments="[1]"), 1))))
    verdict = stream.ingest(unnumbered(wires(argument("more")))[0])
    assert (verdict.kind, verdict.reason) == ("refused", "sealed")
    assert part(store, "1").field_text("input") == "[1]"
    # An end that does not say what was asked leaves that open.
    bare = {name: value for name, value in call(1).items() if name != "arguments"}
    store = fed(unnumbered(wires(*begun, done(bare, 1), argument(" more"))))
    assert part(store, "1").field_text("input") == "[1] more"


THINKING = {"id": "t", "type": "reasoning", "summary": [{"type": "summary_text", "text": "think"}]}
SAID = message(output_text("hello"), status="completed")
THINKS = [
    ("reasoning_summary_text.delta", {"item_id": id, "output_index": 0, "summary_index": 0, **text})
    for id, text in (("a", {"delta": "thi"}), ("b", {"delta": "nk"}))
]
SAYS = [delta("hel"), delta("lo")]
INDEXES = ("item_id", "output_index", "summary_index", "content_index")


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("end", [(), (completed(THINKING, SAID),)])
@pytest.mark.parametrize(
    "events",
    [
        [*THINKS, *SAYS],
        [*SAYS, *THINKS],
        [THINKS[0], SAYS[0], THINKS[1], SAYS[1]],
        [*HEAD[1:], *THINKS, *SAYS],
        [*HEAD[1:], *THINKS, *SAYS, done(SAID)],
        [*THINKS, *SAYS, done(THINKING), done(SAID)],
        [*THINKS, added(message()), *SAYS],
        [
            (kind, {name: value for name, value in wire.items() if name not in INDEXES})
            for kind, wire in [*THINKS, *SAYS]
        ],
    ],
)
def test_reasoning_and_a_text_under_one_index_are_two_items(
    events: list[tuple[str, Wire]], end: tuple[Any, ...], numbered: bool
) -> None:
    """LiteLLM before its bridge announced each item: the text was shown as a thought, and again
    when the response came whole."""
    sent = wires(CREATED, *events, *end)
    sent = sent if numbered else unnumbered(sent)
    store, stream = opened(ticks="manual")
    stream.ingest_many(sent[:4])
    loaded = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    loaded.open(PROTOCOL, session_id="s").ingest_many(sent[4:])
    loaded.flush()
    stored = fed(sent)
    for told in (stored, loaded):
        found = [(part.kind, part.text) for part in parts_of(told)]
        assert sorted(found) == [("reasoning", "think"), ("text", "hello")]
    if events[0] not in SAYS:
        assert [part.kind for part in parts_of(stored)] == ["reasoning", "text"]
    again(store, sent)
    if numbered:
        assert without_counts(store) == without_counts(stored)


def test_a_text_under_the_index_of_a_call_is_an_item_of_its_own() -> None:
    end = completed(SAID, call(0, arguments="{}"))
    store = fed(wires(CREATED, *SAYS, argument("{", 0), argument("}", 0), end))
    assert [(part.kind, part.text) for part in parts_of(store)] == [("text", "hello"), ("tool", "")]
    assert part(store, "1").field_text("input") == "{}"


def test_a_part_is_of_the_item_that_it_names_wherever_that_came_to_stand() -> None:
    """It was announced at the index of a text that nothing had announced."""
    begun = part_added({"type": "reasoning_text", "text": ""}, item="t")
    thought = "reasoning_text.delta", at(item="t", delta="think")
    events = wires(CREATED, delta("hello"), added({**THINKING, "summary": []}), begun, thought)
    for each in (events, unnumbered(events)):
        found = {part.block_index: (part.kind, part.text) for part in parts_of(fed(each))}
        assert found == {"0/content/0": ("text", "hello"), "1/content/0": ("reasoning", "think")}


def test_a_part_of_a_type_that_is_unknown_does_not_say_what_its_item_is() -> None:
    events = wires(
        CREATED,
        part_added({"type": "thought", "text": ""}, item="t"),
        added({**THINKING, "summary": []}),
        THINKS[0],
    )
    assert {part.block_index for part in parts_of(fed(events))} == {"0/content/0", "0/summary/0"}


def test_parts_stand_in_order_of_the_output_whatever_came_first() -> None:
    events = wires(
        CREATED,
        *(delta(f"{index}", index=index, item=f"m{index}") for index in [12, 0, 100]),
        ("reasoning_text.delta", at(3, 0, "m3", delta="raw")),
        ("reasoning_text.delta", at(3, 1, "m3", delta="raw")),
        (
            "reasoning_summary_text.delta",
            {"item_id": "m3", "output_index": 3, "summary_index": 4, "delta": "sum"},
        ),
    )
    assert [part.block_index for part in parts_of(fed(events))] == [
        "0/content/0",
        "3/summary/4",
        "3/content/0",
        "3/content/1",
        "12/content/0",
        "100/content/0",
    ]


def test_a_refusal_is_a_text_that_says_so() -> None:
    case = case_of("text-then-refusal")
    store = fed(case.events)
    said, refused = parts_of(store)
    assert (said.kind, refused.kind) == ("text", "text")
    assert "refusal" not in said.fields and refused.fields["refusal"] is True
    assert refused.text == "resume resume tool or not order not cache"


def test_a_function_call_from_its_first_delta_to_its_result() -> None:
    call = {
        "id": "fc",
        "type": "function_call",
        "status": "in_progress",
        "arguments": "",
        "call_id": "c",
        "name": "look",
    }
    place = {"item_id": "fc", "output_index": 0}
    events = wires(
        CREATED,
        added(call),
        ("function_call_arguments.delta", {**place, "delta": '{"a": '}),
        ("function_call_arguments.delta", {**place, "delta": "[1]}"}),
        ("function_call_arguments.done", {**place, "arguments": '{"a": [1]}', "name": "look"}),
        done({**call, "arguments": '{"a": [1]}', "status": "completed"}),
    )
    store, stream = opened()
    seen = []
    for wire in events:
        stream.ingest(wire)
        store.flush()
        if parts_of(store):
            found = part(store, "0")
            tool = found.tool
            assert tool is not None and (tool.name, tool.call_id) == ("look", "c")
            seen.append((found.field_text("input"), tool.status, tool.input, found.status))
    assert seen == [
        ("", "pending", None, "open"),
        ('{"a": ', "pending", None, "open"),
        ('{"a": [1]}', "pending", None, "open"),
        ('{"a": [1]}', "running", {"a": [1]}, "open"),
        ('{"a": [1]}', "running", {"a": [1]}, "closed"),
    ]
    state = {"status": "completed", "input": {"a": [1]}, "output": "found"}
    store.apply(ToolResult(session_id="s", call_id="c", fields={"state": state}))
    found_tool = part(store, "0").tool
    assert found_tool is not None and found_tool.output == "found"
    # A replay of the end does not take the result back.
    again(store, events)
    found_tool = part(store, "0").tool
    assert found_tool is not None and found_tool.status == "completed"


@pytest.mark.parametrize(
    "arguments", ["{", "not json", '{"a": 1} x', "[" * 5000, "[" * 150 + "]" * 150]
)
def test_arguments_that_do_not_parse_stay_raw(arguments: str) -> None:
    call = {"id": "fc", "type": "function_call", "call_id": "c", "name": "f"}
    events = wires(
        CREATED, added({**call, "arguments": ""}), done({**call, "arguments": arguments})
    )
    found = part(store := fed(events), "0")
    assert found.fields["input"] == arguments
    assert found.tool is not None and found.tool.input is None
    assert encoded(store)[0]["output"] == [{**call, "arguments": arguments}]


def test_arguments_may_come_whole_with_the_item() -> None:
    call = {"id": "fc", "type": "function_call", "call_id": "c", "name": "f"}
    place = {"item_id": "fc", "output_index": 0}
    events = wires(
        CREATED,
        added({**call, "arguments": '{"a"'}),
        ("function_call_arguments.delta", {**place, "delta": ": 1}"}),
    )
    store = fed(events)
    assert part(store, "0").field_text("input") == '{"a": 1}'
    assert encoded(store)[0]["output"] == [{**call, "arguments": '{"a": 1}'}]


def test_annotations_add_up_in_their_order() -> None:
    events = told("text")
    events += wires(
        ("output_text.annotation.added", at(annotation_index=1, annotation={"n": 1})),
        ("output_text.annotation.added", at(annotation_index=0, annotation={"n": 0})),
        start=4,
    )
    store = fed(events)
    assert part(store, "0/content/0").fields["annotations"] == [{"n": 0}, {"n": 1}]
    (item,) = encoded(store)[0]["output"]
    assert item["content"] == [output_text("text", annotations=[{"n": 0}, {"n": 1}])]
    events += wires(
        ("content_part.done", at(part=output_text("text", annotations=[{"n": 7}]))), start=6
    )
    late = wires(("output_text.annotation.added", at(annotation_index=2, annotation={})), start=7)
    store = fed([*events, *late])
    assert part(store, "0/content/0").fields["annotations"] == [{"n": 7}]


@pytest.mark.parametrize("saved", [False, True])
def test_an_annotation_that_comes_first_is_no_cut(saved: bool) -> None:
    """It has no seq, but its stream counts: what is missing can be resumed, and is no gap."""
    events = told("a", "b")
    (note,) = wires(
        ("output_text.annotation.added", at(annotation_index=0, annotation={})), start=5
    )
    store, stream = opened()
    stream.ingest_many([*events[:2], note])
    if saved:
        store = StreamStore.load(json.loads(json.dumps(store.save())))
        stream = store.open(PROTOCOL, session_id="s")
    stream.end()
    assert not part(store, "0/content/0").gap
    again(store, events[2:])
    assert text(store) == "ab"
    assert not part(store, "0/content/0").gap
    assert part(store, "0/content/0").fields["annotations"] == [{}]
    without = fed(events)
    assert part(store, "0/content/0").fields["wire"] == part(without, "0/content/0").fields["wire"]


def test_progress_of_the_servers_tools() -> None:
    place = {"item_id": "i", "output_index": 0}
    for item, steps, expected in (
        ("web_search_call", ("in_progress", "searching", "completed"), "running running completed"),
        ("file_search_call", ("searching", "completed"), "running completed"),
        ("code_interpreter_call", ("in_progress", "interpreting"), "pending running"),
        ("image_generation_call", ("generating", "in_progress"), "running running"),
        ("mcp_call", ("in_progress", "failed", "completed"), "pending error completed"),
        ("mcp_list_tools", ("in_progress", "completed"), "running completed"),
    ):
        for opening in ([added({"id": "i", "type": item})], []):
            store, stream = opened()
            stream.ingest_many(wires(CREATED, *opening))
            seen = []
            for wire in wires(*((f"{item}.{step}", place) for step in steps), start=2):
                stream.ingest(wire)
                found = part(store, "0").tool
                assert found is not None
                seen.append(found.status)
            assert " ".join(seen) == expected


def test_an_image_shows_what_there_is_of_it() -> None:
    item = {"id": "ig", "type": "image_generation_call", "status": "in_progress", "result": None}
    place = {"item_id": "ig", "output_index": 0}
    events = wires(
        CREATED,
        added(item),
        (
            "image_generation_call.partial_image",
            {**place, "partial_image_index": 0, "partial_image_b64": "QQ=="},
        ),
    )
    store, stream = opened()
    stream.ingest_many(events)
    assert part(store, "0").fields["partialImage"] == {"index": 0, "b64": "QQ=="}
    ended = {**item, "status": "completed", "result": "QUJD"}
    stream.ingest(wires(done(ended), start=3)[0])
    assert part(store, "0").fields["partialImage"] is None
    assert encoded(store)[0]["output"] == [ended]
    late = {**events[2], "sequence_number": 4}
    stream.ingest(late)
    assert part(store, "0").fields["partialImage"] is None


@pytest.mark.parametrize("announced", [True, False])
def test_a_patch_streams_into_a_field(announced: bool) -> None:
    """The Python SDK has no type for these events, Vercel's client has."""
    item = {
        "id": "ap",
        "type": "apply_patch_call",
        "call_id": "c",
        "status": "in_progress",
        "operation": {"type": "update_file", "path": "a.py", "diff": ""},
    }
    place = {"item_id": "ap", "output_index": 0}
    family = "apply_patch_call_operation_diff"
    whole = {
        **item,
        "status": "completed",
        "operation": {**item["operation"], "diff": "@@\n-a\n+b"},  # type: ignore[dict-item]
    }
    events = [
        CREATED,
        *([added(item)] if announced else []),
        (f"{family}.delta", {**place, "delta": "@@\n", "obfuscation": "x"}),
        (f"{family}.delta", {**place, "delta": "-a\n"}),
        (f"{family}.delta", {**place, "delta": "+"}),
    ]
    store = fed(wires(*events))
    assert part(store, "0").field_text("diff") == "@@\n-a\n+"
    (so_far,) = encoded(store)
    assert so_far["output"][0]["operation"]["diff"] == "@@\n-a\n+"
    events.append((f"{family}.done", {**place, "diff": "@@\n-a\n+b"}))
    for more in ([], [done(whole)], [done(whole), completed(whole)]):
        for sent in (wires(*events, *more), unnumbered(wires(*events, *more))):
            store = fed(sent)
            assert part(store, "0").field_text("diff") == "@@\n-a\n+b"
            assert set(verdicts(store)) == {"accepted"}
            if more:
                assert encoded(store)[0]["output"] == [whole]
                tool = part(store, "0").tool
                assert tool is not None and tool.status == "running"
    lost = wires(*events[:-3], done(whole))
    assert part(fed(lost), "0").field_text("diff") == "@@\n-a\n+b"


def test_a_shell_call_and_what_it_prints() -> None:
    call = {
        "id": "sh",
        "type": "shell_call",
        "call_id": "c",
        "status": "in_progress",
        "action": {"commands": [], "timeout_ms": 1},
    }
    result = {"id": "so", "type": "shell_call_output", "call_id": "c", "output": []}
    events = wires(
        CREATED,
        added(call),
        ("shell_call_command.added", {"output_index": 0, "command_index": 0, "command": ""}),
        ("shell_call_command.delta", {"output_index": 0, "command_index": 0, "delta": "ls "}),
        ("shell_call_command.added", {"output_index": 0, "command_index": 1, "command": "p"}),
        ("shell_call_command.delta", {"output_index": 0, "command_index": 0, "delta": "-l"}),
        ("shell_call_command.delta", {"output_index": 0, "command_index": 1, "delta": "wd"}),
        ("shell_call_command.done", {"output_index": 0, "command_index": 0, "command": "ls -l"}),
        added(result, 1),
        (
            "shell_call_output_content.delta",
            {
                "item_id": "so",
                "output_index": 1,
                "command_index": 0,
                "delta": {"stdout": "a", "stderr": "w"},
            },
        ),
        (
            "shell_call_output_content.delta",
            {"item_id": "so", "output_index": 1, "command_index": 0, "delta": {"stdout": "b"}},
        ),
    )
    store, stream = opened()
    stream.ingest_many(events)
    assert part(store, "0").field_text("command/0") == "ls -l"
    assert part(store, "1").kind == "data"
    assert part(store, "1").field_text("stdout/0") == "ab"
    first, second = encoded(store)[0]["output"]
    assert first == {**call, "action": {"commands": ["ls -l", "pwd"], "timeout_ms": 1}}
    assert second == {**result, "output": [{"stdout": "ab", "stderr": "w"}]}
    chunks = [{"stdout": "ab", "stderr": "w", "outcome": {"type": "exit", "exit_code": 0}}]
    stream.ingest_many(
        wires(
            (
                "shell_call_output_content.done",
                {"item_id": "so", "output_index": 1, "command_index": 0, "output": chunks},
            ),
            start=11,
        )
    )
    assert encoded(store)[0]["output"][1] == {**result, "output": chunks}
    ended = [
        {**call, "status": "completed", "action": {"commands": ["ls -l", "pwd"]}},
        {**result, "status": "completed", "output": chunks},
    ]
    for wire in wires(done(ended[0]), done(ended[1], 1), start=12):
        stream.ingest(wire)
    tool = part(store, "0").tool
    assert tool is not None and (tool.status, tool.output) == ("completed", chunks)
    assert tool.input == {"commands": ["ls -l", "pwd"]}
    assert encoded(store)[0]["output"] == ended
    # The end of the response alone says the same.
    store = fed(wires(CREATED, completed(*ended)))
    tool = part(store, "0").tool
    assert tool is not None and (tool.status, tool.output) == ("completed", chunks)
    assert encoded(store)[0]["output"] == ended


@pytest.mark.parametrize("end", ["done", "item", "response", "read"])
def test_what_a_command_printed_is_whole_when_its_end_says_so(end: str) -> None:
    item = {"id": "so", "type": "shell_call_output", "call_id": "c", "output": []}
    place = {"item_id": "so", "output_index": 0, "command_index": 0}
    printed = ("shell_call_output_content.delta", {**place, "delta": {"stdout": "a", "stderr": ""}})
    store, stream = opened()
    stream.ingest_many(wires(CREATED, added(item), printed))
    chunks = [{"stdout": "ab", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]
    whole = {**item, "status": "completed", "output": chunks}
    if end == "read":
        stream.ingest(response(status="completed", output=[whole]))
    else:
        ends = {
            "done": ("shell_call_output_content.done", {**place, "output": chunks}),
            "item": done(whole),
            "response": completed(whole),
        }
        stream.ingest_many(wires(ends[end], start=4))
    found = part(store, "0")
    assert (found.field_text("stdout/0"), found.field_text("stderr/0")) == ("ab", "")
    stream.ingest({**wires(printed)[0], "sequence_number": 3})  # it is in there
    assert part(store, "0").field_text("stdout/0") == "ab"


@pytest.mark.parametrize("end", ["item", "response", "read"])
def test_the_end_of_a_shell_call_brings_the_commands_whose_events_are_lost(end: str) -> None:
    call = {"id": "sh", "type": "shell_call", "call_id": "c", "action": {"commands": []}}
    command = {"output_index": 0, "command_index": 0, "command": "l"}
    store, stream = opened()
    stream.ingest_many(wires(CREATED, added(call), ("shell_call_command.added", command)))
    whole = {**call, "status": "completed", "action": {"commands": ["ls", "pwd"]}}
    if end == "read":
        stream.ingest(response(status="completed", output=[whole]))
    else:
        stream.ingest_many(wires(done(whole) if end == "item" else completed(whole), start=9))
    fields = part(store, "0").fields
    assert (fields.get("command/0"), fields.get("command/1")) == ("ls", "pwd")
    assert encoded(store)[0]["output"] == [whole]


def test_a_call_runs_while_its_result_is_being_printed() -> None:
    call = {"id": "sh", "type": "shell_call", "call_id": "c", "status": "completed"}
    result = {"id": "so", "type": "shell_call_output", "call_id": "c", "output": []}
    printing = {**result, "status": "in_progress"}
    at_work = ("in_progress", {"response": response(output=[call, printing])})
    for events in ([CREATED, added(call), done(call), added(printing, 1)], [CREATED, at_work]):
        store, stream = opened()
        stream.ingest_many(wires(*events))
        tool = part(store, "0").tool
        assert tool is not None and tool.status != "completed" and tool.output is None
        chunks = [{"stdout": "ab", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]
        whole = {**result, "status": "completed", "output": chunks}
        stream.ingest_many(wires(done(whole, 1), start=4))
        tool = part(store, "0").tool
        assert tool is not None and (tool.status, tool.output) == ("completed", chunks)


def test_a_result_is_its_calls_whichever_comes_first() -> None:
    call = {"id": "fc", "type": "function_call", "call_id": "c", "name": "look", "arguments": ""}
    whole_call = {**call, "status": "completed", "arguments": '{"a": 1}'}
    result = {"id": "fo", "type": "function_call_output", "call_id": "c", "output": ""}
    whole_result = {**result, "status": "completed", "output": "found"}
    place = {"item_id": "fc", "output_index": 0}
    first, *events = wires(
        CREATED,
        added({**call, "status": "in_progress"}),
        ("function_call_arguments.delta", {**place, "delta": '{"a": 1}'}),
        ("function_call_arguments.done", {**place, "arguments": '{"a": 1}'}),
        done(whole_call),
        added({**result, "status": "in_progress"}, 1),
        done(whole_result, 1),
    )
    ended = without_counts(fed([first, *events]))
    for order in itertools.permutations(events):
        assert without_counts(fed([first, *order])) == ended
    # Listed before its call, with numbers and without.
    listed = wires(CREATED, done(whole_result), added(call, 1), done(whole_call, 1))
    for events in (listed, unnumbered(listed)):
        tool = part(fed(events), "1").tool
        assert tool is not None
        assert (tool.status, tool.input, tool.output) == ("completed", {"a": 1}, "found")


def test_nothing_that_was_printed_first_is_no_cut() -> None:
    place = {"item_id": "so", "output_index": 0, "command_index": 0}
    events = wires(
        CREATED,
        ("shell_call_output_content.delta", {**place, "delta": {}}),
        ("shell_call_output_content.delta", {**place, "delta": {"stdout": "a"}}),
    )
    found = part(fed(events), "0")
    assert found.field_text("stdout/0") == "a"
    assert not found.gap


def test_a_permission_is_asked_for_and_given() -> None:
    request = {
        "id": "mcpr",
        "type": "mcp_approval_request",
        "name": "drop",
        "arguments": '{"table": "t"}',
        "server_label": "db",
    }
    store, stream = opened()
    stream.ingest_many(wires(CREATED, added(request), done(request)))
    tool = part(store, "0").tool
    assert tool is not None
    assert (tool.name, tool.status, tool.input) == ("drop", "waiting", {"table": "t"})
    session = store.session("s")
    assert session is not None
    assert {key: asked.call_id for key, asked in session.permissions.items()} == {"mcpr": "mcpr"}
    assert encoded(store)[0]["output"] == [request]
    call = {"id": "mcp", "type": "mcp_call", "name": "drop", "approval_request_id": "mcpr"}
    stream.ingest_many(wires(added(call, 1), start=3))
    store.flush()
    session = store.session("s")
    assert session is not None and session.permissions == {}


def test_a_permission_may_be_given_by_an_item_of_its_own() -> None:
    request = {"id": "mcpr", "type": "mcp_approval_request", "name": "drop", "arguments": "{}"}
    reply = {"id": "x", "type": "mcp_approval_response", "approval_request_id": "mcpr"}
    store = fed(wires(CREATED, added(request), added({**reply, "approve": False}, 1)))
    session = store.session("s")
    assert session is not None and session.permissions == {}
    assert part(store, "1").kind == "data"
    assert encoded(store)[0]["output"] == [request, {**reply, "approve": False}]


def test_sound_and_its_transcript() -> None:
    events = wires(
        CREATED,
        ("audio.delta", {"delta": "QUJD"}),
        ("audio.transcript.delta", {"delta": "Hel"}),
        ("audio.delta", {"delta": "REVG"}),
        ("audio.transcript.delta", {"delta": "lo"}),
        ("audio.done", {}),
        ("audio.transcript.done", {}),
    )
    store = fed(events)
    found = part(store, "audio")
    assert (found.kind, found.text, found.field_text("data")) == ("data", "Hello", "QUJDREVG")
    assert encoded(store)[0]["output"] == []
    assert verdicts(store) == {"accepted": 7}


def test_items_of_other_types_stay_as_they_came() -> None:
    items = [
        {"id": "a", "type": "compaction", "encrypted_content": "x"},
        {"id": "b", "type": "function_call_output", "call_id": "c", "output": "y"},
        {"id": "c", "type": "of_tomorrow", "text": "z", "status": "whole", "kind": "k"},
        {"id": "d", "type": "local_shell_call", "call_id": "e", "action": {"type": "exec"}},
        {"id": "f", "type": "apply_patch_call", "call_id": "g", "operation": {"type": "new"}},
        {"id": "h", "type": "image_generation_call", "status": "failed", "error": {"message": "m"}},
        message({"type": "of_tomorrow", "n": 1}, {"type": "sound", "text": "t"}, id="i"),
        {"id": "j", "type": "message", "content": "no parts"},
    ]
    events = wires(CREATED, *(added(item, index) for index, item in enumerate(items)))
    for store in (fed(events), fed(wires(CREATED, completed(*items)))):
        assert encoded(store)[0]["output"] == items
        kinds = [part.kind for part in parts_of(store)]
        assert kinds == ["compaction", "data", "unknown", "tool", "tool", "tool", "unknown", "text"]
        tool = part(store, "5").tool
        assert tool is not None and (tool.status, tool.error) == ("error", {"message": "m"})


def test_older_spellings() -> None:
    place = {"item_id": "i", "output_index": 0}
    events = wires(
        CREATED,
        ("code_interpreter_call.code.delta", {**place, "delta": "1 + 1"}),
        ("mcp_call.arguments_delta", {**place, "output_index": 1, "delta": "{}"}),
    )
    store = fed(events)
    assert part(store, "0").field_text("input") == "1 + 1"
    assert part(store, "1").field_text("input") == "{}"


# --- how a response ends --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "members", "expected"),
    [
        ("completed", {"status": "completed"}, ("completed", None)),
        ("completed", {"status": None}, ("completed", None)),
        ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}, ("error", "incomplete")),
        ("incomplete", {"incomplete_details": {"reason": "steered"}}, ("aborted", "incomplete")),
        ("incomplete", {"incomplete_details": None}, ("error", "incomplete")),
        ("failed", {"error": {"code": "server_error", "message": "no"}}, ("error", "server_error")),
        ("failed", {"error": None}, ("error", "failed")),
        ("incomplete", {"status": "cancelled"}, ("aborted", None)),
        ("cancelled", {}, ("aborted", None)),
    ],
)  # fmt: skip
def test_how_a_response_may_end(kind: str, members: Wire, expected: tuple[str, Any]) -> None:
    call = {"id": "fc", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    end = response(**{"status": kind, **members})
    store = fed([*wires(CREATED, added(call)), *wires((kind, {"response": end}), start=2)])
    (found,) = store.messages("s")
    error = found.error
    assert (found.status, error and error["name"]) == expected
    session = store.session("s")
    assert session is not None and session.status is not None and session.status.type == "idle"
    assert len(session.errors) == (kind == "failed")
    tool = part(store, "0").tool
    assert tool is not None
    assert tool.status == ("pending" if expected[0] == "completed" else "error")


@pytest.mark.parametrize(
    ("wire", "name", "text"),
    [
        ({"type": "error", "code": "rate_limit", "message": "slow", "param": None}, "rate_limit", "slow"),
        ({"type": "error", "error": {"type": "server_error", "message": "down"}}, "server_error", "down"),
        ({"error": {"message": "down", "type": "server_error", "code": None}}, "server_error", "down"),
        ({"error": "down"}, "error", "down"),
        ({"error": {"code": 7, "message": None}}, "error", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("numbered", [False, True])
def test_an_error_closes_the_response_and_is_recorded(
    wire: Wire, name: str, text: str, numbered: bool
) -> None:
    store, stream = opened()
    events = told("so far")
    wire = {**wire, "sequence_number": 4} if numbered else wire
    stream.ingest_many([*events, wire])
    (found,) = store.messages("s")
    session = store.session("s")
    assert session is not None and session.status is not None and session.status.type == "idle"
    (error,) = session.errors
    assert found.status == "error" and found.error == error
    assert (error["name"], error["message"]) == (name, text)
    assert encoded(store)[0]["status"] == "in_progress"  # as the server said last
    # The stream broke, the response may go on: resumed, it may even complete.
    assert stream._adapter.resume() == Resume("r", 4 if numbered and "type" in wire else 3)
    whole = message(output_text("so far, so good"), status="completed")
    again(store, wires(completed(whole), start=9))
    assert store.messages("s")[0].status == "completed"
    assert encoded(store)[0]["output"] == [whole]


NAMELESS = [
    # Perplexity's, and gateways that have no response to show.
    ("failed", {"error": {"code": "rate_limited", "message": "slow"}}, "error", "rate_limited", "slow"),
    ("failed", {"error": {"message": "slow"}}, "error", "failed", "slow"),
    ("failed", {"error": "slow"}, "error", "failed", "slow"),
    ("failed", {"response": None}, "error", "failed", ""),
    # A response without its id.
    ("failed", {"response": {"error": {"code": "c", "message": "m"}}}, "error", "c", "m"),
    ("incomplete", {}, "error", "incomplete", ""),
    ("incomplete", {"response": {"incomplete_details": {"reason": "content_filter"}}}, "error", "incomplete", "content_filter"),
    ("completed", {}, "completed", None, None),
    ("completed", {"response": {"usage": {"total_tokens": 3}}}, "completed", None, None),
    ("cancelled", {}, "aborted", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "members", "status", "name", "text"), NAMELESS)
@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_an_end_that_names_no_response_is_that_of_the_one_that_runs(
    kind: str, members: Wire, status: str, name: str | None, text: str | None, numbered: bool,
    begun: bool,
) -> None:  # fmt: skip
    log = [*told("so ", "far"), *wires((kind, members), start=5)]
    log = log if begun else log[1:]
    log = log if numbered else unnumbered(log)
    store, stream = opened()
    stream.ingest_many(log)
    store.flush()
    (found,) = store.messages("s")
    (shown,) = store.parts("s", found.id)
    session = store.session("s")
    assert session is not None and session.status is not None and session.status.type == "idle"
    assert (found.status, shown.text) == (status, "so far")
    error = found.error
    assert (error and error["name"], error and error["message"]) == (name, text)
    assert len(session.errors) == (kind == "failed")
    assert "malformed" not in verdicts(store)
    assert stream._adapter.resume() is None and stream._adapter.ended()
    if not begun:
        return
    (wire,) = encoded(store)
    assert wire["id"] == "r" and wire.get("error") == (members.get("error") or wire.get("error"))
    # Sent again, on this stream and whole on another one, it says nothing new.
    before = without_counts(store)
    stream.ingest(log[-1])
    again(store, log)
    if numbered:
        again(store, log[-1:] if kind == "failed" else [])
    assert without_counts(store) == before
    # And what begins then is its own.
    again(store, wires(("created", {"response": response("r2")}), delta("b"), completed(id="r2")))
    assert [each.status for each in store.messages("s")] == [status, "completed"]


def test_a_failure_that_names_no_response_is_the_sessions_where_none_runs() -> None:
    (failed,) = wires(("failed", {"error": {"code": "auth", "message": "no key"}}))
    store = fed([failed])
    session = store.session("s")
    assert session is not None and session.errors[0]["message"] == "no key"
    assert store.messages("s") == ()
    verdict = fed([]).ingest(wires(("completed", {}))[0])
    assert (verdict.kind, verdict.detail) == (
        "malformed",
        "response.id: is missing, and no response runs",
    )
    # It fails once more, with other numbers, behind one that has ended.
    again(store, [*told("so far"), *wires(completed(), start=4)])
    again(store, [{**failed, "sequence_number": 1}])
    again(store, [*wires(("failed", {"error": {"code": "auth", "message": "no"}}), start=2)])
    session = store.session("s")
    assert session is not None and len(session.errors) == 3
    assert store.messages("s")[0].status == "completed"


@pytest.mark.parametrize("numbered", [False, True])
def test_an_end_that_names_no_response_ends_none_of_another_stream(numbered: bool) -> None:
    store, stream = opened()
    running = [*told("so "), *wires(delta("far"), completed(), start=4)]
    running = running if numbered else unnumbered(running)
    stream.ingest_many(running[:-2])
    (failed,) = wires(("failed", {"error": {"code": "auth", "message": "no key"}}))
    (ended,) = wires(("completed", {}), start=1)
    for wire in (failed, ended):
        for sent in (wire, *unnumbered([wire])):
            verdict = store.open(PROTOCOL, session_id="s").ingest(sent)
            assert verdict.kind == ("accepted" if wire is failed else "malformed")
    stream.ingest_many(running[-2:])
    store.flush()
    session, (found,) = store.session("s"), store.messages("s")
    assert session is not None and len(session.errors) == 2
    assert found.status == "completed" and not found.error
    assert "so far" in [part.text for part in store.parts("s", found.id)]


@pytest.mark.parametrize("numbered", [False, True])
def test_an_error_alone_on_a_stream_ends_no_response_of_another(numbered: bool) -> None:
    store, stream = opened()
    running = [*told("so "), *wires(delta("far"), completed(), start=4)]
    running = running if numbered else unnumbered(running)
    stream.ingest_many(running[:-2])
    failed = {"type": "error", "code": "auth", "message": "no key"}
    for sent in (failed, {**failed, "sequence_number": 0}, {"error": {"message": "no key"}}):
        assert store.open(PROTOCOL, session_id="s").ingest(sent).kind == "accepted"
    stream.ingest_many(running[-2:])
    store.flush()
    session, (found,) = store.session("s"), store.messages("s")
    assert session is not None and len(session.errors) == 3
    assert found.status == "completed" and not found.error
    assert "so far" in [part.text for part in store.parts("s", found.id)]


@pytest.mark.parametrize("how", ["its number", "what was read there"])
def test_an_error_first_on_a_stream_ends_the_response_that_it_goes_on_with(how: str) -> None:
    store, stream = opened()
    error = {"type": "error", "code": None, "message": "m", "sequence_number": 7}
    if how == "its number":
        stream.ingest_many(told("so far"))
        again(store, [error])
    else:
        again(store, [response(), error])
    assert [message.status for message in store.messages("s")] == ["error"]


def test_an_error_that_another_stream_had_told_is_a_duplicate_there_alone() -> None:
    store, stream = opened()
    error = {"type": "error", "code": None, "message": "m", "sequence_number": 4}
    stream.ingest_many([*told("so far"), error])
    assert store.open(PROTOCOL, session_id="s").ingest(error).kind == "duplicate"
    store.flush()
    assert len(store.session("s").errors) == 1  # type: ignore[union-attr]


def test_an_end_that_names_no_response_ends_the_one_that_its_number_goes_on_with() -> None:
    store, stream = opened()
    stream.ingest_many(told("so far"))
    again(store, wires(("failed", {"error": {"message": "m"}}), start=7))
    assert [message.status for message in store.messages("s")] == ["error"]


def test_a_strict_stream_refuses_an_end_that_names_no_response() -> None:
    for members, verdict in (({"error": {"message": "m"}}, "refused"), ({}, "malformed")):
        _, stream = opened("strict")
        stream.ingest_many(told("so far"))
        assert stream.ingest(wires(("failed", members), start=4)[0]).kind == verdict


def failure(number: int) -> Wire:
    return {"type": "error", "code": f"e{number}", "message": "", "sequence_number": number}


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("output", [[], [message(output_text("so far"))]])
def test_an_error_is_recorded_once_also_behind_the_end(output: list[Wire], saved: bool) -> None:
    store, stream = opened()
    events = told("so far")
    failed = wires(("failed", {"response": response(status="failed", output=output)}), start=5)
    stream.ingest_many([*events, failure(4), failure(4), *failed])
    before = without_counts(store)
    if saved:
        store = StreamStore.load(json.loads(json.dumps(store.save())))
        stream = store.open(PROTOCOL, session_id="s")
    stream.ingest_many([failure(4), failure(4)])
    assert without_counts(store) == before
    assert [error["name"] for error in before["sessions"]["s"]["errors"]] == ["e4", "failed"]
    assert verdicts(store)["duplicate"] == 3
    # One that is late is no repetition, though the end stands for its number.
    store, stream = opened()
    stream.ingest_many([*events, *failed, failure(4), failure(4)])
    session = store.session("s")
    assert session is not None
    assert [error["name"] for error in session.errors] == ["failed", "e4"]
    assert verdicts(store)["duplicate"] == 1


@pytest.mark.parametrize("number", [None, 0])
def test_errors_that_no_number_tells_apart_are_all_recorded(number: int | None) -> None:
    wire = {**failure(0), "sequence_number": number}
    store = fed([*told("so far"), *wires(completed(), start=4), wire, wire])
    session = store.session("s")
    assert session is not None and len(session.errors) == 2


def test_an_error_behind_new_text_is_no_replayed_one() -> None:
    """What was repeated before that text held for the error, too."""
    _, stream = opened()
    log = [*told("so "), *wires(delta("far "), delta("and "), delta("on"), start=4)]
    error = {"error": {"code": "overloaded", "message": "later"}}
    verdicts = [stream.ingest(wire).kind for wire in (*log[:-1], error, log[-2], log[-1], error)]
    assert verdicts[-4:] == ["accepted", "duplicate", "accepted", "accepted"]


@pytest.mark.parametrize("ended", [False, True])
def test_an_error_without_a_number_is_known_in_a_replay(ended: bool) -> None:
    log = [*told("so far"), *(wires(completed(), start=4) if ended else [])]
    error = {"error": {"code": "overloaded", "message": "later"}}
    store = fed([*log, error])
    before = without_counts(store)
    again(store, [*log, error])
    again(store, [*log[-1:], error])
    assert without_counts(store) == before
    assert verdicts(store)["duplicate"] == len(log) + 3
    # What a replay had not come to, and what fails once more where nothing is repeated.
    again(store, [log[-1], {"error": {"code": "other", "message": "later"}}])
    again(store, [error])
    session = store.session("s")
    assert session is not None
    assert [each["name"] for each in session.errors] == ["overloaded", "other", "overloaded"]


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("read", [None, "elsewhere", "there"])
def test_a_numbered_error_of_what_has_ended_is_known_alone_on_a_stream(
    read: str | None, saved: bool
) -> None:
    """An error names no response: its number and its words tell which one it is of."""
    ended = response(status="failed", output=[message(output_text("so far"))])
    log = [*told("so far"), failure(4), *wires(("failed", {"response": ended}), start=5)]
    store = fed(log if read is None else log[:-1])
    if read == "elsewhere":
        again(store, [ended])
    if saved:
        store = StreamStore.load(json.loads(json.dumps(store.save())))
    stream = store.open(PROTOCOL, session_id="s")
    if read == "there":
        stream.ingest(ended)
    before = without_counts(store)
    assert stream.ingest(failure(4)).kind == "duplicate"
    assert without_counts(store) == before
    # What is none: another number, other words, and the next event of one that runs.
    assert stream.ingest({**failure(4), "sequence_number": 1}).kind == "accepted"
    assert stream.ingest({**failure(4), "message": "later"}).kind == "accepted"
    running = wires(("created", {"response": response("r2")}), *map(delta, "abc"))
    again(store, running)
    again(store, [failure(4)])
    store.flush()
    assert store.messages("s")[-1].status == "error"


def test_a_numbered_error_of_a_later_response_is_told_in_the_same_words() -> None:
    store = fed([*told("so far"), failure(4)])
    again(store, [response(status="failed", output=[message(output_text("so far"))])])
    for number in range(2):  # it fails at once, and where it was
        again(store, [failure(number)])
    again(
        store, [*wires(("created", {"response": response("r2")}), *map(delta, "abc")), failure(4)]
    )
    session = store.session("s")
    assert session is not None
    assert [each["name"] for each in session.errors] == ["e4", "failed", "e0", "e1", "e4"]


def test_an_error_with_more_than_json_is_malformed() -> None:
    verdict = fed(told("so far")).ingest({"error": {"code": "e", "at": date(2026, 1, 2)}})
    said = "must be JSON, not date: dump it before"
    assert (verdict.kind, verdict.detail) == ("malformed", f"at: {said}")


def test_an_error_without_a_response_is_the_sessions() -> None:
    store = fed([{"type": "error", "code": None, "message": "no key", "sequence_number": 0}])
    session = store.session("s")
    assert session is not None and session.errors[0]["message"] == "no key"
    assert store.messages("s") == ()
    assert encoded(store) == []


def test_a_clean_end_of_the_stream_is_no_end_of_the_response() -> None:
    store = fed(case_of("cut-before-completed").events)
    (found,) = store.messages("s")
    assert found.status == "open"
    assert store.health.gaps == ()  # nothing is known to be missing: it can be resumed
    session = store.session("s")
    assert session is not None and session.status is not None and session.status.type == "busy"


# --- several responses ----------------------------------------------------------------------------


def test_responses_of_one_session_stand_in_order_of_arrival() -> None:
    store, stream = opened()
    for name in ("refusal", "done-sentinel", "multi-output"):
        stream.feed(case_of(name).raw)  # on one stream, as over a WebSocket
    finals = [final_of(case_of(name)) for name in ("refusal", "done-sentinel", "multi-output")]
    assert encoded(store) == finals
    for name in ("multi-output", "refusal"):
        stream.feed(case_of(name).raw)
    assert encoded(store) == finals
    assert set(verdicts(store)) == {"accepted", "duplicate"}


def test_a_response_that_is_fetched_later_stands_where_it_was_made() -> None:
    store, stream = opened()
    stream.ingest({**response("b", status="completed"), "created_at": 20})
    stream.ingest({**response("d", status="completed"), "created_at": 40})
    stream.ingest({**response("a", status="completed"), "created_at": 10})
    stream.ingest({**response("c", status="completed"), "created_at": 30.5})
    stream.ingest({**response("e", status="completed"), "created_at": "soon"})
    assert [found["id"] for found in encoded(store)] == ["a", "b", "c", "d", "e"]


def test_a_response_follows_the_one_it_answers() -> None:
    store = fed(wires(("created", {"response": response(previous_response_id="q")})))
    assert store.messages("s")[0].parent_id == "q"


def test_lanes_of_one_stream_are_told_apart() -> None:
    store, stream = opened(ticks="each")
    lanes = {lane: told(lane, "-", lane) for lane in ("a", "b", "")}
    for place in range(6):
        for lane, events in lanes.items():
            wire = {**events[place]}
            if lane:
                wire["stream_id"] = lane
            if place == 0:
                wire["response"] = response(f"r{lane}")
            stream.ingest(wire)
    assert [text(store, message=f"r{lane}") for lane in lanes] == ["a-a", "b-b", "-"]


def test_two_streams_of_one_session_keep_to_their_responses() -> None:
    store, first = opened()
    second = store.open(PROTOCOL, session_id="s")
    mine, theirs = told("a", "b"), told("x", "y")
    theirs[0]["response"]["id"] = "other"
    for wire, other in zip(mine, theirs, strict=True):
        first.ingest(wire)
        second.ingest(other)
    assert (text(store), text(store, message="other")) == ("ab", "xy")


def test_the_session_is_busy_while_its_latest_response_runs() -> None:
    store, stream = opened()
    states = []

    def take(kind: str, id: str, number: int) -> None:
        wire = wires((kind, {"response": response(id, status=kind)}), start=number)[0]
        stream.ingest(wire)
        store.flush()
        session = store.session("s")
        assert session is not None and session.status is not None
        states.append(session.status.type)

    take("created", "a", 0)
    take("created", "b", 0)
    take("completed", "a", 1)
    take("completed", "b", 1)
    take("created", "b", 0)  # again
    assert states == ["busy", "busy", "busy", "idle", "idle"]


def test_other_sessions_have_their_own_memory() -> None:
    store = StreamStore(PROTOCOL)
    for session_id in ("s", "t"):
        stream = store.open(PROTOCOL, session_id=session_id)
        stream.ingest_many(told("a"))
        stream.end()
    assert [store.messages(sid)[0].id for sid in ("s", "t")] == ["r", "r"]
    assert verdicts(store) == {"accepted": 8}


def sample(created: float, *texts: str, ends: bool = True) -> list[Wire]:
    """A whole answer under the usual id, made at a time."""
    begun = ("created", {"response": response(created_at=created)})
    whole = message(output_text("".join(texts)), status="completed")
    end = completed(whole, created_at=created)
    return wires(begun, *HEAD[1:], *map(delta, texts), *([end] if ends else []))


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("ended", ["", "end", "error"])
def test_an_id_that_is_begun_again_at_another_time_is_another_answer(
    same: bool, ended: str
) -> None:
    """A gateway that asks once more under its own id: two answers were mixed, by their numbers."""
    first = sample(1, "Hello ", "wor", ends=ended == "end")
    if ended == "error":
        first.append({"type": "error", "sequence_number": 5, "message": "overloaded"})
    store, stream = opened(ticks="manual")
    stream.ingest_many(first)
    if not same:
        stream = store.open(PROTOCOL, session_id="s")
    told = sample(2, "Hi ", "there ", "friend")
    seen = []
    for wire in told:
        stream.ingest(wire)
        store.flush()
        shown = store.part("s", "r", "0/content/0")
        seen.append("" if shown is None else shown.text)
    assert seen[:3] == ["Hello wor", "", ""]
    assert seen[3:] == ["Hi ", "Hi there ", "Hi there friend", "Hi there friend"]
    store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    before = without_counts(store)
    again(store, told)
    assert without_counts(store) == before and text(store) == "Hi there friend"
    (one,) = store.messages("s")
    assert one.status == "completed" and not part(store, "0/content/0").gap


def test_a_response_that_says_again_that_it_was_created_goes_on() -> None:
    """With a number of its own, or at the time that it was: nothing of it comes again."""
    begun = sample(1, "a", ends=False)
    later = {**begun[0], "response": response(created_at=2), "sequence_number": 4}
    store = fed([*begun, later, begun[0], *wires(delta("b"), start=5)])
    assert text(store) == "ab"


def test_a_stray_repetition_does_not_take_a_stream_to_another_response() -> None:
    store, stream = opened()
    mine, theirs = told("a", "b"), told("x", "y")
    theirs[0]["response"]["id"] = "other"
    theirs[1]["item"]["id"] = "n"
    for wire in theirs[2:]:
        wire["item_id"] = "n"
    stream.ingest_many([*mine, *theirs[:4], mine[0], mine[4], theirs[4]])
    assert (text(store), text(store, message="other")) == ("ab", "xy")
    # What goes on after its repetition does: a whole replay on the same stream.
    stream.ingest_many([*mine, *wires(delta("c"), delta("d"), start=5)])
    assert (text(store), text(store, message="other")) == ("abcd", "xy")


def another(*texts: str) -> list[Wire]:
    """A response with the id `other` whose item is `n`."""
    found = told(*texts)
    found[0]["response"]["id"] = "other"
    found[1]["item"]["id"] = "n"
    for wire in found[2:]:
        wire["item_id"] = "n"
    return found


@pytest.mark.parametrize("cuts", [(4, 5), (5, 4), (5, 5)])
@pytest.mark.parametrize("swapped", [False, True])
def test_saved_streams_go_on_with_whichever_response_they_are_given(
    cuts: tuple[int, int], swapped: bool
) -> None:
    store, first = opened()
    mine, theirs = told(*"abcd"), another(*"wxyz")
    first.ingest_many(mine[: cuts[0]])
    store.open(PROTOCOL, session_id="s").ingest_many(theirs[: cuts[1]])
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    streams = [store.open(PROTOCOL, session_id="s") for _ in range(2)]
    if swapped:
        streams.reverse()
    for stream, rest in zip(streams, (mine[cuts[0] :], theirs[cuts[1] :]), strict=True):
        stream.ingest_many(rest)
    assert (text(store), text(store, message="other")) == ("abcd", "wxyz")
    assert verdicts(store) == {"accepted": len(mine) + len(theirs)}


@pytest.mark.parametrize("known", [1, 2, 3, 4])
def test_a_replay_that_goes_on_is_its_response_on_a_stream_that_was_in_another(known: int) -> None:
    store, stream = opened()
    stream.ingest_many(told(*"abcdef"))
    again(store, another("x", "y")[:known])
    stream.ingest_many(another("x", "y"))
    assert (text(store), text(store, message="other")) == ("abcdef", "xy")


def test_an_item_id_that_two_responses_have_does_not_take_a_stream_to_the_older_one() -> None:
    """Servers that count the items of each response anew, and send no event of an item."""
    store = fed(told("a", "b"))
    bare = wires(("created", {"response": response("new")}), delta("x"), delta("y"))
    again(store, bare)
    again(store, [{k: v for k, v in wire.items() if k != "sequence_number"} for wire in bare])
    assert (text(store), text(store, message="new")) == ("ab", "xy")


def test_other_peoples_messages_are_no_responses() -> None:
    store = fed(told("answer"))
    store.apply(MessageOpened(session_id="s", message_id="u", role="user", local=True))
    store.apply(BlockDelta(session_id="s", message_id="u", block_index=0, text="question"))
    (only,) = encoded(store)
    assert only["id"] == "r"


# --- whole responses ------------------------------------------------------------------------------


@each_short_case
def test_a_whole_response_is_taken_in_as_its_end(name: str) -> None:
    final = final_of(case_of(name))
    if final["status"] == "in_progress":
        return
    store = fed([final])
    assert encoded(store) == [final]
    assert detect(final) is OpenAIResponsesAdapter
    streamed = fed(case_of(name).events)
    mine, theirs = without_counts(store), without_counts(streamed)
    assert mine["sessions"] == {
        "s": {key: value for key, value in theirs["sessions"]["s"].items() if key != "status"}
    }
    # Its events, told from the start, say nothing new.
    again(store, case_of(name).events)
    assert without_counts(store) == mine


@pytest.mark.parametrize("cut", [4, 30, 60])
def test_a_fetched_response_repairs_a_stream_that_was_cut(cut: int) -> None:
    case = case_of("background-resume")
    store = fed(case.events[:cut])
    again(store, [final_of(case)])
    assert encoded(store) == [final_of(case)]
    again(store, case.events[cut:])
    assert encoded(store) == [final_of(case)]
    assert verdicts(store)["duplicate"] == len(case.events) - cut


@pytest.mark.parametrize("number", [2, None])
def test_a_fetched_end_counts_for_more_than_an_error_in_the_stream(number: int | None) -> None:
    store, stream = opened()
    stream.ingest_many(wires(CREATED, added(message())))
    stream.ingest({"type": "error", "code": None, "message": "lost", "sequence_number": number})
    whole = response(status="completed", output=[message(output_text("a"), status="completed")])
    for _ in range(2):
        stream.ingest(whole)
        store.flush()
        found = store.message("s", "r")
        assert found is not None and (found.status, found.error) == ("completed", None)
        assert text(store) == "a"


def test_a_fetched_failure_without_output_does_not_stand_for_its_stream() -> None:
    failed = response(status="failed", error={"code": "server_error", "message": "no"})
    store = fed([failed, *told("Hello")])
    assert text(store) == "Hello"
    (found,) = store.messages("s")
    session = store.session("s")
    assert found.status == "error" and session is not None and len(session.errors) == 1
    assert encoded(store) == encoded(fed([*told("Hello"), failed]))
    store = fed([*told("Hel"), failed, *wires(delta("lo"), start=4)])
    assert text(store) == "Hello"
    assert encoded(store)[0]["status"] == "failed"


def test_a_response_in_progress_shows_what_there_is_of_it() -> None:
    partial = response(output=[message(output_text("so"))])
    store = fed([partial])
    assert encoded(store) == [partial]
    assert text(store) == "so"
    session = store.session("s")
    assert session is not None and session.status is not None and session.status.type == "busy"
    # Fetched again it is longer; an older one does not cut it.
    again(store, [response(output=[message(output_text("so far"))])])
    assert text(store) == "so far"
    again(store, [response(output=[message(output_text("so "))])])
    assert text(store) == "so far"


def test_a_stream_after_a_fetched_response_does_not_double_it() -> None:
    store = fed([response(output=[message(output_text("so "))])])
    watcher = Watcher(store)
    stream = store.open(PROTOCOL, session_id="s")
    assert stream._adapter.resume() == Resume("r", None)
    for wire in told("so ", "far"):
        stream.ingest(wire)
        store.flush()
    assert text(store) == "so far"
    assert watcher.texts[PartKey("s", "r", "0/content/0"), "text"] == "so far"
    assert stream._adapter.resume() == Resume("r", 4)


@pytest.mark.parametrize("between", range(8))
def test_a_replay_from_the_start_brings_again_what_came_behind_a_fetched_state(
    between: int,
) -> None:
    """One stream follows what was fetched, another is sent all of it while the first goes on."""
    events = told("h", "e", "l", "l", "o")
    store = fed([response(output=[message(output_text("he"))])])
    first, second = (store.open(PROTOCOL, session_id="s") for _ in range(2))
    first.ingest_many(events[5:7])
    store.flush()
    assert text(store) == "hell"
    assert {verdict.kind for verdict in map(second.ingest, events[:between])} <= {"accepted"}
    first.ingest(events[7])
    for wire in events[between:]:
        second.ingest(wire)
    store.flush()
    assert text(store) == "hello"
    assert not store.health.gaps


def test_a_replay_of_a_fetched_response_tells_its_error_once_and_stays_the_older_one() -> None:
    events = told("h", "e", "l")
    error = wires(("error", {"code": "x", "message": "boom", "param": None}), start=len(events))
    error = [{**wire, "type": "error"} for wire in error]
    store = fed([response(output=[message(output_text("h"))])])
    first, other, second = (store.open(PROTOCOL, session_id="s") for _ in range(3))
    first.ingest_many([*events[4:], *error])
    other.ingest_many(wires(("created", {"response": response("later")})))
    second.ingest_many([*events, *error])
    store.flush()
    session = store.session("s")
    assert session is not None and len(session.errors) == 1
    assert second._adapter.resume() == Resume("later", 0)
    assert session.status is not None and session.status.type == "busy"


def test_a_fetched_response_does_not_disturb_its_own_stream() -> None:
    events = told("so ", "far")
    store, stream = opened()
    stream.ingest_many(events[:4])
    stream.ingest(response(output=[message(output_text("so f"))]))
    stream.ingest(events[4])
    assert text(store) == "so far"
    stream.ingest_many(wires(completed(message(output_text("so far"))), start=5))
    stream.ingest(response(output=[message(output_text("so"))]))  # an old answer
    assert text(store) == "so far"
    assert store.messages("s")[0].status == "completed"


# --- strict ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "events",
    [
        [delta("x")],
        [("in_progress", {"response": response()})],
        [("of_tomorrow", {})],
        [*HEAD, ("in_progress", {"response": response("other")})],
        [*HEAD, ("created", {"response": response("other")})],
        [*HEAD, added(message())],
        [*HEAD, delta("x", index=1)],
        [*HEAD, delta("x", content=1)],
        [*HEAD, ("output_text.done", at(content=1, text=""))],
        [*HEAD, part_added({"type": "refusal", "refusal": ""}, content=1), delta("x", content=1)],
        [*HEAD, ("function_call_arguments.delta", {"output_index": 0, "delta": "{"})],
        [*HEAD, ("function_call_arguments.delta", {"output_index": 4, "delta": "{"})],
        [*HEAD, part_added(output_text(), index=2)],
        [*HEAD, done(message(id="other"))],
        [*HEAD, done(call())],
        [*HEAD, done(message()), added(message(), 1), done(message(), 1)],
        [*HEAD, completed()],
        [*HEAD, completed(message(id="other"))],
        [*HEAD, added(call(), 1), completed(message())],
        [*HEAD, ("in_progress", {"response": response(output=[call(), call(id="x")])})],
        [*HEAD, ("in_progress", {"response": response(), "error": {"message": "no"}})],
    ],
    ids=str,
)
def test_strict_stops_at_what_the_sdk_refuses(events: list[tuple[str, Wire]]) -> None:
    *before, _ = events
    store, stream = opened("strict")
    seen = [stream.ingest(wire) for wire in wires(*before)]
    assert {verdict.kind for verdict in seen} <= {"accepted"}
    expected = without_counts(store)
    number = len(before) or 1  # 0 is for an event that begins
    verdict = stream.ingest(wires(events[-1], start=number)[0])
    assert (verdict.kind, verdict.reason) == ("refused", "stopped")
    assert stream.ingest(wires(delta("later"), start=number + 1)[0]).reason == "stopped"
    assert without_counts(store) == expected
    # A lenient stream goes on.
    store, stream = opened()
    stream.ingest_many(wires(*before))
    verdict = stream.ingest(wires(events[-1], start=number)[0])
    assert verdict.kind in ("accepted", "unknown")


def test_strict_takes_what_the_sdk_takes() -> None:
    events = wires(
        *HEAD,
        ("of_tomorrow", {}),
        ("created", {"response": response()}),
        added(call(id=None), 7),
        ("output_item.added", {"output_index": 9, "item": None}),
        ("reasoning_text.delta", at(3, delta="nobody minds")),
        done(call(id="fc"), 7),
        done(call(8), 8),
        delta("x"),
        completed(message(), call(id="fc"), call(8)),
    )
    store = fed(events, "strict")
    assert verdicts(store) == {"accepted": len(events) - 1, "unknown:response.of_tomorrow": 1}


# --- detection, bounds, odd text ------------------------------------------------------------------


def test_recorded_streams_are_recognised() -> None:
    for name in NAMES:
        case = case_of(name)
        assert detect(case.events[0]) is OpenAIResponsesAdapter
        for wire in case.events[1:]:
            assert detect(wire) in (OpenAIResponsesAdapter, None)
    store = StreamStore()
    stream = store.open(session_id="s")
    stream.feed(case_of("refusal").raw)
    assert stream.protocol == PROTOCOL
    assert encoded(store) == [final_of(case_of("refusal"))]


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        "response.created",
        {},
        {"type": "response.created"},
        {"type": "response.created", "event_id": "e", "response": {"object": "realtime.response"}},
        {"type": "response.output_text.delta", "event_id": "e", "output_index": 0},
        {"type": "error", "error": {"type": "overloaded_error"}},
        {"type": "error", "errorText": "no"},
        {"type": "message_start", "message": {}},
        {"type": "start", "messageId": "m"},
        {"type": "text-delta", "id": "t", "delta": "x"},
        {"type": "RUN_STARTED", "threadId": "t", "runId": "r"},
        {"type": "block.delta", "sessionId": "s", "sequence_number": 1},
        {"object": "chat.completion.chunk", "id": "c", "choices": []},
        {"object": "response"},
        {"type": ["response.created"]},
    ],
)
def test_other_protocols_are_not_claimed(wire: Any) -> None:
    assert OpenAIResponsesAdapter.detects(wire) is False


class Bare:
    """An adapter without a store: what it makes of wire objects, and what it remembers."""

    def __init__(self, strict: bool = False) -> None:
        ids = iter(range(10**9))
        self.context = Context(session_id="s", strict=strict, new_id=lambda: f"new-{next(ids)}")
        self.adapter = OpenAIResponsesAdapter(self.context)

    @property
    def memory(self) -> str:
        return json.dumps([self.context.own, self.context.shared], sort_keys=True)

    def take(self, wire: Any) -> list[Event]:
        return list(self.adapter.decode(wire))

    def plain(self, wire: Any) -> Any:
        try:
            return self.adapter.plain(wire)
        except (KeyError, TypeError, AttributeError):
            return None


def test_memory_does_not_grow_with_deltas() -> None:
    bare = Bare()
    for wire in told(*"abcdefghij"):
        bare.take(wire)
    before = len(bare.memory)
    for number in range(13, 2000):
        wire = wires(delta("more"), start=number)[0]
        assert bare.plain(wire)[:2] == (PartKey("s", "r", "0/content/0"), "more")
    assert len(bare.memory) <= before + 3


def test_memory_of_responses_holes_and_lanes_is_bounded() -> None:
    bare = Bare()
    for number in range(1200):
        item = message(output_text("x"))
        end = response(f"r{number}", status="completed", output=[item])
        for wire in wires(("created", {"response": response(f"r{number}")})):
            bare.take({**wire, "stream_id": f"lane{number}"})
        for wire in wires(added(item), ("completed", {"response": end}), start=1):
            bare.take({**wire, "stream_id": f"lane{number}"})
    responses = bare.context.of_session()["responses"]
    assert len(responses) == 1024
    assert sum(bool(entry["items"]) for entry in responses.values()) == 32
    assert len(bare.context.own["lanes"]) == 32
    bare = Bare()
    bare.take(told()[0])
    for number in range(2, 2000, 2):
        bare.take(wires(delta("x"), start=number)[0])
    assert len(bare.context.of_session()["responses"]["r"]["starts"]) == 256
    for number in range(2001, 4000, 2):
        bare.take(failure(number))
    assert len(bare.context.of_session()["responses"]["r"]["errors"]["starts"]) == 256


def test_a_forgotten_response_is_still_known_by_its_numbers() -> None:
    store, stream = opened()
    events = [*told("a", "b"), *wires(completed(message(output_text("ab"))), start=5)]
    stream.ingest_many(events)
    for number in range(100):
        stream.ingest({**response(f"x{number}", status="completed")})
    before = without_counts(store)
    again(store, events)
    assert without_counts(store) == before
    assert verdicts(store)["duplicate"] == len(events)


def test_log_probabilities_are_taken_from_the_end() -> None:
    events = told("a", "b", "c")
    events[5]["logprobs"] = [{"token": "b", "logprob": -1}]
    end = output_text("abc", logprobs=[{"token": "abc", "logprob": -3}])
    store, stream = opened()
    stream.ingest_many(events)
    assert text(store) == "abc"
    stream.ingest_many(wires(("content_part.done", at(part=end)), start=7))
    assert encoded(store)[0]["output"][0]["content"] == [end]


def test_a_command_of_any_number_costs_nothing() -> None:
    place = {"output_index": 0, "command_index": 2**62}
    shell = {"id": "sh", "type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}}
    store = fed(wires(CREATED, ("shell_call_command.delta", {**place, "delta": "x"}), done(shell)))
    assert part(store, "0").fields["command/0"] == "ls"


def test_halves_of_a_character_meet_and_lone_ones_stay() -> None:
    store, stream = opened()
    stream.ingest_many(told("a\ud83d", "\ude00b", "\ud800", "c"))
    assert text(store) == "a\U0001f600b\ufffdc"
    (item,) = encoded(store)[0]["output"]
    assert item["content"][0]["text"] == "a\U0001f600b\ud800c"
    place = {"item_id": "fc", "output_index": 1}
    stream.ingest_many(
        wires(
            ("function_call_arguments.delta", {**place, "delta": '"\ud83d'}),
            ("function_call_arguments.delta", {**place, "delta": '\ude00"'}),
            start=7,
        )
    )
    assert encoded(store)[0]["output"][1]["arguments"] == '"\U0001f600"'


def test_ids_of_ours_are_made_for_valid_events_only() -> None:
    bare = Bare()
    for wire in wires(delta(7), ("output_item.added", {"output_index": 0, "item": None})):  # type: ignore[arg-type]
        try:
            assert bare.take(wire) == []
        except MalformedEvent:
            pass
    assert bare.take(wires(delta("x"), start=5)[0])[0].message_id == "new-0"  # type: ignore[attr-defined]


# --- hostile input --------------------------------------------------------------------------------

RECORDED = [wire for name in SHORT for wire in case_of(name).events[:60]]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["m", "r", "message", "output_text", "\ud83d", "completed", "in_progress"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from("id type item part output content text delta status".split())
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A recorded event with members gone or replaced at any depth."""
    wire = copy.deepcopy(draw(st.sampled_from(RECORDED)))
    for _ in range(draw(st.integers(0, 3))):
        holders = [value for value in containers(wire) if value]
        if not holders:
            break
        holder = draw(st.sampled_from(holders))
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = draw(st.sampled_from(keys))
        if draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = draw(ANYTHING)
    return wire


@st.composite
def hostile(draw: st.DrawFn) -> list[Any]:
    """A run of one recorded response with mutations, repetitions and strangers in it."""
    events = copy.deepcopy(case_of(draw(st.sampled_from(SHORT))).events)
    start = draw(st.integers(0, 3))
    run = events[start : start + draw(st.integers(1, 30))] + events[-1:]
    for _ in range(draw(st.integers(1, 8))):
        run.insert(draw(st.integers(0, len(run))), draw(mutated() | ANYTHING))
    return run


def took(bare: Bare, wire: Any) -> Any:
    """What became of a wire object; the memory is as it was when it was nothing."""
    before = bare.memory
    try:
        return bare.take(copy.deepcopy(wire))
    except (MalformedEvent, UnknownEvent, RepeatedEvent, ProtocolStopped) as error:
        assert bare.memory == before
        return type(error)


@given(hostile(), st.booleans())
def test_whatever_comes_gives_events_or_one_of_four_errors(run: list[Any], strict: bool) -> None:
    bare = Bare(strict)
    for wire in run:
        took(bare, wire)
        assert OpenAIResponsesAdapter.detects(wire) in (True, False)
        bare.plain(wire)


@given(hostile(), st.sampled_from(["lenient", "strict"]), st.integers(0, 40))
def test_a_store_survives_whatever_comes(run: list[Any], policy: Any, cut: int) -> None:
    """And goes on from a saved state as if nothing had been."""
    whole, stream = opened(policy, ticks="each")
    for wire in run:
        stream.ingest(copy.deepcopy(wire))
    stream.end()
    encoded(whole)
    store, stream = opened(policy)
    stream.ingest_many(copy.deepcopy(run[:cut]))
    if policy == "strict" and stream._ingress.stopped:
        return
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    stream = store.open(PROTOCOL, session_id="s", policy=policy)
    stream.ingest_many(copy.deepcopy(run[cut:]))
    stream.end()
    assert without_counts(store) == without_counts(whole)


@given(hostile())
def test_numbered_events_are_taken_in_once_whatever_is_between_them(run: list[Any]) -> None:
    """The short way and the long one agree on what was there before, in any company."""
    bare, slow = Bare(), Bare()
    for wire in run:
        plain = bare.plain(wire)
        decoded = took(slow, wire)
        if plain is None:
            assert took(bare, wire) == decoded
        else:
            (event,) = decoded
            assert isinstance(event, BlockDelta)
            key = PartKey("s", event.message_id, event.block_index)
            assert plain[0] == (key if event.field == "text" else (*key, event.field))
            assert plain[1:] == (event.text, event.seq)
        assert bare.memory == slow.memory


HEADS = [
    CREATED,
    added(message()),
    part_added(output_text()),
    added(call(1), 1),
    added({**call(2), "type": "custom_tool_call", "input": ""}, 2),
    argument(),
    ("custom_tool_call_input.delta", argument("2", 2)[1]),
    delta("a"),
]
#: What may come between inputs, and what they may be. The first are what usually comes.
PIECES: list[Any] = [
    argument(),
    ("custom_tool_call_input.delta", argument("2", 2)[1]),
    argument("\ud83d", obfuscation="x"),
    argument("\ude00"),
    delta("a"),
    delta("a", index=False),
    argument(index=3),
    argument(""),
    argument(item_id="other"),
    ("mcp_call_arguments.delta", argument()[1]),
    ("mcp_call.arguments_delta", argument("3", 3)[1]),
    ("code_interpreter_call_code.delta", argument("4", 3)[1]),
    argument(logprobs=[]),
    argument(unseen=1),
    argument(stream_id="lane"),
    argument(error={"message": "no"}),
    argument(5),
    argument(index=True),
    argument(index=1.0),
    argument(index=None),
    argument(index=-1),
    argument(item_id=None),
    argument(obfuscation=5),
    ("function_call_arguments.done", {**argument()[1], "arguments": "11"}),
    ("custom_tool_call_input.done", {**argument("", 2)[1], "input": "whole"}),
    added(call(1), 1),
    added({**call(1), "type": "mcp_call"}, 1),
    added(message(id="m1"), 1),
    done({**call(1), "arguments": "11"}, 1),
    done(message(output_text("aa"))),
    ("output_text.done", at(text="aa")),
    CREATED,
    ("in_progress", {"response": response(output=[call(1)])}),
    ("created", {"response": response("r2")}),
    ("created", {"response": response(), "stream_id": "lane"}),
    completed(message(output_text("aa")), call(1)),
    completed(),
    ("failed", {"response": response(status="failed")}),
    ("of_tomorrow", {}),
    ("error", {"type": "error", "message": "no"}),
    ("whole", response(output=[call(1)])),
    ("whole", response(output=[call(1)], status="completed")),
    ("whole", "text"),
]


@st.composite
def lives(draw: st.DrawFn) -> list[Any]:
    """Runs of events for one of two streams, ticks and saves between them.

    Most numbers go on; some repeat the last one, leave one out, are none, or repeat everything.
    """
    number = 0
    sent: list[Any] = []
    steps: list[Any] = []
    if draw(st.integers(0, 3)):
        sent = wires(*HEADS)
        steps, number = [(0, sent)], len(sent)
    piece = st.integers(0, 4) | st.integers(0, 4) | st.integers(0, len(PIECES) - 1)
    odds = st.sampled_from([1] * 9 + [0, 2, None])
    for _ in range(draw(st.integers(0, 12))):
        if draw(st.integers(0, 5)) == 0:
            steps.append(draw(st.sampled_from(["flush", "save"])))
            continue
        batch: list[Any] = []
        for _ in range(draw(st.integers(1, 4))):
            kind, members = PIECES[draw(piece)]
            step = draw(odds)
            for _ in range(draw(st.sampled_from([1, 1, 2, 6]))):
                if kind == "whole":
                    batch.append(members)
                    continue
                wire = {"type": f"response.{kind}", "sequence_number": number, **members}
                if step is None:
                    del wire["sequence_number"]
                else:
                    wire["sequence_number"] = max(number + step - 1, 0)
                    number += step
                batch.append(wire)
        if draw(st.integers(0, 9)) == 0:
            batch = [*sent, *batch]
        sent = [*sent, *batch]
        steps.append((draw(st.sampled_from([0, 0, 0, 1])), batch))
    return steps


def lived(adapter: type[OpenAIResponsesAdapter], steps: list[Any], options: Wire) -> Any:
    """What a store with an adapter says of each event, and what it is in the end."""
    told: list[Any] = []
    with taking(adapter):
        store, stream = opened(ticks="manual", **options)
        streams = [stream, store.open(PROTOCOL, session_id="s")]
        for step in [*steps, "flush"]:
            if step == "save":
                saved = json.loads(json.dumps(store.save()))
                told.append(merged(saved))
                store = StreamStore.load(saved, ticks="manual")
                streams = [store.open(PROTOCOL, session_id="s") for _ in streams]
            elif step == "flush":
                store.flush()
                told.append((store.state(), store.health.resume))
            else:
                number, batch = step
                told.append(streams[number].ingest_many(copy.deepcopy(batch)))
                told.append([stream._adapter.resume() for stream in streams])
    return told, merged(store.save())


@settings(max_examples=200)
@given(lives(), st.sampled_from(["lenient", "strict"]), st.sampled_from(["streaming", "buffered"]))
def test_a_store_is_the_same_whether_the_short_way_is_taken_or_not(
    steps: list[Any], policy: str, delivery: str
) -> None:
    options = {"policy": policy, "delivery": delivery}
    assert lived(OpenAIResponsesAdapter, steps, options) == lived(Slow, steps, options)


@pytest.mark.parametrize("odd", [{"x": 10**5000}, {"x": date(2026, 1, 1)}, {3: 1}])
def test_a_programs_own_object_that_is_no_json_text_raises_nothing_where_events_are_told_apart(
    odd: dict[Any, Any],
) -> None:
    store, stream = opened(ticks="manual")
    for number in (5, 6):
        first = {"type": "response.output_text.delta", "sequence_number": number, "item_id": "m"}
        place = {"output_index": 0, "content_index": 0, "delta": str(number)}
        assert stream.ingest({**first, **place, **odd}).kind == "accepted"
    again = store.open(PROTOCOL)
    named = {"id": "r", "object": "response", "status": "in_progress", "output": []}
    again.ingest({"type": "response.created", "sequence_number": 0, "response": named})
    assert again.ingest({**first, **place, "sequence_number": 1, **odd}).kind == "accepted"
    for _ in range(2):
        verdict = again.ingest({"error": {"message": "no", **odd}})
        assert verdict.kind == ("accepted" if odd == {"x": 10**5000} else "malformed")
