"""The books of L6: where each character of text is that a store took in.

Reads a store's counts, its parts, and what it would save. Knows no event and no stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ..pipeline import StreamStore

#: Events whose member `text` is text.
_TEXTS = frozenset(("block.delta", "block.replaced", "block.snapshot"))
#: Entries of the characters' counts that are no refusals.
_OWN = frozenset(("received", "accepted", "superseded", "paired", "fields"))


@attrs.frozen
class Books:
    """Characters by what became of them; `problem` says whether they add up.

    Attributes:
        received: of every text that came.
        accepted: of those that were taken in, held ones too.
        refused: by verdict, of those that were not.
        shown: in the parts that readers get.
        waiting: taken in and not shown yet, or shown no more.
        held: of operations behind a hole, or before their generation.
        superseded: taken in, then replaced or removed.
        paired: halves of surrogate pairs that joined to one character.
        fields: of the received ones, those that came as a field into which deltas stream.
    """

    received: int
    accepted: int
    refused: Mapping[str, int]
    shown: int
    waiting: int
    held: int
    superseded: int
    paired: int
    fields: int = 0

    @classmethod
    def of(cls, store: StreamStore) -> Books:
        """The books of a store at this moment. Linear in what it holds."""
        saved = store.save()
        counts: Mapping[str, int] = store.health.counts["characters"]
        shown = 0
        for session_id in store.session_ids():
            for message in store.messages(session_id):
                for part in store.parts(session_id, message.id):
                    shown += len(part.view.raw())
                    shown += sum(len(view.raw()) for view in part.others.values())
        working = held = 0
        for kind, value in _tagged(saved["sessions"]):
            if kind == "~cell":
                working += value["length"]
            elif value[0].get("type") in _TEXTS:
                held += len(value[0].get("text") or "")
        return cls(
            received=counts.get("received", 0),
            accepted=counts.get("accepted", 0),
            refused={name: number for name, number in counts.items() if name not in _OWN},
            shown=shown,
            waiting=working - shown,
            held=held,
            superseded=counts.get("superseded", 0),
            paired=counts.get("paired", 0),
            fields=counts.get("fields", 0),
        )

    @property
    def problem(self) -> str | None:
        """Which sum is wrong, None when all are right."""
        refused = sum(self.refused.values())
        if self.received != self.accepted + refused:
            return (
                f"{self.received} characters were received, but {self.accepted} accepted and "
                f"{refused} refused"
            )
        parts = self.shown + self.waiting + self.held + self.superseded + self.paired
        if self.accepted != parts:
            return (
                f"{self.accepted} characters were accepted, but {self.shown} are shown, "
                f"{self.waiting} wait, {self.held} are held, {self.superseded} superseded and "
                f"{self.paired} paired: {parts}"
            )
        if self.waiting < 0:
            return f"{self.shown} characters are shown, {-self.waiting} more than were taken in"
        return None


def _tagged(value: Any) -> Iterator[tuple[str, Any]]:
    """Every text and event in a saved state, but of rows that left it and are only shown yet."""
    if isinstance(value, dict):
        for name in ("~cell", "~event"):
            if name in value:
                yield name, value[name]
                return
        for name, item in value.items():
            if name != "leaving":
                yield from _tagged(item)
    elif isinstance(value, list):
        for item in value:
            yield from _tagged(item)
