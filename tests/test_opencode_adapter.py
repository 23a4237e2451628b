"""The opencode adapter: wire objects to events, recorded streams against the server's own state.

The store is a naive fold of some sixty lines; what the real one does with the events is tested
elsewhere. With `STREAMSTORE_CORPORA` set, all recorded streams below it are folded too.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamstore import StreamStore
from streamstore.adapters.opencode import OpencodeAdapter
from streamstore.errors import MalformedEvent, UnknownEvent
from streamstore.events import (
    BlockDelta,
    BlockRemoved,
    BlockReplaced,
    Event,
    MessageClosed,
    MessageRemoved,
    MessageUpdated,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionRejected,
    QuestionReplied,
    RequestEvent,
    SessionDiff,
    SessionError,
    SessionRemoved,
    SessionStatus,
    SessionUpdated,
    Snapshot,
    TodoUpdated,
    decode_event,
    encode_event,
)
from streamstore.keys import is_block_index, message_order, part_order
from streamstore.model import Message, Part, Request, Session, Status, freeze
from streamstore.text import GrowingText, TextView

DATA = Path(__file__).parent / "data" / "opencode"


def cases() -> Iterator[Path]:
    yield from sorted(DATA.iterdir())
    corpora = os.environ.get("STREAMSTORE_CORPORA")
    if corpora:
        here = {path.name for path in DATA.iterdir()}
        for path in sorted((Path(corpora) / "opencode").iterdir()):
            if path.is_dir() and path.name not in here:
                yield path


CASES = list(cases())
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def events_of(case: Path, name: str = "events.jsonl") -> list[Any]:
    # Lines end in "\n" alone: texts hold U+2028.
    text = (case / name).read_bytes().decode()
    return [json.loads(line) for line in text.split("\n") if line]


def json_of(case: Path, name: str = "expected.json") -> Any:
    return json.loads((case / name).read_bytes())


def decode(wire: Any) -> tuple[Any, ...]:
    return tuple(OpencodeAdapter().decode(wire))


def only(wire: Any) -> Any:
    (event,) = decode(wire)
    return event


def plain(type: str, id: str | None = "evt_1", **properties: Any) -> dict[str, Any]:
    wire: dict[str, Any] = {"type": type, "properties": properties}
    return wire if id is None else {"id": id, **wire}


def wrapped(payload: Any) -> dict[str, Any]:
    return {"directory": "/project", "project": "p", "payload": payload}


def sync(wire: dict[str, Any], version: str = "1") -> dict[str, Any]:
    record = {
        "id": wire["id"],
        "type": f"{wire['type']}.{version}",
        "seq": 7,
        "aggregateID": "ses_1",
        "data": wire["properties"],
    }
    return wrapped({"type": "sync", "id": wire["id"], "syncEvent": record})


def part_of(type: str, **members: Any) -> dict[str, Any]:
    return {"id": "prt_1", "sessionID": "ses_1", "messageID": "msg_1", "type": type, **members}


def part_updated(type: str, **members: Any) -> Any:
    return only(
        plain("message.part.updated", sessionID="ses_1", part=part_of(type, **members), time=9)
    )


def message_updated(**info: Any) -> tuple[Any, ...]:
    info = {"id": "msg_1", "sessionID": "ses_1", "role": "assistant", **info}
    return decode(plain("message.updated", sessionID="ses_1", info=info))


# --- a naive store --------------------------------------------------------------------------------


class Fold:
    """What a plain fold of events holds, with the reads that `encode` needs."""

    def __init__(self) -> None:
        self.infos: dict[str, dict[str, Any]] = {}
        self.own: dict[str, dict[str, Any]] = {}
        self.requests: dict[tuple[str, str], dict[str, Request]] = {}
        self.entries: dict[str, dict[str, dict[str, Any]]] = {}
        self.blocks: dict[tuple[str, str], dict[Any, dict[str, Any]]] = {}
        self.seen: set[str] = set()

    def take(self, events: Iterable[Event]) -> None:
        events = tuple(events)
        if events and events[0].id is not None:
            if events[0].id in self.seen:
                return
            self.seen.add(events[0].id)
        for event in events:
            self.apply(event)

    def block(self, event: Any) -> dict[str, Any]:
        blocks = self.blocks.setdefault((event.session_id, event.message_id), {})
        self.message(event.session_id, event.message_id)
        new = {"kind": "text", "status": "open", "texts": {"text": ""}, "fields": {}}
        return blocks.setdefault(event.block_index, new)

    def message(self, sid: str, mid: str) -> dict[str, Any]:
        return self.entries.setdefault(sid, {}).setdefault(mid, {"info": {}})

    def apply(self, event: Any) -> None:
        sid = event.session_id
        self.infos.setdefault(sid, {})
        own = self.own.setdefault(sid, {})
        match event:
            case SessionUpdated():
                self.infos[sid] = dict(event.info)
            case SessionRemoved():
                for table in (self.infos, self.own, self.entries):
                    table.pop(sid, None)
                for key in [key for key in (*self.blocks, *self.requests) if key[0] == sid]:
                    self.blocks.pop(key, None)
                    self.requests.pop(key, None)
            case SessionStatus():
                own["status"] = Status(
                    event.status, event.attempt, event.message, event.next, event.extra
                )
            case SessionError():
                own.setdefault("errors", []).append(event.error)
            case SessionDiff():
                own["diff"] = event.diff
            case TodoUpdated():
                own["todo"] = event.todo
            case MessageUpdated():
                self.message(sid, event.message_id).update(
                    info=dict(event.info),
                    role=event.role,
                    parent_id=event.parent_id,
                    order=event.order,
                )
            case MessageClosed():
                self.message(sid, event.message_id).update(status=event.status, error=event.error)
            case MessageRemoved():
                self.entries.get(sid, {}).pop(event.message_id, None)
                self.blocks.pop((sid, event.message_id), None)
            case BlockDelta():
                texts = self.block(event)["texts"]
                texts[event.field] = texts.get(event.field, "") + event.text
            case BlockReplaced():
                block = self.block(event)
                block.update(kind=event.kind, status=event.status, fields=dict(event.fields))
                block["texts"] = {"text": event.text or ""}
            case BlockRemoved():
                self.blocks.get((sid, event.message_id), {}).pop(event.block_index, None)
            case PermissionAsked() | QuestionAsked():
                asked = self.requests.setdefault((sid, event.type.partition(".")[0]), {})
                asked[event.request_id] = Request(
                    event.request_id, sid, event.message_id, event.call_id, event.payload
                )
            case PermissionReplied() | QuestionReplied() | QuestionRejected():
                kind = event.type.partition(".")[0]
                self.requests.get((sid, kind), {}).pop(event.request_id, None)
            case Snapshot():
                self.merge(event, own)
            case _:
                raise AssertionError(event)

    def merge(self, event: Any, own: dict[str, Any]) -> None:
        """Fetched wins over live, but for an empty text; good enough between two events."""
        sid = event.session_id
        self.infos[sid] = dict(event.info or self.infos.get(sid, {}))
        if event.status is not None:
            status = dict(event.status)
            known = {
                name: status.pop(name, None) for name in ("type", "attempt", "message", "next")
            }
            own["status"] = Status(**known, fields=status)
        own.update({n: v for n in ("todo", "diff") if (v := getattr(event, n)) is not None})
        for kind in ("permission", "question"):
            for request in getattr(event, f"{kind}s") or ():
                self.requests.setdefault((sid, kind), {})[request["id"]] = Request(
                    request["id"],
                    sid,
                    request.get("messageId"),
                    request.get("callId"),
                    request["payload"],
                )
        for message in event.messages:
            entry = self.message(sid, message["id"])
            entry.update(info=message["info"], role=message["role"], status=message["status"])
            entry.update(parent_id=message.get("parentId"), order=message.get("order"))
            for part in message["parts"]:
                part = dict(part)
                index, text = part.pop("blockIndex"), part.pop("text", "")
                kind, status = part.pop("kind"), part.pop("status")
                blocks = self.blocks.setdefault((sid, message["id"]), {})
                text = text or blocks.get(index, {"texts": {"text": ""}})["texts"]["text"]
                blocks[index] = {
                    "kind": kind,
                    "status": status,
                    "texts": {"text": text},
                    "fields": part,
                }

    def text(self, sid: str, mid: str, index: str) -> str:
        text: str = self.blocks[sid, mid][index]["texts"]["text"]
        return text

    # The reads. Values are frozen, as the store's are.

    def session_ids(self) -> tuple[str, ...]:
        return tuple(self.infos)

    def session(self, session_id: str) -> Session | None:
        own = self.own.get(session_id, {})
        return Session(
            id=session_id,
            info=freeze(self.infos[session_id]),
            status=own.get("status"),
            errors=tuple(own.get("errors", ())),
            permissions=self.requests.get((session_id, "permission"), {}),
            questions=self.requests.get((session_id, "question"), {}),
            todo=freeze(own.get("todo")),
            diff=freeze(own.get("diff")),
        )

    def messages(self, session_id: str) -> tuple[Message, ...]:
        found = [
            Message(
                session_id=session_id,
                id=mid,
                role=entry.get("role") or "",
                status=entry.get("status", "open"),
                order=entry.get("order"),
                parent_id=entry.get("parent_id"),
                info=freeze(entry["info"]),
                error=entry.get("error"),
            )
            for mid, entry in self.entries.get(session_id, {}).items()
        ]
        return tuple(sorted(found, key=lambda message: message_order(message.order, message.id)))

    def parts(self, session_id: str, message_id: str) -> tuple[Part, ...]:
        blocks = self.blocks.get((session_id, message_id), {})
        return tuple(
            Part(
                session_id=session_id,
                message_id=message_id,
                block_index=index,
                kind=block["kind"],
                status=block["status"],
                view=view(block["texts"]["text"]),
                fields=freeze(block["fields"]),
                others={
                    field: view(text) for field, text in block["texts"].items() if field != "text"
                },
            )
            for index, block in sorted(blocks.items(), key=lambda item: part_order(None, item[0]))
        )


def view(text: str) -> TextView:
    return TextView(GrowingText(text), len(text))


def folded(*wires: Any) -> Fold:
    fold = Fold()
    for wire in wires:
        fold.take(decode(wire))
    return fold


def encoded(fold: Fold) -> Any:
    state = OpencodeAdapter().encode(fold)
    # It is plain JSON: nothing of the store's frozen values is in it.
    assert json.loads(json.dumps(state)) == state
    assert not any(type(value) not in (dict, list) for value in containers(state))
    return state


def containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)


# --- recorded streams against the server's own final state ----------------------------------------

#: The stream lost its head, the text of the user's messages.
HEADLESS = "global_event_race"
#: The server keeps broken-off text as "": deltas are not stored.
BROKEN_OFF = "retry_midstream"


def wires_of(case: Path) -> list[Any]:
    """A case as a client meets it: a fetched state where it joined late or came back."""
    wires = [json_of(case, "initial.json")] if (case / "initial.json").exists() else []
    wires += events_of(case)
    if (case / "events.2.jsonl").exists():
        wires += [json_of(case, "snapshot.json"), *events_of(case, "events.2.jsonl")]
    return wires


def without_open_text(state: Any) -> Any:
    """The state as the server stores it: the text of a part that never ended is empty."""
    state = copy.deepcopy(state)
    for messages in state["messages"].values():
        for message in messages:
            for part in message["parts"]:
                if part["type"] in ("text", "reasoning"):
                    if "end" not in part.get("time", {"end": 0}):
                        part["text"] = ""
    return state


def without_user_parts(state: Any) -> Any:
    state = copy.deepcopy(state)
    for messages in state["messages"].values():
        for message in messages:
            if message["info"]["role"] == "user":
                message["parts"] = []
    return state


@each_case
def test_a_recorded_stream_ends_in_the_state_that_the_server_reports(case: Path) -> None:
    state = encoded(folded(*wires_of(case)))
    if case.name == BROKEN_OFF:
        assert state != json_of(case)
        state = without_open_text(state)
    expected = json_of(case)
    if case.name == HEADLESS:
        assert state != expected
        state, expected = without_user_parts(state), without_user_parts(expected)
    assert state == expected


def is_gapless(case: Path) -> bool:
    return not (case / "initial.json").exists() and not (case / "events.2.jsonl").exists()


@pytest.mark.parametrize("case", [*filter(is_gapless, CASES)], ids=lambda case: case.name)
def test_what_a_client_sees_of_a_text_is_always_the_start_of_what_it_ends_as(case: Path) -> None:
    final = {
        (sid, message["info"]["id"], part["id"]): part["text"]
        for sid, messages in json_of(case)["messages"].items()
        for message in messages
        for part in message["parts"]
        if "end" in part.get("time", {})
    }
    fold = Fold()
    for wire in events_of(case):
        events = decode(wire)
        fold.take(events)
        for event in events:
            if isinstance(event, BlockDelta | BlockReplaced):
                key = (event.session_id or "", event.message_id, str(event.block_index))
                if key in final:
                    assert final[key].startswith(fold.text(*key))


@each_case
def test_every_event_fed_twice_by_its_id_changes_nothing(case: Path) -> None:
    events = events_of(case)
    again = [wire for wire in events for _ in range(2)]
    assert encoded(folded(*again)) == encoded(folded(*events))


@each_case
def test_the_states_that_the_server_reports_come_back_as_they_were(case: Path) -> None:
    for file in case.glob("*.json"):
        if file.name in ("expected.json", "initial.json", "snapshot.json"):
            state = json_of(case, file.name)
            assert encoded(folded(state)) == state


@each_case
def test_no_recorded_event_is_malformed_or_unknown_and_each_is_recognised(case: Path) -> None:
    for wire in wires_of(case):
        decode(wire)
        assert OpencodeAdapter.detects(wire)


@each_case
def test_an_event_means_the_same_plain_wrapped_and_as_a_sync_record(case: Path) -> None:
    for wire in events_of(case):
        if "properties" in wire:
            assert decode(wrapped(wire)) == decode(wire)
            if wire["type"] != "message.part.delta":
                assert decode(sync(wire)) == decode(wire)


@each_case
def test_recorded_sync_records_are_the_events_that_they_go_with(case: Path) -> None:
    seen: dict[str, tuple[Event, ...]] = {}
    twins = 0
    for wire in events_of(case):
        payload = wire.get("payload", {})
        if payload.get("type") == "sync":
            assert decode(wire) == seen[payload["id"]]
            twins += 1
        elif payload:
            seen[payload["id"]] = decode(wire)
    assert bool(twins) == case.name.startswith("global_event")


@each_case
def test_the_shape_of_the_hot_path_reads_a_delta_as_decode_does(case: Path) -> None:
    shape = OpencodeAdapter.delta
    assert shape is not None
    for wire in events_of(case):
        if wire.get("type") == shape.type:
            body = wire[shape.body]
            assert body.get(shape.field) == "text"
            assert only(wire) == BlockDelta(
                session_id=body[shape.session],
                message_id=body[shape.message],
                block_index=body[shape.block],
                text=body[shape.text],
                id=wire[shape.id],
            )


@each_case
def test_a_fetched_part_is_mapped_as_a_live_one(case: Path) -> None:
    for wire in events_of(case):
        if wire.get("type") != "message.part.updated":
            continue
        part = wire["properties"]["part"]
        live = only(wire)
        info = {"id": part["messageID"], "sessionID": part["sessionID"], "role": "assistant"}
        page = only({"sessionID": "ses_1", "messages": [{"info": info, "parts": [part]}]})
        (fetched,) = page.messages[0]["parts"]
        assert fetched == {
            "blockIndex": live.block_index,
            "kind": live.kind,
            "status": live.status,
            **({} if live.text is None else {"text": live.text}),
            **live.fields,
        }


def test_a_client_that_joined_late_needs_the_fetched_state() -> None:
    case = DATA / "join_late"
    state = encoded(folded(*events_of(case)))
    assert len(state["messages"]) == 1
    assert state != json_of(case)


def test_a_drop_is_repaired_by_the_end_of_the_part_with_and_without_the_fetched_state() -> None:
    case = DATA / "reconnect_gap"
    before, after = events_of(case), events_of(case, "events.2.jsonl")
    assert encoded(folded(*before, *after)) == json_of(case)
    assert encoded(folded(*before, json_of(case, "snapshot.json"), *after)) == json_of(case)


def test_a_fetched_state_says_that_the_streaming_part_is_open_and_says_nothing_of_its_text() -> (
    None
):
    for name in ("reconnect_gap/snapshot.json", "join_late/initial.json"):
        snapshot = only(json_of(DATA, name))
        assert snapshot.complete
        assert snapshot.status == {"type": "busy"}
        last = snapshot.messages[-1]
        assert (last["role"], last["status"]) == ("assistant", "open")
        opened = [part for part in last["parts"] if part["status"] == "open"]
        assert [(part["kind"], part["text"]) for part in opened] == [("text", "")]


# --- parts ----------------------------------------------------------------------------------------


def test_a_text_part_is_open_until_its_time_has_an_end() -> None:
    assert part_updated("text", text="", time={"start": 1}).status == "open"
    assert part_updated("text", text="", time={"start": 1, "end": None}).status == "open"
    assert part_updated("reasoning", text="a", time={"start": 1, "end": 2}).status == "closed"
    assert part_updated("text", text="of a user").status == "closed"
    assert part_updated("text", text="of a user", time=None).status == "closed"


@pytest.mark.parametrize(
    ("state", "status"),
    [("pending", "open"), ("running", "open"), ("completed", "closed"), ("error", "closed")],
)
def test_a_tool_part_is_open_until_its_state_is_terminal(state: str, status: str) -> None:
    assert part_updated("tool", tool="bash", callID="c", state={"status": state}).status == status


def test_other_parts_are_closed_and_have_no_text() -> None:
    for kind in "file step-start step-finish agent subtask compaction retry snapshot patch".split():
        event = part_updated(kind, time={"start": 1})
        assert (event.kind, event.status, event.text) == (kind, "closed", None)


def test_a_part_is_replaced_whole_with_its_members_as_fields() -> None:
    state = {"status": "running", "input": {"command": "ls"}, "time": {"start": 4}}
    assert part_updated("tool", tool="bash", callID="c", state=state) == BlockReplaced(
        session_id="ses_1",
        message_id="msg_1",
        block_index="prt_1",
        kind="tool",
        status="open",
        whole=True,
        fields={"tool": "bash", "callId": "c", "state": state},
        id="evt_1",
    )
    assert part_updated("text", text="hi", synthetic=True, time={"start": 1}) == BlockReplaced(
        session_id="ses_1",
        message_id="msg_1",
        block_index="prt_1",
        kind="text",
        text="hi",
        status="open",
        whole=True,
        fields={"synthetic": True, "time": {"start": 1}},
        id="evt_1",
    )


def test_the_delta_that_old_servers_put_beside_the_whole_part_is_not_appended() -> None:
    part = part_of("text", text="hello", time={"start": 1})
    event = only(plain("message.part.updated", id=None, part=part, delta="lo"))
    assert (event.text, event.id, event.session_id) == ("hello", None, "ses_1")


UNKNOWN_PARTS = [
    part_of("video", url="u", length=3),
    part_of("video"),
    part_of("unknown", text="words"),
    part_of("data", text="", time=7),
    part_of("error", text=["no", "string"], time=None),
    part_of("file", text="of a file", mime="m"),
    part_of("patch", kind="k", order="o", status="s", seq=-1, blockIndex=None, callId="c"),
    part_of("text", text="t", wire={"kind": 1}, originalKind="o", whole=0, gap=1, sessionId=2),
    part_of("tool", state={"status": "new", "x": 1}, type_="t", generation=4, field="f"),
]


@pytest.mark.parametrize("part", UNKNOWN_PARTS, ids=lambda part: part["type"])
def test_members_and_types_that_nobody_knows_come_back_as_they_were(part: Any) -> None:
    live = plain("message.part.updated", sessionID="ses_1", part=part)
    info = {"id": "msg_1", "sessionID": "ses_1", "role": "assistant"}
    fetched = {"sessionID": "ses_1", "messages": [{"info": info, "parts": [part]}]}
    for wire in (live, fetched):
        ((message,),) = encoded(folded(wire))["messages"].values()
        assert message["parts"] == [part]


@pytest.mark.parametrize("part", UNKNOWN_PARTS, ids=lambda part: part["type"])
def test_members_that_nobody_knows_are_not_taken_for_canonical_ones_in_the_log(part: Any) -> None:
    event = only(plain("message.part.updated", sessionID="ses_1", part=part))
    line = json.loads(json.dumps(encode_event(event)))
    assert (line["type"], line["sessionId"]) == ("block.replaced", "ses_1")
    assert decode_event(line) == event


def test_a_part_type_that_nobody_knows_is_of_kind_unknown() -> None:
    event = part_updated("video", url="u")
    assert (event.kind, event.fields) == ("unknown", {"url": "u", "originalKind": "video"})


def test_lone_surrogates_of_a_text_come_back_as_they_were() -> None:
    part = part_of("text", text="half \ud83d", time={"start": 1})
    fold = folded(plain("message.part.updated", part=part))
    ((message,),) = OpencodeAdapter().encode(fold)["messages"].values()
    assert message["parts"] == [part]


def test_text_that_streamed_into_another_field_is_encoded_until_a_whole_part_has_the_field() -> (
    None
):
    ids = {"sessionID": "ses_1", "messageID": "msg_1", "partID": "prt_1"}
    fold = folded(
        plain("message.part.updated", part=part_of("tool", state={"status": "running"})),
        plain("message.part.delta", id="evt_2", **ids, field="raw", delta='{"a"'),
        plain("message.part.delta", id="evt_3", **ids, field="raw", delta=": 1}"),
    )
    ((message,),) = encoded(fold)["messages"].values()
    assert message["parts"] == [part_of("tool", state={"status": "running"}, raw='{"a": 1}')]
    whole = part_of("tool", state={"status": "completed"}, raw="whole")
    fold.take(decode(plain("message.part.updated", id="evt_4", part=whole)))
    ((message,),) = encoded(fold)["messages"].values()
    assert message["parts"] == [whole]


def test_a_delta_without_a_field_is_one_of_text_as_on_the_hot_path() -> None:
    ids = {"sessionID": "ses_1", "messageID": "msg_1", "partID": "prt_1"}
    assert only(plain("message.part.delta", **ids, delta="a")).field == "text"
    assert only(plain("message.part.delta", **ids, delta="", field="raw")).field == "raw"
    assert only(plain("message.part.delta", id=None, **ids, delta="a")).id is None


# --- messages -------------------------------------------------------------------------------------


def test_a_message_stays_open_until_it_has_completed() -> None:
    (updated,) = message_updated(parentID="msg_0", time={"created": 5}, cost=1)
    assert updated == MessageUpdated(
        session_id="ses_1",
        message_id="msg_1",
        role="assistant",
        parent_id="msg_0",
        order=5,
        whole=True,
        info={
            "id": "msg_1",
            "sessionID": "ses_1",
            "role": "assistant",
            "parentID": "msg_0",
            "time": {"created": 5},
            "cost": 1,
        },
        id="evt_1",
    )
    _, closed = message_updated(time={"created": 5, "completed": 6})
    assert closed == MessageClosed(
        session_id="ses_1", message_id="msg_1", status="completed", id="evt_1"
    )


def test_an_error_ends_a_message_and_an_abort_is_not_an_error() -> None:
    failed = {"name": "APIError", "data": {"message": "no"}}
    aborted = {"name": "MessageAbortedError", "data": {"message": "Aborted"}}
    for error, status in ((failed, "error"), (aborted, "aborted")):
        for time in ({"created": 5}, {"created": 5, "completed": 6}):
            _, closed = message_updated(time=time, error=error)
            assert closed == MessageClosed(
                session_id="ses_1", message_id="msg_1", status=status, error=error, id="evt_1"
            )
    (updated,) = message_updated(error=None)
    assert isinstance(updated, MessageUpdated)


def test_a_message_of_the_user_is_complete_when_it_comes() -> None:
    _, closed = message_updated(role="user", time={"created": 5})
    assert closed == MessageClosed(session_id="ses_1", message_id="msg_1", id="evt_1")


def test_recorded_aborts_end_as_aborted() -> None:
    statuses = [
        event.status
        for wire in events_of(DATA / "abort_text")
        for event in decode(wire)
        if isinstance(event, MessageClosed)
    ]
    assert {"completed", "aborted"} == set(statuses)


def test_an_event_names_its_session_itself_or_through_what_it_carries() -> None:
    info = {"id": "msg_1", "sessionID": "ses_1", "role": "user"}
    assert decode(plain("message.updated", info=info))[0].session_id == "ses_1"
    assert only(plain("session.created", info={"id": "ses_1"})).session_id == "ses_1"
    assert only(plain("session.deleted", info={"id": "ses_1"})).session_id == "ses_1"
    for wire in (
        plain("message.updated", sessionID="ses_2", info=info),
        plain("session.updated", sessionID="ses_2", info={"id": "ses_1"}),
        plain("message.part.updated", sessionID="ses_2", part=part_of("text", text="")),
    ):
        with pytest.raises(MalformedEvent, match="is not the session of the event"):
            decode(wire)


def test_a_message_that_only_deltas_announced_is_encoded_with_what_is_known() -> None:
    ids = {"sessionID": "ses_1", "messageID": "msg_1", "partID": "prt_1"}
    state = encoded(folded(plain("message.part.delta", **ids, delta="late")))
    assert state["sessions"] == [{"id": "ses_1"}]
    assert state["messages"] == {
        "ses_1": [
            {
                "info": {"id": "msg_1", "sessionID": "ses_1"},
                "parts": [part_of("text", text="late")],
            }
        ]
    }


def test_a_local_message_is_encoded_as_the_server_would() -> None:
    fold = Fold()
    fold.infos["ses_1"] = {}
    fold.message("ses_1", "msg_1").update(role="user", order=5, parent_id="msg_0")
    ((message,),) = encoded(fold)["messages"].values()
    assert message["info"] == {
        "id": "msg_1",
        "sessionID": "ses_1",
        "role": "user",
        "parentID": "msg_0",
        "time": {"created": 5},
    }


# --- sessions -------------------------------------------------------------------------------------


def test_a_session_comes_whole_and_goes_whole() -> None:
    info = {"id": "ses_1", "title": "t"}
    for type in ("session.created", "session.updated"):
        assert only(plain(type, sessionID="ses_1", info=info)) == SessionUpdated(
            session_id="ses_1", info=info, whole=True, id="evt_1"
        )
    assert only(plain("session.deleted", sessionID="ses_1", info=info)) == SessionRemoved(
        session_id="ses_1", id="evt_1"
    )


def test_a_status_keeps_what_else_the_server_says() -> None:
    status = {
        "type": "retry",
        "attempt": 2,
        "message": "slow down",
        "next": 1795242190085,
        "action": {"reason": "r"},
        "id": "i",
        "wire": 1,
    }
    wire = plain("session.status", sessionID="ses_1", status=status)
    event = only(wire)
    assert (event.status, event.attempt, event.message) == ("retry", 2, "slow down")
    assert event.next == 1795242190085
    assert event.extra["action"] == {"reason": "r"}
    assert encoded(folded(wire))["status"] == {"ses_1": status}
    fetched = {"sessions": [{"id": "ses_1"}], "status": {"ses_1": status}}
    assert encoded(folded(fetched))["status"] == {"ses_1": status}


def test_a_fraction_in_the_time_of_a_retry_is_rounded_up() -> None:
    """A provider's `retry-after-ms: 12.5` ends up in `next`."""
    status = {"type": "retry", "attempt": 1.0, "message": "", "next": 1795242190085.5}
    event = only(plain("session.status", sessionID="ses_1", status=status))
    assert (event.attempt, event.next) == (1, 1795242190086)


