"""Which messages a LangChain session has: whose an id is, where each stands, which ones are open.

Keeps the tables of ids, places and namespaces, and the memory of each message (what that holds is
made and read elsewhere); with it what the short way knows by id, which goes whenever a message
does. Makes the events that say that there is a message, or no longer, and those that several ways
of the wire have in common; knows no form of the wire, no content, and no run or task of a graph.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from ...events import (
    BlockDelta,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageUpdated,
)
from ...keys import HotKey, PartKey
from ...model import Json
from ..base import Context
from ..members import Members, an_id
from .chunks import Item, new_memory
from .messages import INPUT, REASONING, WIRE

#: What the short way knows of a block of a content: its key, the member that grows, the id that its
#: pieces may repeat (None for none), and the item that grows, where the member is a summary.
Block: TypeAlias = tuple[PartKey, str, str | None, Item | None]
#: And of a message: the keys of the text at the end of its content and of the reasoning beside it
#: (None without one), the metadata that its chunks may repeat, the namespace it is open in, its
#: memory, what that says of the wire, and as deltas come, by index, the blocks of its content and
#: the places of its tools.
Plain: TypeAlias = tuple[
    PartKey | None,
    PartKey | None,
    Members,
    str,
    Members,
    Members,
    dict[int | str, Block],
    dict[int | str, int],
]
#: What it knows of a block that the agent protocol has: the type and member of its deltas, their
#: key, the memories of its message and of itself, and the name of the latter in the former.
Growing: TypeAlias = tuple[str, str, HotKey, Members, Members, str]
#: Own and shared memory, as they were.
Kept: TypeAlias = tuple[dict[str, Any], dict[str, Any]]

#: Messages of a session that are remembered, as many of a stream that are open, and namespaces.
_MESSAGES = 256
#: Messages whose place is known when they come again, and ids that stand for another.
HELD = 4096

#: What of a memory is changed in place.
_HOLDING = (dict, list)


def _copied(memory: Any) -> Any:
    """A copy of a memory, plain JSON: a tenth of `copy.deepcopy`, which each list would cost."""
    if type(memory) is dict:
        return {k: _copied(v) if type(v) in _HOLDING else v for k, v in memory.items()}
    return [_copied(v) if type(v) in _HOLDING else v for v in memory]


class Known:
    """The messages of a session, as one of its streams has them.

    In a stream's own memory: `open`, the messages that it opened, and `current`, which one of them
    is open in each namespace. Shared by the session: `messages`, the last ones and what is known of
    each (`new_memory`), `aliases`, `orders` and their `count`. Each table is made with its first
    entry: what was never needed is not saved.

    Args:
        context: of the stream.

    Attributes:
        session: the session's id.
        new_id: makes one that the wire does not give.
        own, shared: all memory of the stream and of its session; what has no name above is of the
            files that use it.
        plain: what the short way knows, by id of a message. Made of the memory; what that says of
            the wire is made anew by each chunk that takes the long way, and everything here with
            it.
        blocks: as deltas of the agent protocol come: by index, behind the namespace where there is
            one.
    """

    def __init__(self, context: Context) -> None:
        self.session = context.session_id
        self.new_id = context.new_id
        self.own = context.own
        self.shared = context.of_session()
        self.plain: dict[str, Plain] = {}
        self.blocks: dict[int | tuple[str, int], Growing] = {}
        for scope, message_id in self.own.get("current", {}).items():
            self.learn(message_id, scope)

    def messages(self) -> dict[str, Members]:
        """The memory of each message, by id; where there is none yet, one that is not kept."""
        found: dict[str, Members] = self.shared.get("messages", {})
        return found

    def orders(self) -> dict[str, int]:
        """The place of each message, by id; the same."""
        found: dict[str, int] = self.shared.get("orders", {})
        return found

    def current(self, scope: str) -> str | None:
        """The message that is open in a namespace of this stream."""
        found: str | None = self.own.get("current", {}).get(scope)
        return found

    def kept(self) -> Kept:
        """The memory as it is, for `put_back`."""
        return _copied(self.own), _copied(self.shared)

    def put_back(self, kept: Kept) -> None:
        """Has the memory be what it was."""
        for memory, was in zip((self.own, self.shared), kept, strict=True):
            memory.clear()
            memory.update(was)
        self.plain.clear()

    # -- whose an id is, where a message stands ------------------------------------------------

    def alias(self, given: str) -> str | None:
        """The message an id stands for, None for none that is known."""
        if given in self.shared.get("messages", {}):
            return given
        found: str | None = self.shared.get("aliases", {}).get(given)
        return found

    def resolve(self, given: str | None, scope: str, role: str = "") -> str | None:
        """The message that something belongs to, None for a new one; without a role by id alone."""
        found = None if given is None else self.alias(given)
        if found is not None or not role:
            return found
        current = self.current(scope)
        known = self.messages().get(current or "")
        if current is None or known is None or known["closed"] or known["role"] != role:
            return None
        if given is None:
            return current
        if known["twin"] or _is_provided(given) == _is_provided(known["id"]):
            return None
        return current

    def enter(
        self, given: str | None, scope: str, role: str, whole: bool = False
    ) -> tuple[str, Members, list[Event]]:
        """The message that something belongs to, made when it is new; its memory and opening."""
        messages: dict[str, Members] = self.shared.setdefault("messages", {})
        message_id = self.resolve(given, scope, "" if whole else role)
        events: list[Event] = []
        if message_id is None:
            message_id = given or self.new_id()
            order = self._place(message_id)
            messages[message_id] = {"id": message_id, "order": order, "role": role, **new_memory()}
            if len(messages) > _MESSAGES:
                del messages[next(iter(messages))]
            events.append(
                MessageOpened(
                    session_id=self.session, message_id=message_id, role=role, order=order
                )
            )
        known = messages.setdefault(
            message_id, {"id": message_id, "order": None, "role": role, **new_memory()}
        )
        if given is not None and given != message_id and self.alias(given) is None:
            self.stand_for(given, message_id)
            known["twin"] = True
            if _is_provided(given):
                known["id"] = given
                known[WIRE]["id"] = given
        opened = self.own.setdefault("open", {})
        opened[message_id] = True
        if len(opened) > _MESSAGES:
            oldest = next(iter(opened))
            del opened[oldest]
            self.plain.pop(oldest, None)  # what comes for it opens it again
            self.blocks.clear()
        current = self.own.setdefault("current", {})
        if current.get(scope) != message_id:
            self.plain.pop(current.get(scope, ""), None)
            current.pop(scope, None)
            current[scope] = message_id
            if len(current) > _MESSAGES:
                self.plain.pop(current.pop(next(iter(current))), None)
        return message_id, known, events

    def stand_for(self, given: str, message_id: str) -> None:
        """Have an id stand for a message that is known by another one."""
        aliases: dict[str, str] = self.shared.setdefault("aliases", {})
        aliases[given] = message_id
        if len(aliases) > HELD:
            del aliases[next(iter(aliases))]

    def _place(self, message_id: str) -> int:
        """Where a message stands: behind all, or where it stood when it was remembered."""
        orders: dict[str, int] = self.shared.setdefault("orders", {})
        if message_id not in orders:
            self.shared["count"] = orders[message_id] = self.shared.get("count", 0) + 1
            if len(orders) > HELD:
                del orders[next(iter(orders))]
        return orders[message_id]

    def move(self, message_id: str, order: int) -> MessageUpdated:
        """Have a message stand elsewhere."""
        self.orders()[message_id] = order
        known = self.messages().get(message_id)
        if known is not None:
            known["order"] = order
        return MessageUpdated(session_id=self.session, message_id=message_id, order=order)

    # -- the end of messages -------------------------------------------------------------------

    def close_all(self, run: str, status: str, error: Json) -> list[Event]:
        """Ends the messages that are open: those of this stream, and those that its run has said on
        streams before it."""
        messages = self.messages()
        opened = self.own.pop("open", {})
        of_run = [
            message_id
            for message_id, known in messages.items()
            if run and (known.get("run") or "").split(" ")[0] == run
        ]
        events: list[Event] = []
        for message_id in dict.fromkeys([*opened, *of_run]):
            known = messages.get(message_id)
            if known is not None and not known["closed"]:
                known["closed"] = True
                events.append(
                    MessageClosed(
                        session_id=self.session, message_id=message_id, status=status, error=error
                    )
                )
        self.plain.clear()
        return events

    def removed(self, message: Members) -> list[Event]:
        """What the wire has for a removal: of one message, or of all."""
        given = an_id(message, "id")
        known = self.messages()
        orders = self.orders()
        gone = [self.alias(given) or given]
        if given == "__remove_all__":
            gone = list({**orders, **known})
        for message_id in gone:
            known.pop(message_id, None)
            orders.pop(message_id, None)
            self.plain.pop(message_id, None)
        return [MessageRemoved(session_id=self.session, message_id=id_) for id_ in gone]

    def removed_all(self, message_ids: list[str]) -> list[Event]:
        """The removal of some messages."""
        return [event for name in message_ids for event in self.removed({"id": name})]

    def taken_back(self, message_ids: list[str]) -> list[Event]:
        """Removes what attempts have left. What comes of it again has its place: before what was
        said behind it."""
        orders: dict[str, int] = self.shared.setdefault("orders", {})
        places = {name: orders[name] for name in message_ids if name in orders}
        events = self.removed_all(message_ids)
        orders.update(places)
        return events

    # -- what the short way may take -----------------------------------------------------------

    def learn(self, message_id: str, scope: str) -> None:
        """Have the short way take text at the end of a message's content, and tools' input."""
        known = self.messages().get(message_id)
        self.plain.pop(message_id, None)
        if known is None or known["closed"] or message_id not in self.own.get("open", {}):
            return
        about = known[WIRE]
        if about.get("type") != "AIMessageChunk":
            return
        provider = (about.get("response_metadata") or {}).get("model_provider")
        repeated = {"model_provider": provider} if type(provider) is str else {}
        last = known["last"]
        key = None if last is None else PartKey(self.session, message_id, last)
        reasons = PartKey(self.session, message_id, REASONING) if known["reasons"] else None
        self.plain[message_id] = (key, reasons, repeated, scope, known, about, {}, {})

    def learn_block(self, scope: str, index: int, found: Growing) -> None:
        """Have the short way take deltas of a block of the agent protocol."""
        self.blocks[(scope, index) if scope else index] = found
        if len(self.blocks) > _MESSAGES:
            del self.blocks[next(iter(self.blocks))]

    # -- events of a message -------------------------------------------------------------------

    def at(self, message_id: str, block: int | str) -> dict[str, Any]:
        """Where a part is, as its events name it."""
        return {"session_id": self.session, "message_id": message_id, "block_index": block}

    def about(self, message_id: str, known: Members) -> MessageUpdated:
        """What the wire says of a message beside its content."""
        return MessageUpdated(
            session_id=self.session, message_id=message_id, info={WIRE: {**known[WIRE]}}
        )


def _is_provided(message_id: str) -> bool:
    """Whether an id is the provider's, not one of a run."""
    return not message_id.startswith(("lc_", "run-"))


def set_input(at: dict[str, Any], text: str | None) -> list[Event]:
    """Sets what a tool was asked, whatever was streamed before it."""
    if text is None:
        return []
    # A field that deltas append to is made by a delta, and then set.
    return [BlockDelta(**at, field=INPUT, text=""), BlockUpdated(**at, fields={INPUT: text})]
