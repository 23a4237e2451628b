"""What both short ways of a stream give: how wire objects come in, and how many did.

Knows verdicts alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from .verdicts import ACCEPTED, Verdict

Ingest: TypeAlias = Callable[[Any], Verdict]
IngestMany: TypeAlias = Callable[[Iterable[Any]], list[tuple[int, Verdict]]]


class Door(NamedTuple):
    """Both ways in, for one stream, and how many wire objects took them to the end."""

    ingest: Ingest
    ingest_many: IngestMany
    taken: Callable[[], int]


def one_by_one(ingest: Ingest) -> IngestMany:
    """The loop of a stream that takes no runs."""

    def ingest_many(wires: Iterable[Any]) -> list[tuple[int, Verdict]]:
        """Take in wire objects; those not plainly accepted, with their place."""
        notable = []
        for place, wire in enumerate(wires):
            verdict = ingest(wire)
            if verdict is not ACCEPTED:
                notable.append((place, verdict))
        return notable

    return ingest_many
