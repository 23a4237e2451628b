"""The Chat Completions adapter: recorded streams against the SDK's own snapshots, odd servers, replays.

What the SDK made of each stream is recorded beside it (`tests/data/openai-chat/README.md`). With
`STREAMSTORE_CORPORA` set, or a folder of corpora beside the checkout, the other cases are read too.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import recordings
from hypothesis import given, settings
from hypothesis import strategies as st
from one_stream import merged
from recordings import Case, folders, kept, plain_json

from streamstore import ChangeSet, PartKey, StreamStore
from streamstore.adapters.base import Context, PlainDelta
from streamstore.adapters.openai_chat import OpenAIChatAdapter
from streamstore.adapters.openai_chat import adapter as openai_chat
from streamstore.errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from streamstore.events import (
    BlockDelta,
    BlockRemoved,
    Event,
    MessageRemoved,
    MessageUpdated,
    encode_event,
)
from streamstore.model import thaw
from streamstore.protocols import adapters, detect
from streamstore.verdicts import ACCEPTED, DUPLICATE

Wire = dict[str, Any]

LONG = ("long-text-20k", "long-tool-args-3k")
CORPUS = 35
NAMES = list(folders("openai-chat"))
SHORT = [name for name in NAMES if name not in LONG]


def case_of(name: str) -> Case:
    return recordings.case_of("openai-chat", name)


each_case = pytest.mark.parametrize("name", NAMES)
each_short_case = pytest.mark.parametrize("name", SHORT)
each_policy = pytest.mark.parametrize("policy", ["lenient", "strict"])


def raising(error: BaseException, subscription: Any) -> None:
    raise error  # what a test's subscriber asserts is not to be reported and forgotten


def opened(policy: Any = "lenient", **options: Any) -> tuple[StreamStore, Any]:
    store = StreamStore("openai-chat", **{"ticks": "manual", "on_error": raising, **options})
    return store, store.open("openai-chat", session_id="s", policy=policy)


def fed(*wires: Any, policy: Any = "lenient") -> StreamStore:
    store, stream = opened(policy)
    stream.ingest_many(wires)
    store.flush()
    return store


def encoded(store: StreamStore) -> list[Wire]:
    store.flush()
    completions: list[Wire] = plain_json(OpenAIChatAdapter(Context()).encode(store))
    return completions


def message_of(store: StreamStore, choice: int = 0) -> Wire:
    message: Wire = encoded(store)[0]["choices"][choice]["message"]
    return message


def state_of(store: StreamStore) -> Wire:
    store.flush()
    state = store.state()
    del state["counts"]
    return state


def parts_of(store: StreamStore, message_id: str = "c") -> dict[Any, Any]:
    store.flush()
    return {part.block_index: part for part in store.parts("s", message_id)}


# --- wire objects ---------------------------------------------------------------------------------


def chunk(delta: Any = None, finish: Any = None, index: Any = 0, id: Any = "c", **top: Any) -> Wire:
    choice = {"index": index, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {
        "id": id,
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **top,
    }


def begin(id: Any = "c", **top: Any) -> Wire:
    return chunk({"role": "assistant", "content": ""}, id=id, **top)


def call(index: Any = 0, arguments: Any = None, name: Any = None, **members: Any) -> Wire:
    function = {}
    if name is not None:
        function["name"] = name
    if arguments is not None:
        function["arguments"] = arguments
    return {"index": index, **members, "function": function}


def calling(*calls: Wire, finish: Any = None, **top: Any) -> Wire:
    return chunk({"tool_calls": list(calls)}, finish, **top)


def without(wire: Wire, *names: str) -> Wire:
    return {name: value for name, value in wire.items() if name not in names}


# --- the corpus -----------------------------------------------------------------------------------


def test_no_case_is_lost() -> None:
    assert len(kept("openai-chat")) == 18
    assert len(NAMES) in (18, CORPUS)
    assert len(MADE) == 62


@each_case
@each_policy
def test_every_chunk_is_accepted_but_for_an_error_in_a_strict_stream(
    name: str, policy: Any
) -> None:
    """What the streams come to is held against the SDK in `test_oracles.py`."""
    case = case_of(name)
    assert case.expected["checkpoints"] or name in LONG
    store = StreamStore("openai-chat")
    stream = store.open("openai-chat", policy=policy)
    stream.feed(case.raw)
    stream.end()
    verdicts = store.health.counts["verdicts"]
    error = case.expected["error"]
    if error is not None and policy == "strict":
        assert error["at_wire_event"] == verdicts["accepted"]
        assert verdicts["refused:stopped"] == 1  # the error; after it nothing is taken in
    else:
        assert verdicts == {"accepted": len(case.events)}


MADE = [
    json.loads(line)
    for line in (recordings.DATA / "openai-chat" / "made.jsonl").read_bytes().decode().split("\n")
    if line
]


def made_chunks(made: Wire) -> list[Wire]:
    """The chunks of a made-up stream; what all of them say is not written down."""
    same = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return [wire if "error" in wire else {**same, **wire} for wire in made["chunks"]]


@pytest.mark.parametrize("number", range(len(MADE)))
def test_a_made_up_stream_ends_as_in_the_official_client(number: int) -> None:
    """Calls, texts and ends in any order: above all, which nulls the snapshot has."""
    made = MADE[number]
    chunks = made_chunks(made)
    store, stream = opened("strict")
    verdicts = [stream.ingest(wire) for wire in chunks]
    assert encoded(store) == [made["snapshot"]]
    stopped = [place for place, verdict in enumerate(verdicts) if verdict.reason == "stopped"]
    assert stopped[:1] == ([] if made["refused"] is None else [made["refused"]])
    replayed = StreamStore("openai-chat", ticks="each", on_error=raising)
    Watcher(replayed)
    for _ in range(2):
        stream = replayed.open("openai-chat", policy="strict")
        stream.ingest_many(chunks)
        stream.end()
    assert encoded(replayed) == [made["snapshot"]]


@pytest.mark.parametrize("number", range(len(MADE)))
def test_the_short_ways_agree_with_the_long_one_on_made_up_streams(number: int) -> None:
    adapter = OpenAIChatAdapter(Context(session_id="s"))
    longer = LongWay(Context(session_id="s"))
    for wire in made_chunks(MADE[number]):
        assert_ways_agree(adapter, longer, wire)


@each_short_case
def test_what_the_official_client_skips_brings_nothing(name: str) -> None:
    case = case_of(name)
    adapter = OpenAIChatAdapter(Context())
    decoded = [
        number
        for number, wire in enumerate(case.wires)
        if wire != "[DONE]" and not adapter.decode(wire)
    ]
    skipped = set(case.expected["skipped_wire_events"])
    # Beside those, a text of "" changes nothing where the text has begun.
    assert skipped <= set(decoded)
    for number in set(decoded) - skipped:
        (choice,) = case.wires[number]["choices"]
        assert not any(choice["delta"].values())


def test_an_error_ends_what_is_open_and_keeps_its_text() -> None:
    case = case_of("error-midstream")
    store, stream = opened()
    stream.ingest_many(case.events)
    stream.end()
    store.flush()
    session = store.session("s")
    (message,) = store.messages("s")
    assert message.status == "error"
    assert message.error["message"] == "The server had an error"
    assert session is not None and session.errors[0]["name"] == "server_error"
    assert session.errors[0]["data"] == case.expected["error"]["body"]
    (part,) = store.parts("s", message.id)
    assert part.text == case.expected["snapshot"]["choices"][0]["message"]["content"]
    assert not part.gap  # the server said that it ends here


def test_a_stream_that_is_cut_leaves_a_gap() -> None:
    case = case_of("cut-before-finish")
    store, stream = opened()
    stream.ingest_many(case.events)
    store.flush()
    assert not store.health.gaps
    stream.end()
    store.flush()
    (message,) = store.messages("s")
    assert message.status == "open"
    assert [gap.block_index for gap in store.health.gaps] == ["content"]


@each_short_case
def test_its_first_event_tells_the_protocol(name: str) -> None:
    case = case_of(name)
    assert detect(case.wires[0]) is OpenAIChatAdapter
    store = StreamStore("auto")
    store.feed(case.raw)
    default = store._default
    assert default is not None and default.protocol == "openai-chat"


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        [1],
        {},
        {"object": "chat.completion.chunk"},
        {"object": "list", "data": []},
        {"object": "list", "data": [{"object": "model"}]},
        {"object": "response", "choices": []},
        {"object": ["chat.completion"], "choices": []},
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "t"},
        {"type": "message_start", "message": {}},
        {"type": "response.created", "sequence_number": 0, "response": {}},
        {"type": "start"},
        {"type": "RUN_STARTED", "threadId": "t", "runId": "r"},
        {"error": {"message": "m"}},
        {"choices": []},
        {"choices": [{"delta": {}}, {"text": "t"}]},
        {"choices": [{"delta": "t"}]},
        {"type": "chunk", "choices": [{"delta": {}}]},
    ],
)
def test_other_protocols_are_not_taken_for_it(wire: Any) -> None:
    assert not OpenAIChatAdapter.detects(wire)


# --- at every tick --------------------------------------------------------------------------------


class Watcher:
    """Hears every tick: edits add up to the text, which only grows unless a rewrite is said."""

    def __init__(self, store: StreamStore) -> None:
        self.store = store
        self.texts: dict[tuple[PartKey, str], str] = {}
        self.seen: dict[tuple[PartKey, str], list[str]] = {}
        self.rewritten = 0
        for session_id in store.session_ids():
            for message in store.messages(session_id):
                for part in store.parts(session_id, message.id):
                    self.texts[part.key, "text"] = part.text
        store.subscribe(self.hear)

    def hear(self, changes: ChangeSet) -> None:
        for gone in changes.removed:
            for place in [place for place in self.texts if place[0][: len(gone)] == gone]:
                del self.texts[place]
        for (key, field), edit in changes.text.items():
            before = self.texts.get((key, field), "")
            assert edit.start <= len(before)
            assert edit.rewritten == (edit.start < len(before))
            self.rewritten += edit.rewritten
            text = self.texts[key, field] = before[: edit.start] + edit.text
            self.seen.setdefault((key, field), []).append(text)
            part = self.store.part(*key)
            assert part is not None and part.field_text(field) == text


@each_short_case
def test_what_is_shown_is_always_the_start_of_the_final_text(name: str) -> None:
    case = case_of(name)
    store, stream = opened(ticks="each")
    watcher = Watcher(store)
    stream.ingest_many(case.events)
    assert watcher.rewritten == 0
    for (key, field), texts in watcher.seen.items():
        part = store.part(*key)
        assert part is not None
        assert all(part.field_text(field).startswith(text) for text in texts)
    for choice in case.expected["snapshot"]["choices"]:
        finals = {texts[-1] for texts in watcher.seen.values()}
        assert not choice["message"].get("content") or choice["message"]["content"] in finals


@each_short_case
def test_the_bytes_may_be_cut_anywhere(name: str) -> None:
    case = case_of(name)
    whole, stream = opened()
    stream.feed(case.raw)
    whole.flush()
    for size in (1, 7, 4096) if len(case.raw) < 10_000 else (7, 4096):
        store, stream = opened()
        for start in range(0, len(case.raw), size):
            stream.feed(case.raw[start : start + size])
        store.flush()
        assert store.state() == whole.state()
        assert store.health.counts == whole.health.counts


@each_short_case
def test_buffered_delivery_ends_in_the_same_state(name: str) -> None:
    case = case_of(name)
    streamed, stream = opened(ticks="each")
    stream.ingest_many(case.events)
    stream.end()
    store, stream = opened(ticks="each", delivery="buffered")
    watcher = Watcher(store)
    stream.ingest_many(case.events)
    stream.end()
    store.flush()
    assert state_of(store) == state_of(streamed)
    if len(case.expected["snapshot"]["choices"]) == 1:
        assert all(len(texts) == 1 for texts in watcher.seen.values())


# --- saved states ---------------------------------------------------------------------------------


@each_short_case
def test_a_saved_state_and_the_rest_are_the_whole(name: str) -> None:
    case = case_of(name)
    chunks = case.events
    whole, stream = opened()
    stream.ingest_many(chunks)
    final = state_of(whole)
    counts = whole.health.counts["verdicts"]
    for cut in sorted({0, 1, 2, 3, len(chunks) // 2, len(chunks) - 1, len(chunks)}):
        store, stream = opened()
        stream.ingest_many(chunks[:cut])
        saved = json.loads(json.dumps(store.save()))
        loaded = StreamStore.load(saved, ticks="manual")
        stream = loaded.open("openai-chat", session_id="s")
        stream.ingest_many(chunks[cut:])
        assert state_of(loaded) == final, cut
        assert loaded.health.counts["verdicts"] == counts
        assert encoded(loaded) == encoded(whole)


@each_short_case
def test_memory_is_plain_json_and_the_adapter_knows_nothing_else(name: str) -> None:
    """A new adapter on the same memory after every chunk decodes as the one that went through."""
    chunks = case_of(name).events
    own: Wire = {}
    shared: dict[str, Wire] = {}
    one = OpenAIChatAdapter(Context(session_id="s"))
    for wire in chunks:
        own, shared = json.loads(json.dumps([own, shared]))
        other = OpenAIChatAdapter(Context(session_id="s", own=own, shared=shared))
        assert plain(one, wire) == plain(other, wire)
        assert events(one, wire) == events(other, wire)


def test_memory_does_not_grow_with_the_text() -> None:
    own: Wire = {}
    shared: dict[str, Wire] = {}
    adapter = OpenAIChatAdapter(Context(own=own, shared=shared))
    adapter.decode(begin())
    sizes = []
    for number in range(300):
        adapter.decode(chunk({"content": "text"}))
        adapter.decode(calling(call(0, "1", "f", id="x")))
        logprobs = {"content": [{"token": "t", "logprob": -1.0}], "refusal": None}
        wire = chunk({"content": "a", "mood": "b", "beats": {"n": [number]}})
        wire["choices"][0]["logprobs"] = logprobs
        adapter.decode(wire)
        sizes.append(len(json.dumps([own, shared])))
    assert len(set(sizes[1:])) == 1


def test_memory_of_finished_completions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_chat, "REMEMBERED", 20)
    own: Wire = {}
    shared: dict[str, Wire] = {}
    adapter = OpenAIChatAdapter(Context(own=own, shared=shared))
    for number in range(200):
        adapter.decode(begin(f"c{number}"))
        adapter.decode(calling(call(0, "1", "f", id="x"), id=f"c{number}"))
        adapter.decode(chunk({}, "stop", id=f"c{number}"))
    memory = shared["main"]
    assert len(memory["known"]) == 20
    assert len(memory["open"]) == openai_chat._OPEN
    assert len(own["ids"]) == openai_chat._STREAM_IDS
    assert "c199" in memory["open"] and "c199" in memory["known"]


# --- the short ways -------------------------------------------------------------------------------


def plain(adapter: OpenAIChatAdapter, wire: Any) -> PlainDelta | None:
    try:
        return adapter.plain(wire)
    except (KeyError, TypeError, AttributeError):
        return None


def events(adapter: OpenAIChatAdapter, wire: Any) -> list[Wire]:
    return [encode_event(event) for event in adapter.decode(wire)]


def assert_is_the_delta(found: PlainDelta, decoded: Any) -> None:
    """What is plain is what `decode` says: one delta."""
    (event,) = decoded
    assert isinstance(event, BlockDelta)
    key = PartKey("s", event.message_id, event.block_index)
    assert found == (key if event.field == "text" else (*key, event.field), event.text, None)


class LongWay(OpenAIChatAdapter):
    """The adapter without its short ways."""

    def _usual(self, wire: Any) -> Any:
        return None


@each_case
def test_the_short_ways_agree_with_the_long_one(name: str, monkeypatch: Any) -> None:
    case = case_of(name)
    store, stream = opened()
    stream.ingest_many(case.events)
    monkeypatch.setattr("streamstore.pipeline.adapter_named", lambda name: LongWay)
    longer, stream = opened()
    assert isinstance(stream._adapter, LongWay)
    stream.ingest_many(case.events)
    store.flush(), longer.flush()
    assert store.state() == longer.state()


@each_case
def test_what_is_plain_decodes_to_the_same_delta(name: str) -> None:
    case = case_of(name)
    adapter = OpenAIChatAdapter(Context(session_id="s"))
    short = 0
    for wire in case.events[:2000]:
        found = plain(adapter, wire)
        memory = copy.deepcopy((adapter._own, adapter._session))
        if found is not None:
            short += 1
            assert_is_the_delta(found, adapter.decode(wire))
            assert (adapter._own, adapter._session) == memory
        elif wire.get("object") != "":
            adapter.decode(wire)
    text = sum(
        len(choice["message"].get("content") or "")
        for choice in case.expected["snapshot"]["choices"]
    )
    if text > 60 and name not in ("text-logprobs", "choices-in-one-chunk"):
        assert short > min(len(case.events), 2000) // 4


FIRST, SECOND = call(0, "{", "f", id="x"), call(1, "{", "g", id="y")
TEXT, MORE = chunk({"content": "a"}), calling(call(0, "1"))
CUSTOM = {"index": 0, "id": "x", "custom": {"name": "f", "input": ""}}
WHOLE = {
    **chunk(object="chat.completion"),
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "tool_calls": [FIRST]},
            "finish_reason": "tool_calls",
        }
    ],
}


@pytest.mark.parametrize(
    "wires",
    [
        [TEXT, TEXT, calling(FIRST), TEXT, calling(SECOND), TEXT, TEXT],
        [calling(FIRST), calling(SECOND), TEXT, calling(call(0, "1")), TEXT, TEXT],
        [TEXT, calling(FIRST), calling(call(0, "1")), chunk({}, "stop"), TEXT, TEXT],
        [calling(FIRST), chunk({}, "stop"), TEXT, TEXT, calling(call(0, "1"))],
        [calling(FIRST), calling(SECOND), *[calling(call(n, "1")) for n in (0, 0, 1, 1, 0)]],
        [calling(FIRST), calling(call(1, "1", id="x")), *[calling(call(n, "1")) for n in (1, 0)]],
        [
            calling(FIRST, SECOND),
            TEXT,
            calling(call(0, "1")),
            calling(without(call(0, "2"), "index")),
        ],
        [calling(call(0, None, "f", id="x")), TEXT, *[calling(call(n, "1")) for n in (0, 0)]],
        [
            calling(FIRST),
            TEXT,
            calling(call(1, "", id="x")),
            calling(call(0, "1")),
            calling(without(call(0, "2"), "index")),
        ],
        # What a fragment is the first to say: an index, that it is a function, the client's end.
        [*[calling(without(call(0, text, "f", id="x"), "index")) for text in "{1"], MORE, MORE],
        [calling(CUSTOM), calling({"index": 0, "custom": {"input": "1"}}), MORE, MORE],
        [WHOLE, chunk({"refusal": "r"}), MORE, MORE, calling(call(0, "1", "f", id="x"))],
        [chunk({"role": "assistant", "refusal": None}), chunk({"content": "a", "refusal": ""})],
    ],
)
def test_the_short_ways_agree_where_calls_and_texts_alternate(wires: list[Wire]) -> None:
    adapter = OpenAIChatAdapter(Context(session_id="s"))
    longer = LongWay(Context(session_id="s"))
    first = chunk({"role": "assistant", "content": "-"})
    for wire in [first, {**chunk(), "choices": []}, *wires]:
        assert_ways_agree(adapter, longer, wire)


@pytest.mark.parametrize(
    "wire",
    [
        chunk({"content": "t"}, "stop"),
        chunk({"content": "t"}, usage={"total_tokens": 1}),
        chunk({"content": "t"}, system_fingerprint="other"),
        chunk({"content": "t"}, error={"message": "m"}),
        chunk({"content": "t"}, id="other"),
        chunk({"content": "t"}, object="chat.completion"),
        chunk({"content": "t"}, index=True),
        chunk({"content": "t"}, index=1),
        chunk({"content": "t"}, index=0.0),
        chunk({"content": ""}),
        chunk({"content": 1}),
        chunk({"refusal": "t"}),
        chunk({"content": "t", "reasoning": "r"}),
        chunk({"content": "t", "unseen": None}),
        chunk({"content": "t", "role": 1}),
        chunk({"content": "t"}, finish=0),
        {**chunk({"content": "t"}), "choices": []},
        {**chunk(), "choices": [{"index": 0, "delta": {"content": "t"}, "logprobs": {}}]},
        {**chunk(), "choices": [{"index": 0, "delta": []}]},
        {**chunk(), "choices": "c"},
        {**chunk(), "choices": [{"index": [], "delta": {}}]},
        [],
        "text",
    ],
)
def test_anything_unusual_takes_the_long_way(wire: Any) -> None:
    adapter = OpenAIChatAdapter(Context())
    for earlier in (begin(), chunk({"content": "a"})):
        adapter.decode(earlier)
    assert plain(adapter, chunk({"content": "t"})) is not None
    assert plain(adapter, chunk({"content": "t", "role": "assistant", "content_": None})) is None
    assert plain(adapter, chunk({"content": "t", "role": "assistant"})) is not None
    assert plain(adapter, wire) is None


CALLED = [begin(), TEXT, calling({**FIRST, "type": "function"}), MORE]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"id": "x", "type": "function", "name": "f"},
        {"id": "", "type": "", "name": ""},
        {"id": None, "type": None, "name": None},
    ],
)
@pytest.mark.parametrize("beside", [{}, {"role": "assistant", "content": None}, {"content": ""}])
def test_arguments_take_the_short_way_whatever_they_repeat(members: Wire, beside: Wire) -> None:
    adapter = OpenAIChatAdapter(Context(session_id="s"))
    longer = LongWay(Context(session_id="s"))
    wire = chunk({**beside, "tool_calls": [call(0, "1", **members)]})
    if members.get("name", "") is None:
        wire["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] = None
    for earlier in CALLED:
        assert_ways_agree(adapter, longer, earlier)
    assert plain(adapter, wire) == (("s", "c", "tool:0", "input"), "1", None)
    assert_ways_agree(adapter, longer, wire)


@pytest.mark.parametrize(
    "calls",
    [
        [],
        {"0": call(0, "1")},
        [call(0, "1"), call(0, "2")],
        [call(0, "")],
        [call(0)],
        [call(0, 1)],
        [call(1, "1")],
        [call(True, "1")],
        [call(0.0, "1")],
        [call(None, "1")],
        [call("0", "1")],
        [without(call(0, "1"), "index")],
        [call(0, "1", id="y")],
        [call(0, "1", id=1)],
        [call(0, "1", "g", id="y")],
        [call(0, "1", "g")],
        [call(0, "1", type="custom")],
        [call(0, "1", type=0)],
        [call(0, "1", unseen=None)],
        [call(0, "1", custom=None)],
        [{"index": 0, "custom": {"input": "1"}}],
        [{"index": 0, "function": {"arguments": "1", "unseen": ""}}],
        [{"index": 0, "function": None}],
        [{"index": 0, "function": ["1"]}],
        [["function"]],
        ["1"],
        "1",
        1,
    ],
)
def test_arguments_with_anything_unusual_take_the_long_way(calls: Any) -> None:
    adapter = OpenAIChatAdapter(Context(session_id="s"))
    longer = LongWay(Context(session_id="s"))
    for earlier in CALLED:
        assert_ways_agree(adapter, longer, earlier)
    assert plain(adapter, MORE) is not None
    wire = chunk({"tool_calls": calls})
    assert plain(adapter, wire) is None
    assert_ways_agree(adapter, longer, wire)
    assert_ways_agree(adapter, longer, MORE)


def test_arguments_of_a_call_that_an_older_stream_began_stop_where_the_client_does() -> None:
    """A lenient stream takes calls of any index; the official client has them in a list."""
    shared: dict[str, Wire] = {}
    lenient = OpenAIChatAdapter(Context(session_id="s", shared=shared))
    for wire in (begin(), TEXT, calling(call(5, "{", "f", id="x"))):
        lenient.decode(wire)
    strict = OpenAIChatAdapter(Context(session_id="s", shared=shared, strict=True))
    for wire in (TEXT, TEXT):
        strict.decode(wire)
    assert plain(strict, TEXT) is not None
    assert plain(strict, calling(call(5, "1"))) is None
    assert run(strict, calling(call(5, "1"))) == "ProtocolStopped"


def test_no_delta_is_like_one_of_arguments() -> None:
    """The shape has no place for them: nothing may be learned of one."""
    assert OpenAIChatAdapter.short.named is not None
    with pytest.raises(TypeError):
        OpenAIChatAdapter.short.named(MORE)


class Counting(OpenAIChatAdapter):
    """Notes what takes the long way."""

    decoded: ClassVar[list[Any]] = []

    def decode(self, wire: Any) -> Any:
        self.decoded.append(wire)
        return super().decode(wire)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("loaded", [False, True])
def test_arguments_take_the_short_way_of_a_store(
    many: bool, loaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(adapters(), "openai-chat", Counting)
    store, stream = opened()
    stream.ingest_many(CALLED)
    if loaded:
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        stream = store.open("openai-chat", session_id="s")
    Counting.decoded.clear()
    wires = [calling(call(0, f"{number},")) for number in range(1000)]
    # The other call's first fragments, and then of each the first behind a text or a tick.
    wires += [calling(SECOND), *[calling(call(1, str(number))) for number in range(1000)]]
    if many:
        assert stream.ingest_many(wires) == []
    else:
        assert {stream.ingest(wire) for wire in wires} == {ACCEPTED}
    assert len(Counting.decoded) <= 3 + loaded
    for _ in range(100):
        store.flush()
        stream.ingest_many([calling(call(1, "2")), TEXT, calling(call(1, "3"))])
    assert len(Counting.decoded) <= 5 + loaded
    inputs = {key: part.field_text("input") for key, part in parts_of(store).items()}
    assert inputs["tool:0"] == "{1" + "".join(f"{number}," for number in range(1000))
    assert inputs["tool:1"] == "{" + "".join(map(str, range(1000))) + "23" * 100
    assert parts_of(store)["content"].text == "a" * 101
    assert store.health.counts["verdicts"] == {"accepted": 2305}


def test_what_an_older_stream_brings_of_a_call_does_not_take_the_short_way() -> None:
    store, older = opened()
    older.ingest_many([*CALLED, MORE, MORE])
    newer = store.open("openai-chat", session_id="s")
    newer.ingest_many([*CALLED, MORE])
    assert older.ingest_many([MORE] * 10) == [(number, DUPLICATE) for number in range(10)]
    assert newer.ingest_many([MORE] * 10) == []
    assert parts_of(store)["tool:0"].field_text("input") == "{" + "1" * 12


def test_a_text_after_usage_was_told_takes_the_long_way_once() -> None:
    """The usage is the last chunk's, as in the official client, so that a text takes it back."""
    store, stream = opened()
    stream.ingest_many([begin(), chunk({"content": "a"}), chunk({"content": "b"}, usage={"n": 1})])
    assert encoded(store)[0]["usage"] == {"n": 1}
    stream.ingest(chunk({"content": "c"}))
    assert encoded(store)[0]["usage"] is None
    assert message_of(store)["content"] == "abc"


