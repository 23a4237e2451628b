"""Lists of UIMessages that a stream is given: those that were read, and the request it answers.

Knows whole messages and where they stand, and what a request says of who is written; no chunk.

Sources: the readers of the npm package `ai` 7.0.173.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...events import Event, Snapshot, StreamOpened
from ...model import Json
from ..base import Context
from ..bounded import remember
from ..members import Members, a_list, maybe_id, wrong
from .memory import MESSAGES, Memory, cut_off, places_of
from .messages import ListedMessage, listed_memory, read_messages, snapshot_message
from .parts import answer_of
from .writing import Writing

_TRIGGERS = frozenset(("submit-message", "regenerate-message", "resume-stream"))


class Lists:
    """Lists of messages that a stream is given.

    Args:
        context: what the adapter was given.
        writing: the message that the stream writes.
    """

    def __init__(self, context: Context, writing: Writing) -> None:
        self._own = context.own
        self._writing = writing

    def history(self, wire: list[Any]) -> Sequence[Event]:
        """Messages that were read: what is live is newer."""
        messages = read_messages(wire, "")
        return [self._take(messages, {}, request=False)]

    def request(self, wire: Members) -> Sequence[Event]:
        """The request that this stream answers: what it says of its messages is so."""
        trigger = wire.get("trigger")
        if trigger is not None and trigger not in _TRIGGERS:
            raise wrong(wire, "trigger", "", "one of " + ", ".join(sorted(_TRIGGERS)))
        replays = trigger == "resume-stream"
        complete = wire.get("complete", False)
        if type(complete) is not bool:
            raise wrong(wire, "complete", "", "true or false")
        options: Members = {
            "complete": complete,
            "before": maybe_id(wire, "before"),
            "read_from": maybe_id(wire, "readFrom"),
        }
        messages: list[ListedMessage] = []
        if not replays or "messages" in wire:
            messages = read_messages(a_list(wire, "messages"), "messages")
        read = options["read_from"] is not None and (replays or trigger is None)
        beside = read and bool(messages) and self._answers()
        if beside and "begun" in self._own:
            # Read beside the answer: that goes on, unless a start says that it is replayed.
            self._own["anew"] = True
        if beside or (read and not replays):
            return [self._take(messages, options, request=False)]
        self._own.clear()
        self._writing.recall()
        if replays:
            self._own["replays"] = True
            return [self._take(messages, options, request=False)] if messages else ()
        snapshot = self._take(messages, options, request=True)
        last = messages[-1] if messages else None
        self._own["target"] = last.id if last is not None and last.role == "assistant" else ""
        # What goes on with a message, or makes one anew, may fail as it failed before.
        told = self._writing.shared().get("told", {})
        for message_id in told.keys() - {message.id for message in messages[:-1]}:
            del told[message_id]
        answers: list[Event] = []
        for part in last.parts if last is not None else ():
            if part.kind == "tool":
                answers += answer_of(part.fields.get("approval"))
        return [StreamOpened(), snapshot, *answers]

    def _answers(self) -> bool:
        """Whether the stream is in an answer, which may be another stream's meanwhile."""
        mine = self._writing.mine()
        over = mine is not None and mine["finished"]
        return not over and not self._own.keys().isdisjoint(("begun", "early", "message"))

    def _writes(self) -> Memory | None:
        """The message that this stream writes, or is to continue, while that goes on."""
        mine = self._writing.mine()
        if "message" not in self._own:
            mine = self._writing.known().get(self._own.get("target", ""))
        return None if mine is None or mine["finished"] else mine

    def _take(self, messages: Sequence[ListedMessage], options: Members, request: bool) -> Snapshot:
        shared = self._writing.shared()
        known = shared["messages"]
        writes = self._writes()
        ids = [message.id for message in messages]
        orders = places_of(shared, ids, request)
        listed: list[Json] = []
        for number, message in enumerate(messages):
            dropped = shared["dropped"].get(message.id, ())
            final = number == len(messages) - 1
            goes_on = final and message.role == "assistant" and (request or message.open)
            entry = snapshot_message(message, orders[number], dropped, goes_on)
            if writes is not None and message.id == writes["id"]:
                # What this stream has not brought yet it will bring, under the next index.
                entry["parts"] = [
                    part for part in entry["parts"] if part["blockIndex"] < writes["next"]
                ]
            listed.append(entry)
        last = messages[-1] if messages else None
        if last is not None and (request or shared["last"] in (None, *ids)):
            shared["last"] = last.id if last.role == "assistant" else None
            if last.role == "assistant":
                dropped = shared["dropped"].get(last.id, ())
                live = known.get(last.id)
                memory = listed_memory(last, dropped)
                if live is not None and not request:
                    if live is not writes:
                        live["next"] = max(live["next"], memory["next"])
                else:
                    if live is not None:
                        memory["next"] = max(live["next"], memory["next"])
                        cut_off(live)
                    known.pop(last.id, None)
                    remember(known, last.id, memory, MESSAGES)
        return Snapshot(messages=listed, **options)
