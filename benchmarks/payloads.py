"""What protocols send, made as needed: JSON payloads, event streams of them, and a floor for each.

A source makes the payloads of one long answer: what opens it, then as many text deltas as wanted.
Its floor is what somebody writes inline who knows the protocol and needs neither idempotence nor
anything beside text: one loop with plain dicts, one join per tick. Knows wires alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs

#: Text of waiting deltas, by what identifies a part in the protocol.
Waiting: TypeAlias = dict[Any, list[str]]
#: The loop over decoded payloads that appends their text to what waits.
Floor: TypeAlias = Callable[[Sequence[Any], Waiting], None]

#: What a socket hands over: a small read and a large one, in bytes.
SMALL_READ, LARGE_READ = 4 * 1024, 64 * 1024

# Deltas of 1 to 8 characters, 4.5 on average; ASCII, so that a character is a byte; a paragraph
# ends now and then, because a terminal's work depends on it.
_TEXTS = tuple(
    "A| store| for| chat| and| agent| str|eams|:| it| takes| what| a| server| sends|,| and| gives"
    "| your| inter|face| immut|able| parts|,| and| exactly| what| each| tick| changed|.\n\n".split(
        "|"
    )
)
_QUOTED = tuple(json.dumps(text) for text in _TEXTS)
_NUMBER, _ID, _TEXT = 987654321, "@id@", "@text@"


def text_of(number: int) -> str:
    """Text of a delta, by its number from 1."""
    return _TEXTS[(number - 1) % len(_TEXTS)]


def whole_text(deltas: int) -> str:
    """What so many deltas come to."""
    turns, rest = divmod(deltas, len(_TEXTS))
    return "".join(_TEXTS) * turns + "".join(_TEXTS[:rest])


@attrs.frozen(kw_only=True)
class Source:
    """One protocol's way to send one answer.

    Attributes:
        name: as tables say it.
        protocol, sequencing: what `StreamStore.open` gets.
        opening: wire objects before the first delta.
        delta: a wire object of a delta; `_NUMBER`, `_ID` and `_TEXT` stand for what varies.
        first: the number that the wire gives the first delta.
        named: its events have an `event:` line with their type.
        floor: the inline loop.
    """

    name: str
    protocol: str
    sequencing: Any = None
    opening: tuple[Any, ...] = ()
    delta: Any
    first: int = 1
    named: bool = False
    floor: Floor
    _template: str = attrs.field(
        init=False,
        default=attrs.Factory(
            lambda self: json.dumps(self.delta, separators=(",", ":")), takes_self=True
        ),
    )

    def payloads(self, start: int, stop: int) -> list[str]:
        """JSON of the deltas from a number (from 1) to before another."""
        template, number, text = self._template, str(_NUMBER), f'"{_TEXT}"'
        made = []
        for at in range(start, stop):
            payload = template.replace(text, _QUOTED[(at - 1) % len(_QUOTED)])
            if number in template:
                payload = payload.replace(number, str(at - 1 + self.first))
            elif _ID in template:
                payload = payload.replace(_ID, f"{at:012d}")
            made.append(payload)
        return made

    def opening_payloads(self) -> list[str]:
        """JSON of what comes before the first delta."""
        return [json.dumps(wire, separators=(",", ":")) for wire in self.opening]

    def frames(self, payloads: Iterable[str]) -> list[bytes]:
        """Payloads as events of an event stream, one each."""
        if not self.named:
            return [f"data: {payload}\n\n".encode() for payload in payloads]
        return [
            f"event: {json.loads(payload)['type']}\ndata: {payload}\n\n".encode()
            for payload in payloads
        ]


def native_delta(
    seq: int, text: str, session: str = "s", message: str = "m", block: int = 0
) -> Any:
    """A decoded native delta, of any part."""
    return json.loads(native_payload(seq, text, session, message, block))


def native_payload(seq: int, text: str, session: str, message: str, block: int) -> str:
    """JSON of a native delta of any part; names and text need no escapes but those of JSON."""
    return (
        f'{{"type":"block.delta","sessionId":"{session}","messageId":"{message}",'
        f'"blockIndex":{block},"seq":{seq},"text":{json.dumps(text)}}}'
    )


def batches(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `size` numbers.

    >>> list(batches(1, 8, 3))
    [(1, 4), (4, 7), (7, 8)]
    """
    for first in range(start, stop, size):
        yield first, min(first + size, stop)


def chunks(frames: Sequence[bytes], size: int) -> list[bytes]:
    """The bytes of events as reads of `size` bytes, cut anywhere; 0: one event a chunk.

    >>> chunks([b"abc", b"de"], 2), chunks([b"abc", b"de"], 0)
    ([b'ab', b'cd', b'e'], [b'abc', b'de'])
    """
    if not size:
        return list(frames)
    data = b"".join(frames)
    return [data[at : at + size] for at in range(0, len(data), size)]


def join_waiting(waiting: Waiting, texts: Waiting) -> None:
    """The floor's tick: what waits becomes one more piece of each text."""
    for key, pieces in waiting.items():
        if key in texts:
            texts[key].append("".join(pieces))
        else:
            texts[key] = ["".join(pieces)]
    waiting.clear()


