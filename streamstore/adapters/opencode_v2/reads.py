"""A read of an opencode V2 session, as the server's REST gives it, to snapshots.

A read has the session's messages, and may have what waits for an answer, which is a snapshot of its
own. Knows reads and what their members mean; no event of the wire, and remembers nothing: what is
known of the order of messages is given to it.

Sources: as for `opencode_v2`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import MalformedEvent
from ...events import Snapshot
from ...keys import BlockIndex, is_order
from ...model import Json
from ..members import (
    Members,
    a_number,
    a_string,
    an_id,
    an_object,
    are_objects,
    maybe_id,
    maybe_object,
    objects,
    wrong,
)

#: What a time of the server's is cut into, where more than one thing has one ms.
PER_MS = 4096


def read_messages(wire: Members) -> Snapshot:
    """The messages of a read, each with its parts in the indexes that the wire gives them."""
    complete = wire.get("complete", False)
    if type(complete) is not bool:
        raise wrong(wire, "complete", "", "true or false")
    return Snapshot(
        session_id=an_id(wire, "sessionID"),
        seq=a_number(wire, "seq") if wire.get("seq") is not None else None,
        messages=[
            _read_message(entry, f"data.{place}")
            for place, entry in enumerate(objects(wire, "data"))
        ],
        complete=complete,
        before=maybe_id(wire, "before"),
        read_from=maybe_id(wire, "readFrom"),
    )


def request_of(entry: Members, at: str) -> tuple[str, str | None, str | None]:
    """The ids of a permission or question, of its message and of its call."""
    name = "tool" if entry.get("tool") is not None else "source"
    tool, tool_at = maybe_object(entry, name, at) or {}, f"{at}.{name}"
    ids = (maybe_id(tool, "messageID", tool_at), maybe_id(tool, "callID", tool_at))
    return (an_id(entry, "id", at), *ids)


def read_waiting(wire: Members) -> Sequence[Snapshot]:
    """What waits for an answer, as a read of its own: it has no number, whatever the messages have,
    so that when it was read says which requests it can know of."""
    permissions, questions = _read_requests(wire, "permission"), _read_requests(wire, "question")
    if permissions is None and questions is None:
        return ()
    return (
        Snapshot(
            session_id=an_id(wire, "sessionID"),
            messages=[],
            read_from=maybe_id(wire, "readFrom"),
            permissions=permissions,
            questions=questions,
        ),
    )


def _read_requests(wire: Members, name: str) -> list[Json] | None:
    if wire.get(name) is None:
        return None
    found: list[Json] = []
    for place, entry in enumerate(objects(wire, name)):
        request_id, message_id, call_id = request_of(entry, f"{name}.{place}")
        request = {"id": request_id, "messageId": message_id, "callId": call_id}
        found.append({**request, "payload": entry})
    return found


def in_place(messages: Sequence[Members], known: Mapping[str, float | None], whole: bool) -> None:
    """Give each message of a read its order; `known`: those that have one; `whole`: from the first.

    All but a prompt entered the conversation at its created time. A prompt may have waited: it
    stands behind what it follows in the read, and where nothing is before it, before what follows.
    """
    for message in messages:
        if known.get(message["id"]) is not None:
            message["order"] = known[message["id"]]
    timed = [message for message in messages if "order" in message]
    others = [message["order"] for message in timed if message["role"] != "user"]
    if not others:
        return
    times = others if len(others) > 1 else [message["order"] for message in timed]
    if times[0] > times[-1]:  # the latest stands first
        timed.reverse()
    step, place = 1 / PER_MS, None
    for message in timed:
        new = message["role"] == "user" and message["id"] not in known
        if new and place is not None and message["order"] <= place:
            message["order"] = place + step
        place = message["order"]
    if not whole:
        ahead = next(at for at, message in enumerate(timed) if message["role"] != "user")
        for back, message in enumerate(reversed(timed[:ahead]), 1):
            if message["id"] not in known:
                message["order"] = timed[ahead]["order"] - back * step


#: Members of a wire message that its parts and status hold.
_NO_INFO = frozenset(("id", "type", "text", "files", "content", "snapshot", "time", "command",
                      "output", "callID", "summary", "recent"))  # fmt: skip


def _read_message(entry: Members, at: str) -> Members:
    role = an_id(entry, "type", at)
    time = maybe_object(entry, "time", at) or {}
    created, completed = time.get("created"), time.get("completed")
    for name in ("created", "completed"):
        if time.get(name) is not None and not is_order(time[name]):
            raise wrong(time, name, f"{at}.time", "a finite number")
    info = {name: value for name, value in entry.items() if name not in _NO_INFO}
    if created is not None:
        info["time"] = {"created": created}
    if completed is not None:
        info["completed"] = completed
    snapshot = maybe_object(entry, "snapshot", at) or {}
    for name, value in snapshot.items():
        if name in ("start", "end", "files"):
            info[f"snapshot{name.capitalize()}"] = value
    error = maybe_object(entry, "error", at)
    status = "completed"
    if error is not None:
        status = "error"
    elif role in ("assistant", "shell") and completed is None:
        status = "open"
    parts = [_text_part(entry, "text", "text", at)] if "text" in entry else []
    if role == "shell":
        parts = [_shell_part(entry, status, at)]
    elif role == "compaction":
        summary = _text_part(entry, "summary", "compaction", at)
        parts = [summary | ({"recent": entry["recent"]} if "recent" in entry else {})]
    elif role == "assistant":
        content = objects(entry, "content", at)
        numbers: dict[str, int] = {}  # the next dialect counts the texts of each kind
        for place, item in enumerate(content):
            kind = an_id(item, "type", f"{at}.content.{place}")
            ordinal = numbers[kind] = numbers.get(kind, -1) + 1
            parts.append(_read_item(item, place, ordinal, status, f"{at}.content.{place}"))
    if entry.get("files") is not None:
        parts += [
            {
                "blockIndex": f"file/{place}",
                "kind": "file",
                "status": "closed",
                "order": place + 1,
                **file_fields(file),
            }
            for place, file in enumerate(objects(entry, "files", at))
        ]
    message: Members = {
        "id": an_id(entry, "id", at),
        "role": role,
        "status": status,
        "info": info,
        "parts": parts,
    }
    extras = (("order", created), ("error", error))
    return message | {name: value for name, value in extras if value is not None}


def _text_part(entry: Members, member: str, kind: str, at: str) -> Members:
    text = a_string(entry, member, at)
    return {"blockIndex": "text", "kind": kind, "status": "closed", "order": 0, "text": text}


def _shell_part(entry: Members, status: str, at: str) -> Members:
    call_id = an_id(entry, "callID", at)
    state: Members = {"status": "running", "input": {"command": a_string(entry, "command", at)}}
    if status != "open":
        state |= {"status": "completed", "output": a_string(entry, "output", at)}
    return {
        "blockIndex": f"tool/{call_id}",
        "kind": "tool",
        "status": "closed" if status != "open" else "open",
        "callId": call_id,
        "tool": "shell",
        "state": state,
    }


def _read_item(item: Members, place: int, ordinal: int, status: str, at: str) -> Members:
    kind = an_id(item, "type", at)
    named = maybe_id(item, "id", at)
    time = maybe_object(item, "time", at) or {}
    part: Members = {"kind": kind, "order": place}
    names = (("began", "created"), ("ran", "ran"), ("ended", "completed"))
    part |= {ours: time[theirs] for ours, theirs in names if is_order(time.get(theirs))}
    if kind == "tool":
        state = an_object(item, "state", at)
        word = an_id(state, "status", f"{at}.state")
        part |= {"blockIndex": f"tool/{an_id(item, 'id', at)}", "callId": item["id"]}
        part |= {"tool": an_id(item, "name", at)}
        state = {**state, "status": "pending" if word == "streaming" else word}
        if type(state.get("input")) is str:
            part["input"] = state.pop("input")
        if word == "completed":
            content = state.get("content")
            state["output"] = text_of(content or []) if are_objects(content) else ""
        elif word == "error" and isinstance(state.get("error"), dict):
            part["failure"] = state["error"]
            state["error"] = state["error"].get("message", state["error"])
        ended = word in ("completed", "error")
        part |= {"state": state, "status": "closed" if ended else "open"}
        if item.get("provider") is not None:
            part["provider"] = item["provider"]
        return part
    part |= {"ordinal": ordinal} if named is None else {"textId": named}
    index: BlockIndex = ordinal if named is None else named
    if kind != "text":
        index = f"{kind}/{index}"
    part |= {"blockIndex": index, "text": a_string(item, "text", at)}
    # A text that is still streaming has no end; older ones have no time at all.
    part["status"] = "open" if status == "open" and "ended" not in part else "closed"
    if item.get("providerMetadata") is not None:
        part["providerMetadata"] = item["providerMetadata"]
    return part


def text_of(content: Sequence[Members]) -> str:
    """The text of what a tool gave."""
    texts = (item.get("text") for item in content if item.get("type") == "text")
    return "".join(text for text in texts if type(text) is str)


def file_fields(file: Members) -> Members:
    """A file as a part has it, of a prompt or of a read."""
    fields: Members = {"wire": file}
    for ours, theirs in (("mime", "mime"), ("url", "uri"), ("filename", "name")):
        if type(file.get(theirs)) is str:
            fields[ours] = file[theirs]
    return fields


def milliseconds(text: str, at: str) -> float:
    """A time as the V1 stream writes it: an ISO date."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp() * 1000
    except (ValueError, OverflowError, OSError):
        raise MalformedEvent(at, "must be a number of ms or an ISO date") from None
