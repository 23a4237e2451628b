"""The Vercel AI SDK's UI message stream: recorded responses and chats, and what no recording has.

The oracle is what the SDK's own two readers made of the same bytes: `expected.json` and
`snapshots.jsonl` of `readUIMessageStream`, `chat.json` of a `Chat`, see `tests/data/vercel-ui`.
Cases are those of that folder, and of a folder of corpora where there is one (`recordings.py`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import attrs
import pytest
import recordings
from hypothesis import example, given
from hypothesis import strategies as st
from recordings import Case, folders, kept, plain_json

from streamstore import ChangeSet, PartKey, StreamStore
from streamstore.adapters.base import Context, PlainDelta
from streamstore.adapters.vercel_ui import VercelUIAdapter
from streamstore.adapters.vercel_ui.partial import closed as closed_json
from streamstore.adapters.vercel_ui.partial import partial
from streamstore.errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from streamstore.events import (
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageOpened,
    Snapshot,
    decode_event,
    encode_event,
)
from streamstore.insights import tool_of as tool_of_request
from streamstore.protocols import detect

Wire = dict[str, Any]
MADE = ("local-", "client-")  # ids that a client made

FOLDERS = folders("vercel-ui")
CHATS = [name for name, path in FOLDERS.items() if (path / "actions.json").exists()]
RESPONSES = [name for name in FOLDERS if name not in CHATS]
SHORT = [name for name in RESPONSES if not name.startswith("long-")]


def test_no_case_is_lost() -> None:
    assert len(kept("vercel-ui")) == 47
    assert len(FOLDERS) in (47, 64)
    assert len(CHATS) == {47: 7, 64: 11}[len(FOLDERS)]


def case(name: str) -> Case:
    return recordings.case_of("vercel-ui", name)


def begun(name: str, stream: Any) -> None:
    """Give the stream of a continuation its request."""
    initial = case(name).json("initial.json")
    if initial is not None:
        stream.ingest({"messages": [initial]})


def fed(name: str, policy: Any = "lenient", size: int | None = None, **options: Any) -> StreamStore:
    store = StreamStore(**options)
    stream = store.open("vercel-ui", policy=policy)
    begun(name, stream)
    data = case(name).raw
    step = size or len(data)
    for start in range(0, len(data), step):
        stream.feed(data[start : start + step])
    stream.end()
    store.flush()
    return store


def encoded(store: StreamStore) -> list[Wire]:
    messages: list[Wire] = plain_json(VercelUIAdapter(Context()).encode(store))
    return messages


def state_of(store: StreamStore) -> Any:
    """The state that laws speak of: without counts."""
    return {name: value for name, value in store.state().items() if name != "counts"}


def without_made_ids(messages: Iterable[Wire | None]) -> list[Wire]:
    """Messages with "" for an id that a client made, as `readUIMessageStream` has it."""
    return [
        {**message, "id": "" if message["id"].startswith(MADE) else message["id"]}
        for message in messages
        if message is not None
    ]


# --- chunk by chunk -------------------------------------------------------------------------------
# What whole responses end in is held against the two readers in `test_oracles.py`.

DONE = {"type": "text", "text": "ok", "state": "done"}

#: Chunks that the reader yields no message for.
SILENT = frozenset(("start-step", "finish-step", "abort", "error"))


def is_silent(wire: Wire) -> bool:
    if wire["type"] in ("start", "finish", "message-metadata"):
        return wire.get("messageId") is None and wire.get("messageMetadata") is None
    return wire["type"] in SILENT or bool(wire.get("transient"))


def as_shown(value: Any, streaming: bool = False) -> Any:
    """A message without halves of characters at the end of what streams: they wait for the other.

    A reader of JavaScript shows them at once.
    """
    if isinstance(value, dict):
        streaming = streaming or value.get("state") in ("streaming", "input-streaming")
        return {name: as_shown(item, streaming) for name, item in value.items()}
    if isinstance(value, list):
        return [as_shown(item, streaming) for item in value]
    if streaming and isinstance(value, str) and "\ud800" <= value[-1:] <= "\udbff":
        return value[:-1]
    return value


@pytest.mark.parametrize("name", [n for n in SHORT if (FOLDERS[n] / "snapshots.jsonl").exists()])
def test_after_each_chunk_the_message_is_what_the_reader_yielded(name: str) -> None:
    snapshots = case(name).lines("snapshots.jsonl")
    strict = name not in ("error-midstream", "error-execute-throws")
    store = StreamStore(ticks="each")
    stream = store.open("vercel-ui", policy="strict" if strict else "lenient")
    begun(name, stream)
    seen = 0
    empty_reset = False
    for wire in case(name).responses[0]:
        before = encoded(store)
        verdict = stream.ingest(wire)
        if verdict.kind in ("refused", "malformed"):
            break
        now = encoded(store)
        if wire["type"] == "reset-step" and now == before:
            empty_reset = True  # there was nothing to take back
        elif not is_silent(wire):
            expected = as_shown(without_made_ids([snapshots[seen]]))
            assert without_made_ids(now[-1:]) == expected, f"after chunk {wire}"
            seen += 1
    assert seen == len(snapshots)
    assert empty_reset == (name == "reset-step")


# --- chats of several requests --------------------------------------------------------------------


def say_locally(store: StreamStore, message: Wire) -> None:
    """Add a message of the user as a program without the protocol's own list would."""
    there = store.messages("main")
    order = (there[-1].order or 0) + 0.5 if there else 0.5
    store.apply(
        MessageOpened(
            session_id="main", message_id=message["id"], role="user", order=order, local=True
        )
    )
    store.apply(
        BlockReplaced(
            session_id="main",
            message_id=message["id"],
            block_index=0,
            kind="text",
            text=message["parts"][0]["text"],
        )
    )


def play(
    name: str,
    *,
    listed: bool,
    feed: Callable[[StreamStore, Any, int], None] | None = None,
    store: StreamStore | None = None,
) -> StreamStore:
    """Do what the recorded chat did; `listed`: the adapter is told the requests."""
    recorded = case(name)
    store = store or StreamStore()
    users = [m for m in recorded.json("expected_messages.json") if m["role"] == "user"]
    initial = recorded.json("initial_messages.json")
    if initial:
        reader = store.open("vercel-ui")
        assert reader.ingest(initial).kind == "accepted"
        reader.end()
        store.flush()
        users = [user for user in users if user not in initial]
    for number, action in enumerate(recorded.json("actions.json")):
        stream = store.open("vercel-ui")
        if action != "resume" and listed:
            request = {"messages": [*encoded(store), users.pop(0)], "trigger": "submit-message"}
            assert stream.ingest(request).kind == "accepted"
        elif action != "resume":
            say_locally(store, users.pop(0))
        if feed is None:
            stream.feed(recorded.bodies[number])
        else:
            feed(store, stream, number)
        stream.end()
        store.flush()
    assert not users
    return store


@pytest.mark.parametrize("listed", [True, False], ids=["request", "local"])
@pytest.mark.parametrize("name", CHATS)
def test_a_chat_ends_with_the_messages_of_the_client(name: str, listed: bool) -> None:
    store = play(name, listed=listed)
    expected = case(name).json("expected_messages.json")
    assert without_made_ids(encoded(store)) == without_made_ids(expected)
    texts = [part.text for m in store.messages("main") for part in store.parts("main", m.id)]
    assert len([text for text in texts if text]) == len(set(texts) - {""}), "shown twice"


@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize("every", [1, 10**9])
def test_only_a_replay_takes_back_what_was_shown(name: str, every: int) -> None:
    """In small ticks the parts go and come again, in one tick only what differs is rewritten."""
    store = StreamStore(ticks="manual")
    watcher = Watcher(store)

    def feed(store: StreamStore, stream: Any, number: int) -> None:
        for place, wire in enumerate(case(name).responses[number], start=1):
            stream.ingest(wire)
            if place % every == 0:
                store.flush()

    play(name, listed=False, feed=feed, store=store)
    watcher.end()
    replays = "replay" in name and name != "resume-replay-cut1"
    assert bool(watcher.removed) == (replays and every == 1)
    # All of the replay in one tick: the parts are the same ones, the text is only longer. The
    # fetched message had its text where the replay has reasoning.
    assert bool(watcher.rewritten) == (name == "resume-reload-replay" and every > 1)


def test_a_replay_shows_the_old_text_until_the_first_new_part_comes() -> None:
    store = StreamStore(ticks="each")
    first, second = store.open("vercel-ui"), store.open("vercel-ui")
    for wire in case("resume-replay-cut8").responses[0]:
        first.ingest(wire)
    first.end()
    shown = encoded(store)
    replay = case("resume-replay-cut8").responses[1]
    second.ingest(replay[0])
    assert encoded(store) == shown and len(shown[0]["parts"]) > 2
    second.ingest(replay[1])
    assert encoded(store)[0]["parts"] == [{"type": "step-start"}]


# --- at every tick --------------------------------------------------------------------------------


class Watcher:
    """Hears every tick: edits add up to the text, and no text shrinks unless it is announced."""

    def __init__(self, store: StreamStore) -> None:
        self.store = store
        self.texts: dict[tuple[PartKey, str], str] = {}
        self.rewritten: set[PartKey] = set()
        self.heard = 0
        self.removed: set[Any] = set()
        store.subscribe(self.hear)

    def hear(self, changes: ChangeSet) -> None:
        self.removed |= set(changes.removed)
        for gone in changes.removed:
            for key, field in list(self.texts):
                if key[: len(gone)] == gone:
                    del self.texts[key, field]
        for (key, field), edit in changes.text.items():
            before = self.texts.get((key, field), "")
            assert edit.start <= len(before)
            assert edit.rewritten == (edit.start < len(before))
            text = self.texts[key, field] = before[: edit.start] + edit.text
            part = self.store.part(*key)
            assert part is not None and part.field_text(field) == text
            assert edit.rewritten or text.startswith(before)
            if edit.rewritten:
                self.rewritten.add(key)
            self.heard += 1

    def end(self) -> None:
        shown = {
            (part.key, field): part.field_text(field)
            for message in self.store.messages("main")
            for part in self.store.parts("main", message.id)
            for field in ("text", *part.others)
        }
        heard = {key: text for key, text in self.texts.items() if text}
        assert heard == {key: text for key, text in shown.items() if text}


