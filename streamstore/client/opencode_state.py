"""The state of an opencode server, read over REST, as wire objects of the protocol.

One object for each session. Knows the paths of what is read and what is left out; not what the
store does with it, and not what a user does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs

from .faults import RequestFailed
from .opencode_rest import Rest, id_of, objects, path_of, table

#: Pages of one session's messages: so many, and no more are read.
_PAGES = 10_000
_ASKED = ("permission", "question")
_IDLE = {"type": "idle"}


@attrs.frozen
class State:
    """What a server said.

    Attributes:
        sessions: by id, a wire object each with all that was read of it.
        gone: of those asked for by name, what the server does not know.
        idle: whose messages were read, and which it says it does nothing in.
    """

    sessions: dict[str, dict[str, Any]]
    gone: list[str]
    idle: frozenset[str]


@attrs.frozen
class StateReader:
    """Reads a server's state; see `OpencodeClient` for what its arguments of these names are.

    Attributes:
        details: what is read of a followed session beside its messages.
    """

    rest: Rest
    sessions: int
    follow: Callable[[Mapping[str, Any]], bool] | None
    details: Sequence[str]
    page: int
    reads: int

    async def read(self, known: Sequence[str], only: Collection[str] = ()) -> State:
        """All of it, or nothing: where one request fails, it raises.

        Args:
            known: sessions to ask for by name where the server does not list them.
            only: the sessions whose messages are read; all when it is empty.

        Raises:
            ConnectionLost: the server may answer another time. RequestFailed: it never will.
        """
        own = await self._own_directory()
        query = {"limit": str(self.sessions), **own}
        infos = objects(await self.rest.get("/session", query=query), "/session")
        listed = {id_of(info, "/session"): info for info in infos}
        here = {info.get("directory") for info in infos} | {*own.values()}
        # A list may be cut; one that is asked for by name is there or is not.
        beyond = [session_id for session_id in known if session_id not in listed]
        there, gone = await self._by_name(beyond)
        listed |= there
        elsewhere = {name: None for info in there.values() for name in directory_of(info).values()}
        wire: dict[str, Any] = {}
        for name, path in (
            ("status", "/session/status"),
            ("permission", "/permission"),
            ("question", "/question"),
        ):
            read_as = table if name == "status" else objects
            found = await self.rest.get(path, optional=True)
            if found is None:
                continue
            wire[name] = found = read_as(found, path)
            # These the server gives for one directory at a time: what works or waits in another
            # one would look idle, and answered.
            for directory in elsewhere:
                if directory not in here:
                    query = {"directory": directory}
                    more = await self.rest.get(path, optional=True, query=query)
                    if more is not None:
                        wire[name] = found = _joined(found, read_as(more, path))
        # Beyond the list, or deleted: what a deleted session was doing goes on, in vain, and is
        # told as that of any other one.
        at_work = [
            session_id
            for session_id in _named(wire)
            if session_id not in listed and session_id not in gone and session_id.startswith("ses")
        ]
        there, deleted = await self._by_name(at_work)
        listed |= there
        gone += deleted
        followed = [
            session_id
            for session_id, info in listed.items()
            if (not only or session_id in only) and (self.follow is None or self.follow(info))
        ]
        messages, details = await self._read_sessions(followed)
        wire["sessions"] = [info for session_id, info in listed.items() if session_id not in gone]
        wire["messages"] = messages
        wire.update((name, found) for name, found in details.items() if found)
        for session_id in (*gone, *(sid for sid in followed if sid not in messages)):
            # Deleted while it was read, or before: a full event brings it back, if there is one.
            wire["sessions"] = [info for info in wire["sessions"] if info["id"] != session_id]
            wire.get("status", {}).pop(session_id, None)
            for name in _ASKED:
                if name in wire:
                    wire[name] = [one for one in wire[name] if _session_of(one) != session_id]
        status = wire.get("status")
        idle: frozenset[str] = frozenset()
        if isinstance(status, dict):
            idle = frozenset(sid for sid in messages if status.get(sid, _IDLE) == _IDLE)
        return State(_by_session(wire), gone, idle)

    async def _by_name(
        self, session_ids: Iterable[str]
    ) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Sessions asked for by name: those that are there, and the ids of those that are not."""
        there: dict[str, dict[str, Any]] = {}
        gone = []
        for session_id in session_ids:
            path = path_of("session", session_id)
            info = await self.rest.get(path, missing=True)
            if info is None:
                gone.append(session_id)
            else:
                there[session_id] = table(info, path)
        return there, gone

    async def _own_directory(self) -> dict[str, str]:
        """The directory as a query: where none is named, the server lists the sessions of several
        directories, but says what happens in the one it was started in."""
        told = {n: self.rest.query[n] for n in ("directory", "workspace") if n in self.rest.query}
        if told:
            return told
        found = await self.rest.get("/path", optional=True)
        return directory_of(found) if isinstance(found, dict) else {}

    async def _read_sessions(
        self, session_ids: Sequence[str]
    ) -> tuple[dict[str, list[Any]], dict[str, dict[str, list[Any]]]]:
        """Messages, todos and diffs of sessions, several at a time, without those that are gone."""
        import asyncio

        waiting = list(reversed(session_ids))
        messages: dict[str, list[Any]] = {}
        details: dict[str, dict[str, list[Any]]] = {name: {} for name in self.details}

        async def work() -> None:
            while waiting:
                session_id = waiting.pop()
                found = await self._read_messages(session_id)
                if found is None:
                    continue
                messages[session_id] = found
                for name, read in details.items():
                    value = await self.rest.get(path_of("session", session_id, name), optional=True)
                    if value is not None:
                        read[session_id] = value

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.reads, len(waiting))):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        # In the order of the list, whichever came first.
        return {sid: messages[sid] for sid in session_ids if sid in messages}, details

    async def _read_messages(self, session_id: str) -> list[Any] | None:
        """All messages of a session, page by page from the latest back; None when it is gone."""
        path = path_of("session", session_id, "message")
        pages: list[list[Any]] = []
        query = {"limit": str(self.page)}
        seen: set[str] = set()
        for _ in range(_PAGES):
            reply = await self.rest.ask("GET", path, query=query)
            if reply.status == 404:
                return None
            pages.append(objects(self.rest.checked(reply, path), path))
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
                found[id_of(info if isinstance(info, dict) else {}, path)] = entry
        return list(found.values())


def _by_session(wire: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A state as one object for each session, so that a large one is taken in piece by piece."""
    found: dict[str, dict[str, Any]]
    found = {info["id"]: {"sessions": [info]} for info in wire["sessions"]}
    for session_id in _named(wire):
        # Also of one that cannot be asked for.
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


def _named(wire: Mapping[str, Any]) -> list[str]:
    """The sessions in which something works or waits, each once."""
    asked = [request for name in _ASKED for request in wire.get(name, ())]
    return list(dict.fromkeys((*wire.get("status", ()), *map(_session_of, asked))))


def _session_of(request: Mapping[str, Any]) -> str:
    """Which session asks; "" where it says so in no way that can be used."""
    found = request.get("sessionID")
    return found if type(found) is str else ""


def directory_of(info: Mapping[str, Any]) -> dict[str, str]:
    """The directory of a session as a query, empty where it names none."""
    found = info.get("directory")
    return {"directory": found} if type(found) is str and found else {}


def _joined(found: Any, more: Any) -> Any:
    """Two answers to one read, from two directories."""
    return {**found, **more} if isinstance(found, dict) else [*found, *more]
