"""A subscriber that feeds and commits from inside its callback: all hear everything, in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from one_stream import Bench

from streamstore import ChangeSet
from streamstore.events import MessageRemoved
from streamstore.iterating import Changes


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


def drained(changes: Changes) -> list[ChangeSet]:
    """What an iterator that is closed has left."""

    async def drain() -> list[ChangeSet]:
        return [heard async for heard in changes]

    return asyncio.run(drain())


@pytest.mark.parametrize("commits", [False, True], ids=["at once", "behind a commit of its own"])
def test_an_iterator_that_a_callback_closes_leaves_nothing_that_does_not_fit(
    commits: bool,
) -> None:
    bench = Bench("none")

    def close(heard: ChangeSet) -> None:
        if commits and not heard.removed:
            bench.store.apply(MessageRemoved(session_id="s", message_id="m"))
            bench.store.flush()
        if commits or heard.removed:
            changes.close()

    if not commits:
        bench.store.subscribe(close)
    with bench.store.changes() as changes:
        if commits:
            bench.store.subscribe(close)
        bench.delta(None, "a")
        bench.store.flush()
        bench.store.apply(MessageRemoved(session_id="s", message_id="m"))
        bench.store.flush()
    [left] = drained(changes)
    assert left.reset  # the message is gone: what was heard of it has no place any more
    assert not (left.added or left.text)


def test_an_iterator_that_a_callback_closes_leaves_all_that_it_heard() -> None:
    bench = Bench("none")
    with bench.store.changes() as changes:
        bench.store.subscribe(lambda heard: changes.close())
        bench.delta(None, "a")
        bench.store.flush()
    [left] = drained(changes)
    assert [edit.text for edit in left.text.values()] == ["a"]
    assert len(left.added) == 3