@pytest.mark.parametrize("delivery", ["streaming", "buffered"])
@pytest.mark.parametrize("every", [1, 7, 10**9])
@pytest.mark.parametrize("name", SHORT)
def test_shown_text_only_grows_whenever_a_tick_comes(name: str, every: int, delivery: Any) -> None:
    store = StreamStore(ticks="manual", delivery=delivery)
    watcher = Watcher(store)
    stream = store.open("vercel-ui")
    begun(name, stream)
    for place, wire in enumerate(case(name).responses[0], start=1):
        stream.ingest(wire)
        if place % every == 0:
            store.flush()
    stream.end()
    store.flush()
    watcher.end()
    assert not watcher.rewritten
    once = fed(name)
    assert encoded(store) == encoded(once)


def test_a_long_text_is_told_in_edits_of_what_came() -> None:
    name = "long-text-20k"
    if name not in FOLDERS:
        pytest.skip("needs the larger set of recordings")
    store = StreamStore(ticks="manual")
    watcher = Watcher(store)
    stream = store.open("vercel-ui")
    for place, wire in enumerate(case(name).responses[0]):
        stream.ingest(wire)
        if place % 100 == 0:
            store.flush()
    stream.end()
    store.flush()
    watcher.end()
    assert watcher.heard > 190 and not watcher.rewritten


# --- chunks of bytes, saved states ----------------------------------------------------------------


@pytest.mark.parametrize("name", RESPONSES)
def test_however_the_bytes_are_cut_the_state_is_the_same(name: str) -> None:
    sizes = (4096,) if name.startswith("long-") else (1, 7, 4096)
    whole = state_of(fed(name))
    for size in sizes:
        assert state_of(fed(name, size=size)) == whole


def counter() -> Callable[[], str]:
    numbers = iter(range(1, 10**6))
    return lambda: f"local-{next(numbers)}"


