"""`streamstore watch`: a live address or a recorded log in the full-screen inspector.

Knows arguments and the terminal. Nothing heavy is imported before it runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from ..commandline import add_sequencing, body, count, headers, speed
from ..errors import CallerError
from ..protocols import adapters
from ..terminal import one_line

if TYPE_CHECKING:
    from ..logs import Log, TimedEvent
    from .past import HistoryLimits
    from .tailing import Item

#: Damaged places of a log that are named.
_MOST_PROBLEMS = 20
_EPILOG = """\
A log is what a server sent on one connection: raw bytes of an event stream, JSON lines, or what
`streamstore record` wrote; gzipped or not. An address is followed through drops; while it is
paused what comes is held, and past 8 MB the socket is not read any more: nothing is lost.
"""


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `watch` to a parser's commands."""
    watch = commands.add_parser(
        "watch",
        help="watch a live stream or a log: every event, its verdict, and the state after it",
        description="A full-screen inspector: the transcript on the left; every event on the "
        "right, grouped by message, with its verdict and the time since the first one; below it "
        "what the selected event changed and the state after it. Keys: ? shows them.",
        epilog=_EPILOG,
    )
    watch.add_argument("source", metavar="URL|LOG", help="an http(s) address, or a file")
    watch.add_argument(
        "--protocol",
        default="auto",
        metavar="P",
        help=f"one of {', '.join(adapters())}; by default it is found",
    )
    add_sequencing(watch)
    watch.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'K: V'",
        help="of an address: a header, or @FILE with one on each line; repeatable",
    )
    watch.add_argument(
        "--json", metavar="BODY", help="of an address: a body to send, which is JSON, or @FILE"
    )
    watch.add_argument(
        "--speed",
        type=speed,
        metavar="N|max",
        help="of a log: N times as fast as recorded, or max; by default as recorded with pauses "
        "of a second at most",
    )
    watch.add_argument(
        "--paused", action="store_true", help="of a log: start before its first event, to step"
    )
    watch.add_argument(
        "--follow",
        action="store_true",
        help="of a log that is still written: go on with what comes, as tail -f; by default at "
        "once and not as recorded",
    )
    watch.add_argument(
        "--events",
        type=count,
        metavar="N",
        help="events that are held (default 10,000); over it the oldest are dropped",
    )


def run(arguments: argparse.Namespace) -> int:
    """Watch until somebody quits; the exit code.

    Raises:
        CallerError: no terminal, no such log or protocol, or an extra is not installed.
        UnreadableLog: the log cannot be read, or holds no event.
    """
    import asyncio

    app = application_for(arguments)
    _need_terminal(arguments.source)
    asyncio.run(_until_ended(app))
    return app.return_code or 0


def _need_terminal(source: str) -> None:
    """Raise `CallerError` where the screen would not be seen, or its keys not be heard."""
    streams = [("standard input", sys.stdin), ("standard output", sys.stdout)]
    if os.name != "nt":
        streams.append(("standard error", sys.stderr))  # what Textual draws on
    elsewhere = "record URL LOG" if is_address(source) else "replay LOG"
    for name, stream in streams:
        if stream is None or not stream.isatty():
            raise CallerError(
                f"watch needs a terminal, and {name} is none; "
                f"for a pipe there is: streamstore {elsewhere}"
            )
    if os.environ.get("TERM") == "dumb":
        raise CallerError(
            "watch needs a terminal that can be drawn on, and this one cannot (TERM is dumb); "
            f"there is: streamstore {elsewhere}"
        )


async def _until_ended(app: Any) -> None:
    """Run it until somebody quits, or a signal asks for that: the terminal is put back first."""
    import asyncio

    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) == signal.SIG_IGN:
            continue  # which `nohup` has ignored
        try:
            loop.add_signal_handler(number, app.exit)
        except (NotImplementedError, RuntimeError, ValueError):
            break  # not this system, or not the main thread: Ctrl-C interrupts
    await app.run_async()


def application_for(arguments: argparse.Namespace) -> Any:
    """The application that the arguments ask for.

    Raises:
        CallerError, UnreadableLog: as `run`.
    """
    from ..protocols import adapter_named

    if arguments.protocol != "auto":
        adapter_named(arguments.protocol)
    if is_address(arguments.source):
        return _following(arguments)
    return _playing(arguments)


