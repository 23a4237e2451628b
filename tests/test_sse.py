"""The event-stream parser: conformance cases, a naive model, bounds, and counts of work."""

from __future__ import annotations

import base64
import json
import re
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streamstore.sse import EventStreamParser, Fault, Frame, SseLimits

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "sse" / "cases.json").read_text("utf-8")
)
BOM = b"\xef\xbb\xbf"

Outcome: TypeAlias = tuple[list[Frame], str, int | None, int, int, dict[Fault, int]]


def one_byte_at_a_time(body: bytes) -> Iterator[bytes]:
    return (body[i : i + 1] for i in range(len(body)))


def feed_all(parser: EventStreamParser, chunks: Iterable[bytes]) -> list[Frame]:
    return [frame for chunk in chunks for frame in parser.feed(chunk)]


def seen(parser: EventStreamParser, frames: list[Frame]) -> Outcome:
    return (
        frames,
        parser.last_event_id,
        parser.retry,
        parser.comments,
        parser.skipped,
        dict(parser.faults),
    )


def outcome(chunks: Iterable[bytes], limits: SseLimits | None = None) -> Outcome:
    parser = EventStreamParser(limits)
    return seen(parser, feed_all(parser, chunks))


def model(body: bytes, limits: SseLimits | None = None) -> Outcome:
    """The standard's rules, read off one whole body; slow, and knows nothing of chunks."""
    limits = limits or SseLimits()
    frames: list[Frame] = []
    faults: dict[Fault, int] = {"line": 0, "event": 0, "id": 0, "retry": 0}
    retry: int | None = None
    last_id, new_id, kind, values = "", "", "", list[bytes]()
    lost: Fault | None = None
    comments = skipped = 0
    lines = re.split(rb"\r\n|\r|\n", body.removeprefix(BOM))
    for number, line in enumerate(lines, 1):
        whole = number < len(lines)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        over = len(line) > limits.line
        if not whole and not over:
            break
        if not line:
            last_id = new_id
            if values and lost:
                skipped += 1
            elif values:
                data = b"\n".join(values).decode("utf-8", "replace")
                frames.append(Frame(kind or "message", data, last_id, retry))
            kind, values, lost = "", [], None
        elif not name:
            comments += whole
        elif name == b"data":
            values.append(value)
            size = sum(len(v) + limits.charge_per_data_line for v in values)
            why: Fault | None = "line" if over else "event" if size > limits.event else None
            if why and not lost:
                lost = why
                faults[why] += 1
        elif name == b"event" and over:
            faults["line"] += not lost
            lost = lost or "line"
        elif name == b"event":
            kind = value.decode("utf-8", "replace")
        elif name == b"id":
            if over or len(value) > limits.id:
                faults["id"] += 1
            elif b"\0" not in value:
                new_id = value.decode("utf-8", "replace")
        elif name == b"retry":
            if over or (re.fullmatch(rb"[0-9]+", value) and int(value) >= 10**18):
                faults["retry"] += 1
            elif re.fullmatch(rb"[0-9]+", value):
                retry = int(value)
    return frames, last_id, retry, comments, skipped, faults


# --- the conformance cases ---


def chunks_of(case: dict[str, Any]) -> list[bytes]:
    return [
        chunk.encode() if isinstance(chunk, str) else base64.b64decode(chunk["b64"])
        for chunk in case["chunks"]
    ]


def expected_of(case: dict[str, Any]) -> tuple[list[dict[str, str]], str, int | None]:
    return case["expected"], case["last_event_id"], case["retry"]


def case_result(chunks: Iterable[bytes]) -> tuple[list[dict[str, str]], str, int | None]:
    parser = EventStreamParser()
    frames = feed_all(parser, chunks)
    events = [{"event": f.event, "data": f.data, "id": f.id} for f in frames]
    assert parser.skipped == 0
    assert not any(parser.faults.values())
    return events, parser.last_event_id, parser.retry