# --- what a completion comes to -------------------------------------------------------------------


def test_a_completion_is_a_message_with_parts() -> None:
    store = fed(
        begin(service_tier="default", system_fingerprint="fp"),
        chunk({"reasoning_content": "think"}, system_fingerprint="fp"),
        chunk({"content": "Hel"}, system_fingerprint="fp"),
        chunk({"content": "lo"}, system_fingerprint="fp"),
        calling(call(0, '{"a":', "look", id="call_1", type="function"), system_fingerprint="fp"),
        calling(call(0, "1}"), system_fingerprint="fp"),
    )
    (message,) = store.messages("s")
    assert (message.id, message.role, message.status) == ("c", "assistant", "open")
    assert message.info["completion"] == {
        "id": "c",
        "created": 1,
        "model": "m",
        "service_tier": "default",
    }
    assert message.info["system_fingerprint"] == "fp"
    parts = store.parts("s", "c")
    assert [(part.block_index, part.kind, part.text) for part in parts] == [
        ("reasoning_content", "reasoning", "think"),
        ("content", "text", "Hello"),
        ("tool:0", "tool", ""),
    ]
    assert {part.status for part in parts} == {"open"}
    assert not any(part.gap for part in parts)
    tool = parts[2].tool
    assert tool is not None
    assert (tool.name, tool.call_id, tool.status) == ("look", "call_1", "pending")
    assert parts[2].field_text("input") == '{"a":1}'


