"""Recorded opencode streams through the whole library, at every tick and at the end.

The final state is a weak test: the update that ends a part repairs every earlier mistake. So each
tick is held against what the server's text became, and against edits alone. What the text became
is read from the recording by a naive fold, not from the library.

Cases are those of `tests/data`, and of a folder of corpora where there is one (`recordings.py`).
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from recordings import folders

from streamstore import ChangeSet, PartKey, StreamStore
from streamstore.adapters.opencode import OpencodeAdapter
from streamstore.cli import main
from streamstore.ticks import ManualTicks

Wire = dict[str, Any]


@attrs.frozen
class Connection:
    """One connection of a case: the state that was read after it was opened, and its events."""

    events: list[Wire]
    lines: list[bytes]
    state: Wire | None = None
    state_file: str | None = None
    raw: bytes | None = None
    number: str = ""


@attrs.frozen
class Case:
    """A recorded case: its connections, and what the server said in the end."""

    folder: Path
    connections: list[Connection]
    expected: Wire

    @property
    def name(self) -> str:
        return self.folder.name


def read(folder: Path) -> Case:
    connections = []
    for number, state_file in (("", "initial.json"), (".2", "snapshot.json")):
        file = folder / f"events{number}.jsonl"
        if not file.exists():
            continue
        lines = file.read_bytes().split(b"\n")[:-1]
        there = (folder / state_file).exists()
        raw = folder / f"stream{number}.sse"
        connections.append(
            Connection(
                [json.loads(line) for line in lines],
                lines,
                json.loads((folder / state_file).read_bytes()) if there else None,
                str(folder / state_file) if there else None,
                raw.read_bytes() if raw.exists() else None,
                number,
            )
        )
    return Case(folder, connections, json.loads((folder / "expected.json").read_bytes()))


FOLDERS = list(folders("opencode").values())
_READ: dict[Path, Case] = {}


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def case(request: pytest.FixtureRequest) -> Case:
    return _case(request.param)


def _case(folder: Path) -> Case:
    if folder not in _READ:
        _READ[folder] = read(folder)
    return _READ[folder]


def named(name: str) -> Case:
    return next(_case(folder) for folder in FOLDERS if folder.name == name)


# --- what a recording says, without the library ---------------------------------------------------


def plain_event(wire: Wire) -> Wire | None:
    """The plain event of an envelope; None for a `sync` record, which repeats one."""
    payload: Wire = wire.get("payload", wire)
    return None if payload["type"] == "sync" else payload


def plain_events(case: Case) -> Iterator[Wire]:
    for connection in case.connections:
        yield from filter(None, map(plain_event, connection.events))


def final_texts(case: Case) -> dict[str, str]:
    """What the text of every part became, by part id: the whole update that ended it, else the
    deltas that came."""
    texts: dict[str, str] = {}
    for wire in plain_events(case):
        body = wire["properties"]
        if wire["type"] == "message.part.delta":
            assert body["field"] == "text"
            texts[body["partID"]] = texts.get(body["partID"], "") + body["delta"]
        elif wire["type"] == "message.part.updated" and "text" in body["part"]:
            texts[body["part"]["id"]] = body["part"]["text"]
    for connection in case.connections:
        for messages in (connection.state or {"messages": {}})["messages"].values():
            for message in messages:
                for part in message["parts"]:
                    if "text" in part:
                        texts.setdefault(part["id"], part["text"])
    return texts


def cut_parts(case: Case) -> set[str]:
    """Parts whose text lay across a connection's end or start."""
    cut: set[str] = set()
    for connection in case.connections:
        streaming: dict[str, str] = {}  # its message, by part
        for wire in filter(None, map(plain_event, connection.events)):
            body = wire["properties"]
            if wire["type"] == "message.part.delta" and body["partID"] not in streaming:
                cut.add(body["partID"])  # its start came before this connection
            elif wire["type"] == "message.part.updated":
                part = body["part"]
                streaming.pop(part["id"], None)
                if part["type"] in ("text", "reasoning") and "end" not in part.get("time", ["end"]):
                    streaming[part["id"]] = part["messageID"]
            elif wire["type"] == "message.updated" and "completed" in body["info"]["time"]:
                done = body["info"]["id"]  # whose broken parts never get an end
                streaming = {part: mine for part, mine in streaming.items() if mine != done}
        cut |= streaming.keys()
    return cut


