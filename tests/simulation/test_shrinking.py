"""What makes failing histories small: it never raises, and what it leaves could have happened."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from . import histories
from .shrinking import possible, shrunk

History = dict[str, Any]


def _names(history: History) -> set[int]:
    found: set[int] = set()
    for action in history["actions"]:
        if action[0] in ("e", "cut", "lose", "fetch"):
            found.add(action[1])
        elif action[0] in ("m", "b"):
            found.update(action[1])
    return found


def _mentions(history: History, text: str) -> bool:
    """Whether an entry with a text is named; by what it is, as numbers change."""
    return any(text in str(history["script"][n][0]) for n in _names(history))


def _never(history: History) -> str | None:
    return None


def _always(history: History) -> str:
    return "Mismatch: always"


def _raises(history: History) -> str:
    raise IndexError("list index out of range")


def _without_actions(history: History) -> str:
    """The harness itself stumbles over an empty list: another failure than the one looked for."""
    history["actions"][0]
    return "Mismatch: it fails with any action"


def _vandal(history: History) -> str:
    """Changes what it was given."""
    history["actions"].clear()
    history["script"].clear()
    history["mode"] = "?"
    return "Mismatch: of which nothing is left"


@pytest.mark.parametrize("problem", [_never, _always, _raises, _without_actions, _vandal])
def test_it_never_raises_whatever_the_judge_does(problem: Any) -> None:
    for seed in (*range(40), 10176577):
        history = histories.make(seed)
        before = repr(history)
        small = shrunk(history, problem, budget=300)
        assert repr(history) == before
        if problem in (_never, _raises):
            assert small is history  # what does not fail is left alone
        elif problem is _without_actions:
            assert 1 <= len(small["actions"]) <= 1 + small.get("tail", 0)
        else:
            assert len(small["actions"]) == small.get("tail", 0)


def test_it_ends_where_a_history_fails_only_now_and_then() -> None:
    """Not deterministic: it may vanish after the first look, or at any later one."""
    for seed in range(60):
        chance = Random(seed).random
        looks = [0]

        def now_and_then(history: History, chance: Any = chance, looks: Any = looks) -> str | None:
            looks[0] += 1
            return "Mismatch: now" if looks[0] == 1 or chance() < 0.4 else None

        small = shrunk(histories.make(seed), now_and_then, budget=200)
        assert looks[0] <= 200 and (possible(small) or not possible(histories.make(seed)))
        assert _names(small) <= set(range(len(small["script"])))

        once = [True]

        def vanishes(history: History, once: Any = once) -> str | None:
            return "Mismatch: once" if once and once.pop() else None

        history = histories.make(seed)
        assert shrunk(history, vanishes) == history


def test_it_keeps_what_the_failure_is_about() -> None:
    for seed in range(1, 40):
        history = histories.make_core(seed)
        if history["tail"] or not possible(history):
            continue
        words = [e["text"] for e, _ in history["script"] if e.get("text", "").strip()]
        if not words or not _mentions(history, repr(words[-1])):
            continue

        def about(history: History, word: str = repr(words[-1])) -> str | None:
            return f"Mismatch: {word} is shown" if _mentions(history, word) else None

        small = shrunk(history, about)
        assert about(small)
        if history["mode"] != "none":
            assert len(small["actions"]) <= 3 and len(small["script"]) <= len(history["script"])


def test_another_kind_of_failure_does_not_count() -> None:
    """Else a failure of the store becomes one of whatever stumbles over fewer actions."""
    history = next(h for h in map(histories.make_core, range(1, 100)) if len(h["actions"]) > 12)

    def two(history: History) -> str:
        few = len(history["actions"]) < 5
        return "KeyError: 'messages'" if few else "Mismatch: in the end"

    assert len(shrunk(history, two)["actions"]) >= 5


def test_what_is_left_of_a_good_history_is_a_good_one() -> None:
    """A shorter list of actions fails only if something is wrong: else small ones mean nothing."""
    for seed in range(1, 1200):
        history = histories.make_core(seed)
        random = Random(seed)
        keep = random.random() * (seed % 5 > 0)
        tail = len(history["actions"]) - history["tail"]
        left = [a for n, a in enumerate(history["actions"]) if n >= tail or random.random() < keep]
        history["actions"] = left
        if possible(history):
            assert histories.problem(history) is None, (seed, left)


def test_nothing_happened_is_a_history_as_well() -> None:
    for seed in range(200):
        history = histories.make(seed)
        if not history.get("tail"):
            assert histories.problem({**history, "actions": []}) is None, seed