def cuts_in_two(body: bytes) -> Iterator[int]:
    """Every place to cut; inside the two bodies of 70,000 equal bytes every 499th."""
    margin = 512
    for cut in range(len(body) + 1):
        if len(body) < 10_000 or not margin < cut < len(body) - margin or cut % 499 == 0:
            yield cut


each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])


def test_all_conformance_cases_are_here() -> None:
    assert len(CASES) == 154
    assert len({case["name"] for case in CASES}) == 154
    assert sum("prompt" in case for case in CASES) == 3


@each_case
def test_case_gives_the_same_events_however_its_body_is_cut(case: dict[str, Any]) -> None:
    expected = expected_of(case)
    chunks = chunks_of(case)
    body = b"".join(chunks)
    assert case_result(chunks) == expected, "its own chunks"
    assert case_result([body]) == expected, "one piece"
    assert case_result(one_byte_at_a_time(body)) == expected, "one byte at a time"
    for cut in cuts_in_two(body):
        assert case_result([body[:cut], body[cut:]]) == expected, f"cut at {cut}"


@each_case
def test_case_agrees_with_the_model_that_the_other_tests_use(case: dict[str, Any]) -> None:
    frames, last_id, retry, *_ = model(b"".join(chunks_of(case)))
    events = [{"event": f.event, "data": f.data, "id": f.id} for f in frames]
    assert (events, last_id, retry) == expected_of(case)


@pytest.mark.parametrize(
    "case", [case for case in CASES if "prompt" in case], ids=lambda case: case["name"]
)
def test_case_delivers_each_event_with_the_chunk_that_completes_it(case: dict[str, Any]) -> None:
    parser = EventStreamParser()
    delivered = 0
    for chunk, due in zip(chunks_of(case), case["prompt"], strict=True):
        delivered += len(parser.feed(chunk))
        assert delivered == due


# --- any bytes, any cut: the model, chunk by chunk ---

TOKENS = [
    *[b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b" ", b":", b"\0", b"x"],
    *[b"data", b"data:", b"data: ", b"data: one", b"data:two", b"data:  \xc3\xa9"],
    *[b"event", b"event: ", b"event: t", b"event:message", b"event: \xf0\x9f\x98\x80"],
    *[b"id", b"id: ", b"id: 7", b"id: a\0b", b"id:\xff", b"id: 1234567"],
    *[b"retry", b"retry: 5", b"retry:0040", b"retry: -1", b"retry: " + b"9" * 19],
    *[b": comment", b": a comment of many bytes, over every small bound", b"unknown: x"],
    *[BOM, b"\xef", b"\xbb", b"\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\xe2\x82", b"\xff"],
    *[b"data: run\n\n", b"data: run\r\n\r\n", b"data: r\n\ndata: u\n\ndata: n\n\n"],
    *[b"event: t\ndata: typed\n\n", b"event: u\ndata: a\n\nevent: v\ndata: b\n\n"],
    *[b"event: t\r\ndata: typed\r\n\r\n", b"event: \ndata: \n\n", b"data: \n\ndata: \n\n"],
    *[b"id: 1\ndata: a\n\nid: 2\ndata: b\n\n", b"data: a\nid: 3\n\ndata: b\nid: 4\n\n"],
    *[b"event: t\nid: 5\ndata: c\n\n", b"id: 6\nevent: u\ndata: d\n\n"],
    *[b"event: v\ndata: e\nid: 7\n\nevent: w\ndata: f\nid: 8\n\n", b"id: 9\ndata:\n\n"],
    *[b"data: " + b"y" * 24, b"event: " + b"z" * 24, b"id: " + b"9" * 24],
]
bodies = st.lists(st.sampled_from(TOKENS), max_size=24).map(b"".join)
small_limits = st.builds(
    SseLimits,
    line=st.integers(8, 32),
    event=st.integers(1, 60),
    charge_per_data_line=st.integers(1, 20),
    id=st.integers(1, 8),
)
any_limits = st.just(SseLimits()) | small_limits
# A slow machine is no failure: no deadline, no health check of speed.
laws = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def cut_bodies(draw: st.DrawFn) -> list[bytes]:
    body = draw(bodies)
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=12)))
    return [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]


