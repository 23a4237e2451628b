"""The server as an ASGI application: requests to replays, actions to bytes.

- Of an opencode log: `/event` and `/global/event` are streams, the rest are reads of its state.
- Of any other log: every path is the stream, by `GET` or `POST`, so that a frontend's own address
  fits.
- `HEAD` has the headers of a `GET`, and begins no replay.
- In front of each path `/@NAME` names a replay of its own: its own time, state and chance.

A client that reads slowly is waited for; it holds nothing but its place in the log and what the
socket holds. A log that cannot be read any more is told, and breaks the streams off. Knows
Starlette for requests and answers; the clock comes from outside.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote

from ..client.transport import Clock
from ..keys import MAX_NUMBER
from ..log import LogError
from . import opencode
from .numbers import PARAMETERS
from .planning import Action, Close, Pause, Send, Until
from .replays import OwnReplay, Settings, SharedReplay, Wish
from .tape import Tape

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
SendMessage: TypeAlias = Callable[[Message], Awaitable[None]]

#: Streams at a time; one more is told to come back.
CLIENTS = 1_000
#: Replays that are remembered; of more, the one that was idle longest starts anew.
REPLAYS = 1_000

_NAMED = re.compile(r"/@([^/]{1,1000})(?=/|$)")
_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-store",
    "x-accel-buffering": "no",
}
#: What clients of a protocol look for.
_OWN_HEADERS: Mapping[str, Mapping[str, str]] = {
    "vercel-ui": {"x-vercel-ai-ui-message-stream": "v1"},
}
#: Methods: of an opencode server's reads, and where every path is the stream.
_READS = ("GET", "HEAD")
_ASKS = (*_READS, "POST")
_RECORDED = "this server replays a recording: it can be read, and nothing can be done to it"


class ReplayApp:
    """See the module; `stop` ends all streams.

    Args:
        tape: the log.
        settings: how it is replayed.
        clock: time.
    """

    def __init__(self, tape: Tape, settings: Settings, clock: Clock) -> None:
        self._tape = tape
        self._settings = settings
        self._clock = clock
        self._shared = tape.declaration.name == "opencode"
        self._replays: OrderedDict[str, OwnReplay | SharedReplay] = OrderedDict()
        self._stopped = asyncio.Event()
        self.clients = 0
        """Streams that are open."""

    def stop(self) -> None:
        """End every stream, as a server that goes away does."""
        self._stopped.set()

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        if scope["type"] != "http":
            return
        try:
            answer = await self._streamed(scope, receive, send)
        except LogError as error:
            self._tape.tell_once(str(error))
            answer = opencode.refused("the log cannot be read", 500)
        if answer is not None:
            await self._answer(answer, scope, receive, send)

    async def _streamed(
        self, scope: Scope, receive: Receive, send: SendMessage
    ) -> opencode.Answer | None:
        """The answer to a request; None where it was a stream, which is over."""
        from starlette.datastructures import Headers

        path = scope["raw_path"].decode("latin-1")
        named = _NAMED.match(path)
        name = unquote(named[1]) if named else ""
        path = path[named.end() :] if named else path
        method = scope["method"]
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        streams = path in (opencode.EVENTS, opencode.GLOBAL_EVENTS) if self._shared else True
        if path == "/favicon.ico":
            return opencode.missing("there is no icon")
        if method not in (_READS if self._shared else _ASKS):
            return opencode.refused(_RECORDED, 501 if self._shared else 405)
        if streams and method == "HEAD":
            # Whoever waits for a server to come up asks so: no replay begins by it.
            await self._begin(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return None
        if (replay := self._replay(name)) is None or (streams and self.clients >= CLIENTS):
            return opencode.refused("too many clients at a time", 503)
        if streams:
            wish = self._wish(path, Headers(scope=scope), query)
            await self._stream(replay, wish, receive, send)
            return None
        assert isinstance(replay, SharedReplay)
        return opencode.read(path, query, replay.state(self._clock.now()))

    def _replay(self, name: str) -> OwnReplay | SharedReplay | None:
        """The replay with a name, made when it is new; None where all that may be are in use."""
        found = self._replays.get(name)
        if found is None:
            if len(self._replays) >= REPLAYS:
                idle = next((key for key, one in self._replays.items() if not one.busy), None)
                if idle is None:
                    return None
                del self._replays[idle]
            kind = SharedReplay if self._shared else OwnReplay
            found = self._replays[name] = kind(name, self._tape, self._settings)
        self._replays.move_to_end(name)
        return found

    def _wish(self, path: str, headers: Mapping[str, str], query: Mapping[str, str]) -> Wish:
        # Raw UTF-8, which servers read as Latin-1.
        event_id = headers.get("last-event-id", "").encode("latin-1").decode("utf-8", "replace")
        number = query.get(PARAMETERS.get(self._tape.declaration.name, ""), "")
        known = number.isascii() and number.isdecimal() and len(number) < len(str(MAX_NUMBER))
        return Wish(
            event_id=event_id or query.get("lastEventId", ""),
            number=int(number) if known else None,
            wrapped=path == opencode.GLOBAL_EVENTS,
        )

    async def _answer(
        self, answer: opencode.Answer, scope: Scope, receive: Receive, send: SendMessage
    ) -> None:
        from starlette.responses import Response

        headers = dict(answer.headers)
        if answer.status == 503:
            headers["retry-after"] = "1"
        elif answer.status == 405:
            headers["allow"] = ", ".join(_ASKS)
        # ASCII: half of a pair of surrogates cannot be written otherwise.
        data = json.dumps(answer.value).encode()
        response = Response(data, answer.status, headers, "application/json")
        await response(scope, receive, send)

    # -- streams -----------------------------------------------------------------------------------

    async def _stream(
        self, replay: OwnReplay | SharedReplay, wish: Wish, receive: Receive, send: SendMessage
    ) -> None:
        replay.busy += 1
        self.clients += 1
        tasks: list[asyncio.Task[Any]] = []
        results: list[Any] = []
        try:
            actions = replay.connect(wish, self._clock.now())
            await self._begin(send)
            tasks = [
                asyncio.ensure_future(self._carry_out(actions, send)),
                asyncio.ensure_future(_gone(receive)),
                asyncio.ensure_future(self._stopped.wait()),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self.clients -= 1
            replay.busy -= 1
        for result in results:
            if isinstance(result, LogError):
                # It breaks off: a body that ends would say that the log does.
                self._tape.tell_once(str(result))
                continue
            # Whoever sends learns in this way that nobody is there.
            if isinstance(result, Exception) and not isinstance(result, OSError):
                raise result

    async def _begin(self, send: SendMessage) -> None:
        own = _OWN_HEADERS.get(self._tape.declaration.name, {})
        raw = [(name.encode(), value.encode()) for name, value in {**_HEADERS, **own}.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})

    async def _carry_out(self, actions: Iterator[Action], send: SendMessage) -> None:
        for action in actions:
            if isinstance(action, Send):
                await send({"type": "http.response.body", "body": action.data, "more_body": True})
                await asyncio.sleep(0)  # as fast as it goes, but the others have their turns
            elif isinstance(action, Until):
                left = action.at_ms - self._clock.now()
                if left == float("inf"):
                    await asyncio.Event().wait()
                elif left > 0:
                    await self._clock.sleep(left)
            elif isinstance(action, Pause):
                await self._clock.sleep(action.ms)
            else:
                assert isinstance(action, Close)
                if action.clean:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                # Else the body has no end: the server then breaks the connection.
                return


async def _gone(receive: Receive) -> None:
    """Come back when the client has gone; what it sent is not read."""
    while (await receive())["type"] != "http.disconnect":
        pass