UNREACHABLE = {
    # Text that a retry took back: no event says so.
    "retry_midstream": ["First attempt, lost: ", "Cut attempt: "],
    # Parts whose only event was lost with the head of the stream.
    "global_event_race": ["Second window question", "Wide angle question"],
}


def reachable(case: Case, got: Wire) -> tuple[Wire, Wire]:
    """The expected and the folded state without what the events do not tell (corpora's README)."""
    expected = copy.deepcopy(case.expected)
    left_out = []
    for session_id, messages in expected["messages"].items():
        for place, message in enumerate(messages):
            theirs = got["messages"][session_id][place]["parts"]
            if case.name == "retry_midstream":
                for part, their in zip(message["parts"], theirs, strict=True):
                    if part["type"] == "text" and part["text"] == "" != their["text"]:
                        assert "end" not in part["time"]
                        left_out.append(their["text"])
                        part["text"] = their["text"]
            if case.name == "global_event_race" and message["info"]["role"] == "user":
                assert theirs == []
                left_out += [part["text"] for part in message["parts"]]
                message["parts"] = []
    assert len(left_out) == len(UNREACHABLE.get(case.name, []))
    for text, start in zip(sorted(left_out), sorted(UNREACHABLE.get(case.name, [])), strict=True):
        assert text.startswith(start)
    names = ("sessions", "messages", "status", "todo", "diff", "permission", "question")
    return ({name: expected[name] for name in names}, {name: got[name] for name in names})


def assert_expected(case: Case, got: Wire) -> None:
    expected, reached = reachable(case, got)
    assert reached == expected


# --- fold -----------------------------------------------------------------------------------------


def as_frames(connection: Connection) -> bytes:
    made = b"".join(b"data: " + line + b"\n\n" for line in connection.lines)
    assert connection.raw in (None, made)
    return made


def as_lines(connection: Connection) -> bytes:
    return b"\n".join(connection.lines)