@laws
@given(cut_bodies(), any_limits)
@example([b"event: a\ndata: x\ndata: y\n\nevent: b\n\n"], SseLimits())
@example([b"event: a\n\nevent: b\ndata: x\ndata: y\n\n"], SseLimits())
@example([b"data: a\n\n\n\ndata: b\n\n", b"data: \n\n\n"], SseLimits())
@example([b"event: a\nid: 3\n\n"], SseLimits())
@example([b"event: a\ndata: x\n\nevent: a\nid: 3\n\nevent: a\ndata: x\n\n"], SseLimits())
@example([b"event: a\ndata: 1234\n\nevent: a\ndata: 12345678\n\n"], SseLimits(line=20))
@example([b"data: 12345678", b"9\n\n"], SseLimits(line=14))
@example([b"id: a\0\ndata: x\n\n"], SseLimits())
@example([b"id: 123\ndata: x\n\nid: 4\ndata: y\n\n"], SseLimits(id=2))
@example([b"data:\nid: 5\n\n"], SseLimits())
@example([b"id: 1\nid: 2\ndata: x\n\n"], SseLimits())
@example([b"id: 1\nx\ndata: x\n\nid: 2\n\n"], SseLimits())
@example([b"id: 1\ndata: x\n\nid: 2\nevent: u\ndata: y\n\nid: 3\n\n"], SseLimits())
@example([b"id: 1\nevent: t\ndata: x\n\nid: 2\nevent: u\nretry: 5\n\n"], SseLimits())
@example([b"event: t\ndata: x\nid: 1\n\nevent: \ndata: \nid: \n\n"], SseLimits())
def test_after_each_chunk_everything_equals_the_prefix_read_whole(
    chunks: list[bytes], limits: SseLimits
) -> None:
    parser = EventStreamParser(limits)
    frames: list[Frame] = []
    prefix = b""
    for chunk in chunks:
        frames += parser.feed(chunk)
        prefix += chunk
        assert seen(parser, frames) == model(prefix, limits)
        whole = EventStreamParser(limits)
        assert seen(whole, whole.feed(prefix)) == seen(parser, frames)
        assert whole.held == parser.held


@laws
@given(bodies, any_limits)
def test_one_byte_at_a_time_each_event_comes_with_its_last_byte(
    body: bytes, limits: SseLimits
) -> None:
    parser = EventStreamParser(limits)
    frames: list[Frame] = []
    for end, byte in enumerate(one_byte_at_a_time(body), 1):
        frames += parser.feed(byte)
        assert frames == EventStreamParser(limits).feed(body[:end])
        assert parser.held <= limits.line + limits.event
        assert parser.skipped <= parser.faults["line"] + parser.faults["event"]


@laws
@given(st.binary(max_size=200), st.integers(1, 7))
def test_no_bytes_raise(body: bytes, step: int) -> None:
    chunks = [body[i : i + step] for i in range(0, len(body), step)]
    assert outcome(chunks) == model(body)


@laws
@given(cut_bodies(), cut_bodies(), any_limits)
def test_after_reset_a_stream_reads_as_on_a_new_parser_with_the_old_id(
    before: list[bytes], after: list[bytes], limits: SseLimits
) -> None:
    parser = EventStreamParser(limits)
    feed_all(parser, before)
    fresh = EventStreamParser(limits, last_event_id=parser.last_event_id)
    fresh.retry = parser.retry
    parser.reset()
    assert parser.held == 0
    assert feed_all(parser, after) == feed_all(fresh, after)
    assert (parser.last_event_id, parser.retry) == (fresh.last_event_id, fresh.retry)


# --- values and arguments ---