def test_session_idle_says_what_the_status_before_it_said() -> None:
    status = only(plain("session.status", sessionID="ses_1", status={"type": "idle"}))
    assert only(plain("session.idle", sessionID="ses_1")) == status


def test_an_error_of_a_session_has_a_name_and_a_message() -> None:
    error = {"name": "APIError", "data": {"message": "no", "statusCode": 400}}
    assert only(plain("session.error", sessionID="ses_1", error=error)) == SessionError(
        session_id="ses_1", error={**error, "message": "no"}, id="evt_1"
    )
    for data in ({}, None, "any", {"message": 7}):
        event = only(plain("session.error", sessionID="ses_1", error={"name": "N", "data": data}))
        assert event.error == {"name": "N", "message": "N", "data": data}


def test_an_error_of_no_session_and_one_that_says_nothing_are_of_no_session() -> None:
    assert decode(plain("session.error", error={"name": "N", "data": {}})) == ()
    assert decode(plain("session.error", sessionID="ses_1")) == ()


def test_todo_and_diff_replace_the_last_list() -> None:
    todos = [{"content": "c", "status": "pending", "priority": "high"}]
    assert only(plain("todo.updated", sessionID="ses_1", todos=todos)).todo == todos
    assert only(plain("session.diff", sessionID="ses_1", diff=[{}])).diff == [{}]


