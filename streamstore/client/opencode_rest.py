"""Requests to an opencode server beside its stream: how they are asked, what an answer must be.

Knows paths and JSON, the server's clock by the dates of its answers, and which answers are worth
another try; no store, and not what the answers mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs

from ..errors import CallerError
from .answers import SAID_BYTES, said, says
from .asking import Reply, ask
from .faults import ConnectionLost, RequestFailed
from .policy import Policy, http_date, retry_after
from .resuming import with_query
from .transport import Clock, Request, Transport

#: Clocks of one machine differ by less, and an HTTP date is cut to a second.
_SKEW_MS = 2_000


@attrs.define
class Rest:
    """A server's address, and what every request to it has.

    Attributes:
        base: without a slash at its end.
        query: of every request.
        ahead_ms: the server's clock before ours, 0 where they differ by less than can be told.
    """

    base: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    policy: Policy
    transport: Transport
    clock: Clock
    ahead_ms: float = 0.0

    def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Request:
        """A request; `path` stands behind `base`, a POST has a JSON body, `{}` for None.

        Raises:
            CallerError: the body is none that JSON can say.
        """
        headers = {"accept": "application/json", **self.headers}
        data = None
        if method == "POST":
            headers["content-type"] = "application/json"
            try:
                text = json.dumps({} if body is None else body, ensure_ascii=False, allow_nan=False)
            except (TypeError, ValueError, RecursionError) as error:
                raise CallerError(f"this cannot be sent as JSON: {error}") from error
            data = text.encode("utf-8", "surrogatepass")
        request = Request(method=method, url=self.base + path, headers=headers, body=data)
        given = {**self.query, **(query or {})}
        return with_query(request, given) if given else request

    async def ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Reply:
        """The answer to a request, whatever its status; see `asking.ask` for what it raises."""
        request = self.request(method, path, query, body)
        reply = await ask(self.transport, request, self.policy, self.clock)
        self._note_date(reply.headers.get("date"))
        return reply

    async def act(self, path: str, body: Any, query: Mapping[str, str] | None = None) -> Reply:
        """Have the server do something.

        Raises:
            RequestFailed: it refuses. ConnectionLost: it did not answer.
            CallerError: the body is none that JSON can say.
        """
        reply = await self.ask("POST", path, query=query, body=body)
        if not 200 <= reply.status < 300:
            raise RequestFailed(self._answered(reply, path), reply.status)
        if reply.data and not reply.is_json:
            raise RequestFailed(f"{path}: the server does not know this request", reply.status)
        return reply

    async def get(
        self,
        path: str,
        *,
        optional: bool = False,
        missing: bool = False,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """What a read gave. `optional`: None where the server has no such path, or nothing there;
        `missing`: None where there is no such thing. Raises as `checked` does."""
        reply = await self.ask("GET", path, query=query)
        if reply.status == 404 and (optional or missing):
            return None
        if optional and reply.status == 200 and not reply.is_json:
            return None  # old servers answer what they do not know with their web page
        return self.checked(reply, path)

    def checked(self, reply: Reply, path: str) -> Any:
        """What the answer to a read holds.

        Raises:
            ConnectionLost: the server may answer another time. RequestFailed: it never will.
        """
        if reply.status in (408, 425, 429) or reply.status >= 500:
            after_ms = retry_after(reply.headers.get("retry-after"), self.clock.wall())
            raise ConnectionLost(self._answered(reply, path), after_ms=after_ms)
        if reply.status != 200:
            raise RequestFailed(self._answered(reply, path), reply.status)
        if not reply.is_json:
            raise RequestFailed(f"{path}: the server does not know this request", reply.status)
        return reply.json()

    def _answered(self, reply: Reply, path: str) -> str:
        """What the server answered, with its reason where it gives one."""
        why = ""
        if says(reply.headers):
            why = said(self.request("GET", path), reply.data[:SAID_BYTES])
        return f"{path}: the server answered {reply.status}{why}"

    def _note_date(self, value: str | None) -> None:
        at = None if value is None else http_date(value)
        if at is None:
            return
        ahead = at - self.clock.wall()
        self.ahead_ms = ahead if abs(ahead) > _SKEW_MS else 0.0


def path_of(*parts: str) -> str:
    """A path of these steps, quoted.

    Raises:
        CallerError: one of them is no id.
    """
    for part in parts:
        if not isinstance(part, str) or not part:
            raise CallerError(f"an id is a string that is not empty, not {part!r:.80}")
    return "".join("/" + quote(part, safe="") for part in parts)


def table(value: Any, path: str) -> dict[str, Any]:
    """What must be an object.

    Raises:
        RequestFailed: it is none.
    """
    if not isinstance(value, dict):
        raise RequestFailed(f"{path}: the answer is no object", 200)
    return value


def objects(value: Any, path: str) -> list[dict[str, Any]]:
    """What must be a list of objects.

    Raises:
        RequestFailed: it is none.
    """
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RequestFailed(f"{path}: the answer is no list of objects", 200)
    return value


def id_of(value: Any, path: str) -> str:
    """The id of an entry.

    Raises:
        RequestFailed: it has none.
    """
    found = value.get("id") if isinstance(value, dict) else None
    if type(found) is not str or not found:
        raise RequestFailed(f"{path}: an entry has no id", 200)
    return found