def test_frame_is_an_immutable_value_with_the_default_type_spelled_out() -> None:
    [frame] = EventStreamParser().feed(b"retry: 9\nid: 4\ndata: a\n\n")
    assert frame == Frame(event="message", data="a", id="4", retry=9)
    assert hash(frame) == hash(Frame(event="message", data="a", id="4", retry=9))
    with pytest.raises(AttributeError):
        frame.data = "b"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError):
        frame.extra = "b"  # type: ignore[attr-defined]  # pyright: ignore


@pytest.mark.parametrize("road", [b"data: a\n\n", b"event: message\ndata: a\n\n", b"data:a\n\n"])
def test_every_road_carries_the_id_and_retry_in_force(road: bytes) -> None:
    parser = EventStreamParser()
    parser.feed(b"id: 4\nretry: 9\n\n")
    assert parser.feed(road * 2) == [Frame("message", "a", "4", 9)] * 2


def test_a_resumed_parser_puts_its_id_on_frames_until_the_server_sends_another() -> None:
    parser = EventStreamParser(last_event_id="41")
    assert parser.last_event_id == "41"
    frames = parser.feed(b"data: a\n\nid: 42\ndata: b\n\nid\ndata: c\n\n")
    assert [frame.id for frame in frames] == ["41", "42", ""]


def test_bytes_like_chunks_are_taken_and_not_kept() -> None:
    parser = EventStreamParser()
    buffer = bytearray(b"data: a\ndata: b")
    assert parser.feed(memoryview(buffer)) == []
    buffer[:] = b"c\n\n"
    assert parser.feed(buffer) == [Frame("message", "a\nbc", "", None)]


@pytest.mark.parametrize("wrong", ["data: a\n\n", "", 3, None, [1]])
def test_what_is_not_bytes_is_a_type_error_and_changes_nothing(wrong: Any) -> None:
    parser = EventStreamParser()
    parser.feed(b"data: a\n")
    with pytest.raises(TypeError):
        parser.feed(wrong)
    assert parser.feed(b"\n") == [Frame("message", "a", "", None)]


def test_comments_are_counted_as_signs_of_life_and_give_no_frame() -> None:
    parser = EventStreamParser()
    assert parser.feed(b": ping\n\n:\r\n\r\n") == []
    assert parser.comments == 2
    assert parser.feed(b": not yet") == []
    assert parser.comments == 2
    assert parser.feed(b"\rdata: a\n\n") == [Frame("message", "a", "", None)]
    assert parser.comments == 3


@pytest.mark.parametrize(
    ("opened", "events"),
    [
        (b"data: a\n", [Frame("message", "a\nb", "", None), Frame("message", "c", "", None)]),
        (b"event: t\n", [Frame("t", "b", "", None), Frame("message", "c", "", None)]),
        (b"id: 1\n", [Frame("message", "b", "1", None), Frame("message", "c", "1", None)]),
        (b"event: " + b"t" * 60 + b"\n", [Frame("message", "c", "", None)]),
        (b": c\n", [Frame("message", "b", "", None), Frame("message", "c", "", None)]),
        (b"retry: 3\n", [Frame("message", "b", "", 3), Frame("message", "c", "", 3)]),
    ],
)
def test_an_open_event_goes_on_in_a_chunk_that_looks_like_whole_events(
    opened: bytes, events: list[Frame]
) -> None:
    assert outcome([opened, b"data: b\n\ndata: c\n\n"], SseLimits(line=50))[0] == events


# --- reset ---


@pytest.mark.parametrize(
    "cut_off",
    [
        b"data: half a li",
        b"data: half an event\n",
        b"event: typed\n",
        b"id: 9\ndata: uncommitted\n",
        b"data: a\r",
        b"\xef\xbb",
        b"data: " + b"x" * 100,
        b"data: " + b"x" * 100 + b"\n",
    ],
)
def test_reset_drops_what_the_old_connection_left_unfinished(cut_off: bytes) -> None:
    parser = EventStreamParser(SseLimits(line=64))
    parser.feed(b"id: 4\nretry: 9\n\n" if not cut_off.startswith(BOM[:2]) else b"")
    known = (parser.last_event_id, parser.retry)
    parser.feed(cut_off)
    parser.reset()
    assert parser.held == 0
    assert (parser.last_event_id, parser.retry) == known
    assert parser.feed(b"\ndata: b\n\n") == [Frame("message", "b", *known)]


