"""What a reader should see of OpenAI's answers: a naive fold of what of a script has arrived.

Knows scripts, and neither a wire nor a file of the library: dicts and lists alone. Of a part are
told `kind`, `status`, its texts, `gap`, what a tool is, and its state; of a message how it ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .openai_scripts import Answer, Entry

Part = dict[str, Any]
Seen = dict[str, Any]

_ENDS = {"completed": "completed", "incomplete": "error", "failed": "error"}
_CLIENTS = ("function_call", "custom_tool_call")


# --- responses ------------------------------------------------------------------------------------


def response(answer: Answer, came: Iterable[int]) -> Seen:
    """A response of which so many entries came, in whatever order: they are numbered."""
    entries = answer["entries"]
    arrived = sorted(came)
    status = "open"
    parts: dict[str, Part] = {}
    for n in arrived:
        entry = entries[n]
        say = entry["say"]
        if say in ("begin", "progress", "new"):
            continue
        if say == "error":
            status = "error"
        elif say == "end":
            status = _ENDS[entry["status"]]
            if entry["told"]:
                for block in _blocks(entries[:n]):
                    _put(parts, block, entries[:n], say)
        else:
            for block in _blocks(entries[: n + 1], entry):
                _put(parts, block, entries[: n + 1], say)
    for block, part in parts.items():
        if part.pop("call", False):
            own = next(e for e in entries if "item" in e and _block(e) == block)
            sign = "c" if own["type"] in _CLIENTS else "i"
            part["callId"] = f"{answer['id']}-{sign}{block}"
        if status != "open":
            part["status"] = "closed"
    order = sorted(parts, key=_order)
    return {"status": status, "parts": [{"block": block, **parts[block]} for block in order]}


def _order(block: str) -> tuple[int, bool, int]:
    item, _, rest = block.partition("/")
    return int(item), rest.startswith("content"), int(rest.partition("/")[2] or 0)


def _block(entry: Entry) -> str:
    """The part that an entry is about, "" for an item of parts."""
    if "list" in entry:
        return f"{entry['item']}/{entry['list']}/{entry['part']}"
    return "" if entry["type"] in ("message", "reasoning") else str(entry["item"])


def _blocks(entries: list[Entry], last: Entry | None = None) -> list[str]:
    """The parts that the last entry is about; all of those that an item, or everything, has."""
    if last is not None and _block(last):
        return [_block(last)]
    if last is not None and last["say"] == "item":
        return []
    items = [e for e in entries if "item" in e and (last is None or e["item"] == last["item"])]
    return [block for block in dict.fromkeys(map(_block, items)) if block]


def _put(parts: dict[str, Part], block: str, before: list[Entry], say: str) -> None:
    """Take in what the last of some entries says of a part, or the end, behind all of them."""
    own = [entry for entry in before if "item" in entry and _block(entry) == block]
    first, last = own[0], own[-1]
    tool = "list" not in first
    part = parts.get(block)
    if part is None:
        part = parts[block] = {"kind": "tool" if tool else "text", "status": "open"}
        if tool:
            part |= {"state": "pending", "input": ""}
        else:
            part["text"] = ""
        if first["type"] == "reasoning":
            part["kind"] = "reasoning"
        if first.get("of") == "refusal":
            part["refusal"] = True
    field = "input" if tool else "text"
    if say in ("text", "input"):
        part[field] += last["text"]
    if say in ("whole", "parted", "itemed", "end", "inputted"):
        part[field] = "".join(entry.get("text", "") for entry in own)
        if say != "inputted":
            part["status"] = "closed"
    if not tool:
        return
    if say in ("item", "itemed", "end"):
        part["call"] = True
    if say in ("item", "itemed", "end"):
        part["tool"] = "web_search" if first["type"] not in _CLIENTS else f"tool{first['item']}"
    elif say == "inputted" and first["type"] == "function_call":
        part["tool"] = f"tool{first['item']}"
    if say == "inputted":
        part["state"] = "running"
    elif say == "step":
        part["state"] = "completed" if last["status"] == "completed" else "running"
    elif say in ("itemed", "end"):
        whole = [entry for entry in own if entry["say"] == "itemed"]
        if not whole or whole[-1]["status"] == "incomplete":
            part["state"] = "error"
        else:
            part["state"] = "running" if first["type"] in _CLIENTS else "completed"


# --- completions ----------------------------------------------------------------------------------

#: In place of an entry: the connection of an answer ended; it is sent again, from its start.
CUT, AGAIN = -1, -2
_PLACES = ("reasoning_content", "reasoning", "content", "refusal")


def completion(answer: Answer, came: Iterable[int]) -> dict[int, Seen]:
    """The choices of a completion, of which came what did, in this order.

    `pending`: it is being built anew, and what it shows until it has begun to is its own affair.
    """
    choices: dict[int, Seen] = {}
    again: set[int] = set()
    for n in came:
        if n == CUT:
            for choice in choices.values():
                for part in choice["parts"].values():
                    streams = part["kind"] != "tool" or part["input"]
                    if streams and part["status"] == "open" and choice["status"] == "open":
                        part["gap"] = True
            continue
        if n == AGAIN:
            again = set(choices)
            continue
        entry = answer["entries"][n]
        if entry.get("done"):
            continue
        if "error" in entry:
            for choice in choices.values():
                if choice["status"] == "open":
                    choice["status"] = "error"
            continue
        for said in entry.get("says", ()):
            number = said["choice"]
            if number in again or number not in choices:
                pending = number in again
                choices[number] = {"status": "open", "parts": {}, "pending": pending}
                again.discard(number)
            _say(choices[number], said)
        if 0 in again:  # what is said of the completion is said in its first choice
            choices[0] = {"status": "open", "parts": {}, "pending": True}
            again.discard(0)
        choices.setdefault(0, {"status": "open", "parts": {}, "pending": False})
    return choices


def seen(choice: Seen) -> Seen:
    """What is shown of a choice."""
    parts = []
    for block in sorted(choice["parts"], key=_member_order):
        part = {"block": block, **choice["parts"][block]}
        if choice["status"] != "open" or part["status"] == "closed":
            part["status"] = "incomplete" if part.get("gap") else "closed"
        parts.append(part)
    return {"status": choice["status"], "parts": parts}


def _member_order(block: str) -> tuple[int, str, int]:
    name, _, number = block.partition(":")
    if name == "tool":
        return 4, "", int(number)
    return max(0, _PLACES.index(name) - 1), name, 0


def _say(choice: Seen, said: Entry) -> None:
    say, parts = said["say"], choice["parts"]
    if say == "finish":
        choice["pending"] = False
        choice["status"], choice["reason"] = "completed", said["reason"]
        for part in parts.values():
            part["status"] = "closed"
            if part["kind"] == "tool" and said["reason"] != "length":
                part["state"] = "running"
        return
    if say in ("call", "input"):
        block = f"tool:{said['call']}"
        name = f"{said['choice']}-{said['call']}"
        opened: Part = {
            "kind": "tool", "status": "open", "input": "", "tool": f"tool{name}",
            "callId": f"c{name}", "state": "pending",
        }  # fmt: skip
        part, field = parts.setdefault(block, opened), "input"
    elif said.get("text"):
        block = said.get("member", "content")
        kind = "reasoning" if block.startswith("reasoning") else "text"
        part = parts.setdefault(block, {"kind": kind, "status": "open", "text": ""})
        field = "text"
    else:
        return
    choice["pending"] = False
    part[field] += said.get("text", "")
    for more in said.get("more", ()):
        _say(choice, more)