def test_the_finish_reason_closes_the_parts_and_the_message() -> None:
    wires = [begin(), chunk({"content": "a"}), calling(call(0, "{}", "f", id="x"))]
    store = fed(*wires, chunk({}, "tool_calls"))
    (message,) = store.messages("s")
    assert message.status == "completed"
    assert message.info["choice"]["finish_reason"] == "tool_calls"
    parts = store.parts("s", "c")
    assert {part.status for part in parts} == {"closed"}
    assert parts[1].tool is not None and parts[1].tool.status == "running"


def test_a_call_that_the_length_cut_is_not_to_be_run() -> None:
    store = fed(begin(), calling(call(0, '{"a', "f", id="x")), chunk({}, "length"))
    (part,) = store.parts("s", "c")
    assert part.status == "closed"
    assert part.tool is not None and part.tool.status == "pending"


def test_parts_stand_in_one_order_however_they_come() -> None:
    store = fed(
        begin(),
        calling(call(10, "", "k", id="x")),
        calling(call(2, "", "b", id="y")),
        chunk({"refusal": "no"}),
        chunk({"content": "a"}),
        chunk({"mood": "m"}),
        chunk({"annotations": [{"type": "url_citation"}]}),
        chunk({"reasoning": "r"}),
    )
    assert [part.block_index for part in store.parts("s", "c")] == [
        "reasoning",
        "content",
        "refusal",
        "annotation:0",
        "delta:mood",
        "tool:2",
        "tool:10",
    ]


def test_each_choice_is_a_message_and_they_stand_by_completion_and_index() -> None:
    store, stream = opened()
    stream.ingest_many([begin("a"), begin("a", choices=[])])
    for index in (2, 1):
        stream.ingest(chunk({"role": "assistant", "content": str(index)}, id="a", index=index))
    stream.ingest(chunk({"content": "0"}, "stop", id="a"))
    stream.ingest(begin("b"))
    stream.ingest(chunk({"content": "late"}, "stop", id="a", index=1))
    store.flush()
    assert [message.id for message in store.messages("s")] == ["a", "a#1", "a#2", "b"]
    assert [message.status for message in store.messages("s")] == [
        "completed",
        "completed",
        "open",
        "open",
    ]
    first, second = encoded(store)
    assert [choice["index"] for choice in first["choices"]] == [0, 1, 2]
    texts = [choice["message"]["content"] for choice in first["choices"]]
    assert texts == ["0", "1late", "2"]
    assert second["id"] == "b"


def test_a_chunk_may_bring_several_choices_and_calls() -> None:
    wire = begin()
    wire["choices"] = [
        {"index": 0, "delta": {"role": "assistant", "content": "zero"}, "finish_reason": None},
        {
            "index": 1,
            "delta": {
                "role": "assistant",
                "content": "one",
                "tool_calls": [call(0, "a", "f", id="x"), call(1, "b", "g", id="y")],
            },
            "finish_reason": "tool_calls",
        },
    ]
    store = fed(wire)
    zero, one = store.messages("s")
    assert (zero.id, zero.status, one.id, one.status) == ("c", "open", "c#1", "completed")
    assert [part.block_index for part in store.parts("s", "c#1")] == ["content", "tool:0", "tool:1"]
    assert parts_of(store, "c#1")["tool:1"].field_text("input") == "b"


@pytest.mark.parametrize("gone", ["content", "tool:0"])
def test_a_removed_part_does_not_keep_the_rest_of_a_chunk_away(gone: str) -> None:
    store, stream = opened()
    stream.ingest_many([begin(), chunk({"content": "a"}), calling(call(0, "1", "f", id="x"))])
    stream.ingest_many([calling(call(1, "1", "g", id="y")), chunk({"content": "-"})])
    store.apply(BlockRemoved(session_id="s", message_id="c", block_index=gone))
    wire = chunk({"content": "b", "tool_calls": [call(0, "2"), call(1, "2")]})
    assert stream.ingest(wire) == ACCEPTED
    assert stream.ingest(chunk({"content": "c"}, "stop")) == ACCEPTED
    parts = parts_of(store)
    assert gone not in parts
    assert parts["tool:1"].field_text("input") == "12"
    assert [message.status for message in store.messages("s")] == ["completed"]


def test_a_removed_message_stays_removed_while_its_stream_goes_on() -> None:
    store, stream = opened()
    stream.ingest_many([begin(), chunk({"content": "a"})])
    store.apply(MessageRemoved(session_id="s", message_id="c"))
    verdict = stream.ingest(chunk({"content": "b"}))
    assert (verdict.kind, verdict.reason) == ("refused", "removed")
    stream.ingest(chunk({}, "stop", usage={"n": 1}))
    store.flush()
    assert store.messages("s") == ()
    assert encoded(store) == []


def test_usage_and_fingerprint_are_those_of_the_last_chunk() -> None:
    store, stream = opened()
    stream.ingest_many([begin(system_fingerprint="a", usage={"n": 1})])
    assert encoded(store)[0]["usage"] == {"n": 1}
    stream.ingest(chunk({"content": "x"}, system_fingerprint="b"))
    (completion,) = encoded(store)
    assert (completion["usage"], completion["system_fingerprint"]) == (None, "b")
    stream.ingest(chunk({}, "stop"))
    stream.ingest({**chunk(), "choices": [], "usage": {"n": 2}})
    (completion,) = encoded(store)
    assert (completion["usage"], completion["system_fingerprint"]) == ({"n": 2}, None)


def test_log_probabilities_are_lines_of_a_data_part() -> None:
    tokens = [{"token": f"t{n}", "logprob": -n / 3, "bytes": None} for n in range(5)]
    store, stream = opened()
    stream.ingest(begin())
    for place, found in enumerate([tokens[:2], [], tokens[2:]]):
        wire = chunk({"content": f"{place}"})
        wire["choices"][0]["logprobs"] = {"content": found, "refusal": None}
        stream.ingest(wire)
    part = parts_of(store)["logprobs:content"]
    assert part.kind == "data" and part.text == ""
    assert [json.loads(line) for line in part.field_text("json").splitlines()] == tokens
    logprobs = encoded(store)[0]["choices"][0]["logprobs"]
    assert logprobs == {"content": tokens, "refusal": None}


def test_a_list_of_log_probabilities_may_begin_later() -> None:
    store, stream = opened()
    stream.ingest(begin())
    for name in ("refusal", "content", "content"):
        wire = chunk({name: "t"})
        wire["choices"][0]["logprobs"] = {"content": None, "refusal": None, name: [{"token": name}]}
        stream.ingest(wire)
    content, refusal = {"token": "content"}, {"token": "refusal"}
    logprobs = encoded(store)[0]["choices"][0]["logprobs"]
    assert logprobs == {"content": [content, content], "refusal": [refusal]}


def test_members_that_are_unknown_are_kept() -> None:
    store = fed(
        begin(provider="P"),
        chunk({"mood": "go", "audio": {"id": "a", "transcript": "Hel"}, "rank": 1}),
        chunk({"mood": "od", "audio": {"id": "a", "transcript": "lo", "expires_at": 5}, "rank": 2}),
        chunk({"details": [{"index": 0, "text": "x"}], "flags": ["a"]}),
        chunk({"details": [{"index": 0, "text": "y"}, {"index": 1}], "flags": ["b"]}),
        chunk({"annotations": [{"type": "url_citation", "n": 1, "url_citation": {"url": "u"}}]}),
        chunk({"annotations": [{"type": "url_citation", "n": 2}], "empty": [], "none": None}),
        chunk({}, "stop", timings={"ms": 3}),
    )
    message = message_of(store)
    assert message["mood"] == "good"
    assert message["audio"] == {"id": "a", "transcript": "Hello", "expires_at": 5}
    assert message["rank"] == 2
    assert message["details"] == [{"index": 0, "text": "xy"}, {"index": 1}]
    assert message["flags"] == ["a", "b"]
    assert [item["n"] for item in message["annotations"]] == [1, 2]
    assert (message["empty"], message["none"]) == ([], None)
    assert encoded(store)[0]["provider"] == "P"
    assert store.messages("s")[0].info["completionEnd"] == {"timings": {"ms": 3}}
    assert parts_of(store)["annotation:1"].kind == "source"
    assert parts_of(store)["annotation:0"].fields["url"] == "u"


def test_the_last_moderation_of_a_completion_is_a_member_of_it() -> None:
    """It comes on a chunk of its own, or beside a text, and the official client keeps the last."""
    first, last = {"input": {"flagged": False}}, {"input": {"flagged": True}}
    opening = [begin(), chunk({"content": "a"}), chunk({"content": "b"})]
    text = {**chunk({"content": "c"}), "moderation": first}
    alone = {**chunk({}), "choices": [], "moderation": last}
    end = [chunk({}, "stop"), {**chunk({}), "choices": [], "usage": {"total_tokens": 1}}]
    for said, last_one in (([text], first), ([alone], last), ([text, alone], last)):
        store = fed(*opening, *said, *end)
        assert encoded(store)[0]["moderation"] == last_one
        assert "completionEnd" not in store.messages("s")[0].info
    whole = fed(*encoded(fed(*opening, text, *end)))
    assert encoded(whole)[0]["moderation"] == first


@pytest.mark.parametrize("names", [("reasoning", "reasoning_content"), ("thinking", "reasoning")])
def test_reasoning_that_comes_under_two_names_is_shown_once(names: tuple[str, str]) -> None:
    pieces = ("The", " user", " asks", ".")
    store = fed(
        begin(),
        *(chunk({"content": "", **dict.fromkeys(names, piece)}) for piece in pieces),
        chunk({"content": "Yes."}, "stop"),
    )
    shown = [part.text for part in store.parts("s", "c") if part.kind == "reasoning"]
    assert shown == ["The user asks."]
    message = message_of(store)
    assert [message[name] for name in names] == ["The user asks."] * 2
    whole = StreamStore("openai-chat")
    whole.open("openai-chat", session_id="s").ingest_many(encoded(store))
    assert [part.kind for part in whole.parts("s", "c")] == ["reasoning", "text", "data"]
    assert encoded(whole) == encoded(store)


def test_reasoning_members_with_texts_of_their_own_are_both_shown() -> None:
    store = fed(begin(), chunk({"reasoning": "a"}), chunk({"reasoning": "b", "thinking": "c"}))
    parts = store.parts("s", "c")
    assert [(part.kind, part.text) for part in parts] == [("reasoning", "ab"), ("reasoning", "c")]


def test_what_a_choice_says_in_its_end_is_kept_beside_what_it_said_first() -> None:
    last = chunk({}, "stop")
    last["choices"][0] |= {"stop_reason": 7, "filter": {"hate": False}}
    first = begin()
    first["choices"][0] |= {"stop_reason": None}
    store = fed(first, last)
    (message,) = store.messages("s")
    assert message.info["choiceEnd"] == {"stop_reason": 7, "filter": {"hate": False}}
    assert encoded(store)[0]["choices"][0]["stop_reason"] is None  # as in the official client


def test_padding_is_no_member() -> None:
    store = fed(begin(obfuscation="xyz"), chunk({"content": "a"}, obfuscation="pq"))
    assert "obfuscation" not in json.dumps(store.state())


def test_halves_of_a_surrogate_pair_come_together_and_a_lone_one_comes_back() -> None:
    store = fed(
        begin(),
        chunk({"content": "a"}),
        chunk({"content": "\ud83d"}),
        chunk({"content": "\ude00\ud800"}),
        calling(call(0, '{"\ud83d', "f", id="x")),
        calling(call(0, '\ude00"}')),
        chunk({}, "stop"),
    )
    parts = parts_of(store)
    assert parts["content"].text == "a\U0001f600\ufffd"
    assert message_of(store)["content"] == "a\U0001f600\ud800"
    assert parts["tool:0"].field_text("input") == '{"\U0001f600"}'


def said(text: str) -> Wire:
    return {"type": "text", "text": text}


def thought(text: str, **members: Any) -> Wire:
    return {"type": "thinking", "thinking": [said(text)], **members}