def test_reset_drops_a_byte_order_mark_again() -> None:
    parser = EventStreamParser()
    assert parser.feed(b"data: a\n\n") == [Frame("message", "a", "", None)]
    parser.reset()
    assert parser.feed(BOM + b"data: b\n\n") == [Frame("message", "b", "", None)]


def test_reset_does_not_charge_the_next_event_for_what_was_dropped() -> None:
    parser = EventStreamParser(SseLimits(event=100, charge_per_data_line=10))
    parser.feed(b"data\n" * 10)
    parser.reset()
    assert parser.feed(b"data\n" * 10 + b"\n") == [Frame("message", "\n" * 9, "", None)]


def test_reset_keeps_counting() -> None:
    parser = EventStreamParser(SseLimits(line=8, id=1))
    parser.feed(b": c\ndata: too long\nid: 12\nretry: 123456\n\n")
    counted = (1, 1, {"line": 1, "event": 0, "id": 1, "retry": 1})
    assert (parser.comments, parser.skipped, parser.faults) == counted
    parser.reset()
    assert (parser.comments, parser.skipped, parser.faults) == counted


# --- bounds ---

FORMS = {
    "one piece": lambda body: [body],
    "bytes": one_byte_at_a_time,
    "threes": lambda body: [body[i : i + 3] for i in range(0, len(body), 3)],
    "cut before the end": lambda body: [body[:-2], body[-2:]],
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
NO_FAULT: dict[Fault, int] = {"line": 0, "event": 0, "id": 0, "retry": 0}


@each_form
@pytest.mark.parametrize("prefix", [b"data: ", b"data:", b"event: t\ndata: "])
def test_a_line_at_the_bound_is_whole_and_one_byte_more_skips_its_event_alone(
    form: Any, prefix: bytes
) -> None:
    limits = SseLimits(line=50)
    name = prefix.split(b"\n")[-1]
    for length in (49, 50):
        value = b"x" * (length - len(name))
        frames, *_, skipped, faults = outcome(form(prefix + value + b"\n\n"), limits)
        assert [frame.data for frame in frames] == [value.decode()]
        assert (skipped, faults) == (0, NO_FAULT)
    for length in (51, 52, 500):
        value = b"x" * (length - len(name))
        body = b"data: a\n\nid: 1\nretry: 2\n" + prefix + value + b"\ndata: b\n\ndata: c\n\n"
        frames, last_id, retry, _, skipped, faults = outcome(form(body), limits)
        assert frames == [Frame("message", "a", "", None), Frame("message", "c", "1", 2)]
        assert (last_id, retry, skipped) == ("1", 2, 1)
        assert faults == {**NO_FAULT, "line": 1}


@each_form
def test_bytes_count_for_the_line_bound_not_characters(form: Any) -> None:
    limits = SseLimits(line=18)
    assert outcome(form("data: éééééé\n\n".encode()), limits)[0]
    assert not outcome(form("data: ééééééé\n\n".encode()), limits)[0]


@each_form
def test_neither_line_end_nor_byte_order_mark_counts_for_the_line_bound(form: Any) -> None:
    limits = SseLimits(line=8)
    frames = outcome(form(BOM + b"data: ab\r\n\r\n"), limits)[0]
    assert frames == [Frame("message", "ab", "", None)]


@each_form
def test_an_over_long_type_skips_its_event_and_does_not_leak(form: Any) -> None:
    body = b"data: a\nevent: " + b"t" * 60 + b"\n\ndata: b\n\n"
    frames, *_, skipped, faults = outcome(form(body), SseLimits(line=50))
    assert frames == [Frame("message", "b", "", None)]
    assert (skipped, faults) == (1, {**NO_FAULT, "line": 1})


@each_form
def test_an_over_long_type_without_data_is_a_fault_but_no_event(form: Any) -> None:
    body = b"event: " + b"t" * 60 + b"\n\ndata: b\n\n"
    frames, *_, skipped, faults = outcome(form(body), SseLimits(line=50))
    assert frames == [Frame("message", "b", "", None)]
    assert (skipped, faults) == (0, {**NO_FAULT, "line": 1})


@each_form
@pytest.mark.parametrize(
    "line", [b": " + b"c" * 60, b"unknown: " + b"u" * 60, b"data" * 20, b"datas: " + b"x" * 60]
)
def test_an_over_long_line_that_means_nothing_harms_nothing(form: Any, line: bytes) -> None:
    body = b"data: a\n" + line + b"\ndata: b\n\n"
    frames, *_, comments, skipped, faults = outcome(form(body), SseLimits(line=50))
    assert frames == [Frame("message", "a\nb", "", None)]
    assert (comments, skipped, faults) == (line.startswith(b":"), 0, NO_FAULT)


@each_form
@pytest.mark.parametrize("field", ["id", "retry"])
def test_an_over_long_id_or_retry_line_is_void_and_its_event_stays(form: Any, field: Any) -> None:
    body = b"id: 1\nretry: 2\n" + field.encode() + b": " + b"0" * 60 + b"\ndata: a\n\n"
    frames, *_, skipped, faults = outcome(form(body), SseLimits(line=50))
    assert frames == [Frame("message", "a", "1", 2)]
    assert (skipped, faults) == (0, {**NO_FAULT, field: 1})


@each_form
def test_an_over_long_line_is_reported_while_it_comes(form: Any) -> None:
    parser = EventStreamParser(SseLimits(line=50))
    feed_all(parser, form(b"data: " + b"x" * 44))
    assert parser.faults == NO_FAULT
    parser.feed(b"x")
    assert parser.faults == {**NO_FAULT, "line": 1}
    parser.feed(b"x" * 1000)
    assert parser.faults == {**NO_FAULT, "line": 1}
    assert parser.skipped == 0
    assert parser.feed(b"\n\ndata: b\n\n") == [Frame("message", "b", "", None)]
    assert parser.skipped == 1


@each_form
@pytest.mark.parametrize("prefix", [b"data: ", b"data:", b"event: t\ndata: "])
def test_a_one_line_event_at_the_event_bound_is_whole_and_one_byte_more_is_skipped(
    form: Any, prefix: bytes
) -> None:
    limits = SseLimits(event=100, charge_per_data_line=10)
    for length in (89, 90):
        frames, *_, faults = outcome(form(prefix + b"x" * length + b"\n\n"), limits)
        assert [frame.data for frame in frames] == ["x" * length]
        assert faults == NO_FAULT
    body = b"id: 7\n" + prefix + b"x" * 91 + b"\n\ndata: b\n\n"
    frames, last_id, *_, skipped, faults = outcome(form(body), limits)
    assert frames == [Frame("message", "b", "7", None)]
    assert (last_id, skipped, faults) == ("7", 1, {**NO_FAULT, "event": 1})


@each_form
def test_each_data_line_of_an_event_is_charged(form: Any) -> None:
    limits = SseLimits(event=100, charge_per_data_line=10)
    ten = b"data\n" * 10
    assert outcome(form(ten + b"\n"), limits)[0] == [Frame("message", "\n" * 9, "", None)]
    nine_and_ten_bytes = b"data\n" * 8 + b"data: 0123456789\n"
    assert outcome(form(nine_and_ten_bytes + b"\n"), limits)[0]
    for over in (ten + b"data\n", b"data\n" * 8 + b"data: 0123456789x\n", ten * 3):
        body = over + b"id: 5\nretry: 6\n: c\nevent: t\n\n" + ten + b"\n"
        frames, _, _, comments, skipped, faults = outcome(form(body), limits)
        assert frames == [Frame("message", "\n" * 9, "5", 6)]
        assert (comments, skipped, faults) == (1, 1, {**NO_FAULT, "event": 1})


def test_what_is_freed_for_an_event_over_the_bound_is_not_charged_to_the_next() -> None:
    parser = EventStreamParser(SseLimits(event=100, charge_per_data_line=10))
    for _ in range(3):
        assert parser.feed(b"data\n" * 10) == []
        assert parser.held == 100
        assert parser.feed(b"data\n") == []
        assert parser.held == 0
        assert parser.feed(b"data\n" * 50 + b"\n") == []
        assert parser.held == 0
    assert parser.skipped == 3


def test_a_million_empty_data_lines_hit_the_default_event_bound() -> None:
    parser = EventStreamParser()
    most = 0
    for _ in range(100):
        assert parser.feed(b"data\n" * 10_000) == []
        most = max(most, parser.held)
    assert most <= parser.limits.event
    assert parser.feed(b"\ndata: after\n\n") == [Frame("message", "after", "", None)]
    assert (parser.skipped, parser.faults) == (1, {**NO_FAULT, "event": 1})


@each_form
def test_an_id_over_its_bound_is_void_and_the_former_one_stays(form: Any) -> None:
    limits = SseLimits(id=5)
    for value in ("1234", "12345"):
        assert outcome(form(b"id: %s\ndata: a\n\n" % value.encode()), limits)[1] == value
    body = b"id: 1\n\nid: 123456\ndata: a\n\nid: 2\nid: 123456\ndata: b\n\n"
    frames, last_id, *_, skipped, faults = outcome(form(body), limits)
    assert [frame.id for frame in frames] == ["1", "2"]
    assert (last_id, skipped, faults) == ("2", 0, {**NO_FAULT, "id": 2})


@each_form
def test_a_reconnection_time_of_more_than_18_digits_is_void(form: Any) -> None:
    assert outcome(form(b"retry: " + b"9" * 18 + b"\n"))[2] == 10**18 - 1
    assert outcome(form(b"retry: " + b"0" * 5000 + b"12\n"))[2] == 12
    assert outcome(form(b"retry: " + b"0" * 5000 + b"\n"))[2] == 0
    for digits in (19, 4301, 5000):
        body = b"retry: 7\nretry: " + b"9" * digits + b"\ndata: a\n\n"
        frames, _, retry, *_, faults = outcome(form(body))
        assert frames == [Frame("message", "a", "", 7)]
        assert (retry, faults) == (7, {**NO_FAULT, "retry": 1})


def test_the_default_bounds() -> None:
    limits = EventStreamParser().limits
    assert limits == SseLimits()
    assert attrs.asdict(limits) == {
        "line": 1_048_576,
        "event": 8_388_608,
        "charge_per_data_line": 64,
        "id": 8192,
    }


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(SseLimits)])
@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "8", None])
def test_a_bound_that_is_no_positive_integer_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=rf"SseLimits\.{name} must be an integer from"):
        SseLimits(**{name: wrong})