def test_sessions_stand_latest_update_first_and_children_behind() -> None:
    infos = [
        {"id": "ses_a", "time": {"updated": 1}},
        {"id": "ses_b", "time": {"updated": 3}},
        {"id": "ses_c", "time": {"updated": 9}, "parentID": "ses_a"},
        {"id": "ses_d"},
        {"id": "ses_e", "time": {"updated": 3}},
    ]
    order = [info["id"] for info in encoded(folded({"sessions": infos}))["sessions"]]
    assert order == ["ses_b", "ses_e", "ses_a", "ses_d", "ses_c"]


# --- permissions and questions --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "cls"),
    [
        ("permission.asked", PermissionAsked),
        ("permission.v2.asked", PermissionAsked),
        ("question.asked", QuestionAsked),
        ("question.v2.asked", QuestionAsked),
    ],
)
@pytest.mark.parametrize("member", ["tool", "source"])
def test_a_request_names_its_tool_and_keeps_what_is_asked(type: str, cls: Any, member: str) -> None:
    asked = {
        "id": "req_1",
        "sessionID": "ses_1",
        "metadata": {"command": "ls"},
        member: {"type": "tool", "messageID": "msg_1", "callID": "call_1"},
    }
    assert only({"id": "evt_1", "type": type, "properties": asked}) == cls(
        session_id="ses_1",
        request_id="req_1",
        message_id="msg_1",
        call_id="call_1",
        payload=asked,
        id="evt_1",
    )
    fold = folded({"id": "evt_1", "type": type, "properties": asked})
    kind = type.partition(".")[0]
    assert encoded(fold)[kind] == [asked]
    assert encoded(folded({"sessions": [], kind: [asked]}))[kind] == [asked]


