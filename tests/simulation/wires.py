"""A script as a protocol writes it: canonical events to wire objects and bytes.

Each protocol says what its own server would, by hand: nothing here comes from an adapter.
"""

from __future__ import annotations

import json
from typing import Any

from .oracle import GONE, Truth

Wire = dict[str, Any]

_KEY = {"sessionId": "s1", "messageId": "m0", "blockIndex": 0}
#: Input that changes nothing, whatever the sequencing; as one line.
BAD: tuple[bytes, ...] = (
    b"{",
    b'{"type": "block.delta"',
    b"\xff\xfe{}",
    b"null",
    b"17",
    b'"text"',
    b"[]",
    b'{"type": 7}',
    b"{}",
    b'{"type": "no.such.event", "seq": 3}',
    b'{"type": "block.delta", "sessionId": "s1", "messageId": "", "blockIndex": 0, "seq": 1, "text": "BAD"}',
    b'{"type": "block.delta", "sessionId": "s1", "messageId": "m0", "blockIndex": 0, "seq": true, "text": "BAD"}',
    b'{"type": "block.delta", "sessionId": "s1", "messageId": "m0", "blockIndex": 0, "seq": 1.0, "text": "BAD"}',
    b'{"type": "block.delta", "sessionId": "s1", "messageId": "m0", "blockIndex": 0, "seq": "1", "text": "BAD"}',
    b'{"type": "block.delta", "sessionId": "s1", "messageId": "m0", "blockIndex": 0, "seq": -1, "text": "BAD"}',
    b'{"type": "block.delta", "sessionId": "s1", "messageId": "m0", "blockIndex": true, "seq": 1, "text": "BAD"}',
    b'{"type": "block.delta", "sessionId": "s1", "messageId": "m0", "blockIndex": 0, "seq": 1, "text": 7}',
    b'{"type": "block.delta", "sessionId": 1, "messageId": "m0", "blockIndex": 0, "seq": 1, "text": "BAD"}',
    b'{"type": "block.replaced", "sessionId": "s1", "messageId": "m0", "blockIndex": 0, "seq": [1], "text": "BAD"}',
    b'{"type": "block.snapshot", "sessionId": "s1", "messageId": "m0", "blockIndex": 0, "seq": 9223372036854775808, "text": "BAD"}',
    b'{"type": "message.closed", "sessionId": "s1", "messageId": "m0", "status": "BAD"}',
    b'{"type": "message.opened", "sessionId": "s1", "messageId": "m0", "role": 5}',
    b'{"type": "block.delta", "seq": NaN, "sessionId": "s1", "messageId": "m0", "blockIndex": 0, "text": "BAD"}',
)  # fmt: skip


