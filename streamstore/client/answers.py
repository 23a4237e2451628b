"""What the head of an answer means: an open stream, another address, later, or never.

Pure: a request, a status and headers in, a value out. Sources: HTML standard, "Server-sent events"
(what opens a stream, and that 204 ends it); Fetch standard, "HTTP-redirect fetch".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

import attrs

from .faults import StreamRefused
from .policy import retry_after
from .transport import Request

#: What of a request's headers is for its origin alone.
CREDENTIALS = (
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
)
#: Statuses that name another address.
REDIRECTS = frozenset((301, 302, 303, 307, 308))
#: 4xx that pass: the request timed out, came too early, or came too often.
_PASSING = frozenset((408, 425, 429))
#: Of those and of 5xx, the ones that say that the request was not acted on.
_UNTOUCHED = frozenset((408, 425, 429, 503))
#: The server no longer has what came after the position that was sent.
_TOO_OLD = frozenset((409, 410, 412))
#: JSON lines by any of their names: a store takes them, and nothing here says where to go on.
_LINES = frozenset(
    f"application/{name}"
    for name in ("x-ndjson", "ndjson", "jsonl", "x-jsonl", "jsonlines", "x-jsonlines", "json-lines")
)
_RECORDS = "application/json-seq"  # RFC 7464: each behind a record separator
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')  # of a parameter, which may have a comma
#: Headers that say something of a body, and go with it.
OF_BODY = ("content-type", "content-length", "content-encoding", "content-language")
_PORTS = {"http": 80, "https": 443}
#: Of the body of an answer that is no stream: bytes that are looked at, characters that are shown.
SAID_BYTES, _SAID = 4_096, 400
_SECRET_FROM = 8  # characters; what is shorter in a header of credentials is a word such as Bearer


@attrs.frozen
class Opened:
    """Events follow."""


@attrs.frozen
class Redirected:
    """Ask there instead."""

    request: Request


@attrs.frozen
class Later:
    """Try again, not before `after_ms` where the server says so."""

    reason: str
    after_ms: float | None
    untouched: bool


@attrs.frozen
class TooOld:
    """What came after the position cannot be had any more: fetch the state instead."""

    reason: str


Answer: TypeAlias = Opened | Redirected | Later | TooOld


def judge(
    request: Request, status: int, headers: Mapping[str, str], *, wall_ms: float, resuming: bool
) -> Answer:
    """What an answer to a request for a stream means; `resuming`: it carried a position.

    Raises:
        StreamRefused: it ends the connection.
    """
    if status == 200:
        kind = kind_of(headers.get("content-type", ""))
        if kind == "text/event-stream":
            return Opened()
        if kind in _LINES or kind == _RECORDS:
            bare = "" if kind in _LINES else " without its record separators (0x1e)"
            raise StreamRefused(
                f"{_where(request)} answered with {kind}, and only event streams "
                "(text/event-stream) can be followed: ask the server for one, or read the answer "
                f"with your HTTP client and give each chunk{bare} to `Stream.feed`, which takes "
                "JSON lines",
                status,
            )
        raise StreamRefused(
            f"{_where(request)} answered with {_shown(kind) or 'no content type'} where an event "
            "stream (text/event-stream) was asked for: check the address; a stream of your own "
            "server needs that content type",
            status,
        )
    if status == 204:
        raise StreamRefused(
            f"{_where(request)} says that there is nothing to follow, and that nobody should "
            "connect again (204)",
            status,
        )
    if status in REDIRECTS:
        return Redirected(redirected(request, status, headers.get("location")))
    if status in _TOO_OLD and resuming:
        return TooOld(f"the server no longer has what came after the position ({status})")
    if status in _PASSING or status >= 500:
        return Later(
            f"{_where(request)} answered {status}",
            retry_after(headers.get("retry-after"), wall_ms),
            status in _UNTOUCHED,
        )
    raise StreamRefused(f"{_where(request)} answered {status}{_hint(status)}", status)


def kind_of(value: str) -> str:
    """What a `Content-Type` names; of several, which some proxies make of one, the last.

    Source: Fetch standard, "extract a MIME type".

    >>> kind_of("text/event-stream; charset=utf-8, text/event-stream"), kind_of("Text/HTML;a='b,c'")
    ('text/event-stream', 'text/html')
    """
    kinds = [one.partition(";")[0].strip().lower() for one in _QUOTED.sub("", value).split(",")]
    return next((kind for kind in reversed(kinds) if "/" in kind and kind != "*/*"), kinds[0])


def redirected(request: Request, status: int, location: str | None) -> Request:
    """The request that a redirect asks for; across origins without credentials.

    >>> there = redirected(Request(url="http://a/x", headers={"cookie": "c"}), 307, "http://b/y")
    >>> there.url, dict(there.headers), there.credentials
    ('http://b/y', {}, False)

    Raises:
        StreamRefused: it names no address that can be asked.
    """
    if not location:
        raise StreamRefused(f"{_where(request)} redirects without saying where to", status)
    url = ""
    try:
        url = urljoin(request.url, location.strip())
        origin = origin_of(url)
        if origin != origin_of(request.url):
            # Credentials that a redirect itself names for another origin are not ours to send.
            url = _with_user(url, "")
        elif urlsplit(url).username is None:
            # Within the origin those of the address go along, as those of the headers do.
            url = _with_user(url, urlsplit(request.url).netloc.rpartition("@")[0])
    except ValueError:
        origin = None
    if origin is None:
        raise StreamRefused(
            f"{_where(request)} redirects to what is no http or https address", status
        )
    headers = dict(request.headers)
    method, body = request.method, request.body
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        if method != "GET":
            method, body = "GET", None
            for name in OF_BODY:
                headers.pop(name, None)
    credentials = request.credentials
    if origin != origin_of(request.url):
        credentials = False
        for name in CREDENTIALS:
            headers.pop(name, None)
    return Request(method=method, url=url, headers=headers, body=body, credentials=credentials)


def says(headers: Mapping[str, str]) -> bool:
    """Whether the body of an answer that is no stream is text for whoever reads an error."""
    kind = kind_of(headers.get("content-type", ""))
    return kind in ("application/json", "text/plain") or kind.endswith("+json")


def said(request: Request, body: bytes) -> str:
    """What such a body says, as the end of a message; "" for nothing.

    In one line, without control characters, and without the credentials that were sent, which
    some servers repeat.

    >>> said(Request(url="http://a", headers={"x-api-key": "sk-12345"}), b"no sk-12345\\n")
    '; it says: no ***'
    """
    text = body.decode("utf-8", "replace")
    for name in CREDENTIALS:
        for word in re.split(r"[\s;,]+", request.headers.get(name, "")):
            for secret in (word, word.partition("=")[2]):  # of a cookie its value alone, too
                if len(secret) >= _SECRET_FROM:
                    text = text.replace(secret, "***")
    text = " ".join(text.split())
    if len(text) > _SAID:
        text = text[:_SAID] + "..."
    return f"; it says: {_printable(text)}" if text else ""


def origin_of(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for what is no http or https address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port that is none, a bracket that is not closed
        return None
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme]


def _with_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user}@{host}" if user else host).geturl()


def _where(request: Request) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(request.url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{_shown(parts.path)}"


def _shown(text: str) -> str:
    return _printable(text[:200])


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _hint(status: int) -> str:
    if status in (401, 403):
        return ": it wants credentials, or others; pass them as headers"
    if status == 404:
        return ": there is no such stream; check the address"
    return ""
