"""The same over real sockets: httpx against a tiny server on 127.0.0.1, and the blocking twin."""

from __future__ import annotations

import asyncio
import functools
import gc
import gzip
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from queue import Empty, SimpleQueue
from typing import Any, cast

import httpx
import pytest
import trustme
from test_client_connection import anthropic_events, delta, frame, frames, text_of

from streamstore import CallerError, Limits, StreamStore, UnknownProtocol
from streamstore.client import (
    AsyncioClock,
    CertificateRefused,
    ConnectionLost,
    HttpxTransport,
    Policy,
    Read,
    Request,
    StreamRefused,
    connect,
    connect_blocking,
)

QUICK = Policy(first_delay_ms=10, most_delay_ms=50, resync_pause_ms=10)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def head(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "content-length: 0", "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Server:
    """Gives each request one of these answers, in order, then the last one again and again.

    An answer: pieces of bytes, or seconds to wait; a stream is cut behind its last piece, or held
    open by `None`.
    """

    def __init__(self, *answers: list[Any]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.open_now = 0
        self.server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Server:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: Any) -> None:
        assert self.server is not None
        self.server.close()
        for _ in range(200):
            if not self.open_now:
                break
            await asyncio.sleep(0.01)
        assert not self.open_now, "a socket was left behind"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_now += 1
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = (line.split(": ", 1) for line in lines[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            await reader.readexactly(int(headers.get("content-length", 0)))
            self.asked.append((lines[0], headers))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            for piece in answer:
                if piece is None:
                    await reader.read()
                elif isinstance(piece, bytes):
                    writer.write(piece)
                    await writer.drain()
                else:
                    await asyncio.sleep(piece)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open_now -= 1


async def until(done: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not done():
            await asyncio.sleep(0.005)


def streamed(*pieces: bytes, hold: bool = False) -> list[Any]:
    return [HEAD, *map(chunk, pieces), *([None] if hold else [])]


def test_a_stream_that_is_cut_in_the_middle_goes_on_with_nothing_lost_or_doubled() -> None:
    async def main() -> None:
        first = streamed(*frames(1, 3), b"id: 4\ndata: {")
        store = StreamStore()
        async with Server(first, streamed(*frames(2, 5), hold=True)) as server:
            async with connect(
                server.url, store=store, protocol="native", policy=QUICK
            ) as connection:
                await until(lambda: text_of(store) == "1 2 3 4 5 ")
                assert connection.reconnects == 1 and connection.state == "open"
            asked = [headers.get("last-event-id") for _, headers in server.asked]
            assert asked == [None, "3"]
            assert server.asked[0][1]["accept"] == "text/event-stream"

    asyncio.run(main())


CLOSED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"  # its end is its length
MIDDLE = b"".join(anthropic_events()[:5])
#: Answers that HTTP calls whole, though the server broke off in the middle of them.
MIDDLES = {
    "closed": [CLOSED, MIDDLE],
    "closed in an event": [CLOSED, MIDDLE, b'event: x\ndata: {"ty'],
    "chunked": [*streamed(MIDDLE), b"0\r\n\r\n"],
}


@pytest.mark.parametrize("answer", MIDDLES.values(), ids=MIDDLES)
def test_an_answer_that_http_calls_whole_may_end_in_the_middle(answer: list[Any]) -> None:
    async def main() -> None:
        store = StreamStore()
        async with (
            Server(answer) as server,
            connect(server.url, store=store, protocol="anthropic", json={}) as connection,
        ):
            with pytest.raises(ConnectionLost, match="the answer ended in the middle: part 0 of"):
                await connection.wait()
            assert len(server.asked) == 1
        store.flush()
        part = store.part("main", "msg_1", 0)
        assert part is not None and (part.text, part.gap) == ("so so ", True)

    asyncio.run(main())


@pytest.mark.parametrize("answer", MIDDLES.values(), ids=MIDDLES)
def test_the_blocking_twin_says_that_an_answer_ended_in_the_middle(answer: list[Any]) -> None:
    with serving(answer) as server:
        store = StreamStore()
        with connect_blocking(server.url, store=store, protocol="anthropic", json={}) as connection:
            with pytest.raises(ConnectionLost, match="in the middle: part 0 of") as raised:
                connection.wait(10)
            assert connection.error is raised.value and connection.state == "ended"
        assert len(server.asked) == 1
    assert not threads()


def test_the_blocking_twin_ends_with_a_whole_answer() -> None:
    with (
        serving([CLOSED, b"".join(anthropic_events())]) as server,
        connect_blocking(
            server.url, store=StreamStore(), protocol="anthropic", json={}
        ) as connection,
    ):
        assert connection.wait(10) and connection.error is None
    assert not threads()


def test_an_id_that_is_no_ascii_goes_back_as_it_came() -> None:
    async def main() -> None:
        store = StreamStore()
        async with Server(streamed(frame(delta(1), "ü€")), [None]) as server:
            async with connect(server.url, store=store, protocol="native", policy=QUICK):
                await until(lambda: len(server.asked) == 2)
            # Raw UTF-8, as the standard has it; the server above decodes it so.
            assert server.asked[1][1]["last-event-id"] == "ü€"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("event_id", "sent"), [(" 7 ", "7"), ("\t7\t", "7"), ("7\f8", None), ("  ", None)]
)
def test_an_id_that_no_header_can_hold_as_it_is_ends_nothing(
    event_id: str, sent: str | None
) -> None:
    """Where nothing of it can be sent, the server is asked as if it had none."""

    async def main() -> None:
        store = StreamStore()
        first = streamed(frame(delta(1), event_id))
        async with Server(first, streamed(frame(delta(2), "8"), hold=True)) as server:
            async with connect(
                server.url, store=store, protocol="native", policy=QUICK
            ) as connection:
                await until(lambda: text_of(store) == "1 2 " or connection.error is not None)
                assert connection.error is None
                assert connection.unrepaired == (sent is None)
            assert server.asked[1][1].get("last-event-id") == sent

    asyncio.run(main())


def test_a_redirect_to_another_origin_takes_no_credentials_along() -> None:
    async def main() -> None:
        store = StreamStore()
        async with Server(streamed(*frames(1, 1), hold=True)) as other:
            moved = head("307 Temporary Redirect", f"location: {other.url}/there")
            async with Server([moved]) as server:
                secrets = {"authorization": "Bearer x", "cookie": "a=b"}
                own = httpx.AsyncClient(headers={**secrets, "x-api-key": "k"}, auth=("u", "p"))
                for options in (
                    {"headers": secrets},
                    {"transport": HttpxTransport(own)},
                ):
                    store = StreamStore()
                    async with connect(server.url, store=store, protocol="native", **options):  # type: ignore[arg-type]
                        await until(lambda store=store: text_of(store) == "1 ")
                await own.aclose()
            assert all("authorization" in headers for _, headers in server.asked)
            for line, headers in other.asked:
                assert line == "GET /there HTTP/1.1"
                assert {"authorization", "cookie", "x-api-key"}.isdisjoint(headers)

    asyncio.run(main())


@pytest.mark.parametrize("status", ["204 No Content", "401 Unauthorized", "404 Not Found"])
def test_a_refusal_ends_it(status: str) -> None:
    async def main() -> None:
        async with Server([head(status)]) as server:
            async with connect(server.url, store=StreamStore()) as connection:
                with pytest.raises(StreamRefused, match=status[:3]):
                    await connection.wait()
            assert len(server.asked) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("encoding", "install"),
    [("br", "httpx[brotli]"), ("gzip, ZSTD", "httpx[zstd]"), ("x-gzip", "plain or gzip")],
)
def test_an_encoding_that_cannot_be_decoded_is_named_and_a_503_in_it_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, encoding: str, install: str
) -> None:
    for name in ("br", "zstd"):  # as where the packages for them are missing
        monkeypatch.delitem(httpx._decoders.SUPPORTED_DECODERS, name, raising=False)
    packed = f"content-encoding: {encoding}\r\n\r\n".encode()
    body = [packed, chunk(b"\x8b\x01\x80"), b"0\r\n\r\n"]
    kind = b"content-type: text/plain\r\ntransfer-encoding: chunked\r\n"
    busy = [b"HTTP/1.1 503 Busy\r\n" + kind, *body]

    async def main() -> None:
        seen: list[Any] = []
        async with Server(busy, [HEAD[:-2], *body]) as server:
            async with connect(server.url, store=StreamStore(), policy=QUICK) as connection:
                async with asyncio.timeout(10):
                    async for status in connection:
                        seen.append(status)
            assert [headers["accept-encoding"] for _, headers in server.asked] == ["identity"] * 2
        assert "open" not in [one.state for one in seen]
        assert any(one.reason.endswith("answered 503") for one in seen)
        error = connection.error
        assert isinstance(error, StreamRefused) and error.status == 200
        assert repr(encoding.lower().split()[-1]) in str(error) and install in str(error)

    asyncio.run(main())


@pytest.mark.parametrize("named", ["gzip", "deflate"])
def test_a_body_that_is_not_in_the_encoding_that_it_names_ends_it(named: str) -> None:
    packed = f"content-encoding: {named}\r\n\r\n".encode()
    plain = [packed, chunk(b"\xff".join(frames(1, 2))), b"0\r\n\r\n"]
    kind = b"content-type: text/plain\r\ntransfer-encoding: chunked\r\n"
    busy = [b"HTTP/1.1 503 Busy\r\n" + kind, *plain]

    async def main() -> None:
        async with Server(busy, [HEAD[:-2], *plain]) as server:
            async with connect(server.url, store=StreamStore(), policy=QUICK) as connection:
                async with asyncio.timeout(10):
                    with pytest.raises(StreamRefused, match=f"encoding '{named}' that it names"):
                        await connection.wait()
            assert len(server.asked) == 2

    asyncio.run(main())


def test_a_body_that_is_damaged_behind_its_start_is_asked_for_again() -> None:
    packed = gzip.compress(b"".join(frames(1, 2)))
    head = HEAD[:-2] + b"content-encoding: gzip\r\n\r\n"
    cut = gzip.compress(b"".join(frames(1, 1)))[:-8]  # without its check

    damaged = [head, chunk(cut), chunk(b"\0" * 8)]

    async def main() -> None:
        store = StreamStore()
        async with (
            Server(damaged, [head, chunk(packed), None]) as server,
            connect(server.url, store=store, protocol="native", policy=QUICK) as connection,
        ):
            async for status in connection:
                if status.state == "waiting":
                    assert "encoding 'gzip' that it names" in status.reason
                    break
            await until(lambda: text_of(store) == "1 2 ")
            assert len(server.asked) == 2

    asyncio.run(main())


@pytest.mark.parametrize("encoding", ["utf-8", "gzip", "identity"])
def test_an_encoding_that_is_none_or_known_is_read(encoding: str) -> None:
    async def main() -> None:
        store = StreamStore()
        data = b"".join(frames(1, 2))
        if encoding == "gzip":
            data = gzip.compress(data)
        answer = [HEAD[:-2] + f"content-encoding: {encoding}\r\n\r\n".encode(), chunk(data), None]
        async with (
            Server(answer) as server,
            connect(server.url, store=store, protocol="native", policy=QUICK),
        ):
            await until(lambda: text_of(store) == "1 2 ")

    asyncio.run(main())


GZIPPED = HEAD[:-2] + b"content-encoding: gzip\r\n\r\n"


def test_an_answer_in_several_members_of_gzip_is_read_to_its_end() -> None:
    """A server or a proxy that flushes by ending a member begins the next one."""

    async def main() -> None:
        members = list(map(gzip.compress, anthropic_events()))
        body = b"".join(members)
        answers = [
            [GZIPPED, *map(chunk, members), b"0\r\n\r\n"],
            [GZIPPED, chunk(body), b"0\r\n\r\n"],
            [GZIPPED, *(chunk(body[at : at + 7]) for at in range(0, len(body), 7)), b"0\r\n\r\n"],
        ]
        for answer in answers:
            store = StreamStore()
            async with (
                Server(answer) as server,
                connect(server.url, store=store, protocol="anthropic", json={}) as connection,
            ):
                await connection.wait()
            store.flush()
            parts = store.parts("main", "msg_1")
            assert [(part.text, part.status) for part in parts] == [("so so ", "closed")] * 2

    asyncio.run(main())


def test_what_is_behind_gzip_and_is_none_is_no_silent_end() -> None:
    plain = b"".join(anthropic_events()[-3:])
    answer = [GZIPPED, chunk(gzip.compress(MIDDLE)), chunk(plain), b"0\r\n\r\n"]

    async def main() -> None:
        store = StreamStore()
        async with (
            Server(answer) as server,
            connect(server.url, store=store, protocol="anthropic", json={}) as connection,
        ):
            with pytest.raises(ConnectionLost, match="not in the encoding 'gzip' that it names"):
                await connection.wait()
        store.flush()
        part = store.part("main", "msg_1", 0)
        assert part is not None and (part.text, part.gap) == ("so so ", True)

    asyncio.run(main())


def test_a_little_gzip_that_is_much_lets_others_have_their_turn() -> None:
    async def main() -> None:
        body = gzip.compress(b":" + b" " * 8_000_000 + b"\n\n")
        below = Scripted(
            httpx.Response(200, headers={"content-encoding": "gzip"}, content=broken([body], None))
        )
        async with httpx.AsyncClient(transport=below) as client:
            response = await HttpxTransport(client).open(Request(url="http://h/"))
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            beside = asyncio.create_task(other())
            size = 0
            async for piece in response.chunks():
                assert len(piece) <= 64 * 1024
                size += len(piece)
                if size == 8_000_003:
                    break
            beside.cancel()
            assert turns > 100
            await response.aclose()

    asyncio.run(main())


def test_a_body_in_gzip_that_a_hook_has_read_is_read_all_the_same() -> None:
    async def read(response: httpx.Response) -> None:
        await response.aread()

    async def main() -> None:
        store = StreamStore()
        answer = [GZIPPED, chunk(gzip.compress(b"".join(frames(1, 2)))), b"0\r\n\r\n"]
        async with (
            Server(answer, [HEAD, None]) as server,
            httpx.AsyncClient(event_hooks={"response": [read]}) as client,
            connect(
                server.url, store=store, protocol="native", transport=HttpxTransport(client)
            ) as connection,
        ):
            await until(lambda: text_of(store) == "1 2 " or connection.error)
            assert connection.error is None

    asyncio.run(main())


def test_nobody_listens_and_then_somebody_does() -> None:
    async def main() -> None:
        store = StreamStore()
        async with Server(streamed(*frames(1, 1), hold=True)) as server:
            url = server.url
        port = int(url.rpartition(":")[2])
        async with connect(url, store=store, protocol="native", policy=QUICK) as connection:
            await until(lambda: connection.reconnects >= 2)
            again = Server(streamed(*frames(1, 1), hold=True))
            again.server = await asyncio.start_server(again._serve, "127.0.0.1", port)
            await until(lambda: text_of(store) == "1 ")
        await again.__aexit__()

    asyncio.run(main())


def test_what_failed_before_it_was_sent_says_so() -> None:
    async def main() -> None:
        async with Server([None]) as server:
            url = server.url
        transport = HttpxTransport()
        with pytest.raises(ConnectionLost) as caught:
            await transport.open(Request(url=url))
        assert not caught.value.sent
        async with Server([]) as server:
            server.answers = [[b""]]
            with pytest.raises(ConnectionLost) as caught:
                await transport.open(Request(url=server.url))
        assert caught.value.sent
        with pytest.raises(CallerError):
            await transport.open(Request(url="http://h/\x00"))
        await transport.aclose()
        with pytest.raises(CallerError, match="closed"):
            await transport.open(Request(url=url))

    asyncio.run(main())


def test_a_tls_handshake_that_is_given_up_leaves_no_socket() -> None:
    async def main() -> None:
        greeted, gone = asyncio.Event(), asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            greeted.set()  # and never answered
            await reader.read()
            gone.set()
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        transport = HttpxTransport()
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        opening = asyncio.create_task(transport.open(Request(url=url)))
        await greeted.wait()
        gc.disable()  # which closes it some time
        try:
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await until(gone.is_set)
        finally:
            gc.enable()
        await transport.aclose()
        server.close()

    asyncio.run(main())


@pytest.mark.parametrize("turns", range(6))
def test_an_answer_whose_closing_is_cancelled_leaves_no_socket(turns: int) -> None:
    async def main() -> None:
        answer = streamed(*frames(1, 1), hold=True)
        # The client is closed last: that would close all it holds.
        async with httpx.AsyncClient() as client, Server(answer) as server:
            response = await HttpxTransport(client).open(Request(url=server.url))
            closing = asyncio.create_task(response.aclose())
            for _ in range(turns):
                await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            if not turns:
                await response.aclose()  # it had not even begun

    asyncio.run(main())


@functools.cache
def authority() -> trustme.CA:
    """One that nobody trusts who was not told to."""
    return trustme.CA()


async def secured(server: Server) -> int:
    """Let a server speak TLS; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("localhost").configure_cert(context)
    server.server = await asyncio.start_server(server._serve, "127.0.0.1", 0, ssl=context)
    return int(server.server.sockets[0].getsockname()[1])


def tunnel_to(port: int) -> Callable[..., Any]:
    """A proxy that takes any CONNECT to one port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65_536):
                    sink.write(data)
            sink.close()

        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT ")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    return serve


