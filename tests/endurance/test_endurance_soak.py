"""Ten minutes of a server's life in virtual time; a day is `python -m tests.endurance --hours 24`."""

from __future__ import annotations

from functools import cache

import pytest

from .soak import PROTECTED, Figures, Plan, Server, soak


@cache
def lived() -> Figures:
    """120,000 deltas; conversations a tenth as long as those of a day, so that as many come and go."""
    return soak(
        Plan(
            hours=1 / 6, talk=200, answer=40, keep=32, tombstones=32, warm_s=200, sample_s=10,
            cut_s=10,
        )
    )  # fmt: skip


def test_the_state_is_what_the_server_said_through_every_reconnect_and_eviction() -> None:
    figures = lived()  # compares the state with the oracle all along
    assert figures.deltas >= 120_000
    assert figures.reconnects == 60
    assert figures.evicted > 500
    assert figures.repeated == 20 * figures.reconnects
    assert figures.compared > 1_000


@pytest.mark.parametrize("name", ["blocks", "objects"])
def test_memory_stays_within_one_per_cent_after_the_warm_up(name: str) -> None:
    figures = lived()
    assert len(figures.warm) >= 40
    assert abs(figures.drift(name)) < 0.01, [getattr(sample, name) for sample in figures.warm]


@pytest.mark.parametrize("name", ["tasks", "threads", "files"])
def test_no_task_thread_or_file_is_left_behind(name: str) -> None:
    before, after = lived().most(name)
    assert after <= before


def test_the_oracle_tells_two_servers_apart() -> None:
    plan = Plan(hours=1, talk=50, answer=10)
    servers = [Server(plan), Server(plan)]
    for server in servers:
        server.advance(10)
    assert servers[0].events == servers[1].events
    assert set(servers[0].pinned) == set(PROTECTED)
    servers[1].advance(10.01)
    assert servers[0].events != servers[1].events