def test_a_line_bound_too_small_to_tell_the_field_is_refused() -> None:
    assert SseLimits(line=8).line == 8
    with pytest.raises(ValueError, match=r"SseLimits\.line must be an integer from 8, not 7"):
        SseLimits(line=7)


# --- work and memory, counted ---


class CountedBytes(bytearray):
    """Held bytes that count what is done to them: appended, copied out, or looked at otherwise."""

    appended = 0
    copied = 0

    def __iadd__(self, other: Any) -> CountedBytes:  # type: ignore[misc]
        self.appended += len(other)
        super().__iadd__(other)
        return self

    def __bytes__(self) -> bytes:
        self.copied += len(self)
        return bytes(memoryview(self))

    def __getattribute__(self, name: str) -> Any:
        assert name in {"appended", "copied", "clear"}, f"held bytes were scanned: {name}"
        return super().__getattribute__(name)


@pytest.mark.parametrize("step", [1, 2, 1000])
def test_a_long_line_in_small_chunks_is_appended_once_and_copied_once(step: int) -> None:
    parser = EventStreamParser()
    held = CountedBytes()
    parser._partial = held
    body = b"data: " + b"x" * 50_000
    feed_all(parser, (body[i : i + step] for i in range(0, len(body), step)))
    assert parser._partial is held
    assert (held.appended, held.copied) == (len(body), 0)
    assert parser.feed(b"\n\n") == [Frame("message", "x" * 50_000, "", None)]
    assert (held.appended, held.copied) == (len(body), len(body))


