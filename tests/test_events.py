"""The codec of the canonical events: every type there and back, and nothing that is not its own.

The vocabulary below is written down a second time, from the contract (section 2).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamstore import StreamStore
from streamstore.errors import MalformedEvent, UnknownEvent
from streamstore.events import (
    EVENT_TYPES,
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockReplaced,
    BlockUpdated,
    Event,
    PermissionAsked,
    SessionState,
    SessionUpdated,
    decode_event,
    encode_event,
)
from streamstore.keys import MAX_NUMBER
from streamstore.model import EMPTY
from streamstore.protocols import adapters

# -- the vocabulary ----------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
objects = st.dictionaries(st.text(max_size=3), json_values, max_size=2)

NOT_STRINGS: list[Any] = [7, True, 1.5, [], {}]
BIG = [2**63, 10**30, 10**5000]


@attrs.frozen
class Kind:
    """Values a member may have, and some that it may not."""

    good: st.SearchStrategy[Any]
    bad: list[Any]


ID = Kind(st.sampled_from(["a", "ses_1", "é", "\U0001f600", " "]), ["", *NOT_STRINGS])
TEXT = Kind(st.text(max_size=4) | st.just("\ud83d"), NOT_STRINGS)
NUMBER = Kind(
    st.sampled_from([0, 1, MAX_NUMBER]), [-1, *BIG, True, False, 1.0, "1", [], {}, float("nan")]
)
INDEX = Kind(
    st.sampled_from([0, 3, MAX_NUMBER, "0", "a"]), [-1, *BIG, True, False, 0.0, "", [], {}]
)
ORDER = Kind(
    st.sampled_from([0, -1, 1.5, MAX_NUMBER, 10**20]),
    [True, "1", float("nan"), float("inf"), -float("inf"), [], {}],
)
FLAG = Kind(st.booleans(), [0, 1, "true", [], {}])
OBJECT = Kind(objects, [7, "x", True, [], [{}]])
STATUS = Kind(
    st.builds(lambda more, type_: {**more, "type": type_}, objects, ID.good),
    [7, "idle", [], {}, {"type": 5}, {"status": "idle"}, {"type": "retry", "attempt": "1"}],
)
LIST = Kind(st.lists(json_values, max_size=2), [7, "x", True, {}])
OBJECTS = Kind(st.lists(objects, max_size=2), [7, "x", True, {}, [1], [{}, None], [[]]])
ANY = Kind(json_values, [])


def one_of(*values: str) -> Kind:
    return Kind(st.sampled_from(values), ["other", "", *NOT_STRINGS])


COMMON = {"sessionId": ID, "seq": NUMBER, "generation": ID, "id": ID, "time": NUMBER}
MESSAGE = {"messageId": ID}
BLOCK = {"messageId": ID, "blockIndex": INDEX}
REPLACED = {
    "text": TEXT, "kind": ID, "order": ORDER, "whole": FLAG, "status": one_of("open", "closed"),
}  # fmt: skip
ASKED = {"messageId": ID, "callId": ID, "payload": OBJECT}

#: type: (required members, optional members)
VOCABULARY: dict[str, tuple[Mapping[str, Kind], Mapping[str, Kind]]] = {
    "stream.opened": ({}, {"sequencing": one_of("block", "session", "sparse", "none")}),
    "stream.synchronized": ({}, {}),
    "session.updated": ({}, {"info": OBJECT, "whole": FLAG}),
    "session.removed": ({}, {}),
    "session.status": ({"status": ID}, {"attempt": NUMBER, "message": TEXT, "next": NUMBER}),
    "session.error": ({"error": OBJECT}, {}),
    "session.state": ({}, {"state": ANY, "patch": LIST}),
    "message.opened": (
        {**MESSAGE, "role": ID},
        {"parentId": ID, "order": ORDER, "info": OBJECT, "local": FLAG, "clientId": ID},
    ),
    "message.updated": (
        MESSAGE,
        {
            "info": OBJECT, "whole": FLAG, "role": ID, "parentId": ID, "order": ORDER,
            "clientId": ID,
        },
    ),
    "message.reset": (MESSAGE, {}),
    "message.closed": (MESSAGE, {"status": one_of("completed", "aborted", "error"), "error": ANY}),
    "message.removed": (MESSAGE, {}),
    "message.rollback": (MESSAGE, {}),
    "block.opened": ({**BLOCK, "kind": ID}, {"order": ORDER}),
    "block.delta": ({**BLOCK, "text": TEXT}, {"field": ID}),
    "block.replaced": (BLOCK, REPLACED),
    "block.snapshot": ({**BLOCK, "seq": NUMBER}, REPLACED),
    "block.updated": (BLOCK, {"kind": ID, "order": ORDER, "whole": FLAG}),
    "block.closed": (BLOCK, {}),
    "block.removed": (BLOCK, {}),
    "turn.started": ({}, {"deliveryMode": one_of("streaming", "buffered")}),
    "turn.completed": ({}, {}),
    "permission.asked": ({"id": ID}, ASKED),
    "permission.replied": ({"id": ID}, {"payload": OBJECT}),
    "question.asked": ({"id": ID}, ASKED),
    "question.replied": ({"id": ID}, {"payload": OBJECT}),
    "question.rejected": ({"id": ID}, {"payload": OBJECT}),
    "todo.updated": ({"todo": LIST}, {}),
    "session.diff": ({"diff": LIST}, {}),
    "tool.result": ({"callId": ID}, {"messageId": ID, "fields": OBJECT}),
    "snapshot": (
        {"messages": OBJECTS},
        {
            "complete": FLAG, "before": ID, "readFrom": ID, "info": OBJECT, "status": STATUS,
            "todo": LIST, "diff": LIST, "permissions": OBJECTS, "questions": OBJECTS,
        },
    ),
}  # fmt: skip
TYPES = sorted(VOCABULARY)
FEW = settings().max_examples // 5  # per type, and there are 31

#: Types whose further members are fields of the part, one of which may be the part's own time.
WITH_FIELDS = ("block.opened", "block.replaced", "block.snapshot", "block.updated")


def members(event_type: str) -> tuple[dict[str, Kind], dict[str, Kind]]:
    required, optional = VOCABULARY[event_type]
    others = {name: kind for name, kind in COMMON.items() if name not in required}
    return dict(required), {**others, **optional}


def least(event_type: str) -> dict[str, Any]:
    """An event with its required members alone."""
    samples = {
        id(ID): "x", id(TEXT): "", id(NUMBER): 0, id(INDEX): 0, id(OBJECT): {}, id(LIST): [],
        id(OBJECTS): [],
    }  # fmt: skip
    required, _ = members(event_type)
    return {"type": event_type, **{name: samples[id(kind)] for name, kind in required.items()}}


@st.composite
def wires(draw: st.DrawFn, event_type: str) -> dict[str, Any]:
    """Any event of a type, with any members it may have and some that nobody knows."""
    required, optional = members(event_type)
    wire: dict[str, Any] = {"type": event_type}
    for name, kind in required.items():
        wire[name] = draw(kind.good)
    for name in draw(st.lists(st.sampled_from(sorted(optional)), unique=True, max_size=6)):
        wire[name] = draw(optional[name].good)
    unknown = draw(st.dictionaries(st.sampled_from(["zz", "state", "Seq", "field_"]), json_values))
    wire.update({name: value for name, value in unknown.items() if name not in optional})
    order = draw(st.permutations(sorted(wire)))
    return {name: wire[name] for name in order}


# -- there and back ----------------------------------------------------------------------------


def test_the_vocabulary_is_that_of_the_contract() -> None:
    assert sorted(EVENT_TYPES) == TYPES
    for name, cls in EVENT_TYPES.items():
        assert cls.type == name


@pytest.mark.parametrize("event_type", TYPES)
class TestRoundTrip:
    @settings(max_examples=FEW)
    @given(data=st.data())
    def test_an_event_is_the_same_after_encoding_and_a_wire_object_but_for_defaults(
        self, event_type: str, data: st.DataObject
    ) -> None:
        wire = data.draw(wires(event_type))
        event = decode_event(wire)
        assert type(event) is EVENT_TYPES[event_type]
        encoded = json.loads(json.dumps(encode_event(event)))
        assert decode_event(encoded) == event
        assert encoded == {name: wire[name] for name in encoded}
        for name in wire.keys() - encoded.keys():
            assert name in members(event_type)[1]
            assert wire[name] in (None, False, {}, "text", "completed")

    def test_required_members_alone_are_enough(self, event_type: str) -> None:
        event = decode_event(least(event_type))
        assert encode_event(event) == least(event_type)

    def test_every_member_lands_in_its_own_attribute(self, event_type: str) -> None:
        required, optional = members(event_type)
        names = {name for name, field in attrs.fields_dict(EVENT_TYPES[event_type]).items()}
        for name in {**required, **optional}:
            snake = "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in name)
            assert snake in names

    def test_the_callers_object_is_not_changed(self, event_type: str) -> None:
        wire = {**least(event_type), "zz": 1}
        before = json.dumps(wire)
        encode_event(decode_event(wire))
        assert json.dumps(wire) == before


@pytest.mark.parametrize("event_type", TYPES)
class TestUnknownMembers:
    def test_they_are_kept_and_written_again(self, event_type: str) -> None:
        wire = {**least(event_type), "zz": {"a": [None]}, "Type": 1}
        event = decode_event(wire)
        kept = event.fields if event_type in WITH_FIELDS else event.extra  # type: ignore[attr-defined]
        assert kept == {"zz": {"a": [None]}, "Type": 1}
        assert encode_event(event) == wire

    def test_without_any_there_is_nothing(self, event_type: str) -> None:
        assert decode_event(least(event_type)).extra is EMPTY


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", TYPES)
class TestErrors:
    def test_a_missing_member_is_named(self, event_type: str) -> None:
        for name in members(event_type)[0]:
            wire = least(event_type)
            del wire[name]
            with pytest.raises(MalformedEvent, match="is missing") as caught:
                decode_event(wire)
            assert caught.value.field == name

    def test_null_is_no_value_for_a_required_member(self, event_type: str) -> None:
        for name in members(event_type)[0]:
            with pytest.raises(MalformedEvent, match="not null") as caught:
                decode_event({**least(event_type), name: None})
            assert caught.value.field == name

    def test_null_is_an_absent_optional_member(self, event_type: str) -> None:
        plain = decode_event(least(event_type))
        for name in members(event_type)[1]:
            assert decode_event({**least(event_type), name: None}) == plain

    def test_a_wrong_type_is_named_and_never_coerced(self, event_type: str) -> None:
        required, optional = members(event_type)
        for name, kind in {**required, **optional}.items():
            for value in kind.bad:
                if name == "time" and event_type in WITH_FIELDS and isinstance(value, dict):
                    continue  # the part's own
                with pytest.raises(MalformedEvent) as caught:
                    decode_event({**least(event_type), name: value})
                assert caught.value.field == name
                assert caught.value.problem.startswith("must be ")
                assert len(str(caught.value)) < 200

    def test_a_value_is_taken_in_as_it_is(self, event_type: str) -> None:
        required, optional = members(event_type)
        for name, kind in {**required, **optional}.items():
            if kind is NUMBER:
                for number in (0, 1, MAX_NUMBER):
                    encoded = encode_event(decode_event({**least(event_type), name: number}))
                    assert (encoded[name], type(encoded[name])) == (number, int)


class Chunk:
    """An object as an SDK makes it."""

    def model_dump(self) -> dict[str, Any]:
        return {}


class TestWhatIsNoEvent:
    @pytest.mark.parametrize("wire", [None, 1, True, "x", [], [{}], 1.5])
    def test_only_an_object_is_one(self, wire: Any) -> None:
        with pytest.raises(MalformedEvent, match="must be an object") as caught:
            decode_event(wire)
        assert caught.value.field == ""

    @pytest.mark.parametrize("protocol", adapters())
    @pytest.mark.parametrize(
        ("wire", "given"),
        [
            (Chunk(), "Chunk; give what its model_dump() returns"),
            (object(), "object"),
            (b"data: {}", "bytes; feed takes bytes"),
            (type("N" * 500, (), {})(), "N" * 80),
        ],
    )
    def test_of_an_object_of_a_program_it_is_said_what_it_is_and_what_is_wanted(
        self, protocol: str, wire: Any, given: str
    ) -> None:
        verdict = StreamStore(protocol).ingest(wire)
        assert (verdict.kind, verdict.reason) == ("malformed", "")
        assert verdict.detail == f"must be a JSON object (dict), not {given}"

    @pytest.mark.parametrize("protocol", adapters())
    @pytest.mark.parametrize(
        ("wire", "given"), [(None, "null"), (5, "5"), ("x", "a string"), (True, "true")]
    )
    def test_of_json_it_is_said_what_it_is(self, protocol: str, wire: Any, given: str) -> None:
        assert StreamStore(protocol).ingest(wire).detail == f"must be an object, not {given}"

    @pytest.mark.parametrize("wire", [{}, {"type": None}, {"type": 1}, {"type": ["snapshot"]}])
    def test_its_type_is_a_string(self, wire: Any) -> None:
        with pytest.raises(MalformedEvent, match="must be a string") as caught:
            decode_event(wire)
        assert caught.value.field == "type"

    @pytest.mark.parametrize("event_type", ["", "block", "Block.delta", "block.delta "])
    def test_a_type_that_nobody_knows_is_unknown_not_malformed(self, event_type: str) -> None:
        with pytest.raises(UnknownEvent) as caught:
            decode_event({"type": event_type})
        assert caught.value.type == event_type

    @given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(
        ["messageId", "blockIndex", "seq", "text", "kind", "time", "info", "messages", "id", "error"]
    ), json_values))  # fmt: skip
    def test_whatever_the_members_are_it_is_an_event_or_malformed(
        self, event_type: str, given_members: dict[str, Any]
    ) -> None:
        try:
            event = decode_event({"type": event_type, **given_members})
        except MalformedEvent as error:
            assert error.field
        else:
            assert decode_event(encode_event(event)) == event


class TestParts:
    @pytest.mark.parametrize("event_type", WITH_FIELDS)
    def test_a_time_object_is_the_parts_own(self, event_type: str) -> None:
        wire = {**least(event_type), "time": {"start": 5, "end": None}}
        event: Any = decode_event(wire)
        assert event.time is None
        assert event.fields == {"time": {"start": 5, "end": None}}
        assert encode_event(event) == wire

    @pytest.mark.parametrize("event_type", WITH_FIELDS)
    def test_a_time_number_is_the_events(self, event_type: str) -> None:
        wire = {**least(event_type), "time": 5}
        event: Any = decode_event(wire)
        assert (event.time, event.fields) == (5, {})
        assert encode_event(event) == wire

    @pytest.mark.parametrize("event_type", sorted(set(TYPES) - set(WITH_FIELDS)))
    def test_other_events_have_no_time_object(self, event_type: str) -> None:
        with pytest.raises(MalformedEvent) as caught:
            decode_event({**least(event_type), "time": {"start": 5}})
        assert caught.value.field == "time"

    @pytest.mark.parametrize("event_type", ["block.opened", "block.updated"])
    @pytest.mark.parametrize("text", ["x", "", None, 7])
    def test_only_deltas_and_replaces_carry_text(self, event_type: str, text: Any) -> None:
        with pytest.raises(MalformedEvent) as caught:
            decode_event({**least(event_type), "text": text})
        assert caught.value.field == "text"

    def test_a_snapshot_is_what_a_replace_is_and_needs_its_seq(self) -> None:
        event = decode_event({**least("block.snapshot"), "text": "all"})
        assert isinstance(event, BlockReplaced)
        assert event.seq == 0

    def test_an_index_is_never_both(self) -> None:
        number, name = (
            decode_event({**least("block.closed"), "blockIndex": index}) for index in (0, "0")
        )
        assert isinstance(number, BlockClosed) and isinstance(name, BlockClosed)
        assert number != name

    def test_an_empty_text_is_a_text(self) -> None:
        event = decode_event({**least("block.replaced"), "text": ""})
        assert isinstance(event, BlockReplaced)
        assert event.text == ""
        assert encode_event(event)["text"] == ""


class TestRequests:
    @pytest.mark.parametrize("event_type", [name for name in TYPES if "permission" in name or "question" in name])  # fmt: skip
    def test_the_wires_id_is_the_requests(self, event_type: str) -> None:
        event: Any = decode_event({"type": event_type, "id": "r"})
        assert (event.request_id, event.id) == ("r", None)
        assert encode_event(event) == {"type": event_type, "id": "r"}


class TestInCode:
    """Events that a program builds, not the wire."""

    def test_members_at_their_default_are_left_out(self) -> None:
        assert encode_event(BlockDelta(message_id="m", block_index=0, text="")) == {
            "type": "block.delta",
            "messageId": "m",
            "blockIndex": 0,
            "text": "",
        }
        assert encode_event(SessionUpdated()) == {"type": "session.updated"}

    def test_numbers_that_are_zero_are_not(self) -> None:
        event = BlockUpdated(message_id="m", block_index=0, seq=0, time=0, order=0)
        wire = encode_event(event)
        assert (wire["seq"], wire["time"], wire["order"]) == (0, 0, 0)
        assert decode_event(wire) == event

    def test_names_are_camel_case_on_the_wire_alone(self) -> None:
        event = PermissionAsked(session_id="s", request_id="r", message_id="m", call_id="c")
        wire = {
            "type": "permission.asked",
            "sessionId": "s",
            "id": "r",
            "messageId": "m",
            "callId": "c",
        }
        assert encode_event(event) == wire
        assert decode_event(wire) == event

    def test_a_state_of_null_and_no_state_are_one(self) -> None:
        assert decode_event({"type": "session.state", "state": None}) == SessionState()

    def test_an_event_cannot_be_changed(self) -> None:
        event = BlockOpened(message_id="m", block_index=0, kind="text")
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            event.kind = "tool"  # type: ignore[misc]

    def test_members_are_given_by_name(self) -> None:
        with pytest.raises(TypeError):
            Event("s")  # type: ignore[misc]
