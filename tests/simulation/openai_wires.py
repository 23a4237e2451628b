"""A script of OpenAI's as the two protocols write it: entries to wire objects and bytes.

By hand, as the servers do: nothing here comes from an adapter. A response's events are numbered,
and whatever ends in it says again all that it came to; a chunk says what is new, once.
"""

from __future__ import annotations

import json
from typing import Any

from .openai_scripts import Answer, Entry

Wire = dict[str, Any]

_CREATED = 1_770_000_000
#: Where an item has its input, by its type; where a part has its text.
INPUTS = {"function_call": "arguments", "custom_tool_call": "input"}
_FAMILIES = {
    "output_text": "output_text",
    "refusal": "refusal",
    "summary_text": "reasoning_summary_text",
    "reasoning_text": "reasoning_text",
}
#: Input that changes nothing, as JSON values; beside that of all protocols.
BAD: dict[str, tuple[Any, ...]] = {
    "openai-responses": (
        {"type": "response.output_text.delta", "sequence_number": "1", "delta": "BAD"},
        {"type": "response.output_text.delta", "sequence_number": True, "delta": "BAD"},
        {"type": "response.output_text.delta", "sequence_number": -1, "delta": "BAD"},
        {"type": "response.output_text.delta", "sequence_number": 1.0, "delta": "BAD"},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": 7},
        {"type": "response.output_text.delta", "output_index": "0", "delta": "BAD"},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": -1, "delta": ""},
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": [7]},
        {"type": "response.function_call_arguments.delta", "output_index": True, "delta": "BAD"},
        {"type": "response.output_item.added", "output_index": 0, "item": "BAD"},
        {"type": "response.output_item.done", "output_index": 0, "item": {"id": "BAD"}},
        {"type": "response.content_part.added", "output_index": 0, "content_index": 0},
        {"type": "response.created", "response": {"object": "response"}},
        {"type": "response.completed", "response": {"id": "", "output": []}},
        {"type": "response.completed", "response": {"id": "r0", "output": ["BAD"]}},
        {"type": "keepalive"},
    ),
    "openai-chat": (
        {"object": "chat.completion.chunk", "id": "r0"},
        {"object": "chat.completion.chunk", "id": 7, "choices": []},
        {"object": "chat.completion.chunk", "id": "r0", "choices": {}},
        {"object": "chat.completion.chunk", "id": "r0", "choices": ["BAD"]},
        {"object": "chat.completion.chunk", "id": "r0", "choices": [{"index": 0, "delta": "BAD"}]},
        {
            "object": "chat.completion.chunk", "id": "r0",
            "choices": [{"index": 0, "delta": {"content": 7}}],
        },
        {
            "object": "chat.completion.chunk", "id": "r0",
            "choices": [{"index": -1, "delta": {"content": "BAD"}}],
        },
        {
            "object": "chat.completion.chunk", "id": "r0",
            "choices": [{"index": True, "delta": {"content": "BAD"}}],
        },
        {
            "object": "chat.completion.chunk", "id": "r0",
            "choices": [{"index": 0, "delta": {"content": "BAD", "tool_calls": [{"index": "0"}]}}],
        },
        {
            "object": "chat.completion.chunk", "id": "r0",
            "choices": [{"index": 0, "delta": {"content": "BAD"}, "finish_reason": 7}],
        },
        {"object": "", "id": "", "choices": [{"index": 0, "content_filter_offsets": {}}]},
        {"object": "chat.other", "id": "r0", "choices": []},
    ),
}  # fmt: skip


def framed(wire: Any) -> bytes:
    """A wire object as an event of an event stream; named where it has a type."""
    if wire == "[DONE]":
        return b"data: [DONE]\n\n"
    data = json.dumps(wire, separators=(",", ":")).encode()
    kind = wire.get("type") if isinstance(wire, dict) else None
    head = f"event: {kind}\n".encode() if isinstance(kind, str) and "response" in kind else b""
    return head + b"data: " + data + b"\n\n"


# --- responses ------------------------------------------------------------------------------------


def response(answer: Answer) -> list[Wire]:
    """The events of a response, one for each entry."""
    writer = _Response(answer)
    found = []
    for n, entry in enumerate(answer["entries"]):
        wire = writer.write(entry)
        found.append({**wire, "sequence_number": answer["first"] + n})
    return found


