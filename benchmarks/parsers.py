"""Event-stream parsers: which cases of the format they get wrong, and what an event costs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from streamstore.sse import EventStreamParser

from .figures import Effort, Figure, Question, Skipped, installed
from .payloads import LARGE_READ, SMALL_READ, SOURCES, chunks
from .timing import Piece, Spread, Variant, interleaved

CASES = Path(__file__).resolve().parent.parent / "tests" / "data" / "sse" / "cases.json"
OURS = "streamstore.sse"

ABOUT = """
The conformance cases are those of the tests, written from the rules of the HTML standard. A case
is failed when the events that come out (type, data, last event id) are not those it expects, or
when something is raised. Where a library gives only an event's own id, the last one is carried on
for it. Each case is run with the chunks it names, and again one byte at a time.

The cost is that of an event of an opencode or an Anthropic stream from bytes to the library's
event object, JSON not decoded. All parsers get the same chunks; HTTP is not in it, but
`httpx-sse` reads from an `httpx.Response`, because that is the only door it has.
"""


class Event(NamedTuple):
    """What a parser makes of an event, in the words of the standard."""

    type: str
    data: str
    last_event_id: str


class Parser(NamedTuple):
    """A library's door: chunks of a body to its own event objects, and what these say."""

    parse: Callable[[Iterable[bytes]], Iterator[Any]]
    read: Callable[[Iterable[Any]], Iterator[Event]]


class _Size(NamedTuple):
    events: int
    rounds: int


_SIZES: dict[Effort, _Size] = {
    "tiny": _Size(50, 1),
    "quick": _Size(3_000, 3),
    "full": _Size(20_000, 9),
}


def measure(effort: Effort) -> Iterator[Figure | Skipped]:
    """Failures, then cost."""
    parsers: dict[str, Parser] = {OURS: Parser(_ours, _read_ours)}
    for name, module, parser in (
        ("httpx-sse", "httpx_sse", Parser(_httpx_sse, _read_httpx_sse)),
        ("sseclient-py", "sseclient", Parser(_sseclient, _read_sseclient)),
        ("launchdarkly-eventsource", "ld_eventsource", Parser(_launchdarkly, _read_launchdarkly)),
    ):
        if installed(module):
            parsers[name] = parser
        else:
            yield Skipped(name, "not installed: pip install 'chat-streamstore[bench]'")
    if CASES.exists():
        cases = json.loads(CASES.read_text(encoding="utf-8"))
        for name, parser in parsers.items():
            yield from _failures(name, parser, cases)
    else:
        yield Skipped("conformance", "the cases of the tests are not here")
    size = _SIZES[effort]
    for source in SOURCES:
        if source.name in ("opencode", "anthropic"):
            frames = source.frames(source.payloads(1, size.events + 1))
            for label, length in (("64 KiB", LARGE_READ), ("4 KiB", SMALL_READ)):
                column = f"{source.name}, {label} a chunk"
                yield from _cost(parsers, chunks(frames, length), column, size)


def _failures(name: str, parser: Parser, cases: Sequence[Any]) -> Iterator[Figure]:
    for column, cut in (("chunks of the case", False), ("one byte at a time", True)):
        failed = sum(not _passes(parser, case, cut) for case in cases)
        yield Figure(
            table=f"Failures of {len(cases)} conformance cases",
            row=name,
            column=column,
            unit="count",
            spread=Spread.of([failed]),
            better="exact" if name == OURS else "",
        )


def _passes(parser: Parser, case: Any, cut: bool) -> bool:
    body = [
        base64.b64decode(chunk["b64"]) if isinstance(chunk, dict) else chunk.encode()
        for chunk in case["chunks"]
    ]
    if cut:
        whole = b"".join(body)
        body = [whole[at : at + 1] for at in range(len(whole))]
    expected = [Event(event["event"], event["data"], event["id"]) for event in case["expected"]]
    try:
        return list(parser.read(parser.parse(body))) == expected
    except Exception:
        return False


def _cost(
    parsers: dict[str, Parser], body: list[bytes], column: str, size: _Size
) -> Iterator[Figure]:
    variants: dict[str, Variant] = {
        name: _variant(parser, body, size.events) for name, parser in parsers.items()
    }
    rounds = interleaved(variants, size.events, size.rounds)
    for name in parsers:
        yield Figure(
            table="Cost of an event",
            row=name,
            column=column,
            unit="ns",
            spread=rounds.cost(name),
            better="lower" if name == OURS else "",
        )
        if name != OURS:
            yield Figure(
                table=f"Cost over that of `{OURS}`",
                row=name,
                column=column,
                unit="times",
                spread=rounds.ratio(name, OURS),
                baseline=f"`{OURS}`, same chunks",
                better="higher",
            )


def _variant(parser: Parser, body: list[bytes], events: int) -> Variant:
    def variant() -> Iterator[Piece]:
        count = 0

        def run() -> None:
            nonlocal count
            for _ in parser.parse(body):
                count += 1

        yield run
        assert count == events, (count, events)

    return variant


# --- the parsers ------------------------------------------------------------------------------


def _ours(body: Iterable[bytes]) -> Iterator[Any]:
    parser = EventStreamParser()
    for chunk in body:
        yield from parser.feed(chunk)


def _read_ours(frames: Iterable[Any]) -> Iterator[Event]:
    for frame in frames:
        yield Event(frame.event, frame.data, frame.id)


def _httpx_sse(body: Iterable[bytes]) -> Iterator[Any]:
    import httpx
    from httpx_sse import EventSource

    response = httpx.Response(
        200,
        headers={"content-type": "text/event-stream; charset=utf-8"},
        content=_without_empty(body),
    )
    return EventSource(response).iter_sse()


def _read_httpx_sse(events: Iterable[Any]) -> Iterator[Event]:
    for event in events:
        yield Event(event.event, event.data, event.id)


def _sseclient(body: Iterable[bytes]) -> Iterator[Any]:
    from sseclient import SSEClient

    client: Any = SSEClient(_without_empty(body))
    events: Iterator[Any] = client.events()
    return events


def _read_sseclient(events: Iterable[Any]) -> Iterator[Event]:
    last = ""
    for event in events:
        last = last if event.id is None else event.id
        yield Event(event.event, event.data, last)


def _launchdarkly(body: Iterable[bytes]) -> Iterator[Any]:
    config: Any = import_module("ld_eventsource.config")

    class Connection(config.ConnectionClient):  # type: ignore[misc]
        def connect(self, last_event_id: str | None) -> Any:
            return config.ConnectionResult(stream=_without_empty(body), closer=None)

    class Strategy(config.ConnectStrategy):  # type: ignore[misc]
        def create_client(self, logger: Any) -> Any:
            return Connection()

    with import_module("ld_eventsource").SSEClient(Strategy()) as client:
        yield from client.events


def _read_launchdarkly(events: Iterable[Any]) -> Iterator[Event]:
    for event in events:
        yield Event(event.event, event.data, event.last_event_id or "")


def _without_empty(body: Iterable[bytes]) -> Iterator[bytes]:
    """An empty chunk is nothing on a wire, though some of the cases have one."""
    return (chunk for chunk in body if chunk)


QUESTION = Question("parsers", "Parsers of event streams", ABOUT, measure)
