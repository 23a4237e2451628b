"""A history on a store whose bounds are one, two or three: little is remembered of what came.

What such a store shows depends on what came when, and is looked at by no fold. These hold whatever
the bounds are, and are looked at: no text has a piece twice, or before one that the server said
earlier (every piece of a script has a number of its own, and they grow); a store that was saved and
loaded again and again says to every event what the one says that never was, and ends in its state;
what a subscriber was told is what is there; the books add up. Knows the public API of stores.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from random import Random
from typing import Any

from streamstore import Limits, StreamStore
from streamstore.testing.books import Books
from streamstore.testing.comparing import difference

from . import faults, scripts
from .core import Mismatch, View
from .scripts import Shape

History = dict[str, Any]

_BOUNDS = ("late_window", "held_operations", "tombstones", "pending_results")
_NUMBER = re.compile(r"\d+")
_STREAMS = 2


def make(seed: int) -> History:
    """The history of a seed."""
    random = Random(f"bounds {seed}")
    chance = random.random
    mode = ("block", "session", "sparse")[int(chance() * 3)]
    script = scripts.make(random, Shape(mode, removals=0.6 if chance() < 0.6 else 0.2), random)
    arrivals = faults.order(random, script, mode, chance() < 0.3, True)
    if chance() < 0.7:
        arrivals = faults.repeated(random, arrivals)
    streams = 1 if chance() < 0.5 else _STREAMS
    actions: list[list[Any]] = []
    shows, saves = 0.4 * chance(), 0.4 if chance() < 0.3 else 0.05
    for n in arrivals:
        if script[n][0]["type"] == "read":
            continue
        actions.append(["e", n, int(chance() * streams)])
        if chance() < shows:
            actions.append(["f"])
        if chance() < saves:
            actions.append(["save"])
    return {
        "seed": seed,
        "tier": "bounds",
        "protocol": "native",
        "mode": mode,
        "bounds": {name: 1 + int(3 * chance() ** 2) for name in _BOUNDS},
        "script": script,
        "actions": actions,
    }


def carry_out(history: History, digest: Any = None) -> None:
    """Carry a history out.

    Raises:
        Mismatch: it does not end as it must; whatever the library raised.
    """
    script = history["script"]
    first, second = _Side(history), _Side(history)
    view = View(digest)
    subscription = first.store.subscribe(view.hear)
    view.begin(subscription.state)
    for action in history["actions"]:
        if action[0] == "save":
            second.load()
        elif action[0] == "f":
            first.store.flush()
            second.store.flush()
        else:
            event = script[action[1]][0]
            said = [side.take(event, action[2]) for side in (first, second)]
            if said[0] != said[1]:
                raise Mismatch(f"{event} is {said[1]} to who was loaded, else {said[0]}")
    first.store.flush()
    second.store.flush()
    states = [side.state() for side in (first, second)]
    if states[0] != states[1]:
        raise Mismatch(f"who was loaded ends otherwise: {difference(*states)}")
    problem = Books.of(first.store).problem
    if problem is not None:
        raise Mismatch(problem)
    _check_texts(first.store, view)


def _check_texts(store: StreamStore, view: View) -> None:
    """What is shown is what was told, each piece of it once and in its place."""
    now = View()
    with store.subscribe(lambda changes: None) as subscription:
        now.begin(subscription.state)
    if now.texts != view.texts:
        raise Mismatch(f"told was {view.texts}, there is {now.texts}")
    for place, text in now.texts.items():
        numbers = [int(number) for number in _NUMBER.findall(text)]
        if any(one >= other for one, other in pairwise(numbers)):
            raise Mismatch(f"{place} has a piece twice, or before an earlier one: {text!r}")


class _Side:
    """A store and its streams."""

    def __init__(self, history: History) -> None:
        self._mode = history["mode"]
        self._options: Any = {"ticks": "manual", "limits": Limits(**history["bounds"])}
        self.store = StreamStore(**self._options)
        self._open()

    def _open(self) -> None:
        self._streams = [self.store.open("native", sequencing=self._mode) for _ in range(_STREAMS)]

    def load(self) -> None:
        """What runs is gone, and goes on with what was saved."""
        saved = json.loads(json.dumps(self.store.save()))
        self.store = StreamStore.load(saved, **self._options)
        self._open()

    def take(self, event: Any, stream: int) -> tuple[str, str | None]:
        verdict = self._streams[stream].ingest(event)
        return verdict.kind, verdict.reason

    def state(self) -> Any:
        """All but what was counted, and how far each stream is."""
        state = self.store.state()
        return {name: state[name] for name in ("sessions", "gaps") if name in state}
