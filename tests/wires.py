"""What the tests of one adapter ask of any log of its protocol; holds no test and no protocol."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from streamstore import ChangeSet, StreamStore
from streamstore.adapters.base import Context
from streamstore.errors import MalformedEvent, RepeatedEvent, UnknownEvent
from streamstore.protocols import adapter_named, detect
from streamstore.testing import LAWS, Log, check_laws

Wire = dict[str, Any]

DATA = Path(__file__).resolve().parent / "data"


def logged(protocol: str, name: str) -> list[Wire]:
    """The wire objects of a log in `tests/data`."""
    return [json.loads(line) for line in (DATA / protocol / name).read_bytes().splitlines()]


def fold(protocol: str, wires: list[Any], **options: Any) -> StreamStore:
    """A store that took the wire objects in, over one stream that is still open."""
    store = StreamStore(**options)
    store.open(protocol).ingest_many(wires)
    store.flush()
    return store


def encoded(store: StreamStore, protocol: str) -> Any:
    return adapter_named(protocol)(Context()).encode(store)


def shown(store: StreamStore) -> Any:
    """The state without the counts."""
    state = store.state()
    del state["counts"]
    return state


def verdicts(store: StreamStore) -> dict[str, int]:
    """How many events got each kind of verdict."""
    found: dict[str, int] = {}
    for name, number in store.health.counts["verdicts"].items():
        kind = name.partition(":")[0]
        found[kind] = found.get(kind, 0) + number
    return found


def texts(store: StreamStore) -> dict[tuple[Any, str], str]:
    found = {}
    for session_id in store.session_ids():
        for message in store.messages(session_id):
            for part in store.parts(session_id, message.id):
                found[part.key, "text"] = part.text
                for field, view in part.others.items():
                    found[part.key, field] = str(view)
    return {key: text for key, text in found.items() if text}


def assert_every_tick_is_a_prefix(protocol: str, wires: list[Any]) -> None:
    """After each event what is shown of a text is a prefix of what it becomes, unless a rewrite or
    its removal was announced or its part is gapped; the edits alone add up to the text."""
    final = texts(fold(protocol, wires))
    store = StreamStore(ticks="each")
    built: dict[tuple[Any, str], str] = {}
    changing: set[tuple[Any, str]] = set()
    early: list[tuple[tuple[Any, str], str]] = []

    def hear(changes: ChangeSet) -> None:
        for key in changes.removed:
            for place in [place for place in built if place[0][: len(key)] == key]:
                changing.add(place)
                del built[place]
        for field, edit in changes.text.items():
            place = (field.key, field.field)
            before = built.get(place, "")
            assert edit.rewritten == (edit.start != len(before))
            if edit.rewritten:
                changing.add(place)
            built[place] = before[: edit.start] + edit.text
            part = store.part(*field.key)
            assert part is not None and part.field_text(field.field) == built[place]
            if not part.gap:
                early.append((place, built[place]))

    store.subscribe(hear)
    stream = store.open(protocol)
    for wire in wires:
        stream.ingest(wire)
    assert {place: text for place, text in built.items() if text} == final
    assert early or not final
    for place, text in early:
        assert place in changing or final.get(place, "").startswith(text)


def assert_chunks_do_not_show(protocol: str, wires: list[Any]) -> None:
    """JSON lines and an event stream, cut anywhere, end in one state."""
    lines = b"".join(json.dumps(wire).encode() + b"\n" for wire in wires)
    frames = b"".join(b"data: " + json.dumps(wire).encode() + b"\n\n" for wire in wires)
    expected = fold(protocol, wires).state()
    del expected["counts"]["work"]
    for data in (lines, frames):
        for size in (1, 7, 4096):
            store = StreamStore(ticks="manual")
            stream = store.open(protocol)
            for at in range(0, len(data), size):
                stream.feed(data[at : at + size])
            store.flush()
            state = store.state()
            del state["counts"]["work"]
            assert state == expected


def assert_saves_resume(protocol: str, wires: list[Any]) -> None:
    """Saved at any cut, loaded, and fed the rest: the full replay."""
    full = fold(protocol, wires)
    for at in range(len(wires) + 1):
        store = StreamStore()
        store.open(protocol).ingest_many(wires[:at])
        loaded = StreamStore.load(json.loads(json.dumps(store.save())))
        stream = loaded.open(protocol)
        stream.ingest_many(wires[stream.position.events :])
        loaded.flush()
        assert shown(loaded) == shown(full)
        assert encoded(loaded, protocol) == encoded(full, protocol)


def assert_no_law_broken(wires: list[Any], laws: tuple[str, ...] = tuple(LAWS)) -> dict[str, str]:
    """The outcome of each law; none is broken."""
    reports = check_laws(Log.of(wires), laws=laws, runs=8)
    broken = [f"{report.law}: {report.counterexample}" for report in reports]
    assert not any(report.outcome == "broken" for report in reports), "\n".join(broken)
    return {report.law: report.outcome for report in reports}


def first_events() -> Iterator[tuple[str, Wire]]:
    """The first event of every recorded stream in `tests/data`, with its protocol's name."""
    for folder in sorted(DATA.iterdir()):
        if folder.name == "sse" or not folder.is_dir():
            continue
        for file in sorted(folder.rglob("*")):
            if file.suffix not in (".sse", ".jsonl"):
                continue
            for line in file.read_bytes().splitlines():
                text = line.removeprefix(b"data:").strip()
                if text.startswith(b"{"):
                    try:
                        yield folder.name, json.loads(text)
                    except ValueError:
                        pass  # a case of broken bytes
                    break


def assert_detection_is_sure(protocol: str) -> None:
    """Ours are recognised, those of other protocols are not taken for ours."""
    ours = 0
    for name, wire in first_events():
        found = detect(wire)
        if name == protocol:
            assert found is adapter_named(protocol)
            ours += 1
        else:
            assert not adapter_named(protocol).detects(wire)
    assert ours
    for strange in (None, True, 1, "x", [], {}, {"type": None}, {"type": "x"}, {"type": {}}):
        assert adapter_named(protocol).detects(strange) is False


# --- hostile input --------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**64)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.sampled_from(["\ud800", "text", "assistant"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)


@st.composite
def mutated(draw: st.DrawFn, wires: list[Any]) -> Any:
    """A wire object, changed in a few places."""
    wire = copy.deepcopy(draw(st.sampled_from(wires)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(_containers(wire)) or [wire]))
        if isinstance(place, dict) and place:
            name = draw(st.sampled_from(sorted(place)))
            if draw(st.booleans()):
                place[name] = draw(JSON)
            else:
                del place[name]
        elif isinstance(place, list) and place:
            place[draw(st.integers(0, len(place) - 1))] = draw(JSON)
    return wire


def assert_total(protocol: str, wires: list[Any], before: list[Any]) -> None:
    """Anything is events, malformed or unknown; what raises leaves the memory as it was, and a
    store that met it still shows, saves, loads and encodes."""
    cls = adapter_named(protocol)
    context = Context()
    adapter = cls(context)
    for wire in (*before, *wires):
        assert type(cls.detects(wire)) is bool
        memory = json.dumps([context.own, context.shared])
        given = copy.deepcopy(wire)
        try:
            adapter.decode(wire)
        except (MalformedEvent, RepeatedEvent, UnknownEvent):
            assert json.dumps([context.own, context.shared]) == memory
        assert given == wire
    store = fold(protocol, [*before, *wires])
    json.dumps(store.state())
    json.dumps(encoded(store, protocol))
    assert shown(StreamStore.load(json.loads(json.dumps(store.save())))) == shown(store)