@pytest.mark.parametrize(
    ("host", "trusted", "proxied", "says"),
    [
        ("localhost", False, False, "'localhost'.* does not verify: unable to get local issuer"),
        ("localhost", False, True, "'localhost'.* does not verify: unable to get local issuer"),
        ("127.0.0.1", True, False, r"'127.0.0.1'.* does not verify: .*(mismatch|not valid for)"),
        ("localhost", True, True, ""),
    ],
)
def test_a_certificate_that_does_not_verify_ends_it_and_says_why(
    host: str, trusted: bool, proxied: bool, says: str
) -> None:
    async def main() -> None:
        server = Server(streamed(*frames(1, 1), hold=True))
        port = await secured(server)
        proxy = await asyncio.start_server(tunnel_to(port), "127.0.0.1", 0)
        options: dict[str, Any] = {"trust_env": False}
        if trusted:
            options["verify"] = ssl.create_default_context()
            authority().configure_trust(options["verify"])
        if proxied:
            options["proxy"] = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        transport = HttpxTransport(**options)
        store = StreamStore()
        async with connect(
            f"https://{host}:{port}/", store=store, protocol="native", policy=QUICK,
            transport=transport,
        ) as connection:  # fmt: skip
            await until(lambda: text_of(store) or connection.state == "ended")
        await transport.aclose()
        proxy.close()
        await server.__aexit__()
        if says:
            assert isinstance(connection.error, CertificateRefused)
            assert re.search(says, str(connection.error)) and not connection.error.sent
            assert "cafile=" in str(connection.error) and not connection.reconnects
        else:
            assert text_of(store) == "1 " and connection.error is None

    asyncio.run(main())


