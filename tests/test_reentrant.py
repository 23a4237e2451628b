"""A subscriber that feeds and commits from inside its callback: all hear everything, in order."""

from __future__ import annotations

from typing import Any

import pytest
from one_stream import Bench

from streamstore import ChangeSet


@pytest.mark.parametrize("commits", [1, 2, 5])
@pytest.mark.parametrize("first", [True, False], ids=["it hears first", "it hears last"])
def test_change_sets_of_several_commits_inside_one_are_heard_in_order(
    commits: int, first: bool
) -> None:
    bench = Bench("none")
    heard: list[int] = []
    texts: list[str] = []

    def feed(changes: ChangeSet) -> None:
        if changes.version == 1:
            for number in range(commits):
                bench.delta(None, str(number))
                bench.store.flush()

    def hear(changes: ChangeSet) -> None:
        heard.append(changes.version)
        texts.extend(edit.text for edit in changes.text.values())

    subscribers: list[Any] = [feed, hear] if first else [hear, feed]
    for subscriber in subscribers:
        bench.store.subscribe(subscriber)
    bench.delta(None, "a")
    bench.store.flush()
    assert heard == list(range(1, commits + 2))
    assert texts == ["a", *map(str, range(commits))]