@pytest.mark.parametrize("name", [*SHORT, *CHATS])
def test_a_saved_state_and_the_tail_are_the_whole(name: str) -> None:
    """Law L4, at every chunk of a short case; the second save is read by the third store."""
    recorded = case(name)
    initial = recorded.json("initial_messages.json")
    script: list[Any] = []  # a chunk, or what is done between the responses
    for number, wires in enumerate(recorded.responses):
        script += ["open", *wires, "end"]
        if number == 0 and recorded.json("initial.json") is not None:
            script.insert(1, {"messages": [recorded.json("initial.json")]})
    if initial:
        script = ["open", initial, "end", *script]

    def run(cuts: set[int]) -> StreamStore:
        make = counter()
        store = StreamStore(new_id=make, ticks="manual")
        stream: Any = None
        for place, step in enumerate(script):
            if place in cuts:
                saved = json.loads(json.dumps(store.save()))
                store = StreamStore.load(saved, new_id=make, ticks="manual")
                stream = stream and store.open("vercel-ui")
            if step == "open":
                stream = store.open("vercel-ui")
            elif step == "end":
                stream.end()
                stream = None
            else:
                stream.ingest(copy.deepcopy(step))
        store.flush()
        return store

    whole = run(set())
    counts = whole.health.counts
    state = state_of(whole)
    cuts = range(1, len(script), max(1, len(script) // 12))
    for cut in cuts:
        resumed = run({cut})
        assert state_of(resumed) == state, f"cut at {cut}"
        assert resumed.health.counts["verdicts"] == counts["verdicts"]
    assert state_of(run(set(cuts))) == state


# --- the short way --------------------------------------------------------------------------------


class Slow(VercelUIAdapter):
    """An adapter for which every chunk is unusual."""

    def plain(self, wire: Any) -> PlainDelta | None:
        return None


@pytest.mark.parametrize("name", [*SHORT, *CHATS])
def test_the_short_way_does_what_decode_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[PlainDelta] = []
    plain = VercelUIAdapter.plain

    def noted(self: VercelUIAdapter, wire: Any) -> PlainDelta | None:
        found = plain(self, wire)
        if found is not None:
            taken.append(found)
        return found

    def state() -> tuple[Any, Any, Any]:
        store = play(name, listed=True) if name in CHATS else fed(name)
        counts = store.health.counts
        return state_of(store), counts["verdicts"], counts["characters"]

    monkeypatch.setattr(VercelUIAdapter, "plain", noted)
    quick = state()
    monkeypatch.setattr(VercelUIAdapter, "plain", Slow.plain)
    assert state() == quick
    deltas = [w for ws in case(name).responses for w in ws if "delta" in str(w)]
    if len(deltas) > 3 and "malformed" not in name:
        assert taken or all(w["type"].startswith("tool-") for w in deltas)


def test_the_short_way_is_for_deltas_that_carry_nothing_else() -> None:
    adapter = VercelUIAdapter(Context())
    wire = {"type": "text-delta", "id": "a", "delta": "x"}
    with pytest.raises(KeyError):
        adapter.plain(wire)
    adapter.decode({"type": "start", "messageId": "m"})
    adapter.decode({"type": "text-start", "id": "a"})
    assert adapter.plain(wire) == (PartKey("main", "m", 0), "x", None)
    assert adapter.plain({**wire, "providerMetadata": {}}) is None
    assert adapter.plain({**wire, "delta": 1}) is None
    with pytest.raises(KeyError):
        adapter.plain({**wire, "type": "reasoning-delta"})
    adapter.decode({"type": "text-end", "id": "a"})
    with pytest.raises(KeyError):
        adapter.plain(wire)


# --- a reconnect ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHORT)
def test_a_full_replay_on_another_stream_doubles_nothing(name: str) -> None:
    """What a start with an id names is rebuilt; without an id it is another message."""
    once = fed(name)
    store = StreamStore(ticks="manual")
    for _ in range(2):
        stream = store.open("vercel-ui")
        begun(name, stream)
        stream.feed(case(name).raw)
        stream.end()
        store.flush()
    if case(name).responses[0][0].get("messageId") is None:
        first, second = encoded(store)
        assert first["id"] != second["id"]
        assert [{**first, "id": ""}] == without_made_ids(encoded(once)) == [{**second, "id": ""}]
        return
    assert encoded(store) == encoded(once)
    assert [m.order for m in store.messages("main")] == [m.order for m in once.messages("main")]


def chat_store(*chunks: Wire, policy: Any = "lenient", **options: Any) -> tuple[StreamStore, Any]:
    store = StreamStore(ticks="each", **options)
    stream = store.open("vercel-ui", policy=policy)
    for chunk in chunks:
        stream.ingest(chunk)
    return store, stream


START = {"type": "start", "messageId": "m"}
OPEN = {"type": "text-start", "id": "a"}
END = {"type": "text-end", "id": "a"}
FINISH = {"type": "finish"}


def delta(text: str, name: str = "a") -> Wire:
    return {"type": "text-delta", "id": name, "delta": text}


def test_of_two_streams_that_write_a_message_the_latest_counts() -> None:
    store, first = chat_store(START, OPEN, delta("one "))
    second = store.open("vercel-ui")
    for chunk in (START, OPEN, delta("one ")):
        second.ingest(chunk)
    verdict = first.ingest(delta("two"))
    assert verdict.kind == "duplicate"
    assert first.ingest(FINISH).kind == "duplicate"
    second.ingest(delta("two"))
    assert store.parts("main", "m")[0].text == "one two"


def test_a_stream_that_goes_on_takes_the_message_over() -> None:
    store, first = chat_store(START, OPEN, delta("one "))
    second = store.open("vercel-ui")
    second.ingest(delta("two"))
    assert first.ingest(delta("two")).kind == "duplicate"
    assert store.parts("main", "m")[0].text == "one two"


def test_a_stream_without_a_start_begins_a_message_when_the_last_one_has_ended() -> None:
    store, first = chat_store(START, OPEN, delta("one"), END, FINISH)
    first.end()
    second = store.open("vercel-ui")
    second.ingest(OPEN)
    assert [m.id for m in store.messages("main")] == ["m", "local-1"]


def test_a_resumed_stream_without_an_id_rebuilds_the_last_message_when_it_is_told() -> None:
    store, first = chat_store({"type": "start"}, OPEN, delta("half of"))
    first.end()
    second = store.open("vercel-ui")
    assert second.ingest({"trigger": "resume-stream"}).kind == "accepted"
    for chunk in ({"type": "start"}, OPEN, delta("half of it"), END, FINISH):
        second.ingest(chunk)
    assert encoded(store) == [
        {
            "id": "local-1",
            "role": "assistant",
            "parts": [{"type": "text", "text": "half of it", "state": "done"}],
        }
    ]


STATUS = {"type": "data-status", "data": "searching"}
LATE = (STATUS, START, OPEN, delta("half of"))


def shown(store: StreamStore) -> list[tuple[str, list[Any]]]:
    return [
        (message["id"], [part.get("text", part.get("data")) for part in message["parts"]])
        for message in encoded(store)
    ]


@pytest.mark.parametrize("policy", ["strict", "lenient"])
def test_what_comes_before_the_first_start_is_in_the_message_that_it_names(policy: Any) -> None:
    early = (
        STATUS,
        OPEN,
        delta("one"),
        END,
        {"type": "message-metadata", "messageMetadata": {"a": 1}},
    )
    store, stream = chat_store(*early, policy=policy)
    assert shown(store) == [("local-1", ["searching", "one"])]
    stream.ingest_many([{**START, "messageMetadata": {"a": 2}}, OPEN, delta("two"), END, FINISH])
    assert shown(store) == [("m", ["searching", "one", "two"])]
    assert encoded(store)[0]["metadata"] == {"a": 2}
    assert [message.status for message in store.messages("main")] == ["completed"]


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("start", [START, {"type": "start"}], ids=["named", "unnamed"])
def test_an_approval_before_the_first_start_is_asked_for_once(start: Wire, answered: bool) -> None:
    asks = call("approval-request", approvalId="p")
    store, stream = chat_store(AVAILABLE, asks)
    session = store.session("main")
    assert session is not None and list(session.permissions) == ["p"]
    if answered:
        stream.ingest({"type": "tool-approval-response", "approvalId": "p", "approved": True})
    stream.ingest_many([start, OPEN, delta("one"), END, FINISH])
    (message,) = encoded(store)
    assert message["id"] == ("m" if start is START else "local-1")
    state = "approval-responded" if answered else "approval-requested"
    assert [part.get("state") for part in message["parts"]] == [state, "done"]
    session = store.session("main")
    assert session is not None and list(session.permissions) == ["p"] * (not answered)
    for request in session.permissions.values():
        tool = tool_of_request(request, store.parts("main", message["id"]))
        assert tool is not None and tool.tool is not None and tool.tool.status == "waiting"
    stream.ingest(call("output-denied"))
    session = store.session("main")
    assert session is not None and not session.permissions


def test_what_a_step_took_back_before_the_first_start_stays_away() -> None:
    store, _ = chat_store(STATUS, {"type": "reset-step"}, START, OPEN, delta("one"), END, FINISH)
    assert shown(store) == [("m", ["one"])]


def test_what_comes_before_a_start_without_an_id_stays_where_it_is() -> None:
    store, _ = chat_store(STATUS, {"type": "start"}, OPEN, delta("one"), END, FINISH)
    assert shown(store) == [("local-1", ["searching", "one"])]


def test_what_resumes_a_response_that_had_only_begun_is_another_message() -> None:
    store, first = chat_store(START, OPEN, delta("one"), END, FINISH)
    first.end()
    store.open("vercel-ui").ingest_many([{"type": "start"}])
    second = store.open("vercel-ui")
    second.ingest({"trigger": "resume-stream"})
    second.ingest_many([{"type": "start"}, OPEN, delta("two"), END, FINISH])
    assert shown(store) == [("m", ["one"]), ("local-1", ["two"])]


@pytest.mark.parametrize("told", [False, True])
def test_a_replay_whose_first_chunk_is_no_start_doubles_nothing(told: bool) -> None:
    store, first = chat_store(*LATE)
    first.end()
    second = store.open("vercel-ui")
    if told:
        second.ingest({"trigger": "resume-stream"})
    second.ingest_many([*LATE[:-1], delta("half of it"), END, FINISH])
    assert shown(store) == [("m", ["searching", "half of it"])]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("before", [[], [STATUS]], ids=["text", "data"])
def test_a_replay_whose_first_text_comes_before_its_start_doubles_nothing(
    before: list[Wire], told: bool
) -> None:
    """As a writer's own text does that is written before a model's stream is merged."""
    hello: list[Wire] = [
        {"type": "text-start", "id": "w"},
        delta("Hello. ", "w"),
        {"type": "text-end", "id": "w"},
    ]
    response = [*before, *hello, START, OPEN, delta("one"), END, FINISH]
    whole, _ = chat_store(*response)
    store, first = chat_store(*response[:-2])
    first.end()
    second = store.open("vercel-ui")
    if told:
        second.ingest({"trigger": "resume-stream"})
    second.ingest_many(response)
    assert encoded(store) == encoded(whole)
    assert shown(store) == [("m", [*["searching"] * len(before), "Hello. ", "one"])]


def test_a_response_without_an_id_that_begins_as_one_with_an_id_did_takes_nothing_from_it() -> None:
    """Another route of an application, that says hello with the same text of the same id."""
    hello: list[Wire] = [{"type": "text-start", "id": "w"}, delta("Hello. ", "w")]
    hello.append({"type": "text-end", "id": "w"})
    store, first = chat_store(*hello, START, OPEN, delta("one"), END, FINISH)
    first.end()
    store.open("vercel-ui").ingest_many([*hello, {"type": "start"}, OPEN, delta("two"), END])
    assert shown(store) == [("m", ["Hello. ", "one"]), ("local-2", ["Hello. ", "two"])]


def test_a_stream_said_to_be_a_replay_goes_on_where_its_first_chunk_does() -> None:
    store, first = chat_store(START, OPEN, delta("one "))
    first.end()
    store.open("vercel-ui").ingest_many([{"trigger": "resume-stream"}, delta("two"), END, FINISH])
    assert shown(store) == [("m", ["one two"])]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("transient", [0, 1, 2])
def test_a_replay_of_data_with_an_id_before_its_start_leaves_no_other_message(
    transient: int, told: bool
) -> None:
    early: list[Wire] = [{**STATUS, "id": "s"}, {**STATUS, "id": "s", "data": "found"}]
    early.insert(transient, {"type": "data-note", "data": "for now", "transient": True})
    store, first = chat_store(*early)
    first.end()
    second = store.open("vercel-ui")
    if told:
        second.ingest({"trigger": "resume-stream"})
    second.ingest_many([*early, START, OPEN, delta("one"), END, FINISH])
    assert shown(store) == [("m", ["found", "one"])]


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("saved", [False, True])
def test_a_replay_of_what_ended_before_its_start_leaves_no_other_message(
    cut: int, saved: bool
) -> None:
    early = [STATUS, {**STATUS, "data": "found"}]
    store, first = chat_store(*early[:cut])
    first.end()
    if saved:
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="each")
    again = [{"trigger": "resume-stream"}] if saved else []  # else it would be the saved stream
    store.open("vercel-ui").ingest_many([*again, *early[:1]])
    store.open("vercel-ui").ingest_many([*early, START, OPEN, delta("one"), END, FINISH])
    (message,) = shown(store)
    assert message[0] == "m" and message[1][-1] == "one"
    # What is another response's stays where it is.
    store, first = chat_store(STATUS)
    first.end()
    store.open("vercel-ui").ingest_many([early[1], START, OPEN, delta("one"), END, FINISH])
    assert [name for name, _ in shown(store)] == ["local-1", "m"]


@pytest.mark.parametrize(
    ("start", "name"), [({**START, "messageId": "n"}, "n"), ({"type": "start"}, "local-1")]
)
def test_what_comes_before_a_start_is_not_left_in_the_message_before(
    start: Wire, name: str
) -> None:
    store, first = chat_store(START, OPEN, delta("stopped"))
    first.end()
    store.open("vercel-ui").ingest_many([STATUS, start, OPEN, delta("two"), END, FINISH])
    assert shown(store) == [("m", ["stopped"]), (name, ["searching", "two"])]


def two_responses(order: str, **options: Any) -> StreamStore:
    """Two live streams; a letter is the next chunk of one, and what is left of it comes last."""
    store = StreamStore(ticks="each", **options)
    left: dict[str, Any] = {}
    for name in "AB":
        begun = [{"type": "data-n", "data": f"{name}{number}"} for number in (1, 2)]
        start = {"type": "start", "messageId": name}
        said = [OPEN, delta(f"said by {name}"), END, FINISH]
        left[name] = (store.open("vercel-ui"), iter([*begun, start, *said]))
    for name in order:
        stream, chunks = left[name]
        assert stream.ingest(next(chunks)).kind == "accepted"
    for stream, chunks in left.values():
        for chunk in chunks:
            assert stream.ingest(chunk).kind == "accepted"
    return store


@given(st.permutations("AAAAAAABBBBBBB"))
def test_of_two_live_streams_each_has_its_message_whatever_comes_before_their_starts(
    order: list[str],
) -> None:
    found = sorted(shown(two_responses("".join(order))))
    assert found == [(name, [f"{name}1", f"{name}2", f"said by {name}"]) for name in "AB"]


def test_a_stream_that_begins_cuts_no_other_one_that_is_still_written() -> None:
    store, first = chat_store(START, OPEN, delta("one "))
    second = store.open("vercel-ui")
    second.ingest_many([{"type": "start-step"}, STATUS])
    assert first.ingest(delta("and ")).kind == "accepted"
    assert shown(store) == [("m", ["one and ", None, "searching"])]
    second.ingest_many([{**START, "messageId": "n"}, OPEN])
    first.ingest_many([delta("more"), END, FINISH])
    second.ingest_many([delta("two"), END, FINISH])
    assert shown(store) == [("m", ["one and more"]), ("n", [None, "searching", "two"])]


def test_a_stream_that_lost_its_message_to_another_one_may_begin_the_next() -> None:
    store, first = chat_store(START, OPEN, delta("one"))
    store.open("vercel-ui").ingest_many([START, OPEN, delta("one"), END, FINISH])
    assert first.ingest(END).kind == first.ingest(START).kind == "duplicate"
    first.ingest_many([{**START, "messageId": "n"}, OPEN, delta("two"), END, FINISH])
    assert shown(store) == [("m", ["one"]), ("n", ["two"])]


def test_a_late_start_takes_no_message_from_the_stream_that_replays_it() -> None:
    store, first = chat_store(STATUS)
    second = store.open("vercel-ui")
    second.ingest_many([STATUS, START, OPEN, delta("one")])
    assert first.ingest(START).kind == "duplicate"
    second.ingest_many([END, FINISH])
    assert shown(store) == [("m", ["searching", "one"])]


def test_a_stream_goes_on_behind_a_whole_part_too() -> None:
    store, first = chat_store(START, OPEN, delta("one "))
    first.end()
    store.open("vercel-ui").ingest_many([STATUS, delta("two"), END, START, FINISH])
    assert shown(store) == [("m", ["one two", "searching"])]


STEP, RESET = {"type": "start-step"}, {"type": "reset-step"}


def drop(store: StreamStore, how: str) -> StreamStore:
    """What a client is left with when its connection ended, or when it was closed and loaded."""
    if how == "load":
        return StreamStore.load(json.loads(json.dumps(store.save())))
    return store


@pytest.mark.parametrize("how", ["open", "load"])
def test_a_step_that_began_on_a_stream_that_brought_nothing_else_is_the_present_one(
    how: str,
) -> None:
    store, first = chat_store(START, STEP, OPEN, delta("kept"), END, AVAILABLE)
    first.end()
    second = store.open("vercel-ui")
    second.ingest(STEP)
    second.end()
    store = drop(store, how)
    third = store.open("vercel-ui")
    third.ingest_many([OPEN, delta("gone"), RESET])
    assert shown(store) == [("m", [None, "kept", None, None])]
    again = {**AVAILABLE, "input": 2}
    third.end()
    fourth = store.open("vercel-ui")
    fourth.ingest(STEP)
    fourth.end()
    store = drop(store, how)
    store.open("vercel-ui").ingest_many([again, OPEN, delta("new"), END, FINISH])
    (message,) = encoded(store)
    told = [part.get("input", part.get("text")) for part in message["parts"]]
    assert told == [None, "kept", {"a": 1}, None, None, 2, "new"]


def test_a_step_that_was_another_messages_is_none_of_the_message_where_it_was_shown() -> None:
    store, first = chat_store(START, STEP, OPEN, delta("half"))
    other = store.open("vercel-ui")
    other.ingest_many([STEP, {**START, "messageId": "n"}, OPEN, delta("n"), END, FINISH])
    store.open("vercel-ui").ingest({"type": "start"})
    other.ingest(plain_json(encoded(store))[:1])  # m is the last one of what was read
    third = store.open("vercel-ui")
    third.ingest_many([RESET, OPEN, delta("whole")])
    assert shown(store) == [("m", [None, "whole"]), ("n", [None, "n"])]
    assert first.ingest(delta("half")).kind == "duplicate"


def test_chunks_before_a_start_wait_in_a_saved_state() -> None:
    store, _ = chat_store(STATUS, OPEN, delta("one"))
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    stream = store.open("vercel-ui")
    stream.ingest_many([delta(" two"), END, START, FINISH])
    assert shown(store) == [("m", ["searching", "one two"])]


def test_a_stream_that_never_starts_keeps_a_bounded_number_of_chunks() -> None:
    store, stream = chat_store(STATUS, OPEN)
    for _ in range(300):
        stream.ingest(delta("x"))
    assert len(json.dumps(store.save())) < 10_000
    stream.ingest_many([delta("y"), END, FINISH])
    assert shown(store) == [("local-1", ["searching", "x" * 300 + "y"])]


def test_a_part_that_a_cut_left_open_says_so_and_a_replay_does_not() -> None:
    store, first = chat_store(START, OPEN, delta("half"))
    first.end()
    assert [part.gap for part in store.parts("main", "m")] == [True]
    second = store.open("vercel-ui")
    for chunk in (START, OPEN, delta("half and half"), END, FINISH):
        second.ingest(chunk)
    part = store.parts("main", "m")[0]
    assert (part.text, part.gap, part.status) == ("half and half", False, "closed")
    assert not store.health.gaps


# --- messages -------------------------------------------------------------------------------------


def test_a_message_is_there_when_something_is_in_it() -> None:
    store, stream = chat_store({"type": "start"})
    assert store.messages("main") == ()
    status = store.session("main").status  # type: ignore[union-attr]
    assert status is not None and status.type == "busy"
    stream.ingest(START)
    assert [m.id for m in store.messages("main")] == ["m"]
    assert stream.ingest({"type": "finish-step"}).kind == "accepted"


def test_a_finish_ends_the_message_and_says_why() -> None:
    store, _ = chat_store(START, OPEN, {**FINISH, "finishReason": "length"})
    message = store.message("main", "m")
    assert message is not None
    assert (message.status, message.info) == ("completed", {"finishReason": "length"})
    session = store.session("main")
    assert session is not None and session.status is not None and session.status.type == "idle"
    assert "finishReason" not in encoded(store)[0]


@pytest.mark.parametrize(
    ("chunk", "status", "error"),
    [
        ({"type": "abort", "reason": "stop"}, "aborted", "stop"),
        ({"type": "error", "errorText": "no"}, "error", {"name": "Error", "message": "no"}),
    ],
)
def test_an_abort_and_an_error_end_the_message(chunk: Wire, status: str, error: Any) -> None:
    store, _ = chat_store(START, OPEN, chunk)
    message = store.message("main", "m")
    assert message is not None
    assert (message.status, message.error) == (status, error)
    errors = store.session("main").errors  # type: ignore[union-attr]
    assert errors == ((error,) if status == "error" else ())


@pytest.mark.parametrize("saved", [False, True])
def test_an_error_of_a_response_that_is_replayed_is_told_once(saved: bool) -> None:
    failed = {"type": "error", "errorText": "no"}
    response = [START, OPEN, delta("a"), END, failed]
    store, _ = chat_store(*response)
    if saved:
        store = StreamStore.load(json.loads(json.dumps(store.save())))
        store.open("vercel-ui").end()
    store.open("vercel-ui").ingest_many(response)
    (message,) = store.messages("main")
    assert (message.status, message.error) == ("error", {"name": "Error", "message": "no"})
    assert len(store.session("main").errors) == 1  # type: ignore[union-attr]
    store.open("vercel-ui").ingest_many([*response[:-1], {**failed, "errorText": "never"}])
    assert len(store.session("main").errors) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("again", [False, True])
def test_an_error_that_comes_twice_behind_what_came_is_told_twice(again: bool) -> None:
    failed = {"type": "error", "errorText": "no"}
    store, stream = chat_store(START, OPEN, delta("a"), failed)
    if again:
        stream.end()
        stream = store.open("vercel-ui")
        stream.ingest(delta("b"))
    stream.ingest(failed)
    assert len(store.session("main").errors) == 2  # type: ignore[union-attr]


def test_an_error_of_a_message_that_another_response_goes_on_with_is_another_one() -> None:
    failed = {"type": "error", "errorText": "no"}
    store, _ = chat_store(START, OPEN, delta("a"), END, failed)
    again = store.open("vercel-ui")
    again.ingest({"messages": store.encode("vercel-ui")})
    again.ingest_many([START, OPEN, delta("b"), END, failed])
    store.flush()
    assert [part.text for part in store.parts("main", "m")] == ["a", "b"]
    assert len(store.session("main").errors) == 2  # type: ignore[union-attr]


def test_an_error_of_a_response_that_is_asked_for_again_is_another_one() -> None:
    store = StreamStore("vercel-ui")
    question = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "q"}]}
    for trigger in ("submit-message", "regenerate-message"):
        stream = store.open("vercel-ui")
        stream.ingest({"trigger": trigger, "messages": [question]})
        stream.ingest_many([START, {"type": "error", "errorText": "no"}])
        stream.end()
    assert len(store.session("main").errors) == 2  # type: ignore[union-attr]