def _object(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return ["no", "json"]


BAD_OBJECTS = tuple(_object(data) for data in BAD)


class Wires:
    """The entries of a script on one wire.

    Args:
        framing: "" for objects, else `frames` or `lines`.
    """

    def __init__(self, protocol: str, script: list[Any], framing: str) -> None:
        self.protocol = protocol
        self._script = script
        self._framing = framing
        if protocol == "native":
            self._objects = [event for event, _ in script]
        else:
            self._objects = _WRITERS[protocol](script)
        self._bytes: dict[int, bytes] = {}

    def object(self, n: int) -> Any:
        """Entry n; None where the protocol says nothing of it. Below 0: bad input."""
        return BAD_OBJECTS[-1 - n] if n < 0 else self._objects[n]

    def bytes(self, n: int) -> bytes:
        """Entry n, framed."""
        found = self._bytes.get(n)
        if found is None:
            if n < 0:
                data = BAD[-1 - n]
            else:
                data = json.dumps(self._objects[n], separators=(",", ":")).encode()
            found = data + b"\n" if self._framing == "lines" else b"data: " + data + b"\n\n"
            self._bytes[n] = found
        return found

    def texts(self, truth: Truth) -> dict[Any, str]:
        """The texts that a reader sees, as this protocol names its blocks."""
        found = truth.texts()
        name = _NAMES.get(self.protocol)
        return found if name is None else {name(key): text for key, text in found.items()}

    def _message(self, session: str, message_id: str) -> tuple[str, str]:
        name = "main" if self.protocol == "anthropic" else session
        return name, _message(self.protocol, message_id)

    def check(self, truth: Truth, store: Any) -> None:
        """What a protocol says beside its texts: how messages ended."""
        from .core import Mismatch

        expected = {
            self._message(name, message_id): message["status"]
            for name, session in truth.sessions.items()
            for message_id, message in session["messages"].items()
            if message is not GONE
        }
        found = {
            (message.session_id, message.id): message.status
            for name in store.session_ids()
            for message in store.messages(name)
        }
        if found != expected:
            raise Mismatch(f"messages are {found}, not {expected}")


def _message(protocol: str, message_id: str) -> str:
    if protocol == "vellum":
        return f"019e6f3c-{int(message_id[1:]):04x}-7abc-8def-0123456789ab"
    return message_id


# --- vellum: `session` ----------------------------------------------------------------------------


def _vellum(script: list[Any]) -> list[Any]:
    found = []
    for event, _ in script:
        wire = {
            "conversationId": event["sessionId"],
            "messageId": _message("vellum", event["messageId"]),
            "seq": event["seq"],
        }
        if "blockIndex" in event:
            wire["blockIndex"] = event["blockIndex"]
        kind = event["type"]
        if kind == "message.opened":
            wire |= {"type": "message_open", "role": "assistant"}
        elif kind == "block.opened":
            block = "text" if event["kind"] == "text" else "thinking"
            wire |= {"type": "block_open", "blockType": block}
        elif kind == "block.delta":
            wire |= {"type": "assistant_text_delta", "text": event["text"]}
        elif kind == "block.closed":
            wire["type"] = "block_close"
        else:
            wire["type"] = "message_close"
        found.append(wire)
    return found


# --- t3code: `sparse`, one text a message ---------------------------------------------------------


def _t3code(script: list[Any]) -> list[Any]:
    found: list[Any] = []
    for event, _ in script:
        kind = event["type"]
        if kind not in ("block.delta", "message.closed"):
            found.append(None)
            continue
        at = "2026-08-07T10:00:01.000Z"
        payload = {
            "threadId": event["sessionId"], "messageId": event["messageId"],
            "text": event.get("text", ""), "streaming": kind == "block.delta",
            "role": "assistant", "turnId": "t", "createdAt": at, "updatedAt": at,
        }  # fmt: skip
        seq = event["seq"]
        inner = {"sequence": seq, "eventId": f"ev-{seq}", "type": "thread.message-sent"}
        found.append({"kind": "event", "event": {**inner, "payload": payload}})
    return found


# --- ekacode: `session`, texts come whole ---------------------------------------------------------


def _ekacode(script: list[Any]) -> list[Any]:
    found: list[Any] = []
    for event, _ in script:
        kind, seq, session = event["type"], event["seq"], event["sessionId"]
        if "blockIndex" in event:
            part: Wire = {
                "id": f"p{event['blockIndex']}", "messageID": event["messageId"],
                "sessionID": session, "type": "text", "text": event.get("text", ""),
                "time": {"start": 1},
            }  # fmt: skip
            body: Wire = {"part": part}
            name = "message.part.updated"
        else:
            time = {"created": 1}
            if kind == "message.closed":
                time["completed"] = 2
            name, body = (
                "message.updated",
                {"info": {"id": event["messageId"], "role": "assistant", "time": time}},
            )
        found.append(
            {
                "type": name,
                "properties": body,
                "eventId": f"{session}-{seq:06}",
                "sequence": seq,
                "timestamp": 1_770_000_000_000 + seq,
                "sessionID": session,
            }
        )
    return found


# --- opencode: `none`, with ids -------------------------------------------------------------------


def _opencode(script: list[Any]) -> list[Any]:
    found: list[Any] = []
    texts: dict[Any, str] = {}
    for n, (event, _) in enumerate(script):
        kind, session, message = event["type"], event["sessionId"], event["messageId"]
        if "blockIndex" in event:
            key = (session, message, event["blockIndex"])
            address = {"sessionID": session, "messageID": message}
            if kind == "block.delta":
                texts[key] = texts.get(key, "") + event["text"]
                name = "message.part.delta"
                body = {
                    **address, "partID": f"prt_{key[2]}", "field": "text", "delta": event["text"]
                }  # fmt: skip
            else:
                name = "message.part.updated"
                time = {"start": 1} if kind == "block.opened" else {"start": 1, "end": 2}
                part = {
                    **address, "id": f"prt_{key[2]}", "type": "text", "text": texts.get(key, ""),
                    "time": time,
                }  # fmt: skip
                body = {"sessionID": session, "part": part, "time": n}
        else:
            name = "message.updated"
            clock = {"created": 1} if kind == "message.opened" else {"created": 1, "completed": 2}
            info = {"id": message, "sessionID": session, "role": "assistant", "time": clock}
            body = {"sessionID": session, "info": info}
        found.append({"id": f"evt_{n:06}", "type": name, "properties": body})
    return found


# --- anthropic: `none`, one response after the other ----------------------------------------------


def _anthropic(script: list[Any]) -> list[Any]:
    found: list[Any] = []
    for event, _ in script:
        kind = event["type"]
        wire: Wire
        if kind == "message.opened":
            message = {
                "id": event["messageId"], "type": "message", "role": "assistant", "content": [],
                "model": "m", "stop_reason": None, "stop_sequence": None,
                "usage": {"input_tokens": 1, "output_tokens": 1},
            }  # fmt: skip
            wire = {"type": "message_start", "message": message}
        elif kind == "message.closed":
            wire = {"type": "message_stop"}
        else:
            wire = {"index": event["blockIndex"]}
            if kind == "block.opened":
                block = {"type": "text", "text": ""}
                wire |= {"type": "content_block_start", "content_block": block}
            elif kind == "block.delta":
                delta = {"type": "text_delta", "text": event["text"]}
                wire |= {"type": "content_block_delta", "delta": delta}
            else:
                wire["type"] = "content_block_stop"
        found.append(wire)
    return found


_WRITERS = {
    "vellum": _vellum,
    "t3code": _t3code,
    "ekacode": _ekacode,
    "opencode": _opencode,
    "anthropic": _anthropic,
}
_NAMES = {
    "vellum": lambda key: (key[0], _message("vellum", key[1]), *key[2:]),
    "ekacode": lambda key: (*key[:2], f"p{key[2]}", *key[3:]),
    "opencode": lambda key: (*key[:2], f"prt_{key[2]}", *key[3:]),
    "anthropic": lambda key: ("main", *key[1:]),
}
