"""What became of one event at ingress, and how such verdicts are counted.

A verdict is a value, never an exception: a stream's mistakes are counted, not raised. Knows no
row, stage or protocol.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final, Literal, NamedTuple

VerdictKind = Literal["accepted", "duplicate", "late", "held", "refused", "malformed", "unknown"]


class Verdict(NamedTuple):
    """What became of an event.

    Attributes:
        kind: accepted, duplicate, late (taken in, to its place), held (waits), refused, malformed
            or unknown.
        reason: why it was refused (`conflict`, `unplaceable`, `stale_generation`, `removed`,
            `sealed`, `evicted`, `foreign`, `over_limit`, `stopped`, `rank`, `missing_extra`), which
            member is malformed, or which type is unknown; "" otherwise.
        detail: a sentence for a person, for what the other side got wrong, or the program.
    """

    kind: VerdictKind
    reason: str = ""
    detail: str = ""

    @property
    def taken(self) -> bool:
        """Whether the event counts as received: it need not be sent again."""
        return self.kind in ("accepted", "late", "held", "duplicate")


ACCEPTED = Verdict("accepted")
DUPLICATE = Verdict("duplicate")
LATE = Verdict("late")
HELD = Verdict("held")
CONFLICT = Verdict("refused", "conflict")
UNPLACEABLE = Verdict("refused", "unplaceable")
STALE_GENERATION = Verdict("refused", "stale_generation")
REMOVED = Verdict("refused", "removed")
SEALED = Verdict("refused", "sealed")
EVICTED = Verdict("refused", "evicted")
FOREIGN = Verdict("refused", "foreign")
OVER_LIMIT = Verdict("refused", "over_limit")
STOPPED = Verdict("refused", "stopped")
RANK = Verdict("refused", "rank")
#: The reason of an event that needs a package which is not installed; the detail says which.
MISSING_EXTRA: Final = "missing_extra"


# Types and members of a hostile stream are names of counts: there must be an end to them.
_DISTINCT = 256
_PLAIN = (ACCEPTED.kind, ACCEPTED.reason)


def text_length(event: Any) -> int:
    """Characters of the text that an event carries, 0 for none."""
    return len(getattr(event, "text", None) or "")


class Counts:
    """Verdicts by kind and reason, characters of text by what became of them, and work done.

    `characters` holds, for text of deltas and replaces: `received`; `accepted` (taken in, held
    ones included); `superseded` (taken in, then replaced or removed); `paired` (halves of
    surrogate pairs that joined to one character); `fields` (of those received, what came as a
    field into which deltas stream, not as a text); and one entry per verdict that refused some.
    """

    __slots__ = ("_deltas", "_text", "characters", "held", "verdicts", "work")

    def __init__(self) -> None:
        # To add to an item of a `Counter` costs about thrice as much: it assigns in Python.
        self.verdicts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.characters: defaultdict[str, int] = defaultdict(int)
        self.held: defaultdict[str, int] = defaultdict(int)
        self.work: defaultdict[str, int] = defaultdict(int)
        self._deltas = self._text = 0  # of the hot path, not in the tables yet

    def add(self, verdict: Verdict, number: int = 1) -> None:
        """Count events with one verdict; beyond 256 kinds and reasons, new ones as `other`."""
        key = (verdict.kind, verdict.reason)
        if key not in self.verdicts and len(self.verdicts) >= _DISTINCT:
            key = (verdict.kind, "other")
        self.verdicts[key] += number

    def deltas(self, number: int, characters: int) -> None:
        """Count accepted deltas and the characters of their texts."""
        self._deltas += number
        self._text += characters

    def _sum_up(self) -> None:
        if self._deltas:
            self.verdicts[_PLAIN] += self._deltas
            self.characters["received"] += self._text
            self.characters["accepted"] += self._text
            self._deltas = self._text = 0

    def text(self, event: Any, verdict: Verdict) -> None:
        """Count the characters of an event's text, if it has one, under what became of it."""
        length = text_length(event)
        if length:
            taken = verdict.kind in ("accepted", "late", "held")
            malformed = verdict.kind == "malformed"  # its reason is a member's name
            name = verdict.kind if malformed else verdict.reason or verdict.kind
            self.characters["received"] += length
            self.characters["accepted" if taken else name] += length

    def dump(self) -> dict[str, Any]:
        """Every count as plain JSON, for a saved state."""
        self._sum_up()
        return {
            "verdicts": [[kind, reason, n] for (kind, reason), n in self.verdicts.items() if n],
            "characters": {name: n for name, n in self.characters.items() if n},
            "held": {name: n for name, n in self.held.items() if n},
            "work": {name: n for name, n in self.work.items() if n},
        }

    def restore(self, dumped: dict[str, Any]) -> None:
        """Go on counting from what `dump` wrote."""
        for kind, reason, number in dumped["verdicts"]:
            self.verdicts[kind, reason] = number
        for name in ("characters", "held", "work"):
            getattr(self, name).update(dumped[name])

    def as_json(self) -> dict[str, Any]:
        """Plain JSON: `{"verdicts": {kind or kind:reason: n}, "characters", "held", "work"}`."""
        self._sum_up()
        verdicts = {
            f"{kind}:{reason}" if reason else kind: number
            for (kind, reason), number in sorted(self.verdicts.items())
            if number
        }
        return {
            "verdicts": verdicts,
            "characters": {name: n for name, n in sorted(self.characters.items()) if n},
            "held": {name: n for name, n in sorted(self.held.items()) if n},
            "work": {name: n for name, n in sorted(self.work.items()) if n},
        }
