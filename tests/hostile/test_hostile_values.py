"""Hostile values: what is no seq, no id and no JSON moves no mark, block or field, on any road in."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from streamstore import Limits, Stream, StreamStore

SEQUENCINGS = ("block", "session", "sparse", "none")
MAX = 2**63 - 1

#: As JSON text, because some of them no JSON writer writes.
NO_NUMBERS = {
    "true": "true",
    "false": "false",
    "a float": "1.0",
    "a fraction": "1.5",
    "an exponent": "1e0",
    "a negative": "-1",
    "too large by one": str(MAX + 1),
    "huge": str(10**30),
    "a text": '"2"',
    "null": "null",
    "an array": "[2]",
    "an object": '{"seq": 2}',
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "an infinity by its exponent": "1e999",
    "too many digits": "9" * (sys.get_int_max_str_digits() + 1),
    "many more digits": "9" * 200_000,
}

#: Not wrong as text but as an id.
NO_IDS = {
    name: NO_NUMBERS[name] for name in ("true", "a float", "null", "an array", "an object")
} | {
    "an empty text": '""',
    "a number": "7",
}

Feed = Callable[[Stream, str], Any]


def as_line(stream: Stream, text: str) -> None:
    stream.feed(text.encode() + b"\n")


def as_frame(stream: Stream, text: str) -> None:
    stream.feed(b"data: " + text.encode() + b"\n\n")


def as_run(stream: Stream, text: str) -> None:
    """Among so many others that whole events are taken the short way."""
    blank = b'data: {"type": "stream.synchronized"}\n\n'
    stream.feed(blank * 40 + b"data: " + text.encode() + b"\n\n" + blank * 40)


ROADS = {"lines": as_line, "frames": as_frame, "a run of frames": as_run}


def delta(seq: str, **members: str) -> str:
    found = {"type": '"block.delta"', "sessionId": '"s"', "messageId": '"m"', "blockIndex": "0",
             "text": '"x"', "seq": seq, **members}  # fmt: skip
    return "{" + ", ".join(f'"{name}": {value}' for name, value in found.items()) + "}"


def held(store: StreamStore) -> Any:
    """Everything a store keeps but counts and how far its streams have read."""
    store.flush()
    saved = store.save()
    for name in ("counts", "streams"):
        del saved[name]
    return json.loads(json.dumps(saved))


def begun(sequencing: Any, feed: Feed, decoder: Any = "standard") -> tuple[StreamStore, Stream]:
    store = StreamStore("native", ticks="manual", decoder=decoder)
    stream = store.open("native", sequencing=sequencing)
    for seq in ("1", "2") if sequencing != "none" else ("1", "1"):
        feed(stream, delta(seq))
    store.flush()
    return store, stream


def malformed(store: StreamStore) -> int:
    counts = store.health.counts["verdicts"]
    return sum(number for name, number in counts.items() if name.startswith("malformed"))


def assert_changes_nothing(sequencing: str, feed: Feed, wrong: str, decoder: str) -> None:
    store, stream = begun(sequencing, feed, decoder)
    before, part = held(store), store.part("s", "m", 0)
    feed(stream, wrong)
    assert malformed(store) == 1
    assert held(store) == before
    assert store.part("s", "m", 0) is part and part is not None
    feed(stream, delta("3"))
    store.flush()
    now = store.part("s", "m", 0)
    assert now is not None and now.text == "xxx" and now.gap == part.gap


@pytest.mark.parametrize("decoder", ["standard", "orjson"])
@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_is_no_seq_moves_no_mark(sequencing: str, road: str, decoder: str) -> None:
    if decoder == "orjson":
        pytest.importorskip("orjson")
    for name, value in NO_NUMBERS.items():
        if name == "null" and sequencing != "block":
            continue  # where seq may be left out, null says that it was
        assert_changes_nothing(sequencing, ROADS[road], delta(value), decoder)


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_is_no_block_index_opens_no_block(sequencing: str, road: str) -> None:
    for name, value in NO_NUMBERS.items():
        if name != "a text":  # a block may have a name
            assert_changes_nothing(
                sequencing, ROADS[road], delta("3", blockIndex=value), "standard"
            )
    assert_changes_nothing(sequencing, ROADS[road], delta("3", blockIndex='""'), "standard")


@pytest.mark.parametrize("member", ["messageId", "sessionId", "id", "generation", "field", "type"])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_is_no_id_is_nobodys(sequencing: str, member: str) -> None:
    for name, value in NO_IDS.items():
        if member == "type" and name in ("an empty text",):
            continue  # a type that nobody knows is unknown, not malformed
        if value == "null" and member not in ("messageId", "type"):
            continue  # may be left out, and null says so: tested where each is read
        assert_changes_nothing(sequencing, as_line, delta("3", **{member: value}), "standard")


@pytest.mark.parametrize("text", ["1", "true", "null", "[]", "{}", '["a"]'])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_is_no_text_is_not_appended(sequencing: str, text: str) -> None:
    assert_changes_nothing(sequencing, as_line, delta("3", text=text), "standard")


@pytest.mark.parametrize("value", [True, 1.0, -1, MAX + 1, 10**30, "2", None, [2], float("nan")])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_a_caller_who_hands_in_objects_gets_no_other_rules(sequencing: str, value: Any) -> None:
    store, stream = begun(sequencing, as_line)
    wire = json.loads(delta("3"))
    before = held(store)
    if value is not None or sequencing == "block":  # elsewhere seq may be left out
        assert stream.ingest({**wire, "seq": value}).kind == "malformed"
    if value != "2":  # a block may have a name
        assert stream.ingest({**wire, "blockIndex": value}).kind == "malformed"
    assert held(store) == before
    assert stream.ingest(wire).kind == "accepted"


@pytest.mark.parametrize("sequencing", ["session", "sparse"])
def test_the_largest_seq_is_one_and_behind_it_there_is_none(sequencing: str) -> None:
    store, stream = begun(sequencing, as_line)
    as_line(stream, delta(str(MAX)))
    as_line(stream, delta(str(MAX)))
    store.flush()
    counts = store.health.counts["verdicts"]
    assert counts == {"accepted": 3, "duplicate": 1}
    assert (
        held(StreamStore.load(store.save(), ticks="manual"))["sessions"] == held(store)["sessions"]
    )


# -- JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("road", ROADS)
def test_of_a_repeated_member_the_last_one_counts_on_every_road(road: str) -> None:
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="block")
    twice = delta("7").replace('"seq": 7', '"seq": 7, "text": "first", "seq": 1, "text": "last"')
    ROADS[road](stream, twice)
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and part.text == "last"


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("decoder", ["standard", "orjson"])
def test_json_nests_as_deep_as_the_limit_and_no_deeper(road: str, decoder: str) -> None:
    if decoder == "orjson":
        pytest.importorskip("orjson")

    def update(depth: int) -> str:
        value = "[" * depth + "]" * depth
        return f'{{"type": "session.updated", "sessionId": "s", "info": {{"deep": {value}}}}}'

    store = StreamStore("native", ticks="manual", limits=Limits(nesting=20), decoder=decoder)  # type: ignore[arg-type]
    stream = store.open("native", sequencing="none")
    ROADS[road](stream, update(18))  # in the event, in its info
    store.flush()
    assert malformed(store) == 0
    session = store.session("s")
    ROADS[road](stream, update(19))
    for depth in (500, 5_000, 100_000):
        ROADS[road](stream, update(depth))
    store.flush()
    assert malformed(store) == 4
    assert store.session("s") is session is not None


@pytest.mark.parametrize("decoder", ["standard", "orjson"])
def test_at_the_default_depth_every_walk_of_a_value_comes_back(decoder: str) -> None:
    if decoder == "orjson":
        pytest.importorskip("orjson")
    store = StreamStore("native", ticks="manual", decoder=decoder)  # type: ignore[arg-type]
    stream = store.open("native", sequencing="none")
    deep = "[" * 198 + "]" * 198
    as_line(stream, f'{{"type": "session.updated", "sessionId": "s", "info": {{"d": {deep}}}}}')
    as_line(stream, f'{{"type": "session.state", "sessionId": "s", "state": {deep}}}')
    as_line(stream, '{"type": "block.opened", "sessionId": "s", "messageId": "m", "blockIndex": 0,'
                    f' "kind": "data", "data": {deep}}}')  # fmt: skip
    store.flush()
    assert malformed(store) == 0
    loaded = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    assert loaded.state()["sessions"] == store.state()["sessions"]


@pytest.mark.parametrize("half", ["\\ud800", "\\udfff", "a\\ud83d", "\\udc00\\ud800"])
def test_half_a_pair_may_stand_in_any_text_and_id(half: str) -> None:
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="none")
    members = dict.fromkeys(("sessionId", "messageId", "blockIndex", "id"), f'"{half}"')
    for _ in range(2):  # the second has the same id
        as_line(stream, delta("1", **members, text=f'"{half}"'))
    as_line(
        stream,
        f'{{"type": "session.updated", "sessionId": "{half}", "info": {{"{half}": "{half}"}}}}',
    )
    store.flush()
    assert store.health.counts["verdicts"] == {"accepted": 2, "duplicate": 1}
    state = json.dumps(store.state())
    state.encode()
    loaded = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    loaded.flush()
    assert json.dumps(loaded.state()) == state


def test_a_byte_that_is_no_utf_8_is_one_strange_character_and_no_more() -> None:
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="none")
    stream.feed(delta("1", text='"a?b"').encode().replace(b"?", b"\xff") + b"\n")
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and part.text == "a\ufffdb"


def test_a_line_at_the_bound_comes_in_and_one_byte_more_does_not() -> None:
    text = delta("1", text='"' + "y" * 500 + '"')
    for bound, wanted in (
        (len(text), {"accepted": 1}),
        (len(text) - 1, {"malformed:over_limit": 1}),
    ):
        store = StreamStore("native", ticks="manual", limits=Limits(line_bytes=bound))
        stream = store.open("native", sequencing="none")
        as_line(stream, '{"type": "stream.synchronized"}')
        as_line(stream, text)
        counts = store.health.counts["verdicts"]
        counts["accepted"] = counts["accepted"] - 1
        assert {name: number for name, number in counts.items() if number} == wanted


def test_names_of_what_is_wrong_do_not_fill_the_counts() -> None:
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="none")
    for number in range(5_000):
        stream.ingest({"type": f"of tomorrow {number}" + "x" * 1_000, "sessionId": "s"})
        stream.ingest(json.loads(delta("1", **{f"more{number}": "1"})))
    verdicts = store.health.counts["verdicts"]
    assert sum(verdicts.values()) == 10_000
    assert len(verdicts) <= 300
    assert max(map(len, verdicts)) <= 100