class CountedRoads(EventStreamParser):
    """A parser that counts the lines it takes one by one."""

    lines = 0

    def _take(self, lines: list[bytes], frames: list[Frame]) -> None:
        self.lines += len(lines)
        super()._take(lines, frames)


@pytest.mark.parametrize("step", [1, 7, 100, 100_000])
def test_each_line_is_interpreted_once_for_every_chunk_size(step: int) -> None:
    body = b"event: t\ndata: a\ndata: b\nid: 1\n: c\n\n" * 200 + b"data\n" * 2000
    parser = CountedRoads()
    feed_all(parser, (body[i : i + step] for i in range(0, len(body), step)))
    assert parser.lines == body.count(b"\n")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("lines", [[b"data: {}"], [b"event: t", b"data: {}"]])
def test_usual_events_in_whole_chunks_are_never_taken_line_by_line(
    lines: list[bytes], end: bytes
) -> None:
    parser = CountedRoads()
    event = end.join([*lines, b"", b""])
    for _ in range(3):
        assert len(parser.feed(event * 100)) == 100
    assert parser.lines == 0


def test_usual_events_in_chunks_that_cut_them_cost_at_most_their_own_lines_at_each_cut() -> None:
    body = b'data: {"type":"delta","text":"hello"}\n\n' * 1000
    parser = CountedRoads()
    chunks = [body[i : i + 4096] for i in range(0, len(body), 4096)]
    assert len(feed_all(parser, chunks)) == 1000
    assert parser.lines <= 2 * len(chunks)


