"""The command `streamstore`: what can be done with a log or a live stream, one word each.

`fold` a log to its state, `replay` it as a transcript, `check` it, `watch` it, `serve` it, or
`record` one.

Knows arguments, exit codes and the standard streams. Results go to standard output; what went
wrong is one line on standard error and never a traceback. Everything printed is free of control
characters, wherever it came from.

Exit codes: 0 done (single events that could not be used are counted, not an error), 1 `check`
found a law broken, 2 a wrong argument, file or protocol, 130 interrupted, 141 nobody reads the
output any more.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn, TextIO

from .commandline import Format, add_sequencing, count, speed
from .errors import StreamStoreError
from .feeding import connections, feed_all, feed_bytes
from .interrupting import interruptible
from .pipeline import StreamStore
from .protocols import adapter_named, adapters
from .recording import command as record
from .serve import command as serve
from .terminal import json_text, one_line
from .watch import command as watch

_WRONG, _INTERRUPTED, _BROKEN_PIPE = 2, 130, 141

_LOGS = """\
A log holds what a server sent on one connection: the raw bytes of an event stream, or one JSON
object a line; gzipped or not; - is standard input. Several logs are connections one after the
other; so are those that a durable log holds (streamstore record). What a durable log lost is told
on standard error, and where the last event of a log breaks off. A file named *.json that is one
JSON value is a state that was fetched beside the stream (for opencode what its REST reads gave): it
belongs to the connection of the log behind it, or to the last one.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; `argv` without the program's name. Returns the exit code."""
    _open_what_is_closed()
    try:
        code = _done(argv)
        sys.stdout.flush()
    except StreamStoreError as error:
        return _say(str(error))
    except BrokenPipeError:
        _let_go_of_stdout()
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        return _say(error.strerror or str(error))
    return code


def _done(argv: Sequence[str] | None) -> int:
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as exit:  # of argparse: help, version, wrong arguments
        return exit.code if isinstance(exit.code, int) else _WRONG
    return _COMMANDS[arguments.command](arguments)


# --- the commands ---------------------------------------------------------------------------------


def _fold(arguments: argparse.Namespace) -> int:
    shape: str | None = arguments.shape
    if shape is not None:
        adapter_named(shape)  # before anything is read
    store = StreamStore(ticks="manual")
    recording = connections(arguments.logs, _print_error)
    feed_all(
        store,
        recording,
        arguments.protocol,
        arguments.sequencing,
        lambda stream, log: feed_bytes(stream, log.judged(_print_error)),
        tell=_print_error,
        policy="strict" if arguments.strict else "lenient",
    )
    store.flush()
    state = store.state() if shape is None else store.encode(shape)
    print(json_text(state, ascii_only=not _writes_unicode(sys.stdout)))
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    from .replay import AS_RECORDED, AT_ONCE, LiveView, PlainView, Speed, View, replay

    _never_fail_to_encode(sys.stdout)
    on_terminal = sys.stdout.isatty()
    console = _console() if on_terminal else None
    pace = AS_RECORDED if on_terminal else AT_ONCE
    if arguments.speed is not None:
        pace = Speed(arguments.speed)
    view: View = PlainView(sys.stdout) if console is None else LiveView(console)
    with nullcontext() if console is None else interruptible():  # or its cursor stays hidden
        replay(
            connections(arguments.logs, _print_error),
            view,
            protocol=arguments.protocol,
            sequencing=arguments.sequencing,
            session_id=arguments.session,
            speed=pace,
            tell=_print_error,
        )
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from .check import run

    return run(arguments, sys.stdout, sys.stderr)


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "fold": _fold,
    "replay": _replay,
    "check": _check,
    "watch": watch.run,
    "serve": serve.run,
    "record": record.run,
}


def _console() -> Any:
    """A console of rich for the live view; None where rich or the terminal cannot do it."""
    try:
        from rich.console import Console
    except ImportError:
        _print_error("for the live view: pip install 'chat-streamstore[cli]'")
        return None
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal and not console.is_dumb_terminal else None


