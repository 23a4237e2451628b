"""Official clients and the store on the same bytes of an answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import attrs

from streamstore import StreamStore
from streamstore.protocols import adapters

from .figures import Effort, Figure, Question, Skipped, installed
from .hearing import listening
from .payloads import SMALL_READ, SOURCES, Source, batches, chunks, whole_text
from .timing import Piece, Spread, Variant, interleaved

FACTOR = "Official client over the store"
COST = "Cost of a delta"
OURS = "the store, 4 KiB a tick"
EACH = "the store, per token"

ABOUT = """
Each client gets the bytes of one answer in reads of 4 KiB, through its own door and with the
network replaced by memory: `messages.stream`, `responses.stream` and `chat.completions.stream` of
the Python SDKs, iterated to their end, and the parts manager of pydantic-ai, which gets decoded
deltas because it reads no bytes. In Node, where it is there, `readUIMessageStream` of `ai` behind
its transport, and the `HttpAgent` of `@ag-ui/client`; these run in a process of their own, not
round by round with ours, and V8 is not Python: compare how the cost grows.

The baseline is the store on the same bytes, with a subscriber that reads the appended range: once
per read of 4 KiB, and per token (`ticks="each"`), which is how often the clients hand out an event.
They validate every event and hand out typed objects, which the store does not do for deltas; the
store keeps marks and order, which they do not. All end with the same text, which is checked.
"""


class _Size(NamedTuple):
    deltas: tuple[int, ...]
    rounds: int
    node: bool


_SIZES: dict[Effort, _Size] = {
    "tiny": _Size((60,), 1, False),
    "quick": _Size((1_000,), 1, False),
    "full": _Size((1_000, 5_000, 20_000), 3, True),
}


#: Read a whole answer; returns its text.
Run: TypeAlias = Callable[[], str]


@attrs.frozen
class _Client:
    """One official client.

    Attributes:
        name: as tables say it.
        source: name of the source whose bytes it reads.
        module: what must be importable.
        prepare: a client that will be served a body in reads, and the function that asks it for
            the final text; making the client is not timed.
    """

    name: str
    source: str
    module: str
    prepare: Callable[[list[bytes]], AbstractContextManager[Run]]


def measure(effort: Effort) -> Iterator[Figure | Skipped]:
    """Python clients round by round with the store, then those of Node."""
    size = _SIZES[effort]
    sources = {source.name: source for source in SOURCES if source.protocol in adapters()}
    for client in _CLIENTS:
        if not installed(client.module):
            yield Skipped(client.name, "not installed: pip install 'chat-streamstore[bench]'")
        elif client.source in sources:
            for deltas in size.deltas:
                yield from _python(client, sources[client.source], deltas, size.rounds)
    if installed("pydantic_ai"):
        for deltas in size.deltas:
            yield from _parts_manager(sources["anthropic"], deltas, size.rounds)
    else:
        yield Skipped("pydantic-ai", "not installed: pip install 'chat-streamstore[bench]'")
    if not size.node:
        yield Skipped("ai, @ag-ui/client", "left out: npm has to install them first")
        return
    yield from _node(sources, size)


def body_of(source: Source, deltas: int) -> list[bytes]:
    """The bytes of a whole answer, as reads."""
    closing, sentinel = _closing(source, deltas)
    payloads = source.opening_payloads() + source.payloads(1, deltas + 1)
    frames = source.frames(payloads + [json.dumps(wire) for wire in closing])
    if sentinel:
        frames.append(f"data: {sentinel}\n\n".encode())
    return chunks(frames, SMALL_READ)


# --- Python -----------------------------------------------------------------------------------


def _python(client: _Client, source: Source, deltas: int, rounds: int) -> Iterator[Figure]:
    body = body_of(source, deltas)
    variants = {
        client.name: _client_variant(client, body, deltas),
        OURS: _store_variant(source, body, deltas, each=False),
        EACH: _store_variant(source, body, deltas, each=True),
    }
    taken = interleaved(variants, deltas, rounds)
    label = f"{client.name} {metadata.version(client.module)}"
    yield from _figures(label, client.name, deltas, taken)


def _figures(label: str, name: str, deltas: int, taken: Any) -> Iterator[Figure]:
    for variant in (name, OURS, EACH):
        yield Figure(
            table=COST,
            row=label if variant == name else f"{variant}, same input as {name}",
            column=f"{deltas:,} deltas",
            unit="ns",
            spread=taken.cost(variant),
            better="" if variant == name else "lower",
            x=deltas,
        )
    for variant in (OURS, EACH):
        yield Figure(
            table=FACTOR,
            row=f"{name} over {variant}",
            column=f"{deltas:,} deltas",
            unit="times",
            spread=taken.ratio(name, variant),
            baseline=f"{variant}, same input",
            better="higher",
        )


def _client_variant(client: _Client, body: list[bytes], deltas: int) -> Variant:
    def variant() -> Iterator[Piece]:
        texts: list[str] = []
        with client.prepare(body) as run:
            yield lambda: texts.append(run())
        assert texts == [whole_text(deltas)], "the client made another text"

    return variant


def _store_variant(source: Source, body: list[bytes], deltas: int, each: bool) -> Variant:
    def variant() -> Iterator[Piece]:
        store = StreamStore(ticks="each" if each else None)
        stream = store.open(source.protocol, sequencing=source.sequencing)

        def take() -> None:
            for chunk in body:
                stream.feed(chunk)

        with listening(store, "range"):
            yield take
        assert _text(store) == whole_text(deltas), "the store made another text"

    return variant


def _text(store: StreamStore) -> str:
    return "".join(
        part.text
        for session in store.session_ids()
        for message in store.messages(session)
        for part in store.parts(session, message.id)
    )


def _http_client(sdk: Any, body: list[bytes]) -> Any:
    """The SDK's own HTTP client over a transport that hands over reads from memory."""
    # Which HTTP library it builds on differs from version to version.
    base = sdk.DefaultHttpxClient.__mro__[1]
    http = import_module(base.__module__.partition(".")[0])
    headers = {"content-type": "text/event-stream"}
    return sdk.DefaultHttpxClient(
        transport=http.MockTransport(
            lambda request: http.Response(200, headers=headers, content=iter(body))
        )
    )