def test_an_error_before_any_message_is_the_sessions() -> None:
    store, _ = chat_store({"type": "error", "errorText": "overloaded"})
    assert store.messages("main") == ()
    errors = store.session("main").errors  # type: ignore[union-attr]
    assert errors == ({"name": "Error", "message": "overloaded"},)


def call(state: str, call_id: str = "c", **members: Any) -> Wire:
    return {"type": f"tool-{state}", "toolCallId": call_id, **members}


AVAILABLE = call("input-available", toolName="w", input={"a": 1})


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        ([AVAILABLE], "open"),
        ([{**AVAILABLE, "providerExecuted": True}], "completed"),
        ([AVAILABLE, call("output-available", output=1)], "completed"),
        ([AVAILABLE, call("approval-request", approvalId="p")], "open"),
        ([AVAILABLE, {"type": "start-step"}], "completed"),
    ],
)
def test_a_message_that_waits_for_the_client_has_not_ended(chunks: list[Wire], status: str) -> None:
    store, _ = chat_store(START, *chunks, FINISH)
    message = store.message("main", "m")
    assert message is not None and message.status == status


def test_a_message_that_waited_ends_when_another_one_begins() -> None:
    store, stream = chat_store(START, AVAILABLE, FINISH)
    stream.end()
    store.open("vercel-ui").ingest({**START, "messageId": "n"})
    assert [(m.id, m.status) for m in store.messages("main")] == [
        ("m", "completed"),
        ("n", "open"),
    ]


def test_messages_stand_in_the_order_in_which_they_came() -> None:
    store = StreamStore()
    for name in ("z", "a", "m"):
        stream = store.open("vercel-ui")
        stream.ingest_many([{**START, "messageId": name}, OPEN, END, FINISH])
        stream.end()
    assert [m.id for m in store.messages("main")] == ["z", "a", "m"]


def test_a_made_id_is_new_after_a_save_too() -> None:
    store, _ = chat_store({"type": "start"}, OPEN, delta("first"), END, FINISH)
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    other = store.open("vercel-ui", session_id="main")  # the saved stream went on, and ended
    other.ingest({"messages": [], "trigger": "submit-message"})
    other.ingest_many([{"type": "start"}, OPEN, delta("second"), END, FINISH])
    assert [m["parts"][0]["text"] for m in encoded(store)] == ["first", "second"]


def test_an_empty_message_id_names_nothing() -> None:
    store, _ = chat_store({**START, "messageId": ""}, OPEN)
    assert [m.id for m in store.messages("main")] == ["local-1"]


def test_sessions_share_nothing() -> None:
    store = StreamStore()
    for session_id in ("one", "two"):
        stream = store.open("vercel-ui", session_id=session_id)
        stream.ingest_many([START, OPEN, delta(session_id)])
    assert [m["parts"][0]["text"] for m in encoded(store)] == ["one", "two"]


# --- parts ----------------------------------------------------------------------------------------


def test_a_part_is_known_by_its_count() -> None:
    store, _ = chat_store(START, {"type": "start-step"}, OPEN, END, OPEN)
    assert [part.block_index for part in store.parts("main", "m")] == [0, 1, 2]
    assert [part.kind for part in store.parts("main", "m")] == ["step-start", "text", "text"]


