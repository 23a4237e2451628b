"""What a subscriber saw: every change set, and what it makes of them without reading texts.

A `Recorder` keeps what a frontend keeps: keys in their order, and texts built from edits alone. It
holds the store to its word at every tick (law L3). Knows change sets and reads; no event and no
log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..changes import ChangeSet, Edit, TextField
from ..keys import BlockIndex, Key, PartKey, SessionKey
from ..model import Part
from ..pipeline import StreamStore
from ..subscribers import Present, present_in


class Recorder:
    """Subscribes to a store and writes down what it hears; use it in `with`, or `close` it.

    - what it heard: `changes`, `seen`
    - what it made of it: `keys`, `text`
    - whether that is true: `check`, `problems`

    A scope is given as to `StreamStore.subscribe`. Costs what a change set holds; `check` costs
    what is in scope.

    >>> store = StreamStore("native", ticks="manual")
    >>> delta = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "Hel", "seq": 1}
    >>> with Recorder(store) as recorder:
    ...     _ = store.ingest(delta), store.flush()
    ...     _ = store.ingest({**delta, "text": "lo", "seq": 2}), store.flush()
    ...     recorder.check()
    >>> recorder.seen("main", "m", 0), len(recorder.changes)
    (['Hel', 'Hello'], 2)
    """

    def __init__(
        self,
        store: StreamStore,
        session_id: str | None = None,
        message_id: str | None = None,
        block_index: BlockIndex | None = None,
        *,
        throttle: float = 0,
    ) -> None:
        self._store = store
        self.changes: list[ChangeSet] = []
        """Every change set heard, in order."""
        self.problems: list[str] = []
        """What did not hold, in order: each a sentence. A store that keeps the laws has none."""
        self._below: dict[tuple[Any, ...], list[Key]] = {}
        self._texts: dict[TextField, str] = {}
        self._edits: dict[TextField, list[Edit | str]] = {}
        subscription = store.subscribe(
            self._hear, session_id, message_id, block_index, throttle=throttle
        )
        self._subscription = subscription
        self._scope = subscription.scope
        self._begin(subscription.state)

    def close(self) -> None:
        """Hear nothing any more; what was recorded stays."""
        self._subscription.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what was seen -----------------------------------------------------------------------

    def keys(self, *above: Any) -> tuple[Key, ...]:
        """Keys of what lies directly below: sessions, a session's messages, a message's parts."""
        return tuple(self._below.get(above, ()))

    def text(
        self, session_id: str, message_id: str, block_index: BlockIndex, field: str = "text"
    ) -> str:
        """A text as its edits make it, "" where none came."""
        return self._texts.get(TextField(PartKey(session_id, message_id, block_index), field), "")

    def seen(
        self, session_id: str, message_id: str, block_index: BlockIndex, field: str = "text"
    ) -> list[str]:
        """Every text that was shown, in order. Linear in what they hold together."""
        found: list[str] = []
        text = ""
        key = TextField(PartKey(session_id, message_id, block_index), field)
        for step in self._edits.get(key, ()):
            text = step if isinstance(step, str) else step.apply(text)
            found.append(text)
        return found

    def check(self) -> None:
        """Everything heard was honest, and makes exactly what the store's reads return.

        Raises:
            AssertionError: it does not; the message says what differs.
        """
        self._compare()
        if self.problems:
            raise AssertionError(self.problems[0])

    # -- hearing -----------------------------------------------------------------------------

    def _begin(self, present: Present) -> None:
        self._below.clear()
        self._texts.clear()
        depth = len(self._scope)
        for session in present.sessions:
            if depth < 2:
                self._place(SessionKey(session.id), None)
            for message in present.messages[session.id]:
                if depth < 3:
                    self._place(message.key, None)
                for part in present.parts[message.key]:
                    self._place(part.key, None)
                    for field, text in _texts_of(part):
                        self._texts[TextField(part.key, field)] = text
                        self._edits.setdefault(TextField(part.key, field), []).append(text)

    def _hear(self, changes: ChangeSet) -> None:
        self.changes.append(changes)
        if changes.reset:
            self._begin(present_in(self._store, self._scope))
            return
        for key in changes.removed:
            self._remove(key)
        for place in (*changes.added, *changes.moved):
            self._place(place.key, place.before)
        for field, edit in changes.text.items():
            self._edit(field, edit, changes.version)

    def _edit(self, field: TextField, edit: Edit, version: int) -> None:
        before = self._texts.get(field, "")
        after = self._texts[field] = edit.apply(before)
        self._edits.setdefault(field, []).append(edit)
        where = f"at version {version} {_name(field)}"
        if edit.start > len(before):
            self._say(f"{where}: an edit starts at {edit.start}, behind the {len(before)} shown")
        elif edit.rewritten != (edit.start < len(before)):
            said = "announces a rewrite" if edit.rewritten else "is not announced as a rewrite"
            self._say(f"{where}: an edit at {edit.start} of {len(before)} {said}")
        part = self._store.part(*field.key)
        shown = None if part is None else part.field_text(field.field)
        if shown != after:
            self._say(f"{where}: edits make {_short(after)}, but {_short(shown)} is read")

    def _place(self, key: Key, before: Key | None) -> None:
        siblings = self._below.setdefault(tuple(key[:-1]), [])
        if key in siblings:
            siblings.remove(key)
        if before is not None and before in siblings:
            siblings.insert(siblings.index(before), key)
            return
        if before is not None and len(self._scope) < len(key):
            self._say(f"{_name(key)} is placed before {_name(before)}, which is not there")
        siblings.append(key)

    def _remove(self, key: Key) -> None:
        siblings = self._below.get(tuple(key[:-1]), [])
        if key in siblings:
            siblings.remove(key)
        depth = len(key)
        for above in [above for above in self._below if above[:depth] == key]:
            del self._below[above]
        for field in [field for field in self._texts if field.key[:depth] == key]:
            del self._texts[field]
            self._edits[field].append("")

    def _compare(self) -> None:
        present = present_in(self._store, self._scope)
        depth = len(self._scope)
        if depth < 2:
            sessions = [SessionKey(session.id) for session in present.sessions]
            self._same("sessions", self._below.get((), []), sessions)
        for session in present.sessions:
            messages = present.messages[session.id]
            if depth < 3:
                expected = [message.key for message in messages]
                self._same(f"messages of {session.id}", self.keys(session.id), expected)
            for message in messages:
                parts = present.parts[message.key]
                expected_parts = [part.key for part in parts]
                self._same(f"parts of {message.id}", self.keys(*message.key), expected_parts)
                for part in parts:
                    for field, text in _texts_of(part):
                        name = TextField(part.key, field)
                        mine = self._texts.get(name, "")
                        if mine != text:
                            self._say(
                                f"{_name(name)}: edits make {_short(mine)}, "
                                f"but {_short(text)} is read"
                            )

    def _same(self, what: str, mine: Sequence[Key], theirs: Sequence[Key]) -> None:
        if list(mine) != list(theirs):
            self._say(f"{what}: change sets make {_names(mine)}, but {_names(theirs)} is read")

    def _say(self, problem: str) -> None:
        self.problems.append(problem)


def _texts_of(part: Part) -> list[tuple[str, str]]:
    return [("text", part.text), *((field, str(view)) for field, view in part.others.items())]


def _name(key: Key | TextField | None) -> str:
    if isinstance(key, TextField):
        return f"{_name(key.key)} field {key.field}" if key.field != "text" else _name(key.key)
    return "/".join(str(part) for part in key or ())


def _names(keys: Iterable[Key]) -> str:
    return "[" + ", ".join(str(key[-1]) for key in keys) + "]"


def _short(text: str | None) -> str:
    if text is None:
        return "nothing"
    return repr(text) if len(text) <= 60 else f"{text[:28]!r}…{text[-28:]!r}"