def test_the_blocking_twin_ends_with_a_certificate_that_does_not_verify() -> None:
    loop = asyncio.new_event_loop()
    server = Server([None])
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(secured(server), loop).result(10)
        connection = connect_blocking(f"https://localhost:{port}/", store=StreamStore())
        with connection, pytest.raises(CertificateRefused, match="does not verify"):
            connection.wait(10)
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
    assert not threads()


class Scripted(httpx.AsyncBaseTransport):
    """What lies below httpx: gives each request one of these bodies, in order, or raises."""

    def __init__(self, *bodies: Any) -> None:
        self.bodies = list(bodies)
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        body = self.bodies.pop(0)
        if isinstance(body, Exception):
            raise body
        if isinstance(body, httpx.Response):
            return body
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)


async def broken(pieces: list[bytes], error: Exception | None) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if error is None:
        await asyncio.Event().wait()
    else:
        raise error


def test_tls_that_breaks_in_the_middle_is_a_drop_like_any_other() -> None:
    damaged = ssl.SSLError(1, "decryption failed or bad record mac")

    async def main() -> None:
        store = StreamStore()
        below = Scripted(
            broken([*frames(1, 3), b"id: 4\ndata: {"], damaged),
            damaged,
            broken(frames(2, 5), None),
        )
        transport = HttpxTransport(httpx.AsyncClient(transport=below))
        async with connect(
            "https://h/", store=store, protocol="native", policy=QUICK, transport=transport
        ) as connection:
            await until(lambda: text_of(store) == "1 2 3 4 5 " or connection.error)
            assert connection.error is None and connection.reconnects == 2
        assert [one.headers.get("last-event-id") for one in below.asked] == [None, "3", "3"]

    asyncio.run(main())