def test_what_a_step_took_back_leaves_a_hole_in_the_count() -> None:
    store, stream = chat_store(START, OPEN, delta("x"), {"type": "reset-step"}, OPEN, delta("y"))
    assert [(p.block_index, p.text) for p in store.parts("main", "m")] == [(1, "y")]
    stream.ingest({"type": "reset-step"})
    assert store.parts("main", "m") == ()
    assert stream.ingest(END).kind == "accepted"


def test_a_delta_without_a_start_opens_a_part_that_may_lack_text() -> None:
    store, stream = chat_store(START, delta("ond half"))
    part = store.parts("main", "m")[0]
    assert (part.kind, part.text, part.gap) == ("text", "ond half", True)
    stream.ingest({"type": "reasoning-delta", "id": "a", "delta": "hm"})
    assert [part.kind for part in store.parts("main", "m")] == ["text", "reasoning"]


def test_a_delta_behind_its_end_is_appended_to_the_part() -> None:
    store, _ = chat_store(START, OPEN, delta("o"), END, delta("k"))
    part = store.parts("main", "m")[0]
    assert (part.text, part.gap, part.status) == ("ok", False, "closed")


def test_metadata_of_a_delta_is_kept() -> None:
    store, _ = chat_store(START, OPEN, {**delta("x"), "providerMetadata": {"p": {"k": 1}}})
    assert encoded(store)[0]["parts"][0]["providerMetadata"] == {"p": {"k": 1}}


def test_citations_belong_to_text() -> None:
    end = {"citations": [{"startIndex": 0}]}
    store, _ = chat_store(
        START,
        OPEN,
        {**END, **end},
        {"type": "reasoning-start", "id": "r"},
        {"type": "reasoning-end", "id": "r", **end},
    )
    text, reasoning = encoded(store)[0]["parts"]
    assert text["citations"] == end["citations"] and "citations" not in reasoning


def test_data_is_a_part_of_its_name() -> None:
    store, stream = chat_store(START, {"type": "data-weather", "id": "1", "data": {"t": 1}})
    part = store.parts("main", "m")[0]
    assert (part.kind, part.fields["name"], part.fields["data"]) == ("data", "weather", {"t": 1})
    stream.ingest({"type": "data-weather", "id": "1", "data": {"t": 2}})
    assert [part.fields["data"] for part in store.parts("main", "m")] == [{"t": 2}]
    odd = {"type": "data-", "data": 1, "name": "n", "text": "t", "kind": "k", "seq": 5}
    stream.ingest(odd)
    assert encoded(store)[0]["parts"][1] == odd


def test_types_that_nobody_counts_on_are_of_kind_unknown() -> None:
    custom = {"type": "custom", "kind": "acme.widget"}
    store, _ = chat_store(START, custom)
    assert store.parts("main", "m")[0].kind == "unknown"
    assert encoded(store)[0]["parts"] == [custom]


# --- tools ----------------------------------------------------------------------------------------


def tool_of(store: StreamStore, place: int = 0) -> Any:
    tool = store.parts("main", "m")[place].tool
    assert tool is not None
    return tool


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        ([call("input-start", toolName="w")], "pending"),
        ([AVAILABLE], "running"),
        ([AVAILABLE, call("approval-request", approvalId="p")], "waiting"),
        (
            [
                AVAILABLE,
                call("approval-request", approvalId="p"),
                {"type": "tool-approval-response", "approvalId": "p", "approved": False},
            ],
            "running",
        ),
        ([AVAILABLE, call("output-available", output=1, preliminary=True)], "running"),
        ([AVAILABLE, call("output-available", output=1)], "completed"),
        ([AVAILABLE, call("output-error", errorText="e")], "error"),
        ([AVAILABLE, call("output-denied")], "denied"),
        ([call("input-error", toolName="w", input="{", errorText="e")], "error"),
    ],
)
def test_a_tool_state_has_a_status(chunks: list[Wire], status: str) -> None:
    store, _ = chat_store(START, *chunks)
    assert tool_of(store).status == status
    assert tool_of(store).call_id == "c"


def test_tool_input_streams_as_text_and_is_parsed_when_it_is_whole() -> None:
    store, stream = chat_store(
        START, call("input-start", toolName="w"), call("input-delta", inputTextDelta='{"a": tr')
    )
    part = store.parts("main", "m")[0]
    assert part.field_text("input") == '{"a": tr' and tool_of(store).input is None
    assert part.status == "open"
    assert encoded(store)[0]["parts"][0]["input"] == {"a": True}
    stream.ingest(call("input-available", toolName="w", input={"a": True}))
    part = store.parts("main", "m")[0]
    assert part.status == "closed" and tool_of(store).input == {"a": True}
    assert "rawInput" not in encoded(store)[0]["parts"][0]


def test_a_lower_state_takes_the_place_of_a_higher_one() -> None:
    store, stream = chat_store(START, AVAILABLE, call("output-available", output=1))
    stream.ingest(call("input-start", toolName="w", title="T"))
    assert tool_of(store).status == "pending"
    stream.ingest(call("input-delta", inputTextDelta="[1"))
    assert encoded(store)[0]["parts"] == [
        {
            "type": "tool-w",
            "toolCallId": "c",
            "state": "input-streaming",
            "title": "T",
            "input": [1],
            "rawInput": "[1",
        }
    ]


@pytest.mark.parametrize("encoding", ["json", "text"])
@pytest.mark.parametrize("end", [call("output-error", errorText="e"), call("output-denied")])
def test_a_lower_state_keeps_an_input_that_never_came_whole(end: Wire, encoding: str) -> None:
    store, stream = chat_store(
        START,
        call("input-start", toolName="w", inputEncoding=encoding),
        call("input-delta", inputTextDelta='{"a": 1, "b": "x'),
        end,
        call("output-available", output=1, preliminary=True),
    )
    shown = {"a": 1, "b": "x"} if encoding == "json" else '{"a": 1, "b": "x'
    part = {"type": "tool-w", "toolCallId": "c", "state": "output-available", "input": shown}
    assert encoded(store)[0]["parts"] == [{**part, "output": 1, "preliminary": True}]
    assert tool_of(store).status == "completed"
    stream.ingest(call("output-available", output=2))
    assert encoded(store)[0]["parts"] == [{**part, "output": 2}]
    stream.ingest({"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c"})
    assert encoded(store)[0]["parts"][0]["input"] == shown
    assert encoded(store)[0]["parts"][0]["state"] == "approval-requested"


def test_a_result_of_an_unknown_call_waits_for_it() -> None:
    store, stream = chat_store(START)
    assert stream.ingest(call("output-available", output=5)).kind == "held"
    stream.ingest(call("input-available", toolName="w", input=1))
    assert (tool_of(store).status, tool_of(store).output) == ("completed", 5)
    assert stream.ingest(call("output-available", call_id="", output=5)).kind == "malformed"


def test_a_result_under_another_message_id_finds_the_call_of_an_earlier_message() -> None:
    store, first = chat_store(START, AVAILABLE, FINISH)
    first.end()
    second = store.open("vercel-ui")
    second.ingest({**START, "messageId": "n"})
    assert second.ingest(call("output-available", output=5)).kind == "accepted"
    assert (tool_of(store).input, tool_of(store).output) == ({"a": 1}, 5)


@pytest.mark.parametrize("first", [AVAILABLE, {"type": "reset-step"}], ids=["call", "reset"])
def test_what_goes_on_with_a_step_leaves_the_step_before_alone(first: Wire) -> None:
    store, before = chat_store(
        START, {"type": "start-step"}, AVAILABLE, call("output-available", output=1)
    )
    before.end()
    stream = store.open("vercel-ui")
    stream.ingest({"type": "start-step"})
    stream.ingest(first)
    parts = encoded(store)[0]["parts"]
    assert parts[1]["state"] == "output-available" and parts[1]["output"] == 1
    assert [part.get("state") for part in parts[3:]] == (
        ["input-available"] if first is AVAILABLE else []
    )


def test_a_call_that_only_deltas_announced_is_filled_in() -> None:
    store, stream = chat_store(START, call("input-delta", inputTextDelta='{"a"'))
    stream.ingest({**AVAILABLE, "dynamic": True})
    part = {"toolCallId": "c", "state": "input-available", "input": {"a": 1}}
    assert encoded(store)[0]["parts"] == [{"type": "dynamic-tool", "toolName": "w", **part}]


def test_an_approval_asks_for_a_permission_until_it_is_answered() -> None:
    request = call("approval-request", approvalId="p", reason="why")
    store, stream = chat_store(START, AVAILABLE, request)

    def asked() -> list[str]:
        session = store.session("main")
        assert session is not None
        return list(session.permissions)

    session = store.session("main")
    assert session is not None
    permission = session.permissions["p"]
    assert (permission.message_id, permission.call_id) == ("m", "c")
    assert permission.payload["reason"] == "why"
    stream.ingest({"type": "tool-approval-response", "approvalId": "p", "approved": True})
    assert asked() == []
    stream.ingest(call("approval-request", approvalId="q"))
    assert asked() == ["q"]
    stream.ingest(call("output-denied"))  # who answered did it elsewhere
    assert asked() == []
    stream.ingest(call("approval-request", approvalId="r", isAutomatic=True))
    assert asked() == []
    stream.ingest(call("approval-request", approvalId="s"))
    stream.ingest({"type": "reset-step"})
    assert asked() == []


# --- lists of messages ----------------------------------------------------------------------------