MISTRAL = [  # what its thinking models stream
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": [thought("Let ")]}),
    chunk({"content": [thought("me see.", closed=True), said("It ")]}),
    chunk({"content": [said("is ")]}),
    chunk({"content": "42"}),
    chunk({"content": "."}),
    chunk({"content": ""}, "stop"),
]


def test_typed_pieces_of_a_content_are_text_and_reasoning() -> None:
    store = fed(*MISTRAL)
    shown = [(part.kind, part.text) for part in store.parts("s", "c")]
    assert shown == [("reasoning", "Let me see."), ("text", "It is 42.")]
    pieces = [thought("Let me see.", closed=True), said("It is 42.")]
    assert message_of(store)["content"] == pieces


@pytest.mark.parametrize("cut", range(1, len(MISTRAL)))
def test_typed_pieces_are_taken_on_from_a_saved_state(cut: int) -> None:
    store = StreamStore.load(json.loads(json.dumps(fed(*MISTRAL[:cut]).save())))
    store.open("openai-chat", session_id="s").ingest_many(MISTRAL[cut:])
    assert encoded(store) == encoded(fed(*MISTRAL))
    store.open("openai-chat", session_id="s").ingest_many(MISTRAL)  # a replay
    assert encoded(store) == encoded(fed(*MISTRAL))


def test_a_whole_completion_with_typed_pieces_reads_like_a_streamed_one() -> None:
    whole = fed(encoded(fed(*MISTRAL)))
    shown = [(part.kind, part.text) for part in whole.parts("s", "c")]
    assert shown == [("reasoning", "Let me see."), ("text", "It is 42.")]
    assert encoded(whole) == encoded(fed(*MISTRAL))


def test_a_text_behind_thinking_pieces_is_a_piece_and_takes_the_short_way() -> None:
    store, stream = opened()
    stream.ingest_many([begin(), chunk({"content": [thought("hm")]}), chunk({"content": "a"})])
    adapter = stream._adapter
    assert adapter.plain(chunk({"content": "b"})) == (("s", "c", "content"), "b", None)
    assert message_of(store)["content"] == [thought("hm"), said("a")]


def test_pieces_that_are_no_text_are_data_beside_the_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "u"}}
    reference = {"type": "reference", "reference_ids": [1]}
    mixed = {"type": "thinking", "thinking": [said("as in "), reference]}
    store = fed(begin(), chunk({"content": [said("see"), image, mixed, {"type": "text"}]}))
    parts = parts_of(store)
    assert (parts["content"].text, parts["content:thinking"].text) == ("see", "as in ")
    assert parts["delta:content"].kind == "data"
    others = [image, {"type": "thinking", "thinking": [reference]}, {"type": "text"}]
    assert message_of(store)["content"] == [thought("as in "), said("see"), *others]
    store = fed(begin(), chunk({"content": "a"}), chunk({"content": [image]}))
    assert message_of(store)["content"] == [said("a"), image]


def test_a_thinking_piece_may_hold_a_string_and_empty_pieces_are_no_part() -> None:
    plain = {"type": "thinking", "thinking": "hm"}
    store = fed(begin(), chunk({"content": [plain]}), chunk({"content": [said("")]}))
    assert [part.text for part in store.parts("s", "c")] == ["hm"]
    assert message_of(store)["content"] == [plain]
    store = fed(chunk({"role": "assistant", "content": [said(""), thought("")]}))
    assert store.parts("s", "c") == () and message_of(store)["content"] == ""


def reasoned(text: str, **members: Any) -> Wire:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text, **members}]}


DATABRICKS = [  # what its reasoning models stream
    chunk({"role": "assistant", "content": [reasoned("Let ")]}),
    chunk({"content": [reasoned("me see.")]}),
    chunk({"content": [reasoned("", signature="sig")]}),
    chunk({"content": [reasoned("")]}),
    chunk({"content": "It "}),
    chunk({"content": [said("is 42.")]}),
    chunk({"content": ""}, "stop"),
]


@pytest.mark.parametrize("cut", range(1, len(DATABRICKS)))
def test_a_piece_of_reasoning_is_the_text_of_its_summary(cut: int) -> None:
    pieces = [reasoned("Let me see.", signature="sig"), said("It is 42.")]
    store = StreamStore.load(json.loads(json.dumps(fed(*DATABRICKS[:cut]).save())))
    store.open("openai-chat", session_id="s").ingest_many(DATABRICKS[cut:])
    for told in (fed(*DATABRICKS), store, fed(whole_with(pieces))):
        shown = [(part.kind, part.text) for part in told.parts("s", "c")]
        assert shown == [("reasoning", "Let me see."), ("text", "It is 42.")]
        assert message_of(told)["content"] == pieces


def test_a_summary_of_other_things_than_text_is_data() -> None:
    odd = {"type": "reasoning", "summary": [{"type": "other"}]}
    store = fed(begin(), chunk({"content": [odd, reasoned("hm")]}))
    assert parts_of(store)["content:reasoning"].text == "hm"
    assert message_of(store)["content"] == [reasoned("hm"), odd]
    store = fed(begin(), chunk({"content": [reasoned(""), {"type": "reasoning", "summary": []}]}))
    assert store.parts("s", "c") == () and message_of(store)["content"] == ""


def test_typed_pieces_are_data_in_a_strict_stream() -> None:
    pieces = [thought("hm"), said("a")]
    for wires in ([begin(), chunk({"content": pieces})], [whole_with(pieces)]):
        store = fed(*wires, policy="strict")
        assert list(parts_of(store)) == ["delta:content"]
        assert message_of(store)["content"] == pieces


def whole_with(content: Any) -> Wire:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": content}}
    return {"id": "c", "object": "chat.completion", "choices": [choice]}


