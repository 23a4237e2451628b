"""A quick run of every door with mutated inputs; the long one is `python -m tests.fuzz`."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from . import seeds
from .doors import CONTROL, Door, doors
from .mutations import mutate, mutate_value

DOORS = doors()


def drawn(random: Random, door: Door) -> bytes:
    """Control bytes and one mutated seed."""
    data = random.choice(door.seeds())
    control = bytes(random.randrange(256) for _ in range(CONTROL))
    if door.whole and random.randrange(3):
        return control + mutate_value(random, data)
    return control + mutate(random, data, seeds.every_stream())


@pytest.mark.parametrize("name", DOORS)
def test_what_is_valid_comes_in(name: str) -> None:
    for seed in DOORS[name].seeds()[:3]:
        DOORS[name].enter(bytes(CONTROL) + seed)


@pytest.mark.parametrize("name", DOORS)
def test_nothing_raises_and_nothing_is_lost(name: str) -> None:
    door = DOORS[name]

    @settings(max_examples=30, derandomize=True, database=None)
    @given(st.randoms(use_true_random=True))
    def run(random: Random) -> None:
        door.enter(drawn(random, door))

    run()
