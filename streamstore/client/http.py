"""The transport over real sockets: httpx, and what its errors mean.

Knows httpx and the protocol of `transport.py`; no store and no policy.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import CallerError
from .answers import CREDENTIALS
from .faults import CertificateRefused, ConnectionLost, StreamRefused
from .transport import Request

if TYPE_CHECKING:
    import httpx

#: Encodings of a body that httpx takes apart only with a further package, or never: it would give
#: the packed bytes as they are, and so it does with a name that is none, which is nothing packed.
_PACKED = {
    "br": "pip install 'httpx[brotli]'",
    "zstd": "pip install 'httpx[zstd]'",
    **dict.fromkeys(("compress", "x-compress", "x-gzip", "dcb", "dcz"), ""),
}


class HttpxTransport:
    """Makes requests with httpx.

    Args:
        client: an `httpx.AsyncClient` of the caller's, who closes it; by default one of its own,
            without time limits: the watchdog is the only one.
        options: for that own client (`verify`, `proxy`, `limits`, `http2`, ...).

    Raises:
        CallerError: httpx is not installed, or can make no client of the options, or of the proxies
            and certificates that the environment names; or `client` is none of its asynchronous
            ones.
    """

    def __init__(self, client: httpx.AsyncClient | None = None, **options: Any) -> None:
        httpx = _httpx()
        if client is not None and (
            isinstance(client, type | httpx.Client) or not hasattr(client, "build_request")
        ):
            kind = client if isinstance(client, type) else type(client)
            raise CallerError(f"client= takes an httpx.AsyncClient of yours, not {kind!r:.80}")
        self._own = client is None
        # What a client of the caller's, or one with a transport or proxy of its own, does with the
        # environment is not known here.
        reads = self._own and options.keys().isdisjoint(("proxy", "transport"))
        self._by_environment = reads and bool(options.get("trust_env", True))
        try:
            self._client = client or httpx.AsyncClient(**{"timeout": None, **options})
        except (
            ImportError, ValueError, OSError, TypeError, AttributeError, httpx.InvalidURL
        ) as error:  # fmt: skip
            # A proxy by SOCKS without its package, a file of certificates that is not there, ...
            raise CallerError(
                f"httpx cannot be set up: {_said(error)} (options aside, it reads HTTP_PROXY, "
                "HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE in the environment)"
            ) from error

    async def open(self, request: Request) -> HttpxResponse:
        """Send a request and wait for the head of its answer; see `Transport.open`."""
        httpx = _httpx()
        client = self._client
        if client.is_closed:
            raise CallerError("this transport was closed: make another one, or another client")
        size = len(request.body or b"")
        if request.headers.get("content-length", str(size)) != str(size):
            raise CallerError(
                f"the request cannot be sent: its body has {size} bytes, and not as many as its "
                "content-length says: leave that header out"
            )
        # Compressed, an event waits until a block is full.
        headers = {"accept-encoding": "identity", **request.headers}
        try:
            pairs = [(name.encode("ascii"), text.encode("utf-8")) for name, text in headers.items()]
            built = client.build_request(
                request.method, request.url, headers=pairs, content=request.body, timeout=None,
                extensions={"trace": _Handshake()},
            )  # fmt: skip
            _ = built.url.host  # httpx decodes it when it sends: a wrong one shows here
        except (httpx.InvalidURL, UnicodeError) as error:
            raise CallerError(f"the request cannot be sent: {error}") from error
        try:
            auth: Any = httpx.USE_CLIENT_DEFAULT
            if not request.credentials:
                auth = None
                for name in CREDENTIALS:
                    built.headers.pop(name, None)
            response = await client.send(built, stream=True, follow_redirects=False, auth=auth)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise CallerError(f"the request cannot be sent: {error}") from error
        except (httpx.HTTPError, *_unmapped()) as error:
            unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            way = _proxy_to(request.url) if self._by_environment else ""
            way = way and f" (by way of {way}, the proxy of the environment)"
            unverified = _unverified(error)
            if unverified:
                raise CertificateRefused(
                    f"the certificate of {built.url.host!r:.80}, or of a proxy before it, does not "
                    f"verify: {unverified}{way}. It is theirs to mend; an authority of your own is "
                    "named by SSL_CERT_FILE in the environment, or by transport=HttpxTransport("
                    "verify=ssl.create_default_context(cafile=...))"
                ) from error
            problem = _said(error) + way
            raise ConnectionLost(problem, sent=not unsent) from error
        packed = _packed(response)
        if packed and 200 <= response.status_code < 300 and response.status_code != 204:
            await response.aclose()
            raise StreamRefused(
                f"the server answered in the encoding {packed!r}, though asked for "
                f"{headers['accept-encoding']!r:.80}, and httpx cannot decode it here: have the "
                "server, or the proxy before it, send plain or gzip"
                + (f", or {_PACKED[packed]}" if _PACKED[packed] else ""),
                response.status_code,
            )
        return HttpxResponse(response, readable=not packed)

    async def aclose(self) -> None:
        """Close the own client; one that was given stays open."""
        if self._own:
            await self._client.aclose()


class HttpxResponse:
    """An answer of httpx; see `Response`. One that is not `readable` has no body for anybody."""

    def __init__(self, response: httpx.Response, *, readable: bool = True) -> None:
        self._response = response
        self._readable = readable

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        """By name in any case."""
        return self._response.headers

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes."""
        httpx = _httpx()
        import zlib  # as httpx

        if not self._readable:
            return  # of an error, whose status says what to do
        begun = False
        try:
            async with aclosing(self._decoded()) as decoded:
                async for chunk in decoded:
                    begun = begun or bool(chunk)
                    yield chunk
        except (httpx.DecodingError, zlib.error) as error:
            named = self._response.headers.get("content-encoding", "")
            problem = (
                f"the answer is not in the encoding {named!r:.80} that it names: have the server, "
                f"or the proxy before it, send plain ({_said(error)})"
            )
            if begun or not self._response.is_success:
                raise ConnectionLost(problem) from error  # damaged on its way, or no stream anyhow
            raise StreamRefused(problem, self._response.status_code) from error
        except (httpx.HTTPError, httpx.StreamError, *_unmapped()) as error:
            raise ConnectionLost(_said(error)) from error

    async def _decoded(self) -> AsyncGenerator[bytes, None]:
        response = self._response
        # One that is consumed was read whole by a hook of the caller's client, or never streamed.
        if _encodings(response) != ["gzip"] or response.is_stream_consumed:
            async for chunk in response.aiter_bytes():
                yield chunk
            return
        import asyncio

        from .unzipping import STEP, Unzip

        unzip = Unzip()
        async for packed in response.aiter_raw():
            for chunk in unzip.feed(packed):
                yield chunk
                if len(chunk) == STEP:  # much of a little: others have their turn
                    await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Give it up."""
        # httpx marks it as closed first: cancelled in the middle it would never be.
        await _to_its_end(self._response.aclose())


class _Handshake:
    """Closes the socket of a TLS handshake that came to nothing.

    httpcore does so when it fails, and not when it is cancelled: the socket would be open until it
    is collected. Source: the extension `trace` of httpcore.
    """

    def __init__(self) -> None:
        self._stream: Any = None

    async def __call__(self, name: str, info: Mapping[str, Any]) -> None:
        if name.endswith(".connect_tcp.complete"):
            self._stream = info["return_value"]
        elif name.endswith(".start_tls.complete"):
            self._stream = None
        elif name.endswith(".start_tls.failed") and self._stream is not None:
            stream, self._stream = self._stream, None
            await _to_its_end(stream.aclose())


def _packed(response: httpx.Response) -> str:
    """The encoding of an answer's body that nothing here decodes; "" for none."""
    for encoding in _encodings(response):
        if encoding in _PACKED and not _decodes(encoding):
            return encoding
    return ""


