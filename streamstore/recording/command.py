"""The command `streamstore record`: arguments, signals, and the lines that say how it is going.

Knows arguments, the standard streams and exit codes; what recording is, is `recorder.py`'s, which
is loaded when the command runs. The status is a line on standard error, written over again on a
terminal; the summary goes to standard output. All that is printed is free of control characters.

Exit codes: 0 it ended as asked (a signal, `--for`, `--events`, the server's own end of an answer),
2 a wrong argument, a log that cannot be written, or a server that cannot be followed any further.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from ..commandline import Format, add_sequencing, body, count, headers
from ..errors import CallerError, StreamStoreError
from ..protocols import adapters
from ..terminal import one_line

if TYPE_CHECKING:
    from .recorder import Recording
    from .standing import Standing

_DONE, _WRONG = 0, 2
#: Where the status cannot be written over, a line each so many seconds.
EVERY_S = 10.0

_MORE = """\
LOG is JSON lines, or SQLite where it is named *.sqlite, *.sqlite3 or *.db. A log that is there is
appended to. fold, replay, check and watch read it, serve sends it again. JSON lines may be gzipped
when the recording is over.
A header or a body that is secret belongs in a file: --header @FILE has a header on each line,
--json @FILE is the body. Ctrl-C ends the recording, with everything safe.
"""


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `record` to the commands."""
    parser = commands.add_parser(
        "record",
        help="write what a server streams into a log, through every drop",
        description="Follow an event stream and append each event to a log as it arrives: its "
        "data, id and name as they stood on the wire, when it came, and on which connection. "
        "After a drop it asks again, later each time, behind the last event where the server can "
        "do that.",
        epilog=_MORE,
        formatter_class=Format,
    )
    parser.add_argument("url", metavar="URL", help="where the events come from")
    parser.add_argument("log", metavar="LOG", help="see below")
    parser.add_argument(
        "--protocol",
        default="auto",
        metavar="P",
        help=f"for the gaps that are shown: one of {', '.join(adapters())}; by default it is "
        "found. What is recorded is the same",
    )
    add_sequencing(parser)
    parser.add_argument(
        "--header", action="append", default=[], metavar="'K: V'", help="a header; repeatable"
    )
    parser.add_argument("--method", metavar="M", help="GET, or POST where there is a body")
    parser.add_argument("--json", metavar="BODY", help="a body to send, which is JSON")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on behind the last event of a log that is there, instead of beginning anew",
    )
    parser.add_argument("--once", action="store_true", help="end at the first drop")
    parser.add_argument(
        "--for", dest="seconds", type=_seconds, metavar="SECONDS", help="end after so long"
    )
    parser.add_argument(
        "--events", type=count, metavar="N", help="end after exactly so many events"
    )
    parser.add_argument(
        "--every",
        type=_seconds,
        default=EVERY_S,
        metavar="SECONDS",
        help=f"in a pipe, say how it is going this often (default {EVERY_S:g})",
    )


def run(
    arguments: argparse.Namespace,
    out: TextIO | None = None,
    err: TextIO | None = None,
    **wiring: Any,
) -> int:
    """Record until it ends; the exit code. `wiring` goes to `Recording`."""
    import asyncio

    to: TextIO = out or sys.stdout
    aside: TextIO = err or sys.stderr
    try:
        recording = recording_of(arguments, lambda line: _say(line, aside), **wiring)
    except StreamStoreError as error:
        return _wrong(error, aside)
    return asyncio.run(record(recording, StatusLine(aside, arguments.every), to, aside))


def recording_of(
    arguments: argparse.Namespace, tell: Callable[[str], object], **wiring: Any
) -> Recording:
    """What the arguments ask for; nothing has begun.

    Raises:
        CallerError: one of them is wrong, or httpx is not installed.
    """
    from .recorder import Recording

    seconds: float | None = arguments.seconds
    if arguments.log == "-":
        raise CallerError("a log is a file: name one instead of -")
    return Recording(
        arguments.url,
        arguments.log,
        method=arguments.method,
        json=body(arguments.json),
        headers=headers(arguments.header),
        protocol=arguments.protocol,
        sequencing=arguments.sequencing,
        resume=arguments.resume,
        once=arguments.once,
        most_ms=None if seconds is None else seconds * 1000,
        most_events=arguments.events,
        tell=tell,
        **wiring,
    )


async def record(recording: Recording, status: StatusLine, out: TextIO, err: TextIO) -> int:
    """Record until it ends, a signal stops it, or something is wrong; the exit code."""
    code = _DONE
    let_go = _stop_on_signals(recording.stop)
    try:
        try:
            await recording.run(status.show)
        except StreamStoreError as error:
            status.end()
            code = _wrong(error, err)
        except OSError as error:
            status.end()
            code = _wrong(CallerError(error.strerror or str(error)), err)
    finally:
        status.end()
        let_go()
    standing = recording.standing
    if code == _DONE or standing.events:
        print(standing.summary(recording.path), file=out, flush=True)
    return code


class StatusLine:
    """Says how a recording is going: on one line that is written over, or on a line now and then.

    Args:
        out: the terminal, or what is read by nobody or by a program.
        every_s: seconds between two lines where nothing can be written over.
        width: of the terminal, in characters; by default it is asked for each time.
    """

    def __init__(self, out: TextIO, every_s: float = EVERY_S, width: int | None = None) -> None:
        self._out = out
        self._every_ms = every_s * 1000
        self._width = width
        self._over = out.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = 0  # characters of the line that can be written over
        self._next_ms = self._every_ms

    def show(self, standing: Standing) -> None:
        """Say it, if it is time."""
        if self._over:
            # One less: at the last column some terminals have begun the next line already.
            width = self._width or shutil.get_terminal_size().columns
            line = standing.line()[: max(1, width - 1)]
            self._write("\r" + line.ljust(self._shown))
            self._shown = len(line)
        elif standing.ms >= self._next_ms:
            self._next_ms = standing.ms - standing.ms % self._every_ms + self._every_ms
            self._write(standing.line() + "\n")

    def end(self) -> None:
        """Leave the line; again does nothing."""
        if self._shown:
            self._write("\n")
            self._shown = 0

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:
            pass  # the terminal is gone, or nobody reads the pipe any more: the log goes on


def _stop_on_signals(stop: Callable[[], object]) -> Callable[[], None]:
    """Have the first of the signals that end a program stop it; a second one ends it at once."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)  # which `nohup` has ignored

    def let_go() -> None:
        while numbers:
            loop.remove_signal_handler(numbers.pop())

    def first() -> None:
        stop()
        let_go()

    try:
        for number in numbers:
            loop.add_signal_handler(number, first)
    except (NotImplementedError, RuntimeError, ValueError):
        numbers.clear()  # not this system, or not the main thread: Ctrl-C interrupts
    return let_go


# --- arguments ------------------------------------------------------------------------------------


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return number


def _wrong(error: StreamStoreError, err: TextIO) -> int:
    _say(str(error), err)
    return _WRONG


def _say(problem: str, err: TextIO) -> None:
    line = one_line(problem, 500)
    coded = line.encode(err.encoding or "utf-8", "backslashreplace")
    try:
        print(f"streamstore: {coded.decode(err.encoding or 'utf-8')}", file=err, flush=True)
    except OSError:
        pass  # a full disk, or nobody reads it: the log goes on
