"""Who hears of a change set, when, and how much may wait for each.

Every subscriber has a scope and one pending merged change set; it is delivered when its throttle
says so, and becomes one reset past its bound. Knows change sets, keys and values; no row, event or
clock: timers come from whoever schedules.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, Protocol, TypeAlias

import attrs

from .changes import ChangeSet, Edit, Locate, MergedChanges, Place, TextField, again
from .keys import BlockIndex, Key, MessageKey
from .model import Message, Part, Session, brief

Scope: TypeAlias = tuple[Any, ...]
Callback: TypeAlias = Callable[[ChangeSet], object]
CallLater: TypeAlias = Callable[[float, Callable[[], None]], Callable[[], None] | None]


@attrs.frozen(eq=False)
class Present:
    """What a scope holds at the moment of subscribing; the change sets after it build on it.

    `sessions` in order; `messages` by session id; `parts` by message key; all as the store's
    reads give them.
    """

    version: int
    sessions: tuple[Session, ...] = attrs.field(default=(), repr=brief)
    messages: Mapping[str, tuple[Message, ...]] = attrs.field(
        default=MappingProxyType({}), repr=brief
    )
    parts: Mapping[MessageKey, tuple[Part, ...]] = attrs.field(
        default=MappingProxyType({}), repr=brief
    )

    __reduce__ = again


class Reads(Protocol):
    """The reads that a scope's present state is made of; a store has them, a closed one too."""

    @property
    def version(self) -> int: ...
    def session_ids(self) -> tuple[str, ...]: ...
    def session(self, session_id: str, /) -> Session | None: ...
    def messages(self, session_id: str, /) -> tuple[Message, ...]: ...
    def message(self, session_id: str, message_id: str, /) -> Message | None: ...
    def parts(self, session_id: str, message_id: str, /) -> tuple[Part, ...]: ...
    def part(self, session_id: str, message_id: str, block_index: BlockIndex, /) -> Part | None: ...


def present_in(reads: Reads, scope: Scope) -> Present:
    """What a scope holds now. Linear in that."""
    ids = reads.session_ids() if not scope else scope[:1]
    sessions = tuple(
        session for session in (reads.session(name) for name in ids) if session is not None
    )
    messages: dict[str, tuple[Message, ...]] = {}
    parts: dict[MessageKey, tuple[Part, ...]] = {}
    for session in sessions:
        found = reads.messages(session.id) if len(scope) < 2 else ()
        if len(scope) > 1:  # it alone: where each has a view, all subscribe
            one = reads.message(session.id, scope[1])
            found = () if one is None else (one,)
        messages[session.id] = found
        for message in found:
            below = reads.parts(session.id, message.id) if len(scope) < 3 else ()
            if len(scope) > 2:
                part = reads.part(session.id, message.id, scope[2])
                below = () if part is None else (part,)
            parts[message.key] = below
    return Present(
        version=reads.version,
        sessions=sessions,
        messages=MappingProxyType(messages),
        parts=MappingProxyType(parts),
    )


