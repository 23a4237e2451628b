"""A table that remembers so many entries, and forgets the oldest.

What adapters keep of ids whose number nothing else bounds, in plain JSON as all of their memory.
Knows no protocol, event or store.
"""

from __future__ import annotations

from typing import Any


def remember(table: dict[str, Any], key: str, value: Any, bound: int) -> None:
    """Put an entry at the end of a table of at most `bound`; the first ones go."""
    table.pop(key, None)
    table[key] = value
    forget_oldest(table, bound)


def forget_oldest(table: dict[str, Any], bound: int) -> None:
    """Have a table hold at most `bound` entries; the first ones go."""
    while len(table) > bound:
        del table[next(iter(table))]
