"""What the streams of one store share: the stages, the rows, what is known of all of them.

Of an open stream it knows the sessions and parts that it brings. How an event goes through the
stages, how a stream gets its events, and when a tick is, it may not know.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol

from . import verdicts
from .adapters.base import MAIN
from .coalescer import Coalescer
from .errors import MalformedEvent
from .inbox import Inbox
from .keys import PartKey, read_of
from .limits import Limits
from .marks import bounded_put
from .model import Delivery
from .positions import Positions, Wake
from .reducer import Reducer
from .rows import BlockRow, SessionRow
from .verdicts import Counts
from .watermarks import MISSING, Gate


class OpenStream(Protocol):
    """What a stream tells the others.

    Attributes:
        session_id: the only session it was opened for, if any.
        default_session: the session of events that name none.
        sessions: those that it brought something of, by id.
        touched: parts that its end would cut, by key.
    """

    session_id: str | None
    default_session: str
    sessions: dict[str, SessionRow]
    touched: dict[PartKey, BlockRow]


#: Generations of the server's counter that a session knows which begins in the last of them: what
#: is read across more restarts than that is no late answer.
_GENERATIONS = 16


class Stages:
    """What the streams of one store share: the stages, the rows, and what is known of them all.

    Attributes:
        counts, coalescer, gate, reducer, positions: the stages.
        inbox: bytes that other threads left.
        sessions: the rows, by session id.
        streams: the open ones, in order; `applied`: where the user's own events come in, if made.
        memory: what adapters remember from stream to stream, by protocol and session.
        generation: the generation of the server's counter where it is for all sessions.
        generations: that one and the latest before it, which every new session knows.
        resync: sessions that should be fetched again, with the reason; `strangers`: those of them
            without a row, the one that was asked for first at the front.
        removed: sessions that show nothing, removed ones or not begun, the longest ago first.
        last_opened: epoch in which a connection last began; where none has, the first one.
        new_id, loads: make an id; read JSON (None: the standard decoder).
        wake, woke, fed: of the store: a row has its first work since the last tick, there may be
            work, a feed is over.
        lacks: of the store: an event needed a package that is not installed, which one.
    """

    __slots__ = (
        "applied", "coalescer", "counts", "fed", "gate", "generation", "generations", "inbox",
        "lacks", "last_opened", "limits", "loads", "memory", "new_id", "positions", "reducer",
        "removed", "resync", "sessions", "strangers", "streams", "wake", "woke",
    )  # fmt: skip

    def __init__(
        self,
        limits: Limits,
        delivery: Delivery,
        inbox: Inbox[Any],
        *,
        new_id: Callable[[], str],
        loads: Callable[[str | bytes], Any] | None,
        wake: Wake,
        woke: Callable[[], None],
        fed: Callable[[], None],
        lacks: Callable[[str], None],
    ) -> None:
        self.limits = limits
        self.inbox = inbox
        self.new_id = new_id
        self.loads = loads
        self.wake = wake
        self.woke = woke
        self.fed = fed
        self.lacks = lacks
        self.counts = Counts()
        self.coalescer = Coalescer(limits, self.counts, delivery)
        self.gate = Gate(limits, self.counts, self.ask_resync, self.note_whole)
        self.reducer = Reducer(limits, self.counts, self.coalescer.touch, self.ask_resync)
        self.positions = Positions(limits)
        self.sessions: dict[str, SessionRow] = {}
        self.streams: dict[OpenStream, None] = {}
        self.applied: OpenStream | None = None
        self.memory: dict[str, dict[str, dict[str, Any]]] = {}
        self.generation: str | None = None
        self.generations: dict[str, None] = {}
        self.resync: dict[str, str] = {}
        self.strangers: dict[str, None] = {}
        self.removed: dict[str, None] = {}
        self.last_opened = 1

    def session_row(self, session_id: str) -> SessionRow:
        """A session's row; made when it is not there yet."""
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = self.reducer.new_session(session_id)
            self.strangers.pop(session_id, None)
            if self.generation is not None:
                session.generation = self.generation
                session.generations.update(self.generations)  # an old read of it is stale
        return session

    def note_generation(self, generation: str) -> None:
        """The server's counter is that of a generation now, for all sessions."""
        self.generation = generation
        bounded_put(self.generations, generation, None, _GENERATIONS)

    def note_removed(self, session: SessionRow) -> None:
        """Remember a session that shows nothing; over the bound the oldest is forgotten."""
        self.removed.pop(session.id, None)
        self.removed[session.id] = None
        if session.removed_now:
            self.resync.pop(session.id, None)
        self.forget_removed()

    def forget_removed(self) -> None:
        """Forget the oldest removed sessions over the bound, once no tick shows them any more."""
        over = max(0, len(self.removed) - self.limits.removed_sessions)
        for session_id in list(islice(self.removed, over)):
            session = self.sessions[session_id]
            if session.removed_now or not session.exists:
                if session.shown is not None:
                    continue  # the next tick takes it away, and comes here again
                for _, event, _ in session.waiting:  # for a generation that nobody opened
                    self.counts.held["evicted"] += 1
                    self.counts.characters["superseded"] += verdicts.text_length(event)
                del self.sessions[session_id]
                self.resync.pop(session_id, None)
                self.positions.forget(session_id)
                self.forget_memory(session_id)
                for stream in self.streams:
                    stream.sessions.pop(session_id, None)
                if self.applied is not None:
                    self.applied.sessions.pop(session_id, None)
            del self.removed[session_id]

    def forget_memory(self, session_id: str) -> None:
        """Drop what adapters remember of a session without a row, unless a stream builds on it.

        That one drops it when it ends. Linear in the open streams, and in the saved ones.
        """
        if session_id in self.sessions:
            return
        going_on = [stream.default_session for stream in self.streams]
        saved = [entry["sessionId"] or MAIN for entry in self.positions.left if not entry["ended"]]
        if session_id not in going_on and session_id not in saved:
            for sessions in self.memory.values():
                sessions.pop(session_id, None)

    def read_from(self, token: str | None, default: int) -> tuple[int, int]:
        """The epoch and the highest seq of a token of `begin_read`; `default` and -1 for none.

        Raises:
            MalformedEvent: it is no such token.
        """
        if token is None:
            return default, -1
        try:
            return read_of(token)
        except ValueError:
            raise MalformedEvent("readFrom", "is no token of begin_read") from None

    def ask_resync(self, session_id: str, reason: str) -> None:
        """Note that a session should be fetched again; the first reason stays.

        But for missing operations, which may still come: any other reason takes their place.
        """
        if self.resync.get(session_id, MISSING) == MISSING:
            self.resync[session_id] = reason
        if session_id not in self.sessions:
            self.strangers.setdefault(session_id)
            if len(self.strangers) > self.limits.removed_sessions:
                # Anybody may ask for any name: of those without a row the first one is forgotten.
                first = next(iter(self.strangers))
                del self.strangers[first], self.resync[first]

    def note_whole(self, session_id: str) -> None:
        """The operations of a session that were missing have come: nobody need fetch it for them.

        The note has that reason only where there is no other one, see `ask_resync`.
        """
        if self.resync.get(session_id) == MISSING:
            del self.resync[session_id]
