"""What a reader should see: a naive fold of what the server meant and of what of it arrived.

Folds from the start, in the order in which things happened, whatever the order of arrival. Knows
the words of the contract and no file of the library: dicts and lists alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Wire = dict[str, Any]
Key = tuple[Any, ...]

#: What a removal leaves; only a full event makes something of it again.
GONE: Any = None
#: How the token of a counter ends whose server remembers nothing of the time before.
FORGETS = "-empty"
_COMMON = frozenset(
    "type sessionId messageId blockIndex seq generation id text field kind order whole status".split()
)


class Truth:
    """Sessions after some events. In a `block` stream a block stops before its first hole."""

    def __init__(self, mode: str) -> None:
        self.block = mode == "block"
        self.arrival = mode == "none"
        self.sessions: dict[str, Any] = {}
        self.generations: dict[str, str] = {}
        self.gone: set[str] = set()
        self.left: set[str] = set()  # gone once
        self.unclear: set[Key] = set()  # blocks of which nobody knows whether they lack text
        self.done: dict[Key, int] = {}
        self.top: dict[Key, int] = {}
        self.counts: dict[Key, list[tuple[int, int]]] = {}

    def take(self, events: Iterable[Wire]) -> Truth:
        """Take events in, in the order in which they happened."""
        sessions = self.sessions
        for event in _with_results(events, self.arrival):
            if event["type"] == "cut":
                self._cut()
                continue
            name = event["sessionId"]
            if event["type"] == "stream.opened":
                before = self.generations.get(name)
                self.generations[name] = event["generation"]
                if before is not None:
                    self._restart(name)
                continue
            if event["type"] == "session.removed":
                self.gone.add(name)
                self.left.add(name)
                sessions.pop(name, None)
            if name in self.gone:
                again = event["type"] == "session.updated" and event.get("whole")
                if self.block or not again:
                    continue
                self.gone.discard(name)
            if name not in sessions and "patch" in event:
                continue  # there is nothing that it fits
            session = self.session(name)
            if event["type"] == "tool.result":
                continue  # of a call that nobody knows
            if event["type"] == "snapshot":
                self._fetched(session, event)
            elif "messageId" in event and ".asked" not in event["type"]:
                self._message(session, event)
            else:
                self._own(session, event)
        return self

    def session(self, name: str) -> Wire:
        """A session, made when it is not there."""
        return self.sessions.setdefault(
            name,
            {
                "info": {}, "status": None, "todo": None, "diff": None, "errors": [],
                "state": None, "permissions": {}, "questions": {}, "answered": set(),
                "messages": {},
            },
        )  # fmt: skip

    def _restart(self, name: str) -> None:
        """The server counts from 1 again: what was said stays readable, until it is said anew."""
        for table in (self.done, self.top, self.counts):
            for key in [key for key in table if key[0] == name]:
                del table[key]
        messages = self.sessions.get(name, {"messages": {}})["messages"]
        for message_id in [at for at, message in messages.items() if message is GONE]:
            del messages[message_id]
        for message in messages.values():
            blocks = message["blocks"]
            for index in [at for at, block in blocks.items() if block is GONE]:
                del blocks[index]
            for block in blocks.values():
                block["previous"] |= any(map("".join, block["texts"].values()))
                block["waits"], block["ranked"], block["anew"] = [], False, False
                # They say nothing of what comes now.
                block["ended"], block["old"] = block["closed"], set(block["fields"])

    @staticmethod
    def _fetched(session: Wire, event: Wire) -> None:
        """A state of the server that counts now: what it lacks goes, what it has is its own."""
        for name in ("info", "status", "todo", "diff"):
            if name in event:
                session[name] = event[name]
        for name in ("permissions", "questions"):
            if name in event:
                session[name] = {asked["id"]: asked for asked in event[name]}
        messages = session["messages"]
        parts = {
            message["id"]: {part["blockIndex"]: part for part in message["parts"]}
            for message in event["messages"]
        }
        for message_id, message in messages.items():
            if message is GONE:
                continue
            if message_id not in parts:
                if event["complete"]:
                    messages[message_id] = GONE
                continue
            has, blocks = parts[message_id], message["blocks"]
            for index, block in blocks.items():
                if block is not GONE and index not in has:
                    blocks[index] = GONE
                elif block is not GONE:
                    block["previous"] = False

    @staticmethod
    def _renew(block: Wire) -> None:
        """The first that is said anew takes the place of the previous text."""
        waits, block["waits"] = block["waits"], []
        block["previous"] = block["closed"] = False
        block["texts"] = {name: [] for name in block["texts"]}
        for name, text in waits:
            block["texts"].setdefault(name, []).append(text)

    @staticmethod
    def _own(session: Wire, event: Wire) -> None:
        """What a session says beside its messages."""
        kind = event["type"]
        if kind == "session.updated":
            session["info"] = {**({} if event.get("whole") else session["info"]), **event["info"]}
        elif kind == "session.status":
            details = {
                name: event[name] for name in ("attempt", "message", "next") if name in event
            }
            session["status"] = {"type": event["status"], **details}
        elif kind in ("todo.updated", "session.diff"):
            name = "todo" if kind == "todo.updated" else "diff"
            session[name] = event[name]
        elif kind == "session.error":
            session["errors"].append(event["error"])
        elif kind == "session.state":
            session["state"] = patched(session["state"], event)
        else:
            name, _, step = kind.partition(".")
            request = (name, event["id"])
            if step != "asked":
                session["answered"].add(request)
                session[f"{name}s"].pop(event["id"], None)
            elif request not in session["answered"]:
                members = ("id", "payload", "messageId", "callId")
                asked = {member: event[member] for member in members if member in event}
                session[f"{name}s"][event["id"]] = asked

    def _message(self, session: Wire, event: Wire) -> None:
        kind, messages, name = event["type"], session["messages"], event["messageId"]
        message = messages.get(name, 0)
        if kind == "message.removed" or (
            message is GONE and (self.block or kind != "message.opened")
        ):
            messages[name] = GONE
            return
        if message is GONE:
            del messages[name]  # it is opened again, empty
        message = self.message(session, name)
        if kind == "message.reset":
            message["reset"] = True
            return
        if message["reset"]:
            self.rebuild(message)
            if self.arrival:  # no number says that it ended later
                message["status"] = "open"
        if "blockIndex" in event:
            self._block(message, event)
        elif kind == "message.closed":
            # Nothing says which of two is later there.
            if not ((self.block or self.arrival) and message["status"] == "aborted"):
                message["status"] = event["status"]
        else:
            message["info"].update(event.get("info", ()))
            for member in ("role", "order", "clientId"):
                if member in event:
                    message[member] = event[member]

    @staticmethod
    def message(session: Wire, name: str) -> Any:
        """A message, made when it is not there; one that is gone stays so."""
        messages = session["messages"]
        if name not in messages:
            messages[name] = {
                "role": None, "order": None, "clientId": None, "local": False, "info": {},
                "status": "open", "blocks": {}, "reset": False,
            }  # fmt: skip
        return messages[name]

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
                "kind": None, "texts": {}, "fields": {}, "closed": False, "gap": lacks,
                "previous": False, "waits": [], "ranked": True, "anew": False,
                "ended": False, "old": set(),
            }  # fmt: skip
        if self.block and "seq" in event and not self._in_order(event):
            return
        if block["previous"]:
            block["anew"] |= kind == "block.opened"
            if kind == "block.delta" and not (self.block or self.arrival):
                block["waits"].append((event.get("field", "text"), event["text"]))
                return
            operation = kind in ("block.delta", "block.replaced", "block.snapshot")
            streams = kind == "block.replaced" and any(event.get(name) for name in block["texts"])
            if (
                "text" in event
                or streams
                or (operation if self.block else full and not self.arrival)
            ):
                self._renew(block)
                if self.arrival and kind == "block.delta":  # nor does anybody know here
                    block["gap"] = not block["anew"]
        if block["ended"] and (kind == "block.delta" or "text" in event):
            block["closed"] = block["ended"] = False
        if kind == "block.delta":
            field, texts, fields = event.get("field", "text"), block["texts"], block["fields"]
            if field not in texts:  # it goes on from what was said whole
                whole = isinstance(fields.get(field), str) and field not in block["old"]
                texts[field] = [fields[field]] if whole else []
            texts[field].append(event["text"])
        elif kind == "block.closed":
            block["closed"], block["ended"] = True, False
        else:
            if kind == "block.snapshot" and not self.block:
                block["fields"] = {}
                if event.get("status") == "open" and not self.arrival:
                    # What it was after that number: a close before it was undone by a removal
                    # and an open of which nobody heard.
                    block["closed"] = False
            if "text" in event:
                block["texts"]["text"] = [event["text"]]
                block["gap"] = False
            block["kind"] = block["kind"] or event.get("kind")
            for name, value in event.items():
                if name in _COMMON:
                    continue
                if name == "state":
                    if block["ranked"] and _rank(value) < _rank(block["fields"].get("state")):
                        continue
                    block["ranked"] = True
                block["fields"][name] = value
                block["old"].discard(name)
                if name in block["texts"]:
                    block["texts"][name] = [value] if isinstance(value, str) else []

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

    def say(self, session_id: str, message_id: str) -> None:
        """The user says something, which is shown until the server tells of it."""
        made = Truth("none")
        key = {"sessionId": session_id, "messageId": message_id}
        made.take(
            [
                {"type": "message.opened", **key, "role": "user", "order": 9},
                {"type": "block.replaced", **key, "blockIndex": 0, "text": said(message_id)},
            ]
        )
        own = made.sessions[session_id]["messages"].pop(message_id)
        messages = self.sessions.setdefault(session_id, made.sessions[session_id])["messages"]
        if any(message and message["clientId"] == message_id for message in messages.values()):
            return
        if message_id in messages:  # the server knows it, and perhaps not yet all of it
            message = messages[message_id]
            message["blocks"].setdefault(0, own["blocks"][0])
            for member in ("role", "order"):
                if message[member] is None:
                    message[member] = own[member]
        else:
            messages[message_id] = {**own, "local": True}

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

    def plain(self) -> dict[Key, str]:
        """Every field that is said whole and is a text, by the same key."""
        return {
            (name, message_id, index, field): value
            for name, session in self.sessions.items()
            for message_id, message in session["messages"].items()
            if message is not GONE
            for index, block in message["blocks"].items()
            if block is not GONE
            for field, value in block["fields"].items()
            if isinstance(value, str) and field not in block["texts"]
        }

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
                diff=session["diff"],
                errors=session["errors"],
                state=session["state"],
                permissions=session["permissions"],
                questions=session["questions"],
                messages=[
                    _filled(
                        id=message_id,
                        role=message["role"],
                        clientId=message["clientId"],
                        local=message["local"] or None,
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
            texts = {n: readable("".join(t), settled) for n, t in block["texts"].items() if t}
            status = ("incomplete" if gap else "closed") if settled else "open"
            parts.append(
                _filled(
                    **{**block["fields"], **texts}, blockIndex=index, kind=block["kind"] or "text",
                    status=status, gap=gap or None, previous=block["previous"] or None,
                )
            )  # fmt: skip
        return parts

    def holes(self) -> dict[Key, list[list[int]]]:
        """What is missing of each block that is there, as ranges."""
        found = {}
        for key, came in self.counts.items():
            if key[0] in self.gone:
                continue
            message = self.sessions[key[0]]["messages"][key[1]]
            if self.gap(key) and message is not GONE and message["blocks"].get(key[2]) is not GONE:
                found[key] = ranges(came, 1, self.top[key])
        return found


def call_place(event: Wire) -> tuple[str, int]:
    """The message and block that a result is of: a server names a call after them."""
    message, _, index = event["callId"].rpartition("/")
    return message, int(index.rstrip("'"))


def _with_results(events: Iterable[Wire], arrival: bool) -> list[Wire]:
    """Results as what they say of their blocks: where these are named while they last.

    A result whose call is not known waits; by numbers, what ends its block, or starts it again,
    ends that. Where arrival is the only order, what waited comes when the call is named.
    """
    given = list(events)
    if not any(event["type"] == "tool.result" for event in given):
        return given
    found: list[list[Wire]] = [[event] for event in given]
    for at, event in enumerate(given):
        if event["type"] != "tool.result":
            continue
        named = _named_at(given, at, arrival)
        if named is None:
            continue
        message, index = call_place(event)
        key = {"sessionId": event["sessionId"], "messageId": message, "blockIndex": index}
        said = {"type": "block.updated", **key, **event["fields"]}
        if arrival and named > at:
            found[named].append(said)
        else:
            found[at] = [said]
    return [event for events in found for event in events]


def _named_at(events: list[Wire], at: int, arrival: bool) -> int | None:
    """Which event names the call of the result at a place, in the same life of its block."""
    result = events[at]
    place = call_place(result)
    for places in (range(at - 1, -1, -1), range(at + 1, len(events))):
        for n in places:
            event = events[n]
            if event.get("sessionId") != result["sessionId"]:
                continue
            if event.get("callId") == result["callId"] and event["type"].startswith("block."):
                return n
            if n > at and event["type"] == "stream.opened":
                break  # what waited goes with its counter
            if n > at and arrival:
                if event["type"] == "session.removed":
                    break
            elif _ends(event, *place):
                break
    return None


def _ends(event: Wire, message: str, index: int) -> bool:
    """Whether an event ends what there is of a block."""
    kind = event["type"]
    if kind == "session.removed":
        return True
    if kind == "snapshot":
        has = {
            fetched["id"]: [part["blockIndex"] for part in fetched["parts"]]
            for fetched in event["messages"]
        }
        return index not in has[message] if message in has else bool(event["complete"])
    if event.get("messageId") != message:
        return False
    if kind == "block.removed":
        return bool(event["blockIndex"] == index)
    return kind in ("message.removed", "message.reset")


def said(message_id: str) -> str:
    """What the user says in a message."""
    return f"{message_id} \U0001f600"


def _rank(state: Any) -> int:
    """How far a tool is; what is behind is refused."""
    status = (state or {}).get("status")
    if status is None:
        return -1
    return {"pending": 0, "running": 1, "waiting": 1}.get(status, 2)


def patched(state: Any, event: Wire) -> Any:
    """A shared state after it was said anew, or patched; a patch that does not fit does nothing."""
    if "patch" not in event:
        return event["state"]
    found = json.loads(json.dumps(state))
    for step in event["patch"]:
        *path, last = step["path"].split("/")[1:]
        at = found
        for name in path:
            at = at.get(name) if isinstance(at, dict) else None
        operation, value = step["op"], step.get("value")
        if isinstance(at, list) and operation == "add":  # only ever at the end
            at.append(value)
        elif isinstance(at, list) and at and operation == "remove":  # only ever the first
            del at[0]
        elif isinstance(at, dict) and operation == "add":
            at[last] = value
        elif not isinstance(at, dict) or last not in at:
            return state
        elif operation == "remove":
            del at[last]
        elif operation == "replace":
            at[last] = value
        elif at[last] != value:  # test
            return state
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