@contextmanager
def _anthropic(body: list[bytes]) -> Iterator[Run]:
    import anthropic

    with _http_client(anthropic, body) as http:
        client = anthropic.Anthropic(api_key="none", http_client=http, max_retries=0)
        messages: Any = [{"role": "user", "content": "?"}]

        def run() -> str:
            with client.messages.stream(model="claude", max_tokens=1, messages=messages) as stream:
                for _ in stream:
                    pass
                message: Any = stream.get_final_message()
                return "".join(block.text for block in message.content)

        yield run


@contextmanager
def _openai_responses(body: list[bytes]) -> Iterator[Run]:
    import openai

    with _http_client(openai, body) as http:
        client = openai.OpenAI(api_key="none", http_client=http, max_retries=0)

        def run() -> str:
            with client.responses.stream(model="gpt-5", input="?") as stream:
                for _ in stream:
                    pass
                response: Any = stream.get_final_response()
                return "".join(item.text for output in response.output for item in output.content)

        yield run


@contextmanager
def _openai_chat(body: list[bytes]) -> Iterator[Run]:
    import openai

    with _http_client(openai, body) as http:
        client = openai.OpenAI(api_key="none", http_client=http, max_retries=0)
        messages: Any = [{"role": "user", "content": "?"}]

        def run() -> str:
            with client.chat.completions.stream(model="gpt-5", messages=messages) as stream:
                for _ in stream:
                    pass
                completion: Any = stream.get_final_completion()
                return "".join(choice.message.content for choice in completion.choices)

        yield run


_CLIENTS = (
    _Client("anthropic", "anthropic", "anthropic", _anthropic),
    _Client("openai Responses", "openai-responses", "openai", _openai_responses),
    _Client("openai Chat", "openai-chat", "openai", _openai_chat),
)


def _parts_manager(source: Source, deltas: int, rounds: int) -> Iterator[Figure | Skipped]:
    name = "pydantic-ai parts manager"
    try:
        manager_of = import_module("pydantic_ai._parts_manager").ModelResponsePartsManager
        parameters = import_module("pydantic_ai.models").ModelRequestParameters()
        _manager(manager_of, parameters)
    except (ImportError, AttributeError, TypeError) as error:
        yield Skipped(name, f"this version has another inside: {error}")
        return

    def theirs() -> Iterator[Piece]:
        manager = _manager(manager_of, parameters)

        def take(wires: list[Any]) -> None:
            for wire in wires:
                for _ in manager.handle_text_delta(
                    vendor_part_id=wire["index"], content=wire["delta"]["text"]
                ):
                    pass

        for wires in _decoded(source, deltas):
            yield partial(take, wires)
        yield manager.get_parts
        (part,) = manager.get_parts()
        assert part.content == whole_text(deltas)

    def ours(each: bool) -> Variant:
        def variant() -> Iterator[Piece]:
            store = StreamStore(ticks="each" if each else None)
            stream = store.open(source.protocol)
            for payload in source.opening_payloads():
                stream.ingest(json.loads(payload))
            with listening(store, "range"):
                for wires in _decoded(source, deltas):
                    yield partial(stream.ingest_many, wires)
            assert _text(store) == whole_text(deltas)

        return variant

    variants = {name: theirs, OURS: ours(False), EACH: ours(True)}
    taken = interleaved(variants, deltas, rounds)
    label = f"{name} {metadata.version('pydantic-ai-slim')}"
    yield from _figures(label, name, deltas, taken)