def test_a_certificate_that_was_dealt_with_is_not_why_another_server_is_not_there() -> None:
    """A transport of the caller's asks one server, and where its certificate is none another."""

    class Twice(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            try:
                raise httpx.ConnectError("x") from ssl.SSLCertVerificationError("expired")
            except httpx.ConnectError:
                raise httpx.ConnectError("nobody listens") from OSError(111, "refused")

    async def main() -> None:
        async with httpx.AsyncClient(transport=Twice()) as client:
            with pytest.raises(ConnectionLost, match="nobody listens") as raised:
                await HttpxTransport(client).open(Request(url="https://h/"))
        assert not isinstance(raised.value, CertificateRefused)

        async def later() -> None:
            try:
                raise ssl.SSLCertVerificationError("expired")
            except ssl.SSLError:
                await HttpxTransport(other).open(Request(url="https://h/"))

        async with httpx.AsyncClient(transport=Scripted(httpx.ReadError("reset"))) as other:
            with pytest.raises(ConnectionLost, match="reset") as raised:
                await later()
        assert not isinstance(raised.value, CertificateRefused)

    asyncio.run(main())


@pytest.mark.parametrize("url", ["http://xn--/", "http://xn--a/", "http://h/\ud800"])
def test_an_address_that_cannot_be_asked_is_the_callers_fault(url: str) -> None:
    async def main() -> None:
        transport = HttpxTransport()
        with pytest.raises(CallerError, match="cannot be sent"):
            await transport.open(Request(url=url))
        await transport.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("there", ["http://xn--/", "http://xn--a/", "/\x7f"])
def test_a_redirect_to_what_no_name_can_be_is_the_servers_fault(there: str) -> None:
    async def main() -> None:
        away = httpx.Response(302, headers={"location": there})
        async with httpx.AsyncClient(transport=Scripted(away)) as client:
            with pytest.raises(ConnectionLost):
                await HttpxTransport(client).open(Request(url="http://h/"))

    asyncio.run(main())


# --- from a thread --------------------------------------------------------------------------------


@contextmanager
def serving(*answers: list[Any]) -> Iterator[Server]:
    """A server in a thread of its own."""
    server = Server(*answers)
    loop = asyncio.new_event_loop()
    started = threading.Event()
    stop = asyncio.Event()

    async def main() -> None:
        async with server:
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert started.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
        loop.close()


def poll_until(connection: Any, done: Callable[[], object]) -> None:
    until = time.monotonic() + 10
    while not done():
        assert time.monotonic() < until
        connection.poll(0.01)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "streamstore" in thread.name]