def is_address(source: str) -> bool:
    """Whether a source is followed and not read.

    >>> is_address("http://127.0.0.1:4096/event"), is_address("talk.sse")
    (True, False)
    """
    return source.lower().startswith(("http://", "https://"))


def clock() -> float:
    """Ms on a clock that never goes back."""
    return time.monotonic() * 1000


def _playing(arguments: argparse.Namespace) -> Any:
    from ..eviction import Keep
    from ..feeding import fetched
    from ..logs import STDIN, Log
    from ..replay import AS_RECORDED, AT_ONCE, Speed
    from .app import application
    from .inspector import Inspector
    from .playing import LogSource

    if arguments.header or arguments.json is not None:
        raise CallerError("--header and --json are for an address: a log is read from a file")
    if arguments.source == STDIN:
        raise CallerError("standard input is the keyboard here: save the log to a file first")
    log = Log(arguments.source)
    if log.is_state:
        fetched(log)  # tells what is none
        raise CallerError(f"{arguments.source} is a fetched state, no log of events")
    damage: list[str] = []
    events = _followed(arguments.source) if arguments.follow else _recorded(log, damage)
    inspector = Inspector(
        arguments.protocol,
        clock=clock,
        sequencing=arguments.sequencing,
        limits=_limits(arguments),
        keep=Keep() if arguments.follow else None,
        measure=_measure(),
    )
    for problem in damage[:_MOST_PROBLEMS]:
        inspector.note(one_line(problem, 120))
    pace = AT_ONCE if arguments.follow else AS_RECORDED
    if arguments.speed is not None:
        pace = Speed(arguments.speed)
    source = LogSource(events, inspector, pace)
    if arguments.paused:
        source.pause()
    return application(inspector, source, arguments.source, clock=clock)


def _recorded(log: Log, damage: list[str]) -> Iterator[TimedEvent | None]:
    """The events of a log, in which there is one."""
    from ..feeding import ARRAY, says_array
    from ..logs import NO_EVENTS, UnreadableLog

    events = _events_of(log.recorded(damage.append))
    first = next(events, None)
    if first is None or first.says is None:
        raise UnreadableLog(log.name, NO_EVENTS)
    if says_array(first):
        raise UnreadableLog(log.name, ARRAY)
    return chain((first,), events)


def _followed(name: str) -> Iterator[Item]:
    """The events of a log that is still written."""
    from .tailing import followed

    return followed(name, clock)


def _following(arguments: argparse.Namespace) -> Any:
    if arguments.speed is not None or arguments.paused:
        raise CallerError("--speed and --paused are for logs: a server says how fast it goes")
    if arguments.follow:
        raise CallerError("--follow is for logs: an address is followed anyway")
    from ..client import HttpxTransport, connect
    from ..eviction import Keep
    from .app import application
    from .following import Follower
    from .inspector import Inspector

    inspector = Inspector(
        arguments.protocol,
        clock=clock,
        sequencing=arguments.sequencing,
        limits=_limits(arguments),
        keep=Keep(),  # a server may be followed for days, a log comes to its end
        measure=_measure(),
    )
    transport = HttpxTransport()
    follower = Follower(inspector, transport, clock)
    connection = connect(
        arguments.source,
        store=inspector.store,
        protocol=arguments.protocol,
        sequencing=arguments.sequencing,
        headers=headers(arguments.header),
        json=body(arguments.json),
        transport=follower,
        owner=follower,
    )
    follower.connection = connection

    async def finish() -> None:
        follower.close()
        await connection.aclose()
        await transport.aclose()

    return application(
        inspector,
        follower,
        arguments.source,
        clock=clock,
        begin=connection.start,
        finish=finish,
    )


def _events_of(logs: Iterable[Log]) -> Iterator[TimedEvent | None]:
    """The events of one connection after the other, None between two."""
    for number, log in enumerate(logs):
        if number:
            yield None
        yield from log.judged().events()


def _limits(arguments: argparse.Namespace) -> HistoryLimits:
    from .past import HistoryLimits

    return HistoryLimits() if arguments.events is None else HistoryLimits(events=arguments.events)


def _measure() -> Any:
    """How rich counts cells, where it is there: the screen counts so, too."""
    try:
        from rich.cells import cell_len
    except ImportError:
        raise CallerError("watching needs textual: pip install 'chat-streamstore[cli]'") from None
    return cell_len
