"""What one tick changed, as an immutable value, and how several of them become one.

Knows keys and texts of edits; no row, no stage and no subscriber.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

import attrs

from .keys import Key, PartKey
from .model import brief
from .text import GrowingText


class Place(NamedTuple):
    """Where something was added or moved to: before the sibling `before`, or last (None).

    `before` of something added is the next sibling that is neither added nor moved by the same
    change set, `before` of something moved the next one that is not moved: applying `added`, then
    `moved`, each in order, gives the order of the store.
    """

    key: Key
    before: Key | None


class TextField(NamedTuple):
    """The text field of a part that an edit is for; `field` is `text` for most."""

    key: PartKey
    field: str


class Edit(NamedTuple):
    """One change of one text: keep the first `start` characters, then append `text`.

    `start` counts code points. `rewritten` says that something shown before was cut off. In `text`
    half of a surrogate pair that never met its other half is U+FFFD, as in the part's text. Its
    `repr` shows the start of a long text.

    >>> Edit(5, " world", False).apply("hello")
    'hello world'
    """

    start: int
    text: str
    rewritten: bool

    def apply(self, before: str) -> str:
        """The text after the edit, from the text before it."""
        return before[: self.start] + self.text

    def __repr__(self) -> str:
        return f"Edit(start={self.start}, text={brief(self.text)}, rewritten={self.rewritten})"


GapReason = Literal["hole", "cut", "suspect"]


class Gap(NamedTuple):
    """Something that is missing: in a part, or somewhere in a session (whose gap names no message).

    `missing` holds inclusive ranges of seq where the wire counts, and is empty where only the
    fact is known. `reason` is `hole`, `cut` (a part that a connection's end or start cut) or
    `suspect` (a late operation that could not be placed).
    """

    session_id: str
    message_id: str | None
    block_index: int | str | None
    reason: GapReason
    missing: tuple[tuple[int, int], ...] = ()


class _Opened(dict[Any, Any]):
    """A mapping that nobody can change, while it is on its way to another process or object."""


def again(self: Any) -> tuple[Any, ...]:
    """What `pickle` and `copy` make an attrs value from whose mappings nobody can change.

    A `MappingProxyType` itself can be neither pickled nor copied.
    """
    names = [member.name for member in attrs.fields(type(self))]
    return _made_again, (type(self), [_opened(getattr(self, name)) for name in names])


def _opened(value: Any) -> Any:
    if isinstance(value, MappingProxyType):
        return _Opened({key: _opened(item) for key, item in value.items()})
    return value


def _closed(value: Any) -> Any:
    if type(value) is _Opened:
        return MappingProxyType({key: _closed(item) for key, item in value.items()})
    return value


def _made_again(cls: type[Any], members: Iterable[Any]) -> Any:
    return cls(*map(_closed, members))


def _long(default: Any) -> Any:
    """A member that may hold much: its `repr` is cut."""
    return attrs.field(default=default, repr=brief)


@attrs.frozen
class ChangeSet:
    """Everything that one tick, or several merged ones, changed.

    Apply in this order: `removed`, then `added` and `moved`, then `text`; read what is in
    `changed` again. `reset` means: forget what you have and read everything of your scope.

    False where it changes nothing. It can be copied and pickled; its `repr` is cut where it is
    long.

    Attributes:
        version: the store's version after it; each commit that shows something adds one.
        added: sessions, then messages, then parts, each with the place it goes to.
        changed: keys whose value changed in anything but text, and what is read from it: a tool's
            `input` that streams is an edit of that field.
        removed: keys that are gone; what lay below them is gone too.
        moved: keys that stand elsewhere now.
        text: edits by (part key, field).
        gaps: what is missing in the store after it.
        resume: the positions to resume from after it, moving with the commit: `sessions` holds
            those of the sessions it touched, `eventId` the transport's.
    """

    version: int
    added: tuple[Place, ...] = _long(())
    changed: tuple[Key, ...] = _long(())
    removed: tuple[Key, ...] = _long(())
    moved: tuple[Place, ...] = _long(())
    text: Mapping[TextField, Edit] = _long(MappingProxyType({}))
    reset: bool = False
    gaps: tuple[Gap, ...] = _long(())
    resume: Mapping[str, Any] = _long(MappingProxyType({}))

    __reduce__ = again

    def __bool__(self) -> bool:
        """Whether it changes anything for a reader."""
        return bool(
            self.reset or self.added or self.changed or self.removed or self.moved or self.text
        )


Locate: TypeAlias = Callable[[Iterable[Key], Iterable[Key]], tuple[Place, ...]]


class MergedChanges:
    """Change sets that wait for somebody, merged as they come.

    Adding one costs what it holds, and one look at all that waits where it removes something.
    `size` counts entries, so that the owner can bound it and reset.
    """

    __slots__ = ("_added", "_changed", "_moved", "_removed", "_sessions", "_text", "last", "reset")

    def __init__(self) -> None:
        self._added: dict[Key, None] = {}
        self._changed: dict[Key, None] = {}
        self._removed: dict[Key, None] = {}
        self._moved: dict[Key, None] = {}
        self._text: dict[TextField, _MergedEdit] = {}
        self._sessions: dict[str, int] = {}
        self.reset = False
        self.last: ChangeSet | None = None

    @property
    def size(self) -> int:
        """How many entries wait."""
        return (
            len(self._added)
            + len(self._changed)
            + len(self._removed)
            + len(self._moved)
            + len(self._text)
        )

    def add(self, changes: ChangeSet) -> None:
        """Merge a later change set into what waits."""
        self.last = changes
        self._sessions.update(changes.resume.get("sessions", {}))
        for key in changes.removed:
            if len(key) == 1:  # a session that is gone is resumed nowhere
                self._sessions.pop(key[0], None)
        if changes.reset:
            self.become_reset()
        if self.reset:
            return
        if changes.removed:
            self._remove(changes.removed)
        for key, _ in changes.added:
            self._added[key] = None
        for key, _ in changes.moved:
            if key not in self._added:
                self._moved[key] = None
        for key in changes.changed:
            if key not in self._added:
                self._changed[key] = None
        for field, edit in changes.text.items():
            waiting = self._text.get(field)
            if waiting is None:
                self._text[field] = _MergedEdit(edit)
            else:
                waiting.add(edit)

    def become_reset(self) -> None:
        """Forget the details: one `reset` stands for everything."""
        self.reset = True
        for table in (self._added, self._changed, self._removed, self._moved, self._text):
            table.clear()

    def take(self, locate: Locate) -> ChangeSet:
        """The merged change set; nothing waits afterwards.

        `locate(keys, over)` gives the places of keys in the order of now, with no neighbour in
        `over`: the neighbour that a place was announced with may be gone since.
        """
        last = self.last
        assert last is not None, "take() needs an add() before it"
        merged = ChangeSet(
            version=last.version,
            added=locate(self._added, self._moved),
            changed=tuple(self._changed),
            removed=tuple(self._removed),
            moved=locate(self._moved, ()),
            text=MappingProxyType(
                {field: edit.take() for field, edit in self._text.items() if edit.shows}
            ),
            reset=self.reset,
            gaps=last.gaps,
            resume=self._resume_now(),
        )
        self.__init__()  # type: ignore[misc]
        return merged

    def _resume_now(self) -> Mapping[str, Any]:
        assert self.last is not None
        if not self._sessions:
            return self.last.resume
        return MappingProxyType(
            {**self.last.resume, "sessions": MappingProxyType(dict(self._sessions))}
        )

    def _remove(self, keys: Iterable[Key]) -> None:
        gone: dict[tuple[Any, ...], None] = dict.fromkeys(keys)
        # What was added while it waited is not known to anybody.
        known = [key for key in keys if key not in self._added]

        def below(key: Key) -> bool:
            return any(key[:depth] in gone for depth in range(1, len(key) + 1))

        for table in (self._added, self._changed, self._moved):
            for key in [key for key in table if below(key)]:
                del table[key]
        for field in [field for field in self._text if below(field.key)]:
            del self._text[field]
        self._removed.update(dict.fromkeys(known))


class _MergedEdit:
    """Edits of one text; merging does not copy what waits, which is no more than the text has."""

    __slots__ = ("rewritten", "start", "text")

    def __init__(self, edit: Edit) -> None:
        self.start = edit.start
        self.rewritten = edit.rewritten
        self.text = GrowingText(edit.text)

    def add(self, edit: Edit) -> None:
        if edit.start < self.start:
            self.start, self.text, self.rewritten = edit.start, GrowingText(edit.text), True
            return
        keep = edit.start - self.start
        if keep != self.text.length:
            self.text = self.text.cut(keep)
        self.text.append(edit.text)

    @property
    def shows(self) -> bool:
        """Whether a reader sees a difference: not when what was appended went again."""
        return self.rewritten or self.text.length > 0

    def take(self) -> Edit:
        return Edit(self.start, self.text.raw(), self.rewritten)