@pytest.mark.parametrize("form", [as_frames, as_lines])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_fold_gives_the_servers_own_final_state(
    case: Case,
    form: Callable[[Connection], bytes],
    pack: Callable[[bytes], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = []
    for connection in case.connections:
        if connection.state_file is not None:
            names.append(connection.state_file)
        log = tmp_path / f"log{connection.number}"
        log.write_bytes(pack(form(connection)))
        names.append(str(log))
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["fold", *names, "--as", "opencode"]) == 0
    out.seek(0)
    assert_expected(case, json.loads(out.read()))


def test_fold_of_the_own_state_names_every_text(
    case: Case, capfd: pytest.CaptureFixture[str]
) -> None:
    """The canonical state (contract, section 9) holds the same texts, by the same ids."""
    files = [case.folder / f"events{connection.number}.jsonl" for connection in case.connections]
    assert main(["fold", *map(str, files)]) == 0
    state = json.loads(capfd.readouterr().out)
    assert not state["gaps"]
    texts = {
        part["blockIndex"]: part["text"]
        for session in state["sessions"].values()
        for message in session.get("messages", ())
        for part in message.get("parts", ())
        if part["kind"] in ("text", "reasoning") and "text" in part
    }
    final = final_texts(case)
    assert texts.items() <= final.items()
    for messages in case.expected["messages"].values():
        for part in (part for message in messages for part in message["parts"]):
            if part.get("text") and case.name not in ("join_late", "global_event_race"):
                assert texts[part["id"]] == part["text"]


# --- at every tick --------------------------------------------------------------------------------


class Watcher:
    """Hears every tick and holds it against the final texts."""

    def __init__(self, store: StreamStore, case: Case) -> None:
        self.store = store
        self.final = final_texts(case)
        self.texts: dict[tuple[PartKey, str], str] = {}
        self.gapped: set[str] = set()
        self.rewritten: set[str] = set()
        self.checked = 0
        store.subscribe(self.hear)

    def hear(self, changes: ChangeSet) -> None:
        for gone in changes.removed:
            for key, field in list(self.texts):
                if key[: len(gone)] == gone:
                    del self.texts[key, field]
        touched = {place.key for place in changes.added} | set(changes.changed)
        touched |= {key for key, _ in changes.text}
        for key in touched:
            if isinstance(key, PartKey):
                part = self.store.part(*key)
                assert part is not None
                if part.gap:
                    self.gapped.add(str(key.block_index))
        for (key, field), edit in changes.text.items():
            before = self.texts.get((key, field), "")
            assert edit.start <= len(before)
            assert edit.rewritten == (edit.start < len(before))
            if edit.rewritten:
                self.rewritten.add(str(key.block_index))
            text = self.texts[key, field] = before[: edit.start] + edit.text
            part = self.store.part(*key)
            assert part is not None and field == "text"
            assert part.text == text
            if not part.gap:
                assert self.final[str(key.block_index)].startswith(text)
                self.checked += 1

    def end(self, case: Case, exact: bool = True) -> None:
        """All is fed and shown: nothing is missing, and only what was cut ever was.

        With `exact` ticks are so frequent that what was cut was surely seen with its gap.
        """
        cut = cut_parts(case)
        assert self.gapped == cut if exact else self.gapped <= cut
        assert self.rewritten <= cut
        assert self.store.health.gaps == ()
        parts = {
            part.key: part
            for session_id in self.store.session_ids()
            for message in self.store.messages(session_id)
            for part in self.store.parts(session_id, message.id)
        }
        assert not any(part.gap for part in parts.values())
        shown = {key: part.text for key, part in parts.items() if part.text}
        assert {key: text for (key, _), text in self.texts.items() if text} == shown
        assert all(self.final[str(key.block_index)] == text for key, text in shown.items())
        assert self.checked
        assert_expected(case, OpencodeAdapter().encode(self.store))


Feed = Callable[[StreamStore, Any, Connection], None]


def play(case: Case, store: StreamStore, feed: Feed) -> Watcher:
    watcher = Watcher(store, case)
    for connection in case.connections:
        stream = store.open("opencode")
        if connection.state is not None:
            stream.ingest(connection.state)
        feed(store, stream, connection)
        stream.end()
    store.flush()
    return watcher


def one_by_one(store: StreamStore, stream: Any, connection: Connection) -> None:
    for wire in connection.events:
        stream.ingest(wire)


def every(number: int) -> Feed:
    """A tick after so many events."""

    def feed(store: StreamStore, stream: Any, connection: Connection) -> None:
        for place, wire in enumerate(connection.events, start=1):
            stream.ingest(wire)
            if place % number == 0:
                store.flush()

    return feed


def in_bytes(size: int) -> Feed:
    """Bytes cut anywhere, a tick at the end of each piece."""

    def feed(store: StreamStore, stream: Any, connection: Connection) -> None:
        data = as_frames(connection)
        for start in range(0, len(data), size):
            stream.feed(data[start : start + size])

    return feed


def twice(length: int) -> Feed:
    """Every stretch of so many events is delivered again right after it."""

    def feed(store: StreamStore, stream: Any, connection: Connection) -> None:
        for start in range(0, len(connection.events), length):
            stretch = connection.events[start : start + length]
            stream.ingest_many(stretch)
            before = store.version
            stream.ingest_many(copy.deepcopy(stretch))
            assert store.version == before, "a repeated stretch changed something"

    return feed


def test_shown_text_is_a_prefix_of_the_final_one_after_every_event(case: Case) -> None:
    play(case, StreamStore("opencode", ticks="each"), one_by_one).end(case)


@pytest.mark.parametrize("number", [2, 7, 50, 10**9])
@pytest.mark.parametrize("delivery", ["streaming", "buffered"])
def test_shown_text_is_a_prefix_whenever_a_tick_comes(
    case: Case, number: int, delivery: Any
) -> None:
    store = StreamStore("opencode", ticks="manual", delivery=delivery)
    play(case, store, every(number)).end(case, exact=number <= 50 and delivery == "streaming")


@pytest.mark.parametrize("size", [13, 1000, 10**9])
def test_shown_text_is_a_prefix_however_the_bytes_are_cut(case: Case, size: int) -> None:
    play(case, StreamStore("opencode"), in_bytes(size)).end(case, exact=size <= 1000)


@pytest.mark.parametrize("length", [1, 2, 5, 40, 10**9])
def test_a_stretch_that_is_delivered_twice_changes_nothing(case: Case, length: int) -> None:
    play(case, StreamStore("opencode"), twice(length)).end(case, exact=length <= 40)


def test_a_second_delivery_on_another_stream_changes_nothing(case: Case) -> None:
    """Two tabs, or a reconnect that replays everything: the ids are the same."""

    def feed(store: StreamStore, stream: Any, connection: Connection) -> None:
        other = store.open("opencode")
        for place, wire in enumerate(connection.events):
            stream.ingest(wire)
            if place >= 3:  # always a little behind
                other.ingest(copy.deepcopy(connection.events[place - 3]))
        other.ingest_many(copy.deepcopy(connection.events[-3:]))
        other.end()

    play(case, StreamStore("opencode", ticks="each"), feed).end(case)


TIMED = [folder for folder in FOLDERS if (folder / "arrival_ms.json").exists()]


@pytest.mark.parametrize("folder", TIMED, ids=lambda folder: folder.name)
def test_ticks_of_a_frontend_at_the_recorded_pace(folder: Path) -> None:
    """60 Hz in the recording's own time: every delta is shown, in fewer writes and passes."""
    case = _case(folder)
    file = folder / "arrival_ms.json"
    found = json.loads(file.read_bytes())
    times = iter(found if not isinstance(found[0], list) else [at for part in found for at in part])
    ticks = ManualTicks(16)

    def feed(store: StreamStore, stream: Any, connection: Connection) -> None:
        for wire in connection.events:
            ticks.advance(max(0, next(times) - ticks.now))
            stream.ingest(wire)

    store = StreamStore("opencode", ticks=ticks)
    play(case, store, feed).end(case)
    deltas = sum(wire["type"] == "message.part.delta" for wire in plain_events(case))
    work = store.health.counts["work"]
    assert work["notifications"] == work["ticks"]
    if deltas > 100:
        assert work["writes"] < deltas


# --- cut streams ----------------------------------------------------------------------------------


def test_what_is_cut() -> None:
    """The recordings that were cut are known, so that the tests above cannot be empty."""
    assert {
        folder.name: len(cut_parts(_case(folder))) for folder in FOLDERS if cut_parts(_case(folder))
    } == {
        "join_late": 1,
        "reconnect_gap": 1,
    }


@pytest.mark.parametrize("name", ["join_late", "reconnect_gap"])
@pytest.mark.parametrize("place", [0, 1, 2, 30, 200, 10**9])
def test_a_state_may_be_read_at_any_time_of_its_connection(name: str, place: int) -> None:
    case = named(name)

    def feed(store: StreamStore, stream: Any, connection: Connection) -> None:
        for number, wire in enumerate(connection.events):
            if number == place and state is not None:
                stream.ingest(state)
            stream.ingest(wire)
        if place > len(connection.events) and state is not None:
            stream.ingest(state)

    store = StreamStore("opencode", ticks="each")
    watcher = Watcher(store, case)
    for connection in case.connections:
        state = connection.state
        stream = store.open("opencode")
        feed(store, stream, connection)
        stream.end()
    store.flush()
    watcher.end(case)


def test_a_cut_part_is_gapped_from_the_drop_to_its_final_update() -> None:
    case = named("reconnect_gap")
    (cut,) = cut_parts(case)
    first, second = case.connections
    store = StreamStore("opencode")
    stream = store.open("opencode")
    stream.ingest_many(first.events)
    assert store.health.gaps == ()
    stream.end()
    assert [gap.block_index for gap in store.health.gaps] == [cut]
    assert {gap.reason for gap in store.health.gaps} == {"cut"}
    stream = store.open("opencode")
    stream.ingest(second.state)
    ended = 0
    for wire in second.events:
        stream.ingest(wire)
        store.flush()
        plain = plain_event(wire)
        assert plain is not None
        part = plain["properties"].get("part")
        ended += part is not None and part["id"] == cut and "end" in part["time"]
        assert bool(store.health.gaps) == (ended == 0)
    assert ended


@pytest.mark.parametrize("name", ["join_late", "reconnect_gap"])
def test_without_the_state_the_cut_part_is_gapped_too(name: str) -> None:
    case = named(name)
    store = StreamStore("opencode", ticks="each")
    watcher = Watcher(store, case)
    for connection in case.connections:
        stream = store.open("opencode")
        stream.ingest_many(connection.events)
        stream.end()
    assert watcher.gapped == cut_parts(case)
    assert store.health.gaps == ()
    assert watcher.checked


# --- the cases themselves -------------------------------------------------------------------------


def test_all_cases_are_there() -> None:
    names = {folder.name for folder in FOLDERS}
    assert {"tools", "reconnect_gap", "join_late", "retry_midstream", "global_event"} <= names


def test_no_event_of_a_recording_is_unknown_or_refused(case: Case) -> None:
    store = StreamStore("opencode")
    play(case, store, one_by_one)
    known = {"accepted", "duplicate"}
    assert set(store.health.counts["verdicts"]) <= known