def test_a_request_that_belongs_to_no_tool_says_so() -> None:
    event = only({"type": "question.asked", "properties": {"id": "q", "sessionID": "s"}})
    assert (event.message_id, event.call_id, event.id) == (None, None, None)


@pytest.mark.parametrize(
    ("type", "cls"),
    [
        ("permission.replied", PermissionReplied),
        ("permission.v2.replied", PermissionReplied),
        ("question.replied", QuestionReplied),
        ("question.v2.replied", QuestionReplied),
        ("question.rejected", QuestionRejected),
        ("question.v2.rejected", QuestionRejected),
    ],
)
def test_an_answer_names_the_request(type: str, cls: Any) -> None:
    body = {"sessionID": "ses_1", "requestID": "req_1", "reply": "once"}
    assert only({"id": "evt_1", "type": type, "properties": body}) == cls(
        session_id="ses_1", request_id="req_1", payload=body, id="evt_1"
    )


def test_what_is_asked_stands_in_order_of_asking_across_sessions() -> None:
    asked = [{"id": f"per_{n}", "sessionID": f"ses_{n % 2}"} for n in range(4)]
    fold = folded({"sessions": [{"id": "ses_1"}, {"id": "ses_0"}], "permission": asked})
    assert encoded(fold)["permission"] == asked


