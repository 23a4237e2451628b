"""A plain mirror of a store: what a frontend keeps that hears change sets and nothing else.

It applies removed, then added and moved, then text, as `ChangeSet` says, reads again what is in
`added` and `changed`, and takes every text from its edits alone.
"""

from __future__ import annotations

from typing import Any

from streamstore import ChangeSet, StreamStore
from streamstore.subscribers import present_in


class Mirror:
    """What a scope holds, built from the state at the start and the change sets after it.

    With `exact` the change sets come one per tick, so that their versions count, each edit shows
    something new and a rewrite starts at the first difference.
    """

    def __init__(self, store: StreamStore, *scope: Any, exact: bool = True, **options: Any) -> None:
        self.store, self.scope, self.exact = store, scope, exact
        self.siblings: dict[Any, list[Any]] = {}
        self.values: dict[Any, Any] = {}
        self.texts: dict[Any, dict[str, str]] = {}
        self.heard: list[ChangeSet] = []
        self.subscription = store.subscribe(self.hear, *scope, **options)
        self.version = self.subscription.state.version
        self._begin(self.subscription.state)

    def _begin(self, present: Any) -> None:
        for session in present.sessions:
            if not self.scope[1:]:
                self._place((session.id,), None)
            for message in present.messages[session.id]:
                if not self.scope[2:]:
                    self._place(tuple(message.key), None)
                for part in present.parts[message.key]:
                    key = tuple(part.key)
                    self._place(key, None)
                    views = {"text": part.view, **part.others}
                    self.texts[key] = {name: str(view) for name, view in views.items()}

    def hear(self, changes: ChangeSet) -> None:
        """Apply one change set."""
        self.heard.append(changes)
        assert changes.version > self.version
        if self.exact and not self.scope:
            assert changes.version == self.version + 1
        self.version = changes.version
        if changes.reset:
            for table in (self.siblings, self.values, self.texts):
                table.clear()
            self._begin(present_in(self.store, self.scope))
            return
        for key in changes.removed:
            self._remove(tuple(key))
        for key, before in (*changes.added, *changes.moved):
            self._place(tuple(key), None if before is None else tuple(before))
        for key in changes.changed:
            self.values[tuple(key)] = self._read(tuple(key))
        for (key, field), edit in changes.text.items():
            texts = self.texts[tuple(key)]
            before = texts.get(field, "")
            texts[field] = after = edit.apply(before)
            assert 0 <= edit.start <= len(before)
            assert edit.rewritten == (edit.start < len(before))
            assert edit.rewritten or edit.text
            # Merged ones need not start so late, and halves of pairs may differ and read alike.
            if self.exact and "\ufffd" not in before:
                assert not (edit.rewritten and after.startswith(before[: edit.start + 1]))

    def _place(self, key: tuple[Any, ...], before: tuple[Any, ...] | None) -> None:
        siblings = self.siblings.setdefault(key[:-1], [])
        if key in siblings:
            siblings.remove(key)
        else:
            self.texts.setdefault(key, {})
        if before in siblings:
            siblings.insert(siblings.index(before), key)
        else:
            # Only a scope that holds nothing but this key may lack the neighbour.
            assert before is None or len(self.scope) == len(key)
            siblings.append(key)
        self.values[key] = self._read(key)

    def _remove(self, key: tuple[Any, ...]) -> None:
        if key in self.siblings.get(key[:-1], []):
            self.siblings[key[:-1]].remove(key)
        for table in (self.siblings, self.values, self.texts):
            for other in [other for other in table if other[: len(key)] == key]:
                del table[other]

    def _read(self, key: tuple[Any, ...]) -> Any:
        if len(key) == 1:
            return self.store.session(*key)
        if len(key) == 2:
            return self.store.message(*key)
        return shape(self.store.part(*key))

    def check(self) -> None:
        """The mirror holds what the store's reads return, in their order."""
        expected = Mirror.of(self.store, self.scope)
        assert {key: found for key, found in self.siblings.items() if found} == expected["siblings"]
        assert self.values == expected["values"]
        assert {
            key: {name: text for name, text in texts.items() if text}
            for key, texts in self.texts.items()
            if len(key) == 3
        } == expected["texts"]

    @staticmethod
    def of(store: StreamStore, scope: tuple[Any, ...]) -> dict[str, Any]:
        """The same three tables from the reads of a store."""
        siblings: dict[Any, list[Any]] = {}
        values, texts = {}, {}
        keys: list[tuple[Any, ...]] = []
        for session_id in store.session_ids():
            keys.append((session_id,))
            values[(session_id,)] = store.session(session_id)
            for message in store.messages(session_id):
                keys.append(tuple(message.key))
                values[tuple(message.key)] = message
                for part in store.parts(session_id, message.id):
                    keys.append(tuple(part.key))
                    values[tuple(part.key)] = shape(part)
                    views = {"text": part.view, **part.others}
                    texts[tuple(part.key)] = {
                        name: str(view) for name, view in views.items() if str(view)
                    }
        inside = [key for key in keys if key[: len(scope)] == scope]
        for key in inside:
            siblings.setdefault(key[:-1], []).append(key)
        return {
            "siblings": siblings,
            "values": {key: values[key] for key in inside},
            "texts": {key: texts[key] for key in inside if key in texts},
        }


def shape(part: Any) -> Any:
    """Everything of a part but its texts."""
    names = "kind status order gap previous fields settled_as"
    return None if part is None else tuple(getattr(part, name) for name in names.split())
