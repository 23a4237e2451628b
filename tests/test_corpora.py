"""Every recorded stream of every protocol keeps the laws, whatever is done to it.

What each protocol's final object must be is tested in `test_oracles.py`; here the streams of all of
them are disturbed: as `streamstore check` does (events and stretches again, other chunks of bytes,
ticks and delivery modes, cuts with a saved state, a second session beside), and whole, however long
they are: every cut of the bytes, every tick, every event twice.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from recordings import DATA, corpora, frames

from streamstore import ChangeSet, StreamStore
from streamstore.feeding import connections
from streamstore.protocols import adapter_named, adapters
from streamstore.testing import Log, check_laws
from streamstore.testing.facts import facts_of
from streamstore.testing.recorded import Unreadable

#: A longer stream is replayed once for each law, in place of three times: it has more events. The
#: longest, of more than 4,000 events, are examined in stretches, as by the command.
MOST_BYTES = 60_000
#: A stream so short is cut in two at every byte.
EVERY_CUT = 400
PATTERNS = {"opencode": ("*/events*.jsonl*",)}


def streams() -> list[tuple[str, Path]]:
    """Recorded streams by protocol: those of this repository, or all where they are at hand."""
    elsewhere = corpora()
    found = []
    for protocol in adapters():
        places = [DATA / protocol, *([elsewhere / protocol] if elsewhere else [])]
        cases = {
            path.relative_to(folder): path
            for folder in places
            for pattern in PATTERNS.get(protocol, ("*/*.sse", "*.sse", "*.jsonl"))
            for path in folder.glob(pattern)
            if path.name != "made.jsonl"
        }
        found += [(protocol, path) for _, path in sorted(cases.items())]
    return found


def name_of(protocol: str, path: Path) -> str:
    folder = "" if path.parent.name == protocol else f"{path.parent.name}-"
    return f"{protocol}-{folder}{path.stem}"


STREAMS = streams()
NAMES = [name_of(*stream) for stream in STREAMS]

each_stream = pytest.mark.parametrize(("protocol", "path"), STREAMS, ids=NAMES)

State: TypeAlias = dict[str, Any]


def state_of(store: StreamStore) -> State:
    """The state, verdicts and all, but not how much work it took."""
    store.flush()
    for session_id in store.session_ids():
        store.release(session_id)
    state = store.state()
    del state["counts"]["work"]
    return state


@cache
def undisturbed(protocol: str, path: Path) -> State:
    store = StreamStore()
    stream = store.open(protocol)
    stream.feed(path.read_bytes())
    stream.end()
    return state_of(store)


@each_stream
def test_a_recorded_stream_keeps_the_laws(protocol: str, path: Path) -> None:
    (connection,) = connections([str(path)])
    log = Log.of_connection(connection, protocol=protocol)
    runs = 3 if path.stat().st_size <= MOST_BYTES else 1
    for report in check_laws(log, runs=runs):
        assert report.outcome != "broken", f"{report.law} {report.name}\n{report.counterexample}"


@each_stream
def test_however_its_bytes_are_cut_the_state_is_the_same(protocol: str, path: Path) -> None:
    data = path.read_bytes()
    expected = undisturbed(protocol, path)
    sizes = (1, 7, 4093) if len(data) <= MOST_BYTES else (61, 4093)
    for size in sizes:
        store = StreamStore(ticks="manual" if size < 4093 else None)
        stream = store.open(protocol)
        for start in range(0, len(data), size):
            stream.feed(data[start : start + size])
        stream.end()
        assert state_of(store) == expected
    for cut in range(1, len(data)) if len(data) <= EVERY_CUT else ():
        store = StreamStore()
        stream = store.open(protocol)
        stream.feed(data[:cut])
        stream.feed(data[cut:])
        stream.end()
        assert state_of(store) == expected, cut


@each_stream
@pytest.mark.parametrize(
    ("ticks", "delivery", "every"),
    [("manual", "streaming", 7), ("manual", "buffered", 3), ("each", "buffered", None)],
    ids=["every-7", "buffered-every-3", "buffered-each"],
)
def test_however_it_is_flushed_the_state_is_the_same(
    protocol: str, path: Path, ticks: Any, delivery: Any, every: int | None
) -> None:
    store = StreamStore(ticks=ticks, delivery=delivery)
    stream = store.open(protocol)
    for number, frame in enumerate(frames(path.read_bytes())):
        stream.feed(frame)
        if every is not None and number % every == 0:
            store.flush()
    stream.end()
    assert state_of(store) == undisturbed(protocol, path)


#: Streams in which a text is rewritten, by what tells that it is to be: a gap that is closed, a
#: resumed response whose beginning came on another stream, an output that replaces another, a part
#: that its end or a second start says otherwise.
REWRITTEN = {
    "opencode-join_late-events",
    "opencode-reconnect_gap-events.2",
    "openai-responses-background-resume-resume-after",
    "openai-responses-background-resume-resume-overlap",
    "vellum-v2-one_turn",
    "t3code-one_turn",
    "pydantic-ai-all-parts",
    "pydantic-ai-replaced-part",
    "langchain-graph",
    "langchain-graph-partial",
}
#: Streams in which a part with text goes: removed, reverted, taken back, dropped by a snapshot.
REMOVED = {
    "opencode-remove_revert-events",
    "vercel-ui-reset-step-stream",
    "ag-ui-activity-stream",
    "ag-ui-messages-snapshot-stream",
    "ag-ui-messages-snapshot-keeps-local-stream",
    "ag-ui-messages-snapshot-mid-stream-drops-stream",
    "ag-ui-messages-snapshot-owns-roles-stream",
    "a2a-subscribed-again",
}


class Watcher:
    """Adds up what every tick says of every text, and holds it against what is there in the end."""

    def __init__(self, store: StreamStore) -> None:
        self.store = store
        self.edits: dict[Any, list[tuple[int, str]]] = {}
        self.lengths: dict[Any, int] = {}
        self.rewritten: set[Any] = set()
        self.removed: set[Any] = set()
        store.subscribe(self.hear)

    def hear(self, changes: ChangeSet) -> None:
        for gone in changes.removed:
            for place in [place for place in self.edits if place[0][: len(gone)] == gone]:
                del self.edits[place]
                self.lengths[place] = 0
                self.removed.add(place)
        for place, edit in changes.text.items():
            length = self.lengths.get(place, 0)
            assert edit.start <= length
            assert edit.rewritten == (edit.start < length)
            if edit.rewritten:
                self.rewritten.add(place)
            self.lengths[place] = edit.start + len(edit.text)
            self.edits.setdefault(place, []).append((edit.start, edit.text))

    def end(self) -> int:
        """All was fed. Returns how many ticks of a text were held against it."""
        held = 0
        final = {
            (part.key, field): part.field_text(field)
            for session_id in self.store.session_ids()
            for message in self.store.messages(session_id)
            for part in self.store.parts(session_id, message.id)
            for field in ("text", *part.others)
        }
        for place, edits in self.edits.items():
            text = final.pop(place, "")  # an output goes when the result lands
            if place in self.rewritten:
                built = ""
                for start, piece in edits:
                    built = built[:start] + piece
                assert built == text
                continue
            for start, piece in edits:
                assert text.startswith(piece, start)
                held += 1
            assert len(text) == self.lengths[place]
        assert not any(final.values()), "text that no tick told of"
        return held


@each_stream
def test_what_any_tick_shows_of_a_text_is_a_prefix_of_what_it_becomes(
    protocol: str, path: Path
) -> None:
    store = StreamStore(ticks="each")
    watcher = Watcher(store)
    stream = store.open(protocol)
    for frame in frames(path.read_bytes()):
        stream.feed(frame)
    stream.end()
    store.flush()
    held = watcher.end()
    name = name_of(protocol, path)
    assert bool(watcher.rewritten) == (name in REWRITTEN)
    assert bool(watcher.removed) == (name in REMOVED)
    assert held or not any(
        part.view
        for session_id in store.session_ids()
        for message in store.messages(session_id)
        for part in store.parts(session_id, message.id)
        if (part.key, "text") not in watcher.rewritten
    )
    assert state_of(store) == undisturbed(protocol, path)


TELLING = [
    (protocol, path)
    for protocol, path in STREAMS
    if adapter_named(protocol).declaration.sequencing != "none"
    or adapter_named(protocol).declaration.ids_unique
]


@pytest.mark.parametrize(
    ("protocol", "path"), TELLING, ids=[name_of(*stream) for stream in TELLING]
)
def test_every_event_twice_is_every_event_once(protocol: str, path: Path) -> None:
    """Where the wire tells: what has neither seq nor an id of its own comes once."""
    (connection,) = connections([str(path)])
    log = Log.of_connection(connection, protocol=protocol)
    store = StreamStore(ticks="manual")
    stream = store.open(protocol)
    for fact, wire, piece in zip(facts_of(log, None).each, log.wires, log.cut(), strict=True):
        if isinstance(wire, Unreadable):
            stream.feed(piece)
            continue
        stream.ingest(wire)
        if fact.provable:
            store.flush()
            version = store.version
            stream.ingest(wire)
            store.flush()
            assert store.version == version
    stream.end()
    assert state_of(store)["sessions"] == undisturbed(protocol, path)["sessions"]
    assert store.health.counts["verdicts"]["duplicate"]


def test_there_are_streams_of_every_protocol_that_has_recordings() -> None:
    counts = {name: sum(protocol == name for protocol, _ in STREAMS) for name in adapters()}
    for name in ("opencode", "anthropic", "openai-chat", "openai-responses", "vercel-ui", "ag-ui"):
        assert counts[name] >= 10, counts
    assert set(NAMES) >= REWRITTEN | REMOVED or corpora() is None