@pytest.mark.parametrize(
    ("before", "lines"),
    [(b"data: a\n", 2), (b"id: 1\ndata: a\n", 3), (b"id: 1\n", 2), (b": c\n\n: c\n", 3)],
)
def test_after_an_unusual_event_only_its_own_lines_are_taken_one_by_one(
    before: bytes, lines: int
) -> None:
    parser = CountedRoads()
    parser.feed(before)
    if lines > before.count(b"\n"):
        parser.feed(b"\n" + b"data: {}\n\n" * 100)
    assert parser.lines == lines
    assert len(parser.feed(b"data: {}\n\n" * 100)) == 100
    assert parser.lines == lines


def test_an_endless_line_costs_no_memory_past_the_bound() -> None:
    parser = EventStreamParser(SseLimits(line=10_000))
    chunk = b"x" * 9_000
    parser.feed(b"data: ")
    tracemalloc.start()
    try:
        for _ in range(1000):
            parser.feed(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40_000  # 9,000,000 bytes came
    assert parser.held <= 8


def test_one_byte_chunks_hold_a_line_at_about_its_own_size() -> None:
    parser = EventStreamParser()
    tracemalloc.start()
    try:
        feed_all(parser, one_byte_at_a_time(b"data: " + b"x" * 50_000))
        now = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert parser.held == 50_006
    assert now < 2 * 50_006


@pytest.mark.parametrize("last", [b"data: " + b"x" * 50_000, b"event: " + b"t" * 60_001])
def test_an_event_over_a_bound_frees_what_it_held(last: bytes) -> None:
    parser = EventStreamParser(SseLimits(line=60_000, event=100_000))
    body = b"data: " + b"x" * 50_000 + b"\n"
    tracemalloc.start()
    try:
        parser.feed(body)
        before = tracemalloc.get_traced_memory()[0]
        parser.feed(last + b"\n")
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert before > 50_000
    assert after < 10_000
    assert parser.held == 0