@pytest.mark.parametrize("kind", ["permission", "question"])
def test_what_is_asked_again_replaces_what_was_asked_under_that_id(kind: str) -> None:
    store = StreamStore("opencode", ticks="manual")
    for number, patterns in enumerate((["a"], ["b"])):
        body = {"id": "req_1", "sessionID": "ses_1", "patterns": patterns}
        store.ingest({"id": f"evt_{number}", "type": f"{kind}.asked", "properties": body})
    store.flush()
    session = store.session("ses_1")
    assert session is not None
    (request,) = getattr(session, f"{kind}s").values()
    assert request.payload["patterns"] == ["b"]


def test_a_request_made_without_a_wire_is_encoded_as_the_server_would() -> None:
    fold = Fold()
    fold.infos["ses_1"] = {}
    fold.requests["ses_1", "permission"] = {"p": Request("p", "ses_1", "msg_1", "call_1")}
    assert encoded(fold)["permission"] == [
        {"id": "p", "sessionID": "ses_1", "tool": {"messageID": "msg_1", "callID": "call_1"}}
    ]


# --- what is not an event of a session ------------------------------------------------------------


@pytest.mark.parametrize(
    "type",
    "server.connected server.heartbeat server.instance.disposed global.disposed plugin.added "
    "catalog.updated reference.updated integration.updated file.edited file.watcher.updated "
    "lsp.updated tui.toast.show pty.created vcs.branch.updated session.compacted".split(),
)
def test_events_that_change_no_session_are_no_events(type: str) -> None:
    for wire in (plain(type), wrapped(plain(type)), {"payload": plain(type)}, sync(plain(type))):
        assert decode(wire) == ()