# --- the floors -------------------------------------------------------------------------------
# `try` costs nothing where the key is there, which it is but for the first delta of each tick.


def _native_floor(wires: Sequence[Any], waiting: Waiting) -> None:
    for wire in wires:
        if wire["type"] == "block.delta":
            key = (wire["sessionId"], wire["messageId"], wire["blockIndex"])
            try:
                waiting[key].append(wire["text"])
            except KeyError:
                waiting[key] = [wire["text"]]


def _opencode_floor(wires: Sequence[Any], waiting: Waiting) -> None:
    for wire in wires:
        if wire["type"] == "message.part.delta":
            body = wire["properties"]
            key = (body["sessionID"], body["messageID"], body["partID"])
            try:
                waiting[key].append(body["delta"])
            except KeyError:
                waiting[key] = [body["delta"]]


def _anthropic_floor(wires: Sequence[Any], waiting: Waiting) -> None:
    for wire in wires:
        if wire["type"] == "content_block_delta":
            delta = wire["delta"]
            if delta["type"] == "text_delta":
                try:
                    waiting[wire["index"]].append(delta["text"])
                except KeyError:
                    waiting[wire["index"]] = [delta["text"]]


def _chat_floor(wires: Sequence[Any], waiting: Waiting) -> None:
    for wire in wires:
        for choice in wire["choices"]:
            text = choice["delta"].get("content")
            if text:
                try:
                    waiting[choice["index"]].append(text)
                except KeyError:
                    waiting[choice["index"]] = [text]


def _responses_floor(wires: Sequence[Any], waiting: Waiting) -> None:
    for wire in wires:
        if wire["type"] == "response.output_text.delta":
            key = (wire["item_id"], wire["content_index"])
            try:
                waiting[key].append(wire["delta"])
            except KeyError:
                waiting[key] = [wire["delta"]]


def _vercel_floor(wires: Sequence[Any], waiting: Waiting) -> None:
    for wire in wires:
        if wire["type"] == "text-delta":
            try:
                waiting[wire["id"]].append(wire["delta"])
            except KeyError:
                waiting[wire["id"]] = [wire["delta"]]


def _ag_ui_floor(wires: Sequence[Any], waiting: Waiting) -> None:
    for wire in wires:
        if wire["type"] == "TEXT_MESSAGE_CONTENT":
            try:
                waiting[wire["messageId"]].append(wire["delta"])
            except KeyError:
                waiting[wire["messageId"]] = [wire["delta"]]


# --- the sources ------------------------------------------------------------------------------
# Ids are as long as the protocols' own are: they are most of a payload's bytes.