class Subscription:
    """One subscriber; `close()` it, or use it in a `with` statement.

    Attributes:
        state: what its scope held when it subscribed. Kept as long as the subscription is, with
            what its parts' texts became and though it was evicted since: one that lives for long
            is better begun early, or again.
        closed: whether it is closed, by whomever.
        on_close: called when it is.
        scope: () for everything, (session,), (session, message) or (session, message, block).
    """

    def __init__(
        self, owner: Subscribers, callback: Callback, scope: Scope, throttle: float, state: Present
    ) -> None:
        self._owner = owner
        self._callback = callback
        self._throttle = throttle
        self._pending = MergedChanges()
        self._cancel: Callable[[], None] | None = None
        self._rested = False  # the last timer has called back
        self.scope = scope
        self.state = state
        self.closed = False
        self.on_close: Callable[[], None] | None = None

    def __repr__(self) -> str:
        throttle = f", every {self._throttle} ms" if self._throttle > 0 else ""
        closed = ", closed" if self.closed else ""
        return f"<Subscription {brief(self.scope) if self.scope else 'all'}{throttle}{closed}>"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a subscription cannot be copied or pickled: subscribe again")

    def close(self) -> None:
        """Hear nothing any more; safe to call again, also from inside the callback."""
        if not self.closed:
            self.closed = True
            if self._cancel is not None:
                self._cancel()
                self._cancel = None
            self._owner.forget(self)
            if self.on_close is not None:
                self.on_close()

    def abandon(self) -> None:
        """`close`, from a finalizer: it may run at any moment, and in any thread."""
        self.closed = True
        self._owner.abandoned.append(self)

    def lags(self, version: int) -> bool:
        """Whether the store may show more than what came up to a version, the last one heard.

        So it is inside a callback, whose commits are heard after it.
        """
        return self._owner.is_ahead(version)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hear(self, changes: ChangeSet, bound: int) -> None:
        """Take a change set in, and hand it on unless a throttle says to wait."""
        if self.closed or changes.version <= self.state.version:
            return
        if self._throttle <= 0:
            try:
                self._callback(changes)
            except BaseException as error:
                self._owner.failed(self, error)
            return
        self._pending.add(changes)
        if self._pending.size > bound:
            self._pending.become_reset()
        if self._cancel is None:
            self._owner.due[self] = None

    def deliver(self) -> None:
        """Hand on what waits; the next time is a throttle's length from now.

        Where there is no timer now, what comes next is handed on at once as well.
        """
        if not self.closed and self._pending.last is not None:
            self._rested = False
            cancel = self._owner.call_later(self._throttle, self._waited)
            self._cancel = None if self._rested else cancel  # it may have called back at once
            self._hand_on()

    def deliver_rest(self) -> None:
        """Hand on what waits, whatever the throttle says: the last call."""
        if not self.closed and self._pending.last is not None:
            self._hand_on()

    def _waited(self) -> None:
        self._rested = True
        self._cancel = None
        if self._pending.last is not None:
            self._owner.due[self] = None
            self._owner.hand_on()

    def _hand_on(self) -> None:
        changes = self._pending.take(self._owner.locate)
        try:
            self._callback(changes)
        except BaseException as error:
            self._owner.failed(self, error)


class Subscribers:
    """All subscriptions of a store, by scope; one pass per change set.

    Args:
        bound: entries in one subscriber's pending change set before it becomes a reset.
        locate: places of keys in the published order, for change sets that waited.
        call_later: `(ms, callback) -> cancel`, for throttles; None where no timer can run now.
        on_error: told of an exception that a subscriber raised.
        work: where the passes are counted, as `notifications`.
    """

    def __init__(
        self,
        bound: int,
        locate: Locate,
        call_later: CallLater,
        on_error: Callable[[BaseException, Subscription], object],
        work: defaultdict[str, int],
    ) -> None:
        self._bound = bound
        self.locate = locate
        self.call_later = call_later
        self._on_error = on_error
        self._work = work
        self._by_scope: dict[Scope, dict[Subscription, None]] = {}
        self._outbox: deque[ChangeSet] = deque()
        self._telling: ChangeSet | None = None  # what a pass is about, while it lasts
        # Throttled ones that may hear at once, after every pass: the places that they are told
        # are those of now, and now must be what they have heard of.
        self.due: dict[Subscription, None] = {}
        self.abandoned: deque[Subscription] = deque()  # closed, and to be taken out
        self._passing = False
        self._closing = False
        self._raised: BaseException | None = None

    def __len__(self) -> int:
        self._sweep()
        return sum(len(subscriptions) for subscriptions in self._by_scope.values())

    def add(
        self, callback: Callback, scope: Scope, throttle: float, state: Present
    ) -> Subscription:
        """Subscribe a callback to a scope; `throttle` in ms, 0 for every tick."""
        self._sweep()
        subscription = Subscription(self, callback, scope, throttle, state)
        self._by_scope.setdefault(scope, {})[subscription] = None
        return subscription

    def _sweep(self) -> None:
        while self.abandoned:
            self.forget(self.abandoned.popleft())

    def forget(self, subscription: Subscription) -> None:
        """Take a subscription out."""
        subscriptions = self._by_scope.get(subscription.scope, {})
        if subscription in subscriptions:
            del subscriptions[subscription]
            if not subscriptions:
                del self._by_scope[subscription.scope]

    def close(self) -> None:
        """Close every subscription; what a throttle keeps back is delivered before.

        During a pass it waits for the end of it: the others still hear what was committed.
        """
        if self._passing:
            self._closing = True
            return
        self._passing = True
        try:
            for subscriptions in list(self._by_scope.values()):
                for subscription in list(subscriptions):
                    subscription.deliver_rest()
                    try:
                        subscription.close()
                    except BaseException as error:  # of `on_close`, which may wake a dead loop
                        self.failed(subscription, error)
        finally:
            self._passing = False
        self._raise()

    def notify(self, changes: ChangeSet) -> None:
        """One pass over the subscribers whose scope the change set concerns.

        A subscriber that commits from inside its callback queues the next pass behind this one,
        so that all hear all change sets in order.
        """
        if self.abandoned:
            self._sweep()
        if self._by_scope:
            self._outbox.append(changes)
            self.hand_on()

    def hand_on(self) -> None:
        """Hand on everything that is due, one callback at a time.

        A callback may let time pass (a dialog that runs the GUI's loop): what comes due meanwhile
        waits for its end.
        """
        if self._passing:
            return
        outbox = self._outbox
        self._passing = True
        try:
            while True:
                if outbox:
                    self._telling = outbox[0]
                    self._pass(outbox.popleft())
                    self._telling = None
                elif not self.due:
                    break
                else:
                    subscription = next(iter(self.due))
                    del self.due[subscription]
                    subscription.deliver()
        finally:
            self._passing = False
            self._telling = None
        if self._closing:
            self.close()
        self._raise()

    def is_ahead(self, version: int) -> bool:
        """Whether something behind a version was committed and not yet heard by everybody."""
        return bool(self._outbox) or (self._telling is not None and self._telling.version > version)

    def failed(self, subscription: Subscription, error: BaseException) -> None:
        """Report what one subscriber raised; the others still hear.

        What the report raises, or what is no `Exception`, is raised when all have heard.
        """
        if not isinstance(error, Exception):
            self._raised = self._raised or error
            return
        try:
            self._on_error(error, subscription)
        except BaseException as other:
            self._raised = self._raised or other

    def _raise(self) -> None:
        if self._raised is not None:
            error, self._raised = self._raised, None
            raise error

    def _pass(self, changes: ChangeSet) -> None:
        self._work["notifications"] += 1
        scopes = self._by_scope
        if len(scopes) == 1 and () in scopes:
            for subscription in list(scopes[()]):  # some may come or go meanwhile
                subscription.hear(changes, self._bound)
            return
        if changes.reset:
            concerned = dict.fromkeys(scopes, changes)
        else:
            concerned = _by_scope(changes, scopes)
        for scope, scoped in concerned.items():
            for subscription in list(scopes.get(scope, ())):
                subscription.hear(scoped, self._bound)


