"""Which old sessions a store lets go of: a policy above it, driven by its change sets.

A store keeps every session until an event removes it; who follows a server for days needs a bound.
`Eviction` hears what changes, and says which sessions are to go: the least recently changed first,
never one that is protected or in use. Time comes in as an argument. Knows reads and change sets;
no stage, clock, thread or protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from .changes import ChangeSet
from .errors import CallerError
from .events import Event, SessionRemoved
from .model import Message, Part, Session


class EvictableStore(Protocol):
    """What `Eviction` asks of a store; `StreamStore` is one."""

    def session_ids(self) -> tuple[str, ...]: ...
    def session(self, session_id: str) -> Session | None: ...
    def messages(self, session_id: str) -> tuple[Message, ...]: ...
    def parts(self, session_id: str, message_id: str) -> tuple[Part, ...]: ...
    def apply(self, event: Event, /) -> Any: ...


@attrs.frozen(kw_only=True)
class Keep:
    """How much stays; a bound of None is none.

    Attributes:
        sessions: how many sessions, protected and busy ones included.
        characters: of text in all of them together, in code points.
        quiet_ms: a session that changed less than so many ms ago stays whatever the bounds say.
        stuck_ms: one that is busy, or waits for an answer or a confirmation, stays until nothing
            changed in it for so many ms: of a connection that was cut no event says the end. None:
            for ever.

    >>> Keep(sessions=0)
    Traceback (most recent call last):
    ...
    streamstore.errors.CallerError: Keep.sessions must be a positive integer or None
    """

    sessions: int | None = 256
    characters: int | None = 64 * 1024 * 1024
    quiet_ms: float = 60_000
    stuck_ms: float | None = 24 * 3_600_000

    def __attrs_post_init__(self) -> None:
        for name in ("sessions", "characters"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise CallerError(f"Keep.{name} must be a positive integer or None")
        if not self.quiet_ms >= 0:
            raise CallerError("Keep.quiet_ms is a number of ms from 0")
        if self.stuck_ms is not None and not self.stuck_ms >= 0:
            raise CallerError("Keep.stuck_ms is a number of ms from 0 or None")


@attrs.define
class _Kept:
    """What is known of one session: when it changed last, and how much text it holds."""

    changed_ms: float
    characters: int = 0  # no fewer than there are


def _nobody(_: str) -> bool:
    return False


class Eviction:
    """Lets go of old sessions of a store, within `Keep`.

    - hear: `hear(changes, now_ms)`, as a subscriber of everything
    - ask: `due(now_ms)`; do: `evict(now_ms)`; see: `kept`, `characters`

    Never evicted: a session for which `protected(session_id)` is true (the one on the screen), and
    one that changed within `Keep.quiet_ms`; within `Keep.stuck_ms` neither one that is busy or
    retrying, nor one in which a permission or question waits for its answer or a local message for
    its confirmation. Where these alone pass the bounds, more stays than the bounds say.

    An evicted session is removed as by its own event (`session.removed` without a position): it
    leaves a tombstone, at most `Limits.removed_sessions` of them. What comes for it later, be it a
    late duplicate or new text, is refused (`removed`) and counted, and does not bring it back; a
    snapshot whose read began after the eviction does, and in streams other than `block` so does a
    whole update of the session (opencode sends one with each prompt): empty, and `health.resync`
    asks for it to be fetched. In a `block` stream only a new generation does. When its tombstone is
    forgotten, too, an event for it makes a new session.

    Raises `CallerError` for a `keep` or `protected` that is none.

    Costs: `hear` the entries of a change set; `due` what it returns, and the protected ones that
    are older; where an old session is to go for its characters or none was counted yet, also a
    count of the text of each session in which something was rewritten or removed since.

    >>> from streamstore import StreamStore
    >>> store = StreamStore("native")
    >>> eviction = Eviction(store, Keep(sessions=1, quiet_ms=1_000), protected={"b"}.__contains__)
    >>> now_ms = 0
    >>> hearing = store.subscribe(lambda changes: eviction.hear(changes, now_ms))
    >>> for name in "abc":
    ...     now_ms += 10_000
    ...     _ = store.ingest_many([{"type": "block.delta", "sessionId": name, "messageId": "m",
    ...                             "blockIndex": 0, "text": "hi"}])
    >>> eviction.evict(now_ms), store.flush().version, store.session_ids()
    (('a',), 4, ('b', 'c'))
    """

    def __init__(
        self,
        store: EvictableStore,
        keep: Keep | None = None,
        *,
        protected: Callable[[str], bool] = _nobody,
        now_ms: float = 0,
    ) -> None:
        if keep is not None and not isinstance(keep, Keep):
            raise CallerError(f"keep must be a Keep, not {type(keep).__name__!r:.80}")
        if not callable(protected):
            raise CallerError(
                "protected is a function of a session's id, such as {...}.__contains__, not "
                f"{type(protected).__name__!r:.80}"
            )
        self.keep = keep or Keep()
        self._store = store
        self._protected = protected
        # By time of the last change, oldest first: a session that changes goes to the end.
        self._kept: dict[str, _Kept] = {}
        self._total = 0  # of what is noted in them
        # Where something was rewritten or removed, or nothing counted yet: to be counted again.
        self._stale: dict[str, None] = {}
        self._counted = False
        # Evicted since the last change set: one that came back before the tick, and looks as it
        # did, is in no change set.
        self._going: dict[str, None] = {}
        self._begin(now_ms)

    @property
    def kept(self) -> Mapping[str, float]:
        """Sessions, least recently changed first, with the time of their last change in ms."""
        return {name: entry.changed_ms for name, entry in self._kept.items()}

    @property
    def characters(self) -> int:
        """Characters of text in all sessions that are kept."""
        for name in self._stale:
            entry = self._kept[name]
            self._total -= entry.characters
            entry.characters = sum(
                len(part.view) + sum(map(len, part.others.values()))
                for message in self._store.messages(name)
                for part in self._store.parts(name, message.id)
            )
            self._total += entry.characters
        self._stale.clear()
        self._counted = True
        return self._total

    def hear(self, changes: ChangeSet, now_ms: float) -> None:
        """Note what a change set of the whole store says, and when."""
        if changes.reset:
            self._begin(now_ms)
            return
        for key in changes.removed:
            if len(key) == 1:
                self._forget(key[0])
            else:
                self._touch(key[0], now_ms)
                self._stale[key[0]] = None
        for key, _ in (*changes.added, *changes.moved):
            self._touch(key[0], now_ms)
        for key in changes.changed:
            self._touch(key[0], now_ms)
        for (key, _), edit in changes.text.items():
            entry = self._touch(key[0], now_ms)
            entry.characters += len(edit.text)
            self._total += len(edit.text)
            if edit.rewritten:
                self._stale[key[0]] = None
        going, self._going = self._going, {}
        for name in going:
            if name not in self._kept and self._store.session(name) is not None:
                self._touch(name, now_ms)
                self._stale[name] = None

    def due(self, now_ms: float) -> tuple[str, ...]:
        """The sessions that are to go, least recently changed first; changes nothing."""
        keep = self.keep
        over = 0 if keep.sessions is None else len(self._kept) - keep.sessions
        if over <= 0 and not self._may_be_over():
            return ()
        found: list[str] = []
        text: int | None = None  # over the bound; counted once it decides
        for name, entry in self._kept.items():
            if now_ms - entry.changed_ms < keep.quiet_ms:
                break  # those behind it changed later still
            if over <= 0:
                if text is None:
                    text = self._over(found)
                if text <= 0:
                    break
            if not self._stays(name, now_ms - entry.changed_ms):
                found.append(name)
                over -= 1
                if text is not None:
                    text -= entry.characters
        return tuple(found)

    def _may_be_over(self) -> bool:
        """Whether there may be too many characters, as far as is known without counting."""
        most = self.keep.characters
        return most is not None and (not self._counted or self._total > most)

    def _over(self, found: list[str]) -> int:
        """How many characters too many there are without those that go; 0 for none."""
        if self.keep.characters is None or not self._may_be_over():
            return 0
        characters = self.characters - sum(self._kept[name].characters for name in found)
        return max(0, characters - self.keep.characters)

    def evict(self, now_ms: float) -> tuple[str, ...]:
        """Remove the sessions that are due, and say which; shown at the store's next tick."""
        found = self.due(now_ms)
        for name in found:
            self._forget(name)  # before: where each event is a tick, that is heard at once
            self._going[name] = None
            self._store.apply(SessionRemoved(session_id=name))
        return found

    def _stays(self, name: str, quiet_ms: float) -> bool:
        session = self._store.session(name)
        if session is None or self._protected(name):
            return True  # one that is gone is removed by its own change set
        if self.keep.stuck_ms is not None and quiet_ms >= self.keep.stuck_ms:
            return False
        status = session.status
        return (
            (status is not None and status.type in ("busy", "retry"))
            or bool(session.permissions or session.questions)
            or any(message.local for message in self._store.messages(name))
        )

    def _touch(self, name: str, now_ms: float) -> _Kept:
        entry = self._kept.pop(name, None) or _Kept(now_ms)
        entry.changed_ms = now_ms
        self._kept[name] = entry
        return entry

    def _forget(self, name: str) -> None:
        entry = self._kept.pop(name, None)
        self._stale.pop(name, None)
        if entry is not None:
            self._total -= entry.characters

    def _begin(self, now_ms: float) -> None:
        """Read anew which sessions there are; those that were known keep their time."""
        before, self._kept = self._kept, {}
        names = self._store.session_ids()
        there = set(names)
        for name in [name for name in before if name in there]:
            self._kept[name] = _Kept(before[name].changed_ms)
        for name in names:
            if name not in self._kept:
                self._kept[name] = _Kept(now_ms)
        self._total, self._counted = 0, False
        self._stale = dict.fromkeys(self._kept)
        self._going = {}
