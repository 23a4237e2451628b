"""A replay server in a thread: `serving`, and everything it takes to leave nothing behind.

Knows sockets, uvicorn and threads; what is served is `app.py`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..client.transport import AsyncioClock
from ..errors import CallerError
from .faults import Faults, require
from .replays import ANSWERS, Settings
from .tape import open_tape
from .timeline import LONGEST_PAUSE_MS

if TYPE_CHECKING:
    from .app import ReplayApp

#: How long a client may keep its socket when the server goes.
_GRACE_S = 1
#: What the system holds of a connection that is not read, about; Linux takes twice as much.
_SEND_BYTES = 128 * 1024


@contextmanager
def serving(
    log: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    protocol: str = "auto",
    speed: float = 1.0,
    longest_pause: float = LONGEST_PAUSE_MS / 1000,
    loop: bool = False,
    faults: Faults | str | None = None,
    seed: int = 0,
    heartbeat: float = 10.0,
    at_end: str | None = None,
    cors: str | None = None,
    tell: Callable[[str], object] = lambda said: None,
) -> Iterator[str]:
    """Serve a recorded log as a live stream, in a thread: `with serving("talk.sse") as url:`.

    Gives the address, without a slash at its end. For an opencode log it is what `OpencodeClient`
    takes; for any other log every path below it is the stream. A path that starts with `/@NAME` is
    a replay of its own: `f"{url}/@first/event"`. When the block is left no thread, task, socket or
    file of it is there any more.

    Args:
        log: a file as `streamstore fold` reads it, or several: connections of one recording, and
            for opencode the states (`*.json`) that were fetched beside them.
        host, port: where to listen; port 0 is any that is free.
        protocol: of the log; by default it is found. One that nobody knows is served as it is, and
            so is one that looks like another's than the one that is named: `tell` hears of it.
        speed: so many times as fast as recorded; `math.inf` as fast as the client takes it.
        longest_pause: seconds of the recording that no pause in it is longer than: one of hours, in
            which a laptop slept, is cut down to it. `math.inf` keeps every pause.
        loop: begin anew after the end.
        faults: what goes wrong; names such as `"dup,disconnect"` are `Faults.of(names, seed=seed)`.
        seed: chance, where faults are names.
        heartbeat: seconds of silence before a sign of life, 0 for none.
        at_end: `hold` keeps the stream open behind the last event, `close` ends it; by default
            answers to one request end (those of `anthropic`, `openai-chat`, `ag-ui`, ...), and
            streams that are followed stay.
        cors: the origin whose pages may read it, `*` for all; None: no page of another origin.
        tell: hears, from any thread, of what may be wrong with the log: places where it is
            damaged, events that are too long, another protocol than was named.

    Raises:
        CallerError: the address is in use or none, an argument is wrong, a fault that no client of
            the protocol could recover from, or Starlette and uvicorn are not installed.
        UnreadableLog: as `streamstore fold`.
        UnknownProtocol: no protocol has that name.
    """
    _installed()
    if not isinstance(speed, int | float) or not speed > 0:  # "max" is what the command takes
        raise CallerError(f"speed must be above 0, or math.inf, not {speed!r:.80}")
    if not longest_pause >= 0:
        raise CallerError(
            f"longest_pause must be seconds from 0, or math.inf for any, not {longest_pause}"
        )
    if not 0 <= heartbeat < math.inf:
        raise CallerError(f"heartbeat must be seconds from 0, not {heartbeat}")
    if at_end not in (None, "hold", "close"):
        raise CallerError(f"at_end must be hold or close, not {at_end!r}")
    if isinstance(faults, str):
        faults = Faults.of(faults, seed=seed)
    names = [log] if isinstance(log, str | os.PathLike) else list(log)
    listener = _listen(host, port)
    try:
        tape = open_tape(names, protocol, tell)
    except BaseException:
        listener.close()
        raise
    try:
        if faults is not None:
            require(faults, tape.declaration, tape.sequencing, tape.by_id)
        settings = Settings(
            speed=speed,
            longest_pause_ms=longest_pause * 1000,
            loop=loop,
            faults=faults,
            heartbeat_ms=heartbeat * 1000,
            closes=(tape.declaration.name in ANSWERS) if at_end is None else at_end == "close",
        )
        from .app import ReplayApp

        with _threaded(lambda: ReplayApp(tape, settings, AsyncioClock()), listener, cors):
            yield _url(listener)
    finally:
        listener.close()
        tape.close()


def _installed() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise CallerError(
            "serving needs Starlette and uvicorn: pip install 'chat-streamstore[serve]'"
        ) from None


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 65536:
        raise CallerError(f"a port is a number from 0 to 65535, not {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.getaddrinfo(host or None, port)  # before there is a socket to leave open
        listener = socket.create_server((host, port), family=family)
        # Its connections have it, too: else the system holds megabytes for each client that does
        # not read, and with hundreds of them lets all others of the machine wait.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        return listener
    except (OSError, ValueError) as error:
        reason = "no host can have such a name"  # it has no code to ask a resolver with
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
        raise CallerError(
            f"cannot listen on {host}, port {port}: {reason}; another port may do, 0 is any"
        ) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _threaded(
    make: Callable[[], ReplayApp], listener: socket.socket, cors: str | None
) -> Iterator[None]:
    ready = threading.Event()
    leaving = threading.Event()
    failed: list[BaseException] = []
    stops: list[Callable[[], object]] = []

    def run() -> None:
        try:
            asyncio.run(_serve(make, listener, cors, stops, ready, leaving))
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    logger = logging.getLogger("uvicorn.error")
    asked_for = _AskedFor()
    logger.addFilter(asked_for)
    thread = threading.Thread(target=run, name="streamstore serve", daemon=True)
    thread.start()
    try:
        ready.wait()
        if not failed:
            yield
    finally:
        leaving.set()
        for stop in stops:
            stop()
        thread.join()
        logger.removeFilter(asked_for)
    if failed:
        raise failed[0]


#: The last one is advice to install what is not wanted here: nobody speaks WebSocket.
_SAID = ("without completing response", "graceful shutdown", "No supported WebSocket library")


class _AskedFor(logging.Filter):
    """Keeps out what uvicorn takes for a mistake, and was asked for: broken connections."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        return not any(known in said for known in _SAID)


async def _serve(
    make: Callable[[], ReplayApp],
    listener: socket.socket,
    cors: str | None,
    stops: list[Callable[[], object]],
    ready: threading.Event,
    leaving: threading.Event,
) -> None:
    import uvicorn

    app = make()
    asgi: Any = app
    if cors is not None:
        from starlette.middleware.cors import CORSMiddleware

        asgi = CORSMiddleware(
            app,
            allow_origins=[cors],
            allow_methods=["*"],  # or a page could not read why a method is refused
            allow_headers=["*"],
            expose_headers=["x-next-cursor"],
        )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.stop()
            await super().shutdown(sockets)
            for connection in list(self.server_state.connections):
                connection.transport.abort()  # whose client reads nothing any more
            await asyncio.sleep(0)

    server = Server(
        uvicorn.Config(
            asgi,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )
    event_loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True

    def stop_soon() -> None:
        try:
            event_loop.call_soon_threadsafe(stop)
        except RuntimeError:
            pass  # it has ended by itself

    stops.append(stop_soon)
    if leaving.is_set():
        return  # interrupted before there was anything to stop
    await server.serve(sockets=[listener])