# --- arguments ------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        _print_error(f"{message} (see {self.prog} --help)")
        raise SystemExit(_WRONG)

    def _print_message(self, message: str, file: Any = None) -> None:
        # The original keeps to itself that help or a version could not be written.
        (sys.stderr if file is None else file).write(message)


def parser() -> argparse.ArgumentParser:
    """The command line of `streamstore`."""
    from . import __version__

    command = _Parser(
        prog="streamstore",
        description="Recorded chat and agent streams: their final state, or how they grew.",
    )
    command.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = command.add_subparsers(dest="command", required=True, metavar="COMMAND")

    fold = commands.add_parser(
        "fold",
        help="print the final state as JSON",
        description="Print the state after the last event as JSON, keys sorted. Text is escaped "
        "by JSON where a terminal could act on it, so the output is safe to look at.",
        epilog=_LOGS,
        formatter_class=Format,
    )
    _add_logs(fold)
    fold.add_argument(
        "--as",
        dest="shape",
        metavar="P",
        help="print it in the shape of this protocol's own final object",
    )
    fold.add_argument(
        "--strict",
        action="store_true",
        help="stop where the official client would; by default what is malformed is counted and "
        "the rest goes on",
    )

    replay = commands.add_parser(
        "replay",
        help="show the transcript as it grows, and what it took",
        description="Show the transcript as it grows, and at the end how many events, verdicts, "
        "ticks, writes and notifications there were. The store ticks 60 times per second of the "
        "recording, at any speed. In a pipe, or without rich, the transcript is plain text.",
        epilog=_LOGS + "Times are those that a durable log holds, or a file arrival_ms.json beside "
        "the log,\nelse the events' own.\n",
        formatter_class=Format,
    )
    _add_logs(replay)
    replay.add_argument(
        "--speed",
        type=speed,
        metavar="N|max",
        help="N times as fast as recorded, or max; by default as recorded but with short pauses "
        "and in 10 seconds at most, in a pipe max",
    )
    replay.add_argument("--session", metavar="ID", help="show this session alone")

    check = commands.add_parser(
        "check",
        help="say which laws a store keeps on a log, whatever happens to it",
        description="Disturb the log (duplicates, replayed stretches, other orders, cuts with "
        "resume, other chunks of bytes, ticks and delivery modes) and say of each of the laws L1 "
        "to L6 whether it is kept, broken (with the shortest example found), or not promised for "
        "this protocol. Exit code 1 when one is broken.",
        epilog=_LOGS,
        formatter_class=Format,
    )
    _add_logs(check)
    check.add_argument(
        "--seed", type=int, default=0, metavar="N", help="draws other disturbances (default 0)"
    )
    check.add_argument(
        "--runs",
        type=count,
        metavar="N",
        help="disturbed replays for each law; by default as many as take some seconds",
    )
    check.add_argument(
        "--json", action="store_true", help="print the reports as JSON, examples whole"
    )
    for later in (watch, serve, record):
        later.add_to(commands)
    return command


def _add_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("logs", nargs="+", metavar="LOG", help="see below")
    parser.add_argument(
        "--protocol",
        default="auto",
        metavar="P",
        help=f"one of {', '.join(adapters())}; by default it is found",
    )
    add_sequencing(parser)


# --- the standard streams -------------------------------------------------------------------------


def _open_what_is_closed() -> None:
    """Where whoever started this closed an output, what is written to it goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))


def _say(problem: str) -> int:
    _print_error(problem)
    try:
        sys.stdout.flush()
    except OSError:
        _let_go_of_stdout()
    return _WRONG


def _print_error(message: str) -> None:
    _never_fail_to_encode(sys.stderr)
    try:
        print(f"streamstore: {one_line(message, 500)}", file=sys.stderr)
    except OSError:
        pass  # a full disk, or nobody reads it: no reason to keep back the results, too


def _writes_unicode(out: TextIO) -> bool:
    return (out.encoding or "").lower().replace("-", "").startswith("utf")


def _never_fail_to_encode(out: TextIO) -> None:
    """What the output's encoding lacks is written as an escape."""
    reconfigure = getattr(out, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _let_go_of_stdout() -> None:
    """Have nothing left to write, so that the interpreter does not complain when it exits."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass  # it is no file
