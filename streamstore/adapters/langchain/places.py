"""Messages of a LangGraph state that have no id or another one, and the places that states give.

Finds again in a state, or in what a graph hands up, what an update brought before the graph had
named it: by what it says, its namespace and its place. Says what the graph's state no longer holds,
and in which order it has the rest. Gives ids to messages that were read and are not taken in yet;
knows no content but by what tells one from another, and no run or task of a graph.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from ...events import Event
from ...keys import is_id
from ..members import Members
from .graph import is_given
from .known import HELD, Known
from .messages import dumped, whole_type

#: Messages of updates without an id that are remembered until a state has them.
_AHEAD = 256


class Places:
    """The messages of a graph's state, as one stream has it.

    In the stream's own memory: `held`, the messages of the state, the last `HELD` ones, that are
    known again in the next one; `places`, by place, namespace and what they say, the ids of those
    that have none; `ahead`, what updates brought that no state had yet, and in which namespace.

    Args:
        known: the messages of the session.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._own = known.own

    def placed(self, found: list[Members], scope: str) -> None:
        """Gives the messages of a state that have no id those that they had in the state before,
        by what they say and where: each state holds them again. One that is new, with an id or
        without, may be what an update has brought before it had one: it is that message.
        """
        places: Members = dict(self._own.get("places", {}))
        # What a graph below said goes up into this state. What this one lacks is not looked for in
        # later ones, which may say the same again.
        below = f"{scope}|" if scope else ""
        mine, others = {}, {}
        for message_id, (said, of) in self._own.pop("ahead", {}).items():
            if of == scope or of.startswith(below):
                mine[message_id] = said
            else:
                others[message_id] = [said, of]
        if others:
            self._own["ahead"] = others
        orders = self._known.orders()
        for place, message in enumerate(found):
            given = message.get("id")
            if message["type"] == "remove" or not (given is None or type(given) is str):
                continue
            if given:
                if mine and self._known.alias(given) is None and given not in orders:
                    message_id = _taken(mine, _digest(message))
                    if message_id is not None:
                        self._known.stand_for(given, message_id)
                continue
            said = _digest(message)
            name = f"{place} {said} {scope}"
            message_id = places.pop(name, None) or _taken(mine, said) or self._known.new_id()
            places[name] = message_id
            found[place] = {**message, "id": message_id}
        if places:
            self._own["places"] = dict(list(places.items())[-HELD:])

    def ahead(self, found: list[Members], scope: str, nodes: Sequence[str] = ()) -> None:
        """Gives the messages of an update that have no id one of ours, under which the next state
        finds them: the graph names them when it takes them in. With an id or without, what the
        graph below a node has brought before it had one is that message."""
        for place, message in enumerate(found):
            below = (f"{scope}|" if scope else "") + f"{nodes[place]}:" if nodes else None
            message_id = None if below is None else self._from_below(message, below)
            if message_id is None:
                self._handed_up(message, scope)
            if message.get("id") in (None, "") and message["type"] != "remove":
                said = _digest(message)  # it may fail
                message_id = message_id or self._known.new_id()
                ahead: Members = self._own.setdefault("ahead", {})
                ahead[message_id] = [said, scope]
                if len(ahead) > _AHEAD:
                    del ahead[next(iter(ahead))]
                if not scope:  # the state is to hold it, under whatever id
                    self._own["held"] = [*self._own.get("held", ()), message_id][-HELD:]
                found[place] = {**message, "id": message_id}

    def sent_up(self, found: list[Members], scope: str) -> None:
        """Has a whole message of a node be the one that the graph below it has brought."""
        for message in found:
            if not message["type"].endswith("Chunk"):
                self._from_below(message, f"{scope}|")

    def _from_below(self, message: Members, below: str) -> str | None:
        """The message that an update from below brought without an id, when it says the same and
        has not come up yet: the next id that comes with it stands for it."""
        ahead: Members = self._own.get("ahead", {})
        given = message.get("id") or None
        if not ahead or message["type"] == "remove" or not isinstance(given, str | None):
            return None
        if given and (self._known.alias(given) is not None or given in self._known.orders()):
            return None
        from_there = {id_: each for id_, each in ahead.items() if f"{each[1]}|".startswith(below)}
        said = _digest(message) if from_there else ""
        same = [id_ for id_, each in from_there.items() if each[0] == said]
        if not same:
            return None
        # Of the run of the graph below that was last, in its order.
        message_id = next(id_ for id_ in same if ahead[id_][1] == ahead[same[-1]][1])
        if given:
            del ahead[message_id]
            self._known.stand_for(given, message_id)
        return message_id

    def _handed_up(self, message: Members, scope: str) -> None:
        """Has a message that the graph has named be the one that an update brought before that: a
        node that is a graph gives the whole state that it was given, with what it said."""
        given, ahead = message.get("id"), self._own.get("ahead", {})
        if not ahead or message["type"] == "remove" or not is_given(given):
            return
        if self._known.alias(given) is not None or given in self._known.orders():
            return
        mine = {
            id_: said
            for id_, (said, of) in ahead.items()
            if not of or f"{scope}|".startswith(f"{of}|")
        }
        message_id = _taken(mine, _digest(message)) if mine else None
        if message_id is not None:
            del ahead[message_id]
            self._known.stand_for(given, message_id)

    def left_out(self, found: list[Members]) -> list[Event]:
        """What the state before held of messages, and this one does not: a node removed it. So it
        is with what an update brought without an id, and the state has otherwise."""
        ids = [message["id"] for message in found if message["type"] != "remove"]
        held = [self._known.alias(message_id) or message_id for message_id in ids]
        kept = frozenset(held)
        gone = [name for name in self._own.get("held", ()) if name not in kept]
        self._own["held"] = held[-HELD:]
        return self._known.removed_all(gone)

    def in_order(self) -> list[Event]:
        """Has the messages of the state stand as it has them: they share their places out anew."""
        orders = self._known.orders()
        held = [name for name in dict.fromkeys(self._own["held"]) if name in orders]
        events: list[Event] = []
        for name, order in zip(held, sorted(orders[name] for name in held), strict=True):
            if orders[name] != order:
                events.append(self._known.move(name, order))
        return events


def _digest(message: Members) -> str:
    """What a message says, to tell one without an id by: the result of a tool is that of its call,
    whatever was made of it since."""
    content = dumped(message["content"], "data.messages")
    call_id = message.get("tool_call_id")
    type_ = whole_type(message["type"])
    said = f"{type_} {content if not is_id(call_id) else json.dumps([call_id])}"
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


def _taken(ahead: Members, said: str) -> str | None:
    """The first id of those that said the same, which is no longer among them."""
    found = next((message_id for message_id, each in ahead.items() if each == said), None)
    if found is not None:
        del ahead[found]
    return found
