"""Where a client goes on that names a number: as in a pass over the whole log, without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from streamstore.log import open_log
from streamstore.serve.numbers import Numbered, Numbers, number_of
from streamstore.serve.tape import open_tape

PROTOCOL = "openai-responses"


def drawn(seed: int, length: int) -> list[Any]:
    """Numbers that grow, with holes, events without one, and now and then a fall."""
    random = Random(seed)
    wires: list[Any] = []
    number = random.choice((0, 0, 7))
    for _ in range(length):
        if random.random() < 0.2:
            wires.append(random.choice(({"type": "keepalive"}, [1], {"sequence_number": "x"})))
            continue
        wires.append({"type": "response.created", "sequence_number": number})
        number += random.choice((0, 1, 1, 1, 4))
        if random.random() < 0.03:
            number = random.randrange(number + 1)
    return wires


class Events:
    """The events of a log in memory; `read` counts those that were looked at."""

    def __init__(self, wires: list[Any]) -> None:
        self.wires = wires
        self.read = 0

    def __call__(self, after: int) -> Iterator[Numbered]:
        for position in range(after + 1, len(self.wires) + 1):
            self.read += 1
            wire = self.wires[position - 1]
            yield Numbered(position, json.dumps(wire).encode(), lambda wire=wire: wire)


def by_a_pass(wires: list[Any], number: int) -> int:
    after = 0
    for position, wire in enumerate(wires, start=1):
        found = number_of(PROTOCOL, wire)
        if found is not None:
            if found > number:
                break
            after = position
    return after


def highest(wires: list[Any]) -> int:
    return max(found for wire in wires if (found := number_of(PROTOCOL, wire)) is not None)


@pytest.mark.parametrize("seed", range(40))
def test_every_number_is_found_where_a_pass_over_the_log_finds_it(seed: int) -> None:
    random = Random(seed)
    wires = drawn(seed, random.randrange(1, 200)) + [{"sequence_number": 400}]
    numbers = Numbers(
        PROTOCOL, Events(wires), stride=random.choice((1, 2, 7)), places=random.choice((2, 3, 8))
    )
    for _ in range(2):
        asked = list(range(highest(wires) + 2))
        random.shuffle(asked)
        for number in asked:
            assert numbers.after(number) == by_a_pass(wires, number), number


@pytest.mark.parametrize("seed", range(20))
def test_a_log_that_grows_or_is_cut_or_replaced_meanwhile_is_the_one_that_is_there(
    seed: int,
) -> None:
    random = Random(seed)
    wires = drawn(seed, 80) + [{"sequence_number": 300}]
    numbers = Numbers(PROTOCOL, Events(wires), stride=5, places=8)
    for turn in range(12):
        for number in random.sample(range(320), 8):
            assert numbers.after(number) == by_a_pass(wires, number)
        if turn % 3 == 0:
            wires += drawn(seed + turn, 30)
        elif turn % 3 == 1:
            del wires[random.randrange(1, len(wires)) :]
        else:
            wires[:] = [{"sequence_number": 1, "of": turn}, *drawn(seed + 100 + turn, 90)]


def test_what_was_looked_through_is_not_looked_through_again() -> None:
    events = Events([{"sequence_number": number} for number in range(100_000)])
    numbers = Numbers(PROTOCOL, events)
    assert numbers.after(99_990) == 99_991
    for number in (99_990, 99_995, 50_000, 999, 1_000):
        events.read = 0
        assert numbers.after(number) == number + 1
        assert events.read <= 1_002


def test_the_places_that_are_remembered_are_bounded() -> None:
    events = Events([{"sequence_number": number} for number in range(5_000)])
    numbers = Numbers(PROTOCOL, events, stride=1, places=16)
    assert numbers.after(5_000) == 5_000
    assert len(numbers._places) < 16
    events.read = 0
    assert numbers.after(4_000) == 4_001
    assert events.read <= 2 * 5_000 // 8


@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
def test_a_tape_goes_on_behind_a_number_from_any_event(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"log.{kind}"
    wires = [{"type": "response.created", "sequence_number": 0, "response": {"id": "r"}}]
    wires += [
        {"type": "response.output_text.delta", "delta": "x", "sequence_number": number}
        for number in range(1, 1_205)
    ]
    with open_log(path) as log:
        for at, wire in enumerate(wires):
            log.append(json.dumps(wire), time_ms=at)
        log.sync()
        tape = open_tape([path])
        try:
            assert tape.after_number(1_204) == 1_205
            for number in (0, 1, 998, 999, 1_000, 1_001, 1_203, 1_204, 9_999):
                assert tape.after_number(number) == by_a_pass(wires, number)
            # Only SQLite is served as it is, and so while it is written.
            log.append(json.dumps({"type": "x", "sequence_number": 1_205}), time_ms=2_000)
            log.sync()
            assert tape.after_number(1_205) == (1_206 if kind == "sqlite" else 1_205)
        finally:
            tape.close()