USER = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "q"}]}
ANSWER = {
    "id": "m",
    "role": "assistant",
    "metadata": {"model": "x"},
    "createdAt": "now",
    "parts": [
        {"type": "step-start"},
        {"type": "reasoning", "id": "r", "text": "hm", "state": "done"},
        {"type": "text", "text": "ok", "state": "done", "unknown": [1], "order": 5, "id": "i"},
        {
            "type": "tool-w",
            "toolCallId": "c",
            "state": "output-error",
            "input": {"a": 1},
            "rawInput": {"not": "text"},
            "errorText": "e",
            "approval": {"id": "p", "approved": True},
            "seq": 9,
        },
        {
            "type": "dynamic-tool",
            "toolName": "d",
            "toolCallId": "c2",
            "state": "input-streaming",
            "rawInput": '{"b": [',
            "input": {"b": []},
        },
        {"type": "file", "mediaType": "image/png", "url": "data:", "filename": "f.png"},
        {"type": "source-document", "sourceId": "s", "mediaType": "t", "title": "T"},
        {"type": "data-x", "id": "1", "data": None},
        {"type": "custom", "kind": "a.b"},
        {"type": "future-thing", "status": "s", "state": {"status": "completed"}, "text": "t"},
        {"type": "tool-later", "toolCallId": "c3", "state": "of-a-later-version", "x": 1},
    ],
}


def test_a_list_of_messages_comes_back_as_it_was() -> None:
    store = StreamStore()
    stream = store.open("vercel-ui")
    assert stream.ingest([USER, ANSWER]).kind == "accepted"
    store.flush()
    assert encoded(store) == [USER, ANSWER]
    assert [m.status for m in store.messages("main")] == ["completed", "open"]
    kinds = [part.kind for part in store.parts("main", "m")]
    assert kinds == [
        "step-start", "reasoning", "text", "tool", "tool", "file", "source", "data", "unknown",
        "unknown", "tool",
    ]  # fmt: skip
    assert tool_of(store, 10).status == "running"


@pytest.mark.parametrize("name", SHORT)
def test_what_was_streamed_reads_the_same_from_a_list(name: str) -> None:
    messages = encoded(fed(name))
    store = StreamStore()
    store.open("vercel-ui").ingest(messages)
    store.flush()
    again = encoded(store)
    assert again == messages


def test_a_history_keeps_what_is_live_and_stands_before_it() -> None:
    store = StreamStore(ticks="each")
    stream = store.open("vercel-ui", session_id="s")
    stream.ingest_many([START, OPEN, delta("live and newer")])
    reader = store.open("vercel-ui", session_id="s")
    token = store.begin_read("s")
    stream.ingest(delta("!"))
    old = {"id": "o", "role": "assistant", "parts": [DONE]}
    listed = {"id": "m", "role": "assistant", "parts": [{"type": "text", "text": "live"}]}
    assert reader.ingest([USER, old]).kind == "accepted"
    assert [m.id for m in store.messages("s")] == ["u", "o", "m"]
    reader.ingest({"messages": [USER, old, listed], "trigger": "resume-stream", "readFrom": token})
    assert [m.id for m in store.messages("s")] == ["u", "o", "m"]
    assert store.parts("s", "m")[0].text == "live and newer!"
    stream.ingest_many([delta("!"), END, OPEN])
    assert [p.text for p in store.parts("s", "m")] == ["live and newer!!", ""]


def test_a_complete_list_says_which_messages_are_gone() -> None:
    store = StreamStore(ticks="each")
    store.open("vercel-ui").ingest([USER, ANSWER])
    request = {"messages": [USER], "trigger": "regenerate-message", "complete": True}
    assert store.open("vercel-ui").ingest(request).kind == "accepted"
    assert encoded(store) == [USER]


def test_a_request_continues_its_last_message() -> None:
    store, first = chat_store(START, {"type": "start-step"}, AVAILABLE)
    first.ingest(call("approval-request", approvalId="p"))
    first.ingest(FINISH)
    first.end()
    message = encoded(store)[0]
    message["parts"][1] |= {
        "state": "approval-responded",
        "approval": {"id": "p", "approved": True},
    }
    second = store.open("vercel-ui")
    assert second.ingest({"messages": [message]}).kind == "accepted"
    assert encoded(store) == [message]
    session = store.session("main")
    assert session is not None and not session.permissions
    for chunk in (START, call("output-available", output=7), OPEN, delta("done"), END, FINISH):
        assert second.ingest(chunk).kind == "accepted"
    parts = encoded(store)[0]["parts"]
    assert [part["type"] for part in parts] == ["step-start", "tool-w", "text"]
    assert (parts[1]["state"], parts[1]["output"]) == ("output-available", 7)
    read = store.message("main", "m")
    assert read is not None and read.status == "completed"


@pytest.mark.parametrize("start", [{"type": "start"}, START, None])
def test_a_continuation_may_name_its_message_or_not(start: Wire | None) -> None:
    store = StreamStore(ticks="each")
    stream = store.open("vercel-ui")
    stream.ingest({"messages": [USER, {"id": "m", "role": "assistant", "parts": [DONE]}]})
    stream.ingest_many([*([start] if start else []), OPEN, delta("more"), END, FINISH])
    assert [part["text"] for part in encoded(store)[1]["parts"]] == ["ok", "more"]


def test_a_continuation_goes_on_with_the_metadata_and_the_data_of_its_message() -> None:
    store = StreamStore(ticks="each")
    stream = store.open("vercel-ui")
    data = {"type": "data-x", "id": "1", "data": 1}
    message = {"id": "m", "role": "assistant", "metadata": {"a": {"b": 1}}, "parts": [data]}
    stream.ingest({"messages": [message]})
    stream.ingest({**START, "messageMetadata": {"a": {"c": 2}}})
    stream.ingest({**data, "data": 2})
    assert encoded(store) == [
        {**message, "metadata": {"a": {"b": 1, "c": 2}}, "parts": [{**data, "data": 2}]}
    ]


def test_an_open_tool_input_is_continued_from_its_raw_text() -> None:
    store = StreamStore(ticks="each")
    stream = store.open("vercel-ui")
    stream.ingest({"messages": [ANSWER]})
    stream.ingest(call("input-delta", call_id="c2", inputTextDelta="1, 2"))
    part = encoded(store)[0]["parts"][4]
    assert (part["rawInput"], part["input"]) == ('{"b": [1, 2', {"b": [1, 2]})
    stream.ingest({"type": "start-step"})
    other = store.open("vercel-ui", policy="strict")
    other.ingest({"messages": encoded(store)})
    late = call("input-delta", call_id="c2", inputTextDelta="1")
    assert other.ingest(late).reason == "stopped"


