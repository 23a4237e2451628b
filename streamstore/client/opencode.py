"""opencode end to end: its event stream, its state over REST, and what a user does in a session.

Follow `/event` (one directory) or `/global/event`; at the opening and after each drop the state is
read: sessions (those that the server lists, which are its latest 100, and those the store knows),
messages page by page, todos, file changes, and of each directory that one of these sessions is in
the status (a session that is not named is idle), permissions and questions. Live events that come
while it is read are newer and win; the store sees to that. A session of this server that it does
not know any more is removed. Knows opencode's paths and the wire objects of its adapter; not how to
connect.

Sources: the paths and schemas of the published SDK (1.19.3), V1.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import attrs

from ..errors import CallerError
from ..events import BlockReplaced, MessageOpened, MessageRollback
from ..pipeline import StreamStore
from .answers import origin_of
from .asking import Reply, ask
from .connection import Connection, connect
from .faults import ConnectionLost, RequestFailed
from .opencode_ids import AscendingIds
from .policy import Policy, retry_after
from .resuming import with_query
from .resync import Read
from .transport import AsyncioClock, Clock, Request, Transport, headers_of

#: Clocks of one machine differ by less, and an HTTP date is cut to a second.
_SKEW_MS = 2_000
#: The server beats every 10 s. One that was killed and started again accepts connections before
#: it can answer any, and never answers those: its own clients give up after seconds.
POLICY = Policy(heartbeat_ms=10_000, head_ms=5_000)
#: Pages of one session's messages: so many, and no more are read.
_PAGES = 10_000
_IDLE = {"type": "idle"}
_ASKED = ("permission", "question")
#: The server answers a prompt before it stores it: it reads files first, and asks others for what
#: they hold. What no error was said of may still be on the way for so long.
_STORING_MS = 30_000
#: Prompts of which no read has said yet what became of them; of more, the oldest are forgotten.
_SENT = 1_000
#: By store and server: the sessions that are known to be that server's. Ids do not say whose they
#: are, and another server's must not be asked for: it would seem to be deleted.
_SERVERS: WeakKeyDictionary[StreamStore, dict[str, set[str]]] = WeakKeyDictionary()


@attrs.frozen
class _Sent:
    """A prompt that the server has taken; `error`: the session's latest one before it was sent."""

    session_id: str
    error: Any
    answered_ms: float


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
        directory, workspace: which project; None: the one the server was started in.
        global_events: follow `/global/event`, which brings the events of every project. The
            sessions that are listed are those of `directory` alone; of any other project, a session
            is known once an event of it came, and read whole from the next read of the state on.
        follow: whether the messages of a session are read, by its info; None: of every session.
            What is live comes for every session.
        diffs: whether the file changes of those sessions are read, too; they may be large.
        page: messages of one read.
        reads: requests at a time.
        headers: for every request, credentials for instance.
        policy: as for `connect`; `POLICY` by default, with the server's own heartbeat.
        transport, clock, chance: as for `connect`.

    Raises:
        CallerError: the address or a header is none, or httpx is needed and not installed.
    """

    def __init__(
        self,
        base_url: str,
        *,
        store: StreamStore,
        directory: str | None = None,
        workspace: str | None = None,
        global_events: bool = False,
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
        if origin_of(base_url) is None:
            raise CallerError(f"an http or https address is needed, not {base_url[:80]!r}")
        if page < 1 or reads < 1:
            raise CallerError("page and reads must be at least 1")
        self._base = base_url.rstrip("/")
        self._store = store
        self._query = {
            name: value
            for name, value in (("directory", directory), ("workspace", workspace))
            if value is not None
        }
        self._global = global_events
        self._follow = follow
        self._details = ("todo", "diff") if diffs else ("todo",)
        self._page = page
        self._reads = reads
        self._headers = headers_of(headers)
        self._policy = policy or POLICY
        self._own_transport = transport is None
        if transport is None:
            from .http import HttpxTransport

            transport = HttpxTransport()
        self._transport = transport
        self._clock = clock or AsyncioClock()
        self._chance = chance or random.random
        self._ids = AscendingIds(self._chance)
        self._ahead_ms = 0.0  # the server's clock before ours
        self._connection: Connection | None = None
        self._sent: dict[str, _Sent] = {}  # by message id
        self._servers = _SERVERS.setdefault(store, {})
        self._own = self._servers.setdefault(self._base, set())
        self._before: frozenset[str] = frozenset()  # what the store held when it was connected

    def connect(self) -> Connection:
        """A connection to the event stream, for `async with`; ends when the block is left."""
        self._before = frozenset(self._store.session_ids())
        return connect(
            self._request("GET", "/global/event" if self._global else "/event").url,
            store=self._store,
            protocol="opencode",
            headers=self._headers,
            snapshot=self.fetch,
            # The server listens before it sends its first event, and not before it answers.
            live_after="first event",
            policy=self._policy,
            transport=self._transport,
            clock=self._clock,
            chance=self._chance,
        )

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
        """Close the own transport."""
        if self._own_transport:
            await self._transport.aclose()

    # -- reading -----------------------------------------------------------------------------------

    async def fetch(self, read: Read) -> list[Any]:
        """The server's state as wire objects of the protocol; what `connect` merges.

        Everything is read before anything is handed over: a read that fails changes nothing.
        """
        # Tokens before the first request; one for all sessions that are not known yet.
        over = self._over()
        unknown = await read.token("")
        known = await read.session_ids()
        tokens = {session_id: await read.token(session_id) for session_id in known}
        self._own |= await read.brought()
        self._own &= set(known)
        asked = self._own if len(self._servers) > 1 else self._own | self._before
        infos = _objects(await self._get("/session"), "/session")
        listed = {_id(info, "/session"): info for info in infos}
        here = {info.get("directory") for info in infos}
        elsewhere: dict[str, None] = {}
        gone = []
        for session_id in known:
            if session_id in listed or session_id not in asked:
                continue
            if not session_id.startswith("ses"):
                continue
            # A list may be cut; one that is asked for by name is there or is not.
            info = await self._get(_path("session", session_id), missing=True)
            if info is None:
                gone.append(session_id)
            else:
                listed[session_id] = info
                elsewhere.update(dict.fromkeys(_directory(info).values()))
        wire: dict[str, Any] = {}
        for name, path in (
            ("status", "/session/status"),
            ("permission", "/permission"),
            ("question", "/question"),
        ):
            read_as = _table if name == "status" else _objects
            found = await self._get(path, optional=True)
            if found is None:
                continue
            wire[name] = found = read_as(found, path)
            # These the server gives for one directory at a time: what works or waits in another
            # one would look idle, and answered.
            for directory in elsewhere:
                if directory not in here:
                    query = {"directory": directory}
                    more = await self._get(path, optional=True, query=query)
                    if more is not None:
                        wire[name] = found = _joined(found, read_as(more, path))
        followed = [
            session_id
            for session_id, info in listed.items()
            if (not read.sessions or session_id in read.sessions)
            and (self._follow is None or self._follow(info))
        ]
        messages, details = await self._read_sessions(followed)
        wire["sessions"] = [info for session_id, info in listed.items() if session_id not in gone]
        wire["messages"] = messages
        wire.update((name, found) for name, found in details.items() if found)
        for session_id in (*gone, *(sid for sid in followed if sid not in messages)):
            # Deleted while it was read, or before: a full event brings it back, if there is one.
            wire["sessions"] = [info for info in wire["sessions"] if info["id"] != session_id]
            wire.get("status", {}).pop(session_id, None)
        removed = [
            {"type": "session.deleted", "properties": {"sessionID": session_id}}
            for session_id in gone
        ]
        status = wire.get("status")
        if isinstance(status, dict):
            settled = {
                message_id: sent.session_id
                for message_id, sent in over.items()
                if sent.session_id in tokens
                and sent.session_id in messages
                and status.get(sent.session_id, _IDLE) == _IDLE
            }
            if settled:
                read.behind(lambda: self._settle(settled))
        pieces = _by_session(wire)
        for session_id, piece in pieces.items():
            piece["readFrom"] = tokens.get(session_id, unknown)
        return [*pieces.values(), *removed]

    def _over(self) -> dict[str, _Sent]:
        """Prompts that the server is done with, so that what it has not stored it never will."""
        now = self._clock.now()
        return {
            message_id: sent
            for message_id, sent in self._sent.items()
            if now - sent.answered_ms >= _STORING_MS
            or self._last_error(sent.session_id) is not sent.error
        }

    def _settle(self, prompts: Mapping[str, str]) -> None:
        """Take back what a read that is merged lacks of these: whatever is still local."""
        for message_id, session_id in prompts.items():
            self._sent.pop(message_id, None)
            if self._store.message(session_id, message_id) is not None:
                self._store.apply(MessageRollback(session_id=session_id, message_id=message_id))

    def _last_error(self, session_id: str) -> Any:
        session = self._store.session(session_id)
        return session.errors[-1] if session is not None and session.errors else None

    async def _read_sessions(
        self, session_ids: Sequence[str]
    ) -> tuple[dict[str, list[Any]], dict[str, dict[str, list[Any]]]]:
        """Messages, todos and diffs of sessions, several at a time, without those that are gone."""
        import asyncio

        waiting = list(reversed(session_ids))
        messages: dict[str, list[Any]] = {}
        details: dict[str, dict[str, list[Any]]] = {name: {} for name in self._details}

        async def work() -> None:
            while waiting:
                session_id = waiting.pop()
                found = await self._read_messages(session_id)
                if found is None:
                    continue
                messages[session_id] = found
                for name, read in details.items():
                    value = await self._get(_path("session", session_id, name), optional=True)
                    if value is not None:
                        read[session_id] = value

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._reads, len(waiting))):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        # In the order of the list, whichever came first.
        return {sid: messages[sid] for sid in session_ids if sid in messages}, details

    async def _read_messages(self, session_id: str) -> list[Any] | None:
        """All messages of a session, page by page from the latest back; None when it is gone."""
        path = _path("session", session_id, "message")
        pages: list[list[Any]] = []
        query = {"limit": str(self._page)}
        seen: set[str] = set()
        for _ in range(_PAGES):
            reply = await self._ask("GET", path, query=query)
            if reply.status == 404:
                return None
            pages.append(_objects(self._checked(reply, path), path))
            cursor = reply.headers.get("x-next-cursor")
            if not cursor:
                break
            if cursor in seen:
                raise RequestFailed(f"{path}: its pages go round in a circle", reply.status)
            seen.add(cursor)
            query = {**query, "before": cursor}
        else:
            raise RequestFailed(f"{path}: more than {_PAGES} pages", 200)
        # A message may move to the next page while the pages are read: each once, the latest read.
        found: dict[str, Any] = {}
        for page in reversed(pages):
            for entry in page:
                info = entry.get("info")
                found[_id(info if isinstance(info, dict) else {}, path)] = entry
        return list(found.values())

    # -- acting ------------------------------------------------------------------------------------

    async def create_session(self, title: str | None = None, parent_id: str | None = None) -> str:
        """Make a session; its id. The stream brings the rest.

        Raises:
            RequestFailed: the server refuses. ConnectionLost: it did not answer.
        """
        body = {"title": title, "parentID": parent_id}
        given = {name: value for name, value in body.items() if value is not None}
        reply = await self._act("/session", given)
        return _id(reply.json(), "/session")

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
        lacks it: one that was begun behind an error of the session, or half a minute after the
        prompt, and that finds the session idle. Then it is taken back. `connection.resync()` asks
        for such a read; or the program takes it back: `store.apply(MessageRollback(...))`.

        Raises:
            RequestFailed: the server refuses. ConnectionLost: it did not answer.
            CallerError: there is neither text nor part.
        """
        store = self._store
        now = self._clock.wall() + self._ahead_ms
        wire_parts = [dict(part) for part in parts]
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
        error = self._last_error(session_id)
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
            await self._act(_path("session", session_id, "prompt_async"), body)
        except BaseException:
            store.apply(MessageRollback(session_id=session_id, message_id=message_id))
            raise
        self._sent[message_id] = _Sent(session_id, error, self._clock.now())
        if len(self._sent) > _SENT:
            del self._sent[next(iter(self._sent))]
        return message_id

    async def abort(self, session_id: str) -> None:
        """Stop what the session does; the stream says what became of it."""
        await self._act(_path("session", session_id, "abort"), None)

    async def reply_permission(
        self, request_id: str, reply: str, message: str | None = None
    ) -> None:
        """Answer a permission: `once`, `always` or `reject`, with a reason if you like."""
        if reply not in ("once", "always", "reject"):
            raise CallerError("a permission is answered by once, always or reject")
        body = {"reply": reply} if message is None else {"reply": reply, "message": message}
        query = self._directory_of("permissions", request_id)
        await self._act(_path("permission", request_id, "reply"), body, query)

    async def reply_question(self, request_id: str, answers: Sequence[Sequence[str]]) -> None:
        """Answer a question: for each of its questions the labels that were chosen."""
        await self._act(
            _path("question", request_id, "reply"),
            {"answers": [list(answer) for answer in answers]},
            self._directory_of("questions", request_id),
        )

    async def reject_question(self, request_id: str) -> None:
        """Turn a question down."""
        query = self._directory_of("questions", request_id)
        await self._act(_path("question", request_id, "reject"), None, query)

    def _directory_of(self, name: str, request_id: str) -> dict[str, str]:
        """Where a request waits: a server finds it in its own directory only."""
        for session_id in self._store.session_ids():
            session = self._store.session(session_id)
            if session is not None and request_id in getattr(session, name):
                return _directory(session.info)
        return {}

    # -- requests ----------------------------------------------------------------------------------

    def _request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Request:
        headers = {"accept": "application/json", **self._headers}
        data = None
        if method == "POST":
            headers["content-type"] = "application/json"
            data = json.dumps({} if body is None else body, ensure_ascii=False).encode(
                "utf-8", "surrogatepass"
            )
        request = Request(method=method, url=self._base + path, headers=headers, body=data)
        given = {**self._query, **(query or {})}
        return with_query(request, given) if given else request

    async def _ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Reply:
        request = self._request(method, path, query, body)
        reply = await ask(self._transport, request, self._policy, self._clock)
        self._note_date(reply.headers.get("date"))
        return reply

    async def _act(self, path: str, body: Any, query: Mapping[str, str] | None = None) -> Reply:
        reply = await self._ask("POST", path, query=query, body=body)
        if not 200 <= reply.status < 300:
            raise RequestFailed(f"{path}: the server answered {reply.status}", reply.status)
        if reply.data and not reply.is_json:
            raise RequestFailed(f"{path}: the server does not know this request", reply.status)
        return reply

    async def _get(
        self,
        path: str,
        *,
        optional: bool = False,
        missing: bool = False,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """What a read gave. `optional`: None where the server has no such path, or nothing there;
        `missing`: None where there is no such thing."""
        reply = await self._ask("GET", path, query=query)
        if reply.status == 404 and (optional or missing):
            return None
        if optional and reply.status == 200 and not reply.is_json:
            return None  # old servers answer what they do not know with their web page
        return self._checked(reply, path)

    def _checked(self, reply: Reply, path: str) -> Any:
        if reply.status in (408, 425, 429) or reply.status >= 500:
            after_ms = retry_after(reply.headers.get("retry-after"), self._clock.wall())
            raise ConnectionLost(f"{path}: the server answered {reply.status}", after_ms=after_ms)
        if reply.status != 200:
            raise RequestFailed(f"{path}: the server answered {reply.status}", reply.status)
        if not reply.is_json:
            raise RequestFailed(f"{path}: the server does not know this request", reply.status)
        return reply.json()

    def _note_date(self, value: str | None) -> None:
        if value is None:
            return
        try:
            ahead = parsedate_to_datetime(value).timestamp() * 1000 - self._clock.wall()
        except (ValueError, TypeError, OverflowError, IndexError):
            return
        self._ahead_ms = ahead if abs(ahead) > _SKEW_MS else 0.0


def _path(*parts: str) -> str:
    return "".join("/" + quote(part, safe="") for part in parts)


def _by_session(wire: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A state as one object for each session, so that a large one is taken in piece by piece."""
    found: dict[str, dict[str, Any]]
    found = {info["id"]: {"sessions": [info]} for info in wire["sessions"]}
    asked = [request for name in _ASKED for request in wire.get(name, ())]
    for session_id in (*wire.get("status", ()), *map(_session_of, asked)):
        # Also of one that is not listed.
        found.setdefault(session_id, {"sessions": []})
    for session_id, piece in found.items():
        for name in ("messages", "status", "todo", "diff"):
            if name in wire:
                table = wire[name]
                piece[name] = {session_id: table[session_id]} if session_id in table else {}
        for name in _ASKED:
            if name in wire:
                piece[name] = [one for one in wire[name] if _session_of(one) == session_id]
    return found


def _session_of(request: Mapping[str, Any]) -> str:
    """Which session asks; "" where it says so in no way that can be used."""
    found = request.get("sessionID")
    return found if type(found) is str else ""


def _directory(info: Mapping[str, Any]) -> dict[str, str]:
    """The directory of a session as a query, empty where it names none."""
    found = info.get("directory")
    return {"directory": found} if type(found) is str and found else {}


def _joined(found: Any, more: Any) -> Any:
    """Two answers to one read, from two directories."""
    return {**found, **more} if isinstance(found, dict) else [*found, *more]


def _table(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestFailed(f"{path}: the answer is no object", 200)
    return value


def _objects(value: Any, path: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RequestFailed(f"{path}: the answer is no list of objects", 200)
    return value


def _id(value: Any, path: str) -> str:
    found = value.get("id") if isinstance(value, dict) else None
    if type(found) is not str or not found:
        raise RequestFailed(f"{path}: an entry has no id", 200)
    return found
