"""A store with one stream, for tests of a few lines each; holds no test."""

from __future__ import annotations

import json
from typing import Any

from streamstore import StreamStore
from streamstore.text import pair_surrogates

Wire = dict[str, Any]


def delta(text: str, seq: int | None = None, **members: Any) -> Wire:
    """A delta of session `s`, message `m`, block 0, where nothing else is said."""
    wire = {"type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0}
    return {**wire, "text": text, **({} if seq is None else {"seq": seq}), **members}


def line(wire: Wire) -> bytes:
    """An event as a JSON line."""
    return json.dumps(wire).encode() + b"\n"


def frame(event_id: Any, wire: Wire) -> bytes:
    """An event with its id in an event stream."""
    return f"id: {event_id}\ndata: {json.dumps(wire)}\n\n".encode()


def fetched(message_id: str, *parts: tuple[int, str], **members: Any) -> Wire:
    """A message of a snapshot, with open text parts."""
    found = [{"blockIndex": b, "kind": "text", "text": t, "status": "open"} for b, t in parts]
    return {"info": {"id": message_id, "role": "assistant"}, "parts": found, **members}


def merged(saved: Any) -> Any:
    """A saved state in which no text is in pieces: how many there are says how it came."""
    if isinstance(saved, dict):
        whole = {name: merged(value) for name, value in saved.items()}
        if "pending" in saved:
            whole["pending"] = pair_surrogates("".join(saved["pending"]))
            if saved["ready"] >= 0:
                whole["ready"] = pair_surrogates("".join(saved["pending"][: saved["ready"]]))
        return whole
    return [merged(value) for value in saved] if isinstance(saved, list) else saved


def through_json(store: StreamStore, **options: Any) -> StreamStore:
    """The store again after it was saved, written and read."""
    return StreamStore.load(json.loads(json.dumps(store.save())), **options)


class Bench:
    """A store with one stream; events are of session `s`, message `m`, block 0."""

    def __init__(self, sequencing: Any, ticks: Any = "manual", **options: Any) -> None:
        self.store = StreamStore("native", ticks=ticks, **options)
        self.stream = self.store.open("native", sequencing=sequencing)

    def take(self, type_: str, seq: int | None = None, **members: Any) -> str:
        event: Wire = {"type": type_, "sessionId": "s"}
        if type_.startswith(("message.", "block.")):
            event["messageId"] = "m"
        if type_.startswith("block."):
            event["blockIndex"] = 0
        if seq is not None:
            event["seq"] = seq
        verdict = self.stream.ingest({**event, **members})
        return f"{verdict.kind}:{verdict.reason}" if verdict.reason else verdict.kind

    def delta(self, seq: int | None, text: str, **members: Any) -> str:
        return self.take("block.delta", seq, text=text, **members)

    def part(self, index: Any = 0, message: str = "m") -> Any:
        self.store.flush()
        return self.store.part("s", message, index)

    def text(self, index: Any = 0, message: str = "m") -> str | None:
        part = self.part(index, message)
        return None if part is None else part.text

    def sessions(self) -> Wire:
        self.store.flush()
        return self.store.state()["sessions"]

    def messages(self) -> dict[str, list[str]]:
        """Texts of the parts, by message."""
        self.store.flush()
        found = self.store.messages("s")
        return {m.id: [part.text for part in self.store.parts("s", m.id)] for m in found}

    @property
    def row(self) -> Any:
        """What the store keeps of the session, for tests of bounds."""
        return self.store._sessions["s"]
