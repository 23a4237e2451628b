"""How a request says where to go on: a position of the store, in the protocol's own words.

Each of these reads a position from a stream and puts it into the next request. What they hand out
is the store's resume position: before the first missing operation, or behind
the last one received. Knows requests, streams and adapters; no transport, task or time.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import attrs

from ..adapters.openai_responses import OpenAIResponsesAdapter
from ..adapters.openai_responses import Resume as ResponsePosition
from ..errors import CallerError
from ..pipeline import Stream, StreamStore
from .answers import OF_BODY
from .transport import Request, is_value


class Resume(Protocol):
    """One way to resume; `LastEventId`, `AfterSeq` and `StartingAfter` are the known ones.

    Attributes:
        live: `position` costs little and says which event was the last, so that it may be asked
            after each chunk; what it says then is tied to the generation of that moment.
    """

    @property
    def live(self) -> bool: ...

    def position(self, store: StreamStore, stream: Stream) -> Hashable:
        """Where to go on after what came; None where there is no position."""
        ...

    def request(self, base: Request, position: Hashable) -> Request:
        """The request that goes on there."""
        ...

    def done(self, store: StreamStore, stream: Stream, clean: bool) -> bool:
        """Whether all has come, so that nothing need be asked for; `clean`: the body ended."""
        ...


@attrs.frozen
class LastEventId:
    """By event-stream ids: the header `Last-Event-ID`. Source: HTML standard, section 9.2."""

    live = True

    def position(self, store: StreamStore, stream: Stream) -> Hashable:
        """The id before the first missing operation, else the last one."""
        return as_header(stream.position.event_id)

    def request(self, base: Request, position: Hashable) -> Request:
        """With the id as a header, in UTF-8."""
        return attrs.evolve(base, headers={**base.headers, "last-event-id": str(position)})

    def done(self, store: StreamStore, stream: Stream, clean: bool) -> bool:
        """Never: such a stream goes on for ever."""
        return False


def _named(resume: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise CallerError(
            f"{type(resume).__name__}: {attribute.name} must be a string that is not empty, not "
            f"{value!r:.80}"
        )


@attrs.frozen
class AfterSeq:
    """By the seq of one session: a query parameter, for opencode's V2 session logs `after`.

    For streams with `session` sequencing, whose store knows the seq up to which all has come.

    The log of an idle opencode session sends nothing, not even the head of its answer, until
    something happens: follow it with a `Policy` whose `head_ms` and `silence_ms` are hours.

    Attributes:
        session_id: whose seq.
        name: of the query parameter.
    """

    session_id: str = attrs.field(validator=_named)
    name: str = attrs.field(default="after", validator=_named)
    live = False

    def position(self, store: StreamStore, stream: Stream) -> Hashable:
        """The last seq before the first missing one."""
        seq: int | None = store.health.resume.get("sessions", {}).get(self.session_id)
        return seq if seq is not None and seq >= 0 else None

    def request(self, base: Request, position: Hashable) -> Request:
        """With the seq in the query, in the place of what stood there."""
        return with_query(base, {self.name: str(position)})

    def done(self, store: StreamStore, stream: Stream, clean: bool) -> bool:
        """Never: more of the session may come."""
        return False


@attrs.frozen
class StartingAfter:
    """By the number of a background response's last event: OpenAI's `starting_after`.

    The first request makes the response (`POST .../responses` with `background` and `stream`), or
    follows one (`GET .../responses/{id}?stream=true`), which is then the one of its URL; after a
    drop the one that it was in is followed, else the latest of the session that has not ended, or
    the one with `response_id`. When it has ended, so has the connection.
    """

    response_id: str | None = attrs.field(default=None, validator=attrs.validators.optional(_named))
    live = False

    def position(self, store: StreamStore, stream: Stream) -> Hashable:
        """The response, and the number up to which all of it has come."""
        return self._resume(stream)

    def request(self, base: Request, position: Hashable) -> Request:
        """`GET .../responses/{id}?stream=true&starting_after={number}`, without a body."""
        assert isinstance(position, ResponsePosition)
        parts = urlsplit(base.url)
        path = parts.path.rstrip("/")
        if base.method != "GET":
            path = f"{path}/{quote(position.response_id, safe='')}"
        headers = {name: value for name, value in base.headers.items() if name not in OF_BODY}
        url = parts._replace(path=path).geturl()
        query = {"stream": "true"}
        if position.starting_after is not None:
            query["starting_after"] = str(position.starting_after)
        return with_query(
            attrs.evolve(base, method="GET", url=url, headers=headers, body=None), query
        )

    def done(self, store: StreamStore, stream: Stream, clean: bool) -> bool:
        """The response has ended, whether or not the connection broke off behind its end."""
        adapter = self._adapter(stream)
        if stream.received == 0 or self._own(adapter) is not None:
            return False
        if adapter.ended(self.response_id):
            return True  # one that has not is another connection's
        # A response that the wire never named cannot be resumed, nor is it at its end; and where
        # none has begun, none has ended.
        return clean and adapter.resume(self.response_id) is None

    def _resume(self, stream: Stream) -> ResponsePosition | None:
        adapter = self._adapter(stream)
        return self._own(adapter) or adapter.resume(self.response_id)

    def _own(self, adapter: OpenAIResponsesAdapter) -> ResponsePosition | None:
        """Of several connections of one session each goes on with its own, not with the latest."""
        if self.response_id is not None:
            return adapter.resume(self.response_id)
        own = adapter.unfinished()
        return None if own is None else adapter.resume(own.message_id)

    def _adapter(self, stream: Stream) -> OpenAIResponsesAdapter:
        adapter = stream.adapter
        if not isinstance(adapter, OpenAIResponsesAdapter):
            raise CallerError(
                "StartingAfter is for the protocol 'openai-responses', not "
                f"{stream.protocol or 'auto'!r}: name it in protocol="
            )
        return adapter


def tell_asked(stream: Stream, position: Hashable) -> None:
    """Tell a stream which response it was asked for: its events need not name it."""
    adapter = stream.adapter
    if isinstance(position, ResponsePosition) and isinstance(adapter, OpenAIResponsesAdapter):
        adapter.follow(position.response_id)


def following(resume: Resume, request: Request) -> Resume:
    """The way to resume what this request follows: the response that its URL names, if one.

    >>> get = Request(url="http://h/v1/responses/resp_1?stream=true")
    >>> following(StartingAfter(), get)
    StartingAfter(response_id='resp_1')
    """
    if isinstance(resume, StartingAfter) and resume.response_id is None:
        path = urlsplit(request.url).path.rstrip("/").split("/")
        # Only what is such an id: `.../responses/stream` may be a proxy's address.
        if request.method == "GET" and path[-2:-1] == ["responses"] and path[-1][:5] == "resp_":
            return StartingAfter(unquote(path[-1]))
    return resume


def as_header(event_id: str) -> str | None:
    r"""What a header can say of an event-stream id; None where it can say nothing.

    Blanks around a header's value are none of it (RFC 9110, 5.5), and a few characters that an id
    may hold, such as a form feed, it may not: HTTP clients refuse the request.

    >>> as_header("7 "), as_header(""), as_header("7\f8")
    ('7', None, None)
    """
    value = event_id.strip(" \t")
    return value if value and is_value(value) else None


def with_query(request: Request, query: dict[str, str]) -> Request:
    """A request with further query parameters; one of the same name is replaced.

    >>> with_query(Request(url="http://h/p?a=1&b=2"), {"b": "3"}).url
    'http://h/p?a=1&b=3'
    """
    parts = urlsplit(request.url)
    pairs = [
        pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in query
    ]
    return attrs.evolve(
        request, url=parts._replace(query=urlencode([*pairs, *query.items()])).geturl()
    )