def _manager(manager_of: Any, parameters: Any) -> Any:
    return manager_of(model_request_parameters=parameters)


def _decoded(source: Source, deltas: int) -> Iterator[list[Any]]:
    """Decoded deltas of about one read of 4 KiB, made just before they are needed."""
    per_read = max(1, SMALL_READ // len(source.frames(source.payloads(1, 2))[0]))
    for start, stop in batches(1, deltas + 1, per_read):
        yield [json.loads(payload) for payload in source.payloads(start, stop)]


# --- Node -------------------------------------------------------------------------------------

_NODE = {"ai": "vercel-ui", "@ag-ui/client": "ag-ui"}
_INSTALL_SECONDS = 180


def _node(sources: dict[str, Source], size: _Size) -> Iterator[Figure | Skipped]:
    what = ", ".join(_NODE)
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        yield Skipped(what, "no node and npm on the path")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        install = [npm, "install", "--no-audit", "--no-fund", "--silent"]
        install += [f"{client}@latest" for client in _NODE]
        try:
            subprocess.run(
                install, cwd=folder, check=True, capture_output=True, timeout=_INSTALL_SECONDS
            )
        except (subprocess.SubprocessError, OSError) as error:
            yield Skipped(what, f"npm could not install them ({type(error).__name__})")
            return
        shutil.copy(Path(__file__).with_suffix(".mjs"), folder)
        for client, source_name in _NODE.items():
            if source_name not in sources:
                continue
            for deltas in size.deltas:
                yield from _node_client(
                    node, folder, client, sources[source_name], deltas, size.rounds
                )


def _node_client(
    node: str, folder: Path, client: str, source: Source, deltas: int, rounds: int
) -> Iterator[Figure | Skipped]:
    body = body_of(source, deltas)
    file = folder / "stream.sse"
    file.write_bytes(b"".join(body))
    command = [node, "--expose-gc", "clients.mjs", client, file.name, str(rounds)]
    try:
        done = subprocess.run(
            command, cwd=folder, check=True, capture_output=True, timeout=_INSTALL_SECONDS
        )
    except (subprocess.SubprocessError, OSError) as error:
        yield Skipped(f"{client}, {deltas:,} deltas", f"node failed ({type(error).__name__})")
        return
    answer = json.loads(done.stdout)
    if answer["text"] != len(whole_text(deltas)):
        yield Skipped(f"{client}, {deltas:,} deltas", "the client made another text")
        return
    variants = {
        OURS: _store_variant(source, body, deltas, each=False),
        EACH: _store_variant(source, body, deltas, each=True),
    }
    taken = interleaved(variants, deltas, rounds)
    theirs = Spread.of([ms * 1e6 / deltas for ms in answer["ms"]])
    label = f"{client} {answer['version']}".strip()
    for row, spread in (
        (label, theirs),
        (f"{OURS}, same input as {client}", taken.cost(OURS)),
        (f"{EACH}, same input as {client}", taken.cost(EACH)),
    ):
        yield Figure(
            table=COST,
            row=row,
            column=f"{deltas:,} deltas",
            unit="ns",
            spread=spread,
            better="" if row == label else "lower",
            x=deltas,
        )


# --- how an answer ends -----------------------------------------------------------------------


def _closing(source: Source, deltas: int) -> tuple[list[Any], str]:
    """What follows the last delta, and the sentinel behind it ("" for none)."""
    text = whole_text(deltas)
    if source.name == "anthropic":
        return [
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": deltas},
            },
            {"type": "message_stop"},
        ], ""
    if source.name == "openai-chat":
        chunk = dict(source.opening[0])
        ended = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
        return [{**chunk, "choices": [ended]}], "[DONE]"
    if source.name == "openai-responses":
        response, item = source.opening[0]["response"], source.opening[2]["item"]
        content = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
        whole = {**item, "status": "completed", "content": [content]}
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        ends: list[Any] = [
            {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
            {"type": "response.content_part.done", **place, "part": content},
            {"type": "response.output_item.done", "output_index": 0, "item": whole},
            {
                "type": "response.completed",
                "response": {**response, "status": "completed", "output": [whole]},
            },
        ]
        first = source.first + deltas
        return [{**end, "sequence_number": first + n} for n, end in enumerate(ends)], ""
    if source.name == "vercel-ui":
        return [
            {"type": "text-end", "id": "0"},
            {"type": "finish-step"},
            {"type": "finish"},
        ], "[DONE]"
    if source.name == "ag-ui":
        return [
            {"type": "TEXT_MESSAGE_END", "messageId": "m"},
            {"type": "RUN_FINISHED", "threadId": "thread-1", "runId": "run-1"},
        ], ""
    return [], ""


QUESTION = Question("clients", "Official clients", ABOUT, measure)