@pytest.mark.parametrize("state", ["input-streaming", "output-error"])
def test_a_tool_input_that_starts_again_leaves_nothing_of_the_raw_text_before(state: str) -> None:
    part = {"type": "tool-t", "toolCallId": "c", "state": "input-streaming", "rawInput": '{"a": '}
    store, stream = chat_store()
    listed = {**part, "state": state}
    stream.ingest({"messages": [{"id": "m", "role": "assistant", "parts": [listed]}]})
    stream.ingest({"type": "tool-input-start", "toolCallId": "c", "toolName": "t"})
    stream.ingest({"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"a": 1}'})
    assert encoded(store)[0]["parts"] == [{**part, "rawInput": '{"a": 1}', "input": {"a": 1}}]


def test_a_request_whose_last_message_is_the_users_begins_another() -> None:
    store, first = chat_store(START, OPEN, delta("cut"))
    first.end()
    second = store.open("vercel-ui")
    second.ingest({"messages": [*encoded(store), USER]})
    second.ingest_many([OPEN, delta("new"), END, FINISH])
    assert [m["id"] for m in encoded(store)] == ["m", "u", "local-1"]


def indexes(store: StreamStore) -> list[Any]:
    return [part.block_index for part in store.parts("main", "m")]


@pytest.mark.parametrize(
    ("at", "continued"), [(at, go_on) for at in range(7) for go_on in (False, True) if at or go_on]
)
def test_a_list_that_is_ahead_of_its_stream_shifts_no_part(at: int, continued: bool) -> None:
    file = {"type": "file", "mediaType": "image/png", "url": "data:"}
    chunks = [START, file, OPEN, delta("a "), delta("b"), END, FINISH]
    before = {"id": "m", "role": "assistant", "parts": [{"type": "custom", "kind": "a.b"}]}
    history = [USER, before] if continued else [USER]
    store, server = StreamStore(ticks="each"), StreamStore(ticks="each")
    stream, source = store.open("vercel-ui"), server.open("vercel-ui")
    stream.ingest({"messages": history})
    source.ingest({"messages": history})
    source.ingest_many(chunks[:6])
    listed = encoded(server)
    stream.ingest_many(chunks[:at])
    brought = indexes(store)
    stream.ingest(listed)
    assert indexes(store) == brought  # what is to come is not taken from a list
    stream.ingest_many(chunks[at:])
    source.ingest_many(chunks[6:])
    assert encoded(store) == encoded(server) and indexes(store) == indexes(server)
    stream.end()
    store.open("vercel-ui").ingest(encoded(server))
    assert encoded(store) == encoded(server)


#: A state that was read, with its token, says that by this trigger or without one.
READ = pytest.mark.parametrize("said", [{"trigger": "resume-stream"}, {}])


@READ
@pytest.mark.parametrize("at", range(7))
@pytest.mark.parametrize("holds", [True, False])
def test_a_state_that_is_read_while_an_answer_comes_does_not_break_it_off(
    at: int, holds: bool, said: Wire
) -> None:
    chunks = [START, {"type": "start-step"}, OPEN, delta("a "), END, FINISH]
    store = StreamStore(ticks="each")
    stream = store.open("vercel-ui")
    stream.ingest_many(chunks[:at])
    read = {"messages": [USER, *(encoded(store) if holds else ())], **said}
    stream.ingest({**read, "readFrom": store.begin_read("main")})
    stream.ingest_many(chunks[at:])
    assert [(m["id"], len(m["parts"])) for m in encoded(store)] == [("u", 1), ("m", 2)]
    assert store.parts("main", "m")[1].text == "a "


def test_a_state_that_is_read_before_an_answer_is_no_request_that_it_continues() -> None:
    """An answer that names no message went on with the last one of that state."""
    store = StreamStore()
    stream = store.open("vercel-ui")
    stream.ingest({"messages": [USER, ANSWER], "readFrom": store.begin_read("main")})
    stream.ingest_many([{"type": "start"}, OPEN, delta("a "), END, FINISH])
    assert [message["id"] for message in encoded(store)] == ["u", "m", "local-1"]


@READ
def test_a_stream_that_was_given_a_state_in_its_answer_may_have_it_replayed(said: Wire) -> None:
    store, stream = chat_store(START, OPEN, delta("a "))
    read = {"messages": encoded(store), **said}
    stream.ingest({**read, "readFrom": store.begin_read("main")})
    stream.ingest_many([START, OPEN, delta("a "), delta("b"), END, START, OPEN, FINISH])
    assert [part["text"] for part in encoded(store)[0]["parts"]] == ["a b", ""]


@pytest.mark.parametrize("more", [[END], [delta("b"), END], [END, FINISH], [{"type": "abort"}]])
@pytest.mark.parametrize("start", [START, {"type": "start"}])
def test_a_stream_that_went_on_behind_a_state_is_not_replayed_by_its_next_start(
    start: Wire, more: list[Wire]
) -> None:
    store, stream = chat_store(start, OPEN, delta("a "))
    whole, other = chat_store(start, OPEN, delta("a "))
    read = {"messages": encoded(store), "trigger": "resume-stream"}
    stream.ingest({**read, "readFrom": store.begin_read("main")})
    for each in (stream, other):
        each.ingest_many([*more, start, OPEN, delta("c"), END, FINISH])
    assert encoded(store) == encoded(whole)


def test_a_list_names_parts_as_the_stream_did_when_a_step_took_some_back() -> None:
    store, first = chat_store(
        START, {"type": "start-step"}, OPEN, delta("x"), {"type": "reset-step"}, AVAILABLE, FINISH
    )
    first.end()
    keys = [part.key for part in store.parts("main", "m")]
    assert [key.block_index for key in keys] == [0, 2]
    second = store.open("vercel-ui")
    second.ingest({"messages": encoded(store)})
    second.ingest(call("output-available", output=1))
    second.ingest(OPEN)
    assert [p.block_index for p in store.parts("main", "m")] == [0, 2, 3]
    assert tool_of(store, 1).output == 1


@pytest.mark.parametrize(
    ("known", "listed", "expected"),
    [
        ([], ["a", "b"], ["a", "b"]),
        (["x"], ["a", "b"], ["a", "b", "x"]),  # a history of before
        (["b"], ["a", "b", "c"], ["a", "b", "c"]),
        (["b", "x"], ["a", "b", "c"], ["a", "b", "c", "x"]),
        (["x", "b"], ["a", "b"], ["x", "a", "b"]),
        (["b", "a"], ["a", "b"], ["a", "b"]),
        (["a", "x", "b"], ["a", "b"], ["a", "x", "b"]),
    ],
)
def test_a_list_says_how_its_messages_stand(
    known: list[str], listed: list[str], expected: list[str]
) -> None:
    store = StreamStore()
    for name in known:
        stream = store.open("vercel-ui")
        stream.ingest_many([{**START, "messageId": name}, OPEN, END, FINISH])
        stream.end()
    wire = [{"id": name, "role": "user", "parts": []} for name in listed]
    for _ in range(2):
        store.open("vercel-ui").ingest(wire)
        store.flush()
        assert [m.id for m in store.messages("main")] == expected


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        ([1], "0"),
        ([{"role": "user", "parts": []}], "0.id"),
        ([{"id": "", "role": "user", "parts": []}], "0.id"),
        ([{"id": "u", "role": 1, "parts": []}], "0.role"),
        ([{"id": "u", "role": "user"}], "0.parts"),
        ([{"id": "u", "role": "user", "parts": [1]}], "0.parts.0"),
        ([{"id": "u", "role": "user", "parts": [{}]}], "0.parts.0.type"),
        ({"messages": [{"id": "u", "role": "user", "parts": [{"type": "text"}]}]},
         "messages.0.parts.0.text"),
        ({"messages": [{"id": "u", "role": "a", "parts": [{"type": "tool-x", "state": "s"}]}]},
         "messages.0.parts.0.toolCallId"),
        ({"messages": [], "trigger": "x"}, "trigger"),
        ({"messages": [], "complete": 1}, "complete"),
        ({"messages": 1}, "messages"),
        ({"trigger": "submit-message"}, "messages"),
        ({}, "type"),
        ({"type": 1}, "type"),
        ("x", ""),
        ({**START, "messageId": 1}, "messageId"),
        ({"type": "text-delta", "id": "a"}, "delta"),
        ({**OPEN, "providerMetadata": {"a": 1}}, "providerMetadata"),
        ({"type": "tool-approval-response", "approvalId": "p"}, "approved"),
        ({"type": "tool-approval-response", "approvalId": "p", "approved": True}, "approvalId"),
        ({"type": "steering-message", "id": "i"}, "parts"),
        ({"type": "steering-message", "id": "i", "parts": [{"type": "x"}]}, "parts"),
    ],
)  # fmt: skip
def test_what_breaks_the_protocol_is_malformed_and_the_error_names_the_member(
    wire: Any, field: str
) -> None:
    with pytest.raises(MalformedEvent) as raised:
        VercelUIAdapter(Context()).decode(wire)
    assert raised.value.field == field


def test_null_is_absent_but_to_the_client() -> None:
    chunk = {**OPEN, "providerMetadata": None}
    assert len(VercelUIAdapter(Context()).decode(chunk)) == 2
    with pytest.raises(MalformedEvent):
        VercelUIAdapter(Context(strict=True)).decode(chunk)
    finish = {**FINISH, "finishReason": "of-a-later-version"}
    assert VercelUIAdapter(Context()).decode(finish)
    with pytest.raises(ProtocolStopped):
        VercelUIAdapter(Context(strict=True)).decode(finish)


# --- what is remembered ---------------------------------------------------------------------------


def test_memory_is_bounded_by_what_a_message_holds() -> None:
    context = Context(new_id=counter())
    adapter = VercelUIAdapter(context)

    def turn(number: int) -> None:
        nonlocal adapter
        adapter = VercelUIAdapter(attrs.evolve(context, own={}))
        adapter.decode({**START, "messageId": f"m{number}"})
        for part in range(50):
            adapter.decode({"type": "text-start", "id": f"t{part}"})
            adapter.decode({"type": "text-end", "id": f"t{part}"})
        adapter.decode(FINISH)

    for number in range(600):
        turn(number)
    size = len(json.dumps(context.shared))
    for number in range(600, 700):
        turn(number)
    assert len(json.dumps(context.shared)) <= size
    assert size < 20_000
    before = len(json.dumps(context.shared))
    adapter.decode({"type": "reasoning-start", "id": "r"})
    grown = len(json.dumps(context.shared)) - before
    for _ in range(1000):
        adapter.decode({"type": "reasoning-delta", "id": "r", "delta": "x" * 100})
    assert len(json.dumps(context.shared)) - before == grown < 100


# --- an input that stops anywhere -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("{", {}),
        ('{"a', {}),
        ('{"a": ', {}),
        ('{"a": tr', {"a": True}),
        ('{"a": f', {"a": False}),
        ('{"a": [1, n', {"a": [1, None]}),
        ('{"a": -', {}),
        ('{"a": 1.', {"a": 1}),
        ('{"a": 12e', {"a": 12}),
        ('{"a": 1, ', {"a": 1}),
        ('{"a": "x\\', {"a": "x"}),
        ('{"a": "x\\u00', {"a": "x"}),
        ('{"a": "x\\u00e9', {"a": "xé"}),
        ('{"a": "x\\"', {"a": 'x"'}),
        ("[[1], [", [[1], []]),
        ("[ ", []),
        ('[{"a": {}}, {"b": ', [{"a": {}}, {}]),
        ('"half', "half"),
        ('"\\uzz"', ""),
        ("12", 12),
        ("nul", None),
        ('{"a": 1} and more', {"a": 1}),
    ],
)
def test_a_partial_input_is_what_the_client_shows(text: str, value: Any) -> None:
    assert partial(text) == ({"input": value} if text else {})


@pytest.mark.parametrize("text", ["", "-", "not json", "{]", '{"a" 1', "[1 2"])
def test_what_is_no_input_shows_none(text: str) -> None:
    found = partial(text)
    assert found in ({}, {"input": {}})
    assert bool(found) == (text[:1] == "{")