@pytest.mark.parametrize("type", ["session.next.text.delta", "message.part", "nonsense", ""])
def test_types_that_are_not_known_are_unknown(type: str) -> None:
    for wire in (plain(type), wrapped(plain(type))):
        with pytest.raises(UnknownEvent) as caught:
            decode(wire)
        assert caught.value.type == type


def test_a_sync_record_of_another_version_is_unknown_as_its_plain_twin_comes_too() -> None:
    wire = plain("session.updated", sessionID="ses_1", info={"id": "ses_1"})
    for version in ("2", "01", "x", ""):
        with pytest.raises(UnknownEvent) as caught:
            decode(sync(wire, version))
        assert caught.value.type == f"session.updated.{version}"


# --- what is malformed ----------------------------------------------------------------------------

TEXT = part_of("text", text="t")
TOOL = part_of("tool", state={"status": "running"})
INFO = {"id": "msg_1", "sessionID": "ses_1", "role": "user"}
NO_STRINGS: tuple[Any, ...] = (None, 7, [], {})
DELTA: dict[str, Any] = {
    "sessionID": "s",
    "messageID": "m",
    "partID": "p",
    "field": "text",
    "delta": "d",
}


def without(members: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name not in names}


MALFORMED: list[tuple[str, Any]] = [
    ("", None),
    ("", []),
    ("", "text"),
    ("type", {}),
    ("type", {"type": None}),
    ("type", {"type": 7, "properties": {}}),
    ("properties", {"type": "message.updated"}),
    ("properties", {"type": "message.updated", "properties": []}),
    ("id", plain("message.part.delta", **DELTA) | {"id": ""}),
    ("id", plain("message.part.delta", **DELTA) | {"id": 7}),
    ("payload", {"payload": None}),
    ("payload.type", {"payload": {}}),
    ("payload.properties", {"payload": {"type": "session.idle"}}),
    ("payload.id", wrapped(plain("session.idle", sessionID="s") | {"id": []})),
    ("payload.properties.sessionID", wrapped(plain("session.idle"))),
    ("payload.syncEvent", wrapped({"type": "sync"})),
    ("payload.syncEvent.type", wrapped({"type": "sync", "syncEvent": {}})),
    ("payload.syncEvent.data", wrapped({"type": "sync", "syncEvent": {"type": "todo.updated.1"}})),
    ("payload.syncEvent.data.info", sync(plain("session.updated", sessionID="s"))),
    *[
        (f"properties.{name}", plain("message.part.delta", **without(DELTA, name)))
        for name in ("sessionID", "messageID", "partID", "delta")
    ],
    *[
        (f"properties.{name}", plain("message.part.delta", **{**DELTA, name: value}))
        for name in DELTA
        for value in NO_STRINGS
    ],
    ("properties.field", plain("message.part.delta", **{**DELTA, "field": ""})),
    ("properties.part", plain("message.part.updated", sessionID="ses_1")),
    *[
        (f"properties.part.{name}", plain("message.part.updated", part=without(TEXT, name)))
        for name in ("id", "sessionID", "messageID", "type", "text")
    ],
    *[
        (f"properties.part.{name}", plain("message.part.updated", part={**TEXT, name: 7}))
        for name in ("id", "sessionID", "messageID", "type", "text", "time")
    ],
    ("properties.part.state", plain("message.part.updated", part=without(TOOL, "state"))),
    ("properties.part.state.status", plain("message.part.updated", part={**TOOL, "state": {}})),
    ("properties.partID", plain("message.part.removed", sessionID="s", messageID="m")),
    ("properties.messageID", plain("message.removed", sessionID="s")),
    ("properties.info", plain("message.updated", sessionID="ses_1")),
    *[
        (f"properties.info.{name}", plain("message.updated", info=without(INFO, name)))
        for name in ("id", "sessionID", "role")
    ],
    ("properties.info.parentID", plain("message.updated", info={**INFO, "parentID": ""})),
    ("properties.info.error", plain("message.updated", info={**INFO, "error": "e"})),
    ("properties.info.time", plain("message.updated", info={**INFO, "time": 7})),
    *[
        (
            f"properties.info.time.{name}",
            plain("message.updated", info={**INFO, "time": {name: value}}),
        )
        for name in ("created", "completed")
        for value in ("now", True, float("inf"))
    ],
    ("properties.info", plain("session.updated", sessionID="s")),
    ("properties.info.id", plain("session.updated", sessionID="s", info={})),
    ("properties.sessionID", plain("session.deleted")),
    ("properties.status", plain("session.status", sessionID="s")),
    ("properties.status.type", plain("session.status", sessionID="s", status={})),
    *[
        (
            f"properties.status.{name}",
            plain("session.status", sessionID="s", status={"type": "retry", name: value}),
        )
        for name, value in (
            ("attempt", "1"),
            ("attempt", -1),
            ("message", 7),
            ("next", True),
            ("next", float("nan")),
            ("next", 10**5000),
        )
    ],
    ("properties.sessionID", plain("session.error", sessionID=7)),
    ("properties.error", plain("session.error", sessionID="s", error="e")),
    ("properties.error.name", plain("session.error", sessionID="s", error={})),
    ("properties.todos", plain("todo.updated", sessionID="s")),
    ("properties.diff", plain("session.diff", sessionID="s", diff={})),
    ("properties.sessionID", plain("session.diff", diff=[])),
    ("properties.id", {"type": "permission.asked", "properties": {"sessionID": "s"}}),
    ("properties.sessionID", {"type": "question.asked", "properties": {"id": "q"}}),
    (
        "properties.tool.callID",
        {
            "type": "question.asked",
            "properties": {"id": "q", "sessionID": "s", "tool": {"callID": 7}},
        },
    ),
    ("properties.requestID", plain("permission.replied", sessionID="s")),
    ("sessions", {"sessions": {}}),
    ("sessions.0", {"sessions": [7]}),
    ("sessions.1.id", {"sessions": [{"id": "s"}, {}]}),
    ("messages", {"messages": 7}),
    ("messages", {"messages": {"": []}}),
    ("messages.s", {"messages": {"s": {}}}),
    ("messages.s.0", {"messages": {"s": [7]}}),
    ("messages.s.0.info", {"messages": {"s": [{"parts": []}]}}),
    ("messages.s.0.info.role", {"messages": {"s": [{"info": {"id": "m"}, "parts": []}]}}),
    ("messages.s.0.parts", {"messages": {"s": [{"info": INFO}]}}),
    (
        "messages.s.0.parts.1.id",
        {"messages": {"s": [{"info": INFO, "parts": [TEXT, without(TEXT, "id")]}]}},
    ),
    ("status.s", {"sessions": [], "status": {"s": "busy"}}),
    ("status.s.type", {"sessions": [], "status": {"s": {}}}),
    ("todo.s", {"sessions": [], "todo": {"s": {}}}),
    ("diff", {"sessions": [], "diff": []}),
    ("permission", {"sessions": [], "permission": {}}),
    ("permission.0.sessionID", {"sessions": [], "permission": [{"id": "p"}]}),
    ("question.0.id", {"sessions": [], "question": [{"sessionID": "s"}]}),
    ("readFrom", {"sessions": [{"id": "s"}], "readFrom": 7}),
    ("readFrom.s", {"sessions": [{"id": "s"}], "readFrom": {"s": 7}}),
    ("sessionID", {"messages": []}),
    ("complete", {"sessionID": "s", "messages": [], "complete": 1}),
    ("before", {"sessionID": "s", "messages": [], "before": 1}),
    ("messages.0.info", {"sessionID": "s", "messages": [{}]}),
]