def _encodings(response: httpx.Response) -> list[str]:
    """What an answer's body was packed in, in order; what is no encoding is left out."""
    named: str = response.headers.get("content-encoding", "")
    encodings = map(str.strip, named.lower().split(","))
    return [encoding for encoding in encodings if encoding in ("gzip", "deflate", *_PACKED)]


def _decodes(encoding: str) -> bool:
    """Whether httpx takes an encoding apart: it depends on its version and on what is installed."""
    httpx = _httpx()
    packed = b"nothing of the kind"
    try:
        answer = httpx.Response(200, headers={"content-encoding": encoding}, content=packed)
    except httpx.DecodingError:
        return True
    return bool(answer.content != packed)


def _proxy_to(url: str) -> str:
    """The proxy that the environment names for an address, without its password; "" for none."""
    from urllib.request import getproxies, proxy_bypass  # as httpx: many modules, seldom needed

    parts, proxies = urlsplit(url), getproxies()
    named = proxies.get(parts.scheme.lower()) or proxies.get("all") or ""
    if not named or proxy_bypass(parts.hostname or ""):
        return ""
    return named.rpartition("@")[2].rpartition("//")[2]


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do what must not be done by half; cancelled, it says so behind its end."""
    import asyncio

    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            cancelled = True
    error = task.exception()
    if cancelled:
        raise asyncio.CancelledError
    if error is not None:
        raise error


def _unmapped() -> tuple[type[Exception], ...]:
    """What goes through httpx as it is, though the network or the server made it.

    TLS that breaks behind its handshake (a damaged record, an alert, plain text of a proxy), and a
    redirect to a host that no name can be, which httpx looks at unasked.
    """
    import ssl  # as httpx: seldom needed

    return ssl.SSLError, UnicodeError


def _unverified(error: BaseException | None) -> str:
    """Why a certificate does not verify, where that is what an error comes of; "" otherwise."""
    import ssl

    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return str(getattr(error, "verify_message", "") or error).rstrip(".")
        # httpcore raises what it came of `from None`. Any other context may be dealt with already.
        error = error.__cause__ or (error.__context__ if error.__suppress_context__ else None)
    return ""


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise CallerError(
            "connecting needs httpx: pip install 'chat-streamstore[client]'"
        ) from None
    return httpx
