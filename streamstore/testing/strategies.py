"""Hypothesis strategies for logs, disturbed logs and chunks of bytes.

hypothesis is a package of your tests, not of this library: it is imported when a strategy is made.
Every strategy draws through a generator of random numbers that hypothesis controls, so that what
fails shrinks, and comes again from a seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from ..limits import Limits
from ..model import SEQUENCINGS, Sequencing
from .disturbing import DISTURBANCES, Disturbance, disturb
from .recorded import Log
from .samples import make

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_Value = TypeVar("_Value")


def _drawn(draw: Callable[[Random], _Value]) -> SearchStrategy[_Value]:
    try:
        from hypothesis import strategies
    except ImportError as error:
        raise ImportError(
            "streamstore.testing.strategies needs hypothesis: pip install hypothesis"
        ) from error
    return strategies.randoms(use_true_random=False).map(draw)


def logs(
    sequencing: Sequencing | None = None, *, sessions: int = 2, messages: int = 2
) -> SearchStrategy[Log]:
    """Consistent logs of native events, as `sample`; of any sequencing unless one is named."""

    def draw(random: Random) -> Log:
        mode = random.choice(SEQUENCINGS) if sequencing is None else sequencing
        return make(
            random,
            mode,
            sessions=random.randint(1, max(1, sessions)),
            messages=random.randint(1, max(1, messages)),
        )

    return _drawn(draw)


def events(sequencing: Sequencing | None = None) -> SearchStrategy[dict[str, Any]]:
    """Single events of such logs, as wire objects."""
    return logs(sequencing, sessions=1, messages=1).flatmap(
        lambda log: _drawn(lambda random: random.choice(log.wires))
    )


def disturbed(
    log: Log, kinds: Iterable[Disturbance] = DISTURBANCES, *, limits: Limits | None = None
) -> SearchStrategy[Log]:
    """A log disturbed in ways that must not matter, as `disturb`."""
    chosen = tuple(kinds)
    return _drawn(lambda random: disturb(log, random.getrandbits(32), chosen, limits=limits))


def chunks(data: bytes, *, most: int = 12) -> SearchStrategy[list[bytes]]:
    """Bytes cut anywhere into at most so many pieces, also inside a character."""

    def draw(random: Random) -> list[bytes]:
        cuts = sorted(random.randint(0, len(data)) for _ in range(random.randint(0, most - 1)))
        edges = [0, *cuts, len(data)]
        return [data[start:stop] for start, stop in itertools.pairwise(edges)]

    return _drawn(draw)
