"""`streamstore serve`: its arguments, what it prints, and how it ends.

Knows arguments and the standard streams. Everything printed is free of control characters.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
from typing import Any, TextIO

from ..commandline import count, speed
from ..interrupting import interruptible
from ..terminal import one_line
from .timeline import LONGEST_PAUSE_MS

_LOGS = """\
A log is what the other commands read: the raw bytes of an event stream, JSON lines, or a log that
`record` wrote; gzipped or not; - is standard input. Several are connections of one recording; for
opencode, *.json are states that were fetched beside them.

Of an opencode log /event and /global/event are the stream, and its REST reads are answered; of any
other log every path is the stream. /@NAME before a path is a replay of its own. Ctrl-C ends it.

faults: disconnect (at a random byte) and stall for every log; dup, drop and reorder where clients
of the protocol can recover. What is drawn depends on the seed and the number of the connection.
"""


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to those of `streamstore`."""
    serve = commands.add_parser(
        "serve",
        help="replay a log as a live event stream, for frontends",
        description="Serve a recorded log as a live event stream: a fixture server for a chat "
        "frontend, with resume, heartbeats, and faults on demand.",
        epilog=_LOGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("logs", nargs="+", metavar="LOG", help="see below")
    serve.add_argument("--port", type=int, default=4096, metavar="N", help="0: any (default 4096)")
    serve.add_argument("--host", default="127.0.0.1", metavar="H", help="default 127.0.0.1")
    serve.add_argument(
        "--speed",
        type=speed,
        default=1.0,
        metavar="N|max",
        help="N times as fast as recorded, or as fast as the client takes it",
    )
    serve.add_argument(
        "--longest-pause",
        type=_pause,
        default=LONGEST_PAUSE_MS / 1000,
        metavar="S|none",
        help="seconds of the recording that a longer pause in it is cut down to "
        f"(default {LONGEST_PAUSE_MS / 1000:g}); none keeps them all",
    )
    serve.add_argument("--loop", action="store_true", help="begin anew after the end")
    serve.add_argument(
        "--end",
        choices=("hold", "close"),
        help="keep the stream open behind the last event, or end it; by default as the protocol",
    )
    serve.add_argument(
        "--faults", metavar="F,F", help="of dup, drop, reorder, disconnect, stall; see below"
    )
    serve.add_argument("--every", type=count, default=50, metavar="N",
                       help="events from fault to fault, on average (default 50)")  # fmt: skip
    serve.add_argument("--stall", type=_seconds, default=60.0, metavar="S",
                       help="seconds that a stall lasts (default 60)")  # fmt: skip
    serve.add_argument("--seed", type=int, default=0, metavar="N", help="of faults (default 0)")
    serve.add_argument("--heartbeat", type=_seconds, default=10.0, metavar="S",
                       help="seconds of silence before a sign of life, 0 for none")  # fmt: skip
    serve.add_argument("--protocol", default="auto", metavar="P", help="by default it is found")
    serve.add_argument(
        "--cors",
        nargs="?",
        const="*",
        metavar="ORIGIN",
        help="let pages of this origin read it; without one, of all",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted; the exit code.

    Raises what `serving` raises.
    """
    from .faults import Faults
    from .running import serving

    faults = None
    if arguments.faults is not None:
        faults = Faults.of(
            arguments.faults,
            seed=arguments.seed,
            every=arguments.every,
            stall_ms=arguments.stall * 1000,
        )
    with interruptible():
        try:
            with serving(
                arguments.logs,
                host=arguments.host,
                port=arguments.port,
                protocol=arguments.protocol,
                speed=arguments.speed,
                longest_pause=arguments.longest_pause,
                loop=arguments.loop,
                faults=faults,
                heartbeat=arguments.heartbeat,
                at_end=arguments.end,
                cors=arguments.cors,
                tell=_warn,
            ) as url:
                names = ", ".join(arguments.logs)
                _print(f"serving {names} on {url} (Ctrl-C ends it)", sys.stdout)
                threading.Event().wait()
        except KeyboardInterrupt:
            pass
    return 0


def _warn(said: str) -> None:
    try:
        _print(f"streamstore: {said}", sys.stderr)
    except OSError:
        pass  # a full disk, or nobody reads it: clients are served all the same


def _print(text: str, out: TextIO) -> None:
    reconfigure = getattr(out, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    print(one_line(text, 500), file=out, flush=True)


def _pause(text: str) -> float:
    return math.inf if text == "none" else _seconds(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0, not {text!r}")
    return number
