"""One request beside the stream, with its whole answer: within a time and a size.

Follows redirects by the rules of `answers.py`. Knows no protocol and no store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import attrs

from .answers import REDIRECTS, kind_of, redirected
from .faults import RequestFailed, TooManyRedirects
from .policy import Policy
from .transport import Clock, Request, Transport
from .watch import Silence, watched


@attrs.frozen
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def is_json(self) -> bool:
        """Whether it says that it is JSON."""
        kind = kind_of(self.headers.get("content-type", ""))
        return kind == "application/json" or kind.endswith("+json")

    def json(self) -> Any:
        """What it holds.

        Raises:
            RequestFailed: it is no JSON.
        """
        try:
            return json.loads(self.data)
        except (ValueError, RecursionError) as error:
            raise RequestFailed(f"the answer is no JSON: {error}", self.status) from error


async def ask(transport: Transport, request: Request, policy: Policy, clock: Clock) -> Reply:
    """Make a request and read its whole answer, whatever its status.

    Raises:
        ConnectionLost: there is none, or it broke off, or took longer than `policy.reply_ms`.
        RequestFailed: it is larger than `policy.reply_bytes`.
        StreamRefused: it redirects to nowhere, or for ever, or nobody decodes its body.
    """
    deadline = Silence(clock, policy.reply_ms, f"no whole answer to {request.method}")
    return await watched(_ask(transport, request, policy), deadline)


async def _ask(transport: Transport, request: Request, policy: Policy) -> Reply:
    redirects = 0
    while True:
        response = await transport.open(request)
        try:
            status = response.status
            if status not in REDIRECTS:
                data = bytearray()
                async with aclosing(response.chunks()) as chunks:
                    async for chunk in chunks:
                        data += chunk
                        if len(data) > policy.reply_bytes:
                            raise RequestFailed(
                                f"the answer is larger than {policy.reply_bytes} bytes", status
                            )
                return Reply(status, response.headers, bytes(data))
            request = redirected(request, status, response.headers.get("location"))
        finally:
            await response.aclose()
        redirects += 1
        if redirects > policy.redirects:
            raise TooManyRedirects(f"more than {policy.redirects} redirects in a row", status)