JSON_LEAF = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=5)
JSON = st.recursive(
    JSON_LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(JSON, st.floats(0, 1), st.booleans())
def test_a_json_text_cut_anywhere_can_be_closed(value: Any, share: float, ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii)
    cut = text[: round(share * len(text))]
    closed = closed_json(cut)
    if cut.strip() not in ("", "-"):
        json.loads(closed)
    assert partial(text) == {"input": value}


# --- recognised -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*RESPONSES, *CHATS])
def test_a_stream_is_recognised_by_its_first_chunk(name: str) -> None:
    for wires in case(name).responses:
        assert detect(wires[0]) is VercelUIAdapter
    store = StreamStore("auto")
    store.feed(case(name).raw)
    assert store.session_ids() == ("main",)


@pytest.mark.parametrize("name", SHORT)
def test_every_chunk_is_recognised(name: str) -> None:
    bad = {f"malformed-{how}" for how in ("unknown-type", "missing-field", "extra-field", "json")}
    if name not in bad:
        assert all(VercelUIAdapter.detects(wire) for wire in case(name).responses[0])


@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ([USER, ANSWER], True),
        ({"messages": [USER], "trigger": "submit-message", "id": "chat"}, True),
        ({"messages": [{"id": "u", "role": "user", "content": "hi"}]}, False),
        ({"messages": []}, False),
        ([], False),
        (None, False),
        ({"type": "start", "message": {}}, False),
        ({"type": "error", "error": {"type": "overloaded_error"}}, False),
        ({"type": "message_start", "message": {}}, False),
        ({"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "x"}, False),
        ({"type": "message.part.updated", "properties": {}}, False),
        ({"type": "RUN_STARTED", "threadId": "t"}, False),
        ({"type": "file", "file": {}}, False),
        ({"type": "data-x"}, False),
        ({"type": ["start"]}, False),
        ({"object": "chat.completion.chunk"}, False),
    ],
)
def test_other_objects_are_not(wire: Any, ours: bool) -> None:
    assert VercelUIAdapter.detects(wire) is ours


# --- other protocols' state -----------------------------------------------------------------------


def test_a_state_of_another_protocol_is_encoded_as_well_as_can_be() -> None:
    store = StreamStore("native")
    at = {"sessionId": "s", "messageId": "m", "blockIndex": 0}
    for status in ("pending", "running", "waiting", "completed", "error", "denied"):
        state = {"status": status, "input": {"a": 1}}
        store.ingest(
            {**at, "type": "block.opened", "blockIndex": status, "kind": "tool", "tool": "w",
             "callId": status, "state": state}
        )  # fmt: skip
    store.flush()
    parts = {part["toolCallId"]: part["state"] for part in encoded(store)[0]["parts"]}
    assert parts == {
        "pending": "input-streaming",
        "running": "input-available",
        "waiting": "approval-requested",
        "completed": "output-available",
        "error": "output-error",
        "denied": "output-denied",
    }
    assert all(part["type"] == "tool-w" for part in encoded(store)[0]["parts"])


# --- anything -------------------------------------------------------------------------------------


@cache
def shapes() -> list[Any]:
    """Every kind of wire object that the cases have, and lists of messages."""
    found: dict[str, Any] = {}
    for name in SHORT:
        for wire in (wire for wire in case(name).responses[0] if isinstance(wire, dict)):
            found.setdefault(wire["type"] + str(sorted(wire)), wire)
    return [*found.values(), [USER, ANSWER], {"messages": [USER, ANSWER], "readFrom": "1.1"}]


def places(value: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = [()]
    items: Iterable[Any] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, item in items:
        found += [(name, *rest) for rest in places(item)]
    return found


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A recorded wire object with anything in one place, without a member, or with one more."""
    wire = copy.deepcopy(draw(st.sampled_from(shapes())))
    path = draw(st.sampled_from(places(wire)))
    new = draw(JSON)
    if not path:
        return new if draw(st.booleans()) else wire
    holder = wire
    for name in path[:-1]:
        holder = holder[name]
    what = draw(st.sampled_from(("set", "drop", "add")))
    if what == "set" or (what == "add" and not isinstance(holder, dict)):
        holder[path[-1]] = new
    elif what == "drop":
        del holder[path[-1]]
    else:
        name = draw(st.sampled_from(("id", "seq", "state", "wire", "text", "order", "kind", "x")))
        holder[name] = new
    return wire


def check_total(adapter: VercelUIAdapter, context: Context, wire: Any) -> list[Event]:
    """Decode: events that can be logged, or an error of the protocol and an untouched memory."""
    own, shared = copy.deepcopy(context.own), copy.deepcopy(context.shared)
    try:
        events = list(adapter.decode(wire))
    except (MalformedEvent, UnknownEvent, ProtocolStopped, RepeatedEvent) as error:
        assert context.strict or not isinstance(error, ProtocolStopped)
        assert (context.own, context.shared) == (own, shared)
        return []
    for event in events:
        assert decode_event(json.loads(json.dumps(encode_event(event)))) == event
    assert json.loads(json.dumps(context.own)) == context.own
    assert json.loads(json.dumps(context.shared)) == context.shared
    return events


@given(JSON)
def test_any_json_is_decoded_malformed_or_unknown(wire: Any) -> None:
    for strict in (False, True):
        context = Context(strict=strict)
        check_total(VercelUIAdapter(context), context, wire)
    assert VercelUIAdapter.detects(wire) in (True, False)


@given(st.lists(mutated(), min_size=1, max_size=12), st.booleans())
@example([{"type": "text-delta", "id": "0", "delta": "of no part"}], True)
def test_recorded_chunks_with_anything_in_them_are_decoded_malformed_or_unknown(
    wires: list[Any], strict: bool
) -> None:
    context = Context(strict=strict, new_id=counter())
    adapter = VercelUIAdapter(context)
    store = StreamStore()
    policy: Any = "strict" if strict else "lenient"
    stream = store.open("vercel-ui", policy=policy)
    for wire in wires:
        VercelUIAdapter.detects(wire)
        check_total(adapter, context, copy.deepcopy(wire))
        stream.ingest(wire)
    stream.end()
    store.flush()
    again = StreamStore.load(json.loads(json.dumps(store.save())))
    assert encoded(again) == encoded(store)


@given(st.lists(st.sampled_from(range(len(shapes()))), max_size=25), st.integers(0, 25))
def test_chunks_in_any_order_keep_the_laws(picks: list[int], cut: int) -> None:
    """The short way, a save in the middle, and ticks make no difference."""
    wires = [shapes()[pick] for pick in picks if pick < len(shapes()) - 2]

    def run(ticks: Any, slow: bool, saves: bool) -> Any:
        store = StreamStore(ticks=ticks, new_id=counter())
        watcher = Watcher(store)
        stream = store.open("vercel-ui")
        for place, wire in enumerate(wires):
            if saves and place == cut:
                store = StreamStore.load(json.loads(json.dumps(store.save())), new_id=store.new_id)
                stream = store.open("vercel-ui")
                watcher = Watcher(store)
            stream.ingest({**wire, "zzz": 1} if slow else wire)
        stream.end()
        store.flush()
        if not saves:
            watcher.end()
        return state_of(store)

    def plain_only(state: Any) -> Any:
        return json.loads(json.dumps(state).replace(', "zzz": 1', "").replace('"zzz": 1, ', ""))

    whole = run("manual", False, False)
    assert run("each", False, False) == whole
    assert run("manual", False, True) == whole
    assert plain_only(run("manual", True, False))["sessions"] == whole["sessions"]


def test_events_carry_copies_of_what_memory_holds() -> None:
    """Whoever changes a wire object after it was taken in changes nothing here."""
    adapter = VercelUIAdapter(Context())
    wire = copy.deepcopy(AVAILABLE)
    adapter.decode(START)
    adapter.decode(wire)
    wire["input"]["a"] = 99
    (event, *_) = adapter.decode(call("output-available", output=1))
    assert isinstance(event, BlockUpdated)
    assert event.fields["state"]["input"] == {"a": 1}


def test_a_list_is_one_snapshot() -> None:
    (event,) = VercelUIAdapter(Context()).decode([USER])
    assert isinstance(event, Snapshot) and not event.complete
    assert event.messages[0]["parts"] == [
        {"blockIndex": 0, "kind": "text", "status": "closed", "text": "q"}
    ]


@pytest.mark.parametrize("cut", [4, 6])
def test_a_loaded_stream_goes_on_with_the_last_answer_though_nobody_ended_the_stream_before(
    cut: int,
) -> None:
    def answer(message_id: str, word: str) -> list[Wire]:
        return [
            {"type": "start", "messageId": message_id},
            {"type": "text-start", "id": "0"},
            {"type": "text-delta", "id": "0", "delta": word},
            {"type": "text-delta", "id": "0", "delta": "!"},
            {"type": "text-end", "id": "0"},
            {"type": "finish-step"},
            {"type": "text-start", "id": "0"},
            {"type": "text-delta", "id": "0", "delta": "end"},
            {"type": "finish"},
        ]

    store = StreamStore()
    store.open("vercel-ui").ingest_many(answer("m1", "one"))
    store.open("vercel-ui").ingest_many(answer("m2", "two")[:cut])
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    store.open("vercel-ui").ingest_many(answer("m2", "two")[cut:])
    texts = {m.id: [p.text for p in store.parts("main", m.id)] for m in store.messages("main")}
    assert texts == {"m1": ["one!", "end"], "m2": ["two!", "end"]}


def test_a_loaded_stream_never_goes_on_with_what_another_one_has_gone_on_with() -> None:
    words = [delta(word) for word in "abcdef"]
    store = StreamStore()
    store.open("vercel-ui").ingest_many([START, OPEN, *words[:2]])
    store.open("vercel-ui").ingest(words[2])
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    for word in words[3:]:
        stream = store.open("vercel-ui")
        assert stream.ingest(word).kind == "accepted"
        stream.end()
    assert shown(store) == [("m", ["abcdef"])]


def test_a_loaded_stream_never_goes_on_with_what_was_over_before_another_answer() -> None:
    store = StreamStore()
    store.open("vercel-ui").ingest_many([START, OPEN, delta("one"), END, FINISH])
    store.open("vercel-ui").ingest_many([{**START, "messageId": "n"}, OPEN, delta("a")])
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    for word in "bc":
        stream = store.open("vercel-ui")
        stream.ingest(delta(word))
        stream.end()
    assert shown(store) == [("m", ["one"]), ("n", ["abc"])]


@pytest.mark.parametrize("policy", ["lenient", "strict"])
def test_what_a_response_with_an_id_of_its_own_says_of_the_call_before_it_counts(
    policy: Any,
) -> None:
    """`createUIMessageStream` names each response anew where it is given no messages."""
    asking = [START, AVAILABLE, call("approval-request", approvalId="p"), FINISH]
    store, first = chat_store(*asking, policy=policy)
    first.end()
    (waiting,) = encoded(store)
    second = store.open("vercel-ui", policy=policy)
    second.ingest({"messages": [waiting], "trigger": "submit-message"})
    second.ingest({**START, "messageId": "n"})
    second.ingest(call("output-denied"))
    second.ingest_many([OPEN, delta("As you like."), END, FINISH])
    before, after = encoded(store)
    assert [part.get("state") for part in before["parts"]] == ["output-denied"]
    assert [part.get("text") for part in after["parts"]] == ["As you like."]
    if policy == "strict":  # of any other call the client knows nothing
        third = store.open("vercel-ui", policy=policy)
        third.ingest_many([{**START, "messageId": "o"}, call("output-denied"), OPEN])
        assert store.health.counts["verdicts"]["refused:stopped"] == 2
