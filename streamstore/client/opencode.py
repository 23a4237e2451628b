"""opencode end to end: its event stream, its state over REST, and what a user does in a session.

Follow `/event` (one directory) or `/global/event`; at the opening and after each drop the state is
read: sessions (the latest ones that the server lists, those the store knows, and those in which
something works or waits), messages page by page, todos, file changes, and of each directory that
one of these sessions is in the status (a session that is not named is idle), permissions and
questions. Live events that come while it is read are newer and win; the store sees to that. A
session of this server that it does not know any more is removed. Knows what a user does there; how
to read is `opencode_state`'s, and how to ask `opencode_rest`'s.

Sources: the paths and schemas of the published SDK (1.19.3), V1.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from operator import index
from os import PathLike, fspath
from typing import Any
from weakref import WeakKeyDictionary

from ..errors import CallerError
from ..events import BlockReplaced, MessageOpened, MessageRollback
from ..keys import is_id
from ..pipeline import StreamStore
from .answers import origin_of
from .connecting import connect
from .connection import Connection
from .opencode_ids import AscendingIds
from .opencode_prompts import SentPrompts
from .opencode_rest import Rest, id_of, path_of
from .opencode_state import StateReader, directory_of
from .policy import Policy
from .resync import Read
from .transport import AsyncioClock, Clock, Transport, headers_of

#: The server beats every 10 s. One that was killed and started again accepts connections before
#: it can answer any, and never answers those: its own clients give up after seconds.
POLICY = Policy(heartbeat_ms=10_000, head_ms=5_000)
#: By store and server: the sessions that are known to be that server's. Ids do not say whose they
#: are, and another server's must not be asked for: it would seem to be deleted.
_SERVERS: WeakKeyDictionary[StreamStore, dict[str, set[str]]] = WeakKeyDictionary()


class OpencodeClient:
    """An opencode server, followed into a store, and what can be done there.

    - follow: `connect`, or `async with client as connection`
    - read: `fetch`, which `connect` uses for every resync
    - act: `create_session`, `prompt`, `abort`, `reply_permission`, `reply_question`,
      `reject_question`

    Args:
        base_url: where the server is, such as `http://127.0.0.1:4096`.
        store: takes everything in; the client runs in the event loop of its owner. Several servers
            may have clients on one store: each read removes only what was deleted of its server's
            own sessions, which are those that one of its clients has brought, by an event or a
            read. What the store held before (a saved state) is one server's own as long as no
            other one has a client on the store: make all clients before the first one connects. A
            server is its address: at another port it is another one.
        directory, workspace: where; None: where the server was started. Sessions of another
            directory are not listed, and no event of theirs comes.
        global_events: follow `/global/event`, which brings the events of every directory. The
            sessions that are listed are those of `directory` alone; of any other one, a session is
            known once an event of it came, and read whole from the next read of the state on.
        sessions: how many sessions are listed, those that were updated last; 100 is what the server
            gives by itself. A session that the store knows is asked for by name beside them, and
            so is one that works, or waits for an answer.
        follow: whether the messages of a session are read, by its info; None: of every session.
            What is live comes for every session.
        diffs: whether the file changes of those sessions are read, too; they may be large.
        page: messages of one read.
        reads: requests at a time.
        headers: for every request, credentials for instance.
        policy: as for `connect`; `POLICY` by default, with the server's own heartbeat.
        transport, clock, chance: as for `connect`.

    Raises:
        CallerError: an argument is wrong, or httpx is needed and not installed.
    """

    def __init__(
        self,
        base_url: str,
        *,
        store: StreamStore,
        directory: str | PathLike[str] | None = None,
        workspace: str | None = None,
        global_events: bool = False,
        sessions: int = 100,
        follow: Callable[[Mapping[str, Any]], bool] | None = None,
        diffs: bool = True,
        page: int = 200,
        reads: int = 4,
        headers: Mapping[str, str] | None = None,
        policy: Policy | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] | None = None,
    ) -> None:
        if not isinstance(base_url, str) or origin_of(base_url) is None:
            raise CallerError(f"an http or https address is needed, not {base_url!r:.80}")
        if not isinstance(store, StreamStore):
            raise CallerError(f"store= takes a StreamStore, not {store!r:.80}")
        try:
            sessions, page, reads = index(sessions), index(page), index(reads)
        except TypeError:
            sessions = 0
        if sessions < 1 or page < 1 or reads < 1:
            raise CallerError("sessions, page and reads must be whole numbers, at least 1")
        if isinstance(directory, PathLike):
            directory = fspath(directory)
        for name, place in (("directory", directory), ("workspace", workspace)):
            if place is not None and not isinstance(place, str):
                raise CallerError(f"{name}= takes a string, not {place!r:.80}")
        if follow is not None and not callable(follow):
            raise CallerError(f"follow= takes a function of a session's info, not {follow!r:.80}")
        self._store = store
        self._global = global_events
        self._policy = policy or POLICY
        self._own_transport = transport is None
        if transport is None:
            from .http import HttpxTransport

            transport = HttpxTransport()
        self._transport = transport
        self._clock = clock or AsyncioClock()
        self._chance = chance or random.random
        self._ids = AscendingIds(self._chance)
        query = {"directory": directory, "workspace": workspace}
        self._rest = Rest(
            base=base_url.rstrip("/"),
            query={name: value for name, value in query.items() if value is not None},
            headers=headers_of(headers),
            policy=self._policy,
            transport=transport,
            clock=self._clock,
        )
        details = ("todo", "diff") if diffs else ("todo",)
        self._reader = StateReader(self._rest, sessions, follow, details, page, reads)
        self._prompts = SentPrompts(store, self._clock, self._read_again)
        self._connection: Connection | None = None
        self._made: list[Connection] = []  # connections that have not ended, as far as was seen
        self._servers = _SERVERS.setdefault(store, {})
        self._own = self._servers.setdefault(self._rest.base, set())
        self._before: frozenset[str] = frozenset()  # what the store held when it was connected

    def connect(self) -> Connection:
        """A connection to the event stream, for `async with`; ends when the block is left."""
        self._before = frozenset(self._store.session_ids())
        request = self._rest.request("GET", "/global/event" if self._global else "/event")
        connection = connect(
            request.url,
            store=self._store,
            protocol="opencode",
            headers=self._rest.headers,
            snapshot=self.fetch,
            # The server listens before it sends its first event, and not before it answers.
            live_after="first event",
            policy=self._policy,
            transport=self._transport,
            clock=self._clock,
            chance=self._chance,
        )
        self._made = [one for one in self._made if one.status.state != "ended"]
        self._made.append(connection)
        return connection

    async def __aenter__(self) -> Connection:
        if self._connection is not None:
            raise CallerError("this client is entered already; connect() makes further connections")
        self._connection = self.connect()
        return await self._connection.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                await connection.aclose()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the own transport, and ask for no read any more."""
        self._prompts.close()
        if self._own_transport:
            await self._transport.aclose()

    # -- reading -----------------------------------------------------------------------------------

    async def fetch(self, read: Read) -> list[Any]:
        """The server's state as wire objects of the protocol; what `connect` merges.

        Everything is read before anything is handed over: a read that fails changes nothing.
        """
        # Tokens before the first request; one for all sessions that are not known yet.
        over = self._prompts.over()
        unknown = await read.token("")
        known = await read.session_ids()
        tokens = {session_id: await read.token(session_id) for session_id in known}
        self._own |= await read.brought()
        self._own &= set(known)
        asked = self._own if len(self._servers) > 1 else self._own | self._before
        found = await self._reader.read(
            [sid for sid in known if sid in asked and sid.startswith("ses")], read.sessions
        )
        for session_id, wire in found.sessions.items():
            wire["readFrom"] = tokens.get(session_id, unknown)
        # A session that is not known went while the server still had to answer the prompt.
        settled = [mid for mid, sid in over.items() if sid not in tokens or sid in found.idle]
        if settled:
            read.behind(lambda: self._prompts.settle(settled))
        removed = [
            {"type": "session.deleted", "properties": {"sessionID": session_id}}
            for session_id in found.gone
        ]
        return [*found.sessions.values(), *removed]

    def _read_again(self, session_id: str) -> None:
        # While none is open nothing needs to be asked for: the state is read at the next opening.
        for connection in self._made:
            if connection.status.state == "open":
                connection.request_resync({session_id: "a prompt may not be stored"})
                return

    # -- acting ------------------------------------------------------------------------------------

    async def create_session(self, title: str | None = None, parent_id: str | None = None) -> str:
        """Make a session; its id. The stream brings the rest.

        Raises:
            RequestFailed: the server refuses. ConnectionLost: it did not answer.
        """
        body = {"title": title, "parentID": parent_id}
        given = {name: value for name, value in body.items() if value is not None}
        reply = await self._rest.act("/session", given)
        return id_of(reply.json(), "/session")

    async def prompt(
        self,
        session_id: str,
        text: str | None = None,
        *,
        parts: Iterable[Mapping[str, Any]] = (),
        **options: Any,
    ) -> str:
        """Send a user's message; its id. It is shown at once, the stream confirms it.

        `parts` are further parts as opencode takes them (`file`, `agent`, ...); `options` further
        members of the request (`agent`, `model`, `system`, ...). Confirmed part by part: what the
        server takes over stays. On any error, and when cancelled, what it has not confirmed is
        taken back; if it had got the message all the same, the stream brings it. The server answers
        before it stores: where that fails (it does not know the agent, it cannot read a file), the
        session's `errors` say why, and what it did not store stays local until a read of the state
        lacks it and finds the session idle: one that is made when an error of the session came
        (of several prompts on their way the third one, since an error does not say whose it is), or
        any that begins half a minute after the prompt, such as `connection.resync()`. Then it is
        taken back. Or the program takes it back: `store.apply(MessageRollback(...))`.

        Raises:
            RequestFailed: the server refuses. ConnectionLost: it did not answer.
            CallerError: an argument is wrong, there is neither text nor part, or a part has no
                type.
        """
        store = self._store
        now = self._clock.wall() + self._rest.ahead_ms
        path = path_of("session", session_id, "prompt_async")
        if text is not None and not isinstance(text, str):
            raise CallerError(f"text= takes a string, not {text!r:.80}")
        if isinstance(parts, Mapping):
            raise CallerError("parts= is a list of parts, not one part")
        try:
            wire_parts = [dict(part) for part in parts]  # also a model of an SDK's
        except (TypeError, ValueError) as none:
            raise CallerError("each of parts= is an object with a type, such as 'file'") from none
        if not all(is_id(part.get("type")) for part in wire_parts):
            raise CallerError("each of parts= needs a type, such as 'file'")
        if text is not None:
            wire_parts.insert(0, {"type": "text", "text": text})
        if not wire_parts:
            raise CallerError("a prompt needs text= or parts=")
        self._own.add(session_id)
        message_id = self._ids.next("msg", now, (m.id for m in store.messages(session_id)))
        for part in wire_parts:
            part.setdefault("id", self._ids.next("prt", now))
        orders = [m.order for m in store.messages(session_id) if m.order is not None]
        store.apply(
            MessageOpened(
                session_id=session_id,
                message_id=message_id,
                role="user",
                order=max([int(now), *orders]),
                local=True,
                client_id=message_id,
            )
        )
        error = self._prompts.last_error(session_id)
        try:
            for part in wire_parts:
                fields = {n: v for n, v in part.items() if n not in ("id", "type", "text")}
                store.apply(
                    BlockReplaced(
                        session_id=session_id,
                        message_id=message_id,
                        block_index=part["id"],
                        kind=part["type"],
                        text=part.get("text"),
                        whole=True,
                        status="closed",
                        fields=fields,
                    )
                )
            body = {**options, "messageID": message_id, "parts": wire_parts}
            await self._rest.act(path, body)
        except BaseException:
            with suppress(CallerError):  # a store that was closed meanwhile says nothing else
                store.apply(MessageRollback(session_id=session_id, message_id=message_id))
            raise
        self._prompts.taken(session_id, message_id, error)
        return message_id

    async def abort(self, session_id: str) -> None:
        """Stop what the session does; the stream says what became of it.

        Raises:
            RequestFailed: the server refuses. ConnectionLost: it did not answer.
            CallerError: `session_id` is no id.
        """
        await self._rest.act(path_of("session", session_id, "abort"), None)

    async def reply_permission(
        self, request_id: str, reply: str, message: str | None = None
    ) -> None:
        """Answer a permission: `once`, `always` or `reject`, with a reason if you like.

        Raises:
            RequestFailed: the server refuses. ConnectionLost: it did not answer.
            CallerError: `reply` is none of these, or `request_id` is no id.
        """
        if reply not in ("once", "always", "reject"):
            raise CallerError("a permission is answered by once, always or reject")
        body = {"reply": reply} if message is None else {"reply": reply, "message": message}
        query = self._directory_of("permissions", request_id)
        await self._rest.act(path_of("permission", request_id, "reply"), body, query)

    async def reply_question(self, request_id: str, answers: Sequence[Sequence[str]]) -> None:
        """Answer a question: for each of its questions the labels that were chosen.

        Raises:
            RequestFailed: the server refuses. ConnectionLost: it did not answer.
            CallerError: an answer is a string, where a list of labels is needed, or `request_id`
                is no id.
        """
        lists = isinstance(answers, Iterable) and not isinstance(answers, str)
        given = list(answers) if lists else []
        if not lists or not all(
            # A string is a list of letters, and those are what would be answered.
            isinstance(answer, Iterable) and not isinstance(answer, str)
            for answer in given
        ):
            raise CallerError('answers are lists of labels, one for each question: [["Yes"]]')
        await self._rest.act(
            path_of("question", request_id, "reply"),
            {"answers": [list(answer) for answer in given]},
            self._directory_of("questions", request_id),
        )

    async def reject_question(self, request_id: str) -> None:
        """Turn a question down.

        Raises:
            RequestFailed: the server refuses. ConnectionLost: it did not answer.
            CallerError: `request_id` is no id.
        """
        query = self._directory_of("questions", request_id)
        await self._rest.act(path_of("question", request_id, "reject"), None, query)

    def _directory_of(self, name: str, request_id: str) -> dict[str, str]:
        """Where a request waits: a server finds it in its own directory only."""
        for session_id in self._store.session_ids():
            session = self._store.session(session_id)
            if session is not None and request_id in getattr(session, name):
                return directory_of(session.info)
        return {}