@pytest.mark.parametrize(("field", "wire"), MALFORMED)
def test_what_breaks_the_protocol_is_malformed_and_the_error_names_the_member(
    field: str, wire: Any
) -> None:
    with pytest.raises(MalformedEvent) as caught:
        decode(wire)
    assert caught.value.field == field


# --- fetched states -------------------------------------------------------------------------------


def test_a_fetched_state_is_one_snapshot_a_session() -> None:
    user = {**INFO, "time": {"created": 5}}
    asked = {"id": "p", "sessionID": "ses_1", "tool": {"messageID": "msg_1", "callID": "c"}}
    one, two = decode(
        {
            "sessions": [{"id": "ses_1", "title": "t"}, {"id": "ses_2"}],
            "messages": {"ses_1": [{"info": user, "parts": [TEXT]}]},
            "status": {"ses_2": {"type": "busy"}},
            "todo": {"ses_1": [{"content": "c"}]},
            "diff": {"ses_2": []},
            "permission": [asked],
            "readFrom": {"ses_1": "token"},
        }
    )
    assert one == Snapshot(
        session_id="ses_1",
        messages=[
            {
                "info": user,
                "id": "msg_1",
                "role": "user",
                "status": "completed",
                "order": 5,
                "parts": [{"blockIndex": "prt_1", "kind": "text", "status": "closed", "text": "t"}],
            }
        ],
        complete=True,
        read_from="token",
        info={"id": "ses_1", "title": "t"},
        status={"type": "idle"},
        todo=[{"content": "c"}],
        permissions=[{"id": "p", "messageId": "msg_1", "callId": "c", "payload": asked}],
    )
    # Nobody read its messages: nothing may be taken for removed.
    assert two == Snapshot(
        session_id="ses_2",
        messages=[],
        complete=False,
        info={"id": "ses_2"},
        status={"type": "busy"},
        diff=[],
        permissions=[],
    )


def test_a_session_whose_status_nobody_read_keeps_the_one_it_has() -> None:
    (snapshot,) = decode({"sessions": [{"id": "ses_1"}], "readFrom": "token"})
    assert (snapshot.status, snapshot.permissions, snapshot.questions) == (None, None, None)
    assert snapshot.read_from == "token"


def test_a_request_of_a_session_that_the_reads_did_not_list_is_not_lost() -> None:
    asked = {"id": "q", "sessionID": "ses_child", "questions": []}
    _, child = decode({"sessions": [{"id": "ses_1"}], "question": [asked]})
    assert (child.session_id, child.info, child.complete) == ("ses_child", None, False)
    assert child.questions == [{"id": "q", "payload": asked}]


def test_a_fetched_message_that_failed_says_how_it_ended() -> None:
    error = {"name": "MessageAbortedError", "data": {}}
    info = {**INFO, "role": "assistant", "parentID": "msg_0", "error": error}
    (snapshot,) = decode({"messages": {"ses_1": [{"info": info, "parts": []}]}})
    (message,) = snapshot.messages
    assert (message["status"], message["error"], message["parentId"]) == (
        "aborted",
        error,
        "msg_0",
    )


