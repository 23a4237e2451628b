"""What became of the prompts that an opencode server has taken.

It answers a prompt before it stores it, and where that fails it says so in an error of the session
and nothing else: the message would stay as one that waits. So what waits is looked at behind each
error, and a read of the session is asked for, which says what there is. Knows the store and how to
ask for a read; no path and no wire object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import attrs

from ..changes import ChangeSet
from ..errors import CallerError
from ..events import MessageRollback
from ..keys import SessionKey
from ..pipeline import StreamStore
from ..subscribers import Subscription
from .transport import Clock

#: The server reads files first, and asks others for what they hold. What no error was said of may
#: still be on the way for so long.
_STORING_MS = 30_000
#: Prompts of which nothing has said yet what became of them; of more, the oldest are forgotten.
_SENT = 1_000
#: Reads that are asked for because of one prompt: the server may have been at work yet.
_ASKS = 3
#: Further reads that lack a prompt before it is taken back, where the error may be another one's:
#: errors do not say whose they are, and this one may be on the way yet.
_DOUBTS = 2


@attrs.define(eq=False)
class _Sent:
    """A prompt that was taken.

    Attributes:
        error: the session's latest one before it was sent.
        worked: the session did something since.
        asked: a read was asked for since it last did; `asks`: how often at all.
        doubts: reads that may still lack it before it is taken back.
    """

    session_id: str
    error: Any
    answered_ms: float
    worked: bool = False
    asked: bool = False
    asks: int = 0
    doubts: int = 0


class SentPrompts:
    """Prompts on the way from the server's answer to its store.

    Args:
        read: asks for a read of a session's state; may be called inside a commit.
    """

    def __init__(self, store: StreamStore, clock: Clock, read: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._read = read
        self._sent: dict[str, _Sent] = {}  # by message id
        self._closed = False
        # By session those that an error may still be said of, and what hears of the session.
        self._watched: dict[str, tuple[Subscription, dict[str, _Sent]]] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def taken(self, session_id: str, message_id: str, error: Any) -> None:
        """The server has taken a prompt; `error`: the session's latest one before it was sent."""
        sent = self._sent[message_id] = _Sent(session_id, error, self._clock.now())
        if len(self._sent) > _SENT:
            oldest = next(iter(self._sent))
            self._unwatch(self._sent.pop(oldest).session_id, oldest)
        if self._closed:
            return
        if session_id not in self._watched:
            try:
                heard = self._store.subscribe(partial(self._hear, session_id), session_id)
            except CallerError:
                return  # the store was closed meanwhile: nothing becomes of it there
            self._watched[session_id] = heard, {}
        self._watched[session_id][1][message_id] = sent
        self._look(session_id)  # the error may have come before the answer

    def _hear(self, session_id: str, changes: ChangeSet) -> None:
        if SessionKey(session_id) in changes.removed:
            # Its messages went with it: of none is there anything to take back.
            for message_id in list(self._watched[session_id][1]):
                del self._sent[message_id]
                self._unwatch(session_id, message_id)
        else:
            self._look(session_id)

    def over(self) -> dict[str, str]:
        """By message id the session of prompts that the server is done with, so that what it has
        not stored it never will; to be asked before a read begins."""
        now = self._clock.now()
        found = {}
        for message_id, sent in self._sent.items():
            certain = now - sent.answered_ms >= _STORING_MS
            if certain:
                sent.doubts = 0
            if certain or self._failed(sent):
                found[message_id] = sent.session_id
        return found

    def settle(self, message_ids: Iterable[str]) -> None:
        """Take back what a read that is merged lacks of these: whatever is still local."""
        doubted: dict[str, None] = {}
        for message_id in message_ids:
            sent = self._sent.get(message_id)
            if sent is None:
                continue
            message = self._store.message(sent.session_id, message_id)
            if sent.doubts and message is not None and message.local:
                sent.doubts -= 1
                doubted[sent.session_id] = None
                continue
            del self._sent[message_id]
            self._unwatch(sent.session_id, message_id)
            if message is not None:
                self._store.apply(
                    MessageRollback(session_id=sent.session_id, message_id=message_id)
                )
        for session_id in doubted:
            self._read(session_id)

    def close(self) -> None:
        """Ask for no read any more."""
        self._closed = True
        for heard, _ in self._watched.values():
            heard.close()
        self._watched.clear()

    def last_error(self, session_id: str) -> Any:
        """The latest error of a session, None without one."""
        session = self._store.session(session_id)
        return session.errors[-1] if session is not None and session.errors else None

    def _failed(self, sent: _Sent) -> bool:
        return self.last_error(sent.session_id) is not sent.error

    def _look(self, session_id: str) -> None:
        session = self._store.session(session_id)
        works = session is not None and session.status is not None and session.status.type != "idle"
        asks = False
        prompts = self._watched[session_id][1]
        doubts = _DOUBTS if len(prompts) > 1 else 0
        for message_id, sent in list(prompts.items()):
            if works:
                sent.worked, sent.asked = True, False
                continue
            message = self._store.message(session_id, message_id)
            if self._failed(sent):
                # A read says nothing of it where the program does not follow the session.
                if not sent.asked and sent.asks < _ASKS:
                    asks = True
                    if not sent.asks:
                        sent.doubts = doubts
                    sent.asks += 1
                sent.asked = True
            elif sent.worked and (message is None or not message.local):
                self._unwatch(session_id, message_id)
        if asks:
            self._read(session_id)

    def _unwatch(self, session_id: str, message_id: str) -> None:
        heard, prompts = self._watched.get(session_id, (None, {}))
        prompts.pop(message_id, None)
        if heard is not None and not prompts:
            heard.close()
            del self._watched[session_id]
