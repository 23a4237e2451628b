"""The last change sets, for who asks what came after a version without subscribing.

Knows change sets alone.
"""

from __future__ import annotations

from collections import deque

from .changes import ChangeSet


class History:
    """The last change sets, bounded by their number and by the characters of their texts.

    Args:
        changes: how many are kept.
        characters: of text in all of them; over it the oldest go, the last one too.
    """

    __slots__ = ("_held", "_held_characters", "_most", "_most_characters")

    def __init__(self, changes: int, characters: int) -> None:
        self._most = changes
        self._most_characters = characters
        self._held: deque[tuple[ChangeSet, int]] = deque()
        self._held_characters = 0

    def add(self, changes: ChangeSet) -> None:
        """Keep the latest change set, and forget the oldest ones over a bound."""
        characters = 0
        for edit in changes.text.values():  # one mostly: a third of what `sum` takes
            characters += len(edit.text)
        held = self._held
        held.append((changes, characters))
        total = self._held_characters + characters
        while len(held) > self._most or total > self._most_characters:
            total -= held.popleft()[1]
        self._held_characters = total

    def since(self, version: int) -> list[ChangeSet]:
        """What is kept of everything after a version, oldest first; linear in what is kept."""
        return [changes for changes, _ in self._held if changes.version > version]