def test_the_blocking_twin_follows_through_a_drop_and_leaves_no_thread() -> None:
    first = streamed(*frames(1, 3), b"id: 4\ndata: {")
    with serving(first, streamed(*frames(2, 5), hold=True)) as server:
        store = StreamStore()
        with connect_blocking(
            server.url, store=store, protocol="native", policy=QUICK
        ) as connection:
            poll_until(connection, lambda: text_of(store) == "1 2 3 4 5 ")
            assert connection.state == "open" and connection.reconnects == 1
            assert threads()
        assert not threads() and connection.state == "ended" and not store._streams
        assert server.asked[1][1]["last-event-id"] == "3"


def test_a_name_that_is_looked_up_keeps_nobody_from_leaving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answer, answered = (threading.Event() for _ in range(3))

    def look_up(*_: Any, **__: Any) -> Any:
        asked.set()
        answer.wait(10)  # as the system without a network, which cannot be told to stop
        answered.set()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with connect_blocking("http://chat.test/", store=StreamStore()) as connection:
        poll_until(connection, asked.is_set)
    assert connection.state == "ended" and connection.error is None and not threads()
    assert not answered.is_set()
    answer.set()
    assert answered.wait(10)


def test_the_blocking_twin_ends_with_the_servers_reason() -> None:
    with (
        serving([head("403 Forbidden")]) as server,
        connect_blocking(server.url, store=StreamStore()) as connection,
        pytest.raises(StreamRefused, match="403"),
    ):
        connection.wait()
    assert not threads()