def _by_scope(changes: ChangeSet, scopes: Mapping[Scope, object]) -> dict[Scope, ChangeSet]:
    """The part of a change set that each scope concerns, for those that it concerns at all.

    Costs what changed, however many scopes there are; where something was removed, those too.
    """
    concerned = {(): changes} if () in scopes else {}
    added, changed, removed, moved = changes.added, changes.changed, changes.removed, changes.moved
    if len(changes.text) == 1 and not (added or changed or removed or moved):
        (field,) = changes.text  # nearly every tick of an answer: all of it is in each scope
        concerned |= {scope: changes for scope in _above(field.key) if scope in scopes}
        return concerned
    drafts: defaultdict[Scope, _Draft] = defaultdict(_Draft)

    def into(key: Key) -> list[_Draft]:
        return [drafts[scope] for scope in _above(key) if scope in scopes]

    for key in removed:
        for draft in into(key):
            draft.removed.append(key)
    gone: dict[Scope, Key] = {key: key for key in removed}
    for scope in scopes if gone else ():  # what lies below a removed key hears of it, too
        for depth in range(1, len(scope)):
            if scope[:depth] in gone:
                drafts[scope].removed.append(gone[scope[:depth]])
    for place in added:
        for draft in into(place.key):
            draft.added.append(place)
    for place in moved:
        for draft in into(place.key):
            draft.moved.append(place)
    for key in changed:
        for draft in into(key):
            draft.changed.append(key)
    for field, edit in changes.text.items():
        for draft in into(field.key):
            draft.text[field] = edit
    concerned |= {scope: draft.finish(changes) for scope, draft in drafts.items()}
    return concerned


def _above(key: Key) -> list[Scope]:
    """The scopes that a key is in, the widest first, but for that of everything."""
    return [tuple(key[:depth]) for depth in range(1, len(key) + 1)]


class _Draft:
    __slots__ = ("added", "changed", "moved", "removed", "text")

    def __init__(self) -> None:
        self.added: list[Place] = []
        self.changed: list[Key] = []
        self.removed: list[Key] = []
        self.moved: list[Place] = []
        self.text: dict[TextField, Edit] = {}

    def finish(self, whole: ChangeSet) -> ChangeSet:
        return ChangeSet(
            version=whole.version,
            added=tuple(self.added),
            changed=tuple(self.changed),
            removed=tuple(self.removed),
            moved=tuple(self.moved),
            text=MappingProxyType(self.text),
            gaps=whole.gaps,
            resume=whole.resume,
        )
