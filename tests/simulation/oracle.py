"""What a reader should see: a naive fold of what the server meant and of what of it arrived.

Folds from the start, in the order in which things happened, whatever the order of arrival. Knows
the words of the contract and no file of the library: dicts and lists alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Wire = dict[str, Any]
Key = tuple[Any, ...]

#: What a removal leaves; only a full event makes something of it again.
GONE: Any = None
_COMMON = frozenset(
    "type sessionId messageId blockIndex seq id text field kind order whole status".split()
)


class Truth:
    """Sessions after some events. In a `block` stream a block stops before its first hole."""

    def __init__(self, mode: str) -> None:
        self.block = mode == "block"
        self.arrival = mode == "none"
        self.sessions: dict[str, Any] = {}
        self.done: dict[Key, int] = {}
        self.top: dict[Key, int] = {}
        self.counts: dict[Key, list[tuple[int, int]]] = {}

    def take(self, events: Iterable[Wire]) -> Truth:
        """Take events in, in the order in which they happened."""
        sessions = self.sessions
        for event in events:
            if event["type"] == "cut":
                self._cut()
                continue
            name = event["sessionId"]
            session = sessions.get(name)
            if session is None:
                session = sessions[name] = {
                    "info": {}, "status": None, "todo": None, "permissions": {}, "answered": set(),
                    "messages": {},
                }  # fmt: skip
            if "messageId" in event:
                self._message(session, event)
            elif event["type"] == "session.updated":
                session["info"].update(event["info"])
            elif event["type"] == "session.status":
                session["status"] = {"type": event["status"]}
            elif event["type"] == "todo.updated":
                session["todo"] = event["todo"]
            elif event["type"] == "permission.asked":
                if event["id"] not in session["answered"]:
                    asked = {"id": event["id"], "payload": event["payload"]}
                    session["permissions"][event["id"]] = asked
            else:
                session["answered"].add(event["id"])
                session["permissions"].pop(event["id"], None)
        return self

    def _message(self, session: Wire, event: Wire) -> None:
        kind, messages, name = event["type"], session["messages"], event["messageId"]
        message = messages.get(name, 0)
        if kind == "message.removed" or (
            message is GONE and (self.block or kind != "message.opened")
        ):
            messages[name] = GONE
            return
        if not message:
            message = messages[name] = {
                "role": None, "order": None, "info": {}, "status": "open", "blocks": {},
                "reset": False,
            }  # fmt: skip
        if kind == "message.reset":
            message["reset"] = True
            return
        if message["reset"]:
            self.rebuild(message)
        if "blockIndex" in event:
            self._block(message, event)
        elif kind == "message.closed":
            message["status"] = event["status"]
        else:
            message["info"].update(event.get("info", ()))
            for member in ("role", "order"):
                if member in event:
                    message[member] = event[member]

    @staticmethod
    def rebuild(message: Wire) -> None:
        """The first event after a reset: the blocks begin anew, what was removed stays so."""
        if message["reset"]:
            message["reset"] = False
            blocks = message["blocks"]
            message["blocks"] = {at: block for at, block in blocks.items() if block is GONE}

    def _block(self, message: Wire, event: Wire) -> None:
        kind, blocks, index = event["type"], message["blocks"], event["blockIndex"]
        block = blocks.get(index, 0)
        full = kind in ("block.opened", "block.snapshot")
        if kind == "block.removed" or (block is GONE and (self.block or not full)):
            blocks[index] = GONE
            return
        if not block:
            lacks = self.arrival and kind == "block.delta"  # nobody knows what was before it
            block = blocks[index] = {
                "kind": None, "texts": {}, "fields": {}, "closed": False, "gap": lacks
            }  # fmt: skip
        if self.block and "seq" in event and not self._in_order(event):
            return
        if kind == "block.delta":
            block["texts"].setdefault(event.get("field", "text"), []).append(event["text"])
        elif kind == "block.closed":
            block["closed"] = True
        else:
            if kind == "block.snapshot" and not self.block:
                block["fields"] = {}
            if "text" in event:
                block["texts"]["text"] = [event["text"]]
                block["gap"] = False
            block["kind"] = block["kind"] or event.get("kind")
            for name, value in event.items():
                if name == "state" and kind != "block.snapshot":
                    if block["fields"].get("state") == {"status": "completed"}:
                        continue  # nothing ranks above it
                if name not in _COMMON:
                    block["fields"][name] = value

    def _cut(self) -> None:
        """A connection is lost: without numbers, what was open may lack text from here on."""
        for session in self.sessions.values():
            for message in session["messages"].values():
                if message is GONE or message["status"] != "open":
                    continue
                for block in message["blocks"].values():
                    if block is not GONE and not block["closed"]:
                        streams = block["kind"] in (None, "text", "reasoning")
                        block["gap"] |= streams or any(map("".join, block["texts"].values()))

    def _in_order(self, event: Wire) -> bool:
        """Whether a numbered operation counts now: not past a hole, and not again."""
        key, seq = (event["sessionId"], event["messageId"], event["blockIndex"]), event["seq"]
        self.top[key] = max(seq, self.top.get(key, 0))
        done, kind = self.done.get(key, 0), event["type"]
        self.counts.setdefault(key, []).append((1, seq) if kind == "block.snapshot" else (seq, seq))
        if kind == "block.closed":
            del self.counts[key][-1]
            return True
        if (kind == "block.snapshot" and seq > done) or seq == done + 1:
            self.done[key] = seq
            return True
        return False

    # -- what is seen ----------------------------------------------------------------------------

    def gap(self, key: Key) -> bool:
        """Whether operations of a block are known to be missing."""
        return self.block and self.top.get(key, 0) > self.done.get(key, 0)

    def texts(self) -> dict[Key, str]:
        """Every text that is shown, by (session, message, block, field)."""
        found = {}
        for name, session in self.sessions.items():
            for message_id, message in session["messages"].items():
                if message is GONE:
                    continue
                for index, block in message["blocks"].items():
                    if block is GONE:
                        continue
                    settled = block["closed"] or message["status"] != "open"
                    for field, pieces in block["texts"].items():
                        text = readable("".join(pieces), settled)
                        if text:
                            found[name, message_id, index, field] = text
        return found

    def state(self) -> Wire:
        """`sessions` of contract section 9."""
        found = {}
        for name, session in self.sessions.items():
            messages = [
                (message["order"] is None, message["order"] or 0, message_id, message)
                for message_id, message in session["messages"].items()
                if message is not GONE
            ]
            found[name] = _filled(
                info=session["info"],
                status=session["status"],
                todo=session["todo"],
                permissions=session["permissions"],
                messages=[
                    _filled(
                        id=message_id,
                        role=message["role"],
                        info=message["info"],
                        status=message["status"],
                        parts=self._parts((name, message_id), message),
                    )
                    for _, _, message_id, message in sorted(messages, key=lambda m: m[:3])
                ],
            )
        return found

    def _parts(self, key: Key, message: Wire) -> list[Wire]:
        parts = []
        for index, block in sorted(message["blocks"].items()):
            if block is GONE:
                continue
            settled = block["closed"] or message["status"] != "open"
            gap = self.gap((*key, index)) or block["gap"]
            texts = {n: readable("".join(t), settled) for n, t in block["texts"].items()}
            status = ("incomplete" if gap else "closed") if settled else "open"
            parts.append(
                _filled(
                    **{**block["fields"], **texts}, blockIndex=index, kind=block["kind"] or "text",
                    status=status, gap=gap or None,
                )
            )  # fmt: skip
        return parts

    def holes(self) -> dict[Key, list[list[int]]]:
        """What is missing of each block that is there, as ranges."""
        found = {}
        for key, came in self.counts.items():
            message = self.sessions[key[0]]["messages"][key[1]]
            if self.gap(key) and message is not GONE and message["blocks"].get(key[2]) is not GONE:
                found[key] = ranges(came, 1, self.top[key])
        return found


def ranges(came: Iterable[tuple[int, int]], first: int, last: int) -> list[list[int]]:
    """The numbers from `first` to `last` that are in none of some ranges."""
    found, at = [], first
    for start, stop in sorted(came):
        if start > at:
            found.append([at, start - 1])
        at = max(at, stop + 1)
    if at <= last:
        found.append([at, last])
    return found


def readable(text: str, final: bool) -> str:
    """Joined surrogate pairs; a half at the end waits unless `final`, other halves are U+FFFD."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        pass
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    if not final and text and "\ud800" <= text[-1] <= "\udbff":
        text = text[:-1]
    return "".join("\ufffd" if "\ud800" <= sign <= "\udfff" else sign for sign in text)


def _filled(**members: Any) -> Wire:
    return {name: value for name, value in members.items() if value not in (None, "", [], {})}