def test_the_blocking_twin_waits_only_as_long_as_it_is_told() -> None:
    with serving([None]) as server:
        with connect_blocking(server.url, store=StreamStore()) as connection:
            assert connection.wait(timeout=0.05) is False
            with pytest.raises(CallerError, match="snapshot="):
                connection.resync()
        assert not threads()


class Woken(SimpleQueue[Any]):
    """Whoever waits for an hour is woken long before."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return super().get(timeout=min(timeout or 0, 10))
        except Empty:
            assert timeout != 3_600, "nothing woke the owner"
            raise


def test_bytes_wake_a_poll_that_waits() -> None:
    with serving(streamed(*frames(1, 3), hold=True)) as server:
        store = StreamStore()
        connection = connect_blocking(server.url, store=store, protocol="native")
        connection._todo = Woken()
        with connection:
            while text_of(store) != "1 2 3 ":
                connection.poll(3_600)


def test_the_end_wakes_a_poll_that_waits() -> None:
    with serving([head("403 Forbidden")]) as server:
        connection = connect_blocking(server.url, store=StreamStore())
        connection._todo = Woken()
        with connection:
            while connection.poll(3_600).state != "ended":
                pass
            assert isinstance(connection.error, StreamRefused)
            for _ in range(2):
                connection.poll(3_600)


def test_a_store_that_was_closed_ends_the_blocking_twin_though_no_byte_comes() -> None:
    with serving(streamed(*frames(1, 3), hold=True)) as server:
        store = StreamStore()
        connection = connect_blocking(server.url, store=store, protocol="native")
        connection._todo = Woken()
        with connection:
            while text_of(store) != "1 2 3 ":
                connection.poll(3_600)
            store.close()
            while connection.poll(3_600).state != "ended":
                pass
            assert isinstance(connection.error, CallerError)


#: So many events of no protocol that the store says so.
STRANGE = b'data: {"strange": 1}\n\n' * 64


def test_ctrl_c_in_the_midst_of_the_owners_work_reaches_the_owner() -> None:
    class Interrupted(StreamStore):
        def open(self, *args: Any, **options: Any) -> Any:
            raise KeyboardInterrupt

    with serving(streamed(hold=True)) as server:
        connection = connect_blocking(server.url, store=Interrupted(), protocol="native")
        with connection, pytest.raises(KeyboardInterrupt):
            while connection.state != "ended":
                connection.poll(0.05)
        assert not threads() and isinstance(connection.error, CallerError)


def test_what_a_toolkit_swallows_of_the_stores_errors_ends_the_connection() -> None:
    posted: SimpleQueue[Any] = SimpleQueue()
    later = [piece for _ in range(200) for piece in (0.01, chunk(b":\n\n"))]
    heard: list[Exception] = []
    with (
        serving([*streamed(STRANGE), *later]) as server,
        connect_blocking(server.url, store=StreamStore(), post=posted.put) as connection,
    ):
        while connection.state not in ("waiting", "ended"):
            try:
                posted.get(timeout=0.05)()
            except Empty:
                pass
            except UnknownProtocol as error:
                heard.append(error)
        assert [connection.error] == heard


def test_the_end_of_the_block_leaves_no_thread_where_the_store_raises() -> None:
    with serving(streamed(STRANGE, hold=True)) as server:
        connection = connect_blocking(server.url, store=StreamStore())
        with pytest.raises(UnknownProtocol), connection:
            connection._todo.get(timeout=10)()  # the stream is opened, and then nobody comes by
            while connection._todo.empty():
                time.sleep(0.001)
        assert not threads()


def test_a_full_inbox_makes_the_server_wait_and_loses_nothing() -> None:
    many = frames(1, 300)
    with serving(streamed(*many, hold=True)) as server:
        store = StreamStore(limits=Limits(inbox_bytes=2_000))
        with connect_blocking(
            server.url, store=store, protocol="native", policy=QUICK
        ) as connection:
            poll_until(connection, lambda: text_of(store).endswith("300 "))
            assert text_of(store) == "".join(f"{n} " for n in range(1, 301))
            assert connection.reconnects == 0


class OneChunk:
    """A transport whose answer is one chunk."""

    status = 200
    headers = {"content-type": "text/event-stream"}

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def open(self, request: Request) -> OneChunk:
        return self

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield self.data

    async def aclose(self) -> None:
        pass


class Patient(AsyncioClock):
    """Gives up where an inbox stays full."""

    waits = 0

    async def sleep(self, ms: float) -> None:
        self.waits += ms == 10
        assert self.waits < 500, "the inbox stays full"
        await super().sleep(ms)


def test_a_chunk_that_is_more_than_the_inbox_holds_comes_in_by_pieces() -> None:
    data = b"".join(frames(1, 40))
    store = StreamStore(limits=Limits(inbox_bytes=len(data) // 4))
    with connect_blocking(
        "http://localhost", store=store, protocol="native", transport=OneChunk(data),
        clock=Patient(), reconnect=False,
    ) as connection:  # fmt: skip
        assert connection.wait()
        assert text_of(store) == "".join(f"{n} " for n in range(1, 41))


def test_a_state_is_fetched_in_the_thread_and_merged_by_the_owner() -> None:
    owner = threading.get_ident()
    merged: list[int] = []

    async def fetch(read: Read) -> Any:
        assert threading.get_ident() != owner
        token = await read.token("s")
        part = {"blockIndex": 0, "kind": "text", "text": "1 2 3 "}
        message = {"info": {"id": "m", "role": "assistant"}, "parts": [part]}
        return [
            {"type": "snapshot", "sessionId": "s", "seq": 3, "complete": True, "readFrom": token,
             "messages": [message]},
        ]  # fmt: skip

    with serving(streamed(b": hi\n\n", hold=True)) as server:
        store = StreamStore()
        store.subscribe(lambda changes: merged.append(threading.get_ident()))
        with connect_blocking(
            server.url, store=store, protocol="native", policy=QUICK, snapshot=fetch
        ) as connection:
            poll_until(connection, lambda: text_of(store) == "1 2 3 ")
            poll_until(connection, lambda: connection.status.synced)
            connection.resync()
            poll_until(connection, lambda: connection.status.synced)
        assert set(merged) == {owner}


@pytest.mark.parametrize("ticks", [None, "asyncio", "manual"])
def test_with_a_way_in_the_owner_need_not_poll(ticks: Any) -> None:
    """The owner's own loop takes everything in: no poll at all."""

    async def main(url: str, ticks: Any) -> None:
        store = StreamStore(ticks=ticks)
        loop = asyncio.get_running_loop()
        with connect_blocking(
            url, store=store, protocol="native", policy=QUICK, post=loop.call_soon_threadsafe
        ) as connection:
            await until(lambda: text_of(store) == "1 2 3 ")
        # Left in the owner's thread, whose loop runs nothing meanwhile.
        assert connection.state == "ended" and not threads()

    with serving(streamed(*frames(1, 3), hold=True)) as server:
        asyncio.run(main(server.url, ticks))