def test_the_old_function_call_is_a_tool() -> None:
    store = fed(
        begin(),
        chunk({"function_call": {"name": "old", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{"}}),
        chunk({"function_call": {"name": "other", "arguments": "}"}}, "function_call"),
    )
    part = parts_of(store)["function_call"]
    assert part.tool is not None and (part.tool.name, part.tool.status) == ("old", "running")
    assert part.field_text("input") == "{}"
    assert message_of(store)["function_call"] == {"name": "old", "arguments": "{}"}


def test_a_custom_tool_streams_its_input() -> None:
    first = {"index": 0, "id": "x", "type": "custom", "custom": {"name": "shell", "input": "l"}}
    store = fed(
        begin(),
        calling(first),
        calling({"index": 0, "custom": {"input": "s"}}),
        chunk({}, "tool_calls"),
    )
    part = parts_of(store)["tool:0"]
    assert part.tool is not None and part.tool.name == "shell"
    assert part.field_text("input") == "ls"
    assert message_of(store)["tool_calls"] == [
        {**first, "custom": {"name": "shell", "input": "ls"}, "function": None}
    ]


# --- what compatible servers do -------------------------------------------------------------------


def calls_of(store: StreamStore) -> list[tuple[Any, Any, Any]]:
    """Id, name and input of each call, as encoded; parts agree."""
    found = [
        (one.get("id"), one["function"].get("name"), one["function"].get("arguments"))
        for one in message_of(store).get("tool_calls") or ()
    ]
    parts = [part for part in parts_of(store).values() if part.kind == "tool"]
    assert [(part.tool.call_id, part.tool.name) for part in parts] == [one[:2] for one in found]
    assert [part.field_text("input") for part in parts] == [one[2] or "" for one in found]
    return found


def test_ids_and_names_that_each_fragment_repeats_are_not_joined() -> None:
    """Fireworks, and DeepSeek behind some gateways: the official client makes `call_1call_1`."""
    pieces = ['{"q', '":', "1}"]
    store = fed(
        begin(),
        *(calling(call(0, piece, "look", id="call_1", type="function")) for piece in pieces),
        chunk({}, "tool_calls"),
    )
    assert calls_of(store) == [("call_1", "look", '{"q":1}')]
    assert message_of(store)["tool_calls"][0]["type"] == "function"


@pytest.mark.parametrize("empty", ["", None])
def test_empty_ids_and_names_after_the_first_fragment_take_nothing_away(empty: Any) -> None:
    """Qwen: later fragments have an id and a name of ""."""
    store = fed(
        begin(),
        calling(call(0, "{", "look", id="call_1", type="function")),
        calling({"index": 0, "id": empty, "function": {"name": empty, "arguments": "}"}}),
    )
    assert calls_of(store) == [("call_1", "look", "{}")]


def test_an_id_or_a_name_may_come_later() -> None:
    store = fed(begin(), calling(call(0, "{")), calling(call(0, "}", "look", id="call_1")))
    assert calls_of(store) == [("call_1", "look", "{}")]


def test_another_id_on_each_fragment_of_a_call_is_no_other_call() -> None:
    """Some servers make up an id for each fragment: without a name it begins nothing."""
    store = fed(
        begin(),
        calling(call(0, "{", "look", id="a")),
        calling(call(0, "1", id="b")),
        calling(call(0, "}", id="c")),
    )
    assert calls_of(store) == [("a", "look", "{1}")]


def test_calls_that_share_an_index_are_told_by_id_and_name() -> None:
    """Ollama, Gemini and several gateways: every parallel call has the index 0, and is whole."""
    store = fed(
        begin(),
        calling(call(0, '{"p":1}', "write", id="a", type="function")),
        calling(call(0, "", "write", id="a", type="function")),
        calling(call(0, '{"p":2}', "write", id="b", type="function")),
        calling(call(0, '{"p":', "read", id="c", type="function")),
        calling(call(0, "3}")),
        calling(call(1, "{}", "stop", id="d")),
        chunk({}, "tool_calls"),
    )
    assert calls_of(store) == [
        ("a", "write", '{"p":1}'),
        ("b", "write", '{"p":2}'),
        ("c", "read", '{"p":3}'),
        ("d", "stop", "{}"),
    ]
    assert list(parts_of(store)) == ["tool:0", "tool:0.1", "tool:0.2", "tool:1"]


def test_calls_that_share_an_index_and_have_no_id_are_told_by_their_names() -> None:
    """Gemini's first versions: behind its arguments a call gets no other name."""
    calls = [call(0, "{}", "look"), call(0, '{"p":1}', "read"), call(0, "", "read")]
    store = fed(begin(), *map(calling, calls), chunk({}, "tool_calls"))
    assert [made[1:] for made in calls_of(store)] == [("look", "{}"), ("read", '{"p":1}')]


@pytest.mark.parametrize("at_once", [False, True])
def test_calls_of_one_function_that_share_an_index_and_have_no_id_are_told_by_their_arguments(
    at_once: bool,
) -> None:
    """Gemini's first versions: one function for two cities, each call whole, all under index 0."""
    calls = [call(0, f'{{"city":"{city}"}}', "weather") for city in ("Oslo", "Rome")]
    wires = [calling(*calls)] if at_once else [*map(calling, calls)]
    store = fed(
        begin(), *wires, calling(call(0, '{"all":', "read")), calling(call(0, "1}", "read"))
    )
    assert [made[1:] for made in calls_of(store)] == [
        ("weather", '{"city":"Oslo"}'),
        ("weather", '{"city":"Rome"}'),
        ("read", '{"all":1}'),
    ]


def test_arguments_that_are_no_whole_object_belong_to_the_call_that_repeats_its_name() -> None:
    pieces = ["{", "}", ' {"a":1}', "{}"]
    wires = [calling(call(0, piece, "f")) for piece in pieces]
    store = fed(begin(), *wires, chunk({}, "length"))
    assert [made[1:] for made in calls_of(store)] == [("f", "".join(pieces))]


def test_one_call_under_two_indexes_is_one_call() -> None:
    """LocalAI: the id tells; the input is taken from the index that brought some first."""
    parts = [call(0, None, "exec", id="x"), call(1, '{"c', id="x"), call(1, '":1}')]
    store = fed(begin(), *map(calling, parts), calling(call(2, '{"c":1}', "exec", id="x")))
    assert calls_of(store) == [("x", "exec", '{"c":1}')]


def test_calls_without_an_index_are_told_by_their_names() -> None:
    wires = [call(None, "{", "f", id="a"), call(None, "}"), call(None, "[]", "g", id="b")]
    store = fed(begin(), *(calling(without(wire, "index")) for wire in wires))
    assert calls_of(store) == [("a", "f", "{}"), ("b", "g", "[]")]


def test_an_argument_fragment_that_comes_twice_cannot_be_told() -> None:
    """The wire gives it no identity: it is appended, as in the official client."""
    store, stream = opened()
    stream.ingest_many([begin(), calling(call(0, "", "f", id="a"))])
    for _ in range(2):
        assert stream.ingest(calling(call(0, '{"a":'))) is ACCEPTED
    assert calls_of(store) == [("a", "f", '{"a":{"a":')]


@pytest.mark.parametrize("again", [{}, {"name": "f", "id": "a"}, {"name": "f"}])
@pytest.mark.parametrize("first", ["", '{"a":1}'])
def test_arguments_that_are_whole_and_come_again_are_there_once(again: Wire, first: str) -> None:
    """Gateways that stream a whole call, and its end once more, or the same twice."""
    wires = [call(0, first, "f", id="a"), *[call(0, '{"a":1}', **again)] * 3, call(1, "{}", "g")]
    store = fed(begin(), *map(calling, wires), chunk({}, "tool_calls"))
    assert [made[1:] for made in calls_of(store)] == [("f", '{"a":1}'), ("g", "{}")]


IN_PIECES = ['{"a":', ' {"b"', ":1}", "}"]
AT_ONCE = '{"a":{"b":1}}'


@pytest.mark.parametrize("members", [{}, {"name": "f", "id": "x"}])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("ends", ["with it", "behind it", "before it"])
def test_arguments_that_come_in_pieces_and_whole_again_are_there_once(
    members: Wire, times: int, ends: str
) -> None:
    """vLLM and SGLang, where the model and the parser differ in a space: once its answer is done."""
    again = [calling(call(0, AT_ONCE, **members)) for _ in range(times)]
    finish = [chunk({}, "tool_calls")]
    if ends == "with it":
        again[-1]["choices"][0]["finish_reason"] = "tool_calls"
        finish = []
    pieces = [calling(call(0, piece)) for piece in IN_PIECES]
    behind = [*finish, *again] if ends == "before it" else [*again, *finish]
    wires = [begin(), calling(call(0, "", "f", id="x")), *pieces, *behind]
    for store in (fed(*wires), cut_and_saved(wires, 7)):
        assert calls_of(store) == [("x", "f", AT_ONCE)]
        assert store.messages("s")[0].status == "completed"


def cut_and_saved(wires: list[Wire], cut: int) -> StreamStore:
    store, stream = opened()
    stream.ingest_many(wires[:cut])
    store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    store.open("openai-chat", session_id="s").ingest_many(wires[cut:])
    store.flush()
    return store


@pytest.mark.parametrize(
    ("pieces", "finish", "expected"),
    [
        (['{"a":', '{"b":1}', "}"], "tool_calls", '{"a":{"b":1}}'),  # more of them follows
        (['{"a":', '{"b":1}'], "length", '{"a":{"b":1}'),  # more of them would have followed
        # DeepSeek's word for the same; any other but those that say that all of it came.
        (['{"a":[', '{"b":1}'], "insufficient_system_resource", '{"a":[{"b":1}'),
        # vLLM, where its parser lost what it had sent; no JSON ends with an empty object.
        (['{"a":1', "}", "{}"], "tool_calls", '{"a":1}'),
        (['{"a":1}', "{}"], "tool_calls", '{"a":1}'),
        (['{"a":', "{}", "}"], "tool_calls", '{"a":{}}'),
        (['{"a":[', "{}", ",", "{}", "]}"], "tool_calls", '{"a":[{},{}]}'),
        (["[", "{}", "{}", "]"], "tool_calls", "[{}{}]"),
        ([" ", "{}"], "tool_calls", " {}"),  # nothing stands before it
        (["\n", "{}", '{"a":', "1}"], "tool_calls", '{"a":1}'),
        (["\n", '{"a":1}', '{"a":1}'], "tool_calls", '\n{"a":1}'),
        (['{"a":', "{}"], "length", '{"a":{}'),
        (['{"a":1}', "{}", '{"a":1}'], "stop", '{"a":1}'),
        (["{}", '{"a":', "1}"], "tool_calls", '{"a":1}'),
        (["{}", '{"a":1}', '{"a":1}'], "tool_calls", '{"a":1}'),
        (["{ }", '{"a"', ":1}", '{"a": 1}'], "stop", '{"a": 1}'),
        (["{}", "\n"], "tool_calls", "{}\n"),
        (['{"a"', '{"a":1', '{"a":1}'], "tool_calls", '{"a":1}'),  # each has all so far
    ],
)
def test_a_whole_object_among_the_pieces_of_arguments(
    pieces: list[str], finish: str, expected: str
) -> None:
    """Gemini begins with an empty one, which stands for nothing yet."""
    calls = [calling(call(0, piece)) for piece in pieces]
    wires = [begin(), calling(call(0, "", "f", id="x")), *calls, chunk({}, finish)]
    for store in (fed(*wires), *(cut_and_saved(wires, cut) for cut in range(3, len(wires)))):
        assert calls_of(store) == [("x", "f", expected)]
    wires[-2]["choices"][0]["finish_reason"] = finish
    assert calls_of(fed(*wires[:-1])) == [("x", "f", expected)]


@pytest.mark.parametrize(
    ("finishes", "rest", "expected"),
    [
        (["tool_calls"] * 3, "}", '{"a":{}}'),  # in each chunk
        (["length", None, None], None, '{"a":{}'),  # before the last of them
    ],
)
def test_an_empty_object_among_the_arguments_is_not_lost_behind_the_end_of_a_choice(
    finishes: list[Any], rest: str | None, expected: str
) -> None:
    pieces = [piece for piece in ('{"a":', "{}", rest) if piece is not None]
    calls = [
        calling(call(0, piece), finish=finish)
        for piece, finish in zip(pieces, finishes, strict=False)
    ]
    wires = [begin(), calling(call(0, "", "f", id="x")), *calls]
    for store in (fed(*wires), cut_and_saved(wires, len(wires) - 1)):
        assert calls_of(store) == [("x", "f", expected)]


@pytest.mark.parametrize("beside", [False, True])
def test_an_error_in_the_stream_ends_arguments_with_all_of_what_they_have(beside: bool) -> None:
    last = calling(call(1, "{}"))
    failure = {**last, "error": {"message": "no"}} if beside else {"error": {"message": "no"}}
    store = fed(
        begin(),
        calling(call(0, '{"a":', "f", id="x"), call(1, '{"b":', "g", id="y")),
        calling(call(0, "{}")),
        *([] if beside else [last]),
        failure,
    )
    assert calls_of(store) == [("x", "f", '{"a":{}'), ("y", "g", '{"b":{}')]
    assert store.messages("s")[0].status == "error"


def test_the_input_of_a_custom_tool_is_no_json_that_could_come_again() -> None:
    pieces = ["print(", '{"a":1}']
    first = {"index": 0, "id": "x", "type": "custom", "custom": {"name": "f", "input": ""}}
    more = [{"index": 0, "custom": {"input": piece}} for piece in pieces]
    store = fed(begin(), *map(calling, [first, *more]), chunk({}, "tool_calls"))
    assert parts_of(store)["tool:0"].field_text("input") == "".join(pieces)


def test_arguments_that_are_parsed_already_and_a_call_without_its_list_are_read() -> None:
    """Text Generation Inference up to 3.1; the official client cannot join the first."""
    parsed = {"city": "Oslo", "days": [1]}
    wires = [calling(call(0, parsed, "f", id="0")), chunk({"tool_calls": call(1, "{}", "g")})]
    store = fed(begin(), *wires, chunk({}, "tool_calls"))
    assert calls_of(store) == [("0", "f", '{"city":"Oslo","days":[1]}'), (None, "g", "{}")]
    message = {"role": "assistant", "function_call": {"name": "f", "arguments": {}}}
    whole = {"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": message}]}
    assert message_of(fed(whole))["function_call"] == {"name": "f", "arguments": "{}"}
    for wire in wires:
        with pytest.raises(MalformedEvent):
            OpenAIChatAdapter(Context(strict=True)).decode(wire)


def test_a_second_finish_chunk_changes_nothing_but_its_members() -> None:
    """OpenRouter sends two; the official client's snapshot loses `parsed` over the second."""
    store, stream = opened()
    stream.ingest_many([begin(), chunk({"content": "a"}), chunk({}, "stop")])
    before = encoded(store)
    state = parts_of(store)
    stream.ingest(chunk({}, "stop", usage={"n": 1}))
    assert parts_of(store) == state
    (message,) = store.messages("s")
    assert message.status == "completed"
    (completion,) = encoded(store)
    assert completion["usage"] == {"n": 1}
    assert without(completion["choices"][0]["message"], "parsed") == without(
        before[0]["choices"][0]["message"], "parsed"
    )


def test_a_text_after_the_end_is_appended() -> None:
    store = fed(begin(), chunk({"content": "a"}), chunk({}, "stop"), chunk({"content": "b"}))
    assert message_of(store)["content"] == "ab"
    store = fed(begin(), chunk({}, "stop"), chunk({"refusal": "b"}), chunk({}, "stop"))
    (part,) = parts_of(store).values()
    assert (part.text, part.status) == ("b", "closed")


def test_chunks_without_choices_bring_usage_and_what_a_filter_says() -> None:
    results = [{"prompt_index": 0}]
    store = fed(
        {**begin(prompt_filter_results=results), "choices": []},
        begin(),
        chunk({"content": "a"}, "stop"),
        {**chunk(), "choices": [], "usage": {"n": 1}},
    )
    (completion,) = encoded(store)
    assert completion["prompt_filter_results"] == results
    assert completion["usage"] == {"n": 1}
    assert len(completion["choices"]) == 1
    assert len(store.messages("s")) == 1


@pytest.mark.parametrize("told", [{}, {"choices": None}])
def test_choices_that_are_left_out_or_null_are_none(told: Wire) -> None:
    """Some gateways' last chunk, with the usage alone; the official client stops there."""
    wires = [begin(), chunk({"content": "a"}, "stop")]
    last = {**without(chunk(), "choices"), **told, "usage": {"n": 1}}
    store = fed(*wires, last)
    assert encoded(store) == encoded(fed(*wires, {**last, "choices": []}))
    assert encoded(store)[0]["usage"] == {"n": 1}
    assert store.health.counts["verdicts"] == {"accepted": 3}


def test_a_filters_chunk_says_nothing() -> None:
    """Azure: `object` and `id` are empty, before the first chunk or among them."""
    filtered = {
        "id": "",
        "object": "",
        "created": 0,
        "model": "",
        "choices": [{"index": 0, "delta": {}, "finish_reason": None, "content_filter_offsets": {}}],
    }
    wires = [begin(), chunk({"content": "a"}), chunk({"content": "b"}, "stop")]
    store = fed(filtered, wires[0], filtered, *wires[1:], filtered)
    assert state_of(store) == state_of(fed(*wires))


def test_the_role_may_be_on_every_chunk_and_null_members_too() -> None:
    """Ollama repeats the role, sglang says of each chunk what is not in it."""
    wires = [
        chunk({"role": "assistant", "content": "a", "tool_calls": None, "reasoning_content": None}),
        chunk({"role": "assistant", "content": "b"}),
        chunk({"role": None, "content": "c", "tool_calls": None, "reasoning_content": None}),
        chunk({"role": None, "content": None, "reasoning_content": "r", "tool_calls": None}),
        chunk({"role": "user", "content": "d"}),
    ]
    store = fed(*wires)
    (message,) = store.messages("s")
    assert message.role == "assistant"
    assert (message_of(store)["role"], message_of(store)["content"]) == ("assistant", "abcd")
    assert message_of(store)["reasoning_content"] == "r"


def test_a_stream_without_ids_is_one_completion_with_an_id_made_up() -> None:
    """Text Generation Inference sends ""; others leave it out."""
    made = iter(["made-1", "made-2"])
    store = StreamStore("openai-chat", new_id=lambda: next(made))
    wires = [
        begin(""),
        without(chunk({"content": "a"}), "id"),
        chunk({"content": "b"}, id=None),
        chunk({"content": "c"}, "stop", id=""),
    ]
    for _ in range(2):
        stream = store.open("openai-chat", session_id="s")
        stream.ingest_many(wires)
        stream.end()
    assert [message.id for message in store.messages("s")] == ["made-1", "made-2"]
    first, second = encoded(store)
    assert first == second
    assert first["id"] == "" and first["choices"][0]["message"]["content"] == "abc"


@pytest.mark.parametrize("role", [{"role": "assistant"}, {}])
def test_answers_without_ids_on_one_stream_are_told_by_their_ends(role: Wire) -> None:
    """Text Generation Inference, one request after the other; it repeats the role."""

    def answer(text: str) -> list[Wire]:
        texts = [chunk({"content": text, **role}, id=""), chunk({"content": "+", **role}, id="")]
        ends = [chunk({"content": "", **role}, "stop", id="")] * 2
        return [*texts, *ends, {**chunk(id="", usage={"n": 1}), "choices": []}]

    store = fed(*answer("one"), *answer("two"))
    told = [(one["choices"][0]["message"]["content"], one["usage"]) for one in encoded(store)]
    assert told == [("one+", {"n": 1}), ("two+", {"n": 1})]
    # The official client knows of one completion only; and a choice may begin when one has ended.
    assert len(encoded(fed(*answer("one"), *answer("two"), policy="strict"))) == 1
    second = [{**wire, "choices": [{**wire["choices"][0], "index": 1}]} for wire in answer("b")[:3]]
    (completion,) = encoded(fed(*answer("a")[:3], *second))
    assert [one["message"]["content"] for one in completion["choices"]] == ["a+", "b+"]


def test_no_id_is_made_up_for_what_is_malformed() -> None:
    made: list[str] = []

    def new_id() -> str:
        made.append("x")
        return "x"

    adapter = OpenAIChatAdapter(Context(new_id=new_id))
    for wire in (begin("", choices=None), begin(choices=[1], id=None), begin(7)):
        with pytest.raises(MalformedEvent):
            adapter.decode(wire)
    assert made == []
    adapter.decode(begin(""))
    assert made == ["x"]


@pytest.mark.parametrize(
    "first", [begin("0"), chunk({"role": "assistant", "content": "-"}, id="0")]
)
def test_another_id_on_each_chunk_is_one_completion(first: Wire) -> None:
    """llama.cpp, LiteLLM and others did so: the official client does not look at ids."""
    store = fed(
        first,
        chunk({"content": "a"}, id="1"),
        chunk({"content": "b"}, id="2"),
        chunk({"content": "c", "role": "assistant"}, id="3"),
        chunk({}, "stop", id="4"),
        {**chunk(id="5"), "choices": [], "usage": {"n": 1}},
    )
    (completion,) = encoded(store)
    assert completion["choices"][0]["message"]["content"].endswith("abc")
    assert (completion["id"], completion["usage"]) == ("0", {"n": 1})


@pytest.mark.parametrize(
    "first", [begin("0"), chunk({"role": "assistant", "content": "a"}, id="0")]
)
def test_another_id_and_the_role_on_each_chunk_is_one_completion(first: Wire) -> None:
    """Foundry Local: what has no text, a thought, a call or the end, begins nothing either."""
    brought: list[Wire] = [
        {"content": "", "reasoning_content": "r"},
        {"content": None, "reasoning_content": "s"},
        {"content": "b"},
        {"content": ""},
        {"content": "c"},
        {"tool_calls": [call(0, "{", "f", id="t")]},
        {"content": None, "tool_calls": [call(0, "}")]},
    ]
    wires = [{"role": "assistant", **members} for members in brought]
    end = chunk({"role": "assistant", "content": ""}, "stop", id="end")
    store = fed(first, *(chunk(wire, id=f"x{n}") for n, wire in enumerate(wires)), end)
    (completion,) = encoded(store)
    told = completion["choices"][0]["message"]
    assert (completion["id"], told["reasoning_content"], told["content"][-2:]) == ("0", "rs", "bc")
    assert told["tool_calls"][0]["function"]["arguments"] == "{}"
    assert completion["choices"][0]["finish_reason"] == "stop"


def test_responses_with_an_id_for_each_chunk_are_told_by_their_ends() -> None:
    number = iter(range(99))

    def answer(text: str, role: Any) -> list[Wire]:
        wires = [chunk({"content": text, **role}), chunk({"content": "+"}), chunk({}, "stop")]
        wires.append({**chunk({}, "stop"), "choices": [], "usage": {"n": 1}})
        return [{**wire, "id": str(next(number))} for wire in wires]

    for role in ({"role": "assistant"}, {}):
        store = fed(*answer("one", role), *answer("two", role))
        texts = [one["choices"][0]["message"]["content"] for one in encoded(store)]
        assert texts == ["one+", "two+"]


def test_an_answer_that_was_cut_after_its_first_chunk_is_not_gone_on_with() -> None:
    store = fed(begin("a"), begin("b"), chunk({"content": "x"}, id="b"))
    assert [one["id"] for one in encoded(store)] == ["a", "b"]
    # Where the role is on every chunk, one with an id of its own says nothing; a second one does.
    role = {"role": "assistant"}
    texts = [chunk({**role, "content": text}, id=id) for id, text in ("ax", "b1", "b2", "b3")]
    store = fed(*texts, chunk({**role, "content": ""}, "stop", id="b"))
    told = [(one["id"], one["choices"][0]["message"]["content"]) for one in encoded(store)]
    assert told == [("a", "x1"), ("b", "23")]


def test_chunks_that_say_they_are_something_else_are_taken_unless_strict() -> None:
    """Perplexity ends with `chat.completion.done`, and once gave all chunks the object of a whole."""
    named = ["chat.completion.chunk", "chat.completion", "chat.reasoning", "chat.completion.done"]
    ends = [None, None, None, "stop"]
    wires = [chunk({"content": n[-1]}, end, object=n) for n, end in zip(named, ends, strict=True)]
    assert message_of(fed(begin(), *wires))["content"] == "knge"
    assert message_of(fed(begin(), *wires, policy="strict"))["content"] == "k"
    # A whole answer may have an empty delta beside its message, and a chunk the message so far.
    for so_far in ("a", "ab", "ab"):
        wires[1]["choices"][0]["message"] = {"role": "assistant", "content": so_far}
        assert message_of(fed(wires[1]))["content"] == so_far
    with pytest.raises(UnknownEvent):
        OpenAIChatAdapter(Context()).decode(chunk({"content": "a"}, object="thread.message"))


def test_the_log_probability_of_a_token_may_be_a_number() -> None:
    """Together: the number alone, in each chunk."""
    texts = ["a", "b"]
    wires = [chunk({"content": value}) for value in texts]
    for wire in wires:
        wire["choices"][0]["logprobs"] = -0.5
    (completion,) = encoded(fed(begin(), *wires, chunk({}, "stop")))
    told = completion["choices"][0]
    assert told["message"]["content"] == "ab"
    assert told["logprobs"]["content"] == [{"token": value, "logprob": -0.5} for value in texts]


def test_what_comes_before_a_completion_has_an_id_or_a_choice_is_no_completion() -> None:
    """Gateways before Azure: the prompt's filter results in a chunk without id and choices."""
    first = {**begin("", prompt_filter_results=[]), "choices": []}
    store = fed(first, begin(), chunk({"content": "a"}))
    assert [one["id"] for one in encoded(store)] == ["c"]
    assert [one["id"] for one in encoded(fed(first, policy="strict"))] == [""]


def test_responses_one_after_the_other_on_one_stream_are_completions() -> None:
    store, stream = opened()
    for id in ("a", "b"):
        stream.ingest_many([begin(id), chunk({"content": id}, id=id), chunk({}, "stop", id=id)])
    stream.ingest_many([begin("cut"), chunk({"content": "x"}, id="cut")])
    stream.ingest_many([begin("d"), chunk({"content": "d"}, id="d")])
    texts = [one["choices"][0]["message"]["content"] for one in encoded(store)]
    assert texts == ["a", "b", "x", "d"]
    stream.ingest(chunk({"content": "y"}, id="cut"))
    assert encoded(store)[2]["choices"][0]["message"]["content"] == "xy"


def test_a_chunk_that_does_not_say_what_it_is_is_taken_unless_strict() -> None:
    wires = [without(begin(), "object"), without(chunk({"content": "a"}), "object")]
    assert message_of(fed(*wires))["content"] == "a"
    assert detect(wires[0]) is detect(wires[1]) is OpenAIChatAdapter
    store = StreamStore()  # Azure's first one, before Copilot's
    store.ingest_many([{**begin("", prompt_filter_results=[]), "choices": []}, *wires])
    store.flush()
    assert [part.text for part in store.parts("main", "c")] == ["a"]
    assert encoded(fed(*wires, policy="strict")) == []


def test_an_index_that_is_missing_is_the_first_choice() -> None:
    wire = chunk({"content": "a"})
    del wire["choices"][0]["index"]
    wire["choices"][0]["delta"]["role"] = "assistant"
    assert message_of(fed(wire))["content"] == "a"


def test_a_chunk_with_an_error_brings_its_text_and_ends_the_completion() -> None:
    """OpenRouter: the error rides on a chunk whose finish_reason is `error`."""
    error = {"code": 502, "message": "upstream"}
    store = fed(begin(), chunk({"content": "a"}), chunk({"content": "b"}, "error", error=error))
    (message,) = store.messages("s")
    assert (message.status, message.error["message"]) == ("error", "upstream")
    assert message_of(store)["content"] == "ab"


@pytest.mark.parametrize("beside", [False, True])
def test_an_error_of_a_choice_is_the_one_that_its_message_ends_with(beside: bool) -> None:
    """OpenRouter, where it is an error of the choice's own; told once if the chunk has it, too."""
    error = {"code": 502, "message": "upstream"}
    end = chunk({"content": "b"}, "error", **({"error": error} if beside else {}))
    end["choices"][0]["error"] = error
    store = fed(begin(), chunk({"content": "a"}), chunk({"content": "x"}, index=1), end, end)
    found, other = store.messages("s")
    assert (found.status, other.status) == ("error", "error" if beside else "open")
    assert found.error == {"name": "error", "message": "upstream", "data": error}
    session = store.session("s")
    assert session is not None and session.errors == (found.error,) * (2 if beside else 1)


@pytest.mark.parametrize("saved", [False, True])
def test_an_error_of_a_choice_is_told_once_however_often_its_completion_is_read(
    saved: bool,
) -> None:
    error = {"code": 502, "message": "upstream"}
    streamed = [begin(), chunk({"content": "a"}), chunk({}, "error")]
    streamed[-1]["choices"][0]["error"] = error
    store = fed(*streamed)
    (whole,) = encoded(store)
    whole["choices"][0]["error"] = error  # the official client takes nothing of an end
    for wires in ([[whole]], streamed, [whole]):
        if saved:
            store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        store.open("openai-chat", session_id="s").ingest_many(wires)
        store.flush()
        (found,) = store.messages("s")
        assert (found.status, found.error) == (
            "error",
            {"name": "error", "message": "upstream", "data": error},
        )
    session = store.session("s")
    assert session is not None and session.errors == (found.error,)


@pytest.mark.parametrize(
    ("wire", "message", "name"),
    [
        ({"error": {"message": "m", "type": "t", "code": "k"}}, "m", "t"),
        ({"error": {"message": "m", "code": "k"}}, "m", "k"),
        ({"error": "text"}, "text", "error"),
        ({"error": {"code": 5}}, "an error occurred while streaming", "error"),
        ({"error": [1]}, "an error occurred while streaming", "error"),
        ({"object": "error", "message": "m", "type": "t"}, "m", "t"),
    ],
)
def test_errors_in_the_stream(wire: Wire, message: str, name: str) -> None:
    store = fed(wire)
    session = store.session("s")
    assert session is not None and store.messages("s") == ()
    assert (session.errors[0]["message"], session.errors[0]["name"]) == (message, name)
    store = fed(begin(), wire)
    assert [one.status for one in store.messages("s")] == ["error"]
    store = fed({**begin(), "choices": []}, wire)
    assert [one.status for one in store.messages("s")] == ["error"]
    store = fed(begin(), chunk({}, "stop"), chunk({"role": "assistant"}, index=1), wire, wire)
    assert [one.status for one in store.messages("s")] == ["completed", "error"]


def test_an_error_is_told_once_however_often_its_completion_is_sent() -> None:
    log, error = [begin(), chunk({"content": "a"})], {"error": {"message": "m", "type": "t"}}
    store = fed(*log, error)
    before = store.state()["sessions"]
    for cut in (2, 1, 2):
        store.open("openai-chat", session_id="s").ingest_many([*log[:cut], error])
    store.flush()
    assert store.state()["sessions"] == before
    stream = store.open("openai-chat", session_id="s")
    stream.ingest_many([*log, error])
    assert stream.ingest(error).kind == "duplicate"
    # In other words, twice in one delivery, of another completion or of none it is another one.
    other = {"error": {"message": "m2", "type": "t"}}
    for wires in ([*log, other, other], [{**begin(), "id": "c2"}, error], [error]):
        store.open("openai-chat", session_id="s").ingest_many(wires)
    store.flush()
    session = store.session("s")
    assert session is not None and len(session.errors) == 5


@pytest.mark.parametrize("first", [{"content": "a"}, {"role": "assistant"}])
def test_an_error_ends_the_first_choice_also_when_nothing_of_it_came(first: Wire) -> None:
    errors = [{"error": {"message": name}} for name in ("one", "two")]
    store, stream = opened()
    stream.ingest_many([chunk(first, index=1), errors[0]])
    store.flush()
    assert [one.status for one in store.messages("s")] == ["error", "error"]
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    stream = store.open("openai-chat", session_id="s")
    stream.ingest_many([errors[1], begin(), errors[1], chunk({"content": "b"}, "stop"), errors[1]])
    store.flush()
    told = [(one.id, one.status, one.error["message"]) for one in store.messages("s")]
    assert told == [("c", "error", "one"), ("c#1", "error", "one")]
    # One that ended stays as it is, and so does what no stream here has seen the start of.
    store = fed(chunk(first, index=1), chunk({}, "stop", index=1), errors[0])
    assert [one.status for one in store.messages("s")] == ["error", "completed"]
    store = fed(begin(), chunk({}, "stop"), chunk(first, "stop", index=1), errors[0])
    assert [one.status for one in store.messages("s")] == ["completed", "completed"]


# --- strict ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wires",
    [
        [begin(), {"error": {"message": "m"}}],
        [chunk({"content": "a"}, index=1)],
        [begin(), chunk({"content": "a"}, index=2)],
        [begin(), calling(call(1, "", "f", id="x"))],
        [begin(), calling(call(0, "", "f", id="x")), calling(call(2, "", "f", id="y"))],
        [begin(), calling({"index": 0, "id": "x", "type": "function"})],
        [begin(), calling({"id": "x", "function": {"name": "f"}})],
        [begin(), chunk(index=None)],
        [begin(), {**chunk(), "choices": None}],
        [begin(), {**chunk(), "choices": [{"index": 0}]}],
        [begin(), 5],
    ],
)
def test_a_strict_stream_stops_where_the_official_client_does(wires: list[Any]) -> None:
    store, stream = opened("strict")
    assert all(stream.ingest(wire) is ACCEPTED for wire in wires[:-1])
    before = encoded(store)
    verdict = stream.ingest(wires[-1])
    assert verdict.reason == "stopped" or verdict.kind == "malformed"
    assert stream.ingest(chunk({"content": "late"})).reason == "stopped"
    assert encoded(store) == before
    lenient, stream = opened()
    for wire in wires:
        stream.ingest(wire)
    stream.ingest(chunk({"content": "late"}))
    assert "late" in json.dumps(encoded(lenient))


@pytest.mark.parametrize(
    "wires",
    [
        [begin(), chunk({"content": "a"}, index=1), chunk({"content": "b"}, index=1)],
        [
            begin(),
            calling(call(0, "", "f", id="x"), call(1, "", "f", id="y")),
            calling(call(1, "1")),
        ],
        [begin(), calling({"index": 0, "id": "x", "type": "custom", "custom": {"name": "f"}})],
        [begin(), chunk({"content": "a"}, id="other"), begin("third")],
        [begin(), {"object": "thread.message", "id": "t"}, chunk({"content": "a"})],
    ],
)
def test_a_strict_stream_goes_on_where_the_official_client_does(wires: list[Any]) -> None:
    store = fed(*wires, policy="strict")
    assert not any("stopped" in name for name in store.health.counts["verdicts"])
    assert len(encoded(store)) == 1  # all chunks of a stream are of one completion there


def test_nothing_is_half_taken_in_from_a_chunk_that_is_refused() -> None:
    wire = begin()
    wire["choices"].append({"index": 1, "delta": {"content": 5}, "finish_reason": None})
    store, stream = opened()
    verdict = stream.ingest(wire)
    assert (verdict.kind, verdict.reason) == ("malformed", "choices.1.delta.content")
    assert encoded(store) == [] and store.messages("s") == ()


# --- replays --------------------------------------------------------------------------------------


@each_short_case
def test_a_replay_on_a_new_stream_is_built_anew_and_not_doubled(name: str) -> None:
    case = case_of(name)
    store, stream = opened(ticks="each")
    watcher = Watcher(store)
    stream.ingest_many(case.events)
    stream.end()
    before, order = encoded(store), [message.id for message in store.messages("s")]
    for _ in range(2):
        stream = store.open("openai-chat", session_id="s")
        stream.ingest_many(copy.deepcopy(case.events))
        stream.end()
        assert encoded(store) == before == [case.expected["snapshot"]]
        assert [message.id for message in store.messages("s")] == order
    for (key, field), text in watcher.texts.items():
        part = store.part(*key)
        assert part is not None and part.field_text(field) == text


@each_short_case
def test_a_replay_after_a_cut_closes_the_gap(name: str) -> None:
    case = case_of(name)
    for cut in (2, len(case.events) // 2, len(case.events) - 1):
        store, stream = opened()
        stream.ingest_many(case.events[:cut])
        stream.end()
        stream = store.open("openai-chat", session_id="s")
        stream.ingest_many(case.events)
        store.flush()
        assert store.health.gaps == ()
        assert encoded(store) == [case.expected["snapshot"]]


def test_a_replay_shows_the_old_text_until_its_own_comes() -> None:
    wires = [begin(), chunk({"content": "hel"}), chunk({"content": "lo"}), chunk({}, "stop")]
    store, stream = opened(ticks="each")
    stream.ingest_many(wires)
    watcher = Watcher(store)
    stream = store.open("openai-chat", session_id="s")
    seen = []
    for wire in wires:
        stream.ingest(wire)
        seen.append({index: part.text for index, part in parts_of(store).items()})
    assert seen == [{"content": "hello"}, {"content": "hel"}, {"content": "hello"}] + seen[-1:]
    assert watcher.rewritten == 1


def test_a_replay_brings_back_a_message_that_was_removed() -> None:
    """Law L8 of streams without seq: what says everything adds it again."""
    wires = [begin(), chunk({"content": "a"}), chunk({}, "stop")]
    store, stream = opened()
    stream.ingest_many(wires)
    store.apply(MessageRemoved(session_id="s", message_id="c"))
    stream = store.open("openai-chat", session_id="s")
    stream.ingest_many(wires)
    assert message_of(store)["content"] == "a"


def test_two_streams_that_deliver_one_completion_do_not_double_it() -> None:
    wires = [begin(), *(chunk({"content": str(n)}) for n in range(8)), chunk({}, "stop")]
    store, first = opened(ticks="each")
    first.ingest_many(wires[:5])
    second = store.open("openai-chat", session_id="s")
    for place, wire in enumerate(wires):
        assert second.ingest(wire) is ACCEPTED
        if place + 5 < len(wires):
            assert first.ingest(wires[place + 5]) is DUPLICATE
    assert message_of(store)["content"] == "01234567"
    assert store.health.counts["verdicts"]["duplicate"] == len(wires) - 5


def test_what_an_older_stream_still_brings_does_not_take_the_short_way() -> None:
    store, first = opened()
    wires = [begin(), chunk({"content": "a"}), chunk({"content": "b"})]
    first.ingest_many(wires)
    second = store.open("openai-chat", session_id="s")
    second.ingest_many(wires)
    assert plain(first._adapter, chunk({"content": "c"})) is None
    assert first.ingest(chunk({"content": "c"})) is DUPLICATE
    assert second.ingest(chunk({"content": "c"})) is ACCEPTED
    assert first.ingest(calling(call(0, "{", "f", id="x"))) is DUPLICATE
    assert message_of(store)["content"] == "abc"


def test_a_stream_that_goes_on_in_the_middle_appends() -> None:
    """A transport that resumes: the first chunk has no role, though the completion began with one."""
    store, stream = opened()
    stream.ingest_many([begin(), chunk({"content": "a"}), calling(call(0, "{", "f", id="x"))])
    stream.end()
    stream = store.open("openai-chat", session_id="s")
    stream.ingest_many([calling(call(0, "}")), chunk({"content": "b"}), chunk({}, "stop")])
    assert message_of(store)["content"] == "ab"
    assert calls_of(store) == [("x", "f", "{}")]
    assert len(encoded(store)) == 1


def test_a_replay_of_a_server_without_roles_is_one_too() -> None:
    wires = [chunk({"content": "a"}), chunk({"content": "b"}), chunk({}, "stop")]
    store, stream = opened()
    stream.ingest_many(wires)
    stream = store.open("openai-chat", session_id="s")
    stream.ingest_many(wires)
    assert message_of(store)["content"] == "ab"


def test_an_id_that_is_used_again_at_another_time_is_another_completion() -> None:
    """Ollama has a thousand ids; a replay has the same `created`, another answer has not."""
    store, stream = opened()

    def answer(text: str, created: Any) -> list[Wire]:
        wires = [begin(), chunk({"content": text}), chunk({}, "stop")]
        return [{**wire, "created": created} for wire in wires]

    for text, created in (("one", 100), ("two", 200), ("one", 100), ("two", 200)):
        stream = store.open("openai-chat", session_id="s")
        stream.ingest_many(answer(text, created))
        stream.end()
    store.flush()
    assert [message.id for message in store.messages("s")] == ["c", "c@200"]
    texts = [(one["id"], one["choices"][0]["message"]["content"]) for one in encoded(store)]
    assert texts == [("c", "one"), ("c", "two")]


def test_the_same_id_in_another_session_is_another_message() -> None:
    store = StreamStore("openai-chat")
    for session in ("a", "b"):
        stream = store.open("openai-chat", session_id=session)
        stream.ingest_many([begin(), chunk({"content": session})])
    store.flush()
    assert [store.part(s, "c", "content").text for s in "ab"] == ["a", "b"]  # type: ignore[union-attr]


def test_a_late_usage_of_a_completion_that_is_forgotten_still_counts() -> None:
    store, stream = opened()
    stream.ingest_many([begin(), chunk({"content": "a"}), chunk({}, "stop")])
    assert plain(stream._adapter, chunk({"content": "b"})) is None
    other = store.open("openai-chat", session_id="s")
    for number in range(openai_chat._OPEN + 1):
        other.ingest_many([begin(f"o{number}"), chunk({}, "stop", id=f"o{number}")])
    assert stream.ingest({**chunk(), "choices": [], "usage": {"n": 1}}) is ACCEPTED
    (completion, *_) = encoded(store)
    assert completion["usage"] == {"n": 1}
    assert completion["choices"][0]["message"]["content"] == "a"


def test_more_completions_at_once_than_are_kept_in_mind_go_on() -> None:
    """What is forgotten of one is what its chunks opened; they open it again, and nothing is lost."""
    number = openai_chat._OPEN + 4
    store = StreamStore("openai-chat", ticks="manual")
    streams = [store.open("openai-chat", session_id="s") for _ in range(number)]
    for place, stream in enumerate(streams):
        stream.ingest_many([begin(f"c{place}"), chunk({"content": "a"}, id=f"c{place}")])
        stream.ingest(chunk({"content": "b"}, id=f"c{place}"))
        stream.ingest(calling(call(0, "{", "f", id="x"), id=f"c{place}"))
    for place, stream in enumerate(streams):
        stream.ingest(calling(call(0, "}"), id=f"c{place}"))
        stream.ingest_many([chunk({"content": "c"}, id=f"c{place}") for _ in range(2)])
        stream.ingest(chunk({}, "stop", id=f"c{place}"))
    for place, completion in enumerate(encoded(store)):
        message = completion["choices"][0]["message"]
        assert (completion["id"], message["content"]) == (f"c{place}", "abcc")
        assert message["tool_calls"][0]["function"]["arguments"] == "{}"
    assert {message.status for message in store.messages("s")} == {"completed"}


# --- whole completions ----------------------------------------------------------------------------


@each_short_case
def test_a_whole_completion_comes_back_as_it_came(name: str) -> None:
    snapshot = case_of(name).expected["snapshot"]
    store, stream = opened()
    assert stream.ingest(snapshot) is ACCEPTED
    assert encoded(store) == [snapshot]
    assert {message.status for message in store.messages("s")} == {"completed"}
    assert OpenAIChatAdapter.detects(snapshot)


@each_short_case
def test_a_whole_completion_takes_the_place_of_a_cut_one(name: str) -> None:
    case = case_of(name)
    snapshot = case.expected["snapshot"]
    store, stream = opened()
    stream.ingest_many(case.events[: len(case.events) // 2])
    stream.end()
    stream = store.open("openai-chat", session_id="s")
    stream.ingest(snapshot)
    assert encoded(store) == [snapshot]
    assert store.health.gaps == ()


def test_a_list_of_completions_is_a_history() -> None:
    snapshots = [case_of(name).expected["snapshot"] for name in SHORT]
    store, stream = opened()
    assert stream.ingest(snapshots) is ACCEPTED
    assert encoded(store) == snapshots
    page = {"object": "list", "data": snapshots, "has_more": False}
    assert OpenAIChatAdapter.detects(snapshots) and OpenAIChatAdapter.detects(page)
    other, stream = opened()
    stream.ingest(page)
    assert state_of(other) == state_of(store)
    before = {message.id: message for message in store.messages("s")}
    store.open("openai-chat", session_id="s").ingest(page)
    store.flush()
    assert {message.id: message for message in store.messages("s")} == before
    assert encoded(store) == snapshots


def test_one_malformed_completion_of_a_list_keeps_all_of_it_out() -> None:
    good = case_of("empty-text").expected["snapshot"]
    store, stream = opened()
    verdict = stream.ingest([good, {"object": "chat.completion", "choices": [{"message": 1}]}])
    assert (verdict.kind, verdict.reason) == ("malformed", "1.choices.0.message")
    assert store.messages("s") == ()


def test_a_whole_completion_reads_like_a_streamed_one() -> None:
    case = case_of("tool-calls-same-chunk")
    streamed = fed(*case.events)
    whole = fed(case.expected["snapshot"])
    for store in (streamed, whole):
        (message,) = store.messages("s")
        assert message.status == "completed" and message.role == "assistant"
    for one, other in zip(
        *(store.parts("s", case.events[0]["id"]) for store in (streamed, whole)), strict=True
    ):
        assert (one.key, one.kind, one.text, one.status) == (
            other.key,
            other.kind,
            other.text,
            other.status,
        )
        assert one.field_text("input") == other.field_text("input")
        assert one.tool is not None and other.tool is not None
        assert (one.tool.name, one.tool.call_id, one.tool.status) == (
            other.tool.name,
            other.tool.call_id,
            other.tool.status,
        )


# --- malformed and hostile ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        (5, ""),
        ({}, "object"),
        ({"object": 5}, "object"),
        (begin(5), "id"),
        (begin(choices=None), "choices"),
        (begin(choices={}), "choices"),
        (begin(choices=[5]), "choices.0"),
        (chunk(index=-1), "choices.0.index"),
        (chunk(index=True), "choices.0.index"),
        (chunk(index="0"), "choices.0.index"),
        (chunk(index=2**63), "choices.0.index"),
        (chunk(finish=5), "choices.0.finish_reason"),
        (chunk("text"), "choices.0.delta"),
        (chunk({"role": 5}), "choices.0.delta.role"),
        (chunk({"content": 5}), "choices.0.delta.content"),
        (chunk({"content": ["text"]}), "choices.0.delta.content"),
        (chunk({"refusal": {}}), "choices.0.delta.refusal"),
        (chunk({"tool_calls": {}}), "choices.0.delta.tool_calls"),
        (chunk({"tool_calls": [5]}), "choices.0.delta.tool_calls.0"),
        (calling(call("0")), "choices.0.delta.tool_calls.0.index"),
        (calling(call(0, id=5)), "choices.0.delta.tool_calls.0.id"),
        (calling(call(0, type=5)), "choices.0.delta.tool_calls.0.type"),
        (calling(call(0, 5)), "choices.0.delta.tool_calls.0.function.arguments"),
        (calling(call(0, "", 5)), "choices.0.delta.tool_calls.0.function.name"),
        (calling({"index": 0, "function": []}), "choices.0.delta.tool_calls.0.function"),
        (chunk({"function_call": []}), "choices.0.delta.function_call"),
        (chunk({"function_call": {"name": 5}}), "choices.0.delta.function_call.name"),
        (chunk({"beats": 10**5000}), "choices.0.delta.beats"),
        ({"object": "chat.completion", "choices": 5}, "choices"),
        ({"object": "list", "data": 5}, "data"),
        ({"object": "list", "data": [5]}, "data.0"),
        ([{"object": "model"}], "0.object"),
    ],
)
def test_what_is_malformed_is_named_and_leaves_no_trace(wire: Any, field: str) -> None:
    adapter = OpenAIChatAdapter(Context())
    adapter.decode(begin())
    memory = copy.deepcopy((adapter._own, adapter._session))
    with pytest.raises(MalformedEvent) as caught:
        adapter.decode(wire)
    assert caught.value.field == field
    assert (adapter._own, adapter._session) == memory


def test_log_probabilities_that_are_no_list_are_malformed() -> None:
    wire = chunk()
    for logprobs, field in ((5, "logprobs"), ({"content": {}}, "logprobs.content")):
        wire["choices"][0]["logprobs"] = logprobs
        with pytest.raises(MalformedEvent) as caught:
            OpenAIChatAdapter(Context()).decode(wire)
        assert caught.value.field == f"choices.0.{field}"


def test_what_is_of_another_kind_is_unknown() -> None:
    with pytest.raises(UnknownEvent):
        OpenAIChatAdapter(Context()).decode({"object": "text_completion", "choices": []})


def test_what_the_caller_changes_later_changes_nothing() -> None:
    first = begin(extra={"a": [1]})
    first["choices"][0]["note"] = {"b": [1]}
    tool = calling({**call(0, "", "f", id="x"), "more": {"c": [1]}})
    wires = [first, tool]
    own: Wire = {}
    shared: dict[str, Wire] = {}
    adapter = OpenAIChatAdapter(Context(own=own, shared=shared))
    for wire in wires:
        adapter.decode(wire)
    memory = copy.deepcopy(shared)
    first["extra"]["a"].append(2)
    first["choices"][0]["note"]["b"].append(2)
    tool["choices"][0]["delta"]["tool_calls"][0]["more"]["c"].append(2)
    assert shared == memory


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.just(2**64)
    | st.floats(allow_nan=False, allow_infinity=False, width=16)
    | st.sampled_from(["", "c", "0", "assistant", "stop", "error", "\ud83d", "chat.completion"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "id object choices index delta message role content refusal reasoning mood "
                "tool_calls function_call function custom name arguments input type logprobs "
                "finish_reason usage system_fingerprint created error annotations data".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)

RECORDED = [
    wire
    for name in (
        "azure-filter-events",
        "choices-in-one-chunk",
        "error-midstream",
        "legacy-function-call",
        "provider-reasoning-content",
        "text-logprobs",
        "tool-calls-same-chunk",
    )
    for wire in (*case_of(name).events[:8], *case_of(name).events[-3:])
] + [
    case_of("tool-call-empty-args").expected["snapshot"],
    case_of("text-logprobs").expected["snapshot"],
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def recorded() -> Any:
    """A recorded wire object, by its number: the objects themselves are too long to be named."""
    return st.integers(0, len(RECORDED) - 1).map(lambda number: RECORDED[number])


@st.composite
def mutated(draw: Any) -> Any:
    """A recorded chunk with one or two of its members replaced, removed or added."""
    wire = copy.deepcopy(draw(recorded()))
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from([one for one in places(wire) if one] or [()]))
        if not path:
            return draw(JSON)
        holder = wire
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            holder[path[-1]] = draw(JSON)
        elif isinstance(holder, dict):
            del holder[path[-1]]
    return wire


def run(adapter: OpenAIChatAdapter, wire: Any) -> list[Event] | str:
    """What a wire object comes to; when it is none, the memory must be as it was."""
    memory = copy.deepcopy((adapter._own, adapter._session))
    try:
        found = list(adapter.decode(wire))
    except (MalformedEvent, UnknownEvent, RepeatedEvent, ProtocolStopped) as error:
        assert (adapter._own, adapter._session) == memory
        return type(error).__name__
    assert json.loads(json.dumps(adapter._own)) == adapter._own
    assert json.loads(json.dumps(adapter._session)) == adapter._session
    for event in found:
        encode_event(event)
    return found


def assert_ways_agree(adapter: OpenAIChatAdapter, longer: OpenAIChatAdapter, wire: Any) -> None:
    """Three ways of one wire object: what is plain, decoded shortly, and the long way."""
    delta = plain(adapter, wire)
    found = run(adapter, wire)
    assert found == run(longer, wire)
    assert (adapter._own, adapter._session) == (longer._own, longer._session)
    if delta is not None:
        assert_is_the_delta(delta, found)


@settings(max_examples=150)
@given(st.lists(JSON | mutated(), max_size=8), st.booleans())
def test_anything_is_events_or_an_error_and_the_short_ways_agree(
    wires: list[Any], strict: bool
) -> None:
    adapter = OpenAIChatAdapter(Context(session_id="s", strict=strict))
    longer = LongWay(Context(session_id="s", strict=strict))
    for wire in wires:
        OpenAIChatAdapter.detects(wire)
        before = copy.deepcopy(wire)
        assert_ways_agree(adapter, longer, wire)
        assert wire == before


@settings(max_examples=60)
@given(st.lists(mutated() | recorded(), max_size=8), st.integers(0, 8), st.booleans())
def test_a_store_survives_it_and_a_saved_state_goes_on(
    wires: list[Any], cut: int, strict: bool
) -> None:
    policy: Any = "strict" if strict else "lenient"
    store, stream = opened(policy, ticks="each")
    Watcher(store)
    stream.ingest_many(copy.deepcopy(wires))
    encoded(store)
    other, stream = opened(policy)
    stream.ingest_many(copy.deepcopy(wires[:cut]))
    loaded = StreamStore.load(json.loads(json.dumps(other.save())), ticks="manual")
    loaded.open("openai-chat", session_id="s", policy=policy).ingest_many(
        copy.deepcopy(wires[cut:])
    )
    assert state_of(loaded) == state_of(store)
    assert encoded(loaded) == encoded(store)


class Unasked(OpenAIChatAdapter):
    """The adapter without the short way of a store."""

    def plain(self, wire: Any) -> None:
        return None


#: What may come between arguments, and what they may be. The first are what usually comes.
PIECES: list[Any] = [
    MORE,
    calling(call(1, "1")),
    calling(call(0, "\ud83d")),
    calling(call(0, "\ude00")),
    TEXT,
    chunk({"reasoning_content": "r"}),
    calling(FIRST),
    calling(SECOND),
    calling(call(0, "2", "f", id="x", type="function")),
    calling(call(0, "3", "", id="")),
    calling({**call(0, "4"), "id": None}),
    chunk({"role": "assistant", "content": None, "tool_calls": [call(0, "5")]}),
    chunk({"content": "", "tool_calls": [call(1, "5", "g")]}),
    chunk({"content": "t", "tool_calls": [call(0, "6")]}),
    calling(FIRST, SECOND),
    calling(call(0, "6"), call(1, "7")),
    calling(call(1, "6", id="x")),
    calling(call(0, "7", "h", id="z")),
    calling(call(0, "8", id="z")),
    calling(call(0, "8", type="custom")),
    calling(call(0, "8", more={"a": 1})),
    calling({"index": 0, "custom": {"input": "9"}}),
    calling(call(0, "")),
    calling(call(0)),
    calling(),
    calling(call(0, 1)),
    calling(call(True, "1")),
    calling(call(0.0, "1")),
    calling(without(call(0, "1"), "index")),
    calling(without(call(0, "1", "f"), "index")),
    chunk({"function_call": {"name": "f", "arguments": "1"}}),
    chunk({"content": [{"type": "text", "text": "p"}]}),
    chunk({"content": [{"type": "thinking", "thinking": "q"}, {"type": "other"}]}),
    chunk({"tool_calls": [call(0, "1")]}, index=1),
    chunk({"tool_calls": [call(0, "1", "f", id="w")]}, index=1),
    calling(call(0, "1"), id="d"),
    begin("d"),
    begin(),
    WHOLE,
    calling(call(0, "1"), finish="tool_calls"),
    calling(call(0, '{"a":1}')),
    calling(call(0, "{}")),
    chunk({}, "stop"),
    chunk({}, usage={"n": 1}),
    calling(call(0, "1"), system_fingerprint="other"),
    calling(call(0, "1"), error={"message": "m"}),
    {"error": {"message": "m"}},
    "text",
]


@st.composite
def lives(draw: Any) -> list[Any]:
    """Runs of wire objects for one of two streams, ticks and saves between them."""
    steps: list[Any] = [(0, CALLED)] if draw(st.integers(0, 3)) else []
    piece = st.integers(0, 7) | st.integers(0, len(PIECES) - 1)
    run = st.tuples(piece, st.sampled_from([1, 1, 1, 2, 6])).map(lambda p: [PIECES[p[0]]] * p[1])
    batch = st.lists(run, min_size=1, max_size=4).map(lambda runs: [*itertools.chain(*runs)])
    step = st.tuples(st.sampled_from([0, 0, 0, 1]), batch)
    steps += draw(st.lists(step | step | step | st.sampled_from(["flush", "save"]), max_size=12))
    return steps


def lived(adapter: type[OpenAIChatAdapter], steps: list[Any], options: Wire) -> Any:
    """What a store with an adapter says of each wire object, and what it is in the end."""
    told: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(adapters(), "openai-chat", adapter)
        store, stream = opened(**options)
        streams = [stream, store.open("openai-chat", session_id="s")]
        for step in [*steps, "flush"]:
            if step == "save":
                saved = json.loads(json.dumps(store.save()))
                told.append(merged(saved))
                store = StreamStore.load(saved, ticks="manual")
                streams = [store.open("openai-chat", session_id="s") for _ in streams]
            elif step == "flush":
                store.flush()
                told.append((store.state(), store.health.resume))
            else:
                number, wires = step
                told.append(streams[number].ingest_many(copy.deepcopy(wires)))
    return told, merged(store.save())


@settings(max_examples=150)
@given(lives(), st.sampled_from(["lenient", "strict"]), st.sampled_from(["streaming", "buffered"]))
def test_a_store_is_the_same_whether_the_short_ways_are_taken_or_not(
    steps: list[Any], policy: str, delivery: str
) -> None:
    options = {"policy": policy, "delivery": delivery}
    expected = lived(LongWay, steps, options)
    assert lived(Unasked, steps, options) == expected
    assert lived(OpenAIChatAdapter, steps, options) == expected


TEXTS = st.sampled_from(["a", "bc", "\ud83d", "\ude00", "ü", " "])


@st.composite
def answers(draw: Any) -> list[Wire]:
    """A well-formed stream of one completion: texts, calls, two choices."""
    wires = [begin()]
    calls: dict[int, int] = {0: 0, 1: 0}
    begun = {0}
    for _ in range(draw(st.integers(0, 12))):
        index = draw(st.sampled_from(sorted(begun | {len(begun)} & {1})))
        begun.add(index)
        kind = draw(st.sampled_from(["content", "refusal", "reasoning", "call", "more", "mood"]))
        if kind == "call":
            number = calls[index]
            calls[index] += 1
            delta: Wire = {"tool_calls": [call(number, "{", "f", id=f"{index}{number}")]}
        elif kind == "more" and calls[index]:
            number = draw(st.integers(0, calls[index] - 1))
            delta = {"tool_calls": [call(number, draw(TEXTS))]}
        else:
            delta = {kind if kind != "more" else "content": draw(TEXTS)}
        wires.append(chunk(delta, index=index))
    return [*wires, *(chunk({}, "stop", index=index) for index in sorted(begun))]


@settings(max_examples=60)
@given(answers(), st.integers(0, 14))
def test_a_naive_fold_gives_the_same_texts_also_after_a_replay(wires: list[Wire], cut: int) -> None:
    texts: dict[tuple[int, str], str] = {}
    for wire in wires:
        (choice,) = wire["choices"]
        for name, value in choice["delta"].items():
            if isinstance(value, str) and name != "role":
                key = (choice["index"], name)
                texts[key] = texts.get(key, "") + value
            elif name == "tool_calls":
                key = (choice["index"], f"tool:{value[0]['index']}")
                texts[key] = texts.get(key, "") + value[0]["function"].get("arguments", "")
    store, stream = opened(ticks="each")
    Watcher(store)
    stream.ingest_many(wires[:cut])
    stream.end()
    store.open("openai-chat", session_id="s").ingest_many(wires)
    (completion,) = encoded(store)
    found: dict[tuple[int, str], str] = {}
    for choice in completion["choices"]:
        for name, value in choice["message"].items():
            if isinstance(value, str) and name != "role":
                found[choice["index"], name] = value
        for one in choice["message"]["tool_calls"] or ():
            found[choice["index"], f"tool:{one['index']}"] = one["function"]["arguments"]

    def paired(text: str) -> str:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

    assert {key: text for key, text in found.items() if text} == {
        key: paired(text) for key, text in texts.items() if text
    }


def test_events_of_a_first_chunk_begin_with_what_says_all() -> None:
    adapter = OpenAIChatAdapter(Context())
    first, reset = adapter.decode(begin())
    assert isinstance(first, MessageUpdated) and first.whole and first.order == 0
    assert reset.type == "message.reset"
    assert thaw(first.info)["choice"] == {"index": 0, "finish_reason": None}


def test_a_removed_choice_takes_none_of_the_others_with_it() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("openai-chat", session_id="s")

    def chunk(text: str) -> dict[str, Any]:
        choices = [{"index": index, "delta": {"content": text}} for index in (0, 1)]
        return {"id": "c", "object": "chat.completion.chunk", "choices": choices}

    stream.ingest(chunk("a"))
    store.apply(MessageRemoved(session_id="s", message_id="c"))
    assert stream.ingest(chunk("b")).reason == "removed"
    store.flush()
    (message,) = store.messages("s")
    (part,) = store.parts("s", message.id)
    assert part.text == "ab"
    assert store.health.counts["characters"]["removed"] == 1
