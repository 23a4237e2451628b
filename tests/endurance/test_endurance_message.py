"""A long message costs its length: calls per delta stay, memory stays below three times the text."""

from __future__ import annotations

from typing import Any

import pytest

from .message import measure

SEQUENCINGS = ("block", "session", "sparse", "none")


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_the_last_delta_of_a_long_message_costs_what_the_first_did(sequencing: Any) -> None:
    found = measure(2_000_000, sequencing)
    # Of a batch: its deltas, one tick, and now and then a merge of what waits.
    assert max(found.calls) <= 1.2 * min(found.calls) + 50, found.calls
    assert found.held <= 1.3 * found.characters
    assert found.peak <= 3 * found.characters


def test_five_million_characters_that_nobody_read_meanwhile() -> None:
    found = measure(5_000_000)
    assert found.characters >= 4_900_000
    assert found.held <= 1.3 * found.characters
    assert found.peak <= 2.4 * found.characters


def test_a_message_without_a_tick_waits_in_little_more_than_its_text() -> None:
    found = measure(2_000_000, ticks=False)
    assert max(found.calls) <= 1.2 * min(found.calls) + 50, found.calls
    # What waits, its join, and the text that is read are at most there at one time.
    assert found.peak <= 4.5 * found.characters