def test_who_waits_for_a_connection_that_was_never_entered_is_told() -> None:
    async def main() -> None:
        connection = connect("http://127.0.0.1:1/", store=StreamStore())
        for wait in (connection.wait, connection.opened, connection.changed):
            with pytest.raises(CallerError, match="not entered"):
                await wait()

    asyncio.run(main())
    with pytest.raises(CallerError, match="not entered"):
        connect_blocking("http://127.0.0.1:1/", store=StreamStore()).wait(1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTP_PROXY", "ftp://127.0.0.1:1"), ("SSL_CERT_FILE", "/there/is/none")],
)
def test_what_httpx_cannot_take_from_the_environment_is_said(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    for connecting in (connect, connect_blocking):
        with pytest.raises(CallerError, match=f"httpx cannot be set up.*{name}"):
            connecting("http://h/", store=StreamStore())


@pytest.mark.parametrize(
    ("name", "none", "options", "named"),
    [
        ("HTTP_PROXY", "", {}, True),
        ("ALL_PROXY", "", {}, True),
        ("HTTP_PROXY", "127.0.0.1", {}, False),
        ("HTTPS_PROXY", "", {}, False),
        ("HTTP_PROXY", "", {"trust_env": False}, False),
        ("HTTP_PROXY", "", {"proxy": "http://127.0.0.1:1"}, False),
    ],
)
def test_a_proxy_of_the_environment_that_cannot_be_reached_is_named_without_its_password(
    name: str, none: str, options: dict[str, Any], named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.delenv(other.lower(), raising=False)
    monkeypatch.setenv(name, "http://me:secret@127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", none)

    async def main() -> str:
        transport = HttpxTransport(**options)
        try:
            with pytest.raises(ConnectionLost) as found:
                await transport.open(Request(url="http://127.0.0.1:2/"))
        finally:
            await transport.aclose()
        assert not found.value.sent
        return str(found.value)

    said = asyncio.run(main())
    assert ("by way of 127.0.0.1:1, the proxy of the environment" in said) == named
    assert "secret" not in said


def test_where_no_loop_of_asyncio_runs_the_way_without_one_is_named(
    recwarn: pytest.WarningsRecorder,
) -> None:
    connection = connect("http://127.0.0.1:1/", store=StreamStore())
    with pytest.raises(CallerError, match="connect_blocking"):
        connection.start()
    with pytest.raises(CallerError, match="connect_blocking"):
        connection.__aenter__().send(None)  # as a loop of another kind would
    assert connection.state == "connecting" and not recwarn.list


@pytest.mark.parametrize(
    "options",
    [
        {"client": httpx.Client()},
        {"client": httpx.AsyncClient},
        {"client": 3},
        {"proxy": 3},
        {"limits": 3},
        {"headers": {"a": 3}},
        {"auth": 3},
        {"colour": "red"},
    ],
    ids=lambda options: next(iter(options)),  # a client's `repr` is another one in each worker
)
def test_what_httpx_makes_no_client_of_is_the_callers_fault(options: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match="httpx"):
        HttpxTransport(**options)


@pytest.mark.parametrize("body", [None, b"abc"])
@pytest.mark.parametrize("length", ["2", "5", "abc"])
def test_a_content_length_that_is_none_of_the_body_is_the_callers_fault(
    body: bytes | None, length: str
) -> None:
    async def main() -> None:
        async with (
            Server([head("200 OK")]) as server,
            connect(
                server.url, store=StreamStore(), body=body, headers={"Content-Length": length}
            ) as connection,
        ):
            with pytest.raises(CallerError, match="content-length"):
                await connection.wait()
        assert not server.asked

    asyncio.run(main())


def test_seconds_that_are_none_are_the_callers_fault_and_too_many_are_many() -> None:
    connection = connect_blocking("http://127.0.0.1:1/", store=StreamStore())
    wrong: Any
    for wrong in ("3", None, float("nan")):
        with pytest.raises(CallerError, match="timeout= takes seconds"):
            connection.poll(wrong)
    for many in (1e300, float("inf"), 10**400, Decimal(9)):
        connection._todo.put(lambda: None)
        assert connection.poll(cast("float", many)).state == "connecting"
    with serving([head("403 Forbidden")]) as server:
        connection = connect_blocking(server.url, store=StreamStore())
        with connection:
            with pytest.raises(CallerError, match="timeout= takes seconds"):
                connection.wait(float("nan"))
            with pytest.raises(StreamRefused):
                connection.wait(float("inf"))


def test_wrong_arguments_are_said_where_they_are_given() -> None:
    with pytest.raises(CallerError):
        connect_blocking("nowhere", store=StreamStore())
    with pytest.raises(TypeError):
        connect_blocking("http://h/", store=StreamStore(), colour="red")