_NATIVE = {
    "type": "block.delta",
    "sessionId": "ses_01J9ZQ3V7N",
    "messageId": "msg_01J9ZQ3V8A",
    "blockIndex": 0,
}
_RESPONSE = {
    "id": "resp_182d831caa154aa750d2c20ae3124409df8f19af6a0cdfdb",
    "object": "response",
    "created_at": 1795008356,
    "status": "in_progress",
    "model": "gpt-5",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
_ITEM = "msg_854cf311c2473c90694497809560098d884555ba21fb23d1"
_CHUNK = {
    "id": "chatcmpl-2GRUVCBgQeyxeeE2BGcEhtiPZvRiX",
    "object": "chat.completion.chunk",
    "created": 1795007184,
    "model": "gpt-5",
    "system_fingerprint": "fp_e6728c06c2",
}

NATIVE_BLOCK = Source(
    name="native, `block`",
    protocol="native",
    sequencing="block",
    delta={**_NATIVE, "seq": _NUMBER, "text": _TEXT},
    floor=_native_floor,
)

SOURCES = (
    NATIVE_BLOCK,
    attrs.evolve(NATIVE_BLOCK, name="native, `sparse`", sequencing="sparse"),
    attrs.evolve(NATIVE_BLOCK, name="native, `session`", sequencing="session"),
    Source(
        name="native, `none`",
        protocol="native",
        sequencing="none",
        delta={**_NATIVE, "text": _TEXT},
        floor=_native_floor,
    ),
    Source(
        name="opencode",
        protocol="opencode",
        delta={
            "id": f"evt_{_ID}",
            "type": "message.part.delta",
            "properties": {
                "sessionID": "ses_e033a4857ffexF6AJR3iljZssr",
                "messageID": "msg_1fcc5b9bb001lcIb41UascEr5i",
                "partID": "prt_1fcc5bcb9001TIWPMAJQn0nl10",
                "field": "text",
                "delta": _TEXT,
            },
        },
        floor=_opencode_floor,
    ),
    Source(
        name="anthropic",
        protocol="anthropic",
        opening=(
            {
                "type": "message_start",
                "message": {
                    "id": "msg_01sgvTUNEES5kXSZ65bMRRh5",
                    "type": "message",
                    "role": "assistant",
                    "model": "claude",
                    "content": [],
                    "stop_reason": None,
                    "stop_sequence": None,
                    "usage": {"input_tokens": 83, "output_tokens": 4},
                },
            },
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
        ),
        delta={
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": _TEXT},
        },
        named=True,
        floor=_anthropic_floor,
    ),
    Source(
        name="openai-chat",
        protocol="openai-chat",
        opening=(
            {
                **_CHUNK,
                "choices": [
                    {
                        "index": 0,
                        "delta": {"role": "assistant", "content": ""},
                        "logprobs": None,
                        "finish_reason": None,
                    }
                ],
            },
        ),
        delta={
            **_CHUNK,
            "choices": [
                {"index": 0, "delta": {"content": _TEXT}, "logprobs": None, "finish_reason": None}
            ],
        },
        floor=_chat_floor,
    ),
    Source(
        name="openai-responses",
        protocol="openai-responses",
        opening=(
            {"type": "response.created", "sequence_number": 0, "response": _RESPONSE},
            {"type": "response.in_progress", "sequence_number": 1, "response": _RESPONSE},
            {
                "type": "response.output_item.added",
                "sequence_number": 2,
                "output_index": 0,
                "item": {
                    "id": _ITEM,
                    "type": "message",
                    "status": "in_progress",
                    "content": [],
                    "role": "assistant",
                },
            },
            {
                "type": "response.content_part.added",
                "sequence_number": 3,
                "item_id": _ITEM,
                "output_index": 0,
                "content_index": 0,
                "part": {"type": "output_text", "annotations": [], "logprobs": [], "text": ""},
            },
        ),
        delta={
            "type": "response.output_text.delta",
            "sequence_number": _NUMBER,
            "item_id": _ITEM,
            "output_index": 0,
            "content_index": 0,
            "delta": _TEXT,
            "logprobs": [],
        },
        first=4,
        named=True,
        floor=_responses_floor,
    ),
    Source(
        name="vercel-ui",
        protocol="vercel-ui",
        opening=(
            {"type": "start", "messageId": "msg-1"},
            {"type": "start-step"},
            {"type": "text-start", "id": "0"},
        ),
        delta={"type": "text-delta", "id": "0", "delta": _TEXT},
        floor=_vercel_floor,
    ),
    Source(
        name="ag-ui",
        protocol="ag-ui",
        opening=(
            {"type": "RUN_STARTED", "threadId": "thread-1", "runId": "run-1"},
            {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
        ),
        delta={"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": _TEXT},
        floor=_ag_ui_floor,
    ),
)


def _input_of(name: str, delta: Any, *opening: Any, **changed: Any) -> Source:
    """The same protocol's way to stream a tool's input, behind what opens its answer."""
    (source,) = (source for source in SOURCES if source.name == name)
    return attrs.evolve(source, delta=delta, opening=(*source.opening, *opening), **changed)


_CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "run", "arguments": ""}
_FUNCTION = {"index": 0, "id": "call_1", "type": "function"}


def _calls(*calls: Any) -> Any:
    delta = {"tool_calls": list(calls)}
    return {**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


#: The same for deltas of a tool's input, where a protocol has them; no floor knows them.
INPUTS = (
    _input_of("native, `block`", {**_NATIVE, "seq": _NUMBER, "field": "input", "text": _TEXT}),
    _input_of("native, `sparse`", {**_NATIVE, "seq": _NUMBER, "field": "input", "text": _TEXT}),
    Source(
        name="opencode-v2",
        protocol="opencode-v2",
        delta={
            "id": f"evt_{_ID}",
            "type": "session.next.tool.input.delta",
            "data": {
                "timestamp": 1795007184000,
                "sessionID": "ses_e033a4857ffexF6AJR3iljZssr",
                "assistantMessageID": "msg_1fcc5b9bb001lcIb41UascEr5i",
                "callID": "toolu_01A09q90qw90lq917835lq9",
                "delta": _TEXT,
            },
        },
        floor=_opencode_floor,
    ),
    _input_of(
        "anthropic",
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": _TEXT},
        },
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "toolu_1", "name": "run", "input": {}},
        },
    ),
    _input_of(
        "openai-chat",
        _calls({"index": 0, "function": {"arguments": _TEXT}}),
        _calls({**_FUNCTION, "function": {"name": "run", "arguments": ""}}),
    ),
    _input_of(
        "openai-responses",
        {
            "type": "response.function_call_arguments.delta",
            "sequence_number": _NUMBER,
            "item_id": "fc_1",
            "output_index": 1,
            "delta": _TEXT,
        },
        {
            "type": "response.output_item.added",
            "sequence_number": 4,
            "output_index": 1,
            "item": _CALL,
        },
        first=5,
    ),
    _input_of(
        "vercel-ui",
        {"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": _TEXT},
        {"type": "tool-input-start", "toolCallId": "call_1", "toolName": "run"},
    ),
    _input_of(
        "ag-ui",
        {"type": "TOOL_CALL_ARGS", "toolCallId": "call_1", "delta": _TEXT},
        {"type": "TOOL_CALL_START", "toolCallId": "call_1", "toolCallName": "run"},
    ),
)