class _Response:
    """What the server of a response has of it, after each of its events."""

    def __init__(self, answer: Answer) -> None:
        self._id = answer["id"]
        self._parent = answer.get("parent")
        self._items: list[Wire] = []
        self._padded = 0

    def write(self, entry: Entry) -> Wire:
        say = entry["say"]
        if say in ("begin", "progress"):
            kind = "created" if say == "begin" else "in_progress"
            return {"type": f"response.{kind}", "response": self._whole("in_progress", [])}
        if say == "new":
            return {"type": "response.telepathy.delta", "output_index": 0, "delta": "BAD"}
        if say == "error":
            return {"type": "error", "code": "server_error", "message": "oh", "param": None}
        if say == "end":
            return self._end(entry)
        place = entry["item"]
        if say == "item":
            self._items.append(self._item(entry))
            return {
                "type": "response.output_item.added", "output_index": place,
                "item": _copy(self._items[place]),
            }  # fmt: skip
        item = self._items[place]
        if say == "itemed":
            _finish(item, entry["status"])
            return {"type": "response.output_item.done", "output_index": place, "item": _copy(item)}
        at = {"item_id": item["id"], "output_index": place}
        if say == "step":
            return {"type": f"response.web_search_call.{entry['status']}", **at}
        if say in ("input", "inputted"):
            member = INPUTS[entry["type"]]
            family = (
                "function_call_arguments" if member == "arguments" else "custom_tool_call_input"
            )
            if say == "input":
                item[member] += entry["text"]
                return {"type": f"response.{family}.delta", **at, "delta": entry["text"]}
            wire = {"type": f"response.{family}.done", **at, member: item[member]}
            return {**wire, "name": item["name"]} if member == "arguments" else wire
        return self._part(entry, item, at)

    def _part(self, entry: Entry, item: Wire, at: Wire) -> Wire:
        say, list_, type_ = entry["say"], entry["list"], entry["of"]
        at = {**at, f"{list_}_index": entry["part"]}
        member = "refusal" if type_ == "refusal" else "text"
        stem = "reasoning_summary_part" if list_ == "summary" else "content_part"
        if say == "part":
            part: Wire = {"type": type_, member: ""}
            if type_ == "output_text":
                part |= {"annotations": [], "logprobs": []}
            item.setdefault(list_, []).append(part)
            return {"type": f"response.{stem}.added", **at, "part": _copy(part)}
        part = item[list_][entry["part"]]
        if say == "parted":
            return {"type": f"response.{stem}.done", **at, "part": _copy(part)}
        if say == "note":
            note = {"type": "url_citation", "url": f"http://{entry['note']}", "title": "t"}
            part["annotations"].append(note)
            return {
                "type": "response.output_text.annotation.added", **at,
                "annotation_index": entry["note"], "annotation": dict(note),
            }  # fmt: skip
        told: Wire = {"logprobs": []} if type_ == "output_text" else {}
        family = f"response.{_FAMILIES[type_]}"
        if say == "whole":
            return {"type": f"{family}.done", **at, member: part[member], **told}
        part[member] += entry["text"]
        self._padded += 1
        padding = {"obfuscation": "x" * (self._padded % 7)} if self._padded % 3 else {}
        return {"type": f"{family}.delta", **at, "delta": entry["text"], **told, **padding}

    def _item(self, entry: Entry) -> Wire:
        type_, number = entry["type"], entry["item"]
        item: Wire = {"id": f"{self._id}-i{number}", "type": type_}
        if type_ == "message":
            return {**item, "role": "assistant", "status": "in_progress", "content": []}
        if type_ == "reasoning":
            return {**item, "summary": []}
        if type_ in INPUTS:
            item |= {"call_id": f"{self._id}-c{number}", "name": f"tool{number}", INPUTS[type_]: ""}
        return {**item, "status": "in_progress"}

    def _end(self, entry: Entry) -> Wire:
        status = entry["status"]
        for item in self._items:
            if item.get("status") == "in_progress":
                _finish(item, "incomplete")
        whole = self._whole(status, _copy(self._items) if entry["told"] else [])
        return {"type": f"response.{status}", "response": whole}

    def _whole(self, status: str, output: list[Wire]) -> Wire:
        failed = {"code": "server_error", "message": "oh"} if status == "failed" else None
        reason = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self._id, "object": "response", "created_at": _CREATED + int(self._id[1:]),
            "status": status, "error": failed, "incomplete_details": reason, "model": "m",
            "previous_response_id": self._parent, "metadata": {}, "output": output,
            "usage": None if status == "in_progress" else {"total_tokens": len(output)},
        }  # fmt: skip


def _finish(item: Wire, status: str) -> None:
    if item["type"] == "reasoning":
        return
    item["status"] = status
    if item["type"] == "web_search_call" and status == "completed":
        item["action"] = {"type": "search", "query": "q"}


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


# --- completions ----------------------------------------------------------------------------------


def completion(answer: Answer) -> list[Any]:
    """The chunks of a completion, one for each entry; its end is no JSON."""
    style = set(answer["style"])
    head: Wire = {
        "id": answer["id"], "object": "chat.completion.chunk",
        "created": _CREATED + int(answer["id"][1:]), "model": "m", "system_fingerprint": "fp",
    }  # fmt: skip
    found: list[Any] = []
    for n, entry in enumerate(answer["entries"]):
        if entry.get("done"):
            found.append("[DONE]")
            continue
        if "error" in entry:
            found.append({"error": {"type": "server_error", "message": entry["error"]}})
            continue
        wire: Wire = {**head, "choices": [_choice(said, style) for said in entry.get("says", ())]}
        if "usage" in entry:
            wire["usage"] = {"total_tokens": entry["usage"]}
        elif "usage" in style:
            wire["usage"] = None
        if "padding" in style:
            wire["obfuscation"] = "x" * (n % 7)
        found.append(wire)
    return found


def _choice(said: Entry, style: set[str]) -> Wire:
    say = said["say"]
    delta: Wire = {}
    if say == "role":
        delta = {"role": "assistant", "content": said.get("text", "")}
        if "prompt" not in style:
            delta["refusal"] = None
    elif say == "text":
        delta = {said["member"]: said["text"]}
    elif say in ("call", "input"):
        delta = {"tool_calls": [_call(one, style) for one in (said, *said.get("more", ()))]}
    if "roles" in style:
        delta["role"] = "assistant"
    if "nulls" in style and say in ("text", "input"):
        delta = {**dict.fromkeys(("content", "reasoning_content", "tool_calls")), **delta}
    reason = said["reason"] if say == "finish" else None
    return {"index": said["choice"], "delta": delta, "logprobs": None, "finish_reason": reason}


def _call(said: Entry, style: set[str]) -> Wire:
    call: Wire = {"index": said["call"]}
    function: Wire = {"arguments": said.get("text", "")}
    if said["say"] == "call" or "calls" in style:
        name = f"{said['choice']}-{said['call']}"
        call |= {"id": f"c{name}", "type": "function"}
        function["name"] = f"tool{name}"
    return {**call, "function": function}
