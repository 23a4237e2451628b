"""`connect`: what is given to it, checked, and the connection made of that.

The loop itself is `connection.py`.
"""

from __future__ import annotations

import json as _json
import random as _random
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

from ..errors import CallerError
from ..model import Sequencing
from ..pipeline import Policy as Leniency
from ..pipeline import StreamStore, checked_opening
from ..protocols import adapter_named
from .answers import origin_of
from .connection import Connection
from .owning import Owner, SameLoop
from .policy import Policy
from .resuming import LastEventId, Resume, following
from .resync import Fetch
from .transport import AsyncioClock, Clock, Request, Transport, headers_of, is_name


class Options(TypedDict, total=False):
    """What `connect` and `connect_blocking` both take by name."""

    protocol: str
    session_id: str | None
    method: str | None
    json: Any
    body: bytes | None
    headers: Mapping[str, str] | None
    snapshot: Fetch | None
    resume: Resume | None
    reconnect: bool | None
    sequencing: Sequencing | None
    generation: str | None
    leniency: Leniency
    live_after: Literal["open", "first event"]
    policy: Policy | None
    transport: Transport | None
    chance: Callable[[], float] | None


def connect(
    url: str,
    *,
    store: StreamStore,
    protocol: str = "auto",
    session_id: str | None = None,
    method: str | None = None,
    json: Any = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    snapshot: Fetch | None = None,
    resume: Resume | None = None,
    reconnect: bool | None = None,
    sequencing: Sequencing | None = None,
    generation: str | None = None,
    leniency: Leniency = "lenient",
    live_after: Literal["open", "first event"] = "open",
    policy: Policy | None = None,
    transport: Transport | None = None,
    clock: Clock | None = None,
    chance: Callable[[], float] | None = None,
    owner: Owner | None = None,
) -> Connection:
    """Follow an event stream into a store: `async with connect(url, store=store) as connection`.

    Asks once the block is entered, and goes on until the block is left or the server says that
    there is nothing more. Bytes are fed in the event loop that runs the block, which must own the
    store; for a store that another thread owns there is `connect_blocking`.

    Args:
        url: where the events come from, `http` or `https`.
        store: takes them in; each connection opens a stream of it.
        protocol, session_id, sequencing, generation, leniency: as of `StreamStore.open`, where
            the last one is called `policy`.
        method: `GET`, or `POST` where there is a body.
        json, body: what is sent: a value as JSON, which knows no NaN and no infinity, or bytes.
        headers: further headers. Credentials among them (`authorization`, `cookie`,
            `proxy-authorization`, `x-api-key`, `api-key`, `x-goog-api-key`) never leave the origin
            of `url`.
        snapshot: fetches the server's state (`async def snapshot(read) -> wire objects`); called
            at the first opening without a position, after drops that no position covers, where a
            connection before this one ended with that still to do, and when the store asks for it.
        resume: how the request says where to go on; `LastEventId()` by default.
        reconnect: whether to ask again after a drop. By default that is so for a `GET`, and for
            a `POST` where `resume` goes on by a `GET`: the same `POST` again would be a new
            question. Otherwise a drop ends the connection with an error (`ConnectionLost`), and
            so does an answer that ends in the middle: in an event, in a part that was still
            streaming (`part.gap`), or before the end of its message (Anthropic). Any other end of
            the answer is no error. Attempts that the server surely did not act on (it could not be
            reached, or it answered 408, 425, 429 or 503) are repeated always. With True, too, a
            whole answer to a `POST` ends the connection, where the server's events have no position
            and there is no `snapshot`: nothing was dropped.
        live_after: what says that nothing more is missed from now on, so that a state may be
            fetched: that the stream is `open`, or the `first event`.
        policy: delays and bounds.
        transport: makes requests; httpx by default (extra `client`).
        clock, chance: time, and numbers from 0 to 1; the loop's and `random.random` by default.
        owner: how to reach the thread that owns the store.

    Raises:
        CallerError: an argument is wrong, or httpx is needed and not installed.
        UnknownProtocol: no adapter has that name.
    """
    if not isinstance(url, str) or origin_of(url) is None:
        given_url = url[:80] if isinstance(url, str | bytes) else type(url).__name__
        raise CallerError(f"an http or https address is needed, not {given_url!r}")
    if not isinstance(store, StreamStore):
        raise CallerError(f"store= takes a StreamStore, not {_kind(store)}")
    if protocol != "auto":
        adapter_named(protocol)
    session_id, generation = checked_opening(
        session_id, sequencing, generation, leniency, "leniency"
    )
    method = method or None
    if method is not None and not (isinstance(method, str) and is_name(method)):
        raise CallerError(f"method= takes a name such as GET or POST, not {method!r:.80}")
    if json is not None and body is not None:
        raise CallerError("give json= or body=, not both")
    if body is not None and not isinstance(body, bytes):
        raise CallerError(f"body= takes bytes, not {_kind(body)}: encode it, or give json=")
    if live_after not in ("open", "first event"):
        raise CallerError("live_after must be open or first event")
    if policy is not None and not isinstance(policy, Policy):
        raise CallerError(
            f"policy= takes a streamstore.client.Policy, not {_kind(policy)}; what a stream's "
            "policy is to the store, lenient or strict, is leniency="
        )
    for name, value, needs in (
        ("resume", resume, "position"), ("transport", transport, "open"), ("clock", clock, "sleep"),
        ("owner", owner, "run"),
    ):  # fmt: skip
        if value is not None and (isinstance(value, type) or not hasattr(value, needs)):
            an = "an" if name == "owner" else "a"
            raise CallerError(f"{name}= takes {an} {name.title()} of its own, not {_kind(value)}")
    for name, function in (("snapshot", snapshot), ("chance", chance)):
        if function is not None and not callable(function):
            raise CallerError(f"{name}= takes a function, not {type(function).__name__!r:.80}")
    given = headers_of(headers)
    sent = {"accept": "text/event-stream", "cache-control": "no-store"}
    if json is not None:
        try:
            text = _json.dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            body = text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            # Also NaN, which is no JSON, and half a surrogate pair.
            raise CallerError(f"json= cannot be sent as JSON: {error}") from error
        sent["content-type"] = "application/json"
    request = Request(
        method=(method or ("GET" if body is None else "POST")).upper(),
        url=url,
        headers={**sent, **given},
        body=body,
    )
    own_transport = transport is None
    if transport is None:
        from .http import HttpxTransport

        transport = HttpxTransport()
    return Connection(
        request,
        store,
        protocol=protocol,
        session_id=session_id,
        sequencing=sequencing,
        generation=generation,
        leniency=leniency,
        transport=transport,
        own_transport=own_transport,
        resume=following(resume or LastEventId(), request),
        snapshot=snapshot,
        reconnect=reconnect,
        live_after=live_after,
        policy=policy or Policy(),
        clock=clock or AsyncioClock(),
        chance=chance or _random.random,
        owner=owner or SameLoop(),
    )


def _kind(value: object) -> str:
    return f"{value!r:.80}" if isinstance(value, type) else f"{type(value).__name__!r:.80}"
