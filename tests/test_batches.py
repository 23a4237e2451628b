"""`ingest_many` is `ingest` in a loop: same verdicts, counts, positions and state, however it is cut.

A list goes through runs of one row, which keep the row's marks aside; whatever ends a run (another
row, a hole, a repeat, a broken member, another event) must find them where they belong.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import crowded, malformed
from wires import DATA

from streamstore import ChangeSet, Limits, StreamStore
from streamstore.verdicts import ACCEPTED

Wire = dict[str, Any]

KEY = {"sessionId": "s1", "messageId": "m1"}


def outcome(
    wires: Sequence[Any], cuts: Sequence[int], way: str, protocol: str, **options: Any
) -> tuple[Any, ...]:
    """What is to be seen after each batch, and what became of each wire object."""
    store = StreamStore(ticks="manual", limits=Limits(event_ids=8))
    stream = store.open(protocol, **options)
    seen: list[Any] = []
    notable: list[tuple[int, Any]] = []
    for start, stop in zip([0, *cuts], [*cuts, len(wires)], strict=True):
        batch = copy.deepcopy(list(wires[start:stop]))
        if way == "one by one":
            found = [(place, stream.ingest(wire)) for place, wire in enumerate(batch)]
            found = [entry for entry in found if entry[1] is not ACCEPTED]
        elif way == "list":
            found = stream.ingest_many(batch)
        else:
            found = stream.ingest_many(iter(batch))
        notable += [(start + place, verdict) for place, verdict in found]
        before = (stream.received, stream.position)
        changes = store.flush()
        seen.append((before, attrs_of(changes), store.state(), stream.position))
    return notable, seen


def attrs_of(changes: ChangeSet) -> Any:
    return (changes.added, changes.changed, changes.removed, dict(changes.text), changes.resume)


@st.composite
def runs(draw: Any, sequencing: str) -> list[Wire]:
    """Long runs of deltas of two parts, with what may end one between them."""
    opened = {**KEY, "type": "message.opened", "role": "assistant"}
    wires: list[Wire] = [{**opened, "seq": 1} if sequencing != "none" else opened]
    seqs = {0: 0, 1: 0, "session": 1}
    number = 0
    for _ in range(draw(st.integers(1, 5))):
        block = draw(st.sampled_from([0, 1]))
        for _ in range(draw(st.integers(1, 8))):
            number += 1
            delta = {**KEY, "type": "block.delta", "blockIndex": block, "text": f"{number} "}
            counter = block if sequencing == "block" else "session"
            if sequencing == "none":
                if draw(st.booleans()):
                    delta["id"] = f"e{draw(st.integers(100, 130))}"
            else:
                skipped = draw(st.sampled_from([1, 1, 1, 1, 1, 2, 0]))
                seqs[counter] += skipped
                delta["seq"] = seqs[counter]
            wires.append(delta)
        ends = ["nothing", "closed", "replaced", "odd", "broken", "status", "message"]
        kind = draw(st.sampled_from(ends))
        if kind == "closed":
            wires.append({**KEY, "type": "block.closed", "blockIndex": block})
        elif kind == "replaced":
            wires.append({**wires[-1], "type": "block.replaced", "text": "all"})
            if "seq" in wires[-1]:
                counter = block if sequencing == "block" else "session"
                seqs[counter] += 1
                wires[-1]["seq"] = seqs[counter]
        elif kind == "odd":
            member = draw(
                st.sampled_from(
                    [
                        {"blockIndex": True},
                        {"blockIndex": float(block)},
                        {"text": 7},
                        {"text": None},
                        {"seq": True},
                        {"seq": 2**63},
                        {"seq": "1"},
                        {"id": 7},
                        {"id": ""},
                        {"type": "nobody.knows"},
                        {"field": "input"},
                        {"extra": [1]},
                        {"messageId": ["m1"]},
                    ]
                )
            )
            wires.append({**wires[-1], **member})
        elif kind == "broken":
            wires.append(draw(st.sampled_from([None, [], 7, "x", {}, {"type": "block.delta"}])))
        elif kind == "message":
            wires.append({**KEY, "type": "message.updated", "info": {"at": number}})
            if sequencing in ("session", "sparse"):
                seqs["session"] += 1
                wires[-1]["seq"] = seqs["session"]
        elif kind == "status":
            wires.append({"type": "session.status", "sessionId": "s1", "status": "busy"})
    return wires


def cuts_of(draw: Any, wires: Sequence[Any]) -> list[int]:
    return sorted(draw(st.lists(st.integers(0, len(wires)), max_size=3)))


@pytest.mark.parametrize("sequencing", ["block", "sparse", "session", "none"])
@given(st.data())
def test_a_batch_is_its_wire_objects_one_by_one(sequencing: str, data: st.DataObject) -> None:
    wires = data.draw(runs(sequencing))
    cuts = cuts_of(data.draw, wires)
    expected = outcome(wires, cuts, "one by one", "native", sequencing=sequencing)
    for way in ("list", "iterator"):
        assert outcome(wires, cuts, way, "native", sequencing=sequencing) == expected


@pytest.mark.parametrize("sequencing", ["block", "session", "none"])
@given(st.data())
def test_a_batch_of_anything_is_its_wire_objects_one_by_one(
    sequencing: str, data: st.DataObject
) -> None:
    wires: list[Any] = list(data.draw(crowded(sequencing)))
    for broken in data.draw(st.lists(malformed(wires), max_size=2)):
        wires.insert(data.draw(st.integers(0, len(wires))), broken)
    cuts = cuts_of(data.draw, wires)
    expected = outcome(wires, cuts, "one by one", "native", sequencing=sequencing)
    assert outcome(wires, cuts, "list", "native", sequencing=sequencing) == expected


def recorded() -> Iterator[tuple[str, str]]:
    for path in sorted(DATA.glob("*/**/*.jsonl")):
        yield path.relative_to(DATA).parts[0], str(path.relative_to(DATA))
    for path in sorted(DATA.glob("*/**/*.sse")):
        if path.relative_to(DATA).parts[0] != "sse":
            yield path.relative_to(DATA).parts[0], str(path.relative_to(DATA))


def wires_of(name: str) -> list[Any]:
    wires = []
    for line in (DATA / name).read_bytes().splitlines():
        text = line.removeprefix(b"data:").strip()
        try:
            wires.append(json.loads(text))
        except ValueError:
            pass
    return wires


@pytest.mark.parametrize(("protocol", "name"), list(recorded()))
def test_a_recorded_stream_in_batches_is_the_same_one_by_one(protocol: str, name: str) -> None:
    """With every event twice, so that runs are ended by repeats as well."""
    wires = wires_of(name)[:3000]
    size = len(wires)
    for log in (wires, [wire for wire in wires for _ in range(2)]):
        cuts = [size // 3, size // 2]
        expected = outcome(log, cuts, "one by one", protocol)
        assert outcome(log, cuts, "list", protocol) == expected