def test_a_page_of_messages_is_not_taken_for_all_of_them() -> None:
    page = {"sessionID": "ses_1", "messages": [{"info": INFO, "parts": []}]}
    assert not only(page).complete
    older = only({**page, "complete": True, "before": "msg_9", "readFrom": "token"})
    assert (older.complete, older.before, older.read_from) == (True, "msg_9", "token")
    assert older.info is None


# --- whose stream it is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wire",
    [
        plain("server.connected", id=None),
        plain("session.next.text.delta"),
        {"payload": plain("server.connected")},
        sync(plain("session.updated")),
        {"sessions": []},
        {"sessions": [{"id": "s"}], "messages": {"s": []}},
        {"messages": {"s": []}},
        {"sessionID": "s", "messages": []},
    ],
)
def test_envelopes_and_states_are_recognised(wire: Any) -> None:
    assert OpencodeAdapter.detects(wire)


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        "data",
        {},
        {"type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0, "text": ""},
        {"type": "object", "properties": {}},
        {"type": "session.updated", "properties": []},
        {"type": ["session.updated"], "properties": {}},
        {"type": "session.updated", "data": {}},
        {"payload": {"type": "delta", "text": "t"}},
        {"payload": "text"},
        {"payload": {"type": "sync"}},
        {"sessions": {"s": {}}},
        {"sessions": [7]},
        {"messages": []},
        {"messages": {}},
        {"messages": {"s": {}}},
        {"sessions": [], "messages": 7},
    ],
)
def test_other_objects_are_not(wire: Any) -> None:
    assert not OpencodeAdapter.detects(wire)


# --- totality: no JSON makes it raise anything else -----------------------------------------------

# Names that mean something, so that they land where they may do harm.
NAMES = st.sampled_from(
    sorted(
        "id type properties payload syncEvent data info part sessionID messageID partID requestID "
        "callID callId text time status state delta field error name role parentID todos diff "
        "sessions messages todo permission question readFrom parts tool source kind order seq "
        "blockIndex wire originalKind generation whole attempt next message created completed end "
        "sessionId messageId extra fields".split()
    )
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.sampled_from(["", "text", "tool", "sync", "message.part.updated", "ses_1", "user"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


def shapes() -> list[Any]:
    """One recorded wire object of each shape: type, part type, tool status; and fetched states."""
    found: dict[Any, Any] = {}
    for case in sorted(DATA.iterdir()):
        for wire in events_of(case):
            event = wire.get("payload", wire)
            body = event["syncEvent"]["data"] if event["type"] == "sync" else event["properties"]
            part = body.get("part", {})
            key = (
                "payload" in wire,
                event["type"],
                body.get("status", {}).get("type"),
                part.get("type"),
                part.get("state", {}).get("status"),
                sorted(part),
            )
            found.setdefault(str(key), wire)
    for kind in ("permission", "question"):
        body = {"id": "r", "sessionID": "ses_1", "source": {"callID": "c"}}
        found[kind] = {"id": "evt_1", "type": f"{kind}.v2.asked", "properties": body}
    found["page"] = {"sessionID": "ses_1", "messages": [{"info": INFO, "parts": [TEXT, TOOL]}]}
    small = {"sessions": [{"id": "ses_1"}], "messages": {"ses_1": found["page"]["messages"]}}
    own = {"status": {"ses_1": {"type": "busy"}}, "todo": {"ses_1": [{}]}, "diff": {"ses_1": []}}
    asked = {"permission": [{"id": "p", "sessionID": "ses_1"}], "question": []}
    found["state"] = {**small, **own, **asked, "readFrom": "t"}
    return list(found.values())


SHAPES = shapes()


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A recorded wire object, changed in a few places."""
    wire = copy.deepcopy(draw(st.sampled_from(SHAPES)))
    for _ in range(draw(st.integers(1, 3))):
        places = list(containers(wire))
        place = draw(st.sampled_from(places))
        if isinstance(place, dict):
            name = draw((st.sampled_from(sorted(place)) if place else NAMES) | NAMES)
            if draw(st.booleans()):
                place[name] = draw(JSON)
            elif name in place:
                value = place.pop(name)
                if draw(st.booleans()):
                    place[draw(NAMES)] = value
        elif place:
            place[draw(st.integers(0, len(place) - 1))] = draw(JSON)
    return wire


def check_total(wire: Any) -> None:
    before = copy.deepcopy(wire)
    recognised = OpencodeAdapter.detects(wire)
    assert type(recognised) is bool
    try:
        events = decode(wire)
    except MalformedEvent as error:
        assert type(error.field) is str
        return
    except UnknownEvent:
        return
    assert wire == before
    assert len({event.id for event in events}) <= 1
    for event in events:
        assert event.session_id
        # What is decoded fits the library's own log, which checks every member.
        canonical = encode_event(event)
        if isinstance(event, RequestEvent):
            event = attrs.evolve(event, id=None)
        assert decode_event(canonical) == event
        if isinstance(event, Snapshot):
            for message in event.messages:
                assert message["id"] and message["role"]
                assert all(is_block_index(part["blockIndex"]) for part in message["parts"])
    state = encoded_raw(events)
    assert set(state) == {
        "sessions",
        "messages",
        "status",
        "todo",
        "diff",
        "permission",
        "question",
    }


def encoded_raw(events: Iterable[Event]) -> Any:
    fold = Fold()
    fold.take(events)
    state = OpencodeAdapter().encode(fold)
    json.dumps(state)
    return state


@settings(deadline=None)
@given(JSON)
def test_any_json_is_decoded_malformed_or_unknown(wire: Any) -> None:
    check_total(wire)


@settings(max_examples=500, deadline=None)
@given(mutated())
def test_recorded_events_with_anything_in_them_are_decoded_malformed_or_unknown(wire: Any) -> None:
    check_total(wire)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["text", "reasoning", "file", "patch", "video", "unknown", "data"]),
    st.dictionaries(NAMES | st.text(max_size=3), JSON, max_size=5),
)
def test_a_part_comes_back_whatever_its_members(kind: str, members: dict[str, Any]) -> None:
    part = {**members, **part_of(kind)}
    if kind in ("text", "reasoning"):
        part = {**part, "text": "words", "time": {"start": 1}}
    live = plain("message.part.updated", part=part)
    fetched = {"messages": {"ses_1": [{"info": INFO, "parts": [part]}]}}
    for wire in (live, fetched):
        ((message,),) = encoded_raw(decode(wire))["messages"].values()
        assert message["parts"] == [part]
